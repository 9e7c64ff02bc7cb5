// Package table reads the files that other systems export, row by row: text
// with delimiters, columns of fixed width, one JSON object a line, and Excel
// workbooks, each also inside gzip and zip.
//
//	r, err := table.Open("orders.csv.gz", table.Options{Format: "csv", Header: true})
//	if err != nil {
//		return err // names the file, and what it looks like instead
//	}
//	defer r.Close()
//	for {
//		row, err := r.Next()
//		var bad *table.RowError
//		switch {
//		case err == io.EOF:
//			return nil
//		case errors.As(err, &bad):
//			report(bad) // this row is lost, the next is not
//			continue
//		case err != nil:
//			return err
//		}
//		use(row.Line, row.Values)
//	}
//
// # What is promised
//
// A file is streamed: a reader holds at most one row (1 MiB) and its buffers,
// save for a workbook, whose parts and shared strings stay in memory. Every
// [Row] has its own memory and may be kept.
//
// Cells are the text of the file as it stands, not trimmed; what they mean is
// the mapping's to say. Nothing is repaired in silence: bytes that are not of
// the encoding, a NUL, a cell too long and a row with a wrong number of cells
// are each a [RowError] with the line where the row begins.
//
// # How a bad row is kept from eating the file
//
// In csv a cell that begins with a quote runs to its closing quote, over
// lines if need be. Where what follows shows that the quote was never meant
// (text after the closing quote, or no closing quote within 1 MiB), only the
// line where the row begins is refused and reading resumes on the next one.
// A quote inside a cell that does not begin with one is a character like any
// other. Most writers of tsv never quote, so there a cell whose quoting makes
// no sense is read as it stands. Empty lines are passed over, and so are those of
// nothing but delimiters; empty cells behind the last column are none.
//
// # Which encoding
//
// A byte order mark says what the file is and wins over Options.Encoding,
// for it is never there by accident; it is removed. Names of encodings are
// those of the WHATWG index, where latin-1 is read as windows-1252, its
// superset.
package table
