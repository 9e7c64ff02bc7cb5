package main

import (
	"context"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
)

const mergeHelp = `Says that customers are one. Who has more identifiers keeps his customer id, of
equals the older one; the others' events move to him, and their ids lead to him
from then on. Persons and companies never become one.

--dry-run shows the customers beside what they would be. ` + "`dossier split --undo`" + `
takes a merge back.`

// merge says that customers are one.
func merge(ctx context.Context, std stdio, args []string) error {
	d := newDecider(std, "merge", "merge REF REF… --reason TEXT [flags]", mergeHelp)
	d.waitFlag()
	customers, err := d.parse(args, "REF", "REF…")
	if err != nil {
		return err
	}
	return d.merge(ctx, customers, "")
}

// merge merges customers by a rule; "" is by hand.
func (d *decider) merge(ctx context.Context, customers []string, rule string) error {
	return d.decide(ctx, func(service queryv1connect.IdentityServiceClient) (*queryv1.IdentityAnswer, error) {
		return service.Merge(ctx, &queryv1.MergeRequest{Customers: customers, Reason: d.reason, Actor: d.actor, DryRun: d.dryRun, Rule: rule})
	})
}
