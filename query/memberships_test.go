package query_test

import (
	"slices"
	"testing"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// TestMembershipsNameCustomers: a company is found when the profile is read;
// one that the directory does not know, or a value that names nobody, is shown
// by its identifier alone.
func TestMembershipsNameCustomers(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	person, shelf := d.customer(1, "user_id:1")
	acme, _ := d.customer(2, "company_id:acme")
	var tellings []*statev1.MembershipFact
	for i, company := range []string{"acme", "globex", "null"} {
		at := int64(1+i) * 7 * 24 * 3600 * 1_000_000
		tellings = append(tellings, &statev1.MembershipFact{Week: int32(1 + i), Company: company, FirstAt: at, LastAt: at})
	}
	shelf.heads[person].Facts.Memberships = &statev1.MembershipsFacts{Tellings: tellings}
	client, _ := d.serve(t)
	resp, err := client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: "user_id:1"})
	if err != nil {
		t.Fatal(err)
	}
	var got [][2]string
	for _, m := range resp.GetProfile().GetMemberships() {
		got = append(got, [2]string{m.GetCompany().GetValue(), m.GetCompanyId()})
	}
	if want := [][2]string{{"acme", acme.String()}, {"globex", ""}, {"null", ""}}; !slices.Equal(got, want) {
		t.Errorf("companies %q, want %q", got, want)
	}
	resp, err = client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: "user_id:1", Sections: []string{"orders"}})
	if err != nil || resp.GetProfile().GetMemberships() != nil {
		t.Errorf("memberships %v, error %v; want none", resp.GetProfile().GetMemberships(), err)
	}
}
