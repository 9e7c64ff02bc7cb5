package directory_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/projections/store"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// user is a set with a user id and an e-mail.
func (g *gateway) user(t tb, n int) directory.Request {
	return g.set(t, [2]string{"user_id", fmt.Sprint("u", n)}, [2]string{"email", fmt.Sprintf("u%d@x.org", n)})
}

func (g *gateway) resolve(t tb, requests ...directory.Request) []directory.Address {
	t.Helper()
	addresses, err := g.Resolve(context.Background(), requests)
	if err != nil {
		t.Fatalf("resolve: %v", err)
	}
	return addresses
}

func (g *gateway) ready(t testing.TB) *gateway {
	t.Helper()
	if err := g.Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
	return g
}

func TestConcurrentSetsShareOneAppend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		log := found(t, memlog.Options{Faults: func(op memlog.Op) memlog.Fault {
			if op.Kind == memlog.OpAppend && op.Stream == events.IdentityStream {
				<-gate
			}
			return memlog.Fault{}
		}})
		m := store.OpenMemory()
		g := start(t, log, memory(&m)).ready(t)
		defer g.stop()
		var wg sync.WaitGroup
		for n := range 100 {
			wg.Go(func() { g.resolve(t, g.user(t, n%50)) })
		}
		synctest.Wait() // one append is under way, the rest wait
		close(gate)
		wg.Wait()
		made, last := decisions(t, log, 2)
		if got := last - 2; got > 2 || len(made) != 50 {
			t.Errorf("%d messages with %d decisions, want at most 2 with 50", got, len(made))
		}
	})
}

func TestMessagesAreBounded(t *testing.T) {
	for _, c := range []struct{ sets, identifiers, messages int }{
		{directory.MaxMessageDecisions, 1, 1},
		{directory.MaxMessageDecisions + 1, 1, 2},
		{1_500, 16, 3}, // by bytes
	} {
		synctest.Test(t, func(t *testing.T) {
			log := found(t, memlog.Options{})
			m := store.OpenMemory()
			g := start(t, log, memory(&m)).ready(t)
			defer g.stop()
			requests := make([]directory.Request, c.sets)
			for n := range requests {
				var set [][2]string
				for i := range c.identifiers {
					set = append(set, [2]string{fmt.Sprintf("s%d_id", i), fmt.Sprint("v", n)})
				}
				requests[n] = g.set(t, set...)
			}
			g.resolve(t, requests...)
			made, last := decisions(t, log, 2)
			if got := int(last - 2); got != c.messages || len(made) != c.sets {
				t.Errorf("%d sets of %d: %d messages with %d decisions, want %d", c.sets, c.identifiers, got, len(made), c.messages)
			}
			for seq := uint64(3); seq <= last; seq++ {
				id := identity(t, log, seq)
				if n := proto.Size(id); n > directory.MaxMessageBytes {
					t.Errorf("message %d has %d bytes, limit %d", seq, n, directory.MaxMessageBytes)
				}
			}
		})
	}
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		log := found(t, memlog.Options{Faults: func(op memlog.Op) memlog.Fault {
			if op.Kind == memlog.OpAppend && op.Subject == events.SubjectBind && op.N > 2 {
				<-gate
			}
			return memlog.Fault{}
		}})
		m := store.OpenMemory()
		g := start(t, log, memory(&m)).ready(t)
		defer g.stop()
		var wg sync.WaitGroup
		send := func(from, n int) {
			var requests []directory.Request
			for i := range n {
				requests = append(requests, g.user(t, from+i))
			}
			wg.Go(func() { g.resolve(t, requests...) })
			synctest.Wait()
		}
		send(0, 1)                     // under way
		send(1, directory.MaxQueued-1) // waiting
		send(directory.MaxQueued, 1)   // the last that finds room
		one := g.user(t, directory.MaxQueued+1)
		if _, err := g.Resolve(t.Context(), []directory.Request{one}); !errors.Is(err, directory.ErrOverload) {
			t.Errorf("one too many: got %v, want ErrOverload", err)
		}
		close(gate)
		wg.Wait()
		g.resolve(t, one)
	})
}

func TestUnconfirmedIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var silent atomic.Bool
		log := found(t, memlog.Options{Faults: func(op memlog.Op) memlog.Fault {
			if silent.Load() && op.Kind == memlog.OpInfo {
				return memlog.Fault{Err: errors.New("no answer")}
			}
			return memlog.Fault{}
		}})
		m := store.OpenMemory()
		g := start(t, log, memory(&m)).ready(t)
		defer g.stop()
		one := g.user(t, 1)
		g.resolve(t, one)
		silent.Store(true)
		time.Sleep(directory.MaxUnconfirmed - 2*time.Second)
		g.resolve(t, one)
		time.Sleep(3 * time.Second)
		if _, err := g.Resolve(t.Context(), []directory.Request{one}); !errors.Is(err, directory.ErrNotReady) {
			t.Errorf("got %v, want ErrNotReady", err)
		}
		if _, ok, err := g.Lookup("user_id", "u1"); !ok || err != nil {
			t.Errorf("look up: %v, %v; a query is content with what is known", ok, err)
		}
		silent.Store(false)
		time.Sleep(2 * time.Second)
		g.resolve(t, one)
	})
}

// TestReadersThatStallAreOpenedAnew: a reader may be silent for ever.
func TestReadersThatStallAreOpenedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &deafLog{Log: found(t, memlog.Options{})}
		m := store.OpenMemory()
		g := start(t, log, memory(&m)).ready(t)
		defer g.stop()
		other := store.OpenMemory()
		h := start(t, log.Log, memory(&other)).ready(t)
		defer h.stop()
		log.deaf.Store(true)
		h.resolve(t, h.user(t, 1))
		h.resolve(t, h.user(t, 2)) // the first one reached the deaf reader
		time.Sleep(time.Second)
		log.deaf.Store(false)
		time.Sleep(time.Minute)
		if _, ok, err := g.Lookup("user_id", "u2"); !ok || err != nil {
			t.Errorf("look up what the other decided: %v, %v", ok, err)
		}
		g.resolve(t, g.user(t, 3))
	})
}

func TestStoreFailsAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, stored := range []bool{false, true} {
			log := found(t, memlog.Options{})
			m := store.OpenMemory()
			m.Fault = func(n int) (bool, error) {
				if n%2 == 1 {
					return stored, errors.New("disk full")
				}
				return true, nil
			}
			g := start(t, log, memory(&m)).ready(t)
			for n := range 20 {
				request := g.user(t, n)
				for {
					if _, err := g.Resolve(t.Context(), []directory.Request{request}); err == nil {
						break
					} else if !errors.Is(err, directory.ErrNotReady) {
						t.Fatal(err)
					}
					time.Sleep(100 * time.Millisecond)
				}
			}
			g.ready(t)
			for n := range 20 {
				if _, ok, err := g.Lookup("user_id", fmt.Sprint("u", n)); !ok || err != nil {
					t.Errorf("stored %v: look up u%d: %v, %v", stored, n, ok, err)
				}
			}
			if made, _ := decisions(t, log, 2); len(made) != 20 {
				t.Errorf("stored %v: %d decisions, want 20", stored, len(made))
			}
			g.stop()
		}
	})
}

// TestDoubtfulStoresAreSetAside opens the directory on every kind of store
// that is not this log's.
func TestDoubtfulStoresAreSetAside(t *testing.T) {
	for _, c := range []struct {
		name string
		harm func(t *testing.T, log *memlog.Log, m *store.Memory) *memlog.Log
		kept bool
	}{
		{"none", func(_ *testing.T, log *memlog.Log, _ *store.Memory) *memlog.Log { return log }, true},
		{"another log", func(t *testing.T, _ *memlog.Log, _ *store.Memory) *memlog.Log { return found(t, memlog.Options{}) }, false},
		{"the log lost its tail", func(t *testing.T, log *memlog.Log, _ *store.Memory) *memlog.Log {
			if err := log.Truncate(events.IdentityStream, 2); err != nil {
				t.Fatal(err)
			}
			return log
		}, false},
		{"the tail was written anew", func(t *testing.T, log *memlog.Log, _ *store.Memory) *memlog.Log {
			if err := log.Truncate(events.IdentityStream, 2); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			m := store.OpenMemory()
			g := start(t, log, memory(&m)).ready(t)
			for n := range 5 {
				g.resolve(t, g.user(t, 100+n))
			}
			g.stop()
			return log
		}, false},
		{"no checkpoint", func(t *testing.T, log *memlog.Log, m *store.Memory) *memlog.Log {
			b := &store.Batch{}
			b.Delete([]byte("!"))
			commit(t, m, b)
			return log
		}, false},
		{"checkpoint of another version", func(t *testing.T, log *memlog.Log, m *store.Memory) *memlog.Log {
			b := &store.Batch{}
			b.Put([]byte("!"), bytes.Repeat([]byte{9}, 49))
			commit(t, m, b)
			return log
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := found(t, memlog.Options{})
				m := store.OpenMemory()
				before := m
				g := start(t, log, memory(&m)).ready(t)
				for n := range 5 {
					g.resolve(t, g.user(t, n))
				}
				if err := g.stop(); err != nil {
					t.Fatal(err)
				}
				log = c.harm(t, log, m)
				g = start(t, log, memory(&m)).ready(t)
				g.resolve(t, g.user(t, 0))
				g.stop()
				if kept := m == before; kept != c.kept {
					t.Errorf("store kept: %v, want %v", kept, c.kept)
				}
				fresh := store.OpenMemory()
				h := start(t, log, memory(&fresh)).ready(t)
				h.stop()
				if d := cmp.Diff(dump(t, fresh), dump(t, m)); d != "" {
					t.Errorf("(-folded from the log +as it went):\n%s", d)
				}
			})
		})
	}
}

func commit(t *testing.T, m *store.Memory, b *store.Batch) {
	t.Helper()
	m.Reopen()
	if err := m.Commit(b); err != nil {
		t.Fatal(err)
	}
}

func TestCorruptLogStopsTheFold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := found(t, memlog.Options{})
		m := store.OpenMemory()
		g := start(t, log, memory(&m)).ready(t)
		g.resolve(t, g.user(t, 1))
		g.stop()
		if err := log.Damage(events.IdentityStream, 3); err != nil {
			t.Fatal(err)
		}
		m = store.OpenMemory()
		g = start(t, log, memory(&m))
		synctest.Wait()
		if err := g.Ready(); !errors.Is(err, directory.ErrNotReady) {
			t.Errorf("ready: got %v, want ErrNotReady", err)
		}
		if err := g.stop(); !errors.Is(err, events.ErrCorrupt) {
			t.Errorf("run: got %v, want ErrCorrupt", err)
		}
	})
}

func TestInDirSetsAside(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "directory")
	log := found(t, memlog.Options{})
	open := directory.InDir(dir, store.Options{}, time.Now)
	g := start(t, log, open).ready(t)
	want := g.resolve(t, g.user(t, 1))[0].Customer
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	g = start(t, log, open)
	if got := g.Progress(); got.Applied != 3 {
		t.Errorf("opened at %d, want 3: what was committed when it ended", got.Applied)
	}
	g.ready(t)
	if got, ok, err := g.Lookup("email", "u1@x.org"); got != want || !ok || err != nil {
		t.Errorf("look up: %v, %v, %v; want %v", got, ok, err, want)
	}
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	// A file of the store is damaged: it is set aside.
	if err := os.WriteFile(filepath.Join(dir, "MANIFEST"), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	g = start(t, log, open).ready(t)
	if got, ok, err := g.Lookup("email", "u1@x.org"); got != want || !ok || err != nil {
		t.Errorf("look up after a rebuild: %v, %v, %v; want %v", got, ok, err, want)
	}
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	aside, err := filepath.Glob(dir + ".aside-*")
	if len(aside) != 1 || err != nil {
		t.Errorf("set aside: %v, %v; want one", aside, err)
	}
}

func TestNothingInClear(t *testing.T) {
	log := found(t, memlog.Options{})
	m := store.OpenMemory()
	g := start(t, log, memory(&m)).ready(t)
	g.resolve(t, g.set(t, [2]string{"email", "secret@x.org"}, [2]string{"user_id", "Secret"}))
	if err := g.stop(); err != nil {
		t.Fatal(err)
	}
	made, _ := decisions(t, log, 2)
	if len(made) != 1 {
		t.Fatalf("%d decisions, want 1", len(made))
	}
	if text := strings.ToLower(made[0].String()); strings.Contains(text, "secret") {
		t.Errorf("the log says %s", text)
	}
	v := m.View()
	defer v.Close()
	rows := 0
	if err := v.Scan([]byte{0}, nil, false, func(key, value []byte) bool {
		rows++
		if strings.Contains(strings.ToLower(string(key)+string(value)), "secret") {
			t.Errorf("the store holds %q = %q", key, value)
		}
		return true
	}); err != nil || rows != 6 {
		t.Errorf("%d rows, %v; want 6", rows, err)
	}
}

func TestCacheIsBounded(t *testing.T) {
	const n = 10
	c := directory.NewCache(n)
	for i := range 5 * n {
		c.Put(directory.Hash{byte(i)})
		if c.Len() > 2*n {
			t.Fatalf("%d entries, limit %d", c.Len(), 2*n)
		}
		for back := range min(i+1, n) {
			if !c.Has(directory.Hash{byte(i - back)}) {
				t.Fatalf("entry %d is gone after %d more, limit %d", i-back, back, n)
			}
		}
	}
	if c.Has(directory.Hash{0}) {
		t.Error("the first entry is still held")
	}
}

func TestMinterRises(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	m := directory.NewMinter(func() time.Time { return now }, rand.Reader)
	last := ulid.ULID{}
	for i := range 2_000 {
		switch i % 100 {
		case 33:
			now = now.Add(-time.Second)
		case 66:
			now = now.Add(1500 * time.Millisecond)
		}
		id := m.Mint()
		if id.Compare(last) <= 0 {
			t.Fatalf("%v after %v", id, last)
		}
		last = id
	}
	// All random bits set: the next id is of the next millisecond.
	m = directory.NewMinter(func() time.Time { return now }, bytes.NewReader(append(bytes.Repeat([]byte{0xff}, 10), make([]byte, 10)...)))
	first, second := m.Mint(), m.Mint()
	if second.Compare(first) <= 0 || second.Time() != first.Time()+1 {
		t.Errorf("%v after %v, want it one millisecond later", second, first)
	}
}

// TestTornMessage lets a directory meet a message whose second decision it
// cannot read, after one that it can: what the message says before is not kept,
// for it is folded again by whoever can read it.
func TestTornMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := found(t, memlog.Options{})
		minter := directory.NewMinter(time.Now, rand.Reader)
		m := store.OpenMemory()
		g := start(t, log, memory(&m))
		synctest.Wait()
		var rows []string
		for n := range 2 {
			c := minter.Mint()
			id, err := g.Identify("crm_id", fmt.Sprint("c", n))
			if err != nil {
				t.Fatal(err)
			}
			said := []*logv1.Decision{{Decision: &logv1.Decision_Created{Created: &logv1.Created{
				Customer: c[:], Identifiers: []*logv1.HashedIdentifier{{Type: "crm_id", Hash: id.Hash[:]}},
			}}}}
			if n == 1 {
				said = append(said, &logv1.Decision{})
			}
			frame, err := events.Seal(&logv1.Identity{Content: &logv1.Identity_Bindings{Bindings: &logv1.Bindings{Decisions: said}}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := log.Append(t.Context(), events.IdentityStream, events.SubjectBind, frame, events.ExpectLast(uint64(2+n))); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second)
		if err := g.Ready(); !errors.Is(err, directory.ErrNotReady) {
			t.Errorf("ready: got %v, want ErrNotReady", err)
		}
		if p := g.Progress(); p.Applied > 3 || p.Customers > 1 {
			t.Errorf("%+v, want at most what the messages up to 3 say", p)
		}
		if err := g.stop(); err != nil {
			t.Fatal(err)
		}
		for _, row := range dump(t, m) {
			if strings.HasPrefix(row, "c ") {
				rows = append(rows, row)
			}
		}
		if len(rows) > 1 {
			t.Errorf("customers of the store: got %q, want at most the first", rows)
		}
	})
}
