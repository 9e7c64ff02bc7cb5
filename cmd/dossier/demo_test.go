package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// announcement collects output and closes seen once a text is in it.
type announcement struct {
	text string
	seen chan struct{}

	mu  sync.Mutex
	out bytes.Buffer // guarded by mu
}

func (a *announcement) Write(b []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := strings.Contains(a.out.String(), a.text)
	n, err := a.out.Write(b)
	if !before && strings.Contains(a.out.String(), a.text) {
		close(a.seen)
	}
	return n, err
}

func (a *announcement) String() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.out.String()
}

// A demo does not post to whoever has its port.
func TestDemoOnATakenPort(t *testing.T) {
	t.Parallel()
	stranger := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the demo asked a stranger for %s", r.URL)
	}))
	defer stranger.Close()
	address := stranger.Listener.Addr().String()
	for lang, want := range map[string]string{
		"C":     "dossier demo: address " + address + " is taken, perhaps by another Dossier; stop that one or choose another with --http (",
		"zh_CN": "dossier demo: 地址 " + address + " 已被占用",
	} {
		status, out, stderr := dossier(t, map[string]string{"LANG": lang}, "demo", "--http", address)
		if status != exitFailed || out != "" || !strings.HasPrefix(stderr, want) {
			t.Errorf("LANG=%s: got status %d, %q and %q; want %d and %q", lang, status, out, stderr, exitFailed, want)
		}
	}
}

// What the demo says to look at is there, and the demo leaves nothing behind.
func TestDemo(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	out := &announcement{text: "until interrupted", seen: make(chan struct{})}
	var stderr announcement
	status := make(chan int, 1)
	go func() {
		std := stdio{in: strings.NewReader(""), out: out, err: &stderr, getenv: func(string) string { return "" }}
		status <- run(ctx, std, []string{"demo", "--http", "127.0.0.1:0", "--customers", "40", "--seed", "3"})
	}()
	select {
	case <-out.seen:
	case got := <-status:
		t.Fatalf("the demo ended with status %d\n%s\n%s", got, out, &stderr)
	}
	commands := regexp.MustCompile(` (get|timeline) (\S+) .*--server (\S+)(?: +# (\w+))?`).FindAllStringSubmatch(out.String(), -1)
	if len(commands) < 4 || !strings.Contains(out.String(), "40 customers") {
		t.Errorf("the demo shows %d commands, want 4 or more, and 40 customers:\n%s", len(commands), out)
	}
	for _, c := range commands {
		got, shown, complaint := dossier(t, nil, c[1], c[2], "--server", c[3])
		if got != exitDone || !strings.Contains(shown, c[4]) {
			t.Errorf("%s: status %d, %s%s; want one that mentions %q", c[0], got, shown, complaint, c[4])
		}
	}
	interrupt()
	if got := <-status; got != exitDone {
		t.Errorf("interrupted, the demo ends with status %d\n%s", got, &stderr)
	}
	left, err := os.ReadDir(temporary)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("the demo left %v behind", left)
	}
}
