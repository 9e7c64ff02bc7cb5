package ingest_test

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/projections/store"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// TestMain warms the coders of the log's frames, which keep channels: made in
// one test's bubble they would be of no use in another's.
func TestMain(m *testing.M) {
	r := &logv1.Reject{}
	frame, err := events.Seal(&logv1.Reject{Original: make([]byte, 4096)})
	if err == nil {
		err = events.Open(frame, r)
	}
	if err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// tb is what *testing.T, *testing.B and *rapid.T share.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
}

// received is when every call of these tests comes in.
var received = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var testKey = directory.Key{7}

func found(t tb, o memlog.Options, s events.Settings) *memlog.Log {
	t.Helper()
	faults := o.Faults
	var on atomic.Bool
	if faults != nil {
		o.Faults = func(op memlog.Op) memlog.Fault {
			if !on.Load() {
				return memlog.Fault{}
			}
			return faults(op)
		}
	}
	log := memlog.New(o)
	foundOn(t, log, s)
	on.Store(true)
	return log
}

// foundOn founds an empty log.
func foundOn(t tb, log events.Log, s events.Settings) {
	t.Helper()
	s.Normaliser, s.IdentityKeyCheck = directory.Normaliser, directory.KeyCheck(testKey)
	if _, err := events.Found(context.Background(), log, s, time.Now, rand.Reader); err != nil {
		t.Fatalf("found a log: %v", err)
	}
}

// rig is a gateway that runs on a log.
type rig struct {
	*ingest.Gateway
	directory *directory.Directory
	log       events.Log
	stop      func()
}

func start(t tb, log events.Log, change func(*ingest.Options)) *rig {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	minter := directory.NewMinter(time.Now, rand.Reader)
	genesis, err := events.ReadGenesis(ctx, log)
	if err != nil {
		t.Fatalf("%v", err)
	}
	var d *directory.Directory
	for d == nil {
		// Faults may hit the first look at the log.
		d, err = directory.Open(ctx, directory.Options{
			Log: log, Key: testKey, Minter: minter,
			OpenStore: func(bool) (store.Store, error) { return store.OpenMemory(), nil },
		})
		if err != nil && !errors.Is(err, events.ErrUnknown) {
			t.Fatalf("open the directory: %v", err)
		}
	}
	o := ingest.Options{Log: log, Directory: d, Genesis: genesis, Minter: minter, Now: func() time.Time { return received }}
	if change != nil {
		change(&o)
	}
	g, err := ingest.NewGateway(o)
	if err != nil {
		t.Fatalf("new gateway: %v", err)
	}
	ended := make(chan error, 2)
	go func() { ended <- d.Run(ctx) }()
	go func() { ended <- g.Run(ctx) }()
	r := &rig{g, d, log, func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Fatalf("run: %v", err)
			}
		}
	}}
	for d.Ready() != nil {
		time.Sleep(time.Millisecond) // in a bubble, or before a benchmark
	}
	return r
}

// track is an event of a user.
func track(user, id string) *eventsv1.Event {
	return &eventsv1.Event{
		Id: id, Type: "Clicked", Time: timestamppb.New(received.Add(-time.Hour)),
		Identifiers: []*eventsv1.Identifier{{Type: "user_id", Value: user}},
	}
}

func batch(all ...*eventsv1.Event) ingest.Batch {
	b := ingest.Batch{Source: "test", Received: received, Wire: "native", Path: "/v1/events", ContentType: "application/json"}
	for _, e := range all {
		b.Drafts = append(b.Drafts, ingest.Draft{Event: e, Original: []byte("original of " + e.GetId())})
	}
	return b
}

func (r *rig) accept(t tb, b ingest.Batch) ingest.Result {
	t.Helper()
	result, err := r.Accept(context.Background(), b)
	if err != nil {
		t.Fatalf("accept: %v", err)
	}
	return result
}

// logged is an event as it stands in the log.
type logged struct {
	partition int
	seq       uint64
	at        uint64
	recorded  int64
	header    *logv1.Header
	body      *eventsv1.Event
	bodyBytes string
}

// read returns all records and events of all partitions.
func read(t tb, log events.Log) (records []*logv1.Record, all []logged) {
	t.Helper()
	for p := 0; ; p++ {
		info, err := log.Info(context.Background(), events.PartitionStream(p))
		if errors.Is(err, events.ErrNotFound) {
			return records, all
		}
		if err != nil {
			t.Fatalf("info: %v", err)
		}
		for seq := uint64(2); seq <= info.Last; seq++ {
			m, err := log.Get(context.Background(), events.PartitionStream(p), seq)
			if err != nil {
				t.Fatalf("get: %v", err)
			}
			record := &logv1.Record{}
			if err := events.Open(m.Data, record); err != nil {
				t.Fatalf("open: %v", err)
			}
			records = append(records, record)
			for _, e := range record.Events {
				body := &eventsv1.Event{}
				if err := proto.Unmarshal(e.Body, body); err != nil {
					t.Fatalf("body: %v", err)
				}
				all = append(all, logged{p, seq, record.At + e.Header.AtDelta, record.RecordedAt + int64(e.Header.RecordedDelta), e.Header, body, string(e.Body)})
			}
		}
	}
}

// rejects reads REJECTED.
func rejects(t *testing.T, log events.Log) []*logv1.Reject {
	t.Helper()
	info, err := log.Info(t.Context(), events.RejectedStream)
	if err != nil {
		t.Fatal(err)
	}
	var all []*logv1.Reject
	for seq := info.First; seq <= info.Last; seq++ {
		m, err := log.Get(t.Context(), events.RejectedStream, seq)
		if err != nil {
			t.Fatal(err)
		}
		r := &logv1.Reject{}
		if err := events.Open(m.Data, r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}
