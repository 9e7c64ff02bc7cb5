package directory

import (
	"cmp"
	"fmt"

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
	b, ok, err := agreed(o, r.Identifiers)
	if err != nil {
		return Foreseen{}, err
	}
	f := Foreseen{Address: Address{Customer: b.customer, Kind: b.kind, At: d.cp.seq}}
	if !ok {
		if err := d.foreseeDecision(o, r, &f); err != nil {
			return Foreseen{}, err
		}
	}
	_, f.Known, err = base.customer(f.Address.Customer)
	return f, err
}

// foreseeDecision decides a set on paper.
func (d *Directory) foreseeDecision(o overlay, r Request, f *Foreseen) error {
	b, decisions, err := decide(o, r, func() events.CustomerID { return events.CustomerID(d.o.Minter.Mint()) })
	if err != nil {
		return err
	}
	f.Address.Customer, f.Address.Kind = b.customer, b.kind
	for _, decision := range decisions {
		if err := fold(o.tables, o, decision); err != nil {
			return err
		}
		if q := decision.GetQuarantined(); q != nil {
			f.Conflict = cmp.Or(f.Conflict, conflictText(q))
		}
	}
	if f.Address.Others, err = others(o, r.Identifiers, b.customer); err != nil {
		return err
	}
	for i, id := range r.Identifiers {
		if f.Conflict == "" && f.Address.Others&(1<<i) != 0 {
			f.Conflict = fmt.Sprintf("its %s names another customer than the rest; the two are in quarantine already", id.Type)
		}
	}
	return nil
}

func conflictText(q *logv1.Quarantined) string {
	return fmt.Sprintf("its %s and its %s name two customers, who are not joined (%s)",
		q.GetStrongerIdentifier().GetType(), q.GetWeakerIdentifier().GetType(), q.GetRule())
}
