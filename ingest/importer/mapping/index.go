package mapping

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dossier360/dossier/ingest/importer/table"
)

// Index is the file of a lookup, its rows found by key. It is filled by one
// goroutine; then any number may look things up.
type Index struct {
	lookup  *Lookup
	m       *Mapping
	file    string
	columns *header
	keeps   *header
	rows    map[string][]*record
	bytes   int
}

// Index makes an empty index of a lookup's file, of which the columns are known
// (nil: any). The error is of type [Errors]: columns that the mapping names and
// the file does not have.
func (m *Mapping) Index(lookup, file string, columns []string) (*Index, error) {
	l := m.lookup(lookup)
	if l == nil {
		return nil, fmt.Errorf("%s: there is no lookup %q", m.Name, lookup)
	}
	x := &Index{lookup: l, m: m, file: file, rows: map[string][]*record{}}
	needs := &columnSet{all: m.needs[lookup].all}
	needs.add(m.needs[lookup].sortedNames()...)
	needs.add(l.Key...)
	if columns == nil {
		return x, nil
	}
	x.columns = newHeader(columns)
	x.keeps = needs.of(x.columns)
	var wrong Errors
	for _, k := range l.key {
		wrong = m.missing(wrong, k.place, k.text, file, x.columns)
	}
	for _, u := range m.uses {
		if u.table == lookup {
			wrong = m.missing(wrong, u.place, u.column, file, x.columns)
		}
	}
	if err := wrong.sorted(); err != nil {
		return nil, err
	}
	return x, nil
}

// missing adds an error if a file has no column of a name.
func (m *Mapping) missing(wrong Errors, at place, column, file string, columns *header) Errors {
	if columns == nil || column == everyColumn {
		return wrong
	}
	if _, ok := columns.index[column]; ok {
		return wrong
	}
	message := fmt.Sprintf("%s has no column %q%s", file, column, near(column, columns.names))
	if slices.ContainsFunc(wrong, func(e *Error) bool { return e.Line == at.line && e.Column == at.column && e.Message == message }) {
		return wrong
	}
	return append(wrong, &Error{File: m.Name, Line: at.line, Column: at.column, Key: at.key, Message: message})
}

// Add takes a row. A row without a key is left out: nothing finds it. The error
// says that the file is too large to be looked up.
func (x *Index) Add(row table.Row) error {
	r := x.m.newRecord(x.columns, x.lookup.Name, row)
	keys := make([]string, len(x.lookup.Key))
	for i, k := range x.lookup.Key {
		if keys[i] = cellText(r.raw(k)); keys[i] == "" {
			return nil
		}
	}
	needs := x.m.needs[x.lookup.Name]
	if x.columns == nil {
		needs = &columnSet{all: true}
	}
	kept, bytes := r.keep(x.keeps, needs)
	key := joinKeys(keys)
	x.rows[key] = append(x.rows[key], kept)
	if x.bytes += bytes + len(key) + hashBytes; x.bytes > MaxHeldBytes {
		return fmt.Errorf("%s:%d: lookup %s holds more than %d MiB by now; leave out rows and columns that the mapping does not use", x.file, row.Line, x.lookup.Name, MaxHeldBytes>>20)
	}
	return nil
}

// joinKeys is one text of several that no others make.
func joinKeys(keys []string) string {
	if len(keys) == 1 {
		return keys[0]
	}
	var b strings.Builder
	for _, k := range keys {
		fmt.Fprintf(&b, "%d:%s", len(k), k)
	}
	return b.String()
}

// joinID is the id of a record of several values, which no others make: what
// joins them stands escaped in them.
func joinID(values []string) string {
	if len(values) == 1 {
		return values[0]
	}
	escaped := make([]string, len(values))
	for i, v := range values {
		escaped[i] = strings.NewReplacer("%", "%25", "/", "%2F").Replace(v)
	}
	return strings.Join(escaped, "/")
}
