package profile_test

import (
	"fmt"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/dossier360/dossier/projections/profile"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

func contact(i int, channel, direction string) profile.Event {
	told := &eventsv1.Interaction{Channel: channel, Direction: direction}
	return at(i, eventsv1.Type_TYPE_INTERACTION_LOGGED, &eventsv1.Event{Payload: &eventsv1.Event_Interaction{Interaction: told}})
}

// TestDirections: seen from the firm, in words that can be seen from no other
// side.
func TestDirections(t *testing.T) {
	t.Parallel()
	for told, want := range map[string]struct{ in, out uint32 }{
		"inbound": {1, 0}, "Inbound": {1, 0}, " in ": {1, 0}, "incoming": {1, 0}, "ＩＮＢＯＵＮＤ": {1, 0}, "呼入": {1, 0},
		"outbound": {0, 1}, "OUT": {0, 1}, "outgoing": {0, 1}, "呼出": {0, 1}, "\u3000outbound": {0, 1},
		"": {0, 0}, "sent": {0, 0}, "received": {0, 0}, "in bound": {0, 0}, "inbounds": {0, 0},
	} {
		_, p := inOrders(t, []profile.Event{contact(0, "call", told)})
		at := when(epoch.UnixMicro())
		want := &queryv1.Interactions{
			Count: 1, Inbound: want.in, Outbound: want.out,
			ByChannel: map[string]*queryv1.ChannelInteractions{"call": {Count: 1, Inbound: want.in, Outbound: want.out, LastAt: at}},
		}
		if want.Inbound > 0 {
			want.LastInboundAt = at
		}
		if want.Outbound > 0 {
			want.LastOutboundAt = at
		}
		if diff := gocmp.Diff(want, p.Interactions, protocmp.Transform()); diff != "" {
			t.Errorf("direction %q (-want +got):\n%s", told, diff)
		}
	}
}

// TestInteractionChannels: one channel however it is written.
func TestInteractionChannels(t *testing.T) {
	t.Parallel()
	bound := longText(0, profile.MaxLabelBytes)
	for told, want := range map[string]string{
		"call": "call", " Call\t": "call", "ＣＡＬＬ": "call", "\u3000call\u3000": "call", "拜访": "拜访", "Video Call": "video call", "ÜBER": "über",
		"": profile.OtherChannel, " ": profile.OtherChannel, "Other": profile.OtherChannel,
		bound: bound, bound + "x": bound, bound + "𠮷": bound,
	} {
		_, p := inOrders(t, []profile.Event{contact(0, told, "in")})
		if got := p.Interactions.ByChannel[want]; got.GetCount() != 1 || len(p.Interactions.ByChannel) != 1 {
			t.Errorf("channel %q: %v, want one of %q", told, p.Interactions.ByChannel, want)
		}
	}
}

// TestManyInteractionChannels: the least stay exact, and totals are of those.
func TestManyInteractionChannels(t *testing.T) {
	t.Parallel()
	var history []profile.Event
	for i := range profile.MaxKeys {
		name := fmt.Sprintf("channel %04d", i)
		history = append(history, contact(2*i, name, "in"), contact(2*i+1, name, "out"))
	}
	_, p := inOrders(t, history)
	if got := len(p.Interactions.ByChannel); got != profile.MaxKeys || isApproximate(p) {
		t.Errorf("at the bound: %d channels, want %d; approximate %t", got, profile.MaxKeys, isApproximate(p))
	}
	n := len(history)
	history = append(history, contact(n, "a channel", "in"), contact(n+1, "a channel", ""), contact(n+2, "z channel", "in"))
	_, p = inOrders(t, history)
	s := p.Interactions
	if len(s.ByChannel) != profile.MaxKeys || s.ByChannel["a channel"].GetCount() != 2 || s.ByChannel["z channel"] != nil || !isApproximate(p) {
		t.Errorf("beyond the bound: %d channels, %v of the least; approximate %t", len(s.ByChannel), s.ByChannel["a channel"], isApproximate(p))
	}
	if want := uint32(2 * profile.MaxKeys); s.Count != want || s.Inbound != want/2 || s.Outbound != want/2-1 {
		t.Errorf("beyond the bound: %d interactions, %d in, %d out, want %d, %d, %d", s.Count, s.Inbound, s.Outbound, want, want/2, want/2-1)
	}
}

func BenchmarkApplyInteraction(b *testing.B) {
	facts, rows, env := seasoned(b)
	ev := contact(800*3600, "Call", "inbound")
	b.ReportAllocs()
	for b.Loop() {
		if err := profile.Apply(facts, ev, rows, env); err != nil {
			b.Fatal(err)
		}
	}
}
