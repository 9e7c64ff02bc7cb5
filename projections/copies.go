package projections

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/dossier360/dossier/events"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// maxCopiesWait bounds the wait for what the log holds to be folded.
const maxCopiesWait = 5 * time.Second

// Copies are where an event was logged, by the history of its subject.
type Copies struct {
	// Found: the history holds the event itself.
	Found bool
	// Cut: the history is longer than what was searched.
	Cut bool
	// Holders are the other customers that hold a copy of it, or of a correction
	// of it.
	Holders []*logv1.Copy
	// BestID and BestIssuedAt are those of the correction that stands; "" if
	// there is none.
	BestID       string
	BestIssuedAt int64 // microseconds
}

// Copies says which other customers hold a copy of an event, or of a correction
// of it, that a customer was told of by the time of the call; claimed is its
// time, nil if that is not known. What takes it back must reach them too. It
// finds events among the newest 20,000 of a customer, and those of which the time
// is known in any history; the fold parks what takes back others. What it does not
// find of a customer to whom moves are under way it looks for when they are
// through. ErrCatchingUp: the partition has not folded the log in time, or stands
// still.
func (p *Partition) Copies(ctx context.Context, c events.CustomerID, source, eventID string, claimed *int64) (Copies, error) {
	ctx, cancel := context.WithTimeout(ctx, maxCopiesWait)
	defer cancel()
	status, err := p.Status(ctx)
	if err != nil {
		return Copies{}, err
	}
	if err := p.WaitApplied(ctx, status.Last); err != nil {
		return Copies{}, err
	}
	copies, moving, err := p.copiesNow(ctx, c, source, eventID, claimed)
	if err != nil || copies.Found || !moving {
		return copies, err
	}
	if err := p.WaitMoved(ctx, c); err != nil {
		return Copies{}, err
	}
	copies, _, err = p.copiesNow(ctx, c, source, eventID, claimed)
	return copies, err
}

// copiesNow says what is known of the copies of an event, and whether more of the
// customer's history is on its way to him.
func (p *Partition) copiesNow(ctx context.Context, c events.CustomerID, source, eventID string, claimed *int64) (copies Copies, moving bool, err error) {
	v := p.View()
	defer v.Close()
	heads, err := v.unmoved(c)
	if err != nil || len(heads) == 0 {
		return Copies{}, false, err
	}
	var entries []*statev1.Entry
	var best *statev1.Correction
	for _, head := range heads {
		found, cut, err := v.named(c, head, source, eventID, claimed)
		if err != nil {
			return Copies{}, false, err
		}
		entries, copies.Cut = append(entries, found...), copies.Cut || cut
		rows, err := v.rowsOf(c, head.Generation)
		if err != nil {
			return Copies{}, false, err
		}
		of := target{source, eventID}
		row, err := rows(of)
		if err != nil {
			return Copies{}, false, err
		}
		other, err := rows.best(of, row, logv1.Role_ROLE_SUBJECT)
		if err != nil {
			return Copies{}, false, err
		}
		if other != nil && (best == nil || compareCorrections(other, best) > 0) {
			best = other
		}
	}
	copies.Found = slices.ContainsFunc(entries, func(e *statev1.Entry) bool { return e.EventId == eventID })
	copies.BestID, copies.BestIssuedAt = best.GetBy().GetEventId(), best.GetIssuedAt()
	moving = slices.ContainsFunc(heads[0].Withheld, func(number uint64) bool { return number&refoldNumber == 0 })
	copies.Holders, err = p.holders(ctx, entries)
	return copies, moving, err
}

// holders are the other customers that the headers of entries name, each record
// read once.
func (p *Partition) holders(ctx context.Context, entries []*statev1.Entry) ([]*logv1.Copy, error) {
	slices.SortFunc(entries, func(a, b *statev1.Entry) int { return cmp.Compare(a.Seq, b.Seq) })
	var all []*logv1.Copy
	var record *logv1.Record
	for i, e := range entries {
		if i == 0 || e.Seq != entries[i-1].Seq {
			var err error
			if record, err = p.fetch(ctx, e.Seq); err != nil {
				return nil, err
			}
		}
		all = append(all, record.Events[e.Index].Header.Copies...)
	}
	return all, nil
}

// named finds the entries of an event, and of its corrections, whose subject the
// customer is, in one of his generations. It is cut where there may be more of
// them than it looked at.
func (v *View) named(c events.CustomerID, head *statev1.Head, source, eventID string, claimed *int64) (found []*statev1.Entry, cut bool, err error) {
	n, limit := 0, maxSearchedEntries
	if claimed != nil {
		limit = maxRefoldEntries
	}
	for e, err := range v.entriesOf(c, head, nil) {
		if err != nil {
			return nil, false, err
		}
		if n++; n > limit {
			break
		}
		if isNamed(e, source, eventID, claimed) {
			found = append(found, e)
		}
	}
	if claimed == nil || n <= limit {
		return found, n > limit, nil
	}
	// A void of a known time speaks about that event alone, however old.
	for e, err := range v.entriesOf(c, head, &statev1.Stamp{OccurredAt: *claimed + 1}) {
		if err != nil {
			return nil, false, err
		}
		if e.OccurredAt < *claimed {
			break
		}
		if isNamed(e, source, eventID, claimed) && !slices.ContainsFunc(found, func(o *statev1.Entry) bool { return o.Seq == e.Seq && o.Index == e.Index }) {
			found = append(found, e)
		}
	}
	return found, false, nil
}

func isNamed(e *statev1.Entry, source, eventID string, claimed *int64) bool {
	if e.Role != logv1.Role_ROLE_SUBJECT || e.Source != source {
		return false
	}
	return e.EventId == eventID && (claimed == nil || sameTime(claimed, e.ClaimedAt)) || e.Corrects == eventID
}
