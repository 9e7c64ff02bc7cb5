package profile

import (
	"github.com/dossier360/dossier/events"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// Env is what a fold may know beside the event: both come from Genesis.
type Env struct {
	Zone         *events.Zone
	BaseCurrency string
}

// Event is a stamped event as the fold meets it.
type Event struct {
	Header     *logv1.Header
	RecordedAt int64 // microseconds
	Body       *eventsv1.Event
}

// RowKind tells the kinds of entity rows apart.
type RowKind byte

// The kinds of rows; part of the store's keys.
const (
	RowOrder RowKind = 'o' // by order id: OrderRow
	RowSlots RowKind = 's' // by chunk number, big endian: SlotChunk
)

// Rows gives a section the entity rows of the customer being folded, the
// uncommitted ones included. A value belongs to the rows once put.
type Rows interface {
	// Get returns nil if there is no such row.
	Get(kind RowKind, id []byte) ([]byte, error)
	Put(kind RowKind, id []byte, value []byte)
	// Scan calls fn for every row of a kind in order of id until fn fails.
	Scan(kind RowKind, fn func(id, value []byte) error) error
}
