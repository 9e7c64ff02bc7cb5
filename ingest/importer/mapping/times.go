package mapping

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/width"
)

// times reads times as a file writes them.
type times struct {
	zone    *time.Location
	layouts []string // of the mapping, in order
}

// counting are the layouts that are no texts of Go's but counts since an
// instant.
var counting = map[string]struct {
	unit  time.Duration
	since time.Time
}{
	"unix":      {time.Second, time.Unix(0, 0)},
	"unixmilli": {time.Millisecond, time.Unix(0, 0)},
	"unixmicro": {time.Microsecond, time.Unix(0, 0)},
	"excel":     {24 * time.Hour, time.Time{}}, // days of a local calendar: see [times.excel]
}

// isoLayouts are those that are always tried: year first, so that nothing can be
// read in two ways.
var isoLayouts = func() []string {
	var all []string
	for _, day := range []string{"2006-1-2", "2006/1/2", "2006.1.2", "2006年1月2日"} {
		all = append(all, day)
		for _, between := range []string{" ", "T"} {
			for _, clock := range []string{"15:04:05", "15:04"} {
				for _, offset := range []string{"", "Z07:00", "Z0700", "Z07", " Z07:00", " -0700"} {
					all = append(all, day+between+clock+offset)
				}
			}
		}
	}
	return all
}()

// read finds the instant that a text names, by the layouts of the mapping and
// then by the ISO forms.
func (t times) read(text string) (time.Time, bool) {
	text = strings.TrimSpace(text)
	if !isASCII(text) {
		text = width.Narrow.String(text)
	}
	for _, layout := range t.layouts {
		if at, ok := t.by(layout, text); ok {
			return at, true
		}
	}
	if len(text) < len("2006-1-2") || len(text) > 64 || strings.Trim(text[:4], "0123456789") != "" {
		return time.Time{}, false
	}
	for _, utc := range [...]string{" UTC", " GMT"} {
		if clock, ok := strings.CutSuffix(text, utc); ok && strings.Contains(clock, ":") {
			text = clock + "Z"
		}
	}
	for _, layout := range isoLayouts {
		if at, ok := t.by(layout, text); ok {
			return at, true
		}
	}
	return time.Time{}, false
}

// by reads a text by one layout.
func (t times) by(layout, text string) (time.Time, bool) {
	if layout == "excel" {
		return t.excel(text)
	}
	if c, ok := counting[layout]; ok {
		return count(text, c.unit, c.since)
	}
	if strings.Contains(layout, zoneName) {
		return t.abbreviated(layout, text)
	}
	wall, err := time.ParseInLocation(layout, text, unzoned)
	if err != nil {
		return time.Time{}, false
	}
	if wall.Location() != unzoned { // the text has a zone of its own
		return wall.UTC(), true
	}
	return t.local(wall), true
}

// zoneName is the part of a layout that stands for the abbreviation of a zone.
const zoneName = "MST"

// abbreviated reads a text by a layout with the abbreviation of a zone. Those of
// the mapping's zone are known, UTC and GMT; what others mean nobody can say.
func (t times) abbreviated(layout, text string) (time.Time, bool) {
	at, err := time.ParseInLocation(layout, text, t.zone)
	if err != nil {
		return time.Time{}, false
	}
	name, offset := at.Zone()
	known := at.Location() == t.zone || at.Location() == time.UTC || offset != 0 || name == "GMT"
	return at.UTC(), known
}

// unzoned is the location by which a text without a zone is told from one with:
// no text has an offset of a second.
var unzoned = time.FixedZone("", 1)

// local is the instant at which the clocks of the zone show what a time says.
// Of two the first; of none, where the clocks were put forward, that at which
// they would have shown it had nobody touched them.
func (t times) local(wall time.Time) time.Time {
	wall = time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), wall.Nanosecond(), time.UTC)
	_, before := wall.Add(-24 * time.Hour).In(t.zone).Zone()
	_, after := wall.Add(24 * time.Hour).In(t.zone).Zone()
	early := wall.Add(-time.Duration(before) * time.Second)
	late := wall.Add(-time.Duration(after) * time.Second)
	shows := func(at time.Time) bool {
		_, offset := at.In(t.zone).Zone()
		return at.Add(time.Duration(offset) * time.Second).Equal(wall)
	}
	switch {
	case shows(early) && shows(late) && late.Before(early):
		return late
	case shows(early) || !shows(late):
		return early
	}
	return late
}

func count(text string, unit time.Duration, since time.Time) (time.Time, bool) {
	nanos, ok := nanosOf(text, unit)
	if !ok {
		return time.Time{}, false
	}
	return since.Add(nanos).UTC(), true
}

// nanosOf is a decimal number of units, nothing beyond what a Duration holds.
func nanosOf(text string, unit time.Duration) (time.Duration, bool) {
	plain, ok := numbers{'.'}.plain(strings.TrimPrefix(text, "-"))
	if !ok || len(plain) > 40 || strings.Contains(plain, "e") {
		return 0, false
	}
	r, ok := new(big.Rat).SetString(plain)
	if !ok {
		return 0, false
	}
	r.Mul(r, big.NewRat(int64(unit), 1))
	n := new(big.Int).Quo(r.Num(), r.Denom())
	if !n.IsInt64() {
		return 0, false
	}
	if strings.HasPrefix(text, "-") {
		return -time.Duration(n.Int64()), true
	}
	return time.Duration(n.Int64()), true
}

// excel reads a count of days as spreadsheets keep dates. The local time is
// rounded to a millisecond: a day is no decimal fraction.
func (t times) excel(text string) (time.Time, bool) {
	nanos, ok := nanosOf(text, 24*time.Hour)
	if !ok || nanos < 0 {
		return time.Time{}, false
	}
	wall := time.Date(1899, 12, 30, 0, 0, 0, 0, time.UTC).Add(nanos).Round(time.Millisecond)
	return t.local(wall), true
}

// want says what the texts should have been, for a message.
func (t times) want() string {
	if len(t.layouts) == 0 {
		return "is no time such as 2006-01-02 15:04; name its form in dates, as dates: [\"02/01/2006\"]"
	}
	want := "fits none of dates (" + strings.Join(t.layouts, ", ") + ")"
	if slices.ContainsFunc(t.layouts, func(l string) bool { return strings.Contains(l, zoneName) }) {
		want += "; of abbreviations those of zone " + t.zone.String() + " are known, UTC and GMT"
	}
	return want
}

// checkLayout says what is wrong with a layout, "" if nothing is.
func checkLayout(layout string) string {
	if _, ok := counting[layout]; ok {
		return ""
	}
	if written := translated(layout); written != layout {
		return fmt.Sprintf("%q is no Go layout: a layout shows 2 January 2006, 15:04:05, as dates are written; write %q", layout, written)
	}
	at := time.Date(2017, 11, 23, 19, 41, 53, 0, time.UTC)
	again, err := time.Parse(layout, at.Format(layout))
	if err == nil && again.Year() == at.Year() && again.Month() == at.Month() && again.Day() == at.Day() {
		return ""
	}
	known := []string{"unix", "unixmilli", "unixmicro", "excel"}
	if best := nearest(layout, known, 2); best != "" {
		return fmt.Sprintf("%q is no layout; %s is near", layout, best)
	}
	return fmt.Sprintf("%q does not say year, month and day: a layout shows 2 January 2006, 15:04:05, as dates are written, "+
		"\"02/01/2006 15:04\" for the day first; or it is one of %s", layout, strings.Join(known, ", "))
}

// foreign are the words of other programs for the parts of a date.
var foreign = [][2]string{
	{"%Y", "2006"}, {"%y", "06"}, {"%m", "01"}, {"%d", "02"}, {"%H", "15"}, {"%I", "03"}, {"%M", "04"}, {"%S", "05"}, {"%p", "PM"}, {"%b", "Jan"}, {"%B", "January"},
	{"YYYY", "2006"}, {"yyyy", "2006"}, {"DD", "02"}, {"dd", "02"}, {"HH", "15"}, {"hh", "03"}, {"SS", "05"}, {"ss", "05"}, {"mm", "04"}, {"YY", "06"}, {"yy", "06"},
	{"MMM", "Jan"}, {"MM", "01"},
}

// translated writes a layout of another program as Go does.
func translated(layout string) string {
	written := layout
	if i := strings.Index(written, "mm"); i >= 0 && !strings.Contains(written, "MM") && !strings.Contains(written[:i], "HH") {
		written = strings.Replace(written, "mm", "MM", 1) // yyyy-mm-dd
	}
	isPart := func(p [2]string) bool { return strings.Contains(layout, p[0]) }
	if !slices.ContainsFunc(foreign, isPart) {
		return layout
	}
	for _, part := range foreign {
		written = strings.ReplaceAll(written, part[0], part[1])
	}
	return written
}
