package ingest

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A receipt says up to where the partitions must be folded for an answer to
// hold what was accepted, and up to where they must have heard IDENTITY for it
// to be with the customer that the events were addressed to. Its bytes, in
// unpadded base64url:
//
//	byte 0    version, 2; 1 without the next
//	then      sequence of IDENTITY as uvarint, above 0
//	then, ascending by partition, for each: partition and sequence as uvarints
const (
	receiptVersion    = 1
	receiptIdentity   = 2     // version
	maxReceiptEntries = 1_024 // partitions; far more than anyone has
)

// ReceiptIdentity is the key of the sequence of IDENTITY among the partitions
// of a receipt. A receipt that an older program wrote has none.
const ReceiptIdentity = -1

// ErrBadReceipt says that a receipt is none that a gateway wrote.
var ErrBadReceipt = errors.New("receipt")

// FormatReceipt writes a receipt: partition number, or [ReceiptIdentity], to the
// sequence; "" for none.
func FormatReceipt(seqs map[int]uint64) string {
	if len(seqs) == 0 {
		return ""
	}
	b := []byte{receiptVersion}
	if at := seqs[ReceiptIdentity]; at > 0 {
		b = binary.AppendUvarint([]byte{receiptIdentity}, at)
	}
	for _, p := range slices.Sorted(maps.Keys(seqs)) {
		if p == ReceiptIdentity {
			continue
		}
		b = binary.AppendUvarint(b, uint64(p))
		b = binary.AppendUvarint(b, seqs[p])
	}
	if len(b) == 1 {
		return "" // nothing but where nothing was read
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// ParseReceipt reads a receipt: partition number, or [ReceiptIdentity], to the
// sequence that must be folded. It takes exactly what a gateway wrote.
func ParseReceipt(receipt string) (map[int]uint64, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(receipt)
	if err != nil || strings.ContainsAny(receipt, "\r\n") { // which the decoder passes over
		return nil, fmt.Errorf("%w %s: not base64url", ErrBadReceipt, Shown(receipt))
	}
	if len(b) < 2 || b[0] != receiptVersion && b[0] != receiptIdentity {
		return nil, fmt.Errorf("%w %s: version %d or %d wanted", ErrBadReceipt, Shown(receipt), receiptVersion, receiptIdentity)
	}
	seqs, version := map[int]uint64{}, b[0]
	b = b[1:]
	if version == receiptIdentity {
		at, n := sequence(b)
		if n == 0 {
			return nil, fmt.Errorf("%w %s: no sequence of IDENTITY", ErrBadReceipt, Shown(receipt))
		}
		b, seqs[ReceiptIdentity] = b[n:], at
	}
	for last := -1; len(b) > 0; {
		p, n := binary.Uvarint(b)
		if n <= 0 || n > 1 && b[n-1] == 0 || p >= maxReceiptEntries || int(p) <= last {
			return nil, fmt.Errorf("%w %s: partition beyond %d, below %d, or cut short", ErrBadReceipt, Shown(receipt), maxReceiptEntries-1, last+1)
		}
		b, last = b[n:], int(p)
		seq, n := sequence(b)
		if n == 0 {
			return nil, fmt.Errorf("%w %s: no sequence for partition %d", ErrBadReceipt, Shown(receipt), p)
		}
		b, seqs[last] = b[n:], seq
	}
	return seqs, nil
}

// sequence reads a sequence in as few bytes as it needs; n is 0 if there is none.
func sequence(b []byte) (seq uint64, n int) {
	seq, n = binary.Uvarint(b)
	if n <= 0 || n > 1 && b[n-1] == 0 || seq == 0 {
		return 0, 0
	}
	return seq, n
}
