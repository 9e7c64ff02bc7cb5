package importer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dossier360/dossier/ingest"
)

// Server is where events are sent.
type Server struct {
	// URL of the server: scheme, host, and a path if it stands below one.
	URL string
	// WriteKey that its ingest side asks for; "" for none.
	WriteKey string
	// Transport of the calls. Nil: http.DefaultTransport.
	Transport http.RoundTripper
	// Wait bounds how long a server that takes nothing is waited for. Zero:
	// DefaultWait.
	Wait time.Duration
	// Waiting is told why a call is put off and for how long. May be nil; calls
	// of it may come from several goroutines.
	Waiting func(reason error, pause time.Duration)

	// reached says that somebody was there: from then on a server that cannot be
	// reached is one that is away, not one that never was.
	reached atomic.Bool
}

// ErrWriteKey says that a server does not know the write key, or wants one.
var ErrWriteKey = errors.New("write key missing or unknown")

// ErrNotDossier says that what answers is no Dossier that knows previews.
var ErrNotDossier = errors.New("no answer of a Dossier that can preview events")

// A StatusError is an answer that sending again would not change, or that did
// not change for as long as was waited.
type StatusError struct {
	Status  int
	Message string
}

func (e *StatusError) Error() string {
	text := strconv.Itoa(e.Status) + " " + http.StatusText(e.Status)
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// passing is a failure that may be over soon.
type passing struct {
	err   error
	after time.Duration // as the server asked; 0: it did not
}

func (p passing) Error() string { return p.err.Error() }
func (p passing) Unwrap() error { return p.err }

// previewAnswer is the answer to a call that only asks.
type previewAnswer struct {
	DryRun  bool             `json:"dryRun"`
	Events  []ingest.Verdict `json:"events"`
	Receipt string           `json:"receipt"`
}

// preview asks what would become of n events. A receipt of a preview before
// spares the server waiting for what was appended since.
func (s *Server) preview(ctx context.Context, batch []byte, n int, receipt string) (previewAnswer, error) {
	query := url.Values{"dryRun": {"true"}}
	if receipt != "" {
		query.Set("receipt", receipt)
	}
	var a previewAnswer
	if err := s.call(ctx, query, batch, &a); err != nil {
		return a, fmt.Errorf("preview %d events: %w", n, err)
	}
	if !a.DryRun || len(a.Events) != n {
		return a, ErrNotDossier
	}
	return a, nil
}

// sendAnswer is the answer to a call that was taken.
type sendAnswer struct {
	Accepted   int                `json:"accepted"`
	Duplicates int                `json:"duplicates"`
	Rejected   []ingest.Rejection `json:"rejected"`
}

// send sends n events; when it returns they are durable or refused.
func (s *Server) send(ctx context.Context, batch []byte, n int) (sendAnswer, error) {
	var a sendAnswer
	if err := s.call(ctx, nil, batch, &a); err != nil {
		return a, fmt.Errorf("send %d events: %w", n, err)
	}
	if told := a.Accepted + a.Duplicates + len(a.Rejected); told != n {
		return a, fmt.Errorf("%w: it tells of %d events of %d", ErrNotDossier, told, n)
	}
	return a, nil
}

// call posts a batch and reads the answer. A call that was not taken is made
// again, which is safe: what was taken after all is a duplicate by then.
func (s *Server) call(ctx context.Context, query url.Values, batch []byte, answer any) error {
	wait := s.Wait
	if wait == 0 {
		wait = DefaultWait
	}
	var waited time.Duration
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		begun := time.Now()
		err := s.try(ctx, query, batch, answer)
		var later passing
		if err == nil || ctx.Err() != nil || !errors.As(err, &later) {
			return err
		}
		next := max(pause, later.after)
		if waited += time.Since(begun) + next; waited > wait {
			return fmt.Errorf("not taken after %s: %w", (waited - next).Round(time.Second), later.err)
		}
		if s.Waiting != nil {
			s.Waiting(later.err, next)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(next):
		}
	}
}

func (s *Server) try(ctx context.Context, query url.Values, batch []byte, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	address := strings.TrimSuffix(s.URL, "/") + "/v1/events"
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(batch))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	if s.WriteKey != "" {
		req.SetBasicAuth(s.WriteKey, "")
	}
	resp, err := (&http.Client{Transport: s.Transport}).Do(req)
	if err != nil {
		if s.reached.Load() || isLost(err) {
			s.reached.Store(true)
			return passing{err: err}
		}
		return err
	}
	defer resp.Body.Close()
	s.reached.Store(true)
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err != nil { // the connection broke: who knows what the answer was
		return passing{err: err}
	}
	return readAnswer(resp, raw, answer)
}

// isLost reports whether an error is of a connection that was made, and broke.
func isLost(err error) bool {
	for _, lost := range [...]error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, lost) {
			return true
		}
	}
	return false
}

func readAnswer(resp *http.Response, raw []byte, answer any) error {
	switch resp.StatusCode {
	case http.StatusOK:
		if err := json.Unmarshal(raw, answer); err != nil {
			return fmt.Errorf("%w: %w", ErrNotDossier, err)
		}
		return nil
	case http.StatusUnauthorized:
		return ErrWriteKey
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return fmt.Errorf("%w: %s", ErrNotDossier, resp.Status)
	}
	refused := &StatusError{Status: resp.StatusCode, Message: messageOf(raw)}
	if !isPassing(resp.StatusCode) {
		return refused
	}
	seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After")) // absent, or a date: 0
	return passing{err: refused, after: time.Duration(max(seconds, 0)) * time.Second}
}

// isPassing reports whether a status speaks of the moment, not of the call: of
// the server or of what stands before it.
func isPassing(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable,
		http.StatusGatewayTimeout, http.StatusInsufficientStorage:
		return true
	}
	return false
}

// messageOf is what an answer says in words.
func messageOf(raw []byte) string {
	var a struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(raw, &a) == nil && a.Message != "" {
		return a.Message
	}
	const shown = 200
	return strings.ToValidUTF8(strings.TrimSpace(string(raw[:min(len(raw), shown)])), "")
}
