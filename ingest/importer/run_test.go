package importer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/dossier360/dossier/ingest/importer"
)

const placed = "order.placed"

func TestVerdicts(t *testing.T) {
	t.Parallel()
	s := &fakeServer{}
	mustRun(t, s, []row{{id: "1", typ: placed, says: "a"}, {id: "2", typ: placed, says: "a"}, {id: "1", typ: "traits.set", says: "a"}}, 0)

	rows := []row{
		{id: "1", typ: placed, says: "a"},
		{id: "2", typ: placed, says: "b"},
		{id: "3", typ: placed, says: "c"},
		{typ: "skip"},
		{typ: "unmatched"},
		{typ: "refuse", says: "x"},
		{id: "4", typ: placed, user: "two", says: "d"},
		{id: "5", typ: placed, user: "bad", says: "e"},
		{id: "1", typ: "traits.set", says: "b"},
		{id: "3", typ: placed, says: "c"},
		{id: "3", typ: placed, says: "other"},
	}
	j, got := mustRun(t, s, rows, 1)
	want := importer.Summary{Rows: 11, Events: 8, New: 1, Changed: 2, Duplicate: 2, Conflicting: 2, Rejected: 2, Skipped: 1, Unmatched: 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(`a.csv:1 order.placed 1 duplicate 
a.csv:2 order.placed 2 changed 
a.csv:3 order.placed 3 new 
a.csv:4 - - skipped 
a.csv:5 - - unmatched 
a.csv:6 - - rejected not a number
a.csv:7 order.placed 4 conflicting names two customers
a.csv:8 order.placed 5 rejected the identifier is bad (bad_type)
a.csv:9 traits.set 1 changed 
a.csv:10 order.placed 3 duplicate the same record as line 3
a.csv:11 order.placed 3 conflicting the same record id as line 3, which says otherwise and was taken
`, j.lines()); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	// What happened is corrected; how things are is told again.
	if diff := cmp.Diff(`order.placed/1 a
order.placed/2 a
traits.set/1 a
order.placed/2~00001795305601000000 b corrects order.placed/2 at 2026-11-22T00:00:01Z
order.placed/3 c
order.placed/4 d
traits.set/1~00001795305601000000 b
`, s.told()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	if s.source != "erp" {
		t.Errorf("told by source %q", s.source)
	}

	if _, got = mustRun(t, s, rows, 2); got.New+got.Changed != 0 {
		t.Errorf("the same again: %+v, want nothing new or changed", got)
	}
}

// A dry run says the same and sends nothing.
func TestDryRun(t *testing.T) {
	t.Parallel()
	s := &fakeServer{}
	mustRun(t, s, []row{{id: "1", typ: placed, says: "a"}}, 0)
	before := s.told()
	rows := []row{{id: "1", typ: placed, says: "b"}, {id: "2", typ: placed, says: "c"}, {id: "3", typ: placed, user: "bad"}}
	dry := newJob(s)
	foretold, err := dry.run(t.Context(), rows, 1, true)
	if err != nil {
		t.Fatal(err)
	}
	if s.told() != before {
		t.Errorf("a dry run sent events:\n%s", s.told())
	}
	wet, summary := mustRun(t, s, rows, 1)
	if diff := cmp.Diff(foretold, summary); diff != "" {
		t.Errorf("summary (-foretold +done):\n%s", diff)
	}
	if diff := cmp.Diff(dry.lines(), wet.lines()); diff != "" {
		t.Errorf("outcomes (-foretold +done):\n%s", diff)
	}
}

// Only the first preview waits for what was appended before.
func TestOnePreviewWaits(t *testing.T) {
	t.Parallel()
	s := &fakeServer{}
	var rows []row
	for i := range 2001 {
		rows = append(rows, row{id: fmt.Sprint(i), typ: placed})
	}
	_, got := mustRun(t, s, rows, 0)
	if got.New != 2001 || len(s.log) != 2001 {
		t.Errorf("%d new, %d in the log, want 2,001", got.New, len(s.log))
	}
	for i, e := range s.log {
		if want := fmt.Sprintf("order.placed/%d", i); e.Id != want {
			t.Fatalf("event %d is %s, want %s: out of order", i, e.Id, want)
		}
	}
	if diff := cmp.Diff([]string{"", "r0", "r0", "r0", "r0"}, s.receipts); diff != "" {
		t.Errorf("receipts of the previews (-want +got):\n%s", diff)
	}
	if previews := strings.Count(strings.Join(s.calls, "\n"), "preview"); previews != 5 {
		t.Errorf("%d previews of 2,001 rows, want 5 of at most 500", previews)
	}
}

// A server that is busy, away, full or loses an answer is waited for, as long
// as it asks; nothing is told twice.
func TestWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &fakeServer{}
		s.fault = func(call int, _ string, after bool) (*http.Response, error) {
			busy := func(status int, retryAfter string) *http.Response {
				resp := reply(status, map[string]any{"message": "later"})
				resp.Header.Set("Retry-After", retryAfter)
				return resp
			}
			switch {
			case call == 0 && !after:
				return busy(429, "7"), nil
			case call == 1 && !after:
				return busy(503, ""), nil
			case call == 2 && !after:
				return busy(507, "60"), nil
			case call == 3 && !after, call == 5 && after:
				return nil, errGone
			}
			return nil, nil
		}
		j, got := mustRun(t, s, []row{{id: "1", typ: placed, says: "a"}}, 0)
		if got.New != 1 || len(s.log) != 1 {
			t.Errorf("%+v with %d in the log, want 1 new", got, len(s.log))
		}
		gone := `Post "http://dossier.example/v1/events?dryRun=true": connection reset by peer: 2s`
		if diff := cmp.Diff([]string{
			"429 Too Many Requests: later: 7s", "503 Service Unavailable: later: 500ms", "507 Insufficient Storage: later: 1m0s", gone,
			`Post "http://dossier.example/v1/events": connection reset by peer: 250ms`,
		}, j.waits); diff != "" {
			t.Errorf("waits (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"preview 1", "preview 1", "preview 1", "preview 1", "preview 1", "send 1", "send 1"}, s.calls); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
	})
}

// A connection that broke before any answer was one: the server is waited for.
func TestLostAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &fakeServer{fault: func(call int, _ string, after bool) (*http.Response, error) {
			switch {
			case call == 0 && after:
				return nil, io.ErrUnexpectedEOF
			case call == 1 && !after:
				return nil, errGone // nobody listens while it starts
			}
			return nil, nil
		}}
		if _, got := mustRun(t, s, []row{{id: "1", typ: placed}}, 0); got.New != 1 {
			t.Errorf("%+v, want 1 new", got)
		}
	})
}

func TestWaitingEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &fakeServer{fault: func(int, string, bool) (*http.Response, error) {
			return reply(503, map[string]any{"message": "not ready"}), nil
		}}
		j := newJob(s)
		j.server.Wait = time.Minute
		begun := time.Now()
		_, err := j.run(t.Context(), []row{{id: "1", typ: placed}}, 0, false)
		var status *importer.StatusError
		if !errors.As(err, &status) || status.Status != 503 || !strings.Contains(err.Error(), "not taken after") {
			t.Errorf("got %v, want status 503 and for how long", err)
		}
		if took := time.Since(begun); took > time.Minute || took < 40*time.Second {
			t.Errorf("gave up after %s, want almost a minute", took)
		}
	})
}

// What waiting does not help ends the import at once.
func TestHopeless(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, tc := range []struct {
			name  string
			fault func(int, string, bool) (*http.Response, error)
			key   string
			want  error
			text  string
		}{
			{"key", nil, "secret", importer.ErrWriteKey, "write key"},
			{"nobody there", func(int, string, bool) (*http.Response, error) { return nil, errGone }, "", errGone, "reset"},
			{"not ours", func(int, string, bool) (*http.Response, error) { return reply(404, 1), nil }, "", importer.ErrNotDossier, "404"},
			{"no preview", func(int, string, bool) (*http.Response, error) {
				return reply(200, map[string]any{"success": true, "accepted": 1}), nil
			}, "", importer.ErrNotDossier, "preview"},
			{"refused", func(int, string, bool) (*http.Response, error) {
				return reply(400, map[string]any{"message": "no such thing"}), nil
			}, "", nil, "400 Bad Request: no such thing"},
		} {
			s := &fakeServer{fault: tc.fault, writeKey: tc.key}
			j := newJob(s)
			_, err := j.run(t.Context(), []row{{id: "1", typ: placed}}, 0, false)
			if err == nil || tc.want != nil && !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) || len(j.waits) > 0 {
				t.Errorf("%s: %v after %d waits, want %v (%s) at once", tc.name, err, len(j.waits), tc.want, tc.text)
			}
		}
	})
}

// A server may refuse what its preview let pass.
func TestRefusedAfterAll(t *testing.T) {
	t.Parallel()
	s := &fakeServer{}
	s.fault = func(_ int, kind string, after bool) (*http.Response, error) {
		if kind == "send" && !after {
			return reply(200, map[string]any{"accepted": 1, "rejected": []map[string]any{{"index": 1, "code": "blocked_id", "message": "blocked"}}}), nil
		}
		return nil, nil
	}
	j, got := mustRun(t, s, []row{{id: "1", typ: placed}, {id: "2", typ: placed}}, 0)
	if got.New != 1 || got.Rejected != 1 {
		t.Errorf("%+v, want 1 new and 1 rejected", got)
	}
	if want := "a.csv:2 order.placed 2 rejected blocked (blocked_id)\n"; !strings.HasSuffix(j.lines(), want) {
		t.Errorf("told %q, want it to end with %q", j.lines(), want)
	}
}

// A revision is later than the latest known, also where that one's clock was
// ahead.
func TestRevisionAfterAClockAhead(t *testing.T) {
	t.Parallel()
	s := &fakeServer{}
	for i, says := range []string{"a", "b", "c", "a"} {
		mustRun(t, s, []row{{id: "1", typ: placed, says: says}}, -i)
		if latest := s.latest(placed, "order.placed/1"); latest.PropertiesJson != says {
			t.Errorf("after run %d the latest says %s, want %s; log:\n%s", i, latest.PropertiesJson, says, s.told())
		}
	}
}

// What was forgotten of a long run the server still knows.
func TestForgotten(t *testing.T) {
	t.Parallel()
	s := &fakeServer{}
	var rows []row
	for i := range 100 {
		rows = append(rows, row{id: fmt.Sprint(i), typ: placed, says: "a"})
	}
	rows = append(rows, row{id: "99", typ: placed, says: "b"}, row{id: "0", typ: placed, says: "a"})
	j := newJob(s)
	j.batch, j.remembered = 10, 10
	got, err := j.run(t.Context(), rows, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	if got.Conflicting != 1 || got.New+got.Duplicate != 101 || len(s.log) != 100 {
		t.Errorf("%+v with %d in the log, want 100 told once, and the conflict found", got, len(s.log))
	}
}

// A record that corrects another names it by its record id; told otherwise later
// it corrects the same.
func TestRecordsThatCorrect(t *testing.T) {
	t.Parallel()
	s := &fakeServer{}
	mustRun(t, s, []row{{id: "1", typ: placed, says: "a"}, {id: "2", typ: placed, says: "b", corrects: "1"}}, 0)
	mustRun(t, s, []row{{id: "2", typ: placed, says: "c", corrects: "1"}}, 1)
	if diff := cmp.Diff(`order.placed/1 a
order.placed/2 b corrects order.placed/1 at 1970-01-01T00:00:00Z
order.placed/2~00001795305601000000 c corrects order.placed/1 at 2026-11-22T00:00:01Z
`, s.told()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// Ids that leave no room for a revision's number, or look like one, are told as
// their hash.
func TestLongIDs(t *testing.T) {
	t.Parallel()
	s := &fakeServer{}
	fits := strings.Repeat("长", 200-21-len("order.placed/"))
	rows := []row{{id: fits, typ: placed}, {id: fits + "1", typ: placed}, {id: fits + "2", typ: placed}, {id: "x~01234567890123456789", typ: placed}}
	_, got := mustRun(t, s, rows, 0)
	if got.New != 4 {
		t.Fatalf("%+v, want 4 new", got)
	}
	if s.log[0].Id != "order.placed/"+fits {
		t.Errorf("the longest that fits is told as %s", s.log[0].Id)
	}
	for _, e := range s.log[1:] {
		if len(e.Id) != 64 {
			t.Errorf("%q is no hash", e.Id)
		}
	}
	for i := range rows {
		rows[i].says = "changed"
	}
	if _, got = mustRun(t, s, rows, 1); got.Changed != 4 {
		t.Errorf("changed: %+v, want 4", got)
	}
	for _, e := range s.log {
		if n := len([]rune(e.Id)); n > 200 {
			t.Errorf("an id of %d characters", n)
		}
	}
}

// An import interrupted anywhere and repeated, again and again, tells what an
// undisturbed one tells: killed before or after a call took effect, its answers
// lost, its server away.
func TestInterruptedImports(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		known := rapid.SliceOfN(drawRow(), 0, 30).Draw(t, "known")
		rows := rapid.SliceOfN(drawRow(), 1, 60).Draw(t, "rows")
		calm := &fakeServer{}
		runAll(t, calm, known, 0)
		runAll(t, calm, rows, 1)

		s := &fakeServer{}
		runAll(t, s, known, 0)
		interruptions := rapid.IntRange(1, 4).Draw(t, "interruptions")
		for number := range interruptions {
			ctx, kill := context.WithCancel(context.Background())
			at := len(s.calls) + rapid.IntRange(0, 20).Draw(t, "call")
			late := rapid.Bool().Draw(t, "after it took effect")
			s.fault = func(call int, _ string, after bool) (*http.Response, error) {
				if call < at || call == at && after != late {
					return nil, nil
				}
				kill()
				return nil, errGone
			}
			j := newJob(s)
			j.batch = rapid.IntRange(1, 10).Draw(t, "batch")
			if _, err := j.run(ctx, rows, 1+number, false); err == nil && ctx.Err() != nil {
				t.Fatalf("an import that was killed ended well")
			}
			kill()
		}
		s.fault = nil
		runAll(t, s, rows, 1+interruptions)
		if diff := cmp.Diff(calm.state(), s.state()); diff != "" {
			t.Errorf("what is known (-undisturbed +interrupted):\n%s", diff)
		}
		if len(calm.log) != len(s.log) {
			t.Errorf("%d events undisturbed, %d interrupted:\n%s\n%s", len(calm.log), len(s.log), calm.told(), s.told())
		}
	})
}

func drawRow() *rapid.Generator[row] {
	return rapid.Custom(func(t *rapid.T) row {
		return row{
			id:   rapid.SampledFrom([]string{"1", "2", "3", "4", "5", "6", "7", "8"}).Draw(t, "id"),
			typ:  rapid.SampledFrom([]string{placed, "traits.set", "Ticket Opened", "refuse", "skip"}).Draw(t, "type"),
			user: rapid.SampledFrom([]string{"u1", "u2", "two", "bad"}).Draw(t, "user"),
			says: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "says"),
		}
	})
}

func runAll(t *rapid.T, s *fakeServer, rows []row, number int) {
	t.Helper()
	if _, err := newJob(s).run(context.Background(), rows, number, false); err != nil {
		t.Fatal(err)
	}
}
