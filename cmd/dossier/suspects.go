package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	suspected "github.com/dossier360/dossier/query/suspects" // suspects is a command
)

const suspectsHelp = `Pairs of customers that are probably the same although no identifier says so, the
likeliest first. They are proposed, never joined: a person decides.

  dossier suspects list [--customer REF] [--kind person|company] [--min-score S]
  dossier suspects join REF REF --reason TEXT [--dry-run]
  dossier suspects dismiss REF REF --reason TEXT [--dry-run]

Joined, the two are merged; dismissed, they are kept apart and not proposed again.
` + "`dossier suspects <word> -h`" + ` tells the flags.`

// maxShownReasons is how many reasons of a suspicion stand in its line.
const maxShownReasons = 4

// suspectWords are what suspicions say in one language.
type suspectWords struct {
	score, a, b, why string
	none, hint       string
	totalFormat      string            // pairs, when they were compared, customers
	crowdFormat, cut string            // what they share, how many share one of it
	hows             map[string]string // how two values compare
	fields           map[string]string // nil: as the service says
}

var suspectsWords = map[string]suspectWords{
	langEN: {
		score: "SCORE", a: "CUSTOMER", b: "PERHAPS THE SAME AS", why: "WHY",
		none:        "nobody is suspected to be somebody else",
		hint:        "the two as one: dossier suspects join A B --dry-run",
		totalFormat: "pairs: %s, as of %s, among %s customers",
		crowdFormat: "too many share a value of %s: of these %s customers not all were compared by it", cut: "more pairs were found than are kept: these are the likeliest",
		hows: map[string]string{"similar": "~", "swapped": "swapped", "differs": "≠"},
	},
	langZH: {
		score: "得分", a: "客户", b: "疑似同一客户", why: "依据",
		none:        "没有疑似重复的客户",
		hint:        "查看合并后的结果：dossier suspects join A B --dry-run",
		totalFormat: "共 %s 对，截至 %s，比较了 %s 个客户",
		crowdFormat: "%s相同的客户过多：这 %s 个客户未逐一比较", cut: "疑似重复过多，只保留可能性最大的",
		hows: map[string]string{"similar": "≈", "swapped": "互换", "differs": "≠"},
		fields: map[string]string{
			"given_name": "名", "family_name": "姓", "name": "姓名", "birth_date": "出生日期", "gender": "性别", "street_number": "门牌号",
			"street": "街道", "address_line_2": "地址第二行", "suburb": "区县", "city": "城市", "postcode": "邮编", "state": "省份", "address": "地址",
			"phone": "电话", "email": "邮箱", "company_name": "公司名称", "domain": "域名",
		},
	},
}

// suspects is `dossier suspects`.
func suspects(ctx context.Context, std stdio, args []string) error {
	return oneWord(std, "suspects", suspectsHelp, []string{"list", "join", "dismiss"}, args, map[string]func([]string) error{
		"list":    func(rest []string) error { return suspectsList(ctx, std, rest) },
		"join":    func(rest []string) error { return suspectsJoin(ctx, std, rest) },
		"dismiss": func(rest []string) error { return suspectsDismiss(ctx, std, rest) },
	})
}

func suspectsList(ctx context.Context, std stdio, args []string) error {
	c := newClient(std, "suspects list", "suspects list [flags]", "Lists pairs of customers that are probably the same, the likeliest first.")
	c.flags.StringVar(&c.customer, "customer", "", "only who may be this customer, a `REF`")
	kind := c.flags.String("kind", "", "only of this `kind`: person or company")
	least := c.flags.Float64("min-score", suspected.DefaultScore, fmt.Sprintf("only pairs of this `score` or more, %v to 1", suspected.LeastScore))
	limit := c.limitFlag("pairs")
	if _, err := c.parse(args); err != nil {
		return err
	}
	switch {
	case *kind != "" && *kind != "person" && *kind != "company":
		return wrongUsage("--kind %q: person or company wanted", *kind)
	case !(*least >= suspected.LeastScore && *least <= 1): // also what is no number
		return wrongUsage("--min-score %v: a number from %v to 1 wanted", *least, suspected.LeastScore)
	}
	if err := checkLimit(*limit); err != nil {
		return err
	}
	w, p, last := suspectsWords[c.lang], printerFor(c.lang), &queryv1.ListSuspectsResponse{}
	l, service := c.listing(w.score, w.a, "", w.b, "", w.why), c.identity()
	err := addRows(l, *limit, func(size uint32, token string) ([]*queryv1.Suspect, string, error) {
		resp, err := service.ListSuspects(ctx, &queryv1.ListSuspectsRequest{Customer: c.customer, Kind: *kind, MinScore: *least, PageSize: size, PageToken: token})
		last = resp
		return resp.GetSuspects(), resp.GetNextPageToken(), c.explain(err)
	}, func(s *queryv1.Suspect) []string {
		return []string{
			fmt.Sprintf("%.3f", s.GetScore()), s.GetA(), cut(plain(s.GetAName()), maxNameColumns), s.GetB(), cut(plain(s.GetBName()), maxNameColumns),
			cut(p.suspicion(s), maxReasonColumns),
		}
	})
	if err != nil {
		return err
	}
	basis := p.basis(last)
	return l.print(w.none+p.semicolon+basis[0], basis...)
}

// basis says what a list of suspicions rests on.
func (p printer) basis(resp *queryv1.ListSuspectsResponse) []string {
	w := suspectsWords[p.lang]
	lines := []string{fmt.Sprintf(w.totalFormat, p.number(int64(resp.GetTotal())), p.instant(resp.GetComputedAt()), p.number(int64(resp.GetCustomers())))}
	if resp.GetCut() {
		lines = append(lines, w.cut)
	}
	for _, crowd := range resp.GetCrowded() {
		lines = append(lines, fmt.Sprintf(w.crowdFormat, plain(crowd.GetKey()), p.number(int64(crowd.GetCustomers()))))
	}
	return append(lines, w.hint)
}

// suspicion is what speaks for and against two customers being one.
func (p printer) suspicion(s *queryv1.Suspect) string {
	w := suspectsWords[p.lang]
	var reasons []string
	for _, r := range s.GetReasons()[:min(len(s.GetReasons()), maxShownReasons)] {
		field, how := cmp.Or(w.fields[r.GetField()], plain(r.GetField())), cmp.Or(w.hows[r.GetHow()], plain(r.GetHow()))
		if r.GetHow() == "equal" {
			reasons = append(reasons, field+" = "+plain(r.GetA()))
		} else {
			reasons = append(reasons, field+" "+plain(r.GetA())+" "+how+" "+plain(r.GetB()))
		}
	}
	return strings.Join(reasons, p.semicolon)
}

func suspectsJoin(ctx context.Context, std stdio, args []string) error {
	d := newDecider(std, "suspects join", "suspects join REF REF --reason TEXT [flags]", "Merges two customers who are suspected to be one. "+
		"--dry-run shows them beside\nwhat they would be.")
	d.waitFlag()
	customers, err := d.parse(args, "REF", "REF")
	if err != nil {
		return err
	}
	return d.merge(ctx, customers, "suspect")
}

func suspectsDismiss(ctx context.Context, std stdio, args []string) error {
	d := newDecider(std, "suspects dismiss", "suspects dismiss REF REF --reason TEXT [flags]", "Says that two customers who are suspected to be one are not: they are kept\n"+
		"apart, and not proposed again.")
	customers, err := d.parse(args, "REF", "REF")
	if err != nil {
		return err
	}
	return d.keepApart(ctx, customers)
}
