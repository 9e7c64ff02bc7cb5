package directory

import (
	"context"
	"errors"
	"fmt"
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
// customer's: unknown ones become his, and whom the others name is merged.
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
	DecidedCreated   DecidedKind = "created"
	DecidedLinked    DecidedKind = "linked"
	DecidedRebound   DecidedKind = "rebound"
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

var errNotYet = fmt.Errorf("%w: not built yet", ErrNotReady)

// Merge follows an order. Errors: those of orders, ErrNotReady, ErrOverload,
// those of the log, ctx.Err().
func (d *Directory) Merge(ctx context.Context, o MergeOrder) (Outcome, error) {
	return Outcome{}, errNotYet
}

// Split follows an order; the errors are those of [Directory.Merge].
func (d *Directory) Split(ctx context.Context, o SplitOrder) (Outcome, error) {
	return Outcome{}, errNotYet
}

// Link follows an order; the errors are those of [Directory.Merge].
func (d *Directory) Link(ctx context.Context, o LinkOrder) (Outcome, error) {
	return Outcome{}, errNotYet
}

// KeepApart follows an order; the errors are those of [Directory.Merge].
func (d *Directory) KeepApart(ctx context.Context, o ApartOrder) (Outcome, error) {
	return Outcome{}, errNotYet
}

// Block follows an order; the errors are those of [Directory.Merge].
func (d *Directory) Block(ctx context.Context, o BlockOrder) (Outcome, error) {
	return Outcome{}, errNotYet
}

// ResolveConflict follows an order; the errors are those of [Directory.Merge].
func (d *Directory) ResolveConflict(ctx context.Context, o ResolveOrder) (Outcome, error) {
	return Outcome{}, errNotYet
}

// Root is the customer that one has become: himself if he was not merged away.
func (d *Directory) Root(c events.CustomerID) (events.CustomerID, error) { return c, nil }

// Aliases are the ids that were merged into a customer and not undone, also by
// way of others, sorted.
func (d *Directory) Aliases(c events.CustomerID) ([]events.CustomerID, error) { return nil, nil }

// Apart reports whether two customers are kept apart.
func (d *Directory) Apart(a, b events.CustomerID) (bool, error) { return false, nil }

// InConflict reports whether a conflict of a customer is open.
func (d *Directory) InConflict(c events.CustomerID) (bool, error) { return false, nil }

// Conflict finds one by its id; ErrUnknownConflict if there is none.
func (d *Directory) Conflict(id string) (Conflict, error) {
	return Conflict{}, fmt.Errorf("conflict %s: %w", id, ErrUnknownConflict)
}

// Conflicts lists conflicts.
func (d *Directory) Conflicts(q ConflictsQuery) ([]Conflict, error) { return nil, nil }

// Merges lists merges and splits.
func (d *Directory) Merges(q MergesQuery) ([]MergeEntry, error) { return nil, nil }
