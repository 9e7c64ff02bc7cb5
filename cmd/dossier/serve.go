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
	logger := slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: s.logLevel}))
	return exit(std, "serve", runServer(ctx, s, logger))
}

// runServer listens before anything is recovered, so that whoever asks is told
// how far it is; then it builds the engine and runs it.
func runServer(ctx context.Context, s settings, logger *slog.Logger) error {
	door, err := openDoor(ctx, s, logger)
	if err != nil {
		return err
	}
	defer door.close()
	e, err := startEngine(ctx, s, logger, door.progress)
	if err != nil {
		if ctx.Err() != nil {
			return nil // told to stop while starting
		}
		return err
	}
	door.enter(e.handler(s))
	logger.Info("serving", "http", "http://"+door.address(), "nats", e.server.URL(), "data", s.data)
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
