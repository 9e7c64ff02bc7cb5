package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// natsProgram builds nats-server, which is a tool of go.mod, once per test run.
var natsProgram = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "nats-server-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "nats-server")
	if out, err := exec.Command("go", "build", "-o", path, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build nats-server: %w\n%s", err, out)
	}
	return path, nil
})

// natsProcess is a NATS server of its own.
type natsProcess struct {
	t       testing.TB
	config  string
	address string
	cmd     *exec.Cmd
}

// natsConfig is the configuration that docs/OPERATIONS.md shows, on another
// address and directory.
func natsConfig(t testing.TB, address string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, "docs/OPERATIONS.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```nats\n")
	config, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatal("docs/OPERATIONS.md shows no configuration of a NATS server")
	}
	for from, to := range map[string]string{
		"127.0.0.1:4222": address, "/var/lib/nats": t.TempDir(),
	} {
		if strings.Count(config, from) != 1 {
			t.Fatalf("the configuration in docs/OPERATIONS.md names %s %d times, want once", from, strings.Count(config, from))
		}
		config = strings.Replace(config, from, to, 1)
	}
	return config
}

func startNATS(t *testing.T) *natsProcess {
	t.Helper()
	n := newNATS(t)
	n.start()
	return n
}

// newNATS is a server that does not run yet.
func newNATS(t *testing.T) *natsProcess {
	t.Helper()
	n := &natsProcess{t: t, address: quietAddress(t), config: filepath.Join(t.TempDir(), "nats.conf")}
	if err := os.WriteFile(n.config, []byte(natsConfig(t, n.address)), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.kill)
	return n
}

func (n *natsProcess) url() string { return "nats://dossier:secret@" + n.address }

// start starts the server and waits until it takes connections.
func (n *natsProcess) start() {
	n.t.Helper()
	path, err := natsProgram()
	if err != nil {
		n.t.Fatal(err)
	}
	n.cmd = exec.Command(path, "-c", n.config)
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	err = every(n.t.Context(), 10*time.Millisecond, func() (bool, error) {
		conn, err := net.Dial("tcp", n.address)
		if err != nil {
			return false, nil
		}
		return true, conn.Close()
	})
	if err != nil {
		n.t.Fatal(err)
	}
}

// kill ends the server as kill -9 does.
func (n *natsProcess) kill() {
	if n.cmd != nil {
		n.cmd.Process.Kill()
		n.cmd.Wait()
		n.cmd = nil
	}
}

// probe asks a path of the engine.
func (p *engineProcess) probe(path string) (status int, header http.Header, body string) {
	p.t.Helper()
	r, err := http.Get(p.url + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer r.Body.Close()
	return r.StatusCode, r.Header, readAll(p.t, r)
}

func readAll(t testing.TB, r *http.Response) string {
	t.Helper()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The log's server is killed while events are posted, several times: the
// engine goes on by itself, nothing acknowledged is lost, nothing counts
// twice, and the digests are those of an undisturbed run on a server inside.
func TestExternalNATS(t *testing.T) {
	t.Parallel()
	const users = 30
	kills, batches := 5, 300
	if testing.Short() {
		kills, batches = 1, 60
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	bodies := make([]any, batches)
	for i := range bodies {
		bodies[i] = map[string]any{"batch": life(rng, i, users)}
	}
	calm := startProcess(t, t.TempDir())
	for _, body := range bodies {
		calm.post("/v1/batch", body, 200)
	}
	want := calm.usersState(users)
	calm.stop()

	server := startNATS(t)
	p := startProcess(t, t.TempDir(), "--nats", server.url())
	was := p.cmd.Process.Pid
	var next, done atomic.Int64
	var posters sync.WaitGroup
	for range 3 {
		posters.Go(func() {
			for i := next.Add(1) - 1; i < int64(batches); i = next.Add(1) - 1 {
				postUntilTaken(t, p.url+"/v1/batch", bodies[i])
				done.Add(1)
			}
		})
	}
	for kill := range kills {
		until := int64((kill*batches + rng.IntN(batches)) / kills)
		for done.Load() < until && next.Load() < int64(batches) {
			<-time.After(time.Duration(rng.IntN(3000)) * time.Microsecond)
		}
		server.kill()
		p.checkAway()
		server.start()
	}
	posters.Wait()
	p.awaitReady()
	if diff := cmp.Diff(want, p.usersState(users)); diff != "" {
		t.Errorf("seed %d: after %d kills of the server (-undisturbed +killed):\n%s", seed, kills, diff)
	}
	if p.cmd.Process.Pid != was {
		t.Error("the engine was started again")
	}
	if aside, err := filepath.Glob(filepath.Join(p.data, "*", "*.aside-*")); err != nil || len(aside) > 0 {
		t.Errorf("set aside: %v, error %v; want none", aside, err)
	}
	p.stop()

	// Once more, from that log alone.
	if err := os.RemoveAll(filepath.Join(p.data, "projections")); err != nil {
		t.Fatal(err)
	}
	again := startProcess(t, p.data, "--nats", server.url())
	if diff := cmp.Diff(want, again.usersState(users)); diff != "" {
		t.Errorf("seed %d: folded again:\n%s", seed, diff)
	}
}

// checkAway checks what is said while the log's server is away: 503 to all who
// would tell something, with the time to come again, and why to an operator.
func (p *engineProcess) checkAway() {
	p.t.Helper()
	err := every(p.t.Context(), 5*time.Millisecond, func() (bool, error) {
		status, _, _ := p.probe("/readyz")
		return status == http.StatusServiceUnavailable, nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	status, header, body := p.probe("/readyz")
	var r readiness
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		p.t.Fatal(err)
	}
	if status != 503 || r.Ready || r.Log == nil || r.Log.Connected || r.Log.Lost == 0 || !strings.Contains(r.Reason, "NATS server of the log is away since") {
		p.t.Errorf("/readyz while the server is away: %d %s", status, body)
	}
	if header.Get("Retry-After") == "" {
		p.t.Error("/readyz while the server is away: no Retry-After")
	}
	began := time.Now()
	resp, err := http.Post(p.url+"/v1/track", "application/json", strings.NewReader(`{"userId":"u0","event":"x"}`))
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		p.t.Errorf("post while the server is away: status %d, Retry-After %q, after %v; want 503", resp.StatusCode, resp.Header.Get("Retry-After"), time.Since(began))
	}
	if _, _, text := p.probe("/metrics"); !strings.Contains(text, "\ndossier_log_connected 0\n") || !strings.Contains(text, "\ndossier_ready 0\n") {
		p.t.Error("/metrics does not tell that the server is away")
	}
}

// A start waits for a server that is away, saying so, and goes on when it
// comes.
func TestStartWaitsForNATS(t *testing.T) {
	t.Parallel()
	server := newNATS(t)
	address := quietAddress(t)
	p := &engineProcess{t: t, data: t.TempDir(), flags: []string{"--nats", server.url(), "--http", address}}
	p.url = "http://" + address
	started := make(chan struct{})
	go func() { p.start(); close(started) }()
	t.Cleanup(func() { <-started; p.kill() })
	err := every(t.Context(), 10*time.Millisecond, func() (bool, error) {
		r, err := http.Get("http://" + address + "/readyz")
		if err != nil {
			return false, nil
		}
		defer r.Body.Close()
		return strings.Contains(readAll(t, r), "waiting for the NATS server of the log"), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	server.start()
	<-started
	p.post("/v1/track", map[string]any{"userId": "1", "event": "x", "messageId": "m1"}, 200)
}

// What a start refuses about a server of its own.
func TestExternalStartIsRefused(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	data := t.TempDir()
	startProcess(t, data, "--nats", server.url()).stop()
	if err := os.Remove(filepath.Join(data, "identity.key")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		flags  []string
		status int
		says   []string
	}{
		{"lost key", []string{"--nats", server.url()}, 1, []string{"identity.key is missing", server.address, "backup"}},
		{"wrong password", []string{"--nats", "nats://dossier:wrong@" + server.address}, 1, []string{"--nats nats://" + server.address, "Authorization Violation"}},
		{"listener", []string{"--nats", server.url(), "--nats-listen", "127.0.0.1:4222"}, 2, []string{"--nats nats://" + server.address, "--nats-listen 127.0.0.1:4222"}},
		{"users", []string{"--nats", server.url(), "--nats-user", "ann:secret"}, 2, []string{"--nats nats://" + server.address, "--nats-user"}},
		{"replicas", []string{"--nats", server.url(), "--nats-replicas", "6"}, 2, []string{"--nats-replicas 6", "1 to 5"}},
		{"no replicas", []string{"--nats", server.url(), "--nats-replicas", "0"}, 2, []string{"--nats-replicas 0", "1 to 5"}},
		{"no URL", []string{"--nats", "nats.example"}, 2, []string{"--nats nats.example", "nats://127.0.0.1:4222"}},
		{"replicas inside", []string{"--nats-replicas", "3"}, 2, []string{"--nats-replicas 3", "--nats"}},
		{"credentials inside", []string{"--nats-creds", "x.creds"}, 2, []string{"--nats-creds x.creds", "--nats"}},
		{"log format", []string{"--log-format", "xml"}, 2, []string{`--log-format "xml"`, "text or json"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, said := serveOnce(t, data, test.flags...)
			if status != test.status {
				t.Errorf("exit status %d, want %d", status, test.status)
			}
			for _, want := range test.says {
				if !strings.Contains(said, want) {
					t.Errorf("%q is not in what it said", want)
				}
			}
			for _, secret := range []string{"secret", "wrong"} {
				if strings.Contains(said, secret) {
					t.Errorf("it shows the password %q", secret)
				}
			}
			if t.Failed() {
				t.Log(said)
			}
			if _, err := os.Stat(filepath.Join(data, "identity.key")); err == nil {
				t.Error("a lost key was replaced by a new one")
			}
		})
	}
}
