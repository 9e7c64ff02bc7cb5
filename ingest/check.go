package ingest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/dossier360/dossier/events"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// maxTypeCharacters bounds the name of a custom event.
const maxTypeCharacters = MaxIDCharacters

// item is a draft on its way: refused, or with all that its log entry needs
// but the address.
type item struct {
	refused  *Rejection
	source   string
	id       string
	minted   bool
	typ      eventsv1.Type
	name     string // of a custom event
	corrects string
	voids    *voided
	times    times
	flags    []logv1.Flag
	body     []byte
	force    bool // an alias that joins whatever the two hold
	subject  party
	others   []party // nil of nearly every event
}

// voided is what an event.voided takes back.
type voided struct {
	id      string
	claimed *int64 // nil: whatever its time
}

// check looks at every draft of a batch before anything is decided for one:
// what is refused makes no customer.
func (g *Gateway) check(b *Batch) []item {
	items := make([]item, len(b.Drafts))
	for i := range b.Drafts {
		d, it := &b.Drafts[i], &items[i]
		it.source = b.source(i)
		switch {
		case d.Refused != nil:
			it.refused = d.Refused
		case i >= MaxBatchEvents:
			it.refused = Refuse(CodeTooLarge, "", strconv.Itoa(MaxBatchEvents),
				fmt.Sprintf("event %d of the batch, limit %d", i+1, MaxBatchEvents))
		case d.Event == nil:
			it.refused = Refuse(CodeNotJSON, "", "", "no event")
		default:
			it.refused = g.checkDraft(b, d, it)
		}
		if it.refused != nil {
			it.refused.Index = i
			if it.refused.MessageID == "" && !it.minted {
				it.refused.MessageID = cmp.Or(it.id, d.Event.GetId())
			}
		}
	}
	return items
}

// checkDraft holds an event against the rules that are common to all wires,
// in the order in which they are most telling, and prepares its entry.
func (g *Gateway) checkDraft(b *Batch, d *Draft, it *item) *Rejection {
	e := d.Event
	if n := len(d.Original); n > MaxEventBytes {
		return refuseSize(n)
	}
	if refused := it.checkType(e); refused != nil {
		return refused
	}
	if refused := it.checkIDs(e); refused != nil {
		return refused
	}
	if refused := it.identify(g.o.Directory, e); refused != nil {
		return refused
	}
	var refused *Rejection
	if it.times, refused = g.clock.stamp(d, b.FirstReceived); refused != nil {
		return refused
	}
	if refused := checkProperties(e); refused != nil {
		return refused
	}
	if it.id == "" {
		it.id, it.minted = g.o.Minter.Mint().String(), true
	}
	it.flags = d.Flags
	return it.pack(e)
}

func refuseSize(n int) *Rejection {
	return Refuse(CodeTooLarge, "", strconv.Itoa(MaxEventBytes), fmt.Sprintf("event of %d bytes, limit %d", n, MaxEventBytes))
}

// checkType finds the type and writes its canonical name into the event.
func (it *item) checkType(e *eventsv1.Event) *Rejection {
	if e.Type == "" {
		return Refuse(CodeMissingType, "type", "", "type is missing")
	}
	if !utf8.ValidString(e.Type) {
		return Refuse(CodeNotUTF8, "type", "", "type is not UTF-8")
	}
	if n := utf8.RuneCountInString(e.Type); n > maxTypeCharacters {
		return Refuse(CodeBadType, "type", strconv.Itoa(maxTypeCharacters),
			fmt.Sprintf("type of %d characters, limit %d", n, maxTypeCharacters))
	}
	it.typ = events.TypeByName(e.Type)
	if name := events.TypeName(it.typ); name != "" {
		e.Type = name
	} else {
		it.name = e.Type
	}
	return nil
}

// checkIDs takes the event's own id and the one it corrects.
func (it *item) checkIDs(e *eventsv1.Event) *Rejection {
	for _, id := range [...]struct{ field, value string }{
		{"id", e.Id}, {"corrects", e.Corrects}, {"void.event_id", e.GetVoid().GetEventId()},
	} {
		if !utf8.ValidString(id.value) {
			return Refuse(CodeNotUTF8, id.field, "", id.field+" is not UTF-8")
		}
		if n := utf8.RuneCountInString(id.value); n > MaxIDCharacters {
			return refuseLong(id.field, n)
		}
	}
	if it.typ == eventsv1.Type_TYPE_EVENT_VOIDED && e.Corrects != "" {
		return Refuse(CodeBadType, "corrects", "empty", "corrects is "+Shown(e.Corrects)+" of a void: tell the event again under another id")
	}
	if e.Corrects != "" && e.Corrects == e.Id {
		return Refuse(CodeBadType, "corrects", "another id", "corrects is "+Shown(e.Corrects)+", the event's own id: a correction has an id of its own")
	}
	it.id, it.corrects = e.Id, e.Corrects
	if v := e.GetVoid(); v != nil && it.typ == eventsv1.Type_TYPE_EVENT_VOIDED {
		it.voids = &voided{id: v.EventId}
		if v.Time != nil {
			it.voids.claimed = new(events.Micros(v.Time.AsTime()))
		}
	}
	return nil
}

func refuseLong(field string, n int) *Rejection {
	return Refuse(CodeIDTooLong, field, strconv.Itoa(MaxIDCharacters),
		fmt.Sprintf("%s of %d characters, limit %d", field, n, MaxIDCharacters))
}

// checkProperties refuses numbers that are none, and turns properties that a
// wire left as a structure into JSON.
func checkProperties(e *eventsv1.Event) *Rejection {
	for _, s := range [...]struct {
		field string
		value *structpb.Struct
	}{{"properties", e.Properties}, {"traits", e.GetTraits().GetSet()}, {"set_once", e.GetTraits().GetSetOnce()}, {"traits", e.GetGroup().GetTraits()}} {
		if refused := checkStruct(s.field, s.value, 1); refused != nil {
			return refused
		}
	}
	if e.Properties == nil {
		return nil
	}
	all := map[string]any{}
	if e.PropertiesJson != "" {
		if err := json.Unmarshal([]byte(e.PropertiesJson), &all); err != nil {
			return Refuse(CodeNotJSON, "properties_json", "", "properties_json is no JSON object: "+err.Error())
		}
	}
	for name, v := range e.Properties.AsMap() {
		if _, told := all[name]; !told {
			all[name] = v
		}
	}
	text, err := json.Marshal(all) // names sorted
	if err != nil {
		return Refuse(CodeNotJSON, "properties", "", "properties: "+err.Error())
	}
	e.PropertiesJson, e.Properties = string(text), nil
	return nil
}

func checkStruct(field string, s *structpb.Struct, depth int) *Rejection {
	for name, v := range s.GetFields() {
		if refused := checkValue(field+"."+name, v, depth); refused != nil {
			return refused
		}
	}
	return nil
}

func checkValue(field string, v *structpb.Value, depth int) *Rejection {
	if depth > MaxDepth {
		return Refuse(CodeTooDeep, "", strconv.Itoa(MaxDepth), fmt.Sprintf("nested deeper than %d", MaxDepth))
	}
	switch v := v.GetKind().(type) {
	case *structpb.Value_NumberValue:
		if math.IsNaN(v.NumberValue) || math.IsInf(v.NumberValue, 0) {
			return Refuse(CodeBadNumber, field, "", fmt.Sprintf("%s is %v", field, v.NumberValue))
		}
	case *structpb.Value_StructValue:
		return checkStruct(field, v.StructValue, depth+1)
	case *structpb.Value_ListValue:
		for _, e := range v.ListValue.GetValues() {
			if refused := checkValue(field, e, depth+1); refused != nil {
				return refused
			}
		}
	}
	return nil
}

// deterministic, so that two copies of an event are equal bytes: the fold
// compares them by their hash.
var deterministic = proto.MarshalOptions{Deterministic: true}

// pack makes the body: the event without what the header holds.
func (it *item) pack(e *eventsv1.Event) *Rejection {
	e.Id, e.Time, e.Corrects, e.IssuedAt = "", nil, "", nil
	var err error
	if it.body, err = deterministic.Marshal(e); err != nil {
		return Refuse(CodeNotUTF8, "", "", "event: "+err.Error())
	}
	if n := len(it.body); n > MaxEventBytes {
		return refuseSize(n)
	}
	return nil
}

// logged makes the log entry of an addressed event for one of its parties.
func (it *item) logged(to *party) *logv1.LoggedEvent {
	h := &logv1.Header{
		Customer: to.address.Customer[:], CustomerKind: to.address.Kind,
		Role: to.role, Type: it.typ, Source: it.source,
		EventId: it.id, MintedId: it.minted,
		ClaimedAt: it.times.claimed, OccurredAt: it.times.occurred,
		Corrected: it.times.corrected, Clamped: it.times.clamped, Assigned: it.times.assigned,
		Corrects: it.corrects, IssuedAt: it.times.issued, Flags: it.flags,
		Identifiers: make([]*logv1.HashedIdentifier, len(to.identifiers)),
		Leaves:      to.leaves, Until: to.until, Withdraws: to.withdraws, Held: to.held, Trail: to.trail,
	}
	for i := range to.identifiers {
		id := &to.identifiers[i]
		h.Identifiers[i] = &logv1.HashedIdentifier{Type: id.Type, Hash: id.Hash[:], Other: to.address.Others&(1<<i) != 0}
	}
	if len(it.others) > 0 {
		it.mention(h, to)
	}
	return &logv1.LoggedEvent{Header: h, Body: it.body}
}
