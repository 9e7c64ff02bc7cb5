package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// What one screen shows of a list; --json shows all.
const (
	maxShownItems    = 8
	maxShownProducts = 3
	maxShownCauses   = 2
	maxValueColumns  = 72
)

// get prints one customer's profile.
func get(ctx context.Context, std stdio, args []string) error {
	c := newClient(std, "get", "get REF [flags]",
		"Prints one customer's profile. With --json: the answer of GetProfile, which is\n{profile, freshness}.")
	receipt := c.flags.String("receipt", "", "wait until what this `token` of an ingest answer acknowledged is in the profile")
	var sections list
	c.flags.Var(&sections, "section", "only this `section` (orders, traits, …); repeatable")
	refs, err := c.parse(args, "REF")
	if err != nil {
		return err
	}
	c.customer = refs[0]
	ctx, cancel := context.WithTimeout(ctx, maxMoveWait)
	defer cancel()
	resp, err := c.profile(ctx, &queryv1.GetProfileRequest{Customer: c.customer, Receipt: *receipt, Sections: sections})
	if err != nil {
		return err
	}
	if c.json {
		return printJSON(std.out, resp)
	}
	return printerFor(c.lang).profile(std.out, resp)
}

// sheet is a profile on one screen: a label, and the lines that belong to it.
type sheet struct {
	table
}

// row adds lines under a label; no lines, no row.
func (s *sheet) row(label string, lines ...string) {
	for _, line := range lines {
		s.add(label, line)
		label = ""
	}
}

func (p printer) profile(w io.Writer, resp *queryv1.GetProfileResponse) error {
	c := resp.GetProfile()
	name := c.GetName()
	if name == "" {
		name = c.GetCustomerId()
	}
	if _, err := fmt.Fprintf(w, "%s\n%s%s%s%s%s\n\n", cut(plain(name), maxValueColumns), p.kind(c.GetKind()), p.list, p.identity(c), p.list, c.GetCustomerId()); err != nil {
		return err
	}
	s := &sheet{}
	s.row(p.stage, p.lifecycleLines(c.GetLifecycle())...)
	if c.GetFirstSeenAt() != nil {
		s.row(p.seen, p.instant(c.GetFirstSeenAt())+" – "+p.instant(c.GetLastSeenAt()))
	}
	p.belongingRows(s, c)
	p.orderRows(s, c.GetOrders())
	s.row(p.engagement, p.engagementLines(c.GetEngagement())...)
	s.row(p.acquisition, p.acquisitionLines(c.GetAcquisition())...)
	s.row(p.service, p.serviceLines(c.GetService())...)
	s.row(p.interactions, p.interactionLines(c.GetInteractions())...)
	s.row(p.referrals, p.referralLines(c.GetReferrals())...)
	s.row(p.identifiers, p.identifierLines(c.GetIdentifiers())...)
	s.row(p.aliases, p.bounded(c.GetAliases())...)
	s.row(p.traits, p.traitLines(c.GetTraits())...)
	s.row(p.custom, p.customLines(c.GetCustom())...)
	if len(c.GetFlags()) > 0 {
		s.row(p.flags, p.flagWords(c.GetFlags()))
	}
	s.row(p.freshness, p.freshnessLine(resp.GetFreshness()))
	return s.write(w)
}

func (p printer) kind(kind string) string {
	if kind == "company" {
		return p.company
	}
	return p.person
}

func (p printer) identity(c *queryv1.Profile) string {
	if c.GetIdentified() {
		return p.identified
	}
	return p.unidentified
}

func (p printer) lifecycleLines(l *queryv1.Lifecycle) []string {
	if l == nil {
		return nil
	}
	line := p.stageName(l.GetStage()) + p.list + p.since + " " + p.instant(l.GetSince())
	if l.Previous != nil {
		line += p.list + p.before + p.colon + p.stageName(l.GetPrevious())
	}
	lines := []string{line}
	if cause := l.GetCause(); cause != nil {
		why := p.because + p.colon + p.causeName(cause.GetKind())
		if ids := cause.GetEventIds(); len(ids) > 0 {
			why += " " + plain(strings.Join(ids[:min(len(ids), maxShownCauses)], ", "))
			if more := len(ids) - maxShownCauses; more > 0 {
				why += fmt.Sprintf(" +%d", more)
			}
		}
		if at := cause.GetAt(); at != nil {
			why += " (" + p.instant(at) + ")"
		}
		lines = append(lines, cut(why, maxValueColumns+20))
	}
	return lines
}

func (p printer) causeName(kind string) string {
	if name := p.causes[kind]; name != "" {
		return name
	}
	return kind
}

func (p printer) orderRows(s *sheet, o *queryv1.Orders) {
	if o == nil {
		return
	}
	counts := []string{p.number(int64(o.GetCount()))}
	if o.GetCancelled() > 0 {
		counts = append(counts, fmt.Sprintf(p.cancelledFormat, p.number(int64(o.GetCancelled()))))
	}
	if o.GetRefunds() > 0 {
		counts = append(counts, fmt.Sprintf(p.refundsFormat, p.number(int64(o.GetRefunds()))))
	}
	lines := []string{strings.Join(counts, p.list)}
	if o.GetFirstAt() != nil {
		lines[0] += p.list + p.instant(o.GetFirstAt()) + " – " + p.instant(o.GetLastAt())
	}
	if o.MedianIntervalDays != nil {
		rhythm := p.median + " " + p.days(o.GetMedianIntervalDays())
		if o.GetUnits() != "" { // no lines were told, or all was returned
			rhythm += p.list + p.units + " " + p.amount(o.GetUnits())
		}
		lines = append(lines, rhythm)
	}
	s.row(p.orders, lines...)
	s.row(p.revenue, p.revenueLines(o)...)
	s.row(p.products, p.productLines(o.GetTopProducts())...)
	s.row(p.cart, p.cartLines(o.GetOpenCart())...)
}

// days is a number of days.
func (p printer) days(v float64) string {
	if v == 1 {
		return p.oneDay
	}
	return fmt.Sprintf(p.daysFormat, strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0"))
}

func (p printer) revenueLines(o *queryv1.Orders) []string {
	var sums []string
	for _, m := range o.GetNetRevenueByCurrency() {
		sums = append(sums, p.money(m))
	}
	if len(sums) == 0 && o.GetNetRevenue() != nil {
		sums = append(sums, p.money(o.GetNetRevenue()))
	}
	if len(sums) == 0 {
		return nil
	}
	if m := o.GetRevenue12M(); m != nil {
		sums[0] += " (" + p.months12 + p.colon + p.money(m) + ")"
	}
	return p.bounded(sums)
}

func (p printer) productLines(products []*queryv1.ProductTotal) []string {
	var lines []string
	for _, t := range products[:min(len(products), maxShownProducts)] {
		name := t.GetName()
		if name == "" {
			name = t.GetProductId()
		}
		lines = append(lines, cut(plain(name), maxValueColumns)+p.list+fmt.Sprintf(p.boughtFormat, p.amount(t.GetUnits())))
	}
	return lines
}

func (p printer) cartLines(cart *queryv1.Cart) []string {
	if cart == nil {
		return nil
	}
	line := fmt.Sprintf(p.itemsFormat, len(cart.GetItems())) + p.list + p.since + " " + p.instant(cart.GetSince())
	if cart.GetCheckout() {
		line += p.list + p.checkout
	}
	return []string{line}
}

func (p printer) engagementLines(e *queryv1.Engagement) []string {
	if e == nil {
		return nil
	}
	lines := []string{fmt.Sprintf(p.viewsFormat, p.number(int64(e.GetPageViews())), p.number(int64(e.GetPageViews30D()))) +
		p.list + fmt.Sprintf(p.sessionsFormat, p.number(int64(e.GetSessions())))}
	if e.LastPageUrl != nil {
		lines = append(lines, p.lastPage+" "+cut(plain(e.GetLastPageUrl()), maxValueColumns))
	}
	return lines
}

func (p printer) identifierLines(identifiers []*queryv1.Identifier) []string {
	var lines []string
	for _, id := range identifiers {
		lines = append(lines, cut(plain(id.GetType()+":"+id.GetValue()), maxValueColumns))
	}
	return p.bounded(lines)
}

func (p printer) traitLines(traits map[string]*queryv1.Trait) []string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(traits)) {
		lines = append(lines, p.traitLine(name, traits[name]))
	}
	return p.bounded(lines)
}

func (p printer) traitLine(name string, t *queryv1.Trait) string {
	line := plain(name) + " = " + p.traitValue(t)
	if t.GetManual() {
		line += " (" + p.manual + ")"
	}
	return line
}

// traitValue is a trait's value as JSON; it came as such and goes back without
// loss.
func (p printer) traitValue(t *queryv1.Trait) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(t.GetValue().AsInterface()); err != nil {
		return p.unknown
	}
	return cut(plain(strings.TrimSpace(b.String())), maxValueColumns)
}

func (p printer) customLines(custom map[string]*queryv1.Custom) []string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(custom)) {
		e := custom[name]
		lines = append(lines, cut(plain(name), maxValueColumns)+p.colon+fmt.Sprintf(p.timesFormat, p.number(int64(e.GetCount())), p.instant(e.GetLastAt())))
	}
	return p.bounded(lines)
}

// bounded keeps a list to what one screen holds.
func (p printer) bounded(lines []string) []string {
	if len(lines) <= maxShownItems {
		return lines
	}
	return append(lines[:maxShownItems:maxShownItems], fmt.Sprintf(p.moreFormat, len(lines)-maxShownItems))
}

func (p printer) freshnessLine(f *queryv1.Freshness) string {
	at := p.instant(f.GetLogTime())
	if f.GetLagEvents() == 0 {
		return fmt.Sprintf(p.currentFormat, at)
	}
	return fmt.Sprintf(p.behindFormat, at, p.number(f.GetLagEvents()))
}
