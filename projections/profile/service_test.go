package profile_test

import (
	"cmp"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/dossier360/dossier/projections/profile"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

const (
	opened   = eventsv1.Type_TYPE_TICKET_OPENED
	replied  = eventsv1.Type_TYPE_TICKET_REPLIED
	resolved = eventsv1.Type_TYPE_TICKET_RESOLVED
	reopened = eventsv1.Type_TYPE_TICKET_REOPENED
	closed   = eventsv1.Type_TYPE_TICKET_CLOSED
)

func ticket(i int, kind eventsv1.Type, t *eventsv1.Ticket) profile.Event {
	return at(i, kind, &eventsv1.Event{Payload: &eventsv1.Event_Ticket{Ticket: t}})
}

func rated(i int, r *eventsv1.Rating) profile.Event {
	return at(i, eventsv1.Type_TYPE_RATING_GIVEN, &eventsv1.Event{Payload: &eventsv1.Event_Rating{Rating: r}})
}

// What the shared law draws of this section.

func drawTicket(t *rapid.T) *eventsv1.Ticket {
	return &eventsv1.Ticket{
		TicketId: rapid.SampledFrom([]string{"T1", "T1", "T1", "T2", "e1", ""}).Draw(t, "ticket"),
		Topic:    rapid.SampledFrom([]string{"", " ", "billing", " billing", "delivery"}).Draw(t, "topic"),
		Author:   rapid.SampledFrom([]string{"", "agent", "Staff", "customer", "bot"}).Draw(t, "author"),
	}
}

func drawRating(t *rapid.T) *eventsv1.Rating {
	const most = 1_000_000_000_000_000_000
	return &eventsv1.Rating{
		Aspect:      rapid.SampledFrom([]string{"", "speed", "price"}).Draw(t, "aspect"),
		ScoreMicros: maybe(rapid.OneOf(rapid.Int64Range(-1, 12), rapid.Int64Range(0, 12_000_000), rapid.SampledFrom([]int64{-most, 1_000_000, 3_000_000, 5_000_000, most}))).Draw(t, "score"),
		MinMicros:   maybe(rapid.SampledFrom([]int64{-most, 0, 1_000_000, 5_000_000})).Draw(t, "least"),
		MaxMicros:   maybe(rapid.SampledFrom([]int64{0, 7, 1_000_000, 3_000_000, 10_000_000, most})).Draw(t, "most"),
	}
}

// modelTicket is all that was told of one ticket, in order.
type modelTicket struct {
	opened, replies, resolved []int64
	state                     []profile.Event
	topic                     string
}

func (m *model) service(p *queryv1.Profile) {
	tickets := map[string]*modelTicket{}
	s := &queryv1.Service{}
	for _, ev := range m.events {
		kind, at := ev.Header.Type, ev.Header.OccurredAt
		if kind == eventsv1.Type_TYPE_RATING_GIVEN {
			m.rating(s, ev.Body.GetRating())
		}
		if !strings.HasPrefix(kind.String(), "TYPE_TICKET_") {
			continue
		}
		told := ev.Body.GetTicket()
		id := cmp.Or(told.GetTicketId(), ev.Header.EventId)
		if tickets[id] == nil {
			tickets[id] = &modelTicket{}
		}
		row := tickets[id]
		row.topic = cmp.Or(strings.TrimSpace(told.GetTopic()), row.topic)
		switch kind {
		case opened:
			row.opened = append(row.opened, at)
		case replied:
			if author := strings.ToLower(told.GetAuthor()); author == "" || author == "agent" || author == "staff" {
				row.replies = append(row.replies, at)
			}
			continue
		case resolved:
			row.resolved = append(row.resolved, at)
		case reopened:
			s.Reopened++
		}
		row.state = append(row.state, ev)
	}
	var responses, resolutions []*big.Int
	for _, row := range tickets {
		s.Opened++
		if row.done() {
			s.Resolved++
		} else {
			s.Open++
		}
		if row.topic != "" {
			if s.Topics == nil {
				s.Topics = map[string]uint32{}
			}
			s.Topics[row.topic]++
		}
		if len(row.opened) == 0 {
			continue
		}
		from := slices.Min(row.opened)
		early := map[int64]bool{}
		var first []int64
		for _, at := range row.replies {
			if at < from {
				early[at] = true
			} else {
				first = append(first, at)
			}
		}
		switch {
		case len(early) >= profile.MaxReplies:
			m.flags["approximate"] = true
		case len(first) > 0:
			responses = append(responses, big.NewInt(slices.Min(first)-from))
		}
		if n := len(row.resolved); n > 0 && row.resolved[n-1] >= from {
			resolutions = append(resolutions, big.NewInt(row.resolved[n-1]-from))
		}
	}
	s.FirstResponseMinutes, s.ResolutionMinutes = modelMean(responses, 60_000_000), modelMean(resolutions, 60_000_000)
	if s.Opened > 0 || s.Rating != nil {
		p.Service = s
	}
}

// done: what was told last decides; of one instant an opening was before all.
func (t *modelTicket) done() bool {
	slices.SortStableFunc(t.state, func(a, b profile.Event) int {
		isOther := func(ev profile.Event) int {
			if ev.Header.Type == opened {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.Header.OccurredAt, b.Header.OccurredAt), cmp.Compare(isOther(a), isOther(b)))
	})
	if len(t.state) == 0 {
		return false
	}
	last := t.state[len(t.state)-1].Header.Type
	return last == resolved || last == closed
}

// rating works out a score as a fraction.
func (m *model) rating(s *queryv1.Service, told *eventsv1.Rating) {
	if told.ScoreMicros == nil {
		return
	}
	least, most, score := int64(1_000_000), int64(5_000_000), *told.ScoreMicros
	if told.MinMicros != nil {
		least = *told.MinMicros
	}
	if told.MaxMicros != nil {
		most = *told.MaxMicros
	}
	if least >= most || score > most {
		return
	}
	above := new(big.Int).Sub(big.NewInt(max(score, least)), big.NewInt(least))
	span := new(big.Int).Sub(big.NewInt(most), big.NewInt(least))
	exact := halfEven(above.Mul(above, big.NewInt(100_000_000)), span)

	if s.Rating == nil {
		s.Rating = &queryv1.Rating{}
		m.scores, m.aspects = nil, map[string][]*big.Int{}
	}
	r := s.Rating
	m.scores = append(m.scores, exact)
	r.Count, r.Mean, r.Last = uint32(len(m.scores)), *modelMean(m.scores, 1_000_000), *modelMean([]*big.Int{exact}, 1_000_000)
	if told.Aspect == "" {
		return
	}
	if r.ByAspect == nil {
		r.ByAspect = map[string]*queryv1.AspectRating{}
	}
	m.aspects[told.Aspect] = append(m.aspects[told.Aspect], exact)
	scores := m.aspects[told.Aspect]
	r.ByAspect[told.Aspect] = &queryv1.AspectRating{Count: uint32(len(scores)), Mean: *modelMean(scores, 1_000_000)}
}

func modelMean(list []*big.Int, unit int64) *float64 {
	if len(list) == 0 {
		return nil
	}
	sum := new(big.Int)
	for _, n := range list {
		sum.Add(sum, n)
	}
	mean, _ := new(big.Rat).SetFrac(sum, big.NewInt(unit*int64(len(list)))).Float64()
	return &mean
}

// TestScores: which ratings count, and as what.
func TestScores(t *testing.T) {
	t.Parallel()
	micros := func(units float64) *int64 { return new(int64(math.Round(units * 1_000_000))) }
	for _, c := range []struct {
		name   string
		rating *eventsv1.Rating
		want   float64 // negative: it does not count
	}{
		{"the least of five", &eventsv1.Rating{ScoreMicros: micros(1)}, 0},
		{"four of five", &eventsv1.Rating{ScoreMicros: micros(4)}, 75},
		{"the greatest of five", &eventsv1.Rating{ScoreMicros: micros(5)}, 100},
		{"half a star", &eventsv1.Rating{ScoreMicros: micros(4.5)}, 87.5},
		{"beyond five", &eventsv1.Rating{ScoreMicros: micros(5.000001)}, -1},
		{"none of five", &eventsv1.Rating{ScoreMicros: micros(0)}, 0},
		{"0 of 0 to 10", &eventsv1.Rating{ScoreMicros: micros(0), MinMicros: micros(0), MaxMicros: micros(10)}, 0},
		{"0 of up to 10", &eventsv1.Rating{ScoreMicros: micros(0), MaxMicros: micros(10)}, 0},
		{"10 of up to 10", &eventsv1.Rating{ScoreMicros: micros(10), MaxMicros: micros(10)}, 100},
		{"7 of 0 to 10", &eventsv1.Rating{ScoreMicros: micros(7), MinMicros: micros(0), MaxMicros: micros(10)}, 70},
		{"a third, rounded down", &eventsv1.Rating{ScoreMicros: micros(1), MinMicros: micros(0), MaxMicros: micros(3)}, 33.333333},
		{"two thirds, rounded up", &eventsv1.Rating{ScoreMicros: micros(2), MinMicros: micros(0), MaxMicros: micros(3)}, 66.666667},
		{"half a micro to even, down", &eventsv1.Rating{ScoreMicros: proto.Int64(1), MinMicros: micros(0), MaxMicros: micros(200)}, 0},
		{"half a micro to even, up", &eventsv1.Rating{ScoreMicros: proto.Int64(3), MinMicros: micros(0), MaxMicros: micros(200)}, 0.000002},
		{"below zero", &eventsv1.Rating{ScoreMicros: micros(-5), MinMicros: micros(-10), MaxMicros: micros(10)}, 25},
		{"no score", &eventsv1.Rating{MinMicros: micros(0), MaxMicros: micros(10)}, -1},
		{"no rating", nil, -1},
		{"a scale of nothing", &eventsv1.Rating{ScoreMicros: micros(5), MinMicros: micros(5)}, -1},
		{"a scale upside down", &eventsv1.Rating{ScoreMicros: micros(2), MinMicros: micros(5), MaxMicros: micros(1)}, -1},
		{"the widest scale", &eventsv1.Rating{ScoreMicros: proto.Int64(math.MaxInt64), MinMicros: proto.Int64(math.MinInt64), MaxMicros: proto.Int64(math.MaxInt64)}, 100},
		{"the middle of it", &eventsv1.Rating{ScoreMicros: proto.Int64(0), MinMicros: proto.Int64(math.MinInt64), MaxMicros: proto.Int64(math.MaxInt64)}, 50},
	} {
		_, p := inOrders(t, []profile.Event{rated(0, c.rating)})
		if r := p.GetService().GetRating(); r == nil {
			if c.want >= 0 {
				t.Errorf("%s: not counted, want %g", c.name, c.want)
			}
		} else if r.Count != 1 || r.Mean != c.want || r.Last != c.want {
			t.Errorf("%s: %d of mean %g, last %g, want %g", c.name, r.Count, r.Mean, r.Last, c.want)
		}
	}
}

// TestTicketOfOneDay: an export that knows days only tells opening and
// resolution of one instant, in whatever order of ids. The ticket is resolved.
func TestTicketOfOneDay(t *testing.T) {
	t.Parallel()
	for _, ids := range [][2]string{{"a", "b"}, {"b", "a"}} {
		for kind, open := range map[eventsv1.Type]uint32{resolved: 0, closed: 0, reopened: 1} {
			history := []profile.Event{ticket(0, opened, &eventsv1.Ticket{TicketId: "T"}), ticket(0, kind, &eventsv1.Ticket{TicketId: "T"})}
			history[0].Header.EventId, history[1].Header.EventId = ids[0], ids[1]
			_, p := inOrders(t, history)
			if got := p.Service.Open; got != open || p.Service.Opened != 1 {
				t.Errorf("opened and %v of one instant, ids %v: %d open of %d, want %d of 1", kind, ids, got, p.Service.Opened, open)
			}
		}
	}
}

// TestReplies: the first reply is found however many came before the opening
// was known, up to the bound; beyond it the time is left out, and flagged.
func TestReplies(t *testing.T) {
	t.Parallel()
	const openedAt = 1_000
	history := func(early int) []profile.Event {
		list := []profile.Event{ticket(openedAt, opened, nil), ticket(openedAt+120, replied, nil), ticket(openedAt+60, replied, nil)}
		for i := range early {
			list = append(list, ticket(i, replied, nil))
		}
		for i := range list {
			list[i].Body = &eventsv1.Event{Payload: &eventsv1.Event_Ticket{Ticket: &eventsv1.Ticket{TicketId: "T"}}}
		}
		return list
	}
	for early := range profile.MaxReplies + 2 {
		facts, p := inOrders(t, history(early))
		sure := early < profile.MaxReplies
		if got := p.Service.FirstResponseMinutes; (got != nil) != sure || sure && *got != 1 || isApproximate(p) == sure {
			t.Errorf("%d replies before the opening: first response %v, approximate %t; want it known: %t", early, got, isApproximate(p), sure)
		}
		// An earlier opening makes the first of them the first reply.
		earlier := append(history(early), ticket(0, opened, &eventsv1.Ticket{TicketId: "T"}))
		earlier[len(earlier)-1].Header.EventId = "earlier"
		_, p = inOrders(t, earlier)
		want := float64(0)
		if early == 0 {
			want = (openedAt + 60) / 60.
		}
		if got := p.Service.FirstResponseMinutes; got == nil || math.Abs(*got-want) > 1e-9 || isApproximate(p) {
			t.Errorf("%d replies after an earlier opening: %v, want %g; approximate %t", early, got, want, isApproximate(p))
		}
		if !sure {
			// What is approximate is not in the digest.
			_, other := inOrders(t, append(history(early), ticket(openedAt+1, replied, &eventsv1.Ticket{TicketId: "T"})))
			if _, same := inOrders(t, history(early)); other.Digest != same.Digest {
				t.Errorf("%d replies: a digest of what is unsure (%v)", early, facts.Service)
			}
		}
	}
}

// TestLongTicketIDs: tickets of long ids are told apart, and a row's id is
// bounded.
func TestLongTicketIDs(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", profile.MaxRowIDBytes)
	list := []profile.Event{
		ticket(0, opened, &eventsv1.Ticket{TicketId: long}), ticket(1, opened, &eventsv1.Ticket{TicketId: long + "a"}),
		ticket(2, opened, &eventsv1.Ticket{TicketId: long + "b"}), ticket(3, resolved, &eventsv1.Ticket{TicketId: long + "b"}),
	}
	facts, rows := fold(t, newEnv(t), list, nil)
	if s := facts.Service; s.Opened != 3 || s.Open != 2 || s.Resolved != 1 {
		t.Errorf("%d tickets, %d open, %d resolved; want 3, 2, 1", s.Opened, s.Open, s.Resolved)
	}
	for key := range rows {
		if len(key) > 1+profile.MaxRowIDBytes {
			t.Errorf("row id of %d bytes, limit %d", len(key)-1, profile.MaxRowIDBytes)
		}
	}
}

// TestLongLabels: topics and aspects are cut at their bound.
func TestLongLabels(t *testing.T) {
	t.Parallel()
	label := longText(0, profile.MaxLabelBytes)
	for _, more := range []string{"", "x", "𠮷"} {
		_, p := inOrders(t, []profile.Event{ticket(0, opened, &eventsv1.Ticket{Topic: label + more}), rated(1, &eventsv1.Rating{Aspect: label + more, ScoreMicros: proto.Int64(2_000_000)})})
		if p.Service.Topics[label] != 1 || p.Service.Rating.ByAspect[label].GetCount() != 1 {
			t.Errorf("label of %d bytes: topics %v, ratings %v; want it cut at %d", len(label+more), p.Service.Topics, p.Service.Rating.ByAspect, len(label))
		}
	}
}

// TestLabelLimits: topics and aspects at their bound and one beyond. A topic
// that another outdid has no tickets, and takes room.
func TestLabelLimits(t *testing.T) {
	t.Parallel()
	history := []profile.Event{ticket(0, opened, &eventsv1.Ticket{TicketId: "T", Topic: "outdone"}), ticket(1, opened, &eventsv1.Ticket{TicketId: "T", Topic: "0"})}
	score := int64(2_000_000)
	history = append(history, rated(2, &eventsv1.Rating{Aspect: "0", ScoreMicros: &score}), rated(3, &eventsv1.Rating{Aspect: "-", ScoreMicros: &score}))
	more := func(i int) []profile.Event {
		return []profile.Event{
			ticket(10*i, opened, &eventsv1.Ticket{TicketId: fmt.Sprint(i), Topic: fmt.Sprint(i)}), rated(10*i+1, &eventsv1.Rating{Aspect: fmt.Sprint(i), ScoreMicros: &score}),
		}
	}
	for i := 1; i < profile.MaxKeys-1; i++ {
		history = append(history, more(i)...)
	}
	_, p := inOrders(t, history)
	if topics, aspects := len(p.Service.Topics), len(p.Service.Rating.ByAspect); topics != profile.MaxKeys-1 || aspects != profile.MaxKeys || isApproximate(p) {
		t.Errorf("at the bound: %d topics of tickets, %d aspects, approximate %t; want %d, %d", topics, aspects, isApproximate(p), profile.MaxKeys-1, profile.MaxKeys)
	}
	_, q := inOrders(t, append(history, more(profile.MaxKeys)...))
	if topics, aspects := len(q.Service.Topics), len(q.Service.Rating.ByAspect); topics != 0 || aspects != 0 || !isApproximate(q) {
		t.Errorf("one beyond: %d topics, %d aspects, approximate %t; want none", topics, aspects, isApproximate(q))
	}
	if q.Service.Opened != p.Service.Opened+1 || q.Service.Rating.Count != p.Service.Rating.Count+1 {
		t.Errorf("one beyond: %d tickets, %d ratings; want %d, %d", q.Service.Opened, q.Service.Rating.Count, p.Service.Opened+1, p.Service.Rating.Count+1)
	}
}

// TestServiceDigestGolden: these digests are for ever, as [TestDigestGolden]'s.
func TestServiceDigestGolden(t *testing.T) {
	t.Parallel()
	score, revenue := int64(4_000_000), int64(5)
	tickets := []profile.Event{
		ticket(0, opened, &eventsv1.Ticket{TicketId: "T", Topic: "billing"}), ticket(60, replied, &eventsv1.Ticket{TicketId: "T"}),
		ticket(90, resolved, &eventsv1.Ticket{TicketId: "T"}), ticket(95, reopened, &eventsv1.Ticket{TicketId: "T"}), ticket(100, opened, nil),
	}
	ratings := []profile.Event{rated(0, &eventsv1.Rating{ScoreMicros: &score}), rated(1, &eventsv1.Rating{ScoreMicros: &score, Aspect: "speed", MaxMicros: proto.Int64(10_000_000)})}
	referrals := []profile.Event{
		referral(0, made, logv1.Role_ROLE_SUBJECT, "bob", nil), referral(1, converted, logv1.Role_ROLE_REFERRER, "bob", &eventsv1.Referral{RevenueMicros: &revenue}),
		at(2, eventsv1.Type_TYPE_CONTENT_SHARED, &eventsv1.Event{}),
	}
	for _, c := range []struct {
		name    string
		history []profile.Event
		want    string
	}{
		{"tickets", tickets, "d414edb0de2b6df3c097ba7aa0f4eb38a5449c934cde1548cdc407ce5a714001"},
		{"ratings", ratings, "02a72a6bcef5ee65eb6a175fbcdbb21e3bd1498edf8a39bd128e75bc15bd3ae2"},
		{"referrals", referrals, "90f3868e066e2cc27005f709a51e224ec226755fb6b28e24cb361fd4e9d17af1"},
	} {
		if got := digestOf(t, c.history); got != c.want {
			t.Errorf("%s: digest %s, want %s", c.name, got, c.want)
		}
	}
}

// TestLongSums: a sum of times beyond an int64 is exact still.
func TestLongSums(t *testing.T) {
	t.Parallel()
	const far = 250_000_000_000 // seconds, nearly 8,000 years
	var list []profile.Event
	for i := range 50 {
		id := fmt.Sprint(i)
		list = append(list, ticket(i, opened, &eventsv1.Ticket{TicketId: id}), ticket(far+i+60*(i%2), resolved, &eventsv1.Ticket{TicketId: id}))
	}
	_, p := inOrders(t, list)
	if got, want := p.Service.GetResolutionMinutes(), (far+30)/60.; got != want {
		t.Errorf("mean %v minutes, want %v", got, want)
	}
}

// BenchmarkApplyTicket: one event of a ticket that is known, of a customer with
// a hundred more.
func BenchmarkApplyTicket(b *testing.B) {
	facts, rows, env := seasoned(b)
	for i := range 100 {
		if err := profile.Apply(facts, ticket(i, opened, &eventsv1.Ticket{TicketId: fmt.Sprint(i), Topic: fmt.Sprint("topic ", i%20)}), rows, env); err != nil {
			b.Fatal(err)
		}
	}
	kinds := []eventsv1.Type{replied, resolved, reopened, closed}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		ev := ticket(1_000+n, kinds[n%len(kinds)], &eventsv1.Ticket{TicketId: fmt.Sprint(n % 100)})
		if err := profile.Apply(facts, ev, rows, env); err != nil {
			b.Fatal(err)
		}
		n++
	}
}

// worstService fills the section to its bounds, and one row. It begins to count
// its events at n.
func worstService(n int) (list []profile.Event) {
	score, next := int64(4_999_999), func() int { n++; return n }
	for i := range profile.MaxKeys {
		list = append(list, ticket(next(), opened, &eventsv1.Ticket{TicketId: fmt.Sprint("topic ", i), Topic: longText(i, profile.MaxLabelBytes+30)}),
			rated(next(), &eventsv1.Rating{Aspect: longText(i, profile.MaxLabelBytes+30), ScoreMicros: &score}))
	}
	for range 2 * profile.MaxReplies {
		list = append(list, ticket(next(), replied, &eventsv1.Ticket{TicketId: longText(0, 30_000), Topic: longText(0, 600)}))
	}
	return list
}

// payload of stories: ticket=, topic=, author=; aspect=, score=, min=, max=.
func (b *eventBuilder) service(section string) {
	if section == "rating" {
		b.body.Payload = &eventsv1.Event_Rating{Rating: &eventsv1.Rating{
			TicketId: b.set["ticket"], Aspect: b.set["aspect"], ScoreMicros: b.micros("score"), MinMicros: b.micros("min"), MaxMicros: b.micros("max"),
		}}
		return
	}
	b.body.Payload = &eventsv1.Event_Ticket{Ticket: &eventsv1.Ticket{TicketId: b.set["ticket"], Topic: b.set["topic"], Author: b.set["author"]}}
}
