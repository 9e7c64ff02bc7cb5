package main

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestProgress(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		applied, target uint64
		want            float64
	}{
		{0, 0, 100}, {0, 10, 0}, {1, 3, 33.3}, {9_999_999, 10_000_000, 99.9}, {10, 10, 100}, {11, 10, 100},
	} {
		if got := progressOf(test.applied, test.target); got.Percent != test.want || got.Applied != test.applied || got.Target != test.target {
			t.Errorf("%d of %d: %+v, want %v percent", test.applied, test.target, got, test.want)
		}
	}
}

func TestEstimate(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		elapsed    time.Duration
		done, left uint64
		want       float64 // -1: none
	}{
		{10 * time.Second, 100, 300, 30},
		{time.Second, 3, 1, 1},
		{time.Second, 0, 5, -1},
		{time.Second, 5, 0, -1},
		{0, 5, 5, -1},
	} {
		got := estimate(test.elapsed, test.done, test.left)
		if (got == nil) != (test.want < 0) || got != nil && *got != test.want {
			t.Errorf("%d done in %v, %d left: %v, want %v", test.done, test.elapsed, test.left, got, test.want)
		}
	}
}

// A warning that comes again and again is logged once a minute, with how often
// it was not; another scope or message, and any error, is logged at once.
func TestQuiet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		said := func() string {
			defer text.Reset()
			return text.String()
		}
		bare := func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
		logger := slog.New(newQuiet(slog.NewTextHandler(&text, &slog.HandlerOptions{ReplaceAttr: bare})))
		first, second := logger.With("partition", 0), logger.With("partition", 1)
		for i := range 90 { // of one second each
			first.Warn("away", "try", i)
			time.Sleep(time.Second)
		}
		if got, want := said(), "level=WARN msg=away partition=0 try=0\nlevel=WARN msg=away partition=0 try=60 not_repeated=59\n"; got != want {
			t.Errorf("90 seconds of one warning:\n%swant\n%s", got, want)
		}
		second.Warn("away")
		first.Warn("another")
		first.Error("away")
		first.Error("away")
		first.InfoContext(context.Background(), "away")
		if got, want := strings.Count(said(), "\n"), 5; got != want {
			t.Errorf("other scopes, messages and levels: %d lines, want %d", got, want)
		}
	})
}
