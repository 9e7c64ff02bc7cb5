package intake_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/intake"
)

var receivedAt = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// gateway keeps the last batch it is given and takes what no wire refused, in
// partition 2 at sequence 17 and in 3 at 5.
type gateway struct {
	batch      ingest.Batch
	calls      int
	duplicates bool // it knows all events
	err        error
}

func (g *gateway) accept(_ context.Context, b ingest.Batch) (ingest.Result, error) {
	g.batch = b
	g.calls++
	var r ingest.Result
	for i, d := range b.Drafts {
		switch {
		case d.Refused != nil:
			refused := *d.Refused
			refused.Index = i
			r.Rejected = append(r.Rejected, refused)
			continue
		case g.duplicates:
			r.Duplicates++
		default:
			r.Accepted++
		}
		r.Receipt = ingest.FormatReceipt(map[int]uint64{3: 5, 2: 17, ingest.ReceiptIdentity: 4})
	}
	return r, g.err
}

// answer is a reply as its publisher reads it.
type answer struct {
	Error *struct {
		Code        int
		ErrCode     int `json:"err_code"`
		Description string
	}
	Stream               string
	Seq                  int
	Duplicate            bool
	Receipt              string
	Accepted, Duplicates int
	Rejected             []ingest.Rejection
	RejectedMore         int `json:"rejected_more"`
	RetryAfter           int `json:"retry_after"`
}

func (g *gateway) handle(t testing.TB, m intake.Message) (intake.Reply, answer) {
	t.Helper()
	m.Received = receivedAt
	if m.Subject == "" {
		m.Subject = "dossier.intake.shop"
	}
	r := intake.New(intake.Options{Accept: g.accept}).Handle(t.Context(), m)
	var a answer
	if err := json.Unmarshal(r.Data, &a); err != nil {
		t.Fatalf("%s: %v", r.Data, err)
	}
	return r, a
}

const (
	good = `{"id":"e1","type":"x","identifiers":[{"type":"user_id","value":"u1"}]}`
	bad  = `{"id":"e2","type":"x"}`
)

func jsonMessage(body string) intake.Message {
	return intake.Message{Header: map[string][]string{"content-type": {"Application/JSON; charset=utf-8"}}, Data: []byte(body)}
}

func TestReplies(t *testing.T) {
	t.Parallel()
	receipt := ingest.FormatReceipt(map[int]uint64{2: 17, 3: 5, ingest.ReceiptIdentity: 4})
	for _, test := range []struct {
		name, body string
		known      bool
		want       string
		result     string
	}{
		{"taken", `{"events":[` + good + `]}`, false,
			`{"stream":"EVENTS_02","seq":17,"receipt":"` + receipt + `","accepted":1,"duplicates":0,"rejected":[]}`, intake.ResultOK},
		{"known", good, true,
			`{"stream":"EVENTS_02","seq":17,"duplicate":true,"receipt":"` + receipt + `","accepted":0,"duplicates":1,"rejected":[]}`, intake.ResultOK},
		{"in part", `{"events":[` + good + `,` + bad + `]}`, false,
			`{"stream":"EVENTS_02","seq":17,"receipt":"` + receipt + `","accepted":1,"duplicates":0,"rejected":[` +
				`{"index":1,"messageId":"e2","code":"missing_id","field":"identifiers","limit":"at least 1","message":"no identifier is given"}]}`, intake.ResultOK},
		{"refused", bad, false,
			`{"error":{"code":400,"err_code":10003,"description":"missing_id: no identifier is given"},"accepted":0,"duplicates":0,"rejected":[` +
				`{"index":0,"messageId":"e2","code":"missing_id","field":"identifiers","limit":"at least 1","message":"no identifier is given"}]}`, intake.ResultRefused},
	} {
		g := &gateway{duplicates: test.known}
		r, _ := g.handle(t, jsonMessage(test.body))
		if diff := cmp.Diff(test.want, string(r.Data)); diff != "" || r.Result != test.result {
			t.Errorf("%s: result %s, want %s (-want +got):\n%s", test.name, r.Result, test.result, diff)
		}
	}
	g := &gateway{}
	r, a := g.handle(t, intake.Message{Header: map[string][]string{"Content-Type": {"application/cloudevents-batch+json"}}, Data: []byte("[]")})
	if a.Error != nil || a.Stream == "" || r.Result != intake.ResultOK {
		t.Errorf("a list of no events: %s; want an acknowledgement", r.Data)
	}
}

// However much is refused of a message, its reply is a message too: of 1 MiB on
// the servers that take least.
func TestReplyIsBounded(t *testing.T) {
	t.Parallel()
	const events = 10_000
	wide := `{"id":"` + strings.Repeat("<", ingest.MaxIDCharacters) + `","type":"x"}`
	body := `{"events":[` + strings.Repeat(wide+",", events-1) + wide + `]}`
	r, a := (&gateway{}).handle(t, jsonMessage(body))
	switch {
	case len(r.Data) > 1<<20:
		t.Errorf("a reply of %d bytes, at most %d wanted", len(r.Data), 1<<20)
	case a.Error == nil || !strings.Contains(a.Error.Description, "all 10000 events are refused"):
		t.Errorf("error %+v, want that all are refused", a.Error)
	case len(a.Rejected) == 0 || len(a.Rejected)+a.RejectedMore != events:
		t.Errorf("%d rejections and %d more, want %d", len(a.Rejected), a.RejectedMore, events)
	}
}

// What reaches the gateway: whose it is, and how to read it again.
func TestBatch(t *testing.T) {
	t.Parallel()
	data, err := proto.Marshal(&eventsv1.EventBatch{Source: "other", Events: []*eventsv1.Event{{
		Type: "x", Identifiers: []*eventsv1.Identifier{{Type: "user_id", Value: "u1"}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{}
	g.handle(t, intake.Message{Header: map[string][]string{"Nats-Msg-Id": {"m1"}}, Data: data})
	b := g.batch
	if b.Source != "shop" || b.Unnamed || !b.Received.Equal(receivedAt) || b.Wire != "native" || b.Path != "dossier.intake.shop" ||
		b.ContentType != "application/protobuf" || b.Drafts[0].Event.GetId() != "m1" {
		t.Errorf("batch %+v; want it from shop, as protobuf, with the id of the message", b)
	}
	g.handle(t, jsonMessage(good))
	if id := g.batch.Drafts[0].Event.GetId(); id != "e1" || g.batch.ContentType != "Application/JSON; charset=utf-8" {
		t.Errorf("event %q as %q; want its own id, and the type as sent", id, g.batch.ContentType)
	}
	two := strings.ReplaceAll(`{"events":[`+good+`,`+good+`]}`, `"id":"e1",`, "")
	m := jsonMessage(two)
	m.Header["Nats-Msg-Id"] = []string{"m1"}
	g.handle(t, m)
	for _, d := range g.batch.Drafts {
		if d.Event.GetId() != "" {
			t.Errorf("one of two events has the id %q of their message", d.Event.GetId())
		}
	}
	// The identifier that an id may be is the longest that a message id may be.
	for length, refused := range map[int]bool{ingest.MaxIDCharacters: false, ingest.MaxIDCharacters + 1: true} {
		m := jsonMessage(strings.ReplaceAll(good, `"id":"e1",`, ""))
		m.Header["Nats-Msg-Id"] = []string{strings.Repeat("é", length)}
		if _, a := g.handle(t, m); (a.Error != nil) != refused {
			t.Errorf("Nats-Msg-Id of %d characters: error %+v, want one: %v", length, a.Error, refused)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	header := func(name, value string) intake.Message {
		return intake.Message{Header: map[string][]string{name: {value}}, Data: []byte(good)}
	}
	for _, test := range []struct {
		name    string
		message intake.Message
		says    string
		kept    bool
	}{
		{"upper case", intake.Message{Subject: "dossier.intake.Shop", Data: []byte(good)}, `"dossier.intake.Shop"`, false},
		{"no source", intake.Message{Subject: "dossier.intake.", Data: []byte(good)}, "source [a-z0-9_-]{1,40}", false},
		{"long source", intake.Message{Subject: "dossier.intake." + strings.Repeat("a", 41), Data: []byte(good)}, "source [a-z0-9_-]{1,40}", false},
		{"other subject", intake.Message{Subject: "dossier.feed.x", Data: []byte(good)}, `"dossier.feed.x"`, false},
		{"expected stream", header("nats-expected-stream", "EVENTS_00"), "Nats-Expected-Stream", false},
		{"expected sequence", header("Nats-Expected-Last-Sequence", "4"), "Nats-Expected-Last-Sequence", false},
		{"type", header("Content-Type", "text/csv"), `"text/csv"`, true},
		{"no JSON", jsonMessage(`{"events":`), "not_json", true},
		{"nothing", intake.Message{}, "empty_batch", true},
		{"too large", jsonMessage(strings.Repeat(" ", ingest.MaxBodyBytes+1)), fmt.Sprint(ingest.MaxBodyBytes), true},
	} {
		g := &gateway{}
		r, a := g.handle(t, test.message)
		switch {
		case a.Error == nil || a.Error.Code != 400 || a.Error.ErrCode != 10003 || !strings.Contains(a.Error.Description, test.says) || r.Result != intake.ResultRefused:
			t.Errorf("%s: %s, want the error 400 that says %s", test.name, r.Data, test.says)
		case a.RetryAfter != 0 || len(r.Header["Retry-After"]) != 0:
			t.Errorf("%s: to be sent again: %s", test.name, r.Data)
		case !test.kept && g.calls != 0:
			t.Errorf("%s: given to the gateway", test.name)
		case test.kept && (!g.batch.Whole || len(g.batch.Drafts) != 1 || !strings.HasPrefix(string(test.message.Data), string(g.batch.Drafts[0].Original))):
			t.Errorf("%s: kept as %+v, want all of it", test.name, g.batch)
		}
	}
	// At the limit it is the bytes that are wrong.
	g := &gateway{}
	if r, _ := g.handle(t, jsonMessage(strings.Repeat(" ", ingest.MaxBodyBytes))); !strings.Contains(string(r.Data), "not_json") {
		t.Errorf("at the limit: %s", r.Data)
	}
	if got := len(g.batch.Drafts[0].Original); got != ingest.MaxRejectBytes {
		t.Errorf("%d bytes are kept, want %d", got, ingest.MaxRejectBytes)
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err           error
		code, seconds int
		result        string
	}{
		{fmt.Errorf("%w: 9 bytes wait", ingest.ErrOverload), 429, 1, intake.ResultOverload},
		{fmt.Errorf("%w: 3 MiB free", ingest.ErrDiskFull), 507, 60, intake.ResultDiskFull},
		{fmt.Errorf("%w: stopped", ingest.ErrNotReady), 503, 5, intake.ResultNotReady},
		{context.Canceled, 503, 1, intake.ResultNotReady},
		{errors.New("secret"), 503, 5, intake.ResultOther},
	} {
		g := &gateway{err: test.err}
		r, a := g.handle(t, jsonMessage(good))
		if a.Error == nil || a.Error.Code != test.code || a.RetryAfter != test.seconds || a.Stream != "" || r.Result != test.result {
			t.Errorf("%v: %s, result %s; want the error %d, %s, to come again in %d s", test.err, r.Data, r.Result, test.code, test.result, test.seconds)
		}
		if got := r.Header["Retry-After"]; !cmp.Equal(got, []string{fmt.Sprint(test.seconds)}) {
			t.Errorf("%v: Retry-After %v, want %d", test.err, got, test.seconds)
		}
		if strings.Contains(string(r.Data), "secret") {
			t.Errorf("%v: the publisher is shown an error that is not its own", test.err)
		}
	}
	if r := intake.Busy(); !strings.Contains(string(r.Data), `"code":429`) || len(r.Header["Retry-After"]) != 1 || r.Result != intake.ResultOverload {
		t.Errorf("busy: %s, %v", r.Data, r.Header)
	}
	waiting := intake.New(intake.Options{
		Accept: (&gateway{}).accept, Ready: func() error { return errors.New("folding") },
	}).Handle(t.Context(), intake.Message{Subject: "dossier.intake.shop", Data: []byte(good)})
	if !strings.Contains(string(waiting.Data), `"code":503`) || !strings.Contains(string(waiting.Data), "folding") {
		t.Errorf("not ready: %s; want the error 503 with the reason", waiting.Data)
	}
}

// Whatever comes, the reply is one that a publisher reads: an acknowledgement
// or an error, and what is refused is kept.
func FuzzHandle(f *testing.F) {
	for _, contentType := range []string{"", "application/json", "application/protobuf", "application/cloudevents+json", "application/cloudevents-batch+json", "text/x"} {
		for _, body := range []string{"", good, bad, `{"events":[` + good + `]}`, `[{"specversion":"1.0"}]`, "\n\x04shop", `{"specversion":"1.0","id":"1","source":"s","type":"t"}`} {
			f.Add(contentType, "", "m1", []byte(body))
		}
	}
	f.Add("application/json", "e1", "", []byte(`{}`))
	f.Fuzz(func(t *testing.T, contentType, ceID, msgID string, body []byte) {
		m := intake.Message{Header: map[string][]string{}, Data: body}
		for name, value := range map[string]string{"Content-Type": contentType, "ce-id": ceID, "Nats-Msg-Id": msgID} {
			if value != "" {
				m.Header[name] = []string{value}
			}
		}
		g := &gateway{}
		r, a := g.handle(t, m)
		if (a.Error == nil) == (a.Stream == "") {
			t.Errorf("%s is neither an acknowledgement nor an error", r.Data)
		}
		for _, d := range g.batch.Drafts {
			if d.Refused == nil && d.Event == nil {
				t.Errorf("a draft without event and refusal: %+v", d)
			}
		}
	})
}
