package profile

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/dossier360/dossier/events"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// Memberships: to which company a person belonged, and when. All fields are
// facts.
//
// A person belongs to one company at a time, so the tellings in order of time
// say all: joining begins a membership, joining another company ends it, and so
// does leaving. Such a fold needs them in order; what is kept is therefore a
// set of tellings, and the memberships are worked out when shown. The set is
// thinned, since trackers tell the company with every visit: of each week and
// company the first and the last joining stay, and the first and the last
// leaving. So who comes back to a company in the week in which he went to another
// may be shown there from the last telling of that week on.
//
// A company is told apart by its company_id. Who leaves one that is named in
// another way alone has told nothing here: it may be another than his.

const weekMicros = 7 * 24 * 3600 * million

func foldMemberships(f *statev1.Facts, a *application) error {
	h := a.Header
	kind := h.GetType()
	if kind != eventsv1.Type_TYPE_GROUP_JOINED && kind != eventsv1.Type_TYPE_GROUP_LEFT ||
		h.GetRole() != logv1.Role_ROLE_SUBJECT || h.GetCustomerKind() != logv1.CustomerKind_CUSTOMER_KIND_PERSON {
		return nil
	}
	company, left := boundCompany(companyOf(a.Body)), kind == eventsv1.Type_TYPE_GROUP_LEFT
	if company == "" && (!left || namesCompany(a.Body)) {
		return nil // which company that is, only the directory knows
	}
	if f.Memberships == nil {
		f.Memberships = &statev1.MembershipsFacts{}
	}
	tellMembership(f.Memberships, &statev1.MembershipFact{
		Week: int32(a.stamp.OccurredAt / weekMicros), Company: company, Left: left, FirstAt: a.stamp.OccurredAt, LastAt: a.stamp.OccurredAt,
	})
	return nil
}

// companyOf is the company_id that an event names: the group's, else that among
// its identifiers. The gateway normalised both.
func companyOf(body *eventsv1.Event) string {
	if group := body.GetGroup().GetGroupId(); group != "" {
		return group
	}
	for _, id := range body.GetIdentifiers() {
		if id.GetType() == events.CompanyID {
			return id.GetValue()
		}
	}
	return ""
}

// namesCompany reports whether an event names a company in any way.
func namesCompany(body *eventsv1.Event) bool {
	return slices.ContainsFunc(body.GetIdentifiers(), func(id *eventsv1.Identifier) bool { return events.NamesCompany(id.GetType()) })
}

// boundCompany bounds an id as a stamp bounds an event's: ids that begin alike
// stay apart.
func boundCompany(id string) string { return boundEventID(id) }

// tellMembership keeps the newest tellings. The least that is kept only ever
// rises, so what was dropped would be dropped again, in whichever order they
// come.
func tellMembership(m *statev1.MembershipsFacts, told *statev1.MembershipFact) {
	i, found := slices.BinarySearchFunc(m.Tellings, told, compareMemberships)
	if found {
		had := m.Tellings[i]
		had.FirstAt, had.LastAt = min(had.FirstAt, told.FirstAt), max(had.LastAt, told.LastAt)
		return
	}
	if len(m.Tellings) == maxMembershipTellings {
		m.Approximate = true
		if i == 0 {
			return
		}
		m.Tellings = slices.Delete(m.Tellings, 0, 1)
		i--
	}
	m.Tellings = slices.Insert(m.Tellings, i, told)
}

func compareMemberships(a, b *statev1.MembershipFact) int {
	if n := cmp.Or(cmp.Compare(a.Week, b.Week), strings.Compare(a.Company, b.Company)); n != 0 || a.Left == b.Left {
		return n
	}
	if b.Left {
		return -1
	}
	return 1
}

// membership is a time at which the person belonged to a company. It is current
// while until is 0.
type membership struct {
	company      string
	since, until int64
}

// memberships works out of the tellings what follows from them, by time.
//
// Of what was told for one instant, the joining of the greatest company stands
// alone: then the answer does not hang on event ids, which facts do not keep.
// Leaving a company other than the current one changes nothing; leaving without
// a name leaves whichever is current.
func memberships(m *statev1.MembershipsFacts) []membership {
	var runs []membership
	current := func() *membership {
		if n := len(runs); n > 0 && runs[n-1].until == 0 {
			return &runs[n-1]
		}
		return nil
	}
	joinedAt := int64(math.MinInt64)
	for _, p := range membershipPoints(m) {
		if p.at == joinedAt {
			continue
		}
		now := current()
		if p.left {
			if now != nil && (p.company == "" || p.company == now.company) {
				now.until = p.at
			}
			continue
		}
		joinedAt = p.at
		if now != nil && now.company == p.company {
			continue
		}
		if now != nil {
			now.until = p.at
		}
		runs = append(runs, membership{company: p.company, since: p.at})
	}
	return runs
}

type membershipPoint struct {
	at      int64
	left    bool
	company string
}

// membershipPoints are the instants at which something was told, by (instant,
// joinings before leavings, company descending).
func membershipPoints(m *statev1.MembershipsFacts) []membershipPoint {
	points := make([]membershipPoint, 0, 2*len(m.GetTellings()))
	for _, t := range m.GetTellings() {
		points = append(points, membershipPoint{t.FirstAt, t.Left, t.Company})
		if t.LastAt != t.FirstAt {
			points = append(points, membershipPoint{t.LastAt, t.Left, t.Company})
		}
	}
	slices.SortFunc(points, func(a, b membershipPoint) int {
		if n := cmp.Compare(a.at, b.at); n != 0 || a.left == b.left {
			return cmp.Or(n, strings.Compare(b.company, a.company))
		}
		if b.left {
			return -1
		}
		return 1
	})
	return points
}

// encodeMemberships: approximate; unless so, list of (company, since, until or
// 0), all there are.
func encodeMemberships(e *encoder, f *statev1.Facts) {
	m := f.Memberships
	if m == nil {
		return
	}
	e.bool(m.Approximate)
	if m.Approximate {
		return
	}
	runs := memberships(m)
	e.length(len(runs))
	for _, run := range runs {
		e.string(run.company)
		e.int(run.since)
		e.int(run.until)
	}
}

// renderMemberships shows the newest, by since. Which customer a company is,
// the directory knows.
func renderMemberships(f *statev1.Facts, r *rendering) {
	r.into.Memberships = nil
	runs := memberships(f.Memberships)
	r.approximate = r.approximate || f.Memberships.GetApproximate() || len(runs) > maxMembershipsShown
	for _, run := range runs[max(0, len(runs)-maxMembershipsShown):] {
		r.into.Memberships = append(r.into.Memberships, &queryv1.Membership{
			Company: &queryv1.CompanyRef{Type: events.CompanyID, Value: run.company},
			Since:   timestamp(run.since),
			Until:   timestamp(run.until),
		})
	}
}
