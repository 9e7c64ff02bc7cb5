package columns

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unique"

	"github.com/dossier360/dossier/projections/profile"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// The bounds of the traits of a row. What is beyond them is left to the profile,
// of that customer alone.
const (
	// MaxTraits bounds the names of a row.
	MaxTraits = 64
	// MaxTraitName bounds a name, in bytes.
	MaxTraitName = 64
	// MaxTraitText bounds a text, in bytes: what people choose from a list fits,
	// an address does not have to.
	MaxTraitText = 64
	// MaxTraitBytes bounds all values of a row, in bytes.
	MaxTraitBytes = 1_024
)

// Traits are the shown traits of a customer as far as they are single values
// within the bounds. The zero Traits are those of a customer without any.
//
// Names and values are packed apart. Customers told by the same source have the
// same names, which are in memory once; of values, texts of such a length would
// take more as references than they do in place. Names no customer has any more
// are forgotten.
//
//	names    of each trait, by name: length, 1 byte; name
//	values   of each trait, in turn: kind and manual, 1 byte; then of a
//	         whole number  unsigned varint
//	         number        IEEE 754, 8 bytes, little endian
//	         text          length, 1 byte; text
type Traits struct {
	names  unique.Handle[string] // zero: none
	values string
	// more says that there are others, of names that are not here.
	more bool
}

// Trait is what a row tells of one trait.
type Trait struct {
	Kind   TraitKind
	Manual bool // told by hand
	Number float64
	Text   string
}

// TraitKind is the kind of a trait's value.
type TraitKind byte

// The kinds of a trait. The zero value is of a trait that the customer does not
// have.
const (
	TraitAbsent    TraitKind = iota
	TraitUnknown             // the row cannot tell whether he has it
	TraitElsewhere           // he has it, and the profile tells what it is
	TraitNull
	TraitFalse
	TraitTrue
	TraitNumber
	TraitText

	traitWhole // packed only: a TraitNumber
)

// manualBit is added to the kind of a trait told by hand.
const manualBit = 0x80

// Find is the trait of a name.
func (t *Traits) Find(name string) Trait {
	if t.names != (unique.Handle[string]{}) {
		values := t.values
		for names := t.names.Value(); names != ""; {
			n := 1 + int(names[0])
			if names[1:n] == name {
				trait, _ := unpackTrait(values)
				return trait
			}
			names, values = names[n:], values[packedSize(values):]
		}
	}
	if t.more {
		return Trait{Kind: TraitUnknown}
	}
	return Trait{}
}

// packedSize is how many bytes the first value takes.
func packedSize(values string) int {
	switch TraitKind(values[0] &^ manualBit) {
	case TraitNumber:
		return 9
	case traitWhole:
		n := 1
		for values[n] >= 0x80 {
			n++
		}
		return n + 1
	case TraitText:
		return 2 + int(values[1])
	}
	return 1
}

// unpackTrait reads the first value.
func unpackTrait(values string) (Trait, int) {
	n := packedSize(values)
	t := Trait{Kind: TraitKind(values[0] &^ manualBit), Manual: values[0]&manualBit != 0}
	switch t.Kind {
	case TraitText:
		t.Text = values[2:n]
	case TraitNumber:
		var bits uint64
		for i := range 8 {
			bits |= uint64(values[1+i]) << (8 * i)
		}
		t.Number = math.Float64frombits(bits)
	case traitWhole:
		var whole uint64
		for i := 1; i < n; i++ {
			whole |= uint64(values[i]&0x7f) << (7 * (i - 1))
		}
		t.Kind, t.Number = TraitNumber, float64(whole)
	}
	return t, n
}

// traitsOf packs the traits that a profile shows.
func traitsOf(f *statev1.Facts) Traits {
	var t Traits
	var names, values []byte
	count := 0
	for told, manual := range profile.ShownTraits(f) {
		if count == MaxTraits || len(told.Name) > MaxTraitName {
			t.more = true
			continue
		}
		count++
		if names == nil {
			names, values = make([]byte, 0, 256), make([]byte, 0, 128)
		}
		names = append(append(names, byte(len(told.Name))), told.Name...)
		at := len(values)
		values = appendTrait(values, told.ValueJson)
		if len(values) > MaxTraitBytes-(MaxTraits-count) { // every name may take one
			values = append(values[:at], byte(TraitElsewhere))
		}
		if manual {
			values[at] |= manualBit
		}
	}
	if count > 0 {
		t.names, t.values = unique.Make(string(names)), string(values)
	}
	return t
}

// appendTrait packs a value of canonical JSON.
func appendTrait(b []byte, value string) []byte {
	switch value[0] {
	case 'n':
		return append(b, byte(TraitNull))
	case 'f':
		return append(b, byte(TraitFalse))
	case 't':
		return append(b, byte(TraitTrue))
	case '"':
		if text, ok := shortText(value); ok {
			return append(append(b, byte(TraitText), byte(len(text))), text...)
		}
	case '[', '{':
	default:
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			return appendNumber(b, n)
		}
	}
	return append(b, byte(TraitElsewhere))
}

func appendNumber(b []byte, n float64) []byte {
	if whole := uint64(n); n >= 0 && n < 1<<49 && float64(whole) == n {
		return binary.AppendUvarint(append(b, byte(traitWhole)), whole)
	}
	return binary.LittleEndian.AppendUint64(append(b, byte(TraitNumber)), math.Float64bits(n))
}

// shortText is a text of a JSON string, if it is within the bound.
func shortText(quoted string) (string, bool) {
	text := quoted[1 : len(quoted)-1]
	if strings.IndexByte(text, '\\') >= 0 {
		// A character of one byte is written with six at most.
		if len(text) > 6*MaxTraitText || json.Unmarshal([]byte(quoted), &text) != nil {
			return "", false
		}
	}
	return text, len(text) <= MaxTraitText
}
