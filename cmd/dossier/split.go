package main

import (
	"context"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
)

const splitHelp = `Parts a customer who is two.

  dossier split --undo MERGE --reason TEXT
  dossier split REF ID… --reason TEXT

The first takes a merge back, by its id (` + "`dossier merges`" + ` lists them): who was merged
away comes back under his old customer id, with what was his and what was told
since by his identifiers alone. The second takes identifiers out of a customer;
a new one gets them, and the events that name one of them and no other of his.

Either way the two are kept apart: an event that names both does not join them
again.`

// split undoes a merge, or takes identifiers out of a customer.
func split(ctx context.Context, std stdio, args []string) error {
	d := newDecider(std, "split", "split --undo MERGE | REF ID… --reason TEXT [flags]", splitHelp)
	d.waitFlag()
	undo := d.flags.Uint64("undo", 0, "take back this `MERGE`, an id that merge and merges print")
	positional, err := d.parse(args, "[REF]", "[ID…]")
	switch undoes := d.given("undo") != ""; {
	case err != nil:
		return err
	case undoes && *undo == 0:
		return wrongUsage("--undo 0: the id of a merge wanted; `dossier merges` lists them")
	case undoes && len(positional) > 0:
		return wrongUsage("%q and --undo: one of them; a merge is undone as a whole", positional[0])
	case !undoes && len(positional) == 0:
		return wrongUsage("REF or --undo missing; `dossier split -h` tells how")
	case !undoes && len(positional) == 1:
		return wrongUsage("ID… missing: which identifiers of %s; `dossier split -h` tells how", positional[0])
	}
	r := &queryv1.SplitRequest{Undo: *undo, Reason: d.reason, Actor: d.actor, DryRun: d.dryRun}
	if len(positional) > 0 {
		r.Customer, r.Identifiers = positional[0], positional[1:]
	}
	return d.decide(ctx, func(service queryv1connect.IdentityServiceClient) (*queryv1.IdentityAnswer, error) {
		return service.Split(ctx, r)
	})
}
