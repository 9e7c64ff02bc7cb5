package simulator

import (
	"fmt"
	"time"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

// campaigns of the firm; cost in cents a click.
var campaigns = []struct {
	name, source, medium string
	cost                 int64
}{
	{"春季传感器", "baidu", "cpc", 380},
	{"industrie-herbst", "google", "cpc", 215},
	{"LinkedIn engineers", "linkedin", "paid_social", 540},
	{"行业媒体专题", "机电商情", "信息流", 120},
	{"广交会预热", "wechat", "social", 65},
}

// click is a record of the advertisement platforms.
type click struct {
	no   string
	who  party
	at   time.Time
	of   int   // of campaigns
	cost int64 // in cents
}

// advertise shows an advertisement to somebody, who mostly clicks it and looks
// at some pages.
func (a *account) advertise() {
	at := a.some()
	c, of := a.actor(at), a.dice.IntN(len(campaigns))
	who, ad := party{c.no, a.company.no}, campaigns[of]
	touch := &eventsv1.AdTouch{Campaign: ad.name, Source: ad.source, Medium: ad.medium}
	a.tell(who, at, eventsv1.Type_TYPE_AD_VIEWED, &eventsv1.Event{Payload: &eventsv1.Event_Ad{Ad: touch}})
	if a.dice.IntN(3) == 0 {
		return
	}
	if at, ok := a.at(at.Add(2 * time.Minute)); ok {
		a.clicks = append(a.clicks, click{
			no: fmt.Sprintf("AC%06d-%03d", a.number, len(a.clicks)+1), who: who, at: at, of: of, cost: ad.cost + a.dice.Int64N(100),
		})
	}
	for i := range 1 + a.dice.IntN(4) {
		a.tell(who, at.Add(time.Duration(3+2*i)*time.Minute), eventsv1.Type_TYPE_PAGE_VIEWED, &eventsv1.Event{
			Context: &eventsv1.Context{Campaign: &eventsv1.Campaign{Source: ad.source, Medium: ad.medium, Name: ad.name}},
			Payload: &eventsv1.Event_View{View: &eventsv1.View{Url: "https://parts.example.com/" + goods[a.dice.IntN(len(goods))].no, Title: "Produkt"}},
		})
	}
}

func (c click) event() *eventsv1.Event {
	ad, cost := campaigns[c.of], micros(c.cost)
	return c.who.event(c.no, c.at, eventsv1.Type_TYPE_AD_CLICKED, &eventsv1.Event{Payload: &eventsv1.Event_Ad{Ad: &eventsv1.AdTouch{
		Campaign: ad.name, Source: ad.source, Medium: ad.medium, CostMicros: &cost, Currency: "CNY",
	}}})
}

var dealings = []struct{ channel, direction, summary string }{
	{"visit", "outbound", "现场勘查，看了两条产线"},
	{"visit", "outbound", "Jahresgespräch"},
	{"meeting", "outbound", "技术交流，确认接口"},
	{"call", "inbound", "asked for the delivery date"},
	{"call", "outbound", "回访"},
	{"quote", "outbound", "报价 A 方案"},
	{"quote", "inbound", "要求降价 5%"},
	{"wechat", "inbound", "发来图纸"},
	{"expo", "inbound", "在展台留了名片"},
}

// sell is what the sales team does for a company: quotes, visits, meetings,
// calls; seldom somebody else is to look after it.
func (a *account) sell() {
	at := a.some()
	c, d := a.actor(at), pick(a, dealings)
	a.tell(party{c.no, a.company.no}, at, eventsv1.Type_TYPE_INTERACTION_LOGGED, interaction(d.channel, d.direction, d.summary, pick(a, salespeople)))
	if a.dice.IntN(30) == 0 {
		a.tell(party{company: a.company.no}, at.Add(time.Hour), eventsv1.Type_TYPE_TRAITS_SET, &eventsv1.Event{
			Payload: &eventsv1.Event_Traits{Traits: &eventsv1.Traits{
				Set: traits(map[string]any{"owner": pick(a, salespeople)}), Manual: true, Reason: "片区调整", Actor: "销售总监",
			}},
		})
	}
}

func interaction(channel, direction, summary, with string) *eventsv1.Event {
	return &eventsv1.Event{Payload: &eventsv1.Event_Interaction{Interaction: &eventsv1.Interaction{
		Channel: channel, Direction: direction, Summary: summary, Participants: []string{with},
	}}}
}

// recommend is how another company came: the first contact of this one told the
// first of that one, a week before.
func (a *account) recommend(to *account) {
	who := a.contacts[0]
	at := to.begun.Add(-7 * day)
	if at.Before(a.begun.Add(day)) || len(to.contacts) == 0 {
		return
	}
	referee := &eventsv1.Referral{Referee: &eventsv1.Identifier{Type: "email", Value: to.contacts[0].email}, Medium: "wechat"}
	a.tell(party{who.no, a.company.no}, at, eventsv1.Type_TYPE_REFERRAL_MADE, &eventsv1.Event{Payload: &eventsv1.Event_Referral{Referral: referee}})
	a.tell(party{who.no, a.company.no}, at.Add(12*day), eventsv1.Type_TYPE_REFERRAL_CONVERTED, &eventsv1.Event{
		Payload: &eventsv1.Event_Referral{Referral: &eventsv1.Referral{Referee: referee.Referee}},
	})
}
