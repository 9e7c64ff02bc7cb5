package importer_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/importer"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

// fakeServer is the ingest side of a Dossier as the contract tells it: it knows
// the events by source, id and type, and takes each once.
type fakeServer struct {
	mu     sync.Mutex
	log    []*eventsv1.Event // in order of arrival
	source string
	calls  []string // "preview 3" or "send 2", in order of arrival
	// fault may take a call's place: before it is carried out, and after it.
	fault func(call int, kind string, after bool) (*http.Response, error)
	// receipts that previews were asked with.
	receipts []string
	// writeKey that is wanted; "" for none.
	writeKey string
}

var errGone = errors.New("connection reset by peer")

func (s *fakeServer) RoundTrip(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	var batch eventsv1.EventBatch
	if err := proto.Unmarshal(raw, &batch); err != nil {
		return reply(400, map[string]any{"message": err.Error()}), nil
	}
	kind := "send"
	if req.URL.Query().Get("dryRun") == "true" {
		kind = "preview"
		s.receipts = append(s.receipts, req.URL.Query().Get("receipt"))
	}
	s.calls = append(s.calls, fmt.Sprintf("%s %d", kind, len(batch.Events)))
	n := len(s.calls) - 1
	if s.fault != nil {
		if resp, err := s.fault(n, kind, false); resp != nil || err != nil {
			return resp, err
		}
	}
	if key, _, _ := req.BasicAuth(); key != s.writeKey {
		return reply(401, map[string]any{"message": "unknown key"}), nil
	}
	s.source = batch.Source
	resp := s.answer(kind, batch.Events)
	if s.fault != nil {
		if lost, err := s.fault(n, kind, true); lost != nil || err != nil {
			return lost, err
		}
	}
	return resp, nil
}

func (s *fakeServer) answer(kind string, batch []*eventsv1.Event) *http.Response {
	if kind == "preview" {
		verdicts := make([]ingest.Verdict, len(batch))
		for i, e := range batch {
			verdicts[i] = s.verdict(e)
			verdicts[i].Index = i
		}
		return reply(200, map[string]any{"success": true, "dryRun": true, "events": verdicts, "receipt": "r" + strconv.Itoa(len(s.log))})
	}
	accepted, rejected := 0, []ingest.Rejection{}
	for i, e := range batch {
		if r := refused(e); r != nil {
			r.Index = i
			rejected = append(rejected, *r)
			continue
		}
		accepted++
		known := func(other *eventsv1.Event) bool { return other.Id == e.Id && other.Type == e.Type }
		if !slices.ContainsFunc(s.log, known) {
			s.log = append(s.log, e)
		}
	}
	return reply(200, map[string]any{"success": true, "accepted": accepted, "duplicates": 0, "rejected": rejected})
}

// verdict is that of the contract; a user_id "two" names two customers, "bad" is
// refused.
func (s *fakeServer) verdict(e *eventsv1.Event) ingest.Verdict {
	if r := refused(e); r != nil {
		return ingest.Verdict{Verdict: ingest.VerdictRejected, Rejection: r}
	}
	latest := s.latest(e.Type, e.Id)
	switch {
	case latest != nil && content(latest) == content(e):
		return ingest.Verdict{Verdict: ingest.VerdictDuplicate, KnownID: latest.Id}
	case latest != nil:
		return ingest.Verdict{Verdict: ingest.VerdictChanged, KnownID: latest.Id}
	case userOf(e) == "two":
		return ingest.Verdict{Verdict: ingest.VerdictConflicting, Reason: "names two customers"}
	}
	return ingest.Verdict{Verdict: ingest.VerdictNew}
}

func refused(e *eventsv1.Event) *ingest.Rejection {
	switch userOf(e) {
	case "bad", "late":
		return ingest.Refuse(ingest.CodeBadType, "identifiers", "", "the identifier is bad")
	}
	return nil
}

func userOf(e *eventsv1.Event) string { return e.Identifiers[0].Value }

// latest is the latest telling of a record.
func (s *fakeServer) latest(typ, id string) *eventsv1.Event {
	var latest *eventsv1.Event
	for _, e := range s.log {
		record, revision := events.RevisionOf(e.Id)
		if e.Type == typ && (e.Id == id || revision && record == id) && (latest == nil || e.Id > latest.Id) {
			latest = e
		}
	}
	return latest
}

// content is what an event says, apart from its place among the tellings.
func content(e *eventsv1.Event) string {
	e = proto.CloneOf(e)
	e.Id, e.Corrects, e.IssuedAt = "", "", nil
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(e)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// state is what the records come to: the latest of each.
func (s *fakeServer) state() map[string]string {
	state := map[string]string{}
	for _, e := range s.log {
		id := e.Id
		if record, ok := events.RevisionOf(id); ok {
			id = record
		}
		state[id] = content(s.latest(e.Type, id))
	}
	return state
}

// told is the log as text, revisions numbered from when their run began.
func (s *fakeServer) told() string {
	var b strings.Builder
	for _, e := range s.log {
		fmt.Fprintf(&b, "%s %s", e.Id, e.PropertiesJson)
		if e.Corrects != "" {
			fmt.Fprintf(&b, " corrects %s at %s", e.Corrects, e.IssuedAt.AsTime().Format(time.RFC3339Nano))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func reply(status int, body any) *http.Response {
	raw, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return &http.Response{
		StatusCode: status, Status: strconv.Itoa(status) + " " + http.StatusText(status),
		Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(raw)),
	}
}

// row is a line of a file that exists in a test alone: what a mapping made of it.
type row struct{ id, typ, user, says, corrects string }

func (r row) item(line int) importer.Item {
	item := importer.Item{File: "a.csv", Line: line, Columns: []string{"id", "says"}, Cells: []any{r.id, r.says}}
	switch r.typ {
	case "skip":
		item.Skipped = true
	case "unmatched":
		item.Unmatched = true
	case "refuse":
		item.Refused = []importer.Refusal{{Line: line, Column: "says", Value: r.says, Reason: "not a number"}}
	default:
		item.Records = []importer.Record{{ID: r.id, Lines: []int{line}, Event: &eventsv1.Event{
			Type: r.typ, PropertiesJson: r.says, Corrects: r.corrects,
			Identifiers: []*eventsv1.Identifier{{Type: "user_id", Value: cmp.Or(r.user, "u1")}},
		}}}
	}
	return item
}

// source reads rows.
func source(rows []row) importer.Source {
	return func(_ context.Context, emit func(importer.Item) error) error {
		for i, r := range rows {
			if err := emit(r.item(i + 1)); err != nil {
				return err
			}
		}
		return nil
	}
}

// started is when the runs of a test begin, one second after another.
var started = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

// job is one import and what it told.
type job struct {
	server   *importer.Server
	outcomes []importer.Outcome
	waits    []string
	// batch and remembered bound the run; 0: as in life.
	batch, remembered int
}

func newJob(s *fakeServer) *job {
	j := &job{}
	var mu sync.Mutex
	j.server = &importer.Server{URL: "http://dossier.example", Transport: s, Waiting: func(reason error, pause time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		j.waits = append(j.waits, fmt.Sprintf("%v: %s", reason, pause))
	}}
	return j
}

func (j *job) run(ctx context.Context, rows []row, number int, dry bool) (importer.Summary, error) {
	return importer.Run(ctx, source(rows), importer.WithBounds(importer.Options{
		Server: j.server, Source: "erp", DryRun: dry, Started: started.Add(time.Duration(number) * time.Second),
		Tell: func(o importer.Outcome) error {
			j.outcomes = append(j.outcomes, o)
			return nil
		},
	}, j.batch, j.remembered))
}

// lines are outcomes as text.
func (j *job) lines() string {
	var b strings.Builder
	for _, o := range j.outcomes {
		fmt.Fprintf(&b, "%s:%d %s %s %s %s\n", o.File, o.Line, cmp.Or(o.Event, "-"), cmp.Or(o.ID, "-"), o.Verdict, o.Reason)
	}
	return b.String()
}

func mustRun(t *testing.T, s *fakeServer, rows []row, number int) (*job, importer.Summary) {
	t.Helper()
	j := newJob(s)
	summary, err := j.run(t.Context(), rows, number, false)
	if err != nil {
		t.Fatal(err)
	}
	return j, summary
}
