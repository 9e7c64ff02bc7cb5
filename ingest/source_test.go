package ingest_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/ingest"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

// An event's own source is part of what it is known by, wherever nobody of more
// standing names one.
func TestSourceOfADraft(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		unnamed    bool
		accepted   int
		logged     []string
		rejectedOf []string
	}{
		{"unnamed", true, 3, []string{"a", "b", "test"}, []string{"b", "test"}},
		{"named by the key", false, 1, []string{"test"}, []string{"test", "test"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, found(t, memlog.Options{}, events.Settings{}), nil)
				defer r.stop()
				told := func() ingest.Batch {
					b := batch(track("u", "1"), track("u", "1"), track("u", "1"), &eventsv1.Event{}, &eventsv1.Event{})
					b.Unnamed = c.unnamed
					for i, own := range []string{"a", "b", "", "b", "Not One"} {
						b.Drafts[i].Source = own
					}
					return b
				}
				for _, want := range []int{c.accepted, 0} {
					if got := r.accept(t, told()); got.Accepted != want || got.Accepted+got.Duplicates != 3 || len(got.Rejected) != 2 {
						t.Errorf("got %+v, want %d of 3 accepted and 2 refused", got, want)
					}
				}
				var logged, kept []string
				_, all := read(t, r.log)
				for _, e := range all {
					logged = append(logged, e.header.Source)
				}
				for _, reject := range rejects(t, r.log)[:2] {
					kept = append(kept, reject.Source)
				}
				slices.Sort(logged)
				slices.Sort(kept)
				if diff := cmp.Diff(logged, c.logged); diff != "" {
					t.Errorf("sources in the log (-got +want):\n%s", diff)
				}
				if diff := cmp.Diff(kept, c.rejectedOf); diff != "" {
					t.Errorf("sources among the rejects (-got +want):\n%s", diff)
				}
			})
		})
	}
}
