package events_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

var foundedAt = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return foundedAt }

// seeded are bytes that differ by seed.
func seeded(seed uint64) io.Reader {
	var key [32]byte
	key[0] = byte(seed)
	return rand.NewChaCha8(key)
}

var settings = events.Settings{
	Partitions:       3,
	Timezone:         "Asia/Shanghai",
	IdentityKeyCheck: []byte("check of key one"),
}

// found is Found with everything fixed but the seed.
func found(t testing.TB, l events.Log, s events.Settings, seed uint64) (*logv1.Genesis, error) {
	t.Helper()
	return events.Found(t.Context(), l, s, clock, seeded(seed))
}

// newLog is a log without faults on the fixed clock.
func newLog() *memlog.Log { return memlog.New(memlog.Options{Now: clock}) }

// dump is all that a log of up to 5 partitions holds, a stream missing being
// absent.
func dump(t testing.TB, l events.Log) map[events.Stream][]events.Message {
	t.Helper()
	held := map[events.Stream][]events.Message{}
	streams := []events.Stream{events.IdentityStream, events.FeedStream, events.RejectedStream}
	for p := range 5 {
		streams = append(streams, events.PartitionStream(p))
	}
	for _, s := range streams {
		info, err := l.Info(t.Context(), s)
		if errors.Is(err, events.ErrNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		held[s] = []events.Message{}
		for seq := uint64(1); seq <= info.Last; seq++ {
			m, err := l.Get(t.Context(), s, seq)
			if err != nil {
				t.Fatal(err)
			}
			held[s] = append(held[s], m)
		}
	}
	return held
}

func TestFoundCreates(t *testing.T) {
	t.Parallel()
	l := newLog()
	genesis, err := found(t, l, events.Settings{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	spans, err := events.ZoneSpans("UTC")
	if err != nil {
		t.Fatal(err)
	}
	want := &logv1.Genesis{
		Format: 1, Partitions: 4, Clock: "wall", Timezone: "UTC", Zone: spans, BaseCurrency: "CNY", Normaliser: 1,
		Stages: "builtin/1", CreatedAt: events.Micros(foundedAt), Deployment: genesis.GetDeployment(),
	}
	if diff := diffMessages(want, genesis); diff != "" {
		t.Errorf("genesis (-want +got):\n%s", diff)
	}
	if len(genesis.GetDeployment()) != 16 {
		t.Errorf("deployment of %d bytes, want 16", len(genesis.GetDeployment()))
	}
	read, err := events.ReadGenesis(t.Context(), l)
	if diff := diffMessages(genesis, read); diff != "" || err != nil {
		t.Errorf("genesis read, error %v (-founded +read):\n%s", err, diff)
	}

	held := dump(t, l)
	if got := len(held); got != 7 {
		t.Errorf("%d streams, want 7", got)
	}
	for p := range 4 {
		s := events.PartitionStream(p)
		if len(held[s]) != 1 || held[s][0].Subject != events.SubjectNotices(p) {
			t.Fatalf("%s holds %+v, want one notice", s, held[s])
		}
		notice := &logv1.Notice{}
		if err := events.Open(held[s][0].Data, notice); err != nil {
			t.Fatal(err)
		}
		relay := &logv1.Relay{Seq: 1, Rule: &logv1.Rule{Rule: &logv1.Rule_Genesis{Genesis: genesis}}}
		if diff := diffMessages(relay, notice.GetRelay()); diff != "" {
			t.Errorf("%s: copy of genesis (-want +got):\n%s", s, diff)
		}
	}
	identity := held[events.IdentityStream]
	if len(identity) != 2 || identity[0].Subject != events.SubjectRule || identity[1].Subject != events.SubjectBind {
		t.Fatalf("IDENTITY holds %+v, want genesis and ready", identity)
	}
	ready := &logv1.Identity{}
	if err := events.Open(identity[1].Data, ready); err != nil || ready.GetReady() == nil {
		t.Errorf("IDENTITY message 2: %v, error %v; want ready", ready, err)
	}
	if _, err := events.ReadGenesis(t.Context(), newLog()); !errors.Is(err, events.ErrNotFound) {
		t.Errorf("genesis of an empty log: %v, want ErrNotFound", err)
	}
}

func TestFoundTakesSettings(t *testing.T) {
	t.Parallel()
	end := time.Date(1998, 6, 30, 23, 59, 59, 0, time.UTC)
	asked := events.Settings{
		Partitions: 99, Clock: "events", ClockEnd: end, Timezone: "Asia/Tokyo", BaseCurrency: "USD",
		Normaliser: 7, Stages: "builtin/2", IdentityKeyCheck: []byte("check"),
	}
	l := newLog()
	genesis, err := found(t, l, asked, 1)
	if err != nil {
		t.Fatal(err)
	}
	spans, err := events.ZoneSpans("Asia/Tokyo")
	if err != nil {
		t.Fatal(err)
	}
	want := &logv1.Genesis{
		Format: 1, Partitions: 99, Clock: "events", ClockEnd: events.Micros(end), Timezone: "Asia/Tokyo", Zone: spans,
		BaseCurrency: "USD", Normaliser: 7, Stages: "builtin/2", IdentityKeyCheck: []byte("check"),
		CreatedAt: events.Micros(foundedAt), Deployment: genesis.GetDeployment(),
	}
	if diff := diffMessages(want, genesis); diff != "" {
		t.Errorf("genesis (-want +got):\n%s", diff)
	}
	// What is not asked for stays as it is; what is asked for again is taken.
	for _, again := range []events.Settings{{}, asked} {
		got, err := found(t, l, again, 2)
		if diff := diffMessages(want, got); diff != "" || err != nil {
			t.Errorf("opened again, error %v (-want +got):\n%s", err, diff)
		}
	}
	// The clock of a log on events ends at its creation, unless told.
	genesis, err = found(t, newLog(), events.Settings{Clock: "events"}, 1)
	if err != nil || genesis.GetClockEnd() != events.Micros(foundedAt) {
		t.Errorf("clock end %d, error %v; want the instant of creation", genesis.GetClockEnd(), err)
	}
}

func TestFoundRefusesSettings(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		s    events.Settings
		want string
	}{
		{events.Settings{Partitions: -1}, "partitions: -1, 1 to 99"},
		{events.Settings{Partitions: 100}, "partitions: 100, 1 to 99"},
		{events.Settings{Clock: "sun"}, `clock: "sun"`},
		{events.Settings{Clock: "wall", ClockEnd: foundedAt}, "clock end: 2026-11-01T12:00:00Z"},
		{events.Settings{ClockEnd: foundedAt}, "clock end: 2026-11-01T12:00:00Z"},
		{events.Settings{Timezone: "Mars/Olympus"}, `time zone "Mars/Olympus"`},
		{events.Settings{BaseCurrency: "cny"}, `base currency: "cny"`},
		{events.Settings{BaseCurrency: "CNYX"}, `base currency: "CNYX"`},
		{events.Settings{BaseCurrency: "C1Y"}, `base currency: "C1Y"`},
	} {
		l := newLog()
		if _, err := found(t, l, test.s, 1); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want an error with %q", test.s, err, test.want)
		}
		if held := dump(t, l); len(held) != 0 {
			t.Errorf("%+v: refused, but there are streams: %v", test.s, held)
		}
	}
}

func TestFoundRefusesOtherSettings(t *testing.T) {
	t.Parallel()
	l := newLog()
	if _, err := found(t, l, settings, 1); err != nil {
		t.Fatal(err)
	}
	onEvents := newLog()
	if _, err := found(t, onEvents, events.Settings{Clock: "events", ClockEnd: foundedAt}, 1); err != nil {
		t.Fatal(err)
	}
	before := dump(t, l)
	for _, test := range []struct {
		log   events.Log
		s     events.Settings
		want  events.SettingError
		error string
	}{
		{l, events.Settings{Partitions: 8}, events.SettingError{Setting: "partitions", Log: "3", Asked: "8"},
			"partitions: this log was created with 3, asked for 8; it cannot be changed"},
		{l, events.Settings{Clock: "events"}, events.SettingError{Setting: "clock", Log: "wall", Asked: "events"},
			"clock: this log was created with wall, asked for events; it cannot be changed"},
		{l, events.Settings{ClockEnd: foundedAt}, events.SettingError{Setting: "clock end", Log: "none", Asked: "2026-11-01T12:00:00Z"},
			"clock end: this log was created with none, asked for 2026-11-01T12:00:00Z; it cannot be changed"},
		{onEvents, events.Settings{ClockEnd: foundedAt.Add(time.Second)}, events.SettingError{Setting: "clock end", Log: "2026-11-01T12:00:00Z", Asked: "2026-11-01T12:00:01Z"},
			"clock end: this log was created with 2026-11-01T12:00:00Z, asked for 2026-11-01T12:00:01Z; it cannot be changed"},
		{l, events.Settings{Timezone: "UTC"}, events.SettingError{Setting: "timezone", Log: "Asia/Shanghai", Asked: "UTC"},
			"timezone: this log was created with Asia/Shanghai, asked for UTC; it cannot be changed"},
		{l, events.Settings{BaseCurrency: "EUR"}, events.SettingError{Setting: "base currency", Log: "CNY", Asked: "EUR"},
			"base currency: this log was created with CNY, asked for EUR; it cannot be changed"},
		{l, events.Settings{Normaliser: 2}, events.SettingError{Setting: "normaliser", Log: "1", Asked: "2"},
			"normaliser: this log was created with 1, asked for 2; it cannot be changed"},
		{l, events.Settings{Stages: "builtin/2"}, events.SettingError{Setting: "stages", Log: "builtin/1", Asked: "builtin/2"},
			"stages: this log was created with builtin/1, asked for builtin/2; it cannot be changed"},
	} {
		_, err := found(t, test.log, test.s, 2)
		var refused *events.SettingError
		if !errors.As(err, &refused) || *refused != test.want || err.Error() != test.error {
			t.Errorf("%+v: %v, want %q", test.s, err, test.error)
		}
	}
	for _, check := range [][]byte{[]byte("check of key two"), []byte("check")} {
		if _, err := found(t, l, events.Settings{IdentityKeyCheck: check}, 2); !errors.Is(err, events.ErrIdentityKey) {
			t.Errorf("key check %q: %v, want ErrIdentityKey", check, err)
		}
	}
	if diff := cmp.Diff(before, dump(t, l)); diff != "" {
		t.Errorf("a refusal changed the log (-before +after):\n%s", diff)
	}
}

// disturbances are what can go wrong at one call.
var disturbances = map[string]struct {
	fault memlog.Fault
	dies  bool // and no later call of this process gets through
}{
	"overloaded":            {fault: memlog.Fault{Err: events.ErrOverload}},
	"lost on the way":       {fault: memlog.Fault{Err: events.ErrUnknown}},
	"answer lost":           {fault: memlog.Fault{Err: events.ErrUnknown, Stored: true}},
	"crash before the call": {fault: memlog.Fault{Err: events.ErrClosed}, dies: true},
	"crash after the call":  {fault: memlog.Fault{Err: events.ErrClosed, Stored: true}, dies: true},
}

// Whatever happens at whichever call, founding again ends in the log that an
// undisturbed run makes.
func TestFoundIsRepeatable(t *testing.T) {
	t.Parallel()
	undisturbed := newLog()
	if _, err := found(t, undisturbed, settings, 1); err != nil {
		t.Fatal(err)
	}
	want := dump(t, undisturbed)
	for name, d := range disturbances {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for at := 1; ; at++ {
				call, disturbed := 0, true
				l := memlog.New(memlog.Options{Now: clock, Faults: func(memlog.Op) memlog.Fault {
					call++
					if disturbed && (call == at || (d.dies && call > at)) {
						return memlog.Fault{Err: d.fault.Err, Stored: d.fault.Stored && call == at}
					}
					return memlog.Fault{}
				}})
				genesis, err := found(t, l, settings, 1)
				calls := call
				disturbed = false
				if err == nil && genesis == nil {
					t.Fatalf("disturbed at call %d: neither genesis nor error", at)
				}
				if err == nil && d.dies && calls >= at {
					t.Errorf("disturbed at call %d: no error, but the process died", at)
				}
				// The next process asks for other bytes: those of the first count,
				// if it came so far.
				if _, err := found(t, l, settings, 1); err != nil {
					t.Fatalf("disturbed at call %d: founding again: %v", at, err)
				}
				if diff := cmp.Diff(want, dump(t, l)); diff != "" {
					t.Fatalf("disturbed at call %d: (-undisturbed +got):\n%s", at, diff)
				}
				if calls < at {
					if at < 15 {
						t.Errorf("only %d calls were disturbed", at-1)
					}
					return
				}
			}
		})
	}
}

// A second process that founds the same log while the first one pauses before
// any of its calls: both get one Genesis.
func TestFoundTwiceAtEveryPause(t *testing.T) {
	t.Parallel()
	for at := 1; ; at++ {
		var l *memlog.Log
		var other *logv1.Genesis
		call, inside := 0, false
		l = memlog.New(memlog.Options{Now: clock, Faults: func(memlog.Op) memlog.Fault {
			if inside {
				return memlog.Fault{}
			}
			if call++; call == at {
				inside = true
				var err error
				if other, err = found(t, l, settings, 2); err != nil {
					t.Errorf("paused at call %d: the second: %v", at, err)
				}
				inside = false
			}
			return memlog.Fault{}
		}})
		first, err := found(t, l, settings, 1)
		if err != nil {
			t.Fatalf("paused at call %d: the first: %v", at, err)
		}
		if call < at {
			if at < 15 {
				t.Errorf("only %d pauses", at-1)
			}
			return
		}
		if diff := diffMessages(first, other); diff != "" {
			t.Fatalf("paused at call %d: two geneses (-first +second):\n%s", at, diff)
		}
		checkFounded(t, l, first)
		inside = true
	}
}

func TestFoundByManyAtOnce(t *testing.T) {
	t.Parallel()
	l := newLog()
	const processes = 8
	var geneses [processes]*logv1.Genesis
	var wg sync.WaitGroup
	for i := range processes {
		wg.Go(func() {
			genesis, err := found(t, l, settings, uint64(i))
			if err != nil {
				t.Errorf("process %d: %v", i, err)
			}
			geneses[i] = genesis
		})
	}
	wg.Wait()
	for i, genesis := range geneses {
		if !proto.Equal(genesis, geneses[0]) {
			t.Errorf("process %d has another genesis than process 0", i)
		}
	}
	checkFounded(t, l, geneses[0])
}

// checkFounded checks that a log holds what Found makes, and that once.
func checkFounded(t *testing.T, l events.Log, genesis *logv1.Genesis) {
	t.Helper()
	held := dump(t, l)
	if len(held[events.IdentityStream]) != 2 {
		t.Errorf("IDENTITY has %d messages, want 2", len(held[events.IdentityStream]))
	}
	for p := range int(genesis.GetPartitions()) {
		if n := len(held[events.PartitionStream(p)]); n != 1 {
			t.Errorf("%s has %d messages, want 1", events.PartitionStream(p), n)
		}
	}
	read, err := events.ReadGenesis(t.Context(), l)
	if diff := diffMessages(genesis, read); diff != "" || err != nil {
		t.Errorf("genesis read, error %v (-founded +read):\n%s", err, diff)
	}
}

func TestFoundFindsCorruption(t *testing.T) {
	t.Parallel()
	seal := func(m proto.Message) []byte {
		frame, err := events.Seal(m)
		if err != nil {
			t.Fatal(err)
		}
		return frame
	}
	// recreate puts another message 1 into a stream.
	recreate := func(l *memlog.Log, s events.Stream, subject string, data []byte) error {
		return errors.Join(
			l.Drop(s),
			l.CreateStream(t.Context(), events.StreamConfig{Name: s, Subjects: []string{"dossier.>"}, Permanent: true}),
			func() error {
				_, err := l.Append(t.Context(), s, subject, data, events.Expect{})
				return err
			}(),
		)
	}
	tick := seal(&logv1.Notice{Notice: &logv1.Notice_Tick{Tick: &logv1.Tick{}}})
	other, err := found(t, newLog(), settings, 9)
	if err != nil {
		t.Fatal(err)
	}
	otherCopy := seal(&logv1.Notice{Notice: &logv1.Notice_Relay{Relay: &logv1.Relay{
		Seq: 1, Rule: &logv1.Rule{Rule: &logv1.Rule_Genesis{Genesis: other}},
	}}})
	for _, test := range []struct {
		name   string
		damage func(l *memlog.Log) error
		want   string
	}{
		{"partition missing", func(l *memlog.Log) error { return l.Drop("EVENTS_01") }, "stream EVENTS_01 is missing"},
		{"feed missing", func(l *memlog.Log) error { return l.Drop("FEED") }, "stream FEED is missing"},
		{"rejected missing", func(l *memlog.Log) error { return l.Drop("REJECTED") }, "stream REJECTED is missing"},
		{"identity missing", func(l *memlog.Log) error { return l.Drop("IDENTITY") }, "stream IDENTITY"},
		{"identity emptied", func(l *memlog.Log) error { return l.Truncate("IDENTITY", 0) }, "stream IDENTITY"},
		{"copy lost", func(l *memlog.Log) error { return l.Truncate("EVENTS_02", 0) }, "stream EVENTS_02: message 1"},
		{"copy damaged", func(l *memlog.Log) error { return l.Damage("EVENTS_02", 1) }, "stream EVENTS_02, message 1"},
		{"genesis damaged", func(l *memlog.Log) error { return l.Damage("IDENTITY", 1) }, "stream IDENTITY, message 1"},
		{"ready damaged", func(l *memlog.Log) error { return l.Damage("IDENTITY", 2) }, "stream IDENTITY, message 2"},
		{"partition of another log", func(l *memlog.Log) error {
			return recreate(l, "EVENTS_00", events.SubjectNotices(0), otherCopy)
		}, "stream EVENTS_00: message 1"},
		{"partition without copy", func(l *memlog.Log) error {
			return recreate(l, "EVENTS_00", events.SubjectNotices(0), tick)
		}, "stream EVENTS_00: message 1"},
		{"no genesis first", func(l *memlog.Log) error {
			return recreate(l, "IDENTITY", events.SubjectBind, seal(&logv1.Identity{Content: &logv1.Identity_Ready{Ready: &logv1.Ready{}}}))
		}, "message 1 on dossier.identity.bind is no genesis"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := newLog()
			if _, err := found(t, l, settings, 1); err != nil {
				t.Fatal(err)
			}
			if err := test.damage(l); err != nil {
				t.Fatal(err)
			}
			before := dump(t, l)
			_, err := found(t, l, settings, 2)
			if !errors.Is(err, events.ErrCorrupt) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want ErrCorrupt with %q", err, test.want)
			}
			if diff := cmp.Diff(before, dump(t, l)); diff != "" {
				t.Errorf("a corrupt log was changed (-before +after):\n%s", diff)
			}
		})
	}
}

func TestFoundEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := events.Found(ctx, newLog(), settings, clock, seeded(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
}

func ExampleFound() {
	l := memlog.New(memlog.Options{})
	genesis, err := events.Found(context.Background(), l, events.Settings{Timezone: "Asia/Shanghai"}, time.Now, seeded(1))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(genesis.GetPartitions(), genesis.GetTimezone(), genesis.GetBaseCurrency())
	_, err = events.Found(context.Background(), l, events.Settings{Partitions: 8}, time.Now, seeded(1))
	fmt.Println(err)
	// Output:
	// 4 Asia/Shanghai CNY
	// partitions: this log was created with 4, asked for 8; it cannot be changed
}
