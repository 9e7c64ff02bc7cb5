package events_test

import (
	"context"
	"errors"
	"testing"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// TestFoundAfterRekey: the key that holds opens the log, a former one does not,
// nor one that was never done.
func TestFoundAfterRekey(t *testing.T) {
	t.Parallel()
	log := memlog.New(memlog.Options{})
	key := func(name string) events.Settings {
		return events.Settings{Partitions: 1, IdentityKeyCheck: []byte(name)}
	}
	if _, err := found(t, log, key("first"), 1); err != nil {
		t.Fatal(err)
	}
	rekeyed := func(r *logv1.Rekeyed) {
		t.Helper()
		frame, err := events.Seal(&logv1.Identity{Content: &logv1.Identity_Bindings{Bindings: &logv1.Bindings{
			Decisions: []*logv1.Decision{{Decision: &logv1.Decision_Rekeyed{Rekeyed: r}}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := log.Append(t.Context(), events.IdentityStream, events.SubjectBind, frame, events.Expect{}); err != nil {
			t.Fatal(err)
		}
	}
	rekeyed(&logv1.Rekeyed{KeyCheck: []byte("second"), Hashes: make([]byte, 32)})
	if _, err := found(t, log, key("second"), 2); !errors.Is(err, events.ErrIdentityKey) {
		t.Errorf("a change half done: got %v, want ErrIdentityKey", err)
	}
	rekeyed(&logv1.Rekeyed{KeyCheck: []byte("second"), Done: true})
	rekeyed(&logv1.Rekeyed{KeyCheck: []byte("third"), Done: true})
	rekeyed(&logv1.Rekeyed{KeyCheck: []byte("fourth"), Hashes: make([]byte, 32)})
	for _, c := range []struct {
		key  string
		want error
	}{
		{"second", events.ErrFormerKey},
		{"third", nil},
		{"fourth", events.ErrIdentityKey},
		{"another", events.ErrIdentityKey},
	} {
		if _, err := found(t, log, key(c.key), 3); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.key, err, c.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := found(t, log, key("third"), 4); err != nil {
		t.Error(err)
	}
	if err := events.CheckIdentityKey(ctx, log, []byte("third"), 3); !errors.Is(err, context.Canceled) {
		t.Errorf("of a context that ended: got %v", err)
	}
}
