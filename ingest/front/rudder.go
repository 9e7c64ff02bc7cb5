package front

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/wires"
)

// sourceConfig tells RudderStack's browser client that its source is there and
// has no destinations: all events come here.
func (f *front) sourceConfig(w http.ResponseWriter, r *http.Request) {
	if _, known := f.headerSource(r); !known {
		refuseKey(w)
		return
	}
	off := map[string]bool{"enabled": false}
	reply(w, http.StatusOK, map[string]any{
		"source": map[string]any{
			"id": "dossier", "name": "Dossier", "enabled": true, "workspaceId": "dossier",
			"writeKey": cmp.Or(r.URL.Query().Get("writeKey"), basicUser(r.Header.Get("Authorization"))),
			"config":   map[string]any{"statsCollection": map[string]any{"errors": off, "metrics": off}},
			// Both are wanted, though empty.
			"connections": []string{}, "destinations": []string{}, "dataplanes": map[string]any{},
		},
	})
}

// pixel takes an event that stands in the address of a picture: a name with
// dots in it is a member of a member.
func (f *front) pixel(w http.ResponseWriter, r *http.Request, call string) {
	path := "/v1/" + call
	wire, ok := wires.ForPath(path)
	if !ok || call != "track" && call != "page" {
		notFound(w, r)
		return
	}
	f.take(w, asPost(r, path, encode(pixelEvent(r.URL.Query()))), path, wire)
}

func pixelEvent(query url.Values) map[string]any {
	event := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if ingest.IsWriteKey(name) {
			continue
		}
		steps := strings.Split(name, ".")
		if len(steps) > ingest.MaxDepth {
			steps = []string{name}
		}
		at, last := event, len(steps)-1
		for _, step := range steps[:last] {
			inner, is := at[step].(map[string]any)
			if !is {
				inner = map[string]any{}
				at[step] = inner
			}
			at = inner
		}
		at[steps[last]] = query.Get(name)
	}
	return event
}
