package profile

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// Engagement: what the customer did on sites and in apps.
//
// All fields are facts, pageViews30d alone is standing: it counts the days of
// facts that lie in the thirty up to settled time. The buckets of days serve
// that window only and are not in the digest.
//
// A session is a maximal run of occupied half hours (UTC, by occurrence). A
// half hour is occupied by a view of a page or screen, a step of shopping on
// the site (product.*, cart.*, checkout.*), or a click on an advertisement,
// which brings the customer there. Not by order.*, which back ends tell at
// times of their own, nor by ad.viewed, which happens elsewhere.

const (
	// keptDays is how many days up to a customer's newest are counted one by
	// one: 30 for the window, the rest for a settled time that lags behind.
	keptDays = 35
	// windowDays is the window of pageViews30d.
	windowDays = 30
	// topRows bounds a top list that is shown.
	topRows = 10

	slotMicros = 30 * 60 * 1_000_000
	chunkSlots = 2_048 // about 43 days
	wordSlots  = 64
)

func foldEngagement(f *statev1.Facts, a *application) error {
	kind := a.Header.GetType()
	if !occupies(kind) {
		return nil
	}
	if f.Engagement == nil {
		f.Engagement = &statev1.EngagementFacts{}
	}
	if kind == eventsv1.Type_TYPE_PAGE_VIEWED || kind == eventsv1.Type_TYPE_SCREEN_VIEWED {
		foldView(f.Engagement, a)
	}
	return foldSlot(f.Engagement, a)
}

// occupies reports whether an event of this type shows the customer on a site
// or in an app.
func occupies(kind eventsv1.Type) bool {
	switch kind {
	case eventsv1.Type_TYPE_AD_CLICKED,
		eventsv1.Type_TYPE_PAGE_VIEWED,
		eventsv1.Type_TYPE_SCREEN_VIEWED,
		eventsv1.Type_TYPE_PRODUCT_SEARCHED,
		eventsv1.Type_TYPE_PRODUCT_LISTED,
		eventsv1.Type_TYPE_PRODUCT_CLICKED,
		eventsv1.Type_TYPE_PRODUCT_VIEWED,
		eventsv1.Type_TYPE_PRODUCT_ADDED,
		eventsv1.Type_TYPE_PRODUCT_REMOVED,
		eventsv1.Type_TYPE_CART_VIEWED,
		eventsv1.Type_TYPE_CHECKOUT_STARTED,
		eventsv1.Type_TYPE_CHECKOUT_STEP_VIEWED,
		eventsv1.Type_TYPE_CHECKOUT_STEP_COMPLETED,
		eventsv1.Type_TYPE_CHECKOUT_PAYMENT_ENTERED:
		return true
	}
	return false
}

func foldView(g *statev1.EngagementFacts, a *application) {
	g.PageViews++
	countDay(g, a.env.Zone.Day(a.stamp.OccurredAt))
	url := viewURL(a.Body)
	if url == "" {
		return
	}
	if outranks(a.stamp, g.LastPage) {
		g.LastPageUrl, g.LastPage = cut(url, maxURLBytes), a.stamp
	}
	countPage(g, cutKey(url))
}

// viewURL is the address a view names, else the page it happened on.
func viewURL(body *eventsv1.Event) string {
	if url := body.GetView().GetUrl(); url != "" {
		return url
	}
	return body.GetContext().GetPageUrl()
}

// countDay counts in the keptDays up to the newest day. Days before them are
// dropped, and were they ever kept: the newest day only grows, so an event
// too old once is too old for ever, in whichever order they come.
func countDay(g *statev1.EngagementFacts, day int32) {
	if n := len(g.Days); n > 0 && g.Days[n-1].Day-day >= keptDays {
		return
	}
	i, found := slices.BinarySearchFunc(g.Days, day, compareDayCount)
	if found {
		g.Days[i].Count++
		return
	}
	g.Days = slices.Insert(g.Days, i, &statev1.DayCount{Day: day, Count: 1})
	oldest := g.Days[len(g.Days)-1].Day - keptDays + 1
	keep, _ := slices.BinarySearchFunc(g.Days, oldest, compareDayCount)
	g.Days = slices.Delete(g.Days, 0, keep)
}

func compareDayCount(d *statev1.DayCount, day int32) int { return cmp.Compare(d.Day, day) }

// countPage counts exactly while there are at most maxKeys addresses. One more
// and the list is dropped for good: a top of some of them would depend on
// which came first.
func countPage(g *statev1.EngagementFacts, url string) {
	if g.PagesApproximate {
		return
	}
	i, found := find(g.Pages, url, (*statev1.KeyCount).GetKey)
	switch {
	case found:
		g.Pages[i].Count++
	case len(g.Pages) == maxKeys:
		g.Pages, g.PagesApproximate = nil, true
	default:
		g.Pages = slices.Insert(g.Pages, i, &statev1.KeyCount{Key: url, Count: 1})
	}
}

// foldSlot occupies the half hour of the event. The number of runs follows
// from the two neighbours: none occupied is a run more, both a run less.
func foldSlot(g *statev1.EngagementFacts, a *application) error {
	// Accepted times are after 1970; an older one would count as the first.
	slot := max(0, a.stamp.OccurredAt/slotMicros)
	s := slots{g: g, rows: a.rows}
	taken, err := s.occupied(slot)
	if err != nil || taken {
		return err
	}
	before, err := s.occupied(slot - 1)
	if err != nil {
		return err
	}
	after, err := s.occupied(slot + 1)
	if err != nil {
		return err
	}
	if err := s.occupy(slot); err != nil {
		return err
	}
	switch {
	case before && after:
		g.Sessions--
	case !before && !after:
		g.Sessions++
	}
	return nil
}

// slots is the set of a customer's occupied half hours, in chunks: the newest
// chunk in the facts, older ones as rows.
type slots struct {
	g    *statev1.EngagementFacts
	rows Rows
}

func place(slot int64) (chunk, word uint32, bit uint64) {
	in := uint32(slot % chunkSlots)
	return uint32(slot / chunkSlots), in / wordSlots, 1 << (in % wordSlots)
}

func (s slots) occupied(slot int64) (bool, error) {
	if slot < 0 {
		return false, nil
	}
	chunk, word, bit := place(slot)
	words := s.g.Words
	switch {
	case chunk > s.g.Chunk:
		return false, nil
	case chunk < s.g.Chunk:
		row, err := s.load(chunk)
		if err != nil {
			return false, err
		}
		words = row.Words
	}
	i, found := slices.BinarySearchFunc(words, word, compareWord)
	return found && words[i].Bits&bit != 0, nil
}

func (s slots) occupy(slot int64) error {
	chunk, word, bit := place(slot)
	if chunk < s.g.Chunk {
		row, err := s.load(chunk)
		if err != nil {
			return err
		}
		row.Words = setBit(row.Words, word, bit)
		return s.store(chunk, row)
	}
	if chunk > s.g.Chunk {
		if len(s.g.Words) > 0 {
			if err := s.store(s.g.Chunk, &statev1.SlotChunk{Words: s.g.Words}); err != nil {
				return err
			}
		}
		s.g.Chunk, s.g.Words = chunk, nil
	}
	s.g.Words = setBit(s.g.Words, word, bit)
	return nil
}

func compareWord(w *statev1.SlotWord, index uint32) int { return cmp.Compare(w.Index, index) }

func setBit(words []*statev1.SlotWord, word uint32, bit uint64) []*statev1.SlotWord {
	i, found := slices.BinarySearchFunc(words, word, compareWord)
	if !found {
		words = slices.Insert(words, i, &statev1.SlotWord{Index: word})
	}
	words[i].Bits |= bit
	return words
}

func (s slots) load(chunk uint32) (*statev1.SlotChunk, error) {
	row := &statev1.SlotChunk{}
	if err := getRow(s.rows, RowSlots, binary.BigEndian.AppendUint32(nil, chunk), row); err != nil {
		return nil, fmt.Errorf("load sessions of chunk %d: %w", chunk, err)
	}
	return row, nil
}

func (s slots) store(chunk uint32, row *statev1.SlotChunk) error {
	if err := putRow(s.rows, RowSlots, binary.BigEndian.AppendUint32(nil, chunk), row); err != nil {
		return fmt.Errorf("store sessions of chunk %d: %w", chunk, err)
	}
	return nil
}

// getRow reads a row into m, which stays empty if there is none.
func getRow(rows Rows, kind RowKind, id []byte, m proto.Message) error {
	value, err := rows.Get(kind, id)
	if err != nil || value == nil {
		return err
	}
	return proto.Unmarshal(value, m)
}

func putRow(rows Rows, kind RowKind, id []byte, m proto.Message) error {
	value, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	rows.Put(kind, id, value)
	return nil
}

// encodeEngagement: page views; last page's URL and occurrence; sessions;
// approximate pages; unless so, list of (URL, count).
func encodeEngagement(e *encoder, f *statev1.Facts) {
	g := f.Engagement
	if g == nil {
		return
	}
	e.count(g.PageViews)
	e.string(g.LastPageUrl)
	e.int(g.LastPage.GetOccurredAt())
	e.count(g.Sessions)
	e.bool(g.PagesApproximate)
	if g.PagesApproximate {
		return
	}
	e.length(len(g.Pages))
	for _, p := range g.Pages {
		e.string(p.Key)
		e.count(p.Count)
	}
}

func renderEngagement(f *statev1.Facts, r *rendering) {
	r.into.Engagement = nil
	g := f.Engagement
	if g == nil {
		return
	}
	r.approximate = r.approximate || g.PagesApproximate
	into := &queryv1.Engagement{
		PageViews:    g.PageViews,
		PageViews30D: viewsInWindow(g.Days, r.env.Zone.Day(r.at)),
		Sessions:     g.Sessions,
	}
	if g.LastPage != nil {
		into.LastPageUrl = &g.LastPageUrl
	}
	pages := slices.Clone(g.Pages) // by URL; a stable sort keeps ties so
	slices.SortStableFunc(pages, func(a, b *statev1.KeyCount) int { return cmp.Compare(b.Count, a.Count) })
	for _, p := range pages[:min(topRows, len(pages))] {
		into.TopPages = append(into.TopPages, &queryv1.PageCount{Url: p.Key, Count: p.Count})
	}
	r.into.Engagement = into
}

// viewsInWindow counts the views of today and the days before it.
func viewsInWindow(days []*statev1.DayCount, today int32) uint32 {
	var n uint32
	for _, d := range days {
		if d.Day > today-windowDays && d.Day <= today {
			n += d.Count
		}
	}
	return n
}
