package query

import (
	"context"

	"connectrpc.com/connect"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// Tail implements queryv1connect.QueryServiceHandler.
func (s *service) Tail(ctx context.Context, req *queryv1.TailRequest, stream *connect.ServerStream[queryv1.TailResponse]) error {
	return refuse(errPrecondition, "tail: not built yet")
}
