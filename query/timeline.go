package query

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// GetTimeline implements queryv1connect.QueryServiceHandler.
func (s *service) GetTimeline(ctx context.Context, req *queryv1.GetTimelineRequest) (*queryv1.GetTimelineResponse, error) {
	page, err := parsePage(req)
	if err != nil {
		return nil, err
	}
	id, known, err := s.resolve(req.GetCustomer())
	if err != nil {
		return nil, err
	}
	sn := s.snapshot()
	defer sn.close()
	_, fresh, err := s.customer(ctx, sn, req.GetCustomer(), id, known)
	if err != nil {
		return nil, err
	}
	p := id.Partition(len(s.Partitions))
	last, err := page.fill(ctx, sn.views[p], id, p)
	if err != nil {
		return nil, err
	}
	resp := &queryv1.GetTimelineResponse{Entries: page.entries, Freshness: fresh}
	if last != nil {
		if resp.NextPageToken, err = timelineToken(req, last); err != nil {
			return nil, fmt.Errorf("write page token: %w", err)
		}
	}
	return resp, nil
}

// timelinePage is one page being filled.
type timelinePage struct {
	size    int
	scan    int // entries that may still be read
	before  *statev1.Stamp
	from    int64 // inclusive, microseconds
	hasFrom bool
	types   []wantedType
	entries []*queryv1.Entry
}

// wantedType is a type of the filter: a canonical one, or a custom name.
type wantedType struct {
	typ  eventsv1.Type
	name string
}

func parsePage(req *queryv1.GetTimelineRequest) (*timelinePage, error) {
	size, err := PageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	page := &timelinePage{size: size, scan: MaxScannedEntries}
	for _, name := range req.GetTypes() {
		if name == "" {
			return nil, refuse(errInvalid, "types: an empty name; a canonical name (order.placed) or the name of a custom event wanted")
		}
		t := events.TypeByName(name)
		if t != eventsv1.Type_TYPE_CUSTOM {
			name = ""
		}
		page.types = append(page.types, wantedType{typ: t, name: name})
	}
	if err := page.parseSpan(req); err != nil {
		return nil, err
	}
	before, err := parseTimelineToken(req)
	if before != nil {
		page.before = before
	}
	return page, err
}

// parseSpan reads from (inclusive) and to (exclusive).
func (page *timelinePage) parseSpan(req *queryv1.GetTimelineRequest) error {
	for name, t := range map[string]*timestamppb.Timestamp{"from": req.GetFrom(), "to": req.GetTo()} {
		if err := t.CheckValid(); t != nil && err != nil {
			return refuse(errInvalid, "%s: %v", name, err)
		}
	}
	if t := req.GetFrom(); t != nil {
		page.from, page.hasFrom = ceilMicros(t), true
	}
	if t := req.GetTo(); t != nil {
		// The least order key of the instant: everything below it is before.
		page.before = &statev1.Stamp{OccurredAt: ceilMicros(t)}
	}
	return nil
}

// ceilMicros rounds up, so that neither bound lets in an event of the
// microsecond before it.
func ceilMicros(t *timestamppb.Timestamp) int64 {
	m := events.Micros(t.AsTime())
	if t.GetNanos()%1000 != 0 {
		m++
	}
	return m
}

// fill reads entries until the page is full, the span ends or the scan is
// used up. The order key returned is where the next page goes on, nil if there
// is none.
func (page *timelinePage) fill(ctx context.Context, v View, id events.CustomerID, partition int) (*statev1.Stamp, error) {
	takenBack, err := v.TakenBack(id)
	if err != nil {
		return nil, fmt.Errorf("read history of %s: %w", id, err)
	}
	var last *statev1.Stamp
	for e, err := range oncePerEvent(v.Entries(id, page.before)) {
		if err != nil {
			return nil, fmt.Errorf("read history of %s: %w", id, err)
		}
		if page.hasFrom && e.GetOccurredAt() < page.from {
			return nil, nil
		}
		if len(page.entries) == page.size || page.scan == 0 {
			return last, nil // there is at least one more
		}
		if page.scan--; page.scan%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		last = orderKey(e)
		if !page.wants(e) {
			continue
		}
		shown := showEntry(e, partition, v.Checkpoint().GetEpoch())
		if shown.TakenBack, err = takenBack(e); err != nil {
			return nil, fmt.Errorf("read history of %s: %w", id, err)
		}
		page.entries = append(page.entries, shown)
	}
	return nil, nil
}

// oncePerEvent leaves of the entries of one event, which a customer has in two
// roles if he referred himself, the one of the least role. They lie next to
// each other, that one last: so what follows any entry that is left holds it
// for all that it leaves out.
func oncePerEvent(entries iter.Seq2[*statev1.Entry, error]) iter.Seq2[*statev1.Entry, error] {
	return func(yield func(*statev1.Entry, error) bool) {
		var group []*statev1.Entry // of one instant, event id and source
		flush := func() bool {
			for i, e := range group {
				if !slices.ContainsFunc(group[i+1:], func(o *statev1.Entry) bool { return sameEvent(e, o) }) && !yield(e, nil) {
					return false
				}
			}
			group = group[:0]
			return true
		}
		for e, err := range entries {
			if err != nil {
				_ = flush() && yield(nil, err)
				return
			}
			if len(group) > 0 && !sameID(group[0], e) && !flush() {
				return
			}
			group = append(group, e)
		}
		flush()
	}
}

func sameID(a, b *statev1.Entry) bool {
	return a.OccurredAt == b.OccurredAt && a.EventId == b.EventId && a.Source == b.Source
}

// sameEvent reports whether two entries of one id differ in their role only.
func sameEvent(a, b *statev1.Entry) bool {
	return a.Type == b.Type && a.GetClaimedAt() == b.GetClaimedAt() && (a.ClaimedAt == nil) == (b.ClaimedAt == nil)
}

func (page *timelinePage) wants(e *statev1.Entry) bool {
	return len(page.types) == 0 || slices.ContainsFunc(page.types, func(t wantedType) bool {
		return t.typ == e.GetType() && (t.typ != eventsv1.Type_TYPE_CUSTOM || t.name == e.GetName())
	})
}

// orderKey is an entry's place in the history.
func orderKey(e *statev1.Entry) *statev1.Stamp {
	return &statev1.Stamp{
		OccurredAt: e.GetOccurredAt(),
		EventId:    e.GetEventId(),
		Source:     e.GetSource(),
		Role:       e.GetRole(),
		Type:       e.GetType(),
		ClaimedAt:  e.ClaimedAt,
	}
}

func showEntry(e *statev1.Entry, partition int, epoch uint32) *queryv1.Entry {
	shown := &queryv1.Entry{
		EventId:    e.GetEventId(),
		Type:       typeName(e.GetType(), e.GetName()),
		OccurredAt: instant(e.GetOccurredAt()),
		RecordedAt: instant(e.GetRecordedAt()),
		Source:     e.GetSource(),
		Title:      e.GetTitle(),
		Role:       enumWord(e.GetRole().String(), "ROLE_"),
		Position:   events.Position{Partition: partition, Epoch: epoch, Seq: e.GetSeq(), Index: e.GetIndex()}.String(),
	}
	shown.Fields = fieldMap(e.GetFields())
	return shown
}

// fieldMap makes a map of name, value, name, value, …; nil of none.
func fieldMap(pairs []string) map[string]string {
	if len(pairs) == 0 {
		return nil
	}
	fields := make(map[string]string, len(pairs)/2)
	for pair := range slices.Chunk(pairs, 2) {
		if len(pair) == 2 {
			fields[pair[0]] = pair[1]
		}
	}
	return fields
}

func typeName(t eventsv1.Type, custom string) string {
	if name := events.TypeName(t); name != "" {
		return name
	}
	return custom
}
