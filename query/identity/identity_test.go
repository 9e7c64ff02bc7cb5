package identity_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/projections"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/query/identity"
)

const (
	why = "asked her"
	who = "ann"
)

// factsOf is a profile without what a dry run cannot know.
func factsOf(p *queryv1.Profile) *queryv1.Profile {
	p = proto.CloneOf(p)
	p.CustomerId, p.Lifecycle, p.Aliases = "", nil, nil
	p.Flags = slices.DeleteFunc(p.Flags, func(f string) bool { return f == "conflict" })
	return p
}

func wantFacts(t *testing.T, what string, got, want *queryv1.Profile) {
	t.Helper()
	if d := cmp.Diff(factsOf(want), factsOf(got), protocmp.Transform()); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// TestMergeAndUndo: what a dry run shows is what the change comes to, by digest
// and every other fact, for a merge and for its undoing; after both the two are
// as they were, and events told in between are with whom they name.
func TestMergeAndUndo(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.tell(order("o-1", 100), "user_id:ann", "email:ann@example.com")
	ann := h.tell(view(), "user_id:ann")
	h.tell(order("o-2", 50), "crm_id:77")
	row := h.tell(order("o-1", 120), "crm_id:77") // the same order, told otherwise
	req := &queryv1.MergeRequest{Customers: []string{"crm_id:77", "user_id:ann"}, Reason: why, Actor: who, DryRun: true}
	would, err := h.identity.Merge(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if len(would.GetProfiles()) != 1 || !would.GetDryRun() || would.GetReceipt() != "" || would.GetDecisions()[0].GetId() != 0 {
		t.Fatalf("a dry run: %v", would)
	}
	if got := h.profile("crm_id:77", ""); got.GetDigest() != row.GetDigest() || got.GetCustomerId() != row.GetCustomerId() {
		t.Errorf("the dry run changed the customer: %v", got)
	}
	req.DryRun = false
	did, err := h.identity.Merge(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	merged := did.GetDecisions()[0]
	if d := cmp.Diff(&queryv1.IdentityDecision{Kind: "merged", From: row.GetCustomerId(), To: ann.GetCustomerId()}, merged,
		protocmp.Transform(), protocmp.IgnoreFields(merged, "id", "identifiers")); d != "" || merged.GetId() == 0 || did.GetReceipt() == "" {
		t.Errorf("decided, id %d, receipt %q (-want +got):\n%s", merged.GetId(), did.GetReceipt(), d)
	}
	one := h.profile(row.GetCustomerId(), did.GetReceipt()) // by the id he no longer goes by
	if !slices.Equal(one.GetAliases(), []string{row.GetCustomerId()}) || one.GetCustomerId() != ann.GetCustomerId() {
		t.Errorf("customer %s with aliases %q, want %s with %s", one.GetCustomerId(), one.GetAliases(), ann.GetCustomerId(), row.GetCustomerId())
	}
	wantFacts(t, "the dry run of a merge, and the merge", would.GetProfiles()[0], one)

	again, err := h.identity.Merge(t.Context(), req)
	if err != nil || len(again.GetDecisions()) != 0 || len(again.GetProfiles()) != 1 {
		t.Errorf("merged again: %v (%v), want nothing decided, and the one customer", again, err)
	}

	h.tell(order("o-3", 70), "crm_id:77") // names one side only
	split := &queryv1.SplitRequest{Undo: merged.GetId(), Reason: why, Actor: who, DryRun: true}
	if would, err = h.identity.Split(t.Context(), split); err != nil {
		t.Fatal(err)
	}
	if len(would.GetProfiles()) != 2 {
		t.Fatalf("the dry run of a split shows %d customers, want both sides", len(would.GetProfiles()))
	}
	split.DryRun = false
	if did, err = h.identity.Split(t.Context(), split); err != nil {
		t.Fatal(err)
	}
	left, back := h.profile("user_id:ann", did.GetReceipt()), h.profile("crm_id:77", did.GetReceipt())
	if back.GetCustomerId() != row.GetCustomerId() || left.GetCustomerId() != ann.GetCustomerId() {
		t.Errorf("the sides are %s and %s, want %s and %s", left.GetCustomerId(), back.GetCustomerId(), ann.GetCustomerId(), row.GetCustomerId())
	}
	wantFacts(t, "who stayed after the undoing, and before the merge", left, ann)
	wantFacts(t, "who stays by the dry run", would.GetProfiles()[0], left)
	wantFacts(t, "who comes back by the dry run", would.GetProfiles()[1], back)
	if n := back.GetOrders().GetCount(); n != 3 {
		t.Errorf("%d orders of who came back, want his two and the one told in between", n)
	}

	// The history of both says so.
	history, err := h.identity.ListMerges(t.Context(), &queryv1.ListMergesRequest{Customer: "crm_id:77"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range history.GetMerges() {
		got = append(got, fmt.Sprintf("%s undone=%v undoes=%v %s/%s/%s", m.GetKind(), m.GetUndone(), m.GetUndoes() == merged.GetId(), m.GetRule(), m.GetReason(), m.GetActor()))
	}
	if want := []string{"split undone=false undoes=true manual/asked her/ann", "merged undone=true undoes=false manual/asked her/ann"}; !slices.Equal(got, want) {
		t.Errorf("history %q, want %q", got, want)
	}
	_, err = h.identity.Split(t.Context(), split)
	wantCode(t, err, connect.CodeFailedPrecondition, "undone")
}

// TestSplitOut: identifiers taken out are another customer's with what named
// nobody else, as the dry run says.
func TestSplitOut(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.tell(view(), "user_id:ann", "email:ann@example.com")
	h.tell(order("o-1", 10), "email:ann@example.com")
	h.tell(order("o-2", 20), "user_id:ann")
	req := &queryv1.SplitRequest{Customer: "user_id:ann", Identifiers: []string{"email:Ann@Example.com"}, Reason: why, Actor: who, DryRun: true}
	would, err := h.identity.Split(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	req.DryRun = false
	did, err := h.identity.Split(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]*queryv1.IdentifierRef{{Type: "email", Value: "ann@example.com"}}, did.GetDecisions()[0].GetIdentifiers(), protocmp.Transform()); d != "" {
		t.Errorf("identifiers in clear (-want +got):\n%s", d)
	}
	left, out := h.profile("user_id:ann", did.GetReceipt()), h.profile("email:ann@example.com", did.GetReceipt())
	wantFacts(t, "who stays", would.GetProfiles()[0], left)
	wantFacts(t, "who is taken out", would.GetProfiles()[1], out)
	if out.GetCustomerId() != did.GetDecisions()[0].GetTo() || out.GetOrders().GetCount() != 1 || left.GetOrders().GetCount() != 1 {
		t.Errorf("taken out is %s with %d orders, %d stay; want %s with one, and one", out.GetCustomerId(), out.GetOrders().GetCount(), left.GetOrders().GetCount(), did.GetDecisions()[0].GetTo())
	}
	// Both sides are kept apart: an event of both joins nobody.
	h.tell(view(), "user_id:ann", "email:ann@example.com")
	if a, b := h.profile("user_id:ann", ""), h.profile("email:ann@example.com", ""); a.GetCustomerId() == b.GetCustomerId() || !slices.Contains(a.GetFlags(), "conflict") {
		t.Errorf("after an event of both sides: %s and %s with flags %q; want two in conflict", a.GetCustomerId(), b.GetCustomerId(), a.GetFlags())
	}
}

// TestConflict: two customers that may not be one are shown with what joining
// would make of them, and joined if somebody says so.
func TestConflict(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	ann := h.tell(order("o-1", 10), "user_id:ann", "email:ann@example.com")
	bob := h.tell(order("o-2", 20), "user_id:bob", "phone:13800138000", "crm_id:8") // has more, and stays
	h.tell(view(), "user_id:ann", "phone:13800138000")
	list, err := h.identity.ListConflicts(t.Context(), &queryv1.ListConflictsRequest{})
	if err != nil || len(list.GetConflicts()) != 1 || list.GetOpen() != 1 {
		t.Fatalf("conflicts %v (%v), want one open", list, err)
	}
	got := list.GetConflicts()[0]
	want := &queryv1.Conflict{
		State: "open", Stronger: ann.GetCustomerId(), Weaker: bob.GetCustomerId(), StrongerName: "ann", WeakerName: "bob", Rule: "two_exclusive",
		Identifiers: []*queryv1.IdentifierRef{{Type: "user_id", Value: "ann"}, {Type: "phone", Value: "13800138000"}}, Source: "test",
	}
	if d := cmp.Diff(want, got, protocmp.Transform(), protocmp.IgnoreFields(got, "id", "at", "explanation", "event_id")); d != "" || !strings.Contains(got.GetExplanation(), "hold different identifiers") {
		t.Errorf("conflict, explained %q (-want +got):\n%s", got.GetExplanation(), d)
	}
	shown, err := h.identity.GetConflict(t.Context(), &queryv1.GetConflictRequest{Id: got.GetId()})
	if err != nil || len(shown.GetNow()) != 2 || shown.GetJoined() == nil {
		t.Fatalf("conflict %v (%v), want both, and both as one", shown, err)
	}
	resolve := &queryv1.ResolveConflictRequest{Id: got.GetId(), Approve: true, Reason: why, Actor: who, DryRun: true}
	would, err := h.identity.ResolveConflict(t.Context(), resolve)
	if err != nil || len(would.GetProfiles()) != 1 {
		t.Fatalf("approved on paper: %v (%v), want one customer", would, err)
	}
	resolve.DryRun = false
	did, err := h.identity.ResolveConflict(t.Context(), resolve)
	if err != nil {
		t.Fatal(err)
	}
	one := h.profile("user_id:bob", did.GetReceipt())
	if got := shown.GetJoined().GetCustomerId(); got != bob.GetCustomerId() || one.GetCustomerId() != got {
		t.Errorf("shown as %s, joined as %s, want %s, who has more identifiers", got, one.GetCustomerId(), bob.GetCustomerId())
	}
	wantFacts(t, "joined, as GetConflict shows it", shown.GetJoined(), one)
	wantFacts(t, "joined, as the dry run shows it", would.GetProfiles()[0], one)
	if slices.Contains(h.profile("user_id:ann", "").GetFlags(), "conflict") {
		t.Error("flagged as in conflict although that is resolved")
	}
	for state, n := range map[string]int{"": 0, "open": 0, "dismissed": 0, "approved": 1, "all": 1} {
		list, err := h.identity.ListConflicts(t.Context(), &queryv1.ListConflictsRequest{State: state})
		if err != nil || len(list.GetConflicts()) != n || list.GetOpen() != 0 {
			t.Errorf("state %q: %v (%v), want %d, none open", state, list, err, n)
		}
	}
	_, err = h.identity.ResolveConflict(t.Context(), resolve)
	wantCode(t, err, connect.CodeFailedPrecondition, "resolved")
	if shown, err = h.identity.GetConflict(t.Context(), &queryv1.GetConflictRequest{Id: got.GetId()}); err != nil || shown.GetJoined() != nil || len(shown.GetNow()) != 1 {
		t.Errorf("the conflict of who is one by now: %v (%v)", shown, err)
	}
}

// TestLongConflict: a conflict of customers whose histories are too long to be
// folded on paper is shown, without what they would be as one; a dry run says
// why it is none.
func TestLongConflict(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("tells 20,001 events")
	}
	h := newHouse(t, nil)
	h.tell(view(), "user_id:ann")
	for told := 0; told <= projections.MaxPaperEvents; told += ingest.MaxBatchEvents {
		h.flood("user_id:ann", ingest.MaxBatchEvents)
	}
	h.tell(view(), "user_id:bob", "phone:13800138000")
	h.tell(view(), "user_id:ann", "phone:13800138000")
	list, err := h.identity.ListConflicts(t.Context(), &queryv1.ListConflictsRequest{})
	if err != nil || len(list.GetConflicts()) != 1 {
		t.Fatalf("conflicts %v (%v), want one", list, err)
	}
	id := list.GetConflicts()[0].GetId()
	shown, err := h.identity.GetConflict(t.Context(), &queryv1.GetConflictRequest{Id: id})
	if err != nil || len(shown.GetNow()) != 2 || shown.GetJoined() != nil {
		t.Errorf("conflict %v (%v), want the two as they are alone", shown, err)
	}
	_, err = h.identity.ResolveConflict(t.Context(), &queryv1.ResolveConflictRequest{Id: id, Approve: true, DryRun: true})
	wantCode(t, err, connect.CodeFailedPrecondition, "more than 20000 events")
}

func TestLinkAndBlock(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.tell(order("o-1", 10), "email:ann@example.com")
	h.tell(order("o-2", 20), "crm_id:77")
	link := &queryv1.LinkRequest{Identifiers: []string{"email:ann@example.com", "crm_id:77", "phone:13800138000"}, Reason: why, Actor: who, DryRun: true}
	would, err := h.identity.Link(t.Context(), link)
	if err != nil || len(would.GetProfiles()) != 1 {
		t.Fatalf("linked on paper: %v (%v), want one customer", would, err)
	}
	h.absent("phone:13800138000")
	link.DryRun = false
	did, err := h.identity.Link(t.Context(), link)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, d := range did.GetDecisions() {
		kinds = append(kinds, d.GetKind())
	}
	slices.Sort(kinds)
	if want := []string{"linked", "merged"}; !slices.Equal(kinds, want) {
		t.Errorf("decided %q, want %q", kinds, want)
	}
	one := h.profile("phone:13800138000", did.GetReceipt())
	wantFacts(t, "linked", would.GetProfiles()[0], one)

	block := &queryv1.BlockRequest{Identifier: "phone:13800138000", Reason: "the office's", Actor: who}
	if did, err = h.identity.Block(t.Context(), block); err != nil || did.GetDecisions()[0].GetKind() != "blocked" {
		t.Fatalf("blocked: %v (%v)", did, err)
	}
	if d := cmp.Diff([]*queryv1.IdentifierRef{{Type: "phone", Value: "13800138000"}}, did.GetDecisions()[0].GetIdentifiers(), protocmp.Transform()); d != "" {
		t.Errorf("blocked (-want +got):\n%s", d)
	}
	block.Release = true
	if did, err = h.identity.Block(t.Context(), block); err != nil || did.GetDecisions()[0].GetKind() != "released" {
		t.Fatalf("released: %v (%v)", did, err)
	}
}

// TestKeepApart: what is said to be two stays two.
func TestKeepApart(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	ann, bob := h.tell(view(), "email:ann@example.com"), h.tell(view(), "email:bob@example.com")
	did, err := h.identity.KeepApart(t.Context(), &queryv1.KeepApartRequest{Customers: []string{"email:ann@example.com", bob.GetCustomerId()}, Reason: why, Actor: who})
	if err != nil || len(did.GetDecisions()) != 1 || did.GetDecisions()[0].GetKind() != "kept_apart" || len(did.GetProfiles()) != 2 {
		t.Fatalf("kept apart: %v (%v)", did, err)
	}
	h.tell(view(), "email:ann@example.com", "email:bob@example.com")
	if a, b := h.profile("email:ann@example.com", ""), h.profile("email:bob@example.com", ""); a.GetCustomerId() != ann.GetCustomerId() || b.GetCustomerId() != bob.GetCustomerId() {
		t.Errorf("after an event of both: %s and %s, want %s and %s", a.GetCustomerId(), b.GetCustomerId(), ann.GetCustomerId(), bob.GetCustomerId())
	}
}

// TestListMembers: each person once, by whichever of his ids he joined; who left
// only if asked for; page by page the same.
func TestListMembers(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	join := func(user string, leaves bool) {
		e := joining("acme")
		if leaves {
			e.Type = "group.left"
		}
		h.tell(e, "user_id:"+user)
	}
	for _, user := range []string{"u1", "u2", "u3", "u4"} {
		join(user, false)
	}
	join("u4", true)
	h.tell(view(), "user_id:u5")
	did, err := h.identity.Merge(t.Context(), &queryv1.MergeRequest{Customers: []string{"user_id:u1", "user_id:u2"}, Reason: why, Actor: who})
	if err != nil {
		t.Fatal(err)
	}
	one := h.profile("user_id:u1", did.GetReceipt())
	names := func(former bool, size uint32) (all []string) {
		req := &queryv1.ListMembersRequest{Company: "company_id:acme", Former: former, PageSize: size}
		for {
			page, err := h.identity.ListMembers(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range page.GetMembers() {
				all = append(all, fmt.Sprintf("%s %v", h.profile(m.GetCustomerId(), "").GetCustomerId(), m.GetCurrent()))
			}
			if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
				return all
			}
		}
	}
	want := []string{one.GetCustomerId() + " true", h.profile("user_id:u3", "").GetCustomerId() + " true", h.profile("user_id:u4", "").GetCustomerId() + " false"}
	slices.Sort(want)
	for _, size := range []uint32{0, 1, 2, 3} {
		if got := names(true, size); !slices.Equal(got, want) {
			t.Errorf("pages of %d: %q, want %q", size, got, want)
		}
	}
	current := slices.DeleteFunc(want, func(m string) bool { return strings.HasSuffix(m, "false") })
	if got := names(false, 0); !slices.Equal(got, current) {
		t.Errorf("current members %q, want %q", got, current)
	}
	if got := h.profile("company_id:acme", "").GetMembers(); got != 2 {
		t.Errorf("the company shows %d members, want 2", got)
	}
	_, err = h.identity.ListMembers(t.Context(), &queryv1.ListMembersRequest{Company: "user_id:u5"})
	wantCode(t, err, connect.CodeInvalidArgument, "only companies have members")
	first, err := h.identity.ListMembers(t.Context(), &queryv1.ListMembersRequest{Company: "company_id:acme", PageSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.identity.ListMembers(t.Context(), &queryv1.ListMembersRequest{Company: "company_id:acme", Former: true, PageToken: first.GetNextPageToken()})
	wantCode(t, err, connect.CodeInvalidArgument, "another list")
}

// TestRefusals: what cannot be right names the field, the value and the limit.
func TestRefusals(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.tell(view(), "user_id:ann")
	h.tell(joining("acme"), "user_id:ann")
	nobody := "01JDA0000000000000000000AA"
	for _, tc := range []struct {
		call func(context.Context) error
		code connect.Code
		says string
	}{
		{merging(h, why, who, "user_id:ann"), connect.CodeInvalidArgument, "customers: 1 given, 2 to 32 wanted"},
		{merging(h, why, who, slices.Repeat([]string{"user_id:ann"}, 33)...), connect.CodeInvalidArgument, "customers: 33 given, 2 to 32 wanted"},
		{merging(h, "", who, "user_id:ann", "user_id:bob"), connect.CodeInvalidArgument, "reason: empty"},
		{merging(h, why, " ", "user_id:ann", "user_id:bob"), connect.CodeInvalidArgument, "actor: empty"},
		{merging(h, strings.Repeat("x", 1001), who, "user_id:ann", "user_id:bob"), connect.CodeInvalidArgument, "reason: 1001 characters, limit 1000"},
		{merging(h, why, who, "user_id:ann", "user_id:bob"), connect.CodeNotFound, "no customer user_id:bob"},
		{merging(h, why, who, "user_id:ann", nobody), connect.CodeNotFound, nobody},
		{merging(h, why, who, "user_id:ann", "company_id:acme"), connect.CodeFailedPrecondition, "kinds"},
		{func(ctx context.Context) error {
			_, err := h.identity.Merge(ctx, &queryv1.MergeRequest{Customers: []string{"user_id:ann", "user_id:ann"}, Rule: "forced", Reason: why, Actor: who})
			return err
		}, connect.CodeInvalidArgument, `rule: "forced"`},
		{func(ctx context.Context) error {
			_, err := h.identity.Split(ctx, &queryv1.SplitRequest{Reason: why, Actor: who})
			return err
		}, connect.CodeInvalidArgument, "undo: 0"},
		{func(ctx context.Context) error {
			_, err := h.identity.Split(ctx, &queryv1.SplitRequest{Undo: 4, Customer: "user_id:ann", Reason: why, Actor: who})
			return err
		}, connect.CodeInvalidArgument, "either the one or the others"},
		{func(ctx context.Context) error {
			_, err := h.identity.Split(ctx, &queryv1.SplitRequest{Undo: 4_000, Reason: why, Actor: who})
			return err
		}, connect.CodeNotFound, "4000"},
		{func(ctx context.Context) error {
			_, err := h.identity.Split(ctx, &queryv1.SplitRequest{Customer: "user_id:ann", Identifiers: []string{"user_id:ann"}, Reason: why, Actor: who})
			return err
		}, connect.CodeFailedPrecondition, "nothing would be left"},
		{func(ctx context.Context) error {
			_, err := h.identity.Link(ctx, &queryv1.LinkRequest{Identifiers: []string{"user_id:ann", nobody}, Reason: why, Actor: who})
			return err
		}, connect.CodeInvalidArgument, "is a customer id"},
		{func(ctx context.Context) error {
			_, err := h.identity.Link(ctx, &queryv1.LinkRequest{Identifiers: []string{"user_id:ann", "email:ann"}, Reason: why, Actor: who})
			return err
		}, connect.CodeInvalidArgument, "has no @"},
		{func(ctx context.Context) error {
			_, err := h.identity.Link(ctx, &queryv1.LinkRequest{Identifiers: []string{"user_id:nobody", "email:nobody@example.com"}, DryRun: true})
			return err
		}, connect.CodeNotFound, "nobody is named by any of the identifiers"},
		{func(ctx context.Context) error {
			_, err := h.identity.Block(ctx, &queryv1.BlockRequest{Reason: why, Actor: who})
			return err
		}, connect.CodeInvalidArgument, "identifier"},
		{func(ctx context.Context) error {
			_, err := h.identity.GetConflict(ctx, &queryv1.GetConflictRequest{Id: "9-0"})
			return err
		}, connect.CodeNotFound, "9-0"},
		{func(ctx context.Context) error {
			_, err := h.identity.ListConflicts(ctx, &queryv1.ListConflictsRequest{State: "closed"})
			return err
		}, connect.CodeInvalidArgument, `state: "closed"`},
		{func(ctx context.Context) error {
			_, err := h.identity.ListMerges(ctx, &queryv1.ListMergesRequest{PageSize: 1_001})
			return err
		}, connect.CodeInvalidArgument, "pageSize: 1001, limit 1000"},
		{func(ctx context.Context) error {
			_, err := h.identity.ListMerges(ctx, &queryv1.ListMergesRequest{PageToken: "x"})
			return err
		}, connect.CodeInvalidArgument, "pageToken"},
		{func(ctx context.Context) error {
			_, err := h.identity.ListSuspects(ctx, &queryv1.ListSuspectsRequest{})
			return err
		}, connect.CodeFailedPrecondition, "looks for no suspected duplicates"},
	} {
		wantCode(t, tc.call(t.Context()), tc.code, tc.says)
	}
}

func joining(company string) *eventsv1.Event {
	return &eventsv1.Event{Type: "group.joined", Payload: &eventsv1.Event_Group{Group: &eventsv1.Group{GroupId: company}}}
}

func merging(h *house, reason, actor string, customers ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := h.identity.Merge(ctx, &queryv1.MergeRequest{Customers: customers, Reason: reason, Actor: actor})
		return err
	}
}

// TestKeys: everything wants a read key, a change a write key too.
func TestKeys(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(o *identity.Options) { o.ReadKeys, o.WriteKeys = []string{"r"}, []string{"w"} })
	h.tell(view(), "user_id:ann")
	h.tell(view(), "user_id:bob")
	merge := func(dry bool, keys ...string) (*queryv1.IdentityAnswer, error) {
		ctx, call := connect.NewClientContext(t.Context())
		for _, key := range keys {
			call.RequestHeader().Add("Authorization", key)
		}
		return h.identity.Merge(ctx, &queryv1.MergeRequest{Customers: []string{"user_id:ann", "user_id:bob"}, Reason: why, Actor: who, DryRun: dry})
	}
	for _, tc := range []struct {
		dry      bool
		keys     []string
		says     string // "": it is done
		profiles int
	}{
		{true, nil, "a read key is needed", 0},
		{true, []string{"Bearer w"}, "no read key is presented", 0},
		{true, []string{"Bearer r"}, "", 1},
		{false, nil, "a write key is needed", 0},
		{false, []string{"Bearer r"}, "no write key is presented", 0},
		{false, []string{"Bearer wrong"}, "no write key is presented", 0},
		{false, []string{"Bearer w"}, "no read key is presented", 0},
		{false, []string{"Bearer wrong", "Bearer r"}, "no write key is presented", 0},
		{false, []string{"Bearer w", "Bearer r"}, "", 1},
		{false, []string{"Basic dzo=", "Bearer r"}, "", 1}, // w:
	} {
		answer, err := merge(tc.dry, tc.keys...)
		if tc.says != "" {
			wantCode(t, err, connect.CodeUnauthenticated, tc.says)
			continue
		}
		if err != nil || len(answer.GetProfiles()) != tc.profiles {
			t.Errorf("dry %v with %q: %d profiles (%v), want %d", tc.dry, tc.keys, len(answer.GetProfiles()), err, tc.profiles)
		}
	}
	resp, err := http.Post(h.url+identity.Path+"Divorce", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("a method that there is not: %s, want 404", resp.Status)
	}
}

func wantCode(t *testing.T, err error, code connect.Code, says string) {
	t.Helper()
	if got := connect.CodeOf(err); err == nil || got != code || !strings.Contains(err.Error(), says) {
		t.Errorf("got %v (%v), want %v saying %q", err, got, code, says)
	}
}
