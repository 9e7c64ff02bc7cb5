package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
)

var (
	figureEvents      = flag.Int("figures.events", 20_000, "events of the customer whom BenchmarkMergeOfMany merges")
	figureIdentifiers = flag.Int("figures.identifiers", 1_000, "identifiers, and singletons, of BenchmarkMergeOfIdentifiers and BenchmarkJoinSingletons")
)

const (
	figureOthers = 20              // who are written to meanwhile
	figureIdle   = 5 * time.Second // how long they are watched before
	figureBatch  = 500
	figurePoll   = 100 * time.Millisecond // between asking whether all is moved: that costs, too
)

// figureEngine is an engine on disk in this process, with its door.
type figureEngine struct {
	b     *testing.B
	e     *engine
	query queryv1connect.QueryServiceClient
	n     int // events told
}

func startFigures(b *testing.B) *figureEngine {
	quiet := slog.New(slog.DiscardHandler)
	s, err := parseSettings(stdio{getenv: func(string) string { return "" }, out: io.Discard, err: io.Discard},
		[]string{"--data", b.TempDir(), "--nats-listen", "off"})
	if err != nil {
		b.Fatal(err)
	}
	e, err := startEngine(b.Context(), s, quiet, newMetrics(s, quiet), func(string) {})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { e.stop() })
	server := httptest.NewServer(e.handler(s))
	b.Cleanup(server.Close)
	err = every(b.Context(), benchPoll, func() (bool, error) { return e.gateway.Ready() == nil, nil })
	if err != nil {
		b.Fatal(err)
	}
	return &figureEngine{b: b, e: e, query: queryv1connect.NewQueryServiceClient(http.DefaultClient, server.URL)}
}

// view is a page view by these names, "<type>:<value>".
func (f *figureEngine) view(names ...[2]string) *eventsv1.Event {
	f.n++
	e := &eventsv1.Event{
		Id: fmt.Sprintf("figure-%d", f.n), Type: "page.viewed",
		Time:    timestamppb.New(time.Now().Add(-time.Duration(f.n%1_000_000) * time.Second)),
		Payload: &eventsv1.Event_View{View: &eventsv1.View{Url: fmt.Sprintf("https://shop.example/p/%d", f.n%200)}},
	}
	for _, name := range names {
		e.Identifiers = append(e.Identifiers, &eventsv1.Identifier{Type: name[0], Value: name[1]})
	}
	return e
}

// tell has the gateway take events, and returns the receipt.
func (f *figureEngine) tell(all ...*eventsv1.Event) string {
	b := ingest.Batch{Source: "figures", Wire: "native", Path: "/v1/events"}
	for _, e := range all {
		b.Drafts = append(b.Drafts, ingest.Draft{Event: e})
	}
	result, err := f.e.gateway.Accept(f.b.Context(), b)
	if err != nil || len(result.Rejected) != 0 {
		f.b.Errorf("tell %d events: %v, %v", len(all), err, result.Rejected)
	}
	return result.Receipt
}

// awaitMoved waits until nothing lags and nothing is on its way.
func (f *figureEngine) awaitMoved() {
	err := every(f.b.Context(), figurePoll, func() (bool, error) {
		status, err := f.query.GetStatus(f.b.Context(), &queryv1.GetStatusRequest{})
		if err != nil {
			return false, err
		}
		return !slices.ContainsFunc(status.Partitions, func(p *queryv1.PartitionStatus) bool { return p.LagEvents != 0 }), nil
	})
	if err != nil {
		f.b.Fatal(err)
	}
}

// logBytes is what the streams hold, in bytes of message.
func (f *figureEngine) logBytes() (bytes int) {
	streams := []events.Stream{events.IdentityStream}
	for p := range f.e.partitions {
		streams = append(streams, events.PartitionStream(p))
	}
	for _, stream := range streams {
		eachMessage(f.b, f.e.log, stream, func(m events.Message) { bytes += len(m.Data) })
	}
	return bytes
}

// freshness has others be told of events until done is closed, each as soon as
// the one before is in the answer of a query, and returns how long after its
// acknowledgement each was.
func (f *figureEngine) freshness(round string, done <-chan struct{}) []time.Duration {
	var mu sync.Mutex
	var all []time.Duration
	var writers sync.WaitGroup
	for other := range figureOthers {
		writers.Go(func() {
			name := fmt.Sprintf("other-%d", other)
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				case <-time.After(100 * time.Millisecond):
				}
				receipt := f.tell(&eventsv1.Event{
					Id: fmt.Sprintf("%s-%s-%d", name, round, n), Type: "page.viewed", Time: timestamppb.Now(),
					Identifiers: []*eventsv1.Identifier{{Type: "user_id", Value: name}},
					Payload:     &eventsv1.Event_View{View: &eventsv1.View{Url: "https://shop.example/"}},
				})
				acknowledged := time.Now()
				err := f.awaitAnswer("user_id:"+name, receipt)
				if err != nil {
					f.b.Errorf("get %s: %v", name, err)
					return
				}
				mu.Lock()
				all = append(all, time.Since(acknowledged))
				mu.Unlock()
			}
		})
	}
	writers.Wait()
	slices.Sort(all)
	return all
}

// awaitAnswer asks for a customer until the answer holds what a receipt is for.
func (f *figureEngine) awaitAnswer(customer, receipt string) error {
	for {
		_, err := f.query.GetProfile(context.WithoutCancel(f.b.Context()), &queryv1.GetProfileRequest{Customer: customer, Receipt: receipt})
		if connect.CodeOf(err) != connect.CodeUnavailable {
			return err
		}
	}
}

func percentile(sorted []time.Duration, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[min(len(sorted)-1, int(share*float64(len(sorted))))].Microseconds()) / 1000
}

// BenchmarkMergeOfMany merges a customer of very many events into another while
// twenty others are written to, and tells how long their events took from the
// acknowledgement into the answer of a query: idle, then while the moves are
// under way. Beside it, what the merge cost.
func BenchmarkMergeOfMany(b *testing.B) {
	for b.Loop() {
		f := startFigures(b)
		whale, winner := [2]string{"email", "whale@x.org"}, [2]string{"crm_id", "w1"}
		for told := 0; told < *figureEvents; {
			var batch []*eventsv1.Event
			for ; len(batch) < figureBatch && told < *figureEvents; told++ {
				batch = append(batch, f.view(whale))
			}
			f.tell(batch...)
		}
		f.tell(f.view(winner, [2]string{"device_id", "d1"}, [2]string{"device_id", "d2"}))
		f.awaitMoved()
		before := f.logBytes()

		rest := make(chan struct{})
		time.AfterFunc(figureIdle, func() { close(rest) })
		idle := f.freshness("idle", rest)

		moved := make(chan struct{})
		begun := time.Now()
		var took, answered time.Duration
		go func() {
			defer close(moved)
			f.tell(f.view(whale, winner))
			answered = time.Since(begun)
			f.awaitMoved()
			took = time.Since(begun)
		}()
		busy := f.freshness("busy", moved)

		profile, err := f.query.GetProfile(b.Context(), &queryv1.GetProfileRequest{Customer: "email:whale@x.org"})
		if err != nil {
			b.Fatal(err)
		}
		if views := int(profile.Profile.Engagement.PageViews); views != *figureEvents+2 || len(profile.Profile.Aliases) != 1 {
			b.Errorf("the winner has %d page views and was %v, want %d and the loser", views, profile.Profile.Aliases, *figureEvents+2)
		}
		b.ReportMetric(percentile(idle, 0.50), "idle-p50-ms")
		b.ReportMetric(percentile(idle, 0.99), "idle-p99-ms")
		b.ReportMetric(percentile(busy, 0.50), "moving-p50-ms")
		b.ReportMetric(percentile(busy, 0.99), "moving-p99-ms")
		b.ReportMetric(float64(len(busy)), "moving-samples")
		b.ReportMetric(took.Seconds(), "moved-s")
		b.ReportMetric(float64(answered.Milliseconds()), "decided-ms")
		b.ReportMetric(float64(*figureEvents)/took.Seconds(), "moved/s")
		b.ReportMetric(float64(before)/float64(*figureEvents), "logB/event")
		b.ReportMetric(float64(f.logBytes()-before)/float64(*figureEvents), "logB/moved")
	}
}

// BenchmarkJoinSingletons makes one customer of many singletons, one join after
// the other, and tells what the last and the least of them cost.
func BenchmarkJoinSingletons(b *testing.B) {
	for b.Loop() {
		f := startFigures(b)
		hub := [2]string{"device_id", "hub"}
		single := func(n int) [2]string { return [2]string{"device_id", fmt.Sprintf("single-%d", n)} }
		for n := 0; n < *figureIdentifiers; n++ {
			f.tell(f.view(single(n)))
		}
		f.tell(f.view(hub, [2]string{"crm_id", "hub"}))
		f.awaitMoved()
		before := f.logBytes()
		var latency []time.Duration
		begun := time.Now()
		for n := range *figureIdentifiers {
			asked := time.Now()
			f.tell(f.view(hub, single(n)))
			latency = append(latency, time.Since(asked))
		}
		decided := time.Since(begun)
		f.awaitMoved()
		took := time.Since(begun)
		slices.Sort(latency)
		profile, err := f.query.GetProfile(b.Context(), &queryv1.GetProfileRequest{Customer: "crm_id:hub"})
		if err != nil {
			b.Fatal(err)
		}
		if got, want := int(profile.Profile.Engagement.PageViews), 2**figureIdentifiers+1; got != want {
			b.Errorf("the one customer has %d page views, want %d", got, want)
		}
		b.ReportMetric(float64(*figureIdentifiers)/decided.Seconds(), "joins/s")
		b.ReportMetric(float64(*figureIdentifiers)/took.Seconds(), "moved/s")
		b.ReportMetric(percentile(latency, 0.50), "join-p50-ms")
		b.ReportMetric(percentile(latency, 0.99), "join-p99-ms")
		b.ReportMetric(float64(f.logBytes()-before)/float64(*figureIdentifiers), "logB/join")
	}
}

// BenchmarkMergeOfIdentifiers merges two customers of very many identifiers
// each, and tells how long the decision took, and others meanwhile.
func BenchmarkMergeOfIdentifiers(b *testing.B) {
	for b.Loop() {
		f := startFigures(b)
		for _, side := range []string{"left", "right"} {
			for n := 0; n < *figureIdentifiers; {
				var batch []*eventsv1.Event
				for ; len(batch) < figureBatch && n < *figureIdentifiers; n++ {
					batch = append(batch, f.view([2]string{"crm_id", side}, [2]string{"device_id", fmt.Sprintf("%s-%d", side, n)}))
				}
				f.tell(batch...)
			}
		}
		f.awaitMoved()
		rest := make(chan struct{})
		time.AfterFunc(figureIdle, func() { close(rest) })
		idle := f.freshness("idle", rest)
		moved := make(chan struct{})
		begun := time.Now()
		var took, answered time.Duration
		go func() {
			defer close(moved)
			f.tell(f.view([2]string{"crm_id", "left"}, [2]string{"crm_id", "right"}))
			answered = time.Since(begun)
			f.awaitMoved()
			took = time.Since(begun)
		}()
		busy := f.freshness("busy", moved)
		profile, err := f.query.GetProfile(b.Context(), &queryv1.GetProfileRequest{Customer: "crm_id:left"})
		if err != nil {
			b.Fatal(err)
		}
		if got, want := int(profile.Profile.Engagement.PageViews), 2**figureIdentifiers+1; got != want {
			b.Errorf("the one customer has %d page views, want %d", got, want)
		}
		b.ReportMetric(percentile(idle, 0.99), "idle-p99-ms")
		b.ReportMetric(percentile(busy, 0.99), "moving-p99-ms")
		b.ReportMetric(float64(answered.Milliseconds()), "decided-ms")
		b.ReportMetric(took.Seconds(), "moved-s")
	}
}
