// Package memlog is the log in memory: the twin of events/natslog for tests
// and simulations, with faults by script.
//
// It keeps the contract of [events.Log] with one exception that is its
// purpose: what Options.Faults and the methods beyond the contract do to it.
// Its streams live as long as the [Log]; a restart of the program under test
// is [Log.Crash], after which the same Log serves the next life.
//
// No goroutine runs here, and callers block on channels alone, made where they
// block. So a Log works inside a bubble of testing/synctest.
package memlog

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dossier360/dossier/events"
)

// Options of a [Log]; the zero value is a faultless log on the wall clock.
type Options struct {
	// Now gives the time of each message stored and each stream created, as
	// it is: it may step back. Default time.Now.
	Now func() time.Time
	// Faults is asked before every call, from the caller's goroutine and
	// without a lock held. It may call [Log.Crash]; then the call it was asked
	// about stores nothing and fails. Nil: no faults.
	Faults func(Op) Fault
}

// OpKind is a kind of call.
type OpKind int

// The kinds of calls.
const (
	OpCreate OpKind = iota + 1 // CreateStream
	OpAppend
	OpRead // opening a reader
	OpNext // one Next of a reader, however long it waits
	OpGet
	OpInfo
)

// String names the kind for messages of tests.
func (k OpKind) String() string {
	if k < OpCreate || k > OpInfo {
		return fmt.Sprintf("OpKind(%d)", int(k))
	}
	return [...]string{"create", "append", "read", "next", "get", "info"}[k-1]
}

// Op is a call about to be made.
type Op struct {
	Kind    OpKind
	Stream  events.Stream
	Subject string // of an append
	N       int    // this is the n-th call of its kind on its stream, from 1
}

// String writes the op as "append EVENTS_00 #3".
func (o Op) String() string { return fmt.Sprintf("%v %s #%d", o.Kind, o.Stream, o.N) }

// Fault is what becomes of a call. The zero Fault lets it be.
type Fault struct {
	// Err is the call's answer.
	Err error
	// Stored lets a create or an append take effect all the same: the answer
	// was lost on its way, and Err should be events.ErrUnknown. A conflict
	// stays a conflict.
	Stored bool
}

// Log is a log in memory. Make it with [New].
type Log struct {
	now    func() time.Time
	faults func(Op) Fault

	mu      sync.Mutex
	streams map[events.Stream]*stream // guarded by mu, as is what they hold
	calls   map[opKey]int             // counted only if there are faults
	life    int                       // raised by every Crash
	closed  bool
	end     chan struct{} // closed when this life ends; nil until a reader waits
}

type opKey struct {
	kind   OpKind
	stream events.Stream
}

// stream holds messages first, first+1, …
type stream struct {
	config   events.StreamConfig
	created  time.Time
	first    uint64
	messages []events.Message
	lastTime time.Time
	grown    chan struct{} // closed at the next append; nil unless a reader waits
}

// New makes an empty log.
func New(o Options) *Log {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Log{
		now:     o.Now,
		faults:  o.Faults,
		streams: map[events.Stream]*stream{},
		calls:   map[opKey]int{},
	}
}

// Crash ends the life of the program that uses the log: every reader is closed
// and every call under way fails. The streams stay, and the log serves on.
func (l *Log) Crash() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endLife()
}

// Close closes the log: every call from now on answers events.ErrClosed.
func (l *Log) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.endLife()
}

// endLife wakes all readers; l.mu is held.
func (l *Log) endLife() {
	l.life++
	if l.end != nil {
		close(l.end)
		l.end = nil
	}
}

// Truncate makes a stream lose its tail: last becomes its last sequence, as
// after a disk that lied about an fsync.
func (l *Log) Truncate(name events.Stream, last uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.streams[name]
	if !ok {
		return fmt.Errorf("truncate %s: %w", name, events.ErrNotFound)
	}
	if last+1 < s.first || last > s.last() {
		return fmt.Errorf("truncate %s to %d: it holds %d to %d", name, last, s.first, s.last())
	}
	s.messages = s.messages[:last+1-s.first]
	s.lastTime = time.Time{}
	if n := len(s.messages); n > 0 {
		s.lastTime = s.messages[n-1].Time
	}
	return nil
}

// Damage flips a bit in the middle of a stored message.
func (l *Log) Damage(name events.Stream, seq uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.streams[name]
	if !ok {
		return fmt.Errorf("damage %s/%d: %w", name, seq, events.ErrNotFound)
	}
	m, ok := s.at(seq)
	if !ok || len(m.Data) == 0 {
		return fmt.Errorf("damage %s/%d: no bytes there: %w", name, seq, events.ErrNotFound)
	}
	m.Data[len(m.Data)/2] ^= 1
	return nil
}

// Drop removes a whole stream, as a lost directory does.
func (l *Log) Drop(name events.Stream) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.streams[name]; !ok {
		return fmt.Errorf("drop %s: %w", name, events.ErrNotFound)
	}
	delete(l.streams, name)
	return nil
}

// CreateStream makes a stream, or leaves the one of that name as it is; a
// permanent one must be what was asked for.
func (l *Log) CreateStream(ctx context.Context, c events.StreamConfig) error {
	fault, unlock, err := l.begin(ctx, OpCreate, c.Name, "")
	if err != nil {
		return fmt.Errorf("create stream %s: %w", c.Name, err)
	}
	defer unlock()
	if fault.Err != nil && !fault.Stored {
		return fmt.Errorf("create stream %s: %w", c.Name, fault.Err)
	}
	if s, ok := l.streams[c.Name]; !ok {
		c.Subjects = slices.Clone(c.Subjects)
		l.streams[c.Name] = &stream{config: c, created: l.timeNow(), first: 1}
	} else if c.Permanent && !sameConfig(s.config, c) {
		return fmt.Errorf("create stream %s: it exists as %+v, %+v wanted: %w", c.Name, s.config, c, events.ErrCorrupt)
	}
	if fault.Err != nil {
		return fmt.Errorf("create stream %s: %w", c.Name, fault.Err)
	}
	return nil
}

// sameConfig reports whether two streams take and keep the same; the order of
// subjects says nothing.
func sameConfig(a, b events.StreamConfig) bool {
	return a.Permanent == b.Permanent && a.Retention == b.Retention &&
		slices.Equal(slices.Sorted(slices.Values(a.Subjects)), slices.Sorted(slices.Values(b.Subjects)))
}

// Append stores a copy of data.
func (l *Log) Append(ctx context.Context, name events.Stream, subject string, data []byte, e events.Expect) (uint64, error) {
	fault, unlock, err := l.begin(ctx, OpAppend, name, subject)
	if err != nil {
		return 0, fmt.Errorf("append to %s: %w", name, err)
	}
	defer unlock()
	if fault.Err != nil && !fault.Stored {
		return 0, fmt.Errorf("append to %s: %w", name, fault.Err)
	}
	s, ok := l.streams[name]
	if !ok {
		return 0, fmt.Errorf("append to %s: %w", name, events.ErrNotFound)
	}
	if !s.takes(subject) {
		return 0, fmt.Errorf("append to %s: subject %q is not of this stream", name, subject)
	}
	if last, ok := e.Last(); ok && last != s.last() {
		return 0, fmt.Errorf("append to %s: last sequence %d, expected %d: %w", name, s.last(), last, events.ErrConflict)
	}
	m := events.Message{Subject: subject, Data: bytes.Clone(data), Seq: s.last() + 1, Time: l.timeNow()}
	s.messages = append(s.messages, m)
	s.lastTime = m.Time
	s.expire(m.Time)
	if s.grown != nil {
		close(s.grown)
		s.grown = nil
	}
	if fault.Err != nil {
		return 0, fmt.Errorf("append to %s: %w", name, fault.Err)
	}
	return m.Seq, nil
}

// Get returns a copy of the message at seq.
func (l *Log) Get(ctx context.Context, name events.Stream, seq uint64) (events.Message, error) {
	fault, unlock, err := l.begin(ctx, OpGet, name, "")
	if err == nil {
		defer unlock()
		err = fault.Err
	}
	if err != nil {
		return events.Message{}, fmt.Errorf("get %s/%d: %w", name, seq, err)
	}
	if s, ok := l.streams[name]; ok {
		s.expire(l.timeNow())
		if m, ok := s.at(seq); ok {
			return copied(m), nil
		}
	}
	return events.Message{}, fmt.Errorf("get %s/%d: %w", name, seq, events.ErrNotFound)
}

// Info describes a stream.
func (l *Log) Info(ctx context.Context, name events.Stream) (events.StreamInfo, error) {
	fault, unlock, err := l.begin(ctx, OpInfo, name, "")
	if err == nil {
		defer unlock()
		err = fault.Err
	}
	if err != nil {
		return events.StreamInfo{}, fmt.Errorf("info of %s: %w", name, err)
	}
	s, ok := l.streams[name]
	if !ok {
		return events.StreamInfo{}, fmt.Errorf("info of %s: %w", name, events.ErrNotFound)
	}
	s.expire(l.timeNow())
	return events.StreamInfo{Created: s.created, First: s.first, Last: s.last(), LastTime: s.lastTime}, nil
}

// Read opens a reader.
func (l *Log) Read(ctx context.Context, name events.Stream, from uint64) (events.Reader, error) {
	fault, unlock, err := l.begin(ctx, OpRead, name, "")
	if err == nil {
		defer unlock()
		err = fault.Err
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if from == 0 {
		return nil, fmt.Errorf("read %s: from sequence 0, at least 1 wanted", name)
	}
	s, ok := l.streams[name]
	if !ok {
		return nil, fmt.Errorf("read %s: %w", name, events.ErrNotFound)
	}
	return &reader{log: l, name: name, stream: s, next: from, life: l.life, done: make(chan struct{})}, nil
}

// begin asks for a fault and then locks the log, unless it is closed or the
// program crashed meanwhile. The caller calls unlock if err is nil.
func (l *Log) begin(ctx context.Context, kind OpKind, name events.Stream, subject string) (fault Fault, unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return Fault{}, nil, err
	}
	var life int
	if l.faults != nil {
		l.mu.Lock()
		key := opKey{kind, name}
		l.calls[key]++
		op := Op{Kind: kind, Stream: name, Subject: subject, N: l.calls[key]}
		life = l.life
		l.mu.Unlock()
		fault = l.faults(op)
	}
	l.mu.Lock()
	if l.closed || (l.faults != nil && l.life != life) {
		l.mu.Unlock()
		return Fault{}, nil, events.ErrClosed
	}
	return fault, l.mu.Unlock, nil
}

// timeNow is what a message is stamped with: UTC, and no monotonic reading.
func (l *Log) timeNow() time.Time { return l.now().Round(0).UTC() }

func (s *stream) last() uint64 { return s.first + uint64(len(s.messages)) - 1 }

func (s *stream) at(seq uint64) (*events.Message, bool) {
	if seq < s.first || seq > s.last() {
		return nil, false
	}
	return &s.messages[seq-s.first], true
}

// takes reports whether a subject is one of the stream's; '*' stands for one
// token, '>' for all that follow.
func (s *stream) takes(subject string) bool {
	tokens := strings.Split(subject, ".")
	return slices.ContainsFunc(s.config.Subjects, func(pattern string) bool {
		for i, p := range strings.Split(pattern, ".") {
			switch {
			case i >= len(tokens):
				return false
			case p == ">":
				return true
			case p != "*" && p != tokens[i]:
				return false
			}
		}
		return strings.Count(pattern, ".") == len(tokens)-1
	})
}

// expire drops what is older than the stream's retention.
func (s *stream) expire(now time.Time) {
	if s.config.Permanent || s.config.Retention <= 0 {
		return
	}
	limit := now.Add(-s.config.Retention)
	n := 0
	for n < len(s.messages) && s.messages[n].Time.Before(limit) {
		n++
	}
	s.messages = slices.Delete(s.messages, 0, n)
	s.first += uint64(n)
}

func copied(m *events.Message) events.Message {
	c := *m
	c.Data = bytes.Clone(m.Data)
	return c
}

// reader is the [events.Reader] of a stream.
type reader struct {
	log    *Log
	name   events.Stream
	stream *stream
	next   uint64 // owned by the goroutine that calls Next
	life   int
	once   sync.Once
	done   chan struct{} // closed by Close
}

// Next returns the next message, waiting for it.
func (r *reader) Next(ctx context.Context) (events.Message, error) {
	fault, unlock, err := r.log.begin(ctx, OpNext, r.name, "")
	if err == nil {
		unlock()
		err = fault.Err
	}
	for err == nil {
		var m events.Message
		var grown, end <-chan struct{}
		if m, grown, end, err = r.poll(); err == nil && grown == nil {
			return m, nil
		}
		if err != nil {
			break
		}
		select {
		case <-grown:
		case <-end:
		case <-r.done:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return events.Message{}, fmt.Errorf("next of %s: %w", r.name, err)
}

// poll takes the next message, or returns the channels to wait on for it.
func (r *reader) poll() (m events.Message, grown, end <-chan struct{}, err error) {
	select {
	case <-r.done:
		return m, nil, nil, events.ErrClosed
	default:
	}
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	if r.log.life != r.life || r.log.streams[r.name] != r.stream {
		return m, nil, nil, events.ErrClosed
	}
	r.stream.expire(r.log.timeNow())
	if r.next < r.stream.first {
		if r.stream.config.Permanent {
			return m, nil, nil, fmt.Errorf("message %d is gone, the first is %d: %w", r.next, r.stream.first, events.ErrCorrupt)
		}
		r.next = r.stream.first // what expired is not delivered
	}
	if stored, ok := r.stream.at(r.next); ok {
		r.next++
		return copied(stored), nil, nil, nil
	}
	if r.stream.grown == nil {
		r.stream.grown = make(chan struct{})
	}
	if r.log.end == nil {
		r.log.end = make(chan struct{})
	}
	return m, r.stream.grown, r.log.end, nil
}

// Close ends the reader; a Next that waits returns events.ErrClosed.
func (r *reader) Close() { r.once.Do(func() { close(r.done) }) }
