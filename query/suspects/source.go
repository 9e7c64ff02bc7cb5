package suspects

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections"
	"github.com/dossier360/dossier/projections/columns"
	"github.com/dossier360/dossier/projections/profile"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
	"github.com/dossier360/dossier/query"
)

// reading is the facts of all customers at one commit of every partition.
type reading struct {
	names  *Names
	views  []query.View
	tables []*columns.Table
}

// read opens a view of every partition. It fails with
// [projections.ErrCatchingUp] while the rows of one are being read.
func read(names *Names, partitions []query.Partition) (*reading, error) {
	r := &reading{names: names}
	for _, p := range partitions {
		v := p.View()
		r.views = append(r.views, v)
		if known := p.Known(); v.Applied() < known.Target {
			r.close()
			return nil, fmt.Errorf("partition %d is at %d of %d records: %w", p.ID(), v.Applied(), known.Target, projections.ErrCatchingUp)
		}
		table, err := v.Rows()
		if err != nil {
			r.close()
			return nil, err
		}
		r.tables = append(r.tables, table)
	}
	return r, nil
}

func (r *reading) close() {
	for _, v := range r.views {
		v.Close()
	}
}

// positions is how much of each partition was folded.
func (r *reading) positions() []uint64 {
	all := make([]uint64, len(r.views))
	for i, v := range r.views {
		all[i] = v.Applied()
	}
	return all
}

// source is a [Source]. What rows hold is taken from there; customers of whom a
// row does not tell all are read from the store, in its order.
func (r *reading) source(ctx context.Context, wanted func(events.CustomerID) bool) iter.Seq2[*Facts, error] {
	return func(yield func(*Facts, error) bool) {
		for p, table := range r.tables {
			elsewhere := map[events.CustomerID]*Facts{}
			n := 0
			for row := range table.All() {
				if n++; n%rowsPerLook == 0 && ctx.Err() != nil {
					yield(nil, ctx.Err())
					return
				}
				if wanted != nil && !wanted(row.ID) {
					continue
				}
				f, whole := r.ofRow(row)
				if !whole {
					elsewhere[row.ID] = f
				} else if !yield(f, nil) {
					return
				}
			}
			if len(elsewhere) > 0 && !r.readTraits(ctx, r.views[p], elsewhere, yield) {
				return
			}
		}
	}
}

// rowsPerLook is how many rows are read before it is asked whether anybody
// waits.
const rowsPerLook = 1024

// traitsPart is what is read of a customer whose row does not tell all.
var traitsPart = projections.PartFor([]string{"traits"}, nil)

// readTraits adds to facts what the rows do not hold.
func (r *reading) readTraits(ctx context.Context, v query.View, of map[events.CustomerID]*Facts, yield func(*Facts, error) bool) bool {
	stopped := fmt.Errorf("no more customers are wanted")
	n := 0
	wanted := func(id events.CustomerID) (projections.Part, bool) {
		_, ok := of[id]
		return traitsPart, ok
	}
	err := v.Parts(wanted, func(id events.CustomerID, head *statev1.Head) error {
		if n++; n%rowsPerLook == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		f := of[id]
		for told := range profile.ShownTraits(head.GetFacts()) {
			r.addJSON(f, told.Name, told.ValueJson)
		}
		if !yield(f, nil) {
			return stopped
		}
		return nil
	})
	if err != nil && err != stopped {
		yield(nil, fmt.Errorf("read traits: %w", err))
	}
	return err == nil
}

// ofRow is what a row tells, and whether that is all. Of a row that does not
// the traits are left out.
func (r *reading) ofRow(row *columns.Row) (f *Facts, whole bool) {
	f = &Facts{ID: row.ID, Company: row.Company, Name: row.Name}
	for _, id := range row.Identifiers {
		name := id.Type
		if id.IsPhone() {
			name = "phone"
		}
		f.Add(r.names, name, id.Value)
	}
	if row.Traits.More() {
		return f, false
	}
	before := len(f.Values)
	for name, trait := range row.Traits.All() {
		switch trait.Kind {
		case columns.TraitText:
			f.Add(r.names, name, trait.Text)
		case columns.TraitNumber:
			f.Add(r.names, name, strconv.FormatFloat(trait.Number, 'f', -1, 64))
		case columns.TraitElsewhere:
			if r.names.find(name).field != noField {
				f.Values = f.Values[:before]
				return f, false
			}
		}
	}
	return f, true
}

// addJSON adds a trait: a text, a number, or an object of those, as the address
// is of which each entry has a name. Of a list each entry counts.
func (r *reading) addJSON(f *Facts, name, text string) {
	var value any
	if json.Unmarshal([]byte(text), &value) != nil {
		return // facts hold canonical JSON; a cut one of an object is none
	}
	r.addValue(f, name, value, 0)
}

// maxDepth bounds how deep objects of objects are looked into.
const maxDepth = 3

func (r *reading) addValue(f *Facts, name string, value any, depth int) {
	switch value := value.(type) {
	case string:
		f.Add(r.names, name, value)
	case float64:
		f.Add(r.names, name, strconv.FormatFloat(value, 'f', -1, 64))
	case []any:
		for _, entry := range value {
			if depth < maxDepth {
				r.addValue(f, name, entry, depth+1)
			}
		}
	case map[string]any:
		if depth >= maxDepth || depth == 0 && r.names.find(name).field == noField {
			return // who knows what the street in such an object is
		}
		for _, key := range slices.Sorted(maps.Keys(value)) {
			r.addValue(f, name+"."+key, value[key], depth+1)
		}
	}
}
