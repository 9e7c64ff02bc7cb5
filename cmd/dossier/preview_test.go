package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dossier360/dossier/events"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// preview asks the server what would become of events; next is the receipt for
// the next call.
func (p *engineProcess) preview(receipt string, batch ...any) (verdicts []string, next string) {
	p.t.Helper()
	body, err := json.Marshal(map[string]any{"source": "erp", "events": batch})
	if err != nil {
		p.t.Fatal(err)
	}
	resp, err := http.Post(p.url+"/v1/events?dryRun=true&receipt="+receipt, "application/json", bytes.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		p.t.Fatalf("preview: status %d: %s", resp.StatusCode, text)
	}
	var a struct {
		Success, DryRun bool
		Events          []struct {
			Index                      int
			Verdict, MessageID, Reason string
			Rejection                  *struct{ Code, Field string }
		}
		Receipt string
	}
	if err := json.Unmarshal(text, &a); err != nil {
		p.t.Fatal(err)
	}
	if !a.Success || !a.DryRun || a.Receipt == "" || len(a.Events) != len(batch) {
		p.t.Fatalf("preview: %s", text)
	}
	for i, e := range a.Events {
		if e.Index != i {
			p.t.Errorf("verdict %d is of index %d", i, e.Index)
		}
		v := e.Verdict
		if e.Rejection != nil {
			v += " " + e.Rejection.Code + " " + e.Rejection.Field
		}
		if (e.Reason != "") != (v == "conflicting") {
			v += ": " + e.Reason
		}
		verdicts = append(verdicts, v)
	}
	return verdicts, a.Receipt
}

// TestPreview asks what would become of orders, tells them, and asks again.
func TestPreview(t *testing.T) {
	t.Parallel()
	p := startProcess(t, t.TempDir())
	order := func(id, user string, more map[string]any) map[string]any {
		props := map[string]any{"order_id": id, "total": "12.50", "currency": "CNY"}
		ids := []any{map[string]any{"type": "user_id", "value": user}}
		for name, v := range more {
			if name == "email" {
				ids = append(ids, map[string]any{"type": "email", "value": v})
			} else {
				props[name] = v
			}
		}
		return map[string]any{
			"id": id, "type": "order.placed", "time": "2026-01-05T10:00:00Z", "identifiers": ids, "properties": props,
		}
	}
	same, bad := order("o-1", "ann", nil), order("o-2", "ann", map[string]any{"total": "twelve"})
	got, _ := p.preview("", same, same, bad)
	if d := cmp.Diff([]string{"new", "duplicate", "rejected bad_number properties.total"}, got); d != "" {
		t.Errorf("before anything was told (-want +got):\n%s", d)
	}
	status := p.awaitFolded()
	if status.Rejected != 0 {
		t.Errorf("%d rejected by asking, want none kept", status.Rejected)
	}
	if _, err := p.query().GetProfile(t.Context(), profileOf("user_id:ann")); err == nil {
		t.Error("asking made a customer")
	}

	p.post("/v1/events", map[string]any{"source": "erp", "events": []any{same, order("o-3", "bob", map[string]any{"email": "bob@x.org"})}}, http.StatusOK)
	dearer := order("o-1", "ann", map[string]any{"total": "13"})
	later := order("o-1", "ann", nil)
	later["time"] = "2026-01-05T11:00:00Z"
	cancelled := order("o-1", "ann", nil)
	cancelled["type"] = "order.cancelled"
	both := order("o-4", "ann", map[string]any{"email": "bob@x.org"})
	ask := []any{same, dearer, later, cancelled, order("o-1", "cyd", nil), both}
	want := []string{"duplicate", "changed", "changed", "new", "new", "conflicting"}
	got, receipt := p.preview("", ask...)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("after it was told (-want +got):\n%s", d)
	}

	// A revision stands in its place: what is told now is held against that.
	revision := order("o-1", "ann", map[string]any{"total": "13"})
	revision["id"], revision["corrects"], revision["issued_at"] = events.Revision("o-1", 1), "o-1", "2026-02-01T00:00:00Z"
	p.post("/v1/events", map[string]any{"source": "erp", "events": []any{revision}}, http.StatusOK)
	got, _ = p.preview("", same, dearer)
	if d := cmp.Diff([]string{"changed", "duplicate"}, got); d != "" {
		t.Errorf("after a revision (-want +got):\n%s", d)
	}
	if got, _ := p.preview(receipt, order("o-9", "ann", nil)); got[0] != "new" {
		t.Errorf("with an older receipt: got %s, want new", got[0])
	}
	resp, err := http.Post(p.url+"/v1/events?dryRun=true&receipt=AQ", "application/json", bytes.NewReader([]byte(`{"events":[{}]}`)))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("with no receipt of ours: status %d, want 400", resp.StatusCode)
	}
}

func profileOf(ref string) *queryv1.GetProfileRequest {
	return &queryv1.GetProfileRequest{Customer: ref}
}
