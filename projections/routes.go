package projections

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/store"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// Routes: whose an event is that a gateway addressed by what it knew.
//
// A rule d says of a customer that some events addressed to him belong to
// another one: of a merge all, of a split those that it selects. Every event
// carries `at`, the sequence of IDENTITY that its address was decided at. Of the
// rules of its customer the one with the least d > at applies first; it makes
// `at` be d, so that it never applies again, and the next is looked for, at the
// customer whose the event is now. `at` only grows: there is no cycle, and
// whoever addressed an event by what he knew is right in the end.

// hop is where an event goes that does not belong to whom it is addressed to.
type hop struct {
	to    events.CustomerID
	at    uint64
	trail []uint64
}

// route finds whose an event is that is addressed to c at `at`. It returns nil
// and the sequence that its address is as good as now, or where it goes.
func (f *fold) route(c *customer, h *logv1.Header, at uint64) (*hop, uint64, error) {
	for _, d := range c.head.Routes {
		if d <= at {
			continue
		}
		rule, err := f.ruleOf(c, d)
		if err != nil {
			return nil, 0, err
		}
		to, err := destination(rule, c.id, h)
		if err != nil {
			return nil, 0, fmt.Errorf("rule %d of customer %s: %w", d, c.id, err)
		}
		at = d
		if to != c.id {
			return &hop{to, at, append(slices.Clone(h.GetTrail()), d)}, 0, nil
		}
	}
	return nil, at, nil
}

// destination is whose an event of `from` is by a rule.
func destination(rule *logv1.Rule, from events.CustomerID, h *logv1.Header) (events.CustomerID, error) {
	switch r := rule.GetRule().(type) {
	case *logv1.Rule_Merged:
		return events.CustomerIDFromBytes(r.Merged.GetWinner())
	case *logv1.Rule_Split:
		if Selects(r.Split, h) {
			return events.CustomerIDFromBytes(r.Split.GetTo())
		}
		return from, nil
	}
	return from, fmt.Errorf("rule %T moves nobody", rule.GetRule())
}

// Selects reports whether an event moves by a split: if it came by the merge
// that is undone, or names an identifier that moves and none that stays.
func Selects(s *logv1.Split, h *logv1.Header) bool {
	if s.GetUndoes() != 0 && slices.Contains(h.GetTrail(), s.GetUndoes()) {
		return true
	}
	moves := false
	for _, id := range h.GetIdentifiers() {
		switch {
		case id.GetOther():
		case !holdsHash(s.GetHashes(), id.GetHash()):
			return false
		default:
			moves = true
		}
	}
	return moves
}

const hashBytes = 16

// holdsHash looks for a hash among sorted ones, without a gap between them.
func holdsHash(sorted, hash []byte) bool {
	if len(hash) != hashBytes {
		return false
	}
	low, high := 0, len(sorted)/hashBytes
	for low < high {
		middle := (low + high) / 2
		switch bytes.Compare(sorted[middle*hashBytes:(middle+1)*hashBytes], hash) {
		case 0:
			return true
		case -1:
			low = middle + 1
		default:
			high = middle
		}
	}
	return false
}

// ruleOf reads a rule by which events of a customer go elsewhere.
func (f *fold) ruleOf(c *customer, d uint64) (*logv1.Rule, error) {
	rule := &logv1.Rule{}
	there, err := f.getMoving(routeKey(c.id, d), rule)
	if err == nil && !there {
		err = fmt.Errorf("customer %s has no rule %d", c.id, d)
	}
	return rule, err
}

// putMoving changes a row of routes or jobs; nil deletes it.
func (o *overlay) putMoving(key []byte, m proto.Message) error {
	var value []byte
	if m != nil {
		var err error
		if value, err = proto.Marshal(m); err != nil {
			return fmt.Errorf("write row %x: %w", key, err)
		}
	}
	if o.moving == nil {
		o.moving = map[string][]byte{}
	}
	o.moving[string(key)] = value
	o.grow(len(key)+len(value)+32, 1)
	return nil
}

func (o *overlay) writeMoving(b *store.Batch) {
	for _, key := range slices.Sorted(maps.Keys(o.moving)) {
		if value := o.moving[key]; value != nil {
			b.Put([]byte(key), value)
		} else {
			b.Delete([]byte(key))
		}
	}
}

// getMoving reads a row of routes or jobs into m; false: there is none.
func (o *overlay) getMoving(key []byte, m proto.Message) (bool, error) {
	value, ok := o.moving[string(key)]
	if !ok {
		var err error
		if value, err = o.view.Get(key); err != nil {
			return false, err
		}
	}
	if value == nil {
		return false, nil
	}
	if err := proto.Unmarshal(value, m); err != nil {
		return false, fmt.Errorf("row %x: %w", key, err)
	}
	return true, nil
}
