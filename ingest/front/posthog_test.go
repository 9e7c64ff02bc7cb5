package front_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/front"
)

const captured = `{"event":"E","uuid":"m","distinct_id":"u","properties":{"token":"phc_k"}}`

// The ways in which the clients pack a body, told by them or not.
func TestUnpack(t *testing.T) {
	t.Parallel()
	coded := base64.StdEncoding.EncodeToString([]byte(captured))
	codedZip := base64.StdEncoding.EncodeToString(zipped(t, captured))
	for _, c := range []struct{ what, path, body string }{
		{"as it is", "/e/", captured},
		{"with a byte order mark", "/e/", "\ufeff " + captured},
		{"gzip that is told", "/e/?compression=gzip-js&ver=1.2", string(zipped(t, captured))},
		{"gzip that is not told", "/i/v0/e/", string(zipped(t, captured))},
		{"gzip that is not one", "/e/?compression=gzip-js", captured},
		{"Base64", "/capture/?compression=base64", coded},
		{"Base64 without its end", "/track", strings.TrimRight(coded, "=")},
		{"Base64 for addresses", "/e", strings.NewReplacer("+", "-", "/", "_").Replace(codedZip)},
		{"a form", "/e/", "data=" + url.QueryEscape(coded) + "&compression=base64"},
		{"a form of a zip", "/e/", "compression=gzip-js&data=" + url.QueryEscape(codedZip)},
		{"a form of JSON", "/e/", "data=" + url.QueryEscape(captured)},
		{"a form with a plus sign", "/e/", "data=" + codedZip},
		{"an object", "/e/", `{"api_key":"phc_k","data":"` + coded + `","compression":"base64"}`},
		{"an object of JSON", "/engage", `{"data":` + string(mustJSON(t, captured)) + `}`},
	} {
		r := &recorder{}
		a := call(t, serve(r, func(o *front.Options) { o.WriteKeys = map[string]string{"phc_k": "shop"} }), "POST", c.path, strings.NewReader(c.body))
		if a.status != 200 || !strings.Contains(a.raw, `"status":1`) {
			t.Errorf("%s: got %d %s", c.what, a.status, a.raw)
			continue
		}
		if b := r.last(t); b.Source != "shop" || b.Drafts[0].Event.GetType() != "E" || string(b.Drafts[0].Original) != captured {
			t.Errorf("%s: got %s of %s", c.what, b.Drafts[0].Original, b.Source)
		}
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPixel(t *testing.T) {
	t.Parallel()
	r := &recorder{}
	h := serve(r, nil)
	a := call(t, h, "GET", "/e/?data="+url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(captured))), nil)
	if a.status != 200 || r.last(t).Drafts[0].Event.GetId() != "m" {
		t.Errorf("got %d %s", a.status, a.raw)
	}
	if a := call(t, h, "GET", "/e/", nil); a.status != 405 {
		t.Errorf("without data: got %d, want 405", a.status)
	}
	a = call(t, h, "GET", "/pixel/v1/track?writeKey=k&anonymousId=a&event=E&messageId=m2&properties.colour=red&context.page.url=http://x", nil)
	b := r.last(t)
	if e := b.Drafts[0].Event; a.status != 200 || b.Path != "/v1/track" || e.GetType() != "E" || e.PropertiesJson != `{"colour":"red"}` || e.GetContext().GetPageUrl() != "http://x" {
		t.Errorf("got %d, %s: %v", a.status, b.Path, e)
	}
	if a := call(t, h, "GET", "/pixel/v1/alias?userId=u", nil); a.status != 404 {
		t.Errorf("a pixel of another call: got %d, want 404", a.status)
	}
}

// What a small body may become stays within the bounds.
func TestUnpackBounds(t *testing.T) {
	t.Parallel()
	bomb := zipped(t, strings.Repeat(" ", ingest.MaxInflatedBytes+1))
	for _, c := range []struct {
		what, path, body string
		code             string
		status           int
	}{
		{"a bomb", "/e/", string(bomb), "too_large", 413},
		{"a bomb in a form", "/e/", "data=" + url.QueryEscape(base64.StdEncoding.EncodeToString(bomb)), "too_large", 413},
		{"a bomb for a batch", "/batch/", string(bomb), "too_large", 413},
		{"too many events", "/batch/", `{"batch":[` + strings.Repeat(captured+",", ingest.MaxBatchEvents) + captured + `]}`, "too_large", 413},
		{"a broken zip", "/e/", "\x1f\x8bx", "not_json", 400},
		{"a compression of long ago", "/e/?compression=lz64", "N4IgLgngDgpiBcIQA0IgDYA==", "not_json", 400},
		{"nothing", "/e/", "", "not_json", 400},
		{"text", "/e/", "hello, world", "not_json", 400},
		{"no batch", "/batch/", `{"count":1}`, "empty_batch", 400},
	} {
		r := &recorder{}
		a := call(t, serve(r, nil), "POST", c.path, strings.NewReader(c.body))
		if a.status != c.status || a.Code != c.code || !strings.Contains(a.raw, `"status":1`) {
			t.Errorf("%s: got %d %s, want %d %s", c.what, a.status, a.raw, c.status, c.code)
		}
		if d := r.last(t).Drafts[0]; len(d.Original) > ingest.MaxRejectBytes {
			t.Errorf("%s: %d bytes kept", c.what, len(d.Original))
		}
	}
	// The memory for what comes out of a body is counted like the body's own.
	full := serve(&recorder{}, func(o *front.Options) { o.MemoryBytes = 1 << 20 })
	a := call(t, full, "POST", "/batch/", strings.NewReader(string(zipped(t, strings.Repeat(" ", 1<<20)))))
	if a.status != 429 || a.header.Get("Retry-After") == "" {
		t.Errorf("got %d %s, want 429", a.status, a.raw)
	}
	if a := call(t, full, "POST", "/batch/", strings.NewReader(captured)); a.status != 200 {
		t.Errorf("after it: got %d %s, want 200", a.status, a.raw)
	}
}

// What became of each event, for the clients that look.
func TestResults(t *testing.T) {
	t.Parallel()
	body := `{"batch":[` + captured + `,{"event":"order completed","uuid":"n","distinct_id":"u","properties":{"revenue":"x"}},
		{"event":"E","uuid":"o","distinct_id":"u","properties":{"$set":{"a":1}}}]}`
	r := &recorder{}
	a := call(t, serve(r, nil), "POST", "/i/v1/analytics/events", strings.NewReader(body), "Authorization", "Bearer phc_k")
	var got struct{ Results map[string]map[string]string }
	if err := json.Unmarshal([]byte(a.raw), &got); err != nil {
		t.Fatal(err)
	}
	details := got.Results["n"]["details"]
	delete(got.Results["n"], "details")
	want := map[string]map[string]string{"m": {"result": "ok"}, "n": {"result": "drop"}, "o": {"result": "ok"}}
	if diff := cmp.Diff(got.Results, want); diff != "" || !strings.Contains(details, "revenue") {
		t.Errorf("details %q (-got +want):\n%s", details, diff)
	}
	if a.status != 200 || a.Accepted != 2 || len(a.Rejected) != 1 || a.Rejected[0].Index != 1 {
		t.Errorf("got %d %s", a.status, a.raw)
	}
}

// A client is answered with a status by which it comes again.
func TestStatusOfClients(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		path, origin string
		err          error
		want         int
	}{
		{"/e/", "http://shop.example", ingest.ErrOverload, 503}, // a browser's 4xx is final
		{"/i/v0/e/", "http://shop.example", ingest.ErrOverload, 503},
		{"/e/", "", ingest.ErrOverload, 429},
		{"/batch/", "http://shop.example", ingest.ErrOverload, 429},
		{"/v1/t", "http://shop.example", ingest.ErrOverload, 429},
		{"/i/v1/analytics/events", "", ingest.ErrOverload, 429},
		{"/i/v1/analytics/events", "", ingest.ErrDiskFull, 503},
		{"/batch/", "", ingest.ErrDiskFull, 507},
	} {
		var headers []string
		if c.origin != "" {
			headers = []string{"Origin", c.origin}
		}
		body := `{"batch":[` + captured + `]}`
		a := call(t, serve(&recorder{err: c.err}, nil), "POST", c.path, strings.NewReader(body), headers...)
		if a.status != c.want || a.header.Get("Retry-After") == "" {
			t.Errorf("%s from %q, %v: got %d %s, want %d with Retry-After", c.path, c.origin, c.err, a.status, a.raw, c.want)
		}
	}
}

// What browsers ask for besides: answered, with nothing in it, to any origin.
func TestQuiet(t *testing.T) {
	t.Parallel()
	h := serve(&recorder{}, func(o *front.Options) { o.WriteKeys = map[string]string{"wk": "shop"} })
	for _, c := range []struct{ method, path, want string }{
		{"POST", "/flags/?v=2", `"flags":{}`},
		{"POST", "/decide/?v=3", `"featureFlags":{}`},
		{"GET", "/flags/definitions?token=phc_k&send_cohorts", `"group_type_mapping":{}`},
		{"GET", "/array/phc_k/config", `"hasFeatureFlags":false`},
		{"GET", "/api/surveys/?token=phc_k", `"surveys":[]`},
		{"GET", "/api/early_access_features/", `"earlyAccessFeatures":[]`},
		{"POST", "/s/?compression=gzip-js", `"status":1`},
		{"POST", "/v1/m", `"success":true`},
		{"GET", "/v1/projects/wk/settings", `"apiKey":"wk"`},
		{"GET", "/cdn/v1/projects/wk/settings", `"apiKey":"wk"`},
		{"GET", "/sourceConfig/?p=npm&writeKey=wk", `"destinations":[]`},
		{"GET", "/sourceConfig?writeKey=wk", `"enabled":true`},
	} {
		a := call(t, h, c.method, c.path, strings.NewReader("{}"))
		if a.status != 200 || !strings.Contains(a.raw, c.want) {
			t.Errorf("%s %s: got %d %s, want %s", c.method, c.path, a.status, a.raw, c.want)
		}
		preflight := call(t, h, "OPTIONS", c.path, nil, "Access-Control-Request-Headers", "authorization, x-y")
		if preflight.status != 204 || preflight.header.Get("Access-Control-Allow-Headers") != "authorization, x-y" {
			t.Errorf("%s: preflight got %d %v", c.path, preflight.status, preflight.header)
		}
	}
	for _, path := range []string{"/sourceConfig/?writeKey=other", "/cdn/v1/projects/other/settings"} {
		if a := call(t, h, "GET", path, nil); a.status != 401 {
			t.Errorf("%s: got %d, want 401", path, a.status)
		}
	}
	for _, path := range []string{"/array/a/b/config", "/static/array.js", "/array/phc_k/array.js", "/x/v1/projects/wk/settings"} {
		if a := call(t, h, "GET", path, nil); a.status != 404 {
			t.Errorf("%s: got %d, want 404", path, a.status)
		}
	}
}

// Scripts are scripts, and a token cannot break out of one.
func TestScripts(t *testing.T) {
	t.Parallel()
	h := serve(&recorder{}, nil)
	for path, want := range map[string]string{
		"/static/1.2.3/surveys.js":           "",
		"/array/phc_k/config.js":             `c["phc_k"]={config:{`,
		"/array/%22%5D%3Balert(1)/config.js": `c["\"];alert(1)"]={config:{`,
	} {
		rec := serveRaw(t, h, path)
		if rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), want) || !strings.HasPrefix(rec.Header().Get("Content-Type"), "application/javascript") {
			t.Errorf("%s: got %d %v %s", path, rec.Code, rec.Header(), rec.Body)
		}
	}
}

func serveRaw(t *testing.T, h http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return rec
}

// The bodies that the Go client of PostHog sends.
func TestPostHogGoBodies(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(fixture(t, "posthog_go"), "*.json"))
	if err != nil || len(files) != 10 {
		t.Fatalf("got %d files, %v, want 10", len(files), err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want, status := 1, 200
		switch {
		case strings.Contains(file, "many"):
			want = 3
		case strings.Contains(file, "bad"):
			want, status = 0, 400
		}
		r := &recorder{}
		a := call(t, serve(r, nil), "POST", "/batch/", strings.NewReader(string(body)))
		if a.status != status || a.Accepted != want {
			t.Errorf("%s: got %d %s, want %d accepted", filepath.Base(file), a.status, a.raw, want)
			continue
		}
		var sent struct{ Batch []map[string]any }
		if err := json.Unmarshal(body, &sent); err != nil {
			t.Fatal(err)
		}
		for i, example := range sent.Batch {
			ev := r.last(t).Drafts[i].Event
			if stamp, _ := example["timestamp"].(string); ev.Time.AsTime().Format("2006-01-02T15:04:05Z") != stamp {
				t.Errorf("%s: got time %v, want %s", filepath.Base(file), ev.Time.AsTime(), stamp)
			}
			checkCapture(t, example, eventText(t, ev))
		}
	}
}

// checkCapture looks for every value of an event in what was made of it. What
// was read into the type and the time, and changed in form, is tested there.
func checkCapture(t *testing.T, example map[string]any, text string) {
	t.Helper()
	for key, v := range example {
		if key == "timestamp" || key == "event" {
			continue
		}
		if id, is := v.(string); is && key == "distinct_id" && strings.HasPrefix(id, "$") {
			continue // made of the group
		}
		for _, leaf := range leaves(v) {
			if !strings.Contains(text, leaf) {
				t.Errorf("%s of %v: %s is not kept in %s", key, example["event"], leaf, text)
			}
		}
	}
}

// The PostHog requests that unmodified clients sent, every field followed.
func TestCapturedPostHog(t *testing.T) {
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
			JSON         struct{ Batch []map[string]any }
		}
		var raw struct{ JSON json.RawMessage }
		if err := json.Unmarshal(line, &raw); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(line, &request); err != nil || strings.HasPrefix(request.Path, "/v1/") {
			return // another wire
		}
		var headers []string
		for name, value := range request.Headers {
			headers = append(headers, name, value)
		}
		r := &recorder{}
		a := call(t, serve(r, nil), request.Method, request.Path, strings.NewReader(string(zipped(t, string(raw.JSON)))), headers...)
		drafts := r.last(t).Drafts
		types, identifiers := told(drafts)
		got = append(got, seen{request.Path, a.Accepted, len(a.Rejected), types, identifiers})
		for i, example := range request.JSON.Batch {
			var text strings.Builder
			text.WriteString(eventText(t, drafts[i].Event))
			for k, d := range drafts[len(request.JSON.Batch):] {
				if i == k {
					text.WriteString(eventText(t, d.Event)) // what the first event set besides
				}
			}
			checkCapture(t, example, text.String())
			if drafts[i].Sent.IsZero() {
				t.Errorf("%v: the clock of the client is not known", example["event"])
			}
		}
	})
	want := []seen{
		{"/batch/", 4, 0, "order.placed traits.set identity.aliased group.joined traits.set", "u1@user_id u1@user_id u1@user_id+x1@user_id  u1@user_id+a@b.c@email"},
		{"/i/v1/analytics/events", 1, 0, "order.placed", "u1@user_id"},
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("(-got +want):\n%s", diff)
	}
}

// A body that is too large for its key to be read is divided by the client, if
// it is told so; and nothing of it is kept.
func TestTooLargeToReadTheKey(t *testing.T) {
	t.Parallel()
	long := `{"api_key":"phc_k","batch":[` + captured + strings.Repeat(" ", ingest.MaxInflatedBytes) + `]}`
	keyed := func(o *front.Options) { o.WriteKeys = map[string]string{"phc_k": "shop"} }
	for _, c := range []struct {
		what, path, body, key string
		status                int
	}{
		{"told", "/batch/", long[:ingest.MaxBodyBytes+1], "", 413},
		{"inflated", "/batch/", string(zipped(t, long)), "", 413},
		{"with the key", "/batch/", long[:ingest.MaxBodyBytes+1], "phc_k", 413},
		{"a wrong key in the wrapping", "/e/", "token=wrong&data=" + url.QueryEscape(base64.StdEncoding.EncodeToString(zipped(t, long))), "", 401},
		{"of another wire", "/v1/batch", long[:ingest.MaxBodyBytes+1], "", 401},
	} {
		r := &recorder{}
		a := call(t, serve(r, keyed), "POST", c.path+"?writeKey="+c.key, strings.NewReader(c.body))
		if a.status != c.status || len(r.batches) > 0 != (c.key != "") {
			t.Errorf("%s: got %d %s with %d batches kept, want %d", c.what, a.status, a.raw, len(r.batches), c.status)
		}
	}
}

// Who asks in a way that is not understood has told nothing.
func TestDryRunIsUnderstood(t *testing.T) {
	t.Parallel()
	r := &recorder{}
	asked := 0
	h := serve(r, func(o *front.Options) {
		o.Preview = func(_ context.Context, b ingest.Batch, _ string) (ingest.Preview, error) {
			asked++
			var p ingest.Preview
			for i := range b.Drafts {
				p.Verdicts = append(p.Verdicts, ingest.Verdict{Index: i, Verdict: ingest.VerdictNew, Rejection: b.Drafts[i].Refused})
			}
			return p, nil
		}
	})
	for value, status := range map[string]int{"true": 200, "1": 200, "TRUE": 200, "": 400, "yes": 400, "tru": 400} {
		if a := call(t, h, "POST", "/v1/t?dryRun="+value, strings.NewReader(track)); a.status != status || len(r.batches) > 0 {
			t.Errorf("%q: got %d %s and %d batches told, want %d and none", value, a.status, a.raw, len(r.batches), status)
		}
	}
	if call(t, h, "POST", "/v1/t?dryRun=false", strings.NewReader(track)); asked != 3 || len(r.batches) != 1 {
		t.Errorf("asked %d times, told %d; want 3 and 1", asked, len(r.batches))
	}
	if a := call(t, serve(r, nil), "POST", "/v1/t?dryRun=true", strings.NewReader(track)); a.status != 400 || len(r.batches) != 1 {
		t.Errorf("where nobody can ask: got %d %s", a.status, a.raw)
	}
	// The verdicts count the events as they were sent.
	facts := `{"event":"E","uuid":"m","distinct_id":"u","$set":{"a":1}}`
	a := call(t, h, "POST", "/batch/?dryRun=true", strings.NewReader(`{"batch":[`+facts+`,{"event":"E"},`+facts+`]}`))
	var told struct{ Events []ingest.Verdict }
	if err := json.Unmarshal([]byte(a.raw), &told); err != nil {
		t.Fatal(err)
	}
	var indexes []int
	for _, v := range told.Events {
		indexes = append(indexes, v.Index)
	}
	if want := []int{0, 0, 1, 2, 2}; !cmp.Equal(indexes, want) || told.Events[2].Rejection.Index != 1 {
		t.Errorf("got %s, want the indexes %v", a.raw, want)
	}
}

// An event that was taken is no bad call, though what it sets besides was not.
func TestSingleOfWhichTheFactsAreRefused(t *testing.T) {
	t.Parallel()
	h := front.New(front.Options{Accept: func(_ context.Context, b ingest.Batch) (ingest.Result, error) {
		if len(b.Drafts) != 2 || b.Beside != 1 {
			t.Errorf("got %d drafts, %d beside others; want 2 and 1", len(b.Drafts), b.Beside)
		}
		return ingest.Result{Accepted: 1, Receipt: "r1", Rejected: []ingest.Rejection{{Index: 1, Code: ingest.CodeTooLarge}}}, nil
	}})
	a := call(t, h, "POST", "/e/", strings.NewReader(`{"event":"E","distinct_id":"u","$set":{"a":1}}`))
	if a.status != 200 || !a.Success || a.Receipt != "r1" || len(a.Rejected) != 1 || a.Rejected[0].Index != 0 {
		t.Errorf("got %d %s", a.status, a.raw)
	}
}
