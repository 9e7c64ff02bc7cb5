package query_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/dossier360/dossier/events"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
	"github.com/dossier360/dossier/query"
)

// A day and an hour are those of the deployment's zone, however a filter asks
// for them; whoever names a zone has that one.
func TestClocksOfTheZone(t *testing.T) {
	t.Parallel()
	spans, err := events.ZoneSpans("Asia/Shanghai")
	if err != nil {
		t.Fatal(err)
	}
	zone, err := events.NewZone(spans)
	if err != nil {
		t.Fatal(err)
	}
	d := newDesk(t)
	for _, s := range d.partitions {
		s.env.Zone = zone
	}
	seen := time.Date(2025, 12, 31, 16, 30, 0, 0, time.UTC) // half past midnight of New Year in Shanghai
	d.add(events.CustomerID{0: 1, 15: 1}, &statev1.Head{Facts: &statev1.Facts{LastSeenAt: seen.UnixMicro()}})
	client, _ := d.serve(t)
	for _, filter := range []string{
		`lastSeenAt >= timestamp("2026-01-01")`, `lastSeenAt.getFullYear() == 2026`, `lastSeenAt.getMonth() == 0`, `lastSeenAt.getDate() == 1`,
		`lastSeenAt.getDayOfMonth() == 0`, `lastSeenAt.getDayOfYear() == 0`, `lastSeenAt.getDayOfWeek() == 4`, `lastSeenAt.getHours() == 0`,
		`lastSeenAt.getMinutes() == 30 && lastSeenAt.getSeconds() == 0`, `timestamp("2026-01-01").getHours() == 0`,
		`lastSeenAt.getFullYear("UTC") == 2025`, `lastSeenAt.getHours("UTC") == 16`, `duration("1d2h").getHours() == 26`,
		`(identified ? now : lastSeenAt).getFullYear() == 2026`,
	} {
		n, err := client.CountProfiles(t.Context(), &queryv1.CountProfilesRequest{Filter: filter})
		if err != nil || n.GetCount() != 1 {
			t.Errorf("%s: %d, %v; want 1", filter, n.GetCount(), err)
		}
	}
}

// Fields inside of what was told as JSON may be asked for; what is left is JSON
// still.
func TestFieldsInsideTraits(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	trait := func(name, value string) *statev1.TraitFact {
		return &statev1.TraitFact{Name: name, ValueJson: value, Stamp: &statev1.Stamp{Source: "crm"}}
	}
	id := events.CustomerID{0: 1, 15: 1}
	d.add(id, &statev1.Head{Facts: &statev1.Facts{Traits: []*statev1.TraitFact{
		trait("address", `{"city":"Berlin","zip":"1","geo":{"lat":52,"lon":13}}`), trait("city", `"Berlin"`), trait("tags", `["a"]`),
	}}})
	client, _ := d.serve(t)
	address := func(value map[string]any) map[string]*queryv1.Trait {
		v, err := structpb.NewValue(value)
		if err != nil {
			t.Fatal(err)
		}
		return map[string]*queryv1.Trait{"address": {Value: v}}
	}
	for _, tc := range []struct {
		field string
		want  map[string]*queryv1.Trait
	}{
		{"traits.address.value.city", address(map[string]any{"city": "Berlin"})},
		{"traits.address.value.geo.lat", address(map[string]any{"geo": map[string]any{"lat": 52}})},
		{"traits.address.value.geo", address(map[string]any{"geo": map[string]any{"lat": 52, "lon": 13}})},
		{"traits.address.value.zip.code", address(map[string]any{})},
		{"traits.address.value.none", address(map[string]any{})},
		{"traits.city.value.name", map[string]*queryv1.Trait{"city": {}}},
		{"traits.tags.value", map[string]*queryv1.Trait{"tags": {Value: structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{structpb.NewStringValue("a")}})}}},
	} {
		resp, err := client.ListProfiles(t.Context(), &queryv1.ListProfilesRequest{Fields: []string{tc.field}})
		if err != nil {
			t.Fatal(err)
		}
		want := []*queryv1.Profile{{CustomerId: id.String(), Traits: tc.want}}
		if diff := cmp.Diff(want, resp.GetProfiles(), protocmp.Transform()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.field, diff)
		}
		if _, err := protojson.Marshal(resp); err != nil {
			t.Errorf("%s as JSON: %v", tc.field, err)
		}
	}
}

// Whoever waits no longer gets no answer, also of fewer rows than are looked at
// before anybody asks.
func TestFewRowsStopWithTheirCaller(t *testing.T) {
	t.Parallel()
	d := peopled(t, 1)
	service := query.NewService(d.options)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 { // a place among the lists is given at random to whoever has left
		_, err := service.CountProfiles(ctx, &queryv1.CountProfilesRequest{Filter: "identified"})
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v, want it stopped", err)
		}
	}
}
