package front

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/dossier360/dossier/ingest"
)

// plainAnswer is an answer without events.
type plainAnswer struct {
	Success bool   `json:"success"`
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
}

// eventsAnswer is the answer to a call that brought events, or should have.
// Code and Message say why the call as a whole was refused.
type eventsAnswer struct {
	Success    bool               `json:"success"`
	Accepted   int                `json:"accepted"`
	Duplicates int                `json:"duplicates"`
	Rejected   []ingest.Rejection `json:"rejected"`
	Receipt    string             `json:"receipt,omitempty"`
	Code       ingest.Code        `json:"code,omitempty"`
	Message    string             `json:"message,omitempty"`

	// What PostHog's clients look for besides: 1, and what became of each event
	// by its id.
	Status  int                   `json:"status,omitempty"`
	Results map[string]itemResult `json:"results,omitempty"`
}

// replyResult answers a call whose events are durable or refused.
func replyResult(w http.ResponseWriter, decoded ingest.Decoded, result ingest.Result) {
	status, a := resultAnswer(decoded, result)
	reply(w, status, a)
}

// replyPostHog answers a call of PostHog's clients. One that is too large they
// divide, if they are told so by its status.
func replyPostHog(w http.ResponseWriter, path string, decoded ingest.Decoded, ids []string, result ingest.Result) {
	status, a := resultAnswer(decoded, result)
	a.Status = 1
	if decoded.Refused != nil && decoded.Refused.Code == ingest.CodeTooLarge {
		status = http.StatusRequestEntityTooLarge
	}
	if path == analyticsPath {
		a.Results = resultsOf(&decoded, ids, result.Rejected)
	}
	reply(w, status, a)
}

func resultAnswer(decoded ingest.Decoded, result ingest.Result) (int, eventsAnswer) {
	a := eventsAnswer{
		Success: true, Accepted: result.Accepted, Duplicates: result.Duplicates,
		Rejected: bySent(&decoded, result.Rejected), Receipt: result.Receipt,
	}
	whole := decoded.Refused
	if whole == nil && decoded.Single && len(result.Rejected) > 0 && result.Accepted+result.Duplicates == 0 {
		whole = &result.Rejected[0]
	}
	if a.Rejected == nil {
		a.Rejected = []ingest.Rejection{} // [] rather than null
	}
	if whole == nil {
		return http.StatusOK, a
	}
	if len(a.Rejected) == 0 {
		a.Rejected = []ingest.Rejection{*whole}
	}
	a.Success, a.Code, a.Message = false, whole.Code, whole.Message
	return http.StatusBadRequest, a
}

// failures is how errors are answered that are no fault of the call: all are sent again, the later
// the longer the cause is likely to last.
var failures = [...]struct {
	err        error
	status     int
	code       string
	retryAfter int // seconds
}{
	{ingest.ErrOverload, http.StatusTooManyRequests, "overload", 1},
	{ingest.ErrDiskFull, http.StatusInsufficientStorage, "disk_full", 60},
	{ingest.ErrNotReady, http.StatusServiceUnavailable, "not_ready", 5},
	{errIncomplete, http.StatusRequestTimeout, "incomplete", 1},
	{context.Canceled, http.StatusServiceUnavailable, "unavailable", 1},
	{context.DeadlineExceeded, http.StatusServiceUnavailable, "unavailable", 5},
}

// replyError answers a call of which nothing is known to be durable.
func (f *front) replyError(w http.ResponseWriter, err error) {
	f.replyErrorTo(w, err, func(status int) int { return status })
}

// replyErrorTo is replyError for a client that acts on other statuses.
func (f *front) replyErrorTo(w http.ResponseWriter, err error, as func(status int) int) {
	for _, known := range failures {
		if errors.Is(err, known.err) {
			w.Header().Set("Retry-After", strconv.Itoa(known.retryAfter))
			reply(w, as(known.status), plainAnswer{Code: known.code, Message: err.Error()})
			return
		}
	}
	// The text of any other error is for the operator, not for the client.
	f.Logger.Error("events not accepted", "error", err)
	w.Header().Set("Retry-After", "5")
	reply(w, http.StatusServiceUnavailable, plainAnswer{Code: "unavailable", Message: "the events could not be stored; send them again"})
}

func refuseKey(w http.ResponseWriter) {
	reply(w, http.StatusUnauthorized, plainAnswer{
		Code:    "unknown_key",
		Message: "write key missing or unknown: Basic user, Bearer token, writeKey in the body or ?writeKey= wanted",
	})
}

// reply writes an answer. A client that is gone by now does not get it.
func reply(w http.ResponseWriter, status int, answer any) {
	b := append(encode(answer), '\n')
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	w.Write(b)
}

// encode writes plain data as JSON.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("not reached: answers are plain data: " + err.Error())
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

func notFound(w http.ResponseWriter, r *http.Request) {
	reply(w, http.StatusNotFound, plainAnswer{Code: "not_found", Message: "no such path: " + ingest.Shown(r.URL.Path)})
}
