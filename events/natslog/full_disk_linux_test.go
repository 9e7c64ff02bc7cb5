package natslog_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/natslog"
)

// A disk that is full to the last byte: appends are not answered, and go on so
// when there is room, which the server says of itself; after a restart of the server in this process
// they go on, and everything acknowledged is there.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, fmt.Sprintf("size=%d", 24<<20)); err != nil {
		t.Skipf("a small disk needs the right to mount one: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	filler := filepath.Join(disk, "other")
	if server := serve(t, natslog.Options{Dir: t.TempDir()}); server.Broken() != nil {
		t.Errorf("a new server is broken: %v", server.Broken())
	}
	if err := os.WriteFile(filler, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	server := serve(t, natslog.Options{Dir: filepath.Join(disk, "log")})
	log := open(t, natslog.Dial{Server: server})
	if _, err := events.Found(t.Context(), log, events.Settings{Partitions: 1}, time.Now, rand.Reader); err != nil {
		t.Fatal(err)
	}
	acknowledged := map[uint64][]byte{}
	try := func() error {
		data := make([]byte, 64<<10)
		rand.Read(data)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		seq, err := log.Append(ctx, events.PartitionStream(0), events.SubjectEvents(0), data, events.Expect{})
		if err == nil {
			acknowledged[seq] = data
		}
		return err
	}
	// An answer that merely takes long is no sign of a full disk: the server knows.
	var err error
	for tries := 0; err == nil || server.Broken() == nil; tries++ {
		if tries == 1_000 {
			t.Fatal("the log takes more than fits on its disk")
		}
		if err = try(); err != nil && !errors.Is(err, events.ErrUnknown) {
			t.Fatalf("after %d messages: %v, want %v", len(acknowledged), err, events.ErrUnknown)
		}
	}
	if len(acknowledged) == 0 {
		t.Error("nothing was taken before the disk was full")
	}
	if err := server.Broken(); !strings.Contains(err.Error(), "no space left") {
		t.Errorf("broken: %v, want that no space was left", err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := try(); err == nil || server.Broken() == nil {
		t.Errorf("with room again: %v; a restart would not be needed", err)
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := server.Broken(); err != nil {
		t.Errorf("broken after the restart: %v", err)
	}
	before := len(acknowledged)
	await(t, func() bool { return try() == nil })
	for seq, want := range acknowledged {
		if m, err := log.Get(t.Context(), events.PartitionStream(0), seq); err != nil || !bytes.Equal(m.Data, want) {
			t.Errorf("message %d of %d: error %v, or not what was acknowledged", seq, before, err)
		}
	}
}
