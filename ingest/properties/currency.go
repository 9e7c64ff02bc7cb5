package properties

import (
	"strings"

	"golang.org/x/text/currency"
)

// knownCurrency writes a currency as ISO 4217 has it, past and present ones.
// XXX and XTS, which say "none" and "a test", are not known.
func knownCurrency(s string) (code string, known bool) {
	s = strings.TrimSpace(s)
	switch s { // the most frequent ones, without the table
	case "CNY", "USD", "EUR", "GBP", "JPY":
		return s, true
	}
	if len(s) != 3 {
		return "", false
	}
	unit, err := currency.ParseISO(s)
	if err != nil || unit == currency.XXX || unit == currency.XTS {
		return "", false
	}
	return unit.String(), true
}
