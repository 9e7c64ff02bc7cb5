package query

import "github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"

// NewService is the service without a wire.
func NewService(o Options) queryv1connect.QueryServiceHandler { return newService(o) }
