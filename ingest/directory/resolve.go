package directory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
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
	// unsure: which hash the log knows it by could not be told.
	unsure bool
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
	h, sure := d.knownBy(d.hasher.hash(typ, normal))
	return Identifier{Type: typ, Value: normal, Hash: h, kind: k, unsure: !sure}, nil
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

// others finds which identifiers are not c's: they name another customer, or
// nobody.
func others(g graph, ids []Identifier, c events.CustomerID) (bits uint32, err error) {
	for i := range ids {
		root, b, ok, err := named(g, ids[i].Hash)
		if err != nil {
			return 0, err
		}
		if b.blocked || ok && root != c {
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
	var undecided undecided
	for from := 0; from < len(requests); from += chunk {
		to := min(from+chunk, len(requests))
		var err error
		if err = d.lookUp(requests[from:to], addresses[from:to], from, &undecided); err != nil {
			return nil, err
		}
	}
	if len(undecided.indexes) == 0 {
		return addresses, nil
	}
	c := &call{done: make(chan struct{}), left: len(undecided.indexes)}
	items := make([]item, len(undecided.indexes))
	for n, i := range undecided.indexes {
		items[n] = item{request: &requests[i], address: &addresses[i], call: c}
	}
	if err := d.enqueue(ctx, c, items); err != nil {
		return nil, err // the decider may still write into addresses
	}
	return addresses, nil
}

// undecided are the sets of a call that the decider has to look at, in order.
type undecided struct {
	indexes []int
	hashes  map[Hash]bool // of their identifiers; nil if there are none
}

// add adds a set.
func (u *undecided) add(index int, ids []Identifier) {
	u.indexes = append(u.indexes, index)
	if u.hashes == nil {
		u.hashes = map[Hash]bool{}
	}
	for i := range ids {
		u.hashes[ids[i].Hash] = true
	}
}

// touches reports whether a set tells an identifier that an undecided one tells
// before it: whose it is then is not known yet.
func (u *undecided) touches(ids []Identifier) bool {
	return u.hashes != nil && slices.ContainsFunc(ids, func(id Identifier) bool { return u.hashes[id.Hash] })
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
	if err := sure(r.Identifiers...); err != nil {
		return err
	}
	for i := range r.Identifiers {
		if kind := r.Identifiers[i].Kind(); kind != r.Kind {
			return fmt.Errorf("resolve event %q of %q: %s names a customer of kind %v, the set one of kind %v",
				r.EventID, r.Source, r.Identifiers[i].Type, kind, r.Kind)
		}
	}
	return nil
}

// lookUp resolves what needs no decision, and gathers the rest.
func (d *Directory) lookUp(requests []Request, addresses []Address, from int, rest *undecided) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if err := d.readyLocked(); err != nil {
		return err
	}
	s := &snapshot{d: d}
	defer s.close()
	for i, r := range requests {
		if err := r.check(); err != nil {
			return err
		}
		if rest.touches(r.Identifiers) {
			rest.add(from+i, r.Identifiers)
			continue
		}
		c, kind, ok, err := agreed(s, r.Identifiers)
		if err != nil {
			return err
		}
		if ok {
			addresses[i] = Address{Customer: c, Kind: kind, At: d.cp.seq}
			continue
		}
		v, err := decide(s, r, func() events.CustomerID { return events.CustomerID{} })
		if err != nil {
			return err
		}
		if len(v.bind) > 0 || v.merge != nil {
			rest.add(from+i, r.Identifiers)
			continue
		}
		if addresses[i], err = v.address(s, r); err != nil {
			return err
		}
		addresses[i].At = d.cp.seq
	}
	return nil
}

// address is the address of a set that is decided, but for At.
func (v *verdict) address(g graph, r Request) (Address, error) {
	a := Address{Customer: v.customer, Kind: v.kind, Blocked: v.customer.IsZero()}
	var err error
	a.Others, err = others(g, r.Identifiers, v.customer)
	return a, err
}

// item is one undecided set of a call, or one joining, or an order.
type item struct {
	request *Request
	address *Address
	joining *Joining
	order   *order
	call    *call
}

// step is what has to be logged next for an item.
type step struct {
	bind []*logv1.Decision
	// rule has to follow, in a message of its own; then the item is decided
	// anew. Nil: with bind it is done.
	rule    *logv1.Rule
	verdict verdict // of a set
	// moved are the identifiers that a split moves, by hash.
	moved []*logv1.HashedIdentifier
}

// next says what has to be logged for an item as things stand.
func (i *item) next(g graph, mint func() events.CustomerID) (step, error) {
	switch {
	case i.joining != nil:
		d, err := i.joining.decide(g)
		return step{bind: d}, err
	case i.order != nil:
		return i.order.next(g, mint)
	}
	v, err := decide(g, *i.request, mint)
	s := step{bind: v.bind, verdict: v}
	if v.merge != nil {
		s.rule = &logv1.Rule{Rule: &logv1.Rule_Merged{Merged: v.merge}}
	}
	return s, err
}

// settle tells the call where an item was decided.
func (i *item) settle(r result, at uint64) {
	if i.address != nil {
		r.address.At = at
		*i.address = r.address
	}
	if i.order != nil {
		i.order.outcome.At = at
	}
	i.call.settle(r.err)
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
	var tried []plan
	for {
		p, err := d.plan(items)
		if err != nil {
			return items, err
		}
		// Only now: what is found in the log later than this, the plan had not
		// seen either, and is refused for it.
		if done, err := d.stored(ctx, tried); err != nil {
			return items, fmt.Errorf("%w: %w", ErrNotReady, err)
		} else if done != nil {
			return done.settle(items, done.seq+1), nil
		}
		at := p.seq
		if !p.empty() {
			if at, err = d.append(ctx, p); err == nil {
				err = d.reach(ctx, at)
			}
		}
		if err == nil {
			return p.settle(items, at), nil
		}
		if time.Since(began) > maxAppend {
			return items, fmt.Errorf("%w: %w", ErrNotReady, err)
		}
		switch {
		case errors.Is(err, events.ErrConflict):
		case errors.Is(err, events.ErrUnknown):
			tried = append(tried, p)
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

// stored finds which of the plans is in the log whose append had no answer. An
// order must know: what it said cannot be told from what it finds.
func (d *Directory) stored(ctx context.Context, tried []plan) (*plan, error) {
	for i := range tried {
		p := &tried[i]
		if len(p.ordered) == 0 || d.Progress().Applied <= p.seq {
			continue
		}
		m, err := d.o.Log.Get(ctx, events.IdentityStream, p.seq+1)
		if err != nil {
			return nil, fmt.Errorf("look for an append at %d: %w", p.seq, err)
		}
		var id logv1.Identity
		if err := events.Open(m.Data, &id); err != nil {
			return nil, fmt.Errorf("IDENTITY message %d: %w", m.Seq, err)
		}
		if bytes.Equal(id.GetBatch(), p.batch[:]) {
			return p, nil
		}
	}
	return nil, nil
}

// plan is what one message would say: binding decisions, or one rule.
type plan struct {
	seq      uint64 // decided at
	batch    events.CustomerID
	bindings *logv1.Bindings
	rule     *logv1.Rule
	results  []result // of the first items, which are done by it
	ordered  []ordered
}

// result of an item that is done: a set's address but for At, or why an order
// cannot be followed.
type result struct {
	address Address
	err     error
}

// ordered is what a message says for an order.
type ordered struct {
	order *order
	step  step
}

func (p *plan) empty() bool { return len(p.bindings.Decisions) == 0 && p.rule == nil }

// settle tells the items that are done where they are, and returns the others.
func (p *plan) settle(items []item, at uint64) []item {
	for _, o := range p.ordered {
		o.order.decided(o.step, at)
	}
	for i, r := range p.results {
		items[i].settle(r, at)
	}
	return items[len(p.results):]
}

// plan decides items against what is known and against each other, until the
// message is full.
func (d *Directory) plan(items []item) (plan, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	s := &snapshot{d: d}
	defer s.close()
	o := newOverlay(s)
	p := plan{seq: d.cp.seq, batch: d.mint(), bindings: &logv1.Bindings{}}
	size := 0
	for n := range items {
		i := &items[n]
		step, err := i.next(o, d.mint)
		if refused := (*refusal)(nil); errors.As(err, &refused) {
			p.results = append(p.results, result{err: refused.err})
			continue
		}
		if err != nil {
			return p, err
		}
		for _, decision := range step.bind {
			size += proto.Size(decision) + 4 // tag and length
		}
		full := size > maxMessageBytes-messageOverhead || len(p.bindings.Decisions)+len(step.bind) > maxMessageDecisions
		if full && len(p.bindings.Decisions) > 0 {
			return p, nil
		}
		if step.rule != nil && len(step.bind) == 0 {
			// Alone in its message: what goes before it is settled before it.
			if len(p.results) == 0 && len(p.bindings.Decisions) == 0 {
				p.rule = stamped(step.rule)
				p.note(i, step)
			}
			return p, nil
		}
		for _, decision := range step.bind {
			if err := fold(o.tables, o, decision, place{seq: d.cp.seq + 1, n: len(p.bindings.Decisions)}); err != nil {
				return p, err
			}
			p.bindings.Decisions = append(p.bindings.Decisions, decision)
		}
		p.note(i, step)
		if step.rule != nil {
			return p, nil
		}
		var r result
		if i.request != nil {
			if r.address, err = step.verdict.address(o, *i.request); err != nil {
				return p, err
			}
		}
		p.results = append(p.results, r)
	}
	return p, nil
}

func (p *plan) note(i *item, s step) {
	if i.order != nil {
		p.ordered = append(p.ordered, ordered{i.order, s})
	}
}

// stamped says when a rule was decided.
func stamped(r *logv1.Rule) *logv1.Rule {
	for _, why := range []*logv1.Why{r.GetMerged().GetWhy(), r.GetSplit().GetWhy()} {
		if why != nil {
			why.At = time.Now().UnixMicro()
		}
	}
	return r
}

func (d *Directory) mint() events.CustomerID { return events.CustomerID(d.o.Minter.Mint()) }

// messageOverhead is what a message holds beside decisions, and more.
const messageOverhead = 256

func (d *Directory) append(ctx context.Context, p plan) (uint64, error) {
	message := &logv1.Identity{Gateway: d.o.Gateway, Batch: p.batch[:], Content: &logv1.Identity_Bindings{Bindings: p.bindings}}
	subject := events.SubjectBind
	if p.rule != nil {
		message.Content, subject = &logv1.Identity_Rule{Rule: p.rule}, events.SubjectRule
	}
	frame, err := events.Seal(message)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	seq, err := d.o.Log.Append(ctx, events.IdentityStream, subject, frame, events.ExpectLast(p.seq))
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer in %v: %w", appendTimeout, events.ErrUnknown)
	}
	if err != nil {
		return 0, fmt.Errorf("append %d decisions at %d: %w", max(len(p.bindings.Decisions), 1), p.seq, err)
	}
	return seq, nil
}
