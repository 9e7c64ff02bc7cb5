package directory_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/projections/store"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// inBubble hides the test's deadline from rapid: it is the outer world's.
type inBubble struct{ *testing.T }

// deafLog has readers that hear nothing for a while, without an error.
type deafLog struct {
	events.Log
	deaf atomic.Bool
}

func (l *deafLog) Read(ctx context.Context, s events.Stream, from uint64) (events.Reader, error) {
	r, err := l.Log.Read(ctx, s, from)
	return &deafReader{r, &l.deaf}, err
}

type deafReader struct {
	events.Reader
	deaf *atomic.Bool
}

func (r *deafReader) Next(ctx context.Context) (events.Message, error) {
	m, err := r.Reader.Next(ctx)
	if err == nil && r.deaf.Load() {
		<-ctx.Done()
		return events.Message{}, ctx.Err()
	}
	return m, err
}

// TestLaws lets two gateways resolve random sets of few identifiers on one log
// whose appends fail, while they crash and come back with what their stores
// held. Then, whatever happened:
//
//   - folding the log into an empty store gives the rows of both stores;
//   - every identifier was created or linked once, and is rebound only from
//     its owner;
//   - no customer holds two user ids or company ids, no pair is quarantined
//     twice, and persons and companies share nothing;
//   - who belongs to which company is the same for both and what the log says,
//     and every joining in it changed something;
//   - resolving every set and telling every joining again decides nothing in
//     the end.
func TestLaws(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { rapid.Check(inBubble{t}, checkLaws) })
}

var (
	lawTypes        = []string{"user_id", "crm_id", "email", "anonymous_id", "device_id", "guest"}
	lawCompanyTypes = []string{"company_id", "group_id", "company_crm_id", "company_email"}
)

func lawValue(typ string, n int) string {
	if strings.HasSuffix(typ, "email") {
		return fmt.Sprintf("u%d@x.org", n)
	}
	return fmt.Sprint("v", n)
}

// What becomes of a commit when the process is killed in it.
const (
	alive = iota
	killedBefore
	killedAfter
)

var errKilled = errors.New("killed")

func checkLaws(t *rapid.T) {
	var mu sync.Mutex
	script := rapid.SliceOfN(rapid.SampledFrom([]memlog.Fault{
		{}, {Err: events.ErrUnknown}, {Err: events.ErrUnknown, Stored: true}, {Err: events.ErrOverload},
	}), 0, 30).Draw(t, "faults")
	on := false
	log := memlog.New(memlog.Options{Faults: func(op memlog.Op) memlog.Fault {
		mu.Lock()
		defer mu.Unlock()
		if !on || op.Kind != memlog.OpAppend || len(script) == 0 {
			return memlog.Fault{}
		}
		f := script[0]
		script = script[1:]
		return f
	}})
	foundOn(t, log)
	on = true

	type set [][2]string
	drawSet := rapid.Custom(func(t *rapid.T) set {
		var s set
		types := lawTypes
		if rapid.IntRange(0, 2).Draw(t, "kind") == 0 {
			types = lawCompanyTypes
		}
		for range rapid.IntRange(1, 4).Draw(t, "n") {
			typ := rapid.SampledFrom(types).Draw(t, "type")
			s = append(s, [2]string{typ, lawValue(typ, rapid.IntRange(0, 3).Draw(t, "value"))})
		}
		return s
	})
	drawTelling := rapid.Custom(func(t *rapid.T) telling {
		return telling{
			person:  rapid.SampledFrom([]string{"a", "b"}).Draw(t, "person"),
			company: rapid.SampledFrom([]string{"", "x", "y", "z"}).Draw(t, "company"),
			since:   rapid.Int64Range(0, 2*directory.MaxMemberships).Draw(t, "since"),
		}
	})
	stores := []*store.Memory{store.OpenMemory(), store.OpenMemory()}
	var ways [2]atomic.Int32 // how a store takes a commit
	for i, m := range stores {
		m.Fault = func(int) (bool, error) {
			switch ways[i].Load() {
			case killedAfter:
				return true, errKilled
			case killedBefore:
				return false, errKilled
			}
			return true, nil
		}
	}
	gateways := []*gateway{start(t, log, memory(&stores[0])), start(t, log, memory(&stores[1]))}
	var all []set
	var told []telling
	for range rapid.IntRange(1, 6).Draw(t, "rounds") {
		var wg sync.WaitGroup
		for i, g := range gateways {
			sets := rapid.SliceOfN(drawSet, 1, 5).Draw(t, "sets")
			tellings := rapid.SliceOfN(drawTelling, 0, 12).Draw(t, "joinings")
			all, told = append(all, sets...), append(told, tellings...)
			crash := rapid.IntRange(0, 3).Draw(t, "crash") == 0
			lost := crash && rapid.Bool().Draw(t, "lost")
			if crash {
				ways[i].Store(killedAfter)
				if lost {
					ways[i].Store(killedBefore)
				}
				g.stop()
				ways[i].Store(alive)
				g = start(t, log, memory(&stores[i]))
				gateways[i] = g
			}
			wg.Go(func() {
				for _, s := range sets {
					resolveSurely(t, g, g.set(t, s...))
				}
				for n := 0; n < len(tellings); n += 3 {
					joinSurely(t, g, tellings[n:min(n+3, len(tellings))])
				}
			})
		}
		wg.Wait()
	}
	before, _ := decisions(t, log, 2)
	checkDecisions(t, before)
	for _, g := range gateways {
		for _, s := range all {
			resolveSurely(t, g, g.set(t, s...))
		}
	}
	// A set may have been superseded by later ones (a device that changed
	// hands), so one more look may rebind; the look after that may not, once
	// the gateway has read what the other decided.
	_, settled := decisions(t, log, 2)
	if err := gateways[0].WaitApplied(context.Background(), settled); err != nil {
		t.Fatalf("follow: %v", err)
	}
	for _, s := range all {
		first := resolveSurely(t, gateways[0], gateways[0].set(t, s...))
		_, seq := decisions(t, log, 2)
		second := resolveSurely(t, gateways[0], gateways[0].set(t, s...))
		if _, again := decisions(t, log, 2); again != seq || first.Customer != second.Customer {
			t.Fatalf("%v twice: %s and %s, %d messages more", s, first.Customer, second.Customer, again-seq)
		}
	}
	// What was passed over as told already may be news by now. The entry of an
	// instant only ever grows, so it ends.
	final, seq := decisions(t, log, 2)
	for pass, news := 0, true; news; pass++ {
		if pass > len(told)+1 {
			t.Fatalf("%d joinings told %d times: still decided anew", len(told), pass)
		}
		joinSurely(t, gateways[0], told)
		before := seq
		final, seq = decisions(t, log, 2)
		news = seq != before
	}
	checkDecisions(t, final)
	fresh := store.OpenMemory()
	rebuilt := start(t, log, memory(&fresh))
	if err := rebuilt.Wait(context.Background()); err != nil {
		t.Fatalf("rebuild: %v", err)
	}
	rebuilt.stop()
	want := dump(t, fresh)
	checkRows(t, want)
	_, end := decisions(t, log, 2)
	for i, g := range gateways {
		if err := g.WaitApplied(context.Background(), end); err != nil {
			t.Fatalf("follow: %v", err)
		}
		checkMemberships(t, g, final)
		if got := g.QuarantinedCount(); got != rebuilt.QuarantinedCount() {
			t.Fatalf("gateway %d counts %d conflicts, folded anew %d", i, got, rebuilt.QuarantinedCount())
		}
		g.stop()
		if d := cmp.Diff(want, dump(t, stores[i])); d != "" {
			t.Fatalf("gateway %d (-folded anew +as it went):\n%s", i, d)
		}
	}
}

// checkRows: the customers' lists hold every identifier once, where it is
// bound, and every such customer has a row.
func checkRows(t *rapid.T, rows []string) {
	bound, listed, customers := map[string]string{}, map[string]string{}, map[string]bool{}
	for _, row := range rows {
		key, value, _ := strings.Cut(row[2:], " = ")
		switch row[0] {
		case 'i':
			bound[key] = value[:32]
		case 'c':
			customers[key] = true
		case 'm':
			if other, ok := listed[key[32:]]; ok {
				t.Fatalf("identifier %s is listed for %s and %s", key[32:], other, key[:32])
			}
			listed[key[32:]] = key[:32]
		}
	}
	if d := cmp.Diff(bound, listed); d != "" {
		t.Fatalf("(-bound +listed):\n%s", d)
	}
	for _, c := range bound {
		if !customers[c] {
			t.Fatalf("customer %s has identifiers and no row", c)
		}
	}
}

// resolveSurely tries until it is told.
func resolveSurely(t *rapid.T, g *gateway, r directory.Request) directory.Address {
	for range 1000 {
		a, err := g.Resolve(context.Background(), []directory.Request{r})
		if err == nil {
			return a[0]
		}
		if !errors.Is(err, directory.ErrNotReady) && !errors.Is(err, events.ErrOverload) {
			t.Errorf("resolve: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("never resolved")
	return directory.Address{}
}

// telling is that somebody belongs to a company, or to none.
type telling struct {
	person, company string
	since           int64
}

func (told telling) joining(t *rapid.T, g *gateway) directory.Joining {
	person := resolveSurely(t, g, g.set(t, [2]string{"crm_id", told.person}))
	j := directory.Joining{Person: person.Customer, Membership: directory.Membership{Since: told.since}}
	if told.company != "" {
		j.Company = resolveSurely(t, g, g.set(t, [2]string{"company_id", told.company})).Customer
	}
	return j
}

// joinSurely tries until it is told.
func joinSurely(t *rapid.T, g *gateway, told []telling) {
	var joinings []directory.Joining
	for _, j := range told {
		joinings = append(joinings, j.joining(t, g))
	}
	for range 1000 {
		err := g.Join(context.Background(), joinings)
		if err == nil {
			return
		}
		if !errors.Is(err, directory.ErrNotReady) && !errors.Is(err, events.ErrOverload) {
			t.Errorf("join: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("never joined")
}

// checkMemberships holds what a directory answers against a plain reading of
// the log.
func checkMemberships(t *rapid.T, g *gateway, all []*logv1.Decision) {
	history := map[events.CustomerID]map[int64]events.CustomerID{}
	for _, d := range all {
		j := d.GetJoined()
		if j == nil {
			continue
		}
		person := events.CustomerID(j.Person)
		if history[person] == nil {
			history[person] = map[int64]events.CustomerID{}
		}
		var company events.CustomerID
		copy(company[:], j.Company)
		if had, ok := history[person][j.Since]; !ok || had.Compare(company) < 0 {
			history[person][j.Since] = company
		}
	}
	for person, h := range history {
		instants := slices.Sorted(maps.Keys(h))
		instants = instants[max(0, len(instants)-directory.MaxMemberships):]
		for at := int64(-1); at <= 2*directory.MaxMemberships+1; at++ {
			want := h[instants[0]]
			for _, since := range instants {
				if since <= at {
					want = h[since]
				}
			}
			got, ok, err := g.Company(person, at)
			if got != want || ok != (want != events.CustomerID{}) || err != nil {
				t.Fatalf("company of %s at %d: got %s, %v, %v; want %s", person, at, got, ok, err, want)
			}
		}
	}
}

// checkDecisions holds the log's decisions against what they may be, by a plain
// reading of them.
func checkDecisions(t *rapid.T, all []*logv1.Decision) {
	type id string
	owner, users, pairs := map[id]id{}, map[id]id{}, map[[2]id]bool{}
	companies := map[id]bool{}
	history := map[id]map[int64]id{}
	bind := func(customer []byte, ids []*logv1.HashedIdentifier) {
		for _, h := range ids {
			if o, ok := owner[id(h.Hash)]; ok {
				t.Fatalf("identifier %x of %x was bound again, to %x", h.Hash, o, customer)
			}
			owner[id(h.Hash)] = id(customer)
			if events.NamesCompany(h.Type) != companies[id(customer)] {
				t.Fatalf("%s was bound to %x, a company: %v", h.Type, customer, companies[id(customer)])
			}
			if h.Type == "user_id" || h.Type == "company_id" {
				if u, ok := users[id(customer)]; ok {
					t.Fatalf("customer %x has user ids %x and %x", customer, u, h.Hash)
				}
				users[id(customer)] = id(h.Hash)
			}
		}
	}
	for _, d := range all {
		switch d := d.Decision.(type) {
		case *logv1.Decision_Created:
			companies[id(d.Created.Customer)] = d.Created.Kind == logv1.CustomerKind_CUSTOMER_KIND_COMPANY
			bind(d.Created.Customer, d.Created.Identifiers)
		case *logv1.Decision_Linked:
			if owner[id(d.Linked.Voucher.GetHash())] != id(d.Linked.Customer) {
				t.Fatalf("linked to %x; who vouches is %x's", d.Linked.Customer, owner[id(d.Linked.Voucher.GetHash())])
			}
			bind(d.Linked.Customer, d.Linked.Identifiers)
		case *logv1.Decision_Rebound:
			r := d.Rebound
			if owner[id(r.Identifier.Hash)] != id(r.From) || !directory.Weak(r.Identifier.Type) {
				t.Fatalf("%s %x of %x was rebound from %x", r.Identifier.Type, r.Identifier.Hash, owner[id(r.Identifier.Hash)], r.From)
			}
			owner[id(r.Identifier.Hash)] = id(r.To)
		case *logv1.Decision_Quarantined:
			a, b := id(d.Quarantined.Stronger), id(d.Quarantined.Weaker)
			if a == b || pairs[[2]id{a, b}] || pairs[[2]id{b, a}] {
				t.Fatalf("%x and %x were quarantined again", a, b)
			}
			pairs[[2]id{a, b}] = true
			if companies[a] != companies[b] {
				t.Fatalf("%x and %x are of two kinds and were quarantined", a, b)
			}
		case *logv1.Decision_Joined:
			j := d.Joined
			if companies[id(j.Person)] || len(j.Company) > 0 && !companies[id(j.Company)] {
				t.Fatalf("%x joined %x", j.Person, j.Company)
			}
			if history[id(j.Person)] == nil {
				history[id(j.Person)] = map[int64]id{}
			}
			h := history[id(j.Person)]
			if had, ok := h[j.Since]; ok && had >= id(j.Company) {
				t.Fatalf("%x joined %x at %d, when it joined %x", j.Person, j.Company, j.Since, had)
			}
			h[j.Since] = id(j.Company)
		}
	}
}
