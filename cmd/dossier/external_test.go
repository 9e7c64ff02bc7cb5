package main

import (
	"context"
	"encoding/json"
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

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// natsProgram builds nats-server, which is a tool of go.mod, once per test run.
var natsProgram = sync.OnceValues(func() (string, error) {
	return programs.build("nats-server", "github.com/nats-io/nats-server/v2")
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
	ctx, cancel := context.WithTimeout(n.t.Context(), readyWithin)
	defer cancel()
	err = every(ctx, 10*time.Millisecond, func() (bool, error) {
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
	ctx, cancel := context.WithTimeout(p.t.Context(), readyWithin)
	defer cancel()
	var status int
	var header http.Header
	var body string
	// It may yet be getting ready after the server was away the last time.
	err := every(ctx, 5*time.Millisecond, func() (bool, error) {
		status, header, body = p.probe("/readyz")
		return strings.Contains(body, "NATS server of the log is away since"), nil
	})
	if err != nil {
		p.t.Fatalf("/readyz does not say that the server is away: %v; last %d %s", err, status, body)
	}
	var r readiness
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		p.t.Fatal(err)
	}
	if status != 503 || r.Ready || r.Log == nil || r.Log.Connected || r.Log.Lost == 0 {
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

// While the log's server is away queries go on from what is folded, and the
// status and readiness say how it stands.
func TestQueriesWithoutTheLog(t *testing.T) {
	t.Parallel()
	server := startNATS(t)
	p := startProcess(t, t.TempDir(), "--nats", server.url())
	p.post("/v1/track", map[string]any{"userId": "1", "event": "x", "messageId": "m1"}, 200)
	p.awaitFolded()
	server.kill()
	p.checkAway()
	query := p.query()
	for name, ask := range map[string]func() (*queryv1.Freshness, error){
		"GetProfile": func() (*queryv1.Freshness, error) {
			r, err := query.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: "user_id:1"})
			return r.GetFreshness(), err
		},
		"GetTimeline": func() (*queryv1.Freshness, error) {
			r, err := query.GetTimeline(t.Context(), &queryv1.GetTimelineRequest{Customer: "user_id:1"})
			return r.GetFreshness(), err
		},
		"ListProfiles": func() (*queryv1.Freshness, error) {
			r, err := query.ListProfiles(t.Context(), &queryv1.ListProfilesRequest{})
			return r.GetFreshness(), err
		},
		"CountProfiles": func() (*queryv1.Freshness, error) {
			r, err := query.CountProfiles(t.Context(), &queryv1.CountProfilesRequest{})
			return r.GetFreshness(), err
		},
		"FindProfiles": func() (*queryv1.Freshness, error) {
			r, err := query.FindProfiles(t.Context(), &queryv1.FindProfilesRequest{Text: "1"})
			return r.GetFreshness(), err
		},
	} {
		fresh, err := ask()
		if err != nil || fresh.GetLagEvents() != 0 {
			t.Errorf("%s: %v, lag %d; want an answer that holds all", name, err, fresh.GetLagEvents())
		}
	}
	status, err := query.GetStatus(t.Context(), &queryv1.GetStatusRequest{})
	if err != nil || !strings.Contains(status.GetLogError(), "the NATS server of the log is away") || strings.Contains(status.GetLogError(), "buffer") {
		t.Errorf("GetStatus: %v, error %v; want what is known, and that the server is away", status, err)
	}
	_, _, body := p.probe("/readyz")
	var r readiness
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		t.Fatal(err)
	}
	for _, at := range r.Partitions {
		if at.Applied == 0 || at.Applied > at.Target || at.Percent != 100 {
			t.Errorf("/readyz: %+v; want all of what was known applied", at)
		}
	}
	server.start()
	p.awaitReady()
	if status, err := query.GetStatus(t.Context(), &queryv1.GetStatusRequest{}); err != nil || status.GetLogError() != "" {
		t.Errorf("GetStatus with the server back: %q, error %v; want none", status.GetLogError(), err)
	}
}

// Beside stores that were folded from a log no new one is begun: the log was
// lost, or this is not where it is.
func TestNewLogIsRefused(t *testing.T) {
	t.Parallel()
	outside, inside := t.TempDir(), t.TempDir()
	server := startNATS(t)
	p := startProcess(t, outside, "--nats", server.url())
	p.post("/v1/track", map[string]any{"userId": "1", "event": "x", "messageId": "m1"}, 200)
	p.stop()
	startProcess(t, inside).stop()
	if err := os.RemoveAll(filepath.Join(inside, "log")); err != nil {
		t.Fatal(err)
	}
	other := startNATS(t)
	for _, test := range []struct {
		name, data, place string
		flags             []string
	}{
		{"another server", outside, "nats://" + other.address, []string{"--nats", other.url()}},
		{"log removed", inside, filepath.Join(inside, "log"), nil},
	} {
		for range 2 { // nor the second time
			status, said := serveOnce(t, test.data, test.flags...)
			if status != 1 || !strings.Contains(said, test.place+" holds no log") || !strings.Contains(said, filepath.Join(test.data, "projections")) || strings.Contains(said, "secret") {
				t.Errorf("%s: status %d; want a refusal that names server, directory and ways out:\n%s", test.name, status, said)
			}
		}
		for _, stores := range []string{"projections", "directory"} {
			if err := os.RemoveAll(filepath.Join(test.data, stores)); err != nil {
				t.Fatal(err)
			}
		}
		startProcess(t, test.data, test.flags...).stop()
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
	go func() { defer close(started); p.start() }()
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
	if <-started; t.Failed() {
		return // a start that fails ends its own goroutine alone
	}
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

		{"no URL", []string{"--nats", "nats.example"}, 2, []string{"--nats (not shown)", "nats://127.0.0.1:4222"}},
		{"no scheme", []string{"--nats", "dossier:secret@127.0.0.1:4222"}, 2, []string{"--nats (not shown)"}},
		{"scheme slip", []string{"--nats", "nats:/u:secret@127.0.0.1:4222"}, 2, []string{"--nats (not shown)"}},
		{"password with @", []string{"--nats", "nats://u:p@secret%zz@127.0.0.1:4222"}, 2, []string{"--nats nats://127.0.0.1:4222", "%40"}},
		{"password with a slash", []string{"--nats", "nats://u:12/secret@127.0.0.1:4222"}, 2, []string{"--nats nats://127.0.0.1:4222", "%2F"}},
		{"query", []string{"--nats", "nats://127.0.0.1:4222?secret"}, 2, []string{"--nats (not shown)"}},
		{"second without scheme", []string{"--nats", "nats://127.0.0.1:1,u:secret@127.0.0.1:2"}, 2, []string{"--nats (not shown)", "each"}},
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
