// Package profile folds the stamped events of one customer into facts, shows
// the facts as a profile, and takes their digest.
//
// It promises the facts law: facts and rows are a function of the *set* of
// events. Any order, any batching and any round trip through the store give
// equal messages and one digest. Repeats are refused before [Apply].
//
// And it promises that facts and rows fit a store: whatever events are told,
// facts stay within [MaxFactsBytes] and a row within [MaxRowBytes].
//
// The package is pure: no I/O beside the rows it is given, no clock, no
// goroutine, no floating-point arithmetic in a fold, no dependence on map
// order. What it needs of the deployment is in [Env] and comes from Genesis.
//
// A profile is a table of sections, one file each: its fold, its encoding for
// the digest, and how it is shown. All of a section's fields are facts, unless
// a comment says that a field is standing (it reads the settled time) when
// shown. To add a section, write its file and add it to the table.
package profile

import (
	"github.com/dossier360/dossier/events"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
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
	RowOrder    RowKind = 'o' // by order id: OrderRow
	RowSlots    RowKind = 's' // by chunk number, big endian: SlotChunk
	RowCampaign RowKind = 'c' // by day and hash of source, medium, campaign: one byte
	RowTicket   RowKind = 't' // by ticket id: TicketRow
	RowMember   RowKind = 'm' // of a company, by the person's customer id: MemberRow
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

// section is one part of a profile.
type section struct {
	// name stands in the digest's encoding: it is for ever.
	name string
	// fold takes one counted event into the facts.
	fold func(f *statev1.Facts, a *application) error
	// encode appends the section to the digest; nothing where the customer has
	// nothing of it, so that a new section changes no digest by being added.
	encode func(e *encoder, f *statev1.Facts)
	// render shows the section.
	render func(f *statev1.Facts, r *rendering)
	// parties says that it takes the roles of referrer and referee too, not only
	// those that count.
	parties bool
}

// sections in the order in which they are folded, shown and encoded.
var sections = [...]section{
	{"identifiers", foldIdentifiers, encodeIdentifiers, renderIdentifiers, true},
	{"traits", foldTraits, encodeTraits, renderTraits, false},
	{"acquisition", foldAcquisition, encodeAcquisition, renderAcquisition, false},
	{"engagement", foldEngagement, encodeEngagement, renderEngagement, false},
	{"orders", foldOrders, encodeOrders, renderOrders, false},
	{"cart", foldCart, encodeCart, renderCart, false},
	{"service", foldService, encodeService, renderService, false},
	{"referrals", foldReferrals, encodeReferrals, renderReferrals, true},
	{"interactions", foldInteractions, encodeInteractions, renderInteractions, false},
	{"memberships", foldMemberships, encodeMemberships, renderMemberships, false},
	{"members", foldMembers, encodeMembers, renderMembers, false},
	{"custom", foldCustom, encodeCustom, renderCustom, false},
}

// application is one event being applied.
type application struct {
	Event
	stamp *statev1.Stamp // rank 0
	rows  Rows
	env   Env
}

// rendering is one profile being shown.
type rendering struct {
	at          int64 // settled time, microseconds
	env         Env
	into        *queryv1.Profile
	approximate bool
	overflow    bool
	noValue     bool // an order has no amount
}

// Apply folds one event that is new and stands into the facts. What is voided
// or corrected is not applied; a void itself, and a copy that only takes back,
// is history and nothing here. An error is an error of the rows; facts and rows
// are then half-way and must be dropped.
func Apply(f *statev1.Facts, ev Event, rows Rows, env Env) error {
	if ev.Header.GetType() == eventsv1.Type_TYPE_EVENT_VOIDED || ev.Header.GetWithdraws() {
		return nil
	}
	counts := counted(ev.Header)
	if counts {
		foldSeen(f, ev.Header)
	}
	a := application{Event: ev, stamp: StampOf(ev), rows: rows, env: env}
	for i := range sections {
		if !counts && !sections[i].parties {
			continue
		}
		if err := sections[i].fold(f, &a); err != nil {
			return err
		}
	}
	return nil
}

// counted reports whether an event is one of the customer's own: counters take
// the subject and company roles only.
func counted(h *logv1.Header) bool {
	return h.GetRole() == logv1.Role_ROLE_SUBJECT || h.GetRole() == logv1.Role_ROLE_COMPANY
}

// foldSeen keeps when the customer was first and last seen, and what was odd.
// No field of these is in the digest: the contract names the sections only.
func foldSeen(f *statev1.Facts, h *logv1.Header) {
	at := h.GetOccurredAt()
	// Every accepted time is after 1970, so 0 means that nothing was counted.
	if f.FirstSeenAt == 0 || at < f.FirstSeenAt {
		f.FirstSeenAt = at
	}
	if f.LastSeenAt == 0 || at > f.LastSeenAt {
		f.LastSeenAt = at
	}
	f.Flags |= uint32(flagsOf(h))
}

// Render shows the facts at settled time `at`, microseconds: every section,
// name, identified, first and last seen, flags and digest. What is not a
// function of facts and settled time (customer id, kind, aliases, lifecycle)
// is left as it is in `into`.
func Render(f *statev1.Facts, at int64, env Env, into *queryv1.Profile) {
	r := rendering{at: at, env: env, into: into}
	for i := range sections {
		sections[i].render(f, &r)
	}
	into.FirstSeenAt = timestamp(f.FirstSeenAt)
	into.LastSeenAt = timestamp(f.LastSeenAt)
	into.Identified = Identified(f)
	into.Name = nil
	if name := Name(f); name != "" {
		into.Name = &name
	}
	into.Flags = appendFlags(into.Flags, Flag(f.Flags), &r)
	into.Digest = digestText(Digest(f))
}

// RenderLifecycle shows the journal of a customer's stage. It is nil before
// the first evaluation.
func RenderLifecycle(j *statev1.Journal) *queryv1.Lifecycle {
	if j.GetStage() == "" {
		return nil
	}
	l := &queryv1.Lifecycle{Stage: j.Stage, Since: timestamp(j.Since)}
	if j.Previous != "" {
		l.Previous = &j.Previous
	}
	if c := j.Cause; c != nil {
		l.Cause = &queryv1.Cause{Kind: c.Kind, EventIds: c.EventIds, At: timestamp(c.At)}
	}
	return l
}
