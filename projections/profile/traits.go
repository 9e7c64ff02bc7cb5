package profile

import (
	"encoding/json"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// Traits: what was told about the customer, each name by the last writer by
// (rank, order key), where a telling by hand outranks imports. Forgetting a
// name is a telling too: its tombstone stays, so that an older value that
// comes late does not return. All fields are facts.
//
// Beyond maxTraits the least names stay and the section is approximate. Of a
// name or value that was told longer than facts hold the beginning stands; the
// trait is approximate until another telling wins.

const rankManual = 1

func foldTraits(f *statev1.Facts, a *application) error {
	told := a.Body.GetTraits()
	if a.Header.GetType() != eventsv1.Type_TYPE_TRAITS_SET || told == nil || a.Header.GetRole() != logv1.Role_ROLE_SUBJECT {
		return nil
	}
	stamp := a.stamp
	if told.Manual {
		stamp = StampOf(a.Event)
		stamp.Rank = rankManual
	}
	// Every name is decided alone, so the order of the map does not matter;
	// sorted all the same, so that a run can be followed step by step.
	fields := told.GetSet().GetFields()
	for _, name := range sortedKeys(fields) {
		tellTrait(f, boundTrait(name, fields[name]), stamp)
	}
	// A name both set and unset by one event is unset.
	for _, name := range told.Unset {
		tellTrait(f, boundTrait(name, nil), stamp)
	}
	return nil
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
	i, found := find(f.Traits, told.Name, (*statev1.TraitFact).GetName)
	if found {
		if outranks(stamp, f.Traits[i].Stamp) {
			f.Traits[i] = told
		}
		return
	}
	var dropped bool
	f.Traits, dropped = insertLeast(f.Traits, i, told, maxTraits)
	f.TraitsApproximate = f.TraitsApproximate || dropped
}

// encodeTraits: approximate; unless so, list of (name, value as canonical
// JSON, "" if forgotten, which is no JSON, "…" if cut, which is none either;
// rank; occurrence).
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
		if t.Cut {
			e.string("…")
		} else {
			e.string(t.ValueJson)
		}
		e.count(t.Stamp.GetRank())
		e.int(t.Stamp.GetOccurredAt())
	}
}

func renderTraits(f *statev1.Facts, r *rendering) {
	r.approximate = r.approximate || f.TraitsApproximate
	r.into.Traits = nil
	for _, t := range f.Traits {
		r.approximate = r.approximate || t.Cut
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

// textTrait is the first of some traits that is text and not blank.
func textTrait(f *statev1.Facts, names ...string) string {
	for _, name := range names {
		i, found := find(f.GetTraits(), name, (*statev1.TraitFact).GetName)
		if !found || !strings.HasPrefix(f.Traits[i].ValueJson, `"`) {
			continue
		}
		var text string
		if json.Unmarshal([]byte(f.Traits[i].ValueJson), &text) == nil {
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
