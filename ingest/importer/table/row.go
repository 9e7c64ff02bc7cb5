package table

import (
	"fmt"
	"strconv"
	"strings"
)

// Row is one row of a file. It shares no memory with the reader.
type Row struct {
	// Line is where the row begins in the file, from 1; of a workbook the
	// number of the row.
	Line int
	// Values are parallel to [Reader.Columns]. They are strings, save in
	// ndjson: there string, bool, nil (null, or no such key), [json.Number],
	// []any and map[string]any, and without columns one map with all keys.
	Values []any
}

// RowError says why a row is lost. The rows after it can still be read.
type RowError struct {
	File   string
	Line   int
	Column string // empty if it is about the whole row
	Value  string // what stands there, or its beginning; may be empty
	Reason string
}

func (e *RowError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d: ", e.File, e.Line)
	if e.Column != "" {
		b.WriteString(e.Column)
		if e.Value != "" {
			b.WriteString(" is " + strconv.Quote(shown(e.Value)))
		}
		b.WriteString(": ")
	} else if e.Value != "" {
		b.WriteString(strconv.Quote(shown(e.Value)) + ": ")
	}
	b.WriteString(e.Reason)
	return b.String()
}

// shown cuts a value to what a message can hold.
func shown(s string) string {
	n := 0
	for i := range s {
		if n++; n > maxShownRunes {
			return s[:i] + "…"
		}
	}
	return s
}
