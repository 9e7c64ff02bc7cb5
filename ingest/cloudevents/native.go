package cloudevents

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/jsontree"
	"github.com/dossier360/dossier/ingest/native"
	"github.com/dossier360/dossier/ingest/properties"
)

// field finds a field by either of its spellings in JSON, nil if there is none.
func field(m protoreflect.MessageDescriptor, key string) protoreflect.FieldDescriptor {
	if fd := m.Fields().ByJSONName(key); fd != nil {
		return fd
	}
	return m.Fields().ByTextName(key)
}

// isNative reports whether data is a dossier.events.v1.Event rather than
// properties that happen to be called like its fields.
func (e *event) isNative(data jsontree.Value) bool {
	message := (&eventsv1.Event{}).ProtoReflect().Descriptor()
	telling := false
	for key, v := range data.Members() {
		fd := field(message, key)
		switch {
		case fd == nil && naming[fold(key)] == "":
			return false
		case fd == nil:
		case fd.Name() == "properties" && v.Kind() == jsontree.Object, fd.Name() == "properties_json" && v.Kind() == jsontree.String:
			telling = true
		case fd.ContainingOneof() != nil:
			if string(fd.Name()) != properties.Payload(e.kind) || !fieldsOnly(fd.Message(), v) {
				return false
			}
			telling = true
		}
	}
	return telling
}

// fieldsOnly reports whether a value is an object of nothing but fields of a
// message.
func fieldsOnly(m protoreflect.MessageDescriptor, v jsontree.Value) bool {
	if v.Kind() != jsontree.Object {
		return false
	}
	for key := range v.Members() {
		if field(m, key) == nil {
			return false
		}
	}
	return true
}

// fromNative reads data that is an event of ours in JSON.
func (e *event) fromNative(data jsontree.Value) (*eventsv1.Event, *ingest.Rejection) {
	message := (&eventsv1.Event{}).ProtoReflect().Descriptor()
	var b jsontree.Builder
	b.AddText("id", jsontree.AppendString(nil, e.id))
	b.AddText("type", jsontree.AppendString(nil, e.typeName))
	b.AddText("identifiers", appendIdentifiers(nil, e.identifiers))
	for key, v := range data.Members() {
		fd := field(message, key)
		switch {
		case e.named[key]:
		case fd == nil, // an address or a number, which is an identifier now
			fd.Name() == "id" || fd.Name() == "type" || fd.Name() == "identifiers",
			fd.Name() == "time" && e.time != nil, fd.Name() == "corrects" && e.corrects != "", fd.Name() == "issued_at" && e.issuedAt != nil:
			e.kept.Add("data."+key, v) // what the attribute says counts
		default:
			b.Add(key, v)
		}
	}
	return e.complete(native.DecodeJSONItem(b.Append(nil)))
}

func appendIdentifiers(dst []byte, ids []*eventsv1.Identifier) []byte {
	dst = append(dst, '[')
	for i, id := range ids {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = jsontree.AppendString(append(dst, `{"type":`...), id.Type)
		dst = jsontree.AppendString(append(dst, `,"value":`...), id.Value)
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// fromProtobuf reads data that is an event of ours in protobuf.
func (e *event) fromProtobuf(raw []byte) (*eventsv1.Event, *ingest.Rejection) {
	ev := &eventsv1.Event{}
	if err := proto.Unmarshal(raw, ev); err != nil {
		return e.complete(native.DecodeProtobufItem(raw)) // which tells why
	}
	for _, id := range ev.Identifiers {
		e.add(id.GetType(), id.GetValue())
		e.surely = true
	}
	if e.identify(jsontree.Value{}); len(e.identifiers) == 0 {
		return nil, e.refuseNobody()
	}
	ev.Id, ev.Type, ev.Identifiers = e.id, e.typeName, e.identifiers
	raw, err := proto.Marshal(ev)
	if err != nil {
		return nil, ingest.Refuse(ingest.CodeNotUTF8, "data_base64", "", "data_base64: "+err.Error())
	}
	return e.complete(native.DecodeProtobufItem(raw))
}

// complete adds to an event that was read as one of ours what the attributes
// tell.
func (e *event) complete(decoded ingest.Decoded) (*eventsv1.Event, *ingest.Rejection) {
	if decoded.Refused != nil {
		return nil, refuseData(decoded.Refused)
	}
	draft := &decoded.Drafts[0]
	if draft.Refused != nil {
		return nil, refuseData(draft.Refused)
	}
	for _, flag := range draft.Flags {
		e.flags.Set(flag)
	}
	ev := draft.Event
	if e.time != nil {
		ev.Time = e.time
	}
	if e.corrects != "" {
		ev.Corrects = e.corrects
	}
	if e.issuedAt != nil {
		ev.IssuedAt = e.issuedAt
	}
	return ev, nil
}
