package profile_test

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/dossier360/dossier/projections/profile"
)

// halfEven is numerator / denominator rounded half to even, by another way
// than the code under test: twice the remainder of a floored division.
func halfEven(numerator, denominator *big.Int) *big.Int {
	q, m := new(big.Int).DivMod(numerator, denominator, new(big.Int))
	switch twice := m.Lsh(m, 1).Cmp(denominator); {
	case twice > 0, twice == 0 && q.Bit(0) == 1:
		q.Add(q, big.NewInt(1))
	}
	return q
}

func micros() *rapid.Generator[int64] {
	const limit = 1_000_000_000_000_000_000
	return rapid.OneOf(
		rapid.Int64Range(-limit, limit),
		rapid.Int64Range(-10, 10),
		rapid.Map(rapid.Int64Range(-1000, 1000), func(n int64) int64 { return n * 500_000 }),
	)
}

func bigs() *rapid.Generator[*big.Int] {
	return rapid.Custom(func(t *rapid.T) *big.Int {
		n := big.NewInt(rapid.Int64().Draw(t, "a"))
		return n.Mul(n, big.NewInt(rapid.Int64Range(1, 1<<60).Draw(t, "b")))
	})
}

func TestWideArithmetic(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := micros().Draw(t, "a"), micros().Draw(t, "b")
		want := halfEven(new(big.Int).Mul(big.NewInt(a), big.NewInt(b)), big.NewInt(1_000_000))
		if got := profile.MulMicros(a, b); got.Cmp(want) != 0 {
			t.Fatalf("mulMicros(%d, %d) = %v, want %v", a, b, got, want)
		}

		x, y := bigs().Draw(t, "x"), bigs().Draw(t, "y")
		if got, want := profile.Sub(x, y), new(big.Int).Sub(x, y); got.Cmp(want) != 0 {
			t.Fatalf("%v - %v = %v, want %v", x, y, got, want)
		}
		if got, want := profile.Compare(x, y), x.Cmp(y); got != want {
			t.Fatalf("compare(%v, %v) = %d, want %d", x, y, got, want)
		}
		got, fits := profile.Int64(x)
		switch {
		case fits != x.IsInt64():
			t.Fatalf("%v fits an int64: %t, want %t", x, fits, x.IsInt64())
		case fits && got != x.Int64():
			t.Fatalf("int64(%v) = %d", x, got)
		case !fits && got != map[int]int64{1: math.MaxInt64, -1: math.MinInt64}[x.Sign()]:
			t.Fatalf("int64(%v) was cut to %d", x, got)
		}
		if text := profile.Decimal(x); x.Sign() != 0 {
			back, ok := new(big.Rat).SetString(text)
			if want := big.NewRat(1, 1).SetFrac(x, big.NewInt(1_000_000)); !ok || back.Cmp(want) != 0 {
				t.Fatalf("decimal(%v) = %q, want %v", x, text, want.FloatString(6))
			}
		}
	})
}

func TestShareOfRefund(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		positive := rapid.OneOf(rapid.Int64Range(1, 20), rapid.Int64Range(1, 1e18))
		amount, total := positive.Draw(t, "amount"), positive.Draw(t, "total")
		value := new(big.Int).Abs(bigs().Draw(t, "value"))
		if rapid.Bool().Draw(t, "small") {
			value = big.NewInt(positive.Draw(t, "small value"))
		}
		want := halfEven(new(big.Int).Mul(big.NewInt(amount), value), big.NewInt(total))
		if want.Cmp(value) > 0 {
			want = value
		}
		if got := profile.Share(amount, value, total); got.Cmp(want) != 0 {
			t.Fatalf("share of %d in %v at a total of %d = %v, want %v", amount, value, total, got, want)
		}
	})
}

func TestDecimalText(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0: "", 1: "0.000001", -1: "-0.000001", 1_000_000: "1", 12_500_000: "12.5", -12_990_000: "-12.99",
		math.MaxInt64: "9223372036854.775807", math.MinInt64: "-9223372036854.775808",
	} {
		if got := profile.Decimal(big.NewInt(n)); got != want {
			t.Errorf("decimal(%d) = %q, want %q", n, got, want)
		}
	}
	beyond := new(big.Int).Exp(big.NewInt(10), big.NewInt(36), nil)
	if got, want := profile.Decimal(beyond), "1000000000000000000000000000000"; got != want {
		t.Errorf("decimal(10^36) = %q, want %q", got, want)
	}
}
