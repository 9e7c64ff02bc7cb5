package projections

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/playbook"
	"github.com/dossier360/dossier/projections/profile"
	"github.com/dossier360/dossier/projections/store"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// FoldVersion is the version of what the fold makes of the log. A store of
// another version is rebuilt. Whatever changes a fact, a row or a verdict of the
// same log raises it.
const FoldVersion = 6

// Bounds of the work that one message can cause.
const (
	// maxTimerEvaluations bounds the timers evaluated in one message.
	maxTimerEvaluations = 1_024
	// maxSweepEvaluations bounds a running sweep's share of one message.
	maxSweepEvaluations = 1_024
	// maxCauseEvents bounds the event ids named as the cause of a change.
	maxCauseEvents = 16
	// backfillAfter marks a change whose cause was recorded this much later
	// than it occurred.
	backfillAfter = int64(24 * time.Hour / time.Microsecond)
)

// foldOptions are what a fold is made of.
type foldOptions struct {
	Partition int
	Evaluate  playbook.Evaluate
	// Fetch reads a record of this partition's own stream again. A refold needs
	// it, and asks for one record once for each of its events.
	Fetch func(ctx context.Context, seq uint64) (*logv1.Record, error)
	// CacheBytes bounds the customers kept decoded between commits.
	CacheBytes int
	// RefoldEntries bounds who is folded again inline, SearchedEntries whose
	// history is searched; 0 means maxRefoldEntries and maxSearchedEntries. Part
	// of what a fold version is: for tests alone.
	RefoldEntries, SearchedEntries int
}

// fold folds one partition's stream, message by message, in steps between any
// two of which a commit may fall:
//
//	f.begin(m); while f.step() { perhaps f.flush(…) }; perhaps f.flush(…)
//
// What it does is a function of the messages alone: never of where the commits
// fall, of the clock, or of what is cached. It is owned by one goroutine.
type fold struct {
	foldOptions
	overlay
	env profile.Env
	cp  *statev1.Checkpoint
	m   *message // being folded; nil between messages
}

// newFold goes on from the checkpoint in the view; an empty store begins at
// message 1.
func newFold(o foldOptions, v store.View) (*fold, error) {
	f := &fold{foldOptions: o, overlay: overlay{view: v, cacheBytes: o.CacheBytes, refoldEntries: cmp.Or(o.RefoldEntries, maxRefoldEntries), searchedEntries: cmp.Or(o.SearchedEntries, maxSearchedEntries)}, cp: &statev1.Checkpoint{FoldVersion: FoldVersion}}
	value, err := v.Get(checkpointKey)
	if err != nil {
		return nil, err
	}
	if value != nil {
		if err := proto.Unmarshal(value, f.cp); err != nil {
			return nil, fmt.Errorf("checkpoint of partition %d: %w", o.Partition, err)
		}
	}
	if f.cp.Genesis != nil {
		if err := f.settle(f.cp.Genesis); err != nil {
			return nil, err
		}
	}
	return f, f.timers.reset(v, f.cp.LogTime)
}

// settle takes the deployment's fixed settings from Genesis.
func (f *fold) settle(g *logv1.Genesis) error {
	zone, err := events.NewZone(g.Zone)
	if err != nil {
		return fmt.Errorf("genesis: %w", err)
	}
	f.env = profile.Env{Zone: zone, BaseCurrency: g.BaseCurrency}
	f.cp.Genesis = g
	return nil
}

func (f *fold) clockIsEvents() bool { return f.cp.Genesis.GetClock() == events.ClockEvents }

// The steps of one round. Clock wall: a message is one round. Clock events:
// every event is a round of its own, since each moves log time.
const (
	stepEnter    = iota // log time moves
	stepTouched         // due timers of the customers that the round touches
	stepDue             // other due timers
	stepApply           // the events, or the notice, or the end of a move
	stepRefold          // touched customers whose history changed under their facts
	stepEvaluate        // each touched customer once
	stepLeave           // next round
	stepSweep           // after all rounds: the running sweep's share
)

// message is the message being folded.
type message struct {
	seq    uint64
	time   time.Time
	record *logv1.Record
	notice *logv1.Notice
	move   *logv1.Move // record is what it moves
	rounds []round
	place  *statev1.Place
}

// round is what is folded at one log time.
type round struct {
	time    int64 // log time becomes at least this
	events  []int // indexes into the record
	touched []touched
	final   *logv1.MoveFinal          // applied after the events
	byID    map[events.CustomerID]int // index into touched
}

// touched is a customer whom a round's events name.
type touched struct {
	id     events.CustomerID
	events []int // indexes into the record, of his events
}

// begin takes the next message; it resumes inside it where the last commit
// fell there. An error stops the partition: the log is corrupt.
func (f *fold) begin(m *message) error {
	m.place = &statev1.Place{LogTimeBefore: f.cp.LogTime}
	switch {
	case f.cp.Place != nil && f.cp.Seq == m.seq:
		m.place = f.cp.Place
	case f.cp.Place != nil:
		return fmt.Errorf("partition %d stands inside message %d, got %d: %w", f.Partition, f.cp.Seq, m.seq, events.ErrCorrupt)
	case m.seq != f.cp.Seq+1:
		return fmt.Errorf("partition %d folded %d, got %d: %w", f.Partition, f.cp.Seq, m.seq, events.ErrCorrupt)
	}
	if m.seq > 1 && f.cp.Genesis == nil {
		return fmt.Errorf("partition %d: message 1 is not Genesis: %w", f.Partition, events.ErrCorrupt)
	}
	f.m = m
	f.cp.Seq, f.cp.Time, f.cp.Place = m.seq, m.time.UnixNano(), m.place
	m.plan(f)
	return nil
}

// decodeMessage opens a message of the partition's stream.
func decodeMessage(raw events.Message, partition int) (*message, error) {
	m := &message{seq: raw.Seq, time: raw.Time}
	var content proto.Message
	switch raw.Subject {
	case events.SubjectEvents(partition):
		m.record = &logv1.Record{}
		content = m.record
	case events.SubjectNotices(partition):
		m.notice = &logv1.Notice{}
		content = m.notice
	case events.SubjectMoves(partition):
		m.move = &logv1.Move{}
		content = m.move
	default:
		return nil, fmt.Errorf("partition %d, message %d: unknown subject %q: %w", partition, raw.Seq, raw.Subject, events.ErrCorrupt)
	}
	if err := events.Open(raw.Data, content); err != nil {
		return nil, fmt.Errorf("partition %d, message %d: %w", partition, raw.Seq, err)
	}
	if m.move != nil {
		if m.record = m.move.Record; m.record == nil {
			m.record = &logv1.Record{}
		}
	}
	return m, nil
}

// plan splits the message into rounds.
func (m *message) plan(f *fold) {
	if m.notice != nil {
		at := events.Micros(m.time)
		if f.clockIsEvents() || m.notice.GetRelay().GetRule().GetGenesis().GetClock() == events.ClockEvents {
			at = m.notice.GetTick().GetTo() // of a relay: 0, no time passes
		}
		m.rounds = []round{{time: at}}
		return
	}
	if !f.clockIsEvents() {
		all := round{time: events.Micros(m.time)}
		for i := range m.record.Events {
			all.add(i, m.record.Events[i].GetHeader())
		}
		all.end(m.move.GetFinal())
		m.rounds = []round{all}
		return
	}
	for i, e := range m.record.Events {
		r := round{time: e.GetHeader().GetOccurredAt()}
		r.add(i, e.GetHeader())
		m.rounds = append(m.rounds, r)
	}
	if final := m.move.GetFinal(); final != nil {
		r := round{}
		r.end(final)
		m.rounds = append(m.rounds, r)
	}
}

// end touches the receiver of a move that the round ends; nil: it ends none.
func (r *round) end(final *logv1.MoveFinal) {
	if r.final = final; final == nil {
		return
	}
	if id, err := events.CustomerIDFromBytes(final.GetCustomer()); err == nil {
		r.touch(id)
	}
}

func (r *round) add(i int, h *logv1.Header) {
	r.events = append(r.events, i)
	id, err := events.CustomerIDFromBytes(h.GetCustomer())
	if err != nil {
		return // nobody is touched; the event is parked when it is its turn
	}
	t := r.touch(id)
	t.events = append(t.events, i)
}

// touch returns a customer as one whom the round touches.
func (r *round) touch(id events.CustomerID) *touched {
	t, ok := r.byID[id]
	if !ok {
		if r.byID == nil {
			r.byID = map[events.CustomerID]int{}
		}
		t = len(r.touched)
		r.byID[id] = t
		r.touched = append(r.touched, touched{id: id})
	}
	return &r.touched[t]
}

// errCommitFirst: the next customer's head is so large that what is uncommitted
// must be committed before he is changed. Nothing was done; step again after it.
var errCommitFirst = errors.New("commit first")

// bigHeadBytes is the size of a head that wants a commit nearly of its own. A
// head and a row take at most profile.MaxFactsBytes, MaxRowBytes and history.
const bigHeadBytes = 512 << 10

// room returns errCommitFirst where a customer must not join the commit that
// is gathering.
func (f *fold) room(c *customer) error {
	if !c.dirty && c.encoded >= bigHeadBytes && f.bytes > 0 && f.bytes+c.encoded > commitBytes {
		return errCommitFirst
	}
	return nil
}

// step does the next unit of the message. It reports whether there is more. An
// error other than errCommitFirst is one of the store or the log, and leaves
// the fold unusable.
func (f *fold) step(ctx context.Context) (more bool, err error) {
	p := f.m.place
	if p.Step == stepSweep || int(p.Round) >= len(f.m.rounds) {
		p.Step = stepSweep
		return f.stepSweep()
	}
	r := &f.m.rounds[p.Round]
	switch p.Step {
	case stepEnter:
		f.cp.LogTime = max(f.cp.LogTime, r.time)
		f.next()
	case stepTouched:
		err = f.stepTouched(r)
	case stepDue:
		err = f.stepDue()
	case stepApply:
		err = f.stepApply(ctx, r)
	case stepRefold:
		err = f.stepRefold(ctx, r)
	case stepEvaluate:
		err = f.stepEvaluate(r)
	case stepLeave:
		p.Round++
		p.Step, p.Index = stepEnter, 0
	}
	return true, err
}

// next goes to the next step of the round.
func (f *fold) next() {
	f.m.place.Step++
	f.m.place.Index = 0
}

// stepTouched evaluates one due instant of a touched customer.
func (f *fold) stepTouched(r *round) error {
	p := f.m.place
	if int(p.Index) == len(r.touched) || p.Evaluations == maxTimerEvaluations {
		f.next()
		return nil
	}
	c, err := f.customer(r.touched[p.Index].id)
	if err != nil {
		return err
	}
	if !f.due(c) {
		p.Index++
		return nil
	}
	if err := f.room(c); err != nil {
		return err
	}
	f.evaluateTimer(c)
	return nil
}

// stepDue evaluates the earliest due instant of anybody.
func (f *fold) stepDue() error {
	if f.m.place.Evaluations == maxTimerEvaluations {
		f.next()
		return nil
	}
	c, err := f.nextDue(f.cp.LogTime)
	if err != nil {
		return err
	}
	if c == nil {
		f.next()
		return nil
	}
	if err := f.room(c); err != nil {
		return err // the timer was taken from the queue; the commit begins it anew
	}
	f.evaluateTimer(c)
	return nil
}

func (f *fold) due(c *customer) bool { return c.head.Timer != 0 && c.head.Timer <= f.cp.LogTime }

// stepApply applies one event, or the notice.
func (f *fold) stepApply(ctx context.Context, r *round) error {
	p := f.m.place
	if f.m.notice != nil {
		return f.stepNotice(f.m.notice)
	}
	if int(p.Index) == len(r.events) {
		if r.final != nil {
			if err := f.applyFinal(f.m.move.GetNumber(), r.final); err != nil {
				return err
			}
		}
		f.next()
		return nil
	}
	i := r.events[p.Index]
	counted, err := f.applyEvent(ctx, i, f.m.record.Events[i])
	if err != nil {
		return err
	}
	if counted {
		p.Applied = setBit(p.Applied, i)
	}
	p.Index++
	p.K++
	return nil
}

func setBit(bits []byte, i int) []byte {
	for len(bits) <= i/8 {
		bits = append(bits, 0)
	}
	bits[i/8] |= 1 << (i % 8)
	return bits
}

func hasBit(bits []byte, i int) bool { return i/8 < len(bits) && bits[i/8]&(1<<(i%8)) != 0 }

// stepRefold folds one touched customer again if a replaced copy asked for it:
// once, however many of his copies the message replaced.
func (f *fold) stepRefold(ctx context.Context, r *round) error {
	p := f.m.place
	if int(p.Index) == len(r.touched) {
		f.next()
		return nil
	}
	c, err := f.customer(r.touched[p.Index].id)
	if err != nil {
		return err
	}
	if c.head.Stale {
		place := len(f.m.record.GetEvents()) // of the end of a move
		if own := r.touched[p.Index].events; len(own) > 0 {
			place = own[0]
		}
		if err := f.foldAgain(ctx, c, place); err != nil {
			return err
		}
	}
	p.Index++
	return nil
}

// foldAgain folds a customer again whose history changed under his facts: at
// once, or by moves if that would hold up others. While moves to him are under
// way he waits for their end, or each message could have him told anew. `place`
// is a place in the message that is his alone.
func (f *fold) foldAgain(ctx context.Context, c *customer, place int) error {
	short, err := c.refoldable()
	switch {
	case err != nil:
		return err
	case !short && len(c.head.Withheld) > 0:
		return nil
	case !short:
		return f.refoldLong(c, place)
	case f.bytes > maxRefoldBytes:
		return errCommitFirst
	}
	if err := f.refold(ctx, c); err != nil {
		return err
	}
	f.endServed(c)
	return nil
}

// stepEvaluate evaluates one touched customer, unless due instants of his are
// pending: then his timer does it.
func (f *fold) stepEvaluate(r *round) error {
	p := f.m.place
	if int(p.Index) == len(r.touched) {
		f.next()
		return nil
	}
	t := r.touched[p.Index]
	c, err := f.customer(t.id)
	if err == nil {
		err = f.room(c)
	}
	if err != nil {
		return err
	}
	p.Index++
	if c.unknown() || f.due(c) {
		return nil
	}
	because := f.eventCause(t)
	if id, err := events.CustomerIDFromBytes(r.final.GetCustomer()); err == nil && id == t.id {
		because = f.moveCause()
	}
	f.evaluate(c, f.cp.LogTime, because)
	return nil
}

// cause is why an evaluation is made.
type cause struct {
	*statev1.Cause
	backfill bool
}

// eventCause names the new events of a touched customer. It is a backfill if
// all of them were recorded long after they occurred.
func (f *fold) eventCause(t touched) cause {
	because := cause{Cause: &statev1.Cause{Kind: "event", At: f.cp.LogTime}, backfill: true}
	for _, i := range t.events {
		if !hasBit(f.m.place.Applied, i) {
			continue
		}
		h := f.m.record.Events[i].Header
		if f.recordedAt(h)-h.OccurredAt <= backfillAfter {
			because.backfill = false
		}
		if len(because.EventIds) < maxCauseEvents {
			because.EventIds = append(because.EventIds, h.EventId)
		}
	}
	because.backfill = because.backfill && len(because.EventIds) > 0
	return because
}

func (f *fold) recordedAt(h *logv1.Header) int64 {
	return f.m.record.RecordedAt + int64(h.GetRecordedDelta())
}

// stepSweep evaluates one customer of a running sweep.
func (f *fold) stepSweep() (more bool, err error) {
	p, sweep := f.m.place, f.cp.Sweep
	if sweep == nil || p.Index == maxSweepEvaluations {
		f.end()
		return false, nil
	}
	c, err := f.nextCustomer(sweep.Cursor)
	if err != nil {
		return false, err
	}
	if c == nil {
		f.cp.Sweep = nil
		f.end()
		return false, nil
	}
	if err := f.room(c); err != nil {
		return true, err
	}
	sweep.Cursor = append([]byte(nil), c.id[:]...)
	p.Index++
	if !f.due(c) {
		f.evaluate(c, f.cp.LogTime, cause{Cause: &statev1.Cause{Kind: "rules", At: f.cp.LogTime}})
	}
	return true, nil
}

// end marks the message folded.
func (f *fold) end() {
	f.cp.Place = nil
	f.m = nil
}

// stepNotice applies a notice, of relayed rules one. A tick has done its work by
// its time.
func (f *fold) stepNotice(n *logv1.Notice) error {
	var err error
	relays := n.GetRelays().GetRelays()
	switch i := int(f.m.place.Index); {
	case n.GetRelay() != nil:
		err = f.applyRelay(n.GetRelay())
	case n.GetMoveDone() != nil:
		err = f.applyMoveDone(n.GetMoveDone())
	case i < len(relays):
		if err = f.applyRelay(relays[i]); err == nil {
			f.m.place.Index++
		}
		return err
	}
	if err == nil {
		f.next()
	}
	return err
}

// applyEvent folds event i of the record. It reports whether the event counted
// as new.
func (f *fold) applyEvent(ctx context.Context, i int, e *logv1.LoggedEvent) (counted bool, err error) {
	h := e.GetHeader()
	id, err := events.CustomerIDFromBytes(h.GetCustomer())
	if err != nil {
		return false, f.park(nil, i, e, 0, errNoCustomer)
	}
	if id.Partition(int(f.cp.Genesis.GetPartitions())) != f.Partition {
		return false, f.park(nil, i, e, 0, errMisrouted)
	}
	c, err := f.customer(id)
	if err == nil {
		err = f.room(c)
	}
	if err != nil {
		return false, err
	}
	if f.m.move != nil {
		f.expect(c, f.m.move.GetNumber())
	}
	elsewhere, at, err := f.route(c, h, f.m.record.At+h.AtDelta)
	if err != nil {
		return false, err
	}
	if elsewhere != nil {
		return false, f.forward(c, i, elsewhere)
	}
	old, err := c.find(h)
	if err != nil {
		return false, err
	}
	if old != nil {
		return f.refuse(ctx, c, old, i, e, at)
	}
	body, err := readBody(e)
	if err != nil {
		return false, f.park(c, i, e, at, err)
	}
	if t, takes := targetOf(h, body); takes {
		reason, err := c.takeBack(t, h, body)
		if err != nil {
			return false, err
		}
		if reason != nil {
			return false, f.park(c, i, e, at, reason)
		}
	}
	stands, err := c.stands(h)
	if err != nil {
		return false, err
	}
	before := c.counted()
	c.touch()
	c.head.Kind = h.CustomerKind
	entry := f.entry(i, e, body, at)
	if stands && body != nil && !c.head.Stale { // else the refold applies it
		if err := profile.Apply(c.head.Facts, profile.Event{Header: h, RecordedAt: entry.RecordedAt, Body: body}, c, f.env); err != nil {
			return false, fmt.Errorf("apply message %d event %d: %w", f.m.seq, i, err)
		}
		c.grown(h, body, len(e.Body))
	}
	if err := c.record(entry, h); err != nil {
		return false, err
	}
	f.recount(c, before)
	return true, f.unpark(c, e, entry.RecordedAt)
}

// Facts grow by more than an event's bytes where a stamp is kept with each of
// many small things; then they are measured instead of estimated.
const (
	plainIdentifiers = 2
	plainBodyBytes   = 512
)

// grown adds to the estimate of the next commit what an event made of the
// facts.
func (c *customer) grown(h *logv1.Header, body *eventsv1.Event, bodyBytes int) {
	if h.Type != eventsv1.Type_TYPE_TRAITS_SET && len(body.Identifiers) <= plainIdentifiers && bodyBytes <= plainBodyBytes {
		c.o.grow(2*bodyBytes, 0)
		return
	}
	c.measure()
}

// measure counts what the facts have grown since they were measured last.
func (c *customer) measure() {
	size := proto.Size(c.head.Facts)
	c.o.grow(max(0, size-c.measured), 0)
	c.measured = size
}

// record adds an entry to the history, and its refusal key if it needs one.
func (c *customer) record(entry *statev1.Entry, h *logv1.Header) error {
	if timeWasGiven(h) {
		c.putRefusal(h, stampOf(entry))
	}
	return c.insert(entry)
}

// readBody returns nil without an error for a body whose key is not ours: the
// event becomes a tombstone entry.
func readBody(e *logv1.LoggedEvent) (*eventsv1.Event, error) {
	if e.Header.KeyId != 0 {
		return nil, nil
	}
	body := &eventsv1.Event{}
	if err := proto.Unmarshal(e.Body, body); err != nil {
		return nil, errBadBody
	}
	return body, nil
}

// entry is the history entry of event i, whose address is as good as one of `at`.
func (f *fold) entry(i int, e *logv1.LoggedEvent, body *eventsv1.Event, at uint64) *statev1.Entry {
	h := e.Header
	entry := &statev1.Entry{
		Type: h.Type, OccurredAt: h.OccurredAt, RecordedAt: f.recordedAt(h),
		EventId: h.EventId, Source: h.Source, Role: h.Role, ClaimedAt: h.ClaimedAt,
		Seq: f.m.seq, Index: uint32(i), At: at, Trail: h.Trail,
		MintedId: h.MintedId, Tombstone: body == nil, BodyBytes: uint32(len(e.Body)), BodyHash: events.BodyHash(e.Body), Corrects: h.Corrects,
	}
	if body != nil {
		if h.Type == eventsv1.Type_TYPE_CUSTOM {
			entry.Name = body.Type
		}
		entry.Title, entry.Fields = profile.Describe(profile.Event{Header: h, RecordedAt: entry.RecordedAt, Body: body})
	}
	return entry
}
