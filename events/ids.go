package events

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
)

// CustomerID names a customer: a ULID minted by a gateway.
type CustomerID [16]byte

// ParseCustomerID reads the 26 characters of a ULID, in either case.
func ParseCustomerID(s string) (CustomerID, error) {
	id, err := ulid.ParseStrict(s)
	if err != nil {
		return CustomerID{}, fmt.Errorf("customer id %q: 26 characters of a ULID wanted", s)
	}
	return CustomerID(id), nil
}

// CustomerIDFromBytes reads the 16 bytes that the log holds.
func CustomerIDFromBytes(b []byte) (CustomerID, error) {
	if len(b) != 16 {
		return CustomerID{}, fmt.Errorf("customer id of %d bytes, 16 wanted", len(b))
	}
	return CustomerID(b), nil
}

// String returns the 26 characters of the ULID.
func (c CustomerID) String() string { return ulid.ULID(c).String() }

// IsZero reports whether c names nobody.
func (c CustomerID) IsZero() bool { return c == CustomerID{} }

// Compare orders customers by their bytes, which is by age.
func (c CustomerID) Compare(d CustomerID) int {
	if n := cmp.Compare(binary.BigEndian.Uint64(c[:8]), binary.BigEndian.Uint64(d[:8])); n != 0 {
		return n
	}
	return cmp.Compare(binary.BigEndian.Uint64(c[8:]), binary.BigEndian.Uint64(d[8:]))
}

// Partition is the partition of a customer among n: FNV-1a-32 of the id's 16
// bytes mod n. It is part of the log's format.
func (c CustomerID) Partition(n int) int {
	h := fnv.New32a()
	h.Write(c[:])
	return int(h.Sum32() % uint32(n))
}

// Position is the place of an event in the log, written <pp>-<epoch>-<seq>-<index>.
type Position struct {
	Partition int
	Epoch     uint32
	Seq       uint64
	Index     uint32 // of the event in its record
}

// String writes the position, as 03-0-118-7.
func (p Position) String() string {
	return fmt.Sprintf("%02d-%d-%d-%d", p.Partition, p.Epoch, p.Seq, p.Index)
}

// ParsePosition reads what [Position.String] wrote.
func ParsePosition(s string) (Position, error) {
	parts := strings.Split(s, "-")
	if len(parts) != 4 {
		return Position{}, fmt.Errorf("position %q: <partition>-<epoch>-<seq>-<index> wanted", s)
	}
	var n [4]uint64
	for i, part := range parts {
		v, err := strconv.ParseUint(part, 10, [4]int{31, 32, 64, 32}[i])
		if err != nil {
			return Position{}, fmt.Errorf("position %q: %q is not a number", s, part)
		}
		n[i] = v
	}
	return Position{int(n[0]), uint32(n[1]), n[2], uint32(n[3])}, nil
}

// Micros is an instant as the log keeps it: microseconds since 1970, UTC.
func Micros(t time.Time) int64 { return t.UnixMicro() }

// FromMicros is the instant of m, in UTC.
func FromMicros(m int64) time.Time { return time.UnixMicro(m).UTC() }

// BodyHash is the first 64 bits of the SHA-256 of an event's body: what tells
// two tellings of one record apart without opening them.
func BodyHash(body []byte) uint64 {
	sum := sha256.Sum256(body)
	return binary.BigEndian.Uint64(sum[:8])
}

// revisionMark stands between the id of a record and the number of a revision.
const revisionMark = "~"

// Revision is the event id of a later telling of a record: of two, the greater
// as text is the later one.
func Revision(recordID string, number uint64) string {
	return fmt.Sprintf("%s%s%020d", recordID, revisionMark, number)
}

// RevisionOf is the id of the record of which an event is a later telling, by
// its id; false if it is none.
func RevisionOf(eventID string) (recordID string, ok bool) {
	at := len(eventID) - revisionDigits - len(revisionMark)
	if at <= 0 || eventID[at:at+len(revisionMark)] != revisionMark {
		return "", false
	}
	for _, c := range []byte(eventID[at+len(revisionMark):]) {
		if c < '0' || c > '9' {
			return "", false
		}
	}
	return eventID[:at], true
}

// revisionDigits is how long the number of a revision is.
const revisionDigits = 20
