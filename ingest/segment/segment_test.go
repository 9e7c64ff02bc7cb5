package segment_test

import (
	"encoding/json"
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
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/segment"
)

const (
	noZone    = logv1.Flag_FLAG_NO_ZONE
	duplicate = logv1.Flag_FLAG_DUPLICATE_KEY
	control   = logv1.Flag_FLAG_CONTROL_CHARACTERS
)

func TestSingle(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what  string
		call  segment.Call
		body  string
		want  string // an Event in protojson
		flags []logv1.Flag
	}{
		{"track", segment.Track, `{"messageId":"m","userId":"u","anonymousId":"a","event":"Order Completed","properties":{"orderId":"o","revenue":1},"timestamp":"2026-01-02T03:04:05.678Z"}`,
			`{"id":"m","type":"order.placed","time":"2026-01-02T03:04:05.678Z","identifiers":[{"type":"user_id","value":"u"},{"type":"anonymous_id","value":"a"}],"order":{"orderId":"o","revenueMicros":"1000000"}}`, nil},
		{"custom track keeps its name", segment.Track, `{"userId":"u","event":"Foo Bar","properties":{"a":1}}`,
			`{"type":"Foo Bar","identifiers":[{"type":"user_id","value":"u"}],"propertiesJson":"{\"a\":1}"}`, nil},
		{"ids as numbers, null user", segment.Track, `{"messageId":1,"userId":null,"anonymousId":12345678901234567890,"event":7}`,
			`{"id":"1","type":"7","identifiers":[{"type":"anonymous_id","value":"12345678901234567890"}]}`, nil},
		{"the path tells the type", segment.Page, `{"type":"track","userId":"u","name":"Home"}`,
			`{"type":"page.viewed","identifiers":[{"type":"user_id","value":"u"}],"view":{"name":"Home"}}`, nil},
		{"page", segment.Page, `{"userId":"u","name":"Home","category":"Docs","properties":{"name":"Home","url":"http://x/p","path":"/p","title":"T","search":"?q","referrer":"http://r","keywords":["k"]}}`,
			`{"type":"page.viewed","identifiers":[{"type":"user_id","value":"u"}],"view":{"name":"Home","category":"Docs","url":"http://x/p","path":"/p","title":"T","search":"?q","referrerUrl":"http://r"},"propertiesJson":"{\"keywords\":[\"k\"]}"}`, nil},
		{"page whose two names differ", segment.Page, `{"userId":"u","name":"Home","properties":{"name":"Start"}}`,
			`{"type":"page.viewed","identifiers":[{"type":"user_id","value":"u"}],"view":{"name":"Home"},"propertiesJson":"{\"name\":\"Start\"}"}`, nil},
		{"page whose address is only in the context", segment.Page, `{"userId":"u","context":{"page":{"url":"http://x/p","path":"/p"}}}`,
			`{"type":"page.viewed","identifiers":[{"type":"user_id","value":"u"}],"view":{"url":"http://x/p"},"context":{"pageUrl":"http://x/p","otherJson":"{\"page\":{\"path\":\"/p\"}}"}}`, nil},
		{"screen", segment.Screen, `{"userId":"u","name":"S","context":{"page":{"url":"http://x/p"}}}`,
			`{"type":"screen.viewed","identifiers":[{"type":"user_id","value":"u"}],"view":{"name":"S"},"context":{"pageUrl":"http://x/p"}}`, nil},
		{"identify", segment.Identify, `{"userId":"u","traits":{"email":"a@b.c","phone":123456,"n":1,"big":9007199254740993,"gone":null,"o":{"x":[1]}}}`,
			`{"type":"traits.set","identifiers":[{"type":"user_id","value":"u"},{"type":"email","value":"a@b.c"},{"type":"phone","value":"123456"}],
			  "traits":{"set":{"email":"a@b.c","phone":123456,"n":1,"big":"9007199254740993","gone":null,"o":{"x":[1]}}}}`, nil},
		{"identify whose traits are in the context", segment.Identify, `{"userId":"u","context":{"traits":{"email":"a@b.c","n":1}}}`,
			`{"type":"traits.set","identifiers":[{"type":"user_id","value":"u"},{"type":"email","value":"a@b.c"}],"traits":{"set":{"email":"a@b.c","n":1}},
			"context":{"otherJson":"{\"traits\":{\"email\":\"a@b.c\",\"n\":1}}"}}`, nil},
		{"identify without traits", segment.Identify, `{"userId":"u"}`, `{"type":"traits.set","identifiers":[{"type":"user_id","value":"u"}],"traits":{"set":{}}}`, nil},
		{"group", segment.Group, `{"userId":"u","groupId":7,"traits":{"name":"Initech"}}`,
			`{"type":"group.joined","identifiers":[{"type":"user_id","value":"u"}],"group":{"groupId":"7","traits":{"name":"Initech"}}}`, nil},
		{"alias of an anonymous id", segment.Alias, `{"userId":"u","previousId":"a"}`,
			`{"type":"identity.aliased","identifiers":[{"type":"user_id","value":"u"},{"type":"anonymous_id","value":"a"}],"alias":{"previous":{"type":"anonymous_id","value":"a"}}}`, nil},
		{"alias of oneself joins nothing", segment.Alias, `{"userId":"u1","previousId":"u1"}`,
			`{"type":"identity.aliased","identifiers":[{"type":"user_id","value":"u1"}],"alias":{"previous":{"type":"user_id","value":"u1"}}}`, nil},
		{"alias of oneself as number", segment.Alias, `{"userId":1,"previousId":"1"}`,
			`{"type":"identity.aliased","identifiers":[{"type":"user_id","value":"1"}],"alias":{"previous":{"type":"user_id","value":"1"}}}`, nil},
		{"alias of an address", segment.Alias, `{"userId":"u","previousId":"jen@email.com"}`,
			`{"type":"identity.aliased","identifiers":[{"type":"user_id","value":"u"},{"type":"email","value":"jen@email.com"}],"alias":{"previous":{"type":"email","value":"jen@email.com"}}}`, nil},
		{"alias that repeats the anonymous id", segment.Alias, `{"userId":"u","anonymousId":"a","previousId":"a"}`,
			`{"type":"identity.aliased","identifiers":[{"type":"user_id","value":"u"},{"type":"anonymous_id","value":"a"}],"alias":{"previous":{"type":"anonymous_id","value":"a"}}}`, nil},
		{"context", segment.Track, `{"userId":"u","event":"E","channel":"web","version":2,"_metadata":{"b":1},"integrations":{"All":true},"writeKey":"k","receivedAt":"2001-01-01T00:00:00Z",
			"context":{"ip":"1.2.3.4","userAgent":"UA","locale":"de","timezone":"Europe/Berlin","channel":"c","groupId":"g","campaign":{"source":"s","medium":"m","name":"n","term":"t","content":"c","extra":1},
			"page":{"url":"http://x","referrer":"http://r","title":"T"},"library":{"name":"l"}}}`,
			`{"type":"E","identifiers":[{"type":"user_id","value":"u"},{"type":"company_id","value":"g"}],"context":{"ip":"1.2.3.4","userAgent":"UA","locale":"de","timezone":"Europe/Berlin",
			"campaign":{"source":"s","medium":"m","name":"n","term":"t","content":"c"},"pageUrl":"http://x","referrerUrl":"http://r",
			"otherJson":"{\"_metadata\":{\"b\":1},\"campaign\":{\"extra\":1},\"channel\":\"c\",\"integrations\":{\"All\":true},\"library\":{\"name\":\"l\"},\"message.channel\":\"web\",\"page\":{\"title\":\"T\"},\"receivedAt\":\"2001-01-01T00:00:00Z\",\"version\":2}"}}`, nil},
		{"the company of the context", segment.Page, `{"anonymousId":"a","context":{"groupId":7}}`,
			`{"type":"page.viewed","identifiers":[{"type":"anonymous_id","value":"a"},{"type":"company_id","value":"7"}],"view":{}}`, nil},
		{"a company that is none", segment.Page, `{"anonymousId":"a","context":{"groupId":"null"}}`,
			`{"type":"page.viewed","identifiers":[{"type":"anonymous_id","value":"a"}],"view":{},"context":{"otherJson":"{\"groupId\":\"null\"}"}}`, nil},
		{"a group call names its company itself", segment.Group, `{"userId":"u","groupId":"g2","context":{"groupId":"g1"}}`,
			`{"type":"group.joined","identifiers":[{"type":"user_id","value":"u"}],"group":{"groupId":"g2","traits":{}},"context":{"otherJson":"{\"groupId\":\"g1\"}"}}`, nil},
		{"leaving a group", segment.Track, `{"userId":"u","event":"Group Left","properties":{"groupId":"g"}}`,
			`{"type":"group.left","identifiers":[{"type":"user_id","value":"u"}],"group":{"groupId":"g"}}`, nil},
		{"leaving a group in other words", segment.Track, `{"userId":"u","event":"group_left","properties":{"group_id":7,"why":"moved"}}`,
			`{"type":"group.left","identifiers":[{"type":"user_id","value":"u"}],"group":{"groupId":"7"},"propertiesJson":"{\"why\":\"moved\"}"}`, nil},
		{"leaving whatever group", segment.Track, `{"userId":"u","event":"Group Left"}`,
			`{"type":"group.left","identifiers":[{"type":"user_id","value":"u"}],"group":{}}`, nil},
		{"a void", segment.Track, `{"userId":"u","event":"Event Voided","properties":{"event_id":"e1","time":"2026-01-02T03:04:05Z","reason":"twice","actor":"ann"}}`,
			`{"type":"event.voided","identifiers":[{"type":"user_id","value":"u"}],"void":{"eventId":"e1","time":"2026-01-02T03:04:05Z","reason":"twice","actor":"ann"}}`, nil},
		{"a correction", segment.Track, `{"userId":"u","event":"Order Completed","corrects":"e1","issuedAt":"2026-01-02T03:04:05Z","properties":{"order_id":"o","revenue":5}}`,
			`{"type":"order.placed","identifiers":[{"type":"user_id","value":"u"}],"corrects":"e1","issuedAt":"2026-01-02T03:04:05Z","order":{"orderId":"o","revenueMicros":"5000000"}}`, nil},
		{"a correction whose time has no zone", segment.Track, `{"userId":"u","event":"E","corrects":7,"issuedAt":"2026-01-02T03:04:05"}`,
			`{"type":"E","identifiers":[{"type":"user_id","value":"u"}],"corrects":"7","issuedAt":"2026-01-02T03:04:05Z"}`, []logv1.Flag{noZone}},
		{"properties of the same names are the publisher's", segment.Track, `{"userId":"u","event":"Quiz Done","properties":{"corrects":9,"issuedAt":"x"}}`,
			`{"type":"Quiz Done","identifiers":[{"type":"user_id","value":"u"}],"propertiesJson":"{\"corrects\":9,\"issuedAt\":\"x\"}"}`, nil},
		{"what corrects nothing is kept", segment.Track, `{"userId":"u","event":"E","corrects":{"a":1},"issuedAt":"whenever"}`,
			`{"type":"E","identifiers":[{"type":"user_id","value":"u"}],"context":{"otherJson":"{\"corrects\":{\"a\":1},\"issuedAt\":\"whenever\"}"}}`, nil},
		{"parts of the wrong kind are kept", segment.Track, `{"userId":"u","anonymousId":{"x":1},"event":"E","properties":[1],"context":"c","traits":{"t":1},"name":"n"}`,
			`{"type":"E","identifiers":[{"type":"user_id","value":"u"}],"context":{"otherJson":"{\"anonymousId\":{\"x\":1},\"context\":\"c\",\"name\":\"n\",\"properties\":[1],\"traits\":{\"t\":1}}"}}`, nil},
		{"external ids", segment.Track, `{"userId":"u","event":"E","context":{"externalIds":[{"id":"7","type":"CRM_ID","collection":"users","encoding":"none"},{"id":"8","type":"ios.idfa","collection":"users"},
			{"id":"9","type":"acct_id","collection":"accounts"},{"id":"a@b.c","type":"email","collection":"users","encoding":"none"},5]}}`,
			`{"type":"E","identifiers":[{"type":"user_id","value":"u"},{"type":"crm_id","value":"7"},{"type":"email","value":"a@b.c"}],
			"context":{"otherJson":"{\"externalIds\":[{\"collection\":\"users\",\"id\":\"8\",\"type\":\"ios.idfa\"},{\"collection\":\"accounts\",\"id\":\"9\",\"type\":\"acct_id\"},5]}"}}`, nil},
		{"traits in the context", segment.Track, `{"userId":"u","event":"E","context":{"traits":{"email":"a@b.c","phone":13800138000,"name":"A"}}}`,
			`{"type":"E","identifiers":[{"type":"user_id","value":"u"},{"type":"email","value":"a@b.c"},{"type":"phone","value":"13800138000"}],
			"context":{"otherJson":"{\"traits\":{\"email\":\"a@b.c\",\"name\":\"A\",\"phone\":13800138000}}"}}`, nil},
		{"traits in the context that name nobody", segment.Page, `{"anonymousId":"a","context":{"traits":{"email":"none","phone":{"n":1}}}}`,
			`{"type":"page.viewed","identifiers":[{"type":"anonymous_id","value":"a"}],"view":{},
			"context":{"otherJson":"{\"traits\":{\"email\":\"none\",\"phone\":{\"n\":1}}}"}}`, nil},
		{"traits told twice", segment.Identify, `{"userId":"u","traits":{"email":"a@b.c"},"context":{"traits":{"email":"a@b.c"}}}`,
			`{"type":"traits.set","identifiers":[{"type":"user_id","value":"u"},{"type":"email","value":"a@b.c"}],"traits":{"set":{"email":"a@b.c"}},
			"context":{"otherJson":"{\"traits\":{\"email\":\"a@b.c\"}}"}}`, nil},
		{"a message id of the wrong kind", segment.Track, `{"userId":"u","event":"E","messageId":{"a":1}}`,
			`{"type":"E","identifiers":[{"type":"user_id","value":"u"}],"context":{"otherJson":"{\"messageId\":{\"a\":1}}"}}`, nil},
		{"explicit timestamp first", segment.Track, `{"userId":"u","event":"E","timestamp":"2024-01-02T03:04:05Z","originalTimestamp":"2026-01-02T03:04:05Z"}`,
			`{"type":"E","time":"2024-01-02T03:04:05Z","identifiers":[{"type":"user_id","value":"u"}],"context":{"otherJson":"{\"originalTimestamp\":\"2026-01-02T03:04:05Z\"}"}}`, nil},
		{"else the original one", segment.Track, `{"userId":"u","event":"E","timestamp":"","originalTimestamp":"2026-01-02T03:04:05Z"}`,
			`{"type":"E","time":"2026-01-02T03:04:05Z","identifiers":[{"type":"user_id","value":"u"}]}`, nil},
		{"no zone", segment.Track, `{"userId":"u","event":"E","timestamp":"2026-01-02T03:04:05"}`,
			`{"type":"E","time":"2026-01-02T03:04:05Z","identifiers":[{"type":"user_id","value":"u"}]}`, []logv1.Flag{noZone}},
		{"milliseconds", segment.Track, `{"userId":"u","event":"E","timestamp":1767323045000}`,
			`{"type":"E","time":"2026-01-02T03:04:05Z","identifiers":[{"type":"user_id","value":"u"}]}`, nil},
		{"duplicate key", segment.Track, `{"userId":"x","userId":"u","event":"E"}`, `{"type":"E","identifiers":[{"type":"user_id","value":"u"}]}`, []logv1.Flag{duplicate}},
		{"control characters", segment.Track, `{"userId":"u","event":"E","properties":{"a":"x\u0007y"}}`,
			`{"type":"E","identifiers":[{"type":"user_id","value":"u"}],"propertiesJson":"{\"a\":\"x\\u0007y\"}"}`, []logv1.Flag{control}},
		{"all flags", segment.Track, `{"userId":"u","event":"Order Completed","timestamp":"2026-01-02","properties":{"a":"\u0001","b":1,"b":2,"currency":"XYZ"}}`,
			`{"type":"order.placed","time":"2026-01-02T00:00:00Z","identifiers":[{"type":"user_id","value":"u"}],"order":{"currency":"XYZ"},"propertiesJson":"{\"a\":\"\\u0001\",\"b\":2}"}`,
			[]logv1.Flag{noZone, logv1.Flag_FLAG_UNKNOWN_CURRENCY, control, duplicate, logv1.Flag_FLAG_NO_VALUE}},
		{"ids at the limit", segment.Track, `{"userId":"` + strings.Repeat("é", 200) + `","event":"E"}`,
			`{"type":"E","identifiers":[{"type":"user_id","value":"` + strings.Repeat("é", 200) + `"}]}`, nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			d := segment.Decode(c.call, []byte(c.body))
			if d.Refused != nil || !d.Single || len(d.Drafts) != 1 || d.Drafts[0].Refused != nil {
				t.Fatalf("got %+v, refused %+v", d, d.Drafts[0].Refused)
			}
			want := &eventsv1.Event{}
			if err := protojson.Unmarshal([]byte(c.want), want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(d.Drafts[0].Event, want, protocmp.Transform()); diff != "" {
				t.Errorf("(-got +want):\n%s", diff)
			}
			if diff := cmp.Diff(d.Drafts[0].Flags, c.flags); diff != "" {
				t.Errorf("flags (-got +want):\n%s", diff)
			}
			if got := string(d.Drafts[0].Original); got != c.body {
				t.Errorf("original: got %q", got)
			}
		})
	}
}

func TestSingleRefuses(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", ingest.MaxIDCharacters+1)
	for _, c := range []struct {
		call  segment.Call
		body  string
		code  ingest.Code
		field string
	}{
		{segment.Track, `{not json`, ingest.CodeNotJSON, ""},
		{segment.Track, ``, ingest.CodeNotJSON, ""},
		{segment.Track, `[]`, ingest.CodeNotJSON, ""},
		{segment.Track, `{"userId":"u","event":"E"} x`, ingest.CodeNotJSON, ""},
		{segment.Track, "{\"userId\":\"\xff\",\"event\":\"E\"}", ingest.CodeNotUTF8, ""},
		{segment.Track, `{"userId":"u","event":"E","properties":` + strings.Repeat(`{"a":`, 1000) + `1` + strings.Repeat(`}`, 1000) + `}`, ingest.CodeTooDeep, ""},
		{segment.Track, `{"event":"E"}`, ingest.CodeMissingID, "userId"},
		{segment.Track, `{"userId":"","anonymousId":null,"event":"E"}`, ingest.CodeMissingID, "userId"},
		{segment.Track, `{"userId":" ","event":"E"}`, ingest.CodeMissingID, "userId"},
		{segment.Track, `{"userId":{"a":1},"event":"E"}`, ingest.CodeMissingID, "userId"},
		{segment.Track, `{"user_id":"u","event":"E"}`, ingest.CodeMissingID, "userId"},
		{segment.Track, `{"event":"E","context":{"traits":{"email":"a@b.c","phone":"13800138000"}}}`, ingest.CodeMissingID, "userId"},
		{segment.Track, `{"userId":"u"}`, ingest.CodeMissingEvent, "event"},
		{segment.Track, `{"userId":"u","event":""}`, ingest.CodeMissingEvent, "event"},
		{segment.Track, `{"userId":"u","event":"` + long + `"}`, ingest.CodeIDTooLong, "event"},
		{segment.Track, `{"userId":"` + long + `","event":"E"}`, ingest.CodeIDTooLong, "userId"},
		{segment.Track, `{"anonymousId":"` + long + `","event":"E"}`, ingest.CodeIDTooLong, "anonymousId"},
		{segment.Track, `{"userId":"u","messageId":"` + long + `","event":"E"}`, ingest.CodeIDTooLong, "messageId"},
		{segment.Alias, `{"userId":"u","previousId":"` + long + `"}`, ingest.CodeIDTooLong, "previousId"},
		{segment.Alias, `{"userId":"u"}`, ingest.CodeMissingID, "previousId"},
		{segment.Group, `{"userId":"u"}`, ingest.CodeMissingID, "groupId"},
		{segment.Group, `{"userId":"u","groupId":"` + long + `"}`, ingest.CodeIDTooLong, "groupId"},
		{segment.Track, `{"userId":"u","event":"E","timestamp":"soon"}`, ingest.CodeBadTime, "timestamp"},
		{segment.Track, `{"userId":"u","event":"E","timestamp":"1970-12-31T23:59:59Z"}`, ingest.CodeBadTime, "timestamp"},
		{segment.Track, `{"userId":"u","event":"E","timestamp":{"a":1}}`, ingest.CodeBadTime, "timestamp"},
		{segment.Track, `{"userId":"u","event":"E","originalTimestamp":"soon"}`, ingest.CodeBadTime, "originalTimestamp"},
		{segment.Track, `{"userId":"u","event":"E","corrects":"` + long + `"}`, ingest.CodeIDTooLong, "corrects"},
		{segment.Track, `{"userId":"u","event":"E","corrects":"e","issuedAt":"soon"}`, ingest.CodeBadTime, "issuedAt"},
		{segment.Track, `{"userId":"u","event":"E","corrects":"e","issuedAt":[1]}`, ingest.CodeBadTime, "issuedAt"},
		{segment.Track, `{"userId":"u","event":"Event Voided","properties":{"reason":"r"}}`, ingest.CodeMissingID, "properties.event_id"},
		{segment.Track, `{"userId":"u","event":"Event Voided","properties":{"event_id":"e","time":"soon"}}`, ingest.CodeBadTime, "properties.time"},
		{segment.Track, `{"userId":"u","event":"Order Completed","properties":{"revenue":NaN}}`, ingest.CodeBadNumber, "properties.revenue"},
		{segment.Track, `{"userId":"u","event":"Order Completed","properties":{"revenue":-Infinity}}`, ingest.CodeBadNumber, "properties.revenue"},
		{segment.Track, `{"userId":"u","event":"Order Completed","properties":{"revenue":1e400}}`, ingest.CodeBadNumber, "properties.revenue"},
		{segment.Track, `{"userId":"u","event":"Order Completed","properties":{"revenue":"12,50"}}`, ingest.CodeBadNumber, "properties.revenue"},
		{segment.Track, `{"userId":"u","event":"Order Completed","properties":{"revenue":-1}}`, ingest.CodeBadNumber, "properties.revenue"},
		{segment.Track, `{"userId":"u","event":"Order Refunded","properties":{"total":-1}}`, ingest.CodeBadNumber, "properties.total"},
		{segment.Track, `{"userId":"u","event":"E","p":"` + strings.Repeat("x", ingest.MaxEventBytes) + `"}`, ingest.CodeTooLarge, ""},
	} {
		d := segment.Decode(c.call, []byte(c.body))
		if len(d.Drafts) != 1 || d.Drafts[0].Refused == nil {
			t.Errorf("%s %.60q: not refused", c.call, c.body)
			continue
		}
		r := d.Drafts[0].Refused
		if r.Code != c.code || c.field != "" && r.Field != c.field || r.Message == "" || r.Limit == "" || len(r.Message) > 600 || !utf8.ValidString(r.Message) {
			t.Errorf("%s %.60q: got %+v, want %s of %q", c.call, c.body, *r, c.code, c.field)
		}
		if string(d.Drafts[0].Original) != c.body {
			t.Errorf("%s %.60q: bytes not kept", c.call, c.body)
		}
	}
}

// A refusal says what was met where something else was wanted.
func TestRefusalsSayWhatWasMet(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		call       segment.Call
		body       string
		code       ingest.Code
		says, wish string
	}{
		{segment.Track, `{"event":"E"}`, ingest.CodeMissingID, "neither userId nor anonymousId is given", "userId or anonymousId"},
		{segment.Track, `{"userId":true,"event":"E"}`, ingest.CodeMissingID, "userId is a boolean", "userId or anonymousId"},
		{segment.Track, `{"userId":{},"event":"E"}`, ingest.CodeMissingID, "userId is an object", "userId or anonymousId"},
		{segment.Track, `{"userId":"","anonymousId":["a"],"event":"E"}`, ingest.CodeMissingID, "anonymousId is an array", "userId or anonymousId"},
		{segment.Batch, `{"batch":{}}`, ingest.CodeBadType, "batch is an object, an array wanted", "an array"},
		{segment.Batch, `{"batch":"x"}`, ingest.CodeBadType, "batch is a string, an array wanted", "an array"},
		{segment.Batch, `{"batch":-1}`, ingest.CodeBadType, "batch is a number, an array wanted", "an array"},
		{segment.Batch, `{"batch":false}`, ingest.CodeBadType, "batch is a boolean, an array wanted", "an array"},
		{segment.Batch, `{"batch":null}`, ingest.CodeEmptyBatch, "batch is null", "at least 1 item"},
	} {
		d := segment.Decode(c.call, []byte(c.body))
		r := d.Refused
		if len(d.Drafts) == 1 {
			r = d.Drafts[0].Refused
		}
		if r == nil || r.Code != c.code || !strings.Contains(r.Message, c.says) || !strings.HasPrefix(r.Limit, c.wish) {
			t.Errorf("%s: got %+v, want %s saying %q, limit %q", c.body, r, c.code, c.says, c.wish)
		}
	}
}

func TestSizeLimit(t *testing.T) {
	t.Parallel()
	const frame = `{"userId":"u","event":"E","p":""}`
	at := strings.Replace(frame, `""`, `"`+strings.Repeat("x", ingest.MaxEventBytes-len(frame))+`"`, 1)
	if d := segment.Decode(segment.Track, []byte(at)); d.Drafts[0].Refused != nil {
		t.Errorf("%d bytes: %+v", len(at), d.Drafts[0].Refused)
	}
	if d := segment.Decode(segment.Track, []byte(at+" ")); d.Drafts[0].Refused == nil {
		t.Errorf("%d bytes: not refused", len(at)+1)
	}
}

func TestBatch(t *testing.T) {
	t.Parallel()
	big := `{"type":"track","messageId":"big","userId":"u","event":"E","p":"` + strings.Repeat("x", 60<<10) + `"}`
	deep := `{"type":"track","messageId":"deep","userId":"u","event":"E","p":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`
	body := `{"writeKey":"wk","sentAt":"2026-01-02T03:04:05Z","context":{"ip":"1.1.1.1","library":{"name":"batch"}},"integrations":{"A":1,"B":2},"batch":[
		{"type":"track","messageId":"good","userId":"u","event":"E","context":{"ip":"2.2.2.2"},"integrations":{"B":3},"sentAt":"2026-01-02T03:04:06Z"},
		` + big + `, {"type":"track","messageId":"nojson","userId":nope}, ` + deep + `,
		{"type":"nonsense","userId":"u"}, {"userId":"u"}, 42, {"type":"identify","userId":"u2"}]}`
	d := segment.Decode(segment.Batch, []byte(body))
	if d.Refused != nil || d.Single || d.WriteKey != "wk" {
		t.Fatalf("got %+v", d)
	}
	type row struct {
		Code    ingest.Code
		ID      string
		Index   int
		Refused bool
	}
	var got []row
	for _, draft := range d.Drafts {
		if r := draft.Refused; r != nil {
			got = append(got, row{r.Code, r.MessageID, r.Index, true})
			if draft.Event != nil {
				t.Errorf("item %d is refused and has an event", r.Index)
			}
		} else {
			got = append(got, row{ID: draft.Event.Id})
		}
	}
	want := []row{{ID: "good"}, {ingest.CodeTooLarge, "big", 1, true}, {ingest.CodeNotJSON, "nojson", 2, true}, {ingest.CodeTooDeep, "deep", 3, true},
		{ingest.CodeBadType, "", 4, true}, {ingest.CodeMissingType, "", 5, true}, {ingest.CodeNotJSON, "", 6, true}, {}}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Fatalf("(-got +want):\n%s", diff)
	}
	if string(d.Drafts[1].Original) != big {
		t.Error("bytes of the large item not kept")
	}
	first, last := d.Drafts[0], d.Drafts[7]
	wantContext := &eventsv1.Context{Ip: "2.2.2.2", OtherJson: `{"integrations":{"A":1,"B":3},"library":{"name":"batch"}}`}
	if diff := cmp.Diff(first.Event.Context, wantContext, protocmp.Transform()); diff != "" {
		t.Errorf("merged context (-got +want):\n%s", diff)
	}
	wantContext = &eventsv1.Context{Ip: "1.1.1.1", OtherJson: `{"integrations":{"A":1,"B":2},"library":{"name":"batch"}}`}
	if diff := cmp.Diff(last.Event.Context, wantContext, protocmp.Transform()); diff != "" {
		t.Errorf("inherited context (-got +want):\n%s", diff)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if !first.Sent.Equal(at.Add(time.Second)) || !last.Sent.Equal(at) {
		t.Errorf("sent: got %v and %v, want the item's, else the batch's", first.Sent, last.Sent)
	}
}

func TestBatchRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		body string
		code ingest.Code
	}{
		{`{"batch":[]}`, ingest.CodeEmptyBatch},
		{`{"batch": [ ] }`, ingest.CodeEmptyBatch},
		{`{}`, ingest.CodeEmptyBatch},
		{`{"batch":{}}`, ingest.CodeBadType},
		{`{"batch":null}`, ingest.CodeEmptyBatch},
		{`{"batch":nope}`, ingest.CodeNotJSON},
		{`[]`, ingest.CodeNotJSON},
		{`nope`, ingest.CodeNotJSON},
		{``, ingest.CodeNotJSON},
		{`{"batch":[{"type":"track"}`, ingest.CodeNotJSON},
		{`{"batch":[{"type":"track"}]`, ingest.CodeNotJSON},
		{`{"batch":[{}],"context":{"a":}}`, ingest.CodeNotJSON},
		{`{"batch":[{}],"other":nope}`, ingest.CodeNotJSON},
		{"{\"batch\":[{}],\"context\":\"\xff\"}", ingest.CodeNotUTF8},
		{`{"batch":[{}],"context":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`, ingest.CodeTooDeep},
		{`{"batch":[{}],"context":{"a":"` + strings.Repeat("x", ingest.MaxEventBytes) + `"}}`, ingest.CodeTooLarge},
		{`{"batch":[` + strings.Repeat("1,", ingest.MaxListedEvents) + `1]}`, ingest.CodeTooLarge},
		{`{"batch":[` + strings.Repeat("{},", 2000) + `{}],"context":{"a":"` + strings.Repeat("x", 10_000) + `"}}`, ingest.CodeTooLarge},
	} {
		d := segment.Decode(segment.Batch, []byte(c.body))
		if d.Refused == nil || d.Refused.Code != c.code || d.Drafts != nil {
			t.Errorf("%.60q: got %+v with %d drafts, want %s", c.body, d.Refused, len(d.Drafts), c.code)
		}
	}
}

func TestBatchCountLimit(t *testing.T) {
	t.Parallel()
	item := `{"type":"track","userId":"u","event":"E"}`
	body := `{"batch":[` + strings.Repeat(item+",", ingest.MaxBatchEvents+1) + item + `]}`
	d := segment.Decode(segment.Batch, []byte(body))
	if len(d.Drafts) != ingest.MaxBatchEvents+2 {
		t.Fatalf("got %d drafts", len(d.Drafts))
	}
	for i, draft := range d.Drafts {
		refused := draft.Refused != nil
		if refused != (i >= ingest.MaxBatchEvents) {
			t.Fatalf("item %d: refused %v", i, refused)
		}
		if refused && (draft.Refused.Code != ingest.CodeTooLarge || draft.Refused.Index != i || !strings.Contains(draft.Refused.Limit, "2500")) {
			t.Fatalf("item %d: got %+v", i, *draft.Refused)
		}
	}
}

// Retries carry another sentAt and nothing else; the events must be equal.
func TestRetryIsEqual(t *testing.T) {
	t.Parallel()
	item := `{"type":"track","messageId":"m","userId":"u","event":"E","properties":{"b":1,"a":2},"sentAt":"SENT"}`
	first := segment.Decode(segment.Batch, []byte(`{"batch":[`+strings.ReplaceAll(item, "SENT", "2026-01-02T03:04:05Z")+`],"sentAt":"2026-01-02T03:04:05Z"}`))
	second := segment.Decode(segment.Batch, []byte(`{"batch":[`+strings.ReplaceAll(item, "SENT", "2026-01-02T03:05:05Z")+`],"sentAt":"2026-01-02T03:05:05Z"}`))
	if diff := cmp.Diff(first.Drafts[0].Event, second.Drafts[0].Event, protocmp.Transform()); diff != "" {
		t.Errorf("(-first +second):\n%s", diff)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"batch":[{"type":"track","userId":"u","event":"Order Completed","properties":{"revenue":"1.5","products":[{"price":1}]}}],"context":{"ip":"1"}}`,
		`{"type":"alias","userId":"u","previousId":"u"}`,
		`{"userId":1,"event":"x","timestamp":1e9,"context":{"externalIds":[{"id":"1","type":"a_id"}]},"properties":{"a":"\ud800"}}`,
		`{"batch":[{"a":]},1,"x"]}`,
		"{\"userId\":\"\x01\",\"name\":\"n\",\"properties\":{\"name\":\"m\"}}",
	} {
		f.Add(s, uint8(0))
		f.Add(s, uint8(6))
	}
	calls := []segment.Call{segment.Track, segment.Identify, segment.Page, segment.Screen, segment.Group, segment.Alias, segment.Batch}
	f.Fuzz(func(t *testing.T, body string, n uint8) {
		d := segment.Decode(calls[int(n)%len(calls)], []byte(body))
		if (d.Refused == nil) == (len(d.Drafts) == 0) {
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
	if d.Event.Type == "" || len(d.Event.Identifiers) == 0 {
		t.Fatalf("draft %d: got %v", i, d.Event)
	}
	for _, text := range []string{d.Event.PropertiesJson, d.Event.GetContext().GetOtherJson()} {
		if text != "" && (!json.Valid([]byte(text)) || text[0] != '{') {
			t.Fatalf("draft %d: kept %q, not a JSON object", i, text)
		}
	}
}

func BenchmarkDecodeBatch(b *testing.B) {
	body := batchOf(100)
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if d := segment.Decode(segment.Batch, body); len(d.Drafts) != 100 || d.Drafts[99].Refused != nil {
			b.Fatal("not decoded")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/event")
}

// batchOf makes a batch like those of a browser: half pages, a quarter each
// orders and custom events.
func batchOf(n int) []byte {
	var s strings.Builder
	s.WriteString(`{"writeKey":"wk","sentAt":"2026-11-21T20:48:08.2Z","batch":[`)
	for i := range n {
		if i > 0 {
			s.WriteByte(',')
		}
		const context = `"context":{"page":{"path":"/p","referrer":"","search":"?utm_source=goog","title":"T","url":"http://localhost/p?utm_source=goog"},"userAgent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36","locale":"en-US","library":{"name":"analytics.js","version":"npm:next-1.84.3"},"campaign":{"source":"goog","medium":"cpc","name":"c1"},"timezone":"UTC"},"integrations":{"Segment.io":true},"anonymousId":"e9134305-d29e-4cb5-a1ed-9fab53023e97","userId":null,"_metadata":{"bundled":["Segment.io"],"unbundled":[]}`
		id := `"timestamp":"2026-11-21T20:48:08.157Z","messageId":"ajs-next-1795294088157-` + strconv.Itoa(i) + `",`
		switch i % 4 {
		case 0, 1:
			s.WriteString(`{"type":"page","name":"Home",` + id + `"properties":{"path":"/p","referrer":"","search":"?utm_source=goog","title":"T","url":"http://localhost/p?utm_source=goog","name":"Home"},` + context + `}`)
		case 2:
			s.WriteString(`{"type":"track","event":"Order Completed",` + id + `"properties":{"order_id":"o` + strconv.Itoa(i) + `","revenue":25.00,"total":30,"shipping":3,"tax":2,"currency":"USD","products":[{"product_id":"p1","name":"Monopoly","price":19,"quantity":1},{"product_id":"p2","name":"Uno","price":3,"quantity":2}]},` + context + `}`)
		default:
			s.WriteString(`{"type":"track","event":"Video Played",` + id + `"properties":{"session":"s","position":12,"quality":"hd"},` + context + `}`)
		}
	}
	s.WriteString(`]}`)
	return []byte(s.String())
}
