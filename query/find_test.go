package query_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/columns"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
	"github.com/dossier360/dossier/query"
)

// remembered is a customer of a search test.
type remembered struct {
	company  bool
	ids      []string // type:value
	traits   [][2]string
	employer string // company_id
	seen     int64
	stage    string
}

func (r remembered) head() *statev1.Head {
	f := &statev1.Facts{LastSeenAt: r.seen * 1_000_000}
	for _, text := range r.ids {
		typ, value, _ := strings.Cut(text, ":")
		f.Identifiers = append(f.Identifiers, &statev1.IdentifierFact{Type: typ, Value: value, First: &statev1.Stamp{}})
	}
	for _, t := range r.traits {
		value, err := json.Marshal(t[1])
		if err != nil {
			panic(err)
		}
		f.Traits = append(f.Traits, &statev1.TraitFact{Name: t[0], ValueJson: string(value), Stamp: &statev1.Stamp{}})
	}
	slices.SortFunc(f.Traits, func(a, b *statev1.TraitFact) int { return strings.Compare(a.Name, b.Name) })
	if r.employer != "" {
		f.Memberships = &statev1.MembershipsFacts{Tellings: []*statev1.MembershipFact{{Company: r.employer, FirstAt: 1, LastAt: 1}}}
	}
	head := &statev1.Head{Facts: f, Journal: &statev1.Journal{Stage: r.stage}}
	if r.company {
		head.Kind = logv1.CustomerKind_CUSTOMER_KIND_COMPANY
	}
	return head
}

// TestFind plays testdata/find.txt. Commands:
//
//	person NAME [seen=N]     one fact a line: identifier type:value,
//	company NAME [seen=N]    trait=value, or @company_id of the employer
//	find [limit=N]           for each line: who is found, by what
func TestFind(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	client, _ := d.serve(t)
	names := map[string]string{}
	datadriven.RunTest(t, "testdata/find.txt", func(t *testing.T, data *datadriven.TestData) string {
		lines := strings.Split(strings.TrimRight(data.Input, "\n"), "\n")
		switch data.Cmd {
		case "person", "company":
			r := remembered{company: data.Cmd == "company", stage: "potential"}
			for _, line := range lines {
				if name, value, ok := strings.Cut(line, "="); ok {
					r.traits = append(r.traits, [2]string{name, value})
				} else if employer, ok := strings.CutPrefix(line, "@"); ok {
					r.employer = employer
				} else {
					r.ids = append(r.ids, line)
				}
			}
			if data.HasArg("seen") {
				var seen int
				data.ScanArgs(t, "seen", &seen)
				r.seen = int64(seen)
			}
			id := events.CustomerID{0: 1, 15: byte(len(names) + 1)}
			names[id.String()] = data.CmdArgs[0].Key
			shelf := d.partitions[id.Partition(partitions)]
			shelf.heads[id] = r.head()
			shelf.checkpoint.Customers++
			return ""
		case "find":
			var limit int
			if data.HasArg("limit") {
				data.ScanArgs(t, "limit", &limit)
			}
			var b strings.Builder
			for _, text := range lines {
				fmt.Fprintf(&b, "%s\n", text)
				resp, err := client.FindProfiles(t.Context(), &queryv1.FindProfilesRequest{Text: text, PageSize: uint32(limit)})
				if err != nil {
					fmt.Fprintf(&b, "  %v\n", err)
					continue
				}
				for _, c := range resp.GetCandidates() {
					fmt.Fprintf(&b, "  %s (%s) by %s %s\n", names[c.GetCustomerId()], c.GetKind(), c.GetMatched(), c.GetValue())
				}
				if resp.GetMore() {
					b.WriteString("  and more\n")
				}
			}
			return b.String()
		default:
			data.Fatalf(t, "unknown command %s", data.Cmd)
			return ""
		}
	})
}

func TestFindAnswers(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	id, shelf := d.customer(7, "email:ann@example.com")
	shelf.heads[id] = remembered{ids: []string{"email:ann@example.com"}, traits: [][2]string{{"name", "Ann Lee"}}, seen: 9, stage: "repeat"}.head()
	nameless, at := d.customer(8, "anonymous_id:a-1")
	at.heads[nameless] = remembered{traits: [][2]string{{"company", "Ann's"}}}.head()
	client, _ := d.serve(t)
	resp, err := client.FindProfiles(t.Context(), &queryv1.FindProfilesRequest{Text: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	if resp.GetFreshness().GetCursor() == "" || len(resp.GetCandidates()) != 2 {
		t.Fatalf("got %v, want two candidates and how fresh they are", resp)
	}
	c := resp.GetCandidates()[0]
	if c.GetCustomerId() != id.String() || c.GetKind() != "person" || c.GetName() != "Ann Lee" || c.GetStage() != "repeat" || c.GetLastSeenAt().GetSeconds() != 9 {
		t.Errorf("got %v", c)
	}
	if c := resp.GetCandidates()[1]; c.Name != nil || c.GetMatched() != "company" {
		t.Errorf("got %v, want no name of one who has none", c)
	}
	for _, tc := range []struct {
		req  *queryv1.FindProfilesRequest
		code connect.Code
		say  string
	}{
		{&queryv1.FindProfilesRequest{}, connect.CodeInvalidArgument, "text: empty"},
		{&queryv1.FindProfilesRequest{Text: " \u3000\u200b"}, connect.CodeInvalidArgument, "text: empty"},
		{&queryv1.FindProfilesRequest{Text: strings.Repeat("界", query.MaxFindCharacters)}, 0, ""},
		{&queryv1.FindProfilesRequest{Text: strings.Repeat("界", query.MaxFindCharacters+1)}, connect.CodeInvalidArgument, "201 characters, limit 200"},
		{&queryv1.FindProfilesRequest{Text: "a", PageSize: query.MaxCandidates}, 0, ""},
		{&queryv1.FindProfilesRequest{Text: "a", PageSize: query.MaxCandidates + 1}, connect.CodeInvalidArgument, "pageSize: 101, limit 100"},
	} {
		_, err := client.FindProfiles(t.Context(), tc.req)
		if tc.code == 0 {
			if err != nil {
				t.Errorf("%.20q: %v", tc.req.GetText(), err)
			}
			continue
		}
		wantCode(t, err, tc.code, tc.say)
	}
	shelf.noRows = true
	_, err = client.FindProfiles(t.Context(), &queryv1.FindProfilesRequest{Text: "ann"})
	wantCode(t, err, connect.CodeUnavailable, "reading customers")
	for _, s := range d.partitions {
		if s.open.Load() != 0 {
			t.Errorf("partition %d: %d views left open", s.id, s.open.Load())
		}
	}
}

// crowd is a deployment whose rows are made once: a search reads them as it
// reads those of partitions.
type crowd struct {
	*shelf
	table *columns.Table
}

func (c *crowd) View() query.View { return crowded{c.shelf.View(), c.table} }

type crowded struct {
	query.View
	table *columns.Table
}

func (c crowded) Rows() (*columns.Table, error) { return c.table, nil }

// newCrowd serves customers from memory, without a wire between.
func newCrowd(t testing.TB, heads iter.Seq2[events.CustomerID, *statev1.Head]) queryv1connect.QueryServiceHandler {
	t.Helper()
	var rows [partitions][]*columns.Row
	for id, head := range heads {
		p := id.Partition(partitions)
		rows[p] = append(rows[p], columns.Of(id, head, (&shelf{}).env))
	}
	o := query.Options{Logger: slog.New(slog.DiscardHandler), Genesis: &logv1.Genesis{}}
	for p := range rows {
		s := &shelf{id: p, checkpoint: &statev1.Checkpoint{Seq: 1}}
		o.Partitions = append(o.Partitions, &crowd{s, columns.NewWriter(rows[p]).Table()})
	}
	return query.NewService(o)
}

// customerNumber is the id of the n-th customer of a crowd.
func customerNumber(n int) (id events.CustomerID) {
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	return id
}

// Whatever limit is asked for, the candidates are the first of the same list:
// that which an unlimited search and one sort would give.
func TestFindOrderIsOne(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(0, 90).Draw(rt, "customers")
		names := rapid.SampledFrom([]string{"ann", "anna", "lee ann", "hannah", "bob"})
		crowd := newCrowd(t, func(yield func(events.CustomerID, *statev1.Head) bool) {
			for i := range n {
				r := remembered{seen: rapid.Int64Range(0, 3).Draw(rt, "seen"), traits: [][2]string{{"name", names.Draw(rt, "name")}}}
				if rapid.Bool().Draw(rt, "identified") {
					r.ids = []string{"user_id:u" + strconv.Itoa(i)}
				}
				if rapid.Bool().Draw(rt, "employed") {
					r.traits = append(r.traits, [2]string{"company", names.Draw(rt, "company")})
				}
				if !yield(customerNumber(i), r.head()) {
					return
				}
			}
		})
		ask := func(limit int) *queryv1.FindProfilesResponse {
			resp, err := crowd.FindProfiles(t.Context(), &queryv1.FindProfilesRequest{Text: "ann", PageSize: uint32(limit)})
			if err != nil {
				rt.Fatal(err)
			}
			return resp
		}
		whole := ask(query.MaxCandidates)
		if whole.GetMore() {
			rt.Errorf("more than %d of %d", query.MaxCandidates, n)
		}
		limit := rapid.IntRange(1, query.MaxCandidates).Draw(rt, "limit")
		part := ask(limit)
		if got, want := part.GetMore(), len(whole.GetCandidates()) > limit; got != want {
			rt.Errorf("more: %v, want %v of %d at limit %d", got, want, len(whole.GetCandidates()), limit)
		}
		for i, c := range whole.GetCandidates()[:min(limit, len(whole.GetCandidates()))] {
			if got := part.GetCandidates()[i].GetCustomerId(); got != c.GetCustomerId() {
				rt.Errorf("candidate %d is %s, want %s", i, got, c.GetCustomerId())
			}
		}
	})
}

func BenchmarkFind(b *testing.B) {
	const customers = 100_000
	surnames, given := []rune("王李張劉陳楊黃趙吳周徐孫馬朱胡郭何高林鄭"), []rune("偉芳娜敏靜麗強磊軍洋勇艷傑娟濤明超蘭霞平剛桂")
	crowd := newCrowd(b, func(yield func(events.CustomerID, *statev1.Head) bool) {
		for i := range customers {
			r := remembered{seen: int64(i % 1000), stage: "customer", ids: []string{
				"email:customer" + strconv.Itoa(i) + "@example.com", "phone:138" + fmt.Sprintf("%08d", i*7919%100_000_000), "user_id:" + strconv.Itoa(i),
			}}
			if i%100 == 0 {
				r.company, r.ids, r.traits = true, []string{"company_id:c-" + strconv.Itoa(i)}, [][2]string{{"name", "騰訊科技" + strconv.Itoa(i) + "有限公司"}}
			} else {
				name := string([]rune{surnames[i%len(surnames)], given[i/7%len(given)], given[i/31%len(given)]})
				if i%3 == 0 {
					name = "Customer Number " + strconv.Itoa(i)
				}
				r.traits, r.employer = [][2]string{{"name", name}}, "c-"+strconv.Itoa(i/100*100)
			}
			if !yield(customerNumber(i), r.head()) {
				return
			}
		}
	})
	for _, text := range []string{"张伟", "腾讯科技500", "number 77", "8000", "customer", "nobody at all"} {
		b.Run(text, func(b *testing.B) {
			for b.Loop() {
				if _, err := crowd.FindProfiles(context.Background(), &queryv1.FindProfilesRequest{Text: text}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
