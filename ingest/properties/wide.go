package properties

import (
	"math/bits"
	"strconv"

	"github.com/dossier360/dossier/ingest"
)

// wide is a fixed-point number of 128 bits in two's complement: the lines of
// no event sum beyond it, so that the sign of a sum is always known.
type wide struct{ high, low uint64 }

func (a wide) add(b wide) wide {
	low, carry := bits.Add64(a.low, b.low, 0)
	high, _ := bits.Add64(a.high, b.high, carry)
	return wide{high, low}
}

func (a wide) negate() wide {
	low, borrow := bits.Sub64(0, a.low, 0)
	high, _ := bits.Sub64(0, a.high, borrow)
	return wide{high, low}
}

func (a wide) negative() bool { return int64(a.high) < 0 }

// amount is the number if it is within the limit of amounts.
func (a wide) amount() (micros int64, ok bool) {
	micros = int64(a.low)
	if a.high != uint64(micros>>63) || magnitude(micros) > maxMicros {
		return 0, false
	}
	return micros, true
}

// text writes the number for a message.
func (a wide) text() string {
	if micros, ok := a.amount(); ok {
		return formatMicros(micros)
	}
	limit := strconv.Itoa(ingest.MaxAmountUnits)
	if a.negative() {
		return "below -" + limit
	}
	return "above " + limit
}

// mulMicros multiplies two fixed-point numbers, half to even.
func mulMicros(a, b int64) wide {
	const one = 1_000_000
	high, low := bits.Mul64(magnitude(a), magnitude(b))
	product := wide{high: high / one}
	var left uint64
	product.low, left = bits.Div64(high%one, low, one)
	if left > one/2 || left == one/2 && product.low%2 != 0 {
		product = product.add(wide{low: 1})
	}
	if (a < 0) != (b < 0) {
		return product.negate()
	}
	return product
}

func magnitude(a int64) uint64 {
	if a < 0 {
		return -uint64(a)
	}
	return uint64(a)
}
