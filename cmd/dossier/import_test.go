package main

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// importOf is `dossier import` of a file as a process of its own.
func importOf(t testing.TB, url, file, mapping string, flags ...string) *exec.Cmd {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return exec.Command(path, append([]string{"import", file, "--map", mapping, "--server", url, "--json"}, flags...)...)
}

// importAll runs an import to its end and returns what it came to.
func importAll(t testing.TB, url, file, mapping string, flags ...string) importSummary {
	t.Helper()
	cmd := importOf(t, url, file, mapping, flags...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("import %s: %v\n%s", file, err, said.String())
	}
	return lastSummary(t, out)
}

func lastSummary(t testing.TB, out []byte) importSummary {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var s importSummary
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &s); err != nil {
		t.Fatalf("the last line of --json is %q: %v", lines[len(lines)-1], err)
	}
	return s
}

// killedMapping makes two events of a row.
const killedMapping = `
format: csv
header: true
source: erp
id: [Order]
rows:
  - event: traits.set
    also: true
    at: col.Day
    customer: {user_id: col.Customer}
    fields: {city: col.City}
  - event: order.placed
    at: col.Day
    customer: {user_id: col.Customer}
    fields: {order_id: col.Order, total: num(col.Total), currency: '"EUR"'}
`

// twoExports are two exports of one system: in the second a tenth of the orders
// changed, and there are new ones. changed says how many of the first did.
func twoExports(rng *rand.Rand, users, orders int) (first, second string, changed int) {
	var a, b strings.Builder
	const header = "Order,Customer,Day,City,Total\n"
	a.WriteString(header)
	b.WriteString(header)
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range orders {
		row := func(total int) string {
			day := start.Add(time.Duration(i) * time.Minute).Format(time.DateTime)
			return fmt.Sprintf("A-%d,u%d,%s,City %d,%d\n", i, i%users, day, i%7, total)
		}
		total := rng.IntN(1000)
		old := i < orders/4
		if old {
			a.WriteString(row(total))
		}
		if old && rng.IntN(10) == 0 {
			total++
			changed++
		}
		b.WriteString(row(total))
	}
	return a.String(), b.String(), changed
}

func writeFile(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// kill -9 of the importer, of the server and of both, at random moments, and the
// same command again: the digests are those of an undisturbed import, and in the
// end nothing is left to send.
func TestImportKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds; make test runs it")
	}
	t.Parallel()
	const users, orders, kills = 40, 8000, 9
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	before, after, changed := twoExports(rng, users, orders)
	dir := t.TempDir()
	first, second := writeFile(t, dir, "first.csv", before), writeFile(t, dir, "second.csv", after)
	rules := writeFile(t, dir, "orders.yaml", killedMapping)

	calm := startProcess(t, t.TempDir())
	importAll(t, calm.url, first, rules)
	s := importAll(t, calm.url, second, rules)
	if s.Changed != int64(changed) || s.New != int64(2*(orders-orders/4)) || s.Duplicate != int64(2*(orders/4)-changed) || s.Rejected+s.Conflicting != 0 {
		t.Errorf("undisturbed: %+v, want %d changed", s, changed)
	}
	want := calm.usersState(users)
	calm.stop()

	p := startProcess(t, t.TempDir(), "--http", quietAddress(t))
	importAll(t, p.url, first, rules)
	for kill := range kills {
		cmd := importOf(t, p.url, second, rules, "--wait", "2m")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Duration(rng.IntN(400)) * time.Millisecond)
		if kill%3 != 0 { // the server, alone or too
			p.kill()
		}
		if kill%3 != 1 {
			cmd.Process.Kill()
		}
		if kill%3 != 0 {
			p.start()
		}
		// A server alone that was killed is waited for, to the end.
		if err := cmd.Wait(); err != nil && kill%3 == 1 {
			// It had not reached the server yet, and nobody was there.
			t.Logf("kill %d: the import ended: %v", kill, err)
		}
	}
	importAll(t, p.url, second, rules)
	if again := importAll(t, p.url, second, rules); again.New+again.Changed != 0 {
		t.Errorf("seed %d: imported again: %+v, want nothing new or changed", seed, again)
	}
	if diff := cmp.Diff(want, p.usersState(users)); diff != "" {
		t.Errorf("seed %d: after %d kills (-undisturbed +killed):\n%s", seed, kills, diff)
	}
}

// An export of orders has one date and says what became of each. An order that is
// cancelled when it is first told, or later, is cancelled, though both happened
// at the one instant that is known.
func TestImportStatus(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rules := writeFile(t, dir, "orders.yaml", `
format: csv
header: true
source: shop
id: [No]
rows:
  - event: order.placed
    also: true
    at: col.Day
    customer: {user_id: col.Customer}
    fields: {order_id: col.No, total: num(col.Total), currency: '"EUR"'}
  - when: col.Status == "cancelled"
    event: Order Cancelled
    at: col.Day
    customer: {user_id: col.Customer}
    fields: {order_id: col.No}
`)
	p := startProcess(t, t.TempDir())
	defer p.stop()
	const file = "No,Customer,Day,Total,Status\n1,u1,2026-01-01,10,paid\n2,u1,2026-01-01,20,%s\n3,u1,2026-01-02,40,cancelled\n"
	for _, tt := range []struct {
		status  string
		revenue int64
	}{{"paid", 30_000_000}, {"cancelled", 10_000_000}} {
		importAll(t, p.url, writeFile(t, dir, "orders.csv", fmt.Sprintf(file, tt.status)), rules)
		p.awaitFolded()
		if got := p.profile("user_id:u1", "").GetOrders().GetNetRevenue().GetMicros(); got != tt.revenue {
			t.Errorf("order 2 %s: net revenue %d, want %d", tt.status, got, tt.revenue)
		}
	}
}

// example is a mapping of docs/examples.
func example(name string) string { return filepath.Join(repository, "docs", "examples", name) }

// The CDNOW sample by its mapping gives the digests that posting it gave.
func TestImportCDNOW(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("6,919 purchases, twice")
	}
	file := fixtures(t, "cdnow_sample/CDNOW_sample.txt")
	rows := readCDNOW(t)
	customers := computeCDNOW(t, rows)
	posted := startProcess(t, t.TempDir())
	postAll(posted, rows)
	want := digestsOf(posted.profiles(customers))
	posted.stop()

	p := startProcess(t, t.TempDir())
	s := importAll(t, p.url, file, example("cdnow.yaml"))
	if s.New != int64(len(rows)) || s.New != s.Rows || s.Events != s.Rows {
		t.Errorf("%+v, want %d new", s, len(rows))
	}
	p.awaitFolded()
	if diff := cmp.Diff(want, digestsOf(p.profiles(customers))); diff != "" {
		t.Errorf("digests (-posted +imported):\n%s", diff)
	}
	if s = importAll(t, p.url, file, example("cdnow.yaml")); s.Duplicate != int64(len(rows)) {
		t.Errorf("imported again: %+v, want %d known already", s, len(rows))
	}
}

// invoiced is what the invoices of a customer come to.
type invoiced struct {
	Orders, Refunds uint32
	Micros          int64
	Units           string
	First, Last     string // instants of orders
}

// computeRetail reads the invoice lines straight from the file. Customers are
// named as one asks for them.
func computeRetail(t testing.TB, path string) (customers map[string]*invoiced, lines, invoices int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	records, err := csv.NewReader(z).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	type invoice struct {
		customer, at string
		micros       *big.Rat
		units        int64
	}
	all := map[string]*invoice{}
	for _, r := range records[1:] {
		i := all[r[0]]
		if i == nil {
			i = &invoice{customer: "user_id:" + r[6], at: r[4], micros: new(big.Rat)}
			if r[6] == "" {
				i.customer = "guest:guest:" + r[0]
			}
			all[r[0]] = i
		}
		i.at = min(i.at, r[4])
		var quantity int64
		if _, err := fmt.Sscan(r[3], &quantity); err != nil {
			t.Fatal(err)
		}
		price, ok := new(big.Rat).SetString(r[5])
		if !ok {
			t.Fatalf("price %q", r[5])
		}
		i.units += quantity
		i.micros.Add(i.micros, price.Mul(price, big.NewRat(quantity*1_000_000, 1)))
	}
	customers = map[string]*invoiced{}
	units := map[string]int64{}
	for number, i := range all {
		c := customers[i.customer]
		if c == nil {
			c = &invoiced{}
			customers[i.customer] = c
		}
		c.Micros += i.micros.Num().Int64()
		units[i.customer] += i.units
		c.Units = fmt.Sprint(units[i.customer])
		if strings.HasPrefix(number, "C") {
			c.Refunds++
			continue
		}
		c.Orders++
		if c.Last = max(c.Last, i.at); c.First == "" || i.at < c.First {
			c.First = i.at
		}
	}
	return customers, len(records) - 1, len(all)
}

// The Online Retail slice by the mapping of the examples: orders, customers,
// revenue and units of every customer are those computed from the file.
func TestImportOnlineRetail(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("105,335 rows")
	}
	file := fixtures(t, "online_retail_slice/online_retail_2010-12_2011-02.csv.gz")
	want, lines, invoices := computeRetail(t, file)
	p := startProcess(t, t.TempDir())
	s := importAll(t, p.url, file, example("online-retail.yaml"))
	t.Logf("%.0f rows/s", s.RowsPerSecond)
	if s.Rows != int64(lines) || s.New != int64(invoices) || s.Events != s.New || s.Rejected+s.Unmatched != 0 {
		t.Errorf("%+v, want %d rows and %d new", s, lines, invoices)
	}
	p.awaitFolded()
	got := map[string]*invoiced{}
	for customer := range want {
		o := p.profile(customer, "").Orders
		i := &invoiced{Orders: o.Count, Refunds: o.Refunds, Micros: o.NetRevenue.GetMicros(), Units: o.Units}
		if i.Units == "" {
			i.Units = "0"
		}
		if o.Count > 0 {
			i.First, i.Last = o.FirstAt.AsTime().Format(time.DateTime), o.LastAt.AsTime().Format(time.DateTime)
		}
		got[customer] = i
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("customers (-computed +profile):\n%s", diff)
	}
	if s = importAll(t, p.url, file, example("online-retail.yaml")); s.Duplicate != int64(invoices) || s.New+s.Changed != 0 {
		t.Errorf("imported again: %+v, want %d known already", s, invoices)
	}
}
