package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	// diskReserveBytes and diskReservePercent: ingest stops when less than the
	// smaller of the two is free. The server's own answer to a full disk is an
	// error that stays; and what was taken in must still be folded.
	diskReserveBytes   = 1 << 30
	diskReservePercent = 5
	// diskReserveLeast is the reserve of small disks: what may be under way
	// between two looks, and what the stores write to fold it.
	diskReserveLeast = 64 << 20
	// diskCheckInterval is so short because calls between two looks are taken.
	diskCheckInterval = 50 * time.Millisecond
)

// diskReserve refuses intake when the disk is nearly full, and lets it go on
// by itself when there is room again.
type diskReserve struct {
	dirs   []string // which may be on disks of their own
	logger *slog.Logger

	mu      sync.Mutex
	checked time.Time
	err     error
}

func newDiskReserve(logger *slog.Logger, dirs ...string) *diskReserve {
	return &diskReserve{dirs: dirs, logger: logger}
}

// check returns an error if the reserve is reached. It looks at most once in
// diskCheckInterval; it is safe for concurrent use.
func (d *diskReserve) check() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.checked) < diskCheckInterval {
		return d.err
	}
	d.checked = time.Now()
	was := d.err
	d.err = nil
	for _, dir := range d.dirs {
		free, total, err := diskSpace(dir)
		if err != nil {
			continue // not known here: the log's own error will tell
		}
		if err := reserveReached(free, total); err != nil && d.err == nil {
			d.err = fmt.Errorf("%s: %w", dir, err)
		}
	}
	switch {
	case was == nil && d.err != nil:
		d.logger.Warn("intake stopped: the disk is nearly full", "state", d.err.Error())
	case was != nil && d.err == nil:
		d.logger.Info("intake goes on: there is room on the disk again")
	}
	return d.err
}

// diskReserveOf is the reserve of a disk.
func diskReserveOf(total uint64) uint64 {
	return max(diskReserveLeast, min(diskReserveBytes, total/100*diskReservePercent))
}

func reserveReached(free, total uint64) error {
	reserve := diskReserveOf(total)
	if free >= reserve {
		return nil
	}
	return fmt.Errorf("%d MiB free, reserve %d MiB", free>>20, reserve>>20)
}

// diskFoldBytes is what must be free for a fold to commit: what one commit and
// what its store does with it may write at once. Far below the reserve at which
// intake stops, so that what was taken in is folded.
const diskFoldBytes = 16 << 20

// roomToFold returns an error where a store has no room for a commit.
func roomToFold(dir string) error {
	free, _, err := diskSpace(dir)
	if err != nil || free >= diskFoldBytes {
		return nil // not known: the store's own error will tell
	}
	return fmt.Errorf("%s: the disk has %d MiB free, %d MiB wanted to fold", dir, free>>20, diskFoldBytes>>20)
}

// mendEvery is how often the embedded server is asked whether it is broken.
const mendEvery = time.Second

// mendLog starts the embedded server anew where a write to the disk failed, once
// there is room: until then its streams take nothing more. It ends with the
// context.
func (e *engine) mendLog(ctx context.Context, reserve *diskReserve) {
	logger := e.quiet()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(mendEvery):
		}
		broken := e.server.Broken()
		if broken == nil || reserve.check() != nil {
			continue
		}
		logger.Warn("starting the embedded NATS server anew: a write had failed, and there is room again", "error", broken)
		if err := e.server.Restart(ctx); err != nil && ctx.Err() == nil {
			logger.Error("the embedded NATS server did not start; it is tried again", "error", err)
		}
	}
}
