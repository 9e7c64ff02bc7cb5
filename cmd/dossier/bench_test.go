package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/natslog"
)

const (
	benchEvents  = 100_000
	benchBatch   = 100
	benchUsers   = 20_000
	benchClients = 8
)

// benchBodies are Segment batches of the shape of life: sessions of page views
// of users with Zipf activity, one visitor in five new, few orders.
func benchBodies() [][]byte {
	rng := rand.New(rand.NewPCG(7, 7))
	zipf := rand.NewZipf(rng, 1.1, 8, benchUsers-1)
	start := time.Now().UTC().AddDate(0, -2, 0)
	var bodies [][]byte
	for first := 0; first < benchEvents; first += benchBatch {
		var items []any
		for i := range benchBatch {
			n := first + i
			item := map[string]any{
				"userId":    fmt.Sprintf("user-%d", zipf.Uint64()),
				"messageId": fmt.Sprintf("bench-%08d", n),
				"timestamp": start.Add(time.Duration(n) * 50 * time.Millisecond).Format(time.RFC3339Nano),
				"context":   map[string]any{"locale": "zh-CN", "page": map[string]any{"url": "https://shop.example/p/1"}},
			}
			if rng.IntN(5) == 0 {
				delete(item, "userId")
				item["anonymousId"] = fmt.Sprintf("anon-%d", n)
			}
			if rng.IntN(50) == 0 {
				item["type"], item["event"] = "track", "Order Completed"
				item["properties"] = map[string]any{"order_id": fmt.Sprintf("o-%d", n), "revenue": rng.IntN(100000), "currency": "CNY"}
			} else {
				item["type"], item["name"] = "page", "Product"
				item["properties"] = map[string]any{"url": fmt.Sprintf("https://shop.example/p/%d", rng.IntN(200)), "title": "Product"}
			}
			items = append(items, item)
		}
		body, err := json.Marshal(map[string]any{"batch": items})
		if err != nil {
			panic(err)
		}
		bodies = append(bodies, body)
	}
	return bodies
}

// BenchmarkWholePath posts Segment batches over HTTP until every event is
// acknowledged and queryable, generator included; then it appends the records
// that came of it to an empty log, every append fsynced and nothing else: L,
// the ceiling. Both in one process, one after the other.
func BenchmarkWholePath(b *testing.B) {
	bodies := benchBodies()
	quiet := slog.New(slog.DiscardHandler)
	for b.Loop() {
		path, records := benchPath(b, quiet, bodies)
		ceiling := benchLog(b, quiet, records)
		b.ReportMetric(benchEvents/path.took.Seconds(), "events/s")
		b.ReportMetric(benchEvents/path.acknowledged.Seconds(), "acked/s")
		b.ReportMetric(benchEvents/ceiling.Seconds(), "L-events/s")
		b.ReportMetric(ceiling.Seconds()/path.took.Seconds(), "of-L")
		b.ReportMetric(float64(path.allocs)/benchEvents, "allocs/event")
		b.ReportMetric(float64(path.logBytes)/benchEvents, "logB/event")
	}
}

type benchResult struct {
	took, acknowledged time.Duration
	allocs             uint64
	logBytes           int
}

func benchPath(b *testing.B, quiet *slog.Logger, bodies [][]byte) (benchResult, [][][]byte) {
	s, err := parseSettings(stdio{getenv: func(string) string { return "" }, out: io.Discard, err: io.Discard},
		[]string{"--data", b.TempDir(), "--nats-listen", "off"})
	if err != nil {
		b.Fatal(err)
	}
	e, err := startEngine(b.Context(), s, quiet, newMetrics(s, quiet), func(string) {})
	if err != nil {
		b.Fatal(err)
	}
	defer e.stop()
	server := httptest.NewServer(e.handler(s))
	defer server.Close()
	for e.gateway.Ready() != nil {
		runtime.Gosched()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begun := time.Now()
	var next atomic.Int64
	var clients sync.WaitGroup
	for range benchClients {
		clients.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(bodies)); i = next.Add(1) - 1 {
				a, status, err := send(server.URL+"/v1/batch", http.Header{}, bodies[i])
				if err != nil || status != http.StatusOK || a.Accepted != benchBatch {
					b.Errorf("post: status %d, %v, %+v", status, err, a)
					return
				}
			}
		})
	}
	clients.Wait()
	r := benchResult{acknowledged: time.Since(begun)}
	records := make([][][]byte, len(e.partitions))
	last := make([]uint64, len(e.partitions))
	for p := range e.partitions {
		info, err := e.log.Info(b.Context(), events.PartitionStream(p))
		if err != nil {
			b.Fatal(err)
		}
		if last[p] = info.Last; e.partitions[p].WaitApplied(b.Context(), info.Last) != nil {
			b.Fatal("not applied")
		}
	}
	r.took = time.Since(begun)
	runtime.ReadMemStats(&after)
	r.allocs = after.Mallocs - before.Mallocs
	for p := range e.partitions {
		for seq := uint64(2); seq <= last[p]; seq++ {
			m, err := e.log.Get(b.Context(), events.PartitionStream(p), seq)
			if err != nil {
				b.Fatal(err)
			}
			records[p] = append(records[p], slices.Clone(m.Data))
			r.logBytes += len(m.Data)
		}
	}
	return r, records
}

// benchLog appends the records, one append in flight a partition.
func benchLog(b *testing.B, quiet *slog.Logger, records [][][]byte) time.Duration {
	server, err := natslog.Serve(b.Context(), natslog.Options{Dir: b.TempDir(), Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	l, err := natslog.Open(b.Context(), natslog.Dial{Server: server, Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	for p := range records {
		err := l.CreateStream(b.Context(), events.StreamConfig{
			Name: events.PartitionStream(p), Subjects: []string{events.SubjectEvents(p)}, Permanent: true,
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	begun := time.Now()
	var wg sync.WaitGroup
	for p, list := range records {
		wg.Go(func() {
			for _, data := range list {
				if _, err := l.Append(context.Background(), events.PartitionStream(p), events.SubjectEvents(p), data, events.Expect{}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	return time.Since(begun)
}
