package query_test

import (
	"testing"

	"connectrpc.com/connect"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest/directory"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// hashOf is the hash of the desk's directory: the beginning of the name.
func hashOf(name string) (hash directory.Hash) {
	copy(hash[:], name)
	return hash
}

func (d *desk) LookupHash(hash directory.Hash) (events.CustomerID, bool, error) {
	if d.hashesAway != nil {
		return events.CustomerID{}, false, d.hashesAway
	}
	for name, id := range d.names {
		if hashOf(name) == hash {
			return id, true, nil
		}
	}
	return events.CustomerID{}, false, nil
}

// TestReferredBy: the first of those told who is known and another customer.
func TestReferredBy(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ann, _ := d.customer(1, "email:ann@x.y")
	d.customer(2, "email:carol@x.y")
	bob, shelf := d.customer(3, "email:bob@x.y")
	client, _ := d.serve(t)
	referred := func(names ...string) *queryv1.Profile {
		t.Helper()
		facts := &statev1.ReferralsFacts{}
		for _, name := range names {
			hash := hashOf(name)
			facts.Referrers = append(facts.Referrers, &statev1.ReferrerFact{Party: &logv1.HashedIdentifier{Type: "email", Hash: hash[:]}})
		}
		shelf.heads[bob].Facts.Referrals = facts
		answer, err := client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: "email:bob@x.y"})
		if err != nil {
			t.Fatal(err)
		}
		return answer.GetProfile()
	}
	for _, c := range []struct {
		what  string
		names []string
		want  string
	}{
		{"nobody", nil, ""},
		{"somebody unknown", []string{"email:eve@x.y"}, ""},
		{"himself", []string{"email:bob@x.y"}, ""},
		{"ann", []string{"email:ann@x.y"}, ann.String()},
		{"somebody unknown, himself, ann, carol", []string{"email:eve@x.y", "email:bob@x.y", "email:ann@x.y", "email:carol@x.y"}, ann.String()},
	} {
		p := referred(c.names...)
		if got := p.GetReferrals().GetReferredBy(); got != c.want {
			t.Errorf("referred by %s: %q, want %q", c.what, got, c.want)
		}
		if c.want == "" && p.Referrals != nil {
			t.Errorf("referred by %s: an empty section: %v", c.what, p.Referrals)
		}
	}
	shelf.heads[bob].Facts.Referrals.Made = 2
	shelf.heads[bob].Facts.Referrals.Referrers[0].Party.Hash = []byte("short")
	answer, err := client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: bob.String(), Sections: []string{"referrals"}})
	if err != nil {
		t.Fatal(err)
	}
	if g := answer.GetProfile().GetReferrals(); g.GetMade() != 2 || g.GetReferredBy() != ann.String() {
		t.Errorf("beside referrals of his own: %v, want 2 made, referred by %s", g, ann)
	}
}

// TestReferredByUnasked: who wants another section is not told that the
// directory cannot say who referred; who wants this one is.
func TestReferredByUnasked(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	bob, shelf := d.customer(3, "email:bob@x.y")
	hash := hashOf("email:ann@x.y")
	shelf.heads[bob].Facts.Referrals = &statev1.ReferralsFacts{Referrers: []*statev1.ReferrerFact{{Party: &logv1.HashedIdentifier{Hash: hash[:]}}}}
	d.hashesAway = directory.ErrNotReady
	client, _ := d.serve(t)
	_, err := client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: bob.String(), Sections: []string{"orders"}})
	if err != nil {
		t.Errorf("asked for orders: %v", err)
	}
	_, err = client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: bob.String()})
	if got := connect.CodeOf(err); got != connect.CodeUnavailable {
		t.Errorf("asked for all: %v (%v), want unavailable", got, err)
	}
}
