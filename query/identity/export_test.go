package identity

import (
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
)

// NewService is the service without a wire.
func NewService(o Options) queryv1connect.IdentityServiceHandler { return newService(o) }

// TakePapers takes places of those who fold on paper.
func TakePapers(h queryv1connect.IdentityServiceHandler, n int) {
	for range n {
		h.(*service).papers <- struct{}{}
	}
}
