// Package front is the HTTP side of ingest: write keys, CORS, bodies, and the
// answers that trackers act on. What the bodies say is for the wires
// (ingest/segment, ingest/native) to decode, what becomes of the events for
// the gateway behind Options.Accept.
//
// What clients make of a status decided the answers. A 4xx other than 429
// drops a whole batch for ever, so a batch with bad items is a 200 that lists
// them; 429, 503 and 507 are sent again, after Retry-After. A browser sends
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

// New serves every ingest path and the settings path. Any other path, under
// /v1 or not, is a 404.
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
	if data := r.URL.Query().Get("data"); wire.Name == postHog && r.Method == http.MethodGet && data != "" {
		f.take(w, asPost(r, r.URL.Path, []byte(data)), path, wire)
		return
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
		f.replyError(w, notReady{err})
		return
	}
	asks, err := f.dryRun(r)
	if err != nil {
		drain(w, r, 0)
		reply(w, http.StatusBadRequest, plainAnswer{Code: "bad_request", Message: err.Error()})
		return
	}
	retryable := func(status int) int { return retryStatus(r, path, status) }
	held := f.memory.hold()
	defer held.release()
	source, known := f.headerSource(r)
	unnamed, key := false, ""
	raw, body, refused := readBody(w, r, held)
	if refused == nil && wire.Name == postHog {
		body, key, refused = unpack(body, r.URL.Query(), held)
	}
	decoded := ingest.Decoded{Refused: refused}
	if refused == nil {
		decoded = wire.Decode(wires.Request{Path: path, MediaType: mediaType(r), Header: r.Header, Query: r.URL.Query(), Body: body})
	}
	if !known {
		source, known = f.source(cmp.Or(decoded.WriteKey, key))
	}
	switch {
	case again(refused) != nil:
		// Before the key, which may stand in the body that was not read.
		f.replyErrorTo(w, again(refused), retryable)
		return
	case !known && key == "" && refused != nil && refused.Code == ingest.CodeTooLarge && wire.Name == postHog:
		// PostHog's clients tell their key in the body alone. The halves of this
		// one will tell it; nothing is kept for somebody without.
		replyPostHog(w, path, decoded, nil, ingest.Result{})
		return
	case !known:
		refuseKey(w)
		return
	case source == "" && decoded.Source != "":
		source = decoded.Source
	case source == "":
		source, unnamed = defaultSource, true
	}
	batch := ingest.Batch{
		Source: source, Unnamed: unnamed, Received: f.Now(), Wire: wire.Name, Path: r.URL.Path,
		ContentType: r.Header.Get("Content-Type"), Drafts: decoded.Drafts, Beside: len(decoded.Beside),
	}
	if decoded.Refused != nil {
		if body == nil {
			body = raw
		}
		batch.Whole = true
		batch.Drafts = []ingest.Draft{{Refused: decoded.Refused, Original: body[:min(len(body), ingest.MaxRejectBytes)]}}
	}
	if asks {
		f.preview(w, r, decoded, batch)
		return
	}
	ids := itemIDs(&decoded)
	result, err := f.Accept(r.Context(), batch)
	switch {
	case err != nil:
		f.replyErrorTo(w, err, retryable)
	case wire.Name == postHog:
		replyPostHog(w, path, decoded, ids, result)
	default:
		replyResult(w, decoded, result)
	}
}
