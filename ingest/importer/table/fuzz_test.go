package table_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dossier360/dossier/ingest/importer/table"
)

// fuzz reads whatever bytes as a format: no panic, an end, at most one row a
// line, and rows as wide as the columns.
func fuzz(f *testing.F, variants ...table.Options) {
	path := filepath.Join(f.TempDir(), "f")
	f.Fuzz(func(t *testing.T, data []byte, pick uint8) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := table.Open(path, variants[int(pick)%len(variants)])
		if err != nil {
			return
		}
		defer r.Close()
		line, file := 0, ""
		for {
			row, err := r.Next()
			at := row.Line
			if bad, ok := errors.AsType[*table.RowError](err); ok {
				at = bad.Line
			} else if err == io.EOF {
				break
			} else if err != nil {
				if _, again := r.Next(); again != err {
					t.Fatalf("Next after %v = %v", err, again)
				}
				break
			} else if n := len(r.Columns()); n > 0 && len(row.Values) != n {
				t.Fatalf("row %d has %d values, there are %d columns", at, len(row.Values), n)
			}
			if r.File() == file && at <= line && variants[0].Format != "xlsx" {
				t.Fatalf("row of line %d comes after line %d", at, line)
			}
			line, file = at, r.File()
		}
	})
}

func FuzzCSV(f *testing.F) {
	f.Add([]byte("id,name\n1,\"a\nb\"\n2,\"x\"y\n"), uint8(0))
	f.Add([]byte("\xff\xfei\x00d\x00\n\x00"), uint8(1))
	f.Add([]byte("id\tname\r1\t\"a\r"), uint8(2))
	f.Add([]byte(gz(f, "id\n1\n")), uint8(0))
	f.Add([]byte(zipped(f, "a", "id\n1\n", "b", "id\n2\n")), uint8(0))
	fuzz(f, table.Options{Format: "csv", Header: true},
		table.Options{Format: "csv", Header: true, Encoding: "gb18030", Delimiter: ';'},
		table.Options{Format: "tsv", Header: true, Skip: 1},
		table.Options{Format: "csv", Columns: names("a", "b"), Encoding: "shift_jis"})
}

func FuzzFixed(f *testing.F) {
	f.Add([]byte("00001 19970101 1 11.77\r\n"), uint8(0))
	f.Add([]byte("张三丰北京\n"), uint8(1))
	fuzz(f, table.Options{Format: "fixed", Columns: names("a", "b", "c", "d")},
		table.Options{Format: "fixed", Columns: []table.Column{{Name: "a", Width: 3}, {Name: "b", Width: 2}}})
}

func FuzzNDJSON(f *testing.F) {
	f.Add([]byte("{\"a\":1e999,\"b\":[{}]}\nnull\n{} {}\n"), uint8(0))
	fuzz(f, table.Options{Format: "ndjson"}, table.Options{Format: "ndjson", Columns: names("a", "b")})
}

// minimalBook are the parts of a workbook with one sheet, which refers to one
// text and one style.
var minimalBook = []struct{ name, content string }{
	{"xl/workbook.xml", `<workbook><workbookPr date1904="1"/><sheets><sheet name="S" r:id="r1"/></sheets></workbook>`},
	{"xl/_rels/workbook.xml.rels", `<Relationships><Relationship Id="r1" Type="x/worksheet" Target="sheet.xml"/></Relationships>`},
	{"xl/sheet.xml", `<worksheet><dimension ref="A1:B9"/><sheetData><row r="1"><c t="s"><v>0</v></c></row><row><c r="B2" s="0"><v>44197</v></c></row></sheetData></worksheet>`},
	{"xl/sharedStrings.xml", `<sst><si><t>a</t><rPh><t>b</t></rPh></si><si><r><t>c_x000A_</t></r></si></sst>`},
	{"xl/styles.xml", `<styleSheet><numFmts><numFmt numFmtId="164" formatCode="yyyy\-mm [$-409]hh;@"/></numFmts><cellXfs><xf numFmtId="164"/></cellXfs></styleSheet>`},
}

// FuzzXLSX puts bytes into a workbook as one of its parts, for a fuzzer never
// gets through the packing by itself.
func FuzzXLSX(f *testing.F) {
	for i, part := range minimalBook {
		f.Add([]byte(part.content), uint8(i))
	}
	path := filepath.Join(f.TempDir(), "f.xlsx")
	f.Fuzz(func(t *testing.T, data []byte, pick uint8) {
		var book bytes.Buffer
		w := zip.NewWriter(&book)
		for i, part := range minimalBook {
			content := []byte(part.content)
			if i == int(pick)%len(minimalBook) {
				content = data
			}
			p, err := w.CreateHeader(&zip.FileHeader{Name: part.name, Method: zip.Store})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.Write(content); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, book.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		rows, lost, err := readAll(path, table.Options{Format: "xlsx", Columns: names("a", "b")})
		if err != nil && !strings.Contains(err.Error(), "f.xlsx") {
			t.Fatalf("%v does not name the file", err)
		}
		if len(rows)+lost > bytes.Count(data, []byte("<"))+2 {
			t.Fatalf("%d rows of %d bytes", len(rows)+lost, len(data))
		}
	})
}
