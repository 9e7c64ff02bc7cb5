package query

import (
	"context"

	"connectrpc.com/connect"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// ListRejected implements queryv1connect.QueryServiceHandler.
func (s *service) ListRejected(context.Context, *queryv1.ListRejectedRequest) (*queryv1.ListRejectedResponse, error) {
	return nil, connect.NewError(connect.CodeUnimplemented, nil)
}

// GetRejected implements queryv1connect.QueryServiceHandler.
func (s *service) GetRejected(context.Context, *queryv1.GetRejectedRequest) (*queryv1.GetRejectedResponse, error) {
	return nil, connect.NewError(connect.CodeUnimplemented, nil)
}

// ListParked implements queryv1connect.QueryServiceHandler.
func (s *service) ListParked(context.Context, *queryv1.ListParkedRequest) (*queryv1.ListParkedResponse, error) {
	return nil, connect.NewError(connect.CodeUnimplemented, nil)
}

// GetParked implements queryv1connect.QueryServiceHandler.
func (s *service) GetParked(context.Context, *queryv1.GetParkedRequest) (*queryv1.GetParkedResponse, error) {
	return nil, connect.NewError(connect.CodeUnimplemented, nil)
}
