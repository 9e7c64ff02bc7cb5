package profile_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/dossier360/dossier/projections/profile"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

const daySeconds = 24 * 3600

func identified(i int, kind string, values ...string) profile.Event {
	ev := at(i, eventsv1.Type_TYPE_CONSENT_CHANGED, &eventsv1.Event{})
	for _, v := range values {
		ev.Body.Identifiers = append(ev.Body.Identifiers, &eventsv1.Identifier{Type: kind, Value: v})
	}
	return ev
}

func trait(i int, name string, value *structpb.Value) profile.Event {
	set := &structpb.Struct{Fields: map[string]*structpb.Value{name: value}}
	return at(i, eventsv1.Type_TYPE_TRAITS_SET, &eventsv1.Event{Payload: &eventsv1.Event_Traits{Traits: &eventsv1.Traits{Set: set}}})
}

func placed(i int, id, currency string, revenue int64, lines ...*eventsv1.Line) profile.Event {
	return order(i, eventsv1.Type_TYPE_ORDER_PLACED, &eventsv1.Order{OrderId: id, Currency: currency, RevenueMicros: &revenue, Lines: lines})
}

func refunded(i int, id string, amount int64, lines ...*eventsv1.Line) profile.Event {
	return order(i, eventsv1.Type_TYPE_ORDER_REFUNDED, &eventsv1.Order{OrderId: id, TotalMicros: &amount, Lines: lines})
}

// longText is n bytes of characters of four, told apart by i.
func longText(i, n int) string {
	head := fmt.Sprintf("%06d", i)
	return head + strings.Repeat("𠮷", (n-len(head))/4) + strings.Repeat("x", (n-len(head))%4)
}

// worst makes every event as long as ingest lets it be: an event id of 200
// characters of four bytes, a source of 40.
func worst(t *testing.T, list []profile.Event) []profile.Event {
	t.Helper()
	for _, ev := range list {
		ev.Header.EventId += strings.Repeat("𠮷", 200-utf8.RuneCountInString(ev.Header.EventId))
		ev.Header.Source = strings.Repeat("s", 40)
		if n := proto.Size(ev.Body); n > 32<<10 {
			t.Fatalf("event of %d bytes, ingest takes 32 KiB", n)
		}
	}
	return list
}

// worstEvents fill every section with the longest there is: what is bounded by
// the least or newest is told in excess, what would be dropped whole is told
// to its bound. The times of orders are before those of the cart.
func worstEvents(currencies []string) (list []profile.Event) {
	const most = 1_000_000_000_000_000_000
	quantity, price := int64(most), int64(-most)
	next := func() int { return len(list) }
	tell := func(events ...profile.Event) { list = append(list, events...) }

	for i := range profile.MaxTraits + 20 {
		tell(trait(next(), longText(i, 600), structpb.NewStringValue(longText(i, 30_000))))
	}
	for i := range 80 {
		var long, short []string
		for k := range 16 {
			long = append(long, longText(16*i+k, 798))
			short = append(short, longText(16*i+k, 52))
		}
		tell(identified(next(), strings.Repeat("t", 40), long...), identified(next(), "anonymous_id", short...))
	}
	for i := range profile.MaxKeys + 20 {
		tell(at(next(), eventsv1.Type_TYPE_CUSTOM, &eventsv1.Event{Type: longText(i, 782)}))
	}
	for i := range profile.MaxKeys {
		tell(pageView(next(), longText(i, 30_000)))
	}
	for i := range profile.MaxKeys {
		tell(worstAd(next(), i))
	}
	for i := range profile.MaxKeys + 20 {
		tell(contact(next(), longText(i, 15_000), "in"), contact(next(), longText(i, 15_000), "out"), contact(next(), longText(i, 15_000), ""))
	}
	tell(worstService(next())...)
	tell(worstReferrals(next())...)
	for i := range profile.MaxMembershipTellings/2 + 20 {
		company := longText(i, 780)
		tell(joined(next()*daySeconds, company), joined(next()*daySeconds+1, company), left(next()*daySeconds, company), left(next()*daySeconds+1, company))
	}
	tell(worstOrders(next(), currencies, quantity, price)...)
	for i := range profile.MaxCartEntries + 20 {
		line := &eventsv1.Line{ProductId: longText(i, 600), QuantityMicros: &quantity, PriceMicros: &price}
		after := 2*profile.MaxDaySums*daySeconds + next()
		tell(at(after, eventsv1.Type_TYPE_PRODUCT_ADDED, &eventsv1.Event{Payload: &eventsv1.Event_Product{
			Product: &eventsv1.Product{Line: line, Currency: longText(1, 30)},
		}}))
	}
	return list
}

// worstAd is an advertisement of the i-th campaign, with all that it can tell.
func worstAd(n, i int) profile.Event {
	return at(n, eventsv1.Type_TYPE_AD_CLICKED, &eventsv1.Event{Payload: &eventsv1.Event_Ad{Ad: &eventsv1.AdTouch{
		Campaign: longText(i, 10_000), Source: longText(i, 10_000), Medium: longText(i, 10_000),
	}}})
}

// worstOrders begins to count its events at n.
func worstOrders(n int, currencies []string, quantity, price int64) (list []profile.Event) {
	next := func() int { n++; return n }
	// Days, of negative sums: those take most bytes.
	for day := range profile.MaxDaySums + 20 {
		for k, code := range currencies {
			if k > 0 && day < profile.MaxDaySums-500 {
				continue // dropped anyway
			}
			value := price
			if code == "" && len(currencies) > 1 {
				value = 1 // worth something, so that it can be corrected
			}
			list = append(list, placed(day*daySeconds+k, fmt.Sprint("day ", day, " ", k), code, value))
			if code == "CNY" { // of the order that told no currency
				refund := refunded(day*daySeconds+k, fmt.Sprint("day ", day, " ", 0), quantity)
				refund.Body.GetOrder().Currency = code
				list = append(list, refund)
			}
		}
	}
	// Times, all that are kept.
	for day := profile.MaxDaySums + 20 - profile.MaxTimedDays; day < profile.MaxDaySums+20; day++ {
		for i := len(currencies); i < profile.MaxDayTimes; i++ {
			list = append(list, placed(day*daySeconds+i, fmt.Sprint("time ", day, " ", i), "", price))
		}
	}
	// Products, with revenue in every currency.
	for from := 0; from < profile.MaxKeys; from += 32 {
		var lines []*eventsv1.Line
		for i := range 32 {
			lines = append(lines, &eventsv1.Line{ProductId: longText(from+i, 600), Name: longText(from+i, 200), QuantityMicros: &quantity, PriceMicros: &price})
		}
		for _, code := range currencies {
			list = append(list, placed(next(), fmt.Sprint("products ", from, code), code, price, lines...))
		}
	}
	// One order of a long id and thousands of lines, with dozens of refunds of
	// thousands of lines.
	long := longText(0, 10_000)
	short := slices.Repeat([]*eventsv1.Line{{}}, 11_000)
	list = append(list, placed(next(), long, "", price, short...))
	for range 30 {
		list = append(list, refunded(next(), long, quantity, short...))
	}
	// Many small refunds of one.
	for range 2 * profile.MaxRefunds {
		list = append(list, refunded(next(), "small", quantity, &eventsv1.Line{ProductId: longText(0, 600)}))
	}
	return list
}

// TestWorstCustomer: whatever ingest lets through, facts and rows fit a store,
// and are the same in another order.
func TestWorstCustomer(t *testing.T) {
	t.Parallel()
	many := []string{"", "CNY"}
	for i := range profile.MaxCurrencies - len(many) {
		many = append(many, longText(i, profile.MaxCurrencyBytes))
	}
	for name, currencies := range map[string][]string{"one currency": {""}, "most currencies": many} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := newEnv(t)
			list := worst(t, worstEvents(currencies))
			facts, rows := fold(t, env, list, nil)
			rand.New(rand.NewPCG(3, 4)).Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
			other, otherRows := fold(t, env, list, nil)
			if !bytes.Equal(encoded(t, facts), encoded(t, other)) {
				t.Errorf("facts depend on the order")
			}
			if err := sameRows(rows, otherRows); err != nil {
				t.Errorf("rows depend on the order")
			}
			if got := proto.Size(facts); got > profile.MaxFactsBytes {
				t.Errorf("facts of %d bytes, limit %d", got, profile.MaxFactsBytes)
			}
			logSections(t, facts)
			greatest := 0
			for _, value := range rows {
				greatest = max(greatest, len(value))
			}
			t.Logf("greatest row: %d bytes", greatest)
			if greatest > profile.MaxRowBytes {
				t.Errorf("row of %d bytes, limit %d", greatest, profile.MaxRowBytes)
			}
			checkFull(t, facts, len(currencies))
		})
	}
}

func encoded(t *testing.T, f *statev1.Facts) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func logSections(t *testing.T, f *statev1.Facts) {
	t.Helper()
	t.Logf("facts: %d bytes: traits %d, identifiers %d, engagement %d, memberships %d, orders %d (products %d), cart %d, custom %d, acquisition %d, interactions %d, service %d, referrals %d", proto.Size(f),
		proto.Size(&statev1.Facts{Traits: f.Traits}), proto.Size(&statev1.Facts{Identifiers: f.Identifiers}), proto.Size(f.Engagement),
		proto.Size(f.Memberships), proto.Size(f.Orders), proto.Size(&statev1.OrdersFacts{Products: f.Orders.Products}), proto.Size(f.Cart), proto.Size(f.Custom), proto.Size(f.Acquisition), proto.Size(f.Interactions),
		proto.Size(f.Service), proto.Size(f.Referrals))
}

// checkFull sees to it that the worst customer is at his bounds, else the test
// of their sum tests nothing.
func checkFull(t *testing.T, f *statev1.Facts, currencies int) {
	t.Helper()
	for name, c := range map[string]struct{ got, want int }{
		"traits":       {len(f.Traits), profile.MaxTraits},
		"pages":        {len(f.Engagement.Pages), profile.MaxKeys},
		"products":     {len(f.Orders.Products), profile.MaxKeys},
		"days":         {len(f.Orders.Days), profile.MaxDaySums / currencies},
		"sums":         {len(f.Orders.Net), currencies},
		"cart":         {len(f.Cart.Entries), profile.MaxCartEntries},
		"custom names": {len(f.Custom.Events), profile.MaxKeys},
		"topics":       {len(f.Service.Topics), profile.MaxKeys},
		"aspects":      {len(f.Service.Rating.Aspects), profile.MaxKeys},
		"referrers":    {len(f.Referrals.Referrers), profile.MaxReferrers},
		"revenue":      {len(f.Referrals.Revenue), profile.MaxCurrencies},
		"campaigns":    {len(f.Acquisition.Campaigns), profile.MaxKeys},
		"channels":     {len(f.Interactions.Channels), profile.MaxKeys},
		"memberships":  {len(f.Memberships.Tellings), profile.MaxMembershipTellings},
		"times":        {len(f.Orders.Days[len(f.Orders.Days)-profile.MaxTimedDays].Times), profile.MaxDayTimes},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", name, c.got, c.want)
		}
	}
	if (f.Orders.BaseCorrection != nil) != (currencies > 1) {
		t.Errorf("correction %v of %d currencies", f.Orders.BaseCorrection, currencies)
	}
	if f.StrongEnd == nil || f.WeakEnd == nil || !f.Orders.Approximate || f.Cart.Dropped == nil {
		t.Errorf("not every bound was passed")
	}
}

// TestRandomBeyondBounds: what is left is a function of the set where sizes are
// mixed, so that small things behind a great one that did not fit would fit.
func TestRandomBeyondBounds(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(5, 6))
	text := func() string { return longText(random.IntN(900), 6+random.IntN(800)) }
	var list []profile.Event
	for i := range 700 {
		list = append(list,
			identified(i, []string{"email", "guest", "user_id", "device_id"}[i%4], text()),
			trait(i+2_000, longText(random.IntN(600), 6+random.IntN(700)), structpb.NewStringValue(text()+text()+text()+text())))
	}
	for i := range 1_200 {
		id := fmt.Sprint(random.IntN(200))
		amount := int64(random.IntN(1_000))
		line := &eventsv1.Line{ProductId: fmt.Sprint(random.IntN(250)), PriceMicros: &amount}
		told := &eventsv1.Order{OrderId: id, Currency: fmt.Sprint("C", random.IntN(14)), RevenueMicros: &amount, Lines: []*eventsv1.Line{line}}
		kinds := []eventsv1.Type{
			eventsv1.Type_TYPE_ORDER_PLACED, eventsv1.Type_TYPE_ORDER_PLACED, eventsv1.Type_TYPE_ORDER_UPDATED, eventsv1.Type_TYPE_ORDER_REFUNDED,
			eventsv1.Type_TYPE_ORDER_CANCELLED, eventsv1.Type_TYPE_ORDER_DELIVERED,
		}
		list = append(list, order(10_000+i+random.IntN(4_000)*daySeconds, kinds[random.IntN(len(kinds))], told))
	}
	for i := range list {
		list[i].Header.EventId += fmt.Sprint(" ", i) // no two repeats
	}
	facts, p := inSomeOrders(t, list, 3)
	if facts.StrongEnd == nil || facts.WeakEnd == nil || !facts.TraitsApproximate || !isApproximate(p) {
		t.Errorf("not every bound was passed")
	}
	if n := len(facts.Orders.Currencies); n != profile.MaxCurrencies || len(facts.Orders.Days) != profile.MaxDaySums/n {
		t.Errorf("%d currencies and %d days, want them at their bounds", n, len(facts.Orders.Days))
	}
}

// TestRandomRefunds: the same of the refunds of an order.
func TestRandomRefunds(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(7, 8))
	list := []profile.Event{placed(0, "A", "", 1_000_000)}
	for i := range 24 {
		list = append(list, refunded(i+1, "A", int64(1<<i), slices.Repeat([]*eventsv1.Line{{}}, 1+random.IntN(8_000))...))
	}
	if facts, _ := inOrders(t, list); !facts.Orders.Approximate {
		t.Errorf("not every bound was passed")
	}
}

// TestStrongIdentifierStays: no number of browsers hides who somebody is.
func TestStrongIdentifierStays(t *testing.T) {
	t.Parallel()
	var history []profile.Event
	for i := range profile.MaxIdentifiers + 1 {
		history = append(history, identified(i, "anonymous_id", fmt.Sprint(i)))
	}
	_, without := inOrders(t, history)
	_, p := inOrders(t, append(history, identified(0, "user_id", "ann")))
	if !p.Identified || p.GetName() != "ann" || without.Identified {
		t.Errorf("identified %t as %q; without a user id %t", p.Identified, p.GetName(), without.Identified)
	}
}

// TestIdentifierBytes: at the bound in bytes and one beyond.
func TestIdentifierBytes(t *testing.T) {
	t.Parallel()
	const kind, n = "crm_id", 256
	length := profile.MaxIdentifierBytes/n - profile.IdentifierOverhead - len(kind)
	var history []profile.Event
	for i := range n {
		history = append(history, identified(i, kind, longText(i, length)))
	}
	_, p := inOrders(t, history)
	if len(p.Identifiers) != n || isApproximate(p) {
		t.Errorf("at the bound: %d identifiers, approximate %t", len(p.Identifiers), isApproximate(p))
	}
	history[n-1].Body.Identifiers[0].Value += "x"
	_, p = inOrders(t, history)
	if len(p.Identifiers) != n-1 || !isApproximate(p) {
		t.Errorf("one byte beyond: %d identifiers, approximate %t", len(p.Identifiers), isApproximate(p))
	}
}

// TestLongTrait: a value at its bound is whole, one beyond is a text of its
// beginning while it stands.
func TestLongTrait(t *testing.T) {
	t.Parallel()
	text := func(n int) *structpb.Value { return structpb.NewStringValue(strings.Repeat("x", n)) }
	bound := profile.MaxTraitBytes - len("t") - len(`""`)
	_, p := inOrders(t, []profile.Event{trait(0, "t", text(bound))})
	if got := p.Traits["t"].Value; !proto.Equal(got, text(bound)) || isApproximate(p) {
		t.Errorf("at the bound: %d bytes, approximate %t", len(got.GetStringValue()), isApproximate(p))
	}
	list := structpb.NewListValue(&structpb.ListValue{Values: slices.Repeat([]*structpb.Value{structpb.NewStringValue("𠮷")}, 1_000)})
	digests := map[string]bool{}
	for name, c := range map[string]struct {
		value *structpb.Value
		of    string // the text whose beginning is kept
	}{
		"one beyond":    {text(bound + 1), strings.Repeat("x", bound)},
		"much beyond":   {text(30_000), strings.Repeat("x", bound)},
		"of characters": {structpb.NewStringValue("x" + strings.Repeat("𠮷", 1_000)), "x" + strings.Repeat("𠮷", 1_000)},
		"of quotes":     {structpb.NewStringValue(strings.Repeat(`"`, 2_000)), strings.Repeat(`"`, 2_000)},
		"of controls":   {structpb.NewStringValue(strings.Repeat("\x01", 2_000)), strings.Repeat("\x01", 2_000)},
		"a list":        {list, profile.CanonicalJSON(list)},
	} {
		facts, p := inOrders(t, []profile.Event{trait(0, "t", c.value)})
		got := p.Traits["t"].Value.GetStringValue()
		beginning, cut := strings.CutSuffix(got, "…")
		if !cut || !strings.HasPrefix(c.of, beginning) || !utf8.ValidString(got) || !isApproximate(p) {
			t.Errorf("%s: %q, want the beginning of %q; approximate %t", name, got, c.of, isApproximate(p))
		}
		// Less than one more character, of at most six bytes, would fit.
		if n := len(facts.Traits[0].ValueJson); n > profile.MaxTraitBytes-1 || n < profile.MaxTraitBytes-6 {
			t.Errorf("%s: %d bytes kept of %d", name, n, profile.MaxTraitBytes-1)
		}
		digests[p.Digest] = true
	}
	if len(digests) != 1 {
		t.Errorf("%d digests of values that are cut, want 1", len(digests))
	}
	_, p = inOrders(t, []profile.Event{trait(0, "t", text(30_000)), trait(1, "t", text(1))})
	_, want := inOrders(t, []profile.Event{trait(1, "t", text(1))})
	if isApproximate(p) || p.Digest != want.Digest {
		t.Errorf("outdone by a short value: approximate %t, digest %s, want %s", isApproximate(p), p.Digest, want.Digest)
	}
}

// TestLongTraitName: a name at its bound is whole; beyond it is cut, and flagged.
func TestLongTraitName(t *testing.T) {
	t.Parallel()
	bound := longText(0, profile.MaxKeyBytes)
	for name, approximate := range map[string]bool{bound: false, bound + "x": true} {
		_, p := inOrders(t, []profile.Event{trait(0, name, structpb.NewBoolValue(true))})
		if p.Traits[bound] == nil || isApproximate(p) != approximate {
			t.Errorf("name of %d bytes: names %d, approximate %t", len(name), len(slices.Collect(maps.Keys(p.Traits))[0]), isApproximate(p))
		}
	}
}

// TestRefunds tries the number of refunds of an order, and their bytes.
func TestRefunds(t *testing.T) {
	t.Parallel()
	many := func(n, lines int) []profile.Event {
		history := []profile.Event{placed(0, "A", "", 1_000)}
		for i := range n {
			history = append(history, refunded(i+1, "A", 1, slices.Repeat([]*eventsv1.Line{{ProductId: "p"}}, lines)...))
		}
		return history
	}
	// What one refund takes, to find how many of a size fit.
	const lines = 8_000
	_, rows := fold(t, newEnv(t), many(1, lines), nil)
	row := &statev1.OrderRow{}
	if err := proto.Unmarshal([]byte(rows["oA"]), row); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ bound, lines int }{
		{profile.MaxRefunds, 0},
		{profile.MaxRefundBytes / proto.Size(row.Refunds[0]), lines},
	} {
		_, p := inSomeOrders(t, many(c.bound, c.lines), 2)
		left := int64(1_000 - c.bound)
		if got := p.Orders.NetRevenue.Micros; got != left || isApproximate(p) {
			t.Errorf("%d refunds of %d lines: %d left, want %d; approximate %t", c.bound, c.lines, got, left, isApproximate(p))
		}
		_, p = inSomeOrders(t, many(c.bound+1, c.lines), 2)
		if got := p.Orders.NetRevenue.Micros; got != left || !isApproximate(p) || int(p.Orders.Refunds) != c.bound+1 {
			t.Errorf("one more than %d refunds: %d left, want %d; %d refunds, approximate %t", c.bound, got, left, p.Orders.Refunds, isApproximate(p))
		}
	}
}

// TestCurrencies: the least stay exact. The deployment's own, told or not, has
// no privilege; told not, it is the least.
func TestCurrencies(t *testing.T) {
	t.Parallel()
	sums := func(p *queryv1.Profile) (codes []string) {
		for _, m := range p.Orders.NetRevenueByCurrency {
			codes = append(codes, fmt.Sprint(m.CurrencyCode, " ", m.Micros))
		}
		return codes
	}
	var history []profile.Event
	want := []string{}
	for i := range profile.MaxCurrencies - 1 {
		code := fmt.Sprint("B0", i)
		history = append(history, placed(2*i, fmt.Sprint(i), code, 1), placed(2*i+1, fmt.Sprint("again", i), code, 1))
		want = append(want, code+" 2")
	}
	history = append(history, placed(100, "own", "", 5))
	want = append(want, "CNY 5")
	_, p := inOrders(t, history)
	if got := sums(p); !slices.Equal(got, want) || isApproximate(p) {
		t.Errorf("at the bound: %v, want %v; approximate %t", got, want, isApproximate(p))
	}
	_, p = inOrders(t, append(history, placed(101, "more", "AAA", 7)))
	want = slices.Delete(want, profile.MaxCurrencies-2, profile.MaxCurrencies-1) // the greatest goes
	want = slices.Insert(want, 0, "AAA 7")
	if got := sums(p); !slices.Equal(got, want) || !isApproximate(p) || p.Orders.Count != uint32(len(history)+1) {
		t.Errorf("one beyond: %v, want %v; approximate %t, %d orders", got, want, isApproximate(p), p.Orders.Count)
	}
	inBase := refunded(103, "own", 3)
	inBase.Body.GetOrder().Currency = "CNY"
	_, p = inOrders(t, append(history, placed(101, "told", "CNY", 7), refunded(102, "own", 1), inBase))
	// What was told in the deployment's goes, what was told in none stays.
	want = []string{"B00 2", "B01 2", "B02 2", "B03 2", "B04 2", "B05 2", "B06 2", "B07 2", "CNY 4"}
	if got := sums(p); !slices.Equal(got, want) || !isApproximate(p) {
		t.Errorf("the deployment's own beyond: %v, want %v; approximate %t", got, want, isApproximate(p))
	}
}

// TestDays: the newest days stay, and fewer of them with more currencies.
func TestDays(t *testing.T) {
	t.Parallel()
	for _, currencies := range []int{1, profile.MaxCurrencies} {
		bound := profile.MaxDaySums / currencies
		var history []profile.Event
		for k := range currencies - 1 {
			history = append(history, order(k, eventsv1.Type_TYPE_ORDER_UPDATED, &eventsv1.Order{OrderId: "X", Currency: fmt.Sprint("B", k)}))
		}
		for day := range bound {
			history = append(history, placed(100+(day+1)*daySeconds, fmt.Sprint(day), "", 1))
		}
		_, p := inSomeOrders(t, history, 1)
		if got := int(p.Orders.PurchaseDays); got != bound || isApproximate(p) {
			t.Errorf("%d currencies at the bound: %d days, want %d; approximate %t", currencies, got, bound, isApproximate(p))
		}
		newest := p.Orders.LastAt
		_, p = inSomeOrders(t, append(history, placed(100, "oldest", "", 1)), 1)
		if got := int(p.Orders.PurchaseDays); got != bound || !isApproximate(p) || !proto.Equal(p.Orders.LastAt, newest) || int(p.Orders.Count) != bound+1 {
			t.Errorf("%d currencies, one beyond: %d days, want %d; approximate %t, %d orders", currencies, got, bound, isApproximate(p), p.Orders.Count)
		}
	}
}

// TestLongTexts tries the texts that are cut without a word at their bounds.
func TestLongTexts(t *testing.T) {
	t.Parallel()
	url, name, code := longText(0, profile.MaxURLBytes), longText(0, profile.MaxProductNameBytes), longText(0, profile.MaxCurrencyBytes)
	for _, more := range []string{"", "x", "𠮷"} {
		line := &eventsv1.Line{ProductId: "p", Name: name + more}
		_, p := inOrders(t, []profile.Event{pageView(0, url+more), placed(1, "A", code+more, 1, line)})
		if got := p.Engagement.GetLastPageUrl(); got != url {
			t.Errorf("last page of %d bytes: %d kept", len(url+more), len(got))
		}
		if got := p.Orders.TopProducts[0].GetName(); got != name {
			t.Errorf("product's name of %d bytes: %d kept", len(name+more), len(got))
		}
		if got := p.Orders.NetRevenue.CurrencyCode; got != code {
			t.Errorf("currency of %d bytes: %d kept", len(code+more), len(got))
		}
	}
	_, p := inOrders(t, []profile.Event{pageView(0, url[:profile.MaxURLBytes-1]+"é")})
	if got := p.Engagement.GetLastPageUrl(); got != url[:profile.MaxURLBytes-1] {
		t.Errorf("last page is cut within a character")
	}
}

// TestLongEventIDs: an id at its bound is told whole, longer ones stay apart.
func TestLongEventIDs(t *testing.T) {
	t.Parallel()
	stamp := func(id string) *statev1.Stamp {
		return profile.StampOf(profile.Event{Header: &logv1.Header{EventId: id}})
	}
	bound := longText(0, profile.MaxEventIDBytes)
	if got := stamp(bound).EventId; got != bound {
		t.Errorf("at the bound: %q, want %q", got, bound)
	}
	a, b := stamp(bound+"a"), stamp(bound+"b")
	if profile.CompareStamps(a, b) == 0 || len(a.EventId) > profile.MaxEventIDBytes || !utf8.ValidString(a.EventId) {
		t.Errorf("beyond the bound: %q and %q", a.EventId, b.EventId)
	}
}
