package events

import (
	"errors"
	"fmt"
	"math"
	"sort"
	"time"
	_ "time/tzdata" // so that a name means the same on every machine

	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

const (
	microsPerSecond = 1_000_000
	microsPerDay    = 24 * 60 * 60 * microsPerSecond

	// maxOffsetSeconds bounds an offset: the widest in the zone files is
	// a little over 15 hours.
	maxOffsetSeconds = 24 * 60 * 60
	// maxZoneSpans bounds what one Genesis may hold; the zones that change
	// most have about 500 spans until 2200.
	maxZoneSpans = 4096
)

// The years that [ZoneSpans] walks. No event is older, and later than that the
// last offset stands.
var (
	zoneFrom = time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)
	zoneTo   = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
)

// ZoneSpans lists the offsets of an IANA time zone from 1970 to 2200, for
// Genesis: once they are in the log, a day never depends on the zone files of
// a machine. Neighbours of equal offset are one span.
func ZoneSpans(name string) ([]*logv1.ZoneSpan, error) {
	// LoadLocation reads "" as UTC and "Local" as the machine's zone.
	if name == "" || name == "Local" {
		return nil, fmt.Errorf("time zone %q: the name of an IANA zone wanted, as Asia/Shanghai", name)
	}
	location, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("time zone %q: %w", name, err)
	}
	offsetAt := func(unix int64) int32 {
		_, offset := time.Unix(unix, 0).In(location).Zone()
		return int32(offset)
	}
	at := zoneFrom.Unix()
	spans := []*logv1.ZoneSpan{{Start: math.MinInt64, OffsetSeconds: offsetAt(at)}}
	for at < zoneTo.Unix() {
		// ZoneBounds says where to look; where exactly is searched for. In the
		// years that the zone files give a rule for, its end can be a year's
		// end, too early in leap years, and then the very instant asked about.
		next := zoneTo.Unix()
		if _, end := time.Unix(at, 0).In(location).ZoneBounds(); !end.IsZero() {
			next = max(end.Unix(), at+24*60*60)
		}
		before := spans[len(spans)-1].GetOffsetSeconds()
		change := at + 1 + int64(sort.Search(int(next-at-1), func(i int) bool {
			return offsetAt(at+1+int64(i)) != before
		}))
		if after := offsetAt(change); after != before {
			spans = append(spans, &logv1.ZoneSpan{Start: change * microsPerSecond, OffsetSeconds: after})
		}
		at = change
	}
	return spans, nil
}

// Zone is a time zone as Genesis holds it. It tells days from instants, and is
// safe for concurrent use.
type Zone struct {
	starts  []int64 // micros, ascending; the first is math.MinInt64
	offsets []int64 // micros east of UTC, one for each start
}

// NewZone makes a zone of the spans of a Genesis.
func NewZone(spans []*logv1.ZoneSpan) (*Zone, error) {
	if len(spans) == 0 {
		return nil, errors.New("zone: no spans")
	}
	if len(spans) > maxZoneSpans {
		return nil, fmt.Errorf("zone: %d spans, limit %d", len(spans), maxZoneSpans)
	}
	z := &Zone{
		starts:  make([]int64, len(spans)),
		offsets: make([]int64, len(spans)),
	}
	for i, span := range spans {
		start, offset := span.GetStart(), int64(span.GetOffsetSeconds())
		switch {
		case i == 0 && start != math.MinInt64:
			return nil, fmt.Errorf("zone: span 0 starts at %d, not at the beginning of time (%d)", start, int64(math.MinInt64))
		case i > 0 && start <= z.starts[i-1]:
			return nil, fmt.Errorf("zone: span %d starts at %d, not after span %d at %d", i, start, i-1, z.starts[i-1])
		case offset < -maxOffsetSeconds || offset > maxOffsetSeconds:
			return nil, fmt.Errorf("zone: span %d has an offset of %d s, limit ±%d", i, offset, maxOffsetSeconds)
		}
		z.starts[i], z.offsets[i] = start, offset*microsPerSecond
	}
	return z, nil
}

// Day is the day of an instant: days since 1970-01-01 by the zone's calendar.
func (z *Zone) Day(micros int64) int32 {
	// Divided before the offset is added, so that nothing overflows.
	day, rest := floorDay(micros)
	more, _ := floorDay(rest + z.offsets[z.span(micros)])
	return int32(day + more)
}

// Offset is how far the zone's clocks are ahead of those at UTC at an instant.
func (z *Zone) Offset(micros int64) time.Duration {
	return time.Duration(z.offsets[z.span(micros)]) * time.Microsecond
}

// DayStart is the first instant of a day, or of the next one where the zone
// skipped that day or its midnight: the least instant whose Day is at least
// day. A day whose start has no instant is cut to the greatest or least one.
func (z *Zone) DayStart(day int32) int64 {
	const (
		lastDay  = math.MaxInt64/microsPerDay - 2
		firstDay = math.MinInt64/microsPerDay + 2
	)
	switch {
	case int64(day) > lastDay:
		return math.MaxInt64
	case int64(day) < firstDay:
		return math.MinInt64
	}
	midnight := int64(day) * microsPerDay // by a clock at UTC
	// The first span that can hold the instant, then forward: where clocks
	// were set back over midnight the day starts twice, and the first counts.
	for i := z.span(midnight - maxOffsetSeconds*microsPerSecond); ; i++ {
		start := max(z.starts[i], midnight-z.offsets[i])
		if i+1 == len(z.starts) || start < z.starts[i+1] {
			return start
		}
	}
}

// span is the index of the last span that starts at or before micros.
func (z *Zone) span(micros int64) int {
	low, high := 0, len(z.starts)
	for high-low > 1 {
		middle := int(uint(low+high) >> 1)
		if z.starts[middle] <= micros {
			low = middle
		} else {
			high = middle
		}
	}
	return low
}

// floorDay divides by the length of a day, towards the past.
func floorDay(micros int64) (day, rest int64) {
	day, rest = micros/microsPerDay, micros%microsPerDay
	if rest < 0 {
		day, rest = day-1, rest+microsPerDay
	}
	return day, rest
}
