package simulator

import (
	"fmt"
	"time"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

var (
	faults     = []string{"安装", "校准", "Ersatzteil", "发票", "late delivery"}
	priorities = []string{"high", "normal", "low", ""}
	desks      = []string{"phone", "email", "wechat", ""}
	engineers  = []string{"小周", "Mei", "Herr Braun"}
)

// The states of a case.
const (
	stateOpened   = "opened"
	stateReplied  = "replied"
	stateResolved = "resolved"
	stateReopened = "reopened"
	stateClosed   = "closed"
	stateRated    = "rated"
)

// entry is a record of the service desk's log: a change of a case's state. What
// the desk did not note is empty.
type entry struct {
	no, ticket, state               string
	who                             party
	at                              time.Time
	topic, channel, priority, agent string
	score                           int64 // of rated
}

// complain is a case: opened, answered, resolved, often reopened, at last
// closed and rated; or forgotten.
func (a *account) complain(at time.Time) {
	a.tickets++
	of := entry{
		ticket: fmt.Sprintf("S%d-%06d-%02d", a.firm.Seed, a.number, a.tickets), who: party{a.actor(at).no, a.company.no},
		topic: pick(a, faults), channel: pick(a, desks), priority: pick(a, priorities),
	}
	agent := pick(a, engineers)
	step := func(after time.Duration, state string) bool {
		when, ok := a.at(at.Add(after))
		if !ok {
			return false
		}
		e := of
		e.no, e.state, e.at = fmt.Sprintf("L%06d-%04d", a.number, len(a.entries)+1), state, when
		switch state {
		case stateOpened:
		case stateRated:
			e.score = int64(1 + a.dice.IntN(5))
		default:
			e.agent = agent
		}
		a.entries = append(a.entries, e)
		at = when
		return true
	}
	hours := func(least, most int) time.Duration {
		return time.Duration(least*60+a.dice.IntN((most-least)*60)) * time.Minute
	}
	ok := step(0, stateOpened) && step(hours(0, 20)+time.Minute, stateReplied)
	if a.dice.IntN(12) == 0 {
		return // nobody comes back to it
	}
	ok = ok && step(hours(2, 60), stateResolved)
	for a.dice.IntN(3) == 0 {
		ok = ok && step(hours(1, 90), stateReopened) && step(hours(0, 9)+time.Minute, stateReplied) && step(hours(2, 60), stateResolved)
	}
	if ok = ok && step(hours(24, 72), stateClosed); ok && a.dice.IntN(2) == 0 {
		step(hours(1, 40), stateRated)
	}
}

// entryTypes are the events of the states.
var entryTypes = map[string]eventsv1.Type{
	stateOpened: eventsv1.Type_TYPE_TICKET_OPENED, stateReplied: eventsv1.Type_TYPE_TICKET_REPLIED, stateResolved: eventsv1.Type_TYPE_TICKET_RESOLVED,
	stateReopened: eventsv1.Type_TYPE_TICKET_REOPENED, stateClosed: eventsv1.Type_TYPE_TICKET_CLOSED, stateRated: eventsv1.Type_TYPE_RATING_GIVEN,
}

func (e entry) event() *eventsv1.Event {
	told := &eventsv1.Event{}
	if e.state == stateRated {
		score := micros(e.score * 100)
		told.Payload = &eventsv1.Event_Rating{Rating: &eventsv1.Rating{TicketId: e.ticket, Aspect: "service", ScoreMicros: &score}}
	} else {
		told.Payload = &eventsv1.Event_Ticket{Ticket: &eventsv1.Ticket{
			TicketId: e.ticket, Topic: e.topic, Channel: e.channel, Priority: e.priority, Agent: e.agent,
		}}
	}
	return e.who.event(e.no, e.at, entryTypes[e.state], told)
}
