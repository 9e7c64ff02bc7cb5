package natslog_test

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/natslog"
)

// listener is a founded log with three changes in its feed, and a client.
type listener struct {
	server *natslog.Server
	log    *natslog.Log
	client jetstream.JetStream
}

const feedMessages = 3

// listen makes one for a client that stands in users, if there are any.
func listen(t *testing.T, users map[string]string) listener {
	t.Helper()
	l := listener{server: serve(t, natslog.Options{Dir: t.TempDir(), Listen: quietAddress(t), Users: users})}
	l.log = open(t, natslog.Dial{Server: l.server})
	if _, err := events.Found(t.Context(), l.log, events.Settings{Partitions: 1}, time.Now, rand.Reader); err != nil {
		t.Fatal(err)
	}
	for i := range feedMessages {
		if _, err := l.log.Append(t.Context(), events.FeedStream, "dossier.feed.lifecycle.lost", fmt.Append(nil, i), events.Expect{}); err != nil {
			t.Fatal(err)
		}
	}
	login := []nats.Option{nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})} // LastError has it
	for name, password := range users {
		login = append(login, nats.UserInfo(name, password))
	}
	l.client = connect(t, l.server.URL(), login...)
	return l
}

// eachClient runs a test for a client without a name, and for one with.
func eachClient(t *testing.T, test func(t *testing.T, l listener)) {
	t.Parallel()
	for name, users := range map[string]map[string]string{"anyone": nil, "named": {"tracker": "secret"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, listen(t, users))
		})
	}
}

// last is the last sequence of a stream.
func (l listener) last(t *testing.T, s events.Stream) uint64 {
	t.Helper()
	info, err := l.log.Info(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return info.Last
}

func TestClientNeedsItsPassword(t *testing.T) {
	t.Parallel()
	server := serve(t, natslog.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", Users: map[string]string{"tracker": "secret"}})
	for _, options := range [][]nats.Option{nil, {nats.UserInfo("tracker", "guess")}, {nats.UserInfo(natslog.InnerUser, "secret")}} {
		if conn, err := nats.Connect(server.URL(), options...); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("connected: %v, error %v; want %v", conn, err, nats.ErrAuthorization)
		}
	}
}

func TestClientPublishesToIntake(t *testing.T) {
	eachClient(t, func(t *testing.T, l listener) {
		gateway := connect(t, innerURL(l.server.URL())).Conn()
		if _, err := gateway.QueueSubscribe("dossier.intake.*", "gateway", func(m *nats.Msg) {
			if err := m.Respond(fmt.Appendf(nil, `{"stream":"EVENTS_00","seq":%d}`, len(m.Data)+len(m.Header.Get("Content-Type")))); err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		if err := gateway.Flush(); err != nil {
			t.Fatal(err)
		}
		message := nats.NewMsg("dossier.intake.shop")
		message.Data = []byte("event")
		message.Header.Set("Content-Type", "text/x")
		for range 3 {
			ack, err := l.client.PublishMsg(t.Context(), message)
			if err != nil || ack.Stream != "EVENTS_00" || ack.Sequence != 11 {
				t.Fatalf("publish: %+v, error %v; want the gateway's answer", ack, err)
			}
		}
	})
}

func TestClientConsumesFeed(t *testing.T) {
	eachClient(t, func(t *testing.T, l listener) {
		live, err := l.client.Conn().SubscribeSync("dossier.feed.>")
		if err != nil {
			t.Fatal(err)
		}
		if err := l.client.Conn().Flush(); err != nil {
			t.Fatal(err)
		}
		feed, err := l.client.Stream(t.Context(), "FEED")
		if err != nil {
			t.Fatal(err)
		}
		durable, err := feed.CreateOrUpdateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "crm", FilterSubject: "dossier.feed.lifecycle.lost"})
		if err != nil {
			t.Fatal(err)
		}
		ordered, err := feed.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
		if err != nil {
			t.Fatal(err)
		}
		inOrder, err := ordered.Messages(jetstream.PullMaxMessages(2)) // several pulls
		if err != nil {
			t.Fatal(err)
		}
		defer inOrder.Stop()
		// One more while they read.
		if _, err := l.log.Append(t.Context(), events.FeedStream, "dossier.feed.lifecycle.lost", fmt.Append(nil, feedMessages), events.Expect{}); err != nil {
			t.Fatal(err)
		}
		for i := range feedMessages + 1 {
			want := fmt.Sprint(i)
			m, err := durable.Next()
			if err != nil {
				t.Fatal(err)
			}
			if err := m.DoubleAck(t.Context()); err != nil || string(m.Data()) != want || m.Subject() != "dossier.feed.lifecycle.lost" {
				t.Errorf("durable: %q on %s, error %v; want %q", m.Data(), m.Subject(), err, want)
			}
			if m, err = inOrder.Next(jetstream.NextContext(t.Context())); err != nil || string(m.Data()) != want {
				t.Fatalf("ordered: error %v, or not %q", err, want)
			}
		}
		info, err := durable.Info(t.Context())
		if err != nil || info.AckFloor.Stream != feedMessages+1 {
			t.Errorf("durable: info %+v, error %v; want all acknowledged", info, err)
		}
		if m, err := feed.GetMsg(t.Context(), 2); err != nil || string(m.Data) != "1" {
			t.Errorf("message 2 of FEED: %+v, error %v", m, err)
		}
		if m, err := live.NextMsgWithContext(t.Context()); err != nil || string(m.Data) != fmt.Sprint(feedMessages) {
			t.Errorf("subscription: %+v, error %v; want the last change", m, err)
		}
		if err := feed.DeleteConsumer(t.Context(), "crm"); err != nil {
			t.Error(err)
		}
		if err := l.client.Conn().LastError(); err != nil {
			t.Errorf("refused meanwhile: %v", err)
		}
	})
}

func TestClientIsRefused(t *testing.T) {
	eachClient(t, func(t *testing.T, l listener) {
		conn := l.client.Conn()
		refused := func(what, subject string, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			if err := conn.Flush(); err != nil { // behind the refusal
				t.Fatal(err)
			}
			if err := conn.LastError(); !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), what+` "`+subject+`"`) {
				t.Errorf("%s %s: last error %v, want a violation of permissions", what, subject, err)
			}
		}
		for _, subject := range []string{
			">", "*.>", "dossier.>", "dossier.events.>", "dossier.events.00", "dossier.notices.00", "dossier.identity.bind",
			"dossier.rejected.*", "dossier.intake.*", "_DOSSIER.>", "_R_.>", "$JS.>", "$SYS.>", "dossier.guard.>",
		} {
			_, err := conn.SubscribeSync(subject)
			refused("Subscription to", subject, err)
		}
		subjects := []string{
			"dossier.events.00", "dossier.notices.00", "dossier.moves.00", "dossier.identity.bind", "dossier.rejected.shop",
			"dossier.feed.lifecycle.lost", "dossier.feedmark.00", "dossier.intake.shop.more", "_INBOX.x", "_DOSSIER.x", "_R_.x",
			"$JS.API.STREAM.LIST", "$JS.API.STREAM.CREATE.OTHER", "$JS.API.STREAM.DELETE.FEED", "$JS.API.STREAM.PURGE.FEED",
			"$JS.API.STREAM.UPDATE.FEED", "$JS.API.STREAM.MSG.DELETE.FEED", "$JS.API.STREAM.SNAPSHOT.FEED", "$SYS.REQ.SERVER.PING",
			"dossier.guard.$JS.API.CONSUMER.CREATE.FEED.x",
		}
		for _, s := range []string{"EVENTS_00", "IDENTITY", "REJECTED"} {
			subjects = append(subjects, "$JS.API.STREAM.INFO."+s, "$JS.API.STREAM.MSG.GET."+s, "$JS.API.DIRECT.GET."+s,
				"$JS.API.DIRECT.GET."+s+".dossier.events.00", "$JS.API.CONSUMER.CREATE."+s, "$JS.API.CONSUMER.CREATE."+s+".x",
				"$JS.API.CONSUMER.DURABLE.CREATE."+s+".x", "$JS.API.CONSUMER.MSG.NEXT."+s+".x", "$JS.API.STREAM.DELETE."+s,
				"$JS.API.STREAM.PURGE."+s, "$JS.API.STREAM.SNAPSHOT."+s)
		}
		for _, subject := range subjects {
			refused("Publish to", subject, conn.PublishRequest(subject, "_INBOX.x", []byte("{}")))
		}
	})
}

// A request may name any subject for its answer. None leads to the log.
func TestClientCannotHaveTheLogAnswered(t *testing.T) {
	eachClient(t, func(t *testing.T, l listener) {
		gateway := connect(t, innerURL(l.server.URL())).Conn()
		if _, err := gateway.Subscribe("dossier.intake.*", func(m *nats.Msg) {
			if err := m.Respond([]byte("answer")); err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		if err := gateway.Flush(); err != nil {
			t.Fatal(err)
		}
		if _, err := l.client.CreateConsumer(t.Context(), "FEED", jetstream.ConsumerConfig{Name: "victim", AckPolicy: jetstream.AckNonePolicy}); err != nil {
			t.Fatal(err)
		}
		conn := l.client.Conn()
		request := func(subject, body string) string {
			t.Helper()
			m, err := conn.RequestWithContext(t.Context(), subject, []byte(body))
			if err != nil {
				t.Fatalf("%s: %v", subject, err)
			}
			return string(m.Data)
		}
		before := map[events.Stream]uint64{}
		for _, s := range []events.Stream{"EVENTS_00", "IDENTITY", "FEED", "REJECTED"} {
			before[s] = l.last(t, s)
		}
		for _, target := range []string{"dossier.events.00", "dossier.identity.bind", "dossier.rejected.shop", "dossier.feed.lifecycle.lost"} {
			for subject, body := range map[string]string{
				"dossier.intake.shop": "event", "$JS.API.INFO": "", "$JS.API.STREAM.INFO.FEED": "", "$JS.API.STREAM.MSG.GET.FEED": `{"seq":1}`,
				"$JS.API.CONSUMER.MSG.NEXT.FEED.victim": `{"batch":1,"no_wait":true}`, "$JS.API.CONSUMER.CREATE.FEED": "no JSON",
			} {
				if err := conn.PublishRequest(subject, target, []byte(body)); err != nil {
					t.Fatal(err)
				}
				// Answered in order: what stands before this was answered too.
				request(subject, body)
			}
			push := `{"stream_name":"FEED","config":{"name":"p","Deliver_Subject":"` + target + `","ack_policy":"none"}}`
			for _, subject := range []string{"$JS.API.CONSUMER.CREATE.FEED", "$JS.API.CONSUMER.CREATE.FEED.p", "$JS.API.CONSUMER.DURABLE.CREATE.FEED.p"} {
				var answer jetstream.APIError
				if err := json.Unmarshal([]byte(request(subject, push)), &struct{ Error *jetstream.APIError }{&answer}); err != nil ||
					answer.Code != 400 || !strings.Contains(answer.Description, "pull consumers only") {
					t.Errorf("%s with %s: %+v, error %v; want a refusal", subject, push, answer, err)
				}
			}
		}
		after := map[events.Stream]uint64{}
		for s := range before {
			after[s] = l.last(t, s)
			if after[s] != before[s] {
				t.Errorf("%s ends at %d, at %d before", s, after[s], before[s])
			}
		}
	})
}

// A client that saw where an append wants its answer could give one itself.
func TestClientCannotForgeAcks(t *testing.T) {
	eachClient(t, func(t *testing.T, l listener) {
		conn := l.client.Conn()
		var seen atomic.Int64
		for _, subject := range []string{"dossier.events.>", "_INBOX.>", "_DOSSIER.>", "dossier.feed.>"} {
			if _, err := conn.Subscribe(subject, func(m *nats.Msg) {
				seen.Add(1)
				_ = conn.Publish(m.Reply, []byte(`{"stream":"EVENTS_00","seq":999999}`)) // refused, or too late
			}); err != nil {
				t.Fatal(err)
			}
		}
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
		last := l.last(t, "EVENTS_00")
		for i := range uint64(5) {
			if seq := appendTo(t, l.log, "x"); seq != last+1+i {
				t.Errorf("append %d answered sequence %d, want %d", i, seq, last+1+i)
			}
		}
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
		if n := seen.Load(); n > 0 {
			t.Errorf("the client saw %d messages", n)
		}
	})
}

// An answer that cannot be right is none.
func TestAppendChecksItsAck(t *testing.T) {
	t.Parallel()
	server := serve(t, natslog.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	l := open(t, natslog.Dial{Server: server})
	conn := connect(t, innerURL(server.URL())).Conn()
	for _, test := range []struct {
		ack    string
		expect events.Expect
		err    error
	}{
		{`{"stream":"EVENTS_00","seq":8}`, events.Expect{}, nil},
		{`{"stream":"EVENTS_00","seq":8}`, events.ExpectLast(7), nil},
		{`{"stream":"EVENTS_00","seq":9}`, events.ExpectLast(7), events.ErrUnknown},
		{`{"stream":"EVENTS_00","seq":7}`, events.ExpectLast(7), events.ErrUnknown},
		{`{"stream":"EVENTS_00"}`, events.Expect{}, events.ErrUnknown},
		{`{"stream":"EVENTS_01","seq":8}`, events.Expect{}, events.ErrUnknown},
		{`{"seq":8}`, events.Expect{}, events.ErrUnknown},
		{`seq 8`, events.Expect{}, events.ErrUnknown},
	} {
		// There is no such stream; this answers in its stead.
		sub, err := conn.Subscribe(events.SubjectEvents(0), func(m *nats.Msg) {
			if strings.HasPrefix(m.Reply, "_INBOX") {
				t.Errorf("answer wanted on %s, where clients may listen", m.Reply)
			}
			if err := m.Respond([]byte(test.ack)); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
		seq, err := l.Append(t.Context(), "EVENTS_00", events.SubjectEvents(0), []byte("x"), test.expect)
		if !errors.Is(err, test.err) || (err == nil) != (seq == 8) {
			t.Errorf("acknowledged by %s: sequence %d, error %v; want %v", test.ack, seq, err, test.err)
		}
		if err := sub.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
	}
}

// A stream that somebody else made may lose what is appended.
func TestCreateStreamFindsAnotherOne(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*jetstream.StreamConfig)
		want   string // "" is no error
	}{
		{"the same", func(*jetstream.StreamConfig) {}, ""},
		{"other duplicate window", func(c *jetstream.StreamConfig) { c.Duplicates = time.Minute }, ""},
		{"deletes", func(c *jetstream.StreamConfig) { c.DenyDelete = false }, "deny delete is false, true wanted"},
		{"purges", func(c *jetstream.StreamConfig) { c.DenyPurge = false }, "deny purge is false, true wanted"},
		{"age", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, "max age is 1h0m0s, 0s wanted"},
		{"count", func(c *jetstream.StreamConfig) { c.MaxMsgs = 7 }, "max messages is 7, 0 wanted"},
		{"bytes", func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 20 }, "max bytes is 1048576, 0 wanted"},
		{"count per subject", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 }, "max messages per subject is 1, 0 wanted"},
		{"memory", func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, "storage is Memory, File wanted"},
		{"interest", func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }, "retention is Interest, Limits wanted"},
		{"subjects", func(c *jetstream.StreamConfig) { c.Subjects = []string{"elsewhere"} }, "subjects is [elsewhere], [dossier.events.00] wanted"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, natslog.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
			config := jetstream.StreamConfig{Name: "EVENTS_00", Subjects: stream.Subjects, DenyDelete: true, DenyPurge: true}
			test.change(&config)
			if _, err := connect(t, innerURL(server.URL())).CreateStream(t.Context(), config); err != nil {
				t.Fatal(err)
			}
			err := open(t, natslog.Dial{Server: server}).CreateStream(t.Context(), stream)
			if test.want == "" && err != nil {
				t.Errorf("create: %v", err)
			}
			if test.want != "" && (!errors.Is(err, events.ErrCorrupt) || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "EVENTS_00")) {
				t.Errorf("create: %v, want ErrCorrupt and %q", err, test.want)
			}
		})
	}
}
