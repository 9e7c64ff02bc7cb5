package native_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/native"
)

const who = `"identifiers":[{"type":"user_id","value":"u"}]`

func TestJSON(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what, event, want string
		flags             []logv1.Flag
	}{
		{"typed", `{"id":"e","type":"order.placed","time":"2026-01-02T03:04:05Z",` + who + `,"order":{"orderId":"o","revenueMicros":"1500000","currency":"usd","lines":[{"product_id":"p","priceMicros":1500000}]}}`,
			`{"id":"e","type":"order.placed","time":"2026-01-02T03:04:05Z",` + who + `,"order":{"orderId":"o","revenueMicros":"1500000","currency":"USD","lines":[{"productId":"p","priceMicros":"1500000"}]}}`, nil},
		{"a wire name", `{"type":"Order Completed",` + who + `,"order":{"revenue_micros":1e6}}`,
			`{"type":"order.placed",` + who + `,"order":{"revenueMicros":"1000000"}}`, nil},
		{"from properties, exactly", `{"type":"order.placed",` + who + `,"properties":{"revenue":9007199254.740993,"big":123456789012345678901234567890}}`,
			`{"type":"order.placed",` + who + `,"order":{"revenueMicros":"9007199254740993"},"propertiesJson":"{\"big\":123456789012345678901234567890}"}`, nil},
		{"typed and properties", `{"type":"order.placed",` + who + `,"order":{"revenueMicros":"1"},"properties":{"revenue":5},"propertiesJson":"{\"revenue\":4, \"a\":1}"}`,
			`{"type":"order.placed",` + who + `,"order":{"revenueMicros":"1"},"propertiesJson":"{\"a\":1,\"revenue\":5}"}`, nil},
		{"custom", `{"type":"Foo",` + who + `,"properties":{"b":1,"a":{}},"context":{"otherJson":"{ \"z\":1,\"y\":2 }","page_url":"http://x","campaign":{"source":"s"}}}`,
			`{"type":"Foo",` + who + `,"propertiesJson":"{\"a\":{},\"b\":1}","context":{"pageUrl":"http://x","campaign":{"source":"s"},"otherJson":"{\"y\":2,\"z\":1}"}}`, nil},
		{"traits", `{"type":"traits.set",` + who + `,"traits":{"set":{"n":9007199254740993,"f":0.5},"unset":["a"],"manual":true}}`,
			`{"type":"traits.set",` + who + `,"traits":{"set":{"n":"9007199254740993","f":0.5},"unset":["a"],"manual":true}}`, nil},
		{"traits by hand", `{"type":"traits.set",` + who + `,"traits":{"set":{"tier":"a"},"release":["region"],"manual":true,"reason":"asked","actor":"ann"}}`,
			`{"type":"traits.set",` + who + `,"traits":{"set":{"tier":"a"},"release":["region"],"manual":true,"reason":"asked","actor":"ann"}}`, nil},
		{"a correction", `{"type":"order.placed",` + who + `,"corrects":"e1","issuedAt":"2026-01-02T03:04:05Z","order":{"revenueMicros":"1"}}`,
			`{"type":"order.placed",` + who + `,"corrects":"e1","issuedAt":"2026-01-02T03:04:05Z","order":{"revenueMicros":"1"}}`, nil},
		{"a void", `{"type":"event.voided",` + who + `,"void":{"eventId":"e1","time":"2026-01-02T03:04:05Z","reason":"twice","actor":"ann"}}`,
			`{"type":"event.voided",` + who + `,"void":{"eventId":"e1","time":"2026-01-02T03:04:05Z","reason":"twice","actor":"ann"}}`, nil},
		{"a referral told by the referee", `{"type":"referral.made",` + who + `,"referral":{"referrer":{"type":"email","value":"a@b.c"}}}`,
			`{"type":"referral.made",` + who + `,"referral":{"referrer":{"type":"email","value":"a@b.c"}}}`, nil},
		{"a company beside a person", `{"type":"Foo","identifiers":[{"type":"company_domain","value":"b.c"},{"type":"user_id","value":"u"}]}`,
			`{"type":"Foo","identifiers":[{"type":"company_domain","value":"b.c"},{"type":"user_id","value":"u"}]}`, nil},
		{"leaving a company", `{"type":"group.left",` + who + `,"group":{}}`, `{"type":"group.left",` + who + `,"group":{}}`, nil},
		{"null is the default", `{"type":"Foo","id":null,` + who + `,"time":null,"order":null,"context":null,"properties":null}`, `{"type":"Foo",` + who + `}`, nil},
		{"a known type always has a payload", `{"type":"page.viewed",` + who + `}`, `{"type":"page.viewed",` + who + `,"view":{}}`, nil},
		{"an id as number", `{"type":"Foo","identifiers":[{"type":"crm_id","value":7}]}`, `{"type":"Foo","identifiers":[{"type":"crm_id","value":"7"}]}`, nil},
		{"duplicate key", `{"type":"Bar","type":"Foo",` + who + `}`, `{"type":"Foo",` + who + `}`, []logv1.Flag{logv1.Flag_FLAG_DUPLICATE_KEY}},
		{"no zone", `{"type":"Foo","time":"2026-01-02T03:04:05",` + who + `}`, `{"type":"Foo","time":"2026-01-02T03:04:05Z",` + who + `}`, []logv1.Flag{logv1.Flag_FLAG_NO_ZONE}},
		{"control characters", `{"type":"Foo","id":"a\u0000b",` + who + `}`, `{"type":"Foo","id":"a\u0000b",` + who + `}`, []logv1.Flag{logv1.Flag_FLAG_CONTROL_CHARACTERS}},
		{"unknown currency", `{"type":"ad.clicked",` + who + `,"ad":{"currency":"QQQ"}}`, `{"type":"ad.clicked",` + who + `,"ad":{"currency":"QQQ"}}`, []logv1.Flag{logv1.Flag_FLAG_UNKNOWN_CURRENCY}},
		{"lines that differ", `{"type":"order.placed",` + who + `,"order":{"totalMicros":"2","lines":[{"priceMicros":"1"}]}}`,
			`{"type":"order.placed",` + who + `,"order":{"totalMicros":"2","lines":[{"priceMicros":"1"}]}}`, []logv1.Flag{logv1.Flag_FLAG_LINES_DIFFER}},
		{"no value", `{"type":"order.placed",` + who + `,"order":{}}`, `{"type":"order.placed",` + who + `,"order":{}}`, []logv1.Flag{logv1.Flag_FLAG_NO_VALUE}},
		{"amount at the limit", `{"type":"order.placed",` + who + `,"order":{"revenueMicros":"1000000000000000000"}}`,
			`{"type":"order.placed",` + who + `,"order":{"revenueMicros":"1000000000000000000"}}`, nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			d := native.DecodeJSON([]byte(`{"source":"shop-1","sentAt":"2026-01-02T03:04:05Z","events":[` + c.event + `]}`))
			if d.Refused != nil || len(d.Drafts) != 1 || d.Drafts[0].Refused != nil || d.Source != "shop-1" || d.Single {
				t.Fatalf("got %+v, %+v", d.Refused, d.Drafts)
			}
			want := &eventsv1.Event{}
			if err := protojson.Unmarshal([]byte(c.want), want); err != nil {
				t.Fatal(err)
			}
			draft := d.Drafts[0]
			if diff := cmp.Diff(draft.Event, want, protocmp.Transform()); diff != "" {
				t.Errorf("(-got +want):\n%s", diff)
			}
			if diff := cmp.Diff(draft.Flags, c.flags); diff != "" {
				t.Errorf("flags (-got +want):\n%s", diff)
			}
			if !draft.Sent.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) || string(draft.Original) != c.event {
				t.Errorf("sent %v, original %q", draft.Sent, draft.Original)
			}
		})
	}
}

func TestJSONRefusesEvents(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", ingest.MaxIDCharacters+1)
	many := strings.Repeat(`{"type":"user_id","value":"u"},`, ingest.MaxIdentifiers)
	for _, c := range []struct {
		event string
		code  ingest.Code
		field string
		says  string
	}{
		{`7`, ingest.CodeNotJSON, "", "a number"},
		{`{"type":nope}`, ingest.CodeNotJSON, "type", ""},
		{"{\"type\":\"\xff\"}", ingest.CodeNotUTF8, "", ""},
		{`{"properties":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`, ingest.CodeTooDeep, "", "32"},
		{`{"type":"Foo",` + who + `,"properties":{"a":NaN}}`, ingest.CodeBadNumber, "properties.a", "NaN"},
		{`{` + who + `}`, ingest.CodeMissingType, "type", ""},
		{`{"type":"Foo"}`, ingest.CodeMissingID, "identifiers", ""},
		{`{"type":"Foo","identifiers":[]}`, ingest.CodeMissingID, "identifiers", ""},
		{`{"type":"Foo","identifiers":[{"type":"user_id","value":""}]}`, ingest.CodeMissingID, "identifiers[0].value", ""},
		{`{"type":"Foo","identifiers":[{"type":"User","value":"u"}]}`, ingest.CodeBadType, "identifiers[0].type", `"User"`},
		{`{"type":"Foo","identifiers":[null]}`, ingest.CodeBadType, "identifiers[0]", "null"},
		{`{"type":"Foo","identifiers":[{"type":"user_id","value":"` + long + `"}]}`, ingest.CodeIDTooLong, "identifiers[0].value", "201"},
		{`{"type":"Foo","identifiers":[` + many + `{"type":"user_id","value":"v"}]}`, ingest.CodeTooLarge, "identifiers", "17"},
		{`{"id":"` + long + `","type":"Foo",` + who + `}`, ingest.CodeIDTooLong, "id", "201"},
		{`{"type":"` + long + `",` + who + `}`, ingest.CodeIDTooLong, "type", "201"},
		{`{"type":"Foo","corrects":"` + long + `",` + who + `}`, ingest.CodeIDTooLong, "corrects", "201"},
		{`{"type":"Foo","time":"soon",` + who + `}`, ingest.CodeBadTime, "time", "soon"},
		{`{"type":"Foo","time":"1970-12-31T23:59:59Z",` + who + `}`, ingest.CodeBadTime, "time", "1970"},
		{`{"type":"Foo","time":{},` + who + `}`, ingest.CodeBadTime, "time", "{}"},
		{`{"type":"Foo","issuedAt":"x",` + who + `}`, ingest.CodeBadTime, "issuedAt", "x"},
		{`{"type":"Foo","colour":1,` + who + `}`, ingest.CodeBadType, "colour", "colour"},
		{`{"type":"order.placed",` + who + `,"order":{"lines":[{"colour":1}]}}`, ingest.CodeBadType, "order.lines[0].colour", "colour"},
		{`{"type":"order.placed",` + who + `,"view":{}}`, ingest.CodeBadType, "view", "order"},
		{`{"type":"Foo",` + who + `,"order":{}}`, ingest.CodeBadType, "order", "no payload"},
		{`{"type":"order.placed",` + who + `,"order":{},"view":{}}`, ingest.CodeBadType, "view", "order and view"},
		{`{"type":"order.placed",` + who + `,"order":{"orderId":"a","order_id":"b"}}`, ingest.CodeBadType, "order.order_id", "both"},
		{`{"type":"order.placed",` + who + `,"order":[]}`, ingest.CodeBadType, "order", "an array"},
		{`{"type":"traits.set",` + who + `,"traits":{"release":["vip"]}}`, ingest.CodeBadType, "traits.release", "without traits.manual"},
		{`{"type":"traits.set",` + who + `,"traits":{"set":{"a":1},"release":["vip"],"manual":false}}`, ingest.CodeBadType, "traits.release", "without traits.manual"},
		{`{"type":"order.placed",` + who + `,"order":{"orderId":true}}`, ingest.CodeBadType, "order.orderId", "a boolean"},
		{`{"type":"order.placed",` + who + `,"order":{"lines":{}}}`, ingest.CodeBadType, "order.lines", "an object"},
		{`{"type":"Foo",` + who + `,"properties":[]}`, ingest.CodeBadType, "properties", "an array"},
		{`{"type":"Foo",` + who + `,"propertiesJson":"[]"}`, ingest.CodeBadType, "propertiesJson", "an array"},
		{`{"type":"Foo",` + who + `,"propertiesJson":"{"}`, ingest.CodeNotJSON, "propertiesJson", ""},
		{`{"type":"Foo",` + who + `,"context":{"otherJson":"x"}}`, ingest.CodeNotJSON, "context.otherJson", ""},
		{`{"type":"order.placed",` + who + `,"order":{"revenueMicros":1.5}}`, ingest.CodeBadNumber, "order.revenueMicros", "1.5"},
		{`{"type":"order.placed",` + who + `,"order":{"revenueMicros":"many"}}`, ingest.CodeBadNumber, "order.revenueMicros", "many"},
		{`{"type":"order.placed",` + who + `,"order":{"revenueMicros":9223372036854775808}}`, ingest.CodeBadNumber, "order.revenueMicros", "9223372036854775808"},
		{`{"type":"order.placed",` + who + `,"order":{"revenueMicros":"1000000000000000001"}}`, ingest.CodeBadNumber, "order.revenueMicros", "1000000000000.000001"},
		{`{"type":"order.placed",` + who + `,"order":{"lines":[{"quantityMicros":"-1000000000000000001"}]}}`, ingest.CodeBadNumber, "order.lines[0].quantityMicros", "-1000000000000.000001"},
		{`{"type":"order.placed",` + who + `,"order":{"totalMicros":"-1"}}`, ingest.CodeBadNumber, "order.totalMicros", "negative order"},
		{`{"type":"order.updated",` + who + `,"order":{"revenueMicros":"-1"}}`, ingest.CodeBadNumber, "order.revenueMicros", "negative order"},
		{`{"type":"order.placed",` + who + `,"order":{"totalMicros":"10","taxMicros":"8","shippingMicros":"4"}}`, ingest.CodeBadNumber, "order.totalMicros", "negative order"},
		{`{"type":"order.updated",` + who + `,"order":{"lines":[{"priceMicros":"5000000","quantityMicros":"-3000000"}]}}`, ingest.CodeBadNumber, "order.lines", "sum of order.lines is -15: negative order"},
		{`{"type":"order.placed",` + who + `,"properties":{"items":[{"price":5,"quantity":-3}]}}`, ingest.CodeBadNumber, "properties.products", "negative order"},
		{`{"type":"order.placed",` + who + `,"properties":{"revenue":false}}`, ingest.CodeBadNumber, "properties.revenue", "a boolean"},
		{`{"type":"order.refunded",` + who + `,"order":{"totalMicros":"-1"}}`, ingest.CodeBadNumber, "order.totalMicros", "negative refund"},
		{`{"type":"order.placed",` + who + `,"properties":{"revenue":"1e400"}}`, ingest.CodeBadNumber, "properties.revenue", "1e400"},
		{`{"type":"group.joined",` + who + `,"group":{}}`, ingest.CodeMissingID, "group.groupId", ""},
		{`{"type":"event.voided",` + who + `,"void":{}}`, ingest.CodeMissingID, "void.eventId", ""},
		{`{"type":"referral.made",` + who + `,"referral":{"referee":{"type":"X","value":"v"}}}`, ingest.CodeBadType, "referral.referee.type", `"X"`},
		{`{"type":"referral.made",` + who + `,"referral":{"referrer":{"type":"email","value":""}}}`, ingest.CodeMissingID, "referral.referrer.value", ""},
		{`{"type":"Foo",` + who + `,"properties":{"a":"` + strings.Repeat("x", 60<<10) + `"}}`, ingest.CodeTooLarge, "", "32768"},
	} {
		good := `{"id":"g","type":"Foo",` + who + `}`
		d := native.DecodeJSON([]byte(`{"events":[` + good + `,` + c.event + `,` + good + `]}`))
		if len(d.Drafts) != 3 || d.Drafts[0].Refused != nil || d.Drafts[2].Refused != nil {
			t.Errorf("%.80q: the neighbours failed: %+v", c.event, d)
			continue
		}
		r := d.Drafts[1].Refused
		if r == nil {
			t.Errorf("%.80q: not refused", c.event)
			continue
		}
		if r.Code != c.code || c.field != "" && r.Field != c.field || !strings.Contains(r.Message, c.says) || r.Limit == "" || r.Index != 1 {
			t.Errorf("%.80q: got %+v, want %s of %q saying %q", c.event, *r, c.code, c.field, c.says)
		}
		if string(d.Drafts[1].Original) != c.event {
			t.Errorf("%.80q: bytes not kept", c.event)
		}
	}
}

func TestJSONRefusesBatches(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]ingest.Code{
		``: ingest.CodeNotJSON, `nope`: ingest.CodeNotJSON, `[]`: ingest.CodeNotJSON, `{"events":{}}`: ingest.CodeBadType, `{"events":7}`: ingest.CodeBadType, `{"events":]}`: ingest.CodeNotJSON,
		`{"events":[{}`: ingest.CodeNotJSON, `{"events":[{}],"sentAt":nope}`: ingest.CodeNotJSON,
		`{}`: ingest.CodeEmptyBatch, `{"events":[]}`: ingest.CodeEmptyBatch, `{"events":null}`: ingest.CodeEmptyBatch,
		`{"events":[{}],"colour":1}`: ingest.CodeBadType, `{"events":[{}],"source":"Shop"}`: ingest.CodeBadType, `{"events":[{}],"source":{}}`: ingest.CodeBadType,
		`{"events":[{}],"sentAt":"soon"}`:                                    ingest.CodeBadTime,
		`{"events":[` + strings.Repeat("1,", ingest.MaxListedEvents) + `1]}`: ingest.CodeTooLarge,
	} {
		if d := native.DecodeJSON([]byte(body)); d.Refused == nil || d.Refused.Code != want {
			t.Errorf("%.60q: got %+v, want %s", body, d.Refused, want)
		}
	}
}

func TestCountLimit(t *testing.T) {
	t.Parallel()
	item := `{"type":"Foo",` + who + `}`
	d := native.DecodeJSON([]byte(`{"api_key":"k","events":[` + strings.Repeat(item+",", ingest.MaxBatchEvents) + item + `]}`))
	if d.WriteKey != "k" || len(d.Drafts) != ingest.MaxBatchEvents+1 || d.Drafts[ingest.MaxBatchEvents-1].Refused != nil {
		t.Fatalf("got %d drafts, key %q", len(d.Drafts), d.WriteKey)
	}
	if r := d.Drafts[ingest.MaxBatchEvents].Refused; r == nil || r.Code != ingest.CodeTooLarge {
		t.Errorf("beyond the limit: got %+v", r)
	}
}

// bytesOf encodes a batch.
func bytesOf(t *testing.T, evs ...*eventsv1.Event) []byte {
	t.Helper()
	b, err := proto.Marshal(&eventsv1.EventBatch{Source: "s", SentAt: timestamppb.New(time.Unix(1767323045, 0)), Events: evs})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func event(change func(*eventsv1.Event)) *eventsv1.Event {
	ev := &eventsv1.Event{Id: "e", Type: "Foo", Identifiers: []*eventsv1.Identifier{{Type: "user_id", Value: "u"}}}
	change(ev)
	return ev
}

func TestProtobuf(t *testing.T) {
	t.Parallel()
	props, err := structpb.NewStruct(map[string]any{"revenue": 19.99, "x": []any{"a", nil, true, 1e21}})
	if err != nil {
		t.Fatal(err)
	}
	typed := event(func(ev *eventsv1.Event) {
		ev.Type = "order.placed"
		ev.Payload = &eventsv1.Event_Order{Order: &eventsv1.Order{RevenueMicros: new(int64(5))}}
	})
	mapped := event(func(ev *eventsv1.Event) { ev.Type, ev.Properties = "Order Completed", props })
	odd := event(func(ev *eventsv1.Event) { ev.Id = "a\x01" })
	d := native.DecodeProtobuf(bytesOf(t, typed, mapped, odd))
	if d.Refused != nil || d.Source != "s" || len(d.Drafts) != 3 {
		t.Fatalf("got %+v", d)
	}
	if diff := cmp.Diff(d.Drafts[0].Event, typed, protocmp.Transform()); diff != "" {
		t.Errorf("typed (-got +want):\n%s", diff)
	}
	want := event(func(ev *eventsv1.Event) {
		ev.Type = "order.placed"
		ev.Payload = &eventsv1.Event_Order{Order: &eventsv1.Order{RevenueMicros: new(int64(19_990_000))}}
		ev.PropertiesJson = `{"x":["a",null,true,1e+21]}`
	})
	if diff := cmp.Diff(d.Drafts[1].Event, want, protocmp.Transform()); diff != "" {
		t.Errorf("mapped (-got +want):\n%s", diff)
	}
	if diff := cmp.Diff(d.Drafts[2].Flags, []logv1.Flag{logv1.Flag_FLAG_CONTROL_CHARACTERS}); diff != "" {
		t.Errorf("flags (-got +want):\n%s", diff)
	}
	if !d.Drafts[0].Sent.Equal(time.Unix(1767323045, 0)) {
		t.Errorf("sent: got %v", d.Drafts[0].Sent)
	}
}

// deepStruct nests n objects.
func deepStruct(n int) *structpb.Struct {
	s := &structpb.Struct{}
	for range n - 1 {
		s = &structpb.Struct{Fields: map[string]*structpb.Value{"a": structpb.NewStructValue(s)}}
	}
	return s
}

func TestProtobufRefusesEvents(t *testing.T) {
	t.Parallel()
	number := func(f float64) *structpb.Struct {
		return &structpb.Struct{Fields: map[string]*structpb.Value{"a": structpb.NewNumberValue(f)}}
	}
	encode := func(ev *eventsv1.Event) []byte {
		b, err := proto.Marshal(ev)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, c := range []struct {
		what  string
		raw   []byte
		code  ingest.Code
		field string
	}{
		{"bad UTF-8", protowire.AppendString(protowire.AppendTag(encode(event(func(*eventsv1.Event) {})), 2, protowire.BytesType), "\xff"), ingest.CodeNotUTF8, "type"},
		{"garbage", []byte{0xff, 0xff, 0xff}, ingest.CodeNotJSON, ""},
		{"NaN in properties", encode(event(func(ev *eventsv1.Event) { ev.Properties = number(math.NaN()) })), ingest.CodeBadNumber, "properties.a"},
		{"infinity in traits", encode(event(func(ev *eventsv1.Event) {
			ev.Type, ev.Payload = "traits.set", &eventsv1.Event_Traits{Traits: &eventsv1.Traits{Set: number(math.Inf(1))}}
		})), ingest.CodeBadNumber, "traits.set.a"},
		{"just too deep", encode(event(func(ev *eventsv1.Event) { ev.Properties = deepStruct(ingest.MaxDepth) })), ingest.CodeTooDeep, ""},
		{"1,000 deep", encode(event(func(ev *eventsv1.Event) { ev.Properties = deepStruct(1000) })), ingest.CodeTooDeep, "properties"},
		{"negative order", encode(event(func(ev *eventsv1.Event) {
			ev.Type = "order.placed"
			ev.Payload = &eventsv1.Event_Order{Order: &eventsv1.Order{TotalMicros: new(int64(1)), TaxMicros: new(int64(2))}}
		})), ingest.CodeBadNumber, "order.totalMicros"},
		{"release without manual", encode(event(func(ev *eventsv1.Event) {
			ev.Type, ev.Payload = "traits.set", &eventsv1.Event_Traits{Traits: &eventsv1.Traits{Release: []string{"vip"}}}
		})), ingest.CodeBadType, "traits.release"},
		{"wrong payload", encode(event(func(ev *eventsv1.Event) { ev.Payload = &eventsv1.Event_View{View: &eventsv1.View{}} })), ingest.CodeBadType, "view"},
		{"before 1971", encode(event(func(ev *eventsv1.Event) { ev.Time = &timestamppb.Timestamp{Seconds: 1} })), ingest.CodeBadTime, "time"},
		{"no time at all", encode(event(func(ev *eventsv1.Event) { ev.Time = &timestamppb.Timestamp{Seconds: 1767323045, Nanos: -1} })), ingest.CodeBadTime, "time"},
		{"too large", encode(event(func(ev *eventsv1.Event) { ev.PropertiesJson = strings.Repeat("x", 60<<10) })), ingest.CodeTooLarge, ""},
		{"nobody", encode(&eventsv1.Event{Type: "Foo"}), ingest.CodeMissingID, "identifiers"},
	} {
		good := event(func(*eventsv1.Event) {})
		body := bytesOf(t, good)
		body = protowire.AppendBytes(protowire.AppendTag(body, 3, protowire.BytesType), c.raw)
		body = protowire.AppendBytes(protowire.AppendTag(body, 3, protowire.BytesType), encode(good))
		d := native.DecodeProtobuf(body)
		if len(d.Drafts) != 3 || d.Drafts[0].Refused != nil || d.Drafts[2].Refused != nil {
			t.Errorf("%s: the neighbours failed: %+v", c.what, d)
			continue
		}
		r := d.Drafts[1].Refused
		if r == nil || r.Code != c.code || c.field != "" && r.Field != c.field || r.Index != 1 {
			t.Errorf("%s: got %+v, want %s of %q", c.what, r, c.code, c.field)
		}
		if string(d.Drafts[1].Original) != string(c.raw) {
			t.Errorf("%s: bytes not kept", c.what)
		}
	}
	ok := native.DecodeProtobuf(bytesOf(t, event(func(ev *eventsv1.Event) { ev.Properties = deepStruct(ingest.MaxDepth - 1) })))
	if ok.Drafts[0].Refused != nil {
		t.Errorf("at the limit of depth: %+v", ok.Drafts[0].Refused)
	}
}

func TestProtobufRefusesBatches(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]ingest.Code{
		"\xff": ingest.CodeNotJSON, "\x1a\x05abc": ingest.CodeNotJSON, "": ingest.CodeEmptyBatch,
		"\x0a\x01S": ingest.CodeBadType, "\x12\x01x": ingest.CodeBadTime,
		strings.Repeat("\x1a\x00", ingest.MaxListedEvents+1): ingest.CodeTooLarge,
	} {
		if d := native.DecodeProtobuf([]byte(body)); d.Refused == nil || d.Refused.Code != want {
			t.Errorf("%.20q: got %+v, want %s", body, d.Refused, want)
		}
	}
}

// The JSON reader knows the kinds of fields that the vocabulary has; a new kind
// must be taught to it.
func TestVocabularyKinds(t *testing.T) {
	t.Parallel()
	seen := map[protoreflect.FullName]bool{}
	var walk func(md protoreflect.MessageDescriptor)
	walk = func(md protoreflect.MessageDescriptor) {
		if seen[md.FullName()] || md.FullName().Parent() == "google.protobuf" {
			return
		}
		seen[md.FullName()] = true
		for i := range md.Fields().Len() {
			fd := md.Fields().Get(i)
			switch fd.Kind() {
			case protoreflect.StringKind, protoreflect.BoolKind, protoreflect.Int64Kind:
			case protoreflect.MessageKind:
				walk(fd.Message())
			default:
				t.Errorf("%s is a %s, which the JSON reader does not read", fd.FullName(), fd.Kind())
			}
			if fd.IsMap() {
				t.Errorf("%s is a map, which the JSON reader does not read", fd.FullName())
			}
		}
	}
	walk((&eventsv1.Event{}).ProtoReflect().Descriptor())
}

func FuzzDecodeJSON(f *testing.F) {
	for _, s := range []string{
		`{"source":"s","events":[{"type":"order.placed",` + who + `,"order":{"revenueMicros":"1","lines":[{"priceMicros":1}]},"properties":{"a":1e5}}]}`,
		`{"events":[{"type":"traits.set",` + who + `,"traits":{"set":{"a":[1,null,{"b":2}]},"unset":["x"]}}]}`,
		`{"events":[{"type":"Foo",` + who + `,"time":"2026-01-02","context":{"otherJson":"{\"a\":1}"}},{"a":]},7]}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) { checkDecoded(t, native.DecodeJSON([]byte(body))) })
}

func FuzzDecodeProtobuf(f *testing.F) {
	for _, ev := range []*eventsv1.Event{
		event(func(ev *eventsv1.Event) { ev.Properties = deepStruct(3) }),
		event(func(ev *eventsv1.Event) {
			ev.Type, ev.Payload = "order.placed", &eventsv1.Event_Order{Order: &eventsv1.Order{OrderId: "o"}}
		}),
		event(func(ev *eventsv1.Event) { ev.PropertiesJson = `{"a":1}` }),
	} {
		b, err := proto.Marshal(&eventsv1.EventBatch{Source: "s", Events: []*eventsv1.Event{ev}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, body []byte) { checkDecoded(t, native.DecodeProtobuf(body)) })
}

// checkDecoded holds what every decoded call promises.
func checkDecoded(t *testing.T, d ingest.Decoded) {
	t.Helper()
	if (d.Refused == nil) == (len(d.Drafts) == 0) {
		t.Fatalf("refused %v and %d drafts", d.Refused, len(d.Drafts))
	}
	for i, draft := range d.Drafts {
		if r := draft.Refused; r != nil {
			if r.Code == "" || r.Message == "" || r.Index != i || draft.Event != nil || !utf8.ValidString(r.Message+r.Field+r.MessageID) {
				t.Fatalf("draft %d: got %+v", i, *r)
			}
			continue
		}
		if _, err := proto.Marshal(draft.Event); err != nil {
			t.Fatalf("draft %d: %v", i, err)
		}
		if draft.Event.Type == "" || len(draft.Event.Identifiers) == 0 || draft.Event.Properties != nil {
			t.Fatalf("draft %d: got %v", i, draft.Event)
		}
		for _, text := range []string{draft.Event.PropertiesJson, draft.Event.GetContext().GetOtherJson()} {
			if text != "" && (!json.Valid([]byte(text)) || text[0] != '{') {
				t.Fatalf("draft %d: kept %q, not a JSON object", i, text)
			}
		}
	}
}
