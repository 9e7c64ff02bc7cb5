package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
)

// clerk answers with what the test gave it, so that commands can be tested
// against every answer that the wire allows.
type clerk struct {
	queryv1connect.UnimplementedQueryServiceHandler

	profile  *queryv1.GetProfileResponse
	entries  []*queryv1.Entry
	settled  *timestamppb.Timestamp // nil: where a tick wants it
	failure  error
	pageSize int // entries in a page at most; 0: as asked

	mu    sync.Mutex
	asked []*queryv1.GetTimelineRequest // guarded by mu
}

func (c *clerk) GetProfile(context.Context, *queryv1.GetProfileRequest) (*queryv1.GetProfileResponse, error) {
	return c.profile, c.failure
}

func (c *clerk) GetTimeline(_ context.Context, req *queryv1.GetTimelineRequest) (*queryv1.GetTimelineResponse, error) {
	if c.failure != nil {
		return nil, c.failure
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, req)
	var entries []*queryv1.Entry
	for _, e := range c.entries {
		if len(req.GetTypes()) == 0 || slices.Contains(req.GetTypes(), e.GetType()) {
			entries = append(entries, e)
		}
	}
	start := len(req.GetPageToken()) // as many x as entries were shown
	size := int(req.GetPageSize())
	if c.pageSize > 0 {
		size = min(size, c.pageSize)
	}
	end := min(start+size, len(entries))
	resp := &queryv1.GetTimelineResponse{Entries: entries[start:end]}
	if end < len(entries) {
		resp.NextPageToken = strings.Repeat("x", end)
	}
	return resp, nil
}

func (c *clerk) Tick(_ context.Context, req *queryv1.TickRequest) (*queryv1.TickResponse, error) {
	return &queryv1.TickResponse{Settled: cmp.Or(c.settled, req.GetTo())}, c.failure
}

// serveClerk returns the environment of a client of c.
func serveClerk(t *testing.T, c *clerk) map[string]string {
	t.Helper()
	_, handler := queryv1connect.NewQueryServiceHandler(c)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return map[string]string{"DOSSIER_SERVER": server.URL}
}

// dossier runs the program as a test sees it.
func dossier(t *testing.T, env map[string]string, args ...string) (status int, out, err string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	std := stdio{in: strings.NewReader(""), out: &stdout, err: &stderr, getenv: func(name string) string { return env[name] }}
	status = run(t.Context(), std, args)
	return status, stdout.String(), stderr.String()
}

func at(s string) *timestamppb.Timestamp {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return timestamppb.New(t)
}

func cny(micros int64) *queryv1.Money {
	return &queryv1.Money{CurrencyCode: "CNY", Micros: micros}
}

// fullProfile has something in every section, and numbers that Chinese groups
// differently.
func fullProfile() *queryv1.GetProfileResponse {
	p := &queryv1.Profile{
		CustomerId: "01JDA0000000000000000000AA", Kind: "person", Identified: true, Name: new("李娜 \x1b[31mLi Na"),
		FirstSeenAt: at("2024-11-02T08:00:00Z"), LastSeenAt: at("2026-03-01T09:30:00Z"),
		Identifiers: []*queryv1.Identifier{
			{Type: "anonymous_id", Value: "web-1", FirstSeenAt: at("2024-11-02T08:00:00Z"), Source: "web"},
			{Type: "email", Value: "na.li@example.com", FirstSeenAt: at("2024-11-03T08:00:00Z"), Source: "web"},
		},
		Traits: map[string]*queryv1.Trait{
			"city":  {Value: structpb.NewStringValue("上海")},
			"level": {Value: structpb.NewNumberValue(3), Manual: true},
		},
		Engagement: &queryv1.Engagement{PageViews: 12345, PageViews30D: 12, Sessions: 48, LastPageUrl: new("https://tea.example.com/茶")},
		Orders: &queryv1.Orders{
			Count: 12, Cancelled: 1, Refunds: 2, Units: "20500", FirstAt: at("2024-11-05T08:00:00Z"), LastAt: at("2026-03-01T09:30:00Z"),
			MedianIntervalDays:   new(24.5),
			NetRevenue:           cny(123_456_789_000_000),
			NetRevenueByCurrency: []*queryv1.Money{cny(12_345_600_000_000)},
			Revenue12M:           cny(9_999_990_000),
			TopProducts:          []*queryv1.ProductTotal{{ProductId: "tea-01", Name: new("龙井茶"), Units: "12"}, {ProductId: "cup-01", Units: "0.5"}},
			OpenCart:             &queryv1.Cart{Items: []*queryv1.CartItem{{ProductId: "pot-01"}}, Since: at("2026-03-01T09:00:00Z"), Checkout: true},
		},
		Lifecycle: &queryv1.Lifecycle{
			Stage: "repeat", Since: at("2025-01-05T08:00:00Z"), Previous: new("customer"),
			Cause: &queryv1.Cause{Kind: "event", EventIds: []string{"order-2"}, At: at("2025-01-05T08:00:00Z")},
		},
		Custom: map[string]*queryv1.Custom{"Wishlist Shared": {Count: 2, LastAt: at("2026-02-01T00:00:00Z")}},
		Flags:  []string{"clamped_time", "no_value"},
	}
	return &queryv1.GetProfileResponse{Profile: p, Freshness: &queryv1.Freshness{LogTime: at("2026-03-02T00:00:00Z"), LagEvents: 10_000}}
}

func timelineEntries() []*queryv1.Entry {
	return []*queryv1.Entry{
		{EventId: "o-2", Type: "order.placed", OccurredAt: at("2026-03-01T09:30:00Z"), Source: "shop", Title: "Order placed: T-2", Fields: map[string]string{"orderId": "T-2", "value": "1288.00 CNY"}, Position: "03-0-118-7"},
		{EventId: "p-9", Type: "page.viewed", OccurredAt: at("2026-03-01T09:29:00Z"), Source: "web", Title: "Page viewed: 龙井茶\x07 https://tea.example.com/茶", Position: "03-0-118-6"},
		{EventId: "w-1", Type: "心愿单", OccurredAt: at("2026-02-01T00:00:00Z"), Source: "app", Title: strings.Repeat("很长", 40), Position: "03-0-7-0"},
	}
}

func TestTables(t *testing.T) {
	t.Parallel()
	env := serveClerk(t, &clerk{profile: fullProfile(), entries: timelineEntries()})
	for name, args := range map[string][]string{
		"get":           {"get", "email:na.li@example.com"},
		"timeline":      {"timeline", "email:na.li@example.com"},
		"timeline-full": {"timeline", "email:na.li@example.com", "--full"},
		"tick":          {"tick", "--to", "1997-09-30T23:59:59Z"},
	} {
		for _, lang := range []string{"en", "zh"} {
			status, out, stderr := dossier(t, env, append(args, "--lang", lang)...)
			if status != exitDone || stderr != "" {
				t.Errorf("%s %s: status %d, stderr %q; want 0 and none", name, lang, status, stderr)
			}
			golden(t, filepath.Join("testdata", "golden", name+"."+lang+".txt"), out)
		}
	}
}

// What ingest kept and flagged as no currency is shown as it came, and moves
// nothing out of line.
func TestTableOfOddCurrencies(t *testing.T) {
	t.Parallel()
	odd := fullProfile()
	orders := odd.GetProfile().GetOrders()
	orders.NetRevenue, orders.NetRevenueByCurrency = nil, nil
	for _, code := range []string{"ＣＮＹ", "usd", "人民币", "e\u0301\u200b", "$\t\x1b[31m"} {
		orders.NetRevenueByCurrency = append(orders.NetRevenueByCurrency, &queryv1.Money{CurrencyCode: code, Micros: 12_500_000})
	}
	_, out, stderr := dossier(t, serveClerk(t, &clerk{profile: odd}), "get", "user_id:1")
	if stderr != "" {
		t.Errorf("stderr %q, want none", stderr)
	}
	golden(t, filepath.Join("testdata", "golden", "get-currencies.en.txt"), out)
}

func TestTimelineSaysWhatKeptOut(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		entries []*queryv1.Entry
		args    []string
		want    []string // the lines
	}{
		{"the span", nil, nil, []string{"no events in that span"}},
		{"the span, with a type", nil, []string{"--type", "bogus"}, []string{"no events in that span"}},
		{"a canonical type", timelineEntries(), []string{"--type", "order.paid"}, []string{
			"no events of type order.paid in that span; there are others (leave out --type to see them)",
		}},
		{"a type that is none", timelineEntries(), []string{"--type", "order.paid", "--type", "bogus\x1b"}, []string{
			"no events of type order.paid, bogus in that span; there are others (leave out --type to see them)",
			"bogus is no type of Dossier's own, so custom events of exactly that name were looked for",
		}},
		{"in Chinese", timelineEntries(), []string{"--type", "bogus", "--lang", "zh"}, []string{
			"该时段没有类型为 bogus 的事件，但有其他事件（去掉 --type 即可查看）",
			"bogus 不是内置类型，因此按同名的自定义事件查找",
		}},
		{"in JSON", timelineEntries(), []string{"--type", "bogus", "--json"}, nil},
	} {
		env := serveClerk(t, &clerk{entries: tc.entries})
		status, out, stderr := dossier(t, env, append([]string{"timeline", "user_id:1"}, tc.args...)...)
		got := strings.FieldsFunc(out, func(r rune) bool { return r == '\n' })
		if diff := gocmp.Diff(tc.want, got, cmpopts.EquateEmpty()); diff != "" || status != exitDone || stderr != "" {
			t.Errorf("%s: status %d, stderr %q, lines (-want +got):\n%s", tc.name, status, stderr, diff)
		}
	}
}

func TestTickIntoThePast(t *testing.T) {
	t.Parallel()
	env := serveClerk(t, &clerk{settled: at("1997-05-01T00:00:00Z")})
	for _, tc := range []struct{ to, lang, want string }{
		{"1997-04-01", langEN, "already at 1997-05-01 00:00:00; time does not go back to 1997-04-01 00:00:00\n"},
		{"1997-04-01", langZH, "时间已在 1997-05-01 00:00:00，不会退回 1997-04-01 00:00:00\n"},
		{"1997-05-01", langEN, "settled at 1997-05-01 00:00:00\n"},
	} {
		if status, got, _ := dossier(t, env, "tick", "--to", tc.to, "--lang", tc.lang); got != tc.want || status != exitDone {
			t.Errorf("to %s in %s: got status %d and %q, want 0 and %q", tc.to, tc.lang, status, got, tc.want)
		}
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	env := serveClerk(t, &clerk{profile: fullProfile(), entries: timelineEntries()})
	for name, args := range map[string][]string{
		"get":      {"get", "email:na.li@example.com", "--json"},
		"timeline": {"timeline", "--json", "email:na.li@example.com"},
		"tick":     {"tick", "--json", "--to", "1997-09-30"},
	} {
		status, out, stderr := dossier(t, env, args...)
		if status != exitDone || stderr != "" {
			t.Errorf("%s: status %d, stderr %q; want 0 and none", name, status, stderr)
		}
		golden(t, filepath.Join("testdata", "golden", name+".json"), out)
	}
}

func TestLanguageFromEnvironment(t *testing.T) {
	t.Parallel()
	env := serveClerk(t, &clerk{})
	for _, tc := range []struct {
		name, value, want string
	}{
		{"LANG", "zh_CN.UTF-8", "该时段没有事件\n"},
		{"LC_ALL", "zh_TW", "该时段没有事件\n"},
		{"LANG", "en_GB.UTF-8", "no events in that span\n"},
		{"LANG", "C", "no events in that span\n"},
	} {
		asked := map[string]string{"DOSSIER_SERVER": env["DOSSIER_SERVER"], tc.name: tc.value}
		if _, got, _ := dossier(t, asked, "timeline", "user_id:1"); got != tc.want {
			t.Errorf("%s=%s: got %q, want %q", tc.name, tc.value, got, tc.want)
		}
	}
}

func TestTimelineFollowsPages(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name      string
		limit     string
		pageSize  int
		want      int
		wantSizes []uint32
	}{
		{"all in pages of two", "0", 2, 3, []uint32{500, 500}},
		{"limit within a page", "2", 0, 2, []uint32{2}},
		{"limit over pages", "3", 2, 3, []uint32{3, 1}},
	} {
		c := &clerk{entries: timelineEntries(), pageSize: tc.pageSize}
		_, out, stderr := dossier(t, serveClerk(t, c), "timeline", "user_id:1", "--json", "--limit", tc.limit)
		if got := strings.Count(out, "\n"); got != tc.want || stderr != "" {
			t.Errorf("%s: got %d lines (%s), want %d", tc.name, got, stderr, tc.want)
		}
		var sizes []uint32
		for _, req := range c.asked {
			sizes = append(sizes, req.GetPageSize())
		}
		if len(sizes) != len(tc.wantSizes) || sizes[0] != tc.wantSizes[0] || sizes[len(sizes)-1] != tc.wantSizes[len(sizes)-1] {
			t.Errorf("%s: asked for pages of %v, want %v", tc.name, sizes, tc.wantSizes)
		}
	}
}

// Every way to end: the status that scripts branch on, and a sentence that
// says what to do.
func TestExit(t *testing.T) {
	t.Parallel()
	refuse := func(code connect.Code, text string) *clerk {
		return &clerk{failure: connect.NewError(code, errors.New(text))}
	}
	for _, tc := range []struct {
		name   string
		clerk  *clerk
		args   []string
		status int
		stderr string // a part of it
	}{
		{"no command", nil, nil, exitUsage, "usage: dossier"},
		{"unknown command", nil, []string{"gte"}, exitUsage, `no command "gte"`},
		{"no reference", nil, []string{"get"}, exitUsage, "REF missing"},
		{"two references", nil, []string{"get", "a:1", "b:2"}, exitUsage, `"b:2" is one argument too many`},
		{"unknown flag", nil, []string{"get", "--nope"}, exitUsage, "`dossier get -h` tells the flags"},
		{"unknown language", nil, []string{"get", "a:1", "--lang", "fr"}, exitUsage, "zh or en"},
		{"bad server", nil, []string{"get", "a:1", "--server", "ftp://x"}, exitUsage, "http://127.0.0.1:8360"},
		{"bad instant", nil, []string{"timeline", "a:1", "--from", "yesterday"}, exitUsage, `--from "yesterday"`},
		{"negative limit", nil, []string{"timeline", "a:1", "--limit", "-1"}, exitUsage, "--limit -1"},
		{"tick without instant", nil, []string{"tick"}, exitUsage, "--to missing"},
		{"no customers in the demo", nil, []string{"demo", "--customers", "0"}, exitUsage, "--customers 0"},
		{"bad server with a password", nil, []string{"get", "a:1", "--server", "http://ann:se%zzcret@x"}, exitUsage, "--server: no address"},
		{"nobody listens there", nil, []string{"get", "a:1", "--server", "http://ann:secret@127.0.0.1:1"}, exitFailed, "no server answers at http://ann:xxxxx@127.0.0.1:1"},
		{"nobody to follow there", nil, []string{"tail", "--server", "http://ann:secret@127.0.0.1:1"}, exitFailed, "no server answers at http://ann:xxxxx@127.0.0.1:1"},
		{"nobody listens", nil, []string{"get", "a:1", "--server", "http://127.0.0.1:1"}, exitFailed, "no server answers at http://127.0.0.1:1"},
		{"malformed reference", refuse(connect.CodeInvalidArgument, `customer "x": 1 characters without a ':'`), []string{"get", "x"}, exitUsage, `customer "x": 1 characters`},
		{"unknown customer", refuse(connect.CodeNotFound, "no customer a:1"), []string{"get", "a:1"}, exitFailed, "no customer a:1; nothing accepted so far names this customer"},
		{"unknown id", refuse(connect.CodeNotFound, "no customer"), []string{"get", "01JDA0000000000000000000AA"}, exitFailed, "no customer 01JDA0000000000000000000AA; nobody here has this customer id"},
		{"unknown id, Chinese", refuse(connect.CodeNotFound, "no customer"), []string{"timeline", "01JDA0000000000000000000AA", "--lang", "zh"}, exitFailed, "没有客户 01JDA0000000000000000000AA；此处没有该客户编号"},
		{"unknown customer, Chinese", refuse(connect.CodeNotFound, "no customer"), []string{"get", "a:1", "--lang", "zh"}, exitFailed, "没有客户 a:1；已接收的事件都没有提到该客户"},
		{"no key", refuse(connect.CodeUnauthenticated, "a read key is needed"), []string{"get", "a:1"}, exitFailed, "wants a read key; give it with --read-key or DOSSIER_READ_KEY"},
		{"wrong key", refuse(connect.CodeUnauthenticated, "a read key is needed"), []string{"get", "a:1", "--read-key", "k"}, exitFailed, "does not accept this read key; check --read-key"},
		{"version in no language", nil, []string{"version", "--lang", "fr"}, exitUsage, "zh or en"},
		{"demo in the open", nil, []string{"demo", "--http", "0.0.0.0:0"}, exitUsage, "dossier demo: "},
		{"catching up", refuse(connect.CodeUnavailable, "partition 1 is catching up: 3 of 9"), []string{"timeline", "a:1"}, exitFailed, "catching up: 3 of 9"},
		{"wall clock", refuse(connect.CodeFailedPrecondition, `this deployment runs on clock "wall"`), []string{"tick", "--to", "2024-01-01"}, exitFailed, `clock "wall"`},
		{"other service", refuse(connect.CodeUnimplemented, "404 Not Found"), []string{"get", "a:1"}, exitFailed, "is not a Dossier that has this query"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			env := map[string]string{}
			if tc.clerk != nil {
				env = serveClerk(t, tc.clerk)
			}
			status, out, stderr := dossier(t, env, tc.args...)
			if status != tc.status || out != "" {
				t.Errorf("got status %d and output %q, want %d and none", status, out, tc.status)
			}
			if !strings.Contains(stderr, tc.stderr) {
				t.Errorf("got %q, want it to say %q", stderr, tc.stderr)
			}
		})
	}
}

func TestHelpIsNoError(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"help"}, {"-h"}, {"help", "get"}, {"get", "-h"}, {"timeline", "--help"}, {"tick", "-h"}, {"demo", "-h"}, {"version", "-h"}} {
		status, out, stderr := dossier(t, nil, args...)
		if status != exitDone || !strings.HasPrefix(out, "usage: dossier") && !strings.HasPrefix(out, "Dossier keeps") || stderr != "" {
			t.Errorf("%v: status %d, out %q, stderr %q; want help on standard output", args, status, out, stderr)
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	if status, out, _ := dossier(t, nil, "version"); status != exitDone || !strings.Contains(out, "record format  1\n") {
		t.Errorf("got status %d, %q; want the record format", status, out)
	}
	if status, out, _ := dossier(t, nil, "version", "--json"); status != exitDone || !strings.Contains(out, `"record": 1`) {
		t.Errorf("got status %d, %q; want JSON with the record format", status, out)
	}
	if status, out, _ := dossier(t, nil, "version", "--lang", "zh"); status != exitDone || !strings.Contains(out, "记录格式  1\n") {
		t.Errorf("got status %d, %q; want the record format in Chinese", status, out)
	}
}
