package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// capture is a request that an unmodified client sent.
type capture struct {
	Method, Path string
	Headers      map[string]string
	JSON         json.RawMessage
}

func readCaptures(t testing.TB) []capture {
	t.Helper()
	data, err := os.ReadFile(fixtures(t, "payloads/sdk-captures.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	var all []capture
	for line := range bytes.Lines(data) {
		var c capture
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

// body encodes the request as its headers say it was.
func (c capture) body(t testing.TB) []byte {
	if c.Headers["content-encoding"] == "gzip" {
		return gzipped(t, c.JSON)
	}
	return c.JSON
}

// The Segment and RudderStack clients' requests as captured. The item of 60 KB
// is refused and its neighbours are not; one person and his company come of it:
// an alias says that the visitor x1 is u1.
func TestCaptures(t *testing.T) {
	t.Parallel()
	p := startProcess(t, t.TempDir())
	accepted, refused := 0, map[string]int{}
	for _, c := range readCaptures(t) {
		if c.Method != http.MethodPost || !strings.HasPrefix(c.Path, "/v1/") {
			continue
		}
		h := http.Header{}
		for name, value := range c.Headers {
			h.Set(name, value)
		}
		a, status, err := send(p.url+c.Path, h, c.body(t))
		if err != nil || status != http.StatusOK || !a.Success {
			t.Errorf("%s: status %d, %v, %+v", c.Path, status, err, a)
		}
		accepted += a.Accepted + a.Duplicates
		for _, r := range a.Rejected {
			refused[r.Code]++
		}
	}
	if items := countItems(t); accepted != items-1 {
		t.Errorf("accepted %d of %d items", accepted, items)
	}
	if len(refused) != 1 || refused["too_large"] != 1 {
		t.Errorf("refused: %v, want one too_large", refused)
	}
	status := p.awaitFolded()
	count, err := p.query().CountProfiles(t.Context(), &queryv1.CountProfilesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if count.Count != 2 || status.Quarantined != 0 || status.Rejected != 1 {
		t.Errorf("%d customers, %d conflicts, %d rejects; want 2, 0 and 1", count.Count, status.Quarantined, status.Rejected)
	}
	u1, x1 := p.profile("user_id:u1", ""), p.profile("anonymous_id:x1", "")
	if u1.CustomerId != x1.CustomerId || len(u1.Aliases) != 1 || u1.Aliases[0] == u1.CustomerId {
		t.Errorf("u1 is %s, x1 %s, aliases %q; want one customer, who was another once", u1.CustomerId, x1.CustomerId, u1.Aliases)
	}
	if former := p.profile(u1.Aliases[0], ""); former.CustomerId != u1.CustomerId {
		t.Errorf("the former id is %s, want %s", former.CustomerId, u1.CustomerId)
	}
	if g1 := p.profile("company_id:g1", ""); g1.Kind != "company" || p.profile("group_id:g1", "").CustomerId != g1.CustomerId {
		t.Errorf("g1 is a %s, want one company by both spellings of its id", g1.Kind)
	}
	// What the two looked at is one history: four views by a browser that knew
	// him, three of x1.
	if n := u1.GetEngagement().GetPageViews(); n != 7 {
		t.Errorf("%d views, want 7", n)
	}
	if !slices.ContainsFunc(u1.Identifiers, func(id *queryv1.Identifier) bool { return id.Value == "x1" }) || slices.Contains(u1.Flags, "conflict") {
		t.Errorf("identifiers %v, flags %v; want x1 among them, and no conflict", u1.Identifiers, u1.Flags)
	}
	if byMail := p.profile("email:A@B.C", ""); byMail.CustomerId != u1.CustomerId {
		t.Error("u1 is not found by e-mail")
	}
	if u1.Traits["email"].GetValue().GetStringValue() != "a@b.c" {
		t.Errorf("traits of u1: %v", u1.Traits)
	}
	// Back-dated events keep their time although they were sent just then: two
	// clients told the order o1 of 2024. A third told it of today and wins.
	old, err := p.query().GetTimeline(t.Context(), &queryv1.GetTimelineRequest{
		Customer: "user_id:u1", Types: []string{"order.placed"}, To: timestamppb.New(time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(old.Entries) != 2 || u1.Orders.Count != 1 {
		t.Errorf("%d orders of 2024 in the timeline and %d in all, want 2 and 1", len(old.Entries), u1.Orders.Count)
	}
	if u1.Lifecycle.Stage != "customer" {
		t.Errorf("stage of u1: %s, want customer", u1.Lifecycle.Stage)
	}
}

// countItems counts the items of the Segment and RudderStack captures.
func countItems(t *testing.T) int {
	n := 0
	for _, c := range readCaptures(t) {
		if c.Method != http.MethodPost || !strings.HasPrefix(c.Path, "/v1/") {
			continue
		}
		var body struct{ Batch []json.RawMessage }
		if err := json.Unmarshal(c.JSON, &body); err != nil {
			t.Fatal(err)
		}
		n += max(1, len(body.Batch))
	}
	return n
}

// The examples of the Segment specification, each to the path of its type: 65
// are accepted, and what they told is kept; 10 name nobody.
func TestSegmentSpecification(t *testing.T) {
	t.Parallel()
	f, err := os.Open(fixtures(t, "payloads/segment_spec/segment_spec_examples.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := startProcess(t, t.TempDir())
	accepted, missing := 0, 0
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var example map[string]any
		if err := json.Unmarshal(lines.Bytes(), &example); err != nil {
			t.Fatal(err)
		}
		kind, _ := example["type"].(string)
		if kind == "" {
			kind, _ = example["action"].(string)
		}
		a, status, err := send(p.url+"/v1/"+kind, http.Header{}, lines.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case status == http.StatusOK && a.Accepted == 1:
			accepted++
			p.checkKept(example, a.Receipt)
		case status == http.StatusBadRequest && len(a.Rejected) == 1 && a.Rejected[0].Code == "missing_id":
			missing++
		default:
			t.Errorf("%v: status %d, %+v", example["_src"], status, a)
		}
	}
	if accepted != 65 || missing != 10 {
		t.Errorf("accepted %d, missing_id %d; want 65 and 10", accepted, missing)
	}
}

// checkKept opens the newest event of the example's customer and looks for
// every property in it, under its own name or in a typed field.
func (p *engineProcess) checkKept(example map[string]any, receipt string) {
	p.t.Helper()
	ref := ""
	if id, _ := example["userId"].(string); id != "" {
		ref = "user_id:" + id
	} else {
		ref = "anonymous_id:" + example["anonymousId"].(string)
	}
	p.profile(ref, receipt) // wait
	timeline, err := p.query().GetTimeline(p.t.(*testing.T).Context(), &queryv1.GetTimelineRequest{Customer: ref, PageSize: 1000})
	if err != nil {
		p.t.Fatal(err)
	}
	newest := slices.MaxFunc(timeline.Entries, func(a, b *queryv1.Entry) int {
		return a.RecordedAt.AsTime().Compare(b.RecordedAt.AsTime())
	})
	event, err := p.query().GetEvent(p.t.(*testing.T).Context(), &queryv1.GetEventRequest{Position: newest.Position})
	if err != nil {
		p.t.Fatal(err)
	}
	kept := event.Event.String()
	for _, part := range []string{"properties", "traits"} {
		fields, _ := example[part].(map[string]any)
		for _, leaf := range leaves(fields) {
			if !strings.Contains(kept, leaf) {
				p.t.Errorf("%v %v: %s %q is not in %s", example["_src"], example["event"], part, leaf, kept)
			}
		}
	}
}

// leaves are the texts of an object, at any depth.
func leaves(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{strings.Trim(escaped(v), `"`)}
	case map[string]any:
		var all []string
		for _, child := range v {
			all = append(all, leaves(child)...)
		}
		return all
	case []any:
		var all []string
		for _, child := range v {
			all = append(all, leaves(child)...)
		}
		return all
	}
	return nil
}

func escaped(s string) string {
	if strings.ContainsAny(s, "\n\"\\") {
		return s[:strings.IndexAny(s, "\n\"\\")]
	}
	return s
}

// The bodies that the Go client of Segment sends.
func TestAnalyticsGo(t *testing.T) {
	t.Parallel()
	dir := fixtures(t, "payloads/segment_analytics_go")
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no bodies in %s: %v", dir, err)
	}
	p := startProcess(t, t.TempDir())
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		a, status, err := send(p.url+"/v1/batch", http.Header{"Content-Type": {"application/json"}}, body)
		if err != nil || status != http.StatusOK || a.Accepted+a.Duplicates == 0 || len(a.Rejected) != 0 {
			t.Errorf("%s: status %d, %v, %+v", filepath.Base(file), status, err, a)
		}
	}
}

var sentAt = regexp.MustCompile(`"sent_at": *"[^"]*"`)

// The PostHog clients' requests as captured, in both their APIs and told twice:
// the second telling adds nothing.
func TestPostHogCaptures(t *testing.T) {
	t.Parallel()
	p := startProcess(t, t.TempDir())
	var receipt string
	for telling := range 2 {
		accepted := 0
		for _, c := range readCaptures(t) {
			if c.Method != http.MethodPost || strings.HasPrefix(c.Path, "/v1/") {
				continue
			}
			h := http.Header{}
			for name, value := range c.Headers {
				h.Set(name, value)
			}
			// Sent just now, or the times would be shifted by the age of the capture.
			now := time.Now().UTC().Format(time.RFC3339Nano)
			c.JSON = sentAt.ReplaceAll(c.JSON, []byte(`"sent_at":"`+now+`"`))
			h.Set("Posthog-Request-Timestamp", now)
			a, status, err := send(p.url+c.Path, h, c.body(t))
			if err != nil || status != http.StatusOK || !a.Success || len(a.Rejected) != 0 {
				t.Errorf("%s: status %d, %v, %+v", c.Path, status, err, a)
			}
			accepted += a.Accepted
			if telling == 0 {
				receipt = a.Receipt
			}
		}
		// What the first sets besides is not counted.
		if want := 5 * (1 - telling); accepted != want {
			t.Errorf("telling %d: accepted %d, want %d", telling, accepted, want)
		}
	}
	p.awaitFolded()
	u1, g1 := p.profile("user_id:u1", receipt), p.profile("company_id:g1", "")
	if u1.Traits["email"].GetValue().GetStringValue() != "a@b.c" || u1.Traits["name"].GetValue().GetStringValue() != "N" {
		t.Errorf("traits of u1: %v", u1.Traits)
	}
	if p.profile("email:a@b.c", "").CustomerId != u1.CustomerId {
		t.Error("u1 is not found by e-mail")
	}
	// The alias x1 is another id of a user, which u1 has: they are not joined.
	if !slices.Contains(u1.Flags, "conflict") {
		t.Errorf("flags of u1: %v, want a conflict with x1", u1.Flags)
	}
	if u1.Orders.Count != 1 || g1.Kind != "company" || g1.Traits["a"].GetValue().GetNumberValue() != 1 {
		t.Errorf("%d orders of u1, company %v", u1.Orders.Count, g1)
	}
	timeline, err := p.query().GetTimeline(t.Context(), &queryv1.GetTimelineRequest{Customer: "user_id:u1"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range timeline.Entries {
		got = append(got, e.OccurredAt.AsTime().Format("2006-01-02T15:04:05.000Z")+" "+e.Type)
	}
	want := []string{
		"2026-11-21T21:20:50.057Z order.placed", "2026-11-21T21:20:50.046Z identity.aliased", "2026-11-21T21:20:50.046Z traits.set",
		"2024-01-02T03:04:05.000Z traits.set", "2024-01-02T03:04:05.000Z order.placed",
	}
	if !slices.Equal(got, want) {
		t.Errorf("timeline of u1: %q, want %q", got, want)
	}
}
