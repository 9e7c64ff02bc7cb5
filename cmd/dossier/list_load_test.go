package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// TestListWhileEventsArrive pages through customers, again and again and in
// several orders, while events arrive as fast as the machine takes them; it
// logs how fast that was. Whoever's key does not change is on exactly one page,
// in order.
func TestListWhileEventsArrive(t *testing.T) {
	t.Parallel()
	customers, rounds := 2_000, 6
	if testing.Short() {
		customers, rounds = 400, 2
	}
	p := startProcess(t, t.TempDir())
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for from := 0; from < customers; from += 400 {
		p.post("/v1/batch", map[string]any{"batch": signUps(from, min(from+400, customers), begin)}, http.StatusOK)
	}
	p.awaitFolded()

	var arrived atomic.Int64
	began, done := make(chan struct{}), make(chan struct{})
	var first sync.Once
	var trackers sync.WaitGroup
	started := time.Now()
	for tracker := range 3 {
		trackers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				batch := visits(tracker, n, customers, begin)
				if _, status, err := send(p.url+"/v1/batch", http.Header{"Content-Type": {"application/json"}}, batch); err == nil && status == http.StatusOK {
					arrived.Add(visitsPerCall)
					first.Do(func() { close(began) })
				}
			}
		})
	}
	select {
	case <-began: // else the lists may all be read before anything arrives
	case <-time.After(readyWithin):
		close(done)
		trackers.Wait()
		t.Fatalf("nothing arrived in %v", readyWithin)
	}
	for round := range rounds {
		order := []string{"name", "-name", "customerId", "-firstSeenAt"}[round%4]
		p.checkPages(order, customers)
	}
	took := time.Since(started)
	close(done)
	trackers.Wait()
	t.Logf("%.0f events/s arrived while the lists were read", float64(arrived.Load())/took.Seconds())
}

// signUps are customers with a name each, who will not change it, first seen at
// an instant of their own.
func signUps(from, to int, begin time.Time) []map[string]any {
	var batch []map[string]any
	for n := from; n < to; n++ {
		batch = append(batch, map[string]any{
			"type": "identify", "messageId": fmt.Sprint("id-", n), "userId": fmt.Sprint("u", n),
			"timestamp": begin.Add(time.Duration(n) * time.Second), "traits": map[string]any{"name": fmt.Sprintf("Customer %05d", n)},
		})
	}
	return batch
}

const visitsPerCall = 500

// visits are page views of known customers, and of a new visitor in ten, whom
// no list of named ones shows.
func visits(tracker, call, customers int, begin time.Time) []byte {
	batch := make([]map[string]any, visitsPerCall)
	for i := range batch {
		n := (call*visitsPerCall + i) * 7919
		view := map[string]any{
			"type": "page", "messageId": fmt.Sprintf("v-%d-%d-%d", tracker, call, i), "userId": fmt.Sprint("u", n%customers),
			"timestamp": begin.Add(24*time.Hour + time.Duration(n%1_000_000)*time.Second), "properties": map[string]any{"url": "https://shop.example/"},
		}
		if i%10 == 0 {
			view["userId"], view["anonymousId"] = nil, fmt.Sprintf("a-%d-%d", tracker, n)
		}
		batch[i] = view
	}
	body, err := json.Marshal(map[string]any{"batch": batch})
	if err != nil {
		panic(err)
	}
	return body
}

// checkPages reads all pages of the named customers.
func (p *engineProcess) checkPages(order string, want int) {
	p.t.Helper()
	seen := map[string]bool{}
	req := &queryv1.ListProfilesRequest{Filter: `name.startsWith("Customer ")`, OrderBy: order, PageSize: 150, Fields: []string{"name", "firstSeenAt"}}
	last := ""
	for {
		resp, err := p.query().ListProfiles(context.Background(), req)
		if connect.CodeOf(err) == connect.CodeUnavailable && err != nil {
			continue // still reading its customers
		}
		if err != nil {
			p.t.Fatalf("list by %s: %v", order, err)
		}
		for _, c := range resp.GetProfiles() {
			if seen[c.GetName()] {
				p.t.Errorf("list by %s: %s twice", order, c.GetName())
			}
			seen[c.GetName()] = true
			switch {
			case order == "name" && c.GetName() < last, order == "customerId" && c.GetCustomerId() < last,
				(order == "-name" || order == "-firstSeenAt") && last != "" && c.GetName() > last:
				p.t.Errorf("list by %s: %s after %s", order, c.GetName(), last)
			}
			if last = c.GetName(); order == "customerId" {
				last = c.GetCustomerId()
			}
		}
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			break
		}
	}
	if len(seen) != want {
		p.t.Errorf("list by %s: %d customers on all pages, want %d", order, len(seen), want)
	}
}
