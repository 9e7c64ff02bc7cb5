package projections

import (
	"container/heap"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/store"
)

// timers finds the next due instant without reading all of them. The armed
// heap holds the timers set since the last commit; the queue holds those of
// the last commit that are due, read ahead in order up to read. Either may
// hold an instant that is no more: the customer's head has the word.
type timers struct {
	armed timerHeap
	queue []timer
	// read: all timers of the last commit up to this one were queued.
	read timer
	// from bounds every timer of the last commit from below: a scan that began
	// lower would pass over nothing but deleted keys.
	from int64
	// earliest timer of the last commit; 0: there is none.
	earliest int64
}

// timer is an instant at which a customer is evaluated; ordered by (due, id).
type timer struct {
	due int64
	id  events.CustomerID
}

// lastID sorts behind every customer.
var lastID = events.CustomerID{
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
}

func (t timer) before(u timer) bool {
	return t.due < u.due || t.due == u.due && t.id.Compare(u.id) < 0
}

type timerHeap []timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].before(h[j]) }
func (h timerHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *timerHeap) Push(x any)        { *h = append(*h, x.(timer)) }
func (h *timerHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

// maxQueuedTimers bounds how many due timers are read ahead.
const maxQueuedTimers = maxTimerEvaluations

// arm sets a customer's timer; 0 takes it away.
func (o *overlay) arm(c *customer, due int64) {
	c.head.Timer = due
	if due != 0 {
		heap.Push(&o.timers.armed, timer{due, c.id})
	}
}

// nextDue returns the customer with the earliest timer up to logTime, nil if
// there is none.
func (o *overlay) nextDue(logTime int64) (*customer, error) {
	for {
		next, ok, err := o.timers.next(o.view, logTime)
		if err != nil || !ok {
			return nil, err
		}
		c, err := o.customer(next.id)
		if err != nil {
			return nil, err
		}
		if c.head.Timer == next.due {
			return c, nil
		}
	}
}

// next takes the earliest timer that is or was set, up to logTime.
func (t *timers) next(v store.View, logTime int64) (timer, bool, error) {
	if len(t.queue) == 0 && t.earliest != 0 && t.earliest <= logTime && t.read.before(timer{logTime, lastID}) {
		if err := t.readAhead(v, logTime); err != nil {
			return timer{}, false, err
		}
	}
	if len(t.queue) > 0 && (len(t.armed) == 0 || !t.armed[0].before(t.queue[0])) {
		next := t.queue[0]
		t.queue = t.queue[1:]
		return next, true, nil
	}
	if len(t.armed) > 0 && t.armed[0].due <= logTime {
		return heap.Pop(&t.armed).(timer), true, nil
	}
	return timer{}, false, nil
}

// readAhead queues the timers of the last commit that follow t.read, up to
// logTime.
func (t *timers) readAhead(v store.View, logTime int64) error {
	from := append(timerKey(t.read.due, t.read.id), 0)
	to := timerKey(logTime+1, events.CustomerID{})
	var bad error
	err := v.Scan(from, to, false, func(key, _ []byte) bool {
		var next timer
		if next.due, next.id, bad = parseTimerKey(key); bad != nil {
			return false
		}
		t.queue = append(t.queue, next)
		return len(t.queue) < maxQueuedTimers
	})
	if err == nil {
		err = bad
	}
	if err != nil {
		return err
	}
	t.read = timer{logTime, lastID}
	if len(t.queue) == maxQueuedTimers {
		t.read = t.queue[len(t.queue)-1]
	}
	return nil
}

// reset begins anew on a new commit.
func (t *timers) reset(v store.View, logTime int64) error {
	for _, armed := range t.armed {
		t.from = min(t.from, armed.due)
	}
	from := t.from
	*t = timers{}
	var bad error
	err := v.Scan(timerKey(from, events.CustomerID{}), []byte{keyTimer + 1}, false, func(key, _ []byte) bool {
		t.earliest, _, bad = parseTimerKey(key)
		return false
	})
	if err == nil {
		err = bad
	}
	if t.from = t.earliest; t.earliest == 0 {
		t.from = max(from, logTime)
	}
	if t.from > 0 {
		t.read = timer{due: t.from - 1, id: lastID}
	}
	return err
}
