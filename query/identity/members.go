package identity

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/query"
)

// MaxMembers bounds the persons of whom one company was told, to be listed: all
// are read for every page, some 40 bytes each, to show each person once.
const MaxMembers = 1_000_000

// ListMembers implements queryv1connect.IdentityServiceHandler.
func (s *service) ListMembers(ctx context.Context, req *queryv1.ListMembersRequest) (*queryv1.ListMembersResponse, error) {
	size, err := query.PageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	company, err := s.customers.Find(req.GetCompany())
	if err != nil {
		return nil, err
	}
	fixed := []string{"members", company.String()}
	if req.GetFormer() {
		fixed = append(fixed, "former")
	}
	after, err := query.ParsePageToken(req.GetPageToken(), fixed...)
	if err != nil {
		return nil, err
	}
	head, err := s.customers.Outline(company)
	if err != nil {
		return nil, err
	}
	if head == nil {
		return nil, query.NotFound("no customer %s", req.GetCompany())
	}
	if !isCompany(head.GetKind()) {
		return nil, query.Invalid("company %q: a person, %s; only companies have members", req.GetCompany(), company)
	}
	members, err := s.members(ctx, company)
	if err != nil {
		return nil, err
	}
	resp := &queryv1.ListMembersResponse{}
	for _, m := range members {
		if !m.Current && !req.GetFormer() || bytes.Compare(m.Person[:], after) <= 0 {
			continue
		}
		if len(resp.Members) == size {
			last, err := events.ParseCustomerID(resp.Members[size-1].GetCustomerId())
			if err != nil {
				return nil, err
			}
			resp.NextPageToken = query.PageToken(last[:], fixed...)
			break
		}
		name, err := s.customers.Name(m.Person)
		if err != nil {
			return nil, err
		}
		resp.Members = append(resp.Members, &queryv1.Member{
			CustomerId: m.Person.String(), Name: name, Current: m.Current, Since: timestamppb.New(events.FromMicros(m.Since)),
		})
	}
	return resp, nil
}

// members are the persons of a company as they are now, by customer id. Who
// joined under several ids is one: what says that he belongs wins, then what was
// told last.
func (s *service) members(ctx context.Context, company events.CustomerID) ([]projections.Member, error) {
	var all []projections.Member
	err := s.customers.Members(ctx, company, func(m projections.Member) (err error) {
		if len(all) == MaxMembers {
			return query.Impossible("company %s: more than %d persons, which is the limit of a list", company, MaxMembers)
		}
		m.Person, err = s.directory.Root(m.Person)
		all = append(all, m)
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b projections.Member) int {
		return cmp.Or(a.Person.Compare(b.Person), -compareBools(a.Current, b.Current), cmp.Compare(b.Since, a.Since))
	})
	return slices.CompactFunc(all, func(a, b projections.Member) bool { return a.Person == b.Person }), nil
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
