package profile

import (
	"iter"
	"slices"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// renderedBy names the sections that show a field of the profile, by its JSON
// name, where that is not the section of the same name.
var renderedBy = map[string][]string{"orders": {"orders", "cart"}}

// RenderFields is [Render] of some fields of the profile, named as in JSON; the
// others are left as they are. A list that needs a name and a stage pays for no
// digest.
func RenderFields(f *statev1.Facts, at int64, env Env, fields []string, into *queryv1.Profile) {
	if slices.Contains(fields, "flags") {
		// What is approximate is found by showing everything.
		whole := &queryv1.Profile{Flags: into.Flags}
		r := rendering{at: at, env: env, into: whole}
		for i := range sections {
			sections[i].render(f, &r)
		}
		into.Flags = appendFlags(whole.Flags, Flag(f.GetFlags()), &r)
	}
	r := rendering{at: at, env: env, into: into}
	for _, field := range fields {
		switch field {
		case "firstSeenAt":
			into.FirstSeenAt = timestamp(f.GetFirstSeenAt())
		case "lastSeenAt":
			into.LastSeenAt = timestamp(f.GetLastSeenAt())
		case "identified":
			into.Identified = Identified(f)
		case "name":
			into.Name = nil
			if name := Name(f); name != "" {
				into.Name = &name
			}
		case "digest":
			into.Digest = digestText(Digest(f))
		default:
			renderField(f, &r, field)
		}
	}
}

// renderField shows the sections of one field. A name that is no section's is
// nothing of the facts.
func renderField(f *statev1.Facts, r *rendering, field string) {
	names := renderedBy[field]
	if names == nil {
		names = []string{field}
	}
	for i := range sections {
		if slices.Contains(names, sections[i].name) {
			sections[i].render(f, r)
		}
	}
}

// NetRevenue is the net revenue of all times by currency, as the profile shows
// it.
func NetRevenue(o *statev1.OrdersFacts, env Env) []*queryv1.Money {
	r := rendering{env: env}
	return r.moneys(shownNet(o, env.BaseCurrency))
}

// Strength ranks a type of identifiers: 0 names nobody in particular.
func Strength(identifierType string) int { return strength(identifierType) }

// TextTrait is the first of some traits that is text and not blank, else "".
func TextTrait(f *statev1.Facts, names ...string) string { return textTrait(f, names...) }

// ShownTraits yields the traits that a profile shows, by name, and whether each
// was told by hand.
func ShownTraits(f *statev1.Facts) iter.Seq2[*statev1.TraitFact, bool] {
	return func(yield func(*statev1.TraitFact, bool) bool) {
		for t := range shownTraits(f) {
			if t.ValueJson != "" && !yield(t, t.Stamp.GetRank() == rankManual) {
				return
			}
		}
	}
}

// shownFrom names the facts that a field of the profile is shown from, both by
// their JSON names, where those are not the facts of the same name.
var shownFrom = map[string][]string{
	"name":       {"identifiers", "traits"},
	"identified": {"identifiers"},
	"orders":     {"orders", "cart"},
}

// ShownFrom names the facts that [RenderFields] reads to show a field, both by
// their JSON names; all says that it reads everything.
func ShownFrom(field string) (facts []string, all bool) {
	if field == "flags" || field == "digest" {
		return nil, true
	}
	if facts := shownFrom[field]; facts != nil {
		return facts, false
	}
	return []string{field}, false
}
