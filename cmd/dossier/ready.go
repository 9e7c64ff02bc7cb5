package main

import (
	"context"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/dossier360/dossier/projections"
)

const (
	// statusTimeout bounds how long a probe waits for the log.
	statusTimeout = 2 * time.Second
	// watchEvery is how often readiness is looked at for the process's log,
	// startEvery until it is there for the first time.
	watchEvery = 2 * time.Second
	startEvery = 200 * time.Millisecond
)

// readiness is the answer of /readyz.
type readiness struct {
	Ready      bool                `json:"ready"`
	Reason     string              `json:"reason,omitempty"`
	Log        *logConnection      `json:"log,omitempty"` // of a server of its own
	Directory  *progress           `json:"directory,omitempty"`
	Partitions []partitionProgress `json:"partitions,omitempty"`
}

// logConnection is how the log's server stands.
type logConnection struct {
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since"`
	Lost      uint64    `json:"lost"` // how often since the start
}

// progress is how far something is with what it must have folded to be ready.
type progress struct {
	Applied uint64  `json:"applied"`
	Target  uint64  `json:"target"`
	Percent float64 `json:"percent"` // below 100 until it is there
	// RemainingSeconds is an estimate from the pace so far; absent when there
	// is nothing left, or no pace yet.
	RemainingSeconds *float64 `json:"remainingSeconds,omitempty"`
}

type partitionProgress struct {
	ID int `json:"id"`
	progress
	// StandsStill is why the partition gets no further.
	StandsStill string `json:"standsStill,omitempty"`
}

func progressOf(applied, target uint64) progress {
	p := progress{Applied: applied, Target: target, Percent: 100}
	if applied < target {
		p.Percent = math.Floor(1000*float64(applied)/float64(target)) / 10
	}
	return p
}

// observed is a partition as last seen, and the pace at which it folds.
type observed struct {
	mu    sync.Mutex
	last  projections.Status // guarded by mu, like the rest
	begun time.Time          // of this stretch of folding
	from  uint64             // applied then
}

// status asks a partition how far it is. While the log does not answer, that is
// what the partition itself knows, and what was last heard of the log.
func (o *observed) status(ctx context.Context, p *projections.Partition) (projections.Status, error) {
	status, err := p.Status(ctx)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.begun.IsZero() || status.Applied < o.from {
		o.begun, o.from = time.Now(), status.Applied
	}
	o.last = status
	return status, err
}

// remaining estimates how long the partition still folds.
func (o *observed) remaining(now time.Time) *float64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return estimate(now.Sub(o.begun), o.last.Applied-o.from, o.last.Target-min(o.last.Applied, o.last.Target))
}

// estimate is how many seconds `left` takes at a pace of `done` in `elapsed`.
func estimate(elapsed time.Duration, done, left uint64) *float64 {
	if left == 0 || done == 0 || elapsed <= 0 {
		return nil
	}
	return new(math.Ceil(elapsed.Seconds() * float64(left) / float64(done)))
}

// readiness says if everything that the log held at the start is folded, the
// directory is current and the log can be reached, and if not, why.
func (e *engine) readiness(ctx context.Context) readiness {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	r := readiness{Ready: true}
	refuse := func(reason string) {
		if r.Ready { // the first reason is the cause
			r.Ready, r.Reason = false, reason
		}
	}
	if err := e.takes(); err != nil {
		refuse(err.Error())
	}
	if e.server == nil {
		c := e.log.Connection()
		r.Log = &logConnection{c.Connected, c.Since.UTC(), c.Lost}
	}
	d := e.directory.Progress()
	r.Directory = new(progressOf(d.Applied, d.Last))
	for i, p := range e.partitions {
		status, err := e.observed[i].status(ctx, p)
		// What came since the start is folded too; it is not progress.
		at := partitionProgress{ID: p.ID(), progress: progressOf(status.Applied, max(status.Target, status.Applied))}
		at.RemainingSeconds = e.observed[i].remaining(time.Now())
		switch {
		case err != nil:
			refuse(err.Error())
		case status.Err != nil:
			at.StandsStill = status.Err.Error()
			refuse(at.StandsStill)
		case !status.Ready():
			refuse("folding what the log holds")
		}
		r.Partitions = append(r.Partitions, at)
	}
	return r
}

// serveReady answers 200 if the engine is ready, else 503 with the progress.
func (e *engine) serveReady(w http.ResponseWriter, r *http.Request) {
	answer := e.readiness(r.Context())
	if answer.Ready {
		answerJSON(w, http.StatusOK, answer)
		return
	}
	w.Header().Set("Retry-After", retryAfterSeconds)
	answerJSON(w, http.StatusServiceUnavailable, answer)
}

// watchReady notes in the log when the engine becomes ready and when it ceases
// to be, until the context ends.
func (e *engine) watchReady(ctx context.Context) {
	was, since, pause := false, time.Now(), startEvery
	var reason string
	for {
		switch r := e.readiness(ctx); {
		case ctx.Err() != nil:
			return
		case r.Ready && !was:
			e.logger.Info("ready", "after", time.Since(since).Round(time.Millisecond))
			was, since, reason, pause = true, time.Now(), "", watchEvery
		case !r.Ready && was:
			e.logger.Warn("not ready; /readyz tells the progress", "reason", r.Reason)
			was, since, reason = false, time.Now(), r.Reason
		case !r.Ready && reason == "":
			e.logger.Info("not ready yet; /readyz tells the progress", "reason", r.Reason)
			reason = r.Reason
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}
