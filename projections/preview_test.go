package projections

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/profile"
	"github.com/dossier360/dossier/projections/store"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// folded is a partition that has folded a stream.
func folded(t rapid.TB, s *stream) *Partition {
	t.Helper()
	m := store.OpenMemory()
	s.foldAll(t, m, never, never)
	p := newPartition(Options{})
	if err := p.publishOpened(m); err != nil {
		t.Fatalf("open view: %v", err)
	}
	for i, raw := range s.raw {
		if record, ok := raw.(*logv1.Record); ok {
			p.records.put(uint64(i+1), record)
		}
	}
	return p
}

// Folded on paper, the histories of several customers give the facts of one who
// was told all of their events, and a part of them the facts of one who was told
// that part; also where copies of an event, and unequal ones, stand in two histories.
func TestPaperLaw(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const customers = 3
		sent := drawLife(t, customers)
		for i := range sent {
			if rapid.IntRange(0, 4).Draw(t, "again") == 0 {
				e := drawRepeat(t, sent[i:i+1])
				c := customerNo(rapid.IntRange(0, customers-1).Draw(t, "to whom"))
				e.Header.Customer = c[:]
				sent = append(sent, e)
			}
		}
		odd := func(h *logv1.Header) bool { return h.EventId[len(h.EventId)-1]%2 == 1 }
		apart, whole, part := newStream("wall", day0), newStream("wall", day0), newStream("wall", day0)
		one := customerNo(0)
		for _, e := range sent {
			apart.record(day0, e)
			e = proto.CloneOf(e)
			e.Header.Customer = one[:]
			whole.record(day0, e)
			if odd(e.Header) {
				part.record(day0, e)
			}
		}
		p, paper := folded(t, apart), &Paper{}
		for c := range customers {
			if err := paper.Add(t.Context(), p, customerNo(c)); err != nil {
				t.Fatal(err)
			}
		}
		for _, half := range []struct {
			name  string
			takes func(*logv1.Header) bool
			told  *stream
		}{{"all", nil, whole}, {"part", odd, part}} {
			v := folded(t, half.told).View()
			head, err := v.Head(one)
			if errors.Is(err, ErrNotFound) {
				head, err = &statev1.Head{Facts: &statev1.Facts{}}, nil
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := paper.Fold(half.takes, v.Env())
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(head.Facts, got, protocmp.Transform()); d != "" {
				t.Fatalf("%s: folded, and on paper (-folded +paper):\n%s", half.name, d)
			}
			if profile.Digest(got) != profile.Digest(head.Facts) {
				t.Fatalf("%s: another digest on paper", half.name)
			}
		}
	})
}

func TestPaperIsBounded(t *testing.T) {
	t.Parallel()
	s := newStream("wall", day0)
	for n := range 12 {
		s.record(day0, told(customerNo(n%2), fmt.Sprintf("e%d", n), eventsv1.Type_TYPE_PAGE_VIEWED, day0, nil))
	}
	p := folded(t, s)
	for _, c := range []struct {
		name   string
		events int // on the paper already
		bytes  int
		want   error
	}{
		{"at the bound of events", MaxPaperEvents - 6, 0, nil},
		{"beyond it", MaxPaperEvents - 5, 0, ErrTooLong},
		{"at the bound of bytes", 0, MaxPaperBytes, nil}, // the bodies are empty
		{"beyond it", 0, MaxPaperBytes + 1, ErrTooLong},
	} {
		paper := &Paper{events: c.events, bytes: c.bytes}
		if err := paper.Add(t.Context(), p, customerNo(1)); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
	paper := &Paper{}
	if err := paper.Add(t.Context(), p, events.CustomerID{0: 9}); err != nil || len(paper.told) != 0 {
		t.Errorf("of nobody: %d events, %v; want none", len(paper.told), err)
	}
}
