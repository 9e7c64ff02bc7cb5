package profile

import (
	"cmp"
	"encoding/json"
	"iter"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// Traits: what was told about the customer. Every name has three slots, by rank:
// what imports told, and what somebody told by hand, each by the last writer by
// order key; and what was told to stand only where nothing else was, by the
// first. What was told by hand is shown until a later telling by hand
// releases the name; the import below it was kept all the while. Forgetting a
// name is a telling too: its tombstone stays in its slot, so that an older value
// that comes late does not return, and one told by hand hides what is imported.
// All fields are facts.
//
// Of a person they are told by traits.set; the facts about a company in
// group.joined are the company's own, and imports, whether or not a person
// joined it.
//
// Beyond maxTraits the least (name, rank) stay and the section is approximate.
// Of a name or value that was told longer than facts hold the beginning stands;
// the trait is approximate until another telling wins its slot.

// Ranks are numbers of slots; which of them is shown is for shownSlot to say.
const (
	rankImport = 0
	rankManual = 1
	rankOnce   = 2
)

func foldTraits(f *statev1.Facts, a *application) error {
	h := a.Header
	switch {
	case h.GetType() == eventsv1.Type_TYPE_TRAITS_SET && h.GetRole() == logv1.Role_ROLE_SUBJECT:
		tellTraits(f, a, a.Body.GetTraits())
	case h.GetType() == eventsv1.Type_TYPE_GROUP_JOINED && h.GetCustomerKind() == logv1.CustomerKind_CUSTOMER_KIND_COMPANY &&
		(h.GetRole() == logv1.Role_ROLE_SUBJECT || h.GetRole() == logv1.Role_ROLE_COMPANY) && !h.GetLeaves():
		// Who leaves this company joins another, whose the facts are. An event that
		// names no person has the company as its subject.
		tellTraits(f, a, &eventsv1.Traits{Set: a.Body.GetGroup().GetTraits()})
	}
	return nil
}

// tellTraits tells one event's. A name that it both sets and unsets is unset,
// and released if it is released too: an event outranks itself.
func tellTraits(f *statev1.Facts, a *application, told *eventsv1.Traits) {
	stamp := a.stamp // of rankImport
	if told.GetManual() {
		stamp = rankedStamp(a.Event, rankManual)
	}
	if once := told.GetSetOnce().GetFields(); len(once) > 0 {
		stamp := rankedStamp(a.Event, rankOnce)
		for _, name := range sortedKeys(once) {
			tellTrait(f, boundTrait(name, once[name]), stamp)
		}
	}
	// Every name is decided alone, so the order of the map does not matter;
	// sorted all the same, so that a run can be followed step by step.
	fields := told.GetSet().GetFields()
	for _, name := range sortedKeys(fields) {
		tellTrait(f, boundTrait(name, fields[name]), stamp)
	}
	for _, name := range told.GetUnset() {
		tellTrait(f, boundTrait(name, nil), stamp)
	}
	if !told.GetManual() {
		return // an import has nothing by hand to release
	}
	for _, name := range told.GetRelease() {
		released := boundTrait(name, nil)
		released.Released = true
		tellTrait(f, released, stamp)
	}
}

func rankedStamp(ev Event, rank uint32) *statev1.Stamp {
	stamp := StampOf(ev)
	stamp.Rank = rank
	return stamp
}

// boundTrait is what facts hold of a telling, without its stamp. A nil value
// forgets the name.
func boundTrait(name string, value *structpb.Value) *statev1.TraitFact {
	t := &statev1.TraitFact{Name: cutKey(name)}
	t.Cut = len(t.Name) < len(name)
	if value == nil {
		return t
	}
	t.ValueJson = canonicalJSON(value)
	if most := maxTraitBytes - len(t.Name); len(t.ValueJson) > most {
		text := t.ValueJson
		if s, is := value.GetKind().(*structpb.Value_StringValue); is {
			text = s.StringValue
		}
		t.ValueJson, t.Cut = beginningJSON(text, most), true
	}
	return t
}

func tellTrait(f *statev1.Facts, told *statev1.TraitFact, stamp *statev1.Stamp) {
	told.Stamp = stamp
	i, found := findTrait(f.Traits, told.Name, stamp.Rank)
	if found {
		if stamp.Rank != rankOnce && outranks(stamp, f.Traits[i].Stamp) ||
			stamp.Rank == rankOnce && CompareStamps(stamp, f.Traits[i].Stamp) < 0 {
			f.Traits[i] = told
		}
		return
	}
	var dropped bool
	f.Traits, dropped = insertLeast(f.Traits, i, told, maxTraits)
	f.TraitsApproximate = f.TraitsApproximate || dropped
}

func findTrait(list []*statev1.TraitFact, name string, rank uint32) (int, bool) {
	return slices.BinarySearchFunc(list, name, func(t *statev1.TraitFact, name string) int {
		return cmp.Or(strings.Compare(t.Name, name), cmp.Compare(t.Stamp.GetRank(), rank))
	})
}

// shownTraits are the tellings that are shown, by name. Tombstones are among
// them.
func shownTraits(f *statev1.Facts) iter.Seq[*statev1.TraitFact] {
	return func(yield func(*statev1.TraitFact) bool) {
		for list := f.GetTraits(); len(list) > 0; {
			n := 1
			for n < len(list) && list[n].Name == list[0].Name {
				n++
			}
			if t := shownSlot(list[:n]); t != nil && !yield(t) {
				return
			}
			list = list[n:]
		}
	}
}

// shownSlot is the telling of a name that is shown, of its slots: what was told
// by hand unless it is released, else what imports told, else what was to stand
// where nothing else was told; nil if there is none.
func shownSlot(slots []*statev1.TraitFact) *statev1.TraitFact {
	var shown *statev1.TraitFact
	for _, t := range slots {
		switch t.Stamp.GetRank() {
		case rankImport:
			shown = t
		case rankManual:
			if !t.Released {
				return t
			}
		case rankOnce:
			if shown == nil {
				shown = t
			}
		}
	}
	return shown
}

// encodeTraits: approximate; unless so, list of (name, value as canonical
// JSON, or what is no JSON: "" if forgotten, "released", "…" if cut; rank;
// occurrence), of all slots by (name, rank).
func encodeTraits(e *encoder, f *statev1.Facts) {
	if len(f.Traits) == 0 {
		return
	}
	e.bool(f.TraitsApproximate)
	if f.TraitsApproximate {
		return
	}
	e.length(len(f.Traits))
	for _, t := range f.Traits {
		e.string(t.Name)
		switch {
		case t.Cut:
			e.string("…")
		case t.Released:
			e.string("released")
		default:
			e.string(t.ValueJson)
		}
		e.count(t.Stamp.GetRank())
		e.int(t.Stamp.GetOccurredAt())
	}
}

func renderTraits(f *statev1.Facts, r *rendering) {
	r.approximate = r.approximate || f.TraitsApproximate
	for _, t := range f.Traits {
		r.approximate = r.approximate || t.Cut
	}
	r.into.Traits = nil
	for t := range shownTraits(f) {
		if t.ValueJson == "" {
			continue
		}
		value := new(structpb.Value)
		if err := protojson.Unmarshal([]byte(t.ValueJson), value); err != nil {
			panic("not reached: facts hold canonical JSON: " + err.Error())
		}
		if r.into.Traits == nil {
			r.into.Traits = make(map[string]*queryv1.Trait)
		}
		r.into.Traits[t.Name] = &queryv1.Trait{
			Value:      value,
			Manual:     t.Stamp.GetRank() == rankManual,
			Source:     t.Stamp.GetSource(),
			OccurredAt: timestamp(t.Stamp.GetOccurredAt()),
			EventId:    t.Stamp.GetEventId(),
		}
	}
}

// shownTrait is the telling that is shown of a name, or nil.
func shownTrait(f *statev1.Facts, name string) *statev1.TraitFact {
	list := f.GetTraits()
	i, _ := findTrait(list, name, 0)
	n := i
	for n < len(list) && list[n].Name == name {
		n++
	}
	return shownSlot(list[i:n])
}

// textTrait is the first of some traits that is text and not blank.
func textTrait(f *statev1.Facts, names ...string) string {
	for _, name := range names {
		value := shownTrait(f, name).GetValueJson()
		if !strings.HasPrefix(value, `"`) {
			continue
		}
		var text string
		if json.Unmarshal([]byte(value), &text) == nil {
			if text = strings.TrimSpace(text); text != "" {
				return text
			}
		}
	}
	return ""
}

func sortedKeys(m map[string]*structpb.Value) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
