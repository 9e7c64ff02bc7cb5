package events

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Stream names a stream of the log.
type Stream string

// The streams beside the partitions; see [PartitionStream].
const (
	IdentityStream Stream = "IDENTITY"
	FeedStream     Stream = "FEED"
	RejectedStream Stream = "REJECTED"
)

// PartitionStream is the stream of partition p: EVENTS_00, EVENTS_01, …
func PartitionStream(p int) Stream { return Stream(fmt.Sprintf("EVENTS_%02d", p)) }

// Subjects. Customer ids and identifiers never stand in a subject: a server
// keeps every subject in memory.
const (
	SubjectBind = "dossier.identity.bind"
	SubjectRule = "dossier.identity.rule"
)

// SubjectEvents is where record batches of partition p are appended.
func SubjectEvents(p int) string { return fmt.Sprintf("dossier.events.%02d", p) }

// SubjectNotices is where the notice writer of partition p appends.
func SubjectNotices(p int) string { return fmt.Sprintf("dossier.notices.%02d", p) }

// SubjectMoves is where movers append for partition p.
func SubjectMoves(p int) string { return fmt.Sprintf("dossier.moves.%02d", p) }

// SubjectRejected is where refused input of a source is appended.
func SubjectRejected(source string) string { return "dossier.rejected." + source }

// StreamConfig says what a stream is for. The zero Retention keeps for ever.
type StreamConfig struct {
	Name     Stream
	Subjects []string
	// Permanent streams refuse deletion and purging and have no limits, so
	// that a gap in their sequences is corruption.
	Permanent bool
	// Retention drops messages older than this; 0 keeps them.
	Retention time.Duration
}

// Message is one stored message.
type Message struct {
	Subject string
	Data    []byte
	Seq     uint64    // from 1, without gaps in a permanent stream
	Time    time.Time // when the log stored it; may step back with the server's clock
}

// StreamInfo describes a stream as it is now. First > Last means empty.
type StreamInfo struct {
	Created     time.Time // tells a stream from a later one of the same name
	First, Last uint64
	LastTime    time.Time
}

// Expect is a condition on an append: that the stream's last sequence is Last.
// The zero Expect is no condition.
type Expect struct {
	last uint64
	set  bool
}

// ExpectLast is the condition that the last sequence of the stream is seq.
func ExpectLast(seq uint64) Expect { return Expect{last: seq, set: true} }

// Last returns the sequence expected, and whether one is.
func (e Expect) Last() (seq uint64, ok bool) { return e.last, e.set }

// Errors of a [Log]. Every other error is final for the call that got it.
var (
	// ErrConflict: the expected sequence was not the last one. Nothing was
	// stored. Catch up and decide again.
	ErrConflict = errors.New("log: another append came first")
	// ErrUnknown: no answer came in time; the message may be stored or not.
	// Append it again where a repeat is harmless, else read to find out.
	ErrUnknown = errors.New("log: outcome of the append unknown")
	// ErrOverload: the log takes no more at the moment; nothing was stored.
	ErrOverload = errors.New("log: overloaded")
	// ErrFull: the log's disk is full; nothing was stored.
	ErrFull = errors.New("log: disk full")
	// ErrNotFound: no such stream or no message at that sequence.
	ErrNotFound = errors.New("log: not found")
	// ErrCorrupt: a gap, a missing stream, or bytes that do not check.
	// Never folded over.
	ErrCorrupt = errors.New("log: corrupt")
	// ErrClosed: the log, or the reader, was closed.
	ErrClosed = errors.New("log: closed")
)

// Log is the append-only log. All methods are safe for concurrent use.
//
// Durability: when Append returns nil, the message is on stable storage and
// will be read at the sequence returned by every reader, after a crash too.
// An append that returned ErrUnknown may appear later, once, at any sequence
// after those acknowledged before it was begun.
//
// Order: a reader delivers sequences of a permanent stream without a gap, in
// order, each once.
type Log interface {
	// CreateStream makes a stream durable before it returns. A stream of that
	// name which exists is left as it is; where a permanent one is wanted and
	// it has other subjects, or may lose messages, that is ErrCorrupt.
	CreateStream(ctx context.Context, c StreamConfig) error
	// Append stores one message durably. It never retries.
	// Errors: ErrConflict, ErrUnknown, ErrOverload, ErrFull, ErrNotFound.
	Append(ctx context.Context, s Stream, subject string, data []byte, e Expect) (seq uint64, err error)
	// Read opens a reader that delivers from sequence `from` (at least 1) on
	// and then waits for more. The caller has checked with Info that the
	// stream reaches from-1: a reader beyond the end would wait for ever.
	Read(ctx context.Context, s Stream, from uint64) (Reader, error)
	// Get returns the message at seq, or ErrNotFound.
	Get(ctx context.Context, s Stream, seq uint64) (Message, error)
	// Info describes a stream, or returns ErrNotFound.
	Info(ctx context.Context, s Stream) (StreamInfo, error)
}

// Reader delivers the messages of one stream. One goroutine at a time.
type Reader interface {
	// Next waits for the next message. It returns ctx.Err() when the context
	// ends (the reader stays usable), ErrCorrupt at a gap, ErrClosed after
	// Close or when the log is gone. The message's Data is the caller's.
	Next(ctx context.Context) (Message, error)
	// Close frees the reader; further calls do nothing.
	Close()
}
