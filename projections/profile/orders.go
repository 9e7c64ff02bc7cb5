package profile

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// Orders: what the customer bought, gave back and cancelled. All fields are
// facts, revenue12m alone is standing: it sums the days of facts that lie in
// the window up to settled time. It and the value in base currency are not in
// the digest.
//
// An order is a row, one for each order_id (none told: the event id, so that a
// refund may name it by that). The row keeps who won which part of it:
//
//	placed     latest order.placed                  when it was bought
//	valued     latest of .placed, .updated that     value, total, currency
//	           told an amount
//	itemised   latest of those that told lines      lines, and their currency
//	state      latest order.placed or .cancelled    whether it is cancelled
//	delivered  any order.delivered
//	refunds    every order.refunded
//
// What a row adds to the customer's totals ([contribution]) is a function of
// the row alone, and totals move by new − old. So events of an order may come
// in any order, a refund before the order it is of.
//
// Currencies, days and products are noted by every event that tells one, be it
// outdone or not, and bounded as noted: what stands changes on the way, what
// was told only grows.
//
// Money is kept in the currency that was told, "" where none was. The
// deployment's own stands in for that only when the section is shown
// ([shownNet]), so that the digest does not depend on it. A value never counts
// in the currency of another event than told it.

func foldOrders(f *statev1.Facts, a *application) error {
	kind := a.Header.GetType()
	if !changesOrder(kind) {
		return nil
	}
	if f.Orders == nil {
		f.Orders = &statev1.OrdersFacts{Units: &statev1.Sum{}}
	}
	o, id := f.Orders, orderID(a)
	row := &statev1.OrderRow{}
	if err := getRow(a.rows, RowOrder, rowID(id), row); err != nil {
		return fmt.Errorf("load order %q: %w", id, err)
	}
	before := contributionOf(row, a.env)
	row.OrderId = id
	tellOrder(row, a)
	after := contributionOf(row, a.env)
	if err := putRow(a.rows, RowOrder, rowID(id), row); err != nil {
		return fmt.Errorf("store order %q: %w", id, err)
	}
	if kind == eventsv1.Type_TYPE_ORDER_REFUNDED {
		o.Refunds++
	}
	if row.RefundsEnd != nil {
		o.Approximate = true
	}
	noteCurrency(o, a)
	noteDay(o, a)
	noteProducts(o, a)
	moveTotals(o, &before, &after)
	if err := moveDay(o, &before, &after, a); err != nil {
		return fmt.Errorf("scan orders for the times of a day: %w", err)
	}
	return nil
}

func changesOrder(kind eventsv1.Type) bool {
	switch kind {
	case eventsv1.Type_TYPE_ORDER_PLACED,
		eventsv1.Type_TYPE_ORDER_UPDATED,
		eventsv1.Type_TYPE_ORDER_CANCELLED,
		eventsv1.Type_TYPE_ORDER_DELIVERED,
		eventsv1.Type_TYPE_ORDER_REFUNDED:
		return true
	}
	return false
}

func orderID(a *application) string {
	if id := a.Body.GetOrder().GetOrderId(); id != "" {
		return id
	}
	return a.Header.GetEventId()
}

func rowID(orderID string) []byte {
	if len(orderID) > maxRowIDBytes {
		sum := sha256.Sum256([]byte(orderID))
		return sum[:]
	}
	return []byte(orderID)
}

// tellOrder takes an event into its order's row.
func tellOrder(row *statev1.OrderRow, a *application) {
	switch told := a.Body.GetOrder(); a.Header.GetType() {
	case eventsv1.Type_TYPE_ORDER_PLACED:
		if outranks(a.stamp, row.Placed) {
			row.Placed = a.stamp
		}
		if outranks(a.stamp, row.State) {
			row.State, row.Cancelled = a.stamp, false
		}
		tellAmounts(row, told, a.stamp)
	case eventsv1.Type_TYPE_ORDER_UPDATED:
		tellAmounts(row, told, a.stamp)
	case eventsv1.Type_TYPE_ORDER_CANCELLED:
		if outranks(a.stamp, row.State) {
			row.State, row.Cancelled = a.stamp, true
		}
	case eventsv1.Type_TYPE_ORDER_DELIVERED:
		row.Delivered = true
	case eventsv1.Type_TYPE_ORDER_REFUNDED:
		r := &statev1.Refund{Stamp: a.stamp, AmountMicros: refundAmount(told), Currency: currencyTold(told), Lines: orderLines(told)}
		keepRefund(row, r)
	}
}

// keepRefund keeps the earliest refunds that fit. The least that did not is
// remembered, so that a small one behind it does not count by its turn.
func keepRefund(row *statev1.OrderRow, r *statev1.Refund) {
	if row.RefundsEnd != nil && CompareStamps(r.Stamp, row.RefundsEnd) >= 0 {
		return
	}
	i, _ := slices.BinarySearchFunc(row.Refunds, r.Stamp, func(r *statev1.Refund, s *statev1.Stamp) int { return CompareStamps(r.Stamp, s) })
	row.Refunds = slices.Insert(row.Refunds, i, r)
	room := budget{maxRefunds, maxRefundBytes}
	if end := slices.IndexFunc(row.Refunds, func(r *statev1.Refund) bool { return !room.take(proto.Size(r)) }); end >= 0 {
		row.RefundsEnd = row.Refunds[end].Stamp
		row.Refunds = slices.Delete(row.Refunds, end, len(row.Refunds))
	}
}

// currencyTold is the currency that an event tells, cut to its bound.
func currencyTold(o *eventsv1.Order) string { return cut(o.GetCurrency(), maxCurrencyBytes) }

// tellAmounts takes in what an event tells of value and lines. What it is
// silent about stays as another told it: a change of the address does not make
// an order worthless. Value, total and currency go together, lines and theirs.
func tellAmounts(row *statev1.OrderRow, told *eventsv1.Order, stamp *statev1.Stamp) {
	if value, valued := orderValue(told); valued && outranks(stamp, row.Valued) {
		row.Valued, row.Value, row.Currency = stamp, value.message(), currencyTold(told)
		row.TotalMicros = copied(told.GetTotalMicros(), told.TotalMicros != nil)
	}
	if lines := orderLines(told); len(lines) > 0 && outranks(stamp, row.Itemised) {
		row.Itemised, row.Lines, row.LinesCurrency = stamp, lines, currencyTold(told)
	}
}

// orderValue is revenue, else total − tax − shipping, else value, else the sum
// of the lines that have a price. It reports whether any of them was told.
func orderValue(o *eventsv1.Order) (value wide, told bool) {
	switch {
	case o == nil:
		return wide{}, false
	case o.RevenueMicros != nil:
		return wideOf(*o.RevenueMicros), true
	case o.TotalMicros != nil:
		return wideOf(*o.TotalMicros).sub(wideOf(o.GetTaxMicros())).sub(wideOf(o.GetShippingMicros())), true
	case o.ValueMicros != nil:
		return wideOf(*o.ValueMicros), true
	}
	for _, line := range o.Lines {
		if l := orderLine(line); l.PriceMicros != nil {
			value, told = value.add(mulMicros(*l.PriceMicros, l.QuantityMicros)), true
		}
	}
	return value, told
}

// refundAmount is what was paid back: total, and for publishers who tell it
// under the other names, revenue, else value. Absent means all that is left.
func refundAmount(o *eventsv1.Order) *int64 {
	switch {
	case o == nil:
		return nil
	case o.TotalMicros != nil:
		return copied(*o.TotalMicros, true)
	case o.RevenueMicros != nil:
		return copied(*o.RevenueMicros, true)
	case o.ValueMicros != nil:
		return copied(*o.ValueMicros, true)
	}
	return nil
}

// copied is a pointer to a copy of n: facts never point into an event.
func copied(n int64, present bool) *int64 {
	if !present {
		return nil
	}
	return &n
}

func orderLines(o *eventsv1.Order) []*statev1.OrderLine {
	if len(o.GetLines()) == 0 {
		return nil
	}
	lines := make([]*statev1.OrderLine, len(o.Lines))
	for i, line := range o.Lines {
		lines[i] = orderLine(line)
	}
	return lines
}

// orderLine is what sums need of a line; a nil line is one unit of nothing
// named.
func orderLine(line *eventsv1.Line) *statev1.OrderLine {
	l := &statev1.OrderLine{Product: productKey(line), QuantityMicros: million}
	if line != nil && line.QuantityMicros != nil {
		l.QuantityMicros = *line.QuantityMicros
	}
	l.PriceMicros = copied(line.GetPriceMicros(), line != nil && line.PriceMicros != nil)
	return l
}

// productKey is how a product is told from others: product id, else sku, else
// name.
func productKey(line *eventsv1.Line) string {
	for _, key := range [...]string{line.GetProductId(), line.GetSku(), line.GetName()} {
		if key != "" {
			return cutKey(key)
		}
	}
	return ""
}

// currencyOr is the currency told, else another.
func currencyOr(told, otherwise string) string {
	if told != "" {
		return told
	}
	return otherwise
}

// contribution is what one row adds to a customer's totals.
type contribution struct {
	counted   bool // placed, not cancelled
	cancelled bool // placed, cancelled
	delivered bool // counted and delivered
	valueless bool // placed, and no amount was ever told
	at        int64
	day       int32
	units     wide
	amounts   []amount
	products  []productShare
	// What amounts, and how many of them, are more or fewer once "" is read as
	// the deployment's currency.
	correction wide
	corrected  int
}

// amount is money on a day of the deployment's zone, in a currency as told.
type amount struct {
	day      int32
	currency string
	micros   wide
}

// productShare is what a line adds to a product.
type productShare struct {
	product  string
	units    int64
	currency string
	revenue  wide
	priced   bool
}

// contributionOf works out what a row counts for.
//
// An order that was placed and not cancelled counts its value less what was
// refunded, on its own day. One that is cancelled counts nothing, its refunds
// neither. Refunds of an order that was never placed are taken off on their
// own days, in their own currency, and one without an amount takes nothing:
// what only updates told of an order is not looked at until it is placed.
func contributionOf(row *statev1.OrderRow, env Env) contribution {
	var c contribution
	placed := row.Placed != nil
	c.valueless = placed && row.Valued == nil
	switch {
	case placed && row.Cancelled:
		c.cancelled = true
	case placed:
		c.counted, c.delivered = true, row.Delivered
		c.at, c.day = row.Placed.OccurredAt, env.Zone.Day(row.Placed.OccurredAt)
		c.countOrder(row, env.BaseCurrency)
	default:
		for _, r := range row.Refunds {
			if r.AmountMicros != nil {
				c.amounts = append(c.amounts, amount{env.Zone.Day(r.Stamp.OccurredAt), r.Currency, wideOf(paidBack(r)).negate()})
			}
			c.takeBack(r, &statev1.OrderRow{}, nil)
		}
	}
	return c
}

func (c *contribution) countOrder(row *statev1.OrderRow, base string) {
	c.amounts = netAmounts(row, c.day, row.Currency)
	c.correct(row, base)
	for _, line := range row.Lines {
		c.countLine(line, line.PriceMicros, row.LinesCurrency, 1)
	}
	prices := firstPrices(row)
	for _, r := range row.Refunds {
		c.takeBack(r, row, prices)
	}
}

// correct works out what is to be added where an order told no currency and
// its refund the deployment's. These are one currency when shown, so the refund
// takes off its part of what is left; as told they are two, and it stands beside
// the order. The digest holds the latter, which no deployment has a say in.
func (c *contribution) correct(row *statev1.OrderRow, base string) {
	inBase := func(r *statev1.Refund) bool { return r.Currency == base && r.AmountMicros != nil }
	if row.Currency != "" || !slices.ContainsFunc(row.Refunds, inBase) {
		return
	}
	for _, m := range netAmounts(row, c.day, base) {
		if m.currency == base {
			c.correction, c.corrected = c.correction.add(m.micros), c.corrected+1
		}
	}
	for _, m := range c.amounts {
		if m.currency == "" || m.currency == base {
			c.correction, c.corrected = c.correction.sub(m.micros), c.corrected-1
		}
	}
}

// netAmounts is the value of an order in a currency less its refunds, and the
// refunds in others. Of an order worth nothing, or of which nobody told an
// amount, there is nothing to take off, and that is so in every currency.
func netAmounts(row *statev1.OrderRow, day int32, currency string) (amounts []amount) {
	if row.Valued == nil {
		return nil
	}
	value := wideSum(row.Value)
	if value.isNegative() || value.isZero() {
		return []amount{{day, currency, value}}
	}
	taken := wide{}
	for _, r := range row.Refunds {
		if own := currencyOr(r.Currency, currency); own != currency && r.AmountMicros != nil {
			// No rate is known here, so this cannot be compared with what is
			// left; it stands beside the order in its own currency.
			amounts = append(amounts, amount{day, own, wideOf(paidBack(r)).negate()})
			continue
		}
		taken = taken.add(takenOff(r, row, value))
	}
	// The least of the sum and the value is the same in whichever order the
	// refunds are met, so "at most what is left" needs no sequence.
	if taken.compare(value) > 0 {
		taken = value
	}
	return append(amounts, amount{day, currency, value.sub(taken)})
}

// firstPrices is the first price of each product in the order, as its refunds
// need it: an order and its refunds may have thousands of lines.
func firstPrices(row *statev1.OrderRow) map[string]*int64 {
	if len(row.Refunds) == 0 {
		return nil
	}
	prices := make(map[string]*int64, len(row.Lines))
	for _, line := range row.Lines {
		if prices[line.Product] == nil {
			prices[line.Product] = line.PriceMicros
		}
	}
	return prices
}

// paidBack is the amount of a refund that has one. A refund never adds.
func paidBack(r *statev1.Refund) int64 { return max(0, *r.AmountMicros) }

// takenOff is what one refund in the order's currency takes off its value, which
// is positive, looked at alone: the part of it that the amount is of the total.
func takenOff(r *statev1.Refund, row *statev1.OrderRow, value wide) wide {
	switch {
	case r.AmountMicros == nil:
		return value
	case row.TotalMicros == nil || *row.TotalMicros <= 0:
		return wideOf(paidBack(r))
	}
	return share(paidBack(r), value, *row.TotalMicros)
}

// takeBack counts the lines of a refund. A line without a price takes the
// price of the same product in the order, in the currency of that.
func (c *contribution) takeBack(r *statev1.Refund, row *statev1.OrderRow, prices map[string]*int64) {
	for _, line := range r.Lines {
		price, currency := line.PriceMicros, currencyOr(r.Currency, row.Currency)
		if price == nil {
			price, currency = prices[line.Product], row.LinesCurrency
		}
		c.countLine(line, price, currency, -1)
	}
}

func (c *contribution) countLine(line *statev1.OrderLine, price *int64, currency string, sign int64) {
	units := wideOf(line.QuantityMicros)
	if sign < 0 {
		units = units.negate()
	}
	c.units = c.units.add(units)
	if line.Product == "" {
		return
	}
	s := productShare{product: line.Product, units: sign * line.QuantityMicros, currency: currency}
	if price != nil {
		s.priced, s.revenue = true, mulMicros(*price, s.units)
	}
	c.products = append(c.products, s)
}

// moveTotals moves every sum but the times of days from one contribution to
// another. What is new is added first, so that an entry which stays is not
// dropped in between.
func moveTotals(o *statev1.OrdersFacts, before, after *contribution) {
	o.Count += one(after.counted) - one(before.counted)
	o.Valueless += one(after.valueless) - one(before.valueless)
	o.Cancelled += one(after.cancelled) - one(before.cancelled)
	o.Units = wideSum(o.Units).add(after.units).sub(before.units).message()
	for _, m := range after.amounts {
		addAmount(o, m, 1)
	}
	for _, s := range after.products {
		addShare(o, s, 1)
	}
	addCorrection(o, after.day, after.correction, after.corrected)
	for _, m := range before.amounts {
		m.micros = m.micros.negate()
		addAmount(o, m, -1)
	}
	for _, s := range before.products {
		addShare(o, s, -1)
	}
	addCorrection(o, before.day, before.correction.negate(), -before.corrected)
}

// addAmount adds to the sums of an amount's currency, if that is kept, and to
// its day, if that is.
func addAmount(o *statev1.OrdersFacts, m amount, amounts int) {
	if !keepsCurrency(o, m.currency) {
		return
	}
	o.Net = addMoney(o.Net, m.currency, m.micros, amounts)
	if d := keptDay(o, m.day); d != nil {
		d.Net = addMoney(d.Net, m.currency, m.micros, amounts)
	}
}

// addCorrection adds to the corrections of all and of a day. One of nothing is
// none.
func addCorrection(o *statev1.OrdersFacts, day int32, micros wide, amounts int) {
	if micros.isZero() && amounts == 0 {
		return
	}
	all := &statev1.CurrencySum{
		Sum:     wideSum(o.BaseCorrection.GetSum()).add(micros).message(),
		Amounts: o.BaseCorrection.GetAmounts() + uint32(amounts),
	}
	if o.BaseCorrection = all; wideSum(all.Sum).isZero() && all.Amounts == 0 {
		o.BaseCorrection = nil
	}
	if d := keptDay(o, day); d != nil {
		sum := wideSum(d.BaseCorrection).add(micros)
		if d.BaseCorrection = sum.message(); sum.isZero() {
			d.BaseCorrection = nil
		}
	}
}

func one(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

// addMoney adds to one of the sums of a list sorted by currency, and to the
// number of amounts in it; without amounts it is dropped.
func addMoney(sums []*statev1.CurrencySum, currency string, micros wide, amounts int) []*statev1.CurrencySum {
	i, found := find(sums, currency, (*statev1.CurrencySum).GetCurrency)
	if !found {
		sums = slices.Insert(sums, i, &statev1.CurrencySum{Currency: currency})
	}
	s := sums[i]
	s.Amounts += uint32(amounts)
	if s.Amounts == 0 {
		return slices.Delete(sums, i, i+1)
	}
	s.Sum = wideSum(s.Sum).add(micros).message()
	return sums
}

// noteCurrency remembers the currency that an event tells, "" as one of them.
// Of too many the greatest is forgotten, and all sums in it, be it the
// deployment's: which are kept is a function of the set of events alone, as
// what is approximate is not in the digest.
func noteCurrency(o *statev1.OrdersFacts, a *application) {
	if k := a.Header.GetType(); k == eventsv1.Type_TYPE_ORDER_CANCELLED || k == eventsv1.Type_TYPE_ORDER_DELIVERED {
		return
	}
	code := currencyTold(a.Body.GetOrder())
	i, found := slices.BinarySearch(o.Currencies, code)
	if found {
		return
	}
	o.Currencies = slices.Insert(o.Currencies, i, code)
	if len(o.Currencies) > maxCurrencies {
		forgetCurrency(o, o.Currencies[maxCurrencies])
		o.Currencies = slices.Delete(o.Currencies, maxCurrencies, maxCurrencies+1)
		o.Approximate = true
	}
	boundDays(o)
}

func forgetCurrency(o *statev1.OrdersFacts, code string) {
	isCode := func(s *statev1.CurrencySum) bool { return s.Currency == code }
	o.Net = slices.DeleteFunc(o.Net, isCode)
	for _, d := range o.Days {
		d.Net = slices.DeleteFunc(d.Net, isCode)
	}
	for _, p := range o.Products {
		p.Revenue = slices.DeleteFunc(p.Revenue, isCode)
	}
}

func keepsCurrency(o *statev1.OrdersFacts, code string) bool {
	_, found := slices.BinarySearch(o.Currencies, code)
	return found
}

// noteProducts remembers every product that any line named, whether or not the
// event that named it stands. Only so is "more than maxKeys products" a
// function of the set of events: which lines stand changes on the way.
func noteProducts(o *statev1.OrdersFacts, a *application) {
	if k := a.Header.GetType(); k == eventsv1.Type_TYPE_ORDER_CANCELLED || k == eventsv1.Type_TYPE_ORDER_DELIVERED {
		return
	}
	for _, line := range a.Body.GetOrder().GetLines() {
		key := productKey(line)
		if key == "" || o.ProductsApproximate {
			continue
		}
		i, found := find(o.Products, key, (*statev1.ProductFact).GetProductId)
		if !found {
			if len(o.Products) == maxKeys {
				o.Products, o.ProductsApproximate = nil, true
				return
			}
			o.Products = slices.Insert(o.Products, i, &statev1.ProductFact{ProductId: key, Units: &statev1.Sum{}})
		}
		if p := o.Products[i]; line.GetName() != "" && outranks(a.stamp, p.Named) {
			p.Name, p.Named = cut(line.GetName(), maxProductNameBytes), a.stamp
		}
	}
}

func addShare(o *statev1.OrdersFacts, s productShare, sign int) {
	if o.ProductsApproximate {
		return
	}
	i, found := find(o.Products, s.product, (*statev1.ProductFact).GetProductId)
	if !found {
		panic("not reached: every product of a row was noted")
	}
	p, units, revenue := o.Products[i], wideOf(s.units), s.revenue
	if sign < 0 {
		units, revenue = units.negate(), revenue.negate()
	}
	p.Lines += uint32(sign)
	p.Units = wideSum(p.Units).add(units).message()
	if s.priced && keepsCurrency(o, s.currency) {
		p.Revenue = addMoney(p.Revenue, s.currency, revenue, sign)
	}
}

// encodeOrders: count, cancelled, refunds; and unless approximate, units; list
// of (currency, amounts, sum); list of (day, orders, first and last instant,
// delivered, list of (currency, amounts, sum)); approximate products; unless so,
// list of (product, name, units, list of (currency, amounts, sum)) of those that
// count. A currency is as told, "" if none was.
func encodeOrders(e *encoder, f *statev1.Facts) {
	o := f.Orders
	if o == nil {
		return
	}
	e.count(o.Count)
	e.count(o.Cancelled)
	e.count(o.Refunds)
	if o.Approximate {
		return
	}
	e.sum(o.Units)
	e.money(o.Net)
	days := countedDays(o)
	e.length(len(days))
	for _, d := range days {
		e.int(int64(d.Day))
		e.count(d.Orders)
		e.int(d.FirstAt)
		e.int(d.LastAt)
		e.count(d.Delivered)
		e.money(d.Net)
	}
	e.bool(o.ProductsApproximate)
	products := countedProducts(o)
	e.length(len(products))
	for _, p := range products {
		e.string(p.ProductId)
		e.string(p.Name)
		e.sum(p.Units)
		e.money(p.Revenue)
	}
}

// countedProducts are the products of orders and refunds that count now.
func countedProducts(o *statev1.OrdersFacts) []*statev1.ProductFact {
	var counted []*statev1.ProductFact
	for _, p := range o.Products {
		if p.Lines > 0 {
			counted = append(counted, p)
		}
	}
	return counted
}

const revenueWindowDays = 365

func renderOrders(f *statev1.Facts, r *rendering) {
	r.into.Orders = nil
	o := f.Orders
	if o == nil {
		return
	}
	r.approximate = r.approximate || o.Approximate || o.ProductsApproximate
	r.noValue = o.Valueless > 0
	into := &queryv1.Orders{
		Count:        o.Count,
		Cancelled:    o.Cancelled,
		Refunds:      o.Refunds,
		Units:        wideSum(o.Units).decimal(),
		PurchaseDays: o.PurchaseDays,
	}
	renderDays(o, into)
	renderRevenue(o, r, into)
	products := countedProducts(o) // by id; a stable sort keeps ties so
	slices.SortStableFunc(products, func(a, b *statev1.ProductFact) int {
		return wideSum(b.Units).compare(wideSum(a.Units))
	})
	for _, p := range products[:min(topRows, len(products))] {
		total := &queryv1.ProductTotal{
			ProductId:         p.ProductId,
			Units:             wideSum(p.Units).decimal(),
			RevenueByCurrency: r.moneys(shownMoney(p.Revenue, r.env.BaseCurrency)),
		}
		if p.Name != "" {
			total.Name = &p.Name
		}
		into.TopProducts = append(into.TopProducts, total)
	}
	if !proto.Equal(into, &queryv1.Orders{}) { // what comes before its order shows nothing
		r.into.Orders = into
	}
}

func renderDays(o *statev1.OrdersFacts, into *queryv1.Orders) {
	last, previous := LastPurchaseDays(o)
	if last == nil {
		return
	}
	first := o.Days[slices.IndexFunc(o.Days, isPurchaseDay)]
	into.FirstAt, into.LastAt = timestamp(first.FirstAt), timestamp(last.LastAt)
	into.LastDayFirstAt = timestamp(last.FirstAt)
	into.LastDayDelivered = last.Delivered > 0
	if previous != nil {
		into.PreviousDayLastAt = timestamp(previous.LastAt)
	}
	into.MedianIntervalDays = halved(o.Median2)
	into.PreviousMedianIntervalDays = halved(o.PreviousMedian2)
}

// halved shows a median kept twice its size; 0 is none.
func halved(median2 uint32) *float64 {
	if median2 == 0 {
		return nil
	}
	days := float64(median2) / 2 // exact: one binary digit after the point
	return &days
}

// renderRevenue shows money. There are no rates yet, so the value in base
// currency is what was told in it, and the rest is unconverted.
func renderRevenue(o *statev1.OrdersFacts, r *rendering, into *queryv1.Orders) {
	base := r.env.BaseCurrency
	net := shownNet(o, base)
	into.NetRevenueByCurrency = r.moneys(net)
	if len(net) == 1 {
		into.NetRevenue = r.money(net[0].Currency, wideSum(net[0].Sum))
	}
	for _, s := range net {
		if s.Currency == base {
			into.NetRevenueBase = r.money(base, wideSum(s.Sum))
			into.Revenue12M = r.money(base, sumWindow(o, base, r.env.Zone.Day(r.at)))
			continue
		}
		into.Unconverted = append(into.Unconverted, r.money(s.Currency, wideSum(s.Sum)))
	}
}

// shownMoney are sums with the deployment's currency where none was told. It
// copies: what is shown never changes facts.
func shownMoney(told []*statev1.CurrencySum, base string) []*statev1.CurrencySum {
	var shown []*statev1.CurrencySum
	for _, s := range told {
		shown = addMoney(shown, currencyOr(s.Currency, base), wideSum(s.Sum), int(s.Amounts))
	}
	return shown
}

// shownNet is shownMoney of the net sums, corrected.
func shownNet(o *statev1.OrdersFacts, base string) []*statev1.CurrencySum {
	shown := shownMoney(o.Net, base)
	if c := o.BaseCorrection; c != nil && corrects(o, base) {
		shown = addMoney(shown, base, wideSum(c.Sum), int(c.Amounts))
	}
	return shown
}

// corrects reports whether corrections apply: not once the deployment's
// currency had to be forgotten, for they count on its sums.
func corrects(o *statev1.OrdersFacts, base string) bool { return keepsCurrency(o, base) }

// sumWindow sums the deployment's currency over today and the days before it.
func sumWindow(o *statev1.OrdersFacts, base string, today int32) wide {
	var sum wide
	for _, d := range o.Days {
		if d.Day <= today-revenueWindowDays || d.Day > today {
			continue
		}
		for _, s := range d.Net {
			if s.Currency == "" || s.Currency == base {
				sum = sum.add(wideSum(s.Sum))
			}
		}
		if corrects(o, base) {
			sum = sum.add(wideSum(d.BaseCorrection))
		}
	}
	return sum
}

// money shows a sum; beyond an int64 it is cut there and flagged.
func (r *rendering) money(currency string, sum wide) *queryv1.Money {
	micros, fits := sum.int64()
	r.overflow = r.overflow || !fits
	return &queryv1.Money{CurrencyCode: currency, Micros: micros}
}

func (r *rendering) moneys(sums []*statev1.CurrencySum) []*queryv1.Money {
	var moneys []*queryv1.Money
	for _, s := range sums {
		moneys = append(moneys, r.money(s.Currency, wideSum(s.Sum)))
	}
	return moneys
}
