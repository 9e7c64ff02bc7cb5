package main

import (
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/directory"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

// TestIdentity lets clients tell events of few people and companies under many
// names, and people decide who is who, on engines of one to three gateways, one
// to four partitions, with and without a second process that folds the same.
// Everything dies at any durable step and comes back, with what it stored or
// without. In the end every process has what the [reference] makes of the log,
// and a partition folded again is the same bytes, outbox and all.
func TestIdentity(t *testing.T) {
	eachSeed(t, 10, simulateIdentity)
}

func simulateIdentity(t *testing.T, seed uint64) {
	rng := mathrand.New(mathrand.NewPCG(seed, 0))
	o := townOptions{
		partitions: []int{1, 2, 4}[rng.IntN(3)], gateways: 1 + rng.IntN(3), replicas: rng.IntN(2),
		clock: []string{events.ClockWall, events.ClockWall, events.ClockEvents}[rng.IntN(3)],
		seed:  rng.Uint64(), percent: rng.IntN(4) * rng.IntN(10), lag: time.Duration(rng.IntN(3)) * 400 * time.Millisecond,
	}
	var clients [3][]deed
	life := &townLife{rng: rng}
	for i := range clients {
		for range 5 + rng.IntN(20) {
			clients[i] = append(clients[i], life.deed())
		}
	}
	w := newTown(t, o)
	w.live(clients[:])
	w.settle()
	w.check()
	w.checkDirectories()
	w.checkFeed()
	w.stop()
	w.checkRebuild()
	t.Logf("%d rules", len(readReference(t, w.log).rules))
	t.Logf("%+v: %d crashes, %d faults", o, w.crashes.Load(), w.faults.Load())
}

// TestUndoLaw tells events of two people, joins the two by hand, tells more
// events that name one of them, and undoes it; again and again. In the end each
// has the digest of a history in which nobody was ever joined; and an event that
// names both is a conflict, and joins nobody.
func TestUndoLaw(t *testing.T) {
	warmCoders(t)
	seeds := 10
	if testing.Short() {
		seeds = 4
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { checkUndo(t, seed) })
		})
	}
}

func checkUndo(t *testing.T, seed uint64) {
	rng := mathrand.New(mathrand.NewPCG(seed, 0))
	names := [2][]*eventsv1.Identifier{
		{{Type: "email", Value: "ann@x.org"}, {Type: "crm_id", Value: "ann"}},
		{{Type: "email", Value: "bob@x.org"}, {Type: "crm_id", Value: "bob"}, {Type: "anonymous_id", Value: "cookie"}},
	}
	joined := newTown(t, townOptions{partitions: 4, gateways: 2, seed: seed, percent: 3})
	never := newTown(t, townOptions{partitions: 1, gateways: 1, seed: seed})
	life := &townLife{rng: rng}
	tell := func(ids ...*eventsv1.Identifier) {
		e := &eventsv1.Event{
			Id: fmt.Sprintf("e%d", len(life.told)), Identifiers: ids,
			Time: timestamppb.New(simStart.Add(time.Duration(rng.IntN(90*24)) * time.Hour)),
		}
		life.fillOwn(e, len(life.told))
		life.told = append(life.told, e)
		for _, w := range []*town{joined, never} {
			w.do(deed{gateway: rng.IntN(2), batch: ingest.Batch{
				Source: "town", Wire: "native", Path: "/v1/events", Drafts: []ingest.Draft{{Event: e}},
			}})
		}
	}
	tell(names[0]...)
	tell(names[1]...)
	for range 1 + rng.IntN(3) {
		for range rng.IntN(8) {
			who := names[rng.IntN(2)]
			tell(who[rng.IntN(len(who))])
		}
		joined.do(deed{gateway: rng.IntN(2), order: joinNames(names[0][0], names[1][0])})
		for range rng.IntN(8) {
			who := names[rng.IntN(2)]
			tell(who[rng.IntN(len(who))])
		}
		joined.do(deed{gateway: rng.IntN(2), order: undoMerge(0)})
	}
	joined.settle()
	never.settle()
	joined.check()
	if diff := gocmp.Diff(joined.digests(), never.digests()); diff != "" {
		t.Errorf("after the undo (-joined and parted +never joined):\n%s", diff)
	}
	rules := len(readReference(t, joined.log).rules)
	if rules == 0 || rules%2 != 0 {
		t.Errorf("%d rules, want a merge and a split each time", rules)
	}
	joined.do(deed{batch: ingest.Batch{Source: "town", Wire: "native", Path: "/v1/events", Drafts: []ingest.Draft{{Event: &eventsv1.Event{
		Id: "both", Type: "page.viewed", Time: timestamppb.New(simStart), Identifiers: []*eventsv1.Identifier{names[0][0], names[1][0]},
	}}}}})
	joined.settle()
	if after := len(readReference(t, joined.log).rules); after != rules {
		t.Errorf("an event that names both made %d rules more", after-rules)
	}
	if open, err := joined.gateways[0].now.Load().directory.Conflicts(directory.ConflictsQuery{State: directory.ConflictOpen}); err != nil || len(open) != 1 {
		t.Errorf("%d open conflicts, want 1 (%v)", len(open), err)
	}
	joined.stop()
	never.stop()
	joined.checkRebuild()
}

// TestIdentityInTurn does by name what chance reaches seldom, without waiting for
// any of it to be through, and on one partition and four: the digests are the
// same.
func TestIdentityInTurn(t *testing.T) {
	warmCoders(t)
	a := []*eventsv1.Identifier{{Type: "email", Value: "a@x.org"}, {Type: "crm_id", Value: "a"}}
	b := []*eventsv1.Identifier{{Type: "email", Value: "b@x.org"}, {Type: "crm_id", Value: "b"}, {Type: "anonymous_id", Value: "b"}}
	c := []*eventsv1.Identifier{{Type: "email", Value: "c@x.org"}, {Type: "crm_id", Value: "c"}, {Type: "anonymous_id", Value: "c"}, {Type: "device_id", Value: "c"}}
	tests := []struct {
		name   string
		orders []order
		rules  int
		people int
	}{
		{"one becomes another", []order{joinNames(a[0], b[0])}, 1, 2},
		{"a part goes, and comes back as a whole", []order{joinNames(a[0], b[0]), takeOut(b[0]), joinNames(b[0], b[1])}, 3, 2},
		{"who is becoming another takes one in", []order{joinNames(b[0], c[0]), joinNames(a[0], b[0])}, 2, 1},
		{"who took one in becomes another", []order{joinNames(a[0], b[0]), joinNames(b[0], c[0])}, 2, 1},
		{"several become one", []order{joinNames(a[0], c[0]), joinNames(b[0], c[0])}, 2, 1},
		{"a chain is undone in the middle", []order{joinNames(a[0], b[0]), joinNames(b[0], c[0]), undoMerge(1)}, 3, 2},
		{"a chain is undone from the middle to the end", []order{joinNames(a[0], b[0]), joinNames(b[0], c[0]), undoMerge(1), undoMerge(0)}, 4, 3},
		{"joined, parted, joined again", []order{joinNames(a[0], b[0]), undoMerge(0), joinNames(a[0], b[0])}, 3, 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var digests [][]string
				for seed, partitions := range []int{1, 4} {
					w := newTown(t, townOptions{partitions: partitions, gateways: 2, replicas: 1, seed: uint64(seed), lag: time.Second})
					n := 0
					tell := func(gateway int, ids ...*eventsv1.Identifier) {
						n++
						w.do(deed{gateway: gateway, batch: ingest.Batch{Source: "town", Wire: "native", Path: "/v1/events", Drafts: []ingest.Draft{{Event: &eventsv1.Event{
							Id: fmt.Sprintf("e%d", n), Type: "order.placed", Time: timestamppb.New(simStart.Add(time.Duration(n) * time.Hour)), Identifiers: ids,
							Payload: &eventsv1.Event_Order{Order: &eventsv1.Order{OrderId: fmt.Sprintf("o%d", n), RevenueMicros: new(int64(n) * 1_000_000), Currency: "CNY"}},
						}}}}})
					}
					all := slices.Concat(a, b, c)
					tell(0, a...)
					tell(0, b...)
					tell(0, c...)
					for _, order := range test.orders {
						for i, id := range all {
							tell(i%2, id) // the second gateway may be behind
						}
						w.do(deed{order: order})
					}
					for i, id := range all {
						tell(i%2, id)
					}
					w.settle()
					w.check()
					w.checkDirectories()
					w.checkFeed()
					if rules := len(readReference(t, w.log).rules); rules != test.rules {
						t.Errorf("%d rules, want %d", rules, test.rules)
					}
					digests = append(digests, w.digests())
					w.stop()
					w.checkRebuild()
				}
				if len(digests[0]) != test.people {
					t.Errorf("%d people, want %d", len(digests[0]), test.people)
				}
				if diff := gocmp.Diff(digests[0], digests[1]); diff != "" {
					t.Errorf("-one partition +four:\n%s", diff)
				}
			})
		})
	}
}

// deed is what a client does through a gateway, until it is done: he tells
// events, or decides who is who.
type deed struct {
	gateway int
	batch   ingest.Batch
	order   order // nil: events
}

// order is something that people decide, by what the directory of a gateway
// knows.
type order func(ctx context.Context, d *directory.Directory) error

// live has the clients do all their deeds, each one after the other.
func (w *town) live(clients [][]deed) {
	var wg sync.WaitGroup
	for _, deeds := range clients {
		wg.Go(func() {
			for _, d := range deeds {
				w.do(d)
				w.pause()
			}
		})
	}
	wg.Wait()
}

func (w *town) do(d deed) {
	if d.order != nil {
		w.order(d.gateway%len(w.gateways), d.order)
		return
	}
	if result := w.post(d.gateway%len(w.gateways), d.batch); len(result.Rejected) != 0 {
		w.t.Errorf("rejected: %+v", result.Rejected)
	}
}

// finalAnswers are the answers to an order that cannot be followed as things stand.
var finalAnswers = []error{
	directory.ErrUnknownCustomer, directory.ErrUnknownMerge, directory.ErrUnknownConflict, directory.ErrKinds, directory.ErrUndone,
	directory.ErrOneCustomer, directory.ErrNotHis, directory.ErrNothingLeft, directory.ErrBlockedHere, directory.ErrResolved, errNobody,
}

// errNobody: there is nothing yet that the order could be about.
var errNobody = errors.New("nobody yet")

// order orders something at a gateway, whichever life it has, until it is
// followed or refused.
func (w *town) order(gateway int, o order) {
	for {
		if now := w.gateways[gateway].now.Load(); now != nil {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			err := now.directory.CatchUp(ctx)
			if err == nil {
				err = o(ctx, now.directory)
			}
			cancel()
			if err == nil || slices.ContainsFunc(finalAnswers, func(final error) bool { return errors.Is(err, final) }) {
				return
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
}

var ordered = directory.Cause{Reason: "a test", Actor: "somebody"}

// whoIs finds whom an identifier names.
func whoIs(d *directory.Directory, id *eventsv1.Identifier) (events.CustomerID, error) {
	c, ok, err := d.Lookup(id.Type, id.Value)
	if err == nil && !ok {
		err = errNobody
	}
	return c, err
}

// joinNames says that whom two identifiers name are one.
func joinNames(a, b *eventsv1.Identifier) order {
	return func(ctx context.Context, d *directory.Directory) error {
		left, err := whoIs(d, a)
		if err != nil {
			return err
		}
		right, err := whoIs(d, b)
		if err != nil {
			return err
		}
		_, err = d.Merge(ctx, directory.MergeOrder{Customers: []events.CustomerID{left, right}, Cause: ordered})
		return err
	}
}

// undoMerge undoes one of the merges that stand, counted from the newest.
func undoMerge(n int) order {
	return func(ctx context.Context, d *directory.Directory) error {
		all, err := d.Merges(directory.MergesQuery{})
		if err != nil {
			return err
		}
		all = slices.DeleteFunc(all, func(m directory.MergeEntry) bool { return m.Merged == nil || m.UndoneBy != 0 })
		if len(all) == 0 {
			return errNobody
		}
		_, err = d.Split(ctx, directory.SplitOrder{Undo: all[n%len(all)].Seq, Cause: ordered})
		return err
	}
}

// takeOut takes those of some identifiers that are of the first one's customer
// out of him.
func takeOut(ids ...*eventsv1.Identifier) order {
	return func(ctx context.Context, d *directory.Directory) error {
		from, err := whoIs(d, ids[0])
		if err != nil {
			return err
		}
		o := directory.SplitOrder{Customer: from, Cause: ordered}
		for _, id := range ids {
			c, err := whoIs(d, id)
			if errors.Is(err, errNobody) || err == nil && c != from {
				continue
			}
			if err != nil {
				return err
			}
			known, err := d.Identify(id.Type, id.Value)
			if err != nil {
				return err
			}
			o.Identifiers = append(o.Identifiers, known)
		}
		_, err = d.Split(ctx, o)
		return err
	}
}

// linkNames says that identifiers are one customer's.
func linkNames(ids ...*eventsv1.Identifier) order {
	return func(ctx context.Context, d *directory.Directory) error {
		o := directory.LinkOrder{Cause: ordered}
		for _, id := range ids {
			known, err := d.Identify(id.Type, id.Value)
			if err != nil {
				return err
			}
			o.Identifiers = append(o.Identifiers, known)
		}
		_, err := d.Link(ctx, o)
		return err
	}
}

// keepNamesApart says that whom two identifiers name are not one.
func keepNamesApart(a, b *eventsv1.Identifier) order {
	return func(ctx context.Context, d *directory.Directory) error {
		left, err := whoIs(d, a)
		if err != nil {
			return err
		}
		right, err := whoIs(d, b)
		if err != nil {
			return err
		}
		_, err = d.KeepApart(ctx, directory.ApartOrder{A: left, B: right, Cause: ordered})
		return err
	}
}

// resolveOpen resolves one of the open conflicts.
func resolveOpen(n int, approve bool) order {
	return func(ctx context.Context, d *directory.Directory) error {
		open, err := d.Conflicts(directory.ConflictsQuery{State: directory.ConflictOpen})
		if err != nil {
			return err
		}
		if len(open) == 0 {
			return errNobody
		}
		_, err = d.ResolveConflict(ctx, directory.ResolveOrder{Conflict: open[n%len(open)].ID, Approve: approve, Cause: ordered})
		return err
	}
}

// townLife makes up what happens in a town.
type townLife struct {
	rng  *mathrand.Rand
	told []*eventsv1.Event
}

func (l *townLife) deed() deed {
	if l.rng.IntN(4) == 0 {
		return deed{gateway: l.rng.IntN(6), order: l.order()}
	}
	d := deed{gateway: l.rng.IntN(6), batch: ingest.Batch{Source: "town", Wire: "native", Path: "/v1/events"}}
	for range 1 + l.rng.IntN(6) {
		d.batch.Drafts = append(d.batch.Drafts, ingest.Draft{Event: l.event()})
	}
	return d
}

func (l *townLife) order() order {
	one := l.person
	if l.rng.IntN(5) == 0 {
		one = l.company
	}
	switch l.rng.IntN(9) {
	case 0, 1, 2:
		return joinNames(one()[0], one()[0])
	case 3, 4:
		return undoMerge(l.rng.IntN(4))
	case 5:
		return takeOut(slices.Concat(one(), one(), one())...)
	case 6:
		return linkNames(one()[0], one()[0])
	case 7:
		return keepNamesApart(one()[0], one()[0])
	}
	return resolveOpen(l.rng.IntN(3), l.rng.IntN(2) == 0)
}

// person is a few of the names of one of six people: users sign in, others only
// leave an address, and some devices have several users.
func (l *townLife) person() []*eventsv1.Identifier {
	who := l.rng.IntN(6)
	names := []*eventsv1.Identifier{
		{Type: "email", Value: fmt.Sprintf("p%d@x.org", who)},
		{Type: "email", Value: fmt.Sprintf("p%d@work.org", who)},
		{Type: "anonymous_id", Value: fmt.Sprintf("cookie-%d-%d", who, l.rng.IntN(2))},
		{Type: "crm_id", Value: fmt.Sprintf("crm-%d", who)},
		{Type: "device_id", Value: fmt.Sprintf("device-%d", who/2)},
	}
	if who < 4 {
		names = append(names, &eventsv1.Identifier{Type: "user_id", Value: fmt.Sprintf("u%d", who)})
	}
	l.rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return names[:1+l.rng.IntN(2)]
}

func (l *townLife) company() []*eventsv1.Identifier {
	who := l.rng.IntN(3)
	names := []*eventsv1.Identifier{
		{Type: "company_id", Value: fmt.Sprintf("g%d", who)},
		{Type: "company_crm_id", Value: fmt.Sprintf("account-%d", who)},
		{Type: "company_domain", Value: fmt.Sprintf("g%d.com", who)},
	}
	l.rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return names[:1+l.rng.IntN(2)]
}

// event makes up one event. Some tell two people as one, by mistake or because
// they are.
func (l *townLife) event() *eventsv1.Event {
	n := len(l.told)
	e := &eventsv1.Event{
		Id:          fmt.Sprintf("e%d", n),
		Time:        timestamppb.New(simStart.Add(time.Duration(l.rng.IntN(90*24)) * time.Hour)),
		Identifiers: l.person(),
	}
	switch l.rng.IntN(8) {
	case 0:
		e.Identifiers = append(e.Identifiers, l.person()...)
	case 1:
		e.Identifiers = l.company()
	case 2:
		e.Identifiers = append(e.Identifiers, l.company()...)
	}
	l.fill(e, n)
	l.told = append(l.told, e)
	return e
}

func (l *townLife) fill(e *eventsv1.Event, n int) {
	switch l.rng.IntN(12) {
	case 0, 1, 2, 3, 4, 10, 11:
		l.fillOwn(e, n)
	case 5:
		e.Identifiers = l.person()
		e.Type = []string{"group.joined", "group.joined", "group.left"}[l.rng.IntN(3)]
		e.Payload = &eventsv1.Event_Group{Group: &eventsv1.Group{GroupId: fmt.Sprintf("g%d", l.rng.IntN(3))}}
	case 6:
		e.Type = []string{"referral.made", "referral.converted"}[l.rng.IntN(2)]
		e.Payload = &eventsv1.Event_Referral{Referral: &eventsv1.Referral{
			Referee: l.person()[0], RevenueMicros: new(int64(5_000_000)), Currency: "CNY",
		}}
	case 7:
		e.Type = "ticket." + []string{"opened", "replied", "resolved", "reopened"}[l.rng.IntN(4)]
		e.Payload = &eventsv1.Event_Ticket{Ticket: &eventsv1.Ticket{TicketId: fmt.Sprintf("t%d", l.rng.IntN(5))}}
	case 8:
		if n > 0 {
			l.takeBack(e)
			break
		}
		fallthrough
	case 9:
		if n > 0 { // told once more, by whichever name
			proto.Reset(e)
			proto.Merge(e, l.told[l.rng.IntN(n)])
			break
		}
		fallthrough
	default:
		l.fillOwn(e, n)
	}
}

// fillOwn makes an event one that is about nobody but its customer.
func (l *townLife) fillOwn(e *eventsv1.Event, n int) {
	switch l.rng.IntN(3) {
	case 0:
		e.Type = "order.placed"
		e.Payload = &eventsv1.Event_Order{Order: &eventsv1.Order{
			OrderId: fmt.Sprintf("o%d", l.rng.IntN(60)), RevenueMicros: new(int64(l.rng.IntN(1e9))), Currency: "CNY",
		}}
	case 1:
		e.Type = "traits.set"
		e.Payload = &eventsv1.Event_Traits{Traits: &eventsv1.Traits{Manual: l.rng.IntN(3) == 0, Set: &structpb.Struct{Fields: map[string]*structpb.Value{
			"n": structpb.NewNumberValue(float64(n)),
		}}}}
	default:
		e.Type = "page.viewed"
		e.Payload = &eventsv1.Event_View{View: &eventsv1.View{Url: fmt.Sprintf("https://x/%d", l.rng.IntN(9))}}
	}
}

// takeBack makes an event void or correct one that was told before.
func (l *townLife) takeBack(e *eventsv1.Event) {
	of := l.told[l.rng.IntN(len(l.told))]
	e.Identifiers = []*eventsv1.Identifier{proto.CloneOf(of.Identifiers[0])}
	if l.rng.IntN(2) == 0 {
		e.Type = "event.voided"
		e.Payload = &eventsv1.Event_Void{Void: &eventsv1.Void{EventId: of.Id}}
		return
	}
	e.Type, e.Corrects = "order.placed", of.Id
	e.Payload = &eventsv1.Event_Order{Order: &eventsv1.Order{OrderId: fmt.Sprintf("o%d", l.rng.IntN(60)), RevenueMicros: new(int64(7_000_000))}}
}
