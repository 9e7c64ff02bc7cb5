package simulator

import "time"

// pickReferrer is who brings a new customer: of every six who buy, one was
// invited by somebody who buys and was there before. nil: he came by himself.
func (c *life) pickReferrer(others []*life) *life {
	if c.dice.IntN(6) > 0 || c.habit.orders == nil || len(others) == 0 {
		return nil
	}
	referrer := others[c.dice.IntN(len(others))]
	if referrer.orders == 0 || referrer.first < c.first+2 {
		return nil
	}
	return referrer
}

// recommend is an invitation. Whom it names is known by his address alone until
// he comes.
func (c *life) recommend(referee *life, at time.Time) {
	c.web(at, message{Type: "track", Event: "Referral Made", Properties: map[string]any{
		"referee": map[string]any{"type": "email", "value": referee.email()}, "medium": "wechat",
	}})
	if c.dice.IntN(2) == 0 {
		c.web(at.Add(time.Minute), message{Type: "track", Event: "Content Shared", Properties: map[string]any{
			"network": "朋友圈", "url": "https://tea.example.com/invite",
		}})
	}
}

// converted is the shop's thanks for an invitation, once the referee has bought.
func (c *life) converted(referee *life, at time.Time) {
	c.send(at.Add(time.Hour), message{Type: "track", Event: "Referral Converted", Properties: map[string]any{
		"referee": map[string]any{"type": "email", "value": referee.email()},
	}})
}
