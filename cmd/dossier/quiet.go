package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// quietFor is how long a warning that was logged is not logged again.
const quietFor = time.Minute

// quiet is a slog.Handler that drops a warning which said the same less than a
// minute ago, whatever its values: what tries again every second would fill
// the log of a night in which the log's server is away. The next one that is
// logged says how many were not.
type quiet struct {
	slog.Handler
	scope string // attributes given to the logger: another partition is another scope
	said  *saidBefore
}

type saidBefore struct {
	now func() time.Time
	mu  sync.Mutex
	at  map[string]*saying // bound: messages and scopes are those of this program
}

type saying struct {
	since   time.Time
	dropped int
}

func newQuiet(h slog.Handler) quiet {
	return quiet{Handler: h, said: &saidBefore{now: time.Now, at: map[string]*saying{}}}
}

// Handle implements [slog.Handler].
func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	if r.Level != slog.LevelWarn {
		return q.Handler.Handle(ctx, r)
	}
	dropped, say := q.said.say(q.scope + r.Message)
	if !say {
		return nil
	}
	if dropped > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("not_repeated", dropped))
	}
	return q.Handler.Handle(ctx, r)
}

func (s *saidBefore) say(text string) (dropped int, say bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	before, ok := s.at[text]
	if ok && now.Sub(before.since) < quietFor {
		before.dropped++
		return 0, false
	}
	if ok {
		dropped = before.dropped
	}
	s.at[text] = &saying{since: now}
	return dropped, true
}

// WithAttrs implements [slog.Handler].
func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quiet{q.Handler.WithAttrs(attrs), q.scope + fmt.Sprint(attrs), q.said}
}

// WithGroup implements [slog.Handler].
func (q quiet) WithGroup(name string) slog.Handler {
	return quiet{q.Handler.WithGroup(name), q.scope + name, q.said}
}
