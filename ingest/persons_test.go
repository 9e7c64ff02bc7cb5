package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/events/natslog"
	"github.com/dossier360/dossier/ingest"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

// TestOnePersonIsOneCustomer tells two gateways at once, each with a directory of
// its own, what persons and companies did under some of their names: by events
// that tell one name or several, and by aliases. Every two names are told
// together sooner or later, if not of one event. Then, with appends that failed
// on the way:
//
//   - a person or company is one customer by every name, for both gateways and
//     for one that begins with an empty directory, and no two are one customer;
//   - his history holds every event that was acknowledged, once;
//   - nobody is in conflict.
func TestOnePersonIsOneCustomer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(inBubble{t}, func(t *rapid.T) {
			script := rapid.SliceOfN(rapid.SampledFrom([]memlog.Fault{
				{}, {}, {Err: events.ErrUnknown}, {Err: events.ErrUnknown, Stored: true}, {Err: events.ErrOverload},
			}), 0, 40).Draw(t, "faults")
			var mu sync.Mutex
			log := found(t, memlog.Options{Faults: func(op memlog.Op) memlog.Fault {
				mu.Lock()
				defer mu.Unlock()
				if op.Kind != memlog.OpAppend || len(script) == 0 {
					return memlog.Fault{}
				}
				f := script[0]
				script = script[1:]
				return f
			}}, events.Settings{Partitions: rapid.SampledFrom([]int{1, 3}).Draw(t, "partitions")})
			town := &town{t: t, log: log, callers: rapid.IntRange(1, 4).Draw(t, "callers")}
			town.draw(rapid.IntRange(1, 4).Draw(t, "people"), func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "n") })
			town.check()
		})
	})
}

// The same once, with a server, where appends of two connections race.
func TestOnePersonIsOneCustomerOnAServer(t *testing.T) {
	t.Parallel()
	server, err := natslog.Serve(t.Context(), natslog.Options{Dir: t.TempDir(), SyncInterval: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	log, err := natslog.Open(t.Context(), natslog.Dial{Server: server})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	foundOn(t, log, events.Settings{Partitions: 3})
	town := &town{t: t, log: log, callers: 8}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	town.draw(20, rand.New(rand.NewPCG(seed, 0)).IntN)
	town.check()
}

// town is people who are told of under several names.
type town struct {
	t       townTest
	log     events.Log
	callers int
	people  [][][2]string     // the names of each: type and value
	told    []*eventsv1.Event // in the order of telling, of one caller after another
	whose   map[string]int    // event id to the person
}

// townTest is what a town needs of a test.
type townTest interface {
	tb
	Errorf(format string, args ...any)
}

// draw makes up people and what is told of them, by a source of numbers below n.
func (w *town) draw(people int, below func(n int) int) {
	w.whose = map[string]int{}
	for i := range people {
		names := [][2]string{{"user_id", fmt.Sprint("u", i)}, {"email", fmt.Sprintf("u%d@x.org", i)}, {"anonymous_id", fmt.Sprint("a", i)},
			{"device_id", fmt.Sprint("d", i)}, {"crm_id", fmt.Sprint("c", i)}}
		if i%3 == 2 {
			names = [][2]string{{"company_id", fmt.Sprint("g", i)}, {"company_domain", fmt.Sprintf("g%d.org", i)}, {"company_crm_id", fmt.Sprint("k", i)}}
		}
		w.people = append(w.people, names)
		for range 1 + below(4) {
			w.tell(i, names[below(len(names))])
			w.tell(i, names[below(len(names))], names[below(len(names))])
			w.alias(i, names[below(len(names))], names[below(len(names))], below(2) == 0)
		}
		for n := range names[1:] {
			w.tell(i, names[n], names[n+1])
		}
	}
	for i := range w.told {
		j := i + below(len(w.told)-i)
		w.told[i], w.told[j] = w.told[j], w.told[i]
	}
}

// tell tells an event of a person by some names.
func (w *town) tell(person int, names ...[2]string) *eventsv1.Event {
	e := track("", fmt.Sprint("e", len(w.told)))
	e.Identifiers = nil
	for _, n := range names {
		e.Identifiers = append(e.Identifiers, &eventsv1.Identifier{Type: n[0], Value: n[1]})
	}
	w.told, w.whose[e.Id] = append(w.told, e), person
	return e
}

func (w *town) alias(person int, name, previous [2]string, force bool) {
	e := w.tell(person, name)
	e.Type = "identity.aliased"
	e.Payload = &eventsv1.Event_Alias{Alias: &eventsv1.Alias{
		Previous: &eventsv1.Identifier{Type: previous[0], Value: previous[1]}, Force: force,
	}}
}

// check tells it all and looks at what came of it.
func (w *town) check() {
	f := foldedOn(w.t, w.log)
	defer f.stop()
	rigs := []*rig{f.rig, start(w.t, w.log, nil)}
	defer rigs[1].stop()
	var wg sync.WaitGroup
	for n := range w.callers {
		wg.Go(func() {
			var own []*eventsv1.Event
			for i := n; i < len(w.told); i += w.callers {
				own = append(own, w.told[i])
			}
			for batch := range slices.Chunk(own, 1+n%3) {
				w.send(rigs[n%len(rigs)], batch...)
			}
		})
	}
	wg.Wait()
	for _, r := range rigs {
		upTo(w.t, r)
	}
	f.moved(w.t)
	fresh := start(w.t, w.log, nil)
	defer fresh.stop()
	customers := w.customers(append(rigs, fresh))
	want, got := map[int][]string{}, map[int][]string{}
	for id, person := range w.whose {
		want[person] = append(want[person], id)
	}
	for person, c := range customers {
		slices.Sort(want[person])
		got[person] = f.told(w.t, c)
	}
	if diff := cmp.Diff(got, want); diff != "" {
		w.t.Fatalf("events by person (-got +want):\n%s", diff)
	}
	for _, r := range rigs {
		if n := r.directory.QuarantinedCount(); n != 0 {
			w.t.Fatalf("%d conflicts, want none", n)
		}
	}
}

// customers are who the people are, each by every name and for every gateway.
func (w *town) customers(rigs []*rig) []events.CustomerID {
	var all []events.CustomerID
	whose := map[events.CustomerID]int{}
	for person, names := range w.people {
		found := map[events.CustomerID][]string{}
		for n, r := range rigs {
			for _, name := range names {
				c, known, err := r.directory.Lookup(name[0], name[1])
				if err != nil || !known {
					w.t.Fatalf("gateway %d: %v is known: %v, %v", n, name, known, err)
				}
				found[c] = append(found[c], fmt.Sprint(n, name))
			}
		}
		ids := slices.Collect(maps.Keys(found))
		if other, taken := whose[ids[0]]; len(ids) != 1 || taken {
			w.t.Fatalf("person %d is %d customers: %v; another is one of them: %v (person %d)", person, len(ids), found, taken, other)
		}
		whose[ids[0]] = person
		all = append(all, ids[0])
	}
	return all
}

// send is a client that does as it is told.
func (w *town) send(r *rig, all ...*eventsv1.Event) {
	for range 200 {
		b := batch()
		for _, e := range all {
			b.Drafts = append(b.Drafts, ingest.Draft{Event: proto.CloneOf(e)})
		}
		result, err := r.Accept(context.Background(), b)
		switch {
		case err == nil && result.Accepted+result.Duplicates == len(all):
			return
		case err == nil:
			w.t.Errorf("accepted %+v of %d events", result, len(all))
			return
		case !errors.Is(err, ingest.ErrNotReady) && !errors.Is(err, ingest.ErrOverload):
			w.t.Errorf("accept: %v", err)
			return
		}
	}
	w.t.Errorf("never safe")
}

// upTo waits until the directory of a gateway has read IDENTITY to its end.
func upTo(t tb, r *rig) {
	t.Helper()
	info, err := r.log.Info(context.Background(), events.IdentityStream)
	if err != nil {
		t.Fatalf("info: %v", err)
	}
	for r.directory.Progress().Applied < info.Last {
		time.Sleep(time.Millisecond) // in a bubble, or until another goroutine was heard
	}
}
