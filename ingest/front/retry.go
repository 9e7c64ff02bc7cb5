package front

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/rejected"
)

// The paths on which what was refused, or set aside, is tried again.
const (
	retryRejectedPath = "/v1/rejected/retry"
	retryParkedPath   = "/v1/parked/retry"
)

// ErrBadRetry marks what is wrong with a call that tries parked events again;
// its text goes to the client.
var ErrBadRetry = errors.New("retry")

// ParkedRetry is which parked events are tried again: some by id, or all, those
// behind After, as many as one call takes.
type ParkedRetry struct {
	IDs   []string
	All   bool
	After string
}

// ParkedRetried is what became of parked events that were tried again.
type ParkedRetried struct {
	Outcomes []ParkedOutcome
	Receipt  string
	Next     string // goes on with ParkedRetry.After; "": there are no more
}

// ParkedOutcome is what became of one: "applied", "parked" or "gone".
type ParkedOutcome struct {
	ID      string `json:"id"`
	Outcome string `json:"outcome"`
	Reason  string `json:"reason,omitempty"`
}

// retryRequest is the body of both calls.
type retryRequest struct {
	IDs    []string `json:"ids"`
	All    bool     `json:"all"`
	After  string   `json:"after"`
	Source string   `json:"source"`
	Code   string   `json:"code"`
	// Body, or BodyBase64, takes the place of what was refused.
	Body       *string `json:"body"`
	BodyBase64 *string `json:"bodyBase64"`
}

// retryAnswer is the answer to both.
type retryAnswer[O any] struct {
	Success bool   `json:"success"`
	Results []O    `json:"results"`
	Receipt string `json:"receipt,omitempty"`
	// Next goes on with "after" where all were asked for and there are more.
	Next string `json:"next,omitempty"`
}

// retry answers the calls by which an operator tries again; it reports false
// for any other path. Browsers have no part in them: there is no CORS, and JSON
// is wanted, which a page cannot send here without it.
func (f *front) retry(w http.ResponseWriter, r *http.Request, path string) bool {
	isRejected := path == retryRejectedPath && f.RetryRejected != nil
	if !isRejected && (path != retryParkedPath || f.RetryParked == nil) {
		return false
	}
	w.Header().Del("Access-Control-Allow-Origin")
	w.Header().Del("Access-Control-Expose-Headers")
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		reply(w, http.StatusMethodNotAllowed, plainAnswer{Code: "method_not_allowed", Message: "method " + r.Method + ": POST wanted"})
		return true
	}
	source, known := f.headerSource(r)
	if !known {
		drain(w, r, 0)
		refuseKey(w)
		return true
	}
	if err := f.Ready(); err != nil {
		drain(w, r, 0)
		f.replyError(w, ingest.NotReady(err))
		return true
	}
	held := f.memory.hold()
	defer held.release()
	asked, err := readRetry(w, r, held)
	if err != nil {
		f.replyRetryError(w, err)
		return true
	}
	if isRejected {
		f.retryRejected(w, r, asked, source)
	} else {
		f.retryParked(w, r, asked)
	}
	return true
}

func readRetry(w http.ResponseWriter, r *http.Request, held *holding) (*retryRequest, error) {
	if media := mediaType(r); media != "application/json" {
		drain(w, r, 0)
		return nil, fmt.Errorf("%w: Content-Type is %s: application/json wanted", ErrBadRetry, ingest.Shown(r.Header.Get("Content-Type")))
	}
	_, body, refused := readBody(w, r, held)
	switch {
	case again(refused) != nil:
		return nil, again(refused)
	case refused != nil:
		return nil, fmt.Errorf("%w: %s", ErrBadRetry, refused.Message)
	}
	asked := &retryRequest{}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(asked); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRetry, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: one JSON object wanted, more follows", ErrBadRetry)
	}
	if asked.Body != nil && asked.BodyBase64 != nil {
		return nil, fmt.Errorf("%w: body and bodyBase64: one of them", ErrBadRetry)
	}
	return asked, nil
}

// edited is the body that takes the place of what was refused, nil if none does.
func (q *retryRequest) edited() ([]byte, error) {
	switch {
	case q.Body != nil:
		return []byte(*q.Body), nil
	case q.BodyBase64 == nil:
		return nil, nil
	}
	body, err := base64.StdEncoding.DecodeString(*q.BodyBase64)
	if err != nil {
		return nil, fmt.Errorf("%w: bodyBase64: %w", ErrBadRetry, err)
	}
	return append([]byte{}, body...), nil // not nil, though it be empty
}

// retryRejected tries rejects again. Who has the key of one source touches that
// source alone: with a body of his own he tells events under its name.
func (f *front) retryRejected(w http.ResponseWriter, r *http.Request, asked *retryRequest, source string) {
	body, err := asked.edited()
	if err != nil {
		f.replyRetryError(w, err)
		return
	}
	retry := rejected.Retry{IDs: asked.IDs, All: asked.All, Source: asked.Source, Code: asked.Code, Body: body}
	if source != "" {
		if asked.Source != "" && asked.Source != source {
			f.replyRetryError(w, fmt.Errorf("%w: source is %s: the write key is that of %s", ErrBadRetry, ingest.Shown(asked.Source), ingest.Shown(source)))
			return
		}
		retry.Source = source
	}
	if asked.After != "" {
		if retry.After, err = strconv.ParseUint(asked.After, 10, 64); err != nil {
			f.replyRetryError(w, fmt.Errorf("%w: after is %s: the next of an answer wanted", ErrBadRetry, ingest.Shown(asked.After)))
			return
		}
	}
	done, err := f.RetryRejected(r.Context(), retry)
	if err != nil {
		f.replyRetryError(w, err)
		return
	}
	a := retryAnswer[rejected.Outcome]{Success: true, Results: done.Outcomes, Receipt: done.Receipt}
	if done.After != 0 {
		a.Next = strconv.FormatUint(done.After, 10)
	}
	if a.Results == nil {
		a.Results = []rejected.Outcome{}
	}
	reply(w, http.StatusOK, a)
}

func (f *front) retryParked(w http.ResponseWriter, r *http.Request, asked *retryRequest) {
	if asked.Body != nil || asked.BodyBase64 != nil || asked.Source != "" || asked.Code != "" {
		f.replyRetryError(w, fmt.Errorf("%w: ids, all and after are what a retry of parked events takes", ErrBadRetry))
		return
	}
	done, err := f.RetryParked(r.Context(), ParkedRetry{IDs: asked.IDs, All: asked.All, After: asked.After})
	if err != nil {
		f.replyRetryError(w, err)
		return
	}
	a := retryAnswer[ParkedOutcome]{Success: true, Results: done.Outcomes, Receipt: done.Receipt, Next: done.Next}
	if a.Results == nil {
		a.Results = []ParkedOutcome{}
	}
	reply(w, http.StatusOK, a)
}

// replyRetryError answers a call that was not carried out, or not to its end.
func (f *front) replyRetryError(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, ErrBadRetry), errors.Is(err, rejected.ErrRetry):
		reply(w, http.StatusBadRequest, plainAnswer{Code: "bad_request", Message: err.Error()})
	case errors.Is(err, rejected.ErrCatchingUp):
		f.replyError(w, fmt.Errorf("%w: %w", ingest.ErrNotReady, err))
	default:
		f.replyError(w, err)
	}
}
