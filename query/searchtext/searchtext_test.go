package searchtext_test

import (
	"cmp"
	"os"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
	"golang.org/x/text/width"
	"pgregory.net/rapid"

	"github.com/dossier360/dossier/query/searchtext"
)

func TestFold(t *testing.T) {
	t.Parallel()
	for _, same := range [][]string{
		{"ann lee", "Ann Lee", "ANN LEE", " Ann\t\u3000 Lee ", "ＡＮＮ　ＬＥＥ", "Ann\u200b Lee", "Ａnn Lee"},
		{"jose muñoz", "José Muñoz", "JOSE\u0301 MUN\u0303OZ", "jose munoz"},
		{"strasse", "Straße", "STRASSE", "STRAẞE"},
		{"łodz soren aero", "Łódź Søren Ærø"},
		{"ΣΊΣΥΦΟΣ", "σίσυφος", "σισυφοσ"},
		{"o'brien", "O’Brien", "OʼBrien"},
		{"jean-luc", "Jean‑Luc", "Jean–Luc"},
		{"13800138000", "１３８００１３８０００"},
		{"カタカナ", "ｶﾀｶﾅ"},
		{"ガ", "ｶﾞ", "カ\u3099"},
		{"한국", "\u1112\u1161\u11ab\u1100\u116e\u11a8"},
		{"李娜", "李 娜", "李\u3000娜"},
		{"后", "後"}, {"台", "臺", "檯", "颱"}, {"发", "發", "髮"}, {"里", "裡", "裏"}, {"面", "麵", "麪"}, {"干", "乾", "幹"},
		{"余", "餘", "馀"}, {"钟", "鍾", "鐘", "锺"}, {"苏", "蘇", "甦"}, {"峰", "峯"}, {"户", "戶", "戸"}, {"高", "髙"}, {"台北", "臺北"},
		{"张伟", "張偉"}, {"腾讯科技有限公司", "騰訊科技有限公司"}, {"陈刘黄吴郑冯邓叶萧卢", "陳劉黃吳鄭馮鄧葉蕭盧"},
		{"﹩5", "$5", "＄5"}, {"fi", "ﬁ"}, {"(株)", "㈱"}, {"", " ", "\u200b\t"},
	} {
		want := searchtext.Fold(same[0])
		for _, s := range same[1:] {
			if got := searchtext.Fold(s); got != want {
				t.Errorf("fold of %q is %q, want that of %q, %q", s, got, same[0], want)
			}
		}
	}
	for _, apart := range [][2]string{
		{"か", "が"}, {"は", "ぱ"}, {"あ", "ア"}, {"ann lee", "annlee"}, {"王", "玉"}, {"a", "а"}, {"李娜", "李娜娜"}, {"हिंदी", "हदी"},
	} {
		if a, b := searchtext.Fold(apart[0]), searchtext.Fold(apart[1]); a == b {
			t.Errorf("%q and %q both fold to %q", apart[0], apart[1], a)
		}
	}
}

func TestFoldNames(t *testing.T) {
	t.Parallel()
	fold := func(s string) string { return string(searchtext.AppendName(nil, s)) }
	for want, all := range map[string][]string{
		"obrien":     {"O'Brien", "O’Brien", "OʼBrien", "O`Brien", "O´Brien", "Ｏ＇Brien", "obrien"},
		"smith john": {"Smith, John", "SMITH,John", "Smith，John", "Smith (John)", "smith - john", " smith. john."},
		"jean luc":   {"Jean-Luc", "Jean‑Luc", "jean luc", "Jean–Luc"}, "阿凡提买买提": {"阿凡提·买买提", "阿凡提・买买提", "阿凡提 买买提"},
		"株腾讯": {"(株)騰訊", "㈱騰訊"}, "c++": {"C++"}, "at&t": {"AT&T"}, "ann@": {"Ann@"}, "": {"", "'", " - ", "·、"},
	} {
		for _, s := range all {
			if got := fold(s); got != want {
				t.Errorf("fold of the name %q is %q, want %q", s, got, want)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.OneOf(rapid.String(), rapid.StringOfN(rapid.RuneFrom([]rune("aÁ後后李娜\u0301\u3099'’´`-–,，·. 　1２")), 0, 20, -1))
		s, tail := word.Draw(t, "s"), word.Draw(t, "tail")
		folded := fold(s)
		if again := fold(folded); again != folded {
			t.Errorf("fold of %+q is %+q, and folded again %+q", s, folded, again)
		}
		if whole := fold(s + tail); !strings.HasPrefix(whole, folded) {
			t.Errorf("fold of %+q, %+q, does not begin with that of its beginning %+q, %+q", s+tail, whole, s, folded)
		}
		for _, r := range folded {
			if strings.ContainsRune("'-,.·", r) {
				t.Errorf("fold of %+q is %+q, with punctuation", s, folded)
			}
		}
	})
}

// Of every character the fold is what x/text makes of it, but for what this
// package does beyond: letters that do not decompose, variants of ideographs,
// and what is dropped.
func TestFoldIsThatOfUnicode(t *testing.T) {
	t.Parallel()
	fold := cases.Fold()
	classes := readClasses(t)
	beyond := strings.NewReplacer("ı", "i", "æ", "ae", "œ", "oe", "ø", "o", "ł", "l", "đ", "d", "ð", "d", "þ", "th", "ħ", "h", "ŧ", "t",
		"’", "'", "‘", "'", "ʼ", "'", "‐", "-", "‑", "-", "‒", "-", "–", "-")
	compared := 0
	for r := rune(0x80); r <= unicode.MaxRune; r++ {
		if !unicode.IsGraphic(r) && !unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Cherokee, r) {
			continue // not assigned; Unicode folds Cherokee to upper case, all else to lower
		}
		want := strip(norm.NFKD.String(fold.String(strip(norm.NFKD.String(width.Fold.String(string(r)))))))
		want = strings.Map(func(part rune) rune { return cmp.Or(classes[part], part) }, beyond.Replace(want))
		want = strings.Join(strings.Fields(want), " ")
		if got := searchtext.Fold(string(r)); got != want {
			t.Errorf("%U %c: fold %+q, want %+q", r, r, got, want)
		}
		compared++
	}
	if compared < 100_000 {
		t.Errorf("compared %d characters", compared)
	}
}

// strip drops accents and what is not seen.
func strip(s string) string {
	return strings.Map(func(r rune) rune {
		accent := unicode.Is(unicode.Mn, r) && unicode.Is(unicode.Inherited, r) && r != '\u3099' && r != '\u309a'
		if accent || unicode.In(r, unicode.Cc, unicode.Cf) && !unicode.IsSpace(r) {
			return -1
		}
		return r
	}, s)
}

// readClasses reads hanzi.txt anew: of each character the one that stands for it.
func readClasses(t *testing.T) map[rune]rune {
	t.Helper()
	text, err := os.ReadFile("hanzi.txt")
	if err != nil {
		t.Fatal(err)
	}
	classes := map[rune]rune{}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		for class := range strings.FieldsSeq(line) {
			first, _ := utf8.DecodeRuneInString(class)
			for _, r := range class {
				if _, twice := classes[r]; twice {
					t.Errorf("%c stands in two classes", r)
				}
				if r < '\u3400' || r > '\u9fff' {
					t.Errorf("%c (%U) is not in the blocks that the table holds", r, r)
				}
				classes[r] = first
			}
			if utf8.RuneCountInString(class) < 2 {
				t.Errorf("class %q is of one character", class)
			}
		}
	}
	if len(classes) < 5000 {
		t.Errorf("%d characters in hanzi.txt: this test reads it wrongly", len(classes))
	}
	return classes
}

func TestFoldLaws(t *testing.T) {
	t.Parallel()
	word := rapid.OneOf(
		rapid.String(),
		rapid.StringOfN(rapid.RuneFrom([]rune("aÁéßİıſKσςΣ 　ｶﾞかが後后臺檯台髮發发李娜\u0301\u3099\u200b'’-–1２")), 0, 20, -1),
	)
	rapid.Check(t, func(t *rapid.T) {
		s, tail := word.Draw(t, "s"), word.Draw(t, "tail")
		folded := searchtext.Fold(s)
		if again := searchtext.Fold(folded); again != folded {
			t.Errorf("fold of %+q is %+q, and folded again %+q", s, folded, again)
		}
		for name, other := range map[string]string{
			"upper case": strings.ToUpper(s), "composed": norm.NFC.String(s), "decomposed": norm.NFD.String(s), "wide": width.Widen.String(s), "narrow": width.Narrow.String(s),
		} {
			if got := searchtext.Fold(other); got != folded && utf8.ValidString(s) {
				t.Errorf("%s: fold of %+q is %+q, want that of %+q, %+q", name, other, got, s, folded)
			}
		}
		if whole := searchtext.Fold(s + tail); !strings.HasPrefix(whole, folded) {
			t.Errorf("fold of %+q, %+q, does not begin with that of its beginning %+q, %+q", s+tail, whole, s, folded)
		}
		if got := string(searchtext.Append([]byte("x"), s)); got != "x"+folded {
			t.Errorf("appended %+q, want x and %+q", got, folded)
		}
	})
}

func BenchmarkFold(b *testing.B) {
	for name, s := range map[string]string{"latin": "Ann Charlotte Lee", "accents": "José Muñoz Ángel", "chinese": "騰訊科技有限公司"} {
		b.Run(name, func(b *testing.B) {
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf = searchtext.Append(buf[:0], s)
			}
		})
	}
}
