package projections

import (
	"testing"

	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// Kept are the records asked for last, within the bound; a single one that is
// larger than all is kept.
func TestKeptRecords(t *testing.T) {
	t.Parallel()
	var k keptRecords
	record := func(bytes int) *logv1.Record { return &logv1.Record{Gateway: make([]byte, bytes)} }
	first, second := record(keptRecordBytes/2), record(keptRecordBytes/2-100)
	k.put(1, first)
	k.put(1, second) // known already
	k.put(2, second)
	if got, ok := k.get(1); !ok || got != first {
		t.Error("the first record is not kept as it was put first")
	}
	k.put(3, record(100)) // one too many: 2 was asked for longest ago
	for seq, want := range map[uint64]bool{1: true, 2: false, 3: true} {
		if _, ok := k.get(seq); ok != want {
			t.Errorf("record %d kept: %v, want %v", seq, ok, want)
		}
	}
	k.put(4, record(2*keptRecordBytes))
	if _, ok := k.get(4); !ok || k.order.Len() != 1 {
		t.Errorf("a large record: kept %v beside %d others, want it alone", ok, k.order.Len()-1)
	}
	k.forget()
	if _, ok := k.get(4); ok || k.bytes != 0 {
		t.Errorf("after forget: kept %v, %d bytes", ok, k.bytes)
	}
	k.put(5, first)
	if _, ok := k.get(5); !ok {
		t.Error("nothing is kept after forget")
	}
}
