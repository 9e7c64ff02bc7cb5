package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// intakeReply is a reply as a publisher reads it.
type intakeReply struct {
	Error *struct {
		Code, ErrCode int
		Description   string
	}
	Stream, Receipt      string
	Seq                  uint64
	Duplicate            bool
	Accepted, Duplicates int
	Rejected             []struct{ Code, MessageID string }
	RetryAfter           int `json:"retry_after"`
}

// publisher is a client of NATS with an engine behind.
type publisher struct {
	*engineProcess
	conn *nats.Conn
	url  string
}

// eachPublisher runs a test over the embedded server, without and with a named
// user, and over a server that is a process of its own.
func eachPublisher(t *testing.T, test func(t *testing.T, p publisher)) {
	t.Parallel()
	for name, start := range map[string]func(t *testing.T) publisher{
		"embedded":       func(t *testing.T) publisher { return startPublisher(t, t.TempDir()) },
		"embedded, user": func(t *testing.T) publisher { return startPublisher(t, t.TempDir(), "--nats-user", "shop:secret") },
		"external": func(t *testing.T) publisher {
			server := startNATS(t)
			return publisher{startProcess(t, t.TempDir(), "--nats", server.url()), dialNATS(t, server.url()), server.url()}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, start(t))
		})
	}
}

// startPublisher starts an engine with a listener for NATS, and connects to it.
func startPublisher(t *testing.T, data string, flags ...string) publisher {
	t.Helper()
	address := quietAddress(t)
	p := startProcess(t, data, append([]string{"--nats-listen", address}, flags...)...)
	url := "nats://" + address
	if strings.Contains(strings.Join(flags, " "), "shop:secret") {
		url = "nats://shop:secret@" + address
	}
	return publisher{p, dialNATS(t, url), url}
}

func dialNATS(t *testing.T, url string) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// request publishes a message and waits for the reply.
func (p publisher) request(subject, contentType, body string) (intakeReply, nats.Header) {
	p.t.Helper()
	m := nats.NewMsg(subject)
	m.Header.Set("Content-Type", contentType)
	m.Data = []byte(body)
	r, err := p.conn.RequestMsg(m, readyWithin)
	if err != nil {
		p.t.Fatalf("publish to %s: %v", subject, err)
	}
	var reply intakeReply
	if err := json.Unmarshal(r.Data, &reply); err != nil {
		p.t.Fatalf("reply %s: %v", r.Data, err)
	}
	return reply, r.Header
}

// viewed is an event of our own wire.
func viewed(id, user string) string {
	return fmt.Sprintf(`{"id":%q,"type":"page.viewed","time":"2026-11-20T10:00:00Z","identifiers":[{"type":"user_id","value":%q}],"view":{"url":"https://x/"}}`, id, user)
}

// Every way that nats.go publishes to a stream works, from outside, on the
// embedded server and on another's; the reply tells more to who reads it.
func TestPublishOverNATS(t *testing.T) {
	eachPublisher(t, func(t *testing.T, p publisher) {
		js, err := jetstream.New(p.conn)
		if err != nil {
			t.Fatal(err)
		}
		legacy, err := p.conn.JetStream()
		if err != nil {
			t.Fatal(err)
		}
		ack, err := js.Publish(t.Context(), "dossier.intake.shop", []byte(viewed("e1", "u1")))
		if err != nil || !strings.HasPrefix(ack.Stream, "EVENTS_") || ack.Sequence == 0 || ack.Duplicate {
			t.Fatalf("jetstream.Publish: %+v, error %v", ack, err)
		}
		if again, err := js.Publish(t.Context(), "dossier.intake.shop", []byte(viewed("e1", "u1"))); err != nil || !again.Duplicate || again.Sequence != ack.Sequence {
			t.Errorf("once more: %+v, error %v; want it known at %d", again, err, ack.Sequence)
		}
		future, err := js.PublishAsync("dossier.intake.shop", []byte(viewed("e2", "u1")))
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-future.Ok():
		case err := <-future.Err():
			t.Errorf("jetstream.PublishAsync: %v", err)
		}
		withoutID := strings.Replace(viewed("", "u1"), `"id":"",`, "", 1)
		for range 2 {
			if _, err := legacy.Publish("dossier.intake.shop", []byte(withoutID), nats.MsgId("e3")); err != nil {
				t.Errorf("legacy js.Publish: %v", err)
			}
		}
		cloud := `{"specversion":"1.0","id":"e4","source":"/till","type":"page.viewed","time":"2026-11-20T11:00:00Z","subject":"user_id:u1","data":{"url":"https://x/"}}`
		if r, _ := p.request("dossier.intake.shop", "application/cloudevents+json", cloud); r.Accepted != 1 {
			t.Errorf("CloudEvents: %+v, want 1 accepted", r)
		}
		r, _ := p.request("dossier.intake.shop", "application/json", `{"events":[`+viewed("e5", "u1")+`,{"id":"bad","type":"x"}]}`)
		if r.Accepted != 1 || len(r.Rejected) != 1 || r.Receipt == "" {
			t.Errorf("batch: %+v, want 1 accepted, 1 rejected", r)
		}
		if views := p.profile("user_id:u1", r.Receipt).Engagement.GetPageViews(); views != 5 {
			t.Errorf("%d views, want 5", views)
		}
		p.checkRefusals(js)
	})
}

// checkRefusals checks what a publisher is told of events that are refused for
// ever, and that they are kept, though nobody waits for the answer.
func (p publisher) checkRefusals(js jetstream.JetStream) {
	t := p.t
	before := p.awaitFolded().Rejected
	_, err := js.Publish(t.Context(), "dossier.intake.shop", []byte(`{"id":"bad","type":"x"}`))
	var api *jetstream.APIError
	if !errors.As(err, &api) || api.Code != 400 || !strings.Contains(api.Description, "missing_id") {
		t.Errorf("refused: %v, want the error 400 that says missing_id", err)
	}
	if r, _ := p.request("dossier.intake.Shop", "", viewed("e9", "u1")); r.Error == nil || r.Error.Code != 400 || !strings.Contains(r.Error.Description, "dossier.intake.Shop") {
		t.Errorf("ill-formed source: %+v, want the error 400 that names it", r.Error)
	}
	if err := p.conn.Publish("dossier.intake.till", []byte(`{"id":"bad2","type":"x"}`)); err != nil {
		t.Fatal(err)
	}
	if err := p.conn.Publish("dossier.intake.till", []byte(viewed("e6", "u2"))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), readyWithin)
	defer cancel()
	err = every(ctx, 10*time.Millisecond, func() (bool, error) {
		_, err := p.query().GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: "user_id:u2"})
		return err == nil && p.awaitFolded().Rejected == before+2, nil
	})
	if err != nil {
		t.Errorf("published without a reply subject: %d kept, want %d: %v", p.awaitFolded().Rejected, before+2, err)
	}
	// Messages are counted once they are answered, a moment after what they bring.
	for _, want := range []string{`dossier_intake_messages_total{result="refused"} 3`, "dossier_intake_unanswered_total 0"} {
		ctx, cancel := context.WithTimeout(t.Context(), readyWithin)
		err := every(ctx, 10*time.Millisecond, func() (bool, error) {
			return strings.Contains(p.metrics(""), "\n"+want+"\n"), nil
		})
		if cancel(); err != nil {
			t.Errorf("/metrics does not say %s", want)
		}
	}
}

// SIGTERM while events are published: what was taken is answered, and what was
// acknowledged is there afterwards.
func TestIntakeStopsInOrder(t *testing.T) {
	t.Parallel()
	const publishers = 8
	data := t.TempDir()
	p := startPublisher(t, data)
	var acknowledged, refused atomic.Int64
	enough := make(chan struct{})
	var group sync.WaitGroup
	for n := range publishers {
		group.Go(func() {
			for i := 0; ; i++ {
				r, err := p.conn.Request("dossier.intake.shop", []byte(viewed(fmt.Sprintf("e%d-%d", n, i), "u1")), readyWithin)
				if err != nil {
					// Nobody takes anything any more, or the server is gone.
					if !errors.Is(err, nats.ErrNoResponders) && !errors.Is(err, nats.ErrConnectionClosed) {
						t.Errorf("message %d: %v, want an answer, or nobody there", i, err)
					}
					return
				}
				var reply intakeReply
				switch err := json.Unmarshal(r.Data, &reply); {
				case err != nil:
					t.Errorf("reply %s: %v", r.Data, err)
				case reply.Error != nil:
					refused.Add(1)
				case acknowledged.Add(1) == 200:
					close(enough)
				}
			}
		})
	}
	<-enough
	p.conn.SetDisconnectErrHandler(func(conn *nats.Conn, _ error) { go conn.Close() })
	p.stop()
	group.Wait()
	again := startProcess(t, data)
	again.awaitFolded()
	if views := int64(again.profile("user_id:u1", "").Engagement.GetPageViews()); views < acknowledged.Load() {
		t.Errorf("%d views of %d acknowledged; %d were told to come again", views, acknowledged.Load(), refused.Load())
	}
}

// The publisher of docs/examples, as its comment runs it.
func TestNATSExample(t *testing.T) {
	t.Parallel()
	p := startPublisher(t, t.TempDir(), "--nats-user", "shop:secret")
	ctx, cancel := context.WithTimeout(t.Context(), readyWithin)
	defer cancel()
	program, err := programs.build("nats", filepath.Join(repository, "docs/examples/nats"))
	if err != nil {
		t.Fatal(err)
	}
	example := exec.CommandContext(ctx, program, "--server", p.url, "--source", "till")
	example.Stdin = strings.NewReader(viewed("e1", "u1") + "\n" + viewed("e1", "u1") + "\n" + `{"type":"x"}` + "\n")
	var said bytes.Buffer
	example.Stdout, example.Stderr = &said, &said
	if err := example.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &said)
	}
	m := regexp.MustCompile(`^stored in EVENTS_\d\d at \d+, accepted 1, known 0, receipt (\S+)
stored in EVENTS_\d\d at \d+, accepted 0, known 1, receipt \S+
refused: missing_id: .*
$`).FindStringSubmatch(said.String())
	if m == nil {
		t.Fatalf("the example says:\n%s", &said)
	}
	if views := p.profile("user_id:u1", m[1]).Engagement.GetPageViews(); views != 1 {
		t.Errorf("%d views with its receipt, want 1", views)
	}
}
