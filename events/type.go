package events

import (
	"strings"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

// typeNames maps a type to its canonical dotted name, and canonicalNames back.
var typeNames, canonicalNames = func() (map[eventsv1.Type]string, map[string]eventsv1.Type) {
	names, types := map[eventsv1.Type]string{}, map[string]eventsv1.Type{}
	for n, name := range eventsv1.Type_name {
		t := eventsv1.Type(n)
		if t == eventsv1.Type_TYPE_CUSTOM {
			continue
		}
		name = strings.Replace(strings.ToLower(strings.TrimPrefix(name, "TYPE_")), "_", ".", 1)
		names[t], types[name] = name, t
	}
	return names, types
}()

// TypeName is the canonical dotted name of a type; "" of a custom event,
// whose name is its own.
func TypeName(t eventsv1.Type) string { return typeNames[t] }

// TypeByCanonicalName finds the type of a canonical name. Anything else is
// TYPE_CUSTOM.
func TypeByCanonicalName(name string) eventsv1.Type { return canonicalNames[name] }

// wireNames are the names that trackers use for our types, folded by
// [foldName]: the Segment e-commerce specification in both spellings, and the
// names of our own types on the Segment wire.
var wireNames = map[string]eventsv1.Type{
	"adviewed":              eventsv1.Type_TYPE_AD_VIEWED,
	"adclicked":             eventsv1.Type_TYPE_AD_CLICKED,
	"productssearched":      eventsv1.Type_TYPE_PRODUCT_SEARCHED,
	"searchedproducts":      eventsv1.Type_TYPE_PRODUCT_SEARCHED,
	"productlistviewed":     eventsv1.Type_TYPE_PRODUCT_LISTED,
	"viewedproductlist":     eventsv1.Type_TYPE_PRODUCT_LISTED,
	"viewedproductcategory": eventsv1.Type_TYPE_PRODUCT_LISTED,
	"productclicked":        eventsv1.Type_TYPE_PRODUCT_CLICKED,
	"clickedproduct":        eventsv1.Type_TYPE_PRODUCT_CLICKED,
	"productviewed":         eventsv1.Type_TYPE_PRODUCT_VIEWED,
	"viewedproduct":         eventsv1.Type_TYPE_PRODUCT_VIEWED,
	"productadded":          eventsv1.Type_TYPE_PRODUCT_ADDED,
	"addedproduct":          eventsv1.Type_TYPE_PRODUCT_ADDED,
	"productremoved":        eventsv1.Type_TYPE_PRODUCT_REMOVED,
	"removedproduct":        eventsv1.Type_TYPE_PRODUCT_REMOVED,
	"cartviewed":            eventsv1.Type_TYPE_CART_VIEWED,
	"viewedcart":            eventsv1.Type_TYPE_CART_VIEWED,
	"checkoutstarted":       eventsv1.Type_TYPE_CHECKOUT_STARTED,
	"startedcheckout":       eventsv1.Type_TYPE_CHECKOUT_STARTED,
	"checkoutstepviewed":    eventsv1.Type_TYPE_CHECKOUT_STEP_VIEWED,
	"viewedcheckoutstep":    eventsv1.Type_TYPE_CHECKOUT_STEP_VIEWED,
	"checkoutstepcompleted": eventsv1.Type_TYPE_CHECKOUT_STEP_COMPLETED,
	"completedcheckoutstep": eventsv1.Type_TYPE_CHECKOUT_STEP_COMPLETED,
	"paymentinfoentered":    eventsv1.Type_TYPE_CHECKOUT_PAYMENT_ENTERED,
	"orderplaced":           eventsv1.Type_TYPE_ORDER_PLACED,
	"ordercompleted":        eventsv1.Type_TYPE_ORDER_PLACED,
	"completedorder":        eventsv1.Type_TYPE_ORDER_PLACED,
	"orderupdated":          eventsv1.Type_TYPE_ORDER_UPDATED,
	"updatedorder":          eventsv1.Type_TYPE_ORDER_UPDATED,
	"orderpaid":             eventsv1.Type_TYPE_ORDER_PAID,
	"ordershipped":          eventsv1.Type_TYPE_ORDER_SHIPPED,
	"orderdelivered":        eventsv1.Type_TYPE_ORDER_DELIVERED,
	"ordercancelled":        eventsv1.Type_TYPE_ORDER_CANCELLED,
	"ordercanceled":         eventsv1.Type_TYPE_ORDER_CANCELLED,
	"cancelledorder":        eventsv1.Type_TYPE_ORDER_CANCELLED,
	"orderrefunded":         eventsv1.Type_TYPE_ORDER_REFUNDED,
	"refundedorder":         eventsv1.Type_TYPE_ORDER_REFUNDED,
	"ticketopened":          eventsv1.Type_TYPE_TICKET_OPENED,
	"ticketreplied":         eventsv1.Type_TYPE_TICKET_REPLIED,
	"ticketresolved":        eventsv1.Type_TYPE_TICKET_RESOLVED,
	"ticketreopened":        eventsv1.Type_TYPE_TICKET_REOPENED,
	"ticketclosed":          eventsv1.Type_TYPE_TICKET_CLOSED,
	"ratinggiven":           eventsv1.Type_TYPE_RATING_GIVEN,
	"referralmade":          eventsv1.Type_TYPE_REFERRAL_MADE,
	"referralconverted":     eventsv1.Type_TYPE_REFERRAL_CONVERTED,
	"contentshared":         eventsv1.Type_TYPE_CONTENT_SHARED,
	"productshared":         eventsv1.Type_TYPE_CONTENT_SHARED,
	"cartshared":            eventsv1.Type_TYPE_CONTENT_SHARED,
	"interactionlogged":     eventsv1.Type_TYPE_INTERACTION_LOGGED,
	"consentchanged":        eventsv1.Type_TYPE_CONSENT_CHANGED,
	"groupjoined":           eventsv1.Type_TYPE_GROUP_JOINED,
	"groupleft":             eventsv1.Type_TYPE_GROUP_LEFT,
	"eventvoided":           eventsv1.Type_TYPE_EVENT_VOIDED,
}

// TypeByName finds the type of a name as a publisher sends it: canonical
// ("order.placed"), or a wire name ignoring case, '_' and spaces ("Order
// Completed", "order_completed"). Anything else is TYPE_CUSTOM.
func TypeByName(name string) eventsv1.Type {
	if t, ok := canonicalNames[name]; ok {
		return t
	}
	return wireNames[foldName(name)]
}

// foldName drops what the contract says is ignored: case, '_' and space.
func foldName(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '_' || r == ' ':
			return -1
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		default:
			return r
		}
	}, name)
}
