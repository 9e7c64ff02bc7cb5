package query

import "time"

// The limits of a query, each with its unit and reason.
const (
	// MaxPageSize bounds the entries of one timeline answer.
	MaxPageSize = 1_000
	// DefaultPageSize is what a page holds if the caller names no size.
	DefaultPageSize = 100
	// MaxReceiptWait bounds how long an answer waits for a receipt.
	MaxReceiptWait = 5 * time.Second
	// statusTimeout bounds how long a query that must ask the log waits for it.
	statusTimeout = 2 * time.Second
	// MaxScannedEntries bounds the history entries that one timeline call
	// reads in search of those wanted. Beyond it the page ends early and its
	// token goes on from there.
	MaxScannedEntries = 20_000
	// MaxReferenceCharacters bounds the value of a customer reference; ingest
	// accepts no longer identifier.
	MaxReferenceCharacters = 200
	// maxTickAhead is how far ahead of now a tick may move log time: a mistyped
	// year cannot be taken back.
	maxTickAhead = 24 * time.Hour
	// MaxTails bounds the tails open at once: each reads the whole log as it
	// grows, and a reader buffers up to two pulls of 8 MiB for a client that is
	// behind.
	MaxTails = 8
	// TailPatience is how long the client of a tail may take nothing, before
	// its place is given to others.
	TailPatience = time.Minute
	// tailFarewell is what is left for a write under way when the server stops;
	// the server waits longer than that.
	tailFarewell = 2 * time.Second
	// MaxRequestBytes bounds one request message.
	MaxRequestBytes = 64 << 10
)
