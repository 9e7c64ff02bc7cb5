package projections_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/projections"
	"github.com/dossier360/dossier/projections/store"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// Copies finds what was in the log when it was asked, with the time of the
// event or without it, and waits for what is not folded yet.
func TestCopies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, events.ClockWall)
		l.start()
		at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		claimed := events.Micros(at)
		want := []*logv1.Copy{{Customer: customerID(9).Bytes(), Role: logv1.Role_ROLE_COMPANY}}
		withdrawn := []*logv1.Copy{{Customer: customerID(7).Bytes(), Role: logv1.Role_ROLE_COMPANY}}
		l.append(events.SubjectEvents(0), &logv1.Record{RecordedAt: claimed, Events: []*logv1.LoggedEvent{{
			Header: &logv1.Header{
				Customer: customerID(1).Bytes(), Type: eventsv1.Type_TYPE_ORDER_PLACED, Source: "shop",
				EventId: "x", ClaimedAt: &claimed, OccurredAt: claimed, Copies: want,
			},
		}, {
			Header: &logv1.Header{
				Customer: customerID(1).Bytes(), Type: eventsv1.Type_TYPE_ORDER_PLACED, Source: "shop", Corrects: "x",
				EventId: "c", ClaimedAt: &claimed, OccurredAt: claimed, Copies: withdrawn,
			},
		}, {
			Header: &logv1.Header{
				Customer: customerID(1).Bytes(), Type: eventsv1.Type_TYPE_ORDER_PLACED, Source: "other",
				EventId: "x", ClaimedAt: &claimed, OccurredAt: claimed, Copies: []*logv1.Copy{{Customer: customerID(8).Bytes()}},
			},
		}}})
		later := claimed + 1
		for name, ask := range map[string]struct {
			customer events.CustomerID
			id       string
			claimed  *int64
			holders  []*logv1.Copy
		}{
			"by id":             {customerID(1).ID(), "x", nil, slices.Concat(want, withdrawn)},
			"by id and time":    {customerID(1).ID(), "x", &claimed, slices.Concat(want, withdrawn)},
			"of another time":   {customerID(1).ID(), "x", &later, withdrawn},
			"of a correction":   {customerID(1).ID(), "c", nil, withdrawn},
			"of another id":     {customerID(1).ID(), "y", nil, nil},
			"of nobody's":       {customerID(2).ID(), "x", nil, nil},
			"told to a company": {customerID(9).ID(), "x", nil, nil},
		} {
			got, err := l.partition.Copies(t.Context(), ask.customer, "shop", ask.id, ask.claimed)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			want := projections.Copies{Found: ask.holders != nil && ask.claimed != &later, Holders: ask.holders}
			if ask.holders != nil && ask.id == "x" {
				want.BestID, want.BestIssuedAt = "c", claimed
			}
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	})
}

// TestCopiesWhileMoving: copies are found of events that are old, and of a
// customer who is folded again or merged just now.
func TestCopiesWhileMoving(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var held atomic.Bool
		l := &lab{t: t, store: store.OpenMemory()}
		l.log = memlog.New(memlog.Options{Faults: func(op memlog.Op) (fault memlog.Fault) {
			if held.Load() && op.Kind == memlog.OpAppend && op.Subject == events.SubjectMoves(0) {
				fault.Err = events.ErrOverload
			}
			return fault
		}})
		if _, err := events.Found(t.Context(), l.log, events.Settings{Partitions: 1, Clock: events.ClockWall, IdentityKeyCheck: []byte{1}}, time.Now, rand.Reader); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.stop)
		l.start()
		company := []*logv1.Copy{{Customer: customerID(9).Bytes(), Role: logv1.Role_ROLE_COMPANY}}
		n := 0
		tell := func(customer byte, id string, body *eventsv1.Event) {
			t.Helper()
			n++
			at := events.Micros(time.Date(2026, 1, 1, 0, 0, n, 0, time.UTC))
			h := &logv1.Header{
				Customer: customerID(customer).Bytes(), Type: eventsv1.Type_TYPE_PAGE_VIEWED, Source: "shop",
				EventId: id, ClaimedAt: &at, OccurredAt: at, Copies: company,
			}
			if body.GetVoid() != nil {
				h.Type, h.Copies = eventsv1.Type_TYPE_EVENT_VOIDED, nil
			}
			encoded, err := proto.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			l.append(events.SubjectEvents(0), &logv1.Record{RecordedAt: at, Events: []*logv1.LoggedEvent{{Header: h, Body: encoded}}})
		}
		check := func(when string, customer byte, id string, found bool) {
			t.Helper()
			got, err := l.partition.Copies(t.Context(), customerID(customer).ID(), "shop", id, nil)
			want := projections.Copies{Found: found}
			if found {
				want.Holders = company
			}
			if diff := cmp.Diff(want, got, protocmp.Transform()); err != nil || diff != "" {
				t.Errorf("%s, event %s: %v (-want +got):\n%s", when, id, err, diff)
			}
		}
		tell(1, "oldest", &eventsv1.Event{})
		for i := range 1_000 {
			tell(1, fmt.Sprint("view-", i), &eventsv1.Event{})
		}
		check("of more than 1,000", 1, "oldest", true)

		held.Store(true)
		tell(1, "void", &eventsv1.Event{Payload: &eventsv1.Event_Void{Void: &eventsv1.Void{EventId: "view-7"}}})
		tell(1, "newest", &eventsv1.Event{})
		for _, id := range []string{"oldest", "view-7", "newest"} {
			check("while folded again", 1, id, true)
		}
		check("while folded again", 1, "other", false)
		held.Store(false)
		time.Sleep(time.Minute) // of the bubble's time
		for _, id := range []string{"oldest", "view-7", "newest"} {
			check("folded again", 1, id, true)
		}

		tell(2, "of another", &eventsv1.Event{})
		held.Store(true)
		rule := &logv1.Identity{Content: &logv1.Identity_Rule{Rule: &logv1.Rule{Rule: &logv1.Rule_Merged{Merged: &logv1.Merged{
			Loser: customerID(2).Bytes(), Winner: customerID(1).Bytes(),
		}}}}}
		data, err := events.Seal(rule)
		if err != nil {
			t.Fatal(err)
		}
		seq, err := l.log.Append(t.Context(), events.IdentityStream, events.SubjectRule, data, events.Expect{})
		if err == nil {
			err = l.partition.WaitRules(t.Context(), seq)
		}
		if err != nil {
			t.Fatal(err)
		}
		check("while another becomes him", 1, "newest", true)
		if _, err := l.partition.Copies(t.Context(), customerID(1).ID(), "shop", "of another", nil); !errors.Is(err, projections.ErrCatchingUp) {
			t.Errorf("an event on its way: got %v, want %v", err, projections.ErrCatchingUp)
		}
		time.AfterFunc(time.Second, func() { held.Store(false) })
		check("while it comes", 1, "of another", true)
		check("of who became another one", 2, "of another", false)
	})
}
