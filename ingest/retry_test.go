package ingest_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/ingest"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

func TestNoteRetry(t *testing.T) {
	t.Parallel()
	log := found(t, memlog.Options{}, events.Settings{Partitions: 1})
	r := start(t, log, nil)
	defer r.stop()
	if err := r.NoteRetry(t.Context(), "web", 17, received); err != nil {
		t.Fatal(err)
	}
	kept := rejects(t, log)
	if want := (&logv1.Reject{Source: "web", RetryOf: 17, ReceivedAt: events.Micros(received)}); len(kept) != 1 || !proto.Equal(kept[0], want) {
		t.Errorf("kept %v, want %v", kept, want)
	}
	if err := r.NoteRetry(t.Context(), "named-by-an-event", 18, received); err != nil {
		t.Fatal(err)
	}
	subjects := map[string]bool{}
	for seq := range uint64(2) {
		m, err := log.Get(t.Context(), events.RejectedStream, seq+1)
		if err != nil {
			t.Fatal(err)
		}
		subjects[m.Subject] = true
	}
	if len(subjects) != 1 {
		t.Errorf("notes under %v, want one subject for all", subjects)
	}
}

func TestRepeat(t *testing.T) {
	t.Parallel()
	log := found(t, memlog.Options{}, events.Settings{Partitions: 1})
	full := false
	r := start(t, log, func(o *ingest.Options) {
		o.Name = []byte("gateway of 16 by")
		o.DiskFree = func() error {
			if full {
				return events.ErrFull
			}
			return nil
		}
	})
	defer r.stop()
	told := &logv1.Record{RecordedAt: 5, At: 3, Events: []*logv1.LoggedEvent{{Header: &logv1.Header{EventId: "e", RecordedDelta: 2}, Body: []byte("b")}}}
	seq, err := r.Repeat(t.Context(), 0, proto.CloneOf(told))
	if err != nil {
		t.Fatal(err)
	}
	m, err := log.Get(t.Context(), events.PartitionStream(0), seq)
	if err != nil {
		t.Fatal(err)
	}
	got := &logv1.Record{}
	if err := events.Open(m.Data, got); err != nil {
		t.Fatal(err)
	}
	if string(got.Gateway) != "gateway of 16 by" || len(got.Batch) != 16 {
		t.Errorf("gateway %q, batch of %d bytes; want ours", got.Gateway, len(got.Batch))
	}
	if got.Gateway, got.Batch = nil, nil; !proto.Equal(got, told) || m.Subject != events.SubjectEvents(0) {
		t.Errorf("on %s: %v, want %v", m.Subject, got, told)
	}
	full = true
	if _, err := r.Repeat(t.Context(), 0, told); err == nil {
		t.Error("a full disk is written to")
	}
}

func TestJoinReceipts(t *testing.T) {
	t.Parallel()
	a, b := ingest.FormatReceipt(map[int]uint64{0: 4, 2: 9}), ingest.FormatReceipt(map[int]uint64{0: 7, 1: 1})
	got, err := ingest.JoinReceipts("", a, b)
	if want := ingest.FormatReceipt(map[int]uint64{0: 7, 1: 1, 2: 9}); got != want || err != nil {
		t.Errorf("joined %q, %v; want %q", got, err, want)
	}
	if _, err := ingest.JoinReceipts(a, "x"); err == nil {
		t.Error("joined what is no receipt")
	}
	if got, err := ingest.JoinReceipts(); got != "" || err != nil {
		t.Errorf("none: %q, %v", got, err)
	}
}
