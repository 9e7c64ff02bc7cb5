package projections

import (
	"encoding/binary"
	"fmt"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/profile"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// The keys of a partition store. Numbers are big endian, so that the order of
// the bytes is the order of the numbers. C is the customer's 16 bytes, G the
// four bytes of his open generation.
//
//	c                        Checkpoint
//	h C                      Head: facts, journal, newest entries
//	r C G kind id            entity row of a section: an order, a slot chunk
//	g C G order-key          Page of older entries, led by that order key
//	d C G hash16             refusal key of an event whose time was not the
//	                         client's: the order key of its entry
//	t due8 C                 timer: the customer is evaluated at due
//	o epoch4 seq8 k4 rule2   Change, the outbox
//	q seq8 index4            Parked
//	p customer16 hash16      parked by event key: seq8 index4 of its Parked
//	k C G                    Head of a closed generation
//	u C rule8                Rule by which events addressed to C go elsewhere
//	j seq8 index4            MoveJob: a history to be sent on
//	l C seq8 index4          MoveJob: one event to be sent on
const (
	keyCheckpoint = 'c'
	keyHead       = 'h'
	keyRow        = 'r'
	keyPage       = 'g'
	keyRefusal    = 'd'
	keyTimer      = 't'
	keyChange     = 'o'
	keyParked     = 'q'
	keyParkedID   = 'p'
	keyClosed     = 'k'
	keyRoute      = 'u'
	keyJob        = 'j'
	keyLate       = 'l'
)

var checkpointKey = []byte{keyCheckpoint}

func headKey(c events.CustomerID) []byte {
	return append([]byte{keyHead}, c[:]...)
}

func customerFromHeadKey(key []byte) (events.CustomerID, error) {
	if len(key) != 17 {
		return events.CustomerID{}, fmt.Errorf("head key of %d bytes", len(key))
	}
	return events.CustomerID(key[1:]), nil
}

// ownedPrefix leads the rows, pages or refusal keys of one generation.
func ownedPrefix(kind byte, c events.CustomerID, generation uint32) []byte {
	b := make([]byte, 0, 64)
	b = append(append(b, kind), c[:]...)
	return binary.BigEndian.AppendUint32(b, generation)
}

func rowKey(c events.CustomerID, generation uint32, kind profile.RowKind, id []byte) []byte {
	return append(append(ownedPrefix(keyRow, c, generation), byte(kind)), id...)
}

func timerKey(due int64, c events.CustomerID) []byte {
	b := make([]byte, 0, 25)
	b = binary.BigEndian.AppendUint64(append(b, keyTimer), uint64(due))
	return append(b, c[:]...)
}

func parseTimerKey(key []byte) (due int64, c events.CustomerID, err error) {
	if len(key) != 25 {
		return 0, c, fmt.Errorf("timer key of %d bytes", len(key))
	}
	return int64(binary.BigEndian.Uint64(key[1:9])), events.CustomerID(key[9:]), nil
}

func changeKey(epoch uint32, seq uint64, k uint32, rule uint16) []byte {
	b := make([]byte, 0, 19)
	b = binary.BigEndian.AppendUint32(append(b, keyChange), epoch)
	b = binary.BigEndian.AppendUint64(b, seq)
	b = binary.BigEndian.AppendUint32(b, k)
	return binary.BigEndian.AppendUint16(b, rule)
}

func parkedKey(seq uint64, index uint32) []byte {
	b := binary.BigEndian.AppendUint64([]byte{keyParked}, seq)
	return binary.BigEndian.AppendUint32(b, index)
}

func closedKey(c events.CustomerID, generation uint32) []byte {
	return ownedPrefix(keyClosed, c, generation)
}

func routeKey(c events.CustomerID, rule uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte{keyRoute}, c[:]...), rule)
}

func lateKey(c events.CustomerID, seq uint64, index uint32) []byte {
	b := binary.BigEndian.AppendUint64(append([]byte{keyLate}, c[:]...), seq)
	return binary.BigEndian.AppendUint32(b, index)
}

// appendOrderKey encodes a stamp so that bytes compare as
// [profile.CompareStamps] does: occurred_at, event id, source, role, type,
// claimed_at, an absent claimed_at first.
func appendOrderKey(b []byte, s *statev1.Stamp) []byte {
	b = appendSortedInt(b, s.OccurredAt)
	b = appendSortedText(b, s.EventId)
	b = appendSortedText(b, s.Source)
	b = append(b, byte(s.Role))
	b = binary.BigEndian.AppendUint16(b, uint16(s.Type))
	if s.ClaimedAt == nil {
		return append(b, 0)
	}
	return appendSortedInt(append(b, 1), *s.ClaimedAt)
}

func appendSortedInt(b []byte, v int64) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(v)^(1<<63))
}

// appendSortedText ends the text with 00 01 and writes a zero byte in it as
// 00 ff, so that a text sorts before its extensions.
func appendSortedText(b []byte, s string) []byte {
	for i := range len(s) {
		if b = append(b, s[i]); s[i] == 0 {
			b = append(b, 0xff)
		}
	}
	return append(b, 0, 1)
}

// parseOrderKey reads what appendOrderKey wrote.
func parseOrderKey(b []byte) (*statev1.Stamp, error) {
	s, rest, ok := &statev1.Stamp{}, b, true
	if s.OccurredAt, rest, ok = cutSortedInt(rest); !ok {
		return nil, fmt.Errorf("order key of %d bytes: no occurred_at", len(b))
	}
	if s.EventId, rest, ok = cutSortedText(rest); !ok {
		return nil, fmt.Errorf("order key of %d bytes: no event id", len(b))
	}
	if s.Source, rest, ok = cutSortedText(rest); !ok {
		return nil, fmt.Errorf("order key of %d bytes: no source", len(b))
	}
	if len(rest) < 4 {
		return nil, fmt.Errorf("order key of %d bytes: no role and type", len(b))
	}
	s.Role, s.Type = logv1.Role(rest[0]), eventsv1.Type(binary.BigEndian.Uint16(rest[1:]))
	if rest = rest[3:]; rest[0] == 0 && len(rest) == 1 {
		return s, nil
	}
	if rest[0] != 1 {
		return nil, fmt.Errorf("order key of %d bytes: bad claimed_at", len(b))
	}
	claimed, rest, ok := cutSortedInt(rest[1:])
	if !ok || len(rest) != 0 {
		return nil, fmt.Errorf("order key of %d bytes: bad claimed_at", len(b))
	}
	s.ClaimedAt = &claimed
	return s, nil
}

func cutSortedInt(b []byte) (int64, []byte, bool) {
	if len(b) < 8 {
		return 0, nil, false
	}
	return int64(binary.BigEndian.Uint64(b) ^ (1 << 63)), b[8:], true
}

func cutSortedText(b []byte) (string, []byte, bool) {
	var text []byte
	for i := 0; i+1 < len(b); i++ {
		if b[i] != 0 {
			text = append(text, b[i])
			continue
		}
		switch b[i+1] {
		case 1:
			return string(text), b[i+2:], true
		case 0xff:
			text = append(text, 0)
			i++
		default:
			return "", nil, false
		}
	}
	return "", nil, false
}
