package projections

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/dossier360/dossier/projections/profile"
	"github.com/dossier360/dossier/projections/store"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// foldedByVersion is what the fold of a version makes of the fixed history below:
// SHA-256 over rows, parked events, digest, facts and entries. A store keeps what an older program made;
// so whoever changes this raises FoldVersion, or the two would be mixed.
var foldedByVersion = map[int]string{
	4: "5b355d629537b6d6663157f6cd3c8f26a6c940f1d18a05ebe1500a9ee33f93fb", // entries hold a hash of their body, one event is parked a key, and traits have a third slot
	5: "5b355d629537b6d6663157f6cd3c8f26a6c940f1d18a05ebe1500a9ee33f93fb", // customers are merged and split, which this history does not do
	6: "5b355d629537b6d6663157f6cd3c8f26a6c940f1d18a05ebe1500a9ee33f93fb", // a history told once more knows what it takes back, and what is parked says its address
}

func TestFoldVersion(t *testing.T) {
	t.Parallel()
	s := newStream("wall", day0)
	for i, e := range fixedHistory() {
		s.record(day0.Add(time.Duration(i)*time.Hour), e)
	}
	m := store.OpenMemory()
	s.foldAll(t, m, never, never)
	sum := sha256.New()
	v := m.View()
	defer v.Close()
	for _, prefix := range []byte{keyRow, keyParked, keyParkedID} {
		rows := 0
		err := v.Scan([]byte{prefix}, []byte{prefix + 1}, false, func(key, value []byte) bool {
			rows++
			fmt.Fprintf(sum, "%x %x\n", key, value)
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		if rows == 0 {
			t.Errorf("the fixed history makes no row under %q", prefix)
		}
	}
	for _, n := range []int{1, 2} {
		head := heads(t, m)[customerNo(n).String()]
		facts, err := proto.MarshalOptions{Deterministic: true}.Marshal(head.Facts)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(sum, "%x %x %s %d\n", profile.Digest(head.Facts), facts, head.Journal.Stage, head.Parked)
		for _, e := range head.Entries {
			entry, err := proto.MarshalOptions{Deterministic: true}.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(sum, "%x\n", entry)
		}
	}
	if got, want := hex.EncodeToString(sum.Sum(nil)), foldedByVersion[FoldVersion]; got != want {
		t.Errorf("version %d makes %s of the same log, it made %s: raise FoldVersion and note what the new one makes", FoldVersion, got, want)
	}
}

// fixedHistory has something of every section, for a person and a company.
func fixedHistory() []*logv1.LoggedEvent {
	n := 0
	tell := func(kind eventsv1.Type, body *eventsv1.Event) *logv1.LoggedEvent {
		n++
		body.Identifiers = []*eventsv1.Identifier{{Type: "email", Value: "ann@example.com"}}
		body.Context = &eventsv1.Context{Campaign: &eventsv1.Campaign{Source: "baidu", Medium: "cpc", Name: fmt.Sprint("c", n%2)}}
		return told(customerNo(1), fmt.Sprint("e", n), kind, day0.Add(time.Duration(n)*7*time.Hour), body)
	}
	order := func(id string, revenue *int64) *eventsv1.Event {
		return &eventsv1.Event{Payload: &eventsv1.Event_Order{Order: &eventsv1.Order{
			OrderId: id, RevenueMicros: revenue, Currency: "USD", Lines: []*eventsv1.Line{{ProductId: "p", PriceMicros: new(int64(5_000_000))}},
		}}}
	}
	traits := &structpb.Struct{Fields: map[string]*structpb.Value{"city": structpb.NewStringValue("上海")}}
	once := &structpb.Struct{Fields: map[string]*structpb.Value{"city": structpb.NewStringValue("苏州"), "seen": structpb.NewNumberValue(1)}}
	list := []*logv1.LoggedEvent{
		tell(eventsv1.Type_TYPE_AD_CLICKED, &eventsv1.Event{Payload: &eventsv1.Event_Ad{Ad: &eventsv1.AdTouch{Channel: "wechat"}}}),
		tell(eventsv1.Type_TYPE_PAGE_VIEWED, &eventsv1.Event{Payload: &eventsv1.Event_View{View: &eventsv1.View{Url: "https://x/"}}}),
		tell(eventsv1.Type_TYPE_PRODUCT_ADDED, &eventsv1.Event{Payload: &eventsv1.Event_Product{Product: &eventsv1.Product{Line: &eventsv1.Line{ProductId: "p"}}}}),
		tell(eventsv1.Type_TYPE_ORDER_PLACED, order("o1", new(int64(90_000_000)))),
		tell(eventsv1.Type_TYPE_ORDER_PLACED, order("o2", nil)),
		tell(eventsv1.Type_TYPE_ORDER_REFUNDED, order("o2", nil)),
		tell(eventsv1.Type_TYPE_ORDER_UPDATED, order("o3", new(int64(1_000_000)))),
		tell(eventsv1.Type_TYPE_TICKET_OPENED, &eventsv1.Event{Payload: &eventsv1.Event_Ticket{Ticket: &eventsv1.Ticket{TicketId: "t", Topic: "late"}}}),
		tell(eventsv1.Type_TYPE_TICKET_REPLIED, &eventsv1.Event{Payload: &eventsv1.Event_Ticket{Ticket: &eventsv1.Ticket{TicketId: "t"}}}),
		tell(eventsv1.Type_TYPE_RATING_GIVEN, &eventsv1.Event{Payload: &eventsv1.Event_Rating{Rating: &eventsv1.Rating{Aspect: "service", ScoreMicros: new(int64(4_000_000))}}}),
		tell(eventsv1.Type_TYPE_REFERRAL_MADE, &eventsv1.Event{Payload: &eventsv1.Event_Referral{Referral: &eventsv1.Referral{Referee: &eventsv1.Identifier{Type: "email", Value: "bob@example.com"}}}}),
		tell(eventsv1.Type_TYPE_INTERACTION_LOGGED, &eventsv1.Event{Payload: &eventsv1.Event_Interaction{Interaction: &eventsv1.Interaction{Channel: "call", Direction: "inbound"}}}),
		tell(eventsv1.Type_TYPE_TRAITS_SET, &eventsv1.Event{Payload: &eventsv1.Event_Traits{Traits: &eventsv1.Traits{Set: traits, SetOnce: once, Manual: true}}}),
		tell(eventsv1.Type_TYPE_GROUP_JOINED, &eventsv1.Event{Payload: &eventsv1.Event_Group{Group: &eventsv1.Group{GroupId: "acme", Traits: traits}}}),
		tell(eventsv1.Type_TYPE_CUSTOM, &eventsv1.Event{Type: "Quiz Done"}),
		tell(eventsv1.Type_TYPE_EVENT_VOIDED, &eventsv1.Event{Payload: &eventsv1.Event_Void{Void: &eventsv1.Void{EventId: "e2"}}}),
	}
	corrected := tell(eventsv1.Type_TYPE_ORDER_PLACED, order("o1", new(int64(80_000_000))))
	corrected.Header.Corrects = "e4"
	list = append(list, corrected)
	poison := tell(eventsv1.Type_TYPE_PAGE_VIEWED, &eventsv1.Event{})
	poison.Body = []byte{0xff}
	list = append(list, poison)
	for _, e := range list[:len(list):len(list)] { // the company's copies
		copied := proto.CloneOf(e)
		company := customerNo(2)
		copied.Header.Customer, copied.Header.CustomerKind = company[:], logv1.CustomerKind_CUSTOMER_KIND_COMPANY
		copied.Header.Role, copied.Header.PartyCustomer = logv1.Role_ROLE_COMPANY, e.Header.Customer
		copied.Header.Identifiers = []*logv1.HashedIdentifier{{Type: "company_id", Hash: make([]byte, 16)}}
		list = append(list, copied)
	}
	return list
}
