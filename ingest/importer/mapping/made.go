package mapping

import (
	"fmt"
	"strconv"
	"strings"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

// Made is an event that rows became.
type Made struct {
	// ID of the record, which is the event's: the same rows make the same id in
	// every run. At most [ingest.MaxIDCharacters] characters.
	ID string
	// Type is the event's name: canonical, or a custom event's own.
	Type string
	// Event in the native form, without source: the payload of its type, as the
	// gateway would make it of the fields, and what has no field of its own in
	// properties_json.
	Event *eventsv1.Event
	// Lines of the file that made it, in file order.
	Lines []int
	// Rule is the place of the rule in the mapping, from 0.
	Rule int
}

// Reject says why a row, or all rows of a group, made no event.
type Reject struct {
	File   string
	Line   int
	Column string // "" where it is no single column's fault
	Value  string
	Reason string
}

// String writes the reject as a person reads it.
func (r Reject) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d: ", r.File, r.Line)
	if r.Column != "" {
		b.WriteString(r.Column + " ")
		if r.Value != "" {
			b.WriteString("is " + strconv.Quote(cut(r.Value)) + ": ")
		}
	}
	b.WriteString(r.Reason)
	return b.String()
}

// Outcome says what became of one row beside events and rejects.
type Outcome struct {
	Skipped   int // 1 if a rule leaves the row out on purpose
	Unmatched int // 1 if no rule's condition held
	Held      int // rules that hold the row until its group is whole
}
