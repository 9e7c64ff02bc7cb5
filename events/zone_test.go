package events_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/dossier360/dossier/events"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// zones are those of the law: fixed, with daylight saving, north and south,
// clocks set at midnight (St_Johns at one past it, so that a day came twice),
// and a day that never was (Apia, 2011-12-30).
var zones = []string{
	"UTC", "Asia/Shanghai", "America/New_York", "Europe/London", "Asia/Kolkata", "Australia/Lord_Howe",
	"America/Sao_Paulo", "America/St_Johns", "Pacific/Apia", "Africa/Casablanca", "Asia/Kathmandu",
}

func newZone(t testing.TB, name string) *events.Zone {
	t.Helper()
	spans, err := events.ZoneSpans(name)
	if err != nil {
		t.Fatal(err)
	}
	zone, err := events.NewZone(spans)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

// civilDay counts the day of t by its own calendar.
func civilDay(t time.Time) int32 {
	y, m, d := t.Date()
	return int32(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / 86400)
}

func TestZoneLaws(t *testing.T) {
	t.Parallel()
	from := time.Date(1970, 1, 3, 0, 0, 0, 0, time.UTC)
	to := time.Date(2199, 12, 30, 0, 0, 0, 0, time.UTC)
	for _, name := range zones {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			zone := newZone(t, name)
			location, err := time.LoadLocation(name)
			if err != nil {
				t.Fatal(err)
			}
			// Instants near a change of the clocks are where errors live.
			var changes []int64
			_, offset := from.In(location).Zone()
			for at := from; at.Before(to); at = at.Add(24 * time.Hour) {
				if _, now := at.In(location).Zone(); now != offset {
					changes, offset = append(changes, at.UnixMicro()), now
				}
			}
			rapid.Check(t, func(t *rapid.T) {
				micros := rapid.Int64Range(from.UnixMicro(), to.UnixMicro()).Draw(t, "micros")
				if len(changes) > 0 && rapid.Bool().Draw(t, "near a change") {
					micros = rapid.SampledFrom(changes).Draw(t, "change") +
						rapid.Int64Range(-50*3600e6, 50*3600e6).Draw(t, "distance")
				}
				day := zone.Day(micros)
				if want := civilDay(events.FromMicros(micros).In(location)); day != want {
					t.Fatalf("day of %v is %d, want %d", events.FromMicros(micros).In(location), day, want)
				}
				start := zone.DayStart(day)
				if start > micros {
					t.Fatalf("day %d starts at %d, after its instant %d", day, start, micros)
				}
				if got := zone.Day(start); got != day {
					t.Fatalf("day %d starts at %v, which is of day %d", day, events.FromMicros(start).In(location), got)
				}
				before := start - rapid.Int64Range(1, 48*3600e6).Draw(t, "before")
				if got := zone.Day(before); got >= day {
					t.Fatalf("day %d starts at %v, but %v is of day %d", day, events.FromMicros(start), events.FromMicros(before), got)
				}
			})
		})
	}
}

func TestZoneDays(t *testing.T) {
	t.Parallel()
	at := func(s string) int64 {
		parsed, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return events.Micros(parsed)
	}
	for _, test := range []struct {
		zone, instant string
		day           string // by the zone's calendar
		start         string // of that day
	}{
		{"UTC", "2026-03-01T23:59:59Z", "2026-03-01", "2026-03-01T00:00:00Z"},
		{"Asia/Shanghai", "2026-03-01T16:00:00Z", "2026-03-02", "2026-03-01T16:00:00Z"},
		{"America/New_York", "2026-03-08T12:00:00Z", "2026-03-08", "2026-03-08T05:00:00Z"}, // the day of 23 hours
		{"America/New_York", "2026-11-01T12:00:00Z", "2026-11-01", "2026-11-01T04:00:00Z"}, // of 25 hours
		{"Europe/London", "2100-07-01T12:00:00Z", "2100-07-01", "2100-06-30T23:00:00Z"},
		{"Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-31", "2011-12-30T10:00:00Z"}, // the 30th never was
	} {
		zone := newZone(t, test.zone)
		want := int32(at(test.day+"T00:00:00Z") / 86400e6)
		if got := zone.Day(at(test.instant)); got != want {
			t.Errorf("%s: day of %s is %d, want %d (%s)", test.zone, test.instant, got, want, test.day)
		}
		if got := zone.DayStart(want); got != at(test.start) {
			t.Errorf("%s: day %s starts at %v, want %s", test.zone, test.day, events.FromMicros(got), test.start)
		}
	}
	// A day that was skipped starts with the next one.
	apia := newZone(t, "Pacific/Apia")
	skipped := int32(at("2011-12-30T00:00:00Z") / 86400e6)
	if got, want := apia.DayStart(skipped), apia.DayStart(skipped+1); got != want {
		t.Errorf("the skipped day starts at %v, want %v", events.FromMicros(got), events.FromMicros(want))
	}
}

func TestZoneAtTheEdges(t *testing.T) {
	t.Parallel()
	for _, name := range zones {
		zone := newZone(t, name)
		if got := zone.Day(math.MinInt64); got > -106_751_990 {
			t.Errorf("%s: day of the least instant: %d", name, got)
		}
		if got := zone.Day(math.MaxInt64); got < 106_751_990 {
			t.Errorf("%s: day of the greatest instant: %d", name, got)
		}
		if got := zone.DayStart(math.MinInt32); got != math.MinInt64 {
			t.Errorf("%s: start of the least day: %d", name, got)
		}
		if got := zone.DayStart(math.MaxInt32); got != math.MaxInt64 {
			t.Errorf("%s: start of the greatest day: %d", name, got)
		}
	}
}

func TestZoneSpans(t *testing.T) {
	t.Parallel()
	for name, count := range map[string]int{"UTC": 1, "Asia/Kathmandu": 2} {
		spans, err := events.ZoneSpans(name)
		if err != nil || len(spans) != count || spans[0].GetStart() != math.MinInt64 {
			t.Errorf("%s: %v, error %v; want %d spans, the first from the beginning of time", name, spans, err, count)
		}
	}
	for _, name := range []string{"", "Local", "Mars/Olympus", "../etc/passwd"} {
		_, err := events.ZoneSpans(name)
		if err == nil || !strings.Contains(err.Error(), `time zone "`+name+`"`) {
			t.Errorf("%q: %v, want an error naming it", name, err)
		}
	}
}

func TestNewZoneRefuses(t *testing.T) {
	t.Parallel()
	const begin = math.MinInt64
	for _, test := range []struct {
		name  string
		spans []*logv1.ZoneSpan
		want  string
	}{
		{"none", nil, "no spans"},
		{"no beginning", []*logv1.ZoneSpan{{Start: 0}}, "beginning of time"},
		{"not in order", []*logv1.ZoneSpan{{Start: begin}, {Start: 5}, {Start: 4}}, "span 2"},
		{"twice", []*logv1.ZoneSpan{{Start: begin}, {Start: 5}, {Start: 5}}, "span 2"},
		{"offset", []*logv1.ZoneSpan{{Start: begin, OffsetSeconds: 86_401}}, "86401"},
		{"offset west", []*logv1.ZoneSpan{{Start: begin, OffsetSeconds: -86_401}}, "-86401"},
	} {
		if _, err := events.NewZone(test.spans); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want an error with %q", test.name, err, test.want)
		}
	}
	if _, err := events.NewZone([]*logv1.ZoneSpan{{Start: begin, OffsetSeconds: 86_400}}); err != nil {
		t.Errorf("an offset at the bound: %v", err)
	}
}

func BenchmarkZoneDay(b *testing.B) {
	zone := newZone(b, "America/New_York")
	at := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC).UnixMicro()
	for b.Loop() {
		zone.Day(at)
	}
}

// The offset is that of the zone files, also where clocks are set.
func TestZoneOffset(t *testing.T) {
	t.Parallel()
	location, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	zone := newZone(t, "Europe/Berlin")
	for _, at := range []time.Time{
		time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 3, 29, 0, 59, 59, 999_999_000, time.UTC), time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC),
		time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC), time.Date(2026, 10, 25, 0, 59, 59, 0, time.UTC), time.Date(2026, 10, 25, 1, 0, 0, 0, time.UTC),
	} {
		_, seconds := at.In(location).Zone()
		if got, want := zone.Offset(events.Micros(at)), time.Duration(seconds)*time.Second; got != want {
			t.Errorf("%v: %v, want %v", at, got, want)
		}
	}
}
