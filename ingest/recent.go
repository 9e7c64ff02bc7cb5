package ingest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync"

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

// recent remembers something of the events seen lately, in two generations
// like the directory's cache: of the last n at least, 2n at most. Its owner's
// lock guards it.
type recent[V any] struct {
	n            int
	young, elder map[eventKey]V
}

func newRecent[V any](n int) recent[V] { return recent[V]{n: n, young: map[eventKey]V{}} }

func (r *recent[V]) get(k eventKey) (V, bool) {
	if v, ok := r.young[k]; ok {
		return v, true
	}
	v, ok := r.elder[k]
	return v, ok
}

func (r *recent[V]) put(k eventKey, v V) {
	if len(r.young) >= r.n {
		r.young, r.elder = make(map[eventKey]V, r.n), r.young
	}
	r.young[k] = v
}

// recentHolders is how many events that name several customers are remembered
// at least; twice as many at most, some 200 bytes each.
const recentHolders = 1 << 14

// maxHolders bounds the customers remembered of one event: those of many
// corrections of it.
const maxHolders = 64

// holders remembers who else holds a copy of the events lately taken in: a void
// or a correction may follow sooner than its target is folded. An event is
// known by subject, source and id, and a correction by what it corrects too.
type holders struct {
	mu     sync.Mutex
	recent recent[[]*logv1.Copy] // guarded by mu; the lists are not changed
}

func newHolders(n int) *holders { return &holders{recent: newRecent[[]*logv1.Copy](n)} }

func holdersKey(subject events.CustomerID, source, id string) eventKey {
	return keyOf(subject, subjectRole, eventsv1.Type_TYPE_CUSTOM, source, id, nil)
}

// note remembers the customers that an event names beside its subject.
func (h *holders) note(it *item) {
	if it.voids != nil {
		return // it cannot be taken back
	}
	named := make([]*logv1.Copy, len(it.others))
	for i := range it.others {
		named[i] = it.others[i].copy()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range [...]string{it.id, it.corrects} {
		if id == "" {
			continue
		}
		key := holdersKey(it.subject.address.Customer, it.source, id)
		had, _ := h.recent.get(key)
		h.recent.put(key, union(had, named))
	}
}

// union is a list of both without repeats, up to the bound. Who holds a copy that
// counts is not forgotten for one that does not.
func union(had, more []*logv1.Copy) []*logv1.Copy {
	all := slices.Clip(had)
	for _, c := range more {
		i := slices.IndexFunc(all, func(o *logv1.Copy) bool { return o.Role == c.Role && bytes.Equal(o.Customer, c.Customer) })
		switch {
		case i >= 0 && all[i].Withdraws && !c.Withdraws:
			all = slices.Clone(all) // the list had is others' too
			all[i] = c
		case i < 0 && len(all) < maxHolders:
			all = append(all, c)
		}
	}
	return all
}

// of are the customers beside the subject that hold a copy of an event.
func (h *holders) of(subject events.CustomerID, source, id string) []*logv1.Copy {
	h.mu.Lock()
	defer h.mu.Unlock()
	copies, _ := h.recent.get(holdersKey(subject, source, id))
	return copies
}
