package directory_test

import (
	"context"
	"errors"
	"flag"
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

// TestLaws lets two gateways resolve random sets of few identifiers and follow
// random orders on one log whose appends fail, while they crash and come back
// with what their stores held. Then, whatever happened:
//
//   - folding the log into an empty store gives the rows of both stores;
//   - nothing was decided that must not be (see model), and what an order is
//     said to have come to is in the log;
//   - every gateway answers what the model says: who is who, who was who, who is
//     kept apart, what is in conflict, what was merged and split;
//   - who belongs to which company is the same for both and what the log says,
//     and every joining in it changed something;
//   - resolving every set and telling every joining again decides nothing in
//     the end.
func TestLaws(t *testing.T) {
	if testing.Short() {
		// A fifth is what rapid takes of itself.
		checks := flag.Lookup("rapid.checks").Value
		former := checks.String()
		t.Cleanup(func() { checks.Set(former) })
		checks.Set("40")
	}
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
			orders := rapid.SliceOfN(drawOrdering, 0, 4).Draw(t, "orders")
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
			forced := rapid.IntRange(0, 6).Draw(t, "forced")
			wg.Go(func() {
				for n, s := range sets {
					r := g.set(t, s...)
					// Forced, a customer may get a second user id; so that all
					// others are seen, no new one is told so.
					r.Force = n == forced && !slices.ContainsFunc(r.Identifiers, func(id directory.Identifier) bool {
						return id.Type == "user_id" || id.Type == "company_id"
					})
					resolveSurely(t, g, r)
					if n < len(orders) {
						orders[n].give(t, g)
					}
				}
				for n := 0; n < len(tellings); n += 3 {
					joinSurely(t, g, tellings[n:min(n+3, len(tellings))])
				}
			})
		}
		wg.Wait()
	}
	modelOf(t, log)
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
	_, seq := decisions(t, log, 2)
	for pass, news := 0, true; news; pass++ {
		if pass > len(told)+1 {
			t.Fatalf("%d joinings told %d times: still decided anew", len(told), pass)
		}
		joinSurely(t, gateways[0], told)
		before := seq
		_, seq = decisions(t, log, 2)
		news = seq != before
	}
	m := modelOf(t, log)
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
		m.check(g)
		m.checkMemberships(g)
		if got := g.QuarantinedCount(); got != rebuilt.QuarantinedCount() {
			t.Fatalf("gateway %d counts %d conflicts, folded anew %d", i, got, rebuilt.QuarantinedCount())
		}
		g.stop()
		if d := cmp.Diff(want, dump(t, stores[i])); d != "" {
			t.Fatalf("gateway %d (-folded anew +as it went):\n%s", i, d)
		}
	}
}

// checkRows: the customers' lists hold every identifier once, under its origin,
// and every such customer has a row.
func checkRows(t *rapid.T, rows []string) {
	bound, listed, customers := map[string]string{}, map[string]string{}, map[string]bool{}
	for _, row := range rows {
		key, value, _ := strings.Cut(row[2:], " = ")
		switch row[0] {
		case 'i':
			if blocked := value[34:] == "01"; !blocked {
				bound[key] = value[:32]
			}
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
// the log. Companies are whom they have become.
func (m *model) checkMemberships(g *gateway) {
	for _, person := range m.order {
		h := m.belonged(m.root(person))
		if len(h) == 0 {
			continue
		}
		instants := slices.Sorted(maps.Keys(h))
		instants = instants[max(0, len(instants)-directory.MaxMemberships):]
		for at := int64(-1); at <= 2*directory.MaxMemberships+1; at++ {
			want := h[instants[0]]
			for _, since := range instants {
				if since <= at {
					want = h[since]
				}
			}
			want = m.root(want)
			got, ok, err := g.Company(person, at)
			if got != want || ok != (want != events.CustomerID{}) || err != nil {
				m.t.Fatalf("company of %s at %d: got %s, %v, %v; want %s", person, at, got, ok, err, want)
			}
		}
	}
}

// ordering is an order about whom two identifiers name.
type ordering struct {
	kind string
	a, b [2]string
	n    int // which merge or conflict
}

var (
	drawName = rapid.Custom(func(t *rapid.T) [2]string {
		typ := rapid.SampledFrom([]string{"crm_id", "email", "anonymous_id", "device_id", "company_crm_id", "company_email"}).Draw(t, "type")
		return [2]string{typ, lawValue(typ, rapid.IntRange(0, 3).Draw(t, "value"))}
	})
	drawOrdering = rapid.Custom(func(t *rapid.T) ordering {
		return ordering{
			kind: rapid.SampledFrom([]string{"merge", "link", "undo", "undo", "split", "apart", "block", "release", "approve", "dismiss"}).Draw(t, "order"),
			a:    drawName.Draw(t, "a"), b: drawName.Draw(t, "b"), n: rapid.IntRange(0, 5).Draw(t, "n"),
		}
	})
)

// give gives the order until it is followed or refused. What it came to must be
// in the log as told, and the same order on paper must not change anything.
func (o ordering) give(t *rapid.T, g *gateway) {
	ids := g.set(t, o.a).Identifiers
	ids = append(ids, g.set(t, o.b).Identifiers...)
	for range 1000 {
		outcome, err := o.order(t, g, ids)
		switch {
		case errors.Is(err, directory.ErrNotReady) || errors.Is(err, events.ErrOverload):
			time.Sleep(10 * time.Millisecond)
			continue
		case err != nil && !final(err):
			t.Errorf("%+v: %v", o, err)
		}
		for _, d := range outcome.Decisions {
			if d.Seq == 0 || d.Seq > outcome.At {
				t.Errorf("%+v: decided at %d of %d", o, d.Seq, outcome.At)
				continue
			}
			o.checkLogged(t, g, d)
		}
		return
	}
	t.Errorf("%+v: never followed", o)
}

// final errors are the answer to an order.
func final(err error) bool {
	for _, e := range []error{
		directory.ErrUnknownCustomer, directory.ErrUnknownMerge, directory.ErrUnknownConflict, directory.ErrKinds, directory.ErrUndone,
		directory.ErrOneCustomer, directory.ErrNotHis, directory.ErrNothingLeft, directory.ErrBlockedHere, directory.ErrResolved,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (o ordering) order(t *rapid.T, g *gateway, ids []directory.Identifier) (directory.Outcome, error) {
	ctx := context.Background()
	var customers []events.CustomerID
	for _, id := range ids {
		c, _, err := g.LookupHash(id.Hash) // nobody: an unknown customer
		if err != nil {
			return directory.Outcome{}, err
		}
		customers = append(customers, c)
	}
	switch o.kind {
	case "merge":
		return g.Merge(ctx, directory.MergeOrder{Customers: customers})
	case "link":
		return g.Link(ctx, directory.LinkOrder{Identifiers: ids})
	case "undo":
		merges, err := g.Merges(directory.MergesQuery{Limit: 6})
		if err != nil || len(merges) == 0 {
			return directory.Outcome{}, err
		}
		return g.Split(ctx, directory.SplitOrder{Undo: merges[o.n%len(merges)].Seq})
	case "split":
		return g.Split(ctx, directory.SplitOrder{Customer: customers[0], Identifiers: ids[:1]})
	case "apart":
		return g.KeepApart(ctx, directory.ApartOrder{A: customers[0], B: customers[1]})
	case "block", "release":
		return g.Block(ctx, directory.BlockOrder{Identifier: ids[0], Release: o.kind == "release"})
	}
	open, err := g.Conflicts(directory.ConflictsQuery{Limit: 6})
	if err != nil || len(open) == 0 {
		return directory.Outcome{}, err
	}
	return g.ResolveConflict(ctx, directory.ResolveOrder{Conflict: open[o.n%len(open)].ID, Approve: o.kind == "approve"})
}

// checkLogged holds a merge or split that an order is said to have come to
// against the history.
func (o ordering) checkLogged(t *rapid.T, g *gateway, d directory.Decided) {
	if d.Kind != directory.DecidedMerged && d.Kind != directory.DecidedSplit {
		return
	}
	all, err := g.Merges(directory.MergesQuery{Before: d.Seq + 1, Limit: 1})
	if errors.Is(err, directory.ErrNotReady) {
		return
	}
	if err != nil || len(all) != 1 || all[0].Seq != d.Seq {
		t.Errorf("%+v: message %d of the history: %v, %v", o, d.Seq, all, err)
		return
	}
	from, to := all[0].Merged.GetLoser(), all[0].Merged.GetWinner()
	if s := all[0].Split; s != nil {
		from, to = s.From, s.To
	}
	if d.From != events.CustomerID(from) || d.To != events.CustomerID(to) {
		t.Errorf("%+v: message %d is told as %s to %s, and is %x to %x", o, d.Seq, d.From, d.To, from, to)
	}
}
