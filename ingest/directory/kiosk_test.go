package directory_test

import (
	"fmt"
	"testing"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/projections/store"
)

// TestKioskJoinsNobody lets 500 people use one device in turn, twice, and look
// around each time before and after telling who they are.
func TestKioskJoinsNobody(t *testing.T) {
	const people = 500
	for _, name := range []string{"user_id", "email"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := found(t, memlog.Options{})
			m := store.OpenMemory()
			g := start(t, log, memory(&m)).ready(t)
			defer g.stop()
			device := [2]string{"device_id", "kiosk"}
			who := map[events.CustomerID]int{}
			for round := range 2 {
				for n := range people {
					told := g.set(t, device, [2]string{name, fmt.Sprintf("p%d@x.org", n)})
					// One after the other: each is an event of its own call.
					is := g.resolve(t, told)[0].Customer
					if first, ok := who[is]; ok && first != n || !ok && round == 1 {
						t.Fatalf("round %d: person %d is %s, who is person %d (known %v)", round, n, is, first, ok)
					}
					who[is] = n
					if after := g.resolve(t, g.set(t, device))[0].Customer; after != is {
						t.Fatalf("round %d: after person %d the device is %s's, want %s's", round, n, after, is)
					}
				}
			}
			if len(who) != people {
				t.Errorf("%d customers, want %d", len(who), people)
			}
			merges, err := g.Merges(directory.MergesQuery{})
			if len(merges) != 0 || err != nil || g.QuarantinedCount() != 0 {
				t.Errorf("%d merges, %d conflicts, %v; want none", len(merges), g.QuarantinedCount(), err)
			}
		})
	}
}

// TestManyJoinOne joins 1,000 customers one by one with one, who has them all
// as aliases then, and undoes one of the first.
func TestManyJoinOne(t *testing.T) {
	const many = 1_000
	log := found(t, memlog.Options{})
	m := store.OpenMemory()
	g := start(t, log, memory(&m)).ready(t)
	defer g.stop()
	one := [2]string{"user_id", "one"}
	customer := g.resolve(t, g.set(t, one, [2]string{"guest", "g"}))[0].Customer
	var third events.CustomerID
	for n := range many {
		visit := [2]string{"anonymous_id", fmt.Sprint("a", n)}
		c := g.resolve(t, g.set(t, visit))[0].Customer
		if n == 3 {
			third = c
		}
		if got := g.resolve(t, g.set(t, one, visit))[0].Customer; got != customer {
			t.Fatalf("visit %d is %s's, want %s's", n, got, customer)
		}
	}
	aliases, err := g.Aliases(customer)
	if len(aliases) != many || err != nil {
		t.Fatalf("%d aliases, %v; want %d", len(aliases), err, many)
	}
	merges, err := g.Merges(directory.MergesQuery{Customer: third})
	if len(merges) != many || err != nil {
		t.Fatalf("%d merges, %v; want %d: he is one of them all", len(merges), err, many)
	}
	undone := merges[many-1-3]
	if got := events.CustomerID(undone.Merged.GetLoser()); got != third {
		t.Fatalf("merge of %s, want %s", got, third)
	}
	outcome, err := g.Split(t.Context(), directory.SplitOrder{Undo: undone.Seq})
	if err != nil || len(outcome.Decisions) != 1 || outcome.Decisions[0].To != third {
		t.Fatalf("undo: %+v, %v", outcome, err)
	}
	if got, ok, err := g.Lookup("anonymous_id", "a3"); got != third || !ok || err != nil {
		t.Errorf("look up: got %s, %v, %v; want %s", got, ok, err, third)
	}
	if root, err := g.Root(third); root != third || err != nil {
		t.Errorf("root: got %s, %v", root, err)
	}
	// Twice the same conflict would be told anew by every event.
	if apart, err := g.Apart(third, customer); !apart || err != nil {
		t.Errorf("apart: got %v, %v", apart, err)
	}
}
