package posthog_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/posthog"
)

const (
	uuid7 = "01a201ba-e07f-710c-9b15-70d6747c0444"
	uuid4 = "9b0c1f6e-3a52-4c3b-8f0e-2d6c1a7b9e11"
	oldJS = "17a4e5b2c3d1f0-0e1f2a3b4c5d6e-1f2a3b4c-1fa400-17a4e5b2c3d2a1"
)

func event(t *testing.T, text string) *eventsv1.Event {
	t.Helper()
	e := &eventsv1.Event{}
	if err := protojson.Unmarshal([]byte(text), e); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return e
}

func TestEvent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what, body string
		want       []string // Events in protojson
	}{
		{"a name of the e-commerce specification", `{"event":"order completed","distinct_id":"u1","uuid":"m","timestamp":"2024-01-02T03:04:05.678Z","properties":{"order_id":"o1","revenue":1.5,"$lib":"posthog-node","colour":"red"}}`,
			[]string{`{"id":"m","type":"order.placed","time":"2024-01-02T03:04:05.678Z","identifiers":[{"type":"user_id","value":"u1"}],"order":{"orderId":"o1","revenueMicros":"1500000"},"propertiesJson":"{\"$lib\":\"posthog-node\",\"colour\":\"red\"}"}`}},
		{"a custom event, what stands around it, and no key", `{"api_key":"phc","token":"phc","event":"Download","distinct_id":123456,"library":"posthog-go","type":"capture","uuid":"","send_feature_flags":false,"properties":{"application":"PostHog Go","n":12345678901234567890}}`,
			[]string{`{"type":"Download","identifiers":[{"type":"user_id","value":"123456"}],"propertiesJson":"{\"application\":\"PostHog Go\",\"n\":12345678901234567890}","context":{"otherJson":"{\"library\":\"posthog-go\",\"send_feature_flags\":false,\"type\":\"capture\",\"uuid\":\"\"}"}}`}},
		{"the page of a visitor", `{"event":"$pageview","uuid":"m","properties":{"token":"phc_x","distinct_id":"` + uuid7 + `","$device_id":"` + uuid7 + `","$is_identified":false,"$process_person_profile":false,
			"$current_url":"https://s.example/p?utm_source=goog&utm_campaign=c1","$pathname":"/p","$referrer":"https://r.example/","title":"T","$raw_user_agent":"UA","$browser_language":"de-DE","$timezone":"Europe/Berlin","$ip":"1.2.3.4","utm_source":"goog","utm_campaign":"c1","utm_medium":null,"$time":1700000000.125}}`,
			[]string{`{"id":"m","type":"page.viewed","time":"2023-11-14T22:13:20.125Z","identifiers":[{"type":"anonymous_id","value":"` + uuid7 + `"}],
			"view":{"url":"https://s.example/p?utm_source=goog&utm_campaign=c1","path":"/p","title":"T","referrerUrl":"https://r.example/"},
			"context":{"campaign":{"source":"goog","name":"c1"},"pageUrl":"https://s.example/p?utm_source=goog&utm_campaign=c1","referrerUrl":"https://r.example/","ip":"1.2.3.4","userAgent":"UA","locale":"de-DE","timezone":"Europe/Berlin"},
			"propertiesJson":"{\"$is_identified\":false,\"$process_person_profile\":false,\"utm_medium\":null}"}`}},
		{"a campaign of long ago", `{"event":"E","distinct_id":"u","properties":{"$current_url":"https://s.example/p","$referrer":"$direct","utm_source":"goog"}}`,
			[]string{`{"type":"E","identifiers":[{"type":"user_id","value":"u"}],"context":{"pageUrl":"https://s.example/p"},"propertiesJson":"{\"$referrer\":\"$direct\",\"utm_source\":\"goog\"}"}`}},
		{"the campaign of this session", `{"event":"E","distinct_id":"u","properties":{"$current_url":"https://s.example/p","$session_entry_utm_source":"bing","utm_source":"goog"}}`,
			[]string{`{"type":"E","identifiers":[{"type":"user_id","value":"u"}],"context":{"pageUrl":"https://s.example/p","campaign":{"source":"bing"}},"propertiesJson":"{\"utm_source\":\"goog\"}"}`}},
		{"a screen", `{"event":"$screen","distinct_id":"u","properties":{"$screen_name":"Home"}}`,
			[]string{`{"type":"screen.viewed","identifiers":[{"type":"user_id","value":"u"}],"view":{"name":"Home"}}`}},
		{"an event that sets facts besides", `{"event":"order completed","distinct_id":"u1","uuid":"m","timestamp":"2024-01-02T03:04:05Z","$set_once":{"first":"b"},"properties":{"order_id":"o1","$set":{"email":"a@b.c","n":1},"$set_once":{"first":"a","x":2},"$unset":["gone"],"$groups":{"company":"g1","project":"p"}}}`,
			[]string{`{"id":"m","type":"order.placed","time":"2024-01-02T03:04:05Z","identifiers":[{"type":"user_id","value":"u1"},{"type":"company_id","value":"g1"}],"order":{"orderId":"o1"},"propertiesJson":"{\"$groups\":{\"company\":\"g1\",\"project\":\"p\"}}"}`,
				`{"id":"m","type":"traits.set","time":"2024-01-02T03:04:05Z","identifiers":[{"type":"user_id","value":"u1"},{"type":"email","value":"a@b.c"}],"traits":{"set":{"email":"a@b.c","n":1},"setOnce":{"first":"b","x":2},"unset":["gone"]}}`}},
		{"identify joins the visitor", `{"event":"$identify","distinct_id":"u1","$set":{"email":"a@b.c"},"$set_once":{"plan":"p"},"properties":{"distinct_id":"u1","$anon_distinct_id":"` + uuid7 + `","$device_id":"` + uuid4 + `","$is_identified":true}}`,
			[]string{`{"type":"traits.set","identifiers":[{"type":"user_id","value":"u1"},{"type":"anonymous_id","value":"` + uuid7 + `"},{"type":"device_id","value":"` + uuid4 + `"},{"type":"email","value":"a@b.c"}],"traits":{"set":{"email":"a@b.c"},"setOnce":{"plan":"p"}},"propertiesJson":"{\"$is_identified\":true}"}`}},
		{"identify without facts", `{"event":"$identify","distinct_id":"u1","properties":{"$anon_distinct_id":"u1"}}`,
			[]string{`{"type":"traits.set","identifiers":[{"type":"user_id","value":"u1"}],"traits":{"set":{}}}`}},
		{"a group of the kind that is a company", `{"event":"$groupidentify","distinct_id":"$organization_id:5","properties":{"$group_key":"id:5","$group_type":"organization","$group_set":{"a":1},"$lib":"posthog-go"}}`,
			[]string{`{"type":"group.joined","group":{"groupId":"id:5","traits":{"a":1}},"propertiesJson":"{\"$group_type\":\"organization\",\"$lib\":\"posthog-go\"}"}`}},
		{"a person joins a company", `{"event":"$groupidentify","distinct_id":"u1","properties":{"$group_key":"g","$group_type":"company","$groups":{"company":"g"}}}`,
			[]string{`{"type":"group.joined","identifiers":[{"type":"user_id","value":"u1"}],"group":{"groupId":"g","traits":{}},"propertiesJson":"{\"$group_type\":\"company\",\"$groups\":{\"company\":\"g\"}}"}`}},
		{"a group of another kind", `{"event":"$groupidentify","distinct_id":"u1","properties":{"$group_key":"g","$group_type":"project","$group_set":{"a":1}}}`,
			[]string{`{"type":"$groupidentify","identifiers":[{"type":"user_id","value":"u1"}],"propertiesJson":"{\"$group_key\":\"g\",\"$group_set\":{\"a\":1},\"$group_type\":\"project\"}"}`}},
		{"an alias", `{"event":"$create_alias","properties":{"distinct_id":"B","alias":"A"}}`,
			[]string{`{"type":"identity.aliased","identifiers":[{"type":"user_id","value":"B"},{"type":"user_id","value":"A"}],"alias":{"previous":{"type":"user_id","value":"A"}}}`}},
		{"an alias of a visitor", `{"event":"$merge_dangerously","distinct_id":"B","properties":{"alias":"` + uuid7 + `"}}`,
			[]string{`{"type":"identity.aliased","identifiers":[{"type":"user_id","value":"B"},{"type":"anonymous_id","value":"` + uuid7 + `"}],"alias":{"previous":{"type":"anonymous_id","value":"` + uuid7 + `"},"force":true}}`}},
		{"an alias of a visitor, unforced", `{"event":"$create_alias","distinct_id":"B","properties":{"alias":"` + uuid7 + `"}}`,
			[]string{`{"type":"identity.aliased","identifiers":[{"type":"user_id","value":"B"},{"type":"anonymous_id","value":"` + uuid7 + `"}],"alias":{"previous":{"type":"anonymous_id","value":"` + uuid7 + `"}}}`}},
		{"two users who are one", `{"event":"$merge_dangerously","distinct_id":"B","properties":{"alias":"A"}}`,
			[]string{`{"type":"identity.aliased","identifiers":[{"type":"user_id","value":"B"},{"type":"user_id","value":"A"}],"alias":{"previous":{"type":"user_id","value":"A"},"force":true}}`}},
		{"a forced alias of oneself joins nothing", `{"event":"$merge_dangerously","distinct_id":"B","properties":{"alias":"B"}}`,
			[]string{`{"type":"identity.aliased","identifiers":[{"type":"user_id","value":"B"}],"alias":{"previous":{"type":"user_id","value":"B"},"force":true}}`}},
		{"an alias of oneself joins nothing", `{"event":"$create_alias","distinct_id":"B","properties":{"distinct_id":"B","alias":"B"}}`,
			[]string{`{"type":"identity.aliased","identifiers":[{"type":"user_id","value":"B"}],"alias":{"previous":{"type":"user_id","value":"B"}}}`}},
		{"facts that are none are kept", `{"event":"E","distinct_id":"u","$set":7,"properties":{"$set":"x","$unset":3,"$set_once":{}}}`,
			[]string{`{"type":"E","identifiers":[{"type":"user_id","value":"u"}],"propertiesJson":"{\"$set\":\"x\",\"$unset\":3}","context":{"otherJson":"{\"$set\":7}"}}`}},
		{"an id of another kind", `{"event":"E","distinct_id":"u","properties":{"$insert_id":"i"}}`, []string{`{"id":"i","type":"E","identifiers":[{"type":"user_id","value":"u"}]}`}},
		{"the second API", `{"event":"E","distinct_id":"` + uuid7 + `","uuid":"m","timestamp":"2024-01-02T03:04:05Z","session_id":"s","options":{"process_person_profile":false},"properties":{}}`,
			[]string{`{"id":"m","type":"E","time":"2024-01-02T03:04:05Z","identifiers":[{"type":"anonymous_id","value":"` + uuid7 + `"}],"context":{"otherJson":"{\"options\":{\"process_person_profile\":false},\"session_id\":\"s\"}"}}`}},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			got := posthog.Decode(posthog.Capture, []byte(c.body), time.Time{})
			if len(got.Drafts) != len(c.want) || !got.Single {
				t.Fatalf("got %d drafts of a single call %v, want %d", len(got.Drafts), got.Single, len(c.want))
			}
			for i, d := range got.Drafts {
				if d.Refused != nil {
					t.Fatalf("refused: %+v", *d.Refused)
				}
				if diff := cmp.Diff(d.Event, event(t, c.want[i]), protocmp.Transform()); diff != "" {
					t.Errorf("draft %d (-got +want):\n%s", i, diff)
				}
			}
			again := posthog.DecodeItem(posthog.Capture, got.Drafts[0].Original)
			if diff := cmp.Diff(again, got, protocmp.Transform()); diff != "" {
				t.Errorf("read again (-again +first):\n%s", diff)
			}
		})
	}
}

// Who an event is of: a visitor taken for a user could never be joined to him.
func TestWho(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ what, properties, id, want string }{
		{"a server's id", `{}`, "u1", "user_id"},
		{"a server's random id may be a user's", `{"$lib":"posthog-node"}`, uuid7, "user_id"},
		{"a server's event without a person", `{"$lib":"posthog-node","$process_person_profile":false}`, uuid7, "anonymous_id"},
		{"told not to be identified", `{"$is_identified":false,"$device_id":"d"}`, "mine", "anonymous_id"},
		{"told to be identified", `{"$is_identified":true,"$device_id":"` + uuid7 + `","$process_person_profile":false}`, uuid4, "user_id"},
		{"the user that was registered", `{"$user_id":"` + uuid4 + `","$process_person_profile":false}`, uuid4, "user_id"},
		{"the device itself", `{"$device_id":"d"}`, "d", "anonymous_id"},
		{"an old browser", `{}`, oldJS, "anonymous_id"},
		{"a browser that tells nothing else", `{"$lib":"web"}`, uuid7, "anonymous_id"},
		{"a telephone that tells nothing else", `{"$lib":"posthog-ios"}`, strings.ToUpper(uuid4), "anonymous_id"},
		{"a user of a browser that tells nothing else", `{"$lib":"web"}`, "ann", "user_id"},
	} {
		body := `{"event":"E","distinct_id":"` + c.id + `","properties":` + c.properties + `}`
		d := posthog.Decode(posthog.Capture, []byte(body), time.Time{})
		if got := d.Drafts[0].Event.GetIdentifiers(); len(got) == 0 || got[0].Type != c.want || got[0].Value != c.id {
			t.Errorf("%s: got %v, want %s", c.what, got, c.want)
		}
	}
	// After a logout the device stays, and the visitor may be somebody else.
	d := posthog.Decode(posthog.Capture, []byte(`{"event":"E","distinct_id":"`+uuid4+`","properties":{"$is_identified":false,"$device_id":"d"}}`), time.Time{})
	if got := d.Drafts[0].Event; len(got.Identifiers) != 1 || !strings.Contains(got.PropertiesJson, `"$device_id":"d"`) {
		t.Errorf("got %v, want one identifier and the device kept", got)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", ingest.MaxIDCharacters+1)
	for _, c := range []struct {
		what, body string
		code       ingest.Code
		field      string
	}{
		{"no name", `{"distinct_id":"u","uuid":"m"}`, ingest.CodeMissingEvent, "event"},
		{"an empty name", `{"event":" ","distinct_id":"u","uuid":"m"}`, ingest.CodeMissingEvent, "event"},
		{"nobody", `{"event":"E","uuid":"m"}`, ingest.CodeMissingID, "distinct_id"},
		{"nobody, in another way", `{"event":"E","distinct_id":{"a":1},"uuid":"m"}`, ingest.CodeMissingID, "distinct_id"},
		{"a placeholder", `{"event":"E","distinct_id":"undefined","uuid":"m","$set":{"email":"a@b.c"}}`, ingest.CodeBlockedID, "distinct_id"},
		{"everybody without cookies", `{"event":"E","distinct_id":"$posthog_cookieless","uuid":"m"}`, ingest.CodeBlockedID, "distinct_id"},
		{"a long id", `{"event":"E","distinct_id":"` + long + `","uuid":"m"}`, ingest.CodeIDTooLong, "distinct_id"},
		{"a long name", `{"event":"` + long + `","distinct_id":"u","uuid":"m"}`, ingest.CodeIDTooLong, "event"},
		{"a bad time", `{"event":"E","distinct_id":"u","timestamp":"yesterday","uuid":"m"}`, ingest.CodeBadTime, "timestamp"},
		{"a time that is none", `{"event":"E","distinct_id":"u","timestamp":[1],"uuid":"m"}`, ingest.CodeBadTime, "timestamp"},
		{"a bad amount", `{"event":"order completed","distinct_id":"u","properties":{"revenue":"lots","$set":{"a":1}},"uuid":"m"}`, ingest.CodeBadNumber, "properties.revenue"},
		{"an alias of nothing", `{"event":"$create_alias","distinct_id":"u","uuid":"m"}`, ingest.CodeMissingID, "properties.alias"},
		{"a group without a key", `{"event":"$groupidentify","distinct_id":"u","properties":{"$group_type":"company"},"uuid":"m"}`, ingest.CodeMissingID, "properties.$group_key"},
		{"a group that is nobody's", `{"event":"$groupidentify","distinct_id":"$project_p","properties":{"$group_type":"project","$group_key":"p"},"uuid":"m"}`, ingest.CodeMissingID, "distinct_id"},
		{"no object", `7`, ingest.CodeNotJSON, ""},
		{"no JSON", `hello`, ingest.CodeNotJSON, ""},
		{"too deep", `{"uuid":"m","event":"E","distinct_id":"u","properties":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, ingest.CodeTooDeep, "properties"},
		{"too large", `{"uuid":"m","event":"E","distinct_id":"u","properties":{"a":"` + strings.Repeat("x", ingest.MaxEventBytes) + `"}}`, ingest.CodeTooLarge, ""},
	} {
		d := posthog.Decode(posthog.Capture, []byte(c.body), time.Time{})
		if len(d.Drafts) != 1 || d.Drafts[0].Refused == nil {
			t.Errorf("%s: got %d drafts, not refused", c.what, len(d.Drafts))
			continue
		}
		r := d.Drafts[0].Refused
		if r.Code != c.code || !strings.HasPrefix(r.Field, c.field) || r.Message == "" || strings.HasPrefix(c.body, "{") && r.MessageID != "m" {
			t.Errorf("%s: got %+v, want %s of %q", c.what, *r, c.code, c.field)
		}
	}
}

func TestBodies(t *testing.T) {
	t.Parallel()
	item := `{"event":"E","distinct_id":"u","properties":{"token":"phc_p"}}`
	for _, c := range []struct {
		what  string
		call  posthog.Call
		body  string
		items int
		key   string
		code  ingest.Code
	}{
		{"one", posthog.Capture, item, 1, "phc_p", ""},
		{"one on the path of batches", posthog.Batch, `{"api_key":"k","event":"E","distinct_id":"u"}`, 1, "k", ""},
		{"a list", posthog.Capture, ` [` + item + `,` + item + `]`, 2, "phc_p", ""},
		{"a batch", posthog.Capture, `{"token":"k","batch":[` + item + `],"sent_at":"2026-01-01T00:00:00Z"}`, 1, "k", ""},
		{"a batch whose key is inside", posthog.Batch, `{"batch":[` + item + `]}`, 1, "phc_p", ""},
		{"facts about a person", posthog.Engage, `{"$token":"k","$distinct_id":"u","$set":{"a":1}}`, 1, "k", ""},
		{"a bad item among good ones", posthog.Batch, `{"batch":[` + item + `,{"event":tru},` + item + `]}`, 3, "phc_p", ""},
		{"no batch", posthog.Batch, `{"count":1}`, 0, "", ingest.CodeEmptyBatch},
		{"an empty batch", posthog.Batch, `{"api_key":"k","batch":[]}`, 0, "k", ingest.CodeEmptyBatch},
		{"a batch of nothing", posthog.Batch, `{"batch":null}`, 0, "", ingest.CodeEmptyBatch},
		{"an empty list", posthog.Capture, `[]`, 0, "", ingest.CodeEmptyBatch},
		{"a batch that is none", posthog.Batch, `{"batch":{"a":1}}`, 0, "", ingest.CodeBadType},
		{"broken beside the batch", posthog.Batch, `{"batch":[` + item + `],"x":tru}`, 0, "", ingest.CodeNotJSON},
		{"the most", posthog.Batch, `{"batch":[` + strings.Repeat(item+",", ingest.MaxBatchEvents-1) + item + `]}`, ingest.MaxBatchEvents, "phc_p", ""},
		{"one more", posthog.Batch, `{"batch":[` + strings.Repeat(item+",", ingest.MaxBatchEvents) + item + `]}`, 0, "phc_p", ingest.CodeTooLarge},
		{"too many with what they set", posthog.Batch, `{"api_key":"k","batch":[{"event":"E","distinct_id":"u","$set":{"a":1}},` + strings.Repeat(item+",", ingest.MaxBatchEvents-2) + item + `]}`, 0, "k", ingest.CodeTooLarge},
	} {
		d := posthog.Decode(c.call, []byte(c.body), time.Time{})
		var code ingest.Code
		if d.Refused != nil {
			code = d.Refused.Code
		}
		if d.Items() != c.items || d.WriteKey != c.key || code != c.code {
			t.Errorf("%s: got %d items, key %q, refused %q; want %d, %q, %q", c.what, d.Items(), d.WriteKey, code, c.items, c.key, c.code)
		}
	}
}

// What an event sets stands behind all events, and knows which it is of.
func TestBeside(t *testing.T) {
	t.Parallel()
	d := posthog.Decode(posthog.Batch, []byte(`{"batch":[{"event":"A","distinct_id":"u"},{"event":"B","distinct_id":"u","$set":{"a":1}},{"event":"C"},{"event":"D","distinct_id":"u","$unset":["b"]}]}`), time.Time{})
	var types []string
	for _, draft := range d.Drafts {
		types = append(types, draft.Event.GetType())
	}
	if diff := cmp.Diff(types, []string{"A", "B", "", "D", "traits.set", "traits.set"}); diff != "" {
		t.Errorf("(-got +want):\n%s", diff)
	}
	if got := []int{d.Items(), d.Item(3), d.Item(4), d.Item(5), d.Drafts[2].Refused.Index}; !cmp.Equal(got, []int{4, 3, 1, 3, 2}) {
		t.Errorf("got items, and events of drafts 3, 4 and 5, and the index refused: %v", got)
	}
}

func at(s string) time.Time {
	v, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return v
}

func TestTimes(t *testing.T) {
	t.Parallel()
	sent := at("2026-01-01T00:00:10Z")
	for _, c := range []struct {
		what, body     string
		happened, sent time.Time
	}{
		{"a time", `{"batch":[{"event":"E","distinct_id":"u","timestamp":"2026-01-01T00:00:00+01:00","offset":5}]}`, at("2025-12-31T23:00:00Z"), sent},
		{"milliseconds", `{"batch":[{"event":"E","distinct_id":"u","timestamp":1767225600000}]}`, at("2026-01-01T00:00:00Z"), sent},
		{"an offset", `{"batch":[{"event":"E","distinct_id":"u","offset":4000}]}`, time.Time{}, sent},
		{"the event's own clock", `[{"event":"E","distinct_id":"u","sent_at":"2026-01-01T00:02:00Z"}]`, time.Time{}, at("2026-01-01T00:02:00Z")},
		{"a clock that is not to be used", `{"event":"E","distinct_id":"u","properties":{"$ignore_sent_at":true}}`, time.Time{}, time.Time{}},
		{"nor by the second API", `{"event":"E","distinct_id":"u","options":{"disable_skew_correction":true}}`, time.Time{}, time.Time{}},
		{"old events", `{"historical_migration":true,"sent_at":"2026-01-01T00:01:00Z","batch":[{"event":"E","distinct_id":"u","timestamp":"2020-01-01"}]}`, at("2020-01-01T00:00:00Z"), time.Time{}},
		{"an absurd offset", `{"event":"E","distinct_id":"u","offset":99999999999999}`, time.Time{}, sent},
	} {
		d := posthog.Decode(posthog.Capture, []byte(c.body), sent).Drafts[0]
		var happened time.Time
		if d.Event.GetTime() != nil {
			happened = d.Event.Time.AsTime()
		}
		if want := map[string]time.Duration{"an offset": 4 * time.Second}[c.what]; d.Age != want {
			t.Errorf("%s: got age %v, want %v", c.what, d.Age, want)
		}
		if !happened.Equal(c.happened) || !d.Sent.Equal(c.sent) {
			t.Errorf("%s: got %v sent %v, want %v sent %v", c.what, happened, d.Sent, c.happened, c.sent)
		}
	}
	if got := posthog.Sent(http.Header{}, url.Values{"_": {"1767225610000"}}); !got.Equal(sent) {
		t.Errorf("got %v of the address, want %v", got, sent)
	}
	if got := posthog.Sent(http.Header{"Posthog-Request-Timestamp": {"2026-01-01T00:00:10Z"}}, nil); !got.Equal(sent) {
		t.Errorf("got %v of the header, want %v", got, sent)
	}
}

// A retry carries another time of sending, beside the events or in the address;
// the events must be equal, also those of browsers, which tell but an offset.
func TestRetryIsEqual(t *testing.T) {
	t.Parallel()
	body := `{"batch":[{"event":"E","uuid":"m","distinct_id":"u","properties":{"$time":1767225600.5,"b":1,"a":2},"$set":{"x":1}},{"event":"E","uuid":"n","distinct_id":"u","offset":1500,"$set":{"x":2}}],"sent_at":"SENT"}`
	first := posthog.Decode(posthog.Batch, []byte(strings.ReplaceAll(body, "SENT", "2026-01-02T03:04:05Z")), at("2026-01-02T03:04:05Z"))
	second := posthog.Decode(posthog.Batch, []byte(strings.ReplaceAll(body, "SENT", "2026-01-02T03:09:05Z")), at("2026-01-02T03:09:05Z"))
	for i := range first.Drafts {
		if diff := cmp.Diff(first.Drafts[i].Event, second.Drafts[i].Event, protocmp.Transform()); diff != "" {
			t.Errorf("(-first +second):\n%s", diff)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"batch":[{"event":"order completed","distinct_id":"u","uuid":"m","properties":{"revenue":"1.5","$set":{"email":"a@b.c"},"products":[{"price":1}]}}],"sent_at":"2026-01-01"}`,
		`[{"event":"$pageview","properties":{"distinct_id":"d","$device_id":"d","$current_url":"%zz?utm_source","utm_source":1,"title":"\ud800"}}]`,
		`{"event":"$identify","distinct_id":"u","$set":{"phone":1},"properties":{"$anon_distinct_id":"null","$set":[1],"$unset":{"a":1}}}`,
		`{"event":"$groupidentify","distinct_id":"$company_g","$set":{"a":1},"properties":{"$group_type":"company","$group_key":"g","$groups":{"company":"h","account":1}}}`,
		`{"event":"$create_alias","distinct_id":"u","properties":{"alias":"u","distinct_id":"v","$distinct_id":"w"}}`,
		`{"event":"traits.set","distinct_id":"u","$set":{"a":1},"properties":{"b":2},"offset":-1,"distinct_id":"u"}`,
		`{"$distinct_id":"u","$set":{"a":1}}`,
	} {
		for n := range uint8(3) {
			f.Add(s, n)
		}
	}
	calls := []posthog.Call{posthog.Capture, posthog.Batch, posthog.Engage}
	f.Fuzz(func(t *testing.T, body string, n uint8) {
		call := calls[int(n)%len(calls)]
		d := posthog.Decode(call, []byte(body), time.Time{})
		if (d.Refused == nil) == (len(d.Drafts) == 0) || len(d.Drafts) > ingest.MaxBatchEvents {
			t.Fatalf("refused %v and %d drafts", d.Refused, len(d.Drafts))
		}
		for i, draft := range d.Drafts {
			checkDraft(t, i, draft)
			again := posthog.DecodeItem(call, draft.Original)
			if r := again.Drafts[0].Refused; (r == nil) != (d.Drafts[d.Item(i)].Refused == nil) {
				t.Fatalf("draft %d: refused %v when read again", i, r)
			}
			other := again.Drafts[0].Event
			if d.Item(i) != i {
				other = again.Drafts[1].Event
			}
			if draft.Event != nil && (!proto.Equal(draft.Event, other) || draft.Age != again.Drafts[0].Age) {
				t.Fatalf("draft %d: %v, and %v when read again", i, draft.Event, other)
			}
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
	if d.Event.Type == "" || len(d.Event.Identifiers) == 0 && d.Event.GetGroup().GetGroupId() == "" || len(d.Event.Identifiers) > ingest.MaxIdentifiers {
		t.Fatalf("draft %d: got %v", i, d.Event)
	}
	for _, text := range []string{d.Event.PropertiesJson, d.Event.GetContext().GetOtherJson()} {
		if text != "" && (!json.Valid([]byte(text)) || text[0] != '{') {
			t.Fatalf("draft %d: kept %q, not a JSON object", i, text)
		}
	}
}

func BenchmarkDecodeBatch(b *testing.B) {
	var s strings.Builder
	s.WriteString(`{"api_key":"k","sent_at":"2026-11-21T20:48:08.2Z","batch":[`)
	for i := range 100 {
		if i > 0 {
			s.WriteByte(',')
		}
		s.WriteString(`{"event":"$pageview","uuid":"m` + strconv.Itoa(i) + `","timestamp":"2026-11-21T20:48:08.157Z","properties":{"distinct_id":"` + uuid7 + `","$device_id":"` + uuid7 + `","$is_identified":false,"$current_url":"http://localhost/p?utm_source=goog","$pathname":"/p","$referrer":"$direct","title":"T","$browser":"Chrome","$os":"Linux","$lib":"web","$raw_user_agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36","utm_source":"goog","$session_id":"` + uuid4 + `","token":"phc_x"}}`)
	}
	s.WriteString(`]}`)
	body := []byte(s.String())
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if d := posthog.Decode(posthog.Batch, body, time.Time{}); len(d.Drafts) != 100 || d.Drafts[99].Refused != nil {
			b.Fatal("not decoded")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/event")
}
