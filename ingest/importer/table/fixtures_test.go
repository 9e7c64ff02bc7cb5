package table_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/dossier360/dossier/ingest/importer/table"
)

// Real exports, with the numbers of rows that their descriptions state.
func TestReader_fixtures(t *testing.T) {
	t.Parallel()
	folder := filepath.Join("..", "..", "..", "..", "shared", "fixtures")
	if _, err := os.Stat(folder); err != nil {
		t.Skip("no fixtures beside the repository")
	}
	csv := table.Options{Format: "csv", Header: true}
	tests := []struct {
		pattern string
		options table.Options
		rows    int
	}{
		{"cdnow_sample/CDNOW_sample.txt", table.Options{Format: "fixed", Columns: names("id", "sample", "day", "discs", "dollars")}, 6919},
		{"online_retail_slice/*.csv.gz", csv, 105335},
		{"febrl/dataset1.csv", csv, 1000},
		{"febrl/dataset4a.csv", csv, 5000},
	}
	for _, test := range tests {
		t.Run(test.pattern, func(t *testing.T) {
			t.Parallel()
			paths, err := filepath.Glob(filepath.Join(folder, test.pattern))
			if err != nil {
				t.Fatal(err)
			}
			rows := 0
			for _, path := range paths {
				got, lost, err := readAll(path, test.options)
				if err != nil || lost > 0 {
					t.Errorf("%s: lost %d rows, %v", path, lost, err)
				}
				rows += len(got)
			}
			if rows != test.rows {
				t.Errorf("read %d rows of %d files, want %d", rows, len(paths), test.rows)
			}
		})
	}
}
