package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

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
	if *limit < 0 {
		return wrongUsage("--limit %d: a number of events, or 0 for all, wanted", *limit)
	}
	req := &queryv1.GetTimelineRequest{Customer: refs[0], Types: types}
	if req.From, err = optionalInstant("from", *from); err != nil {
		return err
	}
	if req.To, err = optionalInstant("to", *to); err != nil {
		return err
	}
	show := c.timelineTable(*full)
	if c.json {
		show = entryLines
	}
	return c.pages(ctx, req, *limit, show)
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

// pages asks for page after page and shows them as one list.
func (c *client) pages(ctx context.Context, req *queryv1.GetTimelineRequest, limit int, show func(io.Writer, []*queryv1.Entry) error) error {
	service := c.service()
	var entries []*queryv1.Entry
	for {
		req.PageSize = timelinePageSize
		if left := limit - len(entries); limit > 0 {
			req.PageSize = uint32(min(left, timelinePageSize))
		}
		resp, err := service.GetTimeline(ctx, req)
		if err != nil {
			return c.explain(err)
		}
		entries = append(entries, resp.GetEntries()...)
		req.PageToken = resp.GetNextPageToken()
		if req.PageToken == "" || limit > 0 && len(entries) >= limit {
			return show(c.std.out, entries)
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

func (c *client) timelineTable(full bool) func(io.Writer, []*queryv1.Entry) error {
	p := printerFor(c.lang)
	return func(w io.Writer, entries []*queryv1.Entry) error {
		if len(entries) == 0 {
			_, err := fmt.Fprintln(w, p.noEvents)
			return err
		}
		t := &table{}
		if full {
			t.add(p.when, p.typ, p.source, p.position, p.what)
		} else {
			t.add(p.when, p.typ, p.source, p.what)
		}
		for _, e := range entries {
			when, typ, source := e.GetOccurredAt().AsTime().UTC().Format(time.DateTime), plain(e.GetType()), plain(e.GetSource())
			if !full {
				t.add(when, typ, source, cut(plain(e.GetTitle()), maxTitleColumns))
				continue
			}
			t.add(when, typ, source, e.GetPosition(), plain(e.GetTitle()))
			t.add("", "", "", "", "id = "+plain(e.GetEventId()))
			for _, name := range slices.Sorted(maps.Keys(e.GetFields())) {
				t.add("", "", "", "", plain(name)+" = "+plain(e.GetFields()[name]))
			}
		}
		return t.write(w)
	}
}
