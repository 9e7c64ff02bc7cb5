package query

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/profile"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
)

// Tail implements queryv1connect.QueryServiceHandler. The headers of the answer
// leave once every stream is being read: what is appended from then on is shown.
//
// Nothing is dropped. A reader of the log hands a row to the client before it
// reads on, so a slow client falls behind, holds no more memory than its readers
// buffer, and keeps nobody else waiting; one that takes nothing for
// [TailPatience] is cut off. Only rejects past their retention are
// skipped, by a client that is as far behind.
func (s *service) Tail(ctx context.Context, req *queryv1.TailRequest, stream *connect.ServerStream[queryv1.TailResponse]) error {
	select {
	case s.tails <- struct{}{}:
		defer func() { <-s.tails }()
	default:
		return refuse(errBusy, "%d tails are open, limit %d; end one of them first", MaxTails, MaxTails)
	}
	ctx, end := context.WithCancelCause(ctx)
	t := tail{service: s, req: req, pace: paceOf(ctx), rows: make(chan *queryv1.TailResponse)}
	defer t.running.Wait() // when the answer ends, so have its readers
	defer end(nil)
	for _, p := range t.sources() {
		reader, err := t.open(ctx, p)
		if err != nil {
			return fmt.Errorf("tail: %w", err)
		}
		t.running.Go(func() {
			defer reader.Close()
			end(t.follow(ctx, p, reader))
		})
	}
	t.running.Go(func() { t.untilStopped(ctx, end) })
	end(t.deliver(ctx, stream))
	return context.Cause(ctx)
}

// tail is one call of Tail.
type tail struct {
	*service
	req     *queryv1.TailRequest
	pace    pace
	rows    chan *queryv1.TailResponse // without a buffer, so that readers wait
	running sync.WaitGroup
}

// rejects stands for REJECTED among the numbers of partitions.
const rejects = -1

// sources are what a tail reads: partitions, and REJECTED.
func (t *tail) sources() []int {
	if t.req.GetRejected() {
		return []int{rejects}
	}
	return append(t.every(), rejects)
}

// open makes a reader that begins behind the end of a stream.
func (t *tail) open(ctx context.Context, partition int) (events.Reader, error) {
	name := events.RejectedStream
	if partition != rejects {
		name = events.PartitionStream(partition)
	}
	info, err := t.Log.Info(ctx, name)
	if err != nil {
		return nil, err
	}
	return t.Log.Read(ctx, name, info.Last+1)
}

// follow offers what a stream tells, until the context ends or the stream
// cannot be read.
func (t *tail) follow(ctx context.Context, partition int, reader events.Reader) error {
	for {
		m, err := reader.Next(ctx)
		if err != nil {
			return fmt.Errorf("tail: %w", err)
		}
		var rows []*queryv1.TailResponse
		if partition == rejects {
			rows, err = t.rejects(m)
		} else {
			rows, err = t.events(partition, m)
		}
		if err != nil {
			return fmt.Errorf("tail: message %d on %s: %w", m.Seq, m.Subject, err)
		}
		for _, row := range rows {
			select {
			case t.rows <- row:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// deliver sends the headers, and then row after row.
func (t *tail) deliver(ctx context.Context, stream *connect.ServerStream[queryv1.TailResponse]) error {
	var row *queryv1.TailResponse // nil is the headers alone
	for {
		if err := t.pace.extend(TailPatience); err != nil {
			return fmt.Errorf("tail: limit the time of a write: %w", err)
		}
		if ctx.Err() != nil { // looked at after extending: see untilStopped
			return ctx.Err()
		}
		if err := stream.Send(row); err != nil {
			return refuse(context.Canceled, "the client takes no more: %v", err)
		}
		select {
		case row = <-t.rows:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// untilStopped ends the tail when the server is about to stop, also one whose
// client takes nothing: the context ends before the time of a write under way
// is cut short, and deliver looks at it after it has extended that time.
func (t *tail) untilStopped(ctx context.Context, end context.CancelCauseFunc) {
	select {
	case <-ctx.Done():
	case <-t.Stopping:
		end(refuse(errStopping, "the server is stopping"))
		// A limit could be set when the tail began. If none can be set now, the
		// connection is gone and no write is under way.
		_ = t.pace.extend(tailFarewell)
	}
}

// events are the rows of a message of a partition: one an event, by the copy of
// its subject. Notices and moves tell of no event that was not told before.
func (t *tail) events(partition int, m events.Message) ([]*queryv1.TailResponse, error) {
	if m.Subject != events.SubjectEvents(partition) {
		return nil, nil
	}
	record := &logv1.Record{}
	if err := events.Open(m.Data, record); err != nil {
		return nil, err
	}
	view := t.Partitions[partition].View()
	epoch := view.Checkpoint().GetEpoch()
	view.Close()
	var rows []*queryv1.TailResponse
	for i, e := range record.GetEvents() {
		h := e.GetHeader()
		if h.GetRole() != logv1.Role_ROLE_SUBJECT || h.GetWithdraws() || !t.wants(h.GetSource()) {
			continue
		}
		row := showTailed(e)
		row.RecordedAt = instant(record.GetRecordedAt() + int64(h.GetRecordedDelta()))
		row.Position = events.Position{Partition: partition, Epoch: epoch, Seq: m.Seq, Index: uint32(i)}.String()
		rows = append(rows, &queryv1.TailResponse{Item: &queryv1.TailResponse_Event{Event: row}})
	}
	return rows, nil
}

func (t *tail) wants(source string) bool {
	return t.req.GetSource() == "" || t.req.GetSource() == source
}

// showTailed is an event as its header tells it, and its body as far as it can
// be read: one that the fold will set aside is shown too.
func showTailed(e *logv1.LoggedEvent) *queryv1.TailEvent {
	h := e.GetHeader()
	body := &eventsv1.Event{}
	if h.GetKeyId() != 0 || proto.Unmarshal(e.GetBody(), body) != nil {
		body = &eventsv1.Event{}
	}
	row := &queryv1.TailEvent{
		Role:       enumWord(h.GetRole().String(), "ROLE_"),
		Type:       typeName(h.GetType(), body.GetType()),
		Source:     h.GetSource(),
		EventId:    h.GetEventId(),
		OccurredAt: instant(h.GetOccurredAt()),
	}
	if id, err := events.CustomerIDFromBytes(h.GetCustomer()); err == nil {
		row.CustomerId = id.String()
	}
	title, fields := profile.Describe(profile.Event{Header: h, Body: body})
	row.Title, row.Fields = title, fieldMap(fields)
	return row
}

// rejects is the row of a message of REJECTED.
func (t *tail) rejects(m events.Message) ([]*queryv1.TailResponse, error) {
	r := &logv1.Reject{}
	if err := events.Open(m.Data, r); err != nil {
		return nil, err
	}
	if !t.wants(r.GetSource()) {
		return nil, nil
	}
	return []*queryv1.TailResponse{{Item: &queryv1.TailResponse_Reject{Reject: &queryv1.TailReject{
		Source:     r.GetSource(),
		ReceivedAt: instant(r.GetReceivedAt()),
		Wire:       r.GetWire(),
		Path:       r.GetPath(),
		Index:      r.GetIndex(),
		MessageId:  r.GetMessageId(),
		Code:       r.GetCode(),
		Field:      r.GetField(),
		Limit:      r.GetLimit(),
		Message:    r.GetMessage(),
	}}}}, nil
}

// pace limits how long a write of a tail may take: a server's own limit would
// be one for the whole answer.
type pace struct{ *http.ResponseController }

type paceKey struct{}

// paced gives the calls of Tail their pace.
func paced(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == queryv1connect.QueryServiceTailProcedure {
			r = r.WithContext(context.WithValue(r.Context(), paceKey{}, pace{http.NewResponseController(w)}))
		}
		next.ServeHTTP(w, r)
	})
}

// paceOf is the pace of a call that came through [paced], as all of Tail do.
func paceOf(ctx context.Context) pace { return ctx.Value(paceKey{}).(pace) }

// extend lets a write take so long from now on.
func (p pace) extend(d time.Duration) error { return p.SetWriteDeadline(time.Now().Add(d)) }
