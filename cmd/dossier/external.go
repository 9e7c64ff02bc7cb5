package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/natslog"
	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/directory"
)

// The log may be on a NATS server of another process. It comes and goes by its
// own lights: a start waits for it, and what runs goes on when it is back.

const (
	// reachTimeout bounds one attempt to reach the server.
	reachTimeout = 5 * time.Second
	// firstWait and lastWait bound the pause between two attempts, sayAgain
	// how often a start that waits says so.
	firstWait = 100 * time.Millisecond
	lastWait  = 5 * time.Second
	sayAgain  = time.Minute
)

// patiently calls open until the server of the log answers, if it is another
// process. A refusal, such as a wrong password, is not waited for: it needs
// somebody to act, and a start that fails is what gets noticed.
func (e *engine) patiently(ctx context.Context, s settings, progress func(string), open func() error) error {
	began, wait := time.Now(), firstWait
	var said string
	var saidAt time.Time
	for {
		err := open()
		if err == nil || !s.external() || !natslog.Unavailable(err) || ctx.Err() != nil {
			return err
		}
		progress("waiting for the NATS server of the log: " + err.Error())
		if said != err.Error() || time.Since(saidAt) >= sayAgain {
			e.logger.Warn("waiting for the NATS server of the log; start it, or correct --nats",
				"server", natslog.Redact(s.natsURL), "waited", time.Since(began).Round(time.Second), "error", err)
			said, saidAt = err.Error(), time.Now()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, lastWait)
	}
}

// openExternal opens the log on another's server, and the identity key. The
// key comes second: only the log knows if it was made with one.
func (e *engine) openExternal(ctx context.Context, s settings, progress func(string)) (directory.Key, error) {
	progress("reaching the NATS server of the log")
	var founded bool
	err := e.patiently(ctx, s, progress, func() error {
		if e.log == nil {
			dial, cancel := context.WithTimeout(ctx, reachTimeout)
			defer cancel()
			log, err := natslog.Open(dial, natslog.Dial{
				URL: s.natsURL, Credentials: s.natsCreds, Replicas: s.natsReplicas, Logger: e.quiet(),
			})
			if err != nil {
				return err
			}
			e.log = log
		}
		_, err := events.ReadGenesis(ctx, e.log)
		if founded = !errors.Is(err, events.ErrNotFound); founded {
			return err
		}
		return nil
	})
	if err != nil {
		return directory.Key{}, fmt.Errorf("--nats %s: %w", natslog.Redact(s.natsURL), err)
	}
	if !founded {
		if err := refuseNewLog(s, "the NATS server "+e.log.Connection().Server); err != nil {
			return directory.Key{}, err
		}
	}
	e.logger.Info("the log is on a NATS server of its own; set sync_interval: always there, so that acknowledged means fsynced: a client cannot see it",
		"server", e.log.Connection().Server)
	if _, err := os.Stat(s.identityKey); founded && errors.Is(err, os.ErrNotExist) {
		return directory.Key{}, fmt.Errorf("the identity key %s is missing, and the log at %s was made with one: restore it from the backup",
			s.identityKey, natslog.Redact(s.natsURL))
	}
	return directory.LoadOrCreateKey(s.identityKey)
}

// checkStreams looks at the streams that stood there before, which anybody
// with access to the server may have changed.
func (e *engine) checkStreams(ctx context.Context) error {
	remarks, err := e.log.Check(ctx, events.Streams(int(e.genesis.Partitions)))
	for _, remark := range remarks {
		e.logger.Warn("a stream is not as this start would make it", "remark", remark)
	}
	return err
}

// away returns why nothing can be appended: the log has no connection.
func (e *engine) away() error {
	c := e.log.Connection()
	if c.Connected {
		return nil
	}
	return fmt.Errorf("%w: the NATS server of the log is away since %s: %w", ingest.ErrNotReady, c.Since.UTC().Format(time.RFC3339), c.Err)
}

// takes returns nil if events can be taken.
func (e *engine) takes() error {
	if err := e.away(); err != nil {
		return err
	}
	return e.gateway.Ready()
}

// accept is the gateway's Accept. A log without a connection takes no more,
// which is not the callers' doing: they are told that it is not ready.
func (e *engine) accept(ctx context.Context, b ingest.Batch) (ingest.Result, error) {
	began := time.Now()
	result, err := e.gateway.Accept(ctx, b)
	if errors.Is(err, ingest.ErrOverload) {
		if away := e.away(); away != nil {
			err = away
		}
	}
	e.metrics.took(b.Source, result, err, time.Since(began))
	return result, err
}
