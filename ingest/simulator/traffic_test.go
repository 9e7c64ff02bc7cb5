package simulator_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/dossier360/dossier/ingest/segment"
	"github.com/dossier360/dossier/ingest/simulator"
)

// Load has the shape that it says: as many events as asked for, all taken, each
// with its own id, a fifth of strangers, few orders, few users that do much.
func TestTraffic(t *testing.T) {
	t.Parallel()
	traffic := simulator.Traffic{Seed: 7, End: end, Events: 10_050, Users: 1_000}
	var (
		events, orders, strangers int
		ids, users                = map[string]bool{}, map[string]int{}
	)
	for call := range traffic.Calls(100) {
		decoded := segment.Decode(segment.Batch, call.Body)
		if decoded.Refused != nil || len(decoded.Drafts) != call.Events {
			t.Fatalf("a call of %d events: %d, %v", call.Events, len(decoded.Drafts), decoded.Refused)
		}
		for _, d := range decoded.Drafts {
			if d.Refused != nil || len(d.Flags) > 0 || !d.Event.GetTime().AsTime().Before(end) {
				t.Fatalf("refused %v, flags %v, at %v", d.Refused, d.Flags, d.Event.GetTime().AsTime())
			}
			events++
			ids[d.Event.GetId()] = true
			if d.Event.GetOrder() != nil {
				orders++
			}
			if id := d.Event.GetIdentifiers()[0]; id.GetType() == "anonymous_id" {
				strangers++
			} else {
				users[id.GetValue()]++
			}
		}
	}
	if events != 10_050 || len(ids) != events {
		t.Errorf("%d events with %d ids, want 10,050", events, len(ids))
	}
	if strangers < events/6 || strangers > events/4 || orders < events/80 || orders > events/30 {
		t.Errorf("%d strangers and %d orders of %d events", strangers, orders, events)
	}
	if len(users) < 200 || users["user-0"] < events/50 {
		t.Errorf("%d users, the busiest with %d events", len(users), users["user-0"])
	}
	if first, second := hashOf(traffic.Calls(100)), hashOf(traffic.Calls(100)); first != second {
		t.Error("the same seed gave other bytes")
	}
}

// The calls are what the wire documents.
func TestTrafficCall(t *testing.T) {
	t.Parallel()
	for call := range (simulator.Traffic{End: end, Events: 1}).Calls(1) {
		var body struct{ Batch []map[string]any }
		if err := json.Unmarshal(call.Body, &body); err != nil || len(body.Batch) != 1 || !strings.HasPrefix(body.Batch[0]["messageId"].(string), "load-0-") {
			t.Errorf("%s: %v", call.Body, err)
		}
	}
}
