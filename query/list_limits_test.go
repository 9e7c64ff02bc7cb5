package query_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"unsafe"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/columns"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
	"github.com/dossier360/dossier/query"
)

// peopled is a desk with n customers, all alike but for their page views.
func peopled(t *testing.T, n int) *desk {
	t.Helper()
	d := newDesk(t)
	for i := range n {
		d.add(events.CustomerID{0: 1, 14: byte(i >> 8), 15: byte(i)}, &statev1.Head{Facts: &statev1.Facts{
			Engagement: &statev1.EngagementFacts{PageViews: uint32(i % 3)},
			Traits:     []*statev1.TraitFact{{Name: "city", ValueJson: `"上海"`, Stamp: &statev1.Stamp{}}, {Name: "name", ValueJson: `"Ann"`, Stamp: &statev1.Stamp{}}},
		}})
	}
	return d
}

func TestListTokensBelongToTheirList(t *testing.T) {
	t.Parallel()
	client, _ := peopled(t, 20).serve(t)
	req := &queryv1.ListProfilesRequest{Filter: "engagement.pageViews > 0", OrderBy: "-engagement.pageViews", PageSize: 5}
	first, err := client.ListProfiles(t.Context(), req)
	if err != nil || len(first.GetProfiles()) != 5 || first.GetNextPageToken() == "" {
		t.Fatalf("%d profiles, token %q: %v", len(first.GetProfiles()), first.GetNextPageToken(), err)
	}
	for name, change := range map[string]func(*queryv1.ListProfilesRequest){
		"another filter": func(r *queryv1.ListProfilesRequest) { r.Filter = "engagement.pageViews > 1" },
		"another order":  func(r *queryv1.ListProfilesRequest) { r.OrderBy = "engagement.pageViews" },
		"a cut token":    func(r *queryv1.ListProfilesRequest) { r.PageToken = r.GetPageToken()[:10] },
		"a changed one":  func(r *queryv1.ListProfilesRequest) { r.PageToken = "B" + r.GetPageToken()[1:] },
		"a text":         func(r *queryv1.ListProfilesRequest) { r.PageToken = "…" },
	} {
		changed := &queryv1.ListProfilesRequest{Filter: req.GetFilter(), OrderBy: req.GetOrderBy(), PageToken: first.GetNextPageToken()}
		change(changed)
		_, err := client.ListProfiles(t.Context(), changed)
		if wantCode(t, err, connect.CodeInvalidArgument, "pageToken: "); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	// Size and fields may change.
	req.PageToken, req.PageSize, req.Fields = first.GetNextPageToken(), 100, []string{"kind"}
	rest, err := client.ListProfiles(t.Context(), req)
	if err != nil || rest.GetNextPageToken() != "" || len(rest.GetProfiles())+5 != 13 {
		t.Errorf("%d more, token %q: %v; want 13 in all", len(rest.GetProfiles()), rest.GetNextPageToken(), err)
	}
}

func TestListFields(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id := events.CustomerID{0: 1, 15: 1}
	d.add(id, &statev1.Head{
		Journal: &statev1.Journal{Stage: "repeat", Since: 1_000_000},
		Facts: &statev1.Facts{
			Engagement: &statev1.EngagementFacts{PageViews: 4, Sessions: 2},
			Traits:     []*statev1.TraitFact{{Name: "city", ValueJson: `"上海"`, Stamp: &statev1.Stamp{Source: "crm"}}, {Name: "name", ValueJson: `"Ann"`, Stamp: &statev1.Stamp{}}},
		},
	})
	client, _ := d.serve(t)
	resp, err := client.ListProfiles(t.Context(), &queryv1.ListProfilesRequest{Fields: []string{"lifecycle.stage", "engagement.sessions", `traits["city"].source`, "name"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []*queryv1.Profile{{
		CustomerId: id.String(), Name: new("Ann"), Lifecycle: &queryv1.Lifecycle{Stage: "repeat"},
		Engagement: &queryv1.Engagement{Sessions: 2}, Traits: map[string]*queryv1.Trait{"city": {Source: "crm"}},
	}}
	if diff := cmp.Diff(want, resp.GetProfiles(), protocmp.Transform()); diff != "" {
		t.Errorf("profiles (-want +got):\n%s", diff)
	}
	// No fields: the whole profile, as GetProfile shows it.
	whole, err := client.ListProfiles(t.Context(), &queryv1.ListProfilesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: id.String()})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]*queryv1.Profile{got.GetProfile()}, whole.GetProfiles(), protocmp.Transform()); diff != "" {
		t.Errorf("whole profile (-get +list):\n%s", diff)
	}
}

func TestListLimits(t *testing.T) {
	t.Parallel()
	d := peopled(t, 3)
	client, _ := d.serve(t)
	long := func(n int) string { return "identified ||" + strings.Repeat(" ", n-len("identified ||true")) + "true" }
	deep := func(n int) string { return strings.Repeat("(", n) + "identified" + strings.Repeat(")", n) }
	fields := func(n int) []string { return strings.Split(strings.Repeat("kind,", n-1)+"kind", ",") }
	for _, tc := range []struct {
		req *queryv1.ListProfilesRequest
		say string // "": it is within the limits
	}{
		{&queryv1.ListProfilesRequest{PageSize: query.MaxPageSize}, ""},
		{&queryv1.ListProfilesRequest{PageSize: query.MaxPageSize + 1}, "pageSize: 1001, limit 1000"},
		{&queryv1.ListProfilesRequest{Filter: long(query.MaxFilterCharacters)}, ""},
		{&queryv1.ListProfilesRequest{Filter: long(query.MaxFilterCharacters + 1)}, "4001 characters, limit 4000"},
		{&queryv1.ListProfilesRequest{Fields: fields(query.MaxFields)}, ""},
		{&queryv1.ListProfilesRequest{Fields: fields(query.MaxFields + 1)}, "fields: 101, limit 100"},
		{&queryv1.ListProfilesRequest{Fields: []string{"orders.cont"}}, "did you mean orders.count?"},
		{&queryv1.ListProfilesRequest{Fields: []string{""}}, "fields: an empty name"},
		{&queryv1.ListProfilesRequest{Filter: deep(10)}, ""},
		{&queryv1.ListProfilesRequest{Filter: deep(1000)}, "filter: line 1"},
	} {
		_, err := client.ListProfiles(t.Context(), tc.req)
		if tc.say == "" {
			if err != nil {
				t.Errorf("%.60v: %v, want an answer", tc.req, err)
			}
			continue
		}
		wantCode(t, err, connect.CodeInvalidArgument, tc.say)
	}
}

// A filter that loops too long over one customer is stopped, not the machine.
func TestCostlyFilter(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	head := &statev1.Head{Facts: &statev1.Facts{}}
	for i := range 300 {
		head.Facts.Identifiers = append(head.Facts.Identifiers, &statev1.IdentifierFact{Type: "user_id", Value: fmt.Sprintf("%04d", i), First: &statev1.Stamp{}})
	}
	d.add(events.CustomerID{0: 1, 15: 1}, head)
	client, _ := d.serve(t)
	_, err := client.CountProfiles(t.Context(), &queryv1.CountProfilesRequest{
		Filter: "identifiers.all(a, identifiers.exists(b, a.value == b.value && b.type.contains('user')))",
	})
	wantCode(t, err, connect.CodeInvalidArgument, "more than 100000 steps of one customer")
	resp, err := client.CountProfiles(t.Context(), &queryv1.CountProfilesRequest{Filter: "identifiers.all(a, a.value.contains('0'))"})
	if err != nil || resp.GetCount() != 1 {
		t.Errorf("%d counted: %v; want a cheap filter answered", resp.GetCount(), err)
	}
}

func TestListStopsWithItsCaller(t *testing.T) {
	t.Parallel()
	d := peopled(t, 200)
	service := query.NewService(d.options)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := service.CountProfiles(ctx, &queryv1.CountProfilesRequest{Filter: `traits.city.source == "crm"`})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want it stopped", err)
	}
}

// Until the rows are read there are no lists, and single customers are answered.
func TestListsWaitForRows(t *testing.T) {
	t.Parallel()
	d := peopled(t, 3)
	d.partitions[2].noRows = true
	id, _ := d.customer(7, "email:ann@example.com")
	client, _ := d.serve(t)
	_, err := client.ListProfiles(t.Context(), &queryv1.ListProfilesRequest{})
	wantCode(t, err, connect.CodeUnavailable, "3 of 9")
	_, err = client.CountProfiles(t.Context(), &queryv1.CountProfilesRequest{Filter: "identified"})
	wantCode(t, err, connect.CodeUnavailable, "3 of 9")
	if _, err := client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: id.String()}); err != nil {
		t.Errorf("a single customer: %v", err)
	}
	if resp, err := client.CountProfiles(t.Context(), &queryv1.CountProfilesRequest{}); err != nil || resp.GetCount() != 4 {
		t.Errorf("all: %d, %v, want 4, which needs no rows", resp.GetCount(), err)
	}
}

// While a store is recovered its zone is not known; a filter that names days is
// answered like any other.
func TestDaysWithoutAZone(t *testing.T) {
	t.Parallel()
	d := peopled(t, 3)
	d.partitions[0].env.Zone = nil
	d.partitions[0].noRows = true
	client, _ := d.serve(t)
	_, err := client.CountProfiles(t.Context(), &queryv1.CountProfilesRequest{Filter: `lastSeenAt > timestamp("2026-01-31")`})
	wantCode(t, err, connect.CodeUnavailable, "3 of 9")
}

// A million rows are to fit a machine: the fixed part of one is bounded.
func TestRowsAreSmall(t *testing.T) {
	t.Parallel()
	size := unsafe.Sizeof(columns.Row{}) + unsafe.Sizeof(columns.Orders{}) + unsafe.Sizeof(columns.Money{}) + unsafe.Sizeof(columns.Identifier{})
	if limit := uintptr(400); size > limit {
		t.Errorf("a row of a buyer takes %d bytes and his texts, limit %d", size, limit)
	}
}

// Whatever is written, a filter is compiled or refused with a place in the text.
func FuzzFilter(f *testing.F) {
	for _, text := range []string{
		`lifecycle.stage == "lost" && orders.netRevenue > 500万`, `1.5亿`, `traits["行业"].value == '教育'`, "a // 万\n&& b", `r"\" + 5万亿`, `"""a"b"""`,
		`identifiers.exists(i, i.type == "email")`, `has(orders.openCart) ? 1 : `, "５＞３", `name.matches("(")`, `timestamp("2026-02-30") < now`, `duration("99999d") > duration("1h")`, "x[0].y", "{1: 2}[1]",
	} {
		f.Add(text)
	}
	zone := newDeskZone(f)
	f.Fuzz(func(t *testing.T, text string) {
		_, err := query.CompileFilter(text, zone)
		if err == nil {
			return
		}
		var line, column int
		_, place, _ := strings.Cut(err.Error(), "line ")
		if _, scanErr := fmt.Sscanf(place, "%d, column %d:", &line, &column); scanErr != nil {
			t.Fatalf("%q: %v names no place", text, err)
		}
		lines := strings.Split(text, "\n")
		if line < 1 || line > len(lines) || column < 1 || column > len([]rune(lines[line-1]))+1 && column != query.MaxFilterCharacters+1 {
			t.Errorf("%q: %v is outside of the text", text, err)
		}
	})
}

func newDeskZone(t testing.TB) *events.Zone {
	t.Helper()
	zone, err := events.NewZone([]*logv1.ZoneSpan{{Start: math.MinInt64}})
	if err != nil {
		t.Fatal(err)
	}
	return zone
}
