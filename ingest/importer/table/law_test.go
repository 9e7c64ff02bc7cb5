package table_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/dossier360/dossier/ingest/importer/table"
)

// readAll returns the cells of all rows, and the rows that were lost.
func readAll(path string, o table.Options) (rows [][]string, lost int, err error) {
	r, err := table.Open(path, o)
	if err != nil {
		return nil, 0, err
	}
	defer r.Close()
	for {
		row, err := r.Next()
		if _, ok := errors.AsType[*table.RowError](err); ok {
			lost++
			continue
		}
		if err == io.EOF {
			return rows, lost, nil
		}
		if err != nil {
			return rows, lost, err
		}
		cells := make([]string, len(row.Values))
		for i, v := range row.Values {
			cells[i], _ = v.(string)
		}
		rows = append(rows, cells)
	}
}

// What a writer of csv writes comes back as it was, whatever is in the cells.
func TestLaw_csvRoundTrip(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	rapid.Check(t, func(t *rapid.T) {
		columns := rapid.IntRange(2, 5).Draw(t, "columns")
		cell := rapid.OneOf(rapid.StringMatching(`[a-c",;\n' \t]{0,8}`), rapid.StringMatching(`[张é€a"]{0,4}`))
		saysSomething := func(row []string) bool { return strings.Join(row, "") != "" } // the others are passed over
		rows := rapid.SliceOfN(rapid.SliceOfN(cell, columns, columns).Filter(saysSomething), 1, 8).Draw(t, "rows")
		delimiter := rapid.SampledFrom([]rune{',', ';', '|', '\t', '、'}).Draw(t, "delimiter")
		crlf := rapid.Bool().Draw(t, "crlf")
		var b bytes.Buffer
		w := csv.NewWriter(&b)
		w.Comma, w.UseCRLF = delimiter, crlf
		if err := w.WriteAll(rows); err != nil {
			t.Fatal(err)
		}
		text := b.String()
		if rapid.Bool().Draw(t, "no last line end") {
			text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		o := table.Options{Format: "csv", Delimiter: delimiter}
		for i := range columns {
			o.Columns = append(o.Columns, table.Column{Name: string(rune('a' + i))})
		}
		got, lost, err := readAll(path, o)
		if err != nil || lost > 0 {
			t.Fatalf("%q: lost %d rows, %v", text, lost, err)
		}
		if crlf { // the writer makes \r\n of a line end inside a cell, too
			for _, row := range rows {
				for i := range row {
					row[i] = strings.ReplaceAll(row[i], "\n", "\r\n")
				}
			}
		}
		if diff := cmp.Diff(rows, got); diff != "" {
			t.Fatalf("%q (-want +got):\n%s", text, diff)
		}
	})
}

// A bad row costs itself and nothing else: rows of plain text around it all
// arrive.
func TestLaw_badRowCostsItself(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	rapid.Check(t, func(t *rapid.T) {
		bad := rapid.SampledFrom([]string{"\"open,x", "a,\"open", "\"a\"b,c", "a", "a,b,c", "\x00,b", "\xff,b", "a,b\xc3"}).Draw(t, "bad")
		rows := rapid.SliceOfN(rapid.SliceOfN(rapid.StringMatching(`[a-z" ]?[a-z]{1,3}`), 2, 2), 1, 20).Draw(t, "rows")
		// A cell that begins with a quote could close the one of the bad row.
		rows = slices.DeleteFunc(rows, func(row []string) bool { return strings.Contains(row[0]+row[1], `"`) })
		at := rapid.IntRange(0, len(rows)).Draw(t, "at")
		var lines []string
		for _, row := range rows {
			lines = append(lines, strings.Join(row, ","))
		}
		text := strings.Join(slices.Insert(lines, at, bad), "\n")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, lost, err := readAll(path, table.Options{Format: "csv", Columns: names("a", "b")})
		if err != nil || lost != 1 {
			t.Fatalf("%q: lost %d rows, %v, want 1", text, lost, err)
		}
		if len(rows) != len(got) || len(rows) > 0 && !cmp.Equal(rows, got) {
			t.Fatalf("%q (-want +got):\n%s", text, cmp.Diff(rows, got))
		}
	})
}
