package directory

import (
	"regexp"
	"strings"

	"github.com/dossier360/dossier/events"
)

type form byte

const (
	formPlain form = iota
	formEmail
	formPhone
	formDomain
)

// kind is what the rules know of an identifier type.
type kind struct {
	strength byte // the greater names more surely
	form     form
	// limit is how many of the type a customer has at most; 0: no limit. A type
	// of limit 1 is exclusive: who holds two of it is two customers.
	limit int
	// weak: names a device or a visit rather than a customer, and may be
	// rebound.
	weak bool
	// company: names a company; all others name persons.
	company bool
}

// exclusive: a customer has at most one.
func (k kind) exclusive() bool { return k.limit == 1 }

// defaultLimit bounds how many addresses, numbers or ids of one system are one
// customer's without somebody's word. Who has more is not a customer but an
// office, a shop's till or a test.
const defaultLimit = 5

// The strengths leave room between them for types of one's own.
var (
	kindUser   = kind{strength: 90, limit: 1}
	kindSystem = kind{strength: 70, limit: defaultLimit}
	kindEmail  = kind{strength: 50, limit: defaultLimit, form: formEmail}
	kindPhone  = kind{strength: 40, limit: defaultLimit, form: formPhone}
	kindWeak   = kind{strength: 10, weak: true}

	kindCompany       = kind{strength: 90, limit: 1, company: true}
	kindCompanyOther  = kind{strength: 70, limit: defaultLimit, company: true}
	kindCompanyDomain = kind{strength: 50, limit: defaultLimit, form: formDomain, company: true}
	kindCompanyEmail  = kind{strength: 40, limit: defaultLimit, form: formEmail, company: true}
	kindCompanyPhone  = kind{strength: 30, limit: defaultLimit, form: formPhone, company: true}

	typePattern = regexp.MustCompile(`^[a-z0-9_]{1,40}$`)
)

// groupID is what the Segment wire calls the firm's own id of a company.
const groupID = "group_id"

// canonicalType is the type by which an identifier is known, of two spellings
// of one.
func canonicalType(typ string) string {
	if typ == groupID {
		return events.CompanyID
	}
	return typ
}

// kindOf finds the kind of an identifier type. The strength falls from user_id
// over <system>_id, email and phone to anonymous_id, device_id and guest,
// which are equal; of a company's, from company_id over every other company_*,
// among them company_<system>_id, and company_domain to company_email and
// company_phone.
func kindOf(typ string) (kind, bool) {
	switch typ {
	case events.CompanyID, groupID:
		return kindCompany, true
	case "user_id":
		return kindUser, true
	case "email":
		return kindEmail, true
	case "phone":
		return kindPhone, true
	case "anonymous_id", "device_id", "guest":
		return kindWeak, true
	}
	if !typePattern.MatchString(typ) {
		return kind{}, false
	}
	if events.NamesCompany(typ) {
		return companyKind(strings.TrimPrefix(typ, "company"))
	}
	switch {
	case strings.HasSuffix(typ, "_id"):
		return kindSystem, len(typ) > len("_id")
	case strings.HasSuffix(typ, "_email"):
		return kindEmail, len(typ) > len("_email")
	case strings.HasSuffix(typ, "_phone"):
		return kindPhone, len(typ) > len("_phone")
	}
	return kind{}, false
}

// companyKind finds the kind of a company's identifier by what follows
// "company" in its type.
func companyKind(rest string) (kind, bool) {
	switch {
	case rest == "_":
		return kind{}, false
	case strings.HasSuffix(rest, "_domain"):
		return kindCompanyDomain, true
	case strings.HasSuffix(rest, "_email"):
		return kindCompanyEmail, true
	case strings.HasSuffix(rest, "_phone"):
		return kindCompanyPhone, true
	}
	return kindCompanyOther, true
}
