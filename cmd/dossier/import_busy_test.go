package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/importer"
)

// busyServer takes nothing, and says so to whoever asks.
func busyServer(t *testing.T, retryAfter string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", retryAfter)
		w.WriteHeader(http.StatusTooManyRequests)
		fmt.Fprint(w, `{"success":false,"code":"overload","message":"more load than the machine takes"}`)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// sayings is standard error, which calls back with the first thing said.
type sayings struct {
	mu    sync.Mutex
	text  bytes.Buffer
	first func()
}

func (s *sayings) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.text.Len() == 0 {
		s.first()
	}
	return s.text.Write(p)
}

// Whoever interrupts an import is told how to go on, in his language; what it
// waited for was said before.
func TestImportInterrupted(t *testing.T) {
	t.Parallel()
	url := busyServer(t, "600")
	dir := t.TempDir()
	file, rules := writeFile(t, dir, "a.csv", "Order,Customer,Day,City,Total\n1,u,2026-01-01,c,1\n"), writeFile(t, dir, "a.yaml", killedMapping)
	for lang, want := range map[string][]string{
		langEN: {"waiting for " + url, "429 Too Many Requests: more load than the machine takes", "trying again in 10m0s, for 1h0m0s at most", "The same command goes on from here"},
		langZH: {"等待 " + url, "10m0s 后重试", "重复同一命令即可继续"},
	} {
		ctx, interrupt := context.WithCancel(t.Context())
		said := &sayings{first: interrupt}
		std := stdio{out: io.Discard, err: said, getenv: func(string) string { return "" }}
		status := run(ctx, std, []string{"import", file, "--map", rules, "--server", url, "--lang", lang, "--wait", "1h"})
		if status != exitFailed {
			t.Errorf("%s: status %d, want %d", lang, status, exitFailed)
		}
		for _, part := range want {
			if got := said.text.String(); !strings.Contains(got, part) {
				t.Errorf("%s: said %q, want %q in it", lang, got, part)
			}
		}
	}
}

// Of many rejected rows the first are listed; the file keeps all.
func TestImportListsTheFirst(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var out strings.Builder
	c := &importCommand{
		client:  &client{std: stdio{out: &out, err: io.Discard}, lang: langEN},
		display: &importDisplay{}, rejectsFile: filepath.Join(dir, "rejects.csv"), begun: time.Now(),
	}
	var err error
	if c.rejects, err = createRejects(c.rejectsFile); err != nil {
		t.Fatal(err)
	}
	const rejected = maxListedOutcomes + 3
	for i := range rejected {
		err := c.tell(importer.Outcome{
			File: "a.csv", Line: i + 2, Verdict: ingest.VerdictRejected, Column: "line", Value: "x\x1b[2J", Reason: "is no number",
			Columns: []string{"line", "name"}, Cells: []any{"x\x1b[2J", fmt.Sprint("Ann ", i)},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := c.rejects.finish(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := c.summarise(importer.Summary{Rows: rejected, Rejected: rejected}); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Count(out.String(), "is no number"), maxListedOutcomes; got != want {
		t.Errorf("%d rows listed, want %d", got, want)
	}
	for _, want := range []string{"a.csv:2  rejected: line \"x[2J\": is no number\n", "… 3 more; the file of --rejects has all\n", "  rejected: 53\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
	kept, err := os.ReadFile(c.rejectsFile)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(kept)), "\n")
	if len(lines) != rejected+1 || lines[0] != byteOrderMark+"file,line,column,value,reason,row.line,name" || !strings.HasSuffix(lines[rejected], ",Ann 52") {
		t.Errorf("the file has %d lines, the first %q, the last %q", len(lines), lines[0], lines[len(lines)-1])
	}
}

func TestBar(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		share float64
		want  string
	}{
		{0, "[........................]   0%"},
		{0.5, "[############............]  50%"},
		{0.999, "[#######################.]  99%"},
		{1, "[########################] 100%"},
	} {
		if got := bar(tc.share); got != tc.want {
			t.Errorf("bar(%v): got %q, want %q", tc.share, got, tc.want)
		}
	}
}
