package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
)

// The tests of this file's kind drive the real binary as a process of its own.

// binary builds the program once per test run.
var binary = sync.OnceValues(func() (string, error) { return programs.build("dossier", ".") })

// built are the programs that tests built, in a directory of their own.
type built struct {
	mu  sync.Mutex
	dir string // guarded by mu; made with the first
}

var programs built

// build builds a package. What a checkout says of itself is left out: nobody
// asks for it, and git refuses to tell it to another user.
func (b *built) build(name, pkg string) (string, error) {
	dir, err := b.directory()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", path, pkg).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return path, nil
}

func (b *built) directory() (dir string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dir == "" {
		b.dir, err = os.MkdirTemp("", "dossier-test-")
	}
	return b.dir, err
}

func (b *built) remove() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dir != "" {
		_ = os.RemoveAll(b.dir) // best effort, in a directory of temporary things
	}
}

// engineProcess is a running `dossier serve` on a directory.
type engineProcess struct {
	t     testing.TB
	data  string
	flags []string

	cmd    *exec.Cmd
	url    string
	exited chan struct{}
	status error
}

// startProcess serves a directory and waits until it is ready.
func startProcess(t testing.TB, data string, flags ...string) *engineProcess {
	t.Helper()
	p := &engineProcess{t: t, data: data, flags: flags}
	t.Cleanup(p.kill) // of a start that fails too
	p.start()
	return p
}

var servingAt = regexp.MustCompile(`msg=serving http=(\S+)`)

func (p *engineProcess) start() {
	p.t.Helper()
	path, err := binary()
	if err != nil {
		p.t.Fatal(err)
	}
	args := append([]string{"serve", "--data", p.data, "--http", "127.0.0.1:0", "--nats-listen", "off"}, p.flags...)
	p.cmd = exec.Command(path, args...)
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	address := make(chan string, 1)
	p.exited = make(chan struct{})
	go p.follow(p.cmd, stderr, address, p.exited)
	select {
	case p.url = <-address:
	case <-p.exited:
		p.t.Fatalf("serve ended: %v", p.status)
	}
	p.awaitReady()
}

// follow passes the log on to the test and finds the address in it.
func (p *engineProcess) follow(cmd *exec.Cmd, stderr io.Reader, address chan<- string, exited chan<- struct{}) {
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 16<<20) // a line that ends the scan would block whoever writes the next
	for lines.Scan() {
		if m := servingAt.FindStringSubmatch(lines.Text()); m != nil {
			address <- m[1]
		}
		if testing.Verbose() && os.Getenv("DOSSIER_TEST_LOG") != "" {
			fmt.Fprintln(os.Stderr, lines.Text())
		}
	}
	p.status = cmd.Wait()
	close(exited)
}

func (p *engineProcess) awaitReady() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), readyWithin)
	defer cancel()
	err := every(ctx, 20*time.Millisecond, func() (bool, error) {
		r, err := http.Get(p.url + "/readyz")
		if err != nil {
			return false, nil
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK, nil
	})
	if err != nil {
		p.t.Fatalf("not ready: %v", err)
	}
}

// kill ends the process at once, as kill -9 does.
func (p *engineProcess) kill() {
	if p.exited == nil {
		return // it never started
	}
	p.cmd.Process.Kill()
	<-p.exited
}

// stop asks the process to stop in order.
func (p *engineProcess) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	<-p.exited
	if p.status != nil {
		p.t.Errorf("serve ended with %v after SIGTERM", p.status)
	}
}

func (p *engineProcess) query() queryv1connect.QueryServiceClient {
	return queryv1connect.NewQueryServiceClient(http.DefaultClient, p.url)
}

// answer is the body of an ingest answer.
type answer struct {
	Success    bool
	Accepted   int
	Duplicates int
	Rejected   []struct {
		Index                int
		Code, Field, Message string
	}
	Receipt string
}

// post posts a JSON body and expects a status.
func (p *engineProcess) post(path string, body any, want int) answer {
	p.t.Helper()
	a, status, err := postJSON(p.url+path, body)
	if err != nil {
		p.t.Fatalf("post %s: %v", path, err)
	}
	if status != want {
		p.t.Fatalf("post %s: status %d, want %d: %+v", path, status, want, a)
	}
	return a
}

func postJSON(url string, body any) (answer, int, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return answer{}, 0, err
	}
	return send(url, http.Header{"Content-Type": {"application/json"}}, data)
}

func send(url string, h http.Header, data []byte) (answer, int, error) {
	var a answer
	r, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(data))
	if err != nil {
		return a, 0, err
	}
	r.Header = h
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return a, 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return a, resp.StatusCode, err
	}
	return a, resp.StatusCode, json.Unmarshal(text, &a)
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// profile asks for one customer, waiting for a receipt if there is one: an answer
// waits for it only for a few seconds, which a slow machine may need and more.
func (p *engineProcess) profile(ref, receipt string) *queryv1.Profile {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), readyWithin)
	defer cancel()
	for {
		r, err := p.query().GetProfile(ctx, &queryv1.GetProfileRequest{Customer: ref, Receipt: receipt})
		if err == nil {
			return r.Profile
		}
		if receipt == "" || !connect.IsWireError(err) || connect.CodeOf(err) != connect.CodeUnavailable || ctx.Err() != nil {
			p.t.Fatalf("get %s: %v", ref, err)
		}
	}
}

// folded reports whether nothing in the log is unfolded.
func folded(ctx context.Context, service queryv1connect.QueryServiceClient) (*queryv1.GetStatusResponse, bool, error) {
	status, err := service.GetStatus(ctx, &queryv1.GetStatusRequest{})
	switch {
	case connect.CodeOf(err) == connect.CodeUnavailable:
		return nil, false, nil
	case err != nil:
		return nil, false, err
	}
	return status, !slices.ContainsFunc(status.GetPartitions(), func(p *queryv1.PartitionStatus) bool { return p.GetLagEvents() > 0 }), nil
}

// awaitFolded waits until nothing in the log is unfolded.
func (p *engineProcess) awaitFolded() *queryv1.GetStatusResponse {
	p.t.Helper()
	var last *queryv1.GetStatusResponse
	ctx, cancel := context.WithTimeout(context.Background(), readyWithin)
	defer cancel()
	err := every(ctx, 10*time.Millisecond, func() (done bool, err error) {
		last, done, err = folded(ctx, p.query())
		return done, err
	})
	if err != nil {
		p.t.Fatalf("not folded: %v; %v", err, last)
	}
	return last
}

func (p *engineProcess) tick(to time.Time) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), readyWithin)
	defer cancel()
	if _, err := p.query().Tick(ctx, &queryv1.TickRequest{To: timestamppb.New(to)}); err != nil {
		p.t.Fatalf("tick to %s: %v", to, err)
	}
}

// fixtures is the folder of shared test data, or the test is skipped.
func fixtures(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join("..", "..", "..", "shared", "fixtures", name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no shared fixtures here: %v", err)
	}
	return path
}
