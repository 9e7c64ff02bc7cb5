package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/columns"
	"github.com/dossier360/dossier/projections/playbook"
	"github.com/dossier360/dossier/projections/store"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// Options of a partition.
type Options struct {
	Log     events.Log
	Genesis *logv1.Genesis
	ID      int
	// OpenStore opens the partition's store, or makes an empty one.
	OpenStore func() (store.Store, error)
	// SetAside takes the store's bytes out of the way after an open or
	// verification error; the next OpenStore makes an empty one.
	SetAside func(why error) error
	Evaluate playbook.Evaluate
	Rules    *Rules
	// Applied waits until a partition has folded a message, so that the mover does
	// not outrun those who receive; nil, or an error for a partition elsewhere: it
	// does not wait.
	Applied func(ctx context.Context, partition int, seq uint64) error
	// Tick bounds how long a due timer waits for a tick; 0 means 15 s.
	Tick time.Duration
	// Room is asked before every commit; while it returns an error the partition
	// stands still and says so. A store writes through memory that is mapped to
	// files: on a full disk that ends the process. Nil: there is always room.
	Room func() error
	// CacheBytes bounds the customers kept decoded; 0 means 64 MiB.
	CacheBytes int
	Now        func() time.Time
	Logger     *slog.Logger
}

// Bounds of one commit. It also ends when messages stop coming.
const (
	commitBytes    = store.MaxBatchBytes / 2
	commitKeys     = store.MaxBatchKeys / 2
	commitInterval = 200 * time.Millisecond // under load: what hot customers coalesce over
	commitIdle     = 10 * time.Millisecond  // after the last message
	// readAhead is how many messages wait decoded for the fold.
	readAhead = 32
)

// Partition folds one stream of the log into a store and serves views of it.
// Create it with [Open], then Run it. All methods are safe for concurrent use.
type Partition struct {
	o      Options
	stream events.Stream

	// Of Open, then of the worker alone.
	store store.Store
	limit int // of a commit, in bytes as estimated

	records keptRecords

	wantRows chan struct{} // of 1: a store was opened whose rows are to be read
	scanned  atomic.Int64  // customers that the scan under way has read
	doubts   chan error    // of 1: a scan for rows met bytes that the fold is to act on

	wantEnd chan struct{} // of 1: somebody was told the end of the log as last heard
	heard   atomic.Uint64 // the end of the log as last heard

	stateMu  sync.Mutex // guards what follows
	target   uint64     // what must be folded for the partition to be ready
	end      uint64     // of the log when the store was verified last
	state    state
	changed  chan struct{}   // closed and replaced when state changes
	snapshot *snapshot       // of the last commit; nil while the store is closed
	rows     *columns.Writer // of the last commit; nil while the store is closed
	rowsErr  error           // why they could not be read; nil: they are, or are being read
	views    int             // open, of any snapshot
	viewless *sync.Cond      // signalled when views falls to 0
}

// state is what the last commit left, for whoever waits on the partition.
type state struct {
	applied  uint64 // the last message folded whole
	logTime  int64
	settled  int64
	earliest int64 // timer; 0: none
	sweeping bool
	ruleSeq  uint64
	parked   uint64
	count    uint64
	jobs     uint64 // of the mover
	err      error  // why the partition stands still
}

// pending reports whether evaluations wait for the next message.
func (s state) pending() bool {
	return s.sweeping || s.earliest != 0 && s.earliest <= s.logTime
}

// Open opens a partition's store and verifies it against the log. A store that
// cannot be opened, or does not belong to this log, is set aside and an empty
// one begun: it will be folded from message 1.
func Open(ctx context.Context, o Options) (*Partition, error) {
	if o.Tick == 0 {
		o.Tick = 15 * time.Second
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 64 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Logger = o.Logger.With("partition", o.ID)
	p := newPartition(o)
	info, err := o.Log.Info(ctx, p.stream)
	if err != nil {
		return nil, fmt.Errorf("open partition %d: %w", o.ID, err)
	}
	p.target = info.Last
	if err := p.openStore(ctx); err != nil {
		return nil, fmt.Errorf("open partition %d: %w", o.ID, err)
	}
	return p, nil
}

func newPartition(o Options) *Partition {
	p := &Partition{
		o: o, stream: events.PartitionStream(o.ID), limit: commitBytes, changed: make(chan struct{}),
		wantRows: make(chan struct{}, 1), doubts: make(chan error, 1), wantEnd: make(chan struct{}, 1),
	}
	p.viewless = sync.NewCond(&p.stateMu)
	return p
}

// openStore opens and verifies the store, at most once setting it aside.
func (p *Partition) openStore(ctx context.Context) error {
	p.records.forget()
	for again := false; ; again = true {
		s, err := p.o.OpenStore()
		if err == nil {
			var cp *statev1.Checkpoint
			if cp, err = readCheckpoint(s); err == nil {
				err = p.verify(ctx, cp)
			}
			if err == nil {
				err = p.publishOpened(s)
			}
			if err == nil {
				return nil
			}
			if closeErr := s.Close(); closeErr != nil {
				p.o.Logger.Warn("close store", "error", closeErr)
			}
		}
		if again || ctx.Err() != nil || !errors.Is(err, errRebuild) && !isStoreError(err) {
			return err
		}
		if err := p.setAside(err); err != nil {
			return err
		}
	}
}

// setAside takes the closed store out of the way. What was there may have been
// answered from already: until it is there again the partition is not ready.
func (p *Partition) setAside(why error) error {
	p.o.Logger.Warn("store set aside, folding from the beginning", "error", why)
	p.stateMu.Lock()
	p.target = max(p.target, p.state.applied)
	p.stateMu.Unlock()
	return p.o.SetAside(why)
}

// errRebuild marks a store that does not belong to the log.
var errRebuild = errors.New("the store does not match the log")

// isStoreError reports whether an error says that the store's bytes cannot be
// trusted; it came not from the log, nor from the machine.
func isStoreError(err error) bool {
	return store.Doubtful(err) && !errors.Is(err, errLog) && !errors.Is(err, events.ErrNotFound) && !errors.Is(err, events.ErrClosed) &&
		!errors.Is(err, events.ErrUnknown) && !errors.Is(err, events.ErrCorrupt)
}

// errLog marks what the log answered, or that it did not: the store is not to
// blame.
var errLog = errors.New("log not readable")

func readCheckpoint(s store.Store) (*statev1.Checkpoint, error) {
	v := s.View()
	defer v.Close()
	cp := &statev1.Checkpoint{FoldVersion: FoldVersion}
	value, err := v.Get(checkpointKey)
	if err != nil || value == nil {
		return cp, err
	}
	if err := proto.Unmarshal(value, cp); err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	return cp, nil
}

// verify holds a checkpoint against the log: the stream is the one it was made
// from, reaches as far, and has the same message there. Otherwise new messages
// could take numbers that the checkpoint takes for folded.
func (p *Partition) verify(ctx context.Context, cp *statev1.Checkpoint) error {
	if cp.FoldVersion != FoldVersion {
		return fmt.Errorf("fold version %d, this program folds %d: %w", cp.FoldVersion, FoldVersion, errRebuild)
	}
	info, err := p.o.Log.Info(ctx, p.stream)
	if err != nil {
		return fmt.Errorf("%w: %w", errLog, err)
	}
	if info.First > 1 {
		return fmt.Errorf("stream %s begins at %d, not at 1: %w", p.stream, info.First, events.ErrCorrupt)
	}
	p.stateMu.Lock()
	p.end = info.Last
	p.stateMu.Unlock()
	p.heard.Store(info.Last) // also where the log has lost its tail
	if cp.Seq == 0 {
		return nil
	}
	switch {
	case cp.StreamCreated != info.Created.UnixNano():
		return fmt.Errorf("stream %s was created %s, the store folded one created %s: %w", p.stream,
			info.Created.UTC().Format(time.RFC3339Nano), time.Unix(0, cp.StreamCreated).UTC().Format(time.RFC3339Nano), errRebuild)
	case cp.Seq > info.Last:
		return fmt.Errorf("stream %s ends at %d, the store folded %d: %w", p.stream, info.Last, cp.Seq, errRebuild)
	}
	m, err := p.o.Log.Get(ctx, p.stream, cp.Seq)
	if err != nil {
		return fmt.Errorf("%w: %w", errLog, err)
	}
	if m.Time.UnixNano() != cp.Time {
		return fmt.Errorf("stream %s, message %d is of %s, the store folded one of %s: %w", p.stream, cp.Seq,
			m.Time.UTC().Format(time.RFC3339Nano), time.Unix(0, cp.Time).UTC().Format(time.RFC3339Nano), errRebuild)
	}
	return nil
}

// publishOpened makes the state of a store just opened visible.
func (p *Partition) publishOpened(s store.Store) error {
	v := s.View()
	defer v.Close()
	f, err := newFold(foldOptions{Partition: p.o.ID}, v)
	if err != nil {
		return err
	}
	p.store = s
	p.stateMu.Lock()
	p.rows = new(columns.Writer)
	p.stateMu.Unlock()
	p.publish(f)
	select {
	case <-p.doubts: // of the store before
	default:
	}
	select {
	case p.wantRows <- struct{}{}:
	default: // the scan that is wanted already will read this store
	}
	return nil
}

// publish makes the state of the last commit visible and wakes who waits.
func (p *Partition) publish(f *fold) {
	applied := f.cp.Seq
	if f.cp.Place != nil {
		applied--
	}
	snap := &snapshot{view: p.store.View(), cp: proto.CloneOf(f.cp), env: f.env, earliest: f.timers.earliest}
	snap.refs.Add(1) // the partition's own
	p.stateMu.Lock()
	defer p.stateMu.Unlock()
	old := p.snapshot
	p.snapshot = snap
	old.release()
	p.rows.Put(f.rows)
	f.rows = nil
	s := state{
		applied: applied, logTime: f.cp.LogTime, settled: settled(f.cp, f.timers.earliest),
		earliest: f.timers.earliest, sweeping: f.cp.Sweep != nil, ruleSeq: f.cp.RuleSeq,
		parked: f.cp.Parked, count: f.cp.Customers, jobs: f.cp.Jobs,
	}
	if applied == p.state.applied {
		s.err = p.state.err // it has got no further yet
	}
	p.setStateLocked(s)
}

func (p *Partition) setStateLocked(s state) {
	p.state = s
	close(p.changed)
	p.changed = make(chan struct{})
}

// behind reports whether the fold has not come as far as the log when the store
// was opened.
func (p *Partition) behind(s state) bool {
	p.stateMu.Lock()
	defer p.stateMu.Unlock()
	return s.applied < p.end
}

// setErr says why the partition stands still; nil: it does not.
func (p *Partition) setErr(err error) {
	p.stateMu.Lock()
	defer p.stateMu.Unlock()
	if p.state.err == nil && err == nil {
		return
	}
	s := p.state
	s.err = err
	p.setStateLocked(s)
}

// watch returns the state and a channel that closes when it changes.
func (p *Partition) watch() (state, <-chan struct{}) {
	p.stateMu.Lock()
	defer p.stateMu.Unlock()
	return p.state, p.changed
}

// Run folds until the context ends; then it commits what is folded, closes the
// store and returns nil. A corrupt log stops it with that error; anything else
// is tried again from the last commit.
func (p *Partition) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.runFold(ctx) })
	g.Go(func() error { return p.runNotices(ctx) })
	g.Go(func() error { return p.runMover(ctx) })
	g.Go(func() error { return p.runRows(ctx) })
	g.Go(func() error { return p.runEnd(ctx) })
	return g.Wait()
}

// runFold folds, and after an error goes on from the last commit: a crash or a
// failure anywhere leaves what that commit holds, and the log has the rest.
func (p *Partition) runFold(ctx context.Context) error {
	delay, stuck := firstDelay, uint64(0)
	for {
		began := time.Now()
		err := p.foldFromCheckpoint(ctx)
		p.closeStore()
		if ctx.Err() != nil {
			return nil
		}
		if s, _ := p.watch(); s.applied != stuck || time.Since(began) > steady {
			delay, stuck = firstDelay, s.applied
		} else {
			p.setErr(err) // the second time at this place
		}
		if errors.Is(err, store.ErrBatchTooBig) {
			// The estimate was wrong. Where commits fall changes nothing, so
			// smaller ones are as good.
			p.limit = max(p.limit/4, 1)
		}
		for err != nil {
			if errors.Is(err, events.ErrCorrupt) {
				p.setErr(err)
				p.o.Logger.Error("partition stopped: the log is corrupt", "error", err)
				return fmt.Errorf("partition %d: %w", p.o.ID, err)
			}
			p.o.Logger.Warn("fold interrupted, going on from the last commit", "error", err, "after", delay)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(delay):
			}
			delay = min(2*delay, lastDelay)
			if err = p.reopen(ctx, err); err != nil {
				p.setErr(err)
			}
		}
	}
}

// reopen opens the store after an error. One whose rows could not be read
// although it was opened anew for that is set aside.
func (p *Partition) reopen(ctx context.Context, after error) error {
	if errors.Is(after, errUnreadable) {
		if err := p.setAside(after); err != nil {
			return fmt.Errorf("%w: set aside: %w", errUnreadable, err)
		}
	}
	return p.openStore(ctx)
}

// Pauses before a fold that was interrupted goes on.
const (
	firstDelay = 100 * time.Millisecond
	lastDelay  = 10 * time.Second
	// steady is how long a fold has run that was not interrupted at once.
	steady = time.Minute
)

// closeStore waits for the views under way. Views opened meanwhile find no
// store, and do not wait.
func (p *Partition) closeStore() {
	p.stateMu.Lock()
	last := p.snapshot
	p.snapshot, p.rows = nil, nil
	for p.views > 0 {
		p.viewless.Wait()
	}
	p.stateMu.Unlock()
	last.release()
	if p.store == nil {
		return
	}
	if err := p.store.Close(); err != nil && !errors.Is(err, store.ErrClosed) {
		p.o.Logger.Warn("close store", "error", err)
	}
	p.store = nil
}

// foldFromCheckpoint folds from where the store stands until an error or the
// end of the context.
func (p *Partition) foldFromCheckpoint(ctx context.Context) error {
	if p.store == nil { // written by this goroutine only
		return store.ErrClosed
	}
	view := p.store.View()
	f, err := newFold(foldOptions{
		Partition: p.o.ID, Evaluate: p.o.Evaluate, CacheBytes: p.o.CacheBytes, Fetch: p.fetch,
	}, view)
	if err != nil {
		view.Close()
		return err
	}
	defer func() { f.view.Close() }()
	if f.cp.Stream == "" {
		info, err := p.o.Log.Info(ctx, p.stream)
		if err != nil {
			return err
		}
		f.cp.Stream, f.cp.StreamCreated = string(p.stream), info.Created.UnixNano()
	}
	from := f.cp.Seq + 1
	if f.cp.Place != nil {
		from = f.cp.Seq
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	messages := make(chan read, readAhead)
	go p.read(ctx, from, messages)
	w := worker{p: p, f: f}
	return w.run(ctx, messages)
}

// read is a message decoded ahead of the fold, or the end of reading.
type read struct {
	m   *message
	err error
}

// read reads and decodes ahead until an error or the end of the context.
func (p *Partition) read(ctx context.Context, from uint64, out chan<- read) {
	send := func(r read) bool {
		select {
		case out <- r:
			return true
		case <-ctx.Done():
			return false
		}
	}
	reader, err := p.o.Log.Read(ctx, p.stream, from)
	if err != nil {
		send(read{err: err})
		return
	}
	defer reader.Close()
	for {
		raw, err := reader.Next(ctx)
		if err != nil {
			send(read{err: err})
			return
		}
		p.hear(raw.Seq)
		m, err := decodeMessage(raw, p.o.ID)
		if !send(read{m, err}) || err != nil {
			return
		}
	}
}

// worker folds messages as they come and decides when to commit.
type worker struct {
	p           *Partition
	f           *fold
	uncommitted bool
	since       time.Time // of the first uncommitted message
}

func (w *worker) run(ctx context.Context, messages <-chan read) error {
	for {
		r, ok := w.next(ctx, messages)
		if !ok { // nothing came for a while, or the end
			if err := w.commit(ctx); err != nil || ctx.Err() != nil {
				return err
			}
			continue
		}
		if r.err != nil {
			if err := w.commit(ctx); err != nil {
				return err
			}
			return r.err
		}
		if err := w.fold(ctx, r.m); err != nil {
			return err
		}
		if time.Since(w.since) >= commitInterval {
			if err := w.commit(ctx); err != nil {
				return err
			}
		}
	}
}

// next waits for a message: without end if nothing is uncommitted, else a
// moment.
func (w *worker) next(ctx context.Context, messages <-chan read) (read, bool) {
	select {
	case err := <-w.p.doubts:
		return read{err: err}, true
	default:
	}
	select {
	case r := <-messages:
		return r, true
	default:
	}
	var idle <-chan time.Time
	if w.uncommitted {
		t := time.NewTimer(commitIdle)
		defer t.Stop()
		idle = t.C
	} else {
		w.p.caughtUp(w.f.cp.Seq)
	}
	select {
	case r := <-messages:
		return r, true
	case err := <-w.p.doubts:
		return read{err: err}, true
	case <-idle:
		return read{}, false
	case <-ctx.Done():
		return read{}, false
	}
}

// fold folds one message, committing inside it where it grows too large.
func (w *worker) fold(ctx context.Context, m *message) error {
	if !w.uncommitted {
		w.uncommitted, w.since = true, time.Now()
	}
	if err := w.f.begin(m); err != nil {
		return err
	}
	for {
		more, err := w.f.step(ctx)
		first := errors.Is(err, errCommitFirst)
		if err != nil && !first {
			return err
		}
		if first || w.f.full(w.p.limit) {
			if err := w.commit(ctx); err != nil {
				return err
			}
			w.uncommitted, w.since = true, time.Now()
		}
		if !more {
			return nil
		}
	}
}

// caughtUp takes back why the partition stood still, once all that the log
// held is folded.
func (p *Partition) caughtUp(seq uint64) {
	p.stateMu.Lock()
	there := seq >= p.end
	p.stateMu.Unlock()
	if there {
		p.setErr(nil)
	}
}

func (w *worker) commit(ctx context.Context) error {
	if !w.uncommitted {
		return nil
	}
	if err := w.awaitRoom(ctx); err != nil {
		return err
	}
	if err := w.f.flush(w.p.store); err != nil {
		return err
	}
	w.uncommitted = false
	w.p.publish(w.f)
	return nil
}

// roomEvery is how often a partition that stands still looks for room.
const roomEvery = time.Second

// awaitRoom waits until there is room for a commit, or the context ends. What is
// uncommitted then is folded again at the next start.
func (w *worker) awaitRoom(ctx context.Context) error {
	if w.p.o.Room == nil {
		return nil
	}
	for full := false; ; full = true {
		err := w.p.o.Room()
		if err == nil {
			return nil
		}
		w.p.setErr(err)
		if !full {
			w.p.o.Logger.Warn("fold waits for room on the disk", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(roomEvery):
		}
	}
}

// ID is the number of the partition.
func (p *Partition) ID() int { return p.o.ID }

// WaitApplied waits until the message at seq is folded and committed, or the
// context ends; then it returns ErrCatchingUp.
func (p *Partition) WaitApplied(ctx context.Context, seq uint64) error {
	return p.wait(ctx, func(s state) bool { return s.applied >= seq })
}

// WaitSettled waits until the settled time is at least t (microseconds).
func (p *Partition) WaitSettled(ctx context.Context, t int64) error {
	return p.wait(ctx, func(s state) bool { return s.settled >= t })
}

func (p *Partition) wait(ctx context.Context, done func(state) bool) error {
	for {
		s, changed := p.watch()
		if done(s) {
			return nil
		}
		if errors.Is(s.err, events.ErrCorrupt) {
			return s.err // it will not get there
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("partition %d stands at %d: %w", p.o.ID, s.applied, ErrCatchingUp)
		}
	}
}

// Status is how far a partition is.
type Status struct {
	ID         int
	Applied    uint64    // last sequence folded
	Last       uint64    // last sequence in the log
	LagSeconds float64   // age of the oldest message not folded
	Settled    time.Time // settled time
	Parked     uint64
	Customers  uint64
	Jobs       uint64 // moves that are not done
	Unheard    uint64 // rules in IDENTITY that it has not heard, or messages that may be some
	Target     uint64 // what must be folded for it to be ready
	Err        error  // why the partition stands still, or has no rows; nil: neither
}

// Ready reports whether the partition has folded all that the log held when
// the partition was opened, and all that it had folded before it lost its
// store.
func (s Status) Ready() bool { return s.Err == nil && s.Applied >= s.Target }

// Known tells how far the partition is, without asking the log: Last is the
// end of the log as last heard, and LagSeconds is not known. Heard is what the
// fold read ahead, what [Partition.Acknowledged] said, and, a moment after
// somebody called this, what the log answers.
func (p *Partition) Known() Status {
	select {
	case p.wantEnd <- struct{}{}:
	default:
	}
	p.stateMu.Lock()
	defer p.stateMu.Unlock()
	s, err := p.state, p.state.err
	if err == nil && p.rowsErr != nil {
		err = fmt.Errorf("lists: %w", p.rowsErr)
	}
	return Status{
		ID: p.o.ID, Applied: s.applied, Last: max(p.heard.Load(), s.applied), Settled: events.FromMicros(s.settled),
		Parked: s.parked, Customers: s.count, Jobs: s.jobs, Unheard: uint64(p.o.Rules.unheard(s.ruleSeq)), Target: p.target, Err: err,
	}
}

// Status tells how far the partition is; it asks the log for its end. If the
// log does not answer, the error says so, and the status is what is known.
func (p *Partition) Status(ctx context.Context) (Status, error) {
	info, err := p.o.Log.Info(ctx, p.stream)
	if err != nil {
		return p.Known(), fmt.Errorf("status of partition %d: %w", p.o.ID, err)
	}
	p.hear(info.Last)
	identity, err := p.o.Log.Info(ctx, events.IdentityStream)
	if err != nil {
		return p.Known(), fmt.Errorf("status of partition %d: %w", p.o.ID, err)
	}
	status := p.Known()
	status.Unheard += p.o.Rules.unread(identity.Last)
	status.Last = max(info.Last, status.Applied)
	if status.Applied < status.Last {
		if m, err := p.o.Log.Get(ctx, p.stream, status.Applied+1); err == nil {
			status.LagSeconds = max(0, p.o.Now().Sub(m.Time).Seconds())
		}
	}
	return status, nil
}

// Acknowledged tells the partition that the log holds a message: it knows then
// how far behind it is without asking. Messages of other streams are ignored.
func (p *Partition) Acknowledged(s events.Stream, seq uint64) {
	if s == p.stream {
		p.hear(seq)
	}
}

// hear notes that the log reaches at least to seq.
func (p *Partition) hear(seq uint64) {
	for {
		heard := p.heard.Load()
		if seq <= heard || p.heard.CompareAndSwap(heard, seq) {
			return
		}
	}
}

// endEvery bounds how often the log is asked for its end because somebody was
// told what was last heard of it.
const endEvery = time.Second

// runEnd asks the log for its end, where that is wanted. It finds what others
// appended while the fold is behind; whether the log answers is not its
// concern.
func (p *Partition) runEnd(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.wantEnd:
		}
		if info, err := p.o.Log.Info(ctx, p.stream); err == nil {
			p.hear(info.Last)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(endEvery):
		}
	}
}
