package directory

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dossier360/dossier/events"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// binding says under whom an identifier was told first: its origin, who may
// have become another customer since. It does not change when customers are
// merged, so that a merge costs the same however many identifiers they have,
// and undoing it gives back what came with the loser.
type binding struct {
	origin  events.CustomerID
	kind    logv1.CustomerKind
	blocked bool // names nobody; origin is zero
}

// free: nobody's, and may become somebody's.
func (b binding) free() bool { return b == binding{} }

// customer is what decisions need to know of one. All counts include those of
// the customers who were merged into him.
type customer struct {
	kind    logv1.CustomerKind
	aliases uint32 // customers merged into him
	pairs   uint32 // rows of pairs
	counts  []count
}

// count is how many identifiers of a type; by type, none of 0.
type count struct {
	typ string
	n   uint32
}

func (c customer) count(typ string) int {
	for _, t := range c.counts {
		if t.typ == typ {
			return int(t.n)
		}
	}
	return 0
}

func (c customer) identifiers() (n int) {
	for _, t := range c.counts {
		n += int(t.n)
	}
	return n
}

// adding is the customer with n more identifiers of a type. The counts are
// never changed in place: others may hold them.
func (c customer) adding(typ string, n int) customer {
	i, found := slices.BinarySearchFunc(c.counts, typ, func(t count, typ string) int { return strings.Compare(t.typ, typ) })
	switch {
	case !found && n > 0:
		c.counts = slices.Insert(slices.Clip(c.counts), i, count{typ, uint32(n)})
	case found && int(c.counts[i].n)+n > 0:
		c.counts = slices.Clone(c.counts)
		c.counts[i].n = uint32(int(c.counts[i].n) + n)
	case found:
		c.counts = slices.Delete(slices.Clone(c.counts), i, i+1)
	}
	return c
}

// with is the customer with another merged into him (sign 1), or parted from
// him again (-1).
func (c customer) with(o customer, sign int) customer {
	c.aliases = uint32(int(c.aliases) + sign*int(o.aliases+1))
	c.pairs = uint32(int(c.pairs) + sign*int(o.pairs))
	for _, t := range o.counts {
		c = c.adding(t.typ, sign*int(t.n))
	}
	return c
}

// link says into whom a customer was merged, and by which rule; zero: he was
// not.
type link struct {
	into events.CustomerID
	by   uint64
}

// pair is two customers, the older first.
type pair struct{ a, b events.CustomerID }

func pairOf(a, b events.CustomerID) pair {
	if b.Compare(a) < 0 {
		a, b = b, a
	}
	return pair{a, b}
}

// graph answers what is known at one sequence of IDENTITY.
type graph interface {
	// identifier reports whether anybody has it, or it is blocked.
	identifier(h Hash) (binding, bool, error)
	customer(c events.CustomerID) (customer, bool, error)
	link(c events.CustomerID) (link, error)
	memberships(person events.CustomerID) (Memberships, error)
	types() *Types
	// row is nil if there is none.
	row(group, key string) ([]byte, error)
	// scan returns the rows of a group in the order of their keys.
	scan(s span) ([]row, error)
}

// row is one of a group: what is read by the row or in order, and not for every
// event.
type row struct {
	key   string
	value []byte // nil: deleted
}

// span is a part of a group: keys in [from, to).
type span struct {
	group    string
	from, to string // "": from the first, to the last
	reverse  bool
	limit    int // 0: none
}

func (s span) holds(key string) bool { return key >= s.from && (s.to == "" || key < s.to) }

// merge lays newer rows over those that walk tells, both in the order of s.
func (s span) merge(newer []row, walk func(fn func(row) bool) error) ([]row, error) {
	var all []row
	take := func(r row) bool {
		if r.value != nil {
			all = append(all, r)
		}
		return s.limit == 0 || len(all) < s.limit
	}
	before := func(a, b string) bool { return (a < b) != s.reverse && a != b }
	more := true
	err := walk(func(r row) bool {
		for more && len(newer) > 0 && before(newer[0].key, r.key) {
			more = take(newer[0])
			newer = newer[1:]
		}
		if more && len(newer) > 0 && newer[0].key == r.key {
			r, newer = newer[0], newer[1:]
		}
		more = more && take(r)
		return more
	})
	for more && len(newer) > 0 {
		more = take(newer[0])
		newer = newer[1:]
	}
	return all, err
}

// tables are changes that lie above a graph.
type tables struct {
	identifiers map[Hash]binding // free: nobody's any more
	customers   map[events.CustomerID]customer
	links       map[events.CustomerID]link
	joinings    map[events.CustomerID]Memberships
	rows        map[string]map[string][]byte // by group and key; nil: deleted
	changed     *Types                       // nil: as they were
	weight      int                          // of rows, in keys of the usual size
	counters    counters                     // what is to be added
}

func newTables() *tables {
	return &tables{
		identifiers: map[Hash]binding{},
		customers:   map[events.CustomerID]customer{},
		links:       map[events.CustomerID]link{},
		joinings:    map[events.CustomerID]Memberships{},
		rows:        map[string]map[string][]byte{},
	}
}

// rowBytes is about what a key with its value has.
const rowBytes = 64

// size is about the number of keys changed; a long row counts as several.
func (t *tables) size() int {
	n := len(t.identifiers) + len(t.customers) + len(t.links) + len(t.joinings) + t.weight
	if t.changed != nil {
		n++
	}
	return n
}

func (t *tables) put(group, key string, value []byte) {
	rows := t.rows[group]
	if rows == nil {
		rows = map[string][]byte{}
		t.rows[group] = rows
	}
	rows[key] = value
	t.weight += 1 + len(value)/rowBytes
}

// within are the rows of a span, in its order; those of older are older.
func (t *tables) within(s span, older *tables) []row {
	found := map[string][]byte{}
	for _, layer := range []*tables{older, t} {
		if layer == nil {
			continue
		}
		for key, value := range layer.rows[s.group] {
			if s.holds(key) {
				found[key] = value
			}
		}
	}
	keys := slices.Sorted(maps.Keys(found))
	if s.reverse {
		slices.Reverse(keys)
	}
	rows := make([]row, len(keys))
	for i, key := range keys {
		rows[i] = row{key, found[key]}
	}
	return rows
}

// overlay is a graph with changes above it.
type overlay struct {
	*tables
	base graph
}

func newOverlay(base graph) overlay { return overlay{newTables(), base} }

func (o overlay) identifier(h Hash) (binding, bool, error) {
	if b, ok := o.identifiers[h]; ok {
		return b, !b.free(), nil
	}
	return o.base.identifier(h)
}

func (o overlay) customer(c events.CustomerID) (customer, bool, error) {
	if row, ok := o.customers[c]; ok {
		return row, true, nil
	}
	return o.base.customer(c)
}

func (o overlay) link(c events.CustomerID) (link, error) {
	if l, ok := o.links[c]; ok {
		return l, nil
	}
	return o.base.link(c)
}

func (o overlay) memberships(person events.CustomerID) (Memberships, error) {
	if m, ok := o.joinings[person]; ok {
		return m, nil
	}
	return o.base.memberships(person)
}

func (o overlay) types() *Types {
	if o.changed != nil {
		return o.changed
	}
	return o.base.types()
}

func (o overlay) row(group, key string) ([]byte, error) {
	if value, ok := o.rows[group][key]; ok {
		return value, nil
	}
	return o.base.row(group, key)
}

func (o overlay) scan(s span) ([]row, error) {
	all := s
	all.limit = 0 // some may be deleted here
	below, err := o.base.scan(all)
	if err != nil {
		return nil, err
	}
	return s.merge(o.within(s, nil), func(fn func(row) bool) error {
		for _, r := range below {
			if !fn(r) {
				break
			}
		}
		return nil
	})
}

// rootOf follows who was merged into whom: a few steps, for the one with more
// identifiers stays.
func rootOf(g graph, c events.CustomerID) (events.CustomerID, error) {
	for {
		l, err := g.link(c)
		if err != nil || l.by == 0 {
			return c, err
		}
		c = l.into
	}
}

// named finds the customer whom an identifier names.
func named(g graph, h Hash) (events.CustomerID, binding, bool, error) {
	b, ok, err := g.identifier(h)
	if err != nil || !ok || b.blocked {
		return events.CustomerID{}, b, false, err
	}
	root, err := rootOf(g, b.origin)
	return root, b, err == nil, err
}

// family calls fn for a customer and all who were merged into him. fn says
// whether to go on to those merged into that one.
func family(g graph, c events.CustomerID, fn func(c events.CustomerID) (deeper bool, err error)) error {
	deeper, err := fn(c)
	if err != nil || !deeper {
		return err
	}
	// Most were never merged with anybody, and a scan costs ten times a row.
	if row, _, err := g.customer(c); err != nil || row.aliases == 0 {
		return err
	}
	rows, err := g.scan(span{group: aliasGroup(c)})
	if err != nil {
		return err
	}
	for _, r := range rows {
		if err := family(g, events.CustomerID([]byte(r.key)), fn); err != nil {
			return err
		}
	}
	return nil
}

// identifiersOf are the identifiers that have a customer, or one who was merged
// into him, as their origin, by hash; at most limit, with an error beyond.
func identifiersOf(g graph, c events.CustomerID, limit int) ([]*logv1.HashedIdentifier, error) {
	var all []*logv1.HashedIdentifier
	err := family(g, c, func(c events.CustomerID) (bool, error) {
		rows, err := g.scan(span{group: memberGroup(c), limit: limit + 1 - len(all)})
		if err != nil {
			return false, err
		}
		for _, r := range rows {
			all = append(all, &logv1.HashedIdentifier{Type: string(r.value), Hash: []byte(r.key)})
		}
		if len(all) > limit {
			return false, fmt.Errorf("more than %d identifiers: %w", limit, ErrTooMany)
		}
		return true, nil
	})
	slices.SortFunc(all, func(a, b *logv1.HashedIdentifier) int { return cmp.Compare(string(a.Hash), string(b.Hash)) })
	return all, err
}
