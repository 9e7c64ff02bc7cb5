package jsontree

import (
	"fmt"
	"strings"
)

// Span is a part of a text, in bytes.
type Span struct{ Start, End int }

// Of is the part of s.
func (p Span) Of(s string) string { return s[p.Start:p.End] }

// Member is a member of an object whose value was not looked into.
type Member struct {
	Key   string
	Value Span
}

// CutObject finds the members of the object that src is. The values are only
// followed to their ends; whether they are JSON shows when they are parsed.
// The error is an [*Error].
func CutObject(src string) ([]Member, error) {
	var members []Member
	var key Tree
	err := cut(src, '{', '}', func(pos int) (int, *Error) {
		if pos >= len(src) || src[pos] != '"' {
			return pos, &Error{Offset: pos, Detail: "a key in quotes wanted"}
		}
		key.src, key.nodes = src, key.nodes[:0]
		pos, err := key.str(pos)
		if err != nil {
			return pos, err
		}
		if pos = skipSpace(src, pos); pos >= len(src) || src[pos] != ':' {
			return pos, &Error{Offset: pos, Detail: "':' wanted after a key"}
		}
		start := skipSpace(src, pos+1)
		end, err := valueEnd(src, start)
		members = append(members, Member{key.text(0), Span{start, end}})
		return end, err
	})
	if err != nil {
		return nil, err
	}
	return members, nil
}

// CutArray finds the items of the array that src is, as CutObject does. It
// gives up after atMost items: then there is one more in the answer.
func CutArray(src string, atMost int) ([]Span, error) {
	var items []Span
	enough := &Error{}
	err := cut(src, '[', ']', func(pos int) (int, *Error) {
		end, err := valueEnd(src, pos)
		if err != nil {
			return end, err
		}
		items = append(items, Span{pos, end})
		if len(items) > atMost {
			return end, enough
		}
		return end, nil
	})
	if err != nil && err != enough {
		return nil, err
	}
	return items, nil
}

// cut walks over the parts of a container.
func cut(src string, open, shut byte, part func(pos int) (int, *Error)) error {
	pos := skipSpace(src, 0)
	if pos >= len(src) {
		return &Error{Detail: "nothing"}
	}
	if src[pos] != open {
		return &Error{Offset: pos, Detail: "begins with " + shownByte(src[pos]) + " instead of " + string(open)}
	}
	i := skipSpace(src, pos+1)
	for n := 0; i < len(src) && src[i] != shut; n++ {
		if n > 0 {
			if src[i] != ',' {
				return &Error{Offset: i, Detail: "',' or '" + string(shut) + "' wanted"}
			}
			i = skipSpace(src, i+1)
		}
		var err *Error
		if i, err = part(i); err != nil {
			return err
		}
		i = skipSpace(src, i)
	}
	if i >= len(src) {
		return &Error{Offset: i, Detail: "text ends before '" + string(shut) + "'"}
	}
	if i = skipSpace(src, i+1); i < len(src) {
		return &Error{Offset: i, Detail: "text after the end of the value"}
	}
	return nil
}

// structural are the bytes at which following a value to its end has to look.
var structural = [256]bool{'"': true, '{': true, '}': true, '[': true, ']': true}

// valueEnd follows the value at pos to its end by its quotes and brackets.
func valueEnd(s string, pos int) (int, *Error) {
	if pos >= len(s) {
		return pos, &Error{Offset: pos, Detail: "text ends where a value is wanted"}
	}
	switch s[pos] {
	case '"':
		return stringEnd(s, pos)
	case '{', '[':
		return containerEnd(s, pos)
	}
	end := pos
	for end < len(s) && !strings.ContainsRune(",]}: \t\r\n\"[{", rune(s[end])) {
		end++
	}
	if end == pos {
		return pos, &Error{Offset: pos, Detail: "a value wanted"}
	}
	return end, nil
}

func containerEnd(s string, pos int) (int, *Error) {
	depth := 0
	for i := pos; i < len(s); {
		switch c := s[i]; {
		case !structural[c]:
			i++
		case c == '"':
			end, err := stringEnd(s, i)
			if err != nil {
				return end, err
			}
			i = end
		case c == '{' || c == '[':
			depth++
			i++
		default:
			i++
			if depth--; depth == 0 {
				return i, nil
			}
		}
	}
	return len(s), &Error{Offset: pos, Detail: "object or array without an end"}
}

func stringEnd(s string, pos int) (int, *Error) {
	for i := pos + 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return i + 1, nil
		case '\\':
			i++
		}
	}
	return len(s), &Error{Offset: pos, Detail: "string without an end"}
}

// shownByte is a byte as a message shows it: text that is packed, or of another
// alphabet, by its number.
func shownByte(b byte) string {
	if b > ' ' && b <= '~' {
		return string(b)
	}
	return fmt.Sprintf("byte %#02x", b)
}
