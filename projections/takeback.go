package projections

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/profile"
	"github.com/dossier360/dossier/projections/store"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// Taking back: which of a customer's events stand is a function of the set of
// them, whichever came first.
//
//   - An event is voided if a void names its id and source, and its claimed
//     time if the void names one. A void cannot be voided.
//   - A correction of an event counts if it is not voided. An event that has
//     one that counts does not stand. Of several that count the one with the
//     greatest (issued_at, event id) stands, if nothing corrects itself.
//
// What voids and corrections say is kept in rows by the event they name, so
// that one that comes later is refused its place at once. Where what they name
// was applied already, the customer is folded again.

// rowTakeback is a row of this package among those of the sections: by hash of
// source and event id, a Takeback.
const rowTakeback profile.RowKind = 'x'

// maxTakebacks bounds the voids, and the corrections, of one event.
const maxTakebacks = 256

// maxSearchedEntries bounds the history that is searched for an event that is
// taken back without saying when it was: some 20 ms.
const maxSearchedEntries = 20_000

// Reasons for parking a void or a correction.
var (
	errTooLongToSearch  = fmt.Errorf("it names an event without its time, and the customer has more than %d events to search", maxSearchedEntries)
	errTooManyTakebacks = fmt.Errorf("there are %d voids or corrections of that event already", maxTakebacks)
)

// target is an event that is taken back: its source is that of the event that
// does it.
type target struct{ source, id string }

func (t target) row() []byte {
	sum := sha256.Sum256(append(appendSortedText(nil, t.source), t.id...))
	return sum[:16]
}

// targetOf is what an event takes back. Naming itself it takes back nothing.
func targetOf(h *logv1.Header, body *eventsv1.Event) (target, bool) {
	id := h.GetCorrects()
	if h.GetType() == eventsv1.Type_TYPE_EVENT_VOIDED {
		id = body.GetVoid().GetEventId()
	}
	return target{h.GetSource(), id}, id != "" && id != h.GetEventId()
}

// takebacks finds the row of an event of one customer; nil if there is none.
type takebacks func(t target) (*statev1.Takeback, error)

// readTakebacks finds rows as they are stored.
func readTakebacks(get func(id []byte) ([]byte, error)) takebacks {
	return func(t target) (*statev1.Takeback, error) {
		value, err := get(t.row())
		if err != nil || value == nil {
			return nil, err
		}
		row := &statev1.Takeback{}
		if err := proto.Unmarshal(value, row); err != nil {
			return nil, fmt.Errorf("what takes back event %q of %q: %w", t.id, t.source, err)
		}
		return row, nil
	}
}

// voided reports whether a row voids the event that claims a time.
func voided(row *statev1.Takeback, claimed *int64) bool {
	for _, v := range row.GetVoids() {
		if v.ClaimedAt == nil || sameTime(v.ClaimedAt, claimed) {
			return true
		}
	}
	return false
}

// part is the part that a customer plays in an event, for which a correction
// stands in its place. A company may be told of as the subject, and corrected to
// be the company of one: no customer is both in one event.
func part(role logv1.Role) logv1.Role {
	if role == logv1.Role_ROLE_COMPANY {
		return logv1.Role_ROLE_SUBJECT
	}
	return role
}

// best is the correction of t that counts and outranks the others, in a part;
// nil if none counts.
func (rows takebacks) best(t target, row *statev1.Takeback, role logv1.Role) (*statev1.Correction, error) {
	for _, c := range slices.Backward(row.GetCorrections()) {
		if part(c.By.Role) != part(role) {
			continue
		}
		own, err := rows(target{t.source, c.By.EventId})
		if err != nil {
			return nil, err
		}
		if !voided(own, c.By.ClaimedAt) {
			return c, nil
		}
	}
	return nil, nil
}

// Why an event does not stand.
const (
	takenBackVoided    = "voided"
	takenBackCorrected = "corrected"
)

// why returns why the event with a stamp does not stand, "" if it does.
// corrects is the event that it corrects, "" if none.
func (rows takebacks) why(s *statev1.Stamp, corrects string) (string, error) {
	own := target{s.Source, s.EventId}
	row, err := rows(own)
	if err != nil {
		return "", err
	}
	if s.Type == eventsv1.Type_TYPE_EVENT_VOIDED {
		return "", nil
	}
	if voided(row, s.ClaimedAt) {
		return takenBackVoided, nil
	}
	if by, err := rows.best(own, row, s.Role); err != nil || by != nil {
		return takenBackCorrected, err
	}
	if corrects == "" || corrects == s.EventId {
		return "", nil
	}
	root := target{s.Source, corrects}
	if row, err = rows(root); err != nil {
		return "", err
	}
	by, err := rows.best(root, row, s.Role)
	if err != nil {
		return "", err
	}
	if by == nil || profile.CompareStamps(by.By, s) != 0 {
		return takenBackCorrected, nil
	}
	return "", nil
}

// takebacks reads the customer's rows, the uncommitted ones included, and those
// of what he is being told once more.
func (c *customer) takebacks() takebacks {
	if c.head.Retold == nil {
		return c.ownTakebacks()
	}
	return func(t target) (*statev1.Takeback, error) {
		own, err := c.ownTakebacks()(t)
		if err != nil {
			return nil, err
		}
		row, err := c.retoldTakebacks()(t)
		if row == nil || own == nil || err != nil {
			return cmp.Or(row, own), err
		}
		noteRow(row, own)
		return row, nil
	}
}

func (c *customer) ownTakebacks() takebacks {
	return readTakebacks(func(id []byte) ([]byte, error) { return c.Get(rowTakeback, id) })
}

// retoldTakebacks reads the rows of the generation that he is being told once
// more.
func (c *customer) retoldTakebacks() takebacks {
	return readTakebacks(func(id []byte) ([]byte, error) {
		return c.o.view.Get(rowKey(c.id, c.head.GetRetold(), rowTakeback, id))
	})
}

// isRetold reports whether what an event takes back was known before anything
// that he is being told once more was applied.
func (c *customer) isRetold(t target, h *logv1.Header, body *eventsv1.Event) (bool, error) {
	if c.head.Retold == nil {
		return false, nil
	}
	row, err := c.retoldTakebacks()(t)
	if row == nil || err != nil {
		return false, err
	}
	more := proto.CloneOf(row)
	return noteIn(more, h, body) == nil && proto.Equal(more, row), nil
}

// endRetold ends the telling once more of a history. If one of its takebacks was
// not told again, for a better copy of the event took its place, facts that hold
// by it are wrong: he is folded again.
func (c *customer) endRetold() error {
	prefix := append(ownedPrefix(keyRow, c.id, c.head.GetRetold()), byte(rowTakeback))
	gone := false
	var bad error
	err := c.o.view.Scan(prefix, store.PrefixEnd(prefix), false, func(key, value []byte) bool {
		row, own := &statev1.Takeback{}, &statev1.Takeback{}
		if bad = proto.Unmarshal(value, row); bad != nil {
			return false
		}
		if value, bad = c.Get(rowTakeback, key[len(prefix):]); bad != nil {
			return false
		}
		if bad = proto.Unmarshal(value, own); bad != nil {
			return false
		}
		more := proto.CloneOf(own)
		noteRow(more, row)
		gone = !proto.Equal(more, own)
		return !gone
	})
	if err == nil {
		err = bad
	}
	if err != nil {
		return fmt.Errorf("what takes back events of customer %s: %w", c.id, err)
	}
	c.head.Retold = nil
	c.head.Stale = c.head.Stale || gone
	return nil
}

// noteRow notes in a row what another one says.
func noteRow(row, other *statev1.Takeback) {
	for _, v := range other.Voids {
		noteVoid(row, v)
	}
	for _, by := range other.Corrections {
		noteCorrection(row, by)
	}
}

// stands reports whether an event of his counts.
func (c *customer) stands(h *logv1.Header) (bool, error) {
	if !c.head.HasTakebacks && c.head.Retold == nil {
		return true, nil
	}
	why, err := c.takebacks().why(headerStamp(h), h.Corrects)
	return why == "", err
}

// headerStamp is the order key of an event as its entry has it.
func headerStamp(h *logv1.Header) *statev1.Stamp {
	return &statev1.Stamp{OccurredAt: h.OccurredAt, EventId: h.EventId, Source: h.Source, Role: h.Role, Type: h.Type, ClaimedAt: h.ClaimedAt}
}

// takeBack notes what a new event takes back, in rows that are written with the
// head. Where that was applied, the customer is to be folded again. A reason
// says that it cannot be done here; then nothing was.
func (c *customer) takeBack(t target, h *logv1.Header, body *eventsv1.Event) (reason, err error) {
	applied := c.head.Stale // then it is folded again anyway
	retold, err := c.isRetold(t, h, body)
	if err != nil {
		return nil, err
	}
	if !applied && !retold {
		if applied, reason, err = c.applied(t, h, body); err != nil || reason != nil {
			return reason, err
		}
	}
	switch err := c.note(t, h, body); {
	case errors.Is(err, errTooManyTakebacks):
		return err, nil
	case err != nil:
		return nil, err
	}
	c.head.Stale = applied
	return nil, nil
}

// applied reports whether the facts may hold something that an event takes
// back: what it names, or another correction of it.
func (c *customer) applied(t target, h *logv1.Header, body *eventsv1.Event) (found bool, reason, err error) {
	claimed := claimedTarget(h, body)
	n := 0
	err = c.everyEntry(func(e *statev1.Entry) error {
		if n++; n > c.o.searchedEntries {
			return errLong
		}
		found = found || e.Source == t.source && e.EventId == t.id && (claimed == nil || sameTime(claimed, e.ClaimedAt))
		return nil
	})
	if err == nil && !found && h.Corrects != "" {
		found, err = c.corrected(t)
	}
	if !errors.Is(err, errLong) {
		return found, nil, err
	}
	switch {
	case claimed != nil:
	case h.Held:
		return true, nil, nil
	case h.Role == logv1.Role_ROLE_SUBJECT:
		return false, errTooLongToSearch, nil
	default:
		// It is only told to him in case that what it names comes yet: his part in
		// it would have been found with its subject.
		return false, nil, nil
	}
	found, err = c.holdsAt(t, *claimed)
	return found, nil, err
}

// claimedTarget is the claimed time of the event that a void names, nil if it
// names none.
func claimedTarget(h *logv1.Header, body *eventsv1.Event) *int64 {
	if at := body.GetVoid().GetTime(); at != nil && h.GetType() == eventsv1.Type_TYPE_EVENT_VOIDED {
		claimed := events.Micros(at.AsTime())
		return &claimed
	}
	return nil
}

func (c *customer) corrected(t target) (bool, error) {
	if !c.head.HasTakebacks && c.head.Retold == nil {
		return false, nil
	}
	row, err := c.takebacks()(t)
	return len(row.GetCorrections()) > 0, err
}

// holdsAt reports whether a customer of any length has an event that claims a
// time: it asks for every type and role that it could have.
func (c *customer) holdsAt(t target, claimed int64) (bool, error) {
	for typ := range eventsv1.Type_name {
		for role := range logv1.Role_name {
			h := &logv1.Header{EventId: t.id, Source: t.source, Type: eventsv1.Type(typ), Role: logv1.Role(role), ClaimedAt: &claimed, OccurredAt: claimed}
			if f, err := c.find(h); err != nil || f != nil {
				return f != nil, err
			}
		}
	}
	return false, nil
}

// note keeps what an event takes back in the row of what it names.
func (c *customer) note(t target, h *logv1.Header, body *eventsv1.Event) error {
	row, err := c.ownTakebacks()(t)
	if err != nil {
		return err
	}
	if row == nil {
		row = &statev1.Takeback{}
	}
	if err := noteIn(row, h, body); err != nil {
		return err
	}
	return c.putTakeback(t, row)
}

// noteIn keeps what an event takes back in a row, unless the row is full.
func noteIn(row *statev1.Takeback, h *logv1.Header, body *eventsv1.Event) error {
	var kept bool
	if h.Type == eventsv1.Type_TYPE_EVENT_VOIDED {
		kept = noteVoid(row, &statev1.VoidedTime{ClaimedAt: claimedTarget(h, body), By: headerStamp(h)})
	} else {
		kept = noteCorrection(row, &statev1.Correction{IssuedAt: events.IssuedAt(h.IssuedAt, h.ClaimedAt, h.OccurredAt), By: headerStamp(h)})
	}
	if !kept {
		return errTooManyTakebacks
	}
	return nil
}

func (c *customer) putTakeback(t target, row *statev1.Takeback) error {
	value, err := proto.Marshal(row)
	if err != nil {
		return fmt.Errorf("note what takes back event %q of %q: %w", t.id, t.source, err)
	}
	c.Put(rowTakeback, t.row(), value)
	c.head.HasTakebacks = true
	return nil
}

// noteVoid keeps the least void of each time.
func noteVoid(row *statev1.Takeback, v *statev1.VoidedTime) bool {
	i, found := slices.BinarySearchFunc(row.Voids, v, func(a, b *statev1.VoidedTime) int { return compareTimes(a.ClaimedAt, b.ClaimedAt) })
	switch {
	case !found && len(row.Voids) == maxTakebacks:
		return false
	case !found:
		row.Voids = slices.Insert(row.Voids, i, v)
	case profile.CompareStamps(v.By, row.Voids[i].By) < 0:
		row.Voids[i] = v
	}
	return true
}

// compareTimes orders instants, none before any other.
func compareTimes(a, b *int64) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	return cmp.Compare(*a, *b)
}

// noteCorrection keeps corrections in order of rank.
func noteCorrection(row *statev1.Takeback, c *statev1.Correction) bool {
	i, found := slices.BinarySearchFunc(row.Corrections, c, compareCorrections)
	switch {
	case found:
	case len(row.Corrections) == maxTakebacks:
		return false
	default:
		row.Corrections = slices.Insert(row.Corrections, i, c)
	}
	return true
}

func compareCorrections(a, b *statev1.Correction) int {
	return cmp.Or(cmp.Compare(a.IssuedAt, b.IssuedAt), cmp.Compare(a.By.EventId, b.By.EventId), profile.CompareStamps(a.By, b.By))
}

// TakenBack returns a function that says of a customer's entries why they do
// not stand: "voided", "corrected", or "" if they do.
func (v *View) TakenBack(c events.CustomerID) (func(*statev1.Entry) (string, error), error) {
	head, err := v.Head(c)
	if err != nil {
		return nil, err
	}
	if !head.HasTakebacks {
		return func(*statev1.Entry) (string, error) { return "", nil }, nil
	}
	rows, err := v.rowsOf(c, head.Generation)
	if err != nil {
		return nil, err
	}
	return func(e *statev1.Entry) (string, error) { return rows.why(stampOf(e), e.Corrects) }, nil
}

// rowsOf reads what takes back events of a customer's generation, once.
func (v *View) rowsOf(c events.CustomerID, generation uint32) (takebacks, error) {
	prefix := append(ownedPrefix(keyRow, c, generation), byte(rowTakeback))
	all := map[string][]byte{}
	err := v.view.Scan(prefix, store.PrefixEnd(prefix), false, func(key, value []byte) bool {
		all[string(key[len(prefix):])] = slices.Clone(value)
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("what takes back events of customer %s: %w", c, err)
	}
	return readTakebacks(func(id []byte) ([]byte, error) { return all[string(id)], nil }), nil
}
