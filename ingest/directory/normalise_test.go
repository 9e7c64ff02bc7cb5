package directory_test

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/dossier360/dossier/ingest/directory"
)

func TestNormalise(t *testing.T) {
	for _, c := range []struct{ typ, value, want string }{
		{"user_id", "  Ab-7 ", "Ab-7"},
		{"user_id", "ＡＢ７", "AB7"},
		{"user_id", "ﬁ", "ﬁ"}, // a ligature is a letter of the id
		{"user_id", "客户1", "客户1"},
		{"crm_id", "\ufeffX\u200b\n", "X"},
		{"anonymous_id", "E9", "E9"},
		{"guest", "G", "G"},
		{"email", " Ann@Example.COM", "ann@example.com"},
		{"email", "ａｎｎ＠ｘ．ｏｒｇ", "ann@x.org"},
		{"work_email", "A@B", "a@b"},
		{"email", "客户@例子.中国", "客户@例子.中国"},
		{"phone", "+1 (415) 555-2671", "+14155552671"},
		{"phone", "001-415-555-2671", "+14155552671"},
		{"phone", "tel:+1-415-555-2671", "+14155552671"},
		{"phone", "+44 (0)20 7946 0958", "+442079460958"},
		{"phone", "13800138000", "13800138000"},
		{"phone", "+86 138-0013-8000", "13800138000"},
		{"phone", "0086 138 0013 8000", "13800138000"},
		{"phone", "8613800138000", "13800138000"},
		{"phone", "１３８００１３８０００", "13800138000"},
		{"phone", "+86 10 6552 9988", "+861065529988"},
		{"phone", "010-65529988", "01065529988"},
		{"home_phone", "12345", "12345"},
		{"company_id", " Acme-7 ", "Acme-7"},
		{"group_id", "ＡＣＭＥ", "ACME"},
		{"company_crm_id", "Ab", "Ab"},
		{"company_vat", "DE 123", "DE 123"},
		{"company_email", "Info@Acme.COM", "info@acme.com"},
		{"company_sales_phone", "+86 138-0013-8000", "13800138000"},
		{"company_domain", "Acme.COM", "acme.com"},
		{"company_domain", "https://www.acme.com/about?x=1", "acme.com"},
		{"company_domain", "//acme.com:8080", "acme.com"},
		{"company_domain", "info@acme.com", "acme.com"},
		{"company_domain", "ｗｗｗ．acme．com.", "acme.com"},
		{"company_domain", "www.www.com", "www.com"},
		{"company_mail_domain", "例子.中国", "例子.中国"},
	} {
		got, err := directory.Normalise(c.typ, c.value)
		if got != c.want || err != nil {
			t.Errorf("%s %q: got %q, %v; want %q", c.typ, c.value, got, err, c.want)
		}
	}
}

func TestNormaliseRefuses(t *testing.T) {
	long := strings.Repeat("客", directory.MaxValueCharacters)
	for _, c := range []struct {
		typ, value string
		want       error
	}{
		{"user_id", long, nil},
		{"user_id", long + "x", directory.ErrTooLong},
		{"email", strings.Repeat("ﷺ", 20) + "@x.org", directory.ErrTooLong}, // 18 letters each, normalised
		{"user_id", "\xff", directory.ErrNotUTF8},
		{"", "x", directory.ErrType},
		{"_id", "x", directory.ErrType},
		{"User_id", "x", directory.ErrType},
		{"name", "x", directory.ErrType},
		{strings.Repeat("a", 38) + "_id", "x", directory.ErrType},
		{strings.Repeat("a", 37) + "_id", "x", nil},
		{"phone", "12345", nil},
		{"phone", "1234", directory.ErrBlocked},
		{"phone", "1" + strings.Repeat("2", 19), nil},
		{"phone", "1" + strings.Repeat("2", 20), directory.ErrBlocked},
		{"phone", "13800138000 ext 3", directory.ErrBlocked},
		{"email", "ann", directory.ErrBlocked},
		{"email", "@x.org", directory.ErrBlocked},
		{"email", "ann@", directory.ErrBlocked},
		{"email", "ann lee@x.org", directory.ErrBlocked},
		{"email", "Ann <ann@x.org>", directory.ErrBlocked},
		{"user_id", "", directory.ErrBlocked},
		{"user_id", "\u3000\u200b", directory.ErrBlocked},
		{"user_id", "null", directory.ErrBlocked},
		{"user_id", "NULL", directory.ErrBlocked},
		{"user_id", "ＮＵＬＬ", directory.ErrBlocked},
		{"user_id", `"undefined"`, directory.ErrBlocked},
		{"user_id", "None", directory.ErrBlocked},
		{"user_id", "nil", directory.ErrBlocked},
		{"user_id", "NaN", directory.ErrBlocked},
		{"user_id", "0", directory.ErrBlocked},
		{"user_id", "-1", directory.ErrBlocked},
		{"user_id", "[object Object]", directory.ErrBlocked},
		{"user_id", "true", directory.ErrBlocked},
		{"user_id", "false", directory.ErrBlocked},
		{"user_id", "unknown", directory.ErrBlocked},
		{"user_id", "anonymous", directory.ErrBlocked},
		{"user_id", "distinct_id", directory.ErrBlocked},
		{"user_id", "not_authenticated", directory.ErrBlocked},
		{"guest", "guest", directory.ErrBlocked},
		{"device_id", "00000000-0000-0000-0000-000000000000", directory.ErrBlocked},
		{"device_id", "00000000-0000-0000-0000-000000000001", nil},
		{"company_", "x", directory.ErrType},
		{"companyid", "x", directory.ErrType},
		{"company_domain", "acme", directory.ErrBlocked},
		{"company_domain", "https://", directory.ErrBlocked},
		{"company_domain", "acme corp.com", directory.ErrBlocked},
		{"company_domain", ".com", directory.ErrBlocked},
		{"company_domain", "a.b", nil},
		{"company_id", "undefined", directory.ErrBlocked},
		{"user_id", "nullable", nil},
		{"user_id", "10", nil},
	} {
		if _, err := directory.Normalise(c.typ, c.value); !errors.Is(err, c.want) {
			t.Errorf("%s %q: got %v, want %v", c.typ, c.value, err, c.want)
		}
	}
}

var someTypes = []string{"user_id", "crm_id", "email", "phone", "anonymous_id", "guest", "work_email", "home_phone", "company_id", "company_domain"}

// settled fails unless normalising a normal form changes nothing.
func settled(t interface {
	Fatalf(string, ...any)
}, typ, value string) {
	once, err := directory.Normalise(typ, value)
	if err != nil {
		return
	}
	twice, err := directory.Normalise(typ, once)
	if err != nil || twice != once {
		t.Fatalf("%s %q: normalised %q, and again %q, %v", typ, value, once, twice, err)
	}
}

func TestNormaliseIsIdempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		typ := rapid.SampledFrom(someTypes).Draw(t, "type")
		value := rapid.OneOf(
			rapid.String(),
			rapid.StringMatching(`(https?:)?(//)?(www\.)*[aW.:@/?# ]{0,12}`),
			rapid.StringMatching(`[ +0-9()./-]{0,20}(tel:)?[+0-9() -]{0,24}`),
			rapid.Map(rapid.SliceOf(rapid.SampledFrom([]string{"＠", "@", "İ", "ﬁ", "Å", "ﾊﾞ", "\u200b", "\u3000", "A", "ａ", "ẞ", "０", "+", "00", "86", "１"})),
				func(parts []string) string { return strings.Join(parts, "") }),
		).Draw(t, "value")
		settled(t, typ, value)
	})
}

func FuzzNormalise(f *testing.F) {
	for _, v := range []string{"Ann@X.org", "+86 138 0013 8000", "００86", "tel:00(0)86", "İ@ﬁ", "\u200b null \ufeff", "https://www.a.b:1/c", "www.www.a@b."} {
		for i := range someTypes {
			f.Add(byte(i), v)
		}
	}
	f.Fuzz(func(t *testing.T, typ byte, value string) {
		settled(t, someTypes[int(typ)%len(someTypes)], value)
	})
}
