package importer

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

// A Source reads rows and hands on what each came to. It ends with the error of
// emit, if emit has one, or with its own.
type Source func(ctx context.Context, emit func(Item) error) error

// Item is what a row came to, or a group of rows after the last of them.
type Item struct {
	File string
	// Line of the row; 0 of what a group came to, whose rows were items before.
	Line int
	// Skipped says that the mapping leaves the row out on purpose, Unmatched
	// that no rule of it fits.
	Skipped, Unmatched bool
	Records            []Record
	Refused            []Refusal
	// Columns of the file; nil if it has none of its own.
	Columns []string
	// Cells of the row as read, for who is told of it; nil if they are not at hand.
	Cells []any
}

// cellsOf are the cells of a line: those of the item, unless it brings what rows
// before it came to.
func (i *Item) cellsOf(line int) []any {
	if line != i.Line {
		return nil
	}
	return i.Cells
}

// Record is an event that a file tells.
type Record struct {
	// ID names the record among those of its source that tell events of the same
	// type: the same record has the same id in every import. Not empty.
	ID string
	// Event as it is told, but for its id; what it corrects, if it does, it names
	// by the id of that one's record.
	Event *eventsv1.Event
	// Lines are the rows it was made of, the first of them first.
	Lines []int
}

// Refusal says why no event could be made.
type Refusal struct {
	Line                  int
	Column, Value, Reason string
}

// What an import says of a row or its event, beside the verdicts of
// [ingest.Gateway.Preview].
const (
	VerdictSkipped   = "skipped"
	VerdictUnmatched = "unmatched"
)

// Outcome is what became of a row, or of one of the events of a row.
type Outcome struct {
	File string
	Line int
	// ID of the record and type of its event; "" if there is none.
	ID, Event string
	Verdict   string
	// Column and Value say where a reason lies, if it lies in one cell or field.
	Column, Value, Reason string
	// Columns of the file, and the cells of the row; nil if they are not at hand,
	// as those of groups are not. See [Files.Find].
	Columns []string
	Cells   []any
}

// Summary counts what an import came to.
type Summary struct {
	Rows, Events                         int64
	New, Changed, Duplicate, Conflicting int64
	Rejected, Skipped, Unmatched         int64
}

func (s *Summary) count(verdict string) {
	switch verdict {
	case ingest.VerdictNew:
		s.New++
	case ingest.VerdictChanged:
		s.Changed++
	case ingest.VerdictDuplicate:
		s.Duplicate++
	case ingest.VerdictConflicting:
		s.Conflicting++
	case ingest.VerdictRejected:
		s.Rejected++
	case VerdictSkipped:
		s.Skipped++
	case VerdictUnmatched:
		s.Unmatched++
	default:
		panic("not reached: verdict " + verdict)
	}
}

// revisionCharacters is what a revision's id has more than its record's.
var revisionCharacters = len(events.Revision("", 0))

// eventID is the id that an event is told by: its type, a slash, and the id of
// the record. The log names what a correction takes the place of by source and
// id alone, and row 17 of the customers has nothing to do with order 17. Of one
// instant, as of exports that know one day of an order and what became of it, the
// order of ids decides, and a cancellation comes after what it cancels. An id
// too long for a revision of it to have one, or that looks like a revision
// itself, is replaced by its hash.
func eventID(typ, record string) string {
	name := typ
	if t := events.TypeByName(typ); t != eventsv1.Type_TYPE_CUSTOM {
		name = events.TypeName(t)
		if t == eventsv1.Type_TYPE_ORDER_CANCELLED {
			name = "order.then.cancelled" // else before order.placed
		}
	}
	id := name + "/" + record
	_, revision := events.RevisionOf(id)
	if utf8.RuneCountInString(id)+revisionCharacters <= ingest.MaxIDCharacters && !revision {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}

// corrects reports whether a revision of an event of a type corrects it. It does
// of what happened. Of what tells how something is the latest telling stands by
// itself, and what was true before stays in the history; a void corrects
// nothing.
func corrects(typ string) bool {
	switch events.TypeByName(typ) {
	case eventsv1.Type_TYPE_TRAITS_SET, eventsv1.Type_TYPE_GROUP_JOINED, eventsv1.Type_TYPE_GROUP_LEFT,
		eventsv1.Type_TYPE_CONSENT_CHANGED, eventsv1.Type_TYPE_EVENT_VOIDED:
		return false
	}
	return true
}

// revise makes an event a revision of the record that it tells. Its number is
// when the run began, in microseconds, or, if the known telling is of a clock
// that was ahead, one more than that one's: the latest revision is the one that
// stands.
func revise(e *eventsv1.Event, started int64, knownID string) *eventsv1.Event {
	number := uint64(started)
	if record, ok := events.RevisionOf(knownID); ok && record == e.Id {
		if known, err := strconv.ParseUint(knownID[len(record)+1:], 10, 63); err == nil {
			number = max(number, known+1)
		}
	}
	revision := proto.CloneOf(e)
	revision.Id = events.Revision(e.Id, number)
	if e.Corrects != "" || corrects(e.Type) {
		// What is corrected is the first telling always, never a correction.
		revision.Corrects = cmp.Or(e.Corrects, e.Id)
		revision.IssuedAt = timestamppb.New(events.FromMicros(int64(number)))
	}
	return revision
}
