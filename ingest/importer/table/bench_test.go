package table_test

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/xuri/excelize/v2"

	"github.com/dossier360/dossier/ingest/importer/table"
)

// invoiceLines are lines as a shop exports them, 8 cells of 90 bytes in all.
func invoiceLines(n int, delimiter string, quote bool) string {
	var b strings.Builder
	description := "WHITE HANGING HEART T-LIGHT HOLDER"
	if quote {
		description = `"HEART, ""WHITE"", T-LIGHT HOLDER"`
	}
	for i := range n {
		b.WriteString(strings.Join([]string{fmt.Sprint(536365 + i/20), "85123A", description, fmt.Sprint(i % 12),
			"2010-12-01 08:26:00", "2.55", "17850", "United Kingdom"}, delimiter) + "\n")
	}
	return b.String()
}

func benchmark(b *testing.B, content string, o table.Options) {
	b.Helper()
	path := write(b, "f", content)
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	for b.Loop() {
		r, err := table.Open(path, o)
		if err != nil {
			b.Fatal(err)
		}
		for err == nil {
			_, err = r.Next()
		}
		if err != io.EOF {
			b.Fatal(err)
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

var eight = names("a", "b", "c", "d", "e", "f", "g", "h")

func BenchmarkCSV(b *testing.B) {
	benchmark(b, invoiceLines(50_000, ",", false), table.Options{Format: "csv", Columns: eight})
}

func BenchmarkCSVQuoted(b *testing.B) {
	benchmark(b, invoiceLines(50_000, ",", true), table.Options{Format: "csv", Columns: eight})
}

func BenchmarkCSVGzip(b *testing.B) {
	lines := invoiceLines(50_000, ",", false)
	benchmark(b, gz(b, lines), table.Options{Format: "csv", Columns: eight})
	b.SetBytes(int64(len(lines)))
}

func BenchmarkCSVGB18030(b *testing.B) {
	benchmark(b, invoiceLines(50_000, ",", false), table.Options{Format: "csv", Columns: eight, Encoding: "gb18030"})
}

func BenchmarkFixed(b *testing.B) {
	benchmark(b, strings.Repeat(" 00004 0111 19970101  2   29.33\r\n", 50_000), table.Options{Format: "fixed", Columns: eight[:5]})
}

func BenchmarkNDJSON(b *testing.B) {
	benchmark(b, strings.Repeat(`{"order":"536365","sku":"85123A","quantity":6,"price":2.55,"country":"United Kingdom"}`+"\n", 10_000), table.Options{Format: "ndjson"})
}

func BenchmarkXLSX(b *testing.B) {
	path := workbook(b, func(f *excelize.File) error {
		w, err := f.NewStreamWriter("Sheet1")
		if err != nil {
			return err
		}
		for i := range 5_000 {
			if err := w.SetRow(fmt.Sprintf("A%d", i+1), []any{536365 + i, "85123A", "HEART", 6, 40513.35, 2.55, 17850, "United Kingdom"}); err != nil {
				return err
			}
		}
		return w.Flush()
	})
	content, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	benchmark(b, string(content), table.Options{Format: "xlsx", Columns: eight})
}
