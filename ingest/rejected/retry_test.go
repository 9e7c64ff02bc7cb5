package rejected_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/ingest/rejected"
	"github.com/dossier360/dossier/ingest/wires"
	"github.com/dossier360/dossier/projections/store"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// door is a gateway on a log in memory, with a ledger of what it refuses.
type door struct {
	*rejected.Ledger
	t       *testing.T
	log     *memlog.Log
	gateway *ingest.Gateway
	mu      sync.Mutex
	noteErr error // guarded by mu: what becomes of the next note
}

func openDoor(t *testing.T) *door {
	t.Helper()
	key := directory.Key{7}
	log := memlog.New(memlog.Options{})
	genesis, err := events.Found(t.Context(), log, events.Settings{
		Partitions: 1, Normaliser: directory.Normaliser, IdentityKeyCheck: directory.KeyCheck(key),
	}, time.Now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	minter := directory.NewMinter(time.Now, rand.Reader)
	dir, err := directory.Open(t.Context(), directory.Options{
		Log: log, Key: key, Minter: minter, OpenStore: func(bool) (store.Store, error) { return store.OpenMemory(), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	d := &door{t: t, log: log}
	if d.gateway, err = ingest.NewGateway(ingest.Options{Log: log, Directory: dir, Genesis: genesis, Minter: minter}); err != nil {
		t.Fatal(err)
	}
	d.Ledger = rejected.New(rejected.Options{Log: log, Again: wires.Again, Accept: d.accept, Note: d.note})
	ctx, end := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{dir.Run, d.gateway.Run, d.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Errorf("run: %v", err)
			}
		})
	}
	t.Cleanup(func() { end(); running.Wait() })
	return d
}

// accept waits until the directory is there, as a sender would.
func (d *door) accept(ctx context.Context, b ingest.Batch) (ingest.Result, error) {
	for {
		result, err := d.gateway.Accept(ctx, b)
		if !errors.Is(err, ingest.ErrNotReady) || ctx.Err() != nil {
			return result, err
		}
	}
}

func (d *door) note(ctx context.Context, source string, seq uint64, at time.Time) error {
	d.mu.Lock()
	err := d.noteErr
	d.noteErr = nil
	d.mu.Unlock()
	if err != nil {
		return err
	}
	return d.gateway.NoteRetry(ctx, source, seq, at)
}

// send sends a call as the front does.
func (d *door) send(path, contentType, body string, received time.Time) ingest.Result {
	d.t.Helper()
	wire, ok := wires.ForPath(path)
	if !ok {
		d.t.Fatalf("no wire on %s", path)
	}
	decoded := wire.Decode(wires.Request{Path: path, MediaType: contentType, Body: []byte(body)})
	b := ingest.Batch{Source: "web", Received: received, Wire: wire.Name, Path: path, ContentType: contentType, Drafts: decoded.Drafts}
	if decoded.Refused != nil {
		b.Whole = true
		b.Drafts = []ingest.Draft{{Refused: decoded.Refused, Original: []byte(body)}}
	}
	result, err := d.accept(d.t.Context(), b)
	if err != nil {
		d.t.Fatal(err)
	}
	return result
}

func (d *door) retry(r rejected.Retry) rejected.Retried {
	d.t.Helper()
	done, err := d.Retry(d.t.Context(), r)
	if err != nil {
		d.t.Fatal(err)
	}
	return done
}

func (d *door) waiting() (n int) {
	d.t.Helper()
	page, err := d.List(d.t.Context(), rejected.Query{Limit: rejected.MaxPageSize})
	if err != nil {
		d.t.Fatal(err)
	}
	return len(page.Rejects)
}

// headers are those of all events in the log.
func (d *door) headers() (all []*logv1.Header) {
	d.t.Helper()
	info, err := d.log.Info(d.t.Context(), events.PartitionStream(0))
	if err != nil {
		d.t.Fatal(err)
	}
	for seq := uint64(2); seq <= info.Last; seq++ {
		m, err := d.log.Get(d.t.Context(), events.PartitionStream(0), seq)
		if err != nil {
			d.t.Fatal(err)
		}
		r := &logv1.Record{}
		if err := events.Open(m.Data, r); err != nil {
			d.t.Fatal(err)
		}
		for _, e := range r.Events {
			all = append(all, e.Header)
		}
	}
	return all
}

// Whatever the wire and the reason: as it came it is refused for the same reason
// again and waits on, put right it is taken in, and then it waits no longer.
func TestRetryOfEveryWireAndReason(t *testing.T) {
	t.Parallel()
	const json = "application/json"
	long := fmt.Sprintf("%0201d", 7)
	good := `{"type":"track","event":"x","userId":"1","messageId":"m"}`
	native := `{"id":"n","type":"x","identifiers":[{"type":"user_id","value":"1"}]}`
	for _, tc := range []struct {
		name, path, body, edited string
		code                     ingest.Code
	}{
		{"segment item", "/v1/batch", `{"batch":[{"type":"track","event":"x"}]}`, good, ingest.CodeMissingID},
		{"segment blocked", "/v1/batch", `{"batch":[{"type":"track","event":"x","userId":"null"}]}`, good, ingest.CodeBlockedID},
		{"segment long", "/v1/batch", `{"batch":[{"type":"track","event":"x","userId":"` + long + `"}]}`, good, ingest.CodeIDTooLong},
		{"segment type", "/v1/batch", `{"batch":[{"type":"dance","userId":"1"}]}`, good, ingest.CodeBadType},
		{"segment no type", "/v1/batch", `{"batch":[{"event":"x","userId":"1"}]}`, good, ingest.CodeMissingType},
		{"segment no event", "/v1/batch", `{"batch":[{"type":"track","userId":"1"}]}`, good, ingest.CodeMissingEvent},
		{"segment time", "/v1/batch", `{"batch":[{"type":"track","event":"x","userId":"1","timestamp":"1960-01-01T00:00:00Z"}]}`, good, ingest.CodeBadTime},
		{"segment number", "/v1/batch", `{"batch":[{"type":"track","event":"Order Completed","userId":"1","properties":{"order_id":"1","revenue":1e15}}]}`, good, ingest.CodeBadNumber},
		{"segment single", "/v1/track", `{"event":"x"}`, `{"event":"x","userId":"1","messageId":"m"}`, ingest.CodeMissingID},
		{"segment whole", "/v1/batch", `{"batch":[`, `{"batch":[` + good + `]}`, ingest.CodeNotJSON},
		{"segment empty", "/v1/batch", `{"batch":[]}`, `{"batch":[` + good + `]}`, ingest.CodeEmptyBatch},
		{"native item", "/v1/events", `{"events":[{"type":"x"}]}`, native, ingest.CodeMissingID},
		{"native whole", "/v1/events", `{`, `{"events":[` + native + `]}`, ingest.CodeNotJSON},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d := openDoor(t)
			if got := d.send(tc.path, json, tc.body, time.Now()); len(got.Rejected) != 1 || got.Rejected[0].Code != tc.code {
				t.Fatalf("sent: %+v, want %s", got, tc.code)
			}
			done := d.retry(rejected.Retry{IDs: []string{"1"}})
			if o := done.Outcomes[0]; o.Outcome != rejected.Rejected || o.Rejection.Code != tc.code || done.Receipt != "" {
				t.Errorf("as it came: %+v, want it refused with %s", o, tc.code)
			}
			if n := d.waiting(); n != 1 {
				t.Errorf("%d wait, want 1: nothing is kept twice", n)
			}
			edited := rejected.Retry{IDs: []string{"1"}, Body: []byte(tc.edited)}
			if done = d.retry(edited); done.Outcomes[0].Outcome != rejected.Accepted || done.Receipt == "" {
				t.Errorf("put right: %+v, receipt %q", done.Outcomes[0], done.Receipt)
			}
			if n := d.waiting(); n != 0 {
				t.Errorf("%d wait, want none", n)
			}
			if done = d.retry(edited); done.Outcomes[0].Outcome != rejected.Gone {
				t.Errorf("once more: %+v, want gone", done.Outcomes[0])
			}
			if n := len(d.headers()); n != 1 {
				t.Errorf("%d events in the log, want 1", n)
			}
		})
	}
}

// An event without id and time gets the id of its reject, and happened when it
// came first; a retry that was cut off before its note is made again.
func TestRetryIsIdempotent(t *testing.T) {
	t.Parallel()
	d := openDoor(t)
	first := time.Now().Add(-10 * 24 * time.Hour).Truncate(time.Microsecond)
	d.send("/v1/batch", "application/json", `{"batch":[{"type":"track","event":"x"}]}`, first)
	lost := errors.New("the note was lost")
	d.noteErr = lost
	again := rejected.Retry{IDs: []string{"1"}, Body: []byte(`{"type":"track","event":"x","userId":"1"}`)}
	if _, err := d.Retry(t.Context(), again); !errors.Is(err, lost) {
		t.Fatalf("retry whose note is lost: %v", err)
	}
	if n := d.waiting(); n != 1 {
		t.Errorf("%d wait, want 1: nothing says that it is in the log", n)
	}
	if o := d.retry(again).Outcomes[0]; o.Outcome != rejected.Duplicate {
		t.Errorf("made again: %+v, want duplicate", o)
	}
	headers := d.headers()
	if len(headers) != 1 {
		t.Fatalf("%d events in the log, want 1", len(headers))
	}
	if h := headers[0]; h.EventId != "rejected-1" || h.MintedId || h.OccurredAt != events.Micros(first) || !h.Assigned {
		t.Errorf("header %v; want the id rejected-1, and that it occurred at %d", h, events.Micros(first))
	}
}

// Of many who try one reject at once one takes it in.
func TestConcurrentRetries(t *testing.T) {
	t.Parallel()
	d := openDoor(t)
	d.send("/v1/batch", "application/json", `{"batch":[{"type":"track","event":"x"}]}`, time.Now())
	outcomes := make([]string, 8)
	var group sync.WaitGroup
	for i := range outcomes {
		group.Go(func() {
			done, err := d.Retry(t.Context(), rejected.Retry{IDs: []string{"1"}, Body: []byte(`{"type":"track","event":"x","userId":"1"}`)})
			if err != nil {
				t.Error(err)
				return
			}
			outcomes[i] = done.Outcomes[0].Outcome
		})
	}
	group.Wait()
	got := map[string]int{}
	for _, o := range outcomes {
		got[o]++
	}
	if diff := cmp.Diff(map[string]int{rejected.Accepted: 1, rejected.Gone: 7}, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	if n := len(d.headers()); n != 1 {
		t.Errorf("%d events in the log, want 1", n)
	}
}

// A whole call is read as one; a part of it that is refused keeps it waiting.
func TestRetryOfAWholeCall(t *testing.T) {
	t.Parallel()
	d := openDoor(t)
	d.send("/v1/batch", "application/json", `{"batch":[`, time.Now())
	half := []byte(`{"batch":[{"type":"track","event":"x","userId":"1"},{"type":"track","event":"x"}]}`)
	o := d.retry(rejected.Retry{IDs: []string{"1"}, Body: half}).Outcomes[0]
	if o.Outcome != rejected.Rejected || o.Events != 1 || len(o.Rejections) != 1 || o.Rejections[0].Index != 1 {
		t.Errorf("half of it: %+v, want one event in the log and one refused", o)
	}
	whole := []byte(`{"batch":[{"type":"track","event":"x","userId":"1"},{"type":"track","event":"x","userId":"2"}]}`)
	if o = d.retry(rejected.Retry{IDs: []string{"1"}, Body: whole}).Outcomes[0]; o.Outcome != rejected.Accepted || o.Events != 2 {
		t.Errorf("all of it: %+v, want two events in the log", o)
	}
	if n := len(d.headers()); n != 2 {
		t.Errorf("%d events in the log, want 2", n)
	}
}

// Of a whole call of which a part is in the log the rest may be sent alone: events
// without an id are known by what they say, not by their place.
func TestRetryOfTheRestOfACall(t *testing.T) {
	t.Parallel()
	d := openDoor(t)
	d.send("/v1/batch", "application/json", `{"batch":[`, time.Now())
	good, other := `{"type":"track","event":"x","userId":"1"}`, `{"type":"track","event":"x","userId":"1","properties":{"n":2}}`
	for _, step := range []struct {
		body    string
		outcome string
		events  int // in the log then
	}{
		{good + `,` + good + `,{"type":"track","event":"x","properties":{"n":2}}`, rejected.Rejected, 2},
		{good + `,` + good + `,{"type":"dance","userId":"1"}`, rejected.Rejected, 2},
		{other, rejected.Accepted, 3},
	} {
		o := d.retry(rejected.Retry{IDs: []string{"1"}, Body: []byte(`{"batch":[` + step.body + `]}`)}).Outcomes[0]
		if o.Outcome != step.outcome {
			t.Errorf("%s: %+v, want %s", step.body, o, step.outcome)
		}
		if n := len(d.headers()); n != step.events {
			t.Errorf("%s: %d events in the log, want %d", step.body, n, step.events)
		}
	}
}

// A source that the body itself names counts in a retry where it would have
// counted at first: not where a key or the call named one, nor for who may touch
// one source only.
func TestSourceOfARetry(t *testing.T) {
	t.Parallel()
	const json = "application/json"
	native := `{"source":"crm","events":[{"id":"n","type":"x","identifiers":[{"type":"user_id","value":"1"}]}]}`
	cloud := `{"specversion":"1.0","id":"n","type":"x","source":"crm","data":{"userId":"1"}}`
	for _, tc := range []struct {
		name, path, contentType, body string
		unnamed                       bool
		only, want                    string
	}{
		{"call", "/v1/events", json, native, true, "", "crm"},
		{"named call", "/v1/events", json, native, false, "", "web"},
		{"call of one source", "/v1/events", json, native, true, "web", "web"},
		{"events", "/v1/cloudevents", "application/cloudevents-batch+json", "[" + cloud + "]", true, "", "crm"},
		{"named events", "/v1/cloudevents", "application/cloudevents-batch+json", "[" + cloud + "]", false, "", "web"},
		{"events of one source", "/v1/cloudevents", "application/cloudevents-batch+json", "[" + cloud + "]", true, "web", "web"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d := openDoor(t)
			wire, _ := wires.ForPath(tc.path)
			sent := ingest.Batch{
				Source: "web", Unnamed: tc.unnamed, Received: time.Now(), Wire: wire.Name, Path: tc.path, ContentType: tc.contentType, Whole: true,
				Drafts: []ingest.Draft{{Refused: ingest.Refuse(ingest.CodeNotJSON, "", "", "cut off"), Original: []byte("{")}},
			}
			if _, err := d.accept(t.Context(), sent); err != nil {
				t.Fatal(err)
			}
			done := d.retry(rejected.Retry{IDs: []string{"1"}, Body: []byte(tc.body), Source: tc.only})
			if o := done.Outcomes[0]; o.Outcome != rejected.Accepted {
				t.Fatalf("%+v, want it accepted", o)
			}
			if got := d.headers()[0].Source; got != tc.want {
				t.Errorf("source %q, want %q", got, tc.want)
			}
		})
	}
}

func TestRetryAll(t *testing.T) {
	t.Parallel()
	d := openDoor(t)
	const many = rejected.MaxRetried + 3
	for range many {
		appendTo(t, d.log, &logv1.Reject{
			Source: "web", Code: "bad_time", Wire: "segment", Path: "/v1/batch", ReceivedAt: events.Micros(time.Now()),
			Original: []byte(`{"type":"track","event":"x","userId":"1"}`),
		})
	}
	appendTo(t, d.log, &logv1.Reject{Source: "app", Code: "bad_time", Wire: "segment", Path: "/v1/batch", Original: []byte(`{}`)})
	done := d.retry(rejected.Retry{All: true, Source: "web"})
	if len(done.Outcomes) != rejected.MaxRetried || done.After != rejected.MaxRetried || done.Outcomes[0].ID != "1" {
		t.Fatalf("%d outcomes from %+v on, then behind %d; want the oldest %d", len(done.Outcomes), done.Outcomes[0], done.After, rejected.MaxRetried)
	}
	if done = d.retry(rejected.Retry{All: true, Source: "web", After: done.After}); len(done.Outcomes) != 3 || done.After != 0 {
		t.Errorf("then %d outcomes and %d, want 3 and the end", len(done.Outcomes), done.After)
	}
	if n := d.waiting(); n != 1 {
		t.Errorf("%d wait, want that of the other source", n)
	}
	if o := d.retry(rejected.Retry{IDs: []string{fmt.Sprint(many + 1)}, Source: "web"}).Outcomes[0]; o.Outcome != rejected.Gone {
		t.Errorf("one of another source: %+v, want gone", o)
	}
}

func TestWrongRetries(t *testing.T) {
	t.Parallel()
	d := openDoor(t)
	appendTo(t, d.log, &logv1.Reject{Source: "web", Wire: "segment", Path: "/v1/batch", Cut: true, OriginalBytes: 99_999, Original: []byte(`{"type"`)})
	appendTo(t, d.log, &logv1.Reject{Source: "web", Wire: "telex", Path: "/v1/telex", Original: []byte(`{}`)})
	appendTo(t, d.log, &logv1.Reject{Source: "web", Wire: "segment", Path: "/v1/batch", Code: "too_large", Whole: true, Original: []byte("\x1f\x8bpacked")})
	for _, r := range []rejected.Retry{
		{}, {All: true, IDs: []string{"1"}}, {All: true, Body: []byte("x")}, {IDs: []string{"1", "2"}, Body: []byte("x")},
		{IDs: make([]string, rejected.MaxRetried+1)}, {IDs: []string{"3", "x"}}, {IDs: []string{"01"}},
	} {
		if _, err := d.Retry(t.Context(), r); !errors.Is(err, rejected.ErrRetry) {
			t.Errorf("%d ids, all %v, body %q: %v, want ErrRetry", len(r.IDs), r.All, r.Body, err)
		}
	}
	done := d.retry(rejected.Retry{IDs: []string{"1", "2", "3", "4", "5"}})
	var got []string
	for _, o := range done.Outcomes {
		text := o.Outcome
		if o.Rejection != nil {
			text += ": " + o.Rejection.Message
		}
		got = append(got, text)
	}
	want := []string{
		"rejected: only 7 bytes are kept of what came: it can be tried again with a body in its place alone",
		`rejected: wire "telex" on "/v1/telex" is not known to this version`,
		"rejected: only 8 bytes are kept of what came: it can be tried again with a body in its place alone",
		"gone", "gone",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
}
