package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// soak is how many calls TestOverload makes by each of both ways.
var soak = flag.Int("overload.calls", 40, "how many calls TestOverload makes over HTTP, and as many over NATS")

// An engine of one partition and little memory, and publishers over both ways
// that send several times what fits.
const (
	overloadMiB        = 128
	overloadPublishers = 32
	overloadEvents     = 1_200 // of a call, about 1 MiB
	// maxOverloadMiB is what the process may take: what ingest may hold, as much
	// again for what is garbage, and what an idle engine has with its stores.
	maxOverloadMiB = 2*overloadMiB + 700
)

// overload counts what publishers hear.
type overload struct {
	calls, refused atomic.Int64
}

// verdict is how a call was answered: with 200, or with the status of a
// refusal and the seconds to wait, "" if none were told.
type verdict struct {
	status     int
	retryAfter string
}

func (v verdict) taken() bool { return v.status == http.StatusOK }

// pause waits as told.
func (v verdict) pause() error {
	seconds, err := strconv.Atoi(v.retryAfter)
	if err != nil || seconds < 1 || seconds > 60 {
		return fmt.Errorf("status %d: Retry-After %q, 1 to 60 wanted", v.status, v.retryAfter)
	}
	<-time.After(time.Duration(seconds) * time.Second)
	return nil
}

// call makes a call until it is taken.
func (o *overload) call(t *testing.T, try func() (verdict, error)) {
	o.calls.Add(1)
	for deadline := time.Now().Add(readyWithin); time.Now().Before(deadline); {
		v, err := try()
		switch {
		case err != nil:
			t.Errorf("no answer: %v", err)
			return
		case v.taken():
			return
		}
		o.refused.Add(1)
		if err := v.pause(); err != nil {
			t.Error(err)
			return
		}
	}
	t.Error("a call was not taken in five minutes")
}

// More load than the engine takes, over HTTP and NATS at once: publishers are
// told to come again and do, memory stays bounded, everything acknowledged is
// there afterwards, once, and the engine, still the same process, takes on.
func TestOverload(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	t.Parallel()
	p := startPublisher(t, t.TempDir(), "--partitions", "1", "--ingest-memory-mib", strconv.Itoa(overloadMiB))
	pad := strings.Repeat("x", 700)
	body := func(way string, call int) []byte {
		var b strings.Builder
		b.WriteString(`{"events":[`)
		for i := range overloadEvents {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"id":"%s-%d-%d","type":"page.viewed","time":"2026-11-20T10:00:00Z","identifiers":[{"type":"user_id","value":"%s%d"}],"view":{"url":"https://x/%s"}}`,
				way, call, i, way, call%overloadPublishers, pad)
		}
		b.WriteString(`]}`)
		return []byte(b.String())
	}
	var web, bus overload
	var publishers sync.WaitGroup
	publish := func(o *overload, way string, try func([]byte) (verdict, error)) {
		var next atomic.Int64
		for range overloadPublishers {
			publishers.Go(func() {
				for call := next.Add(1) - 1; call < int64(*soak) && !t.Failed(); call = next.Add(1) - 1 {
					o.call(t, func() (verdict, error) { return try(body(way, int(call))) })
				}
			})
		}
	}
	publish(&web, "web", p.tryPost)
	publish(&bus, "bus", p.tryPublish)
	publishers.Wait()
	t.Logf("HTTP: %d calls, %d times told to come again; NATS: %d messages, %d times; at most %d MiB",
		web.calls.Load(), web.refused.Load(), bus.calls.Load(), bus.refused.Load(), p.mostMemory()>>20)
	if web.refused.Load() == 0 || bus.refused.Load() == 0 {
		t.Errorf("refused over HTTP %d times, over NATS %d: this is no overload", web.refused.Load(), bus.refused.Load())
	}
	if most := p.mostMemory(); most > maxOverloadMiB<<20 {
		t.Errorf("the process took %d MiB, at most %d wanted", most>>20, maxOverloadMiB)
	}
	for _, way := range []string{"web", "bus"} {
		p.checkViews(way)
	}
	t.Logf("at most %d MiB until all was folded and asked for", p.mostMemory()>>20)
	// And on, without a restart.
	if v, err := p.tryPost(body("after", 0)); !v.taken() || err != nil {
		t.Errorf("a call afterwards: %+v, error %v", v, err)
	}
	if v, err := p.tryPublish(body("after", 1)); !v.taken() || err != nil {
		t.Errorf("a message afterwards: %+v, error %v", v, err)
	}
}

// checkViews checks that what was acknowledged counts, once.
func (p publisher) checkViews(way string) {
	p.t.Helper()
	p.awaitFolded()
	want := map[string]int{}
	for call := range *soak {
		want[fmt.Sprintf("%s%d", way, call%overloadPublishers)] += overloadEvents
	}
	for user, views := range want {
		if got := int(p.profile("user_id:"+user, "").Engagement.GetPageViews()); got != views {
			p.t.Errorf("user %s has %d views, want the %d that were acknowledged", user, got, views)
		}
	}
}

// comeAgain are the statuses of a refusal for now. 503 is told by a directory
// that a slow machine keeps from its log for 5 s.
var comeAgain = []int{http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusInsufficientStorage}

// tryPost makes a call over HTTP.
func (p publisher) tryPost(body []byte) (verdict, error) {
	r, err := http.Post(p.engineProcess.url+"/v1/events", "application/json", bytes.NewReader(body))
	if err != nil {
		return verdict{}, err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK && !slices.Contains(comeAgain, r.StatusCode) {
		err = fmt.Errorf("status %d: %s", r.StatusCode, text)
	}
	return verdict{r.StatusCode, r.Header.Get("Retry-After")}, err
}

// tryPublish publishes a message.
func (p publisher) tryPublish(body []byte) (verdict, error) {
	r, err := p.conn.RequestMsg(&nats.Msg{Subject: "dossier.intake.shop", Data: body}, readyWithin)
	if err != nil {
		return verdict{}, err
	}
	var reply intakeReply
	if err := json.Unmarshal(r.Data, &reply); err != nil {
		return verdict{}, err
	}
	if reply.Error == nil {
		return verdict{status: http.StatusOK}, nil
	}
	v := verdict{reply.Error.Code, r.Header.Get("Retry-After")}
	switch {
	case !slices.Contains(comeAgain, v.status):
		return v, fmt.Errorf("%s", r.Data)
	case v.retryAfter != strconv.Itoa(reply.RetryAfter):
		return v, fmt.Errorf("Retry-After %q in the header, %d in the body", v.retryAfter, reply.RetryAfter)
	}
	return v, nil
}

// mostMemory is the most that the process had in memory, in bytes; 0 where that
// cannot be told.
func (p *engineProcess) mostMemory() int64 {
	p.t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "status"))
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	line, _, _ := strings.Cut(rest, "kB")
	kib, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return kib << 10
}
