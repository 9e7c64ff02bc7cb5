package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/ingest"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

func TestAcceptLogsHeaderAndBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, found(t, memlog.Options{}, events.Settings{}), nil)
		defer r.stop()
		properties, _ := structpb.NewStruct(map[string]any{"b": 1, "a": "x"})
		issued := timestamppb.New(received.Add(-time.Minute))
		b := batch(&eventsv1.Event{
			Id: "e1", Type: "order completed", Time: timestamppb.New(received.Add(-time.Hour)),
			Identifiers: []*eventsv1.Identifier{
				{Type: "email", Value: " Ann@X.org"}, {Type: "user_id", Value: "null"}, {Type: "anonymous_id", Value: "A1"},
			},
			Properties: properties, PropertiesJson: `{"c":true,"a":"kept"}`,
			Corrects: "e0", IssuedAt: issued,
			Payload: &eventsv1.Event_Order{Order: &eventsv1.Order{OrderId: "o1", TotalMicros: proto.Int64(5)}},
		})
		b.Drafts[0].Flags = []logv1.Flag{logv1.Flag_FLAG_NO_ZONE}
		result := r.accept(t, b)
		if result.Accepted != 1 || result.Receipt == "" || result.Rejected != nil {
			t.Fatalf("got %+v, want one accepted", result)
		}
		records, all := read(t, r.log)
		if len(all) != 1 || len(records[0].Batch) != 16 || len(records[0].Gateway) != 16 {
			t.Fatalf("got %v, want one record of one event with its ids", records)
		}
		e := all[0]
		customer, ok, err := r.directory.Lookup("email", "ann@x.org")
		if err != nil || !ok || customer.Partition(4) != e.partition {
			t.Errorf("customer %v in partition %d, %v, %v", customer, e.partition, ok, err)
		}
		email, _ := r.directory.Identify("email", "ann@x.org")
		anonymous, _ := r.directory.Identify("anonymous_id", "A1")
		want := &logv1.Header{
			Customer: customer[:], Type: eventsv1.Type_TYPE_ORDER_PLACED, Source: "test", EventId: "e1",
			ClaimedAt: new(events.Micros(received.Add(-time.Hour))), OccurredAt: events.Micros(received.Add(-time.Hour)),
			Corrects: "e0", IssuedAt: new(events.Micros(issued.AsTime())), Flags: []logv1.Flag{logv1.Flag_FLAG_NO_ZONE},
			Identifiers: []*logv1.HashedIdentifier{{Type: "email", Hash: email.Hash[:]}, {Type: "anonymous_id", Hash: anonymous.Hash[:]}},
		}
		if d := cmp.Diff(want, e.header, protocmp.Transform()); d != "" {
			t.Errorf("header (-want +got):\n%s", d)
		}
		body := &eventsv1.Event{
			Type:           "order.placed",
			Identifiers:    []*eventsv1.Identifier{{Type: "email", Value: "ann@x.org"}, {Type: "anonymous_id", Value: "A1"}},
			PropertiesJson: `{"a":"kept","b":1,"c":true}`,
			Payload:        &eventsv1.Event_Order{Order: &eventsv1.Order{OrderId: "o1", TotalMicros: proto.Int64(5)}},
		}
		if d := cmp.Diff(body, e.body, protocmp.Transform()); d != "" {
			t.Errorf("body (-want +got):\n%s", d)
		}
		if e.recorded != events.Micros(received) || e.at != 3 {
			t.Errorf("recorded at %d, decided at %d; want %d and 3", e.recorded, e.at, events.Micros(received))
		}
		seqs, err := ingest.ParseReceipt(result.Receipt)
		if d := cmp.Diff(map[int]uint64{e.partition: e.seq, ingest.ReceiptIdentity: e.at}, seqs); d != "" || err != nil {
			t.Errorf("receipt: %v\n%s", err, d)
		}
	})
}

func TestAcceptAliasNamesBothSides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, found(t, memlog.Options{}, events.Settings{}), nil)
		defer r.stop()
		e := track("u1", "a")
		e.Type = "identity.aliased"
		e.Payload = &eventsv1.Event_Alias{Alias: &eventsv1.Alias{Previous: &eventsv1.Identifier{Type: "email", Value: "OLD@x.org"}}}
		r.accept(t, batch(e))
		user, ok1, _ := r.directory.Lookup("user_id", "u1")
		old, ok2, _ := r.directory.Lookup("email", "old@x.org")
		if !ok1 || !ok2 || user != old {
			t.Errorf("user_id names %v %v, the former name %v %v; want one customer", user, ok1, old, ok2)
		}
	})
}

// A header is the client's: one that is no text, or long, must not keep a reject
// from being kept, or the call would be sent again for ever.
func TestContentTypeOfRejects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, found(t, memlog.Options{}, events.Settings{}), nil)
		defer r.stop()
		for _, contentType := range []string{"\xff;;;", "application/json; " + strings.Repeat("é", 1<<20)} {
			b := batch(&eventsv1.Event{})
			b.ContentType = contentType
			if result := r.accept(t, b); len(result.Rejected) != 1 {
				t.Errorf("%.20q: got %+v, want it refused", contentType, result)
			}
		}
		kept := rejects(t, r.log)
		if len(kept) != 2 || kept[0].ContentType != "\uFFFD;;;" || len(kept[1].ContentType) > 300 || !strings.HasPrefix(kept[1].ContentType, "application/json; é") {
			t.Errorf("got %v", kept)
		}
	})
}

// A draft that tells more of an event is stored beside it and not counted: not
// when both are new, nor when they are told again.
func TestBesideIsNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, found(t, memlog.Options{}, events.Settings{}), nil)
		defer r.stop()
		for telling := range 2 {
			facts := track("u", "e")
			facts.Type, facts.Payload = "traits.set", &eventsv1.Event_Traits{Traits: &eventsv1.Traits{Unset: []string{"a"}}}
			b := batch(track("u", "e"), facts)
			b.Beside = 1
			result := r.accept(t, b)
			if result.Accepted != 1-telling || result.Duplicates != telling || result.Receipt == "" {
				t.Errorf("telling %d: got %+v", telling, result)
			}
		}
		if _, all := read(t, r.log); len(all) != 2 {
			t.Errorf("%d events in the log, want 2", len(all))
		}
	})
}

// TestStamp holds every rule of time, each at its bound and one microsecond
// beyond it.
func TestStamp(t *testing.T) {
	hour, µs := time.Hour, time.Microsecond
	at := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(received.Add(d)) }
	type want struct {
		occurred                     time.Time
		corrected, clamped, assigned bool
		refused                      ingest.Code
	}
	for _, c := range []struct {
		name   string
		told   *timestamppb.Timestamp
		issued *timestamppb.Timestamp
		age    time.Duration
		sent   time.Time
		end    time.Time // of the clock
		want   want
	}{
		{name: "as told", told: at(-hour), want: want{occurred: received.Add(-hour)}},
		{name: "none", want: want{occurred: received, assigned: true}},
		{name: "none, though the client's clock is known", sent: received.Add(hour), want: want{occurred: received, assigned: true}},
		{name: "clock behind by the limit", told: at(-hour), sent: received.Add(-5 * time.Minute), want: want{occurred: received.Add(-hour)}},
		{name: "clock behind beyond it", told: at(-hour), sent: received.Add(-5*time.Minute - µs), want: want{occurred: received.Add(-hour + 5*time.Minute + µs), corrected: true}},
		{name: "clock ahead by the limit", told: at(-hour), sent: received.Add(5 * time.Minute), want: want{occurred: received.Add(-hour)}},
		{name: "clock ahead beyond it", told: at(-hour), sent: received.Add(5*time.Minute + µs), want: want{occurred: received.Add(-hour - 5*time.Minute - µs), corrected: true}},
		{name: "ahead by the limit", told: at(24 * hour), want: want{occurred: received.Add(24 * hour)}},
		{name: "ahead beyond it", told: at(24*hour + µs), want: want{occurred: received, clamped: true}},
		{name: "no time, an age", age: hour, sent: received.Add(hour), want: want{occurred: received.Add(-hour), assigned: true}},
		{name: "a time and an age", told: at(-hour), age: 2 * hour, want: want{occurred: received.Add(-hour)}},
		{name: "ahead by a wrong clock", told: at(240 * hour), sent: received.Add(241 * hour), want: want{occurred: received.Add(-hour), corrected: true}},
		{name: "ahead though corrected", told: at(48 * hour), sent: received.Add(hour), want: want{occurred: received, corrected: true, clamped: true}},
		{name: "earliest", told: timestamppb.New(ingest.EarliestTime), want: want{occurred: ingest.EarliestTime}},
		{name: "before the earliest", told: timestamppb.New(ingest.EarliestTime.Add(-µs)), want: want{refused: ingest.CodeBadTime}},
		{name: "corrected to before the earliest", told: timestamppb.New(ingest.EarliestTime), sent: received.Add(hour), want: want{refused: ingest.CodeBadTime}},
		{name: "no instant", told: &timestamppb.Timestamp{Nanos: -1}, want: want{refused: ingest.CodeBadTime}},
		{name: "issued before the earliest", told: at(0), issued: timestamppb.New(ingest.EarliestTime.Add(-µs)), want: want{refused: ingest.CodeBadTime}},
		{name: "at the clock's end", told: at(-hour), end: received.Add(-hour), want: want{occurred: received.Add(-hour)}},
		{name: "beyond the clock's end", told: at(-hour + µs), end: received.Add(-hour), want: want{refused: ingest.CodeBadTime}},
		{name: "received beyond the clock's end", end: received.Add(-hour), want: want{refused: ingest.CodeBadTime}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := events.Settings{}
				if !c.end.IsZero() {
					s.Clock, s.ClockEnd = "events", c.end
				}
				r := start(t, found(t, memlog.Options{}, s), nil)
				defer r.stop()
				e := track("u", "e")
				e.Time, e.IssuedAt = c.told, c.issued
				b := batch(e)
				b.Drafts[0].Sent, b.Drafts[0].Age = c.sent, c.age
				result := r.accept(t, b)
				if c.want.refused != "" {
					if len(result.Rejected) != 1 || result.Rejected[0].Code != c.want.refused {
						t.Errorf("got %+v, want it refused with %s", result, c.want.refused)
					}
					if _, ok, _ := r.directory.Lookup("user_id", "u"); ok {
						t.Error("a refused event made a customer")
					}
					return
				}
				_, all := read(t, r.log)
				if len(all) != 1 {
					t.Fatalf("%d events in the log, want 1; %+v", len(all), result)
				}
				h := all[0].header
				got := want{events.FromMicros(h.OccurredAt), h.Corrected, h.Clamped, h.Assigned, ""}
				if d := cmp.Diff(c.want, got, cmp.AllowUnexported(want{})); d != "" {
					t.Errorf("(-want +got):\n%s", d)
				}
				if (h.ClaimedAt == nil) != (c.told == nil) || h.ClaimedAt != nil && *h.ClaimedAt != events.Micros(c.told.AsTime()) {
					t.Errorf("claimed %v, told %v", h.ClaimedAt, c.told)
				}
			})
		})
	}
}

// TestRefusals posts each bad event between two good ones.
func TestRefusals(t *testing.T) {
	long := strings.Repeat("客", ingest.MaxIDCharacters)
	deep := structpb.NewNullValue()
	for range ingest.MaxDepth - 1 {
		deep = structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{deep}})
	}
	ids := func(n int) (all []*eventsv1.Identifier) {
		for i := range n {
			all = append(all, &eventsv1.Identifier{Type: "device_id", Value: fmt.Sprint("d", i)})
		}
		return all
	}
	properties := func(v *structpb.Value) func(*ingest.Draft) {
		return func(d *ingest.Draft) {
			d.Event.Properties = &structpb.Struct{Fields: map[string]*structpb.Value{"p": v}}
		}
	}
	for _, c := range []struct {
		name   string
		change func(*ingest.Draft)
		code   ingest.Code // "" for accepted
		field  string
	}{
		{"good", func(*ingest.Draft) {}, "", ""},
		{"refused by the wire", func(d *ingest.Draft) { d.Event, d.Refused = nil, ingest.Refuse(ingest.CodeTooDeep, "f", "", "m") }, ingest.CodeTooDeep, "f"},
		{"no event", func(d *ingest.Draft) { d.Event = nil }, ingest.CodeNotJSON, ""},
		{"no type", func(d *ingest.Draft) { d.Event.Type = "" }, ingest.CodeMissingType, "type"},
		{"longest type", func(d *ingest.Draft) { d.Event.Type = long }, "", ""},
		{"type too long", func(d *ingest.Draft) { d.Event.Type = long + "x" }, ingest.CodeBadType, "type"},
		{"no identifier", func(d *ingest.Draft) { d.Event.Identifiers = nil }, ingest.CodeMissingID, "identifiers"},
		{"only blocked", func(d *ingest.Draft) {
			d.Event.Identifiers = []*eventsv1.Identifier{{Type: "user_id", Value: "NULL"}, {Type: "anonymous_id", Value: "00000000-0000-0000-0000-000000000000"}}
		}, ingest.CodeBlockedID, "anonymous_id"},
		{"empty identifier", func(d *ingest.Draft) { d.Event.Identifiers[0].Value = " " }, ingest.CodeBlockedID, "user_id"},
		{"one blocked", func(d *ingest.Draft) {
			d.Event.Identifiers = append(d.Event.Identifiers, &eventsv1.Identifier{Type: "email", Value: "none"})
		}, "", ""},
		{"unknown identifier type", func(d *ingest.Draft) { d.Event.Identifiers[0].Type = "Name" }, ingest.CodeBadType, "identifiers"},
		{"longest identifier", func(d *ingest.Draft) { d.Event.Identifiers[0].Value = long }, "", ""},
		{"identifier too long", func(d *ingest.Draft) { d.Event.Identifiers[0].Value = long + "x" }, ingest.CodeIDTooLong, "user_id"},
		{"most identifiers", func(d *ingest.Draft) { d.Event.Identifiers = ids(ingest.MaxIdentifiers) }, "", ""},
		{"too many identifiers", func(d *ingest.Draft) { d.Event.Identifiers = ids(ingest.MaxIdentifiers + 1) }, ingest.CodeTooLarge, "identifiers"},
		{"longest id", func(d *ingest.Draft) { d.Event.Id = long }, "", ""},
		{"id too long", func(d *ingest.Draft) { d.Event.Id = long + "x" }, ingest.CodeIDTooLong, "id"},
		{"corrects too long", func(d *ingest.Draft) { d.Event.Corrects = long + "x" }, ingest.CodeIDTooLong, "corrects"},
		{"corrects itself", func(d *ingest.Draft) { d.Event.Corrects = d.Event.Id }, ingest.CodeBadType, "corrects"},
		{"id not UTF-8", func(d *ingest.Draft) { d.Event.Id = "\xff" }, ingest.CodeNotUTF8, "id"},
		{"type not UTF-8", func(d *ingest.Draft) { d.Event.Type = "\xff" }, ingest.CodeNotUTF8, "type"},
		{"identifier not UTF-8", func(d *ingest.Draft) { d.Event.Identifiers[0].Value = "\xff" }, ingest.CodeNotUTF8, "user_id"},
		{"body not UTF-8", func(d *ingest.Draft) { d.Event.Context = &eventsv1.Context{Ip: "\xff"} }, ingest.CodeNotUTF8, ""},
		{"not a number", properties(structpb.NewNumberValue(math.NaN())), ingest.CodeBadNumber, "properties.p"},
		{"infinite trait", func(d *ingest.Draft) {
			d.Event.Payload = &eventsv1.Event_Traits{Traits: &eventsv1.Traits{Set: &structpb.Struct{Fields: map[string]*structpb.Value{"t": structpb.NewNumberValue(math.Inf(1))}}}}
		}, ingest.CodeBadNumber, "traits.t"},
		{"deepest", properties(deep), "", ""},
		{"too deep", properties(structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{deep}})), ingest.CodeTooDeep, ""},
		{"greatest original", func(d *ingest.Draft) { d.Original = make([]byte, ingest.MaxEventBytes) }, "", ""},
		{"original too large", func(d *ingest.Draft) { d.Original = make([]byte, ingest.MaxEventBytes+1) }, ingest.CodeTooLarge, ""},
		{"body too large", func(d *ingest.Draft) { d.Event.PropertiesJson = strings.Repeat("x", ingest.MaxEventBytes) }, ingest.CodeTooLarge, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, found(t, memlog.Options{}, events.Settings{}), nil)
				defer r.stop()
				b := batch(track("a", "1"), track("b", "2"), track("c", "3"))
				c.change(&b.Drafts[1])
				original := b.Drafts[1].Original
				result := r.accept(t, b)
				if c.code == "" {
					if result.Accepted != 3 || len(result.Rejected) != 0 {
						t.Errorf("got %+v, want all accepted", result)
					}
					return
				}
				if result.Accepted != 2 || len(result.Rejected) != 1 {
					t.Fatalf("got %+v, want 2 accepted and 1 refused", result)
				}
				got := result.Rejected[0]
				if got.Index != 1 || got.Code != c.code || got.Field != c.field || got.Message == "" {
					t.Errorf("got %+v, want code %s, field %q at index 1", got, c.code, c.field)
				}
				kept := rejects(t, r.log)
				if len(kept) != 1 || kept[0].Code != string(c.code) || kept[0].Index != 1 ||
					string(kept[0].Original) != string(original) || kept[0].Wire != "native" || kept[0].Source != "test" {
					t.Errorf("kept %v, want the event with its bytes", kept)
				}
				// Refused again, and kept again; the others are known.
				again := batch(track("a", "1"), track("c", "3"))
				if result := r.accept(t, again); result.Duplicates != 2 || result.Accepted != 0 {
					t.Errorf("again: got %+v, want 2 duplicates", result)
				}
			})
		})
	}
}

func TestBatchBeyondItsLimitIsRefusedItemByItem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, found(t, memlog.Options{}, events.Settings{}), nil)
		defer r.stop()
		var all []*eventsv1.Event
		for i := range ingest.MaxBatchEvents + 1 {
			all = append(all, track("u", fmt.Sprint(i)))
		}
		result := r.accept(t, batch(all...))
		if result.Accepted != ingest.MaxBatchEvents || len(result.Rejected) != 1 || result.Rejected[0].Index != ingest.MaxBatchEvents {
			t.Errorf("accepted %d, refused %v; want the last one refused", result.Accepted, result.Rejected)
		}
		records, _ := read(t, r.log)
		for _, record := range records {
			if len(record.Events) > ingest.MaxRecordEvents {
				t.Errorf("record of %d events, limit %d", len(record.Events), ingest.MaxRecordEvents)
			}
		}
		if len(records) != 3 {
			t.Errorf("%d records, want 3", len(records))
		}
	})
}

func TestRecordBytesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, found(t, memlog.Options{}, events.Settings{}), nil)
		defer r.stop()
		var all []*eventsv1.Event
		for i := range 40 {
			e := track("u", fmt.Sprint(i))
			e.PropertiesJson = strings.Repeat("x", ingest.MaxEventBytes-100)
			all = append(all, e)
		}
		if result := r.accept(t, batch(all...)); result.Accepted != len(all) {
			t.Fatalf("got %+v, want all accepted", result)
		}
		records, _ := read(t, r.log)
		for _, record := range records {
			if n := proto.Size(record); n > ingest.MaxRecordBytes {
				t.Errorf("record of %d bytes, limit %d", n, ingest.MaxRecordBytes)
			}
		}
		if len(records) != 6 {
			t.Errorf("%d records, want 6: seven events fill one", len(records))
		}
	})
}

func TestRejectedBytesAreCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, found(t, memlog.Options{}, events.Settings{}), nil)
		defer r.stop()
		b := batch(track("a", "1"), track("b", "2"))
		for i := range b.Drafts {
			b.Drafts[i].Original = []byte(strings.Repeat("x", ingest.MaxRejectBytes+i))
		}
		r.accept(t, b)
		for i, got := range rejects(t, r.log) {
			if len(got.Original) != ingest.MaxRejectBytes || got.Cut != (got.Index == 1) || got.OriginalBytes != uint64(ingest.MaxRejectBytes)+uint64(got.Index) {
				t.Errorf("reject %d: %d bytes of %d, cut %v", i, len(got.Original), got.OriginalBytes, got.Cut)
			}
		}
	})
}

func TestDuplicates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, found(t, memlog.Options{}, events.Settings{}), nil)
		defer r.stop()
		first := r.accept(t, batch(track("a", "1"), track("b", "2"), track("a", "1")))
		if first.Accepted != 2 || first.Duplicates != 1 {
			t.Errorf("in one batch: got %+v, want 2 accepted, 1 duplicate", first)
		}
		// A retry tells another sent time; what it claims is the same.
		retry := batch(track("a", "1"), track("b", "2"))
		retry.Drafts[0].Sent = received.Add(-time.Hour)
		again := r.accept(t, retry)
		if again.Accepted != 0 || again.Duplicates != 2 || again.Receipt != first.Receipt {
			t.Errorf("again: got %+v, want 2 duplicates and the receipt %s", again, first.Receipt)
		}
		other := track("a", "1")
		other.Time = nil
		b := batch(other)
		if got := r.accept(t, b); got.Accepted != 1 {
			t.Errorf("the same id without a time: got %+v, want it accepted", got)
		}
		b = batch(track("a", "1"))
		b.Source = "other"
		if got := r.accept(t, b); got.Accepted != 1 {
			t.Errorf("the same id of another source: got %+v, want it accepted", got)
		}
		for range 2 {
			if got := r.accept(t, batch(track("a", ""), track("a", ""))); got.Accepted != 2 {
				t.Errorf("without ids: got %+v, want both accepted", got)
			}
		}
		_, all := read(t, r.log)
		ids := map[string]bool{}
		for _, e := range all {
			if e.header.MintedId {
				ids[e.header.EventId] = true
			}
		}
		if len(ids) != 4 || len(all) != 8 {
			t.Errorf("%d made ids among %d events, want 4 among 8", len(ids), len(all))
		}
	})
}

// gate holds up appends to the partitions until it is opened.
type gate struct {
	mu      sync.Mutex
	open    chan struct{}
	appends int
}

func (g *gate) shut() { g.mu.Lock(); g.open = make(chan struct{}); g.mu.Unlock() }

func (g *gate) count() int { g.mu.Lock(); defer g.mu.Unlock(); return g.appends }

func (g *gate) faults(op memlog.Op) memlog.Fault {
	if op.Kind == memlog.OpAppend && strings.HasPrefix(string(op.Stream), "EVENTS") {
		g.mu.Lock()
		g.appends++
		open := g.open
		g.mu.Unlock()
		if open != nil {
			<-open
		}
	}
	return memlog.Fault{}
}

func TestAppendsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		r := start(t, found(t, memlog.Options{Faults: g.faults}, events.Settings{Partitions: 1}), nil)
		defer r.stop()
		r.accept(t, batch(track("u", "known")))
		g.shut()
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() { r.accept(t, batch(track("u", fmt.Sprint(i)))) })
		}
		synctest.Wait() // the first is under way, all others wait
		close(g.open)
		wg.Wait()
		if got := g.count() - 1; got != 2 {
			t.Errorf("%d appends for 200 callers, want 2", got)
		}
		if _, all := read(t, r.log); len(all) != 201 {
			t.Errorf("%d events in the log, want 201", len(all))
		}
	})
}

func TestPendingBytesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		r := start(t, found(t, memlog.Options{Faults: g.faults}, events.Settings{Partitions: 1}), nil)
		defer r.stop()
		r.accept(t, batch(track("u", "known")))
		g.shut()
		sized := func(id, n int) ingest.Batch {
			e := track("u", fmt.Sprintf("%08d", id))
			e.PropertiesJson = strings.Repeat("x", n)
			return batch(e)
		}
		var wg sync.WaitGroup
		send := func(b ingest.Batch) {
			wg.Go(func() { r.accept(t, b) })
			synctest.Wait()
		}
		send(sized(0, 0)) // under way
		id := 0
		for ingest.MaxPendingBytes-r.PendingBytes(0) > 20_000 {
			id++
			send(sized(id, 10_000))
		}
		// What is left, to the byte: an event of some size tells the overhead.
		before := r.PendingBytes(0)
		id++
		send(sized(id, 8_000))
		overhead := r.PendingBytes(0) - before - 8_000
		left := ingest.MaxPendingBytes - r.PendingBytes(0)
		id++
		if _, err := r.Accept(t.Context(), sized(id, left-overhead+1)); !errors.Is(err, ingest.ErrOverload) {
			t.Errorf("one byte too many: got %v, want ErrOverload", err)
		}
		send(sized(id, left-overhead))
		if got := r.PendingBytes(0); got != ingest.MaxPendingBytes {
			t.Errorf("%d bytes wait, want %d", got, ingest.MaxPendingBytes)
		}
		close(g.open)
		wg.Wait()
		if got := r.PendingBytes(0); got != 0 {
			t.Errorf("%d bytes wait when all is done, want 0", got)
		}
		r.accept(t, sized(id+1, 0))
	})
}

func TestErrorsOfTheLog(t *testing.T) {
	rejected := batch(track("a", "1"), &eventsv1.Event{Id: "bad"})
	for _, c := range []struct {
		name   string
		stream events.Stream
		fault  memlog.Fault
		times  int // how often; then it goes well
		want   error
	}{
		{"disk full", "EVENTS_00", memlog.Fault{Err: events.ErrFull}, 1, ingest.ErrDiskFull},
		{"overloaded", "EVENTS_00", memlog.Fault{Err: events.ErrOverload}, 1, ingest.ErrOverload},
		{"unknown once, not stored", "EVENTS_00", memlog.Fault{Err: events.ErrUnknown}, 1, nil},
		{"unknown once, stored", "EVENTS_00", memlog.Fault{Err: events.ErrUnknown, Stored: true}, 1, nil},
		{"unknown for long", "EVENTS_00", memlog.Fault{Err: events.ErrUnknown}, 1000, ingest.ErrNotReady},
		{"stream gone", "EVENTS_00", memlog.Fault{Err: events.ErrNotFound}, 1, ingest.ErrNotReady},
		{"identity: disk full", events.IdentityStream, memlog.Fault{Err: events.ErrFull}, 1, ingest.ErrDiskFull},
		{"identity: overloaded", events.IdentityStream, memlog.Fault{Err: events.ErrOverload}, 1, ingest.ErrOverload},
		{"identity: unknown once, not stored", events.IdentityStream, memlog.Fault{Err: events.ErrUnknown}, 1, nil},
		{"identity: unknown once, stored", events.IdentityStream, memlog.Fault{Err: events.ErrUnknown, Stored: true}, 1, nil},
		{"identity: unknown for long", events.IdentityStream, memlog.Fault{Err: events.ErrUnknown}, 1000, ingest.ErrNotReady},
		{"rejects: disk full", events.RejectedStream, memlog.Fault{Err: events.ErrFull}, 1, ingest.ErrDiskFull},
		{"rejects: unknown once", events.RejectedStream, memlog.Fault{Err: events.ErrUnknown}, 1, nil},
		{"rejects: unknown for long", events.RejectedStream, memlog.Fault{Err: events.ErrUnknown}, 1000, ingest.ErrNotReady},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var left atomic.Int64
				left.Store(int64(c.times))
				log := found(t, memlog.Options{Faults: func(op memlog.Op) memlog.Fault {
					if op.Kind != memlog.OpAppend || op.Stream != c.stream || left.Add(-1) < 0 {
						return memlog.Fault{}
					}
					return c.fault
				}}, events.Settings{Partitions: 1})
				r := start(t, log, nil)
				defer r.stop()
				b := rejected
				b.Drafts = []ingest.Draft{{Event: track("a", "1")}, {Original: []byte("bad")}}
				began := time.Now()
				_, err := r.Accept(t.Context(), b)
				if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
					t.Errorf("got %v, want %v", err, c.want)
				}
				if took := time.Since(began); took > 31*time.Second {
					t.Errorf("it took %v, limit 30s", took)
				}
				left.Store(0)
				b.Drafts = []ingest.Draft{{Event: track("a", "1")}, {Original: []byte("bad")}}
				if _, err := r.Accept(t.Context(), b); err != nil {
					t.Errorf("afterwards: %v", err)
				}
				_, all := read(t, log)
				for _, e := range all {
					if e.header.EventId != "1" || e.bodyBytes != all[0].bodyBytes || string(e.header.Customer) != string(all[0].header.Customer) {
						t.Errorf("%v differs from its first copy", e)
					}
				}
				if len(all) == 0 || len(rejects(t, log)) == 0 {
					t.Errorf("%d events, %d rejects in the log", len(all), len(rejects(t, log)))
				}
			})
		})
	}
}

// TestSilentLog: a log that never answers is one of which the outcome is
// unknown, not one that holds up its callers for ever.
func TestSilentLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		r := start(t, slowLog{found(t, memlog.Options{}, events.Settings{Partitions: 1}), g}, nil)
		defer r.stop()
		r.accept(t, batch(track("u", "known")))
		g.shut()
		for _, user := range []string{"u", "new"} {
			began := time.Now()
			_, err := r.Accept(t.Context(), batch(track(user, "1")))
			if !errors.Is(err, ingest.ErrNotReady) || time.Since(began) > time.Minute {
				t.Errorf("%s: got %v after %v, want ErrNotReady", user, err, time.Since(began))
			}
		}
		close(g.open)
		r.accept(t, batch(track("u", "1"), track("new", "1")))
	})
}

func TestDiskReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := errors.New("1 MiB free, reserve 1 GiB")
		r := start(t, found(t, memlog.Options{}, events.Settings{}), func(o *ingest.Options) { o.DiskFree = func() error { return full } })
		defer r.stop()
		if _, err := r.Accept(t.Context(), batch(track("a", "1"))); !errors.Is(err, ingest.ErrDiskFull) || !errors.Is(err, full) {
			t.Errorf("got %v, want ErrDiskFull with the reason", err)
		}
		full = nil
		r.accept(t, batch(track("a", "1")))
	})
}

// TestRecordsCountFromTheLeast packs events that were addressed and received
// at different times into one record.
func TestRecordsCountFromTheLeast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		r := start(t, found(t, memlog.Options{Faults: g.faults}, events.Settings{Partitions: 1}), nil)
		defer r.stop()
		g.shut()
		var wg sync.WaitGroup
		for i, user := range []string{"a", "b", "c", "d"} {
			wg.Go(func() {
				b := batch(track(user, user))
				b.Received = received.Add(-time.Duration(i) * time.Second)
				r.accept(t, b)
			})
			synctest.Wait()
		}
		close(g.open)
		wg.Wait()
		records, all := read(t, r.log)
		if len(records) != 2 || len(all) != 4 {
			t.Fatalf("%d events in %d records, want 4 in 2", len(all), len(records))
		}
		for i, e := range all {
			at, recorded := uint64(3+i), events.Micros(received)-int64(i)*1e6
			if e.at != at || e.recorded != recorded {
				t.Errorf("event %d: decided at %d, recorded at %d; want %d and %d", i, e.at, e.recorded, at, recorded)
			}
		}
		last := records[1]
		if last.At != 4 || last.RecordedAt != events.Micros(received)-3e6 {
			t.Errorf("the record counts from %d and %d; want 4 and the least", last.At, last.RecordedAt)
		}
	})
}

// slowLog is a log that takes its time to append, and gives up with the
// context.
type slowLog struct {
	events.Log
	gate *gate
}

func (l slowLog) Append(ctx context.Context, s events.Stream, subject string, data []byte, e events.Expect) (uint64, error) {
	l.gate.mu.Lock()
	open := l.gate.open
	l.gate.mu.Unlock()
	if open != nil {
		select {
		case <-open:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return l.Log.Append(ctx, s, subject, data, e)
}

func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		r := start(t, slowLog{found(t, memlog.Options{}, events.Settings{Partitions: 1}), g}, nil)
		r.accept(t, batch(track("u", "known")))
		g.shut()
		underWay, waiting := make(chan error, 1), make(chan error, 1)
		send := func(id string, answer chan<- error) {
			go func() {
				_, err := r.Accept(context.Background(), batch(track("u", id)))
				answer <- err
			}()
			synctest.Wait() // so that the next comes behind it
		}
		send("under way", underWay)
		send("waiting", waiting)
		stopped := make(chan struct{})
		go func() { r.stop(); close(stopped) }()
		synctest.Wait()
		close(g.open)
		first, second := <-underWay, <-waiting
		if first != nil || !errors.Is(second, ingest.ErrNotReady) {
			t.Errorf("got %v for what was under way and %v for what waited; want nil and ErrNotReady", first, second)
		}
		<-stopped
		if _, err := r.Accept(context.Background(), batch(track("u", "late"))); !errors.Is(err, ingest.ErrNotReady) {
			t.Errorf("after the end: got %v, want ErrNotReady", err)
		}
	})
}

func TestCallerGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		r := start(t, found(t, memlog.Options{Faults: g.faults}, events.Settings{Partitions: 1}), nil)
		defer r.stop()
		g.shut()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Accept(ctx, batch(track("u", "1"))); !errors.Is(err, ingest.ErrNotReady) {
			t.Errorf("got %v, want ErrNotReady", err)
		}
		close(g.open)
		synctest.Wait()
		if got := r.accept(t, batch(track("u", "1"))); got.Duplicates != 1 {
			t.Errorf("sent again: got %+v, want a duplicate: the first is durable", got)
		}
	})
}

func TestBadSourceIsNoEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, found(t, memlog.Options{}, events.Settings{}), nil)
		defer r.stop()
		for _, source := range []string{"", "A", "a.b", "a b", strings.Repeat("a", 41)} {
			b := batch(track("a", "1"))
			b.Source = source
			if _, err := r.Accept(t.Context(), b); err == nil {
				t.Errorf("source %q was taken", source)
			}
		}
	})
}
