package main

import (
	"context"
	"fmt"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

const mergesHelp = `Lists merges and splits, the newest first: of one customer, and of those merged
into him, or of all. The first column is what ` + "`dossier split --undo`" + ` takes.`

const (
	maxRuleColumns  = 40
	maxActorColumns = 16
)

// historyWords are what the history of merges says in one language.
type historyWords struct {
	id, when, what, from, to, rule, why, who string
	none, undone, undoes                     string
	kinds                                    map[string]string
	// By which rule customers were joined, or were not; nil: as the service says.
	rules map[string]string
}

var historiesWords = map[string]historyWords{
	langEN: {
		id: "ID", when: "WHEN (UTC)", what: "WHAT", from: "FROM", to: "TO", rule: "RULE", why: "WHY", who: "WHO",
		none: "no merges", undone: "%s, undone", undoes: "%s, undoes %d",
		kinds: map[string]string{mergedKind: "merged", splitKind: "split"},
		rules: map[string]string{
			"two_known": "an event named both", "forced": "an event joined them by force", "manual": "by hand",
			"approved": "a conflict, approved", "suspect": "a suspicion, followed",
			"second_exclusive": "a second id of a type that is one's own", "two_exclusive": "each has an id of a type that is one's own",
			"limit": "more identifiers of a type than one has", "kept_apart": "kept apart",
		},
	},
	langZH: {
		id: "编号", when: "时间（UTC）", what: "操作", from: "原客户", to: "目标客户", rule: "规则", why: "依据", who: "经办人",
		none: "没有合并记录", undone: "%s（已撤销）", undoes: "%s（撤销 %d）",
		kinds: map[string]string{mergedKind: "合并", splitKind: "拆分"},
		rules: map[string]string{
			"two_known": "同一事件提到两者", "forced": "事件强制合并", "manual": "人工",
			"approved": "冲突已批准", "suspect": "按疑似重复合并",
			"second_exclusive": "出现第二个唯一标识", "two_exclusive": "两者各有唯一标识",
			"limit": "同类标识超过上限", "kept_apart": "已标记为不同客户",
		},
	},
}

// ruleName is a rule in words.
func (p printer) ruleName(rule string) string {
	if name := historiesWords[p.lang].rules[rule]; name != "" {
		return name
	}
	return plain(rule)
}

// merges prints the history of merges and splits.
func merges(ctx context.Context, std stdio, args []string) error {
	c := newClient(std, "merges", "merges [REF] [flags]", mergesHelp)
	limit := c.limitFlag("entries")
	refs, err := c.parse(args, "[REF]")
	if err != nil {
		return err
	}
	if err := checkLimit(*limit); err != nil {
		return err
	}
	if len(refs) > 0 {
		c.customer = refs[0]
	}
	w, p := historiesWords[c.lang], printerFor(c.lang)
	l, service := c.listing(w.id, w.when, w.what, w.from, w.to, w.who, w.rule, w.why), c.identity()
	err = addRows(l, *limit, func(size uint32, token string) ([]*queryv1.MergeEntry, string, error) {
		resp, err := service.ListMerges(ctx, &queryv1.ListMergesRequest{Customer: c.customer, PageSize: size, PageToken: token})
		return resp.GetMerges(), resp.GetNextPageToken(), c.explain(err)
	}, func(m *queryv1.MergeEntry) []string {
		return []string{
			fmt.Sprint(m.GetId()), p.instant(m.GetAt()), p.mergeKind(m), m.GetFrom(), m.GetTo(), cut(plain(m.GetActor()), maxActorColumns),
			cut(p.ruleName(m.GetRule()), maxRuleColumns), cut(p.whyMerged(m), maxReasonColumns),
		}
	})
	if err != nil {
		return err
	}
	return l.print(w.none)
}

// mergeKind says what was done, and what became of it.
func (p printer) mergeKind(m *queryv1.MergeEntry) string {
	w := historiesWords[p.lang]
	kind := w.kinds[m.GetKind()]
	switch {
	case kind == "":
		return plain(m.GetKind())
	case m.GetUndone():
		return fmt.Sprintf(w.undone, kind)
	case m.GetUndoes() > 0:
		return fmt.Sprintf(w.undoes, kind, m.GetUndoes())
	}
	return kind
}

// whyMerged is the reason of a person, or the event that told it and by which
// identifiers.
func (p printer) whyMerged(m *queryv1.MergeEntry) string {
	if m.GetReason() != "" {
		return plain(m.GetReason())
	}
	return p.eventNamed(m.GetSource(), m.GetEventId(), m.GetIdentifiers())
}

// eventNamed says which event named customers, and by what.
func (p printer) eventNamed(source, id string, by []*queryv1.IdentifierRef) string {
	text := ""
	if id != "" {
		text = p.causeName("event") + " " + plain(id)
	}
	if source != "" {
		text += " (" + plain(source) + ")"
	}
	if len(by) > 0 && text != "" {
		text += p.colon
	}
	return text + p.identifierNames(by)
}
