package directory

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dossier360/dossier/events"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// Bounds of orders.
const (
	// MaxOrder bounds the customers or identifiers of one order.
	MaxOrder = 32
	// MaxSplit bounds the identifiers that one split moves: they stand in its
	// message, and whoever folds it looks for each.
	MaxSplit = 20_000
)

// Errors of orders. Each is final: the order cannot be followed as things
// stand, and asking again does not help.
var (
	// ErrUnknownCustomer: nobody was ever given this id, or nobody is named by
	// this identifier.
	ErrUnknownCustomer = errors.New("customer unknown")
	// ErrUnknownMerge: no merge has this id.
	ErrUnknownMerge = errors.New("merge unknown")
	// ErrUnknownConflict: no conflict has this id.
	ErrUnknownConflict = errors.New("conflict unknown")
	// ErrKinds: a person and a company are never one.
	ErrKinds = errors.New("customers are of two kinds")
	// ErrUndone: the merge was undone already.
	ErrUndone = errors.New("merge undone already")
	// ErrOneCustomer: the two are one customer.
	ErrOneCustomer = errors.New("customers are one")
	// ErrNotHis: an identifier to take out is not the customer's.
	ErrNotHis = errors.New("identifier is not the customer's")
	// ErrNothingLeft: the split would take out all that the customer has.
	ErrNothingLeft = errors.New("nothing would be left of the customer")
	// ErrTooMany: more than an order, or a split, may hold.
	ErrTooMany = errors.New("too many for one order")
	// ErrBlockedHere: the identifier was blocked by hand.
	ErrBlockedHere = errors.New("identifier is blocked")
	// ErrResolved: the conflict was resolved already.
	ErrResolved = errors.New("conflict resolved already")
)

// Cause is why people order something.
type Cause struct {
	// Rule is "manual" if empty; "suspect" where a suspicion is followed.
	Rule          string
	Reason, Actor string
}

// MergeOrder says that customers are one: 2 to MaxOrder, by any id they ever
// had. Who has more identifiers stays, of equal ones the older.
type MergeOrder struct {
	Customers []events.CustomerID
	Cause     Cause
	DryRun    bool
}

// SplitOrder undoes a merge by its id, or takes identifiers out of a customer.
type SplitOrder struct {
	Undo        uint64
	Customer    events.CustomerID
	Identifiers []Identifier
	Cause       Cause
	DryRun      bool
}

// LinkOrder says that identifiers of one kind, 2 to MaxOrder, are one
// customer's: unknown ones become his, and whom the others name is merged. At
// least one must be known.
type LinkOrder struct {
	Identifiers []Identifier
	Cause       Cause
	DryRun      bool
}

// ApartOrder says that two customers are not the same.
type ApartOrder struct {
	A, B   events.CustomerID
	Cause  Cause
	DryRun bool
}

// BlockOrder says that an identifier names nobody from here on, or no longer
// so.
type BlockOrder struct {
	Identifier Identifier
	Release    bool
	Cause      Cause
	DryRun     bool
}

// ResolveOrder joins the two customers of a conflict, or keeps them apart.
type ResolveOrder struct {
	Conflict string
	Approve  bool
	Cause    Cause
	DryRun   bool
}

// Decided is one decision of an order.
type Decided struct {
	// Seq is its sequence in IDENTITY, by which a merge is undone; 0 in a dry
	// run.
	Seq  uint64
	Kind DecidedKind
	// From is the loser of a merge or who was split, To the winner or the other
	// side; To is zero where a dry run would make a new customer. Of any other
	// decision To is the customer, or one, whom it is about; of two that are kept
	// apart From is the other.
	From, To events.CustomerID
	// Identifiers are those that move, or that it is about.
	Identifiers []*logv1.HashedIdentifier
	// Undoes is the merge that a split undoes.
	Undoes uint64
}

// DecidedKind is what was decided, as people read it.
type DecidedKind string

// The kinds of decisions.
const (
	DecidedMerged    DecidedKind = "merged"
	DecidedSplit     DecidedKind = "split"
	DecidedLinked    DecidedKind = "linked"
	DecidedKeptApart DecidedKind = "kept_apart"
	DecidedBlocked   DecidedKind = "blocked"
	DecidedReleased  DecidedKind = "released"
)

// Outcome is what an order came to.
type Outcome struct {
	Decisions []Decided // none: it is so already
	// At is the sequence of IDENTITY at which it is so.
	At uint64
}

// MergeEntry is one merge or split of the history.
type MergeEntry struct {
	Seq      uint64
	Time     time.Time
	Merged   *logv1.Merged // or:
	Split    *logv1.Split
	UndoneBy uint64 // of a merge: the split that undid it
}

// MergesQuery asks for the history of merges and splits, newest first.
type MergesQuery struct {
	// Customer is who takes part, under any id that is his now; zero: all.
	Customer events.CustomerID
	// Before is a sequence: only older entries; 0: from the newest on.
	Before uint64
	Limit  int
}

// Conflict is a pair of customers that an event named together and that were
// not joined.
type Conflict struct {
	ID         string // "<sequence>-<number in the message>"
	State      ConflictState
	Time       time.Time
	Told       *logv1.Quarantined
	ResolvedAt time.Time  // zero: open
	Resolution *logv1.Why // nil: open
}

// ConflictState is what became of a conflict, as people read it.
type ConflictState string

// The states of a conflict.
const (
	ConflictOpen      ConflictState = "open"
	ConflictApproved  ConflictState = "approved"
	ConflictDismissed ConflictState = "dismissed"
)

// ConflictsQuery asks for conflicts, newest first.
type ConflictsQuery struct {
	State    ConflictState     // "": all
	Customer events.CustomerID // under any id that is his now; zero: all
	Before   string            // an ID: only older ones; "": from the newest on
	Limit    int
}

// refusal is that an order cannot be followed: an error of the order alone.
type refusal struct{ err error }

func (r *refusal) Error() string { return r.err.Error() }

func refuse(format string, args ...any) error { return &refusal{fmt.Errorf(format, args...)} }

// order is what somebody wants, followed in as many messages as it takes.
type order struct {
	// steps says what is to be logged next, after what was decided so far.
	steps   func(g graph, mint func() events.CustomerID) (step, error)
	once    bool // it is done when anything was decided
	outcome Outcome
}

func (o *order) next(g graph, mint func() events.CustomerID) (step, error) {
	if o.once && len(o.outcome.Decisions) > 0 {
		return step{}, nil
	}
	return o.steps(g, mint)
}

// decided notes what a message said: the decisions of a step, or its rule.
func (o *order) decided(s step, seq uint64) {
	if len(s.bind) == 0 && s.rule != nil {
		o.outcome.Decisions = append(o.outcome.Decisions, describeRule(s, seq))
		return
	}
	for _, d := range s.bind {
		o.outcome.Decisions = append(o.outcome.Decisions, describe(d, seq))
	}
}

func describeRule(s step, seq uint64) Decided {
	if m := s.rule.GetMerged(); m != nil {
		return Decided{Seq: seq, Kind: DecidedMerged, From: customerOf(m.Loser), To: customerOf(m.Winner), Identifiers: m.GetWhy().GetIdentifiers()}
	}
	p := s.rule.GetSplit()
	return Decided{Seq: seq, Kind: DecidedSplit, From: customerOf(p.From), To: customerOf(p.To), Identifiers: s.moved, Undoes: p.Undoes}
}

func describe(d *logv1.Decision, seq uint64) Decided {
	switch d := d.Decision.(type) {
	case *logv1.Decision_Linked:
		return Decided{Seq: seq, Kind: DecidedLinked, To: customerOf(d.Linked.Customer), Identifiers: d.Linked.Identifiers}
	case *logv1.Decision_KeptApart:
		return Decided{Seq: seq, Kind: DecidedKeptApart, From: customerOf(d.KeptApart.A), To: customerOf(d.KeptApart.B)}
	case *logv1.Decision_Blocked:
		kind := DecidedBlocked
		if d.Blocked.Released {
			kind = DecidedReleased
		}
		return Decided{Seq: seq, Kind: kind, Identifiers: []*logv1.HashedIdentifier{d.Blocked.Identifier}}
	}
	panic(fmt.Sprintf("not reached: an order decided %T", d.Decision))
}

// customerOf reads an id that was written here.
func customerOf(b []byte) (c events.CustomerID) {
	copy(c[:], b)
	return c
}

// why is the cause as it is logged.
func (c Cause) why() *logv1.Why {
	return &logv1.Why{Rule: cmp.Or(c.Rule, ruleManual), Reason: c.Reason, Actor: c.Actor, At: time.Now().UnixMicro()}
}

// obey follows an order, or finds out on paper what it would come to.
func (d *Directory) obey(ctx context.Context, o *order, dry bool) (Outcome, error) {
	if err := d.CatchUp(ctx); err != nil {
		return Outcome{}, err
	}
	if dry {
		return d.rehearse(o)
	}
	c := &call{done: make(chan struct{}), left: 1}
	if err := d.enqueue(ctx, c, []item{{order: o, call: c}}); err != nil {
		return Outcome{}, err
	}
	return o.outcome, nil
}

// CatchUp waits until everything is folded that IDENTITY holds now: what another
// gateway has decided is known then. Errors: ErrNotReady, ctx.Err().
func (d *Directory) CatchUp(ctx context.Context) error {
	if err := d.Ready(); err != nil {
		return err
	}
	info, err := d.end(ctx)
	if err == nil {
		err = d.reach(ctx, info.Last)
	}
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", ErrNotReady, err)
	}
	return err
}

// rehearse follows an order on paper.
func (d *Directory) rehearse(o *order) (Outcome, error) {
	err := d.reading(func(s *snapshot) error {
		o.outcome.At = d.cp.seq
		paper := newOverlay(s)
		for n := uint64(1); ; n++ {
			step, err := o.next(paper, d.mint)
			if err != nil {
				return err
			}
			if err := paper.take(step, place{seq: d.cp.seq + n, time: d.cp.time}); err != nil {
				return err
			}
			o.decided(step, 0)
			if step.rule == nil {
				return nil
			}
		}
	})
	for i := range o.outcome.Decisions {
		// The new side has no id before it is made.
		if s := &o.outcome.Decisions[i]; s.Kind == DecidedSplit && s.Undoes == 0 {
			s.To = events.CustomerID{}
		}
	}
	return o.outcome, unrefused(err)
}

// take folds what the next message would hold: decisions, else the rule.
func (o overlay) take(s step, at place) error {
	if len(s.bind) == 0 && s.rule != nil {
		return foldRule(o.tables, o, s.rule, at)
	}
	for at.n = range s.bind {
		if err := fold(o.tables, o, s.bind[at.n], at); err != nil {
			return err
		}
	}
	return nil
}

// Merge follows an order. Errors: those of orders, ErrNotReady, ErrOverload,
// those of the log, ctx.Err(). Of an order that ends in one of the latter
// nobody knows how far it was followed; it may be given again.
func (d *Directory) Merge(ctx context.Context, o MergeOrder) (Outcome, error) {
	if n := len(o.Customers); n > MaxOrder {
		return Outcome{}, fmt.Errorf("merge %d customers, limit %d: %w", n, MaxOrder, ErrTooMany)
	}
	return d.obey(ctx, &order{steps: func(g graph, _ func() events.CustomerID) (step, error) {
		rule, err := mergeNext(g, o.Customers, o.Cause.why())
		return step{rule: rule}, err
	}}, o.DryRun)
}

// mergeNext merges the first two of customers who are not one yet: into the one
// with the most identifiers.
func mergeNext(g graph, ids []events.CustomerID, why *logv1.Why) (*logv1.Rule, error) {
	var winner, other events.CustomerID
	var winnerRow, otherRow customer
	for _, id := range ids {
		root, row, err := existing(g, id)
		switch {
		case err != nil:
			return nil, err
		case root == winner || root == other:
			continue
		case winner.IsZero():
			winner, winnerRow = root, row
			continue
		case row.kind != winnerRow.kind:
			return nil, refuse("merge %s and %s: %w", winner, root, ErrKinds)
		}
		if m := merged(winner, winnerRow, root, row, nil); customerOf(m.Winner) == root {
			winner, winnerRow, root, row = root, row, winner, winnerRow
		}
		if other.IsZero() {
			other, otherRow = root, row
		}
	}
	if other.IsZero() {
		return nil, nil
	}
	return &logv1.Rule{Rule: &logv1.Rule_Merged{Merged: merged(winner, winnerRow, other, otherRow, why)}}, nil
}

// existing finds whom an id has become.
func existing(g graph, id events.CustomerID) (events.CustomerID, customer, error) {
	root, err := rootOf(g, id)
	if err != nil {
		return root, customer{}, err
	}
	row, ok, err := g.customer(root)
	if err == nil && !ok {
		err = refuse("customer %s: %w", id, ErrUnknownCustomer)
	}
	return root, row, err
}

// Split follows an order; the errors are those of [Directory.Merge].
func (d *Directory) Split(ctx context.Context, o SplitOrder) (Outcome, error) {
	if err := sure(o.Identifiers...); err != nil {
		return Outcome{}, err
	}
	return d.obey(ctx, &order{once: true, steps: func(g graph, mint func() events.CustomerID) (step, error) {
		if o.Undo != 0 {
			return undoing(g, o)
		}
		return takingOut(g, o, mint)
	}}, o.DryRun)
}

// undoing gives the loser of a merge back what came with him and since.
func undoing(g graph, o SplitOrder) (step, error) {
	h, ok, err := readHistory(g, o.Undo)
	m := h.rule.GetMerged()
	switch {
	case err != nil:
		return step{}, err
	case !ok || m == nil:
		return step{}, refuse("undo merge %d: %w", o.Undo, ErrUnknownMerge)
	case h.undoneBy != 0:
		return step{}, refuse("undo merge %d: split %d did: %w", o.Undo, h.undoneBy, ErrUndone)
	}
	loser := customerOf(m.Loser)
	from, err := rootOf(g, loser)
	if err != nil {
		return step{}, err
	}
	moved, err := identifiersOf(g, loser, MaxSplit)
	if errors.Is(err, ErrTooMany) {
		return step{}, refuse("undo merge %d: %w", o.Undo, err)
	}
	return splitting(from, loser, m.Kind, moved, o), err
}

// takingOut makes a new customer of some identifiers.
func takingOut(g graph, o SplitOrder, mint func() events.CustomerID) (step, error) {
	from, row, err := existing(g, o.Customer)
	if err != nil {
		return step{}, err
	}
	ids := slices.Clone(o.Identifiers)
	slices.SortFunc(ids, func(a, b Identifier) int { return bytes.Compare(a.Hash[:], b.Hash[:]) })
	ids = slices.CompactFunc(ids, func(a, b Identifier) bool { return a.Hash == b.Hash })
	for _, id := range ids {
		root, _, ok, err := named(g, id.Hash)
		if err != nil {
			return step{}, err
		}
		if !ok || root != from {
			return step{}, refuse("take %s out of customer %s: %w", id.Type, from, ErrNotHis)
		}
	}
	switch n := row.identifiers(); {
	case len(ids) == 0:
		return step{}, refuse("split customer %s: no identifier to take out: %w", from, ErrNotHis)
	case len(ids) > MaxOrder:
		return step{}, refuse("take %d identifiers out of customer %s, limit %d: %w", len(ids), from, MaxOrder, ErrTooMany)
	case len(ids) >= n:
		return step{}, refuse("take %d identifiers out of customer %s, who has %d: %w", len(ids), from, n, ErrNothingLeft)
	}
	return splitting(from, mint(), row.kind, hashed(ids), o), nil
}

// splitting makes the rule; moved is sorted.
func splitting(from, to events.CustomerID, kind logv1.CustomerKind, moved []*logv1.HashedIdentifier, o SplitOrder) step {
	s := &logv1.Split{From: from[:], To: to[:], Kind: kind, Undoes: o.Undo, Why: o.Cause.why()}
	for _, id := range moved {
		s.Hashes = append(s.Hashes, id.Hash...)
	}
	return step{rule: &logv1.Rule{Rule: &logv1.Rule_Split{Split: s}}, moved: moved}
}

// Link follows an order; the errors are those of [Directory.Merge].
func (d *Directory) Link(ctx context.Context, o LinkOrder) (Outcome, error) {
	if n := len(o.Identifiers); n == 0 || n > MaxOrder {
		return Outcome{}, fmt.Errorf("link %d identifiers, 1 to %d wanted: %w", n, MaxOrder, ErrTooMany)
	}
	if err := sure(o.Identifiers...); err != nil {
		return Outcome{}, err
	}
	return d.obey(ctx, &order{steps: func(g graph, _ func() events.CustomerID) (step, error) {
		return linking(g, o)
	}}, o.DryRun)
}

func linking(g graph, o LinkOrder) (step, error) {
	var unknown []Identifier
	var voucher *logv1.HashedIdentifier
	var roots []events.CustomerID
	kind := o.Identifiers[0].Kind()
	for i, id := range o.Identifiers {
		root, b, ok, err := named(g, id.Hash)
		switch {
		case err != nil:
			return step{}, err
		case id.Kind() != kind:
			return step{}, refuse("link %s and %s: %w", o.Identifiers[0].Type, id.Type, ErrKinds)
		case b.blocked:
			return step{}, refuse("link %s: %w", id.Type, ErrBlockedHere)
		case ok:
			roots = append(roots, root)
			if voucher == nil {
				voucher = id.hashed()
			}
		case !slices.ContainsFunc(o.Identifiers[:i], func(o Identifier) bool { return o.Hash == id.Hash }):
			unknown = append(unknown, id)
		}
	}
	if len(roots) == 0 {
		// A slip of the keyboard would make a customer of whom nothing is told.
		return step{}, refuse("link: nobody is named by any of the identifiers: %w", ErrUnknownCustomer)
	}
	why := o.Cause.why()
	why.Identifiers = hashed(o.Identifiers)
	rule, err := mergeNext(g, roots, why)
	s := step{rule: rule}
	if len(unknown) > 0 {
		s.bind = []*logv1.Decision{linked(roots[0], hashed(unknown), voucher)}
	}
	return s, err
}

// KeepApart follows an order; the errors are those of [Directory.Merge].
func (d *Directory) KeepApart(ctx context.Context, o ApartOrder) (Outcome, error) {
	return d.obey(ctx, &order{steps: func(g graph, _ func() events.CustomerID) (step, error) {
		return parting(g, o.A, o.B, o.Cause.why())
	}}, o.DryRun)
}

func parting(g graph, a, b events.CustomerID, why *logv1.Why) (step, error) {
	rootA, rowA, err := existing(g, a)
	if err != nil {
		return step{}, err
	}
	rootB, rowB, err := existing(g, b)
	switch {
	case err != nil:
		return step{}, err
	case rootA == rootB:
		return step{}, refuse("keep %s and %s apart: both are %s: %w", a, b, rootA, ErrOneCustomer)
	case rowA.kind != rowB.kind:
		return step{}, refuse("keep %s and %s apart: %w", a, b, ErrKinds)
	}
	known, err := standingOf(g, rootA, rootB)
	if err != nil || known.apart && !known.open {
		return step{}, err
	}
	return step{bind: []*logv1.Decision{{Decision: &logv1.Decision_KeptApart{KeptApart: &logv1.KeptApart{A: rootA[:], B: rootB[:], Why: why}}}}}, nil
}

// Block follows an order; the errors are those of [Directory.Merge].
func (d *Directory) Block(ctx context.Context, o BlockOrder) (Outcome, error) {
	if err := sure(o.Identifier); err != nil {
		return Outcome{}, err
	}
	return d.obey(ctx, &order{steps: func(g graph, _ func() events.CustomerID) (step, error) {
		b, _, err := g.identifier(o.Identifier.Hash)
		if err != nil || b.blocked != o.Release {
			return step{}, err
		}
		return step{bind: []*logv1.Decision{{Decision: &logv1.Decision_Blocked{Blocked: &logv1.Blocked{
			Identifier: o.Identifier.hashed(), Released: o.Release, Why: o.Cause.why(),
		}}}}}, nil
	}}, o.DryRun)
}

// ResolveConflict follows an order; the errors are those of [Directory.Merge].
func (d *Directory) ResolveConflict(ctx context.Context, o ResolveOrder) (Outcome, error) {
	return d.obey(ctx, &order{once: true, steps: func(g graph, _ func() events.CustomerID) (step, error) {
		id, ok := parseConflictID(o.Conflict)
		if !ok {
			return step{}, refuse("conflict %q: %w", o.Conflict, ErrUnknownConflict)
		}
		c, ok, err := readConflict(g, id)
		switch {
		case err != nil:
			return step{}, err
		case !ok:
			return step{}, refuse("conflict %s: %w", o.Conflict, ErrUnknownConflict)
		case c.state != stateOpen:
			return step{}, refuse("conflict %s: it is %s: %w", o.Conflict, conflictStates[c.state], ErrResolved)
		}
		a, b, why := customerOf(c.told.Stronger), customerOf(c.told.Weaker), o.Cause.why()
		if !o.Approve {
			return parting(g, a, b, why)
		}
		why.Rule = cmp.Or(o.Cause.Rule, ruleApproved)
		why.Source, why.EventId = c.told.Source, c.told.EventId
		why.Identifiers = []*logv1.HashedIdentifier{c.told.StrongerIdentifier, c.told.WeakerIdentifier}
		rule, err := mergeNext(g, []events.CustomerID{a, b}, why)
		return step{rule: rule}, err
	}}, o.DryRun)
}
