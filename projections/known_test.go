package projections_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// Latest finds the last telling of a record: among revisions the greatest, of
// the same source, type and name, told to the customer himself.
func TestLatest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, events.ClockWall)
		l.start()
		day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		record := &logv1.Record{RecordedAt: events.Micros(day)}
		flush := func() {
			l.append(events.SubjectEvents(0), record)
			record = &logv1.Record{RecordedAt: events.Micros(day)}
		}
		tell := func(h *logv1.Header, at time.Time, body string) {
			h.Customer, h.OccurredAt, h.ClaimedAt = customerID(1).Bytes(), events.Micros(at), new(events.Micros(at))
			h.Source = "shop"
			b, err := deterministicBody(body)
			if err != nil {
				t.Fatal(err)
			}
			record.Events = append(record.Events, &logv1.LoggedEvent{Header: h, Body: b})
		}
		order := eventsv1.Type_TYPE_ORDER_PLACED
		// Older than the newest 1,000, so that only their time finds them.
		tell(&logv1.Header{EventId: "old", Type: order}, day.AddDate(-5, 0, 0), "old")
		tell(&logv1.Header{EventId: events.Revision("old", 7), Type: order, Corrects: "old"}, day.AddDate(-5, 0, 0), "old, changed")
		tell(&logv1.Header{EventId: "r", Type: order}, day, "first")
		tell(&logv1.Header{EventId: events.Revision("r", 20), Type: order, Corrects: "r"}, day, "third")
		tell(&logv1.Header{EventId: events.Revision("r", 3), Type: order, Corrects: "r"}, day, "second")
		tell(&logv1.Header{EventId: events.Revision("r", 30), Type: eventsv1.Type_TYPE_ORDER_CANCELLED}, day, "of another type")
		tell(&logv1.Header{EventId: "r~40", Type: order}, day, "not a revision")
		tell(&logv1.Header{EventId: "company's", Type: order, Role: logv1.Role_ROLE_COMPANY}, day, "of a member")
		tell(&logv1.Header{EventId: "custom"}, day, "clicked")
		// After the corrections, which a longer history would park.
		for n := range 1100 {
			tell(&logv1.Header{EventId: fmt.Sprint("fill", n)}, day.Add(-time.Duration(n)*time.Minute), "clicked")
			if len(record.Events) == 500 {
				flush()
			}
		}
		// Now its history is too long for a correction, which is parked.
		tell(&logv1.Header{EventId: events.Revision("r", 25), Type: eventsv1.Type_TYPE_ORDER_CANCELLED, Corrects: "r"}, day, "parked")
		tell(&logv1.Header{EventId: events.Revision("custom", 1), Corrects: "custom"}, day, "clicked")
		flush()
		info, err := l.log.Info(t.Context(), events.PartitionStream(0))
		if err != nil {
			t.Fatal(err)
		}
		if err := l.partition.WaitApplied(t.Context(), info.Last); err != nil {
			t.Fatal(err)
		}
		five := events.Micros(day.AddDate(-5, 0, 0))
		records := []projections.Record{
			{Source: "shop", ID: "r", Type: order},
			{Source: "shop", ID: "r", Type: eventsv1.Type_TYPE_ORDER_CANCELLED},
			{Source: "shop", ID: "r", Type: eventsv1.Type_TYPE_ORDER_PAID},
			{Source: "other", ID: "r", Type: order},
			{Source: "shop", ID: "company's", Type: order},
			{Source: "shop", ID: "custom", Name: "clicked"}, // its revision is parked
			{Source: "shop", ID: "custom", Name: "other"},
			{Source: "shop", ID: "custom", Name: "other", ClaimedAt: new(events.Micros(day))},
			{Source: "shop", ID: "old", Type: order},
			{Source: "shop", ID: "old", Type: order, ClaimedAt: &five},
		}
		got, err := l.partition.Latest(customerID(1).ID(), records)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{events.Revision("r", 20), events.Revision("r", 30), "", "", "", events.Revision("custom", 1), "", "custom", "", events.Revision("old", 7)}
		var ids []string
		for i, e := range got {
			ids = append(ids, e.GetEventId())
			if body, _ := deterministicBody(map[int]string{0: "third", 9: "old, changed"}[i]); len(body) > 0 && e.GetBodyHash() != events.BodyHash(body) {
				t.Errorf("record %d: the hash is not that of its body", i)
			}
		}
		if diff := cmp.Diff(want, ids); diff != "" {
			t.Errorf("latest tellings (-want +got):\n%s", diff)
		}
		if got, err := l.partition.Latest(customerID(2).ID(), records[:1]); err != nil || got[0] != nil {
			t.Errorf("of nobody: got %v, %v, want nothing", got, err)
		}
	})
}

// deterministicBody is a body that tells its type.
func deterministicBody(name string) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(&eventsv1.Event{Type: name})
}
