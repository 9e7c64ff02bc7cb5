package suspects_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections"
	"github.com/dossier360/dossier/projections/columns"
	"github.com/dossier360/dossier/projections/profile"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
	"github.com/dossier360/dossier/query"
	"github.com/dossier360/dossier/query/suspects"
)

// shelf is a partition that holds heads, and nothing else of a partition.
type shelf struct {
	query.Partition

	mu      sync.Mutex
	heads   map[events.CustomerID]*statev1.Head
	applied uint64
	target  uint64
	open    atomic.Int64  // views not closed
	failure error         // of reading heads
	slow    time.Duration // what reading heads takes
	reads   atomic.Int64  // of heads
}

func (s *shelf) ID() int                   { return 0 }
func (s *shelf) Known() projections.Status { return projections.Status{Target: s.target} }

func (s *shelf) View() query.View {
	s.open.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	v := &shelfView{shelf: s, heads: map[events.CustomerID]*statev1.Head{}, applied: s.applied}
	var rows []*columns.Row
	for id, head := range s.heads {
		v.heads[id] = head
		rows = append(rows, columns.Of(id, head, profile.Env{}))
	}
	v.rows = columns.NewWriter(rows).Table()
	return v
}

// put adds a customer told by traits, as JSON, and identifiers.
func (s *shelf) put(id events.CustomerID, kind logv1.CustomerKind, traits map[string]string, identifiers ...*eventsv1.Identifier) {
	f := &statev1.Facts{}
	for _, name := range slices.Sorted(maps.Keys(traits)) {
		f.Traits = append(f.Traits, &statev1.TraitFact{Name: name, ValueJson: traits[name], Stamp: &statev1.Stamp{}})
	}
	for _, i := range identifiers {
		f.Identifiers = append(f.Identifiers, &statev1.IdentifierFact{Type: i.Type, Value: i.Value, First: &statev1.Stamp{}})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heads[id] = &statev1.Head{Kind: kind, Facts: f}
	s.applied++
}

type shelfView struct {
	query.View
	shelf   *shelf
	heads   map[events.CustomerID]*statev1.Head
	rows    *columns.Table
	applied uint64
}

func (v *shelfView) Applied() uint64               { return v.applied }
func (v *shelfView) Rows() (*columns.Table, error) { return v.rows, nil }
func (v *shelfView) Close()                        { v.shelf.open.Add(-1) }

func (v *shelfView) Parts(wanted func(events.CustomerID) (projections.Part, bool), fn func(events.CustomerID, *statev1.Head) error) error {
	if v.shelf.failure != nil {
		return v.shelf.failure
	}
	v.shelf.reads.Add(1)
	time.Sleep(v.shelf.slow) // of a bubble with a clock of its own
	for id, head := range v.heads {
		if _, ok := wanted(id); ok {
			if err := fn(id, head); err != nil {
				return err
			}
		}
	}
	return nil
}

// registry is what was decided.
type registry struct {
	apart map[[2]events.CustomerID]bool
	roots map[events.CustomerID]events.CustomerID
}

func (r *registry) Apart(a, b events.CustomerID) (bool, error) {
	return r.apart[[2]events.CustomerID{a, b}] || r.apart[[2]events.CustomerID{b, a}], nil
}

func (r *registry) Root(c events.CustomerID) (events.CustomerID, error) {
	if root, ok := r.roots[c]; ok {
		return root, nil
	}
	return c, nil
}

const (
	personKind  = logv1.CustomerKind_CUSTOMER_KIND_PERSON
	companyKind = logv1.CustomerKind_CUSTOMER_KIND_COMPANY
)

// office is a running service over one shelf.
type office struct {
	*shelf
	*registry
	service *suspects.Service
}

func newOffice(t *testing.T) *office {
	o := &office{shelf: &shelf{heads: map[events.CustomerID]*statev1.Head{}}, registry: &registry{map[[2]events.CustomerID]bool{}, map[events.CustomerID]events.CustomerID{}}}
	o.service = suspects.New(suspects.Options{
		Partitions: []query.Partition{o.shelf}, Directory: o.registry, Logger: slog.New(slog.DiscardHandler),
		Find: func(reference string) (events.CustomerID, error) { return events.ParseCustomerID(reference) },
	})
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- o.service.Run(ctx) }()
	t.Cleanup(func() {
		end()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
		if n := o.open.Load(); n != 0 {
			t.Errorf("%d views were left open", n)
		}
	})
	return o
}

func (o *office) list(t *testing.T, req *queryv1.ListSuspectsRequest) *queryv1.ListSuspectsResponse {
	t.Helper()
	resp, err := o.service.List(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// pairs are the customers of the suspects of an answer.
func pairs(resp *queryv1.ListSuspectsResponse) string {
	var b strings.Builder
	for _, s := range resp.GetSuspects() {
		b.WriteString(s.A[len(s.A)-2:] + "+" + s.B[len(s.B)-2:] + " ")
	}
	return strings.TrimSpace(b.String())
}

// twins puts two customers who are proposed, and returns their ids.
func (o *office) twins(n int, family string) (a, b events.CustomerID) {
	a, b = customerID(2*n), customerID(2*n+1)
	o.put(a, personKind, map[string]string{"first_name": `"Ann"`, "last_name": `"` + family + `"`, "birth_date": `"1980-05-1` + family[:1] + `"`, "ssn": `"698` + family + `"`})
	o.put(b, personKind, map[string]string{"name": `"Ann ` + family + `"`, "ssn": `"698` + family + `"`})
	return a, b
}

func TestList(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	if resp := o.list(t, &queryv1.ListSuspectsRequest{}); resp.Total != 0 || resp.Customers != 0 {
		t.Errorf("of nobody: %v", resp)
	}
	a, b := o.twins(1, "7zylstra")
	c, d := o.twins(2, "8quigley")
	// One whose address only the profile tells, and a company.
	e, f, g, h := customerID(50), customerID(51), customerID(52), customerID(53)
	address := `{"street":"12 Zander Street","city":"Ghent","postalCode":"90040","state":"Flanders"}`
	o.put(e, personKind, map[string]string{"name": `"Yves Vandermeulen"`, "address": address})
	o.put(f, personKind, map[string]string{"name": `"Yves Vandermeulen"`, "address": address}, &eventsv1.Identifier{Type: "user_id", Value: "u7"})
	o.put(g, companyKind, map[string]string{"name": `"上海華為科技有限公司"`, "tax_id": "913100001234"})
	o.put(h, companyKind, map[string]string{"name": `"上海华为科技"`, "tax_id": "913100001234"})
	resp := o.list(t, &queryv1.ListSuspectsRequest{})
	if resp.Total != 4 || len(resp.Suspects) != 4 || resp.Customers != 8 {
		t.Fatalf("%d of %d suspects among %d customers, want 4 of 4 among 8: %s", len(resp.Suspects), resp.Total, resp.Customers, pairs(resp))
	}
	of := func(id events.CustomerID) string {
		return pairs(o.list(t, &queryv1.ListSuspectsRequest{Customer: id.String()}))
	}
	pair := func(a, b events.CustomerID) string { return a.String()[24:] + "+" + b.String()[24:] }
	for _, two := range [][2]events.CustomerID{{a, b}, {c, d}, {e, f}, {g, h}} {
		if got, want := of(two[1]), pair(two[0], two[1]); got != want {
			t.Errorf("of %s: got %q, want %q", two[1], got, want)
		}
	}
	if got, want := pairs(o.list(t, &queryv1.ListSuspectsRequest{Kind: "company"})), pair(g, h); got != want {
		t.Errorf("companies: got %q, want %q", got, want)
	}
	for _, s := range resp.Suspects {
		if s.A == e.String() && (s.AName != "Yves Vandermeulen" || s.Kind != "person" || len(s.Reasons) < 5) {
			t.Errorf("suspect: %v", s)
		}
	}
	// What is decided counts at once.
	o.apart[[2]events.CustomerID{b, a}] = true
	o.roots[d] = c
	if got := o.list(t, &queryv1.ListSuspectsRequest{}); got.Total != 2 {
		t.Errorf("after two were decided: %d, want 2: %s", got.Total, pairs(got))
	}
	// So does what is told.
	o.put(f, personKind, map[string]string{"name": `"Bob Roy"`})
	if got, want := pairs(o.list(t, &queryv1.ListSuspectsRequest{})), pair(g, h); got != want {
		t.Errorf("after one was told anew: got %q, want %q", got, want)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	for n, family := range []string{"1aab", "2ccd", "3eef", "4ggh", "5iij", "6kkl", "7mmn"} {
		o.twins(n, family)
	}
	whole := o.list(t, &queryv1.ListSuspectsRequest{})
	if whole.Total != 7 || whole.NextPageToken != "" {
		t.Fatalf("%d suspects and token %q, want 7 and none", whole.Total, whole.NextPageToken)
	}
	var got []string
	req := &queryv1.ListSuspectsRequest{PageSize: 3}
	for {
		page := o.list(t, req)
		if page.Total != 7 {
			t.Errorf("total on a page: %d, want 7", page.Total)
		}
		got = append(got, pairs(page))
		if page.NextPageToken == "" {
			break
		}
		req.PageToken = page.NextPageToken
		// What comes meanwhile moves nothing in the list that is paged through.
		o.twins(20+len(got), "9xxy")
		req.PageSize = 2
	}
	if all := strings.Join(got, " "); len(got) != 3 || all != pairs(whole) {
		t.Errorf("got %d pages %q, want 3 of %q", len(got), all, pairs(whole))
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.twins(0, "1aab")
	o.twins(1, "2ccd")
	token := o.list(t, &queryv1.ListSuspectsRequest{PageSize: 1}).NextPageToken
	if token == "" {
		t.Fatal("no token after the first of two")
	}
	for want, req := range map[string]*queryv1.ListSuspectsRequest{
		"kind":      {Kind: "dog"},
		"minScore":  {MinScore: suspects.LeastScore - 0.01},
		"pageSize":  {PageSize: query.MaxPageSize + 1},
		"pageToken": {PageToken: token, Kind: "person"},
	} {
		if _, err := o.service.List(t.Context(), req); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want an error of %s", req, err, want)
		}
	}
	for _, bad := range []string{"x", token[:10], "AAAA" + token[4:]} {
		if _, err := o.service.List(t.Context(), &queryv1.ListSuspectsRequest{PageToken: bad}); err == nil {
			t.Errorf("token %q: no error", bad)
		}
	}
	if _, err := o.service.List(t.Context(), &queryv1.ListSuspectsRequest{PageSize: query.MaxPageSize, MinScore: suspects.LeastScore}); err != nil {
		t.Errorf("at the bounds: %v", err)
	}
}

func TestNotReady(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.twins(0, "1aab")
	o.target = 100
	if _, err := o.service.List(t.Context(), &queryv1.ListSuspectsRequest{}); !errors.Is(err, projections.ErrCatchingUp) {
		t.Errorf("while catching up: got %v", err)
	}
	o.target = 0
	o.put(customerID(9), personKind, map[string]string{"address": `{"street":"1 Main"}`})
	broken := errors.New("broken")
	o.failure = broken
	if _, err := o.service.List(t.Context(), &queryv1.ListSuspectsRequest{}); !errors.Is(err, broken) {
		t.Errorf("store away: got %v, want %v", err, broken)
	}
	o.failure = nil
	if resp := o.list(t, &queryv1.ListSuspectsRequest{}); resp.Total != 1 {
		t.Errorf("afterwards: %d suspects, want 1", resp.Total)
	}
}

// TestSlow: of many customers a ranking is shown for a while, and computed anew
// for who asks later.
func TestSlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t)
		o.twins(0, "1aab")
		// One of whom heads must be read, so that it takes time.
		o.put(customerID(90), personKind, map[string]string{"address": `{"street":"1 Main"}`})
		o.slow = 2 * time.Second
		first := o.list(t, &queryv1.ListSuspectsRequest{})
		o.twins(1, "2ccd")
		if again := o.list(t, &queryv1.ListSuspectsRequest{}); again.Total != 1 || !again.ComputedAt.AsTime().Equal(first.ComputedAt.AsTime()) {
			t.Errorf("at once: %d suspects of %v, want the 1 of %v", again.Total, again.ComputedAt.AsTime(), first.ComputedAt.AsTime())
		}
		time.Sleep(time.Minute)
		later := o.list(t, &queryv1.ListSuspectsRequest{})
		if age := time.Since(later.ComputedAt.AsTime()); later.Total != 2 || age > 10*time.Second {
			t.Errorf("a minute later: %d suspects of %v ago, want 2 of now", later.Total, age)
		}
		// What takes longer than anybody waits comes behind the one that there is.
		o.slow = time.Minute
		o.twins(2, "3eef")
		time.Sleep(time.Hour)
		began := time.Now()
		if old := o.list(t, &queryv1.ListSuspectsRequest{}); old.Total != 2 || time.Since(began) != suspects.MaxWait {
			t.Errorf("after %v: %d suspects, want 2 after %v", time.Since(began), old.Total, suspects.MaxWait)
		}
		time.Sleep(5 * time.Minute)
		if now := o.list(t, &queryv1.ListSuspectsRequest{}); now.Total != 3 {
			t.Errorf("afterwards: %d suspects, want 3", now.Total)
		}
	})
}

// TestFirstIsSlow: nobody waits for ever.
func TestFirstIsSlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t)
		o.put(customerID(90), personKind, map[string]string{"address": `{"street":"1 Main"}`})
		o.slow = time.Minute
		if _, err := o.service.List(t.Context(), &queryv1.ListSuspectsRequest{}); !errors.Is(err, projections.ErrCatchingUp) {
			t.Errorf("got %v, want %v", err, projections.ErrCatchingUp)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := o.service.List(ctx, &queryv1.ListSuspectsRequest{}); !errors.Is(err, context.Canceled) {
			t.Errorf("of who left: got %v", err)
		}
		time.Sleep(2 * time.Minute)
		if resp := o.list(t, &queryv1.ListSuspectsRequest{}); resp.Customers != 1 {
			t.Errorf("afterwards: %d customers, want 1", resp.Customers)
		}
	})
}

// TestAskedWhileComputing: who asks while a ranking that takes long is under way
// is given that one, and it is not computed a second time for him.
func TestAskedWhileComputing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t)
		o.twins(0, "1aab")
		o.put(customerID(90), personKind, map[string]string{"address": `{"street":"1 Main"}`})
		o.slow = 2 * time.Second
		for round := range int64(3) {
			var asking sync.WaitGroup
			for range 3 {
				asking.Go(func() { o.list(t, &queryv1.ListSuspectsRequest{}) })
				time.Sleep(time.Second / 2)
			}
			asking.Wait()
			time.Sleep(10 * time.Second) // nothing is computed behind the answers
			if got := o.reads.Load(); got != round+1 {
				t.Errorf("after round %d: computed %d times, want %d", round, got, round+1)
			}
			o.twins(1+int(round), "2ccd")
			time.Sleep(time.Minute)
		}
	})
}
