package projections_test

import (
	"crypto/rand"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/projections/store"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// unreadable fails scans over all heads, which only rows need, as often as left.
type unreadable struct {
	store.Store
	left *atomic.Int32
	err  error
}

func (s unreadable) View() store.View { return unreadableView{s.Store.View(), s} }

type unreadableView struct {
	store.View
	s unreadable
}

func (v unreadableView) Scan(from, to []byte, reverse bool, fn func(key, value []byte) bool) error {
	if string(from) == "h" && v.s.left.Add(-1) >= 0 {
		return v.s.err
	}
	return v.View.Scan(from, to, reverse, fn)
}

// A scan for rows that fails is tried again, and until then the partition says
// why it has no lists. Bytes in doubt have the store opened anew, and set aside
// when that does not help.
func TestRowsAreReadAgain(t *testing.T) {
	t.Parallel()
	busy, doubtful := errors.New("read 000001.sst: input/output error"), errors.New("checksum mismatch")
	for _, test := range []struct {
		name   string
		fails  int32
		err    error
		opened int // stores, after the one of the start
		aside  int
	}{
		{"never", 0, busy, 0, 0},
		{"once", 1, busy, 0, 0},
		{"often", 9, busy, 0, 0},
		{"doubtful once", 1, doubtful, 1, 0},
		{"doubtful twice", 2, doubtful, 2, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, events.ClockWall)
				l.start()
				l.order(1, "o1", time.Now())
				l.stop()
				left, opened := new(atomic.Int32), 0
				left.Store(test.fails)
				l.wrap = func(s store.Store) store.Store {
					opened++
					return unreadable{s, left, test.err}
				}
				l.start()
				synctest.Wait()
				if s := l.status(); test.fails > 0 && (s.Ready() || !strings.Contains(s.Err.Error(), test.err.Error())) {
					t.Errorf("after a scan that failed: ready %v, error %v; want %v", s.Ready(), s.Err, test.err)
				}
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				v := l.partition.View()
				defer v.Close()
				rows, err := v.Rows()
				if err != nil || rows.Len() != 1 {
					t.Errorf("rows: %v; want one", err)
				}
				if s := l.status(); !s.Ready() {
					t.Errorf("not ready: applied %d, target %d, error %v", s.Applied, s.Target, s.Err)
				}
				if opened-1 != test.opened || len(l.aside) != test.aside {
					t.Errorf("opened anew %d times, set aside %v; want %d and %d", opened-1, l.aside, test.opened, test.aside)
				}
			})
		})
	}
}

// How far behind a partition is it knows without asking: by what it is told,
// and a moment after somebody wanted to know, by what the log says.
func TestKnown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, events.ClockWall)
		l.start()
		l.order(1, "o1", time.Now())
		synctest.Wait()
		at := l.partition.Known()
		if at.Last != at.Applied || at.Applied == 0 {
			t.Fatalf("folded: %+v, want all of it applied", at)
		}
		l.partition.Acknowledged(events.PartitionStream(0), at.Last+3)
		l.partition.Acknowledged(events.PartitionStream(0), at.Last+2) // acknowledged at once, told later
		l.partition.Acknowledged(events.PartitionStream(1), at.Last+9)
		if got := l.partition.Known(); got.Last != at.Last+3 || got.Applied != at.Applied {
			t.Errorf("three acknowledged: last %d, applied %d; want %d, %d", got.Last, got.Applied, at.Last+3, at.Applied)
		}
	})
}

// What others append while the fold is behind is found by asking, which no
// caller of Known waits for.
func TestKnownAsksLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		held := make(chan struct{})
		l := &lab{t: t, store: store.OpenMemory(), log: memlog.New(memlog.Options{Faults: func(op memlog.Op) memlog.Fault {
			if op.Kind == memlog.OpNext && op.Stream == events.PartitionStream(0) {
				<-held
			}
			return memlog.Fault{}
		}})}
		if _, err := events.Found(t.Context(), l.log, events.Settings{Partitions: 1, IdentityKeyCheck: []byte{1}}, time.Now, rand.Reader); err != nil {
			t.Fatal(err)
		}
		l.start()
		defer l.stop()
		defer close(held)
		synctest.Wait()
		before := l.partition.Known().Last
		synctest.Wait()
		seq := l.append(events.SubjectNotices(0), &logv1.Notice{})
		for _, want := range []uint64{before, seq} {
			if got := l.partition.Known(); got.Last != want {
				t.Errorf("last %d, want %d", got.Last, want)
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
		}
	})
}
