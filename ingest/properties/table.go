package properties

import (
	"errors"
	"strconv"
	"strings"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/jsontree"
)

// amountLimit is what the refusal of an amount names.
var amountLimit = "a decimal number, at most " + strconv.Itoa(ingest.MaxAmountUnits) + " units either way"

// outcome is what became of a property.
type outcome struct {
	taken bool
	// rest is what a taken property leaves over, as canonical JSON.
	rest    []byte
	refused *ingest.Rejection
}

// place is where a property stands, put into words only for a message.
type place struct {
	path string // of the properties
	list string // name of the list of lines that holds it, "" if none
	line int    // index in that list
	key  string
}

func (at place) String() string {
	if at.list == "" {
		return at.path + "." + at.key
	}
	return at.path + "." + at.list + index(at.line) + "." + at.key
}

// A setter puts a property into a payload, or leaves it alone.
type setter[P any] func(p *P, at place, v jsontree.Value) outcome

// column is a field of a payload and the properties that fill it, the most
// trusted spelling first. Spellings are folded by [fold].
type column[P any] struct {
	spellings string
	set       setter[P]
}

// table says how properties fill a payload.
type table[P any] struct {
	setters []setter[P]
	names   map[string]spelling
	ranks   int
	// spellings of each column, for [Spellings].
	spellings []string
}

// spelling is one name of a column.
type spelling struct {
	column int
	rank   int // 0 is the most trusted
}

func newTable[P any](columns ...column[P]) *table[P] {
	t := &table[P]{names: map[string]spelling{}}
	for i, c := range columns {
		t.setters = append(t.setters, c.set)
		t.spellings = append(t.spellings, c.spellings)
		for rank, name := range strings.Fields(c.spellings) {
			if _, twice := t.names[name]; twice {
				panic("not reached: property " + name + " fills two fields")
			}
			t.names[name] = spelling{i, rank}
			t.ranks = max(t.ranks, rank+1)
		}
	}
	return t
}

// lookup finds the column of a property by its name as sent.
func (t *table[P]) lookup(name string) (spelling, bool) {
	var buf [48]byte
	folded, ok := fold(buf[:0], name)
	if !ok {
		return spelling{}, false
	}
	s, ok := t.names[string(folded)]
	return s, ok
}

// fold appends a name without '_' and in lower case. Longer names than fit are
// none of ours.
func fold(dst []byte, name string) ([]byte, bool) {
	if len(name) > 2*cap(dst) {
		return nil, false
	}
	for i := range len(name) {
		c := name[i]
		if c == '_' {
			continue
		}
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if len(dst) == cap(dst) {
			return nil, false
		}
		dst = append(dst, c)
	}
	return dst, true
}

// pending is a property that a less trusted spelling brought.
type pending struct {
	key string
	spelling
	value jsontree.Value
}

// fill puts the members of obj into p and adds what is left to rest. The more
// trusted spelling comes first, whatever the order of the text.
func (t *table[P]) fill(p *P, at place, obj jsontree.Value, rest *jsontree.Builder) *ingest.Rejection {
	var few [8]pending
	later := few[:0]
	for key, v := range obj.Members() {
		s, ok := t.lookup(key)
		switch {
		case !ok:
			rest.Add(key, v)
		case s.rank > 0:
			later = append(later, pending{key, s, v})
		default:
			at.key = key
			if refused := t.put(p, at, s.column, v, rest); refused != nil {
				return refused
			}
		}
	}
	for rank := 1; rank < t.ranks && len(later) > 0; rank++ {
		for _, l := range later {
			if l.rank != rank {
				continue
			}
			at.key = l.key
			if refused := t.put(p, at, l.column, l.value, rest); refused != nil {
				return refused
			}
		}
	}
	return nil
}

func (t *table[P]) put(p *P, at place, column int, v jsontree.Value, rest *jsontree.Builder) *ingest.Rejection {
	o := t.setters[column](p, at, v)
	switch {
	case o.refused != nil:
		return o.refused
	case !o.taken:
		rest.Add(at.key, v)
	case o.rest != nil:
		rest.AddText(at.key, o.rest)
	}
	return nil
}

// text fills a string. A field that is filled stays; the same text again is
// taken as said.
func text[P any](field func(*P) *string) setter[P] {
	return func(p *P, _ place, v jsontree.Value) outcome {
		return setText(field(p), v)
	}
}

func setText(to *string, v jsontree.Value) outcome {
	s, ok := Text(v)
	if !ok || *to != "" && *to != s {
		return outcome{}
	}
	*to = s
	return outcome{taken: true}
}

// id fills a string that names something, and so is bounded.
func id[P any](field func(*P) *string) setter[P] {
	return func(p *P, at place, v jsontree.Value) outcome {
		o := setText(field(p), v)
		if o.taken {
			o.refused = checkID(at, *field(p))
		}
		return o
	}
}

// amount fills a fixed-point number from a number or a numeric string. Null and
// an empty text are no amount; whatever else is no number is refused: to keep
// an order without its amount would be a silent loss.
func amount[P any](field func(*P) **int64) setter[P] {
	return func(p *P, at place, v jsontree.Value) outcome {
		return setAmount(field(p), at, v)
	}
}

func setAmount(to **int64, at place, v jsontree.Value) outcome {
	switch v.Kind() {
	case jsontree.Bool, jsontree.Array, jsontree.Object:
		return outcome{refused: ingest.Refuse(ingest.CodeBadNumber, at.String(), amountLimit,
			at.String()+" is "+v.Kind().String()+": "+amountLimit+" wanted")}
	}
	s, ok := Text(v)
	if !ok || strings.TrimSpace(s) == "" {
		return outcome{}
	}
	micros, exact, err := ParseMicros(s)
	if err != nil {
		return outcome{refused: refuseAmount(at.String(), s, err)}
	}
	if *to != nil {
		return outcome{taken: **to == micros && exact}
	}
	*to = &micros
	o := outcome{taken: true}
	if !exact {
		o.rest = v.AppendCanonical(nil) // the digits that were rounded away
	}
	return o
}

func refuseAmount(path, value string, err error) *ingest.Rejection {
	reason := "not a number"
	if errors.Is(err, ErrRange) {
		reason = "beyond the limit"
	}
	return ingest.Refuse(ingest.CodeBadNumber, path, amountLimit,
		path+" is "+ingest.Shown(value)+", "+reason+": "+amountLimit+" wanted")
}

// lines fills the lines of an order, cart or refund from an array of objects.
// What of them has no field is left over at the same index.
func lines[P any](field func(*P) *[]*eventsv1.Line) setter[P] {
	return func(p *P, at place, v jsontree.Value) outcome {
		if v.Kind() != jsontree.Array || *field(p) != nil || v.Empty() {
			return outcome{}
		}
		list, rest, refused := readLines(at, v)
		*field(p) = list
		return outcome{taken: true, rest: rest, refused: refused}
	}
}

func readLines(at place, v jsontree.Value) (list []*eventsv1.Line, rest []byte, refused *ingest.Rejection) {
	rest = append(rest, '[')
	left, i := false, 0
	for item := range v.Items() {
		if i > 0 {
			rest = append(rest, ',')
		}
		var b jsontree.Builder
		switch {
		case item.Kind() != jsontree.Object:
			left = true
			rest = item.AppendCanonical(rest)
		default:
			line := &eventsv1.Line{}
			if refused = lineTable.fill(line, place{path: at.path, list: at.key, line: i}, item, &b); refused != nil {
				return nil, nil, refused
			}
			list = append(list, line)
			left = left || b.Len() > 0
			rest = b.Append(rest)
		}
		i++
	}
	if !left {
		return list, nil, nil
	}
	return list, append(rest, ']'), nil
}

// flag fills a boolean from a boolean.
func flag[P any](field func(*P) *bool) setter[P] {
	return func(p *P, _ place, v jsontree.Value) outcome {
		if v.Kind() != jsontree.Bool {
			return outcome{}
		}
		*field(p) = v.True()
		return outcome{taken: true}
	}
}

// checkID is [CheckID] for a property.
func checkID(at place, id string) *ingest.Rejection {
	if len(id) <= ingest.MaxIDCharacters {
		return nil
	}
	return CheckID(at.String(), id)
}
