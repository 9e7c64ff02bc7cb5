package profile_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/profile"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// memRows are the rows of one customer in memory. Values are copied both
// ways, so that a fold which holds on to one is found out.
type memRows map[string]string

func rowKey(kind profile.RowKind, id []byte) string { return string(kind) + string(id) }

func (r memRows) Get(kind profile.RowKind, id []byte) ([]byte, error) {
	value, ok := r[rowKey(kind, id)]
	if !ok {
		return nil, nil
	}
	return []byte(value), nil
}

func (r memRows) Put(kind profile.RowKind, id []byte, value []byte) {
	r[rowKey(kind, id)] = string(value)
}

func (r memRows) Scan(kind profile.RowKind, fn func(id, value []byte) error) error {
	var keys []string
	for k := range r {
		if strings.HasPrefix(k, string(kind)) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		if err := fn([]byte(k[1:]), []byte(r[k])); err != nil {
			return err
		}
	}
	return nil
}

const testZone = "America/New_York" // its clocks change twice a year

func newEnv(tb testing.TB) profile.Env {
	tb.Helper()
	spans, err := events.ZoneSpans(testZone)
	if err != nil {
		tb.Fatal(err)
	}
	zone, err := events.NewZone(spans)
	if err != nil {
		tb.Fatal(err)
	}
	return profile.Env{Zone: zone, BaseCurrency: "CNY"}
}

// fatalizer is what *testing.T, *testing.B and *rapid.T have in common.
type fatalizer interface {
	Fatalf(format string, args ...any)
}

// fold applies events in turn; after each one that `store` picks, the facts go
// through the bytes of a store, as they do at a commit.
func fold(t fatalizer, env profile.Env, list []profile.Event, store func(i int) bool) (*statev1.Facts, memRows) {
	f, rows := &statev1.Facts{}, memRows{}
	for i, ev := range list {
		if err := profile.Apply(f, ev, rows, env); err != nil {
			t.Fatalf("apply event %d: %v", i, err)
		}
		if store != nil && store(i) {
			f = throughBytes(t, f)
		}
	}
	return f, rows
}

func throughBytes(t fatalizer, f *statev1.Facts) *statev1.Facts {
	b, err := proto.Marshal(f)
	if err != nil {
		t.Fatalf("marshal facts: %v", err)
	}
	back := &statev1.Facts{}
	if err := proto.Unmarshal(b, back); err != nil {
		t.Fatalf("unmarshal facts: %v", err)
	}
	if !proto.Equal(f, back) {
		t.Fatalf("facts changed on their way through bytes:\n%v\n%v", f, back)
	}
	return back
}

// sameRows tells how two sets of rows differ.
func sameRows(a, b memRows) error {
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			return fmt.Errorf("row %q: %x and %x", k, v, w)
		}
	}
	if len(a) != len(b) {
		return fmt.Errorf("%d rows and %d", len(a), len(b))
	}
	return nil
}
