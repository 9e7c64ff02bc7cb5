package main

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
)

// runBench runs the real binary: it starts itself as the server.
func runBench(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), path, append([]string{"bench"}, args...)...)
	var out, complaint strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &complaint
	cmd.Env = append(cmd.Environ(), "TMPDIR="+t.TempDir(), "LANG=C", "DOSSIER_WRITE_KEY=not-for-its-own-server")
	err = cmd.Run()
	return out.String(), complaint.String(), err
}

// Every figure is there, and they agree with one another.
func TestBench(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds; make test runs it")
	}
	t.Parallel()
	runs := [][]string{
		{"--events", "2050", "--users", "300"},
		{"--life", "firm", "--customers", "20", "--connections", "1", "--partitions", "2"},
	}
	for _, args := range runs {
		out, stderr, err := runBench(t, append(args, "--json")...)
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, stderr)
		}
		var f figures
		if err := json.Unmarshal([]byte(out), &f); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		if f.Events < 500 || f.Life == lifeTraffic && f.Events != 2050 || f.Duplicates != 0 {
			t.Errorf("%v: %d events, %d known before", args, f.Events, f.Duplicates)
		}
		if f.QueryableSeconds < f.AcknowledgedSeconds || f.QueryableRate > f.AcknowledgedRate || f.P50Millis <= 0 || f.P99Millis < f.P50Millis {
			t.Errorf("%v: figures that contradict each other: %s", args, out)
		}
		if f.CeilingRate == nil || *f.CeilingRate <= 0 || *f.LogBytesPerEvent < 5 || *f.OfCeiling != f.QueryableRate / *f.CeilingRate {
			t.Errorf("%v: no ceiling: %s", args, out)
		}
		if f.ServerPeakBytes == nil || *f.ServerPeakBytes < 1<<20 || *f.ServerCPUSeconds <= 0 {
			t.Errorf("%v: nothing of the server: %s", args, out)
		}
		if f.Machine.Cores < 1 || f.Machine.Go == "" || f.Machine.CPU == "" {
			t.Errorf("%v: machine %+v", args, f.Machine)
		}
	}
}

// A running server is measured as it is; what it was told before counts as
// known, and its log is left alone.
func TestBenchOfARunningServer(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds; make test runs it")
	}
	t.Parallel()
	p := startProcess(t, t.TempDir())
	for round, known := range []string{"", "known before                            700"} {
		out, stderr, err := runBench(t, "--server", p.url, "--events", "700", "--seed", "5")
		if err != nil {
			t.Fatalf("round %d: %v\n%s", round, err, stderr)
		}
		for _, want := range []string{"700 events of traffic (seed 5), 100 a call, 8 connections\n", "\nqueryable ", "\nserver's memory", known} {
			if !strings.Contains(out, want) {
				t.Errorf("round %d: no %q in\n%s", round, want, out)
			}
		}
		if strings.Contains(out, "L, the log alone") {
			t.Errorf("round %d: a ceiling of a log that is not ours:\n%s", round, out)
		}
	}
}

// laggard answers GetStatus with one of its answers after the other.
type laggard struct {
	queryv1connect.UnimplementedQueryServiceHandler
	answers []*queryv1.GetStatusResponse
	asked   atomic.Int64
}

func (l *laggard) GetStatus(context.Context, *queryv1.GetStatusRequest) (*queryv1.GetStatusResponse, error) {
	return l.answers[min(int(l.asked.Add(1)), len(l.answers))-1], nil
}

// The clock does not stop at a lag that nobody has asked the log about.
func TestBenchWaitsForAllPartitions(t *testing.T) {
	t.Parallel()
	folded := &queryv1.PartitionStatus{Id: 1}
	l := &laggard{answers: []*queryv1.GetStatusResponse{
		{Partitions: []*queryv1.PartitionStatus{{Id: 0, LagEvents: 3}, folded}},
		{Partitions: []*queryv1.PartitionStatus{{Id: 0}, folded}, LogError: "not answered"},
		{Partitions: []*queryv1.PartitionStatus{{Id: 0}, folded}},
	}}
	_, handler := queryv1connect.NewQueryServiceHandler(l)
	server := httptest.NewServer(handler)
	defer server.Close()
	b := benchRun{client: &client{server: server.URL}}
	if err := b.awaitFolded(t.Context()); err != nil {
		t.Fatal(err)
	}
	if asked := l.asked.Load(); asked != 3 {
		t.Errorf("all was folded after %d answers, want 3", asked)
	}
}

func TestBenchUsage(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"--events 0":           "--events 0: 1 to 10000000 wanted",
		"--users 1":            "--users 1: 2 or more wanted",
		"--batch 0":            "--batch 0: 1 to 2500 wanted",
		"--connections 0":      "--connections 0: 1 to 1000 wanted",
		"--life circus":        `--life "circus": traffic, shop or firm wanted`,
		"--sync sometimes":     `--sync "sometimes": always or interval wanted`,
		"--partitions 100":     "--partitions 100: 1 to 99 wanted",
		"--server 127.0.0.1:1": "no server answers at http://127.0.0.1:1",
	} {
		status, out, stderr := dossier(t, nil, append([]string{"bench"}, strings.Fields(args)...)...)
		if status == exitDone || out != "" || !strings.Contains(stderr, want) {
			t.Errorf("%s: status %d, %q, %q; want %q", args, status, out, stderr, want)
		}
	}
}
