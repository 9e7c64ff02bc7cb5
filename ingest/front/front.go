// Package front is the HTTP side of ingest: write keys, CORS, bodies, and the
// answers that trackers act on. What the bodies say is for the wires to decode
// (ingest/wires has them all), what becomes of the events for the gateway behind
// Options.Accept. The paths by which an operator tries again what was refused or
// parked are here too.
//
// What clients make of a status decided the answers. A 4xx other than 408 and
// 429 drops a whole batch for ever, so a batch with bad items is a 200 that lists
// them; 408, 429, 503 and 507 are sent again, after Retry-After, and where a
// client of PostHog would not, it gets another (see retryStatus). A browser sends
// nothing at all without CORS, on errors too.
//
// Everything is bounded: the body on the wire and inflated, the events of a
// call (see the limits of package ingest), and the memory of all calls
// together; beyond it callers are told to come again.
package front

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/rejected"
	"github.com/dossier360/dossier/ingest/wires"
)

// defaultSource is the source of events that no key and no publisher names.
const defaultSource = "default"

// defaultMemoryBytes bounds what all calls hold at once.
const defaultMemoryBytes = 512 << 20

// Options of [New].
type Options struct {
	// Accept makes the events of a call durable; (*ingest.Gateway).Accept.
	// Required.
	Accept func(context.Context, ingest.Batch) (ingest.Result, error)
	// Preview says what would become of the events of a call, which is recorded
	// nowhere; (*ingest.Gateway).Preview. Nil: no call can ask.
	Preview func(ctx context.Context, batch ingest.Batch, receipt string) (ingest.Preview, error)
	// RetryRejected tries again what was refused; (*rejected.Ledger).Retry.
	// Nil: its path is not there.
	RetryRejected func(context.Context, rejected.Retry) (rejected.Retried, error)
	// RetryParked tries again what a fold set aside. Nil: its path is not there.
	RetryParked func(context.Context, ParkedRetry) (ParkedRetried, error)
	// WriteKeys maps each key to the source it names, [a-z0-9_-]{1,40} or ""
	// for none. No keys: any key or none is taken.
	WriteKeys map[string]string
	// Ready says why events cannot be taken yet; its text goes to the client.
	// Nil: they can.
	Ready func() error
	// Now is the clock of receipt. Nil: time.Now.
	Now func() time.Time
	// Logger takes what is worth an operator's attention. Nil: nobody.
	Logger *slog.Logger
	// MemoryBytes bounds what the bodies of all calls hold together; beyond it
	// callers get 429. 0: 512 MiB.
	MemoryBytes int64
}

// New serves every ingest path, the paths that try again, and what browser clients
// ask for besides. Any other path, under /v1 or not, is a 404.
func New(o Options) http.Handler {
	if o.Accept == nil {
		panic("front.New: Options.Accept is required")
	}
	if o.Ready == nil {
		o.Ready = func() error { return nil }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MemoryBytes == 0 {
		o.MemoryBytes = defaultMemoryBytes
	}
	f := &front{Options: o}
	f.memory.free.Store(o.MemoryBytes)
	return f
}

type front struct {
	Options
	memory memory
}

// ServeHTTP finds what a path is for.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", "Retry-After")
	path := strings.TrimSuffix(r.URL.Path, "/")
	if wire, ok := wires.ForPath(path); ok {
		f.serveEvents(w, r, path, wire)
		return
	}
	if path == "/v1/m" { // the browser client's metrics of itself
		if allowed(w, r, http.MethodPost) {
			reply(w, http.StatusOK, plainAnswer{Success: true})
		}
		return
	}
	if key, ok := settingsKey(path); ok {
		if allowed(w, r, http.MethodGet, http.MethodHead) {
			f.settings(w, key)
		}
		return
	}
	if path == "/sourceConfig" {
		if allowed(w, r, http.MethodGet, http.MethodHead) {
			f.sourceConfig(w, r)
		}
		return
	}
	if call, ok := strings.CutPrefix(path, "/pixel/v1/"); ok {
		if allowed(w, r, http.MethodGet) {
			f.pixel(w, r, call)
		}
		return
	}
	if f.quiet(w, r, path) || f.retry(w, r, path) {
		return
	}
	notFound(w, r)
}

// serveEvents serves a path on which events come. PostHog's old clients put
// them into the address of a picture too.
func (f *front) serveEvents(w http.ResponseWriter, r *http.Request, path string, wire wires.Wire) {
	if wire.Name == postHog && r.Method == http.MethodGet {
		if data := r.URL.Query().Get("data"); data != "" {
			f.take(w, asPost(r, r.URL.Path, []byte(data)), path, wire)
			return
		}
	}
	if allowed(w, r, http.MethodPost) {
		f.take(w, r, path, wire)
	}
}

// allowed answers a preflight, and a method that the path does not know.
func allowed(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	if slices.Contains(methods, r.Method) {
		return true
	}
	list := strings.Join(append(methods, http.MethodOptions), ", ")
	h := w.Header()
	if r.Method != http.MethodOptions {
		h.Set("Allow", list)
		reply(w, http.StatusMethodNotAllowed, plainAnswer{Code: "method_not_allowed", Message: "method " + r.Method + ": " + list + " wanted"})
		return false
	}
	asked := r.Header.Get("Access-Control-Request-Headers")
	if asked == "" {
		asked = "authorization, content-type, x-retry-count"
	}
	h.Set("Access-Control-Allow-Headers", asked)
	h.Set("Access-Control-Allow-Methods", list)
	h.Set("Access-Control-Max-Age", "86400")
	h.Add("Vary", "Access-Control-Request-Headers")
	// Who delivers CloudEvents as web-hooks asks first whether he may.
	if origin := r.Header.Get("WebHook-Request-Origin"); origin != "" {
		h.Set("WebHook-Allowed-Origin", origin)
		h.Set("WebHook-Allowed-Rate", "*")
	}
	w.WriteHeader(http.StatusNoContent)
	return false
}

// settingsKey is the write key in the path of the settings.
func settingsKey(path string) (string, bool) {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(path, "/cdn"), "/v1/projects/")
	if !ok {
		return "", false
	}
	key, ok := strings.CutSuffix(rest, "/settings")
	return key, ok && key != "" && !strings.Contains(key, "/")
}

// settings tells a browser client which key to send its events with.
func (f *front) settings(w http.ResponseWriter, key string) {
	if _, known := f.source(key); !known {
		refuseKey(w)
		return
	}
	type sink struct {
		APIKey string `json:"apiKey"`
	}
	reply(w, http.StatusOK, map[string]map[string]sink{"integrations": {"Segment.io": {APIKey: key}}})
}

// take takes the events of one call.
func (f *front) take(w http.ResponseWriter, r *http.Request, path string, wire wires.Wire) {
	if err := f.Ready(); err != nil {
		drain(w, r, 0)
		f.replyError(w, ingest.NotReady(err))
		return
	}
	asks, err := f.dryRun(r)
	if err != nil {
		drain(w, r, 0)
		reply(w, http.StatusBadRequest, plainAnswer{Code: "bad_request", Message: err.Error()})
		return
	}
	held := f.memory.hold()
	defer held.release()
	c := read(w, r, path, wire, held)
	source, known := f.headerSource(r)
	if !known {
		source, known = f.source(cmp.Or(c.decoded.WriteKey, c.key))
	}
	switch {
	case again(c.unread) != nil:
		// Before the key, which may stand in the body that was not read.
		f.replyErrorTo(w, again(c.unread), func(status int) int { return retryStatus(r, path, status) })
	case !known && c.key == "" && c.unread != nil && c.unread.Code == ingest.CodeTooLarge && wire.Name == postHog:
		// PostHog's clients tell their key in the body alone. The halves of this
		// one will tell it; nothing is kept for somebody without.
		replyPostHog(w, path, c.decoded, nil, ingest.Result{})
	case !known:
		refuseKey(w)
	case asks:
		f.preview(w, r, c.decoded, f.batch(r, wire, source, c))
	default:
		f.accept(w, r, path, c.decoded, f.batch(r, wire, source, c))
	}
}

// call is one call as far as it was read.
type call struct {
	raw, body []byte // as it came; inflated and unwrapped, nil if it could not be
	key       string // the write key that a wrapping of the body carries
	unread    *ingest.Rejection
	decoded   ingest.Decoded // refused where the body is unread
}

func read(w http.ResponseWriter, r *http.Request, path string, wire wires.Wire, held *holding) *call {
	c := &call{}
	c.raw, c.body, c.unread = readBody(w, r, held)
	if c.unread == nil && wire.Name == postHog {
		c.body, c.key, c.unread = unpack(c.body, r.URL.Query(), held)
	}
	if c.unread != nil {
		c.decoded.Refused = c.unread
	} else {
		c.decoded = wire.Decode(wires.Request{Path: path, MediaType: mediaType(r), Header: r.Header, Query: r.URL.Query(), Body: c.body})
	}
	return c
}

// batch is what a call tells, of the source that its key names, if it does.
func (f *front) batch(r *http.Request, wire wires.Wire, source string, c *call) ingest.Batch {
	source = cmp.Or(source, c.decoded.Source)
	b := ingest.Batch{
		Source: cmp.Or(source, defaultSource), Unnamed: source == "", Received: f.Now(), Wire: wire.Name, Path: r.URL.Path,
		ContentType: r.Header.Get("Content-Type"), Drafts: c.decoded.Drafts, Beside: len(c.decoded.Beside),
	}
	if c.decoded.Refused != nil {
		body := c.body
		if body == nil {
			body = c.raw
		}
		b.RefuseWhole(c.decoded.Refused, body)
	}
	return b
}

// accept makes the events of a call durable and answers it.
func (f *front) accept(w http.ResponseWriter, r *http.Request, path string, decoded ingest.Decoded, batch ingest.Batch) {
	ids := itemIDs(&decoded)
	result, err := f.Accept(r.Context(), batch)
	switch {
	case err != nil:
		f.replyErrorTo(w, err, func(status int) int { return retryStatus(r, path, status) })
	case batch.Wire == postHog:
		replyPostHog(w, path, decoded, ids, result)
	default:
		replyResult(w, decoded, result)
	}
}
