package simulator

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/dossier360/dossier/events"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

// mistake is what goes wrong when orders are told: of every 30, one is told once
// more under another number, and that is taken back; one comes with a price ten
// times too high, and that is corrected.
func (c *life) mistake(at time.Time, id string, placed map[string]any) {
	if id == "" {
		return
	}
	switch c.dice.IntN(30) {
	case 0:
		again := maps.Clone(placed)
		again["order_id"] = fmt.Sprint(placed["order_id"], "-b")
		if twice := c.send(at.Add(20*time.Minute), message{Type: "track", Event: "Order Completed", Properties: again}); twice != "" {
			c.send(at.Add(2*time.Hour), message{Type: "track", Event: "Event Voided", Properties: map[string]any{
				"event_id": twice, "reason": "typed in twice", "actor": c.owner,
			}})
		}
	case 1:
		told := &c.messages[len(c.messages)-1]
		issued := at.Add(30 * time.Hour)
		if !issued.Before(c.shop.End) {
			return
		}
		wrong := maps.Clone(placed)
		wrong["revenue"] = placed["revenue"].(float64) * 10
		told.Properties = wrong
		c.web(at, message{Type: "track", Event: "Order Completed", Properties: placed, Corrects: id, IssuedAt: &issued})
	}
}

// reassign is a fact told by hand: one in twelve is looked after by somebody else
// than the shop's system says.
func (c *life) reassign() {
	if c.dice.IntN(12) > 0 {
		return
	}
	at := c.at(c.first / 3)
	owner, err := json.Marshal(team[c.dice.IntN(len(team))])
	if err != nil {
		panic("not reached: a text is JSON: " + err.Error())
	}
	c.facts = append(c.facts, fact{
		ID:          fmt.Sprintf("hand-%d-%04d", c.shop.Seed, c.number),
		Type:        events.TypeName(eventsv1.Type_TYPE_TRAITS_SET),
		Time:        at.Format(time.RFC3339),
		Identifiers: []factIdentifier{{Type: "user_id", Value: c.user()}},
		Traits:      factTraits{Set: map[string]json.RawMessage{"owner": owner}, Manual: true, Reason: "客户要求换人", Actor: "店长"},
	})
}

// factBatch is the body of POST /v1/events, as far as a fact told by hand needs
// it.
type factBatch struct {
	Source string `json:"source"`
	Events []fact `json:"events"`
}

type fact struct {
	ID          string           `json:"id"`
	Type        string           `json:"type"`
	Time        string           `json:"time"`
	Identifiers []factIdentifier `json:"identifiers"`
	Traits      factTraits       `json:"traits"`
}

type factIdentifier struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

type factTraits struct {
	Set    map[string]json.RawMessage `json:"set"`
	Manual bool                       `json:"manual"`
	Reason string                     `json:"reason"`
	Actor  string                     `json:"actor"`
}
