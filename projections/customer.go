package projections

import (
	"bytes"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/columns"
	"github.com/dossier360/dossier/projections/profile"
	"github.com/dossier360/dossier/projections/store"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// customer is one customer in the overlay: what the last commit holds with the
// uncommitted changes on top. Owned by the fold.
type customer struct {
	id   events.CustomerID
	head *statev1.Head
	// fresh: the last commit does not hold him.
	fresh bool
	// dirty: the head differs from the last commit's.
	dirty bool
	// encoded is how many bytes the head took when it was last read or written.
	encoded int
	// measured is how many bytes his facts took when they were last measured, at
	// most encoded.
	measured int
	// held is what the cache counts him as.
	held int
	// storedTimer is the due instant of his timer key in the last commit; 0:
	// none.
	storedTimer int64

	o *overlay
	// rows, by kind and id: changed since the last commit; nil: deleted.
	rows map[string][]byte
	// pages, by order key of the lead: read or changed since the last commit;
	// a nil page was deleted. dirtyPages names the changed ones.
	pages      map[string]*statev1.Page
	dirtyPages map[string]bool
	// leads are the order keys that lead his pages, sorted, once leadsRead:
	// only a late event wants them. They are kept as long as he is, for there may
	// be thousands, and late events come in numbers.
	leads     []string
	leadsRead bool
	// refusals are new refusal keys, by hash: the order key of the entry.
	refusals map[[16]byte][]byte
}

// Get implements [profile.Rows].
func (c *customer) Get(kind profile.RowKind, id []byte) ([]byte, error) {
	if value, ok := c.rows[rowID(kind, id)]; ok {
		return value, nil
	}
	return c.o.view.Get(rowKey(c.id, c.head.Generation, kind, id))
}

// Put implements [profile.Rows].
func (c *customer) Put(kind profile.RowKind, id []byte, value []byte) {
	if c.rows == nil {
		c.rows = map[string][]byte{}
	}
	c.rows[rowID(kind, id)] = value
	c.o.grow(len(id)+len(value)+32, 1)
}

// Scan implements [profile.Rows].
func (c *customer) Scan(kind profile.RowKind, fn func(id, value []byte) error) error {
	merged := map[string][]byte{}
	prefix := append(ownedPrefix(keyRow, c.id, c.head.Generation), byte(kind))
	err := c.o.view.Scan(prefix, store.PrefixEnd(prefix), false, func(key, value []byte) bool {
		merged[string(key[len(prefix):])] = bytes.Clone(value)
		return true
	})
	if err != nil {
		return err
	}
	for id, value := range c.rows {
		if id[0] != byte(kind) {
			continue
		}
		if value == nil {
			delete(merged, id[1:])
		} else {
			merged[id[1:]] = value
		}
	}
	for _, id := range sortedKeys(merged) {
		if err := fn([]byte(id), merged[id]); err != nil {
			return err
		}
	}
	return nil
}

func rowID(kind profile.RowKind, id []byte) string { return string(byte(kind)) + string(id) }

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// touch marks the head changed.
func (c *customer) touch() {
	if c.dirty {
		return
	}
	c.dirty = true
	c.measured = c.encoded
	c.o.dirty = append(c.o.dirty, c)
	c.o.largest = max(c.o.largest, c.encoded)
	c.o.grow(c.encoded+64, 3)
}

// unknown reports whether nothing was ever recorded of the customer.
func (c *customer) unknown() bool { return c.fresh && !c.dirty }

// write puts all that changed into a batch.
func (c *customer) write(b *store.Batch) error {
	value, err := proto.Marshal(c.head)
	if err != nil {
		return fmt.Errorf("write customer %s: %w", c.id, err)
	}
	c.encoded = len(value)
	b.Put(headKey(c.id), value)
	if c.head.Timer != c.storedTimer {
		if c.storedTimer != 0 {
			b.Delete(timerKey(c.storedTimer, c.id))
		}
		if c.head.Timer != 0 {
			b.Put(timerKey(c.head.Timer, c.id), nil)
		}
	}
	for id, row := range c.rows {
		key := rowKey(c.id, c.head.Generation, profile.RowKind(id[0]), []byte(id[1:]))
		if row == nil {
			b.Delete(key)
		} else {
			b.Put(key, row)
		}
	}
	prefix := ownedPrefix(keyPage, c.id, c.head.Generation)
	for lead := range c.dirtyPages {
		key := append(bytes.Clone(prefix), lead...)
		page := c.pages[lead]
		if page == nil {
			b.Delete(key)
			continue
		}
		value, err := proto.Marshal(page)
		if err != nil {
			return fmt.Errorf("write page of customer %s: %w", c.id, err)
		}
		b.Put(key, value)
	}
	for hash, at := range c.refusals {
		b.Put(append(ownedPrefix(keyRefusal, c.id, c.head.Generation), hash[:]...), at)
	}
	return nil
}

// committed forgets what the commit has made durable.
func (c *customer) committed() {
	c.fresh, c.dirty = false, false
	c.storedTimer = c.head.Timer
	c.rows, c.refusals = nil, nil
	c.o.weigh(c)
}

// row is what lists show of the customer; nil: what they showed before, while
// answers are read from a closed generation.
func (c *customer) row(env profile.Env) *columns.Row {
	switch {
	case !c.counted():
		return &columns.Row{ID: c.id, Gone: true}
	case c.head.Served != nil:
		return nil
	}
	return columns.Of(c.id, c.head, env)
}

// dropPages forgets the pages that were read; the store has them.
func (c *customer) dropPages() { c.pages, c.dirtyPages = nil, nil }

// dropLeads forgets where pages are: they are another generation's now.
func (c *customer) dropLeads() { c.leads, c.leadsRead = nil, false }

// leadBytes is what one lead takes, and what is set aside to add others.
const leadBytes = 128

// weight is what the cache counts him as.
func (c *customer) weight() int {
	return decodedBytes + decodedFactor*c.encoded + leadBytes*len(c.leads)
}
