package suspects

import (
	"math"
	"math/bits"
	"strings"
)

// population is what the customers of one kind have, all together: how common
// each value is, and how often strangers are alike by chance.
type population struct {
	size   int
	counts [2][]uint32 // by two hashes of (field, value): never too few
	seen   [fields]float64
	// slips is how likely values of two strangers are similar, by field.
	slips [fields]float64
}

// Population sketch: counters for each value, up to a bound; beyond it values
// share counters and some look a little more common than they are.
const (
	minCounters = 1 << 12
	maxCounters = 1 << 22
)

func newPopulation(size, values int) *population {
	n := min(max(minCounters, 1<<bits.Len(uint(2*values))), maxCounters)
	p := &population{size: size}
	for i := range p.counts {
		p.counts[i] = make([]uint32, n)
	}
	return p
}

// valueHash is FNV-1a of the value behind the field, well mixed. Equal
// customers get equal scores in every process.
func valueHash(f Field, value string) uint64 { return mix(fnv(uint64(f)+1, value)) }

// fnv goes on with FNV-1a-64.
func fnv(h uint64, text string) uint64 {
	h ^= 14695981039346656037
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 1099511628211
	}
	return h
}

// mix spreads the bits of x (the finaliser of splitmix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (p *population) add(f Field, value string) {
	if value == "" {
		return
	}
	h, mask := valueHash(f, value), uint64(len(p.counts[0])-1)
	p.seen[f]++
	for i := range p.counts {
		if c := &p.counts[i][h>>(32*i)&mask]; *c < math.MaxUint32 {
			*c++
		}
	}
}

func (p *population) addSheet(s *sheet) {
	for f, value := range s.one {
		p.add(Field(f), value)
	}
	for _, value := range s.phones {
		p.add(Phone, value)
	}
	for _, value := range s.emails {
		p.add(Email, value)
	}
	for _, value := range s.declared {
		p.add(Declared, value)
	}
}

func (p *population) count(f Field, value string) float64 {
	h, mask := valueHash(f, value), uint64(len(p.counts[0])-1)
	return float64(min(p.counts[0][h&mask], p.counts[1][h>>32&mask]))
}

// prior is how many customers a field's usual frequency weighs as much as. In a
// small population counts say little.
const prior = 1_000

// files is how many files of one customer there may be: so many who have a
// value do not make it a common one. Else a third file would speak against the
// other two.
const files = 5

// chance is how likely a stranger has the value: the share of those who have it
// beside as many as may be one customer.
func (p *population) chance(f Field, value string) float64 {
	others := max(0, p.count(f, value)-files)
	return (others + prior*fieldsOf[f].usual) / (p.seen[f] + prior)
}

// measure estimates from pairs taken at random how often strangers are alike.
func (p *population) measure(records []record) {
	var met, alikeBy [fields]float64
	if n := uint64(len(records)); n > 1 {
		var a, b sheet
		for i := range uint64(min(20*len(records), maxSample)) {
			// A fixed sequence, so that equal customers have equal scores.
			x, y := mix(2*i+1)%n, mix(2*i+2)%n
			if x == y {
				continue
			}
			records[x].unpack(&a)
			records[y].unpack(&b)
			for f := Given; f < fields; f++ {
				switch a.alikeIn(&b, f) {
				case similar:
					alikeBy[f]++
					met[f]++
				case equal, differs:
					met[f]++
				}
			}
		}
	}
	for f := range p.slips {
		p.slips[f] = (alikeBy[f] + prior*fieldsOf[f].usualSlip) / (met[f] + prior)
	}
}

// maxSample bounds the pairs taken at random.
const maxSample = 30_000

// alikeIn is the best likeness of two sheets in a field.
func (s *sheet) alikeIn(t *sheet, f Field) likeness {
	l, _, _ := s.best(t, f)
	return l
}

// best is how two sheets agree in a field, and by which values.
func (s *sheet) best(t *sheet, f Field) (best likeness, a, b string) {
	var as, bs []string
	switch f {
	case Phone:
		as, bs = s.phones, t.phones
	case Email:
		as, bs = s.emails, t.emails
	case Declared:
		as, bs = s.declared, t.declared
	default:
		return alike(f, s.one[f], t.one[f]), s.one[f], t.one[f]
	}
	for _, x := range as {
		for _, y := range bs {
			if f == Declared && !sameKind(x, y) {
				continue
			}
			if l := alike(f, x, y); l > best {
				best, a, b = l, x, y
			}
		}
	}
	return best, a, b
}

// sameKind reports whether declared numbers are of one kind.
func sameKind(a, b string) bool {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return false
		}
		if a[i] == ' ' {
			return true
		}
	}
	return false
}

// kindOf is the kind of a declared number.
func kindOf(declared string) string {
	kind, _, _ := strings.Cut(declared, " ")
	return kind
}
