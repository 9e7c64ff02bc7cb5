package ingest_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/ingest"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// TestNothingAcknowledgedIsLost lets two gateways take the same customers'
// events on one log whose appends fail before or after they are stored, with
// callers that send again until they are told it is safe. Then:
//
//   - every event is in the log, at or below the sequence its receipt names;
//   - repeats of an event by one gateway are equal to the byte, so that the
//     fold refuses them as exact repeats;
//   - each customer that an event is about, and no other, holds a copy in each of
//     his roles: the company named, or the one joined before, and the other
//     party of a referral, who may be the subject himself;
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

	joinCompanies(t, rigs)

	type told struct {
		id      string
		receipt string
		copies  []string // role and identifier
	}
	var acknowledged []told
	refused := 0
	var wg sync.WaitGroup
	for n := range rapid.IntRange(1, 6).Draw(t, "callers") {
		users := rapid.SliceOfN(rapid.IntRange(0, 3), 1, 5).Draw(t, "users")
		about := rapid.SliceOfN(rapid.SampledFrom([]string{"plain", "named", "referral", "self"}), len(users), len(users)).Draw(t, "about")
		bad := rapid.Bool().Draw(t, "bad")
		r := rigs[n%2]
		wg.Go(func() {
			result := sendUntilSafe(t, r, func() ingest.Batch {
				b := batch()
				for i, u := range users {
					e := userEvent(u, fmt.Sprintf("%d-%d", n, i))
					makeAbout(e, about[i])
					b.Drafts = append(b.Drafts, ingest.Draft{Event: e})
				}
				if bad {
					b.Drafts = append(b.Drafts, ingest.Draft{Original: fmt.Appendf(nil, "bad %d", n)})
				}
				return b
			})
			mu.Lock()
			defer mu.Unlock()
			for i, u := range users {
				acknowledged = append(acknowledged, told{fmt.Sprintf("%d-%d", n, i), result.Receipt, copiesOf(u, about[i])})
			}
			if result.Accepted+result.Duplicates != len(users) || (len(result.Rejected) == 1) != bad {
				t.Errorf("caller %d got %+v for %d events", n, result, len(users))
			}
			refused += len(result.Rejected)
		})
	}
	wg.Wait()

	type part struct {
		customer string
		role     logv1.Role
	}
	_, all := read(t, log)
	copies := map[string]map[part][]logged{}
	for _, e := range all {
		if copies[e.header.EventId] == nil {
			copies[e.header.EventId] = map[part][]logged{}
		}
		p := part{string(e.header.Customer), e.header.Role}
		copies[e.header.EventId][p] = append(copies[e.header.EventId][p], e)
	}
	for _, a := range acknowledged {
		seqs, err := ingest.ParseReceipt(a.receipt)
		if err != nil {
			t.Fatalf("receipt of %s: %v", a.id, err)
		}
		if len(copies[a.id]) != len(a.copies) {
			t.Fatalf("event %s has %d copies, want %v", a.id, len(copies[a.id]), a.copies)
		}
		for _, copy := range a.copies {
			name, id, _ := strings.Cut(copy, " ")
			typ, value, _ := strings.Cut(id, ":")
			waitFolded(t, rigs[0])
			customer, _, err := rigs[0].directory.Lookup(typ, value)
			if err != nil {
				t.Fatalf("look up %s: %v", id, err)
			}
			c := copies[a.id][part{string(customer[:]), logv1.Role(logv1.Role_value["ROLE_"+name])}]
			if len(c) == 0 || c[0].seq > seqs[c[0].partition] {
				t.Fatalf("event %s for %s: %d times, first beyond its receipt %v", a.id, copy, len(c), seqs)
			}
			for _, e := range c[1:] {
				if e.bodyBytes != c[0].bodyBytes || e.partition != c[0].partition || e.header.GetClaimedAt() != c[0].header.GetClaimedAt() {
					t.Fatalf("event %s for %s: %v differs from %v", a.id, copy, e, c[0])
				}
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
	if info, err := rigs[0].log.Info(t.Context(), events.RejectedStream); err != nil || info.Last < uint64(refused) {
		t.Fatalf("%d rejects kept, %v; want at least %d", info.Last, err, refused)
	}
	for _, r := range rigs {
		r.stop()
	}
}

// joinCompanies lets both gateways tell at once that users 0 and 1 belong to
// companies, and waits until both know.
func joinCompanies(t *rapid.T, rigs []*rig) {
	var wg sync.WaitGroup
	for n, r := range rigs {
		wg.Go(func() {
			for u := range 2 {
				e := userEvent(u, fmt.Sprintf("join-%d-%d", n, u))
				e.Type = "group.joined"
				e.Payload = &eventsv1.Event_Group{Group: &eventsv1.Group{GroupId: fmt.Sprint("g", u)}}
				sendUntilSafe(t, r, func() ingest.Batch { return batch(proto.CloneOf(e)) })
			}
		})
	}
	wg.Wait()
	for _, r := range rigs {
		waitFolded(t, r)
	}
}

// userEvent is an event of a user that tells his e-mail address, too.
func userEvent(u int, id string) *eventsv1.Event {
	e := track(fmt.Sprint("u", u), id)
	e.Identifiers = append(e.Identifiers, &eventsv1.Identifier{Type: "email", Value: fmt.Sprintf("u%d@x.org", u)})
	return e
}

// makeAbout makes an event about more than its subject.
func makeAbout(e *eventsv1.Event, about string) {
	other := &eventsv1.Identifier{Type: "email", Value: "Other@X.org"}
	switch about {
	case "named":
		e.Identifiers = append(e.Identifiers, &eventsv1.Identifier{Type: "group_id", Value: "g9"})
	case "self":
		other = proto.CloneOf(e.Identifiers[0])
		fallthrough
	case "referral":
		e.Type, e.Payload = "referral.made", &eventsv1.Event_Referral{Referral: &eventsv1.Referral{Referee: other}}
	}
}

// copiesOf are the copies of such an event of a user.
func copiesOf(u int, about string) []string {
	self := fmt.Sprint("user_id:u", u)
	copies := []string{"SUBJECT " + self}
	switch about {
	case "named":
		return append(copies, "COMPANY company_id:g9")
	case "referral":
		copies = append(copies, "REFEREE email:other@x.org")
	case "self":
		copies = append(copies, "REFEREE "+self)
	}
	if u < 2 {
		copies = append(copies, fmt.Sprint("COMPANY company_id:g", u))
	}
	return copies
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
// bytes each, on a log in memory: the gateway's own cost. The members belong to
// ten companies, so that each of their events is logged twice.
func BenchmarkAccept(b *testing.B) {
	b.Run("persons", func(b *testing.B) { benchmarkAccept(b, 0) })
	b.Run("members", func(b *testing.B) { benchmarkAccept(b, 10) })
}

func benchmarkAccept(b *testing.B, companies int) {
	r := start(b, found(b, memlog.Options{}, events.Settings{}), nil)
	defer r.stop()
	for i := range 100 {
		if companies > 0 {
			e := track(fmt.Sprint("u", i), fmt.Sprint("join", i))
			e.Type, e.Time = "group.joined", nil
			e.Payload = &eventsv1.Event_Group{Group: &eventsv1.Group{GroupId: fmt.Sprint("g", i%companies)}}
			r.accept(b, batch(e))
		}
	}
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
