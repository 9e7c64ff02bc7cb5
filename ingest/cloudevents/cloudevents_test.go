package cloudevents_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/cloudevents"
)

// Files of calls and what is made of them. The commands:
//
//	structured | batch      the body as it stands
//	binary                  headers, an empty line, the body
//
// In what is printed, a line tells source and flags, or the refusal.
func TestCalls(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata/calls", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "structured":
				return show(t, cloudevents.Decode("application/cloudevents+json; charset=utf-8", nil, []byte(d.Input)))
			case "batch":
				return show(t, cloudevents.Decode("application/cloudevents-batch+json", nil, []byte(d.Input)))
			case "binary":
				contentType, header, body := request(t, d.Input)
				return show(t, cloudevents.Decode(contentType, header, body))
			}
			d.Fatalf(t, "unknown command %s", d.Cmd)
			return ""
		})
	})
}

// request reads headers and a body; a body that begins with base64: is bytes.
func request(t *testing.T, text string) (contentType string, header http.Header, body []byte) {
	t.Helper()
	head, rest, _ := strings.Cut(text+"\n", "\n\n")
	header = http.Header{}
	for line := range strings.Lines(head) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		header.Add(name, value)
	}
	rest = strings.TrimSuffix(rest, "\n")
	if encoded, ok := strings.CutPrefix(rest, "base64:"); ok {
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			t.Fatal(err)
		}
		rest = string(raw)
	}
	return header.Get("Content-Type"), header, []byte(rest)
}

// show writes what was decoded.
func show(t *testing.T, d ingest.Decoded) string {
	t.Helper()
	var b strings.Builder
	if d.Refused != nil {
		b.WriteString(showRefused(d.Refused))
	} else if len(d.Drafts) == 0 {
		b.WriteString("no events\n")
	}
	for _, draft := range d.Drafts {
		if draft.Refused != nil {
			fmt.Fprintf(&b, "#%d %s", draft.Refused.Index, showRefused(draft.Refused))
			continue
		}
		fmt.Fprintf(&b, "source %s %v\n%s\n", draft.Source, draft.Flags, compact(t, draft.Event))
	}
	return b.String()
}

func showRefused(r *ingest.Rejection) string {
	return fmt.Sprintf("%s id=%q field=%q limit=%q\n  %s\n", r.Code, r.MessageID, r.Field, r.Limit, r.Message)
}

// compact is an event as JSON without the spaces that protojson varies.
func compact(t *testing.T, ev *eventsv1.Event) string {
	t.Helper()
	text, err := protojson.Marshal(ev)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// The original of an event in any mode, read again, is the event.
func TestItemIsTheEvent(t *testing.T) {
	t.Parallel()
	data := `{"userId":"u","n":1}`
	header := http.Header{
		"Ce-Id": {"1"}, "Ce-Source": {"/shop"}, "Ce-Specversion": {"1.0"}, "Ce-Type": {"Quiz%20Done"},
		"Ce-Time": {"2026-01-02T03:04:05Z"}, "Ce-Traceparent": {"00-0af7-b7ad-01"},
	}
	envelope := `{"id":"1","source":"/shop","specversion":"1.0","type":"Quiz Done","time":"2026-01-02T03:04:05Z","traceparent":"00-0af7-b7ad-01","datacontenttype":"application/json","data":` + data + `}`
	want := cloudevents.DecodeStructured([]byte(envelope)).Drafts[0]
	if want.Refused != nil {
		t.Fatalf("refused: %+v", want.Refused)
	}
	for mode, decoded := range map[string]ingest.Decoded{
		"binary":       cloudevents.DecodeBinary("application/json", header, []byte(data)),
		"binary, NATS": cloudevents.DecodeBinary("application/json", lower(header), []byte(data)),
		"batch":        cloudevents.DecodeBatch([]byte("[" + envelope + "]")),
	} {
		draft := decoded.Drafts[0]
		again := cloudevents.DecodeItem(draft.Original).Drafts[0]
		for what, got := range map[string]ingest.Draft{"read": draft, "read again": again} {
			if diff := cmp.Diff(got.Event, want.Event, protocmp.Transform()); diff != "" || got.Source != want.Source {
				t.Errorf("%s, %s: source %s (-got +want):\n%s", mode, what, got.Source, diff)
			}
		}
	}
}

// lower is a header as NATS has it: its names as they were sent.
func lower(h http.Header) map[string][]string {
	out := map[string][]string{}
	for name, values := range h {
		out[strings.ToLower(name)] = values
	}
	return out
}

// What was refused in binary mode is kept with its headers.
func TestRefusedBinaryKeepsItsHeaders(t *testing.T) {
	t.Parallel()
	header := http.Header{"Ce-Id": {"1"}, "Ce-Source": {"shop"}, "Ce-Specversion": {"1.0"}, "Ce-Type": {"E"}, "Ce-Subject": {"u"}}
	for _, body := range []string{`{"a":NaN}`, `{"a":`, "{\"a\":\"\xff\"}", strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40)} {
		draft := cloudevents.DecodeBinary("application/json", header, []byte(body)).Drafts[0]
		again := cloudevents.DecodeItem(draft.Original).Drafts[0]
		if draft.Refused == nil || draft.Refused.MessageID != "1" || draft.Source != "shop" {
			t.Fatalf("%.20q: got %+v of %q, want it refused", body, draft.Refused, draft.Source)
		}
		if diff := cmp.Diff(again.Refused, draft.Refused); diff != "" {
			t.Errorf("%.20q: read again (-got +want):\n%s", body, diff)
		}
		var kept struct {
			Data []byte `json:"data_base64"`
		}
		if err := json.Unmarshal(draft.Original, &kept); err != nil || string(kept.Data) != body {
			t.Errorf("%.20q: kept %q, %v", body, kept.Data, err)
		}
	}
}

func TestProtobufData(t *testing.T) {
	t.Parallel()
	order := &eventsv1.Event{
		Id: "another", Identifiers: []*eventsv1.Identifier{{Type: "email", Value: "ann@example.com"}},
		Payload: &eventsv1.Event_Order{Order: &eventsv1.Order{OrderId: "o", RevenueMicros: proto.Int64(12_990_000), Currency: "EUR"}},
	}
	raw, err := proto.Marshal(order)
	if err != nil {
		t.Fatal(err)
	}
	header := http.Header{"Ce-Id": {"1"}, "Ce-Source": {"/shop"}, "Ce-Specversion": {"1.0"}, "Ce-Type": {"order.placed"}, "Ce-Subject": {"user_id:u"}}
	for _, media := range []string{"application/protobuf", "application/x-protobuf"} {
		draft := cloudevents.Decode(media, header, raw).Drafts[0]
		if draft.Refused != nil {
			t.Fatalf("%s: %+v", media, draft.Refused)
		}
		want := proto.CloneOf(order)
		want.Id, want.Type = "1", "order.placed"
		want.Identifiers = append(want.Identifiers, &eventsv1.Identifier{Type: "user_id", Value: "u"})
		want.Context = &eventsv1.Context{OtherJson: `{"cloudevents":{"datacontenttype":"` + media + `","source":"/shop","subject":"user_id:u"}}`}
		if diff := cmp.Diff(draft.Event, want, protocmp.Transform()); diff != "" {
			t.Errorf("%s (-got +want):\n%s", media, diff)
		}
	}
	if r := cloudevents.Decode("application/protobuf", header, []byte("\xff\xff")).Drafts[0].Refused; r == nil || r.Code != ingest.CodeNotJSON || !strings.HasPrefix(r.Field, "data") {
		t.Errorf("bytes that are no message: got %+v", r)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	const envelope = `{"id":"1","source":"s","specversion":"1.0","type":"E","subject":"u","data":{"a":"`
	body := func(n int) []byte {
		return []byte(envelope + strings.Repeat("x", n-len(envelope)-len(`"}}`)) + `"}}`)
	}
	if r := cloudevents.DecodeStructured(body(ingest.MaxEventBytes)).Drafts[0].Refused; r != nil {
		t.Errorf("an event at the limit: %+v", r)
	}
	if r := cloudevents.DecodeStructured(body(ingest.MaxEventBytes + 1)).Drafts[0].Refused; r == nil || r.Code != ingest.CodeTooLarge || r.MessageID != "1" {
		t.Errorf("an event beyond the limit: got %+v", r)
	}
	one := string(body(200))
	batch := func(n int) ingest.Decoded {
		return cloudevents.DecodeBatch([]byte("[" + strings.Repeat(one+",", n-1) + one + "]"))
	}
	d := batch(ingest.MaxBatchEvents + 1)
	for i, draft := range d.Drafts {
		if refused := draft.Refused != nil; refused != (i >= ingest.MaxBatchEvents) || refused && draft.Refused.Index != i {
			t.Fatalf("event %d: got %+v", i, draft.Refused)
		}
	}
	long := cloudevents.DecodeBatch([]byte("[" + strings.Repeat("1,", ingest.MaxListedEvents) + "1]"))
	if long.Refused == nil || long.Refused.Code != ingest.CodeTooLarge || len(long.Drafts) != 0 {
		t.Errorf("a batch of more than are listed: got %+v", long.Refused)
	}
}

func TestSource(t *testing.T) {
	t.Parallel()
	for attribute, want := range map[string]string{
		"web": "web", "a_b-c9": "a_b-c9", strings.Repeat("a", 40): strings.Repeat("a", 40),
		"/mycontext":                                    "mycontext-d42b4a7e",
		"https://github.com/cloudevents":                "https-github-com-cloudevents-53868bca",
		"mailto:cncf-wg-serverless@lists.cncf.io":       "mailto-cncf-wg-serverless-lists-e7ebaab0",
		"urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66": "urn-uuid-6e8bc430-9c3a-11d9-966-a189abac",
		"Web": "web-29751047", "商城": "70a0cb94", "": "e3b0c442",
	} {
		got := cloudevents.Source(attribute)
		if got != want {
			t.Errorf("%q: got %s, want %s", attribute, got, want)
		}
		if !ingest.ValidSource(got) {
			t.Errorf("%q: %s is no source", attribute, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, contentType := range []string{"application/cloudevents+json", "application/cloudevents-batch+json", "application/json", "application/protobuf", ""} {
		for _, body := range []string{
			`{"id":"1","source":"/s","specversion":"1.0","type":"order.placed","subject":"u","data":{"orderId":"o","total":"1.5","identifiers":[{"type":"email","value":"a@b.c"}]}}`,
			`[{"id":"1","source":"/s","specversion":"1.0","type":"traits.set","data":{"traits":{"email":"a@b.c"},"userId":1}},1]`,
			`{"id":"1","source":"/s","specversion":"1.0","type":"E","subject":"u","datacontenttype":"application/json","data_base64":"eyJhIjoxfQ"}`,
			`{"order":{"orderId":"o"},"time":"2026-01-02"}`, "\x0a\x01a",
		} {
			f.Add(contentType, "Euro%20%E2%82%AC", "u", []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, contentType, typ, subject string, body []byte) {
		header := map[string][]string{"ce-id": {"1"}, "ce-source": {"/s"}, "ce-specversion": {"1.0"}, "ce-type": {typ}, "ce-subject": {subject}}
		d := cloudevents.Decode(contentType, header, body)
		if d.Refused != nil && len(d.Drafts) > 0 {
			t.Fatalf("refused %v and %d drafts", d.Refused, len(d.Drafts))
		}
		for i, draft := range d.Drafts {
			checkDraft(t, i, draft)
		}
	})
}

// checkDraft holds what every draft promises.
func checkDraft(t *testing.T, i int, d ingest.Draft) {
	t.Helper()
	if r := d.Refused; r != nil {
		if r.Code == "" || r.Message == "" || r.Index != i || !utf8.ValidString(r.Message+r.Field+r.MessageID) {
			t.Fatalf("draft %d: got %+v", i, *r)
		}
		return
	}
	if _, err := proto.Marshal(d.Event); err != nil { // it checks UTF-8
		t.Fatalf("draft %d: %v", i, err)
	}
	if d.Event.Type == "" || d.Event.Id == "" || len(d.Event.Identifiers) == 0 || !ingest.ValidSource(d.Source) {
		t.Fatalf("draft %d of %s: got %v", i, d.Source, d.Event)
	}
	for _, text := range []string{d.Event.PropertiesJson, d.Event.GetContext().GetOtherJson()} {
		if text != "" && (!json.Valid([]byte(text)) || text[0] != '{') {
			t.Fatalf("draft %d: kept %q, not a JSON object", i, text)
		}
	}
	again := cloudevents.DecodeItem(d.Original)
	if diff := cmp.Diff(again.Drafts[0].Event, d.Event, protocmp.Transform()); diff != "" {
		t.Fatalf("draft %d read again (-got +want):\n%s", i, diff)
	}
}
