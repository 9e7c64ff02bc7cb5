package events_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/dossier360/dossier/events"
)

const someID = "01HZY8Q3V5W7X9ZABCDEFGHJKM"

func TestParseCustomerID(t *testing.T) {
	t.Parallel()
	id, err := events.ParseCustomerID(someID)
	if err != nil || id.String() != someID || id.IsZero() {
		t.Errorf("%v, error %v; want %s", id, err, someID)
	}
	lower, err := events.ParseCustomerID(strings.ToLower(someID))
	if err != nil || lower != id {
		t.Errorf("in lower case: %v, error %v; want %v", lower, err, id)
	}
	back, err := events.CustomerIDFromBytes(id[:])
	if err != nil || back != id {
		t.Errorf("from bytes: %v, error %v; want %v", back, err, id)
	}
	for _, s := range []string{
		"", someID[1:], someID + "0", "8" + someID[1:], "U" + someID[1:], someID[:25] + "I", someID[:25] + "é",
		someID[:24] + "ſ", // two bytes that are S in upper case
	} {
		if id, err := events.ParseCustomerID(s); err == nil || !strings.Contains(err.Error(), "customer id") {
			t.Errorf("%q: %v, error %v; want an error", s, id, err)
		}
	}
	for _, n := range []int{0, 15, 17} {
		if _, err := events.CustomerIDFromBytes(make([]byte, n)); err == nil {
			t.Errorf("customer id of %d bytes: no error", n)
		}
	}
}

// The partition of a customer is part of the log's format: these never change.
func TestPartition(t *testing.T) {
	t.Parallel()
	counting := events.CustomerID{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	for _, test := range []struct {
		id      events.CustomerID
		n, want int
	}{
		// Computed elsewhere: h = 2166136261; for each byte h = (h xor byte) * 16777619.
		{events.CustomerID{}, 4, 1}, {events.CustomerID{}, 64, 5}, {events.CustomerID{}, 1, 0},
		{counting, 4, 1}, {counting, 64, 21}, {counting, 99, 49},
	} {
		if got := test.id.Partition(test.n); got != test.want {
			t.Errorf("%v of %d: partition %d, want %d", test.id, test.n, got, test.want)
		}
	}
}

func TestCustomerIDOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) (id events.CustomerID) {
			copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, label))
			return id
		}
		a, b := draw("a"), draw("b")
		if got, want := a.Compare(b), slices.Compare(a[:], b[:]); got != want {
			t.Fatalf("%x and %x compare %d, want %d", a, b, got, want)
		}
	})
}

func TestPosition(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := events.Position{
			Partition: rapid.IntRange(0, events.MaxPartitions).Draw(t, "partition"),
			Epoch:     rapid.Uint32().Draw(t, "epoch"),
			Seq:       rapid.Uint64().Draw(t, "seq"),
			Index:     rapid.Uint32().Draw(t, "index"),
		}
		got, err := events.ParsePosition(want.String())
		if err != nil || got != want {
			t.Fatalf("%s: %+v, error %v; want %+v", want, got, err, want)
		}
	})
	if got := (events.Position{Partition: 3, Seq: 118, Index: 7}).String(); got != "03-0-118-7" {
		t.Errorf("written %s, want 03-0-118-7", got)
	}
	for _, s := range []string{"", "03-0-118", "03-0-118-7-1", "03-0--7", "-3-0-118-7", "03-0-118-x", "03-+0-118-7", "03-4294967296-1-1", " 03-0-118-7"} {
		if p, err := events.ParsePosition(s); err == nil || !strings.Contains(err.Error(), "position") {
			t.Errorf("%q: %v, error %v; want an error", s, p, err)
		}
	}
}

func TestMicros(t *testing.T) {
	t.Parallel()
	at := time.Date(1969, 12, 31, 23, 59, 59, 999_999_000, time.UTC)
	if got := events.Micros(at); got != -1 {
		t.Errorf("%d micros, want -1", got)
	}
	if got := events.FromMicros(-1); !got.Equal(at) || got.Location() != time.UTC {
		t.Errorf("%v, want %v", got, at)
	}
}

func FuzzParsePosition(f *testing.F) {
	for _, s := range []string{"03-0-118-7", "00-0-0-0", "98-4294967295-18446744073709551615-4294967295", "3-0-118-7", "03-0-118", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := events.ParsePosition(s)
		if err != nil {
			return
		}
		if again, err := events.ParsePosition(p.String()); err != nil || again != p {
			t.Fatalf("%q is %+v, written %s, which is %+v, error %v", s, p, p, again, err)
		}
	})
}

func FuzzParseCustomerID(f *testing.F) {
	for _, s := range []string{someID, strings.ToLower(someID), "00000000000000000000000000", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "01HZY8Q3V5W7X9ZABCDEFGHJſ", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := events.ParseCustomerID(s)
		if err != nil {
			return
		}
		if len(s) != 26 || !strings.EqualFold(id.String(), s) {
			t.Fatalf("%q was read as %s", s, id)
		}
	})
}
