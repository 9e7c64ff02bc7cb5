package directory

import (
	"cmp"
	"slices"

	"github.com/dossier360/dossier/events"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// The rules by which a pair is quarantined.
const (
	ruleSecondExclusive = "second_exclusive" // a new exclusive id beside a customer that has one
	ruleTwoExclusive    = "two_exclusive"    // two known customers with different exclusive ids
	ruleLimit           = "limit"            // more of a type than one customer may have
	ruleKeptApart       = "kept_apart"       // somebody said that they are two
)

// The rules by which customers are merged. In older logs pairs of two_known are
// in quarantine: nobody merged them then.
const (
	ruleTwoKnown = "two_known" // an event names both
	ruleForced   = "forced"    // an event says so
	ruleManual   = "manual"    // somebody says so
	ruleApproved = "approved"  // somebody says so of a conflict
)

// party is a customer that takes part in a decision.
type party struct {
	id    events.CustomerID
	row   customer
	named []Identifier // by the set, strongest first
	fresh []Identifier // of the set, not known before
	made  bool         // by this decision
}

func newParty(id events.CustomerID, kind logv1.CustomerKind) *party {
	return &party{id: id, row: customer{kind: kind}, made: true}
}

// strength of the strongest identifier that names the party.
func (p *party) strength() byte { return p.named[0].kind.strength }

// weak reports whether the set names the party by nothing but devices.
func (p *party) weak() bool {
	return !slices.ContainsFunc(p.named, func(i Identifier) bool { return !i.kind.weak })
}

func (p *party) take(id Identifier) {
	k, n := id.kind, 0
	for n < len(p.named) && p.named[n].kind.strength >= k.strength {
		n++
	}
	p.named = slices.Insert(p.named, n, id)
	p.fresh = append(p.fresh, id)
	p.row = p.row.adding(id.Type, 1)
}

// agreed finds the customer of a set that is known and agrees. It is the way
// of nearly every event.
func agreed(g graph, ids []Identifier) (events.CustomerID, logv1.CustomerKind, bool, error) {
	var first binding
	var root events.CustomerID
	for i := range ids {
		b, ok, err := g.identifier(ids[i].Hash)
		if err != nil || !ok || b.blocked {
			return root, first.kind, false, err
		}
		if i > 0 && b.origin == first.origin {
			continue
		}
		c, err := rootOf(g, b.origin)
		if err != nil || i > 0 && c != root {
			return root, first.kind, false, err
		}
		first, root = b, c
	}
	return root, first.kind, len(ids) > 0, nil
}

// verdict is whose the event is that tells a set, and what has to be logged
// before that is so.
type verdict struct {
	// customer is zero if the set names nobody: all of it is blocked.
	customer events.CustomerID
	kind     logv1.CustomerKind
	bind     []*logv1.Decision
	// merge has to follow, in a message of its own; then the set is decided
	// anew. Nil: it is decided.
	merge *logv1.Merged
}

// decide says whose event it is that tells these identifiers. The rules stand
// in the package comment.
func decide(g graph, r Request, mint func() events.CustomerID) (verdict, error) {
	known, unknown, err := gather(g, r.Identifiers)
	if err != nil || len(known)+len(unknown) == 0 {
		return verdict{kind: r.Kind}, err
	}
	parties, passers := known, []*party(nil)
	if !r.Force {
		parties, passers = passersBy(known, unknown)
	}
	parties = assign(g, parties, unknown, r, mint)
	target := parties[0]
	v := verdict{customer: target.id, kind: target.row.kind, bind: claims(parties)}
	for _, p := range passers {
		v.bind = append(v.bind, rebound(p, target)...)
	}
	for _, p := range parties[1:] {
		if err := v.separate(g, target, p, r); err != nil {
			return verdict{}, err
		}
	}
	return v, nil
}

// gather finds the customers that a set names, ranked, and the identifiers
// that name nobody yet, both strongest first; among equals the order told.
// What is blocked is left out.
func gather(g graph, told []Identifier) (parties []*party, unknown []Identifier, err error) {
	ids := slices.Clone(told)
	for i := range ids {
		// Settings may have changed since it was identified.
		if k, ok := g.types().kind(ids[i].Type); ok {
			ids[i].kind = k
		}
	}
	slices.SortStableFunc(ids, func(a, b Identifier) int { return cmp.Compare(b.kind.strength, a.kind.strength) })
	for i, id := range ids {
		if slices.ContainsFunc(ids[:i], func(o Identifier) bool { return o.Hash == id.Hash }) {
			continue
		}
		c, b, ok, err := named(g, id.Hash)
		switch {
		case err != nil:
			return nil, nil, err
		case b.blocked:
			continue
		case !ok:
			unknown = append(unknown, id)
			continue
		}
		if i := slices.IndexFunc(parties, func(p *party) bool { return p.id == c }); i >= 0 {
			parties[i].named = append(parties[i].named, id)
			continue
		}
		row, _, err := g.customer(c)
		if err != nil {
			return nil, nil, err
		}
		parties = append(parties, &party{id: c, row: row, named: []Identifier{id}})
	}
	rank(parties)
	return parties, unknown, nil
}

// passersBy parts from the customers of a set those who are somebody else: the
// set names such a one by a device alone, and tells another value of a type of
// which he has one. So a device that people use in turn joins no two of them.
func passersBy(known []*party, unknown []Identifier) (parties, passers []*party) {
	told := slices.Clone(unknown)
	for _, p := range known {
		told = append(told, p.named...)
	}
	for _, p := range known {
		other := func(id Identifier) bool { return !id.kind.weak && p.row.count(id.Type) > 0 }
		if p.weak() && slices.ContainsFunc(told, other) {
			passers = append(passers, p)
			continue
		}
		parties = append(parties, p)
	}
	return parties, passers
}

// assign says whose the identifiers become that name nobody yet, and returns
// the customers of the set, ranked; of those who are made only such as get any.
func assign(g graph, parties []*party, unknown []Identifier, r Request, mint func() events.CustomerID) []*party {
	limit := func(id Identifier) int {
		k, _ := g.types().kind(id.Type)
		return k.limit
	}
	room := func(p *party, id Identifier) bool {
		most := limit(id)
		return r.Force || most == 0 || p.row.count(id.Type) < most
	}
	give := func(to []*party, id Identifier) {
		i := slices.IndexFunc(to, func(p *party) bool { return room(p, id) })
		if i >= 0 {
			to[i].take(id)
			return
		}
		p := newParty(mint(), r.Kind)
		p.take(id)
		parties = append(parties, p)
	}
	var rest []Identifier
	for _, id := range unknown {
		if limit(id) != 1 {
			rest = append(rest, id)
			continue
		}
		give(parties, id)
	}
	if len(parties) == 0 {
		parties = append(parties, newParty(mint(), r.Kind))
	}
	rank(parties)
	target := parties[0]
	for _, id := range rest {
		// Who has too many is an office or a till. A further one is a customer
		// of its own, and no other known customer's either.
		to := []*party{target}
		for _, p := range parties[1:] {
			if p.made {
				to = append(to, p)
			}
		}
		give(to, id)
	}
	rank(parties)
	return parties
}

// rank orders parties by the strongest identifier that names them, the older
// first among equals. So it does not matter which identifier an event tells
// first, nor whether it is told again.
func rank(parties []*party) {
	if len(parties) < 2 {
		return
	}
	slices.SortFunc(parties, func(a, b *party) int {
		return cmp.Or(cmp.Compare(b.strength(), a.strength()), a.id.Compare(b.id))
	})
}

// claims says whose the identifiers are that were not known before.
func claims(parties []*party) []*logv1.Decision {
	var decisions []*logv1.Decision
	for _, p := range parties {
		switch {
		case p.made:
			decisions = append(decisions, created(p.id, p.row.kind, hashed(p.fresh)))
		case len(p.fresh) > 0:
			known := slices.IndexFunc(p.named, func(i Identifier) bool {
				return !slices.ContainsFunc(p.fresh, func(f Identifier) bool { return f.Hash == i.Hash })
			})
			decisions = append(decisions, linked(p.id, hashed(p.fresh), p.named[known].hashed()))
		}
	}
	return decisions
}

func created(c events.CustomerID, kind logv1.CustomerKind, ids []*logv1.HashedIdentifier) *logv1.Decision {
	return &logv1.Decision{Decision: &logv1.Decision_Created{Created: &logv1.Created{Customer: c[:], Kind: kind, Identifiers: ids}}}
}

func linked(c events.CustomerID, ids []*logv1.HashedIdentifier, voucher *logv1.HashedIdentifier) *logv1.Decision {
	return &logv1.Decision{Decision: &logv1.Decision_Linked{Linked: &logv1.Linked{Customer: c[:], Identifiers: ids, Voucher: voucher}}}
}

// rebound gives the devices by which a set names a customer to another.
func rebound(from, to *party) []*logv1.Decision {
	var decisions []*logv1.Decision
	for _, id := range from.named {
		decisions = append(decisions, &logv1.Decision{Decision: &logv1.Decision_Rebound{Rebound: &logv1.Rebound{
			Identifier: id.hashed(), From: from.id[:], To: to.id[:],
		}}})
	}
	return decisions
}

// separate says what becomes of a customer that the set names beside the
// target: the two are merged, or its devices are the target's now, or the two
// are in conflict, once. A device alone merges nobody with who has another
// address of his own.
func (v *verdict) separate(g graph, target, p *party, r Request) error {
	var known standing
	if !target.made && !p.made {
		var err error
		if known, err = standingOf(g, target.id, p.id); err != nil {
			return err
		}
	}
	rule := obstacle(g.types(), target, p, known, r.Force)
	if rule == "" && (r.Force || !known.told()) {
		if !r.Force && p.weak() && contradict(g.types(), target.row, p.row) {
			v.bind = append(v.bind, rebound(p, target)...)
			return nil
		}
		if v.merge == nil {
			v.merge = mergeOf(target, p, r)
		}
		return nil
	}
	if p.weak() && strangers(g.types(), target.row, p.row) {
		v.bind = append(v.bind, rebound(p, target)...)
		return nil
	}
	if known.told() {
		return nil
	}
	v.bind = append(v.bind, &logv1.Decision{Decision: &logv1.Decision_Quarantined{Quarantined: &logv1.Quarantined{
		Stronger: target.id[:], Weaker: p.id[:],
		StrongerIdentifier: target.named[0].hashed(), WeakerIdentifier: p.named[0].hashed(),
		Source: r.Source, EventId: r.EventID, Rule: rule,
	}}})
	return nil
}

// obstacle is the rule by which two customers of a set are not merged; "" if
// there is none.
func obstacle(types *Types, a, b *party, known standing, force bool) string {
	made := a.made || b.made
	switch rule := tooMany(types, a.row, b.row); {
	case known.apart:
		return ruleKeptApart
	case made && rule == ruleTwoExclusive:
		return ruleSecondExclusive
	case made:
		return ruleLimit
	case force:
		return ""
	default:
		return rule
	}
}

// tooMany is the rule by which one customer cannot have what two have: an
// identifier is one customer's, so those of two are different ones.
func tooMany(types *Types, a, b customer) (rule string) {
	for _, t := range a.counts {
		n := b.count(t.typ)
		if n == 0 {
			continue
		}
		switch k, _ := types.kind(t.typ); {
		case k.exclusive():
			return ruleTwoExclusive
		case k.limit > 0 && int(t.n)+n > k.limit:
			rule = ruleLimit
		}
	}
	return rule
}

// strangers reports whether two customers have more, of a type that is not a
// device's, than one customer has: a device that names the one beside the other
// has changed hands. That somebody said that they are two proves no such thing.
func strangers(types *Types, a, b customer) bool {
	return slices.ContainsFunc(a.counts, func(t count) bool {
		k, _ := types.kind(t.typ)
		n := b.count(t.typ)
		return n > 0 && !k.weak && k.limit > 0 && int(t.n)+n > k.limit
	})
}

// contradict reports whether two customers have each a value of a type that is
// no device's: an identifier is one customer's, so the values differ.
func contradict(types *Types, a, b customer) bool {
	return slices.ContainsFunc(a.counts, func(t count) bool {
		k, _ := types.kind(t.typ)
		return !k.weak && b.count(t.typ) > 0
	})
}

// mergeOf merges two known customers of a set.
func mergeOf(a, b *party, r Request) *logv1.Merged {
	why := &logv1.Why{
		Rule: ruleTwoKnown, Source: r.Source, EventId: r.EventID,
		Identifiers: []*logv1.HashedIdentifier{a.named[0].hashed(), b.named[0].hashed()},
	}
	if r.Force {
		why.Rule = ruleForced
	}
	return merged(a.id, a.row, b.id, b.row, why)
}

// merged: who has more identifiers stays, so that no history moves more often
// than it doubles; of equal ones the older.
func merged(a events.CustomerID, rowA customer, b events.CustomerID, rowB customer, why *logv1.Why) *logv1.Merged {
	if cmp.Or(cmp.Compare(rowA.identifiers(), rowB.identifiers()), b.Compare(a)) < 0 {
		a, b = b, a
	}
	return &logv1.Merged{Loser: b[:], Winner: a[:], Kind: rowA.kind, Why: why}
}

func hashed(ids []Identifier) []*logv1.HashedIdentifier {
	out := make([]*logv1.HashedIdentifier, len(ids))
	for i, id := range ids {
		out[i] = id.hashed()
	}
	return out
}
