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
	ruleTwoKnown        = "two_known"        // two known customers that could be one
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
	if k.exclusive() {
		p.row.exclusive = append(p.row.exclusive[:len(p.row.exclusive):len(p.row.exclusive)], exclusive{id.Type, id.Hash})
	}
}

// agreed finds the customer of a set that is known and agrees. It is the way
// of nearly every event.
func agreed(g graph, ids []Identifier) (binding, bool, error) {
	var first binding
	for i := range ids {
		b, ok, err := g.identifier(ids[i].Hash)
		if err != nil || !ok || i > 0 && b.customer != first.customer {
			return binding{}, false, err
		}
		first = b
	}
	return first, len(ids) > 0, nil
}

// decide says whose event it is that tells these identifiers, and what has to
// be logged before that is so. The rules stand in the package comment.
func decide(g graph, r Request, mint func() events.CustomerID) (binding, []*logv1.Decision, error) {
	parties, unknown, err := gather(g, r.Identifiers)
	if err != nil {
		return binding{}, nil, err
	}
	var rest []Identifier
	for _, id := range unknown {
		if !id.kind.exclusive() {
			rest = append(rest, id)
			continue
		}
		i := slices.IndexFunc(parties, func(p *party) bool { return !p.row.holds(id.Type) })
		if i < 0 {
			i, parties = len(parties), append(parties, newParty(mint(), r.Kind))
		}
		parties[i].take(id)
	}
	if len(parties) == 0 {
		parties = append(parties, newParty(mint(), r.Kind))
	}
	rank(parties)
	target := parties[0]
	for _, id := range rest {
		target.take(id)
	}
	decisions := claims(parties)
	for _, p := range parties[1:] {
		conflicts, err := separate(g, target, p, r)
		if err != nil {
			return binding{}, nil, err
		}
		decisions = append(decisions, conflicts...)
	}
	return binding{target.id, target.row.kind}, decisions, nil
}

// gather finds the customers that a set names, ranked, and the identifiers
// that name nobody yet, both strongest first; among equals the order told.
func gather(g graph, told []Identifier) (parties []*party, unknown []Identifier, err error) {
	ids := slices.Clone(told)
	slices.SortStableFunc(ids, func(a, b Identifier) int { return cmp.Compare(b.kind.strength, a.kind.strength) })
	for i, id := range ids {
		if slices.ContainsFunc(ids[:i], func(o Identifier) bool { return o.Hash == id.Hash }) {
			continue
		}
		b, ok, err := g.identifier(id.Hash)
		if err != nil {
			return nil, nil, err
		}
		if !ok {
			unknown = append(unknown, id)
			continue
		}
		if i := slices.IndexFunc(parties, func(p *party) bool { return p.id == b.customer }); i >= 0 {
			parties[i].named = append(parties[i].named, id)
			continue
		}
		row, _, err := g.customer(b.customer)
		if err != nil {
			return nil, nil, err
		}
		parties = append(parties, &party{id: b.customer, row: row, named: []Identifier{id}})
	}
	rank(parties)
	return parties, unknown, nil
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
			decisions = append(decisions, &logv1.Decision{Decision: &logv1.Decision_Created{Created: &logv1.Created{
				Customer: p.id[:], Kind: p.row.kind, Identifiers: hashed(p.fresh),
			}}})
		case len(p.fresh) > 0:
			known := slices.IndexFunc(p.named, func(i Identifier) bool {
				return !slices.ContainsFunc(p.fresh, func(f Identifier) bool { return f.Hash == i.Hash })
			})
			decisions = append(decisions, &logv1.Decision{Decision: &logv1.Decision_Linked{Linked: &logv1.Linked{
				Customer: p.id[:], Identifiers: hashed(p.fresh), Voucher: p.named[known].hashed(),
			}}})
		}
	}
	return decisions
}

// separate says what becomes of a customer that the set names beside the
// target: its devices are the target's now, or the two are in conflict.
func separate(g graph, target, p *party, r Request) ([]*logv1.Decision, error) {
	excluded := target.row.excludes(p.row)
	if excluded && p.weak() {
		var decisions []*logv1.Decision
		for _, id := range p.named {
			decisions = append(decisions, &logv1.Decision{Decision: &logv1.Decision_Rebound{Rebound: &logv1.Rebound{
				Identifier: id.hashed(), From: p.id[:], To: target.id[:],
			}}})
		}
		return decisions, nil
	}
	known, err := g.quarantined(pairOf(target.id, p.id))
	if known || err != nil {
		return nil, err
	}
	rule := ruleTwoKnown
	switch {
	case target.made || p.made:
		rule = ruleSecondExclusive
	case excluded:
		rule = ruleTwoExclusive
	}
	return []*logv1.Decision{{Decision: &logv1.Decision_Quarantined{Quarantined: &logv1.Quarantined{
		Stronger: target.id[:], Weaker: p.id[:],
		StrongerIdentifier: target.named[0].hashed(), WeakerIdentifier: p.named[0].hashed(),
		Source: r.Source, EventId: r.EventID, Rule: rule,
	}}}}, nil
}

func hashed(ids []Identifier) []*logv1.HashedIdentifier {
	out := make([]*logv1.HashedIdentifier, len(ids))
	for i, id := range ids {
		out[i] = id.hashed()
	}
	return out
}
