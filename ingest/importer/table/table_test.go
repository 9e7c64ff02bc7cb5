package table_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dossier360/dossier/ingest/importer/table"
)

// write puts a file into a folder of the test.
func write(tb testing.TB, name, content string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// read renders a file as text: its columns, each row with its line, each
// lost row with its message, and what ended it.
func read(path string, o table.Options) string {
	r, err := table.Open(path, o)
	if err != nil {
		return "open: " + err.Error() + "\n"
	}
	var b strings.Builder
	if columns := r.Columns(); columns != nil {
		fmt.Fprintf(&b, "columns: %s\n", strings.Join(columns, " | "))
	}
	for {
		row, err := r.Next()
		if bad, ok := errors.AsType[*table.RowError](err); ok {
			fmt.Fprintf(&b, "lost: %s\n", bad)
			continue
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			fmt.Fprintf(&b, "ended: %s\n", err)
			break
		}
		fmt.Fprintf(&b, "%d:", row.Line)
		for _, v := range row.Values {
			text, _ := json.Marshal(v)
			b.WriteString(" " + string(text))
		}
		b.WriteString("\n")
	}
	if err := r.Close(); err != nil {
		fmt.Fprintf(&b, "close: %s\n", err)
	}
	return b.String()
}

func names(names ...string) []table.Column {
	var columns []table.Column
	for _, name := range names {
		columns = append(columns, table.Column{Name: name})
	}
	return columns
}

func TestReader_text(t *testing.T) {
	t.Parallel()
	csv := table.Options{Format: "csv", Header: true}
	tests := []struct {
		name, content string
		options       table.Options
		want          string
	}{
		{"names are trimmed, cells are not", "\ufeff id,\u00a0name \n1, Ann \n", csv,
			"columns: id | name\n2: \"1\" \" Ann \"\n"},
		{"CRLF and a last line without end", "id,name\r\n1,Ann\r\n2,Bob", csv,
			"columns: id | name\n2: \"1\" \"Ann\"\n3: \"2\" \"Bob\"\n"},
		{"CR alone", "id,name\r1,Ann\r2,\"a\rb\"\r3,x\r", csv,
			"columns: id | name\n2: \"1\" \"Ann\"\n3: \"2\" \"a\\rb\"\n5: \"3\" \"x\"\n"},
		{"quotes over lines keep the line of the row's beginning", "id,note\n1,\"a\nb\n\nc\"\n2,x\n", csv,
			"columns: id | note\n2: \"1\" \"a\\nb\\n\\nc\"\n6: \"2\" \"x\"\n"},
		{"quotes twice, and delimiters inside", "id,note\n1,\"he said \"\"yes, no\"\"\"\n\"\",\"\"\"\"\n", csv,
			"columns: id | note\n2: \"1\" \"he said \\\"yes, no\\\"\"\n3: \"\" \"\\\"\"\n"},
		{"a quote inside a plain cell is a character", "id,note\n1,5\" pipe\n2,x\n", csv,
			"columns: id | note\n2: \"1\" \"5\\\" pipe\"\n3: \"2\" \"x\"\n"},
		{"a stray opening quote costs one row", "id,note\n1,\"oops\n2,b\n3,\"c, d\"\n4,e\n", csv,
			"columns: id | note\nlost: f:2: cell 2 goes on with \"c, d\\\"\" after its closing quote; quotes inside a quoted cell are written twice\n3: \"2\" \"b\"\n4: \"3\" \"c, d\"\n5: \"4\" \"e\"\n"},
		{"a quote that nothing closes costs one row", "id,note\n1,\"oops\n2,b\n", csv,
			"columns: id | note\nlost: f:2: cell 2 begins with a quote that is not closed before the file ends\n3: \"2\" \"b\"\n"},
		{"empty lines are passed over and counted", "\n\nid,name\n\n1,a\n\n\n2,b\n\n", csv,
			"columns: id | name\n5: \"1\" \"a\"\n8: \"2\" \"b\"\n"},
		{"numbers of cells", "a,b\n1\n1,2\n1,2,3\n", csv,
			"columns: a | b\nlost: f:2: the row has 1 cell: 2 columns are wanted; short: true takes such rows, ignore passes over lines that are no rows\n3: \"1\" \"2\"\nlost: f:4: the row has 3 cells: 2 columns are wanted\n"},
		{"delimiter of several bytes, lines skipped", "made by X\nid、name\n1、\"a、b\"\n2、c\n", table.Options{Format: "csv", Delimiter: '、', Skip: 1, Header: true},
			"columns: id | name\n3: \"1\" \"a、b\"\n4: \"2\" \"c\"\n"},
		{"columns instead of a header", "1;Ann\n", table.Options{Format: "csv", Delimiter: ';', Columns: names("id", "name")},
			"columns: id | name\n1: \"1\" \"Ann\"\n"},
		{"tsv honours quotes", "id\tnote\n1\t\"a\tb\"\n2\t\"c\nd\"\n", table.Options{Format: "tsv", Header: true},
			"columns: id | note\n2: \"1\" \"a\\tb\"\n3: \"2\" \"c\\nd\"\n"},
		{"tsv reads quotes that make no sense as they stand", "id\tnote\n1\t\"so\" he said\n2\t\"open\n3\tx\n", table.Options{Format: "tsv", Header: true},
			"columns: id | note\n2: \"1\" \"\\\"so\\\" he said\"\n3: \"2\" \"\\\"open\"\n4: \"3\" \"x\"\n"},
		{"fixed by blanks", " 00001  1997 \r\n\r\n 2 1998\r\n 3\r\n\x1a", table.Options{Format: "fixed", Columns: names("id", "year")},
			"columns: id | year\n1: \"00001\" \"1997\"\n3: \"2\" \"1998\"\nlost: f:4: the row has 1 cell: 2 columns are wanted; short: true takes such rows, ignore passes over lines that are no rows\n"},
		{"fixed by width counts characters", "张三丰  北京\nAnn Leeds\nBob\nToo long a line\n", table.Options{Format: "fixed", Columns: []table.Column{{Name: "name", Width: 4}, {Name: "city", Width: 6}}},
			"columns: name | city\n1: \"张三丰\" \"北京\"\n2: \"Ann\" \"Leeds\"\n3: \"Bob\" \"\"\nlost: f:4: \"line\": stands behind the last column: the row has 15 characters, and the widths are 10 together\n"},
		{"ndjson", "{\"id\":12345678901234567890,\"ok\":true,\"l\":[1.10]}\n\n{\"id\":null}\n", table.Options{Format: "ndjson"},
			"1: {\"id\":12345678901234567890,\"l\":[1.10],\"ok\":true}\n3: {\"id\":null}\n"},
		{"ndjson with columns", "{\"id\":1e3,\"x\":{\"y\":\"z\"}}\n{\"w\":1}\n", table.Options{Format: "ndjson", Columns: names("id", "x")},
			"columns: id | x\n1: 1e3 {\"y\":\"z\"}\n2: null null\n"},
		{"gb18030", "id,name\n1,\xd5\xc5\xc8\xfd\n", table.Options{Format: "csv", Encoding: "gb18030", Header: true},
			"columns: id | name\n2: \"1\" \"张三\"\n"},
		{"latin-1", "id,name\n1,Jos\xe9\n", table.Options{Format: "csv", Encoding: "latin-1", Header: true},
			"columns: id | name\n2: \"1\" \"José\"\n"},
		{"a mark says utf-16", "\xff\xfei\x00d\x00\n\x00\xe9\x00\n\x00", csv, "columns: id\n2: \"é\"\n"},
		{"utf-16be by name", "\x00i\x00d\x00\n\x00\xe9\x00\n", table.Options{Format: "csv", Encoding: "utf-16be", Header: true}, "columns: id\n2: \"é\"\n"},
		{"lines that are ignored stand nowhere", "# made by \"X\nid,name\n1,a\n# don't, \"stop\n*** page 2\n2,\"b\n# c\"\n\"Total (2)\"\n",
			table.Options{Format: "csv", Header: true, Ignore: []string{"^#", `^\*\*\*`, `^"?Total`}},
			"columns: id | name\n3: \"1\" \"a\"\n6: \"2\" \"b\\n# c\"\n"},
		{"lines of JSON and of fixed width are ignored too", "--\n{\"id\":1}\n-- 1 row\n", table.Options{Format: "ndjson", Ignore: []string{"^--"}},
			"2: {\"id\":1}\n"},
		{"fixed with a trailer", "01x\nTRL0001\n", table.Options{Format: "fixed", Columns: []table.Column{{Name: "id", Width: 2}, {Name: "name", Width: 1}}, Ignore: []string{"^TRL"}},
			"columns: id | name\n1: \"01\" \"x\"\n"},
		{"short rows", "a,b,c\n1\n\"1\",2\n1,2,3,4\n", table.Options{Format: "csv", Header: true, Short: true},
			"columns: a | b | c\n2: \"1\" \"\" \"\"\n3: \"1\" \"2\" \"\"\nlost: f:4: the row has 4 cells: 3 columns are wanted\n"},
		{"short rows of words", "1 2\n1\n", table.Options{Format: "fixed", Columns: names("a", "b"), Short: true},
			"columns: a | b\n1: \"1\" \"2\"\n2: \"1\" \"\"\n"},
		{"delimiters behind the last column", "a,b,\n1,2,\n1,2\n\"1\",2,\"\",\n1,2,,x\n,,\n \"\"\"\",\n\"\",\"\"\n", csv,
			"columns: a | b\n2: \"1\" \"2\"\n3: \"1\" \"2\"\n4: \"1\" \"2\"\nlost: f:5: the row has 4 cells: 2 columns are wanted\n7: \" \\\"\\\"\\\"\\\"\" \"\"\n"},
		{"a bordered list", "-----\n|id|name|\n-----\n|1 |Ann |\n-----\n", table.Options{Format: "csv", Delimiter: '|', Header: true, Ignore: []string{"^-+$"}},
			"columns: column 1 | id | name\n4: \"\" \"1 \" \"Ann \"\n"},
		{"a short row of tsv is none of two lines", "a\tb\tc\n1\t\"x\n2\ty\"\tz\n", table.Options{Format: "tsv", Header: true, Short: true},
			"columns: a | b | c\n2: \"1\" \"x\\n2\\ty\" \"z\"\n"},
		{"empty with columns", "", table.Options{Format: "csv", Columns: names("id")}, "columns: id\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := read(write(t, "f", test.content), test.options)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("read (-want +got):\n%s", diff)
			}
		})
	}
}
