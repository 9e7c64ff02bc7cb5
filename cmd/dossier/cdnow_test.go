package main

import (
	"bufio"
	"fmt"
	"maps"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// purchase is a row of the CDNOW sample: customer, day, dollars. Rows that
// repeat an earlier one are purchases too.
type purchase struct {
	row      int
	customer string
	day      time.Time
	dollars  string
}

func readCDNOW(t testing.TB) []purchase {
	t.Helper()
	f, err := os.Open(fixtures(t, "cdnow_sample/CDNOW_sample.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var rows []purchase
	for lines := bufio.NewScanner(f); lines.Scan(); {
		cells := strings.Fields(lines.Text())
		if len(cells) != 5 {
			continue
		}
		day, err := time.Parse("20060102", cells[2])
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, purchase{len(rows), cells[0], day, cells[4]})
	}
	if len(rows) != 6919 {
		t.Fatalf("read %d purchases, the sample has 6,919", len(rows))
	}
	return rows
}

// segment is the purchase as a tracker would post it.
func (p purchase) segment() map[string]any {
	return map[string]any{
		"type": "track", "event": "Order Completed", "userId": p.customer,
		"messageId": fmt.Sprintf("cdnow-%d", p.row), "timestamp": p.day.Format(time.RFC3339),
		"properties": map[string]any{"order_id": fmt.Sprintf("cdnow-%d", p.row), "revenue": p.dollars, "currency": "USD"},
	}
}

// postAll posts purchases in batches of 100 and returns what was answered.
func postAll(p *engineProcess, rows []purchase) (accepted, duplicates, rejected int) {
	p.t.Helper()
	for batch := range slices.Chunk(rows, 100) {
		var items []any
		for _, row := range batch {
			items = append(items, row.segment())
		}
		a := p.post("/v1/batch", map[string]any{"batch": items}, 200)
		accepted, duplicates, rejected = accepted+a.Accepted, duplicates+a.Duplicates, rejected+len(a.Rejected)
	}
	p.awaitFolded()
	return accepted, duplicates, rejected
}

// bought is what a customer's orders come to.
type bought struct {
	Count       uint32
	First, Last string
	Micros      int64
}

// computeCDNOW is the independent computation.
func computeCDNOW(t testing.TB, rows []purchase) map[string]bought {
	all := map[string]bought{}
	for _, p := range rows {
		b, day := all[p.customer], p.day.Format(time.DateOnly)
		if b.Count++; b.First == "" || day < b.First {
			b.First = day
		}
		b.Last = max(b.Last, day)
		dollars, ok := new(big.Rat).SetString(p.dollars)
		if !ok {
			t.Fatalf("dollars %q", p.dollars)
		}
		micros := new(big.Rat).Mul(dollars, big.NewRat(1_000_000, 1))
		b.Micros += micros.Num().Int64()
		all[p.customer] = b
	}
	return all
}

func (p *engineProcess) profiles(customers map[string]bought) map[string]*queryv1.Profile {
	p.t.Helper()
	all := map[string]*queryv1.Profile{}
	for customer := range customers {
		all[customer] = p.profile("user_id:"+customer, "")
	}
	return all
}

func digestsOf(profiles map[string]*queryv1.Profile) map[string]string {
	all := map[string]string{}
	for customer, p := range profiles {
		all[customer] = p.Digest
	}
	return all
}

// The sample posted over HTTP: what the profiles say is what ten lines say; a
// second post adds nothing; reverse order into an empty directory gives the
// same digest for every customer.
func TestCDNOW(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("posts 6,919 purchases twice")
	}
	rows := readCDNOW(t)
	want := computeCDNOW(t, rows)
	if len(want) != 2357 {
		t.Fatalf("%d customers, the sample has 2,357", len(want))
	}
	p := startProcess(t, t.TempDir())
	if accepted, _, rejected := postAll(p, rows); accepted != len(rows) || rejected != 0 {
		t.Errorf("accepted %d, rejected %d; want %d and 0", accepted, rejected, len(rows))
	}
	first := p.profiles(want)
	got := map[string]bought{}
	for customer, profile := range first {
		o := profile.Orders
		got[customer] = bought{
			o.Count, o.FirstAt.AsTime().Format(time.DateOnly), o.LastAt.AsTime().Format(time.DateOnly), o.NetRevenue.GetMicros(),
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("orders (-computed +profile):\n%s", diff)
	}
	again, known, _ := postAll(p, rows)
	if again+known != len(rows) {
		t.Errorf("posted again: %d accepted and %d duplicates of %d", again, known, len(rows))
	}
	if diff := cmp.Diff(digestsOf(first), digestsOf(p.profiles(want))); diff != "" {
		t.Errorf("a second post changed digests:\n%s", diff)
	}
	p.stop()

	reversed := slices.Clone(rows)
	slices.Reverse(reversed)
	other := startProcess(t, t.TempDir())
	postAll(other, reversed)
	if diff := cmp.Diff(digestsOf(first), digestsOf(other.profiles(want))); diff != "" {
		t.Errorf("reverse order changed digests:\n%s", diff)
	}
}

// On clock "events" the stages at two instants are those of the stage table.
func TestCDNOWStages(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("posts 6,919 purchases")
	}
	rows := readCDNOW(t)
	customers := computeCDNOW(t, rows)
	p := startProcess(t, t.TempDir(), "--clock", "events", "--clock-end", "1998-12-31T00:00:00Z")
	cut := time.Date(1997, 9, 30, 23, 59, 59, 0, time.UTC)
	after := func(r purchase) bool { return r.day.After(cut) }
	before := func(r purchase) bool { return !after(r) }

	postAll(p, slices.DeleteFunc(slices.Clone(rows), after))
	p.tick(cut)
	checkStages(t, p, customers, map[string]int{"lost": 1643, "repeat": 483, "dormant": 139, "won_back": 92})

	postAll(p, slices.DeleteFunc(slices.Clone(rows), before))
	p.tick(time.Date(1998, 6, 30, 23, 59, 59, 0, time.UTC))
	checkStages(t, p, customers, map[string]int{"lost": 1578, "repeat": 433, "won_back": 195, "dormant": 151})

	stray := purchase{99999, "00004", time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), "1"}
	a := p.post("/v1/track", stray.segment(), 400)
	if len(a.Rejected) != 1 || a.Rejected[0].Code != "bad_time" {
		t.Errorf("an event beyond the clock's end: %+v, want bad_time", a)
	}
}

func checkStages(t *testing.T, p *engineProcess, customers map[string]bought, want map[string]int) {
	t.Helper()
	got := map[string]int{}
	for customer, profile := range p.profiles(customers) {
		got[profile.Lifecycle.Stage]++
		if since := profile.Lifecycle.Since.AsTime(); since.Year() < 1997 || since.Year() > 1998 {
			t.Errorf("customer %s: since %s", customer, since)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("stages: %v, want %v", got, want)
	}
}
