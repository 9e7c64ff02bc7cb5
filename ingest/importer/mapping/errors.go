package mapping

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Error is one mistake in a mapping: where it is, and what to write instead.
type Error struct {
	File string
	Line int
	// Column counts characters, from 1; 0 where the line says enough.
	Column int
	// Key is the path of the key, as rows[0].fields.total; "" for the document.
	Key     string
	Message string
}

// Error writes the mistake as an editor reads it: map.yaml:12:7: rows[0].at: ….
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d", e.File, e.Line)
	if e.Column > 0 {
		fmt.Fprintf(&b, ":%d", e.Column)
	}
	b.WriteString(": ")
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Message)
	return b.String()
}

// Errors are all mistakes of a mapping, by their place in the file.
type Errors []*Error

// Error writes one mistake a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// sorted are the errors by place, or nil as an error if there are none.
func (e Errors) sorted() error {
	if len(e) == 0 {
		return nil
	}
	slices.SortStableFunc(e, func(a, b *Error) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	if len(e) > maxErrors {
		rest := len(e) - maxErrors
		e = append(e[:maxErrors:maxErrors], &Error{File: e[0].File, Line: e[maxErrors].Line, Message: fmt.Sprintf("%d more mistakes", rest)})
	}
	return e
}

// near says which of the known names a wrong one is near to, as "; customer is
// near", or lists them where none is and they are few.
func near(wrong string, known []string) string {
	if best := nearest(wrong, known, 1+utf8.RuneCountInString(wrong)/3); best != "" {
		return "; " + best + " is near"
	}
	const few = 12
	if len(known) == 0 {
		return ""
	}
	if len(known) > few {
		return fmt.Sprintf("; there are %s and %d more", strings.Join(known[:few], ", "), len(known)-few)
	}
	return "; there are " + strings.Join(known, ", ")
}

// nearest is the known name within a number of typing mistakes, "" if none is.
// A name that differs in case or separators alone is nearest of all.
func nearest(wrong string, known []string, within int) string {
	best := ""
	for _, name := range known {
		if foldName(name) == foldName(wrong) {
			return name
		}
		if d := distance(strings.ToLower(wrong), strings.ToLower(name)); d <= within {
			best, within = name, d-1
		}
	}
	return best
}

func foldName(name string) string {
	return strings.NewReplacer("_", "", " ", "", "-", "", ".", "").Replace(strings.ToLower(name))
}

// distance is how many characters must be put in, left out, changed or swapped
// with the next to make one text of the other.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	const longest = 100 // longer names differ by more than a mistake of typing
	if len(x) > longest || len(y) > longest {
		return longest
	}
	before, last, row := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range last {
		last[j] = j
	}
	for i := range x {
		row[0] = i + 1
		for j := range y {
			cost := 1
			if x[i] == y[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && x[i] == y[j-1] && x[i-1] == y[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(y)]
}
