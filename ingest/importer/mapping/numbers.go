package mapping

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"

	"github.com/dossier360/dossier/ingest/properties"
)

// numbers reads numbers as people and programs write them.
type numbers struct{ decimal byte } // '.' or ','

// read finds the decimal number that a text is, as JSON writes it. It takes
// thousands separators where they group by three, a currency before or behind,
// 万 and 亿, and three ways of writing a negative: -12, (12) and 12-.
func (n numbers) read(text string) (string, bool) {
	s := strings.TrimSpace(text)
	if !isASCII(s) {
		s = strings.NewReplacer("−", "-", "’", "'", "\u00a0", " ", "\u202f", " ", "\u2009", " ").Replace(width.Narrow.String(s))
	}
	negative, s := cutSign(s)
	s = cutCurrency(s)
	inner, s := cutSign(s)
	if inner && negative {
		return "", false
	}
	negative = negative || inner
	s, power := cutMagnitude(strings.TrimSpace(s))
	s, ok := n.plain(s)
	if !ok || power != "" && strings.Contains(s, "e") {
		return "", false
	}
	s += power
	if negative && strings.Trim(strings.TrimSuffix(s, power), "0.") != "" {
		s = "-" + s
	}
	return s, true
}

// want says what the text should have been, for a message.
func (n numbers) want(text string) string {
	other := numbers{','}
	if n.decimal == ',' {
		other = numbers{'.'}
	}
	if strings.HasSuffix(strings.TrimSpace(text), "%") {
		return "is no number: a percentage is not; take the sign off and divide, as num(col.rate.replace(\"%\", \"\")) / 100"
	}
	if _, ok := other.read(text); ok {
		return "is no number with the decimal separator " + string(n.decimal) + "; the mapping may want decimal: \"" + string(other.decimal) + "\""
	}
	return "is no number; a cell that says nothing is named by null, as null: [\"\", \"?\"]"
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// cutSign takes off the sign that stands before, behind or around.
func cutSign(s string) (negative bool, rest string) {
	switch {
	case len(s) > 2 && s[0] == '(' && s[len(s)-1] == ')':
		return true, strings.TrimSpace(s[1 : len(s)-1])
	case strings.HasPrefix(s, "-"):
		return true, strings.TrimSpace(s[1:])
	case strings.HasPrefix(s, "+"):
		return false, strings.TrimSpace(s[1:])
	case strings.HasSuffix(s, "-"):
		return true, strings.TrimSpace(s[:len(s)-1])
	}
	return false, s
}

// magnitudes are the words by which an amount is shortened in Chinese.
var magnitudes = map[rune]string{'万': "e4", '萬': "e4", '亿': "e8", '億': "e8"}

// cutMagnitude takes off 万 or 亿, and gives it as an exponent.
func cutMagnitude(s string) (rest, power string) {
	last, size := utf8.DecodeLastRuneInString(s)
	if power = magnitudes[last]; power != "" {
		s = strings.TrimSpace(s[:len(s)-size])
	}
	return s, power
}

// cutCurrency takes off a currency: a sign (¥), a code (CNY) or both (CN¥), or
// 元 and 圆, on one side.
func cutCurrency(s string) string {
	isCurrency := func(c rune) bool { return unicode.Is(unicode.Sc, c) || c == '元' || c == '圆' }
	word := func(w string) bool {
		letters := strings.TrimRightFunc(strings.TrimLeftFunc(w, isCurrency), isCurrency)
		if len(letters) > 3 || letters == "" && w == "" {
			return false
		}
		for i := range len(letters) {
			if letters[i] < 'A' || letters[i] > 'Z' {
				return false
			}
		}
		return len(letters) != 1 // 5E is no currency
	}
	isNumber := func(c rune) bool {
		return c >= '0' && c <= '9' || strings.ContainsRune("+-.,' ()", c) || magnitudes[c] != ""
	}
	if i := strings.IndexFunc(s, isNumber); i > 0 && word(s[:i]) {
		return strings.TrimSpace(s[i:])
	}
	if i := strings.LastIndexFunc(s, isNumber); i >= 0 {
		_, size := utf8.DecodeRuneInString(s[i:])
		if end := i + size; end < len(s) && word(s[end:]) {
			return strings.TrimSpace(s[:end])
		}
	}
	return s
}

// plain reads digits, separators and an exponent.
func (n numbers) plain(s string) (string, bool) {
	mantissa, exponent := s, ""
	if i := strings.IndexAny(s, "eE"); i > 0 {
		mantissa, exponent = s[:i], s[i+1:]
		if _, err := strconv.ParseInt(exponent, 10, 16); err != nil {
			return "", false
		}
		exponent = "e" + exponent
	}
	whole, fraction, _ := strings.Cut(mantissa, string(n.decimal))
	whole, ok := n.ungrouped(whole)
	if !ok || !digits(fraction) || whole == "" && fraction == "" {
		return "", false
	}
	if whole = strings.TrimLeft(whole, "0"); whole == "" {
		whole = "0"
	}
	if fraction != "" {
		whole += "." + fraction
	}
	return whole + exponent, true
}

func digits(s string) bool { return strings.Trim(s, "0123456789") == "" }

// ungrouped takes out the thousands separators, of one kind.
func (n numbers) ungrouped(s string) (string, bool) {
	if digits(s) {
		return s, true
	}
	separators := ",' "
	if n.decimal == ',' {
		separators = ".' "
	}
	at := strings.IndexAny(s, separators)
	if at < 0 {
		return "", false
	}
	parts := strings.Split(s, s[at:at+1])
	for i, part := range parts {
		if !digits(part) || i > 0 && len(part) != 3 || i == 0 && (part == "" || len(part) > 3) {
			return "", false
		}
	}
	return strings.Join(parts, ""), true
}

// significant is how many decimal digits a double keeps for certain.
const significant = 15

// decimalText is a number as a decimal: what computing with doubles added beyond
// 15 digits is left out, and so is what is beyond six digits after the point.
func decimalText(x float64) (string, bool) {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return "", false
	}
	if x == math.Trunc(x) && math.Abs(x) < 1<<53 {
		return strconv.FormatInt(int64(x), 10), true
	}
	text := strconv.FormatFloat(x, 'e', significant-1, 64)
	micros, _, err := properties.ParseMicros(text)
	if err != nil {
		return strconv.FormatFloat(shorten(text), 'f', -1, 64), true
	}
	return microsText(micros), true
}

func shorten(text string) float64 {
	x, err := strconv.ParseFloat(text, 64)
	if err != nil {
		panic("not reached: a number as it was written")
	}
	return x
}

func microsText(micros int64) string {
	sign := ""
	if micros < 0 {
		sign, micros = "-", -micros
	}
	whole, rest := micros/1_000_000, micros%1_000_000
	if rest == 0 {
		return sign + strconv.FormatInt(whole, 10)
	}
	fraction := strconv.FormatInt(1_000_000+rest, 10)[1:]
	return sign + strconv.FormatInt(whole, 10) + "." + strings.TrimRight(fraction, "0")
}

// roundTo rounds to digits after the point, half away from zero, as prices are.
func roundTo(x float64, places int64) float64 {
	text := strconv.FormatFloat(x, 'e', significant-1, 64)
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return x // infinite
	}
	out, err := strconv.ParseFloat(r.FloatString(int(places)), 64)
	if err != nil {
		panic("not reached: a number as it was written")
	}
	return out
}
