package simulator

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// employer is a company that several customers work for.
type employer struct {
	id, name, industry, city string
	employees                int
}

var employers = []employer{
	{"lanhai", "蓝海科技", "软件", "深圳", 320},
	{"mingde", "明德学校", "教育", "上海", 85},
	{"heyuan", "和园酒店", "酒店", "杭州", 140},
	{"renji", "仁济诊所", "医疗", "上海", 60},
	{"yunfan", "云帆设计", "软件", "成都", 24},
	{"gongfu", "功夫茶馆", "餐饮", "广州", 18},
	{"straits", "Straits Events", "events", "Singapore", 30},
	{"northwind", "Northwind Trading", "trade", "London", 45},
}

// team is who looks after the shop's customers.
var team = []string{"陈静", "周强", "Grace Tan"}

// branchCustomers is how many customers share the firms. The next as many work for
// branches of them, so that none has more than the 1,000 events up to which a
// void is folded at once.
const branchCustomers = 200

// pickFirm is the employer of every fifth, noFirm of the others.
func pickFirm(r *rand.Rand) int {
	if r.IntN(5) > 0 {
		return noFirm
	}
	return r.IntN(len(employers))
}

const noFirm = -1

// employer is the branch of his firm that he works for.
func (c *life) employer() employer {
	f := employers[c.firm]
	if branch := (c.number-1)/branchCustomers + 1; branch > 1 {
		f.id, f.name = fmt.Sprintf("%s-%d", f.id, branch), fmt.Sprintf("%s %d", f.name, branch)
	}
	return f
}

// work says whom he works for; one in eight works elsewhere half his time with
// the shop later.
func (c *life) work(from time.Time) {
	if c.firm == noFirm {
		return
	}
	c.join(from)
	if c.dice.IntN(8) == 0 {
		c.firm = (c.firm + 1) % len(employers)
		c.join(c.at(c.first / 2))
	}
}

func (c *life) join(at time.Time) {
	f := c.employer()
	c.send(at, message{Type: "group", GroupID: f.id, Traits: map[string]any{
		"name": f.name, "industry": f.industry, "city": f.city, "employees": f.employees,
	}})
}

var talks = []struct{ channel, direction, summary string }{
	{"call", "outbound", "asked how the tea was"},
	{"call", "inbound", "问能否开专票"},
	{"visit", "outbound", "试饮新茶"},
	{"wechat", "outbound", "sent the price list"},
	{"wechat", "inbound", "想要团购价"},
	{"expo", "inbound", "came by at the fair"},
}

// talk is what the sales team has with him: much with people of companies,
// little with others.
func (c *life) talk() {
	times := c.dice.IntN(2)
	if c.firm != noFirm {
		times += 2 + c.dice.IntN(4)
	}
	for range times {
		t := talks[c.dice.IntN(len(talks))]
		c.send(c.later(), message{Type: "track", Event: "Interaction Logged", Properties: map[string]any{
			"channel": t.channel, "direction": t.direction, "summary": t.summary, "participants": []string{c.owner},
		}})
	}
}
