package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dossier360/dossier/ingest/simulator"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
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

// commandWords splits a command line as a shell does, as far as the demo needs.
func commandWords(line string) []string {
	var args []string
	for _, word := range storyWords.FindAllString(line, -1) {
		args = append(args, strings.Trim(word, "'"))
	}
	return args
}

func TestDemoEnd(t *testing.T) {
	t.Parallel()
	for end, want := range map[string]string{
		"2999-01-01": "--end 2999-01-01: an instant from 1980 to now wanted",
		"1979-12-31": "--end 1979-12-31: an instant from 1980 to now wanted",
		"soon":       "--end",
	} {
		if status, out, stderr := dossier(t, nil, "demo", "--end", end, "--http", "127.0.0.1:0"); status != exitUsage || out != "" || !strings.Contains(stderr, want) {
			t.Errorf("--end %s: got status %d, %q and %q; want %d and %q", end, status, out, stderr, exitUsage, want)
		}
	}
}

// Nothing in the sample is more than the engine shows, and none of its sections
// stays empty.
func TestDemoShowsEverySection(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds; make test runs it")
	}
	t.Parallel()
	p := startProcess(t, t.TempDir(), "--clock", "events", "--clock-end", "2026-12-31T00:00:00Z")
	s := simulator.Shop{Seed: 1, End: time.Date(2026, 6, 30, 12, 0, 0, 0, time.UTC), Customers: 200}
	for call := range s.Calls(demoBatch) {
		if got := p.post(call.Path, json.RawMessage(call.Body), http.StatusOK); len(got.Rejected) > 0 {
			t.Fatalf("%s: %v", call.Path, got.Rejected)
		}
	}
	p.awaitFolded()
	for condition, most := range map[string]uint32{
		`kind == "person"`:                  200,
		`kind == "company" && members >= 3`: 20,
		`size(memberships) > 1`:             20,
		`size(acquisition.byChannel) >= 3 && acquisition.adClicks > 0`: 200,
		`service.reopened > 0 && has(service.rating)`:                  200,
		`service.open > 0`: 200,
		`referrals.converted > 0 && size(identifiers) > 1`:           100,
		`interactions.inbound > 0 && interactions.outbound > 0`:      200,
		`traits.owner.manual`:                                        100,
		`traits.industry.value == "教育" && traits.city.value == "上海"`: 100,
	} {
		resp, err := p.query().CountProfiles(t.Context(), &queryv1.CountProfilesRequest{Filter: condition})
		if err != nil {
			t.Fatalf("%s: %v", condition, err)
		}
		if n := resp.GetCount(); n == 0 || n > most {
			t.Errorf("%s: %d customers, want 1 to %d", condition, n, most)
		}
	}
	resp, err := p.query().ListProfiles(t.Context(), &queryv1.ListProfilesRequest{Filter: "size(flags) > 0", Fields: []string{"name", "flags"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.GetProfiles()) > 0 {
		t.Errorf("customers with flags: %v", resp.GetProfiles())
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
		status <- run(ctx, std, []string{"demo", "--http", quietAddress(t), "--customers", "40", "--seed", "3"})
	}()
	select {
	case <-out.seen:
	case got := <-status:
		t.Fatalf("the demo ended with status %d\n%s\n%s", got, out, &stderr)
	}
	commands := regexp.MustCompile(` ((?:get|timeline|list|find) .*--server (\S+)) +# (\w+)`).FindAllStringSubmatch(out.String(), -1)
	if len(commands) < 7 || !strings.Contains(out.String(), "40 customers") || !strings.Contains(out.String(), "\n40 persons") {
		t.Errorf("the demo shows %d commands, want 7 or more, and 40 customers:\n%s", len(commands), out)
	}
	for _, c := range commands {
		args := commandWords(c[1])
		got, shown, complaint := dossier(t, nil, args...)
		want := c[3] // a stage, or how many
		switch args[0] {
		case "find":
			want = "李"
		case "timeline":
			want = "order.placed"
		case "list":
			if n := strconv.Itoa(strings.Count(shown, "\n") - 1); n != want {
				t.Errorf("%s: %s lines, want %s:\n%s", c[1], n, want, shown)
			}
			want = ""
		}
		if got != exitDone || !strings.Contains(shown, want) {
			t.Errorf("%s: status %d, %s%s; want one that mentions %q", c[1], got, shown, complaint, want)
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
