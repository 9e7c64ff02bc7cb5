package projections

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/columns"
	"github.com/dossier360/dossier/projections/store"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// overlay is the last commit with the uncommitted changes on top; all reads of
// the fold go through it.
//
// Customers stay decoded in two generations: when the young one is full it
// becomes the old one, and what was old and not asked for meanwhile goes.
// Customers with uncommitted changes are never let go.
type overlay struct {
	view            store.View // of the last commit
	cacheBytes      int        // bounds both generations of customers
	refoldEntries   int        // bounds who is folded again inline
	searchedEntries int        // bounds whose history is searched

	young, old map[events.CustomerID]*customer
	youngBytes int

	dirty   []*customer // with uncommitted changes
	paged   []*customer // with pages read since the last commit
	changes []pendingChange
	parked  map[parkedID]*parkedRow // read or changed since the last commit
	moving  map[string][]byte       // routes and jobs changed since the last commit, by key; nil: deleted
	closed  []closedHead            // closed since the last commit
	rows    []*columns.Row          // of the customers that the last commit changed, until published
	timers  timers
	sweep   sweepQueue
	// Estimates of the next commit, and the largest head in it as last written.
	bytes, keys, largest int
}

type pendingChange struct {
	key    []byte
	change *statev1.Change
}

// A decoded customer takes about this many times the bytes of his head, and
// this much more: measured by TestCacheIsBounded.
const (
	decodedFactor = 16
	decodedBytes  = 1024
)

// customer returns a customer as the fold sees him now, a new one if there is
// none.
func (o *overlay) customer(id events.CustomerID) (*customer, error) {
	if c := o.young[id]; c != nil {
		return c, nil
	}
	if c := o.old[id]; c != nil {
		delete(o.old, id)
		o.keep(c)
		return c, nil
	}
	value, err := o.view.Get(headKey(id))
	if err != nil {
		return nil, err
	}
	c := &customer{id: id, o: o, fresh: value == nil, encoded: len(value), head: &statev1.Head{}}
	if err := proto.Unmarshal(value, c.head); err != nil {
		return nil, fmt.Errorf("head of customer %s: %w", id, err)
	}
	if c.head.Facts == nil {
		c.head.Facts = &statev1.Facts{}
	}
	if c.head.Journal == nil {
		c.head.Journal = &statev1.Journal{}
	}
	c.storedTimer = c.head.Timer
	c.held = c.weight()
	o.keep(c)
	return c, nil
}

// keep puts a customer into the young generation.
func (o *overlay) keep(c *customer) {
	if o.young == nil {
		o.young = map[events.CustomerID]*customer{}
	}
	o.young[c.id] = c
	o.youngBytes += c.held
}

// weigh counts a customer of the young generation anew: he has grown.
func (o *overlay) weigh(c *customer) {
	held := c.weight()
	o.youngBytes += held - c.held
	c.held = held
}

// grow adds to the estimate of the next commit.
func (o *overlay) grow(bytes, keys int) {
	o.bytes += bytes
	o.keys += keys
}

// announce adds a change to the outbox.
func (o *overlay) announce(key []byte, change *statev1.Change) {
	o.changes = append(o.changes, pendingChange{key, change})
	o.grow(proto.Size(change)+len(key), 1)
}

// batch gathers everything uncommitted, and the checkpoint.
func (o *overlay) batch(cp *statev1.Checkpoint) (*store.Batch, error) {
	b := &store.Batch{}
	for _, c := range o.dirty {
		if err := c.write(b); err != nil {
			return nil, err
		}
	}
	for _, change := range o.changes {
		value, err := proto.Marshal(change.change)
		if err != nil {
			return nil, fmt.Errorf("write change %s: %w", change.change.Id, err)
		}
		b.Put(change.key, value)
	}
	if err := o.writeParked(b); err != nil {
		return nil, err
	}
	o.writeMoving(b)
	for _, c := range o.closed {
		b.Put(c.key, c.value)
	}
	value, err := proto.Marshal(cp)
	if err != nil {
		return nil, fmt.Errorf("write checkpoint: %w", err)
	}
	b.Put(checkpointKey, value)
	return b, nil
}

// flush commits everything and goes on from the new commit. A crash before the
// commit leaves the commit before, from which the same messages are folded
// again to the same bytes; a crash after it leaves this one. After an error
// the fold is unusable.
func (f *fold) flush(s store.Store) error {
	b, err := f.batch(f.cp)
	if err != nil {
		return err
	}
	if err := s.Commit(b); err != nil {
		return err
	}
	f.view.Close()
	f.view = s.View()
	for _, c := range f.dirty {
		if row := c.row(f.env); row != nil {
			f.rows = append(f.rows, row)
		}
	}
	f.overlay.committed()
	return f.timers.reset(f.view, f.cp.LogTime)
}

// committed forgets what is durable now, and the customers that nobody asked
// for in a while.
func (o *overlay) committed() {
	for _, c := range o.dirty {
		c.committed()
	}
	for _, c := range o.paged {
		c.dropPages()
		o.weigh(c)
	}
	o.dirty, o.paged, o.changes, o.parked, o.sweep = nil, nil, nil, nil, sweepQueue{}
	o.moving, o.closed = nil, nil
	o.bytes, o.keys, o.largest = 0, 0, 0
	if o.youngBytes > o.cacheBytes/2 {
		o.old, o.young, o.youngBytes = o.young, nil, 0
	}
}

// sweepQueue holds the ids after a cursor, read ahead from the last commit.
type sweepQueue struct{ ids []events.CustomerID }

// nextCustomer returns the customer after the cursor in order of id, nil at
// the end. Called with the cursor it returned last.
func (o *overlay) nextCustomer(cursor []byte) (*customer, error) {
	q := &o.sweep
	for len(q.ids) > 0 && string(q.ids[0][:]) <= string(cursor) {
		q.ids = q.ids[1:]
	}
	if len(q.ids) == 0 {
		if err := q.fill(o.view, cursor); err != nil {
			return nil, err
		}
	}
	best := o.leastFresh(cursor)
	if len(q.ids) > 0 && (best == nil || q.ids[0].Compare(best.id) < 0) {
		return o.customer(q.ids[0])
	}
	return best, nil
}

// fill reads the ids after the cursor, as many as one message sweeps.
func (q *sweepQueue) fill(v store.View, cursor []byte) error {
	from := append([]byte{keyHead}, cursor...)
	if len(cursor) > 0 {
		from = append(from, 0)
	}
	var bad error
	err := v.Scan(from, []byte{keyHead + 1}, false, func(key, _ []byte) bool {
		var id events.CustomerID
		if id, bad = customerFromHeadKey(key); bad != nil {
			return false
		}
		q.ids = append(q.ids, id)
		return len(q.ids) < maxSweepEvaluations
	})
	if err == nil {
		err = bad
	}
	return err
}

// leastFresh returns the customer with the least id beyond the cursor whom the
// last commit does not hold.
func (o *overlay) leastFresh(cursor []byte) *customer {
	var least *customer
	for _, c := range o.dirty {
		if c.fresh && bytes.Compare(c.id[:], cursor) > 0 && (least == nil || c.id.Compare(least.id) < 0) {
			least = c
		}
	}
	return least
}

// full reports whether what is uncommitted should be committed now, by a limit
// of commitBytes or less. A head that is larger gets company all the same, or
// every event of his would write it once.
func (o *overlay) full(limit int) bool {
	if limit == commitBytes {
		limit = max(limit, o.largest+bigHeadBytes)
	}
	return o.bytes >= limit || o.keys >= commitKeys
}

// settled is the settled time given the earliest timer: log time if nothing is
// pending, else the instant before the earliest pending.
func settled(cp *statev1.Checkpoint, earliest int64) int64 {
	at := cp.LogTime
	if cp.Place != nil {
		// Inside a message events are applied whose customers are not evaluated.
		at = cp.Place.LogTimeBefore
	}
	if earliest != 0 && earliest <= at {
		at = earliest - 1
	}
	if cp.Sweep != nil && cp.Sweep.Since <= at {
		at = cp.Sweep.Since - 1
	}
	return at
}
