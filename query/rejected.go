package query

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"

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
	limit, err := pageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	sum := filterSum("rejected", req.GetSource(), req.GetCode())
	from, err := parsePlace(req.GetPageToken(), sum)
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
		resp.NextPageToken = placeToken(sum, pageStart{seq: page.Before})
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

// pageSize is how many rows a page holds.
func pageSize(asked uint32) (int, error) {
	switch {
	case asked == 0:
		return DefaultPageSize, nil
	case asked > MaxPageSize:
		return 0, refuse(errInvalid, "pageSize: %d, limit %d", asked, MaxPageSize)
	}
	return int(asked), nil
}

// pageStart is where a page goes on: a sequence, of a partition and with an index
// where those matter.
type pageStart struct {
	partition uint32
	seq       uint64
	index     uint32
}

// placeToken goes on at a place of what a filter leaves.
//
//	byte  0      version, 1
//	bytes 1-8    FNV-1a-64 of the filter, big endian
//	bytes 9-24   the place: partition, sequence, index
func placeToken(sum uint64, at pageStart) string {
	b := binary.BigEndian.AppendUint64([]byte{pageTokenVersion}, sum)
	b = binary.BigEndian.AppendUint32(b, at.partition)
	b = binary.BigEndian.AppendUint64(b, at.seq)
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(b, at.index))
}

// parsePlace reads a token, none of which is the beginning. That of another
// filter does not check: its page would silently lack rows.
func parsePlace(token string, sum uint64) (pageStart, error) {
	if token == "" {
		return pageStart{}, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) != 25 || b[0] != pageTokenVersion {
		return pageStart{}, refuse(errInvalid, "pageToken: %v", errBadToken)
	}
	if binary.BigEndian.Uint64(b[1:]) != sum {
		return pageStart{}, refuse(errInvalid, "pageToken: it belongs to another list or filter")
	}
	return pageStart{binary.BigEndian.Uint32(b[9:]), binary.BigEndian.Uint64(b[13:]), binary.BigEndian.Uint32(b[21:])}, nil
}

// filterSum covers what must stay the same from page to page.
func filterSum(parts ...string) uint64 {
	h := fnv.New64a()
	for _, part := range parts {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return h.Sum64()
}

// ListParked implements queryv1connect.QueryServiceHandler.
func (s *service) ListParked(_ context.Context, req *queryv1.ListParkedRequest) (*queryv1.ListParkedResponse, error) {
	limit, err := pageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	sum := filterSum("parked")
	from, err := parsePlace(req.GetPageToken(), sum)
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
				resp.NextPageToken = placeToken(sum, pageStart{uint32(p), parked.GetSeq(), parked.GetIndex()})
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
