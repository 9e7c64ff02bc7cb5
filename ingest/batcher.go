package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dossier360/dossier/events"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// Bounds of appending.
const (
	// maxAppend is how long an append whose outcome is unknown is repeated
	// before its callers are told to send again.
	maxAppend = 30 * time.Second
	// appendTimeout is how long one try may take.
	appendTimeout = 10 * time.Second
	// retryFirst and retryLast bound the pause between two tries.
	retryFirst = 50 * time.Millisecond
	retryLast  = time.Second
	// recentEvents is how many durable events a partition remembers at least,
	// to tell a repeat at once; twice as many at most, 40 bytes each.
	recentEvents = 1 << 16
	// recordOverhead is what a record holds beside its events, and
	// eventOverhead what it adds to each: tag, length, and two deltas.
	recordOverhead = 128
	eventOverhead  = 32
)

// entry is a stamped event on its way into a record.
type entry struct {
	event    *logv1.LoggedEvent
	key      eventKey
	at       uint64
	recorded int64
	bytes    int
	call     *call
}

// call waits for its entries in all partitions.
type call struct {
	mu   sync.Mutex
	left int
	err  error
	seqs map[int]uint64 // partition to the greatest sequence
	done chan struct{}
}

func newCall(entries int) *call {
	c := &call{left: entries, seqs: map[int]uint64{}, done: make(chan struct{})}
	if entries == 0 {
		close(c.done)
	}
	return c
}

// settle notes that n entries ended in a record of a partition, or in an error.
func (c *call) settle(n, partition int, seq uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && c.err == nil {
		c.err = err
	}
	if err == nil {
		c.seqs[partition] = max(c.seqs[partition], seq)
	}
	if c.left -= n; c.left == 0 {
		close(c.done)
	}
}

// batcher packs the events of one partition into records and appends them, one
// append at a time.
type batcher struct {
	partition int
	log       events.Log
	gateway   []byte
	mint      func() [16]byte
	kick      chan struct{} // holds one token while entries may wait

	mu      sync.Mutex
	waiting []*entry
	bytes   int            // of waiting, and reserved
	stopped bool           // nothing is appended any more
	recent  recent[uint64] // event to its sequence here
}

func newBatcher(partition int, log events.Log, gateway []byte, mint func() [16]byte) *batcher {
	return &batcher{
		partition: partition, log: log, gateway: gateway, mint: mint,
		kick: make(chan struct{}, 1), recent: newRecent[uint64](recentEvents),
	}
}

// reserve makes room for bytes. A call finds room where nothing waits, however
// big it is: so the bound is MaxPendingBytes or one call.
func (b *batcher) reserve(bytes int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return fmt.Errorf("%w: stopped", ErrNotReady)
	}
	if b.bytes > 0 && b.bytes+bytes > MaxPendingBytes {
		return fmt.Errorf("%w: %d bytes wait in partition %d, %d more, limit %d", ErrOverload, b.bytes, b.partition, bytes, MaxPendingBytes)
	}
	b.bytes += bytes
	return nil
}

// release gives back what was reserved and not added.
func (b *batcher) release(bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bytes -= bytes
}

// add queues entries for which room was reserved.
func (b *batcher) add(entries []*entry) {
	b.mu.Lock()
	stopped := b.stopped
	if !stopped {
		b.waiting = append(b.waiting, entries...)
	}
	b.mu.Unlock()
	if stopped {
		b.settle(entries, 0, fmt.Errorf("%w: stopped", ErrNotReady))
		return
	}
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

// durable finds an event that is in the log already.
func (b *batcher) durable(k eventKey) (uint64, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.recent.get(k)
}

// run appends until the context ends. The append then under way is waited for;
// what still waits fails.
func (b *batcher) run(ctx context.Context) {
	for {
		select {
		case <-b.kick:
		case <-ctx.Done():
			b.stop()
			return
		}
		for ctx.Err() == nil {
			entries := b.take()
			if len(entries) == 0 {
				break
			}
			seq, err := b.append(ctx, entries)
			if err == nil {
				b.remember(entries, seq)
			}
			b.settle(entries, seq, err)
		}
	}
}

func (b *batcher) stop() {
	b.mu.Lock()
	entries := b.waiting
	b.waiting, b.bytes, b.stopped = nil, 0, true
	b.mu.Unlock()
	b.settle(entries, 0, fmt.Errorf("%w: stopped", ErrNotReady))
}

// take removes the entries of the next record from the queue.
func (b *batcher) take() []*entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, bytes := 0, recordOverhead
	for n < len(b.waiting) && n < MaxRecordEvents {
		more := b.waiting[n].bytes + eventOverhead
		if n > 0 && bytes+more > MaxRecordBytes {
			break
		}
		bytes += more
		b.bytes -= b.waiting[n].bytes
		n++
	}
	entries := b.waiting[:n:n]
	b.waiting = b.waiting[n:]
	if len(b.waiting) == 0 {
		b.waiting = nil // let go of the array
	}
	return entries
}

// append appends one record. Where the outcome is unknown the same record goes
// again: twice in the log is harmless, the fold refuses the copy.
func (b *batcher) append(ctx context.Context, entries []*entry) (uint64, error) {
	frame, err := events.Seal(b.record(entries))
	if err != nil {
		return 0, err
	}
	return appendAgain(ctx, b.log, events.PartitionStream(b.partition), events.SubjectEvents(b.partition), frame)
}

// record makes the record, its least at and recorded_at in front.
func (b *batcher) record(entries []*entry) *logv1.Record {
	batch := b.mint()
	r := &logv1.Record{
		Gateway: b.gateway, Batch: batch[:], At: entries[0].at, RecordedAt: entries[0].recorded,
		Events: make([]*logv1.LoggedEvent, len(entries)),
	}
	for _, e := range entries {
		r.At, r.RecordedAt = min(r.At, e.at), min(r.RecordedAt, e.recorded)
	}
	for i, e := range entries {
		e.event.Header.AtDelta = e.at - r.At
		e.event.Header.RecordedDelta = uint64(e.recorded - r.RecordedAt)
		r.Events[i] = e.event
	}
	return r
}

func (b *batcher) remember(entries []*entry, seq uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range entries {
		if !e.event.Header.MintedId {
			b.recent.put(e.key, seq)
		}
	}
}

// settle tells the calls; the entries of one call stand together.
func (b *batcher) settle(entries []*entry, seq uint64, err error) {
	for from := 0; from < len(entries); {
		to := from + 1
		for to < len(entries) && entries[to].call == entries[from].call {
			to++
		}
		entries[from].call.settle(to-from, b.partition, seq, err)
		from = to
	}
}

// appendAgain appends a message of which a copy is harmless, until the outcome
// is known, or the context ends, or it takes too long. An append that has
// begun is waited for though the context ends.
func appendAgain(ctx context.Context, log events.Log, s events.Stream, subject string, frame []byte) (uint64, error) {
	began, pause := time.Now(), retryFirst
	for {
		seq, err := appendOnce(ctx, log, s, subject, frame)
		switch {
		case err == nil:
			return seq, nil
		case errors.Is(err, events.ErrFull):
			return 0, fmt.Errorf("%w: %w", ErrDiskFull, err)
		case errors.Is(err, events.ErrOverload):
			return 0, fmt.Errorf("%w: %w", ErrOverload, err)
		case !errors.Is(err, events.ErrUnknown) || time.Since(began)+pause > maxAppend:
			return 0, fmt.Errorf("%w: %w", ErrNotReady, err)
		}
		if !sleep(ctx, pause) {
			return 0, fmt.Errorf("%w: %w", ErrNotReady, err)
		}
		pause = min(2*pause, retryLast)
	}
}

// appendOnce waits for an append though the context ends, and not for ever: a
// log that does not answer is one whose outcome is unknown.
func appendOnce(ctx context.Context, log events.Log, s events.Stream, subject string, frame []byte) (uint64, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), appendTimeout)
	defer cancel()
	seq, err := log.Append(ctx, s, subject, frame, events.Expect{})
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer in %v: %w: %w", appendTimeout, events.ErrUnknown, err)
	}
	return seq, err
}

// sleep reports whether the time passed before the context ended.
func sleep(ctx context.Context, t time.Duration) bool {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
