package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/natslog"
	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/intake"
	"github.com/dossier360/dossier/ingest/rejected"
	"github.com/dossier360/dossier/projections"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
	"github.com/dossier360/dossier/query"
	"github.com/dossier360/dossier/query/identity"
)

const (
	// maxSources bounds the sources that metrics tell apart; publishers over
	// NATS name theirs freely. The rest is one, which no source can be called.
	maxSources  = 100
	otherSource = "(other)"
	// sizesEvery is how often directories are measured: a log has many files.
	sizesEvery = 30 * time.Second
)

// latencies are the bounds of the histograms, in seconds: an fsync takes
// milliseconds, a call that waits for a server of the log half a minute.
var latencies = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// metrics is what an operator is told of a process, in a registry of its own.
// docs/OPERATIONS.md lists all of it; a test holds the two together.
type metrics struct {
	http.Handler // of /metrics

	registry       *prometheus.Registry
	events         *prometheus.CounterVec
	rejects        *prometheus.CounterVec
	calls          *prometheus.CounterVec
	callSeconds    prometheus.Histogram
	appendSeconds  *prometheus.HistogramVec
	appendErrors   *prometheus.CounterVec
	requests       *prometheus.CounterVec
	intakeMessages *prometheus.CounterVec
	requestSeconds *prometheus.HistogramVec
	sources        sourceLabels
	gauges         engineGauges
}

// watch lets the metrics tell of an engine that has started.
func (m *metrics) watch(e *engine) { m.gauges.engine.Store(e) }

// newMetrics makes the metrics of a process. Until an engine is watched they
// tell that it is not ready.
func newMetrics(s settings, logger *slog.Logger) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Name: name, Help: help, Buckets: latencies}
	}
	m := &metrics{
		registry:    prometheus.NewRegistry(),
		events:      counter("dossier_events_total", "Events taken in, by what became of them.", "source", "result"),
		rejects:     counter("dossier_rejected_events_total", "Events refused since the start, by reason.", "source", "code"),
		calls:       counter("dossier_ingest_calls_total", "Batches that reached the gateway, by how they ended.", "result"),
		callSeconds: prometheus.NewHistogram(histogram("dossier_ingest_call_seconds", "From a decoded batch to its durable end.")),
		appendSeconds: prometheus.NewHistogramVec(histogram("dossier_log_append_seconds",
			"From an append to its acknowledgement."), []string{"stream"}),
		appendErrors: counter("dossier_log_append_errors_total", "Appends that failed, by reason.", "stream", "reason"),
		requests:     counter("dossier_http_requests_total", "HTTP requests answered.", "group", "code"),
		requestSeconds: prometheus.NewHistogramVec(histogram("dossier_http_request_seconds",
			"From the first byte of a request to the last of its answer; without streams."), []string{"group"}),
		intakeMessages: counter("dossier_intake_messages_total", "Messages published over NATS, by how they were answered.", "result"),
		sources:        sourceLabels{known: map[string]bool{}},
		gauges:         engineGauges{data: s.data},
	}
	m.gauges.sources = &m.sources
	// A counter that is there from the beginning has a rate when it moves.
	m.calls.WithLabelValues("ok")
	m.calls.WithLabelValues(otherRefusal)
	for _, r := range refusals {
		m.calls.WithLabelValues(r.name)
	}
	for _, result := range intake.Results() {
		m.intakeMessages.WithLabelValues(result)
	}
	for _, stream := range []events.Stream{events.PartitionStream(0), events.IdentityStream, events.RejectedStream, events.FeedStream} {
		m.appendErrors.WithLabelValues(streamLabel(stream), otherRefusal)
		for _, r := range appendRefusals {
			m.appendErrors.WithLabelValues(streamLabel(stream), r.name)
		}
	}
	keys, _ := s.sources() // checked with the settings
	for _, source := range keys {
		if source != "" {
			m.sources.label(source)
		}
	}
	v := readVersions()
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "dossier_build_info", Help: "1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": v.Version, "revision": v.Revision, "go": v.Go},
	}, func() float64 { return 1 })
	m.registry.MustRegister(
		m.events, m.rejects, m.calls, m.callSeconds, m.appendSeconds, m.appendErrors, m.requests, m.requestSeconds, m.intakeMessages, build, &m.gauges,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	answer := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError,
	})
	m.Handler = query.Guard(s.readKeys, answer)
	return m
}

// refusal is an error that has a name of its own in a metric.
type refusal struct {
	err  error
	name string
}

// otherRefusal names all errors that have none.
const otherRefusal = "other"

var (
	// refusals are the errors of a batch that is sent again.
	refusals = []refusal{
		{ingest.ErrOverload, "overload"},
		{ingest.ErrDiskFull, "disk_full"},
		{ingest.ErrNotReady, "not_ready"},
		{context.Canceled, "canceled"},
		{context.DeadlineExceeded, "canceled"},
	}
	// appendRefusals are those of an append.
	appendRefusals = []refusal{
		{events.ErrConflict, "conflict"},
		{events.ErrUnknown, "unknown"},
		{events.ErrOverload, "overload"},
		{events.ErrFull, "full"},
	}
)

// nameOf is the name of an error.
func nameOf(err error, among []refusal) string {
	for _, r := range among {
		if errors.Is(err, r.err) {
			return r.name
		}
	}
	return otherRefusal
}

// took counts a batch that the gateway is done with.
func (m *metrics) took(source string, result ingest.Result, err error, elapsed time.Duration) {
	m.callSeconds.Observe(elapsed.Seconds())
	if err != nil {
		m.calls.WithLabelValues(nameOf(err, refusals)).Inc()
		return
	}
	m.calls.WithLabelValues("ok").Inc()
	source = m.sources.label(source)
	m.events.WithLabelValues(source, "accepted").Add(float64(result.Accepted))
	m.events.WithLabelValues(source, "duplicate").Add(float64(result.Duplicates))
	m.events.WithLabelValues(source, "rejected").Add(float64(len(result.Rejected)))
	for _, r := range result.Rejected {
		m.rejects.WithLabelValues(source, string(r.Code)).Inc()
	}
}

// sourceLabels bounds the sources told apart, first come first served.
type sourceLabels struct {
	mu    sync.Mutex
	known map[string]bool // guarded by mu
}

func (s *sourceLabels) label(source string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.known[source] {
		if len(s.known) >= maxSources {
			return otherSource
		}
		s.known[source] = true
	}
	return source
}

// measuredLog measures the appends of a log, and tells of those acknowledged.
type measuredLog struct {
	events.Log
	metrics      *metrics
	acknowledged func(s events.Stream, seq uint64)
}

// Append implements [events.Log].
func (l measuredLog) Append(ctx context.Context, s events.Stream, subject string, data []byte, e events.Expect) (uint64, error) {
	began := time.Now()
	seq, err := l.Log.Append(ctx, s, subject, data, e)
	stream := streamLabel(s)
	if err == nil {
		l.metrics.appendSeconds.WithLabelValues(stream).Observe(time.Since(began).Seconds())
		l.acknowledged(s, seq)
		return seq, nil
	}
	l.metrics.appendErrors.WithLabelValues(stream, nameOf(err, appendRefusals)).Inc()
	return seq, err
}

// streamLabel is one label for the streams of all partitions.
func streamLabel(s events.Stream) string {
	if strings.HasPrefix(string(s), "EVENTS_") {
		return "EVENTS"
	}
	return string(s)
}

// counted counts the requests that a handler answers.
func (m *metrics) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began, group := time.Now(), requestGroup(r.URL.Path)
		answer := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		defer func() {
			m.requests.WithLabelValues(group, strconv.Itoa(answer.status)).Inc()
			if group != groupStream {
				m.requestSeconds.WithLabelValues(group).Observe(time.Since(began).Seconds())
			}
		}()
		next.ServeHTTP(answer, r)
	})
}

// groupStream is requests that end when their caller wants.
const groupStream = "stream"

// requestGroup is the label of a path. Paths come from outside; groups do not.
func requestGroup(path string) string {
	if method, ok := strings.CutPrefix(path, "/"+queryv1connect.QueryServiceName+"/"); ok {
		if streaming[method] {
			return groupStream
		}
		return "query"
	}
	if strings.HasPrefix(path, identity.Path) {
		return "identity"
	}
	if strings.HasPrefix(path, "/v1/projects/") {
		return "settings"
	}
	if group, ok := groups[strings.TrimSuffix(path, "/")]; ok {
		return group
	}
	return "other"
}

// streaming are the methods of the query service that answer without an end.
var streaming = func() map[string]bool {
	names := map[string]bool{}
	methods := queryv1.File_dossier_query_v1_query_proto.Services().ByName("QueryService").Methods()
	for i := range methods.Len() {
		names[string(methods.Get(i).Name())] = methods.Get(i).IsStreamingServer()
	}
	return names
}()

// groups are paths by the wire that they belong to.
var groups = func() map[string]string {
	paths := map[string]string{}
	for group, list := range map[string]string{
		"segment": "/v1/identify /v1/track /v1/page /v1/screen /v1/group /v1/alias /v1/batch " +
			"/v1/i /v1/t /v1/p /v1/s /v1/g /v1/a /v1/b /v1/m",
		"posthog":     "/batch /e /capture /i/v0/e /i/v1/analytics/events /flags /flags/definitions",
		"cloudevents": "/v1/cloudevents",
		"native":      "/v1/events",
		"retry":       "/v1/rejected/retry /v1/parked/retry",
		"probe":       "/livez /readyz /metrics",
	} {
		for path := range strings.FieldsSeq(list) {
			paths[path] = group
		}
	}
	return paths
}()

// statusWriter notes the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
	wrote  bool
}

// WriteHeader implements [http.ResponseWriter].
func (w *statusWriter) WriteHeader(status int) {
	if !w.wrote && status >= http.StatusOK { // 1xx come before the answer
		w.status, w.wrote = status, true
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *statusWriter) Write(p []byte) (int, error) {
	w.wrote = true
	return w.ResponseWriter.Write(p)
}

// Flush implements [http.Flusher], which streams look for.
func (w *statusWriter) Flush() {
	w.wrote = true
	// A connection that cannot be flushed sends when it is full.
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap is for [http.ResponseController].
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// gauge describes what is read when metrics are asked for.
func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	descReady       = gauge("dossier_ready", "1 if /readyz answers 200.")
	descConnected   = gauge("dossier_log_connected", "1 if the log's server can be reached.")
	descLost        = gauge("dossier_log_lost_total", "How often the connection to the log was lost.")
	descApplied     = gauge("dossier_partition_applied", "Last message folded and committed.", "partition")
	descLast        = gauge("dossier_partition_last", "Last message of the partition's stream.", "partition")
	descLag         = gauge("dossier_partition_lag_messages", "Messages not folded yet.", "partition")
	descLagSeconds  = gauge("dossier_partition_lag_seconds", "Age of the oldest message not folded.", "partition")
	descSettled     = gauge("dossier_partition_settled_timestamp_seconds", "Settled time, seconds since 1970.", "partition")
	descParked      = gauge("dossier_partition_parked_events", "Events set aside by the fold.", "partition")
	descCustomers   = gauge("dossier_partition_customers", "Customers of the partition.", "partition")
	descMoves       = gauge("dossier_partition_moves", "Moves of merges and splits that are not done.", "partition")
	descUnheard     = gauge("dossier_partition_rules_unheard", "Rules of IDENTITY that the partition has not heard.", "partition")
	descStill       = gauge("dossier_partition_stands_still", "1 if the partition gets no further.", "partition")
	descIdentities  = gauge("dossier_directory_applied", "Last message of IDENTITY that the directory has.")
	descIdentityEnd = gauge("dossier_directory_last", "Last message of IDENTITY, as last heard.")
	descQuarantined = gauge("dossier_directory_quarantined_conflicts", "Identity conflicts that wait.")
	descWaiting     = gauge("dossier_rejected_waiting_events", "Refused events that wait to be tried again.", "source", "code")
	descIntake      = gauge("dossier_intake_waiting_messages", "Messages over NATS that are not answered yet.")
	descIntakeBytes = gauge("dossier_intake_waiting_bytes", "Bytes of these messages.")
	descUnanswered  = gauge("dossier_intake_unanswered_total", "Messages over NATS that could not be answered.")
	descDiskFree    = gauge("dossier_disk_free_bytes", "Free on the disk of --data.")
	descDiskReserve = gauge("dossier_disk_reserve_bytes", "Below this much free, intake answers 507.")
	descStoreBytes  = gauge("dossier_store_bytes", "Bytes on disk below --data.", "store")
)

// engineGauges reads the state of an engine when it is asked.
type engineGauges struct {
	data    string
	engine  atomic.Pointer[engine] // nil until it has started
	sources *sourceLabels          // of the metrics
	sizes   sizes
}

// Describe implements [prometheus.Collector]. What is there depends on the
// engine, so nothing is promised.
func (*engineGauges) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (g *engineGauges) Collect(out chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, value float64, labels ...string) {
		kind := prometheus.GaugeValue
		if d == descLost || d == descUnanswered {
			kind = prometheus.CounterValue
		}
		out <- prometheus.MustNewConstMetric(d, kind, value, labels...)
	}
	g.collectDisk(send)
	e := g.engine.Load()
	if e == nil {
		send(descReady, 0)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	send(descReady, number(e.readiness(ctx).Ready))
	c := e.log.Connection()
	send(descConnected, number(c.Connected))
	send(descLost, float64(c.Lost))
	var taken natslog.IntakeStatus
	if e.intake != nil {
		taken = e.intake.Status()
	}
	send(descIntake, float64(taken.Messages))
	send(descIntakeBytes, float64(taken.Bytes))
	send(descUnanswered, float64(taken.Unanswered))
	for i, p := range e.partitions {
		// Without an answer of the log, what was last known.
		status, _ := e.observed[i].status(ctx, p)
		collectPartition(send, status)
	}
	d := e.directory.Progress()
	send(descIdentities, float64(d.Applied))
	send(descIdentityEnd, float64(d.Last))
	send(descQuarantined, float64(d.Quarantined))
	g.collectWaiting(send, e.rejected.Counts())
}

// collectWaiting counts what was refused and waits; sources that are not told
// apart are one.
func (g *engineGauges) collectWaiting(send sendFunc, counts []rejected.Count) {
	type series struct{ source, code string }
	waiting := map[series]int{}
	for _, c := range counts {
		waiting[series{g.sources.label(c.Source), c.Code}] += c.Waiting
	}
	for s, n := range waiting {
		send(descWaiting, float64(n), s.source, s.code)
	}
}

type sendFunc func(d *prometheus.Desc, value float64, labels ...string)

func collectPartition(send sendFunc, s projections.Status) {
	id := strconv.Itoa(s.ID)
	last := max(s.Last, s.Applied)
	send(descApplied, float64(s.Applied), id)
	send(descLast, float64(last), id)
	send(descLag, float64(last-s.Applied), id)
	send(descLagSeconds, s.LagSeconds, id)
	send(descSettled, float64(s.Settled.UnixMilli())/1000, id)
	send(descParked, float64(s.Parked), id)
	send(descCustomers, float64(s.Customers), id)
	send(descMoves, float64(s.Jobs), id)
	send(descUnheard, float64(s.Unheard), id)
	send(descStill, number(s.Err != nil), id)
}

func (g *engineGauges) collectDisk(send sendFunc) {
	if free, total, err := diskSpace(g.data); err == nil {
		send(descDiskFree, float64(free))
		send(descDiskReserve, float64(diskReserveOf(total)))
	}
	for store, bytes := range g.sizes.of(g.data) {
		send(descStoreBytes, float64(bytes), store)
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// sizes measures the directories of --data, and remembers for a while.
type sizes struct {
	mu    sync.Mutex
	at    time.Time         // guarded by mu
	bytes map[string]uint64 // guarded by mu; replaced, not changed
}

// of returns the bytes of log, projections, directory and what was set aside.
func (s *sizes) of(data string) map[string]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes != nil && time.Since(s.at) < sizesEvery {
		return s.bytes
	}
	bytes := map[string]uint64{"log": 0, "projections": 0, "directory": 0, "aside": 0}
	// Files come and go while one looks; what is gone does not count.
	_ = filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		relative, err := filepath.Rel(data, path)
		if err != nil {
			return nil
		}
		store, _, _ := strings.Cut(filepath.ToSlash(relative), "/")
		if strings.Contains(relative, ".aside-") {
			store = "aside"
		}
		if _, known := bytes[store]; !known {
			return nil
		}
		if info, err := d.Info(); err == nil {
			bytes[store] += allocated(info)
		}
		return nil
	})
	s.at, s.bytes = time.Now(), bytes
	return bytes
}
