package suspects

import (
	"cmp"
	"math"
	"slices"
)

// fieldTraits is what is known of a field whoever the customers are.
type fieldTraits struct {
	// Of two records of one customer that both have the field: how likely the
	// values are equal, and how likely similar.
	equal, similar float64
	// Of two strangers: how likely the values are equal and similar where the
	// population is too small to tell.
	usual, usualSlip float64
	// most bounds what the field adds, in bits.
	most float64
}

// fieldsOf are the parameters of the model. The likelihoods were chosen by hand
// to be round, and held against half of the records of known truth only; the
// other half and the other files measured what they are worth.
var fieldsOf = [fields]fieldTraits{
	Given:    {equal: .72, similar: .18, usual: 1. / 400, usualSlip: .01, most: 11},
	Family:   {equal: .74, similar: .18, usual: 1. / 2_000, usualSlip: .005, most: 13},
	Birth:    {equal: .88, similar: .08, usual: 1. / 20_000, usualSlip: .002, most: 15},
	Gender:   {equal: .97, usual: .5, most: 1},
	Number:   {equal: .82, similar: .08, usual: 1. / 100, usualSlip: .05, most: 8},
	Street:   {equal: .65, similar: .23, usual: 1. / 2_000, usualSlip: .005, most: 12},
	Line2:    {equal: .60, similar: .22, usual: 1. / 1_000, usualSlip: .005, most: 11},
	Suburb:   {equal: .74, similar: .16, usual: 1. / 500, usualSlip: .005, most: 11},
	City:     {equal: .80, similar: .12, usual: 1. / 50, usualSlip: .01, most: 10},
	Postcode: {equal: .84, similar: .12, usual: 1. / 500, usualSlip: .02, most: 10},
	State:    {equal: .94, similar: .02, usual: 1. / 5, usualSlip: .02, most: 4},
	Address:  {equal: .60, similar: .25, usual: 1. / 20_000, usualSlip: .001, most: 16},
	Phone:    {equal: .60, similar: .08, usual: 1e-7, usualSlip: 1e-5, most: 23},
	Email:    {equal: .40, similar: .20, usual: 1e-7, usualSlip: 1e-5, most: 23},
	Declared: {equal: .88, similar: .06, usual: 1e-7, usualSlip: 1e-5, most: 24},
	Company:  {equal: .75, similar: .15, usual: 1e-6, usualSlip: .001, most: 20},
	Domain:   {equal: .70, similar: .10, usual: 1e-6, usualSlip: 1e-4, most: 18},
}

const (
	// duplicates is the share of customers who are supposed to be there twice.
	duplicates = 0.1
	// swap is how likely two fields of one customer changed places.
	swap = 0.04
	// Persons of one household agree in address and perhaps in family name; what
	// an address adds is bounded, and more where both given name and birth date
	// say that these are two.
	mostHome       = 30
	mostNeighbours = 4
	// What places that contain each other add, beside the one that adds most.
	alsoPlace = 0.5
)

// Words of reasons.
const (
	howEqual   = "equal"
	howSimilar = "similar"
	howSwapped = "swapped"
	howDiffers = "differs"
)

// piece is what one field says of a pair.
type piece struct {
	field  Field
	how    string
	a, b   string // folded
	other  Field  // of a swapped one: the field of b
	weight float64
}

// evidence is all that is said of one pair. It is used again for the next.
type evidence struct {
	pieces []piece
	total  float64
}

// score is the probability that a total in bits comes to.
func score(total float64) float64 { return 1 / (1 + math.Exp2(-total)) }

// bitsOf is the total of a score.
func bitsOf(score float64) float64 {
	return math.Log2(score / (1 - score))
}

// prior odds of a pair met in a block, in bits.
func (p *population) odds() float64 {
	return math.Log2(duplicates / float64(max(p.size, prior)))
}

// compare weighs all that two sheets of one kind hold.
func (p *population) compare(a, b *sheet, e *evidence) {
	e.pieces, e.total = e.pieces[:0], 0
	p.compareTwo(a, b, e, Given, Family)
	p.compareTwo(a, b, e, Street, Line2)
	for _, f := range [...]Field{Birth, Gender, Number, Suburb, City, Postcode, State, Address, Phone, Email, Declared, Company, Domain} {
		p.compareOne(a, b, e, f)
	}
	e.boundPlaces()
	e.boundHome()
	e.total = p.odds()
	for i := range e.pieces {
		e.total += e.pieces[i].weight
	}
}

func (p *population) compareOne(a, b *sheet, e *evidence, f Field) {
	l, x, y := a.best(b, f)
	if l == absent {
		return
	}
	e.pieces = append(e.pieces, p.piece(f, f, l, x, y))
}

// piece weighs a likeness: of a value in one field of a and, if they changed
// places, another of b.
func (p *population) piece(f, other Field, l likeness, x, y string) piece {
	t := &fieldsOf[f]
	made := piece{field: f, other: other, a: x, b: y}
	switch l {
	case equal:
		made.how = howEqual
		chance := p.chance(f, x)
		if f != other {
			chance = max(chance, p.chance(other, y))
		}
		if x != y { // a phone with another prefix
			chance = max(chance, p.chance(f, y))
		}
		made.weight = min(math.Log2(t.equal/chance), t.most)
	case similar:
		made.how = howSimilar
		// As common as the more common of the two, or as slips are in general.
		chance := max(p.slips[f], p.chance(f, x), p.chance(other, y))
		made.weight = max(0, min(math.Log2(t.similar/chance), t.most-2))
	case differs:
		made.how = howDiffers
		made.weight = math.Log2(1 - t.equal - t.similar)
	}
	if f != other {
		made.how = howSwapped
		made.weight += math.Log2(swap) / 2 // one change makes two pieces
	}
	return made
}

// compareTwo compares two fields that people fill in the wrong way round.
func (p *population) compareTwo(a, b *sheet, e *evidence, f, g Field) {
	straight := [2]likeness{alike(f, a.one[f], b.one[f]), alike(g, a.one[g], b.one[g])}
	crossed := [2]likeness{alike(f, a.one[f], b.one[g]), alike(g, a.one[g], b.one[f])}
	if max(crossed[0], crossed[1]) > differs && max(straight[0], straight[1]) <= differs {
		// The other two may be missing, or be anything; they say nothing then.
		if crossed[0] > differs {
			e.pieces = append(e.pieces, p.piece(f, g, crossed[0], a.one[f], b.one[g]))
		}
		if crossed[1] > differs {
			e.pieces = append(e.pieces, p.piece(g, f, crossed[1], a.one[g], b.one[f]))
		}
		if min(crossed[0], crossed[1]) == differs {
			left := f
			if crossed[0] > differs {
				left = g
			}
			other := f + g - left
			made := p.piece(left, left, differs, a.one[left], b.one[other])
			made.other = other
			e.pieces = append(e.pieces, made)
		}
		return
	}
	for i, h := range [2]Field{f, g} {
		if straight[i] != absent {
			e.pieces = append(e.pieces, p.piece(h, h, straight[i], a.one[h], b.one[h]))
		}
	}
}

func isPlace(f Field) bool { return f == Suburb || f == City || f == Postcode || f == State }

func isHome(f Field) bool {
	return isPlace(f) || f == Number || f == Street || f == Line2 || f == Address
}

// boundPlaces takes off what places say that contain each other: who lives in
// the suburb has its postcode too.
func (e *evidence) boundPlaces() {
	best := -1
	for i := range e.pieces {
		if isPlace(e.pieces[i].field) && (best < 0 || e.pieces[i].weight > e.pieces[best].weight) {
			best = i
		}
	}
	for i := range e.pieces {
		if q := &e.pieces[i]; i != best && isPlace(q.field) {
			q.weight *= alsoPlace
		}
	}
}

// boundHome bounds what an address adds.
func (e *evidence) boundHome() {
	most, sum := float64(mostHome), 0.
	if e.areTwo() {
		most = mostNeighbours
	}
	for i := range e.pieces {
		if q := &e.pieces[i]; isHome(q.field) && q.weight > 0 {
			sum += q.weight
		}
	}
	if sum <= most {
		return
	}
	for i := range e.pieces {
		if q := &e.pieces[i]; isHome(q.field) && q.weight > 0 {
			q.weight *= most / sum
		}
	}
}

// areTwo reports whether given name and birth date both say that these are two
// persons, and no number says that they are one.
func (e *evidence) areTwo() bool {
	given, birth := false, false
	for i := range e.pieces {
		switch q := &e.pieces[i]; {
		case q.field == Given && q.how == howDiffers:
			given = true
		case q.field == Birth && q.how == howDiffers:
			birth = true
		case q.field == Declared && q.weight > 0:
			return false
		}
	}
	return given && birth
}

// sort puts the weightiest pieces first.
func (e *evidence) sort() {
	slices.SortStableFunc(e.pieces, func(a, b piece) int {
		return cmp.Or(cmp.Compare(math.Abs(b.weight), math.Abs(a.weight)), cmp.Compare(a.field, b.field))
	})
}
