package front_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"

	"github.com/dossier360/dossier/ingest"
)

// fixture opens a file of the fixtures that stand beside the repository.
func fixture(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join("..", "..", "..", "shared", "fixtures", "payloads", name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("fixtures are not here: %v", err)
	}
	return path
}

func lines(t *testing.T, name string, each func(line []byte)) {
	t.Helper()
	f, err := os.Open(fixture(t, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		each(s.Bytes())
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
}

// The requests that unmodified clients sent, encoded again as they were.
func TestCapturedRequests(t *testing.T) {
	t.Parallel()
	type seen struct {
		Path               string
		Accepted, Rejected int
		Types, Identifiers string
	}
	var got []seen
	lines(t, "sdk-captures.ndjson", func(line []byte) {
		var request struct {
			Method, Path string
			Headers      map[string]string
			JSON         json.RawMessage
		}
		if err := json.Unmarshal(line, &request); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(request.Path, "/v1/") {
			return // PostHog's wire
		}
		r := &recorder{}
		var body io.Reader = bytes.NewReader(request.JSON)
		var headers []string
		for name, value := range request.Headers {
			headers = append(headers, name, value)
			if name == "content-encoding" {
				body = bytes.NewReader(zipped(t, string(request.JSON)))
			}
		}
		a := call(t, serve(r, nil), request.Method, request.Path, body, headers...)
		if a.status != 200 {
			t.Errorf("%s: got %d %s", request.Path, a.status, a.raw)
			return
		}
		row := seen{Path: request.Path, Accepted: a.Accepted, Rejected: len(a.Rejected)}
		if request.Method == "POST" {
			row.Types, row.Identifiers = told(r.last(t).Drafts)
		}
		got = append(got, row)
	})
	const browser = "u1@user_id+e9134305-d29e-4cb5-a1ed-9fab53023e97@anonymous_id"
	want := []seen{
		{Path: "/v1/projects/wk_std/settings"},
		{"/v1/p", 1, 0, "page.viewed", "e9134305-d29e-4cb5-a1ed-9fab53023e97@anonymous_id"},
		{"/v1/i", 1, 0, "traits.set", browser + "+a@b.c@email"},
		{"/v1/t", 1, 0, "order.placed", browser},
		{"/v1/g", 1, 0, "group.joined", browser},
		{"/v1/a", 1, 0, "identity.aliased", browser}, // of himself
		{"/v1/s", 1, 0, "screen.viewed", browser},
		{Path: "/v1/projects/wk_bat/settings"},
		{"/v1/b", 6, 0, "page.viewed traits.set order.placed group.joined identity.aliased screen.viewed",
			browser + " " + browser + "+a@b.c@email " + browser + " " + browser + " " + browser + " " + browser},
		{"/v1/batch", 6, 1, "traits.set order.placed page.viewed screen.viewed group.joined identity.aliased too_large",
			"u1@user_id+a@b.c@email u1@user_id x1@anonymous_id x1@anonymous_id u1@user_id u1@user_id+x1@anonymous_id"},
		{"/v1/batch", 1, 0, "traits.set", "u1@user_id+a@b.c@email"},
		{"/v1/batch", 4, 0, "order.placed page.viewed identity.aliased group.joined",
			"u1@user_id x1@anonymous_id u1@user_id+x1@anonymous_id u1@user_id"},
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("(-got +want):\n%s", diff)
	}
}

// The RudderStack client sets originalTimestamp to the time of the call, also
// of an event of long ago, and sentAt in every item beside that of the batch.
// Its body is JSON under the content type of a form.
func TestRudderStackTimes(t *testing.T) {
	t.Parallel()
	var got []string
	lines(t, "sdk-captures.ndjson", func(line []byte) {
		var request struct {
			Path    string
			Headers map[string]string
			JSON    json.RawMessage
		}
		if err := json.Unmarshal(line, &request); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(request.Headers["user-agent"], "analytics-node/3") {
			return
		}
		if request.Headers["content-type"] != "application/x-www-form-urlencoded" || request.Headers["content-encoding"] != "gzip" {
			t.Fatalf("got headers %v, want a gzipped form", request.Headers)
		}
		r := &recorder{}
		var headers []string
		for name, value := range request.Headers {
			headers = append(headers, name, value)
		}
		if a := call(t, serve(r, nil), "POST", request.Path, bytes.NewReader(zipped(t, string(request.JSON))), headers...); a.status != 200 {
			t.Fatalf("got %d %s", a.status, a.raw)
		}
		for _, d := range r.last(t).Drafts {
			got = append(got, strings.Join([]string{d.Event.Type, d.Event.Time.AsTime().Format(time.RFC3339Nano), d.Sent.Format(time.RFC3339Nano),
				d.Event.GetContext().GetOtherJson()}, " "))
		}
	})
	const library = `{"_metadata":{"nodeVersion":"20.20.2"},"channel":"server","library":{"name":"analytics-node","version":"3.0.13"}`
	want := []string{
		`traits.set 2026-11-21T21:20:48.445Z 2026-11-21T21:20:48.445Z ` + library + `,"traits":{"email":"a@b.c"}}`,
		`order.placed 2024-01-02T03:04:05Z 2026-11-21T21:20:48.949Z ` + library + `,"originalTimestamp":"2026-11-21T21:20:48.447Z"}`,
		`page.viewed 2026-11-21T21:20:48.448Z 2026-11-21T21:20:48.949Z ` + library + `}`,
		`identity.aliased 2026-11-21T21:20:48.448Z 2026-11-21T21:20:48.949Z ` + library + `}`,
		`group.joined 2026-11-21T21:20:48.448Z 2026-11-21T21:20:48.949Z ` + library + `}`,
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("(-got +want):\n%s", diff)
	}
}

// told are the types of drafts, or the codes of refused ones, and the
// identifiers.
func told(drafts []ingest.Draft) (types, identifiers string) {
	var ts, is []string
	for _, d := range drafts {
		if d.Refused != nil {
			ts = append(ts, string(d.Refused.Code))
			continue
		}
		ts = append(ts, d.Event.Type)
		var ids []string
		for _, id := range d.Event.Identifiers {
			ids = append(ids, id.Value+"@"+id.Type)
		}
		is = append(is, strings.Join(ids, "+"))
	}
	return strings.Join(ts, " "), strings.Join(is, " ")
}

// The examples of the Segment specification: those that name somebody are
// accepted, and nothing of them is lost.
func TestSpecificationExamples(t *testing.T) {
	t.Parallel()
	accepted, missing := 0, 0
	lines(t, "segment_spec/segment_spec_examples.ndjson", func(line []byte) {
		var example map[string]any
		if err := json.Unmarshal(line, &example); err != nil {
			t.Fatal(err)
		}
		kind, _ := example["type"].(string)
		if kind == "" {
			kind, _ = example["action"].(string)
		}
		r := &recorder{}
		a := call(t, serve(r, nil), "POST", "/v1/"+kind, bytes.NewReader(line))
		switch {
		case a.status == 200 && a.Accepted == 1:
			accepted++
			checkKept(t, example, r.last(t).Drafts[0].Event)
		case a.status == 400 && a.Code == "missing_id":
			missing++
		default:
			t.Errorf("%s: got %d %s", line, a.status, a.raw)
		}
	})
	if accepted != 65 || missing != 10 {
		t.Errorf("got %d accepted, %d without an id, want 65 and 10", accepted, missing)
	}
}

// checkKept looks for every value of an example in the event.
func checkKept(t *testing.T, example map[string]any, ev *eventsv1.Event) {
	t.Helper()
	text := eventText(t, ev)
	for key, v := range example {
		switch key {
		case "type", "sentAt", "timestamp", "event": // read, and changed in form
			continue
		}
		for _, leaf := range leaves(v) {
			if !strings.Contains(text, leaf) {
				t.Errorf("%s of %v: %s is not kept in %s", key, example["event"], leaf, text)
			}
		}
	}
}

// eventText is an event as JSON in which text kept as JSON stands as it is and
// a fixed-point number beside its usual form.
func eventText(t *testing.T, ev *eventsv1.Event) string {
	t.Helper()
	b, err := json.Marshal(ev)
	if err != nil {
		t.Fatal(err)
	}
	return string(b) + ev.PropertiesJson + ev.GetContext().GetOtherJson()
}

// leaves are the texts by which the values below v can be found again. Numbers
// are found as they are or in millionths.
func leaves(v any) (found []string) {
	switch v := v.(type) {
	case map[string]any:
		for _, m := range v {
			found = append(found, leaves(m)...)
		}
	case []any:
		for _, item := range v {
			found = append(found, leaves(item)...)
		}
	case string:
		b, _ := json.Marshal(v)
		found = append(found, strings.Trim(string(b), `"`))
	case float64:
		b, _ := json.Marshal(v)
		digits, _, _ := strings.Cut(string(b), ".")
		found = append(found, digits)
	}
	return found
}

func TestAnalyticsGoBodies(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(fixture(t, "segment_analytics_go"), "*.json"))
	if err != nil || len(files) != 12 {
		t.Fatalf("got %d files, %v, want 12", len(files), err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want := 1
		if strings.Contains(file, "many") {
			want = 3
		}
		r := &recorder{}
		a := call(t, serve(r, nil), "POST", "/v1/batch", bytes.NewReader(body))
		if a.status != 200 || a.Accepted != want || len(a.Rejected) != 0 {
			t.Errorf("%s: got %d %s, want %d accepted", filepath.Base(file), a.status, a.raw, want)
			continue
		}
		for _, d := range r.last(t).Drafts {
			if d.Sent.IsZero() || d.Event.Time == nil || d.Event.Id == "" || !strings.Contains(d.Event.GetContext().GetOtherJson(), "analytics-go") {
				t.Errorf("%s: got %v, sent %v", filepath.Base(file), d.Event, d.Sent)
			}
		}
	}
}
