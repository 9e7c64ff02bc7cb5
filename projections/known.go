package projections

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dossier360/dossier/events"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// Record names what a source told as it names it itself: by an id and a type.
// Every revision of a record is an event of its own; see [events.RevisionOf].
type Record struct {
	Source, ID string
	Type       eventsv1.Type
	Name       string // of a custom event
	// ClaimedAt is when it happened, as its source tells it now; nil: it does
	// not tell.
	ClaimedAt *int64
}

// maxParkedKnown bounds the parked events of a customer that are looked at.
const maxParkedKnown = 10_000

// Latest finds the latest telling of records by a customer's history as it is
// folded: of those told in his newest 1,000 events, at the very time claimed in
// any history, and of those that are parked: told once more they would only be
// parked again. Nil stands for a record that was not found. Of a parked event
// the entry holds what names it and tells its content apart.
func (p *Partition) Latest(c events.CustomerID, records []Record) ([]*statev1.Entry, error) {
	v := p.View()
	defer v.Close()
	latest := make([]*statev1.Entry, len(records))
	cut, err := v.scanRecords(c, nil, records, latest, func(n int, _ *statev1.Entry) bool { return n <= maxRefoldEntries })
	if errors.Is(err, ErrNotFound) {
		return latest, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find what is known of customer %s: %w", c, err)
	}
	for i := range records {
		at := records[i].ClaimedAt
		if !cut || latest[i] != nil || at == nil {
			continue
		}
		_, err := v.scanRecords(c, &statev1.Stamp{OccurredAt: *at + 1}, records[i:i+1], latest[i:i+1],
			func(_ int, e *statev1.Entry) bool { return e.OccurredAt >= *at })
		if err != nil {
			return nil, fmt.Errorf("find record %q of customer %s: %w", records[i].ID, c, err)
		}
	}
	parked, err := v.parkedOf(c, maxParkedKnown)
	if err != nil {
		return nil, fmt.Errorf("find what is parked of customer %s: %w", c, err)
	}
	wanted := byID(records)
	for _, p := range parked {
		wanted.tell(latest, records, &statev1.Entry{
			EventId: p.EventId, Source: p.Source, Role: p.Role, Type: p.Type, Name: p.Name,
			OccurredAt: p.OccurredAt, ClaimedAt: p.ClaimedAt, Corrects: p.Corrects, BodyHash: p.BodyHash,
		})
	}
	return latest, nil
}

// wantedRecords are indexes of records by id.
type wantedRecords map[string][]int

func byID(records []Record) wantedRecords {
	wanted := make(wantedRecords, len(records))
	for i, r := range records {
		wanted[r.ID] = append(wanted[r.ID], i)
	}
	return wanted
}

// tell notes an entry as the latest of the records that it tells of.
func (wanted wantedRecords) tell(latest []*statev1.Entry, records []Record, e *statev1.Entry) {
	for _, i := range wanted[e.EventId] {
		latest[i] = later(latest[i], e, records[i])
	}
	if id, ok := events.RevisionOf(e.EventId); ok {
		for _, i := range wanted[id] {
			latest[i] = later(latest[i], e, records[i])
		}
	}
}

// scanRecords looks for records in a history, from before an instant backward,
// as long as more says so of the n-th entry. It is cut where that said no.
func (v *View) scanRecords(c events.CustomerID, before *statev1.Stamp, records []Record, latest []*statev1.Entry, more func(n int, e *statev1.Entry) bool) (cut bool, err error) {
	wanted := byID(records)
	n := 0
	for e, err := range v.Entries(c, before) {
		if err != nil {
			return false, err
		}
		if n++; !more(n, e) {
			return true, nil
		}
		wanted.tell(latest, records, e)
	}
	return false, nil
}

// later is the later of a telling found before, nil if none, and e, if that is
// one of the record. Of another custom name e is one only if it has the event key
// of the record, which does not tell names apart.
func later(found, e *statev1.Entry, r Record) *statev1.Entry {
	if e.Role != logv1.Role_ROLE_SUBJECT || e.Source != r.Source || e.Type != r.Type {
		return found
	}
	if e.Name != r.Name && (e.EventId != r.ID || !sameTime(e.ClaimedAt, r.ClaimedAt)) {
		return found
	}
	if found != nil && strings.Compare(found.EventId, e.EventId) >= 0 {
		return found
	}
	return e
}
