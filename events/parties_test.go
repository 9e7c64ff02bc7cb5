package events_test

import (
	"slices"
	"testing"

	"github.com/dossier360/dossier/events"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// TestIdentifiersOf: by what an event names each of the customers who hold a
// copy of it.
func TestIdentifiersOf(t *testing.T) {
	t.Parallel()
	id := func(typ, value string) *eventsv1.Identifier { return &eventsv1.Identifier{Type: typ, Value: value} }
	mixed := []*eventsv1.Identifier{id("user_id", "ann"), id("company_domain", "acme.example"), id("email", "ann@acme.example")}
	group := &eventsv1.Event{Identifiers: mixed, Payload: &eventsv1.Event_Group{Group: &eventsv1.Group{GroupId: "acme"}}}
	twice := &eventsv1.Event{
		Identifiers: []*eventsv1.Identifier{id("company_domain", "acme.example"), id("company_id", "acme")},
		Payload:     &eventsv1.Event_Group{Group: &eventsv1.Group{GroupId: "acme"}},
	}
	referral := &eventsv1.Event{Identifiers: mixed, Payload: &eventsv1.Event_Referral{Referral: &eventsv1.Referral{Referee: id("email", "bob"), Referrer: id("email", "cid")}}}
	plain := &eventsv1.Event{Identifiers: mixed}
	const (
		person, company = logv1.CustomerKind_CUSTOMER_KIND_PERSON, logv1.CustomerKind_CUSTOMER_KIND_COMPANY
		joins, leaves   = eventsv1.Type_TYPE_GROUP_JOINED, eventsv1.Type_TYPE_GROUP_LEFT
	)
	named := []*logv1.HashedIdentifier{{Type: "company_id"}}
	for _, c := range []struct {
		name   string
		header *logv1.Header
		body   *eventsv1.Event
		want   []string
	}{
		{"person", &logv1.Header{CustomerKind: person}, plain, []string{"user_id:ann", "email:ann@acme.example"}},
		{"company as subject", &logv1.Header{CustomerKind: company}, plain, []string{"company_domain:acme.example"}},
		{"company named", &logv1.Header{Role: logv1.Role_ROLE_COMPANY, CustomerKind: company, Identifiers: named}, plain, []string{"company_domain:acme.example"}},
		{"company of a membership", &logv1.Header{Role: logv1.Role_ROLE_COMPANY, CustomerKind: company}, plain, nil},
		{"company joined", &logv1.Header{Type: joins, Role: logv1.Role_ROLE_COMPANY, Identifiers: named}, group, []string{"company_id:acme", "company_domain:acme.example"}},
		{"told twice", &logv1.Header{Type: joins, Role: logv1.Role_ROLE_COMPANY, Identifiers: named}, twice, []string{"company_domain:acme.example", "company_id:acme"}},
		{"company left for another", &logv1.Header{Type: joins, Role: logv1.Role_ROLE_COMPANY, Identifiers: named, Leaves: true}, group, nil},
		{"company left", &logv1.Header{Type: leaves, Role: logv1.Role_ROLE_COMPANY, Identifiers: named, Leaves: true}, group, []string{"company_id:acme", "company_domain:acme.example"}},
		{"company left without a name", &logv1.Header{Type: leaves, Role: logv1.Role_ROLE_COMPANY, Leaves: true}, plain, nil},
		{"referee", &logv1.Header{Role: logv1.Role_ROLE_REFEREE, Identifiers: named}, referral, []string{"email:bob"}},
		{"referrer", &logv1.Header{Role: logv1.Role_ROLE_REFERRER, Identifiers: named}, referral, []string{"email:cid"}},
		{"referrer once named", &logv1.Header{Role: logv1.Role_ROLE_REFERRER}, referral, nil},
		{"no party", &logv1.Header{Role: logv1.Role_ROLE_REFERRER, Identifiers: named}, plain, nil},
	} {
		var got []string
		for _, id := range events.IdentifiersOf(c.header, c.body) {
			got = append(got, id.GetType()+":"+id.GetValue())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if got := mixed[1].GetType(); got != "company_domain" {
		t.Errorf("the event's own list was changed: %q", got)
	}
}

// TestIdentifiersOfAllocates: the plain event is asked for its identifiers with
// every fold.
func TestIdentifiersOfAllocates(t *testing.T) {
	body := &eventsv1.Event{Identifiers: []*eventsv1.Identifier{{Type: "user_id", Value: "ann"}, {Type: "anonymous_id", Value: "x"}}}
	header := &logv1.Header{}
	if n := testing.AllocsPerRun(100, func() { events.IdentifiersOf(header, body) }); n != 0 {
		t.Errorf("%v allocations of a plain event, want 0", n)
	}
}
