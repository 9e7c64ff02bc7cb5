package main

import (
	"bytes"
	"encoding/json"
	"fmt"
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

// exported are two exports of one system: in the second a tenth of the orders
// changed, and there are new ones. changed says how many of the first did.
func exported(rng *rand.Rand, users, orders int) (first, second string, changed int) {
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
	t.Parallel()
	const users = 40
	orders, kills := 8000, 9
	if testing.Short() {
		orders, kills = 1200, 3
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	before, after, changed := exported(rng, users, orders)
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
			// Killed before it ever answered, it is not known to be one.
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
