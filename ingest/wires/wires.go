// Package wires knows every wire that events come on: which decoder reads what
// a path of HTTP or a content type of NATS brings, and how to read once more
// what was refused.
//
// Wire is the word for one publisher's way of telling events: "segment"
// (RudderStack's clients too), "posthog", "cloudevents" and "native", our own.
// Each has a package beside this one; here is only the table of them.
package wires

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/native"
	"github.com/dossier360/dossier/ingest/segment"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// Request is what a call brought, as far as reading it needs.
type Request struct {
	// Path without the slash at its end; of NATS the subject.
	Path string
	// MediaType is the Content-Type without its parameters, in lower case.
	MediaType string
	// Header and Query of the call; may be nil.
	Header http.Header
	Query  url.Values
	// Body, inflated. The drafts keep parts of it.
	Body []byte
}

// Wire reads calls of one kind.
type Wire struct {
	// Name is kept with what was refused.
	Name string
	// Decode reads a whole call.
	Decode func(Request) ingest.Decoded
	// Item reads one event as it stood in a call of many, so as Draft.Original
	// keeps it: one draft comes of it, and maybe one that tells more of it (see
	// [ingest.Decoded.Beside]).
	Item func(Request) ingest.Decoded
}

// paths are the wires by path.
var paths = func() map[string]Wire {
	all := map[string]Wire{"/v1/events": {"native", decodeNative, itemNative}}
	for short, call := range map[string]segment.Call{
		"i": segment.Identify, "t": segment.Track, "p": segment.Page, "s": segment.Screen,
		"g": segment.Group, "a": segment.Alias, "b": segment.Batch,
	} {
		w := Wire{
			Name:   "segment",
			Decode: func(r Request) ingest.Decoded { return segment.Decode(call, r.Body) },
			Item:   func(r Request) ingest.Decoded { return segment.DecodeItem(call, r.Body) },
		}
		all["/v1/"+short], all["/v1/"+string(call)] = w, w
	}
	all["/beacon/v1/batch"] = all["/v1/batch"] // RudderStack's browsers on their way out
	addPostHog(all)
	all["/v1/cloudevents"] = cloudEvents
	return all
}()

// ForPath is the wire of a path, without the slash at its end.
func ForPath(path string) (Wire, bool) {
	w, ok := paths[path]
	return w, ok
}

// Again reads once more what was refused, or bytes that were put in its place.
// False: the wire is not known any more.
func Again(r *logv1.Reject, body []byte) (ingest.Decoded, bool) {
	path := strings.TrimSuffix(r.Path, "/")
	w, ok := ForPath(path)
	if strings.HasPrefix(path, IntakeSubject) {
		w, ok = messages[r.Wire]
	}
	if !ok || w.Name != r.Wire {
		return ingest.Decoded{}, false
	}
	media, _, _ := strings.Cut(strings.ToLower(r.ContentType), ";")
	req := Request{Path: path, MediaType: strings.TrimSpace(media), Body: body}
	if r.Whole {
		return w.Decode(req), true
	}
	return w.Item(req), true
}

func isProtobuf(mediaType string) bool {
	return mediaType == "application/x-protobuf" || mediaType == "application/protobuf"
}

func decodeNative(r Request) ingest.Decoded {
	if isProtobuf(r.MediaType) {
		return native.DecodeProtobuf(r.Body)
	}
	return native.DecodeJSON(r.Body)
}

func itemNative(r Request) ingest.Decoded {
	if isProtobuf(r.MediaType) {
		return native.DecodeProtobufItem(r.Body)
	}
	return native.DecodeJSONItem(r.Body)
}
