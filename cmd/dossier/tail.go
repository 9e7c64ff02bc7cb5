package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

const tailHelp = `Prints events and refused input as they arrive, from now on, one line each, until
it is interrupted. If the server goes away it ends with exit status 1; it does
not come back by itself, because what arrived meanwhile would be missing.

An event: when it was recorded, type, customer, source and title. What was
refused: when it came, message id, source, code, field and reason. With --json:
one object a line, {"event":{…}} or {"reject":{…}}.`

// Columns of a line of a tail, which cannot be as wide as what comes later.
const (
	tailTypeColumns     = 24 // the longest canonical type
	tailCustomerColumns = 26 // a customer id
	tailSourceColumns   = 12
	maxReasonColumns    = 120
)

// tailWords are what a tail says in one language.
type tailWords struct {
	followingFormat, wentAwayFormat, rejected string
	eof                                       error
}

var tailsWords = map[string]tailWords{
	langEN: {
		followingFormat: "following %s; Ctrl-C ends",
		wentAwayFormat:  "the server at %s went away (%v); run this again when it is back",
		rejected:        "rejected",
		eof:             errors.New("end of the answer"),
	},
	langZH: {
		followingFormat: "正在跟踪 %s；按 Ctrl-C 结束",
		wentAwayFormat:  "与服务 %s 的连接已断开（%v）；请待其恢复后重新运行",
		rejected:        "已拒收",
		eof:             errors.New("响应已结束"),
	},
}

// tail prints events and rejects as they arrive.
func tail(ctx context.Context, std stdio, args []string) error {
	c := newClient(std, "tail", "tail [flags]", tailHelp)
	source := c.flags.String("source", "", "only of this `source`")
	rejected := c.flags.Bool("rejected", false, "only what was refused")
	limit := c.flags.Int("limit", 0, "end after `N` lines; 0 means no end")
	if _, err := c.parse(args); err != nil {
		return err
	}
	if *limit < 0 {
		return wrongUsage("--limit %d: a number of lines, or 0 for no end, wanted", *limit)
	}
	err := c.follow(ctx, &queryv1.TailRequest{Source: *source, Rejected: *rejected}, *limit)
	if ctx.Err() != nil {
		return nil // interrupted, which is how a tail ends
	}
	return err
}

// follow prints up to limit lines; 0 is no limit.
func (c *client) follow(ctx context.Context, req *queryv1.TailRequest, limit int) error {
	ctx, call := connect.NewClientContext(ctx)
	if c.readKey != "" {
		call.RequestHeader().Set("Authorization", "Bearer "+c.readKey)
	}
	ctx, end := context.WithCancel(ctx)
	stream, err := c.service().Tail(ctx, req)
	if err != nil {
		end()
		return c.explain(err)
	}
	defer stream.Close()
	defer end() // first: Close reads what is left of the answer, which has no end
	// The headers come once the server reads on: what arrives after this line is
	// shown, so that a script may wait for it.
	begun := strings.HasPrefix(stream.ResponseHeader().Get("Content-Type"), "application/connect+")
	if begun {
		fmt.Fprintf(c.std.err, tailsWords[c.lang].followingFormat+"\n", c.shown)
	}
	for n := 0; limit == 0 || n < limit; n++ {
		if !stream.Receive() {
			return c.explainEnd(begun, stream.Err())
		}
		if err := c.tailLine(stream.Msg()); err != nil {
			return err
		}
	}
	return nil
}

// explainEnd says why a tail ended. Once it has begun, an error that does not
// come from the server, or says that it stops, is that it went away.
func (c *client) explainEnd(begun bool, err error) error {
	w := tailsWords[c.lang]
	switch {
	case err == nil:
		return fmt.Errorf(w.wentAwayFormat, c.shown, w.eof)
	case !begun, connect.IsWireError(err) && connect.CodeOf(err) != connect.CodeUnavailable:
		return c.explain(err)
	}
	var told *connect.Error
	if errors.As(err, &told) {
		return fmt.Errorf(w.wentAwayFormat, c.shown, told.Message())
	}
	return fmt.Errorf(w.wentAwayFormat, c.shown, err)
}

// tailLine prints one row.
func (c *client) tailLine(row *queryv1.TailResponse) error {
	if row.GetItem() == nil {
		return nil // of a later version
	}
	if c.json {
		line, err := jsonLine(row)
		if err != nil {
			return err
		}
		_, err = c.std.out.Write(line)
		return err
	}
	p := printerFor(c.lang)
	line := ""
	switch {
	case row.GetEvent() != nil:
		e := row.GetEvent()
		title := p.title(&queryv1.Entry{Type: e.GetType(), Title: e.GetTitle()})
		line = p.tailColumns(e.GetRecordedAt(), e.GetType(), e.GetCustomerId(), e.GetSource()) + cut(title, maxTitleColumns)
	case row.GetReject() != nil:
		r := row.GetReject()
		reason := strings.Join(strings.Fields(plain(r.GetCode()+" "+r.GetField())), " ") + p.colon + plain(r.GetMessage())
		line = p.tailColumns(r.GetReceivedAt(), tailsWords[c.lang].rejected, r.GetMessageId(), r.GetSource()) + cut(reason, maxReasonColumns)
	}
	_, err := fmt.Fprintln(c.std.out, line)
	return err
}

// tailColumns are the columns before the text of a line.
func (p printer) tailColumns(at *timestamppb.Timestamp, typ, whose, source string) string {
	column := func(s string, n int) string { return pad(cut(plain(s), n), n) + "  " }
	return p.instant(at) + "  " + column(typ, tailTypeColumns) + column(whose, tailCustomerColumns) + column(source, tailSourceColumns)
}
