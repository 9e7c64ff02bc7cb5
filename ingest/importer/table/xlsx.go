package table

import (
	"archive/zip"
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// sheet streams the rows of one sheet of a workbook.
//
// It reads the parts of the workbook by itself: a streaming reader that hands
// out text alone cannot tell a number from a text that looks like one, nor a
// date from either, and the cells of a customer file are full of both.
type sheet struct {
	file     string // of the workbook
	book     *workbook
	xml      *tokens
	closer   io.Closer
	skip     int
	ignored  *regexp.Regexp
	columns  []string
	row      int // number of the row read last
	last     int // number of the last row, as the sheet says; 0 unknown
	progress func(share float64)
}

// xlsxCell is a cell that is not empty.
type xlsxCell struct {
	column int // from 0
	text   string
	flaw   string
}

// openWorkbook opens the sheet that the options name. The workbook is read
// into memory as it is packed; its rows are unpacked as they are asked for.
func openWorkbook(p part, o Options, progress func(float64)) (rows, error) {
	data, err := io.ReadAll(io.LimitReader(p.r, maxWorkbookBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", p.name, err)
	}
	if len(data) > maxWorkbookBytes {
		return nil, fmt.Errorf("%s: the workbook is larger than %d MiB: save it as csv", p.name, maxWorkbookBytes>>20)
	}
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("%s: is a damaged workbook, perhaps not wholly copied: %w", p.name, err)
	}
	if what := officeKind(archive.File); what != formatXLSX {
		return nil, fmt.Errorf("%s: is a packed file without a workbook in it", p.name)
	}
	book, err := readWorkbook(archive)
	if err != nil {
		return nil, fmt.Errorf("read workbook %s: %w", p.name, err)
	}
	path, err := book.sheetPath(o.Sheet)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	in, err := book.open(path)
	if err != nil {
		return nil, fmt.Errorf("read workbook %s: %w", p.name, err)
	}
	ignored, err := o.ignored()
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	progress(0)
	return &sheet{file: p.name, book: book, xml: newTokens(in), closer: in, skip: o.Skip, ignored: ignored, progress: progress}, nil
}

func (s *sheet) setColumns(names []string) { s.columns = names }

func (s *sheet) close() error { return s.closer.Close() }

func (s *sheet) header() ([]string, error) {
	cells, err := s.cells()
	if err == io.EOF {
		return nil, fmt.Errorf("%s: the sheet is empty: a header is wanted in its first row", s.file)
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, c := range cells {
		if c.flaw != "" {
			return nil, fmt.Errorf("%s:%d: %s of the header: %s", s.file, s.row, cellName(c.column, s.row), c.flaw)
		}
		if c.column >= maxColumns {
			return nil, fmt.Errorf("%s:%d: the header has a cell %s: at most %d columns can be read", s.file, s.row, cellName(c.column, s.row), maxColumns)
		}
		for len(names) <= c.column {
			names = append(names, "")
		}
		names[c.column] = c.text
	}
	return headerNames(s.file, s.row, names)
}

func (s *sheet) next() (Row, error) {
	cells, err := s.cells()
	if err != nil {
		return Row{}, err
	}
	if s.last > 0 && s.row%1024 == 0 {
		s.progress(min(1, float64(s.row)/float64(s.last)))
	}
	values := make([]any, len(s.columns))
	for i := range values {
		values[i] = ""
	}
	for _, c := range cells {
		if c.column >= len(s.columns) {
			return Row{}, s.bad("", c.text, "stands in %s, behind the last of %s", cellName(c.column, s.row), plural(len(s.columns), "column"))
		}
		if c.flaw != "" {
			return Row{}, s.bad(s.columns[c.column], "", "%s", c.flaw)
		}
		values[c.column] = c.text
	}
	return Row{Line: s.row, Values: values}, nil
}

func (s *sheet) bad(column, value, format string, args ...any) error {
	return &RowError{File: s.file, Line: s.row, Column: column, Value: value, Reason: fmt.Sprintf(format, args...)}
}

// cells returns the cells of the next row that has any, behind those to skip.
func (s *sheet) cells() ([]xlsxCell, error) {
	for {
		token, err := s.xml.next()
		if err != nil {
			return nil, s.damaged(err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			switch e.Name.Local {
			case "dimension":
				s.last = lastRow(attribute(e, "ref"))
			case "row":
				s.row++
				if n, err := strconv.Atoi(attribute(e, "r")); err == nil && n > 0 {
					s.row = n
				}
				cells, err := s.readRow()
				if err != nil {
					return nil, s.damaged(err)
				}
				if len(cells) > 0 && s.row > s.skip && !s.ignores(cells) {
					return cells, nil
				}
			}
		case xml.EndElement:
			if e.Name.Local == "sheetData" {
				return nil, io.EOF
			}
		}
	}
}

// ignores reports whether a row is to be passed over.
func (s *sheet) ignores(cells []xlsxCell) bool {
	if s.ignored == nil {
		return false
	}
	var b strings.Builder
	at := 0
	for _, c := range cells {
		for ; at < min(c.column, maxColumns); at++ {
			b.WriteByte('\t')
		}
		b.WriteString(c.text)
	}
	return s.ignored.MatchString(b.String())
}

// damaged names the row behind which a sheet cannot be read. The end of the
// bytes is not the end of the rows: that is an element of its own.
func (s *sheet) damaged(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%s: the sheet is damaged behind row %d: %w", s.file, s.row, err)
}

func (s *sheet) readRow() ([]xlsxCell, error) {
	var cells []xlsxCell
	column := -1
	for {
		token, err := s.xml.next()
		if err != nil {
			return nil, err
		}
		if end, ok := token.(xml.EndElement); ok && end.Name.Local == "row" {
			return cells, nil
		}
		start, ok := token.(xml.StartElement)
		if !ok || start.Name.Local != "c" {
			continue
		}
		column++
		if n := columnOf(attribute(start, "r")); n >= 0 {
			column = n
		}
		c, err := s.readCell(start)
		if err != nil {
			return nil, err
		}
		if c.text != "" || c.flaw != "" {
			c.column = column
			cells = append(cells, c)
		}
	}
}

// readCell reads what is inside a cell, to its end.
func (s *sheet) readCell(start xml.StartElement) (xlsxCell, error) {
	kind, style := attribute(start, "t"), attribute(start, "s")
	var value, inline []byte
	var formula, hasValue bool
	var target *[]byte
	for {
		token, err := s.xml.next()
		if err != nil {
			return xlsxCell{}, err
		}
		switch e := token.(type) {
		case xml.StartElement:
			switch e.Name.Local {
			case "v":
				target, hasValue = &value, true
			case "t":
				target = &inline
			case "f":
				formula = true
			case "rPh": // how a text is pronounced is not part of it
				if err := s.xml.skip("rPh"); err != nil {
					return xlsxCell{}, err
				}
			}
		case xml.CharData:
			if target != nil {
				*target = append(*target, e...)
			}
		case xml.EndElement:
			target = nil
			if e.Name.Local == "c" {
				return s.book.cell(kind, style, string(value), string(inline), formula && !hasValue), nil
			}
		}
	}
}

// cell says what a cell tells, by its kind and style.
func (b *workbook) cell(kind, style, value, inline string, noResult bool) xlsxCell {
	var c xlsxCell
	switch {
	case noResult:
		c.flaw = "is a formula whose result is not stored: open the workbook in a spreadsheet and save it once"
	case kind == "inlineStr":
		c.text = unescape(inline)
	case kind == "s":
		i, err := strconv.Atoi(strings.TrimSpace(value))
		if err != nil || i < 0 || i >= len(b.shared) {
			c.flaw = fmt.Sprintf("refers to text %q of the workbook, which has %d: the workbook is damaged", shown(value), len(b.shared))
			return c
		}
		c.text = b.shared[i]
	case kind == "b":
		c.text = "false"
		if value == "1" || value == "true" {
			c.text = "true"
		}
	case kind == "" || kind == "n":
		c.text = b.number(style, value)
	default: // str: a formula's text; e: its error, as #N/A; d: an ISO date
		c.text = unescape(value)
	}
	if len(c.text) > maxCellBytes {
		c.flaw = fmt.Sprintf("has %d bytes: a cell may have %d", len(c.text), maxCellBytes)
	}
	return c
}

// number writes a stored number in the fewest digits that mean it, or as a
// date where its style shows one.
func (b *workbook) number(style, value string) string {
	v, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return value
	}
	if i, err := strconv.Atoi(style); err == nil && i >= 0 && i < len(b.styles) && b.styles[i] != styleNumber {
		if text, ok := dateText(v, b.styles[i], b.date1904); ok {
			return text
		}
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// columnOf returns the column, from 0, of a reference such as "AB12", or -1.
func columnOf(ref string) int {
	n := 0
	for i := range len(ref) {
		c := ref[i]
		if c < 'A' || c > 'Z' {
			break
		}
		if n = n*26 + int(c-'A'+1); n > 1<<14 {
			return -1
		}
	}
	return n - 1
}

// lastRow returns the last row of a reference such as "A1:H100", or 0.
func lastRow(ref string) int {
	_, corner, _ := strings.Cut(ref, ":")
	n, err := strconv.Atoi(strings.TrimLeft(corner, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
	if err != nil {
		return 0
	}
	return n
}

func cellName(column, row int) string {
	var letters []byte
	for n := column + 1; n > 0; n = (n - 1) / 26 {
		letters = append(letters, byte('A'+(n-1)%26))
	}
	slices.Reverse(letters)
	return string(letters) + strconv.Itoa(row)
}

func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// unescape reads "_x000D_", as workbooks write characters that XML cannot.
func unescape(s string) string {
	i := strings.Index(s, "_x")
	if i < 0 {
		return s
	}
	var b strings.Builder
	for ; i >= 0; i = strings.Index(s, "_x") {
		b.WriteString(s[:i])
		s = s[i:]
		if len(s) >= 7 && s[6] == '_' {
			if r, err := strconv.ParseUint(s[2:6], 16, 16); err == nil && r != 0 {
				b.WriteRune(rune(r))
				s = s[7:]
				continue
			}
		}
		b.WriteString(s[:2])
		s = s[2:]
	}
	b.WriteString(s)
	return b.String()
}

// tokens reads XML, and refuses a token longer than a row may be: the decoder
// holds one as a whole.
type tokens struct {
	decoder *xml.Decoder
	in      *allowance
}

var errLongToken = errors.New("a cell is longer than a row may be")

func newTokens(r io.Reader) *tokens {
	in := &allowance{r: r}
	return &tokens{decoder: xml.NewDecoder(in), in: in}
}

func (t *tokens) next() (xml.Token, error) {
	t.in.left = 2 * maxRowBytes
	return t.decoder.RawToken()
}

// skip passes over what is left of an element that contains none of its name.
func (t *tokens) skip(name string) error {
	for {
		token, err := t.next()
		if err != nil {
			return err
		}
		if end, ok := token.(xml.EndElement); ok && end.Name.Local == name {
			return nil
		}
	}
}

// allowance lets so many bytes be read until it is renewed.
type allowance struct {
	r    io.Reader
	left int
}

func (a *allowance) Read(p []byte) (int, error) {
	if a.left <= 0 {
		return 0, errLongToken
	}
	n, err := a.r.Read(p[:min(len(p), a.left)])
	a.left -= n
	return n, err
}
