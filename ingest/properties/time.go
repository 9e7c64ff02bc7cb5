package properties

import (
	"strconv"
	"strings"
	"time"

	"github.com/dossier360/dossier/ingest"
)

// layouts are the forms of time that clients send beside RFC 3339, which is
// tried first. Fractions of a second are understood after any of them.
var layouts = [...]struct {
	layout string
	zone   bool
}{
	{"2006-01-02T15:04:05Z0700", true},
	{"2006-01-02T15:04:05Z07", true},
	{"2006-01-02T15:04Z07:00", true},
	{"2006-01-02T15:04Z0700", true},
	{"2006-01-02T15:04:05", false},
	{"2006-01-02T15:04", false},
	{"2006-01-02", false},
}

// latestTime is the last instant that a protobuf timestamp holds.
var latestTime = time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC)

// timeLimit is what a refusal of a time names.
const timeLimit = "RFC 3339, not before 1971-01-01"

// ParseTime reads a time as clients send it: RFC 3339, with a space for the T
// or small letters too; the same without seconds, without a zone or without a
// time of day; or a number, since 1970, of seconds (below 10^11), milliseconds
// (below 10^14), microseconds (below 10^17) or nanoseconds. hasZone is false
// if it was read as UTC for want of a zone.
func ParseTime(text string) (t time.Time, hasZone, ok bool) {
	t, hasZone, ok = parseTime(strings.TrimSpace(text))
	if !ok || t.Before(ingest.EarliestTime) || t.After(latestTime) {
		return time.Time{}, false, false
	}
	return t.UTC(), hasZone, true
}

func parseTime(text string) (t time.Time, hasZone, ok bool) {
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t, true, true
	}
	if len(text) > len("2006-01-02") && text[4] == '-' {
		text = text[:10] + strings.Replace(strings.ToUpper(text[10:]), " ", "T", 1)
		if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
			return t, true, true
		}
	}
	for _, l := range layouts {
		if t, err := time.Parse(l.layout, text); err == nil {
			return t, l.zone, true
		}
	}
	t, ok = parseEpoch(text)
	return t, true, ok
}

// parseEpoch reads a number of seconds or their parts; which of them follows
// from its size. The bounds leave each unit the years 1973 to 5138.
func parseEpoch(text string) (time.Time, bool) {
	whole, fraction, _ := strings.Cut(text, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || whole[0] == '+' || !allDigits(fraction) {
		return time.Time{}, false
	}
	switch {
	case n < 1e11:
		nanos, err := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
		return time.Unix(n, nanos), err == nil
	case n < 1e14:
		return time.UnixMilli(n), true
	case n < 1e17:
		return time.UnixMicro(n), true
	default:
		return time.Unix(0, n), true
	}
}

// RefuseTime says that the text in a field is no time that is taken.
func RefuseTime(field, text string) *ingest.Rejection {
	return ingest.Refuse(ingest.CodeBadTime, field, timeLimit,
		field+" is "+ingest.Shown(text)+": a time wanted, "+timeLimit)
}
