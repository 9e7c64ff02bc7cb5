package segment

import (
	"strconv"
	"time"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/jsontree"
	"github.com/dossier360/dossier/ingest/properties"
)

// Call is the kind of a call, which its path tells.
type Call string

// The calls.
const (
	Identify Call = "identify"
	Track    Call = "track"
	Page     Call = "page"
	Screen   Call = "screen"
	Group    Call = "group"
	Alias    Call = "alias"
	Batch    Call = "batch"
)

// callNames are the calls that an item of a batch may name.
const callNames = "identify, track, page, screen, group or alias"

// Decode reads the body of a call. The drafts keep parts of body as the
// original bytes of their events.
func Decode(call Call, body []byte) ingest.Decoded {
	d := decoder{body: body, src: string(body)}
	if call == Batch {
		return d.batch()
	}
	return d.single(call)
}

// DecodeItem reads one event as it stood in a call: of a batch, where it tells
// its own kind, or alone.
func DecodeItem(call Call, body []byte) ingest.Decoded {
	if call == Batch {
		call = ""
	}
	d := decoder{body: body, src: string(body)}
	return d.single(call)
}

// decoder is the state of one call.
type decoder struct {
	body []byte
	src  string // body as a string, of which the drafts hold parts

	item     jsontree.Tree // of the item at hand
	envelope envelope
}

// envelope is what a batch tells for all its items.
type envelope struct {
	context, integrations jsontree.Tree
	sharedBytes           int // of both, as sent
	sent                  time.Time
	flags                 properties.Flags
}

func (d *decoder) single(call Call) ingest.Decoded {
	decoded := ingest.Decoded{Single: true}
	decoded.Drafts = []ingest.Draft{d.draft(call, jsontree.Span{End: len(d.src)})}
	if draft := &decoded.Drafts[0]; draft.Refused != nil {
		decoded.WriteKey = properties.FindKey(d.src)
		return decoded
	}
	for key, v := range d.item.Root().Members() {
		if ingest.IsWriteKey(key) && v.Kind() == jsontree.String {
			decoded.TellKey(key, v.Text())
		}
	}
	return decoded
}

func (d *decoder) batch() ingest.Decoded {
	members, err := jsontree.CutObject(d.src)
	if err != nil {
		return ingest.Decoded{Refused: properties.Unreadable("", err)}
	}
	var decoded ingest.Decoded
	var list jsontree.Span
	seen := map[string]bool{}
	for _, m := range members {
		if seen[m.Key] {
			d.envelope.flags.Set(flagDuplicateKey)
		}
		seen[m.Key] = true
		if m.Key == "batch" {
			list = m.Value
			continue
		}
		if decoded.Refused = d.member(m, &decoded); decoded.Refused != nil {
			return decoded
		}
	}
	decoded.Drafts, decoded.Refused = d.items(list)
	return decoded
}

// member reads what stands beside the items. All of it must be JSON, used or
// not.
func (d *decoder) member(m jsontree.Member, decoded *ingest.Decoded) *ingest.Rejection {
	tree, bounded := &d.item, false
	switch m.Key {
	case "context":
		tree, bounded = &d.envelope.context, true
	case "integrations":
		tree, bounded = &d.envelope.integrations, true
	}
	if n := m.Value.End - m.Value.Start; bounded && n > ingest.MaxEventBytes {
		// It is merged into every item: without a bound a small body would
		// make gigabytes.
		return tooLarge(m.Key, n)
	} else if bounded {
		d.envelope.sharedBytes += n
	}
	if err := tree.Parse(m.Value.Of(d.src), 1); err != nil {
		return properties.Unreadable(m.Key, err)
	}
	if tree.DuplicateKey && bounded {
		d.envelope.flags.Set(flagDuplicateKey)
	}
	if tree.ControlCharacters && bounded {
		d.envelope.flags.Set(flagControlCharacters)
	}
	switch text, ok := properties.Text(tree.Root()); {
	case m.Key == "sentAt" && ok:
		d.envelope.sent, _, _ = properties.ParseTime(text)
	case ingest.IsWriteKey(m.Key) && ok:
		decoded.TellKey(m.Key, text)
	}
	return nil
}

func (d *decoder) items(list jsontree.Span) ([]ingest.Draft, *ingest.Rejection) {
	switch text := list.Of(d.src); {
	case list == (jsontree.Span{}):
		return nil, emptyBatch("batch is missing")
	case text == "null":
		return nil, emptyBatch("batch is null")
	default:
		if refused := properties.RefuseList("batch", text); refused != nil {
			return nil, refused
		}
	}
	items, err := jsontree.CutArray(list.Of(d.src), ingest.MaxListedEvents)
	switch {
	case err != nil:
		return nil, properties.Unreadable("batch", err)
	case len(items) == 0:
		return nil, emptyBatch("batch has no items")
	case len(items) > ingest.MaxListedEvents:
		return nil, tooMany("batch", "has more than "+strconv.Itoa(ingest.MaxListedEvents)+" items")
	}
	// Every item inherits them, so they count as often as there are items.
	if n := d.envelope.sharedBytes * min(len(items), ingest.MaxBatchEvents); n > ingest.MaxInflatedBytes {
		limit := strconv.Itoa(ingest.MaxInflatedBytes) + " bytes with the items"
		return nil, ingest.Refuse(ingest.CodeTooLarge, "context", limit,
			"context and integrations of the batch, once for each item, have "+strconv.Itoa(n)+" bytes, limit "+limit)
	}
	drafts := make([]ingest.Draft, len(items))
	for i, item := range items {
		span := jsontree.Span{Start: list.Start + item.Start, End: list.Start + item.End}
		if i < ingest.MaxBatchEvents {
			drafts[i] = d.draft("", span)
		} else {
			drafts[i] = d.refused(span, tooMany("batch", "item "+strconv.Itoa(i+1)+" is beyond the limit"))
		}
		if drafts[i].Refused != nil {
			drafts[i].Refused.Index = i
		}
	}
	return drafts, nil
}

// draft reads one event. The call is "" where the item itself has to tell it.
func (d *decoder) draft(call Call, span jsontree.Span) ingest.Draft {
	if n := span.End - span.Start; n > ingest.MaxEventBytes {
		return d.refused(span, tooLarge("", n))
	}
	if err := d.item.Parse(span.Of(d.src), 0); err != nil {
		return d.refused(span, properties.Unreadable("", err))
	}
	if kind := d.item.Root().Kind(); kind != jsontree.Object {
		return d.refused(span, ingest.Refuse(ingest.CodeNotJSON, "", "a JSON object",
			"the event is "+kind.String()+", an object wanted"))
	}
	m := message{decoder: d, root: d.item.Root(), flags: d.envelope.flags}
	if d.item.DuplicateKey {
		m.flags.Set(flagDuplicateKey)
	}
	if d.item.ControlCharacters {
		m.flags.Set(flagControlCharacters)
	}
	if refused := m.decode(call); refused != nil {
		return d.refused(span, refused)
	}
	return ingest.Draft{Event: m.event, Sent: m.sent, Flags: m.flags.List(), Original: d.original(span)}
}

func (d *decoder) original(span jsontree.Span) []byte {
	return d.body[span.Start:span.End:span.End]
}

// refused makes the draft of an event that was not decoded. Its message id is
// found without reading the event, if it can be found at all.
func (d *decoder) refused(span jsontree.Span, r *ingest.Rejection) ingest.Draft {
	r.MessageID = properties.FindID(span.Of(d.src), func(key string) bool { return key == "messageId" })
	return ingest.Draft{Refused: r, Original: d.original(span)}
}

func emptyBatch(message string) *ingest.Rejection {
	return ingest.Refuse(ingest.CodeEmptyBatch, "batch", "at least 1 item", message)
}

func tooMany(field, message string) *ingest.Rejection {
	return ingest.Refuse(ingest.CodeTooLarge, field, strconv.Itoa(ingest.MaxBatchEvents)+" events", field+" "+message)
}

func tooLarge(field string, sizeBytes int) *ingest.Rejection {
	what := field
	if field == "" {
		what = "the event"
	}
	limit := strconv.Itoa(ingest.MaxEventBytes) + " bytes"
	return ingest.Refuse(ingest.CodeTooLarge, field, limit,
		what+" has "+strconv.Itoa(sizeBytes)+" bytes, limit "+limit)
}
