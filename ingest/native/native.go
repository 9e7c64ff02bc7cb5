package native

import (
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/jsontree"
	"github.com/dossier360/dossier/ingest/properties"
)

// sourceLimit is what the refusal of a source names.
const sourceLimit = "[a-z0-9_-]{1,40}"

// batch is the state of decoding one call.
type batch struct {
	body    []byte
	decoded ingest.Decoded
	sent    time.Time
	flags   properties.Flags // of what stands around the events
}

// finish bounds the events of a call and decodes each of those within the
// bound.
func (b *batch) finish(items []jsontree.Span, decode func(jsontree.Span) ingest.Draft) ingest.Decoded {
	switch {
	case len(items) == 0:
		b.decoded.Refused = ingest.Refuse(ingest.CodeEmptyBatch, "events", "at least 1 event", "events is empty or missing")
		return b.decoded
	case len(items) > ingest.MaxListedEvents:
		b.decoded.Refused = tooMany("events has more than " + strconv.Itoa(ingest.MaxListedEvents) + " items")
		return b.decoded
	}
	b.decoded.Drafts = make([]ingest.Draft, len(items))
	for i, span := range items {
		d := &b.decoded.Drafts[i]
		switch n := span.End - span.Start; {
		case i >= ingest.MaxBatchEvents:
			d.Refused = tooMany("event " + strconv.Itoa(i+1) + " is beyond the limit")
		case n > ingest.MaxEventBytes:
			limit := strconv.Itoa(ingest.MaxEventBytes) + " bytes"
			d.Refused = ingest.Refuse(ingest.CodeTooLarge, "", limit,
				"the event has "+strconv.Itoa(n)+" bytes, limit "+limit)
		default:
			*d = decode(span)
			d.Sent = b.sent
		}
		d.Original = b.body[span.Start:span.End:span.End]
		if d.Refused != nil {
			d.Refused.Index = i
			d.Event = nil
		}
	}
	return b.decoded
}

func tooMany(message string) *ingest.Rejection {
	return ingest.Refuse(ingest.CodeTooLarge, "events", strconv.Itoa(ingest.MaxBatchEvents)+" events", message)
}

// source checks the name that the publisher gives itself.
func (b *batch) source(name string) *ingest.Rejection {
	if name != "" && !ingest.ValidSource(name) {
		return ingest.Refuse(ingest.CodeBadType, "source", sourceLimit,
			"source is "+ingest.Shown(name)+": "+sourceLimit+" wanted")
	}
	b.decoded.Source = name
	return nil
}

// complete checks an event, types its properties and makes the draft of it.
// The properties are absent where the event has none.
func complete(ev *eventsv1.Event, props jsontree.Value, flags properties.Flags) ingest.Draft {
	refused := check(ev, props, &flags)
	if refused != nil {
		if len(ev.Id) <= ingest.MaxIDCharacters {
			refused.MessageID = ev.Id
		}
		return ingest.Draft{Refused: refused}
	}
	ev.Properties = nil
	return ingest.Draft{Event: ev, Flags: flags.List()}
}

func check(ev *eventsv1.Event, props jsontree.Value, flags *properties.Flags) *ingest.Rejection {
	for _, step := range [...]func(*eventsv1.Event) *ingest.Rejection{checkIDs, checkIdentifiers, checkTimes, canonicalJSON} {
		if refused := step(ev); refused != nil {
			return refused
		}
	}
	return checkPayload(ev, props, flags)
}

func checkIDs(ev *eventsv1.Event) *ingest.Rejection {
	for _, id := range [...]struct{ field, value string }{{"id", ev.Id}, {"type", ev.Type}, {"corrects", ev.Corrects}} {
		if refused := properties.CheckID(id.field, id.value); refused != nil {
			return refused
		}
	}
	if ev.Type == "" {
		return ingest.Refuse(ingest.CodeMissingType, "type", "not empty", "type is missing")
	}
	return nil
}

func checkIdentifiers(ev *eventsv1.Event) *ingest.Rejection {
	if len(ev.Identifiers) == 0 {
		return ingest.Refuse(ingest.CodeMissingID, "identifiers", "at least 1", "no identifier is given")
	}
	if n := len(ev.Identifiers); n > ingest.MaxIdentifiers {
		limit := strconv.Itoa(ingest.MaxIdentifiers) + " identifiers"
		return ingest.Refuse(ingest.CodeTooLarge, "identifiers", limit,
			"the event has "+strconv.Itoa(n)+" identifiers, limit "+limit)
	}
	for i, id := range ev.Identifiers {
		if refused := checkIdentifier("identifiers["+strconv.Itoa(i)+"]", id); refused != nil {
			return refused
		}
	}
	for _, other := range [...]struct {
		field string
		id    *eventsv1.Identifier
	}{
		{"referral.referee", ev.GetReferral().GetReferee()}, {"referral.referrer", ev.GetReferral().GetReferrer()},
		{"alias.previous", ev.GetAlias().GetPrevious()},
	} {
		if other.id == nil {
			continue
		}
		if refused := checkIdentifier(other.field, other.id); refused != nil {
			return refused
		}
	}
	return nil
}

func checkIdentifier(field string, id *eventsv1.Identifier) *ingest.Rejection {
	const limit = "[a-z0-9_]{1,40}"
	switch {
	case !properties.ValidIdentifierType(id.GetType()):
		return ingest.Refuse(ingest.CodeBadType, field+".type", limit,
			field+".type is "+ingest.Shown(id.GetType())+": "+limit+" wanted")
	case id.Value == "":
		return ingest.Refuse(ingest.CodeMissingID, field+".value", "not empty", field+".value is empty")
	}
	return properties.CheckID(field+".value", id.Value)
}

func checkTimes(ev *eventsv1.Event) *ingest.Rejection {
	// Of the times, only those that stand for the event are bounded below: a
	// void may name whatever was claimed.
	if t := ev.Time; t != nil && (t.CheckValid() != nil || t.AsTime().Before(ingest.EarliestTime)) {
		return properties.RefuseTime("time", timeText(t))
	}
	if t := ev.IssuedAt; t != nil && (t.CheckValid() != nil || t.AsTime().Before(ingest.EarliestTime)) {
		return properties.RefuseTime("issuedAt", timeText(t))
	}
	if t := ev.GetVoid().GetTime(); t != nil && t.CheckValid() != nil {
		return properties.RefuseTime("void.time", timeText(t))
	}
	return nil
}

// canonicalJSON brings the JSON that an event carries as text into the form
// that the gateway keeps.
func canonicalJSON(ev *eventsv1.Event) *ingest.Rejection {
	if refused := canonicalObject("propertiesJson", &ev.PropertiesJson); refused != nil {
		return refused
	}
	if ev.Context == nil {
		return nil
	}
	return canonicalObject("context.otherJson", &ev.Context.OtherJson)
}

func canonicalObject(field string, text *string) *ingest.Rejection {
	if *text == "" {
		return nil
	}
	var t jsontree.Tree
	if err := t.Parse(*text, 1); err != nil {
		return properties.Unreadable(field, err)
	}
	if kind := t.Root().Kind(); kind != jsontree.Object {
		return ingest.Refuse(ingest.CodeBadType, field, "a JSON object", field+" is "+kind.String()+", an object wanted")
	}
	if *text = string(t.Root().AppendCanonical(nil)); *text == "{}" {
		*text = ""
	}
	return nil
}

func checkPayload(ev *eventsv1.Event, props jsontree.Value, flags *properties.Flags) *ingest.Rejection {
	t := events.TypeByName(ev.Type)
	if t != eventsv1.Type_TYPE_CUSTOM {
		ev.Type = events.TypeName(t)
	}
	given, want := payloadName(ev), properties.Payload(t)
	if given != "" && given != want {
		if want == "" {
			want = "no payload"
		}
		return ingest.Refuse(ingest.CodeBadType, given, want,
			"type "+ingest.Shown(ev.Type)+" with payload "+given+": "+want+" wanted")
	}
	var name properties.FieldName = properties.PropertyName
	switch {
	case given != "":
		mergeProperties(ev, props)
		name = fieldName(ev, given)
	default:
		kept := ev.PropertiesJson
		if refused := properties.Map(ev, t, "properties", props); refused != nil {
			return refused
		}
		ev.PropertiesJson = merge(ev.PropertiesJson, kept)
	}
	if refused := properties.CheckAmounts("", ev.ProtoReflect(), flags); refused != nil {
		return refused
	}
	return properties.Check(ev, t, name, flags)
}

// payloadName is the name of the payload that is set, "" if none is.
func payloadName(ev *eventsv1.Event) string {
	m := ev.ProtoReflect()
	fd := m.WhichOneof(m.Descriptor().Oneofs().ByName("payload"))
	if fd == nil {
		return ""
	}
	return string(fd.Name())
}

// fieldName says what a field of a typed payload is called on this wire.
func fieldName(ev *eventsv1.Event, payload string) properties.FieldName {
	fields := ev.ProtoReflect().Descriptor().Fields().ByTextName(payload).Message().Fields()
	return func(field string) string {
		for _, name := range [...]string{field, field + "_micros"} {
			if fd := fields.ByTextName(name); fd != nil {
				return payload + "." + fd.JSONName()
			}
		}
		return payload + "." + field
	}
}

// mergeProperties keeps the properties of an event that has a typed payload.
func mergeProperties(ev *eventsv1.Event, props jsontree.Value) {
	if !props.Empty() {
		ev.PropertiesJson = merge(string(props.AppendCanonical(nil)), ev.PropertiesJson)
	}
}

// merge joins two canonical objects; the members of the first stand.
func merge(first, second string) string {
	if first == "" || second == "" {
		return first + second
	}
	var a, b jsontree.Tree
	if a.Parse(first, 0) != nil || b.Parse(second, 0) != nil {
		panic("not reached: canonical JSON")
	}
	var joined jsontree.Builder
	for key, v := range a.Root().Members() {
		joined.Add(key, v)
	}
	for key, v := range b.Root().Members() {
		if !joined.Has(key) {
			joined.Add(key, v)
		}
	}
	return joined.String()
}

// timeText shows a time that may be out of range.
func timeText(t *timestamppb.Timestamp) string {
	if t.CheckValid() == nil {
		return t.AsTime().Format(time.RFC3339Nano)
	}
	return strconv.FormatInt(t.GetSeconds(), 10) + " s " + strconv.FormatInt(int64(t.GetNanos()), 10) + " ns since 1970"
}

const (
	flagDuplicateKey      = logv1.Flag_FLAG_DUPLICATE_KEY
	flagControlCharacters = logv1.Flag_FLAG_CONTROL_CHARACTERS
	flagNoZone            = logv1.Flag_FLAG_NO_ZONE
)
