package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
		bodies[i] = &eventsv1.Event{}
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
			_, fields := profile.Describe(profile.Event{Header: &logv1.Header{Type: kind}, Body: body})
			for pair := range slices.Chunk(fields, 2) {
				names[pair[0]] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
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
	if diff := cmp.Diff(fields, slices.Sorted(maps.Keys(zh.fields))); diff != "" {
		t.Errorf("fields with a Chinese name (-described +translated):\n%s", diff)
	}
	for _, table := range []map[string]string{zh.types, zh.fields} {
		for name, word := range table {
			if columns(word) != 2*len([]rune(word)) || word == "" {
				t.Errorf("%s is %q, want it in Chinese", name, word)
			}
		}
	}
}

// The stored title of every type begins as the translation expects.
func TestTimelineTitles(t *testing.T) {
	t.Parallel()
	zh, en := printerFor(langZH), printerFor(langEN)
	for _, typ := range canonicalTypes() {
		for _, body := range append(fullBodies(), &eventsv1.Event{}) {
			stored, _ := profile.Describe(profile.Event{Header: &logv1.Header{Type: events.TypeByCanonicalName(typ)}, Body: body})
			e := &queryv1.Entry{Type: typ, Title: stored}
			if got := en.title(e); got != stored {
				t.Errorf("%s in English: got %q, want %q", typ, got, stored)
			}
			want := chineseTypes[typ]
			if _, subject, found := strings.Cut(stored, ": "); found {
				want += "：" + subject
			}
			if got := zh.title(e); got != want {
				t.Errorf("%s in Chinese: got %q of %q, want %q", typ, got, stored, want)
			}
		}
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
	for _, tc := range []struct{ typ, name, value, en, zh string }{
		{"order.placed", "orderId", "T-2", "orderId = T-2", "订单编号 = T-2"},
		{"consent.changed", "granted", "yes", "granted = yes", "同意 = 是"},
		{"rating.given", "comment", "yes", "comment = yes", "评语 = yes"},
		{"traits.set", "name", "李娜", "name = 李娜", "name = 李娜"},   // a trait's name is the publisher's
		{"order.placed", "later", "1", "later = 1", "later = 1"}, // of a later version
	} {
		if got := en.field(tc.typ, tc.name, tc.value); got != tc.en {
			t.Errorf("%s %s in English: got %q, want %q", tc.typ, tc.name, got, tc.en)
		}
		if got := zh.field(tc.typ, tc.name, tc.value); got != tc.zh {
			t.Errorf("%s %s in Chinese: got %q, want %q", tc.typ, tc.name, got, tc.zh)
		}
	}
}
