package properties_test

import (
	"errors"
	"math/big"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/dossier360/dossier/ingest/properties"
)

func TestParseMicros(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text  string
		want  int64
		exact bool
	}{
		{"19.99", 19_990_000, true},
		{" +19.99 ", 19_990_000, true},
		{"-0.000001", -1, true},
		{"0", 0, true},
		{"-0", 0, true},
		{".5", 500_000, true},
		{"5.", 5_000_000, true},
		{"007", 7_000_000, true},
		{"1e3", 1_000_000_000, true},
		{"1.5E-3", 1_500, true},
		{"0.0000005", 0, false},        // half to even
		{"0.0000015", 2, false},        // half to even
		{"0.00000050000001", 1, false}, // above the half
		{"0.0000025", 2, false},
		{"-0.0000015", -2, false},
		{"0.1234567", 123_457, false},
		{"0.1000000000", 100_000, true},
		{"1e-400", 0, false},
		{"0e999999999999999999", 0, true},
		{"1000000000000", 1e18, true},
		{"-1000000000000", -1e18, true},
		{"1000000000000.0000001", 1e18, false},
		{"0." + strings.Repeat("0", 30_000) + "1", 0, false},
		{"9007199254.740993", 9_007_199_254_740_993, true}, // beyond a double's digits
	} {
		got, exact, err := properties.ParseMicros(c.text)
		if err != nil || got != c.want || exact != c.exact {
			t.Errorf("%.40q: got %d, exact %v, error %v, want %d, %v", c.text, got, exact, err, c.want, c.exact)
		}
	}
}

func TestParseMicrosRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]error{
		"": properties.ErrNotNumber, "abc": properties.ErrNotNumber, "$5": properties.ErrNotNumber,
		"1,5": properties.ErrNotNumber, "1 000": properties.ErrNotNumber, "0x10": properties.ErrNotNumber,
		"1_000": properties.ErrNotNumber, "NaN": properties.ErrNotNumber, "Infinity": properties.ErrNotNumber,
		"-": properties.ErrNotNumber, ".": properties.ErrNotNumber, "1e": properties.ErrNotNumber,
		"1.2.3": properties.ErrNotNumber, "--1": properties.ErrNotNumber, "1e5.5": properties.ErrNotNumber,
		"1e400": properties.ErrRange, "-1e400": properties.ErrRange, "1e99999999999999999999": properties.ErrRange,
		"1000000000000.000001": properties.ErrRange, "1000000000000.0000009": properties.ErrRange,
		"9999999999999": properties.ErrRange, "9223372036854775808": properties.ErrRange,
	} {
		if got, _, err := properties.ParseMicros(text); !errors.Is(err, want) {
			t.Errorf("%q: got %d, %v, want %v", text, got, err, want)
		}
	}
}

// bigMicros reads a number as math/big does, half to even.
func bigMicros(t interface{ Fatalf(string, ...any) }, text string) (micros *big.Int, exact bool) {
	r, ok := new(big.Rat).SetString(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(text), "+"), "."))
	if !ok {
		t.Fatalf("math/big does not read %q", text)
	}
	r.Mul(r, big.NewRat(1_000_000, 1))
	whole, rest := new(big.Int).QuoRem(r.Num(), r.Denom(), new(big.Int))
	exact = rest.Sign() == 0
	twice := new(big.Int).Abs(rest)
	twice.Lsh(twice, 1)
	if n := twice.Cmp(r.Denom()); n > 0 || n == 0 && whole.Bit(0) == 1 {
		whole.Add(whole, big.NewInt(int64(r.Sign())))
	}
	return whole, exact
}

// checkAgainstBig holds a reading against that of math/big.
func checkAgainstBig(t interface{ Fatalf(string, ...any) }, text string) {
	got, exact, err := properties.ParseMicros(text)
	want, wantExact := bigMicros(t, text)
	beyond := new(big.Int).Abs(want).Cmp(big.NewInt(1e18)) > 0
	switch {
	case beyond != errors.Is(err, properties.ErrRange):
		t.Fatalf("%q: got error %v, math/big %v", text, err, want)
	case beyond:
	case err != nil:
		t.Fatalf("%q: %v", text, err)
	case got != want.Int64() || exact != wantExact:
		t.Fatalf("%q: got %d, exact %v, math/big %v, %v", text, got, exact, want, wantExact)
	}
}

func TestParseMicrosIsBig(t *testing.T) {
	t.Parallel()
	number := rapid.StringMatching(`[+-]?([0-9]{1,16}(\.[0-9]{0,14})?|\.[0-9]{1,14})([eE][+-]?[0-9]{1,2})?`)
	rapid.Check(t, func(t *rapid.T) { checkAgainstBig(t, number.Draw(t, "number")) })
}

// decimalText is what ParseMicros promises to read; exponents that math/big
// would take minutes for are left out.
var decimalText = regexp.MustCompile(`^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$`)

func FuzzParseMicros(f *testing.F) {
	for _, s := range []string{"19.99", "-0.0000015", "1e3", "1000000000000.0000001", "NaN", "+.5E-3", "0x1p3", "1_0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 200 {
			return
		}
		trimmed := strings.TrimSpace(text)
		if !decimalText.MatchString(trimmed) {
			// Longer exponents aside, nothing else is a number.
			if _, _, err := properties.ParseMicros(text); err == nil && !strings.ContainsAny(text, "eE") {
				t.Fatalf("%q was read", text)
			}
			return
		}
		checkAgainstBig(t, trimmed)
	})
}
