package cloudevents

import (
	"strconv"
	"strings"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/jsontree"
	"github.com/dossier360/dossier/ingest/properties"
)

// The media types of events in JSON.
const (
	StructuredType = "application/cloudevents+json"
	BatchType      = "application/cloudevents-batch+json"
)

// wanted is what a call must bring to be one of this wire.
const wanted = StructuredType + ", " + BatchType + ", or the headers ce-id, ce-source, ce-specversion and ce-type"

// Decode reads a call by its Content-Type, and by its headers if that says
// nothing of CloudEvents. Messages of NATS have the same headers.
func Decode(contentType string, header map[string][]string, body []byte) ingest.Decoded {
	media := mediaType(contentType)
	format, structured := strings.CutPrefix(media, "application/cloudevents")
	switch {
	case structured && (format == "-batch+json" || format == "-batch"):
		return DecodeBatch(body)
	case structured && (format == "+json" || format == ""):
		return DecodeStructured(body)
	case structured:
		return refuseCall("Content-Type", StructuredType+" or "+BatchType,
			"Content-Type is "+ingest.Shown(contentType)+": of the formats of CloudEvents only JSON is read, "+StructuredType+" or "+BatchType)
	case IsBinary(header):
		return DecodeBinary(contentType, header, body)
	}
	return refuseCall("Content-Type", wanted, "Content-Type is "+ingest.Shown(contentType)+" and there are no headers of an event: "+wanted+" wanted")
}

// DecodeStructured reads a body that is one event in JSON.
func DecodeStructured(body []byte) ingest.Decoded { return single(body) }

// DecodeItem reads the original of a draft once more.
func DecodeItem(body []byte) ingest.Decoded { return single(body) }

func single(body []byte) ingest.Decoded {
	d := decoder{body: body, src: string(body)}
	return ingest.Decoded{Single: true, Drafts: []ingest.Draft{d.draft(jsontree.Span{End: len(body)})}}
}

// DecodeBatch reads a body that is an array of events in JSON. It may be empty.
func DecodeBatch(body []byte) ingest.Decoded {
	d := decoder{body: body, src: string(body)}
	if strings.HasPrefix(strings.TrimLeft(d.src, " \t\r\n"), "{") {
		return refuseCall("", "a JSON array", "the body is an object, an array of events wanted; one event comes as "+StructuredType)
	}
	items, err := jsontree.CutArray(d.src, ingest.MaxListedEvents)
	switch {
	case err != nil:
		return ingest.Decoded{Refused: properties.Unreadable("", err)}
	case len(items) > ingest.MaxListedEvents:
		return ingest.Decoded{Refused: tooMany("the batch has more than " + strconv.Itoa(ingest.MaxListedEvents) + " events")}
	}
	decoded := ingest.Decoded{Drafts: make([]ingest.Draft, len(items))}
	for i, span := range items {
		draft := &decoded.Drafts[i]
		if i < ingest.MaxBatchEvents {
			*draft = d.draft(span)
		} else {
			*draft = d.refused(span, tooMany("event "+strconv.Itoa(i+1)+" is beyond the limit"))
		}
		if draft.Refused != nil {
			draft.Refused.Index = i
		}
	}
	return decoded
}

// DecodeBinary reads an event whose attributes are headers and whose data is the
// body. Its original is the event in structured form, made here, so that the
// headers are kept with it.
func DecodeBinary(contentType string, header map[string][]string, body []byte) ingest.Decoded {
	text, refused := structured(contentType, header, body)
	decoded := single(text)
	if refused != nil {
		draft := &decoded.Drafts[0]
		refused.MessageID = draft.Event.GetId()
		if draft.Refused != nil {
			refused.MessageID = draft.Refused.MessageID
		}
		draft.Event, draft.Refused = nil, refused
	}
	return decoded
}

// decoder is the state of one call.
type decoder struct {
	body []byte
	src  string // body as a string, of which the drafts hold parts

	item jsontree.Tree // of the event at hand
	data jsontree.Tree // of its data, where that was encoded
}

// draft reads one event.
func (d *decoder) draft(span jsontree.Span) ingest.Draft {
	if n := span.End - span.Start; n > ingest.MaxEventBytes {
		limit := strconv.Itoa(ingest.MaxEventBytes) + " bytes"
		return d.refused(span, ingest.Refuse(ingest.CodeTooLarge, "", limit, "the event has "+strconv.Itoa(n)+" bytes, limit "+limit))
	}
	if err := d.item.Parse(span.Of(d.src), 0); err != nil {
		return d.refused(span, properties.Unreadable("", err))
	}
	switch kind := d.item.Root().Kind(); kind {
	case jsontree.Object:
	case jsontree.Array:
		return d.refused(span, ingest.Refuse(ingest.CodeNotJSON, "", "a JSON object",
			"the event is an array, an object wanted; many events come as "+BatchType))
	default:
		return d.refused(span, ingest.Refuse(ingest.CodeNotJSON, "", "a JSON object", "the event is "+kind.String()+", an object wanted"))
	}
	e := event{decoder: d}
	draft, refused := e.decode()
	if refused != nil {
		return d.refused(span, refused)
	}
	draft.Original = d.original(span)
	return draft
}

func (d *decoder) original(span jsontree.Span) []byte { return d.body[span.Start:span.End:span.End] }

// refused makes the draft of an event that was not decoded, as far as it can be
// told whose it is.
func (d *decoder) refused(span jsontree.Span, r *ingest.Rejection) ingest.Draft {
	find := func(name string) string {
		return properties.FindID(span.Of(d.src), func(key string) bool { return key == name })
	}
	r.MessageID = find("id")
	draft := ingest.Draft{Refused: r, Original: d.original(span)}
	if source := find("source"); source != "" {
		draft.Source = Source(source)
	}
	return draft
}

func refuseCall(field, limit, message string) ingest.Decoded {
	return ingest.Decoded{Refused: ingest.Refuse(ingest.CodeBadType, field, limit, message)}
}

func tooMany(message string) *ingest.Rejection {
	return ingest.Refuse(ingest.CodeTooLarge, "", strconv.Itoa(ingest.MaxBatchEvents)+" events", message)
}

// mediaType is a Content-Type without its parameters, in lower case. The rest
// need not be well formed.
func mediaType(contentType string) string {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(media))
}
