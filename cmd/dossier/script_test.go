package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
)

func TestMain(m *testing.M) {
	testscript.Main(tidyTests{m}, map[string]func(){"dossier": main})
}

// tidyTests removes the programs that tests built once they have run.
type tidyTests struct{ *testing.M }

func (m tidyTests) Run() int {
	defer programs.remove()
	return m.M.Run()
}

// TestScripts plays testdata/script/*.txtar against the real binary. Beside
// testscript's own commands there are:
//
//	start [flags]          serve on a free port from $WORK/data and wait until
//	                       it is ready; sets DOSSIER_SERVER
//	halt                   SIGTERM, and wait for an exit in order (testscript has
//	                       a command stop, which ends the script)
//	crash                  SIGKILL
//	[!] post PATH FILE [NAME: VALUE]…
//	                       POST a file; the answer is stdout, its status line
//	                       stderr; ! wants a status of 400 or more
//	receipt VAR            keeps the receipt of the last answer in VAR
//	folded                 waits until all that was told is folded, and moved
//	await FILE REGEXP      waits until a line of a file that something in the
//	                       background writes matches
//	example REGEXP         runs the line of README.md's shell block that
//	                       matches, against this script's server
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       rewriting(),
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("LANG", "C")
			env.Values[serverKey{}] = &scriptServer{}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"start": scriptStart, "halt": scriptHalt, "crash": scriptCrash, "post": scriptPost, "receipt": scriptReceipt, "folded": scriptFolded, "await": scriptAwait, "example": scriptExample,
		},
	})
}

// readyWithin bounds whatever is waited for: a loaded machine may take long, a
// hang is found.
const readyWithin = 5 * time.Minute

type serverKey struct{}

// scriptServer is the server of one script, and what it answered last.
type scriptServer struct {
	cmd    *exec.Cmd
	url    string
	answer string
	wait   func() error
}

func serverOf(ts *testscript.TestScript) *scriptServer {
	return ts.Value(serverKey{}).(*scriptServer)
}

func scriptStart(ts *testscript.TestScript, neg bool, args []string) {
	s := serverOf(ts)
	if neg || s.cmd != nil {
		ts.Fatalf("usage: start [flags], once until halt or crash")
	}
	address := quietAddress(ts)
	s.url = "http://" + address
	serve := append([]string{"serve", "--data", ts.MkAbs("data"), "--http", address, "--nats-listen", "off"}, args...)
	log, err := os.OpenFile(ts.MkAbs("serve.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	ts.Check(err)
	s.cmd = exec.Command(lookPath(ts, "dossier"), serve...)
	s.cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "HOME=" + ts.Getenv("HOME"), "TMPDIR=" + ts.Getenv("TMPDIR")}
	s.cmd.Stdout, s.cmd.Stderr = log, log
	ts.Check(s.cmd.Start())
	ts.Check(log.Close())
	ended := make(chan error, 1)
	go func(cmd *exec.Cmd) { ended <- cmd.Wait() }(s.cmd)
	ts.Defer(func() { // a script that fails leaves nothing running
		if s.cmd != nil {
			s.cmd.Process.Kill()
		}
	})
	if err := awaitReady(s.url, ended); err != nil {
		ts.Fatalf("%v\n%s", err, ts.ReadFile("serve.log"))
	}
	ts.Setenv("DOSSIER_SERVER", s.url)
	ts.Setenv("ADDRESS", address)
	s.wait = func() error { return <-ended }
}

// lookPath finds a program in the script's own PATH, where testscript put it.
func lookPath(ts *testscript.TestScript, name string) string {
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && !info.IsDir() {
			return file
		}
	}
	ts.Fatalf("no %s in PATH", name)
	return ""
}

func awaitReady(url string, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), readyWithin)
	defer cancel()
	last := "no answer"
	err := every(ctx, 20*time.Millisecond, func() (bool, error) {
		select {
		case err := <-ended:
			return false, fmt.Errorf("the server ended: %w", err)
		default:
		}
		resp, err := http.Get(url + "/readyz")
		if err != nil {
			return false, nil // not listening yet
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body) // for the message alone
		last = resp.Status + " " + string(body)
		return resp.StatusCode == http.StatusOK, nil
	})
	if err != nil {
		return fmt.Errorf("wait for %s/readyz: %w; last: %s", url, err, last)
	}
	return nil
}

func scriptHalt(ts *testscript.TestScript, neg bool, args []string) {
	s := serverOf(ts)
	if neg || s.cmd == nil || len(args) > 0 {
		ts.Fatalf("usage: halt, after start")
	}
	ts.Check(s.cmd.Process.Signal(syscall.SIGTERM))
	err := s.wait()
	s.cmd = nil
	if err != nil {
		ts.Fatalf("halt: %v\n%s", err, ts.ReadFile("serve.log"))
	}
}

func scriptCrash(ts *testscript.TestScript, neg bool, args []string) {
	s := serverOf(ts)
	if neg || s.cmd == nil || len(args) > 0 {
		ts.Fatalf("usage: crash, after start")
	}
	ts.Check(s.cmd.Process.Kill())
	// Killed is what was asked for, so it is no error.
	_ = s.wait()
	s.cmd = nil
}

func scriptPost(ts *testscript.TestScript, neg bool, args []string) {
	s := serverOf(ts)
	if len(args) < 2 || s.cmd == nil {
		ts.Fatalf("usage: [!] post PATH FILE [NAME: VALUE]…, after start")
	}
	req, err := http.NewRequest(http.MethodPost, s.url+args[0], strings.NewReader(ts.ReadFile(args[1])))
	ts.Check(err)
	req.Header.Set("Content-Type", "application/json")
	for _, header := range args[2:] {
		name, value, found := strings.Cut(header, ":")
		if !found {
			ts.Fatalf("post: header %q without a ':'", header)
		}
		req.Header.Set(name, strings.TrimSpace(value))
	}
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	s.answer = string(body)
	fmt.Fprint(ts.Stdout(), s.answer)
	fmt.Fprintln(ts.Stderr(), resp.Status)
	if failed := resp.StatusCode >= 400; failed != neg {
		ts.Fatalf("post %s: %s %s", args[0], resp.Status, s.answer)
	}
}

func scriptReceipt(ts *testscript.TestScript, neg bool, args []string) {
	const before = `"receipt":"`
	_, rest, found := strings.Cut(serverOf(ts).answer, before)
	token, _, closed := strings.Cut(rest, `"`)
	if neg || len(args) != 1 || !found || !closed || token == "" {
		ts.Fatalf("usage: receipt VAR, after a post that was accepted; last answer: %s", serverOf(ts).answer)
	}
	ts.Setenv(args[0], token)
}

func scriptFolded(ts *testscript.TestScript, neg bool, args []string) {
	s := serverOf(ts)
	if neg || s.cmd == nil || len(args) > 0 {
		ts.Fatalf("usage: folded, after start")
	}
	ctx, cancel := context.WithTimeout(context.Background(), readyWithin)
	defer cancel()
	service := queryv1connect.NewQueryServiceClient(http.DefaultClient, s.url)
	var last *queryv1.GetStatusResponse
	err := every(ctx, 10*time.Millisecond, func() (done bool, err error) {
		last, done, err = folded(ctx, service)
		return done, err
	})
	if err != nil {
		ts.Fatalf("not folded: %v; %v", err, last)
	}
}

func scriptAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await FILE REGEXP")
	}
	pattern := regexp.MustCompile("(?m)" + args[1])
	ctx, cancel := context.WithTimeout(context.Background(), readyWithin)
	defer cancel()
	var text []byte
	err := every(ctx, 10*time.Millisecond, func() (bool, error) {
		text, _ = os.ReadFile(ts.MkAbs(args[0])) // it may come yet
		return pattern.Match(text), nil
	})
	if err != nil {
		ts.Fatalf("await %s in %s: %v; it holds:\n%s", args[1], args[0], err, text)
	}
}

// scriptExample runs what the README shows, so that it cannot go stale. Of
// curl it knows what the README uses.
func scriptExample(ts *testscript.TestScript, neg bool, args []string) {
	s := serverOf(ts)
	if neg || len(args) != 1 || s.cmd == nil {
		ts.Fatalf("usage: example REGEXP, after start")
	}
	line := readmeExample(ts, regexp.MustCompile(args[0]))
	if rest, ok := strings.CutPrefix(line, "go run ./cmd/dossier "); ok {
		ts.Check(ts.Exec("dossier", commandWords(rest)...))
		return
	}
	curl := regexp.MustCompile(`^curl(?: -H '([^']*)')? -d '([^']*)' http://127\.0\.0\.1:8360(/\S*)$`).FindStringSubmatch(line)
	if curl == nil {
		ts.Fatalf("an example that this test cannot run: %s", line)
	}
	ts.Check(os.WriteFile(ts.MkAbs("example.json"), []byte(curl[2]), 0o644))
	headers := []string{"Content-Type: application/x-www-form-urlencoded"} // as curl does
	if curl[1] != "" {
		headers = append(headers, curl[1])
	}
	scriptPost(ts, false, append([]string{curl[3], "example.json"}, headers...))
}

// readmeExample is the one line of the README's shell blocks that matches.
func readmeExample(ts *testscript.TestScript, pattern *regexp.Regexp) string {
	readme, err := os.ReadFile(filepath.Join(repository, "README.md"))
	ts.Check(err)
	var found []string
	inside := false
	for line := range strings.Lines(string(readme)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "```"):
			inside = line == "```sh"
		case inside && pattern.MatchString(line):
			found = append(found, line)
		}
	}
	if len(found) != 1 {
		ts.Fatalf("%d lines of README.md match %s, want 1", len(found), pattern)
	}
	return found[0]
}
