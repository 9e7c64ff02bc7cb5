package identity

import (
	"context"
	"fmt"
	"time"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/query"
)

const (
	// MaxPapers bounds the calls at once that fold histories on paper: each holds
	// up to projections.MaxPaperBytes of them.
	MaxPapers = 2
	// MaxPaperWait bounds how long a call waits for its turn, MaxPaperTime what
	// it takes then.
	MaxPaperWait = 10 * time.Second
	MaxPaperTime = 30 * time.Second
)

// onPaper calls fn with the histories of customers, each as of the last commit
// of his partition.
func (s *service) onPaper(ctx context.Context, customers []events.CustomerID, fn func(*projections.Paper) error) error {
	waiting, cancel := context.WithTimeout(ctx, MaxPaperWait)
	defer cancel()
	select {
	case s.papers <- struct{}{}:
		defer func() { <-s.papers }()
	case <-waiting.Done():
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return query.Busy("%d previews are being made, which is the limit, and none ended within %v; ask again shortly", MaxPapers, MaxPaperWait)
	}
	ctx, cancel = context.WithTimeout(ctx, MaxPaperTime)
	defer cancel()
	paper := &projections.Paper{}
	for _, c := range customers {
		if _, err := s.customers.Outline(c); err != nil { // his partition may be on its way
			return err
		}
		if err := paper.Add(ctx, s.partitions[c.Partition(len(s.partitions))], c); err != nil {
			return fmt.Errorf("preview: %w", err)
		}
	}
	return fn(paper)
}

// sketchTogether shows what customers would be as one.
func (s *service) sketchTogether(ctx context.Context, winner events.CustomerID, customers []events.CustomerID) (shown *queryv1.Profile, err error) {
	kind, err := s.directory.Kind(winner)
	if err != nil {
		return nil, err
	}
	err = s.onPaper(ctx, customers, func(paper *projections.Paper) error {
		shown, err = s.sketch(paper, winner, kind, nil)
		return err
	})
	return shown, err
}

// sketchApart shows the two sides of a split: who was split, and the other.
func (s *service) sketchApart(ctx context.Context, split *logv1.Split, from, to events.CustomerID) (shown []*queryv1.Profile, err error) {
	kind, err := s.directory.Kind(from)
	if err != nil {
		return nil, err
	}
	moves := func(h *logv1.Header) bool { return projections.Selects(split, h) }
	stays := func(h *logv1.Header) bool { return !moves(h) }
	err = s.onPaper(ctx, []events.CustomerID{from}, func(paper *projections.Paper) error {
		stayed, err := s.sketch(paper, from, kind, stays)
		if err != nil {
			return err
		}
		moved, err := s.sketch(paper, to, kind, moves)
		shown = []*queryv1.Profile{stayed, moved}
		return err
	})
	return shown, err
}

func (s *service) sketch(paper *projections.Paper, id events.CustomerID, kind logv1.CustomerKind, takes func(*logv1.Header) bool) (*queryv1.Profile, error) {
	env, err := s.customers.Env()
	if err != nil {
		return nil, err
	}
	facts, err := paper.Fold(takes, env)
	if err != nil {
		return nil, fmt.Errorf("preview of customer %s: %w", id, err)
	}
	return s.customers.Sketch(id, kind, facts)
}
