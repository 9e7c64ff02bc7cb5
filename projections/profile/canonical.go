package profile

import (
	"math"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/structpb"
)

// maxExactInteger is the greatest integer up to which all are exact in a JSON
// number; greater ones are written as strings.
const maxExactInteger = 1 << 53

// canonicalJSON is the one text of a JSON value: keys sorted by bytes, no
// spaces, shortest numbers, integers beyond 2^53 as strings, and of all
// characters only those escaped that must be.
func canonicalJSON(v *structpb.Value) string { return string(appendCanonical(nil, v)) }

func appendCanonical(b []byte, v *structpb.Value) []byte {
	switch kind := v.GetKind().(type) {
	case *structpb.Value_BoolValue:
		return strconv.AppendBool(b, kind.BoolValue)
	case *structpb.Value_NumberValue:
		return appendNumber(b, kind.NumberValue)
	case *structpb.Value_StringValue:
		return appendString(b, kind.StringValue)
	case *structpb.Value_ListValue:
		b = append(b, '[')
		for i, e := range kind.ListValue.GetValues() {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendCanonical(b, e)
		}
		return append(b, ']')
	case *structpb.Value_StructValue:
		fields := kind.StructValue.GetFields()
		b = append(b, '{')
		for i, key := range sortedKeys(fields) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, key), ':')
			b = appendCanonical(b, fields[key])
		}
		return append(b, '}')
	}
	return append(b, "null"...)
}

// appendNumber compares and formats a number but never calculates with it, so
// processors cannot differ. What JSON has no word for is null; the gateway
// refuses it.
func appendNumber(b []byte, n float64) []byte {
	size := math.Abs(n)
	switch {
	case math.IsNaN(n) || math.IsInf(n, 0):
		return append(b, "null"...)
	case n == 0:
		return append(b, '0') // -0 is 0
	case size > maxExactInteger && size < 1e21:
		b = append(b, '"')
		b = strconv.AppendFloat(b, n, 'f', -1, 64)
		return append(b, '"')
	case size >= 1e21 || size < 1e-6:
		return strconv.AppendFloat(b, n, 'e', -1, 64)
	}
	return strconv.AppendFloat(b, n, 'f', -1, 64)
}

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		b = appendCharacter(b, r)
	}
	return append(b, '"')
}

func appendCharacter(b []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	switch {
	case r == '"' || r == '\\':
		return append(b, '\\', byte(r))
	case r < 0x20:
		return append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
	}
	return utf8.AppendRune(b, r)
}

// beginningJSON is the beginning of a text and an ellipsis, as a JSON string
// of at most n bytes.
func beginningJSON(s string, n int) string {
	const end = `…"`
	b := []byte{'"'}
	for _, r := range s {
		longer := appendCharacter(b, r)
		if len(longer)+len(end) > n {
			break
		}
		b = longer
	}
	return string(append(b, end...))
}
