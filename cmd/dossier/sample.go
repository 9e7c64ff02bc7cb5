package main

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

const (
	sampleDays = 2 * 365
	// sampleBatchEvents keeps a batch far below what one call may bring.
	sampleBatchEvents = 400
)

// sampleShop is a made-up shop: some customers, and all that they did there in
// the two years before End, as a web tracker and a shop's back end would send
// it on the Segment wire, and a sales team by hand. A function of its fields
// alone. What brings customers, what they complain of, whom they bring, whom
// they work for and what was told wrongly is in a file each, sample_*.go.
type sampleShop struct {
	Seed      uint64
	End       time.Time // nothing happens at or after it
	Customers int
}

// sampleHabit is how a kind of customer behaves.
type sampleHabit struct {
	name    string
	weight  int
	orders  func(r *rand.Rand) []float64 // days before End, descending
	browses int                          // visits without an order
	cancels bool                         // takes an order back now and then
	cart    bool                         // leaves a filled cart behind at the end
	known   bool                         // is ever identified
}

// sampleHabits cover the stages: who buys on and on, who stopped, who came
// back, who bought once, who only looks, who never says his name.
var sampleHabits = []sampleHabit{
	{name: "regular", weight: 24, orders: regularOrders(24, 0), browses: 6, cancels: true, known: true},
	{name: "dormant", weight: 12, orders: regularOrders(20, 75), browses: 4, cancels: true, known: true},
	{name: "lost", weight: 20, orders: regularOrders(26, 260), browses: 4, cancels: true, known: true},
	{name: "won_back", weight: 8, orders: wonBackOrders, browses: 6, known: true},
	{name: "once", weight: 12, orders: onceOrders, browses: 3, known: true},
	{name: "cart", weight: 8, browses: 5, cart: true, known: true},
	{name: "subscriber", weight: 6, browses: 4, known: true},
	{name: "visitor", weight: 10, browses: 3},
}

// regularOrders come every gap days, give or take a fifth, and stop `silent`
// days before the end.
func regularOrders(gap, silent float64) func(*rand.Rand) []float64 {
	return func(r *rand.Rand) []float64 {
		var days []float64
		for at := silent + 1 + r.Float64()*gap*0.8; at < sampleDays-30 && len(days) < 16; {
			days = append(days, at)
			at += gap * (0.8 + 0.4*r.Float64())
		}
		slices.Reverse(days)
		return days
	}
}

// wonBackOrders are a few, a silence of most of a year, and one lately.
func wonBackOrders(r *rand.Rand) []float64 {
	last := 2 + 18*r.Float64()
	before := last + 300 + 60*r.Float64()
	return []float64{before + 40, before + 20, before, last}
}

func onceOrders(r *rand.Rand) []float64 { return []float64{1 + 24*r.Float64()} }

type sampleProduct struct {
	ID       string  `json:"product_id"`
	Name     string  `json:"name"`
	Category string  `json:"category"`
	Price    float64 `json:"price"`
	Quantity int     `json:"quantity,omitempty"`
}

var sampleProducts = []sampleProduct{
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
	sampleFamilies = []struct{ word, latin string }{{"李", "li"}, {"王", "wang"}, {"张", "zhang"}, {"刘", "liu"}, {"陈", "chen"}, {"杨", "yang"}, {"赵", "zhao"}, {"黄", "huang"}}
	sampleGivens   = []struct{ word, latin string }{{"娜", "na"}, {"伟", "wei"}, {"芳", "fang"}, {"敏", "min"}, {"静", "jing"}, {"磊", "lei"}, {"洋", "yang"}, {"艳", "yan"}, {"勇", "yong"}, {"杰", "jie"}}
	sampleCities   = []string{"上海", "北京", "广州", "深圳", "成都", "杭州", "Singapore", "London"}
)

// sampleMessage is one call of the Segment wire.
type sampleMessage struct {
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

// sampleCall is one call of the ingest side.
type sampleCall struct {
	Path string
	Body []byte
}

// sampleCustomer is one of the customers, as the demo shows them.
type sampleCustomer struct {
	Reference string // how to ask for him
	Habit     string
	Orders    int
}

// sample is the shop's whole history.
type sample struct {
	Customers []sampleCustomer
	Events    int
	Calls     []sampleCall // what a tracker and a shop send, in order of time; at last what is told by hand
}

// build plays the two years.
func (s sampleShop) build() (sample, error) {
	lives := make([]*sampleLife, s.Customers)
	for i := range lives {
		// Each has dice of his own: another number of customers changes no one,
		// but for whom he recommends the shop to.
		lives[i] = &sampleLife{shop: s, number: i + 1, dice: rand.New(rand.NewPCG(s.Seed, uint64(i)+1))}
		lives[i].live(lives[:i])
	}
	var (
		out      sample
		messages []sampleMessage
		facts    []handEvent
	)
	for _, c := range lives {
		messages, facts = append(messages, c.messages...), append(facts, c.facts...)
		out.Customers = append(out.Customers, sampleCustomer{Reference: c.reference(), Habit: c.habit.name, Orders: c.orders})
	}
	slices.SortStableFunc(messages, func(a, b sampleMessage) int { return a.Timestamp.Compare(b.Timestamp) })
	out.Events = len(messages) + len(facts)
	for batch := range slices.Chunk(messages, sampleBatchEvents) {
		if err := out.call("/v1/batch", map[string]any{"batch": batch}); err != nil {
			return sample{}, err
		}
	}
	for batch := range slices.Chunk(facts, sampleBatchEvents) {
		if err := out.call("/v1/events", handBatch{Source: "crm", Events: batch}); err != nil {
			return sample{}, err
		}
	}
	return out, nil
}

func (s *sample) call(path string, body any) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode sample call of %s: %w", path, err)
	}
	s.Calls = append(s.Calls, sampleCall{path, encoded})
	return nil
}

// sampleLife is one customer being played.
type sampleLife struct {
	shop     sampleShop
	number   int
	dice     *rand.Rand
	habit    sampleHabit
	family   int
	given    int
	firm     int     // of sampleFirms, or noFirm
	owner    string  // who looks after him
	known    bool    // has said who he is by now
	first    float64 // days before the end, of his first visit
	orders   int
	tickets  int
	messages []sampleMessage
	facts    []handEvent
}

func (c *sampleLife) user() string  { return fmt.Sprintf("u-%04d", c.number) }
func (c *sampleLife) visit() string { return fmt.Sprintf("web-%d-%04d", c.shop.Seed, c.number) }

func (c *sampleLife) email() string {
	return fmt.Sprintf("%s.%s.%04d@example.com", sampleGivens[c.given].latin, sampleFamilies[c.family].latin, c.number)
}

// phone ends in the customer's number, so that no two have the same.
func (c *sampleLife) phone() string {
	return fmt.Sprintf("+86 138 %04d %04d", c.shop.Seed%10_000, c.number)
}

func (c *sampleLife) name() string { return sampleFamilies[c.family].word + sampleGivens[c.given].word }

func (c *sampleLife) reference() string {
	if c.habit.known {
		return "email:" + c.email()
	}
	return "anonymous_id:" + c.visit()
}

// live plays the customer's two years, in a shop that the others know already.
func (c *sampleLife) live(others []*sampleLife) {
	c.habit = pickHabit(c.dice)
	c.family, c.given = c.dice.IntN(len(sampleFamilies)), c.dice.IntN(len(sampleGivens))
	c.firm, c.owner = pickFirm(c.dice), sampleTeam[c.dice.IntN(len(sampleTeam))]
	var orders []float64
	if c.habit.orders != nil {
		orders = c.habit.orders(c.dice)
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
func (c *sampleLife) arrive(referrer *sampleLife) {
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

func pickHabit(r *rand.Rand) sampleHabit {
	total := 0
	for _, h := range sampleHabits {
		total += h.weight
	}
	n := r.IntN(total)
	for _, h := range sampleHabits {
		if n -= h.weight; n < 0 {
			return h
		}
	}
	panic("not reached: the weights sum up to total")
}

// at is so many days before the end, to the second.
func (c *sampleLife) at(daysBefore float64) time.Time {
	return c.shop.End.Add(-time.Duration(daysBefore * 24 * float64(time.Hour))).UTC().Truncate(time.Second)
}

// later is an instant after he has said who he is.
func (c *sampleLife) later() time.Time { return c.at(c.dice.Float64() * (c.first - 0.5)) }

// send adds a message and returns its id; what would lie after the end does not
// happen, and has none.
func (c *sampleLife) send(at time.Time, m sampleMessage) (id string) {
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

func (c *sampleLife) web(at time.Time, m sampleMessage) (id string) {
	m.AnonymousID = c.visit()
	return c.send(at, m)
}

func (c *sampleLife) identify(at time.Time) {
	c.known = true
	traits := map[string]any{
		"email": c.email(),
		"phone": c.phone(),
		"name":  c.name(),
		"city":  sampleCities[c.dice.IntN(len(sampleCities))],
		"owner": c.owner,
	}
	if c.firm != noFirm {
		traits["industry"] = c.employer().industry
	}
	c.web(at, sampleMessage{Type: "identify", Traits: traits})
}

// browse is a visit: one to four pages, and mostly a product looked at.
func (c *sampleLife) browse(at time.Time) {
	product := sampleProducts[c.dice.IntN(len(sampleProducts))]
	context := c.cameFrom()
	for i := range 1 + c.dice.IntN(4) {
		path := "/"
		if i > 0 {
			path = "/" + product.Category
		}
		c.web(at.Add(time.Duration(i)*time.Minute), sampleMessage{Type: "page", Context: context, Properties: map[string]any{
			"url": "https://tea.example.com" + path, "path": path,
		}})
	}
	if c.dice.IntN(4) > 0 {
		c.web(at.Add(5*time.Minute), sampleMessage{Type: "track", Event: "Product Viewed", Properties: productProperties(product)})
	}
}

func productProperties(p sampleProduct) map[string]any {
	properties := map[string]any{"product_id": p.ID, "name": p.Name, "category": p.Category, "price": p.Price, "currency": "CNY"}
	if p.Quantity > 0 {
		properties["quantity"] = p.Quantity
	}
	return properties
}

// basket is one to three products that differ.
func (c *sampleLife) basket() []sampleProduct {
	var basket []sampleProduct
	for _, i := range c.dice.Perm(len(sampleProducts))[:1+c.dice.IntN(3)] {
		p := sampleProducts[i]
		p.Quantity = 1 + c.dice.IntN(3)
		basket = append(basket, p)
	}
	return basket
}

func (c *sampleLife) fillCart(at time.Time, basket []sampleProduct) {
	for i, p := range basket {
		c.web(at.Add(time.Duration(i)*time.Minute), sampleMessage{Type: "track", Event: "Product Added", Properties: productProperties(p)})
	}
}

// buy is an order from the cart on: mostly delivered within a week, seldom
// cancelled or paid back.
func (c *sampleLife) buy(at time.Time) {
	c.orders++
	basket := c.basket()
	order := fmt.Sprintf("T%d-%04d-%02d", c.shop.Seed, c.number, c.orders)
	c.fillCart(at.Add(-20*time.Minute), basket)
	c.web(at.Add(-10*time.Minute), sampleMessage{Type: "track", Event: "Checkout Started", Properties: map[string]any{"order_id": order}})
	revenue := 0.0
	for _, p := range basket {
		revenue += p.Price * float64(p.Quantity)
	}
	revenue = math.Round(revenue*100) / 100
	placed := map[string]any{"order_id": order, "revenue": revenue, "currency": "CNY", "products": basket}
	id := c.web(at, sampleMessage{Type: "track", Event: "Order Completed", Properties: placed})
	c.mistake(at, id, placed)
	switch dice := c.dice.IntN(20); {
	case dice == 0 && c.habit.cancels:
		c.send(at.Add(3*time.Hour), sampleMessage{Type: "track", Event: "Order Cancelled", Properties: map[string]any{"order_id": order}})
		return
	case dice < 18:
		delivered := at.Add(time.Duration(2+c.dice.IntN(5)) * 24 * time.Hour)
		c.send(delivered, sampleMessage{Type: "track", Event: "Order Delivered", Properties: map[string]any{"order_id": order}})
		c.judge(delivered, order)
	}
	if c.dice.IntN(16) == 0 {
		p := basket[0]
		c.send(at.Add(9*24*time.Hour), sampleMessage{Type: "track", Event: "Order Refunded", Properties: map[string]any{
			"order_id": order, "total": math.Round(p.Price*float64(p.Quantity)*100) / 100, "currency": "CNY", "products": []sampleProduct{p},
		}})
	}
}

// favourites picks one customer of each habit named, the one with most orders.
func (s sample) favourites(habits ...string) []sampleCustomer {
	var picked []sampleCustomer
	for _, habit := range habits {
		best := -1
		for i, c := range s.Customers {
			if strings.EqualFold(c.Habit, habit) && (best < 0 || c.Orders > s.Customers[best].Orders) {
				best = i
			}
		}
		if best >= 0 {
			picked = append(picked, s.Customers[best])
		}
	}
	return picked
}
