// Package searchtext brings text into the form in which a search compares it,
// so that people find what they remember however it was typed.
//
// Folded texts are equal where texts differ only in: case; accents; full and
// half width and the other compatibility forms of Unicode; Chinese characters
// that are simplified, traditional or variants of one another (hanzi.txt says
// which, and whence); how much white space there is; invisible characters; and
// spaces between Chinese characters, as 李 娜 is typed to line up with 欧阳娜娜.
//
// Names are told apart by their letters and digits alone: apostrophes do not
// count, and dashes, dots and commas are spaces (see [AppendName]).
//
// What stays apart: hiragana and katakana, か and が, and the letters of
// different scripts, however alike.
//
//	searchtext.Fold("ＣＡＦÉ  後") // "cafe 后"
//
// Folding goes character by character: what of a text was folded is found in
// the fold of the whole.
package searchtext

import (
	_ "embed"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Fold returns the form in which a search compares s.
func Fold(s string) string { return string(Append(nil, s)) }

// Append appends the fold of s to dst, which may be reused: looking through many
// texts then takes no memory for each.
func Append(dst []byte, s string) []byte {
	f := folder{dst: dst}
	return f.fold(s)
}

// AppendName is Append for the names of people and companies, and for texts that
// may be one. O'Brien is found as obrien, Jean-Luc as jean luc, and 阿凡提·买买提
// as 阿凡提买买提.
func AppendName(dst []byte, s string) []byte {
	f := folder{dst: dst, words: true}
	return f.fold(s)
}

func (f *folder) fold(s string) []byte {
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			f.addASCII(c)
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		switch {
		case r >= firstHanzi && r <= lastHanzi:
			f.put(hanziOf(r))
		case r >= firstHangul && r <= lastHangul:
			for _, jamo := range norm.NFD.String(string(r)) {
				f.put(jamo)
			}
		case f.words && r == '´': // Unicode has it for a space with an accent
		default:
			f.addDecomposed(r)
		}
	}
	return f.dst
}

// folder takes the characters of a text.
type folder struct {
	dst   []byte
	last  rune // appended last, 0 before the first
	space bool // one is due before the next character
	words bool // punctuation does not count
}

// divides reports whether a folded character is of the punctuation that does not
// count in a name: dashes, brackets, quotes, dots and commas. An apostrophe does
// not even divide. An @ or & counts: who types one means it.
func (f *folder) divides(r rune) bool {
	if !f.words {
		return false
	}
	switch r {
	case '\'', '`':
		return true
	case ',', '.', ';', '"', '、', '。', '·', '・', '‧', '•':
	default:
		if !unicode.In(r, unicode.Pd, unicode.Ps, unicode.Pe, unicode.Pi, unicode.Pf) {
			return false
		}
	}
	f.space = true
	return true
}

func (f *folder) addASCII(c byte) {
	switch {
	case c >= 'A' && c <= 'Z':
		c += 'a' - 'A'
	case c > ' ' && c < 0x7f:
	default:
		f.space = f.space || c == ' ' || c >= '\t' && c <= '\r'
		return
	}
	if f.divides(rune(c)) {
		return
	}
	if f.space && f.last != 0 {
		f.dst = append(f.dst, ' ')
	}
	f.space, f.last = false, rune(c)
	f.dst = append(f.dst, c)
}

// addDecomposed takes what a character is made of.
func (f *folder) addDecomposed(r rune) {
	var encoded [utf8.UTFMax]byte
	parts := norm.NFKD.Properties(encoded[:utf8.EncodeRune(encoded[:], r)]).Decomposition()
	if parts == nil {
		f.add(r)
	}
	for len(parts) > 0 {
		part, size := utf8.DecodeRune(parts)
		parts = parts[size:]
		f.add(part)
	}
}

func (f *folder) add(r rune) {
	switch {
	case r < utf8.RuneSelf:
		f.addASCII(byte(r))
	case unicode.IsSpace(r):
		f.space = true
	case isDropped(r):
	default:
		f.addFolded(r)
	}
}

// addFolded takes a character that is not ASCII.
func (f *folder) addFolded(r rune) {
	if r >= firstHanzi && r <= lastHanzi {
		f.put(hanziOf(r)) // of a compatibility form
		return
	}
	r = unicode.ToLower(unicode.ToUpper(r))
	if letters := lettersOf(r); letters != "" {
		for _, letter := range letters {
			f.put(letter)
		}
		return
	}
	f.put(r)
}

func (f *folder) put(r rune) {
	if f.divides(r) {
		return
	}
	if f.space && f.last != 0 && !(unicode.Is(unicode.Han, r) && unicode.Is(unicode.Han, f.last)) {
		f.dst = append(f.dst, ' ')
	}
	f.space, f.last = false, r
	f.dst = utf8.AppendRune(f.dst, r)
}

// The voicing marks of kana tell か from が; they are no accents.
const voiced, halfVoiced = '\u3099', '\u309A'

// isDropped reports whether a character does not count: accents, which belong to
// no script of their own, and what is not seen.
func isDropped(r rune) bool {
	if unicode.Is(unicode.Mn, r) {
		return unicode.Is(unicode.Inherited, r) && r != voiced && r != halfVoiced
	}
	return unicode.In(r, unicode.Cc, unicode.Cf)
}

// lettersOf are the letters that people type for one that Unicode does not
// decompose; "" if they type itself.
func lettersOf(r rune) string {
	switch r {
	case 'ß':
		return "ss"
	case 'æ':
		return "ae"
	case 'œ':
		return "oe"
	case 'ø':
		return "o"
	case 'ł':
		return "l"
	case 'đ', 'ð':
		return "d"
	case 'þ':
		return "th"
	case 'ħ':
		return "h"
	case 'ŧ':
		return "t"
	case '’', '‘', 'ʼ':
		return "'"
	case '‐', '‑', '‒', '–':
		return "-"
	}
	return ""
}

//go:embed hanzi.txt
var hanziText string

// Syllables of Hangul, which Unicode takes apart by rule, not by table.
const (
	firstHangul = '\uac00'
	lastHangul  = '\ud7a3'
)

// The ideographs of hanzi.txt are of these blocks.
const (
	firstHanzi = '\u3400'
	lastHanzi  = '\u9fff'
)

// hanzi says which character stands for the class of another; 0 is itself.
var hanzi = sync.OnceValue(func() *[lastHanzi - firstHanzi + 1]uint16 {
	table := new([lastHanzi - firstHanzi + 1]uint16)
	for line := range strings.Lines(hanziText) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		for class := range strings.FieldsSeq(line) {
			first, size := utf8.DecodeRuneInString(class)
			for _, r := range class[size:] {
				table[r-firstHanzi] = uint16(first)
			}
		}
	}
	return table
})

func hanziOf(r rune) rune {
	if first := hanzi()[r-firstHanzi]; first != 0 {
		return rune(first)
	}
	return r
}
