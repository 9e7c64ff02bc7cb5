package mapping_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/dossier360/dossier/ingest/importer/mapping"
	"github.com/dossier360/dossier/ingest/importer/table"
)

// rig holds what a text test declared so far.
type rig struct {
	dir string
	m   *mapping.Mapping
}

// What a mapping makes of a file, and what it says of a wrong one.
func TestMapping(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata/text", func(t *testing.T, path string) {
		r := &rig{dir: t.TempDir()}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "mapping":
				m, err := mapping.Parse("map.yaml", []byte(d.Input))
				if err != nil {
					return err.Error()
				}
				r.m = m
				return "ok"
			case "file":
				r.write(t, d.CmdArgs[0].Key, d.Input)
				return ""
			case "import":
				r.write(t, d.CmdArgs[0].Key, d.Input)
				var out strings.Builder
				if err := r.run(t, &out, d.CmdArgs[0].Key); err != nil {
					return err.Error()
				}
				return out.String()
			}
			t.Fatalf("unknown command %s", d.Cmd)
			return ""
		})
	})
}

func (r *rig) write(t *testing.T, name, text string) {
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// run imports a file and tells what came of it.
func (r *rig) run(t testing.TB, out io.Writer, name string) error {
	t.Helper()
	lookups := map[string]*mapping.Index{}
	for _, l := range r.m.Lookups {
		index, err := load(r.m, l, filepath.Join(r.dir, l.File))
		if err != nil {
			return err
		}
		lookups[l.Name] = index
	}
	var counts mapping.Outcome
	rows := 0
	tell := func(made []mapping.Made, rejects []mapping.Reject) {
		for _, m := range made {
			fmt.Fprintf(out, "%v %s\n", m.Lines, eventJSON(t, m))
		}
		for _, reject := range rejects {
			fmt.Fprintf(out, "rejected %s\n", reject)
		}
	}
	mapper, err := each(r.m, filepath.Join(r.dir, name), lookups, func(mapper *mapping.Mapper, row table.Row) {
		made, rejects, o := mapper.Add(row)
		tell(made, rejects)
		rows++
		counts.Skipped += o.Skipped
		counts.Unmatched += o.Unmatched
		counts.Held += o.Held
	})
	if err != nil {
		return err
	}
	for made, rejects := range mapper.Close() {
		tell(made, rejects)
	}
	fmt.Fprintf(out, "rows %d, skipped %d, unmatched %d, held %d\n", rows, counts.Skipped, counts.Unmatched, counts.Held)
	return mapper.Err()
}

func eventJSON(t testing.TB, m mapping.Made) string {
	t.Helper()
	text, err := protojson.Marshal(m.Event)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer // protojson puts in blanks at random
	if err := json.Compact(&b, text); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func load(m *mapping.Mapping, l mapping.Lookup, path string) (*mapping.Index, error) {
	reader, err := table.Open(path, l.Table)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	index, err := m.Index(l.Name, reader.File(), reader.Columns())
	if err != nil {
		return nil, err
	}
	for {
		row, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return index, nil
		}
		if err != nil {
			return nil, err
		}
		if err := index.Add(row); err != nil {
			return nil, err
		}
	}
}

// each binds a mapping to a file and hands on the rows.
func each(m *mapping.Mapping, path string, lookups map[string]*mapping.Index, add func(*mapping.Mapper, table.Row)) (*mapping.Mapper, error) {
	reader, err := table.Open(path, m.Table)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	mapper, err := m.Bind(reader.File(), reader.Columns(), lookups)
	if err != nil {
		return nil, err
	}
	for {
		row, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return mapper, nil
		}
		if err != nil {
			return nil, err
		}
		add(mapper, row)
	}
}
