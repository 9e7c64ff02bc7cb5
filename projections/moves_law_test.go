package projections

import (
	"bytes"
	stdcmp "cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/projections/playbook"
	"github.com/dossier360/dossier/projections/profile"
	"github.com/dossier360/dossier/projections/store"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// A town is several partitions whose folds, movers and rules take turns as a
// test draws it: no goroutine runs.
type town struct {
	*rapid.T
	log       *memlog.Log
	now       time.Time
	rng       *mathrand.Rand
	quarters  []*quarter
	rules     []*logv1.Relay // behind Genesis
	alive     []townLife     // by number of rules
	merges    []*logv1.Relay // not undone
	customers int            // ids given out
	told      []townEvent
	refold    int // RefoldEntries
}

// townLife is who could be addressed while some rules were known.
type townLife struct {
	at    uint64
	alive []events.CustomerID
}

// townEvent is an event as a gateway addressed it.
type townEvent struct {
	event *logv1.LoggedEvent
	at    uint64
}

// quarter is a partition of a town.
type quarter struct {
	*town
	p      *Partition
	store  *store.Memory
	fold   *fold
	movers [2]*mover // rivals
}

func newTown(t *rapid.T, clock string) *town {
	w := &town{T: t, now: day0, rng: mathrand.New(mathrand.NewPCG(rapid.Uint64().Draw(t, "seed"), 4))}
	w.refold = rapid.SampledFrom([]int{0, 1, 6}).Draw(t, "refolded inline")
	w.log = memlog.New(memlog.Options{Now: func() time.Time { return w.now }})
	partitions := rapid.IntRange(1, 3).Draw(t, "partitions")
	genesis, err := events.Found(t.Context(), w.log, events.Settings{
		Partitions: partitions, Clock: clock, IdentityKeyCheck: []byte{1},
	}, func() time.Time { return w.now }, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for id := range partitions {
		q := &quarter{town: w, store: store.OpenMemory()}
		q.p = newPartition(Options{ID: id, Log: w.log, Genesis: genesis, Rules: NewRules()})
		if err := q.p.publishOpened(q.store); err != nil {
			t.Fatal(err)
		}
		if _, err := q.p.readRows(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range q.movers {
			q.movers[i] = &mover{p: q.p, runs: map[string]*moveRun{}}
		}
		q.open()
		w.quarters = append(w.quarters, q)
	}
	life := townLife{at: 1}
	for range rapid.IntRange(2, 6).Draw(t, "customers") {
		life.alive = append(life.alive, w.newcomer())
	}
	w.alive = []townLife{life}
	return w
}

func (w *town) newcomer() events.CustomerID {
	w.customers++
	return customerNo(w.customers - 1)
}

func (w *town) of(c events.CustomerID) *quarter { return w.quarters[c.Partition(len(w.quarters))] }

func (q *quarter) open() {
	f, err := newFold(foldOptions{
		Partition: q.p.o.ID, Evaluate: playbook.BuiltinStages, Fetch: q.p.fetch, CacheBytes: 1 << 16, RefoldEntries: q.refold,
	}, q.store.View())
	if err != nil {
		q.Fatal(err)
	}
	q.fold = f
}

// go on folds at most n messages, committing and restarting anywhere.
func (q *quarter) goOn(n int, cuts, restarts int) {
	info, err := q.log.Info(q.Context(), q.p.stream)
	if err != nil {
		q.Fatal(err)
	}
	for ; n > 0; n-- {
		seq := q.fold.cp.Seq + 1
		if q.fold.cp.Place != nil {
			seq = q.fold.cp.Seq
		}
		if seq > info.Last {
			break
		}
		m := q.message(seq)
		if err := q.fold.begin(m); err != nil {
			q.Fatal(err)
		}
		for more := true; more; {
			if more, err = q.fold.step(context.Background()); err != nil && !errors.Is(err, errCommitFirst) {
				q.Fatal(err)
			}
			if err == nil && q.rng.IntN(cuts) > 0 {
				continue
			}
			q.commit()
			if q.rng.IntN(restarts) == 0 {
				q.fold.view.Close()
				q.open()
				break
			}
		}
	}
	if q.fold.m == nil {
		q.commit()
	}
}

func (q *quarter) commit() {
	if err := q.fold.flush(q.store); err != nil {
		q.Fatal(err)
	}
	q.p.publish(q.fold)
}

func (q *quarter) message(seq uint64) *message {
	raw, err := q.log.Get(q.Context(), q.p.stream, seq)
	if err != nil {
		q.Fatal(err)
	}
	m, err := decodeMessage(raw, q.p.o.ID)
	if err != nil {
		q.Fatal(err)
	}
	return m
}

func (q *quarter) append(subject string, m proto.Message) {
	data, err := events.Seal(m)
	if err != nil {
		q.Fatal(err)
	}
	if _, err := q.log.Append(q.Context(), q.p.stream, subject, data, events.Expect{}); err != nil {
		q.Fatal(err)
	}
}

func (q *quarter) notice(n *logv1.Notice) { q.append(events.SubjectNotices(q.p.o.ID), n) }

// move has a mover do some of its work. It may be killed before it says what is
// done, and may go on without having looked whether a rival was quicker.
func (q *quarter) move(which int, whole bool) {
	m := q.movers[which]
	var late []*statev1.MoveJob
	if whole || q.rng.IntN(3) > 0 {
		var err error
		if late, err = m.look(); err != nil {
			q.Fatal(err)
		}
	}
	done, err := m.sendLate(q.Context(), late)
	if err != nil {
		q.Fatal(err)
	}
	for _, key := range slices.Sorted(maps.Keys(m.runs)) {
		if !whole && q.rng.IntN(3) == 0 {
			continue
		}
		run := m.runs[key]
		if _, err := m.send(q.Context(), run); err != nil {
			q.Fatal(err)
		}
		if run.done {
			done = append(done, run.job.Job)
		}
	}
	if !whole && q.rng.IntN(4) == 0 {
		m.runs = map[string]*moveRun{}
		return
	}
	if len(done) > 0 {
		q.notice(&logv1.Notice{Notice: &logv1.Notice_MoveDone{MoveDone: &logv1.MoveDone{Jobs: done}}})
	}
}

// heard is how many rules are in the log of a partition, as it has folded it.
func (q *quarter) heard() int {
	n, found := slices.BinarySearchFunc(q.rules, q.fold.cp.RuleSeq, func(r *logv1.Relay, seq uint64) int { return stdcmp.Compare(r.Seq, seq) })
	if found {
		n++
	}
	return n
}

// relay tells a partition some rules that follow each other, from one on.
func (q *quarter) relay(from, n int) {
	if rules := q.rules[from:min(from+n, len(q.rules))]; len(rules) > 0 {
		q.notice(&logv1.Notice{Notice: &logv1.Notice_Relays{Relays: &logv1.Relays{Relays: rules}}})
	}
}

// rule appends a rule, after which others may be addressed.
func (w *town) rule(r *logv1.Rule, alive []events.CustomerID) {
	last := w.alive[len(w.alive)-1].at
	relay := &logv1.Relay{Seq: max(last, 2) + uint64(1+w.rng.IntN(2)), Prev: 1, Rule: r}
	if n := len(w.rules); n > 0 {
		relay.Prev = w.rules[n-1].Seq
	}
	w.rules = append(w.rules, relay)
	w.alive = append(w.alive, townLife{relay.Seq, alive})
}

func (w *town) pick(list []events.CustomerID) events.CustomerID { return list[w.rng.IntN(len(list))] }

func without(list []events.CustomerID, c events.CustomerID) []events.CustomerID {
	return slices.DeleteFunc(slices.Clone(list), func(o events.CustomerID) bool { return o == c })
}

func (w *town) merge() {
	alive := w.alive[len(w.alive)-1].alive
	if len(alive) < 2 {
		return
	}
	loser := w.pick(alive)
	rest := without(alive, loser)
	winner := w.pick(rest)
	w.rule(&logv1.Rule{Rule: &logv1.Rule_Merged{Merged: &logv1.Merged{Loser: loser[:], Winner: winner[:]}}}, rest)
	w.merges = append(w.merges, w.rules[len(w.rules)-1])
}

// split takes some identifiers out of a customer, or undoes a merge.
func (w *town) split() {
	alive := w.alive[len(w.alive)-1].alive
	split := &logv1.Split{}
	for n := range townNames {
		if w.rng.IntN(2) == 0 {
			split.Hashes = append(split.Hashes, townHash(n)...)
		}
	}
	from, to := w.pick(alive), events.CustomerID{}
	if n := len(w.merges); n > 0 && w.rng.IntN(3) > 0 {
		i := w.rng.IntN(n)
		undone := w.merges[i]
		w.merges = slices.Delete(slices.Clone(w.merges), i, i+1)
		from, to = w.root(events.CustomerID(undone.Rule.GetMerged().Winner)), events.CustomerID(undone.Rule.GetMerged().Loser)
		split.Undoes = undone.Seq
	} else {
		to = w.newcomer()
	}
	split.From, split.To = from[:], to[:]
	w.rule(&logv1.Rule{Rule: &logv1.Rule_Split{Split: split}}, append(slices.Clone(alive), to))
}

// root is who somebody has become by the merges that are not undone.
func (w *town) root(c events.CustomerID) events.CustomerID {
	for again := true; again; {
		again = false
		for _, m := range w.merges {
			if events.CustomerID(m.Rule.GetMerged().Loser) == c {
				c, again = events.CustomerID(m.Rule.GetMerged().Winner), true
			}
		}
	}
	return c
}

var poison = []byte{0xff}

// townNames is how many identifiers there are in a town.
const townNames = 6

func townHash(n int) []byte { return []byte{byte(n), 15: 1} }

// tell draws events and addresses them by what a gateway may have known.
func (w *town) tell() {
	list := map[*quarter][]townEvent{}
	for range 1 + w.rng.IntN(6) {
		e := w.event()
		w.told = append(w.told, e)
		q := w.of(events.CustomerID(e.event.Header.Customer))
		list[q] = append(list[q], e)
	}
	for _, q := range w.quarters {
		if len(list[q]) > 0 {
			q.tell(list[q])
		}
	}
}

func (q *quarter) tell(list []townEvent) {
	r := &logv1.Record{At: list[0].at}
	for _, e := range list {
		r.At = min(r.At, e.at)
	}
	for _, e := range list {
		again := proto.CloneOf(e.event)
		again.Header.AtDelta = e.at - r.At
		r.Events = append(r.Events, again)
	}
	q.append(events.SubjectEvents(q.p.o.ID), r)
}

func (w *town) event() townEvent {
	n := len(w.told)
	var sent []*logv1.LoggedEvent
	for _, e := range w.told {
		sent = append(sent, e.event)
	}
	if n > 0 && w.rng.IntN(8) == 0 {
		old := w.told[w.rng.IntN(n)]
		if bytes.Equal(old.event.Body, poison) {
			return old
		}
		return townEvent{drawRepeat(w.T, []*logv1.LoggedEvent{old.event}), old.at}
	}
	e := drawEvent(w.T, n, 1, 60)
	takes := w.rng.IntN(5) == 0
	if takes {
		e = drawTakeback(w.T, n, 1, sent)
	}
	if w.rng.IntN(25) == 0 {
		e.Body = poison
	}
	life := w.alive[max(0, len(w.alive)-1-w.rng.IntN(4))]
	if w.rng.IntN(4) == 0 {
		life = w.alive[w.rng.IntN(len(w.alive))]
	}
	told := townEvent{e, life.at}
	c := w.pick(life.alive)
	e.Header.Identifiers = nil
	for range w.rng.IntN(3) {
		e.Header.Identifiers = append(e.Header.Identifiers, &logv1.HashedIdentifier{Type: "x", Hash: townHash(w.rng.IntN(townNames)), Other: w.rng.IntN(5) == 0})
	}
	if takes && n > 0 && w.rng.IntN(3) > 0 { // of somebody's own
		old := w.told[w.rng.IntN(n)]
		c, told.at, e.Header.Identifiers = events.CustomerID(old.event.Header.Customer), old.at, old.event.Header.Identifiers
	}
	e.Header.Customer = c[:]
	return told
}

// owner is whose an event is when all rules are heard: by going through them
// once, in order.
func (w *town) owner(e townEvent) events.CustomerID {
	c := events.CustomerID(e.event.Header.Customer)
	var trail []uint64
	for _, r := range w.rules {
		if r.Seq <= e.at {
			continue
		}
		to := c
		if m := r.Rule.GetMerged(); m != nil && events.CustomerID(m.Loser) == c {
			to = events.CustomerID(m.Winner)
		}
		if s := r.Rule.GetSplit(); s != nil && events.CustomerID(s.From) == c {
			moves, stays := 0, 0
			for _, id := range e.event.Header.Identifiers {
				inside := false
				for hash := range slices.Chunk(s.Hashes, hashBytes) {
					inside = inside || string(hash) == string(id.Hash)
				}
				switch {
				case id.Other:
				case inside:
					moves++
				default:
					stays++
				}
			}
			if slices.Contains(trail, s.Undoes) || moves > 0 && stays == 0 {
				to = events.CustomerID(s.To)
			}
		}
		if to != c {
			c, trail = to, append(trail, r.Seq)
		}
	}
	return c
}

// live does one thing or another.
func (w *town) live() {
	q := w.quarters[w.rng.IntN(len(w.quarters))]
	switch rapid.SampledFrom([]string{"tell", "tell", "tell", "merge", "split", "relay", "relay", "fold", "fold", "fold", "move", "move", "move", "time", "again"}).Draw(w.T, "act") {
	case "tell":
		w.tell()
	case "merge":
		w.merge()
	case "split":
		w.split()
	case "relay":
		q.relay(max(0, q.heard()-w.rng.IntN(2)), 1+w.rng.IntN(4))
	case "fold":
		q.goOn(1+w.rng.IntN(6), 1+w.rng.IntN(20), 3)
	case "move":
		q.move(w.rng.IntN(2), false)
	case "time":
		w.now = w.now.Add(time.Duration(w.rng.IntN(60*24)) * time.Hour)
		q.notice(&logv1.Notice{Notice: &logv1.Notice_Tick{Tick: &logv1.Tick{}}})
	case "again":
		if len(w.told) > 0 {
			e := w.told[w.rng.IntN(len(w.told))]
			w.of(events.CustomerID(e.event.Header.Customer)).tell([]townEvent{e})
		}
	}
}

// settle folds and moves until nothing is left to do.
func (w *town) settle() {
	for range 100 {
		busy := false
		for _, q := range w.quarters {
			q.relay(q.heard(), len(w.rules))
			q.goOn(1<<20, 1000, 2)
			busy = busy || q.fold.cp.Jobs > 0 || q.heard() < len(w.rules)
			q.move(w.rng.IntN(2), true)
			q.goOn(1<<20, 1000, 2)
		}
		if !busy {
			return
		}
	}
	for _, q := range w.quarters {
		w.Errorf("partition %d: %d jobs, %d of %d rules heard", q.p.o.ID, q.fold.cp.Jobs, q.heard(), len(w.rules))
	}
	w.Fatal("it never ends")
}

// heads are all customers of a town that are somebody.
func (w *town) heads() map[string]*statev1.Head {
	all := map[string]*statev1.Head{}
	for _, q := range w.quarters {
		n, parked := 0, uint64(0)
		for id, head := range heads(w.T, q.store) {
			if len(head.Withheld) > 0 || len(head.Ended) > 0 || head.Served != nil || head.Stale {
				w.Errorf("customer %s settled with withheld %v, ended %v, served %v, stale %v", id, head.Withheld, head.Ended, head.Served, head.Stale)
			}
			parked += uint64(head.Parked)
			c := &customer{head: head}
			if !c.counted() {
				if head.Timer != 0 {
					w.Errorf("customer %s, who is nobody, has a timer", id)
				}
				continue
			}
			n++
			all[id] = head
		}
		if cp := q.fold.cp; cp.Customers != uint64(n) || cp.Parked != parked {
			w.Errorf("partition %d counts %d customers, %d parked; has %d, %d", q.p.o.ID, cp.Customers, cp.Parked, n, parked)
		}
		v := q.p.View()
		if table, err := v.Rows(); err != nil || table.Len() != n {
			w.Errorf("partition %d lists %d customers (%v), has %d", q.p.o.ID, table.Len(), err, n)
		}
		rows := uint64(0)
		for _, err := range v.Parked(0, 0) {
			if err != nil {
				w.Fatal(err)
			}
			rows++
		}
		if rows != parked {
			w.Errorf("partition %d holds %d parked events, counts %d", q.p.o.ID, rows, parked)
		}
		v.Close()
	}
	return all
}

// shown is what a customer comes to: his digest, and what is parked.
func shown(head *statev1.Head) string {
	sum := profile.Digest(head.Facts)
	return fmt.Sprintf("%s, %d parked", hex.EncodeToString(sum[:8]), head.Parked)
}

// reference folds all events at once, each as its owner's.
func (w *town) reference() map[string]string {
	s := newStream("wall", day0)
	for _, e := range w.told {
		owned := proto.CloneOf(e.event)
		c := w.owner(e)
		owned.Header.Customer = c[:]
		s.record(day0, owned)
	}
	m := store.OpenMemory()
	s.foldAll(w.T, m, never, never)
	all := map[string]string{}
	for id, head := range heads(w.T, m) {
		all[id] = shown(head)
	}
	return all
}

// outbox holds what is announced of each customer against his journal.
func (w *town) checkJournals(all map[string]*statev1.Head) {
	type life struct{ change, stage string }
	lives := map[string]*life{}
	created, merged := map[string]int{}, map[string]int{}
	backs := map[string]int{}
	for _, r := range w.rules {
		if s := r.Rule.GetSplit(); s.GetUndoes() != 0 {
			backs[events.CustomerID(s.To).String()]++
		}
	}
	for _, q := range w.quarters {
		v := q.p.View()
		for change, err := range v.Changes() {
			if err != nil {
				w.Fatal(err)
			}
			id := events.CustomerID(change.Customer).String()
			l := lives[id]
			if l == nil {
				l = &life{}
				lives[id] = l
			}
			if change.PreviousChangeId != l.change {
				w.Errorf("change %s of %s follows %q, want %q", change.Id, id, change.PreviousChangeId, l.change)
			}
			l.change = change.Id
			switch change.Kind {
			case kindCreated:
				if created[id]++; created[id] > 1+backs[id] {
					w.Errorf("customer %s created %d times, came back %d times", id, created[id], backs[id])
				}
				l.stage = change.To
			case kindLifecycle:
				if l.stage != "" && change.From != l.stage {
					w.Errorf("change %s of %s is from %s, he was %s", change.Id, id, change.From, l.stage)
				}
				l.stage = change.To
			case kindMerged:
				if merged[change.Rule]++; merged[change.Rule] > 1 {
					w.Errorf("%s announced %d times", change.Rule, merged[change.Rule])
				}
				if backs[id] > 0 {
					l.stage = "" // nobody knew him any more: he goes on as the one who became him
				}
			}
		}
		v.Close()
	}
	for id, head := range all {
		at := w.of(mustParse(w.T, id)).fold.cp.LogTime
		if head.Timer != 0 && head.Timer <= at {
			at = head.Timer - 1
		}
		want, flips := playbook.BuiltinStages(head.Facts, at)
		if head.Journal.Stage != want.Stage || head.Timer != flips {
			w.Errorf("customer %s stands at %s, due %d; his facts say %s, %d", id, head.Journal.Stage, head.Timer, want.Stage, flips)
		}
		if l := lives[id]; l != nil && l.change != head.Journal.ChangeId {
			w.Errorf("customer %s: last change %s, his journal says %s", id, l.change, head.Journal.ChangeId)
		}
		if profile.Identified(head.Facts) != head.Journal.Created && !head.Journal.Created {
			w.Errorf("customer %s was never announced", id)
		}
		if len(head.Absorbed) > 0 || head.SplitFrom != nil {
			w.Errorf("customer %s was not told who became him: %v, %v", id, head.Absorbed, head.SplitFrom)
		}
	}
}

func mustParse(t *rapid.T, id string) events.CustomerID {
	c, err := events.ParseCustomerID(id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// foldAnew folds a partition's whole log into another store, with cuts and
// restarts or without.
func (q *quarter) foldAnew(cuts, restarts int) map[string]string {
	other := &quarter{town: q.town, store: store.OpenMemory(), p: newPartition(q.p.o)}
	if err := other.p.publishOpened(other.store); err != nil {
		q.Fatal(err)
	}
	other.open()
	defer func() { other.fold.view.Close() }()
	for last := q.fold.cp.Seq; other.fold.cp.Seq < last || other.fold.cp.Place != nil; {
		other.goOn(1<<20, cuts, restarts)
	}
	other.commit()
	return dump(q.T, other.store)
}

// The law of moves. Whatever is told when, by gateways that are behind, to
// customers who are merged, split and undone meanwhile, with movers that die,
// rival each other and repeat themselves: in the end everybody has the events
// that rules say are his, is listed and counted, and nobody waits; and whoever
// folds the same log comes to the same bytes wherever commits fall.
func TestMovesLaw(t *testing.T) {
	for _, clock := range []string{events.ClockWall, events.ClockEvents} {
		t.Run(clock, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				w := newTown(t, clock)
				for range rapid.IntRange(1, 40).Draw(t, "acts") {
					w.live()
				}
				w.settle()
				all := w.heads()
				got := map[string]string{}
				for id, head := range all {
					got[id] = shown(head)
				}
				if diff := cmp.Diff(w.reference(), got); diff != "" {
					t.Errorf("whose events are whose (-rules +moves):\n%s", diff)
				}
				w.checkJournals(all)
				for _, q := range w.quarters {
					want := dump(t, q.store)
					if diff := cmp.Diff(want, q.foldAnew(1<<30, 2)); diff != "" {
						t.Errorf("partition %d folded anew (-live +anew):\n%s", q.p.o.ID, diff)
					}
					if diff := cmp.Diff(want, q.foldAnew(3, 2)); diff != "" {
						t.Errorf("partition %d with cuts (-live +cut):\n%s", q.p.o.ID, diff)
					}
					q.fold.view.Close()
				}
			})
		})
	}
}
