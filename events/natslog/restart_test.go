package natslog_test

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/natslog"
)

// appendAgain appends a message to the first partition until it is taken.
func appendAgain(t *testing.T, l *natslog.Log, data []byte) uint64 {
	t.Helper()
	var seq uint64
	await(t, func() (ok bool) {
		var err error
		seq, err = l.Append(t.Context(), events.PartitionStream(0), events.SubjectEvents(0), data, events.Expect{})
		return err == nil
	})
	return seq
}

// After a restart of the server inside, logs, intake and clients go on by
// themselves, at the same address, with all that was acknowledged.
func TestServerRestarts(t *testing.T) {
	eachClient(t, func(t *testing.T, l listener) {
		openIntake(t, natslog.Dial{Server: l.server}, natslog.IntakeOptions{Handle: acknowledge})
		before, address := appendAgain(t, l.log, []byte("before")), l.server.URL()
		reader, err := l.log.Read(t.Context(), events.PartitionStream(0), before)
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		if err := l.server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := l.server.URL(); got != address {
			t.Errorf("address %s, want %s as before", got, address)
		}
		after := appendAgain(t, l.log, []byte("after"))
		if after <= before {
			t.Errorf("sequence %d after %d", after, before)
		}
		for seq, want := before, "before"; seq < after; seq, want = after, "after" {
			if m, err := l.log.Get(t.Context(), events.PartitionStream(0), seq); err != nil || string(m.Data) != want {
				t.Errorf("message %d: %q, error %v; want %q", seq, m.Data, err, want)
			}
		}
		for _, want := range []string{"before", "after"} {
			m, err := reader.Next(t.Context())
			if err != nil || string(m.Data) != want {
				t.Fatalf("read on: %q, error %v; want %q", m.Data, err, want)
			}
		}
		await(t, func() bool {
			ack, err := l.client.Publish(t.Context(), "dossier.intake.shop", nil)
			return err == nil && ack.Sequence == 17
		})
		await(t, func() bool { // through the guard
			_, err := l.client.CreateOrUpdateConsumer(t.Context(), "FEED", jetstream.ConsumerConfig{Durable: "crm"})
			return err == nil
		})
	})
}

func TestClosedServerDoesNotRestart(t *testing.T) {
	t.Parallel()
	s := serve(t, natslog.Options{Dir: t.TempDir()})
	s.Close()
	if err := s.Restart(t.Context()); !errors.Is(err, events.ErrClosed) {
		t.Errorf("error %v, want %v", err, events.ErrClosed)
	}
}

// A restart that fails is one that is still needed, and helps once its cause is
// gone.
func TestServerRestartsAfterAFailedRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if natslog.Begun(dir) {
		t.Error("an empty directory holds streams")
	}
	server := serve(t, natslog.Options{Dir: dir})
	log := open(t, natslog.Dial{Server: server})
	if _, err := events.Found(t.Context(), log, events.Settings{Partitions: 1}, time.Now, rand.Reader); err != nil {
		t.Fatal(err)
	}
	before := appendAgain(t, log, []byte("before"))
	if !natslog.Begun(dir) {
		t.Error("the server's directory holds no streams")
	}
	streams, away := filepath.Join(dir, "jetstream"), filepath.Join(dir, "away")
	for _, err := range []error{os.Rename(streams, away), os.WriteFile(streams, nil, 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := server.Restart(t.Context()); err == nil || server.Broken() == nil {
		t.Fatalf("without its streams: restart %v, broken %v; want errors", err, server.Broken())
	}
	for _, err := range []error{os.Remove(streams), os.Rename(away, streams)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := server.Broken(); err != nil {
		t.Errorf("broken after the restart: %v", err)
	}
	if after := appendAgain(t, log, []byte("after")); after <= before {
		t.Errorf("sequence %d after %d", after, before)
	}
}
