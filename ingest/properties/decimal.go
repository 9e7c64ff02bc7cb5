package properties

import (
	"errors"
	"strings"

	"github.com/dossier360/dossier/ingest"
)

// Errors of [ParseMicros].
var (
	// ErrNotNumber: the text is no decimal number.
	ErrNotNumber = errors.New("not a decimal number")
	// ErrRange: the number is beyond [ingest.MaxAmountUnits].
	ErrRange = errors.New("beyond the limit")
)

const (
	microDigits = 6
	maxMicros   = ingest.MaxAmountUnits * 1_000_000
)

// ParseMicros reads a decimal number, as JSON writes it or as people do in a
// string (" +12.50", ".5", "1e3"), into millionths. Further digits are rounded
// half to even; exact says that there were none. It is exact for any length.
func ParseMicros(text string) (micros int64, exact bool, err error) {
	d, ok := scanDecimal(strings.TrimSpace(text))
	if !ok {
		return 0, false, ErrNotNumber
	}
	digits, cut := d.digits, ""
	switch end := len(digits) + d.exponent + microDigits; {
	case digits == "": // zero, whatever the exponent
		return 0, true, nil
	case end > len("1000000000000000000"):
		return 0, false, ErrRange
	case end < 0: // less than a tenth of a millionth
		return 0, false, nil
	case end < len(digits):
		digits, cut = digits[:end], digits[end:]
	}
	var n uint64 // below 10^19
	for _, c := range []byte(digits) {
		n = n*10 + uint64(c-'0')
	}
	for range d.exponent + microDigits {
		n *= 10
	}
	if roundsUp(cut, n%2 != 0) {
		n++
	}
	if n > maxMicros {
		return 0, false, ErrRange
	}
	if micros = int64(n); d.negative {
		micros = -micros
	}
	return micros, strings.Trim(cut, "0") == "", nil
}

// roundsUp decides for the digits that were cut off.
func roundsUp(cut string, odd bool) bool {
	if cut == "" || cut[0] != '5' {
		return cut != "" && cut[0] > '5'
	}
	return odd || strings.Trim(cut[1:], "0") != ""
}

// decimal is digits times ten to the exponent, without leading zeros.
type decimal struct {
	negative bool
	digits   string
	exponent int
}

// maxExponent keeps sums of exponents and lengths within an int; beyond it
// every number that is not zero is out of range or rounds to zero.
const maxExponent = 1 << 28

func scanDecimal(s string) (d decimal, ok bool) {
	if s != "" && (s[0] == '-' || s[0] == '+') {
		d.negative = s[0] == '-'
		s = s[1:]
	}
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		if d.exponent, ok = scanExponent(s[i+1:]); !ok {
			return d, false
		}
		s = s[:i]
	}
	whole, fraction, _ := strings.Cut(s, ".")
	if whole == "" && fraction == "" || !allDigits(whole) || !allDigits(fraction) {
		return d, false
	}
	d.digits = whole
	if fraction != "" {
		d.digits += fraction
		d.exponent -= len(fraction)
	}
	d.digits = strings.TrimLeft(d.digits, "0")
	return d, true
}

func scanExponent(s string) (int, bool) {
	negative := false
	if s != "" && (s[0] == '-' || s[0] == '+') {
		negative = s[0] == '-'
		s = s[1:]
	}
	if s == "" || !allDigits(s) {
		return 0, false
	}
	n := 0
	for _, c := range []byte(s) {
		n = min(n*10+int(c-'0'), maxExponent)
	}
	if negative {
		n = -n
	}
	return n, true
}

func allDigits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
