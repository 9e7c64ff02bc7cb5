package projections

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/playbook"
	"github.com/dossier360/dossier/projections/profile"
	"github.com/dossier360/dossier/projections/store"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// A stream is folded in tests without a log around it: a list of messages.
type stream struct {
	partition int
	messages  []*message
	raw       []proto.Message // for fetch, by sequence-1
	// searchedEntries bounds whose history is searched; 0: as ever.
	searchedEntries int
}

func genesisOf(clock string) *logv1.Genesis {
	zone, err := events.ZoneSpans("UTC")
	if err != nil {
		panic(err)
	}
	return &logv1.Genesis{Format: 1, Partitions: 1, Clock: clock, Timezone: "UTC", Zone: zone, BaseCurrency: "CNY"}
}

func newStream(clock string, at time.Time) *stream {
	s := &stream{}
	s.notice(at, &logv1.Notice{Notice: &logv1.Notice_Relay{Relay: &logv1.Relay{
		Seq: 1, Rule: &logv1.Rule{Rule: &logv1.Rule_Genesis{Genesis: genesisOf(clock)}},
	}}})
	return s
}

func (s *stream) notice(at time.Time, n *logv1.Notice) {
	s.messages = append(s.messages, &message{seq: uint64(len(s.messages) + 1), time: at, notice: n})
	s.raw = append(s.raw, n)
}

func (s *stream) tick(at time.Time) {
	s.notice(at, &logv1.Notice{Notice: &logv1.Notice_Tick{Tick: &logv1.Tick{}}})
}

func (s *stream) record(at time.Time, list ...*logv1.LoggedEvent) {
	r := &logv1.Record{Events: list}
	s.messages = append(s.messages, &message{seq: uint64(len(s.messages) + 1), time: at, record: r})
	s.raw = append(s.raw, r)
}

func (s *stream) fetch(_ context.Context, seq uint64) (*logv1.Record, error) {
	return s.raw[seq-1].(*logv1.Record), nil
}

// told makes a stamped event.
func told(c events.CustomerID, id string, kind eventsv1.Type, occurred time.Time, body *eventsv1.Event) *logv1.LoggedEvent {
	if body == nil {
		body = &eventsv1.Event{}
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(body) // as ingest does
	if err != nil {
		panic(err)
	}
	at := events.Micros(occurred)
	return &logv1.LoggedEvent{
		Header: &logv1.Header{
			Customer: c[:], Type: kind, Source: "test", EventId: id, ClaimedAt: &at, OccurredAt: at,
			RecordedDelta: uint64(at), // recorded when it occurred, unless a test says otherwise
		},
		Body: data,
	}
}

func customerNo(n int) events.CustomerID {
	return events.CustomerID{0: 1, 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)}
}

func (s *stream) options() foldOptions {
	return foldOptions{Partition: s.partition, Evaluate: playbook.BuiltinStages, Fetch: s.fetch, CacheBytes: 1 << 16, SearchedEntries: s.searchedEntries}
}

// foldAll folds the whole stream into a store. cut is asked after every step
// whether to commit there; restart, whether to go on with a new fold.
func (s *stream) foldAll(t rapid.TB, m *store.Memory, cut, restart func() bool) {
	t.Helper()
	f := s.open(t, m)
	for int(f.cp.Seq) < len(s.messages) || f.cp.Place != nil {
		seq := f.cp.Seq + 1
		if f.cp.Place != nil {
			seq = f.cp.Seq
		}
		msg := *s.messages[seq-1] // begun anew after a restart
		msg.rounds, msg.place = nil, nil
		if err := f.begin(&msg); err != nil {
			t.Fatalf("begin message %d: %v", seq, err)
		}
		for more := true; more; {
			var err error
			if more, err = f.step(context.Background()); err != nil && !errors.Is(err, errCommitFirst) {
				t.Fatalf("step in message %d: %v", seq, err)
			}
			if full := err != nil || f.full(commitBytes); !full && !cut() {
				continue
			}
			if err := f.flush(m); err != nil {
				t.Fatalf("flush in message %d: %v", seq, err)
			}
			if restart() {
				f.view.Close()
				f = s.open(t, m)
				break
			}
		}
	}
	if err := f.flush(m); err != nil {
		t.Fatalf("last flush: %v", err)
	}
	f.view.Close()
}

func (s *stream) open(t rapid.TB, m *store.Memory) *fold {
	t.Helper()
	f, err := newFold(s.options(), m.View())
	if err != nil {
		t.Fatalf("open fold: %v", err)
	}
	return f
}

func never() bool { return false }

// dump lists every key of a store with its value.
func dump(t rapid.TB, m *store.Memory) map[string]string {
	t.Helper()
	all := map[string]string{}
	v := m.View()
	defer v.Close()
	err := v.Scan(nil, nil, false, func(key, value []byte) bool {
		all[fmt.Sprintf("%c %s", key[0], hex.EncodeToString(key[1:]))] = hex.EncodeToString(value)
		return true
	})
	if err != nil {
		t.Fatalf("dump: %v", err)
	}
	return all
}

// viewOf opens a view of a store without a worker.
func viewOf(t rapid.TB, m *store.Memory) *View {
	t.Helper()
	p := newPartition(Options{})
	if err := p.publishOpened(m); err != nil {
		t.Fatalf("open view: %v", err)
	}
	return p.View()
}

// digests are the facts digests of all customers, by id.
func digests(t rapid.TB, m *store.Memory) map[string]string {
	t.Helper()
	all := map[string]string{}
	for id, head := range heads(t, m) {
		sum := profile.Digest(head.Facts)
		all[id] = hex.EncodeToString(sum[:])
	}
	return all
}

func heads(t rapid.TB, m *store.Memory) map[string]*statev1.Head {
	t.Helper()
	all := map[string]*statev1.Head{}
	v := m.View()
	defer v.Close()
	err := v.Scan([]byte{keyHead}, []byte{keyHead + 1}, false, func(key, value []byte) bool {
		head := &statev1.Head{}
		if err := proto.Unmarshal(value, head); err != nil {
			t.Fatalf("head: %v", err)
		}
		all[events.CustomerID(key[1:]).String()] = head
		return true
	})
	if err != nil {
		t.Fatalf("heads: %v", err)
	}
	return all
}

var day0 = time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)

// drawEvent draws an event of a life: views, carts, orders and their states,
// traits, customs, and what else the sections fold.
func drawEvent(t *rapid.T, n int, customers int, days int) *logv1.LoggedEvent {
	c := customerNo(rapid.IntRange(0, customers-1).Draw(t, "customer"))
	at := day0.Add(time.Duration(rapid.IntRange(0, days*24*4).Draw(t, "quarter hour")) * 15 * time.Minute)
	amount := func() *int64 {
		v := int64(rapid.IntRange(0, 500_000).Draw(t, "cents")) * 10_000
		return &v
	}
	order := func() *eventsv1.Order {
		return &eventsv1.Order{
			OrderId:  fmt.Sprintf("o%d", rapid.IntRange(0, 5).Draw(t, "order")),
			Currency: rapid.SampledFrom([]string{"", "CNY", "USD"}).Draw(t, "currency"),
		}
	}
	id := fmt.Sprintf("e%d", n)
	body := &eventsv1.Event{}
	var kind eventsv1.Type
	switch rapid.IntRange(0, 13).Draw(t, "kind") {
	case 0, 1, 2:
		kind = eventsv1.Type_TYPE_PAGE_VIEWED
		body.Payload = &eventsv1.Event_View{View: &eventsv1.View{Url: fmt.Sprintf("https://shop/%d", rapid.IntRange(0, 4).Draw(t, "page"))}}
	case 3:
		kind = eventsv1.Type_TYPE_PRODUCT_ADDED
		body.Payload = &eventsv1.Event_Product{Product: &eventsv1.Product{Line: &eventsv1.Line{ProductId: "p", PriceMicros: amount()}}}
	case 4, 5:
		kind = eventsv1.Type_TYPE_ORDER_PLACED
		o := order()
		o.RevenueMicros = amount()
		body.Payload = &eventsv1.Event_Order{Order: o}
	case 6:
		kind = rapid.SampledFrom([]eventsv1.Type{
			eventsv1.Type_TYPE_ORDER_CANCELLED, eventsv1.Type_TYPE_ORDER_DELIVERED, eventsv1.Type_TYPE_ORDER_REFUNDED,
		}).Draw(t, "state")
		body.Payload = &eventsv1.Event_Order{Order: order()}
	case 7:
		kind = eventsv1.Type_TYPE_TRAITS_SET
		body.Identifiers = []*eventsv1.Identifier{{Type: "user_id", Value: fmt.Sprintf("u%x", c[15])}}
	case 8:
		kind = eventsv1.Type_TYPE_CUSTOM
		body.Type = fmt.Sprintf("custom %d", rapid.IntRange(0, 3).Draw(t, "name"))
	case 9:
		kind = eventsv1.Type_TYPE_PRODUCT_REMOVED
		body.Payload = &eventsv1.Event_Product{Product: &eventsv1.Product{Line: &eventsv1.Line{ProductId: "p"}}}
	default:
		kind = drawBehaviour(t, body)
	}
	if rapid.IntRange(0, 5).Draw(t, "from a campaign") == 0 {
		body.Context = &eventsv1.Context{Campaign: &eventsv1.Campaign{
			Source: rapid.SampledFrom([]string{"wechat", "google"}).Draw(t, "source"), Medium: rapid.SampledFrom([]string{"cpc", "email"}).Draw(t, "medium"),
		}}
	}
	e := told(c, id, kind, at, body)
	drawParties(t, e.Header)
	if rapid.IntRange(0, 9).Draw(t, "clock") == 0 { // a clock that was off
		e.Header.Corrected = true
		e.Header.OccurredAt += int64(rapid.IntRange(1, 1000).Draw(t, "shift")) * int64(time.Second/time.Microsecond)
	}
	return e
}

// drawBehaviour fills the body of an event of the sections acquisition, service,
// referrals, interactions, memberships and members.
func drawBehaviour(t *rapid.T, body *eventsv1.Event) eventsv1.Type {
	of := func(types ...eventsv1.Type) eventsv1.Type { return rapid.SampledFrom(types).Draw(t, "type") }
	switch rapid.IntRange(0, 6).Draw(t, "behaviour") {
	case 0:
		body.Payload = &eventsv1.Event_Ad{Ad: &eventsv1.AdTouch{Channel: "wechat", Campaign: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "campaign")}}
		return of(eventsv1.Type_TYPE_AD_VIEWED, eventsv1.Type_TYPE_AD_CLICKED)
	case 1, 2:
		body.Payload = &eventsv1.Event_Ticket{Ticket: &eventsv1.Ticket{
			TicketId: fmt.Sprintf("t%d", rapid.IntRange(0, 2).Draw(t, "ticket")), Topic: rapid.SampledFrom([]string{"", "late", "broken"}).Draw(t, "topic"),
			Author: rapid.SampledFrom([]string{"", "agent", "customer"}).Draw(t, "author"),
		}}
		return of(eventsv1.Type_TYPE_TICKET_OPENED, eventsv1.Type_TYPE_TICKET_REPLIED, eventsv1.Type_TYPE_TICKET_RESOLVED,
			eventsv1.Type_TYPE_TICKET_REOPENED, eventsv1.Type_TYPE_TICKET_CLOSED)
	case 3:
		body.Payload = &eventsv1.Event_Rating{Rating: &eventsv1.Rating{
			Aspect: rapid.SampledFrom([]string{"", "service"}).Draw(t, "aspect"), ScoreMicros: new(int64(rapid.IntRange(1, 5).Draw(t, "score")) * 1_000_000),
		}}
		return eventsv1.Type_TYPE_RATING_GIVEN
	case 4:
		other := &eventsv1.Identifier{Type: "email", Value: rapid.SampledFrom([]string{"a@x", "b@x"}).Draw(t, "party")}
		body.Payload = &eventsv1.Event_Referral{Referral: &eventsv1.Referral{Referee: other, RevenueMicros: new(int64(7_000_000)), Currency: "CNY"}}
		if rapid.Bool().Draw(t, "of the referee") {
			body.GetReferral().Referee, body.GetReferral().Referrer = nil, other
		}
		return of(eventsv1.Type_TYPE_REFERRAL_MADE, eventsv1.Type_TYPE_REFERRAL_CONVERTED)
	case 5:
		body.Payload = &eventsv1.Event_Interaction{Interaction: &eventsv1.Interaction{
			Channel: rapid.SampledFrom([]string{"call", "visit"}).Draw(t, "channel"), Direction: rapid.SampledFrom([]string{"", "inbound", "outbound"}).Draw(t, "direction"),
		}}
		return eventsv1.Type_TYPE_INTERACTION_LOGGED
	}
	group := &eventsv1.Group{GroupId: rapid.SampledFrom([]string{"acme", "globex"}).Draw(t, "group")}
	body.Payload = &eventsv1.Event_Group{Group: group}
	return of(eventsv1.Type_TYPE_GROUP_JOINED, eventsv1.Type_TYPE_GROUP_JOINED, eventsv1.Type_TYPE_GROUP_LEFT)
}

// drawParties gives an event of two customers its other party, and now and then
// the other role.
func drawParties(t *rapid.T, h *logv1.Header) {
	switch h.Type {
	case eventsv1.Type_TYPE_GROUP_JOINED, eventsv1.Type_TYPE_GROUP_LEFT:
		if h.Role = rapid.SampledFrom([]logv1.Role{logv1.Role_ROLE_SUBJECT, logv1.Role_ROLE_COMPANY}).Draw(t, "role"); h.Role == logv1.Role_ROLE_SUBJECT {
			return
		}
		h.CustomerKind = logv1.CustomerKind_CUSTOMER_KIND_COMPANY
		h.Leaves = h.Type == eventsv1.Type_TYPE_GROUP_LEFT || rapid.Bool().Draw(t, "leaves")
		if !h.Leaves && rapid.IntRange(0, 3).Draw(t, "until") == 0 {
			h.Until = new(h.OccurredAt + int64(rapid.IntRange(1, 1e9).Draw(t, "until")))
		}
	case eventsv1.Type_TYPE_REFERRAL_MADE, eventsv1.Type_TYPE_REFERRAL_CONVERTED:
		h.Role = rapid.SampledFrom([]logv1.Role{logv1.Role_ROLE_SUBJECT, logv1.Role_ROLE_REFEREE, logv1.Role_ROLE_REFERRER}).Draw(t, "role")
	default:
		return
	}
	n := byte(rapid.IntRange(1, 3).Draw(t, "party"))
	other := events.CustomerID{0: 9, 15: n}
	h.PartyCustomer = other[:]
	h.Party = &logv1.HashedIdentifier{Type: "email", Hash: []byte{n, 15: n}}
}

// drawStream draws a stream of records, ticks and repeats.
func drawStream(t *rapid.T, clock string) *stream {
	s := newStream(clock, day0)
	customers := rapid.IntRange(1, 6).Draw(t, "customers")
	days := rapid.SampledFrom([]int{1, 40, 400}).Draw(t, "days")
	now := day0
	var sent []*logv1.LoggedEvent
	for n := 0; len(s.messages) < 2+rapid.IntRange(0, 12).Draw(t, "messages"); {
		now = now.Add(time.Duration(rapid.IntRange(-1, 40*24).Draw(t, "hours")) * time.Hour)
		if rapid.IntRange(0, 4).Draw(t, "tick") == 0 {
			s.tick(now)
			continue
		}
		var list []*logv1.LoggedEvent
		for range rapid.IntRange(1, 30).Draw(t, "events") {
			if len(sent) > 0 && rapid.IntRange(0, 9).Draw(t, "repeat") == 0 {
				list = append(list, drawRepeat(t, sent))
				continue
			}
			e := drawEvent(t, n, customers, days)
			if rapid.IntRange(0, 7).Draw(t, "takes back") == 0 {
				e = drawTakeback(t, n, customers, sent)
			}
			n++
			sent, list = append(sent, e), append(list, e)
		}
		s.record(now, list...)
	}
	if rapid.Bool().Draw(t, "reevaluate") {
		s.notice(now, &logv1.Notice{Notice: &logv1.Notice_Relay{Relay: &logv1.Relay{
			Seq: 7, Prev: 1, Rule: &logv1.Rule{Rule: &logv1.Rule_Reevaluate{Reevaluate: &logv1.Reevaluate{}}},
		}}})
		s.tick(now)
	}
	return s
}

// drawRepeat is an event sent again: the same, or re-stamped by another clock
// error and recorded later or earlier.
func drawRepeat(t *rapid.T, sent []*logv1.LoggedEvent) *logv1.LoggedEvent {
	e := proto.CloneOf(rapid.SampledFrom(sent).Draw(t, "again"))
	switch rapid.IntRange(0, 5).Draw(t, "how") {
	case 5: // stamped otherwise, recorded earlier or later
		e.Header.Corrects = rapid.SampledFrom([]string{"", "ghost"}).Draw(t, "corrects")
		e.Header.Withdraws = rapid.Bool().Draw(t, "withdraws")
		e.Header.IssuedAt = new(int64(rapid.IntRange(0, 2).Draw(t, "issued at")))
		e.Header.RecordedDelta += uint64(rapid.IntRange(-1, 1).Draw(t, "recorded"))
	case 4: // with other content, recorded earlier or later
		body := &eventsv1.Event{}
		if err := proto.Unmarshal(e.Body, body); err != nil {
			t.Fatal(err)
		}
		body.Context = &eventsv1.Context{Locale: "zh", Campaign: &eventsv1.Campaign{Name: rapid.SampledFrom([]string{"", "again"}).Draw(t, "other content")}}
		data, err := proto.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		e.Body = data
		e.Header.RecordedDelta += uint64(rapid.IntRange(-1, 1).Draw(t, "recorded"))
	case 3: // the same, by a gateway whose clock is behind
		e.Header.RecordedDelta -= 5_000_000
	case 1:
		e.Header.Corrected = true
		e.Header.OccurredAt += 7_000_000
		e.Header.RecordedDelta += 7_000_000
	case 2:
		e.Header.Corrected = true
		e.Header.OccurredAt -= 3_000_000
		e.Header.RecordedDelta -= 3_000_000
	}
	return e
}

// The journal law: wherever commits and restarts fall, the store ends in the
// same bytes: heads with their journals, rows, pages, timers, outbox, and so
// every position.
func TestJournalLaw(t *testing.T) {
	for _, clock := range []string{"wall", "events"} {
		t.Run(clock, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				s := drawStream(t, clock)
				want, got := store.OpenMemory(), store.OpenMemory()
				s.foldAll(t, want, never, never)
				rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
				one := func(n int) func() bool { return func() bool { return rng.IntN(n) == 0 } }
				s.foldAll(t, got, one(rapid.SampledFrom([]int{1, 5, 50}).Draw(t, "cuts")), one(2))
				if diff := cmp.Diff(dump(t, want), dump(t, got)); diff != "" {
					t.Fatalf("commit cuts changed the store (-undisturbed +cut):\n%s", diff)
				}
			})
		})
	}
}

// The facts law of the whole fold: the same stamped events in any order, in
// any records, some repeated, give every customer the same digest.
func TestFactsLaw(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var sent []*logv1.LoggedEvent
		for n := range rapid.IntRange(1, 120).Draw(t, "events") {
			if rapid.IntRange(0, 7).Draw(t, "takes back") == 0 {
				sent = append(sent, drawTakeback(t, n, 3, sent))
			} else {
				sent = append(sent, drawEvent(t, n, 3, 60))
			}
			if rapid.IntRange(0, 4).Draw(t, "repeat") == 0 {
				sent = append(sent, drawRepeat(t, sent))
			}
		}
		one, other := newStream("wall", day0), newStream("wall", day0)
		one.record(day0, sent...)
		shuffled := slices.Clone(sent)
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 2))
		rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		shuffled = append(shuffled, shuffled[:rng.IntN(len(shuffled))]...)
		for len(shuffled) > 0 {
			n := 1 + rng.IntN(len(shuffled))
			other.record(day0, shuffled[:n]...)
			shuffled = shuffled[n:]
		}
		a, b := store.OpenMemory(), store.OpenMemory()
		one.foldAll(t, a, never, never)
		other.foldAll(t, b, func() bool { return rng.IntN(10) == 0 }, func() bool { return true })
		if diff := cmp.Diff(digests(t, a), digests(t, b)); diff != "" {
			t.Fatalf("order or repetition changed the facts (-one +other):\n%s", diff)
		}
	})
}

// The standing law: at settled time every customer's stage is what his facts
// say at that instant, however the stream came to it.
func TestStandingLaw(t *testing.T) {
	for _, clock := range []string{"wall", "events"} {
		t.Run(clock, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				s := drawStream(t, clock)
				m := store.OpenMemory()
				s.foldAll(t, m, never, never)
				f := s.open(t, m)
				defer f.view.Close()
				for id, head := range heads(t, m) {
					at := f.cp.LogTime
					if head.Timer != 0 && head.Timer <= at {
						at = head.Timer - 1 // his due instants are pending: he stands before the first
					}
					want, flips := playbook.BuiltinStages(head.Facts, at)
					if got := head.Journal.Stage; got != want.Stage {
						t.Errorf("customer %s stands at %s, his facts say %s at %s", id, got, want.Stage, events.FromMicros(at))
					}
					if head.Timer != flips {
						t.Errorf("customer %s is due at %s, his stage flips at %s", id, events.FromMicros(head.Timer), events.FromMicros(flips))
					}
				}
			})
		})
	}
}

// 100,000 timers due at one instant: each message takes 1,024 of them, settled
// time waits just before the instant, and then all of them stand where their
// facts say, with the instant as effective time.
func TestManyTimersAtOneInstant(t *testing.T) {
	t.Parallel()
	customers := 100_000
	if testing.Short() {
		customers = 10_000
	}
	s := newStream("wall", day0)
	body := &eventsv1.Event{
		Identifiers: []*eventsv1.Identifier{{Type: "user_id", Value: "u"}},
		Payload:     &eventsv1.Event_Order{Order: &eventsv1.Order{OrderId: "o"}},
	}
	for n := 0; n < customers; {
		var list []*logv1.LoggedEvent
		for ; len(list) < 1000 && n < customers; n++ {
			list = append(list, told(customerNo(n), "order", eventsv1.Type_TYPE_ORDER_PLACED, day0, body))
		}
		s.record(day0, list...)
	}
	due := day0.Add(90 * 24 * time.Hour)
	for range (customers + maxTimerEvaluations - 1) / maxTimerEvaluations {
		s.tick(due.Add(time.Hour))
	}
	m := store.OpenMemory()
	messages := s.messages
	s.messages = messages[:len(messages)-1]
	s.foldAll(t, m, never, never)
	f := s.open(t, m)
	if got, want := settled(f.cp, f.timers.earliest), events.Micros(due)-1; got != want {
		t.Errorf("with timers pending settled time is %s, want %s", events.FromMicros(got), events.FromMicros(want))
	}
	f.view.Close()
	s.messages = messages
	s.foldAll(t, m, never, never)
	f = s.open(t, m)
	if got, want := settled(f.cp, f.timers.earliest), events.Micros(due.Add(time.Hour)); got != want {
		t.Errorf("after the last tick settled time is %s, want %s", events.FromMicros(got), events.FromMicros(want))
	}
	f.view.Close()
	stages := map[string]int{}
	for _, head := range heads(t, m) {
		stages[fmt.Sprintf("%s since %s", head.Journal.Stage, events.FromMicros(head.Journal.Since).Format(time.RFC3339))]++
	}
	want := map[string]int{"dormant since " + due.Format(time.RFC3339): customers}
	if diff := cmp.Diff(want, stages); diff != "" {
		t.Errorf("stages (-want +got):\n%s", diff)
	}
}

// Refusal against a naive set of keys: retries with corrected, clamped and
// assigned times, hundreds of events at one instant, late ones, page splits.
func TestRefusalAgainstNaiveSet(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := newStream("wall", day0)
		c := customerNo(1)
		known := map[string]bool{}
		counted := 0
		var sent, told1 []*logv1.LoggedEvent
		midnights := rapid.IntRange(1, 4).Draw(t, "instants")
		n := rapid.SampledFrom([]int{20, 300, 900}).Draw(t, "events")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 3))
		for i := range n {
			at := day0.AddDate(0, 0, rng.IntN(midnights))
			if rng.IntN(3) == 0 {
				at = at.Add(-time.Duration(rng.IntN(1e6)) * time.Second) // late
			}
			e := told(c, fmt.Sprintf("e%d", i), eventsv1.Type_TYPE_PAGE_VIEWED, at, nil)
			if len(told1) > 0 && rng.IntN(2) == 0 {
				// Every copy is stamped anew: the first may have been corrected
				// and the retry not, or the other way round.
				e = proto.CloneOf(told1[rng.IntN(len(told1))])
			} else {
				told1 = append(told1, proto.CloneOf(e))
			}
			switch rng.IntN(6) {
			case 0:
				e.Header.Corrected, e.Header.OccurredAt = true, e.Header.OccurredAt+int64(rng.IntN(1e9))
			case 1:
				e.Header.Clamped, e.Header.OccurredAt = true, e.Header.OccurredAt-int64(rng.IntN(1e9))
			case 2:
				e.Header.Assigned, e.Header.ClaimedAt = true, nil
			}
			// Mostly later copies are recorded later; now and then a gateway's
			// clock is behind, and the later copy is the one that stands.
			if rng.IntN(8) > 0 {
				e.Header.RecordedDelta += uint64(i) * 1e9
			}
			if key := fmt.Sprint(e.Header.EventId, e.Header.ClaimedAt == nil, e.Header.GetClaimedAt()); !known[key] {
				known[key] = true
				counted++
			}
			sent = append(sent, e)
		}
		for list := sent; len(list) > 0; {
			n := min(len(list), 1+rng.IntN(100))
			s.record(day0, list[:n]...)
			list = list[n:]
		}
		m := store.OpenMemory()
		s.foldAll(t, m, func() bool { return rng.IntN(20) == 0 }, func() bool { return rng.IntN(4) == 0 })
		head := heads(t, m)[c.String()]
		if got := int(head.Facts.Engagement.PageViews); got != counted {
			t.Fatalf("counted %d views, a set of keys counts %d", got, counted)
		}
		checkHistory(t, m, c, counted)
	})
}

// checkHistory reads the history back: complete, in order, nothing twice.
func checkHistory(t *rapid.T, m *store.Memory, c events.CustomerID, want int) {
	t.Helper()
	v := viewOf(t, m)
	defer v.Close()
	seen := map[string]bool{}
	var last *statev1.Entry
	for e, err := range v.Entries(c, nil) {
		if err != nil {
			t.Fatalf("entries: %v", err)
		}
		if last != nil && compareEntry(e, stampOf(last)) >= 0 {
			t.Fatalf("entry %v does not lie below %v", e, last)
		}
		seen[fmt.Sprint(e.EventId, e.ClaimedAt == nil, e.GetClaimedAt())] = true
		last = e
	}
	if len(seen) != want {
		t.Fatalf("the history has %d entries, want %d", len(seen), want)
	}
}

// The copy that stands may leave the refusal key of the one it replaced
// behind; a later retry must find the event all the same.
func TestReplacedCopyIsFoundAgain(t *testing.T) {
	t.Parallel()
	c := customerNo(1)
	s := newStream("wall", day0)
	corrected := told(c, "x", eventsv1.Type_TYPE_PAGE_VIEWED, day0, nil)
	corrected.Header.Corrected = true
	corrected.Header.OccurredAt += 100_000_000
	corrected.Header.RecordedDelta += 10
	plain := told(c, "x", eventsv1.Type_TYPE_PAGE_VIEWED, day0, nil)
	s.record(day0, corrected)
	s.record(day0, plain)
	var more []*logv1.LoggedEvent
	for i := range 3 * headEntries { // until both places are in pages
		more = append(more, told(c, fmt.Sprint("y", i), eventsv1.Type_TYPE_PAGE_VIEWED, day0.Add(time.Duration(i)*time.Minute), nil))
	}
	s.record(day0, more...)
	for _, again := range []*logv1.LoggedEvent{proto.CloneOf(plain), proto.CloneOf(corrected)} {
		again.Header.RecordedDelta += 1000
		s.record(day0, again)
	}
	m := store.OpenMemory()
	s.foldAll(t, m, never, never)
	if got, want := heads(t, m)[c.String()].Facts.Engagement.PageViews, uint32(1+len(more)); got != want {
		t.Errorf("%d views, want %d", got, want)
	}
}

// However many copies a message replaces, the customer is folded again once
// and every record is read once; a record appended twice is read once.
func TestRefoldIsBounded(t *testing.T) {
	t.Parallel()
	c := customerNo(1)
	s := newStream("wall", day0)
	var first, second []*logv1.LoggedEvent
	for i := range 400 {
		e := told(c, fmt.Sprint("e", i), eventsv1.Type_TYPE_PAGE_VIEWED, day0, nil)
		e.Header.RecordedDelta += 10
		first = append(first, e)
		other := told(c, fmt.Sprint("e", i), eventsv1.Type_TYPE_PAGE_VIEWED, day0,
			&eventsv1.Event{Payload: &eventsv1.Event_View{View: &eventsv1.View{Url: "https://x/"}}})
		second = append(second, other)
	}
	s.record(day0, first...)
	s.record(day0, second...)
	s.record(day0, second...)
	fetches := 0
	var kept keptRecords
	o := s.options()
	o.Fetch = func(ctx context.Context, seq uint64) (*logv1.Record, error) {
		return kept.read(ctx, seq, func(ctx context.Context, seq uint64) (*logv1.Record, error) {
			fetches++
			return s.fetch(ctx, seq)
		})
	}
	m := store.OpenMemory()
	f, err := newFold(o, m.View())
	if err != nil {
		t.Fatal(err)
	}
	for _, msg := range s.messages {
		if err := f.begin(msg); err != nil {
			t.Fatal(err)
		}
		for more := true; more; {
			if more, err = f.step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := f.flush(m); err != nil {
		t.Fatal(err)
	}
	f.view.Close()
	if fetches > 4 {
		t.Errorf("%d records were read again, 2 are enough", fetches)
	}
	if got := heads(t, m)[c.String()].Facts.Engagement; got.PageViews != 400 || len(got.Pages) != 1 || got.Pages[0].Count != 400 {
		t.Errorf("after the refold: %v", got)
	}
}

// A customer too long to be folded again inline is shown as he was until the
// mover has told him all once more. No commit outgrows a transaction.
func TestTooLongToRefold(t *testing.T) {
	t.Parallel()
	c := customerNo(1)
	s := newStream("wall", day0)
	for i := range 100 {
		lines := make([]*eventsv1.Line, 150)
		for n := range lines {
			lines[n] = &eventsv1.Line{ProductId: fmt.Sprint("product number ", n), Name: strings.Repeat("n", 60), PriceMicros: proto.Int64(1)}
		}
		s.record(day0, told(c, fmt.Sprint("o", i), eventsv1.Type_TYPE_ORDER_PLACED, day0.Add(time.Duration(i)*time.Minute),
			&eventsv1.Event{Payload: &eventsv1.Event_Order{Order: &eventsv1.Order{OrderId: fmt.Sprint("o", i), Lines: lines}}}))
	}
	replaced := told(c, "o0", eventsv1.Type_TYPE_ORDER_PLACED, day0, nil)
	replaced.Header.RecordedDelta -= 1000
	s.record(day0, replaced)
	m := store.OpenMemory()
	s.foldAll(t, m, never, never)
	v := viewOf(t, m)
	defer v.Close()
	head, err := v.Head(c)
	if err != nil {
		t.Fatal(err)
	}
	if len(head.Withheld) != 1 || head.Parked != 0 || head.Facts.Orders.Count != 100 {
		t.Errorf("withheld %v, parked %d, orders %d; want one move, none and 100", head.Withheld, head.Parked, head.Facts.Orders.Count)
	}
	if n := dumpPrefix(t, m, keyJob); n != 1 {
		t.Errorf("%d jobs, want 1", n)
	}
}

// What is kept decoded between commits stays within its bound, however
// customers grow and whatever pages are read for late events.
func TestCacheIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("measures the heap")
	}
	const bound = 16 << 20
	s := newStream("wall", day0)
	o := s.options()
	o.CacheBytes = bound
	m, err := store.OpenBadger(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	f, err := newFold(o, m.View())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { f.view.Close() }()
	heap := func() uint64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	for round := range 40 {
		var list []*logv1.LoggedEvent
		for c := range 1000 {
			at := day0.Add(time.Duration(rand.IntN(1e6)) * time.Second)
			for n := range 3 {
				list = append(list, told(customerNo(c+1000*(round%4)), fmt.Sprintf("an event id of usual length %d %d", round, n), eventsv1.Type_TYPE_PAGE_VIEWED, at,
					&eventsv1.Event{Payload: &eventsv1.Event_View{View: &eventsv1.View{Url: fmt.Sprintf("https://shop.example/a/usual/path/%d", round), Title: "A usual title"}}}))
			}
		}
		msg := &message{seq: f.cp.Seq + 1, time: day0, record: &logv1.Record{Events: list}}
		if round == 0 {
			msg = s.messages[0]
		}
		if err := f.begin(msg); err != nil {
			t.Fatal(err)
		}
		for more := true; more; {
			if more, err = f.step(t.Context()); err != nil && !errors.Is(err, errCommitFirst) {
				t.Fatal(err)
			}
			if err != nil || f.full(commitBytes) {
				if err := f.flush(m); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if err := f.flush(m); err != nil {
		t.Fatal(err)
	}
	f.m, s, o = nil, nil, foldOptions{}
	kept := heap()
	f.young, f.old = nil, nil
	if used := int64(kept) - int64(heap()); used > bound {
		t.Errorf("%d KiB are kept, the bound is %d KiB", used>>10, bound>>10)
	} else {
		t.Logf("%d KiB kept at a bound of %d KiB", used>>10, bound>>10)
	}
}

// An event whose body cannot be read is parked, its neighbours count, and the
// customer says so; one that is enciphered with a key that is gone becomes a
// tombstone that shifts no position.
func TestPoisonIsParked(t *testing.T) {
	t.Parallel()
	c := customerNo(1)
	s := newStream("wall", day0)
	poison := told(c, "poison", eventsv1.Type_TYPE_PAGE_VIEWED, day0, nil)
	poison.Body = []byte{0xff, 0xff}
	erased := told(c, "erased", eventsv1.Type_TYPE_PAGE_VIEWED, day0, nil)
	erased.Header.KeyId, erased.Body = 9, []byte{0xff}
	nobody := told(c, "nobody", eventsv1.Type_TYPE_PAGE_VIEWED, day0, nil)
	nobody.Header.Customer = []byte{1, 2, 3}
	s.record(day0,
		told(c, "before", eventsv1.Type_TYPE_PAGE_VIEWED, day0, nil), poison, erased, nobody,
		told(c, "after", eventsv1.Type_TYPE_PAGE_VIEWED, day0, nil))
	m := store.OpenMemory()
	s.foldAll(t, m, never, never)
	head := heads(t, m)[c.String()]
	if got := head.Facts.Engagement.PageViews; got != 2 {
		t.Errorf("page views: %d, want 2", got)
	}
	if head.Parked != 1 {
		t.Errorf("parked of the customer: %d, want 1", head.Parked)
	}
	v := viewOf(t, m)
	defer v.Close()
	reasons := map[string]string{}
	for parked, err := range v.Parked(0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		reasons[parked.EventId] = parked.Reason
	}
	want := map[string]string{"poison": errBadBody.Error(), "nobody": errNoCustomer.Error()}
	if diff := cmp.Diff(want, reasons); diff != "" {
		t.Errorf("parked (-want +got):\n%s", diff)
	}
	tombstones := map[string]bool{}
	for e, err := range v.Entries(c, nil) {
		if err != nil {
			t.Fatal(err)
		}
		tombstones[e.EventId] = e.Tombstone
	}
	if diff := cmp.Diff(map[string]bool{"before": false, "erased": true, "after": false}, tombstones); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}

// A head near its bound gets a commit nearly of its own: no commit outgrows a
// transaction, whoever shares a record with him.
func TestBigHeadsFitACommit(t *testing.T) {
	t.Parallel()
	s := newStream("wall", day0)
	for n := range 60 { // traits of four customers grow to their bound together
		var list []*logv1.LoggedEvent
		for c := range 4 {
			set := map[string]*structpb.Value{}
			for i := range 12 {
				set[fmt.Sprintf("trait %d-%d", n, i)] = structpb.NewStringValue(strings.Repeat("x", 1900))
			}
			list = append(list, told(customerNo(c), fmt.Sprint("e", n), eventsv1.Type_TYPE_TRAITS_SET, day0.Add(time.Duration(n)*time.Second),
				&eventsv1.Event{Payload: &eventsv1.Event_Traits{Traits: &eventsv1.Traits{Set: &structpb.Struct{Fields: set}}}}))
		}
		s.record(day0.Add(time.Duration(n)*time.Minute), list...)
	}
	m := store.OpenMemory()
	s.foldAll(t, m, never, never) // the store refuses a batch beyond its bound
	total := 0
	for _, head := range heads(t, m) {
		total += proto.Size(head)
	}
	if total <= store.MaxBatchBytes*3/4 {
		t.Errorf("the heads take %d bytes in all: too few to show anything", total)
	}
}

// Changes name what caused them and chain to the one before; a visitor without
// a name is silent until he is identified.
func TestChanges(t *testing.T) {
	t.Parallel()
	c := customerNo(1)
	s := newStream("wall", day0)
	s.record(day0, told(c, "view", eventsv1.Type_TYPE_PAGE_VIEWED, day0, nil))
	s.record(day0.Add(time.Hour), told(c, "identify", eventsv1.Type_TYPE_TRAITS_SET, day0.Add(time.Hour),
		&eventsv1.Event{Identifiers: []*eventsv1.Identifier{{Type: "user_id", Value: "u1"}}}))
	bought := day0.AddDate(0, 0, 3)
	s.record(bought, told(c, "order", eventsv1.Type_TYPE_ORDER_PLACED, bought,
		&eventsv1.Event{Payload: &eventsv1.Event_Order{Order: &eventsv1.Order{OrderId: "o1"}}}))
	s.tick(bought.AddDate(1, 0, 0))
	m := store.OpenMemory()
	s.foldAll(t, m, never, never)
	v := viewOf(t, m)
	defer v.Close()
	var got []string
	for change, err := range v.Changes() {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %s %s→%s at %s by %s %v after %q", change.Id, change.Kind, change.From, change.To,
			events.FromMicros(change.EffectiveAt).Format(time.DateOnly), change.Cause.Kind, change.Cause.EventIds, change.PreviousChangeId))
	}
	want := []string{
		`00-0-3-1-0 customer.created →potential at 2024-03-01 by event [identify] after ""`,
		`00-0-4-1-0 lifecycle potential→customer at 2024-03-04 by event [order] after "00-0-3-1-0"`,
		`00-0-5-0-0 lifecycle customer→dormant at 2024-06-02 by time [] after "00-0-4-1-0"`,
		`00-0-5-1-0 lifecycle dormant→lost at 2024-08-31 by time [] after "00-0-5-0-0"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outbox (-want +got):\n%s", diff)
	}
}

// A sweep evaluates everybody, 1,024 a message, in order of id; settled time
// waits for it.
func TestSweep(t *testing.T) {
	t.Parallel()
	s := newStream("wall", day0)
	for n := range 3 {
		var list []*logv1.LoggedEvent
		for i := range 700 {
			list = append(list, told(customerNo(n*700+i), "view", eventsv1.Type_TYPE_PAGE_VIEWED, day0, nil))
		}
		s.record(day0, list...)
	}
	s.notice(day0.Add(time.Minute), &logv1.Notice{Notice: &logv1.Notice_Relay{Relay: &logv1.Relay{
		Seq: 9, Prev: 1, Rule: &logv1.Rule{Rule: &logv1.Rule_Reevaluate{Reevaluate: &logv1.Reevaluate{}}},
	}}})
	s.tick(day0.Add(2 * time.Minute))
	s.tick(day0.Add(3 * time.Minute))
	m := store.OpenMemory()
	evaluated := map[int]int{}
	f := s.open(t, m)
	for i := range s.messages {
		calls := 0
		f.Evaluate = func(facts *statev1.Facts, at int64) (playbook.Verdict, int64) {
			calls++
			return playbook.BuiltinStages(facts, at)
		}
		if err := f.begin(s.messages[i]); err != nil {
			t.Fatal(err)
		}
		for more := true; more; {
			var err error
			if more, err = f.step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		evaluated[i+1] = calls
		if sweeping, at := f.cp.Sweep != nil, settled(f.cp, 0); sweeping && at >= events.Micros(day0.Add(time.Minute)) {
			t.Errorf("message %d: a sweep runs, yet settled time is %s", i+1, events.FromMicros(at))
		}
	}
	want := map[int]int{1: 0, 2: 700, 3: 700, 4: 700, 5: 1024, 6: 1024, 7: 2100 - 2048}
	if diff := cmp.Diff(want, evaluated); diff != "" {
		t.Errorf("evaluations by message (-want +got):\n%s", diff)
	}
	f.view.Close()
}

// A relay counts once and in order: repeats, rivals and gaps change nothing.
func TestRelaysApplyInOrder(t *testing.T) {
	t.Parallel()
	s := newStream("wall", day0)
	relay := func(seq, prev uint64) {
		s.notice(day0, &logv1.Notice{Notice: &logv1.Notice_Relay{Relay: &logv1.Relay{
			Seq: seq, Prev: prev, Rule: &logv1.Rule{Rule: &logv1.Rule_Reevaluate{Reevaluate: &logv1.Reevaluate{}}},
		}}})
	}
	relay(5, 1)
	relay(5, 1) // repeated
	relay(9, 7) // 7 was not heard
	relay(7, 5)
	relay(9, 7)
	m := store.OpenMemory()
	f := s.open(t, m)
	var got []uint64
	for _, msg := range s.messages {
		if err := f.begin(msg); err != nil {
			t.Fatal(err)
		}
		for more := true; more; {
			var err error
			if more, err = f.step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		got = append(got, f.cp.RuleSeq)
	}
	f.view.Close()
	if want := []uint64{1, 5, 5, 5, 7, 9}; !slices.Equal(got, want) {
		t.Errorf("rule applied after each message: %v, want %v", got, want)
	}
}

func TestOrderKeys(t *testing.T) {
	t.Parallel()
	draw := rapid.Custom(func(t *rapid.T) *statev1.Stamp {
		text := rapid.StringOfN(rapid.SampledFrom([]rune{'a', 'b', 0, 1, 0xff}), 0, 4, -1)
		s := &statev1.Stamp{
			OccurredAt: int64(rapid.IntRange(-2, 2).Draw(t, "at")), EventId: text.Draw(t, "id"), Source: text.Draw(t, "source"),
			Role: logv1.Role(rapid.IntRange(0, 3).Draw(t, "role")), Type: eventsv1.Type(rapid.IntRange(0, 90).Draw(t, "type")),
		}
		if rapid.Bool().Draw(t, "claimed") {
			s.ClaimedAt = new(int64(rapid.IntRange(-2, 2).Draw(t, "claimed at")))
		}
		return s
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw.Draw(t, "a"), draw.Draw(t, "b")
		ka, kb := appendOrderKey(nil, a), appendOrderKey(nil, b)
		if got, want := cmpBytes(ka, kb), profile.CompareStamps(a, b); got != want {
			t.Fatalf("keys compare %d, stamps %d: %v and %v", got, want, a, b)
		}
		back, err := parseOrderKey(ka)
		if err != nil || !proto.Equal(a, back) {
			t.Fatalf("parsed %v (%v), want %v", back, err, a)
		}
	})
}

func cmpBytes(a, b []byte) int {
	switch {
	case string(a) < string(b):
		return -1
	case string(a) > string(b):
		return 1
	}
	return 0
}

func FuzzParseOrderKey(f *testing.F) {
	f.Add(appendOrderKey(nil, &statev1.Stamp{OccurredAt: 1, EventId: "a\x00b", Source: "s"}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseOrderKey(b)
		if err != nil {
			return
		}
		if got := appendOrderKey(nil, s); string(got) != string(b) {
			t.Errorf("%x parsed to %v, written as %x", b, s, got)
		}
	})
}
