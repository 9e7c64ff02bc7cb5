package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// life is one seeded batch of Segment items for a handful of users.
func life(rng *rand.Rand, batch, users int) []any {
	var items []any
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 1 + rng.IntN(60) {
		at := start.Add(time.Duration(rng.IntN(200*24*60)) * time.Minute)
		item := map[string]any{
			"userId": fmt.Sprintf("u%d", rng.IntN(users)), "messageId": fmt.Sprintf("b%d-%d", batch, i), "timestamp": at.Format(time.RFC3339),
		}
		switch rng.IntN(4) {
		case 0:
			item["type"], item["event"] = "track", "Order Completed"
			item["properties"] = map[string]any{"order_id": fmt.Sprintf("o%d-%d", batch, i), "revenue": rng.IntN(9999), "currency": "CNY"}
		case 1:
			item["type"], item["traits"] = "identify", map[string]any{"visits": rng.IntN(1000)}
		default:
			item["type"], item["name"] = "page", "Home"
			item["properties"] = map[string]any{"url": fmt.Sprintf("https://shop.example/%d", rng.IntN(20))}
		}
		items = append(items, item)
	}
	return items
}

// kill -9 while being posted to, ten times at random moments: nothing
// acknowledged is lost, nothing counts twice, and the digests are those of an
// undisturbed run.
func TestKillNine(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds; make test runs it")
	}
	t.Parallel()
	const users, kills, batches = 40, 10, 200
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	bodies := make([]any, batches)
	for i := range bodies {
		bodies[i] = map[string]any{"batch": life(rng, i, users)}
	}

	calm := startProcess(t, t.TempDir())
	for _, body := range bodies {
		calm.post("/v1/batch", body, 200)
	}
	want := calm.usersState(users)
	calm.stop()

	p := startProcess(t, t.TempDir(), "--http", quietAddress(t))
	url := p.url + "/v1/batch" // the same in every life
	var next, done atomic.Int64
	var posters sync.WaitGroup
	for range 3 {
		posters.Go(func() {
			for i := next.Add(1) - 1; i < int64(batches); i = next.Add(1) - 1 {
				postUntilTaken(t, url, bodies[i])
				done.Add(1)
			}
		})
	}
	for kill := range kills {
		// Somewhere inside the next tenth of the work, wherever that is.
		until := int64((kill*batches + rng.IntN(batches)) / kills)
		for done.Load() < until && next.Load() < int64(batches) {
			<-time.After(time.Duration(rng.IntN(3000)) * time.Microsecond)
		}
		p.kill()
		p.start()
	}
	posters.Wait()
	if diff := cmp.Diff(want, p.usersState(users)); diff != "" {
		t.Errorf("seed %d: after %d kills (-undisturbed +killed):\n%s", seed, kills, diff)
	}
	p.stop()

	// Once more from the log alone.
	again := startProcess(t, p.data)
	if diff := cmp.Diff(want, again.usersState(users)); diff != "" {
		t.Errorf("seed %d: after a restart:\n%s", seed, diff)
	}
}

// postUntilTaken posts a batch as a client does that never gives up.
func postUntilTaken(t *testing.T, url string, body any) {
	for deadline := time.Now().Add(readyWithin); time.Now().Before(deadline); {
		a, status, err := postJSON(url, body)
		if err == nil && status == http.StatusOK {
			if len(a.Rejected) != 0 {
				t.Errorf("rejected: %+v", a.Rejected)
			}
			return
		}
		<-time.After(5 * time.Millisecond)
	}
	t.Errorf("a batch was not taken in %v", readyWithin)
}

// usersState is what every user's profile comes to.
func (p *engineProcess) usersState(users int) map[string]string {
	p.t.Helper()
	p.awaitFolded()
	state := map[string]string{}
	for u := range users {
		profile := p.profile(fmt.Sprintf("user_id:u%d", u), "")
		state[fmt.Sprintf("u%d", u)] = fmt.Sprintf("%d views, %d orders, %d micros, %s",
			profile.Engagement.GetPageViews(), profile.Orders.GetCount(), profile.Orders.GetNetRevenue().GetMicros(), profile.Digest)
	}
	return state
}
