package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/dossier360/dossier/ingest/importer/mapping"
	"github.com/dossier360/dossier/ingest/importer/table"
)

// Files are what an import reads: files, each as the same mapping says.
type Files struct {
	mapping *mapping.Mapping
	paths   []string
	lookups map[string]*mapping.Index

	rows  atomic.Int64
	total int64

	mu      sync.Mutex
	reading string        // name of the file being read; guarded by mu
	reader  *table.Reader // of it; nil between files; guarded by mu
	before  int64         // bytes of the files read before; guarded by mu
	// handed are the bytes of the file being read whose groups were handed on too;
	// guarded by mu. While held, they are half of what is done.
	handed int64
	held   bool // the rows of a file wait for its end; guarded by mu
}

// InputError says that an import was asked for what is not there, or not as it
// was said to be.
type InputError struct{ err error }

func (e *InputError) Error() string { return e.err.Error() }
func (e *InputError) Unwrap() error { return e.err }

// Open finds the files, and those that the mapping looks things up in, which lie
// relative to its own.
func Open(m *mapping.Mapping, paths []string) (*Files, error) {
	f := &Files{mapping: m, paths: paths, lookups: map[string]*mapping.Index{}}
	for _, path := range paths {
		if err := f.find(path); err != nil {
			return nil, &InputError{err}
		}
	}
	for i := range m.Lookups {
		if err := f.find(f.lookupPath(&m.Lookups[i])); err != nil {
			return nil, &InputError{fmt.Errorf("%s: lookups.%s.file: %w", m.Name, m.Lookups[i].Name, err)}
		}
	}
	return f, nil
}

func (f *Files) find(path string) error {
	info, err := os.Stat(path)
	if missing, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s: %w", path, missing.Err)
	}
	if err != nil {
		return err
	}
	f.total += info.Size()
	return nil
}

func (f *Files) lookupPath(l *mapping.Lookup) string {
	if filepath.IsAbs(l.File) {
		return l.File
	}
	return filepath.Join(filepath.Dir(f.mapping.Name), l.File)
}

// Progress is how far the reading of files is.
type Progress struct {
	File        string // read now
	Rows        int64
	Done, Total int64 // bytes on disk
}

// Progress may be called while the files are read.
func (f *Files) Progress() Progress {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := Progress{File: f.reading, Rows: f.rows.Load(), Done: f.before, Total: f.total}
	if f.reader != nil {
		done, _ := f.reader.Progress()
		if f.held {
			done = (done + f.handed) / 2
		}
		p.Done += done
	}
	return p
}

// Read is the [Source] of the files: it reads the lookups, then the files, one
// after the other.
func (f *Files) Read(ctx context.Context, emit func(Item) error) error {
	for i := range f.mapping.Lookups {
		if err := f.readLookup(ctx, &f.mapping.Lookups[i], emit); err != nil {
			return err
		}
	}
	if err := f.checkColumns(); err != nil {
		return err
	}
	for _, path := range f.paths {
		if err := f.readFile(ctx, path, emit); err != nil {
			return err
		}
	}
	return nil
}

// checkColumns opens the files behind the first, so that one that the mapping
// does not fit is told of before the others are sent. What can be read once
// only, as a pipe, is left alone.
func (f *Files) checkColumns() error {
	for _, path := range f.paths[min(1, len(f.paths)):] {
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			continue
		}
		r, err := table.Open(path, f.mapping.Table)
		if err != nil {
			return &InputError{err}
		}
		_, err = f.mapping.Bind(r.File(), r.Columns(), f.lookups)
		if err = errors.Join(err, r.Close()); err != nil {
			return err
		}
	}
	return nil
}

// readLookup loads the file of a lookup. A row that cannot be read is told; it is
// not found then.
func (f *Files) readLookup(ctx context.Context, l *mapping.Lookup, emit func(Item) error) error {
	r, err := table.Open(f.lookupPath(l), l.Table)
	if err != nil {
		return &InputError{fmt.Errorf("%s: lookups.%s: %w", f.mapping.Name, l.Name, err)}
	}
	defer r.Close()
	f.begin(r)
	defer f.end()
	index, err := f.mapping.Index(l.Name, r.File(), r.Columns())
	if err != nil {
		return err
	}
	f.lookups[l.Name] = index
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		row, err := r.Next()
		bad, isBad := errors.AsType[*table.RowError](err)
		switch {
		case err == io.EOF:
			return nil
		case isBad:
			err = emit(Item{File: r.File(), Refused: []Refusal{{Line: bad.Line, Column: bad.Column, Value: bad.Value, Reason: bad.Reason}}})
		case err == nil:
			err = index.Add(row)
		}
		if err != nil {
			return err
		}
	}
}

// readFile reads a file, or the files of an archive, each of which has groups of
// its own.
func (f *Files) readFile(ctx context.Context, path string, emit func(Item) error) error {
	r, err := table.Open(path, f.mapping.Table)
	if err != nil {
		return &InputError{err}
	}
	defer r.Close()
	f.begin(r)
	defer f.end()
	f.mu.Lock()
	f.held = f.mapping.Holds()
	f.mu.Unlock()
	t, err := f.bind(r, emit)
	if err != nil {
		return err
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		row, lost := r.Next()
		if lost == io.EOF {
			return t.close()
		}
		if r.File() != t.name {
			if err := t.close(); err != nil {
				return err
			}
			f.begin(r)
			if t, err = f.bind(r, emit); err != nil {
				return err
			}
		}
		if err := t.take(row, lost); err != nil {
			return err
		}
	}
}

// Find reads the files again, for the rows that are wanted. It ends with the
// error of found, if found has one.
func (f *Files) Find(ctx context.Context, wanted func(file string, line int) bool, found func(file string, line int, cells []any) error) error {
	for _, path := range f.paths {
		if err := f.findIn(ctx, path, wanted, found); err != nil {
			return err
		}
	}
	return nil
}

func (f *Files) findIn(ctx context.Context, path string, wanted func(file string, line int) bool, found func(file string, line int, cells []any) error) error {
	r, err := table.Open(path, f.mapping.Table)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		row, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if _, bad := errors.AsType[*table.RowError](err); bad {
			continue
		}
		if err == nil && wanted(r.File(), row.Line) {
			err = found(r.File(), row.Line, row.Values)
		}
		if err != nil {
			return err
		}
	}
}

// begin notes which file is read now, of a reader that may read several.
func (f *Files) begin(r *table.Reader) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reader, f.reading = r, r.File()
}

func (f *Files) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reader != nil {
		_, total := f.reader.Progress()
		f.before += total
		f.reader, f.handed, f.held = nil, 0, false
	}
}

// bind makes the mapping ready for the file that a reader reads now.
func (f *Files) bind(r *table.Reader, emit func(Item) error) (*rows, error) {
	mapper, err := f.mapping.Bind(r.File(), r.Columns(), f.lookups)
	if err != nil {
		return nil, err
	}
	return &rows{files: f, name: r.File(), columns: r.Columns(), mapper: mapper, emit: emit}, nil
}

// rows are those of one file, on their way through the mapping.
type rows struct {
	files   *Files
	name    string
	columns []string
	mapper  *mapping.Mapper
	emit    func(Item) error
}

// take takes what the reader gave: a row, or why there is none.
func (t *rows) take(row table.Row, err error) error {
	if bad, ok := errors.AsType[*table.RowError](err); ok {
		t.files.rows.Add(1)
		t.mapper.Lost()
		return t.emit(Item{File: t.name, Line: bad.Line, Columns: t.columns, Refused: []Refusal{
			{Line: bad.Line, Column: bad.Column, Value: bad.Value, Reason: bad.Reason},
		}})
	}
	if err != nil {
		return err
	}
	t.files.rows.Add(1)
	made, rejects, outcome := t.mapper.Add(row)
	item := t.item(made, rejects)
	item.Line, item.Cells = row.Line, row.Values
	item.Skipped, item.Unmatched = outcome.Skipped > 0, outcome.Unmatched > 0
	if err := t.emit(item); err != nil {
		return err
	}
	return t.mapper.Err()
}

// close hands on the groups, whose rows were all seen.
func (t *rows) close() error {
	groups, told := t.mapper.Groups(), 0
	from, to := t.files.handedAndRead()
	for made, rejects := range t.mapper.Close() {
		if err := t.emit(t.item(made, rejects)); err != nil {
			return err
		}
		told++
		t.files.hand(from + int64(float64(to-from)*float64(told)/float64(max(groups, told))))
	}
	t.files.hand(to)
	return t.mapper.Err()
}

// handedAndRead says how many bytes of the file being read are read, and of how many the
// groups were handed on.
func (f *Files) handedAndRead() (handed, read int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	read, _ = f.reader.Progress()
	return f.handed, read
}

func (f *Files) hand(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handed = bytes
}

func (t *rows) item(made []mapping.Made, rejects []mapping.Reject) Item {
	item := Item{File: t.name, Columns: t.columns}
	for _, m := range made {
		item.Records = append(item.Records, Record{ID: m.ID, Event: m.Event, Lines: m.Lines})
	}
	for _, r := range rejects {
		item.Refused = append(item.Refused, Refusal{Line: r.Line, Column: r.Column, Value: r.Value, Reason: r.Reason})
	}
	return item
}
