package directory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/store"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// Bounds of the directory, each with its reason.
const (
	// DefaultCacheEntries is how many identifiers are held in memory at least;
	// twice as many at most, about 100 bytes each. Where anybody ever joined a
	// company, as many persons with their companies are.
	DefaultCacheEntries = 200_000
	// MaxUnconfirmed is how long the directory may not have been seen at the
	// end of IDENTITY before it stops answering: it may miss others' decisions.
	MaxUnconfirmed = 5 * time.Second
	// confirmEvery is how often the end of IDENTITY is asked for.
	confirmEvery = time.Second
	// maxPending is how many changed keys wait for a commit before one is
	// made at once; commitEvery is how long the others wait. While twice as many
	// wait nothing is folded, and a message changes some 21,000 keys at most
	// (10,000 identifiers with their members' rows): together fewer than
	// store.MaxBatchKeys, for a commit is one batch.
	maxPending  = 8_192
	commitEvery = 200 * time.Millisecond
	// maxStall is how long IDENTITY may bring nothing although it has more,
	// before it is read anew.
	maxStall = 10 * time.Second
	// retryFirst and retryLast bound the pause before the log is tried again.
	retryFirst = 50 * time.Millisecond
	retryLast  = time.Second
)

// Errors of the directory.
var (
	// ErrNotReady: the directory has not been seen at the end of IDENTITY
	// lately.
	ErrNotReady = errors.New("directory: not caught up")
	// ErrOverload: too many undecided identifiers wait.
	ErrOverload = errors.New("directory: too many decisions wait")
)

// Options of [Open].
type Options struct {
	Log events.Log
	Key Key
	// OpenStore opens the directory's store; if fresh, an empty one, setting
	// aside what was there. [InDir] makes one.
	OpenStore func(fresh bool) (store.Store, error)
	// Minter makes customer and message ids. It may be shared.
	Minter *Minter
	// Gateway is the ULID of this process, logged with its decisions.
	Gateway []byte
	// Logger may be nil.
	Logger *slog.Logger
	// CacheEntries: 0 means DefaultCacheEntries.
	CacheEntries int
}

// InDir returns an Options.OpenStore that keeps the store in a folder. One
// that cannot be opened or is doubtful is set aside: the log has it all.
func InDir(dir string, o store.Options, now func() time.Time) func(fresh bool) (store.Store, error) {
	return func(fresh bool) (store.Store, error) {
		if fresh {
			if _, err := store.SetAside(dir, now()); err != nil {
				return nil, err
			}
		}
		return store.OpenBadger(dir, o)
	}
}

// Directory is the gateway's view of IDENTITY. All methods but Run are safe
// for concurrent use.
type Directory struct {
	o      Options
	hasher *hasher
	queue  queue
	// stopped is closed when Run has ended: nothing will be decided any more.
	stopped chan struct{}
	// joinings recorded, cp.joinings as it is read without the lock.
	joinings atomic.Uint64
	// types that hold at cp.seq, as they are read without the lock.
	types atomic.Pointer[Types]
	// rekeyed says that the log had other keys than ours, or than its first.
	rekeyed atomic.Bool
	// merges made, cp.merges likewise.
	merges atomic.Uint64

	mu         sync.RWMutex
	st         store.Store // nil while there is none
	cache      *cache[Hash, binding]
	links      *cache[events.CustomerID, link]        // also of those who were not merged
	companies  *cache[events.CustomerID, Memberships] // also of persons without any
	later      *cache[Hash, Hash]                     // also of hashes that are none
	key        keyState
	pending    *tables // folded, not in the store
	committing *tables // on the way to the store; nil if none
	cp         checkpoint
	torn       bool          // half a message is in pending: nothing is committed
	confirmed  time.Time     // seen at the end of IDENTITY
	target     uint64        // end of IDENTITY when last asked
	changed    chan struct{} // closed and replaced when any of this changes
}

// Open opens the store, checks it and the key against the log, and returns a
// directory that is not ready until Run has caught up.
func Open(ctx context.Context, o Options) (*Directory, error) {
	if o.CacheEntries == 0 {
		o.CacheEntries = DefaultCacheEntries
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	d := &Directory{o: o, hasher: newHasher(o.Key), changed: make(chan struct{}), stopped: make(chan struct{})}
	d.queue.kick = make(chan struct{}, 1)
	if err := d.checkGenesis(ctx); err != nil {
		return nil, err
	}
	if err := d.load(ctx); err != nil {
		return nil, err
	}
	return d, nil
}

// checkGenesis refuses a key other than the one the log has, and other normal
// forms: they would make every customer a new one.
func (d *Directory) checkGenesis(ctx context.Context) error {
	genesis, err := events.ReadGenesis(ctx, d.o.Log)
	if err != nil {
		return err
	}
	if err := d.checkKey(ctx, genesis); err != nil {
		return err
	}
	if genesis.Normaliser != Normaliser {
		return &events.SettingError{Setting: "normaliser", Log: fmt.Sprint(genesis.Normaliser), Asked: fmt.Sprint(Normaliser)}
	}
	return nil
}

// load opens the store and believes it only if its checkpoint is a place in
// this very log; else it begins with an empty one.
func (d *Directory) load(ctx context.Context) error {
	info, err := d.o.Log.Info(ctx, events.IdentityStream)
	if err != nil {
		return fmt.Errorf("directory: %w", err)
	}
	st, cp, err := d.openChecked(ctx, info)
	if err != nil {
		return err
	}
	types, err := readTypes(st)
	if err != nil {
		return errors.Join(err, st.Close())
	}
	holds, err := d.loadKey(ctx, st)
	if err != nil {
		return errors.Join(err, st.Close())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.st, d.cp, d.target = st, cp, info.Last
	d.types.Store(types)
	d.holdsLocked(holds)
	d.links = newCache[events.CustomerID, link](d.o.CacheEntries)
	d.cache, d.companies = newCache[Hash, binding](d.o.CacheEntries), newCache[events.CustomerID, Memberships](d.o.CacheEntries)
	d.pending, d.committing, d.torn = newTables(), nil, false
	d.joinings.Store(cp.joinings)
	d.merges.Store(cp.merges)
	d.announceLocked()
	return nil
}

func (d *Directory) openChecked(ctx context.Context, info events.StreamInfo) (store.Store, checkpoint, error) {
	st, doubt := d.o.OpenStore(false)
	if doubt == nil {
		var cp checkpoint
		cp, doubt = d.readCheckpoint(ctx, st, info)
		if doubt == nil {
			return st, cp, nil
		}
		if errors.Is(doubt, errLog) {
			return nil, checkpoint{}, errors.Join(doubt, st.Close())
		}
		if err := st.Close(); err != nil {
			d.o.Logger.Warn("close doubtful directory", "error", err)
		}
	}
	if !store.Doubtful(doubt) {
		return nil, checkpoint{}, fmt.Errorf("open directory: %w", doubt)
	}
	d.o.Logger.Warn("directory set aside and rebuilt from the log", "reason", doubt)
	st, err := d.o.OpenStore(true)
	if err != nil {
		return nil, checkpoint{}, fmt.Errorf("open an empty directory (the former one: %w): %w", doubt, err)
	}
	return st, checkpoint{created: info.Created}, nil
}

// errLog marks a doubt that is the log's: the store is not to blame.
var errLog = errors.New("log not readable")

func (d *Directory) readCheckpoint(ctx context.Context, st store.Store, info events.StreamInfo) (checkpoint, error) {
	view := st.View()
	defer view.Close()
	b, err := view.Get(checkpointKey)
	if err != nil {
		return checkpoint{}, fmt.Errorf("read directory checkpoint: %w", err)
	}
	if b == nil {
		return checkpoint{created: info.Created}, d.checkEmpty(view)
	}
	cp, err := decodeCheckpoint(b)
	if err != nil {
		return checkpoint{}, err
	}
	if !cp.created.Equal(info.Created) {
		return checkpoint{}, fmt.Errorf("directory folded IDENTITY created %v, this one was created %v", cp.created.UTC(), info.Created.UTC())
	}
	if cp.seq > info.Last {
		return checkpoint{}, fmt.Errorf("directory folded IDENTITY up to %d, it ends at %d", cp.seq, info.Last)
	}
	if cp.seq == 0 {
		return cp, nil
	}
	m, err := d.o.Log.Get(ctx, events.IdentityStream, cp.seq)
	if err != nil {
		return checkpoint{}, fmt.Errorf("verify directory at %d: %w: %w", cp.seq, errLog, err)
	}
	if !m.Time.Equal(cp.time) {
		return checkpoint{}, fmt.Errorf("directory folded message %d of %v, the log has one of %v", cp.seq, cp.time.UTC(), m.Time.UTC())
	}
	return cp, nil
}

// checkEmpty: a store without a checkpoint may hold rows of a commit that was
// cut off; they are newer than nothing and harmless only if this log wrote
// them, which nobody can tell.
func (d *Directory) checkEmpty(view store.View) error {
	empty := true
	err := view.Scan([]byte{0}, nil, false, func([]byte, []byte) bool { empty = false; return false })
	if err != nil {
		return fmt.Errorf("scan directory: %w", err)
	}
	if !empty {
		return errors.New("directory has rows and no checkpoint")
	}
	return nil
}

// Run follows IDENTITY, commits what it folds and appends decisions until the
// context ends; then it closes the store and returns nil. It returns an error
// only where going on would be wrong: a corrupt log. It is called once.
func (d *Directory) Run(ctx context.Context) error {
	defer close(d.stopped)
	pause := retryFirst
	for {
		began := time.Now()
		err := d.session(ctx)
		d.unload()
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, events.ErrCorrupt) || errors.Is(err, events.ErrFormerKey) {
			return fmt.Errorf("directory: %w", err)
		}
		d.o.Logger.Warn("directory interrupted", "error", err)
		if time.Since(began) > retryLast {
			pause = retryFirst
		}
		for sleep(ctx, pause) {
			pause = min(2*pause, retryLast)
			if err = d.load(ctx); err == nil {
				break
			}
			d.o.Logger.Warn("directory not opened", "error", err)
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// session runs on one store until something fails.
func (d *Directory) session(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	stored := d.Progress().Applied // nothing was folded since it was loaded
	g.Go(func() error { return d.follow(ctx) })
	g.Go(func() error { return d.confirm(ctx) })
	g.Go(func() error { return d.commitLoop(ctx, stored) })
	g.Go(func() error { return d.decideLoop(ctx) })
	return g.Wait()
}

// unload closes the store. What was folded and not committed is dropped; the
// log has it.
func (d *Directory) unload() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.st == nil {
		return
	}
	if err := d.st.Close(); err != nil {
		d.o.Logger.Warn("close directory", "error", err)
	}
	d.st, d.confirmed = nil, time.Time{}
	d.announceLocked()
}

func (d *Directory) follow(ctx context.Context) error {
	d.mu.RLock()
	from := d.cp.seq + 1
	d.mu.RUnlock()
	r, err := d.o.Log.Read(ctx, events.IdentityStream, from)
	if err != nil {
		return fmt.Errorf("follow IDENTITY from %d: %w", from, err)
	}
	defer r.Close()
	for {
		m, err := r.Next(ctx)
		if err != nil {
			return fmt.Errorf("follow IDENTITY: %w", err)
		}
		var id logv1.Identity
		if err := events.Open(m.Data, &id); err != nil {
			return fmt.Errorf("IDENTITY message %d: %w", m.Seq, err)
		}
		if err := d.apply(ctx, m.Seq, m.Time, &id); err != nil {
			return err
		}
	}
}

// apply folds the message at seq. It waits while too much is uncommitted. Where
// it fails half of the message may be folded: that is not to be read any more,
// nor committed.
func (d *Directory) apply(ctx context.Context, seq uint64, at time.Time, id *logv1.Identity) error {
	if err := d.wait(ctx, func() bool { return d.pending.size() < 2*maxPending }); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if seq != d.cp.seq+1 {
		return fmt.Errorf("IDENTITY message %d after %d: %w", seq, d.cp.seq, events.ErrCorrupt)
	}
	s := &snapshot{d: d}
	defer s.close()
	counted := d.cp.counters
	if err := d.foldLocked(s, id, place{seq: seq, time: at}); err != nil {
		d.torn, d.confirmed, d.cp.counters = true, time.Time{}, counted
		return err
	}
	d.cp.seq, d.cp.time = seq, at
	d.announceLocked()
	return nil
}

// foldLocked folds what a message says, and counts it.
func (d *Directory) foldLocked(s *snapshot, id *logv1.Identity, at place) error {
	for i, decision := range id.GetBindings().GetDecisions() {
		at.n = i
		if err := fold(d.pending, s, decision, at); err != nil {
			return fmt.Errorf("IDENTITY message %d, decision %d: %w", at.seq, i, err)
		}
		// At once: the next decision of the message may ask for it.
		d.countLocked()
	}
	if rule := id.GetRule(); rule != nil {
		if err := foldRule(d.pending, s, rule, at); err != nil {
			return fmt.Errorf("IDENTITY message %d: %w", at.seq, err)
		}
		d.countLocked()
	}
	if t := d.pending.changed; t != nil {
		d.types.Store(t)
	}
	if check, ok := d.pending.rows[keyCheckGroup][""]; ok && !bytes.Equal(check, d.key.holds) {
		d.holdsLocked(check)
	}
	return nil
}

func (d *Directory) countLocked() {
	d.cp.counters.add(d.pending.counters)
	d.pending.counters = counters{}
	d.joinings.Store(d.cp.joinings)
	d.merges.Store(d.cp.merges)
}

// confirm asks for the end of IDENTITY and notes when the fold has been there.
// A log that does not answer is waited for; the directory is not ready then.
func (d *Directory) confirm(ctx context.Context) error {
	for {
		asked := time.Now()
		info, err := d.end(ctx)
		switch {
		case errors.Is(err, errLog):
			d.o.Logger.Warn("end of IDENTITY unknown", "error", err)
		case err != nil:
			return err
		default:
			if err := d.reach(ctx, info.Last); err != nil {
				return err
			}
			if err := d.noteConfirmed(asked); err != nil {
				return err
			}
		}
		if !sleep(ctx, confirmEvery) {
			return ctx.Err()
		}
	}
}

// noteConfirmed notes when the fold was at the end of IDENTITY, unless another
// key than ours holds there.
func (d *Directory) noteConfirmed(asked time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.key.other() {
		return events.ErrFormerKey
	}
	d.confirmed = asked
	d.announceLocked()
	return nil
}

// end asks for the end of IDENTITY and checks that it is still the stream that
// was folded.
func (d *Directory) end(ctx context.Context) (events.StreamInfo, error) {
	d.mu.RLock()
	seq, created := d.cp.seq, d.cp.created
	d.mu.RUnlock()
	info, err := d.o.Log.Info(ctx, events.IdentityStream)
	if err != nil {
		return info, fmt.Errorf("end of IDENTITY: %w: %w", errLog, err)
	}
	if !info.Created.Equal(created) || info.Last < seq {
		return info, fmt.Errorf("IDENTITY created %v ends at %d; folded were %d messages of the one created %v",
			info.Created.UTC(), info.Last, seq, created.UTC())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.target = info.Last
	d.announceLocked()
	return info, nil
}

// reach waits until seq is folded, and gives up when nothing moves for long: a
// reader may wait for ever without an error.
func (d *Directory) reach(ctx context.Context, seq uint64) error {
	for {
		before := d.Progress().Applied
		if err := d.waitAtMost(ctx, maxStall, func() bool { return d.cp.seq >= seq }); err != nil {
			return err
		}
		switch after := d.Progress().Applied; {
		case after >= seq:
			return nil
		case after == before:
			return fmt.Errorf("IDENTITY not delivered beyond %d for %v, it reaches %d", after, maxStall, seq)
		}
	}
}

// commitLoop commits a while after something was folded, or at once when it is
// much, and once more at the end. The store holds what was folded up to last.
func (d *Directory) commitLoop(ctx context.Context, last uint64) error {
	for {
		err := d.wait(ctx, func() bool { return d.cp.seq > last })
		if err == nil {
			err = d.waitAtMost(ctx, commitEvery, func() bool { return d.pending.size() >= maxPending })
		}
		var failed error
		if last, failed = d.commit(last); failed != nil {
			return failed
		}
		if err != nil {
			return err
		}
	}
}

// commit writes what was folded after last, and returns up to where; nothing
// after half a message, for the counts in a row would be told twice by folding
// it again. Only one runs at a time. After an error the session ends, the store is closed and
// opened again.
func (d *Directory) commit(last uint64) (uint64, error) {
	d.mu.Lock()
	t, cp := d.pending, d.cp
	if cp.seq == last || d.torn {
		d.mu.Unlock()
		return last, nil
	}
	d.committing, d.pending = t, newTables()
	d.announceLocked()
	d.mu.Unlock()

	if err := d.st.Commit(t.batch(cp)); err != nil {
		return last, fmt.Errorf("commit directory at %d: %w", cp.seq, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for h, b := range t.identifiers {
		d.cache.put(h, b)
	}
	for person, m := range t.joinings {
		d.companies.put(person, m)
	}
	for c, l := range t.links {
		d.links.put(c, l)
	}
	d.committing = nil
	return cp.seq, nil
}

// announceLocked wakes all who wait for a change.
func (d *Directory) announceLocked() {
	close(d.changed)
	d.changed = make(chan struct{})
}

// wait returns when ok holds; ok is called under the lock.
func (d *Directory) wait(ctx context.Context, ok func() bool) error {
	for {
		d.mu.RLock()
		done, changed := ok(), d.changed
		d.mu.RUnlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// waitAtMost is wait that ends without an error when the time is over.
func (d *Directory) waitAtMost(ctx context.Context, most time.Duration, ok func() bool) error {
	limited, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	if err := d.wait(limited, ok); err != nil {
		return ctx.Err()
	}
	return nil
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

// Progress is how far the directory is.
type Progress struct {
	Applied, Last uint64 // of IDENTITY
	Customers     uint64 // made so far
	Quarantined   uint64 // pairs in conflict
}

// Progress tells how far the directory is, without asking the log.
func (d *Directory) Progress() Progress {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return Progress{d.cp.seq, max(d.target, d.cp.seq), d.cp.customers, d.cp.quarantined}
}

// Ready returns nil, or ErrNotReady with the progress.
func (d *Directory) Ready() error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.readyLocked()
}

func (d *Directory) readyLocked() error {
	if d.st == nil {
		return fmt.Errorf("%w: no store", ErrNotReady)
	}
	if d.confirmed.IsZero() || d.key.other() {
		return fmt.Errorf("%w: %d of %d identity messages folded", ErrNotReady, d.cp.seq, d.target)
	}
	if age := time.Since(d.confirmed); age > MaxUnconfirmed {
		return fmt.Errorf("%w: unconfirmed for %v, limit %v", ErrNotReady, age.Round(time.Millisecond), MaxUnconfirmed)
	}
	return nil
}

// QuarantinedCount is the number of pairs of customers in conflict.
func (d *Directory) QuarantinedCount() uint64 { return d.Progress().Quarantined }

// Lookup finds the customer that an identifier names, as far as the directory
// has folded. The value need not be normalised; one that cannot be is an error
// of [Normalise].
func (d *Directory) Lookup(typ, value string) (events.CustomerID, bool, error) {
	normal, _, err := d.types.Load().normalise(typ, value) // also of a value that was blocked since
	if err != nil {
		return events.CustomerID{}, false, err
	}
	h, sure := d.knownBy(d.hasher.hash(canonicalType(typ), normal))
	if !sure {
		return events.CustomerID{}, false, fmt.Errorf("%w: %s cannot be looked for yet", ErrNotReady, typ)
	}
	return d.LookupHash(h)
}

// LookupHash is [Directory.Lookup] of an identifier of which only the hash is
// known, as of one that a header names.
func (d *Directory) LookupHash(hash Hash) (events.CustomerID, bool, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.st == nil || d.confirmed.IsZero() {
		return events.CustomerID{}, false, d.readyLocked()
	}
	s := &snapshot{d: d}
	defer s.close()
	c, _, ok, err := named(s, hash)
	return c, ok, err
}

// snapshot is the graph as of the directory's sequence. The directory's lock
// is held, for reading at least, as long as it is in use.
type snapshot struct {
	d    *Directory
	view store.View // opened when first needed
}

func (s *snapshot) get(key []byte) ([]byte, error) {
	if s.d.st == nil {
		return nil, fmt.Errorf("%w: no store", ErrNotReady)
	}
	if s.view == nil {
		s.view = s.d.st.View()
	}
	return s.view.Get(key)
}

func (s *snapshot) close() {
	if s.view != nil {
		s.view.Close()
	}
}

func (s *snapshot) identifier(h Hash) (binding, bool, error) {
	if b, ok := s.d.pending.identifiers[h]; ok {
		return b, !b.free(), nil
	}
	if s.d.committing != nil {
		if b, ok := s.d.committing.identifiers[h]; ok {
			return b, !b.free(), nil
		}
	}
	if b, ok := s.d.cache.get(h); ok {
		return b, !b.free(), nil
	}
	v, err := s.get(identifierKey(h))
	if v == nil || err != nil {
		return binding{}, false, err
	}
	b, err := decodeBinding(v)
	if err != nil {
		return binding{}, false, err
	}
	s.d.cache.put(h, b)
	return b, true, nil
}

func (s *snapshot) customer(c events.CustomerID) (customer, bool, error) {
	if row, ok := s.d.pending.customers[c]; ok {
		return row, true, nil
	}
	if s.d.committing != nil {
		if row, ok := s.d.committing.customers[c]; ok {
			return row, true, nil
		}
	}
	v, err := s.get(customerKey(c))
	if v == nil || err != nil {
		return customer{}, false, err
	}
	row, err := decodeCustomer(v)
	return row, err == nil, err
}

// link is asked for every event; where nobody was ever merged it costs
// nothing.
func (s *snapshot) link(c events.CustomerID) (link, error) {
	if s.d.cp.merges == 0 {
		return link{}, nil
	}
	if l, ok := s.d.pending.links[c]; ok {
		return l, nil
	}
	if s.d.committing != nil {
		if l, ok := s.d.committing.links[c]; ok {
			return l, nil
		}
	}
	if l, ok := s.d.links.get(c); ok {
		return l, nil
	}
	v, err := s.get(linkKey(c))
	if err != nil {
		return link{}, err
	}
	var l link
	if v != nil {
		if l, err = decodeLink(v); err != nil {
			return link{}, err
		}
	}
	s.d.links.put(c, l)
	return l, nil
}

func (s *snapshot) types() *Types { return s.d.types.Load() }

func (s *snapshot) row(group, key string) ([]byte, error) {
	if value, ok := s.d.pending.rows[group][key]; ok {
		return value, nil
	}
	if s.d.committing != nil {
		if value, ok := s.d.committing.rows[group][key]; ok {
			return value, nil
		}
	}
	return s.get([]byte(group + key))
}

func (s *snapshot) scan(sp span) ([]row, error) {
	if s.d.st == nil {
		return nil, fmt.Errorf("%w: no store", ErrNotReady)
	}
	if s.view == nil {
		s.view = s.d.st.View()
	}
	to := store.PrefixEnd([]byte(sp.group))
	if sp.to != "" {
		to = []byte(sp.group + sp.to)
	}
	return sp.merge(s.d.pending.within(sp, s.d.committing), func(fn func(row) bool) error {
		return s.view.Scan([]byte(sp.group+sp.from), to, sp.reverse, func(key, value []byte) bool {
			return fn(row{string(key[len(sp.group):]), append([]byte{}, value...)})
		})
	})
}
