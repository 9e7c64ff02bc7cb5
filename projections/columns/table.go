// Package columns keeps what lists and searches need of every customer in
// memory: one compact [Row] each, by partition.
//
// A [Table] is a snapshot: it never changes, so that a reader goes through all
// rows of one commit while the fold goes on. A [Writer] makes the table of the
// next commit from that of the last and the rows that changed; it copies only
// the chunks that they stand in.
//
// Rows are filled once after a start, by one scan of the store in the
// background ([Writer.Fill]). Commits meanwhile are kept and outdo what the
// scan finds. Until then there is no table.
//
//	table := partition.View().Rows()
//	for row := range table.All() { … }
package columns

import (
	"iter"
	"maps"

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
	count  int
}

// Len is the number of rows.
func (t *Table) Len() int {
	if t == nil {
		return 0
	}
	return t.count
}

// All yields every row, in no order that means anything, the same in every
// later table.
func (t *Table) All() iter.Seq[*Row] {
	return func(yield func(*Row) bool) {
		for i := range t.Len() {
			if !yield(t.chunks[i/chunkRows][i%chunkRows]) {
				return
			}
		}
	}
}

// Writer makes tables. The zero Writer is ready for use; it is not safe for
// concurrent use.
type Writer struct {
	table  *Table // nil until filled
	places map[events.CustomerID]int
	// early are rows of commits made before the table was filled.
	early map[events.CustomerID]*Row
}

// Table is the rows as of the last call of Put, nil until [Writer.Fill].
func (w *Writer) Table() *Table { return w.table }

// Put takes in the rows that a commit changed.
func (w *Writer) Put(rows []*Row) {
	if w.table == nil {
		if w.early == nil {
			w.early = make(map[events.CustomerID]*Row, len(rows))
		}
		for _, r := range rows {
			w.early[r.ID] = r
		}
		return
	}
	if len(rows) == 0 {
		return
	}
	next := &Table{chunks: append(make([]*chunk, 0, len(w.table.chunks)+len(rows)/chunkRows+1), w.table.chunks...), count: w.table.count}
	own := make(map[int]bool, len(rows)) // chunks that next alone holds
	for _, r := range rows {
		w.put(next, own, r)
	}
	w.table = next
}

func (w *Writer) put(t *Table, own map[int]bool, r *Row) {
	at, known := w.places[r.ID]
	if !known {
		at = t.count
		w.places[r.ID] = at
		t.count++
	}
	n := at / chunkRows
	switch {
	case n == len(t.chunks):
		t.chunks = append(t.chunks, new(chunk))
		own[n] = true
	case !own[n]:
		copied := *t.chunks[n]
		t.chunks[n] = &copied
		own[n] = true
	}
	t.chunks[n][at%chunkRows] = r
}

// Fill makes the first table, of rows that a scan found in a commit since which
// all others were put.
func (w *Writer) Fill(scanned []*Row) {
	early := w.early
	w.early, w.table, w.places = nil, &Table{}, make(map[events.CustomerID]int, len(scanned)+len(early))
	own := map[int]bool{}
	t := &Table{}
	for _, r := range scanned {
		if newer := early[r.ID]; newer != nil {
			r = newer
		}
		w.put(t, own, r)
	}
	// In any order: a table has none.
	for r := range maps.Values(early) {
		w.put(t, own, r)
	}
	w.table = t
}
