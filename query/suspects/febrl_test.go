package suspects_test

import (
	"context"
	"encoding/binary"
	"encoding/csv"
	"errors"
	"hash/fnv"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/query/suspects"
)

// febrl is records of which it is known who is who.
type febrl struct {
	facts  []*suspects.Facts
	entity map[events.CustomerID]string
	pairs  int // that are one
}

// readFebrl reads files of the set. Each record is a customer of his own, whose
// id says nothing of who he is.
func readFebrl(t testing.TB, files ...string) *febrl {
	t.Helper()
	names, err := suspects.NewNames(nil)
	if err != nil {
		t.Fatal(err)
	}
	data := &febrl{entity: map[events.CustomerID]string{}}
	rng := rand.New(rand.NewPCG(1, 2))
	sizes := map[string]int{}
	for _, file := range files {
		path := filepath.Join("../../../shared/fixtures/febrl", file)
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			t.Skipf("no fixture %s", file)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r := csv.NewReader(f)
		r.TrimLeadingSpace = true
		rows, err := r.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows[1:] {
			var id events.CustomerID
			binary.BigEndian.PutUint64(id[:], rng.Uint64())
			c := &suspects.Facts{ID: id}
			for i, cell := range row[1:] {
				if cell = strings.TrimSpace(cell); cell != "" {
					c.Add(names, strings.TrimSpace(rows[0][i+1]), cell)
				}
			}
			entity := strings.Join(strings.Split(row[0], "-")[:2], "-")
			data.pairs += sizes[entity]
			sizes[entity]++
			data.entity[id] = entity
			data.facts = append(data.facts, c)
		}
	}
	rng.Shuffle(len(data.facts), func(i, j int) { data.facts[i], data.facts[j] = data.facts[j], data.facts[i] })
	return data
}

// half is the records of about half of the entities.
func (d *febrl) half(which uint32) *febrl {
	h := &febrl{entity: d.entity}
	sizes := map[string]int{}
	for _, f := range d.facts {
		sum := fnv.New32a()
		sum.Write([]byte(d.entity[f.ID]))
		if sum.Sum32()>>7&1 == which {
			h.facts = append(h.facts, f)
			h.pairs += sizes[d.entity[f.ID]]
			sizes[d.entity[f.ID]]++
		}
	}
	return h
}

// without is the records without a field.
func (d *febrl) without(field suspects.Field) *febrl {
	w := &febrl{entity: d.entity, pairs: d.pairs}
	for _, f := range d.facts {
		values := slices.DeleteFunc(slices.Clone(f.Values), func(v suspects.Value) bool { return v.Field == field })
		w.facts = append(w.facts, &suspects.Facts{ID: f.ID, Values: values})
	}
	return w
}

func (d *febrl) source(_ context.Context, wanted func(events.CustomerID) bool) iter.Seq2[*suspects.Facts, error] {
	return func(yield func(*suspects.Facts, error) bool) {
		for _, f := range d.facts {
			if (wanted == nil || wanted(f.ID)) && !yield(f, nil) {
				return
			}
		}
	}
}

// rate is how many of the pairs that are one were proposed at a score, and how
// many of those proposed are one.
func (d *febrl) rate(r *suspects.Ranking, least float64) (recall, precision float64) {
	right, all := 0, 0
	for _, p := range r.Pairs {
		if p.Score < least {
			break
		}
		all++
		if d.entity[p.A] == d.entity[p.B] {
			right++
		}
	}
	return float64(right) / float64(d.pairs), float64(right) / float64(max(all, 1))
}

func TestFebrl(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		files []string
		long  bool
	}{
		{"dataset1", []string{"dataset1.csv"}, false},
		{"dataset4", []string{"dataset4a.csv", "dataset4b.csv"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.long && testing.Short() {
				t.Skip("compares 10,000 customers")
			}
			data := readFebrl(t, test.files...)
			for _, part := range []struct {
				name string
				*febrl
			}{{"all", data}, {"first half", data.half(0)}, {"other half", data.half(1)}, {"without declared numbers", data.without(suspects.Declared)}, {"without birth dates", data.without(suspects.Birth)}} {
				r, err := suspects.Find(t.Context(), part.source)
				if err != nil {
					t.Fatal(err)
				}
				recall, precision := part.rate(r, suspects.DefaultScore)
				t.Logf("%s, %s: %d customers, %d pairs compared: recall %.4f at precision %.4f", test.name, part.name, r.Customers, r.Compared, recall, precision)
				if recall < 0.97 || precision < 0.99 {
					t.Errorf("%s, %s: recall %.4f at precision %.4f, want 0.97 at 0.99", test.name, part.name, recall, precision)
				}
			}
		})
	}
}
