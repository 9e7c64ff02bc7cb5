package profile

import (
	"slices"

	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// Flag marks a customer of whom something odd was told. Facts.flags is a set
// of them.
type Flag uint32

// The flags that single events bring. Numbers are part of the stored facts.
const (
	FlagClampedTime     Flag = 1 << iota // a time lay more than 24 h ahead
	FlagCorrectedTime                    // a time was shifted by the client's clock error
	FlagUnknownCurrency                  // a currency is not of ISO 4217
	FlagNoValue                          // an order without any amount
)

// flagNames by bit.
var flagNames = [...]string{"clamped_time", "corrected_time", "unknown_currency", "no_value"}

// flagsOf are the flags that an event's header brings.
func flagsOf(h *logv1.Header) Flag {
	var flags Flag
	if h.GetClamped() {
		flags |= FlagClampedTime
	}
	if h.GetCorrected() {
		flags |= FlagCorrectedTime
	}
	for _, flag := range h.GetFlags() {
		switch flag {
		case logv1.Flag_FLAG_UNKNOWN_CURRENCY:
			flags |= FlagUnknownCurrency
		case logv1.Flag_FLAG_NO_VALUE:
			flags |= FlagNoValue
		}
	}
	return flags
}

// appendFlags adds the names of flags to names and sorts them. Approximate and
// overflow are no facts of their own: they follow from what is shown.
func appendFlags(names []string, flags Flag, approximate, overflow bool) []string {
	for bit, name := range flagNames {
		if flags&(1<<bit) != 0 {
			names = append(names, name)
		}
	}
	if approximate {
		names = append(names, "approximate")
	}
	if overflow {
		names = append(names, "overflow")
	}
	slices.Sort(names)
	return slices.Compact(names)
}
