package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"
	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
	"github.com/dossier360/dossier/query"
)

// crier answers a tail with rows and then an error, or, without one, nothing
// more until its caller is gone.
type crier struct {
	queryv1connect.UnimplementedQueryServiceHandler
	rows  []*queryv1.TailResponse
	after error

	mu    sync.Mutex
	asked *queryv1.TailRequest // guarded by mu
}

func (c *crier) Tail(ctx context.Context, req *queryv1.TailRequest, stream *connect.ServerStream[queryv1.TailResponse]) error {
	c.mu.Lock()
	c.asked = req
	c.mu.Unlock()
	for _, row := range append([]*queryv1.TailResponse{nil}, c.rows...) {
		if err := stream.Send(row); err != nil {
			return err
		}
	}
	if c.after == nil {
		<-ctx.Done()
	}
	return c.after
}

func serveCrier(t *testing.T, c *crier, keys ...string) (*httptest.Server, map[string]string) {
	t.Helper()
	_, handler := queryv1connect.NewQueryServiceHandler(c)
	server := httptest.NewServer(query.Guard(keys, handler))
	t.Cleanup(server.Close)
	return server, map[string]string{"DOSSIER_SERVER": server.URL}
}

func tailRows() []*queryv1.TailResponse {
	event := func(e *queryv1.TailEvent) *queryv1.TailResponse {
		return &queryv1.TailResponse{Item: &queryv1.TailResponse_Event{Event: e}}
	}
	return []*queryv1.TailResponse{
		event(&queryv1.TailEvent{
			Position: "00-0-7-1", CustomerId: "01JDA0000000000000000000AA", Role: "subject", Type: "order.placed", Source: "shop", EventId: "m-1",
			OccurredAt: at("2026-01-15T10:00:00Z"), RecordedAt: at("2026-01-15T10:00:01Z"), Title: "Order placed: A-1", Fields: map[string]string{"orderId": "A-1"},
		}),
		event(&queryv1.TailEvent{
			Position: "01-0-3-0", CustomerId: "01JDA0000000000000000000AB", Type: "Wunschliste \x1b[31mgeteilt, sehr lang genannt", Source: "a-source-with-a-long-name",
			RecordedAt: at("2026-01-15T10:00:02Z"), Title: "浏览器" + strings.Repeat("标题", 40),
		}),
		{Item: &queryv1.TailResponse_Reject{Reject: &queryv1.TailReject{
			Source: "web", ReceivedAt: at("2026-01-15T10:00:03Z"), Wire: "segment", Path: "/v1/track", MessageId: "m-9",
			Code: "bad_time", Field: "timestamp", Limit: "1971", Message: "timestamp 1960-01-01 is before 1971\n\x1b[2J",
		}}},
		{Item: &queryv1.TailResponse_Reject{Reject: &queryv1.TailReject{Source: "web", ReceivedAt: at("2026-01-15T10:00:04Z"), Code: "not_json", Message: "not JSON"}}},
		{}, // an item of a later version
	}
}

func TestTailLines(t *testing.T) {
	t.Parallel()
	c := &crier{rows: tailRows()}
	_, env := serveCrier(t, c)
	for _, lang := range []string{langEN, langZH} {
		status, out, err := dossier(t, env, "tail", "--limit", "5", "--lang", lang)
		if status != exitDone || !strings.Contains(err, env["DOSSIER_SERVER"]) {
			t.Errorf("%s: status %d, %q", lang, status, err)
		}
		golden(t, filepath.Join("testdata", "golden", "tail."+lang+".txt"), out)
	}
	status, out, _ := dossier(t, env, "tail", "--limit", "5", "--json", "--source", "web", "--rejected")
	if status != exitDone {
		t.Errorf("status %d", status)
	}
	golden(t, filepath.Join("testdata", "golden", "tail.json"), out)
	c.mu.Lock()
	defer c.mu.Unlock()
	if diff := gocmp.Diff(&queryv1.TailRequest{Source: "web", Rejected: true}, c.asked, protocmp.Transform()); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

// How a tail ends, and with which status.
func TestTailEnds(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		after  error
		args   []string
		status int
		say    string
	}{
		{"stopping", connect.NewError(connect.CodeUnavailable, errString("the server is stopping")), nil, exitFailed, "went away (the server is stopping); run this again"},
		{"stopping, in Chinese", connect.NewError(connect.CodeUnavailable, errString("the server is stopping")), []string{"--lang", "zh"}, exitFailed, "的连接已断开（the server is stopping）"},
		{"too many", connect.NewError(connect.CodeResourceExhausted, errString("8 tails are open, limit 8")), nil, exitFailed, "dossier tail: 8 tails are open, limit 8"},
		{"corrupt", connect.NewError(connect.CodeDataLoss, errString("log: corrupt")), nil, exitFailed, "dossier tail: log: corrupt"},
		{"negative limit", nil, []string{"--limit", "-1"}, exitUsage, "--limit -1"},
		{"an argument", nil, []string{"shop"}, exitUsage, `"shop" is one argument too many`},
	} {
		_, env := serveCrier(t, &crier{after: tc.after})
		status, out, err := dossier(t, env, append([]string{"tail"}, tc.args...)...)
		if status != tc.status || out != "" || !strings.Contains(err, tc.say) {
			t.Errorf("%s: status %d, %q, %q; want %d and %q", tc.name, status, out, err, tc.status, tc.say)
		}
	}
	status, _, err := dossier(t, map[string]string{"DOSSIER_SERVER": "http://127.0.0.1:1"}, "tail")
	if status != exitFailed || !strings.Contains(err, "no server answers") {
		t.Errorf("without a server: status %d, %q", status, err)
	}
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	status, _, err = dossier(t, map[string]string{"DOSSIER_SERVER": other.URL}, "tail")
	if status != exitFailed || !strings.Contains(err, "not a Dossier") {
		t.Errorf("of another server: status %d, %q", status, err)
	}
}

type errString string

func (e errString) Error() string { return string(e) }

func TestTailReadKey(t *testing.T) {
	t.Parallel()
	_, env := serveCrier(t, &crier{rows: tailRows()[:1]}, "ask")
	if status, _, err := dossier(t, env, "tail"); status != exitFailed || !strings.Contains(err, "wants a read key") {
		t.Errorf("without a key: status %d, %q", status, err)
	}
	if status, _, err := dossier(t, env, "tail", "--read-key", "wrong"); status != exitFailed || !strings.Contains(err, "does not accept this read key") {
		t.Errorf("with a wrong key: status %d, %q", status, err)
	}
	if status, out, err := dossier(t, env, "tail", "--read-key", "ask", "--limit", "1"); status != exitDone || !strings.Contains(out, "order.placed") {
		t.Errorf("with the key: status %d, %q, %q", status, out, err)
	}
}

// signalling is a writer that says once when something was written.
type signalling struct {
	bytes.Buffer
	once sync.Once
	said chan struct{}
}

func (s *signalling) Write(p []byte) (int, error) {
	defer s.once.Do(func() { close(s.said) })
	return s.Buffer.Write(p)
}

// An interrupt ends a tail well; the loss of the server does not.
func TestTailInterrupted(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		server, env := serveCrier(t, &crier{rows: tailRows()[:1]})
		ctx, interrupt := context.WithCancel(t.Context())
		defer interrupt()
		out, stderr := &signalling{said: make(chan struct{})}, &signalling{said: make(chan struct{})}
		ended := make(chan int, 1)
		go func() {
			ended <- run(ctx, stdio{in: strings.NewReader(""), out: out, err: stderr, getenv: func(name string) string { return env[name] }}, []string{"tail"})
		}()
		<-out.said
		want := exitDone
		if lost {
			want = exitFailed
			server.CloseClientConnections()
		} else {
			interrupt()
		}
		if status := <-ended; status != want {
			t.Errorf("lost %v: status %d, want %d: %s", lost, status, want, stderr.String())
		}
		if got := strings.Contains(stderr.String(), "went away"); got != lost {
			t.Errorf("lost %v: said %q", lost, stderr.String())
		}
	}
}
