package query

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/projections"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// GetStatus implements queryv1connect.QueryServiceHandler. Unlike the others
// it answers while a partition catches up: it is how one watches that. It asks
// the log; where that does not answer it tells what is known, and that it is no
// more.
func (s *service) GetStatus(ctx context.Context, _ *queryv1.GetStatusRequest) (*queryv1.GetStatusResponse, error) {
	asking, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	resp := &queryv1.GetStatusResponse{Partitions: make([]*queryv1.PartitionStatus, len(s.Partitions))}
	var away error
	for i, p := range s.Partitions {
		var status projections.Status
		if away == nil {
			status, away = p.Status(asking)
		} else {
			status = p.Known() // one that does not answer is not asked again
		}
		resp.Partitions[i] = partitionStatus(status)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if _, meant := codeOf(away); meant {
		resp.LogError = away.Error()
	} else if away != nil {
		s.Logger.ErrorContext(ctx, "the log does not tell its end", "error", away)
		resp.LogError = "internal error; the server's log has the cause"
	}
	for _, c := range s.Rejected.Counts() {
		resp.Rejected += int64(c.Waiting)
		resp.RejectedBy = append(resp.RejectedBy, &queryv1.RejectedCount{Source: c.Source, Code: c.Code, Count: int64(c.Waiting)})
	}
	resp.Quarantined = int64(s.Directory.QuarantinedCount())
	return resp, nil
}

func partitionStatus(status projections.Status) *queryv1.PartitionStatus {
	shown := &queryv1.PartitionStatus{
		Id:         uint32(status.ID),
		Applied:    int64(status.Applied),
		Last:       int64(status.Last),
		LagEvents:  lag(status.Applied, status.Last) + int64(status.Jobs+status.Unheard),
		LagSeconds: status.LagSeconds,
		Parked:     uint32(status.Parked),
	}
	if !status.Settled.IsZero() {
		shown.LogTime = timestamppb.New(status.Settled)
	}
	return shown
}

// Tick implements queryv1connect.QueryServiceHandler.
func (s *service) Tick(ctx context.Context, req *queryv1.TickRequest) (*queryv1.TickResponse, error) {
	if clock := s.Genesis.GetClock(); clock != "events" {
		return nil, refuse(errPrecondition, "tick: this deployment runs on clock %q, where time moves by itself; only clock \"events\" is moved by hand", clock)
	}
	if req.GetTo() == nil {
		return nil, refuse(errInvalid, "to: absent; an instant (2024-12-31T23:59:59Z) wanted")
	}
	if err := req.GetTo().CheckValid(); err != nil {
		return nil, refuse(errInvalid, "to: %v", err)
	}
	to := req.GetTo().AsTime()
	if limit := time.Now().Add(maxTickAhead); to.After(limit) {
		return nil, refuse(errInvalid, "to: %s is more than %v ahead of now, and log time never goes back: everybody would be lost for good",
			to.Format(time.RFC3339), maxTickAhead)
	}
	group, ticking := errgroup.WithContext(ctx)
	for _, p := range s.Partitions {
		group.Go(func() error {
			if err := p.TickTo(ticking, to); err != nil {
				return fmt.Errorf("tick partition %d: %w", p.ID(), err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	sn := s.snapshot()
	defer sn.close()
	settled := sn.views[0].Settled()
	for _, v := range sn.views[1:] {
		settled = min(settled, v.Settled())
	}
	return &queryv1.TickResponse{Settled: instant(settled)}, nil
}
