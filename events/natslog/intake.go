package natslog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	intakeSubject = "dossier.intake.*"
	// intakeQueue is the group in which gateways share the messages.
	intakeQueue = "dossier-intake"
	intakeName  = "dossier-intake"

	// What an intake takes at once by default. One publisher has up to 4,000
	// messages under way.
	defaultIntakeMessages = 8_192
	defaultIntakeBytes    = 64 << 20

	// What the client library may hold before it drops messages unanswered.
	// They are handed on or answered at once, so it hardly holds any.
	libraryMessages = 1 << 18
	libraryBytes    = 64 << 20
)

// Request is a message that was published to the intake.
type Request struct {
	Subject string
	Header  map[string][]string // as sent
	Data    []byte              // the handler's
	// Received is when it came off the connection.
	Received time.Time
}

// Response is what its publisher is answered.
type Response struct {
	Header map[string][]string
	Data   []byte
}

// IntakeOptions of [OpenIntake].
type IntakeOptions struct {
	// Handle answers a request. It is called from many goroutines, and ends
	// soon after its context does. Required.
	Handle func(context.Context, Request) Response
	// Busy answers a request beyond the bounds, at once: the reading of all
	// others waits for it. Required.
	Busy func() Response
	// MaxMessages and MaxBytes bound what is with Handle; one message is always
	// let in. 0: 8,192 and 64 MiB.
	MaxMessages int
	MaxBytes    int64
	// Logger takes what is lost. Nil: nobody.
	Logger *slog.Logger
}

// Intake answers what clients publish to dossier.intake.*, one of several
// gateways each message. Make it with [OpenIntake].
//
// Its reader never waits for a handler, so that the client library, which drops
// what it cannot hand on, has no reason to: a publisher hears of too much load
// rather than nothing.
type Intake struct {
	o     IntakeOptions
	inner bool // the server is embedded
	conn  *nats.Conn
	sub   *nats.Subscription
	ended chan struct{} // closed when the reader has ended

	// ctx is that of the handlers; it ends when a stop does not wait any more.
	ctx    context.Context
	cancel context.CancelFunc

	unanswered atomic.Uint64

	mu       sync.Mutex
	stopped  bool           // guarded by mu, like the rest
	messages int            // with Handle
	bytes    int64          // of them
	handlers sync.WaitGroup // grows under mu, until stopped
}

// IntakeStatus is how busy an intake is.
type IntakeStatus struct {
	Messages int   // with Handle
	Bytes    int64 // of them
	// Unanswered counts messages that were dropped unread, and answers that
	// could not be sent. Their publishers hear nothing, and send again.
	Unanswered uint64
}

// OpenIntake begins to answer. ctx bounds connecting only; to a server of
// another process the connection comes back by itself.
func OpenIntake(ctx context.Context, d Dial, o IntakeOptions) (*Intake, error) {
	if o.Handle == nil || o.Busy == nil {
		panic("natslog.OpenIntake: Handle and Busy are required")
	}
	if o.MaxMessages == 0 {
		o.MaxMessages = defaultIntakeMessages
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultIntakeBytes
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	i := &Intake{o: o, inner: d.Server != nil, ended: make(chan struct{})}
	i.ctx, i.cancel = context.WithCancel(context.Background())
	if err := i.connect(ctx, d); err != nil {
		i.cancel()
		if i.conn != nil {
			i.conn.Close()
		}
		return nil, fmt.Errorf("open intake: %w", err)
	}
	return i, nil
}

func (i *Intake) connect(ctx context.Context, d Dial) (err error) {
	options := []nats.Option{
		nats.Name(intakeName),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectBufSize(-1), // an answer goes out now or never
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrSlowConsumer) {
				i.o.Logger.Warn("messages to the intake were dropped unanswered; their publishers have to send them again")
				return
			}
			i.o.Logger.Warn("error on the intake's connection", "error", err)
		}),
	}
	if d.Server != nil {
		options = append(options, d.Server.connectOptions()...)
	} else {
		options = append(options, d.remoteOptions()...)
	}
	if deadline, ok := ctx.Deadline(); ok {
		options = append(options, nats.Timeout(time.Until(deadline)))
	}
	if i.conn, err = nats.Connect(d.URL, options...); err != nil {
		return err
	}
	if i.sub, err = i.conn.QueueSubscribe(intakeSubject, intakeQueue, i.receive); err != nil {
		return err
	}
	i.sub.SetClosedHandler(func(string) { close(i.ended) })
	if err := i.sub.SetPendingLimits(libraryMessages, libraryBytes); err != nil {
		return err
	}
	return i.conn.Flush()
}

// receive is the reader: it hands one message on, or answers it at once.
func (i *Intake) receive(m *nats.Msg) {
	r := Request{Subject: m.Subject, Header: m.Header, Data: m.Data, Received: time.Now()}
	size := int64(len(m.Data))
	if !i.admit(size) {
		i.answer(m, i.o.Busy())
		return
	}
	go func() {
		defer i.leave(size)
		i.answer(m, i.o.Handle(i.ctx, r))
	}()
}

// admit lets a message in to Handle, if there is room.
func (i *Intake) admit(size int64) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	full := i.messages >= i.o.MaxMessages || i.bytes+size > i.o.MaxBytes
	if i.stopped || full && i.messages > 0 {
		return false
	}
	i.messages++
	i.bytes += size
	i.handlers.Add(1)
	return true
}

func (i *Intake) leave(size int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.messages--
	i.bytes -= size
	i.handlers.Done()
}

// answer sends a response, if anybody waits for one.
func (i *Intake) answer(m *nats.Msg, r Response) {
	if m.Reply == "" {
		return
	}
	if !answerable(m.Reply, i.inner) {
		i.o.Logger.Warn("a message to the intake wants its answer where none may go", "reply", m.Reply)
		i.unanswered.Add(1)
		return
	}
	if err := m.RespondMsg(&nats.Msg{Header: r.Header, Data: r.Data}); err != nil {
		i.unanswered.Add(1)
	}
}

// answerable reports whether an answer may go to a subject. The answers of this
// program are sent as its own user, who may publish anywhere: a publisher must
// not have them stored as events, or read as requests. To the embedded server
// messages come from another account, and then the server makes the subject.
func answerable(reply string, inner bool) bool {
	if inner {
		return strings.HasPrefix(reply, "_R_.")
	}
	return !strings.HasPrefix(reply, "dossier.") && !strings.HasPrefix(reply, "$")
}

// Status tells how busy the intake is.
func (i *Intake) Status() IntakeStatus {
	i.mu.Lock()
	s := IntakeStatus{Messages: i.messages, Bytes: i.bytes, Unanswered: i.unanswered.Load()}
	i.mu.Unlock()
	if dropped, err := i.sub.Dropped(); err == nil {
		s.Unanswered += uint64(dropped)
	}
	return s
}

// Stop takes no more messages, waits until all that were taken are answered,
// and closes the connection. When ctx ends first, the contexts of the handlers
// do too.
func (i *Intake) Stop(ctx context.Context) {
	if err := i.sub.Drain(); err == nil {
		select {
		case <-i.ended:
		case <-ctx.Done():
		}
	}
	i.mu.Lock()
	i.stopped = true
	i.mu.Unlock()
	stop := context.AfterFunc(ctx, i.cancel)
	i.handlers.Wait()
	stop()
	i.cancel()
	// The answers are sent when the connection is flushed, or never.
	if err := i.conn.FlushTimeout(callTimeout); err != nil {
		i.o.Logger.Debug("answers of the intake may be lost", "error", err)
	}
	i.conn.Close()
}
