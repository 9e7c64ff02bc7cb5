package profile

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// StampOf is the stamp of an event with rank 0. An event id of more than 200
// bytes is its beginning and a hash there, so that facts are bounded and other
// ids still other; such ids order by hash where their beginnings are equal.
func StampOf(ev Event) *statev1.Stamp {
	h := ev.Header
	return &statev1.Stamp{
		OccurredAt: h.GetOccurredAt(),
		EventId:    boundEventID(h.GetEventId()),
		Source:     h.GetSource(),
		Role:       h.GetRole(),
		Type:       h.GetType(),
		ClaimedAt:  h.ClaimedAt,
	}
}

func boundEventID(id string) string {
	if len(id) <= maxEventIDBytes {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	hash := "~" + hex.EncodeToString(sum[:16])
	return cut(id, maxEventIDBytes-len(hash)) + hash
}

// CompareStamps orders events as a customer's history does: by (occurred_at,
// event id, source, role, type, claimed_at), an absent claimed_at before any other.
// Two events of one customer that are not repeats never compare equal. It does
// not look at ranks. A nil stamp is before all others.
func CompareStamps(a, b *statev1.Stamp) int {
	switch {
	case a == b:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	if n := cmp.Compare(a.OccurredAt, b.OccurredAt); n != 0 {
		return n
	}
	if n := strings.Compare(a.EventId, b.EventId); n != 0 {
		return n
	}
	if n := strings.Compare(a.Source, b.Source); n != 0 {
		return n
	}
	if n := cmp.Compare(a.Role, b.Role); n != 0 {
		return n
	}
	if n := cmp.Compare(a.Type, b.Type); n != 0 {
		return n
	}
	switch {
	case a.ClaimedAt == nil && b.ClaimedAt == nil:
		return 0
	case a.ClaimedAt == nil:
		return -1
	case b.ClaimedAt == nil:
		return 1
	}
	return cmp.Compare(*a.ClaimedAt, *b.ClaimedAt)
}

// outranks reports whether what a told stands over what b told: last writer
// wins by (rank, order key). An event outranks itself, so that what it tells
// last about one thing stands.
func outranks(a, b *statev1.Stamp) bool {
	if b == nil {
		return true
	}
	if n := cmp.Compare(a.Rank, b.Rank); n != 0 {
		return n > 0
	}
	return CompareStamps(a, b) >= 0
}
