package main

import (
	"bytes"
	"encoding/csv"
	"errors"
	"flag"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
)

// febrlMapping makes every line a customer of his own. What the record is called
// in the file, which tells who is who, it does not read.
const febrlMapping = `
format: csv
header: true
source: register
id: [line_id]
dates: ["2006-01-02"]
rows:
  - event: traits.set
    at: date("2024-01-01")
    customer: {register_id: 'col.line_id'}
    fields:
      given_name: col.given_name
      surname: col.surname
      street_number: col.street_number
      address_1: col.address_1
      address_2: col.address_2
      suburb: col.suburb
      postcode: col.postcode
      state: col.state
      date_of_birth: col.date_of_birth
      soc_sec_id: col.soc_sec_id
`

// register is records of which it is known who is who.
type register struct {
	file   []byte            // to import
	entity map[string]string // by the id of a line
	pairs  int
}

// readRegister reads files of records and puts them in random order, each with
// the number of its line as its id.
func readRegister(t *testing.T, files ...string) *register {
	t.Helper()
	var rows [][]string
	for _, name := range files {
		raw, err := os.ReadFile(filepath.Join(repository, "..", "shared", "fixtures", "febrl", name))
		if errors.Is(err, fs.ErrNotExist) {
			t.Skipf("no fixture febrl/%s", name)
		}
		if err != nil {
			t.Fatal(err)
		}
		r := csv.NewReader(bytes.NewReader(raw))
		r.TrimLeadingSpace = true
		read, err := r.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if rows == nil {
			rows = append(rows, read[0])
		}
		rows = append(rows, read[1:]...)
	}
	records := rows[1:]
	rand.New(rand.NewPCG(5, 6)).Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	made := &register{entity: map[string]string{}}
	sizes := map[string]int{}
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	rows[0][0] = "line_id"
	if err := w.Write(rows[0]); err != nil {
		t.Fatal(err)
	}
	for i, record := range records {
		entity := strings.Join(strings.Split(record[0], "-")[:2], "-") // rec-223 of rec-223-dup-0
		made.pairs += sizes[entity]
		sizes[entity]++
		record[0] = "line-" + strconv.Itoa(i)
		made.entity[record[0]] = entity
		if err := w.Write(record); err != nil {
			t.Fatal(err)
		}
	}
	w.Flush()
	made.file = b.Bytes()
	return made
}

// lines are the customers by id, as the ids of their lines.
func (p *engineProcess) lines() map[string]string {
	p.t.Helper()
	lines, req := map[string]string{}, &queryv1.ListProfilesRequest{PageSize: 1_000, Fields: []string{"identifiers"}}
	for {
		resp, err := p.query().ListProfiles(p.t.Context(), req)
		if err != nil {
			p.t.Fatal(err)
		}
		for _, c := range resp.GetProfiles() {
			if ids := c.GetIdentifiers(); len(ids) == 1 {
				lines[c.GetCustomerId()] = ids[0].GetValue()
			}
		}
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			return lines
		}
	}
}

var wholeRegister = flag.Bool("register.whole", false, "let TestSuspectsOfRegister import dataset4 too, 10,000 records")

// TestSuspectsOfRegister imports records with typing errors, and holds the pairs
// that are proposed by default against who they are. What is found among 10,000
// the tests of query/suspects show always, without an import.
func TestSuspectsOfRegister(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		files []string
		runs  bool
	}{
		{"dataset1", []string{"dataset1.csv"}, !testing.Short()},
		{"dataset4", []string{"dataset4a.csv", "dataset4b.csv"}, *wholeRegister},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if !test.runs {
				t.Skip("takes long: make soak imports all of them")
			}
			known := readRegister(t, test.files...)
			dir := t.TempDir()
			file, mapping := writeFile(t, dir, "register.csv", string(known.file)), writeFile(t, dir, "register.yaml", febrlMapping)
			p := startProcess(t, filepath.Join(dir, "data"))
			importAll(t, p.url, file, mapping)
			p.awaitFolded()
			lines := p.lines()
			if len(lines) != len(known.entity) {
				t.Fatalf("%d customers, want %d", len(lines), len(known.entity))
			}
			right, all := 0, 0
			service, req := queryv1connect.NewIdentityServiceClient(http.DefaultClient, p.url), &queryv1.ListSuspectsRequest{PageSize: 1_000}
			for {
				resp, err := service.ListSuspects(t.Context(), req)
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range resp.GetSuspects() {
					all++
					if known.entity[lines[s.GetA()]] == known.entity[lines[s.GetB()]] {
						right++
					}
				}
				if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
					if uint64(all) != resp.GetTotal() {
						t.Errorf("%d suspects on all pages, total %d", all, resp.GetTotal())
					}
					break
				}
			}
			recall, precision := float64(right)/float64(known.pairs), float64(right)/float64(max(all, 1))
			t.Logf("%s: %d records, %d pairs are one, %d proposed: recall %.4f at precision %.4f", test.name, len(known.entity), known.pairs, all, recall, precision)
			if recall < 0.97 || precision < 0.99 {
				t.Errorf("%s: recall %.4f at precision %.4f, want 0.97 at 0.99", test.name, recall, precision)
			}
		})
	}
}
