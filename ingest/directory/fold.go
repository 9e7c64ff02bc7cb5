package directory

import (
	"fmt"
	"time"

	"github.com/dossier360/dossier/events"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// counters are what the fold counts.
type counters struct {
	customers   uint64 // made
	quarantined uint64 // conflicts that are open
	rules       uint64
	joinings    uint64
	merges      uint64
}

// add adds changes, of which one may be less than none.
func (c *counters) add(d counters) {
	c.customers += d.customers
	c.quarantined += d.quarantined
	c.rules += d.rules
	c.joinings += d.joinings
	c.merges += d.merges
}

// place is where a decision stands.
type place struct {
	seq  uint64
	n    int // in the message
	time time.Time
}

// maxInherited bounds from how many customers the other side of a split is kept
// apart because he was kept apart from them as one of the two.
const maxInherited = 1_000

// fold applies one decision. g must show t above everything older.
func fold(t *tables, g graph, d *logv1.Decision, at place) error {
	switch d := d.Decision.(type) {
	case *logv1.Decision_Created:
		c, err := events.CustomerIDFromBytes(d.Created.Customer)
		if err != nil {
			return fmt.Errorf("created: %w", err)
		}
		t.customers[c] = customer{kind: d.Created.Kind}
		t.counters.customers++
		return t.bind(g, c, d.Created.Identifiers)
	case *logv1.Decision_Linked:
		return t.vouched(g, d.Linked)
	case *logv1.Decision_Rebound:
		return t.rebind(g, d.Rebound)
	case *logv1.Decision_Quarantined:
		return t.quarantine(g, d.Quarantined, at)
	case *logv1.Decision_Joined:
		t.counters.joinings++
		return t.join(g, d.Joined)
	case *logv1.Decision_KeptApart:
		return t.part(g, d.KeptApart, at)
	case *logv1.Decision_Blocked:
		return t.block(g, d.Blocked)
	case *logv1.Decision_IdentifierTypes:
		types, err := newTypes(d.IdentifierTypes.GetTypes())
		if err != nil {
			return err
		}
		t.changed = types
		return nil
	case *logv1.Decision_Rekeyed:
		return t.rekey(d.Rekeyed)
	}
	return fmt.Errorf("decision %T: this program is older than the log", d.Decision)
}

// foldRule applies a rule message. Rules that are not about who is who change
// nothing here.
func foldRule(t *tables, g graph, r *logv1.Rule, at place) error {
	t.counters.rules++
	switch r := r.Rule.(type) {
	case *logv1.Rule_Merged:
		return t.merge(g, r.Merged, at)
	case *logv1.Rule_Split:
		return t.split(g, r.Split, at)
	}
	return nil
}

// vouched gives a customer identifiers. They have the origin of who vouched: if he
// came by a merge, undoing it gives him these too.
func (t *tables) vouched(g graph, l *logv1.Linked) error {
	c, err := events.CustomerIDFromBytes(l.Customer)
	if err != nil {
		return fmt.Errorf("linked: %w", err)
	}
	if _, ok, err := g.customer(c); err != nil || !ok {
		return missing("linked to", c, err)
	}
	if v := l.GetVoucher(); v != nil {
		h, err := hashOf(v)
		if err != nil {
			return fmt.Errorf("linked, voucher: %w", err)
		}
		root, b, ok, err := named(g, h)
		if err != nil {
			return err
		}
		if ok && root == c {
			c = b.origin
		}
	}
	return t.bind(g, c, l.Identifiers)
}

func missing(what string, c events.CustomerID, err error) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%s customer %s, who was never created", what, c)
}

// bind makes a customer the origin of identifiers.
func (t *tables) bind(g graph, origin events.CustomerID, ids []*logv1.HashedIdentifier) error {
	for _, id := range ids {
		h, err := hashOf(id)
		if err != nil {
			return err
		}
		if err := t.move(g, h, id.GetType(), origin); err != nil {
			return err
		}
	}
	return nil
}

// move gives an identifier another origin, and counts it there.
func (t *tables) move(g graph, h Hash, typ string, origin events.CustomerID) error {
	if err := t.release(g, h); err != nil {
		return err
	}
	row, _, err := g.customer(origin)
	if err != nil {
		return err
	}
	t.identifiers[h] = binding{origin: origin, kind: row.kind}
	t.put(memberGroup(origin), string(h[:]), []byte(typ))
	return t.upwards(g, origin, func(row customer) customer { return row.adding(typ, 1) })
}

// release makes an identifier nobody's.
func (t *tables) release(g graph, h Hash) error {
	b, ok, err := g.identifier(h)
	if err != nil || !ok {
		return err
	}
	t.identifiers[h] = binding{}
	if b.blocked {
		return nil
	}
	typ, err := g.row(memberGroup(b.origin), string(h[:]))
	if err != nil {
		return err
	}
	t.put(memberGroup(b.origin), string(h[:]), nil)
	return t.upwards(g, b.origin, func(row customer) customer { return row.adding(string(typ), -1) })
}

// upwards changes the rows of a customer and of whom he became.
func (t *tables) upwards(g graph, c events.CustomerID, change func(customer) customer) error {
	for {
		row, ok, err := g.customer(c)
		if err != nil || !ok {
			return missing("rows of", c, err)
		}
		t.customers[c] = change(row)
		l, err := g.link(c)
		if err != nil || l.by == 0 {
			return err
		}
		c = l.into
	}
}

func (t *tables) rebind(g graph, r *logv1.Rebound) error {
	to, err := events.CustomerIDFromBytes(r.To)
	if err != nil {
		return fmt.Errorf("rebound, to: %w", err)
	}
	if _, ok, err := g.customer(to); err != nil || !ok {
		return missing("rebound to", to, err)
	}
	h, err := hashOf(r.Identifier)
	if err != nil {
		return fmt.Errorf("rebound: %w", err)
	}
	return t.move(g, h, r.Identifier.GetType(), to)
}

func (t *tables) block(g graph, b *logv1.Blocked) error {
	h, err := hashOf(b.Identifier)
	if err != nil {
		return fmt.Errorf("blocked: %w", err)
	}
	if err := t.release(g, h); err != nil {
		return err
	}
	t.identifiers[h] = binding{blocked: !b.Released}
	return nil
}

// part keeps two customers apart, and closes what conflicts they have.
func (t *tables) part(g graph, k *logv1.KeptApart, at place) error {
	a, b, err := twoOf(k.A, k.B)
	if err != nil {
		return fmt.Errorf("kept apart: %w", err)
	}
	if err := t.keepApart(g, a, b); err != nil {
		return err
	}
	rootA, rootB, err := rootsOf(g, a, b)
	if err != nil {
		return err
	}
	return t.resolveBetween(g, rootA, rootB, stateDismissed, k.Why, at)
}

// resolveBetween closes all conflicts of two roots. Those of whom it is said
// that they are one are no longer kept apart.
func (t *tables) resolveBetween(g graph, a, b events.CustomerID, state byte, why *logv1.Why, at place) error {
	return between(g, a, b, func(p pair, r pairRow) error {
		r.apart = r.apart && state != stateApproved
		return t.resolve(g, p, r, state, why, at)
	})
}

func twoOf(a, b []byte) (events.CustomerID, events.CustomerID, error) {
	x, err := events.CustomerIDFromBytes(a)
	if err != nil {
		return x, x, err
	}
	y, err := events.CustomerIDFromBytes(b)
	return x, y, err
}

func rootsOf(g graph, a, b events.CustomerID) (events.CustomerID, events.CustomerID, error) {
	x, err := rootOf(g, a)
	if err != nil {
		return x, x, err
	}
	y, err := rootOf(g, b)
	return x, y, err
}

func (t *tables) merge(g graph, m *logv1.Merged, at place) error {
	loser, winner, err := twoOf(m.Loser, m.Winner)
	if err != nil {
		return fmt.Errorf("merged: %w", err)
	}
	l, ok, err := g.customer(loser)
	if err != nil || !ok {
		return missing("merged", loser, err)
	}
	if _, ok, err := g.customer(winner); err != nil || !ok {
		return missing("merged into", winner, err)
	}
	if err := t.resolveBetween(g, loser, winner, stateApproved, m.Why, at); err != nil {
		return err
	}
	if l, _, err = g.customer(loser); err != nil {
		return err
	}
	if err := t.upwards(g, winner, func(row customer) customer { return row.with(l, 1) }); err != nil {
		return err
	}
	if err := t.unite(g, winner, loser); err != nil {
		return err
	}
	t.links[loser] = link{winner, at.seq}
	t.put(aliasGroup(winner), string(loser[:]), uint64Bytes(at.seq))
	t.remember(at, historyRow{at: at.time, rule: &logv1.Rule{Rule: &logv1.Rule_Merged{Merged: m}}}, loser, winner)
	t.counters.merges++
	return nil
}

// unite gives a customer the joinings of another beside his own.
func (t *tables) unite(g graph, to, from events.CustomerID) error {
	had, err := g.memberships(from)
	if err != nil || len(had) == 0 {
		return err
	}
	m, err := g.memberships(to)
	if err != nil {
		return err
	}
	switch _, ok, err := ownJoinings(g, to); {
	case err != nil:
		return err
	case !ok:
		t.put(ownGroup, string(to[:]), m.encodeOwn())
	}
	t.joinings[to] = m.and(had)
	return nil
}

// and is the history with all entries of another.
func (m Memberships) and(o Memberships) Memberships {
	for _, joined := range o {
		m = m.with(joined)
	}
	return m
}

// disunite takes from whom a customer had become the joinings that came with
// him.
func (t *tables) disunite(g graph, c events.CustomerID, l link) error {
	had, err := g.memberships(c)
	if err != nil || len(had) == 0 {
		return err
	}
	for l.by != 0 {
		c = l.into
		m, _, err := ownJoinings(g, c)
		if err != nil {
			return err
		}
		rows, err := g.scan(span{group: aliasGroup(c)})
		if err != nil {
			return err
		}
		for _, r := range rows {
			others, err := g.memberships(events.CustomerID([]byte(r.key)))
			if err != nil {
				return err
			}
			m = m.and(others)
		}
		t.joinings[c] = m
		if l, err = g.link(c); err != nil {
			return err
		}
	}
	return nil
}

func (t *tables) split(g graph, s *logv1.Split, at place) error {
	from, to, err := twoOf(s.From, s.To)
	if err != nil {
		return fmt.Errorf("split: %w", err)
	}
	var of []events.CustomerID
	if s.Undoes != 0 {
		of, err = t.undo(g, s.Undoes, to, at)
	} else {
		of, err = t.takeOut(g, s, to)
	}
	if err == nil {
		err = t.keepApart(g, from, to)
	}
	if err == nil {
		err = t.inherit(g, of, from, to)
	}
	if err != nil {
		return fmt.Errorf("split: %w", err)
	}
	t.remember(at, historyRow{at: at.time, rule: &logv1.Rule{Rule: &logv1.Rule_Split{Split: s}}}, from, to)
	return nil
}

// undo parts a customer from whom he was merged into, with all that came with
// him and since. It returns whom.
func (t *tables) undo(g graph, merge uint64, c events.CustomerID, at place) ([]events.CustomerID, error) {
	l, err := g.link(c)
	if err != nil {
		return nil, err
	}
	if l.by != merge {
		return nil, fmt.Errorf("undo of merge %d: customer %s was merged by %d: %w", merge, c, l.by, events.ErrCorrupt)
	}
	row, _, err := g.customer(c)
	if err != nil {
		return nil, err
	}
	if err := t.upwards(g, l.into, func(r customer) customer { return r.with(row, -1) }); err != nil {
		return nil, err
	}
	t.links[c] = link{}
	t.put(aliasGroup(l.into), string(c[:]), nil)
	if err := t.disunite(g, c, l); err != nil {
		return nil, err
	}
	h, ok, err := readHistory(g, merge)
	if err != nil || !ok {
		return nil, fmt.Errorf("history of merge %d: there %v: %w", merge, ok, err)
	}
	h.undoneBy = at.seq
	t.put(historyGroup, string(uint64Bytes(merge)), h.encode())
	return []events.CustomerID{l.into}, t.keepApart(g, l.into, c)
}

// takeOut makes a new customer of some identifiers of another. It returns under
// whom they were told.
func (t *tables) takeOut(g graph, s *logv1.Split, to events.CustomerID) ([]events.CustomerID, error) {
	from := events.CustomerID(s.From)
	t.customers[to] = customer{kind: s.Kind}
	t.counters.customers++
	of := []events.CustomerID{from}
	for i := 0; i+len(Hash{}) <= len(s.Hashes); i += len(Hash{}) {
		h := Hash(s.Hashes[i : i+len(Hash{})])
		b, ok, err := g.identifier(h)
		if err != nil {
			return nil, err
		}
		if !ok || b.blocked {
			continue
		}
		of = append(of, b.origin)
		typ, err := g.row(memberGroup(b.origin), string(h[:]))
		if err != nil {
			return nil, err
		}
		if err := t.move(g, h, string(typ), to); err != nil {
			return nil, err
		}
	}
	m, err := g.memberships(from)
	if err == nil && len(m) > 0 {
		t.joinings[to] = m // all of them: nobody knows by which part they were told
	}
	return of, err
}

// inherit keeps the other side of a split apart from those from whom somebody
// was kept apart of whom it was a part then: nobody knows for which part of him
// that was said. Of those are whom it is told to come from, and whom they became.
func (t *tables) inherit(g graph, of []events.CustomerID, from, to events.CustomerID) error {
	n, seen := 0, map[events.CustomerID]bool{}
	said := func(other events.CustomerID, r pairRow) error {
		root, err := rootOf(g, other)
		if err != nil || !r.apart || root == to || root == from || n >= maxInherited {
			return err
		}
		n++
		return t.keepApart(g, to, other)
	}
	for _, c := range of {
		for !seen[c] {
			seen[c] = true
			if err := pairsOf(g, c, said); err != nil {
				return err
			}
			l, err := g.link(c)
			if err != nil {
				return err
			}
			if l.by != 0 {
				c = l.into
			}
		}
	}
	return nil
}

// remember keeps a rule for whoever asks for the history of its customers.
func (t *tables) remember(at place, h historyRow, customers ...events.CustomerID) {
	key := string(uint64Bytes(at.seq))
	t.put(historyGroup, key, h.encode())
	for _, c := range customers {
		t.put(partGroup(c), key, []byte{})
	}
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
	own, ok, err := ownJoinings(g, person)
	if ok {
		t.put(ownGroup, string(person[:]), own.with(told).encodeOwn())
	}
	return err
}

func hashOf(id *logv1.HashedIdentifier) (Hash, error) {
	if n := len(id.GetHash()); n != len(Hash{}) {
		return Hash{}, fmt.Errorf("identifier %s: hash of %d bytes, %d wanted", id.GetType(), n, len(Hash{}))
	}
	return Hash(id.Hash), nil
}
