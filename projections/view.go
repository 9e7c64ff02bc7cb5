package projections

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/profile"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// ErrNotFound says that a partition holds no such customer.
var ErrNotFound = errors.New("projections: no such customer")

// ErrCatchingUp says that a partition has not folded what was asked for yet.
var ErrCatchingUp = errors.New("projections: not caught up")

// Status is how far a partition is.
type Status struct {
	ID           int
	Applied      uint64    // last sequence folded
	Last         uint64    // last sequence in the log
	LagSeconds   float64   // age of the oldest message not folded
	Settled      time.Time // settled time
	Parked       uint64
	Customers    uint64
	TargetAtOpen uint64 // last sequence when the partition was opened
}

// Ready reports whether the partition has folded all that the log held when
// the partition was opened.
func (s Status) Ready() bool { return s.Applied >= s.TargetAtOpen }

// View is a snapshot of a partition at its last commit. Close it soon: an open
// view keeps old versions on disk.
type View struct {
	// set by Partition.View
}

// Checkpoint is the checkpoint of this snapshot. Not to be changed.
func (v *View) Checkpoint() *statev1.Checkpoint { panic("not yet") }

// Env is what the partition's facts were folded with.
func (v *View) Env() profile.Env { panic("not yet") }

// Settled is the settled time of this snapshot, microseconds.
func (v *View) Settled() int64 { panic("not yet") }

// Head returns a customer, or ErrNotFound. Not to be changed.
func (v *View) Head(c events.CustomerID) (*statev1.Head, error) { panic("not yet") }

// Entries yields a customer's history, newest first, beginning below `before`
// (nil: with the newest).
func (v *View) Entries(c events.CustomerID, before *statev1.Stamp) iter.Seq2[*statev1.Entry, error] {
	panic("not yet")
}

// Changes yields the outbox in order of position.
func (v *View) Changes() iter.Seq2[*statev1.Change, error] { panic("not yet") }

// Customers yields the ids of all customers in order.
func (v *View) Customers() iter.Seq2[events.CustomerID, error] { panic("not yet") }

// Close ends the snapshot.
func (v *View) Close() {}

// Partition folds one stream of the log into a store and serves views of it.
type Partition struct{}

// ID is the number of the partition.
func (p *Partition) ID() int { panic("not yet") }

// View opens a snapshot of the last commit.
func (p *Partition) View() *View { panic("not yet") }

// WaitApplied waits until the message at seq is folded and committed, or the
// context ends; then it returns ErrCatchingUp.
func (p *Partition) WaitApplied(ctx context.Context, seq uint64) error { panic("not yet") }

// Status tells how far the partition is; it asks the log for its end.
func (p *Partition) Status(ctx context.Context) (Status, error) { panic("not yet") }

// TickTo appends a tick and waits until the partition has settled at `to`.
func (p *Partition) TickTo(ctx context.Context, to time.Time) error { panic("not yet") }
