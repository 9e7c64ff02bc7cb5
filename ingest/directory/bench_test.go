package directory_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/projections/store"
)

// BenchmarkResolveKnown is the way of nearly every event: a set that is known
// and agrees. "merged" has one merge in the log, and every set asks whether its
// customer was merged.
func BenchmarkResolveKnown(b *testing.B) {
	for _, merged := range []bool{false, true} {
		b.Run(fmt.Sprintf("merged=%v", merged), func(b *testing.B) {
			const customers = 10_000
			log := found(b, memlog.Options{})
			m := store.OpenMemory()
			g := startCached(b, log, memory(&m), directory.DefaultCacheEntries).ready(b)
			defer g.stop()
			var sets []directory.Request
			for n := range customers {
				sets = append(sets, g.user(b, n))
			}
			g.resolve(b, sets...)
			if merged {
				g.resolve(b, g.set(b, [2]string{"email", "x@x.org"}), g.set(b, [2]string{"phone", "+14155550001"}),
					g.set(b, [2]string{"email", "x@x.org"}, [2]string{"phone", "+14155550001"}))
			}
			g.resolve(b, sets...) // what is cold is read once
			n := 0
			for b.Loop() {
				if _, err := g.Resolve(context.Background(), sets[n:n+100]); err != nil {
					b.Fatal(err)
				}
				n = (n + 100) % customers
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/set")
		})
	}
}

// BenchmarkMergeLarge merges a customer into another where both have 10,000
// devices, and undoes it.
func BenchmarkMergeLarge(b *testing.B) {
	log := found(b, memlog.Options{})
	open := directory.InDir(b.TempDir()+"/directory", store.Options{}, nil)
	g := start(b, log, open).ready(b)
	defer g.stop()
	for _, user := range []string{"one", "two"} {
		for n := 0; n < 10_000; n += 20 {
			pairs := [][2]string{{"crm_id", user}}
			for i := range 20 {
				pairs = append(pairs, [2]string{"device_id", fmt.Sprint(user, n+i)})
			}
			g.resolve(b, g.set(b, pairs...))
		}
	}
	one, _, err1 := g.Lookup("crm_id", "one")
	two, _, err2 := g.Lookup("crm_id", "two")
	if err1 != nil || err2 != nil {
		b.Fatal(err1, err2)
	}
	for b.Loop() {
		merged, err := g.Merge(context.Background(), directory.MergeOrder{Customers: []events.CustomerID{one, two}})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := g.Split(context.Background(), directory.SplitOrder{Undo: merged.Decisions[0].Seq}); err != nil {
			b.Fatal(err)
		}
	}
}
