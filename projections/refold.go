package projections

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/dossier360/dossier/projections/profile"
	"github.com/dossier360/dossier/projections/store"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// maxRefoldEntries bounds a customer that is folded again inline.
const maxRefoldEntries = 1_000

var errTooLongToRefold = fmt.Errorf("a copy with other content is the one that stands, but the customer has more than %d events to fold again", maxRefoldEntries)

// refuse handles a repeat of an event that is in the history: nearly always
// nothing is to do. Of two copies with other content the least (recorded_at,
// content hash) stands, so that the facts do not depend on which came first;
// if that is the new copy, the customer is folded again from his history.
func (f *fold) refuse(ctx context.Context, c *customer, old *found, i int, e *logv1.LoggedEvent) error {
	h := e.Header
	recordedAt := f.recordedAt(h)
	if recordedAt > old.entry.RecordedAt {
		return nil
	}
	record, logged, err := f.fetch(ctx, old.entry)
	if err != nil {
		return err
	}
	if bytes.Equal(logged.Body, e.Body) && logged.Header.OccurredAt == h.OccurredAt {
		return nil
	}
	if recordedAt == record.RecordedAt+int64(logged.Header.RecordedDelta) && bytes.Compare(contentHash(e), contentHash(logged)) >= 0 {
		return nil
	}
	body, err := readBody(e)
	if err != nil {
		f.park(c, i, h, err)
		return nil
	}
	if long, err := c.longerThan(maxRefoldEntries); err != nil || long {
		if err == nil {
			f.park(c, i, h, errTooLongToRefold)
		}
		return err
	}
	c.touch()
	c.remove(old)
	if err := c.record(f.entry(i, h, body), h); err != nil {
		return err
	}
	return f.refold(ctx, c)
}

// contentHash tells copies of one event apart.
func contentHash(e *logv1.LoggedEvent) []byte {
	sum := sha256.New()
	sum.Write(appendSortedInt(nil, e.Header.OccurredAt))
	sum.Write(e.Body)
	return sum.Sum(nil)
}

var errLong = errors.New("long")

func (c *customer) longerThan(n int) (bool, error) {
	err := c.everyEntry(func(*statev1.Entry) error {
		if n--; n < 0 {
			return errLong
		}
		return nil
	})
	if errors.Is(err, errLong) {
		return true, nil
	}
	return false, err
}

// refold makes a customer's facts anew from his history and this partition's
// own log.
func (f *fold) refold(ctx context.Context, c *customer) error {
	if err := c.dropRows(); err != nil {
		return err
	}
	c.head.Facts = &statev1.Facts{}
	return c.everyEntry(func(entry *statev1.Entry) error {
		record, logged, err := f.fetch(ctx, entry)
		if err != nil {
			return err
		}
		body, err := readBody(logged)
		if err != nil || body == nil {
			return err
		}
		ev := profile.Event{Header: logged.Header, RecordedAt: record.RecordedAt + int64(logged.Header.RecordedDelta), Body: body}
		return profile.Apply(c.head.Facts, ev, c, f.env)
	})
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
	}
	return nil
}
