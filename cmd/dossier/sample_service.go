package main

import (
	"fmt"
	"time"
)

var (
	sampleTopics   = []string{"物流", "破损", "发票", "missing part", "how to use"}
	sampleChannels = []string{"wechat", "phone", "email", "chat"}
	sampleAgents   = []string{"小周", "Mei", "Tom"}
)

// judge is what a customer says of a delivery: every third rates the product,
// every eighth complains.
func (c *sampleLife) judge(delivered time.Time, order string) {
	if c.dice.IntN(3) == 0 {
		c.rate(delivered.Add(26*time.Hour), map[string]any{"order_id": order, "aspect": "product"}, 3+c.dice.IntN(3))
	}
	if c.dice.IntN(8) == 0 {
		c.complain(delivered.Add(time.Duration(1+c.dice.IntN(47)) * time.Hour))
	}
}

func (c *sampleLife) rate(at time.Time, of map[string]any, score int) {
	of["score"], of["scale"] = score, 5
	c.web(at, sampleMessage{Type: "track", Event: "Rating Given", Properties: of})
}

// complain is a service case: answered within hours, mostly resolved within
// days, now and then reopened, then rated.
func (c *sampleLife) complain(at time.Time) {
	c.tickets++
	ticket := fmt.Sprintf("K%d-%04d-%02d", c.shop.Seed, c.number, c.tickets)
	agent := sampleAgents[c.dice.IntN(len(sampleAgents))]
	step := func(after time.Duration, event string, properties map[string]any) {
		at = at.Add(after)
		properties["ticket_id"] = ticket
		c.send(at, sampleMessage{Type: "track", Event: event, Properties: properties})
	}
	step(0, "Ticket Opened", map[string]any{
		"topic": sampleTopics[c.dice.IntN(len(sampleTopics))], "channel": sampleChannels[c.dice.IntN(len(sampleChannels))],
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
