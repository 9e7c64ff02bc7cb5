package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

const (
	defaultTimelineLimit = 50
	timelinePageSize     = 500
	// A title longer than this would break the table; --json has it whole.
	maxTitleColumns = 60
)

// timeline prints one customer's events, newest first.
func timeline(ctx context.Context, std stdio, args []string) error {
	c := newClient(std, "timeline", "timeline REF [flags]",
		"Prints one customer's events, newest first.")
	var types list
	c.flags.Var(&types, "type", "only events of this `type`, canonical (order.placed) or custom; repeatable")
	from := c.flags.String("from", "", "only events at or after this `instant`")
	to := c.flags.String("to", "", "only events before this `instant`")
	limit := c.flags.Int("limit", defaultTimelineLimit, "at most `N` events; 0 means all")
	full := c.flags.Bool("full", false, "show ids, positions and fields too")
	refs, err := c.parse(args, "REF")
	if err != nil {
		return err
	}
	c.customer = refs[0]
	if *limit < 0 {
		return wrongUsage("--limit %d: a number of events, or 0 for all, wanted", *limit)
	}
	req := &queryv1.GetTimelineRequest{Customer: c.customer, Types: types}
	if req.From, err = optionalInstant("from", *from); err != nil {
		return err
	}
	if req.To, err = optionalInstant("to", *to); err != nil {
		return err
	}
	entries, err := c.entries(ctx, req, *limit)
	switch {
	case err != nil:
		return err
	case c.json:
		return entryLines(std.out, entries)
	case len(entries) == 0:
		return c.noEntries(ctx, req)
	default:
		return c.timelineTable(entries, *full)
	}
}

// noEntries says that nothing was found, and what kept it out if that was the
// filter by type rather than the span.
func (c *client) noEntries(ctx context.Context, req *queryv1.GetTimelineRequest) error {
	w := words[c.lang]
	if len(req.GetTypes()) == 0 {
		_, err := fmt.Fprintln(c.std.out, w.noEvents)
		return err
	}
	others, err := c.entries(ctx, &queryv1.GetTimelineRequest{Customer: req.GetCustomer(), From: req.GetFrom(), To: req.GetTo()}, 1)
	if err != nil {
		return err
	}
	if len(others) == 0 {
		_, err := fmt.Fprintln(c.std.out, w.noEvents)
		return err
	}
	_, err = fmt.Fprintf(c.std.out, w.noTypeFormat+"\n", plain(strings.Join(req.GetTypes(), w.list)))
	for _, name := range req.GetTypes() {
		if err == nil && events.TypeByName(name) == eventsv1.Type_TYPE_CUSTOM {
			_, err = fmt.Fprintf(c.std.out, w.customTypeFormat+"\n", plain(name))
		}
	}
	return err
}

func optionalInstant(flagName, s string) (*timestamppb.Timestamp, error) {
	if s == "" {
		return nil, nil
	}
	t, err := parseInstant(flagName, s)
	if err != nil {
		return nil, err
	}
	return timestamppb.New(t), nil
}

// entries asks for page after page, up to limit entries; 0 means all.
func (c *client) entries(ctx context.Context, req *queryv1.GetTimelineRequest, limit int) ([]*queryv1.Entry, error) {
	service := c.service()
	var entries []*queryv1.Entry
	for {
		req.PageSize = timelinePageSize
		if left := limit - len(entries); limit > 0 {
			req.PageSize = uint32(min(left, timelinePageSize))
		}
		resp, err := service.GetTimeline(ctx, req)
		if err != nil {
			return nil, c.explain(err)
		}
		entries = append(entries, resp.GetEntries()...)
		req.PageToken = resp.GetNextPageToken()
		if req.PageToken == "" || limit > 0 && len(entries) >= limit {
			return entries, nil
		}
	}
}

// entryLines prints one JSON object a line.
func entryLines(w io.Writer, entries []*queryv1.Entry) error {
	for _, e := range entries {
		line, err := jsonLine(e)
		if err != nil {
			return err
		}
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) timelineTable(entries []*queryv1.Entry, full bool) error {
	p := printerFor(c.lang)
	t := &table{}
	if full {
		t.add(p.when, p.typ, p.source, p.position, p.what)
	} else {
		t.add(p.when, p.typ, p.source, p.what)
	}
	for _, e := range entries {
		when, typ, source := e.GetOccurredAt().AsTime().UTC().Format(time.DateTime), plain(e.GetType()), plain(e.GetSource())
		if !full {
			t.add(when, typ, source, cut(p.line(e), maxTitleColumns))
			continue
		}
		t.add(when, typ, source, e.GetPosition(), p.line(e))
		t.add("", "", "", "", p.eventID+" = "+plain(e.GetEventId()))
		if played(e) {
			t.add("", "", "", "", p.role+" = "+p.roleName(e.GetRole()))
		}
		for _, name := range slices.Sorted(maps.Keys(e.GetFields())) {
			t.add("", "", "", "", p.field(e, name))
		}
	}
	return t.write(c.std.out)
}
