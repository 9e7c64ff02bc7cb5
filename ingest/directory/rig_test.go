package directory_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/projections/store"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

var testKey = directory.Key{1, 2, 3}

// tb is what *testing.T and *rapid.T share.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
}

// TestMain warms the coders of the log's frames, which keep channels: made in
// one test's bubble they would be of no use in another's.
func TestMain(m *testing.M) {
	frame, err := events.Seal(&logv1.Reject{Original: make([]byte, 4096)})
	if err == nil {
		err = events.Open(frame, &logv1.Reject{})
	}
	if err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// found makes a log with Genesis under the test key, whose faults begin after.
func found(t testing.TB, o memlog.Options) *memlog.Log {
	t.Helper()
	on := false
	if faults := o.Faults; faults != nil {
		o.Faults = func(op memlog.Op) memlog.Fault {
			if !on {
				return memlog.Fault{}
			}
			return faults(op)
		}
	}
	log := memlog.New(o)
	foundOn(t, log)
	on = true
	return log
}

func foundOn(t tb, log events.Log) {
	t.Helper()
	_, err := events.Found(context.Background(), log, events.Settings{
		Partitions: 4, Normaliser: directory.Normaliser, IdentityKeyCheck: directory.KeyCheck(testKey),
	}, time.Now, rand.Reader)
	if err != nil {
		t.Fatalf("found a log: %v", err)
	}
}

// gateway is a directory that runs.
type gateway struct {
	*directory.Directory
	stop func() error // ends Run and returns what it returned
}

// memory opens the same store in memory again and again; fresh empties it.
func memory(m **store.Memory) func(bool) (store.Store, error) {
	return func(fresh bool) (store.Store, error) {
		if fresh {
			*m = store.OpenMemory()
		}
		(*m).Reopen()
		return *m, nil
	}
}

func start(t tb, log events.Log, open func(bool) (store.Store, error)) *gateway {
	t.Helper()
	return startCached(t, log, open, 4) // so that the store is asked, too
}

func startCached(t tb, log events.Log, open func(bool) (store.Store, error), entries int) *gateway {
	t.Helper()
	d, err := directory.Open(context.Background(), directory.Options{
		Log: log, Key: testKey, OpenStore: open,
		Minter:       directory.NewMinter(time.Now, rand.Reader),
		CacheEntries: entries,
	})
	if err != nil {
		t.Fatalf("open the directory: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	return &gateway{d, func() error { cancel(); return <-ended }}
}

// set makes a request of identifiers written type=value.
func (g *gateway) set(t tb, pairs ...[2]string) directory.Request {
	t.Helper()
	r := directory.Request{Source: "test", EventID: "e"}
	for _, p := range pairs {
		id, err := g.Identify(p[0], p[1])
		if err != nil {
			t.Fatalf("identify %v: %v", p, err)
		}
		r.Identifiers, r.Kind = append(r.Identifiers, id), id.Kind()
	}
	return r
}

// dump is all that a store holds but the checkpoint's time, in order.
func dump(t tb, s store.Store) []string {
	t.Helper()
	var rows []string
	v := s.View()
	defer v.Close()
	err := v.Scan([]byte{0}, nil, false, func(key, value []byte) bool {
		rows = append(rows, fmt.Sprintf("%c %s = %s", key[0], hex.EncodeToString(key[1:]), hex.EncodeToString(value)))
		return true
	})
	if err != nil {
		t.Fatalf("scan the store: %v", err)
	}
	return rows
}

// decisions reads the decisions of IDENTITY after a sequence.
func decisions(t tb, log events.Log, after uint64) (all []*logv1.Decision, last uint64) {
	t.Helper()
	info, err := log.Info(context.Background(), events.IdentityStream)
	if err != nil {
		t.Fatalf("info: %v", err)
	}
	for seq := after + 1; seq <= info.Last; seq++ {
		all = append(all, identity(t, log, seq).GetBindings().GetDecisions()...)
	}
	return all, info.Last
}

// identity reads a message of IDENTITY.
func identity(t tb, log events.Log, seq uint64) *logv1.Identity {
	t.Helper()
	m, err := log.Get(context.Background(), events.IdentityStream, seq)
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	id := &logv1.Identity{}
	if err := events.Open(m.Data, id); err != nil {
		t.Fatalf("open: %v", err)
	}
	return id
}
