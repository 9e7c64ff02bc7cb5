package wires_test

import (
	"net/http"
	"testing"

	"google.golang.org/protobuf/proto"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/wires"
)

const (
	oneEvent   = `{"id":"e1","type":"x","identifiers":[{"type":"user_id","value":"u1"}]}`
	eventBatch = `{"events":[` + oneEvent + `]}`
	cloudEvent = `{"specversion":"1.0","id":"e1","source":"/shop","type":"x","subject":"user_id:u1"}`
)

func protobufBatch(t testing.TB, source string) []byte {
	t.Helper()
	data, err := proto.Marshal(&eventsv1.EventBatch{Source: source, Events: []*eventsv1.Event{{
		Id: "e1", Type: "x", Identifiers: []*eventsv1.Identifier{{Type: "user_id", Value: "u1"}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A message is read by what it says that it is, or else by what it looks like;
// a retry reads what was kept of it the same way.
func TestForMessage(t *testing.T) {
	t.Parallel()
	binary := http.Header{"Ce-Id": {"e1"}, "Ce-Source": {"/shop"}, "Ce-Specversion": {"1.0"}, "Ce-Type": {"x"}, "Ce-Subject": {"user_id:u1"}}
	for _, test := range []struct {
		name, media string
		header      http.Header
		body        string
		wire, taken string
		single      bool
	}{
		{"protobuf", "application/protobuf", nil, string(protobufBatch(t, "")), "native", "application/protobuf", false},
		{"protobuf of old", "application/x-protobuf", nil, string(protobufBatch(t, "")), "native", "application/x-protobuf", false},
		{"event", "application/json", nil, oneEvent, "native", "application/json", true},
		{"batch", "application/json", nil, eventBatch, "native", "application/json", false},
		{"structured", "application/cloudevents+json", nil, cloudEvent, "cloudevents", "application/cloudevents+json", true},
		{"list", "application/cloudevents-batch+json", nil, "[" + cloudEvent + "]", "cloudevents", "application/cloudevents-batch+json", false},
		{"binary", "application/json", binary, `{}`, "cloudevents", "application/json", true},
		{"binary without a type", "", binary, ``, "cloudevents", "", true},
		{"looks like an event", "", nil, " \n" + oneEvent, "native", "application/json", true},
		{"looks like a batch", "", nil, eventBatch, "native", "application/json", false},
		{"looks structured", "", nil, cloudEvent, "cloudevents", "application/cloudevents+json", true},
		{"looks like a list", "", nil, "\t[" + cloudEvent + "]", "cloudevents", "application/cloudevents-batch+json", false},
		{"looks like protobuf", "", nil, string(protobufBatch(t, "")), "native", "application/protobuf", false},
		// The tag and these lengths are white space of JSON.
		{"source of 9", "", nil, string(protobufBatch(t, "aaaaaaaaa")), "native", "application/protobuf", false},
		{"source of 10", "", nil, string(protobufBatch(t, "aaaaaaaaaa")), "native", "application/protobuf", false},
		{"source of 13", "", nil, string(protobufBatch(t, "aaaaaaaaaaaaa")), "native", "application/protobuf", false},
		{"source of 32", "", nil, string(protobufBatch(t, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")), "native", "application/protobuf", false},
	} {
		r := wires.Request{Path: "dossier.intake.shop", MediaType: test.media, Header: test.header, Body: []byte(test.body)}
		w, known := wires.ForMessage(&r)
		if !known || w.Name != test.wire || r.MediaType != test.taken {
			t.Errorf("%s: wire %q, taken for %q, known %v; want %q, %q", test.name, w.Name, r.MediaType, known, test.wire, test.taken)
			continue
		}
		decoded := w.Decode(r)
		if decoded.Single != test.single || !isE1(decoded) {
			t.Errorf("%s: %+v; want the event e1, single %v", test.name, decoded, test.single)
			continue
		}
		kept := &logv1.Reject{Wire: w.Name, Path: r.Path, ContentType: r.MediaType, Original: decoded.Drafts[0].Original}
		if again, ok := wires.Again(kept, kept.Original); !ok || !isE1(again) {
			t.Errorf("%s: read again: %v, %+v; want the event e1", test.name, ok, again)
		}
	}
}

func isE1(d ingest.Decoded) bool {
	return d.Refused == nil && len(d.Drafts) == 1 && d.Drafts[0].Refused == nil && d.Drafts[0].Event.GetId() == "e1" &&
		d.Drafts[0].Event.GetIdentifiers()[0].GetValue() == "u1"
}

// A message of an unknown kind can be tried again with other bytes in its
// place, as JSON of our own wire.
func TestForMessageUnknown(t *testing.T) {
	t.Parallel()
	r := wires.Request{MediaType: "text/csv", Body: []byte("a,b")}
	w, known := wires.ForMessage(&r)
	if known || w.Name != "native" {
		t.Errorf("wire %q, known %v; want native, not known", w.Name, known)
	}
	kept := &logv1.Reject{Wire: w.Name, Path: "dossier.intake.shop", ContentType: "text/csv", Whole: true}
	if again, ok := wires.Again(kept, []byte(oneEvent)); !ok || !isE1(again) {
		t.Errorf("read again: %v, %+v; want the event e1", ok, again)
	}
}
