package suspects_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/query/suspects"
)

// crowd makes customers one by one, the same each time: names and places are
// drawn as unevenly as people's are, and every twentieth customer is there a
// second time with slips.
type crowd struct{ size int }

func (c crowd) source(_ context.Context, wanted func(events.CustomerID) bool) iter.Seq2[*suspects.Facts, error] {
	return func(yield func(*suspects.Facts, error) bool) {
		for i := range c.size {
			var id events.CustomerID
			binary.BigEndian.PutUint64(id[:], uint64(i)*0x9e3779b97f4a7c15)
			if wanted != nil && !wanted(id) {
				continue
			}
			if !yield(c.customer(i, id), nil) {
				return
			}
		}
	}
}

// customer is the i-th; of twenty the last is the first again.
func (c crowd) customer(i int, id events.CustomerID) *suspects.Facts {
	who, again := i, i%20 == 19
	if again {
		who = i - 19
	}
	rng := rand.New(rand.NewPCG(uint64(who), 7))
	pick := func(n uint64) uint64 { // Zipf-like: the k-th is drawn about 1/k as often
		u := rng.Float64()
		return uint64(float64(n)*u*u*u) + 1
	}
	born := time.Date(1930, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, rng.IntN(28_000))
	place := pick(8_000)
	values := []suspects.Value{
		{Field: suspects.Given, Text: word(1, pick(4_000))},
		{Field: suspects.Family, Text: word(2, pick(60_000))},
		{Field: suspects.Birth, Text: born.Format("2006-01-02")},
		{Field: suspects.Number, Text: strconv.Itoa(1 + rng.IntN(300))},
		{Field: suspects.Street, Text: word(3, pick(40_000)) + " street"},
		{Field: suspects.Suburb, Text: word(4, place)},
		{Field: suspects.Postcode, Text: fmt.Sprintf("%05d", 10_000+place*7)},
		{Field: suspects.Phone, Text: fmt.Sprintf("04%08d", rng.IntN(1e8))},
		{Field: suspects.Email, Text: fmt.Sprintf("%s%d@mail%d.test", word(5, rng.Uint64N(1e9)), rng.IntN(100), rng.IntN(20))},
	}
	if again {
		slips := rand.New(rand.NewPCG(uint64(i), 8))
		for range 2 {
			v := &values[slips.IntN(len(values))]
			at := slips.IntN(len(v.Text))
			v.Text = v.Text[:at] + string(rune('a'+slips.IntN(26))) + v.Text[at+1:]
		}
		values[7+slips.IntN(2)].Text = "" // tells the phone or the address only once
	}
	f := &suspects.Facts{ID: id, Name: values[0].Text + " " + values[1].Text}
	for _, v := range values {
		if v.Text != "" {
			f.Values = append(f.Values, v)
		}
	}
	return f
}

// word is the n-th word of a kind.
func word(kind, n uint64) string {
	rng := rand.New(rand.NewPCG(kind, n))
	var b []byte
	for range 2 + rng.IntN(3) {
		b = append(b, "bcdfghjklmnprstvwz"[rng.IntN(18)], "aeiou"[rng.IntN(5)])
	}
	return string(b)
}

// TestCrowd measures: how many customers, how long, how much memory.
func TestCrowd(t *testing.T) {
	size, _ := strconv.Atoi(os.Getenv("DOSSIER_SUSPECTS_CROWD"))
	if size == 0 {
		t.Skip("DOSSIER_SUSPECTS_CROWD names no number of customers")
	}
	c := crowd{size}
	most, stop := watchMemory()
	began := time.Now()
	r, err := suspects.Find(t.Context(), c.source)
	took := time.Since(began)
	stop()
	if err != nil {
		t.Fatal(err)
	}
	right, all := 0, 0
	index := map[events.CustomerID]int{}
	for i := range size {
		var id events.CustomerID
		binary.BigEndian.PutUint64(id[:], uint64(i)*0x9e3779b97f4a7c15)
		index[id] = i
	}
	for _, p := range r.Pairs {
		if p.Score < suspects.DefaultScore {
			break
		}
		all++
		if a, b := min(index[p.A], index[p.B]), max(index[p.A], index[p.B]); a%20 == 0 && b == a+19 {
			right++
		}
	}
	t.Logf("%d customers in %v, %d pairs compared, at most %d MiB: recall %.4f at precision %.4f (cut: %v)",
		size, took.Round(time.Millisecond), r.Compared, *most>>20, float64(right)/float64(size/20), float64(right)/float64(max(all, 1)), r.Cut)
	t.Logf("crowded: %+v", r.Crowded)
}

// watchMemory keeps the greatest heap seen until stop is called.
func watchMemory() (most *uint64, stop func()) {
	most = new(uint64)
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				*most = max(*most, m.HeapAlloc)
			}
		}
	}()
	return most, func() { close(end); <-ended }
}
