package projections

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/profile"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// Bounds of what is folded on paper, by the events read for it and by their
// bodies: all of them are held at once.
const (
	MaxPaperEvents = 20_000
	MaxPaperBytes  = 64 << 20
)

var (
	// ErrTooLong says that histories are too long to be folded on paper.
	ErrTooLong = fmt.Errorf("projections: more than %d events, or %d MiB of them, to fold on paper", MaxPaperEvents, MaxPaperBytes>>20)
	// ErrMoving says that events of a customer are being moved: his history is
	// half-way.
	ErrMoving = errors.New("projections: events are being moved")
)

// Paper holds the histories of some customers, of any partitions, to be folded
// together without anything being recorded: what a merge would make of them, or
// a split. The zero value holds none. It is for one goroutine.
type Paper struct {
	told   []paperEvent
	events int // read, those refused included
	bytes  int
	places map[[16]byte]int // by event key: the place in told
}

// paperEvent is an event as the log holds it.
type paperEvent struct {
	event      *logv1.LoggedEvent
	recordedAt int64
}

// Add reads the history of a customer, as of the partition's last commit. Of an
// event that stands in several histories one copy is kept, as the fold does.
// A customer of whom nothing was told adds nothing. Errors beside those of the
// log and the store: ErrTooLong, ErrMoving, ErrCatchingUp.
func (s *Paper) Add(ctx context.Context, p *Partition, c events.CustomerID) error {
	entries, err := p.history(c, MaxPaperEvents-s.events, MaxPaperBytes-s.bytes)
	if err != nil {
		return err
	}
	for _, e := range entries {
		record, err := p.fetch(ctx, e.Seq)
		if err != nil {
			return fmt.Errorf("fetch message %d of partition %d: %w", e.Seq, p.o.ID, err)
		}
		if int(e.Index) >= len(record.Events) {
			return fmt.Errorf("message %d of partition %d has %d events, wanted number %d", e.Seq, p.o.ID, len(record.Events), e.Index)
		}
		logged := record.Events[e.Index]
		s.events, s.bytes = s.events+1, s.bytes+len(logged.Body)
		s.keep(paperEvent{logged, record.RecordedAt + int64(logged.Header.RecordedDelta)})
	}
	return nil
}

// history is all entries of a customer, in the order of the log, so that every
// record is read once.
func (p *Partition) history(c events.CustomerID, maxEvents, maxBytes int) ([]*statev1.Entry, error) {
	v := p.View()
	defer v.Close()
	head, err := v.Outline(c)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(head.Withheld) > 0 {
		return nil, fmt.Errorf("customer %s: %w", c, ErrMoving)
	}
	var entries []*statev1.Entry
	for e, err := range v.Entries(c, nil) {
		if err != nil {
			return nil, err
		}
		if maxBytes -= int(e.BodyBytes); len(entries) == maxEvents || maxBytes < 0 {
			return nil, fmt.Errorf("customer %s: %w", c, ErrTooLong)
		}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b *statev1.Entry) int {
		return cmp.Or(cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Index, b.Index))
	})
	return entries, nil
}

// keep keeps an event; of two copies with one key the one that would stand in
// one history: the least (recorded_at, content hash).
func (s *Paper) keep(ev paperEvent) {
	key := refusalHash(ev.event.Header)
	if s.places == nil {
		s.places = map[[16]byte]int{}
	}
	at, repeated := s.places[key]
	if !repeated {
		s.places[key] = len(s.told)
		s.told = append(s.told, ev)
		return
	}
	old := s.told[at]
	if cmp.Or(cmp.Compare(ev.recordedAt, old.recordedAt), bytes.Compare(contentHash(ev.event), contentHash(old.event))) < 0 {
		s.told[at] = ev
	}
}

// Fold makes facts of the events whose headers are taken (nil: of all) and that
// stand among those. They are what a fold would make of them.
func (s *Paper) Fold(takes func(*logv1.Header) bool, env profile.Env) (*statev1.Facts, error) {
	history := make([]profile.Event, 0, len(s.told))
	for _, ev := range s.told {
		if takes != nil && !takes(ev.event.Header) {
			continue
		}
		body, err := readBody(ev.event)
		if err != nil {
			return nil, fmt.Errorf("event %q of %q: %w", ev.event.Header.EventId, ev.event.Header.Source, err)
		}
		history = append(history, profile.Event{Header: ev.event.Header, RecordedAt: ev.recordedAt, Body: body})
	}
	taken, _ := takebacksOf(history)
	facts, rows := &statev1.Facts{}, paperRows{}
	for _, ev := range history {
		why, err := taken.why(headerStamp(ev.Header), ev.Header.Corrects)
		if err != nil {
			return nil, err
		}
		if why != "" || ev.Body == nil {
			continue
		}
		if err := profile.Apply(facts, ev, rows, env); err != nil {
			return nil, err
		}
	}
	return facts, nil
}

// paperRows are entity rows in memory, by kind and id.
type paperRows map[string][]byte

var _ profile.Rows = paperRows{}

// Get implements [profile.Rows].
func (r paperRows) Get(kind profile.RowKind, id []byte) ([]byte, error) {
	return r[rowID(kind, id)], nil
}

// Put implements [profile.Rows].
func (r paperRows) Put(kind profile.RowKind, id []byte, value []byte) { r[rowID(kind, id)] = value }

// Scan implements [profile.Rows].
func (r paperRows) Scan(kind profile.RowKind, fn func(id, value []byte) error) error {
	for _, id := range sortedKeys(r) {
		if id[0] != byte(kind) || r[id] == nil {
			continue
		}
		if err := fn([]byte(id[1:]), r[id]); err != nil {
			return err
		}
	}
	return nil
}
