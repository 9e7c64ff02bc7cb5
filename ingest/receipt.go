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
// hold what was accepted. Its bytes, in unpadded base64url:
//
//	byte 0    version, 1
//	then, ascending by partition, for each: partition and sequence as uvarints
const (
	receiptVersion    = 1
	maxReceiptEntries = 1_024 // partitions; far more than anyone has
)

// ErrBadReceipt says that a receipt is none that a gateway wrote.
var ErrBadReceipt = errors.New("receipt")

// FormatReceipt writes a receipt; "" for no partition.
func FormatReceipt(seqs map[int]uint64) string {
	if len(seqs) == 0 {
		return ""
	}
	b := []byte{receiptVersion}
	for _, p := range slices.Sorted(maps.Keys(seqs)) {
		b = binary.AppendUvarint(b, uint64(p))
		b = binary.AppendUvarint(b, seqs[p])
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// ParseReceipt reads a receipt: partition number to the sequence that must be
// folded. It takes exactly what a gateway wrote.
func ParseReceipt(receipt string) (map[int]uint64, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(receipt)
	if err != nil || strings.ContainsAny(receipt, "\r\n") { // which the decoder passes over
		return nil, fmt.Errorf("%w %s: not base64url", ErrBadReceipt, Shown(receipt))
	}
	if len(b) < 2 || b[0] != receiptVersion {
		return nil, fmt.Errorf("%w %s: version %d wanted", ErrBadReceipt, Shown(receipt), receiptVersion)
	}
	seqs, last := map[int]uint64{}, -1
	for b = b[1:]; len(b) > 0; {
		p, n := binary.Uvarint(b)
		if n <= 0 || n > 1 && b[n-1] == 0 || p >= maxReceiptEntries || int(p) <= last {
			return nil, fmt.Errorf("%w %s: partition beyond %d, below %d, or cut short", ErrBadReceipt, Shown(receipt), maxReceiptEntries-1, last+1)
		}
		b, last = b[n:], int(p)
		seq, n := binary.Uvarint(b)
		if n <= 0 || n > 1 && b[n-1] == 0 || seq == 0 {
			return nil, fmt.Errorf("%w %s: no sequence for partition %d", ErrBadReceipt, Shown(receipt), p)
		}
		b, seqs[last] = b[n:], seq
	}
	return seqs, nil
}
