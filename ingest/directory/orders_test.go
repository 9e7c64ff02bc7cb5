package directory_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/projections/store"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// TestOldQuarantineStays: before events merged anybody, two customers who could
// be one were quarantined. They wait for somebody's word still.
func TestOldQuarantineStays(t *testing.T) {
	log := found(t, memlog.Options{})
	m := store.OpenMemory()
	g := start(t, log, memory(&m)).ready(t)
	defer g.stop()
	both := g.set(t, [2]string{"email", "a@x.org"}, [2]string{"phone", "+14155550001"})
	minter := directory.NewMinter(time.Now, rand.Reader)
	a, b := minter.Mint(), minter.Mint()
	hashed := func(n int) *logv1.HashedIdentifier {
		return &logv1.HashedIdentifier{Type: both.Identifiers[n].Type, Hash: both.Identifiers[n].Hash[:]}
	}
	frame, err := events.Seal(&logv1.Identity{Content: &logv1.Identity_Bindings{Bindings: &logv1.Bindings{Decisions: []*logv1.Decision{
		{Decision: &logv1.Decision_Created{Created: &logv1.Created{Customer: a[:], Identifiers: []*logv1.HashedIdentifier{hashed(0)}}}},
		{Decision: &logv1.Decision_Created{Created: &logv1.Created{Customer: b[:], Identifiers: []*logv1.HashedIdentifier{hashed(1)}}}},
		{Decision: &logv1.Decision_Quarantined{Quarantined: &logv1.Quarantined{
			Stronger: a[:], Weaker: b[:], StrongerIdentifier: hashed(0), WeakerIdentifier: hashed(1), Rule: "two_known", EventId: "old",
		}}},
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	seq, err := log.Append(t.Context(), events.IdentityStream, events.SubjectBind, frame, events.ExpectLast(2))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.WaitApplied(t.Context(), seq); err != nil {
		t.Fatal(err)
	}
	if got := g.resolve(t, both)[0]; got.Customer != events.CustomerID(a) || got.Others != 1<<1 || got.At != seq {
		t.Errorf("got %+v, want customer %s, the phone another's, at %d", got, a, seq)
	}
	id := fmt.Sprintf("%d-2", seq)
	c, err := g.Conflict(id)
	if err != nil || c.State != directory.ConflictOpen || c.Told.EventId != "old" {
		t.Fatalf("conflict %s: %+v, %v", id, c, err)
	}
	approve := directory.ResolveOrder{Conflict: id, Approve: true, Cause: directory.Cause{Reason: "same", Actor: "ann"}}
	outcome, err := g.ResolveConflict(t.Context(), approve)
	if err != nil || len(outcome.Decisions) != 1 || outcome.Decisions[0].Seq != seq+1 {
		t.Fatalf("approve: %+v, %v", outcome, err)
	}
	if _, err := g.ResolveConflict(t.Context(), approve); !errors.Is(err, directory.ErrResolved) {
		t.Errorf("approve again: %v, want ErrResolved", err)
	}
	if got := g.resolve(t, both)[0]; got.Customer != events.CustomerID(a) || got.Others != 0 {
		t.Errorf("got %+v, want customer %s and nobody else", got, a)
	}
}

// TestOrdersAreBounded asks for as many as an order may have, and one more.
func TestOrdersAreBounded(t *testing.T) {
	log := found(t, memlog.Options{})
	m := store.OpenMemory()
	g := start(t, log, memory(&m)).ready(t)
	defer g.stop()
	var customers []events.CustomerID
	var ids []directory.Identifier
	for n := range directory.MaxOrder + 1 {
		r := g.set(t, [2]string{"device_id", fmt.Sprint("d", n)})
		customers, ids = append(customers, g.resolve(t, r)[0].Customer), append(ids, r.Identifiers...)
	}
	ctx := t.Context()
	if _, err := g.Merge(ctx, directory.MergeOrder{Customers: customers}); !errors.Is(err, directory.ErrTooMany) {
		t.Errorf("merge %d: got %v, want ErrTooMany", len(customers), err)
	}
	if _, err := g.Link(ctx, directory.LinkOrder{Identifiers: ids}); !errors.Is(err, directory.ErrTooMany) {
		t.Errorf("link %d: got %v, want ErrTooMany", len(ids), err)
	}
	outcome, err := g.Merge(ctx, directory.MergeOrder{Customers: customers[:directory.MaxOrder]})
	if err != nil || len(outcome.Decisions) != directory.MaxOrder-1 {
		t.Fatalf("merge %d: %d decisions, %v", directory.MaxOrder, len(outcome.Decisions), err)
	}
	if _, err := g.Link(ctx, directory.LinkOrder{Identifiers: ids[1:]}); err != nil {
		t.Errorf("link %d: %v", directory.MaxOrder, err)
	}
	split := directory.SplitOrder{Customer: customers[0], Identifiers: ids}
	if _, err := g.Split(ctx, split); !errors.Is(err, directory.ErrTooMany) {
		t.Errorf("take out %d: got %v, want ErrTooMany", len(ids), err)
	}
	split.Identifiers = ids[1:]
	if outcome, err := g.Split(ctx, split); err != nil || len(outcome.Decisions[0].Identifiers) != directory.MaxOrder {
		t.Errorf("take out %d: %+v, %v", directory.MaxOrder, outcome, err)
	}
}
