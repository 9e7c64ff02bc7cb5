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

// maxTraits bounds the names kept of one customer, tombstones included. Beyond
// it the least names stay, each exact, and the section is approximate.
const maxTraits = 1_000

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
		tellTrait(f, name, canonicalJSON(fields[name]), stamp)
	}
	// A name both set and unset by one event is unset.
	for _, name := range told.Unset {
		tellTrait(f, name, "", stamp)
	}
	return nil
}

func tellTrait(f *statev1.Facts, name, valueJSON string, stamp *statev1.Stamp) {
	i, found := find(f.Traits, name, (*statev1.TraitFact).GetName)
	if found {
		if t := f.Traits[i]; outranks(stamp, t.Stamp) {
			t.ValueJson, t.Stamp = valueJSON, stamp
		}
		return
	}
	var dropped bool
	f.Traits, dropped = insertLeast(f.Traits, i, &statev1.TraitFact{Name: name, ValueJson: valueJSON, Stamp: stamp}, maxTraits)
	f.TraitsApproximate = f.TraitsApproximate || dropped
}

// encodeTraits: approximate; unless so, list of (name, value as canonical
// JSON, "" if forgotten; rank; occurrence).
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
		e.string(t.ValueJson)
		e.count(t.Stamp.GetRank())
		e.int(t.Stamp.GetOccurredAt())
	}
}

func renderTraits(f *statev1.Facts, r *rendering) {
	r.approximate = r.approximate || f.TraitsApproximate
	r.into.Traits = nil
	for _, t := range f.Traits {
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
