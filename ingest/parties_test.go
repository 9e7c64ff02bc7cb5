package ingest_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/datadriven"
	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/directory"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// TestParties plays testdata/parties/*.txt. Commands:
//
//	accept    each line is an event, all of one call; prints what was logged
//	folded    each line is an event id and, as role:type=value, who holds a
//	          copy of it by what is folded of its subject; best=id@n is the
//	          correction that stands
//	companies each line is a person as type=value; prints the companies
//	merge     each line is a customer as type=value: they are one from here on
//	undo      the merge of that number is undone
//
// An event is its id, its type, and fields: @n is the hour it occurred at,
// group, referee, referrer, previous and force (as type:value), void, corrects
// and issued, any other is an identifier.
func TestParties(t *testing.T) {
	datadriven.Walk(t, "testdata/parties", func(t *testing.T, path string) {
		synctest.Test(t, func(t *testing.T) {
			p := &parties{names: map[events.CustomerID]string{}, hashes: map[string]string{}, folded: map[string][]string{}}
			p.rig = start(t, found(t, memlog.Options{}, events.Settings{}), func(o *ingest.Options) { o.Copies = p.copies })
			defer p.rig.stop()
			datadriven.RunTest(t, path, p.run)
		})
	})
}

type parties struct {
	rig    *rig
	seen   map[int]uint64    // partition to the sequence printed last
	told   [][2]string       // identifiers, in the order they were told
	hashes map[string]string // to type=value
	names  map[events.CustomerID]string
	folded map[string][]string // event id to role:type=value
	merges []uint64            // their sequences
}

func (p *parties) run(t *testing.T, d *datadriven.TestData) string {
	var out strings.Builder
	switch d.Cmd {
	case "accept":
		b := batch()
		order := map[string]int{}
		for line := range strings.Lines(d.Input) {
			e := p.event(t, strings.Fields(line))
			order[e.Id] = len(order)
			b.Drafts = append(b.Drafts, ingest.Draft{Event: e})
		}
		result := p.rig.accept(t, b)
		p.show(t, &out, order)
		if result.Duplicates > 0 {
			fmt.Fprintf(&out, "%d duplicates\n", result.Duplicates)
		}
		for _, r := range result.Rejected {
			fmt.Fprintf(&out, "refused %s: %s %s: %s\n", r.MessageID, r.Code, r.Field, r.Message)
		}
	case "folded":
		clear(p.folded)
		for line := range strings.Lines(d.Input) {
			fields := strings.Fields(line)
			p.folded[fields[0]] = fields[1:]
		}
	case "companies":
		for line := range strings.Lines(d.Input) {
			typ, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			person, _, err1 := p.rig.directory.Lookup(typ, value)
			m, err2 := p.rig.directory.Memberships(person)
			if err := errors.Join(err1, err2); err != nil {
				t.Fatal(err)
			}
			for _, e := range m {
				fmt.Fprintf(&out, "@%d %s\n", hour(e.Since), p.name(e.Company[:]))
			}
		}
	case "merge":
		var two []events.CustomerID
		for line := range strings.Lines(d.Input) {
			typ, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			c, _, err := p.rig.directory.Lookup(typ, value)
			if err != nil {
				t.Fatal(err)
			}
			two = append(two, c)
		}
		made, err := p.rig.directory.Merge(t.Context(), directory.MergeOrder{Customers: two, Cause: directory.Cause{Reason: "same", Actor: "test"}})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range made.Decisions {
			from, to := m.From, m.To
			p.merges = append(p.merges, m.Seq)
			fmt.Fprintf(&out, "merge %d: %s into %s\n", len(p.merges), p.name(from[:]), p.name(to[:]))
		}
	case "undo":
		var n int
		if _, err := fmt.Sscan(d.Input, &n); err != nil || n < 1 || n > len(p.merges) {
			d.Fatalf(t, "merge %q, %v", d.Input, err)
		}
		made, err := p.rig.directory.Split(t.Context(), directory.SplitOrder{Undo: p.merges[n-1], Cause: directory.Cause{Reason: "two", Actor: "test"}})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range made.Decisions {
			fmt.Fprintf(&out, "%s from %s\n", p.name(s.To[:]), p.name(s.From[:]))
		}
	default:
		d.Fatalf(t, "unknown command %q", d.Cmd)
	}
	return out.String()
}

// hourZero is @0.
var hourZero = received.Add(-1000 * time.Hour)

func hour(micros int64) int { return int(events.FromMicros(micros).Sub(hourZero) / time.Hour) }

func (p *parties) event(t *testing.T, fields []string) *eventsv1.Event {
	e := &eventsv1.Event{Id: fields[0], Type: fields[1]}
	group := func() *eventsv1.Group {
		g := &eventsv1.Group{}
		e.Payload = &eventsv1.Event_Group{Group: g}
		return g
	}
	referral := func() *eventsv1.Referral {
		r := e.GetReferral()
		if r == nil {
			r = &eventsv1.Referral{}
			e.Payload = &eventsv1.Event_Referral{Referral: r}
		}
		return r
	}
	if e.Type == "group.left" {
		group()
	}
	for _, field := range fields[2:] {
		if at, ok := strings.CutPrefix(field, "@"); ok {
			e.Time = p.time(t, at)
			continue
		}
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "group":
			group().GroupId = value
			p.tell("company_id", value)
		case "referee":
			referral().Referee = p.other(value)
		case "referrer":
			referral().Referrer = p.other(value)
		case "void":
			id, at, timed := strings.Cut(value, "@")
			v := &eventsv1.Void{EventId: id}
			if timed {
				v.Time = p.time(t, at)
			}
			e.Payload = &eventsv1.Event_Void{Void: v}
		case "previous", "force":
			e.Payload = &eventsv1.Event_Alias{Alias: &eventsv1.Alias{Previous: p.other(value), Force: key == "force"}}
		case "corrects":
			e.Corrects = value
		case "issued":
			e.IssuedAt = p.time(t, value)
		default:
			p.tell(key, value)
			e.Identifiers = append(e.Identifiers, &eventsv1.Identifier{Type: key, Value: value})
		}
	}
	return e
}

func (p *parties) time(t *testing.T, hours string) *timestamppb.Timestamp {
	var n int
	if _, err := fmt.Sscan(hours, &n); err != nil {
		t.Fatalf("hour %q: %v", hours, err)
	}
	return timestamppb.New(hourZero.Add(time.Duration(n) * time.Hour))
}

func (p *parties) other(text string) *eventsv1.Identifier {
	typ, value, _ := strings.Cut(text, ":")
	p.tell(typ, value)
	return &eventsv1.Identifier{Type: typ, Value: value}
}

func (p *parties) tell(typ, value string) { p.told = append(p.told, [2]string{typ, value}) }

// learn names the customers by the first identifier told of each.
func (p *parties) learn(t *testing.T) {
	for _, told := range p.told {
		id, err := p.rig.directory.Identify(told[0], told[1])
		if err != nil {
			continue // names nobody
		}
		text := id.Type + "=" + id.Value
		p.hashes[string(id.Hash[:])] = text
		c, ok, err := p.rig.directory.LookupHash(id.Hash)
		if err != nil {
			t.Fatal(err)
		}
		if ok && p.names[c] == "" {
			p.names[c] = strings.ToUpper(text)
		}
	}
}

func (p *parties) name(c []byte) string {
	if bytes.Equal(c, make([]byte, 16)) {
		return "nobody"
	}
	return cmp.Or(p.names[events.CustomerID(c)], fmt.Sprintf("?%x", c))
}

func (p *parties) show(t *testing.T, out *strings.Builder, order map[string]int) {
	p.learn(t)
	_, all := read(t, p.rig.log)
	seen := maps.Clone(p.seen)
	var fresh []logged
	for _, e := range all {
		if e.seq > seen[e.partition] {
			fresh = append(fresh, e)
		}
		if p.seen == nil {
			p.seen = map[int]uint64{}
		}
		p.seen[e.partition] = max(p.seen[e.partition], e.seq)
	}
	slices.SortFunc(fresh, func(a, b logged) int {
		return cmp.Or(cmp.Compare(order[a.header.EventId], order[b.header.EventId]), cmp.Compare(a.header.Role, b.header.Role),
			strings.Compare(p.name(a.header.Customer), p.name(b.header.Customer)))
	})
	for _, e := range fresh {
		fmt.Fprintf(out, "%s %s\n", e.header.EventId, p.copy(t, e))
	}
}

// copy is what the log says of one copy of an event.
func (p *parties) copy(t *testing.T, e logged) string {
	h := e.header
	kind := ""
	if h.CustomerKind == logv1.CustomerKind_CUSTOMER_KIND_COMPANY && h.Role != logv1.Role_ROLE_COMPANY {
		kind = " (company)"
	}
	parts := []string{role(h.Role) + " " + p.name(h.Customer) + kind}
	if h.Leaves {
		parts = append(parts, "leaves")
	}
	if h.Until != nil {
		parts = append(parts, fmt.Sprintf("until @%d", hour(*h.Until)))
	}
	for _, d := range h.Trail {
		parts = append(parts, fmt.Sprintf("by merge %d", slices.Index(p.merges, d)+1))
	}
	if h.Held {
		parts = append(parts, "held")
	}
	if h.Withdraws {
		parts = append(parts, "withdraws")
	}
	if h.PartyCustomer != nil {
		party := "party " + p.name(h.PartyCustomer)
		if h.Party != nil {
			party += " by " + p.hashes[string(h.Party.Hash)]
		}
		parts = append(parts, party)
	}
	var copies []string
	for _, c := range h.Copies {
		copies = append(copies, role(c.Role)+" "+p.name(c.Customer))
	}
	if copies != nil {
		parts = append(parts, "copies "+strings.Join(copies, ", "))
	}
	// The profile shows the identifiers of IdentifiersOf, each by its hash.
	var ids []string
	for i, id := range events.IdentifiersOf(h, e.body) {
		text := id.Type + "=" + id.Value
		if got := p.hashes[string(h.Identifiers[i].Hash)]; got != text {
			t.Errorf("identifier %d of the copy of %s for %s is %s, its hash that of %s", i, h.EventId, p.name(h.Customer), text, got)
		}
		if h.Identifiers[i].Other {
			text += " (another's)"
		}
		ids = append(ids, text)
	}
	if ids != nil {
		parts = append(parts, "named "+strings.Join(ids, " "))
	}
	return strings.Join(parts, "; ")
}

func role(r logv1.Role) string { return strings.ToLower(strings.TrimPrefix(r.String(), "ROLE_")) }

// copies answers as the projections would.
func (p *parties) copies(_ context.Context, _ events.CustomerID, source, eventID string, _ *int64) (all ingest.Copies, err error) {
	if source != "test" {
		return all, fmt.Errorf("asked for source %q", source)
	}
	holders, found := p.folded[eventID]
	all.Found = found
	for _, text := range holders {
		if best, ok := strings.CutPrefix(text, "best="); ok {
			n := 0
			all.BestID, _, _ = strings.Cut(best, "@")
			if _, err := fmt.Sscanf(best[len(all.BestID):], "@%d", &n); err != nil {
				return all, err
			}
			all.BestIssuedAt = events.Micros(hourZero.Add(time.Duration(n) * time.Hour))
			continue
		}
		name, id, _ := strings.Cut(text, ":")
		typ, value, _ := strings.Cut(id, "=")
		c, ok, err := p.rig.directory.Lookup(typ, value)
		if err != nil || !ok {
			return all, fmt.Errorf("look up %s: %v, %w", text, ok, err)
		}
		all.Holders = append(all.Holders, &logv1.Copy{Customer: c[:], Role: logv1.Role(logv1.Role_value["ROLE_"+strings.ToUpper(name)])})
	}
	return all, nil
}

// TestRetryCompletesTheCopies lets the log refuse the company's partition, and
// then the subject's: the next try adds what is missing and nothing else.
func TestRetryCompletesTheCopies(t *testing.T) {
	for _, failing := range []string{"subject", "company"} {
		t.Run(failing, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var refused atomic.Value // stream of which the next append fails
				refused.Store(events.Stream(""))
				log := found(t, memlog.Options{Faults: func(op memlog.Op) memlog.Fault {
					if op.Kind == memlog.OpAppend && refused.CompareAndSwap(op.Stream, events.Stream("")) {
						return memlog.Fault{Err: events.ErrFull}
					}
					return memlog.Fault{}
				}}, events.Settings{Partitions: 16})
				r := start(t, log, nil)
				defer r.stop()
				person, firm := inTwoPartitions(t, r)
				event := func() ingest.Batch {
					e := track(person, "e")
					e.Identifiers = append(e.Identifiers, &eventsv1.Identifier{Type: "company_id", Value: firm})
					return batch(e)
				}
				subject, _, _ := r.directory.Lookup("user_id", person)
				company, _, _ := r.directory.Lookup("company_id", firm)
				partitions := map[string]int{"subject": subject.Partition(16), "company": company.Partition(16)}
				refused.Store(events.PartitionStream(partitions[failing]))
				if _, err := r.Accept(t.Context(), event()); !errors.Is(err, ingest.ErrDiskFull) {
					t.Fatalf("first try: got %v, want the disk full", err)
				}
				result := r.accept(t, event())
				if result.Accepted != 1 || result.Duplicates != 0 {
					t.Errorf("second try: got %+v, want it accepted", result)
				}
				again := r.accept(t, event())
				if again.Accepted != 0 || again.Duplicates != 1 {
					t.Errorf("third try: got %+v, want a duplicate", again)
				}
				want, found := map[int]uint64{}, map[string]int{}
				_, all := read(t, log)
				for _, e := range all {
					if e.header.EventId == "e" {
						found[role(e.header.Role)]++
						want[e.partition] = e.seq
						want[ingest.ReceiptIdentity] = max(want[ingest.ReceiptIdentity], e.at)
					}
				}
				if d := gocmp.Diff(map[string]int{"subject": 1, "company": 1}, found); d != "" {
					t.Errorf("copies in the log (-want +got):\n%s", d)
				}
				for n, receipt := range []string{result.Receipt, again.Receipt} {
					seqs, err := ingest.ParseReceipt(receipt)
					if d := gocmp.Diff(want, seqs); d != "" || err != nil {
						t.Errorf("receipt %d, %v (-want +got):\n%s", n, err, d)
					}
				}
			})
		})
	}
}

// inTwoPartitions makes a person and a company that live in different ones.
func inTwoPartitions(t *testing.T, r *rig) (person, firm string) {
	for n := range 100 {
		person, firm = fmt.Sprint("p", n), fmt.Sprint("f", n)
		e := track(person, "known")
		e.Identifiers = append(e.Identifiers, &eventsv1.Identifier{Type: "company_id", Value: firm})
		r.accept(t, batch(e))
		a, _, err1 := r.directory.Lookup("user_id", person)
		b, _, err2 := r.directory.Lookup("company_id", firm)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		if a.Partition(16) != b.Partition(16) {
			return person, firm
		}
	}
	t.Fatal("100 pairs share their partition")
	return "", ""
}

func TestCopiesThatCannotBeFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		behind := errors.New("behind")
		r := start(t, found(t, memlog.Options{}, events.Settings{}), func(o *ingest.Options) {
			o.Copies = func(_ context.Context, _ events.CustomerID, source, id string, claimed *int64) (ingest.Copies, error) {
				if source != "test" || id != "e" || claimed == nil || *claimed != events.Micros(received) {
					return ingest.Copies{}, fmt.Errorf("asked for %s %s %v", source, id, claimed)
				}
				return ingest.Copies{}, behind
			}
		})
		defer r.stop()
		void := track("ann", "v")
		void.Type = "event.voided"
		void.Payload = &eventsv1.Event_Void{Void: &eventsv1.Void{EventId: "e", Time: timestamppb.New(received)}}
		if _, err := r.Accept(t.Context(), batch(void)); !errors.Is(err, ingest.ErrNotReady) || !errors.Is(err, behind) {
			t.Errorf("got %v, want not ready: behind", err)
		}
		if _, all := read(t, r.log); len(all) != 0 {
			t.Errorf("%d events in the log, want the call to be sent again, whole", len(all))
		}
	})
}

func TestHoldersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, found(t, memlog.Options{}, events.Settings{}), nil)
		defer r.stop()
		var corrections []*eventsv1.Event
		for n := range ingest.MaxHolders + 1 {
			e := track("ann", fmt.Sprint("c", n))
			e.Type, e.Corrects = "referral.made", "root"
			e.Payload = &eventsv1.Event_Referral{Referral: &eventsv1.Referral{Referee: &eventsv1.Identifier{Type: "user_id", Value: fmt.Sprint("u", n)}}}
			corrections = append(corrections, e)
		}
		r.accept(t, batch(corrections...))
		void := track("ann", "v")
		void.Type = "event.voided"
		void.Payload = &eventsv1.Event_Void{Void: &eventsv1.Void{EventId: "root"}}
		r.accept(t, batch(void))
		_, all := read(t, r.log)
		n := 0
		for _, e := range all {
			if e.header.EventId == "v" && e.header.Role == logv1.Role_ROLE_REFEREE {
				n++
			}
		}
		if n != ingest.MaxHolders {
			t.Errorf("the void went to %d of %d, limit %d", n, len(corrections), ingest.MaxHolders)
		}
	})
}
