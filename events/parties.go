package events

import (
	"slices"
	"strings"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// CompanyID is the identifier type of the firm's own id of a company; the
// Segment wire calls it groupId.
const CompanyID = "company_id"

// NamesCompany reports whether an identifier of a type names a company:
// company_id and every other type that begins with "company_".
func NamesCompany(typ string) bool { return strings.HasPrefix(typ, "company_") }

// IdentifiersOf are the identifiers by which a stamped event names the customer
// that holds this copy of it, in the order of the header's hashes; the header
// may hold more. None where the copy is there for another reason, as a company
// is to which a membership leads.
func IdentifiersOf(h *logv1.Header, body *eventsv1.Event) []*eventsv1.Identifier {
	switch h.GetRole() {
	case logv1.Role_ROLE_SUBJECT:
		return ofKind(body.GetIdentifiers(), h.GetCustomerKind())
	case logv1.Role_ROLE_COMPANY:
		if len(h.GetIdentifiers()) == 0 || joinsAnother(h) {
			return nil
		}
		return companyIdentifiers(body)
	}
	if len(h.GetIdentifiers()) == 0 {
		return nil // only something is taken back here, and told of another
	}
	switch h.GetRole() {
	case logv1.Role_ROLE_REFERRER:
		return one(body.GetReferral().GetReferrer())
	case logv1.Role_ROLE_REFEREE:
		return one(body.GetReferral().GetReferee())
	}
	return nil
}

// joinsAnother reports whether a person leaves this company by joining another:
// the company that the event names is the other one. An event group.left names
// the company that is left.
func joinsAnother(h *logv1.Header) bool {
	return h.GetLeaves() && h.GetType() == eventsv1.Type_TYPE_GROUP_JOINED
}

// companyIdentifiers are those by which an event names a company: the group's
// id first, each once.
func companyIdentifiers(body *eventsv1.Event) []*eventsv1.Identifier {
	ids := ofKind(body.GetIdentifiers(), logv1.CustomerKind_CUSTOMER_KIND_COMPANY)
	group := body.GetGroup().GetGroupId()
	if group == "" || slices.ContainsFunc(ids, func(id *eventsv1.Identifier) bool {
		return id.GetType() == CompanyID && id.GetValue() == group
	}) {
		return ids
	}
	return append([]*eventsv1.Identifier{{Type: CompanyID, Value: group}}, ids...)
}

func one(id *eventsv1.Identifier) []*eventsv1.Identifier {
	if id == nil {
		return nil
	}
	return []*eventsv1.Identifier{id}
}

// ofKind are the identifiers that name a customer of a kind. Nearly always all
// do; then the list is not copied.
func ofKind(ids []*eventsv1.Identifier, kind logv1.CustomerKind) []*eventsv1.Identifier {
	other := func(id *eventsv1.Identifier) bool {
		return NamesCompany(id.GetType()) != (kind == logv1.CustomerKind_CUSTOMER_KIND_COMPANY)
	}
	if !slices.ContainsFunc(ids, other) {
		return ids
	}
	return slices.DeleteFunc(slices.Clone(ids), other)
}

// IssuedAt is when a correction was issued, by which corrections of one event are
// ranked: when it says, else its time as the client claimed it, else when it
// occurred; all in microseconds.
func IssuedAt(issued, claimed *int64, occurred int64) int64 {
	switch {
	case issued != nil:
		return *issued
	case claimed != nil:
		return *claimed
	}
	return occurred
}
