package projections_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/projections/store"
)

// A log that does not answer says nothing about a store: a server of the log
// that is away must not cost a fold from the beginning.
func TestLogAwayKeepsTheStore(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		kind     memlog.OpKind
		answered int // how many calls of an opening still are
	}{
		{memlog.OpInfo, 0}, {memlog.OpInfo, 1}, {memlog.OpGet, 0},
	} {
		t.Run(fmt.Sprint(test.kind, test.answered), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var away atomic.Bool
				answered := 0 // of the partition that opens, alone
				faults := func(op memlog.Op) memlog.Fault {
					if !away.Load() || op.Kind != test.kind || op.Stream != events.PartitionStream(0) {
						return memlog.Fault{}
					}
					if answered++; answered <= test.answered {
						return memlog.Fault{}
					}
					return memlog.Fault{Err: context.DeadlineExceeded}
				}
				l := &lab{t: t, log: memlog.New(memlog.Options{Faults: faults}), store: store.OpenMemory()}
				t.Cleanup(l.stop)
				if _, err := events.Found(t.Context(), l.log, events.Settings{Partitions: 1, IdentityKeyCheck: []byte{1}}, time.Now, rand.Reader); err != nil {
					t.Fatal(err)
				}
				l.start()
				l.order(1, "o1", time.Now())
				l.stop()
				away.Store(true)
				if err := l.open(); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("open while the log is away: %v, want its error", err)
				}
				away.Store(false)
				l.start()
				if stage, _ := l.stage(1); stage == "" {
					t.Error("the customer is gone")
				}
				if len(l.aside) != 0 {
					t.Errorf("stores set aside: %v, want none", l.aside)
				}
			})
		})
	}
}
