package natslog_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/logtest"
	"github.com/dossier360/dossier/events/natslog"
)

var stream = events.StreamConfig{Name: "EVENTS_00", Subjects: []string{events.SubjectEvents(0)}, Permanent: true}

// innerPassword lets tests in where clients may not go.
const innerPassword = "inner"

func innerURL(address string) string {
	return "nats://" + natslog.InnerUser + ":" + innerPassword + "@" + strings.TrimPrefix(address, "nats://")
}

func serve(t testing.TB, o natslog.Options) *natslog.Server {
	t.Helper()
	server, err := natslog.ServeWith(t.Context(), o, innerPassword)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server
}

func open(t testing.TB, d natslog.Dial) *natslog.Log {
	t.Helper()
	l, err := natslog.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func appendTo(t testing.TB, l events.Log, text string) uint64 {
	t.Helper()
	seq, err := l.Append(t.Context(), stream.Name, events.SubjectEvents(0), []byte(text), events.Expect{})
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

func TestLog(t *testing.T) {
	t.Parallel()
	logtest.TestLog(t, func(t *testing.T) (events.Log, func() events.Log) {
		dir := t.TempDir()
		server := serve(t, natslog.Options{Dir: dir})
		l := open(t, natslog.Dial{Server: server})
		return l, func() events.Log {
			server.Close()
			server = serve(t, natslog.Options{Dir: dir})
			return open(t, natslog.Dial{Server: server})
		}
	})
}

func TestFound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	now := func() time.Time { return time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC) }
	found := func(l events.Log) map[events.Stream][]events.Message {
		t.Helper()
		genesis, err := events.Found(t.Context(), l, events.Settings{Partitions: 3}, now, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		read, err := events.ReadGenesis(t.Context(), l)
		if diff := cmp.Diff(genesis, read, protocmp.Transform()); diff != "" || err != nil {
			t.Errorf("genesis read, error %v (-founded +read):\n%s", err, diff)
		}
		held := map[events.Stream][]events.Message{}
		for _, s := range []events.Stream{"IDENTITY", "EVENTS_00", "EVENTS_01", "EVENTS_02", "FEED", "REJECTED"} {
			info, err := l.Info(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			for seq := uint64(1); seq <= info.Last; seq++ {
				m, err := l.Get(t.Context(), s, seq)
				if err != nil {
					t.Fatal(err)
				}
				held[s] = append(held[s], m)
			}
		}
		if len(held["IDENTITY"]) != 2 || len(held["EVENTS_02"]) != 1 {
			t.Errorf("IDENTITY has %d messages, EVENTS_02 %d; want 2 and 1", len(held["IDENTITY"]), len(held["EVENTS_02"]))
		}
		if _, err := l.Info(t.Context(), "EVENTS_03"); !errors.Is(err, events.ErrNotFound) {
			t.Errorf("EVENTS_03: %v, want ErrNotFound", err)
		}
		return held
	}
	server := serve(t, natslog.Options{Dir: dir})
	first := found(open(t, natslog.Dial{Server: server}))
	server.Close()
	again := found(open(t, natslog.Dial{Server: serve(t, natslog.Options{Dir: dir})}))
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("founding again changed the log (-first +again):\n%s", diff)
	}
}

func TestStreamsKeepWhatTheyHold(t *testing.T) {
	t.Parallel()
	server := serve(t, natslog.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	l := open(t, natslog.Dial{Server: server})
	if _, err := events.Found(t.Context(), l, events.Settings{Partitions: 1}, time.Now, rand.Reader); err != nil {
		t.Fatal(err)
	}
	js := connect(t, innerURL(server.URL()))
	for _, name := range []string{"IDENTITY", "EVENTS_00"} {
		s, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		c := s.CachedInfo().Config
		if !c.DenyDelete || !c.DenyPurge || c.MaxAge != 0 || c.MaxMsgs > 0 || c.MaxBytes > 0 ||
			c.Storage != jetstream.FileStorage || c.Replicas != 1 || c.Compression != jetstream.NoCompression || c.AllowDirect {
			t.Errorf("stream %s can lose messages: %+v", name, c)
		}
	}
	feed, err := js.Stream(t.Context(), "FEED")
	if err != nil {
		t.Fatal(err)
	}
	if c := feed.CachedInfo().Config; c.MaxAge != events.FeedRetention || !c.AllowAtomicPublish {
		t.Errorf("FEED: max age %v, atomic batches %v; want %v, true", c.MaxAge, c.AllowAtomicPublish, events.FeedRetention)
	}
}

// connect makes a connection to the listener.
func connect(t *testing.T, url string, options ...nats.Option) jetstream.JetStream {
	t.Helper()
	conn, err := nats.Connect(url, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func TestServeRefuses(t *testing.T) {
	t.Parallel()
	running := serve(t, natslog.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	busy := strings.TrimPrefix(running.URL(), "nats://")
	used := t.TempDir()
	serve(t, natslog.Options{Dir: used})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		name string
		ctx  context.Context
		o    natslog.Options
		want string
	}{
		{"no directory", t.Context(), natslog.Options{}, "no directory"},
		{"directory in use", t.Context(), natslog.Options{Dir: used}, "in use"},
		{"port in use", t.Context(), natslog.Options{Dir: t.TempDir(), Listen: busy}, "address already in use"},
		{"no port", t.Context(), natslog.Options{Dir: t.TempDir(), Listen: "127.0.0.1"}, `listen "127.0.0.1"`},
		{"port too great", t.Context(), natslog.Options{Dir: t.TempDir(), Listen: "127.0.0.1:65536"}, `port "65536"`},
		{"payload", t.Context(), natslog.Options{Dir: t.TempDir(), MaxPayload: 9 << 20}, "limit 8388608"},
		{"interval", t.Context(), natslog.Options{Dir: t.TempDir(), SyncInterval: -1}, "sync interval"},
		{"inner user", t.Context(), natslog.Options{Dir: t.TempDir(), Users: map[string]string{"dossier-internal": "x"}}, `user "dossier-internal"`},
		{"no password", t.Context(), natslog.Options{Dir: t.TempDir(), Users: map[string]string{"ann": ""}}, `user "ann"`},
	} {
		server, err := natslog.Serve(test.ctx, test.o)
		if err == nil {
			server.Close()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want an error with %q", test.name, err, test.want)
		}
	}
	if _, err := natslog.Open(ended, natslog.Dial{}); err == nil {
		t.Error("open without server or URL: no error")
	}
}

func TestAppendErrors(t *testing.T) {
	t.Parallel()
	server := serve(t, natslog.Options{Dir: t.TempDir(), MaxPayload: 1 << 16})
	l := open(t, natslog.Dial{Server: server})
	if err := l.CreateStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	add := func(ctx context.Context, size int) error {
		_, err := l.Append(ctx, stream.Name, events.SubjectEvents(0), make([]byte, size), events.Expect{})
		return err
	}
	if err := add(t.Context(), 1<<16+1); err == nil || errors.Is(err, events.ErrUnknown) {
		t.Errorf("too great a message: %v, want a refusal", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := add(ended, 1); !errors.Is(err, context.Canceled) || errors.Is(err, events.ErrUnknown) {
		t.Errorf("context ended before: %v, want that alone", err)
	}
	l.Close()
	if err := add(t.Context(), 1); !errors.Is(err, events.ErrClosed) {
		t.Errorf("closed log: %v, want ErrClosed", err)
	}
	if _, err := l.Info(t.Context(), stream.Name); !errors.Is(err, events.ErrClosed) {
		t.Errorf("info of a closed log: %v, want ErrClosed", err)
	}
	other := open(t, natslog.Dial{Server: server})
	if info, err := other.Info(t.Context(), stream.Name); err != nil || info.Last != 0 {
		t.Errorf("info %+v, error %v; want an empty stream", info, err)
	}
}

// A consumer that the server forgot is replaced, and nothing is lost.
func TestReaderReplacesItsConsumer(t *testing.T) {
	t.Parallel()
	server := serve(t, natslog.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	l := open(t, natslog.Dial{Server: server})
	if err := l.CreateStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	reader, err := l.Read(t.Context(), stream.Name, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	s, err := connect(t, innerURL(server.URL())).Stream(t.Context(), "EVENTS_00")
	if err != nil {
		t.Fatal(err)
	}
	appendTo(t, l, "first")
	if _, err := reader.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	for round := range 5 {
		for name := range s.ConsumerNames(t.Context()).Name() {
			if err := s.DeleteConsumer(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		want := appendTo(t, l, fmt.Sprintf("message %d", round))
		m, err := reader.Next(t.Context())
		if err != nil || m.Seq != want {
			t.Fatalf("round %d: read sequence %d, error %v; want %d", round, m.Seq, err, want)
		}
	}
}

// The connection to a server of its own comes and goes.
func TestReaderSurvivesServerRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	options := natslog.Options{Dir: dir, Listen: quietAddress(t)} // it comes back to it
	server := serve(t, options)
	inside := open(t, natslog.Dial{Server: server})
	if err := inside.CreateStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	remote := open(t, natslog.Dial{URL: innerURL(options.Listen), Logger: slog.New(slog.DiscardHandler)})
	reader, err := remote.Read(t.Context(), stream.Name, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for round := range 3 {
		for range 10 {
			appendTo(t, inside, fmt.Sprintf("round %d", round))
		}
		for i := range 5 { // the rest is on its way when the server goes
			m, err := reader.Next(t.Context())
			if err != nil || m.Seq != uint64(round*10+i+1) {
				t.Fatalf("round %d: read sequence %d, error %v; want %d", round, m.Seq, err, round*10+i+1)
			}
		}
		server.Close()
		server = serve(t, options)
		inside = open(t, natslog.Dial{Server: server})
		for i := 5; i < 10; i++ {
			m, err := reader.Next(t.Context())
			if err != nil || m.Seq != uint64(round*10+i+1) {
				t.Fatalf("round %d after restart: read sequence %d, error %v; want %d", round, m.Seq, err, round*10+i+1)
			}
		}
	}
}

// A stream that came back as another one must not be read on.
func TestReaderMeetsAnotherStream(t *testing.T) {
	t.Parallel()
	options := natslog.Options{Dir: t.TempDir(), Listen: quietAddress(t)} // it comes back to it
	server := serve(t, options)
	inside := open(t, natslog.Dial{Server: server})
	if err := inside.CreateStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	appendTo(t, inside, "one")
	remote := open(t, natslog.Dial{URL: innerURL(options.Listen)})
	reader, err := remote.Read(t.Context(), stream.Name, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if _, err := reader.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Close()
	options.Dir = t.TempDir()
	inside = open(t, natslog.Dial{Server: serve(t, options)})
	if err := inside.CreateStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if m, err := reader.Next(t.Context()); !errors.Is(err, events.ErrCorrupt) {
			t.Fatalf("read sequence %d, error %v; want ErrCorrupt", m.Seq, err)
		}
	}
}

// BenchmarkAppendFsynced is the raw cost of a durable record: the floor under
// every figure of ingest.
func BenchmarkAppendFsynced(b *testing.B) {
	l := open(b, natslog.Dial{Server: serve(b, natslog.Options{Dir: b.TempDir()})})
	if err := l.CreateStream(b.Context(), stream); err != nil {
		b.Fatal(err)
	}
	record := make([]byte, 64<<10)
	if _, err := rand.Read(record); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(record)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Append(b.Context(), stream.Name, events.SubjectEvents(0), record, events.Expect{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRead is reading such records back.
func BenchmarkRead(b *testing.B) {
	server := serve(b, natslog.Options{Dir: b.TempDir(), SyncInterval: time.Minute})
	l := open(b, natslog.Dial{Server: server})
	if err := l.CreateStream(b.Context(), stream); err != nil {
		b.Fatal(err)
	}
	record := make([]byte, 64<<10)
	if _, err := rand.Read(record); err != nil {
		b.Fatal(err)
	}
	const records = 500
	for range records {
		appendTo(b, l, string(record))
	}
	b.SetBytes(int64(len(record)))
	b.ReportAllocs()
	var reader events.Reader
	read := 0
	for b.Loop() {
		if reader == nil || read == records {
			if reader != nil {
				reader.Close()
			}
			var err error
			if reader, err = l.Read(b.Context(), stream.Name, 1); err != nil {
				b.Fatal(err)
			}
			read = 0
		}
		if _, err := reader.Next(b.Context()); err != nil {
			b.Fatal(err)
		}
		read++
	}
	reader.Close()
}
