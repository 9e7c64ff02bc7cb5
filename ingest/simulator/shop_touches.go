package simulator

import "time"

// ad is a campaign of the shop, as trackers tell it: in the words
// of the West or of China, and never by the name of its channel.
type ad struct{ source, medium, name string }

var ads = []ad{
	{"wechat", "social", "spring-tea"},
	{"baidu", "cpc", "longjing"},
	{"抖音", "信息流", "双十一"},
	{"小红书", "达人", "紫砂壶"},
	{"google", "organic", "tea shop"},
	{"newsletter", "email", "new harvest"},
	{"instagram", "paid_social", "teapots"},
	{"广交会", "展会", "autumn fair"},
}

func (a ad) campaign() map[string]any {
	return map[string]any{"source": a.source, "medium": a.medium, "name": a.name}
}

// seeAdvertisement is what may happen before a first visit: an advertisement is
// seen elsewhere, and mostly clicked.
func (c *life) seeAdvertisement(at time.Time) {
	if c.dice.IntN(2) == 0 {
		return
	}
	seen := ads[c.dice.IntN(len(ads))]
	properties := map[string]any{"campaign": seen.name, "source": seen.source, "medium": seen.medium, "cost": 0.8, "currency": "CNY"}
	c.web(at.Add(-3*time.Minute), message{Type: "track", Event: "Ad Viewed", Properties: properties})
	if c.dice.IntN(3) > 0 {
		c.web(at.Add(-time.Minute), message{Type: "track", Event: "Ad Clicked", Properties: properties})
	}
}

// cameFrom is the context of a visit: every third comes from a campaign.
func (c *life) cameFrom() map[string]any {
	if c.dice.IntN(3) > 0 {
		return nil
	}
	return map[string]any{"campaign": ads[c.dice.IntN(len(ads))].campaign()}
}
