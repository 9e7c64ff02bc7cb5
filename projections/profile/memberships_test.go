package profile_test

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/projections/profile"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

const weekSeconds = 7 * daySeconds

func joined(i int, group string) profile.Event {
	return at(i, eventsv1.Type_TYPE_GROUP_JOINED, &eventsv1.Event{Payload: &eventsv1.Event_Group{Group: &eventsv1.Group{GroupId: group}}})
}

func left(i int, group string) profile.Event {
	return at(i, eventsv1.Type_TYPE_GROUP_LEFT, &eventsv1.Event{Payload: &eventsv1.Event_Group{Group: &eventsv1.Group{GroupId: group}}})
}

// TestLeavingByAnotherName: whoever leaves a company that is not named by its
// company_id stays where he is; named by it among others, or not at all, he
// leaves.
func TestLeavingByAnotherName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, group string
		ids         []*eventsv1.Identifier
		leaves      bool
	}{
		{"no company", "", nil, true},
		{"another's domain", "", []*eventsv1.Identifier{{Type: "company_domain", Value: "globex.example"}}, false},
		{"another's tax number", "", []*eventsv1.Identifier{{Type: "company_tax", Value: "1"}}, false},
		{"another's id", "", []*eventsv1.Identifier{{Type: "company_id", Value: "globex"}}, false},
		{"another group", "globex", nil, false},
		{"its id", "", []*eventsv1.Identifier{{Type: "company_domain", Value: "acme.example"}, {Type: "company_id", Value: "acme"}}, true},
		{"its group", "acme", []*eventsv1.Identifier{{Type: "company_domain", Value: "acme.example"}}, true},
	} {
		leaving := left(10, c.group)
		leaving.Body.Identifiers = append([]*eventsv1.Identifier{{Type: "user_id", Value: "ann"}}, c.ids...)
		_, p := inOrders(t, []profile.Event{joined(0, "acme"), leaving})
		if got := len(p.Memberships) == 1 && p.Memberships[0].Until != nil; got != c.leaves {
			t.Errorf("%s: memberships %v, want acme left: %t", c.name, p.Memberships, c.leaves)
		}
	}
}

// TestMembershipTellings: at the bound all tellings count, beyond it the newest.
func TestMembershipTellings(t *testing.T) {
	t.Parallel()
	var history []profile.Event
	for week := range profile.MaxMembershipTellings {
		history = append(history, joined((week+1)*weekSeconds, "acme"))
	}
	facts, p := inOrders(t, history)
	if got := p.Memberships; len(got) != 1 || got[0].Since.AsTime().UnixMicro() != history[0].Header.OccurredAt || isApproximate(p) {
		t.Errorf("at the bound: %v, approximate %t", got, isApproximate(p))
	}
	// A second telling of a week is no more to keep.
	again, p := inOrders(t, append(history, joined(weekSeconds+1, "acme")))
	if len(again.Memberships.Tellings) != len(facts.Memberships.Tellings) || isApproximate(p) {
		t.Errorf("told twice in a week: %d tellings, approximate %t", len(again.Memberships.Tellings), isApproximate(p))
	}
	facts, p = inOrders(t, append(history, joined(0, "acme")))
	if got := p.Memberships; len(got) != 1 || got[0].Since.AsTime().UnixMicro() != history[0].Header.OccurredAt || !isApproximate(p) {
		t.Errorf("one beyond: %v, approximate %t", got, isApproximate(p))
	}
	if n := len(facts.Memberships.Tellings); n != profile.MaxMembershipTellings {
		t.Errorf("one beyond: %d tellings, limit %d", n, profile.MaxMembershipTellings)
	}
}

// TestMembershipsShown: the newest are shown, the digest holds all.
func TestMembershipsShown(t *testing.T) {
	t.Parallel()
	var history []profile.Event
	for i := range profile.MaxMembershipsShown {
		history = append(history, joined((i+1)*weekSeconds, fmt.Sprint("company ", i)))
	}
	_, p := inOrders(t, history)
	if got := p.Memberships; len(got) != profile.MaxMembershipsShown || isApproximate(p) {
		t.Errorf("at the bound: %d, approximate %t", len(got), isApproximate(p))
	}
	_, more := inOrders(t, append(history, joined(0, "first")))
	if got := more.Memberships; len(got) != profile.MaxMembershipsShown || got[0].Company.Value != "company 0" || !isApproximate(more) {
		t.Errorf("one beyond: %d from %q, approximate %t", len(got), got[0].Company.Value, isApproximate(more))
	}
	if more.Digest == p.Digest {
		t.Errorf("the digest leaves out what is not shown")
	}
}

// TestLongCompany: an id at the bound of bytes is whole, longer ones stay apart.
func TestLongCompany(t *testing.T) {
	t.Parallel()
	bound := longText(0, profile.MaxEventIDBytes)
	_, p := inOrders(t, []profile.Event{joined(0, bound), joined(1, bound+"a"), joined(2, bound+"b"), left(3, bound+"b")})
	if len(p.Memberships) != 3 || p.Memberships[0].Company.Value != bound {
		t.Fatalf("memberships %v, want 3", p.Memberships)
	}
	for i, m := range p.Memberships {
		if n := len(m.Company.Value); n > profile.MaxEventIDBytes || m.Until == nil {
			t.Errorf("membership %d: company of %d bytes, until %v", i, n, m.Until)
		}
	}
}

// TestMemberRows: the count of members is that of the rows that say so, and a
// person of whom nobody told who he is, is none.
func TestMemberRows(t *testing.T) {
	t.Parallel()
	var history []profile.Event
	for i := range 30 {
		ev := joined(i*100, "acme")
		ev.Header.Role, ev.Header.CustomerKind = logv1.Role_ROLE_COMPANY, logv1.CustomerKind_CUSTOMER_KIND_COMPANY
		if person := i % 7; person > 0 {
			ev.Header.PartyCustomer = []byte(strings.Repeat(fmt.Sprint(person), 16))
		}
		ev.Header.Leaves = i%4 == 0
		history = append(history, ev)
	}
	inOrders(t, history)
	facts, rows := fold(t, newEnv(t), history, nil)
	current, all := 0, 0
	for _, value := range rows {
		row := &statev1.MemberRow{}
		if err := proto.Unmarshal([]byte(value), row); err != nil {
			t.Fatal(err)
		}
		all++
		if row.Current {
			current++
		}
	}
	// The last telling of person 1 to 6: the events 29, 23 to 27; 24 leaves.
	if all != 6 || current != 5 || facts.Members != 5 {
		t.Errorf("%d rows, %d current, %d members; want 6, 5, 5", all, current, facts.Members)
	}
}
