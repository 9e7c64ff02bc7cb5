package main

import (
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
	diskCheckInterval  = time.Second
)

// diskReserve refuses intake when the disk is nearly full, and lets it go on
// by itself when there is room again.
type diskReserve struct {
	dir    string
	logger *slog.Logger

	mu      sync.Mutex
	checked time.Time
	err     error
}

func newDiskReserve(dir string, logger *slog.Logger) *diskReserve {
	return &diskReserve{dir: dir, logger: logger}
}

// check returns an error if the reserve is reached. It looks at most once a
// second; it is safe for concurrent use.
func (d *diskReserve) check() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.checked) < diskCheckInterval {
		return d.err
	}
	d.checked = time.Now()
	free, total, err := diskSpace(d.dir)
	if err != nil {
		d.err = nil // not known here: the log's own error will tell
		return nil
	}
	was := d.err
	d.err = reserveReached(free, total)
	switch {
	case was == nil && d.err != nil:
		d.logger.Warn("intake stopped: the disk is nearly full", "dir", d.dir, "state", d.err.Error())
	case was != nil && d.err == nil:
		d.logger.Info("intake goes on: there is room on the disk again", "dir", d.dir)
	}
	return d.err
}

// diskReserveOf is the reserve of a disk.
func diskReserveOf(total uint64) uint64 {
	return min(diskReserveBytes, total/100*diskReservePercent)
}

func reserveReached(free, total uint64) error {
	reserve := diskReserveOf(total)
	if free >= reserve {
		return nil
	}
	return fmt.Errorf("%d MiB free, reserve %d MiB", free>>20, reserve>>20)
}
