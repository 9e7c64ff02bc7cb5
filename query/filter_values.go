package query

import (
	"math"
	"reflect"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/dossier360/dossier/events"
)

// equal compares two values. Whether values of two kinds are equal nobody can
// tell, nor of messages, so that is absent; there is neither == nor != then.
func equal(a, b ref.Val) ref.Val {
	switch a := a.(type) {
	case traits.Lister:
		if b, isList := b.(traits.Lister); isList {
			return equalLists(a, b)
		}
		return absent
	case traits.Mapper:
		if b, isMap := b.(traits.Mapper); isMap {
			return equalMaps(a, b)
		}
		return absent
	case types.Double, types.Int, types.Uint:
		if !isNumber(b) || isNaN(a) || isNaN(b) {
			return absent
		}
	case types.String, types.Bool, types.Timestamp, types.Duration:
		if a.Type() != b.Type() {
			return absent
		}
	default:
		return absent
	}
	return a.Equal(b)
}

func unequal(a, b ref.Val) ref.Val {
	if same, known := equal(a, b).(types.Bool); known {
		return !same
	}
	return absent
}

func isNumber(v ref.Val) bool {
	switch v.(type) {
	case types.Double, types.Int, types.Uint:
		return true
	}
	return false
}

func isNaN(v ref.Val) bool {
	n, ok := v.(types.Double)
	return ok && math.IsNaN(float64(n))
}

// equalLists compares lists element by element: one pair that differs decides,
// else one that cannot be compared does.
func equalLists(a, b traits.Lister) ref.Val {
	if a.Size().Equal(b.Size()) != types.True {
		return types.False
	}
	var all ref.Val = types.True
	for x, y := a.Iterator(), b.Iterator(); x.HasNext() == types.True && y.HasNext() == types.True; {
		switch same := equal(x.Next(), y.Next()); same {
		case types.True:
		case types.False:
			return types.False
		default:
			all = absent
		}
	}
	return all
}

// equalMaps is equalLists for maps.
func equalMaps(a, b traits.Mapper) ref.Val {
	if a.Size().Equal(b.Size()) != types.True {
		return types.False
	}
	var all ref.Val = types.True
	for keys := a.Iterator(); keys.HasNext() == types.True; {
		key := keys.Next()
		other, both := b.Find(key)
		if !both {
			return types.False
		}
		switch same := equal(a.Get(key), other); same {
		case types.True:
		case types.False:
			return types.False
		default:
			all = absent
		}
	}
	return all
}

// contains is the operator in.
func contains(element, of ref.Val) ref.Val {
	switch of := of.(type) {
	case traits.Lister:
		for all := of.Iterator(); all.HasNext() == types.True; {
			if equal(element, all.Next()) == types.True {
				return types.True
			}
		}
		return types.False
	case traits.Mapper:
		_, found := of.Find(element)
		return types.Bool(found)
	}
	return absent
}

// quotient divides. By zero there is none, nor is one that no number holds.
func quotient(a, b ref.Val) ref.Val {
	return finite(a, b, func(a, b float64) float64 { return a / b })
}

// remainder is what is left of a division, with the sign of what was divided.
func remainder(a, b ref.Val) ref.Val { return finite(a, b, math.Mod) }

func finite(a, b ref.Val, of func(a, b float64) float64) ref.Val {
	x, isNumber := a.(types.Double)
	y, areNumbers := b.(types.Double)
	if !isNumber || !areNumbers || y == 0 {
		return absent
	}
	n := of(float64(x), float64(y))
	if math.IsInf(n, 0) || math.IsNaN(n) {
		return absent
	}
	return types.Double(n)
}

// zoned makes of an instant one at which clocks at UTC show what those of the
// deployment's zone show at the instant, so that getHours() and the like are of
// that zone. The zone is a literal that nobody can write.
const zoned = "@zoned"

func localTime(of, in ref.Val) ref.Val {
	zone, isZone := in.(zoneValue)
	at, isTime := of.(types.Timestamp)
	if !isZone || !isTime {
		return of // a span of time has hours as well
	}
	return types.Timestamp{Time: at.Time.Add(zone.offset(at.Time))}
}

// zoneValue is a zone in an expression. It is handed on, and nothing else.
type zoneValue struct{ *events.Zone }

func (z zoneValue) offset(at time.Time) time.Duration { return z.Offset(events.Micros(at)) }

var zoneType = types.NewOpaqueType("zone")

// ConvertToNative implements [ref.Val].
func (z zoneValue) ConvertToNative(reflect.Type) (any, error) { return nil, errAbsent }

// ConvertToType implements [ref.Val].
func (z zoneValue) ConvertToType(ref.Type) ref.Val { return absent }

// Equal implements [ref.Val].
func (z zoneValue) Equal(ref.Val) ref.Val { return absent }

// Type implements [ref.Val].
func (z zoneValue) Type() ref.Type { return zoneType }

// Value implements [ref.Val].
func (z zoneValue) Value() any { return z.Zone }
