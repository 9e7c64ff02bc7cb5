package table

import (
	"archive/zip"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"strings"
	"time"
)

// workbook is what the sheets of an Excel file share.
type workbook struct {
	archive  *zip.Reader
	sheets   []sheetEntry
	date1904 bool
	shared   []string
	styles   []style
}

type sheetEntry struct{ name, path string }

// readWorkbook reads everything but the sheets.
func readWorkbook(archive *zip.Reader) (*workbook, error) {
	b := &workbook{archive: archive}
	if err := b.readSheets(); err != nil {
		return nil, err
	}
	if err := b.readStyles(); err != nil {
		return nil, err
	}
	if err := b.readShared(); err != nil {
		return nil, err
	}
	return b, nil
}

// open opens a part of the workbook for reading.
func (b *workbook) open(name string) (io.ReadCloser, error) {
	for _, f := range b.archive.File {
		if f.Name != name {
			continue
		}
		if f.UncompressedSize64 > maxWorkbookUnpackedBytes {
			return nil, fmt.Errorf("%s unpacks to %d bytes: at most %d can be read", name, f.UncompressedSize64, int64(maxWorkbookUnpackedBytes))
		}
		r, err := f.Open()
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", name, err)
		}
		return struct {
			io.Reader
			io.Closer
		}{newGuard(r, int64(f.CompressedSize64)), r}, nil
	}
	return nil, fmt.Errorf("open %s: %w", name, fs.ErrNotExist)
}

// decode reads a small part of the workbook into v. A part that is missing
// leaves v as it is.
func (b *workbook) decode(name string, v any) error {
	r, err := b.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer r.Close()
	if err := xml.NewDecoder(io.LimitReader(r, maxInflatedFreeBytes)).Decode(v); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

func (b *workbook) readSheets() error {
	var book struct {
		Properties struct {
			Date1904 string `xml:"date1904,attr"`
		} `xml:"workbookPr"`
		Sheets []struct {
			Name string     `xml:"name,attr"`
			Attr []xml.Attr `xml:",any,attr"`
		} `xml:"sheets>sheet"`
	}
	if err := b.decode("xl/workbook.xml", &book); err != nil {
		return err
	}
	var relations struct {
		All []struct {
			ID     string `xml:"Id,attr"`
			Type   string `xml:"Type,attr"`
			Target string `xml:"Target,attr"`
		} `xml:"Relationship"`
	}
	if err := b.decode("xl/_rels/workbook.xml.rels", &relations); err != nil {
		return err
	}
	b.date1904 = book.Properties.Date1904 == "1" || book.Properties.Date1904 == "true"
	paths := make(map[string]string)
	for _, r := range relations.All {
		if !strings.HasSuffix(r.Type, "/worksheet") { // a chart has a sheet too
			continue
		}
		if target, ok := strings.CutPrefix(r.Target, "/"); ok {
			paths[r.ID] = target
		} else {
			paths[r.ID] = path.Join("xl", r.Target)
		}
	}
	for _, s := range book.Sheets {
		for _, a := range s.Attr {
			if target, ok := paths[a.Value]; ok && a.Name.Local == "id" {
				b.sheets = append(b.sheets, sheetEntry{s.Name, target})
			}
		}
	}
	return nil
}

// sheetPath finds the part that holds a sheet; no name is the first.
func (b *workbook) sheetPath(name string) (string, error) {
	if len(b.sheets) == 0 {
		return "", errors.New("the workbook has no sheet with cells")
	}
	if name == "" {
		return b.sheets[0].path, nil
	}
	var all []string
	for _, s := range b.sheets {
		if s.name == name {
			return s.path, nil
		}
		all = append(all, s.name)
	}
	hint := ""
	if near := nearest(name, all); near != "" {
		hint = "; " + near + " is near"
	}
	return "", fmt.Errorf("the workbook has no sheet %q: it has %s%s", name, some(all), hint)
}

// readShared reads the texts that cells refer to by number.
func (b *workbook) readShared() error {
	const name = "xl/sharedStrings.xml"
	r, err := b.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer r.Close()
	in, size := newTokens(r), 0
	var text []byte
	inText := false
	for {
		token, err := in.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			switch e.Name.Local {
			case "si":
				text = text[:0]
			case "t":
				inText = true
			case "rPh":
				if err := in.skip("rPh"); err != nil {
					return fmt.Errorf("read %s: %w", name, err)
				}
			}
		case xml.CharData:
			if inText {
				text = append(text, e...)
			}
		case xml.EndElement:
			inText = false
			if e.Name.Local != "si" {
				continue
			}
			if size += len(text); size > maxSharedTextBytes {
				return fmt.Errorf("the texts of the workbook are longer than %d MiB together: save it as csv", maxSharedTextBytes>>20)
			}
			b.shared = append(b.shared, unescape(string(text)))
		}
	}
}

// style is what a cell's style says about its number.
type style uint8

const (
	styleNumber style = iota
	styleDay
	styleTime
	styleDayTime
)

func (b *workbook) readStyles() error {
	var sheet struct {
		Formats []struct {
			ID   int    `xml:"numFmtId,attr"`
			Code string `xml:"formatCode,attr"`
		} `xml:"numFmts>numFmt"`
		Cells []struct {
			Format int `xml:"numFmtId,attr"`
		} `xml:"cellXfs>xf"`
	}
	if err := b.decode("xl/styles.xml", &sheet); err != nil {
		return err
	}
	custom := make(map[int]style)
	for _, f := range sheet.Formats {
		custom[f.ID] = styleOfCode(f.Code)
	}
	for _, c := range sheet.Cells {
		s, ok := custom[c.Format]
		if !ok {
			s = styleOfNumber(c.Format)
		}
		b.styles = append(b.styles, s)
	}
	return nil
}

// styleOfNumber knows the formats that have a number and no code.
func styleOfNumber(id int) style {
	switch {
	case id >= 14 && id <= 17, id >= 27 && id <= 31, id == 36, id >= 50 && id <= 54, id == 57, id == 58:
		return styleDay
	case id >= 18 && id <= 21, id >= 32 && id <= 35, id == 45, id == 47, id == 55, id == 56:
		return styleTime
	case id == 22:
		return styleDayTime
	}
	return styleNumber // 46 is [h]:mm:ss, a duration
}

// styleOfCode reads a format code such as `yyyy\-mm\-dd hh:mm`. Only what is
// shown of positive numbers counts. Elapsed time, [h]:mm, is a number.
func styleOfCode(code string) style {
	day, clock, minutes := false, false, false
	for i := 0; i < len(code); i++ {
		switch c := code[i] | 0x20; {
		case code[i] == ';':
			i = len(code)
		case code[i] == '"':
			end := strings.IndexByte(code[i+1:], '"')
			if end < 0 {
				return styleNumber
			}
			i += end + 1
		case code[i] == '\\' || code[i] == '_' || code[i] == '*':
			i++
		case code[i] == '[':
			end := strings.IndexByte(code[i:], ']')
			if end < 0 || strings.Trim(strings.ToLower(code[i+1:i+end]), "hms") == "" {
				return styleNumber
			}
			i += end
		case len(code) >= i+7 && strings.EqualFold(code[i:i+7], "general"):
			return styleNumber
		case code[i] == '0' && i > 0 && code[i-1] != '.' && code[i-1] != '0', code[i] == '#' || code[i] == '?':
			return styleNumber
		case c == 'y' || c == 'd':
			day = true
		case c == 'h' || c == 's':
			clock = true
		case c == 'm':
			minutes = true
		}
	}
	switch {
	case day && clock:
		return styleDayTime
	case clock:
		return styleTime
	case day || minutes: // m alone is a month
		return styleDay
	}
	return styleNumber
}

// dateText writes a serial number of days as a date. ok is false where it is
// none: below 0, or after the year 9999.
func dateText(serial float64, s style, date1904 bool) (text string, ok bool) {
	if !(serial >= 0 && serial < 2958466) {
		return "", false
	}
	millis := int64(math.Round(serial * 86_400_000))
	days, millis := millis/86_400_000, millis%86_400_000
	clock := time.UnixMilli(millis).UTC().Format("15:04:05.999")
	if s == styleTime && days == 0 {
		return clock, true
	}
	day := dayText(int(days), date1904)
	if s == styleDay && millis == 0 {
		return day, true
	}
	return day + " " + clock, true
}

// dayText counts days as workbooks do: from 1904-01-01, or from 1899-12-31
// with a 29 February 1900 that never was.
func dayText(days int, date1904 bool) string {
	first := time.Date(1899, 12, 30, 0, 0, 0, 0, time.UTC)
	switch {
	case date1904:
		first = time.Date(1904, 1, 1, 0, 0, 0, 0, time.UTC)
	case days == 60:
		return "1900-02-29"
	case days < 60:
		first = first.AddDate(0, 0, 1)
	}
	return first.AddDate(0, 0, days).Format(time.DateOnly)
}
