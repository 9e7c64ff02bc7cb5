package query

import (
	"cmp"
	"container/heap"
	"encoding/binary"
	"math"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/dossier360/dossier/events"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// order is what a list is sorted by: a field of the profile, then customer id.
// The zero order is by customer id alone.
type order struct {
	descending bool
	onRow      cel.Program // nil: no row has it
	whole      question    // of whom the row does not have it; without a program there is no field
}

func compileOrder(text string, zone *events.Zone) (*order, error) {
	o := &order{descending: strings.HasPrefix(strings.TrimSpace(text), "-")}
	switch {
	case o.descending:
		text = strings.Replace(text, "-", " ", 1) // columns stay those of the author
	case strings.TrimSpace(text) == "":
		return o, nil
	}
	p, err := compilePath("orderBy", text, zone)
	if err != nil {
		return nil, err
	}
	root := p.checked.checked.Expr()
	switch t := p.checked.checked.GetType(root.ID()); kindOf(t) {
	case "a list", "a map", aMessage:
		return nil, refuse(errInvalid, "orderBy: %s is %s; a text, a number, a time, or a yes or no wanted", strings.Join(p.names, "."), kindOf(t))
	}
	reads, onRows := p.checked.reads(root)
	o.whole.reads = reads
	if o.whole.program, err = p.checked.program(root); err != nil || !onRows {
		return o, err
	}
	p.checked.fromRows(root)
	o.onRow, err = p.checked.program(root)
	return o, err
}

// sortKind ranks values that do not compare with each other, as traits may hold
// them; what is absent comes last whichever way the order goes.
type sortKind byte

const (
	sortNumber sortKind = iota + 1 // and times: microseconds
	sortText
	sortBool
	sortAbsent
)

// place is where a customer stands in a list.
type place struct {
	kind   sortKind
	number float64
	text   string
	id     events.CustomerID
}

// maxSortBytes bounds the text that a list is sorted by, and so a page token.
// Texts that begin alike are in the order of their customers' ids.
const maxSortBytes = 256

// placeOf is the place of a customer by his value.
func placeOf(value ref.Val, id events.CustomerID) place {
	switch v := value.(type) {
	case types.Double:
		if !math.IsNaN(float64(v)) {
			return place{kind: sortNumber, number: float64(v), id: id}
		}
	case types.Timestamp:
		// Exact up to 2^53 microseconds, in the year 2255.
		return place{kind: sortNumber, number: float64(events.Micros(v.Time)), id: id}
	case types.String:
		return place{kind: sortText, text: string(v[:min(len(v), maxSortBytes)]), id: id}
	case types.Bool:
		p := place{kind: sortBool, id: id}
		if v {
			p.number = 1
		}
		return p
	}
	return place{kind: sortAbsent, id: id}
}

// compare is negative if a comes before b.
func (o *order) compare(a, b *place) int {
	if n := cmp.Compare(a.kind, b.kind); n != 0 {
		// Numbers before texts both ways: nobody mixes them on purpose.
		return n
	}
	n := cmp.Or(cmp.Compare(a.number, b.number), strings.Compare(a.text, b.text))
	if o.descending {
		n = -n
	}
	if n == 0 {
		n = a.id.Compare(b.id)
	}
	return n
}

// first keeps the `limit` first places that it is given: a heap with the last
// of them on top.
type first struct {
	order  *order
	limit  int
	places []place
}

// full reports whether a place would not be kept.
func (f *first) excludes(p *place) bool {
	return len(f.places) == f.limit && f.order.compare(p, &f.places[0]) > 0
}

func (f *first) add(p place) {
	switch {
	case len(f.places) < f.limit:
		heap.Push((*lastOnTop)(f), p)
	case !f.excludes(&p):
		f.places[0] = p
		heap.Fix((*lastOnTop)(f), 0)
	}
}

// sorted returns the places in order; the heap is used up.
func (f *first) sorted() []place {
	slices.SortFunc(f.places, func(a, b place) int { return f.order.compare(&a, &b) })
	return f.places
}

type lastOnTop first

func (h *lastOnTop) Len() int           { return len(h.places) }
func (h *lastOnTop) Less(i, j int) bool { return h.order.compare(&h.places[i], &h.places[j]) > 0 }
func (h *lastOnTop) Swap(i, j int)      { h.places[i], h.places[j] = h.places[j], h.places[i] }
func (h *lastOnTop) Push(p any)         { h.places = append(h.places, p.(place)) }
func (h *lastOnTop) Pop() any {
	p := h.places[len(h.places)-1]
	h.places = h.places[:len(h.places)-1]
	return p
}

// listToken goes on behind the place of the customer shown last. A customer
// whose value does not change keeps his place, so that he is on exactly one
// page whatever happens to others. Its key:
//
//	byte  0      kind of the value
//	bytes 1-8    number, IEEE 754, big endian
//	bytes 9-24   customer id
//	bytes 25-    text
func listToken(req *queryv1.ListProfilesRequest, last *place) string {
	key := binary.BigEndian.AppendUint64([]byte{byte(last.kind)}, math.Float64bits(last.number))
	key = append(append(key, last.id[:]...), last.text...)
	return PageToken(key, "profiles", req.GetFilter(), req.GetOrderBy())
}

// parseListToken returns the place to go on behind; nil: from the beginning.
func parseListToken(req *queryv1.ListProfilesRequest) (*place, error) {
	key, err := ParsePageToken(req.GetPageToken(), "profiles", req.GetFilter(), req.GetOrderBy())
	if key == nil || err != nil {
		return nil, err
	}
	if len(key) < 25 {
		return nil, badToken(errBadToken)
	}
	last := &place{kind: sortKind(key[0]), number: math.Float64frombits(binary.BigEndian.Uint64(key[1:9])), text: string(key[25:])}
	copy(last.id[:], key[9:25])
	return last, nil
}
