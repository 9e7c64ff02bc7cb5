package ingest

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/dossier360/dossier/events"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// eventKey is the key by which repeats are known: a hash of customer, role,
// type, source, event id and claimed time or none. 128 bits of SHA-256, so that two
// keys being one is no case to think of.
type eventKey [16]byte

func keyOf(customer events.CustomerID, role logv1.Role, kind eventsv1.Type, source, id string, claimed *int64) eventKey {
	var stack [192]byte
	b := append(stack[:0], customer[:]...)
	b = append(b, byte(role), byte(len(source)))
	b = binary.BigEndian.AppendUint16(b, uint16(kind))
	b = append(b, source...)
	b = binary.AppendUvarint(b, uint64(len(id)))
	b = append(b, id...)
	if claimed != nil {
		b = binary.BigEndian.AppendUint64(b, uint64(*claimed))
	}
	sum := sha256.Sum256(b)
	return eventKey(sum[:len(eventKey{})])
}

// recent remembers where events lately made durable are, in two generations
// like the directory's cache: the last n at least, 2n at most. It belongs to
// its batcher, whose lock guards it.
type recent struct {
	n            int
	young, elder map[eventKey]uint64 // sequence in the partition
}

func newRecent(n int) recent { return recent{n: n, young: map[eventKey]uint64{}} }

func (r *recent) seq(k eventKey) (uint64, bool) {
	if seq, ok := r.young[k]; ok {
		return seq, true
	}
	seq, ok := r.elder[k]
	return seq, ok
}

func (r *recent) put(k eventKey, seq uint64) {
	if len(r.young) >= r.n {
		r.young, r.elder = make(map[eventKey]uint64, r.n), r.young
	}
	r.young[k] = seq
}
