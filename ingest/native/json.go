package native

import (
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/jsontree"
	"github.com/dossier360/dossier/ingest/properties"
)

// DecodeJSON reads the JSON form of an EventBatch. The drafts keep parts of
// body as the original bytes of their events.
func DecodeJSON(body []byte) ingest.Decoded {
	src := string(body)
	b := &batch{body: body}
	members, err := jsontree.CutObject(src)
	if err != nil {
		return ingest.Decoded{Refused: properties.Unreadable("", err)}
	}
	var list jsontree.Span
	seen := map[string]bool{}
	for _, m := range members {
		if seen[m.Key] {
			b.flags.Set(flagDuplicateKey)
		}
		seen[m.Key] = true
		if m.Key == "events" {
			list = m.Value
		} else if refused := b.member(m.Key, m.Value.Of(src)); refused != nil {
			return ingest.Decoded{Refused: refused, WriteKey: b.decoded.WriteKey}
		}
	}
	items, refused := cutEvents(src, list)
	if refused != nil {
		return ingest.Decoded{Refused: refused, WriteKey: b.decoded.WriteKey}
	}
	var tree jsontree.Tree
	return b.finish(items, func(span jsontree.Span) ingest.Draft {
		return decodeItem(&tree, span.Of(src), b.flags)
	})
}

// DecodeJSONItem reads one event as it stands in the JSON form of a batch.
func DecodeJSONItem(body []byte) ingest.Decoded {
	src := string(body)
	var tree jsontree.Tree
	b := &batch{body: body}
	return b.finish([]jsontree.Span{{End: len(body)}}, func(jsontree.Span) ingest.Draft {
		return decodeItem(&tree, src, b.flags)
	})
}

// member reads what stands beside the events.
func (b *batch) member(key, src string) *ingest.Rejection {
	var t jsontree.Tree
	if err := t.Parse(src, 1); err != nil {
		return properties.Unreadable(key, err)
	}
	text, ok := properties.Text(t.Root())
	switch {
	case key == "source" && !t.Root().Given(), (key == "sentAt" || key == "sent_at") && !t.Root().Given():
		return nil
	case key == "source" && ok:
		return b.source(text)
	case (key == "sentAt" || key == "sent_at") && ok:
		var fits bool
		if b.sent, _, fits = properties.ParseTime(text); !fits {
			return properties.RefuseTime(key, text)
		}
		return nil
	case ingest.IsWriteKey(key):
		b.decoded.TellKey(key, text)
		return nil
	case key == "source" || key == "sentAt" || key == "sent_at":
		return refuseKind(key, t.Root(), "a text")
	}
	return ingest.Refuse(ingest.CodeBadType, key, "a field of dossier.events.v1.EventBatch", "unknown field "+ingest.Shown(key))
}

// cutEvents finds the events of a batch. Their spans count from the start of
// the body.
func cutEvents(src string, list jsontree.Span) ([]jsontree.Span, *ingest.Rejection) {
	if text := list.Of(src); text == "" || text == "null" {
		return nil, nil
	}
	if refused := properties.RefuseList("events", list.Of(src)); refused != nil {
		return nil, refused
	}
	items, err := jsontree.CutArray(list.Of(src), ingest.MaxListedEvents)
	if err != nil {
		return nil, properties.Unreadable("events", err)
	}
	for i := range items {
		items[i].Start += list.Start
		items[i].End += list.Start
	}
	return items, nil
}

func decodeItem(t *jsontree.Tree, src string, flags properties.Flags) ingest.Draft {
	if err := t.Parse(src, 0); err != nil {
		r := properties.Unreadable("", err)
		r.MessageID = properties.FindID(src, func(key string) bool { return key == "id" })
		return ingest.Draft{Refused: r}
	}
	if t.DuplicateKey {
		flags.Set(flagDuplicateKey)
	}
	if t.ControlCharacters {
		flags.Set(flagControlCharacters)
	}
	r := reader{flags: flags}
	ev := &eventsv1.Event{}
	if refused := r.message("", t.Root(), ev.ProtoReflect()); refused != nil {
		refused.MessageID = properties.FindID(src, func(key string) bool { return key == "id" })
		return ingest.Draft{Refused: refused}
	}
	return complete(ev, r.properties, r.flags)
}

// reader reads the JSON of one event into its message.
type reader struct {
	flags properties.Flags
	// properties of the event; they are not read into the message, whose
	// numbers would be doubles.
	properties jsontree.Value
}

func (r *reader) message(path string, v jsontree.Value, m protoreflect.Message) *ingest.Rejection {
	if v.Kind() != jsontree.Object {
		if path == "" {
			return ingest.Refuse(ingest.CodeNotJSON, "", "a JSON object", "the event is "+v.Kind().String()+", an object wanted")
		}
		return refuseKind(path, v, "an object")
	}
	fields := m.Descriptor().Fields()
	for key, value := range v.Members() {
		at := join(path, key)
		fd := fields.ByJSONName(key)
		if fd == nil {
			fd = fields.ByTextName(key)
		}
		if fd == nil {
			return ingest.Refuse(ingest.CodeBadType, at, "a field of "+string(m.Descriptor().FullName()), "unknown field "+ingest.Shown(at))
		}
		if refused := r.field(at, value, m, fd); refused != nil {
			return refused
		}
	}
	return nil
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// field sets one field. Null is the field's default.
func (r *reader) field(at string, v jsontree.Value, m protoreflect.Message, fd protoreflect.FieldDescriptor) *ingest.Rejection {
	if !v.Given() {
		return nil
	}
	if m.Has(fd) {
		return ingest.Refuse(ingest.CodeBadType, at, "one spelling of a field", at+" is given in both its spellings")
	}
	if one := fd.ContainingOneof(); one != nil && !one.IsSynthetic() {
		if other := m.WhichOneof(one); other != nil {
			return ingest.Refuse(ingest.CodeBadType, at, "one payload",
				"the event has the payloads "+other.JSONName()+" and "+fd.JSONName()+", one wanted")
		}
	}
	if fd.FullName() == "dossier.events.v1.Event.properties" {
		if v.Kind() != jsontree.Object {
			return refuseKind(at, v, "an object")
		}
		r.properties = v
		return nil
	}
	if fd.IsList() {
		return r.list(at, v, m.Mutable(fd).List(), fd)
	}
	value, refused := r.value(at, v, m.NewField(fd), fd)
	if refused == nil {
		m.Set(fd, value)
	}
	return refused
}

func (r *reader) list(at string, v jsontree.Value, list protoreflect.List, fd protoreflect.FieldDescriptor) *ingest.Rejection {
	if v.Kind() != jsontree.Array {
		return refuseKind(at, v, "an array")
	}
	i := 0
	for item := range v.Items() {
		value, refused := r.value(at+"["+strconv.Itoa(i)+"]", item, list.NewElement(), fd)
		if refused != nil {
			return refused
		}
		list.Append(value)
		i++
	}
	return nil
}

// value reads one value of a field's kind; empty is a new value of it.
func (r *reader) value(at string, v jsontree.Value, empty protoreflect.Value, fd protoreflect.FieldDescriptor) (protoreflect.Value, *ingest.Rejection) {
	text, isText := properties.Text(v)
	switch fd.Kind() {
	case protoreflect.StringKind:
		if v.Kind() != jsontree.String && !isText {
			return empty, refuseKind(at, v, "a text")
		}
		return protoreflect.ValueOfString(text), nil
	case protoreflect.BoolKind:
		if v.Kind() != jsontree.Bool {
			return empty, refuseKind(at, v, "a boolean")
		}
		return protoreflect.ValueOfBool(v.True()), nil
	case protoreflect.Int64Kind:
		n, ok := parseInt64(text)
		if !ok {
			return empty, ingest.Refuse(ingest.CodeBadNumber, at, "a 64-bit integer", at+" is "+ingest.Shown(v.Text())+": a 64-bit integer wanted")
		}
		return protoreflect.ValueOfInt64(n), nil
	case protoreflect.MessageKind:
		return r.messageValue(at, v, empty, fd)
	}
	panic("not reached: kind " + fd.Kind().String() + " in the vocabulary")
}

func (r *reader) messageValue(at string, v jsontree.Value, empty protoreflect.Value, fd protoreflect.FieldDescriptor) (protoreflect.Value, *ingest.Rejection) {
	switch empty.Message().Interface().(type) {
	case *structpb.Struct:
		if v.Kind() != jsontree.Object {
			return empty, refuseKind(at, v, "an object")
		}
		return protoreflect.ValueOfMessage(properties.Struct(v).ProtoReflect()), nil
	case *timestamppb.Timestamp:
		text, ok := properties.Text(v)
		if !ok {
			return empty, properties.RefuseTime(at, v.Text())
		}
		t, zone, ok := properties.ParseTime(text)
		if !ok {
			return empty, properties.RefuseTime(at, text)
		}
		if !zone {
			r.flags.Set(flagNoZone)
		}
		return protoreflect.ValueOfMessage(timestamppb.New(t).ProtoReflect()), nil
	}
	return empty, r.message(at, v, empty.Message())
}

// parseInt64 reads an integer as the protobuf mapping allows it: digits, or a
// number whose fraction is nothing (1.0, 1e3).
func parseInt64(text string) (int64, bool) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, text[0] != '+'
	}
	micros, exact, err := properties.ParseMicros(text)
	if err != nil || !exact || micros%1_000_000 != 0 || strings.TrimSpace(text) != text {
		return 0, false
	}
	return micros / 1_000_000, true
}

func refuseKind(field string, v jsontree.Value, want string) *ingest.Rejection {
	return ingest.Refuse(ingest.CodeBadType, field, want, field+" is "+v.Kind().String()+", "+want+" wanted")
}
