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
			}{{"all", data}, {"first half", data.half(0)}, {"other half", data.half(1)}} {
				r, err := suspects.Find(t.Context(), part.source)
				if err != nil {
					t.Fatal(err)
				}
				recall, precision := part.rate(r, suspects.DefaultScore)
				t.Logf("%s, %s: %d customers, %d pairs compared: recall %.4f at precision %.4f", test.name, part.name, r.Customers, r.Compared, recall, precision)
				if os.Getenv("DOSSIER_SUSPECTS") != "" {
					part.explain(t, r)
				}
				if recall < 0.97 || precision < 0.99 {
					t.Errorf("%s, %s: recall %.4f at precision %.4f, want 0.97 at 0.99", test.name, part.name, recall, precision)
				}
			}
		})
	}
}

func (d *febrl) explain(t *testing.T, r *suspects.Ranking) {
	for _, least := range []float64{.5, .8, .9, .95, .99, .999} {
		recall, precision := d.rate(r, least)
		t.Logf("  at %.3f: %.4f %.4f", least, recall, precision)
	}
	n := 0
	for _, p := range r.Pairs {
		if d.entity[p.A] != d.entity[p.B] && n < 8 {
			n++
			t.Logf("  WRONG %.4f %+v", p.Score, r.Reasons(p))
		}
	}
	found := map[string]bool{}
	for _, p := range r.Pairs {
		if p.Score >= suspects.DefaultScore && d.entity[p.A] == d.entity[p.B] {
			found[d.entity[p.A]] = true
		}
	}
	by := map[string][]*suspects.Facts{}
	for _, f := range d.facts {
		by[d.entity[f.ID]] = append(by[d.entity[f.ID]], f)
	}
	n = 0
	for e, fs := range by {
		if len(fs) == 2 && !found[e] && n < 10 {
			n++
			in := slices.ContainsFunc(r.Pairs, func(p suspects.Pair) bool {
				return p.A == fs[0].ID && p.B == fs[1].ID || p.B == fs[0].ID && p.A == fs[1].ID
			})
			t.Logf("  MISSED %v\n   %v\n   %v", in, fs[0].Values, fs[1].Values)
		}
	}
}
