package main

import (
	"context"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

const membersHelp = `Lists the persons of a company, by customer id. REF names the company, as
company_id:acme or company_domain:acme.com.`

// memberWords are what the list of members says in one language.
type memberWords struct {
	customer, name, since, state, current, former, none, more string
}

var membersWords = map[string]memberWords{
	langEN: {
		customer: "CUSTOMER", name: "NAME", since: "SINCE (UTC)", state: "STATE", current: "current", former: "left",
		none: "nobody belongs to this company", more: "there are more; --limit 0 shows all",
	},
	langZH: {
		customer: "客户编号", name: "名称", since: "自（UTC）", state: "状态", current: "在职", former: "已离开",
		none: "该公司没有成员", more: "还有更多；用 --limit 0 显示全部",
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
	w, p, t := membersWords[c.lang], printerFor(c.lang), &table{}
	t.add(w.customer, w.since, w.state, w.name)
	service := c.identity()
	more, err := eachPage(*limit, func(size uint32, token string) ([]*queryv1.Member, string, error) {
		resp, err := service.ListMembers(ctx, &queryv1.ListMembersRequest{Company: c.customer, Former: *former, PageSize: size, PageToken: token})
		return resp.GetMembers(), resp.GetNextPageToken(), c.explain(err)
	}, func(m *queryv1.Member) error {
		if c.json {
			return writeLine(std.out, m)
		}
		state := w.former
		if m.GetCurrent() {
			state = w.current
		}
		t.add(m.GetCustomerId(), p.instant(m.GetSince()), state, cut(plain(m.GetName()), maxFoundColumns))
		return nil
	})
	if err != nil || c.json {
		return err
	}
	if !more {
		w.more = ""
	}
	return c.listed(t, w.none, w.more)
}
