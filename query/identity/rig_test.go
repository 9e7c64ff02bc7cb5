package identity_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/projections"
	"github.com/dossier360/dossier/projections/playbook"
	"github.com/dossier360/dossier/projections/store"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
	"github.com/dossier360/dossier/query"
	"github.com/dossier360/dossier/query/identity"
)

const partitions = 3

// house is a whole deployment over a log in memory, with both services.
type house struct {
	t          *testing.T
	gateway    *ingest.Gateway
	directory  *directory.Directory
	partitions []*projections.Partition
	options    identity.Options
	identity   queryv1connect.IdentityServiceClient
	query      profiler
	url        string
	at         time.Time // of the event told last
	n          int
}

// profiler is what the tests ask of the query service.
type profiler interface {
	GetProfile(context.Context, *queryv1.GetProfileRequest) (*queryv1.GetProfileResponse, error)
}

// TestMain makes the package-wide coders outside of any bubble of virtual
// time: all bubbles may use them then.
func TestMain(m *testing.M) {
	record := &logv1.Record{Batch: make([]byte, 4096)}
	if frame, err := events.Seal(record); err != nil || events.Open(frame, record) != nil {
		panic(fmt.Sprint("warm up: ", err))
	}
	m.Run()
}

// newHouse serves it.
func newHouse(t *testing.T, change func(*identity.Options)) *house {
	t.Helper()
	h, asked := build(t)
	if change != nil {
		change(&h.options)
	}
	mux := http.NewServeMux()
	mux.Handle(identity.Path, identity.New(h.options))
	mux.Handle(query.Paths[0], query.New(asked))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	h.url = server.URL
	h.identity = queryv1connect.NewIdentityServiceClient(server.Client(), server.URL)
	h.query = queryv1connect.NewQueryServiceClient(server.Client(), server.URL)
	return h
}

// build makes one without a server, for bubbles of virtual time too.
func build(t *testing.T) (*house, query.Options) {
	t.Helper()
	key, log := directory.Key{7}, memlog.New(memlog.Options{})
	genesis, err := events.Found(t.Context(), log, events.Settings{
		Partitions: partitions, Normaliser: directory.Normaliser, IdentityKeyCheck: directory.KeyCheck(key), BaseCurrency: "CNY",
	}, time.Now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	ctx, end := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() { end(); running.Wait() })
	run := func(what string, fn func(context.Context) error) {
		running.Go(func() {
			if err := fn(ctx); err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	quiet := slog.New(slog.DiscardHandler)
	rules := projections.NewRules()
	for id := range partitions {
		p, err := projections.Open(t.Context(), projections.Options{
			Log: log, Genesis: genesis, ID: id, Rules: rules, Evaluate: playbook.BuiltinStages, Logger: quiet,
			OpenStore: func() (store.Store, error) { return store.OpenMemory(), nil },
			SetAside:  func(why error) error { return why },
		})
		if err != nil {
			t.Fatal(err)
		}
		h.partitions = append(h.partitions, p)
		run("partition", p.Run)
	}
	run("rules", func(ctx context.Context) error { return rules.Run(ctx, log) })
	minter := directory.NewMinter(time.Now, rand.Reader)
	h.directory, err = directory.Open(t.Context(), directory.Options{
		Log: log, Key: key, Minter: minter, OpenStore: func(bool) (store.Store, error) { return store.OpenMemory(), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	run("directory", h.directory.Run)
	h.gateway, err = ingest.NewGateway(ingest.Options{Log: log, Directory: h.directory, Genesis: genesis, Minter: minter})
	if err != nil {
		t.Fatal(err)
	}
	run("gateway", h.gateway.Run)
	h.options = identity.Options{Partitions: h.partitions, Directory: h.directory, FormatReceipt: ingest.FormatReceipt, Logger: quiet}
	asked := query.Options{Directory: h.directory, Log: log, Genesis: genesis, Logger: quiet, ParseReceipt: ingest.ParseReceipt}
	for _, p := range h.partitions {
		asked.Partitions = append(asked.Partitions, query.Local(p))
	}
	for h.directory.Ready() != nil {
		select {
		case <-time.After(time.Millisecond):
		case <-t.Context().Done():
			t.Fatal(h.directory.Ready())
		}
	}
	return h, asked
}

// wireless asks a handler without a socket: in a bubble of virtual time.
type wireless struct{ http.Handler }

func (h wireless) GetProfile(ctx context.Context, req *queryv1.GetProfileRequest) (*queryv1.GetProfileResponse, error) {
	body, err := proto.Marshal(req)
	if err != nil {
		return nil, err
	}
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, queryv1connect.QueryServiceGetProfileProcedure, bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/proto")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		return nil, errors.New(w.Body.String())
	}
	resp := &queryv1.GetProfileResponse{}
	return resp, proto.Unmarshal(w.Body.Bytes(), resp)
}

// tell sends an event of some identifiers, and returns the customer of the first
// when it is folded.
func (h *house) tell(e *eventsv1.Event, ids ...string) *queryv1.Profile {
	h.t.Helper()
	return h.profile(ids[0], h.send(e, ids...))
}

// send sends an event of some identifiers, and waits until all whom they name
// hold what they are to hold.
func (h *house) send(e *eventsv1.Event, ids ...string) (receipt string) {
	h.t.Helper()
	h.n++
	h.at = h.at.Add(time.Minute)
	e.Id, e.Time = time.Duration(h.n).String(), timestamppb.New(h.at)
	for _, id := range ids {
		typ, value, _ := strings.Cut(id, ":")
		e.Identifiers = append(e.Identifiers, &eventsv1.Identifier{Type: typ, Value: value})
	}
	result, err := h.gateway.Accept(h.t.Context(), ingest.Batch{
		Source: "test", Received: h.at, Wire: "native", Path: "/v1/events", ContentType: "application/json",
		Drafts: []ingest.Draft{{Event: e, Original: []byte("{}")}},
	})
	if err != nil || len(result.Rejected) > 0 {
		h.t.Fatalf("tell %v: %v, rejected %v", ids, err, result.Rejected)
	}
	for _, id := range ids {
		// It may be another's, whose the event is; or nobody's of whom more is told.
		_, err := h.reach(id, result.Receipt)
		if err != nil && !strings.Contains(err.Error(), "no customer") {
			h.t.Fatalf("tell %v: %v", ids, err)
		}
	}
	return result.Receipt
}

// flood sends many events of an identifier in one call.
func (h *house) flood(identifier string, n int) {
	h.t.Helper()
	typ, value, _ := strings.Cut(identifier, ":")
	h.at = h.at.Add(time.Minute)
	batch := ingest.Batch{Source: "test", Received: h.at, Wire: "native", Path: "/v1/events", ContentType: "application/json"}
	for range n {
		h.n++
		e := view()
		e.Id, e.Time = time.Duration(h.n).String(), timestamppb.New(h.at)
		e.Identifiers = []*eventsv1.Identifier{{Type: typ, Value: value}}
		batch.Drafts = append(batch.Drafts, ingest.Draft{Event: e, Original: []byte("{}")})
	}
	if result, err := h.gateway.Accept(h.t.Context(), batch); err != nil || len(result.Rejected) > 0 {
		h.t.Fatalf("tell %d events of %s: %v, rejected %v", n, identifier, err, result.Rejected)
	}
}

// view is an event that says nothing but itself.
func view() *eventsv1.Event { return &eventsv1.Event{Type: "page.viewed"} }

// order is an order of some yuan.
func order(id string, yuan int64) *eventsv1.Event {
	total := yuan * 1_000_000
	return &eventsv1.Event{Type: "order.placed", Payload: &eventsv1.Event_Order{Order: &eventsv1.Order{OrderId: id, Currency: "CNY", TotalMicros: &total}}}
}

// reach asks for a customer until a receipt is reached: an answer waits for it
// only for a few seconds, which a slow machine may need and more.
func (h *house) reach(reference, receipt string) (resp *queryv1.GetProfileResponse, err error) {
	for range 24 {
		resp, err = h.query.GetProfile(h.t.Context(), &queryv1.GetProfileRequest{Customer: reference, Receipt: receipt})
		if receipt == "" || connect.CodeOf(err) != connect.CodeUnavailable {
			break
		}
	}
	return resp, err
}

// profile is a customer with a receipt reached.
func (h *house) profile(reference, receipt string) *queryv1.Profile {
	h.t.Helper()
	resp, err := h.reach(reference, receipt)
	if err != nil {
		h.t.Fatalf("profile of %s: %v", reference, err)
	}
	return resp.GetProfile()
}

// absent reports that nobody is called so.
func (h *house) absent(reference string) {
	h.t.Helper()
	_, err := h.query.GetProfile(h.t.Context(), &queryv1.GetProfileRequest{Customer: reference})
	if got := connect.CodeOf(err); err == nil || got != connect.CodeNotFound {
		h.t.Errorf("%s: %v (%v), want not_found", reference, err, got)
	}
}
