package profile

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// digestVersion is the first string of every digest's encoding. A change of
// any section's encoding is a new version.
const digestVersion = "dossier facts 1"

// Digest is SHA-256 over an encoding of its own, which no library and no
// change of a .proto can alter:
//
//	string   digestVersion
//	then, for every section of which the customer has something:
//	string   name of the section
//	string   its fields, in the order that its encode function documents
//
// where a string is its length in bytes as 8 bytes big endian and the bytes; an
// integer is 8 bytes big endian, two's complement; a sum is 16; a bool is an
// integer 0 or 1; an instant is an integer of microseconds; a list is its
// length and its elements. Of a stamp only the occurrence is encoded.
//
// The digest leaves out what two engines that met the same events need not
// agree on: event ids, sources, receive times, flags, windows, values in the
// base currency, and the sections that are approximate.
func Digest(f *statev1.Facts) [32]byte {
	whole := encoder{b: make([]byte, 0, 1024)}
	whole.string(digestVersion)
	for i := range sections {
		s := &sections[i]
		start := len(whole.b)
		whole.string(s.name)
		whole.int(0) // the length, known below
		body := len(whole.b)
		s.encode(&whole, f)
		if len(whole.b) == body {
			whole.b = whole.b[:start]
			continue
		}
		binary.BigEndian.PutUint64(whole.b[body-8:], uint64(len(whole.b)-body))
	}
	return sha256.Sum256(whole.b)
}

func digestText(d [32]byte) string { return hex.EncodeToString(d[:]) }

// encoder writes the digest's encoding.
type encoder struct{ b []byte }

func (e *encoder) int(n int64)     { e.b = binary.BigEndian.AppendUint64(e.b, uint64(n)) }
func (e *encoder) count(n uint32)  { e.int(int64(n)) }
func (e *encoder) length(n int)    { e.int(int64(n)) }
func (e *encoder) string(s string) { e.length(len(s)); e.b = append(e.b, s...) }

func (e *encoder) bool(b bool) {
	if b {
		e.int(1)
		return
	}
	e.int(0)
}

// optional writes whether there is a value, and the value.
func (e *encoder) optional(n *int64) {
	e.bool(n != nil)
	if n != nil {
		e.int(*n)
	}
}

func (e *encoder) sum(s *statev1.Sum) {
	e.int(s.GetHigh())
	e.b = binary.BigEndian.AppendUint64(e.b, s.GetLow())
}

func (e *encoder) money(sums []*statev1.CurrencySum) {
	e.length(len(sums))
	for _, s := range sums {
		e.string(s.Currency)
		e.count(s.Amounts)
		e.sum(s.Sum)
	}
}
