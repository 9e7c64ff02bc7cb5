package main

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// tick moves log time and returns when every partition has settled there.
func tick(ctx context.Context, std stdio, args []string) error {
	c := newClient(std, "tick", "tick --to T [flags]",
		"Moves log time up to T where the deployment runs on --clock events, and returns\nwhen every partition has evaluated all that falls due by then.")
	to := c.flags.String("to", "", "`instant` to move to, as 2024-12-31T23:59:59Z, or a day")
	if _, err := c.parse(args); err != nil {
		return err
	}
	if *to == "" {
		return wrongUsage("--to missing; an instant such as 2024-12-31T23:59:59Z wanted")
	}
	at, err := parseInstant("to", *to)
	if err != nil {
		return err
	}
	resp, err := c.service().Tick(ctx, &queryv1.TickRequest{To: timestamppb.New(at)})
	if err != nil {
		return c.explain(err)
	}
	if c.json {
		return printJSON(std.out, resp)
	}
	p := printerFor(c.lang)
	if resp.GetSettled().AsTime().After(at) {
		_, err = fmt.Fprintf(std.out, p.alreadyFormat+"\n", p.instant(resp.GetSettled()), p.instant(timestamppb.New(at)))
		return err
	}
	_, err = fmt.Fprintf(std.out, p.settledFormat+"\n", p.instant(resp.GetSettled()))
	return err
}
