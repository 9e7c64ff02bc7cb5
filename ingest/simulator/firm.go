package simulator

import (
	"cmp"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

// firmSource is who tells the firm's events.
const firmSource = "firm"

// Firm is a made-up firm that sells to firms: its customers are companies with
// several contacts each, who click advertisements, are visited, order, complain,
// recommend, and change their employer. A function of its fields alone. What its
// people are called, what is sold to them, served and ordered is in a file each,
// firm_*.go.
//
// Every event names the contact by crm_id and the company by company_id, so that
// whose it is does not depend on the order in which events come.
type Firm struct {
	Seed uint64
	// End is when the play ends, in 2000 or later: nothing happens at or after it.
	End       time.Time
	Customers int // companies
	// Days that the play lasts, at least 120; 0 is two years.
	Days int
	// Cohort is how many companies are played together; see [Shop].
	Cohort int
}

// Check says what is wrong with the parameters.
func (f Firm) Check() error {
	// The firm's files have its local time; until 1991 that had a summer.
	if f.End.Year() < 2000 {
		return fmt.Errorf("end %s: 2000 or later wanted", f.End.Format(time.RFC3339))
	}
	return check(f.End, f.Customers, f.Days, f.Cohort)
}

// Events are all that happened.
func (f Firm) Events() iter.Seq[*eventsv1.Event] {
	return f.events(func(a *account) []*eventsv1.Event { return slices.Concat(a.recorded(), a.others) })
}

// ExportedEvents are those of [Firm.Events] that the firm's exports tell.
func (f Firm) ExportedEvents() iter.Seq[*eventsv1.Event] {
	return f.events((*account).recorded)
}

// Batches are the events, at most so many a batch.
func (f Firm) Batches(batch int) iter.Seq[*eventsv1.EventBatch] {
	return Batches(firmSource, f.Events(), batch)
}

// Calls are the batches as calls of POST /v1/events.
func (f Firm) Calls(batch int) iter.Seq[Call] {
	return func(yield func(Call) bool) {
		for b := range f.Batches(batch) {
			if !yield(protobufCall(b)) {
				return
			}
		}
	}
}

// Batches cuts events into batches of one source.
func Batches(source string, all iter.Seq[*eventsv1.Event], batch int) iter.Seq[*eventsv1.EventBatch] {
	return func(yield func(*eventsv1.EventBatch) bool) {
		b := &eventsv1.EventBatch{Source: source}
		for e := range all {
			if b.Events = append(b.Events, e); len(b.Events) < batch {
				continue
			}
			if !yield(b) {
				return
			}
			b = &eventsv1.EventBatch{Source: source}
		}
		if len(b.Events) > 0 {
			yield(b)
		}
	}
}

func (f Firm) events(of func(*account) []*eventsv1.Event) iter.Seq[*eventsv1.Event] {
	return func(yield func(*eventsv1.Event) bool) {
		for accounts := range f.cohorts() {
			var all []*eventsv1.Event
			for _, a := range accounts {
				all = append(all, of(a)...)
			}
			slices.SortStableFunc(all, func(a, b *eventsv1.Event) int { return cmp.Compare(a.Time.Seconds, b.Time.Seconds) })
			for _, e := range all {
				if !yield(e) {
					return
				}
			}
		}
	}
}

// cohorts plays the firm, cohort by cohort.
func (f Firm) cohorts() iter.Seq[[]*account] {
	size := cmp.Or(f.Cohort, defaultCohort)
	return func(yield func([]*account) bool) {
		for first := 0; first < f.Customers; first += size {
			accounts := make([]*account, min(size, f.Customers-first))
			for i := range accounts {
				accounts[i] = f.account(first + i + 1)
				accounts[i].live(accounts[:i])
			}
			if !yield(accounts) {
				return
			}
		}
	}
}

// account is one company being played. What the firm's systems keep of it are
// records, which its exports write; the rest was told and kept nowhere.
type account struct {
	firm   Firm
	number int
	dice   *rand.Rand
	begun  time.Time

	company     company
	contacts    []*contact
	employments []employment
	orders      []order
	entries     []entry
	clicks      []click
	others      []*eventsv1.Event

	tickets int
	told    int            // of others, for their ids
	taken   map[int64]bool // minutes in which something happened
}

func (f Firm) account(number int) *account {
	// Each has dice of its own: another number of companies changes none, but for
	// whom it recommends the firm to and who comes to work for it.
	return &account{firm: f, number: number, dice: rand.New(rand.NewPCG(f.Seed, 1<<32|uint64(number))), taken: map[int64]bool{}}
}

// live plays the company's life, in a firm that the others know already.
func (a *account) live(others []*account) {
	days := cmp.Or(a.firm.Days, defaultDays)
	a.begun, _ = a.at(a.firm.End.Add(-time.Duration(float64(days) * (0.35 + 0.65*a.dice.Float64()) * float64(day))))
	a.found()
	for range 1 + a.dice.IntN(4) {
		a.hire()
	}
	if len(others) > 0 && a.dice.IntN(5) == 0 {
		others[a.dice.IntN(len(others))].recommend(a)
	}
	if len(others) > 0 && len(a.contacts) > 1 && a.dice.IntN(4) == 0 {
		a.contacts[len(a.contacts)-1].move(others[a.dice.IntN(len(others))])
	}
	// Few companies do most of what is done.
	busy := int(rand.NewZipf(a.dice, 1.4, 3, 40).Uint64())
	for range 1 + a.dice.IntN(3) + busy/4 {
		a.advertise()
	}
	for range 2 + a.dice.IntN(4) + busy/3 {
		a.sell()
	}
	for range busy {
		a.buy(a.some())
	}
	for range a.dice.IntN(2 + busy/5) {
		a.complain(a.some())
	}
}

const day = 24 * time.Hour

// at is the first free minute from t on; false if that is after the end. No two
// things happen to a company in one minute, so that which of two came last never
// hangs on their ids.
func (a *account) at(t time.Time) (time.Time, bool) {
	t = t.UTC().Truncate(time.Minute)
	for a.taken[t.Unix()] {
		t = t.Add(time.Minute)
	}
	if !t.Before(a.firm.End) {
		return time.Time{}, false
	}
	a.taken[t.Unix()] = true
	return t, true
}

// some is an instant of the company's life.
func (a *account) some() time.Time {
	lived := a.firm.End.Sub(a.begun) - 4*day
	return a.begun.Add(3*day + time.Duration(a.dice.Float64()*float64(lived)))
}

// actor is a contact who works for the company at an instant.
func (a *account) actor(at time.Time) *contact {
	var there []*contact
	for _, c := range a.contacts {
		if !c.from.After(at) && (c.until.IsZero() || at.Before(c.until)) {
			there = append(there, c)
		}
	}
	return there[a.dice.IntN(len(there))]
}

// recorded are the events of what the firm's systems keep.
func (a *account) recorded() []*eventsv1.Event {
	all := []*eventsv1.Event{a.company.event()}
	for _, e := range a.employments {
		all = append(all, e.events()...)
	}
	for _, o := range a.orders {
		all = append(all, o.events()...)
	}
	for _, e := range a.entries {
		all = append(all, e.event())
	}
	for _, c := range a.clicks {
		all = append(all, c.event())
	}
	return all
}

// tell adds what no system keeps. It returns the event's id, "" if that would be
// after the end.
func (a *account) tell(who party, at time.Time, t eventsv1.Type, e *eventsv1.Event) (id string) {
	at, ok := a.at(at)
	if !ok {
		return ""
	}
	a.told++
	e = who.event(fmt.Sprintf("B%d-%06d-%04d", a.firm.Seed, a.number, a.told), at, t, e)
	a.others = append(a.others, e)
	return e.Id
}

// party is who did something: a contact, for a company.
type party struct{ contact, company string }

// event completes an event.
func (p party) event(id string, at time.Time, t eventsv1.Type, e *eventsv1.Event) *eventsv1.Event {
	e.Id, e.Type, e.Time = id, events.TypeName(t), timestamppb.New(at)
	if p.contact != "" {
		e.Identifiers = append(e.Identifiers, &eventsv1.Identifier{Type: "crm_id", Value: p.contact})
	}
	if p.company != "" {
		e.Identifiers = append(e.Identifiers, &eventsv1.Identifier{Type: events.CompanyID, Value: p.company})
	}
	return e
}

// traits leaves out what is empty.
func traits(of map[string]any) *structpb.Struct {
	for name, v := range of {
		if v == "" {
			delete(of, name)
		}
	}
	s, err := structpb.NewStruct(of)
	if err != nil {
		panic("not reached: texts and numbers are values: " + err.Error())
	}
	return s
}
