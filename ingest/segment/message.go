package segment

import (
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/jsontree"
	"github.com/dossier360/dossier/ingest/properties"
)

const (
	flagDuplicateKey      = logv1.Flag_FLAG_DUPLICATE_KEY
	flagControlCharacters = logv1.Flag_FLAG_CONTROL_CHARACTERS
	flagNoZone            = logv1.Flag_FLAG_NO_ZONE
)

// message decodes one event.
type message struct {
	*decoder
	root  jsontree.Value
	event *eventsv1.Event
	sent  time.Time
	flags properties.Flags
	// sentRead says that the item's own sentAt was understood.
	sentRead bool

	told  told
	other jsontree.Builder // what goes to context.other_json
}

// told are the members of a message that have a meaning of their own.
type told struct {
	kind, userID, anonymousID, messageID, previousID, groupID jsontree.Value
	timestamp, originalTimestamp, sentAt                      jsontree.Value
	event, name, category                                     jsontree.Value
	properties, traits, context, integrations                 jsontree.Value
	corrects, issuedAt                                        jsontree.Value // of our own
}

// place is where the member of this key goes; nil if it has no meaning.
func (t *told) place(key string) *jsontree.Value {
	switch key {
	case "type":
		return &t.kind
	case "userId":
		return &t.userID
	case "anonymousId":
		return &t.anonymousID
	case "messageId":
		return &t.messageID
	case "previousId":
		return &t.previousID
	case "groupId":
		return &t.groupID
	case "timestamp":
		return &t.timestamp
	case "originalTimestamp":
		return &t.originalTimestamp
	case "sentAt":
		return &t.sentAt
	case "event":
		return &t.event
	case "name":
		return &t.name
	case "category":
		return &t.category
	case "properties":
		return &t.properties
	case "traits":
		return &t.traits
	case "context":
		return &t.context
	case "integrations":
		return &t.integrations
	case "corrects":
		return &t.corrects
	case "issuedAt":
		return &t.issuedAt
	}
	return nil
}

func (m *message) decode(call Call) *ingest.Rejection {
	for key, v := range m.root.Members() {
		if place := m.told.place(key); place != nil {
			*place = v
		} else if !ingest.IsWriteKey(key) {
			m.other.Add(key, v)
		}
	}
	m.event = &eventsv1.Event{}
	for _, step := range [...]func() *ingest.Rejection{
		func() *ingest.Rejection { return m.decodeType(&call) },
		m.decodeIDs,
		m.decodeTimes,
		m.decodeCorrection,
		func() *ingest.Rejection { return m.decodeCall(call) },
	} {
		if refused := step(); refused != nil {
			return refused
		}
	}
	m.keepRest(call)
	m.decodeContext()
	return nil
}

// decodeType finds the call of an item, which the path tells of a single one.
func (m *message) decodeType(call *Call) *ingest.Rejection {
	if *call != "" {
		return nil
	}
	kind, ok := properties.Text(m.told.kind)
	if !ok {
		return ingest.Refuse(ingest.CodeMissingType, "type", callNames, "type is missing: "+callNames+" wanted")
	}
	switch c := Call(kind); c {
	case Identify, Track, Page, Screen, Group, Alias:
		*call = c
		return nil
	}
	return ingest.Refuse(ingest.CodeBadType, "type", callNames, "type is "+ingest.Shown(kind)+": "+callNames+" wanted")
}

func (m *message) decodeIDs() *ingest.Rejection {
	id, _ := properties.Text(m.told.messageID)
	if refused := properties.CheckID("messageId", id); refused != nil {
		return refused
	}
	m.event.Id = id
	for _, told := range [...]struct {
		field, typ string
		value      jsontree.Value
	}{{"userId", "user_id", m.told.userID}, {"anonymousId", "anonymous_id", m.told.anonymousID}} {
		value, ok := properties.Text(told.value)
		if !ok || strings.TrimSpace(value) == "" {
			continue
		}
		if refused := properties.CheckID(told.field, value); refused != nil {
			return refused
		}
		m.identify(told.typ, value)
	}
	if len(m.event.Identifiers) == 0 {
		return m.refuseNobody()
	}
	return nil
}

// refuseNobody says why the event names nobody: clients that send an id of the
// wrong kind believe to have given one.
func (m *message) refuseNobody() *ingest.Rejection {
	var message strings.Builder
	message.WriteString("neither userId nor anonymousId is given")
	for _, told := range [...]struct {
		field string
		value jsontree.Value
	}{{"userId", m.told.userID}, {"anonymousId", m.told.anonymousID}} {
		switch kind := told.value.Kind(); kind {
		case jsontree.Bool, jsontree.Array, jsontree.Object:
			message.WriteString("; " + told.field + " is " + kind.String() + ", a string or a number wanted")
		}
	}
	return ingest.Refuse(ingest.CodeMissingID, "userId", "userId or anonymousId, not empty", message.String())
}

// identify adds an identifier once, up to the limit. It reports whether the
// event now tells it.
func (m *message) identify(typ, value string) bool {
	for _, id := range m.event.Identifiers {
		if id.Type == typ && id.Value == value {
			return true
		}
	}
	if len(m.event.Identifiers) >= ingest.MaxIdentifiers {
		return false
	}
	m.event.Identifiers = append(m.event.Identifiers, &eventsv1.Identifier{Type: typ, Value: value})
	return true
}

func (m *message) decodeTimes() *ingest.Rejection {
	m.sent = m.envelope.sent
	if text, ok := properties.Text(m.told.sentAt); ok {
		if sent, _, ok := properties.ParseTime(text); ok {
			m.sent, m.sentRead = sent, true
		}
	}
	field, v := "timestamp", m.told.timestamp
	if !claims(v) {
		field, v = "originalTimestamp", m.told.originalTimestamp
	} else {
		m.keep("originalTimestamp", m.told.originalTimestamp)
	}
	if !claims(v) {
		return nil
	}
	text, ok := properties.Text(v)
	if !ok {
		return properties.RefuseTime(field, v.Text())
	}
	t, zone, ok := properties.ParseTime(text)
	if !ok {
		return properties.RefuseTime(field, text)
	}
	if !zone {
		m.flags.Set(flagNoZone)
	}
	m.event.Time = timestamppb.New(t)
	return nil
}

// decodeCorrection reads which event this one corrects. That stands around the
// event and not in its properties, whose names are the publisher's own.
func (m *message) decodeCorrection() *ingest.Rejection {
	m.event.Corrects, _ = properties.Text(m.told.corrects)
	if refused := properties.CheckID("corrects", m.event.Corrects); refused != nil {
		return refused
	}
	if m.event.Corrects == "" || !claims(m.told.issuedAt) {
		return nil
	}
	text, ok := properties.Text(m.told.issuedAt)
	if !ok {
		return properties.RefuseTime("issuedAt", m.told.issuedAt.Text())
	}
	issued, zone, ok := properties.ParseTime(text)
	if !ok {
		return properties.RefuseTime("issuedAt", text)
	}
	if !zone {
		m.flags.Set(flagNoZone)
	}
	m.event.IssuedAt = timestamppb.New(issued)
	return nil
}

// claims reports whether a value says anything: null and "" do not.
func claims(v jsontree.Value) bool {
	return v.Given() && (v.Kind() != jsontree.String || v.Text() != "")
}

// keep adds a member to what has no field, if it says anything.
func (m *message) keep(key string, v jsontree.Value) {
	if v.Given() {
		m.other.Add(key, v)
	}
}

func (m *message) decodeCall(call Call) *ingest.Rejection {
	switch call {
	case Track:
		return m.track()
	case Page:
		return m.view(eventsv1.Type_TYPE_PAGE_VIEWED)
	case Screen:
		return m.view(eventsv1.Type_TYPE_SCREEN_VIEWED)
	case Identify:
		return m.traits()
	case Group:
		return m.group()
	case Alias:
		return m.alias()
	}
	panic("not reached: call " + string(call))
}

func (m *message) track() *ingest.Rejection {
	name, ok := properties.Text(m.told.event)
	if !ok || strings.TrimSpace(name) == "" {
		return ingest.Refuse(ingest.CodeMissingEvent, "event", "not empty", "track without the name of its event")
	}
	if refused := properties.CheckID("event", name); refused != nil {
		return refused
	}
	t := events.TypeByName(name)
	if m.event.Type = name; t != eventsv1.Type_TYPE_CUSTOM {
		m.event.Type = events.TypeName(t)
	}
	return m.mapProperties(t)
}

// mapProperties types the properties and holds them against the rules.
func (m *message) mapProperties(t eventsv1.Type) *ingest.Rejection {
	if refused := properties.Map(m.event, t, "properties", m.told.properties); refused != nil {
		return refused
	}
	return properties.Check(m.event, t, properties.PropertyName, &m.flags)
}

func (m *message) view(t eventsv1.Type) *ingest.Rejection {
	m.event.Type = events.TypeName(t)
	v := &eventsv1.View{}
	v.Name, _ = properties.Text(m.told.name)
	v.Category, _ = properties.Text(m.told.category)
	m.event.Payload = &eventsv1.Event_View{View: v}
	return m.mapProperties(t)
}

func (m *message) traits() *ingest.Rejection {
	m.event.Type = events.TypeName(eventsv1.Type_TYPE_TRAITS_SET)
	traits := m.told.traits
	if !traits.Given() { // RudderStack's browsers tell them in the context alone
		traits = m.told.context.Get("traits")
	}
	m.event.Payload = &eventsv1.Event_Traits{Traits: &eventsv1.Traits{Set: properties.Struct(traits)}}
	for _, name := range [...]string{"email", "phone"} {
		value, ok := properties.Text(traits.Get(name))
		if ok && strings.TrimSpace(value) != "" && properties.CheckID(name, value) == nil {
			m.identify(name, value)
		}
	}
	return nil
}

func (m *message) group() *ingest.Rejection {
	m.event.Type = events.TypeName(eventsv1.Type_TYPE_GROUP_JOINED)
	g := &eventsv1.Group{Traits: properties.Struct(m.told.traits)}
	g.GroupId, _ = properties.Text(m.told.groupID)
	m.event.Payload = &eventsv1.Event_Group{Group: g}
	if refused := properties.CheckID("groupId", g.GroupId); refused != nil {
		return refused
	}
	return properties.Check(m.event, eventsv1.Type_TYPE_GROUP_JOINED, func(string) string { return "groupId" }, &m.flags)
}

// alias joins the previous id to the others of the message. Clients name the
// current user as his own previous id: that joins nothing.
func (m *message) alias() *ingest.Rejection {
	m.event.Type = events.TypeName(eventsv1.Type_TYPE_IDENTITY_ALIASED)
	previous, ok := properties.Text(m.told.previousID)
	if !ok || strings.TrimSpace(previous) == "" {
		return ingest.Refuse(ingest.CodeMissingID, "previousId", "not empty", "alias without previousId")
	}
	if refused := properties.CheckID("previousId", previous); refused != nil {
		return refused
	}
	id := &eventsv1.Identifier{Type: m.previousType(previous), Value: previous}
	m.identify(id.Type, id.Value)
	m.event.Payload = &eventsv1.Event_Alias{Alias: &eventsv1.Alias{Previous: id}}
	return nil
}

// previousType guesses what a previous id is: the wire does not tell. It is
// mostly the anonymous id from before a login; an address of e-mail says what
// it is.
func (m *message) previousType(previous string) string {
	if userID, _ := properties.Text(m.told.userID); userID == previous {
		return "user_id"
	}
	if at := strings.IndexByte(previous, '@'); at > 0 && at < len(previous)-1 {
		return "email"
	}
	return "anonymous_id"
}

// keepRest keeps the members that have a meaning, only not in this call, and
// those whose value is of the wrong kind.
func (m *message) keepRest(call Call) {
	t, v := &m.told, m.event.GetView()
	if call != Track {
		m.keep("event", t.event)
	}
	m.keepUnlessText("name", t.name, v != nil)
	m.keepUnlessText("category", t.category, v != nil)
	m.keepUnlessText("groupId", t.groupID, call == Group)
	m.keepUnlessText("previousId", t.previousID, call == Alias)
	m.keepUnlessText("userId", t.userID, true)
	m.keepUnlessText("anonymousId", t.anonymousID, true)
	m.keepUnlessText("messageId", t.messageID, true)
	m.keepUnlessText("corrects", t.corrects, true)
	if m.event.IssuedAt == nil {
		m.keep("issuedAt", t.issuedAt)
	}
	m.keepUnlessObject("traits", t.traits, call == Identify || call == Group)
	if call == Track || v != nil {
		m.keepUnlessObject("properties", t.properties, true)
	} else if !t.properties.Empty() {
		m.keep("properties", t.properties)
	}
	if claims(t.sentAt) && !m.sentRead {
		m.keep("sentAt", t.sentAt) // not understood: then at least not lost
	}
}

func (m *message) keepUnlessText(key string, v jsontree.Value, used bool) {
	if _, ok := properties.Text(v); !ok || !used {
		m.keep(key, v)
	}
}

func (m *message) keepUnlessObject(key string, v jsontree.Value, used bool) {
	if v.Kind() != jsontree.Object || !used {
		m.keep(key, v)
	}
}
