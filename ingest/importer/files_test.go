package importer_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dossier360/dossier/ingest/importer"
	"github.com/dossier360/dossier/ingest/importer/mapping"
)

// folder writes files into a folder of their own.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func openFiles(t *testing.T, dir, rules string, names ...string) (*importer.Files, error) {
	t.Helper()
	m, err := mapping.Parse(filepath.Join(dir, "map.yaml"), []byte(rules))
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, name := range names {
		paths = append(paths, filepath.Join(dir, name))
	}
	return importer.Open(m, paths)
}

// read is what files come to, as text.
func read(t *testing.T, files *importer.Files) string {
	t.Helper()
	var b strings.Builder
	err := files.Read(t.Context(), func(i importer.Item) error {
		fmt.Fprintf(&b, "%s:%d", i.File, i.Line)
		for _, r := range i.Records {
			fmt.Fprintf(&b, " %s %s %v", r.Event.Type, r.ID, r.Lines)
		}
		for _, r := range i.Refused {
			fmt.Fprintf(&b, " refused %d %s %q", r.Line, r.Column, r.Value)
		}
		if i.Skipped {
			b.WriteString(" skipped")
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const grouped = `
format: csv
header: true
rows:
  - when: col.order == "test"
    skip: true
  - event: order.placed
    group: [order]
    customer: {user_id: col.who}
    fields: {order_id: col.order}
    lines: {product_id: col.what}
`

func zipped(t *testing.T, files ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		f, err := w.Create(files[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// The files of an archive are files: each has its lines and its groups.
func TestFilesInOrder(t *testing.T) {
	t.Parallel()
	const header = "order,who,what\n"
	dir := folder(t, map[string]string{
		"z.zip": zipped(t, "b.csv", header+"3,u,x\n", "a.csv", header+"1,u,x\n2,u,x\n1,u,y\n"),
		"c.csv": header + "test,u,x\n4,u,x\n5,u\n4,u,y\n",
	})
	files, err := openFiles(t, dir, grouped, "z.zip", "c.csv")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`z.zip/a.csv:2
z.zip/a.csv:3
z.zip/a.csv:4
z.zip/a.csv:0 order.placed 1 [2 4]
z.zip/a.csv:0 order.placed 2 [3]
z.zip/b.csv:2
z.zip/b.csv:0 order.placed 3 [2]
c.csv:2 skipped
c.csv:3
c.csv:4 refused 4  ""
c.csv:5
c.csv:0 order.placed 4 [3 5]
`, read(t, files)); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
	if p := files.Progress(); p.Rows != 8 || p.Done != p.Total || p.Total == 0 || p.File != "c.csv" {
		t.Errorf("progress %+v, want 8 rows and all bytes", p)
	}

	var found []string
	err = files.Find(t.Context(),
		func(_ string, line int) bool { return line == 3 },
		func(file string, line int, cells []any) error {
			found = append(found, fmt.Sprintf("%s:%d %v", file, line, cells))
			return nil
		})
	if diff := cmp.Diff([]string{"z.zip/a.csv:3 [2 u x]", "c.csv:3 [4 u x]"}, found); diff != "" || err != nil {
		t.Errorf("rows at line 3: %v (-want +got):\n%s", err, diff)
	}
}

const joined = `
format: csv
header: true
lookups:
  firms: {file: firms.csv, key: no}
rows:
  - event: ticket.opened
    id: [ticket]
    customer: {user_id: 'lookup("firms", col.firm).contact'}
    fields: {ticket_id: col.ticket}
`

// A row of a lookup that cannot be read is told, and found by nobody.
func TestLookups(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{
		"tickets.csv": "ticket,firm\nT1,1\nT2,2\n",
		"firms.csv":   "no,contact\n1,ann\n2\n",
	})
	files, err := openFiles(t, dir, joined, "tickets.csv")
	if err != nil {
		t.Fatal(err)
	}
	got := read(t, files)
	for _, want := range []string{"firms.csv:0 refused 3", "tickets.csv:2 ticket.opened T1 [2]\n", "tickets.csv:3 refused 3"} {
		if !strings.Contains(got, want) {
			t.Errorf("items have no %q:\n%s", want, got)
		}
	}
}

// What is not there is said before anything is read.
func TestInputErrors(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"tickets.csv": "ticket,firm\n", "empty.csv": ""})
	for _, tc := range []struct{ rules, file, want string }{
		{grouped, "nowhere.csv", "nowhere.csv: no such file"},
		{joined, "tickets.csv", "map.yaml: lookups.firms.file: " + filepath.Join(dir, "firms.csv") + ": no such file"},
	} {
		_, err := openFiles(t, dir, tc.rules, tc.file)
		if _, ok := errors.AsType[*importer.InputError](err); !ok || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want an input error with %q", tc.file, err, tc.want)
		}
	}
	files, err := openFiles(t, dir, grouped, "tickets.csv")
	if err != nil {
		t.Fatal(err)
	}
	err = files.Read(t.Context(), func(importer.Item) error { return nil })
	if _, ok := errors.AsType[mapping.Errors](err); !ok || !strings.Contains(err.Error(), `no column "order"`) {
		t.Errorf("a file of other columns: got %v, want that there is no column order", err)
	}
}

// Rows that go on with one that could not be read belong to nobody known.
func TestRowsBelowALostOne(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"a.csv": "order,who,what\n1,u,x\n,,y\n2,v,x,,1\n,,y\n3,w,x\n"})
	files, err := openFiles(t, dir, grouped+"fill: [order, who]\n", "a.csv")
	if err != nil {
		t.Fatal(err)
	}
	want := `a.csv:2
a.csv:3
a.csv:4 refused 4  ""
a.csv:5 refused 5 order ""
a.csv:6
a.csv:0 order.placed 1 [2 3]
a.csv:0 order.placed 3 [6]
`
	if diff := cmp.Diff(want, read(t, files)); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
}

// A file that the mapping does not fit is told of before those that stand before
// it are sent.
func TestLaterFileOfOtherColumns(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"a.csv": "order,who,what\n1,u,x\n", "b.csv": "Order,who,what\n1,u,x\n"})
	files, err := openFiles(t, dir, grouped, "a.csv", "b.csv")
	if err != nil {
		t.Fatal(err)
	}
	err = files.Read(t.Context(), func(i importer.Item) error {
		t.Errorf("an item: %+v", i)
		return nil
	})
	if _, ok := errors.AsType[mapping.Errors](err); !ok || !strings.Contains(err.Error(), `b.csv has no column "order"; Order is near`) {
		t.Errorf("got %v, want that b.csv has no column order", err)
	}
}

// Where rows wait for the end of their file, progress is of what was handed on,
// too: reading is half of it.
func TestProgressOfGroups(t *testing.T) {
	t.Parallel()
	const rows = 1000
	var text strings.Builder
	text.WriteString("order,who,what\n")
	for i := range rows {
		fmt.Fprintf(&text, "%d,u,x\n", i)
	}
	dir := folder(t, map[string]string{"a.csv": text.String(), "b.csv": text.String()})
	files, err := openFiles(t, dir, grouped, "a.csv", "b.csv")
	if err != nil {
		t.Fatal(err)
	}
	var last, largest int64
	err = files.Read(t.Context(), func(importer.Item) error {
		p := files.Progress()
		if p.Done < last || p.Done > p.Total {
			t.Errorf("%d bytes of %d done after %d", p.Done, p.Total, last)
		}
		last, largest = p.Done, max(largest, p.Done-last)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if p := files.Progress(); p.Done != p.Total || largest > p.Total/4+p.Total/rows {
		t.Errorf("%d bytes of %d done in the end, %d of them in one step", p.Done, p.Total, largest)
	}
}

func TestReadingEnds(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"a.csv": "order,who,what\n1,u,x\n2,u,x\n"})
	files, err := openFiles(t, dir, grouped, "a.csv")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = files.Read(ctx, func(importer.Item) error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
	stop := errors.New("enough")
	if err := files.Read(t.Context(), func(importer.Item) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("refused by who takes it: got %v, want %v", err, stop)
	}
}
