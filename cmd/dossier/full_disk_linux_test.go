package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// smallDisk is a disk of its own in memory, for which one has to be root.
func smallDisk(t *testing.T, bytes int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Skipf("a small disk needs the right to mount one: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fillDisk takes up room on a disk until so much is free.
func fillDisk(t *testing.T, file string, free uint64) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	chunk := make([]byte, 1<<20)
	for {
		left, _, err := diskSpace(filepath.Dir(file))
		if err != nil {
			t.Fatal(err)
		}
		if left <= free {
			return
		}
		if _, err := f.Write(chunk[:min(uint64(len(chunk)), left-free)]); err != nil {
			return // as full as it gets
		}
	}
}

// page is a call of views with incompressible addresses, told by seed.
func page(call, events int) []byte {
	var b strings.Builder
	b.WriteString(`{"events":[`)
	noise := uint64(call)*0x9E3779B97F4A7C15 + 1
	for i := range events {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":"e%d-%d","type":"page.viewed","time":"2026-11-20T10:00:00Z","identifiers":[{"type":"user_id","value":"u%d"}],"view":{"url":"https://x/`, call, i, call%10)
		for range 40 {
			noise ^= noise << 13
			noise ^= noise >> 7
			noise ^= noise << 17
			fmt.Fprintf(&b, "%016x", noise)
		}
		b.WriteString(`"}}`)
	}
	b.WriteString(`]}`)
	return []byte(b.String())
}

var (
	logWriteFailed = regexp.MustCompile(`(?m)^dossier_log_append_errors_total\{reason="(full|unknown)",stream="EVENTS"\} [1-9]`)
	logLost        = regexp.MustCompile(`(?m)^dossier_log_lost_total [1-9]`)
)

const (
	smallDiskBytes = 320 << 20
	pageEvents     = 200
)

// On a disk that fills up, ingest answers 507 while there is still room for
// the engine itself; nothing acknowledged is lost, and it goes on by itself
// when there is room.
func TestNearlyFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("fills a disk in memory")
	}
	t.Parallel()
	disk := smallDisk(t, smallDiskBytes)
	p := startPublisher(t, filepath.Join(disk, "data"), "--partitions", "1")
	fillDisk(t, filepath.Join(disk, "other"), diskReserveLeast+(16<<20))
	acknowledged := map[int]int{} // user to views
	take := func(call int) bool {
		t.Helper()
		try := p.tryPost
		if call%2 == 1 {
			try = p.tryPublish
		}
		for {
			v, err := try(page(call, pageEvents))
			switch {
			case err != nil || v.status == http.StatusInsufficientStorage && v.retryAfter != "60":
				t.Fatalf("call %d: %+v, error %v; want it taken, or refused with 507 for 60 s", call, v, err)
			case v.status == http.StatusInsufficientStorage:
				return false
			case v.taken():
				acknowledged[call%10] += pageEvents
				return true
			}
			// A machine that is slow may be overloaded as well.
			if err := v.pause(); err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func(when string) {
		t.Helper()
		p.awaitFolded()
		for user, views := range acknowledged {
			if got := int(p.profile(fmt.Sprintf("user_id:u%d", user), "").Engagement.GetPageViews()); got != views {
				t.Errorf("%s: u%d has %d views, want the %d that were acknowledged", when, user, got, views)
			}
		}
	}
	call := 0
	// A store that makes its files smaller may leave room for some more: the
	// reserve is reached when neither way takes a call.
	for refused := 0; refused < 2; call++ {
		if refused++; take(call) {
			refused = 0
		}
		if call > 10_000 {
			t.Fatal("the reserve is never reached")
		}
	}
	if len(acknowledged) == 0 {
		t.Fatal("nothing was taken before the reserve was reached")
	}
	// What was taken in is folded on the reserve.
	check("at the reserve")
	if status, _, body := p.probe("/readyz"); status != http.StatusOK {
		t.Errorf("/readyz at the reserve: %d %s", status, body)
	}
	if free, _, err := diskSpace(disk); err != nil || free < diskReserveLeast/2 {
		t.Errorf("%d MiB are free at the reserve of %d", free>>20, diskReserveLeast>>20)
	}
	if err := os.Remove(filepath.Join(disk, "other")); err != nil {
		t.Fatal(err)
	}
	for _, next := range []int{call, call + 1} {
		ctx, cancel := context.WithTimeout(t.Context(), readyWithin)
		err := every(ctx, 10*time.Millisecond, func() (bool, error) { return take(next), nil })
		if cancel(); err != nil {
			t.Fatalf("still refused, though there is room: %v", err)
		}
	}
	check("with room again")
	p.stop()
	p.engineProcess = startProcess(t, p.data)
	check("after a restart")
}

// The disk of the log is filled to the last byte, and a write of the log fails:
// with room again the server inside is started anew, and the engine, still the
// same process, goes on with all that was acknowledged.
func TestFullLogDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("fills a disk in memory")
	}
	t.Parallel()
	data := t.TempDir()
	logDir := filepath.Join(data, "log")
	disk := smallDisk(t, smallDiskBytes)
	startProcess(t, data, "--partitions", "1", "--clock", "events", "--clock-end", "2027-01-01T00:00:00Z").stop()
	for _, err := range []error{os.CopyFS(disk, os.DirFS(logDir)), os.RemoveAll(logDir), os.Symlink(disk, logDir)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	p := startPublisher(t, data)
	if v, err := p.tryPublish(page(0, pageEvents)); !v.taken() || err != nil {
		t.Fatalf("%+v, error %v; want it taken", v, err)
	}
	p.awaitFolded()
	fillDisk(t, filepath.Join(disk, "other"), 0)
	// Notices are written though ingest keeps its reserve, until one fails. A tick
	// that merely takes long is no sign of that.
	from := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	for i := 0; !logWriteFailed.MatchString(p.metrics("")); i++ {
		if i == 1_000 {
			t.Fatal("the log takes more than fits on its disk")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		_, err := p.query().Tick(ctx, &queryv1.TickRequest{To: timestamppb.New(from.Add(time.Duration(i) * time.Minute))})
		cancel()
		if connect.CodeOf(err) == connect.CodeInvalidArgument {
			t.Fatal(err)
		}
	}
	if v, err := p.tryPublish(page(1, pageEvents)); v != (verdict{http.StatusInsufficientStorage, "60"}) || err != nil {
		t.Errorf("on a full disk: %+v, error %v; want 507", v, err)
	}
	if err := os.Remove(filepath.Join(disk, "other")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), readyWithin)
	defer cancel()
	err := every(ctx, 100*time.Millisecond, func() (bool, error) {
		return logLost.MatchString(p.metrics("")), nil
	})
	if err != nil {
		t.Fatalf("the server inside was not started anew: %v", err)
	}
	postUntilTaken(t, p.engineProcess.url+"/v1/events", json.RawMessage(page(1, pageEvents)))
	p.awaitFolded()
	for _, user := range []string{"user_id:u0", "user_id:u1"} {
		if got := p.profile(user, "").Engagement.GetPageViews(); got != pageEvents {
			t.Errorf("%s has %d views, want %d", user, got, pageEvents)
		}
	}
}
