package profile

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// Members: how many persons belong to a company. All fields are facts: each
// person is a row, in which the last writer by order key says whether he is a
// member, and the count moves by new less old.
//
// The company hears of a person's joining and leaving, and of his joining
// another company; of the last also by Header.until, if the gateway knew of it
// before it stamped the joining.
//
// It is not in the digest, nor could it be: persons are told apart by their
// customer ids, which another engine mints otherwise.

func foldMembers(f *statev1.Facts, a *application) error {
	h := a.Header
	kind := h.GetType()
	if kind != eventsv1.Type_TYPE_GROUP_JOINED && kind != eventsv1.Type_TYPE_GROUP_LEFT ||
		h.GetRole() != logv1.Role_ROLE_COMPANY || len(h.GetPartyCustomer()) == 0 {
		return nil
	}
	row := &statev1.MemberRow{}
	if err := getRow(a.rows, RowMember, h.GetPartyCustomer(), row); err != nil {
		return fmt.Errorf("load member %x: %w", h.GetPartyCustomer(), err)
	}
	had := row.Current
	joins := kind == eventsv1.Type_TYPE_GROUP_JOINED && !h.GetLeaves()
	tellMember(row, a.stamp, joins)
	if joins && h.Until != nil {
		// As the joining elsewhere would tell, were it told here.
		left := proto.CloneOf(a.stamp)
		left.OccurredAt = *h.Until
		tellMember(row, left, false)
	}
	if err := putRow(a.rows, RowMember, h.GetPartyCustomer(), row); err != nil {
		return fmt.Errorf("store member %x: %w", h.GetPartyCustomer(), err)
	}
	switch {
	case row.Current && !had:
		f.Members++
	case had && !row.Current:
		f.Members--
	}
	return nil
}

func tellMember(row *statev1.MemberRow, stamp *statev1.Stamp, current bool) {
	if outranks(stamp, row.Stamp) {
		row.Stamp, row.Current = stamp, current
	}
}

// encodeMembers encodes nothing: see above.
func encodeMembers(*encoder, *statev1.Facts) {}

func renderMembers(f *statev1.Facts, r *rendering) { r.into.Members = f.Members }
