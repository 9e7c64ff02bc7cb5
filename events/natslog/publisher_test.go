package natslog_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/natslog"
)

func TestPublisher(t *testing.T) {
	t.Parallel()
	server := serve(t, natslog.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	p, err := natslog.NewPublisher(t.Context(), server.URL(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var refused *natslog.RefusedError
	if _, err := p.Publish(t.Context(), "shop", "application/protobuf", nil); !errors.As(err, &refused) || refused.Code != 503 || !errors.Is(err, events.ErrOverload) {
		t.Errorf("without an intake: %v, want 503", err)
	}
	for _, c := range []struct {
		source, answer, retryAfter string
		accepted                   int
		want                       string
		later                      bool
	}{
		{"shop", `{"stream":"EVENTS_00","seq":3,"accepted":2,"duplicates":0}`, "", 2, "", false},
		{"busy", `{"error":{"code":429,"description":"too much"}}`, "2", 0, "refused with 429: too much", true},
		{"wrong", `{"error":{"code":400,"description":"not JSON"}}`, "", 0, "refused with 400: not JSON", false},
		{"odd", `pong`, "", 0, "read the answer of dossier.intake.odd", false},
	} {
		gateway := connect(t, innerURL(server.URL())).Conn()
		sub, err := gateway.Subscribe("dossier.intake."+c.source, func(m *nats.Msg) {
			if m.Header.Get("Content-Type") != "application/protobuf" || string(m.Data) != "body" {
				t.Errorf("got %q as %v", m.Data, m.Header)
			}
			answer := nats.NewMsg(m.Reply)
			answer.Data = []byte(c.answer)
			if c.retryAfter != "" {
				answer.Header.Set("Retry-After", c.retryAfter)
			}
			if err := m.RespondMsg(answer); err != nil {
				t.Error(err)
			}
		})
		if err == nil {
			err = gateway.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Publish(t.Context(), c.source, "application/protobuf", []byte("body"))
		if got.Accepted != c.accepted || (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) || errors.Is(err, events.ErrOverload) != c.later {
			t.Errorf("%s: %+v, %v; want %d and %q", c.source, got, err, c.accepted, c.want)
		}
		if c.later && (!errors.As(err, &refused) || refused.RetryAfter != 2*time.Second) {
			t.Errorf("%s: %v, want one to try again after 2 s", c.source, err)
		}
		if err := sub.Unsubscribe(); err != nil {
			t.Error(err)
		}
	}
}

// An answer that does not come is not waited for without end.
func TestPublisherGivesUp(t *testing.T) {
	t.Parallel()
	server := serve(t, natslog.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	gateway := connect(t, innerURL(server.URL())).Conn()
	if _, err := gateway.Subscribe("dossier.intake.*", func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	if err := gateway.Flush(); err != nil {
		t.Fatal(err)
	}
	p, err := natslog.NewPublisher(t.Context(), server.URL(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.Within(time.Millisecond)
	if _, err := p.Publish(t.Context(), "shop", "application/protobuf", nil); !errors.Is(err, events.ErrUnknown) || errors.Is(err, events.ErrOverload) {
		t.Errorf("without an answer: %v, want %v", err, events.ErrUnknown)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Publish(ctx, "shop", "application/protobuf", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v, want %v", err, context.Canceled)
	}
}
