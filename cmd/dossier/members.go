package main

import (
	"context"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

const membersHelp = `Lists the persons of a company, by customer id. REF names the company, as
company_id:acme or company_domain:acme.com.`

// memberWords are what the list of members says in one language.
type memberWords struct {
	customer, name, since, state, current, former, none string
}

var membersWords = map[string]memberWords{
	langEN: {
		customer: "CUSTOMER", name: "NAME", since: "SINCE (UTC)", state: "STATE", current: "current", former: "left",
		none: "nobody belongs to this company",
	},
	langZH: {
		customer: "客户编号", name: "名称", since: "自（UTC）", state: "状态", current: "在职", former: "已离开",
		none: "该公司没有成员",
	},
}

// members prints the persons of a company.
func members(ctx context.Context, std stdio, args []string) error {
	c := newClient(std, "members", "members REF [flags]", membersHelp)
	former := c.flags.Bool("former", false, "also those who left")
	limit := c.limitFlag("persons")
	refs, err := c.parse(args, "REF")
	if err != nil {
		return err
	}
	if err := checkLimit(*limit); err != nil {
		return err
	}
	c.customer = refs[0]
	w, p := membersWords[c.lang], printerFor(c.lang)
	l, service := c.listing(w.customer, w.since, w.state, w.name), c.identity()
	err = addRows(l, *limit, func(size uint32, token string) ([]*queryv1.Member, string, error) {
		resp, err := service.ListMembers(ctx, &queryv1.ListMembersRequest{Company: c.customer, Former: *former, PageSize: size, PageToken: token})
		return resp.GetMembers(), resp.GetNextPageToken(), c.explain(err)
	}, func(m *queryv1.Member) []string {
		state := w.former
		if m.GetCurrent() {
			state = w.current
		}
		return []string{m.GetCustomerId(), p.instant(m.GetSince()), state, cut(plain(m.GetName()), maxFoundColumns)}
	})
	if err != nil {
		return err
	}
	return l.print(w.none)
}
