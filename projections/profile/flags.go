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
	FlagConflict                         // an event named another customer too
)

// flagNames by bit.
var flagNames = [...]string{"clamped_time", "corrected_time", "unknown_currency", "conflict"}

// flagsOf are the flags that an event's header brings. An event without an
// amount is not flagged by itself: another may tell its order's.
func flagsOf(h *logv1.Header) Flag {
	var flags Flag
	if h.GetClamped() {
		flags |= FlagClampedTime
	}
	if h.GetCorrected() {
		flags |= FlagCorrectedTime
	}
	for _, flag := range h.GetFlags() {
		if flag == logv1.Flag_FLAG_UNKNOWN_CURRENCY {
			flags |= FlagUnknownCurrency
		}
	}
	for _, id := range h.GetIdentifiers() {
		if id.GetOther() {
			flags |= FlagConflict
		}
	}
	return flags
}

// appendFlags adds the names of flags to names and sorts them. The others are
// no facts of their own: they follow from what is shown.
func appendFlags(names []string, flags Flag, r *rendering) []string {
	for bit, name := range flagNames {
		if flags&(1<<bit) != 0 {
			names = append(names, name)
		}
	}
	for _, shown := range [...]struct {
		name string
		set  bool
	}{{"approximate", r.approximate}, {"overflow", r.overflow}, {"no_value", r.noValue}} {
		if shown.set {
			names = append(names, shown.name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
