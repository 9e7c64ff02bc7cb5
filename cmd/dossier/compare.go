package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

const (
	// maxSides is how many customers stand beside one another on a screen; the
	// rest come below.
	maxSides = 4
	// maxSideColumns holds a customer id.
	maxSideColumns = 30
	// shownDigest is how much of a digest tells two apart.
	shownDigest = 16
)

// side is a customer in a comparison: which state of him, and he.
type side struct {
	title   string
	profile *queryv1.Profile
}

// sides gives customers one title.
func sides(title string, profiles []*queryv1.Profile) []side {
	all := make([]side, len(profiles))
	for i, c := range profiles {
		all[i] = side{title, c}
	}
	return all
}

// comparisonWords are what a comparison says in one language; what a profile
// says too it takes from there.
type comparisonWords struct {
	now, wouldBe, customer, name, digest, companies, tickets string
	newCustomer                                              string
}

var comparisonsWords = map[string]comparisonWords{
	langEN: {
		now: "now", wouldBe: "would be", customer: "Customer", name: "Name", digest: "Digest", companies: "Member of", tickets: "Tickets",
		newCustomer: "(new)",
	},
	langZH: {
		now: "现状", wouldBe: "改动后", customer: "客户编号", name: "名称", digest: "摘要", companies: "所属公司", tickets: "工单",
		newCustomer: "（新）",
	},
}

func (p printer) comparison() comparisonWords { return comparisonsWords[p.lang] }

// sideBySide prints customers in columns, so that one sees which of them has
// what.
func (p printer) sideBySide(out io.Writer, all []side) error {
	first := true
	for some := range slices.Chunk(all, maxSides) {
		if !first {
			if _, err := fmt.Fprintln(out); err != nil {
				return err
			}
		}
		first = false
		if err := p.columnsOf(some).write(out); err != nil {
			return err
		}
	}
	return nil
}

// columnsOf is a table with a column a customer.
func (p printer) columnsOf(all []side) *table {
	w, t := p.comparison(), &table{}
	row := func(label string, cells func(side) []string) { t.addSides(label, all, cells) }
	one := func(label string, cell func(*queryv1.Profile) string) {
		row(label, func(s side) []string { return []string{cell(s.profile)} })
	}
	row("", func(s side) []string { return []string{s.title} })
	one(w.customer, func(c *queryv1.Profile) string {
		if c.GetCustomerId() == "" {
			return w.newCustomer
		}
		return c.GetCustomerId()
	})
	one(w.name, func(c *queryv1.Profile) string { return plain(c.GetName()) })
	one(p.stage, func(c *queryv1.Profile) string { return p.stageName(c.GetLifecycle().GetStage()) })
	row(p.seen, func(s side) []string { return p.seenLines(s.profile) })
	row(p.identifiers, func(s side) []string { return p.identifierLines(s.profile.GetIdentifiers()) })
	row(w.companies, func(s side) []string { return p.companyNames(s.profile) })
	one(p.members, func(c *queryv1.Profile) string { return p.some(c.GetMembers()) })
	one(p.orders, func(c *queryv1.Profile) string { return p.some(c.GetOrders().GetCount()) })
	row(p.revenue, func(s side) []string { return p.netRevenues(s.profile.GetOrders()) })
	row(p.engagement, func(s side) []string { return p.engagementCounts(s.profile.GetEngagement()) })
	one(w.tickets, func(c *queryv1.Profile) string { return p.some(c.GetService().GetOpened()) })
	one(p.interactions, func(c *queryv1.Profile) string { return p.some(c.GetInteractions().GetCount()) })
	one(p.custom, func(c *queryv1.Profile) string { return p.some(customCount(c)) })
	row(p.traits, func(s side) []string { return p.traitLines(s.profile.GetTraits()) })
	one(w.digest, func(c *queryv1.Profile) string { return cut(c.GetDigest(), shownDigest+1) })
	return t
}

// addSides adds what each side has under a label; what none has is no row.
func (t *table) addSides(label string, all []side, cells func(side) []string) {
	var columns [][]string
	lines := 0
	for _, s := range all {
		c := cells(s)
		if len(c) == 1 && c[0] == "" {
			c = nil
		}
		columns = append(columns, c)
		lines = max(lines, len(c))
	}
	for i := range lines {
		row := []string{label}
		for _, c := range columns {
			cell := ""
			if i < len(c) {
				cell = cut(c[i], maxSideColumns)
			}
			row = append(row, cell)
		}
		t.add(row...)
		label = ""
	}
}

// some is a number that is not shown where it is none.
func (p printer) some(n uint32) string {
	if n == 0 {
		return ""
	}
	return p.number(int64(n))
}

func (p printer) seenLines(c *queryv1.Profile) []string {
	if c.GetFirstSeenAt() == nil {
		return nil
	}
	return []string{p.instant(c.GetFirstSeenAt()) + " –", p.instant(c.GetLastSeenAt())}
}

func (p printer) companyNames(c *queryv1.Profile) []string {
	var names []string
	for _, m := range c.GetMemberships() {
		if m.GetUntil() == nil {
			names = append(names, plain(m.GetCompany().GetType()+":"+m.GetCompany().GetValue()))
		}
	}
	return p.bounded(names)
}

func (p printer) netRevenues(o *queryv1.Orders) []string {
	var sums []string
	for _, m := range o.GetNetRevenueByCurrency() {
		sums = append(sums, p.money(m))
	}
	return p.bounded(sums)
}

func (p printer) engagementCounts(e *queryv1.Engagement) []string {
	if e == nil {
		return nil
	}
	return []string{
		fmt.Sprintf(p.viewsFormat, p.number(int64(e.GetPageViews())), p.number(int64(e.GetPageViews30D()))),
		fmt.Sprintf(p.sessionsFormat, strconv.FormatUint(uint64(e.GetSessions()), 10)),
	}
}

func customCount(c *queryv1.Profile) (n uint32) {
	for _, e := range c.GetCustom() {
		n += e.GetCount()
	}
	return n
}
