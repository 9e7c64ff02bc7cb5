package profile_test

import (
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/dossier360/dossier/projections/profile"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// forCompany is the copy of a person's event that his company holds.
func forCompany(ev profile.Event, person string) profile.Event {
	h := proto.CloneOf(ev.Header)
	h.Role, h.CustomerKind, h.PartyCustomer = logv1.Role_ROLE_COMPANY, logv1.CustomerKind_CUSTOMER_KIND_COMPANY, []byte(person)
	if ev.Body.GetGroup().GetGroupId() != "" {
		h.Identifiers = []*logv1.HashedIdentifier{{Type: "company_id"}}
	}
	return profile.Event{Header: h, RecordedAt: ev.RecordedAt, Body: ev.Body}
}

// TestPersonAndCompany: what a person does counts once with him and once with
// his company; who each of them is stays apart.
func TestPersonAndCompany(t *testing.T) {
	t.Parallel()
	joining := joined(0, "acme")
	joining.Body.GetGroup().Traits = &structpb.Struct{Fields: map[string]*structpb.Value{"name": structpb.NewStringValue("Acme Ltd")}}
	person := []profile.Event{
		joining,
		pageView(10, "https://shop/a"),
		placed(20, "A", "CNY", 5_000_000),
		refunded(30, "A", 1_000_000),
		at(40, eventsv1.Type_TYPE_CUSTOM, &eventsv1.Event{Type: "Quiz Done"}),
		trait(50, "name", structpb.NewStringValue("Ann")),
	}
	for i := range person {
		person[i].Body.Identifiers = []*eventsv1.Identifier{{Type: "user_id", Value: "ann"}, {Type: "company_domain", Value: "acme.example"}}
	}
	var company []profile.Event
	for _, ev := range person {
		company = append(company, forCompany(ev, "ann"))
	}
	_, ann := inOrders(t, person)
	_, acme := inOrders(t, company)
	for name, p := range map[string]*queryv1.Profile{"person": ann, "company": acme} {
		got := [...]any{
			p.Engagement.PageViews, p.Engagement.Sessions, p.Orders.Count, p.Orders.Refunds, p.Orders.NetRevenue.Micros,
			p.Custom["Quiz Done"].GetCount(), p.FirstSeenAt.AsTime(), p.LastSeenAt.AsTime(),
		}
		want := [...]any{uint32(1), uint32(1), uint32(1), uint32(1), int64(4_000_000), uint32(1), epoch, epoch.Add(50e9)}
		if got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	for _, c := range []struct {
		name        string
		p           *queryv1.Profile
		called      string
		identifiers []string
		members     uint32
		memberships int
	}{
		{"person", ann, "Ann", []string{"user_id:ann"}, 0, 1},
		{"company", acme, "Acme Ltd", []string{"company_domain:acme.example", "company_id:acme"}, 1, 0},
	} {
		if got := c.p.GetName(); got != c.called || len(c.p.Traits) != 1 {
			t.Errorf("%s: called %q with %d traits, want %q with 1", c.name, got, len(c.p.Traits), c.called)
		}
		var ids []string
		for _, id := range c.p.Identifiers {
			ids = append(ids, id.Type+":"+id.Value)
		}
		if got := asJSON(ids); got != asJSON(c.identifiers) {
			t.Errorf("%s: identifiers %s, want %s", c.name, got, asJSON(c.identifiers))
		}
		if c.p.Members != c.members || len(c.p.Memberships) != c.memberships {
			t.Errorf("%s: %d members, %d memberships; want %d and %d", c.name, c.p.Members, len(c.p.Memberships), c.members, c.memberships)
		}
	}
}

// TestCompanyTellsItself: a group.joined that names no person tells the facts of
// the company, which is its subject; one of a person tells nothing of him.
func TestCompanyTellsItself(t *testing.T) {
	t.Parallel()
	for kind, want := range map[logv1.CustomerKind]int{logv1.CustomerKind_CUSTOMER_KIND_COMPANY: 1, logv1.CustomerKind_CUSTOMER_KIND_PERSON: 0} {
		ev := joined(0, "acme")
		ev.Header.CustomerKind = kind
		ev.Body.GetGroup().Traits = &structpb.Struct{Fields: map[string]*structpb.Value{"name": structpb.NewStringValue("Acme Ltd")}}
		_, p := inOrders(t, []profile.Event{ev})
		if len(p.Traits) != want || p.Members != 0 {
			t.Errorf("%v: traits %v, %d members; want %d and none", kind, p.Traits, p.Members, want)
		}
	}
}

// TestSelfReferralIsSeenOnce: who refers himself is counted as the subject alone, though
// he holds two copies.
func TestSelfReferralIsSeenOnce(t *testing.T) {
	t.Parallel()
	subject := at(0, eventsv1.Type_TYPE_REFERRAL_MADE, &eventsv1.Event{
		Identifiers: []*eventsv1.Identifier{{Type: "email", Value: "ann@example.com"}},
		Payload:     &eventsv1.Event_Referral{Referral: &eventsv1.Referral{Referee: &eventsv1.Identifier{Type: "user_id", Value: "ann"}}},
	})
	referee := profile.Event{Header: proto.CloneOf(subject.Header), RecordedAt: subject.RecordedAt, Body: subject.Body}
	referee.Header.Role = logv1.Role_ROLE_REFEREE
	referee.Header.Identifiers = []*logv1.HashedIdentifier{{Type: "user_id"}}
	referee.Header.OccurredAt += 1_000_000 // would be seen, if it counted
	_, p := inOrders(t, []profile.Event{subject, referee})
	if !p.LastSeenAt.AsTime().Equal(epoch) || len(p.Identifiers) != 2 {
		t.Errorf("last seen %v, identifiers %v; want it at %v with two", p.LastSeenAt.AsTime(), p.Identifiers, epoch)
	}
}

// TestRefereeIsKnown: a customer of whom a referral alone tells has a name, and
// was never seen.
func TestRefereeIsKnown(t *testing.T) {
	t.Parallel()
	for role, want := range map[logv1.Role]string{logv1.Role_ROLE_REFEREE: "bob@example.com", logv1.Role_ROLE_REFERRER: "cid@example.com"} {
		ev := at(0, eventsv1.Type_TYPE_REFERRAL_MADE, &eventsv1.Event{
			Identifiers: []*eventsv1.Identifier{{Type: "user_id", Value: "ann"}},
			Payload: &eventsv1.Event_Referral{Referral: &eventsv1.Referral{
				Referee:  &eventsv1.Identifier{Type: "email", Value: "bob@example.com"},
				Referrer: &eventsv1.Identifier{Type: "email", Value: "cid@example.com"},
			}},
		})
		ev.Header.Role, ev.Header.Identifiers = role, []*logv1.HashedIdentifier{{Type: "email"}}
		_, p := inOrders(t, []profile.Event{ev})
		if p.GetName() != want || !p.Identified || len(p.Identifiers) != 1 || p.FirstSeenAt != nil {
			t.Errorf("%v: name %q, identified %t, identifiers %v, first seen %v; want %q, never seen", role, p.GetName(), p.Identified, p.Identifiers, p.FirstSeenAt, want)
		}
	}
}

// TestWithdrawnCopy: a copy that only takes back tells nothing here.
func TestWithdrawnCopy(t *testing.T) {
	t.Parallel()
	ev := joined(0, "acme")
	ev.Body.Identifiers = []*eventsv1.Identifier{{Type: "user_id", Value: "ann"}}
	ev.Header.Corrects, ev.Header.Withdraws = "e1", true
	_, got := inOrders(t, []profile.Event{ev})
	_, want := inOrders(t, nil)
	if !proto.Equal(got, want) {
		t.Errorf("profile %v, want %v", got, want)
	}
}

// TestConflictingCompany: an identifier that names another company, as the
// header says in the order of what the event names, is not this one's.
func TestConflictingCompany(t *testing.T) {
	t.Parallel()
	ev := joined(0, "acme")
	ev.Body.Identifiers = []*eventsv1.Identifier{{Type: "user_id", Value: "ann"}, {Type: "company_domain", Value: "globex.example"}}
	ev = forCompany(ev, "ann")
	ev.Header.Identifiers = []*logv1.HashedIdentifier{{Type: "company_id"}, {Type: "company_domain", Other: true}}
	_, p := inOrders(t, []profile.Event{ev})
	if len(p.Identifiers) != 1 || p.Identifiers[0].Value != "acme" || !slices.Equal(p.Flags, []string{"conflict"}) {
		t.Errorf("identifiers %v, flags %v; want acme alone, in conflict", p.Identifiers, p.Flags)
	}
}

// TestDigestOfSlotsAndMemberships pins the encoding of both, and sees to it
// that each telling leaves its mark.
func TestDigestOfSlotsAndMemberships(t *testing.T) {
	t.Parallel()
	byHand := func(i int, told *eventsv1.Traits) profile.Event {
		told.Manual = true
		return at(i, eventsv1.Type_TYPE_TRAITS_SET, &eventsv1.Event{Payload: &eventsv1.Event_Traits{Traits: told}})
	}
	history := func() []profile.Event {
		return []profile.Event{
			joined(0, "acme"), joined(weekSeconds, "globex"), left(2*weekSeconds, ""),
			trait(1, "city", structpb.NewStringValue("Bern")),
			byHand(2, &eventsv1.Traits{Unset: []string{"city"}}),
			byHand(3, &eventsv1.Traits{Release: []string{"name"}}),
		}
	}
	const want = "792da3e18dde38fb804aa76e1fa982b7ea319a540f4190f869128a232d1a6ef7"
	if got := digestOf(t, history()); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
	seen := map[string]string{want: "all"}
	note := func(name string, list []profile.Event) {
		d := digestOf(t, list)
		if same, known := seen[d]; known {
			t.Errorf("%s: digest as of %s", name, same)
		}
		seen[d] = name
	}
	for i := range history() {
		note(fmt.Sprint("without ", i), slices.Delete(history(), i, i+1))
		list := history()
		list[i].Header.OccurredAt += daySeconds * 1_000_000
		note(fmt.Sprint("a day later ", i), list)
	}
	list := history()
	list[5].Body.GetTraits().Unset, list[5].Body.GetTraits().Release = list[5].Body.GetTraits().Release, nil
	note("forgotten instead of released", list)
	list = history()
	list[4].Body.GetTraits().Manual = false
	note("forgotten by an import", list)
	list = history()
	list[0].Body.GetGroup().GroupId = "acme2"
	note("another company", list)
}
