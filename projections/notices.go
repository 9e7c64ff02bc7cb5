package projections

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dossier360/dossier/events"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// The notice writer of a partition appends what the fold needs to hear beside
// events: rules, in order, and ticks. Two writers do no harm: a relay is
// applied once, a tick only moves time.

// idleTick is how long log time may stand still with nothing due.
const idleTick = time.Hour

// runNotices writes notices until the context ends. It begins when the fold
// has reached the log's end as of now: what it would write may be there.
func (p *Partition) runNotices(ctx context.Context) error {
	info, err := p.o.Log.Info(ctx, p.stream)
	if err == nil {
		err = p.WaitApplied(ctx, info.Last)
	}
	lastTick := p.o.Now()
	for ctx.Err() == nil {
		if err == nil {
			err = p.notice(ctx, &lastTick)
		}
		if err == nil || ctx.Err() != nil {
			continue
		}
		if errors.Is(err, events.ErrCorrupt) {
			return nil // the fold reports it
		}
		p.o.Logger.Warn("notice not written, trying again", "error", err)
		err = nil
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil
}

// notice writes the next notice when its time has come and waits until it is
// folded; or it waits for a change.
func (p *Partition) notice(ctx context.Context, lastTick *time.Time) error {
	s, changed := p.watch()
	if errors.Is(s.err, events.ErrCorrupt) {
		return s.err
	}
	relays, newRules, err := p.o.Rules.after(ctx, p.o.Log, s.ruleSeq)
	if err != nil {
		return err
	}
	if len(relays) > 0 {
		return p.write(ctx, &logv1.Notice{Notice: &logv1.Notice_Relays{Relays: &logv1.Relays{Relays: relays}}})
	}
	wait, ok := p.untilTick(s, *lastTick)
	if ok && wait <= 0 {
		*lastTick = p.o.Now()
		to := int64(0)
		if p.o.Genesis.Clock == events.ClockEvents {
			to = s.logTime // a pacing tick repeats it
		}
		return p.write(ctx, &logv1.Notice{Notice: &logv1.Notice_Tick{Tick: &logv1.Tick{To: to}}})
	}
	var due <-chan time.Time
	if ok {
		t := time.NewTimer(wait)
		defer t.Stop()
		due = t.C
	}
	select {
	case <-changed:
	case <-newRules:
	case <-due:
	case <-ctx.Done():
	}
	return nil
}

// untilTick is how long to wait for the next tick; ok is false if none comes by
// itself. While anything is pending ticks go back to back: that is the pacing.
func (p *Partition) untilTick(s state, lastTick time.Time) (wait time.Duration, ok bool) {
	if s.pending() {
		return 0, true
	}
	if p.o.Genesis.Clock == events.ClockEvents {
		return 0, false
	}
	at := events.FromMicros(s.logTime).Add(idleTick)
	if held := lastTick.Add(p.o.Tick); at.Before(held) {
		at = held // the log's clock may be behind ours
	}
	if s.earliest != 0 {
		due := events.FromMicros(s.earliest)
		if held := lastTick.Add(p.o.Tick); due.Before(held) {
			due = held // so that timers close together share a tick
		}
		if due.Before(at) {
			at = due
		}
	}
	return at.Sub(p.o.Now()), true
}

// write appends a notice and waits until it is folded. A crash in between
// leaves a notice that the next writer would write again: harmless.
func (p *Partition) write(ctx context.Context, n *logv1.Notice) error {
	data, err := events.Seal(n)
	if err != nil {
		return err
	}
	seq, err := p.o.Log.Append(ctx, p.stream, events.SubjectNotices(p.o.ID), data, events.Expect{})
	if err != nil {
		return fmt.Errorf("append notice to %s: %w", p.stream, err)
	}
	return p.WaitApplied(ctx, seq)
}

// ErrClock says that ticks are not for hand where the deployment runs on clock
// "wall".
var ErrClock = errors.New("projections: this log runs on clock wall: its time moves by itself")

// TickTo moves log time to `to` and waits until the partition has settled
// there. Only on clock "events", else ErrClock.
func (p *Partition) TickTo(ctx context.Context, to time.Time) error {
	if p.o.Genesis.Clock != events.ClockEvents {
		return ErrClock
	}
	at := events.Micros(to)
	if s, _ := p.watch(); s.logTime < at {
		err := p.write(ctx, &logv1.Notice{Notice: &logv1.Notice_Tick{Tick: &logv1.Tick{To: at}}})
		if err != nil {
			return err
		}
	}
	return p.WaitSettled(ctx, at) // the notice writer paces what is pending
}
