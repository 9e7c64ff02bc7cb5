package query_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/ingest/rejected"
	"github.com/dossier360/dossier/projections"
	"github.com/dossier360/dossier/projections/profile"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
	"github.com/dossier360/dossier/query"
)

const partitions = 4

// desk is a deployment of plain maps: what each partition has folded is what
// the test says.
type desk struct {
	partitions [partitions]*shelf
	names      map[string]events.CustomerID
	became     map[events.CustomerID]events.CustomerID // by a merge
	decided    uint64                                  // of IDENTITY, the directory's
	inConflict map[events.CustomerID]bool
	notReady   error // of the directory
	hashesAway error // of looking up hashes in it
	log        *memlog.Log
	genesis    *logv1.Genesis
	options    query.Options
	rejected   *rejected.Ledger
}

// follow runs the ledger of what the desk's log holds of rejects.
func (d *desk) follow(t *testing.T) {
	t.Helper()
	d.rejected = rejected.New(rejected.Options{Log: d.log})
	ctx, end := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = d.rejected.Run(ctx) })
	t.Cleanup(func() { end(); running.Wait() })
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	zone, err := events.NewZone([]*logv1.ZoneSpan{{Start: math.MinInt64}})
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{names: map[string]events.CustomerID{}, log: memlog.New(memlog.Options{}), genesis: &logv1.Genesis{Clock: "events"}}
	for p := range d.partitions {
		d.partitions[p] = &shelf{
			id: p, heads: map[events.CustomerID]*statev1.Head{}, env: profile.Env{Zone: zone, BaseCurrency: "CNY"},
			checkpoint: &statev1.Checkpoint{Seq: uint64(10 + p)}, last: uint64(10 + p), settled: micros("2026-03-01T00:00:00Z") + int64(p),
		}
		d.stream(t, events.PartitionStream(p), events.SubjectEvents(p), events.SubjectNotices(p))
	}
	d.stream(t, events.RejectedStream, events.SubjectRejected("*"))
	d.follow(t)
	d.options = query.Options{
		Rejected:  d.rejected,
		Directory: d, Log: d.log, Genesis: d.genesis, Logger: slog.New(slog.DiscardHandler),
		ParseReceipt: func(s string) (map[int]uint64, error) {
			receipt := map[int]uint64{}
			var p int
			var seq uint64
			if _, err := fmt.Sscanf(s, "p%d@%d", &p, &seq); err != nil {
				return nil, errors.New("not a receipt")
			}
			receipt[p] = seq
			return receipt, nil
		},
	}
	for _, p := range d.partitions {
		d.options.Partitions = append(d.options.Partitions, p)
	}
	return d
}

func (d *desk) stream(t *testing.T, name events.Stream, subjects ...string) {
	t.Helper()
	if err := d.log.CreateStream(t.Context(), events.StreamConfig{Name: name, Subjects: subjects}); err != nil {
		t.Fatal(err)
	}
}

func (d *desk) Lookup(typ, value string) (events.CustomerID, bool, error) {
	if d.notReady != nil {
		return events.CustomerID{}, false, d.notReady
	}
	normal, err := directory.Normalise(typ, value)
	if err != nil {
		return events.CustomerID{}, false, err
	}
	id, ok := d.names[typ+":"+normal]
	return id, ok, nil
}

func (d *desk) QuarantinedCount() uint64 { return 3 }

// customer makes a customer whom the directory knows and his partition holds.
func (d *desk) customer(n byte, name string, entries ...*statev1.Entry) (events.CustomerID, *shelf) {
	id := events.CustomerID{0: 1, 15: n}
	d.names[name] = id
	shelf := d.partitions[id.Partition(partitions)]
	slices.SortFunc(entries, func(a, b *statev1.Entry) int { return profile.CompareStamps(key(a), key(b)) })
	shelf.heads[id] = &statev1.Head{Facts: &statev1.Facts{FirstSeenAt: 5_000_000, LastSeenAt: 9_000_000}, Entries: entries}
	shelf.checkpoint.Customers++
	return id, shelf
}

func (d *desk) serve(t *testing.T) (queryv1connect.QueryServiceClient, string) {
	t.Helper()
	server := httptest.NewUnstartedServer(query.New(d.options))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return queryv1connect.NewQueryServiceClient(server.Client(), server.URL), server.URL
}

// shelf is a partition.
type shelf struct {
	id            int
	heads         map[events.CustomerID]*statev1.Head
	env           profile.Env
	checkpoint    *statev1.Checkpoint
	settled       int64
	last, target  uint64
	unheard       uint64 // of last
	stuck         error
	reach         func(ctx context.Context, seq uint64) error // WaitApplied
	hear          func(ctx context.Context, seq uint64) error // WaitRules
	gather        func(ctx context.Context) error             // WaitMoved
	ticked        []time.Time
	open          atomic.Int64 // views not closed
	entriesRead   int
	partsRead     atomic.Int64 // times that all heads were gone through
	noRows        bool         // they are still being read
	statusFailure error
	headFailure   error
	takenBack     map[string]string                          // by event id
	members       map[events.CustomerID][]projections.Member // of companies
	parked        []*statev1.Parked
}

func (s *shelf) ID() int { return s.id }

func (s *shelf) View() query.View {
	s.open.Add(1)
	return &leaf{s}
}

func (s *shelf) WaitApplied(ctx context.Context, seq uint64) error {
	if s.reach == nil {
		return nil
	}
	return s.reach(ctx, seq)
}

func (s *shelf) WaitRules(ctx context.Context, seq uint64) error {
	if s.hear == nil {
		return nil
	}
	return s.hear(ctx, seq)
}

func (s *shelf) WaitMoved(ctx context.Context, _ events.CustomerID) error {
	if s.gather == nil {
		return nil
	}
	return s.gather(ctx)
}

// Known has heard of all but the unheard.
func (s *shelf) Known() projections.Status {
	return projections.Status{
		ID: s.id, Applied: (&leaf{s}).Applied(), Last: s.last - s.unheard, Parked: 2, Target: s.target,
		Settled: events.FromMicros(s.settled), Err: s.stuck,
	}
}

func (s *shelf) Status(context.Context) (projections.Status, error) {
	if s.statusFailure != nil {
		return s.Known(), s.statusFailure
	}
	status := s.Known()
	status.Last, status.LagSeconds = s.last, 1.5
	return status, nil
}

func (s *shelf) TickTo(_ context.Context, to time.Time) error {
	s.ticked = append(s.ticked, to)
	s.settled = events.Micros(to) + int64(s.id)
	return nil
}

// leaf is a view of a shelf.
type leaf struct{ s *shelf }

func (l *leaf) Checkpoint() *statev1.Checkpoint { return l.s.checkpoint }
func (l *leaf) Env() profile.Env                { return l.s.env }
func (l *leaf) Settled() int64                  { return l.s.settled }
func (l *leaf) Close()                          { l.s.open.Add(-1) }

func (l *leaf) Applied() uint64 {
	if l.s.checkpoint.Place != nil {
		return l.s.checkpoint.Seq - 1
	}
	return l.s.checkpoint.Seq
}

func (l *leaf) Head(c events.CustomerID) (*statev1.Head, error) {
	if head := l.s.heads[c]; head != nil {
		return head, l.s.headFailure
	}
	return nil, projections.ErrNotFound
}

func (l *leaf) Entries(c events.CustomerID, before *statev1.Stamp) iter.Seq2[*statev1.Entry, error] {
	return func(yield func(*statev1.Entry, error) bool) {
		for _, e := range slices.Backward(l.s.heads[c].GetEntries()) {
			if before != nil && profile.CompareStamps(key(e), before) >= 0 {
				continue
			}
			l.s.entriesRead++
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (l *leaf) TakenBack(events.CustomerID) (func(*statev1.Entry) (string, error), error) {
	return func(e *statev1.Entry) (string, error) { return l.s.takenBack[e.EventId], nil }, nil
}

func key(e *statev1.Entry) *statev1.Stamp {
	return &statev1.Stamp{OccurredAt: e.OccurredAt, EventId: e.EventId, Source: e.Source, Role: e.Role, Type: e.Type, ClaimedAt: e.ClaimedAt}
}

func micros(s string) int64 {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return events.Micros(t)
}

func wantCode(t *testing.T, err error, code connect.Code, parts ...string) {
	t.Helper()
	if got := connect.CodeOf(err); err == nil || got != code {
		t.Errorf("got %v (%v), want %v", err, got, code)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("got %q, want it to say %q", err, part)
		}
	}
}

func TestGetProfile(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id, shelf := d.customer(7, "email:ann@example.com")
	shelf.last += 4
	shelf.checkpoint.Place = &statev1.Place{K: 9}
	head := shelf.heads[id]
	head.Journal = &statev1.Journal{Stage: "repeat", Previous: "customer", Since: micros("2026-02-01T00:00:00Z"), Cause: &statev1.Cause{Kind: "event", EventIds: []string{"o-2"}, At: micros("2026-02-01T00:00:00Z")}}
	head.Parked = 1
	client, _ := d.serve(t)

	var cursor string
	for _, reference := range []string{"email:ann@example.com", "email: Ann@Example.com ", id.String(), strings.ToLower(id.String())} {
		resp, err := client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: reference})
		if err != nil {
			t.Fatalf("%s: %v", reference, err)
		}
		previous := "customer"
		want := &queryv1.Profile{
			CustomerId: id.String(), Kind: "person", Flags: []string{"parked"},
			FirstSeenAt: timestamppb.New(time.Unix(5, 0)), LastSeenAt: timestamppb.New(time.Unix(9, 0)),
			Lifecycle: &queryv1.Lifecycle{Stage: "repeat", Previous: &previous, Since: timestamppb.New(events.FromMicros(micros("2026-02-01T00:00:00Z"))),
				Cause: &queryv1.Cause{Kind: "event", EventIds: []string{"o-2"}, At: timestamppb.New(events.FromMicros(micros("2026-02-01T00:00:00Z")))}},
		}
		if diff := cmp.Diff(want, resp.GetProfile(), protocmp.Transform(), protocmp.IgnoreFields(&queryv1.Profile{}, "digest", "engagement", "orders")); diff != "" {
			t.Errorf("%s: profile (-want +got):\n%s", reference, diff)
		}
		if len(resp.GetProfile().GetDigest()) != 64 {
			t.Errorf("%s: digest %q, want 64 digits", reference, resp.GetProfile().GetDigest())
		}
		positions := map[string]int64{"0": 10, "1": 11, "2": 12, "3": 13}
		positions[fmt.Sprint(shelf.id)]--
		fresh := &queryv1.Freshness{LogTime: timestamppb.New(events.FromMicros(shelf.settled)), LagEvents: 5, Positions: positions}
		if diff := cmp.Diff(fresh, resp.GetFreshness(), protocmp.Transform(), protocmp.IgnoreFields(&queryv1.Freshness{}, "cursor")); diff != "" {
			t.Errorf("%s: freshness (-want +got):\n%s", reference, diff)
		}
		if cursor = resp.GetFreshness().GetCursor(); cursor == "" {
			t.Errorf("%s: no cursor", reference)
		}
	}
	shelf.checkpoint.Place.K++
	resp, err := client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: id.String()})
	if err != nil || resp.GetFreshness().GetCursor() == cursor {
		t.Errorf("cursor %q (%v) although the partition went on", resp.GetFreshness().GetCursor(), err)
	}
	for _, s := range d.partitions {
		if s.open.Load() != 0 {
			t.Errorf("partition %d: %d views left open", s.id, s.open.Load())
		}
	}
}

func TestGetProfileSections(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id, shelf := d.customer(7, "user_id:1")
	shelf.heads[id].Journal = &statev1.Journal{Stage: "potential"}
	shelf.heads[id].Facts.Traits = []*statev1.TraitFact{{Name: "city", ValueJson: `"上海"`, Stamp: &statev1.Stamp{}}}
	client, _ := d.serve(t)
	for _, tc := range []struct {
		sections          []string
		lifecycle, traits bool
	}{
		{nil, true, true}, {[]string{"traits"}, false, true}, {[]string{"lifecycle", "orders"}, true, false},
	} {
		resp, err := client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: "user_id:1", Sections: tc.sections})
		if err != nil {
			t.Fatal(err)
		}
		p := resp.GetProfile()
		if got := p.GetLifecycle() != nil; got != tc.lifecycle {
			t.Errorf("%v: lifecycle shown: %v, want %v", tc.sections, got, tc.lifecycle)
		}
		if got := len(p.GetTraits()) > 0; got != tc.traits {
			t.Errorf("%v: traits shown: %v, want %v", tc.sections, got, tc.traits)
		}
		if p.GetCustomerId() == "" || p.GetDigest() == "" {
			t.Errorf("%v: no id or digest", tc.sections)
		}
	}
	for _, section := range []string{"order", "digest", ""} {
		_, err := client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: "user_id:1", Sections: []string{section}})
		wantCode(t, err, connect.CodeInvalidArgument, fmt.Sprintf("%q", section), "identifiers, memberships, members, traits, acquisition, engagement, orders, service, referrals, lifecycle, custom, interactions")
	}
}

func TestReferences(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	client, _ := d.serve(t)
	for _, tc := range []struct {
		reference string
		code      connect.Code
		say       string
	}{
		{"", connect.CodeInvalidArgument, "empty"},
		{"ann", connect.CodeInvalidArgument, "3 characters without a ':'"},
		{":ann", connect.CodeInvalidArgument, "character 1"},
		{"Email:ann@example.com", connect.CodeInvalidArgument, "character 1: 'E'"},
		{"e mail:ann@example.com", connect.CodeInvalidArgument, "character 2: ' '"},
		{"email:", connect.CodeInvalidArgument, "character 7: no value"},
		{"email:  ", connect.CodeInvalidArgument, "no value"},
		{"email:ann", connect.CodeInvalidArgument, `customer "email:ann": the address has no @`},
		{"work_email:ann", connect.CodeInvalidArgument, "no @; a whole one wanted, as work_email:ann@example.com"},
		{"email:ann＠", connect.CodeInvalidArgument, "before and after the @"},
		{"email:ann lee@example.com", connect.CodeInvalidArgument, "no space"},
		{"phone:1234", connect.CodeInvalidArgument, "not a phone number"},
		{"user_id:null", connect.CodeInvalidArgument, "names nobody"},
		{"nonsense:1", connect.CodeInvalidArgument, "<system>_id or company_* wanted"},
		{strings.Repeat("a", 41) + ":1", connect.CodeInvalidArgument, "41 characters, limit 40"},
		{"user_id:" + strings.Repeat("界", 200), connect.CodeNotFound, "no customer"},
		{"user_id:" + strings.Repeat("界", 201), connect.CodeInvalidArgument, "201 characters, limit 200"},
		{strings.Repeat("U", 26), connect.CodeInvalidArgument, "not a customer id"},
		{strings.Repeat("0", 26), connect.CodeInvalidArgument, "not a customer id"},
		{"01JDA0000000000000000000AA", connect.CodeNotFound, "no customer 01JDA"},
		{"email:x@example.com", connect.CodeNotFound, "no customer email:x@example.com"},
	} {
		_, err := client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: tc.reference})
		wantCode(t, err, tc.code, tc.say)
		_, err = client.GetTimeline(t.Context(), &queryv1.GetTimelineRequest{Customer: tc.reference})
		wantCode(t, err, tc.code, tc.say)
	}
}

// What is not folded yet is unavailable, never half an answer.
func TestCatchingUp(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	_, shelf := d.customer(7, "user_id:1")
	d.names["user_id:2"] = events.CustomerID{0: 1, 15: 7, 3: 0}
	client, _ := d.serve(t)

	shelf.target = shelf.checkpoint.Seq + 90
	for name, ask := range map[string]func() error{
		"profile": func() error {
			_, err := client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: "user_id:1"})
			return err
		},
		"timeline": func() error {
			_, err := client.GetTimeline(t.Context(), &queryv1.GetTimelineRequest{Customer: "user_id:1"})
			return err
		},
		"count": func() error {
			_, err := client.CountProfiles(t.Context(), &queryv1.CountProfilesRequest{})
			return err
		},
	} {
		t.Log(name)
		wantCode(t, ask(), connect.CodeUnavailable, fmt.Sprintf("partition %d is catching up: %d of %d records", shelf.id, shelf.checkpoint.Seq, shelf.target))
	}
	shelf.stuck = errors.New("gap at 12")
	_, err := client.CountProfiles(t.Context(), &queryv1.CountProfilesRequest{})
	wantCode(t, err, connect.CodeUnavailable, "gap at 12")
	if _, err := client.GetStatus(t.Context(), &queryv1.GetStatusRequest{}); connect.CodeOf(err) == connect.CodeUnavailable {
		t.Errorf("status: %v; it answers while a partition catches up", err)
	}
	shelf.target, shelf.stuck = 0, nil

	// The directory knows him, his partition does not yet.
	d.names["user_id:3"] = events.CustomerID{9}
	other := d.partitions[events.CustomerID{9}.Partition(partitions)]
	other.last += 2
	_, err = client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: "user_id:3"})
	wantCode(t, err, connect.CodeUnavailable, "known but not folded yet", "is 2 records behind")
	other.last--
	_, err = client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: "user_id:3"})
	wantCode(t, err, connect.CodeUnavailable, "is 1 record behind")
	other.last++
	_, err = client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: events.CustomerID{9}.String()})
	wantCode(t, err, connect.CodeNotFound)
	other.unheard = 2 // so he is looked for in the log
	_, err = client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: "user_id:3"})
	wantCode(t, err, connect.CodeUnavailable, "is 2 records behind")
	other.statusFailure = fmt.Errorf("its server is away: %w", events.ErrOverload)
	_, err = client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: "user_id:3"})
	wantCode(t, err, connect.CodeUnavailable, "known and not folded", "its server is away")
	other.last, other.unheard, other.statusFailure = other.last-2, 0, nil
	_, err = client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: "user_id:3"})
	wantCode(t, err, connect.CodeNotFound)

	d.notReady = fmt.Errorf("%w: 3 of 9 identity messages folded", directory.ErrNotReady)
	_, err = client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: "user_id:1"})
	wantCode(t, err, connect.CodeUnavailable, "3 of 9")
}

func TestReceipt(t *testing.T) {
	t.Parallel()
	// Time is the bubble's, so the service is called without a socket.
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		id, shelf := d.customer(7, "user_id:1")
		var waitedFor []uint64
		shelf.reach = func(ctx context.Context, seq uint64) error {
			waitedFor = append(waitedFor, seq)
			if seq <= 20 {
				return nil
			}
			<-ctx.Done()
			return projections.ErrCatchingUp
		}
		handler := query.New(d.options)
		ask := func(req string) (int, string, time.Duration) {
			start := time.Now()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, queryv1connect.QueryServiceGetProfileProcedure, strings.NewReader(req))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			return w.Code, w.Body.String(), time.Since(start)
		}
		own, other := shelf.id, (id.Partition(partitions)+1)%partitions
		for _, tc := range []struct {
			name, request string
			status        int
			say           string
			took          time.Duration
		}{
			{"reached", fmt.Sprintf(`{"customer":"user_id:1","receipt":"p%d@20"}`, own), 200, `"customerId"`, 0},
			{"of another partition", fmt.Sprintf(`{"customer":"user_id:1","receipt":"p%d@99"}`, other), 200, `"customerId"`, 0},
			{"not reached", fmt.Sprintf(`{"customer":"user_id:1","receipt":"p%d@21"}`, own), 503, fmt.Sprintf("record %d of 21", shelf.checkpoint.Seq), 5 * time.Second},
			{"not reached in time", fmt.Sprintf(`{"customer":"user_id:1","receipt":"p%d@21","timeoutMs":1500}`, own), 503, "not reached within 1.5s", 1500 * time.Millisecond},
			{"longest wait", fmt.Sprintf(`{"customer":"user_id:1","receipt":"p%d@21","timeoutMs":5000}`, own), 503, "unavailable", 5 * time.Second},
			{"longer wait", fmt.Sprintf(`{"customer":"user_id:1","receipt":"p%d@20","timeoutMs":5001}`, own), 400, "timeoutMs: 5001, limit 5000", 0},
			{"malformed", `{"customer":"user_id:1","receipt":"x"}`, 400, "receipt: not a receipt", 0},
		} {
			status, body, took := ask(tc.request)
			if status != tc.status || !strings.Contains(body, tc.say) || took != tc.took {
				t.Errorf("%s: got %d after %v: %s; want %d after %v: %s", tc.name, status, took, body, tc.status, tc.took, tc.say)
			}
		}
		if want := []uint64{20, 21, 21, 21}; !slices.Equal(waitedFor, want) {
			t.Errorf("waited for %v, want %v", waitedFor, want)
		}
	})
}

// history is n page views a minute apart and every tenth an order, all at
// equal instants in threes, so that only the whole order key tells them apart.
func history(n int) []*statev1.Entry {
	var entries []*statev1.Entry
	for i := range n {
		e := &statev1.Entry{
			Type: eventsv1.Type_TYPE_PAGE_VIEWED, OccurredAt: micros("2026-01-01T00:00:00Z") + int64(i/3)*60_000_000,
			RecordedAt: micros("2026-02-01T00:00:00Z"), EventId: fmt.Sprintf("e-%04d", i), Source: "web", Seq: 7, Index: uint32(i),
			Title: "page", Fields: []string{"url", "/a", "path", "/"},
		}
		switch i % 10 {
		case 0:
			e.Type = eventsv1.Type_TYPE_ORDER_PLACED
		case 5:
			e.Type, e.Name = eventsv1.Type_TYPE_CUSTOM, "Wishlist Shared"
		}
		entries = append(entries, e)
	}
	return entries
}

func ids(entries []*queryv1.Entry) []string {
	var ids []string
	for _, e := range entries {
		ids = append(ids, e.GetEventId())
	}
	return ids
}

func TestTimelinePagesAreStableUnderWrites(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id, shelf := d.customer(7, "user_id:1", history(50)...)
	client, _ := d.serve(t)
	var got []string
	req := &queryv1.GetTimelineRequest{Customer: "user_id:1", PageSize: 7}
	for page := 0; page == 0 || req.PageToken != ""; page++ {
		resp, err := client.GetTimeline(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(resp.GetEntries()); n > 7 || n == 0 {
			t.Errorf("page %d has %d entries, limit 7", page, n)
		}
		got = append(got, ids(resp.GetEntries())...)
		req.PageToken = resp.GetNextPageToken()
		// A newer event comes in between: no page may shift by it.
		shelf.heads[id].Entries = append(shelf.heads[id].Entries, &statev1.Entry{OccurredAt: micros("2026-02-20T00:00:00Z") + int64(page), EventId: fmt.Sprint("late-", page)})
	}
	var want []string
	for i := 49; i >= 0; i-- {
		want = append(want, fmt.Sprintf("e-%04d", i))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pages together (-want +got):\n%s", diff)
	}
}

// Entries that differ in one part of the order key only are told apart by a
// token: none is shown twice, none left out.
func TestTimelineTokenHoldsTheWholeOrderKey(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	at := micros("2026-01-01T00:00:00Z")
	variants := []*statev1.Entry{
		{OccurredAt: at, EventId: "e"},
		{OccurredAt: at, EventId: "e", Source: "web"},
		{OccurredAt: at, EventId: "e", Role: logv1.Role_ROLE_REFERRER, Type: eventsv1.Type_TYPE_REFERRAL_MADE},
		{OccurredAt: at, EventId: "e", Type: eventsv1.Type_TYPE_ORDER_PLACED},
		{OccurredAt: at, EventId: "e", ClaimedAt: new(at - 1)},
		{OccurredAt: at, EventId: "e", ClaimedAt: new(at)},
		{OccurredAt: at, EventId: "f"},
	}
	for i, e := range variants {
		e.Title = fmt.Sprint(i)
	}
	d.customer(7, "user_id:1", variants...)
	client, _ := d.serve(t)
	shown := map[string]int{}
	req := &queryv1.GetTimelineRequest{Customer: "user_id:1", PageSize: 1}
	for page := 0; page == 0 || req.PageToken != ""; page++ {
		resp, err := client.GetTimeline(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range resp.GetEntries() {
			shown[e.GetTitle()]++
		}
		req.PageToken = resp.GetNextPageToken()
	}
	for i := range variants {
		if got := shown[fmt.Sprint(i)]; got != 1 {
			t.Errorf("entry %d was shown %d times, want once: %v", i, got, variants[i])
		}
	}
}

// An event in two roles is one row, of the least role, however pages are cut.
func TestTimelineShowsAnEventOnce(t *testing.T) {
	t.Parallel()
	entry := func(id string, typ eventsv1.Type, role logv1.Role) *statev1.Entry {
		return &statev1.Entry{EventId: id, Type: typ, Role: role, Source: "web", OccurredAt: 1_000_000, ClaimedAt: new(int64(1_000_000))}
	}
	made, converted := eventsv1.Type_TYPE_REFERRAL_MADE, eventsv1.Type_TYPE_REFERRAL_CONVERTED
	d := newDesk(t)
	d.customer(7, "user_id:1",
		entry("a", made, logv1.Role_ROLE_SUBJECT), entry("a", made, logv1.Role_ROLE_REFEREE),
		entry("b", made, logv1.Role_ROLE_REFEREE),
		entry("c", made, logv1.Role_ROLE_SUBJECT), entry("c", converted, logv1.Role_ROLE_SUBJECT), entry("c", converted, logv1.Role_ROLE_REFEREE),
	)
	client, _ := d.serve(t)
	want := []string{"c referral.converted subject", "c referral.made subject", "b referral.made referee", "a referral.made subject"}
	for size := uint32(1); size <= 5; size++ {
		var got []string
		req := &queryv1.GetTimelineRequest{Customer: "user_id:1", PageSize: size}
		for {
			resp, err := client.GetTimeline(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range resp.GetEntries() {
				got = append(got, e.GetEventId()+" "+e.GetType()+" "+e.GetRole())
			}
			if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pages of %d (-want +got):\n%s", size, diff)
		}
	}
}

func TestTimelineEntry(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	_, shelf := d.customer(7, "user_id:1", history(6)[5])
	shelf.takenBack = map[string]string{"e-0005": "voided"}
	client, _ := d.serve(t)
	resp, err := client.GetTimeline(t.Context(), &queryv1.GetTimelineRequest{Customer: "user_id:1"})
	if err != nil {
		t.Fatal(err)
	}
	want := []*queryv1.Entry{{
		EventId: "e-0005", Type: "Wishlist Shared", Source: "web", Title: "page", Fields: map[string]string{"url": "/a", "path": "/"},
		OccurredAt: timestamppb.New(time.Date(2026, 1, 1, 0, 1, 0, 0, time.UTC)), RecordedAt: timestamppb.New(time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)),
		Position: fmt.Sprintf("%02d-0-7-5", shelf.id), Role: "subject", TakenBack: "voided",
	}}
	if diff := cmp.Diff(want, resp.GetEntries(), protocmp.Transform()); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if resp.GetNextPageToken() != "" {
		t.Errorf("a token %q after the last entry", resp.GetNextPageToken())
	}
}

func TestTimelineFilters(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.customer(7, "user_id:1", history(40)...)
	client, _ := d.serve(t)
	minute := func(n int) *timestamppb.Timestamp {
		return timestamppb.New(time.Date(2026, 1, 1, 0, n, 0, 0, time.UTC))
	}
	for _, tc := range []struct {
		name string
		req  *queryv1.GetTimelineRequest
		want []string
	}{
		{"canonical type", &queryv1.GetTimelineRequest{Types: []string{"order.placed"}}, []string{"e-0030", "e-0020", "e-0010", "e-0000"}},
		{"custom type", &queryv1.GetTimelineRequest{Types: []string{"Wishlist Shared"}}, []string{"e-0035", "e-0025", "e-0015", "e-0005"}},
		{"two types, three a page", &queryv1.GetTimelineRequest{Types: []string{"Wishlist Shared", "order.placed"}, PageSize: 3}, []string{"e-0035", "e-0030", "e-0025"}},
		{"no such type", &queryv1.GetTimelineRequest{Types: []string{"wishlist shared"}}, nil},
		{"from inclusive, to exclusive", &queryv1.GetTimelineRequest{From: minute(2), To: minute(4)}, []string{"e-0011", "e-0010", "e-0009", "e-0008", "e-0007", "e-0006"}},
		{"a moment before", &queryv1.GetTimelineRequest{From: minute(13), To: &timestamppb.Timestamp{Seconds: minute(13).Seconds, Nanos: 1}}, []string{"e-0039"}},
		{"a moment after", &queryv1.GetTimelineRequest{From: &timestamppb.Timestamp{Seconds: minute(13).Seconds, Nanos: 1}}, nil},
	} {
		tc.req.Customer = "user_id:1"
		resp, err := client.GetTimeline(t.Context(), tc.req)
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if diff := cmp.Diff(tc.want, ids(resp.GetEntries())); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

func TestTimelineBounds(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	_, shelf := d.customer(7, "user_id:1", history(query.MaxScannedEntries+5)...)
	d.customer(8, "user_id:2")
	client, _ := d.serve(t)
	get := func(req *queryv1.GetTimelineRequest) (*queryv1.GetTimelineResponse, error) {
		return client.GetTimeline(t.Context(), req)
	}
	for size, want := range map[uint32]int{0: query.DefaultPageSize, 1: 1, query.MaxPageSize: query.MaxPageSize} {
		resp, err := get(&queryv1.GetTimelineRequest{Customer: "user_id:1", PageSize: size})
		if err != nil || len(resp.GetEntries()) != want {
			t.Errorf("page size %d: got %d entries (%v), want %d", size, len(resp.GetEntries()), err, want)
		}
	}
	_, err := get(&queryv1.GetTimelineRequest{Customer: "user_id:1", PageSize: query.MaxPageSize + 1})
	wantCode(t, err, connect.CodeInvalidArgument, "pageSize: 1001, limit 1000")

	// A filter that nothing matches reads so much and no more, and goes on.
	shelf.entriesRead = 0
	resp, err := get(&queryv1.GetTimelineRequest{Customer: "user_id:1", Types: []string{"nothing"}})
	if err != nil || len(resp.GetEntries()) != 0 || resp.GetNextPageToken() == "" {
		t.Fatalf("got %d entries, token %q (%v); want none and a token", len(resp.GetEntries()), resp.GetNextPageToken(), err)
	}
	if shelf.entriesRead != query.MaxScannedEntries+2 {
		t.Errorf("read %d entries, limit %d, one to know that there are more, and one to know that it is an event of its own", shelf.entriesRead, query.MaxScannedEntries)
	}
	resp, err = get(&queryv1.GetTimelineRequest{Customer: "user_id:1", Types: []string{"nothing"}, PageToken: resp.GetNextPageToken()})
	if err != nil || resp.GetNextPageToken() != "" {
		t.Errorf("second call: token %q (%v), want the end", resp.GetNextPageToken(), err)
	}
}

func TestTimelineTokens(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.customer(7, "user_id:1", history(9)...)
	d.customer(8, "user_id:2", history(9)...)
	client, _ := d.serve(t)
	resp, err := client.GetTimeline(t.Context(), &queryv1.GetTimelineRequest{Customer: "user_id:1", PageSize: 2})
	if err != nil {
		t.Fatal(err)
	}
	token := resp.GetNextPageToken()
	if _, err := client.GetTimeline(t.Context(), &queryv1.GetTimelineRequest{Customer: "user_id:1", PageSize: 5, PageToken: token}); err != nil {
		t.Errorf("another page size: %v", err)
	}
	for name, req := range map[string]*queryv1.GetTimelineRequest{
		"nonsense":         {Customer: "user_id:1", PageToken: "?"},
		"short":            {Customer: "user_id:1", PageToken: "AQ"},
		"later version":    {Customer: "user_id:1", PageToken: "Ag" + token[2:]},
		"changed":          {Customer: "user_id:1", PageToken: token[:len(token)-2] + "AA"},
		"another customer": {Customer: "user_id:2", PageToken: token},
		"another filter":   {Customer: "user_id:1", Types: []string{"order.placed"}, PageToken: token},
	} {
		_, err := client.GetTimeline(t.Context(), req)
		t.Log(name)
		wantCode(t, err, connect.CodeInvalidArgument, "pageToken")
	}
	_, err = client.GetTimeline(t.Context(), &queryv1.GetTimelineRequest{Customer: "user_id:1", Types: []string{""}})
	wantCode(t, err, connect.CodeInvalidArgument, "types")
	_, err = client.GetTimeline(t.Context(), &queryv1.GetTimelineRequest{Customer: "user_id:1", From: &timestamppb.Timestamp{Nanos: -1}})
	wantCode(t, err, connect.CodeInvalidArgument, "from")
}

func TestGetEvent(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id := events.CustomerID{5}
	body, err := proto.Marshal(&eventsv1.Event{Type: "Wishlist Shared", PropertiesJson: `{"a":1}`})
	if err != nil {
		t.Fatal(err)
	}
	claimed := micros("2026-01-01T00:00:00Z")
	record := &logv1.Record{RecordedAt: claimed + 100, Events: []*logv1.LoggedEvent{
		{Header: &logv1.Header{Customer: id[:], EventId: "sealed", KeyId: 9}},
		{Header: &logv1.Header{
			Customer: id[:], EventId: "w-1", Source: "web", ClaimedAt: &claimed, OccurredAt: claimed + 7, RecordedDelta: 5,
			Corrected: true, Flags: []logv1.Flag{logv1.Flag_FLAG_NO_ZONE},
		}, Body: body},
		{Header: &logv1.Header{Customer: []byte("short"), EventId: "bad"}},
	}}
	frame, err := events.Seal(record)
	if err != nil {
		t.Fatal(err)
	}
	notice, err := events.Seal(&logv1.Notice{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []struct {
		subject string
		data    []byte
	}{{events.SubjectNotices(2), notice}, {events.SubjectEvents(2), frame}, {events.SubjectEvents(2), []byte("garbage")}} {
		if _, err := d.log.Append(t.Context(), events.PartitionStream(2), m.subject, m.data, events.Expect{}); err != nil {
			t.Fatal(err)
		}
	}
	client, _ := d.serve(t)

	got, err := client.GetEvent(t.Context(), &queryv1.GetEventRequest{Position: "02-0-2-1"})
	if err != nil {
		t.Fatal(err)
	}
	want := &queryv1.GetEventResponse{
		CustomerId: id.String(), Role: "subject", Type: "Wishlist Shared", Source: "web", EventId: "w-1",
		ClaimedAt: timestamppb.New(events.FromMicros(claimed)), OccurredAt: timestamppb.New(events.FromMicros(claimed + 7)),
		RecordedAt: timestamppb.New(events.FromMicros(claimed + 105)), Flags: []string{"corrected_time", "no_zone"},
		Event: &eventsv1.Event{Type: "Wishlist Shared", PropertiesJson: `{"a":1}`},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	for _, tc := range []struct {
		position string
		code     connect.Code
		say      string
	}{
		{"02-0-1-0", connect.CodeNotFound, "no event at position 02-0-1-0"}, // a notice
		{"02-0-2-3", connect.CodeNotFound, "no event"},                      // beyond the record
		{"02-0-9-0", connect.CodeNotFound, "no event"},                      // beyond the stream
		{"02-0-0-0", connect.CodeNotFound, "no event"},
		{"02-1-2-1", connect.CodeNotFound, "no event"}, // another epoch
		{"04-0-2-1", connect.CodeInvalidArgument, "partition 4, there are 4"},
		{"2-1", connect.CodeInvalidArgument, "<partition>-<epoch>-<seq>-<index>"},
		{"02-0-x-1", connect.CodeInvalidArgument, `"x"`},
		{"02-0-2-0", connect.CodeFailedPrecondition, "data key 9"},
		{"02-0-2-2", connect.CodeDataLoss, "customer id of 5 bytes"},
		{"02-0-3-0", connect.CodeDataLoss, "corrupt"},
	} {
		_, err := client.GetEvent(t.Context(), &queryv1.GetEventRequest{Position: tc.position})
		t.Log(tc.position)
		wantCode(t, err, tc.code, tc.say)
	}
}

func TestCountStatusTick(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.customer(7, "user_id:1")
	d.customer(8, "user_id:2")
	d.partitions[1].last += 5
	for n := range 3 {
		d.append(t, events.RejectedStream, events.SubjectRejected("web"), &logv1.Reject{Source: "web", Code: fmt.Sprint("code_", n/2)})
	}
	client, _ := d.serve(t)
	if _, err := client.ListRejected(t.Context(), &queryv1.ListRejectedRequest{}); err != nil { // waits until they are known
		t.Fatal(err)
	}

	count, err := client.CountProfiles(t.Context(), &queryv1.CountProfilesRequest{})
	if err != nil || count.GetCount() != 2 || count.GetFreshness().GetLagEvents() != 5 {
		t.Errorf("count: got %v (%v), want 2 with a lag of 5", count, err)
	}
	if got, want := count.GetFreshness().GetLogTime().AsTime(), events.FromMicros(d.partitions[0].settled); !got.Equal(want) {
		t.Errorf("count: log time %v, want the least, %v", got, want)
	}

	status, err := client.GetStatus(t.Context(), &queryv1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	want := &queryv1.PartitionStatus{Id: 1, Applied: 11, Last: 16, LagEvents: 5, LagSeconds: 1.5, Parked: 2, LogTime: timestamppb.New(events.FromMicros(d.partitions[1].settled))}
	if diff := cmp.Diff(want, status.GetPartitions()[1], protocmp.Transform()); diff != "" || status.GetRejected() != 3 || status.GetQuarantined() != 3 || len(status.GetPartitions()) != partitions {
		t.Errorf("status: rejected %d, quarantined %d, partition 1 (-want +got):\n%s", status.GetRejected(), status.GetQuarantined(), diff)
	}

	by := []*queryv1.RejectedCount{{Source: "web", Code: "code_0", Count: 2}, {Source: "web", Code: "code_1", Count: 1}}
	if diff := cmp.Diff(by, status.GetRejectedBy(), protocmp.Transform()); diff != "" {
		t.Errorf("rejected by source and code (-want +got):\n%s", diff)
	}

	to := timestamppb.New(time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC))
	tick, err := client.Tick(t.Context(), &queryv1.TickRequest{To: to})
	if err != nil || !tick.GetSettled().AsTime().Equal(to.AsTime()) {
		t.Errorf("tick: settled %v (%v), want the least, %v", tick.GetSettled().AsTime(), err, to.AsTime())
	}
	for _, s := range d.partitions {
		if len(s.ticked) != 1 || !s.ticked[0].Equal(to.AsTime()) {
			t.Errorf("partition %d ticked %v, want once to %v", s.id, s.ticked, to.AsTime())
		}
	}
	_, err = client.Tick(t.Context(), &queryv1.TickRequest{})
	wantCode(t, err, connect.CodeInvalidArgument, "to: absent")
	_, err = client.Tick(t.Context(), &queryv1.TickRequest{To: timestamppb.New(time.Now().AddDate(100, 0, 0))})
	wantCode(t, err, connect.CodeInvalidArgument, "ahead of now")
	d.genesis.Clock = "wall"
	_, err = client.Tick(t.Context(), &queryv1.TickRequest{To: to})
	wantCode(t, err, connect.CodeFailedPrecondition, `clock "wall"`)
}

// One path, four protocols, and reflection beside them.
func TestProtocols(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id, _ := d.customer(7, "user_id:1")
	_, url := d.serve(t)
	h2 := &http.Transport{Protocols: new(http.Protocols)}
	h2.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(h2.CloseIdleConnections)
	for name, options := range map[string][]connect.ClientOption{
		"connect": nil, "json": {connect.WithProtoJSON()}, "get": {connect.WithHTTPGet()}, "grpc": {connect.WithGRPC()}, "grpc-web": {connect.WithGRPCWeb()},
	} {
		client := queryv1connect.NewQueryServiceClient(&http.Client{Transport: h2}, url, options...)
		resp, err := client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: "user_id:1"})
		if err != nil || resp.GetProfile().GetCustomerId() != id.String() {
			t.Errorf("%s: got %v (%v), want customer %v", name, resp, err, id)
		}
		_, err = client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: "user_id:9"})
		wantCode(t, err, connect.CodeNotFound)
	}
	stream := grpcreflect.NewClient(&http.Client{Transport: h2}, url).NewStream(t.Context())
	services, err := stream.ListServices()
	slices.Sort(services)
	if want := []protoreflect.FullName{queryv1connect.IdentityServiceName, queryv1connect.QueryServiceName}; err != nil || !slices.Equal(services, want) {
		t.Errorf("reflection lists %v (%v), want %v", services, err, want)
	}
	if files, err := stream.FileContainingSymbol("dossier.query.v1.Profile"); err != nil || len(files) == 0 {
		t.Errorf("reflection has no file with the profile: %v", err)
	}
	if _, err := stream.Close(); err != nil {
		t.Error(err)
	}
}

// A method that is not there is told in the form of the protocol, with those
// that are.
func TestUnknownMethod(t *testing.T) {
	t.Parallel()
	_, url := newDesk(t).serve(t)
	for _, path := range []string{"GetProfiles", "getProfile", "GetProfile/", "", strings.Repeat("x", 5000)} {
		for _, contentType := range []string{"application/json", "application/proto", "text/plain", ""} {
			status, answer, header := post(t, url+query.Paths[0]+path, `{}`, "Content-Type", contentType)
			if status != http.StatusNotFound || header.Get("Content-Type") != "application/json" {
				t.Errorf("%.20q as %q: got %d of type %s, want 404 as JSON", path, contentType, status, header.Get("Content-Type"))
			}
			var told struct{ Code, Message string }
			if err := json.Unmarshal([]byte(answer), &told); err != nil {
				t.Errorf("%.20q as %q: %v in %s", path, contentType, err, answer)
			}
			if told.Code != "unimplemented" || !strings.Contains(told.Message, "there are GetProfile, ") || len(told.Message) > 300 {
				t.Errorf("%.20q as %q: got %s, want unimplemented and the methods", path, contentType, answer)
			}
		}
	}
	h2 := &http.Transport{Protocols: new(http.Protocols)}
	h2.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(h2.CloseIdleConnections)
	for name, option := range map[string]connect.ClientOption{"connect": connect.WithProtoJSON(), "grpc": connect.WithGRPC(), "grpc-web": connect.WithGRPCWeb()} {
		client := connect.NewClient[queryv1.GetProfileRequest, queryv1.GetProfileResponse](&http.Client{Transport: h2}, url+query.Paths[0]+"Explain", option)
		_, err := client.CallUnary(t.Context(), connect.NewRequest(&queryv1.GetProfileRequest{}))
		t.Log(name)
		wantCode(t, err, connect.CodeUnimplemented, `no method "Explain"`)
	}
}

func post(t *testing.T, url, body string, header ...string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(answer), resp.Header
}

func TestJSONIsStrict(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.customer(7, "user_id:1")
	_, url := d.serve(t)
	url += queryv1connect.QueryServiceGetProfileProcedure
	for body, want := range map[string]string{
		`{"customer":"user_id:1"}`:                               `"customerId"`,
		`{"customer":"user_id:1","asOf":"2024-01-01T00:00:00Z"}`: `asOf`,
		`{"customer":1}`:                                         `invalid_argument`,
		`{`:                                                      `invalid_argument`,
		``:                                                       `invalid_argument`,
	} {
		for _, contentType := range []string{"application/json", "application/json; charset=utf-8"} {
			status, answer, _ := post(t, url, body, "Content-Type", contentType)
			if !strings.Contains(answer, want) || (status == http.StatusOK) != strings.Contains(want, "customerId") {
				t.Errorf("%s: got %d %s, want %s", body, status, answer, want)
			}
		}
	}
	big := `{"customer":"user_id:1","receipt":"` + strings.Repeat("x", query.MaxRequestBytes) + `"}`
	if status, answer, _ := post(t, url, big); status != http.StatusTooManyRequests || !strings.Contains(answer, "resource_exhausted") {
		t.Errorf("a request over the limit: got %d %s", status, answer)
	}
}

func TestReadKeys(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.customer(7, "user_id:1")
	d.options.ReadKeys = []string{"first", "second"}
	_, url := d.serve(t)
	for _, path := range []string{queryv1connect.QueryServiceGetProfileProcedure, query.Paths[1] + "ServerReflectionInfo"} {
		for authorization, allowed := range map[string]bool{
			"Bearer first": true, "bearer second": true, "Bearer third": false, "Bearer ": false, "first": false, "Basic Zmlyc3Q6": false, "": false,
		} {
			status, answer, header := post(t, url+path, `{"customer":"user_id:1"}`, "Authorization", authorization)
			if got := status != http.StatusUnauthorized; got != allowed {
				t.Errorf("%s with %q: got %d %s, want allowed: %v", path, authorization, status, answer, allowed)
			}
			if !allowed && header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%s with %q: 401 without WWW-Authenticate", path, authorization)
			}
		}
	}
	for authorization, want := range map[string]string{"": "a read key is needed", "Bearer third": "this read key is not accepted"} {
		status, answer, _ := post(t, url+queryv1connect.QueryServiceGetProfileProcedure, `{}`, "Authorization", authorization)
		if status != 401 || !strings.Contains(answer, `"code":"unauthenticated"`) || !strings.Contains(answer, want) {
			t.Errorf("with %q: got %d %s, want the protocol's own form of unauthenticated, saying %q", authorization, status, answer, want)
		}
	}
	h2 := &http.Transport{Protocols: new(http.Protocols)}
	h2.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(h2.CloseIdleConnections)
	_, err := queryv1connect.NewQueryServiceClient(&http.Client{Transport: h2}, url, connect.WithGRPC()).GetStatus(t.Context(), &queryv1.GetStatusRequest{})
	wantCode(t, err, connect.CodeUnauthenticated, "read key")
}

func TestCORS(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		origins []string
		origin  string
		allowed bool
	}{
		{nil, "https://crm.example.com", false},
		{[]string{"https://crm.example.com"}, "https://crm.example.com", true},
		{[]string{"https://crm.example.com"}, "https://evil.example.com", false},
		{[]string{"*"}, "https://any.example.com", true},
	} {
		d := newDesk(t)
		d.options.CORSOrigins = tc.origins
		d.options.ReadKeys = []string{"k"} // a preflight carries none
		_, url := d.serve(t)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, url+queryv1connect.QueryServiceGetProfileProcedure, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", tc.origin)
		req.Header.Set("Access-Control-Request-Headers", "authorization, content-type")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("Access-Control-Allow-Origin") == tc.origin; got != tc.allowed {
			t.Errorf("%v, origin %s: allowed %v, want %v", tc.origins, tc.origin, got, tc.allowed)
		}
		if tc.allowed && (resp.StatusCode != http.StatusNoContent || resp.Header.Get("Access-Control-Allow-Headers") != "authorization, content-type") {
			t.Errorf("%v: preflight got %d %v", tc.origins, resp.StatusCode, resp.Header)
		}
	}
}

// An error that the table does not know ends in the log, not at the caller.
func TestUnknownErrorIsLoggedNotTold(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	_, shelf := d.customer(7, "user_id:1")
	shelf.headFailure = errors.New("secret path /var/x")
	var log strings.Builder
	d.options.Logger = slog.New(slog.NewTextHandler(&log, nil))
	client, _ := d.serve(t)
	_, err := client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: "user_id:1"})
	wantCode(t, err, connect.CodeInternal, "the server's log has the cause")
	if strings.Contains(err.Error(), "secret") || !strings.Contains(log.String(), "secret path /var/x") {
		t.Errorf("told %q, logged %q; want the cause in the log alone", err, log.String())
	}
	shelf.heads = nil
	shelf.statusFailure = fmt.Errorf("ask: %w", events.ErrUnknown)
	_, err = client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: "user_id:1"})
	wantCode(t, err, connect.CodeUnavailable)
	shelf.statusFailure = errors.New("another secret")
	status, err := client.GetStatus(t.Context(), &queryv1.GetStatusRequest{})
	if err != nil || strings.Contains(status.GetLogError(), "secret") || !strings.Contains(log.String(), "another secret") {
		t.Errorf("status: %v, error %v; want the cause in the log alone", status, err)
	}
}
