package suspects_test

import (
	"strings"
	"testing"

	"github.com/dossier360/dossier/query/searchtext"
	"github.com/dossier360/dossier/query/suspects"
)

// foldName is how texts are written here that are compared with folded ones.
func foldName(s string) string { return string(searchtext.AppendName(nil, s)) }

func TestCompanyCore(t *testing.T) {
	t.Parallel()
	for form, want := range map[string]string{
		"上海華為科技有限公司": "上海华为科技", "上海华为科技股份有限公司": "上海华为科技", "上海华为科技（集团）有限公司": "上海华为科技", "上海华为科技": "上海华为科技",
		"Müller GmbH": "muller", "MÜLLER GmbH & Co. KG": "muller", "Acme, Inc.": "acme", "The Acme Company": "acme", "Ａｃｍｅ Ｌｔｄ．": "acme",
		"Acme Co., Ltd.": "acme", "Acme Pty Ltd": "acme", "Fournier S.A.": "fournier", "Fournier SA": "fournier", "fournier s.a.r.l.": "fournier",
		"Company": "company", "有限公司": "有限公司", "Costa": "costa", "Linc": "linc", "": "",
	} {
		if got, want := suspects.CompanyCore(form), foldName(want); got != want {
			t.Errorf("%q: got %q, want %q", form, got, want)
		}
	}
}

func TestSplitName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][2]string{
		"Ann Lee": {"ann", "lee"}, "Ann Mary Lee": {"ann mary", "lee"}, "Lee, Ann": {"ann", "lee"}, "李，安": {"安", "李"}, "Mr. John O'Brien": {"john", "obrien"},
		"张伟": {"伟", "张"}, "張偉": {"伟", "张"}, "欧阳娜娜": {"娜娜", "欧阳"}, "歐陽修": {"修", "欧阳"}, "欧阳": {"阳", "欧"}, "张伟先生": {"伟", "张"},
		"Cher": {"cher", ""}, "王": {"", "王"}, "Dr": {"dr", ""}, "": {},
	} {
		given, family := suspects.SplitName(name)
		if got, want := [2]string{given, family}, [2]string{foldName(want[0]), foldName(want[1])}; got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

func TestFolding(t *testing.T) {
	t.Parallel()
	street := func(s string) string {
		number, name := suspects.SplitStreet(s)
		return number + "|" + name
	}
	for _, test := range []struct {
		fold     func(string) string
		in, want string
	}{
		{suspects.DateDigits, "1961-08-31", "19610831"}, {suspects.DateDigits, "1961-08-31T00:00:00Z", "19610831"}, {suspects.DateDigits, "31.8.1961", "19610831"},
		{suspects.DateDigits, "19610831", "19610831"}, {suspects.DateDigits, "19729518", "19729518"}, {suspects.DateDigits, "1961年8月31日", "19610831"},
		{suspects.DateDigits, "8/31/1961", "19610831"}, {suspects.DateDigits, "1961-08-31 10:00", "19610831"}, {suspects.DateDigits, "unknown", ""}, {suspects.DateDigits, "", ""},
		{suspects.EmailText, "Ann.Lee+shop@Gmail.com", "annlee@gmail.com"}, {suspects.EmailText, "ann.lee@googlemail.com", "annlee@gmail.com"},
		{suspects.EmailText, "ann.lee@firm.test", "ann.lee@firm.test"}, {suspects.EmailText, "ann", ""}, {suspects.EmailText, "@firm.test", ""},
		{suspects.PhoneDigits, "+86 138 0013 8000", "13800138000"}, {suspects.PhoneDigits, "(02) 9876-5432", "298765432"}, {suspects.PhoneDigits, "123", ""},
		{suspects.DomainOf, "https://www.Acme.com/about?x=1", "acme.com"}, {suspects.DomainOf, "info@acme.com", "acme.com"}, {suspects.DomainOf, "ann@gmail.com", ""}, {suspects.DomainOf, "acme", ""},
		{street, "12a Main Street", "12a|main st"}, {street, "Hauptstr. 12", "12|hauptstr"}, {street, "Main Street", "|main st"}, {street, "12", "|12"}, {street, "", "|"},
		{suspects.Sound, "sondergeld", "s536"}, {suspects.Sound, "sondergled", "s536"}, {suspects.Sound, "", ""}, {suspects.Sound, "张", "张"},
	} {
		if got := test.fold(test.in); got != test.want {
			t.Errorf("%q: got %q, want %q", test.in, got, test.want)
		}
	}
}

func TestAlike(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		field      suspects.Field
		a, b, want string
	}{
		{suspects.Given, "isabella", "isablela", "similar"}, {suspects.Given, "luke", "mia", "differs"}, {suspects.Given, "j", "john", "similar"},
		{suspects.Given, "ann", "ann mary", "similar"}, {suspects.Given, "har risn", "harrison", "similar"}, {suspects.Given, "伟", "wei", "absent"}, {suspects.Given, "伟明", "伟民", "differs"},
		{suspects.Family, "waller", "wallner", "similar"}, {suspects.Family, "", "waller", "absent"}, {suspects.Family, "waller", "waller", "equal"},
		{suspects.Birth, "19720518", "19729518", "similar"}, {suspects.Birth, "19720518", "19721805", "similar"}, {suspects.Birth, "19720518", "19725018", "similar"}, {suspects.Birth, "19720518", "19810628", "differs"},
		{suspects.Phone, "8613800138000", "13800138000", "equal"}, {suspects.Phone, "13800138000", "13800138001", "similar"}, {suspects.Phone, "123456", "9123456", "differs"},
		{suspects.Email, "annlee@gmail.com", "annlee@qq.com", "similar"}, {suspects.Email, "anlee@firm.test", "annlee@firm.test", "similar"}, {suspects.Email, "sales@a.test", "sales@b.test", "differs"},
		{suspects.Declared, "tax 1234567", "tax 1234576", "similar"}, {suspects.Declared, "tax 1234567", "tax 7654321", "differs"},
		{suspects.Postcode, "4814", "4184", "similar"}, {suspects.Number, "8", "9", "differs"}, {suspects.Street, "stanleykst", "stanley st", "similar"},
		{suspects.Company, "北京字节跳动科技", "字节跳动", "similar"}, {suspects.Company, "acme", "acme trading", "differs"}, {suspects.Company, "fournier", "fournier lyon", "similar"},
		{suspects.Gender, "m", "f", "differs"}, {suspects.Domain, "acme.com", "acme.de", "similar"},
	} {
		for _, turned := range []bool{false, true} {
			a, b := test.a, test.b
			if turned {
				a, b = b, a
			}
			if got := suspects.Alike(test.field, a, b); got != test.want {
				t.Errorf("%v of %q and %q: got %s, want %s", test.field, a, b, got, test.want)
			}
		}
	}
}

// FuzzWithin compares the bounded distance with the plain definition.
func FuzzWithin(f *testing.F) {
	for _, seed := range [][2]string{{"", ""}, {"abc", "acb"}, {"kitten", "sitting"}, {"张伟", "伟张"}, {"aaaa", "aa"}, {"ab", "ba"}, {"\xff", "\xfe"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if len(a) > 24 || len(b) > 24 {
			return
		}
		want := plainDistance([]rune(strings.ToValidUTF8(a, "")), []rune(strings.ToValidUTF8(b, "")))
		for n := range 4 {
			if got := suspects.Within(strings.ToValidUTF8(a, ""), strings.ToValidUTF8(b, ""), n); got != (want <= n) {
				t.Errorf("%q and %q are %d apart; within %d: %v", a, b, want, n, got)
			}
		}
	})
}

// plainDistance is the definition: insertions, deletions, substitutions, and
// exchanges of neighbours between which nothing else changes.
func plainDistance(a, b []rune) int {
	table := make([][]int, len(a)+1)
	for i := range table {
		table[i] = make([]int, len(b)+1)
		for j := range table[i] {
			switch {
			case i == 0 || j == 0:
				table[i][j] = i + j
			default:
				step := 0
				if a[i-1] != b[j-1] {
					step = 1
				}
				table[i][j] = min(table[i-1][j]+1, table[i][j-1]+1, table[i-1][j-1]+step)
				if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
					table[i][j] = min(table[i][j], table[i-2][j-2]+1)
				}
			}
		}
	}
	return table[len(a)][len(b)]
}

// FuzzFacts folds whatever is told: nothing panics, and what is packed is read
// again.
func FuzzFacts(f *testing.F) {
	f.Add("name", "Ann Lee", "birth_date", "1.2.2003", false)
	f.Add("名称", "有限公司", "tax_id", "１２３４", true)
	f.Add("email", "a+@gmail.com", "phone", "+86 0000000", true)
	f.Add("street", "12 ", "address.street", "\xff 3", false)
	f.Fuzz(func(t *testing.T, name, text, other, text2 string, company bool) {
		c := &suspects.Facts{Company: company}
		c.Add(builtin(t), name, text)
		c.Add(builtin(t), other, text2)
		for field := suspects.Given; field <= suspects.Domain; field++ {
			c.Values = append(c.Values, suspects.Value{Field: field, Kind: "tax_id", Text: text}, suspects.Value{Field: field, Kind: "tax_id", Text: text2})
		}
		if first, again := suspects.Repacked(c); first != again {
			t.Errorf("packed %q, then %q", first, again)
		}
	})
}

func builtin(t testing.TB) *suspects.Names {
	t.Helper()
	names, err := suspects.NewNames(nil)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestNames(t *testing.T) {
	t.Parallel()
	names, err := suspects.NewNames(map[string][]string{"given_name": {"Rufname"}, "declared:member": {"member no."}, "": {"name"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"firstName": "given_name", "FIRST NAME": "given_name", "rufname": "given_name", "名": "given_name", "address.postalCode": "postcode", "billing.postalCode": "postcode",
		"memberNo": "declared", "name": "", "colour": "", "": "",
	} {
		f := &suspects.Facts{}
		f.Add(names, name, "x")
		got := ""
		if len(f.Values) > 0 {
			got = f.Values[0].Field.String()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
	for _, bad := range []map[string][]string{
		{"nickname": {"nick"}}, {"declared": {"x"}}, {"declared:": {"x"}}, {"declared:a b": {"x"}}, {"given_name": {"?"}}, {"given_name": {"x"}, "city": {"X"}},
	} {
		if _, err := suspects.NewNames(bad); err == nil {
			t.Errorf("%v: no error", bad)
		}
	}
}
