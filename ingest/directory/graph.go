package directory

import (
	"fmt"

	"github.com/dossier360/dossier/events"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// binding says whose an identifier is.
type binding struct {
	customer events.CustomerID
	kind     logv1.CustomerKind
}

// customer is what decisions need to know of one.
type customer struct {
	kind      logv1.CustomerKind
	exclusive []exclusive // at most one a type; not to be changed in place
}

// exclusive is an identifier of which its customer has one.
type exclusive struct {
	typ  string
	hash Hash
}

// holds reports whether the customer has an exclusive identifier of the type.
func (c customer) holds(typ string) bool {
	for _, e := range c.exclusive {
		if e.typ == typ {
			return true
		}
	}
	return false
}

// excludes reports whether two customers hold different identifiers of one
// exclusive type: then they are two.
func (c customer) excludes(d customer) bool {
	for _, e := range c.exclusive {
		for _, f := range d.exclusive {
			if e.typ == f.typ && e.hash != f.hash {
				return true
			}
		}
	}
	return false
}

// pair is two customers, the older first.
type pair struct{ a, b events.CustomerID }

func pairOf(a, b events.CustomerID) pair {
	if b.Compare(a) < 0 {
		a, b = b, a
	}
	return pair{a, b}
}

// member is an identifier of a customer.
type member struct {
	customer events.CustomerID
	hash     Hash
}

// graph answers what is known at one sequence of IDENTITY.
type graph interface {
	identifier(h Hash) (binding, bool, error)
	customer(c events.CustomerID) (customer, bool, error)
	quarantined(p pair) (bool, error)
	memberships(person events.CustomerID) (Memberships, error)
}

// tables are changes that lie above a graph.
type tables struct {
	identifiers map[Hash]binding
	customers   map[events.CustomerID]customer
	pairs       map[pair]bool
	members     map[member]string // type; "" means no longer
	joinings    map[events.CustomerID]Memberships
	types       *Types // nil: as they were
}

func newTables() *tables {
	return &tables{
		identifiers: map[Hash]binding{},
		customers:   map[events.CustomerID]customer{},
		pairs:       map[pair]bool{},
		members:     map[member]string{},
		joinings:    map[events.CustomerID]Memberships{},
	}
}

// size is the number of keys changed.
func (t *tables) size() int {
	n := len(t.identifiers) + len(t.customers) + len(t.pairs) + len(t.members) + len(t.joinings)
	if t.types != nil {
		n++
	}
	return n
}

// overlay is a graph with changes above it.
type overlay struct {
	*tables
	base graph
}

func newOverlay(base graph) overlay { return overlay{newTables(), base} }

func (o overlay) identifier(h Hash) (binding, bool, error) {
	if b, ok := o.identifiers[h]; ok {
		return b, true, nil
	}
	return o.base.identifier(h)
}

func (o overlay) customer(c events.CustomerID) (customer, bool, error) {
	if row, ok := o.customers[c]; ok {
		return row, true, nil
	}
	return o.base.customer(c)
}

func (o overlay) quarantined(p pair) (bool, error) {
	if o.pairs[p] {
		return true, nil
	}
	return o.base.quarantined(p)
}

func (o overlay) memberships(person events.CustomerID) (Memberships, error) {
	if m, ok := o.joinings[person]; ok {
		return m, nil
	}
	return o.base.memberships(person)
}

// counters are what the fold counts.
type counters struct {
	customers, quarantined, rules, joinings uint64
}

// fold applies one decision. g must show t above everything older. Every
// change is absolute, so that folding again what a store holds already gives
// the same store.
func fold(t *tables, g graph, d *logv1.Decision) error {
	switch d := d.Decision.(type) {
	case *logv1.Decision_Created:
		c, err := events.CustomerIDFromBytes(d.Created.Customer)
		if err != nil {
			return fmt.Errorf("created: %w", err)
		}
		return t.bind(c, customer{kind: d.Created.Kind}, d.Created.Identifiers)
	case *logv1.Decision_Linked:
		c, err := events.CustomerIDFromBytes(d.Linked.Customer)
		if err != nil {
			return fmt.Errorf("linked: %w", err)
		}
		row, ok, err := g.customer(c)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("linked to customer %s, who was never created", c)
		}
		return t.bind(c, row, d.Linked.Identifiers)
	case *logv1.Decision_Rebound:
		return t.rebind(g, d.Rebound)
	case *logv1.Decision_Quarantined:
		a, err := events.CustomerIDFromBytes(d.Quarantined.Stronger)
		if err != nil {
			return fmt.Errorf("quarantined, stronger: %w", err)
		}
		b, err := events.CustomerIDFromBytes(d.Quarantined.Weaker)
		if err != nil {
			return fmt.Errorf("quarantined, weaker: %w", err)
		}
		t.pairs[pairOf(a, b)] = true
		return nil
	case *logv1.Decision_Joined:
		return t.join(g, d.Joined)
	case *logv1.Decision_IdentifierTypes:
		types, err := newTypes(d.IdentifierTypes.GetTypes())
		if err != nil {
			return err
		}
		t.types = types
		return nil
	}
	return fmt.Errorf("decision %T: this program is older than the log", d.Decision)
}

func (t *tables) bind(c events.CustomerID, row customer, ids []*logv1.HashedIdentifier) error {
	for _, id := range ids {
		h, err := hashOf(id)
		if err != nil {
			return err
		}
		t.identifiers[h] = binding{c, row.kind}
		t.members[member{c, h}] = id.Type
		if k, _ := kindOf(id.Type); k.exclusive() && !row.holds(id.Type) {
			row.exclusive = append(row.exclusive[:len(row.exclusive):len(row.exclusive)], exclusive{id.Type, h})
		}
	}
	t.customers[c] = row
	return nil
}

func (t *tables) rebind(g graph, r *logv1.Rebound) error {
	from, err := events.CustomerIDFromBytes(r.From)
	if err != nil {
		return fmt.Errorf("rebound, from: %w", err)
	}
	to, err := events.CustomerIDFromBytes(r.To)
	if err != nil {
		return fmt.Errorf("rebound, to: %w", err)
	}
	h, err := hashOf(r.Identifier)
	if err != nil {
		return fmt.Errorf("rebound: %w", err)
	}
	row, ok, err := g.customer(to)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("rebound to customer %s, who was never created", to)
	}
	t.identifiers[h] = binding{to, row.kind}
	t.members[member{from, h}] = ""
	t.members[member{to, h}] = r.Identifier.GetType()
	return nil
}

func (t *tables) join(g graph, j *logv1.Joined) error {
	person, err := events.CustomerIDFromBytes(j.Person)
	if err != nil {
		return fmt.Errorf("joined, person: %w", err)
	}
	told := Membership{Since: j.Since}
	if len(j.Company) > 0 {
		if told.Company, err = events.CustomerIDFromBytes(j.Company); err != nil {
			return fmt.Errorf("joined, company: %w", err)
		}
	}
	m, err := g.memberships(person)
	if err != nil {
		return err
	}
	t.joinings[person] = m.with(told)
	return nil
}

func hashOf(id *logv1.HashedIdentifier) (Hash, error) {
	if n := len(id.GetHash()); n != len(Hash{}) {
		return Hash{}, fmt.Errorf("identifier %s: hash of %d bytes, %d wanted", id.GetType(), n, len(Hash{}))
	}
	return Hash(id.Hash), nil
}
