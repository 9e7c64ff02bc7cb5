package projections

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/store"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

func traitsTold(n int, id, value string, traits int) *logv1.LoggedEvent {
	set := map[string]*structpb.Value{}
	for i := range traits {
		set[fmt.Sprintf("attribute_%d", i)] = structpb.NewStringValue(value)
	}
	return told(customerNo(n), id, eventsv1.Type_TYPE_TRAITS_SET, day0,
		&eventsv1.Event{Payload: &eventsv1.Event_Traits{Traits: &eventsv1.Traits{Set: &structpb.Struct{Fields: set}}}})
}

// Imports of which the facts take far more than the events: no commit outgrows
// a transaction. The store in memory refuses what Badger would.
func TestImportsFitTheirCommits(t *testing.T) {
	t.Parallel()
	imports := map[string]func(n int) *logv1.LoggedEvent{
		"many short traits": func(n int) *logv1.LoggedEvent {
			return traitsTold(n, fmt.Sprintf("%08d-1234-1234-1234-123456789012", n), "value", 30)
		},
		"long ids": func(n int) *logv1.LoggedEvent { return traitsTold(n, fmt.Sprintf("%0200d", n), "v", 200) },
		"control characters": func(n int) *logv1.LoggedEvent {
			return traitsTold(n, fmt.Sprint("e", n), strings.Repeat("\x01", 330), 90)
		},
		"identifiers": func(n int) *logv1.LoggedEvent {
			var ids []*eventsv1.Identifier
			for i := range 16 {
				ids = append(ids, &eventsv1.Identifier{Type: "x", Value: fmt.Sprint(i)})
			}
			e := told(customerNo(n), fmt.Sprint("e", n), eventsv1.Type_TYPE_PAGE_VIEWED, day0, &eventsv1.Event{Identifiers: ids})
			e.Header.Source = strings.Repeat("s", 40)
			return e
		},
		"orders of many lines": func(n int) *logv1.LoggedEvent {
			lines := make([]*eventsv1.Line, 250)
			for i := range lines {
				lines[i] = &eventsv1.Line{ProductId: fmt.Sprint(i)}
			}
			return told(customerNo(n), fmt.Sprintf("%0200d", n), eventsv1.Type_TYPE_ORDER_PLACED, day0,
				&eventsv1.Event{Payload: &eventsv1.Event_Order{Order: &eventsv1.Order{OrderId: "o", Lines: lines}}})
		},
	}
	for name, event := range imports {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStream("wall", day0)
			var list []*logv1.LoggedEvent
			for n, total, size := 0, 0, 0; total < 3<<20; n++ {
				e := event(n)
				if size+proto.Size(e) > 250<<10 || len(list) == 200 {
					s.record(day0, list...)
					list, size = nil, 0
				}
				list = append(list, e)
				size += proto.Size(e)
				total += proto.Size(e)
			}
			s.record(day0, list...)
			s.foldAll(t, store.OpenMemory(), never, never)
		})
	}
}

// Large customers who take turns in a record are not written at every turn.
func TestLargeCustomersTakeTurns(t *testing.T) {
	t.Parallel()
	s := newStream("wall", day0)
	for n := range 40 {
		for c := range 2 {
			e := traitsTold(c, fmt.Sprint("e", n), strings.Repeat("x", 1500), 10)
			set := e.Body
			body := &eventsv1.Event{}
			if err := proto.Unmarshal(set, body); err != nil {
				t.Fatal(err)
			}
			fields := map[string]*structpb.Value{}
			for name, value := range body.GetTraits().Set.Fields {
				fields[fmt.Sprint(n, name)] = value
			}
			s.record(day0, told(customerNo(c), fmt.Sprint("e", n), eventsv1.Type_TYPE_TRAITS_SET, day0,
				&eventsv1.Event{Payload: &eventsv1.Event_Traits{Traits: &eventsv1.Traits{Set: &structpb.Struct{Fields: fields}}}}))
		}
	}
	m := store.OpenMemory()
	s.foldAll(t, m, never, never)
	before := m.Commits()
	var turns []*logv1.LoggedEvent
	for n := range 200 {
		turns = append(turns, told(customerNo(n%2), fmt.Sprint("v", n), eventsv1.Type_TYPE_PAGE_VIEWED, day0, nil))
	}
	s.record(day0, turns...)
	s.foldAll(t, m, never, never)
	if commits := m.Commits() - before; commits > 10 {
		t.Errorf("%d commits for 200 page views of two customers", commits)
	}
}

// Of three copies, two alike, the one that stands does not depend on which came
// first.
func TestThreeCopies(t *testing.T) {
	t.Parallel()
	copyOf := func(recorded int64, url string) *logv1.LoggedEvent {
		e := told(customerNo(1), "x", eventsv1.Type_TYPE_PAGE_VIEWED, day0,
			&eventsv1.Event{Payload: &eventsv1.Event_View{View: &eventsv1.View{Url: url}}})
		e.Header.RecordedDelta += uint64(recorded)
		return e
	}
	a, b, d := copyOf(10, "https://x/1"), copyOf(5, "https://x/1"), copyOf(7, "https://x/2")
	var want map[string]string
	for _, order := range [][]*logv1.LoggedEvent{{a, b, d}, {a, d, b}, {b, a, d}, {b, d, a}, {d, a, b}, {d, b, a}} {
		s := newStream("wall", day0)
		for _, e := range order {
			s.record(day0, e)
		}
		m := store.OpenMemory()
		s.foldAll(t, m, never, never)
		got := digests(t, m)
		if want == nil {
			want = got
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the order of three copies changed the facts:\n%s", diff)
		}
	}
}

// A commit inside a message, between an event and its evaluation, does not
// claim to be settled there.
func TestSettledInsideAMessage(t *testing.T) {
	t.Parallel()
	s := newStream("wall", day0)
	at := day0.Add(time.Hour)
	s.record(at, told(customerNo(1), "o", eventsv1.Type_TYPE_ORDER_PLACED, at,
		&eventsv1.Event{Payload: &eventsv1.Event_Order{Order: &eventsv1.Order{OrderId: "o"}}}))
	m := store.OpenMemory()
	f := s.open(t, m)
	defer func() { f.view.Close() }()
	for _, msg := range s.messages {
		if err := f.begin(msg); err != nil {
			t.Fatal(err)
		}
		for more := true; more; {
			var err error
			if more, err = f.step(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := f.flush(m); err != nil {
				t.Fatal(err)
			}
			v := viewOf(t, m)
			head, err := v.Head(customerNo(1))
			if err == nil && head.Journal.Stage == "" && v.Settled() >= events.Micros(at) {
				t.Errorf("settled at %s with an order that nobody has judged", events.FromMicros(v.Settled()))
			}
			v.Close()
		}
	}
}

// A view opened while a store waits to be closed does not wait.
func TestViewsNeverWait(t *testing.T) {
	t.Parallel()
	m := store.OpenMemory()
	newStream("wall", day0).foldAll(t, m, never, never)
	p := newPartition(Options{})
	if err := p.publishOpened(m); err != nil {
		t.Fatal(err)
	}
	first := p.View()
	closed := make(chan struct{})
	go func() { p.closeStore(); close(closed) }()
	for second := p.View(); second.snapshot != &recovering; second = p.View() {
		second.Close() // until closeStore has begun
	}
	select {
	case <-closed:
		t.Error("the store was closed under a view")
	default:
	}
	first.Close()
	<-closed
}
