package projections

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/store"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// Parking: an event that cannot be applied is set aside with its reason, and
// the partition goes on.
//
// Of the copies of an event the least (recorded_at, content hash) should stand.
// One is parked if it should stand and cannot be applied: so there is one at
// most for each event key, and it goes when a copy that is as good, or better,
// is applied. A parked event is tried again by appending it again, as it was
// stamped; whether that is done never, once or often, in any order, what is
// parked in the end is the same.

// Reasons for parking an event.
var (
	errNoCustomer = errors.New("the header names no customer")
	errMisrouted  = errors.New("the customer belongs to another partition")
	errBadBody    = errors.New("the body cannot be read")
)

// parkedID is the event key of a parked event, the customer first; a hash stands
// in for what is no customer's id.
type parkedID [32]byte

func parkedIDOf(h *logv1.Header) parkedID {
	customer, key := h.GetCustomer(), refusalHash(h)
	if _, err := events.CustomerIDFromBytes(customer); err != nil {
		sum := sha256.Sum256(customer)
		customer = sum[:16]
	}
	return parkedID(append(bytes.Clone(customer), key[:]...))
}

func parkedIDKey(id parkedID) []byte { return append([]byte{keyParkedID}, id[:]...) }

// parkedPlace is where the row of a parked event stands: what its key holds
// behind the first byte.
func parkedPlace(p *statev1.Parked) []byte { return parkedKey(p.Seq, p.Index)[1:] }

// parkedRow is what the fold knows of one event key.
type parkedRow struct {
	event   *statev1.Parked // nil: none is parked
	stored  []byte          // its place in the last commit; nil: it held none
	changed bool
}

// parkedAs finds what is parked of an event key.
func (o *overlay) parkedAs(id parkedID) (*parkedRow, error) {
	if row := o.parked[id]; row != nil {
		return row, nil
	}
	row := &parkedRow{}
	place, err := o.view.Get(parkedIDKey(id))
	if err != nil {
		return nil, err
	}
	if place != nil {
		row.stored = bytes.Clone(place)
		value, err := o.view.Get(append([]byte{keyParked}, place...))
		if err != nil {
			return nil, err
		}
		row.event = &statev1.Parked{}
		if err := proto.Unmarshal(value, row.event); err != nil {
			return nil, fmt.Errorf("parked event at %x: %w", place, err)
		}
	}
	if o.parked == nil {
		o.parked = map[parkedID]*parkedRow{}
	}
	o.parked[id] = row
	return row, nil
}

// setParked changes what is parked of an event key; nil: nothing any more.
func (o *overlay) setParked(row *parkedRow, event *statev1.Parked) {
	row.event, row.changed = event, true
	o.grow(proto.Size(event)+64, 3)
}

// writeParked puts what changed into a batch.
func (o *overlay) writeParked(b *store.Batch) error {
	ids := slices.SortedFunc(maps.Keys(o.parked), func(a, b parkedID) int { return bytes.Compare(a[:], b[:]) })
	for _, id := range ids {
		row := o.parked[id]
		if !row.changed {
			continue
		}
		if row.stored != nil && (row.event == nil || !bytes.Equal(row.stored, parkedPlace(row.event))) {
			b.Delete(append([]byte{keyParked}, row.stored...))
		}
		if row.event == nil {
			if row.stored != nil {
				b.Delete(parkedIDKey(id))
			}
			continue
		}
		value, err := proto.Marshal(row.event)
		if err != nil {
			return fmt.Errorf("write parked event %d/%d: %w", row.event.Seq, row.event.Index, err)
		}
		b.Put(parkedKey(row.event.Seq, row.event.Index), value)
		b.Put(parkedIDKey(id), parkedPlace(row.event))
	}
	return nil
}

// compareCopies ranks the copies of an event as they stand: the least first.
func compareCopies(recordedAt int64, content []byte, other *statev1.Parked) int {
	return cmp.Or(cmp.Compare(recordedAt, other.RecordedAt), bytes.Compare(content, other.Content))
}

// park sets event i aside; the partition goes on and the customer, nil if there
// is none, is flagged. Of an event key that is parked already the better copy
// stays; the same copy keeps its place, with the reason of today. `at` is what its
// address is as good as.
func (f *fold) park(c *customer, i int, e *logv1.LoggedEvent, at uint64, reason error) error {
	h := e.GetHeader()
	if h == nil {
		h = &logv1.Header{}
	}
	row, err := f.parkedAs(parkedIDOf(h))
	if err != nil {
		return err
	}
	now := &statev1.Parked{
		Seq: f.m.seq, Index: uint32(i), Customer: h.Customer, Reason: reason.Error(),
		EventId: h.EventId, Source: h.Source, RecordedAt: f.recordedAt(h), Content: contentHash(e),
		Role: h.Role, Type: h.Type, OccurredAt: h.OccurredAt, ClaimedAt: h.ClaimedAt,
		Corrects: h.Corrects, BodyHash: events.BodyHash(e.GetBody()), At: at,
	}
	if e.GetHeader() != nil && h.Type == eventsv1.Type_TYPE_CUSTOM {
		if body, err := readBody(e); err == nil {
			now.Name = body.GetType()
		}
	}
	switch old := row.event; {
	case old == nil:
		f.parkNew(c)
	case bytes.Equal(now.Content, old.Content):
		now.At = max(old.At, now.At)
		if now.RecordedAt >= old.RecordedAt && now.Reason == old.Reason && now.At == old.At && f.m.move == nil {
			return nil
		}
		if f.m.move == nil { // told once more by a mover it is parked there
			now.Seq, now.Index = old.Seq, old.Index
		}
		now.RecordedAt = min(old.RecordedAt, now.RecordedAt)
	case compareCopies(now.RecordedAt, now.Content, old) > 0:
		return nil
	}
	f.setParked(row, now)
	return nil
}

// parkNew counts an event key of which nothing was parked.
func (f *fold) parkNew(c *customer) {
	f.cp.Parked++
	if c == nil {
		return
	}
	counted := c.counted()
	c.touch()
	c.head.Parked++
	f.recount(c, counted)
}

// unpark takes away what is parked of an event of which a copy as good, or
// better, was applied.
func (f *fold) unpark(c *customer, e *logv1.LoggedEvent, recordedAt int64) error {
	if c.head.Parked == 0 {
		return nil
	}
	row, err := f.parkedAs(parkedIDOf(e.Header))
	if err != nil || row.event == nil {
		return err
	}
	if content := contentHash(e); !bytes.Equal(content, row.event.Content) && compareCopies(recordedAt, content, row.event) > 0 {
		return nil
	}
	f.setParked(row, nil)
	f.cp.Parked--
	counted := c.counted()
	c.touch()
	c.head.Parked--
	f.recount(c, counted)
	return nil
}

// Bounds of trying parked events again.
const (
	// MaxRetried bounds the parked events tried again by one call.
	MaxRetried = 1_000
	// retriedBytes bounds the events of a record that is appended for it, in
	// bytes; one event alone may be longer, up to the limits of ingest.
	retriedBytes = 128 << 10
	// maxRetryWait bounds the wait for what was appended to be folded.
	maxRetryWait = 5 * time.Second
)

// Retried is what became of a parked event that was tried again.
type Retried struct {
	Position events.Position
	// Outcome is one of those below; Reason says why it is parked still.
	Outcome, Reason string
}

// The outcomes of trying again.
const (
	RetryApplied = "applied"
	RetryParked  = "parked"
	RetryGone    = "gone" // nothing is parked there any more
)

// RetryParked tries events of this partition again that are parked, at most
// MaxRetried: append appends a record of them, and then the fold is waited for.
// What no repeat can help is not appended. It returns what became of each and
// the last sequence appended, 0 if none was.
//
// Appending twice what two callers try at once does no harm. ErrCatchingUp: the
// fold did not come so far in time; what was appended will be folded.
func (p *Partition) RetryParked(ctx context.Context, at []events.Position, append func(context.Context, *logv1.Record) (uint64, error)) ([]Retried, uint64, error) {
	if len(at) > MaxRetried {
		return nil, 0, fmt.Errorf("retry %d parked events, limit %d", len(at), MaxRetried)
	}
	outcomes := make([]Retried, len(at))
	again, err := p.parkedAgain(ctx, at, outcomes)
	if err != nil {
		return nil, 0, err
	}
	var last uint64
	for _, record := range records(again, retriedBytes) {
		seq, err := append(ctx, record)
		if err != nil {
			return nil, 0, err
		}
		last = max(last, seq)
	}
	if last > 0 {
		ctx, cancel := context.WithTimeout(ctx, maxRetryWait)
		defer cancel()
		if err := p.WaitApplied(ctx, last); err != nil {
			return nil, 0, err
		}
	}
	return outcomes, last, p.retried(outcomes)
}

// again is a parked event as it stands in the log, stamped as the earliest of
// its equal copies: the one that the others are held against.
type again struct {
	event        *logv1.LoggedEvent
	at           uint64
	recordedAt   int64
	seq          uint64
	index, bytes uint32
}

// parkedAgain reads parked events that may be helped, in the order of the log,
// and says of the others what they are.
func (p *Partition) parkedAgain(ctx context.Context, at []events.Position, outcomes []Retried) ([]again, error) {
	v := p.View()
	defer v.Close()
	var list []again
	var record *logv1.Record
	var read uint64 // the sequence of record
	for i, pos := range at {
		outcomes[i] = Retried{Position: pos, Outcome: RetryGone}
		if pos.Epoch != v.cp.GetEpoch() {
			continue
		}
		parked, err := v.ParkedAt(pos.Seq, pos.Index)
		if errors.Is(err, ErrNotParked) {
			continue
		}
		if err != nil {
			return nil, err
		}
		outcomes[i].Outcome, outcomes[i].Reason = RetryParked, parked.Reason
		if read != pos.Seq || record == nil {
			if record, err = p.fetch(ctx, pos.Seq); err != nil {
				return nil, fmt.Errorf("read parked event %s: %w", pos, err)
			}
			read = pos.Seq
		}
		if int(pos.Index) >= len(record.Events) {
			return nil, fmt.Errorf("read parked event %s: the record has %d events: %w", pos, len(record.Events), events.ErrCorrupt)
		}
		e := record.Events[pos.Index]
		if why := p.hopeless(e, int(v.cp.GetGenesis().GetPartitions())); why != nil {
			outcomes[i].Reason = fmt.Sprintf("%v: trying again cannot help, tell the event again", why)
			continue
		}
		list = append(list, again{
			event: e, at: record.At + e.Header.AtDelta, recordedAt: parked.RecordedAt,
			seq: pos.Seq, index: pos.Index, bytes: uint32(proto.Size(e)),
		})
	}
	slices.SortFunc(list, func(a, b again) int { return cmp.Or(cmp.Compare(a.seq, b.seq), cmp.Compare(a.index, b.index)) })
	return slices.CompactFunc(list, func(a, b again) bool { return a.seq == b.seq && a.index == b.index }), nil
}

// hopeless says why an event is parked for ever, nil if it may be applied yet.
func (p *Partition) hopeless(e *logv1.LoggedEvent, partitions int) error {
	id, err := events.CustomerIDFromBytes(e.GetHeader().GetCustomer())
	switch {
	case err != nil:
		return errNoCustomer
	case id.Partition(partitions) != p.o.ID:
		return errMisrouted
	}
	_, err = readBody(e)
	return err
}

// records packs events as they were stamped: only what is counted from the
// front of a record is counted anew. A record holds at most maxBytes of events,
// or one.
func records(list []again, maxBytes uint32) []*logv1.Record {
	var all []*logv1.Record
	for len(list) > 0 {
		n, size := 0, uint32(0)
		r := &logv1.Record{At: list[0].at, RecordedAt: list[0].recordedAt}
		for n < len(list) && (n == 0 || size+list[n].bytes <= maxBytes) {
			size += list[n].bytes
			r.At, r.RecordedAt = min(r.At, list[n].at), min(r.RecordedAt, list[n].recordedAt)
			n++
		}
		for _, a := range list[:n] {
			e := proto.CloneOf(a.event)
			e.Header.AtDelta, e.Header.RecordedDelta = a.at-r.At, uint64(a.recordedAt-r.RecordedAt)
			r.Events = append(r.Events, e)
		}
		all, list = append(all, r), list[n:]
	}
	return all
}

// retried looks which of those tried are parked still. One that kept its event
// key but not its place gave way to a better copy.
func (p *Partition) retried(outcomes []Retried) error {
	v := p.View()
	defer v.Close()
	for i := range outcomes {
		o := &outcomes[i]
		if o.Outcome == RetryGone {
			continue
		}
		parked, err := v.ParkedAt(o.Position.Seq, o.Position.Index)
		switch {
		case errors.Is(err, ErrNotParked):
			o.Outcome, o.Reason = RetryApplied, ""
		case err != nil:
			return err
		case parked.Reason != "" && o.Reason == "":
			o.Reason = parked.Reason
		}
	}
	return nil
}
