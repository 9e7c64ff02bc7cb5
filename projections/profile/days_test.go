package profile_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/dossier360/dossier/projections/profile"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// scanCounter counts how often all rows were read.
type scanCounter struct {
	memRows
	scans int
}

func (c *scanCounter) Scan(kind profile.RowKind, fn func(id, value []byte) error) error {
	c.scans++
	return c.memRows.Scan(kind, fn)
}

func cancelled(i int, id string) profile.Event {
	return order(i, eventsv1.Type_TYPE_ORDER_CANCELLED, &eventsv1.Order{OrderId: id})
}

// TestDayTimes: the first order of a day is cancelled. Rows are read for its
// next one only where a day has more orders, or is older, than the bounds.
func TestDayTimes(t *testing.T) {
	t.Parallel()
	const hour = 3600
	for _, c := range []struct {
		name          string
		orders, later int // of the day; days with orders after it
		scans         int
	}{
		{"at both bounds", profile.MaxDayTimes, profile.MaxTimedDays - 1, 0},
		{"an order beyond", profile.MaxDayTimes + 1, 0, 1},
		{"a day beyond", 3, profile.MaxTimedDays, 1},
	} {
		var history []profile.Event
		for i := range c.orders {
			history = append(history, placed(10*hour+i, fmt.Sprint(i), "", 1))
		}
		for day := range c.later {
			history = append(history, placed((day+2)*daySeconds, fmt.Sprint("day ", day), "", 1))
		}
		history = append(history, cancelled(10*hour+c.orders, "0"))
		env, facts, rows := newEnv(t), &statev1.Facts{}, &scanCounter{memRows: memRows{}}
		for _, ev := range history {
			if err := profile.Apply(facts, ev, rows, env); err != nil {
				t.Fatal(err)
			}
		}
		if rows.scans != c.scans {
			t.Errorf("%s: rows were read %d times, want %d", c.name, rows.scans, c.scans)
		}
		_, p := inOrders(t, history)
		if want := history[1].Header.OccurredAt; p.Orders.FirstAt.AsTime().UnixMicro() != want {
			t.Errorf("%s: first order at %s, want that of the second", c.name, p.Orders.FirstAt.AsTime())
		}
	}
}

// TestRandomDays: times of days of many orders, placed again and cancelled, are
// as worked out from scratch, whatever the order.
func TestRandomDays(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(9, 10))
	for days, times := range map[int]int{2: 20, 3: 90, 80: 3} {
		var history []profile.Event
		for range days * times {
			i := random.IntN(days)*daySeconds + random.IntN(4*times)
			id := fmt.Sprint(random.IntN(days * times / 2))
			ev := placed(i, id, "", 1)
			if random.IntN(4) == 0 {
				ev = cancelled(i, id)
			}
			ev.Header.EventId += fmt.Sprint(" ", len(history)) // no two repeats
			history = append(history, ev)
		}
		for n := len(history); n > 0; n -= 1 + n/2 {
			_, p := inSomeOrders(t, history[:n], 2)
			want := expected(history[:n], epoch.UnixMicro(), "CNY")
			want.Digest, want.Engagement = p.Digest, p.Engagement
			if diff := gocmp.Diff(want, p, protocmp.Transform()); diff != "" {
				t.Fatalf("%d events of %d days (-want +got):\n%s", n, days, diff)
			}
		}
	}
}
