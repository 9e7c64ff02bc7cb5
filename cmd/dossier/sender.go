package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/dossier360/dossier/ingest/simulator"
)

const (
	// A batch that the server is too busy for is tried again this often, after
	// what the server asks for and at least this long.
	senderTries = 20
	senderWait  = 100 * time.Millisecond
)

// sender posts simulated calls to a server.
type sender struct {
	client *http.Client
	server string // without a slash at its end
	key    string // write key; "" if none is asked for
}

// taken is the answer to a call.
type taken struct {
	Accepted   int `json:"accepted"`
	Duplicates int `json:"duplicates"`
	Rejected   []struct {
		Message string `json:"message"`
	} `json:"rejected"`
	// Busy is how often the server was too busy before it took the call.
	Busy int `json:"-"`
}

// check insists that all was taken: what is simulated is good, so a refusal is
// a fault of the simulator or of the server.
func (t taken) check(events int) error {
	switch {
	case len(t.Rejected) > 0:
		return fmt.Errorf("%d events were rejected, the first: %s", len(t.Rejected), t.Rejected[0].Message)
	case t.Accepted+t.Duplicates != events:
		return fmt.Errorf("%d events sent, %d accepted and %d known", events, t.Accepted, t.Duplicates)
	}
	return nil
}

// send makes one call, waiting where the server asks for it.
func (s sender) send(ctx context.Context, call simulator.Call) (taken, error) {
	for busy := range senderTries {
		answer, wait, err := s.try(ctx, call)
		if err != nil {
			return answer, fmt.Errorf("post to %s: %w", call.Path, err)
		}
		if wait == 0 {
			answer.Busy = busy
			return answer, answer.check(call.Events)
		}
		if err := pause(ctx, wait); err != nil {
			return answer, err
		}
	}
	return taken{}, fmt.Errorf("post to %s: the server was too busy %d times", call.Path, senderTries)
}

// pause waits, unless the context ends first.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// try returns how long to wait before the same call again, 0 if it is done.
func (s sender) try(ctx context.Context, call simulator.Call) (taken, time.Duration, error) {
	var answer taken
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.server+call.Path, bytes.NewReader(call.Body))
	if err != nil {
		return answer, 0, err
	}
	req.Header.Set("Content-Type", call.ContentType)
	if s.key != "" {
		req.SetBasicAuth(s.key, "")
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return answer, 0, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
			return answer, 0, fmt.Errorf("read the answer: %w", err)
		}
		// Read to its end, an answer leaves its connection to the next call.
		_, err := io.Copy(io.Discard, resp.Body)
		return answer, 0, err
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusInsufficientStorage:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After")) // absent: 0
		return answer, max(senderWait, time.Duration(seconds)*time.Second), nil
	default:
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // what there is of it
		return answer, 0, fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(text))
	}
}
