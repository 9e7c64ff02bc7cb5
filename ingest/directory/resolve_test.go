package directory_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/projections/store"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// TestResolver plays testdata/resolver/*.txt. Commands:
//
//	events    each line is one event's identifiers, type=value …; prints whose
//	          it is and what was decided for it
//	batch     the same, all lines in one call
//	graph     every customer with its identifiers, and the conflicts
//	restart   rebuilds the directory from the log
//
//	force     as events, each merging whomever it names
//	merge, undo, split, link, apart, block, release, approve, dismiss
//	          an order about what the line names: customers, a merge,
//	          identifiers, a conflict by its place in what graph prints; first
//	          on paper and then in earnest
//
// Customers and merges are numbered in the order they are met.
func TestResolver(t *testing.T) {
	datadriven.Walk(t, "testdata/resolver", func(t *testing.T, path string) {
		p := newPlay(t)
		datadriven.RunTest(t, path, p.run)
		if err := p.g.stop(); err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

type play struct {
	log    *memlog.Log
	store  *store.Memory
	g      *gateway
	seen   uint64 // of IDENTITY
	names  map[events.CustomerID]string
	values map[directory.Hash][2]string
	order  []directory.Hash
	merges []uint64 // M1 …
	force  bool
}

func newPlay(t *testing.T) *play {
	p := &play{
		log: found(t, memlog.Options{}), store: store.OpenMemory(), seen: 2,
		names: map[events.CustomerID]string{}, values: map[directory.Hash][2]string{},
	}
	p.begin(t)
	return p
}

func (p *play) begin(t *testing.T) {
	p.g = start(t, p.log, memory(&p.store))
	if err := p.g.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (p *play) run(t *testing.T, d *datadriven.TestData) string {
	var out strings.Builder
	switch d.Cmd {
	case "events":
		for line := range strings.Lines(d.Input) {
			p.resolve(t, &out, []string{strings.TrimSpace(line)})
		}
	case "batch":
		p.resolve(t, &out, strings.Split(strings.TrimSpace(d.Input), "\n"))
	case "force":
		p.force = true
		for line := range strings.Lines(d.Input) {
			p.resolve(t, &out, []string{strings.TrimSpace(line)})
		}
		p.force = false
	case "merge", "undo", "split", "link", "apart", "block", "release", "approve", "dismiss":
		p.obey(t, &out, d)
	case "graph":
		p.graph(t, &out)
	case "restart":
		if err := p.g.stop(); err != nil {
			t.Fatalf("run: %v", err)
		}
		p.store = store.OpenMemory()
		p.begin(t)
		p.graph(t, &out)
	default:
		d.Fatalf(t, "unknown command %q", d.Cmd)
	}
	return out.String()
}

func (p *play) resolve(t *testing.T, out *strings.Builder, lines []string) {
	var requests []directory.Request
	for n, line := range lines {
		var pairs [][2]string
		for field := range strings.FieldsSeq(line) {
			typ, value, _ := strings.Cut(field, "=")
			pairs = append(pairs, [2]string{typ, value})
		}
		r := p.g.set(t, pairs...)
		r.EventID, r.Force = fmt.Sprint(n), p.force
		p.meet(r.Identifiers)
		requests = append(requests, r)
	}
	addresses, err := p.g.Resolve(t.Context(), requests)
	if err != nil {
		t.Fatal(err)
	}
	made, last := decisions(t, p.log, p.seen)
	for _, d := range made {
		if c := d.GetCreated(); c != nil {
			p.name(c.Customer)
		}
	}
	rules := p.rules(t, p.seen, last)
	for i, line := range lines {
		at := "then"
		if addresses[i].At == p.seen {
			at = "before"
		}
		if addresses[i].Blocked {
			fmt.Fprintf(out, "%s → nobody %s\n", line, at)
			continue
		}
		fmt.Fprintf(out, "%s → %s %s\n", line, p.name(addresses[i].Customer[:]), at)
	}
	for _, d := range made {
		fmt.Fprintf(out, "  %s\n", p.decision(d))
	}
	for _, r := range rules {
		fmt.Fprintf(out, "  %s\n", r)
	}
	if got := int(last-p.seen) - len(rules); got > 1+len(rules) {
		t.Errorf("%d messages of decisions for one call with %d rules, want at most %d", got, len(rules), 1+len(rules))
	}
	p.seen = last
	again, err := p.g.Resolve(t.Context(), requests)
	if err != nil {
		t.Fatal(err)
	}
	if more, _ := decisions(t, p.log, p.seen); len(more) > 0 {
		t.Errorf("%v again: decided once more: %v", lines, more)
	}
	// The last set was decided with all others in sight.
	if got, want := again[len(again)-1].Customer, addresses[len(again)-1].Customer; got != want {
		t.Errorf("%v again: %s, the first time %s", lines, p.name(got[:]), p.name(want[:]))
	}
}

func (p *play) meet(ids []directory.Identifier) {
	for _, id := range ids {
		if _, ok := p.values[id.Hash]; !ok {
			p.values[id.Hash] = [2]string{id.Type, id.Value}
			p.order = append(p.order, id.Hash)
		}
	}
}

// merge is the id of the n-th merge, or one that no merge has.
func (p *play) merge(n int) uint64 {
	if n > len(p.merges) {
		return 1 << 40
	}
	return p.merges[n-1]
}

// customer finds one by its number.
func (p *play) customer(t *testing.T, name string) events.CustomerID {
	for c, n := range p.names {
		if n == name {
			return c
		}
	}
	t.Fatalf("no customer %s", name)
	return events.CustomerID{}
}

func (p *play) named(t *testing.T, name string, f func(events.CustomerID) (events.CustomerID, error)) string {
	c, err := f(p.customer(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return p.name(c[:])
}

// obey gives an order on paper and in earnest; both come to the same.
func (p *play) obey(t *testing.T, out *strings.Builder, d *datadriven.TestData) {
	var customers []events.CustomerID
	var ids []directory.Identifier
	var numbers []int
	for word := range strings.FieldsSeq(d.Input) {
		switch n := 0; {
		case strings.Contains(word, "="):
			typ, value, _ := strings.Cut(word, "=")
			ids = append(ids, p.g.set(t, [2]string{typ, value}).Identifiers...)
		case strings.HasPrefix(word, "C"):
			customers = append(customers, p.customer(t, word))
		default:
			fmt.Sscanf(strings.TrimPrefix(word, "M"), "%d", &n)
			numbers = append(numbers, n)
		}
	}
	p.meet(ids)
	ctx := t.Context()
	cause := directory.Cause{Reason: "because", Actor: "ann"}
	give := func(dry bool) (directory.Outcome, error) {
		switch d.Cmd {
		case "merge":
			return p.g.Merge(ctx, directory.MergeOrder{Customers: customers, Cause: cause, DryRun: dry})
		case "undo":
			return p.g.Split(ctx, directory.SplitOrder{Undo: p.merge(numbers[0]), Cause: cause, DryRun: dry})
		case "split":
			return p.g.Split(ctx, directory.SplitOrder{Customer: customers[0], Identifiers: ids, Cause: cause, DryRun: dry})
		case "link":
			return p.g.Link(ctx, directory.LinkOrder{Identifiers: ids, Cause: cause, DryRun: dry})
		case "apart":
			return p.g.KeepApart(ctx, directory.ApartOrder{A: customers[0], B: customers[1], Cause: cause, DryRun: dry})
		case "block", "release":
			return p.g.Block(ctx, directory.BlockOrder{Identifier: ids[0], Release: d.Cmd == "release", Cause: cause, DryRun: dry})
		}
		open, err := p.g.Conflicts(directory.ConflictsQuery{State: directory.ConflictOpen})
		if err != nil || len(open) < numbers[0] {
			t.Fatalf("%d conflicts, %v", len(open), err)
		}
		return p.g.ResolveConflict(ctx, directory.ResolveOrder{
			Conflict: open[len(open)-numbers[0]].ID, Approve: d.Cmd == "approve", Cause: cause, DryRun: dry,
		})
	}
	dry, dryErr := give(true)
	if _, last := decisions(t, p.log, p.seen); last != p.seen {
		t.Fatalf("a dry run wrote message %d", last)
	}
	first := ""
	if d.Cmd == "approve" || d.Cmd == "dismiss" {
		open, _ := p.g.Conflicts(directory.ConflictsQuery{State: directory.ConflictOpen})
		first = open[len(open)-numbers[0]].ID
	}
	outcome, err := give(false)
	if fmt.Sprint(err) != fmt.Sprint(dryErr) && !strings.Contains(fmt.Sprint(err), "customer") {
		t.Errorf("in earnest: %v; on paper: %v", err, dryErr)
	}
	if err != nil {
		text := err.Error()
		for c, n := range p.names {
			text = strings.ReplaceAll(text, c.String(), n)
		}
		for n, seq := range p.merges {
			text = strings.ReplaceAll(text, fmt.Sprintf("merge %d:", seq), fmt.Sprintf("M%d:", n+1))
		}
		fmt.Fprintf(out, "error: %s\n", text)
		return
	}
	made, last := decisions(t, p.log, p.seen)
	for _, made := range made {
		fmt.Fprintf(out, "  %s\n", p.decision(made))
	}
	for _, r := range p.rules(t, p.seen, last) {
		fmt.Fprintf(out, "  %s\n", r)
	}
	if first != "" {
		c, err := p.g.Conflict(first)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(out, "  conflict is %s by %s\n", c.State, c.Resolution.GetActor())
	}
	if len(dry.Decisions) != len(outcome.Decisions) {
		t.Errorf("on paper %d decisions, in earnest %d", len(dry.Decisions), len(outcome.Decisions))
		return
	}
	for i, want := range outcome.Decisions {
		got := dry.Decisions[i]
		if want.Seq <= p.seen || want.Seq > last {
			t.Errorf("decision %d is said to be message %d of %d to %d", i, want.Seq, p.seen+1, last)
		}
		if want.Kind == directory.DecidedSplit && want.Undoes == 0 {
			want.To = events.CustomerID{}
		}
		want.Seq = 0
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("decision %d (-in earnest +on paper):\n%s", i, diff)
		}
	}
	p.seen = last
}

func (p *play) name(id []byte) string {
	c := events.CustomerID(id)
	if p.names[c] == "" {
		p.names[c] = fmt.Sprintf("C%d", len(p.names)+1)
	}
	return p.names[c]
}

func (p *play) id(h *logv1.HashedIdentifier) string {
	v, ok := p.values[directory.Hash(h.Hash)]
	if !ok || v[0] != h.Type {
		return fmt.Sprintf("%s=?%x", h.Type, h.Hash)
	}
	return v[0] + "=" + v[1]
}

func (p *play) ids(hs []*logv1.HashedIdentifier) string {
	var s []string
	for _, h := range hs {
		s = append(s, p.id(h))
	}
	return strings.Join(s, " ")
}

func (p *play) decision(d *logv1.Decision) string {
	switch d := d.Decision.(type) {
	case *logv1.Decision_Created:
		return fmt.Sprintf("created %s: %s", p.name(d.Created.Customer), p.ids(d.Created.Identifiers))
	case *logv1.Decision_Linked:
		return fmt.Sprintf("linked %s: %s; %s vouches", p.name(d.Linked.Customer), p.ids(d.Linked.Identifiers), p.id(d.Linked.Voucher))
	case *logv1.Decision_Rebound:
		return fmt.Sprintf("rebound %s: %s to %s", p.id(d.Rebound.Identifier), p.name(d.Rebound.From), p.name(d.Rebound.To))
	case *logv1.Decision_Quarantined:
		q := d.Quarantined
		s := fmt.Sprintf("quarantined %s (%s) over %s (%s): %s", p.name(q.Stronger), p.id(q.StrongerIdentifier),
			p.name(q.Weaker), p.id(q.WeakerIdentifier), q.Rule)
		return s
	case *logv1.Decision_KeptApart:
		return fmt.Sprintf("kept apart %s and %s by %s", p.name(d.KeptApart.A), p.name(d.KeptApart.B), d.KeptApart.Why.Actor)
	case *logv1.Decision_Blocked:
		return fmt.Sprintf("blocked %s, released %v", p.id(d.Blocked.Identifier), d.Blocked.Released)
	}
	return fmt.Sprintf("%T", d.Decision)
}

// rules are the rules of the log in (after, to].
func (p *play) rules(t *testing.T, after, to uint64) (all []string) {
	for seq := after + 1; seq <= to; seq++ {
		switch r := identity(t, p.log, seq).GetRule().GetRule().(type) {
		case *logv1.Rule_Merged:
			p.merges = append(p.merges, seq)
			all = append(all, fmt.Sprintf("merged %s into %s: %s (M%d)", p.name(r.Merged.Loser), p.name(r.Merged.Winner), r.Merged.Why.Rule, len(p.merges)))
		case *logv1.Rule_Split:
			var moved []string
			for h := range slices.Chunk(r.Split.Hashes, 16) {
				v := p.values[directory.Hash(h)]
				moved = append(moved, v[0]+"="+v[1])
			}
			slices.Sort(moved)
			all = append(all, fmt.Sprintf("split %s from %s: %s", p.name(r.Split.To), p.name(r.Split.From), strings.Join(moved, " ")))
		}
	}
	return all
}

func (p *play) graph(t *testing.T, out *strings.Builder) {
	held := map[string][]string{}
	for _, h := range p.order {
		v := p.values[h]
		c, ok, err := p.g.Lookup(v[0], v[1])
		if err != nil {
			t.Fatalf("look up %v: %v", v, err)
		}
		if !ok {
			fmt.Fprintf(out, "nobody: %s=%s\n", v[0], v[1])
			continue
		}
		held[p.name(c[:])] = append(held[p.name(c[:])], v[0]+"="+v[1])
	}
	names := make([]string, 0, len(p.names))
	for _, n := range p.names {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b string) int { return len(a)*1000 + int(a[len(a)-1]) - len(b)*1000 - int(b[len(b)-1]) })
	for _, n := range names {
		if root := p.named(t, n, p.g.Root); root != n {
			fmt.Fprintf(out, "%s: is %s\n", n, root)
			continue
		}
		fmt.Fprintf(out, "%s: %s\n", n, strings.Join(held[n], " "))
	}
	open, err := p.g.Conflicts(directory.ConflictsQuery{State: directory.ConflictOpen})
	if err != nil {
		t.Fatalf("conflicts: %v", err)
	}
	if got, want := p.g.QuarantinedCount(), uint64(len(open)); got != want {
		t.Errorf("quarantined count %d, want %d", got, want)
	}
	for _, c := range slices.Backward(open) {
		fmt.Fprintf(out, "conflict %s %s\n", p.name(c.Told.Stronger), p.name(c.Told.Weaker))
	}
}

// TestLimitedDevices sets a limit of devices: one more is a customer of its own
// and stays one, as with any other type.
func TestLimitedDevices(t *testing.T) {
	log := found(t, memlog.Options{})
	m := store.OpenMemory()
	g := start(t, log, memory(&m)).ready(t)
	defer g.stop()
	limit := 2
	types, err := directory.NewTypes([]directory.TypeSetting{{Name: "device_id", Limit: &limit}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.PublishTypes(t.Context(), types, nil); err != nil {
		t.Fatal(err)
	}
	user := [2]string{"user_id", "u"}
	c := g.resolve(t, g.set(t, user, [2]string{"device_id", "1"}, [2]string{"device_id", "2"}))[0].Customer
	for range 2 {
		got := g.resolve(t, g.set(t, user, [2]string{"device_id", "3"}))[0]
		if got.Customer != c || got.Others != 1<<1 {
			t.Errorf("got %+v, want customer %s, the device another's", got, c)
		}
	}
	third, ok, err := g.Lookup("device_id", "3")
	if !ok || third == c || err != nil {
		t.Errorf("device 3: got %s, %v, %v; want another than %s", third, ok, err, c)
	}
	conflicts, err := g.Conflicts(directory.ConflictsQuery{})
	if len(conflicts) != 1 || conflicts[0].Told.Rule != "limit" || err != nil {
		t.Errorf("conflicts: got %v, %v; want one by its limit", conflicts, err)
	}
}
