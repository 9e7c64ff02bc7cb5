package profile

import (
	"fmt"
	"math/big"
	"math/bits"
	"slices"
	"strings"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// Service: the customer's tickets, how fast they were answered, and what he
// thinks of it. All fields are facts.
//
// A ticket is a row, one for each ticket_id that any ticket.* named (none told:
// the event id). The row keeps
//
//	opened_at    earliest ticket.opened
//	replies      those of agents that may be the first one: see [keepReply]
//	resolved_at  latest ticket.resolved
//	state        latest ticket.opened, .resolved, .reopened or .closed
//	topic        latest of those that told one
//
// What a row adds to the customer's totals ([ticketShare]) is a function of the
// row alone, and totals move by new − old. So events of a ticket may come in
// any order, and one told by the help desk and by the shop counts once.
//
// A ticket of which nobody told that it was opened is open until told
// otherwise, and has neither time: there is no saying how long it took.
//
// A rating is a score on the scale of 0 to 100, of whatever it rates: a rating
// of an aspect counts there and in the whole. See [scoreOf] for which count.

func foldService(f *statev1.Facts, a *application) error {
	switch kind := a.Header.GetType(); kind {
	case eventsv1.Type_TYPE_TICKET_OPENED,
		eventsv1.Type_TYPE_TICKET_REPLIED,
		eventsv1.Type_TYPE_TICKET_RESOLVED,
		eventsv1.Type_TYPE_TICKET_REOPENED,
		eventsv1.Type_TYPE_TICKET_CLOSED:
		return foldTicket(serviceOf(f), a)
	case eventsv1.Type_TYPE_RATING_GIVEN:
		if score, ok := scoreOf(a.Body.GetRating()); ok {
			foldRating(serviceOf(f), a, score)
		}
	}
	return nil
}

func serviceOf(f *statev1.Facts) *statev1.ServiceFacts {
	if f.Service == nil {
		f.Service = &statev1.ServiceFacts{Response: &statev1.Sum{}, Resolution: &statev1.Sum{}}
	}
	return f.Service
}

func foldTicket(s *statev1.ServiceFacts, a *application) error {
	id := ticketID(a)
	row := &statev1.TicketRow{}
	if err := getRow(a.rows, RowTicket, rowID(id), row); err != nil {
		return fmt.Errorf("load ticket %q: %w", id, err)
	}
	before := ticketShareOf(row)
	row.TicketId = id
	tellTicket(row, a)
	after := ticketShareOf(row)
	if err := putRow(a.rows, RowTicket, rowID(id), row); err != nil {
		return fmt.Errorf("store ticket %q: %w", id, err)
	}
	if a.Header.GetType() == eventsv1.Type_TYPE_TICKET_REOPENED {
		s.Reopened++
	}
	noteTopic(s, topicTold(a))
	if before != after {
		addTicket(s, &after, 1)
		addTicket(s, &before, -1)
	}
	return nil
}

func ticketID(a *application) string {
	if id := a.Body.GetTicket().GetTicketId(); id != "" {
		return id
	}
	return a.Header.GetEventId()
}

func topicTold(a *application) string { return label(a.Body.GetTicket().GetTopic()) }

// label bounds the name of a topic or an aspect, which is as told otherwise.
func label(told string) string { return cut(strings.TrimSpace(told), maxLabelBytes) }

// tellTicket takes an event into its ticket's row.
func tellTicket(row *statev1.TicketRow, a *application) {
	at := a.stamp.OccurredAt
	switch a.Header.GetType() {
	case eventsv1.Type_TYPE_TICKET_OPENED:
		if row.OpenedAt == 0 || at < row.OpenedAt {
			row.OpenedAt = at
			row.Replies = boundReplies(row.Replies, at)
		}
	case eventsv1.Type_TYPE_TICKET_REPLIED:
		if byAgent(a.Body.GetTicket()) {
			keepReply(row, at)
		}
	case eventsv1.Type_TYPE_TICKET_RESOLVED:
		row.ResolvedAt = max(row.ResolvedAt, at)
	}
	if a.Header.GetType() != eventsv1.Type_TYPE_TICKET_REPLIED && follows(a.stamp, row.State) {
		row.State = a.stamp
	}
	if topic := topicTold(a); topic != "" && outranks(a.stamp, row.TopicTold) {
		row.Topic, row.TopicTold = topic, a.stamp
	}
}

// byAgent reports whether a reply is the firm's, in the words of help desks for
// who wrote it. Those that tell only their own replies name no author. A
// robot's reply is no answer, nor is one of which only a person's name is told:
// it may be the customer's.
func byAgent(t *eventsv1.Ticket) bool {
	switch foldText(t.GetAuthor()) {
	case "", "agent", "admin", "staff", "operator", "representative", "support", "客服", "坐席":
		return true
	}
	return false
}

// follows reports whether an event has the last word on a ticket's state. Of
// the same instant, as of exports that know only days, the opening is the
// first: nothing can have come before it.
func follows(a, b *statev1.Stamp) bool {
	if b != nil && a.OccurredAt == b.OccurredAt {
		const opened = eventsv1.Type_TYPE_TICKET_OPENED
		if first, second := a.Type == opened, b.Type == opened; first != second {
			return second
		}
	}
	return outranks(a, b)
}

// keepReply keeps an agent's reply if it may be the first at or after the
// opening. An opening told later can only be an earlier one, so of the replies
// at or after the one known the first alone may be it; those before it all may.
// Of those the earliest maxReplies stay. What is left is a function of the set of
// events; if no reply after the opening is, the ticket's first is unsure.
func keepReply(row *statev1.TicketRow, at int64) {
	i, found := slices.BinarySearch(row.Replies, at)
	if !found {
		row.Replies = boundReplies(slices.Insert(row.Replies, i, at), row.OpenedAt)
	}
}

func boundReplies(replies []int64, openedAt int64) []int64 {
	if openedAt != 0 {
		if i, _ := slices.BinarySearch(replies, openedAt); i < len(replies) {
			replies = replies[:i+1]
		}
	}
	return replies[:min(len(replies), maxReplies)]
}

// ticketShare is what one row adds to a customer's totals.
type ticketShare struct {
	told, done, unsure   bool
	responded, resolved  bool
	response, resolution int64 // microseconds
	topic                string
}

func ticketShareOf(row *statev1.TicketRow) ticketShare {
	s := ticketShare{told: row.TicketId != "", topic: row.Topic}
	switch row.State.GetType() {
	case eventsv1.Type_TYPE_TICKET_RESOLVED, eventsv1.Type_TYPE_TICKET_CLOSED:
		s.done = true
	}
	if row.OpenedAt == 0 {
		return s
	}
	if n := len(row.Replies); n > 0 && row.Replies[n-1] >= row.OpenedAt {
		s.responded, s.response = true, row.Replies[n-1]-row.OpenedAt
	} else {
		s.unsure = n == maxReplies
	}
	if row.ResolvedAt >= row.OpenedAt {
		s.resolved, s.resolution = true, row.ResolvedAt-row.OpenedAt
	}
	return s
}

// addTicket adds a ticket's share to the totals, or takes it off.
func addTicket(s *statev1.ServiceFacts, t *ticketShare, sign int) {
	if !t.told {
		return
	}
	add := func(total *uint32, counts bool) {
		if counts {
			*total += uint32(sign)
		}
	}
	add(&s.Opened, true)
	add(&s.Open, !t.done)
	add(&s.Resolved, t.done)
	add(&s.Unsure, t.unsure)
	if t.responded {
		add(&s.Responses, true)
		s.Response = wideSum(s.Response).add(wideOf(int64(sign) * t.response)).message()
	}
	if t.resolved {
		add(&s.Resolutions, true)
		s.Resolution = wideSum(s.Resolution).add(wideOf(int64(sign) * t.resolution)).message()
	}
	if t.topic != "" && !s.TopicsApproximate {
		i, found := find(s.Topics, t.topic, (*statev1.KeyCount).GetKey)
		if !found {
			panic("not reached: every topic of a row was noted")
		}
		add(&s.Topics[i].Count, true)
	}
}

// noteTopic remembers every topic that any event told, whether or not it stands
// of its ticket. Only so is "more than maxKeys topics" a function of the set of
// events: what stands changes on the way.
func noteTopic(s *statev1.ServiceFacts, topic string) {
	if topic == "" || s.TopicsApproximate {
		return
	}
	i, found := find(s.Topics, topic, (*statev1.KeyCount).GetKey)
	switch {
	case found:
	case len(s.Topics) == maxKeys:
		s.Topics, s.TopicsApproximate = nil, true
	default:
		s.Topics = slices.Insert(s.Topics, i, &statev1.KeyCount{Key: topic})
	}
}

// countedTopics are the topics that tickets have now.
func countedTopics(s *statev1.ServiceFacts) []*statev1.KeyCount {
	var counted []*statev1.KeyCount
	for _, t := range s.Topics {
		if t.Count > 0 {
			counted = append(counted, t)
		}
	}
	return counted
}

const (
	defaultLeast, defaultMost = 1 * million, 5 * million // scale of a rating that tells none
	fullScore                 = 100 * million
)

// scoreOf is the score of a rating on the scale of 0 to 100, in micros, rounded
// half to even.
//
// A score beyond the greatest of its scale does not count, nor does one on a
// scale of nothing: it was given on another scale than the one told, and to
// count 9 of 5 as full marks would hide what the customer thinks. A score below
// the least counts as the least: nearly always it is the 0 of a scale of which
// the greatest score alone was told, and to leave out the worst ratings would
// make the mean a lie.
func scoreOf(r *eventsv1.Rating) (score int64, counts bool) {
	if r == nil || r.ScoreMicros == nil {
		return 0, false
	}
	least, most := int64(defaultLeast), int64(defaultMost)
	if r.MinMicros != nil {
		least = *r.MinMicros
	}
	if r.MaxMicros != nil {
		most = *r.MaxMicros
	}
	told := max(*r.ScoreMicros, least)
	if least >= most || told > most {
		return 0, false
	}
	// Unsigned, the differences are exact whatever was told.
	above, span := uint64(told)-uint64(least), uint64(most)-uint64(least)
	hi, lo := bits.Mul64(above, fullScore)
	quotient, rem := bits.Div64(hi, lo, span)
	if left := span - rem; rem > left || rem == left && quotient&1 == 1 {
		quotient++
	}
	return int64(quotient), true
}

func foldRating(s *statev1.ServiceFacts, a *application, score int64) {
	if s.Rating == nil {
		s.Rating = &statev1.RatingFacts{}
	}
	r := s.Rating
	r.Count++
	r.Sum += score
	if outranks(a.stamp, r.Rated) {
		r.Last, r.Rated = score, a.stamp
	}
	aspect := label(a.Body.GetRating().GetAspect())
	if aspect == "" || r.AspectsApproximate {
		return
	}
	i, found := find(r.Aspects, aspect, (*statev1.AspectFact).GetAspect)
	if !found {
		if len(r.Aspects) == maxKeys {
			r.Aspects, r.AspectsApproximate = nil, true
			return
		}
		r.Aspects = slices.Insert(r.Aspects, i, &statev1.AspectFact{Aspect: aspect})
	}
	r.Aspects[i].Count++
	r.Aspects[i].Sum += score
}

// encodeService: opened, resolved, reopened; unsure of replies; unless so,
// answered tickets and the sum of their times; resolved ones and the sum of
// theirs; approximate topics; unless so, list of (topic, tickets) of those that
// tickets have; ratings, the sum of their scores, the last score and its
// occurrence; approximate aspects; unless so, list of (aspect, ratings, sum).
func encodeService(e *encoder, f *statev1.Facts) {
	s := f.Service
	if s == nil {
		return
	}
	e.count(s.Opened)
	e.count(s.Resolved)
	e.count(s.Reopened)
	if e.bool(s.Unsure > 0); s.Unsure == 0 {
		e.count(s.Responses)
		e.sum(s.Response)
	}
	e.count(s.Resolutions)
	e.sum(s.Resolution)
	if e.bool(s.TopicsApproximate); !s.TopicsApproximate {
		topics := countedTopics(s)
		e.length(len(topics))
		for _, t := range topics {
			e.string(t.Key)
			e.count(t.Count)
		}
	}
	encodeRating(e, s.Rating)
}

func encodeRating(e *encoder, r *statev1.RatingFacts) {
	e.count(r.GetCount())
	e.int(r.GetSum())
	e.int(r.GetLast())
	e.int(r.GetRated().GetOccurredAt())
	if e.bool(r.GetAspectsApproximate()); !r.GetAspectsApproximate() {
		e.length(len(r.GetAspects()))
		for _, aspect := range r.GetAspects() {
			e.string(aspect.Aspect)
			e.count(aspect.Count)
			e.int(aspect.Sum)
		}
	}
}

func renderService(f *statev1.Facts, r *rendering) {
	r.into.Service = nil
	s := f.Service
	if s == nil {
		return
	}
	r.approximate = r.approximate || s.Unsure > 0 || s.TopicsApproximate || s.Rating.GetAspectsApproximate()
	const minute = 60 * million
	into := &queryv1.Service{
		Opened:               s.Opened,
		Open:                 s.Open,
		Resolved:             s.Resolved,
		Reopened:             s.Reopened,
		FirstResponseMinutes: mean(wideSum(s.Response), s.Responses, minute),
		ResolutionMinutes:    mean(wideSum(s.Resolution), s.Resolutions, minute),
	}
	if topics := countedTopics(s); len(topics) > 0 {
		into.Topics = make(map[string]uint32, len(topics))
		for _, t := range topics {
			into.Topics[t.Key] = t.Count
		}
	}
	if s.Rating != nil {
		into.Rating = renderRating(s.Rating)
	}
	r.into.Service = into
}

func renderRating(r *statev1.RatingFacts) *queryv1.Rating {
	into := &queryv1.Rating{
		Count: r.Count,
		Mean:  *mean(wideOf(r.Sum), r.Count, million),
		Last:  *mean(wideOf(r.Last), 1, million),
	}
	if len(r.Aspects) > 0 {
		into.ByAspect = make(map[string]*queryv1.AspectRating, len(r.Aspects))
		for _, aspect := range r.Aspects {
			into.ByAspect[aspect.Aspect] = &queryv1.AspectRating{Count: aspect.Count, Mean: *mean(wideOf(aspect.Sum), aspect.Count, million)}
		}
	}
	return into
}

// mean is sum / count in units, nil of nothing: the double nearest to the
// fraction, on every processor.
func mean(sum wide, count uint32, unit int64) *float64 {
	if count == 0 {
		return nil
	}
	n, fits := sum.int64()
	if d := int64(count) * unit; fits && uint64Abs(n) <= maxExactInteger && d <= maxExactInteger {
		quotient := float64(n) / float64(d) // both are exact, so it is rounded once
		return &quotient
	}
	hi, lo := sum.magnitude()
	exact := new(big.Rat).SetFrac(wide{int64(hi), lo}.big(), new(big.Int).Mul(big.NewInt(int64(count)), big.NewInt(unit)))
	if sum.isNegative() {
		exact.Neg(exact)
	}
	quotient, _ := exact.Float64()
	return &quotient
}
