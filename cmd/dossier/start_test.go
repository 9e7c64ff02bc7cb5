package main

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// serveOnce runs the binary until it ends by itself, or for a moment.
func serveOnce(t *testing.T, data string, flags ...string) (status int, stderr string) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"serve", "--data", data, "--http", "127.0.0.1:0", "--nats-listen", "off"}, flags...)
	cmd := exec.Command(path, args...)
	var text bytes.Buffer
	cmd.Stderr = &text
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	guard := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer guard.Stop()
	cmd.Wait()
	return cmd.ProcessState.ExitCode(), text.String()
}

// A first start takes an empty disk that stands where the log will be.
func TestStartOnAnEmptyLogDisk(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	if err := os.MkdirAll(filepath.Join(data, "log", "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	startProcess(t, data).stop()
	startProcess(t, data).stop()
}

// What `serve` refuses at its start: the exit status, and what it says. A wrong
// command line leaves nothing behind.
func TestStartIsRefused(t *testing.T) {
	t.Parallel()
	created := filepath.Join(t.TempDir(), "created")
	startProcess(t, created).stop()
	occupied, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer occupied.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	keyless := filepath.Join(t.TempDir(), "keyless")
	startProcess(t, keyless).stop()
	if err := os.Remove(filepath.Join(keyless, "identity.key")); err != nil {
		t.Fatal(err)
	}
	running := startProcess(t, filepath.Join(t.TempDir(), "running"))

	tests := []struct {
		name   string
		data   string // "": a directory that is not there
		flags  []string
		status int
		says   []string
	}{
		{"changed partitions", created, []string{"--partitions", "8"}, 2, []string{"--partitions", "created with 4", "asked for 8"}},
		{"changed clock", created, []string{"--clock", "events"}, 2, []string{"--clock", "wall", "events"}},
		{"changed clock end", created, []string{"--clock-end", "2020-01-01T00:00:00Z"}, 2, []string{"--clock-end"}},
		{"changed zone", created, []string{"--timezone", "Asia/Shanghai"}, 2, []string{"--timezone", "UTC", "Asia/Shanghai"}},
		{"changed currency", created, []string{"--base-currency", "USD"}, 2, []string{"--base-currency", "CNY", "USD"}},
		{"lost key", keyless, nil, 1, []string{"identity.key is missing", "backup"}},
		{"another process", running.data, nil, 1, []string{"in use"}},
		{"data is a file", file, nil, 1, []string{file}},
		{"address taken", "", []string{"--http", occupied.Addr().String()}, 1, []string{"--http", occupied.Addr().String()}},
		{"NATS address taken", "", []string{"--nats-listen", occupied.Addr().String()}, 1, []string{occupied.Addr().String()}},
		{"no such zone", "", []string{"--timezone", "Mars/X"}, 2, []string{"--timezone", "Mars/X"}},
		{"no such currency", "", []string{"--base-currency", "ZZZ"}, 2, []string{"--base-currency", "ZZZ"}},
		{"no partitions", "", []string{"--partitions", "0"}, 2, []string{"--partitions 0", "1 to 99"}},
		{"too many partitions", "", []string{"--partitions", "100"}, 2, []string{"--partitions 100", "1 to 99"}},
		{"open to all", "", []string{"--http", "0.0.0.0:0"}, 2, []string{"--http 0.0.0.0:0", "--write-key"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			data := test.data
			if data == "" {
				data = filepath.Join(t.TempDir(), "new")
			}
			status, stderr := serveOnce(t, data, test.flags...)
			if status != test.status {
				t.Errorf("exit status %d, want %d", status, test.status)
			}
			for _, want := range append(test.says, "dossier serve: ") {
				if !strings.Contains(stderr, want) {
					t.Errorf("%q is not in what it said", want)
				}
			}
			if strings.Contains(stderr, "panic") {
				t.Error("it panicked")
			}
			if t.Failed() {
				t.Log(stderr)
			}
			if _, err := os.Stat(data); test.data == "" && test.status == 2 && err == nil {
				t.Errorf("a wrong command line made %s", data)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(keyless, "identity.key")); err == nil {
		t.Error("a lost key was replaced by a new one")
	}
}

// A store that cannot be opened for want of permission stays where it is: it
// is not the store that is wrong.
func TestStoreIsKeptForNow(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("root may do anything")
	}
	data := t.TempDir()
	startProcess(t, data).stop()
	dir := filepath.Join(data, "projections", "00")
	if err := os.Chmod(dir, 0); err != nil {
		t.Fatal(err)
	}
	status, stderr := serveOnce(t, data)
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if status != 1 || !strings.Contains(stderr, "permission denied") {
		t.Errorf("status %d: %s", status, stderr)
	}
	if aside, _ := filepath.Glob(dir + ".aside*"); len(aside) != 0 {
		t.Errorf("set aside: %v", aside)
	}
}

// A partition store that is damaged, or gone, is folded again from the log;
// the answers are the same.
func TestLostStores(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	p := startProcess(t, data)
	for i := range 20 {
		p.post("/v1/track", purchase{i, "u1", time.Date(2026, 1, 1+i, 0, 0, 0, 0, time.UTC), "9.50"}.segment(), 200)
	}
	p.awaitFolded()
	want := p.profile("user_id:u1", "")
	p.stop()
	for _, spoil := range []func() error{
		func() error { return os.RemoveAll(filepath.Join(data, "projections")) },
		func() error { return os.RemoveAll(filepath.Join(data, "directory")) },
		func() error {
			manifests, err := filepath.Glob(filepath.Join(data, "*", "*", "MANIFEST"))
			for _, m := range manifests {
				err = os.WriteFile(m, []byte("damaged"), 0o600)
			}
			return err
		},
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		p.start()
		p.awaitFolded()
		got := p.profile("user_id:u1", "")
		if got.Digest != want.Digest || got.CustomerId != want.CustomerId || got.Lifecycle.Stage != want.Lifecycle.Stage {
			t.Errorf("got %v\nwant %v", got, want)
		}
		p.stop()
	}
}
