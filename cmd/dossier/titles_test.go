package main

import (
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/profile"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// canonicalTypes are all names of the vocabulary.
func canonicalTypes() []string {
	var names []string
	for n := range eventsv1.Type_name {
		if name := events.TypeName(eventsv1.Type(n)); name != "" {
			names = append(names, name)
		}
	}
	return slices.Sorted(slices.Values(names))
}

// fullBodies have every payload of the vocabulary, and every field of it.
func fullBodies() []*eventsv1.Event {
	payloads := (&eventsv1.Event{}).ProtoReflect().Descriptor().Oneofs().ByName("payload").Fields()
	bodies := make([]*eventsv1.Event, payloads.Len())
	for i := range bodies {
		bodies[i] = &eventsv1.Event{Identifiers: []*eventsv1.Identifier{{Type: "user_id", Value: "42"}}}
		m := bodies[i].ProtoReflect()
		fill(m.Mutable(payloads.Get(i)).Message())
	}
	return bodies
}

// fill gives every field of our own messages a value other than zero; those of
// other packages, such as free-form traits, stay empty.
func fill(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		switch f := fields.Get(i); {
		case f.IsMap():
		case f.IsList():
			list := m.Mutable(f).List()
			element := list.NewElement()
			if f.Message() != nil {
				fill(element.Message())
			} else {
				element = some(f)
			}
			list.Append(element)
		case f.Message() == nil:
			m.Set(f, some(f))
		case f.Message().ParentFile().Package() == m.Descriptor().ParentFile().Package():
			fill(m.Mutable(f).Message())
		}
	}
}

func some(f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString("x")
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte("x"))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(1)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(1)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(1)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(1)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(1_000_000)
	default:
		panic("a field of kind " + f.Kind().String() + ": fill it too")
	}
}

// copies are the headers of all the copies that there can be of an event.
func copies(kind eventsv1.Type) []*logv1.Header {
	var headers []*logv1.Header
	for n := range logv1.Role_name {
		h := &logv1.Header{Type: kind, Role: logv1.Role(n), Corrects: "root"}
		withdraws, leaves := proto.CloneOf(h), proto.CloneOf(h)
		withdraws.Withdraws, leaves.Leaves = true, true
		headers = append(headers, h, withdraws, leaves)
	}
	return headers
}

// describedFields are the names of all fields that a timeline may show, save
// traits, whose names are the publisher's.
func describedFields() []string {
	names := map[string]bool{}
	for _, typ := range canonicalTypes() {
		for _, body := range fullBodies() {
			kind := events.TypeByCanonicalName(typ)
			if kind == eventsv1.Type_TYPE_TRAITS_SET || body.GetTraits() != nil {
				continue
			}
			for _, header := range copies(kind) {
				_, fields := profile.Describe(profile.Event{Header: header, Body: body})
				for pair := range slices.Chunk(fields, 2) {
					names[pair[0]] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// channelWords are all that the table of channels can say.
func channelWords() []string {
	var channels []string
	for _, place := range profile.ChannelTable() {
		channels = append(channels, place.Channel)
		if place.Paid != "" {
			channels = append(channels, place.Paid)
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(channels)))
}

// profileFlags are those of the contract.
var profileFlags = []string{
	"approximate", "clamped_time", "conflict", "corrected_time", "moving", "no_value", "overflow", "parked", "unknown_currency",
}

// Whoever adds a type or a field adds its Chinese, and takes away what is no
// longer said.
func TestTextIsAllChinese(t *testing.T) {
	t.Parallel()
	zh := words[langZH]
	if diff := cmp.Diff(canonicalTypes(), slices.Sorted(maps.Keys(zh.types))); diff != "" {
		t.Errorf("types with a Chinese name (-of the vocabulary +translated):\n%s", diff)
	}
	fields := describedFields()
	if len(fields) < 20 {
		t.Fatalf("Describe shows the fields %v: the bodies of this test no longer fill it", fields)
	}
	translated := map[string]bool{}
	for name := range zh.fields {
		translated[path.Base(name)] = true // a name of one family too
	}
	// Of a telling by hand, beside the traits.
	fields = slices.Sorted(slices.Values(append(fields, "manual")))
	if diff := cmp.Diff(fields, slices.Sorted(maps.Keys(translated))); diff != "" {
		t.Errorf("fields with a Chinese name (-described +translated):\n%s", diff)
	}
	if diff := cmp.Diff(channelWords(), slices.Sorted(maps.Keys(zh.channelNames))); diff != "" {
		t.Errorf("channels with a Chinese name (-of the table +translated):\n%s", diff)
	}
	if diff := cmp.Diff(profileFlags, slices.Sorted(maps.Keys(zh.flagNames))); diff != "" {
		t.Errorf("flags with a Chinese name (-of a profile +translated):\n%s", diff)
	}
	for _, table := range []map[string]string{
		zh.types, zh.fields, zh.beginnings, zh.values, zh.traitMarks, zh.channelNames, zh.interactionNames, zh.flagNames, zh.roles, zh.takenBack,
	} {
		for name, word := range table {
			if columns(word) != 2*len([]rune(word)) || word == "" {
				t.Errorf("%s is %q, want it in Chinese", name, word)
			}
		}
	}
}

// The stored title of every type begins as the translation expects, whatever
// part the customer plays in it.
func TestTimelineTitles(t *testing.T) {
	t.Parallel()
	zh, en := printerFor(langZH), printerFor(langEN)
	used := map[string]bool{}
	onlyReferrer := &eventsv1.Event{Payload: &eventsv1.Event_Referral{Referral: &eventsv1.Referral{Referrer: &eventsv1.Identifier{Type: "user_id", Value: "7"}}}}
	bodies := append(fullBodies(), &eventsv1.Event{}, onlyReferrer)
	for _, typ := range canonicalTypes() {
		for _, header := range copies(events.TypeByCanonicalName(typ)) {
			for _, body := range bodies {
				stored, _ := profile.Describe(profile.Event{Header: header, Body: body})
				e := &queryv1.Entry{Type: typ, Title: stored}
				if got := en.title(e); got != stored {
					t.Errorf("%s in English: got %q, want %q", typ, got, stored)
				}
				beginning, subject, about := strings.Cut(stored, ": ")
				want := chineseTypes[typ]
				if strings.ReplaceAll(strings.ReplaceAll(typ, ".", " "), "_", " ") != strings.ToLower(beginning) {
					want = chineseBeginnings[beginning]
					used[beginning] = true
				}
				if about {
					want += "：" + subject
				}
				if got := zh.title(e); got != want {
					t.Errorf("%s in Chinese: got %q of %q, want %q", typ, got, stored, want)
				}
			}
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(used)), slices.Sorted(maps.Keys(chineseBeginnings))); diff != "" {
		t.Errorf("beginnings of titles with a Chinese name (-described +translated):\n%s", diff)
	}
	for _, tc := range []struct{ typ, stored, want string }{
		{"Wishlist Shared", "Wishlist Shared", "Wishlist Shared"},            // custom
		{"Order Placed", "Order placed: 1", "Order placed: 1"},               // custom too: names are told apart by case
		{"order.placed", "Order 7 from last year", "Order 7 from last year"}, // of another version
		{"order.placed", "Order placed: a: b\x1b[2J", "下单：a: b[2J"},
	} {
		if got := zh.title(&queryv1.Entry{Type: tc.typ, Title: tc.stored}); got != tc.want {
			t.Errorf("%s %q: got %q, want %q", tc.typ, tc.stored, got, tc.want)
		}
	}
}

func TestTimelineFields(t *testing.T) {
	t.Parallel()
	zh, en := printerFor(langZH), printerFor(langEN)
	byHand := map[string]string{"manual": "yes", "reason": "told on the phone", "level": "4", "region": "(released)", "city": "(forgotten)"}
	imported := map[string]string{"reason": "price", "manual": "no", "name": "李娜"}
	for _, tc := range []struct {
		typ, name string
		fields    map[string]string
		en, zh    string
	}{
		{"order.placed", "orderId", map[string]string{"orderId": "T-2"}, "orderId = T-2", "订单编号 = T-2"},
		{"order.placed", "later", map[string]string{"later": "1"}, "later = 1", "later = 1"}, // of a later version
		{"consent.changed", "granted", map[string]string{"granted": "yes"}, "granted = yes", "同意 = 是"},
		{"rating.given", "comment", map[string]string{"comment": "yes"}, "comment = yes", "评语 = yes"},
		{"page.viewed", "referrer", map[string]string{"referrer": "https://a.example.com"}, "referrer = https://a.example.com", "来源页面 = https://a.example.com"},
		{"referral.made", "referrer", map[string]string{"referrer": "user_id:7"}, "referrer = user_id:7", "推荐人 = user_id:7"},
		{"referral.made", "medium", map[string]string{"medium": "link"}, "medium = link", "推荐方式 = link"},
		{"ad.clicked", "medium", map[string]string{"medium": "cpc"}, "medium = cpc", "媒介 = cpc"},
		{"interaction.logged", "direction", map[string]string{"direction": "inbound"}, "direction = inbound", "方向 = 客户发起"},
		{"interaction.logged", "channel", map[string]string{"channel": "fax"}, "channel = fax", "渠道 = fax"},
		{"ticket.replied", "author", map[string]string{"author": "agent"}, "author = agent", "发言方 = 客服"},
		{"order.placed", "corrects", map[string]string{"corrects": "o\x1b1"}, "corrects = o1", "更正的事件 = o1"},
		// The names of traits are the publisher's, save what says who told them.
		{"traits.set", "name", imported, "name = 李娜", "name = 李娜"},
		{"traits.set", "reason", imported, "reason = price", "reason = price"},
		{"traits.set", "level", byHand, "level = 4", "level = 4"},
		{"traits.set", "reason", byHand, "reason = told on the phone", "原因 = told on the phone"},
		{"traits.set", "manual", byHand, "manual = yes", "人工 = 是"},
		{"traits.set", "region", byHand, "region = (released)", "region = （已撤销人工设置）"},
		{"traits.set", "city", byHand, "city = (forgotten)", "city = （已删除）"},
	} {
		e := &queryv1.Entry{Type: tc.typ, Fields: tc.fields}
		if got := en.field(e, tc.name); got != tc.en {
			t.Errorf("%s %s in English: got %q, want %q", tc.typ, tc.name, got, tc.en)
		}
		if got := zh.field(e, tc.name); got != tc.zh {
			t.Errorf("%s %s in Chinese: got %q, want %q", tc.typ, tc.name, got, tc.zh)
		}
	}
}

// Marks say what an entry's title does not: that it counts no more, and that
// the event is about another.
func TestTimelineMarks(t *testing.T) {
	t.Parallel()
	zh, en := printerFor(langZH), printerFor(langEN)
	for _, tc := range []struct{ role, takenBack, en, zh string }{
		{"", "", "Order placed: A-1", "下单：A-1"},
		{"subject", "", "Order placed: A-1", "下单：A-1"},
		{"company", "", "[company] Order placed: A-1", "[公司] 下单：A-1"},
		{"referrer", "voided", "(voided) [referrer] Order placed: A-1", "（已作废）[推荐人] 下单：A-1"},
		{"subject", "corrected", "(corrected) Order placed: A-1", "（已更正）下单：A-1"},
		{"guarantor", "lost", "(lost) [guarantor] Order placed: A-1", "（lost）[guarantor] 下单：A-1"}, // of a later version
	} {
		e := &queryv1.Entry{Type: "order.placed", Title: "Order placed: A-1", Role: tc.role, TakenBack: tc.takenBack}
		if got := en.line(e); got != tc.en {
			t.Errorf("%q %q in English: got %q, want %q", tc.role, tc.takenBack, got, tc.en)
		}
		if got := zh.line(e); got != tc.zh {
			t.Errorf("%q %q in Chinese: got %q, want %q", tc.role, tc.takenBack, got, tc.zh)
		}
	}
}
