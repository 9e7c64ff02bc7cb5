package projections

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/store"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// The mover of a partition sends what its jobs hold to the partitions that the
// events belong to now: each event as it was logged first, but for customer,
// trail and `at`; then to each receiver the end; then the partition's own stream
// is told that the job is done.
//
// It keeps nothing: after a crash a job that is not done begins anew, and what
// was sent twice is refused by the fold. Two movers of one partition do the same.
// Jobs take turns, message by message, and one of many messages waits until the
// receiver has folded each: a long history stalls nobody.

const (
	// moveEvents and moveBytes bound one message of moves: what a receiver folds
	// before others have their turn.
	moveEvents = 100
	moveBytes  = 32 << 10
	// maxJobs bounds the jobs that take turns, and movesAtOnce those of them that
	// have an append under way.
	maxJobs     = 64
	movesAtOnce = 8
	// maxLate bounds the late events sent in one round.
	maxLate = 1_000
	// maxRefs bounds the events of all jobs that take turns, but for the first
	// job: about 48 bytes each.
	maxRefs = 2_000_000
	// maxMoveWait bounds the wait for a receiver before the next message.
	maxMoveWait = 5 * time.Second
)

// mover is the work of one partition's mover. Owned by its goroutine.
type mover struct {
	p    *Partition
	runs map[string]*moveRun // by key of the job's row
}

// moveRun is a job under way.
type moveRun struct {
	job  *statev1.MoveJob
	left []moveRef      // not sent, in order
	last map[int]uint64 // partition to the last message sent there
	done bool           // sent to its end, which is in the log
}

// moveRef is an event to be sent.
type moveRef struct {
	seq   uint64
	index uint32
	first bool // it takes something back: what it names should find that there
	at    uint64
	trail []uint64
	// parked: it has no entry that says at and trail; the record does.
	parked bool
}

// runMover sends until the context ends. After an error it goes on where it was:
// a message that was not acknowledged is sent again.
func (p *Partition) runMover(ctx context.Context) error {
	m := &mover{p: p, runs: map[string]*moveRun{}}
	for delay := firstDelay; ctx.Err() == nil; {
		err := m.round(ctx)
		switch {
		case err == nil:
			delay = firstDelay
			continue
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errFoldCorrupt):
			return nil // the fold reports it
		case errors.Is(err, events.ErrCorrupt):
			return fmt.Errorf("mover of partition %d: %w", p.o.ID, err)
		case !errors.Is(err, ErrCatchingUp):
			p.o.Logger.Warn("moves not sent, trying again", "error", err, "after", delay)
		}
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
		delay = min(2*delay, lastDelay)
	}
	return nil
}

// errFoldCorrupt marks why the fold stands still for ever.
var errFoldCorrupt = errors.New("the fold has stopped")

// round sends one message of every job that has its turn, and waits for work if
// there is none. A job is work if the fold has come as far as the log did when the
// store was opened: it may be done further on.
func (m *mover) round(ctx context.Context) error {
	s, changed := m.p.watch()
	if errors.Is(s.err, events.ErrCorrupt) {
		return fmt.Errorf("%w: %w", errFoldCorrupt, s.err)
	}
	if s.jobs == 0 || m.p.behind(s) {
		waitFor(ctx, changed)
		return nil
	}
	late, err := m.look()
	if err != nil {
		return err
	}
	done, err := m.sendLate(ctx, late)
	if err != nil {
		return err
	}
	progress := len(done) > 0
	group, sending := errgroup.WithContext(ctx)
	group.SetLimit(movesAtOnce)
	keys := slices.Sorted(maps.Keys(m.runs))
	moved := make([]bool, len(keys))
	for i, key := range keys {
		group.Go(func() (err error) {
			moved[i], err = m.send(sending, m.runs[key])
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, key := range keys {
		progress = progress || moved[i]
		if m.runs[key].done {
			done = append(done, m.runs[key].job.Job)
		}
	}
	if len(done) > 0 {
		return m.p.write(ctx, &logv1.Notice{Notice: &logv1.Notice_MoveDone{MoveDone: &logv1.MoveDone{Jobs: done}}})
	}
	if !progress {
		waitFor(ctx, changed)
	}
	return nil
}

func waitFor(ctx context.Context, changed <-chan struct{}) {
	select {
	case <-changed:
	case <-ctx.Done():
	}
}

// look reads which jobs there are: of histories those that have their turn, of
// late events the first.
func (m *mover) look() (late []*statev1.MoveJob, err error) {
	v := m.p.View()
	defer v.Close()
	if v.view == nil {
		return nil, ErrCatchingUp
	}
	if late, _, err = v.jobs(keyLate, maxLate); err != nil {
		return nil, err
	}
	jobs, keys, err := v.jobs(keyJob, maxJobs)
	if err != nil {
		return nil, err
	}
	for key := range m.runs {
		if !slices.Contains(keys, key) {
			delete(m.runs, key) // a rival was quicker
		}
	}
	for i, job := range jobs {
		if m.runs[keys[i]] != nil || m.refs() > maxRefs {
			continue
		}
		run, err := v.startRun(job)
		if err != nil {
			return nil, err
		}
		m.runs[keys[i]] = run
	}
	return late, nil
}

// refs is how many events wait in the jobs that take turns.
func (m *mover) refs() (n int) {
	for _, run := range m.runs {
		n += len(run.left)
	}
	return n
}

// parkedRefs adds what is set aside of a customer: it is the receiver's now, and
// he is to be flagged. What a rule before the job's moves is that one's.
func (v *View) parkedRefs(c events.CustomerID, routes []uint64, run *moveRun) error {
	var places [][]byte
	prefix := append([]byte{keyParkedID}, c[:]...)
	err := v.view.Scan(prefix, store.PrefixEnd(prefix), false, func(_, place []byte) bool {
		places = append(places, append([]byte{keyParked}, place...))
		return true
	})
	if err != nil {
		return fmt.Errorf("what is parked of customer %s: %w", c, err)
	}
	for _, key := range places {
		p, value := &statev1.Parked{}, []byte(nil)
		if value, err = v.view.Get(key); err == nil {
			err = proto.Unmarshal(value, p)
		}
		if err != nil {
			return fmt.Errorf("parked event at %x: %w", key[1:], err)
		}
		if len(routes) > 0 && routes[len(routes)-1] > p.At {
			continue
		}
		run.left = append(run.left, moveRef{seq: p.Seq, index: p.Index, at: p.At, first: takesBack(p.Type, p.Corrects), parked: true})
	}
	return nil
}

// takesBack reports whether an event may take back another one.
func takesBack(kind eventsv1.Type, corrects string) bool {
	return kind == eventsv1.Type_TYPE_EVENT_VOIDED || corrects != ""
}

// jobs reads the first jobs of a kind, and their keys.
func (v *View) jobs(kind byte, limit int) (jobs []*statev1.MoveJob, keys []string, err error) {
	var bad error
	err = v.view.Scan([]byte{kind}, []byte{kind + 1}, false, func(key, value []byte) bool {
		job := &statev1.MoveJob{}
		if bad = proto.Unmarshal(value, job); bad != nil {
			return false
		}
		jobs, keys = append(jobs, job), append(keys, string(key))
		return len(jobs) < limit
	})
	if err == nil {
		err = bad
	}
	return jobs, keys, err
}

// startRun lists the events of a closed generation. What takes something back
// goes first: what it names is refused its place then, instead of the receiver
// being folded again. For the rest the order of the log has every record read
// once.
func (v *View) startRun(job *statev1.MoveJob) (*moveRun, error) {
	c, err := events.CustomerIDFromBytes(job.GetJob().GetCustomer())
	if err != nil {
		return nil, err
	}
	run := &moveRun{job: job, last: map[int]uint64{}}
	each := func(list []*statev1.Entry) {
		for _, e := range list {
			run.left = append(run.left, moveRef{
				seq: e.Seq, index: e.Index, at: e.At, trail: e.Trail,
				first: takesBack(e.Type, e.Corrects),
			})
		}
	}
	head, err := v.closedHead(c, job.Generation)
	if err != nil {
		return nil, err
	}
	var bad error
	prefix := ownedPrefix(keyPage, c, job.Generation)
	err = v.view.Scan(prefix, store.PrefixEnd(prefix), false, func(_, value []byte) bool {
		page := &statev1.Page{}
		if bad = proto.Unmarshal(value, page); bad != nil {
			return false
		}
		each(page.Entries)
		return true
	})
	if err == nil {
		err = bad
	}
	if err != nil {
		return nil, fmt.Errorf("pages of customer %s: %w", c, err)
	}
	each(head.Entries)
	if err := v.parkedRefs(c, head.Routes, run); err != nil {
		return nil, err
	}
	slices.SortFunc(run.left, func(a, b moveRef) int {
		if a.first != b.first {
			if a.first {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.seq, b.seq), cmp.Compare(a.index, b.index))
	})
	return run, nil
}

// send sends the next message of a job to each of its receivers. It reports
// false if the job waits for another.
func (m *mover) send(ctx context.Context, run *moveRun) (bool, error) {
	if err := m.await(ctx, run); err != nil {
		return false, err
	}
	refs := run.next()
	moves, err := m.moves(ctx, run.job, refs)
	if err != nil {
		return false, err
	}
	ends := len(run.left) == len(refs)
	if ends {
		ready, err := m.mayEnd(run.job)
		if err != nil {
			return false, err
		}
		if ends = ready; !ready && len(refs) == 0 {
			return false, nil
		}
	}
	if ends {
		if err := m.addFinals(run.job, moves); err != nil {
			return false, err
		}
	}
	for _, final := range []bool{false, true} { // an end when all that it ends is in the log
		for _, partition := range slices.Sorted(maps.Keys(moves)) {
			for _, move := range moves[partition] {
				if final != (move.Final != nil) {
					continue
				}
				if run.last[partition], err = m.append(ctx, partition, move); err != nil {
					return false, err
				}
			}
		}
	}
	run.left, run.done = run.left[len(refs):], ends
	return true, nil
}

// await waits until the receivers have folded the job's last messages, as far as
// they are in this process, and not for ever: one that stands still, or cannot be
// asked, would hold up the other half of a split.
func (m *mover) await(ctx context.Context, run *moveRun) error {
	if m.p.o.Applied == nil {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, maxMoveWait)
	defer cancel()
	for partition, seq := range run.last {
		if err := m.p.o.Applied(waiting, partition, seq); err != nil && ctx.Err() == nil {
			m.p.o.Logger.Debug("moves go on before they are folded", "error", err)
		}
	}
	return ctx.Err()
}

// next are the events of the next message.
func (r *moveRun) next() []moveRef { return r.left[:min(len(r.left), moveEvents)] }

// moves makes the messages of some events of a job, by the partition that each
// goes to. Those that are long take several.
func (m *mover) moves(ctx context.Context, job *statev1.MoveJob, refs []moveRef) (map[int][]*logv1.Move, error) {
	from, err := events.CustomerIDFromBytes(job.GetJob().GetCustomer())
	if err != nil {
		return nil, err
	}
	out := map[int][]again{}
	for _, ref := range refs {
		e, recordedAt, err := m.event(ctx, ref.seq, ref.index)
		if err != nil {
			return nil, err
		}
		to, at, trail := from, ref.at, ref.trail
		if ref.parked {
			trail = e.Header.Trail
		}
		if job.Number&refoldNumber == 0 && at < job.Number {
			if to, err = destination(job.Rule, from, header(e, trail)); err != nil {
				return nil, err
			}
			if at = job.Number; to != from {
				trail = append(slices.Clone(trail), job.Number)
			}
		}
		m.add(out, to, at, trail, e, recordedAt)
	}
	return m.seal(job.Job, job.Number, out), nil
}

// header is that of an event as its customer's history has it.
func header(e *logv1.LoggedEvent, trail []uint64) *logv1.Header {
	h := e.Header
	if slices.Equal(h.Trail, trail) {
		return h
	}
	h = proto.CloneOf(h)
	h.Trail = trail
	return h
}

// event reads an event of the partition's own stream, and when it was recorded.
func (m *mover) event(ctx context.Context, seq uint64, index uint32) (e *logv1.LoggedEvent, recordedAt int64, err error) {
	record, err := m.p.fetch(ctx, seq)
	if err != nil {
		return nil, 0, fmt.Errorf("read event %d/%d to be moved: %w", seq, index, err)
	}
	if int(index) >= len(record.Events) {
		return nil, 0, fmt.Errorf("read event %d/%d to be moved: the record has %d: %w", seq, index, len(record.Events), events.ErrCorrupt)
	}
	e = record.Events[index]
	return e, record.RecordedAt + int64(e.Header.RecordedDelta), nil
}

// add addresses an event anew.
func (m *mover) add(out map[int][]again, to events.CustomerID, at uint64, trail []uint64, e *logv1.LoggedEvent, recordedAt int64) {
	h := proto.CloneOf(e.Header)
	h.Customer, h.Trail = bytes.Clone(to[:]), trail
	moved := &logv1.LoggedEvent{Header: h, Body: e.Body}
	partition := to.Partition(int(m.p.o.Genesis.Partitions))
	out[partition] = append(out[partition], again{event: moved, at: at, recordedAt: recordedAt, bytes: uint32(proto.Size(moved))})
}

// seal packs events into messages of moves.
func (m *mover) seal(job *logv1.MoveJob, number uint64, out map[int][]again) map[int][]*logv1.Move {
	moves := map[int][]*logv1.Move{}
	for partition, list := range out {
		for _, record := range records(list, moveBytes) {
			moves[partition] = append(moves[partition], &logv1.Move{Job: job, Partition: uint32(m.p.o.ID), Number: number, Record: record})
		}
	}
	return moves
}

// mayEnd reports whether all that belongs to a job was sent. The loser of a
// merge may be waiting for moves himself: what they bring goes on as late events,
// and the winner's announcement waits for it.
func (m *mover) mayEnd(job *statev1.MoveJob) (bool, error) {
	if job.Number&refoldNumber != 0 {
		return true, nil
	}
	c, err := events.CustomerIDFromBytes(job.GetJob().GetCustomer())
	if err != nil {
		return false, err
	}
	v := m.p.View()
	defer v.Close()
	head, err := v.openHead(c)
	if err != nil || waitsBefore(head, job) {
		return false, err
	}
	none := true
	prefix := append([]byte{keyLate}, c[:]...)
	err = v.view.Scan(prefix, store.PrefixEnd(prefix), false, func(_, _ []byte) bool { none = false; return false })
	return none, err
}

// openHead is a customer's head as the fold has it.
func (v *View) openHead(c events.CustomerID) (*statev1.Head, error) {
	if v.view == nil {
		return nil, ErrCatchingUp
	}
	value, err := v.view.Get(headKey(c))
	if err != nil {
		return nil, err
	}
	head := &statev1.Head{}
	return head, proto.Unmarshal(value, head)
}

// addFinals ends a job for all that receive it, in its last messages.
func (m *mover) addFinals(job *statev1.MoveJob, moves map[int][]*logv1.Move) error {
	final := func(customer []byte, f *logv1.MoveFinal) error {
		c, err := events.CustomerIDFromBytes(customer)
		if err != nil {
			return err
		}
		f.Customer = customer
		p := c.Partition(int(m.p.o.Genesis.Partitions))
		if n := len(moves[p]); n > 0 && moves[p][n-1].Final == nil {
			moves[p][n-1].Final = f
			return nil
		}
		moves[p] = append(moves[p], &logv1.Move{Job: job.Job, Partition: uint32(m.p.o.ID), Number: job.Number, Final: f})
		return nil
	}
	if merged := job.GetRule().GetMerged(); merged != nil {
		absorbed, err := m.absorbed(job)
		if err != nil {
			return err
		}
		return final(merged.Winner, &logv1.MoveFinal{Absorbed: absorbed})
	}
	if split := job.GetRule().GetSplit(); split != nil {
		if err := final(split.To, &logv1.MoveFinal{SplitFrom: job.Told}); err != nil {
			return err
		}
	}
	return final(job.GetJob().GetCustomer(), &logv1.MoveFinal{})
}

// absorbed are the loser of a merge, and those who became him without anybody
// having been told.
func (m *mover) absorbed(job *statev1.MoveJob) ([]*logv1.Absorbed, error) {
	c, err := events.CustomerIDFromBytes(job.GetJob().GetCustomer())
	if err != nil {
		return nil, err
	}
	v := m.p.View()
	defer v.Close()
	head, err := v.openHead(c)
	if err != nil {
		return nil, err
	}
	var all []*logv1.Absorbed
	for _, a := range head.Absorbed {
		if a.Rule < job.Number && a.Announced {
			all = append(all, a)
		}
	}
	return append(all, job.Told), nil
}

// sendLate sends late events, each in a message for its partition, and returns
// the jobs that are done by it.
func (m *mover) sendLate(ctx context.Context, late []*statev1.MoveJob) ([]*logv1.MoveJob, error) {
	out := map[int][]again{}
	var done []*logv1.MoveJob
	for _, job := range late {
		to, err := events.CustomerIDFromBytes(job.To)
		if err != nil {
			return nil, err
		}
		e, recordedAt, err := m.event(ctx, job.GetJob().GetSeq(), job.GetJob().GetIndex())
		if err != nil {
			return nil, err
		}
		m.add(out, to, job.At, job.Trail, e, recordedAt)
		done = append(done, job.Job)
	}
	moves := m.seal(&logv1.MoveJob{Kind: logv1.MoveKind_MOVE_KIND_LATE}, 0, out)
	for _, partition := range slices.Sorted(maps.Keys(moves)) {
		for _, move := range moves[partition] {
			if _, err := m.append(ctx, partition, move); err != nil {
				return nil, err
			}
		}
	}
	return done, nil
}

// append appends a message of moves, again and again until it is acknowledged or
// the context ends: twice is harmless, and a job of a million events would have
// to begin anew.
func (m *mover) append(ctx context.Context, partition int, move *logv1.Move) (uint64, error) {
	data, err := events.Seal(move)
	if err != nil {
		return 0, err
	}
	for delay := firstDelay; ; delay = min(2*delay, lastDelay) {
		seq, err := m.p.o.Log.Append(ctx, events.PartitionStream(partition), events.SubjectMoves(partition), data, events.Expect{})
		if err == nil {
			return seq, nil
		}
		err = fmt.Errorf("append moves to %s: %w", events.PartitionStream(partition), err)
		if errors.Is(err, events.ErrCorrupt) || errors.Is(err, events.ErrClosed) {
			return 0, err
		}
		if ctx.Err() == nil {
			m.p.o.Logger.Warn("moves wait for the log", "error", err, "after", delay)
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(delay):
		}
	}
}
