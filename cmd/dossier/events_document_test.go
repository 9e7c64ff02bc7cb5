package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest/properties"
	"github.com/dossier360/dossier/projections/profile"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// shownIn finds, by folding an event of a type, which parts of a profile it
// changes: those of a person, and of the company that he acts for.
func shownIn(t *testing.T, typ eventsv1.Type) []string {
	t.Helper()
	parts := map[string]bool{}
	for _, role := range []logv1.Role{logv1.Role_ROLE_SUBJECT, logv1.Role_ROLE_COMPANY, logv1.Role_ROLE_REFERRER} {
		// Alone, and after events that it needs or continues.
		for _, before := range [][]eventsv1.Type{
			nil,
			{eventsv1.Type_TYPE_ORDER_PLACED, eventsv1.Type_TYPE_TICKET_OPENED},
			{eventsv1.Type_TYPE_ORDER_PLACED, eventsv1.Type_TYPE_TICKET_OPENED, eventsv1.Type_TYPE_TICKET_RESOLVED, eventsv1.Type_TYPE_PRODUCT_ADDED},
			{eventsv1.Type_TYPE_GROUP_JOINED},
		} {
			without := sectionsAfter(t, role, before)
			with := sectionsAfter(t, role, append(slices.Clip(before), typ))
			for _, members := range []map[string]json.RawMessage{with, without} {
				for name := range members {
					if string(with[name]) != string(without[name]) {
						parts[name] = true
					}
				}
			}
		}
	}
	for _, name := range []string{"firstSeenAt", "lastSeenAt", "digest", "name", "identified", "identifiers"} {
		delete(parts, name)
	}
	return slices.Sorted(maps.Keys(parts))
}

// sectionsAfter folds an event of each type, one an hour, and shows the profile by
// its members; the open cart stands for itself.
func sectionsAfter(t *testing.T, role logv1.Role, types []eventsv1.Type) map[string]json.RawMessage {
	t.Helper()
	facts, rows := &statev1.Facts{}, memoryRows{}
	spans, err := events.ZoneSpans("UTC")
	if err != nil {
		t.Fatal(err)
	}
	zone, err := events.NewZone(spans)
	if err != nil {
		t.Fatal(err)
	}
	env := profile.Env{Zone: zone, BaseCurrency: "CNY"}
	const hour = int64(3600_000_000)
	at := 490_000 * hour
	for i, typ := range types {
		at += hour
		kind := logv1.CustomerKind_CUSTOMER_KIND_PERSON
		if role == logv1.Role_ROLE_COMPANY {
			kind = logv1.CustomerKind_CUSTOMER_KIND_COMPANY
		}
		person := make([]byte, 16)
		person[0] = 1
		if role == logv1.Role_ROLE_SUBJECT {
			person = nil
		}
		h := &logv1.Header{
			Customer: make([]byte, 16), CustomerKind: kind, Role: role, Type: typ, Source: "s", EventId: fmt.Sprint("e", i), OccurredAt: at, ClaimedAt: &at,
			PartyCustomer: person, Leaves: typ == eventsv1.Type_TYPE_GROUP_LEFT && person != nil,
		}
		if err := profile.Apply(facts, profile.Event{Header: h, RecordedAt: at, Body: fullEvent(typ)}, rows, env); err != nil {
			t.Fatal(err)
		}
	}
	shown := &queryv1.Profile{}
	profile.Render(facts, 490_010*hour, env, shown)
	text, err := protojson.Marshal(shown)
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	if orders := shown.GetOrders(); orders != nil {
		cart := orders.OpenCart
		orders.OpenCart = nil
		for name, m := range map[string]proto.Message{"orders": orders, "orders.openCart": cart} {
			if members[name], err = (proto.MarshalOptions{Deterministic: true}).Marshal(m); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, raw := range members { // protojson varies its spaces
		var v any
		if json.Unmarshal(raw, &v) == nil {
			members[name], _ = json.Marshal(v)
		}
	}
	return members
}

// fullEvent is an event of a type with every field of its payload set.
func fullEvent(typ eventsv1.Type) *eventsv1.Event {
	ev := &eventsv1.Event{Type: events.TypeName(typ), Identifiers: []*eventsv1.Identifier{{Type: "user_id", Value: "u"}}}
	if name := properties.Payload(typ); name != "" {
		m := ev.ProtoReflect()
		fillPayload(m.Mutable(m.Descriptor().Fields().ByTextName(name)).Message(), int64(typ))
	}
	return ev
}

// fillPayload sets every field; amounts differ between the types, for who tells
// the same again changes nothing.
func fillPayload(m protoreflect.Message, units int64) {
	switch known := m.Interface().(type) {
	case *structpb.Struct:
		known.Fields = map[string]*structpb.Value{"plan": structpb.NewStringValue("pro")}
		return
	case *timestamppb.Timestamp:
		known.Seconds = 1_700_000_000
		return
	case *eventsv1.Identifier:
		known.Type, known.Value = "user_id", "other"
		return
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		switch fd := fields.Get(i); {
		case fd.IsList() && fd.Kind() == protoreflect.MessageKind:
			fillPayload(m.Mutable(fd).List().AppendMutable().Message(), units)
		case fd.IsList():
			m.Mutable(fd).List().Append(protoreflect.ValueOfString("other"))
		case fd.Kind() == protoreflect.MessageKind:
			fillPayload(m.Mutable(fd).Message(), units)
		case fd.Kind() == protoreflect.StringKind:
			m.Set(fd, protoreflect.ValueOfString(cmp.Or(map[string]string{"currency": "CNY", "direction": "inbound", "author": "agent"}[string(fd.Name())], string(fd.Name()))))
		case fd.Kind() == protoreflect.Int64Kind:
			of := map[string]int64{"min_micros": 1, "max_micros": 5, "score_micros": 4}
			m.Set(fd, protoreflect.ValueOfInt64(cmp.Or(of[string(fd.Name())], units)*1_000_000))
		}
	}
}

// memoryRows are the entity rows of one customer.
type memoryRows map[string][]byte

func (r memoryRows) Get(kind profile.RowKind, id []byte) ([]byte, error) {
	return r[string(kind)+string(id)], nil
}

func (r memoryRows) Put(kind profile.RowKind, id []byte, value []byte) {
	r[string(kind)+string(id)] = value
}

func (r memoryRows) Scan(kind profile.RowKind, fn func(id, value []byte) error) error {
	for _, key := range slices.Sorted(maps.Keys(r)) {
		if rest, ok := strings.CutPrefix(key, string(kind)); ok {
			if err := fn([]byte(rest), r[key]); err != nil {
				return err
			}
		}
	}
	return nil
}

// flagMeanings are what is kept although odd, by the names of logv1.Flag, and
// where it shows.
var flagMeanings = map[logv1.Flag]string{
	logv1.Flag_FLAG_NO_ZONE:            "A time without zone is read as UTC, or as the zone that a mapping names.",
	logv1.Flag_FLAG_UNKNOWN_CURRENCY:   "A currency that ISO 4217 does not have is kept as it is, and never converted.",
	logv1.Flag_FLAG_LINES_DIFFER:       "Lines that do not sum up to the header of their order: the header counts.",
	logv1.Flag_FLAG_CONTROL_CHARACTERS: "Control characters in a text are kept.",
	logv1.Flag_FLAG_DUPLICATE_KEY:      "Of a key that stands twice in JSON the last one counts.",
	logv1.Flag_FLAG_NO_VALUE:           "An order without any amount counts, with no value.",
}

// codeMeanings are what is refused, by the codes of package ingest.
var codeMeanings = map[string]string{
	"not_json":      "The body or the event cannot be read, or is not of the kind wanted.",
	"empty_batch":   "A batch without events. (One of CloudEvents may be empty.)",
	"missing_id":    "Nobody is named, or an attribute that must tell an id is empty.",
	"blocked_id":    "All that is named is a placeholder: `null`, `undefined`, `anonymous`, zeros, ….",
	"id_too_long":   "An id or identifier of more than 200 characters.",
	"missing_type":  "The event does not say what it is.",
	"missing_event": "A `track` without the name of its event.",
	"bad_type":      "A field of the wrong kind, an unknown field, or a value that the field does not have.",
	"too_large":     "An event of more than 32 KiB, the 2,501st of a batch, more than 16 identifiers, or a body beyond the limits.",
	"too_deep":      "JSON nested deeper than 32.",
	"not_utf8":      "Text that is not UTF-8.",
	"bad_time":      "A time that cannot be read, or is before 1971, or beyond the end of a deployment's clock.",
	"bad_number":    "No number, NaN, an infinity, an amount beyond 10^12 units, a negative order.",
}

var codeLine = regexp.MustCompile(`(?m)^\tCode\w+ +Code = "(\w+)"$`)

// writeKeptAndRefused lists flags and codes; one that is not described, or is
// described and no more, fails.
func writeKeptAndRefused(t *testing.T, b *strings.Builder) {
	t.Helper()
	b.WriteString("\n## Kept and flagged\n\nWhat is odd and still can be understood is kept, and the event flagged; `GetEvent` shows its flags, and the profile `unknown_currency` and\n`no_value`. " +
		"It also shows `clamped_time` (a time more than 24 hours ahead of the server is that of receipt), `corrected_time` (a\nclient's clock more than five minutes off was put right by `sentAt`), `approximate` and `overflow` (a bound was reached), `parked` and `conflict`.\nAn event without a time happened when it was received.\n\n| flag | meaning |\n|---|---|\n")
	for n := range len(logv1.Flag_name) {
		flag := logv1.Flag(n)
		if flag == logv1.Flag_FLAG_UNSPECIFIED {
			continue
		}
		if flagMeanings[flag] == "" {
			t.Errorf("%v is not described", flag)
		}
		fmt.Fprintf(b, "| `%s` | %s |\n", strings.ToLower(strings.TrimPrefix(flag.String(), "FLAG_")), flagMeanings[flag])
	}
	b.WriteString("\n## Refused\n\nA refused event fails none of its neighbours. Its bytes are kept with the reason, which names field, value and limit, and can be looked at and tried again.\n\n| code | meaning |\n|---|---|\n")
	source, err := os.ReadFile(filepath.Join(repository, "ingest/draft.go"))
	if err != nil {
		t.Fatal(err)
	}
	codes := codeLine.FindAllStringSubmatch(string(source), -1)
	if len(codes) != len(codeMeanings) {
		t.Errorf("read %d codes, %d are described", len(codes), len(codeMeanings))
	}
	for _, c := range codes {
		if codeMeanings[c[1]] == "" {
			t.Errorf("code %s is not described", c[1])
		}
		fmt.Fprintf(b, "| `%s` | %s |\n", c[1], codeMeanings[c[1]])
	}
}

// spellingsOf are the names of properties that fill a field beside its own.
func spellingsOf(message, field string) string {
	payload := strings.ToLower(message)
	if payload == "adtouch" {
		payload = "ad"
	}
	var others []string
	for _, name := range properties.Spellings(payload, field) {
		if name != strings.ReplaceAll(strings.TrimSuffix(field, "_micros"), "_", "") {
			others = append(others, "`"+name+"`")
		}
	}
	return strings.Join(others, " ")
}

// prose is a part of the document that is written by hand.
func prose(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata/events", name+".md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
