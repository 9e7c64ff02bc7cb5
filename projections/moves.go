package projections

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/profile"
	"github.com/dossier360/dossier/projections/store"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// Merges and splits, as a partition folds them.
//
// Whose an event is by the rules stands in routes.go.
// What was folded before a rule is heard is moved by a job: the customer's
// generation is closed and the mover (mover.go) sends its events on. What comes
// later with an older `at` is a job of its own. Whoever receives moves is
// withheld until their end has come: his facts fill up, but nobody evaluates
// him. All of it is a function of the partition's own stream.

// refoldNumber is the bit that tells the number of a move to oneself from that
// of a rule.
const refoldNumber = uint64(1) << 63

// forward makes a job of event i, which belongs to somebody else. The mover
// sends it on as it was logged.
func (f *fold) forward(c *customer, i int, to *hop) error {
	job := &statev1.MoveJob{
		Job: &logv1.MoveJob{Kind: logv1.MoveKind_MOVE_KIND_LATE, Seq: f.m.seq, Index: uint32(i), Customer: c.id[:]},
		To:  to.to[:], At: to.at, Trail: to.trail,
	}
	f.cp.Jobs++
	if err := f.putMoving(lateKey(c.id, f.m.seq, uint32(i)), job); err != nil {
		return err
	}
	// What is parked of it here was tried again, and is not his any more.
	e := f.m.record.Events[i]
	return f.unpark(c, e, f.recordedAt(e.Header))
}

// applyMerged folds a merge: the loser's history goes to the winner.
func (f *fold) applyMerged(d uint64, rule *logv1.Rule) error {
	merged := rule.GetMerged()
	loser, err := f.own(merged.GetLoser())
	if err != nil {
		return err
	}
	winner, err := f.own(merged.GetWinner())
	if err != nil {
		return err
	}
	if err := f.roomToClose(loser, winner); err != nil {
		return err
	}
	if loser != nil {
		counted := loser.counted()
		told := f.told(loser, d)
		generation, err := loser.close()
		if err != nil {
			return err
		}
		loser.head.MergedInto = bytes.Clone(merged.Winner)
		loser.head.Served = nil // answers come from the winner
		if err := f.startJob(loser, d, rule, generation, logv1.MoveKind_MOVE_KIND_MERGE, told); err != nil {
			return err
		}
		f.recount(loser, counted)
	}
	if winner != nil {
		winner.touch()
		winner.head.Kind = merged.Kind
		f.withhold(winner, d)
	}
	return nil
}

// applySplit folds a split: a customer's whole history is folded again, each
// event on the side that it belongs to.
func (f *fold) applySplit(d uint64, rule *logv1.Rule) error {
	split := rule.GetSplit()
	from, err := f.own(split.GetFrom())
	if err != nil {
		return err
	}
	to, err := f.own(split.GetTo())
	if err != nil {
		return err
	}
	if err := f.roomToClose(from, to); err != nil {
		return err
	}
	if from != nil {
		counted := from.counted()
		told := f.told(from, d)
		if undone := split.GetUndoes(); undone != 0 && from.forgetMerge(undone) {
			told.Announced = false // nobody was told of the merge: there is nothing to take back
		}
		generation, err := from.close()
		if err != nil {
			return err
		}
		if from.head.Served == nil && counted {
			from.head.Served = &generation
		}
		f.withhold(from, d)
		if err := f.startJob(from, d, rule, generation, logv1.MoveKind_MOVE_KIND_SPLIT, told); err != nil {
			return err
		}
		f.recount(from, counted)
	}
	if to != nil {
		counted := to.counted()
		to.touch()
		to.head.Kind = split.Kind
		back := len(to.head.MergedInto) > 0
		to.head.MergedInto = nil
		f.withhold(to, d)
		f.recount(to, counted)
		if back {
			// His moves may be through already: nobody judged him at their end, as
			// he was another one then.
			f.evaluate(to, f.cp.LogTime, cause{Cause: &statev1.Cause{Kind: "split", At: f.cp.LogTime}})
		}
	}
	return nil
}

// own returns a customer if he belongs to this partition, else nil.
func (f *fold) own(id []byte) (*customer, error) {
	c, err := events.CustomerIDFromBytes(id)
	if err != nil {
		return nil, fmt.Errorf("partition %d, message %d: %w: %w", f.Partition, f.m.seq, err, events.ErrCorrupt)
	}
	if c.Partition(int(f.cp.Genesis.GetPartitions())) != f.Partition {
		return nil, nil
	}
	return f.customer(c)
}

// roomToClose returns errCommitFirst where a generation is to be closed of
// which anything is uncommitted: its rows and pages are written under it.
func (f *fold) roomToClose(closed, other *customer) error {
	for _, c := range []*customer{closed, other} {
		if c == nil {
			continue
		}
		if err := f.room(c); err != nil {
			return err
		}
	}
	if closed != nil && closed.dirty {
		return errCommitFirst
	}
	return nil
}

// forgetMerge forgets of a merge that is undone that it is to be announced. It
// reports whether that was still to be done.
func (c *customer) forgetMerge(d uint64) bool {
	_, waits := slices.BinarySearch(c.head.Withheld, d)
	n := len(c.head.Absorbed)
	c.head.Absorbed = slices.DeleteFunc(slices.Clone(c.head.Absorbed), func(a *logv1.Absorbed) bool { return a.Rule == d })
	return waits || len(c.head.Absorbed) < n
}

// isUndone reports whether a merge into a customer was undone by a split of his.
func (f *fold) isUndone(c *customer, merge uint64) (bool, error) {
	for _, d := range c.head.Routes {
		if d < merge {
			continue
		}
		rule, err := f.ruleOf(c, d)
		if err != nil || rule.GetSplit().GetUndoes() == merge {
			return err == nil, err
		}
	}
	return false, nil
}

// told is what the other side of a rule has to know of a customer.
func (f *fold) told(c *customer, d uint64) *logv1.Absorbed {
	j := c.head.Journal
	return &logv1.Absorbed{Customer: bytes.Clone(c.id[:]), Rule: d, Announced: j.Created, Stage: j.Stage, ChangeId: j.ChangeId, Previous: j.Previous, Since: j.Since}
}

// startJob notes the rule as a route of the customer's, and what the mover has
// to do for it.
func (f *fold) startJob(c *customer, d uint64, rule *logv1.Rule, generation uint32, kind logv1.MoveKind, told *logv1.Absorbed) error {
	c.head.Routes = append(c.head.Routes, d)
	if err := f.putMoving(routeKey(c.id, d), rule); err != nil {
		return err
	}
	place := f.m.place
	job := &statev1.MoveJob{
		Job:    &logv1.MoveJob{Kind: kind, Seq: f.m.seq, Index: place.Index, Customer: bytes.Clone(c.id[:])},
		Number: d, Generation: generation, Rule: rule, Told: told,
	}
	f.cp.Jobs++
	return f.putMoving(jobKey(job.Job), job)
}

// jobKey is the row of a job.
func jobKey(j *logv1.MoveJob) []byte {
	if j.GetKind() == logv1.MoveKind_MOVE_KIND_LATE {
		c, _ := events.CustomerIDFromBytes(j.GetCustomer()) // of nobody: a row that is not there
		return lateKey(c, j.GetSeq(), j.GetIndex())
	}
	b := binary.BigEndian.AppendUint64([]byte{keyJob}, j.GetSeq())
	return binary.BigEndian.AppendUint32(b, j.GetIndex())
}

// close ends a customer's generation: its head is kept under a key of its own,
// its rows and pages are where they were. Nothing of him is uncommitted. A crash
// after it leaves both generations, before it none of this.
func (c *customer) close() (generation uint32, err error) {
	old := c.head
	generation = old.Generation
	value, err := proto.Marshal(old)
	if err != nil {
		return 0, fmt.Errorf("close generation %d of customer %s: %w", generation, c.id, err)
	}
	c.o.closed = append(c.o.closed, closedHead{closedKey(c.id, generation), value})
	c.o.grow(len(value)+64, 1)
	c.touch()
	c.dropPages()
	c.dropLeads()
	c.head = &statev1.Head{
		Kind: old.Kind, Facts: &statev1.Facts{}, Journal: old.Journal, Generation: generation + 1, Parked: old.Parked,
		MergedInto: old.MergedInto, Routes: old.Routes, Withheld: old.Withheld, Ended: old.Ended, Served: old.Served,
		Absorbed: old.Absorbed, SplitFrom: old.SplitFrom,
	}
	c.o.arm(c, 0)
	c.measured = 0
	return generation, nil
}

// closedHead is the head of a closed generation on its way to the store.
type closedHead struct{ key, value []byte }

// counted reports whether a customer is one of the partition's: somebody who
// has a history, or of whom something is set aside, and is not another one.
func (c *customer) counted() bool {
	h := c.head
	return len(h.MergedInto) == 0 && (len(h.Entries) > 0 || h.Spilled != nil || h.Served != nil || h.Parked > 0)
}

// recount counts a customer who was counted, or not, before he was changed.
func (f *fold) recount(c *customer, before bool) {
	switch after := c.counted(); {
	case after && !before:
		f.cp.Customers++
	case before && !after:
		f.cp.Customers--
	}
}

// withhold makes a customer wait for a move, unless that is through already.
func (f *fold) withhold(c *customer, number uint64) {
	if i, found := slices.BinarySearch(c.head.Ended, number); found {
		c.head.Ended = slices.Delete(slices.Clone(c.head.Ended), i, i+1)
		return
	}
	i, found := slices.BinarySearch(c.head.Withheld, number)
	if found {
		return
	}
	c.touch()
	c.head.Withheld = slices.Insert(slices.Clone(c.head.Withheld), i, number)
	if c.head.Timer != 0 {
		f.arm(c, 0)
	}
}

// expect withholds the receiver of a move whose rule has not been heard here.
func (f *fold) expect(c *customer, number uint64) {
	if number == 0 || number&refoldNumber != 0 || number <= f.cp.RuleSeq {
		return
	}
	if _, ended := slices.BinarySearch(c.head.Ended, number); !ended {
		f.withhold(c, number)
	}
}

// applyFinal ends a move for its receiver. A second one changes nothing.
func (f *fold) applyFinal(number uint64, final *logv1.MoveFinal) error {
	c, err := f.own(final.GetCustomer())
	if err != nil || c == nil {
		return err
	}
	if err := f.room(c); err != nil {
		return err
	}
	i, waited := slices.BinarySearch(c.head.Withheld, number)
	unheard := number&refoldNumber == 0 && number > f.cp.RuleSeq
	j, ended := slices.BinarySearch(c.head.Ended, number)
	if !waited && (!unheard || ended) {
		return nil
	}
	counted := c.counted()
	c.touch()
	if waited {
		c.head.Withheld = slices.Delete(slices.Clone(c.head.Withheld), i, i+1)
	}
	if unheard {
		c.head.Ended = slices.Insert(slices.Clone(c.head.Ended), j, number)
	}
	for _, a := range final.GetAbsorbed() {
		undone, err := f.isUndone(c, a.GetRule())
		if err != nil {
			return err
		}
		if !undone {
			c.head.Absorbed = append(slices.Clip(c.head.Absorbed), a)
		}
	}
	if from := final.GetSplitFrom(); from != nil {
		c.head.SplitFrom = from
		back, err := f.wasMerged(c, from.GetRule())
		if err != nil {
			return err
		}
		if back && from.GetAnnounced() {
			// Who comes back after an undone merge is a new customer to everybody who
			// was told that he became another one.
			c.head.Journal.Created = false
		}
	}
	if number&refoldNumber != 0 && c.head.Retold != nil {
		if err := c.endRetold(); err != nil {
			return err
		}
	}
	f.recount(c, counted)
	f.endServed(c)
	return nil
}

// wasMerged reports whether a customer became another one before a rule.
func (f *fold) wasMerged(c *customer, before uint64) (bool, error) {
	for _, d := range c.head.Routes {
		if d >= before {
			break
		}
		rule, err := f.ruleOf(c, d)
		if err != nil || rule.GetMerged() != nil {
			return err == nil, err
		}
	}
	return false, nil
}

// endServed shows a customer as he is once all moves to him are through.
func (f *fold) endServed(c *customer) {
	if c.head.Served == nil || c.head.Stale || len(c.head.Withheld) > 0 {
		return
	}
	counted := c.counted()
	c.touch()
	c.head.Served = nil
	f.recount(c, counted)
}

// applyMoveDone forgets jobs that are done.
func (f *fold) applyMoveDone(done *logv1.MoveDone) error {
	for _, named := range done.GetJobs() {
		key, job := jobKey(named), &statev1.MoveJob{}
		there, err := f.getMoving(key, job)
		if err != nil {
			return err
		}
		if !there {
			continue // a rival's word for it came first
		}
		if err := f.forget(job); err != nil {
			return err
		}
		if err := f.putMoving(key, nil); err != nil {
			return err
		}
		f.cp.Jobs--
	}
	return nil
}

// forget takes from who was merged or split what the receivers have now: who
// became him, and what was set aside of his.
func (f *fold) forget(job *statev1.MoveJob) error {
	if kind := job.GetJob().GetKind(); kind != logv1.MoveKind_MOVE_KIND_MERGE && kind != logv1.MoveKind_MOVE_KIND_SPLIT {
		return nil
	}
	c, err := f.own(job.GetJob().GetCustomer())
	if err != nil || c == nil || len(c.head.Absorbed) == 0 && c.head.Parked == 0 {
		return err
	}
	counted := c.counted()
	c.touch()
	if job.GetJob().GetKind() == logv1.MoveKind_MOVE_KIND_MERGE {
		c.head.Absorbed = slices.DeleteFunc(slices.Clone(c.head.Absorbed), func(a *logv1.Absorbed) bool { return a.Rule < job.Number })
	}
	err = f.forgetParked(c, job.GetJob().GetSeq())
	f.recount(c, counted)
	return err
}

// forgetParked forgets what was parked of a customer before a message: what he
// was told once more is parked behind it.
func (f *fold) forgetParked(c *customer, before uint64) error {
	if c.head.Parked == 0 {
		return nil
	}
	var ids []parkedID
	prefix := append([]byte{keyParkedID}, c.id[:]...)
	err := f.view.Scan(prefix, store.PrefixEnd(prefix), false, func(key, _ []byte) bool {
		ids = append(ids, parkedID(key[1:]))
		return true
	})
	if err != nil {
		return err
	}
	for id := range f.parked { // what is uncommitted; each once, whatever the order
		if events.CustomerID(id[:16]) == c.id {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		row, err := f.parkedAs(id)
		if err != nil {
			return err
		}
		if row.event == nil || row.event.Seq >= before {
			continue
		}
		f.setParked(row, nil)
		f.cp.Parked--
		c.head.Parked--
	}
	return nil
}

// waitsBefore reports whether a customer waits for a move that began before a job.
func waitsBefore(head *statev1.Head, job *statev1.MoveJob) bool {
	return slices.ContainsFunc(head.GetWithheld(), func(number uint64) bool { return isBefore(number, job) })
}

// isBefore reports whether a move began before a job of a rule, in the
// partition's stream or in that of rules.
func isBefore(number uint64, job *statev1.MoveJob) bool {
	if number&refoldNumber != 0 {
		return number&^refoldNumber < job.GetJob().GetSeq()
	}
	return number < job.GetNumber()
}

// announceMoves says of a customer whose moves are through who became him, and
// of whom he was a part. Each takes one k.
func (f *fold) announceMoves(c *customer, at int64, because cause) {
	if len(c.head.Absorbed) == 0 && c.head.SplitFrom == nil {
		return
	}
	c.touch()
	journal := c.head.Journal
	for _, a := range c.head.Absorbed {
		if !a.GetAnnounced() {
			continue
		}
		if !journal.Created {
			// He goes on as the one who became him.
			journal.Created = true
			journal.Stage, journal.Previous, journal.Since, journal.Cause = a.GetStage(), a.GetPrevious(), a.GetSince(), because.Cause
		}
		f.announceMove(c, kindMerged, a, at, because)
	}
	if from := c.head.SplitFrom; from.GetAnnounced() && profile.Identified(c.head.Facts) {
		f.announceMove(c, kindSplit, from, at, because)
	}
	c.head.Absorbed, c.head.SplitFrom = nil, nil
}

func (f *fold) announceMove(c *customer, kind string, other *logv1.Absorbed, at int64, because cause) {
	k := f.m.place.K
	f.m.place.K++
	from, _ := events.CustomerIDFromBytes(other.GetCustomer())
	change := &statev1.Change{
		Id: f.changeID(k, ruleMoved), Kind: kind, Customer: c.id[:], From: from.String(), To: c.id.String(),
		EffectiveAt: at, Cause: because.Cause, Rule: fmt.Sprintf("identity/%d", other.GetRule()),
		Values: []string{"formerChangeId", other.GetChangeId()}, PreviousChangeId: c.head.Journal.ChangeId,
	}
	c.head.Journal.ChangeId = change.Id
	f.announce(changeKey(f.cp.Epoch, f.m.seq, k, ruleMoved), change)
}

// moveCause is why the receiver of a final is evaluated.
func (f *fold) moveCause() cause {
	kind := "event"
	switch f.m.move.GetJob().GetKind() {
	case logv1.MoveKind_MOVE_KIND_MERGE:
		kind = "merge"
	case logv1.MoveKind_MOVE_KIND_SPLIT:
		kind = "split"
	}
	return cause{Cause: &statev1.Cause{Kind: kind, At: f.cp.LogTime}}
}

// applyRelay applies the rule of one relay if it is the next one.
func (f *fold) applyRelay(relay *logv1.Relay) error {
	if relay.GetPrev() != f.cp.RuleSeq || relay.GetSeq() <= relay.GetPrev() {
		return nil // a repeat, or a rival's relay
	}
	var err error
	switch rule := relay.Rule.GetRule().(type) {
	case *logv1.Rule_Genesis:
		err = f.settle(rule.Genesis)
	case *logv1.Rule_Reevaluate:
		since := f.cp.LogTime
		if f.cp.Sweep != nil {
			since = f.cp.Sweep.Since // what was pending stays pending
		}
		f.cp.Sweep = &statev1.Sweep{Since: since, RuleSeq: relay.Seq}
	case *logv1.Rule_Merged:
		err = f.applyMerged(relay.Seq, relay.Rule)
	case *logv1.Rule_Split:
		err = f.applySplit(relay.Seq, relay.Rule)
	}
	if err == nil {
		f.cp.RuleSeq = relay.Seq
	}
	return err
}
