package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
)

const acceptedAnswer = `{"success":true,"accepted":1,"duplicates":0,"rejected":[],"receipt":"R1"}`

// desk answers both sides of telling by hand: customers by reference, and what
// ingest says.
type desk struct {
	queryv1connect.UnimplementedQueryServiceHandler

	customers map[string]*queryv1.Profile
	// told are the traits after the event; what was posted is marked in them
	// with its id where they say "new".
	told   map[string]*queryv1.Trait
	behind bool // the receipt is not reached
	// holds is from when on the server takes what was posted to hold; nil: as
	// told.
	holds  *timestamppb.Timestamp
	status int // of ingest; 0: 200
	answer string

	mu     sync.Mutex
	posted []string // bodies; guarded by mu
	keys   []string // Authorization of each; guarded by mu
}

func (d *desk) GetProfile(_ context.Context, req *queryv1.GetProfileRequest) (*queryv1.GetProfileResponse, error) {
	c := proto.CloneOf(d.customers[req.GetCustomer()])
	switch {
	case c == nil:
		return nil, connect.NewError(connect.CodeNotFound, errors.New("no customer"))
	case req.GetReceipt() == "":
		return &queryv1.GetProfileResponse{Profile: c}, nil
	case req.GetReceipt() != "R1":
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("receipt"))
	case d.behind:
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("partition 1 has folded record 3 of 4"))
	}
	c.Traits = map[string]*queryv1.Trait{}
	for name, t := range d.told {
		c.Traits[name] = proto.CloneOf(t)
		if t.GetEventId() == "new" {
			c.Traits[name].EventId = d.lastID()
		}
	}
	return &queryv1.GetProfileResponse{Profile: c, Freshness: &queryv1.Freshness{LogTime: at("2026-03-02T00:00:00Z")}}, nil
}

func (d *desk) GetTimeline(_ context.Context, req *queryv1.GetTimelineRequest) (*queryv1.GetTimelineResponse, error) {
	if req.GetCustomer() != annID || len(req.GetTypes()) != 1 || req.GetTypes()[0] != "traits.set" {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("another timeline"))
	}
	return &queryv1.GetTimelineResponse{Entries: []*queryv1.Entry{
		{EventId: "another", OccurredAt: at("2026-03-02T12:00:00Z")}, {EventId: d.lastID(), OccurredAt: d.holds},
	}}, nil
}

func (d *desk) lastID() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var batch handBatch
	if err := json.Unmarshal([]byte(d.posted[len(d.posted)-1]), &batch); err != nil {
		return err.Error()
	}
	return batch.Events[0].ID
}

func (d *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	d.mu.Lock()
	d.posted, d.keys = append(d.posted, string(body)), append(d.keys, r.Header.Get("Authorization"))
	d.mu.Unlock()
	if d.status != 0 {
		w.WriteHeader(d.status)
	}
	io.WriteString(w, d.answer)
}

func serveDesk(t *testing.T, d *desk) map[string]string {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(queryv1connect.NewQueryServiceHandler(d))
	mux.Handle("POST /v1/events", d)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return map[string]string{"DOSSIER_SERVER": server.URL, "USER": "wang"}
}

const annID = "01JDA0000000000000000000AA"

func ann() *queryv1.Profile {
	return &queryv1.Profile{
		CustomerId: annID,
		Identifiers: []*queryv1.Identifier{
			{Type: "anonymous_id", Value: "web-1"}, {Type: "crm_id", Value: "c:7"},
			{Type: "email", Value: "ann@example.com"}, {Type: "phone", Value: "+8613800000000"}, {Type: "user_id", Value: "42"},
		},
		Traits: map[string]*queryv1.Trait{
			"level":  {Value: structpb.NewNumberValue(3), Source: "crm", OccurredAt: at("2026-01-02T00:00:00Z")},
			"vip":    {Value: structpb.NewBoolValue(true), Manual: true, Source: "console"},
			"region": {Value: structpb.NewStringValue("华东"), Manual: true, Source: "console"},
		},
	}
}

// One event is posted, told by hand, for an identifier that leads to the
// customer; its values are the bytes that were typed.
func TestSetPostsOneEvent(t *testing.T) {
	t.Parallel()
	other := &queryv1.Profile{CustomerId: "01JDB0000000000000000000BB"}
	for _, tc := range []struct {
		name      string
		customers map[string]*queryv1.Profile
		env       map[string]string
		args      []string
		want      string // ID stands for the event's id
		wantKey   string
	}{
		{
			"by identifier", map[string]*queryv1.Profile{"email:ann@example.com": ann()}, nil,
			[]string{"set", "email:ann@example.com", "level=4", "big=9007199254740993", `sizes=["S", "M"]`, "code=007", "note=a=b <c>", "none=null", "--reason", " on the phone "},
			`{"source":"console","events":[{"id":"ID","type":"traits.set","identifiers":[{"type":"email","value":"ann@example.com"}],` +
				`"traits":{"set":{"big":9007199254740993,"code":"007","level":4,"none":null,"note":"a=b \u003cc\u003e","sizes":["S","M"]},"manual":true,"reason":"on the phone","actor":"wang"}}]}`, "",
		},
		{
			"by id: the surest identifier", map[string]*queryv1.Profile{"user_id:42": ann()}, nil,
			[]string{"set", annID, "vip=false", "--reason", "r", "--actor", "li", "--at", "2026-01-01"},
			`{"source":"console","events":[{"id":"ID","type":"traits.set","time":"2026-01-01T00:00:00Z","identifiers":[{"type":"user_id","value":"42"}],` +
				`"traits":{"set":{"vip":false},"manual":true,"reason":"r","actor":"li"}}]}`, "",
		},
		{
			"by id: the surest that still leads there", map[string]*queryv1.Profile{"user_id:42": other, "email:ann@example.com": ann(), "anonymous_id:web-1": ann()}, nil,
			[]string{"set", annID, "vip=false", "--reason", "r"},
			`{"source":"console","events":[{"id":"ID","type":"traits.set","identifiers":[{"type":"email","value":"ann@example.com"}],` +
				`"traits":{"set":{"vip":false},"manual":true,"reason":"r","actor":"wang"}}]}`, "",
		},
		{
			"release, with a key", map[string]*queryv1.Profile{"user_id:42": ann()}, map[string]string{"DOSSIER_WRITE_KEY": "desk=tell,other"},
			[]string{"unset", "user_id:42", "vip", "region", "level", "--reason", "r"},
			`{"source":"console","events":[{"id":"ID","type":"traits.set","identifiers":[{"type":"user_id","value":"42"}],` +
				`"traits":{"release":["vip","region"],"manual":true,"reason":"r","actor":"wang"}}]}`, "Basic dGVsbDo=",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d := &desk{customers: map[string]*queryv1.Profile{annID: ann()}, answer: acceptedAnswer}
			maps.Copy(d.customers, tc.customers)
			env := serveDesk(t, d)
			maps.Copy(env, tc.env)
			_, _, stderr := dossier(t, env, tc.args...)
			if len(d.posted) != 1 {
				t.Fatalf("%d events were posted (%s), want 1", len(d.posted), stderr)
			}
			id := d.lastID()
			if len(id) < 20 {
				t.Errorf("event id %q: too short to be unique", id)
			}
			if diff := cmp.Diff(tc.want, strings.TrimSpace(strings.Replace(d.posted[0], id, "ID", 1))); diff != "" {
				t.Errorf("posted (-want +got):\n%s", diff)
			}
			if d.keys[0] != tc.wantKey {
				t.Errorf("key %q, want %q", d.keys[0], tc.wantKey)
			}
		})
	}
}

func byHand(v *structpb.Value, eventID string) *queryv1.Trait {
	return &queryv1.Trait{Value: v, Manual: true, Source: "console", EventId: eventID, OccurredAt: at("2026-02-01T00:00:00Z")}
}

// What is printed is what the profile shows, whatever was told.
func TestSetSaysHowItStands(t *testing.T) {
	t.Parallel()
	four, imported := structpb.NewNumberValue(4), ann().GetTraits()["level"]
	for _, tc := range []struct {
		name           string
		args           []string
		told           map[string]*queryv1.Trait
		status         int
		en, zh, stderr string
	}{
		{
			"set", []string{"set", "level=4"}, map[string]*queryv1.Trait{"level": byHand(four, "new")}, exitDone,
			"level = 4 (set by hand), before: 3\n", "level = 4 (人工)，此前：3\n", "",
		},
		{
			"set over what was set by hand", []string{"set", "vip=4"}, map[string]*queryv1.Trait{"vip": byHand(four, "new")}, exitDone,
			"vip = 4 (set by hand), before: true (set by hand)\n", "vip = 4 (人工)，此前：true (人工)\n", "",
		},
		{
			"set something new", []string{"set", "a\x1b[2J=4"}, map[string]*queryv1.Trait{"a\x1b[2J": byHand(four, "new")}, exitDone,
			"a[2J = 4 (set by hand)\n", "a[2J = 4 (人工)\n", "",
		},
		{
			"set, but outranked", []string{"set", "level=9"}, map[string]*queryv1.Trait{"level": byHand(four, "later")}, exitDone,
			"level = 4 (set by hand); what was just told does not show; a later telling by hand stands, or the profile holds no more\n",
			"level = 4 (人工)；刚才的设置没有显示：已有更晚的人工设置，或档案已达上限\n", "",
		},
		{
			"set, and does not show", []string{"set", "level=9"}, nil, exitDone,
			"level: what was just told does not show; a later telling by hand stands, or the profile holds no more\n",
			"level：刚才的设置没有显示：已有更晚的人工设置，或档案已达上限\n", "",
		},
		{
			"unset, an import shows", []string{"unset", "vip"}, map[string]*queryv1.Trait{"vip": imported}, exitDone,
			"vip = 3 (from crm, 2026-01-02 00:00:00), before: true (set by hand)\n", "vip = 3（来源 crm，2026-01-02 00:00:00），此前：true (人工)\n", "",
		},
		{
			"unset, nothing shows", []string{"unset", "vip"}, nil, exitDone,
			"vip: released; nothing else was told of it\n", "vip：已撤销；没有其他来源的值\n", "",
		},
		{
			"unset, but outranked", []string{"unset", "vip"}, map[string]*queryv1.Trait{"vip": byHand(four, "later")}, exitDone,
			"vip = 4 (set by hand); what was just told does not show; a later telling by hand stands, or the profile holds no more\n",
			"vip = 4 (人工)；刚才的设置没有显示：已有更晚的人工设置，或档案已达上限\n", "",
		},
		{
			"unset what was forgotten by hand", []string{"unset", "gone"}, map[string]*queryv1.Trait{"gone": imported}, exitDone,
			"gone = 3 (from crm, 2026-01-02 00:00:00)\n", "gone = 3（来源 crm，2026-01-02 00:00:00）\n", "",
		},
		{"unset what was imported", []string{"unset", "level"}, nil, exitFailed, "", "", "nothing was set by hand of: level"},
		{
			"unset one of each", []string{"unset", "vip", "level", "nosuch"}, nil, exitFailed,
			"vip: released; nothing else was told of it\n", "vip：已撤销；没有其他来源的值\n", "nothing was set by hand of: level, nosuch",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			env := serveDesk(t, &desk{customers: map[string]*queryv1.Profile{"user_id:42": ann(), annID: ann()}, told: tc.told, answer: acceptedAnswer})
			args := append([]string{tc.args[0], "user_id:42", "--reason", "r"}, tc.args[1:]...)
			status, out, stderr := dossier(t, env, args...)
			if status != tc.status || out != tc.en {
				t.Errorf("in English: got status %d, %q, want %d, %q", status, out, tc.status, tc.en)
			}
			if !strings.Contains(stderr, tc.stderr) || (tc.stderr == "") != (stderr == "") {
				t.Errorf("got error %q, want %q", stderr, tc.stderr)
			}
			if status, out, _ = dossier(t, env, append(args, "--lang", "zh")...); status != tc.status || out != tc.zh {
				t.Errorf("in Chinese: got status %d, %q, want %d, %q", status, out, tc.status, tc.zh)
			}
		})
	}
}

// An instant that the server did not take is said, on standard error: what was
// told holds all the same.
func TestSetSaysWhenItHolds(t *testing.T) {
	t.Parallel()
	told := map[string]*queryv1.Trait{"level": byHand(structpb.NewNumberValue(4), "new")}
	for _, tc := range []struct {
		name, command, at string
		holds             *timestamppb.Timestamp
		en, zh            string
	}{
		{"the past", "set", "2026-01-01", nil, "", ""},
		{"ahead, and taken", "set", "2026-03-02T20:00:00Z", at("2026-03-02T20:00:00Z"), "", ""},
		{
			"too far ahead", "set", "2027-01-01", at("2026-03-02T08:00:00Z"),
			"--at 2027-01-01 is more than 24 hours ahead of the server's time: it holds from 2026-03-02 08:00:00 on, when the server got it\n",
			"--at 2027-01-01 比服务器时间晚24小时以上：改为自服务器收到时 2026-03-02 08:00:00 起生效\n",
		},
		{
			"unset too far ahead", "unset", "2027-01-01", at("2026-03-02T08:00:00Z"),
			"--at 2027-01-01 is more than 24 hours ahead of the server's time: it holds from 2026-03-02 08:00:00 on, when the server got it\n",
			"--at 2027-01-01 比服务器时间晚24小时以上：改为自服务器收到时 2026-03-02 08:00:00 起生效\n",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			fact := map[string]string{"set": "level=4", "unset": "vip"}[tc.command]
			for lang, want := range map[string]string{langEN: tc.en, langZH: tc.zh} {
				d := &desk{customers: map[string]*queryv1.Profile{"user_id:42": ann(), annID: ann()}, told: told, holds: tc.holds, answer: acceptedAnswer}
				status, out, stderr := dossier(t, serveDesk(t, d), tc.command, "user_id:42", fact, "--reason", "r", "--at", tc.at, "--lang", lang)
				if status != exitDone || out == "" || stderr != want {
					t.Errorf("%s: got status %d, %q, error %q; want %d, an answer and %q", lang, status, out, stderr, exitDone, want)
				}
			}
		})
	}
}

// What was imported only is not touched: no event is posted for it.
func TestUnsetTellsNothingOfImports(t *testing.T) {
	t.Parallel()
	d := &desk{customers: map[string]*queryv1.Profile{"user_id:42": ann()}, answer: acceptedAnswer}
	status, _, _ := dossier(t, serveDesk(t, d), "unset", "user_id:42", "level", "--reason", "r")
	if status != exitFailed || len(d.posted) != 0 {
		t.Errorf("got status %d and %d events, want %d and none", status, len(d.posted), exitFailed)
	}
}

func TestSetRefusals(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		desk   *desk
		args   []string
		status int
		stderr string
		events int
	}{
		{"unknown customer", &desk{}, []string{"user_id:24", "a=1"}, exitFailed, "no customer user_id:24; nothing accepted so far", 0},
		{"unknown id", &desk{}, []string{"01JDC0000000000000000000CC", "a=1"}, exitFailed, "nobody here has this customer id", 0},
		{"no identifier left", &desk{}, []string{annID, "a=1"}, exitFailed, "no identifier leads to customer " + annID, 0},
		{"no reason", &desk{}, []string{"user_id:42", "a=1", "--reason", " "}, exitUsage, "--reason missing", 0},
		{"no name", &desk{}, []string{"user_id:42", "=1"}, exitUsage, `"=1": NAME=VALUE wanted`, 0},
		{"no value", &desk{}, []string{"user_id:42", "a"}, exitUsage, `"a": NAME=VALUE wanted`, 0},
		{"twice", &desk{}, []string{"user_id:42", "a=1", "a=2"}, exitUsage, "a is given twice", 0},
		{"not UTF-8", &desk{}, []string{"user_id:42", "city=\xc9\xcf\xba\xa3"}, exitUsage, "is not UTF-8; a terminal in another encoding", 0},
		{"bad instant", &desk{}, []string{"user_id:42", "a=1", "--at", "soon"}, exitUsage, `--at "soon"`, 0},
		{
			"refused, the message says all", &desk{answer: `{"success":true,"rejected":[{"code":"too_large","limit":"32768","message":"event of 40000 bytes, limit 32768"}]}`},
			[]string{"user_id:42", "a=1"}, exitFailed, "refused: event of 40000 bytes, limit 32768 (too_large)\n", 1,
		},
		{
			"refused, the message does not", &desk{status: 400, answer: `{"success":false,"rejected":[{"code":"bad_number","field":"traits.a","limit":"1e12","message":"no number"}]}`},
			[]string{"user_id:42", "a=1"}, exitFailed, "refused: no number (bad_number, traits.a, limit 1e12)\n", 1,
		},
		{
			"busy", &desk{status: 429, answer: `{"success":false,"code":"overload","message":"too much at once"}`},
			[]string{"user_id:42", "a=1"}, exitFailed, "429 Too Many Requests: too much at once", 1,
		},
		{"no key", &desk{status: 401, answer: `{"code":"unknown_key"}`}, []string{"user_id:42", "a=1"}, exitFailed, "wants a write key", 1},
		{"wrong key", &desk{status: 401, answer: `{"code":"unknown_key"}`}, []string{"user_id:42", "a=1", "--write-key", "k"}, exitFailed, "does not accept this write key", 1},
		{"another server", &desk{status: 404, answer: `<html>`}, []string{"user_id:42", "a=1"}, exitFailed, "is not a Dossier", 1},
		{"another's JSON", &desk{answer: `{}`}, []string{"user_id:42", "a=1"}, exitFailed, "is not a Dossier", 1},
		{"behind", &desk{behind: true, answer: acceptedAnswer}, []string{"user_id:42", "a=1"}, exitFailed, "told, but not in the profile yet: partition 1 has folded record 3 of 4 (receipt R1)", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d := tc.desk
			d.customers = map[string]*queryv1.Profile{annID: ann(), "user_id:42": ann()}
			if tc.args[0] == annID {
				delete(d.customers, "user_id:42")
			}
			status, out, stderr := dossier(t, serveDesk(t, d), append([]string{"set", "--reason", "r"}, tc.args...)...)
			if status != tc.status || out != "" || !strings.Contains(stderr, tc.stderr) {
				t.Errorf("got status %d, %q, error %q; want %d, nothing and %q", status, out, stderr, tc.status, tc.stderr)
			}
			if len(d.posted) != tc.events {
				t.Errorf("%d events were posted, want %d", len(d.posted), tc.events)
			}
		})
	}
}

// What is typed is JSON: its own, or a text of just these characters.
func FuzzValueJSON(f *testing.F) {
	for _, s := range []string{"", "4", "-0.5", "1e3", "007", "true", "null", `"02139"`, `[1,{"a":null}]`, `{"a":`, "上海", " a ", "\x1b", "NaN", "9007199254740993"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			return // refused before
		}
		got := valueJSON(s)
		if !json.Valid(got) {
			t.Fatalf("%q: got %s, which is no JSON", s, got)
		}
		if string(got) == strings.TrimSpace(s) {
			return
		}
		var text string
		if err := json.Unmarshal(got, &text); err != nil || text != s {
			t.Errorf("%q: got %s, want it as a text (%v)", s, got, err)
		}
	})
}

func TestSetHelp(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"set", "unset"} {
		status, out, stderr := dossier(t, nil, command, "-h")
		if status != exitDone || stderr != "" || !strings.HasPrefix(out, "usage: dossier "+command+" REF NAME") {
			t.Errorf("%s -h: got status %d, %q, error %q; want help on standard output", command, status, out, stderr)
		}
	}
}
