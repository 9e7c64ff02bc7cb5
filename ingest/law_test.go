package ingest_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/ingest"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

// TestNothingAcknowledgedIsLost lets two gateways take the same customers'
// events on one log whose appends fail before or after they are stored, with
// callers that send again until they are told it is safe. Then:
//
//   - every event is in the log, at or below the sequence its receipt names;
//   - copies of an event by one gateway are equal to the byte, so that the fold
//     refuses them as exact repeats;
//   - an identifier names one customer for both gateways;
//   - every refused event is among the rejects.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(inBubble{t}, checkNothingLost)
	})
}

// inBubble hides the test's deadline from rapid: it is the outer world's.
type inBubble struct{ *testing.T }

func checkNothingLost(t *rapid.T) {
	script := rapid.SliceOfN(rapid.SampledFrom([]memlog.Fault{
		{}, {}, {Err: events.ErrUnknown}, {Err: events.ErrUnknown, Stored: true}, {Err: events.ErrOverload}, {Err: events.ErrFull},
	}), 0, 60).Draw(t, "faults")
	var mu sync.Mutex
	log := found(t, memlog.Options{Faults: func(op memlog.Op) memlog.Fault {
		if op.Kind != memlog.OpAppend {
			return memlog.Fault{}
		}
		mu.Lock()
		defer mu.Unlock()
		if len(script) == 0 {
			return memlog.Fault{}
		}
		f := script[0]
		script = script[1:]
		return f
	}}, events.Settings{Partitions: 2})
	rigs := []*rig{start(t, log, nil), start(t, log, nil)}

	type told struct {
		id      string
		receipt string
	}
	var acknowledged []told
	refused := 0
	var wg sync.WaitGroup
	for n := range rapid.IntRange(1, 6).Draw(t, "callers") {
		users := rapid.SliceOfN(rapid.IntRange(0, 3), 1, 5).Draw(t, "users")
		bad := rapid.Bool().Draw(t, "bad")
		r := rigs[n%2]
		wg.Go(func() {
			result := sendUntilSafe(t, r, func() ingest.Batch {
				b := batch()
				for i, u := range users {
					e := track(fmt.Sprint("u", u), fmt.Sprintf("%d-%d", n, i))
					e.Identifiers = append(e.Identifiers, &eventsv1.Identifier{Type: "email", Value: fmt.Sprintf("u%d@x.org", u)})
					b.Drafts = append(b.Drafts, ingest.Draft{Event: e})
				}
				if bad {
					b.Drafts = append(b.Drafts, ingest.Draft{Original: fmt.Appendf(nil, "bad %d", n)})
				}
				return b
			})
			mu.Lock()
			defer mu.Unlock()
			for i := range users {
				acknowledged = append(acknowledged, told{fmt.Sprintf("%d-%d", n, i), result.Receipt})
			}
			if result.Accepted+result.Duplicates != len(users) || (len(result.Rejected) == 1) != bad {
				t.Errorf("caller %d got %+v for %d events", n, result, len(users))
			}
			refused += len(result.Rejected)
		})
	}
	wg.Wait()

	_, all := read(t, log)
	copies := map[string][]logged{}
	for _, e := range all {
		copies[e.header.EventId] = append(copies[e.header.EventId], e)
	}
	for _, a := range acknowledged {
		seqs, err := ingest.ParseReceipt(a.receipt)
		if err != nil {
			t.Fatalf("receipt of %s: %v", a.id, err)
		}
		c := copies[a.id]
		if len(c) == 0 || c[0].seq > seqs[c[0].partition] {
			t.Fatalf("event %s: %d copies, first beyond its receipt %v", a.id, len(c), seqs)
		}
		for _, e := range c[1:] {
			if e.bodyBytes != c[0].bodyBytes || e.partition != c[0].partition || string(e.header.Customer) != string(c[0].header.Customer) ||
				e.header.GetClaimedAt() != c[0].header.GetClaimedAt() {
				t.Fatalf("event %s: copy %v differs from %v", a.id, e, c[0])
			}
		}
	}
	for u := range 4 {
		var ids []events.CustomerID
		for _, r := range rigs {
			for _, name := range [][2]string{{"user_id", fmt.Sprint("u", u)}, {"email", fmt.Sprintf("u%d@x.org", u)}} {
				waitFolded(t, r)
				if c, ok, err := r.directory.Lookup(name[0], name[1]); err != nil {
					t.Fatalf("look up %v: %v", name, err)
				} else if ok {
					ids = append(ids, c)
				}
			}
		}
		for _, id := range ids {
			if id != ids[0] || len(ids) != 4 {
				t.Fatalf("user %d is %v, want one customer known four times", u, ids)
			}
		}
	}
	if n, err := rigs[0].RejectedCount(t.Context()); err != nil || n < uint64(refused) {
		t.Fatalf("%d rejects kept, %v; want at least %d", n, err, refused)
	}
	for _, r := range rigs {
		r.stop()
	}
}

func waitFolded(t *rapid.T, r *rig) {
	info, err := r.log.Info(t.Context(), events.IdentityStream)
	if err != nil {
		t.Fatalf("info: %v", err)
	}
	for r.directory.Progress().Applied < info.Last {
		synctest.Wait()
	}
}

// sendUntilSafe is a client that does as it is told.
func sendUntilSafe(t *rapid.T, r *rig, make func() ingest.Batch) ingest.Result {
	for range 200 {
		result, err := r.Accept(t.Context(), make())
		if err == nil {
			return result
		}
		if !errors.Is(err, ingest.ErrNotReady) && !errors.Is(err, ingest.ErrOverload) && !errors.Is(err, ingest.ErrDiskFull) {
			t.Errorf("accept: %v", err)
		}
	}
	t.Errorf("never safe")
	return ingest.Result{}
}

// BenchmarkAccept takes batches of 100 events of 100 known customers, 300
// bytes each, on a log in memory: the gateway's own cost.
func BenchmarkAccept(b *testing.B) {
	r := start(b, found(b, memlog.Options{}, events.Settings{}), nil)
	defer r.stop()
	properties := `{"note":"` + strings.Repeat("x", 200) + `"}`
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		batch := ingest.Batch{Source: "bench", Received: received, Drafts: make([]ingest.Draft, 100)}
		for i := range batch.Drafts {
			n++
			e := track(fmt.Sprint("u", i), fmt.Sprint("e", n))
			e.PropertiesJson = properties
			batch.Drafts[i] = ingest.Draft{Event: e}
		}
		if result := r.accept(b, batch); result.Accepted != 100 {
			b.Fatalf("got %+v, want 100 accepted", result)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}
