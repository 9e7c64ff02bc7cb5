package simulator

import (
	"fmt"
	"time"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

// place is where a company is.
type place struct{ province, city, street string }

var places = []place{
	{"浙江", "杭州", "西湖区文三路"}, {"江苏", "苏州", "工业园区星湖街"}, {"广东", "深圳", "南山区科技园"}, {"上海", "上海", "徐汇区漕溪北路"},
	{"北京", "北京", "海淀区中关村大街"}, {"四川", "成都", "高新区天府大道"}, {"湖北", "武汉", "洪山区珞喻路"}, {"陕西", "西安", "雁塔区科技路"},
}

// abroad are companies elsewhere; the currency is theirs.
var abroad = []struct{ place, currency, form string }{
	{"München, Leopoldstraße", "EUR", "GmbH"}, {"Lyon, rue de la République", "EUR", "SAS"}, {"Austin, Congress Avenue", "USD", "Inc."},
	{"Singapore, Science Park Drive", "USD", "Pte. Ltd."},
}

var (
	trades      = []struct{ word, latin string }{{"精密机械", "Tooling"}, {"新能源", "Energy"}, {"医疗器械", "Medical"}, {"软件", "Software"}, {"物流", "Logistics"}, {"食品", "Foods"}}
	firmWords   = []string{"恒", "瑞", "华", "信", "鑫", "远", "博", "宏", "嘉", "䶮", "泰", "晟"}
	latinWords  = []string{"North", "Alder", "Falken", "Stone", "Bright", "Cedar", "River", "Hoch"}
	latinEnds   = []string{"field", "bridge", "wald", "ton", "mark"}
	jobs        = []string{"采购经理", "技术总监", "总经理", "设备工程师", "财务", "Head of Procurement"}
	salespeople = []string{"陈静", "周强", "Grace Tan", "欧阳明"}
)

// company is a record of the firm's customers.
type company struct {
	no, name, industry, province, city, address, owner string
	employees                                          int
	currency                                           string
	since                                              time.Time
}

// found makes the company known.
func (a *account) found() {
	trade := trades[a.dice.IntN(len(trades))]
	c := company{no: fmt.Sprintf("C%06d", a.number), industry: trade.word, since: a.begun, employees: 5 + a.dice.IntN(40)*a.dice.IntN(40), currency: "CNY"}
	if a.dice.IntN(6) == 0 {
		at := abroad[a.dice.IntN(len(abroad))]
		c.name = fmt.Sprintf("%s%s %s %s", pick(a, latinWords), pick(a, latinEnds), trade.latin, at.form)
		c.city, c.address, c.currency = "海外", fmt.Sprintf("%s %d", at.place, 1+a.dice.IntN(200)), at.currency
	} else {
		at := places[a.dice.IntN(len(places))]
		c.name = fmt.Sprintf("%s%s%s%s有限公司", at.city, pick(a, firmWords), pick(a, firmWords), trade.word)
		c.province, c.city = at.province, at.city
		c.address = fmt.Sprintf("%s%s%s%d号", at.province, at.city, at.street, 1+a.dice.IntN(900))
	}
	if a.dice.IntN(8) > 0 { // else nobody looks after it
		c.owner = pick(a, salespeople)
	}
	a.company = c
}

func pick[T any](a *account, from []T) T { return from[a.dice.IntN(len(from))] }

func (c company) event() *eventsv1.Event {
	return party{company: c.no}.event(c.no, c.since, eventsv1.Type_TYPE_TRAITS_SET, &eventsv1.Event{
		Payload: &eventsv1.Event_Traits{Traits: &eventsv1.Traits{Set: traits(map[string]any{
			"name": c.name, "industry": c.industry, "province": c.province, "city": c.city, "address": c.address,
			"owner": c.owner, "employees": c.employees,
		})}},
	})
}

// contact is a person who speaks for a company.
type contact struct {
	account     *account
	no, name    string
	email       string
	from, until time.Time // of the first employment; zero: to the end
}

// employment is a record of the firm's contacts: for whom one works from when
// on.
type employment struct {
	no, contact, company      string
	name, title, email, phone string
	since                     time.Time
}

// hire makes a contact known. The first is there from the beginning and stays.
func (a *account) hire() {
	from := a.begun.Add(2 * time.Minute)
	if len(a.contacts) > 0 {
		from = a.some()
	}
	from, ok := a.at(from)
	if !ok {
		return
	}
	family, given := pick(a, families), pick(a, givens)
	number := fmt.Sprintf("%06d-%d", a.number, len(a.contacts)+1)
	c := &contact{account: a, no: "P" + number, name: family.word + given.word, from: from,
		email: fmt.Sprintf("%s.%s@c%06d.example.com", given.latin, family.latin, a.number)}
	if len(a.contacts) > 0 {
		c.email = fmt.Sprintf("%s.%s%d@c%06d.example.com", given.latin, family.latin, len(a.contacts)+1, a.number)
	}
	a.contacts = append(a.contacts, c)
	phone := ""
	if a.dice.IntN(4) > 0 {
		phone = fmt.Sprintf("+86 139 %d%07d", len(a.contacts), a.number)
	}
	a.employ(c, c.email, phone, from)
}

func (a *account) employ(c *contact, email, phone string, from time.Time) {
	a.employments = append(a.employments, employment{
		no: fmt.Sprintf("E%06d-%02d", a.number, len(a.employments)+1), contact: c.no, company: a.company.no,
		name: c.name, title: pick(a, jobs), email: email, phone: phone, since: from,
	})
}

// move is a change of employer: the contact begins anew at another company, with
// another address, and orders there.
func (c *contact) move(to *account) {
	later := c.from
	if to.begun.After(later) {
		later = to.begun
	}
	left := c.account.firm.End.Sub(later)
	if left < 40*day {
		return
	}
	from, ok := to.at(later.Add(left / 2))
	if !ok {
		return
	}
	c.until = from
	to.employ(c, fmt.Sprintf("%s@c%06d.example.com", c.no, to.number), "", from)
	p := party{c.no, to.company.no}
	to.tell(p, from.Add(3*time.Hour), eventsv1.Type_TYPE_INTERACTION_LOGGED, interaction("call", "inbound", "换了东家，继续合作", salespeople[0]))
	to.order(p, from.Add(5*day))
}

func (e employment) events() []*eventsv1.Event {
	p := party{e.contact, e.company}
	told := p.event(e.no, e.since, eventsv1.Type_TYPE_TRAITS_SET, &eventsv1.Event{
		Payload: &eventsv1.Event_Traits{Traits: &eventsv1.Traits{Set: traits(map[string]any{"name": e.name, "title": e.title})}},
	})
	told.Identifiers = append(told.Identifiers, &eventsv1.Identifier{Type: "email", Value: e.email})
	if e.phone != "" {
		told.Identifiers = append(told.Identifiers, &eventsv1.Identifier{Type: "phone", Value: e.phone})
	}
	joined := party{contact: e.contact}.event(e.no, e.since, eventsv1.Type_TYPE_GROUP_JOINED, &eventsv1.Event{
		Payload: &eventsv1.Event_Group{Group: &eventsv1.Group{GroupId: e.company}},
	})
	return []*eventsv1.Event{told, joined}
}
