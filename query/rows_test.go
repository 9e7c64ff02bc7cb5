package query_test

import (
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections"
	"github.com/dossier360/dossier/projections/columns"
	"github.com/dossier360/dossier/projections/profile"
	"github.com/dossier360/dossier/projections/store"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
	"github.com/dossier360/dossier/query"
)

// wild makes an event of any type of a customer, with much or little in it.
func (w *town) wild(rng *mathrand.Rand, customer int) *logv1.LoggedEvent {
	at := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rng.IntN(400*24)) * time.Hour)
	one := func(of ...string) string { return of[rng.IntN(len(of))] }
	micros := int64(rng.IntN(500)) * 1_000_000
	body, kind, h := &eventsv1.Event{}, eventsv1.Type_TYPE_CUSTOM, func(*logv1.Header) {}
	kinds := func(of ...eventsv1.Type) { kind = of[rng.IntN(len(of))] }
	if rng.IntN(3) == 0 {
		body.Identifiers = []*eventsv1.Identifier{{Type: one("user_id", "email", "phone", "anonymous_id", "crm_id"), Value: fmt.Sprintf("i%d-%d", customer, rng.IntN(4))}}
	}
	if rng.IntN(4) == 0 {
		body.Context = &eventsv1.Context{PageUrl: "https://shop.example/" + one("a", "b"), Campaign: &eventsv1.Campaign{Source: one("baidu", "newsletter", ""), Medium: one("cpc", "email", ""), Name: one("spring", "")}}
	}
	switch rng.IntN(11) {
	case 0:
		kinds(eventsv1.Type_TYPE_AD_VIEWED, eventsv1.Type_TYPE_AD_CLICKED)
		body.Payload = &eventsv1.Event_Ad{Ad: &eventsv1.AdTouch{Campaign: one("spring", ""), Channel: one("search", "display", "")}}
	case 1:
		kinds(eventsv1.Type_TYPE_PAGE_VIEWED, eventsv1.Type_TYPE_SCREEN_VIEWED)
		body.Payload = &eventsv1.Event_View{View: &eventsv1.View{Url: "https://shop.example/" + one("a", "b")}}
	case 2:
		kinds(eventsv1.Type_TYPE_ORDER_PLACED, eventsv1.Type_TYPE_ORDER_UPDATED, eventsv1.Type_TYPE_ORDER_CANCELLED, eventsv1.Type_TYPE_ORDER_REFUNDED)
		value := &micros
		if rng.IntN(4) == 0 {
			value = nil
		}
		body.Payload = &eventsv1.Event_Order{Order: &eventsv1.Order{OrderId: one("A", "B", "C"), RevenueMicros: value, Currency: one("CNY", "CNY", "", "USD")}}
	case 3:
		kinds(eventsv1.Type_TYPE_TICKET_OPENED, eventsv1.Type_TYPE_TICKET_REPLIED, eventsv1.Type_TYPE_TICKET_RESOLVED, eventsv1.Type_TYPE_TICKET_REOPENED, eventsv1.Type_TYPE_TICKET_CLOSED)
		body.Payload = &eventsv1.Event_Ticket{Ticket: &eventsv1.Ticket{TicketId: one("t1", "t2"), Author: one("agent", "customer"), Topic: one("refund", "")}}
	case 4:
		kinds(eventsv1.Type_TYPE_REFERRAL_MADE, eventsv1.Type_TYPE_REFERRAL_CONVERTED)
		body.Payload = &eventsv1.Event_Referral{Referral: &eventsv1.Referral{RevenueMicros: &micros, Referee: &eventsv1.Identifier{Type: "email", Value: "r@x.y"}}}
		role := []logv1.Role{logv1.Role_ROLE_SUBJECT, logv1.Role_ROLE_REFERRER, logv1.Role_ROLE_REFEREE}[rng.IntN(3)]
		h = func(h *logv1.Header) {
			h.Role, h.Party = role, &logv1.HashedIdentifier{Type: "email", Hash: []byte("0123456789abcdef")}
		}
	case 5:
		kinds(eventsv1.Type_TYPE_CONTENT_SHARED)
		body.Payload = &eventsv1.Event_Share{Share: &eventsv1.Share{Network: "wechat"}}
	case 6:
		kinds(eventsv1.Type_TYPE_INTERACTION_LOGGED)
		body.Payload = &eventsv1.Event_Interaction{Interaction: &eventsv1.Interaction{Channel: one("call", "visit", ""), Direction: one("inbound", "outbound", "")}}
	case 7:
		kinds(eventsv1.Type_TYPE_GROUP_JOINED, eventsv1.Type_TYPE_GROUP_LEFT)
		body.Payload = &eventsv1.Event_Group{Group: &eventsv1.Group{GroupId: one("acme", "globex"), Traits: wildTraits(rng)}}
		if rng.IntN(3) == 0 { // the copy of a company
			h = func(h *logv1.Header) {
				h.Role, h.CustomerKind, h.PartyCustomer = logv1.Role_ROLE_COMPANY, logv1.CustomerKind_CUSTOMER_KIND_COMPANY, fmt.Appendf(nil, "member %09d", rng.IntN(5))
			}
		}
	case 8:
		kinds(eventsv1.Type_TYPE_PRODUCT_ADDED, eventsv1.Type_TYPE_CHECKOUT_STARTED)
		body.Payload = &eventsv1.Event_Product{Product: &eventsv1.Product{Line: &eventsv1.Line{ProductId: one("p1", "p2"), PriceMicros: &micros}}}
	case 9:
		body.Type = one("Quiz Done", "Quiz Begun")
	default:
		kinds(eventsv1.Type_TYPE_TRAITS_SET)
		told := &eventsv1.Traits{Set: wildTraits(rng), Manual: rng.IntN(3) == 0}
		for _, list := range []*[]string{&told.Unset, &told.Release} {
			if rng.IntN(4) == 0 {
				*list = append(*list, one(wildNames...))
			}
		}
		body.Payload = &eventsv1.Event_Traits{Traits: told}
	}
	e := w.tell(customer, kind, at, body)
	h(e.GetHeader())
	return e
}

var wildNames = []string{"city", "industry", "vip", "age", "tags", "address", "note", "行业", "n:m"}

// wildTraits are some of every kind that a row tells, or leaves to the profile.
func wildTraits(rng *mathrand.Rand) *structpb.Struct {
	values := []any{
		"", "教育", "上海", "true", `a "quoted" \ text`, "line\nbreak\u0001", true, false, nil, 0, 41, -7, 12.25, 1e-9, 1e25, 9007199254740994,
		float64(1 << 49), float64(1<<49 - 1), -0.5, strings.Repeat("x", columns.MaxTraitText), strings.Repeat("x", columns.MaxTraitText+1), strings.Repeat("\n", columns.MaxTraitText),
		[]any{"a", 1}, map[string]any{"city": "Berlin"}, []any{}, "2025-01-01",
	}
	set := map[string]any{}
	for range rng.IntN(4) {
		set[wildNames[rng.IntN(len(wildNames))]] = values[rng.IntN(len(values))]
	}
	switch rng.IntN(12) {
	case 0: // too many
		for i := range columns.MaxTraits + 1 {
			set[fmt.Sprintf("c%02d", i)] = values[rng.IntN(len(values))]
		}
	case 1: // too long together
		for i := range columns.MaxTraitBytes/columns.MaxTraitText + 1 {
			set[fmt.Sprintf("c%02d", i)] = strings.Repeat("y", columns.MaxTraitText)
		}
	case 2:
		set["a"+strings.Repeat("n", columns.MaxTraitName)] = "name too long"
	}
	fields, err := structpb.NewStruct(set)
	if err != nil {
		panic(err)
	}
	return fields
}

// wildTown is a town of whose customers anything was told.
func wildTown(t *testing.T, customers, each int) *town {
	t.Helper()
	memories := [townPartitions]*store.Memory{store.OpenMemory(), store.OpenMemory()}
	w := newTown(t, func(p int) (store.Store, error) { return memories[p], nil })
	rng := mathrand.New(mathrand.NewPCG(7, 8))
	for range each {
		var told []*logv1.LoggedEvent
		for c := range customers {
			for range 4 {
				told = append(told, w.wild(rng, c))
			}
		}
		if err := w.append(t.Context(), true, told...); err != nil {
			t.Fatal(err)
		}
	}
	w.ready()
	return w
}

// seen is a customer as he is looked at in tests.
type seen struct {
	row   *columns.Row
	view  query.View
	head  *statev1.Head
	whole *queryv1.Profile
}

func (w *town) everybody() (all []seen) {
	w.t.Helper()
	for _, p := range w.partitions {
		v := p.View()
		w.t.Cleanup(v.Close)
		table, err := v.Rows()
		if err != nil {
			w.t.Fatal(err)
		}
		for row := range table.All() {
			head, err := v.Head(row.ID)
			if err != nil {
				w.t.Fatal(err)
			}
			all = append(all, seen{row, v, head, query.Render(row.ID, head, v)})
		}
	}
	return all
}

// What rows tell, and what part of a profile tells, is what the whole profile
// tells, whatever was told of a customer.
func TestPartsShowWhatProfilesShow(t *testing.T) {
	t.Parallel()
	told := map[string]int{} // customers of whom there is such a field
	known := profileFields()
	for _, c := range wildTown(t, 60, 8).everybody() {
		for _, path := range query.RowPaths() {
			byRow, byProfile, err := query.Value(path, c.row, c.whole)
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(byRow) != fmt.Sprint(byProfile) {
				t.Errorf("%s of %s: %v by the row, %v by the profile", path, c.row.ID, byRow, byProfile)
			}
		}
		for _, field := range known {
			part, err := c.view.Part(c.row.ID, projections.PartFor([]string{field}, nil))
			if err != nil {
				t.Fatal(err)
			}
			got, want := &queryv1.Profile{}, &queryv1.Profile{}
			profile.RenderFields(part.GetFacts(), c.view.Settled(), c.view.Env(), []string{field}, got)
			profile.RenderFields(c.head.GetFacts(), c.view.Settled(), c.view.Env(), []string{field}, want)
			if diff := gocmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Errorf("%s of %s by a part of the head (-whole +part):\n%s", field, c.row.ID, diff)
			}
			if !proto.Equal(want, &queryv1.Profile{}) {
				told[field]++
			}
		}
	}
	for _, field := range known {
		if field != "customerId" && field != "kind" && field != "aliases" && field != "lifecycle" && told[field] == 0 {
			t.Errorf("nobody has %s", field)
		}
	}
}

func profileFields() []string {
	var names []string
	fields := (*queryv1.Profile)(nil).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		names = append(names, fields.Get(i).JSONName())
	}
	return names
}

// Filters on traits hold of the same customers by rows and by profiles, and
// rows decide most of them.
func TestTraitsByRow(t *testing.T) {
	t.Parallel()
	everybody := wildTown(t, 60, 6).everybody()
	zone := newDeskZone(t)
	byRow, byProfile, right := 0, 0, 0
	for _, name := range append(slices.Clone(wildNames), "c00", "c16", "c63", "c64", "a"+strings.Repeat("n", columns.MaxTraitName), "nobody has it") {
		for _, condition := range []string{
			`has(traits["X"])`, `!has(traits["X"])`, `has(traits["X"].value)`, `has(traits["X"].manual)`, `traits["X"].manual`, `!traits["X"].manual`,
			`traits["X"].value == "教育"`, `traits["X"].value != "教育"`, `traits["X"].value in ["上海", "true", 41]`, `traits["X"].value == true`, `traits["X"].value < 41.5`,
			`traits["X"].value == ""`, `traits["X"].value.contains("quoted")`, `traits["X"].value.startsWith("line\n")`, `size(traits["X"].value) == 64`, `traits["X"].value == 562949953421312`,
			`traits["X"].value.exists(x, x == "a")`, `traits["X"].value.city == "Berlin"`, `["教育", "上海"].exists(x, x == traits["X"].value)`, `traits["X"].manual == false`,
			`has(traits["X"]) && traits["X"].source == "test"`, `"X" in traits`, `traits["X"].value == traits["city"].value`, `timestamp(traits["X"].value) > timestamp("2024-12-31")`,
			`orders.count > 0 && traits["X"].value == true`, `traits["X"].value == true && engagement.topPages.all(p, p.count < 3)`, `[1].exists(traits, traits == 1) && has(traits["X"])`,
		} {
			filter, err := query.CompileFilter(strings.ReplaceAll(condition, "X", name), zone)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range everybody {
				split, asked, err := filter.Split(c.row, c.view, time.Time{})
				if err != nil {
					t.Fatal(err)
				}
				whole, err := filter.Whole(c.whole, time.Time{})
				if err != nil {
					t.Fatal(err)
				}
				if split != whole {
					t.Fatalf("%s, X = %q, %s: %v by the row and what it leaves, %v by the whole profile", condition, name, c.row.ID, split, whole)
				}
				if whole {
					right++
				}
				if asked {
					byProfile++
				} else {
					byRow++
				}
			}
		}
	}
	if byRow < 2*byProfile || byProfile == 0 || right < byRow/20 {
		t.Errorf("%d decided by rows, %d by profiles, %d right; want most by rows, and some of each", byRow, byProfile, right)
	}
}

// A list by a trait is in the same order whether rows have it or not.
func TestOrderByTrait(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	var want []string
	for i, value := range []string{"-1", "0", "7.5", "41", `"41"`, `"` + strings.Repeat("a", columns.MaxTraitText+1) + `"`, `"b"`, "false", "true", `["list"]`, "null", ""} {
		id := events.CustomerID{0: 1, 15: byte(i)}
		head := &statev1.Head{Facts: &statev1.Facts{}}
		if value != "" {
			head.Facts.Traits = []*statev1.TraitFact{{Name: "x", ValueJson: value, Stamp: &statev1.Stamp{}}}
		}
		d.add(id, head)
		want = append(want, id.String())
	}
	client, _ := d.serve(t)
	for _, size := range []uint32{100, 2} {
		got := listAll(t, client, &queryv1.ListProfilesRequest{OrderBy: "traits.x.value", PageSize: size, Fields: []string{"kind"}})
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("pages of %d (-want +got):\n%s", size, diff)
		}
	}
}

// listAll is the ids of a list, page by page.
func listAll(t *testing.T, client queryv1connect.QueryServiceClient, req *queryv1.ListProfilesRequest) []string {
	t.Helper()
	var ids []string
	for {
		resp, err := client.ListProfiles(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range resp.GetProfiles() {
			ids = append(ids, p.GetCustomerId())
		}
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			return ids
		}
	}
}

// Lists name the companies and the referrer of a customer as GetProfile does,
// and filters and orders find them.
func TestListsNameOthers(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ann, _ := d.customer(1, "email:ann@x.y")
	acme, _ := d.customer(2, "company_id:acme")
	bob, shelf := d.customer(3, "email:bob@x.y")
	hash := hashOf("email:ann@x.y")
	facts := shelf.heads[bob].Facts
	facts.Referrals = &statev1.ReferralsFacts{Referrers: []*statev1.ReferrerFact{{Party: &logv1.HashedIdentifier{Type: "email", Hash: hash[:]}}}}
	facts.Memberships = &statev1.MembershipsFacts{Tellings: []*statev1.MembershipFact{{Week: 1, Company: "acme", FirstAt: 7 * 24 * 3600 * 1_000_000, LastAt: 7 * 24 * 3600 * 1_000_000}}}
	client, _ := d.serve(t)
	list := func(filter string, fields ...string) *queryv1.Profile {
		t.Helper()
		resp, err := client.ListProfiles(t.Context(), &queryv1.ListProfilesRequest{Filter: filter, Fields: fields, OrderBy: "referrals.referredBy"})
		if err != nil || len(resp.GetProfiles()) == 0 || resp.GetProfiles()[0].GetCustomerId() != bob.String() {
			t.Fatalf("%q: %v, %v; want bob first", filter, resp.GetProfiles(), err)
		}
		return resp.GetProfiles()[0]
	}
	one, err := client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: bob.String()})
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(one.GetProfile(), list(""), protocmp.Transform()); diff != "" {
		t.Errorf("whole profile (-get +list):\n%s", diff)
	}
	p := list(fmt.Sprintf("referrals.referredBy == %q && memberships.exists(m, m.companyId == %q)", ann, acme), "referrals.referredBy", "memberships")
	if p.GetReferrals().GetReferredBy() != ann.String() || len(p.GetMemberships()) != 1 || p.GetMemberships()[0].GetCompanyId() != acme.String() {
		t.Errorf("some fields: %v", p)
	}
	if p := list("", "referrals.made"); p.Referrals != nil {
		t.Errorf("of referrals those made: %v, want nothing of the referrer", p)
	}
}

// Of many profiles to be asked the most are read in one go; who is left, and in
// which order, is the same.
func TestManyProfilesAreReadAtOnce(t *testing.T) {
	t.Parallel()
	d := peopled(t, 600)
	for _, s := range d.partitions {
		for id, head := range s.heads {
			if id[15]%2 == 0 {
				head.Facts.Traits[0].Stamp.Source = "crm"
			}
		}
	}
	client, _ := d.serve(t)
	count, err := client.CountProfiles(t.Context(), &queryv1.CountProfilesRequest{Filter: `traits.city.source == "crm" && engagement.pageViews < 2`})
	if err != nil || count.GetCount() != 200 {
		t.Errorf("%d counted: %v; want 200", count.GetCount(), err)
	}
	for _, s := range d.partitions {
		if n := s.partsRead.Load(); n != 1 {
			t.Errorf("partition %d: gone through %d times, want once", s.id, n)
		}
	}
	got := listAll(t, client, &queryv1.ListProfilesRequest{Filter: `traits.city.source == "crm"`, OrderBy: "-traits.city.source", PageSize: 70})
	var want []string
	for i := 0; i < 600; i += 2 {
		want = append(want, events.CustomerID{0: 1, 14: byte(i >> 8), 15: byte(i)}.String())
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
}

// So many scans run at once; another waits for its place, in vain for a while.
func TestScansAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := peopled(t, 3)
		service := query.NewService(d.options)
		release := query.TakeScans(service, query.MaxScans-1)
		ask := map[string]func() error{
			"count": func() error {
				_, err := service.CountProfiles(t.Context(), &queryv1.CountProfilesRequest{Filter: "identified"})
				return err
			},
			"list": func() error {
				_, err := service.ListProfiles(t.Context(), &queryv1.ListProfilesRequest{})
				return err
			},
			"find": func() error {
				_, err := service.FindProfiles(t.Context(), &queryv1.FindProfilesRequest{Text: "Ann"})
				return err
			},
		}
		for name, call := range ask {
			if err := call(); err != nil {
				t.Errorf("%s with a place left: %v", name, err)
			}
		}
		releaseLast := query.TakeScans(service, 1)
		for name, call := range ask {
			start := time.Now()
			err := call()
			if code := query.CodeOf(err); code != connect.CodeResourceExhausted || !strings.Contains(err.Error(), "4 lists") || time.Since(start) != query.MaxScanWait {
				t.Errorf("%s without a place: %v (%v) after %v", name, err, code, time.Since(start))
			}
		}
		if resp, err := service.CountProfiles(t.Context(), &queryv1.CountProfilesRequest{}); err != nil || resp.GetCount() != 3 {
			t.Errorf("all: %d, %v; want 3, which looks at nobody", resp.GetCount(), err)
		}
		// Whoever waits has the place that becomes free.
		answered := make(chan error)
		go func() { answered <- ask["list"]() }()
		synctest.Wait()
		releaseLast()
		if err := <-answered; err != nil {
			t.Errorf("after a place became free: %v", err)
		}
		release()
	})
}
