package ingest

import (
	"cmp"
	"context"
	"fmt"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest/directory"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

// What a preview says of an event.
const (
	// VerdictNew: nothing is known of its id and type. Where it names two customers
	// who would be joined by it, the reason says so.
	VerdictNew = "new"
	// VerdictChanged: it was told with other content.
	VerdictChanged = "changed"
	// VerdictDuplicate: what was told of it last is the same.
	VerdictDuplicate = "duplicate"
	// VerdictConflicting: it names two customers who are not joined. It would
	// be taken, for the stronger one, and the conflict wait in quarantine.
	VerdictConflicting = "conflicting"
	// VerdictRejected: it would be refused.
	VerdictRejected = "rejected"
)

// Verdict is what would become of an event.
type Verdict struct {
	Index     int        `json:"index"`
	Verdict   string     `json:"verdict"`
	MessageID string     `json:"messageId,omitempty"`
	Customer  string     `json:"customer,omitempty"` // "" of one who is not known yet
	KnownID   string     `json:"knownId,omitempty"`  // id of what was told of it last
	Reason    string     `json:"reason,omitempty"`   // of a conflict, or of a merge
	Rejection *Rejection `json:"rejection,omitempty"`
}

// Preview is what would become of a batch.
type Preview struct {
	Verdicts []Verdict
	// Receipt is up to where the log was folded at least. A preview that is given
	// it does not wait for what was appended since.
	Receipt string
}

// Record names an event as its source does.
type Record struct {
	Source, ID string
	Type       eventsv1.Type
	Name       string // of a custom event
	ClaimedAt  *int64 // nil: none was told
}

// Telling is what is known of a record: the latest event that told it.
type Telling struct {
	EventID   string
	ClaimedAt *int64
	BodyHash  uint64 // events.BodyHash
	Corrects  string // "" if nothing
}

// says reports whether a telling says what an event says. That it corrects the
// record, as a revision may, is no difference.
func (t *Telling) says(it *item) bool {
	corrects := t.Corrects
	if corrects == it.id {
		corrects = ""
	}
	return t.BodyHash == events.BodyHash(it.body) && sameInstant(t.ClaimedAt, it.times.claimed) && corrects == it.corrects
}

// later reports whether a telling outdoes another, as the later revision; none
// does not.
func (t *Telling) later(than *Telling) bool {
	if t == nil || than == nil {
		return t != nil
	}
	return cmp.Or(cmp.Compare(t.EventID, than.EventID), compareInstants(t.ClaimedAt, than.ClaimedAt)) > 0
}

// Preview says what would become of the events of a batch, one by one and as
// though those before it had been taken. Nothing is recorded, neither the
// events nor what is refused nor whose they are. It waits until the log is
// folded up to after, or, if that is "", up to its end as it is now. Errors are
// those of Accept, and that of a receipt that cannot be read.
//
// An event is known by source, id and type, among those of its customer: an id
// that was told of another customer is new. The name of a custom event is its
// type, unless the id was told at the very same time under another: two such
// events have one key, and the second would be refused as a repeat. See
// [events.Revision] for those told more than once.
func (g *Gateway) Preview(ctx context.Context, b Batch, after string) (Preview, error) {
	if err := g.admit(&b); err != nil {
		return Preview{}, err
	}
	var p Preview
	var err error
	if g.o.Folded != nil {
		if p.Receipt, err = g.o.Folded(ctx, after); err != nil {
			return Preview{}, err
		}
	}
	items := g.check(&b)
	foreseen, err := g.foresee(items)
	if err != nil {
		return Preview{}, notTaken(err)
	}
	told, err := g.latest(items, foreseen)
	if err != nil {
		return Preview{}, fmt.Errorf("%w: %w", ErrNotReady, err)
	}
	p.Verdicts = make([]Verdict, len(items))
	before := tellings{}
	for i := range items {
		it, customer := &items[i], foreseen[i].Address.Customer
		p.Verdicts[i] = verdict(it, foreseen[i], before.latest(told[i], it, customer))
		p.Verdicts[i].Index = i
		before.add(it, customer)
	}
	return p, nil
}

// foresee finds whose the events would be, by the subject of each; a conflict
// or a merge of any of its parties is told. What would be refused for a name that
// is blocked is refused.
func (g *Gateway) foresee(items []item) ([]directory.Foreseen, error) {
	all, err := g.o.Directory.Foresee(requestsOf(items))
	if err != nil {
		return nil, err
	}
	foreseen := make([]directory.Foreseen, len(items))
	for i := range items {
		if items[i].refused != nil {
			continue
		}
		it, n := &items[i], items[i].parties()
		foreseen[i] = all[0]
		for n, f := range all[:n] {
			foreseen[i].Conflict = cmp.Or(foreseen[i].Conflict, f.Conflict)
			foreseen[i].Merge = cmp.Or(foreseen[i].Merge, f.Merge)
			it.party(n).address = f.Address
		}
		it.dropBlocked(i)
		all = all[n:]
	}
	return foreseen, nil
}

// latest finds what was told of the records of a batch, each customer's at once:
// of one who would be joined by it, what was told of either.
func (g *Gateway) latest(items []item, foreseen []directory.Foreseen) ([]*Telling, error) {
	told := make([]*Telling, len(items))
	if g.o.Latest == nil {
		return told, nil
	}
	indexes := map[events.CustomerID][]int{}
	for i := range items {
		if it := &items[i]; it.refused != nil || it.minted {
			continue
		}
		if c := foreseen[i].Address.Customer; foreseen[i].Known {
			indexes[c] = append(indexes[c], i)
		}
		for _, c := range foreseen[i].Former {
			indexes[c] = append(indexes[c], i)
		}
	}
	for c, of := range indexes {
		records := make([]Record, len(of))
		for n, i := range of {
			it := &items[i]
			records[n] = Record{Source: it.source, ID: it.id, Type: it.typ, Name: it.name, ClaimedAt: it.times.claimed}
		}
		found, err := g.o.Latest(c, records)
		if err != nil {
			return nil, err
		}
		for n, i := range of {
			if found[n].later(told[i]) {
				told[i] = found[n]
			}
		}
	}
	return told, nil
}

// tellings are the events of a batch that come before another, by what they
// tell of.
type tellings map[tellingKey][]*item

type tellingKey struct {
	customer   events.CustomerID
	source, id string
	typ        eventsv1.Type
}

// add adds an event: as a telling of its own id, and of the record that it is a
// revision of.
func (t tellings) add(it *item, customer events.CustomerID) {
	if it.refused != nil || it.minted {
		return
	}
	key := tellingKey{customer, it.source, it.id, it.typ}
	t[key] = append(t[key], it)
	if record, ok := events.RevisionOf(it.id); ok {
		key.id = record
		t[key] = append(t[key], it)
	}
}

// latest is the latest telling of what an event tells of, in the history or
// before it in the batch; nil if there is none.
func (t tellings) latest(told *Telling, it *item, customer events.CustomerID) *Telling {
	if it.refused != nil || it.minted {
		return nil
	}
	for _, other := range t[tellingKey{customer, it.source, it.id, it.typ}] {
		repeat := other.id == it.id && sameInstant(other.times.claimed, it.times.claimed)
		if other.name != it.name && !repeat {
			continue
		}
		telling := &Telling{EventID: other.id, ClaimedAt: other.times.claimed, BodyHash: events.BodyHash(other.body), Corrects: other.corrects}
		if telling.later(told) {
			told = telling
		}
	}
	return told
}

func verdict(it *item, f directory.Foreseen, told *Telling) Verdict {
	if it.refused != nil {
		return Verdict{Verdict: VerdictRejected, MessageID: it.refused.MessageID, Rejection: it.refused}
	}
	v := Verdict{Verdict: VerdictNew, Reason: cmp.Or(f.Conflict, f.Merge)}
	if f.Known {
		v.Customer = f.Address.Customer.String()
	}
	if !it.minted {
		v.MessageID = it.id
	}
	switch {
	case told != nil && told.says(it):
		v.Verdict, v.KnownID = VerdictDuplicate, told.EventID
	case told != nil:
		v.Verdict, v.KnownID = VerdictChanged, told.EventID
	case f.Conflict != "":
		v.Verdict = VerdictConflicting
	}
	return v
}

func sameInstant(a, b *int64) bool { return compareInstants(a, b) == 0 }

// compareInstants orders claimed times; what claims none happens when it comes,
// after all that do.
func compareInstants(a, b *int64) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return cmp.Compare(*a, *b)
}
