package projections_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// correction is one of 256 and more corrections of one event: as many as fit.
func correction(n int, of string, recordedDelta uint64) *logv1.LoggedEvent {
	claimed := int64(1_700_000_000_000_000)
	return &logv1.LoggedEvent{Header: &logv1.Header{
		Customer: customerID(1).Bytes(), Type: eventsv1.Type_TYPE_PAGE_VIEWED, Source: "test", EventId: fmt.Sprint("c", n),
		ClaimedAt: &claimed, OccurredAt: claimed, Corrects: of, RecordedDelta: recordedDelta,
	}}
}

// Parked events are tried again: what was in the way may have gone.
func TestRetryParked(t *testing.T) {
	t.Parallel()
	l := newLab(t, events.ClockWall)
	l.start()
	ctx := t.Context()
	const fits = 256
	const recorded = 1_700_000_000_000_000
	full := &logv1.Record{RecordedAt: recorded}
	for n := range fits + 2 {
		full.Events = append(full.Events, correction(n, "root", 5))
	}
	poison := correction(900, "", 5)
	poison.Body = []byte{0xff}
	nobody := correction(901, "", 5)
	nobody.Header.Customer = []byte{1}
	full.Events = append(full.Events, poison, nobody)
	seq := l.append(events.SubjectEvents(0), full)
	if err := l.partition.WaitApplied(ctx, seq); err != nil {
		t.Fatal(err)
	}
	appended := 0
	repeat := func(ctx context.Context, r *logv1.Record) (uint64, error) {
		appended++
		return l.append(events.SubjectEvents(0), r), nil
	}
	at := func(index int) events.Position { return events.Position{Seq: seq, Index: uint32(index)} }
	retry := func(want string, reason string, index int) {
		t.Helper()
		outcomes, _, err := l.partition.RetryParked(ctx, []events.Position{at(index)}, repeat)
		if err != nil {
			t.Fatal(err)
		}
		if o := outcomes[0]; o.Outcome != want || !strings.Contains(o.Reason, reason) || o.Position != at(index) {
			t.Errorf("event %d: got %+v, want %s because of %q", index, o, want, reason)
		}
	}
	parked := func(want uint64) {
		t.Helper()
		if got := l.status().Parked; got != want {
			t.Errorf("%d parked, want %d", got, want)
		}
	}

	parked(4)
	retry(projections.RetryParked, "256 voids or corrections", fits)
	parked(4)
	if appended != 1 {
		t.Errorf("%d records appended, want 1", appended)
	}
	retry(projections.RetryGone, "", 3)
	retry(projections.RetryParked, "the body cannot be read: trying again cannot help", fits+2)
	retry(projections.RetryParked, "names no customer: trying again cannot help", fits+3)
	if appended != 1 {
		t.Errorf("%d records appended, want 1: nothing of what cannot be helped", appended)
	}
	if outcomes, _, err := l.partition.RetryParked(ctx, []events.Position{{Epoch: 7, Seq: seq, Index: fits}}, repeat); err != nil || outcomes[0].Outcome != projections.RetryGone {
		t.Errorf("a position of another epoch: %v, %v; want gone", outcomes, err)
	}

	// An earlier copy of one that is parked: it is as if that had come first.
	early := l.append(events.SubjectEvents(0), &logv1.Record{RecordedAt: recorded, Events: []*logv1.LoggedEvent{correction(fits, "root", 4)}})
	if err := l.partition.WaitApplied(ctx, early); err != nil {
		t.Fatal(err)
	}
	parked(4)

	// A better copy of one of them corrects something else: now there is room.
	other := l.append(events.SubjectEvents(0), &logv1.Record{RecordedAt: recorded, Events: []*logv1.LoggedEvent{correction(0, "another", 4)}})
	if err := l.partition.WaitApplied(ctx, other); err != nil {
		t.Fatal(err)
	}
	outcomes, last, err := l.partition.RetryParked(ctx, []events.Position{at(fits + 1), at(fits), at(fits)}, repeat)
	if err != nil {
		t.Fatal(err)
	}
	if got := []string{outcomes[0].Outcome, outcomes[1].Outcome, outcomes[2].Outcome}; got[0] != projections.RetryParked || got[1] != projections.RetryApplied || got[2] != projections.RetryApplied {
		t.Errorf("outcomes %v, want parked, applied, applied: the earlier one took the room", got)
	}
	parked(3)
	retry(projections.RetryGone, "", fits)

	m, err := l.log.Get(ctx, events.PartitionStream(0), last)
	if err != nil {
		t.Fatal(err)
	}
	record := &logv1.Record{}
	if err := events.Open(m.Data, record); err != nil {
		t.Fatal(err)
	}
	if len(record.Events) != 2 {
		t.Fatalf("%d events appended, want 2: one named twice goes once", len(record.Events))
	}
	h := record.Events[0].Header
	if got, want := record.RecordedAt+int64(h.RecordedDelta), int64(recorded+4); got != want {
		t.Errorf("recorded at %d, want %d, as the earliest copy", got, want)
	}
	if want := correction(fits, "root", h.RecordedDelta).Header; !proto.Equal(h, want) {
		t.Errorf("header %v, want %v", h, want)
	}

	if _, _, err := l.partition.RetryParked(ctx, make([]events.Position, projections.MaxRetried+1), repeat); err == nil {
		t.Error("more than the limit is taken")
	}
	if outcomes, _, err := l.partition.RetryParked(ctx, make([]events.Position, projections.MaxRetried), repeat); err != nil || outcomes[0].Outcome != projections.RetryGone {
		t.Errorf("as many as the limit: %v", err)
	}
}
