package profile

import (
	"slices"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// Cart: what lies in the cart since the latest order. All fields are facts.
//
// Kept are the steps after the greatest stamp of any order.placed, cancelled or
// not: that stamp only grows, so a step too old once is too old for ever. Of
// more than maxCartEntries the newest stay, and the greatest stamp that did not
// fit tells whether one is missing still; an order after it makes the cart
// exact again. The cart itself is the steps played in order of stamp.

func foldCart(f *statev1.Facts, a *application) error {
	kind := a.Header.GetType()
	placed := kind == eventsv1.Type_TYPE_ORDER_PLACED
	if !placed && !isCartStep(kind) {
		return nil
	}
	if f.Cart == nil {
		f.Cart = &statev1.CartFacts{}
	}
	c := f.Cart
	switch {
	case CompareStamps(a.stamp, c.LastPlaced) <= 0:
		return nil // before the latest order, whichever of them this is
	case placed:
		c.LastPlaced = a.stamp
		i, _ := slices.BinarySearchFunc(c.Entries, a.stamp, compareCartEntry)
		c.Entries = slices.Delete(c.Entries, 0, i)
		if CompareStamps(c.Dropped, a.stamp) < 0 {
			c.Dropped = nil
		}
	default:
		keepCartEntry(c, cartEntry(a))
	}
	c.InterestAt = replayCart(c.Entries).interestAt
	return nil
}

func isCartStep(kind eventsv1.Type) bool {
	return kind == eventsv1.Type_TYPE_PRODUCT_ADDED || kind == eventsv1.Type_TYPE_PRODUCT_REMOVED || isCheckout(kind)
}

func isCheckout(kind eventsv1.Type) bool {
	switch kind {
	case eventsv1.Type_TYPE_CHECKOUT_STARTED,
		eventsv1.Type_TYPE_CHECKOUT_STEP_VIEWED,
		eventsv1.Type_TYPE_CHECKOUT_STEP_COMPLETED,
		eventsv1.Type_TYPE_CHECKOUT_PAYMENT_ENTERED:
		return true
	}
	return false
}

func cartEntry(a *application) *statev1.CartEntry {
	e := &statev1.CartEntry{Stamp: a.stamp, Type: a.Header.GetType()}
	if isCheckout(e.Type) {
		return e
	}
	product := a.Body.GetProduct()
	line := orderLine(product.GetLine())
	e.ProductId, e.QuantityMicros, e.PriceMicros = line.Product, line.QuantityMicros, line.PriceMicros
	if e.PriceMicros != nil {
		e.Currency = cut(product.GetCurrency(), maxCurrencyBytes)
	}
	return e
}

func keepCartEntry(c *statev1.CartFacts, e *statev1.CartEntry) {
	i, _ := slices.BinarySearchFunc(c.Entries, e.Stamp, compareCartEntry)
	c.Entries = slices.Insert(c.Entries, i, e)
	if len(c.Entries) <= maxCartEntries {
		return
	}
	if oldest := c.Entries[0].Stamp; CompareStamps(oldest, c.Dropped) > 0 {
		c.Dropped = oldest
	}
	c.Entries = slices.Delete(c.Entries, 0, 1)
}

func compareCartEntry(e *statev1.CartEntry, s *statev1.Stamp) int { return CompareStamps(e.Stamp, s) }

// cart is what steps played in order come to. since 0 means that none is open.
type cart struct {
	items                        []cartItem // by product
	since, updatedAt, interestAt int64
	checkout                     bool
}

type cartItem struct {
	product  string
	quantity int64 // micros, > 0
	price    *int64
	currency string
}

func replayCart(entries []*statev1.CartEntry) cart {
	var c cart
	for _, e := range entries {
		switch {
		case isCheckout(e.Type):
			c.checkout = true
			c.touch(e.Stamp.OccurredAt, true)
		case e.QuantityMicros <= 0:
			// Nothing was added or taken out.
		case e.Type == eventsv1.Type_TYPE_PRODUCT_ADDED:
			c.put(e)
			c.touch(e.Stamp.OccurredAt, true)
		default:
			c.takeOut(e)
		}
	}
	return c
}

// touch notes a step that changed the cart, and opens it if none was open.
func (c *cart) touch(at int64, interest bool) {
	if c.since == 0 {
		c.since = at
	}
	c.updatedAt = at
	if interest {
		c.interestAt = at
	}
}

func (c *cart) put(e *statev1.CartEntry) {
	i, found := find(c.items, e.ProductId, cartItem.key)
	if !found {
		c.items = slices.Insert(c.items, i, cartItem{product: e.ProductId})
	}
	item := &c.items[i]
	item.quantity = addSaturating(item.quantity, e.QuantityMicros)
	if e.PriceMicros != nil {
		item.price, item.currency = e.PriceMicros, e.Currency
	}
}

// takeOut removes units. Of a product that is not in the cart nothing can be
// taken. A cart that falls empty is closed, its checkout too.
func (c *cart) takeOut(e *statev1.CartEntry) {
	i, found := find(c.items, e.ProductId, cartItem.key)
	if !found {
		return
	}
	c.touch(e.Stamp.OccurredAt, false)
	c.items[i].quantity -= e.QuantityMicros // both are positive: no overflow
	if c.items[i].quantity > 0 {
		return
	}
	c.items = slices.Delete(c.items, i, i+1)
	if len(c.items) == 0 {
		*c = cart{}
	}
}

func (i cartItem) key() string { return i.product }

// encodeCart, if a cart is open: approximate; unless so, since, updated,
// checkout, list of (product, quantity, price or none, its currency as told).
func encodeCart(e *encoder, f *statev1.Facts) {
	if f.Cart.GetDropped() != nil {
		e.bool(true)
		return
	}
	c := replayCart(f.Cart.GetEntries())
	if c.since == 0 {
		return
	}
	e.bool(false)
	e.int(c.since)
	e.int(c.updatedAt)
	e.bool(c.checkout)
	e.length(len(c.items))
	for _, item := range c.items {
		e.string(item.product)
		e.int(item.quantity)
		e.optional(item.price)
		e.string(item.currency)
	}
}

// renderCart shows the cart among the orders, after they were shown.
func renderCart(f *statev1.Facts, r *rendering) {
	r.approximate = r.approximate || f.Cart.GetDropped() != nil
	c := replayCart(f.Cart.GetEntries())
	if c.since == 0 {
		return
	}
	shown := &queryv1.Cart{Since: timestamp(c.since), UpdatedAt: timestamp(c.updatedAt), Checkout: c.checkout}
	for _, item := range c.items {
		into := &queryv1.CartItem{ProductId: item.product, Quantity: wideOf(item.quantity).decimal()}
		if item.price != nil {
			into.Price = &queryv1.Money{CurrencyCode: currencyOr(item.currency, r.env.BaseCurrency), Micros: *item.price}
		}
		shown.Items = append(shown.Items, into)
	}
	if r.into.Orders == nil {
		r.into.Orders = &queryv1.Orders{}
	}
	r.into.Orders.OpenCart = shown
}
