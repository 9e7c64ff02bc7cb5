package front_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/ingest/front"
	"github.com/dossier360/dossier/projections"
	"github.com/dossier360/dossier/projections/playbook"
	"github.com/dossier360/dossier/projections/store"
)

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

// kioskUsers is how many people use one device in turn.
const kioskUsers = 500

// TestKiosk lets people use one device in turn, through the door and into the
// partitions: each says who he is, by a user id or by an e-mail address alone,
// does something under that name, and something more without it, as does the
// next before he says who he is. Nobody is joined to anybody, nothing is in
// conflict, and what was told without a name is of him who said last who he is:
// however the events are cut into calls.
func TestKiosk(t *testing.T) {
	t.Parallel()
	for _, k := range []kiosk{
		{name: "user ids", ref: "user_id:u%d", most: 1,
			identify: `"userId":"u%[1]d","traits":{"plan":"p%[1]d"}`, track: `"userId":"u%d"`},
		{name: "user ids in batches", ref: "user_id:u%d", most: 40,
			identify: `"userId":"u%[1]d","traits":{"plan":"p%[1]d"}`, track: `"userId":"u%d"`},
		{name: "e-mail alone", ref: "email:u%d@example.com", most: 1,
			identify: `"traits":{"email":"u%d@example.com"}`, track: `"context":{"traits":{"email":"U%d@Example.com"}}`},
		{name: "e-mail alone in batches", ref: "email:u%d@example.com", most: 40,
			identify: `"traits":{"email":"u%d@example.com"}`, track: `"context":{"traits":{"email":"U%d@Example.com"}}`},
	} {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, k.test)
		})
	}
}

type kiosk struct {
	name, ref       string
	identify, track string // members of the message beside the device, of user n
	most            int    // events of one call
}

func (k kiosk) test(t *testing.T) {
	e := startEngine(t, 2)
	defer e.stop()
	want := map[string][]string{}
	var messages []string
	tell := func(owner int, kind, members string) {
		id := fmt.Sprint("m", len(messages))
		messages = append(messages, fmt.Sprintf(`{"type":%q,"messageId":%q,"anonymousId":"kiosk","timestamp":%q%s}`,
			kind, id, receivedAt.Add(time.Duration(len(messages)-5*kioskUsers)*time.Second).Format(time.RFC3339), members))
		ref := fmt.Sprintf(k.ref, owner)
		want[ref] = append(want[ref], id)
	}
	for n := range kioskUsers {
		tell(max(0, n-1), "page", "") // he has not said yet who he is
		tell(n, "identify", ","+fmt.Sprintf(k.identify, n))
		tell(n, "track", `,"event":"Named",`+fmt.Sprintf(k.track, n))
		tell(n, "track", `,"event":"Nameless"`)
	}
	sizes := mathrand.New(mathrand.NewPCG(1, 2))
	for rest := messages; len(rest) > 0; {
		n := min(len(rest), 1+sizes.IntN(k.most))
		a := call(t, e, http.MethodPost, "/v1/batch", strings.NewReader(`{"batch":[`+strings.Join(rest[:n], ",")+`]}`))
		if a.status != http.StatusOK || a.Accepted != n {
			t.Fatalf("got %d %s", a.status, a.raw)
		}
		rest = rest[n:]
	}
	e.settle(t)
	got, customers := map[string][]string{}, map[events.CustomerID]bool{}
	for n := range kioskUsers {
		ref := fmt.Sprintf(k.ref, n)
		c := e.customer(t, ref)
		customers[c] = true
		got[ref] = e.told(t, c)
	}
	for _, ids := range want {
		slices.Sort(ids)
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("events by user (-got +want):\n%s", diff)
	}
	if n := e.count(t); len(customers) != kioskUsers || n != kioskUsers {
		t.Errorf("%d users are %d customers, of %d in all", kioskUsers, len(customers), n)
	}
	if e.directory.QuarantinedCount() != 0 || e.rulesSince(t) != 0 {
		t.Errorf("%d conflicts, %d rules; want none", e.directory.QuarantinedCount(), e.rulesSince(t))
	}
}

// engine is a door with all that is behind it, on a log in memory.
type engine struct {
	http.Handler
	log        *memlog.Log
	directory  *directory.Directory
	partitions []*projections.Partition
	stop       func()
}

func startEngine(t *testing.T, partitions int) *engine {
	t.Helper()
	log, key := memlog.New(memlog.Options{}), directory.Key{7}
	genesis, err := events.Found(t.Context(), log, events.Settings{
		Partitions: partitions, Normaliser: directory.Normaliser, IdentityKeyCheck: directory.KeyCheck(key),
	}, time.Now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{log: log}
	ctx, cancel := context.WithCancel(t.Context())
	rules := projections.NewRules()
	run := []func() error{func() error { return rules.Run(ctx, log) }}
	memory := func() (store.Store, error) { return store.OpenMemory(), nil }
	for id := range partitions {
		p, err := projections.Open(ctx, projections.Options{
			Log: log, Genesis: genesis, ID: id, Rules: rules, Evaluate: playbook.BuiltinStages, OpenStore: memory,
			SetAside: func(why error) error { return fmt.Errorf("set aside: %w", why) },
			Applied:  func(ctx context.Context, p int, seq uint64) error { return e.partitions[p].WaitApplied(ctx, seq) },
		})
		if err != nil {
			t.Fatal(err)
		}
		e.partitions = append(e.partitions, p)
		run = append(run, func() error { return p.Run(ctx) })
	}
	rules.Begin(e.partitions...)
	minter := directory.NewMinter(time.Now, rand.Reader)
	e.directory, err = directory.Open(ctx, directory.Options{
		Log: log, Key: key, Minter: minter, OpenStore: func(bool) (store.Store, error) { return memory() },
	})
	if err != nil {
		t.Fatal(err)
	}
	gateway, err := ingest.NewGateway(ingest.Options{
		Log: log, Directory: e.directory, Genesis: genesis, Minter: minter, Now: func() time.Time { return receivedAt },
	})
	if err != nil {
		t.Fatal(err)
	}
	run = append(run, func() error { return e.directory.Run(ctx) }, func() error { return gateway.Run(ctx) })
	ended := make(chan error, len(run))
	for _, run := range run {
		go func() { ended <- run() }()
	}
	e.Handler = front.New(front.Options{Accept: gateway.Accept, Now: func() time.Time { return receivedAt }, MemoryBytes: math.MaxInt32})
	e.stop = func() {
		cancel()
		for range cap(ended) {
			if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	}
	synctest.Wait()
	return e
}

// settle waits until the log is folded.
func (e *engine) settle(t *testing.T) {
	t.Helper()
	for _, p := range e.partitions {
		info, err := e.log.Info(t.Context(), events.PartitionStream(p.ID()))
		if err == nil {
			err = p.WaitApplied(t.Context(), info.Last)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// customer is who a reference names.
func (e *engine) customer(t *testing.T, ref string) events.CustomerID {
	t.Helper()
	typ, value, _ := strings.Cut(ref, ":")
	c, known, err := e.directory.Lookup(typ, value)
	if err != nil || !known {
		t.Fatalf("%s: known %v, %v", ref, known, err)
	}
	return c
}

// told are the ids of the events of which a customer is the subject, sorted.
func (e *engine) told(t *testing.T, c events.CustomerID) (ids []string) {
	t.Helper()
	v := e.partitions[c.Partition(len(e.partitions))].View()
	defer v.Close()
	for entry, err := range v.Entries(c, nil) {
		if err != nil {
			t.Fatal(err)
		}
		if entry.Role == logv1.Role_ROLE_SUBJECT {
			ids = append(ids, entry.EventId)
		}
	}
	slices.Sort(ids)
	return ids
}

// count is how many customers there are.
func (e *engine) count(t *testing.T) (n int) {
	t.Helper()
	for _, p := range e.partitions {
		v := p.View()
		defer v.Close()
		for _, err := range v.Customers() {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
	}
	return n
}

// rulesSince is how many rules IDENTITY has beside Genesis.
func (e *engine) rulesSince(t *testing.T) (n int) {
	t.Helper()
	info, err := e.log.Info(t.Context(), events.IdentityStream)
	if err != nil {
		t.Fatal(err)
	}
	for seq := info.First + 1; seq <= info.Last; seq++ {
		m, err := e.log.Get(t.Context(), events.IdentityStream, seq)
		if err != nil {
			t.Fatal(err)
		}
		id := &logv1.Identity{}
		if err := events.Open(m.Data, id); err != nil {
			t.Fatal(err)
		}
		if id.GetRule() != nil {
			n++
		}
	}
	return n
}
