package suspects

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"unicode/utf8"
)

// The limits of blocks.
const (
	// MaxBlock bounds the records of a block that are all compared with each
	// other.
	MaxBlock = 24
	// Window is how many followers each record of a larger block is compared
	// with, in the order of names and addresses.
	Window = 8
)

// A way is a kind of key by which records are brought together: two records of
// which any key is equal are compared.
type way struct {
	name string
	keys func(s *sheet, put func(parts ...string))
}

// waysOfPersons bring together what agrees in any two fields of those that tell
// people apart, or in one that does so alone. With errors in several fields two
// records still share some of them.
var waysOfPersons = []way{
	{"declared number", declaredKeys},
	{"phone", phoneKeys},
	{"email", emailKeys},
	{"birth date", func(s *sheet, put func(...string)) { put(s.one[Birth]) }},
	{"names", func(s *sheet, put func(...string)) {
		g, f := sound(s.one[Given]), sound(s.one[Family])
		if g != "" && f != "" {
			put(min(g, f), max(g, f))
		}
	}},
	{"family name and postcode", func(s *sheet, put func(...string)) {
		// Also where the names changed places.
		pair(put, sound(s.one[Family]), s.one[Postcode])
		pair(put, sound(s.one[Given]), s.one[Postcode])
	}},
	{"name and place", func(s *sheet, put func(...string)) {
		place := sound(cmp.Or(s.one[Suburb], s.one[City]))
		pair(put, sound(s.one[Family]), place)
		pair(put, sound(s.one[Given]), place)
	}},
	{"street and number", func(s *sheet, put func(...string)) {
		pair(put, sound(s.one[Street]), s.one[Number])
		pair(put, sound(s.one[Line2]), s.one[Number])
	}},
	{"street and postcode", func(s *sheet, put func(...string)) {
		pair(put, sound(s.one[Street]), s.one[Postcode])
		pair(put, sound(s.one[Line2]), s.one[Postcode])
	}},
	{"number and place", func(s *sheet, put func(...string)) {
		pair(put, s.one[Number], s.one[Postcode])
	}},
	{"address", func(s *sheet, put func(...string)) { put(s.one[Address]) }},
}

var waysOfCompanies = []way{
	{"declared number", declaredKeys},
	{"phone", phoneKeys},
	{"email", emailKeys},
	{"domain", func(s *sheet, put func(...string)) {
		name, _, _ := strings.Cut(s.one[Domain], ".")
		put(name)
	}},
	{"name", func(s *sheet, put func(...string)) { put(s.one[Company]) }},
	{"beginning of the name", func(s *sheet, put func(...string)) { put(beginning(s.one[Company], 4)) }},
	{"end of the name", func(s *sheet, put func(...string)) { put(ending(s.one[Company], 4)) }},
	{"street and number", func(s *sheet, put func(...string)) { pair(put, sound(s.one[Street]), s.one[Number]) }},
	{"address", func(s *sheet, put func(...string)) { put(s.one[Address]) }},
}

func declaredKeys(s *sheet, put func(...string)) {
	for _, number := range s.declared {
		put(number)
	}
}

func phoneKeys(s *sheet, put func(...string)) {
	for _, number := range s.phones {
		put(number[max(0, len(number)-phoneTail):])
	}
}

func emailKeys(s *sheet, put func(...string)) {
	for _, address := range s.emails {
		local, _, _ := strings.Cut(address, "@")
		put(local)
	}
}

// pair puts two parts if there are both.
func pair(put func(...string), a, b string) {
	if a != "" && b != "" {
		put(a, b)
	}
}

// sound is a name or street reduced to what a slip seldom changes: the first
// letter and the first consonants behind it, of each sound one. Of other scripts
// it is the text.
func sound(text string) string {
	if text == "" || text[0] >= utf8.RuneSelf {
		return text
	}
	var b [4]byte
	n, last := 0, byte(0)
	for i := range len(text) {
		c := text[i]
		if n == len(b) {
			break
		}
		code := byte(0)
		switch c {
		case 'b', 'f', 'p', 'v':
			code = '1'
		case 'c', 'g', 'j', 'k', 'q', 's', 'x', 'z':
			code = '2'
		case 'd', 't':
			code = '3'
		case 'l':
			code = '4'
		case 'm', 'n':
			code = '5'
		case 'r':
			code = '6'
		case 'h', 'w', ' ':
			continue // between two of one sound they do not count
		}
		switch {
		case n == 0:
			b[0], n = c, 1
		case code != 0 && code != last:
			b[n] = code
			n++
		}
		last = code
	}
	return string(b[:n])
}

func beginning(text string, n int) string {
	for at := range text {
		if n == 0 {
			return text[:at]
		}
		n--
	}
	return text
}

func ending(text string, n int) string {
	at := len(text)
	for ; n > 0 && at > 0; n-- {
		_, size := utf8.DecodeLastRuneInString(text[:at])
		at -= size
	}
	return text[at:]
}

// place is a record with one of its keys.
type place struct {
	key    uint64
	record uint32
}

// comparer goes through the blocks of all ways. It is used by one goroutine.
type comparer struct {
	records    []record
	population *population
	found      *found
	crowded    []Crowded
	compared   uint64

	places   []place // of the way under way
	sheets   [MaxBlock]sheet
	evidence evidence
}

// Crowded tells of blocks that were too large to compare all of.
type Crowded struct {
	Key       string // what the customers of a block agree in
	Company   bool
	Blocks    int
	Customers int // in all of them
	Largest   int
}

// through compares all that one way brings together.
func (c *comparer) through(ctx context.Context, w way) error {
	c.places = c.places[:0]
	var s sheet
	for i := range c.records {
		c.records[i].unpack(&s)
		w.keys(&s, func(parts ...string) {
			h := uint64(0)
			for _, part := range parts {
				if part == "" {
					return
				}
				h = mix(fnv(h, part))
			}
			c.places = append(c.places, place{h, uint32(i)})
		})
	}
	slices.SortFunc(c.places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.record, b.record))
	})
	c.places = slices.Compact(c.places) // a record may have one key twice
	crowd := Crowded{Key: w.name}
	for from := 0; from < len(c.places); {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		to := from + 1
		for to < len(c.places) && c.places[to].key == c.places[from].key {
			to++
		}
		if n := to - from; n > MaxBlock {
			crowd.Blocks++
			crowd.Customers += n
			crowd.Largest = max(crowd.Largest, n)
			c.window(c.places[from:to])
		} else if n > 1 {
			c.block(c.places[from:to])
		}
		from = to
	}
	if crowd.Blocks > 0 {
		c.crowded = append(c.crowded, crowd)
	}
	return nil
}

// block compares all records of a block with each other.
func (c *comparer) block(places []place) {
	for i, p := range places {
		c.records[p.record].unpack(&c.sheets[i])
		for j, q := range places[:i] {
			c.compare(q.record, p.record, &c.sheets[j], &c.sheets[i])
		}
	}
}

// window compares every record of a crowded block with those behind it.
func (c *comparer) window(places []place) {
	type placed struct {
		order  string
		record uint32
	}
	sorted := make([]placed, len(places))
	for i, p := range places {
		c.records[p.record].unpack(&c.sheets[0])
		sorted[i] = placed{c.sheets[0].order(), p.record}
	}
	slices.SortFunc(sorted, func(a, b placed) int {
		return cmp.Or(strings.Compare(a.order, b.order), cmp.Compare(a.record, b.record))
	})
	for i, p := range sorted {
		now := i % (Window + 1)
		c.records[p.record].unpack(&c.sheets[now])
		for j := max(0, i-Window); j < i; j++ {
			c.compare(sorted[j].record, p.record, &c.sheets[j%(Window+1)], &c.sheets[now])
		}
	}
}

// compare scores two records, the one of the lesser id first.
func (c *comparer) compare(i, j uint32, a, b *sheet) {
	if i > j {
		i, j, a, b = j, i, b, a
	}
	c.compared++
	c.population.compare(a, b, &c.evidence)
	if c.evidence.total >= c.found.least {
		c.found.add(match{i, j, c.evidence.total})
	}
}

// match is a pair that may be one customer: two records and the total.
type match struct {
	a, b  uint32
	total float64
}

// found keeps the best matches, each once.
type found struct {
	most    int
	least   float64 // total from which a match is kept
	matches []match
	cut     bool // there were more than most
}

func (f *found) add(m match) {
	if f.matches = append(f.matches, m); len(f.matches) >= 4*f.most {
		f.shrink()
	}
}

// shrink drops repetitions and all but the best.
func (f *found) shrink() {
	slices.SortFunc(f.matches, compareMatches)
	f.matches = slices.Compact(f.matches)
	if len(f.matches) > f.most {
		f.matches, f.cut = f.matches[:f.most], true
		f.least = f.matches[f.most-1].total
	}
}

// compareMatches orders by total, the best first, then by customers.
func compareMatches(m, n match) int {
	return cmp.Or(cmp.Compare(n.total, m.total), cmp.Compare(m.a, n.a), cmp.Compare(m.b, n.b))
}
