// Package columns keeps what lists and searches need of every customer in
// memory: one compact [Row] each, by partition.
//
// A [Table] is a snapshot: it never changes, so that a reader goes through all
// rows of one commit while the fold goes on. A [Writer] makes the table of the
// next commit from that of the last and the rows that changed; it copies only
// the chunks that they stand in.
//
// Rows are read once after a start, by one scan of the store in the background.
// Rows of commits made meanwhile are gathered by a [Writer] without a table, and
// put over what the scan finds. Until then there is no table.
//
//	table, err := partition.View().Rows()
//	for row := range table.All() { … }
package columns

import (
	"iter"
	"slices"

	"github.com/dossier360/dossier/events"
)

// chunkRows is how many rows are copied when one of them changes. Smaller, and
// a commit copies more pointers to chunks: of a million customers 16,000.
const chunkRows = 64

type chunk [chunkRows]*Row

// Table holds the rows of one commit. It is immutable, and a nil Table is
// empty.
type Table struct {
	chunks []*chunk
	count  int // places taken, those of customers who are gone included
	gone   int // whose place holds nil
}

// Len is the number of rows.
func (t *Table) Len() int {
	if t == nil {
		return 0
	}
	return t.count - t.gone
}

// All yields every row, in no order that means anything, the same in every
// later table.
func (t *Table) All() iter.Seq[*Row] {
	return func(yield func(*Row) bool) {
		if t == nil {
			return
		}
		for i := range t.count {
			if row := t.chunks[i/chunkRows][i%chunkRows]; row != nil && !yield(row) {
				return
			}
		}
	}
}

// Writer makes tables. The zero Writer has no table: it gathers rows for one
// that has. It is not safe for concurrent use.
type Writer struct {
	table  *Table // nil: none
	places map[events.CustomerID]int
	early  map[events.CustomerID]*Row // of a writer without a table
}

// NewWriter returns a writer with a table of these rows, one a customer.
func NewWriter(rows []*Row) *Writer {
	w := &Writer{table: &Table{}, places: make(map[events.CustomerID]int, len(rows))}
	w.Put(rows)
	return w
}

// Table is the rows as of the last Put, nil if the writer has none.
func (w *Writer) Table() *Table { return w.table }

// Early are the rows that a writer without a table was given, the last of each
// customer, in no order.
func (w *Writer) Early() []*Row {
	rows := make([]*Row, 0, len(w.early))
	for _, r := range w.early {
		rows = append(rows, r)
	}
	return rows
}

// Put takes in the rows that a commit changed.
func (w *Writer) Put(rows []*Row) {
	switch {
	case len(rows) == 0:
	case w.table == nil:
		if w.early == nil {
			w.early = make(map[events.CustomerID]*Row, len(rows))
		}
		for _, r := range rows {
			w.early[r.ID] = r
		}
	default:
		next := draft{&Table{chunks: slices.Clone(w.table.chunks), count: w.table.count, gone: w.table.gone}, make(map[int]bool, len(rows))}
		for _, r := range rows {
			at, known := w.places[r.ID]
			if r.Gone {
				if known {
					delete(w.places, r.ID)
					next.put(at, nil)
					next.gone++
				}
				continue
			}
			if !known {
				at = next.count
				w.places[r.ID] = at
			}
			next.put(at, r)
		}
		w.table = next.Table
	}
}

// draft is a table that nobody reads yet.
type draft struct {
	*Table
	own map[int]bool // chunks that no other table holds
}

// put sets a row at its place, which is the next free one if it is new.
func (d draft) put(at int, r *Row) {
	n := at / chunkRows
	if !d.own[n] {
		d.own[n] = true
		if n == len(d.chunks) {
			d.chunks = append(d.chunks, new(chunk))
		} else {
			copied := *d.chunks[n]
			d.chunks[n] = &copied
		}
	}
	d.chunks[n][at%chunkRows] = r
	d.count = max(d.count, at+1)
}
