package events_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/dossier360/dossier/events"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

var rewrite = flag.Bool("rewrite", false, "write golden files that are missing; those of a released format are never changed")

// goldenRecord is the record of testdata/record_v1*.golden: every field of the
// record and of a header, with values that differ.
func goldenRecord(t testing.TB, events int) *logv1.Record {
	t.Helper()
	body, err := proto.Marshal(&eventsv1.Event{
		Type: "order.placed",
		Payload: &eventsv1.Event_Order{Order: &eventsv1.Order{
			OrderId: "o-1", Currency: "CNY",
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	record := &logv1.Record{
		Gateway: []byte("gateway-ulid-16b"), Batch: []byte("batch---ulid-16b"), At: 7, RecordedAt: 1_793_534_400_000_001,
	}
	for i := range events {
		record.Events = append(record.Events, &logv1.LoggedEvent{
			Header: &logv1.Header{
				Customer: []byte("customer-ulid-16"), Role: logv1.Role_ROLE_COMPANY, Type: eventsv1.Type_TYPE_ORDER_PLACED,
				Source: "shop", EventId: "e-1", MintedId: true, ClaimedAt: proto.Int64(1_793_534_399_000_002),
				OccurredAt: 1_793_534_399_000_003, RecordedDelta: 4, AtDelta: uint64(i), Trail: []uint64{6, 300},
				Identifiers: []*logv1.HashedIdentifier{{Type: "email", Hash: []byte("hash-of-16-bytes")}},
				KeyId:       8, Corrected: true, Clamped: true, Assigned: true, Corrects: "e-0",
				IssuedAt: proto.Int64(9), Flags: []logv1.Flag{logv1.Flag_FLAG_NO_ZONE, logv1.Flag_FLAG_NO_VALUE},
				CustomerKind: logv1.CustomerKind_CUSTOMER_KIND_COMPANY,
			},
			Body: body,
		})
	}
	return record
}

// diffMessages is empty if the messages are equal; only else it looks where,
// which is slow.
func diffMessages(want, got proto.Message) string {
	if proto.Equal(want, got) {
		return ""
	}
	return cmp.Diff(want, got, protocmp.Transform())
}

// Records of format 1 stay readable for ever: these files never change.
func TestRecordOfFormat1(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		file   string
		events int
		codec  byte
	}{
		{"record_v1.golden", 1, 0},
		{"record_v1_zstd.golden", 20, 1},
	} {
		path := filepath.Join("testdata", test.file)
		frame, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) && *rewrite {
			if frame, err = events.Seal(goldenRecord(t, test.events)); err == nil {
				err = os.WriteFile(path, frame, 0o644)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		if frame[0] != 1 || frame[1] != test.codec {
			t.Errorf("%s: version %d, codec %d; want 1, %d", test.file, frame[0], frame[1], test.codec)
		}
		got := &logv1.Record{}
		if err := events.Open(frame, got); err != nil {
			t.Fatalf("%s: %v", test.file, err)
		}
		if diff := diffMessages(goldenRecord(t, test.events), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.file, diff)
		}
	}
}

func TestSealOpen(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 2, 3, 50, 1000} {
		want := goldenRecord(t, n)
		frame, err := events.Seal(want)
		if err != nil {
			t.Fatal(err)
		}
		got := &logv1.Record{}
		if err := events.Open(frame, got); err != nil {
			t.Fatalf("%d events: %v", n, err)
		}
		if diff := diffMessages(want, got); diff != "" {
			t.Errorf("%d events (-want +got):\n%s", n, diff)
		}
		if n == 1000 && len(frame) > proto.Size(want)/4 {
			t.Errorf("1,000 alike events of %d bytes make a frame of %d", proto.Size(want), len(frame))
		}
	}
}

func TestFrameLimit(t *testing.T) {
	t.Parallel()
	noise := make([]byte, events.MaxUnpackedBytes)
	for i := range noise { // not to be compressed
		noise[i] = byte(uint32(i) * 2654435761 >> 13)
	}
	reject := func(size int) *logv1.Reject {
		m := &logv1.Reject{Original: noise}
		m.Original = noise[:len(noise)-(proto.Size(m)-size)]
		if proto.Size(m) != size {
			t.Fatalf("message of %d bytes, want %d", proto.Size(m), size)
		}
		return m
	}
	greatest := reject(events.MaxUnpackedBytes)
	frame, err := events.Seal(greatest)
	if err != nil {
		t.Fatalf("at the limit: %v", err)
	}
	got := &logv1.Reject{}
	if err := events.Open(frame, got); err != nil || !bytes.Equal(got.GetOriginal(), greatest.GetOriginal()) {
		t.Errorf("at the limit: %v", err)
	}
	if _, err := events.Seal(&logv1.Reject{Original: noise, Code: "x"}); err == nil || !strings.Contains(err.Error(), "limit 1048576") {
		t.Errorf("beyond the limit: %v, want an error with the limit", err)
	}
}

// forge makes a frame of any payload with a checksum that is right.
func forge(version, codec byte, payload []byte) []byte {
	frame := append([]byte{version, codec, 0, 0, 0, 0}, payload...)
	table := crc32.MakeTable(crc32.Castagnoli)
	binary.LittleEndian.PutUint32(frame[2:], crc32.Update(crc32.Checksum(frame[:2], table), table, payload))
	return frame
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer encoder.Close()
	bomb := encoder.EncodeAll(make([]byte, 64<<20), nil)
	over := encoder.EncodeAll(make([]byte, events.MaxUnpackedBytes+1), nil)
	for _, test := range []struct {
		name  string
		frame []byte
		want  string
	}{
		{"nothing", nil, "frame of 0 bytes"},
		{"half a header", make([]byte, 5), "frame of 5 bytes"},
		{"version 0", forge(0, 0, nil), "format version 0"},
		{"version 2", forge(2, 0, nil), "format version 2"},
		{"codec 2", forge(1, 2, nil), "unknown codec 2"},
		{"checksum", []byte{1, 0, 1, 2, 3, 4}, "checksum"},
		{"not zstd", forge(1, 1, []byte("not zstd")), "magic"},
		{"not protobuf", forge(1, 0, []byte{0xff}), "proto"},
		{"bomb", forge(1, 1, bomb), "exceed"},
		{"one byte too many, packed", forge(1, 1, over), "exceed"},
		{"one byte too many, plain", forge(1, 0, make([]byte, events.MaxUnpackedBytes+1)), "limit 1048576"},
		{"bad UTF-8", forge(1, 0, []byte{0x0a, 1, 0xff}), "UTF-8"}, // Reject.source
	} {
		err := events.Open(test.frame, &logv1.Reject{})
		if !errors.Is(err, events.ErrCorrupt) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want ErrCorrupt with %q", test.name, err, test.want)
		}
	}
}

// No single bit can turn without notice, nor can the end be missing.
func TestOpenNoticesDamage(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 20} {
		frame, err := events.Seal(goldenRecord(t, n))
		if err != nil {
			t.Fatal(err)
		}
		for bit := range len(frame) * 8 {
			damaged := bytes.Clone(frame)
			damaged[bit/8] ^= 1 << (bit % 8)
			if err := events.Open(damaged, &logv1.Record{}); !errors.Is(err, events.ErrCorrupt) {
				t.Fatalf("bit %d of a record of %d events turned: %v, want ErrCorrupt", bit, n, err)
			}
		}
		for end := range frame {
			if err := events.Open(frame[:end], &logv1.Record{}); !errors.Is(err, events.ErrCorrupt) {
				t.Fatalf("a record of %d events cut at %d: %v, want ErrCorrupt", n, end, err)
			}
		}
	}
}

func FuzzOpen(f *testing.F) {
	for _, n := range []int{0, 1, 20} {
		frame, err := events.Seal(goldenRecord(f, n))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame, false)
		f.Add(frame[6:], true)
	}
	f.Fuzz(func(t *testing.T, frame []byte, forged bool) {
		if forged && len(frame) > 0 {
			frame = forge(1, frame[0]&1, frame[1:]) // behind the checksum
		}
		m := &logv1.Record{}
		if err := events.Open(frame, m); err != nil {
			if !errors.Is(err, events.ErrCorrupt) {
				t.Fatalf("%v is not ErrCorrupt", err)
			}
			return
		}
		if proto.Size(m) > events.MaxUnpackedBytes {
			return // numbers written short may need more
		}
		again, err := events.Seal(m)
		if err != nil {
			t.Fatalf("what was opened cannot be sealed: %v", err)
		}
		reopened := &logv1.Record{}
		if err := events.Open(again, reopened); err != nil {
			t.Fatalf("what was sealed cannot be opened: %v", err)
		}
		if !proto.Equal(m, reopened) {
			t.Fatalf("sealed %v, opened %v", m, reopened)
		}
	})
}
