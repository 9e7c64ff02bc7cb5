package rejected_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/ingest/rejected"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// TestMain warms the coders of the log's frames, which keep channels: made in
// one test's bubble they would be of no use in another's.
func TestMain(m *testing.M) {
	frame, err := events.Seal(&logv1.Reject{Original: make([]byte, 4096)})
	if err == nil {
		err = events.Open(frame, &logv1.Reject{})
	}
	if err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// shelf is a stream of rejects with a ledger that follows it.
type shelf struct {
	*rejected.Ledger
	t    *testing.T
	log  *memlog.Log
	stop func()
}

const retention = 30 * 24 * time.Hour

func newLog(t *testing.T, o memlog.Options) *memlog.Log {
	t.Helper()
	log := memlog.New(o)
	err := log.CreateStream(t.Context(), events.StreamConfig{
		Name: events.RejectedStream, Subjects: []string{events.SubjectRejected("*")}, Retention: retention,
	})
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func follow(t *testing.T, log *memlog.Log, change func(*rejected.Options)) *shelf {
	t.Helper()
	o := rejected.Options{Log: log}
	if change != nil {
		change(&o)
	}
	s := &shelf{Ledger: rejected.New(o), t: t, log: log}
	ctx, end := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	s.stop = sync.OnceFunc(func() { end(); running.Wait() })
	t.Cleanup(s.stop)
	return s
}

func (s *shelf) reject(source, code string) {
	s.t.Helper()
	appendTo(s.t, s.log, &logv1.Reject{Source: source, Code: code, ReceivedAt: events.Micros(time.Now()), Original: []byte("{}")})
}

func appendTo(t *testing.T, log events.Log, r *logv1.Reject) {
	t.Helper()
	frame, err := events.Seal(r)
	if err != nil {
		t.Fatal(err)
	}
	for {
		_, err := log.Append(t.Context(), events.RejectedStream, events.SubjectRejected(r.Source), frame, events.Expect{})
		if err == nil {
			return
		}
		if !errors.Is(err, events.ErrOverload) {
			t.Fatal(err)
		}
	}
}

// ids are those that a query lists, page after page.
func (s *shelf) ids(q rejected.Query) []string {
	s.t.Helper()
	var all []string
	for {
		page, err := s.List(s.t.Context(), q)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, r := range page.Rejects {
			all = append(all, r.ID)
			if r.Original != nil {
				s.t.Errorf("reject %s is listed with its bytes", r.ID)
			}
		}
		if q.Before = page.Before; q.Before == 0 {
			return all
		}
	}
}

func (s *shelf) want(what string, want ...string) {
	s.t.Helper()
	if got := s.ids(rejected.Query{Limit: 2}); !slices.Equal(got, want) {
		s.t.Errorf("%s: listed %v, want %v", what, got, want)
	}
}

func TestFollow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog(t, memlog.Options{})
		s := follow(t, log, nil)
		s.want("nothing")
		s.reject("web", "bad_time") // 1
		s.reject("app", "bad_time") // 2
		s.reject("web", "bad_time") // 3
		s.reject("web", "not_json") // 4
		s.want("all, the newest first", "4", "3", "2", "1")
		if got := s.ids(rejected.Query{Source: "web", Code: "bad_time", Limit: 1}); !slices.Equal(got, []string{"3", "1"}) {
			t.Errorf("of a source and code: %v, want 3 and 1", got)
		}
		counts := []rejected.Count{{"app", "bad_time", 1}, {"web", "bad_time", 2}, {"web", "not_json", 1}}
		if diff := cmp.Diff(counts, s.Counts()); diff != "" {
			t.Errorf("counts (-want +got):\n%s", diff)
		}

		// A note, twice, and one of what was never there.
		for _, of := range []uint64{3, 3, 77} {
			appendTo(t, log, &logv1.Reject{Source: "web", RetryOf: of})
		}
		s.want("after a note", "4", "2", "1")
		if _, err := s.Get(t.Context(), "3"); !errors.Is(err, rejected.ErrNotFound) {
			t.Errorf("get what was noted: %v, want ErrNotFound", err)
		}
		if _, err := s.Get(t.Context(), "5"); !errors.Is(err, rejected.ErrNotFound) {
			t.Errorf("get a note: %v, want ErrNotFound", err)
		}
		if r, err := s.Get(t.Context(), "2"); err != nil || r.Source != "app" || string(r.Original) != "{}" {
			t.Errorf("get 2: %v, %v; want it with its bytes", r, err)
		}
		counts[1].Waiting = 1
		if diff := cmp.Diff(counts, s.Counts()); diff != "" {
			t.Errorf("counts after a note (-want +got):\n%s", diff)
		}

		// Another process, and this one after a restart, find the same.
		s.stop()
		again := follow(t, log, nil)
		again.want("after a restart", "4", "2", "1")
		if diff := cmp.Diff(counts, again.Counts()); diff != "" {
			t.Errorf("counts after a restart (-want +got):\n%s", diff)
		}
		if _, err := again.List(t.Context(), rejected.Query{Limit: rejected.MaxPageSize + 1}); err == nil {
			t.Error("a page beyond the limit is served")
		}
		if _, err := again.List(t.Context(), rejected.Query{Limit: rejected.MaxPageSize}); err != nil {
			t.Errorf("a page at the limit: %v", err)
		}
	})
}

// Pages go on where they were, whatever arrives.
func TestPagesAreStable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := follow(t, newLog(t, memlog.Options{}), nil)
		for range 5 {
			s.reject("web", "bad_time")
		}
		first, err := s.List(t.Context(), rejected.Query{Limit: 2})
		if err != nil {
			t.Fatal(err)
		}
		s.reject("web", "bad_time")
		appendTo(t, s.log, &logv1.Reject{Source: "web", RetryOf: 4})
		if got := s.ids(rejected.Query{Limit: 2, Before: first.Before}); !slices.Equal(got, []string{"3", "2", "1"}) {
			t.Errorf("the pages behind the first: %v, want 3, 2, 1", got)
		}
	})
}

// What its retention is over for is neither listed nor counted; a ledger that
// begins later begins with what is left.
func TestRetention(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog(t, memlog.Options{})
		s := follow(t, log, nil)
		s.reject("web", "bad_time")
		s.reject("web", "bad_time")
		s.want("at once", "2", "1")
		time.Sleep(retention / 2)
		s.reject("app", "bad_time")
		time.Sleep(retention/2 + 2*time.Minute)
		synctest.Wait()
		if diff := cmp.Diff([]rejected.Count{{"app", "bad_time", 1}}, s.Counts()); diff != "" {
			t.Errorf("counted without being asked (-want +got):\n%s", diff)
		}
		s.want("after the retention", "3")
		if _, err := s.Get(t.Context(), "1"); !errors.Is(err, rejected.ErrNotFound) {
			t.Errorf("get what is gone: %v, want ErrNotFound", err)
		}
		follow(t, log, nil).want("a ledger that begins now", "3")
		time.Sleep(retention)
		s.want("after all of it")
		follow(t, log, nil).want("a ledger of an empty stream")
	})
}

// The oldest are forgotten beyond the bound, and can be shown by id still.
func TestHeldAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := follow(t, newLog(t, memlog.Options{}), func(o *rejected.Options) { o.MaxHeld = 3 })
		for range 3 {
			s.reject("web", "bad_time")
		}
		s.want("at the bound", "3", "2", "1")
		s.reject("app", "bad_time")
		s.want("one beyond it", "4", "3", "2")
		if diff := cmp.Diff([]rejected.Count{{"app", "bad_time", 1}, {"web", "bad_time", 2}}, s.Counts()); diff != "" {
			t.Errorf("counts (-want +got):\n%s", diff)
		}
		if _, err := s.Get(t.Context(), "1"); err != nil {
			t.Errorf("get one that is forgotten: %v", err)
		}
		// A kind is forgotten with the last that is of it, and its number is another's.
		for n := range 9 {
			s.reject(fmt.Sprint("source", n%7), "bad_time")
		}
		s.want("of many sources", "13", "12", "11")
		if diff := cmp.Diff([]rejected.Count{{"source0", "bad_time", 1}, {"source1", "bad_time", 1}, {"source6", "bad_time", 1}}, s.Counts()); diff != "" {
			t.Errorf("counts of many sources (-want +got):\n%s", diff)
		}
	})
}

// A log that fails, loses readers, or holds a message that cannot be read
// delays and passes over; nothing is lost or counted twice.
func TestFollowThroughFaults(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var log *memlog.Log
		failing := false
		log = newLog(t, memlog.Options{Faults: func(op memlog.Op) memlog.Fault {
			mu.Lock()
			defer mu.Unlock()
			if failing && op.Stream == events.RejectedStream && op.N%2 == 0 && op.Kind != memlog.OpAppend {
				return memlog.Fault{Err: events.ErrUnknown}
			}
			return memlog.Fault{}
		}})
		s := follow(t, log, nil)
		for n := range 20 {
			mu.Lock()
			failing = n%3 > 0
			mu.Unlock()
			s.reject("web", "bad_time")
			if n%5 == 4 {
				log.Crash() // every reader is closed
			}
			if n == 7 {
				if _, err := log.Append(t.Context(), events.RejectedStream, events.SubjectRejected("web"), []byte("noise"), events.Expect{}); err != nil && !errors.Is(err, events.ErrUnknown) {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Second)
		}
		mu.Lock()
		failing = false
		mu.Unlock()
		time.Sleep(time.Minute)
		if diff := cmp.Diff([]rejected.Count{{"web", "bad_time", 20}}, s.Counts()); diff != "" {
			t.Errorf("counts (-want +got):\n%s", diff)
		}
		if got := s.ids(rejected.Query{Limit: 7}); len(got) != 20 || slices.Contains(got, "9") {
			t.Errorf("listed %v, want 20 without 9, which cannot be read", got)
		}
	})
}

// A log whose end is not reached in time is no empty list.
func TestCatchingUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newLog(t, memlog.Options{Faults: func(op memlog.Op) memlog.Fault {
			if op.Kind == memlog.OpNext {
				return memlog.Fault{Err: events.ErrUnknown}
			}
			return memlog.Fault{}
		}})
		s := follow(t, log, nil)
		s.reject("web", "bad_time")
		if _, err := s.List(t.Context(), rejected.Query{Limit: 1}); !errors.Is(err, rejected.ErrCatchingUp) || !strings.Contains(err.Error(), "0 of 1") {
			t.Errorf("list: %v, want ErrCatchingUp with the progress", err)
		}
	})
}

// A stream that lost its tail is followed anew.
func TestLostTail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := follow(t, newLog(t, memlog.Options{}), nil)
		for n := range 4 {
			s.reject("web", fmt.Sprint("c", n))
		}
		s.want("all", "4", "3", "2", "1")
		if err := s.log.Truncate(events.RejectedStream, 2); err != nil {
			t.Fatal(err)
		}
		s.log.Crash()
		time.Sleep(time.Minute)
		s.want("what is left", "2", "1")
	})
}
