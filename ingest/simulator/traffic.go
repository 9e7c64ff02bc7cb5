package simulator

import (
	"cmp"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"
)

const (
	// trafficGap is how far apart events are, unless they would end after End.
	trafficGap  = 50 * time.Millisecond
	trafficDays = 60
	// DefaultUsers of [Traffic].
	DefaultUsers = 20_000
)

// Traffic is load in the shape of life and without its plot: views of pages by
// users with Zipf activity, every fifth by a visitor never seen before, and one
// order in fifty events. It has no end of customers to hold and comes in order
// of time. A function of its fields alone.
type Traffic struct {
	Seed uint64
	// End: the first event is sixty days before.
	End    time.Time
	Events int
	Users  int // 0: 20,000
}

// Calls are what is sent on the Segment wire, `batch` events a call at most.
func (t Traffic) Calls(batch int) iter.Seq[Call] {
	return func(yield func(Call) bool) {
		dice := rand.New(rand.NewPCG(t.Seed, t.Seed))
		zipf := rand.NewZipf(dice, 1.1, 8, uint64(cmp.Or(t.Users, DefaultUsers))-1)
		begin := t.End.UTC().AddDate(0, 0, -trafficDays)
		gap := min(trafficGap, trafficDays*day/time.Duration(max(t.Events, 1)))
		for first := 0; first < t.Events; first += batch {
			messages := make([]message, min(batch, t.Events-first))
			for i := range messages {
				n := first + i
				messages[i] = t.message(dice, zipf, n)
				messages[i].Timestamp = begin.Add(time.Duration(n) * gap)
			}
			if !yield(jsonCall(pathSegment, len(messages), map[string]any{"batch": messages})) {
				return
			}
		}
	}
}

func (t Traffic) message(dice *rand.Rand, zipf *rand.Zipf, n int) message {
	m := message{
		MessageID: fmt.Sprintf("load-%d-%09d", t.Seed, n),
		Context:   map[string]any{"locale": "zh-CN", "page": map[string]any{"url": "https://shop.example/p/1"}},
	}
	if dice.IntN(5) == 0 {
		m.AnonymousID = fmt.Sprintf("anon-%d-%d", t.Seed, n)
	} else {
		m.UserID = fmt.Sprintf("user-%d", zipf.Uint64())
	}
	if dice.IntN(50) == 0 {
		m.Type, m.Event = "track", "Order Completed"
		m.Properties = map[string]any{"order_id": fmt.Sprintf("o-%d-%d", t.Seed, n), "revenue": dice.IntN(100_000), "currency": "CNY"}
		return m
	}
	m.Type, m.Name = "page", "Product"
	m.Properties = map[string]any{"url": fmt.Sprintf("https://shop.example/p/%d", dice.IntN(200)), "title": "Product"}
	return m
}
