package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
)

const conflictsHelp = `Pairs of customers that events named together and that were not joined, since
what they hold speaks against it. The event went to the stronger of the two; a
person decides.

  dossier conflicts list [--state open|approved|dismissed|all] [--customer REF]
  dossier conflicts show ID
  dossier conflicts approve ID --reason TEXT [--dry-run]
  dossier conflicts dismiss ID --reason TEXT [--dry-run]

Approved, the two are merged; dismissed, they are kept apart and never asked
about again. ` + "`dossier conflicts <word> -h`" + ` tells the flags.`

// conflictWords are what conflicts say in one language.
type conflictWords struct {
	id, when, state, stronger, weaker, rule, event, named, resolved string
	none, openFormat, next, joined                                  string
	states                                                          map[string]string
	// What a rule means, in full; where there is none the service explains.
	explanations map[string]string
}

var conflictsWords = map[string]conflictWords{
	langEN: {
		id: "ID", when: "WHEN (UTC)", state: "STATE", stronger: "STRONGER", weaker: "WEAKER", rule: "RULE", event: "EVENT", named: "NAMED BY",
		resolved: "RESOLVED",
		none:     "no conflicts", openFormat: "open: %d; `dossier conflicts show ID` tells about one",
		next: "the same: dossier conflicts approve %[1]s --reason WHY\ntwo:      dossier conflicts dismiss %[1]s --reason WHY", joined: "joined",
		states: map[string]string{"open": "open", "approved": "approved", "dismissed": "dismissed"},
	},
	langZH: {
		id: "编号", when: "时间（UTC）", state: "状态", stronger: "强方", weaker: "弱方", rule: "规则", event: "事件", named: "所用标识",
		resolved: "处理",
		none:     "没有身份冲突", openFormat: "待处理 %d 个；用 `dossier conflicts show 编号` 查看",
		next: "是同一客户：dossier conflicts approve %[1]s --reason 原因\n不是同一客户：dossier conflicts dismiss %[1]s --reason 原因", joined: "合并后",
		states: map[string]string{"open": "待处理", "approved": "已批准", "dismissed": "已驳回"},
		explanations: map[string]string{
			"two_known":        "同一事件提到两位已知客户",
			"second_exclusive": "该客户已有一个唯一标识，事件又带来同类的另一个",
			"two_exclusive":    "两位客户各有一个唯一标识，且值不同",
			"limit":            "合并后同类标识会超过上限",
			"kept_apart":       "两位客户此前被标记为不同客户",
		},
	},
}

// conflicts is `dossier conflicts`.
func conflicts(ctx context.Context, std stdio, args []string) error {
	return oneWord(std, "conflicts", conflictsHelp, []string{"list", "show", "approve", "dismiss"}, args, map[string]func([]string) error{
		"list":    func(rest []string) error { return conflictsList(ctx, std, rest) },
		"show":    func(rest []string) error { return conflictsShow(ctx, std, rest) },
		"approve": func(rest []string) error { return conflictsApprove(ctx, std, rest) },
		"dismiss": func(rest []string) error { return conflictsDismiss(ctx, std, rest) },
	})
}

var conflictStates = []string{"open", "approved", "dismissed", "all"}

func conflictsList(ctx context.Context, std stdio, args []string) error {
	c := newClient(std, "conflicts list", "conflicts list [flags]", "Lists conflicts, the newest first.")
	state := c.flags.String("state", "open", "only in this `state`: open, approved, dismissed or all")
	c.flags.StringVar(&c.customer, "customer", "", "only of this customer, a `REF`")
	limit := c.limitFlag("conflicts")
	if _, err := c.parse(args); err != nil {
		return err
	}
	if !slices.Contains(conflictStates, *state) {
		return wrongUsage("--state %q: %s wanted", *state, strings.Join(conflictStates, ", "))
	}
	if err := checkLimit(*limit); err != nil {
		return err
	}
	w, p, open := conflictsWords[c.lang], printerFor(c.lang), uint64(0)
	l, service := c.listing(w.id, w.when, w.state, w.stronger, "", w.weaker, "", w.rule), c.identity()
	err := addRows(l, *limit, func(size uint32, token string) ([]*queryv1.Conflict, string, error) {
		resp, err := service.ListConflicts(ctx, &queryv1.ListConflictsRequest{State: *state, Customer: c.customer, PageSize: size, PageToken: token})
		open = resp.GetOpen()
		return resp.GetConflicts(), resp.GetNextPageToken(), c.explain(err)
	}, func(q *queryv1.Conflict) []string {
		return []string{
			plain(q.GetId()), p.instant(q.GetAt()), p.conflictState(q), q.GetStronger(), cut(plain(q.GetStrongerName()), maxNameColumns),
			q.GetWeaker(), cut(plain(q.GetWeakerName()), maxNameColumns), p.ruleName(q.GetRule()),
		}
	})
	if err != nil {
		return err
	}
	return l.print(w.none, fmt.Sprintf(w.openFormat, open))
}

const maxNameColumns = 20

func (p printer) conflictState(q *queryv1.Conflict) string {
	return cmp.Or(conflictsWords[p.lang].states[q.GetState()], plain(q.GetState()))
}

func conflictsShow(ctx context.Context, std stdio, args []string) error {
	c := newClient(std, "conflicts show", "conflicts show ID [flags]", `Shows one conflict: when which event named the two, by which rule they were not
joined, what they are and what they would be as one.`)
	ids, err := c.parse(args, "ID")
	if err != nil {
		return err
	}
	resp, err := c.identity().GetConflict(ctx, &queryv1.GetConflictRequest{Id: ids[0]})
	switch {
	case err != nil:
		return c.explain(err)
	case c.json:
		return printJSON(std.out, resp)
	}
	return printerFor(c.lang).conflict(std.out, resp)
}

// conflict prints a conflict for people.
func (p printer) conflict(out io.Writer, resp *queryv1.GetConflictResponse) error {
	w, q, s := conflictsWords[p.lang], resp.GetConflict(), &sheet{}
	s.row(w.id, plain(q.GetId()))
	s.row(w.state, p.conflictState(q))
	s.row(w.when, p.instant(q.GetAt()))
	if q.GetEventId() != "" {
		s.row(w.event, p.eventNamed(q.GetSource(), q.GetEventId(), nil))
	}
	if len(q.GetIdentifiers()) > 0 {
		s.row(w.named, p.identifierNames(q.GetIdentifiers()))
	}
	s.row(w.rule, p.explanation(q))
	s.row(w.stronger, strings.TrimSpace(q.GetStronger()+" "+plain(q.GetStrongerName())))
	s.row(w.weaker, strings.TrimSpace(q.GetWeaker()+" "+plain(q.GetWeakerName())))
	if q.GetResolvedAt() != nil {
		s.row(w.resolved, p.instant(q.GetResolvedAt())+p.list+plain(q.GetActor())+p.colon+plain(q.GetReason()))
	}
	if err := s.write(out); err != nil {
		return err
	}
	compared := sides(p.comparison().now, resp.GetNow())
	if joined := resp.GetJoined(); joined != nil {
		compared = append(compared, side{w.joined, joined})
	}
	if len(compared) > 0 {
		fmt.Fprintln(out)
		if err := p.sideBySide(out, compared); err != nil {
			return err
		}
	}
	if q.GetState() != "open" {
		return nil
	}
	_, err := fmt.Fprintf(out, "\n"+w.next+"\n", shellWord(q.GetId()))
	return err
}

// explanation is a conflict's rule in a sentence.
func (p printer) explanation(q *queryv1.Conflict) string {
	return cmp.Or(conflictsWords[p.lang].explanations[q.GetRule()], plain(q.GetExplanation()), p.ruleName(q.GetRule()))
}

func conflictsApprove(ctx context.Context, std stdio, args []string) error {
	d := newDecider(std, "conflicts approve", "conflicts approve ID --reason TEXT [flags]", "Joins the two customers of a conflict.")
	d.waitFlag()
	return d.resolve(ctx, args, true)
}

func conflictsDismiss(ctx context.Context, std stdio, args []string) error {
	d := newDecider(std, "conflicts dismiss", "conflicts dismiss ID --reason TEXT [flags]", "Says that the two customers of a conflict are not the same, and keeps them apart.")
	return d.resolve(ctx, args, false)
}

func (d *decider) resolve(ctx context.Context, args []string, approve bool) error {
	ids, err := d.parse(args, "ID")
	if err != nil {
		return err
	}
	return d.decide(ctx, func(service queryv1connect.IdentityServiceClient) (*queryv1.IdentityAnswer, error) {
		return service.ResolveConflict(ctx, &queryv1.ResolveConflictRequest{Id: ids[0], Approve: approve, Reason: d.reason, Actor: d.actor, DryRun: d.dryRun})
	})
}
