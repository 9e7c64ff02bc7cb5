package events

import (
	"slices"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

// WireNames are the names that trackers use for a type beside its canonical
// one, as [TypeByName] compares them: in lower case, without '_' and spaces.
func WireNames(t eventsv1.Type) []string {
	var names []string
	for name, of := range wireNames {
		if of == t {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
