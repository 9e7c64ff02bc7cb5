package simulator

import (
	"fmt"
	"time"
)

var (
	topics   = []string{"物流", "破损", "发票", "missing part", "how to use"}
	channels = []string{"wechat", "phone", "email", "chat"}
	agents   = []string{"小周", "Mei", "Tom"}
)

// judge is what a customer says of a delivery: every third rates the product,
// every eighth complains.
func (c *life) judge(delivered time.Time, order string) {
	if c.dice.IntN(3) == 0 {
		c.rate(delivered.Add(26*time.Hour), map[string]any{"order_id": order, "aspect": "product"}, 3+c.dice.IntN(3))
	}
	if c.dice.IntN(8) == 0 {
		c.complain(delivered.Add(time.Duration(1+c.dice.IntN(47)) * time.Hour))
	}
}

func (c *life) rate(at time.Time, of map[string]any, score int) {
	of["score"], of["scale"] = score, 5
	c.web(at, message{Type: "track", Event: "Rating Given", Properties: of})
}

// complain is a service case: answered within hours, mostly resolved within
// days, now and then reopened, then rated.
func (c *life) complain(at time.Time) {
	c.tickets++
	ticket := fmt.Sprintf("K%d-%04d-%02d", c.shop.Seed, c.number, c.tickets)
	agent := agents[c.dice.IntN(len(agents))]
	step := func(after time.Duration, event string, properties map[string]any) {
		at = at.Add(after)
		properties["ticket_id"] = ticket
		c.send(at, message{Type: "track", Event: event, Properties: properties})
	}
	step(0, "Ticket Opened", map[string]any{
		"topic": topics[c.dice.IntN(len(topics))], "channel": channels[c.dice.IntN(len(channels))],
	})
	step(time.Duration(10+c.dice.IntN(240))*time.Minute, "Ticket Replied", map[string]any{"agent": agent, "author": "agent"})
	if c.dice.IntN(10) == 0 {
		return // nobody comes back to it
	}
	step(time.Duration(2+c.dice.IntN(60))*time.Hour, "Ticket Resolved", map[string]any{"agent": agent})
	score := 3 + c.dice.IntN(3)
	if c.dice.IntN(4) == 0 {
		step(5*time.Hour, "Ticket Reopened", map[string]any{})
		step(time.Duration(12+c.dice.IntN(60))*time.Hour, "Ticket Resolved", map[string]any{"agent": agent})
		score -= 2
	}
	if c.dice.IntN(3) > 0 {
		c.rate(at.Add(3*time.Hour), map[string]any{"ticket_id": ticket, "aspect": "service"}, score)
	}
}
