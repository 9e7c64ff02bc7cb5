package directory_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/projections/store"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// firm is a company for tests; 0 is none.
func firm(n byte) (c events.CustomerID) {
	c[15] = n
	return c
}

// history makes memberships of "A@3 -@5": a letter is a company, - is none.
func history(t tb, text string) directory.Memberships {
	t.Helper()
	var m directory.Memberships
	for field := range strings.FieldsSeq(text) {
		m = m.With(entry(t, field))
	}
	return m
}

func entry(t tb, text string) directory.Membership {
	t.Helper()
	var letter byte
	var e directory.Membership
	if n, err := fmt.Sscanf(text, "%c@%d", &letter, &e.Since); n != 2 || err != nil {
		t.Fatalf("entry %q: %v", text, err)
	}
	if letter != '-' {
		e.Company = firm(letter)
	}
	return e
}

func show(m directory.Memberships) string {
	var parts []string
	for _, e := range m {
		letter := byte('-')
		if e.Company != (events.CustomerID{}) {
			letter = e.Company[15]
		}
		parts = append(parts, fmt.Sprintf("%c@%d", letter, e.Since))
	}
	return strings.Join(parts, " ")
}

func TestMemberships(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		history string
		at      int64
		company string // at that instant
		before  string
		until   string // of A joined at that instant
	}{
		{"", 5, "-", "", ""},
		{"A@5", 4, "A", "", ""},
		{"A@5", 5, "A", "", ""},
		{"A@5", 6, "A", "A@5", ""},
		{"A@5 B@7", 1, "A", "", "7"},
		{"A@5 B@7", 6, "A", "A@5", "7"},
		{"A@5 B@7", 7, "B", "A@5", "7"},
		{"A@5 B@7", 8, "B", "B@7", ""},
		{"A@5 A@6 -@9 A@11", 5, "A", "", "9"},
		{"A@5 A@6 -@9 A@11", 9, "-", "A@6", "9"},
		{"A@5 A@6 -@9 A@11", 10, "-", "-@9", ""},
		{"-@9 A@11", 1, "-", "", "9"},
		{"A@5 B@5", 5, "B", "", "5"}, // of one instant the greater stands
		{"B@5 A@5", 5, "B", "", "5"},
	} {
		m := history(t, c.history)
		of, ok := m.At(c.at)
		if got := show(directory.Memberships{{Company: of.Company}}); got != c.company+"@0" || ok != (c.company != "-") {
			t.Errorf("%s at %d: got %s, %v, want %s", c.history, c.at, got, ok, c.company)
		}
		before := ""
		if e, ok := m.Before(c.at); ok {
			before = show(directory.Memberships{e})
		}
		until := ""
		if at, ok := m.Until(c.at, firm('A')); ok {
			until = fmt.Sprint(at)
		}
		if before != c.before || until != c.until {
			t.Errorf("%s before %d: got %q until %q, want %q until %q", c.history, c.at, before, until, c.before, c.until)
		}
	}
}

func TestChangedBy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		history, told string
		want          bool
	}{
		{"", "A@1", true},
		{"", "-@1", true}, // the joining may come later
		{"A@5", "A@5", false},
		{"A@5", "A@9", false}, // as trackers tell it with every session
		{"A@5", "A@4", true},
		{"A@5", "B@9", true},
		{"A@5 B@7", "A@9", true},
		{"A@5 B@7", "A@6", false},
		{"A@5 B@7", "-@6", true},
		{"A@5 B@7", "C@7", true},
		{"A@5 C@7", "B@7", false},
	} {
		if got := history(t, c.history).ChangedBy(entry(t, c.told)); got != c.want {
			t.Errorf("%s, then %s: got %v, want %v", c.history, c.told, got, c.want)
		}
	}
	var most directory.Memberships
	for i := range int64(directory.MaxMemberships) {
		most = most.With(directory.Membership{Since: 10 + i, Company: firm('A' + byte(i%2))})
	}
	if most.ChangedBy(directory.Membership{Since: 9, Company: firm('Z')}) {
		t.Error("an entry older than all that are kept is told as news")
	}
	if newer := most.With(directory.Membership{Since: 99, Company: firm('Z')}); len(newer) != directory.MaxMemberships || newer[0].Since != 11 {
		t.Errorf("one more than the limit: got %s, want the newest %d", show(newer), directory.MaxMemberships)
	}
}

// TestMembershipsAreASet: the history is a function of the set of entries told,
// whatever their order and repetition, and telling one never changes another's
// copy of the history.
func TestMembershipsAreASet(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		told := rapid.SliceOf(rapid.Custom(func(t *rapid.T) directory.Membership {
			return directory.Membership{Since: rapid.Int64Range(0, 24).Draw(t, "since"), Company: firm(rapid.SampledFrom([]byte{0, 'A', 'B', 'C'}).Draw(t, "company"))}
		})).Draw(t, "told")
		shuffled := rapid.Permutation(append(told, told...)).Draw(t, "again")
		var m, n directory.Memberships
		for _, e := range told {
			had, shown := m, show(m)
			m = m.With(e)
			if show(had) != shown {
				t.Fatalf("%s became %s", shown, show(had))
			}
		}
		for _, e := range shuffled {
			n = n.With(e)
		}
		if show(m) != show(n) {
			t.Fatalf("told once in order: %s, else: %s", show(m), show(n))
		}
	})
}

func TestKindsNeverMix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := store.OpenMemory()
		log := found(t, memlog.Options{})
		g := start(t, log, memory(&m))
		defer g.stop()
		if err := g.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		person, firm := g.set(t, [2]string{"crm_id", "7"}), g.set(t, [2]string{"company_crm_id", "7"})
		addresses, err := g.Resolve(t.Context(), []directory.Request{person, firm})
		if err != nil || addresses[0].Customer == addresses[1].Customer ||
			addresses[0].Kind != logv1.CustomerKind_CUSTOMER_KIND_PERSON || addresses[1].Kind != logv1.CustomerKind_CUSTOMER_KIND_COMPANY {
			t.Fatalf("got %+v, %v; want a person and a company", addresses, err)
		}
		for _, a := range addresses {
			if kind, err := g.Kind(a.Customer); kind != a.Kind || err != nil {
				t.Errorf("kind of %s: got %v, %v, want %v", a.Customer, kind, err, a.Kind)
			}
		}
		_, before := decisions(t, log, 0)
		both := directory.Request{Identifiers: append(person.Identifiers, firm.Identifiers...)}
		for _, r := range []directory.Request{both, {Identifiers: firm.Identifiers}, {Identifiers: person.Identifiers, Kind: firm.Kind}, {}} {
			if _, err := g.Resolve(t.Context(), []directory.Request{r}); err == nil {
				t.Errorf("resolved %+v, a set of two kinds or of none", r)
			}
		}
		if _, after := decisions(t, log, 0); after != before {
			t.Errorf("%d messages were logged for sets that are none", after-before)
		}
	})
}

func TestGroupIDIsCompanyID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := store.OpenMemory()
		g := start(t, found(t, memlog.Options{}), memory(&m))
		defer g.stop()
		if err := g.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		group, err1 := g.Identify("group_id", " Acme")
		firm, err2 := g.Identify("company_id", "Acme ")
		if err1 != nil || err2 != nil || group.Type != "company_id" || group.Value != "Acme" || group.Hash != firm.Hash {
			t.Errorf("got %+v and %+v, %v, %v; want one identifier", group, firm, err1, err2)
		}
		a, err := g.Resolve(t.Context(), []directory.Request{g.set(t, [2]string{"group_id", "Acme"})})
		if err != nil {
			t.Fatal(err)
		}
		if c, ok, err := g.LookupHash(firm.Hash); c != a[0].Customer || !ok || err != nil {
			t.Errorf("by hash: got %s, %v, %v, want %s", c, ok, err, a[0].Customer)
		}
	})
}

// A person without joinings is asked of the store once, and where nobody joined
// anything not at all.
func TestMembershipsAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counted := &countingStore{Store: store.OpenMemory()}
		log := found(t, memlog.Options{})
		g := start(t, log, func(bool) (store.Store, error) { return counted, nil })
		defer g.stop()
		if err := g.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		addresses, err := g.Resolve(t.Context(), []directory.Request{
			g.set(t, [2]string{"user_id", "ann"}), g.set(t, [2]string{"user_id", "bob"}), g.set(t, [2]string{"company_id", "acme"}),
		})
		if err != nil {
			t.Fatal(err)
		}
		ann, bob, acme := addresses[0].Customer, addresses[1].Customer, addresses[2].Customer
		ask := func() (gets int) {
			before := counted.gets
			for range 5 {
				if _, ok, err := g.Company(bob, 7); ok || err != nil {
					t.Fatalf("company of bob: %v, %v; want none", ok, err)
				}
			}
			return counted.gets - before
		}
		if n := ask(); n != 0 {
			t.Errorf("%d reads where nobody joined anything, want none", n)
		}
		joining := []directory.Joining{{Person: ann, Membership: directory.Membership{Since: 5, Company: acme}}}
		for range 2 { // the second time it tells nothing new
			if err := g.Join(context.Background(), joining); err != nil {
				t.Fatal(err)
			}
		}
		if n := ask(); n != 1 {
			t.Errorf("%d reads of who has no company, want 1", n)
		}
		if c, ok, err := g.Company(ann, 1); c != acme || !ok || err != nil {
			t.Errorf("company of ann: got %s, %v, %v, want %s", c, ok, err, acme)
		}
		if made, _ := decisions(t, log, 2); len(made) != 4 {
			t.Errorf("%d decisions, want 3 customers and 1 joining", len(made))
		}
	})
}

// countingStore counts reads.
type countingStore struct {
	store.Store
	gets int
}

func (s *countingStore) View() store.View { return &countingView{s.Store.View(), s} }

type countingView struct {
	store.View
	s *countingStore
}

func (v *countingView) Get(key []byte) ([]byte, error) {
	v.s.gets++
	return v.View.Get(key)
}

// TestUndoneMembers undoes a merge of two who belonged to a company each: each
// belongs to his own again, also by what was told meanwhile.
func TestUndoneMembers(t *testing.T) {
	log := found(t, memlog.Options{})
	m := store.OpenMemory()
	g := start(t, log, memory(&m)).ready(t)
	defer g.stop()
	who := func(typ, value string) events.CustomerID {
		return g.resolve(t, g.set(t, [2]string{typ, value}))[0].Customer
	}
	ann, web, top := who("crm_id", "ann"), who("crm_id", "web"), who("crm_id", "top")
	a, b := who("company_id", "a"), who("company_id", "b")
	join := func(person, company events.CustomerID, since int64) {
		t.Helper()
		j := directory.Joining{Person: person, Membership: directory.Membership{Since: since, Company: company}}
		if err := g.Join(t.Context(), []directory.Joining{j}); err != nil {
			t.Fatal(err)
		}
	}
	merge := func(x, y events.CustomerID) uint64 {
		t.Helper()
		o, err := g.Merge(t.Context(), directory.MergeOrder{Customers: []events.CustomerID{x, y}})
		if err != nil || len(o.Decisions) != 1 {
			t.Fatalf("merge: %+v, %v", o, err)
		}
		return o.Decisions[0].Seq
	}
	undo := func(merge uint64) {
		t.Helper()
		if _, err := g.Split(t.Context(), directory.SplitOrder{Undo: merge}); err != nil {
			t.Fatal(err)
		}
	}
	belongs := func(person, want events.CustomerID, at int64) {
		t.Helper()
		if got, _, err := g.Company(person, at); got != want || err != nil {
			t.Errorf("company of %s at %d: got %s, %v; want %s", person, at, got, err, want)
		}
	}
	join(ann, b, 1)
	join(web, a, 5)
	first := merge(ann, web)
	belongs(ann, a, 5)
	second := merge(ann, top)
	undo(first)
	for _, at := range []int64{1, 5} {
		belongs(ann, b, at)
		belongs(top, b, at)
		belongs(web, a, at)
	}
	undo(second)
	third := merge(ann, web)
	join(ann, a, 7) // as the other told before: it is his own word now
	undo(third)
	belongs(ann, b, 6)
	belongs(ann, a, 7)
	belongs(top, events.CustomerID{}, 7)
}
