package projections

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/store"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// drawTakeback draws a void or a correction of an event that was sent, will be
// sent, or never is.
func drawTakeback(t *rapid.T, n, customers int, sent []*logv1.LoggedEvent) *logv1.LoggedEvent {
	id := fmt.Sprintf("e%d", rapid.IntRange(0, n+5).Draw(t, "target"))
	c, at := customerNo(rapid.IntRange(0, customers-1).Draw(t, "customer")), day0
	var claimed *int64
	if len(sent) > 0 && rapid.IntRange(0, 3).Draw(t, "known") > 0 {
		h := rapid.SampledFrom(sent).Draw(t, "target").Header
		id, claimed = h.EventId, h.ClaimedAt
		c = events.CustomerID(h.Customer)
	}
	if rapid.IntRange(0, 4).Draw(t, "of what never comes") == 0 {
		id, c = "ghost", customerNo(0)
	}
	var e *logv1.LoggedEvent
	if rapid.Bool().Draw(t, "void") {
		void := &eventsv1.Void{EventId: id, Reason: "told wrongly", Actor: "ann"}
		switch rapid.IntRange(0, 3).Draw(t, "time of the target") {
		case 0:
			if claimed != nil {
				void.Time = timestamppb.New(events.FromMicros(*claimed))
			}
		case 1:
			void.Time = timestamppb.New(day0.Add(time.Hour))
		}
		e = told(c, fmt.Sprintf("e%d", n), eventsv1.Type_TYPE_EVENT_VOIDED, at, &eventsv1.Event{Payload: &eventsv1.Event_Void{Void: void}})
	} else {
		e = drawEvent(t, n, customers, 60)
		e.Header.Customer = c[:]
		e.Header.Corrects = id
		if rapid.Bool().Draw(t, "issued") {
			e.Header.IssuedAt = new(events.Micros(day0) + int64(rapid.IntRange(0, 3).Draw(t, "issued at")))
		}
		e.Header.Withdraws = rapid.IntRange(0, 5).Draw(t, "withdraws") == 0
	}
	return e
}

// drawLife draws events of all kinds, none a repeat: what happened, voids,
// corrections, facts told by hand and released, and now and then another role.
func drawLife(t *rapid.T, customers int) []*logv1.LoggedEvent {
	var sent []*logv1.LoggedEvent
	for n := range rapid.IntRange(1, 60).Draw(t, "events") {
		var e *logv1.LoggedEvent
		switch rapid.IntRange(0, 4).Draw(t, "what") {
		case 0, 1:
			e = drawTakeback(t, n, customers, sent)
		case 2:
			e = drawManual(t, n, customers)
		default:
			e = drawEvent(t, n, customers, 60)
		}
		if e.Header.Role == logv1.Role_ROLE_SUBJECT && rapid.IntRange(0, 5).Draw(t, "role") == 0 {
			e.Header.Role = logv1.Role_ROLE_COMPANY
		}
		sent = append(sent, e)
	}
	return sent
}

func drawManual(t *rapid.T, n, customers int) *logv1.LoggedEvent {
	names := rapid.SampledFrom([]string{"city", "owner"})
	traits := &eventsv1.Traits{Manual: rapid.Bool().Draw(t, "manual")}
	switch name := names.Draw(t, "name"); rapid.IntRange(0, 2).Draw(t, "act") {
	case 0:
		traits.Set = &structpb.Struct{Fields: map[string]*structpb.Value{name: structpb.NewNumberValue(float64(n))}}
	case 1:
		traits.Unset = []string{name}
	case 2:
		traits.Release = []string{name}
	}
	at := day0.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "hour")) * time.Hour)
	c := customerNo(rapid.IntRange(0, customers-1).Draw(t, "customer"))
	return told(c, fmt.Sprintf("e%d", n), eventsv1.Type_TYPE_TRAITS_SET, at, &eventsv1.Event{Payload: &eventsv1.Event_Traits{Traits: traits}})
}

// standing is the effective set of one customer's events, from the words of
// the design: not voided; per corrected event the greatest (issued_at, id).
func standing(all []*logv1.LoggedEvent) []*logv1.LoggedEvent {
	isVoid := func(e *logv1.LoggedEvent) bool { return e.Header.Type == eventsv1.Type_TYPE_EVENT_VOIDED }
	voided := func(e *logv1.LoggedEvent) bool {
		return slices.ContainsFunc(all, func(v *logv1.LoggedEvent) bool {
			body := &eventsv1.Event{}
			if !isVoid(v) || proto.Unmarshal(v.Body, body) != nil || v.Header.Source != e.Header.Source {
				return false
			}
			at := body.GetVoid().GetTime()
			return body.GetVoid().GetEventId() == e.Header.EventId &&
				(at == nil || e.Header.ClaimedAt != nil && events.Micros(at.AsTime()) == *e.Header.ClaimedAt)
		})
	}
	corrects := func(e *logv1.LoggedEvent) string {
		if e.Header.Corrects == e.Header.EventId {
			return "" // naming itself it corrects nothing
		}
		return e.Header.Corrects
	}
	// A customer is in an event as the one it is about, whoever told of it, or as
	// one of the parties of a referral.
	samePart := func(a, b *logv1.LoggedEvent) bool {
		about := func(e *logv1.LoggedEvent) bool { return e.Header.Role <= logv1.Role_ROLE_COMPANY }
		return a.Header.Role == b.Header.Role || about(a) && about(b)
	}
	issued := func(e *logv1.LoggedEvent) int64 {
		if e.Header.IssuedAt != nil {
			return *e.Header.IssuedAt
		}
		return *e.Header.ClaimedAt
	}
	var effective []*logv1.LoggedEvent
	for _, e := range all {
		if isVoid(e) || voided(e) {
			continue
		}
		beaten := slices.ContainsFunc(all, func(c *logv1.LoggedEvent) bool {
			if c == e || corrects(c) == "" || isVoid(c) || voided(c) || !samePart(c, e) {
				return false
			}
			if corrects(c) == e.Header.EventId {
				return true
			}
			return corrects(c) == corrects(e) &&
				cmp.Or(cmp.Compare(issued(c), issued(e)), cmp.Compare(c.Header.EventId, e.Header.EventId)) > 0
		})
		if !beaten {
			effective = append(effective, e)
		}
	}
	return effective
}

// After voids and corrections, in whatever order they came, the facts are those
// of a history that consists of what stands.
func TestTakingBackLaw(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const customers = 2
		sent := drawLife(t, customers)
		never1 := newStream("wall", day0)
		for c := range customers {
			id := customerNo(c)
			own := slices.DeleteFunc(slices.Clone(sent), func(e *logv1.LoggedEvent) bool { return events.CustomerID(e.Header.Customer) != id })
			for _, e := range standing(own) {
				if e.Header.Withdraws {
					continue
				}
				e = proto.CloneOf(e)
				e.Header.Corrects, e.Header.IssuedAt = "", nil
				never1.record(day0, e)
			}
		}
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 4))
		rng.Shuffle(len(sent), func(i, j int) { sent[i], sent[j] = sent[j], sent[i] })
		told := newStream("wall", day0)
		for list := sent; len(list) > 0; {
			n := 1 + rng.IntN(len(list))
			told.record(day0, list[:n]...)
			list = list[n:]
		}
		a, b := store.OpenMemory(), store.OpenMemory()
		never1.foldAll(t, a, never, never)
		told.foldAll(t, b, func() bool { return rng.IntN(6) == 0 }, func() bool { return rng.IntN(3) == 0 })
		want, got := digests(t, a), digests(t, b)
		for id := range got {
			if _, known := want[id]; !known {
				delete(got, id) // nothing of his stands
			}
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Fatalf("digests (-what stands +what was told):\n%s", diff)
		}
		checkTakenBack(t, b, sent, customers)
	})
}

// checkTakenBack holds what a view says of every entry against the effective
// set.
func checkTakenBack(t *rapid.T, m *store.Memory, sent []*logv1.LoggedEvent, customers int) {
	v := viewOf(t, m)
	defer v.Close()
	for c := range customers {
		id := customerNo(c)
		own := slices.DeleteFunc(slices.Clone(sent), func(e *logv1.LoggedEvent) bool { return events.CustomerID(e.Header.Customer) != id })
		if len(own) == 0 {
			continue
		}
		stands := map[string]bool{}
		for _, e := range standing(own) {
			stands[e.Header.EventId] = true
		}
		why, err := v.TakenBack(id)
		if err != nil {
			t.Fatalf("taken back: %v", err)
		}
		n := 0
		for e, err := range v.Entries(id, nil) {
			if err != nil {
				t.Fatalf("entries: %v", err)
			}
			n++
			got, err := why(e)
			if err != nil {
				t.Fatalf("why of %s: %v", e.EventId, err)
			}
			if isVoid := e.Type == eventsv1.Type_TYPE_EVENT_VOIDED; (got == "") != (stands[e.EventId] || isVoid) {
				t.Fatalf("event %s is taken back as %q; it stands: %t", e.EventId, got, stands[e.EventId])
			}
		}
		if n != len(own) {
			t.Fatalf("customer %d has %d entries of %d events", c, n, len(own))
		}
	}
}

// An event takes no more voids and corrections than fit a row.
func TestTakebacksAreBounded(t *testing.T) {
	t.Parallel()
	s := newStream("wall", day0)
	for n := range maxTakebacks + 3 {
		e := told(customerNo(1), fmt.Sprint("c", n), eventsv1.Type_TYPE_PAGE_VIEWED, day0, nil)
		e.Header.Corrects = "root"
		s.record(day0, e)
	}
	m := store.OpenMemory()
	s.foldAll(t, m, never, never)
	head := heads(t, m)[customerNo(1).String()]
	if head.Parked != 3 || head.Facts.Engagement.GetPageViews() != 1 {
		t.Errorf("%d parked, %d views; want 3 and 1", head.Parked, head.Facts.Engagement.GetPageViews())
	}
}

// Taking back costs a refold, not a row for each pair of what took back before:
// hundreds of corrections of few events, and then voids.
func BenchmarkTakeBack(b *testing.B) {
	s := newStream("wall", day0)
	var list []*logv1.LoggedEvent
	for n := range 980 {
		e := told(customerNo(1), fmt.Sprint("c", n), eventsv1.Type_TYPE_PAGE_VIEWED, day0, nil)
		e.Header.Corrects = fmt.Sprint("root", n%4)
		list = append(list, e)
	}
	s.record(day0, list...)
	m := store.OpenMemory()
	s.foldAll(b, m, never, never)
	f := s.open(b, m)
	defer f.view.Close()
	c, err := f.customer(customerNo(1))
	if err != nil {
		b.Fatal(err)
	}
	f.m = s.messages[1]
	for b.Loop() {
		if err := f.refold(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
}
