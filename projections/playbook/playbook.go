// Package playbook says where a customer stands.
//
// A rule is an [Evaluate]: a function of facts and settled time alone. It
// promises the standing law: equal facts at an equal instant give an equal
// verdict, and the verdict stays as it is from that instant until the flip it
// names. So nothing ever has to look at all customers because time passed: the
// flip becomes the customer's timer.
//
// [BuiltinStages] is the stage table compiled in. A playbook in the log
// compiles to the same type.
package playbook

import (
	"strconv"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/profile"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// Verdict is what a rule found, and what it saw.
type Verdict struct {
	Stage string
	Rule  string // name of the row that held
	// What the rule looked at: name, value, name, value, … It is part of the
	// verdict and does not change before the flip either.
	Values []string
}

// Evaluate judges the facts of a customer at settled time `at`, microseconds.
// flips is the least instant after `at` at which the verdict changes if
// nothing happens; 0 is never.
type Evaluate func(f *statev1.Facts, at int64) (v Verdict, flips int64)

// BuiltinVersion names [BuiltinStages] in Genesis.
const BuiltinVersion = "builtin/1"

// The stages of the table, its top row first.
const (
	StageLost         = "lost"
	StageDormant      = "dormant"
	StageWonBack      = "won_back"
	StageRepeat       = "repeat"
	StageUser         = "user"
	StageCustomer     = "customer"
	StageOpportunity  = "opportunity"
	StagePotential    = "potential"
	StageUnidentified = "unidentified"
)

// A day is always 24 hours here: silence is measured on the clock, not on the
// calendar. All instants and spans are microseconds.
const (
	day = 24 * 60 * 60 * 1_000_000

	opportunitySpan = 30 * day
	leastDormant    = 30 * day
	leastLost       = 90 * day

	// loneMedian2 is twice the median gap, in days, of who has bought on one
	// day only and so has no gap.
	loneMedian2 = 2 * 30
	// maxMedian2 keeps spans within an int64: 45,000 years.
	maxMedian2 = 1 << 24
)

// BuiltinStages is the default stage table; the top row that holds wins. With
// n purchase days, L the instant of the last order that counts, and m the
// median gap of the purchase days in days (30 for n = 1):
//
//	lost          n ≥ 1, from L + max(90 d, 6 m) on
//	dormant       n ≥ 1, from L + max(30 d, 3 m) on
//	won_back      n ≥ 2, the first order of the last day came max(90 d, 6 m) or
//	              more after the last order of the day before it, with m of the
//	              days before the last
//	repeat        n ≥ 2
//	user          n = 1, an order of that day was delivered
//	customer      n = 1
//	opportunity   n = 0, identified, a cart is open: until 30 d after a product
//	              was last added to it or a checkout step made
//	potential     n = 0, identified
//	unidentified  otherwise
//
// Only silence and the age of an open cart flip a verdict by time. An order
// ahead of settled time is no special case: its silence has not begun.
func BuiltinStages(f *statev1.Facts, at int64) (Verdict, int64) {
	last, previous := profile.LastPurchaseDays(f.GetOrders())
	if last == nil {
		return prospect(f, at)
	}
	o := f.GetOrders()
	dormantAfter, lostAfter := silences(o.GetMedian2())
	dormantAt, lostAt := last.LastAt+dormantAfter, last.LastAt+lostAfter
	values := []string{
		"purchaseDays", strconv.FormatUint(uint64(o.GetPurchaseDays()), 10),
		"lastAt", instant(last.LastAt),
		"dormantAt", instant(dormantAt),
		"lostAt", instant(lostAt),
	}
	switch {
	case at >= lostAt:
		return Verdict{StageLost, StageLost, values}, 0
	case at >= dormantAt:
		return Verdict{StageDormant, StageDormant, values}, lostAt
	}
	stage := StageRepeat
	switch {
	case previous == nil && last.Delivered > 0:
		stage = StageUser
	case previous == nil:
		stage = StageCustomer
	default:
		_, lostAfter := silences(o.GetPreviousMedian2())
		values = append(values, "previousDayLastAt", instant(previous.LastAt), "lastDayFirstAt", instant(last.FirstAt))
		if last.FirstAt-previous.LastAt >= lostAfter {
			stage = StageWonBack
		}
	}
	return Verdict{stage, stage, values}, dormantAt
}

// silences are the spans after which silence counts, 3 and 6 medians but at
// least 30 and 90 days. median2 is twice the median in days, 0 if none.
func silences(median2 uint32) (dormantAfter, lostAfter int64) {
	if median2 == 0 {
		median2 = loneMedian2
	}
	median := int64(min(median2, maxMedian2)) * (day / 2)
	return max(leastDormant, 3*median), max(leastLost, 6*median)
}

// prospect judges who has no order that counts.
func prospect(f *statev1.Facts, at int64) (Verdict, int64) {
	if !profile.Identified(f) {
		return Verdict{Stage: StageUnidentified, Rule: StageUnidentified}, 0
	}
	interest := f.GetCart().GetInterestAt()
	if interest == 0 {
		return Verdict{Stage: StagePotential, Rule: StagePotential}, 0
	}
	ends := interest + opportunitySpan
	values := []string{"interestAt", instant(interest), "endsAt", instant(ends)}
	if at >= ends {
		return Verdict{StagePotential, StagePotential, values}, 0
	}
	return Verdict{StageOpportunity, StageOpportunity, values}, ends
}

// instant writes microseconds for people, as the contract writes times.
func instant(micros int64) string {
	return events.FromMicros(micros).Format("2006-01-02T15:04:05.999999Z07:00")
}
