package table_test

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/xuri/excelize/v2"

	"github.com/dossier360/dossier/ingest/importer/table"
)

// workbook writes a workbook that fill has filled, and returns its path.
func workbook(tb testing.TB, fill func(f *excelize.File) error) string {
	tb.Helper()
	f := excelize.NewFile()
	defer f.Close()
	if err := fill(f); err != nil {
		tb.Fatal(err)
	}
	path := filepath.Join(tb.TempDir(), "book.xlsx")
	if err := f.SaveAs(path); err != nil {
		tb.Fatal(err)
	}
	return path
}

// set writes values into cells of a sheet: cell, value, cell, value …
func set(f *excelize.File, sheet string, pairs ...any) error {
	for i := 0; i < len(pairs); i += 2 {
		if err := f.SetCellValue(sheet, pairs[i].(string), pairs[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func styled(f *excelize.File, cell string, number int, custom string) error {
	s := &excelize.Style{NumFmt: number}
	if custom != "" {
		s = &excelize.Style{CustomNumFmt: &custom}
	}
	id, err := f.NewStyle(s)
	if err != nil {
		return err
	}
	return f.SetCellStyle("Sheet1", cell, cell, id)
}

func TestReader_xlsx(t *testing.T) {
	t.Parallel()
	header := table.Options{Format: "xlsx", Header: true}
	tests := []struct {
		name    string
		fill    func(f *excelize.File) error
		options table.Options
		want    string
	}{
		{"kinds of cells", func(f *excelize.File) error {
			return set(f, "Sheet1", "A1", " text ", "B1", "number", "C1", "yes",
				"A2", "00123", "B2", 19.99, "C2", true,
				"A3", "1E5", "B3", 1e20, "C3", false,
				"A4", "张三\n李四", "B4", -0.1, "A5", "x_x000D_y_xZZZZ_")
		}, header, "columns: text | number | yes\n" +
			"2: \"00123\" \"19.99\" \"true\"\n3: \"1E5\" \"100000000000000000000\" \"false\"\n" +
			"4: \"张三\\n李四\" \"-0.1\" \"\"\n5: \"x\\ry_xZZZZ_\" \"\" \"\"\n"},
		{"rows and cells that are not there", func(f *excelize.File) error {
			return set(f, "Sheet1", "A3", "a", "B3", "b", "B7", "x", "A9", "y")
		}, header, "columns: a | b\n7: \"\" \"x\"\n9: \"y\" \"\"\n"},
		{"a cell behind the columns", func(f *excelize.File) error {
			return set(f, "Sheet1", "A1", "a", "A2", "x", "AB2", "note", "A3", "y")
		}, header, "columns: a\nlost: book.xlsx:2: \"note\": stands in AB2, behind the last of 1 column\n3: \"y\"\n"},
		{"skip counts rows of the sheet", func(f *excelize.File) error {
			return set(f, "Sheet1", "A1", "Report", "A4", "a", "A5", "x")
		}, table.Options{Format: "xlsx", Header: true, Skip: 2}, "columns: a\n5: \"x\"\n"},
		{"rows that are ignored", func(f *excelize.File) error {
			return set(f, "Sheet1", "A1", "Report of May", "A2", "a", "B2", "b", "A3", "x", "B4", "Total", "A5", "y")
		}, table.Options{Format: "xlsx", Header: true, Ignore: []string{"^Report", `^\tTotal$`}}, "columns: a | b\n3: \"x\" \"\"\n5: \"y\" \"\"\n"},
		{"merged cells tell in the first", func(f *excelize.File) error {
			if err := set(f, "Sheet1", "A1", "a", "B1", "b", "A2", "both"); err != nil {
				return err
			}
			return f.MergeCell("Sheet1", "A2", "B2")
		}, header, "columns: a | b\n2: \"both\" \"\"\n"},
		{"dates by style", func(f *excelize.File) error {
			if err := set(f, "Sheet1", "A1", "a", "A2", 44197.5, "A3", 44197, "A4", 44197, "A5", 0.75, "A6", 1.5, "A7", 44197.000011574, "A8", 60, "A9", 59, "A10", -1, "A11", 44197, "A12", 44197); err != nil {
				return err
			}
			for _, c := range []struct {
				cell   string
				number int
				custom string
			}{{"A2", 22, ""}, {"A3", 14, ""}, {"A4", 0, `yyyy\-mm\-dd hh:mm`}, {"A5", 20, ""}, {"A6", 46, ""}, {"A7", 0, `dd/mm/yyyy;@`},
				{"A8", 14, ""}, {"A9", 14, ""}, {"A10", 14, ""}, {"A11", 0, `0.00" days"`}, {"A12", 0, `[$-804]yyyy"年"m"月"d"日"`}} {
				if err := styled(f, c.cell, c.number, c.custom); err != nil {
					return err
				}
			}
			return nil
		}, header, "columns: a\n2: \"2021-01-01 12:00:00\"\n3: \"2021-01-01\"\n4: \"2021-01-01 00:00:00\"\n5: \"18:00:00\"\n6: \"1.5\"\n" +
			"7: \"2021-01-01 00:00:01\"\n8: \"1900-02-29\"\n9: \"1900-02-28\"\n10: \"-1\"\n11: \"44197\"\n12: \"2021-01-01\"\n"},
		{"days since 1904", func(f *excelize.File) error {
			yes := true
			if err := f.SetWorkbookProps(&excelize.WorkbookPropsOptions{Date1904: &yes}); err != nil {
				return err
			}
			return set(f, "Sheet1", "A1", "a", "A2", time.Date(2021, 1, 1, 12, 30, 0, 0, time.UTC))
		}, header, "columns: a\n2: \"2021-01-01 12:30:00\"\n"},
		{"formulas", func(f *excelize.File) error {
			if err := set(f, "Sheet1", "A1", "a", "A3", "x"); err != nil {
				return err
			}
			return f.SetCellFormula("Sheet1", "A2", "1+1")
		}, header, "columns: a\nlost: book.xlsx:2: a: is a formula whose result is not stored: open the workbook in a spreadsheet and save it once\n3: \"x\"\n"},
		{"a sheet by name", func(f *excelize.File) error {
			if _, err := f.NewSheet("Orders"); err != nil {
				return err
			}
			return set(f, "Orders", "A1", "x")
		}, table.Options{Format: "xlsx", Sheet: "Orders", Columns: names("id")}, "columns: id\n1: \"x\"\n"},
		{"a rich text is its text", func(f *excelize.File) error {
			return f.SetCellRichText("Sheet1", "A1", []excelize.RichTextRun{{Text: "bold", Font: &excelize.Font{Bold: true}}, {Text: " and not"}})
		}, table.Options{Format: "xlsx", Columns: names("id")}, "columns: id\n1: \"bold and not\"\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := read(workbook(t, test.fill), test.options)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("read (-want +got):\n%s", diff)
			}
		})
	}
}

// replacePart writes a workbook anew with one part changed.
func replacePart(tb testing.TB, book, name string, change func(string) string) string {
	tb.Helper()
	r, err := zip.OpenReader(book)
	if err != nil {
		tb.Fatal(err)
	}
	defer r.Close()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, f := range r.File {
		in, err := f.Open()
		if err != nil {
			tb.Fatal(err)
		}
		content, err := io.ReadAll(in)
		if err != nil {
			tb.Fatal(err)
		}
		part, err := w.Create(f.Name)
		if err != nil {
			tb.Fatal(err)
		}
		if f.Name == name {
			content = []byte(change(string(content)))
		}
		if _, err := part.Write(content); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	path := filepath.Join(tb.TempDir(), filepath.Base(book))
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// Other writers store what excelize does not: results of formulas, errors,
// texts in the cell, cells without a reference, and how a text is pronounced.
func TestReader_xlsxOfOtherWriters(t *testing.T) {
	t.Parallel()
	plain := workbook(t, func(f *excelize.File) error { return set(f, "Sheet1", "A1", "a", "B1", "b", "C1", "c") })
	path := replacePart(t, plain, "xl/worksheets/sheet1.xml", func(s string) string {
		return strings.Replace(s, "</sheetData>", `<row><c><f>A1</f><v>2.5</v></c><c t="str"><f>B1</f><v>text</v></c><c t="e"><f>1/0</f><v>#DIV/0!</v></c></row>`+
			`<row r="7"><c t="inlineStr"><is><r><t>in</t></r><r><t>line</t></r><rPh sb="0" eb="1"><t>ruby</t></rPh></is></c><c r="C7" t="d"><v>2021-01-01T10:00:00</v></c></row>`+
			`<row><c t="s"><v>99</v></c></row></sheetData>`, 1)
	})
	want := "columns: a | b | c\n2: \"2.5\" \"text\" \"#DIV/0!\"\n7: \"inline\" \"\" \"2021-01-01T10:00:00\"\n" +
		"lost: book.xlsx:8: a: refers to text \"99\" of the workbook, which has 3: the workbook is damaged\n"
	if diff := cmp.Diff(want, read(path, table.Options{Format: "xlsx", Header: true})); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
}
