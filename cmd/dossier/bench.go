package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/natslog"
	"github.com/dossier360/dossier/ingest/simulator"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

const (
	// benchPoll is how finely the end of folding is found.
	benchPoll = 5 * time.Millisecond
	// benchSample is how often the server's memory is looked at.
	benchSample = time.Second
	// benchStop is how long a server may take to stop in order.
	benchStop = time.Minute
	// laxSync is what --sync interval means.
	laxSync = time.Second
	// benchMostEvents bounds the bodies that are held while sending: about 250
	// bytes an event.
	benchMostEvents = 10_000_000
)

// benchRun is the command, and what it measures.
type benchRun struct {
	*client
	life        string
	seed        uint64
	events      int
	users       int
	play        play
	batch       int
	connections int
	partitions  int
	sync        string
	chosen      bool // --server was given: a running one is measured
}

const benchHelp = `Measures a server: starts one of its own in a directory of its own (or takes the
one that --server names), sends it events over HTTP until all are acknowledged, and
waits until all are in the answers of queries. The generator is this process, the
server another; all bodies are made before the clock starts. Then, the server
stopped, the records that came of it are appended to an empty log, each fsynced and
nothing else done: L, the ceiling of the log on this machine.

A server of your own keeps what it is told, and L is not measured.`

// bench measures a server.
func bench(ctx context.Context, std stdio, args []string) error {
	b := benchRun{client: newClient(std, "bench", "bench [flags]", benchHelp)}
	b.flags.StringVar(&b.life, "life", lifeTraffic, "`traffic` (page views, Zipf activity), shop or firm")
	b.flags.Uint64Var(&b.seed, "seed", 1, "`number` that the events are made from")
	b.flags.IntVar(&b.events, "events", 100_000, "`number` of events, of traffic")
	b.flags.IntVar(&b.users, "users", simulator.DefaultUsers, "`number` of users, of traffic")
	b.flags.IntVar(&b.play.customers, "customers", 1_000, "`number` of customers, of a shop or firm")
	b.flags.IntVar(&b.batch, "batch", 100, "`number` of events a call, at most 2,500")
	b.flags.IntVar(&b.connections, "connections", 8, "`number` of connections that send at once")
	b.writeKeyFlag()
	b.flags.IntVar(&b.partitions, "partitions", 4, "`number` of partitions of a server of its own")
	b.flags.StringVar(&b.sync, "sync", "always", "`always` or interval, of a server of its own")
	if _, err := b.parse(args); err != nil {
		return err
	}
	b.chosen = std.getenv("DOSSIER_SERVER") != ""
	b.flags.Visit(func(f *flag.Flag) { b.chosen = b.chosen || f.Name == "server" })
	calls, err := b.calls()
	if err != nil {
		return err
	}
	figures, err := b.measure(ctx, calls)
	if err != nil {
		return err
	}
	return b.report(figures)
}

// calls makes all bodies.
func (b *benchRun) calls() ([]simulator.Call, error) {
	switch {
	case b.events < 1 || b.events > benchMostEvents:
		return nil, wrongUsage("--events %d: 1 to %d wanted", b.events, benchMostEvents)
	case b.users < 2:
		return nil, wrongUsage("--users %d: 2 or more wanted", b.users)
	case b.batch < 1 || b.batch > simulator.MaxBatch:
		return nil, wrongUsage("--batch %d: 1 to %d wanted", b.batch, simulator.MaxBatch)
	case b.life != lifeTraffic && b.life != lifeShop && b.life != lifeFirm:
		return nil, wrongUsage("--life %q: traffic, shop or firm wanted", b.life)
	case b.partitions < 1 || b.partitions > 99:
		return nil, wrongUsage("--partitions %d: 1 to 99 wanted", b.partitions)
	case b.sync != "always" && b.sync != "interval":
		return nil, wrongUsage("--sync %q: always or interval wanted", b.sync)
	case b.connections < 1 || b.connections > 1000:
		return nil, wrongUsage("--connections %d: 1 to 1000 wanted", b.connections)
	}
	b.play.end = time.Now().UTC().Truncate(24 * time.Hour) // of one day the same events
	if b.life == lifeTraffic {
		return slices.Collect(simulator.Traffic{Seed: b.seed, End: b.play.end, Events: b.events, Users: b.users}.Calls(b.batch)), nil
	}
	t, err := storyOf(b.life, b.seed, b.play, b.batch)
	if err != nil {
		return nil, err
	}
	return slices.Collect(t.calls), nil
}

// figures are what was measured. Rates are events a second.
type figures struct {
	Life                string   `json:"life"`
	Seed                uint64   `json:"seed"`
	Events              int      `json:"events"`
	Batch               int      `json:"batch"`
	Connections         int      `json:"connections"`
	Duplicates          int      `json:"duplicates"`
	BusyAnswers         int      `json:"busyAnswers"`
	AcknowledgedSeconds float64  `json:"acknowledgedSeconds"`
	QueryableSeconds    float64  `json:"queryableSeconds"`
	AcknowledgedRate    float64  `json:"acknowledgedPerSecond"`
	QueryableRate       float64  `json:"queryablePerSecond"`
	P50Millis           float64  `json:"acknowledgementP50Millis"`
	P99Millis           float64  `json:"acknowledgementP99Millis"`
	LastSeconds         float64  `json:"lastQueryableAfterSeconds"`
	ServerPeakBytes     *float64 `json:"serverPeakBytes,omitempty"`
	ServerCPUSeconds    *float64 `json:"serverCpuSeconds,omitempty"`
	LogBytesPerEvent    *float64 `json:"logBytesPerEvent,omitempty"`
	CeilingRate         *float64 `json:"ceilingPerSecond,omitempty"`
	OfCeiling           *float64 `json:"queryableOfCeiling,omitempty"`
	Machine             machine  `json:"machine"`
}

// machine is where it was measured.
type machine struct {
	CPU      string `json:"cpu"`
	Cores    int    `json:"cores"`
	System   string `json:"system"`
	Go       string `json:"go"`
	Revision string `json:"revision"`
	Modified bool   `json:"modified"`
}

func thisMachine() machine {
	v := readVersions()
	m := machine{CPU: runtime.GOARCH, Cores: runtime.NumCPU(), System: runtime.GOOS + "/" + runtime.GOARCH, Go: v.Go, Revision: v.Revision, Modified: v.Modified}
	// Linux tells; elsewhere the architecture has to do.
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return m
	}
	for line := range strings.Lines(string(info)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
	return m
}

// measure runs the whole: server, load, ceiling.
func (b *benchRun) measure(ctx context.Context, calls []simulator.Call) (f figures, err error) {
	if b.chosen {
		return b.load(ctx, calls)
	}
	dir, err := os.MkdirTemp("", "dossier-bench-")
	if err != nil {
		return f, fmt.Errorf("make a directory for the server: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	data := filepath.Join(dir, "data")
	server, err := b.start(ctx, data)
	if err != nil {
		return f, err
	}
	defer server.kill()
	if f, err = b.load(ctx, calls); err != nil {
		return f, server.explain(err)
	}
	if err := server.stop(); err != nil {
		return f, err
	}
	// Bodies are not wanted any more: the ceiling has the machine for itself.
	clear(calls)
	return f, f.ceiling(ctx, data, filepath.Join(dir, "ceiling"), syncInterval(b.sync))
}

// child is a server of the benchmark's own.
type child struct {
	cmd    *exec.Cmd
	ended  chan struct{}
	status error // once ended is closed
	tail   *tailBuffer
}

// tailBuffer keeps the last of what a server logs.
type tailBuffer struct {
	mu   sync.Mutex
	last []string // guarded by mu
}

func (t *tailBuffer) add(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last = append(t.last, line); len(t.last) > 10 {
		t.last = t.last[1:]
	}
}

var benchServing = regexp.MustCompile(`msg=serving http=(\S+)`)

// start serves a directory in another process, and sets the client to it.
func (b *benchRun) start(ctx context.Context, data string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	c := &child{ended: make(chan struct{}), tail: &tailBuffer{}}
	c.cmd = exec.Command(self, "serve", "--data", data, "--http", "127.0.0.1:0", "--nats-listen", "off",
		"--partitions", strconv.Itoa(b.partitions), "--sync", b.sync)
	// Settings of the environment are for other servers.
	c.cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "DOSSIER_") })
	stderr, err := c.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the server: %w", err)
	}
	address := make(chan string, 1)
	go c.follow(stderr, address)
	select {
	case b.server = <-address:
	case <-c.ended:
		return nil, c.explain(fmt.Errorf("the server ended: %w", c.status))
	case <-ctx.Done():
		c.kill()
		return nil, ctx.Err()
	}
	b.shown, b.readKey, b.writeKey = b.server, "", ""
	err = every(ctx, demoPoll, func() (bool, error) {
		select {
		case <-c.ended:
			return false, c.explain(fmt.Errorf("the server ended: %w", c.status))
		default:
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.server+"/readyz", nil)
		if err != nil {
			return false, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false, ctx.Err() // not listening yet
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK, nil
	})
	if err != nil {
		c.kill()
		return nil, err
	}
	return c, nil
}

// follow finds the address in the server's log, and waits for its end.
func (c *child) follow(log io.Reader, address chan<- string) {
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		c.tail.add(lines.Text())
		if m := benchServing.FindStringSubmatch(lines.Text()); m != nil {
			select {
			case address <- m[1]:
			default:
			}
		}
	}
	c.status = c.cmd.Wait()
	close(c.ended)
}

// explain adds what the server said last to an error.
func (c *child) explain(err error) error {
	c.tail.mu.Lock()
	defer c.tail.mu.Unlock()
	return fmt.Errorf("%w; the server's log ended:\n%s", err, strings.Join(c.tail.last, "\n"))
}

// stop ends the server in order.
func (c *child) stop() error {
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop the server: %w", err)
	}
	select {
	case <-c.ended:
	case <-time.After(benchStop):
		c.kill()
		return fmt.Errorf("the server did not stop within %v", benchStop)
	}
	if c.status != nil {
		return c.explain(fmt.Errorf("the server stopped with %w", c.status))
	}
	return nil
}

// kill ends it at once, if it has not ended.
func (c *child) kill() {
	// An error says that it has ended already.
	_ = c.cmd.Process.Kill()
	<-c.ended
}

// load sends the calls and waits until all is queryable.
func (b *benchRun) load(ctx context.Context, calls []simulator.Call) (figures, error) {
	f := figures{Life: b.life, Seed: b.seed, Batch: b.batch, Connections: b.connections, Machine: thisMachine()}
	for _, c := range calls {
		f.Events += c.Events
	}
	fmt.Fprintf(b.std.err, benchWords[b.lang].sending+"\n", group(strconv.Itoa(f.Events)), b.shown)
	before, err := b.scrape(ctx)
	if err != nil {
		return f, err
	}
	watch, done := b.watch(ctx)
	began := time.Now()
	latencies, err := b.send(ctx, calls, &f)
	acknowledged := time.Since(began)
	if err == nil {
		err = b.awaitFolded(ctx)
	}
	queryable := time.Since(began)
	done()
	peak := <-watch
	if err != nil {
		return f, err
	}
	after, err := b.scrape(ctx)
	if err != nil {
		return f, err
	}
	f.times(latencies, acknowledged, queryable)
	if cpu, known := after.cpuSeconds, before.told; known {
		cpu -= before.cpuSeconds
		peak = max(peak, after.residentBytes)
		f.ServerCPUSeconds, f.ServerPeakBytes = &cpu, &peak
	}
	if !before.told {
		return f, nil
	}
	// Others may send to a server that was running.
	counted, fresh := int(after.accepted-before.accepted), f.Events-f.Duplicates
	if counted < fresh || counted > fresh && !b.chosen {
		return f, fmt.Errorf("%d events were acknowledged as new, the server counted %d", fresh, counted)
	}
	return f, nil
}

func (f *figures) times(latencies []time.Duration, acknowledged, queryable time.Duration) {
	slices.Sort(latencies)
	at := func(share float64) float64 {
		return latencies[min(len(latencies)-1, int(share*float64(len(latencies))))].Seconds() * 1000
	}
	f.P50Millis, f.P99Millis = at(0.50), at(0.99)
	f.AcknowledgedSeconds, f.QueryableSeconds = acknowledged.Seconds(), queryable.Seconds()
	f.AcknowledgedRate, f.QueryableRate = float64(f.Events)/acknowledged.Seconds(), float64(f.Events)/queryable.Seconds()
	f.LastSeconds = (queryable - acknowledged).Seconds()
}

// send sends all calls over the connections, and returns how long each took
// from its first byte to its answer, the waiting of a busy server included.
func (b *benchRun) send(ctx context.Context, calls []simulator.Call, f *figures) ([]time.Duration, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: b.connections, MaxConnsPerHost: b.connections}
	defer transport.CloseIdleConnections()
	to := sender{client: &http.Client{Transport: transport}, server: strings.TrimSuffix(b.server, "/"), key: b.writeKey}
	latencies := make([]time.Duration, len(calls))
	var next, duplicates, busy atomic.Int64
	sending, ctx := errgroup.WithContext(ctx)
	for range b.connections {
		sending.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(calls) {
					return nil
				}
				began := time.Now()
				answer, err := to.send(ctx, calls[i])
				if err != nil {
					return err
				}
				latencies[i] = time.Since(began)
				duplicates.Add(int64(answer.Duplicates))
				busy.Add(int64(answer.Busy))
			}
		})
	}
	err := sending.Wait()
	f.Duplicates, f.BusyAnswers = int(duplicates.Load()), int(busy.Load())
	return latencies, err
}

// awaitFolded waits until every partition answers with all that it holds.
func (b *benchRun) awaitFolded(ctx context.Context) error {
	service := b.service()
	return every(ctx, benchPoll, func() (bool, error) {
		status, err := service.GetStatus(ctx, &queryv1.GetStatusRequest{})
		if err != nil {
			return false, b.explain(err)
		}
		lags := slices.ContainsFunc(status.GetPartitions(), func(p *queryv1.PartitionStatus) bool { return p.GetLagEvents() > 0 })
		// Where the log did not answer, how far it is was heard earlier.
		return status.GetLogError() == "" && !lags, nil
	})
}

// scraped is what a server tells of itself.
type scraped struct {
	told                                bool
	accepted, cpuSeconds, residentBytes float64
}

// scrape reads the server's metrics. One that tells none is measured without.
func (b *benchRun) scrape(ctx context.Context) (scraped, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(b.server, "/")+"/metrics", nil)
	if err != nil {
		return scraped{}, err
	}
	if b.readKey != "" {
		req.Header.Set("Authorization", "Bearer "+b.readKey)
	}
	resp, err := (&http.Client{Transport: b.transport()}).Do(req)
	if err != nil {
		return scraped{}, b.explain(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return scraped{}, nil
	}
	s := scraped{told: true}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), " ")
		value, err := strconv.ParseFloat(text, 64)
		switch {
		case err != nil:
		case name == "process_cpu_seconds_total":
			s.cpuSeconds = value
		case name == "process_resident_memory_bytes":
			s.residentBytes = value
		case strings.HasPrefix(name, "dossier_events_total{") && strings.Contains(name, `result="accepted"`):
			s.accepted += value
		}
	}
	return s, lines.Err()
}

// watch looks at the server's memory now and then until done is called; then
// the channel has the most that was seen.
func (b *benchRun) watch(ctx context.Context) (peak <-chan float64, done func()) {
	ctx, done = context.WithCancel(ctx)
	result := make(chan float64, 1)
	go func() {
		most := 0.0
		// It ends when the context does; what could not be read is not known.
		_ = every(ctx, benchSample, func() (bool, error) {
			if s, err := b.scrape(ctx); err == nil {
				most = max(most, s.residentBytes)
			}
			return false, nil
		})
		result <- most
	}()
	return result, done
}

// ceiling appends the records of a stopped server to an empty log.
func (f *figures) ceiling(ctx context.Context, data, empty string, sync time.Duration) error {
	records, sizeBytes, err := recordsOf(ctx, data)
	if err != nil {
		return fmt.Errorf("read the records of the run: %w", err)
	}
	took, err := appendAll(ctx, empty, records, sync)
	if err != nil {
		return fmt.Errorf("measure the ceiling: %w", err)
	}
	perEvent, rate := float64(sizeBytes)/float64(f.Events), float64(f.Events)/took.Seconds()
	share := f.QueryableRate / rate
	f.LogBytesPerEvent, f.CeilingRate, f.OfCeiling = &perEvent, &rate, &share
	return nil
}

// syncInterval is how often a log of --sync is fsynced; 0 is at every append.
func syncInterval(sync string) time.Duration {
	if sync == "interval" {
		return laxSync
	}
	return 0
}

// recordsOf are the record batches in the log of a stopped server, by
// partition.
func recordsOf(ctx context.Context, data string) (records [][][]byte, sizeBytes int, err error) {
	quiet := slog.New(slog.DiscardHandler)
	server, err := natslog.Serve(ctx, natslog.Options{Dir: (&settings{data: data}).logDir(), Logger: quiet})
	if err != nil {
		return nil, 0, err
	}
	defer server.Close()
	l, err := natslog.Open(ctx, natslog.Dial{Server: server, Logger: quiet})
	if err != nil {
		return nil, 0, err
	}
	defer l.Close()
	genesis, err := events.ReadGenesis(ctx, l)
	if err != nil {
		return nil, 0, err
	}
	records = make([][][]byte, genesis.GetPartitions())
	for p := range records {
		info, err := l.Info(ctx, events.PartitionStream(p))
		if err != nil {
			return nil, 0, err
		}
		for seq := info.First; seq <= info.Last; seq++ {
			m, err := l.Get(ctx, events.PartitionStream(p), seq)
			if err != nil {
				return nil, 0, err
			}
			if m.Subject == events.SubjectEvents(p) {
				records[p] = append(records[p], slices.Clone(m.Data))
				sizeBytes += len(m.Data)
			}
		}
	}
	return records, sizeBytes, nil
}

// appendAll appends records to an empty log, one append in flight a partition.
func appendAll(ctx context.Context, dir string, records [][][]byte, sync time.Duration) (time.Duration, error) {
	quiet := slog.New(slog.DiscardHandler)
	server, err := natslog.Serve(ctx, natslog.Options{Dir: dir, Logger: quiet, SyncInterval: sync})
	if err != nil {
		return 0, err
	}
	defer server.Close()
	l, err := natslog.Open(ctx, natslog.Dial{Server: server, Logger: quiet})
	if err != nil {
		return 0, err
	}
	defer l.Close()
	for p := range records {
		if err := l.CreateStream(ctx, events.StreamConfig{
			Name: events.PartitionStream(p), Subjects: []string{events.SubjectEvents(p)}, Permanent: true,
		}); err != nil {
			return 0, err
		}
	}
	began := time.Now()
	sending, ctx := errgroup.WithContext(ctx)
	for p, list := range records {
		sending.Go(func() error {
			for _, data := range list {
				if _, err := l.Append(ctx, events.PartitionStream(p), events.SubjectEvents(p), data, events.Expect{}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = sending.Wait()
	return time.Since(began), err
}

// benchVocabulary is what the report says in one language.
type benchVocabulary struct {
	sending                                             string
	load, loadFormat                                    string
	acknowledged, queryable, rateFormat                 string
	latency, last, memory, cpu, log, ceiling, ofCeiling string
	known, busy, machine, unknown, modified             string
	bytesFormat                                         string
}

var benchWords = map[string]benchVocabulary{
	langEN: {
		sending: "sending %s events to %s …", load: "load", loadFormat: "%s events of %s (seed %d), %d a call, %d connections",
		acknowledged: "acknowledged", queryable: "queryable", rateFormat: "%s /s (%.2f s)",
		latency: "acknowledgement of a call, p50 and p99", last: "last one queryable after", memory: "server's memory, most seen", cpu: "server's processor time",
		log: "log", ceiling: "L, the log alone", ofCeiling: "queryable as a share of L", known: "known before", busy: "answers \"too busy\"",
		machine: "machine", unknown: "unknown commit", modified: ", modified", bytesFormat: "%.0f bytes an event",
	},
	langZH: {
		sending: "正在发送 %s 个事件到 %s …", load: "负载", loadFormat: "%s 个事件，%s（种子 %d），每次 %d 个，%d 个连接",
		acknowledged: "已确认", queryable: "可查询", rateFormat: "每秒 %s（%.2f 秒）",
		latency: "单次确认延迟 p50、p99", last: "最后一个可查询，再等", memory: "服务器内存（所见最大）", cpu: "服务器处理器时间",
		log: "日志", ceiling: "L，仅日志", ofCeiling: "可查询与 L 之比", known: "此前已知", busy: "答复“过忙”次数",
		machine: "机器", unknown: "提交未知", modified: "，有改动", bytesFormat: "每个事件 %.0f 字节",
	},
}

func (b *benchRun) report(f figures) error {
	if b.json {
		return json.NewEncoder(b.std.out).Encode(f)
	}
	w, t := benchWords[b.lang], &table{}
	rate := func(perSecond float64) string { return group(strconv.Itoa(int(perSecond + 0.5))) }
	t.add(w.load, fmt.Sprintf(w.loadFormat, group(strconv.Itoa(f.Events)), f.Life, f.Seed, f.Batch, f.Connections))
	t.add(w.acknowledged, fmt.Sprintf(w.rateFormat, rate(f.AcknowledgedRate), f.AcknowledgedSeconds))
	t.add(w.queryable, fmt.Sprintf(w.rateFormat, rate(f.QueryableRate), f.QueryableSeconds))
	t.add(w.latency, fmt.Sprintf("%.1f ms, %.1f ms", f.P50Millis, f.P99Millis))
	t.add(w.last, fmt.Sprintf("%.2f s", f.LastSeconds))
	if f.Duplicates > 0 {
		t.add(w.known, group(strconv.Itoa(f.Duplicates)))
	}
	if f.BusyAnswers > 0 {
		t.add(w.busy, group(strconv.Itoa(f.BusyAnswers)))
	}
	if f.ServerPeakBytes != nil {
		t.add(w.memory, fmt.Sprintf("%.0f MiB", *f.ServerPeakBytes/(1<<20)))
		t.add(w.cpu, fmt.Sprintf("%.1f s", *f.ServerCPUSeconds))
	}
	if f.CeilingRate != nil {
		t.add(w.log, fmt.Sprintf(w.bytesFormat, *f.LogBytesPerEvent))
		t.add(w.ceiling, rate(*f.CeilingRate)+" /s")
		t.add(w.ofCeiling, fmt.Sprintf("%.1f %%", 100**f.OfCeiling))
	}
	commit := cmp.Or(f.Machine.Revision, w.unknown)
	if f.Machine.Modified {
		commit += w.modified
	}
	t.add(w.machine, fmt.Sprintf("%s, %d × %s, %s, %s", f.Machine.System, f.Machine.Cores, f.Machine.CPU, f.Machine.Go, commit))
	return t.write(b.std.out)
}
