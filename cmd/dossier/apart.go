package main

import (
	"context"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
)

const apartHelp = `Says that two customers are not the same: a conflict or a suspicion about them is
closed, and no event merges them from now on. ` + "`dossier merge`" + ` still does.`

// apart says that two customers are not the same.
func apart(ctx context.Context, std stdio, args []string) error {
	d := newDecider(std, "apart", "apart REF REF --reason TEXT [flags]", apartHelp)
	customers, err := d.parse(args, "REF", "REF")
	if err != nil {
		return err
	}
	return d.keepApart(ctx, customers)
}

func (d *decider) keepApart(ctx context.Context, customers []string) error {
	return d.decide(ctx, func(service queryv1connect.IdentityServiceClient) (*queryv1.IdentityAnswer, error) {
		return service.KeepApart(ctx, &queryv1.KeepApartRequest{Customers: customers, Reason: d.reason, Actor: d.actor, DryRun: d.dryRun})
	})
}
