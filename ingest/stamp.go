package ingest

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
)

// times are the instants of an event, in microseconds as the log keeps them.
type times struct {
	claimed  *int64 // as the client sent it; nil: none
	occurred int64
	issued   *int64
	// Why occurred is not claimed.
	corrected, clamped, assigned bool
}

// clock is how this deployment reads times.
type clock struct {
	// end is the latest time accepted; 0: no end. Of clock: events, where one
	// stray event would move time itself.
	end int64
}

// stamp decides when an event occurred. The claimed time is kept as sent,
// equal in every retry; a client whose clock is more than MaxClockError off
// is corrected by its error; no time is the time of receipt, less the event's
// age, and one more than MaxAhead beyond it is the time of receipt.
func (c clock) stamp(d *Draft, received time.Time) (times, *Rejection) {
	var t times
	recorded := events.Micros(received)
	claimed, refused := c.read("time", d.Event.Time)
	if refused != nil {
		return t, refused
	}
	if t.issued, refused = c.read("issued_at", d.Event.IssuedAt); refused != nil {
		return t, refused
	}
	t.claimed = claimed
	switch {
	case claimed == nil:
		t.occurred, t.assigned = recorded-d.Age.Microseconds(), true
	case !d.Sent.IsZero() && received.Sub(d.Sent).Abs() > MaxClockError:
		t.occurred, t.corrected = *claimed+recorded-events.Micros(d.Sent), true
	default:
		t.occurred = *claimed
	}
	if t.occurred > recorded+MaxAhead.Microseconds() {
		t.occurred, t.clamped = recorded, true
	}
	return t, c.check("time", t.occurred)
}

// read is a time as told, nil if none was.
func (c clock) read(field string, told *timestamppb.Timestamp) (*int64, *Rejection) {
	if told == nil {
		return nil, nil
	}
	if err := told.CheckValid(); err != nil {
		return nil, Refuse(CodeBadTime, field, "", field+": "+err.Error())
	}
	m := events.Micros(told.AsTime())
	if m < events.Micros(EarliestTime) {
		return nil, refuseEarly(field, m)
	}
	return &m, nil
}

// check holds the time decided on against the bounds.
func (c clock) check(field string, m int64) *Rejection {
	if m < events.Micros(EarliestTime) {
		return refuseEarly(field, m)
	}
	if c.end != 0 && m > c.end {
		end := events.FromMicros(c.end).Format(time.RFC3339Nano)
		return Refuse(CodeBadTime, field, end, field+" "+events.FromMicros(m).Format(time.RFC3339Nano)+" is beyond the end of this deployment's clock, "+end)
	}
	return nil
}

func refuseEarly(field string, m int64) *Rejection {
	earliest := EarliestTime.Format(time.RFC3339)
	return Refuse(CodeBadTime, field, earliest, field+" "+events.FromMicros(m).Format(time.RFC3339Nano)+" is before "+earliest)
}
