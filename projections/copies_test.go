package projections_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections"
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
