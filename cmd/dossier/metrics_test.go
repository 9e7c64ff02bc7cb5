package main

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dossier360/dossier/ingest"
)

// documented reads the table of metrics in docs/OPERATIONS.md: name to type
// and labels.
func documented(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, "docs/OPERATIONS.md"))
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `(dossier_\\w+)` \\| (\\w+) \\|([^|]*)\\|([^|]*)\\|[^|]*\\|$")
	list := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		if _, twice := list[m[1]]; twice {
			t.Errorf("docs/OPERATIONS.md lists %s twice", m[1])
		}
		if strings.TrimSpace(m[4]) == "" {
			t.Errorf("docs/OPERATIONS.md does not say what %s means", m[1])
		}
		list[m[1]] = fmt.Sprintf("%s {%s}", m[2], strings.ReplaceAll(strings.TrimSpace(m[3]), "`", ""))
	}
	return list
}

// shown reads an answer of /metrics the same way.
func shown(text string) map[string]string {
	kinds, labels := map[string]string{}, map[string]map[string]bool{}
	label := regexp.MustCompile(`(\w+)="`)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if name, kind, ok := strings.Cut(strings.TrimPrefix(line, "# TYPE "), " "); ok && strings.HasPrefix(line, "# TYPE dossier_") {
			kinds[name], labels[name] = kind, map[string]bool{}
			continue
		}
		name := line[:strings.IndexAny(line+" ", "{ ")]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base, ok := strings.CutSuffix(name, suffix); ok && kinds[base] == "histogram" {
				name = base
			}
		}
		if labels[name] == nil {
			continue
		}
		before, _, _ := strings.Cut(line, "} ")
		for _, m := range label.FindAllStringSubmatch(before, -1) {
			if m[1] != "le" {
				labels[name][m[1]] = true
			}
		}
	}
	list := map[string]string{}
	for name, kind := range kinds {
		list[name] = fmt.Sprintf("%s {%s}", kind, strings.Join(slices.Sorted(maps.Keys(labels[name])), ", "))
	}
	return list
}

// What the document lists is what an engine shows, and the other way round;
// and what happened is what is counted.
func TestMetrics(t *testing.T) {
	t.Parallel()
	p := startProcess(t, t.TempDir(), "--partitions", "2", "--read-key", "ask", "--write-key", "shop=tell")
	track := func(key, body string, want int) answer {
		t.Helper()
		a, status, err := send(p.url+"/v1/batch?writeKey="+key, http.Header{"Content-Type": {"application/json"}}, []byte(body))
		if err != nil || status != want {
			t.Fatalf("post: status %d, error %v; want %d", status, err, want)
		}
		return a
	}
	body := `{"batch":[{"type":"track","event":"a","userId":"1","messageId":"m1"},{"type":"track","event":"b","userId":"2","messageId":"m2"},
		{"type":"track","event":"c","messageId":"m3"}]}`
	track("tell", body, 200)
	track("tell", body, 200)
	track("wrong", body, 401)
	if _, _, err := send(p.url+"/dossier.query.v1.QueryService/GetProfile", http.Header{
		"Content-Type": {"application/json"}, "Authorization": {"Bearer ask"},
	}, []byte(`{"customer":"user_id:42"}`)); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := p.probe("/metrics"); status != http.StatusUnauthorized {
		t.Errorf("/metrics without the read key: status %d, want 401", status)
	}
	// It answers once the rejects are known.
	if _, status, err := send(p.url+"/dossier.query.v1.QueryService/ListRejected", http.Header{
		"Content-Type": {"application/json"}, "Authorization": {"Bearer ask"},
	}, []byte(`{}`)); err != nil || status != http.StatusOK {
		t.Fatalf("list rejects: status %d, error %v", status, err)
	}
	text := p.metrics("ask")
	got, want := shown(text), documented(t)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/OPERATIONS.md and /metrics differ (-document +engine):\n%s", diff)
	}
	for _, line := range []string{
		`dossier_ready 1`,
		`dossier_log_connected 1`,
		`dossier_events_total{result="accepted",source="shop"} 2`,
		`dossier_events_total{result="duplicate",source="shop"} 2`,
		`dossier_events_total{result="rejected",source="shop"} 2`,
		`dossier_rejected_events_total{code="missing_id",source="shop"} 2`,
		`dossier_ingest_calls_total{result="ok"} 2`,
		`dossier_ingest_calls_total{result="overload"} 0`,
		`dossier_http_requests_total{code="200",group="segment"} 2`,
		`dossier_http_requests_total{code="401",group="segment"} 1`,
		`dossier_http_requests_total{code="404",group="query"} 1`,
		`dossier_http_requests_total{code="401",group="probe"} 1`,
		`dossier_log_append_seconds_count{stream="REJECTED"} 2`,
		`dossier_log_append_errors_total{reason="full",stream="EVENTS"} 0`,
		`dossier_rejected_waiting_events{code="missing_id",source="shop"} 2`,
		`dossier_partition_stands_still{partition="0"} 0`,
		`dossier_directory_quarantined_conflicts 0`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("not in /metrics: %s", line)
		}
	}
	for _, name := range []string{"go_goroutines", "process_resident_memory_bytes", "process_open_fds"} {
		if !strings.Contains(text, "\n"+name+" ") {
			t.Errorf("not in /metrics: %s", name)
		}
	}
	if t.Failed() {
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "dossier_") && !strings.Contains(line, "_bucket") {
				t.Log(strings.TrimSpace(line))
			}
		}
	}
}

// metrics is the answer of /metrics.
func (p *engineProcess) metrics(key string) string {
	p.t.Helper()
	r, err := http.NewRequest(http.MethodGet, p.url+"/metrics", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		p.t.Fatalf("/metrics: status %d", resp.StatusCode)
	}
	return readAll(p.t, resp)
}

// Publishers name their sources freely; metrics are bounded all the same.
func TestSourcesAreBounded(t *testing.T) {
	t.Parallel()
	s := sourceLabels{known: map[string]bool{}}
	for i := range maxSources {
		if name := fmt.Sprintf("s%d", i); s.label(name) != name {
			t.Errorf("source %d of %d is %s", i+1, maxSources, s.label(name))
		}
	}
	if got := s.label("one-more"); got != otherSource {
		t.Errorf("source %d: %s, want %s", maxSources+1, got, otherSource)
	}
	if got := s.label("s0"); got != "s0" {
		t.Errorf("a known source: %s, want s0", got)
	}
	if ingest.ValidSource(otherSource) {
		t.Errorf("a source can be called %s", otherSource)
	}
}

func TestRequestGroups(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/v1/batch": "segment", "/v1/b": "segment", "/v1/batch/": "segment", "/batch/": "posthog", "/i/v0/e/": "posthog", "/v1/events": "native",
		"/v1/cloudevents": "cloudevents", "/v1/projects/key/settings": "settings", "/readyz": "probe", "/metrics": "probe",
		"/dossier.query.v1.QueryService/GetProfile": "query", "/dossier.query.v1.QueryService/Tail": "stream",
		"/dossier.query.v1.QueryService/made-up": "query", "/dossier.query.v1.IdentityService/Merge": "identity", "/": "other", "/v1/made-up": "other", "/grpc.reflection.v1.ServerReflection/x": "other",
	} {
		if got := requestGroup(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}
