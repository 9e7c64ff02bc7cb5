package projections

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/projections/profile"
	"github.com/dossier360/dossier/projections/store"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// Bounds of a customer who is folded again inline: his events, and the bytes
// of their bodies, which bound what one commit then holds.
const (
	maxRefoldEntries = 1_000
	maxRefoldBytes   = 512 << 10
)

// refuse handles a repeat of an event that is in the history: nearly always
// nothing is to do. Of two copies with other content the least (recorded_at,
// content hash) stands, so that the facts do not depend on which came first;
// if that is the new copy, it takes the other's place in the history, and the
// customer is folded again once the message's events are through. It reports
// whether the new copy stands.
func (f *fold) refuse(ctx context.Context, c *customer, old *found, i int, e *logv1.LoggedEvent, at uint64) (stands bool, err error) {
	h := e.Header
	recordedAt := f.recordedAt(h)
	if recordedAt > old.entry.RecordedAt {
		return false, nil
	}
	_, logged, err := f.fetch(ctx, old.entry)
	if err != nil {
		return false, err
	}
	if bytes.Equal(contentHash(logged), contentHash(e)) {
		if recordedAt < old.entry.RecordedAt {
			// The facts stay; but this is the copy that a third one is held
			// against.
			c.moveArrival(old, f.m.seq, uint32(i), recordedAt, at, h.Trail)
			return false, f.unpark(c, e, recordedAt)
		}
		return false, nil
	}
	if recordedAt == old.entry.RecordedAt && bytes.Compare(contentHash(e), contentHash(logged)) >= 0 {
		return false, nil
	}
	body, err := readBody(e)
	if err != nil {
		return false, f.park(c, i, e, at, err)
	}
	c.touch()
	c.head.Stale = true
	c.remove(old)
	entry := f.entry(i, e, body, at)
	// The other copy may have left a refusal key that points to its place, and
	// a third one may look there.
	c.putRefusal(h, stampOf(entry))
	if err := c.insert(entry); err != nil {
		return false, err
	}
	return true, f.unpark(c, e, recordedAt)
}

// contentHash tells copies of one event apart: by the body, and by what of the
// header the facts depend on. Not by when and where it was stamped, or every
// retry would be another copy.
func contentHash(e *logv1.LoggedEvent) []byte {
	h := e.GetHeader()
	if h == nil {
		h = &logv1.Header{}
	}
	told, err := proto.MarshalOptions{Deterministic: true}.Marshal(&logv1.Header{
		OccurredAt: h.OccurredAt, Corrected: h.Corrected, Clamped: h.Clamped, Assigned: h.Assigned,
		Corrects: h.Corrects, IssuedAt: h.IssuedAt, Withdraws: h.Withdraws, CustomerKind: h.CustomerKind,
		Party: h.Party, PartyCustomer: h.PartyCustomer, Leaves: h.Leaves, Until: h.Until,
		Identifiers: h.Identifiers, Flags: h.Flags, KeyId: h.KeyId,
	})
	if err != nil {
		panic("not reached: a header that was read can be written: " + err.Error())
	}
	sum := sha256.New()
	sum.Write(appendSortedInt(nil, int64(len(told))))
	sum.Write(told)
	sum.Write(e.GetBody())
	return sum.Sum(nil)
}

// moveArrival makes another copy of the same content the one of an entry.
func (c *customer) moveArrival(f *found, seq uint64, index uint32, recordedAt int64, at uint64, trail []uint64) {
	c.touch()
	f.entry.Seq, f.entry.Index, f.entry.RecordedAt, f.entry.At, f.entry.Trail = seq, index, recordedAt, at, trail
	if f.lead != "" {
		c.putPage(f.lead, c.pages[f.lead])
	}
}

var errLong = errors.New("long")

// refoldLong has the mover tell a customer his whole history once more, for he is
// too long to be folded again inline: his generation is closed, and answers are
// read from it until the moves are through. The job is known by a place in the
// message that is this customer's alone: each round counts its customers from 0.
func (f *fold) refoldLong(c *customer, place int) error {
	if c.dirty {
		return errCommitFirst // he is closed as he is stored
	}
	takesBack := c.head.HasTakebacks
	generation, err := c.close()
	if err != nil {
		return err
	}
	if c.head.Served == nil {
		c.head.Served = &generation
	}
	if takesBack {
		c.head.Retold = &generation
	}
	number := refoldNumber | f.m.seq
	f.withhold(c, number)
	job := &statev1.MoveJob{
		Job:    &logv1.MoveJob{Kind: logv1.MoveKind_MOVE_KIND_REFOLD, Seq: f.m.seq, Index: uint32(place), Customer: bytes.Clone(c.id[:])},
		Number: number, Generation: generation,
	}
	f.cp.Jobs++
	return f.putMoving(jobKey(job.Job), job)
}

// refoldable reports whether a customer is short enough to be folded again
// inline.
func (c *customer) refoldable() (bool, error) {
	n, size := 0, 0
	err := c.everyEntry(func(e *statev1.Entry) error {
		n++
		size += int(e.BodyBytes)
		if n > c.o.refoldEntries || size > maxRefoldBytes {
			return errLong
		}
		return nil
	})
	if errors.Is(err, errLong) {
		return false, nil
	}
	return err == nil, err
}

// refold makes a customer's facts anew from those events of his history that
// stand, read in this partition's own log. In the order of the log, so that every record is read once: the
// facts do not depend on it.
func (f *fold) refold(ctx context.Context, c *customer) error {
	if err := c.dropRows(); err != nil {
		return err
	}
	var entries []*statev1.Entry
	err := c.everyEntry(func(e *statev1.Entry) error { entries = append(entries, e); return nil })
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b *statev1.Entry) int {
		return cmp.Or(cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Index, b.Index))
	})
	c.touch()
	c.head.Facts, c.head.Stale, c.head.HasTakebacks = &statev1.Facts{}, false, false
	history, err := f.readAgain(ctx, entries)
	if err != nil {
		return err
	}
	rows, err := c.noteAll(history)
	if err != nil {
		return err
	}
	if c.head.Retold != nil {
		rows = c.takebacks()
	}
	for _, ev := range history {
		why, err := rows.why(headerStamp(ev.Header), ev.Header.Corrects)
		if err != nil {
			return err
		}
		if why != "" || ev.Body == nil {
			continue
		}
		if err := profile.Apply(c.head.Facts, ev, c, f.env); err != nil {
			return err
		}
	}
	c.measure()
	return nil
}

// noteAll makes the takeback rows of a history anew.
func (c *customer) noteAll(history []profile.Event) (takebacks, error) {
	rows, named := takebacksOf(history)
	for _, t := range named {
		row, err := rows(t)
		if err != nil {
			return nil, err
		}
		if err := c.putTakeback(t, row); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// takebacksOf is what a history takes back, each row made once however many
// events name the same, and the events named, in the order of the history.
func takebacksOf(history []profile.Event) (takebacks, []target) {
	rows := map[target]*statev1.Takeback{}
	var named []target
	for _, ev := range history {
		t, takes := targetOf(ev.Header, ev.Body)
		if !takes {
			continue
		}
		row := rows[t]
		if row == nil {
			row = &statev1.Takeback{}
		}
		// One too many came in place of a copy that took back something else; it
		// takes back nothing.
		if noteIn(row, ev.Header, ev.Body) != nil {
			continue
		}
		if rows[t] == nil {
			rows[t], named = row, append(named, t)
		}
	}
	return func(t target) (*statev1.Takeback, error) { return rows[t], nil }, named
}

// readAgain reads the events of entries. One whose body has a key that is not
// ours has none.
func (f *fold) readAgain(ctx context.Context, entries []*statev1.Entry) ([]profile.Event, error) {
	history := make([]profile.Event, 0, len(entries))
	for _, entry := range entries {
		record, logged, err := f.fetch(ctx, entry)
		if err != nil {
			return nil, err
		}
		body, err := readBody(logged)
		if err != nil {
			return nil, err
		}
		history = append(history, profile.Event{Header: logged.Header, RecordedAt: record.RecordedAt + int64(logged.Header.RecordedDelta), Body: body})
	}
	return history, nil
}

// fetch reads the event of an entry again.
func (f *fold) fetch(ctx context.Context, entry *statev1.Entry) (*logv1.Record, *logv1.LoggedEvent, error) {
	record := f.m.record
	if entry.Seq != f.m.seq {
		var err error
		if record, err = f.Fetch(ctx, entry.Seq); err != nil {
			return nil, nil, fmt.Errorf("fetch message %d of partition %d: %w", entry.Seq, f.Partition, err)
		}
	}
	if int(entry.Index) >= len(record.Events) {
		return nil, nil, fmt.Errorf("message %d of partition %d has %d events, wanted number %d", entry.Seq, f.Partition, len(record.Events), entry.Index)
	}
	return record, record.Events[entry.Index], nil
}

// dropRows deletes every entity row of the customer.
func (c *customer) dropRows() error {
	prefix := ownedPrefix(keyRow, c.id, c.head.Generation)
	var ids []string
	err := c.o.view.Scan(prefix, store.PrefixEnd(prefix), false, func(key, _ []byte) bool {
		ids = append(ids, string(key[len(prefix):]))
		return true
	})
	if err != nil {
		return err
	}
	c.rows = map[string][]byte{}
	for _, id := range ids {
		c.rows[id] = nil
		c.o.grow(len(id)+32, 1)
	}
	return nil
}
