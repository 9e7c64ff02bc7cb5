package query_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/dossier360/dossier/events"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// While the log does not answer every query goes on from what is folded; the
// status says that it is what is known.
func TestLogAway(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id, _ := d.customer(7, "user_id:1")
	for _, s := range d.partitions {
		s.last, s.unheard = s.last+7, 4
		s.statusFailure = fmt.Errorf("its server is away: %w", events.ErrOverload)
	}
	client, _ := d.serve(t)
	for name, ask := range map[string]func(context.Context) (*queryv1.Freshness, error){
		"profile": func(ctx context.Context) (*queryv1.Freshness, error) {
			r, err := client.GetProfile(ctx, &queryv1.GetProfileRequest{Customer: id.String()})
			return r.GetFreshness(), err
		},
		"timeline": func(ctx context.Context) (*queryv1.Freshness, error) {
			r, err := client.GetTimeline(ctx, &queryv1.GetTimelineRequest{Customer: id.String()})
			return r.GetFreshness(), err
		},
		"count": func(ctx context.Context) (*queryv1.Freshness, error) {
			r, err := client.CountProfiles(ctx, &queryv1.CountProfilesRequest{})
			return r.GetFreshness(), err
		},
		"list": func(ctx context.Context) (*queryv1.Freshness, error) {
			r, err := client.ListProfiles(ctx, &queryv1.ListProfilesRequest{})
			return r.GetFreshness(), err
		},
	} {
		fresh, err := ask(t.Context())
		want := int64(3)
		if name == "count" || name == "list" {
			want *= partitions
		}
		if err != nil || fresh.GetLagEvents() != want {
			t.Errorf("%s: lag %d, error %v; want %d, as last heard", name, fresh.GetLagEvents(), err, want)
		}
	}
	status, err := client.GetStatus(t.Context(), &queryv1.GetStatusRequest{})
	if err != nil || !strings.Contains(status.GetLogError(), "its server is away") || len(status.GetPartitions()) != partitions {
		t.Fatalf("status: %v, error %v; want what is known, and why it is no more", status, err)
	}
	for _, p := range status.GetPartitions() {
		if p.GetLagEvents() != 3 || p.GetApplied() == 0 || p.GetLagSeconds() != 0 {
			t.Errorf("status: %v, want a lag of 3 as last heard", p)
		}
	}
	_, err = client.GetProfile(t.Context(), &queryv1.GetProfileRequest{Customer: events.CustomerID{9}.String()})
	wantCode(t, err, connect.CodeNotFound)
}
