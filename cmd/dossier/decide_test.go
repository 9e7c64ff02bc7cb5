package main

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"connectrpc.com/connect"
	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
)

// registrar answers both sides of deciding who is who with what the test gave
// him.
type registrar struct {
	queryv1connect.UnimplementedQueryServiceHandler
	queryv1connect.UnimplementedIdentityServiceHandler

	answer   *queryv1.IdentityAnswer
	failure  error
	profiles map[string]*queryv1.Profile // by the reference asked for
	// late is how often a receipt is not reached yet.
	late      int
	merges    []*queryv1.MergeEntry
	conflicts []*queryv1.Conflict
	suspects  []*queryv1.Suspect
	members   []*queryv1.Member

	mu    sync.Mutex
	asked []proto.Message // guarded by mu
	keys  []string        // Authorization of each of asked; guarded by mu
}

// note keeps a call.
func (r *registrar) note(ctx context.Context, m proto.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	info, _ := connect.CallInfoForHandlerContext(ctx)
	r.asked, r.keys = append(r.asked, m), append(r.keys, strings.Join(info.RequestHeader().Values("Authorization"), ", "))
}

// calls are those whose messages have a type, with the key of the last.
func calls[M proto.Message](r *registrar) (found []M, key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, m := range r.asked {
		if m, ok := m.(M); ok {
			found, key = append(found, m), r.keys[i]
		}
	}
	return found, key
}

func (r *registrar) decided(ctx context.Context, m proto.Message) (*queryv1.IdentityAnswer, error) {
	r.note(ctx, m)
	return proto.CloneOf(r.answer), r.failure
}

func (r *registrar) Link(ctx context.Context, m *queryv1.LinkRequest) (*queryv1.IdentityAnswer, error) {
	return r.decided(ctx, m)
}

func (r *registrar) Merge(ctx context.Context, m *queryv1.MergeRequest) (*queryv1.IdentityAnswer, error) {
	return r.decided(ctx, m)
}

func (r *registrar) Split(ctx context.Context, m *queryv1.SplitRequest) (*queryv1.IdentityAnswer, error) {
	return r.decided(ctx, m)
}

func (r *registrar) KeepApart(ctx context.Context, m *queryv1.KeepApartRequest) (*queryv1.IdentityAnswer, error) {
	return r.decided(ctx, m)
}

func (r *registrar) Block(ctx context.Context, m *queryv1.BlockRequest) (*queryv1.IdentityAnswer, error) {
	return r.decided(ctx, m)
}

func (r *registrar) ResolveConflict(ctx context.Context, m *queryv1.ResolveConflictRequest) (*queryv1.IdentityAnswer, error) {
	return r.decided(ctx, m)
}

// onePage cuts one page out of rows; a token is where the next one begins.
func onePage[R any](rows []R, size uint32, token string) ([]R, string) {
	from := 0
	if token != "" {
		from, _ = strconv.Atoi(token) // it is one of ours
	}
	to := min(from+int(size), len(rows))
	if to < len(rows) {
		return rows[from:to], strconv.Itoa(to)
	}
	return rows[from:], ""
}

func (r *registrar) ListMerges(ctx context.Context, m *queryv1.ListMergesRequest) (*queryv1.ListMergesResponse, error) {
	r.note(ctx, m)
	rows, next := onePage(r.merges, m.GetPageSize(), m.GetPageToken())
	return &queryv1.ListMergesResponse{Merges: rows, NextPageToken: next}, r.failure
}

func (r *registrar) ListConflicts(ctx context.Context, m *queryv1.ListConflictsRequest) (*queryv1.ListConflictsResponse, error) {
	r.note(ctx, m)
	rows, next := onePage(r.conflicts, m.GetPageSize(), m.GetPageToken())
	return &queryv1.ListConflictsResponse{Conflicts: rows, NextPageToken: next, Open: 2}, r.failure
}

func (r *registrar) GetConflict(ctx context.Context, m *queryv1.GetConflictRequest) (*queryv1.GetConflictResponse, error) {
	r.note(ctx, m)
	for _, q := range r.conflicts {
		if q.GetId() == m.GetId() {
			joined := ann()
			joined.CustomerId = ""
			return &queryv1.GetConflictResponse{Conflict: q, Now: []*queryv1.Profile{ann(), web()}, Joined: joined}, r.failure
		}
	}
	return nil, connect.NewError(connect.CodeNotFound, errors.New("no conflict "+m.GetId()))
}

func (r *registrar) ListSuspects(ctx context.Context, m *queryv1.ListSuspectsRequest) (*queryv1.ListSuspectsResponse, error) {
	r.note(ctx, m)
	rows, next := onePage(r.suspects, m.GetPageSize(), m.GetPageToken())
	return &queryv1.ListSuspectsResponse{
		Suspects: rows, NextPageToken: next, Total: uint64(len(r.suspects)), ComputedAt: at("2026-03-01T08:00:00Z"), Customers: 12_345, Cut: true,
		Crowded: []*queryv1.SuspectCrowd{{Key: "birth date", Kind: "person", Values: 2, Customers: 50_000, Largest: 40_000}},
	}, r.failure
}

func (r *registrar) ListMembers(ctx context.Context, m *queryv1.ListMembersRequest) (*queryv1.ListMembersResponse, error) {
	r.note(ctx, m)
	rows, next := onePage(r.members, m.GetPageSize(), m.GetPageToken())
	return &queryv1.ListMembersResponse{Members: rows, NextPageToken: next}, r.failure
}

func (r *registrar) GetProfile(ctx context.Context, m *queryv1.GetProfileRequest) (*queryv1.GetProfileResponse, error) {
	r.note(ctx, m)
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.GetReceipt() != "" && r.late > 0 {
		r.late--
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("3 of 9 events have moved"))
	}
	c := r.profiles[m.GetCustomer()]
	if c == nil {
		return nil, connect.NewError(connect.CodeNotFound, errors.New("no customer"))
	}
	return &queryv1.GetProfileResponse{Profile: c}, nil
}

func (r *registrar) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(queryv1connect.NewQueryServiceHandler(r))
	mux.Handle(queryv1connect.NewIdentityServiceHandler(r))
	return mux
}

func serveRegistrar(t *testing.T, r *registrar) map[string]string {
	t.Helper()
	server := httptest.NewServer(r.handler())
	t.Cleanup(server.Close)
	return map[string]string{"DOSSIER_SERVER": server.URL, "USER": "wang"}
}

const webID = "01JDB0000000000000000000BB"

// web is who Ann was before she was known.
func web() *queryv1.Profile {
	return &queryv1.Profile{
		CustomerId: webID, Kind: "person", FirstSeenAt: at("2026-01-01T08:00:00Z"), LastSeenAt: at("2026-01-01T09:00:00Z"),
		Identifiers: []*queryv1.Identifier{{Type: "anonymous_id", Value: "web-2"}},
		Engagement:  &queryv1.Engagement{PageViews: 12, Sessions: 2},
		Digest:      strings.Repeat("b", 64),
		Lifecycle:   &queryv1.Lifecycle{Stage: "unidentified"},
	}
}

// annSeen is Ann with something in every row of a comparison.
func annSeen() *queryv1.Profile {
	c := fullProfile().GetProfile()
	c.CustomerId, c.Digest = annID, strings.Repeat("a", 64)
	c.Memberships = []*queryv1.Membership{
		{Company: &queryv1.CompanyRef{Type: "company_id", Value: "acme"}},
		{Company: &queryv1.CompanyRef{Type: "company_id", Value: "left"}, Until: at("2026-01-01T08:00:00Z")},
	}
	c.Service = &queryv1.Service{Opened: 3}
	c.Interactions = &queryv1.Interactions{Count: 2}
	return c
}

// both is Ann with what she did before.
func both() *queryv1.Profile {
	c := annSeen()
	c.Identifiers = slices.Insert(c.Identifiers, 1, web().GetIdentifiers()...)
	c.Engagement.PageViews += 12
	c.Digest = strings.Repeat("c", 64)
	return c
}

func merged(id uint64) *queryv1.IdentityDecision {
	return &queryv1.IdentityDecision{Id: id, Kind: "merged", From: webID, To: annID}
}

func newRegistrar() *registrar {
	return &registrar{
		profiles: map[string]*queryv1.Profile{annID: both(), webID: both()},
		answer:   &queryv1.IdentityAnswer{Decisions: []*queryv1.IdentityDecision{merged(17)}, Receipt: "R1"},
		merges: []*queryv1.MergeEntry{
			{Id: 21, Kind: "split", From: annID, To: webID, At: at("2026-03-02T08:00:00Z"), Rule: "manual", Reason: "two people\x1b[2J", Actor: "wang", Undoes: 17},
			{Id: 17, Kind: "merged", From: webID, To: annID, At: at("2026-03-01T08:00:00Z"), Rule: "two_known", Source: "web", EventId: "e-1", Undone: true,
				Identifiers: []*queryv1.IdentifierRef{{Type: "anonymous_id", Value: "web-2"}, {Type: "email"}}},
			{Id: 9, Kind: "merged", From: webID, To: annID, At: at("2026-02-01T08:00:00Z"), Rule: "of a later version"},
		},
		conflicts: []*queryv1.Conflict{
			{
				Id: "12", State: "open", Stronger: annID, Weaker: webID, StrongerName: "李娜 \x1b[31mLi Na", At: at("2026-03-01T08:00:00Z"),
				Rule: "two_exclusive", Explanation: "each has a user_id, and they differ", Source: "web", EventId: "e-1",
				Identifiers: []*queryv1.IdentifierRef{{Type: "user_id", Value: "42"}, {Type: "user_id", Value: "43"}},
			},
			{
				Id: "11", State: "dismissed", Stronger: annID, Weaker: webID, At: at("2026-02-01T08:00:00Z"), Rule: "of a later version",
				Explanation: "something new", Reason: "sisters", Actor: "wang", ResolvedAt: at("2026-03-02T08:00:00Z"),
			},
		},
		suspects: []*queryv1.Suspect{{
			A: annID, B: webID, AName: "Ann Smith", BName: "Smith Ann", Kind: "person", Score: 0.98765, Reasons: []*queryv1.SuspectReason{
				{Field: "name", A: "Ann Smith", B: "Smith Ann", How: "swapped", Weight: 3}, {Field: "birth_date", A: "1970-01-02", B: "1970-01-02", How: "equal"},
				{Field: "phone", A: "1", B: "2", How: "differs"}, {Field: "shoe", A: "41", B: "42", How: "near"}, {Field: "city", A: "x", B: "x", How: "equal"},
			},
		}},
		members: []*queryv1.Member{
			{CustomerId: annID, Name: "李娜", Current: true, Since: at("2025-01-01T00:00:00Z")}, {CustomerId: webID, Since: at("2024-01-01T00:00:00Z")},
		},
	}
}

// What people see, in both languages, and what programs do.
func TestDecisionsPrinted(t *testing.T) {
	t.Parallel()
	split := &queryv1.IdentityAnswer{Decisions: []*queryv1.IdentityDecision{{
		Id: 18, Kind: "split", From: annID, To: webID, Identifiers: []*queryv1.IdentifierRef{{Type: "anonymous_id", Value: "web-2"}},
	}}, Receipt: "R1"}
	linked := func(typ, value string) *queryv1.IdentityAnswer {
		return &queryv1.IdentityAnswer{Receipt: "R1", Decisions: []*queryv1.IdentityDecision{
			{Kind: "linked", To: annID, Identifiers: []*queryv1.IdentifierRef{{Type: typ, Value: value}}},
		}}
	}
	dry := func(kind string, profiles ...*queryv1.Profile) *queryv1.IdentityAnswer {
		d := &queryv1.IdentityDecision{Kind: kind, From: webID, To: annID}
		if kind == "split" {
			d.From, d.To = annID, ""
		}
		return &queryv1.IdentityAnswer{DryRun: true, Decisions: []*queryv1.IdentityDecision{d}, Profiles: profiles}
	}
	of := func(kind, typ, value string) *queryv1.IdentityAnswer {
		return &queryv1.IdentityAnswer{Decisions: []*queryv1.IdentityDecision{{Kind: kind, From: annID, To: webID, Identifiers: []*queryv1.IdentifierRef{{Type: typ, Value: value}}}}}
	}
	named := of("blocked", "phone", "4711")
	named.Profiles = []*queryv1.Profile{web()}
	apart := map[string]*queryv1.Profile{annID: annSeen(), webID: web()}
	rest := proto.CloneOf(annSeen())
	rest.Lifecycle = nil
	out := proto.CloneOf(web())
	out.CustomerId, out.Lifecycle = "", nil
	why := []string{"--reason", "asked her"}
	for name, tc := range map[string]struct {
		args     []string
		answer   *queryv1.IdentityAnswer
		profiles map[string]*queryv1.Profile // of GetProfile; nil: one
	}{
		"merge":             {append([]string{"merge", annID, webID}, why...), nil, nil},
		"merge-dry-run":     {[]string{"merge", annID, webID, "--dry-run"}, dry("merged", both()), apart},
		"merge-nothing":     {append([]string{"merge", annID, webID}, why...), &queryv1.IdentityAnswer{}, nil},
		"merge-later":       {append([]string{"merge", annID, webID, "--wait=false"}, why...), nil, nil},
		"split":             {append([]string{"split", annID, "anonymous_id:web-2"}, why...), split, apart},
		"split-dry-run":     {[]string{"split", annID, "anonymous_id:web-2", "--dry-run"}, dry("split", rest, out), map[string]*queryv1.Profile{annID: both()}},
		"link":              {append([]string{"link", annID, "crm_id:O'Neill & sons"}, why...), linked("crm_id", "O'Neill & sons"), nil},
		"link-hash":         {append([]string{"link", annID, "crm_id:7"}, why...), linked("crm_id", ""), nil},
		"apart":             {append([]string{"apart", annID, webID}, why...), of("kept_apart", "", ""), nil},
		"block":             {append([]string{"block", "phone:4711"}, why...), of("blocked", "phone", "4711"), nil},
		"block-release":     {append([]string{"block", "phone:4711", "--release"}, why...), of("released", "phone", "4711"), nil},
		"block-dry-run":     {[]string{"block", "phone:4711", "--dry-run"}, named, nil},
		"conflicts-list":    {[]string{"conflicts", "list", "--state", "all"}, nil, nil},
		"conflicts-more":    {[]string{"conflicts", "list", "--limit", "1"}, nil, nil},
		"conflicts-show":    {[]string{"conflicts", "show", "12"}, nil, nil},
		"conflicts-closed":  {[]string{"conflicts", "show", "11"}, nil, nil},
		"conflicts-approve": {append([]string{"conflicts", "approve", "12"}, why...), nil, nil},
		"conflicts-dismiss": {append([]string{"conflicts", "dismiss", "12"}, why...), of("kept_apart", "", ""), nil},
		"suspects-list":     {[]string{"suspects", "list"}, nil, nil},
		"suspects-join":     {append([]string{"suspects", "join", annID, webID}, why...), nil, nil},
		"merges":            {[]string{"merges"}, nil, nil},
		"members":           {[]string{"members", "company_id:acme", "--former"}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, form := range []string{"en", "zh", "json"} {
				r := newRegistrar()
				if tc.answer != nil {
					r.answer = tc.answer
				}
				if tc.profiles != nil {
					r.profiles = tc.profiles
				}
				args := append(slices.Clone(tc.args), "--lang", form)
				file := name + "." + form + ".txt"
				if form == "json" {
					args, file = append(slices.Clone(tc.args), "--json"), name+".json"
				}
				status, out, stderr := dossier(t, serveRegistrar(t, r), args...)
				if status != exitDone {
					t.Errorf("%s: status %d, want 0", form, status)
				}
				if stderr != "" {
					out += "--- standard error\n" + stderr
				}
				golden(t, filepath.Join("testdata", "golden", "identity", file), out)
			}
		})
	}
}

// What a command asks for is what its line says.
func TestDecisionsAsked(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args []string
		want proto.Message
	}{
		{[]string{"merge", "a:1", "b:2", "c:3", "--reason", " same "}, &queryv1.MergeRequest{Customers: []string{"a:1", "b:2", "c:3"}, Reason: "same", Actor: "wang"}},
		{[]string{"merge", "a:1", "b:2", "--dry-run"}, &queryv1.MergeRequest{Customers: []string{"a:1", "b:2"}, Actor: "wang", DryRun: true}},
		{[]string{"suspects", "join", "a:1", "b:2", "--reason", "r"}, &queryv1.MergeRequest{Customers: []string{"a:1", "b:2"}, Reason: "r", Actor: "wang", Rule: "suspect"}},
		{[]string{"suspects", "dismiss", "a:1", "b:2", "--reason", "r"}, &queryv1.KeepApartRequest{Customers: []string{"a:1", "b:2"}, Reason: "r", Actor: "wang"}},
		{[]string{"apart", "a:1", "b:2", "--dry-run"}, &queryv1.KeepApartRequest{Customers: []string{"a:1", "b:2"}, Actor: "wang", DryRun: true}},
		{[]string{"split", "--undo", "17", "--reason", "r", "--actor", "li"}, &queryv1.SplitRequest{Undo: 17, Reason: "r", Actor: "li"}},
		{[]string{"split", "a:1", "b:2", "c:3", "--reason", "r"}, &queryv1.SplitRequest{Customer: "a:1", Identifiers: []string{"b:2", "c:3"}, Reason: "r", Actor: "wang"}},
		{[]string{"link", "a:1", "b:2", "--reason", "r"}, &queryv1.LinkRequest{Identifiers: []string{"a:1", "b:2"}, Reason: "r", Actor: "wang"}},
		{[]string{"block", "a:1", "--release", "--reason", "r"}, &queryv1.BlockRequest{Identifier: "a:1", Release: true, Reason: "r", Actor: "wang"}},
		{[]string{"conflicts", "approve", "12", "--reason", "r"}, &queryv1.ResolveConflictRequest{Id: "12", Approve: true, Reason: "r", Actor: "wang"}},
		{[]string{"conflicts", "dismiss", "12", "--dry-run"}, &queryv1.ResolveConflictRequest{Id: "12", Actor: "wang", DryRun: true}},
		{[]string{"conflicts", "list", "--customer", "a:1"}, &queryv1.ListConflictsRequest{State: "open", Customer: "a:1", PageSize: 50}},
		{[]string{"suspects", "list", "--kind", "company", "--min-score", "0.5", "--limit", "0"}, &queryv1.ListSuspectsRequest{Kind: "company", MinScore: 0.5, PageSize: 200}},
		{[]string{"merges", "a:1", "--limit", "3"}, &queryv1.ListMergesRequest{Customer: "a:1", PageSize: 3}},
		{[]string{"members", "a:1"}, &queryv1.ListMembersRequest{Company: "a:1", PageSize: 50}},
	} {
		r := newRegistrar()
		r.answer = &queryv1.IdentityAnswer{}
		_, _, stderr := dossier(t, serveRegistrar(t, r), tc.args...)
		if len(r.asked) == 0 {
			t.Errorf("%v: nothing was asked (%s)", tc.args, stderr)
			continue
		}
		if diff := gocmp.Diff(tc.want, r.asked[0], protocmp.Transform()); diff != "" {
			t.Errorf("%v (-want +got):\n%s", tc.args, diff)
		}
	}
}

// Changes present the write key, and the read key to see the customers; reads
// and dry runs the read key alone.
func TestDecisionsBearKeys(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		write string
		args  []string
		want  string
	}{
		{"a change", "told", []string{"--reason", "r"}, "Bearer told, Bearer asked"},
		{"a change where no write key is known", "", []string{"--reason", "r"}, "Bearer asked"},
		{"a dry run", "told", []string{"--dry-run"}, "Bearer asked"},
	} {
		r := newRegistrar()
		r.answer.Profiles = []*queryv1.Profile{both()}
		env := serveRegistrar(t, r)
		maps.Copy(env, map[string]string{"DOSSIER_READ_KEY": "asked", "DOSSIER_WRITE_KEY": tc.write})
		dossier(t, env, append([]string{"merge", annID, webID}, tc.args...)...)
		if _, got := calls[*queryv1.MergeRequest](r); got != tc.want {
			t.Errorf("%s: key %q, want %q", tc.name, got, tc.want)
		}
		if profiles, got := calls[*queryv1.GetProfileRequest](r); len(profiles) == 0 || got != "Bearer asked" {
			t.Errorf("%s: key %q for %d profiles, want the read key", tc.name, got, len(profiles))
		}
	}
}

// A change waits until the receipt is reached, and then shows the customers
// once each.
func TestDecisionsWait(t *testing.T) {
	t.Parallel()
	r := newRegistrar()
	r.late = 2
	status, out, stderr := dossier(t, serveRegistrar(t, r), "merge", annID, webID, "--reason", "r")
	if status != exitDone || stderr != "" {
		t.Fatalf("status %d, %q; want 0 and nothing", status, stderr)
	}
	got, _ := calls[*queryv1.GetProfileRequest](r)
	if len(got) != 4 {
		t.Errorf("%d profiles were asked for, want the first thrice and the second once", len(got))
	}
	for _, asked := range got {
		if asked.GetReceipt() != "R1" {
			t.Errorf("a profile was asked for with receipt %q, want R1", asked.GetReceipt())
		}
	}
	if n := strings.Count(out, annID); n != 2 { // in the decision and in its column
		t.Errorf("the winner stands %d times in the output, want twice:\n%s", n, out)
	}
}

// Who gets a customer with a receipt gets him when that is reached, though one
// answer does not wait so long.
func TestGetWaits(t *testing.T) {
	t.Parallel()
	r := newRegistrar()
	r.late = 2
	status, out, stderr := dossier(t, serveRegistrar(t, r), "get", annID, "--receipt", "R1")
	if got, _ := calls[*queryv1.GetProfileRequest](r); status != exitDone || stderr != "" || len(got) != 3 || !strings.Contains(out, annID) {
		t.Errorf("status %d, %q, asked %d times; want 0, nothing and 3 times:\n%s", status, stderr, len(got), out)
	}
}

// Moves that do not end are waited for so long, and said to go on; what was
// decided is printed all the same. The clock is the test's.
func TestDecisionsWaitSoLong(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"--lang=en", "--json"} {
		synctest.Test(t, func(t *testing.T) {
			r := newRegistrar()
			r.late = 1 << 30
			var out, stderr strings.Builder
			std := stdio{in: strings.NewReader(""), out: &out, err: &stderr, getenv: func(string) string { return "" }}
			d := newDecider(std, "merge", "merge", "")
			d.waitFlag()
			d.roundTripper = inProcess{r.handler()}
			if _, err := d.parse([]string{annID, webID, "--reason", "r", "--actor", "wang", form}, "REF", "REF…"); err != nil {
				t.Fatal(err)
			}
			err := d.merge(t.Context(), []string{annID, webID}, "")
			if err == nil || !strings.Contains(err.Error(), "not all moved yet: 3 of 9 events have moved (receipt R1)") {
				t.Errorf("got error %v, want how far it is and the receipt", err)
			}
			for _, want := range []string{webID, annID, "17"} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%s: %q is not in the output:\n%s", form, want, out.String())
				}
			}
		})
	}
}

// inProcess serves calls without a network, so that a test's clock holds.
type inProcess struct{ handler http.Handler }

func (p inProcess) RoundTrip(req *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	p.handler.ServeHTTP(w, req)
	return w.Result(), nil
}

// Every way to go wrong ends with the status that scripts branch on and a
// sentence that says what to do.
func TestDecisionsExit(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		failure error
		args    []string
		status  int
		stderr  string // a part of it
	}{
		{"no reason", nil, []string{"merge", "a:1", "b:2"}, exitUsage, "--reason missing"},
		{"an empty reason", nil, []string{"link", "a:1", "b:2", "--reason", "  "}, exitUsage, "--reason missing"},
		{"one customer", nil, []string{"merge", "a:1", "--reason", "r"}, exitUsage, "REF… missing"},
		{"one identifier", nil, []string{"link", "a:1", "--reason", "r"}, exitUsage, "ID… missing"},
		{"nobody to keep apart", nil, []string{"apart", "a:1", "--reason", "r"}, exitUsage, "REF missing"},
		{"three to keep apart", nil, []string{"apart", "a:1", "b:2", "c:3", "--reason", "r"}, exitUsage, `"c:3" is one argument too many`},
		{"nothing to split", nil, []string{"split", "--reason", "r"}, exitUsage, "REF or --undo missing"},
		{"nothing to take out", nil, []string{"split", "a:1", "--reason", "r"}, exitUsage, "ID… missing: which identifiers of a:1"},
		{"two kinds of split", nil, []string{"split", "--undo", "3", "a:1", "--reason", "r"}, exitUsage, `"a:1" and --undo: one of them`},
		{"no merge", nil, []string{"split", "--undo", "0", "--reason", "r"}, exitUsage, "--undo 0: the id of a merge wanted"},
		{"no number", nil, []string{"split", "--undo", "x", "--reason", "r"}, exitUsage, `invalid value "x" for flag -undo`},
		{"two to block", nil, []string{"block", "a:1", "b:2", "--reason", "r"}, exitUsage, `"b:2" is one argument too many`},
		{"no word of conflicts", nil, []string{"conflicts"}, exitUsage, "list, show, approve or dismiss wanted"},
		{"another word of conflicts", nil, []string{"conflicts", "retry"}, exitUsage, `"retry": list, show, approve or dismiss wanted`},
		{"no word of suspects", nil, []string{"suspects"}, exitUsage, "list, join or dismiss wanted"},
		{"no conflict", nil, []string{"conflicts", "show"}, exitUsage, "ID missing"},
		{"an unknown conflict", nil, []string{"conflicts", "show", "99"}, exitFailed, "no conflict 99"},
		{"a state that is none", nil, []string{"conflicts", "list", "--state", "shut"}, exitUsage, `--state "shut": open, approved, dismissed, all wanted`},
		{"a kind that is none", nil, []string{"suspects", "list", "--kind", "dog"}, exitUsage, `--kind "dog"`},
		{"a score that is none", nil, []string{"suspects", "list", "--min-score", "NaN"}, exitUsage, "--min-score NaN"},
		{"a score below the least", nil, []string{"suspects", "list", "--min-score", "0.3"}, exitUsage, "--min-score 0.3: a number from 0.5 to 1 wanted"},
		{"a negative limit", nil, []string{"merges", "--limit", "-1"}, exitUsage, "--limit -1"},
		{"not UTF-8", nil, []string{"merge", "a:\xff", "b:2", "--reason", "r"}, exitUsage, "not UTF-8"},
		{
			"an unknown company", connect.NewError(connect.CodeNotFound, errors.New("x")), []string{"members", "company_id:acme"}, exitFailed,
			"no customer company_id:acme; nothing accepted so far names this customer",
		},
		{
			"an unknown customer of several", connect.NewError(connect.CodeNotFound, errors.New(`no customer b:2`)), []string{"merge", "a:1", "b:2", "--reason", "r"}, exitFailed,
			"dossier merge: no customer b:2",
		},
		{
			"what cannot be", connect.NewError(connect.CodeFailedPrecondition, errors.New("merge 3 was undone by 9")), []string{"split", "--undo", "3", "--reason", "r"}, exitFailed,
			"dossier split: merge 3 was undone by 9",
		},
		{
			"no write key", connect.NewError(connect.CodeUnauthenticated, errors.New("x")), []string{"apart", "a:1", "b:2", "--reason", "r"}, exitFailed,
			"wants a write key; give it with --write-key or DOSSIER_WRITE_KEY",
		},
		{
			"a wrong write key", connect.NewError(connect.CodeUnauthenticated, errors.New("x")), []string{"apart", "a:1", "b:2", "--reason", "r", "--write-key", "k"}, exitFailed,
			"does not accept this write key",
		},
		{
			"no read key beside the write key", connect.NewError(connect.CodeUnauthenticated, errors.New("no read key is presented; a change wants a write key and a read key")),
			[]string{"apart", "a:1", "b:2", "--reason", "r", "--write-key", "k"}, exitFailed, "wants a read key; give it with --read-key or DOSSIER_READ_KEY",
		},
		{
			"no read key", connect.NewError(connect.CodeUnauthenticated, errors.New("x")), []string{"apart", "a:1", "b:2", "--dry-run", "--write-key", "k"}, exitFailed,
			"wants a read key",
		},
		{
			"a server without this", connect.NewError(connect.CodeUnimplemented, errors.New("404 Not Found")), []string{"merges"}, exitFailed,
			"is not a Dossier that has this query",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRegistrar()
			r.failure = tc.failure
			if tc.failure != nil {
				r.answer = nil
			}
			status, out, stderr := dossier(t, serveRegistrar(t, r), tc.args...)
			if status != tc.status || out != "" {
				t.Errorf("got status %d and output %q, want %d and none", status, out, tc.status)
			}
			if !strings.Contains(stderr, tc.stderr) {
				t.Errorf("got %q, want it to say %q", stderr, tc.stderr)
			}
		})
	}
}

// Who says so: the flag, then $USER, then the user of the operating system.
func TestDecisionsHaveAnActor(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		user string
		args []string
		want string // "": somebody
	}{
		{"wang", []string{"--actor", " li "}, "li"}, {"wang", nil, "wang"}, {"", nil, ""},
	} {
		r := newRegistrar()
		env := serveRegistrar(t, r)
		env["USER"] = tc.user
		dossier(t, env, append([]string{"merge", annID, webID, "--reason", "r"}, tc.args...)...)
		got, _ := calls[*queryv1.MergeRequest](r)
		if len(got) != 1 || got[0].GetActor() == "" || tc.want != "" && got[0].GetActor() != tc.want {
			t.Errorf("user %q, %v: asked %v, want actor %q", tc.user, tc.args, got, tc.want)
		}
	}
}

// Lists go on until they end, or until enough is shown.
func TestIdentityListsFollowPages(t *testing.T) {
	t.Parallel()
	r := newRegistrar()
	for i := range 450 {
		r.members = append(r.members, &queryv1.Member{CustomerId: "c" + strconv.Itoa(i)})
	}
	for limit, want := range map[string]int{"0": 452, "200": 200, "201": 201, "452": 452, "1000": 452} {
		_, out, stderr := dossier(t, serveRegistrar(t, r), "members", "company_id:acme", "--json", "--limit", limit)
		if got := strings.Count(out, "\n"); got != want || stderr != "" {
			t.Errorf("limit %s: %d lines (%s), want %d", limit, got, stderr, want)
		}
	}
}

// What a hint shows is one word of a shell.
func TestShellWord(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "''", "email:ann@example.com": "email:ann@example.com", "crm_id:a b": "'crm_id:a b'", "x:$(rm)": "'x:$(rm)'", "x:O'Neill": `'x:O'\''Neill'`,
		"name:李娜": "name:李娜", "phone:+86-138": "phone:+86-138", "x:~": "'x:~'", "x:a;b\x1b": "'x:a;b'",
	} {
		if got := shellWord(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}
