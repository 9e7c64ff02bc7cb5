package directory_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

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
// Customers are numbered in the order they are met.
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
	log     *memlog.Log
	store   *store.Memory
	g       *gateway
	seen    uint64 // of IDENTITY
	names   map[events.CustomerID]string
	values  map[directory.Hash][2]string
	order   []directory.Hash
	quarant []string
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
		r.EventID = fmt.Sprint(n)
		for _, id := range r.Identifiers {
			if _, ok := p.values[id.Hash]; !ok {
				p.values[id.Hash] = [2]string{id.Type, id.Value}
				p.order = append(p.order, id.Hash)
			}
		}
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
	for i, line := range lines {
		at := "then"
		if addresses[i].At == p.seen {
			at = "before"
		}
		fmt.Fprintf(out, "%s → %s %s\n", line, p.name(addresses[i].Customer[:]), at)
	}
	for _, d := range made {
		fmt.Fprintf(out, "  %s\n", p.decision(d))
	}
	if got := last - p.seen; got > 1 {
		t.Errorf("%d messages for one call, want at most 1", got)
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
		p.quarant = append(p.quarant, p.name(q.Stronger)+" "+p.name(q.Weaker))
		return s
	}
	return fmt.Sprintf("%T", d.Decision)
}

func (p *play) graph(t *testing.T, out *strings.Builder) {
	held := map[string][]string{}
	for _, h := range p.order {
		v := p.values[h]
		c, ok, err := p.g.Lookup(v[0], v[1])
		if err != nil || !ok {
			t.Fatalf("look up %v: %v, %v", v, ok, err)
		}
		held[p.name(c[:])] = append(held[p.name(c[:])], v[0]+"="+v[1])
	}
	names := make([]string, 0, len(p.names))
	for _, n := range p.names {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b string) int { return len(a)*1000 + int(a[len(a)-1]) - len(b)*1000 - int(b[len(b)-1]) })
	for _, n := range names {
		fmt.Fprintf(out, "%s: %s\n", n, strings.Join(held[n], " "))
	}
	if got, want := p.g.QuarantinedCount(), uint64(len(p.quarant)); got != want {
		t.Errorf("quarantined count %d, want %d", got, want)
	}
	for _, q := range p.quarant {
		fmt.Fprintf(out, "conflict %s\n", q)
	}
}
