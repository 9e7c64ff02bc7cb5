package main

import (
	"context"
	"fmt"
	"io"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/ingest/front"
	"github.com/dossier360/dossier/projections"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

const parkedHelp = `Events in the log that could not be applied: they count nowhere, their customers
are flagged, and they are kept for ever.

  dossier parked list [--limit N]
  dossier parked show ID
  dossier parked retry ID… | --all
  dossier parked export > FILE.ndjson

A retry helps where what was in the way has gone. ` + "`dossier parked <word> -h`" + ` tells
the flags.`

// parkedEvents is `dossier parked`.
func parkedEvents(ctx context.Context, std stdio, args []string) error {
	return oneWord(std, "parked", parkedHelp, waitingCommands, args, map[string]func([]string) error{
		"list":   func(rest []string) error { return parkedList(ctx, std, rest) },
		"show":   func(rest []string) error { return parkedShow(ctx, std, rest) },
		"retry":  func(rest []string) error { return parkedRetry(ctx, std, rest) },
		"export": func(rest []string) error { return parkedExport(ctx, std, rest) },
	})
}

func parkedList(ctx context.Context, std stdio, args []string) error {
	c := newClient(std, "parked list", "parked list [flags]", "Lists the events that were set aside, by partition and in the order of arrival.")
	limit := c.limitFlag("events")
	if _, err := c.parse(args); err != nil {
		return err
	}
	if err := checkLimit(*limit); err != nil {
		return err
	}
	w, p, t, n := waitingsWords[c.lang], printerFor(c.lang), &table{}, 0
	t.add(w.position, w.when, w.customer, w.typ, w.source, w.messageID, w.reason)
	err := c.eachParked(ctx, *limit, func(e *queryv1.ParkedEvent) error {
		n++
		if c.json {
			return writeLine(std.out, e)
		}
		t.add(e.GetId(), p.instant(e.GetOccurredAt()), e.GetCustomerId(), plain(e.GetType()), plain(e.GetSource()),
			cut(plain(e.GetEventId()), tailCustomerColumns), cut(plain(e.GetReason()), maxReasonColumns))
		return nil
	})
	switch {
	case err != nil || c.json:
		return err
	case n == 0:
		_, err := fmt.Fprintln(std.out, w.noneParked)
		return err
	}
	return t.write(std.out)
}

// writeLine prints one JSON object on a line.
func writeLine(w io.Writer, m proto.Message) error {
	line, err := jsonLine(m)
	if err == nil {
		_, err = w.Write(line)
	}
	return err
}

// eachParked asks for page after page, up to limit events; 0 means all.
func (c *client) eachParked(ctx context.Context, limit int, do func(*queryv1.ParkedEvent) error) error {
	service := c.service()
	_, err := eachPage(limit, func(size uint32, token string) ([]*queryv1.ParkedEvent, string, error) {
		resp, err := service.ListParked(ctx, &queryv1.ListParkedRequest{PageSize: size, PageToken: token})
		return resp.GetParked(), resp.GetNextPageToken(), c.explain(err)
	}, do)
	return err
}

func (c *client) parkedEvent(ctx context.Context, id string) (*queryv1.ParkedEvent, error) {
	resp, err := c.service().GetParked(ctx, &queryv1.GetParkedRequest{Id: id})
	if err != nil {
		return nil, c.explain(err)
	}
	return resp.GetParked(), nil
}

func parkedShow(ctx context.Context, std stdio, args []string) error {
	c := newClient(std, "parked show", "parked show ID [flags]", "Shows one parked event: whose it is, why it was set aside, and the event itself.")
	ids, err := c.parse(args, "ID")
	if err != nil {
		return err
	}
	e, err := c.parkedEvent(ctx, ids[0])
	if err != nil {
		return err
	}
	if c.json {
		return printJSON(std.out, e)
	}
	w, p, t := waitingsWords[c.lang], printerFor(c.lang), &table{}
	t.add(w.position, e.GetId())
	t.add(w.when, p.instant(e.GetOccurredAt()))
	t.add(w.customer, e.GetCustomerId())
	t.add(w.typ, plain(e.GetType()))
	t.add(w.source, plain(e.GetSource()))
	t.add(w.messageID, plain(e.GetEventId()))
	t.add(w.reason, plain(e.GetReason()))
	if err := t.write(std.out); err != nil {
		return err
	}
	fmt.Fprintln(std.out)
	if e.GetEvent() != nil {
		return printJSON(std.out, e.GetEvent())
	}
	text := fmt.Sprintf("%q", e.GetBody())
	if utf8.Valid(e.GetBody()) {
		text = shownText(string(e.GetBody()))
	}
	_, err = fmt.Fprintln(std.out, text)
	return err
}

func parkedRetry(ctx context.Context, std stdio, args []string) error {
	c := newClient(std, "parked retry", "parked retry ID… | --all [flags]", `Tries parked events again: they are appended once more as they were, and what
can be applied now is. Exit status is 1 if one is parked still.`)
	c.writeKeyFlag()
	all := c.flags.Bool("all", false, "all that are parked")
	ids, err := c.parse(args, idsUnlessAll(args)...)
	if err != nil {
		return err
	}
	asked := map[string]any{"ids": ids}
	if *all {
		asked = map[string]any{"all": true}
	}
	done := &retries[front.ParkedOutcome]{client: c, path: "/v1/parked/retry"}
	return done.run(ctx, asked, func(o front.ParkedOutcome) (id, outcome, why string) {
		return o.ID, o.Outcome, o.Reason
	}, projections.RetryParked)
}

func parkedExport(ctx context.Context, std stdio, args []string) error {
	c := newClient(std, "parked export", "parked export > FILE.ndjson", "Writes all parked events with their reasons, one JSON object a line.")
	if _, err := c.parse(args); err != nil {
		return err
	}
	return c.eachParked(ctx, 0, func(listed *queryv1.ParkedEvent) error {
		e, err := c.parkedEvent(ctx, listed.GetId())
		if err != nil {
			return err
		}
		return writeLine(std.out, e)
	})
}
