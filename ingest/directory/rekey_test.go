package directory_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/projections/store"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// Keys that a log is changed to, one after the other.
var laterKeys = []directory.Key{testKey, {4, 5, 6}, {7, 8, 9}, testKey}

// startWith opens a directory under a key, and says why if it does not hold.
func startWith(t testing.TB, log events.Log, key directory.Key, open func(bool) (store.Store, error)) (*gateway, error) {
	t.Helper()
	d, err := directory.Open(t.Context(), directory.Options{
		Log: log, Key: key, OpenStore: open, Minter: directory.NewMinter(time.Now, rand.Reader), CacheEntries: 4,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	synctest.Wait()
	select {
	case err := <-ended:
		cancel()
		return nil, err
	default:
	}
	return &gateway{d, func() error { cancel(); return <-ended }}, nil
}

// tell resolves sets and logs an event of each, as a gateway does.
func (g *gateway) tell(t testing.TB, log events.Log, sets ...[][2]string) []events.CustomerID {
	t.Helper()
	var customers []events.CustomerID
	for _, pairs := range sets {
		r := g.set(t, pairs...)
		customers = append(customers, resolve(t, g, r))
		body := &eventsv1.Event{}
		for _, id := range r.Identifiers {
			body.Identifiers = append(body.Identifiers, &eventsv1.Identifier{Type: id.Type, Value: id.Value})
		}
		logBody(t, log, body)
	}
	return customers
}

func logBody(t testing.TB, log events.Log, body *eventsv1.Event) {
	t.Helper()
	b, err := proto.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	frame, err := events.Seal(&logv1.Record{Events: []*logv1.LoggedEvent{{Header: &logv1.Header{}, Body: b}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Append(t.Context(), events.PartitionStream(1), events.SubjectEvents(1), frame, events.Expect{}); err != nil {
		t.Fatal(err)
	}
}

func rekey(t testing.TB, log events.Log, key, next directory.Key) (directory.Rekeyed, error) {
	t.Helper()
	return directory.Rekey(t.Context(), directory.RekeyOptions{
		Log: log, Key: key, Next: next, Minter: directory.NewMinter(time.Now, rand.Reader),
	})
}

// TestRekey changes the key, and at last back to the first: everybody is recognised under the key that
// holds, by the hash that the log has, from the store and from the log alone;
// the former keys open it no more.
func TestRekey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := found(t, memlog.Options{})
		m := store.OpenMemory()
		sets := [][][2]string{
			{{"user_id", "ann"}, {"email", "ann@example.com"}},
			{{"device_id", "d-1"}},
			{{"group_id", "acme"}, {"company_domain", "acme.com"}},
		}
		var want []events.CustomerID
		hashes := map[directory.Hash]bool{}
		for round, key := range laterKeys {
			g, err := startWith(t, log, key, memory(&m))
			if err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			if round == 0 {
				want = g.tell(t, log, sets...)
			} else {
				// Somebody whom only this key knows.
				set := [][2]string{{"user_id", fmt.Sprint("u", round)}}
				sets, want = append(sets, set), append(want, g.tell(t, log, set)...)
			}
			checkKnown(t, log, g, sets, want, hashes)
			g.stop()

			alone := store.OpenMemory()
			if g, err = startWith(t, log, key, memory(&alone)); err != nil {
				t.Fatalf("round %d, from the log alone: %v", round, err)
			}
			checkKnown(t, log, g, sets, want, hashes)
			g.stop()
			if d := cmp.Diff(dump(t, m), dump(t, alone)); d != "" {
				t.Errorf("round %d, from the log alone (-store +log):\n%s", round, d)
			}
			checkRefused(t, log, key, laterKeys[:round], &m)
			if round+1 == len(laterKeys) {
				break
			}
			got, err := rekey(t, log, key, laterKeys[round+1])
			if err != nil || got.Known != len(hashes) || len(got.Lost) != 0 {
				t.Fatalf("round %d: rekeyed %+v, %v; want %d known and none lost", round, got, err, len(hashes))
			}
			if got, err := rekey(t, log, key, laterKeys[round+1]); err != nil || !got.Already {
				t.Errorf("round %d, again: got %+v, %v; want that it holds already", round, got, err)
			}
		}
	})
}

// checkKnown holds that every set names whom it named, by hashes that stay.
func checkKnown(t testing.TB, log events.Log, g *gateway, sets [][][2]string, want []events.CustomerID, hashes map[directory.Hash]bool) {
	t.Helper()
	_, before := decisions(t, log, 0)
	fresh := 0
	for i, pairs := range sets {
		r := g.set(t, pairs...)
		if got := resolve(t, g, r); got != want[i] {
			t.Errorf("%v: got %v, want %v", pairs, got, want[i])
		}
		for _, id := range r.Identifiers {
			if !hashes[id.Hash] {
				hashes[id.Hash] = true
				fresh++
			}
			if c, ok, err := g.Lookup(id.Type, id.Value); c != want[i] || !ok || err != nil {
				t.Errorf("look up %s: got %v, %v, %v; want %v", id.Type, c, ok, err, want[i])
			}
			if c, ok, err := g.LookupHash(id.Hash); c != want[i] || !ok || err != nil {
				t.Errorf("look up the hash of %s: got %v, %v, %v; want %v", id.Type, c, ok, err, want[i])
			}
		}
	}
	if fresh > 5 {
		t.Errorf("%d hashes that were not known before", fresh)
	}
	if _, after := decisions(t, log, 0); after != before {
		t.Errorf("IDENTITY went from %d to %d by asking for who is known", before, after)
	}
}

// checkRefused holds that former keys and foreign ones open neither a store that
// has folded the change, nor an empty one.
func checkRefused(t testing.TB, log events.Log, holds directory.Key, former []directory.Key, m **store.Memory) {
	t.Helper()
	for i, key := range former {
		if holds == key {
			continue // it was changed back
		}
		for name, open := range map[string]func(bool) (store.Store, error){
			"the store": memory(m), "an empty store": memory(new(store.OpenMemory())),
		} {
			g, err := startWith(t, log, key, open)
			if !errors.Is(err, events.ErrFormerKey) {
				t.Errorf("former key %d on %s: got %v, want ErrFormerKey", i, name, err)
			}
			if g != nil {
				g.stop()
			}
		}
	}
	if g, err := startWith(t, log, directory.Key{99}, memory(m)); !errors.Is(err, events.ErrIdentityKey) {
		t.Errorf("a foreign key: got %v, want ErrIdentityKey", err)
		if g != nil {
			g.stop()
		}
	}
}

// TestRekeyTellsWhatIsLost: what stands in no body is counted, by type, and is
// somebody new; what stands elsewhere than among the identifiers is found.
func TestRekeyTellsWhatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := found(t, memlog.Options{})
		m := store.OpenMemory()
		g, err := startWith(t, log, testKey, memory(&m))
		if err != nil {
			t.Fatal(err)
		}
		ann := g.tell(t, log, [][2]string{{"user_id", "ann"}})[0]
		lost := resolve(t, g, g.set(t, [2]string{"email", "bob@example.com"}, [2]string{"phone", "13800138000"}))
		acme := resolve(t, g, g.set(t, [2]string{"company_id", "acme"}))
		cat := resolve(t, g, g.set(t, [2]string{"anonymous_id", "cat"}))
		dan := resolve(t, g, g.set(t, [2]string{"user_id", "dan"}))
		logBody(t, log, &eventsv1.Event{Payload: &eventsv1.Event_Group{Group: &eventsv1.Group{GroupId: "acme"}}})
		logBody(t, log, &eventsv1.Event{Payload: &eventsv1.Event_Alias{Alias: &eventsv1.Alias{Previous: &eventsv1.Identifier{Type: "anonymous_id", Value: "cat"}}}})
		logBody(t, log, &eventsv1.Event{Payload: &eventsv1.Event_Referral{Referral: &eventsv1.Referral{Referee: &eventsv1.Identifier{Type: "user_id", Value: "dan"}}}})
		g.stop()
		_, before := decisions(t, log, 0)
		want := directory.Rekeyed{Known: 4, Lost: map[string]int{"email": 1, "phone": 1}}
		dry, err := directory.Rekey(t.Context(), directory.RekeyOptions{Log: log, Key: testKey, Next: laterKeys[1], DryRun: true})
		if d := cmp.Diff(want, dry); d != "" || err != nil {
			t.Errorf("a dry run (-want +got): %v\n%s", err, d)
		}
		if _, after := decisions(t, log, 0); after != before {
			t.Errorf("a dry run took IDENTITY from %d to %d", before, after)
		}
		got, err := rekey(t, log, testKey, laterKeys[1])
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("rekeyed (-want +got): %v\n%s", err, d)
		}
		if g, err = startWith(t, log, laterKeys[1], memory(&m)); err != nil {
			t.Fatal(err)
		}
		defer g.stop()
		for _, c := range []struct {
			typ, value string
			want       events.CustomerID
			same       bool
		}{
			{"user_id", "ann", ann, true}, {"company_id", "acme", acme, true}, {"anonymous_id", "cat", cat, true}, {"user_id", "dan", dan, true},
			{"email", "bob@example.com", lost, false},
		} {
			if got := resolve(t, g, g.set(t, [2]string{c.typ, c.value})); (got == c.want) != c.same {
				t.Errorf("%s %s: got %v, before the change it was %v", c.typ, c.value, got, c.want)
			}
		}
	})
}

// TestRekeyInterrupted: an append that fails, stored or not, leaves the former
// key in force or the change done; calling again completes it, and nobody is
// lost.
func TestRekeyInterrupted(t *testing.T) {
	const customers, each = 42, 100 // more than a message of pairs holds
	for appends := 1; appends <= 3; appends++ {
		for _, stored := range []bool{false, true} {
			t.Run(fmt.Sprintf("append %d stored %v", appends, stored), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n, armed := 0, false
					log := found(t, memlog.Options{Faults: func(op memlog.Op) memlog.Fault {
						if !armed || op.Kind != memlog.OpAppend {
							return memlog.Fault{}
						}
						if n++; n == appends {
							return memlog.Fault{Err: events.ErrUnknown, Stored: stored}
						}
						return memlog.Fault{}
					}})
					sets, want := populate(t, log, customers, each)
					armed = true
					if _, err := rekey(t, log, testKey, laterKeys[1]); !errors.Is(err, events.ErrUnknown) {
						t.Fatalf("got %v, want ErrUnknown", err)
					}
					armed = false
					done := appends == 3 && stored
					m := store.OpenMemory()
					if !done {
						g, err := startWith(t, log, testKey, memory(&m))
						if err != nil {
							t.Fatalf("under the former key: %v", err)
						}
						checkSome(t, g, sets, want)
						g.stop()
						if _, err := startWith(t, log, laterKeys[1], memory(&m)); !errors.Is(err, events.ErrIdentityKey) {
							t.Errorf("under the next key: got %v, want ErrIdentityKey", err)
						}
					}
					got, err := rekey(t, log, testKey, laterKeys[1])
					if err != nil || got.Already != done || !done && (got.Known != customers*each || len(got.Lost) > 0) {
						t.Fatalf("again: got %+v, %v", got, err)
					}
					g, err := startWith(t, log, laterKeys[1], memory(&m))
					if err != nil {
						t.Fatal(err)
					}
					checkSome(t, g, sets, want)
					g.stop()
				})
			})
		}
	}
}

// populate logs customers with their identifiers and an event of each.
func populate(t testing.TB, log events.Log, customers, each int) (sets [][][2]string, ids []events.CustomerID) {
	t.Helper()
	minter := directory.NewMinter(time.Now, rand.Reader)
	bindings := &logv1.Bindings{}
	for c := range customers {
		id := events.CustomerID(minter.Mint())
		created, body := &logv1.Created{Customer: id[:]}, &eventsv1.Event{}
		for i := range each {
			value := fmt.Sprintf("d-%d-%d", c, i)
			h := testKey.Hash("device_id", value)
			created.Identifiers = append(created.Identifiers, &logv1.HashedIdentifier{Type: "device_id", Hash: h[:]})
			body.Identifiers = append(body.Identifiers, &eventsv1.Identifier{Type: "device_id", Value: value})
		}
		bindings.Decisions = append(bindings.Decisions, &logv1.Decision{Decision: &logv1.Decision_Created{Created: created}})
		logBody(t, log, body)
		sets, ids = append(sets, [][2]string{{"device_id", fmt.Sprintf("d-%d-%d", c, c%each)}}), append(ids, id)
	}
	frame, err := events.Seal(&logv1.Identity{Content: &logv1.Identity_Bindings{Bindings: bindings}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Append(t.Context(), events.IdentityStream, events.SubjectBind, frame, events.Expect{}); err != nil {
		t.Fatal(err)
	}
	return sets, ids
}

func checkSome(t testing.TB, g *gateway, sets [][][2]string, want []events.CustomerID) {
	t.Helper()
	for i, pairs := range sets {
		if got := resolve(t, g, g.set(t, pairs...)); got != want[i] {
			t.Errorf("%v: got %v, want %v", pairs, got, want[i])
		}
	}
}

// TestRekeyWhileServing: somebody who decides meanwhile is noticed, before the
// next key holds.
func TestRekeyWhileServing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := found(t, memlog.Options{})
		m := store.OpenMemory()
		g, err := startWith(t, log, testKey, memory(&m))
		if err != nil {
			t.Fatal(err)
		}
		ann := g.tell(t, log, [][2]string{{"user_id", "ann"}})[0]
		_, err = directory.Rekey(t.Context(), directory.RekeyOptions{
			Log: log, Key: testKey, Next: laterKeys[1], Minter: directory.NewMinter(time.Now, rand.Reader),
			Progress: func(stream events.Stream, read, _ uint64) {
				if stream == events.PartitionStream(0) && read == 1 {
					g.tell(t, log, [][2]string{{"user_id", "bob"}})
				}
			},
		})
		if !errors.Is(err, directory.ErrServing) {
			t.Errorf("got %v, want ErrServing", err)
		}
		// A gateway that goes on all the same stops once the change is done.
		if _, err := rekey(t, log, testKey, laterKeys[1]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(directory.MaxUnconfirmed) // in a bubble
		synctest.Wait()
		if _, err := g.Resolve(t.Context(), []directory.Request{g.set(t, [2]string{"user_id", "ann"})}); !errors.Is(err, directory.ErrNotReady) {
			t.Errorf("under the former key: got %v, want ErrNotReady", err)
		}
		if err := g.stop(); !errors.Is(err, events.ErrFormerKey) {
			t.Errorf("a gateway of the former key: ended by %v, want ErrFormerKey", err)
		}
		if g, err = startWith(t, log, laterKeys[1], memory(&m)); err != nil {
			t.Fatal(err)
		}
		defer g.stop()
		if got := resolve(t, g, g.set(t, [2]string{"user_id", "ann"})); got != ann {
			t.Errorf("ann: got %v, want %v", got, ann)
		}
	})
}
