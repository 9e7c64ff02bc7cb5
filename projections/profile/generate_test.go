package profile_test

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	"github.com/dossier360/dossier/projections/profile"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// instants are drawn so that they meet: the same instants, the edges of half
// hours, of days (UTC and local), of months of slots, of both windows.
func instants() *rapid.Generator[int64] {
	const minute, hour, day = int64(60_000_000), int64(3_600_000_000), int64(86_400_000_000)
	border := (epoch.UnixMicro()/profile.ChunkMicros + 1) * profile.ChunkMicros
	return rapid.Custom(func(t *rapid.T) int64 {
		if rapid.IntRange(0, 5).Draw(t, "near a border of chunks") == 0 {
			return border + rapid.Int64Range(-3, 3).Draw(t, "half hours from the border")*30*minute
		}
		days := rapid.SampledFrom([]int64{0, 0, 0, 1, 2, 3, 7, 29, 30, 34, 35, 66, 67, 200, 364, 365, 366, 400}).Draw(t, "day")
		within := rapid.SampledFrom([]int64{0, 29 * minute, 30*minute - 1, 30 * minute, hour, 4*hour - 1, 4 * hour, 5*hour - 1, 5 * hour, 12 * hour, day - 1}).Draw(t, "in the day")
		return epoch.UnixMicro() + days*day + within
	})
}

func maybe[T any](g *rapid.Generator[T]) *rapid.Generator[*T] { return rapid.Ptr(g, true) }

func amounts() *rapid.Generator[int64] {
	return rapid.OneOf(
		rapid.Map(rapid.Int64Range(0, 40), func(n int64) int64 { return n * 2_500_000 }),
		rapid.Int64Range(0, 20),
		rapid.SampledFrom([]int64{1e18, 999_999_999_999_999_999}),
	)
}

var currencies = rapid.SampledFrom([]string{"", "", "CNY", "USD"})

func orderLines() *rapid.Generator[[]*eventsv1.Line] {
	line := rapid.Custom(func(t *rapid.T) *eventsv1.Line {
		l := &eventsv1.Line{
			PriceMicros:    maybe(rapid.OneOf(amounts(), rapid.Int64Range(-10, 10))).Draw(t, "price"),
			QuantityMicros: maybe(rapid.OneOf(rapid.SampledFrom([]int64{1_000_000, 2_000_000, 500_000, 333_333, 0}), amounts())).Draw(t, "quantity"),
		}
		switch p := rapid.SampledFrom([]string{"", "lamp", "desk", "pen"}).Draw(t, "product"); rapid.IntRange(0, 3).Draw(t, "named by") {
		case 0:
			l.Sku = p
		case 1:
			l.Name = p
		default:
			l.ProductId, l.Name = p, rapid.SampledFrom([]string{"", "Lamp", "Desk"}).Draw(t, "name")
		}
		return l
	})
	return rapid.SliceOfN(line, 0, 3)
}

func orders() *rapid.Generator[*eventsv1.Order] {
	return rapid.Custom(func(t *rapid.T) *eventsv1.Order {
		o := &eventsv1.Order{
			OrderId:  rapid.SampledFrom([]string{"A", "A", "B", "C", "e1", ""}).Draw(t, "order"),
			Currency: currencies.Draw(t, "currency"),
		}
		switch rapid.IntRange(0, 5).Draw(t, "amounts") {
		case 0:
			return o // tells none
		case 1:
			o.RevenueMicros = new(int64(0)) // worth nothing
			return o
		}
		o.RevenueMicros = maybe(amounts()).Draw(t, "revenue")
		o.TotalMicros = maybe(amounts()).Draw(t, "total")
		o.ValueMicros = maybe(amounts()).Draw(t, "value")
		o.TaxMicros = maybe(amounts()).Draw(t, "tax")
		o.ShippingMicros = maybe(amounts()).Draw(t, "shipping")
		o.Lines = orderLines().Draw(t, "lines")
		return o
	})
}

func traitSets() *rapid.Generator[*eventsv1.Traits] {
	names := rapid.SampledFrom([]string{"name", "firstName", "lastName", "city", "tags"})
	return rapid.Custom(func(t *rapid.T) *eventsv1.Traits {
		told := &eventsv1.Traits{Manual: rapid.Bool().Draw(t, "manual"), Set: &structpb.Struct{Fields: map[string]*structpb.Value{}}}
		for _, n := range rapid.SliceOfN(names, 0, 3).Draw(t, "set") {
			told.Set.Fields[n] = traitValues().Draw(t, "value")
		}
		told.Unset = rapid.SliceOfN(names, 0, 2).Draw(t, "unset")
		if rapid.Bool().Draw(t, "once") {
			told.SetOnce = &structpb.Struct{Fields: map[string]*structpb.Value{names.Draw(t, "set once"): traitValues().Draw(t, "value")}}
		}
		told.Release = rapid.SliceOfN(names, 0, 2).Draw(t, "release")
		return told
	})
}

func groups() *rapid.Generator[*eventsv1.Group] {
	names := rapid.SampledFrom([]string{"name", "size"})
	return rapid.Custom(func(t *rapid.T) *eventsv1.Group {
		g := &eventsv1.Group{GroupId: rapid.SampledFrom([]string{"", "acme", "acme", "globex", "initech"}).Draw(t, "group")}
		if rapid.Bool().Draw(t, "facts") {
			g.Traits = &structpb.Struct{Fields: map[string]*structpb.Value{names.Draw(t, "fact"): traitValues().Draw(t, "value")}}
		}
		return g
	})
}

func traitValues() *rapid.Generator[*structpb.Value] {
	return rapid.Custom(func(t *rapid.T) *structpb.Value {
		v, err := structpb.NewValue(rapid.SampledFrom([]any{
			"Ann", "李雷", "", `quote " and \`, "line\nbreak", nil, true, 0, -0.5, 12.25, 1 << 40, 9007199254740992, 9007199254740994, 1e25, 1e-9,
			[]any{1, "two", nil}, map[string]any{"b": 1, "a": map[string]any{"z": true, "y": []any{}}},
		}).Draw(t, "value"))
		if err != nil {
			t.Fatalf("value: %v", err)
		}
		return v
	})
}

// campaigns are drawn so that they meet; some tell nothing.
func campaigns() *rapid.Generator[*eventsv1.Campaign] {
	return rapid.Custom(func(t *rapid.T) *eventsv1.Campaign {
		return &eventsv1.Campaign{
			Source: rapid.SampledFrom([]string{"", "google", "Facebook", "gazette"}).Draw(t, "source"),
			Medium: rapid.SampledFrom([]string{"", "cpc", "email", "organic"}).Draw(t, "medium"),
			Name:   rapid.SampledFrom([]string{"", "spring", "Spring"}).Draw(t, "name"),
			Term:   rapid.SampledFrom([]string{"", "lamp"}).Draw(t, "term"),
		}
	})
}

// sectionTypes are the types that each section's law draws from.
var sectionTypes = map[string][]eventsv1.Type{
	"identifiers": {eventsv1.Type_TYPE_CONSENT_CHANGED, eventsv1.Type_TYPE_IDENTITY_ALIASED, eventsv1.Type_TYPE_EVENT_VOIDED},
	"traits":      {eventsv1.Type_TYPE_TRAITS_SET, eventsv1.Type_TYPE_TRAITS_SET, eventsv1.Type_TYPE_GROUP_JOINED},
	"memberships": {eventsv1.Type_TYPE_GROUP_JOINED, eventsv1.Type_TYPE_GROUP_JOINED, eventsv1.Type_TYPE_GROUP_LEFT, eventsv1.Type_TYPE_CONSENT_CHANGED},
	"engagement": {
		eventsv1.Type_TYPE_PAGE_VIEWED, eventsv1.Type_TYPE_PAGE_VIEWED, eventsv1.Type_TYPE_SCREEN_VIEWED, eventsv1.Type_TYPE_AD_VIEWED,
		eventsv1.Type_TYPE_AD_CLICKED, eventsv1.Type_TYPE_PRODUCT_SEARCHED, eventsv1.Type_TYPE_CART_VIEWED,
	},
	"orders": {
		eventsv1.Type_TYPE_ORDER_PLACED, eventsv1.Type_TYPE_ORDER_PLACED, eventsv1.Type_TYPE_ORDER_PLACED, eventsv1.Type_TYPE_ORDER_UPDATED,
		eventsv1.Type_TYPE_ORDER_CANCELLED, eventsv1.Type_TYPE_ORDER_REFUNDED, eventsv1.Type_TYPE_ORDER_REFUNDED, eventsv1.Type_TYPE_ORDER_DELIVERED,
		eventsv1.Type_TYPE_ORDER_PAID, eventsv1.Type_TYPE_ORDER_SHIPPED,
	},
	"cart": {
		eventsv1.Type_TYPE_PRODUCT_ADDED, eventsv1.Type_TYPE_PRODUCT_ADDED, eventsv1.Type_TYPE_PRODUCT_REMOVED, eventsv1.Type_TYPE_PRODUCT_REMOVED,
		eventsv1.Type_TYPE_CHECKOUT_STARTED, eventsv1.Type_TYPE_CHECKOUT_PAYMENT_ENTERED, eventsv1.Type_TYPE_ORDER_PLACED, eventsv1.Type_TYPE_ORDER_CANCELLED,
	},
	"custom": {eventsv1.Type_TYPE_CUSTOM},
	"acquisition": {
		eventsv1.Type_TYPE_AD_VIEWED, eventsv1.Type_TYPE_AD_CLICKED, eventsv1.Type_TYPE_AD_CLICKED, eventsv1.Type_TYPE_PAGE_VIEWED,
		eventsv1.Type_TYPE_CONSENT_CHANGED, eventsv1.Type_TYPE_EVENT_VOIDED,
	},
	"interactions": {eventsv1.Type_TYPE_INTERACTION_LOGGED},
	"service":      {opened, opened, replied, replied, resolved, resolved, reopened, closed, eventsv1.Type_TYPE_RATING_GIVEN, eventsv1.Type_TYPE_RATING_GIVEN},
	"referrals":    {made, converted, converted, eventsv1.Type_TYPE_CONTENT_SHARED},
}

func allTypes() []eventsv1.Type {
	var all []eventsv1.Type
	for _, section := range slices.Sorted(maps.Keys(sectionTypes)) {
		all = append(all, sectionTypes[section]...)
	}
	return all
}

// histories draws the events of one customer, a person or a company, none a
// repeat of another: two sources use the same event ids.
func histories(types []eventsv1.Type) *rapid.Generator[[]profile.Event] {
	return rapid.Custom(func(t *rapid.T) []profile.Event {
		kind := rapid.SampledFrom([]logv1.CustomerKind{
			logv1.CustomerKind_CUSTOMER_KIND_PERSON, logv1.CustomerKind_CUSTOMER_KIND_PERSON, logv1.CustomerKind_CUSTOMER_KIND_COMPANY,
		}).Draw(t, "kind")
		n := rapid.IntRange(0, 24).Draw(t, "events")
		list := make([]profile.Event, n)
		for i := range list {
			list[i] = drawEvent(t, kind, types, fmt.Sprintf("e%d", i/2), []string{"web", "shop"}[i%2])
		}
		return list
	})
}

// roles that a customer of a kind plays.
var roles = map[logv1.CustomerKind][]logv1.Role{
	logv1.CustomerKind_CUSTOMER_KIND_PERSON: {
		logv1.Role_ROLE_SUBJECT, logv1.Role_ROLE_SUBJECT, logv1.Role_ROLE_SUBJECT, logv1.Role_ROLE_SUBJECT, logv1.Role_ROLE_REFERRER, logv1.Role_ROLE_REFEREE,
	},
	logv1.CustomerKind_CUSTOMER_KIND_COMPANY: {
		logv1.Role_ROLE_COMPANY, logv1.Role_ROLE_COMPANY, logv1.Role_ROLE_COMPANY, logv1.Role_ROLE_SUBJECT, logv1.Role_ROLE_REFEREE,
	},
}

func drawEvent(t *rapid.T, kind logv1.CustomerKind, types []eventsv1.Type, id, source string) profile.Event {
	h := &logv1.Header{
		Type:         rapid.SampledFrom(types).Draw(t, "type"),
		EventId:      id,
		Source:       source,
		OccurredAt:   instants().Draw(t, "at"),
		Corrected:    rapid.IntRange(0, 9).Draw(t, "corrected") == 0,
		Clamped:      rapid.IntRange(0, 9).Draw(t, "clamped") == 0,
		Role:         rapid.SampledFrom(roles[kind]).Draw(t, "role"),
		CustomerKind: kind,
		Withdraws:    rapid.IntRange(0, 19).Draw(t, "withdraws") == 0,
	}
	drawParty(t, h)
	if rapid.Bool().Draw(t, "claimed") {
		h.ClaimedAt = &h.OccurredAt
	}
	if h.Role != logv1.Role_ROLE_SUBJECT && rapid.Bool().Draw(t, "named") {
		h.Identifiers = []*logv1.HashedIdentifier{{}}
	}
	if h.Role == logv1.Role_ROLE_COMPANY {
		drawCompanyCopy(t, h)
	}
	body := &eventsv1.Event{}
	for range rapid.IntRange(0, 2).Draw(t, "identifiers") {
		body.Identifiers = append(body.Identifiers, &eventsv1.Identifier{
			Type:  rapid.SampledFrom([]string{"anonymous_id", "email", "user_id", "crm_id", "guest", "phone", "company_id", "company_domain"}).Draw(t, "identifier"),
			Value: rapid.SampledFrom([]string{"1", "2"}).Draw(t, "value"),
		})
	}
	drawPayload(t, h.Type, body)
	return profile.Event{Header: h, RecordedAt: h.OccurredAt, Body: body}
}

// drawCompanyCopy draws what a header says where a person's event is logged to
// a company: who he is, and what he does to his membership.
func drawCompanyCopy(t *rapid.T, h *logv1.Header) {
	if person := rapid.SampledFrom([]string{"", "ann", "ann", "bob"}).Draw(t, "person"); person != "" {
		h.PartyCustomer = []byte(person)
	}
	switch h.Type {
	case eventsv1.Type_TYPE_GROUP_LEFT:
		h.Leaves = true
	case eventsv1.Type_TYPE_GROUP_JOINED:
		if h.Leaves = rapid.Bool().Draw(t, "leaves"); !h.Leaves {
			h.Until = maybe(instants()).Draw(t, "until")
		}
	}
}

func drawPayload(t *rapid.T, kind eventsv1.Type, body *eventsv1.Event) {
	urls := rapid.SampledFrom([]string{"", "https://shop/a", "https://shop/b", "https://shop/c"})
	switch kind {
	case eventsv1.Type_TYPE_CUSTOM:
		body.Type = rapid.SampledFrom([]string{"Quiz Done", "quiz_done", "Übung"}).Draw(t, "name")
	case eventsv1.Type_TYPE_TRAITS_SET:
		body.Payload = &eventsv1.Event_Traits{Traits: traitSets().Draw(t, "traits")}
	case eventsv1.Type_TYPE_GROUP_JOINED, eventsv1.Type_TYPE_GROUP_LEFT:
		body.Payload = &eventsv1.Event_Group{Group: groups().Draw(t, "group")}
	case eventsv1.Type_TYPE_PAGE_VIEWED, eventsv1.Type_TYPE_SCREEN_VIEWED:
		body.Payload = &eventsv1.Event_View{View: &eventsv1.View{Url: urls.Draw(t, "url")}}
		body.Context = &eventsv1.Context{PageUrl: urls.Draw(t, "page")}
	case eventsv1.Type_TYPE_AD_VIEWED, eventsv1.Type_TYPE_AD_CLICKED:
		if c := campaigns().Draw(t, "advertisement"); rapid.IntRange(0, 3).Draw(t, "told") > 0 {
			body.Payload = &eventsv1.Event_Ad{Ad: &eventsv1.AdTouch{
				Source: c.Source, Medium: c.Medium, Campaign: c.Name,
				Channel: rapid.SampledFrom([]string{"", "", "Social", "direct-mail", "carrier pigeon"}).Draw(t, "channel"),
			}}
		}
	case eventsv1.Type_TYPE_INTERACTION_LOGGED:
		if rapid.IntRange(0, 9).Draw(t, "told") > 0 {
			body.Payload = &eventsv1.Event_Interaction{Interaction: &eventsv1.Interaction{
				Channel:   rapid.SampledFrom([]string{"", "call", " Call", "E-Mail", "other", "拜访"}).Draw(t, "channel"),
				Direction: rapid.SampledFrom([]string{"inbound", "outbound", "Outbound ", "IN", "呼出", "sent", ""}).Draw(t, "direction"),
			}}
		}
	case eventsv1.Type_TYPE_PRODUCT_ADDED, eventsv1.Type_TYPE_PRODUCT_REMOVED:
		p := &eventsv1.Product{Currency: currencies.Draw(t, "currency")}
		if lines := orderLines().Draw(t, "line"); len(lines) > 0 {
			p.Line = lines[0]
		}
		body.Payload = &eventsv1.Event_Product{Product: p}
	case eventsv1.Type_TYPE_ORDER_PLACED, eventsv1.Type_TYPE_ORDER_UPDATED, eventsv1.Type_TYPE_ORDER_CANCELLED, eventsv1.Type_TYPE_ORDER_REFUNDED,
		eventsv1.Type_TYPE_ORDER_DELIVERED, eventsv1.Type_TYPE_ORDER_PAID, eventsv1.Type_TYPE_ORDER_SHIPPED:
		body.Payload = &eventsv1.Event_Order{Order: orders().Draw(t, "order")}
	case opened, replied, resolved, reopened, closed:
		body.Payload = &eventsv1.Event_Ticket{Ticket: drawTicket(t)}
	case eventsv1.Type_TYPE_RATING_GIVEN:
		body.Payload = &eventsv1.Event_Rating{Rating: drawRating(t)}
	case made, converted:
		body.Payload = &eventsv1.Event_Referral{Referral: drawReferral(t)}
	}
}
