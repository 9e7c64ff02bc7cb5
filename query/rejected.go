package query

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest/rejected"
	"github.com/dossier360/dossier/projections"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// ListRejected implements queryv1connect.QueryServiceHandler.
func (s *service) ListRejected(ctx context.Context, req *queryv1.ListRejectedRequest) (*queryv1.ListRejectedResponse, error) {
	limit, err := PageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	fixed := []string{"rejected", req.GetSource(), req.GetCode()}
	from, err := parsePlace(req.GetPageToken(), fixed...)
	if err != nil {
		return nil, err
	}
	page, err := s.Rejected.List(ctx, rejected.Query{Source: req.GetSource(), Code: req.GetCode(), Limit: limit, Before: from.seq})
	if err != nil {
		return nil, err
	}
	resp := &queryv1.ListRejectedResponse{Rejected: make([]*queryv1.RejectedEvent, len(page.Rejects))}
	for i, r := range page.Rejects {
		resp.Rejected[i] = showReject(r)
	}
	if page.Before > 0 {
		resp.NextPageToken = placeToken(pageStart{seq: page.Before}, fixed...)
	}
	return resp, nil
}

// GetRejected implements queryv1connect.QueryServiceHandler.
func (s *service) GetRejected(ctx context.Context, req *queryv1.GetRejectedRequest) (*queryv1.GetRejectedResponse, error) {
	r, err := s.Rejected.Get(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	return &queryv1.GetRejectedResponse{Rejected: showReject(r)}, nil
}

func showReject(r rejected.Reject) *queryv1.RejectedEvent {
	return &queryv1.RejectedEvent{
		Id: r.ID, Source: r.GetSource(), ReceivedAt: instant(r.GetReceivedAt()), Wire: r.GetWire(), Path: r.GetPath(),
		ContentType: r.GetContentType(), Index: r.GetIndex(), MessageId: r.GetMessageId(), Code: r.GetCode(),
		Field: r.GetField(), Limit: r.GetLimit(), Message: r.GetMessage(), Original: r.GetOriginal(),
		OriginalBytes: int64(r.GetOriginalBytes()), Cut: r.GetCut(), Whole: r.GetWhole(),
	}
}

// pageStart is where a page goes on: a sequence, of a partition and with an index
// where those matter.
type pageStart struct {
	partition uint32
	seq       uint64
	index     uint32
}

// placeToken goes on at a place of what a filter leaves, which is the key of
// the token: partition, sequence, index, big endian.
func placeToken(at pageStart, fixed ...string) string {
	key := binary.BigEndian.AppendUint32(nil, at.partition)
	key = binary.BigEndian.AppendUint64(key, at.seq)
	return PageToken(binary.BigEndian.AppendUint32(key, at.index), fixed...)
}

// parsePlace reads a token, none of which is the beginning.
func parsePlace(token string, fixed ...string) (pageStart, error) {
	key, err := ParsePageToken(token, fixed...)
	if key == nil || err != nil {
		return pageStart{}, err
	}
	if len(key) != 16 {
		return pageStart{}, badToken(errBadToken)
	}
	return pageStart{binary.BigEndian.Uint32(key), binary.BigEndian.Uint64(key[4:]), binary.BigEndian.Uint32(key[12:])}, nil
}

// ListParked implements queryv1connect.QueryServiceHandler.
func (s *service) ListParked(_ context.Context, req *queryv1.ListParkedRequest) (*queryv1.ListParkedResponse, error) {
	limit, err := PageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	from, err := parsePlace(req.GetPageToken(), "parked")
	if err != nil {
		return nil, err
	}
	sn := s.snapshot()
	defer sn.close()
	if _, err := s.freshness(sn, s.every()...); err != nil {
		return nil, err // of a store that is being rebuilt not all are known
	}
	resp := &queryv1.ListParkedResponse{}
	for p := int(from.partition); p < len(sn.views); p++ {
		for parked, err := range sn.views[p].Parked(from.seq, from.index) {
			if err != nil {
				return nil, fmt.Errorf("parked events of partition %d: %w", p, err)
			}
			if len(resp.Parked) == limit {
				resp.NextPageToken = placeToken(pageStart{uint32(p), parked.GetSeq(), parked.GetIndex()}, "parked")
				return resp, nil
			}
			resp.Parked = append(resp.Parked, showParked(p, sn.views[p], parked))
		}
		from = pageStart{}
	}
	return resp, nil
}

// GetParked implements queryv1connect.QueryServiceHandler.
func (s *service) GetParked(ctx context.Context, req *queryv1.GetParkedRequest) (*queryv1.GetParkedResponse, error) {
	pos, err := events.ParsePosition(req.GetId())
	if err != nil {
		return nil, refuse(errInvalid, "id: %v", err)
	}
	if pos.Partition >= len(s.Partitions) {
		return nil, refuse(errInvalid, "id %q: partition %d, there are %d", req.GetId(), pos.Partition, len(s.Partitions))
	}
	view := s.Partitions[pos.Partition].View()
	defer view.Close()
	if pos.Epoch != view.Checkpoint().GetEpoch() {
		return nil, noParked(pos)
	}
	parked, err := view.ParkedAt(pos.Seq, pos.Index)
	if errors.Is(err, projections.ErrNotParked) {
		return nil, noParked(pos)
	}
	if err != nil {
		return nil, fmt.Errorf("parked event %s: %w", pos, err)
	}
	shown := showParked(pos.Partition, view, parked)
	record, err := s.record(ctx, pos)
	if err != nil {
		return nil, err
	}
	if uint64(pos.Index) >= uint64(len(record.GetEvents())) {
		return nil, noEvent(pos)
	}
	showBody(shown, record.GetEvents()[pos.Index])
	return &queryv1.GetParkedResponse{Parked: shown}, nil
}

func noParked(pos events.Position) error {
	return refuse(events.ErrNotFound, "no event is parked at %s", pos)
}

func showParked(partition int, view View, p *statev1.Parked) *queryv1.ParkedEvent {
	pos := events.Position{Partition: partition, Epoch: view.Checkpoint().GetEpoch(), Seq: p.GetSeq(), Index: p.GetIndex()}
	shown := &queryv1.ParkedEvent{
		Id: pos.String(), Role: enumWord(p.GetRole().String(), "ROLE_"), Type: typeName(p.GetType(), ""), Source: p.GetSource(),
		EventId: p.GetEventId(), OccurredAt: instant(p.GetOccurredAt()), RecordedAt: instant(p.GetRecordedAt()), Reason: p.GetReason(),
	}
	if id, err := events.CustomerIDFromBytes(p.GetCustomer()); err == nil {
		shown.CustomerId = id.String()
	}
	return shown
}

// showBody adds the event, or the bytes that cannot be read.
func showBody(shown *queryv1.ParkedEvent, e *logv1.LoggedEvent) {
	body := &eventsv1.Event{}
	if e.GetHeader().GetKeyId() != 0 || proto.Unmarshal(e.GetBody(), body) != nil {
		shown.Body = e.GetBody()
		return
	}
	shown.Event = body
	shown.Type = typeName(e.GetHeader().GetType(), body.GetType())
}
