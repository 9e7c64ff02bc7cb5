package query

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/ingest/rejected"
	"github.com/dossier360/dossier/projections"
	"github.com/dossier360/dossier/projections/columns"
	"github.com/dossier360/dossier/projections/profile"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// Partition is what the service asks of a partition. [Local] is one of this
// process; tests have one made of plain maps. All methods are safe for
// concurrent use.
type Partition interface {
	ID() int
	// View opens a snapshot of the last commit, at once.
	View() View
	// WaitApplied returns projections.ErrCatchingUp if the context ends first.
	WaitApplied(ctx context.Context, seq uint64) error
	// WaitRules waits until the rules up to a sequence of IDENTITY are folded,
	// WaitMoved until no events are being moved to a customer. Both return
	// projections.ErrCatchingUp if the context ends first.
	WaitRules(ctx context.Context, identitySeq uint64) error
	WaitMoved(ctx context.Context, c events.CustomerID) error
	// Known does not ask the log: its end is the one last heard.
	Known() projections.Status
	// Status asks the log for its end. With an error it tells what is known.
	Status(ctx context.Context) (projections.Status, error)
	// TickTo returns when the partition has settled at `to`.
	TickTo(ctx context.Context, to time.Time) error
}

// View is a snapshot of a partition: see [projections.View].
type View interface {
	Checkpoint() *statev1.Checkpoint
	Applied() uint64
	Env() profile.Env
	Settled() int64
	Head(c events.CustomerID) (*statev1.Head, error)
	Outline(c events.CustomerID) (*statev1.Head, error)
	Part(c events.CustomerID, part projections.Part) (*statev1.Head, error)
	Parts(wanted func(c events.CustomerID) (projections.Part, bool), fn func(c events.CustomerID, head *statev1.Head) error) error
	Rows() (*columns.Table, error)
	Entries(c events.CustomerID, before *statev1.Stamp) iter.Seq2[*statev1.Entry, error]
	Members(company events.CustomerID) iter.Seq2[projections.Member, error]
	Parked(fromSeq uint64, fromIndex uint32) iter.Seq2[*statev1.Parked, error]
	ParkedAt(seq uint64, index uint32) (*statev1.Parked, error)
	TakenBack(c events.CustomerID) (func(*statev1.Entry) (string, error), error)
	Close()
}

// Local is a partition that this process folds.
func Local(p *projections.Partition) Partition { return local{p} }

type local struct{ *projections.Partition }

func (l local) View() View { return l.Partition.View() }

// Directory finds customers by what they are called.
type Directory interface {
	// Lookup finds the customer of an identifier, which it normalises. Its
	// errors are those of package ingest/directory.
	Lookup(typ, value string) (events.CustomerID, bool, error)
	// LookupHash is Lookup of an identifier of which only the hash is known.
	LookupHash(hash directory.Hash) (events.CustomerID, bool, error)
	// Root is the customer that one has become by merges: himself if none.
	Root(c events.CustomerID) (events.CustomerID, error)
	// Aliases are the customers that became this one, by id.
	Aliases(c events.CustomerID) ([]events.CustomerID, error)
	// InConflict reports whether an identity conflict of a customer waits.
	InConflict(c events.CustomerID) (bool, error)
	// QuarantinedCount is the number of identity conflicts that wait.
	QuarantinedCount() uint64
	// Progress tells up to which sequence of IDENTITY all of this is known.
	Progress() directory.Progress
}

// ReceiptIdentity is the key of the sequence of IDENTITY in a receipt, as gateways
// write it.
const ReceiptIdentity = -1

// Options of [New]. All fields without a stated zero value are required.
type Options struct {
	// Partitions, all of them, by number.
	Partitions []Partition
	Directory  Directory
	Log        events.Log
	Genesis    *logv1.Genesis
	// Rejected is what was refused and waits; the caller runs it.
	Rejected *rejected.Ledger
	// ParseReceipt reads the token of an ingest answer: partition to the
	// sequence that must be folded, and [ReceiptIdentity] to the sequence of
	// IDENTITY that its events were addressed at.
	ParseReceipt func(token string) (map[int]uint64, error)
	Logger       *slog.Logger
	// ReadKeys guard every path; none leaves them open.
	ReadKeys []string
	// CORSOrigins may read from a browser; none may by default, "*" is all.
	CORSOrigins []string
	// Stopping is closed when the server is about to stop: answers without an
	// end of their own end then. Nil: it never stops.
	Stopping <-chan struct{}
}

// service implements queryv1connect.QueryServiceHandler. It is safe for
// concurrent use.
type service struct {
	Options

	tails chan struct{} // holds one token for each tail that is open
	scans chan struct{} // holds one token for each list, count or search under way
}

func newService(o Options) *service {
	return &service{Options: o, tails: make(chan struct{}, MaxTails), scans: make(chan struct{}, MaxScans)}
}

var _ queryv1connect.QueryServiceHandler = (*service)(nil)

// snapshot is one view of every partition, so that the cursor of an answer
// covers them all, opened before anything is read.
type snapshot struct {
	views []View
}

func (s *service) snapshot() *snapshot {
	sn := &snapshot{views: make([]View, len(s.Partitions))}
	for i, p := range s.Partitions {
		sn.views[i] = p.View()
	}
	return sn
}

func (sn *snapshot) close() {
	for _, v := range sn.views {
		v.Close()
	}
}

// freshness says what an answer from the partitions `read` rests on. It does
// not ask the log: answers go on while that is away. It fails with
// [projections.ErrCatchingUp] while a partition is being rebuilt: what it
// knows so far is not an answer.
func (s *service) freshness(sn *snapshot, read ...int) (*queryv1.Freshness, error) {
	f := &queryv1.Freshness{Positions: make(map[string]int64, len(sn.views))}
	marks := make([]mark, len(sn.views))
	for p, v := range sn.views {
		f.Positions[strconv.Itoa(p)] = int64(sn.views[p].Applied())
		marks[p] = markOf(v.Checkpoint())
	}
	f.Cursor = cursorToken(marks)
	settled := sn.views[read[0]].Settled()
	for _, p := range read {
		status := s.Partitions[p].Known()
		applied := sn.views[p].Applied()
		if applied < status.Target {
			return nil, rebuilding(p, applied, status)
		}
		f.LagEvents += lag(applied, status.Last) + int64(status.Jobs+status.Unheard)
		settled = min(settled, sn.views[p].Settled())
	}
	f.LogTime = instant(settled)
	return f, nil
}

func lag(applied, last uint64) int64 {
	if last <= applied {
		return 0
	}
	return int64(last - applied)
}

// rebuilding tells how far a partition is on its way to what the log held when
// it was opened, and what holds it up, if anything does.
func rebuilding(p int, applied uint64, status projections.Status) error {
	target := status.Target
	if status.Err != nil {
		return refuse(projections.ErrCatchingUp, "partition %d stands at %d of %d records (%d %%): %v", p, applied, target, percent(applied, target), status.Err)
	}
	return refuse(projections.ErrCatchingUp, "partition %d is catching up: %d of %d records folded (%d %%); ask again shortly", p, applied, target, percent(applied, target))
}

func percent(n, of uint64) uint64 {
	if of == 0 {
		return 100
	}
	return uint64(float64(n) / float64(of) * 100)
}

// instant is nil for the zero of the stores: an absent instant is unknown.
func instant(micros int64) *timestamppb.Timestamp {
	if micros == 0 {
		return nil
	}
	return timestamppb.New(events.FromMicros(micros))
}

// resolve finds the customer that a reference names; known says whether the
// directory vouches for him, so that his partition must come to hold him.
func (s *service) resolve(reference string) (id events.CustomerID, known bool, err error) {
	ref, err := parseReference(reference)
	if err != nil {
		return events.CustomerID{}, false, err
	}
	if ref.byCustomer {
		id, err := s.root(ref.id)
		// Of who became another one the directory knows.
		return id, id != ref.id, err
	}
	id, found, err := s.Directory.Lookup(ref.typ, ref.value)
	if err != nil {
		return events.CustomerID{}, false, ref.explain(err)
	}
	if !found {
		return events.CustomerID{}, false, noCustomer(reference)
	}
	return id, true, nil
}

func noCustomer(reference string) error {
	return refuse(projections.ErrNotFound, "no customer %s", reference)
}

// customer reads one customer's head and says how fresh it is.
func (s *service) customer(ctx context.Context, sn *snapshot, reference string, id events.CustomerID, known bool) (*statev1.Head, *queryv1.Freshness, error) {
	p := id.Partition(len(s.Partitions))
	fresh, err := s.freshness(sn, p)
	if err != nil {
		return nil, nil, err
	}
	head, err := sn.views[p].Head(id)
	switch {
	case err == nil:
		return head, fresh, nil
	case !isNotFound(err):
		return nil, nil, fmt.Errorf("read customer %s of partition %d: %w", id, p, err)
	case known:
		return nil, nil, s.notFolded(ctx, reference, p, sn.views[p].Applied(), fresh.GetLagEvents())
	default:
		return nil, nil, noCustomer(reference)
	}
}

// notFolded says of a customer whom the directory vouches for why his partition
// does not hold him at `applied`. Only here it matters if the end of the log as
// last heard is old: then the log itself is asked.
func (s *service) notFolded(ctx context.Context, reference string, p int, applied uint64, lagEvents int64) error {
	if lagEvents == 0 {
		asking, cancel := context.WithTimeout(ctx, statusTimeout)
		defer cancel()
		status, err := s.Partitions[p].Status(asking)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, meant := codeOf(err); err != nil && !meant {
			return fmt.Errorf("status of partition %d: %w", p, err)
		}
		if err != nil {
			return refuse(projections.ErrCatchingUp, "customer %s is known and not folded; whether the log holds anything of him cannot be asked: %v", reference, err)
		}
		if lagEvents = lag(applied, status.Last); lagEvents == 0 {
			return noCustomer(reference)
		}
	}
	return refuse(projections.ErrCatchingUp, "customer %s is known but not folded yet: partition %d is %s behind; ask again shortly", reference, p, records(lagEvents))
}

// records is a number of records in words.
func records(n int64) string {
	if n == 1 {
		return "1 record"
	}
	return fmt.Sprintf("%d records", n)
}

// every is the numbers of all partitions.
func (s *service) every() []int {
	all := make([]int, len(s.Partitions))
	for p := range all {
		all[p] = p
	}
	return all
}
