package projections

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dossier360/dossier/projections/store"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// scanned counts the scans for pages.
type scanned struct {
	store.Store
	pages int
}

func (s *scanned) View() store.View { return scannedView{s.Store.View(), s} }

type scannedView struct {
	store.View
	s *scanned
}

func (v scannedView) Scan(from, to []byte, reverse bool, fn func(key, value []byte) bool) error {
	if bytes.HasPrefix(from, []byte{keyPage}) {
		v.s.pages++
	}
	return v.View.Scan(from, to, reverse, fn)
}

// Where the pages of a customer are is read once, however many commits his late
// events take: who has a million events has thousands of pages. And it is not
// forgotten to keep that up to date.
func TestLeadsAreReadOnce(t *testing.T) {
	t.Parallel()
	s := newStream("wall", day0)
	m := &scanned{Store: store.OpenMemory()}
	f, err := newFold(s.options(), m.View())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { f.view.Close() }()
	fold := func(msg *message) {
		t.Helper()
		if err := f.begin(msg); err != nil {
			t.Fatal(err)
		}
		for more := true; more; {
			if more, err = f.step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.flush(m); err != nil {
			t.Fatal(err)
		}
	}
	fold(s.messages[0])
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 30 {
		var list []*logv1.LoggedEvent
		for n := range 150 {
			at := day0.Add(-time.Duration(rng.IntN(1e6)) * time.Second)
			if round%3 == 2 { // before all others
				at = day0.Add(-time.Duration(2e6+1000*round+n) * time.Second)
			}
			list = append(list, told(customerNo(1), fmt.Sprint(round, "-", n), eventsv1.Type_TYPE_PAGE_VIEWED, at, nil))
		}
		fold(&message{seq: f.cp.Seq + 1, time: day0, record: &logv1.Record{Events: list}})
	}
	if m.pages != 1 {
		t.Errorf("pages were looked for %d times, want 1", m.pages)
	}
	c, err := f.customer(customerNo(1))
	if err != nil {
		t.Fatal(err)
	}
	kept := slices.Clone(c.leads)
	c.dropLeads()
	if err := c.readLeads(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c.leads, kept); diff != "" || len(kept) < 30 {
		t.Errorf("%d leads kept (-stored +kept):\n%s", len(kept), diff)
	}
}
