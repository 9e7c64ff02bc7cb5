package properties

import (
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/jsontree"
)

// Map puts the properties of an event of type t into ev: into the payload of
// its type, on top of what the payload already holds, and what has no field
// into properties_json. A known type always gets a payload. The path is where
// the properties stood, for messages.
func Map(ev *eventsv1.Event, t eventsv1.Type, path string, props jsontree.Value) *ingest.Rejection {
	var rest jsontree.Builder
	refused := fill(ev, t, place{path: path}, props, &rest)
	ev.PropertiesJson = rest.String()
	return refused
}

// payload is the payload that ev already holds, or a new one.
func payload[P any](held *P) *P {
	if held != nil {
		return held
	}
	return new(P)
}

func fill(ev *eventsv1.Event, t eventsv1.Type, at place, props jsontree.Value, rest *jsontree.Builder) *ingest.Rejection {
	switch Payload(t) {
	case "ad":
		p := payload(ev.GetAd())
		ev.Payload = &eventsv1.Event_Ad{Ad: p}
		return adTable.fill(p, at, props, rest)
	case "view":
		p := payload(ev.GetView())
		ev.Payload = &eventsv1.Event_View{View: p}
		return viewTable.fill(p, at, props, rest)
	case "product":
		p := payload(ev.GetProduct())
		ev.Payload = &eventsv1.Event_Product{Product: p}
		if t == eventsv1.Type_TYPE_PRODUCT_LISTED || t == eventsv1.Type_TYPE_PRODUCT_SEARCHED {
			return productListTable.fill(p, at, props, rest)
		}
		return productTable.fill(p, at, props, rest)
	case "checkout":
		p := payload(ev.GetCheckout())
		ev.Payload = &eventsv1.Event_Checkout{Checkout: p}
		return checkoutTable.fill(p, at, props, rest)
	case "order":
		p := payload(ev.GetOrder())
		ev.Payload = &eventsv1.Event_Order{Order: p}
		if t == eventsv1.Type_TYPE_ORDER_REFUNDED {
			refused := refundTable.fill(p, at, props, rest)
			refundTotal(p)
			return refused
		}
		return orderTable.fill(p, at, props, rest)
	case "ticket":
		p := payload(ev.GetTicket())
		ev.Payload = &eventsv1.Event_Ticket{Ticket: p}
		return ticketTable.fill(p, at, props, rest)
	case "rating":
		p := payload(ev.GetRating())
		ev.Payload = &eventsv1.Event_Rating{Rating: p}
		return ratingTable.fill(p, at, props, rest)
	case "referral":
		p := payload(ev.GetReferral())
		ev.Payload = &eventsv1.Event_Referral{Referral: p}
		return referralTable.fill(p, at, props, rest)
	case "share":
		p := payload(ev.GetShare())
		ev.Payload = &eventsv1.Event_Share{Share: p}
		return shareTable.fill(p, at, props, rest)
	case "interaction":
		p := payload(ev.GetInteraction())
		ev.Payload = &eventsv1.Event_Interaction{Interaction: p}
		return interactionTable.fill(p, at, props, rest)
	case "traits":
		p := payload(ev.GetTraits())
		ev.Payload = &eventsv1.Event_Traits{Traits: p}
		if p.Set == nil {
			p.Set = Struct(props)
			return nil
		}
	case "group":
		p := payload(ev.GetGroup())
		ev.Payload = &eventsv1.Event_Group{Group: p}
		return groupTable.fill(p, at, props, rest)
	case "alias":
		p := payload(ev.GetAlias())
		ev.Payload = &eventsv1.Event_Alias{Alias: p}
		return aliasTable.fill(p, at, props, rest)
	case "consent":
		p := payload(ev.GetConsent())
		ev.Payload = &eventsv1.Event_Consent{Consent: p}
		return consentTable.fill(p, at, props, rest)
	case "void":
		p := payload(ev.GetVoid())
		ev.Payload = &eventsv1.Event_Void{Void: p}
		return voidTable.fill(p, at, props, rest)
	}
	for key, v := range props.Members() {
		rest.Add(key, v)
	}
	return nil
}

// refundTotal reads what was paid back where a client told it under another
// name: without it the refund would take all that is left of the order.
func refundTotal(p *eventsv1.Order) {
	switch {
	case p.TotalMicros != nil:
	case p.ValueMicros != nil:
		p.TotalMicros = new(*p.ValueMicros)
	case p.RevenueMicros != nil:
		p.TotalMicros = new(*p.RevenueMicros)
	}
}

// Payload names the payload field that events of a type carry; "" of a custom
// event, which carries none.
func Payload(t eventsv1.Type) string {
	switch t {
	case eventsv1.Type_TYPE_AD_VIEWED, eventsv1.Type_TYPE_AD_CLICKED:
		return "ad"
	case eventsv1.Type_TYPE_PAGE_VIEWED, eventsv1.Type_TYPE_SCREEN_VIEWED:
		return "view"
	case eventsv1.Type_TYPE_PRODUCT_SEARCHED, eventsv1.Type_TYPE_PRODUCT_LISTED, eventsv1.Type_TYPE_PRODUCT_CLICKED,
		eventsv1.Type_TYPE_PRODUCT_VIEWED, eventsv1.Type_TYPE_PRODUCT_ADDED, eventsv1.Type_TYPE_PRODUCT_REMOVED:
		return "product"
	case eventsv1.Type_TYPE_CART_VIEWED, eventsv1.Type_TYPE_CHECKOUT_STARTED, eventsv1.Type_TYPE_CHECKOUT_STEP_VIEWED,
		eventsv1.Type_TYPE_CHECKOUT_STEP_COMPLETED, eventsv1.Type_TYPE_CHECKOUT_PAYMENT_ENTERED:
		return "checkout"
	case eventsv1.Type_TYPE_ORDER_PLACED, eventsv1.Type_TYPE_ORDER_UPDATED, eventsv1.Type_TYPE_ORDER_PAID,
		eventsv1.Type_TYPE_ORDER_SHIPPED, eventsv1.Type_TYPE_ORDER_DELIVERED, eventsv1.Type_TYPE_ORDER_CANCELLED,
		eventsv1.Type_TYPE_ORDER_REFUNDED:
		return "order"
	case eventsv1.Type_TYPE_TICKET_OPENED, eventsv1.Type_TYPE_TICKET_REPLIED, eventsv1.Type_TYPE_TICKET_RESOLVED,
		eventsv1.Type_TYPE_TICKET_REOPENED, eventsv1.Type_TYPE_TICKET_CLOSED:
		return "ticket"
	case eventsv1.Type_TYPE_RATING_GIVEN:
		return "rating"
	case eventsv1.Type_TYPE_REFERRAL_MADE, eventsv1.Type_TYPE_REFERRAL_CONVERTED:
		return "referral"
	case eventsv1.Type_TYPE_CONTENT_SHARED:
		return "share"
	case eventsv1.Type_TYPE_INTERACTION_LOGGED:
		return "interaction"
	case eventsv1.Type_TYPE_TRAITS_SET:
		return "traits"
	case eventsv1.Type_TYPE_GROUP_JOINED, eventsv1.Type_TYPE_GROUP_LEFT:
		return "group"
	case eventsv1.Type_TYPE_IDENTITY_ALIASED:
		return "alias"
	case eventsv1.Type_TYPE_CONSENT_CHANGED:
		return "consent"
	case eventsv1.Type_TYPE_EVENT_VOIDED:
		return "void"
	}
	return ""
}
