package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/projections"
	"github.com/dossier360/dossier/projections/playbook"
	"github.com/dossier360/dossier/projections/store"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// town is an engine of several processes on one log in memory: gateways, each
// with its own directory, and one or two processes that fold all partitions,
// each with its own stores. Every process dies by itself, at any durable step
// of its own; the log does not.
type town struct {
	t          testing.TB
	partitions int
	clock      string
	log        *memlog.Log
	key        directory.Key
	genesis    *logv1.Genesis
	minter     *directory.Minter
	gateways   []*gatewayProcess
	folds      []*foldProcess

	mu      sync.Mutex // guards rng
	rng     *mathrand.Rand
	percent int           // of durable steps that fail
	lag     time.Duration // a step of the log takes up to this
	faults  atomic.Int64
	crashes atomic.Int64

	quit    chan struct{} // closed when processes are to stop in order
	running sync.WaitGroup
}

// townOptions say how a town is built.
type townOptions struct {
	partitions, gateways, replicas int
	clock                          string
	seed                           uint64
	percent                        int
	lag                            time.Duration
}

func newTown(t testing.TB, o townOptions) *town {
	w := &town{
		t: t, partitions: o.partitions, clock: cmp.Or(o.clock, events.ClockWall), key: directory.Key{1},
		log: memlog.New(memlog.Options{}), minter: directory.NewMinter(time.Now, rand.Reader),
		rng: mathrand.New(mathrand.NewPCG(o.seed, 1)), percent: o.percent, lag: o.lag, quit: make(chan struct{}),
	}
	var err error
	w.genesis, err = events.Found(context.Background(), w.log, events.Settings{
		Partitions: o.partitions, Clock: w.clock, IdentityKeyCheck: directory.KeyCheck(w.key), Normaliser: directory.Normaliser,
	}, time.Now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for range o.gateways {
		g := &gatewayProcess{w: w, store: store.OpenMemory()}
		w.gateways = append(w.gateways, g)
	}
	for range 1 + o.replicas {
		f := &foldProcess{w: w}
		for range o.partitions {
			f.stores = append(f.stores, store.OpenMemory())
		}
		w.folds = append(w.folds, f)
	}
	for _, f := range w.folds {
		w.keepAlive(f)
	}
	for _, g := range w.gateways {
		w.keepAlive(g)
	}
	return w
}

// draw rolls the dice at a durable step: nothing, an error before or after it
// took effect, or the end of the process.
func (w *town) draw() (fails, stored, crashes bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.percent == 0 || w.rng.IntN(100) >= w.percent {
		return false, true, false
	}
	w.faults.Add(1)
	return true, w.rng.IntN(2) == 0, w.rng.IntN(3) == 0
}

func (w *town) intN(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(n)
}

// pause lets up to the lag pass.
func (w *town) pause() {
	w.mu.Lock()
	var d time.Duration
	if w.lag > 0 && w.rng.IntN(3) == 0 {
		d = time.Duration(w.rng.Int64N(int64(w.lag)))
	}
	w.mu.Unlock()
	if d > 0 {
		time.Sleep(d)
	}
}

// calm ends all faults.
func (w *town) calm() {
	w.mu.Lock()
	w.percent, w.lag = 0, 0
	w.mu.Unlock()
}

// process is something that lives, dies and lives again on what it made
// durable.
type process interface {
	// start begins a life; what it started ends with the life.
	start(l *processLife) error
	// opened makes what is durable usable for the next life; lost says that a
	// part of it is gone.
	opened(lost int, fault func(*store.Memory))
	crash()
}

// processLife is one life of a process.
type processLife struct {
	events.Log // as this process reaches it
	w          *town
	ctx        context.Context
	end        context.CancelFunc
	wg         sync.WaitGroup
	dead       atomic.Bool
	died       chan struct{} // of 1
}

// keepAlive runs a process until the town stops.
func (w *town) keepAlive(p process) {
	w.running.Go(func() {
		lost := -1
		for try := 0; ; try++ {
			l := &processLife{Log: w.log, w: w, died: make(chan struct{}, 1)}
			l.ctx, l.end = context.WithCancel(context.Background())
			p.opened(lost, func(m *store.Memory) { m.Fault = l.commitFault })
			if err := p.start(l); err != nil {
				l.kill(p)
				if try > 1000 {
					w.t.Errorf("a process does not start: %v", err)
					return
				}
				time.Sleep(10 * time.Millisecond)
				continue
			}
			select {
			case <-l.died:
				l.kill(p)
				w.crashes.Add(1)
				lost = w.intN(4 * (1 + w.partitions))
			case <-w.quit:
				l.end() // in order
				l.wg.Wait()
				return
			}
		}
	})
}

// die ends a life as kill -9 does: nothing is committed or appended any more.
func (l *processLife) die() {
	l.dead.Store(true)
	select {
	case l.died <- struct{}{}:
	default:
	}
}

func (l *processLife) kill(p process) {
	l.dead.Store(true)
	p.crash()
	l.end()
	l.wg.Wait()
}

func (l *processLife) commitFault(int) (stored bool, err error) {
	if l.dead.Load() {
		return false, errors.New("the process is dead")
	}
	fails, stored, crashes := l.w.draw()
	if !fails {
		return true, nil
	}
	if crashes {
		l.die()
	}
	return stored, fmt.Errorf("commit broken off (stored %v)", stored)
}

// open makes a store usable again, unless the process is dead: then it stays as
// it is, and takes nothing.
func (l *processLife) open(m *store.Memory) store.Store {
	if !l.dead.Load() {
		m.Reopen()
	}
	return m
}

// Append is the log's with the faults of the way there and back.
func (l *processLife) Append(ctx context.Context, s events.Stream, subject string, data []byte, e events.Expect) (uint64, error) {
	l.w.pause()
	if l.dead.Load() {
		return 0, events.ErrUnknown
	}
	fails, stored, crashes := l.w.draw()
	if !fails {
		return l.Log.Append(ctx, s, subject, data, e)
	}
	if stored {
		if _, err := l.Log.Append(ctx, s, subject, data, e); err != nil {
			return 0, err
		}
	}
	if crashes {
		l.die()
	}
	return 0, events.ErrUnknown
}

// Read is the log's, but the news comes late.
func (l *processLife) Read(ctx context.Context, s events.Stream, from uint64) (events.Reader, error) {
	r, err := l.Log.Read(ctx, s, from)
	if err != nil {
		return nil, err
	}
	return &lateReader{r, l.w}, nil
}

type lateReader struct {
	events.Reader
	w *town
}

func (r *lateReader) Next(ctx context.Context) (events.Message, error) {
	m, err := r.Reader.Next(ctx)
	if err == nil {
		r.w.pause()
	}
	return m, err
}

// gatewayProcess is a gateway with its directory.
type gatewayProcess struct {
	w     *town
	store *store.Memory
	now   atomic.Pointer[gatewayLife]
}

type gatewayLife struct {
	*ingest.Gateway
	directory *directory.Directory
}

func (g *gatewayProcess) opened(lost int, fault func(*store.Memory)) {
	if lost == 0 {
		g.store = store.OpenMemory()
	}
	fault(g.store)
	g.store.Reopen()
}

func (g *gatewayProcess) crash() { g.store.Crash() }

func (g *gatewayProcess) start(l *processLife) error {
	name := g.w.minter.Mint()
	d, err := directory.Open(l.ctx, directory.Options{
		Log: l, Key: g.w.key, Minter: g.w.minter, Gateway: name[:],
		OpenStore: func(fresh bool) (store.Store, error) {
			if fresh {
				g.w.t.Error("a directory set aside")
			}
			return l.open(g.store), nil
		},
	})
	if err != nil {
		return err
	}
	gateway, err := ingest.NewGateway(ingest.Options{
		Log: l, Directory: d, Genesis: g.w.genesis, Minter: g.w.minter, Name: name[:], Copies: g.w.copies,
	})
	if err != nil {
		return err
	}
	l.wg.Go(func() { d.Run(l.ctx) })
	l.wg.Go(func() { gateway.Run(l.ctx) })
	g.now.Store(&gatewayLife{gateway, d})
	return nil
}

func (w *town) copies(ctx context.Context, c events.CustomerID, source, eventID string, claimed *int64) (ingest.Copies, error) {
	now := w.folds[0].now.Load()
	if now == nil {
		return ingest.Copies{}, projections.ErrCatchingUp
	}
	copies, err := now.partitions[c.Partition(w.partitions)].Copies(ctx, c, source, eventID, claimed)
	return ingest.Copies(copies), err
}

// foldProcess folds all partitions.
type foldProcess struct {
	w      *town
	stores []*store.Memory
	now    atomic.Pointer[foldLife]
}

type foldLife struct{ partitions []*projections.Partition }

func (f *foldProcess) opened(lost int, fault func(*store.Memory)) {
	if lost >= 0 && lost < len(f.stores) {
		f.stores[lost] = store.OpenMemory()
	}
	for _, m := range f.stores {
		fault(m)
		m.Reopen()
	}
}

func (f *foldProcess) crash() {
	for _, m := range f.stores {
		m.Crash()
	}
}

func (f *foldProcess) start(l *processLife) error {
	rules := projections.NewRules()
	now := &foldLife{}
	for id, m := range f.stores {
		open := func() (store.Store, error) { return l.open(m), nil }
		p, err := projections.Open(l.ctx, f.w.options(l, id, open, rules))
		if err != nil {
			return err
		}
		now.partitions = append(now.partitions, p)
		l.wg.Go(func() {
			if err := p.Run(l.ctx); err != nil {
				f.w.t.Errorf("partition %d stopped: %v", id, err)
			}
		})
	}
	l.wg.Go(func() { rules.Run(l.ctx, l) })
	f.now.Store(now)
	return nil
}

func (w *town) options(log events.Log, id int, open func() (store.Store, error), rules *projections.Rules) projections.Options {
	return projections.Options{
		Log: log, Genesis: w.genesis, ID: id, Rules: rules, Evaluate: playbook.BuiltinStages, Now: time.Now,
		OpenStore: open,
		SetAside:  func(why error) error { w.t.Errorf("partition %d set aside: %v", id, why); return why },
	}
}

// stop ends all processes in order.
func (w *town) stop() {
	close(w.quit)
	w.running.Wait()
	for _, f := range w.folds {
		for _, m := range f.stores {
			m.Reopen()
		}
	}
}

// settle ends all faults and waits until every process has folded all that the
// log holds, and nothing is on its way any more.
func (w *town) settle() {
	w.calm()
	last := ""
	for n := 0; ; n++ {
		time.Sleep(time.Second)
		if now := w.state(); now == last && w.settled() {
			return
		} else {
			last = now
		}
		if n > 600 {
			w.t.Fatalf("not settled in ten minutes: %s", last)
		}
	}
}

// state is how far everything is.
func (w *town) state() string {
	var text strings.Builder
	for i, f := range w.folds {
		now := f.now.Load()
		if now == nil {
			continue
		}
		for id, p := range now.partitions {
			v := p.View()
			cp := v.Checkpoint()
			info, err := w.log.Info(context.Background(), events.PartitionStream(id))
			if err != nil {
				w.t.Fatal(err)
			}
			text.WriteString(fmt.Sprintf("process %d partition %d: %d of %d, rules %d, jobs %d\n", i, id, v.Applied(), info.Last, cp.RuleSeq, cp.Jobs))
			v.Close()
		}
	}
	return text.String()
}

func (w *town) settled() bool {
	last := w.lastRule()
	for _, f := range w.folds {
		now := f.now.Load()
		if now == nil {
			return false
		}
		for id, p := range now.partitions {
			v := p.View()
			cp, applied := v.Checkpoint(), v.Applied()
			v.Close()
			info, err := w.log.Info(context.Background(), events.PartitionStream(id))
			if err != nil {
				w.t.Fatal(err)
			}
			// A tick may come at any time; a settled partition has folded it soon.
			if applied != info.Last || cp.RuleSeq != last || cp.Jobs != 0 {
				return false
			}
		}
	}
	return true
}

// lastRule is the sequence of the last rule in IDENTITY.
func (w *town) lastRule() (last uint64) {
	eachMessage(w.t, w.log, events.IdentityStream, func(m events.Message) {
		if m.Subject == events.SubjectRule {
			last = m.Seq
		}
	})
	return last
}

// post posts a batch to a gateway, whichever life it has, until it is accepted.
func (w *town) post(gateway int, b ingest.Batch) ingest.Result {
	for {
		again := b
		again.Received = time.Now()
		again.Drafts = nil
		for _, d := range b.Drafts {
			d.Event = proto.CloneOf(d.Event)
			again.Drafts = append(again.Drafts, d)
		}
		if now := w.gateways[gateway].now.Load(); now != nil {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			result, err := now.Accept(ctx, again)
			cancel()
			if err == nil {
				return result
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// told is what a process says of all customers.
type told struct {
	customers map[string]refCustomer
	recorded  map[string]int64 // customer and key of an event to when its copy was recorded
}

func (g *told) kept(c events.CustomerID, key string) (int64, bool) {
	at, ok := g.recorded[c.String()+key]
	return at, ok
}

// check holds every process's partitions against the reference.
func (w *town) check() {
	w.t.Helper()
	r := readReference(w.t, w.log)
	into := r.becomes()
	for i, f := range w.folds {
		got := &told{map[string]refCustomer{}, map[string]int64{}}
		for id, p := range f.now.Load().partitions {
			w.checkPartition(into, id, p, got)
		}
		want := r.customers(w.t, got.kept)
		if diff := gocmp.Diff(got.customers, want); diff != "" {
			w.t.Errorf("process %d after %d crashes and %d faults (-engine +reference):\n%s\n%s%s", i, w.crashes.Load(), w.faults.Load(), diff, r.story(), r.copies(got.customers, want))
		}
		for key := range r.parted() {
			if !slices.ContainsFunc(slices.Collect(maps.Values(got.customers)), func(c refCustomer) bool { return slices.Contains(c.Events, key) }) {
				w.t.Errorf("process %d: nobody has event %s", i, key)
			}
		}
	}
}

// checkPartition gathers a partition's customers, and holds what a partition
// must say of itself against that.
func (w *town) checkPartition(into map[events.CustomerID]events.CustomerID, id int, p *projections.Partition, got *told) {
	v := p.View()
	defer v.Close()
	count := uint64(0)
	for c, err := range v.Customers() {
		if err != nil {
			w.t.Fatal(err)
		}
		head, err := v.Head(c)
		if err != nil {
			w.t.Errorf("partition %d: head of %s: %v", id, c, err)
			continue
		}
		if now := root(into, c); now != c {
			w.t.Errorf("partition %d: %s is a customer, and became %s", id, c, now)
		}
		if len(head.Withheld) > 0 || head.Served != nil {
			w.t.Errorf("partition %d: %s is withheld for %v, served %v, although all is settled", id, c, head.Withheld, head.Served)
		}
		this := refCustomer{Digest: digestOf(head.Facts)}
		for e, err := range v.Entries(c, nil) {
			if err != nil {
				w.t.Fatal(err)
			}
			this.Events = append(this.Events, entryKey(e))
			got.recorded[c.String()+entryKey(e)] = e.RecordedAt
		}
		slices.Sort(this.Events)
		if len(this.Events) == 0 {
			w.t.Errorf("partition %d: %s is a customer, and has no history", id, c)
		}
		count++
		got.customers[c.String()] = this
		verdict, _ := playbook.BuiltinStages(head.Facts, v.Settled())
		if head.Journal.GetStage() != verdict.Stage {
			w.t.Errorf("partition %d: %s stands at %q, his facts at settled time say %q\n%s", id, c, head.Journal.GetStage(), verdict.Stage, w.heard(id, c))
		}
	}
	if cp := v.Checkpoint(); cp.Customers != count {
		w.t.Errorf("partition %d counts %d customers, it has %d", id, cp.Customers, count)
	}
	if parked := v.Checkpoint().Parked; parked != 0 {
		w.t.Errorf("partition %d parked %d events", id, parked)
	}
	if rows, err := v.Rows(); err == nil && uint64(rows.Len()) != count {
		w.t.Errorf("partition %d lists %d customers, it has %d", id, rows.Len(), count)
	}
}

// digests are all digests, sorted: whoever has them.
func (w *town) digests() (all []string) {
	for _, p := range w.folds[0].now.Load().partitions {
		v := p.View()
		for c, err := range v.Customers() {
			if err != nil {
				w.t.Fatal(err)
			}
			head, err := v.Head(c)
			if err != nil {
				w.t.Fatal(err)
			}
			all = append(all, digestOf(head.Facts))
		}
		v.Close()
	}
	slices.Sort(all)
	return all
}

// checkDirectories holds what every directory says of who became whom against
// the rules.
func (w *town) checkDirectories() {
	w.t.Helper()
	r := readReference(w.t, w.log)
	into := r.becomes()
	aliases := map[events.CustomerID][]events.CustomerID{}
	for c := range into {
		aliases[root(into, c)] = append(aliases[root(into, c)], c)
	}
	for i, g := range w.gateways {
		d := g.now.Load().directory
		for _, rule := range r.rules {
			c := rule.of()
			got, err := d.Root(c)
			if err != nil || got != root(into, c) {
				w.t.Errorf("gateway %d: %s is %s (%v), want %s\n%s", i, c, got, err, root(into, c), r.story())
			}
			now := root(into, c)
			want := aliases[now]
			slices.SortFunc(want, events.CustomerID.Compare)
			also, err := d.Aliases(now)
			if err != nil || !slices.Equal(also, want) {
				w.t.Errorf("gateway %d: %s was %v (%v), want %v\n%s", i, now, also, err, want, r.story())
			}
		}
	}
}

// checkFeed holds the outbox against the streams: of a customer nothing is said
// between a rule that brings him moves and the end of these.
func (w *town) checkFeed() {
	w.t.Helper()
	merged := map[string]int{} // loser and rule to how often that was said
	for id, p := range w.folds[0].now.Load().partitions {
		silent := w.silences(id)
		for _, change := range outbox(w.t, p) {
			var partition, epoch, seq, k, rule uint64
			if _, err := fmt.Sscanf(change.Id, "%d-%d-%d-%d-%d", &partition, &epoch, &seq, &k, &rule); err != nil {
				w.t.Fatalf("change id %q: %v", change.Id, err)
			}
			c := events.CustomerID(change.Customer)
			if change.Kind == "customer.merged" {
				merged[change.From+" "+change.Rule]++
				if change.To != c.String() {
					w.t.Errorf("partition %d: %s was said of %s, to %s", id, change.Kind, c, change.To)
				}
			}
			for _, s := range silent[c] {
				if s.from < seq && (s.to == 0 || seq < s.to) {
					w.t.Errorf("partition %d: %s was said of %s at %d, between rule %d heard at %d and its end at %d\n%s",
						id, change.Kind, c, seq, s.rule, s.from, s.to, w.heard(id, c))
				}
			}
		}
	}
	for said, times := range merged {
		if times != 1 {
			w.t.Errorf("the merge of %s was said %d times", said, times)
		}
	}
	w.checkMergesSaid(merged)
}

// checkMergesSaid wants of every merge that stands, and by which somebody became
// another of whom others had been told and who never came back, that it was said.
func (w *town) checkMergesSaid(merged map[string]int) {
	w.t.Helper()
	r := readReference(w.t, w.log)
	for _, rule := range r.rules {
		c := rule.of()
		again := slices.ContainsFunc(r.rules, func(other refRule) bool {
			return other.d != rule.d && (other.merged != nil && other.of() == c || other.split != nil && events.CustomerID(other.split.To) == c)
		})
		if rule.merged == nil || again {
			continue
		}
		id := c.Partition(w.partitions)
		told := slices.ContainsFunc(outbox(w.t, w.folds[0].now.Load().partitions[id]), func(change *statev1.Change) bool {
			return events.CustomerID(change.Customer) == c && change.Kind == "customer.created"
		})
		if said := merged[fmt.Sprintf("%s identity/%d", c, rule.d)]; told && said != 1 {
			w.t.Errorf("others were told of %s, and %d times that he became another by rule %d\n%s", c, said, rule.d, r.story())
		}
	}
}

// silence is from where a rule was heard to where its moves ended; 0: they have
// not.
type silence struct{ rule, from, to uint64 }

func (w *town) silences(partition int) map[events.CustomerID][]silence {
	type waits struct {
		c    events.CustomerID
		rule uint64
	}
	begun, ended := map[waits]uint64{}, map[waits]uint64{}
	heard := uint64(0)
	eachMessage(w.t, w.log, events.PartitionStream(partition), func(m events.Message) {
		switch m.Subject {
		case events.SubjectNotices(partition):
			notice := &logv1.Notice{}
			if err := events.Open(m.Data, notice); err != nil {
				w.t.Fatal(err)
			}
			for _, relay := range relaysOf(notice) {
				if relay.Prev != heard || relay.Seq <= heard {
					continue
				}
				heard = relay.Seq
				merged, split := relay.Rule.GetMerged(), relay.Rule.GetSplit()
				for _, c := range [][]byte{merged.GetWinner(), split.GetFrom(), split.GetTo()} {
					if len(c) > 0 && events.CustomerID(c).Partition(w.partitions) == partition {
						begun[waits{events.CustomerID(c), heard}] = m.Seq
					}
				}
			}
		case events.SubjectMoves(partition):
			move := &logv1.Move{}
			if err := events.Open(m.Data, move); err != nil {
				w.t.Fatal(err)
			}
			if final := move.GetFinal(); final != nil {
				at := waits{events.CustomerID(final.Customer), move.Number}
				if ended[at] == 0 {
					ended[at] = m.Seq
				}
			}
		}
	})
	all := map[events.CustomerID][]silence{}
	for at, from := range begun {
		if to := ended[at]; to == 0 || to > from {
			all[at.c] = append(all[at.c], silence{at.rule, from, to})
		}
	}
	return all
}

// heard is what a partition's stream says of the moves of a customer.
func (w *town) heard(partition int, c events.CustomerID) (text string) {
	is := func(id []byte) bool { return string(id) == string(c[:]) }
	eachMessage(w.t, w.log, events.PartitionStream(partition), func(m events.Message) {
		notice, move, record := &logv1.Notice{}, &logv1.Move{}, &logv1.Record{}
		switch m.Subject {
		case events.SubjectNotices(partition):
			if err := events.Open(m.Data, notice); err != nil {
				w.t.Fatal(err)
			}
		case events.SubjectMoves(partition):
			if err := events.Open(m.Data, move); err != nil {
				w.t.Fatal(err)
			}
			record = move.Record
		default:
			if err := events.Open(m.Data, record); err != nil {
				w.t.Fatal(err)
			}
		}
		for _, relay := range relaysOf(notice) {
			merged, split := relay.Rule.GetMerged(), relay.Rule.GetSplit()
			if is(merged.GetLoser()) || is(merged.GetWinner()) || is(split.GetFrom()) || is(split.GetTo()) {
				text += fmt.Sprintf("%d/%d: rule %d after %d\n", partition, m.Seq, relay.Seq, relay.Prev)
			}
		}
		for _, job := range notice.GetMoveDone().GetJobs() {
			if is(job.Customer) {
				text += fmt.Sprintf("%d/%d: job %v done\n", partition, m.Seq, job)
			}
		}
		for _, e := range record.GetEvents() {
			if is(e.Header.Customer) {
				text += fmt.Sprintf("%d/%d: event %s at %d, trail %v, move of rule %d\n", partition, m.Seq, e.Header.EventId, record.At+e.Header.AtDelta, e.Header.Trail, move.Number)
			}
		}
		if is(move.GetFinal().GetCustomer()) {
			text += fmt.Sprintf("%d/%d: end of %d\n", partition, m.Seq, move.Number)
		}
	})
	return text
}

func relaysOf(n *logv1.Notice) []*logv1.Relay {
	if relay := n.GetRelay(); relay != nil {
		return []*logv1.Relay{relay}
	}
	return n.GetRelays().GetRelays()
}

// story tells the rules for whoever reads a failure.
func (r *reference) story() string {
	var text strings.Builder
	for _, rule := range r.rules {
		if rule.merged != nil {
			text.WriteString(fmt.Sprintf("%d: %s becomes %s (%s)\n", rule.d, rule.of(), events.CustomerID(rule.merged.Winner), rule.merged.GetWhy().GetRule()))
			continue
		}
		text.WriteString(fmt.Sprintf("%d: of %s %d identifiers go to %s, undoing %d\n", rule.d, rule.of(), len(rule.split.Hashes)/16, events.CustomerID(rule.split.To), rule.split.Undoes))
	}
	return text.String()
}

// copies tells where the events came from that are elsewhere than they should.
func (r *reference) copies(got, want map[string]refCustomer) string {
	astray := map[string]bool{}
	note := func(these, those map[string]refCustomer) {
		for c, told := range these {
			for _, key := range told.Events {
				if !slices.Contains(those[c].Events, key) {
					astray[key] = true
				}
			}
		}
	}
	note(got, want)
	note(want, got)
	var text strings.Builder
	for i := range r.events {
		e := r.events[i]
		if !astray[e.key()] {
			continue
		}
		e.trail = nil
		c := r.route(&e)
		text.WriteString(fmt.Sprintf("%s, content %x, recorded %d, stamped %s at %d: goes by %v to %s\n", e.key(), e.content[:4], e.recordedAt, events.CustomerID(e.header.Customer), e.at, e.trail, c))
	}
	return text.String()
}

// checkRebuild folds every partition again from message 1 into an empty store
// and compares all bytes with what each process has: the same journal and the
// same outbox, wherever the commits of each fell. To be called after stop.
func (w *town) checkRebuild() {
	w.t.Helper()
	for id := range w.partitions {
		before, err := w.log.Info(context.Background(), events.PartitionStream(id))
		if err != nil {
			w.t.Fatal(err)
		}
		fresh := store.OpenMemory()
		ctx, end := context.WithCancel(context.Background())
		p, err := projections.Open(ctx, w.options(w.log, id, func() (store.Store, error) { fresh.Reopen(); return fresh, nil }, projections.NewRules()))
		if err != nil {
			w.t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() { p.Run(ctx) })
		if err := p.WaitApplied(ctx, before.Last); err != nil {
			w.t.Fatal(err)
		}
		end()
		wg.Wait()
		fresh.Reopen()
		for i, f := range w.folds {
			if diff := gocmp.Diff(storeBytes(w.t, f.stores[id]), storeBytes(w.t, fresh)); diff != "" {
				w.t.Errorf("process %d, partition %d folded again (-lived +again):\n%s", i, id, diff)
			}
		}
	}
}

// storeBytes are all keys and values of a store.
func storeBytes(t testing.TB, m *store.Memory) map[string]string {
	t.Helper()
	all := map[string]string{}
	v := m.View()
	defer v.Close()
	err := v.Scan(nil, nil, false, func(key, value []byte) bool {
		all[fmt.Sprintf("%c %s", key[0], hex.EncodeToString(key[1:]))] = hex.EncodeToString(value)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// outbox is all that a partition announced, in order.
func outbox(t testing.TB, p *projections.Partition) (all []*statev1.Change) {
	t.Helper()
	v := p.View()
	defer v.Close()
	for change, err := range v.Changes() {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, change)
	}
	return all
}
