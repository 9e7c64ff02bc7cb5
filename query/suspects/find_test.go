package suspects_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/query/suspects"
)

func customerID(n int) (id events.CustomerID) {
	binary.BigEndian.PutUint64(id[8:], uint64(n+1))
	return id
}

// list is a source of facts.
type list []*suspects.Facts

func (l list) source(_ context.Context, wanted func(events.CustomerID) bool) iter.Seq2[*suspects.Facts, error] {
	return func(yield func(*suspects.Facts, error) bool) {
		for _, f := range l {
			if (wanted == nil || wanted(f.ID)) && !yield(f, nil) {
				return
			}
		}
	}
}

// person adds a person told by traits: name, value, name, value, …
func (l *list) add(t testing.TB, company bool, traits ...string) {
	f := &suspects.Facts{ID: customerID(len(*l)), Company: company}
	names := builtin(t)
	for i := 0; i < len(traits); i += 2 {
		f.Add(names, traits[i], traits[i+1])
	}
	*l = append(*l, f)
}

func (l list) find(t testing.TB) *suspects.Ranking {
	t.Helper()
	r, err := suspects.Find(t.Context(), l.source)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestProposed: of each pair, alone among nobody, whether it is proposed.
func TestProposed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		company bool
		a, b    []string
		want    bool
	}{
		{"a name and birth date", false, []string{"name", "Ann Lee", "birthday", "1980-05-17"}, []string{"firstName", "Ann", "lastName", "Lee", "dob", "17.5.1980"}, true},
		{"names changed places", false, []string{"first_name", "Anthony", "last_name", "Beazley", "dob", "1980-05-17"}, []string{"first_name", "Beazley", "last_name", "Anthony", "dob", "1980-05-17"}, true},
		{"day and month changed places", false, []string{"name", "Zebediah Zylstra", "dob", "1980-05-07", "city", "Ghent"}, []string{"name", "Zebediah Zylstra", "dob", "1980-07-05", "city", "Ghent"}, true},
		{"traditional and simplified names", false, []string{"姓名", "張偉明", "身份证", "110101198001011234"}, []string{"姓名", "张伟明", "身份证", "110101198001011234"}, true},
		{"a slip in a declared number", false, []string{"name", "Ann Lee", "passport", "C01X00T478"}, []string{"name", "Ann Lee", "passport", "C01X00T487"}, true},
		{"only a declared number, all else other", false, []string{"name", "Ann Lee", "dob", "1980-05-17", "ssn", "6988048"}, []string{"name", "Bob Roy", "dob", "1951-12-31", "ssn", "6988048"}, false},
		{"an equal phone and family name", false, []string{"name", "Ann Lee", "phone", "+49 30 1234567"}, []string{"name", "Anne Lee", "phone", "030 1234567"}, true},
		{"a slip in an e-mail address", false, []string{"name", "Ann Lee", "email", "ann.leee@firm.test"}, []string{"name", "Ann Lee", "email", "ann.lee@firm.test"}, true},
		{"dots in Gmail", false, []string{"name", "Ann Lee", "email", "ann.lee@gmail.com"}, []string{"name", "A Lee", "email", "annlee@googlemail.com"}, true},
		{"a given name", false, []string{"name", "Ann"}, []string{"name", "Ann"}, false},
		{"one city", false, []string{"name", "Ann Lee", "city", "Ghent"}, []string{"name", "Bob Roy", "city", "Ghent"}, false},
		{"father and son", false,
			[]string{"name", "Ann Lee", "dob", "1980-05-17", "street", "12 Main Street", "suburb", "Bittern", "postcode", "4011"},
			[]string{"name", "Bob Lee", "dob", "1951-12-31", "street", "12 Main Street", "suburb", "Bittern", "postcode", "4011"}, false},
		{"nothing", false, nil, nil, false},
		{"numbers of different kinds", false, []string{"passport", "12345678"}, []string{"tax_id", "12345678"}, false},

		{"forms of a company's name", true, []string{"name", "上海華為科技有限公司", "city", "上海"}, []string{"name", "上海华为科技股份有限公司", "city", "上海"}, true},
		{"full width", true, []string{"name", "Ａｃｍｅ Ｔｏｏｌｓ Ｌｔｄ", "website", "https://acme-tools.test"}, []string{"name", "Acme Tools Inc.", "email", "info@acme-tools.test"}, true},
		{"a town before the name", true, []string{"name", "北京字节跳动科技有限公司", "phone", "010 5834 1234"}, []string{"name", "字节跳动科技", "phone", "01058341234"}, true},
		{"the legal form alone", true, []string{"name", "Acme GmbH"}, []string{"name", "Zylo GmbH"}, false},
		{"one mailbox provider", true, []string{"name", "Acme", "email", "acme@gmail.com"}, []string{"name", "Zylo", "email", "zylo@gmail.com"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var l list
			l.add(t, test.company, test.a...)
			l.add(t, test.company, test.b...)
			r := l.find(t)
			got := len(r.Pairs) == 1 && r.Pairs[0].Score >= suspects.DefaultScore
			if got != test.want {
				t.Errorf("proposed: %v, want %v", got, test.want)
				for _, p := range r.Pairs {
					t.Logf("%.4f %+v", p.Score, r.Reasons(p))
				}
			}
		})
	}
}

// TestSeveralFiles: who is there more than twice is proposed with each of his
// files.
func TestSeveralFiles(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		company bool
		files   [][]string
	}{
		{"a company's name", true, [][]string{
			{"name", "北京云帆科技有限公司"}, {"name", "北京雲帆科技股份有限公司"}, {"name", "北京云帆科技"}, {"name", "北京雲帆科技公司"}, {"name", "北京云帆科技集团"},
		}},
		{"a company's name in letters", true, [][]string{{"name", "Acme Trading Co., Ltd."}, {"name", "ＡＣＭＥ Ｔｒａｄｉｎｇ"}, {"name", "ACME TRADING LIMITED"}}},
		{"a person", false, [][]string{
			{"name", "Ann Lee", "phone", "+49 30 1234567"}, {"name", "Lee, Ann", "phone", "030 1234567"}, {"name", "ANN LEE", "tel", "(030) 1234567"}, {"name", "Anne Lee", "phone", "030/123 4567"},
		}},
	} {
		for _, strangers := range []int{0, 300} {
			t.Run(fmt.Sprintf("%s, %d strangers", test.name, strangers), func(t *testing.T) {
				t.Parallel()
				var l list
				for _, traits := range test.files {
					l.add(t, test.company, traits...)
				}
				for i := range strangers {
					l.add(t, test.company, "name", fmt.Sprintf("Zoltan%d Zylstra%d", i, i))
				}
				want, got := len(test.files)*(len(test.files)-1)/2, 0
				for _, p := range l.find(t).Pairs {
					if p.Score >= suspects.DefaultScore && p.B.Compare(customerID(len(test.files))) < 0 {
						got++
					}
				}
				if got != want {
					t.Errorf("%d pairs of %d files proposed, want %d", got, len(test.files), want)
				}
			})
		}
	}
}

// TestKinds: a person and a company of one name and number are no pair.
func TestKinds(t *testing.T) {
	t.Parallel()
	var l list
	l.add(t, false, "name", "Zebediah Zylstra", "tax_id", "12345678", "phone", "+49301234567")
	l.add(t, true, "name", "Zebediah Zylstra", "tax_id", "12345678", "phone", "+49301234567")
	if r := l.find(t); len(r.Pairs) != 0 {
		t.Errorf("pairs: %+v", r.Pairs)
	}
}

// TestRareNamesSayMore: what many are called says less than what two are.
func TestRareNamesSayMore(t *testing.T) {
	t.Parallel()
	var l list
	for i := range 3_000 {
		l.add(t, false, "first_name", fmt.Sprintf("given%d", i%200), "last_name", map[bool]string{true: "smith", false: fmt.Sprintf("family%d", i)}[i%10 == 0])
	}
	twice := []string{"smith", "zylstra"}
	for _, family := range twice {
		for range 2 {
			l.add(t, false, "first_name", "given7", "last_name", family, "postcode", "4011")
		}
	}
	r := l.find(t)
	weight := map[string]float64{}
	for _, p := range r.Pairs {
		for _, reason := range r.Reasons(p) {
			if reason.Field == "family_name" && slices.Contains(twice, reason.A) && reason.A == reason.B {
				weight[reason.A] = reason.Weight
			}
		}
	}
	if weight["zylstra"] < weight["smith"]+4 {
		t.Errorf("zylstra weighs %.1f bits, smith %.1f; want it to weigh 4 more at least", weight["zylstra"], weight["smith"])
	}
}

// TestReasonsAddUp: a score is what its reasons and the population come to, and
// they tell values as they were told.
func TestReasonsAddUp(t *testing.T) {
	t.Parallel()
	var l list
	l.add(t, false, "first_name", "Änn", "last_name", "Beazley", "dob", "17.5.1980", "ssn", "698-8048")
	l.add(t, false, "first_name", "Beazley", "last_name", "ann", "dob", "1980-05-18", "ssn", "6988048")
	r := l.find(t)
	if len(r.Pairs) != 1 {
		t.Fatalf("pairs: %+v", r.Pairs)
	}
	type said struct{ Field, A, B, How string }
	var got []said
	sum := 0.
	reasons := r.Reasons(r.Pairs[0])
	for _, reason := range reasons {
		got = append(got, said{reason.Field, reason.A, reason.B, reason.How})
		sum += reason.Weight
	}
	slices.SortFunc(got, func(a, b said) int { return strings.Compare(a.Field, b.Field) })
	want := []said{
		{"birth_date", "17.5.1980", "1980-05-18", "similar"}, {"family_name", "Beazley", "Beazley", "swapped"},
		{"given_name", "Änn", "ann", "swapped"}, {"social_security", "698-8048", "6988048", "equal"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
	if !slices.IsSortedFunc(reasons, func(a, b suspects.Reason) int { return int(b.Weight - a.Weight) }) {
		t.Errorf("not the weightiest first: %+v", reasons)
	}
	if want := suspects.ScoreOf(sum, 2); r.Pairs[0].Score != want {
		t.Errorf("score %v, the reasons come to %v", r.Pairs[0].Score, want)
	}
}

// TestCrowdedName: of 50,000 customers with one name not all can be compared.
// The answer says so, and who is alike in other things is found.
func TestCrowdedName(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("50,000 customers")
	}
	const size = 50_000
	var l list
	rng := rand.New(rand.NewPCG(3, 4))
	for range size {
		l = append(l, &suspects.Facts{ID: customerID(len(l)), Values: []suspects.Value{
			{Field: suspects.Given, Text: "Wei"}, {Field: suspects.Family, Text: "Zhang"}, {Field: suspects.Phone, Text: fmt.Sprintf("138%08d", rng.IntN(1e8))},
		}})
	}
	l = append(l, &suspects.Facts{ID: customerID(size), Values: append(slices.Clone(l[0].Values), suspects.Value{Field: suspects.City, Text: "Ghent"})})
	r := l.find(t)
	if most := uint64(2 * size * (suspects.Window + 1)); r.Compared > most {
		t.Errorf("%d pairs compared, want at most %d", r.Compared, most)
	}
	want := []suspects.Crowded{{Key: "names", Blocks: 1, Customers: size + 1, Largest: size + 1}}
	if diff := cmp.Diff(want, r.Crowded); diff != "" {
		t.Errorf("crowded (-want +got):\n%s", diff)
	}
	if !slices.ContainsFunc(r.Pairs, func(p suspects.Pair) bool { return p.A == customerID(0) && p.B == customerID(size) }) {
		t.Errorf("the one with an equal phone is not among %d pairs", len(r.Pairs))
	}
	for _, p := range r.Pairs {
		if p.Score >= suspects.DefaultScore && r.Reasons(p)[0].Field != "phone" {
			t.Fatalf("proposed by the name that all have: %+v", r.Reasons(p))
		}
	}
}

// TestBlockBound: a block at the bound is compared whole, one above with a
// window.
func TestBlockBound(t *testing.T) {
	t.Parallel()
	for _, over := range []int{0, 1} {
		n := suspects.MaxBlock + over
		var l list
		for range n {
			l.add(t, false, "ssn", "6988048")
		}
		r := l.find(t)
		want, crowded := uint64(n*(n-1)/2), []suspects.Crowded(nil)
		if over > 0 {
			want = uint64(n*suspects.Window - suspects.Window*(suspects.Window+1)/2)
			crowded = []suspects.Crowded{{Key: "declared number", Blocks: 1, Customers: n, Largest: n}}
		}
		if r.Compared != want {
			t.Errorf("%d customers: %d pairs compared, want %d", n, r.Compared, want)
		}
		if diff := cmp.Diff(crowded, r.Crowded); diff != "" {
			t.Errorf("%d customers: crowded (-want +got):\n%s", n, diff)
		}
	}
}

// TestOrderLaw: whichever turn customers come in, the ranking is the same, each
// pair once, the lesser id first, the likeliest first.
func TestOrderLaw(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		word := rapid.SampledFrom([]string{"ann", "anne", "bob", "lee", "leigh", "smith", "4011", "1980-05-17", "6988048", "6988408", "ann@firm.test", "张伟", ""})
		var l list
		for range rapid.IntRange(0, 40).Draw(rt, "customers") {
			var traits []string
			for _, name := range []string{"first_name", "last_name", "dob", "postcode", "ssn", "email", "street", "company_name"} {
				traits = append(traits, name, word.Draw(rt, name))
			}
			l.add(t, rapid.Bool().Draw(rt, "company"), traits...)
		}
		first := l.find(t)
		again := list(rapid.Permutation(l).Draw(rt, "turn")).find(t)
		if diff := cmp.Diff(first.Pairs, again.Pairs); diff != "" {
			rt.Fatalf("in another turn (-first +again):\n%s", diff)
		}
		seen := map[[2]events.CustomerID]bool{}
		for i, p := range first.Pairs {
			if p.A.Compare(p.B) >= 0 || seen[[2]events.CustomerID{p.A, p.B}] || i > 0 && first.Pairs[i-1].Score < p.Score || !(p.Score >= suspects.LeastScore && p.Score <= 1) {
				rt.Fatalf("pair %d of %+v", i, first.Pairs)
			}
			seen[[2]events.CustomerID{p.A, p.B}] = true
		}
	})
}

func TestSourceFails(t *testing.T) {
	t.Parallel()
	broken := fmt.Errorf("broken")
	for _, failing := range []int{1, 2} {
		calls := 0
		var l list
		l.add(t, false, "name", "Zebediah Zylstra", "dob", "1980-05-17")
		l.add(t, false, "name", "Zebediah Zylstra", "dob", "1980-05-17")
		_, err := suspects.Find(t.Context(), func(ctx context.Context, wanted func(events.CustomerID) bool) iter.Seq2[*suspects.Facts, error] {
			if calls++; calls == failing {
				return func(yield func(*suspects.Facts, error) bool) { yield(nil, broken) }
			}
			return l.source(ctx, wanted)
		})
		if err != broken {
			t.Errorf("reading %d fails: got %v, want %v", failing, err, broken)
		}
	}
}
