package simulator_test

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/dossier360/dossier/ingest/simulator"
)

// The same seed gives the same bytes, for ever: figures and stories elsewhere
// were told of them.
func TestShopGolden(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		seed      uint64
		customers int
		want      string
	}{
		{1, 200, "8fc7cb56ec0f3288bbcef379c62fea5d8c58a4515b77f9f27cc0b78ad4b28989"},
		{7, 60, "cde8acddc5158906ee17f4b1c3699c10216f0e304287664077256020f8d272e7"},
	} {
		h := sha256.New()
		tale := simulator.Shop{Seed: c.seed, End: time.Date(2026, 6, 30, 12, 0, 0, 0, time.UTC), Customers: c.customers}.Tell(400)
		for _, call := range tale.Calls {
			fmt.Fprintf(h, "%s\n%s\n", call.Path, call.Body)
		}
		fmt.Fprintf(h, "%v", tale.Customers)
		if got := fmt.Sprintf("%x", h.Sum(nil)); got != c.want {
			t.Errorf("seed %d, %d customers: %s, want %s", c.seed, c.customers, got, c.want)
		}
	}
}
