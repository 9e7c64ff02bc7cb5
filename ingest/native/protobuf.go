package native

import (
	"math"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/jsontree"
	"github.com/dossier360/dossier/ingest/properties"
)

// The fields of EventBatch.
const (
	fieldSource protowire.Number = 1
	fieldSentAt protowire.Number = 2
	fieldEvents protowire.Number = 3
)

// protobufDepth bounds the nesting of messages: one level of a Struct's JSON
// takes three, and a payload stands three levels deep.
const protobufDepth = 3*ingest.MaxDepth + 3

// DecodeProtobuf reads the bytes of an EventBatch. The drafts keep parts of
// body as the original bytes of their events.
func DecodeProtobuf(body []byte) ingest.Decoded {
	b := &batch{body: body}
	var items []jsontree.Span
	for pos := 0; pos < len(body); {
		number, typ, n := protowire.ConsumeTag(body[pos:])
		if n < 0 {
			return ingest.Decoded{Refused: notProtobuf("", protowire.ParseError(n))}
		}
		pos += n
		if n = protowire.ConsumeFieldValue(number, typ, body[pos:]); n < 0 {
			return ingest.Decoded{Refused: notProtobuf("", protowire.ParseError(n))}
		}
		end := pos + n
		if typ == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(body[pos:end])
			span := jsontree.Span{Start: end - len(value), End: end}
			if number == fieldEvents {
				items = append(items, span)
			} else if refused := b.protobufMember(number, value); refused != nil {
				return ingest.Decoded{Refused: refused}
			}
			if len(items) > ingest.MaxListedEvents {
				break
			}
		}
		pos = end
	}
	return b.finish(items, func(span jsontree.Span) ingest.Draft { return decodeEvent(body[span.Start:span.End]) })
}

// DecodeProtobufItem reads the bytes of one Event.
func DecodeProtobufItem(body []byte) ingest.Decoded {
	b := &batch{body: body}
	return b.finish([]jsontree.Span{{End: len(body)}}, func(jsontree.Span) ingest.Draft { return decodeEvent(body) })
}

// protobufMember reads what stands beside the events.
func (b *batch) protobufMember(number protowire.Number, value []byte) *ingest.Rejection {
	switch number {
	case fieldSource:
		return b.source(string(value))
	case fieldSentAt:
		var t timestamppb.Timestamp
		if err := proto.Unmarshal(value, &t); err != nil || t.CheckValid() != nil {
			return properties.RefuseTime("sentAt", timeText(&t))
		}
		b.sent = t.AsTime()
	}
	return nil
}

func decodeEvent(raw []byte) ingest.Draft {
	ev := &eventsv1.Event{}
	if err := (proto.UnmarshalOptions{RecursionLimit: protobufDepth}).Unmarshal(raw, ev); err != nil {
		return ingest.Draft{Refused: whyNot(raw, err)}
	}
	var tree jsontree.Tree
	if ev.Properties != nil {
		text, bad := appendStruct(nil, "properties", ev.Properties)
		if bad != "" {
			return refuseInfinite(bad, ev)
		}
		if err := tree.Parse(string(text), 1); err != nil {
			return ingest.Draft{Refused: properties.Unreadable("properties", err)}
		}
	}
	for _, traits := range [...]struct {
		field string
		s     *structpb.Struct
	}{{"traits.set", ev.GetTraits().GetSet()}, {"traits.setOnce", ev.GetTraits().GetSetOnce()}, {"group.traits", ev.GetGroup().GetTraits()}} {
		if refused := checkStruct(traits.field, traits.s); refused != nil {
			refused.MessageID = ev.Id
			return ingest.Draft{Refused: refused}
		}
	}
	return complete(ev, tree.Root(), 0)
}

// checkStruct holds a Struct that stays one against the limits of JSON.
func checkStruct(field string, s *structpb.Struct) *ingest.Rejection {
	text, bad := appendStruct(nil, field, s)
	if bad != "" {
		return refuseInfinite(bad, &eventsv1.Event{}).Refused
	}
	var t jsontree.Tree
	if err := t.Parse(string(text), 2); err != nil {
		return properties.Unreadable(field, err)
	}
	return nil
}

func refuseInfinite(field string, ev *eventsv1.Event) ingest.Draft {
	r := ingest.Refuse(ingest.CodeBadNumber, field, "a finite number", field+" is no finite number")
	r.MessageID = ev.Id
	return ingest.Draft{Refused: r}
}

// whyNot finds what is wrong with the bytes of an event: nesting, text that is
// not UTF-8, or the bytes themselves. The library does not tell these apart.
func whyNot(raw []byte, err error) *ingest.Rejection {
	if field := invalidText("", (&eventsv1.Event{}).ProtoReflect().Descriptor(), raw, 0); field != "" {
		return ingest.Refuse(ingest.CodeNotUTF8, field, "UTF-8", field+" is not UTF-8")
	}
	if proto.Unmarshal(raw, &eventsv1.Event{}) == nil {
		limit := strconv.Itoa(ingest.MaxDepth) + " levels"
		return ingest.Refuse(ingest.CodeTooDeep, "properties", limit, "nested deeper than "+limit)
	}
	return notProtobuf("event", err)
}

func notProtobuf(field string, err error) *ingest.Rejection {
	return ingest.Refuse(ingest.CodeNotJSON, field, "protobuf dossier.events.v1.EventBatch", "not an EventBatch: "+err.Error())
}

// invalidText finds the first text field that is not UTF-8, "" if none.
func invalidText(path string, md protoreflect.MessageDescriptor, raw []byte, depth int) string {
	for len(raw) > 0 && depth <= protobufDepth {
		number, typ, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return ""
		}
		raw = raw[n:]
		if n = protowire.ConsumeFieldValue(number, typ, raw); n < 0 {
			return ""
		}
		fd := md.Fields().ByNumber(number)
		if fd != nil && typ == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(raw)
			at := join(path, fd.JSONName())
			switch {
			case fd.Kind() == protoreflect.StringKind && !utf8.Valid(value):
				return at
			case fd.Kind() == protoreflect.MessageKind:
				if bad := invalidText(at, fd.Message(), value, depth+1); bad != "" {
					return bad
				}
			}
		}
		raw = raw[n:]
	}
	return ""
}

// appendStruct writes a Struct as JSON. If it holds a number that is not
// finite, bad is where.
func appendStruct(dst []byte, path string, s *structpb.Struct) (_ []byte, bad string) {
	dst = append(dst, '{')
	first := true
	for key, v := range s.GetFields() {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(jsontree.AppendString(dst, key), ':')
		if dst, bad = appendValue(dst, join(path, key), v); bad != "" {
			return dst, bad
		}
	}
	return append(dst, '}'), ""
}

func appendValue(dst []byte, path string, v *structpb.Value) (_ []byte, bad string) {
	switch k := v.GetKind().(type) {
	case *structpb.Value_NumberValue:
		return appendNumber(dst, path, k.NumberValue)
	case *structpb.Value_StringValue:
		return jsontree.AppendString(dst, k.StringValue), ""
	case *structpb.Value_BoolValue:
		return strconv.AppendBool(dst, k.BoolValue), ""
	case *structpb.Value_StructValue:
		return appendStruct(dst, path, k.StructValue)
	case *structpb.Value_ListValue:
		dst = append(dst, '[')
		for i, item := range k.ListValue.GetValues() {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, bad = appendValue(dst, path+"["+strconv.Itoa(i)+"]", item); bad != "" {
				return dst, bad
			}
		}
		return append(dst, ']'), ""
	default:
		return append(dst, "null"...), ""
	}
}

// appendNumber writes the shortest digits that are this double, without an
// exponent where people would not write one.
func appendNumber(dst []byte, path string, f float64) (_ []byte, bad string) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return dst, path
	}
	format := byte('f')
	if m := math.Abs(f); m != 0 && (m < 1e-6 || m >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, f, format, -1, 64), ""
}
