package main

import (
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest/importer"
	"github.com/dossier360/dossier/ingest/importer/mapping"
)

// BenchmarkImport imports the Online Retail slice by its mapping until every
// event is queryable, and once more, when all is known; importer and server in
// one process.
func BenchmarkImport(b *testing.B) {
	file := fixtures(b, "online_retail_slice/online_retail_2010-12_2011-02.csv.gz")
	text, err := os.ReadFile(example("online-retail.yaml"))
	if err != nil {
		b.Fatal(err)
	}
	m, err := mapping.Parse("online-retail.yaml", text)
	if err != nil {
		b.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	for b.Loop() {
		e, url, stop := benchServer(b, quiet)
		first, took := benchImport(b, m, file, url)
		begun := time.Now()
		benchFolded(b, e)
		took += time.Since(begun)
		again, tookAgain := benchImport(b, m, file, url)
		if first.New != first.Events || again.Duplicate != first.New {
			b.Fatalf("first %+v, again %+v: want all new, then all known", first, again)
		}
		stop()
		b.ReportMetric(float64(first.Rows)/took.Seconds(), "rows/s")
		b.ReportMetric(float64(first.Events)/took.Seconds(), "events/s")
		b.ReportMetric(float64(again.Rows)/tookAgain.Seconds(), "known-rows/s")
	}
}

func benchServer(b *testing.B, quiet *slog.Logger) (e *engine, url string, stop func()) {
	s, err := parseSettings(stdio{getenv: func(string) string { return "" }, out: io.Discard, err: io.Discard},
		[]string{"--data", b.TempDir(), "--nats-listen", "off"})
	if err != nil {
		b.Fatal(err)
	}
	e, err = startEngine(b.Context(), s, quiet, newMetrics(s, quiet), func(string) {})
	if err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(e.handler(s))
	for e.gateway.Ready() != nil {
		runtime.Gosched()
	}
	return e, server.URL, func() {
		server.Close()
		e.stop()
	}
}

func benchImport(b *testing.B, m *mapping.Mapping, file, url string) (importer.Summary, time.Duration) {
	begun := time.Now()
	files, err := importer.Open(m, []string{file})
	if err != nil {
		b.Fatal(err)
	}
	s, err := importer.Run(b.Context(), files.Read, importer.Options{Server: &importer.Server{URL: url}, Source: m.Source, Started: begun})
	if err != nil {
		b.Fatal(err)
	}
	return s, time.Since(begun)
}

func benchFolded(b *testing.B, e *engine) {
	for p := range e.partitions {
		info, err := e.log.Info(b.Context(), events.PartitionStream(p))
		if err != nil {
			b.Fatal(err)
		}
		if err := e.partitions[p].WaitApplied(b.Context(), info.Last); err != nil {
			b.Fatal(err)
		}
	}
}
