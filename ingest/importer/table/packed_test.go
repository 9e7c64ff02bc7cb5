package table_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dossier360/dossier/ingest/importer/table"
)

func gz(tb testing.TB, content string) string {
	tb.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, content); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.String()
}

// zipped packs files: name, content, name, content …
func zipped(tb testing.TB, pairs ...string) string {
	tb.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(pairs); i += 2 {
		f, err := w.Create(pairs[i])
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := io.WriteString(f, pairs[i+1]); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.String()
}

func TestReader_packed(t *testing.T) {
	t.Parallel()
	csv := table.Options{Format: "csv", Header: true}
	inside := func(s string) table.Options { return table.Options{Format: "csv", Header: true, Inside: s} }
	several := zipped(t, "b.csv", "id\n2\n", "sub/", "", "a.csv", "id\n1\n", "__MACOSX/._a.csv", "\x00", "sub/c.txt", "id\n3\n3,4\n", ".DS_Store", "x")
	tests := []struct {
		name, content string
		options       table.Options
		want          string
	}{
		{"gzip whatever the name", gz(t, "id\n1\n"), csv, "columns: id\n2: \"1\"\n"},
		{"gzip of several members", gz(t, "id\n1\n") + gz(t, "2\n"), csv, "columns: id\n2: \"1\"\n3: \"2\"\n"},
		{"zip in order of names", several, csv, "columns: id\n2: \"1\"\n2: \"2\"\n2: \"3\"\nlost: f/sub/c.txt:3: the row has 2 cells: 1 column is wanted\n"},
		{"inside by name", several, inside("b.csv"), "columns: id\n2: \"2\"\n"},
		{"inside by pattern", several, inside("*.csv"), "columns: id\n2: \"1\"\n2: \"2\"\n"},
		{"gzip inside zip", zipped(t, "a.csv.gz", gz(t, "id\n1\n")), csv, "columns: id\n2: \"1\"\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, read(write(t, "f", test.content), test.options)); diff != "" {
				t.Errorf("read (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReader_Progress(t *testing.T) {
	t.Parallel()
	rows := strings.Repeat("0123456789,abc\n", 100_000)
	for name, content := range map[string]string{"plain": rows, "gzip": gz(t, rows), "zip": zipped(t, "a", rows, "b", rows)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := table.Open(write(t, "f", content), table.Options{Format: "csv", Columns: names("a", "b")})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			var last int64
			for {
				_, err := r.Next()
				done, total := r.Progress()
				if total != int64(len(content)) || done < last || done > total {
					t.Fatalf("Progress = %d of %d after %d, want no way back and %d in all", done, total, last, len(content))
				}
				if last = done; err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if last != int64(len(content)) {
				t.Errorf("Progress at the end = %d, want %d", last, len(content))
			}
		})
	}
}

// A file of zeros packs 1,000 times; one that unpacks to more than it may is
// ended there, and what came before has been read.
func TestReader_bomb(t *testing.T) {
	t.Parallel()
	const block = 1 << 20
	member := gz(t, strings.Repeat(strings.Repeat("x", 63)+"\n", block/64))
	bomb := strings.Repeat(member, table.MaxInflatedFreeBytes/block+2)
	r, err := table.Open(write(t, "bomb.csv", bomb), table.Options{Format: "csv", Columns: names("x")})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rows := 0
	for ; err == nil; rows++ {
		_, err = r.Next()
	}
	want := max(table.MaxInflatedFreeBytes, 250*len(bomb))/64 + 1
	if rows != want || !strings.Contains(err.Error(), "more than 250 times") {
		t.Errorf("read %d rows, then %v, want %d and a word about what unpacks", rows, err, want)
	}
	if _, again := r.Next(); again != err {
		t.Errorf("Next after the end = %v, want %v again", again, err)
	}
}

// What ends a file in the middle comes after the rows before it.
func TestReader_damagedBehindRows(t *testing.T) {
	t.Parallel()
	whole := gz(t, "id\n1\n2\n")
	got := read(write(t, "f.csv.gz", whole[:len(whole)-4]), table.Options{Format: "csv", Header: true})
	if !strings.HasPrefix(got, "columns: id\n2: \"1\"\n3: \"2\"\nended: f.csv.gz:4: read on: the packed file is damaged") {
		t.Errorf("read = %s, want both rows and then the damage", got)
	}
}

func TestReader_limits(t *testing.T) {
	t.Parallel()
	x := func(n int) string { return strings.Repeat("x", n) }
	tests := []struct {
		name, content string
		columns       int
		lost          string // of the first row; empty: none
	}{
		{"cell at its bound", x(table.MaxCellBytes) + "\n1\n", 1, ""},
		{"cell beyond", x(table.MaxCellBytes+1) + "\n1\n", 1, "f:1: c0: has 262145 bytes: a cell may have 262144"},
		{"row at its bound", x(1<<18) + "," + x(1<<18) + "," + x(1<<18) + "," + x(1<<18-3) + "\n1,1,1,1\n", 4, ""},
		{"row beyond", x(1<<18) + "," + x(1<<18) + "," + x(1<<18) + "," + x(1<<18-2) + "\n1,1,1,1\n", 4, "f:1: the row is longer than 1024 KiB"},
		{"row far beyond", x(5<<20) + "\n1\n", 1, "f:1: the row is longer than 1024 KiB"},
		{"quoted cell over lines beyond a row", "\"" + strings.Repeat(x(99)+"\n", 11_000), 1, "f:1: cell 1 begins with a quote that is not closed within 1024 KiB"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var o table.Options
			o.Format = "csv"
			for i := range test.columns {
				o.Columns = append(o.Columns, table.Column{Name: "c" + string(rune('0'+i))})
			}
			r, err := table.Open(write(t, "f", test.content), o)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			_, err = r.Next()
			if bad, ok := errors.AsType[*table.RowError](err); err != nil && (!ok || bad.Error() != test.lost) || err == nil && test.lost != "" {
				t.Errorf("Next = %v, want %q", err, test.lost)
			}
			if _, err := r.Next(); err != nil {
				t.Errorf("the row after = %v, want it read", err)
			}
		})
	}
}

// Rows of a group are kept until the file is read: nothing that is read later
// may change them.
func TestReader_rowsMayBeKept(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for i := range 3_000 {
		fmt.Fprintf(&text, "%d,\"a \"\"%d\"\"\",same\n", i, i)
	}
	r, err := table.Open(write(t, "f", text.String()), table.Options{Format: "csv", Columns: names("a", "b", "c")})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var kept []table.Row
	for {
		row, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, row)
	}
	for i, row := range kept {
		want := table.Row{Line: i + 1, Values: []any{fmt.Sprint(i), fmt.Sprintf("a \"%d\"", i), "same"}}
		if diff := cmp.Diff(want, row); diff != "" {
			t.Fatalf("row kept from line %d (-want +got):\n%s", i+1, diff)
		}
	}
}
