package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/user"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
)

const (
	// maxMoveWait bounds how long a command waits until events have moved, or are
	// folded; they go on without it.
	maxMoveWait = 30 * time.Second
	// movePoll is how often it asks again; the server itself waits longer.
	movePoll = 100 * time.Millisecond
)

// The kinds of decision, as the service names them.
const (
	mergedKind    = "merged"
	splitKind     = "split"
	linkedKind    = "linked"
	keptApartKind = "kept_apart"
	blockedKind   = "blocked"
	releasedKind  = "released"
)

// decisionWords are what changes of who is who say in one language; done and
// would are by the kind of the decision.
type decisionWords struct {
	done, would             map[string]string
	newCustomer, merge      string // merge: its id
	undo, rejoin            string
	dryRun, already         string
	movingFormat, laterHint string
	here                    string // stands for a reason in a hint
}

var decisionsWords = map[string]decisionWords{
	langEN: {
		done: map[string]string{
			mergedKind: "merged: {from} became {to}", splitKind: "split: from {from} came {to}",
			linkedKind: "linked to {to}: {ids}", keptApartKind: "kept apart: {from} and {to}",
			blockedKind: "names nobody from now on: {ids}", releasedKind: "names its next customer: {ids}",
		},
		would: map[string]string{
			mergedKind: "would merge: {from} would become {to}", splitKind: "would split: from {from} would come {to}",
			linkedKind: "would link to {to}: {ids}", keptApartKind: "would keep apart: {from} and {to}",
			blockedKind: "would name nobody: {ids}", releasedKind: "would name its next customer: {ids}",
		},
		newCustomer: "a new customer", merge: "merge %d",
		undo: "to undo it: %s", rejoin: "to join them after all: %s", dryRun: "a dry run: nothing was changed", already: "nothing to do: it is so already",
		movingFormat: "decided, but the events have not all moved yet: %w (receipt %s)",
		laterHint:    "not waited for; with the events moved: %s",
		here:         "WHY",
	},
	langZH: {
		done: map[string]string{
			mergedKind: "已合并：{from} 并入 {to}", splitKind: "已拆分：从 {from} 拆出 {to}",
			linkedKind: "已关联到 {to}：{ids}", keptApartKind: "已标记为不同客户：{from} 与 {to}",
			blockedKind: "从现在起不再指向任何客户：{ids}", releasedKind: "将指向其下一个客户：{ids}",
		},
		would: map[string]string{
			mergedKind: "将合并：{from} 并入 {to}", splitKind: "将拆分：从 {from} 拆出 {to}",
			linkedKind: "将关联到 {to}：{ids}", keptApartKind: "将标记为不同客户：{from} 与 {to}",
			blockedKind: "将不再指向任何客户：{ids}", releasedKind: "将指向其下一个客户：{ids}",
		},
		newCustomer: "新客户", merge: "合并编号 %d",
		undo: "撤销方法：%s", rejoin: "如需重新合并：%s", dryRun: "试运行：没有任何改动", already: "无需改动：已是如此",
		movingFormat: "已生效，但事件尚未全部迁移：%w（回执 %s）",
		laterHint:    "未等待；迁移完成后查看：%s",
		here:         "原因",
	},
}

// decider is a command by which someone decides who is who: who, and why.
type decider struct {
	*client
	reason, actor string
	dryRun, wait  bool
}

// newDecider begins a command; synopsis and about are its help text.
func newDecider(std stdio, name, synopsis, about string) *decider {
	d := &decider{client: newClient(std, name, synopsis, about)}
	d.flags.StringVar(&d.reason, "reason", "", "why, in a few words; `TEXT` that the history keeps (required, but for a dry run)")
	d.flags.StringVar(&d.actor, "actor", "", "`NAME` of who says so (default: the user of the operating system)")
	d.flags.BoolVar(&d.dryRun, "dry-run", false, "change nothing; show what would be")
	d.writeKeyFlag()
	return d
}

// waitFlag is of changes that move events.
func (d *decider) waitFlag() {
	d.flags.BoolVar(&d.wait, "wait", true, fmt.Sprintf("wait until all events have moved, %s at most, and show the customers; --wait=false does not", maxMoveWait))
}

// parse reads the command line and checks that there is a reason and a name
// behind it.
func (d *decider) parse(args []string, names ...string) ([]string, error) {
	positional, err := d.client.parse(args, names...)
	if err != nil {
		return nil, err
	}
	d.reason, d.actor = strings.TrimSpace(d.reason), cmp.Or(strings.TrimSpace(d.actor), d.std.getenv("USER"))
	if d.actor == "" {
		// Without a name of his own in the environment: a service, or a container.
		if u, err := user.Current(); err == nil {
			d.actor = u.Username
		}
	}
	switch {
	case d.reason == "" && !d.dryRun:
		return nil, wrongUsage("--reason missing; who is who wants a reason, as --reason 'same person, asked her'; --dry-run shows what would be without one")
	case d.actor == "":
		return nil, wrongUsage("--actor missing, and the user has no name; what is decided by hand wants a name behind it")
	}
	for _, text := range append(slices.Clone(positional), d.reason, d.actor) {
		if !utf8.ValidString(text) {
			return nil, wrongUsage("%q is not UTF-8; a terminal in another encoding would change what is told", text)
		}
	}
	return positional, nil
}

// identity is the service of who is who, asked with the key for reading.
func (c *client) identity() queryv1connect.IdentityServiceClient {
	return queryv1connect.NewIdentityServiceClient(&http.Client{Transport: c.transport()}, c.server, bearing(c.readKey))
}

// decide makes a change, or a dry run of one, and prints what became of it. What
// was decided is printed before its events have moved: it stands whatever comes.
func (d *decider) decide(ctx context.Context, change func(queryv1connect.IdentityServiceClient) (*queryv1.IdentityAnswer, error)) error {
	service := d.identity()
	if !d.dryRun {
		// The key for reading too: without it the answer shows no customers.
		service = queryv1connect.NewIdentityServiceClient(&http.Client{Transport: d.transport()}, d.server, bearing(d.writeKey, d.readKey))
	}
	a, err := change(service)
	if err != nil {
		return d.explain(err)
	}
	if d.json {
		return d.decideJSON(ctx, a)
	}
	return d.decideText(ctx, a)
}

// explain turns the error of a change into a sentence that says what to do: it
// wants both keys, and the server names the one that it misses.
func (d *decider) explain(err error) error {
	var refused *connect.Error
	if errors.As(err, &refused) && refused.Code() == connect.CodeUnauthenticated && !d.dryRun &&
		!strings.Contains(refused.Message(), "read key is") {
		return d.wrongWriteKey()
	}
	return d.client.explain(err)
}

// decideJSON prints the answer, its customers as they are with their events
// moved.
func (d *decider) decideJSON(ctx context.Context, a *queryv1.IdentityAnswer) error {
	moved, err := d.moved(ctx, a)
	if moved != nil {
		a.Profiles = moved
	}
	return errors.Join(printJSON(d.std.out, a), err)
}

func (d *decider) decideText(ctx context.Context, a *queryv1.IdentityAnswer) error {
	w, out := decisionsWords[d.lang], d.std.out
	if len(a.GetDecisions()) == 0 {
		_, err := fmt.Fprintln(out, w.already)
		return err
	}
	for _, decision := range a.GetDecisions() {
		fmt.Fprintln(out, d.decisionLine(decision))
		if hint := d.undoHint(decision); hint != "" && !d.dryRun {
			fmt.Fprintln(out, hint)
		}
	}
	if d.dryRun {
		return d.showDryRun(ctx, a)
	}
	if customers := moving(a); len(customers) > 0 && d.canWait() && !d.wait {
		_, err := fmt.Fprintf(d.std.err, w.laterHint+"\n", "dossier get "+customers[len(customers)-1]+" --receipt "+a.GetReceipt())
		return err
	}
	profiles, err := d.moved(ctx, a)
	if err != nil || len(profiles) == 0 {
		return err
	}
	fmt.Fprintln(out)
	return printerFor(d.lang).sideBySide(out, sides("", profiles))
}

// showDryRun prints the customers as they are beside what would be.
func (d *decider) showDryRun(ctx context.Context, a *queryv1.IdentityAnswer) error {
	w, p := decisionsWords[d.lang], printerFor(d.lang)
	if len(a.GetProfiles()) > 0 {
		compared, err := d.compared(ctx, a)
		if err != nil {
			return err
		}
		fmt.Fprintln(d.std.out)
		if err := p.sideBySide(d.std.out, compared); err != nil {
			return err
		}
		fmt.Fprintln(d.std.out)
	}
	_, err := fmt.Fprintln(d.std.out, w.dryRun)
	return err
}

// compared are the customers of a dry run as they are, and as they would be
// where events would move.
func (d *decider) compared(ctx context.Context, a *queryv1.IdentityAnswer) ([]side, error) {
	w := printerFor(d.lang).comparison()
	if len(moving(a)) == 0 {
		return sides(w.now, a.GetProfiles()), nil
	}
	now, err := d.profiles(ctx, customers(a), "")
	if err != nil {
		return nil, err
	}
	return append(sides(w.now, now), sides(w.wouldBe, a.GetProfiles())...), nil
}

// customers are those that decisions are about, in that order, once each.
func customers(a *queryv1.IdentityAnswer) []string {
	var ids []string
	for _, decision := range a.GetDecisions() {
		for _, id := range []string{decision.GetFrom(), decision.GetTo()} {
			if id != "" && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// moving are the customers whose events a change moves.
func moving(a *queryv1.IdentityAnswer) []string {
	if !slices.ContainsFunc(a.GetDecisions(), func(d *queryv1.IdentityDecision) bool {
		return d.GetKind() == mergedKind || d.GetKind() == splitKind || d.GetKind() == linkedKind
	}) {
		return nil
	}
	return customers(a)
}

// canWait reports whether the command has a flag --wait.
func (d *decider) canWait() bool { return d.flags.Lookup("wait") != nil }

// moved waits until the events of a change have moved, and returns the customers
// that there are then; none where there is nothing to wait for.
func (d *decider) moved(ctx context.Context, a *queryv1.IdentityAnswer) ([]*queryv1.Profile, error) {
	if d.dryRun || !d.wait || a.GetReceipt() == "" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, maxMoveWait)
	defer cancel()
	profiles, err := d.profiles(ctx, moving(a), a.GetReceipt())
	if err != nil {
		return nil, fmt.Errorf(decisionsWords[d.lang].movingFormat, err, a.GetReceipt())
	}
	return profiles, nil
}

// profiles are those of customers, once each: who was merged away is in who he
// became. With a receipt it asks until what that acknowledges is in the answer,
// as long as the context lasts.
func (d *decider) profiles(ctx context.Context, ids []string, receipt string) ([]*queryv1.Profile, error) {
	var found []*queryv1.Profile
	for _, id := range ids {
		resp, err := d.profile(ctx, &queryv1.GetProfileRequest{Customer: id, Receipt: receipt})
		if err != nil {
			return nil, err
		}
		p := resp.GetProfile()
		if !slices.ContainsFunc(found, func(f *queryv1.Profile) bool { return f.GetCustomerId() == p.GetCustomerId() }) {
			found = append(found, p)
		}
	}
	return found, nil
}

// profile asks for a customer; with a receipt it asks until that is reached, as
// long as the context lasts and a server answers.
func (c *client) profile(ctx context.Context, req *queryv1.GetProfileRequest) (resp *queryv1.GetProfileResponse, err error) {
	var late error
	err = every(ctx, movePoll, func() (bool, error) {
		var err error
		resp, err = c.service().GetProfile(ctx, req)
		if connect.CodeOf(err) == connect.CodeUnavailable && connect.IsWireError(err) && req.GetReceipt() != "" {
			late = err
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		if late != nil && ctx.Err() != nil {
			err = late // says how far it is
		}
		return nil, c.explain(err)
	}
	return resp, nil
}

// decisionLine says what was decided, or would be.
func (d *decider) decisionLine(decision *queryv1.IdentityDecision) string {
	w, p := decisionsWords[d.lang], printerFor(d.lang)
	text := w.done[decision.GetKind()]
	if d.dryRun {
		text = w.would[decision.GetKind()]
	}
	line := strings.NewReplacer(
		"{from}", decision.GetFrom(), "{to}", cmp.Or(decision.GetTo(), w.newCustomer), "{ids}", p.identifierNames(decision.GetIdentifiers()),
	).Replace(cmp.Or(text, decision.GetKind()))
	if decision.GetKind() == mergedKind && decision.GetId() > 0 {
		line += " (" + fmt.Sprintf(w.merge, decision.GetId()) + ")"
	}
	return line
}

// identifierNames are identifiers as people type them; of one that is known by
// its hash alone, the type.
func (p printer) identifierNames(refs []*queryv1.IdentifierRef) string {
	names := make([]string, len(refs))
	for i, ref := range refs {
		names[i] = plain(ref.GetType() + ":" + cmp.Or(ref.GetValue(), "…"))
	}
	return strings.Join(names, p.list)
}

// undoHint says which command takes a decision back; "" if there is none.
func (d *decider) undoHint(decision *queryv1.IdentityDecision) string {
	var names []string
	for _, ref := range decision.GetIdentifiers() {
		if ref.GetValue() == "" {
			continue
		}
		names = append(names, shellWord(ref.GetType()+":"+ref.GetValue()))
	}
	identifiers := strings.Join(names, " ")
	w := decisionsWords[d.lang]
	var command string
	format := w.undo
	switch decision.GetKind() {
	case mergedKind:
		command = fmt.Sprintf("split --undo %d", decision.GetId())
	case splitKind, keptApartKind:
		format = w.rejoin
		command = "merge " + decision.GetFrom() + " " + decision.GetTo()
	case linkedKind:
		command = "split " + decision.GetTo() + " " + identifiers
	case blockedKind:
		command = "block " + identifiers + " --release"
	case releasedKind:
		command = "block " + identifiers
	}
	if command == "" || strings.HasSuffix(command, " ") {
		return ""
	}
	return fmt.Sprintf(format, "dossier "+command+" --reason "+w.here)
}

// shellWord is a text as one word of a shell.
func shellWord(s string) string {
	s = plain(s)
	if !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("@%+=:,./_-", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && r < utf8.RuneSelf
	}) && s != "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
