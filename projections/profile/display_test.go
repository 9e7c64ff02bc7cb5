package profile_test

import (
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/dossier360/dossier/projections/profile"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// TestDescribe: the line of an entry, by the role of who reads it.
func TestDescribe(t *testing.T) {
	t.Parallel()
	const (
		subject, company  = logv1.Role_ROLE_SUBJECT, logv1.Role_ROLE_COMPANY
		referrer, referee = logv1.Role_ROLE_REFERRER, logv1.Role_ROLE_REFEREE
		made, converted   = eventsv1.Type_TYPE_REFERRAL_MADE, eventsv1.Type_TYPE_REFERRAL_CONVERTED
	)
	ann := []*eventsv1.Identifier{{Type: "phone", Value: "+49301"}, {Type: "email", Value: "ann@example.com"}, {Type: "company_id", Value: "acme"}}
	bob, cid := &eventsv1.Identifier{Type: "email", Value: "bob@example.com"}, &eventsv1.Identifier{Type: "user_id", Value: "cid"}
	refers := &eventsv1.Event{Identifiers: ann, Payload: &eventsv1.Event_Referral{Referral: &eventsv1.Referral{
		Referee: bob, Medium: "link", OrderId: "A", RevenueMicros: proto.Int64(12_500_000), Currency: "EUR",
	}}}
	referred := &eventsv1.Event{Identifiers: ann, Payload: &eventsv1.Event_Referral{Referral: &eventsv1.Referral{Referrer: cid}}}
	both := &eventsv1.Event{Identifiers: ann, Payload: &eventsv1.Event_Referral{Referral: &eventsv1.Referral{Referee: bob, Referrer: cid}}}
	joins := &eventsv1.Event{Identifiers: ann, Payload: &eventsv1.Event_Group{Group: &eventsv1.Group{GroupId: "globex"}}}
	for _, c := range []struct {
		header *logv1.Header
		body   *eventsv1.Event
		want   string
	}{
		{&logv1.Header{Type: made, Role: subject}, refers, "Referral made: email:bob@example.com | referee email:bob@example.com | medium link | orderId A | revenue 12.5 EUR"},
		{&logv1.Header{Type: made, Role: company}, refers, "Referral made: email:bob@example.com | person email:ann@example.com | referee email:bob@example.com | medium link | orderId A | revenue 12.5 EUR"},
		{&logv1.Header{Type: made, Role: referee}, refers, "Referred by: email:ann@example.com | referrer email:ann@example.com | medium link | orderId A | revenue 12.5 EUR"},
		{&logv1.Header{Type: converted, Role: referee}, refers, "Converted, referred by: email:ann@example.com | referrer email:ann@example.com | medium link | orderId A | revenue 12.5 EUR"},
		{&logv1.Header{Type: made, Role: subject}, referred, "Referred by: user_id:cid | referrer user_id:cid"},
		{&logv1.Header{Type: made, Role: referrer}, referred, "Referral made: email:ann@example.com | referee email:ann@example.com"},
		{&logv1.Header{Type: converted, Role: referrer}, referred, "Referral converted: email:ann@example.com | referee email:ann@example.com"},
		{&logv1.Header{Type: made, Role: subject}, both, "Referral made: email:bob@example.com | referee email:bob@example.com"},
		{&logv1.Header{Type: made, Role: subject}, &eventsv1.Event{}, "Referral made"},
		{&logv1.Header{Type: eventsv1.Type_TYPE_GROUP_JOINED, Role: company}, joins, "Group joined: globex | person email:ann@example.com | groupId globex"},
		{&logv1.Header{Type: eventsv1.Type_TYPE_GROUP_JOINED, Role: company, Leaves: true}, joins, "Left for: globex | person email:ann@example.com | groupId globex"},
		{
			&logv1.Header{Type: eventsv1.Type_TYPE_GROUP_JOINED, Role: subject},
			&eventsv1.Event{Identifiers: ann}, "Group joined",
		},
		{
			&logv1.Header{Type: eventsv1.Type_TYPE_GROUP_JOINED, Role: subject, Corrects: "e1"},
			&eventsv1.Event{Identifiers: ann, Payload: &eventsv1.Event_Group{Group: &eventsv1.Group{}}}, "Group joined: acme | corrects e1 | groupId acme",
		},
		{
			&logv1.Header{Type: eventsv1.Type_TYPE_ORDER_PLACED, Role: company, Corrects: "e1", Withdraws: true},
			&eventsv1.Event{Identifiers: ann, Payload: &eventsv1.Event_Order{Order: &eventsv1.Order{OrderId: "A"}}},
			"Corrected, counts elsewhere: e1 | person email:ann@example.com | corrects e1",
		},
		{
			&logv1.Header{Type: eventsv1.Type_TYPE_EVENT_VOIDED},
			&eventsv1.Event{Payload: &eventsv1.Event_Void{Void: &eventsv1.Void{EventId: "e1", Reason: "typed twice", Actor: "bob"}}},
			"Event voided: e1 | eventId e1 | reason typed twice | actor bob",
		},
		{
			&logv1.Header{Type: eventsv1.Type_TYPE_AD_CLICKED},
			&eventsv1.Event{Payload: &eventsv1.Event_Ad{Ad: &eventsv1.AdTouch{
				Campaign: "spring", Channel: "search", Source: "google", Medium: "cpc", Creative: "red", Placement: "top", CostMicros: proto.Int64(420_000), Currency: "EUR",
			}}},
			"Ad clicked: spring | campaign spring | channel search | source google | medium cpc | creative red | placement top | cost 0.42 EUR",
		},
		{
			&logv1.Header{Type: eventsv1.Type_TYPE_TICKET_REPLIED},
			&eventsv1.Event{Payload: &eventsv1.Event_Ticket{Ticket: &eventsv1.Ticket{
				TicketId: "T1", Subject: "Broken", Topic: "delivery", Channel: "email", Priority: "high", Agent: "eve", Author: "agent", Text: "We send\na new one",
			}}},
			"Ticket replied: Broken | ticketId T1 | topic delivery | channel email | priority high | agent eve | author agent | text We send a new one",
		},
		{
			&logv1.Header{Type: eventsv1.Type_TYPE_RATING_GIVEN},
			&eventsv1.Event{Payload: &eventsv1.Event_Rating{Rating: &eventsv1.Rating{
				Aspect: "speed", ScoreMicros: proto.Int64(7_000_000), MaxMicros: proto.Int64(10_000_000), TicketId: "T1", OrderId: "A", Comment: "late",
			}}},
			"Rating given: speed | aspect speed | score 7 | scale 1–10 | ticketId T1 | orderId A | comment late",
		},
		{
			&logv1.Header{Type: eventsv1.Type_TYPE_INTERACTION_LOGGED},
			&eventsv1.Event{Payload: &eventsv1.Event_Interaction{Interaction: &eventsv1.Interaction{
				Channel: "call", Direction: "inbound", Kind: "question", Summary: "Asks for a price", Participants: []string{"eve", "bob"}, DurationMicros: proto.Int64(90_000_000), InReplyTo: "e1",
			}}},
			"Interaction logged: Asks for a price | channel call | direction inbound | kind question | summary Asks for a price | participants eve, bob | duration 90 s | inReplyTo e1",
		},
		{
			&logv1.Header{Type: eventsv1.Type_TYPE_IDENTITY_ALIASED},
			&eventsv1.Event{Payload: &eventsv1.Event_Alias{Alias: &eventsv1.Alias{Previous: bob}}},
			"Identity aliased: email:bob@example.com | previous email:bob@example.com",
		},
		{
			&logv1.Header{Type: eventsv1.Type_TYPE_TRAITS_SET},
			&eventsv1.Event{Payload: &eventsv1.Event_Traits{Traits: &eventsv1.Traits{
				Set: &structpb.Struct{Fields: map[string]*structpb.Value{
					"reason": structpb.NewStringValue("none"), "motto": structpb.NewStringValue(`"so be it"`), "size": structpb.NewNumberValue(7),
				}},
				Manual: true, Reason: "asked", Actor: "bob",
			}}},
			`Traits set: motto, reason, size | manual yes | reason asked | actor bob | motto "so be it" | size 7`,
		},
		{
			&logv1.Header{Type: eventsv1.Type_TYPE_TRAITS_SET},
			&eventsv1.Event{Payload: &eventsv1.Event_Traits{Traits: &eventsv1.Traits{Release: []string{"city"}, Unset: []string{"town"}}}},
			"Traits set: town | town (forgotten)",
		},
	} {
		title, fields := profile.Describe(profile.Event{Header: c.header, Body: c.body})
		words := []string{title}
		for i := 0; i < len(fields); i += 2 {
			words = append(words, fields[i]+" "+fields[i+1])
		}
		got := strings.Join(words, " | ")
		if diff := gocmp.Diff(c.want, got); diff != "" {
			t.Errorf("%v, %v (-want +got):\n%s", c.header.Type, c.header.Role, diff)
		}
	}
}

// TestDescribeBounds: however much is told, an entry is a few short texts.
func TestDescribeBounds(t *testing.T) {
	t.Parallel()
	set := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for i := range profile.MaxFields + 1 {
		set.Fields[longText(i, 4_000)] = structpb.NewStringValue(longText(i, 4_000))
	}
	ev := at(0, eventsv1.Type_TYPE_TRAITS_SET, &eventsv1.Event{Payload: &eventsv1.Event_Traits{Traits: &eventsv1.Traits{Set: set}}})
	title, fields := profile.Describe(ev)
	if len(fields) != 2*profile.MaxFields {
		t.Errorf("%d fields, want %d", len(fields)/2, profile.MaxFields)
	}
	for _, text := range append(fields, title) {
		if len(text) > profile.MaxFieldBytes || !strings.HasSuffix(text, "…") {
			t.Errorf("text of %d bytes, limit %d: %q", len(text), profile.MaxFieldBytes, text)
		}
	}
}
