package memlog_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/logtest"
	"github.com/dossier360/dossier/events/memlog"
)

var stream = events.StreamConfig{Name: "EVENTS_00", Subjects: []string{events.SubjectEvents(0)}, Permanent: true}

func TestLog(t *testing.T) {
	t.Parallel()
	logtest.TestLog(t, func(t *testing.T) (events.Log, func() events.Log) {
		l := memlog.New(memlog.Options{})
		return l, func() events.Log {
			l.Crash()
			return l
		}
	})
}

// newLog is a log with one stream of three messages "a", "b", "c".
func newLog(t *testing.T, o memlog.Options) *memlog.Log {
	t.Helper()
	l := memlog.New(o)
	if err := l.CreateStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"a", "b", "c"} {
		if _, err := l.Append(t.Context(), stream.Name, events.SubjectEvents(0), []byte(text), events.Expect{}); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func TestFaults(t *testing.T) {
	t.Parallel()
	var asked []string
	faults := map[string]memlog.Fault{
		"append EVENTS_00 #4": {Err: events.ErrOverload},
		"append EVENTS_00 #5": {Err: events.ErrUnknown},
		"append EVENTS_00 #6": {Err: events.ErrUnknown, Stored: true},
		"append EVENTS_00 #7": {Err: events.ErrUnknown, Stored: true}, // but in conflict
		"create EVENTS_00 #2": {Err: events.ErrUnknown, Stored: true},
		"create EVENTS_01 #1": {Err: events.ErrUnknown, Stored: true},
		"create EVENTS_02 #1": {Err: events.ErrUnknown},
		"get EVENTS_00 #1":    {Err: events.ErrCorrupt},
		"info EVENTS_00 #1":   {Err: events.ErrClosed},
		"read EVENTS_00 #1":   {Err: events.ErrClosed},
		"next EVENTS_00 #2":   {Err: events.ErrCorrupt},
	}
	l := newLog(t, memlog.Options{Faults: func(o memlog.Op) memlog.Fault {
		asked = append(asked, o.String())
		return faults[o.String()]
	}})
	ctx := t.Context()
	add := func(e events.Expect) error {
		_, err := l.Append(ctx, stream.Name, events.SubjectEvents(0), []byte("d"), e)
		return err
	}
	create := func(name events.Stream) error {
		return l.CreateStream(ctx, events.StreamConfig{Name: name, Subjects: []string{"x." + string(name)}})
	}
	last := func(name events.Stream) (uint64, error) {
		info, err := l.Info(ctx, name)
		return info.Last, err
	}
	_, getErr := l.Get(ctx, stream.Name, 1)
	_, infoErr := last(stream.Name)
	_, readErr := l.Read(ctx, stream.Name, 1)
	for _, test := range []struct {
		name      string
		got, want error
	}{
		{"append 4", add(events.Expect{}), events.ErrOverload},
		{"append 5", add(events.Expect{}), events.ErrUnknown},
		{"append 6", add(events.Expect{}), events.ErrUnknown},
		{"append 7", add(events.ExpectLast(3)), events.ErrConflict},
		{"create 0", create("EVENTS_00"), events.ErrUnknown},
		{"create 1", create("EVENTS_01"), events.ErrUnknown},
		{"create 2", create("EVENTS_02"), events.ErrUnknown},
		{"get", getErr, events.ErrCorrupt},
		{"info", infoErr, events.ErrClosed},
		{"read", readErr, events.ErrClosed},
	} {
		if !errors.Is(test.got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, test.got, test.want)
		}
	}
	if got, err := last(stream.Name); got != 4 || err != nil {
		t.Errorf("last sequence %d, error %v; want 4: only append 6 was stored", got, err)
	}
	if _, err := last("EVENTS_01"); err != nil {
		t.Errorf("a stream created with a lost answer: %v", err)
	}
	if _, err := last("EVENTS_02"); !errors.Is(err, events.ErrNotFound) {
		t.Errorf("a stream whose creation failed: %v, want ErrNotFound", err)
	}

	reader, err := l.Read(ctx, stream.Name, 1)
	if err != nil {
		t.Fatal(err)
	}
	var read []uint64
	for range 3 {
		m, err := reader.Next(ctx)
		if err != nil && !errors.Is(err, events.ErrCorrupt) {
			t.Fatal(err)
		}
		read = append(read, m.Seq)
	}
	if diff := cmp.Diff([]uint64{1, 0, 2}, read); diff != "" {
		t.Errorf("sequences read, 0 for the fault (-want +got):\n%s", diff)
	}
	if !slices.Contains(asked, "append EVENTS_00 #7") {
		t.Errorf("asked about %q", asked)
	}
}

func TestCrashEndsTheCallUnderWay(t *testing.T) {
	t.Parallel()
	var l *memlog.Log
	crashAt := 4
	l = newLog(t, memlog.Options{Faults: func(o memlog.Op) memlog.Fault {
		if o.Kind == memlog.OpAppend && o.N == crashAt {
			l.Crash()
		}
		return memlog.Fault{}
	}})
	reader, err := l.Read(t.Context(), stream.Name, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), stream.Name, events.SubjectEvents(0), []byte("d"), events.Expect{}); !errors.Is(err, events.ErrClosed) {
		t.Errorf("append during a crash: %v, want ErrClosed", err)
	}
	if _, err := reader.Next(t.Context()); !errors.Is(err, events.ErrClosed) {
		t.Errorf("a reader of the life before: %v, want ErrClosed", err)
	}
	if seq, err := l.Append(t.Context(), stream.Name, events.SubjectEvents(0), []byte("d"), events.Expect{}); seq != 4 || err != nil {
		t.Errorf("append after the crash: sequence %d, error %v; want 4, for the one under way was not stored", seq, err)
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t, memlog.Options{})
		reader, err := l.Read(t.Context(), stream.Name, 4)
		if err != nil {
			t.Fatal(err)
		}
		waiting := make(chan error)
		go func() {
			_, err := reader.Next(t.Context())
			waiting <- err
		}()
		synctest.Wait()
		l.Close()
		if err := <-waiting; !errors.Is(err, events.ErrClosed) {
			t.Errorf("a reader that waited: %v, want ErrClosed", err)
		}
		if _, err := l.Info(t.Context(), stream.Name); !errors.Is(err, events.ErrClosed) {
			t.Errorf("info after close: %v, want ErrClosed", err)
		}
	})
}

func TestReaderCloseWakesNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t, memlog.Options{})
		reader, err := l.Read(t.Context(), stream.Name, 4)
		if err != nil {
			t.Fatal(err)
		}
		waiting := make(chan error)
		go func() {
			_, err := reader.Next(t.Context())
			waiting <- err
		}()
		synctest.Wait()
		reader.Close()
		if err := <-waiting; !errors.Is(err, events.ErrClosed) {
			t.Errorf("next: %v, want ErrClosed", err)
		}
	})
}

func TestTruncate(t *testing.T) {
	t.Parallel()
	l := newLog(t, memlog.Options{})
	if err := l.Truncate(stream.Name, 4); err == nil {
		t.Error("truncate beyond the end: no error")
	}
	if err := l.Truncate(stream.Name, 1); err != nil {
		t.Fatal(err)
	}
	first, err := l.Get(t.Context(), stream.Name, 1)
	if err != nil {
		t.Fatal(err)
	}
	info, err := l.Info(t.Context(), stream.Name)
	if err != nil || info.Last != 1 || !info.LastTime.Equal(first.Time) {
		t.Errorf("info %+v, error %v; want last 1 of %v", info, err, first.Time)
	}
	if seq, err := l.Append(t.Context(), stream.Name, events.SubjectEvents(0), []byte("other"), events.Expect{}); seq != 2 || err != nil {
		t.Errorf("append: sequence %d, error %v; want 2, used again", seq, err)
	}
}

func TestDamage(t *testing.T) {
	t.Parallel()
	l := newLog(t, memlog.Options{})
	if err := l.Damage(stream.Name, 2); err != nil {
		t.Fatal(err)
	}
	m, err := l.Get(t.Context(), stream.Name, 2)
	if err != nil || string(m.Data) == "b" {
		t.Errorf("get: %q, error %v; want another byte", m.Data, err)
	}
	if err := l.Damage(stream.Name, 4); !errors.Is(err, events.ErrNotFound) {
		t.Errorf("damage beyond the end: %v, want ErrNotFound", err)
	}
}

func TestRetentionAndClock(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now := start
	l := memlog.New(memlog.Options{Now: func() time.Time { return now }})
	feed := events.StreamConfig{Name: events.FeedStream, Subjects: []string{"dossier.feed.>"}, Retention: time.Hour}
	if err := l.CreateStream(t.Context(), feed); err != nil {
		t.Fatal(err)
	}
	// The second message is older than the first: a clock may step back.
	for _, at := range []time.Duration{30 * time.Minute, 20 * time.Minute, 70 * time.Minute} {
		now = start.Add(at)
		if _, err := l.Append(t.Context(), feed.Name, "dossier.feed.x", []byte(at.String()), events.Expect{}); err != nil {
			t.Fatal(err)
		}
	}
	if m, err := l.Get(t.Context(), feed.Name, 2); err != nil || !m.Time.Equal(start.Add(20*time.Minute)) {
		t.Errorf("message 2 at %v, error %v", m.Time, err)
	}
	reader, err := l.Read(t.Context(), feed.Name, 1)
	if err != nil {
		t.Fatal(err)
	}
	now = start.Add(100 * time.Minute)
	if m, err := reader.Next(t.Context()); err != nil || m.Seq != 3 {
		t.Errorf("read sequence %d, error %v; want 3: the first two are expired", m.Seq, err)
	}
	info, err := l.Info(t.Context(), feed.Name)
	if err != nil || info.First != 3 || info.Last != 3 {
		t.Errorf("info %+v, error %v; want first and last 3", info, err)
	}
}

func BenchmarkAppendRead(b *testing.B) {
	l := memlog.New(memlog.Options{})
	if err := l.CreateStream(b.Context(), stream); err != nil {
		b.Fatal(err)
	}
	reader, err := l.Read(b.Context(), stream.Name, 1)
	if err != nil {
		b.Fatal(err)
	}
	record := make([]byte, 4<<10)
	b.SetBytes(int64(len(record)))
	for b.Loop() {
		if _, err := l.Append(b.Context(), stream.Name, events.SubjectEvents(0), record, events.Expect{}); err != nil {
			b.Fatal(err)
		}
		if _, err := reader.Next(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
