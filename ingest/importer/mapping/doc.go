// Package mapping makes events of the rows of a file, as a mapping file says.
//
// A mapping is YAML: how the file is to be read (package table), and rules of
// which each says of some rows what event they are. Values are CEL expressions
// over the columns. docs/IMPORT.md is the guide to the language.
//
//	m, err := mapping.Parse("orders.yaml", text)     // every mistake at once: Errors
//	r, err := table.Open("orders.csv", m.Table)
//	mapper, err := m.Bind(r.File(), r.Columns(), nil) // names of columns are checked here
//	for each row { made, rejects, outcome := mapper.Add(row) }
//	for made, rejects := range mapper.Close() { … }   // the groups
//	err = mapper.Err()
//
// Guarantees: the same mapping, file and lookups make the same events in the
// same order, ids included; a row that makes no event is a [Reject] that names
// its line, or is counted as skipped or unmatched; amounts reach the event as
// the decimals that the file shows, exact to six digits after the point also
// where they were computed; what is held of the rows is bounded (see
// limits.go).
//
// Null. A cell that says nothing (the mapping's null) is null, and an
// expression of something that is null is null: no function, operator or
// selection of a part fails for it. A null value is left out of the event; a
// null condition does not hold. coalesce, has, ==, sum, min and max look at
// nulls themselves.
package mapping
