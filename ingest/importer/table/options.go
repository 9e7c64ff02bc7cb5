package table

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The formats that [Options.Format] names.
const (
	formatCSV    = "csv"
	formatTSV    = "tsv"
	formatFixed  = "fixed"
	formatNDJSON = "ndjson"
	formatXLSX   = "xlsx"
)

var formats = []string{formatCSV, formatTSV, formatFixed, formatNDJSON, formatXLSX}

// Options says how a file is to be read. The keys in the messages are those
// of a mapping file: the names of the fields in lower case.
type Options struct {
	// Format is csv, tsv, fixed, ndjson or xlsx. Compression is no format: it
	// is recognised and read through.
	Format string
	// Encoding of a text file, a name of the WHATWG index or an alias such as
	// latin-1. Empty: what a byte order mark says, else utf-8.
	Encoding string
	// Delimiter of csv; 0 is the comma.
	Delimiter rune
	// Header says that the first row names the columns.
	Header bool
	// Columns names them instead. For ndjson they are the keys to take, and
	// may be left out; for fixed they carry widths or not, all alike.
	Columns []Column
	// Skip is the number of lines (xlsx: rows) before the header or the first row.
	Skip int
	// Ignore are regular expressions: a row that one of them fits where it begins
	// (its first line as it stands; of xlsx its cells, tabs between them) is passed
	// over as an empty line is, also before the header.
	Ignore []string
	// Short says that a row of csv, tsv or words may end early: the cells that
	// it does not have are empty.
	Short bool
	// Sheet of a workbook; empty is the first.
	Sheet string
	// Inside picks files of a zip archive by name or by pattern of
	// [path.Match]; empty takes all, in order of their names.
	Inside string
}

// Column is a column that is named in advance.
type Column struct {
	Name string
	// Width in characters, of format fixed; 0 is not fixed.
	Width int
}

// OptionError says which option cannot be and what is wanted instead.
type OptionError struct {
	Key     string // as in a mapping file: format, encoding, columns[2] …
	Message string
}

func (e *OptionError) Error() string { return e.Key + ": " + e.Message }

func wrongOption(key, format string, args ...any) error {
	return &OptionError{Key: key, Message: fmt.Sprintf(format, args...)}
}

// Check returns an [*OptionError] for the first option that is wrong by
// itself or beside another. Open checks too.
func (o Options) Check() error {
	if !slices.Contains(formats, o.Format) {
		return o.wrongFormat()
	}
	if err := o.checkText(); err != nil {
		return err
	}
	if o.Skip < 0 {
		return wrongOption("skip", "is %d: a number of lines, 0 or more, is wanted", o.Skip)
	}
	if o.Sheet != "" && o.Format != formatXLSX {
		return wrongOption("sheet", "is %q: only format xlsx has sheets, and this is %s", o.Sheet, o.Format)
	}
	if _, err := o.ignored(); err != nil {
		return err
	}
	if o.Short && (o.Format == formatNDJSON || o.Format == formatXLSX) {
		return wrongOption("short", "is true: in %s every row may end early; leave it out", o.Format)
	}
	if err := checkInside(o.Inside); err != nil {
		return err
	}
	return o.checkColumns()
}

func (o Options) wrongFormat() error {
	wanted := "one of " + strings.Join(formats, ", ") + " is wanted"
	switch name := strings.ToLower(o.Format); {
	case name == "":
		return wrongOption("format", "is missing: %s", wanted)
	case name == "gz" || name == "gzip" || name == "zip":
		return wrongOption("format", "is %q: packed files are read through by themselves; say the format of what is inside, %s", o.Format, wanted)
	case name == "xls" || name == "excel" || name == "xlsm":
		return wrongOption("format", "is %q: Excel workbooks are xlsx (an old .xls must be saved as .xlsx first)", o.Format)
	case name == "json" || name == "jsonl":
		return wrongOption("format", "is %q: ndjson, one JSON object a line, is what can be read", o.Format)
	default:
		if near := nearest(name, formats); near != "" {
			wanted += "; " + near + " is near"
		}
		return wrongOption("format", "is %q: %s", o.Format, wanted)
	}
}

func (o Options) checkText() error {
	if o.Encoding != "" {
		if o.Format == formatXLSX {
			return wrongOption("encoding", "is %q: a workbook says its own encoding; leave it out for xlsx", o.Encoding)
		}
		if _, err := lookupEncoding(o.Encoding); err != nil {
			return err
		}
	}
	if o.Delimiter == 0 {
		return nil
	}
	if o.Format != formatCSV {
		return wrongOption("delimiter", "is %q: only csv has a choice of delimiter, and this is %s", o.Delimiter, o.Format)
	}
	if strings.ContainsRune("\"\r\n\uFEFF\uFFFD", o.Delimiter) || !utf8.ValidRune(o.Delimiter) {
		return wrongOption("delimiter", "is %q: any one character but a quote or an end of line is wanted", o.Delimiter)
	}
	return nil
}

func (o Options) checkColumns() error {
	switch {
	case o.Format == formatNDJSON && o.Header:
		return wrongOption("header", "is true: the keys of each JSON object name its values; leave header out for ndjson")
	case o.Header && len(o.Columns) > 0:
		return wrongOption("columns", "stand beside header: true; leave one out (skip: 1 passes over a header that should not count)")
	case !o.Header && len(o.Columns) == 0 && o.Format != formatNDJSON:
		return wrongOption("columns", "are missing: header: true takes the names of the first row, columns gives them here")
	case len(o.Columns) > maxColumns:
		return wrongOption("columns", "are %d: at most %d can be read", len(o.Columns), maxColumns)
	}
	seen := make(map[string]int, len(o.Columns))
	for i, c := range o.Columns {
		key := fmt.Sprintf("columns[%d]", i)
		if strings.TrimSpace(c.Name) == "" {
			return wrongOption(key, "has no name")
		}
		if j, ok := seen[c.Name]; ok {
			return wrongOption(key, "is %q, which columns[%d] is already", c.Name, j)
		}
		seen[c.Name] = i
		if err := o.checkWidth(key, c); err != nil {
			return err
		}
	}
	return nil
}

func (o Options) checkWidth(key string, c Column) error {
	switch {
	case c.Width < 0 || c.Width > maxCellBytes:
		return wrongOption(key, "%s has the width %d: 1 to %d characters are wanted", c.Name, c.Width, maxCellBytes)
	case c.Width > 0 && o.Format != formatFixed:
		return wrongOption(key, "%s has a width: only format fixed has widths, and this is %s", c.Name, o.Format)
	case (c.Width > 0) != (o.Columns[0].Width > 0):
		return wrongOption(key, "%s: either every column has a width or none (then runs of blanks part them)", c.Name)
	}
	return nil
}

// ignored is one pattern of all that are to be passed over; nil: none is.
func (o Options) ignored() (*regexp.Regexp, error) {
	if len(o.Ignore) == 0 {
		return nil, nil
	}
	all := make([]string, len(o.Ignore))
	for i, pattern := range o.Ignore {
		key := fmt.Sprintf("ignore[%d]", i)
		one, err := regexp.Compile(pattern)
		if err != nil {
			return nil, wrongOption(key, "%q is no regular expression: %s", shown(pattern), patternFlaw(err))
		}
		if one.MatchString("") {
			return nil, wrongOption(key, "%q fits every row: say how the rows begin that are passed over, as \"^#\"", shown(pattern))
		}
		all[i] = "(?:" + pattern + ")"
	}
	return regexp.Compile(strings.Join(all, "|"))
}

func patternFlaw(err error) string {
	if flaw, ok := errors.AsType[*syntax.Error](err); ok {
		return flaw.Code.String() + " " + strconv.Quote(flaw.Expr)
	}
	return err.Error()
}

// nearest returns the name that is at most two changes away from got, or "".
func nearest(got string, names []string) string {
	best, distance := "", 3
	for _, name := range names {
		if d := editDistance(got, name); d < distance && d < len(name) {
			best, distance = name, d
		}
	}
	return best
}

// editDistance counts the insertions, deletions and replacements of bytes
// between a and b. Names that differ more than two in length are far apart.
func editDistance(a, b string) int {
	if len(a) > len(b)+2 || len(b) > len(a)+2 {
		return max(len(a), len(b))
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
