package projections

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/columns"
	"github.com/dossier360/dossier/projections/profile"
	"github.com/dossier360/dossier/projections/store"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// rowsPerLook is how many customers the scan for rows reads before it looks
// whether the store is still wanted by it.
const rowsPerLook = 256

// errUnreadable marks a store that was opened anew because its rows could not
// be read, and they still cannot.
var errUnreadable = errors.New("the store cannot be read through")

// runRows reads the rows of every store that is opened, until the context ends.
// Meanwhile the partition folds and answers, lists excepted. What fails is
// tried again after a pause. Where the store's bytes are in doubt the fold has
// it opened anew for that, and the next time set aside.
func (p *Partition) runRows(ctx context.Context) error {
	delay, doubted := firstDelay, false
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.wantRows:
		case <-again:
		}
		again = nil
		read, err := p.readRows(ctx)
		if ctx.Err() != nil {
			return nil
		}
		p.setRowsFailure(err)
		switch {
		case err == nil && read:
			delay, doubted = firstDelay, false
		case err == nil: // the next store that is opened wants its rows
		case isStoreError(err):
			p.o.Logger.Warn("rows for lists not read; the store is opened anew", "error", err)
			if doubted {
				err = fmt.Errorf("%w: %w", errUnreadable, err)
			}
			p.doubt(err)
			doubted = !doubted
		default:
			p.o.Logger.Warn("rows for lists not read; trying again", "error", err, "after", delay)
			again = time.After(delay)
			delay = min(2*delay, lastDelay)
		}
	}
}

// doubt hands an error of reading to the fold, which owns the store. One that
// waits there says as much.
func (p *Partition) doubt(err error) {
	select {
	case p.doubts <- err:
	default:
	}
}

func (p *Partition) setRowsFailure(err error) {
	p.stateMu.Lock()
	defer p.stateMu.Unlock()
	p.rowsErr = err
}

// rowsFailure is why the rows could not be read; nil while they are being read.
func (p *Partition) rowsFailure() error {
	p.stateMu.Lock()
	defer p.stateMu.Unlock()
	return p.rowsErr
}

// readRows reads the rows of the store that is open now; it reports false if
// that was closed on the way. Commits made meanwhile are kept by the writer;
// they outdo what the scan finds.
func (p *Partition) readRows(ctx context.Context) (read bool, err error) {
	p.stateMu.Lock()
	early := p.rows
	p.stateMu.Unlock()
	if early == nil || early.Table() != nil {
		return early != nil, nil // closed again, or read already
	}
	rows, err := p.scanRows(ctx, early)
	if err != nil || rows == nil {
		return false, err
	}
	filled := columns.NewWriter(rows)
	p.stateMu.Lock()
	defer p.stateMu.Unlock()
	if p.rows != early {
		return false, nil
	}
	filled.Put(early.Early())
	p.rows = filled
	return true, nil
}

// scanRows makes the row of every customer; nil if the store was closed on the
// way, which waits for this view.
func (p *Partition) scanRows(ctx context.Context, early *columns.Writer) ([]*columns.Row, error) {
	v := p.View()
	defer v.Close()
	p.scanned.Store(0)
	if v.view == nil {
		return nil, nil
	}
	rows := make([]*columns.Row, 0, v.cp.Customers)
	wanted := true
	var bad error
	prefix := []byte{keyHead}
	err := v.view.Scan(prefix, store.PrefixEnd(prefix), false, func(key, value []byte) bool {
		if len(rows)%rowsPerLook == 0 {
			p.scanned.Store(int64(len(rows)))
			p.stateMu.Lock()
			wanted = p.rows == early && ctx.Err() == nil
			p.stateMu.Unlock()
		}
		var id events.CustomerID
		if id, bad = customerFromHeadKey(key); bad != nil || !wanted {
			return false
		}
		head, err := v.decodeValue(id, value, decodeOutline)
		if errors.Is(err, ErrNotFound) || err == nil && !standOf(value).counted {
			return true
		}
		if bad = err; bad != nil {
			return false
		}
		rows = append(rows, columns.Of(id, head, v.env))
		return true
	})
	if err == nil {
		err = bad
	}
	if err != nil || !wanted {
		return nil, err
	}
	return rows, nil
}

// Fields of a head, and of a trait, that are told apart before they are decoded.
const (
	kindField    protowire.Number = 1
	factsField   protowire.Number = 2
	journalField protowire.Number = 3
	entriesField protowire.Number = 4
	spilledField protowire.Number = 5
	parkedField  protowire.Number = 9
	mergedField  protowire.Number = 12
	movingField  protowire.Number = 14
	servedField  protowire.Number = 16

	traitsField    protowire.Number = 5
	traitNameField protowire.Number = 1
)

// Part is as much of a head as some fields of a profile are shown from. Who
// looks at many customers decodes no more of each.
type Part struct {
	facts  uint64 // a bit for each field of Facts
	traits []string
}

// PartFor is the part that shows these fields, named as in JSON. Of traits it
// holds those of the names only, if any are named.
func PartFor(fields, traits []string) Part {
	p := Part{traits: traits}
	known := (*statev1.Facts)(nil).ProtoReflect().Descriptor().Fields()
	for _, field := range fields {
		facts, all := profile.ShownFrom(field)
		if all {
			return Part{facts: ^uint64(0)}
		}
		if field != "traits" && slices.Contains(facts, "traits") {
			p.traits = nil // a name may be any of several
		}
		for _, name := range facts {
			// The others are not of the facts: the journal, the customer's id.
			if fd := known.ByJSONName(name); fd != nil {
				p.facts |= 1 << fd.Number()
			}
		}
	}
	return p
}

// Decode reads the part of a head as the store keeps it, and of the head itself
// kind, journal, how much is parked, and what moves are under way.
func (p Part) Decode(value []byte) (*statev1.Head, error) {
	head := &statev1.Head{}
	err := decodeFields(value, head, func(number protowire.Number, _ []byte) bool {
		return number == kindField || number == journalField || number == parkedField || number == movingField
	})
	if err != nil {
		return nil, err
	}
	facts := fieldBytes(value, factsField)
	if facts == nil {
		return head, nil
	}
	head.Facts = &statev1.Facts{}
	return head, decodeFields(facts, head.Facts, func(number protowire.Number, content []byte) bool {
		if number > 63 || p.facts&(1<<number) == 0 {
			return false
		}
		return number != traitsField || p.traits == nil || slices.Contains(p.traits, string(fieldBytes(content, traitNameField)))
	})
}

// decodeOutline decodes a head without its history entries. It reads no more
// than the length of each of those.
func decodeOutline(value []byte) (*statev1.Head, error) {
	head := &statev1.Head{}
	return head, decodeFields(value, head, func(number protowire.Number, _ []byte) bool { return number != entriesField })
}

// journalOf decodes what the open head says of a customer who is shown by a
// closed one.
func journalOf(value []byte) (*statev1.Head, error) {
	head := &statev1.Head{}
	return head, decodeFields(value, head, func(number protowire.Number, _ []byte) bool {
		return number == journalField || number == parkedField || number == movingField || number == servedField
	})
}

// stand is how a customer stands, by his head as it is stored.
type stand struct {
	merged   bool // he became another one
	counted  bool // as customer.counted
	withheld bool // moves to him are under way
	served   bool // a closed generation is shown
}

func standOf(value []byte) stand {
	var s stand
	for len(value) > 0 {
		number, _, n := consumeField(value)
		if n < 0 {
			break // who decodes it says so
		}
		switch number {
		case entriesField, spilledField, parkedField:
			s.counted = true
		case mergedField:
			s.merged = true
		case movingField:
			s.withheld = true
		case servedField:
			s.served, s.counted = true, true
		}
		value = value[n:]
	}
	s.counted = s.counted && !s.merged
	return s
}

// decodeFields decodes the fields of a message that are wanted. It asks with
// the content of those that have a length; what is not wanted is passed over.
func decodeFields(value []byte, into proto.Message, wanted func(number protowire.Number, content []byte) bool) error {
	from, to := 0, 0 // wanted fields in a row
	flush := func() error {
		if from == to {
			return nil
		}
		return proto.UnmarshalOptions{Merge: true}.Unmarshal(value[from:to], into)
	}
	for at := 0; at < len(value); {
		number, content, n := consumeField(value[at:])
		if n < 0 {
			return protowire.ParseError(n)
		}
		if wanted(number, content) {
			if at != to {
				if err := flush(); err != nil {
					return err
				}
				from = at
			}
			to = at + n
		}
		at += n
	}
	return flush()
}

// consumeField reads one field: its number, its content if it has a length,
// and how many bytes it takes, negative if it is none.
func consumeField(b []byte) (number protowire.Number, content []byte, n int) {
	number, kind, tag := protowire.ConsumeTag(b)
	if tag < 0 {
		return 0, nil, tag
	}
	if kind == protowire.BytesType {
		content, n = protowire.ConsumeBytes(b[tag:])
	} else {
		n = protowire.ConsumeFieldValue(number, kind, b[tag:])
	}
	if n < 0 {
		return 0, nil, n
	}
	return number, content, tag + n
}

// fieldBytes is the content of the first field of a number that has a length,
// nil if there is none.
func fieldBytes(b []byte, wanted protowire.Number) []byte {
	for len(b) > 0 {
		number, content, n := consumeField(b)
		if n < 0 {
			return nil
		}
		if number == wanted && content != nil {
			return content
		}
		b = b[n:]
	}
	return nil
}
