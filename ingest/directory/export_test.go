package directory

import (
	"context"
)

// MaxMessageBytes and MaxMessageDecisions bound one message of decisions.
const (
	MaxMessageBytes     = maxMessageBytes
	MaxMessageDecisions = maxMessageDecisions
)

// MaxQueued bounds the undecided sets that wait.
const MaxQueued = maxQueued

// With is the history with one more entry.
func (m Memberships) With(told Membership) Memberships { return m.with(told) }

// ChangedBy reports whether an entry tells anything new.
func (m Memberships) ChangedBy(told Membership) bool { return m.changedBy(told) }

// Wait waits until the directory is ready.
func (d *Directory) Wait(ctx context.Context) error {
	return d.wait(ctx, func() bool { return d.readyLocked() == nil })
}

// WaitApplied waits until a message is folded.
func (d *Directory) WaitApplied(ctx context.Context, seq uint64) error {
	return d.wait(ctx, func() bool { return d.cp.seq >= seq })
}

// Cache is the two-generation cache, for its bound.
type Cache struct{ c *cache[Hash, binding] }

// NewCache makes one for n entries.
func NewCache(n int) Cache { return Cache{newCache[Hash, binding](n)} }

// Put puts a hash; Has asks for it; Len is how many are held.
func (c Cache) Put(h Hash)      { c.c.put(h, binding{}) }
func (c Cache) Has(h Hash) bool { _, ok := c.c.get(h); return ok }
func (c Cache) Len() int        { return len(c.c.young) + len(c.c.elder) }

// Weak reports whether identifiers of a type name a device or a visit rather
// than a customer: a customer with only such is not identified.
func Weak(typ string) bool {
	k, ok := kindOf(typ)
	return ok && k.weak
}
