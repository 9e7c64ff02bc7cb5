package projections_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/projections"
	"github.com/dossier360/dossier/projections/playbook"
	"github.com/dossier360/dossier/projections/store"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// TestMain makes the package-wide coders outside of any bubble of virtual
// time: all bubbles may use them then.
func TestMain(m *testing.M) {
	record := &logv1.Record{Batch: make([]byte, 4096)}
	if frame, err := events.Seal(record); err != nil || events.Open(frame, record) != nil {
		panic(fmt.Sprint("warm up: ", err))
	}
	m.Run()
}

// lab is a log with one partition and a store, in a bubble.
type lab struct {
	t     *testing.T
	log   *memlog.Log
	store *store.Memory
	aside []error // why stores were set aside
	// openStore, if set, says whether the store can be opened.
	openStore func() error
	// wrap, if set, stands before each store that is opened.
	wrap func(store.Store) store.Store
	// room, if set, says whether there is room for a commit.
	room func() error

	partition *projections.Partition
	end       context.CancelFunc
	wg        sync.WaitGroup
	runErr    error
}

func newLab(t *testing.T, clock string) *lab {
	l := &lab{t: t, log: memlog.New(memlog.Options{}), store: store.OpenMemory()}
	_, err := events.Found(t.Context(), l.log, events.Settings{
		Partitions: 1, Clock: clock, ClockEnd: clockEnd(clock), IdentityKeyCheck: []byte{1},
	}, time.Now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.stop)
	return l
}

func clockEnd(clock string) time.Time {
	if clock == events.ClockEvents {
		return time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return time.Time{}
}

// start opens the partition and runs it.
func (l *lab) start() {
	l.t.Helper()
	if err := l.open(); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) open() error {
	genesis, err := events.ReadGenesis(l.t.Context(), l.log)
	if err != nil {
		return err
	}
	rules := projections.NewRules()
	l.store.Reopen()
	l.partition, err = projections.Open(l.t.Context(), projections.Options{
		Log: l.log, Genesis: genesis, ID: 0, Rules: rules, Evaluate: playbook.BuiltinStages, Room: l.room,
		OpenStore: func() (store.Store, error) {
			if l.openStore != nil {
				if err := l.openStore(); err != nil {
					return nil, err
				}
			}
			l.store.Reopen()
			if l.wrap != nil {
				return l.wrap(l.store), nil
			}
			return l.store, nil
		},
		SetAside: func(why error) error {
			l.aside = append(l.aside, why)
			l.store = store.OpenMemory()
			return nil
		},
	})
	if err != nil {
		return err
	}
	ctx, end := context.WithCancel(context.Background())
	l.end = end
	l.wg.Go(func() { l.runErr = l.partition.Run(ctx) })
	l.wg.Go(func() { rules.Run(ctx, l.log) })
	return nil
}

func (l *lab) stop() {
	if l.end != nil {
		l.end()
		l.wg.Wait()
		l.end = nil
	}
}

// order appends an order of a customer and waits until it is folded.
func (l *lab) order(customer byte, id string, at time.Time) {
	l.t.Helper()
	body, err := proto.Marshal(&eventsv1.Event{
		Identifiers: []*eventsv1.Identifier{{Type: "user_id", Value: "u"}},
		Payload:     &eventsv1.Event_Order{Order: &eventsv1.Order{OrderId: id}},
	})
	if err != nil {
		l.t.Fatal(err)
	}
	claimed := events.Micros(at)
	seq := l.append(events.SubjectEvents(0), &logv1.Record{RecordedAt: claimed, Events: []*logv1.LoggedEvent{{
		Header: &logv1.Header{
			Customer: customerID(customer).Bytes(), Type: eventsv1.Type_TYPE_ORDER_PLACED, Source: "test",
			EventId: id, ClaimedAt: &claimed, OccurredAt: claimed,
		},
		Body: body,
	}}})
	if err := l.partition.WaitApplied(l.t.Context(), seq); err != nil {
		l.t.Fatal(err)
	}
}

type testID events.CustomerID

func customerID(n byte) testID          { return testID{0: 1, 15: n} }
func (id testID) Bytes() []byte         { return id[:] }
func (id testID) ID() events.CustomerID { return events.CustomerID(id) }

func (l *lab) append(subject string, m proto.Message) uint64 {
	l.t.Helper()
	data, err := events.Seal(m)
	if err != nil {
		l.t.Fatal(err)
	}
	seq, err := l.log.Append(l.t.Context(), events.PartitionStream(0), subject, data, events.Expect{})
	if err != nil {
		l.t.Fatal(err)
	}
	return seq
}

func (l *lab) stage(customer byte) (stage string, since time.Time) {
	l.t.Helper()
	v := l.partition.View()
	defer v.Close()
	head, err := v.Head(customerID(customer).ID())
	if err != nil {
		l.t.Fatal(err)
	}
	return head.Journal.Stage, events.FromMicros(head.Journal.Since)
}

func (l *lab) status() projections.Status {
	l.t.Helper()
	s, err := l.partition.Status(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	return s
}

// With nothing but time passing, the notice writer's ticks move a customer to
// the stage he is due for, at the exact instant; few ticks do it.
func TestTimeMovesStages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, events.ClockWall)
		l.start()
		begun := time.Now()
		l.order(1, "o1", begun)
		synctest.Wait()
		before := l.status().Last
		time.Sleep(91 * 24 * time.Hour)
		synctest.Wait()
		stage, since := l.stage(1)
		if want := begun.Add(90 * 24 * time.Hour); stage != "dormant" || !since.Equal(want) {
			t.Errorf("after 91 days: %s since %s, want dormant since %s", stage, since, want)
		}
		if ticks := l.status().Last - before; ticks > 92*24+1 {
			t.Errorf("%d ticks in 91 days; one an hour is enough", ticks)
		}
		if lag := time.Since(l.status().Settled); lag > time.Hour {
			t.Errorf("settled time is %v behind", lag)
		}
	})
}

// A timer that falls due is ticked for within the configured wait, not at the
// next full hour.
func TestDueTimerIsTickedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, events.ClockWall)
		l.start()
		begun := time.Now().Add(-90*24*time.Hour + 10*time.Minute + 1234*time.Millisecond)
		l.order(1, "o1", begun)
		time.Sleep(10*time.Minute + 17*time.Second)
		synctest.Wait()
		stage, since := l.stage(1)
		if want := begun.Add(90 * 24 * time.Hour); stage != "dormant" || !since.Equal(want) {
			t.Errorf("%s since %s, want dormant since %s", stage, since, want)
		}
	})
}

// On clock "events" no time passes by itself; a tick moves it, and returns
// when everything due is done.
func TestTickTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, events.ClockEvents)
		l.start()
		begun := time.Date(1997, 1, 1, 0, 0, 0, 0, time.UTC)
		l.order(1, "o1", begun)
		time.Sleep(1000 * 24 * time.Hour)
		synctest.Wait()
		if stage, _ := l.stage(1); stage != "customer" {
			t.Errorf("without a tick: %s, want customer", stage)
		}
		if got := l.status().Settled; !got.Equal(begun) {
			t.Errorf("settled at %s, want the time of the last event, %s", got, begun)
		}
		to := begun.AddDate(1, 0, 0)
		if err := l.partition.TickTo(t.Context(), to); err != nil {
			t.Fatal(err)
		}
		if stage, since := l.stage(1); stage != "lost" || !since.Equal(begun.Add(180*24*time.Hour)) {
			t.Errorf("after the tick: %s since %s", stage, since)
		}
		last := l.status().Last
		if err := l.partition.TickTo(t.Context(), begun); err != nil || l.status().Last != last {
			t.Errorf("a tick to the past: %v, and %d messages more", err, l.status().Last-last)
		}
	})
}

func TestTickOnClockWall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, events.ClockWall)
		l.start()
		if err := l.partition.TickTo(t.Context(), time.Now()); !errors.Is(err, projections.ErrClock) {
			t.Errorf("tick on clock wall: %v, want ErrClock", err)
		}
	})
}

// A rule that operators append to IDENTITY reaches the partition once, though
// two notice writers relay it.
func TestRulesAreRelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, events.ClockWall)
		l.start()
		rule := &logv1.Identity{Content: &logv1.Identity_Rule{Rule: &logv1.Rule{Rule: &logv1.Rule_Reevaluate{Reevaluate: &logv1.Reevaluate{Reason: "test"}}}}}
		data, err := events.Seal(rule)
		if err != nil {
			t.Fatal(err)
		}
		seq, err := l.log.Append(t.Context(), events.IdentityStream, events.SubjectRule, data, events.Expect{})
		if err != nil {
			t.Fatal(err)
		}
		// A rival has relayed it already.
		l.append(events.SubjectNotices(0), &logv1.Notice{Notice: &logv1.Notice_Relay{Relay: &logv1.Relay{Seq: seq, Prev: 1, Rule: rule.GetRule()}}})
		time.Sleep(time.Minute) // virtual: for the relays to be written and folded
		synctest.Wait()
		v := l.partition.View()
		defer v.Close()
		if got := v.Checkpoint().RuleSeq; got != seq {
			t.Errorf("the partition heard rule %d, want %d", got, seq)
		}
	})
}

// A store is verified against the log when it is opened; one that does not
// belong to it is set aside and folded again.
func TestCheckpointVerification(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(l *lab)
		why   string
	}{
		{"the log lost its tail", func(l *lab) { l.log.Truncate(events.PartitionStream(0), 1) }, "ends at"},
		{"another message took the number", func(l *lab) {
			l.log.Truncate(events.PartitionStream(0), 1)
			time.Sleep(time.Second)
			l.append(events.SubjectNotices(0), &logv1.Notice{Notice: &logv1.Notice_Tick{Tick: &logv1.Tick{}}})
		}, "message 2 is of"},
		{"another log", func(l *lab) {
			time.Sleep(time.Second)
			other := newLab(l.t, events.ClockWall)
			other.append(events.SubjectNotices(0), &logv1.Notice{Notice: &logv1.Notice_Tick{Tick: &logv1.Tick{}}})
			l.log = other.log
		}, "was created"},
		{"the store cannot be read", func(l *lab) {
			b := &store.Batch{}
			b.Put([]byte{'c'}, []byte{0xff})
			if err := l.store.Commit(b); err != nil {
				l.t.Fatal(err)
			}
		}, "checkpoint"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, events.ClockWall)
				l.start()
				l.order(1, "o1", time.Now())
				l.stop()
				l.store.Reopen()
				test.spoil(l)
				l.start()
				if err := l.partition.WaitApplied(t.Context(), l.status().Last); err != nil {
					t.Fatal(err)
				}
				if len(l.aside) != 1 || !strings.Contains(l.aside[0].Error(), test.why) {
					t.Errorf("set aside %v, want once because of %q", l.aside, test.why)
				}
			})
		})
	}
}

// An undisturbed store is not set aside.
func TestRestartGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, events.ClockWall)
		l.start()
		l.order(1, "o1", time.Now())
		commits := l.store.Commits()
		l.stop()
		l.start()
		synctest.Wait()
		if len(l.aside) != 0 {
			t.Errorf("set aside: %v", l.aside)
		}
		if more := l.store.Commits() - commits; more > 1 {
			t.Errorf("%d commits after a restart with nothing to fold", more)
		}
		if stage, _ := l.stage(1); stage != "customer" {
			t.Errorf("stage %q after a restart", stage)
		}
	})
}

// Corruption stops the partition: it is reported, and never folded over.
func TestCorruptLogStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, events.ClockWall)
		l.start()
		synctest.Wait()
		seq, err := l.log.Append(t.Context(), events.PartitionStream(0), events.SubjectEvents(0), []byte("no frame"), events.Expect{})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		status := l.status()
		if !errors.Is(status.Err, events.ErrCorrupt) || status.Ready() || status.Applied >= seq {
			t.Errorf("status %+v, want corrupt and not past %d", status, seq-1)
		}
		if err := l.partition.WaitApplied(t.Context(), seq); !errors.Is(err, events.ErrCorrupt) {
			t.Errorf("waiting for it: %v, want ErrCorrupt", err)
		}
		l.stop()
		if !errors.Is(l.runErr, events.ErrCorrupt) {
			t.Errorf("run ended with %v, want ErrCorrupt", l.runErr)
		}
	})
}

// A partition that gets no further says so, and goes on by itself when it can.
func TestStuckPartitionSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, events.ClockWall)
		var broken atomic.Bool
		broken.Store(true)
		l.store.Fault = func(int) (bool, error) {
			if broken.Load() {
				return false, errors.New("disk says no")
			}
			return true, nil
		}
		l.start()
		time.Sleep(time.Hour)
		synctest.Wait()
		if s := l.status(); s.Err == nil || s.Ready() {
			t.Errorf("after an hour of failing commits: %+v, want an error and not ready", s)
		}
		broken.Store(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := l.status(); s.Err != nil || !s.Ready() || s.Applied != s.Last {
			t.Errorf("when commits work again: %+v", s)
		}
	})
}

// A commit that fails is made again from the last one; views are unavailable
// meanwhile and nothing counts twice.
func TestFailedCommitIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, events.ClockWall)
		l.store.Fault = func(n int) (bool, error) {
			if n%3 == 2 {
				return n%2 == 0, errors.New("disk says no")
			}
			return true, nil
		}
		l.start()
		for i := range 10 {
			l.order(1, fmt.Sprintf("o%d", i), time.Now())
		}
		v := l.partition.View()
		defer v.Close()
		head, err := v.Head(customerID(1).ID())
		if err != nil {
			t.Fatal(err)
		}
		if got := head.Facts.Orders.Count; got != 10 {
			t.Errorf("%d orders, want 10", got)
		}
		if len(l.aside) != 0 {
			t.Errorf("set aside: %v", l.aside)
		}
	})
}

// What stops a partition is told as it is: why its store cannot be opened, and
// that the log is corrupt.
func TestReopeningSaysWhy(t *testing.T) {
	for _, cause := range []error{errors.New("open: permission denied"), fmt.Errorf("begins at 5: %w", events.ErrCorrupt)} {
		t.Run(cause.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, events.ClockWall)
				var broken atomic.Bool
				l.store.Fault = func(int) (bool, error) {
					if broken.Load() {
						return false, errors.New("commit fails")
					}
					return true, nil
				}
				l.openStore = func() error {
					if broken.Load() {
						return cause
					}
					return nil
				}
				l.start()
				l.order(1, "a", time.Now())
				broken.Store(true)
				time.Sleep(3 * time.Hour) // a tick comes, and its commit fails
				for range 100 {
					time.Sleep(97 * time.Millisecond)
					synctest.Wait()
					if s := l.status(); s.Err == nil || s.Err.Error() != cause.Error() || s.Ready() {
						t.Fatalf("status %+v, want not ready because of %q", s, cause)
					}
				}
				l.stop()
				if corrupt := errors.Is(cause, events.ErrCorrupt); errors.Is(l.runErr, events.ErrCorrupt) != corrupt {
					t.Errorf("run ended with %v", l.runErr)
				}
			})
		})
	}
}

// A partition without room for a commit waits, says so, and goes on by itself.
func TestFoldWaitsForRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		full := errors.New("the disk is full")
		var room atomic.Pointer[error]
		l := newLab(t, events.ClockWall)
		l.room = func() error {
			if err := room.Load(); err != nil {
				return *err
			}
			return nil
		}
		l.start()
		synctest.Wait()
		room.Store(&full)
		seq := l.append(events.SubjectEvents(0), &logv1.Record{RecordedAt: events.Micros(time.Now()), Events: []*logv1.LoggedEvent{{
			Header: &logv1.Header{Customer: customerID(1).Bytes(), EventId: "e", Source: "test", OccurredAt: events.Micros(time.Now())},
		}}})
		time.Sleep(10 * time.Second)
		if s := l.partition.Known(); s.Applied >= seq || !errors.Is(s.Err, full) {
			t.Errorf("without room: applied %d of %d, %v; want it to wait and say why", s.Applied, seq, s.Err)
		}
		room.Store(nil)
		if err := l.partition.WaitApplied(t.Context(), seq); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s := l.partition.Known(); s.Err != nil {
			t.Errorf("with room again: %v", s.Err)
		}
	})
}
