package profile_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/projections/profile"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// TestSilentUpdate: an event that is silent about value, or lines, takes neither
// away, and a value is read in the currency of the event that told it.
func TestSilentUpdate(t *testing.T) {
	t.Parallel()
	const id = "A"
	updated := func(i int, o *eventsv1.Order) profile.Event {
		o.OrderId = id
		return order(i, eventsv1.Type_TYPE_ORDER_UPDATED, o)
	}
	first := placed(0, id, "USD", 100, &eventsv1.Line{ProductId: "lamp", PriceMicros: proto.Int64(30)})
	for _, c := range []struct {
		name    string
		more    []profile.Event
		net     string
		product string
		noValue bool
	}{
		{"told once", nil, "USD 100", "USD 30", false},
		{"updated without a word", []profile.Event{updated(1, &eventsv1.Order{})}, "USD 100", "USD 30", false},
		{"placed without a word", []profile.Event{order(1, eventsv1.Type_TYPE_ORDER_PLACED, &eventsv1.Order{OrderId: id})}, "USD 100", "USD 30", false},
		{"updated with a currency alone", []profile.Event{updated(1, &eventsv1.Order{Currency: "EUR"})}, "USD 100", "USD 30", false},
		{"updated with an amount alone", []profile.Event{updated(1, &eventsv1.Order{RevenueMicros: proto.Int64(90)})}, "CNY 90", "USD 30", false},
		{"updated with another currency", []profile.Event{updated(1, &eventsv1.Order{Currency: "EUR", ValueMicros: proto.Int64(80)})}, "EUR 80", "USD 30", false},
		{"updated with lines alone", []profile.Event{updated(1, &eventsv1.Order{Lines: []*eventsv1.Line{{ProductId: "lamp"}}})}, "USD 100", "", false},
		{"a total is not another event's", []profile.Event{
			updated(1, &eventsv1.Order{TotalMicros: proto.Int64(200), TaxMicros: proto.Int64(100), Currency: "USD"}),
			updated(2, &eventsv1.Order{RevenueMicros: proto.Int64(100), Currency: "USD"}), refunded(3, id, 50),
		}, "USD 50", "USD 30", false},
		{"another order without an amount", []profile.Event{
			order(1, eventsv1.Type_TYPE_ORDER_PLACED, &eventsv1.Order{OrderId: "B"}),
		}, "USD 100", "USD 30", true},
		{"and its amount later", []profile.Event{
			order(1, eventsv1.Type_TYPE_ORDER_PLACED, &eventsv1.Order{OrderId: "B"}),
			order(2, eventsv1.Type_TYPE_ORDER_UPDATED, &eventsv1.Order{OrderId: "B", Currency: "USD", ValueMicros: proto.Int64(1)}),
		}, "USD 101", "USD 30", false},
	} {
		for i := range c.more {
			if h := c.more[i].Header; h.Type == eventsv1.Type_TYPE_ORDER_PLACED {
				h.Flags = []logv1.Flag{logv1.Flag_FLAG_NO_VALUE} // as ingest does
			}
		}
		_, p := inOrders(t, append([]profile.Event{first}, c.more...))
		if got := moneyText(p.Orders.NetRevenueByCurrency); got != c.net {
			t.Errorf("%s: net %q, want %q", c.name, got, c.net)
		}
		if n := len(p.Orders.TopProducts); n != 1 {
			t.Errorf("%s: %d products, want 1", c.name, n)
			continue
		}
		if got := moneyText(p.Orders.TopProducts[0].RevenueByCurrency); got != c.product {
			t.Errorf("%s: revenue of the product %q, want %q", c.name, got, c.product)
		}
		if got := slices.Contains(p.Flags, "no_value"); got != c.noValue {
			t.Errorf("%s: flagged no_value %t, want %t", c.name, got, c.noValue)
		}
	}
}

// TestRefundBeforeOrder: while only updates told of an order, its refund stands
// alone, amount and lines; once it is placed, the refund is in its currency.
func TestRefundBeforeOrder(t *testing.T) {
	t.Parallel()
	lamp := &eventsv1.Line{ProductId: "lamp", PriceMicros: proto.Int64(30)}
	history := []profile.Event{
		order(1, eventsv1.Type_TYPE_ORDER_UPDATED, &eventsv1.Order{OrderId: "A", Currency: "USD", RevenueMicros: proto.Int64(100)}),
		refunded(2, "A", 40, lamp),
	}
	for _, want := range []struct{ net, product string }{{"CNY -40", "CNY -30"}, {"USD 60", "USD -30"}} {
		_, p := inOrders(t, history)
		if net, product := moneyText(p.Orders.NetRevenueByCurrency), moneyText(p.Orders.TopProducts[0].RevenueByCurrency); net != want.net || product != want.product {
			t.Errorf("%d events: net %q, product %q; want %q and %q", len(history), net, product, want.net, want.product)
		}
		history = append(history, order(0, eventsv1.Type_TYPE_ORDER_PLACED, &eventsv1.Order{OrderId: "A"}))
	}
}

// TestRefundOfNothing: an order that is worth nothing, or of which nobody told an
// amount, has nothing to take off, whatever the currencies of both.
func TestRefundOfNothing(t *testing.T) {
	t.Parallel()
	currencies := []string{"", "CNY", "USD", "EUR"}
	for name, placed := range map[string]*eventsv1.Order{
		"no amount":            {},
		"lines without prices": {Lines: []*eventsv1.Line{{ProductId: "lamp"}}},
		"revenue of nothing":   {RevenueMicros: proto.Int64(0)},
		"total all tax":        {TotalMicros: proto.Int64(300), TaxMicros: proto.Int64(300)},
	} {
		for _, ordered := range currencies {
			for _, paidBack := range currencies {
				first := proto.CloneOf(placed)
				first.OrderId, first.Currency = "NVU", ordered
				refund := refunded(1, "NVU", 270)
				refund.Body.GetOrder().Currency = paidBack
				_, p := inOrders(t, []profile.Event{order(0, eventsv1.Type_TYPE_ORDER_PLACED, first), refund})
				want := ""
				if placed.RevenueMicros != nil || placed.TotalMicros != nil {
					want = cmp.Or(ordered, "CNY") + " 0"
				}
				if got := moneyText(p.Orders.NetRevenueByCurrency); got != want || p.Orders.Refunds != 1 {
					t.Errorf("%s in %q, refund in %q: net %q of %d refunds, want %q of 1", name, ordered, paidBack, got, p.Orders.Refunds, want)
				}
				if noValue := slices.Contains(p.Flags, "no_value"); noValue != (want == "") {
					t.Errorf("%s in %q: flagged no_value %t, want %t", name, ordered, noValue, want == "")
				}
			}
		}
	}
}

// TestBeforeItsOrder: what comes before its order waits for it, and shows
// nothing; a refund, which is an event of its own, counts.
func TestBeforeItsOrder(t *testing.T) {
	t.Parallel()
	early := []profile.Event{
		order(1, eventsv1.Type_TYPE_ORDER_UPDATED, &eventsv1.Order{OrderId: "A", Lines: []*eventsv1.Line{{ProductId: "lamp"}}}),
		order(2, eventsv1.Type_TYPE_ORDER_DELIVERED, &eventsv1.Order{OrderId: "A"}),
		order(3, eventsv1.Type_TYPE_ORDER_CANCELLED, &eventsv1.Order{OrderId: "B"}),
	}
	_, p := inOrders(t, early)
	if p.Orders != nil || slices.Contains(p.Flags, "no_value") {
		t.Errorf("before any order: orders %v, flags %v; want neither", p.Orders, p.Flags)
	}
	_, p = inOrders(t, append(early, order(0, eventsv1.Type_TYPE_ORDER_PLACED, &eventsv1.Order{OrderId: "A"})))
	if o := p.Orders; o.GetCount() != 1 || !o.GetLastDayDelivered() || o.GetUnits() != "1" || !slices.Contains(p.Flags, "no_value") {
		t.Errorf("then placed: orders %v, flags %v; want one, delivered, of one unit, without value", o, p.Flags)
	}
	_, p = inOrders(t, []profile.Event{order(0, eventsv1.Type_TYPE_ORDER_REFUNDED, &eventsv1.Order{OrderId: "A"})})
	if p.Orders.GetRefunds() != 1 {
		t.Errorf("a refund alone: orders %v, want one refund", p.Orders)
	}
}

// TestRefundInBase: an order that told no currency is of the deployment's, when
// shown: so is its refund told in that, which takes off its part of the total
// and no more than is left. A line without a price has the order's, in its
// currency.
func TestRefundInBase(t *testing.T) {
	t.Parallel()
	lamp := &eventsv1.Line{ProductId: "lamp", PriceMicros: proto.Int64(30)}
	history := []profile.Event{
		order(0, eventsv1.Type_TYPE_ORDER_PLACED, &eventsv1.Order{
			OrderId: "A", TotalMicros: proto.Int64(200), TaxMicros: proto.Int64(100), Lines: []*eventsv1.Line{lamp, lamp},
		}),
	}
	for i, want := range []struct{ currency, net, window, product string }{
		{"CNY", "CNY 60", "CNY 60", "CNY 30"}, {"USD", "CNY 60, USD -80", "CNY 60", "CNY 0"}, {"CNY", "CNY 20, USD -80", "CNY 20", "CNY -30"},
		{"CNY", "CNY 0, USD -80", "CNY 0", "CNY -60"},
	} {
		refund := refunded(i+1, "A", 80, &eventsv1.Line{ProductId: "lamp"})
		refund.Body.GetOrder().Currency = want.currency
		history = append(history, refund)
		_, p := inOrders(t, history)
		net, window := moneyText(p.Orders.NetRevenueByCurrency), moneyText([]*queryv1.Money{p.Orders.Revenue12M})
		product := moneyText(p.Orders.TopProducts[0].RevenueByCurrency)
		if net != want.net || window != want.window || product != want.product {
			t.Errorf("%d refunds: net %q, 12 months %q, product %q; want %q, %q, %q", i+1, net, window, product, want.net, want.window, want.product)
		}
	}
}

func moneyText(list []*queryv1.Money) string {
	var texts []string
	for _, m := range list {
		texts = append(texts, fmt.Sprint(m.CurrencyCode, " ", m.Micros))
	}
	return strings.Join(texts, ", ")
}
