package main

import (
	"context"
	"fmt"
	"log/slog"
)

// serve runs the whole engine in this process until the context ends.
func serve(ctx context.Context, std stdio, args []string) int {
	s, err := parseSettings(std, args)
	if err != nil {
		return exit(std, "serve", err)
	}
	return exit(std, "serve", runServer(ctx, s, newLogger(std, s)))
}

// newLogger logs to standard error, a line each.
func newLogger(std stdio, s settings) *slog.Logger {
	options := &slog.HandlerOptions{Level: s.logLevel}
	if s.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(std.err, options))
	}
	return slog.New(slog.NewTextHandler(std.err, options))
}

// runServer listens before anything is recovered, so that whoever asks is told
// how far it is; then it builds the engine and runs it.
func runServer(ctx context.Context, s settings, logger *slog.Logger) error {
	m := newMetrics(s, logger)
	door, err := openDoor(ctx, s, logger, m)
	if err != nil {
		return err
	}
	defer door.close()
	e, err := startEngine(ctx, s, logger, m, door.progress)
	if err != nil {
		if ctx.Err() != nil {
			return nil // told to stop while starting
		}
		return err
	}
	e.stopping = door.stopping
	m.watch(e)
	door.enter(e.handler(s))
	logger.Info("serving", "http", "http://"+door.address(), "nats", e.natsURL(), "data", s.data)
	err = e.wait(ctx)
	// The order matters: nothing is taken in that would not be acknowledged,
	// nothing acknowledged is left unfolded without need.
	door.close()
	e.stop()
	if err != nil {
		return fmt.Errorf("stopped: %w", err)
	}
	logger.Info("stopped in order")
	return nil
}
