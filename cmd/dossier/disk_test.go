package main

import (
	"strings"
	"testing"
)

func TestDiskReserve(t *testing.T) {
	t.Parallel()
	const mib, gib = uint64(1 << 20), uint64(1 << 30)
	for _, test := range []struct{ total, reserve uint64 }{
		{256 * mib, 64 * mib},
		{64 * mib * 20, 64 * mib},
		{10 * gib, 10 * gib / 100 * 5},
		{20 * gib, 20 * gib / 100 * 5},
		{21 * gib, gib},
		{4096 * gib, gib},
	} {
		if got := diskReserveOf(test.total); got != test.reserve {
			t.Errorf("reserve of %d MiB is %d MiB, want %d", test.total>>20, got>>20, test.reserve>>20)
		}
		if err := reserveReached(test.reserve, test.total); err != nil {
			t.Errorf("with the reserve free: %v", err)
		}
		if err := reserveReached(test.reserve-1, test.total); err == nil || !strings.Contains(err.Error(), "reserve") {
			t.Errorf("with a byte less than the reserve free: %v", err)
		}
	}
}
