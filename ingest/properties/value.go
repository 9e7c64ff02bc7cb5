package properties

import (
	"cmp"
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/structpb"

	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/jsontree"
)

// Flags are the flags raised for one event. The zero Flags are none.
type Flags uint32

// Set raises a flag.
func (f *Flags) Set(flag logv1.Flag) { *f |= 1 << flag }

// List is the flags in order of their numbers, nil if none.
func (f Flags) List() []logv1.Flag {
	var list []logv1.Flag
	for flag := logv1.Flag(0); f>>flag != 0; flag++ {
		if f>>flag&1 != 0 {
			list = append(list, flag)
		}
	}
	return list
}

// Text is the text of a string or the digits of a number, which is how ids
// come; ok is false of every other value and of an empty string.
func Text(v jsontree.Value) (text string, ok bool) {
	if k := v.Kind(); k != jsontree.String && k != jsontree.Number {
		return "", false
	}
	text = v.Text()
	return text, text != ""
}

// CheckID refuses an id beyond [ingest.MaxIDCharacters].
func CheckID(field, id string) *ingest.Rejection {
	if len(id) <= ingest.MaxIDCharacters {
		return nil
	}
	n := utf8.RuneCountInString(id)
	if n <= ingest.MaxIDCharacters {
		return nil
	}
	limit := strconv.Itoa(ingest.MaxIDCharacters) + " characters"
	return ingest.Refuse(ingest.CodeIDTooLong, field, limit,
		field+" has "+strconv.Itoa(n)+" characters, limit "+limit+": "+ingest.Shown(id))
}

// Unreadable turns an error of package jsontree into the refusal of an event. The
// field is where in the call the text stood, "" for the root.
func Unreadable(field string, err error) *ingest.Rejection {
	e, ok := errors.AsType[*jsontree.Error](err)
	if !ok {
		panic("not reached: jsontree returns only its own errors")
	}
	switch {
	case field == "":
		field = e.Path
	case e.Path != "" && e.Path[0] != '[':
		field += "." + e.Path
	default:
		field += e.Path
	}
	code, limit := ingest.CodeNotJSON, "JSON of RFC 8259"
	switch e.Problem {
	case jsontree.TooDeep:
		code, limit = ingest.CodeTooDeep, strconv.Itoa(jsontree.MaxDepth)+" levels"
	case jsontree.NotUTF8:
		code, limit = ingest.CodeNotUTF8, "UTF-8"
	case jsontree.NotFinite:
		code, limit = ingest.CodeBadNumber, amountLimit
	}
	message := "at byte " + strconv.Itoa(e.Offset) + ": " + e.Detail
	if field = shortPath(field); field != "" {
		message = field + ", " + message
	}
	return ingest.Refuse(code, field, limit, message)
}

// RefuseList refuses what stands where a list is wanted, if its first
// character says that it is another kind of value. What is no JSON at all is
// for the reader to refuse, who knows the place.
func RefuseList(field, src string) *ingest.Rejection {
	if src == "" {
		return nil
	}
	var kind jsontree.Kind
	switch c := src[0]; {
	case c == '{':
		kind = jsontree.Object
	case c == '"':
		kind = jsontree.String
	case c == '-' || c >= '0' && c <= '9':
		kind = jsontree.Number
	case src == "true" || src == "false":
		kind = jsontree.Bool
	default:
		return nil
	}
	return ingest.Refuse(ingest.CodeBadType, field, "an array", field+" is "+kind.String()+", an array wanted")
}

// shortPath cuts a path that the sender made long; its first steps tell the
// place.
func shortPath(path string) string {
	const mostBytes = 120
	path = strings.ToValidUTF8(path, "\ufffd")
	if len(path) <= mostBytes {
		return path
	}
	return strings.ToValidUTF8(path[:mostBytes], "") + "…"
}

// Struct makes the protobuf form of an object. Its numbers are doubles: an
// integer beyond 2^53 and a fraction that a double does not hold become their
// text.
func Struct(v jsontree.Value) *structpb.Struct {
	s := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for key, m := range v.Members() {
		s.Fields[key] = structValue(m)
	}
	return s
}

func structValue(v jsontree.Value) *structpb.Value {
	switch v.Kind() {
	case jsontree.Bool:
		return structpb.NewBoolValue(v.True())
	case jsontree.Number:
		return numberValue(v.Text())
	case jsontree.String:
		return structpb.NewStringValue(v.Text())
	case jsontree.Array:
		list := &structpb.ListValue{}
		for item := range v.Items() {
			list.Values = append(list.Values, structValue(item))
		}
		return structpb.NewListValue(list)
	case jsontree.Object:
		return structpb.NewStructValue(Struct(v))
	default:
		return structpb.NewNullValue()
	}
}

// maxExactInteger is up to where every integer is a double.
const maxExactInteger = 1 << 53

func numberValue(text string) *structpb.Value {
	f, err := strconv.ParseFloat(text, 64)
	if err == nil && math.Abs(f) <= maxExactInteger && sameNumber(text, f) {
		return structpb.NewNumberValue(f)
	}
	return structpb.NewStringValue(text)
}

// sameNumber reports whether the shortest digits of a double are those of the
// text, so that nothing is lost by keeping the double.
func sameNumber(text string, f float64) bool {
	var buf [32]byte
	a, _ := scanDecimal(text)
	b, _ := scanDecimal(string(strconv.AppendFloat(buf[:0], f, 'e', -1, 64)))
	return a.trimmed() == b.trimmed()
}

// trimmed is the decimal without trailing zeros, so that equal numbers are
// equal values.
func (d decimal) trimmed() decimal {
	short := strings.TrimRight(d.digits, "0")
	d.exponent += len(d.digits) - len(short)
	if d.digits = short; short == "" {
		return decimal{}
	}
	return d
}

// FindID finds an id, or the write key, among the members of an event that
// could not be read, "" if it cannot be found.
func FindID(src string, isKey func(string) bool) string {
	members, err := jsontree.CutObject(src)
	if err != nil {
		return ""
	}
	var t jsontree.Tree
	for _, m := range members {
		if isKey(m.Key) && t.Parse(m.Value.Of(src), 1) == nil {
			id, _ := Text(t.Root())
			if id != "" && CheckID(m.Key, id) == nil {
				return id
			}
		}
	}
	return ""
}

// FindKey finds the write key in an object that may not be JSON as a whole; see
// [ingest.Decoded.TellKey] for which of several.
func FindKey(src string) string {
	isToken := func(key string) bool { return key == "token" }
	return cmp.Or(FindID(src, func(key string) bool { return ingest.IsWriteKey(key) && !isToken(key) }), FindID(src, isToken))
}
