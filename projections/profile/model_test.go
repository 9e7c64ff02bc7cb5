package profile_test

import (
	"cmp"
	"encoding/json"
	"maps"
	"math"
	"math/big"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/projections/profile"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// The reference model: the profile of a whole history, worked out from scratch
// from the contract's words with plain maps, big fractions and the machine's
// time zones. It shares nothing with the fold but the vocabulary.

type model struct {
	told     []profile.Event // what is no void and counts here, in whichever role, in order
	events   []profile.Event // of them those of the customer's own, in order
	at       int64
	base     string
	location *time.Location
	flags    map[string]bool
	scores   []*big.Int            // of ratings, so far
	aspects  map[string][]*big.Int // the same by aspect
}

func expected(list []profile.Event, at int64, base string) *queryv1.Profile {
	location, err := time.LoadLocation(testZone)
	if err != nil {
		panic(err)
	}
	m := &model{at: at, base: base, location: location, flags: map[string]bool{}}
	for _, ev := range list {
		if ev.Header.Type != eventsv1.Type_TYPE_EVENT_VOIDED && !ev.Header.Withdraws {
			m.told = append(m.told, ev)
		}
	}
	slices.SortFunc(m.told, func(a, b profile.Event) int {
		x, y := a.Header, b.Header
		claimed := func(h *logv1.Header) int64 {
			if h.ClaimedAt == nil {
				return math.MinInt64
			}
			return *h.ClaimedAt
		}
		return cmp.Or(cmp.Compare(x.OccurredAt, y.OccurredAt), cmp.Compare(x.EventId, y.EventId), cmp.Compare(x.Source, y.Source),
			cmp.Compare(x.Role, y.Role), cmp.Compare(claimed(x), claimed(y)))
	})
	for _, ev := range m.told {
		if r := ev.Header.Role; r == logv1.Role_ROLE_SUBJECT || r == logv1.Role_ROLE_COMPANY {
			m.events = append(m.events, ev)
		}
	}
	p := &queryv1.Profile{}
	for _, ev := range m.events {
		m.see(p, ev.Header)
	}
	m.identifiers(p)
	m.traits(p)
	m.acquisition(p)
	m.engagement(p)
	m.orders(p)
	m.cart(p)
	m.memberships(p)
	m.members(p)
	m.interactions(p)
	m.service(p)
	m.referrals(p, m.told)
	m.custom(p)
	m.name(p)
	for name := range m.flags {
		p.Flags = append(p.Flags, name)
	}
	slices.Sort(p.Flags)
	return p
}

func when(micros int64) *timestamppb.Timestamp { return timestamppb.New(time.UnixMicro(micros)) }

func (m *model) see(p *queryv1.Profile, h *logv1.Header) {
	if p.FirstSeenAt == nil {
		p.FirstSeenAt = when(h.OccurredAt)
	}
	p.LastSeenAt = when(h.OccurredAt)
	if h.Clamped {
		m.flags["clamped_time"] = true
	}
	if h.Corrected {
		m.flags["corrected_time"] = true
	}
}

// date is the calendar date of an instant, as midnight UTC.
func (m *model) date(micros int64) time.Time {
	y, month, d := time.UnixMicro(micros).In(m.location).Date()
	return time.Date(y, month, d, 0, 0, 0, 0, time.UTC)
}

func daysBetween(from, to time.Time) int { return int(to.Sub(from).Hours() / 24) }

func (m *model) identifiers(p *queryv1.Profile) {
	type id struct{ kind, value string }
	first := map[id]profile.Event{}
	for _, ev := range m.told {
		for _, told := range namedBy(ev) {
			k := id{told.Type, told.Value}
			had, known := first[k]
			if !known || ev.Header.OccurredAt == had.Header.OccurredAt && ev.Header.Source < had.Header.Source {
				first[k] = ev
			}
		}
	}
	for k, ev := range first {
		p.Identifiers = append(p.Identifiers, &queryv1.Identifier{
			Type: k.kind, Value: k.value, FirstSeenAt: when(ev.Header.OccurredAt), Source: ev.Header.Source,
		})
		if !slices.Contains([]string{"anonymous_id", "device_id", "guest", "guest_id"}, k.kind) {
			p.Identified = true
		}
	}
	slices.SortFunc(p.Identifiers, func(a, b *queryv1.Identifier) int {
		return cmp.Or(strings.Compare(a.Type, b.Type), strings.Compare(a.Value, b.Value))
	})
}

// namedBy are the identifiers that a copy tells of the customer who holds it.
func namedBy(ev profile.Event) (ids []*eventsv1.Identifier) {
	h, group := ev.Header, ev.Body.GetGroup().GetGroupId()
	if h.Role != logv1.Role_ROLE_SUBJECT && len(h.Identifiers) == 0 {
		return nil // it was not named
	}
	switch h.Role {
	case logv1.Role_ROLE_REFERRER:
		if r := ev.Body.GetReferral().GetReferrer(); r != nil {
			ids = append(ids, r)
		}
		return ids
	case logv1.Role_ROLE_REFEREE:
		if r := ev.Body.GetReferral().GetReferee(); r != nil {
			ids = append(ids, r)
		}
		return ids
	case logv1.Role_ROLE_COMPANY:
		if h.Leaves && h.Type == eventsv1.Type_TYPE_GROUP_JOINED {
			return nil // it is the other that was named
		}
		if group != "" {
			ids = append(ids, &eventsv1.Identifier{Type: "company_id", Value: group})
		}
	}
	ofCompany := h.CustomerKind == logv1.CustomerKind_CUSTOMER_KIND_COMPANY
	for _, id := range ev.Body.Identifiers {
		if strings.HasPrefix(id.Type, "company_") == ofCompany {
			ids = append(ids, id)
		}
	}
	return ids
}

func (m *model) traits(p *queryv1.Profile) {
	imported, byHand, once := map[string]*queryv1.Trait{}, map[string]*queryv1.Trait{}, map[string]*queryv1.Trait{}
	for _, ev := range m.events {
		h, told := ev.Header, ev.Body.GetTraits()
		if h.Role == logv1.Role_ROLE_COMPANY {
			told = nil
		}
		ofCompany := h.CustomerKind == logv1.CustomerKind_CUSTOMER_KIND_COMPANY
		if ofCompany && !h.Leaves && h.Type == eventsv1.Type_TYPE_GROUP_JOINED {
			told = &eventsv1.Traits{Set: ev.Body.GetGroup().GetTraits()}
		}
		slot := imported
		if told.GetManual() {
			slot = byHand
		}
		for name, value := range told.GetSet().GetFields() {
			slot[name] = &queryv1.Trait{
				Value: safeInteger(value), Manual: told.Manual, Source: h.Source, OccurredAt: when(h.OccurredAt), EventId: h.EventId,
			}
		}
		for name, value := range told.GetSetOnce().GetFields() {
			if _, before := once[name]; !before {
				once[name] = &queryv1.Trait{
					Value: safeInteger(value), Source: h.Source, OccurredAt: when(h.OccurredAt), EventId: h.EventId,
				}
			}
		}
		for _, name := range told.GetUnset() {
			slot[name] = nil // forgotten, which by hand hides the import
		}
		if told.GetManual() {
			for _, name := range told.GetRelease() {
				delete(byHand, name)
			}
		}
	}
	p.Traits = map[string]*queryv1.Trait{}
	for name, trait := range once {
		if _, told := imported[name]; !told {
			imported[name] = trait
		}
	}
	maps.Copy(imported, byHand) // by hand outranks, whenever it was told
	for name, trait := range imported {
		if trait != nil {
			p.Traits[name] = trait
		}
	}
}

// memberships goes through the instants at which something was told. Of a week
// and a company the first and the last joining count, and so do leavings.
func (m *model) memberships(p *queryv1.Profile) {
	type slot struct {
		week    int64
		company string
		left    bool
	}
	spans := map[slot][]int64{} // in order
	for _, ev := range m.events {
		h := ev.Header
		joined, left := h.Type == eventsv1.Type_TYPE_GROUP_JOINED, h.Type == eventsv1.Type_TYPE_GROUP_LEFT
		if h.CustomerKind != logv1.CustomerKind_CUSTOMER_KIND_PERSON || !joined && !left {
			continue
		}
		company := ev.Body.GetGroup().GetGroupId()
		for _, id := range ev.Body.Identifiers {
			if id.Type == "company_id" && company == "" {
				company = id.Value
			}
		}
		byAnother := slices.ContainsFunc(ev.Body.Identifiers, func(id *eventsv1.Identifier) bool { return strings.HasPrefix(id.Type, "company_") })
		if company != "" || left && !byAnother {
			week := int64(time.UnixMicro(h.OccurredAt).Sub(time.Unix(0, 0)) / (7 * 24 * time.Hour))
			k := slot{week, company, left}
			spans[k] = append(spans[k], h.OccurredAt)
		}
	}
	joined, left := map[int64]string{}, map[int64][]string{}
	for k, at := range spans {
		for _, instant := range []int64{at[0], at[len(at)-1]} {
			if k.left {
				left[instant] = append(left[instant], k.company)
			} else {
				joined[instant] = max(joined[instant], k.company)
			}
		}
	}
	instants := slices.Concat(slices.Collect(maps.Keys(joined)), slices.Collect(maps.Keys(left)))
	slices.Sort(instants)
	for _, at := range slices.Compact(instants) {
		m.move(p, at, joined[at], left[at])
	}
}

// move is one instant: a joining stands alone.
func (m *model) move(p *queryv1.Profile, at int64, joined string, left []string) {
	var current *queryv1.Membership
	if n := len(p.Memberships); n > 0 && p.Memberships[n-1].Until == nil {
		current = p.Memberships[n-1]
	}
	company := current.GetCompany().GetValue()
	switch {
	case joined != "" && joined == company:
	case joined != "":
		if current != nil {
			current.Until = when(at)
		}
		p.Memberships = append(p.Memberships, &queryv1.Membership{Company: &queryv1.CompanyRef{Type: "company_id", Value: joined}, Since: when(at)})
	case current != nil && (slices.Contains(left, company) || slices.Contains(left, "")):
		current.Until = when(at)
	}
}

func (m *model) members(p *queryv1.Profile) {
	type telling struct {
		at      int64
		ev      profile.Event
		current bool
	}
	byPerson := map[string][]telling{}
	for _, ev := range m.events {
		h := ev.Header
		person := string(h.PartyCustomer)
		if person == "" || h.Type != eventsv1.Type_TYPE_GROUP_JOINED && h.Type != eventsv1.Type_TYPE_GROUP_LEFT {
			continue
		}
		byPerson[person] = append(byPerson[person], telling{h.OccurredAt, ev, !h.Leaves})
		if h.Until != nil {
			byPerson[person] = append(byPerson[person], telling{*h.Until, ev, false})
		}
	}
	for _, list := range byPerson {
		slices.SortStableFunc(list, func(a, b telling) int {
			return cmp.Or(cmp.Compare(a.at, b.at), strings.Compare(a.ev.Header.EventId, b.ev.Header.EventId), strings.Compare(a.ev.Header.Source, b.ev.Header.Source))
		})
		if list[len(list)-1].current {
			p.Members++
		}
	}
}

// safeInteger replaces integers that JSON readers would round by text.
func safeInteger(v *structpb.Value) *structpb.Value {
	if n, is := v.Kind.(*structpb.Value_NumberValue); is && n.NumberValue == math.Trunc(n.NumberValue) {
		if size := math.Abs(n.NumberValue); size > 1<<53 && size < 1e21 {
			text, _ := new(big.Float).SetFloat64(n.NumberValue).Int(nil)
			return structpb.NewStringValue(text.String())
		}
	}
	return v
}

func (m *model) acquisition(p *queryv1.Profile) {
	type arrival struct {
		day                  time.Time
		source, medium, name string
	}
	known := map[arrival]bool{}
	for _, ev := range m.events {
		isAd := strings.HasPrefix(ev.Header.Type.String(), "TYPE_AD_")
		ad, c := ev.Body.GetAd(), ev.Body.GetContext().GetCampaign()
		arrived := arrival{m.date(ev.Header.OccurredAt), c.GetSource(), c.GetMedium(), c.GetName()}
		tagged := arrived != arrival{day: arrived.day}
		if !isAd && !tagged {
			continue
		}
		if p.Acquisition == nil {
			p.Acquisition = &queryv1.Acquisition{ByChannel: map[string]uint32{}, Campaigns: map[string]uint32{}}
		}
		q := p.Acquisition
		count := func(t *queryv1.Touch) {
			q.Touches++
			q.ByChannel[t.Channel]++
			if t.Campaign != "" {
				q.Campaigns[t.Campaign]++
			}
		}
		told := &queryv1.Touch{
			Channel: modelChannel(arrived.source, arrived.medium, "", false),
			Source:  arrived.source, Medium: arrived.medium, Campaign: arrived.name,
		}
		if tagged && !known[arrived] {
			known[arrived] = true
			count(told)
		}
		if isAd {
			if ad.GetSource()+ad.GetMedium() != "" {
				told.Source, told.Medium = ad.Source, ad.Medium
			}
			told.Campaign = cmp.Or(ad.GetCampaign(), told.Campaign)
			told.Channel = modelChannel(told.Source, told.Medium, ad.GetChannel(), true)
			count(told)
			if ev.Header.Type == eventsv1.Type_TYPE_AD_VIEWED {
				q.AdViews++
			} else {
				q.AdClicks++
			}
		}
		told.At = when(ev.Header.OccurredAt)
		if q.FirstTouch == nil {
			q.FirstTouch = told
		}
		q.LastTouch = told
	}
}

// modelChannel is the channel of what is drawn.
func modelChannel(source, medium, channel string, isAd bool) string {
	paid := medium == "cpc" || isAd && medium != "organic"
	network := map[bool]string{false: "organic_", true: "paid_"}[paid]
	switch {
	case channel == "Social":
		return network + "social"
	case channel == "direct-mail":
		return "direct_mail"
	case medium == "email":
		return "email"
	case source == "Facebook":
		return network + "social"
	case source == "google" || medium == "organic":
		return network + "search"
	case medium == "cpc":
		return "paid_other"
	}
	return "other"
}

func (m *model) interactions(p *queryv1.Profile) {
	for _, ev := range m.events {
		if ev.Header.Type != eventsv1.Type_TYPE_INTERACTION_LOGGED {
			continue
		}
		if p.Interactions == nil {
			p.Interactions = &queryv1.Interactions{ByChannel: map[string]*queryv1.ChannelInteractions{}}
		}
		s, told := p.Interactions, ev.Body.GetInteraction()
		name := cmp.Or(strings.ToLower(strings.TrimSpace(told.GetChannel())), "other")
		if s.ByChannel[name] == nil {
			s.ByChannel[name] = &queryv1.ChannelInteractions{}
		}
		c, at := s.ByChannel[name], when(ev.Header.OccurredAt)
		s.Count++
		c.Count++
		c.LastAt = at
		switch told.GetDirection() {
		case "inbound", "IN":
			s.Inbound++
			c.Inbound++
			s.LastInboundAt = at
		case "outbound", "Outbound ", "呼出":
			s.Outbound++
			c.Outbound++
			s.LastOutboundAt = at
		}
	}
}

func (m *model) engagement(p *queryv1.Profile) {
	slots := map[int64]bool{}
	urls := map[string]uint32{}
	var viewDays []time.Time
	g := &queryv1.Engagement{}
	for _, ev := range m.events {
		name := ev.Header.Type.String()
		isView := name == "TYPE_PAGE_VIEWED" || name == "TYPE_SCREEN_VIEWED"
		onSite := isView || name == "TYPE_AD_CLICKED" || strings.HasPrefix(name, "TYPE_PRODUCT_") ||
			strings.HasPrefix(name, "TYPE_CART_") || strings.HasPrefix(name, "TYPE_CHECKOUT_")
		if !onSite {
			continue
		}
		p.Engagement = g
		slots[ev.Header.OccurredAt/(30*60*1_000_000)] = true
		if !isView {
			continue
		}
		g.PageViews++
		viewDays = append(viewDays, m.date(ev.Header.OccurredAt))
		url := ev.Body.GetView().GetUrl()
		if url == "" {
			url = ev.Body.GetContext().GetPageUrl()
		}
		if url != "" {
			g.LastPageUrl = &url
			urls[url]++
		}
	}
	for slot := range slots {
		if !slots[slot-1] {
			g.Sessions++ // the first half hour of a run
		}
	}
	for _, d := range viewDays {
		newest := viewDays[len(viewDays)-1]
		if age := daysBetween(d, m.date(m.at)); age >= 0 && age < 30 && daysBetween(d, newest) < 35 {
			g.PageViews30D++
		}
	}
	for url, n := range urls {
		g.TopPages = append(g.TopPages, &queryv1.PageCount{Url: url, Count: n})
	}
	slices.SortFunc(g.TopPages, func(a, b *queryv1.PageCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Url, b.Url))
	})
}

// modelOrder is all that was told of one order, in order: of those that told
// some, the values and the lines.
type modelOrder struct {
	placed, state, refunds []profile.Event
	values, lines          []*eventsv1.Order
}

type entry struct {
	date     time.Time
	currency string
	amount   *big.Int
}

type modelProduct struct {
	units   *big.Int
	revenue map[string]*big.Int
	name    string
	counted bool
}

type tally struct {
	m         *model
	count     uint32
	cancelled uint32
	units     *big.Int
	entries   []entry
	times     []int64 // of the orders that count
	delivered map[time.Time]bool
	products  map[string]*modelProduct
}

func (m *model) orders(p *queryv1.Profile) {
	byID := map[string]*modelOrder{}
	delivered := map[string]bool{}
	t := &tally{m: m, units: new(big.Int), delivered: map[time.Time]bool{}, products: map[string]*modelProduct{}}
	for _, ev := range m.events {
		o := ev.Body.GetOrder()
		kind := ev.Header.Type
		if o == nil || kind == eventsv1.Type_TYPE_ORDER_PAID || kind == eventsv1.Type_TYPE_ORDER_SHIPPED {
			continue
		}
		if p.Orders == nil {
			p.Orders = &queryv1.Orders{}
		}
		id := cmp.Or(o.OrderId, ev.Header.EventId)
		if byID[id] == nil {
			byID[id] = &modelOrder{}
		}
		row := byID[id]
		switch kind {
		case eventsv1.Type_TYPE_ORDER_PLACED:
			row.placed, row.state = append(row.placed, ev), append(row.state, ev)
		case eventsv1.Type_TYPE_ORDER_CANCELLED:
			row.state = append(row.state, ev)
		case eventsv1.Type_TYPE_ORDER_DELIVERED:
			delivered[id] = true
		case eventsv1.Type_TYPE_ORDER_REFUNDED:
			row.refunds = append(row.refunds, ev)
			p.Orders.Refunds++
		}
		if kind == eventsv1.Type_TYPE_ORDER_PLACED || kind == eventsv1.Type_TYPE_ORDER_UPDATED {
			if modelValue(o) != nil {
				row.values = append(row.values, o)
			}
			if len(o.Lines) > 0 {
				row.lines = append(row.lines, o)
			}
		}
		if kind != eventsv1.Type_TYPE_ORDER_CANCELLED && kind != eventsv1.Type_TYPE_ORDER_DELIVERED {
			for _, l := range o.Lines {
				if l.Name != "" {
					t.product(modelKey(l)).name = l.Name
				}
			}
		}
	}
	if p.Orders == nil {
		return
	}
	for id, row := range byID {
		if len(row.placed) > 0 && len(row.values) == 0 {
			m.flags["no_value"] = true
		}
		t.order(row, delivered[id])
	}
	if t.show(p.Orders); proto.Equal(p.Orders, &queryv1.Orders{}) {
		p.Orders = nil
	}
}

func modelKey(l *eventsv1.Line) string { return cmp.Or(l.GetProductId(), l.GetSku(), l.GetName()) }

func (t *tally) product(key string) *modelProduct {
	if t.products[key] == nil {
		t.products[key] = &modelProduct{units: new(big.Int), revenue: map[string]*big.Int{}}
	}
	return t.products[key]
}

// modelValue is the value of an order, nil if none was told.
func modelValue(o *eventsv1.Order) *big.Int {
	if o.RevenueMicros != nil {
		return big.NewInt(*o.RevenueMicros)
	}
	if o.TotalMicros != nil {
		v := big.NewInt(*o.TotalMicros)
		v.Sub(v, big.NewInt(o.GetTaxMicros()))
		return v.Sub(v, big.NewInt(o.GetShippingMicros()))
	}
	if o.ValueMicros != nil {
		return big.NewInt(*o.ValueMicros)
	}
	var sum *big.Int
	for _, l := range o.Lines {
		if l.PriceMicros != nil {
			if sum == nil {
				sum = new(big.Int)
			}
			sum.Add(sum, times(*l.PriceMicros, quantity(l)))
		}
	}
	return sum
}

func quantity(l *eventsv1.Line) int64 {
	if l == nil || l.QuantityMicros == nil {
		return 1_000_000
	}
	return *l.QuantityMicros
}

func times(price, quantity int64) *big.Int {
	return halfEven(new(big.Int).Mul(big.NewInt(price), big.NewInt(quantity)), big.NewInt(1_000_000))
}

func modelRefund(o *eventsv1.Order) *int64 {
	for _, a := range []*int64{o.TotalMicros, o.RevenueMicros, o.ValueMicros} {
		if a != nil {
			return a
		}
	}
	return nil
}

func (t *tally) order(row *modelOrder, delivered bool) {
	latest := func(list []profile.Event) profile.Event { return list[len(list)-1] }
	valued, itemised := &eventsv1.Order{}, &eventsv1.Order{}
	if n := len(row.values); n > 0 {
		valued = row.values[n-1]
	}
	if n := len(row.lines); n > 0 {
		itemised = row.lines[n-1]
	}
	if len(row.placed) == 0 {
		for _, r := range row.refunds {
			o := r.Body.GetOrder()
			currency := cmp.Or(o.Currency, t.m.base)
			if a := modelRefund(o); a != nil {
				t.enter(r.Header.OccurredAt, currency, new(big.Int).Neg(big.NewInt(*a)))
			}
			t.lines(o.Lines, &eventsv1.Order{}, currency, -1)
		}
		return
	}
	if latest(row.state).Header.Type == eventsv1.Type_TYPE_ORDER_CANCELLED {
		t.cancelled++
		return
	}
	t.count++
	at := latest(row.placed).Header.OccurredAt
	t.times = append(t.times, at)
	t.delivered[t.m.date(at)] = t.delivered[t.m.date(at)] || delivered
	currency := cmp.Or(valued.Currency, t.m.base)
	value := modelValue(valued)
	left := new(big.Int)
	if value != nil {
		left.Set(value)
	}
	for _, r := range row.refunds {
		o := r.Body.GetOrder()
		own, amount := cmp.Or(o.Currency, currency), modelRefund(o)
		t.lines(o.Lines, itemised, own, -1)
		if value == nil || value.Sign() <= 0 {
			continue // nothing was ever left to take off, in any currency
		}
		if amount != nil && own != currency {
			t.enter(at, own, new(big.Int).Neg(big.NewInt(*amount)))
			continue
		}
		off := new(big.Int).Set(left)
		if amount != nil {
			part := big.NewInt(*amount)
			if total := valued.GetTotalMicros(); total > 0 {
				part = halfEven(new(big.Int).Mul(part, value), big.NewInt(total))
			}
			if part.Cmp(left) < 0 {
				off = part
			}
		}
		left.Sub(left, off)
	}
	if value != nil {
		t.enter(at, currency, left)
	}
	t.lines(itemised.Lines, &eventsv1.Order{}, cmp.Or(itemised.Currency, t.m.base), 1)
}

func (t *tally) enter(at int64, currency string, amount *big.Int) {
	t.entries = append(t.entries, entry{t.m.date(at), currency, amount})
}

// lines counts lines in their currency. Those without a price have that of the
// order, if it has one, in its currency.
func (t *tally) lines(lines []*eventsv1.Line, ordered *eventsv1.Order, told string, sign int64) {
	for _, l := range lines {
		units := big.NewInt(sign * quantity(l))
		t.units.Add(t.units, units)
		key := modelKey(l)
		if key == "" {
			continue
		}
		price, currency := l.PriceMicros, told
		for _, o := range ordered.Lines {
			if price == nil && o.PriceMicros != nil && modelKey(o) == key {
				price, currency = o.PriceMicros, cmp.Or(ordered.Currency, t.m.base)
			}
		}
		p := t.product(key)
		p.counted = true
		p.units.Add(p.units, units)
		if price != nil {
			if p.revenue[currency] == nil {
				p.revenue[currency] = new(big.Int)
			}
			revenue := times(*price, quantity(l))
			p.revenue[currency].Add(p.revenue[currency], revenue.Mul(revenue, big.NewInt(sign)))
		}
	}
}

func (t *tally) show(o *queryv1.Orders) {
	o.Count, o.Cancelled, o.Units = t.count, t.cancelled, text(t.units)
	t.showDays(o)
	sums, twelveMonths := map[string]*big.Int{}, new(big.Int)
	for _, e := range t.entries {
		if sums[e.currency] == nil {
			sums[e.currency] = new(big.Int)
		}
		sums[e.currency].Add(sums[e.currency], e.amount)
		if age := daysBetween(e.date, t.m.date(t.m.at)); e.currency == t.m.base && age >= 0 && age < 365 {
			twelveMonths.Add(twelveMonths, e.amount)
		}
	}
	o.NetRevenueByCurrency = t.m.moneys(sums)
	if len(sums) == 1 {
		o.NetRevenue = o.NetRevenueByCurrency[0]
	}
	for _, money := range o.NetRevenueByCurrency {
		if money.CurrencyCode == t.m.base {
			o.NetRevenueBase = money
			o.Revenue12M = t.m.moneys(map[string]*big.Int{t.m.base: twelveMonths})[0]
		} else {
			o.Unconverted = append(o.Unconverted, money)
		}
	}
	t.showProducts(o)
}

func (t *tally) showProducts(o *queryv1.Orders) {
	type named struct {
		key string
		*modelProduct
	}
	var list []named
	for key, p := range t.products {
		if p.counted {
			list = append(list, named{key, p})
		}
	}
	slices.SortFunc(list, func(a, b named) int { return cmp.Or(b.units.Cmp(a.units), strings.Compare(a.key, b.key)) })
	for _, p := range list {
		total := &queryv1.ProductTotal{ProductId: p.key, Units: text(p.units), RevenueByCurrency: t.m.moneys(p.revenue)}
		if p.name != "" {
			total.Name = &p.name
		}
		o.TopProducts = append(o.TopProducts, total)
	}
}

func (t *tally) showDays(o *queryv1.Orders) {
	if len(t.times) == 0 {
		return
	}
	slices.Sort(t.times)
	var days []time.Time
	for _, at := range t.times {
		if d := t.m.date(at); len(days) == 0 || !days[len(days)-1].Equal(d) {
			days = append(days, d)
		}
	}
	n := len(days)
	o.PurchaseDays = uint32(n)
	o.FirstAt, o.LastAt = when(t.times[0]), when(t.times[len(t.times)-1])
	o.LastDayDelivered = t.delivered[days[n-1]]
	for _, at := range slices.Backward(t.times) {
		if d := t.m.date(at); d.Equal(days[n-1]) {
			o.LastDayFirstAt = when(at)
		} else if o.PreviousDayLastAt == nil {
			o.PreviousDayLastAt = when(at)
		}
	}
	o.MedianIntervalDays = medianGap(days)
	o.PreviousMedianIntervalDays = medianGap(days[:n-1])
}

func medianGap(days []time.Time) *float64 {
	var gaps []float64
	for i := range len(days) - 1 {
		gaps = append(gaps, float64(daysBetween(days[i], days[i+1])))
	}
	slices.Sort(gaps)
	var median float64
	switch n := len(gaps); {
	case n == 0:
		return nil
	case n%2 == 1:
		median = gaps[n/2]
	default:
		median = (gaps[n/2-1] + gaps[n/2]) / 2
	}
	return &median
}

func (m *model) moneys(sums map[string]*big.Int) []*queryv1.Money {
	var list []*queryv1.Money
	for code, sum := range sums {
		money := &queryv1.Money{CurrencyCode: code}
		switch {
		case sum.IsInt64():
			money.Micros = sum.Int64()
		case sum.Sign() > 0:
			money.Micros, m.flags["overflow"] = math.MaxInt64, true
		default:
			money.Micros, m.flags["overflow"] = math.MinInt64, true
		}
		list = append(list, money)
	}
	slices.SortFunc(list, func(a, b *queryv1.Money) int { return strings.Compare(a.CurrencyCode, b.CurrencyCode) })
	return list
}

// text writes micros as a decimal, "" for zero.
func text(n *big.Int) string {
	if n.Sign() == 0 {
		return ""
	}
	s := new(big.Rat).SetFrac(n, big.NewInt(1_000_000)).FloatString(6)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

func (m *model) cart(p *queryv1.Profile) {
	steps := m.events
	for i, ev := range m.events {
		if ev.Header.Type == eventsv1.Type_TYPE_ORDER_PLACED {
			steps = m.events[i+1:]
		}
	}
	var cart *queryv1.Cart
	quantities := map[string]int64{}
	prices := map[string]*queryv1.Money{}
	for _, ev := range steps {
		at := when(ev.Header.OccurredAt)
		product := ev.Body.GetProduct()
		line := product.GetLine()
		key, n := modelKey(line), quantity(line)
		kind := ev.Header.Type
		switch {
		case strings.HasPrefix(kind.String(), "TYPE_CHECKOUT_"):
			if cart == nil {
				cart = &queryv1.Cart{Since: at}
			}
			cart.Checkout, cart.UpdatedAt = true, at
		case kind == eventsv1.Type_TYPE_PRODUCT_ADDED && n > 0:
			if cart == nil {
				cart = &queryv1.Cart{Since: at}
			}
			cart.UpdatedAt = at
			quantities[key] += n
			if line != nil && line.PriceMicros != nil {
				prices[key] = &queryv1.Money{CurrencyCode: cmp.Or(product.Currency, m.base), Micros: *line.PriceMicros}
			}
		case kind == eventsv1.Type_TYPE_PRODUCT_REMOVED && n > 0 && quantities[key] > 0:
			cart.UpdatedAt = at
			quantities[key] -= n
			if quantities[key] <= 0 {
				delete(quantities, key)
				delete(prices, key)
			}
			if len(quantities) == 0 {
				cart = nil
			}
		}
	}
	if cart == nil {
		return
	}
	for key, n := range quantities {
		cart.Items = append(cart.Items, &queryv1.CartItem{ProductId: key, Quantity: text(big.NewInt(n)), Price: prices[key]})
	}
	slices.SortFunc(cart.Items, func(a, b *queryv1.CartItem) int { return strings.Compare(a.ProductId, b.ProductId) })
	if p.Orders == nil {
		p.Orders = &queryv1.Orders{}
	}
	p.Orders.OpenCart = cart
}

func (m *model) custom(p *queryv1.Profile) {
	for _, ev := range m.events {
		if ev.Header.Type != eventsv1.Type_TYPE_CUSTOM {
			continue
		}
		if p.Custom == nil {
			p.Custom = map[string]*queryv1.Custom{}
		}
		c := p.Custom[ev.Body.Type]
		if c == nil {
			c = &queryv1.Custom{FirstAt: when(ev.Header.OccurredAt)}
			p.Custom[ev.Body.Type] = c
		}
		c.Count++
		c.LastAt = when(ev.Header.OccurredAt)
	}
}

func (m *model) name(p *queryv1.Profile) {
	trait := func(name string) string {
		s, _ := p.Traits[name].GetValue().AsInterface().(string)
		return strings.TrimSpace(s)
	}
	name := trait("name")
	if name == "" {
		name = strings.TrimSpace(trait("firstName") + " " + trait("lastName"))
	}
	for _, kind := range []string{"company_id", "user_id", "company_domain", "crm_id", "email", "phone", "anonymous_id", "guest"} {
		for _, id := range p.Identifiers {
			if name == "" && id.Type == kind {
				name = id.Value
			}
		}
	}
	if name != "" {
		p.Name = &name
	}
}

// asJSON is for messages of failures.
func asJSON(v any) string {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(b)
}
