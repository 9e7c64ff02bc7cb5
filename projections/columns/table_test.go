package columns_test

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/columns"
)

func row(customer, version int) *columns.Row {
	r := &columns.Row{Since: int64(version)}
	binary.BigEndian.PutUint64(r.ID[8:], uint64(customer))
	return r
}

// contents are the versions by customer; a table that holds one twice fails.
func contents(t interface{ Fatalf(string, ...any) }, table *columns.Table) map[events.CustomerID]int64 {
	got := map[events.CustomerID]int64{}
	n := 0
	for r := range table.All() {
		got[r.ID] = r.Since
		n++
	}
	if n != len(got) || n != table.Len() {
		t.Fatalf("table of %d rows yields %d of %d customers", table.Len(), n, len(got))
	}
	return got
}

// Whatever commits come, before the scan is in and after, a table holds the
// newest row of everybody, and the tables before it what they held.
func TestTablesAreSnapshots(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		version := 0
		newest := map[events.CustomerID]int64{}
		draw := func(label string) []*columns.Row {
			var rows []*columns.Row
			for _, customer := range rapid.SliceOfDistinct(rapid.IntRange(0, 300), func(n int) int { return n }).Draw(t, label) {
				version++
				rows = append(rows, row(customer, version))
			}
			return rows
		}
		note := func(rows []*columns.Row) []*columns.Row {
			for _, r := range rows {
				newest[r.ID] = r.Since
			}
			return rows
		}
		scanned := note(draw("scanned"))
		early := new(columns.Writer)
		for range rapid.IntRange(0, 3).Draw(t, "early commits") {
			early.Put(note(draw("early")))
		}
		if early.Table() != nil {
			t.Fatalf("a table before the scan: %d rows", early.Table().Len())
		}
		w := columns.NewWriter(scanned)
		w.Put(early.Early())

		var tables []*columns.Table
		var held []map[events.CustomerID]int64
		for range rapid.IntRange(1, 8).Draw(t, "commits") {
			tables, held = append(tables, w.Table()), append(held, maps.Clone(newest))
			w.Put(note(draw("commit")))
		}
		tables, held = append(tables, w.Table()), append(held, newest)
		for i := range tables {
			if diff := gocmp.Diff(held[i], contents(t, tables[i])); diff != "" {
				t.Fatalf("table %d (-want +got):\n%s", i, diff)
			}
		}
	})
}

func TestEmptyTable(t *testing.T) {
	t.Parallel()
	var none *columns.Table
	if n := none.Len(); n != 0 {
		t.Errorf("a nil table has %d rows, want 0", n)
	}
	for range none.All() {
		t.Error("a nil table yields a row")
	}
	if got := columns.NewWriter(nil).Table(); got == nil || got.Len() != 0 {
		t.Errorf("the table of no customers: %v, want an empty one", got)
	}
}

func TestRowsStayInOrder(t *testing.T) {
	t.Parallel()
	w := columns.NewWriter(nil)
	for i := range 200 {
		w.Put([]*columns.Row{row(200-i, 1)})
	}
	w.Put([]*columns.Row{row(7, 2)})
	ids := func(t *columns.Table) (ids []events.CustomerID) {
		for r := range t.All() {
			ids = append(ids, r.ID)
		}
		return ids
	}
	got := ids(w.Table())
	if !slices.IsSortedFunc(got, func(a, b events.CustomerID) int { return -cmp.Compare(a.String(), b.String()) }) {
		t.Errorf("a change moved a row: %v", got)
	}
}
