package directory

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/dossier360/dossier/events"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// Foreseen is whose an event would be, were it told now.
type Foreseen struct {
	// Address; of a customer who is not Known an id that nobody will ever have.
	Address Address
	Known   bool
	// Conflict says which two customers the set names that are not joined, for
	// people; "" if it names one.
	Conflict string
	// Former are customers who would have become this one by then, and are not
	// yet: what was told of him was told of them too.
	Former []events.CustomerID
	// Merge says which two customers the set names that would be merged, for
	// people; "" if none would be.
	Merge string
}

// Foresee says whose every set would be, in order, as if those before it had
// been told: nothing is decided. Errors: ErrNotReady, those of the store.
func (d *Directory) Foresee(requests []Request) ([]Foreseen, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if err := d.readyLocked(); err != nil {
		return nil, err
	}
	s := &snapshot{d: d}
	defer s.close()
	o := newOverlay(s)
	foreseen := make([]Foreseen, len(requests))
	for i, r := range requests {
		if err := r.check(); err != nil {
			return nil, err
		}
		var err error
		if foreseen[i], err = d.foresee(o, s, r); err != nil {
			return nil, err
		}
	}
	return foreseen, nil
}

func (d *Directory) foresee(o overlay, base graph, r Request) (Foreseen, error) {
	c, kind, ok, err := agreed(o, r.Identifiers)
	if err != nil {
		return Foreseen{}, err
	}
	f := Foreseen{Address: Address{Customer: c, Kind: kind, At: d.cp.seq}}
	if !ok {
		if err := d.foreseeDecision(o, r, &f); err != nil {
			return Foreseen{}, err
		}
	}
	if f.Former, err = becoming(o, base, f.Address.Customer); err != nil {
		return Foreseen{}, err
	}
	_, f.Known, err = base.customer(f.Address.Customer)
	return f, err
}

// becoming are those who are merged into a customer on paper alone, in order.
func becoming(o overlay, base graph, c events.CustomerID) (former []events.CustomerID, err error) {
	for loser := range o.links {
		root, err := rootOf(o, loser)
		if err != nil {
			return nil, err
		}
		if root != c {
			continue
		}
		if _, known, err := base.customer(loser); err != nil {
			return nil, err
		} else if known {
			former = append(former, loser)
		}
	}
	slices.SortFunc(former, events.CustomerID.Compare)
	return former, nil
}

// foreseeDecision decides a set on paper, as often as it takes.
func (d *Directory) foreseeDecision(o overlay, r Request, f *Foreseen) error {
	set := item{request: &r}
	for n := uint64(1); ; n++ {
		step, err := set.next(o, d.mint)
		if err != nil {
			return err
		}
		if err := o.take(step, place{seq: d.cp.seq + n}); err != nil {
			return err
		}
		for _, decision := range step.bind {
			if q := decision.GetQuarantined(); q != nil {
				f.Conflict = cmp.Or(f.Conflict, conflictText(q))
			}
		}
		if step.rule == nil {
			at := f.Address.At
			if f.Address, err = step.verdict.address(o, r); err != nil {
				return err
			}
			f.Address.At = at
			return d.nameConflict(o, r, f)
		}
		if len(step.bind) == 0 { // else it is decided anew
			f.Merge = cmp.Or(f.Merge, mergeText(step.rule.GetMerged()))
		}
	}
}

// nameConflict finds a conflict that was told before.
func (d *Directory) nameConflict(o overlay, r Request, f *Foreseen) error {
	for i, id := range r.Identifiers {
		if f.Conflict != "" || f.Address.Others&(1<<i) == 0 {
			continue
		}
		b, _, err := o.identifier(id.Hash)
		if err != nil {
			return err
		}
		if !b.blocked {
			f.Conflict = fmt.Sprintf("its %s names another customer than the rest; the two are in quarantine already", id.Type)
		}
	}
	return nil
}

func mergeText(m *logv1.Merged) string {
	ids := m.GetWhy().GetIdentifiers()
	return fmt.Sprintf("its %s and its %s name two customers, who are joined by it (%s)", ids[0].GetType(), ids[1].GetType(), m.GetWhy().GetRule())
}

func conflictText(q *logv1.Quarantined) string {
	return fmt.Sprintf("its %s and its %s name two customers, who are not joined (%s)",
		q.GetStrongerIdentifier().GetType(), q.GetWeakerIdentifier().GetType(), q.GetRule())
}
