package cloudevents

import (
	"encoding/base64"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/jsontree"
	"github.com/dossier360/dossier/ingest/properties"
)

// required are the attributes that every event has.
var required = [...]string{"id", "source", "specversion", "type"}

// event decodes one event.
type event struct {
	*decoder
	told told
	kept jsontree.Builder // what goes to context.other_json

	id, source  string
	typeName    string // canonical where we know it
	kind        eventsv1.Type
	time        *timestamppb.Timestamp
	corrects    string
	issuedAt    *timestamppb.Timestamp
	flags       properties.Flags
	identifiers []*eventsv1.Identifier
	// named are the members of the data that are identifiers and nothing else.
	named map[string]bool
	// surely says that the data names a person by more than an address, a number
	// or a device.
	surely bool
}

// told are the attributes that have a meaning of their own, and the data.
type told struct {
	id, source, specversion, kind, subject, time jsontree.Value
	datacontenttype, data, dataBase64            jsontree.Value
	corrects, issuedat                           jsontree.Value
}

// place is where a member goes; nil if it has no meaning. Kept says that it is
// kept as it was sent, too.
func (t *told) place(key string) (place *jsontree.Value, kept bool) {
	switch key {
	case "id":
		return &t.id, false
	case "source":
		return &t.source, true
	case "specversion":
		return &t.specversion, false
	case "type":
		return &t.kind, false
	case "subject":
		return &t.subject, true
	case "time":
		return &t.time, false
	case "datacontenttype":
		return &t.datacontenttype, true
	case "data":
		return &t.data, false
	case "data_base64":
		return &t.dataBase64, false
	case "corrects":
		return &t.corrects, false
	case "issuedat":
		return &t.issuedat, false
	}
	return nil, true
}

func (e *event) decode() (ingest.Draft, *ingest.Rejection) {
	for key, v := range e.item.Root().Members() {
		place, kept := e.told.place(key)
		if place != nil {
			*place = v
		}
		if kept && v.Given() && !(key == "datacontenttype" && v.Text() == "application/json") {
			e.kept.Add(key, v)
		}
	}
	e.flag(&e.item)
	e.named = map[string]bool{}
	for _, step := range [...]func() *ingest.Rejection{e.checkRequired, e.decodeIDs, e.decodeTimes} {
		if refused := step(); refused != nil {
			return ingest.Draft{}, refused
		}
	}
	ev, refused := e.decodeData()
	if refused != nil {
		return ingest.Draft{}, refused
	}
	e.addContext(ev)
	return ingest.Draft{Event: ev, Flags: e.flags.List(), Source: Source(e.source)}, nil
}

// flag raises what reading a text showed.
func (e *event) flag(t *jsontree.Tree) {
	if t.DuplicateKey {
		e.flags.Set(logv1.Flag_FLAG_DUPLICATE_KEY)
	}
	if t.ControlCharacters {
		e.flags.Set(logv1.Flag_FLAG_CONTROL_CHARACTERS)
	}
}

// codes are what an event without a required attribute is refused with.
var codes = map[string]ingest.Code{
	"id": ingest.CodeMissingID, "source": ingest.CodeBadType, "specversion": ingest.CodeBadType, "type": ingest.CodeMissingType,
}

func (e *event) checkRequired() *ingest.Rejection {
	t := &e.told
	var missing []string
	for i, v := range [...]jsontree.Value{t.id, t.source, t.specversion, t.kind} {
		if text, ok := properties.Text(v); !ok || strings.TrimSpace(text) == "" {
			missing = append(missing, required[i])
		}
	}
	if len(missing) > 0 {
		return ingest.Refuse(codes[missing[0]], missing[0], "id, source, specversion and type, not empty",
			"required attributes are missing, or are no text: "+strings.Join(missing, ", "))
	}
	if version := t.specversion.Text(); version != "1.0" {
		return ingest.Refuse(ingest.CodeBadType, "specversion", "1.0", "specversion is "+ingest.Shown(version)+": 1.0 wanted")
	}
	return nil
}

func (e *event) decodeIDs() *ingest.Rejection {
	e.id, e.source, e.typeName = e.told.id.Text(), e.told.source.Text(), e.told.kind.Text()
	e.corrects, _ = properties.Text(e.told.corrects)
	for _, id := range [...]struct{ field, value string }{{"id", e.id}, {"type", e.typeName}, {"corrects", e.corrects}} {
		if refused := properties.CheckID(id.field, id.value); refused != nil {
			return refused
		}
	}
	if e.kind = events.TypeByName(e.typeName); e.kind != eventsv1.Type_TYPE_CUSTOM {
		e.typeName = events.TypeName(e.kind)
	}
	return nil
}

func (e *event) decodeTimes() *ingest.Rejection {
	for _, told := range [...]struct {
		field string
		value jsontree.Value
		to    **timestamppb.Timestamp
	}{{"time", e.told.time, &e.time}, {"issuedat", e.told.issuedat, &e.issuedAt}} {
		if !told.value.Given() {
			continue
		}
		text, ok := properties.Text(told.value)
		if !ok {
			return properties.RefuseTime(told.field, told.value.Text())
		}
		t, zone, ok := properties.ParseTime(text)
		if !ok {
			return properties.RefuseTime(told.field, text)
		}
		if !zone {
			e.flags.Set(logv1.Flag_FLAG_NO_ZONE)
		}
		*told.to = timestamppb.New(t)
	}
	return nil
}

// decodeData makes the event out of the attributes and the data.
func (e *event) decodeData() (*eventsv1.Event, *ingest.Rejection) {
	media := mediaType(e.told.datacontenttype.Text())
	if !e.told.dataBase64.Given() {
		return e.fromJSON(e.told.data)
	}
	if e.told.data.Given() {
		return nil, ingest.Refuse(ingest.CodeBadType, "data_base64", "one of data and data_base64", "data and data_base64 are both given")
	}
	raw, err := decodeBase64(e.told.dataBase64.Text())
	if err != nil || e.told.dataBase64.Kind() != jsontree.String {
		return nil, ingest.Refuse(ingest.CodeBadType, "data_base64", "base64 of RFC 4648", "data_base64 is no base64: "+ingest.Shown(e.told.dataBase64.Text()))
	}
	switch {
	case isProtobuf(media):
		return e.fromProtobuf(raw)
	case isJSON(media):
		if err := e.data.Parse(string(raw), 1); err != nil {
			return nil, properties.Unreadable("data", err)
		}
		e.flag(&e.data)
		return e.fromJSON(e.data.Root())
	case media == "" && e.data.Parse(string(raw), 1) == nil:
		// Without a datacontenttype JSON is implied; what is none stays bytes.
		e.flag(&e.data)
		return e.fromJSON(e.data.Root())
	}
	return e.fromOther("data_base64", e.told.dataBase64)
}

// decodeBase64 reads base64 with or without padding, of either alphabet.
func decodeBase64(text string) ([]byte, error) {
	text = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(text), "=")
	return base64.RawStdEncoding.DecodeString(text)
}

func isJSON(media string) bool {
	return strings.HasSuffix(media, "/json") || strings.HasSuffix(media, "+json")
}

func isProtobuf(media string) bool {
	return media == "application/protobuf" || media == "application/x-protobuf"
}

// fromJSON reads data that is JSON, or absent.
func (e *event) fromJSON(data jsontree.Value) (*eventsv1.Event, *ingest.Rejection) {
	if data.Given() && data.Kind() != jsontree.Object {
		return e.fromOther("data", data)
	}
	e.identify(data)
	if len(e.identifiers) == 0 {
		return nil, e.refuseNobody()
	}
	if e.isNative(data) {
		return e.fromNative(data)
	}
	return e.fromProperties(data)
}

// fromOther keeps data that is no object. Of a type that we know something is
// wanted of the data: an order whose amount stands in XML would count as one of
// no value.
func (e *event) fromOther(name string, data jsontree.Value) (*eventsv1.Event, *ingest.Rejection) {
	if e.kind != eventsv1.Type_TYPE_CUSTOM {
		return nil, ingest.Refuse(ingest.CodeBadType, name, "a JSON object, or protobuf dossier.events.v1.Event",
			name+" of type "+ingest.Shown(e.typeName)+" is no JSON object")
	}
	if e.identify(jsontree.Value{}); len(e.identifiers) == 0 {
		return nil, e.refuseNobody()
	}
	var kept jsontree.Builder
	kept.Add(name, data)
	ev := e.new()
	ev.PropertiesJson = kept.String()
	return ev, nil
}

// new makes the event with what the attributes tell.
func (e *event) new() *eventsv1.Event {
	return &eventsv1.Event{
		Id: e.id, Type: e.typeName, Time: e.time, Corrects: e.corrects, IssuedAt: e.issuedAt, Identifiers: e.identifiers,
	}
}

// fromProperties reads data whose members are properties.
func (e *event) fromProperties(data jsontree.Value) (*eventsv1.Event, *ingest.Rejection) {
	path := "data"
	var rest jsontree.Tree
	switch traits := data.Get("traits"); {
	case properties.Payload(e.kind) == "traits" && traits.Kind() == jsontree.Object && e.only(data, "traits"):
		path, data = "data.traits", e.unwrap(data, traits)
	case len(e.named) > 0:
		var b jsontree.Builder
		for key, v := range data.Members() {
			if !e.named[key] {
				b.Add(key, v)
			}
		}
		if err := rest.Parse(string(b.Append(nil)), 1); err != nil {
			return nil, properties.Unreadable("data", err)
		}
		data = rest.Root()
	}
	ev := e.new()
	if refused := properties.Map(ev, e.kind, path, data); refused != nil {
		return nil, refused
	}
	name := func(field string) string {
		return path + strings.TrimPrefix(properties.PropertyName(field), "properties")
	}
	return ev, properties.Check(ev, e.kind, name, &e.flags)
}

// unwrap takes traits out of data that holds them as one member, as clients of
// Segment write them.
func (e *event) unwrap(data, traits jsontree.Value) jsontree.Value {
	for key, v := range data.Members() {
		if key != "traits" && !e.named[key] {
			e.kept.Add("data."+key, v)
		}
	}
	for key, v := range traits.Members() {
		if key == "email" || key == "phone" {
			e.addMember(key, v)
		}
	}
	return traits
}

// only reports whether data holds one member beside those that name somebody.
func (e *event) only(data jsontree.Value, member string) bool {
	for key := range data.Members() {
		if key != member && naming[fold(key)] == "" && !e.named[key] {
			return false
		}
	}
	return true
}

// addContext keeps the attributes that have no field.
func (e *event) addContext(ev *eventsv1.Event) {
	if ev.Context == nil {
		ev.Context = &eventsv1.Context{}
	}
	var own jsontree.Tree
	if own.Parse(ev.Context.OtherJson, 0) != nil {
		own = jsontree.Tree{} // "", for any other was read before
	}
	var all, attributes jsontree.Builder
	for key, v := range own.Root().Members() {
		all.Add(key, v)
	}
	attributes.AddText("cloudevents", e.kept.Append(nil))
	all.Join(&attributes, "attributes.")
	ev.Context.OtherJson = all.String()
}

// refuseData says that what was wrong stands in the data.
func refuseData(r *ingest.Rejection) *ingest.Rejection {
	if r.Field != "" {
		r.Field = "data." + r.Field
	} else {
		r.Field = "data"
	}
	r.Message = "data: " + r.Message
	return r
}
