package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"flag"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/projections"
	"github.com/dossier360/dossier/projections/playbook"
	"github.com/dossier360/dossier/projections/profile"
	"github.com/dossier360/dossier/projections/store"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

var (
	simSeeds = flag.Int("sim.seeds", 100, "how many seeds each simulation tries (few with -short)")
	simSeed  = flag.Uint64("sim.seed", 0, "try this seed alone")
	simNew   = flag.Bool("sim.new", false, "try seeds that nobody tried before")
)

// The whole engine in memory, in a bubble of virtual time, with a fault or a
// crash possible at every durable step: each append, each commit of a partition
// or of the directory. Clients post until they are answered. At the end
// everything acknowledged counts once: the digests are those of an engine
// without faults; and a partition folded again from its log is the same bytes,
// outbox and all.
func TestSimulation(t *testing.T) {
	eachSeed(t, 20, simulate)
}

// eachSeed simulates by the seed that the flag gives, else by as many as the
// other flag says, in a short run by few: the same in every run, for what is
// rare is looked for by make sim and not by whoever changes something else.
func eachSeed(t *testing.T, few int, simulate func(t *testing.T, seed uint64)) {
	t.Helper()
	warmCoders(t)
	run := func(seed uint64) bool {
		return t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { simulate(t, seed) })
		})
	}
	if *simSeed != 0 {
		run(*simSeed)
		return
	}
	seeds := *simSeeds
	if testing.Short() {
		seeds = min(seeds, few)
	}
	base := uint64(1)
	if *simNew {
		base = uint64(time.Now().UnixNano())
	}
	for i := range seeds {
		if seed := base + uint64(i); !run(seed) {
			t.Fatalf("replay with: go test ./cmd/dossier -run %s -sim.seed=%d", t.Name(), seed)
		}
	}
}

// warmCoders makes the package-wide coders outside of any bubble, where all
// bubbles may use them.
func warmCoders(t *testing.T) {
	big := &logv1.Record{Batch: make([]byte, 4096)}
	frame, err := events.Seal(big)
	if err != nil {
		t.Fatal(err)
	}
	if err := events.Open(frame, big); err != nil {
		t.Fatal(err)
	}
}

func simulate(t *testing.T, seed uint64) {
	rng := mathrand.New(mathrand.NewPCG(seed, 0))
	work := simWork(rng)
	clock := []string{events.ClockWall, events.ClockEvents}[rng.IntN(2)]
	calm := newWorld(t, clock, rng.Uint64(), 0)
	calm.run(work)
	wild := newWorld(t, clock, rng.Uint64(), 1+rng.IntN(40))
	wild.run(work)
	if diff := cmp.Diff(calm.digests(), wild.digests()); diff != "" {
		t.Errorf("after %d crashes and %d faults (-undisturbed +disturbed):\n%s", wild.crashes, wild.faults.Load(), diff)
	}
	wild.checkRebuild()
	t.Logf("%d crashes, %d faults", wild.crashes, wild.faults.Load())
}

// simWork is what three clients post: batches of events of a few users, in part
// out of order. Each client has users of its own, so that who belongs to which
// company when is the same however the clients take turns; all refer each other.
func simWork(rng *mathrand.Rand) [3][]ingest.Batch {
	var work [3][]ingest.Batch
	for client := range work {
		c := simClient{rng: rng, name: client}
		for range 3 + rng.IntN(6) {
			b := ingest.Batch{Source: "sim", Wire: "native", Path: "/v1/events"}
			for range 1 + rng.IntN(12) {
				b.Drafts = append(b.Drafts, ingest.Draft{Event: c.event()})
			}
			work[client] = append(work[client], b)
		}
	}
	return work
}

// simClient makes up the events of one client.
type simClient struct {
	rng  *mathrand.Rand
	name int
	told []*eventsv1.Event
}

// simStart is a while before the bubble's clock begins.
var simStart = time.Date(1999, 10, 1, 0, 0, 0, 0, time.UTC)

func (c *simClient) event() *eventsv1.Event {
	n := len(c.told)
	e := &eventsv1.Event{
		Id:          fmt.Sprintf("e%d-%d", c.name, n),
		Time:        timestamppb.New(simStart.Add(time.Duration(c.rng.IntN(90*24)) * time.Hour)),
		Identifiers: []*eventsv1.Identifier{{Type: "user_id", Value: fmt.Sprintf("u%d", 2*c.name+c.rng.IntN(2))}},
	}
	switch c.rng.IntN(12) {
	case 0, 1, 2:
		e.Type = "order.placed"
		e.Payload = &eventsv1.Event_Order{Order: &eventsv1.Order{
			OrderId: fmt.Sprintf("o%d", c.rng.IntN(40)), RevenueMicros: new(int64(c.rng.IntN(1e9))), Currency: "CNY",
		}}
	case 3, 4:
		e.Type = "traits.set"
		e.Payload = &eventsv1.Event_Traits{Traits: &eventsv1.Traits{Manual: c.rng.IntN(3) == 0, Set: &structpb.Struct{Fields: map[string]*structpb.Value{
			"n": structpb.NewNumberValue(float64(n)),
		}}}}
	case 5:
		e.Type = []string{"group.joined", "group.joined", "group.left"}[c.rng.IntN(3)]
		e.Payload = &eventsv1.Event_Group{Group: &eventsv1.Group{GroupId: fmt.Sprintf("g%d", c.rng.IntN(3))}}
	case 6:
		e.Type = []string{"referral.made", "referral.converted"}[c.rng.IntN(2)]
		e.Payload = &eventsv1.Event_Referral{Referral: &eventsv1.Referral{
			Referee: &eventsv1.Identifier{Type: "user_id", Value: fmt.Sprintf("u%d", c.rng.IntN(8))}, RevenueMicros: new(int64(5_000_000)), Currency: "CNY",
		}}
	case 7:
		e.Type = "ticket." + []string{"opened", "replied", "resolved", "reopened"}[c.rng.IntN(4)]
		e.Payload = &eventsv1.Event_Ticket{Ticket: &eventsv1.Ticket{TicketId: fmt.Sprintf("t%d", c.rng.IntN(5))}}
	case 8, 9:
		if n > 0 {
			c.takeBack(e)
			break
		}
		fallthrough
	default:
		e.Type = "page.viewed"
		e.Payload = &eventsv1.Event_View{View: &eventsv1.View{Url: fmt.Sprintf("https://x/%d", c.rng.IntN(9))}}
	}
	c.told = append(c.told, e)
	return e
}

// takeBack makes an event void or correct one that the client told before.
func (c *simClient) takeBack(e *eventsv1.Event) {
	of := c.told[c.rng.IntN(len(c.told))]
	e.Identifiers = []*eventsv1.Identifier{proto.CloneOf(of.Identifiers[0])}
	if c.rng.IntN(2) == 0 {
		e.Type = "event.voided"
		e.Payload = &eventsv1.Event_Void{Void: &eventsv1.Void{EventId: of.Id}}
		return
	}
	e.Type, e.Corrects = "order.placed", of.Id
	e.Payload = &eventsv1.Event_Order{Order: &eventsv1.Order{OrderId: fmt.Sprintf("o%d", c.rng.IntN(40)), RevenueMicros: new(int64(7_000_000))}}
}

const simPartitions = 2

// world is the durable state of one engine, its lives, and its faults.
type world struct {
	t         *testing.T
	clock     string
	log       *memlog.Log
	directory *store.Memory
	stores    []*store.Memory
	key       directory.Key

	mu      sync.Mutex // guards rng
	rng     *mathrand.Rand
	percent int // of durable steps that fail
	faults  atomic.Int64
	crash   chan struct{} // asked for by a fault; buffered
	crashes int

	life atomic.Pointer[simLife]
}

func newWorld(t *testing.T, clock string, seed uint64, percent int) *world {
	w := &world{
		t: t, clock: clock, rng: mathrand.New(mathrand.NewPCG(seed, 1)), percent: percent,
		directory: store.OpenMemory(), crash: make(chan struct{}, 1), key: directory.Key{1},
	}
	w.log = memlog.New(memlog.Options{Now: time.Now, Faults: w.appendFault})
	w.directory.Fault = w.commitFault
	for range simPartitions {
		m := store.OpenMemory()
		m.Fault = w.commitFault
		w.stores = append(w.stores, m)
	}
	return w
}

// draw rolls the dice at a durable step: nothing, an error before or after it
// took effect, or the end of this life.
func (w *world) draw() (fails, stored, crashes bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.percent == 0 || w.rng.IntN(100) >= w.percent {
		return false, true, false
	}
	w.faults.Add(1)
	return true, w.rng.IntN(2) == 0, w.rng.IntN(3) == 0
}

func (w *world) appendFault(op memlog.Op) memlog.Fault {
	if op.Kind != memlog.OpAppend {
		return memlog.Fault{}
	}
	fails, stored, crashes := w.draw()
	if !fails {
		return memlog.Fault{}
	}
	if crashes {
		w.askCrash()
	}
	return memlog.Fault{Err: events.ErrUnknown, Stored: stored}
}

func (w *world) commitFault(int) (stored bool, err error) {
	fails, stored, crashes := w.draw()
	if !fails {
		return true, nil
	}
	if crashes {
		w.askCrash()
	}
	return stored, fmt.Errorf("commit broken off (stored %v)", stored)
}

func (w *world) askCrash() {
	select {
	case w.crash <- struct{}{}:
	default:
	}
}

// simLife is one life of the engine: from a start to a crash.
type simLife struct {
	gateway *ingest.Gateway
	end     context.CancelFunc
	wg      sync.WaitGroup
	stores  []*projections.Partition
}

// begin starts the engine on what is durable, trying until it stands.
func (w *world) begin() *simLife {
	for try := 0; ; try++ {
		w.directory.Reopen()
		for _, m := range w.stores {
			m.Reopen()
		}
		life, err := w.start()
		if err == nil {
			return life
		}
		if try > 1000 {
			w.t.Fatalf("the engine does not start: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (w *world) start() (*simLife, error) {
	ctx, end := context.WithCancel(context.Background())
	life := &simLife{end: end}
	genesis, err := events.Found(ctx, w.log, events.Settings{
		Partitions: simPartitions, Clock: w.clock, IdentityKeyCheck: directory.KeyCheck(w.key), Normaliser: directory.Normaliser,
	}, time.Now, rand.Reader)
	if err != nil {
		end()
		return nil, err
	}
	minter := directory.NewMinter(time.Now, rand.Reader)
	name := minter.Mint()
	d, err := directory.Open(ctx, directory.Options{
		Log: w.log, Key: w.key, Minter: minter, Gateway: name[:],
		OpenStore: func(bool) (store.Store, error) { w.directory.Reopen(); return w.directory, nil },
	})
	if err != nil {
		end()
		return nil, err
	}
	life.gateway, err = ingest.NewGateway(ingest.Options{Log: w.log, Directory: d, Genesis: genesis, Minter: minter, Name: name[:], Copies: life.copies})
	if err != nil {
		end()
		return nil, err
	}
	rules := projections.NewRules()
	for id, m := range w.stores {
		p, err := projections.Open(ctx, w.partition(genesis, id, m, rules))
		if err != nil {
			end()
			life.wg.Wait()
			return nil, err
		}
		life.stores = append(life.stores, p)
		life.wg.Go(func() { p.Run(ctx) })
	}
	life.wg.Go(func() { d.Run(ctx) })
	life.wg.Go(func() { life.gateway.Run(ctx) })
	life.wg.Go(func() { rules.Run(ctx, w.log) })
	return life, nil
}

func (l *simLife) copies(ctx context.Context, c events.CustomerID, source, eventID string, claimed *int64) (ingest.Copies, error) {
	copies, err := l.stores[c.Partition(simPartitions)].Copies(ctx, c, source, eventID, claimed)
	return ingest.Copies(copies), err
}

func (w *world) partition(genesis *logv1.Genesis, id int, m *store.Memory, rules *projections.Rules) projections.Options {
	return projections.Options{
		Log: w.log, Genesis: genesis, ID: id, Rules: rules, Evaluate: playbook.BuiltinStages, Now: time.Now,
		OpenStore: func() (store.Store, error) { m.Reopen(); return m, nil },
		SetAside:  func(why error) error { w.t.Errorf("partition %d set aside: %v", id, why); return why },
	}
}

// kill ends a life as kill -9 does: nothing is committed or appended any more.
// Now and then a store is lost with it.
func (w *world) kill(life *simLife) {
	w.crashes++
	w.directory.Crash()
	for _, m := range w.stores {
		m.Crash()
	}
	w.log.Crash()
	life.end()
	life.wg.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	switch lost := w.rng.IntN(4 * (1 + simPartitions)); {
	case w.percent == 0:
	case lost == 0:
		w.directory = store.OpenMemory()
		w.directory.Fault = w.commitFault
	case lost <= simPartitions:
		w.stores[lost-1] = store.OpenMemory()
		w.stores[lost-1].Fault = w.commitFault
	}
}

// run has the clients post all their work, across as many lives as it takes,
// and then lets the engine settle without faults.
func (w *world) run(work [3][]ingest.Batch) {
	life := w.begin()
	w.life.Store(life)
	done := make(chan struct{})
	var clients sync.WaitGroup
	for _, batches := range work {
		clients.Go(func() {
			for _, b := range batches {
				w.post(b)
			}
		})
	}
	go func() { clients.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-w.crash:
			w.kill(life)
			life = w.begin()
			w.life.Store(life)
		case <-done:
			running = false
		}
	}
	w.mu.Lock()
	w.percent = 0
	w.mu.Unlock()
	w.kill(life)
	life = w.begin()
	for id, p := range life.stores {
		info, err := w.log.Info(context.Background(), events.PartitionStream(id))
		if err != nil {
			w.t.Fatal(err)
		}
		if err := p.WaitApplied(context.Background(), info.Last); err != nil {
			w.t.Fatal(err)
		}
	}
	life.end() // in order
	life.wg.Wait()
	for _, m := range w.stores {
		m.Reopen()
	}
}

// post posts a batch until it is accepted by whichever life there is.
func (w *world) post(b ingest.Batch) {
	for {
		again := b
		again.Received = time.Now()
		again.Drafts = nil
		for _, d := range b.Drafts {
			again.Drafts = append(again.Drafts, ingest.Draft{Event: proto.CloneOf(d.Event)})
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		result, err := w.life.Load().gateway.Accept(ctx, again)
		cancel()
		if err == nil {
			if len(result.Rejected) != 0 {
				w.t.Errorf("rejected: %+v", result.Rejected)
			}
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// digests are the digests by user.
func (w *world) digests() map[string]string {
	all := map[string]string{}
	for _, m := range w.stores {
		v := m.View()
		err := v.Scan([]byte{'h'}, []byte{'i'}, false, func(key, value []byte) bool {
			head := &statev1.Head{}
			if err := proto.Unmarshal(value, head); err != nil {
				w.t.Fatal(err)
			}
			sum := profile.Digest(head.Facts)
			if len(head.Facts.GetIdentifiers()) == 0 {
				return true // all that was told of him was taken back
			}
			user := head.Facts.Identifiers[0].Value
			if all[user] != "" {
				w.t.Errorf("two customers for %s", user)
			}
			all[user] = hex.EncodeToString(sum[:])
			return true
		})
		v.Close()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return all
}

// checkRebuild folds every partition again from message 1 into an empty store
// and compares all bytes.
func (w *world) checkRebuild() {
	genesis, err := events.ReadGenesis(context.Background(), w.log)
	if err != nil {
		w.t.Fatal(err)
	}
	for id, lived := range w.stores {
		fresh := store.OpenMemory()
		p, err := projections.Open(context.Background(), w.partition(genesis, id, fresh, projections.NewRules()))
		if err != nil {
			w.t.Fatal(err)
		}
		info, err := w.log.Info(context.Background(), events.PartitionStream(id))
		if err != nil {
			w.t.Fatal(err)
		}
		ctx, end := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { p.Run(ctx) })
		if err := p.WaitApplied(ctx, info.Last); err != nil {
			w.t.Fatal(err)
		}
		end()
		wg.Wait()
		fresh.Reopen()
		if diff := cmp.Diff(w.bytes(lived, info.Last), w.bytes(fresh, info.Last)); diff != "" {
			w.t.Errorf("partition %d folded again (-lived +again):\n%s", id, diff)
		}
	}
}

// bytes are all keys and values of a store, which stands at the log's end.
func (w *world) bytes(m *store.Memory, last uint64) map[string]string {
	v := m.View()
	defer v.Close()
	cp := &statev1.Checkpoint{}
	raw, err := v.Get([]byte{'c'})
	if err == nil {
		err = proto.Unmarshal(raw, cp)
	}
	if err != nil || cp.Seq != last {
		w.t.Fatalf("the store stands at %d, the log ends at %d (%v)", cp.Seq, last, err)
	}
	return storeBytes(w.t, m)
}
