package wires

import (
	"bytes"
	"strings"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/cloudevents"
	"github.com/dossier360/dossier/ingest/jsontree"
	"github.com/dossier360/dossier/ingest/native"
)

// IntakeSubject begins the subjects on which events come over NATS; after it
// stands their source. Such a subject is the path of what was refused of them.
const IntakeSubject = "dossier.intake."

// Media types of our own wire.
const (
	jsonType     = "application/json"
	protobufType = "application/protobuf"
)

// messages are the wires of NATS, by name. A message differs from a call by
// what may stand in it: the JSON of our wire is one event, or a batch.
var messages = map[string]Wire{
	"native":      {Name: "native", Decode: decodeMessage, Item: itemNative},
	"cloudevents": cloudEvents,
}

// ForMessage finds the wire of a NATS message by its headers, or, if they do
// not tell, by its first byte, which differs between the kinds; r.MediaType is
// then what was found. False: the Content-Type is of no wire; what then comes
// back is the wire to try such a message again by.
func ForMessage(r *Request) (Wire, bool) {
	name := "native"
	switch {
	case strings.HasPrefix(r.MediaType, "application/cloudevents") || cloudevents.IsBinary(r.Header):
		name = "cloudevents"
	case r.MediaType == "":
		name, r.MediaType = sniff(r.Body)
	case r.MediaType != jsonType && !isProtobuf(r.MediaType):
		return messages[name], false
	}
	return messages[name], true
}

// sniff tells what a message without a Content-Type is. No EventBatch begins
// like JSON: behind its first field's tag, which is a line feed, stands the
// length of a source, and then the source.
func sniff(body []byte) (wire, mediaType string) {
	switch trimmed := bytes.TrimLeft(body, " \t\r\n"); {
	case bytes.HasPrefix(trimmed, []byte("[")):
		return "cloudevents", cloudevents.BatchType
	case !bytes.HasPrefix(trimmed, []byte("{")):
		return "native", protobufType
	case members(body)["specversion"]:
		return "cloudevents", cloudevents.StructuredType
	}
	return "native", jsonType
}

// decodeMessage reads a message of our own wire.
func decodeMessage(r Request) ingest.Decoded {
	if isProtobuf(r.MediaType) || !isEvent(r.Body) {
		return decodeNative(r)
	}
	decoded := native.DecodeJSONItem(r.Body)
	decoded.Single = true
	return decoded
}

// isEvent reports whether JSON is an event rather than a batch of them.
func isEvent(body []byte) bool {
	has := members(body)
	return !has["events"] && (has["type"] || has["identifiers"])
}

// members are the names in a JSON object; none of what is no such object.
func members(body []byte) map[string]bool {
	list, err := jsontree.CutObject(string(body))
	if err != nil {
		return nil
	}
	names := make(map[string]bool, len(list))
	for _, m := range list {
		names[m.Key] = true
	}
	return names
}
