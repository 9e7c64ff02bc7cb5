package table

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"
)

// text is a file of a text format: its lines, and how one row is cut out of
// them.
type text struct {
	file     string
	in       *lines
	encoding string // as it is named in messages
	decoded  bool   // the bytes were not utf-8 and are now
	skipped  int    // lines passed over
	ignored  *regexp.Regexp
	short    bool
	columns  []string
	cutter   cutter
}

// cutter cuts the next row of a text into values.
type cutter interface {
	// cut takes one row from t.in. It returns io.EOF at the end, and a
	// *RowError after it has taken the lines that are lost.
	cut(t *text) (Row, error)
}

func openText(p part, o Options) (*text, error) {
	r, name, decoded, err := decode(p.r, o.Encoding)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", p.name, err)
	}
	ignored, err := o.ignored()
	if err != nil {
		return nil, err
	}
	t := &text{file: p.name, in: newLines(r), encoding: name, decoded: decoded, skipped: o.Skip, ignored: ignored, short: o.Short}
	switch o.Format {
	case formatCSV:
		t.cutter = newDelimited(o.Delimiter, false)
	case formatTSV:
		t.cutter = newDelimited('\t', true)
	case formatFixed:
		t.cutter = newFixed(o.Columns)
	case formatNDJSON:
		t.cutter = objects{}
	}
	for range o.Skip {
		if err := t.in.drop(); err != nil {
			return nil, t.fatal(err)
		}
	}
	return t, nil
}

func (t *text) header() ([]string, error) {
	row, err := t.cutter.cut(t)
	if err == io.EOF {
		return nil, fmt.Errorf("%s: %s", t.file, t.noHeader())
	}
	if err != nil {
		return nil, t.fatal(err)
	}
	cells := make([]string, len(row.Values))
	for i, v := range row.Values {
		cells[i] = v.(string)
	}
	if err := t.check(row.Line, row.Values); err != nil {
		return nil, err
	}
	if err := t.otherDelimiter(row.Line, cells); err != nil {
		return nil, err
	}
	return headerNames(t.file, row.Line, cells)
}

func (t *text) noHeader() string {
	if t.skipped > 0 {
		return fmt.Sprintf("ends before the header: skip: %d passes over all it has", t.skipped)
	}
	return "is empty: a header is wanted in its first row"
}

// otherDelimiter refuses a header of one name that holds what looks like the
// delimiter: else all of the file would be one column.
func (t *text) otherDelimiter(line int, cells []string) error {
	d, ok := t.cutter.(*delimited)
	if !ok || len(cells) != 1 {
		return nil
	}
	for _, other := range []string{"\t", ";", ",", "|"} {
		if other == d.delimiter || !strings.Contains(cells[0], other) {
			continue
		}
		advice := fmt.Sprintf("format: csv and delimiter: %q", other)
		if other == "\t" {
			advice = "format: tsv"
		}
		return fmt.Errorf("%s:%d: the header is one column, %q, parted by %q: say %s", t.file, line, shown(cells[0]), d.delimiter, advice)
	}
	return nil
}

func (t *text) setColumns(names []string) { t.columns = names }

func (t *text) next() (Row, error) {
	row, err := t.cutter.cut(t)
	if err != nil {
		return Row{}, t.fatal(err)
	}
	return row, nil
}

func (t *text) close() error { return nil }

// fatal names file and line in an error of the source.
func (t *text) fatal(err error) error {
	if _, ok := errors.AsType[*RowError](err); ok || err == io.EOF {
		return err
	}
	return fmt.Errorf("%s:%d: read on: %w", t.file, t.in.line, err)
}

func (t *text) bad(line int, format string, args ...any) error {
	return &RowError{File: t.file, Line: line, Reason: fmt.Sprintf(format, args...)}
}

// line returns the next line that is neither empty nor ignored, without taking it. A line
// that is too long is taken and refused.
func (t *text) line() (line []byte, next int, err error) {
	for {
		line, next, err = t.in.at(0)
		if errors.Is(err, errLongRow) {
			at := t.in.line
			if err := t.in.drop(); err != nil {
				return nil, 0, err
			}
			return nil, 0, t.bad(at, "the row is longer than %d KiB", maxRowBytes>>10)
		}
		if err != nil || len(line) > 0 && (t.ignored == nil || !t.ignored.Match(line)) {
			return line, next, err
		}
		t.in.take(next, 1)
	}
}

// clean reports whether a row is text of its encoding without NUL bytes. It
// is the quick look; check says what is wrong.
func (t *text) clean(row string) bool {
	return utf8.ValidString(row) && strings.IndexByte(row, 0) < 0 &&
		(!t.decoded || !strings.Contains(row, "\uFFFD"))
}

// check returns a *RowError for the first cell that is not clean or too long.
func (t *text) check(line int, values []any) error {
	for i, v := range values {
		s, _ := v.(string)
		if reason := t.flaw(s); reason != "" {
			return &RowError{File: t.file, Line: line, Column: t.columnName(i), Reason: reason}
		}
	}
	return nil
}

func (t *text) columnName(i int) string {
	if i < len(t.columns) {
		return t.columns[i]
	}
	return fmt.Sprintf("column %d", i+1)
}

// flaw says what is wrong with a cell, or nothing.
func (t *text) flaw(s string) string {
	if len(s) > maxCellBytes {
		return fmt.Sprintf("has %d bytes: a cell may have %d", len(s), maxCellBytes)
	}
	return t.notText(s)
}

// notText says where s is not text of the encoding, or nothing.
func (t *text) notText(s string) string {
	if t.clean(s) {
		return ""
	}
	place := 0
	for i, r := range s {
		place++
		switch {
		case r == 0:
			return fmt.Sprintf("character %d is a NUL byte: the file is damaged or not text in %s", place, t.encoding)
		case r == utf8.RuneError && t.decoded:
			return fmt.Sprintf("character %d is not %s: the file is in another encoding, or damaged there", place, t.encoding)
		case r == utf8.RuneError && s[i] != 0xef:
			return fmt.Sprintf("character %d (byte 0x%02x) is not utf-8: if the whole file is in another encoding, say encoding: windows-1252, gb18030 …", place, s[i])
		}
	}
	return ""
}

// counted refuses a row that has not as many cells as there are columns. The
// row takes n lines.
func (t *text) counted(line, n, cells int) error {
	if len(t.columns) == 0 || cells == len(t.columns) || t.short && cells < len(t.columns) {
		return nil
	}
	span := ""
	if n > 1 {
		span = fmt.Sprintf(" and runs to line %d by a quoted cell", line+n-1)
	}
	advice := ""
	if cells < len(t.columns) {
		advice = "; short: true takes such rows, ignore passes over lines that are no rows"
	}
	return t.bad(line, "the row has %s%s: %s wanted%s", plural(cells, "cell"), span, areColumns(len(t.columns)), advice)
}

// filled makes a row that ends early as long as the others.
func (t *text) filled(values []any) []any {
	for len(values) < len(t.columns) {
		values = append(values, "")
	}
	return values
}

func areColumns(n int) string {
	if n == 1 {
		return "1 column is"
	}
	return fmt.Sprintf("%d columns are", n)
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
