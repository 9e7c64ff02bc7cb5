package query

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// GetEvent implements queryv1connect.QueryServiceHandler. It reads the log
// itself, so an event is there as soon as it is durable.
func (s *service) GetEvent(ctx context.Context, req *queryv1.GetEventRequest) (*queryv1.GetEventResponse, error) {
	pos, err := events.ParsePosition(req.GetPosition())
	if err != nil {
		return nil, refuse(errInvalid, "%v", err)
	}
	if pos.Partition >= len(s.Partitions) {
		return nil, refuse(errInvalid, "position %q: partition %d, there are %d", req.GetPosition(), pos.Partition, len(s.Partitions))
	}
	record, err := s.record(ctx, pos)
	if err != nil {
		return nil, err
	}
	if uint64(pos.Index) >= uint64(len(record.GetEvents())) {
		return nil, noEvent(pos)
	}
	return showEvent(record, record.GetEvents()[pos.Index])
}

func noEvent(pos events.Position) error {
	return refuse(events.ErrNotFound, "no event at position %s", pos)
}

// record reads the record that a position points into. Notices and other
// epochs hold no event by that position.
func (s *service) record(ctx context.Context, pos events.Position) (*logv1.Record, error) {
	view := s.Partitions[pos.Partition].View()
	epoch := view.Checkpoint().GetEpoch()
	view.Close()
	if pos.Epoch != epoch || pos.Seq == 0 {
		return nil, noEvent(pos)
	}
	m, err := s.Log.Get(ctx, events.PartitionStream(pos.Partition), pos.Seq)
	if errors.Is(err, events.ErrNotFound) {
		return nil, noEvent(pos)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", pos, err)
	}
	record, err := projections.RecordIn(m, pos.Partition)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", pos, err)
	}
	if record == nil {
		return nil, noEvent(pos)
	}
	return record, nil
}

func showEvent(record *logv1.Record, e *logv1.LoggedEvent) (*queryv1.GetEventResponse, error) {
	h := e.GetHeader()
	if h.GetKeyId() != 0 {
		return nil, refuse(errSealed, "event %q: its body is enciphered with data key %d, which is not here", h.GetEventId(), h.GetKeyId())
	}
	body := &eventsv1.Event{}
	if err := proto.Unmarshal(e.GetBody(), body); err != nil {
		return nil, fmt.Errorf("body of event %q: %w: %w", h.GetEventId(), err, events.ErrCorrupt)
	}
	id, err := events.CustomerIDFromBytes(h.GetCustomer())
	if err != nil {
		return nil, fmt.Errorf("header of event %q: %w: %w", h.GetEventId(), err, events.ErrCorrupt)
	}
	resp := &queryv1.GetEventResponse{
		CustomerId: id.String(),
		Role:       enumWord(h.GetRole().String(), "ROLE_"),
		Type:       typeName(h.GetType(), body.GetType()),
		Source:     h.GetSource(),
		EventId:    h.GetEventId(),
		OccurredAt: instant(h.GetOccurredAt()),
		RecordedAt: instant(record.GetRecordedAt() + int64(h.GetRecordedDelta())),
		Flags:      headerFlags(h),
		Event:      body,
	}
	if h.ClaimedAt != nil {
		resp.ClaimedAt = instant(h.GetClaimedAt())
	}
	return resp, nil
}

// headerFlags says what was odd about the event: first about its time, then
// the flags that the gateway set, in their order.
func headerFlags(h *logv1.Header) []string {
	var flags []string
	for _, f := range []struct {
		set  bool
		name string
	}{
		{h.GetCorrected(), "corrected_time"},
		{h.GetClamped(), "clamped_time"},
		{h.GetAssigned(), "assigned_time"},
		{h.GetMintedId(), "minted_id"},
	} {
		if f.set {
			flags = append(flags, f.name)
		}
	}
	for _, f := range h.GetFlags() {
		flags = append(flags, enumWord(f.String(), "FLAG_"))
	}
	return flags
}

// enumWord is an enum value as the contract writes words.
func enumWord(name, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(name, prefix))
}
