package columns_test

import (
	"encoding/json"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/columns"
	"github.com/dossier360/dossier/projections/profile"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

func trait(name, value string, rank uint32) *statev1.TraitFact {
	return &statev1.TraitFact{Name: name, ValueJson: value, Stamp: &statev1.Stamp{Rank: rank}}
}

func traitsOf(list ...*statev1.TraitFact) *columns.Traits {
	return &columns.Of(events.CustomerID{}, &statev1.Head{Facts: &statev1.Facts{Traits: list}}, profile.Env{}).Traits
}

func TestTraits(t *testing.T) {
	t.Parallel()
	text := func(n int) string { return strings.Repeat("x", n) }
	all := traitsOf(
		trait("age", "41", 0), trait("balance", "-0.5", 0), trait("both", `"import"`, 0), trait("both", `"hand"`, 1), trait("empty", `""`, 0),
		trait("escaped", `"a\"\u000a\\"`, 0), trait("gone", "", 0), trait("great", "562949953421312", 0), trait("hand", "true", 1), trait("less", "562949953421311", 0),
		trait("list", "[1]", 1), trait("long", `"`+text(columns.MaxTraitText+1)+`"`, 0), trait("map", "{}", 0), trait("no", "false", 0), trait("null", "null", 0),
		trait("released", `"import"`, 0), &statev1.TraitFact{Name: "released", Released: true, Stamp: &statev1.Stamp{Rank: 1}}, trait("short", `"`+text(columns.MaxTraitText)+`"`, 0), trait("tiny", "1e-9", 0),
	)
	for name, want := range map[string]columns.Trait{
		"age":      {Kind: columns.TraitNumber, Number: 41},
		"balance":  {Kind: columns.TraitNumber, Number: -0.5},
		"both":     {Kind: columns.TraitText, Text: "hand", Manual: true},
		"empty":    {Kind: columns.TraitText},
		"escaped":  {Kind: columns.TraitText, Text: "a\"\n\\"},
		"gone":     {},
		"great":    {Kind: columns.TraitNumber, Number: 1 << 49},
		"hand":     {Kind: columns.TraitTrue, Manual: true},
		"less":     {Kind: columns.TraitNumber, Number: 1<<49 - 1},
		"list":     {Kind: columns.TraitElsewhere, Manual: true},
		"long":     {Kind: columns.TraitElsewhere},
		"map":      {Kind: columns.TraitElsewhere},
		"no":       {Kind: columns.TraitFalse},
		"null":     {Kind: columns.TraitNull},
		"released": {Kind: columns.TraitText, Text: "import"},
		"short":    {Kind: columns.TraitText, Text: text(columns.MaxTraitText)},
		"tiny":     {Kind: columns.TraitNumber, Number: 1e-9},
		"ag":       {}, "": {}, "zzz": {},
	} {
		if got := all.Find(name); got != want {
			t.Errorf("%q: got %+v, want %+v", name, got, want)
		}
	}
	if got := traitsOf().Find("age"); got != (columns.Trait{}) {
		t.Errorf("of a customer without traits: %+v", got)
	}
}

// At its bounds a row holds all; beyond one of them it says what it cannot tell.
func TestTraitsAtTheirBounds(t *testing.T) {
	t.Parallel()
	named := func(n int, value string) (list []*statev1.TraitFact) {
		for i := range n {
			list = append(list, trait(fmt.Sprintf("t%03d", i), value, 0))
		}
		return list
	}
	if got := traitsOf(named(columns.MaxTraits, "1")...).Find("other"); got.Kind != columns.TraitAbsent {
		t.Errorf("of %d traits, another: %+v, want it absent", columns.MaxTraits, got)
	}
	many := traitsOf(named(columns.MaxTraits+1, "1")...)
	for name, want := range map[string]columns.TraitKind{
		"t000": columns.TraitNumber, fmt.Sprintf("t%03d", columns.MaxTraits-1): columns.TraitNumber,
		fmt.Sprintf("t%03d", columns.MaxTraits): columns.TraitUnknown, "other": columns.TraitUnknown,
	} {
		if got := many.Find(name); got.Kind != want {
			t.Errorf("of %d traits, %s: %+v, want kind %d", columns.MaxTraits+1, name, got, want)
		}
	}
	name := strings.Repeat("n", columns.MaxTraitName)
	if got := traitsOf(trait(name, "1", 0)).Find(name); got.Kind != columns.TraitNumber {
		t.Errorf("a name of %d bytes: %+v", len(name), got)
	}
	if got := traitsOf(trait(name+"n", "1", 0)).Find(name + "n"); got.Kind != columns.TraitUnknown {
		t.Errorf("a name of %d bytes: %+v, want it unknown", len(name)+1, got)
	}
	// Too much together: those by name that fit, and of the others that they are there.
	long, err := json.Marshal(strings.Repeat("x", columns.MaxTraitText))
	if err != nil {
		t.Fatal(err)
	}
	wide := traitsOf(named(columns.MaxTraits, string(long))...)
	fit := 0
	for i := range columns.MaxTraits {
		switch got := wide.Find(fmt.Sprintf("t%03d", i)); got.Kind {
		case columns.TraitText:
			fit++
		case columns.TraitElsewhere:
		default:
			t.Errorf("t%03d of a wide row: %+v", i, got)
		}
	}
	if most := (columns.MaxTraitBytes - columns.MaxTraits) / (columns.MaxTraitText + 2); math.Abs(float64(fit-most)) > 1 {
		t.Errorf("%d long texts fit, want about %d", fit, most)
	}
	if got := wide.Find("other"); got.Kind != columns.TraitAbsent {
		t.Errorf("another of a wide row: %+v, want it absent", got)
	}
}

// BenchmarkRow makes rows of buyers with the traits that a customer file has,
// and tells what one keeps in memory.
func BenchmarkRow(b *testing.B) {
	industries, regions, owners, levels := []string{"教育", "医疗", "零售", "制造"}, []string{"华东", "华南", "华北", "西南"}, []string{"王芳", "李雷", "陈静"}, []string{"A", "B", "C"}
	traits := func(i int) []*statev1.TraitFact {
		list := []*statev1.TraitFact{
			trait("age", fmt.Sprint(18+i%60), 0), trait("city", fmt.Sprintf("%q", []string{"上海", "杭州", "北京", "深圳"}[i%4]), 0), trait("country", `"CN"`, 0),
			trait("firstName", fmt.Sprintf(`"客户%d"`, i), 0), trait("industry", fmt.Sprintf("%q", industries[i%4]), 0), trait("level", fmt.Sprintf("%q", levels[i%3]), 1),
			trait("owner", fmt.Sprintf("%q", owners[i%3]), 1), trait("plan", `"专业版"`, 0), trait("region", fmt.Sprintf("%q", regions[i%4]), 0),
			trait("tags", `["a","b"]`, 0), trait("vip", fmt.Sprint(i%5 == 0), 0), trait("wechat", fmt.Sprintf(`"wx_%08d"`, i), 0),
		}
		if i%3 == 0 { // not everybody has everything
			list = append(list[:7:7], list[8:]...)
		}
		return list
	}
	for _, bench := range []struct {
		name   string
		traits func(int) []*statev1.TraitFact
	}{{"without", func(int) []*statev1.TraitFact { return nil }}, {"traits", traits}} {
		b.Run(bench.name, func(b *testing.B) {
			heads := make([]*statev1.Head, 20_000)
			for i := range heads {
				heads[i] = &statev1.Head{Facts: &statev1.Facts{
					Identifiers: []*statev1.IdentifierFact{{Type: "user_id", Value: fmt.Sprintf("u-%06d", i)}}, Traits: bench.traits(i),
					Orders: &statev1.OrdersFacts{Count: 1},
				}}
			}
			rows := make([]*columns.Row, len(heads))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				rows[i%len(heads)] = columns.Of(events.CustomerID{}, heads[i%len(heads)], profile.Env{})
				i++
			}
			b.StopTimer()
			clear(rows)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.GC() // what was interned goes with the second
			runtime.ReadMemStats(&before)
			for i, head := range heads {
				rows[i] = columns.Of(events.CustomerID{}, head, profile.Env{})
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(rows)), "B/customer")
			runtime.KeepAlive(rows)
			runtime.KeepAlive(heads)
		})
	}
}
