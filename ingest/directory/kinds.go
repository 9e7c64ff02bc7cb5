package directory

import (
	"regexp"
	"strings"
)

type form byte

const (
	formPlain form = iota
	formEmail
	formPhone
)

// kind is what the rules know of an identifier type.
type kind struct {
	strength byte // the greater names more surely
	form     form
	// exclusive: a customer has at most one.
	exclusive bool
	// weak: names a device or a visit rather than a customer, and may be
	// rebound.
	weak bool
}

var (
	kindUser   = kind{strength: 5, exclusive: true}
	kindSystem = kind{strength: 4}
	kindEmail  = kind{strength: 3, form: formEmail}
	kindPhone  = kind{strength: 2, form: formPhone}
	kindWeak   = kind{strength: 1, weak: true}

	typePattern = regexp.MustCompile(`^[a-z0-9_]{1,40}$`)
)

// kindOf finds the kind of an identifier type. The strength falls from user_id
// over <system>_id, email and phone to anonymous_id, device_id and guest,
// which are equal.
func kindOf(typ string) (kind, bool) {
	switch typ {
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

// Weak reports whether identifiers of a type name a device or a visit rather
// than a customer: a customer with only such is not identified.
func Weak(typ string) bool {
	k, ok := kindOf(typ)
	return ok && k.weak
}
