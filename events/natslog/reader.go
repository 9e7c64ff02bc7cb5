package natslog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dossier360/dossier/events"
)

const (
	// A pull brings at most this many messages, and bytes unless one message
	// may be longer. About two pulls are buffered.
	pullMessages = 1024
	pullBytes    = 8 << 20
	pullExpiry   = 30 * time.Second
	// Without a heartbeat for twice this time the consumer is taken for lost.
	pullHeartbeat = 5 * time.Second
	// A consumer that nobody pulls from goes by itself after this time.
	consumerIdle = 5 * time.Minute
	// closeTimeout bounds the attempt to remove the consumer at once.
	closeTimeout = time.Second
	// Between attempts to replace a lost consumer.
	retryWait    = 100 * time.Millisecond
	maxRetryWait = 5 * time.Second
)

// reader delivers a stream in order, by an ephemeral consumer without
// acknowledgements, which it replaces behind the last message given out when
// the consumer is lost or skips something.
//
// This is what the ordered consumer of nats.go does; that one resets itself
// without regard to the caller's context, for ever, and does not look whether
// the stream is still the one it was.
type reader struct {
	log       *Log
	stream    events.Stream
	permanent bool
	created   time.Time // of the stream; another value is another stream

	// Owned by the goroutine that calls Next.
	next      uint64    // stream sequence to deliver next
	last      time.Time // time of the message before it; zero if not read here
	delivered uint64    // messages that the consumer delivered
	failed    error     // ErrCorrupt, once met

	mu       sync.Mutex
	iterator jetstream.MessagesContext // guarded by mu; nil when to be made
	consumer string                    // its name
	stopped  chan struct{}
	stopOnce sync.Once
	// again holds a token when there is a connection again: what waits to try
	// need not wait any longer.
	again chan struct{}
}

// Read opens a reader.
func (l *Log) Read(ctx context.Context, s events.Stream, from uint64) (events.Reader, error) {
	if from == 0 {
		return nil, fmt.Errorf("read %s: from sequence 0, at least 1 wanted", s)
	}
	r := &reader{
		log:     l,
		stream:  s,
		next:    from,
		stopped: make(chan struct{}),
		again:   make(chan struct{}, 1),
	}
	err := l.ask(ctx, func(ctx context.Context) error {
		info, err := l.info(ctx, s)
		if err != nil {
			return err
		}
		r.permanent = info.Config.DenyDelete && info.Config.DenyPurge && info.Config.MaxAge == 0
		r.created = info.Created
		return r.start(ctx)
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s, translateRead(err))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		r.stop()
		return nil, fmt.Errorf("read %s: %w", s, events.ErrClosed)
	}
	l.readers[r] = struct{}{}
	return r, nil
}

// start makes a consumer that delivers from r.next on.
func (r *reader) start(ctx context.Context) error {
	consumer, err := r.log.readJS.CreateConsumer(ctx, string(r.stream), jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       r.next,
		AckPolicy:         jetstream.AckNonePolicy,
		ReplayPolicy:      jetstream.ReplayInstantPolicy,
		InactiveThreshold: consumerIdle,
		Replicas:          1,
		MemoryStorage:     true,
	})
	if err != nil {
		return err
	}
	iterator, err := consumer.Messages(
		jetstream.PullMaxMessagesWithBytesLimit(pullMessages, max(pullBytes, int(r.log.read.MaxPayload())+64<<10)),
		jetstream.PullExpiry(pullExpiry),
		jetstream.PullHeartbeat(pullHeartbeat),
		jetstream.WithMessagesErrOnMissingHeartbeat(true),
	)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.isStopped() {
		iterator.Stop()
		return events.ErrClosed
	}
	r.iterator, r.consumer, r.delivered = iterator, consumer.CachedInfo().Name, 0
	return nil
}

// Next returns the next message, waiting for it.
func (r *reader) Next(ctx context.Context) (events.Message, error) {
	if r.failed != nil {
		return events.Message{}, r.failed
	}
	for wait := retryWait; ; {
		if err := r.ended(ctx); err != nil {
			return events.Message{}, fmt.Errorf("next of %s: %w", r.stream, err)
		}
		iterator := r.current()
		if iterator == nil {
			if err := r.restart(ctx); err != nil {
				if errors.Is(err, events.ErrCorrupt) {
					r.failed = fmt.Errorf("next of %s: %w", r.stream, err)
					return events.Message{}, r.failed
				}
				r.pause(ctx, wait)
				wait = min(2*wait, maxRetryWait)
			}
			continue
		}
		m, err := iterator.Next(jetstream.NextContext(ctx))
		if err != nil {
			if ctx.Err() == nil {
				r.drop() // lost, or stopped by restartReaders
			}
			continue
		}
		got, ok, err := r.take(m)
		if err != nil {
			r.failed = fmt.Errorf("next of %s: %w", r.stream, err)
			return events.Message{}, r.failed
		}
		if !ok {
			r.drop()
			continue
		}
		return got, nil
	}
}

// take checks a delivery. It is not ok where the consumer skipped something:
// then a new consumer delivers it again.
func (r *reader) take(m jetstream.Msg) (got events.Message, ok bool, err error) {
	meta, err := m.Metadata()
	if err != nil {
		return got, false, fmt.Errorf("delivery without metadata: %w: %w", err, events.ErrCorrupt)
	}
	if meta.Sequence.Consumer != r.delivered+1 {
		return got, false, nil
	}
	seq := meta.Sequence.Stream
	if seq < r.next || (r.permanent && seq != r.next) {
		return got, false, fmt.Errorf("message %d came where %d was next: %w", seq, r.next, events.ErrCorrupt)
	}
	got = events.Message{Subject: m.Subject(), Data: m.Data(), Seq: seq, Time: meta.Timestamp.UTC()}
	r.delivered++
	r.next, r.last = seq+1, got.Time
	return got, true, nil
}

// restart replaces a consumer that is gone.
func (r *reader) restart(ctx context.Context) error { return r.log.ask(ctx, r.replace) }

// replace makes a new consumer, after a look whether the stream still is what
// this reader read: a consumer beyond its end would wait for ever, and where
// the tail was lost other messages get the sequences already read.
func (r *reader) replace(ctx context.Context) error {
	info, err := r.log.info(ctx, r.stream)
	if err != nil {
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("the stream is gone: %w", events.ErrCorrupt)
		}
		return err
	}
	if !info.Created.Equal(r.created) {
		return fmt.Errorf("created %v, but %v when reading began: %w", info.Created, r.created, events.ErrCorrupt)
	}
	if info.State.LastSeq+1 < r.next {
		return fmt.Errorf("last sequence %d, but %d was read: %w", info.State.LastSeq, r.next-1, events.ErrCorrupt)
	}
	if r.permanent && !r.last.IsZero() {
		m, err := r.log.get(ctx, r.stream, r.next-1)
		if err != nil {
			return err
		}
		if !m.Time.Equal(r.last) {
			return fmt.Errorf("message %d is of %v, but the one read was of %v: %w", m.Seq, m.Time, r.last, events.ErrCorrupt)
		}
	}
	return r.start(ctx)
}

// ended tells why Next has nothing to wait for any more.
func (r *reader) ended(ctx context.Context) error {
	if r.isStopped() || r.log.read.IsClosed() {
		return events.ErrClosed
	}
	return ctx.Err()
}

func (r *reader) isStopped() bool {
	select {
	case <-r.stopped:
		return true
	default:
		return false
	}
}

// pause waits before the next attempt.
func (r *reader) pause(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.again:
	case <-ctx.Done():
	case <-r.stopped:
	}
}

func (r *reader) current() jetstream.MessagesContext {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.iterator
}

// drop gives up the consumer. The server removes it when it has been idle.
func (r *reader) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.iterator != nil {
		r.iterator.Stop()
		r.iterator = nil
	}
}

// restartReaders lets every reader begin anew behind its last message. A Next
// that waits is woken by the end of its iterator.
func (l *Log) restartReaders() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for r := range l.readers {
		r.drop()
		select {
		case r.again <- struct{}{}:
		default:
		}
	}
}

// stop ends the reader and wakes its Next.
func (r *reader) stop() {
	r.stopOnce.Do(func() { close(r.stopped) })
	r.drop()
}

// Close ends the reader and removes its consumer.
func (r *reader) Close() {
	if r.isStopped() {
		return
	}
	r.stop()
	r.log.mu.Lock()
	delete(r.log.readers, r)
	r.log.mu.Unlock()
	r.mu.Lock()
	consumer := r.consumer
	r.mu.Unlock()
	if !r.log.read.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	// Best effort: an idle consumer goes by itself.
	_ = r.log.readJS.DeleteConsumer(ctx, string(r.stream), consumer)
}
