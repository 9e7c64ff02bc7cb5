package main

import (
	"context"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// TestRouting writes the log by hand: rules one after the other, and events as
// gateways would have stamped them that are behind by any number of rules, as
// late as they please. So it reaches what the timing of real gateways reaches
// seldom: an event that was addressed before five rules and comes after them.
// The processes that fold it die and come back meanwhile.
func TestRouting(t *testing.T) {
	eachSeed(t, 10, simulateRouting)
}

func simulateRouting(t *testing.T, seed uint64) {
	rng := mathrand.New(mathrand.NewPCG(seed, 0))
	w := newTown(t, townOptions{
		partitions: []int{1, 2, 4}[rng.IntN(3)], replicas: rng.IntN(2),
		clock: []string{events.ClockWall, events.ClockWall, events.ClockEvents}[rng.IntN(3)],
		seed:  rng.Uint64(), percent: rng.IntN(3) * rng.IntN(12), lag: time.Duration(rng.IntN(3)) * 400 * time.Millisecond,
	})
	s := newScribe(w, rng)
	for range 10 + rng.IntN(60) {
		s.write()
		w.pause()
	}
	w.settle()
	w.check()
	w.checkFeed()
	w.stop()
	w.checkRebuild()
	t.Logf("%d merges, %d events, %d crashes, %d faults", len(s.merges), s.events, w.crashes.Load(), w.faults.Load())
}

// scribe writes rules and events, and knows who was whose at every sequence of
// IDENTITY.
type scribe struct {
	w      *town
	rng    *mathrand.Rand
	past   []whose // by sequence of IDENTITY
	merges []*scribeMerge
	told   []*logv1.LoggedEvent
	events int
}

// whose says of every identifier whose it is, and under whom it came.
type whose map[string]belongs

type belongs struct{ owner, origin events.CustomerID }

type scribeMerge struct {
	d             uint64
	loser, winner events.CustomerID
	undone        bool
}

func newScribe(w *town, rng *mathrand.Rand) *scribe {
	s := &scribe{w: w, rng: rng, past: []whose{{}}}
	for s.seq() < w.identityLast() {
		s.past = append(s.past, s.now()) // Genesis and Ready
	}
	for n := range 3 + rng.IntN(4) {
		s.create(n)
	}
	return s
}

func (w *town) identityLast() uint64 {
	info, err := w.log.Info(context.Background(), events.IdentityStream)
	if err != nil {
		w.t.Fatal(err)
	}
	return info.Last
}

func (s *scribe) seq() uint64 { return uint64(len(s.past) - 1) }
func (s *scribe) now() whose  { return s.past[len(s.past)-1] }

// append writes a message to IDENTITY; from there on identifiers are as told.
func (s *scribe) append(subject string, content *logv1.Identity, now whose) uint64 {
	frame, err := events.Seal(content)
	if err != nil {
		s.w.t.Fatal(err)
	}
	seq, err := s.w.log.Append(context.Background(), events.IdentityStream, subject, frame, events.ExpectLast(s.seq()))
	if err != nil {
		s.w.t.Fatal(err)
	}
	s.past = append(s.past, now)
	return seq
}

func scribeHash(id string) []byte { return fmt.Appendf(nil, "%-16s", id) }

func (s *scribe) create(n int) {
	c := events.CustomerID(s.w.minter.Mint())
	now := maps.Clone(s.now())
	created := &logv1.Created{Customer: c[:]}
	for i := range 2 + s.rng.IntN(2) {
		id := fmt.Sprintf("c%d-%d", n, i)
		now[id] = belongs{c, c}
		created.Identifiers = append(created.Identifiers, &logv1.HashedIdentifier{Type: "email", Hash: scribeHash(id)})
	}
	s.append(events.SubjectBind, &logv1.Identity{Content: &logv1.Identity_Bindings{Bindings: &logv1.Bindings{Decisions: []*logv1.Decision{
		{Decision: &logv1.Decision_Created{Created: created}},
	}}}}, now)
}

// write writes one thing.
func (s *scribe) write() {
	switch s.rng.IntN(8) {
	case 0:
		s.merge()
	case 1:
		if s.rng.IntN(2) == 0 {
			s.undo()
			break
		}
		s.takeOut()
	default:
		s.record()
	}
}

func (s *scribe) rule(rule *logv1.Rule, now whose) uint64 {
	return s.append(events.SubjectRule, &logv1.Identity{Content: &logv1.Identity_Rule{Rule: rule}}, now)
}

// owners are all who have an identifier, sorted.
func (w whose) owners() []events.CustomerID {
	var all []events.CustomerID
	for _, b := range w {
		if !slices.Contains(all, b.owner) {
			all = append(all, b.owner)
		}
	}
	slices.SortFunc(all, events.CustomerID.Compare)
	return all
}

// of are the identifiers of a customer, sorted.
func (w whose) of(c events.CustomerID) []string {
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(w)) {
		if w[id].owner == c {
			ids = append(ids, id)
		}
	}
	return ids
}

func (s *scribe) merge() {
	owners := s.now().owners()
	if len(owners) < 2 {
		return
	}
	s.rng.Shuffle(len(owners), func(i, j int) { owners[i], owners[j] = owners[j], owners[i] })
	loser, winner := owners[0], owners[1]
	now := maps.Clone(s.now())
	for id, b := range now {
		if b.owner == loser {
			now[id] = belongs{winner, b.origin}
		}
	}
	d := s.rule(&logv1.Rule{Rule: &logv1.Rule_Merged{Merged: &logv1.Merged{Loser: loser[:], Winner: winner[:]}}}, now)
	s.merges = append(s.merges, &scribeMerge{d: d, loser: loser, winner: winner})
}

// root is who a customer is now.
func (s *scribe) root(c events.CustomerID) events.CustomerID {
	for _, m := range s.merges {
		if m.loser == c && !m.undone {
			return s.root(m.winner)
		}
	}
	return c
}

// within reports whether a customer is another, or merged into him.
func (s *scribe) within(c, of events.CustomerID) bool {
	if c == of {
		return true
	}
	for _, m := range s.merges {
		if m.loser == c && !m.undone {
			return s.within(m.winner, of)
		}
	}
	return false
}

func (s *scribe) undo() {
	var open []*scribeMerge
	for _, m := range s.merges {
		if !m.undone {
			open = append(open, m)
		}
	}
	if len(open) == 0 {
		return
	}
	m := open[s.rng.IntN(len(open))]
	from := s.root(m.loser)
	now := maps.Clone(s.now())
	var hashes []byte
	for _, id := range s.now().of(from) {
		if b := now[id]; s.within(b.origin, m.loser) {
			now[id] = belongs{m.loser, b.origin}
			hashes = append(hashes, scribeHash(id)...)
		}
	}
	s.rule(&logv1.Rule{Rule: &logv1.Rule_Split{Split: &logv1.Split{From: from[:], To: m.loser[:], Hashes: hashes, Undoes: m.d}}}, now)
	m.undone = true
}

// takeOut makes some identifiers of a customer a new one's.
func (s *scribe) takeOut() {
	owners := s.now().owners()
	from := owners[s.rng.IntN(len(owners))]
	ids := s.now().of(from)
	if len(ids) < 2 {
		return
	}
	s.rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	ids = ids[:1+s.rng.IntN(len(ids)-1)]
	slices.Sort(ids)
	to := events.CustomerID(s.w.minter.Mint())
	now := maps.Clone(s.now())
	var hashes []byte
	for _, id := range ids {
		now[id] = belongs{to, to}
		hashes = append(hashes, scribeHash(id)...)
	}
	s.rule(&logv1.Rule{Rule: &logv1.Rule_Split{Split: &logv1.Split{From: from[:], To: to[:], Hashes: hashes}}}, now)
}

// record writes a record of events that gateways stamped which had read
// IDENTITY up to anywhere.
func (s *scribe) record() {
	byPartition := map[int][]*logv1.LoggedEvent{}
	for range 1 + s.rng.IntN(4) {
		e := s.event()
		p := events.CustomerID(e.Header.Customer).Partition(s.w.partitions)
		byPartition[p] = append(byPartition[p], e)
	}
	for _, p := range slices.Sorted(maps.Keys(byPartition)) {
		frame, err := events.Seal(&logv1.Record{RecordedAt: time.Now().UnixMicro(), Events: byPartition[p]})
		if err != nil {
			s.w.t.Fatal(err)
		}
		if _, err := s.w.log.Append(context.Background(), events.PartitionStream(p), events.SubjectEvents(p), frame, events.Expect{}); err != nil {
			s.w.t.Fatal(err)
		}
	}
}

// behind is a sequence of IDENTITY at which there were customers.
func (s *scribe) behind() uint64 {
	for {
		at := s.seq()
		if s.rng.IntN(2) == 0 {
			at = s.rng.Uint64N(s.seq() + 1)
		}
		if len(s.past[at]) > 0 {
			return at
		}
	}
}

func (s *scribe) event() *logv1.LoggedEvent {
	if n := len(s.told); n > 0 && s.rng.IntN(8) == 0 {
		return s.again(s.told[s.rng.IntN(n)])
	}
	at := s.behind()
	then := s.past[at]
	owners := then.owners()
	c := owners[s.rng.IntN(len(owners))]
	claimed := simStart.Add(time.Duration(s.rng.IntN(90*24)) * time.Hour).UnixMicro()
	s.events++
	h := &logv1.Header{
		Customer: c[:], Source: "scribe", EventId: fmt.Sprintf("e%d", s.events), ClaimedAt: &claimed, OccurredAt: claimed, AtDelta: at,
	}
	if s.rng.IntN(6) == 0 {
		h.Role = logv1.Role_ROLE_COMPANY // rolled up to him, by no name
	} else {
		h.Identifiers = s.names(then, c)
	}
	e := &logv1.LoggedEvent{Header: h}
	s.fill(e)
	s.told = append(s.told, e)
	return e
}

// names are one or two names of a customer, and now and then one of another.
func (s *scribe) names(then whose, c events.CustomerID) []*logv1.HashedIdentifier {
	ids := then.of(c)
	s.rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	var names []*logv1.HashedIdentifier
	for _, id := range ids[:min(len(ids), 1+s.rng.IntN(2))] {
		names = append(names, &logv1.HashedIdentifier{Type: "email", Hash: scribeHash(id)})
	}
	if s.rng.IntN(8) == 0 {
		all := slices.Sorted(maps.Keys(then))
		if id := all[s.rng.IntN(len(all))]; then[id].owner != c {
			names = append(names, &logv1.HashedIdentifier{Type: "email", Hash: scribeHash(id), Other: true})
		}
	}
	return names
}

// again is an event told once more, to whom a gateway that is behind takes for
// its customer by the same names.
func (s *scribe) again(told *logv1.LoggedEvent) *logv1.LoggedEvent {
	e := proto.CloneOf(told)
	for range 8 {
		at := s.behind()
		if owner, ok := s.past[at].one(e.Header.Identifiers); ok {
			e.Header.Customer, e.Header.AtDelta = owner[:], at
			break
		}
	}
	return e
}

// one is whose all of these are, if they are one customer's.
func (w whose) one(ids []*logv1.HashedIdentifier) (owner events.CustomerID, ok bool) {
	for i, id := range ids {
		for name, b := range w {
			if string(scribeHash(name)) != string(id.Hash) {
				continue
			}
			if id.Other || i > 0 && b.owner != owner {
				return owner, false
			}
			owner, ok = b.owner, true
		}
	}
	return owner, ok
}

func (s *scribe) fill(e *logv1.LoggedEvent) {
	body, n := &eventsv1.Event{}, s.events
	h := e.Header
	switch s.rng.IntN(8) {
	case 0, 1:
		h.Type = eventsv1.Type_TYPE_ORDER_PLACED
		body.Payload = &eventsv1.Event_Order{Order: &eventsv1.Order{
			OrderId: fmt.Sprintf("o%d", s.rng.IntN(40)), RevenueMicros: new(int64(s.rng.IntN(1e9))), Currency: "CNY",
		}}
	case 2, 3:
		h.Type = eventsv1.Type_TYPE_TRAITS_SET
		body.Payload = &eventsv1.Event_Traits{Traits: &eventsv1.Traits{Set: &structpb.Struct{Fields: map[string]*structpb.Value{
			"n": structpb.NewNumberValue(float64(n)),
		}}}}
	case 4:
		if len(s.told) > 0 {
			s.takeBack(h, body)
			break
		}
		fallthrough
	default:
		h.Type = eventsv1.Type_TYPE_PAGE_VIEWED
		body.Payload = &eventsv1.Event_View{View: &eventsv1.View{Url: fmt.Sprintf("https://x/%d", s.rng.IntN(9))}}
	}
	// The identifiers in clear, as far as the facts hold them.
	for _, id := range h.Identifiers {
		if h.Role == logv1.Role_ROLE_SUBJECT {
			body.Identifiers = append(body.Identifiers, &eventsv1.Identifier{Type: id.Type, Value: string(id.Hash)})
		}
	}
	var err error
	if e.Body, err = proto.Marshal(body); err != nil {
		s.w.t.Fatal(err)
	}
}

// takeBack makes an event void or correct one told before, by whomever.
func (s *scribe) takeBack(h *logv1.Header, body *eventsv1.Event) {
	of := s.told[s.rng.IntN(len(s.told))]
	if s.rng.IntN(2) == 0 {
		h.Type = eventsv1.Type_TYPE_EVENT_VOIDED
		void := &eventsv1.Void{EventId: of.Header.EventId}
		if s.rng.IntN(2) == 0 {
			void.Time = timestamppb.New(events.FromMicros(*of.Header.ClaimedAt))
		}
		body.Payload = &eventsv1.Event_Void{Void: void}
		return
	}
	h.Type, h.Corrects = eventsv1.Type_TYPE_ORDER_PLACED, of.Header.EventId
	body.Payload = &eventsv1.Event_Order{Order: &eventsv1.Order{OrderId: fmt.Sprintf("o%d", s.rng.IntN(40)), RevenueMicros: new(int64(7_000_000))}}
}
