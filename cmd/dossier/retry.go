package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/front"
	"github.com/dossier360/dossier/projections"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// retryParked tries parked events again: each partition its own, through the
// gateway.
func (e *engine) retryParked(ctx context.Context, r front.ParkedRetry) (front.ParkedRetried, error) {
	var done front.ParkedRetried
	asked, err := e.parkedAsked(r, &done)
	if err != nil {
		return done, err
	}
	seqs := map[int]uint64{}
	outcomes := map[events.Position]projections.Retried{}
	for p, at := range asked {
		if len(at) == 0 {
			continue
		}
		append := func(ctx context.Context, record *logv1.Record) (uint64, error) {
			return e.gateway.Repeat(ctx, p, record)
		}
		retried, seq, err := e.partitions[p].RetryParked(ctx, at, append)
		if errors.Is(err, projections.ErrCatchingUp) {
			err = fmt.Errorf("%w: %w", ingest.ErrNotReady, err)
		}
		if err != nil {
			return done, fmt.Errorf("retry parked events of partition %d: %w", p, err)
		}
		if seq > 0 {
			seqs[p] = seq
		}
		for _, one := range retried {
			outcomes[one.Position] = one
		}
	}
	for i := range done.Outcomes {
		if pos, err := events.ParsePosition(done.Outcomes[i].ID); err == nil {
			done.Outcomes[i].Outcome, done.Outcomes[i].Reason = outcomes[pos].Outcome, outcomes[pos].Reason
		}
	}
	done.Receipt = ingest.FormatReceipt(seqs)
	return done, nil
}

// parkedAsked are the positions asked for, by partition; it lists them in done.
func (e *engine) parkedAsked(r front.ParkedRetry, done *front.ParkedRetried) ([][]events.Position, error) {
	switch {
	case r.All && len(r.IDs) > 0, !r.All && len(r.IDs) == 0:
		return nil, fmt.Errorf("%w: ids, or all: one of them", front.ErrBadRetry)
	case len(r.IDs) > projections.MaxRetried:
		return nil, fmt.Errorf("%w: %d ids, limit %d", front.ErrBadRetry, len(r.IDs), projections.MaxRetried)
	case r.All:
		return e.allParked(r.After, done)
	}
	asked := make([][]events.Position, len(e.partitions))
	for _, id := range r.IDs {
		pos, err := e.parkedPosition(id)
		if err != nil {
			return nil, err
		}
		asked[pos.Partition] = append(asked[pos.Partition], pos)
		done.Outcomes = append(done.Outcomes, front.ParkedOutcome{ID: id})
	}
	return asked, nil
}

func (e *engine) parkedPosition(id string) (events.Position, error) {
	pos, err := events.ParsePosition(id)
	if err != nil {
		return pos, fmt.Errorf("%w: %w", front.ErrBadRetry, err)
	}
	if pos.Partition >= len(e.partitions) {
		return pos, fmt.Errorf("%w: position %q: partition %d, there are %d", front.ErrBadRetry, id, pos.Partition, len(e.partitions))
	}
	return pos, nil
}

// allParked are as many as one call takes, behind a position.
func (e *engine) allParked(after string, done *front.ParkedRetried) ([][]events.Position, error) {
	from := events.Position{}
	if after != "" {
		var err error
		if from, err = e.parkedPosition(after); err != nil {
			return nil, err
		}
		from.Index++
	}
	asked := make([][]events.Position, len(e.partitions))
	for p := from.Partition; p < len(e.partitions); p++ {
		view := e.partitions[p].View()
		defer view.Close()
		for parked, err := range view.Parked(from.Seq, from.Index) {
			if errors.Is(err, projections.ErrCatchingUp) {
				err = fmt.Errorf("%w: %w", ingest.ErrNotReady, err)
			}
			if err != nil {
				return nil, fmt.Errorf("parked events of partition %d: %w", p, err)
			}
			if n := len(done.Outcomes); n == projections.MaxRetried {
				done.Next = done.Outcomes[n-1].ID
				return asked, nil
			}
			pos := events.Position{Partition: p, Epoch: view.Checkpoint().GetEpoch(), Seq: parked.Seq, Index: parked.Index}
			asked[p] = append(asked[p], pos)
			done.Outcomes = append(done.Outcomes, front.ParkedOutcome{ID: pos.String()})
		}
		from = events.Position{}
	}
	return asked, nil
}
