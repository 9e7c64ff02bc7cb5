package query_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
	"github.com/dossier360/dossier/query"
)

// append stores a message, sealed if it is one of ours.
func (d *desk) append(t *testing.T, name events.Stream, subject string, content any) {
	t.Helper()
	frame, isFrame := content.([]byte)
	if !isFrame {
		var err error
		if frame, err = events.Seal(content.(proto.Message)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.log.Append(t.Context(), name, subject, frame, events.Expect{}); err != nil {
		t.Fatal(err)
	}
}

// tell appends a record to partition p.
func (d *desk) tell(t *testing.T, p int, told ...*logv1.LoggedEvent) {
	t.Helper()
	d.append(t, events.PartitionStream(p), events.SubjectEvents(p), &logv1.Record{RecordedAt: 2_000_000, Events: told})
}

// refuse appends a reject.
func (d *desk) refuse(t *testing.T, r *logv1.Reject) {
	t.Helper()
	d.append(t, events.RejectedStream, events.SubjectRejected(r.GetSource()), r)
}

func logged(t *testing.T, h *logv1.Header, body *eventsv1.Event) *logv1.LoggedEvent {
	t.Helper()
	raw, err := proto.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	if h.Customer == nil {
		h.Customer = make([]byte, 16)
	}
	return &logv1.LoggedEvent{Header: h, Body: raw}
}

// custom is an event of a type of its own, whose id is its type.
func custom(t *testing.T, source, id string) *logv1.LoggedEvent {
	t.Helper()
	return logged(t, &logv1.Header{Source: source, EventId: id}, &eventsv1.Event{Type: id})
}

// following is a tail that reads: its answer's headers are there.
func following(t *testing.T, ctx context.Context, client queryv1connect.QueryServiceClient, req *queryv1.TailRequest) *connect.ServerStreamForClient[queryv1.TailResponse] {
	t.Helper()
	stream, err := client.Tail(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	stream.ResponseHeader()
	return stream
}

// receive takes the next n rows by the id of their event or reject.
func receive(t *testing.T, stream *connect.ServerStreamForClient[queryv1.TailResponse], n int) []string {
	t.Helper()
	var ids []string
	for range n {
		if !stream.Receive() {
			t.Fatalf("after %v: %v", ids, stream.Err())
		}
		ids = append(ids, stream.Msg().GetEvent().GetEventId()+stream.Msg().GetReject().GetMessageId())
	}
	return ids
}

// What a row says, over every protocol.
func TestTail(t *testing.T) {
	t.Parallel()
	h2 := &http.Transport{Protocols: new(http.Protocols)}
	h2.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(h2.CloseIdleConnections)
	h1 := &http.Transport{}
	t.Cleanup(h1.CloseIdleConnections)
	for name, c := range map[string]struct {
		transport *http.Transport
		options   []connect.ClientOption
	}{
		"connect":       {h1, nil},
		"connect json":  {h1, []connect.ClientOption{connect.WithProtoJSON()}},
		"connect http2": {h2, nil},
		"grpc":          {h2, []connect.ClientOption{connect.WithGRPC()}},
		"grpc-web":      {h1, []connect.ClientOption{connect.WithGRPCWeb()}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			d.partitions[2].checkpoint.Epoch = 5
			d.tell(t, 2, custom(t, "web", "before"))
			_, url := d.serve(t)
			client := queryv1connect.NewQueryServiceClient(&http.Client{Transport: c.transport}, url, c.options...)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stream := following(t, ctx, client, &queryv1.TailRequest{})

			id := events.CustomerID{3: 9}
			d.append(t, events.PartitionStream(2), events.SubjectNotices(2), &logv1.Notice{})
			d.tell(t, 2,
				logged(t, &logv1.Header{Customer: id[:], Role: logv1.Role_ROLE_COMPANY, EventId: "o-1"}, &eventsv1.Event{}),
				logged(t, &logv1.Header{Customer: id[:], EventId: "o-0", Withdraws: true}, &eventsv1.Event{}),
				logged(t, &logv1.Header{Customer: id[:], Source: "shop", EventId: "o-1", Type: eventsv1.Type_TYPE_ORDER_PLACED, OccurredAt: 1_000_000, RecordedDelta: 7},
					&eventsv1.Event{Payload: &eventsv1.Event_Order{Order: &eventsv1.Order{OrderId: "A-1"}}}))
			if !stream.Receive() {
				t.Fatal(stream.Err())
			}
			want := &queryv1.TailResponse{Item: &queryv1.TailResponse_Event{Event: &queryv1.TailEvent{
				Position: "02-5-3-2", CustomerId: id.String(), Role: "subject", Type: "order.placed", Source: "shop", EventId: "o-1",
				OccurredAt: timestamppb.New(time.Unix(1, 0)), RecordedAt: timestamppb.New(time.UnixMicro(2_000_007)),
				Title: "Order placed: A-1", Fields: map[string]string{"orderId": "A-1"},
			}}}
			if diff := cmp.Diff(want, stream.Msg(), protocmp.Transform()); diff != "" {
				t.Errorf("event (-want +got):\n%s", diff)
			}

			d.refuse(t, &logv1.Reject{
				Source: "web", ReceivedAt: 3_000_000, Wire: "segment", Path: "/v1/track", Index: 4, MessageId: "m-1",
				Code: "bad_time", Field: "timestamp", Limit: "1971", Message: "too old", Original: []byte("secret"),
			})
			if !stream.Receive() {
				t.Fatal(stream.Err())
			}
			refused := &queryv1.TailResponse{Item: &queryv1.TailResponse_Reject{Reject: &queryv1.TailReject{
				Source: "web", ReceivedAt: timestamppb.New(time.Unix(3, 0)), Wire: "segment", Path: "/v1/track", Index: 4, MessageId: "m-1",
				Code: "bad_time", Field: "timestamp", Limit: "1971", Message: "too old",
			}}}
			if diff := cmp.Diff(refused, stream.Msg(), protocmp.Transform()); diff != "" {
				t.Errorf("reject (-want +got):\n%s", diff)
			}
			cancel()
			if stream.Receive() || connect.CodeOf(stream.Err()) != connect.CodeCanceled {
				t.Errorf("after the end: %v, want canceled", stream.Err())
			}
		})
	}
}

func TestTailFilters(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	client, _ := d.serve(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	streams := map[*queryv1.TailRequest][]string{
		{}:                               {"e-end", "e-end", "e-shop", "e-web", "r-end", "r-end", "r-shop", "r-web"},
		{Source: "web"}:                  {"e-end", "e-web", "r-end", "r-web"},
		{Source: "shop"}:                 {"e-end", "e-shop", "r-end", "r-shop"},
		{Rejected: true}:                 {"r-end", "r-end", "r-shop", "r-web"},
		{Source: "shop", Rejected: true}: {"r-end", "r-shop"},
	}
	open := map[*queryv1.TailRequest]*connect.ServerStreamForClient[queryv1.TailResponse]{}
	for req := range streams {
		open[req] = following(t, ctx, client, req)
	}
	d.tell(t, 1, custom(t, "shop", "e-shop"), custom(t, "web", "e-web"))
	d.refuse(t, &logv1.Reject{Source: "shop", MessageId: "r-shop"})
	d.refuse(t, &logv1.Reject{Source: "web", MessageId: "r-web"})
	d.tell(t, 1, custom(t, "shop", "e-end"), custom(t, "web", "e-end"))
	d.refuse(t, &logv1.Reject{Source: "shop", MessageId: "r-end"})
	d.refuse(t, &logv1.Reject{Source: "web", MessageId: "r-end"})
	for req, want := range streams {
		// What should not come would stand before an end. Streams are read side
		// by side, so only the order within one is certain.
		got := receive(t, open[req], len(want))
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", req, diff)
		}
	}
}

// The body of an event may be under a key that is not here, or damaged: the
// tail shows what the header tells. A record that does not check is the end.
func TestTailOfWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	client, _ := d.serve(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream := following(t, ctx, client, &queryv1.TailRequest{})
	sealed := logged(t, &logv1.Header{EventId: "sealed", KeyId: 9, Type: eventsv1.Type_TYPE_ORDER_PLACED}, &eventsv1.Event{Payload: &eventsv1.Event_Order{Order: &eventsv1.Order{OrderId: "A-1"}}})
	damaged := logged(t, &logv1.Header{EventId: "damaged", Customer: []byte("short")}, nil)
	damaged.Body = []byte{0xff}
	d.tell(t, 0, sealed, damaged)
	for _, want := range []*queryv1.TailEvent{
		{EventId: "sealed", CustomerId: events.CustomerID{}.String(), Type: "order.placed", Title: "Order placed", Position: "00-0-1-0"},
		{EventId: "damaged", Position: "00-0-1-1"},
	} {
		if !stream.Receive() {
			t.Fatal(stream.Err())
		}
		if diff := cmp.Diff(want, stream.Msg().GetEvent(), protocmp.Transform(), protocmp.IgnoreFields(&queryv1.TailEvent{}, "recorded_at", "role")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", want.GetEventId(), diff)
		}
	}
	d.append(t, events.PartitionStream(0), events.SubjectEvents(0), []byte("garbage"))
	if stream.Receive() {
		t.Errorf("got %v after a record that does not check", stream.Msg())
	}
	wantCode(t, stream.Err(), connect.CodeDataLoss, "message 2 on dossier.events.00")

	// The log's own end, and a stream that is not there.
	stream = following(t, ctx, client, &queryv1.TailRequest{Rejected: true})
	d.log.Crash()
	if stream.Receive() {
		t.Errorf("got %v from a log that is gone", stream.Msg())
	}
	wantCode(t, stream.Err(), connect.CodeUnavailable)
	if err := d.log.Drop(events.RejectedStream); err != nil {
		t.Fatal(err)
	}
	stream = following(t, ctx, client, &queryv1.TailRequest{})
	if stream.Receive() {
		t.Errorf("got %v without a stream of rejects", stream.Msg())
	}
	wantCode(t, stream.Err(), connect.CodeNotFound)
}

// piped serves a desk over connections in memory, so that a bubble of synctest
// has the time of its limits.
type piped struct {
	*desk
	server *http.Server
	client queryv1connect.QueryServiceClient
	dial   func() net.Conn
	stop   chan struct{} // Options.Stopping
	closed chan struct{}
	close  sync.Once
}

func (d *desk) pipe(t *testing.T) *piped {
	t.Helper()
	p := &piped{desk: d, stop: make(chan struct{}), closed: make(chan struct{})}
	d.options.Stopping = p.stop
	conns := make(chan net.Conn)
	p.dial = func() net.Conn {
		near, far := net.Pipe()
		conns <- far
		return near
	}
	p.server = &http.Server{Handler: query.New(d.options), ReadTimeout: time.Minute}
	go p.server.Serve(pipeListener{conns, p})
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return p.dial(), nil }}
	p.client = queryv1connect.NewQueryServiceClient(&http.Client{Transport: transport}, "http://dossier.test")
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		p.server.Close()
	})
	return p
}

type pipeListener struct {
	conns chan net.Conn
	of    *piped
}

func (l pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.of.closed:
		return nil, net.ErrClosed
	}
}

func (l pipeListener) Close() error {
	l.of.close.Do(func() { close(l.of.closed) })
	return nil
}

func (l pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// stalled asks for a tail and never reads of the answer.
func (p *piped) stalled(t *testing.T) net.Conn {
	t.Helper()
	conn := p.dial()
	// Content-Length covers the envelope of an empty message.
	_, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: dossier.test\r\nContent-Type: application/connect+proto\r\nContent-Length: 5\r\n\r\n\x00\x00\x00\x00\x00",
		queryv1connect.QueryServiceTailProcedure)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestTailsAreCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newDesk(t).pipe(t)
		ctx, cancel := context.WithCancel(t.Context())
		for range query.MaxTails - 1 {
			following(t, ctx, p.client, &queryv1.TailRequest{})
		}
		lastCtx, leave := context.WithCancel(t.Context())
		defer leave()
		following(t, lastCtx, p.client, &queryv1.TailRequest{})
		refused := following(t, t.Context(), p.client, &queryv1.TailRequest{})
		if refused.Receive() {
			t.Errorf("tail %d was opened", query.MaxTails+1)
		}
		wantCode(t, refused.Err(), connect.CodeResourceExhausted, fmt.Sprintf("limit %d", query.MaxTails))
		leave()
		synctest.Wait()
		next := following(t, ctx, p.client, &queryv1.TailRequest{})
		p.tell(t, 0, custom(t, "web", "e-1"))
		if got := receive(t, next, 1); got[0] != "e-1" {
			t.Errorf("got %v, want e-1", got)
		}
		cancel()
		synctest.Wait()
	})
}

// A tail lasts longer than the server lets a request take.
func TestTailOutlastsTheServersLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newDesk(t).pipe(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stream := following(t, ctx, p.client, &queryv1.TailRequest{})
		for n := range 3 {
			<-time.After(time.Hour)
			id := fmt.Sprint("e-", n)
			p.tell(t, 0, custom(t, "web", id))
			if got := receive(t, stream, 1); got[0] != id {
				t.Errorf("got %v, want %s", got, id)
			}
		}
	})
}

// Who takes nothing makes the readers wait, holds nobody else up, and loses
// his place.
func TestTailOfASlowClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		var read atomic.Int64 // messages asked for of partition 0
		d.log = memlog.New(memlog.Options{Faults: func(op memlog.Op) memlog.Fault {
			if op.Kind == memlog.OpNext && op.Stream == events.PartitionStream(0) {
				read.Store(int64(op.N))
			}
			return memlog.Fault{}
		}})
		d.options.Log = d.log
		for p := range d.partitions {
			d.stream(t, events.PartitionStream(p), events.SubjectEvents(p), events.SubjectNotices(p))
		}
		d.stream(t, events.RejectedStream, events.SubjectRejected("*"))
		p := d.pipe(t)

		conn := p.stalled(t)
		synctest.Wait()
		const told = 1000
		for n := range told {
			d.tell(t, 0, custom(t, "web", fmt.Sprint("e-", n)))
		}
		synctest.Wait()
		if got := read.Load(); got > 2 {
			t.Errorf("%d messages were read for a client that takes nothing, want at most the one in hand and the next", got)
		}

		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		brisk := following(t, ctx, p.client, &queryv1.TailRequest{})
		d.tell(t, 0, custom(t, "web", "last"))
		if got := receive(t, brisk, 1); got[0] != "last" {
			t.Errorf("got %v, want last", got)
		}

		// When his time is over he is cut off, and nothing waits for him.
		<-time.After(2 * query.TailPatience)
		if n, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("%d bytes came after the patience with a client that took none", n)
		}
		conn.Close()
	})
}

// When the server stops, tails do not hold it up.
func TestTailsEndWhenTheServerStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newDesk(t).pipe(t)
		healthy := following(t, t.Context(), p.client, &queryv1.TailRequest{})
		stalled := p.stalled(t)
		defer stalled.Close()
		synctest.Wait()
		p.tell(t, 0, custom(t, "web", "e-1"))
		if got := receive(t, healthy, 1); got[0] != "e-1" {
			t.Errorf("got %v, want e-1", got)
		}
		close(p.stop)
		if healthy.Receive() {
			t.Errorf("got %v from a server that stops", healthy.Msg())
		}
		wantCode(t, healthy.Err(), connect.CodeUnavailable, "the server is stopping")

		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		if err := p.server.Shutdown(ctx); err != nil && !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("shutdown: %v after %v", err, time.Since(begun))
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("shutdown took %v beside a client that takes nothing", took)
		}
	})
}
