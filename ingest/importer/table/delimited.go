package table

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// delimited cuts csv and tsv.
type delimited struct {
	delimiter string
	separator []byte // the delimiter once more, for searching bytes
	lenient   bool   // quoting that makes no sense is text (tsv)

	// The cells of a row with quotes: the unquoted text of all, and where in
	// it each ends.
	text []byte
	ends []int

	last []any // the cells of the row before
}

func newDelimited(delimiter rune, lenient bool) *delimited {
	if delimiter == 0 {
		delimiter = ','
	}
	return &delimited{delimiter: string(delimiter), separator: []byte(string(delimiter)), lenient: lenient}
}

// cut passes over rows of nothing but delimiters: so spreadsheets write lines
// that are empty.
func (d *delimited) cut(t *text) (Row, error) {
	for {
		row, err := d.row(t)
		if err != nil || slices.ContainsFunc(row.Values, func(v any) bool { return v != "" }) {
			return row, err
		}
	}
}

func (d *delimited) row(t *text) (Row, error) {
	line, next, err := t.line()
	if err != nil {
		return Row{}, err
	}
	start := t.in.line
	if bytes.IndexByte(line, '"') < 0 {
		return d.plain(t, line, next)
	}
	n, to, err := d.quoted(t.in, len(line), next)
	wrong, isQuote := errors.AsType[*quoteError](err)
	if err != nil && !isQuote {
		return Row{}, err
	}
	if d.lenient && (isQuote || n > 1 && len(t.columns) > 0 && len(d.ends) != len(t.columns)) {
		// The lookahead may have moved the buffer.
		if line, next, err = t.in.at(0); err != nil {
			return Row{}, err
		}
		return d.plain(t, line, next)
	}
	if isQuote {
		t.in.take(next, 1)
		return Row{}, t.bad(start, "%s", wrong.reason)
	}
	t.in.take(to, n)
	return d.unquoted(t, start, n)
}

// plain takes a line without quotes, or one whose quotes are text.
func (d *delimited) plain(t *text, line []byte, next int) (Row, error) {
	s, start := string(line), t.in.line
	t.in.take(next, 1)
	n := strings.Count(s, d.delimiter) + 1
	if extra := n - len(t.columns); t.columns != nil && extra > 0 && strings.HasSuffix(s, strings.Repeat(d.delimiter, extra)) {
		n = len(t.columns) // nothing stands behind the last column
	}
	if err := t.counted(start, 1, n); err != nil {
		return Row{}, err
	}
	if n > maxColumns {
		return Row{}, t.bad(start, "the row has %d cells: at most %d can be read", n, maxColumns)
	}
	values := make([]any, n)
	for i, rest := 0, s; i < n; i++ {
		var cell string
		cell, rest, _ = strings.Cut(rest, d.delimiter)
		values[i] = d.value(i, cell)
	}
	return d.finish(t, start, s, values)
}

// unquoted makes a row of the cells that quoted has found.
func (d *delimited) unquoted(t *text, start, n int) (Row, error) {
	if last := len(t.columns); last > 0 && len(d.ends) > last && d.ends[last-1] == len(d.text) {
		d.ends = d.ends[:last]
	}
	if err := t.counted(start, n, len(d.ends)); err != nil {
		return Row{}, err
	}
	if len(d.ends) > maxColumns {
		return Row{}, t.bad(start, "the row has %d cells: at most %d can be read", len(d.ends), maxColumns)
	}
	s, from := string(d.text), 0
	values := make([]any, len(d.ends))
	for i, end := range d.ends {
		values[i] = d.value(i, s[from:end])
		from = end
	}
	return d.finish(t, start, s, values)
}

// value makes a value of a cell. Exports repeat the cell above again and
// again (the date, the order, the country): its value is then taken once more,
// which saves the allocation that most of the time of reading goes into.
func (d *delimited) value(i int, cell string) any {
	if i < len(d.last) && d.last[i] == any(cell) {
		return d.last[i]
	}
	return cell
}

func (d *delimited) finish(t *text, start int, s string, values []any) (Row, error) {
	values = t.filled(values)
	d.last = append(d.last[:0], values...)
	if len(s) > maxCellBytes || !t.clean(s) {
		if err := t.check(start, values); err != nil {
			return Row{}, err
		}
	}
	return Row{Line: start, Values: values}, nil
}

// quoteError says that the quotes of a row make no sense.
type quoteError struct{ reason string }

func (e *quoteError) Error() string { return e.reason }

// quoted reads the row that begins with a line of the given length, and puts
// its cells into d.text and d.ends. It returns how many lines the row takes
// and the offset behind them, and takes nothing.
func (d *delimited) quoted(in *lines, length, next int) (n, to int, err error) {
	d.text, d.ends, n = d.text[:0], d.ends[:0], 1
	w := in.window(next)
	for p := 0; ; p += len(d.separator) {
		if p < length && w[p] == '"' {
			var more int
			if p, more, err = d.quotedCell(in, &w, &length, p+1); err != nil {
				return 0, 0, err
			}
			n += more
		} else if i := bytes.Index(w[p:length], d.separator); i >= 0 {
			d.text = append(d.text, w[p:p+i]...)
			p += i
		} else {
			d.text = append(d.text, w[p:length]...)
			p = length
		}
		d.ends = append(d.ends, len(d.text))
		if p == length {
			return n, len(w), nil
		}
		if !bytes.HasPrefix(w[p:length], d.separator) {
			return 0, 0, &quoteError{fmt.Sprintf("cell %d goes on with %q after its closing quote; quotes inside a quoted cell are written twice",
				len(d.ends), shown(string(w[p:min(length, p+20)])))}
		}
	}
}

// quotedCell reads a cell from behind its opening quote, and makes the window
// wider by each line that it runs over; length becomes the end of the last
// one without its ending. It returns the place behind the closing quote and
// the number of lines added.
func (d *delimited) quotedCell(in *lines, w *[]byte, length *int, p int) (end, more int, err error) {
	for {
		i := bytes.IndexByte((*w)[p:], '"')
		if i < 0 {
			d.text = append(d.text, (*w)[p:]...)
			p = len(*w)
			line, next, err := in.at(p)
			if err == io.EOF || errors.Is(err, errLongRow) {
				return 0, 0, d.unclosed(err)
			}
			if err != nil {
				return 0, 0, err
			}
			*length = p + len(line)
			*w = in.window(next)
			more++
			continue
		}
		d.text = append(d.text, (*w)[p:p+i]...)
		p += i + 1
		if p >= *length || (*w)[p] != '"' {
			return p, more, nil
		}
		d.text = append(d.text, '"')
		p++
	}
}

func (d *delimited) unclosed(err error) error {
	where := "before the file ends"
	if errors.Is(err, errLongRow) {
		where = fmt.Sprintf("within %d KiB", maxRowBytes>>10)
	}
	return &quoteError{fmt.Sprintf("cell %d begins with a quote that is not closed %s", len(d.ends)+1, where)}
}
