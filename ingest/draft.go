package ingest

import (
	"errors"
	"strconv"
	"time"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// Draft is one event as a wire decoded it, before anything was decided.
type Draft struct {
	// Event as told. Its type may still be a wire name; time is the client's
	// as sent (the claimed time), or absent.
	Event *eventsv1.Event
	// Sent is the client's clock when it sent the event; zero if not told.
	Sent time.Time
	// Age is how long before it was sent an event without a time of its own
	// happened, as far as the client told. It is no claim of a time: added to
	// the clock of a call it differs with every attempt.
	Age time.Duration
	// Source that the event itself names: [a-z0-9_-]{1,40}, or "". It counts
	// where the batch is Unnamed.
	Source string
	// Flags that the wire set: a time without zone, a duplicate key, …
	Flags []logv1.Flag
	// Original are the event's bytes as sent, kept if it is refused.
	Original []byte
	// Refused is set where the wire could not decode the event; then Event
	// may be nil.
	Refused *Rejection
}

// Batch is what one call brought.
type Batch struct {
	// Source of the events: [a-z0-9_-]{1,40}.
	Source string
	// Unnamed says that Source is only for want of one: neither a key nor the
	// call names any, so that the source a draft names comes before it.
	Unnamed bool
	// Received is the gateway's clock when the call came in.
	Received time.Time
	// Wire, Path and ContentType say how it came, for the rejects.
	Wire, Path, ContentType string
	Drafts                  []Draft
	// Beside is how many of the drafts, at the end, tell more of an event that
	// has a draft already: they are not counted. See [Decoded.Beside].
	Beside int
	// Whole says that the one draft holds a whole call that could not be read.
	Whole bool
	// Retry says that the events are kept among the rejects already: what is
	// refused now is not kept again.
	Retry bool
	// FirstReceived is when the call came in first, of one tried again: events
	// without a time of their own happened then. Zero: Received.
	FirstReceived time.Time
}

// RefuseWhole makes a batch of a call that was refused as a whole: of its body, so
// much as is kept.
func (b *Batch) RefuseWhole(refused *Rejection, body []byte) {
	b.Whole = true
	b.Drafts = []Draft{{Refused: refused, Original: body[:min(len(body), MaxRejectBytes)]}}
}

// source is whose the event of a draft is.
func (b *Batch) source(index int) string {
	if own := b.Drafts[index].Source; b.Unnamed && ValidSource(own) {
		return own
	}
	return b.Source
}

// Rejection says why an event was refused: which field, which value, which
// limit. Its JSON is part of the answer.
type Rejection struct {
	Index     int    `json:"index"`
	MessageID string `json:"messageId,omitempty"`
	Code      Code   `json:"code"`
	Field     string `json:"field,omitempty"`
	Limit     string `json:"limit,omitempty"`
	Message   string `json:"message"`
}

// Result is the answer to a batch, given after everything in it is durable.
type Result struct {
	Accepted   int // events as sent, without the drafts that tell more of one
	Duplicates int // known at once; a repeat not known here is refused by the fold
	Rejected   []Rejection
	// Receipt is an opaque token; a query that carries it waits until what was
	// accepted here is in the answer. Empty if nothing was accepted.
	Receipt string
}

// Code names why an event was refused.
type Code string

// The codes of the contract.
const (
	CodeNotJSON      Code = "not_json"
	CodeEmptyBatch   Code = "empty_batch"
	CodeMissingID    Code = "missing_id"
	CodeBlockedID    Code = "blocked_id"
	CodeIDTooLong    Code = "id_too_long"
	CodeMissingType  Code = "missing_type"
	CodeMissingEvent Code = "missing_event"
	CodeBadType      Code = "bad_type"
	CodeTooLarge     Code = "too_large"
	CodeTooDeep      Code = "too_deep"
	CodeNotUTF8      Code = "not_utf8"
	CodeBadTime      Code = "bad_time"
	CodeBadNumber    Code = "bad_number"
)

// Errors of [Gateway.Accept]: nothing of the batch is known to be durable, the
// client sends it again.
var (
	ErrOverload = errors.New("ingest: more load than the machine takes; try again later")
	ErrNotReady = errors.New("ingest: not ready")
	ErrDiskFull = errors.New("ingest: disk reserve reached")
)

// NotReady is an ErrNotReady whose text is the reason alone: it is for the client.
func NotReady(reason error) error { return notReady{reason} }

type notReady struct{ reason error }

func (e notReady) Error() string { return e.reason.Error() }
func (notReady) Unwrap() error   { return ErrNotReady }

// Decoded is what a wire made of the body of one call. It holds either Drafts
// or, if the call as a whole could not be read, Refused.
type Decoded struct {
	Drafts  []Draft
	Refused *Rejection
	// Single says that the call brings exactly one event, so that the call
	// fails where its event does.
	Single bool
	// WriteKey and Source are what the body itself names; "" if it does not.
	WriteKey, Source string
	// Beside are, of the drafts at the end that tell more of an event which has
	// a draft already, the indexes of those: Beside[k] of
	// Drafts[len(Drafts)-len(Beside)+k].
	Beside []int
}

// Items is how many events were sent: the drafts without those that tell more
// of one.
func (d *Decoded) Items() int { return len(d.Drafts) - len(d.Beside) }

// Item is the index, as sent, of the event that a draft tells of.
func (d *Decoded) Item(draft int) int {
	if k := draft - d.Items(); k >= 0 && k < len(d.Beside) {
		return d.Beside[k]
	}
	return draft
}

// TellKey takes the write key that a member of the body tells. A token may be the
// publisher's own: it counts only if no other member tells a key.
func (d *Decoded) TellKey(member, key string) {
	if key != "" && (member != "token" || d.WriteKey == "") {
		d.WriteKey = key
	}
}

// Refuse makes a rejection. The message says which value was met.
func Refuse(code Code, field, limit, message string) *Rejection {
	return &Rejection{Code: code, Field: field, Limit: limit, Message: message}
}

// shownCharacters is how much of a value a message shows.
const shownCharacters = 80

// Shown is a value for a message: quoted, cut to a sensible length.
func Shown(value string) string {
	n := 0
	for i := range value {
		if n++; n > shownCharacters {
			return strconv.Quote(value[:i]) + "…"
		}
	}
	return strconv.Quote(value)
}

// IsWriteKey reports whether a member beside the events of a call holds the
// write key. It is never kept.
func IsWriteKey(name string) bool {
	return name == "writeKey" || name == "api_key" || name == "token"
}
