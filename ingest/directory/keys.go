package directory

import (
	"encoding/binary"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/store"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// The store, all of it a cache of IDENTITY:
//
//	key                                value
//	!                                  checkpoint: version, stream created,
//	                                   seq, time of that message, counters
//	i <hash 16>                        origin 16, kind 1, blocked 1
//	c <customer 16>                    kind 1, aliases 4, pairs 4, then for each
//	                                   identifier type: length 1, type, count 4
//	r <customer 16>                    who was merged away: into whom 16, by
//	                                   which rule 8
//	a <winner 16> <loser 16>           by which rule 8; until it is undone
//	m <origin 16> <hash 16>            type: the customer's identifiers
//	q <customer 16> <another 16>       pair, kept under both: apart 1, state of
//	                                   its latest conflict 1, which 12
//	f <seq 8> <number 4>               conflict: state 1, told 8, resolved 8,
//	                                   length 4, dossier.log.v1.Quarantined,
//	                                   dossier.log.v1.Why of who resolved it
//	h <seq 8>                          merge or split: time 8, undone by 8,
//	                                   dossier.log.v1.Rule
//	k <customer 16> <seq 8>            empty: he takes part in it
//	j <person 16>                      for each joining, the oldest first:
//	                                   since 8, company 16 (zero: none)
//	o <person 16>                      1, then as under j: his own, where others
//	                                   with joinings were merged into him
//	t                                  the identifier types that hold, a
//	                                   dossier.log.v1.IdentifierTypes
//	x <hash 16>                        hash 16 by which the log knows what has
//	                                   this one under a later identity key
//	y                                  check value of the identity key, if it
//	                                   was ever changed
//
// A commit is one batch with the checkpoint in it: rows count, and counting
// twice what a crash left behind would be wrong. See maxPending.
const storeVersion = 4

var (
	checkpointKey = []byte("!")
	typesKey      = []byte("t")
)

func identifierKey(h Hash) []byte { return append([]byte{'i'}, h[:]...) }

func customerKey(c events.CustomerID) []byte { return append([]byte{'c'}, c[:]...) }

func linkKey(c events.CustomerID) []byte { return append([]byte{'r'}, c[:]...) }

func joiningsKey(c events.CustomerID) []byte { return append([]byte{'j'}, c[:]...) }

func memberGroup(origin events.CustomerID) string { return "m" + string(origin[:]) }

func aliasGroup(winner events.CustomerID) string { return "a" + string(winner[:]) }

const (
	historyGroup = "h"
	ownGroup     = "o"
)

func partGroup(c events.CustomerID) string { return "k" + string(c[:]) }

func uint64Bytes(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// checkpoint says up to where the store has folded IDENTITY.
type checkpoint struct {
	created time.Time // of the stream
	seq     uint64
	time    time.Time // of the message at seq
	counters
}

const checkpointBytes = 1 + 8*8

func (c checkpoint) encode() []byte {
	b := make([]byte, 0, checkpointBytes)
	b = append(b, storeVersion)
	for _, n := range []uint64{
		uint64(c.created.UnixNano()), c.seq, uint64(c.time.UnixNano()), c.customers, c.quarantined, c.rules, c.joinings, c.merges,
	} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return b
}

func decodeCheckpoint(b []byte) (checkpoint, error) {
	if len(b) != checkpointBytes || b[0] != storeVersion {
		return checkpoint{}, fmt.Errorf("directory checkpoint of %d bytes: %d of version %d wanted", len(b), checkpointBytes, storeVersion)
	}
	n := func(i int) uint64 { return binary.BigEndian.Uint64(b[1+8*i:]) }
	return checkpoint{
		created:  time.Unix(0, int64(n(0))),
		seq:      n(1),
		time:     time.Unix(0, int64(n(2))),
		counters: counters{customers: n(3), quarantined: n(4), rules: n(5), joinings: n(6), merges: n(7)},
	}, nil
}

const bindingBytes = 18

func (b binding) encode() []byte {
	blocked := byte(0)
	if b.blocked {
		blocked = 1
	}
	return append(append(make([]byte, 0, bindingBytes), b.origin[:]...), byte(b.kind), blocked)
}

func decodeBinding(v []byte) (binding, error) {
	if len(v) != bindingBytes {
		return binding{}, fmt.Errorf("identifier row of %d bytes, %d wanted", len(v), bindingBytes)
	}
	return binding{events.CustomerID(v[:16]), logv1.CustomerKind(v[16]), v[17] == 1}, nil
}

const linkBytes = 24

func (l link) encode() []byte { return append(l.into[:], uint64Bytes(l.by)...) }

func decodeLink(v []byte) (link, error) {
	if len(v) != linkBytes {
		return link{}, fmt.Errorf("row of a merged customer of %d bytes, %d wanted", len(v), linkBytes)
	}
	return link{events.CustomerID(v[:16]), binary.BigEndian.Uint64(v[16:])}, nil
}

const customerHead = 9

func (c customer) encode() []byte {
	v := append(make([]byte, 0, customerHead+16*len(c.counts)), byte(c.kind))
	v = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(v, c.aliases), c.pairs)
	for _, t := range c.counts {
		v = append(append(v, byte(len(t.typ))), t.typ...)
		v = binary.BigEndian.AppendUint32(v, t.n)
	}
	return v
}

func decodeCustomer(v []byte) (customer, error) {
	if len(v) < customerHead {
		return customer{}, fmt.Errorf("customer row of %d bytes, %d or more wanted", len(v), customerHead)
	}
	c := customer{kind: logv1.CustomerKind(v[0]), aliases: binary.BigEndian.Uint32(v[1:]), pairs: binary.BigEndian.Uint32(v[5:])}
	for v = v[customerHead:]; len(v) > 0; {
		n := int(v[0])
		if len(v) < 1+n+4 {
			return customer{}, fmt.Errorf("customer row is cut short by %d bytes", 1+n+4-len(v))
		}
		c.counts = append(c.counts, count{string(v[1 : 1+n]), binary.BigEndian.Uint32(v[1+n:])})
		v = v[1+n+4:]
	}
	return c, nil
}

// historyRow is a merge or split as it is kept.
type historyRow struct {
	at       time.Time
	undoneBy uint64
	rule     *logv1.Rule
}

func (h historyRow) encode() []byte {
	return append(append(uint64Bytes(uint64(h.at.UnixMicro())), uint64Bytes(h.undoneBy)...), marshal(h.rule)...)
}

func decodeHistory(v []byte) (historyRow, error) {
	if len(v) < 16 {
		return historyRow{}, fmt.Errorf("row of history of %d bytes, 16 or more wanted", len(v))
	}
	h := historyRow{at: micros(v), undoneBy: binary.BigEndian.Uint64(v[8:]), rule: &logv1.Rule{}}
	if err := proto.Unmarshal(v[16:], h.rule); err != nil {
		return historyRow{}, fmt.Errorf("row of history: %w", err)
	}
	return h, nil
}

func readHistory(g graph, seq uint64) (historyRow, bool, error) {
	v, err := g.row(historyGroup, string(uint64Bytes(seq)))
	if v == nil || err != nil {
		return historyRow{}, false, err
	}
	h, err := decodeHistory(v)
	return h, err == nil, err
}

const joiningBytes = 8 + len(events.CustomerID{})

func (m Memberships) encode() []byte {
	v := make([]byte, 0, len(m)*joiningBytes)
	for _, j := range m {
		v = append(binary.BigEndian.AppendUint64(v, uint64(j.Since)), j.Company[:]...)
	}
	return v
}

func decodeMemberships(v []byte) (Memberships, error) {
	if len(v)%joiningBytes != 0 {
		return nil, fmt.Errorf("row of joinings of %d bytes, a multiple of %d wanted", len(v), joiningBytes)
	}
	m := make(Memberships, 0, len(v)/joiningBytes)
	for ; len(v) > 0; v = v[joiningBytes:] {
		m = append(m, Membership{Since: int64(binary.BigEndian.Uint64(v)), Company: events.CustomerID(v[8:joiningBytes])})
	}
	return m, nil
}

// batch is the changes as a store takes them.
func (t *tables) batch(cp checkpoint) *store.Batch {
	b := new(store.Batch)
	for h, row := range t.identifiers {
		if row.free() {
			b.Delete(identifierKey(h))
			continue
		}
		b.Put(identifierKey(h), row.encode())
	}
	for c, row := range t.customers {
		b.Put(customerKey(c), row.encode())
	}
	for c, l := range t.links {
		if l.by == 0 {
			b.Delete(linkKey(c))
			continue
		}
		b.Put(linkKey(c), l.encode())
	}
	for c, m := range t.joinings {
		b.Put(joiningsKey(c), m.encode())
	}
	for group, rows := range t.rows {
		for key, value := range rows {
			if value == nil {
				b.Delete([]byte(group + key))
				continue
			}
			b.Put([]byte(group+key), value)
		}
	}
	if t.changed != nil {
		b.Put(typesKey, t.changed.encode())
	}
	b.Put(checkpointKey, cp.encode())
	return b
}
