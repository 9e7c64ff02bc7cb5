package wires

import (
	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/posthog"
)

// posthogPaths are where PostHog's clients send their events, the old ones too.
var posthogPaths = map[string]posthog.Call{
	"/batch":                 posthog.Batch,
	"/e":                     posthog.Capture,
	"/i/v0/e":                posthog.Capture,
	"/i/v0/ai/batch":         posthog.Batch,
	"/capture":               posthog.Capture,
	"/track":                 posthog.Capture,
	"/engage":                posthog.Engage,
	"/i/v1/analytics/events": posthog.Batch,
}

// addPostHog adds the wire to the paths.
func addPostHog(all map[string]Wire) {
	for path, call := range posthogPaths {
		all[path] = Wire{
			Name: "posthog",
			Decode: func(r Request) ingest.Decoded {
				return posthog.Decode(call, r.Body, posthog.Sent(r.Header, r.Query))
			},
			Item: func(r Request) ingest.Decoded { return posthog.DecodeItem(call, r.Body) },
		}
	}
}
