package main

import (
	"context"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
)

const blockHelp = `Says that an identifier names nobody from now on: the telephone of an office, a
device that everybody uses. What was told by it stays where it is; an event that
has no other identifier is refused.

--release takes that back: the next event that tells it together with a customer
links it to him.`

// block says that an identifier names nobody, or does so no more.
func block(ctx context.Context, std stdio, args []string) error {
	d := newDecider(std, "block", "block ID --reason TEXT [flags]", blockHelp)
	release := d.flags.Bool("release", false, "the identifier names its next customer again")
	identifiers, err := d.parse(args, "ID")
	if err != nil {
		return err
	}
	return d.decide(ctx, func(service queryv1connect.IdentityServiceClient) (*queryv1.IdentityAnswer, error) {
		return service.Block(ctx, &queryv1.BlockRequest{
			Identifier: identifiers[0], Release: *release, Reason: d.reason, Actor: d.actor, DryRun: d.dryRun,
		})
	})
}
