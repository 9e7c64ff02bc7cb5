package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// maxTallied is how many of a section's words one line shows, the most told
// first.
const maxTallied = 5

// belongingRows show a person's companies, the newest first, and how many
// persons a company has.
func (p printer) belongingRows(s *sheet, c *queryv1.Profile) {
	var lines []string
	for _, m := range slices.Backward(c.GetMemberships()) {
		company := m.GetCompany().GetType() + ":" + m.GetCompany().GetValue()
		span := p.since + " " + p.instant(m.GetSince())
		if m.GetUntil() != nil {
			span = p.instant(m.GetSince()) + " – " + p.instant(m.GetUntil())
		}
		lines = append(lines, cut(plain(company), maxValueColumns)+p.list+span)
	}
	s.row(p.memberships, p.bounded(lines)...)
	if c.GetMembers() > 0 {
		s.row(p.members, p.number(int64(c.GetMembers())))
	}
}

func (p printer) acquisitionLines(a *queryv1.Acquisition) []string {
	if a.GetTouches() == 0 {
		return nil
	}
	touches := fmt.Sprintf(p.touchesFormat, p.count(a.GetTouches()))
	if a.GetAdViews() > 0 {
		touches += p.list + fmt.Sprintf(p.adViewsFormat, p.count(a.GetAdViews()))
	}
	if a.GetAdClicks() > 0 {
		touches += p.list + fmt.Sprintf(p.adClicksFormat, p.count(a.GetAdClicks()))
	}
	lines := []string{touches}
	if t := a.GetFirstTouch(); t != nil {
		lines = append(lines, p.firstTouch+" "+p.touch(t))
	}
	// Of a single touch the first is the last.
	if t := a.GetLastTouch(); t != nil && a.GetTouches() > 1 {
		lines = append(lines, p.lastTouch+" "+p.touch(t))
	}
	if len(a.GetByChannel()) > 0 {
		lines = append(lines, p.channels+p.colon+p.tally(a.GetByChannel(), p.channelNames))
	}
	if len(a.GetCampaigns()) > 0 {
		lines = append(lines, p.campaigns+p.colon+p.tally(a.GetCampaigns(), nil))
	}
	return lines
}

// touch says by what an advertisement or a visit came, and when.
func (p printer) touch(t *queryv1.Touch) string {
	from := p.word(p.channelNames, t.GetChannel())
	var by []string
	for _, part := range []string{t.GetSource(), t.GetMedium(), t.GetCampaign()} {
		if part != "" {
			by = append(by, plain(part))
		}
	}
	if len(by) > 0 {
		from += " (" + cut(strings.Join(by, " / "), maxValueColumns/2) + ")"
	}
	return from + p.list + p.instant(t.GetAt())
}

func (p printer) serviceLines(v *queryv1.Service) []string {
	var lines []string
	if v.GetOpened() > 0 || v.GetReopened() > 0 {
		counts := []string{fmt.Sprintf(p.ticketsFormat, p.count(v.GetOpened()))}
		for _, state := range []struct {
			format string
			n      uint32
		}{{p.openFormat, v.GetOpen()}, {p.resolvedFormat, v.GetResolved()}, {p.reopenedFormat, v.GetReopened()}} {
			if state.n > 0 {
				counts = append(counts, fmt.Sprintf(state.format, p.count(state.n)))
			}
		}
		lines = append(lines, strings.Join(counts, p.list))
	}
	var times []string
	if v != nil && v.FirstResponseMinutes != nil {
		times = append(times, p.firstResponse+" "+p.minutes(v.GetFirstResponseMinutes()))
	}
	if v != nil && v.ResolutionMinutes != nil {
		times = append(times, p.resolution+" "+p.minutes(v.GetResolutionMinutes()))
	}
	if len(times) > 0 {
		lines = append(lines, strings.Join(times, p.list))
	}
	if r := v.GetRating(); r.GetCount() > 0 {
		lines = append(lines, p.ratingLine(r))
	}
	if len(v.GetTopics()) > 0 {
		lines = append(lines, p.topics+p.colon+p.tally(v.GetTopics(), nil))
	}
	return lines
}

// ratingLine shows the mean of all ratings, the last one, and the means of the
// aspects rated most.
func (p printer) ratingLine(r *queryv1.Rating) string {
	line := fmt.Sprintf(p.ratingFormat, score(r.GetMean()), p.count(r.GetCount()), score(r.GetLast()))
	aspects := r.GetByAspect()
	names := slices.SortedFunc(maps.Keys(aspects), func(a, b string) int {
		return cmp.Or(cmp.Compare(aspects[b].GetCount(), aspects[a].GetCount()), strings.Compare(a, b))
	})
	shown := make([]string, 0, maxTallied+1)
	for _, name := range names[:min(len(names), maxTallied)] {
		shown = append(shown, cut(plain(name), maxTitleColumns/2)+" "+score(aspects[name].GetMean()))
	}
	if more := len(names) - maxTallied; more > 0 {
		shown = append(shown, fmt.Sprintf("+%d", more))
	}
	if len(shown) == 0 {
		return line
	}
	return line + p.semicolon + strings.Join(shown, p.list)
}

// score is a rating of 0 to 100.
func score(v float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") }

// minutes is a mean duration in the unit that people would use.
func (p printer) minutes(v float64) string {
	const hour, day = 60, 24 * 60
	format := p.minutesFormat
	switch {
	case v >= 2*day:
		v, format = v/day, p.daysFormat
	case v >= 2*hour:
		v, format = v/hour, p.hoursFormat
	}
	return fmt.Sprintf(format, strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0"))
}

func (p printer) referralLines(r *queryv1.Referrals) []string {
	var counts []string
	for _, kind := range []struct {
		format string
		n      uint32
	}{{p.madeFormat, r.GetMade()}, {p.convertedFormat, r.GetConverted()}, {p.sharesFormat, r.GetShares()}} {
		if kind.n > 0 {
			counts = append(counts, fmt.Sprintf(kind.format, p.count(kind.n)))
		}
	}
	var lines []string
	if len(counts) > 0 {
		lines = append(lines, strings.Join(counts, p.list))
	}
	var sums []string
	for _, m := range r.GetRevenueByCurrency() {
		sums = append(sums, p.money(m))
	}
	if len(sums) > 0 {
		lines = append(lines, p.referredRevenue+" "+strings.Join(p.bounded(sums), p.list))
	}
	if r != nil && r.ReferredBy != nil {
		lines = append(lines, p.referredBy+" "+plain(r.GetReferredBy()))
	}
	return lines
}

func (p printer) interactionLines(i *queryv1.Interactions) []string {
	if i.GetCount() == 0 {
		return nil
	}
	lines := []string{p.count(i.GetCount()) + p.directions(i.GetInbound(), i.GetOutbound())}
	var last []string
	if i.GetLastInboundAt() != nil {
		last = append(last, p.lastInbound+" "+p.instant(i.GetLastInboundAt()))
	}
	if i.GetLastOutboundAt() != nil {
		last = append(last, p.lastOutbound+" "+p.instant(i.GetLastOutboundAt()))
	}
	if len(last) > 0 {
		lines = append(lines, strings.Join(last, p.list))
	}
	channels := i.GetByChannel()
	names := slices.SortedFunc(maps.Keys(channels), func(a, b string) int {
		return cmp.Or(cmp.Compare(channels[b].GetCount(), channels[a].GetCount()), strings.Compare(a, b))
	})
	var by []string
	for _, name := range names {
		c := channels[name]
		by = append(by, p.word(p.interactionNames, name)+p.colon+p.count(c.GetCount())+
			p.directions(c.GetInbound(), c.GetOutbound())+p.list+p.last+" "+p.instant(c.GetLastAt()))
	}
	return append(lines, p.bounded(by)...)
}

// directions says how many of some interactions went which way; nothing if it
// was not told of any.
func (p printer) directions(inbound, outbound uint32) string {
	var parts []string
	if inbound > 0 {
		parts = append(parts, fmt.Sprintf(p.inboundFormat, p.count(inbound)))
	}
	if outbound > 0 {
		parts = append(parts, fmt.Sprintf(p.outboundFormat, p.count(outbound)))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, p.list) + ")"
}

// tally shows the greatest of some counts by name, and how many names are left.
func (p printer) tally(counts map[string]uint32, names map[string]string) string {
	sorted := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), strings.Compare(a, b))
	})
	var shown []string
	for _, name := range sorted[:min(len(sorted), maxTallied)] {
		shown = append(shown, p.word(names, name)+" "+p.count(counts[name]))
	}
	if more := len(sorted) - maxTallied; more > 0 {
		shown = append(shown, fmt.Sprintf("+%d", more))
	}
	return strings.Join(shown, p.list)
}

// word is a word of the service in the printer's language, or what a publisher
// wrote in its place.
func (p printer) word(names map[string]string, word string) string {
	if name := names[word]; name != "" {
		return name
	}
	return cut(plain(word), maxTitleColumns/2)
}

func (p printer) count(n uint32) string { return p.number(int64(n)) }

// flagWords shows flags: in Chinese each with the word that programs use.
func (p printer) flagWords(flags []string) string {
	shown := make([]string, len(flags))
	for i, flag := range flags {
		shown[i] = plain(flag)
		if name := p.flagNames[flag]; name != "" {
			shown[i] = name + " (" + flag + ")"
		}
	}
	return strings.Join(shown, p.list)
}
