package query

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// sourceError is what is wrong with an expression, and where in the text as its
// author wrote it.
type sourceError struct {
	line, column int // from 1, columns in characters
	text         string
}

func (e *sourceError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.line, e.column, e.text)
}

// source is an expression as CEL reads it, made from what was written: a number
// followed by 万 or 亿 has an exponent in their place.
type source struct {
	text  string
	grown []growth
}

// growth is a place of the text where one written character became several.
type growth struct {
	line, column int // of the first of them, from 1
	by           int
}

// bigNumber is a word for a great number.
type bigNumber struct{ word, exponent string }

// exponents are those words, the longest first.
var exponents = []bigNumber{{"万亿", "e12"}, {"亿", "e8"}, {"万", "e4"}, {"萬", "e4"}, {"億", "e8"}}

// readSource rewrites an expression for CEL. What CEL would choke on without
// saying what to write instead is refused here.
func readSource(written string) (*source, error) {
	r := sourceReader{rest: written, line: 1, column: 1, out: source{}}
	for r.rest != "" {
		if err := r.token(); err != nil {
			return nil, err
		}
	}
	r.out.text = r.b.String()
	return &r.out, nil
}

// sourceReader goes through an expression, strings and comments untouched.
type sourceReader struct {
	rest         string
	line, column int // of rest, as written
	shift        int // how much longer the line became
	b            strings.Builder
	out          source
	number       bool // what came last could end a number
	exponent     bool // what came last is the exponent of a number
	word         bool // what came last is a name
}

func (r *sourceReader) token() error {
	first, size := utf8.DecodeRuneInString(r.rest)
	exponent := r.exponent
	r.exponent = r.number && (first == 'e' || first == 'E')
	switch {
	case exponent && (first == '+' || first == '-' || first >= '0' && first <= '9'):
		r.copy(size)
		r.exponent = true
		return nil
	case exponent && slices.ContainsFunc(exponents, func(e bigNumber) bool { return strings.HasPrefix(r.rest, e.word) }):
		return r.fail("%q after an exponent; write one of them, as 1e6 or 100万", first)
	case strings.HasPrefix(r.rest, "//"):
		end := strings.IndexByte(r.rest, '\n')
		if end < 0 {
			end = len(r.rest)
		}
		r.copy(end)
	case first == '#':
		return r.fail("unexpected '#'; a comment begins with //")
	case first == '"' || first == '\'':
		return r.text(false)
	case (first == 'r' || first == 'R') && !r.word && len(r.rest) > 1 && (r.rest[1] == '"' || r.rest[1] == '\''):
		r.copy(1)
		return r.text(true)
	case first >= '0' && first <= '9':
		r.copy(size)
		r.number = !r.word
		return nil
	case first == '.' && r.number:
		r.copy(size)
		return nil
	case isWord(first):
		r.copy(size)
		r.number, r.word = false, true
		return nil
	case first < utf8.RuneSelf:
		r.copy(size)
	default:
		return r.foreign(first)
	}
	r.number, r.word = false, false
	return nil
}

func isWord(c rune) bool { return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// text copies a string to its end. One without an end is CEL's to refuse.
func (r *sourceReader) text(raw bool) error {
	quote := r.rest[:1]
	if strings.HasPrefix(r.rest, strings.Repeat(quote, 3)) {
		quote = r.rest[:3]
	}
	end := len(quote)
	for end < len(r.rest) && !strings.HasPrefix(r.rest[end:], quote) {
		if r.rest[end] == '\\' && !raw {
			end++
		}
		end++
	}
	r.copy(min(end+len(quote), len(r.rest)))
	r.number, r.word = false, false
	return nil
}

// foreign reads a character that is not ASCII, outside of strings.
func (r *sourceReader) foreign(c rune) error {
	if r.number {
		for _, e := range exponents {
			if strings.HasPrefix(r.rest, e.word) {
				r.grow(e.word, e.exponent)
				return nil
			}
		}
	}
	if unicode.IsSpace(c) || c == '\ufeff' {
		r.grow(string(c), " ")
		r.number, r.word = false, false
		return nil
	}
	if plain := halfWidth(c); plain != "" {
		return r.fail("%q is a full-width character; write %s", c, plain)
	}
	for _, e := range exponents {
		if strings.HasPrefix(r.rest, e.word) {
			return r.fail("%s follows a number, as in 500%s", e.word, e.word)
		}
	}
	if unicode.IsLetter(c) {
		word := r.rest[:len(r.rest)-len(strings.TrimLeftFunc(r.rest, func(c rune) bool { return unicode.IsLetter(c) || unicode.IsDigit(c) }))]
		return r.fail("%s is not a field; fields have English names, a trait of another name is traits[%q], and text stands in quotes", word, word)
	}
	return r.fail("unexpected character %q", c)
}

// halfWidth is what to write for a full-width or typographic character.
func halfWidth(c rune) string {
	switch {
	case c >= '！' && c <= '～':
		return string(c - '！' + '!')
	case strings.ContainsRune("“”„«»「」『』", c):
		return `"`
	case strings.ContainsRune("‘’‚", c):
		return "'"
	}
	return map[rune]string{'，': ",", '。': ".", '、': ",", '【': "[", '】': "]", '≥': ">=", '≤': "<=", '≠': "!=", '×': "*", '÷': "/", '–': "-", '—': "-", '−': "-"}[c]
}

func (r *sourceReader) fail(format string, args ...any) error {
	return &sourceError{r.line, r.column, fmt.Sprintf(format, args...)}
}

// copy takes n bytes as they are.
func (r *sourceReader) copy(n int) {
	for _, c := range r.rest[:n] {
		r.column++
		if c == '\n' {
			r.line++
			r.column, r.shift = 1, 0
		}
	}
	r.b.WriteString(r.rest[:n])
	r.rest = r.rest[n:]
}

// grow writes something else for a word.
func (r *sourceReader) grow(word, written string) {
	was := utf8.RuneCountInString(word)
	if by := len(written) - was; by != 0 {
		r.out.grown = append(r.out.grown, growth{r.line, r.column + r.shift + was, by})
		r.shift += by
	}
	r.column += was
	r.b.WriteString(written)
	r.rest = r.rest[len(word):]
	r.number, r.word = false, false
}

// at is the place as written of a place in the text, both from 1.
func (s *source) at(line, column int) (int, int) {
	shift := 0
	for _, g := range s.grown {
		if g.line == line && g.column <= column {
			shift += min(g.by, column-g.column+1)
		}
	}
	return line, column - shift
}
