// Package logtest is the conformance suite of [events.Log]: what both the log
// over JetStream and its twin in memory must pass.
package logtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dossier360/dossier/events"
)

// Open makes an empty log. reopen closes it in good order and opens it again,
// as a restart of the program does; the log opened last is closed by a cleanup
// of t.
type Open func(t *testing.T) (l events.Log, reopen func() events.Log)

// permanent is a stream as a partition has it.
var permanent = events.StreamConfig{
	Name:      "EVENTS_00",
	Subjects:  []string{events.SubjectEvents(0), events.SubjectNotices(0), events.SubjectMoves(0)},
	Permanent: true,
}

// TestLog runs the suite.
func TestLog(t *testing.T, open Open) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, open Open)
	}{
		{"empty stream", testEmptyStream},
		{"no stream", testNoStream},
		{"create twice", testCreateTwice},
		{"append", testAppend},
		{"data is copied", testDataIsCopied},
		{"conflict", testConflict},
		{"one of many wins", testOneOfManyWins},
		{"concurrent appends", testConcurrentAppends},
		{"read from", testReadFrom},
		{"reader waits", testReaderWaits},
		{"reader survives its context", testReaderSurvivesContext},
		{"reader closed", testReaderClosed},
		{"readers are independent", testIndependentReaders},
		{"big message", testBigMessage},
		{"streams with wildcards", testWildcards},
		{"reopen", testReopen},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, open)
		})
	}
}

func testEmptyStream(t *testing.T, open Open) {
	l, _ := open(t)
	create(t, l, permanent)
	info := info(t, l, permanent.Name)
	if info.Last != 0 || info.First <= info.Last {
		t.Errorf("empty stream: first %d, last %d; want last 0 and first beyond it", info.First, info.Last)
	}
	if info.Created.IsZero() {
		t.Error("empty stream: no instant of creation")
	}
	if _, err := l.Get(t.Context(), permanent.Name, 1); !errors.Is(err, events.ErrNotFound) {
		t.Errorf("get of an empty stream: %v, want ErrNotFound", err)
	}
}

func testNoStream(t *testing.T, open Open) {
	l, _ := open(t)
	ctx := t.Context()
	if _, err := l.Info(ctx, "EVENTS_07"); !errors.Is(err, events.ErrNotFound) {
		t.Errorf("info: %v, want ErrNotFound", err)
	}
	if _, err := l.Get(ctx, "EVENTS_07", 1); !errors.Is(err, events.ErrNotFound) {
		t.Errorf("get: %v, want ErrNotFound", err)
	}
	if _, err := l.Append(ctx, "EVENTS_07", events.SubjectEvents(7), []byte("x"), events.Expect{}); !errors.Is(err, events.ErrNotFound) {
		t.Errorf("append: %v, want ErrNotFound", err)
	}
	if r, err := l.Read(ctx, "EVENTS_07", 1); !errors.Is(err, events.ErrNotFound) {
		t.Errorf("read: %v, want ErrNotFound", err)
		if err == nil {
			r.Close()
		}
	}
	// A subject of another stream must not end up there.
	create(t, l, permanent)
	create(t, l, events.StreamConfig{Name: "EVENTS_01", Subjects: []string{events.SubjectEvents(1)}, Permanent: true})
	for _, subject := range []string{events.SubjectEvents(1), "dossier.elsewhere", "dossier.events.00.more"} {
		_, err := l.Append(ctx, permanent.Name, subject, []byte("x"), events.Expect{})
		if err == nil {
			t.Errorf("append to %s on subject %s: no error", permanent.Name, subject)
		}
	}
	for _, s := range []events.Stream{"EVENTS_00", "EVENTS_01"} {
		if got := info(t, l, s).Last; got != 0 {
			t.Errorf("stream %s has %d messages, want none", s, got)
		}
	}
}

func testCreateTwice(t *testing.T, open Open) {
	l, _ := open(t)
	create(t, l, permanent)
	appendTo(t, l, "one")
	before := info(t, l, permanent.Name)
	create(t, l, permanent)
	other := permanent
	other.Permanent, other.Retention = false, 24*time.Hour
	create(t, l, other)
	other = permanent
	other.Subjects = []string{"elsewhere"}
	kept := events.StreamConfig{Name: events.FeedStream, Subjects: []string{"dossier.feed.>"}, Retention: time.Hour}
	create(t, l, kept)
	kept.Permanent, kept.Retention = true, 0
	for _, c := range []events.StreamConfig{other, kept} {
		if err := l.CreateStream(t.Context(), c); !errors.Is(err, events.ErrCorrupt) || !strings.Contains(fmt.Sprint(err), string(c.Name)) {
			t.Errorf("create %+v over another one: %v, want ErrCorrupt and the name", c, err)
		}
	}
	if diff := cmp.Diff(before, info(t, l, permanent.Name)); diff != "" {
		t.Errorf("creating it again changed the stream (-before +after):\n%s", diff)
	}
}

func testAppend(t *testing.T, open Open) {
	l, _ := open(t)
	create(t, l, permanent)
	subjects := []string{events.SubjectEvents(0), events.SubjectNotices(0), events.SubjectMoves(0)}
	for i := range 9 {
		seq, err := l.Append(t.Context(), permanent.Name, subjects[i%3], fmt.Appendf(nil, "message %d", i+1), events.Expect{})
		if err != nil || seq != uint64(i+1) {
			t.Fatalf("append %d: sequence %d, error %v", i+1, seq, err)
		}
	}
	read := readAll(t, l, permanent.Name, 1)
	if len(read) != 9 {
		t.Fatalf("read %d messages, want 9", len(read))
	}
	for i, m := range read {
		if want := fmt.Sprintf("message %d", i+1); string(m.Data) != want || m.Subject != subjects[i%3] || m.Seq != uint64(i+1) {
			t.Errorf("message %d: sequence %d on %s, %q; want %q on %s", i+1, m.Seq, m.Subject, m.Data, want, subjects[i%3])
		}
		got, err := l.Get(t.Context(), permanent.Name, m.Seq)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, got); diff != "" {
			t.Errorf("message %d: Get differs from Next (-next +get):\n%s", m.Seq, diff)
		}
	}
	want := events.StreamInfo{Created: info(t, l, permanent.Name).Created, First: 1, Last: 9, LastTime: read[8].Time}
	if diff := cmp.Diff(want, info(t, l, permanent.Name)); diff != "" {
		t.Errorf("info (-want +got):\n%s", diff)
	}
	if _, err := l.Get(t.Context(), permanent.Name, 10); !errors.Is(err, events.ErrNotFound) {
		t.Errorf("get beyond the end: %v, want ErrNotFound", err)
	}
	if _, err := l.Get(t.Context(), permanent.Name, 0); !errors.Is(err, events.ErrNotFound) {
		t.Errorf("get of sequence 0: %v, want ErrNotFound", err)
	}
}

func testDataIsCopied(t *testing.T, open Open) {
	l, _ := open(t)
	create(t, l, permanent)
	data := []byte("as appended")
	if _, err := l.Append(t.Context(), permanent.Name, events.SubjectEvents(0), data, events.Expect{}); err != nil {
		t.Fatal(err)
	}
	clear(data) // the caller's buffer is his again
	for range 2 {
		m := readAll(t, l, permanent.Name, 1)[0]
		if string(m.Data) != "as appended" {
			t.Fatalf("read %q", m.Data)
		}
		clear(m.Data) // and so is what he read
	}
}

func testConflict(t *testing.T, open Open) {
	l, _ := open(t)
	create(t, l, permanent)
	try := func(expect uint64) (uint64, error) {
		return l.Append(t.Context(), permanent.Name, events.SubjectNotices(0), []byte("x"), events.ExpectLast(expect))
	}
	for _, step := range []struct{ expect, seq uint64 }{
		{1, 0}, {0, 1}, {0, 0}, {2, 0}, {1, 2}, {1, 0}, {2, 3},
	} {
		seq, err := try(step.expect)
		if step.seq == 0 && !errors.Is(err, events.ErrConflict) {
			t.Errorf("append expecting last %d: sequence %d, error %v; want ErrConflict", step.expect, seq, err)
		}
		if step.seq != 0 && (err != nil || seq != step.seq) {
			t.Errorf("append expecting last %d: sequence %d, error %v; want sequence %d", step.expect, seq, err, step.seq)
		}
	}
	if got := info(t, l, permanent.Name).Last; got != 3 {
		t.Errorf("last sequence %d, want 3: a conflict stored something", got)
	}
}

func testOneOfManyWins(t *testing.T, open Open) {
	l, _ := open(t)
	create(t, l, permanent)
	const rivals, rounds = 8, 10
	var mu sync.Mutex
	won := map[uint64]int{}
	var wg sync.WaitGroup
	for range rivals {
		wg.Go(func() {
			for round := range uint64(rounds) {
				_, err := l.Append(t.Context(), permanent.Name, events.SubjectNotices(0), []byte("x"), events.ExpectLast(round))
				if err != nil && !errors.Is(err, events.ErrConflict) {
					t.Errorf("append expecting last %d: %v", round, err)
				}
				if err == nil {
					mu.Lock()
					won[round]++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	// A rival that is behind meets conflicts only; one that is ahead of the
	// stream too. Whoever came first in a round won it alone.
	for round := range uint64(rounds) {
		if won[round] != 1 {
			t.Errorf("round %d was won %d times, want once", round, won[round])
		}
	}
	if got := info(t, l, permanent.Name).Last; got != rounds {
		t.Errorf("last sequence %d, want %d", got, rounds)
	}
}

func testConcurrentAppends(t *testing.T, open Open) {
	l, _ := open(t)
	create(t, l, permanent)
	const writers, each = 8, 25
	reader, err := l.Read(t.Context(), permanent.Name, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var mu sync.Mutex
	acknowledged := map[uint64]string{}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				text := fmt.Sprintf("writer %d message %d", w, i)
				seq, err := l.Append(t.Context(), permanent.Name, events.SubjectEvents(0), []byte(text), events.Expect{})
				if err != nil {
					t.Errorf("%s: %v", text, err)
					return
				}
				mu.Lock()
				acknowledged[seq] = text
				mu.Unlock()
			}
		})
	}
	read := map[uint64]string{}
	for want := uint64(1); want <= writers*each; want++ {
		m, err := reader.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if m.Seq != want {
			t.Fatalf("read sequence %d, want %d", m.Seq, want)
		}
		read[m.Seq] = string(m.Data)
	}
	wg.Wait()
	if diff := cmp.Diff(acknowledged, read); diff != "" {
		t.Errorf("what was read is not what was acknowledged (-acknowledged +read):\n%s", diff)
	}
}

func testReadFrom(t *testing.T, open Open) {
	l, _ := open(t)
	create(t, l, permanent)
	appendTo(t, l, "one", "two", "three")
	for from, want := range map[uint64][]string{
		1: {"one", "two", "three"},
		2: {"two", "three"},
		3: {"three"},
		4: nil,
	} {
		var got []string
		for _, m := range readAll(t, l, permanent.Name, from) {
			got = append(got, string(m.Data))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("from %d (-want +got):\n%s", from, diff)
		}
	}
	if r, err := l.Read(t.Context(), permanent.Name, 0); err == nil {
		r.Close()
		t.Error("read from 0: no error, but sequences start at 1")
	}
}

func testReaderWaits(t *testing.T, open Open) {
	l, _ := open(t)
	create(t, l, permanent)
	reader, err := l.Read(t.Context(), permanent.Name, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for _, text := range []string{"one", "two", "three"} {
		got := make(chan string)
		go func() {
			m, err := reader.Next(t.Context())
			if err != nil {
				t.Error(err)
			}
			got <- string(m.Data)
		}()
		appendTo(t, l, text)
		if read := <-got; read != text {
			t.Fatalf("read %q, want %q", read, text)
		}
	}
}

func testReaderSurvivesContext(t *testing.T, open Open) {
	l, _ := open(t)
	create(t, l, permanent)
	reader, err := l.Read(t.Context(), permanent.Name, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := reader.Next(done); !errors.Is(err, context.Canceled) {
		t.Errorf("next with a context that had ended: %v", err)
	}
	for i := range 20 {
		// The context ends while Next waits, or about when a message comes:
		// either way no message may be lost.
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error)
		var got events.Message
		go func() {
			m, err := reader.Next(ctx)
			got = m
			result <- err
		}()
		if i%2 == 0 {
			cancel()
		}
		text := fmt.Sprintf("message %d", i+1)
		appendTo(t, l, text)
		cancel()
		err := <-result
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatalf("next: %v", err)
		}
		if err != nil {
			if got, err = reader.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got.Seq != uint64(i+1) || string(got.Data) != text {
			t.Fatalf("read sequence %d, %q; want %d, %q", got.Seq, got.Data, i+1, text)
		}
	}
}

func testReaderClosed(t *testing.T, open Open) {
	l, _ := open(t)
	create(t, l, permanent)
	appendTo(t, l, "one")
	reader, err := l.Read(t.Context(), permanent.Name, 1)
	if err != nil {
		t.Fatal(err)
	}
	reader.Close()
	reader.Close()
	if m, err := reader.Next(t.Context()); !errors.Is(err, events.ErrClosed) {
		t.Errorf("next after close: message %d, error %v; want ErrClosed", m.Seq, err)
	}
}

func testIndependentReaders(t *testing.T, open Open) {
	l, _ := open(t)
	create(t, l, permanent)
	var want []string
	for i := range 50 {
		want = append(want, fmt.Sprintf("message %d", i+1))
	}
	appendTo(t, l, want...)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var got []string
			for _, m := range readAll(t, l, permanent.Name, 1) {
				got = append(got, string(m.Data))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("one of four readers (-want +got):\n%s", diff)
			}
		})
	}
	wg.Wait()
}

func testBigMessage(t *testing.T, open Open) {
	l, _ := open(t)
	create(t, l, permanent)
	// The greatest frame there can be, and a usual great one.
	for i, size := range []int{300 << 10, events.MaxUnpackedBytes + 64} {
		big := bytes.Repeat([]byte("0123456789abcdef"), size/16)
		if _, err := l.Append(t.Context(), permanent.Name, events.SubjectEvents(0), big, events.Expect{}); err != nil {
			t.Fatalf("append %d bytes: %v", len(big), err)
		}
		m, err := l.Get(t.Context(), permanent.Name, uint64(i+1))
		if err != nil || !bytes.Equal(m.Data, big) {
			t.Fatalf("get: %d bytes, error %v; want the %d bytes appended", len(m.Data), err, len(big))
		}
		if read := readAll(t, l, permanent.Name, uint64(i+1)); !bytes.Equal(read[0].Data, big) {
			t.Fatalf("read: %d bytes, want the %d bytes appended", len(read[0].Data), len(big))
		}
	}
}

func testWildcards(t *testing.T, open Open) {
	l, _ := open(t)
	create(t, l, events.StreamConfig{Name: events.FeedStream, Subjects: []string{"dossier.feed.>", "dossier.feedmark.*"}, Retention: 24 * time.Hour})
	for i, subject := range []string{"dossier.feed.lifecycle.lost", "dossier.feedmark.03", "dossier.feed.customer"} {
		seq, err := l.Append(t.Context(), events.FeedStream, subject, []byte("x"), events.Expect{})
		if err != nil || seq != uint64(i+1) {
			t.Errorf("append on %s: sequence %d, error %v", subject, seq, err)
		}
	}
	if _, err := l.Append(t.Context(), events.FeedStream, "dossier.feedmark.03.more", []byte("x"), events.Expect{}); err == nil {
		t.Error("append on dossier.feedmark.03.more: no error, but * stands for one token")
	}
	if got := len(readAll(t, l, events.FeedStream, 1)); got != 3 {
		t.Errorf("read %d messages, want 3", got)
	}
}

func testReopen(t *testing.T, open Open) {
	l, reopen := open(t)
	create(t, l, permanent)
	empty := events.StreamConfig{Name: "EVENTS_01", Subjects: []string{events.SubjectEvents(1)}, Permanent: true}
	create(t, l, empty)
	for i := range 100 {
		appendTo(t, l, fmt.Sprintf("message %d", i+1))
	}
	messages := readAll(t, l, permanent.Name, 1)
	before, beforeEmpty := info(t, l, permanent.Name), info(t, l, empty.Name)

	for range 2 {
		reader, err := l.Read(t.Context(), permanent.Name, before.Last+1)
		if err != nil {
			t.Fatal(err)
		}
		waiting := make(chan error)
		go func() {
			_, err := reader.Next(t.Context())
			waiting <- err
		}()
		l = reopen()
		if err := <-waiting; !errors.Is(err, events.ErrClosed) {
			t.Errorf("a reader of the log that was closed: %v, want ErrClosed", err)
		}
		if diff := cmp.Diff(before, info(t, l, permanent.Name)); diff != "" {
			t.Errorf("reopening changed the stream (-before +after):\n%s", diff)
		}
		if diff := cmp.Diff(beforeEmpty, info(t, l, empty.Name)); diff != "" {
			t.Errorf("reopening changed the empty stream (-before +after):\n%s", diff)
		}
		if diff := cmp.Diff(messages, readAll(t, l, permanent.Name, 1)); diff != "" {
			t.Errorf("reopening changed the messages (-before +after):\n%s", diff)
		}
	}
	if seq, err := l.Append(t.Context(), permanent.Name, events.SubjectEvents(0), []byte("after"), events.ExpectLast(100)); err != nil || seq != 101 {
		t.Errorf("append after reopening: sequence %d, error %v; want 101", seq, err)
	}
}

func create(t *testing.T, l events.Log, c events.StreamConfig) {
	t.Helper()
	if err := l.CreateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func appendTo(t *testing.T, l events.Log, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if _, err := l.Append(t.Context(), permanent.Name, events.SubjectEvents(0), []byte(text), events.Expect{}); err != nil {
			t.Fatal(err)
		}
	}
}

func info(t *testing.T, l events.Log, s events.Stream) events.StreamInfo {
	t.Helper()
	info, err := l.Info(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// readAll reads from a sequence to the end as it is now.
func readAll(t *testing.T, l events.Log, s events.Stream, from uint64) []events.Message {
	t.Helper()
	last := info(t, l, s).Last
	reader, err := l.Read(t.Context(), s, from)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer reader.Close()
	var read []events.Message
	for seq := from; seq <= last; seq++ {
		m, err := reader.Next(t.Context())
		if err != nil {
			t.Error(err)
			return read
		}
		read = append(read, m)
	}
	return read
}
