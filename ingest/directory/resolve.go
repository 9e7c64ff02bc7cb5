package directory

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// Bounds of deciding.
const (
	// maxMessageBytes and maxMessageDecisions bound one message of IDENTITY:
	// what a follower folds under its lock.
	maxMessageBytes     = 256 << 10
	maxMessageDecisions = 4_096
	// maxQueued bounds the undecided sets that wait; beyond it callers are
	// told to come again.
	maxQueued = 20_000
	// chunk is how many sets are looked up under one hold of the lock.
	chunk = 64
	// maxAppend is how long an append of decisions is tried before those who
	// wait are told that the directory is not ready.
	maxAppend = 30 * time.Second
	// appendTimeout is how long one try may take.
	appendTimeout = 10 * time.Second
)

// Identifier is a normalised identifier and its hash. Make one with
// [Directory.Identify].
type Identifier struct {
	Type, Value string
	Hash        Hash
	kind        kind
}

// Identify normalises and hashes an identifier; of two spellings of a type it
// has the one that is kept (group_id becomes company_id). The errors are those
// of [Normalise], and *[ValueError].
func (d *Directory) Identify(typ, value string) (Identifier, error) {
	types := d.types.Load()
	normal, k, err := types.normalise(typ, value)
	if err == nil {
		err = types.admit(typ, normal)
	}
	if err != nil {
		return Identifier{}, err
	}
	typ = canonicalType(typ)
	return Identifier{Type: typ, Value: normal, Hash: d.hasher.hash(typ, normal), kind: k}, nil
}

// Kind is the kind of customer that the identifier names.
func (i Identifier) Kind() logv1.CustomerKind {
	if i.kind.company {
		return logv1.CustomerKind_CUSTOMER_KIND_COMPANY
	}
	return logv1.CustomerKind_CUSTOMER_KIND_PERSON
}

// Strength orders identifiers of one kind by how surely they name a customer:
// the greater the surer.
func (i Identifier) Strength() int { return int(i.kind.strength) }

func (i Identifier) hashed() *logv1.HashedIdentifier {
	return &logv1.HashedIdentifier{Type: i.Type, Hash: i.Hash[:]}
}

// Request is a set of identifiers of one customer that one event told, at least
// one and all of one kind.
type Request struct {
	Identifiers []Identifier
	// Kind of the customer. An identifier's type decides the kind it names, so
	// a person and a company never share one, and are never joined.
	Kind logv1.CustomerKind
	// Of the event, noted where it caused a conflict or a merge.
	Source, EventID string
	// Force merges the customers that the set names whatever they hold, unless
	// they are kept apart.
	Force bool
}

// Address is whose the event is.
type Address struct {
	Customer events.CustomerID
	Kind     logv1.CustomerKind
	// At is the sequence of IDENTITY at which this was so.
	At uint64
	// Others has bit i set where identifier i of the request is not the
	// customer's: it names another one, a conflict that waits in quarantine, or
	// it was blocked by hand.
	Others uint32
	// Blocked: every identifier of the request was blocked by hand. The set
	// names nobody, and nobody was made for it: Customer is zero.
	Blocked bool
}

// others finds which identifiers name another customer than c.
func others(g graph, ids []Identifier, c events.CustomerID) (bits uint32, err error) {
	for i := range ids {
		b, ok, err := g.identifier(ids[i].Hash)
		if err != nil {
			return 0, err
		}
		if ok && b.customer != c {
			bits |= 1 << i
		}
	}
	return bits, nil
}

// Resolve finds the customer of every set, in order, and decides where it is
// not known. When it returns nil, every decision is durable. Errors:
// ErrNotReady, ErrOverload, those of the log, ctx.Err(). A set whose decision
// was made although the call failed is simply known the next time.
func (d *Directory) Resolve(ctx context.Context, requests []Request) ([]Address, error) {
	addresses := make([]Address, len(requests))
	var undecided []int
	for from := 0; from < len(requests); from += chunk {
		to := min(from+chunk, len(requests))
		var err error
		if undecided, err = d.lookUp(requests[from:to], addresses[from:to], from, undecided); err != nil {
			return nil, err
		}
	}
	if len(undecided) == 0 {
		return addresses, nil
	}
	c := &call{done: make(chan struct{}), left: len(undecided)}
	items := make([]item, len(undecided))
	for n, i := range undecided {
		items[n] = item{request: &requests[i], address: &addresses[i], call: c}
	}
	if err := d.enqueue(ctx, c, items); err != nil {
		return nil, err // the decider may still write into addresses
	}
	return addresses, nil
}

// enqueue hands items of one call to the decider and waits for all of them.
func (d *Directory) enqueue(ctx context.Context, c *call, items []item) error {
	if !d.queue.add(items) {
		return fmt.Errorf("%w: %d more, limit %d", ErrOverload, len(items), maxQueued)
	}
	select {
	case <-c.done:
		return c.err
	case <-d.stopped:
		return fmt.Errorf("%w: stopped", ErrNotReady)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// check holds a set against what is promised of it.
func (r *Request) check() error {
	if len(r.Identifiers) == 0 {
		return fmt.Errorf("resolve event %q of %q: no identifier", r.EventID, r.Source)
	}
	for i := range r.Identifiers {
		if kind := r.Identifiers[i].Kind(); kind != r.Kind {
			return fmt.Errorf("resolve event %q of %q: %s names a customer of kind %v, the set one of kind %v",
				r.EventID, r.Source, r.Identifiers[i].Type, kind, r.Kind)
		}
	}
	return nil
}

// lookUp resolves what needs no decision, and gathers the indexes of the rest.
func (d *Directory) lookUp(requests []Request, addresses []Address, from int, undecided []int) ([]int, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if err := d.readyLocked(); err != nil {
		return nil, err
	}
	s := &snapshot{d: d}
	defer s.close()
	for i, r := range requests {
		if err := r.check(); err != nil {
			return nil, err
		}
		b, ok, err := agreed(s, r.Identifiers)
		if err != nil {
			return nil, err
		}
		if ok {
			addresses[i] = Address{Customer: b.customer, Kind: b.kind, At: d.cp.seq}
			continue
		}
		b, decisions, err := decide(s, r, func() events.CustomerID { return events.CustomerID{} })
		if err != nil {
			return nil, err
		}
		if len(decisions) > 0 {
			undecided = append(undecided, from+i)
			continue
		}
		bits, err := others(s, r.Identifiers, b.customer)
		if err != nil {
			return nil, err
		}
		addresses[i] = Address{Customer: b.customer, Kind: b.kind, At: d.cp.seq, Others: bits}
	}
	return undecided, nil
}

// item is one undecided set of a call, or one joining.
type item struct {
	request *Request
	address *Address
	joining *Joining // nil: a set
	call    *call
}

// decide says what has to be logged for an item, and of a set whose it is.
func (i item) decide(g graph, mint func() events.CustomerID) (binding, []*logv1.Decision, error) {
	if i.joining == nil {
		return decide(g, *i.request, mint)
	}
	m, err := g.memberships(i.joining.Person)
	if err != nil || !m.news(i.joining) {
		return binding{}, nil, err
	}
	return binding{}, []*logv1.Decision{i.joining.decision()}, nil
}

// settle tells the call where an item was decided.
func (i item) settle(a Address, at uint64) {
	if i.address != nil {
		a.At = at
		*i.address = a
	}
	i.call.settle(nil)
}

// call waits for its items. Its fields belong to the decider until done is
// closed.
type call struct {
	left int
	err  error
	done chan struct{}
}

func (c *call) settle(err error) {
	if err != nil && c.err == nil {
		c.err = err
	}
	if c.left--; c.left == 0 {
		close(c.done)
	}
}

// queue holds undecided sets while an append is under way.
type queue struct {
	mu    sync.Mutex
	items []item
	kick  chan struct{} // holds one token while items may be there
}

// add reports false if the queue is too full. One call always finds room in an
// empty queue.
func (q *queue) add(items []item) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) > 0 && len(q.items)+len(items) > maxQueued {
		return false
	}
	q.items = append(q.items, items...)
	select {
	case q.kick <- struct{}{}:
	default:
	}
	return true
}

func (q *queue) take() []item {
	q.mu.Lock()
	defer q.mu.Unlock()
	items := q.items
	q.items = nil
	return items
}

// decideLoop makes decisions, one append at a time; what comes meanwhile waits
// and shares the next append.
func (d *Directory) decideLoop(ctx context.Context) error {
	var items []item
	fail := func(err error) {
		for _, i := range append(items, d.queue.take()...) {
			i.call.settle(err)
		}
		items = nil
	}
	defer func() { fail(fmt.Errorf("%w: stopped", ErrNotReady)) }()
	for {
		if len(items) == 0 {
			select {
			case <-d.queue.kick:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		items = append(items, d.queue.take()...)
		var err error
		items, err = d.round(ctx, items) // what it decided is settled, and nobody's any more
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, events.ErrCorrupt):
			return err
		case err != nil:
			fail(err)
		}
	}
}

// round decides as many items as one message holds, and returns the others.
//
// An append of which the outcome is unknown needs no special care: it expects
// a sequence, so either it is stored there, and the next try is refused, reads
// it and finds its sets known, or it can never be stored any more once the
// next try is.
func (d *Directory) round(ctx context.Context, items []item) ([]item, error) {
	began, pause := time.Now(), retryFirst
	for {
		plan, err := d.plan(items)
		if err != nil {
			return items, err
		}
		at := plan.seq
		if len(plan.bindings.Decisions) > 0 {
			if at, err = d.append(ctx, plan); err == nil {
				err = d.reach(ctx, at)
			}
		}
		if err == nil {
			for i, address := range plan.addresses {
				items[i].settle(address, at)
			}
			return items[len(plan.addresses):], nil
		}
		if time.Since(began) > maxAppend {
			return items, fmt.Errorf("%w: %w", ErrNotReady, err)
		}
		switch {
		case errors.Is(err, events.ErrConflict):
		case errors.Is(err, events.ErrUnknown):
			if !sleep(ctx, pause) {
				return items, ctx.Err()
			}
			pause = min(2*pause, retryLast)
		default:
			return items, err
		}
		info, err := d.end(ctx)
		if err == nil {
			err = d.reach(ctx, info.Last)
		}
		if err != nil && !errors.Is(err, errLog) {
			return items, fmt.Errorf("%w: %w", ErrNotReady, err)
		}
	}
}

// plan is what one message would say.
type plan struct {
	seq       uint64 // decided at
	bindings  *logv1.Bindings
	addresses []Address // of the first items, but for At
}

// plan decides items against what is known and against each other, until the
// message is full.
func (d *Directory) plan(items []item) (plan, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	s := &snapshot{d: d}
	defer s.close()
	o := newOverlay(s)
	p := plan{seq: d.cp.seq, bindings: &logv1.Bindings{}}
	bytes := 0
	for _, i := range items {
		b, decisions, err := i.decide(o, func() events.CustomerID { return events.CustomerID(d.o.Minter.Mint()) })
		if err != nil {
			return p, err
		}
		for _, decision := range decisions {
			bytes += proto.Size(decision) + 4 // tag and length
		}
		if len(p.addresses) > 0 && (bytes > maxMessageBytes-messageOverhead || len(p.bindings.Decisions)+len(decisions) > maxMessageDecisions) {
			return p, nil
		}
		for _, decision := range decisions {
			if err := fold(o.tables, o, decision); err != nil {
				return p, err
			}
		}
		p.bindings.Decisions = append(p.bindings.Decisions, decisions...)
		a := Address{Customer: b.customer, Kind: b.kind}
		if i.request != nil {
			if a.Others, err = others(o, i.request.Identifiers, b.customer); err != nil {
				return p, err
			}
		}
		p.addresses = append(p.addresses, a)
	}
	return p, nil
}

// messageOverhead is what a message holds beside decisions, and more.
const messageOverhead = 256

func (d *Directory) append(ctx context.Context, p plan) (uint64, error) {
	batch := d.o.Minter.Mint()
	frame, err := events.Seal(&logv1.Identity{
		Gateway: d.o.Gateway, Batch: batch[:], Content: &logv1.Identity_Bindings{Bindings: p.bindings},
	})
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	seq, err := d.o.Log.Append(ctx, events.IdentityStream, events.SubjectBind, frame, events.ExpectLast(p.seq))
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer in %v: %w", appendTimeout, events.ErrUnknown)
	}
	if err != nil {
		return 0, fmt.Errorf("append %d decisions at %d: %w", len(p.bindings.Decisions), p.seq, err)
	}
	return seq, nil
}
