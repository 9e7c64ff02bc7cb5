package ingest

import (
	"context"
	"fmt"
	"time"

	"github.com/dossier360/dossier/events"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// retriesSubject is the last word of the subject of all notes: the server holds
// every subject in memory, and events may name any number of sources.
const retriesSubject = "retries"

// NoteRetry notes among the rejects that the one at a sequence was tried again
// and is in the log now. Noting it twice does no harm. A crash before it leaves
// the reject on the list; the next retry finds its event a duplicate and notes it.
func (g *Gateway) NoteRetry(ctx context.Context, source string, seq uint64, at time.Time) error {
	frame, err := events.Seal(&logv1.Reject{Source: source, ReceivedAt: events.Micros(at), RetryOf: seq})
	if err != nil {
		return err
	}
	if _, err := appendAgain(ctx, g.o.Log, events.RejectedStream, events.SubjectRejected(retriesSubject), frame); err != nil {
		return fmt.Errorf("note the retry of reject %d: %w", seq, err)
	}
	return nil
}

// Repeat appends events to their partition once more, as they were stamped: the
// fold refuses those that it has, and tries those again that it set aside. The
// record says that it is ours. It returns the sequence.
func (g *Gateway) Repeat(ctx context.Context, partition int, r *logv1.Record) (uint64, error) {
	if g.o.DiskFree != nil {
		if err := g.o.DiskFree(); err != nil {
			return 0, fmt.Errorf("%w: %w", ErrDiskFull, err)
		}
	}
	batch := g.o.Minter.Mint()
	r.Gateway, r.Batch = g.o.Name, batch[:]
	frame, err := events.Seal(r)
	if err != nil {
		return 0, err
	}
	return appendAgain(ctx, g.o.Log, events.PartitionStream(partition), events.SubjectEvents(partition), frame)
}

// JoinReceipts makes one receipt of several: it waits for all.
func JoinReceipts(receipts ...string) (string, error) {
	joined := map[int]uint64{}
	for _, receipt := range receipts {
		if receipt == "" {
			continue
		}
		seqs, err := ParseReceipt(receipt)
		if err != nil {
			return "", err
		}
		for p, seq := range seqs {
			joined[p] = max(joined[p], seq)
		}
	}
	return FormatReceipt(joined), nil
}
