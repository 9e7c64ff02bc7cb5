package table

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// foreignMagic are the beginnings of files that are no table of ours.
var foreignMagic = []struct{ magic, what string }{
	{"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an old Excel file (.xls) or a workbook with a password: save it as .xlsx without one"},
	{"%PDF", "is a PDF document: a table cannot be read out of it"},
	{"BZh", "is packed with bzip2: unpack it first (gzip and zip are read through)"},
	{"\xfd7zXZ", "is packed with xz: unpack it first (gzip and zip are read through)"},
	{"\x28\xb5\x2f\xfd", "is packed with zstd: unpack it first (gzip and zip are read through)"},
	{"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive: unpack it first (gzip and zip are read through)"},
	{"Rar!", "is a RAR archive: unpack it first (gzip and zip are read through)"},
	{"PAR1", "is a Parquet file: export it as csv or ndjson"},
	{"SQLite format 3", "is an SQLite database: export its tables as csv"},
	{"Obj\x01", "is an Avro file: export it as csv or ndjson"},
	{"ID;PWXL", "is an Excel SYLK file: save it as .xlsx or csv"},
	{"{\\rtf", "is an RTF document: save its table as csv"},
	{"\x89PNG", "is a picture (PNG)"},
	{"\xff\xd8\xff", "is a picture (JPEG)"},
	{magicGzip, "is packed with gzip twice: unpack it once"},
}

// refuseForeign looks at the beginning of a file, unpacked, and says what it
// is where that is clearly not what the options say.
func refuseForeign(p part, o Options) error {
	head, _ := p.r.Peek(sniffed)
	for _, f := range foreignMagic {
		if bytes.HasPrefix(head, []byte(f.magic)) {
			return fmt.Errorf("%s: %s", p.name, f.what)
		}
	}
	isZip := bytes.HasPrefix(head, []byte(magicZip))
	if o.Format == formatXLSX {
		return refuseNoWorkbook(p.name, head, isZip)
	}
	if isZip {
		return fmt.Errorf("%s: is an Excel workbook or a zip archive inside another file: unpack it, or say format: xlsx", p.name)
	}
	if advice := markupAdvice(head); advice != "" {
		return fmt.Errorf("%s: %s", p.name, advice)
	}
	if wide := looksWide(head); wide != "" && !isWide(o.Encoding) {
		return fmt.Errorf("%s: looks like %s without a byte order mark (every other byte is zero): say encoding: %s", p.name, wide, wide)
	}
	return refuseJSON(p.name, head, o.Format)
}

func refuseNoWorkbook(name string, head []byte, isZip bool) error {
	switch {
	case isZip:
		return nil
	case len(head) == 0:
		return fmt.Errorf("%s: is empty, and an Excel workbook is wanted", name)
	}
	if advice := markupAdvice(head); advice != "" {
		return fmt.Errorf("%s: %s", name, advice)
	}
	line, _, _ := strings.Cut(string(head), "\n")
	return fmt.Errorf("%s: is not an Excel workbook: it begins with %q; if it is text, say format: csv, tsv or ndjson", name, shown(strings.TrimRight(line, "\r")))
}

// markupAdvice recognises a page where a table was meant.
func markupAdvice(head []byte) string {
	begin := bytes.ToLower(bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n"))
	switch {
	case bytes.HasPrefix(begin, []byte("<?xml")):
		return "is XML: save it as csv or xlsx"
	case bytes.HasPrefix(begin, []byte("<!doctype html")), bytes.HasPrefix(begin, []byte("<html")), bytes.HasPrefix(begin, []byte("<head")):
		return "is an HTML page: perhaps a login or error page was saved in place of the file, or the program exports HTML under a table's name"
	case bytes.HasPrefix(begin, []byte("<table")):
		return "is an HTML table under another name: open it in a spreadsheet and save it as .xlsx or csv"
	}
	return ""
}

// looksWide recognises utf-16 without a byte order mark by the zero bytes of
// its Latin characters.
func looksWide(head []byte) string {
	pairs := len(head) / 2
	if pairs < 4 || bytes.HasPrefix(head, []byte("\xff\xfe")) || bytes.HasPrefix(head, []byte("\xfe\xff")) {
		return ""
	}
	var even, odd int
	for i := 0; i+1 < len(head); i += 2 {
		if head[i] == 0 {
			even++
		}
		if head[i+1] == 0 {
			odd++
		}
	}
	switch {
	case odd > pairs/2 && even == 0:
		return "utf-16le"
	case even > pairs/2 && odd == 0:
		return "utf-16be"
	}
	return ""
}

func isWide(encoding string) bool {
	return strings.Contains(strings.ToLower(encoding), "16")
}

// refuseJSON tells JSON from delimited text, both ways round.
func refuseJSON(name string, head []byte, format string) error {
	begin := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n")
	switch {
	case format == formatNDJSON && bytes.HasPrefix(begin, []byte("[")):
		return fmt.Errorf("%s: is one JSON array: ndjson, one object a line, is wanted (jq -c '.[]' makes it)", name)
	case format == formatNDJSON:
		return nil
	case bytes.HasPrefix(begin, []byte(`{"`)), bytes.HasPrefix(begin, []byte(`[{`)):
		line, _, _ := bytes.Cut(begin, []byte("\n"))
		if json.Valid(line) {
			return fmt.Errorf("%s: begins with JSON, and format is %s: say format: ndjson", name, format)
		}
	}
	return nil
}

// officeKind says which kind of office document a zip archive is, or nothing.
func officeKind(files []*zip.File) string {
	for _, f := range files {
		switch name := f.Name; {
		case name == "xl/workbook.xml":
			return formatXLSX
		case name == "xl/workbook.bin":
			return "xlsb"
		case name == "word/document.xml":
			return "docx"
		case name == "content.xml":
			return "ods"
		}
	}
	return ""
}

func officeAdvice(what, format string) string {
	switch what {
	case formatXLSX:
		return fmt.Sprintf("is an Excel workbook, and format is %s: say format: xlsx", format)
	case "xlsb":
		return "is a binary Excel workbook (.xlsb): save it as .xlsx"
	case "ods":
		return "is an OpenDocument file: save it as .xlsx or csv"
	default:
		return "is a Word document: save its table as .xlsx or csv"
	}
}
