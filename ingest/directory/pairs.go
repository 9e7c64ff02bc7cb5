package directory

import (
	"encoding/binary"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// What is known of two customers who are not one is kept under the ids that
// they had then. Whoever they have become since, it holds of: so merging and
// undoing carry nothing over.

// conflictID is where a conflict was told: the sequence of the message and the
// number of the decision in it.
type conflictID struct {
	seq uint64
	n   uint32
}

func (id conflictID) String() string { return fmt.Sprintf("%d-%d", id.seq, id.n) }

func parseConflictID(s string) (id conflictID, ok bool) {
	n, err := fmt.Sscanf(s, "%d-%d", &id.seq, &id.n)
	return id, n == 2 && err == nil && id.String() == s
}

// conflictStates are the states as rows have them.
var conflictStates = [...]ConflictState{"", ConflictOpen, ConflictApproved, ConflictDismissed}

const (
	stateNone = iota
	stateOpen
	stateApproved
	stateDismissed
)

// pairRow is what is known of two customers.
type pairRow struct {
	apart bool
	state byte // of the latest conflict
	id    conflictID
}

// standing is what is known of two customers and of all who became them.
type standing struct{ apart, open, dismissed bool }

func (s standing) with(r pairRow) standing {
	return standing{s.apart || r.apart, s.open || r.state == stateOpen, s.dismissed || r.state == stateDismissed}
}

// told: a conflict of the two was told, and nobody joined them since.
func (s standing) told() bool { return s.open || s.dismissed }

// standingOf finds what is known of two roots.
func standingOf(g graph, a, b events.CustomerID) (standing, error) {
	direct, err := readPair(g, pairOf(a, b))
	s := standing{}.with(direct)
	if err != nil || s.apart && s.told() {
		return s, err
	}
	err = between(g, a, b, func(_ pair, r pairRow) error {
		s = s.with(r)
		return nil
	})
	return s, err
}

// between calls fn for what is known of any of two roots' families. It walks
// that of the one with fewer, and nobody's of whom nothing is known.
func between(g graph, a, b events.CustomerID, fn func(pair, pairRow) error) error {
	rowA, _, err := g.customer(a)
	if err != nil {
		return err
	}
	rowB, _, err := g.customer(b)
	if err != nil || rowA.pairs == 0 || rowB.pairs == 0 {
		return err
	}
	if rowB.aliases < rowA.aliases {
		a, b = b, a
	}
	return family(g, a, func(c events.CustomerID) (bool, error) {
		if row, _, err := g.customer(c); err != nil || row.pairs == 0 {
			return false, err
		}
		return true, pairsOf(g, c, func(other events.CustomerID, r pairRow) error {
			root, err := rootOf(g, other)
			if err != nil || root != b {
				return err
			}
			return fn(pairOf(c, other), r)
		})
	})
}

// pairsOf calls fn for every pair of one id.
func pairsOf(g graph, c events.CustomerID, fn func(other events.CustomerID, r pairRow) error) error {
	rows, err := g.scan(span{group: pairGroup(c)})
	if err != nil {
		return err
	}
	for _, row := range rows {
		r, err := decodePair(row.value)
		if err == nil {
			err = fn(events.CustomerID([]byte(row.key)), r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func readPair(g graph, p pair) (pairRow, error) {
	v, err := g.row(pairGroup(p.a), string(p.b[:]))
	if v == nil || err != nil {
		return pairRow{}, err
	}
	return decodePair(v)
}

// putPair keeps a pair under both, and counts it where it is new.
func (t *tables) putPair(g graph, p pair, r pairRow) error {
	v, err := g.row(pairGroup(p.a), string(p.b[:]))
	if err != nil {
		return err
	}
	t.put(pairGroup(p.a), string(p.b[:]), r.encode())
	t.put(pairGroup(p.b), string(p.a[:]), r.encode())
	if v != nil {
		return nil
	}
	for _, c := range [...]events.CustomerID{p.a, p.b} {
		if err := t.upwards(g, c, func(row customer) customer { row.pairs++; return row }); err != nil {
			return err
		}
	}
	return nil
}

// keepApart notes that two ids are not the same customer.
func (t *tables) keepApart(g graph, a, b events.CustomerID) error {
	if a == b {
		return nil
	}
	r, err := readPair(g, pairOf(a, b))
	if err != nil {
		return err
	}
	r.apart = true
	return t.putPair(g, pairOf(a, b), r)
}

// conflictRow is a conflict as it is kept.
type conflictRow struct {
	state      byte
	at         time.Time
	told       *logv1.Quarantined
	resolvedAt time.Time
	why        *logv1.Why // nil: open
}

func readConflict(g graph, id conflictID) (conflictRow, bool, error) {
	v, err := g.row(conflictGroup, id.key())
	if v == nil || err != nil {
		return conflictRow{}, false, err
	}
	r, err := decodeConflict(v)
	return r, err == nil, err
}

// quarantine notes a conflict.
func (t *tables) quarantine(g graph, q *logv1.Quarantined, at place) error {
	a, b, err := twoOf(q.Stronger, q.Weaker)
	if err != nil {
		return fmt.Errorf("quarantined: %w", err)
	}
	r, err := readPair(g, pairOf(a, b))
	if err != nil {
		return err
	}
	if r.state == stateOpen {
		return nil
	}
	r.state, r.id = stateOpen, conflictID{at.seq, uint32(at.n)}
	if err := t.putPair(g, pairOf(a, b), r); err != nil {
		return err
	}
	t.put(conflictGroup, r.id.key(), conflictRow{state: stateOpen, at: at.time, told: q}.encode())
	t.counters.quarantined++
	return nil
}

// resolve closes the conflict of a pair, if there is one that is not closed so.
func (t *tables) resolve(g graph, p pair, r pairRow, state byte, why *logv1.Why, at place) error {
	if r.state != stateNone && r.state != state {
		if r.state == stateOpen {
			t.counters.quarantined--
		}
		r.state = state
		c, ok, err := readConflict(g, r.id)
		if err != nil || !ok {
			return fmt.Errorf("conflict %s: row there %v: %w", r.id, ok, err)
		}
		c.state, c.resolvedAt, c.why = state, at.time, why
		t.put(conflictGroup, r.id.key(), c.encode())
	}
	return t.putPair(g, p, r)
}

// The rows.

const conflictGroup = "f"

func pairGroup(c events.CustomerID) string { return "q" + string(c[:]) }

func (id conflictID) key() string {
	return string(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, id.seq), id.n))
}

const pairBytes = 2 + 12

func (r pairRow) encode() []byte {
	v := make([]byte, 2, pairBytes)
	if r.apart {
		v[0] = 1
	}
	v[1] = r.state
	return append(v, r.id.key()...)
}

func decodePair(v []byte) (pairRow, error) {
	if len(v) != pairBytes || int(v[1]) >= len(conflictStates) {
		return pairRow{}, fmt.Errorf("row of a pair of %d bytes, %d wanted", len(v), pairBytes)
	}
	return pairRow{v[0] == 1, v[1], decodeConflictID(v[2:])}, nil
}

func decodeConflictID(v []byte) conflictID {
	return conflictID{binary.BigEndian.Uint64(v), binary.BigEndian.Uint32(v[8:])}
}

const conflictHead = 1 + 8 + 8 + 4

func (r conflictRow) encode() []byte {
	told := marshal(r.told)
	v := []byte{r.state}
	v = binary.BigEndian.AppendUint64(v, uint64(r.at.UnixMicro()))
	resolved := uint64(0)
	if r.why != nil {
		resolved = uint64(r.resolvedAt.UnixMicro())
	}
	v = binary.BigEndian.AppendUint64(v, resolved)
	v = binary.BigEndian.AppendUint32(v, uint32(len(told)))
	v = append(v, told...)
	if r.why != nil {
		v = append(v, marshal(r.why)...)
	}
	return v
}

func decodeConflict(v []byte) (conflictRow, error) {
	if len(v) < conflictHead || int(v[0]) >= len(conflictStates) {
		return conflictRow{}, fmt.Errorf("row of a conflict of %d bytes, %d or more wanted", len(v), conflictHead)
	}
	n := int(binary.BigEndian.Uint32(v[17:]))
	if len(v) < conflictHead+n {
		return conflictRow{}, fmt.Errorf("row of a conflict is cut short by %d bytes", conflictHead+n-len(v))
	}
	r := conflictRow{state: v[0], at: micros(v[1:]), told: &logv1.Quarantined{}}
	if err := proto.Unmarshal(v[conflictHead:conflictHead+n], r.told); err != nil {
		return conflictRow{}, fmt.Errorf("row of a conflict: %w", err)
	}
	if r.state != stateOpen {
		r.resolvedAt, r.why = micros(v[9:]), &logv1.Why{}
		if err := proto.Unmarshal(v[conflictHead+n:], r.why); err != nil {
			return conflictRow{}, fmt.Errorf("row of a conflict, resolution: %w", err)
		}
	}
	return r, nil
}

func micros(v []byte) time.Time { return time.UnixMicro(int64(binary.BigEndian.Uint64(v))).UTC() }

// marshal writes the same bytes each time: stores are compared by them.
func marshal(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("not reached: a message that was read: %v", err))
	}
	return b
}
