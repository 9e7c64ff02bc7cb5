// Package rejected knows what ingest refused and waits to be tried again.
//
// A [Ledger] follows the stream REJECTED from its first message. Of every
// reject that waits it holds 24 bytes: its sequence, when it came, and which
// source and code; the rest is read from the stream when it is asked for. A
// reject leaves when its retention is over, or when a note in the same stream
// says that a retry of it is in the log: so every process that follows the
// stream agrees, and a restart finds what was there before.
//
// The id of a reject is its sequence in the stream, in decimal.
//
// At most [MaxHeld] are held, those tried again with success since included.
// Beyond that the oldest are forgotten: they are neither listed nor counted any
// more, but can be shown and tried again by id as long as the stream keeps them.
package rejected

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// Bounds.
const (
	// MaxHeld bounds the rejects held in memory: 24 MB of them.
	MaxHeld = 1 << 20
	// MaxPageSize bounds the rejects of one page, each a read of the log.
	MaxPageSize = 1_000
	// MaxRetried bounds the rejects tried again by one call.
	MaxRetried = 1_000
	// catchUpWait bounds the wait of a call for what the stream held when it
	// came.
	catchUpWait = 5 * time.Second
	// trimEvery is how often the stream is asked what it still keeps.
	trimEvery = time.Minute
	// pauseFirst and pauseLast bound the pause before a stream that could not
	// be read is read again.
	pauseFirst = 100 * time.Millisecond
	pauseLast  = 10 * time.Second
	// parallelReads and parallelRetries are how many of one call are under way
	// at once.
	parallelReads   = 8
	parallelRetries = 16
)

var (
	// ErrNotFound: no reject has that id, or it is kept no longer.
	ErrNotFound = errors.New("no such reject waits")
	// ErrID: what is given is no id of any reject.
	ErrID = errors.New("a decimal number as the list shows it wanted")
	// ErrCatchingUp: the stream was not followed to its end in time.
	ErrCatchingUp = errors.New("rejected: not caught up")
)

// Options of [New]. Log is required; Again, Accept and Note for retries.
type Options struct {
	Log events.Log
	// Again reads a reject once more, or bytes that were put in its place. False:
	// its wire is not known. It is wires.Again.
	Again func(*logv1.Reject, []byte) (ingest.Decoded, bool)
	// Accept takes events in; (*ingest.Gateway).Accept.
	Accept func(context.Context, ingest.Batch) (ingest.Result, error)
	// Note appends the note of a successful retry; (*ingest.Gateway).NoteRetry.
	Note func(ctx context.Context, source string, seq uint64, at time.Time) error
	// Now is the clock of receipt. Nil: time.Now.
	Now func() time.Time
	// Logger may be nil.
	Logger *slog.Logger
	// MaxHeld bounds the rejects held; 0: the constant of that name.
	MaxHeld int
}

// Ledger is what waits. Make it with [New] and run it. All methods are safe for
// concurrent use.
type Ledger struct {
	o Options

	mu       sync.Mutex
	followed uint64         // every message up to it was looked at
	grown    chan struct{}  // closed and replaced when followed grows
	waiting  []entry        // ascending by seq; some are gone
	kinds    []kind         // by number
	numbers  map[kind]int32 // of the kinds of which some wait
	free     []int32        // numbers of the others
	counts   []int          // by number of kind: of waiting, without those gone
	retrying map[uint64]chan struct{}
}

// entry is a reject that waits.
type entry struct {
	seq      uint64
	received int64
	kind     int32 // number of its kind; isGone: it waits no longer
}

const isGone = -1

// kind is what rejects are counted by.
type kind struct{ source, code string }

// New makes a ledger.
func New(o Options) *Ledger {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxHeld == 0 {
		o.MaxHeld = MaxHeld
	}
	return &Ledger{o: o, grown: make(chan struct{}), numbers: map[kind]int32{}, retrying: map[uint64]chan struct{}{}}
}

// Run follows the stream until the context ends. A stream that cannot be read is
// tried again; one message that cannot is passed over, and said so.
func (l *Ledger) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { l.follow(ctx); return nil })
	group.Go(func() error { l.trimNowAndThen(ctx); return nil })
	return group.Wait()
}

func (l *Ledger) follow(ctx context.Context) {
	pause := pauseFirst
	for {
		before := l.end()
		err := l.followOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		if l.end() > before {
			pause = pauseFirst
		}
		l.o.Logger.Warn("rejects not followed; trying again", "error", err, "after", pause)
		if !sleep(ctx, pause) {
			return
		}
		pause = min(2*pause, pauseLast)
	}
}

// followOnce goes on behind what was followed until an error.
func (l *Ledger) followOnce(ctx context.Context) error {
	info, err := l.o.Log.Info(ctx, events.RejectedStream)
	if err != nil {
		return err
	}
	if l.end() > info.Last {
		l.restart() // the stream lost its tail, or is another one
	}
	l.trim(info.First)
	reader, err := l.o.Log.Read(ctx, events.RejectedStream, l.end()+1)
	if err != nil {
		return err
	}
	defer reader.Close()
	for {
		m, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		r := &logv1.Reject{}
		if err := events.Open(m.Data, r); err != nil {
			l.o.Logger.Warn("a reject cannot be read", "sequence", m.Seq, "error", err)
			r = nil
		}
		l.take(m.Seq, r)
	}
}

// end is how far the stream was followed.
func (l *Ledger) end() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.followed
}

// restart forgets everything.
func (l *Ledger) restart() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.followed, l.waiting, l.kinds, l.free, l.counts = 0, nil, nil, nil, nil
	clear(l.numbers)
}

// take notes a message; nil: one that cannot be read.
func (l *Ledger) take(seq uint64, r *logv1.Reject) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq <= l.followed {
		return
	}
	switch {
	case r == nil:
	case r.RetryOf != 0:
		l.removeLocked(r.RetryOf)
	default:
		n := l.numberLocked(kind{r.Source, r.Code})
		l.waiting = append(l.waiting, entry{seq, r.ReceivedAt, n})
		l.counts[n]++
		l.boundLocked()
	}
	l.followedLocked(seq)
}

func (l *Ledger) followedLocked(seq uint64) {
	if seq <= l.followed {
		return
	}
	l.followed = seq
	close(l.grown)
	l.grown = make(chan struct{})
}

// numberLocked is the number of a kind. Codes are few; sources may be named by
// the events themselves, so that a kind is held only while some of it wait.
func (l *Ledger) numberLocked(k kind) int32 {
	if n, known := l.numbers[k]; known {
		return n
	}
	n := int32(len(l.kinds))
	if last := len(l.free) - 1; last >= 0 {
		n, l.free = l.free[last], l.free[:last]
		l.kinds[n] = k
	} else {
		l.kinds, l.counts = append(l.kinds, k), append(l.counts, 0)
	}
	l.numbers[k] = n
	return n
}

// lessLocked counts one of a kind less.
func (l *Ledger) lessLocked(n int32) {
	if l.counts[n]--; l.counts[n] == 0 {
		delete(l.numbers, l.kinds[n])
		l.kinds[n], l.free = kind{}, append(l.free, n)
	}
}

// boundLocked forgets the oldest where there are too many.
func (l *Ledger) boundLocked() {
	l.dropLocked(max(0, len(l.waiting)-l.o.MaxHeld))
}

// dropLocked forgets the first n entries.
func (l *Ledger) dropLocked(n int) {
	for _, e := range l.waiting[:n] {
		if e.kind != isGone {
			l.lessLocked(e.kind)
		}
	}
	l.waiting = l.waiting[n:] // the array is left behind when it is full
}

// findLocked is the place of a sequence.
func (l *Ledger) findLocked(seq uint64) (int, bool) {
	return slices.BinarySearchFunc(l.waiting, seq, func(e entry, seq uint64) int {
		switch {
		case e.seq < seq:
			return -1
		case e.seq > seq:
			return 1
		}
		return 0
	})
}

// removeLocked notes that a reject waits no longer. It stays as one that is
// gone, so that who asks for it is told so.
func (l *Ledger) removeLocked(seq uint64) {
	i, found := l.findLocked(seq)
	if !found || l.waiting[i].kind == isGone {
		return
	}
	l.lessLocked(l.waiting[i].kind)
	l.waiting[i].kind = isGone
}

// trimNowAndThen forgets what the stream keeps no longer.
func (l *Ledger) trimNowAndThen(ctx context.Context) {
	for sleep(ctx, trimEvery) {
		if info, err := l.o.Log.Info(ctx, events.RejectedStream); err == nil {
			l.trim(info.First)
		}
	}
}

// trim forgets what comes before the first message of the stream.
func (l *Ledger) trim(first uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, _ := l.findLocked(first)
	l.dropLocked(n)
	if first > 0 {
		l.followedLocked(first - 1)
	}
}

// caughtUp waits until everything that the stream holds now was looked at.
func (l *Ledger) caughtUp(ctx context.Context) error {
	info, err := l.o.Log.Info(ctx, events.RejectedStream)
	if err != nil {
		return err
	}
	l.trim(info.First)
	ctx, cancel := context.WithTimeout(ctx, catchUpWait)
	defer cancel()
	for {
		l.mu.Lock()
		followed, grown := l.followed, l.grown
		l.mu.Unlock()
		if followed >= info.Last {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return fmt.Errorf("rejects are read to %d of %d: %w", followed, info.Last, ErrCatchingUp)
		}
	}
}

// Count is how many rejects of one source and code wait.
type Count struct {
	Source, Code string
	Waiting      int
}

// Counts tells how many wait, by source and code in that order, as far as the
// stream was followed. It does not ask the log.
func (l *Ledger) Counts() []Count {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []Count
	for n, waiting := range l.counts {
		if waiting > 0 {
			all = append(all, Count{l.kinds[n].source, l.kinds[n].code, waiting})
		}
	}
	slices.SortFunc(all, func(a, b Count) int {
		if c := strings.Compare(a.Source, b.Source); c != 0 {
			return c
		}
		return strings.Compare(a.Code, b.Code)
	})
	return all
}

// Reject is a reject with its id.
type Reject struct {
	ID string
	*logv1.Reject
}

// Query says which rejects are listed.
type Query struct {
	Source, Code string // empty: all
	Before       uint64 // only with lesser ids; 0: from the newest on
	Limit        int    // 1 to MaxPageSize
}

// Page is a page of rejects, the newest first.
type Page struct {
	Rejects []Reject // without their bytes
	// Before goes on with Query.Before; 0: there are no more. What arrives
	// meanwhile moves nothing.
	Before uint64
}

// List lists what waits, the newest first.
func (l *Ledger) List(ctx context.Context, q Query) (Page, error) {
	if q.Limit < 1 || q.Limit > MaxPageSize {
		return Page{}, fmt.Errorf("list rejects: limit %d, 1 to %d wanted", q.Limit, MaxPageSize)
	}
	if err := l.caughtUp(ctx); err != nil {
		return Page{}, err
	}
	seqs, more := l.newest(q)
	var page Page
	if more {
		page.Before = seqs[len(seqs)-1]
	}
	read := make([]*logv1.Reject, len(seqs))
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(parallelReads)
	for i, seq := range seqs {
		group.Go(func() (err error) {
			if read[i], err = l.read(reading, seq); errors.Is(err, ErrNotFound) {
				err = nil // kept no longer since
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return Page{}, err
	}
	for i, r := range read {
		if r != nil {
			r.Original = nil
			page.Rejects = append(page.Rejects, Reject{formatID(seqs[i]), r})
		}
	}
	return page, nil
}

// newest are the sequences of a page, and whether there are more.
func (l *Ledger) newest(q Query) (seqs []uint64, more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	end := len(l.waiting)
	if q.Before > 0 {
		end, _ = l.findLocked(q.Before)
	}
	for _, e := range slices.Backward(l.waiting[:end]) {
		if !l.fitsLocked(e, q.Source, q.Code) {
			continue
		}
		if len(seqs) == q.Limit {
			return seqs, true
		}
		seqs = append(seqs, e.seq)
	}
	return seqs, false
}

func (l *Ledger) fitsLocked(e entry, source, code string) bool {
	if e.kind == isGone {
		return false
	}
	k := l.kinds[e.kind]
	return (source == "" || k.source == source) && (code == "" || k.code == code)
}

// Get returns a reject with its bytes, ErrID or ErrNotFound.
func (l *Ledger) Get(ctx context.Context, id string) (Reject, error) {
	seq, err := parseID(id)
	if err != nil {
		return Reject{}, err
	}
	if err := l.caughtUp(ctx); err != nil {
		return Reject{}, err
	}
	r, err := l.get(ctx, seq)
	if err != nil {
		return Reject{}, err
	}
	return Reject{id, r}, nil
}

// get reads a reject that waits, as far as is known.
func (l *Ledger) get(ctx context.Context, seq uint64) (*logv1.Reject, error) {
	if l.isGone(seq) {
		return nil, fmt.Errorf("reject %d is in the log since a retry: %w", seq, ErrNotFound)
	}
	return l.read(ctx, seq)
}

// isGone reports whether a reject is known to wait no longer. One that is
// neither held nor forgotten is a note, or was never there.
func (l *Ledger) isGone(seq uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, found := l.findLocked(seq)
	return found && l.waiting[i].kind == isGone
}

// read reads a message of the stream that is a reject.
func (l *Ledger) read(ctx context.Context, seq uint64) (*logv1.Reject, error) {
	m, err := l.o.Log.Get(ctx, events.RejectedStream, seq)
	if errors.Is(err, events.ErrNotFound) {
		return nil, fmt.Errorf("reject %d: %w", seq, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	r := &logv1.Reject{}
	if err := events.Open(m.Data, r); err != nil {
		return nil, fmt.Errorf("read reject %d: %w", seq, err)
	}
	if r.RetryOf != 0 {
		return nil, fmt.Errorf("reject %d: it notes a retry: %w", seq, ErrNotFound)
	}
	// Of a whole call no more than this came as far as the stream, and of one
	// that was too large nothing, or a part, or what it was packed in.
	r.Cut = r.Cut || r.Whole && (len(r.Original) >= ingest.MaxRejectBytes || r.Code == string(ingest.CodeTooLarge))
	return r, nil
}

// parseID reads an id.
func parseID(id string) (uint64, error) {
	seq, err := strconv.ParseUint(id, 10, 64)
	if err != nil || seq == 0 || formatID(seq) != id {
		return 0, fmt.Errorf("reject %s: %w", ingest.Shown(id), ErrID)
	}
	return seq, nil
}

func formatID(seq uint64) string { return strconv.FormatUint(seq, 10) }

// sleep reports whether the time passed before the context ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
