package ingest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest/directory"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

const (
	subjectRole = logv1.Role_ROLE_SUBJECT
	companyRole = logv1.Role_ROLE_COMPANY
	company     = logv1.CustomerKind_CUSTOMER_KIND_COMPANY
)

// party is a customer's part in an event: the event is logged once for each.
type party struct {
	role logv1.Role
	// identifiers by which the event names the customer, in the order of
	// events.IdentifiersOf; none of one found in another way.
	identifiers []directory.Identifier
	address     directory.Address
	// What the header says of this copy.
	leaves    bool
	until     *int64
	withdraws bool
	held      bool
	trail     []uint64
}

// parties are the numbers for [item.party].
func (it *item) parties() int { return 1 + len(it.others) }

// party returns the subject, then the others.
func (it *item) party(n int) *party {
	if n == 0 {
		return &it.subject
	}
	return &it.others[n-1]
}

// identify normalises what the event told about its customers and drops what
// names nobody. The body holds what is left, in its normal form. An event that
// names persons and companies is the person's, and goes to the company too; one
// that names only companies is the company's.
func (it *item) identify(d *directory.Directory, e *eventsv1.Event) *Rejection {
	if n := len(e.Identifiers); n > MaxIdentifiers {
		return Refuse(CodeTooLarge, "identifiers", strconv.Itoa(MaxIdentifiers), fmt.Sprintf("%d identifiers, limit %d", n, MaxIdentifiers))
	}
	named, blocked, refused := it.identifySubject(d, e)
	if refused != nil {
		return refused
	}
	group, refused := it.identifyGroup(d, e)
	if refused != nil {
		return refused
	}
	switch {
	case len(it.subject.identifiers) > 0:
		if group != nil && !holds(named, group) {
			named = slices.Insert(named, 0, *group)
		}
		if len(named) > 0 {
			it.others = append(it.others, party{role: companyRole, identifiers: named})
		}
	case group != nil || len(named) > 0:
		it.subject.identifiers = named
		if group != nil && !holds(named, group) {
			// Among the identifiers, where a subject's are looked for.
			it.subject.identifiers = append(named, *group)
			e.Identifiers = append(e.Identifiers, &eventsv1.Identifier{Type: group.Type, Value: group.Value})
		}
	case blocked != nil:
		return blocked
	default:
		return Refuse(CodeMissingID, "identifiers", "", "no identifier says whose event this is")
	}
	it.identifyReferred(d, e)
	return nil
}

func holds(ids []directory.Identifier, one *directory.Identifier) bool {
	return slices.ContainsFunc(ids, func(id directory.Identifier) bool { return id.Hash == one.Hash })
}

// identifySubject reads the identifiers and, of an alias, the former name. Those
// of persons are the subject's, those of companies are returned; blocked is the
// last one that names nobody.
func (it *item) identifySubject(d *directory.Directory, e *eventsv1.Event) (companies []directory.Identifier, blocked, refused *Rejection) {
	it.subject.identifiers = make([]directory.Identifier, 0, len(e.Identifiers)+1)
	told := e.Identifiers[:0]
	for _, id := range e.Identifiers {
		known, bad := identify(d, id)
		switch {
		case bad != nil && bad.Code == CodeBlockedID:
			blocked = bad
			continue
		case bad != nil:
			return nil, nil, bad
		case known.Kind() == company:
			companies = append(companies, known)
		default:
			it.subject.identifiers = append(it.subject.identifiers, known)
		}
		id.Type, id.Value = known.Type, known.Value
		told = append(told, id)
	}
	clear(e.Identifiers[len(told):])
	e.Identifiers = told
	previous := e.GetAlias().GetPrevious()
	if it.typ != eventsv1.Type_TYPE_IDENTITY_ALIASED || previous == nil {
		return companies, blocked, nil
	}
	it.force = e.GetAlias().GetForce()
	if known, bad := identify(d, previous); bad == nil {
		previous.Type, previous.Value = known.Type, known.Value
		return it.alias(e, companies, known), blocked, nil
	} else if bad.Code != CodeBlockedID {
		return nil, nil, bad
	}
	return companies, blocked, nil
}

// alias adds the former name of an alias to the names of its kind: it is the
// same customer's, or that of a conflict. A company's name joins nothing to a
// person, nor a person's to a company, and one's own, as browsers send it, adds
// nothing.
func (it *item) alias(e *eventsv1.Event, companies []directory.Identifier, previous directory.Identifier) []directory.Identifier {
	persons := it.subject.identifiers
	switch isCompany := previous.Kind() == company; {
	case isCompany && len(persons) == 0 && !holds(companies, &previous):
		companies = append(companies, previous)
	case !isCompany && (len(companies) == 0 || len(persons) > 0) && !holds(persons, &previous):
		it.subject.identifiers = append(persons, previous)
	default:
		return companies
	}
	// Among the identifiers, where the profile looks for them.
	e.Identifiers = append(e.Identifiers, &eventsv1.Identifier{Type: previous.Type, Value: previous.Value})
	return companies
}

// identifyGroup reads the group id. Joining a group that is nobody means
// nothing; leaving it means leaving whatever the person belongs to.
func (it *item) identifyGroup(d *directory.Directory, e *eventsv1.Event) (*directory.Identifier, *Rejection) {
	group := e.GetGroup()
	if group.GetGroupId() == "" {
		return nil, nil
	}
	known, refused := identify(d, &eventsv1.Identifier{Type: events.CompanyID, Value: group.GroupId})
	switch {
	case refused == nil:
		group.GroupId = known.Value
		return &known, nil
	case refused.Code == CodeBlockedID && it.typ == eventsv1.Type_TYPE_GROUP_LEFT:
		group.GroupId = ""
		return nil, nil
	default:
		refused.Field = "group_id"
		return nil, refused
	}
}

// identifyReferred reads the other party of a referral. What names nobody stays
// in the body: the referral happened, only with whom is not known.
func (it *item) identifyReferred(d *directory.Directory, e *eventsv1.Event) {
	referral := e.GetReferral()
	role, named := logv1.Role_ROLE_REFEREE, referral.GetReferee()
	if named == nil {
		role, named = logv1.Role_ROLE_REFERRER, referral.GetReferrer()
	}
	if named == nil {
		return
	}
	known, refused := identify(d, named)
	if refused != nil {
		return
	}
	named.Type, named.Value = known.Type, known.Value
	it.others = append(it.others, party{role: role, identifiers: []directory.Identifier{known}})
}

func identify(d *directory.Directory, id *eventsv1.Identifier) (directory.Identifier, *Rejection) {
	known, err := d.Identify(id.GetType(), id.GetValue())
	bySettings, _ := errors.AsType[*directory.ValueError](err)
	switch {
	case err == nil:
		return known, nil
	case bySettings != nil:
		return known, Refuse(CodeBlockedID, id.GetType(), bySettings.Limit, err.Error())
	case errors.Is(err, directory.ErrBlocked):
		return known, Refuse(CodeBlockedID, id.GetType(), "", id.GetType()+" "+Shown(id.GetValue())+" names nobody")
	case errors.Is(err, directory.ErrTooLong):
		return known, Refuse(CodeIDTooLong, id.GetType(), strconv.Itoa(MaxIDCharacters), err.Error())
	case errors.Is(err, directory.ErrNotUTF8):
		return known, Refuse(CodeNotUTF8, id.GetType(), "", id.GetType()+" is not UTF-8")
	default:
		return known, Refuse(CodeBadType, "identifiers", "", err.Error())
	}
}

// mention writes into the header of one party's copy who the other parties are.
func (it *item) mention(h *logv1.Header, to *party) {
	if to.role != subjectRole {
		it.subject.name(h)
		return
	}
	h.Copies = make([]*logv1.Copy, len(it.others))
	for i := range it.others {
		o := &it.others[i]
		h.Copies[i] = o.copy()
	}
	if other := it.counterpart(); other != nil {
		other.name(h)
	}
}

// copy is what the subject's header says of another party's copy.
func (p *party) copy() *logv1.Copy {
	return &logv1.Copy{Customer: p.address.Customer[:], Role: p.role, Withdraws: p.withdraws}
}

// counterpart is the customer with whom the subject of a two-party event has to
// do; nil if it is no such event.
func (it *item) counterpart() *party {
	for i := range it.others {
		switch o := &it.others[i]; {
		case o.withdraws:
		case o.role == logv1.Role_ROLE_REFERRER || o.role == logv1.Role_ROLE_REFEREE:
			if it.typ == eventsv1.Type_TYPE_REFERRAL_MADE || it.typ == eventsv1.Type_TYPE_REFERRAL_CONVERTED {
				return o
			}
		case it.typ == eventsv1.Type_TYPE_GROUP_JOINED && !o.leaves, it.typ == eventsv1.Type_TYPE_GROUP_LEFT && o.leaves:
			return o
		}
	}
	return nil
}

// name writes who p is as the other party of a copy: by the surest identifier
// that names him.
func (p *party) name(h *logv1.Header) {
	h.PartyCustomer = p.address.Customer[:]
	if id := p.surest(); id != nil {
		h.Party = &logv1.HashedIdentifier{Type: id.Type, Hash: id.Hash[:]}
	}
}

// surest is the surest identifier that names p, of equally sure ones the first
// told; nil of a party that was found in another way.
func (p *party) surest() (best *directory.Identifier) {
	for i := range p.identifiers {
		if id := &p.identifiers[i]; p.address.Others&(1<<i) == 0 && (best == nil || id.Strength() > best.Strength()) {
			best = id
		}
	}
	return best
}
