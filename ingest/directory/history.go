package directory

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/dossier360/dossier/events"
)

// reading calls fn with what is known now. A directory that was at the end of
// IDENTITY once answers, as [Directory.Lookup] does.
func (d *Directory) reading(fn func(s *snapshot) error) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.st == nil || d.confirmed.IsZero() {
		return d.readyLocked()
	}
	s := &snapshot{d: d}
	defer s.close()
	return fn(s)
}

// Root is the customer that one has become: himself if he was not merged away.
// Where nobody ever was it costs nothing.
func (d *Directory) Root(c events.CustomerID) (root events.CustomerID, err error) {
	if d.merges.Load() == 0 {
		return c, nil
	}
	err = d.reading(func(s *snapshot) error {
		root, err = rootOf(s, c)
		return err
	})
	return root, err
}

// Merged is how many merges there were, undone ones included.
func (d *Directory) Merged() uint64 { return d.merges.Load() }

// Trail are the merges by which a customer became his root, in order: what an
// event that is the root's by them alone is told with, so that it goes back when
// one of them is undone.
func (d *Directory) Trail(c events.CustomerID) (merges []uint64, err error) {
	if d.merges.Load() == 0 {
		return nil, nil
	}
	err = d.reading(func(s *snapshot) error {
		for {
			l, err := s.link(c)
			if err != nil || l.by == 0 {
				return err
			}
			merges = append(merges, l.by)
			c = l.into
		}
	})
	return merges, err
}

// Aliases are the ids that were merged into a customer and not undone, also by
// way of others, sorted.
func (d *Directory) Aliases(c events.CustomerID) (all []events.CustomerID, err error) {
	if d.merges.Load() == 0 {
		return nil, nil
	}
	err = d.reading(func(s *snapshot) error {
		all, err = familyOf(s, c)
		return err
	})
	return all[min(1, len(all)):], err
}

// familyOf is a customer, and then, sorted, all who were merged into him.
func familyOf(g graph, c events.CustomerID) ([]events.CustomerID, error) {
	var all []events.CustomerID
	err := family(g, c, func(c events.CustomerID) (bool, error) {
		all = append(all, c)
		return true, nil
	})
	if len(all) > 0 {
		slices.SortFunc(all[1:], events.CustomerID.Compare)
	}
	return all, err
}

// Apart reports whether two customers are kept apart.
func (d *Directory) Apart(a, b events.CustomerID) (apart bool, err error) {
	err = d.reading(func(s *snapshot) error {
		rootA, rootB, err := rootsOf(s, a, b)
		if err != nil || rootA == rootB {
			return err
		}
		known, err := standingOf(s, rootA, rootB)
		apart = known.apart
		return err
	})
	return apart, err
}

// errFound ends a walk.
var errFound = errors.New("found")

// InConflict reports whether a conflict of a customer is open.
func (d *Directory) InConflict(c events.CustomerID) (bool, error) {
	err := d.reading(func(s *snapshot) error {
		if s.d.cp.quarantined == 0 {
			return nil
		}
		root, err := rootOf(s, c)
		if err != nil {
			return err
		}
		return pairsOfFamily(s, root, func(r pairRow) error {
			if r.state == stateOpen {
				return errFound
			}
			return nil
		})
	})
	if errors.Is(err, errFound) {
		return true, nil
	}
	return false, err
}

// pairsOfFamily calls fn for every pair of a root and of who became him. A pair
// of two who are one now may come twice.
func pairsOfFamily(g graph, root events.CustomerID, fn func(pairRow) error) error {
	return family(g, root, func(c events.CustomerID) (bool, error) {
		if row, _, err := g.customer(c); err != nil || row.pairs == 0 {
			return false, err
		}
		return true, pairsOf(g, c, func(_ events.CustomerID, r pairRow) error { return fn(r) })
	})
}

func (r conflictRow) conflict(id conflictID) Conflict {
	return Conflict{
		ID: id.String(), State: conflictStates[r.state], Time: r.at, Told: r.told, ResolvedAt: r.resolvedAt, Resolution: r.why,
	}
}

// Conflict finds one by its id; ErrUnknownConflict if there is none.
func (d *Directory) Conflict(id string) (c Conflict, err error) {
	at, ok := parseConflictID(id)
	if !ok {
		return Conflict{}, fmt.Errorf("conflict %q: %w", id, ErrUnknownConflict)
	}
	err = d.reading(func(s *snapshot) error {
		r, ok, err := readConflict(s, at)
		if err == nil && !ok {
			err = fmt.Errorf("conflict %s: %w", id, ErrUnknownConflict)
		}
		c = r.conflict(at)
		return err
	})
	return c, err
}

// scanned is how many rows are read at once where some are passed over.
const scanned = 256

// Conflicts lists conflicts, the newest first. Of those of one customer each
// pair's latest is listed.
func (d *Directory) Conflicts(q ConflictsQuery) (all []Conflict, err error) {
	sp := span{group: conflictGroup, reverse: true, limit: scanned}
	if q.Before != "" {
		id, ok := parseConflictID(q.Before)
		if !ok {
			return nil, fmt.Errorf("conflicts before %q: %w", q.Before, ErrUnknownConflict)
		}
		sp.to = id.key()
	}
	take := func(id conflictID, r conflictRow) (more bool) {
		if q.State == "" || conflictStates[r.state] == q.State {
			all = append(all, r.conflict(id))
		}
		return q.Limit == 0 || len(all) < q.Limit
	}
	err = d.reading(func(s *snapshot) error {
		if !q.Customer.IsZero() {
			return conflictsOf(s, q.Customer, sp, take)
		}
		for {
			rows, err := s.scan(sp)
			if err != nil {
				return err
			}
			for _, row := range rows {
				r, err := decodeConflict(row.value)
				if err != nil || !take(decodeConflictID([]byte(row.key)), r) {
					return err
				}
			}
			if len(rows) < scanned {
				return nil
			}
			sp.to = rows[len(rows)-1].key
		}
	})
	return all, err
}

func conflictsOf(g graph, c events.CustomerID, sp span, take func(conflictID, conflictRow) bool) error {
	root, _, err := existing(g, c)
	if err != nil {
		return unrefused(err)
	}
	var keys []string
	err = pairsOfFamily(g, root, func(r pairRow) error {
		if key := r.id.key(); r.state != stateNone && sp.holds(key) {
			keys = append(keys, key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	for _, key := range slices.Backward(keys) {
		id := decodeConflictID([]byte(key))
		r, _, err := readConflict(g, id)
		if err != nil || !take(id, r) {
			return err
		}
	}
	return nil
}

// unrefused is the error that an order would be refused with.
func unrefused(err error) error {
	if refused := (*refusal)(nil); errors.As(err, &refused) {
		return refused.err
	}
	return err
}

// Merges lists merges and splits, the newest first.
func (d *Directory) Merges(q MergesQuery) (all []MergeEntry, err error) {
	sp := span{group: historyGroup, reverse: true, limit: q.Limit}
	if q.Before != 0 {
		sp.to = string(uint64Bytes(q.Before))
	}
	err = d.reading(func(s *snapshot) error {
		if !q.Customer.IsZero() {
			all, err = mergesOf(s, q.Customer, sp)
			return err
		}
		rows, err := s.scan(sp)
		if err != nil {
			return err
		}
		for _, row := range rows {
			h, err := decodeHistory(row.value)
			if err != nil {
				return err
			}
			all = append(all, h.entry(row.key))
		}
		return nil
	})
	return all, err
}

func mergesOf(g graph, c events.CustomerID, sp span) ([]MergeEntry, error) {
	root, _, err := existing(g, c)
	if err != nil {
		return nil, unrefused(err)
	}
	ids, err := familyOf(g, root)
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, id := range ids {
		part := sp
		part.group = partGroup(id)
		rows, err := g.scan(part)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			keys = append(keys, row.key)
		}
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	slices.Reverse(keys)
	if sp.limit > 0 {
		keys = keys[:min(len(keys), sp.limit)]
	}
	all := make([]MergeEntry, len(keys))
	for i, key := range keys {
		h, _, err := readHistory(g, keyNumber(key))
		if err != nil {
			return nil, err
		}
		all[i] = h.entry(key)
	}
	return all, nil
}

func keyNumber(key string) uint64 { return binary.BigEndian.Uint64([]byte(key)) }

func (h historyRow) entry(key string) MergeEntry {
	return MergeEntry{Seq: keyNumber(key), Time: h.at, Merged: h.rule.GetMerged(), Split: h.rule.GetSplit(), UndoneBy: h.undoneBy}
}
