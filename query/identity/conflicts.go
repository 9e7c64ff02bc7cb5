package identity

import (
	"context"
	"errors"
	"fmt"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/projections"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/query"
)

// ListConflicts implements queryv1connect.IdentityServiceHandler.
func (s *service) ListConflicts(_ context.Context, req *queryv1.ListConflictsRequest) (*queryv1.ListConflictsResponse, error) {
	size, err := query.PageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	q := directory.ConflictsQuery{Limit: size + 1} // whether there is another page
	if q.State, err = stateOf(req.GetState()); err != nil {
		return nil, err
	}
	if q.Customer, err = s.maybe(req.GetCustomer()); err != nil {
		return nil, err
	}
	fixed := []string{"conflicts", string(q.State), q.Customer.String()}
	before, err := query.ParsePageToken(req.GetPageToken(), fixed...)
	if err != nil {
		return nil, err
	}
	q.Before = string(before)
	conflicts, err := s.directory.Conflicts(q)
	if err != nil {
		return nil, err
	}
	resp := &queryv1.ListConflictsResponse{Open: s.directory.QuarantinedCount()}
	if len(conflicts) > size {
		conflicts = conflicts[:size]
		resp.NextPageToken = query.PageToken([]byte(conflicts[size-1].ID), fixed...)
	}
	clear := s.clear()
	for _, c := range conflicts {
		shown, err := s.showConflict(c, clear)
		if err != nil {
			return nil, err
		}
		resp.Conflicts = append(resp.Conflicts, shown)
	}
	return resp, nil
}

func stateOf(state string) (directory.ConflictState, error) {
	switch known := directory.ConflictState(state); known {
	case "":
		return directory.ConflictOpen, nil
	case directory.ConflictOpen, directory.ConflictApproved, directory.ConflictDismissed:
		return known, nil
	case "all":
		return "", nil
	}
	return "", query.Invalid("state: %.60q; open, approved, dismissed or all wanted", state)
}

// GetConflict implements queryv1connect.IdentityServiceHandler.
func (s *service) GetConflict(ctx context.Context, req *queryv1.GetConflictRequest) (*queryv1.GetConflictResponse, error) {
	if req.GetId() == "" {
		return nil, query.Invalid("id: empty; the id of a conflict wanted")
	}
	conflict, err := s.directory.Conflict(req.GetId())
	if err != nil {
		return nil, err
	}
	resp := &queryv1.GetConflictResponse{}
	if resp.Conflict, err = s.showConflict(conflict, s.clear()); err != nil {
		return nil, err
	}
	two, err := bothOf(conflict)
	if err != nil {
		return nil, err
	}
	if resp.Now, err = s.show(two); err != nil {
		return nil, err
	}
	if len(resp.Now) < 2 {
		return resp, nil // they are one by now
	}
	would, err := s.directory.Merge(ctx, directory.MergeOrder{Customers: two, DryRun: true})
	if err != nil || len(would.Decisions) == 0 {
		return resp, err // one by now, too
	}
	merged := would.Decisions[0]
	resp.Joined, err = s.sketchTogether(ctx, merged.To, []events.CustomerID{merged.From, merged.To})
	if errors.Is(err, projections.ErrTooLong) {
		return resp, nil // whoever decides sees the two, and goes without
	}
	return resp, err
}

// bothOf are the two customers of a conflict, the stronger first.
func bothOf(c directory.Conflict) ([]events.CustomerID, error) {
	two, err := pairOf(c.Told.GetStronger(), c.Told.GetWeaker())
	if err != nil {
		return nil, fmt.Errorf("conflict %s: %w", c.ID, err)
	}
	return two, nil
}

func (s *service) showConflict(c directory.Conflict, clear *clear) (*queryv1.Conflict, error) {
	two, err := bothOf(c)
	if err != nil {
		return nil, err
	}
	if err := clear.learn(two...); err != nil {
		return nil, err
	}
	told := c.Told
	shown := &queryv1.Conflict{
		Id: c.ID, State: string(c.State), Stronger: two[0].String(), Weaker: two[1].String(),
		Identifiers: clear.show([]*logv1.HashedIdentifier{told.GetStrongerIdentifier(), told.GetWeakerIdentifier()}),
		Rule:        told.GetRule(), Explanation: explain(told), Source: told.GetSource(), EventId: told.GetEventId(), At: stamp(c.Time),
		Reason: c.Resolution.GetReason(), Actor: c.Resolution.GetActor(), ResolvedAt: stamp(c.ResolvedAt),
	}
	for i, name := range []*string{&shown.StrongerName, &shown.WeakerName} {
		root, err := s.directory.Root(two[i])
		if err != nil {
			return nil, err
		}
		if *name, err = s.customers.Name(root); err != nil {
			return nil, err
		}
	}
	return shown, nil
}

// explain says for people why an event did not join two customers.
func explain(q *logv1.Quarantined) string {
	strong, weak := q.GetStrongerIdentifier().GetType(), q.GetWeakerIdentifier().GetType()
	named := fmt.Sprintf("the event's %s and its %s name two customers", strong, weak)
	switch q.GetRule() {
	case "second_exclusive":
		return fmt.Sprintf("the event told a new identifier of a type of which a customer has one, together with a %s of somebody who has another one", weak)
	case "two_exclusive":
		return named + ", who hold different identifiers of a type of which a customer has one"
	case "limit":
		return named + ", who together would hold more identifiers of a type than a customer may have"
	case "kept_apart":
		return named + ", of whom it was said that they are not the same"
	case "two_known":
		return named + ", and customers who were known already were not joined when it was told"
	}
	return named
}
