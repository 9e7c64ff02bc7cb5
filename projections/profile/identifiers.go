package profile

import (
	"slices"
	"strings"

	"github.com/dossier360/dossier/events"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// Identifiers: the union of what events told of this customer, in whichever
// role: by its identifiers of the subject, by those of a company of the company,
// by the other party of a referral of that one. So a referee is known of whom
// nothing else was told. Each with its earliest telling. All fields are facts.
// The gateway normalised the values.
//
// Of each kind, somebody's and nobody's in particular, the least stay that fit
// a number and a number of bytes. The least that did not fit is remembered:
// without it a short identifier behind it would be kept or not by its turn.

func foldIdentifiers(f *statev1.Facts, a *application) error {
	// Without the event id, which may be longer than the identifier.
	first := &statev1.Stamp{OccurredAt: a.stamp.OccurredAt, Source: a.stamp.Source}
	hashed := a.Header.GetIdentifiers() // in the order of those
	for n, id := range events.IdentifiersOf(a.Header, a.Body) {
		if n < len(hashed) && hashed[n].GetOther() {
			continue // it names another customer
		}
		told := &statev1.IdentifierFact{Type: id.GetType(), Value: id.GetValue(), First: first}
		end := identifiersEnd(f, isStrong(told))
		if *end != nil && compareIdentifiers(told, *end) >= 0 {
			continue
		}
		i, found := slices.BinarySearchFunc(f.Identifiers, id, compareIdentifiers)
		switch {
		case !found:
			f.Identifiers = slices.Insert(f.Identifiers, i, told)
			boundIdentifiers(f, isStrong(told))
		case CompareStamps(first, f.Identifiers[i].First) < 0:
			f.Identifiers[i].First = first
		}
	}
	return nil
}

func isStrong(id *statev1.IdentifierFact) bool { return strength(id.Type) > 0 }

// identifiersEnd is where the least identifier of a kind that did not fit is
// kept.
func identifiersEnd(f *statev1.Facts, strong bool) **eventsv1.Identifier {
	if strong {
		return &f.StrongEnd
	}
	return &f.WeakEnd
}

// boundIdentifiers drops the identifiers of a kind from the first that does not
// fit. What an identifier takes must not change with who told it first.
func boundIdentifiers(f *statev1.Facts, strong bool) {
	room := budget{maxIdentifiers, maxIdentifierBytes}
	var end *eventsv1.Identifier
	f.Identifiers = slices.DeleteFunc(f.Identifiers, func(id *statev1.IdentifierFact) bool {
		if isStrong(id) != strong || room.take(len(id.Type)+len(id.Value)+identifierOverhead) {
			return false
		}
		if end == nil {
			end = &eventsv1.Identifier{Type: id.Type, Value: id.Value}
		}
		return true
	})
	if end != nil {
		*identifiersEnd(f, strong) = end
	}
}

func compareIdentifiers(have *statev1.IdentifierFact, told *eventsv1.Identifier) int {
	if n := strings.Compare(have.Type, told.GetType()); n != 0 {
		return n
	}
	return strings.Compare(have.Value, told.GetValue())
}

func identifiersApproximate(f *statev1.Facts) bool { return f.StrongEnd != nil || f.WeakEnd != nil }

// encodeIdentifiers: list of (type, value, first occurrence); if it is
// approximate, −1 in place of its length and nothing of it.
func encodeIdentifiers(e *encoder, f *statev1.Facts) {
	if len(f.Identifiers) == 0 {
		return
	}
	if identifiersApproximate(f) {
		e.length(-1)
		return
	}
	e.length(len(f.Identifiers))
	for _, id := range f.Identifiers {
		e.string(id.Type)
		e.string(id.Value)
		e.int(id.First.GetOccurredAt())
	}
}

func renderIdentifiers(f *statev1.Facts, r *rendering) {
	r.approximate = r.approximate || identifiersApproximate(f)
	r.into.Identifiers = nil
	for _, id := range f.Identifiers {
		r.into.Identifiers = append(r.into.Identifiers, &queryv1.Identifier{
			Type:        id.Type,
			Value:       id.Value,
			FirstSeenAt: timestamp(id.First.GetOccurredAt()),
			Source:      id.First.GetSource(),
		})
	}
}

// Identified reports whether somebody is known behind the customer: he has an
// identifier other than anonymous, device or guest.
func Identified(f *statev1.Facts) bool {
	for _, id := range f.GetIdentifiers() {
		if strength(id.Type) > 0 {
			return true
		}
	}
	return false
}

// strength ranks the types of identifiers as the resolver does: user_id,
// <system>_id, email, phone, then those of nobody in particular. Of a company
// company_id is what user_id is of a person; every other company_<x> names
// somebody, and as strongly as a <system>_id.
func strength(kind string) int {
	switch kind {
	case "user_id", events.CompanyID:
		return 4
	case "email":
		return 2
	case "phone":
		return 1
	case "anonymous_id", "device_id", "guest", "guest_id":
		return 0
	}
	return 3
}

// Name is what to call the customer: the trait "name", else first and last
// name, else the strongest identifier, of equally strong ones the first by
// (type, value). It is "" of a customer about whom nothing is known.
func Name(f *statev1.Facts) string {
	if name := textTrait(f, "name"); name != "" {
		return name
	}
	first := textTrait(f, "firstName", "first_name")
	last := textTrait(f, "lastName", "last_name")
	if name := strings.TrimSpace(first + " " + last); name != "" {
		return name
	}
	var name string
	best := -1
	for _, id := range f.GetIdentifiers() {
		if s := strength(id.Type); s > best {
			best, name = s, id.Value
		}
	}
	return name
}
