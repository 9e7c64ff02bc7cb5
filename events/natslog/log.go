package natslog

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dossier360/dossier/events"
)

const (
	// callTimeout bounds a call whose context has no deadline.
	callTimeout = 10 * time.Second
	// duplicateWindow is the least that a stream can have. No message carries
	// an id, and at its start a server reads the whole window of each stream.
	duplicateWindow = 100 * time.Millisecond
	reconnectWait   = 500 * time.Millisecond
	// writeName is what the server knows the connection for writing by.
	writeName = "dossier-write"
)

// Dial says which server a log is on: one of Server and URL.
type Dial struct {
	Server *Server
	URL    string // of a cluster, several with commas; may hold user and password
	// Credentials is a file with the JWT and seed of a user; with a URL only.
	Credentials string
	// Replicas of the streams created; 0 is 1.
	Replicas int
	// Logger hears of lost connections; nil discards it.
	Logger *slog.Logger
}

// Log is an [events.Log] over JetStream. Make it with [Open].
type Log struct {
	server   *Server // nil on a cluster
	replicas int
	logger   *slog.Logger
	// Apart, so that a flood of deliveries never stands before an answer.
	write, read     *nats.Conn
	writeJS, readJS jetstream.JetStream

	mu         sync.Mutex
	handles    map[events.Stream]jetstream.Stream // guarded by mu
	readers    map[*reader]struct{}               // guarded by mu
	closed     bool                               // guarded by mu
	connection Connection                         // guarded by mu
	link       context.Context                    // ends when the connection for writing is lost; guarded by mu
	unlink     context.CancelFunc                 // guarded by mu
}

// Open opens the log on a server. ctx bounds connecting only.
func Open(ctx context.Context, d Dial) (*Log, error) {
	if (d.Server == nil) == (d.URL == "") {
		return nil, errors.New("open log: one of server and URL wanted")
	}
	if d.Replicas < 0 || d.Replicas > MaxReplicas {
		return nil, fmt.Errorf("open log: %d replicas, 1 to %d allowed", d.Replicas, MaxReplicas)
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	l := &Log{
		server:   d.Server,
		replicas: max(d.Replicas, 1),
		logger:   d.Logger,
		handles:  map[events.Stream]jetstream.Stream{},
		readers:  map[*reader]struct{}{},
	}
	if err := l.connect(ctx, d); err != nil {
		l.Close()
		return nil, fmt.Errorf("open log: %w", err)
	}
	if l.server != nil {
		l.server.add(l)
	}
	return l, nil
}

// connect makes both connections.
func (l *Log) connect(ctx context.Context, d Dial) (err error) {
	options := []nats.Option{
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		// Without a buffer nothing is sent later than its caller believes.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(conn *nats.Conn, err error) {
			if err != nil && conn.Opts.Name == writeName {
				l.lost(err)
			}
		}),
		// After a gap in the connection, or when deliveries were dropped, a
		// reader starts again behind the last message it gave out.
		nats.ReconnectHandler(func(conn *nats.Conn) {
			if conn.Opts.Name == writeName {
				l.found(conn)
			}
			l.restartReaders()
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			l.logger.Warn("error on a connection to the log", "error", err)
			l.stillAway(err)
			if errors.Is(err, nats.ErrSlowConsumer) {
				l.restartReaders()
			}
		}),
	}
	if l.server != nil {
		options = append(options, l.server.connectOptions()...)
	} else {
		options = append(options, d.remoteOptions()...)
	}
	if deadline, ok := ctx.Deadline(); ok {
		options = append(options, nats.Timeout(time.Until(deadline)))
	}
	if l.write, err = nats.Connect(d.URL, append(options, nats.Name(writeName))...); err != nil {
		return err
	}
	if l.read, err = nats.Connect(d.URL, append(options, nats.Name("dossier-read"))...); err != nil {
		return err
	}
	if l.writeJS, err = jetstream.New(l.write); err != nil {
		return err
	}
	if l.readJS, err = jetstream.New(l.read); err != nil {
		return err
	}
	l.mu.Lock()
	l.connection = Connection{Connected: true, Since: time.Now()}
	l.link, l.unlink = context.WithCancel(context.Background())
	if l.server == nil {
		l.connection.Server = Redact(l.write.ConnectedUrl())
	}
	l.mu.Unlock()
	if l.server != nil {
		return nil
	}
	return l.probe(ctx)
}

// secretInbox is a prefix for the answers to one connection, which nobody can
// guess and which does not lie where every client may listen (_INBOX). On a
// cluster the user needs leave to subscribe to _DOSSIER.>.
func secretInbox() string { return "_DOSSIER." + rand.Text() }

// Close closes the log and its readers. Appends under way should have been
// awaited; else they are ErrUnknown.
func (l *Log) Close() {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	l.closed = true
	readers, unlink := l.readers, l.unlink
	l.readers = nil
	l.mu.Unlock()
	for r := range readers {
		r.stop()
	}
	for _, conn := range []*nats.Conn{l.write, l.read} {
		if conn != nil {
			conn.Close()
		}
	}
	if unlink != nil {
		unlink()
	}
	if l.server != nil {
		l.server.remove(l)
	}
}

// CreateStream makes a stream, or leaves the one of that name as it is; a
// permanent one must be what was asked for.
func (l *Log) CreateStream(ctx context.Context, c events.StreamConfig) error {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	config := streamConfig(c)
	config.Replicas = l.replicas
	stream, err := l.writeJS.CreateStream(ctx, config)
	if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return fmt.Errorf("create stream %s: %w", c.Name, translate(err))
	}
	if err == nil {
		l.mu.Lock()
		l.handles[c.Name] = stream
		l.mu.Unlock()
	} else if c.Permanent {
		if err := l.verifyPermanent(ctx, config); err != nil {
			return fmt.Errorf("create stream %s: %w", c.Name, err)
		}
	}
	if l.server != nil {
		if err := l.server.syncDirs(); err != nil {
			return fmt.Errorf("create stream %s: %w", c.Name, err)
		}
	}
	return nil
}

// streamConfig translates a configuration, but for the replicas.
func streamConfig(c events.StreamConfig) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:       string(c.Name),
		Subjects:   c.Subjects,
		Retention:  jetstream.LimitsPolicy,
		Storage:    jetstream.FileStorage,
		DenyDelete: c.Permanent,
		DenyPurge:  c.Permanent,
		MaxAge:     c.Retention,
		Duplicates: duplicateWindow,
		// A stream that expires is written by announcers, a batch at a time.
		AllowAtomicPublish: !c.Permanent,
	}
}

// verifyPermanent checks that a stream which exists keeps what it takes, on
// the subjects wanted.
func (l *Log) verifyPermanent(ctx context.Context, want jetstream.StreamConfig) error {
	stream, err := l.writeJS.Stream(ctx, want.Name)
	if err != nil {
		return translate(err)
	}
	return checkDifferences(want, stream.CachedInfo().Config)
}

// checkDifferences refuses a stream that is not as a permanent one must be.
func checkDifferences(want, got jetstream.StreamConfig) error {
	if difference := differences(want, got); len(difference) > 0 {
		return fmt.Errorf("it exists, but %s: %w", strings.Join(difference, ", "), events.ErrCorrupt)
	}
	return nil
}

// differences names what of a stream is not as a permanent one must be. How
// often it is replicated is the operator's choice.
func differences(want, got jetstream.StreamConfig) []string {
	var list []string
	check := func(name string, got, want any) {
		if !reflect.DeepEqual(got, want) {
			list = append(list, fmt.Sprintf("%s is %v, %v wanted", name, got, want))
		}
	}
	check("subjects", slices.Sorted(slices.Values(got.Subjects)), slices.Sorted(slices.Values(want.Subjects)))
	check("deny delete", got.DenyDelete, want.DenyDelete)
	check("deny purge", got.DenyPurge, want.DenyPurge)
	check("storage", got.Storage, want.Storage)
	check("retention", got.Retention, want.Retention)
	check("max age", got.MaxAge, want.MaxAge)
	check("max messages", max(got.MaxMsgs, 0), int64(0)) // the server says -1 for none
	check("max messages per subject", max(got.MaxMsgsPerSubject, 0), int64(0))
	check("max bytes", max(got.MaxBytes, 0), int64(0))
	check("max message size", max(got.MaxMsgSize, 0), int32(0))
	check("message TTLs", got.AllowMsgTTL, false)
	check("rollup", got.AllowRollup, false)
	check("sealed", got.Sealed, false)
	check("no acknowledgements", got.NoAck, false)
	check("mirror", got.Mirror != nil, false)
	check("sources", len(got.Sources), 0)
	check("subject transform", got.SubjectTransform != nil, false)
	check("republish", got.RePublish != nil, false)
	return list
}

// Append stores one message and returns when it is durable.
func (l *Log) Append(ctx context.Context, s events.Stream, subject string, data []byte, e events.Expect) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("append to %s: %w", s, err) // nothing was sent
	}
	if l.isClosed() {
		return 0, fmt.Errorf("append to %s: %w", s, events.ErrClosed)
	}
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	options := []jetstream.PublishOpt{
		jetstream.WithExpectStream(string(s)),
		jetstream.WithRetryAttempts(0),
	}
	if last, ok := e.Last(); ok {
		options = append(options, jetstream.WithExpectLastSequence(last))
	}
	ack, err := l.publish(ctx, &nats.Msg{Subject: subject, Data: data}, options...)
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		return 0, fmt.Errorf("append to %s: %w", s, l.noResponders(ctx, s, subject))
	}
	if err != nil {
		return 0, fmt.Errorf("append to %s: %w", s, translate(err))
	}
	if err := checkAck(ack, s, e); err != nil {
		return 0, fmt.Errorf("append to %s: %w", s, err)
	}
	return ack.Sequence, nil
}

// errLinkLost: the answer to what was sent will not come.
var errLinkLost = fmt.Errorf("connection lost before the answer: %w", events.ErrUnknown)

// publish publishes and waits for the answer, no longer than the connection
// lasts: the answer would come to an inbox of that one.
func (l *Log) publish(ctx context.Context, m *nats.Msg, options ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	l.mu.Lock()
	link := l.link
	l.mu.Unlock()
	if link.Err() != nil {
		return l.writeJS.PublishMsg(ctx, m, options...) // says at once that there is none
	}
	linked, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(link, cancel)()
	ack, err := l.writeJS.PublishMsg(linked, m, options...)
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		return nil, errLinkLost
	}
	return ack, err
}

// checkAck refuses an answer that cannot be the server's. What became of the
// message it does not tell.
func checkAck(ack *jetstream.PubAck, s events.Stream, e events.Expect) error {
	last, expected := e.Last()
	switch {
	case ack.Stream != string(s):
		return fmt.Errorf("acknowledged by stream %q: %w", ack.Stream, events.ErrUnknown)
	case ack.Sequence == 0:
		return fmt.Errorf("acknowledged without a sequence: %w", events.ErrUnknown)
	case expected && ack.Sequence != last+1:
		return fmt.Errorf("acknowledged at sequence %d behind %d: %w", ack.Sequence, last, events.ErrUnknown)
	}
	return nil
}

// noResponders tells why nobody took a message: no stream has the subject, or
// none answers at the moment. Nothing was stored.
func (l *Log) noResponders(ctx context.Context, s events.Stream, subject string) error {
	stream, err := l.handle(ctx, s)
	if err != nil {
		return translate(err)
	}
	for _, pattern := range stream.CachedInfo().Config.Subjects {
		if server.SubjectsCollide(pattern, subject) {
			return fmt.Errorf("no server has the stream at the moment: %w", events.ErrUnknown)
		}
	}
	return fmt.Errorf("subject %q is not of this stream", subject)
}

// awayError says that the server of the log is not there. It is an
// [events.ErrOverload] without that one's words: nothing was stored or read,
// and later it may be.
type awayError struct {
	text  string
	cause error // may be nil
}

func (e *awayError) Error() string { return e.text }

func (e *awayError) Unwrap() []error {
	if e.cause == nil {
		return []error{events.ErrOverload}
	}
	return []error{events.ErrOverload, e.cause}
}

var (
	errAway     = &awayError{"the NATS server of the log is away", nats.ErrReconnectBufExceeded}
	errCutOff   = &awayError{"the connection to the NATS server of the log was lost before it answered", nil}
	errNoAnswer = &awayError{fmt.Sprintf("the NATS server of the log has not answered within %v", callTimeout), nil}
)

// ask makes a call that reads. It lasts no longer than the connection, to an
// inbox of which the answer would come, nor than callTimeout, however long its
// caller has.
func (l *Log) ask(ctx context.Context, call func(context.Context) error) error {
	l.mu.Lock()
	link := l.link
	l.mu.Unlock()
	asking, stop := context.WithTimeoutCause(ctx, callTimeout, errNoAnswer)
	defer stop()
	if link.Err() == nil { // else the call says at once that there is none
		linked, cut := context.WithCancelCause(asking)
		defer cut(nil)
		defer context.AfterFunc(link, func() { cut(errCutOff) })()
		asking = linked
	}
	err := call(asking)
	if cause := context.Cause(asking); ctx.Err() == nil && cause != nil &&
		(errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return cause
	}
	return err
}

// Get returns the message at seq.
func (l *Log) Get(ctx context.Context, s events.Stream, seq uint64) (events.Message, error) {
	var m events.Message
	err := l.ask(ctx, func(ctx context.Context) (err error) {
		m, err = l.get(ctx, s, seq)
		return err
	})
	if err != nil {
		return events.Message{}, fmt.Errorf("get %s/%d: %w", s, seq, translateRead(err))
	}
	return m, nil
}

func (l *Log) get(ctx context.Context, s events.Stream, seq uint64) (events.Message, error) {
	if seq == 0 {
		return events.Message{}, events.ErrNotFound
	}
	stream, err := l.handle(ctx, s)
	if err != nil {
		return events.Message{}, err
	}
	m, err := stream.GetMsg(ctx, seq)
	if err != nil {
		return events.Message{}, err
	}
	return events.Message{Subject: m.Subject, Data: m.Data, Seq: m.Sequence, Time: m.Time.UTC()}, nil
}

// Info describes a stream.
func (l *Log) Info(ctx context.Context, s events.Stream) (events.StreamInfo, error) {
	var info *jetstream.StreamInfo
	err := l.ask(ctx, func(ctx context.Context) (err error) {
		info, err = l.info(ctx, s)
		return err
	})
	if err != nil {
		return events.StreamInfo{}, fmt.Errorf("info of %s: %w", s, translateRead(err))
	}
	return streamInfo(info), nil
}

func (l *Log) info(ctx context.Context, s events.Stream) (*jetstream.StreamInfo, error) {
	stream, err := l.handle(ctx, s)
	if err != nil {
		return nil, err
	}
	return stream.Info(ctx)
}

func streamInfo(info *jetstream.StreamInfo) events.StreamInfo {
	i := events.StreamInfo{
		Created:  info.Created.UTC(),
		First:    info.State.FirstSeq,
		Last:     info.State.LastSeq,
		LastTime: info.State.LastTime.UTC(),
	}
	if info.State.Msgs == 0 {
		i.First = i.Last + 1
	}
	if i.Last == 0 {
		i.LastTime = time.Time{}
	}
	return i
}

// handle finds a stream, once: the handle holds its name and configuration,
// which do not change.
func (l *Log) handle(ctx context.Context, s events.Stream) (jetstream.Stream, error) {
	l.mu.Lock()
	stream, ok := l.handles[s]
	closed := l.closed
	l.mu.Unlock()
	if closed {
		return nil, events.ErrClosed
	}
	if ok {
		return stream, nil
	}
	stream, err := l.writeJS.Stream(ctx, string(s))
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.handles[s] = stream
	return stream, nil
}

// withTimeout gives a call a deadline if it has none.
func withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, callTimeout)
}

// Error codes of the server that nats.go does not name.
const (
	codeInsufficientResources jetstream.ErrorCode = 10023
	codeStorageExceeded       jetstream.ErrorCode = 10047
	codeInvalidJSON           jetstream.ErrorCode = 10025
	codePushRefused           jetstream.ErrorCode = 10081 // "deliver subject forms a cycle"
	codeNoReplicas            jetstream.ErrorCode = 10074 // more than one, and the server is in no cluster

	codeTooMany = 429 // of the class, not of one error
)

// translate turns an error of a write into one of the log. Whatever leaves it
// open if something was stored becomes ErrUnknown.
func translate(err error) error { return translateOr(err, events.ErrUnknown) }

// translateRead turns an error of a read into one of the log; what is not of
// the log's making (a timeout, a lost connection) stays as it is.
func translateRead(err error) error { return translateOr(err, nil) }

func translateOr(err, otherwise error) error {
	var meaning error
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api):
		meaning = meaningOf(api, otherwise)
	case errors.Is(err, events.ErrClosed), errors.Is(err, events.ErrNotFound):
	case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrMsgNotFound):
		meaning = events.ErrNotFound
	case errors.Is(err, nats.ErrReconnectBufExceeded):
		return errAway // nothing was sent
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrBadSubject),
		errors.Is(err, jetstream.ErrInvalidStreamName), errors.Is(err, jetstream.ErrInvalidSubject):
		// Refused before it was sent.
	default:
		meaning = otherwise
	}
	if meaning == nil {
		return err
	}
	return fmt.Errorf("%w: %w", meaning, err)
}

// meaningOf is the log's word for an answer of the server; nil if it is a
// plain refusal, and otherwise if it went wrong in the middle.
func meaningOf(e *jetstream.APIError, otherwise error) error {
	switch e.ErrorCode {
	case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
		return events.ErrConflict
	case jetstream.JSErrCodeStreamNotFound, jetstream.JSErrCodeMessageNotFound:
		return events.ErrNotFound
	case codeInsufficientResources, codeStorageExceeded:
		return events.ErrFull
	case codeNoReplicas: // for good, though of class 500
		return nil
	}
	switch {
	case strings.Contains(e.Description, "no space left"):
		return events.ErrFull
	case e.Code == codeTooMany:
		return events.ErrOverload
	case e.Code >= 500:
		return otherwise
	}
	return nil
}

func (l *Log) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}
