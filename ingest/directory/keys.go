package directory

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/store"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// The store, all of it a cache of IDENTITY:
//
//	key                                value
//	!                                  checkpoint: version, stream created,
//	                                   seq, time of that message, counters
//	i <hash 16>                        customer 16, kind 1
//	c <customer 16>                    kind 1, then for each exclusive
//	                                   identifier: length 1, type, hash 16
//	m <customer 16> <hash 16>          type: the customer's identifiers
//	q <older customer 16> <younger 16> empty: a quarantined pair
//	j <person 16>                      for each joining, the oldest first:
//	                                   since 8, company 16 (zero: none)
//	t                                  the identifier types that hold, a
//	                                   dossier.log.v1.IdentifierTypes
//
// A commit puts the checkpoint in its last batch. A crash between batches
// leaves rows that are newer than the checkpoint; folding again overwrites
// them with the same or later bytes (see fold).
const storeVersion = 2

var (
	checkpointKey = []byte("!")
	typesKey      = []byte("t")
)

func identifierKey(h Hash) []byte { return append([]byte{'i'}, h[:]...) }

func customerKey(c events.CustomerID) []byte { return append([]byte{'c'}, c[:]...) }

func memberKey(m member) []byte { return append(append([]byte{'m'}, m.customer[:]...), m.hash[:]...) }

func joiningsKey(c events.CustomerID) []byte { return append([]byte{'j'}, c[:]...) }

func pairKey(p pair) []byte { return append(append([]byte{'q'}, p.a[:]...), p.b[:]...) }

// checkpoint says up to where the store has folded IDENTITY.
type checkpoint struct {
	created time.Time // of the stream
	seq     uint64
	time    time.Time // of the message at seq
	counters
}

const checkpointBytes = 1 + 7*8

func (c checkpoint) encode() []byte {
	b := make([]byte, 0, checkpointBytes)
	b = append(b, storeVersion)
	for _, n := range []uint64{
		uint64(c.created.UnixNano()), c.seq, uint64(c.time.UnixNano()), c.customers, c.quarantined, c.rules, c.joinings,
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
		counters: counters{customers: n(3), quarantined: n(4), rules: n(5), joinings: n(6)},
	}, nil
}

const bindingBytes = 17

func (b binding) encode() []byte {
	return append(append(make([]byte, 0, bindingBytes), b.customer[:]...), byte(b.kind))
}

func decodeBinding(v []byte) (binding, error) {
	if len(v) != bindingBytes {
		return binding{}, fmt.Errorf("identifier row of %d bytes, %d wanted", len(v), bindingBytes)
	}
	return binding{events.CustomerID(v[:16]), logv1.CustomerKind(v[16])}, nil
}

func (c customer) encode() []byte {
	v := []byte{byte(c.kind)}
	for _, e := range c.exclusive {
		v = append(append(append(v, byte(len(e.typ))), e.typ...), e.hash[:]...)
	}
	return v
}

func decodeCustomer(v []byte) (customer, error) {
	if len(v) == 0 {
		return customer{}, fmt.Errorf("customer row is empty")
	}
	c := customer{kind: logv1.CustomerKind(v[0])}
	for v = v[1:]; len(v) > 0; {
		n := int(v[0])
		if len(v) < 1+n+len(Hash{}) {
			return customer{}, fmt.Errorf("customer row is cut short by %d bytes", 1+n+len(Hash{})-len(v))
		}
		c.exclusive = append(c.exclusive, exclusive{string(v[1 : 1+n]), Hash(v[1+n : 1+n+len(Hash{})])})
		v = v[1+n+len(Hash{}):]
	}
	return c, nil
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
		m = append(m, Membership{int64(binary.BigEndian.Uint64(v)), events.CustomerID(v[8:joiningBytes])})
	}
	return m, nil
}

// batches cuts the changes into batches a store takes, and gives each to
// commit; the checkpoint is in the last.
func (t *tables) batches(cp checkpoint, commit func(*store.Batch) error) error {
	b := new(store.Batch)
	var failed error
	room := func() bool {
		if b.Len() >= maxBatchKeys {
			failed = commit(b)
			b = new(store.Batch)
		}
		return failed == nil
	}
	for h, row := range t.identifiers {
		if !room() {
			return failed
		}
		b.Put(identifierKey(h), row.encode())
	}
	for c, row := range t.customers {
		if !room() {
			return failed
		}
		b.Put(customerKey(c), row.encode())
	}
	for p := range t.pairs {
		if !room() {
			return failed
		}
		b.Put(pairKey(p), nil)
	}
	for c, m := range t.joinings {
		if !room() {
			return failed
		}
		b.Put(joiningsKey(c), m.encode())
	}
	for m, typ := range t.members {
		if !room() {
			return failed
		}
		if typ == "" {
			b.Delete(memberKey(m))
			continue
		}
		b.Put(memberKey(m), []byte(typ))
	}
	if t.types != nil {
		if !room() {
			return failed
		}
		b.Put(typesKey, t.types.encode())
	}
	b.Put(checkpointKey, cp.encode())
	return commit(b)
}
