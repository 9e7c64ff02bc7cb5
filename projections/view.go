package projections

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/columns"
	"github.com/dossier360/dossier/projections/profile"
	"github.com/dossier360/dossier/projections/store"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// ErrNotFound says that a partition holds no such customer.
var ErrNotFound = errors.New("projections: no such customer")

// ErrNotParked says that no event is parked at a place.
var ErrNotParked = errors.New("projections: no such parked event")

// ErrCatchingUp says that a partition has not folded what was asked for yet.
var ErrCatchingUp = errors.New("projections: not caught up")

// snapshot is one commit, shared by the views opened until the next.
type snapshot struct {
	view     store.View
	cp       *statev1.Checkpoint
	env      profile.Env
	earliest int64 // timer
	refs     atomic.Int64
}

// release gives up one use; the last one closes the store's view. A nil
// snapshot is nobody's.
func (s *snapshot) release() {
	if s != nil && s.refs.Add(-1) == 0 {
		s.view.Close()
	}
}

// View is a snapshot of a partition at its last commit. Close it soon: an open
// view keeps old versions on disk, and the partition open. While a partition
// recovers its store, the methods of a view return ErrCatchingUp.
type View struct {
	*snapshot
	p    *Partition
	rows *columns.Table // nil until they were read
}

// recovering stands for a partition without a store.
var recovering = snapshot{cp: &statev1.Checkpoint{}}

// View opens a snapshot of the last commit. It never waits.
func (p *Partition) View() *View {
	p.stateMu.Lock()
	defer p.stateMu.Unlock()
	if p.snapshot == nil {
		return &View{&recovering, p, nil}
	}
	p.snapshot.refs.Add(1)
	p.views++
	return &View{p.snapshot, p, p.rows.Table()}
}

// Close ends the snapshot. It must be called once.
func (v *View) Close() {
	if v.snapshot == &recovering {
		return
	}
	v.release()
	v.p.stateMu.Lock()
	defer v.p.stateMu.Unlock()
	if v.p.views--; v.p.views == 0 {
		v.p.viewless.Broadcast()
	}
}

// Checkpoint is the checkpoint of this snapshot. Not to be changed.
func (v *View) Checkpoint() *statev1.Checkpoint { return v.cp }

// Applied is the last message folded whole.
func (v *View) Applied() uint64 {
	if v.cp.Place != nil {
		return v.cp.Seq - 1
	}
	return v.cp.Seq
}

// Env is what the partition's facts were folded with.
func (v *View) Env() profile.Env { return v.env }

// Settled is the settled time of this snapshot, microseconds.
func (v *View) Settled() int64 { return settled(v.cp, v.earliest) }

// Head returns a customer, or ErrNotFound: also of one who became another one,
// and of one whose whole history is another's. While a split moves his history he
// is as he was before it; Withheld is not empty then.
func (v *View) Head(c events.CustomerID) (*statev1.Head, error) {
	return v.decode(c, func(value []byte) (*statev1.Head, error) {
		head := &statev1.Head{}
		return head, proto.Unmarshal(value, head)
	})
}

// decode reads a customer's head as answers show it.
func (v *View) decode(c events.CustomerID, read func(value []byte) (*statev1.Head, error)) (*statev1.Head, error) {
	if v.view == nil {
		return nil, ErrCatchingUp
	}
	value, err := v.view.Get(headKey(c))
	if err != nil {
		return nil, err
	}
	if value == nil {
		return nil, ErrNotFound
	}
	return v.decodeValue(c, value, read)
}

// decodeValue reads a head of which the stored value is known.
func (v *View) decodeValue(c events.CustomerID, value []byte, read func(value []byte) (*statev1.Head, error)) (*statev1.Head, error) {
	s := standOf(value)
	if s.merged || !s.counted && !s.withheld {
		return nil, ErrNotFound
	}
	if !s.served {
		head, err := read(value)
		if err != nil {
			return nil, fmt.Errorf("head of customer %s: %w", c, err)
		}
		return head, nil
	}
	open, err := journalOf(value)
	if err != nil {
		return nil, fmt.Errorf("head of customer %s: %w", c, err)
	}
	closed, err := v.view.Get(closedKey(c, open.GetServed()))
	if err == nil && closed == nil {
		err = errors.New("it is not there")
	}
	var head *statev1.Head
	if err == nil {
		head, err = read(closed)
	}
	if err != nil {
		return nil, fmt.Errorf("generation %d of customer %s: %w", open.GetServed(), c, err)
	}
	head.Journal, head.Withheld, head.Parked = open.Journal, open.Withheld, open.Parked
	return head, nil
}

// Rows are the columns of all customers. For a while after a start they are
// not there yet; then the error is ErrCatchingUp and says how far they are.
func (v *View) Rows() (*columns.Table, error) {
	if v.view == nil {
		return nil, ErrCatchingUp
	}
	if v.rows == nil {
		if err := v.p.rowsFailure(); err != nil {
			return nil, fmt.Errorf("partition %d could not read its customers for lists (%w): %w", v.p.o.ID, err, ErrCatchingUp)
		}
		return nil, fmt.Errorf("partition %d is reading its customers for lists, %d of %d: %w", v.p.o.ID, v.p.scanned.Load(), v.cp.Customers, ErrCatchingUp)
	}
	return v.rows, nil
}

// Outline is a customer's head without the entries of his history, which are
// most of it, or ErrNotFound.
func (v *View) Outline(c events.CustomerID) (*statev1.Head, error) {
	return v.decode(c, decodeOutline)
}

// Part is part of a customer's head, or ErrNotFound.
func (v *View) Part(c events.CustomerID, part Part) (*statev1.Head, error) {
	return v.decode(c, part.Decode)
}

// Parts goes through all customers in order of id, and gives fn the parts of
// those who are wanted until it fails. Of many that costs a tenth of as many
// calls of Part.
func (v *View) Parts(wanted func(c events.CustomerID) (Part, bool), fn func(c events.CustomerID, head *statev1.Head) error) error {
	if v.view == nil {
		return ErrCatchingUp
	}
	var bad error
	prefix := []byte{keyHead}
	err := v.view.Scan(prefix, store.PrefixEnd(prefix), false, func(key, value []byte) bool {
		var c events.CustomerID
		if c, bad = customerFromHeadKey(key); bad != nil {
			return false
		}
		part, ok := wanted(c)
		if !ok {
			return true
		}
		head, err := v.decodeValue(c, value, part.Decode)
		if errors.Is(err, ErrNotFound) {
			return true
		}
		if bad = err; bad != nil {
			return false
		}
		bad = fn(c, head)
		return bad == nil
	})
	if err == nil {
		err = bad
	}
	return err
}

// Entries yields a customer's history, newest first, beginning below `before`
// (nil: with the newest).
func (v *View) Entries(c events.CustomerID, before *statev1.Stamp) iter.Seq2[*statev1.Entry, error] {
	return func(yield func(*statev1.Entry, error) bool) {
		head, err := v.Head(c)
		if err != nil {
			yield(nil, err)
			return
		}
		v.entriesOf(c, head, before)(yield)
	}
}

// entriesOf yields the history that a head of a customer, of whichever
// generation, holds.
func (v *View) entriesOf(c events.CustomerID, head *statev1.Head, before *statev1.Stamp) iter.Seq2[*statev1.Entry, error] {
	return func(yield func(*statev1.Entry, error) bool) {
		more := func(list []*statev1.Entry) bool {
			for i := len(list) - 1; i >= 0; i-- {
				if before != nil && compareEntry(list[i], before) >= 0 {
					continue
				}
				if !yield(list[i], nil) {
					return false
				}
			}
			return true
		}
		if !more(head.Entries) || head.Spilled == nil {
			return
		}
		prefix := ownedPrefix(keyPage, c, head.Generation)
		to := store.PrefixEnd(prefix)
		if before != nil {
			to = appendOrderKey(bytes.Clone(prefix), before)
		}
		err := v.view.Scan(prefix, to, true, func(_, value []byte) bool {
			page := &statev1.Page{}
			if err := proto.Unmarshal(value, page); err != nil {
				yield(nil, fmt.Errorf("page of customer %s: %w", c, err))
				return false
			}
			return more(page.Entries)
		})
		if err != nil {
			yield(nil, err)
		}
	}
}

// unmoved are the heads of a customer that hold all that was told of him and does
// not come from elsewhere, the open one first: while his history is folded again
// by moves they are several, and an event may be in more than one. None: he is
// nobody, or another one now.
func (v *View) unmoved(c events.CustomerID) ([]*statev1.Head, error) {
	open, err := v.openHead(c)
	if err != nil || len(open.GetMergedInto()) > 0 {
		return nil, err
	}
	heads := []*statev1.Head{open}
	if open.Served == nil {
		return heads, nil
	}
	for generation := open.GetServed(); generation < open.GetGeneration(); generation++ {
		closed, err := v.closedHead(c, generation)
		if err != nil {
			return nil, err
		}
		heads = append(heads, closed)
	}
	return heads, nil
}

// closedHead is a customer's head as a generation of his was closed.
func (v *View) closedHead(c events.CustomerID, generation uint32) (*statev1.Head, error) {
	value, err := v.view.Get(closedKey(c, generation))
	if err == nil && value == nil {
		err = errors.New("it is not there")
	}
	head := &statev1.Head{}
	if err == nil {
		err = proto.Unmarshal(value, head)
	}
	if err != nil {
		return nil, fmt.Errorf("generation %d of customer %s: %w", generation, c, err)
	}
	return head, nil
}

// Changes yields the outbox in order of position.
func (v *View) Changes() iter.Seq2[*statev1.Change, error] {
	return func(yield func(*statev1.Change, error) bool) {
		scan(v.view, []byte{keyChange}, func(_, value []byte) (*statev1.Change, error) {
			change := &statev1.Change{}
			return change, proto.Unmarshal(value, change)
		}, yield)
	}
}

// Parked yields the events that the fold set aside, in order of arrival, from a
// place on.
func (v *View) Parked(fromSeq uint64, fromIndex uint32) iter.Seq2[*statev1.Parked, error] {
	return func(yield func(*statev1.Parked, error) bool) {
		scanFrom(v.view, parkedKey(fromSeq, fromIndex), []byte{keyParked}, func(_, value []byte) (*statev1.Parked, error) {
			parked := &statev1.Parked{}
			return parked, proto.Unmarshal(value, parked)
		}, yield)
	}
}

// parkedOf are a customer's parked events by event key, at most limit.
func (v *View) parkedOf(c events.CustomerID, limit int) ([]*statev1.Parked, error) {
	if v.view == nil {
		return nil, ErrCatchingUp
	}
	var places [][]byte
	prefix := append([]byte{keyParkedID}, c[:]...)
	err := v.view.Scan(prefix, store.PrefixEnd(prefix), false, func(_, place []byte) bool {
		places = append(places, append([]byte{keyParked}, place...))
		return len(places) < limit
	})
	if err != nil {
		return nil, err
	}
	list := make([]*statev1.Parked, len(places))
	for i, key := range places {
		value, err := v.view.Get(key)
		if err != nil {
			return nil, err
		}
		list[i] = &statev1.Parked{}
		if err := proto.Unmarshal(value, list[i]); err != nil {
			return nil, fmt.Errorf("parked event at %x: %w", key[1:], err)
		}
	}
	return list, nil
}

// ParkedAt is the event parked at a place, or ErrNotParked.
func (v *View) ParkedAt(seq uint64, index uint32) (*statev1.Parked, error) {
	if v.view == nil {
		return nil, ErrCatchingUp
	}
	value, err := v.view.Get(parkedKey(seq, index))
	if err != nil {
		return nil, err
	}
	if value == nil {
		return nil, ErrNotParked
	}
	parked := &statev1.Parked{}
	if err := proto.Unmarshal(value, parked); err != nil {
		return nil, fmt.Errorf("parked event %d/%d: %w", seq, index, err)
	}
	return parked, nil
}

// Customers yields the ids of all customers in order.
func (v *View) Customers() iter.Seq2[events.CustomerID, error] {
	return func(yield func(events.CustomerID, error) bool) {
		if v.view == nil {
			yield(events.CustomerID{}, ErrCatchingUp)
			return
		}
		stopped := false
		err := v.view.Scan([]byte{keyHead}, []byte{keyHead + 1}, false, func(key, value []byte) bool {
			if !standOf(value).counted {
				return true
			}
			id, err := customerFromHeadKey(key)
			more := yield(id, err)
			stopped = !more || err != nil
			return !stopped
		})
		if err != nil && !stopped {
			yield(events.CustomerID{}, err)
		}
	}
}

// WaitRules waits until the partition has heard all rules up to a sequence of
// IDENTITY, or the context ends; then it returns ErrCatchingUp.
func (p *Partition) WaitRules(ctx context.Context, identitySeq uint64) error {
	rule, err := p.o.Rules.lastUpTo(ctx, identitySeq)
	if err != nil {
		return fmt.Errorf("partition %d waits for the rules up to %d: %w", p.o.ID, identitySeq, ErrCatchingUp)
	}
	return p.wait(ctx, func(s state) bool { return s.ruleSeq >= rule })
}

// WaitMoved waits until no moves to a customer are under way, or the context
// ends; then it returns ErrCatchingUp.
func (p *Partition) WaitMoved(ctx context.Context, c events.CustomerID) error {
	for {
		_, changed := p.watch()
		moving, err := p.moving(c)
		if err != nil || !moving {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("customer %s is moving: %w", c, ErrCatchingUp)
		}
	}
}

func (p *Partition) moving(c events.CustomerID) (bool, error) {
	v := p.View()
	defer v.Close()
	if v.view == nil {
		return false, ErrCatchingUp
	}
	value, err := v.view.Get(headKey(c))
	return standOf(value).withheld, err
}

// scan yields what parse makes of every key with the prefix.
func scan[T any](v store.View, prefix []byte, parse func(key, value []byte) (T, error), yield func(T, error) bool) {
	scanFrom(v, prefix, prefix, parse, yield)
}

// scanFrom is scan from a key on.
func scanFrom[T any](v store.View, from, prefix []byte, parse func(key, value []byte) (T, error), yield func(T, error) bool) {
	var none T
	if v == nil {
		yield(none, ErrCatchingUp)
		return
	}
	stopped := false
	err := v.Scan(from, store.PrefixEnd(prefix), false, func(key, value []byte) bool {
		item, err := parse(key, value)
		more := yield(item, err)
		stopped = !more || err != nil
		return !stopped
	})
	if err != nil && !stopped {
		yield(none, err)
	}
}
