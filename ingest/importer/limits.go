package importer

import "time"

const (
	// batchEvents and batchBytes bound one call. A call of a megabyte is a small
	// part of what a server takes at once, so that an import leaves room for
	// others.
	batchEvents = 500
	batchBytes  = 1 << 20
	// batchOutcomes bounds what waits to be told in a batch that has few events:
	// rows that were skipped or refused.
	batchOutcomes = 4 * batchEvents
	// inFlight bounds the previews under way, and so the batches in memory.
	inFlight = 4
	// seenGeneration bounds the records remembered of a run. There are two
	// generations of 56 bytes a record: beyond twice this many the eldest are
	// forgotten, and a repeat of one of those is found by the server alone, who
	// keeps the first telling too.
	seenGeneration = 2 << 20

	// firstPause and maxPause bound how long a call is put off that the server
	// did not take and gave no time for.
	firstPause = 250 * time.Millisecond
	maxPause   = 15 * time.Second
	// callTimeout bounds one call: longer than a server waits for itself.
	callTimeout = 2 * time.Minute
	// DefaultWait is how long a server may be away before an import gives up.
	DefaultWait = 10 * time.Minute
	// maxAnswerBytes bounds an answer: a verdict of each event of a batch, each
	// with a message.
	maxAnswerBytes = 8 << 20
)
