package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestFirstTenMinutes runs docs/FIRST-TEN-MINUTES.md and compares what it shows
// with what the commands print; -rewrite writes it anew. The page's own comment
// says which changes are made to outputs.
func TestFirstTenMinutes(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds; make test runs it")
	}
	t.Parallel()
	for _, tool := range []string{"sh", "make", "curl", "grep"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the page's commands want %s: %v", tool, err)
		}
	}
	file := filepath.Join(repository, "docs", "FIRST-TEN-MINUTES.md")
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r := newReader(t)
	got := r.play(string(want))
	if rewriting() {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s does not show what happens (-page +run; go test -rewrite accepts):\n%s", file, diff)
	}
	if r.played < 20 {
		t.Errorf("%d commands were run; the page had more once", r.played)
	}
}

// reader follows the page in a shell of his own.
type reader struct {
	t      *testing.T
	played int
	url    string    // of the demo, once it runs
	end    time.Time // of the shop's two years
	env    []string
	binary string

	ids        map[string]string // customer id to the one shown
	merges     []string          // ids of merges; what is shown is where one stands, from 1 on
	background *background
}

// background is a command that ends in &.
type background struct {
	cmd         *exec.Cmd
	out, status *announcement
}

func newReader(t *testing.T) *reader {
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return &reader{
		t: t, binary: path, ids: map[string]string{},
		env: []string{"PATH=" + filepath.Dir(path) + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir(), "LANG=C", "no_proxy=127.0.0.1"},
	}
}

// play returns the page with what its commands print.
func (r *reader) play(page string) string {
	var out strings.Builder
	console := false
	for line := range strings.Lines(page) {
		switch text := strings.TrimRight(line, "\n"); {
		case text == "```console":
			console = true
			out.WriteString(line)
		case text == "```":
			console = false
			out.WriteString(line)
		case !console:
			out.WriteString(line)
		case strings.HasPrefix(text, "$ "):
			out.WriteString(line)
			out.WriteString(r.normalise(r.command(text[len("$ "):])))
			r.played++
		}
	}
	return out.String()
}

var makeDemo = regexp.MustCompile(`^make demo(?: [A-Z]+=\S+)* END=(\S+)$`)

func (r *reader) command(line string) string {
	if demo := makeDemo.FindStringSubmatch(line); demo != nil {
		return r.demo(line, demo[1])
	}
	if r.url == "" {
		r.t.Fatalf("%s: before the demo is started", line)
	}
	(&engineProcess{t: r.t, url: r.url}).awaitFolded()
	switch text, follows := strings.CutSuffix(line, " &"); {
	case follows:
		return r.start(text)
	case line == "wait":
		return r.wait()
	}
	followed := r.followed()
	cmd := r.shell(line)
	out, err := cmd.CombinedOutput()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		r.t.Fatalf("%s: %v", line, err)
	}
	if r.background != nil {
		// Events and rejects come to a tail by ways of their own: one at a time.
		r.await(func() bool { return r.followed() > followed }, line)
	}
	text := string(out)
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n" // a terminal shows the next prompt behind it
	}
	return text
}

func (r *reader) shell(line string) *exec.Cmd {
	line = shownMerge.ReplaceAllStringFunc(strings.ReplaceAll(line, defaultServer, r.url), func(text string) string {
		of := shownMerge.FindStringSubmatch(text)
		shown, err := strconv.Atoi(of[2])
		if err != nil || shown < 1 || shown > len(r.merges) {
			r.t.Fatalf("%s: %d merges were shown until here", line, len(r.merges))
		}
		return of[1] + r.merges[shown-1]
	})
	cmd := exec.CommandContext(r.t.Context(), "sh", "-c", line)
	cmd.Env = append(r.env, "DOSSIER_SERVER="+r.url)
	return cmd
}

// demo starts what the recipe of make demo says, on a free port.
func (r *reader) demo(line, end string) string {
	var err error
	if r.end, err = time.Parse(time.RFC3339, end); err != nil {
		r.t.Fatal(err)
	}
	ask := exec.Command("sh", "-c", strings.Replace(line, "make", "make --no-print-directory -n", 1))
	ask.Dir = repository
	ask.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=")
	recipe, err := ask.CombinedOutput()
	args, runs := strings.CutPrefix(string(recipe), "go run ./cmd/dossier demo ")
	if err != nil || !runs {
		r.t.Fatalf("%s: %v; the recipe is %q", line, err, recipe)
	}
	demo := exec.Command(r.binary, append(append([]string{"demo"}, strings.Fields(args)...), "--http", quietAddress(r.t))...)
	demo.Env = r.env
	out := &announcement{text: "until interrupted", seen: make(chan struct{})}
	stderr := &announcement{}
	demo.Stdout, demo.Stderr = out, stderr
	if err := demo.Start(); err != nil {
		r.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- demo.Wait() }()
	select {
	case <-out.seen:
	case err := <-ended:
		r.t.Fatalf("the demo ended: %v\n%s%s", err, out, stderr)
	}
	r.t.Cleanup(func() {
		if err := demo.Process.Signal(syscall.SIGTERM); err != nil {
			r.t.Error(err)
		}
		// It may warn of a machine that is slow.
		if err := <-ended; err != nil || strings.Contains(stderr.String(), "level=ERROR") || strings.Contains(stderr.String(), "panic") {
			r.t.Errorf("the demo ended with %v and %q", err, stderr)
		}
	})
	r.url = regexp.MustCompile(`Serving on (\S+)`).FindStringSubmatch(out.String())[1]
	return string(recipe) + out.String()
}

// start begins a command in the background, which is a tail: it returns once
// that follows.
func (r *reader) start(line string) string {
	b := &background{cmd: r.shell("exec " + line), out: &announcement{}, status: &announcement{text: "Ctrl-C ends", seen: make(chan struct{})}}
	b.cmd.Stdout, b.cmd.Stderr = b.out, b.status
	if err := b.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.background = b
	select {
	case <-b.status.seen:
	case <-time.After(readyWithin):
		r.t.Fatalf("%s does not begin: %s", line, b.status)
	}
	return b.status.String()
}

// followed is how many lines the background has printed.
func (r *reader) followed() int {
	if r.background == nil {
		return 0
	}
	return strings.Count(r.background.out.String(), "\n")
}

func (r *reader) await(done func() bool, what string) {
	ctx, cancel := context.WithTimeout(r.t.Context(), readyWithin)
	defer cancel()
	if err := every(ctx, 10*time.Millisecond, func() (bool, error) { return done(), nil }); err != nil {
		r.t.Fatalf("%s: nothing of it in the background: %v; %s", what, err, r.background.status)
	}
}

func (r *reader) wait() string {
	if r.background == nil {
		r.t.Fatal("wait: nothing in the background")
	}
	if err := r.background.cmd.Wait(); err != nil {
		r.t.Errorf("in the background: %v", err)
	}
	text := r.background.out.String()
	r.background = nil
	return text
}

var (
	shownDirectory = regexp.MustCompile(`\S*/dossier-demo-[0-9]+`)
	shownID        = regexp.MustCompile(`\b01[0-9A-HJKMNP-TV-Z]{24}\b`)
	shownReceipt   = regexp.MustCompile(`"(receipt|cursor)":"[^"]*"`)
	shownPosition  = regexp.MustCompile(`"(applied|target|[0-9]+)":("?)[0-9]+`)
	shownMerge     = regexp.MustCompile(`(\(merge |--undo )([0-9]+)`)
	shownInstant   = regexp.MustCompile(`[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?`)
)

// normalise makes the changes to an output that the page tells of.
func (r *reader) normalise(out string) string {
	out = strings.ReplaceAll(out, " --server "+r.url, "")
	out = strings.ReplaceAll(out, r.url, defaultServer)
	out = strings.ReplaceAll(out, r.binary, "go run ./cmd/dossier")
	out = shownDirectory.ReplaceAllString(out, "/tmp/dossier-demo-1234567890")
	if strings.HasPrefix(out, "{") {
		out = strings.NewReplacer(`, "`, `,"`, `, {`, `,{`).Replace(out)
	}
	out = shownReceipt.ReplaceAllString(out, `"$1":"…"`)
	out = shownPosition.ReplaceAllString(out, `"$1":${2}1`)
	out = shownID.ReplaceAllStringFunc(out, func(id string) string {
		if r.ids[id] == "" {
			r.ids[id] = fmt.Sprintf("01DEM%021d", len(r.ids)+1)
		}
		return r.ids[id]
	})
	out = shownMerge.ReplaceAllStringFunc(out, func(text string) string {
		of := shownMerge.FindStringSubmatch(text)
		if !slices.Contains(r.merges, of[2]) {
			r.merges = append(r.merges, of[2])
		}
		return of[1] + strconv.Itoa(slices.Index(r.merges, of[2])+1)
	})
	return shownInstant.ReplaceAllStringFunc(out, func(text string) string {
		between := text[len(time.DateOnly):][:1] // a space, or T
		at, err := time.Parse(time.DateTime, strings.Replace(text, between, " ", 1))
		if err != nil || !at.After(r.end) {
			return text
		}
		return r.end.Format(time.DateOnly) + between + r.end.Format(time.TimeOnly)
	})
}
