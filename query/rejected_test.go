package query_test

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"testing"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

func (l *leaf) Parked(fromSeq uint64, fromIndex uint32) iter.Seq2[*statev1.Parked, error] {
	return func(yield func(*statev1.Parked, error) bool) {
		for _, p := range l.s.parked {
			if p.Seq < fromSeq || p.Seq == fromSeq && p.Index < fromIndex {
				continue
			}
			if !yield(p, nil) {
				return
			}
		}
	}
}

func (l *leaf) ParkedAt(seq uint64, index uint32) (*statev1.Parked, error) {
	i := slices.IndexFunc(l.s.parked, func(p *statev1.Parked) bool { return p.Seq == seq && p.Index == index })
	if i < 0 {
		return nil, projections.ErrNotParked
	}
	return l.s.parked[i], nil
}

func TestListRejected(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	reject := func(source, code string, n int) {
		d.append(t, events.RejectedStream, events.SubjectRejected(source), &logv1.Reject{
			Source: source, Code: code, MessageId: fmt.Sprint("m", n), ReceivedAt: 7_000_000, Wire: "segment", Path: "/v1/t",
			ContentType: "application/json", Field: "f", Limit: "3", Message: "why", Original: []byte("{bytes}"), OriginalBytes: 7,
		})
	}
	for n := range 6 {
		reject([]string{"web", "app"}[n%2], "bad_time", n)
	}
	reject("web", "missing_id", 6)
	client, _ := d.serve(t)

	page := func(req *queryv1.ListRejectedRequest) (ids []string, next string) {
		t.Helper()
		resp, err := client.ListRejected(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range resp.GetRejected() {
			ids = append(ids, r.GetId())
			if len(r.GetOriginal()) > 0 {
				t.Errorf("reject %s is listed with its bytes", r.GetId())
			}
		}
		return ids, resp.GetNextPageToken()
	}
	req := &queryv1.ListRejectedRequest{Source: "web", PageSize: 3}
	ids, next := page(req)
	if diff := cmp.Diff([]string{"7", "5", "3"}, ids); diff != "" || next == "" {
		t.Errorf("first page, token %q (-want +got):\n%s", next, diff)
	}
	reject("web", "bad_time", 7) // what arrives moves nothing
	req.PageToken = next
	ids, next = page(req)
	if diff := cmp.Diff([]string{"1"}, ids); diff != "" || next != "" {
		t.Errorf("second page, token %q (-want +got):\n%s", next, diff)
	}
	if ids, _ := page(&queryv1.ListRejectedRequest{Code: "missing_id"}); !slices.Equal(ids, []string{"7"}) {
		t.Errorf("of a code: %v, want 7", ids)
	}
	req.Source = "app"
	_, err := client.ListRejected(t.Context(), req)
	wantCode(t, err, connect.CodeInvalidArgument, "another list or filter")
	_, err = client.ListRejected(t.Context(), &queryv1.ListRejectedRequest{PageToken: "x"})
	wantCode(t, err, connect.CodeInvalidArgument, "pageToken")
	_, err = client.ListRejected(t.Context(), &queryv1.ListRejectedRequest{PageSize: 1_001})
	wantCode(t, err, connect.CodeInvalidArgument, "pageSize: 1001, limit 1000")

	got, err := client.GetRejected(t.Context(), &queryv1.GetRejectedRequest{Id: "7"})
	if err != nil {
		t.Fatal(err)
	}
	want := &queryv1.RejectedEvent{
		Id: "7", Source: "web", Code: "missing_id", MessageId: "m6", ReceivedAt: &timestamppb.Timestamp{Seconds: 7}, Wire: "segment", Path: "/v1/t",
		ContentType: "application/json", Field: "f", Limit: "3", Message: "why", Original: []byte("{bytes}"), OriginalBytes: 7,
	}
	if diff := cmp.Diff(want, got.GetRejected(), protocmp.Transform()); diff != "" {
		t.Errorf("reject 7 (-want +got):\n%s", diff)
	}
	_, err = client.GetRejected(t.Context(), &queryv1.GetRejectedRequest{Id: "99"})
	wantCode(t, err, connect.CodeNotFound, "reject 99")
	for _, id := range []string{"x", "", "07"} {
		_, err = client.GetRejected(t.Context(), &queryv1.GetRejectedRequest{Id: id})
		wantCode(t, err, connect.CodeInvalidArgument, strconv.Quote(id))
	}
}

func TestListParked(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id, _ := d.customer(7, "user_id:1")
	body, err := proto.Marshal(&eventsv1.Event{Type: "Quiz"})
	if err != nil {
		t.Fatal(err)
	}
	record := &logv1.Record{RecordedAt: 5_000_000, Events: []*logv1.LoggedEvent{
		{Header: &logv1.Header{EventId: "a", Type: eventsv1.Type_TYPE_CUSTOM}, Body: body},
		{Header: &logv1.Header{EventId: "b", Type: eventsv1.Type_TYPE_CUSTOM}, Body: []byte{0xff}},
	}}
	d.append(t, events.PartitionStream(1), events.SubjectEvents(1), record)
	d.append(t, events.PartitionStream(3), events.SubjectEvents(3), record)
	for _, p := range []int{1, 3} {
		for index := range uint32(2) {
			d.partitions[p].parked = append(d.partitions[p].parked, &statev1.Parked{
				Seq: 1, Index: index, Customer: id[:], Reason: "too long", EventId: string('a' + rune(index)), Source: "web",
				RecordedAt: 5_000_000, OccurredAt: 4_000_000, Type: eventsv1.Type_TYPE_CUSTOM,
			})
		}
	}
	client, _ := d.serve(t)
	var ids []string
	req := &queryv1.ListParkedRequest{PageSize: 1}
	for {
		resp, err := client.ListParked(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range resp.GetParked() {
			ids = append(ids, p.GetId())
		}
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			break
		}
	}
	if diff := cmp.Diff([]string{"01-0-1-0", "01-0-1-1", "03-0-1-0", "03-0-1-1"}, ids); diff != "" {
		t.Errorf("parked, a page each (-want +got):\n%s", diff)
	}
	want := &queryv1.ParkedEvent{
		Id: "03-0-1-0", CustomerId: id.String(), Role: "subject", Type: "Quiz", Source: "web", EventId: "a", Reason: "too long",
		OccurredAt: &timestamppb.Timestamp{Seconds: 4}, RecordedAt: &timestamppb.Timestamp{Seconds: 5}, Event: &eventsv1.Event{Type: "Quiz"},
	}
	got, err := client.GetParked(t.Context(), &queryv1.GetParkedRequest{Id: "03-0-1-0"})
	if diff := cmp.Diff(want, got.GetParked(), protocmp.Transform()); diff != "" || err != nil {
		t.Errorf("parked event, error %v (-want +got):\n%s", err, diff)
	}
	got, err = client.GetParked(t.Context(), &queryv1.GetParkedRequest{Id: "01-0-1-1"})
	if err != nil || got.GetParked().GetEvent() != nil || !slices.Equal(got.GetParked().GetBody(), []byte{0xff}) {
		t.Errorf("one that cannot be read: %v, %v; want its bytes", got, err)
	}
	for position, code := range map[string]connect.Code{
		"01-0-1-7": connect.CodeNotFound, "01-5-1-0": connect.CodeNotFound, "09-0-1-0": connect.CodeInvalidArgument, "x": connect.CodeInvalidArgument,
	} {
		_, err := client.GetParked(t.Context(), &queryv1.GetParkedRequest{Id: position})
		wantCode(t, err, code)
	}
	_, err = client.ListParked(t.Context(), &queryv1.ListParkedRequest{PageToken: "x"})
	wantCode(t, err, connect.CodeInvalidArgument, "pageToken")
	d.partitions[2].target = 1_000
	_, err = client.ListParked(t.Context(), &queryv1.ListParkedRequest{})
	wantCode(t, err, connect.CodeUnavailable)
}
