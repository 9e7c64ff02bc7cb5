package query

import (
	"context"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// FindProfiles implements queryv1connect.QueryServiceHandler.
func (s *service) FindProfiles(ctx context.Context, req *queryv1.FindProfilesRequest) (*queryv1.FindProfilesResponse, error) {
	return nil, refuse(errPrecondition, "find: not built yet")
}
