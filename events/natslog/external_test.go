package natslog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/logtest"
	"github.com/dossier360/dossier/events/natslog"
)

// programDir is where nats-server is built; TestMain makes and removes it.
var programDir string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if programDir, err = os.MkdirTemp("", "nats-server-test-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(programDir)
		return m.Run()
	}())
}

// program builds nats-server, which is a tool of go.mod, once per test run.
var program = sync.OnceValues(func() (string, error) {
	path := filepath.Join(programDir, "nats-server")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", path, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build nats-server: %w\n%s", err, out)
	}
	return path, nil
})

// process is a NATS server of its own on a directory.
type process struct {
	t       testing.TB
	config  string
	address string
	cmd     *exec.Cmd
}

// startProcess runs a server with JetStream in a fresh directory; more is added
// to its configuration.
func startProcess(t testing.TB, more string) *process {
	t.Helper()
	p := &process{t: t, address: quietAddress(t), config: filepath.Join(t.TempDir(), "nats.conf")}
	config := fmt.Sprintf("listen: %q\njetstream { store_dir: %q, sync_interval: always }\n%s\n", p.address, t.TempDir(), more)
	if err := os.WriteFile(p.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill) // of a start that fails too
	p.start()
	return p
}

// start starts the process and waits until it takes connections.
func (p *process) start() {
	p.t.Helper()
	path, err := program()
	if err != nil {
		p.t.Fatal(err)
	}
	var said bytes.Buffer
	p.cmd = exec.Command(path, "-c", p.config)
	p.cmd.Stderr = &said
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		conn, err := net.Dial("tcp", p.address)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			p.kill()
			p.t.Fatalf("nats-server does not listen: %v\n%s", err, &said)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// kill ends the process as kill -9 does.
func (p *process) kill() {
	if p.cmd == nil || p.cmd.Process == nil {
		return // it never started
	}
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

func (p *process) url() string { return "nats://" + p.address }

// The conformance suite against a server of another process.
func TestExternalLog(t *testing.T) {
	t.Parallel()
	logtest.TestLog(t, func(t *testing.T) (events.Log, func() events.Log) {
		server := startProcess(t, "max_payload: 2MB")
		l := open(t, natslog.Dial{URL: server.url()})
		return l, func() events.Log {
			l.Close()
			server.kill()
			server.start()
			l = open(t, natslog.Dial{URL: server.url()})
			return l
		}
	})
}

// What was acknowledged outlives kill -9 of the server; a reader and the log
// go on by themselves; and who asks is told how it stands.
func TestExternalServerIsKilled(t *testing.T) {
	t.Parallel()
	server := startProcess(t, "max_payload: 2MB")
	var said lines
	l := open(t, natslog.Dial{URL: "nats://ann:secret@" + server.address, Logger: slog.New(slog.NewTextHandler(&said, nil))})
	if err := l.CreateStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	reader, err := l.Read(t.Context(), stream.Name, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for round := range uint64(3) {
		if c := l.Connection(); !c.Connected || c.Lost != round || c.Server != server.url() {
			t.Errorf("round %d: %+v; want connected to %s, lost %d times", round, c, server.url(), round)
		}
		want := appendTo(t, l, "acknowledged")
		server.kill()
		await(t, func() bool { return !l.Connection().Connected })
		if c := l.Connection(); c.Err == nil || c.Lost != round+1 {
			t.Errorf("round %d, server away: %+v; want a reason and lost %d times", round, c, round+1)
		}
		_, err := l.Append(t.Context(), stream.Name, events.SubjectEvents(0), []byte("refused"), events.Expect{})
		if !errors.Is(err, events.ErrOverload) || !natslog.Unavailable(err) {
			t.Errorf("append while the server is away: %v, want ErrOverload, unavailable", err)
		}
		_, err = l.Info(t.Context(), stream.Name)
		if !natslog.Unavailable(err) || !strings.Contains(fmt.Sprint(err), "the NATS server of the log is away") {
			t.Errorf("info while the server is away: %v, want that it is away", err)
		}
		server.start()
		await(t, func() bool { return l.Connection().Connected })
		if m, err := reader.Next(t.Context()); err != nil || m.Seq != want || string(m.Data) != "acknowledged" {
			t.Fatalf("round %d: read %d %q, error %v; want %d", round, m.Seq, m.Data, err, want)
		}
	}
	for _, want := range []string{"lost the NATS server of the log", "reached the NATS server of the log again", server.url()} {
		await(t, func() bool { return strings.Count(said.String(), want) >= 3 }) // said after it is so
	}
	if text := said.String(); strings.Contains(text, "secret") {
		t.Errorf("a password is logged:\n%s", text)
	}
}

// lines is a log that is safe to write to from anywhere.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await waits for what another process brings about.
func await(t testing.TB, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(deadline) {
			t.Fatal("it did not come about in a minute")
		}
		<-time.After(5 * time.Millisecond)
	}
}

// A start tells a server that is away, which is waited for, from one that
// refuses, which is not.
func TestOpenExternal(t *testing.T) {
	t.Parallel()
	guarded := startProcess(t, `max_payload: 2MB
		authorization { user: ann, password: right }`)
	narrow := startProcess(t, "max_payload: 64KB")
	plain := &process{t: t, address: quietAddress(t), config: filepath.Join(t.TempDir(), "plain.conf")}
	if err := os.WriteFile(plain.config, fmt.Appendf(nil, "listen: %q\nmax_payload: 2MB\n", plain.address), 0o600); err != nil {
		t.Fatal(err)
	}
	plain.start()
	t.Cleanup(plain.kill)
	for _, test := range []struct {
		name        string
		d           natslog.Dial
		unavailable bool
		want        string // "" is no error
	}{
		{"away", natslog.Dial{URL: "nats://" + quietAddress(t)}, true, "no servers available"},
		{"right password", natslog.Dial{URL: "nats://ann:right@" + guarded.address}, false, ""},
		{"wrong password", natslog.Dial{URL: "nats://ann:wrong@" + guarded.address}, false, "Authorization Violation"},
		{"no credentials file", natslog.Dial{URL: guarded.url(), Credentials: filepath.Join(t.TempDir(), "none.creds")}, false, "no such file"},
		{"small messages", natslog.Dial{URL: narrow.url()}, false, "max_payload is 65536 bytes, at least"},
		{"no JetStream", natslog.Dial{URL: plain.url()}, false, "jetstream not enabled"},
		{"replicas", natslog.Dial{URL: plain.url(), Replicas: natslog.MaxReplicas + 1}, false, "6 replicas, 1 to 5 allowed"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		l, err := natslog.Open(ctx, test.d)
		cancel()
		if err == nil {
			l.Close()
		}
		if (err == nil) != (test.want == "") || !strings.Contains(fmt.Sprint(err), test.want) {
			t.Errorf("%s: error %v, want %q", test.name, err, test.want)
		}
		if err != nil && natslog.Unavailable(err) != test.unavailable {
			t.Errorf("%s: %v is unavailable: %v, want %v", test.name, err, !test.unavailable, test.unavailable)
		}
		if strings.Contains(fmt.Sprint(err), "wrong@") {
			t.Errorf("%s: the error shows a password: %v", test.name, err)
		}
	}
}

// What a server refuses for good is no matter of waiting.
func TestReplicasOnOneServer(t *testing.T) {
	t.Parallel()
	server := startProcess(t, "max_payload: 2MB")
	l := open(t, natslog.Dial{URL: server.url(), Replicas: 3})
	if err := l.CreateStream(t.Context(), stream); err == nil || natslog.Unavailable(err) {
		t.Errorf("three replicas on one server: %v; want a refusal", err)
	}
}

// While a server lets nobody in, whoever asks is told that, not what ended the
// connection before.
func TestConnectionTellsTheLastError(t *testing.T) {
	t.Parallel()
	server := startProcess(t, "max_payload: 2MB\nauthorization { user: ann, password: one }")
	l := open(t, natslog.Dial{URL: "nats://ann:one@" + server.address})
	server.kill()
	text, err := os.ReadFile(server.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(server.config, bytes.Replace(text, []byte("password: one"), []byte("password: two"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	server.start()
	await(t, func() bool { return errors.Is(l.Connection().Err, nats.ErrAuthorization) })
}

func TestRedact(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ urls, want string }{
		{"nats://127.0.0.1:4222", "nats://127.0.0.1:4222"},
		{"tls://[::1]:4222", "tls://[::1]:4222"},
		{"nats://ann:secret@nats.example", "nats://nats.example"},
		{"nats://ann:secret@one:1, nats://ann:secret@two:2", "nats://one:1,nats://two:2"},
		{"nats://one:1,nats://ann:se@cret%zz@two:2", "nats://one:1,nats://two:2"},
		{"nats://ann:12/secret@one:1", "nats://one:1"},
		{"nats://ann:12?secret@one:1", "nats://one:1"},
		{"nats://ann:se://cret@one:1", "nats://one:1"},
		{"nats://ann:secret", "(not shown)"},
		{"nats://one:1/secret", "(not shown)"},
		{"nats://one:1?secret", "(not shown)"},
		{"nats://one:1#secret", "(not shown)"},
		{"nats:/ann:secret@one:1", "(not shown)"},
		{"ann:secret@one:1", "(not shown)"},
		{"nats://ann:12,secret@one:1", "(not shown)"},
		{"nats://good:1,ann:secret@two:2", "(not shown)"},
		{"secret", "(not shown)"},
		{"", "(not shown)"},
	} {
		if got := natslog.Redact(test.urls); got != test.want {
			t.Errorf("%q: shown as %q, want %q", test.urls, got, test.want)
		}
	}
}

// quietPorts are below what systems give to connections that ask for no port:
// a port of those may be in use for a connection, by anybody, the moment before
// a server comes (back) to it. Other packages' tests have ports of their own.
const (
	firstQuietPort = 12_000
	quietPortCount = 8_000
)

var quietPorts struct {
	mu    sync.Mutex
	given map[int]bool // guarded by mu
}

// quietAddress is an address of this machine that nobody listens on, and that
// no other test of this process is given.
func quietAddress(t testing.TB) string {
	t.Helper()
	quietPorts.mu.Lock()
	defer quietPorts.mu.Unlock()
	if quietPorts.given == nil {
		quietPorts.given = map[int]bool{}
	}
	for range 100 {
		port := firstQuietPort + mathrand.IntN(quietPortCount)
		if quietPorts.given[port] {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue // somebody listens
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		quietPorts.given[port] = true
		return l.Addr().String()
	}
	t.Fatalf("no port of 100 from %d on is free", firstQuietPort)
	return ""
}

// Streams that another made are looked at before they are trusted.
func TestCheck(t *testing.T) {
	t.Parallel()
	server := serve(t, natslog.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	l := open(t, natslog.Dial{Server: server})
	streams := events.Streams(1)
	for _, c := range streams {
		if err := l.CreateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if remarks, err := l.Check(t.Context(), streams); err != nil || len(remarks) != 0 {
		t.Errorf("as created: remarks %q, error %v; want none", remarks, err)
	}
	wanted := open(t, natslog.Dial{URL: innerURL(server.URL()), Replicas: 3})
	remarks, err := wanted.Check(t.Context(), streams)
	if err != nil || len(remarks) != len(streams) || !strings.Contains(remarks[0], "stream IDENTITY has 1 replicas, 3 wanted; `nats stream edit IDENTITY --replicas 3`") {
		t.Errorf("three replicas wanted: remarks %q, error %v; want one of each stream", remarks, err)
	}
	js := connect(t, innerURL(server.URL()))
	change := func(name events.Stream, edit func(*jetstream.StreamConfig)) {
		t.Helper()
		s, err := js.Stream(t.Context(), string(name))
		if err != nil {
			t.Fatal(err)
		}
		c := s.CachedInfo().Config
		edit(&c)
		if _, err := js.UpdateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	change("FEED", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour })
	if remarks, err := l.Check(t.Context(), streams); err != nil || len(remarks) != 1 || !strings.Contains(remarks[0], "stream FEED keeps messages for 1h0m0s, 720h0m0s wanted") {
		t.Errorf("FEED kept for an hour: remarks %q, error %v; want one", remarks, err)
	}
	change("EVENTS_00", func(c *jetstream.StreamConfig) { c.MaxMsgs = 1000 })
	if _, err := l.Check(t.Context(), streams); !errors.Is(err, events.ErrCorrupt) || !strings.Contains(fmt.Sprint(err), "EVENTS_00: it exists, but max messages is 1000, 0 wanted") {
		t.Errorf("EVENTS_00 limited: %v, want ErrCorrupt, naming it", err)
	}
	if err := js.DeleteStream(t.Context(), "REJECTED"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Check(t.Context(), streams[len(streams)-1:]); !errors.Is(err, events.ErrNotFound) {
		t.Errorf("REJECTED deleted: %v, want ErrNotFound", err)
	}
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want bool
	}{
		{nats.ErrNoServers, true},
		{nats.ErrAuthorization, false},
		{fmt.Errorf("lookup: %w", &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host"}}), true},
		{&jetstream.APIError{Code: 503, ErrorCode: 10008, Description: "jetstream system temporarily unavailable"}, true},
		{jetstream.ErrJetStreamNotEnabledForAccount, false},
		{&jetstream.APIError{Code: 404, ErrorCode: 10059}, false},
		{events.ErrCorrupt, false},
		{events.ErrUnknown, true},
		{fmt.Errorf("create stream IDENTITY: %w", natslog.Translate(&jetstream.APIError{Code: 500, ErrorCode: 10074})), false},
		{natslog.TranslateRead(nats.ErrReconnectBufExceeded), true},
		{errors.New("any other"), false},
	} {
		if got := natslog.Unavailable(test.err); got != test.want {
			t.Errorf("%v: %v, want %v", test.err, got, test.want)
		}
	}
}
