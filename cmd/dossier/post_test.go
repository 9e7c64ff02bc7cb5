package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// The variable of the write key is the server's too, which may have several
// keys with names: every command that posts sends the first of them.
func TestFirstWriteKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rows, mapping := filepath.Join(dir, "rows.csv"), filepath.Join(dir, "map.yaml")
	for path, text := range map[string]string{
		rows:    "id,city\n1,Wuhan\n",
		mapping: "format: csv\nheader: true\nsource: test\nrows:\n  - event: traits.set\n    customer: {user_id: col.id}\n    fields: {city: col.city}\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, args := range map[string][]string{
		"import":         {"import", rows, "--map", mapping},
		"simulate":       {"simulate", "--customers", "5", "--days", "120", "--end", simulatedEnd},
		"bench":          {"bench", "--events", "10"},
		"rejected retry": {"rejected", "retry", "7"},
		"parked retry":   {"parked", "retry", "--all"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var got []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.HasPrefix(r.URL.Path, "/v1/") { // of the query side
					w.Header().Set("Content-Type", "application/json")
					w.Write([]byte("{}"))
					return
				}
				key, _, _ := r.BasicAuth()
				mu.Lock()
				defer mu.Unlock()
				got = append(got, key)
				w.WriteHeader(http.StatusUnauthorized)
			}))
			defer server.Close()
			status, out, stderr := dossier(t, map[string]string{"DOSSIER_WRITE_KEY": "desk=tell,other"}, append(args, "--server", server.URL)...)
			mu.Lock()
			defer mu.Unlock()
			if len(got) == 0 || slices.ContainsFunc(got, func(key string) bool { return key != "tell" }) {
				t.Errorf("keys %q, want tell; status %d, %q, %q", got, status, out, stderr)
			}
		})
	}
}

// What was tried again before the server grew too busy is told, with its receipt.
func TestRetryCutShort(t *testing.T) {
	t.Parallel()
	const receipt = "AQIR"
	calls := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if calls++; calls == 1 {
			w.Write([]byte(`{"success":true,"results":[{"id":"7","outcome":"accepted"}],"receipt":"` + receipt + `","next":"7"}`))
			return
		}
		w.WriteHeader(http.StatusTooManyRequests)
		w.Write([]byte(`{"success":false,"code":"overload","message":"more load than the machine takes"}`))
	}))
	defer server.Close()
	status, out, stderr := dossier(t, nil, "rejected", "retry", "--all", "--server", server.URL)
	if status != exitFailed || !strings.Contains(out, "7") || !strings.Contains(out, "accepted") {
		t.Errorf("status %d, output %q; want %d and 7 accepted", status, out, exitFailed)
	}
	if !strings.Contains(stderr, "tried: 1; receipt: "+receipt) || !strings.Contains(stderr, "more load than the machine takes") {
		t.Errorf("said %q; want how many, the receipt %s, and why it ended", stderr, receipt)
	}
}
