package projections

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/store"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// parkedSet is what is parked, by event key, without where it stands: which of
// equal copies came first is the log's matter.
func parkedSet(t rapid.TB, m *store.Memory) map[string]string {
	t.Helper()
	v := viewOf(t, m)
	defer v.Close()
	set := map[string]string{}
	perCustomer := map[string]uint32{}
	for p, err := range v.Parked(0, 0) {
		if err != nil {
			t.Fatalf("parked: %v", err)
		}
		key := fmt.Sprintf("%x %s %s %v %v %v", p.Customer, p.EventId, p.Source, p.Role, p.Type, p.ClaimedAt != nil)
		if _, twice := set[key]; twice {
			t.Fatalf("%s is parked twice", key)
		}
		set[key] = fmt.Sprintf("%d %x %s", p.RecordedAt, p.Content, p.Reason)
		if id, err := events.CustomerIDFromBytes(p.Customer); err == nil {
			perCustomer[id.String()]++
		}
		if at, err := v.ParkedAt(p.Seq, p.Index); err != nil || !proto.Equal(at, p) {
			t.Fatalf("parked at %d/%d: %v, %v; want %v", p.Seq, p.Index, at, err, p)
		}
	}
	if got, want := v.cp.Parked, uint64(len(set)); got != want {
		t.Fatalf("the checkpoint counts %d parked, there are %d", got, want)
	}
	for id, head := range heads(t, m) {
		if head.Parked != perCustomer[id] {
			t.Fatalf("customer %s counts %d parked, there are %d", id, head.Parked, perCustomer[id])
		}
	}
	return set
}

// drawPoisoned draws copies of few events, of which some cannot be read.
func drawPoisoned(t *rapid.T) []*logv1.LoggedEvent {
	var list []*logv1.LoggedEvent
	for n := range rapid.IntRange(1, 24).Draw(t, "events") {
		id := fmt.Sprint("e", rapid.IntRange(0, 4).Draw(t, "id"))
		e := told(customerNo(rapid.IntRange(1, 2).Draw(t, "customer")), id, eventsv1.Type_TYPE_PAGE_VIEWED, day0,
			&eventsv1.Event{Payload: &eventsv1.Event_View{View: &eventsv1.View{Url: fmt.Sprint("https://x/", n%3)}}})
		e.Header.RecordedDelta += uint64(rapid.IntRange(0, 3).Draw(t, "recorded"))
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0, 1:
			e.Body = []byte{0xff, byte(rapid.IntRange(0, 2).Draw(t, "poison"))}
		case 2:
			e.Header.Customer = []byte{1, 2}
		}
		list = append(list, e)
	}
	return list
}

// What is parked is a function of the set of stamped events: in any order, with
// any repetition (a retry is one), under any commits and restarts.
func TestParkedLaw(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		list := drawPoisoned(t)
		once := newStream("wall", day0)
		for _, e := range list {
			once.record(day0, e)
		}
		m := store.OpenMemory()
		once.foldAll(t, m, never, never)
		want := parkedSet(t, m)

		seed := rapid.Uint64().Draw(t, "seed")
		random := rand.New(rand.NewPCG(seed, 1))
		again := slices.Concat(list, list[:random.IntN(len(list)+1)])
		random.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
		often := newStream("wall", day0)
		for len(again) > 0 {
			n := 1 + random.IntN(len(again))
			often.record(day0, again[:n]...)
			again = again[n:]
		}
		other := store.OpenMemory()
		sometimes := func() bool { return random.IntN(3) == 0 }
		often.foldAll(t, other, sometimes, sometimes)
		if diff := cmp.Diff(want, parkedSet(t, other)); diff != "" {
			t.Fatalf("parked in another order (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(digests(t, m), digests(t, other)); diff != "" {
			t.Fatalf("digests in another order (-want +got):\n%s", diff)
		}
	})
}

// A parked void is appended again: where the bounds do not allow it still, one
// row stays where it was; where they do, it is as if they always had.
func TestParkedIsAppliedLater(t *testing.T) {
	t.Parallel()
	const short = 8
	void := told(customerNo(1), "v1", eventsv1.Type_TYPE_EVENT_VOIDED, day0,
		&eventsv1.Event{Payload: &eventsv1.Event_Void{Void: &eventsv1.Void{EventId: "e3"}}})
	other := told(customerNo(1), "v2", eventsv1.Type_TYPE_EVENT_VOIDED, day0,
		&eventsv1.Event{Payload: &eventsv1.Event_Void{Void: &eventsv1.Void{EventId: "e4"}}})
	build := func() *stream {
		s := newStream("wall", day0)
		for n := range short + 1 {
			s.record(day0, told(customerNo(1), fmt.Sprint("e", n), eventsv1.Type_TYPE_PAGE_VIEWED, day0, nil))
		}
		s.record(day0, void, other)
		return s
	}
	s := build()
	s.searchedEntries = short
	s.record(day0, void)
	s.record(day0, other, void)
	m := store.OpenMemory()
	s.foldAll(t, m, never, never)
	places := func() (all []string) {
		v := viewOf(t, m)
		defer v.Close()
		for p, err := range v.Parked(0, 0) {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, fmt.Sprint(p.Seq, "/", p.Index, " ", p.EventId))
		}
		return all
	}
	if diff := cmp.Diff([]string{"11/0 v1", "11/1 v2"}, places()); diff != "" {
		t.Errorf("parked under small bounds (-want +got):\n%s", diff)
	}
	if got := len(parkedSet(t, m)); got != 2 {
		t.Errorf("%d parked, want 2", got)
	}

	s.searchedEntries = 0
	s.record(day0, other)
	s.foldAll(t, m, never, never)
	if diff := cmp.Diff([]string{"11/0 v1"}, places()); diff != "" {
		t.Errorf("parked after one of them was applied (-want +got):\n%s", diff)
	}
	s.record(day0, void)
	s.foldAll(t, m, never, never)
	if set := parkedSet(t, m); len(set) != 0 {
		t.Errorf("parked still: %v", set)
	}
	if n := dumpPrefix(t, m, keyParkedID); n != 0 {
		t.Errorf("%d keys of parked events are left", n)
	}
	at := store.OpenMemory()
	build().foldAll(t, at, never, never)
	if diff := cmp.Diff(digests(t, at), digests(t, m)); diff != "" {
		t.Errorf("digests, at once and later (-want +got):\n%s", diff)
	}
	if got, want := heads(t, m)[customerNo(1).String()].Facts.Engagement.PageViews, uint32(short-1); got != want {
		t.Errorf("%d views, want %d", got, want)
	}
}

func dumpPrefix(t rapid.TB, m *store.Memory, prefix byte) (n int) {
	t.Helper()
	for key := range dump(t, m) {
		if key[0] == prefix {
			n++
		}
	}
	return n
}

// A copy that can be read takes away one that cannot only if it outranks it:
// else the other should stand, and the customer says that something is missing.
func TestReadableCopyOfParked(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		delta  int64 // of the readable copy's recorded_at
		parked int
	}{
		{"before", -1, 0},
		{"after", +1, 1},
	} {
		poison := told(customerNo(1), "e", eventsv1.Type_TYPE_PAGE_VIEWED, day0, nil)
		poison.Body = []byte{0xff}
		readable := told(customerNo(1), "e", eventsv1.Type_TYPE_PAGE_VIEWED, day0, nil)
		readable.Header.RecordedDelta = uint64(int64(readable.Header.RecordedDelta) + tc.delta)
		for _, list := range [][]*logv1.LoggedEvent{{poison, readable}, {readable, poison}} {
			s := newStream("wall", day0)
			s.record(day0, list[0])
			s.record(day0, list[1])
			m := store.OpenMemory()
			s.foldAll(t, m, never, never)
			if got := len(parkedSet(t, m)); got != tc.parked {
				t.Errorf("readable copy recorded %s, first the one %x: %d parked, want %d", tc.name, list[0].Body, got, tc.parked)
			}
			if got := heads(t, m)[customerNo(1).String()].Facts.Engagement.GetPageViews(); got != 1 {
				t.Errorf("readable copy recorded %s: %d views, want 1", tc.name, got)
			}
		}
	}
}

// What is appended again is stamped as it was, in records of bounded size.
func TestRecordsOfRetries(t *testing.T) {
	t.Parallel()
	var list []again
	for n := range 5 {
		e := told(customerNo(1), fmt.Sprint("e", n), eventsv1.Type_TYPE_PAGE_VIEWED, day0, nil)
		e.Body = make([]byte, retriedBytes/2-1_000*n)
		list = append(list, again{event: e, at: uint64(10 - n), recordedAt: int64(100 + n), seq: uint64(n), bytes: uint32(proto.Size(e))})
	}
	type stamp struct {
		id       string
		at       uint64
		recorded int64
	}
	var got []stamp
	for _, r := range records(list, retriedBytes) {
		if size := proto.Size(r); size > retriedBytes+1_024 {
			t.Errorf("a record of %d bytes, limit %d", size, retriedBytes)
		}
		for _, e := range r.Events {
			got = append(got, stamp{e.Header.EventId, r.At + e.Header.AtDelta, r.RecordedAt + int64(e.Header.RecordedDelta)})
		}
	}
	want := []stamp{{"e0", 10, 100}, {"e1", 9, 101}, {"e2", 8, 102}, {"e3", 7, 103}, {"e4", 6, 104}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(stamp{})); diff != "" {
		t.Errorf("stamps (-want +got):\n%s", diff)
	}
}
