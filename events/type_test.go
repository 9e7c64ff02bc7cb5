package events_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/dossier360/dossier/events"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

func TestEveryTypeHasAName(t *testing.T) {
	t.Parallel()
	canonical := regexp.MustCompile(`^[a-z]+\.[a-z_]+$`)
	seen := map[string]eventsv1.Type{}
	for n := range eventsv1.Type_name {
		typ := eventsv1.Type(n)
		name := events.TypeName(typ)
		if typ == eventsv1.Type_TYPE_CUSTOM {
			if name != "" {
				t.Errorf("a custom event has the name %q of its own publisher, not %q", "…", name)
			}
			continue
		}
		if !canonical.MatchString(name) {
			t.Errorf("%v: name %q, want <noun>.<verb>", typ, name)
		}
		if other, ok := seen[name]; ok {
			t.Errorf("%v and %v have one name %q", typ, other, name)
		}
		seen[name] = typ
		if got := events.TypeByCanonicalName(name); got != typ {
			t.Errorf("%q is %v, want %v", name, got, typ)
		}
		if got := events.TypeByName(name); got != typ {
			t.Errorf("%q by any name is %v, want %v", name, got, typ)
		}
	}
	for _, name := range []string{"", "custom", "order.Placed", "order placed", "Order Completed"} {
		if got := events.TypeByCanonicalName(name); got != eventsv1.Type_TYPE_CUSTOM {
			t.Errorf("%q is no canonical name, but %v", name, got)
		}
	}
	if got := events.TypeName(eventsv1.Type(9999)); got != "" {
		t.Errorf("a type of a later version is named %q, want nothing", got)
	}
}

// The names of the Segment e-commerce specification, version 2, the older
// spellings of version 1, and our own types on that wire.
func TestWireNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		// version 2
		"Products Searched":       "product.searched",
		"Product List Viewed":     "product.listed",
		"Product Clicked":         "product.clicked",
		"Product Viewed":          "product.viewed",
		"Product Added":           "product.added",
		"Product Removed":         "product.removed",
		"Cart Viewed":             "cart.viewed",
		"Checkout Started":        "checkout.started",
		"Checkout Step Viewed":    "checkout.step_viewed",
		"Checkout Step Completed": "checkout.step_completed",
		"Payment Info Entered":    "checkout.payment_entered",
		"Order Updated":           "order.updated",
		"Order Completed":         "order.placed",
		"Order Refunded":          "order.refunded",
		"Order Cancelled":         "order.cancelled",
		"Product Shared":          "content.shared",
		"Cart Shared":             "content.shared",
		// version 1
		"Viewed Product Category": "product.listed",
		"Viewed Product":          "product.viewed",
		"Added Product":           "product.added",
		"Removed Product":         "product.removed",
		"Completed Order":         "order.placed",
		"Viewed Checkout Step":    "checkout.step_viewed",
		"Completed Checkout Step": "checkout.step_completed",
		// our own
		"Ad Viewed":          "ad.viewed",
		"Ad Clicked":         "ad.clicked",
		"Ticket Opened":      "ticket.opened",
		"Ticket Replied":     "ticket.replied",
		"Ticket Resolved":    "ticket.resolved",
		"Ticket Reopened":    "ticket.reopened",
		"Ticket Closed":      "ticket.closed",
		"Rating Given":       "rating.given",
		"Referral Made":      "referral.made",
		"Referral Converted": "referral.converted",
		"Content Shared":     "content.shared",
		"Order Placed":       "order.placed",
		"Order Paid":         "order.paid",
		"Order Shipped":      "order.shipped",
		"Order Delivered":    "order.delivered",
		"Consent Changed":    "consent.changed",
		"Interaction Logged": "interaction.logged",
		// custom: the specification has them, the vocabulary does not
		"Product List Filtered":          "",
		"Promotion Viewed":               "",
		"Promotion Clicked":              "",
		"Coupon Entered":                 "",
		"Coupon Applied":                 "",
		"Coupon Denied":                  "",
		"Coupon Removed":                 "",
		"Product Added to Wishlist":      "",
		"Product Removed from Wishlist":  "",
		"Wishlist Product Added to Cart": "",
		"Product Reviewed":               "",
		"Something Else":                 "",
		"Order-Completed":                "", // a hyphen is not ignored
		"":                               "",
	} {
		for _, spelling := range []string{
			name, strings.ToLower(name), strings.ToUpper(name), strings.ReplaceAll(name, " ", "_"),
			strings.ReplaceAll(strings.ToLower(name), " ", "_"), strings.ReplaceAll(name, " ", ""), " " + name,
		} {
			if got := events.TypeName(events.TypeByName(spelling)); got != want {
				t.Errorf("%q is %q, want %q", spelling, got, want)
			}
		}
	}
}
