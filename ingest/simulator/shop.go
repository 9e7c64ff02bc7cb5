package simulator

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

const (
	// defaultDays is how long a life is that does not say.
	defaultDays = 2 * 365
	// minDays is the least in which everybody comes before he leaves.
	minDays = 120
	maxDays = 20 * 365
	// defaultCohort bounds the memory of a play to some 100 MB.
	defaultCohort = 1_000
	// MaxBatch is how many events one call may bring.
	MaxBatch = 2_500
	// maxCustomers leaves room for numbers of ids and telephones.
	maxCustomers = 10_000_000
)

// Shop is a made-up shop: some customers, and all that they did there in the
// days before End, as a web tracker and a shop's back end would send it on the
// Segment wire, and a sales team by hand. A function of its fields alone. What
// brings customers, what they complain of, whom they bring, whom they work for
// and what was told wrongly is in a file each, shop_*.go.
type Shop struct {
	Seed uint64
	// End is when the play ends: nothing happens at or after it.
	End       time.Time
	Customers int
	// Days that the play lasts, at least 120; 0 is two years.
	Days int
	// Cohort is how many customers are played together, each of whom may bring
	// another of them; 0 is 1,000. What a cohort does comes in order of time,
	// one cohort after the other, so that memory is bounded by one of them. With
	// Customers here all comes in order of time.
	Cohort int
}

// Check says what is wrong with the parameters.
func (s Shop) Check() error { return check(s.End, s.Customers, s.Days, s.Cohort) }

func (s Shop) days() int { return cmp.Or(s.Days, defaultDays) }

// habit is how a kind of customer behaves.
type habit struct {
	name    string
	weight  int
	orders  func(r *rand.Rand, days int) []float64 // days before End, descending; some may be before the play
	browses int                                    // visits without an order
	cancels bool                                   // takes an order back now and then
	cart    bool                                   // leaves a filled cart behind at the end
	known   bool                                   // is ever identified
}

// habits cover the stages: who buys on and on, who stopped, who came
// back, who bought once, who only looks, who never says his name.
var habits = []habit{
	{name: "regular", weight: 24, orders: regularOrders(24, 0), browses: 6, cancels: true, known: true},
	{name: "dormant", weight: 12, orders: regularOrders(20, 75), browses: 4, cancels: true, known: true},
	{name: "lost", weight: 20, orders: regularOrders(26, 260), browses: 4, cancels: true, known: true},
	{name: "won_back", weight: 8, orders: wonBackOrders, browses: 6, known: true},
	{name: "once", weight: 12, orders: onceOrders, browses: 3, known: true},
	{name: "cart", weight: 8, browses: 5, cart: true, known: true},
	{name: "subscriber", weight: 6, browses: 4, known: true},
	{name: "visitor", weight: 10, browses: 3},
}

// moving is how many days before the first orders the play begins: who orders
// then has looked around before.
const moving = 30

// regularOrders come every gap days, give or take a fifth, and stop `silent`
// days before the end.
func regularOrders(gap, silent float64) func(*rand.Rand, int) []float64 {
	return func(r *rand.Rand, lasts int) []float64 {
		var days []float64
		for at := silent + 1 + r.Float64()*gap*0.8; at < float64(lasts-moving) && len(days) < 16; {
			days = append(days, at)
			at += gap * (0.8 + 0.4*r.Float64())
		}
		slices.Reverse(days)
		return days
	}
}

// wonBackOrders are a few, a silence of most of a year, and one lately.
func wonBackOrders(r *rand.Rand, lasts int) []float64 {
	last := 2 + 18*r.Float64()
	before := last + 300 + 60*r.Float64()
	days := []float64{before + 40, before + 20, before, last}
	return slices.DeleteFunc(days, func(d float64) bool { return d >= float64(lasts-moving) })
}

func onceOrders(r *rand.Rand, _ int) []float64 { return []float64{1 + 24*r.Float64()} }

type product struct {
	ID       string  `json:"product_id"`
	Name     string  `json:"name"`
	Category string  `json:"category"`
	Price    float64 `json:"price"`
	Quantity int     `json:"quantity,omitempty"`
}

var products = []product{
	{ID: "tea-01", Name: "龙井茶 Longjing tea, 250 g", Category: "tea", Price: 168},
	{ID: "tea-02", Name: "普洱茶 Pu'er tea, cake", Category: "tea", Price: 320},
	{ID: "tea-03", Name: "Jasmine tea, 100 g", Category: "tea", Price: 59.9},
	{ID: "pot-01", Name: "紫砂壶 Yixing teapot", Category: "ware", Price: 880},
	{ID: "cup-01", Name: "Celadon cup", Category: "ware", Price: 78.5},
	{ID: "cup-02", Name: "Travel set, four cups", Category: "ware", Price: 239},
	{ID: "tray-1", Name: "Bamboo tea tray", Category: "ware", Price: 199},
	{ID: "ket-01", Name: "Electric kettle", Category: "home", Price: 459},
	{ID: "inc-01", Name: "Sandalwood incense", Category: "home", Price: 88},
	{ID: "gift-1", Name: "Gift box", Category: "gift", Price: 1288},
}

var (
	families = []struct{ word, latin string }{{"李", "li"}, {"王", "wang"}, {"张", "zhang"}, {"刘", "liu"}, {"陈", "chen"}, {"杨", "yang"}, {"赵", "zhao"}, {"黄", "huang"}}
	givens   = []struct{ word, latin string }{{"娜", "na"}, {"伟", "wei"}, {"芳", "fang"}, {"敏", "min"}, {"静", "jing"}, {"磊", "lei"}, {"洋", "yang"}, {"艳", "yan"}, {"勇", "yong"}, {"杰", "jie"}}
	cities   = []string{"上海", "北京", "广州", "深圳", "成都", "杭州", "Singapore", "London"}
)

// message is one call of the Segment wire.
type message struct {
	Type        string         `json:"type"`
	MessageID   string         `json:"messageId"`
	Timestamp   time.Time      `json:"timestamp"`
	AnonymousID string         `json:"anonymousId,omitempty"`
	UserID      string         `json:"userId,omitempty"`
	GroupID     string         `json:"groupId,omitempty"`
	Event       string         `json:"event,omitempty"`
	Name        string         `json:"name,omitempty"`
	Properties  map[string]any `json:"properties,omitempty"`
	Traits      map[string]any `json:"traits,omitempty"`
	Context     map[string]any `json:"context,omitempty"`
	Corrects    string         `json:"corrects,omitempty"`
	IssuedAt    *time.Time     `json:"issuedAt,omitempty"`
}

// Customer is one of the customers.
type Customer struct {
	Reference string // how to ask for him
	Habit     string // regular, dormant, lost, won_back, once, cart, subscriber, visitor
	Orders    int
}

// Tale is a shop's whole history, of a shop small enough to hold it.
type Tale struct {
	Customers []Customer
	Events    int
	Calls     []Call // in order of time; at last what is told by hand
}

// Tell plays the whole of it. See [Shop.Calls] for batch.
func (s Shop) Tell(batch int) Tale {
	s.Cohort = s.Customers
	var t Tale
	for c := range s.cohorts() {
		for _, l := range c.lives {
			t.Customers = append(t.Customers, Customer{Reference: l.reference(), Habit: l.habit.name, Orders: l.orders})
		}
		for call := range c.calls(batch) {
			t.Calls, t.Events = append(t.Calls, call), t.Events+call.Events
		}
	}
	return t
}

// Favourites picks one customer of each habit named, the one with most orders.
func (t Tale) Favourites(habits ...string) []Customer {
	var picked []Customer
	for _, habit := range habits {
		best := -1
		for i, c := range t.Customers {
			if c.Habit == habit && (best < 0 || c.Orders > t.Customers[best].Orders) {
				best = i
			}
		}
		if best >= 0 {
			picked = append(picked, t.Customers[best])
		}
	}
	return picked
}

// Calls are what is sent, `batch` events a call at most: POST /v1/batch, and
// POST /v1/events for what is told by hand.
func (s Shop) Calls(batch int) iter.Seq[Call] {
	return func(yield func(Call) bool) {
		for c := range s.cohorts() {
			for call := range c.calls(batch) {
				if !yield(call) {
					return
				}
			}
		}
	}
}

// Batches are the same events as the gateway reads them, for wires that take
// dossier.events.v1.EventBatch: what came on the Segment wire under no source,
// what was told by hand under its own.
func (s Shop) Batches(batch int) iter.Seq[*eventsv1.EventBatch] {
	return func(yield func(*eventsv1.EventBatch) bool) {
		for call := range s.Calls(batch) {
			if !yield(call.decode()) {
				return
			}
		}
	}
}

// cohort is some customers whose play is over.
type cohort struct {
	lives    []*life
	messages []message // in order of time
	facts    []fact
}

// cohorts plays the shop, cohort by cohort.
func (s Shop) cohorts() iter.Seq[cohort] {
	size := cmp.Or(s.Cohort, defaultCohort)
	return func(yield func(cohort) bool) {
		for first := 0; first < s.Customers; first += size {
			if !yield(s.cohort(first, min(first+size, s.Customers))) {
				return
			}
		}
	}
}

func (s Shop) cohort(from, to int) cohort {
	c := cohort{lives: make([]*life, to-from)}
	for i := range c.lives {
		// Each has dice of his own: another number of customers changes no one,
		// but for whom he recommends the shop to.
		number := from + i + 1
		c.lives[i] = &life{shop: s, number: number, dice: rand.New(rand.NewPCG(s.Seed, uint64(number)))}
		c.lives[i].live(c.lives[:i])
	}
	for _, l := range c.lives {
		c.messages, c.facts = append(c.messages, l.messages...), append(c.facts, l.facts...)
	}
	slices.SortStableFunc(c.messages, func(a, b message) int { return a.Timestamp.Compare(b.Timestamp) })
	return c
}

func (c cohort) calls(batch int) iter.Seq[Call] {
	return func(yield func(Call) bool) {
		for part := range slices.Chunk(c.messages, batch) {
			if !yield(jsonCall(pathSegment, len(part), map[string]any{"batch": part})) {
				return
			}
		}
		for part := range slices.Chunk(c.facts, batch) {
			if !yield(jsonCall(pathNative, len(part), factBatch{Source: "crm", Events: part})) {
				return
			}
		}
	}
}

// life is one customer being played.
type life struct {
	shop     Shop
	number   int
	dice     *rand.Rand
	habit    habit
	family   int
	given    int
	firm     int     // of employers, or noFirm
	owner    string  // who looks after him
	known    bool    // has said who he is by now
	first    float64 // days before the end, of his first visit
	orders   int
	tickets  int
	messages []message
	facts    []fact
}

func (c *life) user() string  { return fmt.Sprintf("u-%04d", c.number) }
func (c *life) visit() string { return fmt.Sprintf("web-%d-%04d", c.shop.Seed, c.number) }

func (c *life) email() string {
	return fmt.Sprintf("%s.%s.%04d@example.com", givens[c.given].latin, families[c.family].latin, c.number)
}

// phone ends in the customer's number, so that no two have the same.
func (c *life) phone() string {
	return fmt.Sprintf("+86 138 %04d %04d", c.shop.Seed%10_000, c.number)
}

func (c *life) name() string { return families[c.family].word + givens[c.given].word }

func (c *life) reference() string {
	if c.habit.known {
		return "email:" + c.email()
	}
	return "anonymous_id:" + c.visit()
}

// live plays the customer's life, in a shop that the others know already.
func (c *life) live(others []*life) {
	c.habit = pickHabit(c.dice)
	c.family, c.given = c.dice.IntN(len(families)), c.dice.IntN(len(givens))
	c.firm, c.owner = pickFirm(c.dice), team[c.dice.IntN(len(team))]
	var orders []float64
	if c.habit.orders != nil {
		orders = c.habit.orders(c.dice, c.shop.days())
	}
	c.first = 20 + c.dice.Float64()*60
	if len(orders) > 0 {
		c.first = orders[0] + 1 + c.dice.Float64()*10
	}
	referrer := c.pickReferrer(others)
	c.arrive(referrer)
	for range c.habit.browses {
		c.browse(c.later())
	}
	for i, days := range orders {
		c.buy(c.at(days))
		if i == 0 && referrer != nil {
			referrer.converted(c, c.at(days))
		}
	}
	if c.habit.cart {
		c.fillCart(c.at(1+20*c.dice.Float64()), c.basket())
	}
	if c.habit.known {
		c.talk()
		c.reassign()
	}
}

// arrive is how he comes: by an advertisement or by himself he looks around
// before he says who he is; who was invited says so at once.
func (c *life) arrive(referrer *life) {
	at := c.at(c.first)
	switch {
	case referrer != nil:
		referrer.recommend(c, at.Add(-26*time.Hour))
		c.identify(at.Add(-time.Minute))
		c.browse(at)
	case c.habit.known:
		c.seeAdvertisement(at)
		c.browse(at)
		c.identify(at.Add(10 * time.Minute))
	default:
		c.seeAdvertisement(at)
		c.browse(at)
		return
	}
	c.work(at.Add(12 * time.Minute))
}

func pickHabit(r *rand.Rand) habit {
	total := 0
	for _, h := range habits {
		total += h.weight
	}
	n := r.IntN(total)
	for _, h := range habits {
		if n -= h.weight; n < 0 {
			return h
		}
	}
	panic("not reached: the weights sum up to total")
}

// at is so many days before the end, to the second.
func (c *life) at(daysBefore float64) time.Time {
	return c.shop.End.Add(-time.Duration(daysBefore * 24 * float64(time.Hour))).UTC().Truncate(time.Second)
}

// later is an instant after he has said who he is.
func (c *life) later() time.Time { return c.at(c.dice.Float64() * (c.first - 0.5)) }

// send adds a message and returns its id; what would lie after the end does not
// happen, and has none.
func (c *life) send(at time.Time, m message) (id string) {
	if !at.Before(c.shop.End) {
		return ""
	}
	m.Timestamp = at
	m.MessageID = fmt.Sprintf("sample-%d-%04d-%04d", c.shop.Seed, c.number, len(c.messages)+1)
	if c.known {
		m.UserID = c.user()
	}
	c.messages = append(c.messages, m)
	return m.MessageID
}

func (c *life) web(at time.Time, m message) (id string) {
	m.AnonymousID = c.visit()
	return c.send(at, m)
}

func (c *life) identify(at time.Time) {
	c.known = true
	traits := map[string]any{
		"email": c.email(),
		"phone": c.phone(),
		"name":  c.name(),
		"city":  cities[c.dice.IntN(len(cities))],
		"owner": c.owner,
	}
	if c.firm != noFirm {
		traits["industry"] = c.employer().industry
	}
	c.web(at, message{Type: "identify", Traits: traits})
}

// browse is a visit: one to four pages, and mostly a product looked at.
func (c *life) browse(at time.Time) {
	looked := products[c.dice.IntN(len(products))]
	context := c.cameFrom()
	for i := range 1 + c.dice.IntN(4) {
		path := "/"
		if i > 0 {
			path = "/" + looked.Category
		}
		c.web(at.Add(time.Duration(i)*time.Minute), message{Type: "page", Context: context, Properties: map[string]any{
			"url": "https://tea.example.com" + path, "path": path,
		}})
	}
	if c.dice.IntN(4) > 0 {
		c.web(at.Add(5*time.Minute), message{Type: "track", Event: "Product Viewed", Properties: productProperties(looked)})
	}
}

func productProperties(p product) map[string]any {
	properties := map[string]any{"product_id": p.ID, "name": p.Name, "category": p.Category, "price": p.Price, "currency": "CNY"}
	if p.Quantity > 0 {
		properties["quantity"] = p.Quantity
	}
	return properties
}

// basket is one to three products that differ.
func (c *life) basket() []product {
	var basket []product
	for _, i := range c.dice.Perm(len(products))[:1+c.dice.IntN(3)] {
		p := products[i]
		p.Quantity = 1 + c.dice.IntN(3)
		basket = append(basket, p)
	}
	return basket
}

func (c *life) fillCart(at time.Time, basket []product) {
	for i, p := range basket {
		c.web(at.Add(time.Duration(i)*time.Minute), message{Type: "track", Event: "Product Added", Properties: productProperties(p)})
	}
}

// buy is an order from the cart on: mostly delivered within a week, seldom
// cancelled or paid back.
func (c *life) buy(at time.Time) {
	c.orders++
	basket := c.basket()
	order := fmt.Sprintf("T%d-%04d-%02d", c.shop.Seed, c.number, c.orders)
	c.fillCart(at.Add(-20*time.Minute), basket)
	c.web(at.Add(-10*time.Minute), message{Type: "track", Event: "Checkout Started", Properties: map[string]any{"order_id": order}})
	revenue := 0.0
	for _, p := range basket {
		revenue += p.Price * float64(p.Quantity)
	}
	revenue = math.Round(revenue*100) / 100
	placed := map[string]any{"order_id": order, "revenue": revenue, "currency": "CNY", "products": basket}
	id := c.web(at, message{Type: "track", Event: "Order Completed", Properties: placed})
	c.mistake(at, id, placed)
	switch dice := c.dice.IntN(20); {
	case dice == 0 && c.habit.cancels:
		c.send(at.Add(3*time.Hour), message{Type: "track", Event: "Order Cancelled", Properties: map[string]any{"order_id": order}})
		return
	case dice < 18:
		delivered := at.Add(time.Duration(2+c.dice.IntN(5)) * 24 * time.Hour)
		c.send(delivered, message{Type: "track", Event: "Order Delivered", Properties: map[string]any{"order_id": order}})
		c.judge(delivered, order)
	}
	if c.dice.IntN(16) == 0 {
		p := basket[0]
		c.send(at.Add(9*24*time.Hour), message{Type: "track", Event: "Order Refunded", Properties: map[string]any{
			"order_id": order, "total": math.Round(p.Price*float64(p.Quantity)*100) / 100, "currency": "CNY", "products": []product{p},
		}})
	}
}
