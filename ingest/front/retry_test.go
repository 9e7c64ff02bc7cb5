package front_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/front"
	"github.com/dossier360/dossier/ingest/rejected"
)

func TestRetries(t *testing.T) {
	t.Parallel()
	const rejectedPath, parkedPath = "/v1/rejected/retry", "/v1/parked/retry"
	var asked rejected.Retry
	var askedParked front.ParkedRetry
	var fails error
	handler := front.New(front.Options{
		Accept:    func(context.Context, ingest.Batch) (ingest.Result, error) { panic("not reached") },
		WriteKeys: map[string]string{"all": "", "shop-key": "shop"},
		RetryRejected: func(_ context.Context, r rejected.Retry) (rejected.Retried, error) {
			asked = r
			return rejected.Retried{Outcomes: []rejected.Outcome{{ID: "17", Outcome: rejected.Accepted}}, Receipt: "R", After: 17}, fails
		},
		RetryParked: func(_ context.Context, r front.ParkedRetry) (front.ParkedRetried, error) {
			askedParked = r
			return front.ParkedRetried{Next: "00-0-3-1"}, fails
		},
	})
	call := func(method, path, key, contentType, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Authorization", "Bearer "+key)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if got := w.Header().Get("Access-Control-Allow-Origin"); got != "" {
			t.Errorf("%s %s: allowed to origin %q, want none", method, path, got)
		}
		return w
	}
	const json = "application/json"
	for _, tc := range []struct {
		name, key, body string
		want            rejected.Retry
	}{
		{"by id", "all", `{"ids":["17"]}`, rejected.Retry{IDs: []string{"17"}}},
		{"with a body", "all", `{"ids":["17"],"body":"{\"a\":1}"}`, rejected.Retry{IDs: []string{"17"}, Body: []byte(`{"a":1}`)}},
		{"with bytes", "all", `{"ids":["17"],"bodyBase64":"/w=="}`, rejected.Retry{IDs: []string{"17"}, Body: []byte{0xff}}},
		{"with no bytes", "all", `{"ids":["17"],"bodyBase64":""}`, rejected.Retry{IDs: []string{"17"}, Body: []byte{}}},
		{"all of one", "all", `{"all":true,"source":"web","code":"bad_time","after":"9"}`, rejected.Retry{All: true, Source: "web", Code: "bad_time", After: 9}},
		{"by the key of a source", "shop-key", `{"all":true}`, rejected.Retry{All: true, Source: "shop"}},
	} {
		w := call(http.MethodPost, rejectedPath, tc.key, json, tc.body)
		if diff := cmp.Diff(tc.want, asked); diff != "" || w.Code != http.StatusOK {
			t.Errorf("%s: %d %s (-want +got):\n%s", tc.name, w.Code, w.Body, diff)
		}
		if got, want := w.Body.String(), `{"success":true,"results":[{"id":"17","outcome":"accepted"}],"receipt":"R","next":"17"}`+"\n"; got != want {
			t.Errorf("%s: answer %s, want %s", tc.name, got, want)
		}
	}
	w := call(http.MethodPost, parkedPath, "shop-key", json, `{"ids":["00-0-3-1"]}`)
	if diff := cmp.Diff(front.ParkedRetry{IDs: []string{"00-0-3-1"}}, askedParked); diff != "" {
		t.Errorf("parked by id (-want +got):\n%s", diff)
	}
	if got, want := w.Body.String(), `{"success":true,"results":[],"next":"00-0-3-1"}`+"\n"; got != want {
		t.Errorf("parked: answer %s, want %s", got, want)
	}

	for _, tc := range []struct {
		method, path, key, contentType, body string
		status                               int
		say                                  string
	}{
		{"POST", rejectedPath, "wrong", json, `{"all":true}`, 401, "unknown_key"},
		{"POST", parkedPath, "", json, `{"all":true}`, 401, "unknown_key"},
		{"GET", rejectedPath, "all", json, ``, 405, "POST wanted"},
		{"OPTIONS", rejectedPath, "all", json, ``, 405, "POST wanted"},
		{"POST", rejectedPath, "all", "text/plain", `{"all":true}`, 400, "application/json wanted"},
		{"POST", rejectedPath, "all", json, `{"al":true}`, 400, "al"},
		{"POST", rejectedPath, "all", json, `{"all":true}{}`, 400, "more follows"},
		{"POST", rejectedPath, "all", json, `{"ids":["1"],"body":"","bodyBase64":""}`, 400, "one of them"},
		{"POST", rejectedPath, "all", json, `{"ids":["1"],"bodyBase64":"*"}`, 400, "bodyBase64"},
		{"POST", rejectedPath, "all", json, `{"all":true,"after":"x"}`, 400, "after"},
		{"POST", rejectedPath, "shop-key", json, `{"all":true,"source":"web"}`, 400, "the write key is that of"},
		{"POST", parkedPath, "all", json, `{"ids":["1"],"body":"x"}`, 400, "ids, all and after"},
	} {
		w := call(tc.method, tc.path, tc.key, tc.contentType, tc.body)
		if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.say) {
			t.Errorf("%s %s %s: %d %s, want %d with %q", tc.method, tc.path, tc.body, w.Code, w.Body, tc.status, tc.say)
		}
	}
	for _, tc := range []struct {
		err    error
		status int
	}{
		{rejected.ErrRetry, 400}, {front.ErrBadRetry, 400}, {rejected.ErrCatchingUp, 503}, {ingest.ErrOverload, 429},
		{ingest.ErrDiskFull, 507}, {ingest.ErrNotReady, 503}, {errors.New("secret"), 503},
	} {
		fails = tc.err
		for _, path := range []string{rejectedPath, parkedPath} {
			w := call(http.MethodPost, path, "all", json, `{"all":true}`)
			if w.Code != tc.status || w.Code >= 429 && w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "secret") {
				t.Errorf("%s fails with %v: %d %s, want %d", path, tc.err, w.Code, w.Body, tc.status)
			}
		}
	}
	bare := front.New(front.Options{Accept: func(context.Context, ingest.Batch) (ingest.Result, error) { panic("not reached") }})
	w = httptest.NewRecorder()
	bare.ServeHTTP(w, httptest.NewRequest(http.MethodPost, rejectedPath, nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("without retries: %d, want 404", w.Code)
	}
}
