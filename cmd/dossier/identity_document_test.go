package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestIdentityDocument runs what docs/IDENTITY.md shows in practice, against an
// engine of seven partitions, where most customers are in partitions of their
// own; -rewrite writes the page anew.
func TestIdentityDocument(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"sh", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the page's commands want %s: %v", tool, err)
		}
	}
	file := filepath.Join(repository, "docs", "IDENTITY.md")
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r := newReader(t)
	// Instants of the page's own events come before the end, those of the run after.
	r.end = time.Date(2026, 6, 30, 12, 0, 0, 0, time.UTC)
	r.url = startProcess(t, t.TempDir(), "--partitions", "7", "--clock", "events", "--clock-end", r.end.Format(time.RFC3339)).url
	// All that is decided is on the page, in order: ids of merges are what they are.
	for id := range 100 {
		r.merges = append(r.merges, strconv.Itoa(id+1))
	}
	got := r.play(string(page))
	if rewriting() {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(page), got); diff != "" {
		t.Errorf("%s does not show what happens (-page +run; go test -rewrite accepts):\n%s", file, diff)
	}
	if r.played < 10 {
		t.Errorf("%d commands were run; the page had more once", r.played)
	}
}
