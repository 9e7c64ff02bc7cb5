package simulator

import (
	"fmt"
	"time"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

// goods that the firm sells; prices in cents of a currency, at par: it is a
// made-up firm.
var goods = []struct {
	no, name string
	price    int64
}{
	{"SN-100", "Drucksensor 10 bar", 12_950}, {"SN-200", "温度变送器 Pt100", 24_800}, {"SN-310", "Ultrasonic level probe; ATEX", 118_000},
	{"VA-020", "电磁阀 DN20", 36_590}, {"VA-050", "Kugelhahn DN50", 87_505}, {"CT-001", "PLC 控制柜", 1_250_000},
	{"CB-010", "Kabel, geschirmt, 10 m", 4_999}, {"SV-001", "现场调试（天）", 280_000},
}

// line is one line of an order.
type line struct {
	of       int   // of goods
	price    int64 // in cents
	quantity int64
}

// order is a record of the firm's orders. Amounts are in cents.
type order struct {
	no                             string
	who                            party
	placed                         time.Time
	currency                       string
	lines                          []line
	tax, shipping                  int64
	delivered, cancelled, refunded time.Time // zero: not
	refund                         int64
	reason                         string
}

func (o order) total() int64 {
	total := o.tax + o.shipping
	for _, l := range o.lines {
		total += l.price * l.quantity
	}
	return total
}

// buy is an order by whoever works there at the time.
func (a *account) buy(at time.Time) {
	a.order(party{a.actor(at).no, a.company.no}, at)
}

// order is one from its quote on: mostly paid and delivered, seldom cancelled,
// now and then part of it is paid back.
func (a *account) order(who party, at time.Time) {
	a.tell(who, at.Add(-2*day), eventsv1.Type_TYPE_INTERACTION_LOGGED, interaction("quote", "outbound", "Angebot", pick(a, salespeople)))
	placed, ok := a.at(at)
	if !ok {
		return
	}
	o := order{no: fmt.Sprintf("A%d-%06d-%03d", a.firm.Seed, a.number, len(a.orders)+1), who: who, placed: placed, currency: a.company.currency}
	if a.dice.IntN(10) == 0 {
		o.currency = "USD"
	}
	var net int64
	for _, i := range a.dice.Perm(len(goods))[:1+a.dice.IntN(4)] {
		l := line{of: i, price: goods[i].price - a.dice.Int64N(goods[i].price/20), quantity: 1 + a.dice.Int64N(12)}
		o.lines = append(o.lines, l)
		net += l.price * l.quantity
	}
	o.tax, o.shipping = net*13/100, int64(a.dice.IntN(3))*4_500
	switch dice := a.dice.IntN(20); {
	case dice == 0:
		o.cancelled, o.reason = a.maybe(placed.Add(26*time.Hour)), "预算取消"
	case dice < 18:
		a.tell(who, placed.Add(9*day), eventsv1.Type_TYPE_ORDER_PAID, &eventsv1.Event{Payload: &eventsv1.Event_Order{Order: &eventsv1.Order{OrderId: o.no}}})
		o.delivered = a.maybe(placed.Add(time.Duration(5+a.dice.IntN(40)) * day))
		if !o.delivered.IsZero() && a.dice.IntN(8) == 0 {
			o.refunded, o.reason = a.maybe(o.delivered.Add(6*day)), "一台损坏，部分退款"
			o.refund = o.lines[0].price
		}
	}
	a.orders = append(a.orders, o)
	if !o.delivered.IsZero() && a.dice.IntN(3) == 0 {
		a.rate(o)
	}
}

// maybe is a free minute, or zero if that is after the end.
func (a *account) maybe(at time.Time) time.Time {
	at, _ = a.at(at)
	return at
}

func (a *account) rate(o order) {
	score := micros(int64(2+a.dice.IntN(4)) * 100)
	a.tell(o.who, o.delivered.Add(2*day), eventsv1.Type_TYPE_RATING_GIVEN, &eventsv1.Event{
		Payload: &eventsv1.Event_Rating{Rating: &eventsv1.Rating{OrderId: o.no, Aspect: "delivery", ScoreMicros: &score}},
	})
}

func (o order) events() []*eventsv1.Event {
	tell := func(at time.Time, t eventsv1.Type, told *eventsv1.Order) *eventsv1.Event {
		told.OrderId = o.no
		return o.who.event(o.no, at, t, &eventsv1.Event{Payload: &eventsv1.Event_Order{Order: told}})
	}
	total, tax, shipping := micros(o.total()), micros(o.tax), micros(o.shipping)
	placed := &eventsv1.Order{Currency: o.currency, TotalMicros: &total, TaxMicros: &tax, ShippingMicros: &shipping}
	for _, l := range o.lines {
		price, quantity := micros(l.price), micros(l.quantity*100)
		placed.Lines = append(placed.Lines, &eventsv1.Line{
			ProductId: goods[l.of].no, Name: goods[l.of].name, PriceMicros: &price, QuantityMicros: &quantity,
		})
	}
	all := []*eventsv1.Event{tell(o.placed, eventsv1.Type_TYPE_ORDER_PLACED, placed)}
	if !o.delivered.IsZero() {
		all = append(all, tell(o.delivered, eventsv1.Type_TYPE_ORDER_DELIVERED, &eventsv1.Order{}))
	}
	if !o.cancelled.IsZero() {
		all = append(all, tell(o.cancelled, eventsv1.Type_TYPE_ORDER_CANCELLED, &eventsv1.Order{Reason: o.reason}))
	}
	if !o.refunded.IsZero() {
		refund := micros(o.refund)
		all = append(all, tell(o.refunded, eventsv1.Type_TYPE_ORDER_REFUNDED, &eventsv1.Order{Currency: o.currency, TotalMicros: &refund, Reason: o.reason}))
	}
	return all
}

// micros are cents with six digits after the point.
func micros(cents int64) int64 { return cents * 10_000 }
