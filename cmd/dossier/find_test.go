package main

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
)

// finder answers every search with what the test gave it.
type finder struct {
	queryv1connect.UnimplementedQueryServiceHandler
	answer *queryv1.FindProfilesResponse
	asked  *queryv1.FindProfilesRequest
}

func (f *finder) FindProfiles(_ context.Context, req *queryv1.FindProfilesRequest) (*queryv1.FindProfilesResponse, error) {
	f.asked = req
	return f.answer, nil
}

func serveFinder(t *testing.T, f *finder) map[string]string {
	t.Helper()
	_, handler := queryv1connect.NewQueryServiceHandler(f)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return map[string]string{"DOSSIER_SERVER": server.URL}
}

func TestFindTables(t *testing.T) {
	t.Parallel()
	f := &finder{answer: &queryv1.FindProfilesResponse{More: true, Candidates: []*queryv1.Candidate{
		{CustomerId: "01JDA0000000000000000000AA", Kind: "person", Name: new("李娜 \x1b[31mLi Na"), Stage: "repeat", Matched: "name", Value: "李娜 \x1b[31mLi Na"},
		{CustomerId: "01JDA0000000000000000000AB", Kind: "company", Name: new("騰訊科技有限公司"), Stage: "customer", Matched: "company_id", Value: "c-1"},
		{CustomerId: "01JDA0000000000000000000AC", Kind: "person", Stage: "unidentified", Matched: "phone", Value: "13800138000"},
		{CustomerId: "01JDA0000000000000000000AD", Kind: "person", Name: new(strings.Repeat("long ", 20)), Stage: "lost", Matched: "company", Value: "騰訊科技有限公司"},
	}}}
	env := serveFinder(t, f)
	for _, lang := range []string{langEN, langZH} {
		status, out, err := dossier(t, env, "find", "li", "na", "--limit", "4", "--lang", lang)
		if status != exitDone || err != "" {
			t.Errorf("%s: status %d, %s", lang, status, err)
		}
		golden(t, filepath.Join("testdata", "golden", "find."+lang+".txt"), out)
	}
	if f.asked.GetText() != "li na" || f.asked.GetPageSize() != 4 {
		t.Errorf("asked %v, want the words as one text", f.asked)
	}

	status, out, _ := dossier(t, env, "find", "li", "--json")
	var told struct {
		Candidates []struct{ CustomerID, Matched string }
		More       bool
	}
	if err := json.Unmarshal([]byte(out), &told); status != exitDone || err != nil || len(told.Candidates) != 4 || !told.More || told.Candidates[1].Matched != "company_id" {
		t.Errorf("status %d, %v, JSON %s", status, err, out)
	}
}

func TestFindNobody(t *testing.T) {
	t.Parallel()
	env := serveFinder(t, &finder{answer: &queryv1.FindProfilesResponse{}})
	for lang, want := range map[string]string{langEN: `no customer fits "x"`, langZH: "没有符合“x”的客户"} {
		status, out, err := dossier(t, env, "find", "x\x1b", "--lang", lang)
		if status != exitDone || err != "" || !strings.Contains(out, want) {
			t.Errorf("%s: status %d, %q, %q; want done and %q", lang, status, out, err, want)
		}
	}
}

func TestFindUsage(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args []string
		say  string
	}{
		{[]string{"find"}, "TEXT… missing"},
		{[]string{"find", "x", "--limit", "0"}, "--limit 0: at least 1 wanted"},
		{[]string{"find", "x", "--limit", "-1"}, `invalid value "-1"`},
	} {
		status, _, err := dossier(t, nil, tc.args...)
		if status != exitUsage || !strings.Contains(err, tc.say) {
			t.Errorf("%v: status %d, %q; want usage and %q", tc.args, status, err, tc.say)
		}
	}
}
