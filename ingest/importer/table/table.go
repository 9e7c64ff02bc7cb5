package table

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
)

// Reader reads the rows of one file, or of the files of one zip archive one
// after the other. It is for one goroutine, except for Progress.
type Reader struct {
	options Options
	src     *source
	file    string // what is read now
	rows    rows
	columns []string
	ended   error // what Next answers from now on

	done  atomic.Int64
	total int64
}

// rows is a file being read in one of the formats.
type rows interface {
	// header reads the first row as names of columns.
	header() (names []string, err error)
	// setColumns says what every row must have from now on.
	setColumns(names []string)
	// next returns the next row, io.EOF, a *RowError, or what ends the file.
	next() (Row, error)
	// close gives back what is held beside the source.
	close() error
}

// Open opens the file and reads up to the first row. Its errors name the
// file; one about the options is an [*OptionError].
func Open(path string, o Options) (*Reader, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	r := &Reader{options: o}
	src, err := openSource(path, o, &r.done)
	if err != nil {
		return nil, err
	}
	r.src, r.total = src, src.size
	if err := r.nextFile(); err != nil {
		if err == io.EOF {
			err = fmt.Errorf("%s: the archive holds no file", src.name)
		}
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Columns returns the names of the columns; nil for ndjson without columns,
// where each row is one map.
func (r *Reader) Columns() []string { return slices.Clone(r.columns) }

// File returns the name of the file that is read now, without its folder;
// inside an archive "orders.zip/orders.csv".
func (r *Reader) File() string { return r.file }

// Progress returns how many bytes of the file on disk are read, and how many
// it has. It may be called from any goroutine.
func (r *Reader) Progress() (done, total int64) {
	return min(r.done.Load(), r.total), r.total
}

// Next returns the next row. It returns io.EOF behind the last one and a
// [*RowError] for a row that is lost, after which it may be called again. Any
// other error is final: the file cannot be read on.
func (r *Reader) Next() (Row, error) {
	for r.ended == nil {
		row, err := r.rows.next()
		if err == nil {
			return row, nil
		}
		if bad, ok := errors.AsType[*RowError](err); ok {
			return Row{}, bad
		}
		if err == io.EOF {
			err = r.nextFile()
		}
		r.ended = err
	}
	if r.ended == io.EOF {
		r.done.Store(r.total)
	}
	return Row{}, r.ended
}

// Close closes the file. It may be called more than once.
func (r *Reader) Close() error {
	var errs []error
	if r.rows != nil {
		errs = append(errs, r.rows.close())
		r.rows = nil
	}
	if r.ended == nil || r.ended == io.EOF {
		r.ended = fmt.Errorf("read %s: %w", r.file, os.ErrClosed)
	}
	return errors.Join(append(errs, r.src.close())...)
}

// nextFile opens the source's next file and reads its header. It returns
// io.EOF behind the last one.
func (r *Reader) nextFile() error {
	if r.rows != nil {
		if err := r.rows.close(); err != nil {
			return err
		}
		r.rows = nil
	}
	part, err := r.src.next()
	if err != nil {
		return err
	}
	r.file = part.name
	if r.rows, err = r.open(part); err != nil {
		return err
	}
	return r.nameColumns()
}

func (r *Reader) open(p part) (rows, error) {
	if err := refuseForeign(p, r.options); err != nil {
		return nil, err
	}
	if r.options.Format == formatXLSX {
		return openWorkbook(p, r.options, r.workbookProgress)
	}
	return openText(p, r.options)
}

// workbookProgress is told which share of its rows a workbook has read: its
// bytes were all read when it was opened. Of several workbooks in an archive
// the bytes must do.
func (r *Reader) workbookProgress(share float64) {
	if r.src.single {
		r.done.Store(int64(share * float64(r.total)))
	}
}

// nameColumns settles the names: those of the options, or of the header,
// which must be the same in all files of an archive.
func (r *Reader) nameColumns() error {
	names := make([]string, len(r.options.Columns))
	for i, c := range r.options.Columns {
		names[i] = c.Name
	}
	if r.options.Header {
		var err error
		if names, err = r.rows.header(); err != nil {
			return err
		}
		if r.columns != nil && !slices.Equal(names, r.columns) {
			return fmt.Errorf("%s: its header names %s, and that of the files before it %s: the files of an archive must have the same columns; inside: picks some of them",
				r.file, strings.Join(names, ", "), strings.Join(r.columns, ", "))
		}
	}
	if len(names) > 0 {
		r.columns = names
		r.rows.setColumns(names)
	}
	return nil
}

// headerNames makes names of the cells of a header row. Delimiters at its end
// begin no columns, and a column without a name is called by its place.
func headerNames(file string, line int, cells []string) ([]string, error) {
	for len(cells) > 0 && trimName(cells[len(cells)-1]) == "" {
		cells = cells[:len(cells)-1]
	}
	if len(cells) == 0 {
		return nil, fmt.Errorf("%s:%d: the header names no column", file, line)
	}
	if len(cells) > maxColumns {
		return nil, fmt.Errorf("%s:%d: the header has %d columns: at most %d can be read", file, line, len(cells), maxColumns)
	}
	seen := make(map[string]int, len(cells))
	names := make([]string, len(cells))
	for i, cell := range cells {
		name := trimName(cell)
		if name == "" {
			name = fmt.Sprintf("column %d", i+1) // as the index that some programs write first
		}
		if j, ok := seen[name]; ok {
			return nil, fmt.Errorf("%s:%d: column %d of the header is %q, and so is column %d: names must differ; in place of header: true give others by columns: [...], and pass over the header by skip: %d",
				file, line, i+1, shown(name), j, line)
		}
		seen[name] = i + 1
		names[i] = strings.Clone(name)
	}
	return names, nil
}

// trimName removes what cannot be seen at the ends of a name: blanks of all
// kinds, no-break ones among them, and byte order marks.
func trimName(s string) string {
	s = strings.ReplaceAll(s, "\u00a0", " ")
	for {
		t := strings.Trim(strings.TrimSpace(s), "\ufeff\u200b")
		if t == s {
			return s
		}
		s = t
	}
}
