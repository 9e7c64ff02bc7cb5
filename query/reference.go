package query

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest/directory"
)

const (
	maxTypeCharacters    = 40
	customerIDCharacters = 26
)

// reference is how a caller names a customer: by id, or by an identifier.
type reference struct {
	id         events.CustomerID // zero if named by an identifier
	typ, value string
	asWritten  string
	byCustomer bool
}

// parseReference reads `<identifier type>:<value>` or the 26 characters of a
// customer id. Errors name the place.
func parseReference(s string) (reference, error) {
	if s == "" {
		return reference{}, refuse(errInvalid, "customer: empty; <identifier type>:<value> (email:ann@example.com) or a customer id wanted")
	}
	if !utf8.ValidString(s) {
		return reference{}, refuse(errInvalid, "customer: %q is not UTF-8", s)
	}
	typ, value, found := strings.Cut(s, ":")
	if !found {
		return parseIDReference(s)
	}
	if typ == "" {
		return reference{}, refuse(errInvalid, "customer %q: character 1: no identifier type before the ':'", s)
	}
	for i, r := range []rune(typ) {
		if !isTypeCharacter(r) {
			return reference{}, refuse(errInvalid, "customer %q: character %d: %q in the identifier type; lower-case letters, digits and '_' wanted", s, i+1, r)
		}
	}
	if len(typ) > maxTypeCharacters {
		return reference{}, refuse(errInvalid, "customer %q: identifier type of %d characters, limit %d", s, len(typ), maxTypeCharacters)
	}
	if strings.TrimSpace(value) == "" {
		return reference{}, refuse(errInvalid, "customer %q: character %d: no value after the ':'", s, len(typ)+2)
	}
	if n := utf8.RuneCountInString(value); n > MaxReferenceCharacters {
		return reference{}, refuse(errInvalid, "customer %.60q…: value of %d characters, limit %d", s, n, MaxReferenceCharacters)
	}
	return reference{typ: typ, value: value, asWritten: s}, nil
}

func parseIDReference(s string) (reference, error) {
	if n := utf8.RuneCountInString(s); n != customerIDCharacters {
		return reference{}, refuse(errInvalid, "customer %.60q: %d characters without a ':'; <identifier type>:<value> or the %d characters of a customer id wanted", s, n, customerIDCharacters)
	}
	id, err := events.ParseCustomerID(s)
	if err != nil || id.IsZero() {
		return reference{}, refuse(errInvalid, "customer %q: %d characters that are not a customer id (a ULID)", s, customerIDCharacters)
	}
	return reference{id: id, asWritten: s, byCustomer: true}, nil
}

// explain puts the directory's refusal of an identifier in the words of who
// asks. That a value "names nobody" is how ingest sees it; who typed it wants
// to know what it lacks.
func (ref reference) explain(err error) error {
	if settings := (*directory.ValueError)(nil); errors.As(err, &settings) || !errors.Is(err, directory.ErrBlocked) {
		return fmt.Errorf("customer %q: %w", ref.asWritten, err)
	}
	return refuse(err, "customer %q: %s", ref.asWritten, ref.lacks())
}

// lacks says why the value of a refused identifier cannot name anybody.
func (ref reference) lacks() string {
	switch {
	case isKind(ref.typ, "email") && !strings.ContainsAny(ref.value, "@＠﹫"):
		return fmt.Sprintf("the address has no @; a whole one wanted, as %s:ann@example.com", ref.typ)
	case isKind(ref.typ, "email"):
		return "not an e-mail address; something before and after the @ wanted, and no space"
	case isKind(ref.typ, "phone"):
		return "not a phone number; it has too few digits, too many, or more than digits"
	case isKind(ref.typ, "domain") && !strings.Contains(ref.value, "."):
		return fmt.Sprintf("the domain has no '.'; a whole one wanted, as %s:acme.com", ref.typ)
	default:
		return `a value that programs send for "no value"; it names nobody`
	}
}

// isKind reports whether an identifier type is kind or <x>_kind.
func isKind(typ, kind string) bool {
	return typ == kind || strings.HasSuffix(typ, "_"+kind)
}

func isTypeCharacter(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_'
}
