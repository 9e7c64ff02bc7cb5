package front_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/front"
)

var receivedAt = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// recorder stands for the gateway: it keeps what it is given and accepts what
// the wire did not refuse.
type recorder struct {
	mu      sync.Mutex
	batches []ingest.Batch
	err     error
}

func (r *recorder) Accept(_ context.Context, b ingest.Batch) (ingest.Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.batches = append(r.batches, b)
	if r.err != nil {
		return ingest.Result{}, r.err
	}
	var result ingest.Result
	for i, d := range b.Drafts {
		if d.Refused != nil {
			result.Rejected = append(result.Rejected, *d.Refused)
			continue
		}
		if i < len(b.Drafts)-b.Beside {
			result.Accepted++
		}
		result.Receipt = "r1"
	}
	return result, nil
}

// last is the batch given last.
func (r *recorder) last(t *testing.T) ingest.Batch {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.batches) == 0 {
		t.Fatal("nothing was given to Accept")
	}
	return r.batches[len(r.batches)-1]
}

func serve(r *recorder, change func(*front.Options)) http.Handler {
	o := front.Options{Accept: r.Accept, Now: func() time.Time { return receivedAt }}
	if change != nil {
		change(&o)
	}
	return front.New(o)
}

// answer is an answer of any kind.
type answer struct {
	status     int
	header     http.Header
	raw        string
	Success    bool               `json:"success"`
	Accepted   int                `json:"accepted"`
	Duplicates int                `json:"duplicates"`
	Rejected   []ingest.Rejection `json:"rejected"`
	Receipt    string             `json:"receipt"`
	Code       string             `json:"code"`
	Message    string             `json:"message"`
}

func call(t *testing.T, h http.Handler, method, path string, body io.Reader, headers ...string) answer {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), method, path, body)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	a := answer{status: rec.Code, header: rec.Result().Header, raw: rec.Body.String()}
	if rec.Body.Len() > 0 {
		if err := json.Unmarshal(rec.Body.Bytes(), &a); err != nil {
			t.Fatalf("%s %s: answer %q: %v", method, path, rec.Body, err)
		}
		if got := a.header.Get("Content-Type"); !strings.HasPrefix(got, "application/json") {
			t.Errorf("%s %s: Content-Type %q", method, path, got)
		}
	}
	if got := a.header.Get("Access-Control-Allow-Origin"); got != "*" {
		t.Errorf("%s %s: Allow-Origin %q, want * on every answer", method, path, got)
	}
	return a
}

const track = `{"userId":"u","event":"E","messageId":"m"}`

func zipped(t *testing.T, s string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, s); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestPaths(t *testing.T) {
	t.Parallel()
	r := &recorder{}
	h := serve(r, nil)
	bodies := map[string]string{
		"identify": `{"userId":"u"}`, "track": track, "page": `{"userId":"u"}`, "screen": `{"userId":"u"}`,
		"group": `{"userId":"u","groupId":"g"}`, "alias": `{"userId":"u","previousId":"a"}`,
		"batch": `{"batch":[{"type":"identify","userId":"u"}]}`,
	}
	types := map[string]string{
		"identify": "traits.set", "track": "E", "page": "page.viewed", "screen": "screen.viewed",
		"group": "group.joined", "alias": "identity.aliased", "batch": "traits.set",
	}
	for name, body := range bodies {
		for _, path := range []string{"/v1/" + name, "/v1/" + name[:1], "/v1/" + name + "/"} {
			a := call(t, h, "POST", path, strings.NewReader(body), "Content-Type", "text/plain")
			if a.status != 200 || a.raw != `{"success":true,"accepted":1,"duplicates":0,"rejected":[],"receipt":"r1"}`+"\n" {
				t.Errorf("%s: got %d %s", path, a.status, a.raw)
				continue
			}
			b := r.last(t)
			if b.Source != "default" || b.Wire != "segment" || b.Path != path || b.ContentType != "text/plain" || !b.Received.Equal(receivedAt) {
				t.Errorf("%s: got batch %+v", path, b)
			}
			if got := b.Drafts[0].Event.Type; got != types[name] {
				t.Errorf("%s: got type %s, want %s", path, got, types[name])
			}
		}
	}
	n := len(r.batches)
	if a := call(t, h, "POST", "/v1/m", strings.NewReader(`{"series":[]}`)); a.status != 200 || !a.Success {
		t.Errorf("/v1/m: got %d %s", a.status, a.raw)
	}
	if a := call(t, h, "GET", "/v1/projects/wk%20x/settings", nil); a.status != 200 || a.raw != `{"integrations":{"Segment.io":{"apiKey":"wk x"}}}`+"\n" {
		t.Errorf("settings: got %d %s", a.status, a.raw)
	}
	if len(r.batches) != n {
		t.Error("metrics or settings reached Accept")
	}
}

func TestMethodsAndUnknownPaths(t *testing.T) {
	t.Parallel()
	h := serve(&recorder{}, nil)
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/v1/track", 405, "POST, OPTIONS"},
		{"PUT", "/v1/events", 405, "POST, OPTIONS"},
		{"GET", "/v1/m", 405, "POST, OPTIONS"},
		{"POST", "/v1/projects/k/settings", 405, "GET, HEAD, OPTIONS"},
		{"POST", "/v1/nothing", 404, ""},
		{"GET", "/v1/projects//settings", 404, ""},
		{"GET", "/v1/projects/a/b/settings", 404, ""},
		{"POST", "/v1", 404, ""},
		{"POST", "/V1/track", 404, ""},
		{"OPTIONS", "/v1/nothing", 404, ""},
	} {
		a := call(t, h, c.method, c.path, strings.NewReader(track))
		if a.status != c.status || a.header.Get("Allow") != c.allow || a.Success || a.Code == "" || a.Message == "" {
			t.Errorf("%s %s: got %d, Allow %q, %s, want %d, %q", c.method, c.path, a.status, a.header.Get("Allow"), a.raw, c.status, c.allow)
		}
	}
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	// Preflights carry no key and come before anything is ready.
	h := serve(&recorder{}, func(o *front.Options) {
		o.WriteKeys = map[string]string{"k": ""}
		o.Ready = func() error { return errors.New("not yet") }
	})
	for path, methods := range map[string]string{
		"/v1/t": "POST, OPTIONS", "/v1/batch": "POST, OPTIONS", "/v1/events": "POST, OPTIONS", "/v1/m": "POST, OPTIONS",
		"/v1/projects/k/settings": "GET, HEAD, OPTIONS",
	} {
		a := call(t, h, "OPTIONS", path, nil, "Origin", "http://shop", "Access-Control-Request-Method", "POST",
			"Access-Control-Request-Headers", "authorization, x-retry-count")
		if a.status != 204 || a.raw != "" ||
			a.header.Get("Access-Control-Allow-Headers") != "authorization, x-retry-count" ||
			a.header.Get("Access-Control-Allow-Methods") != methods || a.header.Get("Access-Control-Max-Age") != "86400" {
			t.Errorf("%s: got %d %v", path, a.status, a.header)
		}
	}
}

// Who delivers events as web-hooks asks whether he may, and is told so.
func TestWebHookHandshake(t *testing.T) {
	t.Parallel()
	h := front.New(front.Options{Accept: func(context.Context, ingest.Batch) (ingest.Result, error) { return ingest.Result{}, nil }})
	a := call(t, h, "OPTIONS", "/v1/cloudevents", nil, "WebHook-Request-Origin", "eventemitter.example.com")
	if a.status != 204 || a.header.Get("WebHook-Allowed-Origin") != "eventemitter.example.com" || a.header.Get("WebHook-Allowed-Rate") != "*" {
		t.Errorf("got %d %v", a.status, a.header)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	basic := func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	batch := `{"writeKey":"%s","batch":[{"type":"track","userId":"u","event":"E"}]}`
	for _, c := range []struct {
		what, path, body string
		headers          []string
		source           string // "" for 401
	}{
		{"none", "/v1/track", track, nil, ""},
		{"basic", "/v1/track", track, []string{"Authorization", basic("web:")}, "shop"},
		{"basic without colon", "/v1/track", track, []string{"Authorization", basic("web")}, "shop"},
		{"basic without padding", "/v1/track", track, []string{"Authorization", strings.TrimRight(basic("web:"), "=")}, "shop"},
		{"basic in small letters", "/v1/track", track, []string{"Authorization", "basic d2ViOg=="}, "shop"},
		{"basic, unknown", "/v1/track", track, []string{"Authorization", basic("wrong:")}, ""},
		{"basic, not base64", "/v1/track", track, []string{"Authorization", "Basic %%%"}, ""},
		{"basic, empty", "/v1/track", track, []string{"Authorization", basic(":")}, ""},
		{"bearer", "/v1/track", track, []string{"Authorization", "Bearer web"}, "shop"},
		{"bearer, unknown", "/v1/track", track, []string{"Authorization", "Bearer wrong"}, ""},
		{"query", "/v1/track?writeKey=web", track, nil, "shop"},
		{"body", "/v1/track", `{"userId":"u","event":"E","writeKey":"web"}`, nil, "shop"},
		{"body api_key", "/v1/track", `{"userId":"u","event":"E","api_key":"web"}`, nil, "shop"},
		{"body token", "/v1/track", `{"userId":"u","event":"E","token":"web"}`, nil, "shop"},
		{"body, unknown", "/v1/track", `{"userId":"u","event":"E","writeKey":"wrong"}`, nil, ""},
		{"body of a batch", "/v1/batch", fmt.Sprintf(batch, "web"), nil, "shop"},
		{"an OAuth token beside the key in the body", "/v1/batch", fmt.Sprintf(batch, "web"), []string{"Authorization", "Bearer oauth"}, "shop"},
		{"a key without a name", "/v1/track", track, []string{"Authorization", basic("plain:")}, "default"},
		{"native, body", "/v1/events", `{"writeKey":"web","source":"own","events":[{"type":"E","identifiers":[{"type":"user_id","value":"u"}]}]}`, nil, "shop"},
		{"native, own source", "/v1/events", `{"writeKey":"plain","source":"own","events":[{"type":"E","identifiers":[{"type":"user_id","value":"u"}]}]}`, nil, "own"},
		{"a bad event's key counts too", "/v1/track", `{"event":"E","writeKey":"web"}`, nil, "shop"},
		{"a large event's key counts too", "/v1/track", `{"writeKey":"web","p":"` + strings.Repeat("x", 60<<10) + `"}`, nil, "shop"},
		{"unreadable without a key", "/v1/track", `{nope`, nil, ""},
		{"unreadable with a key", "/v1/track", `{nope`, []string{"Authorization", "Bearer web"}, "shop"},
	} {
		r := &recorder{}
		h := serve(r, func(o *front.Options) { o.WriteKeys = map[string]string{"web": "shop", "plain": ""} })
		a := call(t, h, "POST", c.path, strings.NewReader(c.body), c.headers...)
		if c.source == "" {
			if a.status != 401 || a.Success || a.Code == "" || a.Message == "" || len(r.batches) != 0 {
				t.Errorf("%s: got %d %s, want 401", c.what, a.status, a.raw)
			}
			continue
		}
		if a.status == 401 || len(r.batches) != 1 || r.batches[0].Source != c.source {
			t.Errorf("%s: got %d %s, batches %+v, want source %s", c.what, a.status, a.raw, r.batches, c.source)
		}
	}
	h := serve(&recorder{}, func(o *front.Options) { o.WriteKeys = map[string]string{"web": "shop"} })
	if a := call(t, h, "GET", "/v1/projects/wrong/settings", nil); a.status != 401 {
		t.Errorf("settings of an unknown key: got %d", a.status)
	}
	if a := call(t, h, "GET", "/v1/projects/web/settings", nil); a.status != 200 {
		t.Errorf("settings of a known key: got %d", a.status)
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	big := `{"type":"track","messageId":"big","userId":"u","event":"E","p":"` + strings.Repeat("x", 60<<10) + `"}`
	for _, c := range []struct {
		what, path, body string
		status           int
		accepted         int
		codes            []ingest.Code // of the rejected events
	}{
		{"good", "/v1/t", track, 200, 1, nil},
		{"single, bad event", "/v1/t", `{"userId":"u"}`, 400, 0, []ingest.Code{ingest.CodeMissingEvent}},
		{"single, not JSON", "/v1/t", `{`, 400, 0, []ingest.Code{ingest.CodeNotJSON}},
		{"single, no body", "/v1/t", ``, 400, 0, []ingest.Code{ingest.CodeNotJSON}},
		{"single, too large", "/v1/t", big, 400, 0, []ingest.Code{ingest.CodeTooLarge}},
		{"batch, a bad item", "/v1/batch", `{"batch":[{"type":"track","userId":"u"},{"type":"page","userId":"u"}]}`, 200, 1, []ingest.Code{ingest.CodeMissingEvent}},
		{"batch, only bad items", "/v1/batch", `{"batch":[{"type":"track","userId":"u"}]}`, 200, 0, []ingest.Code{ingest.CodeMissingEvent}},
		{"batch, 60 KB among good ones", "/v1/batch", `{"batch":[{"type":"page","userId":"u"},` + big + `,{"type":"page","userId":"u"}]}`, 200, 2, []ingest.Code{ingest.CodeTooLarge}},
		{"batch, nested 1,000 deep", "/v1/batch", `{"batch":[{"type":"page","userId":"u","p":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `},{"type":"page","userId":"u"}]}`, 200, 1, []ingest.Code{ingest.CodeTooDeep}},
		{"batch, empty", "/v1/batch", `{"batch":[]}`, 400, 0, []ingest.Code{ingest.CodeEmptyBatch}},
		{"batch, not JSON", "/v1/batch", `{"batch":[`, 400, 0, []ingest.Code{ingest.CodeNotJSON}},
		{"native, good", "/v1/events", `{"events":[{"type":"E","identifiers":[{"type":"user_id","value":"u"}]}]}`, 200, 1, nil},
		{"native, a bad event", "/v1/events", `{"events":[{"type":"E"}]}`, 200, 0, []ingest.Code{ingest.CodeMissingID}},
		{"native, not JSON", "/v1/events", `nope`, 400, 0, []ingest.Code{ingest.CodeNotJSON}},
		{"body at the limit", "/v1/batch", padded(ingest.MaxBodyBytes), 200, 1, nil},
		{"body beyond the limit", "/v1/batch", padded(ingest.MaxBodyBytes + 1), 400, 0, []ingest.Code{ingest.CodeTooLarge}},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			r := &recorder{}
			a := call(t, serve(r, nil), "POST", c.path, strings.NewReader(c.body))
			var codes []ingest.Code
			for _, rejected := range a.Rejected {
				codes = append(codes, rejected.Code)
				if rejected.Message == "" || rejected.Limit == "" {
					t.Errorf("got %+v, want a message and a limit", rejected)
				}
			}
			if a.status != c.status || a.Accepted != c.accepted || !cmp.Equal(codes, c.codes) || a.Success != (c.status == 200) {
				t.Errorf("got %d %.400s, want %d, %d accepted, codes %v", a.status, a.raw, c.status, c.accepted, c.codes)
			}
			if c.status == 400 && (a.Code != string(c.codes[0]) || a.Message == "") {
				t.Errorf("got code %q, message %q", a.Code, a.Message)
			}
			for _, d := range r.last(t).Drafts {
				if d.Refused != nil && len(d.Original) == 0 && c.body != "" && c.what != "body beyond the limit" {
					t.Errorf("refused without its bytes: %+v", d.Refused)
				}
			}
		})
	}
}

// padded is a good batch of n bytes.
func padded(n int) string {
	const head, tail = `{"batch":[{"type":"page","userId":"u"}]`, `}`
	return head + strings.Repeat(" ", n-len(head)-len(tail)) + tail
}

// endless is a body that says nothing of its length; it counts what is read of
// it, and may break off.
type endless struct {
	read, breaksAt int
}

func (e *endless) Read(b []byte) (int, error) {
	if e.breaksAt > 0 && e.read >= e.breaksAt {
		return 0, os.ErrDeadlineExceeded
	}
	for i := range b {
		b[i] = ' '
	}
	e.read += len(b)
	return len(b), nil
}

// A client that sends its whole body before it reads must get its answer, so a
// body beyond the limit is read on, within bounds.
func TestBodyBeyondTheLimit(t *testing.T) {
	t.Parallel()
	const drained = 8 << 20
	for _, c := range []struct {
		what    string
		length  int64 // as declared
		body    io.Reader
		expect  string
		read    int64 // least
		further int64 // at most, beyond that
		closed  bool
		kept    int
	}{
		{"declared", ingest.MaxBodyBytes + 1, strings.NewReader(padded(ingest.MaxBodyBytes + 1)), "", ingest.MaxBodyBytes + 1, 0, false, 0},
		{"declared, too much to read", ingest.MaxBodyBytes + drained + 1, &endless{}, "", 0, 0, true, 0},
		{"declared, waiting to be asked", ingest.MaxBodyBytes + 1, &endless{}, "100-continue", 0, 0, true, 0},
		{"not declared", -1, strings.NewReader(padded(ingest.MaxBodyBytes + drained/2)), "", ingest.MaxBodyBytes + drained/2, 0, false, ingest.MaxRejectBytes},
		{"endless", -1, &endless{}, "", ingest.MaxBodyBytes + drained, 64 << 10, true, ingest.MaxRejectBytes},
		{"beyond the deadline", -1, &endless{breaksAt: ingest.MaxBodyBytes + drained/2}, "", ingest.MaxBodyBytes + drained/2, 64 << 10, true, ingest.MaxRejectBytes},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			r, counted := &recorder{}, &counter{Reader: c.body}
			req := httptest.NewRequestWithContext(t.Context(), "POST", "/v1/batch", counted)
			req.ContentLength = c.length
			req.Header.Set("Expect", c.expect)
			rec := httptest.NewRecorder()
			// Little more than the body at its limit: what is read on is not held.
			serve(r, func(o *front.Options) { o.MemoryBytes = 16 << 20 }).ServeHTTP(rec, req)
			if rec.Code != 400 || !strings.Contains(rec.Body.String(), "too_large") || !strings.Contains(rec.Body.String(), "4194304") {
				t.Errorf("got %d %s", rec.Code, rec.Body)
			}
			if counted.n < c.read || counted.n > c.read+c.further {
				t.Errorf("read %d bytes, want %d and at most %d more", counted.n, c.read, c.further)
			}
			if closed := rec.Header().Get("Connection") == "close"; closed != c.closed {
				t.Errorf("connection closed: %v, want %v", closed, c.closed)
			}
			if got := len(r.last(t).Drafts[0].Original); got != c.kept {
				t.Errorf("kept %d bytes, want %d", got, c.kept)
			}
		})
	}
}

// counter counts what is read.
type counter struct {
	io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n += int64(n)
	return n, err
}

// What an ordinary client does: it writes all, then reads.
func TestAnswerReachesAClientThatWritesFirst(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]struct {
		options func(*front.Options)
		size    int
		status  int
	}{
		"too large": {nil, ingest.MaxBodyBytes + 7<<20, http.StatusBadRequest},
		"no memory": {func(o *front.Options) { o.MemoryBytes = 1 }, ingest.MaxBodyBytes, http.StatusTooManyRequests},
		"not ready": {func(o *front.Options) { o.Ready = func() error { return errors.New("starting") } }, ingest.MaxBodyBytes, http.StatusServiceUnavailable},
		"good":      {nil, 100, http.StatusOK},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(serve(&recorder{}, change.options))
			defer s.Close()
			conn, err := net.Dial("tcp", s.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, err = fmt.Fprintf(conn, "POST /v1/batch HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", change.size, padded(change.size))
			if err != nil {
				t.Fatalf("write: %v", err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatalf("read: %v", err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != change.status || resp.Close {
				t.Errorf("got %d, connection closed %v, want %d", resp.StatusCode, resp.Close, change.status)
			}
		})
	}
}

func TestEncodings(t *testing.T) {
	t.Parallel()
	good := zipped(t, track)
	corrupt := bytes.Clone(good)
	corrupt[len(corrupt)-6] ^= 0xff // the checksum
	bomb := zipped(t, strings.Repeat(" ", ingest.MaxInflatedBytes+1))
	full := zipped(t, strings.Repeat(" ", ingest.MaxInflatedBytes-len(`{"batch":[{"type":"page","userId":"u"}]}`))+`{"batch":[{"type":"page","userId":"u"}]}`)
	for _, c := range []struct {
		what, path, encoding string
		body                 []byte
		code                 string // "" for 200
	}{
		{"gzip", "/v1/t", "gzip", good, ""},
		{"gzip by its old name", "/v1/t", "X-GZIP", good, ""},
		{"identity", "/v1/t", "identity", []byte(track), ""},
		{"byte order mark", "/v1/t", "", []byte("\ufeff" + track), ""},
		{"not gzip", "/v1/t", "gzip", []byte(track), "not_json"},
		{"empty", "/v1/t", "gzip", nil, "not_json"},
		{"truncated", "/v1/t", "gzip", good[:len(good)-9], "not_json"},
		{"truncated header", "/v1/t", "gzip", good[:5], "not_json"},
		{"wrong checksum", "/v1/t", "gzip", corrupt, "not_json"},
		{"text after the end", "/v1/t", "gzip", append(bytes.Clone(good), "more"...), "not_json"},
		{"bomb", "/v1/batch", "gzip", bomb, "too_large"},
		{"just no bomb", "/v1/batch", "gzip", full, ""},
		{"gzip that does not say so", "/v1/t", "", good, "not_utf8"},
		{"unknown encoding", "/v1/t", "br", []byte(track), "not_json"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			r := &recorder{}
			a := call(t, serve(r, nil), "POST", c.path, bytes.NewReader(c.body), "Content-Encoding", c.encoding)
			want := 200
			if c.code != "" {
				want = 400
			}
			if a.status != want || a.Code != c.code {
				t.Fatalf("got %d %.300s, want %d %s", a.status, a.raw, want, c.code)
			}
			if c.what == "bomb" && (a.Message != "the body inflates to more than 16777216 bytes" || a.Rejected[0].Limit != "16777216 bytes inflated") {
				t.Errorf("got message %q, limit %q", a.Message, a.Rejected[0].Limit)
			}
			if d := r.last(t).Drafts[0]; c.code != "" && !bytes.HasPrefix(c.body, d.Original) {
				t.Error("the bytes kept are not those sent")
			}
		})
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{ingest.ErrOverload, 429, "overload"},
		{fmt.Errorf("append: %w", ingest.ErrOverload), 429, "overload"},
		{ingest.ErrNotReady, 503, "not_ready"},
		{ingest.ErrDiskFull, 507, "disk_full"},
		{context.DeadlineExceeded, 503, "unavailable"},
		{errors.New("secret detail"), 503, "unavailable"},
	} {
		var log bytes.Buffer
		h := serve(&recorder{err: c.err}, func(o *front.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		for _, body := range []string{track, `{`} {
			a := call(t, h, "POST", "/v1/track", strings.NewReader(body))
			if a.status != c.status || a.Code != c.code || a.Success || a.header.Get("Retry-After") == "" || a.Message == "" {
				t.Errorf("%v: got %d %s, Retry-After %q", c.err, a.status, a.raw, a.header.Get("Retry-After"))
			}
			if strings.Contains(a.raw, "secret") {
				t.Errorf("the answer tells %s", a.raw)
			}
		}
		if strings.Contains(c.err.Error(), "secret") != strings.Contains(log.String(), "secret") {
			t.Errorf("%v: logged %q", c.err, log.String())
		}
	}
	r := &recorder{}
	h := serve(r, func(o *front.Options) { o.Ready = func() error { return errors.New("rebuilding, 12 %") } })
	a := call(t, h, "POST", "/v1/track", strings.NewReader(track))
	if a.status != 503 || a.Code != "not_ready" || !strings.Contains(a.Message, "12 %") || a.header.Get("Retry-After") == "" || len(r.batches) != 0 {
		t.Errorf("not ready: got %d %s", a.status, a.raw)
	}
}

// A key that stands in the body is not known before the body is read: overload
// must not be told as a wrong key, upon which clients drop their events.
func TestOverloadIsToldBeforeTheKey(t *testing.T) {
	t.Parallel()
	h := serve(&recorder{}, func(o *front.Options) {
		o.MemoryBytes, o.WriteKeys = 1, map[string]string{"k": "shop"}
	})
	if a := call(t, h, "POST", "/v1/batch", strings.NewReader(`{"writeKey":"k","batch":[`+track+`]}`)); a.status != 429 || a.Code != "overload" {
		t.Errorf("got %d %s, want 429 overload", a.status, a.raw)
	}
}

func TestMemoryIsBoundedAndGivenBack(t *testing.T) {
	t.Parallel()
	r := &recorder{}
	h := serve(r, func(o *front.Options) { o.MemoryBytes = 64 << 10 })
	for range 3 {
		a := call(t, h, "POST", "/v1/batch", strings.NewReader(padded(60<<10)))
		if a.status != 429 || a.header.Get("Retry-After") == "" || len(r.batches) != 0 {
			t.Fatalf("beyond the bound: got %d %s", a.status, a.raw)
		}
	}
	for range 100 {
		if a := call(t, h, "POST", "/v1/track", strings.NewReader(track)); a.status != 200 {
			t.Fatalf("memory not given back: got %d %s", a.status, a.raw)
		}
	}
}

func TestProtobuf(t *testing.T) {
	t.Parallel()
	body, err := proto.Marshal(&eventsv1.EventBatch{Events: []*eventsv1.Event{{Type: "E", Identifiers: []*eventsv1.Identifier{{Type: "user_id", Value: "u"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, contentType := range []string{"application/x-protobuf", "application/protobuf", "Application/Protobuf; charset=x"} {
		r := &recorder{}
		a := call(t, serve(r, nil), "POST", "/v1/events", bytes.NewReader(body), "Content-Type", contentType)
		if a.status != 200 || a.Accepted != 1 || r.last(t).Wire != "native" {
			t.Errorf("%s: got %d %s", contentType, a.status, a.raw)
		}
	}
}

// brokenOff is a body of which the rest does not come.
type brokenOff struct {
	io.Reader
	err error
}

func (b brokenOff) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		err = b.err
	}
	return n, err
}

// A body that came in part is sent again and not kept: of a 400 the client
// would drop it, for the fault of a line.
func TestIncompleteBody(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		path, origin string
		err          error
		status       int
	}{
		{"/v1/batch", "", &net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}, 408},
		{"/v1/batch", "", io.ErrUnexpectedEOF, 408},
		{"/batch/", "", os.ErrDeadlineExceeded, 408},
		{"/e/", "http://shop", os.ErrDeadlineExceeded, 503},
	} {
		r := &recorder{}
		keyed := serve(r, func(o *front.Options) { o.WriteKeys = map[string]string{"k": "shop"} })
		a := call(t, keyed, "POST", c.path, brokenOff{strings.NewReader(`{"batch":[`), c.err}, "Origin", c.origin)
		if a.status != c.status || a.Code != "incomplete" || strings.Contains(a.Message, "tcp") || a.header.Get("Retry-After") == "" || len(r.batches) != 0 {
			t.Errorf("%s, %v: got %d %s with %d batches kept, want %d", c.path, c.err, a.status, a.raw, len(r.batches), c.status)
		}
	}
}

// A body may have a token of its own beside its write key, and a key that is
// null or empty is none; also where the event is refused.
func TestKeyOfSeveral(t *testing.T) {
	t.Parallel()
	h := serve(&recorder{}, func(o *front.Options) { o.WriteKeys = map[string]string{"k": "shop"} })
	item := `{"type":"track","userId":"u","event":"E"}`
	for _, c := range []struct {
		path, body string
		status     int
	}{
		{"/v1/t", `{"writeKey":"k","token":"x","userId":"u","event":"E"}`, 200},
		{"/v1/t", `{"token":"x","writeKey":"k","userId":"u","event":"E"}`, 200},
		{"/v1/t", `{"token":"k","userId":"u","event":"E"}`, 200},
		{"/v1/t", `{"token":"x","writeKey":"k"}`, 400},
		{"/v1/t", `{"writeKey":null,"api_key":"k"}`, 400},
		{"/v1/t", `{"token":"k","writeKey":"","userId":"u","event":"E"}`, 200},
		{"/v1/t", `{"token":"k","writeKey":"x","userId":"u","event":"E"}`, 401},
		{"/v1/b", `{"writeKey":"k","token":"x","batch":[` + item + `]}`, 200},
		{"/batch/", `{"api_key":"k","token":"x","batch":[{"event":"E","distinct_id":"u"}]}`, 200},
		{"/e/", `{"token":"x","api_key":"k","event":"E","distinct_id":"u"}`, 200},
		{"/e/", `{"api_key":"","token":"k","event":"E","distinct_id":"u"}`, 200},
		{"/e/", `{"event":"E","distinct_id":"u","properties":{"api_key":null,"token":"k"}}`, 200},
		{"/v1/events", `{"writeKey":"k","token":"x","events":[{"type":"x","identifiers":[{"type":"user_id","value":"u"}]}]}`, 200},
	} {
		if a := call(t, h, "POST", c.path, strings.NewReader(c.body)); a.status != c.status {
			t.Errorf("%s %s: got %d %s, want %d", c.path, c.body, a.status, a.raw, c.status)
		}
	}
}

// What is wrong with the parameters of a Content-Type is no matter.
func TestParametersOfMediaType(t *testing.T) {
	t.Parallel()
	r := &recorder{}
	body, err := proto.Marshal(&eventsv1.EventBatch{Events: []*eventsv1.Event{{Type: "x", Identifiers: []*eventsv1.Identifier{{Type: "user_id", Value: "u"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, contentType := range []string{"application/x-protobuf", "Application/Protobuf ;charset", "application/x-protobuf; a=1; a=2"} {
		a := call(t, serve(r, nil), "POST", "/v1/events", bytes.NewReader(body), "Content-Type", contentType)
		if a.status != 200 || a.Accepted != 1 {
			t.Errorf("%s: got %d %s", contentType, a.status, a.raw)
		}
	}
}
