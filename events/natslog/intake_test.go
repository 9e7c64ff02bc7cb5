package natslog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dossier360/dossier/events/natslog"
)

const (
	ackText  = `{"stream":"EVENTS_02","seq":17,"receipt":"r","accepted":1}`
	busyText = `{"error":{"code":429,"err_code":10167,"description":"too much"},"retry_after":1}`
)

func busy() natslog.Response {
	return natslog.Response{Header: map[string][]string{"Retry-After": {"1"}}, Data: []byte(busyText)}
}

// acknowledge is a handler that takes everything.
func acknowledge(context.Context, natslog.Request) natslog.Response {
	return natslog.Response{Data: []byte(ackText)}
}

// openIntake answers on a server until the test ends.
func openIntake(t *testing.T, d natslog.Dial, o natslog.IntakeOptions) *natslog.Intake {
	t.Helper()
	if o.Busy == nil {
		o.Busy = busy
	}
	i, err := natslog.OpenIntake(t.Context(), d, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		if t.Failed() {
			cancel() // a handler may wait for what does not come any more
		}
		i.Stop(ctx)
	})
	return i
}

// All ways in which nats.go publishes to a stream understand the answers.
func TestIntakeAnswersPublishers(t *testing.T) {
	eachClient(t, func(t *testing.T, l listener) {
		openIntake(t, natslog.Dial{Server: l.server}, natslog.IntakeOptions{Handle: func(ctx context.Context, r natslog.Request) natslog.Response {
			switch {
			case r.Subject != "dossier.intake.shop" || r.Received.IsZero():
				return natslog.Response{Data: []byte(`{}`)}
			case string(r.Data) == "too much":
				return busy()
			}
			return acknowledge(ctx, r)
		}})
		legacy, err := l.client.Conn().JetStream()
		if err != nil {
			t.Fatal(err)
		}
		for name, publish := range map[string]func(data string) (stream string, seq uint64, err error){
			"jetstream.Publish": func(data string) (string, uint64, error) {
				ack, err := l.client.Publish(t.Context(), "dossier.intake.shop", []byte(data), jetstream.WithMsgID("m1"))
				if err != nil {
					return "", 0, err
				}
				return ack.Stream, ack.Sequence, nil
			},
			"jetstream.PublishAsync": func(data string) (string, uint64, error) {
				f, err := l.client.PublishAsync("dossier.intake.shop", []byte(data))
				if err != nil {
					return "", 0, err
				}
				select {
				case ack := <-f.Ok():
					return ack.Stream, ack.Sequence, nil
				case err := <-f.Err():
					return "", 0, err
				case <-t.Context().Done():
					return "", 0, t.Context().Err()
				}
			},
			"legacy js.Publish": func(data string) (string, uint64, error) {
				ack, err := legacy.Publish("dossier.intake.shop", []byte(data), nats.Context(t.Context()))
				if err != nil {
					return "", 0, err
				}
				return ack.Stream, ack.Sequence, nil
			},
		} {
			if stream, seq, err := publish("event"); err != nil || stream != "EVENTS_02" || seq != 17 {
				t.Errorf("%s: stream %q, sequence %d, error %v; want EVENTS_02, 17", name, stream, seq, err)
			}
			_, _, err := publish("too much")
			var now *jetstream.APIError
			var old *nats.APIError
			switch {
			case errors.As(err, &now) && now.Code == 429 && now.ErrorCode == 10167 && now.Description == "too much":
			case errors.As(err, &old) && old.Code == 429 && old.ErrorCode == 10167 && old.Description == "too much":
			default:
				t.Errorf("%s beyond the capacity: %v; want the error 429", name, err)
			}
		}
		reply, err := l.client.Conn().Request("dossier.intake.shop", []byte("too much"), time.Minute)
		if err != nil || reply.Header.Get("Retry-After") != "1" || string(reply.Data) != busyText {
			t.Errorf("request: %+v, error %v; want a Retry-After of 1", reply, err)
		}
	})
}

// flood is a burst of requests, each with an inbox that counts its answers.
type flood struct {
	conn    *nats.Conn
	answers sync.Map // text of an answer to *atomic.Int64
	all     chan struct{}
	want    int64
	got     atomic.Int64
}

func newFlood(t *testing.T, conn *nats.Conn, requests int) *flood {
	t.Helper()
	f := &flood{conn: conn, all: make(chan struct{}), want: int64(requests)}
	inbox := nats.NewInbox()
	if _, err := conn.Subscribe(inbox, func(m *nats.Msg) {
		n, _ := f.answers.LoadOrStore(string(m.Data), new(atomic.Int64))
		n.(*atomic.Int64).Add(1)
		if f.got.Add(1) == f.want {
			close(f.all)
		}
	}); err != nil {
		t.Fatal(err)
	}
	for i := range requests {
		if err := conn.PublishRequest("dossier.intake.shop", inbox, fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.FlushTimeout(time.Minute); err != nil {
		t.Fatal(err)
	}
	return f
}

// count is how many answers of a text came.
func (f *flood) count(text string) int64 {
	n, ok := f.answers.Load(text)
	if !ok {
		return 0
	}
	return n.(*atomic.Int64).Load()
}

// While handlers do not get on, no more than the bound are at work; every other
// message is answered at once. Afterwards the intake goes on.
func TestIntakeAnswersWhatIsTooMuch(t *testing.T) {
	t.Parallel()
	const bound, requests = 7, 20_000
	l := listen(t, nil)
	release := make(chan struct{})
	var atWork, most atomic.Int64
	intake := openIntake(t, natslog.Dial{Server: l.server}, natslog.IntakeOptions{
		MaxMessages: bound,
		Handle: func(ctx context.Context, r natslog.Request) natslog.Response {
			now := atWork.Add(1)
			defer atWork.Add(-1)
			for was := most.Load(); now > was && !most.CompareAndSwap(was, now); was = most.Load() {
			}
			select {
			case <-release:
			case <-ctx.Done(): // of a test that failed
			}
			return acknowledge(ctx, r)
		},
	})
	f := newFlood(t, l.client.Conn(), requests)
	await(t, func() bool { return f.got.Load() == requests-bound })
	if got := intake.Status(); got.Messages != bound || got.Unanswered != 0 {
		t.Errorf("status %+v; want %d messages at work, none unanswered", got, bound)
	}
	close(release)
	select {
	case <-f.all:
	case <-t.Context().Done():
		t.Fatalf("%d answers of %d", f.got.Load(), requests)
	}
	if acks, refusals := f.count(ackText), f.count(busyText); acks != bound || refusals != requests-bound || most.Load() != bound {
		t.Errorf("%d taken, %d told to come again, at most %d at once; want %d, %d, %d", acks, refusals, most.Load(), bound, requests-bound, bound)
	}
	await(t, func() bool { return intake.Status().Messages == 0 })
	if ack, err := l.client.Publish(t.Context(), "dossier.intake.shop", nil); err != nil || ack.Sequence != 17 {
		t.Errorf("afterwards: %+v, error %v; want it taken", ack, err)
	}
}

// The bytes at work are bounded too, but for one message, which always is let in.
func TestIntakeBoundsBytes(t *testing.T) {
	t.Parallel()
	l := listen(t, nil)
	entered, release := make(chan struct{}, 2), make(chan struct{})
	intake := openIntake(t, natslog.Dial{Server: l.server}, natslog.IntakeOptions{
		MaxBytes: 100,
		Handle: func(ctx context.Context, r natslog.Request) natslog.Response {
			entered <- struct{}{}
			select {
			case <-release:
			case <-ctx.Done(): // of a test that failed
			}
			return acknowledge(ctx, r)
		},
	})
	publish := func(bytes int) jetstream.PubAckFuture {
		t.Helper()
		f, err := l.client.PublishAsync("dossier.intake.shop", make([]byte, bytes))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	refused := func(f jetstream.PubAckFuture) error {
		select {
		case <-f.Ok():
			return nil
		case err := <-f.Err():
			return err
		}
	}
	first := publish(99)
	<-entered
	if err := refused(publish(2)); err == nil {
		t.Error("101 bytes are at work, limit 100")
	}
	second := publish(1)
	<-entered
	close(release)
	for _, f := range []jetstream.PubAckFuture{first, second} {
		if err := refused(f); err != nil {
			t.Errorf("%d bytes: %v; want them taken", len(f.Msg().Data), err)
		}
	}
	await(t, func() bool { return intake.Status().Messages == 0 })
	if err := refused(publish(101)); err != nil {
		t.Errorf("101 bytes alone: %v; want them taken", err)
	}
}

// What was taken is answered though the intake stops, and nobody answers what
// comes later.
func TestIntakeStops(t *testing.T) {
	t.Parallel()
	l := listen(t, nil)
	const requests, probe = 50, "probe"
	var entered sync.WaitGroup
	entered.Add(requests)
	release := make(chan struct{})
	intake := openIntake(t, natslog.Dial{Server: l.server}, natslog.IntakeOptions{Handle: func(ctx context.Context, r natslog.Request) natslog.Response {
		if string(r.Data) == probe {
			return acknowledge(ctx, r) // came before the stop
		}
		entered.Done()
		select {
		case <-release:
		case <-ctx.Done(): // of a test that failed
		}
		return acknowledge(ctx, r)
	}})
	f := newFlood(t, l.client.Conn(), requests)
	entered.Wait()
	stopped := make(chan struct{})
	go func() { defer close(stopped); intake.Stop(context.Background()) }()
	await(t, func() bool {
		_, err := l.client.Conn().Request("dossier.intake.shop", []byte(probe), time.Minute)
		return errors.Is(err, nats.ErrNoResponders)
	})
	select {
	case <-stopped:
		t.Error("stopped, though nothing was answered yet")
	default:
	}
	close(release)
	<-stopped
	<-f.all
	if n := f.count(ackText); n != requests {
		t.Errorf("%d of %d answered", n, requests)
	}
}

// A stop that does not wait any more says so to the handlers.
func TestIntakeStopsAtItsDeadline(t *testing.T) {
	t.Parallel()
	l := listen(t, nil)
	entered := make(chan struct{})
	intake := openIntake(t, natslog.Dial{Server: l.server}, natslog.IntakeOptions{Handle: func(ctx context.Context, r natslog.Request) natslog.Response {
		close(entered)
		<-ctx.Done()
		return busy()
	}})
	f := newFlood(t, l.client.Conn(), 1)
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	intake.Stop(ctx)
	<-f.all
	if n := f.count(busyText); n != 1 {
		t.Errorf("%d answers, want the handler's", n)
	}
}

// An answer never goes where it would be stored as an event or read as a
// request.
func TestIntakeAnswersOnlyPublishers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		reply        string
		inner, other bool // may an answer go there
	}{
		{"_R_.x.y", true, true},
		{"_INBOX.x", false, true},
		{"dossier.events.00", false, false},
		{"$JS.API.STREAM.DELETE.FEED", false, false},
	} {
		if got := natslog.Answerable(test.reply, true); got != test.inner {
			t.Errorf("embedded: an answer to %s is sent: %v, want %v", test.reply, got, test.inner)
		}
		if got := natslog.Answerable(test.reply, false); got != test.other {
			t.Errorf("on another's server: an answer to %s is sent: %v, want %v", test.reply, got, test.other)
		}
	}
	l := listen(t, nil)
	before := l.last(t, "EVENTS_00")
	taken := make(chan struct{}, 2)
	intake := openIntake(t, natslog.Dial{Server: l.server}, natslog.IntakeOptions{Handle: func(ctx context.Context, r natslog.Request) natslog.Response {
		taken <- struct{}{}
		return acknowledge(ctx, r)
	}})
	for _, conn := range []*nats.Conn{l.client.Conn(), connect(t, innerURL(l.server.URL())).Conn()} {
		if err := conn.PublishRequest("dossier.intake.shop", "dossier.events.00", []byte("event")); err != nil {
			t.Fatal(err)
		}
		<-taken
	}
	await(t, func() bool { return intake.Status().Unanswered > 0 })
	if got := l.last(t, "EVENTS_00"); got != before {
		t.Errorf("EVENTS_00 ends at %d, want %d: an answer was stored in it", got, before)
	}
}

// On a server of another process the intake comes back by itself.
func TestIntakeOnAnotherServer(t *testing.T) {
	t.Parallel()
	server := startProcess(t, "")
	openIntake(t, natslog.Dial{URL: server.url()}, natslog.IntakeOptions{Handle: acknowledge})
	client := connect(t, server.url(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	publish := func() bool {
		ack, err := client.Publish(t.Context(), "dossier.intake.shop", []byte("event"))
		return err == nil && ack.Stream == "EVENTS_02" && ack.Sequence == 17
	}
	if !publish() {
		t.Fatal("not answered")
	}
	server.kill()
	server.start()
	await(t, publish)
}

func TestOpenIntakeRefuses(t *testing.T) {
	t.Parallel()
	_, err := natslog.OpenIntake(t.Context(), natslog.Dial{URL: "nats://" + quietAddress(t)}, natslog.IntakeOptions{Handle: acknowledge, Busy: busy})
	if !natslog.Unavailable(err) || !strings.Contains(err.Error(), "open intake") {
		t.Errorf("error %v; want one that says the server is away", err)
	}
}
