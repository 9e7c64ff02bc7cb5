package query_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"connectrpc.com/connect"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/projections"
	"github.com/dossier360/dossier/projections/profile"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
	"github.com/dossier360/dossier/query"
)

func (d *desk) Root(c events.CustomerID) (events.CustomerID, error) {
	for d.became[c] != (events.CustomerID{}) {
		c = d.became[c]
	}
	return c, d.notReady
}

func (d *desk) Aliases(c events.CustomerID) ([]events.CustomerID, error) {
	var aliases []events.CustomerID
	for from := range d.became {
		if root, _ := d.Root(from); root == c {
			aliases = append(aliases, from)
		}
	}
	slices.SortFunc(aliases, events.CustomerID.Compare)
	return aliases, d.notReady
}

func (d *desk) InConflict(c events.CustomerID) (bool, error) { return d.inConflict[c], d.notReady }

func (d *desk) Progress() directory.Progress { return directory.Progress{Applied: d.decided} }

func (l *leaf) Members(company events.CustomerID) iter.Seq2[projections.Member, error] {
	return func(yield func(projections.Member, error) bool) {
		for _, m := range l.s.members[company] {
			if !yield(m, nil) {
				return
			}
		}
	}
}

// merge makes one customer another one: in the directory, and in the partition.
func (d *desk) merge(loser, winner events.CustomerID) {
	if d.became == nil {
		d.became = map[events.CustomerID]events.CustomerID{}
	}
	d.became[loser] = winner
	for name, c := range d.names {
		if c == loser {
			d.names[name] = winner
		}
	}
	delete(d.partitions[loser.Partition(partitions)].heads, loser)
}

// TestMergedCustomer: whoever asks for one by an id that he no longer goes by is
// answered as he is now, in every answer.
func TestMergedCustomer(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ann, _ := d.customer(1, "user_id:ann")
	bob, _ := d.customer(2, "user_id:bob")
	carol, _ := d.customer(3, "user_id:carol")
	d.merge(carol, bob)
	d.merge(bob, ann)
	client, _ := d.serve(t)
	for _, reference := range []string{ann.String(), bob.String(), carol.String(), "user_id:carol"} {
		got, err := client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: reference})
		if err != nil {
			t.Fatalf("%s: %v", reference, err)
		}
		if want := []string{bob.String(), carol.String()}; got.GetProfile().GetCustomerId() != ann.String() || !slices.Equal(got.GetProfile().GetAliases(), want) {
			t.Errorf("%s: customer %s with aliases %q, want %s with %q", reference, got.GetProfile().GetCustomerId(), got.GetProfile().GetAliases(), ann, want)
		}
		if _, err := client.GetTimeline(t.Context(), &queryv1.GetTimelineRequest{Customer: reference}); err != nil {
			t.Errorf("timeline of %s: %v", reference, err)
		}
	}
	// Not folded yet, he is known all the same.
	home := d.partitions[ann.Partition(partitions)]
	delete(home.heads, ann)
	home.last++
	_, err := client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: bob.String()})
	wantCode(t, err, connect.CodeUnavailable, "is known but not folded yet")
	d.notReady = directory.ErrNotReady
	_, err = client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: bob.String()})
	wantCode(t, err, connect.CodeUnavailable)
}

func TestIdentityFlags(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ann, shelf := d.customer(1, "user_id:ann")
	shelf.heads[ann].Withheld = []uint64{17}
	shelf.heads[ann].Parked = 1
	d.inConflict = map[events.CustomerID]bool{ann: true}
	bob, other := d.customer(2, "user_id:bob")
	other.heads[bob].Facts.Flags = uint32(profile.FlagConflict) // one that is resolved
	client, _ := d.serve(t)
	got, err := client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: "user_id:bob"})
	if err != nil || len(got.GetProfile().GetFlags()) != 0 {
		t.Errorf("after a conflict: flags %q (%v), want none", got.GetProfile().GetFlags(), err)
	}
	for _, sections := range [][]string{nil, {"orders"}} {
		got, err := client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: "user_id:ann", Sections: sections})
		if want := []string{"conflict", "moving", "parked"}; err != nil || !slices.Equal(got.GetProfile().GetFlags(), want) {
			t.Errorf("%v: flags %q (%v), want %q", sections, got.GetProfile().GetFlags(), err, want)
		}
	}
}

// TestMembersCountOnce: a person who joined under two names is one member.
func TestMembersCountOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	acme, shelf := d.customer(1, "company_id:acme")
	shelf.heads[acme].Kind = logv1.CustomerKind_CUSTOMER_KIND_COMPANY
	person := func(n int) events.CustomerID { return events.CustomerID{0: 2, 14: byte(n >> 8), 15: byte(n)} }
	client, _ := d.serve(t)
	for _, c := range []struct {
		current, left int
		merged        bool
		want          uint32
	}{
		{1, 0, true, 1}, {3, 2, false, 3}, {3, 2, true, 2},
		{2_000, 0, true, 1_999}, {2_001, 0, true, 2_001}, // beyond the bound as the facts hold them
		{1_000, 3_000, true, 999}, {1_000, 3_001, true, 1_000},
	} {
		shelf.heads[acme].Facts = &statev1.Facts{Members: uint32(c.current)}
		var members []projections.Member
		for n := range c.current + c.left {
			members = append(members, projections.Member{Person: person(n), Current: n < c.current})
		}
		shelf.members, d.became = map[events.CustomerID][]projections.Member{acme: members}, nil
		if c.merged {
			d.merge(person(0), person(1))
		}
		got, err := client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: "company_id:acme"})
		if err != nil || got.GetProfile().GetMembers() != c.want {
			t.Errorf("%+v: %d members (%v)", c, got.GetProfile().GetMembers(), err)
		}
		got, err = client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: "company_id:acme", Sections: []string{"orders"}})
		if err != nil || got.GetProfile().GetMembers() != 0 {
			t.Errorf("%+v: %d members (%v), want none shown", c, got.GetProfile().GetMembers(), err)
		}
	}
}

// TestReceiptOfIdentity: an answer waits until the customer's partition has
// heard who he is, and holds what moves to him; who became another one meanwhile
// is waited for where he is then.
func TestReceiptOfIdentity(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		ann, home := d.customer(1, "user_id:ann")
		bob, away := d.customer(2, "user_id:bob")
		for n := byte(3); away == home; n++ { // in another partition
			bob, away = d.customer(n, "user_id:bob")
		}
		var waited []string
		late := func(ctx context.Context) error { <-ctx.Done(); return projections.ErrCatchingUp }
		for _, s := range []*shelf{home, away} {
			s.hear = func(ctx context.Context, seq uint64) error {
				waited = append(waited, fmt.Sprintf("rules %d in %d", seq, s.id))
				if seq > 20 {
					return late(ctx)
				}
				return nil
			}
			s.gather = func(context.Context) error { waited = append(waited, fmt.Sprintf("moves in %d", s.id)); return nil }
		}
		client := query.NewService(d.options)
		ask := func(receipt string) (*queryv1.GetProfileResponse, error) {
			waited = nil
			return client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: bob.String(), Receipt: receipt})
		}
		got, err := ask("p-1@20")
		want := func(shelves ...*shelf) (waits []string) {
			for _, s := range shelves {
				waits = append(waits, fmt.Sprint("rules 20 in ", s.id), fmt.Sprint("moves in ", s.id))
			}
			return waits
		}
		if err != nil || !slices.Equal(waited, want(away)) {
			t.Errorf("waited for %q (%v), want %q", waited, err, want(away))
		}
		if id := got.GetProfile().GetCustomerId(); id != bob.String() {
			t.Errorf("got %s, want %s", id, bob)
		}
		// Whom the directory knows by a later decision holds it all once that is heard,
		// also if the receipt is older, or knows of no decision.
		d.decided = 20
		for _, receipt := range []string{"p-1@19", fmt.Sprintf("p%d@1", home.id)} {
			if _, err := ask(receipt); err != nil || !slices.Equal(waited, want(away)) {
				t.Errorf("%s: waited for %q (%v), want %q", receipt, waited, err, want(away))
			}
		}
		d.decided = 0
		_, err = ask("p-1@21")
		wantRefusal(t, err, fmt.Sprintf("not reached within 5s: partition %d has not folded all merges and splits up to 21", away.id))
		moves := away.gather
		away.gather = late
		_, err = ask("p-1@20")
		wantRefusal(t, err, "still being moved to customer "+bob.String())
		away.gather = func(ctx context.Context) error { d.merge(bob, ann); return moves(ctx) }
		got, err = ask("p-1@20")
		if err != nil || !slices.Equal(waited, want(away, home)) || got.GetProfile().GetCustomerId() != ann.String() {
			t.Errorf("got %s after %q (%v), want %s after %q", got.GetProfile().GetCustomerId(), waited, err, ann, want(away, home))
		}
	})
}

// wantRefusal is wantCode of an answer without a wire: unavailable.
func wantRefusal(t *testing.T, err error, part string) {
	t.Helper()
	if got := query.CodeOf(err); got != connect.CodeUnavailable || !strings.Contains(err.Error(), part) {
		t.Errorf("got %v: %v, want unavailable: %q", got, err, part)
	}
}
