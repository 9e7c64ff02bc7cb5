package mapping_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dossier360/dossier/ingest/importer/mapping"
)

var fence = regexp.MustCompile("(?ms)^```(\\w+) ?([\\w.]*)\n(.*?)^```$")

// The examples of the guide make the events that it shows.
func TestGuide(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile(root + "docs/IMPORT.md")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{dir: t.TempDir()}
	last, examples := "", 0
	for _, m := range fence.FindAllStringSubmatch(string(guide), -1) {
		switch kind, name, text := m[1], m[2], m[3]; kind {
		case "yaml":
			if r.m, err = mapping.Parse("map.yaml", []byte(text)); err != nil {
				t.Fatal(err)
			}
		case "csv":
			last = name
			r.write(t, name, strings.TrimSuffix(text, "\n"))
		case "json":
			examples++
			var out strings.Builder
			if err := r.run(t, &out, last); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(strings.Split(text, "\n"), strings.Split(onlyEvents(out.String()), "\n")); diff != "" {
				t.Errorf("example %d (-guide +made):\n%s", examples, diff)
			}
		}
	}
	if examples < 3 {
		t.Errorf("%d examples in the guide, at least 3 wanted", examples)
	}
}

var linesBefore = regexp.MustCompile(`(?m)^\[[\d ]+\] |^rows .*\n`)

// onlyEvents leaves out the lines of the file and the counts.
func onlyEvents(out string) string { return linesBefore.ReplaceAllString(out, "") }
