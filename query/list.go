package query

import (
	"context"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// ListProfiles implements queryv1connect.QueryServiceHandler.
func (s *service) ListProfiles(ctx context.Context, req *queryv1.ListProfilesRequest) (*queryv1.ListProfilesResponse, error) {
	return nil, refuse(errPrecondition, "list: not built yet")
}
