package wires_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dossier360/dossier/ingest/wires"
)

// FuzzItem holds what a retry lives by: the bytes kept of a refused event, read
// again as one, are refused for the same reason; those of one that was decoded
// are of the same type and id.
func FuzzItem(f *testing.F) {
	paths := []string{"/v1/events", "/v1/batch", "/v1/track", "/v1/identify", "/v1/alias", "/batch", "/e", "/engage", "/i/v1/analytics/events", "/v1/cloudevents"}
	media := []string{"application/json", "application/x-protobuf", "application/cloudevents+json", "application/cloudevents-batch+json"}
	for _, body := range []string{
		`{"events":[{"type":"x"},{"type":"order.placed","id":"1","identifiers":[{"type":"user_id","value":"u"}],"order":{"revenue":"x"}},5,{"a":{"b":NaN}}]}`,
		`{"batch":[{"type":"track"},{"type":"track","userId":"u","event":"Order Completed","messageId":"m","properties":{"revenue":"x"}},5,[],"\ud800",{"type":"y"}],"context":{"a":1}}`,
		`{"batch":[{"event":"x"},{"event":"order completed","distinct_id":"u","uuid":"m","$set":{"a":1},"properties":{"revenue":"x"}},5,[],{"event":"E","distinct_id":"u","$set":{"a":1}}],"sent_at":"2026-01-01T00:00:00Z"}`,
		`[{"specversion":"1.0","id":"1","source":"/s","type":"x"},{"specversion":"1.0","id":"1","source":"/s","type":"order.placed","subject":"u","data":{"total":"x"}},5,[],{}]`,
		`{"userId":"u","event":"x","timestamp":"never"}`,
		"\n\x04shop\x12\x10\n\x011\x12\x01x\x1a\x08\n\x07user_id",
	} {
		for p := range paths {
			for m := range media {
				f.Add(body, uint8(p), uint8(m))
			}
		}
	}
	f.Fuzz(func(t *testing.T, body string, p, m uint8) {
		r := wires.Request{Path: paths[int(p)%len(paths)], MediaType: media[int(m)%len(media)], Body: []byte(body)}
		wire, ok := wires.ForPath(r.Path)
		if !ok {
			t.Fatalf("no wire for %s", r.Path)
		}
		decoded := wire.Decode(r)
		if decoded.Refused != nil && len(decoded.Drafts) > 0 {
			t.Fatalf("%s: refused %v, with %d drafts", r.Path, decoded.Refused, len(decoded.Drafts))
		}
		for i, draft := range decoded.Drafts {
			item := r
			item.Body = append([]byte{}, draft.Original...)
			again := wire.Item(item)
			if again.Refused != nil || again.Items() != 1 {
				t.Fatalf("%s: draft %d, %q read again: refused %v, %d drafts", r.Path, i, draft.Original, again.Refused, len(again.Drafts))
			}
			second := again.Drafts[min(i-decoded.Item(i), len(again.Drafts)-1)]
			if (draft.Refused == nil) != (second.Refused == nil) {
				t.Fatalf("%s: draft %d, %q: refused %v, and %v when read again", r.Path, i, draft.Original, draft.Refused, second.Refused)
			}
			switch {
			case draft.Refused == nil:
				if draft.Event.Id != second.Event.Id || draft.Event.Type != second.Event.Type {
					t.Fatalf("%s: draft %d, %q: %v, and %v when read again", r.Path, i, draft.Original, draft.Event, second.Event)
				}
			case strings.Contains(draft.Refused.Message, "beyond the limit"):
			default:
				draft.Refused.Index, second.Refused.Index = 0, 0
				if diff := cmp.Diff(draft.Refused, second.Refused); diff != "" {
					t.Fatalf("%s: draft %d, %q read again (-first +second):\n%s", r.Path, i, draft.Original, diff)
				}
			}
		}
	})
}
