package ingest

import "time"

// The limits of ingest, each with its unit and reason. Every one has a test at
// the bound and one beyond it.
const (
	// MaxEventBytes bounds one event as sent. Segment's own limit.
	MaxEventBytes = 32 << 10
	// MaxBatchEvents bounds the events of one call. Segment's own limit.
	MaxBatchEvents = 2_500
	// MaxBodyBytes bounds the body of a call as it is on the wire.
	MaxBodyBytes = 4 << 20
	// MaxInflatedBytes bounds a body after gunzip: a bomb stops here.
	MaxInflatedBytes = 16 << 20
	// MaxDepth bounds the nesting of JSON; deeper is nobody's event.
	MaxDepth = 32
	// MaxIDCharacters bounds an identifier or event id, in Unicode characters.
	MaxIDCharacters = 200
	// MaxAmountUnits bounds the absolute value of an amount of money or a
	// quantity, in whole units: sums of a million such stay exact.
	MaxAmountUnits = 1_000_000_000_000
	// MaxIdentifiers bounds the identifiers told by one event.
	MaxIdentifiers = 16
	// MaxAhead is how far a time may lie ahead of the gateway's clock before
	// it is clamped and flagged.
	MaxAhead = 24 * time.Hour
	// MaxClockError is how far a client's clock may be off before its event
	// times are shifted and flagged.
	MaxClockError = 5 * time.Minute
	// MaxRejectBytes is how much of a refused event's bytes is kept.
	MaxRejectBytes = 64 << 10

	// MaxRecordEvents and MaxRecordBytes (before compression) bound one
	// message of the log, and so the latency of folding one.
	MaxRecordEvents = 1_000
	MaxRecordBytes  = 256 << 10
	// MaxPendingBytes bounds, per partition, the events that wait for the
	// append under way; beyond it callers are told to come again (429).
	MaxPendingBytes = 8 << 20
)

// EarliestTime is the least event time accepted: older ones come from a clock
// that was never set or a unit that was mistaken.
var EarliestTime = time.Date(1971, 1, 1, 0, 0, 0, 0, time.UTC)

// MaxListedEvents bounds how many items of a batch are listed at all. Items
// beyond [MaxBatchEvents] are refused one by one, as trackers expect; a call
// with more than this is refused as a whole, so that a body of empty items
// cannot make an answer of gigabytes.
const MaxListedEvents = 4 * MaxBatchEvents
