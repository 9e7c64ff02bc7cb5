package front

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/dossier360/dossier/ingest"
)

// postHog is the name of the wire whose clients want more than Segment's do.
const postHog = "posthog"

// analyticsPath is where PostHog's clients of the second kind send; they look
// for what became of each event.
const analyticsPath = "/i/v1/analytics/events"

// results of an event, by which a client of analyticsPath acts. To "retry" it
// sends an event again; it is never told here, for then the whole call is.
const (
	resultOK      = "ok"
	resultWarning = "warning" // taken, but not all that it told
	resultDrop    = "drop"
)

// itemResult is what became of one event.
type itemResult struct {
	Result  string `json:"result"`
	Details string `json:"details,omitempty"`
}

// itemIDs are the ids of the events as sent. They are read before the gateway
// takes the events, which moves the ids.
func itemIDs(d *ingest.Decoded) []string {
	ids := make([]string, d.Items())
	for i := range ids {
		switch draft := &d.Drafts[i]; {
		case draft.Refused != nil:
			ids[i] = draft.Refused.MessageID
		case draft.Event != nil:
			ids[i] = draft.Event.Id
		}
	}
	return ids
}

// resultsOf are the results by id.
func resultsOf(d *ingest.Decoded, ids []string, rejected []ingest.Rejection) map[string]itemResult {
	results := make(map[string]itemResult, len(ids))
	for _, id := range ids {
		if id != "" {
			results[id] = itemResult{Result: resultOK}
		}
	}
	for _, r := range rejected {
		item := d.Item(r.Index)
		if item >= len(ids) || ids[item] == "" || results[ids[item]].Result == resultDrop {
			continue
		}
		result := itemResult{Result: resultDrop, Details: r.Message}
		if item != r.Index {
			result.Result = resultWarning
		}
		results[ids[item]] = result
	}
	return results
}

// bySent puts rejections in the order of the events as they were sent.
func bySent(d *ingest.Decoded, rejected []ingest.Rejection) []ingest.Rejection {
	if len(d.Beside) == 0 {
		return rejected
	}
	rejected = slices.Clone(rejected)
	for i := range rejected {
		rejected[i].Index = d.Item(rejected[i].Index)
	}
	slices.SortStableFunc(rejected, func(a, b ingest.Rejection) int { return cmp.Compare(a.Index, b.Index) })
	return rejected
}

// retryStatus is the status by which a client that was answered this one in
// vain comes again. PostHog's browsers drop what is answered with any 4xx, its
// clients of analyticsPath what is answered with a 507.
func retryStatus(r *http.Request, path string, status int) int {
	switch {
	case (status == http.StatusTooManyRequests || status == http.StatusRequestTimeout) && (path == "/e" || path == "/i/v0/e") && r.Header.Get("Origin") != "":
		return http.StatusServiceUnavailable
	case status == http.StatusInsufficientStorage && path == analyticsPath:
		return http.StatusServiceUnavailable
	}
	return status
}

// remoteConfig tells a browser to send events and to do nothing else.
var remoteConfig = map[string]any{
	"supportedCompression":  []string{"gzip", "gzip-js"},
	"hasFeatureFlags":       false,
	"captureDeadClicks":     false,
	"capturePerformance":    false,
	"autocapture_opt_out":   false,
	"autocaptureExceptions": false,
	"analytics":             map[string]string{"endpoint": "/i/v0/e/"},
	"elementsChainAsString": true,
	"errorTracking":         map[string]bool{"autocaptureExceptions": false},
	"logs":                  map[string]bool{"captureConsoleLogs": false},
	"sessionRecording":      false,
	"heatmaps":              false,
	"conversations":         false,
	"productTours":          false,
	"surveys":               false,
	"defaultIdentifiedOnly": true,
	"siteApps":              []string{},
	"isAuthenticated":       false,
	"toolbarParams":         map[string]string{},
}

// flags says that there are no feature flags, to the clients of all versions.
var flags = func() map[string]any {
	all := map[string]any{
		"flags": map[string]any{}, "featureFlags": map[string]any{}, "featureFlagPayloads": map[string]any{},
		"errorsWhileComputingFlags": false, "config": map[string]any{},
	}
	maps.Copy(all, remoteConfig)
	return all
}()

// nothing is what PostHog's clients ask for that is not here, answered so that
// they go on without.
var nothing = map[string]any{
	"/flags":  flags,
	"/decide": flags,
	"/flags/definitions": map[string]any{
		"flags": []string{}, "group_type_mapping": map[string]string{}, "cohorts": map[string]string{},
	},
	"/api/feature_flag/local_evaluation": map[string]any{
		"flags": []string{}, "group_type_mapping": map[string]string{}, "cohorts": map[string]string{},
	},
	"/api/surveys":               map[string]any{"surveys": []string{}},
	"/api/early_access_features": map[string]any{"earlyAccessFeatures": []string{}},
	"/api/web_experiments":       map[string]any{"experiments": []string{}},
	"/api/product_tours":         map[string]any{"product_tours": []string{}},
	"/s":                         map[string]any{"status": 1}, // session recordings: dropped
	"/i/v1/logs":                 map[string]any{},            // dropped
	"/i/v1/metrics":              map[string]any{},            // dropped
}

// quiet answers what clients of a browser ask for besides sending events. It
// reports whether the path is one of those.
func (f *front) quiet(w http.ResponseWriter, r *http.Request, path string) bool {
	if answer, ok := nothing[path]; ok {
		if allowed(w, r, http.MethodGet, http.MethodHead, http.MethodPost) {
			drain(w, r, 0)
			reply(w, http.StatusOK, answer)
		}
		return true
	}
	script := strings.HasPrefix(path, "/static/") && strings.HasSuffix(path, ".js") && path != "/static/array.js"
	token, ofToken := strings.CutPrefix(path, "/array/")
	token, config := strings.CutSuffix(token, "/config")
	token, configScript := strings.CutSuffix(token, "/config.js")
	switch {
	case script:
		if allowed(w, r, http.MethodGet, http.MethodHead) {
			replyScript(w, "")
		}
	case ofToken && config && !strings.Contains(token, "/"):
		if allowed(w, r, http.MethodGet, http.MethodHead) {
			reply(w, http.StatusOK, remoteConfig)
		}
	case ofToken && configScript && !strings.Contains(token, "/"):
		if allowed(w, r, http.MethodGet, http.MethodHead) {
			replyScript(w, "(function(){var c=window._POSTHOG_REMOTE_CONFIG=window._POSTHOG_REMOTE_CONFIG||{};c["+
				string(encode(token))+"]={config:"+string(encode(remoteConfig))+",siteApps:[]}})();\n")
		}
	default:
		return false
	}
	return true
}

func replyScript(w http.ResponseWriter, script string) {
	w.Header().Set("Content-Type", "application/javascript; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	w.Write([]byte(script))
}
