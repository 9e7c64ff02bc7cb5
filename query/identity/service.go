package identity

import (
	"context"
	"log/slog"
	"net/http"

	"connectrpc.com/connect"

	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/projections"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
	"github.com/dossier360/dossier/query"
)

// Path is the prefix that the handler of [New] serves.
const Path = "/" + queryv1connect.IdentityServiceName + "/"

// Suspects proposes pairs of customers who are probably the same.
type Suspects interface {
	List(context.Context, *queryv1.ListSuspectsRequest) (*queryv1.ListSuspectsResponse, error)
}

// Options of [New]. All fields without a stated zero value are required.
type Options struct {
	// Partitions, all of them, by number.
	Partitions []*projections.Partition
	Directory  *directory.Directory
	// Suspects answers ListSuspects; nil: nobody is suspected, which the answer
	// says.
	Suspects Suspects
	// FormatReceipt writes a receipt: see query.ReceiptIdentity.
	FormatReceipt func(map[int]uint64) string
	Logger        *slog.Logger
	// ReadKeys guard everything, WriteKeys beside them what changes; none
	// leaves it open.
	ReadKeys, WriteKeys []string
	// CORSOrigins may read from a browser; none may by default, "*" is all.
	CORSOrigins []string
}

// service implements queryv1connect.IdentityServiceHandler. It is safe for
// concurrent use.
type service struct {
	directory     *directory.Directory
	customers     *query.Customers
	partitions    []*projections.Partition
	suspects      Suspects
	formatReceipt func(map[int]uint64) string

	papers chan struct{} // holds one token for each paper in use
}

var _ queryv1connect.IdentityServiceHandler = (*service)(nil)

func newService(o Options) *service {
	partitions := make([]query.Partition, len(o.Partitions))
	for i, p := range o.Partitions {
		partitions[i] = query.Local(p)
	}
	return &service{
		directory: o.Directory, partitions: o.Partitions, suspects: o.Suspects, formatReceipt: o.FormatReceipt,
		customers: query.NewCustomers(query.Options{Partitions: partitions, Directory: o.Directory, Logger: o.Logger}),
		papers:    make(chan struct{}, MaxPapers),
	}
}

// New returns the handler of the identity service, to be mounted at [Path].
func New(o Options) http.Handler {
	keys := guard{read: sumKeys(o.ReadKeys), write: sumKeys(o.WriteKeys)}
	path, methods := queryv1connect.NewIdentityServiceHandler(newService(o), query.HandlerOptions(o.Logger, keys, abreast(o.Directory))...)
	described := queryv1.File_dossier_query_v1_identity_proto.Services().ByName("IdentityService")
	return query.CrossOrigin(o.CORSOrigins, query.KnownMethods(path, described, methods))
}

// abreast has every call see what any gateway has decided before it: a merge made
// at one is listed, and undone, at another.
func abreast(d *directory.Directory) connect.UnaryInterceptorFunc {
	return func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
			if err := d.CatchUp(ctx); err != nil {
				return nil, err
			}
			return next(ctx, req)
		}
	}
}

// ListSuspects implements queryv1connect.IdentityServiceHandler.
func (s *service) ListSuspects(ctx context.Context, req *queryv1.ListSuspectsRequest) (*queryv1.ListSuspectsResponse, error) {
	if s.suspects == nil {
		return nil, query.Impossible("this server looks for no suspected duplicates")
	}
	return s.suspects.List(ctx, req)
}

func isCompany(k logv1.CustomerKind) bool { return k == logv1.CustomerKind_CUSTOMER_KIND_COMPANY }
