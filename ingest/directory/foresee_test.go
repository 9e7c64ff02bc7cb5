package directory_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/projections/store"
)

// TestForeseeLaw follows random orders, asks whose random sets would be, and
// then tells them: every set goes where it was foreseen to go, merges if that
// was foreseen, the same identifiers are in conflict, and asking decided
// nothing.
func TestForeseeLaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { rapid.Check(inBubble{t}, checkForesee) })
}

func checkForesee(t *rapid.T) {
	log := memlog.New(memlog.Options{})
	foundOn(t, log)
	m := store.OpenMemory()
	g := start(t, log, memory(&m))
	defer g.stop()
	synctest.Wait()
	for range rapid.IntRange(1, 4).Draw(t, "rounds") {
		for _, o := range rapid.SliceOfN(drawOrdering, 0, 4).Draw(t, "orders") {
			o.give(t, g)
		}
		var sets []directory.Request
		for range rapid.IntRange(1, 6).Draw(t, "sets") {
			types := lawTypes
			if rapid.IntRange(0, 4).Draw(t, "of a company") == 0 {
				types = lawCompanyTypes
			}
			var pairs [][2]string
			for range rapid.IntRange(1, 3).Draw(t, "identifiers") {
				typ := rapid.SampledFrom(types).Draw(t, "type")
				pairs = append(pairs, [2]string{typ, lawValue(typ, rapid.IntRange(0, 3).Draw(t, "value"))})
			}
			r := g.set(t, pairs...)
			r.Force = rapid.IntRange(0, 5).Draw(t, "force") == 0
			sets = append(sets, r)
		}
		_, before := decisions(t, log, 0)
		foreseen, err := g.Foresee(sets)
		if err != nil {
			t.Fatalf("foresee: %v", err)
		}
		synctest.Wait()
		if _, after := decisions(t, log, 0); after != before {
			t.Fatalf("IDENTITY went from %d to %d by asking", before, after)
		}
		known := map[events.CustomerID]bool{}
		for _, f := range foreseen {
			if f.Known {
				known[f.Address.Customer] = true
			}
		}
		// One after the other: of sets told at once, those that are known are
		// addressed before anything is decided for the others.
		var addresses []directory.Address
		for i := range sets {
			_, first := decisions(t, log, 0)
			address, err := g.Resolve(context.Background(), sets[i:i+1])
			if err != nil {
				t.Fatalf("resolve: %v", err)
			}
			addresses = append(addresses, address...)
			merged := false
			for seq := first + 1; seq <= address[0].At; seq++ {
				merged = merged || identity(t, log, seq).GetRule().GetMerged() != nil
			}
			if merged != (foreseen[i].Merge != "") {
				t.Fatalf("set %d merged: %v, foreseen: %q", i, merged, foreseen[i].Merge)
			}
		}
		if d := cmp.Diff(pattern(addresses, known), pattern(foreseenAddresses(foreseen), known)); d != "" {
			t.Fatalf("foreseen (-resolved +foreseen):\n%s", d)
		}
		for i, f := range foreseen {
			if f.Conflict == "" && namesAnother(t, g, sets[i], addresses[i].Others) {
				t.Errorf("set %d is in conflict, which was not foreseen", i)
			}
		}
	}
}

// namesAnother reports whether any of these identifiers of a set names somebody:
// one that is blocked does not.
func namesAnother(t *rapid.T, g *gateway, r directory.Request, others uint32) bool {
	for i, id := range r.Identifiers {
		_, ok, err := g.LookupHash(id.Hash)
		if err != nil {
			t.Fatalf("look up: %v", err)
		}
		if ok && others&(1<<i) != 0 {
			return true
		}
	}
	return false
}

func foreseenAddresses(all []directory.Foreseen) []directory.Address {
	addresses := make([]directory.Address, len(all))
	for i, f := range all {
		addresses[i] = f.Address
	}
	return addresses
}

// pattern says of addresses which are one customer: known ones by id, others by
// who came first.
func pattern(addresses []directory.Address, known map[events.CustomerID]bool) []string {
	var all []string
	first := map[events.CustomerID]int{}
	for i, a := range addresses {
		name := a.Customer.String()
		if !known[a.Customer] {
			if _, ok := first[a.Customer]; !ok {
				first[a.Customer] = i
			}
			name = fmt.Sprint("as set ", first[a.Customer])
		}
		all = append(all, fmt.Sprint(name, " kind ", a.Kind, " others ", a.Others))
	}
	return all
}
