package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/dossier360/dossier/ingest/importer"
)

// rejectColumns stand before the row's own columns.
var rejectColumns = []string{"file", "line", "column", "value", "reason"}

// rejectsFile is the CSV of --rejects: what was rejected or is conflicting, with
// the reason and the cells of the row. Its columns are those of the first row it
// got; a cell of a column that another file alone has is left out.
type rejectsFile struct {
	file    *os.File
	buffer  *bufio.Writer
	csv     *csv.Writer
	begun   bool
	columns []string
	// late are those whose cells are found when all was read, maxLate at most:
	// the others stay without.
	late []importer.Outcome
}

// maxLate bounds the rejects whose rows are looked for.
const maxLate = 100_000

func createRejects(path string) (*rejectsFile, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("--rejects: %w", err)
	}
	buffer := bufio.NewWriter(f)
	return &rejectsFile{file: f, buffer: buffer, csv: csv.NewWriter(buffer)}, nil
}

// begin writes the header. A column of the row that is called as one of ours is
// called row.<name>.
func (r *rejectsFile) begin(columns []string) error {
	r.begun, r.columns = true, columns
	header := slices.Clone(rejectColumns)
	for _, name := range columns {
		if slices.Contains(rejectColumns, name) {
			name = "row." + name
		}
		header = append(header, name)
	}
	if _, err := r.buffer.WriteString(byteOrderMark); err != nil {
		return err
	}
	return r.csv.Write(header)
}

// take keeps an outcome. One of a group waits for the cells of its row.
func (r *rejectsFile) take(o importer.Outcome) error {
	if o.Cells == nil && o.Columns != nil && len(r.late) < maxLate {
		r.late = append(r.late, o)
		return nil
	}
	return r.write(o)
}

// finish finds the rows that are missing yet and closes the file.
func (r *rejectsFile) finish(ctx context.Context, files *importer.Files) error {
	err := r.findLate(ctx, files)
	for _, o := range r.late {
		err = errors.Join(err, r.write(o))
	}
	return errors.Join(err, r.close())
}

func (r *rejectsFile) findLate(ctx context.Context, files *importer.Files) error {
	type place struct {
		file string
		line int
	}
	at := map[place][]int{}
	for i, o := range r.late {
		at[place{o.File, o.Line}] = append(at[place{o.File, o.Line}], i)
	}
	if len(at) == 0 || ctx.Err() != nil { // who was interrupted does not wait
		return nil
	}
	return files.Find(ctx,
		func(file string, line int) bool { return at[place{file, line}] != nil },
		func(file string, line int, cells []any) error {
			for _, i := range at[place{file, line}] {
				r.late[i].Cells = cells
			}
			return nil
		})
}

func (r *rejectsFile) write(o importer.Outcome) error {
	if !r.begun {
		if err := r.begin(o.Columns); err != nil {
			return fmt.Errorf("--rejects: %w", err)
		}
	}
	record := []string{o.File, strconv.Itoa(o.Line), o.Column, o.Value, o.Reason}
	for _, name := range r.columns {
		cell := ""
		if i := slices.Index(o.Columns, name); i >= 0 && i < len(o.Cells) {
			cell = cellText(o.Cells[i])
		}
		record = append(record, cell)
	}
	if err := r.csv.Write(record); err != nil {
		return fmt.Errorf("--rejects: %w", err)
	}
	return nil
}

// cellText is a cell as it stood in its file, or its JSON.
func cellText(cell any) string {
	switch cell := cell.(type) {
	case nil:
		return ""
	case string:
		return cell
	}
	raw, err := json.Marshal(cell)
	if err != nil {
		panic("not reached: a cell was read from JSON: " + err.Error())
	}
	return string(raw)
}

func (r *rejectsFile) close() error {
	var err error
	if !r.begun {
		err = r.begin(nil)
	}
	r.csv.Flush()
	if err = errors.Join(err, r.csv.Error(), r.buffer.Flush(), r.file.Close()); err != nil {
		return fmt.Errorf("--rejects: %w", err)
	}
	return nil
}
