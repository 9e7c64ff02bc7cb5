package main

import (
	"context"
	"fmt"
	"math"
	"strings"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

const findHelp = `Finds customers by what is remembered of them: their name or a part of it, the
last digits of a phone number (at least 4), their company, an identifier or its
beginning. Case, accents, full and half width do not matter, nor whether Chinese
is written in simplified or traditional characters. The best come first.

TEXT of several words need not be quoted.`

const (
	defaultFindLimit = 20
	maxFoundColumns  = 40
)

// findWords are what a search says in one language.
type findWords struct {
	id, kind, name, stage, matched, none, more, hint string
	met                                              map[string]string // what the text met; nil: as the service says
}

var findsWords = map[string]findWords{
	langEN: {
		id: "CUSTOMER", kind: "KIND", name: "NAME", stage: "STAGE", matched: "MATCHED",
		none: "no customer fits %q; a part of a name, the last 4 digits of a phone number, a company or an identifier finds one",
		more: "there are more; --limit N shows up to 100, more of the text fewer",
		hint: "a profile: dossier get %s",
	},
	langZH: {
		id: "客户编号", kind: "类别", name: "名称", stage: "阶段", matched: "匹配项",
		none: "没有符合“%s”的客户；可输入姓名的一部分、电话号码末四位、公司名称或标识",
		more: "还有更多结果；用 --limit N 最多显示 100 个，或输入更完整的内容",
		hint: "查看档案：dossier get %s",
		met:  map[string]string{"name": "名称", "phone": "电话", "company": "公司"},
	},
}

// find prints the customers whom a text may mean.
func find(ctx context.Context, std stdio, args []string) error {
	c := newClient(std, "find", "find TEXT [flags]", findHelp)
	limit := c.flags.Uint("limit", defaultFindLimit, "at most `N` customers, up to 100")
	words, err := c.parse(args, "TEXT…")
	if err != nil {
		return err
	}
	text := strings.Join(words, " ")
	if err := checkUTF8(map[string]string{"TEXT": text}); err != nil {
		return err
	}
	if *limit == 0 {
		return wrongUsage("--limit 0: at least 1 wanted")
	}
	resp, err := c.service().FindProfiles(ctx, &queryv1.FindProfilesRequest{Text: text, PageSize: uint32(min(*limit, math.MaxUint32))})
	switch {
	case err != nil:
		return c.explain(err)
	case c.json:
		return printJSON(std.out, resp)
	case len(resp.GetCandidates()) == 0:
		_, err := fmt.Fprintf(std.out, findsWords[c.lang].none+"\n", plain(text))
		return err
	}
	return c.candidates(resp)
}

func (c *client) candidates(resp *queryv1.FindProfilesResponse) error {
	w, p := findsWords[c.lang], printerFor(c.lang)
	t := &table{}
	t.add(w.id, w.kind, w.name, w.stage, w.matched)
	for _, found := range resp.GetCandidates() {
		met := found.GetMatched()
		if word := w.met[met]; word != "" {
			met = word
		}
		if found.GetMatched() != "name" || found.GetValue() != found.GetName() {
			met += p.colon + found.GetValue()
		}
		t.add(found.GetCustomerId(), p.kind(found.GetKind()), cut(plain(found.GetName()), maxFoundColumns), p.stageName(found.GetStage()), cut(plain(met), maxValueColumns))
	}
	if err := t.write(c.std.out); err != nil {
		return err
	}
	text := fmt.Sprintf(w.hint, resp.GetCandidates()[0].GetCustomerId())
	if resp.GetMore() {
		text = w.more + "\n" + text
	}
	_, err := fmt.Fprintln(c.std.out, text)
	return err
}
