package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/rejected"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

const rejectedHelp = `What ingest refused and waits: kept for 30 days with the reason and the bytes as
they came, up to 64 KiB of each.

  dossier rejected list [--source S] [--code C] [--limit N]
  dossier rejected show ID [--raw]
  dossier rejected retry ID… [--body FILE | --edit] | --all [--source S] [--code C]
  dossier rejected export [--source S] [--code C] > FILE.ndjson

What a retry takes in leaves the list; what is refused again waits on. A retry
may be repeated: an event counts once. ` + "`dossier rejected <word> -h`" + ` tells the flags.`

const (
	maxBodyFile = 2 << 20 // in bytes; base64 of it fits a call
	// maxRetryAnswer bounds the answer to one retry: 1,000 outcomes.
	maxRetryAnswer  = 16 << 20
	maxFieldColumns = 24
)

// waitingWords are what the commands about rejects and parked events say in one
// language.
type waitingWords struct {
	id, when, source, code, field, messageID, reason, position, customer, typ string
	none, noneParked, keptFormat, moreFormat, bytesFormat, cutNote, whole     string
	came, unreadable, unchanged                                               string
	outcomes                                                                  map[string]string
	doneFormat, receiptFormat                                                 string
}

var waitingsWords = map[string]waitingWords{
	langEN: {
		id: "ID", when: "WHEN (UTC)", source: "SOURCE", code: "CODE", field: "FIELD", messageID: "MESSAGE ID", reason: "WHY",
		position: "ID", customer: "CUSTOMER", typ: "TYPE",
		none: "nothing that was refused waits", noneParked: "nothing is parked",
		keptFormat: "shown: %d; rejects are kept for 30 days", moreFormat: "shown: %d, and there are more (--limit 0 shows all); rejects are kept for 30 days",
		bytesFormat: "bytes: %d", cutNote: "only the beginning is kept; a retry wants a body in its place", whole: "a whole call that could not be read",
		came: "came by", unreadable: "the bytes are no text; --raw writes them to standard output", unchanged: "nothing was changed, nothing is retried",
		outcomes: map[string]string{
			"accepted": "accepted", "duplicate": "known already", "rejected": "refused again", "gone": "waits no longer",
			"applied": "applied", "parked": "parked still",
		},
		doneFormat: "tried: %d", receiptFormat: "; receipt: %s",
	},
	langZH: {
		id: "编号", when: "时间（UTC）", source: "来源", code: "代码", field: "字段", messageID: "消息编号", reason: "原因",
		position: "编号", customer: "客户编号", typ: "类型",
		none: "没有等待处理的拒收事件", noneParked: "没有被搁置的事件",
		keptFormat: "显示 %d 条；拒收事件保留30天", moreFormat: "显示 %d 条，还有更多（--limit 0 显示全部）；拒收事件保留30天",
		bytesFormat: "字节数：%d", cutNote: "只保留了开头部分；重试时需提供新的内容", whole: "无法读取的整个请求",
		came: "接收方式", unreadable: "内容不是文本；用 --raw 输出原始字节", unchanged: "内容没有改动，不重试",
		outcomes: map[string]string{
			"accepted": "已接收", "duplicate": "此前已接收", "rejected": "再次被拒收", "gone": "已不在等待",
			"applied": "已生效", "parked": "仍被搁置",
		},
		doneFormat: "已尝试 %d 条", receiptFormat: "；回执：%s",
	},
}

// rejectedEvents is `dossier rejected`.
func rejectedEvents(ctx context.Context, std stdio, args []string) error {
	return oneWord(std, "rejected", rejectedHelp, waitingCommands, args, map[string]func([]string) error{
		"list":   func(rest []string) error { return rejectedList(ctx, std, rest) },
		"show":   func(rest []string) error { return rejectedShow(ctx, std, rest) },
		"retry":  func(rest []string) error { return rejectedRetry(ctx, std, rest) },
		"export": func(rest []string) error { return rejectedExport(ctx, std, rest) },
	})
}

// waitingCommands are the words of rejected and parked.
var waitingCommands = []string{"list", "show", "retry", "export"}

// oneWord goes to one of the words that such a command has.
func oneWord(std stdio, name, help string, words, args []string, of map[string]func([]string) error) error {
	wanted := strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
	switch {
	case len(args) == 0:
		return wrongUsage("%s wanted; `dossier %s -h` tells how", wanted, name)
	case of[args[0]] != nil:
		return of[args[0]](args[1:])
	case args[0] == "-h" || args[0] == "--help" || args[0] == "-help":
		_, err := fmt.Fprintf(std.out, "usage: dossier %s %s\n\n%s\n", name, strings.Join(words, "|"), help)
		return err
	}
	return wrongUsage("%q: %s wanted; `dossier %s -h` tells how", args[0], wanted, name)
}

// rejectFilter are the flags that say which rejects.
type rejectFilter struct{ source, code string }

func (f *rejectFilter) flags(c *client) {
	c.flags.StringVar(&f.source, "source", "", "only of this `source`")
	c.flags.StringVar(&f.code, "code", "", "only refused for this `code`, as bad_time")
}

func rejectedList(ctx context.Context, std stdio, args []string) error {
	c := newClient(std, "rejected list", "rejected list [flags]", "Lists what was refused and waits, the newest first. Rejects are kept for 30 days.")
	var filter rejectFilter
	filter.flags(c)
	limit := c.limitFlag("rejects")
	if _, err := c.parse(args); err != nil {
		return err
	}
	if err := checkLimit(*limit); err != nil {
		return err
	}
	w, p, t, n := waitingsWords[c.lang], printerFor(c.lang), &table{}, 0
	t.add(w.id, w.when, w.source, w.code, w.field, w.messageID, w.reason)
	more, err := c.eachReject(ctx, filter, *limit, func(r *queryv1.RejectedEvent) error {
		n++
		if c.json {
			return writeLine(std.out, r)
		}
		t.add(r.GetId(), p.instant(r.GetReceivedAt()), plain(r.GetSource()), plain(r.GetCode()), cut(plain(r.GetField()), maxFieldColumns),
			cut(plain(r.GetMessageId()), tailCustomerColumns), cut(plain(r.GetMessage()), maxReasonColumns))
		return nil
	})
	if err != nil || c.json {
		return err
	}
	if n == 0 {
		_, err := fmt.Fprintln(std.out, w.none)
		return err
	}
	if err := t.write(std.out); err != nil {
		return err
	}
	footer := w.keptFormat
	if more {
		footer = w.moreFormat
	}
	_, err = fmt.Fprintf(std.err, footer+"\n", n)
	return err
}

// eachReject asks for page after page, the newest first, up to limit rejects; 0
// means all. It reports whether there are more.
func (c *client) eachReject(ctx context.Context, f rejectFilter, limit int, do func(*queryv1.RejectedEvent) error) (more bool, err error) {
	if err := checkUTF8(map[string]string{"--source": f.source, "--code": f.code}); err != nil {
		return false, err
	}
	service := c.service()
	return eachPage(limit, func(size uint32, token string) ([]*queryv1.RejectedEvent, string, error) {
		resp, err := service.ListRejected(ctx, &queryv1.ListRejectedRequest{Source: f.source, Code: f.code, PageSize: size, PageToken: token})
		return resp.GetRejected(), resp.GetNextPageToken(), c.explain(err)
	}, do)
}

func rejectedShow(ctx context.Context, std stdio, args []string) error {
	c := newClient(std, "rejected show", "rejected show ID [flags]", "Shows one reject: how it came, why it was refused, and its bytes.")
	raw := c.flags.Bool("raw", false, "write its bytes alone to standard output, as they came")
	ids, err := c.parse(args, "ID")
	if err != nil {
		return err
	}
	if *raw && c.json {
		return wrongUsage("--raw and --json: one of them")
	}
	r, err := c.reject(ctx, ids[0])
	switch {
	case err != nil:
		return err
	case *raw:
		_, err := std.out.Write(r.GetOriginal())
		return err
	case c.json:
		return printJSON(std.out, r)
	}
	return printerFor(c.lang).reject(std.out, r)
}

// reject asks for one reject with its bytes.
func (c *client) reject(ctx context.Context, id string) (*queryv1.RejectedEvent, error) {
	resp, err := c.service().GetRejected(ctx, &queryv1.GetRejectedRequest{Id: id})
	if err != nil {
		return nil, c.explain(err)
	}
	return resp.GetRejected(), nil
}

// reject prints a reject for people.
func (p printer) reject(out io.Writer, r *queryv1.RejectedEvent) error {
	w, t := waitingsWords[p.lang], &table{}
	t.add(w.id, r.GetId())
	t.add(w.when, p.instant(r.GetReceivedAt()))
	t.add(w.source, plain(r.GetSource()))
	t.add(w.came, plain(strings.TrimSpace(r.GetWire()+" "+r.GetPath()+" "+r.GetContentType())))
	t.add(w.messageID, plain(r.GetMessageId()))
	t.add(w.code, strings.Join(strings.Fields(plain(r.GetCode()+" "+r.GetField()+" "+r.GetLimit())), " "))
	t.add(w.reason, plain(r.GetMessage()))
	if r.GetWhole() {
		t.add("", w.whole)
	}
	t.add("", fmt.Sprintf(w.bytesFormat, r.GetOriginalBytes()))
	if r.GetCut() {
		t.add("", w.cutNote)
	}
	if err := t.write(out); err != nil {
		return err
	}
	text := w.unreadable
	if original := r.GetOriginal(); utf8.Valid(original) {
		text = shownText(string(original))
	}
	_, err := fmt.Fprintf(out, "\n%s\n", strings.TrimRight(text, "\n"))
	return err
}

// shownText is a text of several lines without what a terminal would obey.
func shownText(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = plain(lines[i])
	}
	return strings.Join(lines, "\n")
}

// exportedReject is a line of an export: a reject, with its bytes as text where they
// are text.
type exportedReject struct {
	Reject         json.RawMessage `json:"reject"`
	Original       *string         `json:"original,omitempty"`
	OriginalBase64 []byte          `json:"originalBase64,omitempty"`
}

func rejectedExport(ctx context.Context, std stdio, args []string) error {
	c := newClient(std, "rejected export", "rejected export [flags] > FILE.ndjson", `Writes all that was refused and waits, the newest first, one JSON object a line:
{"reject":{…},"original":"<the bytes as text>"} or "originalBase64" where they are
no text. Rejects are kept for 30 days.`)
	var filter rejectFilter
	filter.flags(c)
	if _, err := c.parse(args); err != nil {
		return err
	}
	encoder := json.NewEncoder(std.out)
	encoder.SetEscapeHTML(false)
	_, err := c.eachReject(ctx, filter, 0, func(listed *queryv1.RejectedEvent) error {
		r, err := c.reject(ctx, listed.GetId())
		if err != nil {
			return err
		}
		line := exportedReject{}
		if original := r.GetOriginal(); utf8.Valid(original) {
			line.Original = new(string(original))
		} else {
			line.OriginalBase64 = original
		}
		r.Original = nil
		if line.Reject, err = protojson.Marshal(r); err != nil {
			return err
		}
		return encoder.Encode(line)
	})
	return err
}

func rejectedRetry(ctx context.Context, std stdio, args []string) error {
	c := newClient(std, "rejected retry", "rejected retry ID… | --all [flags]", `Tries again what was refused: as it came, or with a body in its place. What is
taken in leaves the list; what is refused again waits on, and exit status is 1.
An event without a time of its own happened when it came first.`)
	c.writeKeyFlag()
	var filter rejectFilter
	filter.flags(c)
	all := c.flags.Bool("all", false, "all that wait, the oldest first; of --source and --code, if given")
	body := c.flags.String("body", "", "one reject with the bytes of this `FILE` in place of its own; - is standard input")
	edit := c.flags.Bool("edit", false, "one reject, its bytes edited in $VISUAL or $EDITOR first")
	ids, err := c.parse(args, idsUnlessAll(args)...)
	switch {
	case err != nil:
		return err
	case !*all && c.given("source", "code") != "":
		return wrongUsage("--%s goes with --all", c.given("source", "code"))
	case *edit && *body != "":
		return wrongUsage("--edit and --body: one of them")
	case (*edit || *body != "") && len(ids) != 1:
		return wrongUsage("--edit and --body go with one id, there are %d", len(ids))
	}
	asked := map[string]any{"ids": ids}
	if *all {
		asked = map[string]any{"all": true, "source": filter.source, "code": filter.code}
	}
	if *edit || *body != "" {
		edited, err := c.editedBody(ctx, ids[0], *body)
		if err != nil {
			return err
		}
		asked["bodyBase64"] = edited
	}
	done := &retries[rejected.Outcome]{client: c, path: "/v1/rejected/retry"}
	return done.run(ctx, asked, func(o rejected.Outcome) (id, outcome, why string) {
		if o.Rejection != nil {
			why = o.Rejection.Message + " (" + string(o.Rejection.Code) + ")"
		}
		if o.Events > 0 && o.Rejection != nil {
			why += fmt.Sprintf(" [+%d]", o.Events)
		}
		return o.ID, o.Outcome, why
	}, rejected.Rejected)
}

// idsUnlessAll are the arguments that a retry wants.
func idsUnlessAll(args []string) []string {
	if slices.Contains(args, "--all") || slices.Contains(args, "-all") {
		return nil
	}
	return []string{"ID…"}
}

// editedBody is what takes the place of a reject's bytes.
func (c *client) editedBody(ctx context.Context, id, file string) ([]byte, error) {
	switch file {
	case "":
		return c.edit(ctx, id)
	case "-":
		return readBounded(c.std.in, "standard input")
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("--body: %w", err)
	}
	defer f.Close()
	return readBounded(f, file)
}

func readBounded(in io.Reader, name string) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(in, maxBodyFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("--body: %w", err)
	case len(body) > maxBodyFile:
		return nil, fmt.Errorf("--body %s: more than %d bytes, which is what a retry takes", name, maxBodyFile)
	case len(body) == 0:
		return nil, fmt.Errorf("--body %s: it is empty", name)
	}
	return body, nil
}

// edit opens a reject's bytes in the editor of the environment.
func (c *client) edit(ctx context.Context, id string) ([]byte, error) {
	r, err := c.reject(ctx, id)
	if err != nil {
		return nil, err
	}
	editor := strings.Fields(cmp.Or(c.std.getenv("VISUAL"), c.std.getenv("EDITOR"), "vi"))
	dir, err := os.MkdirTemp("", "dossier-")
	if err != nil {
		return nil, fmt.Errorf("--edit: %w", err)
	}
	defer os.RemoveAll(dir)
	file := dir + "/rejected-" + r.GetId()
	if err := os.WriteFile(file, r.GetOriginal(), 0o600); err != nil {
		return nil, fmt.Errorf("--edit: %w", err)
	}
	run := exec.CommandContext(ctx, editor[0], append(editor[1:], file)...)
	run.Stdin, run.Stdout, run.Stderr = os.Stdin, os.Stdout, c.std.err
	if err := run.Run(); err != nil {
		return nil, fmt.Errorf("--edit: %s: %w", editor[0], err)
	}
	edited, err := os.ReadFile(file)
	switch {
	case err != nil:
		return nil, fmt.Errorf("--edit: %w", err)
	case bytes.Equal(edited, r.GetOriginal()):
		return nil, errors.New(waitingsWords[c.lang].unchanged)
	case len(edited) > maxBodyFile:
		return nil, fmt.Errorf("--edit: %d bytes, limit %d, which is what a retry takes", len(edited), maxBodyFile)
	}
	return edited, nil
}

// retries is a command that tries again.
type retries[O any] struct {
	*client
	path string
}

// retryAnswer is what the server says to one call of it.
type retryAnswer[O any] struct {
	Message string `json:"message"`
	Results []O    `json:"results"`
	Receipt string `json:"receipt"`
	Next    string `json:"next"`
}

// run tries again, all if that is asked for, and prints what became of each,
// also where an error came in between. It fails if the outcome of one is the one
// that failed.
func (r *retries[O]) run(ctx context.Context, asked map[string]any, told func(O) (id, outcome, why string), failed string) error {
	w, t, n, failures := waitingsWords[r.lang], &table{}, 0, 0
	encoder := json.NewEncoder(r.std.out)
	encoder.SetEscapeHTML(false)
	receipt, err := r.each(ctx, asked, func(o O) error {
		id, outcome, why := told(o)
		n++
		if outcome == failed {
			failures++
		}
		if r.json {
			return encoder.Encode(o)
		}
		t.add(plain(id), cmp.Or(w.outcomes[outcome], outcome), plain(why))
		return nil
	})
	if err != nil && n == 0 {
		return err
	}
	if !r.json {
		err = errors.Join(err, t.write(r.std.out))
	}
	footer := fmt.Sprintf(w.doneFormat, n)
	if receipt != "" {
		footer += fmt.Sprintf(w.receiptFormat, receipt)
	}
	fmt.Fprintln(r.std.err, footer)
	if err == nil && failures > 0 {
		return fmt.Errorf("%s: %d / %d", w.outcomes[failed], failures, n)
	}
	return err
}

// each makes one call after the other, until there is nothing more to try. The
// receipt covers those that were answered.
func (r *retries[O]) each(ctx context.Context, asked map[string]any, do func(O) error) (receipt string, err error) {
	for {
		a, err := r.try(ctx, asked)
		if err != nil {
			return receipt, err
		}
		joined, err := ingest.JoinReceipts(receipt, a.Receipt)
		if err != nil {
			return receipt, err
		}
		receipt = joined
		for _, o := range a.Results {
			if err := do(o); err != nil {
				return receipt, err
			}
		}
		if a.Next == "" {
			return receipt, nil
		}
		asked["after"] = a.Next
	}
}

// try makes one call.
func (r *retries[O]) try(ctx context.Context, asked map[string]any) (*retryAnswer[O], error) {
	a := &retryAnswer[O]{}
	resp, err := r.post(ctx, r.path, asked, a, maxRetryAnswer)
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode == http.StatusBadRequest:
		return nil, usageError{plain(a.Message)}
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s: %s", resp.Status, plain(a.Message))
	}
	return a, nil
}
