package table

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// fixed cuts rows into columns of fixed width, in characters, or, without
// widths, at runs of blanks. Padding is taken off both ends of a cell.
type fixed struct {
	widths []int
	total  int
}

func newFixed(columns []Column) *fixed {
	f := &fixed{}
	for _, c := range columns {
		if c.Width > 0 {
			f.widths = append(f.widths, c.Width)
			f.total += c.Width
		}
	}
	return f
}

func (f *fixed) cut(t *text) (Row, error) {
	for {
		line, next, err := t.line()
		if err != nil {
			return Row{}, err
		}
		s, start := string(line), t.in.line
		t.in.take(next, 1)
		if strings.TrimSpace(s) == "" || s == "\x1a" { // DOS ends a file with ^Z
			continue
		}
		if f.widths == nil {
			return f.words(t, start, s)
		}
		return f.slices(t, start, s)
	}
}

func (f *fixed) words(t *text, start int, s string) (Row, error) {
	words := strings.Fields(s)
	if err := t.counted(start, 1, len(words)); err != nil {
		return Row{}, err
	}
	if len(words) > maxColumns {
		return Row{}, t.bad(start, "the row has %d cells: at most %d can be read", len(words), maxColumns)
	}
	values := make([]any, len(words))
	for i, word := range words {
		values[i] = word
	}
	return f.finish(t, start, s, t.filled(values))
}

// slices cuts by widths. Writers leave blanks at the end of a line away, so a
// short line is one whose last cells are empty; a long one is refused.
func (f *fixed) slices(t *text, start int, s string) (Row, error) {
	values := make([]any, len(f.widths))
	rest := s
	for i, width := range f.widths {
		end := 0
		for n := 0; n < width && end < len(rest); n++ {
			_, size := utf8.DecodeRuneInString(rest[end:])
			end += size
		}
		values[i] = strings.TrimSpace(rest[:end])
		rest = rest[end:]
	}
	if extra := strings.TrimSpace(rest); extra != "" {
		return Row{}, &RowError{File: t.file, Line: start, Value: extra,
			Reason: fmt.Sprintf("stands behind the last column: the row has %d characters, and the widths are %d together", utf8.RuneCountInString(s), f.total)}
	}
	return f.finish(t, start, s, values)
}

func (f *fixed) finish(t *text, start int, s string, values []any) (Row, error) {
	if len(s) > maxCellBytes || !t.clean(s) {
		if err := t.check(start, values); err != nil {
			return Row{}, err
		}
	}
	return Row{Line: start, Values: values}, nil
}
