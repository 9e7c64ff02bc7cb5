package profile

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/proto"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// The days of the orders section: which days have orders, when on them, and
// the gaps between them. The stages read them.

// LastPurchaseDays returns the last day with an order that counts and the one
// before it, or nil. Not to be changed.
func LastPurchaseDays(o *statev1.OrdersFacts) (last, previous *statev1.OrderDay) {
	days := o.GetDays()
	for i := len(days) - 1; i >= 0; i-- {
		switch {
		case !isPurchaseDay(days[i]):
			// Money of a refund whose order is not known.
		case last == nil:
			last = days[i]
		default:
			return last, days[i]
		}
	}
	return last, nil
}

func isPurchaseDay(d *statev1.OrderDay) bool { return d.Orders > 0 }

func findDay(o *statev1.OrdersFacts, day int32) (int, bool) {
	return slices.BinarySearchFunc(o.Days, day, func(d *statev1.OrderDay, day int32) int { return cmp.Compare(d.Day, day) })
}

// noteDay remembers the day of an event that may bring an order or money to
// it. A day stays once noted, so that the newest that fit are a function of the
// set of events. There is one of them for every day on which he ordered or was
// paid back, from 1971 on: 20,000 at worst, hence the bound.
func noteDay(o *statev1.OrdersFacts, a *application) {
	if k := a.Header.GetType(); k != eventsv1.Type_TYPE_ORDER_PLACED && k != eventsv1.Type_TYPE_ORDER_REFUNDED {
		return
	}
	day := a.env.Zone.Day(a.stamp.OccurredAt)
	if i, found := findDay(o, day); !found {
		o.Days = slices.Insert(o.Days, i, &statev1.OrderDay{Day: day})
		if n := len(o.Days) - maxTimedDays; n > 0 {
			o.Days[n-1].Times = nil
		}
		boundDays(o)
	}
	if d := keptDay(o, day); d != nil && a.Header.GetType() == eventsv1.Type_TYPE_ORDER_PLACED {
		if d.Placings++; d.Placings > maxDayTimes {
			d.Times = nil
		}
	}
}

// timed reports whether a day keeps the time of each of its orders. Days are
// only added, and so are the events of one: a day that ceased to be timed never
// is again, so nothing has to be looked up, and whether it is depends on the
// set of events alone.
func timed(o *statev1.OrdersFacts, i int) bool {
	return i >= len(o.Days)-maxTimedDays && o.Days[i].Placings <= maxDayTimes
}

// boundDays drops the oldest days. Every day may have a sum of every currency,
// so fewer fit of a customer with more of those.
func boundDays(o *statev1.OrdersFacts) {
	if n := len(o.Days) - maxDaySums/max(1, len(o.Currencies)); n > 0 {
		o.Days = slices.Delete(o.Days, 0, n)
		o.Approximate = true
		measureGaps(o)
	}
}

// keptDay is a day that was noted, nil if it was dropped since.
func keptDay(o *statev1.OrdersFacts, day int32) *statev1.OrderDay {
	if i, found := findDay(o, day); found {
		return o.Days[i]
	}
	return nil
}

// countedDays are the days with orders or money that count now.
func countedDays(o *statev1.OrdersFacts) []*statev1.OrderDay {
	var counted []*statev1.OrderDay
	for _, d := range o.Days {
		if isPurchaseDay(d) || len(d.Net) > 0 {
			counted = append(counted, d)
		}
	}
	return counted
}

// moveDay moves an order from its day before to its day after, either of which
// may be none, and keeps the times and gaps of days right.
func moveDay(o *statev1.OrdersFacts, before, after *contribution, a *application) error {
	if before.counted == after.counted && before.at == after.at && before.delivered == after.delivered {
		return nil
	}
	purchaseDays := false // whether a day became or ceased to be one
	if i, found := findDay(o, before.day); before.counted && found {
		d := o.Days[i]
		d.Orders--
		d.Delivered -= one(before.delivered)
		if at, found := slices.BinarySearch(d.Times, before.at); found {
			d.Times = slices.Delete(d.Times, at, at+1)
		}
		switch {
		case d.Orders == 0:
			d.FirstAt, d.LastAt, purchaseDays = 0, 0, true
		case timed(o, i):
			d.FirstAt, d.LastAt = d.Times[0], d.Times[len(d.Times)-1]
		case losesExtreme(d, before, after):
			if err := scanDay(d, a); err != nil {
				return err
			}
		}
	}
	if i, found := findDay(o, after.day); after.counted && found {
		d := o.Days[i]
		if timed(o, i) {
			at, _ := slices.BinarySearch(d.Times, after.at)
			d.Times = slices.Insert(d.Times, at, after.at)
		}
		if d.Orders == 0 {
			d.FirstAt, d.LastAt, purchaseDays = after.at, after.at, true
		}
		d.FirstAt, d.LastAt = min(d.FirstAt, after.at), max(d.LastAt, after.at)
		d.Orders++
		d.Delivered += one(after.delivered)
	}
	if purchaseDays {
		measureGaps(o)
	}
	return nil
}

// losesExtreme reports whether the first or last time of a day may no longer
// be right after an order moved away from it, other orders staying. Where the
// order only moves further out, as when a later telling of the newest order
// wins, it is not lost.
func losesExtreme(d *statev1.OrderDay, before, after *contribution) bool {
	stays := after.counted && after.day == before.day
	return before.at == d.FirstAt && !(stays && after.at <= before.at) ||
		before.at == d.LastAt && !(stays && after.at >= before.at)
}

// scanDay finds the first and last order of a day among the customer's rows.
// It is the only place that reads them all, some 80 ms of a customer with
// 20,000 orders, and rarely reached: when the first or last of several orders
// of a day is cancelled or turns out to be of another time, and the day is not
// timed: it is older than 31 others, or 65 orders or more were told of it.
func scanDay(d *statev1.OrderDay, a *application) error {
	d.FirstAt, d.LastAt = 0, 0
	return a.rows.Scan(RowOrder, func(_, value []byte) error {
		row := &statev1.OrderRow{}
		if err := proto.Unmarshal(value, row); err != nil {
			return err
		}
		if row.Placed == nil || row.Cancelled || a.env.Zone.Day(row.Placed.OccurredAt) != d.Day {
			return nil
		}
		at := row.Placed.OccurredAt
		if d.FirstAt == 0 || at < d.FirstAt {
			d.FirstAt = at
		}
		d.LastAt = max(d.LastAt, at)
		return nil
	})
}

// measureGaps works out the number of purchase days and the medians of the
// gaps between them, with and without the last day.
func measureGaps(o *statev1.OrdersFacts) {
	var gaps []uint32
	o.PurchaseDays = 0
	var last int32
	for _, d := range o.Days {
		if !isPurchaseDay(d) {
			continue
		}
		if o.PurchaseDays > 0 {
			gaps = append(gaps, uint32(d.Day-last))
		}
		last = d.Day
		o.PurchaseDays++
	}
	var newest uint32
	if n := len(gaps); n > 0 {
		newest = gaps[n-1]
	}
	slices.Sort(gaps)
	o.Median2 = median2(gaps)
	if i, found := slices.BinarySearch(gaps, newest); found {
		gaps = slices.Delete(gaps, i, i+1)
	}
	o.PreviousMedian2 = median2(gaps)
}

// median2 is twice the median of a sorted list; 0 of none.
func median2(sorted []uint32) uint32 {
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return sorted[(n-1)/2] + sorted[n/2]
}
