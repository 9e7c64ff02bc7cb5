package mapping_test

import (
	"compress/gzip"
	"encoding/csv"
	"fmt"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/ingest/importer/mapping"
	"github.com/dossier360/dossier/ingest/importer/table"
	"github.com/dossier360/dossier/ingest/native"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

const root = "../../../"

// fixture is the path of real data; the test is skipped where there is none.
func fixture(t testing.TB, name string) string {
	t.Helper()
	path := root + "../shared/fixtures/" + name
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no fixtures here: %v", err)
	}
	return path
}

func example(t testing.TB, name string) *mapping.Mapping {
	t.Helper()
	path := root + "docs/examples/" + name
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m, err := mapping.Parse(path, text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// imported are the events of a file, none of its rows left over.
func imported(t testing.TB, m *mapping.Mapping, path string) []mapping.Made {
	t.Helper()
	var all []mapping.Made
	take := func(made []mapping.Made, rejects []mapping.Reject) {
		all = append(all, made...)
		for _, r := range rejects {
			t.Errorf("rejected: %s", r)
		}
	}
	mapper, err := each(m, path, nil, func(mapper *mapping.Mapper, row table.Row) {
		made, rejects, o := mapper.Add(row)
		if take(made, rejects); o.Skipped+o.Unmatched > 0 {
			t.Errorf("line %d: %+v", row.Line, o)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for made, rejects := range mapper.Close() {
		take(made, rejects)
	}
	if err := mapper.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// decoded checks that the gateway takes every event as it is.
func decoded(t testing.TB, all []mapping.Made) {
	t.Helper()
	for _, m := range all {
		body, err := proto.Marshal(&eventsv1.EventBatch{Events: []*eventsv1.Event{m.Event}})
		if err != nil {
			t.Fatal(err)
		}
		d := native.DecodeProtobuf(body)
		if d.Refused != nil || d.Drafts[0].Refused != nil {
			t.Errorf("event %s of lines %v: refused: %v, %v", m.ID, m.Lines, d.Refused, d.Drafts)
		}
	}
}

// invoice is what one comes to.
type invoice struct {
	Type, Customer, At string
	Lines              int
	Value              string // lines, or the total of a refund
}

// The invoices of Online Retail are those that ten lines of Go make of the file.
func TestOnlineRetail(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("reads 105,335 lines")
	}
	path := fixture(t, "online_retail_slice/online_retail_2010-12_2011-02.csv.gz")
	all := imported(t, example(t, "online-retail.yaml"), path)
	decoded(t, all)
	got := map[string]invoice{}
	for _, m := range all {
		o := m.Event.GetOrder()
		inv := invoice{m.Type, m.Event.Identifiers[0].Type + ":" + m.Event.Identifiers[0].Value, m.Event.Time.AsTime().Format(time.DateTime), len(o.Lines), ""}
		value := new(big.Rat)
		for _, l := range o.Lines {
			value.Add(value, new(big.Rat).Mul(big.NewRat(l.GetPriceMicros(), 1e6), big.NewRat(l.GetQuantityMicros(), 1e6)))
		}
		if inv.Value = value.FloatString(6); m.Type == "order.refunded" {
			if total := big.NewRat(o.GetTotalMicros(), 1e6); total.Cmp(value) != 0 || o.OrderId != "" {
				t.Errorf("refund %s: total %s, lines %s, order %q", m.ID, total.FloatString(6), inv.Value, o.OrderId)
			}
		} else if o.OrderId != m.ID {
			t.Errorf("order %s has the id %s", o.OrderId, m.ID)
		}
		if _, twice := got[m.ID]; twice {
			t.Errorf("invoice %s twice", m.ID)
		}
		got[m.ID] = inv
	}
	if diff := cmp.Diff(invoices(t, path), got); diff != "" {
		t.Errorf("invoices (-computed +mapped):\n%s", diff)
	}
}

// invoices is the independent computation.
func invoices(t *testing.T, path string) map[string]invoice {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(z).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	all, values := map[string]invoice{}, map[string]*big.Rat{}
	for _, row := range rows[1:] {
		id := row[0]
		inv := all[id]
		inv.Type, inv.Customer = "order.placed", "user_id:"+row[6]
		if row[6] == "" {
			inv.Customer = "guest:guest:" + id
		}
		quantity, _ := new(big.Rat).SetString(row[3])
		price, ok := new(big.Rat).SetString(row[5])
		if !ok {
			t.Fatalf("price %q", row[5])
		}
		value := new(big.Rat).Mul(quantity, price)
		if strings.HasPrefix(id, "C") {
			inv.Type = "order.refunded"
			value.Neg(value)
		}
		if inv.At == "" || row[4] < inv.At { // London is on GMT in winter
			inv.At = row[4]
		}
		if values[id] == nil {
			values[id] = new(big.Rat)
		}
		inv.Value = values[id].Add(values[id], value).FloatString(6)
		inv.Lines++
		all[id] = inv
	}
	if len(all) != 4894 {
		t.Fatalf("%d invoices, the slice has 4,894", len(all))
	}
	return all
}

// The purchases of CDNOW by mapping are those that a tracker would post: same
// customer, time and revenue, each of its own.
func TestCDNOW(t *testing.T) {
	t.Parallel()
	path := fixture(t, "cdnow_sample/CDNOW_sample.txt")
	all := imported(t, example(t, "cdnow.yaml"), path)
	decoded(t, all)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	ids := map[string]bool{}
	for _, m := range all {
		ids[m.ID] = true
		got = append(got, fmt.Sprintf("%s %s %d %s %q", m.Event.Identifiers, m.Event.Time.AsTime().Format("20060102T150405"),
			m.Event.GetOrder().GetRevenueMicros(), m.Event.GetOrder().GetCurrency(), m.Event.GetOrder().GetOrderId()))
	}
	for line := range strings.Lines(string(text)) {
		cells := strings.Fields(line)
		dollars, _ := new(big.Rat).SetString(cells[4])
		want = append(want, fmt.Sprintf("%s %sT000000 %s %s %q", []*eventsv1.Identifier{{Type: "user_id", Value: cells[0]}}, cells[2],
			dollars.Mul(dollars, big.NewRat(1e6, 1)).Num(), "USD", ""))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("purchases (-file +mapped):\n%s", diff)
	}
	if len(ids) != 6919 {
		t.Errorf("%d ids of 6,919 purchases", len(ids))
	}
}

// BenchmarkOnlineRetail tells what a row costs from file to event.
func BenchmarkOnlineRetail(b *testing.B) {
	path := fixture(b, "online_retail_slice/online_retail_2010-12_2011-02.csv.gz")
	m := example(b, "online-retail.yaml")
	b.ReportAllocs()
	for b.Loop() {
		imported(b, m, path)
	}
	b.ReportMetric(float64(b.N)*105335/b.Elapsed().Seconds(), "rows/s")
}
