package simulator

import (
	"archive/zip"
	"bufio"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// workbook writes a file of Excel with one sheet, row by row. A library would
// hold the sheet, and would not promise the same bytes.
type workbook struct {
	zip   *zip.Writer
	sheet *bufio.Writer
	rows  int
}

// maxRows is what a sheet of Excel has.
const maxRows = 1 << 20

// workbookParts are what a workbook wants beside its sheet; the name of the
// sheet is the %s. Style 1 is a date with its time.
var workbookParts = []struct{ name, text string }{
	{"[Content_Types].xml", `<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">` +
		`<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/>` +
		`<Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>` +
		`<Override PartName="/xl/styles.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.styles+xml"/>` +
		`<Override PartName="/xl/worksheets/sheet1.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/></Types>`},
	{"_rels/.rels", `<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">` +
		`<Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>`},
	{"xl/_rels/workbook.xml.rels", `<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">` +
		`<Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/>` +
		`<Relationship Id="rId2" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles" Target="styles.xml"/></Relationships>`},
	{"xl/workbook.xml", `<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships">` +
		`<sheets><sheet name="%s" sheetId="1" r:id="rId1"/></sheets></workbook>`},
	{"xl/styles.xml", `<styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">` +
		`<fonts count="1"><font><sz val="11"/><name val="Calibri"/></font></fonts><fills count="1"><fill><patternFill patternType="none"/></fill></fills>` +
		`<borders count="1"><border/></borders><cellStyleXfs count="1"><xf/></cellStyleXfs>` +
		`<cellXfs count="2"><xf/><xf numFmtId="22" applyNumberFormat="1"/></cellXfs></styleSheet>`},
}

func newWorkbook(to io.Writer, sheet string) (*workbook, error) {
	w := &workbook{zip: zip.NewWriter(to)}
	for _, part := range workbookParts {
		text := part.text
		if part.name == "xl/workbook.xml" {
			text = fmt.Sprintf(text, sheet)
		}
		file, err := w.part(part.name)
		if err != nil {
			return nil, err
		}
		if _, err := io.WriteString(file, xml.Header+text); err != nil {
			return nil, err
		}
	}
	file, err := w.part("xl/worksheets/sheet1.xml")
	if err != nil {
		return nil, err
	}
	w.sheet = bufio.NewWriter(file)
	_, err = w.sheet.WriteString(xml.Header + `<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>`)
	return w, err
}

// part begins a file of the workbook. Compressed, its bytes would be another
// release's of the library.
func (w *workbook) part(name string) (io.Writer, error) {
	return w.zip.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
}

// errSheetFull says that no more rows fit.
var errSheetFull = errors.New("a sheet of Excel has " + strconv.Itoa(maxRows) + " rows, and is full: fewer customers wanted")

// row writes texts, numbers (float64) and instants, which show the clock of
// their zone.
func (w *workbook) row(cells ...any) error {
	if w.rows == maxRows {
		return errSheetFull
	}
	w.rows++
	fmt.Fprintf(w.sheet, `<row r="%d">`, w.rows) // an error stays until close
	for i, cell := range cells {
		at := string(rune('A'+i)) + strconv.Itoa(w.rows)
		switch v := cell.(type) {
		case string:
			fmt.Fprintf(w.sheet, `<c r="%s" t="inlineStr"><is><t>`, at)
			if err := xml.EscapeText(w.sheet, []byte(v)); err != nil {
				return err
			}
			w.sheet.WriteString(`</t></is></c>`)
		case float64:
			fmt.Fprintf(w.sheet, `<c r="%s"><v>%s</v></c>`, at, strconv.FormatFloat(v, 'f', -1, 64))
		case time.Time:
			fmt.Fprintf(w.sheet, `<c r="%s" s="1"><v>%s</v></c>`, at, strconv.FormatFloat(serial(v), 'f', -1, 64))
		default:
			panic(fmt.Sprintf("not reached: a cell holds a text, a number or an instant, not %T", cell))
		}
	}
	_, err := w.sheet.WriteString(`</row>`)
	return err
}

// serial is an instant as Excel keeps it: days since 1899-12-30 by its clock.
func serial(t time.Time) float64 {
	_, offset := t.Zone()
	seconds := t.Unix() + int64(offset) - time.Date(1899, 12, 30, 0, 0, 0, 0, time.UTC).Unix()
	return float64(seconds) / (24 * 60 * 60)
}

func (w *workbook) close() error {
	_, err := w.sheet.WriteString(`</sheetData></worksheet>`)
	return errors.Join(err, w.sheet.Flush(), w.zip.Close())
}
