package posthog

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
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

// event decodes one event.
type event struct {
	*decoder
	event *eventsv1.Event
	sent  time.Time
	age   time.Duration // of one without a time
	flags properties.Flags

	name  string
	typ   eventsv1.Type
	facts *eventsv1.Traits // what it sets, forgets and sets once; nil: nothing

	told  told
	given given
	other jsontree.Builder // members without a field, for context.other_json
	rest  jsontree.Builder // properties not used
}

// told are the members of an event that have a meaning of their own.
type told struct {
	name, distinctID, distinctID2, uuid      jsontree.Value
	timestamp, offset, sentAt                jsontree.Value
	properties, options, set, setOnce, unset jsontree.Value
}

func (t *told) place(key string) *jsontree.Value {
	switch key {
	case "event":
		return &t.name
	case "distinct_id":
		return &t.distinctID
	case "$distinct_id":
		return &t.distinctID2
	case "uuid":
		return &t.uuid
	case "timestamp":
		return &t.timestamp
	case "offset":
		return &t.offset
	case "sent_at":
		return &t.sentAt
	case "properties":
		return &t.properties
	case "options":
		return &t.options
	case "$set":
		return &t.set
	case "$set_once":
		return &t.setOnce
	case "$unset":
		return &t.unset
	}
	return nil
}

// given are the properties that have a meaning of their own.
type given struct {
	distinctID, anonDistinctID, deviceID, alias    property
	groups, groupType, groupKey, groupSet          property
	set, setOnce, unset                            property
	insertID, time                                 property
	currentURL, pathname, referrer, title, screen  property
	ip, userAgent, rawUserAgent, language, zone    property
	utmSource, utmMedium, utmName, utmTerm, utmAd  property
	entrySource, entryMedium, entryName, entryTerm property
	entryAd                                        property
	lib, token                                     property
	// Read, and kept like every other.
	identified, userID, profile, ignoreSentAt jsontree.Value
}

// property is one that is kept with the others unless it was used.
type property struct {
	jsontree.Value
	used bool
}

// properties are the names of those that are taken out of the others where
// they are used.
func (g *given) place(key string) *property {
	switch key {
	case "distinct_id", "$distinct_id":
		return &g.distinctID
	case "$anon_distinct_id":
		return &g.anonDistinctID
	case "$device_id":
		return &g.deviceID
	case "alias":
		return &g.alias
	case "$groups":
		return &g.groups
	case "$group_type":
		return &g.groupType
	case "$group_key":
		return &g.groupKey
	case "$group_set":
		return &g.groupSet
	case "$set":
		return &g.set
	case "$set_once":
		return &g.setOnce
	case "$unset":
		return &g.unset
	case "$insert_id":
		return &g.insertID
	case "$time":
		return &g.time
	case "token":
		return &g.token
	}
	return g.placeOfContext(key)
}

func (g *given) placeOfContext(key string) *property {
	switch key {
	case "$current_url":
		return &g.currentURL
	case "$pathname":
		return &g.pathname
	case "$referrer":
		return &g.referrer
	case "$title":
		return &g.title
	case "$screen_name":
		return &g.screen
	case "$ip":
		return &g.ip
	case "$user_agent":
		return &g.userAgent
	case "$raw_user_agent":
		return &g.rawUserAgent
	case "$browser_language":
		return &g.language
	case "$timezone":
		return &g.zone
	case "$lib":
		return &g.lib
	case "utm_source", "$utm_source":
		return &g.utmSource
	case "utm_medium", "$utm_medium":
		return &g.utmMedium
	case "utm_campaign", "$utm_campaign":
		return &g.utmName
	case "utm_term", "$utm_term":
		return &g.utmTerm
	case "utm_content", "$utm_content":
		return &g.utmAd
	case "$session_entry_utm_source":
		return &g.entrySource
	case "$session_entry_utm_medium":
		return &g.entryMedium
	case "$session_entry_utm_campaign":
		return &g.entryName
	case "$session_entry_utm_term":
		return &g.entryTerm
	case "$session_entry_utm_content":
		return &g.entryAd
	}
	return nil
}

func (e *event) decode(root jsontree.Value) *ingest.Rejection {
	for key, v := range root.Members() {
		if place := e.told.place(key); place != nil {
			*place = v
		} else if !ingest.IsWriteKey(key) && key != "$token" {
			e.other.Add(key, v)
		}
	}
	for key, v := range e.told.properties.Members() {
		if place := e.given.place(key); place != nil && place.Kind() == jsontree.Absent {
			place.Value = v
		}
		switch key {
		case "$is_identified":
			e.given.identified = v
		case "$user_id":
			e.given.userID = v
		case "$process_person_profile":
			e.given.profile = v
		case "$ignore_sent_at":
			e.given.ignoreSentAt = v
		}
	}
	e.event = &eventsv1.Event{}
	for _, step := range [...]func() *ingest.Rejection{
		e.decodeName, e.decodeID, e.decodeTimes, e.decodeWho, e.decodePayload,
	} {
		if refused := step(); refused != nil {
			return refused
		}
	}
	e.decodeFacts()
	e.decodeContext()
	return e.decodeRest()
}

func (e *event) decodeName() *ingest.Rejection {
	name, ok := properties.Text(e.told.name)
	switch {
	case (!ok || strings.TrimSpace(name) == "") && e.call == Engage:
		name = "$set"
		e.keep("event", e.told.name)
	case !ok || strings.TrimSpace(name) == "":
		return ingest.Refuse(ingest.CodeMissingEvent, "event", "not empty", "event without its name")
	}
	if refused := properties.CheckID("event", name); refused != nil {
		return refused
	}
	e.name, e.event.Type = name, name
	switch name {
	case "$pageview":
		e.typ = eventsv1.Type_TYPE_PAGE_VIEWED
	case "$screen":
		e.typ = eventsv1.Type_TYPE_SCREEN_VIEWED
	case "$identify", "$set", "$set_once", "$unset":
		e.typ = eventsv1.Type_TYPE_TRAITS_SET
	case "$create_alias", "$merge_dangerously":
		e.typ = eventsv1.Type_TYPE_IDENTITY_ALIASED
	case "$groupidentify":
		if kind, _ := properties.Text(e.given.groupType.Value); namesCompany(kind) {
			e.typ = eventsv1.Type_TYPE_GROUP_JOINED
		}
	default:
		e.typ = events.TypeByName(name)
	}
	if e.typ != eventsv1.Type_TYPE_CUSTOM {
		e.event.Type = events.TypeName(e.typ)
	}
	return nil
}

func (e *event) decodeID() *ingest.Rejection {
	id, ok := properties.Text(e.told.uuid)
	if !ok {
		e.keep("uuid", e.told.uuid)
		if id, ok = properties.Text(e.given.insertID.Value); ok {
			e.given.insertID.used = true
		}
	}
	e.event.Id = id
	return properties.CheckID("uuid", id)
}

// decodeTimes reads when it happened. Browsers tell no time, but an offset: how
// many milliseconds it was before they sent it first.
func (e *event) decodeTimes() *ingest.Rejection {
	if text, ok := properties.Text(e.told.sentAt); ok {
		sent, _, ok := properties.ParseTime(text)
		if ok {
			e.sent = sent
		} else {
			e.other.Add("sent_at", e.told.sentAt) // not understood: then at least not lost
		}
	}
	if e.given.ignoreSentAt.True() || e.told.options.Get("disable_skew_correction").True() {
		e.sent = time.Time{}
	}
	field, v := "timestamp", e.told.timestamp
	if !claims(v) {
		field, v = "properties.$time", e.given.time.Value
		e.given.time.used = claims(v)
	}
	if !claims(v) {
		e.decodeOffset()
		return nil
	}
	e.keep("offset", e.told.offset)
	text, ok := properties.Text(v)
	if !ok {
		return properties.RefuseTime(field, v.Text())
	}
	t, zone, ok := properties.ParseTime(text)
	if !ok {
		return properties.RefuseTime(field, text)
	}
	if !zone {
		e.flags.Set(flagNoZone)
	}
	e.event.Time = timestamppb.New(t)
	return nil
}

func (e *event) decodeOffset() {
	text, ok := properties.Text(e.told.offset)
	millis, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil || millis < 0 || millis > int64(maxOffset/time.Millisecond) {
		e.keep("offset", e.told.offset)
		return
	}
	e.age = time.Duration(millis) * time.Millisecond
}

// maxOffset is how long an event may have waited in a client that tells only
// this.
const maxOffset = 365 * 24 * time.Hour

// claims reports whether a value says anything: null and "" do not.
func claims(v jsontree.Value) bool {
	return v.Given() && (v.Kind() != jsontree.String || v.Text() != "")
}

// keep adds a member to what has no field, if it says anything.
func (e *event) keep(key string, v jsontree.Value) {
	if v.Given() {
		e.other.Add(key, v)
	}
}

// decodePayload fills what is told otherwise than by properties of its names.
func (e *event) decodePayload() *ingest.Rejection {
	g := &e.given
	switch {
	case e.name == "$groupidentify" && e.typ == eventsv1.Type_TYPE_GROUP_JOINED:
		return e.decodeGroup()
	case e.name == "$create_alias" || e.name == "$merge_dangerously":
		return e.decodeAlias()
	case e.typ == eventsv1.Type_TYPE_PAGE_VIEWED || e.typ == eventsv1.Type_TYPE_SCREEN_VIEWED:
		v := &eventsv1.View{Url: g.currentURL.text(), Path: g.pathname.text(), Title: g.title.text(), Name: g.screen.text()}
		if r := g.referrer.Text(); r != "$direct" {
			v.ReferrerUrl = g.referrer.text()
		}
		e.event.Payload = &eventsv1.Event_View{View: v}
	}
	return nil
}

// text is the text of a property, which is used if it has one.
func (p *property) text() string {
	s, ok := properties.Text(p.Value)
	p.used = p.used || ok
	return s
}

func (e *event) decodeGroup() *ingest.Rejection {
	g := &e.given
	id, ok := properties.Text(g.groupKey.Value)
	if !ok || strings.TrimSpace(id) == "" {
		return ingest.Refuse(ingest.CodeMissingID, "properties.$group_key", "not empty", "$groupidentify without $group_key")
	}
	if refused := properties.CheckID("properties.$group_key", id); refused != nil {
		return refused
	}
	group := &eventsv1.Group{GroupId: id, Traits: &structpb.Struct{}}
	if g.groupSet.Kind() == jsontree.Object {
		group.Traits, g.groupSet.used = properties.Struct(g.groupSet.Value), true
	}
	g.groupKey.used = true
	e.event.Payload = &eventsv1.Event_Group{Group: group}
	return nil
}

// decodeFacts reads what the event sets, sets once and forgets. What stands
// beside it outranks what stands in its properties.
func (e *event) decodeFacts() {
	g, t := &e.given, &e.told
	if !e.namesPerson() { // facts about nobody; they stay where they are
		e.keep("$set", t.set)
		e.keep("$set_once", t.setOnce)
		e.keep("$unset", t.unset)
		return
	}
	f := &eventsv1.Traits{
		Set:     e.object(&g.set, "$set", t.set),
		SetOnce: e.object(&g.setOnce, "$set_once", t.setOnce),
		Unset:   append(names(&g.unset), names(&property{Value: t.unset})...),
	}
	if len(names(&property{Value: t.unset})) == 0 {
		e.keep("$unset", t.unset)
	}
	if f.Set != nil || f.SetOnce != nil || len(f.Unset) > 0 {
		e.facts = f
	}
	named := strings.HasPrefix(e.name, "$") // else its properties are the facts
	if e.typ != eventsv1.Type_TYPE_TRAITS_SET || !named && e.facts == nil {
		return
	}
	if f.Set == nil && named {
		f.Set = &structpb.Struct{} // as an identify without traits has
	}
	e.event.Payload, e.facts = &eventsv1.Event_Traits{Traits: f}, nil
	e.identifyFacts(e.event, f)
}

// object merges an object beside the event over one in its properties; nil if
// there is neither, or nothing in them. What is none is kept.
func (e *event) object(in *property, key string, beside jsontree.Value) *structpb.Struct {
	var s *structpb.Struct
	for _, v := range [...]jsontree.Value{in.Value, beside} {
		if v.Kind() != jsontree.Object || v.Empty() {
			continue
		}
		told := properties.Struct(v)
		if s == nil {
			s = told
			continue
		}
		maps.Copy(s.Fields, told.Fields)
	}
	in.used = in.Kind() == jsontree.Object
	if beside.Kind() != jsontree.Object {
		e.keep(key, beside)
	}
	return s
}

// names are the texts of a list, or the names of an object, each once.
func names(p *property) (list []string) {
	seen := map[string]bool{}
	add := func(name string) {
		if name != "" && !seen[name] {
			seen[name] = true
			list = append(list, name)
		}
	}
	for v := range p.Items() {
		name, _ := properties.Text(v)
		add(name)
	}
	for name := range p.Members() {
		add(name)
	}
	p.used = len(list) > 0
	return list
}

// besides makes the event that tells the facts set beside another; nil if there
// are none. Its id is the other's: the type tells them apart.
func (e *event) besides() *eventsv1.Event {
	if e.facts == nil {
		return nil
	}
	beside := &eventsv1.Event{
		Id: e.event.Id, Type: events.TypeName(eventsv1.Type_TYPE_TRAITS_SET), Time: e.event.Time,
		Payload: &eventsv1.Event_Traits{Traits: e.facts},
	}
	for _, id := range e.event.Identifiers {
		if !events.NamesCompany(id.Type) && !e.formerName(id) {
			beside.Identifiers = append(beside.Identifiers, proto.CloneOf(id))
		}
	}
	e.identifyFacts(beside, e.facts)
	return beside
}

// namesPerson reports whether the event is about a person.
func (e *event) namesPerson() bool {
	return slices.ContainsFunc(e.event.Identifiers, func(id *eventsv1.Identifier) bool { return !events.NamesCompany(id.Type) })
}

// formerName reports whether an identifier is the other name of an alias: the
// facts are told of the first.
func (e *event) formerName(id *eventsv1.Identifier) bool {
	previous := e.event.GetAlias().GetPrevious()
	return previous != nil && len(e.event.Identifiers) > 1 && id.Type == previous.Type && id.Value == previous.Value
}

// decodeRest types the properties that are left and keeps the others.
func (e *event) decodeRest() *ingest.Rejection {
	if kind := e.told.properties.Kind(); kind > jsontree.Null && kind != jsontree.Object {
		e.other.Add("properties", e.told.properties)
	}
	for key, v := range e.told.properties.Members() {
		if place := e.given.place(key); place == nil || !place.used || place.Value != v {
			e.rest.Add(key, v)
		}
	}
	if !e.told.options.Empty() {
		e.keep("options", e.told.options)
	}
	if e.other.Len() > 0 {
		if e.event.Context == nil {
			e.event.Context = &eventsv1.Context{}
		}
		e.event.Context.OtherJson = e.other.String()
	}
	e.event.PropertiesJson = e.rest.String()
	if strings.HasPrefix(e.name, "$") && e.event.GetView() == nil || e.typ == eventsv1.Type_TYPE_CUSTOM || e.rest.Len() == 0 && e.event.Payload != nil {
		return properties.Check(e.event, e.typ, properties.PropertyName, &e.flags)
	}
	if e.event.PropertiesJson == "" {
		e.event.PropertiesJson = "{}"
	}
	if err := e.remaining.Parse(e.event.PropertiesJson, 1); err != nil {
		return properties.Unreadable("properties", err)
	}
	e.event.PropertiesJson = ""
	if refused := properties.Map(e.event, e.typ, "properties", e.remaining.Root()); refused != nil {
		return refused
	}
	return properties.Check(e.event, e.typ, properties.PropertyName, &e.flags)
}
