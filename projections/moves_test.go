package projections_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/projections"
	"github.com/dossier360/dossier/projections/playbook"
	"github.com/dossier360/dossier/projections/profile"
	"github.com/dossier360/dossier/projections/store"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// street is a log with several partitions, run in a bubble.
type street struct {
	t          *testing.T
	log        *memlog.Log
	genesis    *logv1.Genesis
	stores     []*store.Memory
	partitions []*projections.Partition
	end        context.CancelFunc
	wg         sync.WaitGroup
	n          int // events told
}

func newStreet(t *testing.T, partitions int) *street {
	s := &street{t: t, log: memlog.New(memlog.Options{})}
	var err error
	s.genesis, err = events.Found(t.Context(), s.log, events.Settings{
		Partitions: partitions, Clock: events.ClockWall, IdentityKeyCheck: []byte{1},
	}, time.Now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for range partitions {
		s.stores = append(s.stores, store.OpenMemory())
	}
	t.Cleanup(s.stop)
	return s
}

func (s *street) start() {
	s.t.Helper()
	rules := projections.NewRules()
	s.partitions = nil
	for id, st := range s.stores {
		st.Reopen()
		p, err := projections.Open(s.t.Context(), projections.Options{
			Log: s.log, Genesis: s.genesis, ID: id, Rules: rules, Evaluate: playbook.BuiltinStages,
			OpenStore: func() (store.Store, error) { st.Reopen(); return st, nil },
			SetAside:  func(why error) error { return why },
			Applied: func(ctx context.Context, partition int, seq uint64) error {
				return s.partitions[partition].WaitApplied(ctx, seq)
			},
		})
		if err != nil {
			s.t.Fatal(err)
		}
		s.partitions = append(s.partitions, p)
	}
	rules.Begin(s.partitions...)
	ctx, end := context.WithCancel(context.Background())
	s.end = end
	for _, p := range s.partitions {
		s.wg.Go(func() {
			if err := p.Run(ctx); err != nil {
				s.t.Error(err)
			}
		})
	}
	s.wg.Go(func() { rules.Run(ctx, s.log) })
}

func (s *street) stop() {
	if s.end != nil {
		s.end()
		s.wg.Wait()
		s.end = nil
	}
}

// settle waits until nothing moves any more.
func (s *street) settle() {
	s.t.Helper()
	time.Sleep(time.Minute) // of the bubble's time
	synctest.Wait()
	for _, p := range s.partitions {
		if status := p.Known(); status.Jobs > 0 || status.Unheard > 0 || status.Err != nil {
			s.t.Fatalf("partition %d settled with %d jobs, %d rules unheard, error %v", p.ID(), status.Jobs, status.Unheard, status.Err)
		}
	}
}

func hashOf(name string) []byte { return fmt.Appendf(nil, "%-16s", name)[:16] }

// hashesOf are the hashes of names as a split has them.
func hashesOf(names ...string) []byte {
	slices.Sort(names)
	var all []byte
	for _, n := range names {
		all = append(all, hashOf(n)...)
	}
	return all
}

// order tells an order of a customer by these identifiers, at a sequence of
// IDENTITY.
func (s *street) order(c events.CustomerID, at uint64, ids ...string) {
	s.t.Helper()
	s.n++
	id := fmt.Sprintf("e%03d", s.n)
	when := events.Micros(time.Date(2024, 1, 1+s.n, 0, 0, 0, 0, time.UTC))
	event := &eventsv1.Event{Payload: &eventsv1.Event_Order{Order: &eventsv1.Order{OrderId: "o" + id}}}
	header := &logv1.Header{
		Customer: c[:], Type: eventsv1.Type_TYPE_ORDER_PLACED, Source: "test", EventId: id, ClaimedAt: &when, OccurredAt: when,
	}
	for _, name := range ids {
		event.Identifiers = append(event.Identifiers, &eventsv1.Identifier{Type: "user_id", Value: name})
		header.Identifiers = append(header.Identifiers, &logv1.HashedIdentifier{Type: "user_id", Hash: hashOf(name)})
	}
	body, err := proto.Marshal(event)
	if err != nil {
		s.t.Fatal(err)
	}
	p := c.Partition(len(s.stores))
	s.append(events.PartitionStream(p), events.SubjectEvents(p), &logv1.Record{
		At: at, RecordedAt: when, Events: []*logv1.LoggedEvent{{Header: header, Body: body}},
	})
}

func (s *street) append(stream events.Stream, subject string, m proto.Message) uint64 {
	s.t.Helper()
	data, err := events.Seal(m)
	if err != nil {
		s.t.Fatal(err)
	}
	seq, err := s.log.Append(s.t.Context(), stream, subject, data, events.Expect{})
	if err != nil {
		s.t.Fatal(err)
	}
	return seq
}

func (s *street) rule(r *logv1.Rule) uint64 {
	s.t.Helper()
	return s.append(events.IdentityStream, events.SubjectRule, &logv1.Identity{Content: &logv1.Identity_Rule{Rule: r}})
}

func (s *street) merge(loser, winner events.CustomerID) uint64 {
	return s.rule(&logv1.Rule{Rule: &logv1.Rule_Merged{Merged: &logv1.Merged{Loser: loser[:], Winner: winner[:]}}})
}

func (s *street) split(from, to events.CustomerID, undoes uint64, ids ...string) uint64 {
	return s.rule(&logv1.Rule{Rule: &logv1.Rule_Split{Split: &logv1.Split{
		From: from[:], To: to[:], Hashes: hashesOf(ids...), Undoes: undoes,
	}}})
}

// orders are the ids of the events in a customer's history, oldest first; nil if
// there is no such customer.
func (s *street) orders(c events.CustomerID) []string {
	s.t.Helper()
	v := s.partitions[c.Partition(len(s.partitions))].View()
	defer v.Close()
	head, err := v.Head(c)
	if errors.Is(err, projections.ErrNotFound) {
		return nil
	}
	if err != nil {
		s.t.Fatal(err)
	}
	var ids []string
	for e, err := range v.Entries(c, nil) {
		if err != nil {
			s.t.Fatal(err)
		}
		ids = append(ids, e.EventId)
	}
	slices.Reverse(ids)
	if got := int(head.GetFacts().GetOrders().GetCount()); got != len(ids) {
		s.t.Errorf("customer %s counts %d orders, has %d in his history", c, got, len(ids))
	}
	if len(head.Withheld) > 0 {
		s.t.Errorf("customer %s is still moving: %v", c, head.Withheld)
	}
	return ids
}

func (s *street) check(what string, c events.CustomerID, want ...string) {
	s.t.Helper()
	if diff := cmp.Diff(want, s.orders(c)); diff != "" {
		s.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// changes lists what is announced of a customer.
func (s *street) changes(c events.CustomerID) []string {
	s.t.Helper()
	v := s.partitions[c.Partition(len(s.partitions))].View()
	defer v.Close()
	var list []string
	last := ""
	for change, err := range v.Changes() {
		if err != nil {
			s.t.Fatal(err)
		}
		if events.CustomerID(change.Customer) != c {
			continue
		}
		if change.PreviousChangeId != last {
			s.t.Errorf("change %s of %s follows %q, want %q", change.Id, c, change.PreviousChangeId, last)
		}
		last = change.Id
		list = append(list, fmt.Sprintf("%s %s>%s %s", change.Kind, s.name(change.From), s.name(change.To), change.Cause.Kind))
	}
	return list
}

// name shortens customer ids.
func (s *street) name(text string) string {
	if id, err := events.ParseCustomerID(text); err == nil {
		return fmt.Sprintf("c%d", id[15])
	}
	return text
}

func (s *street) customers() (names []string) {
	s.t.Helper()
	for _, p := range s.partitions {
		v := p.View()
		n := 0
		for c, err := range v.Customers() {
			if err != nil {
				s.t.Fatal(err)
			}
			n++
			names = append(names, s.name(c.String()))
		}
		if got := int(v.Checkpoint().Customers); got != n {
			s.t.Errorf("partition %d counts %d customers, has %d", p.ID(), got, n)
		}
		table, err := v.Rows()
		if err != nil || table.Len() != n {
			s.t.Errorf("partition %d lists %d customers (%v), has %d", p.ID(), table.Len(), err, n)
		}
		v.Close()
	}
	slices.Sort(names)
	return names
}

// digestOf is a customer's digest.
func (s *street) digestOf(c events.CustomerID) string {
	s.t.Helper()
	v := s.partitions[c.Partition(len(s.partitions))].View()
	defer v.Close()
	head, err := v.Head(c)
	if err != nil {
		s.t.Fatal(err)
	}
	return fmt.Sprintf("%x", profile.Digest(head.Facts))
}

func eachStreet(t *testing.T, run func(t *testing.T, s *street)) {
	for _, partitions := range []int{1, 2, 5} {
		t.Run(fmt.Sprint(partitions), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStreet(t, partitions)
				s.start()
				run(t, s)
				s.stop()
			})
		})
	}
}

var l, w, x, n = customerID(1).ID(), customerID(2).ID(), customerID(3).ID(), customerID(4).ID()

// A merge takes the loser's events to the winner, whenever they come, and one
// announcement says so.
func TestMerge(t *testing.T) {
	eachStreet(t, func(t *testing.T, s *street) {
		s.order(l, 1, "a")
		s.order(w, 1, "b")
		s.settle()
		d := s.merge(l, w)
		s.settle()
		s.order(l, 1, "a")   // a gateway that is behind
		s.order(w, d, "a")   // one that is not
		s.order(w, d-1, "b") // nor hurt by being behind
		s.settle()
		s.check("winner", w, "e001", "e002", "e003", "e004", "e005")
		s.check("loser", l)
		if diff := cmp.Diff([]string{"c2"}, s.customers()); diff != "" {
			t.Error(diff)
		}
		want := []string{"customer.created >active event", "customer.merged c1>c2 merge"}
		got := s.changes(w)
		if len(got) < 2 || !slices.Contains(got, want[1]) || len(s.changes(l)) != 1 {
			t.Errorf("announced of the winner %q, of the loser %q", got, s.changes(l))
		}
	})
}

// Chains, and a merge into a customer that is itself being merged: all rules at
// once, events addressed to everybody.
func TestMergeChain(t *testing.T) {
	eachStreet(t, func(t *testing.T, s *street) {
		s.order(l, 1, "a")
		s.order(w, 1, "b")
		s.order(x, 1, "c")
		s.merge(l, w)
		s.merge(w, x)
		s.order(l, 1, "a")
		s.order(w, 1, "b")
		s.settle()
		s.check("root", x, "e001", "e002", "e003", "e004", "e005")
		s.check("loser", l)
		s.check("middle", w)
		all := s.changes(x)
		for _, c := range []events.CustomerID{l, w} {
			// Who was never told of is not told of now.
			told := len(s.changes(c)) > 0
			merged := fmt.Sprintf("customer.merged %s>c3 merge", s.name(c.String()))
			if got := slices.Contains(all, merged); got != told {
				t.Errorf("%s announced %v, want %v: %q", merged, got, told, all)
			}
		}
	})
}

// Undoing a merge gives the loser back what was his, under his former id, and
// what was told of him since.
func TestUndo(t *testing.T) {
	eachStreet(t, func(t *testing.T, s *street) {
		s.order(l, 1, "a")
		s.order(w, 1, "b")
		s.settle()
		before := []string{s.digestOf(l), s.digestOf(w)}
		d := s.merge(l, w)
		s.settle()
		u := s.split(w, l, d, "a")
		s.settle()
		if diff := cmp.Diff(before, []string{s.digestOf(l), s.digestOf(w)}); diff != "" {
			t.Errorf("after undo (-before +after):\n%s", diff)
		}
		s.order(w, d, "a") // addressed before the undo was known
		s.order(l, 1, "a") // before the merge was known
		s.order(l, u, "a")
		s.order(w, u, "b")
		s.settle()
		s.check("loser", l, "e001", "e003", "e004", "e005")
		s.check("winner", w, "e002", "e006")
		d = s.merge(l, w) // and again
		s.settle()
		s.check("winner again", w, "e001", "e002", "e003", "e004", "e005", "e006")
		s.split(w, l, d, "a")
		s.settle()
		s.check("loser again", l, "e001", "e003", "e004", "e005")
	})
}

// L becomes W, S is split from W to N, N becomes W: everything is W's, whatever
// each event knew when it was addressed.
func TestMergeSplitMerge(t *testing.T) {
	eachStreet(t, func(t *testing.T, s *street) {
		s.order(l, 1, "a")
		s.order(w, 1, "b")
		s.order(w, 1, "s")
		d1 := s.merge(l, w)
		d2 := s.split(w, n, 0, "s")
		s.settle()
		s.check("split", n, "e003")
		s.order(w, d1, "s") // a gateway behind the split
		s.settle()
		s.check("split, late", n, "e003", "e004")
		s.check("rest", w, "e001", "e002")
		d3 := s.merge(n, w)
		for _, at := range []uint64{1, d1, d2, d3} {
			s.order(w, at, "s")
		}
		s.order(n, d2, "s")
		s.order(l, 1, "a")
		s.settle()
		s.check("all", w, "e001", "e002", "e003", "e004", "e005", "e006", "e007", "e008", "e009", "e010")
		s.check("nobody", n)
	})
}

// A store lost in the middle of it all is folded again to the same.
func TestMovesAreFoldedAgain(t *testing.T) {
	eachStreet(t, func(t *testing.T, s *street) {
		for i := range 300 {
			s.order(l, 1, "a")
			if i%3 == 0 {
				s.order(w, 1, "b")
			}
		}
		s.settle()
		d := s.merge(l, w)
		s.settle()
		s.split(w, l, d, "a")
		s.settle()
		digests := []string{s.digestOf(l), s.digestOf(w)}
		changes := [][]string{s.changes(l), s.changes(w)}
		s.stop()
		for i := range s.stores {
			s.stores[i] = store.OpenMemory()
		}
		s.start()
		s.settle()
		if diff := cmp.Diff(digests, []string{s.digestOf(l), s.digestOf(w)}); diff != "" {
			t.Errorf("digests (-before +after):\n%s", diff)
		}
		if diff := cmp.Diff(changes, [][]string{s.changes(l), s.changes(w)}); diff != "" {
			t.Errorf("changes (-before +after):\n%s", diff)
		}
	})
}

// What takes back an event of a long history, or replaces it, has all of it told
// to him once more. What it names without its time is searched for.
func TestTakingBackOfLongCustomers(t *testing.T) {
	const long = 1_500
	eachStreet(t, func(t *testing.T, s *street) {
		view := func(id string, when time.Time, change func(*logv1.LoggedEvent, *eventsv1.Event)) *logv1.LoggedEvent {
			at := events.Micros(when)
			e := &logv1.LoggedEvent{Header: &logv1.Header{
				Customer: w[:], Type: eventsv1.Type_TYPE_PAGE_VIEWED, Source: "test", EventId: id, ClaimedAt: &at, OccurredAt: at, RecordedDelta: 10,
			}}
			body := &eventsv1.Event{}
			if change != nil {
				change(e, body)
			}
			var err error
			if e.Body, err = proto.Marshal(body); err != nil {
				t.Fatal(err)
			}
			return e
		}
		tell := func(list ...*logv1.LoggedEvent) {
			for len(list) > 0 {
				n := min(len(list), 500)
				p := w.Partition(len(s.stores))
				s.append(events.PartitionStream(p), events.SubjectEvents(p), &logv1.Record{At: 1, RecordedAt: 1, Events: list[:n]})
				list = list[n:]
			}
		}
		day := time.Date(2024, 5, 1, 0, 0, 0, 0, time.UTC)
		minute := func(n int) time.Time { return day.Add(time.Duration(n) * time.Minute) }
		void := func(id, of string, at *timestamppb.Timestamp, role logv1.Role, held bool) *logv1.LoggedEvent {
			return view(id, day, func(e *logv1.LoggedEvent, body *eventsv1.Event) {
				e.Header.Type, e.Header.Role, e.Header.Held = eventsv1.Type_TYPE_EVENT_VOIDED, role, held
				body.Payload = &eventsv1.Event_Void{Void: &eventsv1.Void{EventId: of, Time: at}}
			})
		}
		var list []*logv1.LoggedEvent
		for i := range long {
			list = append(list, view(fmt.Sprint("e", i), minute(i), nil))
		}
		tell(list...)
		views := func(want int) {
			t.Helper()
			s.settle()
			v := s.partitions[w.Partition(len(s.partitions))].View()
			defer v.Close()
			head, err := v.Head(w)
			if err != nil {
				t.Fatal(err)
			}
			if got := int(head.Facts.Engagement.PageViews); got != want || head.Parked != 0 || len(head.Withheld) > 0 {
				t.Errorf("%d views, %d parked, withheld %v; want %d views", got, head.Parked, head.Withheld, want)
			}
		}
		views(long)
		tell(void("v1", "e3", nil, logv1.Role_ROLE_SUBJECT, false))
		views(long - 1)
		tell(void("v2", "e4", timestamppb.New(minute(4)), logv1.Role_ROLE_SUBJECT, false))
		tell(void("v3", "e5", timestamppb.New(minute(999)), logv1.Role_ROLE_SUBJECT, false)) // names nothing that is there
		tell(void("v4", "e6", nil, logv1.Role_ROLE_COMPANY, true))                           // known to be here
		views(long - 3)
		// One that comes with what it names, and a copy that outranks another.
		replaced := view("e7", minute(7), func(e *logv1.LoggedEvent, body *eventsv1.Event) {
			e.Header.RecordedDelta = 1
			body.Payload = &eventsv1.Event_View{View: &eventsv1.View{Url: "https://x/"}}
		})
		tell(void("v5", "later", nil, logv1.Role_ROLE_SUBJECT, false), view("later", minute(5000), nil), replaced)
		views(long - 3)
		v := s.partitions[w.Partition(len(s.partitions))].View()
		defer v.Close()
		head, err := v.Head(w)
		if err != nil {
			t.Fatal(err)
		}
		if got := head.Facts.Engagement.Pages; len(got) != 1 || got[0].Count != 1 {
			t.Errorf("pages %v, want the one of the copy that stands", got)
		}
	})
}

// So many customers become one that the first rules are no longer held; a
// store that is lost hears them all again.
func TestManyMerges(t *testing.T) {
	const many = 1_500
	synctest.Test(t, func(t *testing.T) {
		s := newStreet(t, 2)
		s.start()
		single := func(i int) (c events.CustomerID) {
			c = customerID(9).ID()
			c[8], c[9] = byte(i>>8), byte(i)
			return c
		}
		for i := range many {
			s.order(single(i), 1, "z")
		}
		for i := range many {
			s.merge(single(i), x)
			if i == many/2 {
				s.settle()
			}
		}
		s.settle()
		if got := len(s.orders(x)); got != many {
			t.Errorf("%d orders, want %d", got, many)
		}
		if diff := cmp.Diff([]string{"c3"}, s.customers()); diff != "" {
			t.Error(diff)
		}
		s.stop()
		s.stores[0] = store.OpenMemory()
		s.start()
		s.settle()
		if got := len(s.orders(x)); got != many {
			t.Errorf("%d orders after a store was lost, want %d", got, many)
		}
		s.stop()
	})
}

// What was set aside of the loser is the winner's now, and an undone merge gives
// it back.
func TestParkedMoves(t *testing.T) {
	eachStreet(t, func(t *testing.T, s *street) {
		poison := func(c events.CustomerID, name string) {
			at := int64(1_700_000_000_000_000)
			p := c.Partition(len(s.stores))
			s.append(events.PartitionStream(p), events.SubjectEvents(p), &logv1.Record{At: 1, RecordedAt: 1, Events: []*logv1.LoggedEvent{{
				Header: &logv1.Header{
					Customer: c[:], Type: eventsv1.Type_TYPE_PAGE_VIEWED, Source: "test", EventId: "poison", ClaimedAt: &at, OccurredAt: at,
					Identifiers: []*logv1.HashedIdentifier{{Type: "user_id", Hash: hashOf(name)}},
				},
				Body: []byte{0xff},
			}}})
		}
		check := func(what string, want string) {
			t.Helper()
			s.settle()
			got, total := "", 0
			for _, c := range []events.CustomerID{l, w} {
				p := s.partitions[c.Partition(len(s.partitions))]
				v := p.View()
				head, err := v.Head(c)
				if err == nil {
					got += fmt.Sprint(s.name(c.String()), " ", head.Parked, " ")
					total += int(head.Parked)
				}
				v.Close()
			}
			for _, p := range s.partitions {
				total -= int(p.Known().Parked)
			}
			if got != want || total != 0 {
				t.Errorf("%s: parked %q, %d more than the partitions count; want %q", what, got, total, want)
			}
		}
		s.order(l, 1, "a")
		s.order(w, 1, "b")
		poison(l, "a")
		check("before", "c1 1 c2 0 ")
		d := s.merge(l, w)
		check("merged", "c2 1 ")
		s.split(w, l, d, "a")
		check("undone", "c1 1 c2 0 ")
	})
}

// A merge that is undone before its moves were through was never told to
// anybody, and neither is that it was undone.
func TestUndoneAtOnce(t *testing.T) {
	eachStreet(t, func(t *testing.T, s *street) {
		for range 3 {
			s.order(l, 1, "a")
			s.order(w, 1, "b")
		}
		s.settle()
		before := [][]string{s.changes(l), s.changes(w)}
		d := s.merge(l, w)
		s.split(w, l, d, "a")
		s.settle()
		s.check("loser", l, "e001", "e003", "e005")
		s.check("winner", w, "e002", "e004", "e006")
		if diff := cmp.Diff(before, [][]string{s.changes(l), s.changes(w)}); diff != "" {
			t.Errorf("announced (-before +after):\n%s", diff)
		}
		d = s.merge(l, w)
		s.settle()
		s.split(w, l, d, "a")
		s.settle()
		got := [][]string{s.changes(l)[len(before[0]):], s.changes(w)[len(before[1]):]}
		if len(got[0]) != 2 || got[0][0] != "customer.split c2>c1 split" || len(got[1]) == 0 || got[1][0] != "customer.merged c1>c2 merge" {
			t.Errorf("announced of a merge that was told: %q", got)
		}
	})
}
