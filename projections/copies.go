package projections

import (
	"context"
	"errors"
	"time"

	"github.com/dossier360/dossier/events"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// maxCopiesWait bounds the wait for what the log holds to be folded.
const maxCopiesWait = 5 * time.Second

// Copies says which other customers hold a copy of an event, or of a correction
// of it, that a customer was told of by the time of the call; claimed is its
// time, nil if that is not known. What takes it back must reach them too. It finds events in the
// newest 1,000 of a customer, and those of which the time is known in any
// history; the fold parks what takes back others. ErrCatchingUp: the partition
// has not folded the log in time, or stands still.
func (p *Partition) Copies(ctx context.Context, c events.CustomerID, source, eventID string, claimed *int64) ([]*logv1.Copy, error) {
	ctx, cancel := context.WithTimeout(ctx, maxCopiesWait)
	defer cancel()
	status, err := p.Status(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.WaitApplied(ctx, status.Last); err != nil {
		return nil, err
	}
	v := p.View()
	defer v.Close()
	entries, err := v.named(c, source, eventID, claimed)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var copies []*logv1.Copy
	for _, e := range entries {
		record, err := p.fetch(ctx, e.Seq)
		if err != nil {
			return nil, err
		}
		copies = append(copies, record.Events[e.Index].Header.Copies...)
	}
	return copies, nil
}

// named finds the entries of an event, and of its corrections, whose subject the
// customer is.
func (v *View) named(c events.CustomerID, source, eventID string, claimed *int64) ([]*statev1.Entry, error) {
	var found []*statev1.Entry
	if claimed != nil { // a void: it speaks about that event alone
		at := &statev1.Stamp{OccurredAt: *claimed + 1}
		for e, err := range v.Entries(c, at) {
			if err != nil {
				return nil, err
			}
			if e.OccurredAt < *claimed {
				break
			}
			if isNamed(e, source, eventID, claimed) {
				found = append(found, e)
			}
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	n := 0
	for e, err := range v.Entries(c, nil) {
		if err != nil {
			return nil, err
		}
		if n++; n > maxRefoldEntries {
			break
		}
		if isNamed(e, source, eventID, claimed) {
			found = append(found, e)
		}
	}
	return found, nil
}

func isNamed(e *statev1.Entry, source, eventID string, claimed *int64) bool {
	if e.Role != logv1.Role_ROLE_SUBJECT || e.Source != source {
		return false
	}
	return e.EventId == eventID && (claimed == nil || sameTime(claimed, e.ClaimedAt)) || e.Corrects == eventID
}
