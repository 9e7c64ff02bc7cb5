package mapping_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/dossier360/dossier/ingest/importer/mapping"
	"github.com/dossier360/dossier/ingest/importer/table"
)

func TestNumbers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, point, comma string }{ // "" is none
		{"2.55", "2.55", ""},
		{"2,55", "", "2.55"},
		{"1,234.50", "1234.50", ""},
		{"1.234,50", "", "1234.50"},
		{"1,234", "1234", "1.234"},
		{"1 234 567", "1234567", "1234567"},
		{"1'234", "1234", "1234"},
		{"1,23,456", "", ""},
		{",123", "", "0.123"},
		{"¥1234", "1234", "1234"},
		{"￥１２", "12", "12"},
		{"CN¥ 12", "12", "12"},
		{"12 EUR", "12", "12"},
		{"12元", "12", "12"},
		{"1.25万", "1.25e4", ""},
		{"1,25万元", "", "1.25e4"},
		{"¥ 3 亿", "3e8", "3e8"},
		{"(1,200.5萬)", "-1200.5e4", ""},
		{"0万-", "0e4", "0e4"},
		{"1e3万", "", ""},
		{"万", "", ""},
		{"1万2", "", ""},
		{"-$5", "-5", "-5"},
		{"$-5", "-5", "-5"},
		{"(12)", "-12", "-12"},
		{"12-", "-12", "-12"},
		{"−7", "-7", "-7"},
		{"-(7)", "", ""},
		{"--7", "", ""},
		{"007", "7", "7"},
		{"-0", "0", "0"},
		{"1e3", "1e3", "1e3"},
		{"1e", "", ""},
		{"12%", "", ""},
		{"", "", ""},
		{"-", "", ""},
		{"EUR", "", ""},
		{"0x10", "", ""},
		{"1_000", "", ""},
		{"NaN", "", ""},
	} {
		point, _ := mapping.ReadNumber(tt.text, '.')
		comma, _ := mapping.ReadNumber(tt.text, ',')
		if point != tt.point || comma != tt.comma {
			t.Errorf("number %q: with a point %q, with a comma %q; want %q and %q", tt.text, point, comma, tt.point, tt.comma)
		}
	}
}

// Prices times quantities are the decimals that people compute.
func TestComputedAmounts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		cents, quantity := rapid.Int64Range(-9_999_999, 9_999_999).Draw(t, "cents"), rapid.Int64Range(-9999, 9999).Draw(t, "quantity")
		price, err := strconv.ParseFloat(fmt.Sprintf("%d.%02d", cents/100, max(cents%100, -cents%100)), 64)
		if err != nil {
			t.Fatal(err)
		}
		if cents < 0 && price > 0 {
			price = -price
		}
		total := cents * quantity
		sign := ""
		if total < 0 {
			sign, total = "-", -total
		}
		want := sign + strconv.FormatInt(total/100, 10)
		if rest := total % 100; rest != 0 {
			want += strings.TrimRight(fmt.Sprintf(".%02d", rest), "0")
		}
		if got := mapping.DecimalText(price * float64(quantity)); got != want {
			t.Errorf("%v × %d = %s, want %s", price, quantity, got, want)
		}
	})
}

func TestTimes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text, zone, layouts, want string
	}{
		{"2011-01-04 10:00", "UTC", "", "2011-01-04T10:00:00Z"},
		{"2011/1/4", "Asia/Shanghai", "", "2011-01-03T16:00:00Z"},
		{"2011年1月4日", "UTC", "", "2011-01-04T00:00:00Z"},
		{"2011-01-04T10:00:00.250+08:00", "Europe/London", "", "2011-01-04T02:00:00.25Z"},
		{"2011-01-04T10:00:00Z", "Europe/Berlin", "", "2011-01-04T10:00:00Z"},
		{"2011-07-04 10:00:00 +0000", "Europe/Berlin", "", "2011-07-04T10:00:00Z"},
		{"04/01/2011", "UTC", "02/01/2006", "2011-01-04T00:00:00Z"},
		{"04/01/2011", "UTC", "", ""},
		{"31/02/2011", "UTC", "02/01/2006", ""},
		{"1293840000", "Europe/Berlin", "unix", "2011-01-01T00:00:00Z"},
		{"1293840000500", "UTC", "unixmilli", "2011-01-01T00:00:00.5Z"},
		{"40544.5", "Europe/Berlin", "excel", "2011-01-01T11:00:00Z"},
		{"1", "UTC", "unixmicro", "1970-01-01T00:00:00.000001Z"},
		{"2021-03-28 02:30", "Europe/Berlin", "", "2021-03-28T01:30:00Z"}, // skipped: 03:30
		{"2021-10-31 02:30", "Europe/Berlin", "", "2021-10-31T00:30:00Z"}, // twice: the first
		{"2018-11-04", "America/Sao_Paulo", "", "2018-11-04T03:00:00Z"},   // begins at 01:00
		{"２０１１-01-04", "UTC", "", "2011-01-04T00:00:00Z"},
		{"2011-07-04 10:00:00+02", "UTC", "", "2011-07-04T08:00:00Z"},
		{"2011-07-04 10:00:00.5 UTC", "Europe/Berlin", "", "2011-07-04T10:00:00.5Z"},
		{"2011/7/4 10:00 GMT", "Europe/Berlin", "", "2011-07-04T10:00:00Z"},
		{"2011-07-04 UTC", "Europe/Berlin", "", ""},
		{"Jul 4, 2011 10:00 PDT", "America/Los_Angeles", "Jan 2, 2006 15:04 MST", "2011-07-04T17:00:00Z"},
		{"Nov 6, 2011 01:30 PST", "America/Los_Angeles", "Jan 2, 2006 15:04 MST", "2011-11-06T09:30:00Z"},
		{"Jul 4, 2011 10:00 UTC", "America/Los_Angeles", "Jan 2, 2006 15:04 MST", "2011-07-04T10:00:00Z"},
		{"Jul 4, 2011 10:00 GMT", "America/Los_Angeles", "Jan 2, 2006 15:04 MST", "2011-07-04T10:00:00Z"},
		{"Jul 4, 2011 10:00 PDT", "Europe/Berlin", "Jan 2, 2006 15:04 MST", ""}, // whose PDT?
		{"tomorrow", "UTC", "", ""},
	} {
		var layouts []string
		if tt.layouts != "" {
			layouts = []string{tt.layouts}
		}
		got := ""
		if at, ok := mapping.ReadTime(tt.text, tt.zone, layouts...); ok {
			got = at.UTC().Format(time.RFC3339Nano)
		}
		if got != tt.want {
			t.Errorf("%q in %s by %q: %q, want %q", tt.text, tt.zone, tt.layouts, got, tt.want)
		}
	}
}

// A mapper that would hold more than its limit ends, and says what to do.
func TestHeldLimit(t *testing.T) {
	t.Parallel()
	m, err := mapping.Parse("map.yaml", []byte("format: csv\nheader: true\nrows:\n  - event: A\n    group: [id]\n    customer: {user_id: col.id}\n"))
	if err != nil {
		t.Fatal(err)
	}
	mapper, err := m.Bind("a.csv", []string{"id"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	mapper.SetLimit(10_000)
	rows := 0
	for ; mapper.Err() == nil && rows < 1000; rows++ {
		mapper.Add(table.Row{Line: rows + 2, Values: []any{strconv.Itoa(rows)}})
	}
	if mapper.Err() == nil || rows < 10 || !strings.Contains(mapper.Err().Error(), "adjacent: true") {
		t.Errorf("after %d rows: %v", rows, mapper.Err())
	}
	if made, rejects, o := mapper.Add(table.Row{Line: 1, Values: []any{"x"}}); made != nil || rejects != nil || o != (mapping.Outcome{}) {
		t.Errorf("a row beyond the limit: %v, %v, %v", made, rejects, o)
	}
	for range mapper.Close() {
		t.Error("a group of a mapper that gave up")
	}
}

// No mapping and no row makes it panic, and what it makes is the same twice.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"format: csv\nheader: true\nid: a\nrows:\n  - event: order.placed\n    at: col.b\n    customer: {user_id: col.a}\n    fields: {total: num(col.b)}\n",
		"format: csv\nheader: true\nrows:\n  - when: col.a > \"x\"\n    event: A\n    group: a\n    customer: {user_id: rows[0].a}\n    fields: {n: \"sum(rows.map(r, num(r.b)))\", l: 'rows.filter(r, r.b != null)'}\n    lines: {each: 'col.a.split(\"\")', x: item}\n",
		"rows: [{event: {name: col}}]", "a: &a [*a]", "? {a: b}\n: c", "rows:\n  - at: |\n      x(\n",
	} {
		f.Add([]byte(seed), "17", "2021-01-04 10:00")
	}
	f.Fuzz(func(t *testing.T, text []byte, a, b string) {
		if len(text) > 4<<10 {
			return
		}
		m, err := mapping.Parse("map.yaml", text)
		if err != nil {
			if all, ok := err.(mapping.Errors); !ok || len(all) == 0 || all[0].Line < 1 || all[0].Message == "" {
				t.Fatalf("error %#v", err)
			}
			return
		}
		if len(m.Lookups) > 0 {
			return
		}
		first, second := madeOf(t, m, a, b), madeOf(t, m, a, b)
		if first != second {
			t.Errorf("made\n%sthen\n%s", first, second)
		}
	})
}

func madeOf(t *testing.T, m *mapping.Mapping, a, b string) string {
	mapper, err := m.Bind("a.csv", []string{"a", "b"}, nil)
	if err != nil {
		return err.Error()
	}
	var out strings.Builder
	tell := func(made []mapping.Made, rejects []mapping.Reject) {
		for _, one := range made {
			fmt.Fprintln(&out, one.Lines, one.ID, one.Event.GetPropertiesJson(), one.Event.GetIdentifiers())
		}
		for _, r := range rejects {
			fmt.Fprintln(&out, r)
		}
	}
	for i, row := range [][]any{{a, b}, {b, a}, {a, b}, {a, ""}} {
		made, rejects, o := mapper.Add(table.Row{Line: i + 2, Values: row})
		if tell(made, rejects); len(made)+len(rejects)+o.Skipped+o.Unmatched+o.Held == 0 {
			t.Error("a row came to nothing")
		}
	}
	for made, rejects := range mapper.Close() {
		tell(made, rejects)
	}
	return out.String()
}
