package main

import (
	"context"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
)

const linkHelp = `Says that identifiers are one customer's: those that nobody knows become his, and
the customers that the others name are merged. At least one must be known.

ID is <identifier type>:<value>, as email:ann@example.com. A merge is undone by
` + "`dossier split --undo`" + `, a link by ` + "`dossier split CUSTOMER ID`" + `.`

// link says that identifiers are one customer's.
func link(ctx context.Context, std stdio, args []string) error {
	d := newDecider(std, "link", "link ID ID… --reason TEXT [flags]", linkHelp)
	d.waitFlag()
	identifiers, err := d.parse(args, "ID", "ID…")
	if err != nil {
		return err
	}
	return d.decide(ctx, func(service queryv1connect.IdentityServiceClient) (*queryv1.IdentityAnswer, error) {
		return service.Link(ctx, &queryv1.LinkRequest{Identifiers: identifiers, Reason: d.reason, Actor: d.actor, DryRun: d.dryRun})
	})
}
