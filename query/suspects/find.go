package suspects

import (
	"context"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/dossier360/dossier/events"
)

// The limits of a ranking.
const (
	// MaxPairs bounds the pairs of each kind that a ranking keeps, the likeliest
	// of all; nobody looks at more.
	MaxPairs = 100_000
	// LeastScore is the least score that a ranking keeps.
	LeastScore = 0.5
	// DefaultScore is the score from which pairs are proposed: 99 of 100 should be
	// one customer.
	DefaultScore = 0.9
	// MaxCustomers bounds the customers of one kind.
	MaxCustomers = math.MaxUint32
)

// Ranking is what [Find] found. It is immutable.
type Ranking struct {
	// Pairs by falling score, then by ids.
	Pairs []Pair
	// Customers is how many were looked at, Compared how many pairs of them, with
	// repetition.
	Customers int
	Compared  uint64
	// Crowded are the keys that too many customers share; of those not all were
	// compared with each other.
	Crowded []Crowded
	// Cut says that there were more than MaxPairs.
	Cut bool

	persons, companies *population
	facts              map[events.CustomerID]*Facts // of those in pairs
}

// Pair is two customers of one kind, the lesser id first, who may be one.
type Pair struct {
	A, B    events.CustomerID
	Company bool
	Score   float64
}

// Reason is what one field says of a pair.
type Reason struct {
	Field  string
	A, B   string // as it was told
	How    string // equal | similar | swapped | differs
	Weight float64
}

// Source yields the facts of customers, each once, in any order. Nil wanted is
// all of them. It is called twice: all are compared, and those in pairs are
// kept as they were told.
type Source func(ctx context.Context, wanted func(events.CustomerID) bool) iter.Seq2[*Facts, error]

// Find ranks the pairs among all customers of a source. It holds some 200 bytes
// a customer, with at most 32 MiB of counters and a few sorted keys beside, and
// takes a time that grows with their number.
func Find(ctx context.Context, source Source) (*Ranking, error) {
	gathered, err := gather(ctx, source)
	if err != nil {
		return nil, err
	}
	r := &Ranking{Customers: len(gathered.persons) + len(gathered.companies), facts: map[events.CustomerID]*Facts{}}
	if r.persons, err = r.rank(ctx, gathered.persons, false); err != nil {
		return nil, err
	}
	if r.companies, err = r.rank(ctx, gathered.companies, true); err != nil {
		return nil, err
	}
	slices.SortFunc(r.Pairs, comparePairs)
	return r, r.keepFacts(ctx, source)
}

// gathered are the records of all customers of whom anything can be compared.
type gathered struct{ persons, companies []record }

func gather(ctx context.Context, source Source) (g gathered, err error) {
	for f, err := range source(ctx, nil) {
		if err != nil {
			return g, err
		}
		made := record{f.ID, packSheet(f.fold(nil))}
		if made.packed == "" {
			continue
		}
		list := &g.persons
		if f.Company {
			list = &g.companies
		}
		if uint64(len(*list)) >= MaxCustomers {
			return g, fmt.Errorf("customers of one kind: limit %d", uint64(MaxCustomers))
		}
		*list = append(*list, made)
	}
	// Whichever turn they came in, the same customers give the same ranking.
	slices.SortFunc(g.persons, byID)
	slices.SortFunc(g.companies, byID)
	return g, nil
}

// rank finds the pairs of one kind.
func (r *Ranking) rank(ctx context.Context, records []record, company bool) (*population, error) {
	values := 0
	var s sheet
	for i := range records {
		for p := records[i].packed; p != ""; p = p[2+int(p[1]):] {
			values++
		}
	}
	population := newPopulation(len(records), values)
	for i := range records {
		records[i].unpack(&s)
		population.addSheet(&s)
	}
	population.measure(records)
	c := comparer{records: records, population: population, found: &found{most: MaxPairs, least: bitsOf(LeastScore)}}
	ways := waysOfPersons
	if company {
		ways = waysOfCompanies
	}
	for _, w := range ways {
		if err := c.through(ctx, w); err != nil {
			return nil, err
		}
	}
	c.found.shrink()
	for _, m := range c.found.matches {
		r.Pairs = append(r.Pairs, Pair{records[m.a].id, records[m.b].id, company, score(m.total)})
	}
	for i := range c.crowded {
		c.crowded[i].Company = company
	}
	r.Crowded = append(r.Crowded, c.crowded...)
	r.Compared += c.compared
	r.Cut = r.Cut || c.found.cut
	return population, nil
}

func comparePairs(p, q Pair) int {
	return p.compare(q.Score, q.A, q.B)
}

// compare is the order of pairs with one that is known by its place.
func (p *Pair) compare(score float64, a, b events.CustomerID) int {
	switch {
	case p.Score != score:
		if p.Score > score {
			return -1
		}
		return 1
	case p.A != a:
		return p.A.Compare(a)
	}
	return p.B.Compare(b)
}

// keepFacts reads those in pairs again, to show why they are.
func (r *Ranking) keepFacts(ctx context.Context, source Source) error {
	for i := range r.Pairs {
		r.facts[r.Pairs[i].A], r.facts[r.Pairs[i].B] = nil, nil
	}
	if len(r.facts) == 0 {
		return nil
	}
	wanted := func(id events.CustomerID) bool {
		_, ok := r.facts[id]
		return ok
	}
	for f, err := range source(ctx, wanted) {
		if err != nil {
			return err
		}
		if wanted(f.ID) {
			r.facts[f.ID] = f
		}
	}
	// A source that changed meanwhile may not know a customer any more.
	r.Pairs = slices.DeleteFunc(r.Pairs, func(p Pair) bool { return r.facts[p.A] == nil || r.facts[p.B] == nil })
	return nil
}

// Names are the names of a pair's customers.
func (r *Ranking) Names(p Pair) (a, b string) { return r.facts[p.A].Name, r.facts[p.B].Name }

// Reasons says what each field adds to a pair's score, the weightiest first.
func (r *Ranking) Reasons(p Pair) []Reason {
	told, toldOther := origin{}, origin{}
	a, b := r.facts[p.A].fold(told), r.facts[p.B].fold(toldOther)
	population := r.persons
	if p.Company {
		population = r.companies
	}
	var e evidence
	population.compare(a, b, &e)
	e.sort()
	reasons := make([]Reason, len(e.pieces))
	for i, q := range e.pieces {
		name := q.field.String()
		if q.field == Declared {
			name = kindOf(q.a)
		}
		reasons[i] = Reason{Field: name, A: told[folded{q.field, q.a}], B: toldOther[folded{q.other, q.b}], How: q.how, Weight: q.weight}
	}
	return reasons
}
