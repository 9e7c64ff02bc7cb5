package profile

import (
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"strings"

	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// wide is an integer of 128 bits, two's complement. The gateway bounds amounts
// and quantities by 10^18 micros, so a product of two divided by a million fits
// with room for 10^8 of them; arithmetic wraps silently beyond.
type wide struct {
	hi int64
	lo uint64
}

func wideOf(n int64) wide            { return wide{n >> 63, uint64(n)} }
func wideSum(s *statev1.Sum) wide    { return wide{s.GetHigh(), s.GetLow()} }
func (a wide) message() *statev1.Sum { return &statev1.Sum{High: a.hi, Low: a.lo} }

func (a wide) isZero() bool     { return a == wide{} }
func (a wide) isNegative() bool { return a.hi < 0 }

func (a wide) add(b wide) wide {
	lo, carry := bits.Add64(a.lo, b.lo, 0)
	hi, _ := bits.Add64(uint64(a.hi), uint64(b.hi), carry)
	return wide{int64(hi), lo}
}

func (a wide) negate() wide {
	lo, borrow := bits.Sub64(0, a.lo, 0)
	hi, _ := bits.Sub64(0, uint64(a.hi), borrow)
	return wide{int64(hi), lo}
}

func (a wide) sub(b wide) wide { return a.add(b.negate()) }

func (a wide) compare(b wide) int {
	switch {
	case a.hi < b.hi, a.hi == b.hi && a.lo < b.lo:
		return -1
	case a == b:
		return 0
	}
	return 1
}

// magnitude returns |a| as two words.
func (a wide) magnitude() (hi, lo uint64) {
	if a.isNegative() {
		a = a.negate()
	}
	return uint64(a.hi), a.lo
}

// int64 clamps a into an int64 and reports whether it fitted.
func (a wide) int64() (n int64, fits bool) {
	switch {
	case a.hi == int64(a.lo)>>63:
		return int64(a.lo), true
	case a.isNegative():
		return math.MinInt64, false
	}
	return math.MaxInt64, false
}

const million = 1_000_000

// mulMicros is the product of two fixed-point numbers with six digits after
// the point, rounded half to even.
func mulMicros(a, b int64) wide {
	negative := (a < 0) != (b < 0)
	hi, lo := bits.Mul64(uint64Abs(a), uint64Abs(b))
	qhi, rem := hi/million, hi%million
	qlo, rem := bits.Div64(rem, lo, million)
	product := wide{int64(qhi), qlo}
	if rem > million/2 || rem == million/2 && qlo&1 == 1 {
		product = product.add(wide{0, 1})
	}
	if negative {
		return product.negate()
	}
	return product
}

// uint64Abs is |n|, of the least int64 too.
func uint64Abs(n int64) uint64 {
	if n < 0 {
		return -uint64(n)
	}
	return uint64(n)
}

// share is amount × value / total rounded half to even, at most value. All are
// positive. It runs once for a refund of an order whose total was told, so it
// can afford big numbers: the product has up to 192 bits.
func share(amount int64, value wide, total int64) wide {
	v := value.big()
	product := new(big.Int).Mul(big.NewInt(amount), v)
	divisor := big.NewInt(total)
	quotient, rem := new(big.Int).QuoRem(product, divisor, new(big.Int))
	half := rem.Lsh(rem, 1).Cmp(divisor)
	if half > 0 || half == 0 && quotient.Bit(0) == 1 {
		quotient.Add(quotient, big.NewInt(1))
	}
	if quotient.Cmp(v) >= 0 {
		return value
	}
	low := new(big.Int).And(quotient, new(big.Int).SetUint64(math.MaxUint64))
	return wide{int64(quotient.Rsh(quotient, 64).Uint64()), low.Uint64()}
}

// big is a non-negative a as a big integer.
func (a wide) big() *big.Int {
	n := new(big.Int).SetUint64(uint64(a.hi))
	return n.Lsh(n, 64).Or(n, new(big.Int).SetUint64(a.lo))
}

// decimal writes a fixed-point number without needless zeros: "12.5". Zero is
// "": the contract leaves zeros out.
func (a wide) decimal() string {
	if a.isZero() {
		return ""
	}
	hi, lo := a.magnitude()
	var b strings.Builder
	if a.isNegative() {
		b.WriteByte('-')
	}
	whole, micros := hi/million, hi%million
	units, micros := bits.Div64(micros, lo, million)
	if whole == 0 {
		fmt.Fprint(&b, units)
	} else {
		n := wide{int64(whole), units}
		b.WriteString(n.big().String())
	}
	if micros != 0 {
		b.WriteByte('.')
		b.WriteString(strings.TrimRight(fmt.Sprintf("%06d", micros), "0"))
	}
	return b.String()
}

// addSaturating is a + b, kept within an int64.
func addSaturating(a, b int64) int64 {
	n, _ := wideOf(a).add(wideOf(b)).int64()
	return n
}
