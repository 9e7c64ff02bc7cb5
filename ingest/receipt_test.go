package ingest_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/dossier360/dossier/ingest"
)

func TestReceiptReadsWhatItWrote(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.MapOfN(rapid.IntRange(ingest.ReceiptIdentity, 1023), rapid.Uint64Min(1), 1, 80).Draw(t, "seqs")
		got, err := ingest.ParseReceipt(ingest.FormatReceipt(want))
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Fatalf("%v\n%s", err, d)
		}
	})
	// Receipts are kept by clients: those written before are read as they were.
	if got, err := ingest.ParseReceipt("AQAEAgk"); err != nil || !cmp.Equal(got, map[int]uint64{0: 4, 2: 9}) {
		t.Errorf("a receipt of version 1 is read as %v, %v", got, err)
	}
	for _, none := range []map[int]uint64{nil, {ingest.ReceiptIdentity: 0}} {
		if got := ingest.FormatReceipt(none); got != "" {
			t.Errorf("receipt of %v is %q, want none", none, got)
		}
	}
}

func TestReceiptRefuses(t *testing.T) {
	for _, receipt := range []string{
		"", "A", "!", "AQ", // empty, cut, no base64, only a version
		"Ag",       // IDENTITY's sequence missing
		"AgAAAQ",   // IDENTITY's sequence 0
		"AoAAAAE",  // IDENTITY's sequence in more bytes than it needs
		"AwAB",     // version 3
		"AQAA",     // sequence 0
		"AQABAAE",  // partition twice
		"AQEBAAE",  // descending
		"AQA",      // no sequence
		"AYAA",     // partition cut short
		"AYAAAQ",   // partition in more bytes than it needs
		"AYAIAQ",   // partition 1024
		"AQABAQ==", // padded
	} {
		if got, err := ingest.ParseReceipt(receipt); err == nil {
			t.Errorf("%q was read as %v", receipt, got)
		}
	}
}

func FuzzParseReceipt(f *testing.F) {
	f.Add(ingest.FormatReceipt(map[int]uint64{0: 1}))
	f.Add(ingest.FormatReceipt(map[int]uint64{3: 1 << 40, 1023: 1<<64 - 1}))
	f.Add(ingest.FormatReceipt(map[int]uint64{ingest.ReceiptIdentity: 300, 7: 1}))
	f.Add("AYAAAQ")
	f.Fuzz(func(t *testing.T, receipt string) {
		seqs, err := ingest.ParseReceipt(receipt)
		if err != nil {
			return
		}
		if got := ingest.FormatReceipt(seqs); got != receipt {
			t.Errorf("%q is read as %v, which is written %q", receipt, seqs, got)
		}
	})
}
