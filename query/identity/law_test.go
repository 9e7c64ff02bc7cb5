package identity_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/query"
	"github.com/dossier360/dossier/query/identity"
)

// TestDryRunLaw: whatever was told, joined and parted before, a dry run of a
// merge, a link, an undoing or a taking out shows every customer as he is once
// it is done, in every fact and so in the digest; and what a dry run refuses is
// refused.
func TestDryRunLaw(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, asked := build(t)
		h.identity, h.query = identity.NewService(h.options), wireless{query.New(asked)}
		world := 0
		rapid.Check(inBubble{t}, func(t *rapid.T) {
			world++ // of ids of its own
			w := &living{t: t, h: h, ids: []string{
				fmt.Sprintf("user_id:a%d", world), fmt.Sprintf("user_id:b%d", world), fmt.Sprintf("crm_id:%d", world),
				fmt.Sprintf("email:ann%d@example.com", world), fmt.Sprintf("email:bob%d@example.com", world), fmt.Sprintf("anonymous_id:%d", world),
			}}
			for range rapid.IntRange(4, 14).Draw(t, "steps") {
				w.step()
			}
		})
	})
}

// inBubble hides the test's deadline from rapid: it is the outer world's.
type inBubble struct{ *testing.T }

// Deadline replaces that of the test.
func (inBubble) Deadline() (time.Time, bool) { return time.Time{}, false }

// living is one check of the law.
type living struct {
	t      *rapid.T
	h      *house
	ids    []string
	told   []string // ids that were
	merges []uint64
}

func (w *living) step() {
	id := rapid.SampledFrom(w.ids)
	if len(w.told) < 2 || rapid.IntRange(0, 2).Draw(w.t, "what") > 0 {
		ids := rapid.SliceOfNDistinct(id, 1, 2, rapid.ID).Draw(w.t, "told together")
		w.h.send(w.event(), ids...)
		w.told = append(w.told, ids...)
		return
	}
	ctx, known := w.h.t.Context(), rapid.SampledFrom(w.told)
	switch rapid.IntRange(0, 3).Draw(w.t, "order") {
	case 0:
		req := &queryv1.MergeRequest{Customers: []string{known.Draw(w.t, "one"), known.Draw(w.t, "other")}, Reason: why, Actor: who}
		w.both("merge", func(dry bool) (*queryv1.IdentityAnswer, error) { req.DryRun = dry; return w.h.identity.Merge(ctx, req) })
	case 1:
		req := &queryv1.LinkRequest{Identifiers: []string{id.Draw(w.t, "one"), id.Draw(w.t, "other")}, Reason: why, Actor: who}
		w.both("link", func(dry bool) (*queryv1.IdentityAnswer, error) { req.DryRun = dry; return w.h.identity.Link(ctx, req) })
	case 2:
		if len(w.merges) == 0 {
			return
		}
		req := &queryv1.SplitRequest{Undo: rapid.SampledFrom(w.merges).Draw(w.t, "undo"), Reason: why, Actor: who}
		w.both("undo", func(dry bool) (*queryv1.IdentityAnswer, error) { req.DryRun = dry; return w.h.identity.Split(ctx, req) })
	case 3:
		one := known.Draw(w.t, "out of")
		req := &queryv1.SplitRequest{Customer: one, Identifiers: []string{known.Draw(w.t, "taken out")}, Reason: why, Actor: who}
		w.both("take out", func(dry bool) (*queryv1.IdentityAnswer, error) { req.DryRun = dry; return w.h.identity.Split(ctx, req) })
	}
}

func (w *living) event() *eventsv1.Event {
	if rapid.Bool().Draw(w.t, "view") {
		return view()
	}
	return order(fmt.Sprintf("%s-%d", w.ids[0], rapid.IntRange(0, 3).Draw(w.t, "order")), int64(rapid.IntRange(1, 9).Draw(w.t, "yuan")))
}

// both follows an order on paper and in earnest.
func (w *living) both(what string, do func(dry bool) (*queryv1.IdentityAnswer, error)) {
	would, refused := do(true)
	did, err := do(false)
	if (refused == nil) != (err == nil) || err != nil && refused.Error() != err.Error() {
		w.t.Fatalf("%s: on paper %v, in earnest %v", what, refused, err)
	}
	if err != nil {
		return
	}
	kinds := func(a *queryv1.IdentityAnswer) (all []string) {
		for _, d := range a.GetDecisions() {
			all = append(all, d.GetKind())
		}
		return all
	}
	if !slices.Equal(kinds(would), kinds(did)) {
		w.t.Fatalf("%s: would decide %q, decided %q", what, kinds(would), kinds(did))
	}
	for _, d := range did.GetDecisions() {
		if d.GetKind() == "merged" {
			w.merges = append(w.merges, d.GetId())
		}
	}
	for i, p := range would.GetProfiles() {
		id := p.GetCustomerId()
		if id == "" || i == 1 && len(did.GetDecisions()) > 0 && did.GetDecisions()[0].GetKind() == "split" {
			id = did.GetDecisions()[0].GetTo() // made by it
		}
		got, err := w.h.query.GetProfile(w.h.t.Context(), &queryv1.GetProfileRequest{Customer: id, Receipt: did.GetReceipt()})
		if err != nil && strings.Contains(err.Error(), "no customer") && len(p.GetIdentifiers()) == 0 && p.GetFirstSeenAt() == nil {
			continue // of whom nothing was told that moves, he has no file
		}
		if err != nil {
			w.t.Fatalf("%s: customer %s after it: %v", what, id, err)
		}
		if d := cmp.Diff(factsOf(got.GetProfile()), factsOf(p), protocmp.Transform()); d != "" {
			w.t.Fatalf("%s: customer %s as he is, and as he would be (-is +would):\n%s", what, id, d)
		}
	}
}

// A preview waits for its turn, and not for ever.
func TestPapersAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, asked := build(t)
		service := identity.NewService(h.options)
		h.query = wireless{query.New(asked)}
		h.tell(view(), "user_id:ann")
		h.tell(view(), "user_id:bob")
		req := &queryv1.MergeRequest{Customers: []string{"user_id:ann", "user_id:bob"}, DryRun: true}
		identity.TakePapers(service, identity.MaxPapers-1)
		if _, err := service.Merge(t.Context(), req); err != nil {
			t.Errorf("the last place: %v", err)
		}
		identity.TakePapers(service, 1)
		start := time.Now()
		if _, err := service.Merge(t.Context(), req); err == nil || !strings.Contains(err.Error(), "previews are being made") || time.Since(start) != identity.MaxPaperWait {
			t.Errorf("without a place: %v after %v, want a refusal after %v", err, time.Since(start), identity.MaxPaperWait)
		}
	})
}
