package directory_test

import (
	"bytes"
	"slices"

	"pgregory.net/rapid"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest/directory"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// model is told what was decided, message by message, and says who is who by
// the plainest means: it looks at everything, each time. It refuses what must
// not be decided.
type model struct {
	t         *rapid.T
	kinds     map[events.CustomerID]logv1.CustomerKind
	order     []events.CustomerID
	origin    map[directory.Hash]events.CustomerID
	types     map[directory.Hash]string
	blocked   map[directory.Hash]bool
	into      map[events.CustomerID]events.CustomerID
	by        map[events.CustomerID]uint64
	apart     map[[2]events.CustomerID]bool
	conflicts map[[2]events.CustomerID]string // the latest of a pair
	joined    map[events.CustomerID]map[int64]events.CustomerID
	merges    []uint64
}

func modelOf(t *rapid.T, log events.Log) *model {
	m := &model{
		t: t, kinds: map[events.CustomerID]logv1.CustomerKind{}, origin: map[directory.Hash]events.CustomerID{},
		types: map[directory.Hash]string{}, blocked: map[directory.Hash]bool{}, into: map[events.CustomerID]events.CustomerID{},
		by: map[events.CustomerID]uint64{}, apart: map[[2]events.CustomerID]bool{}, conflicts: map[[2]events.CustomerID]string{},
		joined: map[events.CustomerID]map[int64]events.CustomerID{},
	}
	_, last := decisions(t, log, 2)
	for seq := uint64(3); seq <= last; seq++ {
		id := identity(t, log, seq)
		for _, d := range id.GetBindings().GetDecisions() {
			m.decision(d)
		}
		if merged := id.GetRule().GetMerged(); merged != nil {
			m.merged(seq, merged)
		}
		if split := id.GetRule().GetSplit(); split != nil {
			m.split(split)
		}
	}
	return m
}

func two(a, b events.CustomerID) [2]events.CustomerID {
	if b.Compare(a) < 0 {
		a, b = b, a
	}
	return [2]events.CustomerID{a, b}
}

func (m *model) root(c events.CustomerID) events.CustomerID {
	for m.by[c] != 0 {
		c = m.into[c]
	}
	return c
}

// family is everybody who is a customer now, or was merged into him.
func (m *model) family(c events.CustomerID) (all []events.CustomerID) {
	for _, other := range m.order {
		for o := other; ; o = m.into[o] {
			if o == c {
				all = append(all, other)
				break
			}
			if m.by[o] == 0 {
				break
			}
		}
	}
	return all
}

// identifiers of a customer, of a type if one is named.
func (m *model) identifiers(c events.CustomerID, typ string) (all []directory.Hash) {
	family := m.family(c)
	for h, o := range m.origin {
		if slices.Contains(family, o) && (typ == "" || m.types[h] == typ) {
			all = append(all, h)
		}
	}
	slices.SortFunc(all, func(a, b directory.Hash) int { return bytes.Compare(a[:], b[:]) })
	return all
}

func (m *model) isApart(a, b events.CustomerID) bool {
	for p := range m.apart {
		if two(m.root(p[0]), m.root(p[1])) == two(m.root(a), m.root(b)) {
			return true
		}
	}
	return false
}

// between are the pairs in conflict that are about two roots.
func (m *model) between(a, b events.CustomerID) (all [][2]events.CustomerID) {
	for p := range m.conflicts {
		if two(m.root(p[0]), m.root(p[1])) == two(a, b) {
			all = append(all, p)
		}
	}
	return all
}

// onlyDevices reports whether nothing but devices names a customer.
func (m *model) onlyDevices(c events.CustomerID) bool {
	return !slices.ContainsFunc(m.identifiers(c, ""), func(h directory.Hash) bool { return !directory.Weak(m.types[h]) })
}

func (m *model) open() (n int) {
	for _, state := range m.conflicts {
		if state == "open" {
			n++
		}
	}
	return n
}

func (m *model) isRoot(what string, c events.CustomerID) {
	if _, ok := m.kinds[c]; !ok || m.by[c] != 0 {
		m.t.Fatalf("%s %s, who is known %v and was merged by %d", what, c, ok, m.by[c])
	}
}

func (m *model) create(c events.CustomerID, kind logv1.CustomerKind) {
	if _, ok := m.kinds[c]; ok {
		m.t.Fatalf("%s was created again", c)
	}
	m.kinds[c], m.order = kind, append(m.order, c)
}

// bind: an identifier that nobody had.
func (m *model) bind(origin events.CustomerID, ids []*logv1.HashedIdentifier) {
	for _, id := range ids {
		h := directory.Hash(id.Hash)
		if o, ok := m.origin[h]; ok || m.blocked[h] {
			m.t.Fatalf("%s %x of %s (blocked %v) was bound again, to %s", id.Type, h, o, m.blocked[h], origin)
		}
		company := m.kinds[origin] == logv1.CustomerKind_CUSTOMER_KIND_COMPANY
		if events.NamesCompany(id.Type) != company {
			m.t.Fatalf("%s was bound to %s, a company: %v", id.Type, origin, company)
		}
		if exclusive := id.Type == "user_id" || id.Type == "company_id"; exclusive && len(m.identifiers(m.root(origin), id.Type)) > 0 {
			m.t.Fatalf("%s got a second %s", m.root(origin), id.Type)
		}
		m.origin[h], m.types[h] = origin, id.Type
	}
}

func (m *model) decision(d *logv1.Decision) {
	switch d := d.Decision.(type) {
	case *logv1.Decision_Created:
		m.create(events.CustomerID(d.Created.Customer), d.Created.Kind)
		m.bind(events.CustomerID(d.Created.Customer), d.Created.Identifiers)
	case *logv1.Decision_Linked:
		origin, ok := m.origin[directory.Hash(d.Linked.Voucher.GetHash())]
		if !ok || m.root(origin) != events.CustomerID(d.Linked.Customer) {
			m.t.Fatalf("linked to %x; who vouches is %s's", d.Linked.Customer, origin)
		}
		m.bind(origin, d.Linked.Identifiers)
	case *logv1.Decision_Rebound:
		r := d.Rebound
		h := directory.Hash(r.Identifier.Hash)
		m.isRoot("rebound to", events.CustomerID(r.To))
		if m.root(m.origin[h]) != events.CustomerID(r.From) || !directory.Weak(r.Identifier.Type) || m.types[h] != r.Identifier.Type {
			m.t.Fatalf("%s %x of %s was rebound from %x", r.Identifier.Type, h, m.origin[h], r.From)
		}
		if m.onlyDevices(events.CustomerID(r.From)) {
			m.t.Fatalf("%s %x was taken from %x, who has nothing else by which he could be another", r.Identifier.Type, h, r.From)
		}
		m.origin[h] = events.CustomerID(r.To)
	case *logv1.Decision_Quarantined:
		a, b := events.CustomerID(d.Quarantined.Stronger), events.CustomerID(d.Quarantined.Weaker)
		m.isRoot("quarantined", a)
		m.isRoot("quarantined", b)
		for _, p := range m.between(a, b) {
			if m.conflicts[p] != "approved" {
				m.t.Fatalf("%s and %s were quarantined again", a, b)
			}
		}
		if a == b || m.kinds[a] != m.kinds[b] {
			m.t.Fatalf("%s and %s are one or of two kinds and were quarantined", a, b)
		}
		m.conflicts[two(a, b)] = "open"
	case *logv1.Decision_KeptApart:
		a, b := events.CustomerID(d.KeptApart.A), events.CustomerID(d.KeptApart.B)
		m.isRoot("kept apart", a)
		m.isRoot("kept apart", b)
		m.apart[two(a, b)] = true
		for _, p := range m.between(a, b) {
			m.conflicts[p] = "dismissed"
		}
	case *logv1.Decision_Blocked:
		h := directory.Hash(d.Blocked.Identifier.Hash)
		if m.blocked[h] != d.Blocked.Released {
			m.t.Fatalf("blocked %v, released %v", m.blocked[h], d.Blocked.Released)
		}
		delete(m.origin, h)
		m.blocked[h] = !d.Blocked.Released
	case *logv1.Decision_Joined:
		m.join(d.Joined)
	}
}

func (m *model) join(j *logv1.Joined) {
	person := events.CustomerID(j.Person)
	m.isRoot("joined", person)
	var company events.CustomerID
	if len(j.Company) > 0 {
		company = events.CustomerID(j.Company)
		m.isRoot("was joined", company)
	}
	if m.joined[person] == nil {
		m.joined[person] = map[int64]events.CustomerID{}
	}
	if had, ok := m.joined[person][j.Since]; ok && had.Compare(company) >= 0 {
		m.t.Fatalf("%s joined %s at %d, when it joined %s", person, company, j.Since, had)
	}
	m.joined[person][j.Since] = company
}

// belonged are the joinings of one and of all who became him.
func (m *model) belonged(c events.CustomerID) map[int64]events.CustomerID {
	all := map[int64]events.CustomerID{}
	for _, o := range m.family(c) {
		for since, company := range m.joined[o] {
			if had, ok := all[since]; !ok || had.Compare(company) < 0 {
				all[since] = company
			}
		}
	}
	return all
}

func (m *model) merged(seq uint64, r *logv1.Merged) {
	loser, winner := events.CustomerID(r.Loser), events.CustomerID(r.Winner)
	m.isRoot("merged", loser)
	m.isRoot("merged into", winner)
	if loser == winner || m.kinds[loser] != m.kinds[winner] || m.kinds[loser] != r.Kind {
		m.t.Fatalf("%s (%v) was merged into %s (%v)", loser, m.kinds[loser], winner, m.kinds[winner])
	}
	has, had := len(m.identifiers(winner, "")), len(m.identifiers(loser, ""))
	if had > has || had == has && loser.Compare(winner) < 0 {
		m.t.Fatalf("%s with %d identifiers was merged into %s with %d", loser, had, winner, has)
	}
	if rule := r.GetWhy().GetRule(); rule == "two_known" || rule == "forced" {
		if m.isApart(loser, winner) {
			m.t.Fatalf("%s and %s are kept apart and were merged by an event", loser, winner)
		}
		if rule == "two_known" {
			m.mergeable(loser, winner)
		}
	}
	for _, p := range m.between(loser, winner) {
		m.conflicts[p] = "approved"
	}
	for p := range m.apart {
		if two(m.root(p[0]), m.root(p[1])) == two(loser, winner) {
			delete(m.apart, p)
		}
	}
	m.into[loser], m.by[loser] = winner, seq
	m.merges = append(m.merges, seq)
}

func (m *model) mergeable(a, b events.CustomerID) {
	for _, p := range m.between(a, b) {
		if m.conflicts[p] == "open" {
			m.t.Fatalf("%s and %s are in quarantine and were merged by an event", a, b)
		}
	}
	for _, typ := range append(slices.Clone(lawTypes), lawCompanyTypes...) {
		limit := 5
		switch typ {
		case "user_id", "company_id", "group_id":
			limit = 1
		case "anonymous_id", "device_id", "guest":
			continue
		}
		x, y := len(m.identifiers(a, typ)), len(m.identifiers(b, typ))
		if x > 0 && y > 0 && x+y > limit {
			m.t.Fatalf("%s and %s have %d and %d of %s, limit %d, and were merged by an event", a, b, x, y, typ, limit)
		}
	}
}

func (m *model) split(s *logv1.Split) {
	from, to := events.CustomerID(s.From), events.CustomerID(s.To)
	m.isRoot("split from", from)
	// whole are all of whom the other side was a part.
	whole := map[events.CustomerID]bool{from: true}
	was := func(c events.CustomerID) {
		for ; m.by[c] != 0; c = m.into[c] {
			whole[c] = true
		}
	}
	var moved []directory.Hash
	for h := range slices.Chunk(s.Hashes, 16) {
		moved = append(moved, directory.Hash(h))
	}
	if s.Undoes != 0 {
		if m.by[to] != s.Undoes || m.root(to) != from {
			m.t.Fatalf("undo of %d: %s was merged by %d and is %s, not %s", s.Undoes, to, m.by[to], m.root(to), from)
		}
		if want := m.identifiers(to, ""); !slices.Equal(moved, want) {
			m.t.Fatalf("undo of %d moves %x, want %x", s.Undoes, moved, want)
		}
		was(m.into[to])
		m.apart[two(m.into[to], to)] = true
		delete(m.by, to)
	} else {
		m.create(to, s.Kind)
		for _, h := range moved {
			if m.root(m.origin[h]) != from {
				m.t.Fatalf("%x of %s was taken out of %s", h, m.origin[h], from)
			}
			was(m.origin[h])
			m.origin[h] = to
		}
		if len(m.identifiers(from, "")) == 0 {
			m.t.Fatalf("nothing is left of %s", from)
		}
		m.joined[to] = m.belonged(from)
	}
	m.apart[two(from, to)] = true
	var inherited [][2]events.CustomerID
	for p := range m.apart {
		for i, c := range p {
			if other := p[1-i]; whole[c] && m.root(other) != to && m.root(other) != from {
				inherited = append(inherited, two(to, other))
			}
		}
	}
	for _, p := range inherited {
		m.apart[p] = true
	}
}

// check holds what a directory answers against the model.
func (m *model) check(g *gateway) {
	for h, o := range m.origin {
		if got, ok, err := g.LookupHash(h); got != m.root(o) || !ok || err != nil {
			m.t.Fatalf("look up %x: got %s, %v, %v; want %s", h, got, ok, err, m.root(o))
		}
	}
	for h, blocked := range m.blocked {
		if got, ok, err := g.LookupHash(h); blocked && (ok || err != nil) {
			m.t.Fatalf("look up %x, which is blocked: got %s, %v", h, got, err)
		}
	}
	inConflict := map[events.CustomerID]bool{}
	for p, state := range m.conflicts {
		if state == "open" {
			inConflict[m.root(p[0])], inConflict[m.root(p[1])] = true, true
		}
	}
	for i, c := range m.order {
		if got, err := g.Root(c); got != m.root(c) || err != nil {
			m.t.Fatalf("root of %s: got %s, %v; want %s", c, got, err, m.root(c))
		}
		want := slices.DeleteFunc(m.family(c), func(o events.CustomerID) bool { return o == c })
		slices.SortFunc(want, events.CustomerID.Compare)
		if got, err := g.Aliases(c); !slices.Equal(got, want) || err != nil {
			m.t.Fatalf("aliases of %s: got %v, %v; want %v", c, got, err, want)
		}
		if got, err := g.InConflict(c); got != inConflict[m.root(c)] || err != nil {
			m.t.Fatalf("conflict of %s: got %v, %v; want %v", c, got, err, !got)
		}
		for _, d := range m.order[:i] {
			want := m.root(c) != m.root(d) && m.isApart(c, d)
			if got, err := g.Apart(c, d); got != want || err != nil {
				m.t.Fatalf("%s and %s are apart: got %v, %v; want %v", c, d, got, err, want)
			}
		}
	}
	open, err := g.Conflicts(directory.ConflictsQuery{State: directory.ConflictOpen})
	if len(open) != m.open() || err != nil || g.QuarantinedCount() != uint64(m.open()) {
		m.t.Fatalf("%d conflicts are open, %d by the count, %v; want %d", len(open), g.QuarantinedCount(), err, m.open())
	}
	m.checkHistory(g)
}

func (m *model) checkHistory(g *gateway) {
	all, err := g.Merges(directory.MergesQuery{})
	if err != nil {
		m.t.Fatalf("history: %v", err)
	}
	var merges []uint64
	for _, e := range slices.Backward(all) {
		if e.Merged == nil {
			continue
		}
		merges = append(merges, e.Seq)
		loser := events.CustomerID(e.Merged.Loser)
		if undone := m.by[loser] != e.Seq; undone != (e.UndoneBy != 0) {
			m.t.Fatalf("merge %d is undone by %d; undone: %v", e.Seq, e.UndoneBy, undone)
		}
	}
	if !slices.Equal(merges, m.merges) {
		m.t.Fatalf("history of merges %v, want %v", merges, m.merges)
	}
	for _, c := range m.order {
		family := m.family(m.root(c))
		var want []uint64
		for _, e := range all {
			a, b := e.Merged.GetLoser(), e.Merged.GetWinner()
			if e.Split != nil {
				a, b = e.Split.From, e.Split.To
			}
			if slices.Contains(family, events.CustomerID(a)) || slices.Contains(family, events.CustomerID(b)) {
				want = append(want, e.Seq)
			}
		}
		mine, err := g.Merges(directory.MergesQuery{Customer: c})
		var got []uint64
		for _, e := range mine {
			got = append(got, e.Seq)
		}
		if !slices.Equal(got, want) || err != nil {
			m.t.Fatalf("history of %s: got %v, %v; want %v", c, got, err, want)
		}
	}
}
