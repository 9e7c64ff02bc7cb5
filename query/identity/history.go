package identity

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest/directory"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/query"
)

// ListMerges implements queryv1connect.IdentityServiceHandler.
func (s *service) ListMerges(_ context.Context, req *queryv1.ListMergesRequest) (*queryv1.ListMergesResponse, error) {
	size, err := query.PageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	q := directory.MergesQuery{Limit: size + 1} // whether there is another page
	if q.Customer, err = s.maybe(req.GetCustomer()); err != nil {
		return nil, err
	}
	fixed := []string{"merges", q.Customer.String()}
	key, err := query.ParsePageToken(req.GetPageToken(), fixed...)
	if err != nil {
		return nil, err
	}
	if key != nil {
		if len(key) != 8 {
			return nil, query.Invalid("pageToken: cut short; begin again without one")
		}
		q.Before = binary.BigEndian.Uint64(key)
	}
	merges, err := s.directory.Merges(q)
	if err != nil {
		return nil, err
	}
	resp := &queryv1.ListMergesResponse{}
	if len(merges) > size {
		merges = merges[:size]
		resp.NextPageToken = query.PageToken(binary.BigEndian.AppendUint64(nil, merges[size-1].Seq), fixed...)
	}
	clear := s.clear()
	for _, m := range merges {
		entry, err := showMerge(m, clear)
		if err != nil {
			return nil, err
		}
		resp.Merges = append(resp.Merges, entry)
	}
	return resp, nil
}

// maybe finds a customer, zero for "".
func (s *service) maybe(reference string) (events.CustomerID, error) {
	if reference == "" {
		return events.CustomerID{}, nil
	}
	return s.customers.Find(reference)
}

func showMerge(m directory.MergeEntry, clear *clear) (*queryv1.MergeEntry, error) {
	entry, why := &queryv1.MergeEntry{Id: m.Seq, Undone: m.UndoneBy != 0}, m.Merged.GetWhy()
	from, to := m.Merged.GetLoser(), m.Merged.GetWinner()
	entry.Kind = string(directory.DecidedMerged)
	if m.Split != nil {
		why, from, to = m.Split.GetWhy(), m.Split.GetFrom(), m.Split.GetTo()
		entry.Kind, entry.Undoes = string(directory.DecidedSplit), m.Split.GetUndoes()
	}
	two, err := pairOf(from, to)
	if err != nil {
		return nil, fmt.Errorf("%s %d: %w", entry.Kind, m.Seq, err)
	}
	if err := clear.learn(two...); err != nil {
		return nil, err
	}
	entry.From, entry.To = two[0].String(), two[1].String()
	entry.At = when(why, m.Time)
	entry.Rule, entry.Source, entry.EventId = why.GetRule(), why.GetSource(), why.GetEventId()
	entry.Reason, entry.Actor = why.GetReason(), why.GetActor()
	if entry.Identifiers = clear.show(why.GetIdentifiers()); len(entry.Identifiers) == 0 {
		entry.Identifiers = clear.showHashes(m.Split.GetHashes())
	}
	return entry, nil
}

// when something was decided: by the clock of who decided, else by the log's.
func when(why *logv1.Why, logged time.Time) *timestamppb.Timestamp {
	if why.GetAt() != 0 {
		return timestamppb.New(events.FromMicros(why.GetAt()))
	}
	return stamp(logged)
}

// stamp is nil for the zero time.
func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func pairOf(a, b []byte) ([]events.CustomerID, error) {
	first, err := events.CustomerIDFromBytes(a)
	if err != nil {
		return nil, err
	}
	second, err := events.CustomerIDFromBytes(b)
	return []events.CustomerID{first, second}, err
}
