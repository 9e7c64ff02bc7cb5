package table_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/xuri/excelize/v2"

	"github.com/dossier360/dossier/ingest/importer/table"
)

var rewrite = flag.Bool("rewrite", false, "write the golden file anew")

// malformed is a file as someone might send it, and how it was said to be.
type malformed struct {
	about   string
	name    string
	content string
	options table.Options
}

func wide(s string) string {
	var b strings.Builder
	for _, r := range s {
		b.WriteByte(byte(r))
		b.WriteByte(byte(r >> 8))
	}
	return b.String()
}

func bookOf(tb testing.TB, pairs ...any) string {
	tb.Helper()
	content, err := os.ReadFile(workbook(tb, func(f *excelize.File) error { return set(f, "Sheet1", pairs...) }))
	if err != nil {
		tb.Fatal(err)
	}
	return string(content)
}

func lockedBook(tb testing.TB) string {
	tb.Helper()
	f := excelize.NewFile()
	defer f.Close()
	path := filepath.Join(tb.TempDir(), "locked.xlsx")
	if err := f.SaveAs(path, excelize.Options{Password: "secret"}); err != nil {
		tb.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return string(content)
}

func malformedFiles(tb testing.TB) []malformed {
	csv := table.Options{Format: "csv", Header: true}
	xlsx := table.Options{Format: "xlsx", Header: true}
	with := func(o table.Options, change func(*table.Options)) table.Options { change(&o); return o }
	gzipped, archive := gz(tb, "id,name\n1,Ann\n"), zipped(tb, "orders.csv", "id\n1\n", "people.csv", "id\n2\n")
	book := bookOf(tb, "A1", "id", "A2", "1")
	damagedSheet := func(change func(string) string) string {
		path := write(tb, "orders.xlsx", book)
		content, err := os.ReadFile(replacePart(tb, path, "xl/worksheets/sheet1.xml", change))
		if err != nil {
			tb.Fatal(err)
		}
		return string(content)
	}
	corrupt := []byte(gzipped)
	corrupt[len(corrupt)-6] ^= 1
	protected := []byte(archive)
	for i := 0; i+10 < len(protected); i++ {
		switch string(protected[i : i+4]) {
		case "PK\x03\x04":
			protected[i+6] |= 1
		case "PK\x01\x02":
			protected[i+8] |= 1
		}
	}
	var longHeader []string
	for i := range 1001 {
		longHeader = append(longHeader, fmt.Sprintf("c%d", i))
	}
	return []malformed{
		{"nothing in it", "orders.csv", "", csv},
		{"only a byte order mark", "orders.csv", "\xef\xbb\xbf", csv},
		{"fewer lines than are to be skipped", "orders.csv", "a\n", with(csv, func(o *table.Options) { o.Skip = 5 })},
		{"a column without a name", "orders.csv", "id,,name\n", csv},
		{"a header of nothing", "orders.xlsx", bookOf(tb, "A1", " ", "B1", "\u200b"), xlsx},
		{"a name of blanks that cannot be seen", "orders.csv", "id,\u00a0\u200b,name\n", csv},
		{"two columns of one name", "orders.csv", "id,name,\"id \"\n", csv},
		{"too many columns", "orders.csv", strings.Join(longHeader, ",") + "\n", csv},
		{"a header whose quote is not closed", "orders.csv", "id,\"name\n1,2\n", csv},
		{"a header in latin-1", "orders.csv", "id,pr\xe9nom\n1,x\n", csv},
		{"a cell in latin-1", "orders.csv", "id,name\n1,Jos\xe9\n2,x\n", csv},
		{"a cell cut in the middle of a character", "orders.csv", "id,name\n1,\xe5\xbc\xa0\xe4\xb8\n", csv},
		{"utf-8 read as gb18030", "orders.csv", "id,name\n1,é\xff!\n2,x\n", with(csv, func(o *table.Options) { o.Encoding = "gb18030" })},
		{"a NUL byte", "orders.csv", "id,name\n1,a\x00b\n2,x\n", csv},
		{"utf-16 without a mark", "orders.csv", wide("id,name\r\n1,Ann\r\n"), csv},
		{"utf-16 with half a character at its end", "orders.csv", "\xff\xfe" + wide("id\n1") + "x", csv},
		{"half a surrogate pair", "orders.csv", "\xff\xfe" + wide("id\n1") + "\x00\xd8" + wide("\n2\n"), csv},
		{"text behind a closing quote", "orders.csv", "id,name\n1,\"Ann\" Lee\n2,x\n", csv},
		{"quotes not written twice", "orders.csv", "id,name\n1,\"the \"big\" one\"\n2,x\n", csv},
		{"a quote that nothing closes", "orders.csv", "id,name\n1,\"Ann\n2,x\n", csv},
		{"too few and too many cells", "orders.csv", "id,name\n1\n2,x,y\n", csv},
		{"another delimiter", "orders.csv", "id,name\n1;Ann\n", csv},
		{"another delimiter in the whole file", "orders.csv", "id;name\n1;Ann\n", csv},
		{"tabs where commas were said", "orders.csv", "id\tname\n1\tAnn\n", csv},
		{"a delimiter that is not there", "orders.csv", "id,name\n1,Ann\n", with(csv, func(o *table.Options) { o.Delimiter = ';' })},
		{"too many cells because of a quoted cell over lines", "orders.csv", "id,name\n1,\"a\nb\",c\n", csv},
		{"a workbook said to be csv", "orders.csv", book, csv},
		{"csv said to be a workbook", "orders.xlsx", "id,name\r\n1,Ann\r\n", xlsx},
		{"an empty workbook file", "orders.xlsx", "", xlsx},
		{"an old workbook", "orders.xls", "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\x00", xlsx},
		{"a workbook with a password", "orders.xlsx", lockedBook(tb), xlsx},
		{"a workbook with a sheet without cells", "orders.xlsx", bookOf(tb), xlsx},
		{"a sheet that is not there", "orders.xlsx", book, with(xlsx, func(o *table.Options) { o.Sheet = "Shet1" })},
		{"a workbook cut short", "orders.xlsx", book[:len(book)/2], xlsx},
		{"a sheet cut short", "orders.xlsx", damagedSheet(func(s string) string { return s[:strings.Index(s, "</sheetData>")] }), xlsx},
		{"a sheet that is no XML", "orders.xlsx", damagedSheet(func(string) string { return "<sheetData><row<" }), xlsx},
		{"a header with a gap", "orders.xlsx", bookOf(tb, "A1", "id", "C1", "name"), xlsx},
		{"a zip archive said to be a workbook", "orders.xlsx", archive, xlsx},
		{"an OpenDocument file", "orders.ods", zipped(tb, "mimetype", "", "content.xml", ""), csv},
		{"a Word document", "orders.docx", zipped(tb, "word/document.xml", ""), csv},
		{"a login page", "orders.csv", "\n<!DOCTYPE html>\n<html>", csv},
		{"an HTML table under another name", "orders.xls", "<table><tr><td>1</td></tr></table>", xlsx},
		{"XML", "orders.csv", "<?xml version=\"1.0\"?>\n<orders/>", csv},
		{"a PDF document", "orders.csv", "%PDF-1.7\n", csv},
		{"a Parquet file", "orders.parquet", "PAR1\x15\x04", csv},
		{"packed with xz", "orders.csv.xz", "\xfd7zXZ\x00\x00", csv},
		{"packed with zstd", "orders.csv.zst", "\x28\xb5\x2f\xfd\x24\x00", csv},
		{"packed twice", "orders.csv.gz", gz(tb, gz(tb, "id\n1\n")), csv},
		{"gzip cut short", "orders.csv.gz", gzipped[:len(gzipped)-4], csv},
		{"gzip with a wrong check value", "orders.csv.gz", string(corrupt), csv},
		{"gzip with nothing behind its first bytes", "orders.csv.gz", "\x1f\x8b\x08", csv},
		{"zip cut short", "orders.zip", archive[:len(archive)/2], csv},
		{"zip with a password", "orders.zip", string(protected), csv},
		{"zip without files", "orders.zip", zipped(tb), csv},
		{"no such file in a zip", "orders.zip", archive, with(csv, func(o *table.Options) { o.Inside = "order.csv" })},
		{"inside of what is no zip", "orders.csv", "id\n1\n", with(csv, func(o *table.Options) { o.Inside = "order.csv" })},
		{"files with other columns in one zip", "orders.zip", zipped(tb, "a.csv", "id,name\n1,x\n", "b.csv", "id,mail\n2,y\n"), csv},
		{"JSON said to be csv", "orders.csv", "{\"id\":1,\"name\":\"x\"}\n", csv},
		{"one JSON array", "orders.json", "[{\"id\":1},\n{\"id\":2}]\n", table.Options{Format: "ndjson"}},
		{"JSON lines that are none", "orders.ndjson", "{\"id\":1}\n[1]\n\"x\"\n7\nnull\n{\"id\":\n{\"id\":1}{\"id\":2}\nid,name\n{'id':1}\n{\"id\":2}\n", table.Options{Format: "ndjson"}},
		{"JSON in latin-1", "orders.ndjson", "{\"id\":\"\xe9\"}\n", table.Options{Format: "ndjson"}},
		{"a fixed line that is too long", "orders.txt", "0001Ann  x\n", table.Options{Format: "fixed", Columns: []table.Column{{Name: "id", Width: 4}, {Name: "name", Width: 4}}}},
		{"words where columns are missing", "orders.txt", "0001 1997\n0002\n", table.Options{Format: "fixed", Columns: names("id", "year")}},
	}
}

func wrongOptions() []table.Options {
	one := names("id")
	return []table.Options{
		{},
		{Format: "cvs", Header: true},
		{Format: "excel", Header: true},
		{Format: "zip", Header: true},
		{Format: "json"},
		{Format: "csv"},
		{Format: "csv", Header: true, Columns: one},
		{Format: "csv", Header: true, Encoding: "gb18031"},
		{Format: "csv", Header: true, Encoding: "hz-gb-2312"},
		{Format: "xlsx", Header: true, Encoding: "gbk"},
		{Format: "csv", Header: true, Delimiter: '"'},
		{Format: "tsv", Header: true, Delimiter: ';'},
		{Format: "csv", Header: true, Skip: -1},
		{Format: "csv", Header: true, Sheet: "Orders"},
		{Format: "csv", Header: true, Inside: "[a"},
		{Format: "ndjson", Header: true},
		{Format: "csv", Header: true, Ignore: []string{"^#", "*"}},
		{Format: "csv", Header: true, Ignore: []string{"#*"}},
		{Format: "xlsx", Header: true, Short: true},
		{Format: "csv", Columns: names("id", " ")},
		{Format: "csv", Columns: names("id", "name", "id")},
		{Format: "csv", Columns: []table.Column{{Name: "id", Width: 3}}},
		{Format: "fixed", Columns: []table.Column{{Name: "id", Width: 3}, {Name: "name"}}},
		{Format: "fixed", Columns: []table.Column{{Name: "id", Width: -3}}},
		{Format: "csv", Columns: make([]table.Column, 1001)},
	}
}

// The golden file holds what a person gets to read for every file that is not
// as it should be. Read it as that person.
func TestMalformed(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, m := range malformedFiles(t) {
		got := read(write(t, m.name, m.content), m.options)
		fmt.Fprintf(&b, "# %s (%s)\n%s\n", m.about, m.options.Format, strings.TrimRight(got, "\n")+"\n")
	}
	for _, o := range wrongOptions() {
		err := o.Check()
		if err == nil {
			t.Errorf("Check(%+v) = nil, want an error", o)
			continue
		}
		fmt.Fprintf(&b, "# options\n%s\n\n", err)
	}
	golden := filepath.Join("testdata", "malformed.txt")
	if *rewrite {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("messages (-want +got; -rewrite accepts):\n%s", diff)
	}
}
