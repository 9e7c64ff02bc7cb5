package posthog

import (
	"cmp"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/jsontree"
	"github.com/dossier360/dossier/ingest/properties"
)

// Call is what the path tells of a call.
type Call string

// The calls.
const (
	Capture Call = "capture" // one event, a list or a batch
	Batch   Call = "batch"   // a batch, or one event
	Engage  Call = "engage"  // facts about a person, without the name of an event
)

// Sent is the clock of the client when it sent a call, where header or query
// tell it; zero if they do not.
func Sent(header http.Header, query url.Values) time.Time {
	for _, text := range [...]string{header.Get("PostHog-Request-Timestamp"), query.Get("sent_at"), query.Get("_")} {
		if sent, _, ok := properties.ParseTime(text); ok {
			return sent
		}
	}
	return time.Time{}
}

// Decode reads the body of a call. The drafts keep parts of body as the
// original bytes of their events. Sent is what [Sent] found.
func Decode(call Call, body []byte, sent time.Time) ingest.Decoded {
	d := decoder{call: call, body: body, src: string(body)}
	d.envelope.sent = sent
	if first := firstByte(d.src); first == '[' {
		return d.list(jsontree.Span{End: len(d.src)}, "")
	} else if first != '{' {
		return d.single()
	}
	members, err := jsontree.CutObject(d.src)
	if err != nil {
		return d.single() // which says what is wrong
	}
	var named bool
	for _, m := range members {
		if m.Key == "batch" {
			return d.batch(members)
		}
		named = named || m.Key == "event"
	}
	if call == Batch && !named {
		return ingest.Decoded{Refused: ingest.Refuse(ingest.CodeEmptyBatch, "batch", "at least 1 item", "batch is missing")}
	}
	return d.single()
}

// DecodeItem reads one event as it stood in a call, of many or alone.
func DecodeItem(call Call, body []byte) ingest.Decoded {
	d := decoder{call: call, body: body, src: string(body)}
	return d.single()
}

// firstByte is the first byte that is no space; 0 if there is none.
func firstByte(s string) byte {
	for i := range len(s) {
		switch c := s[i]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// decoder is the state of one call.
type decoder struct {
	call Call
	body []byte
	src  string // body as a string, of which the drafts hold parts

	envelope  envelope
	item      jsontree.Tree // of the item at hand
	remaining jsontree.Tree // of its properties, without those used already
}

// envelope is what a batch tells for all its items.
type envelope struct {
	sent  time.Time
	flags properties.Flags
}

func (d *decoder) single() ingest.Decoded {
	span := jsontree.Span{End: len(d.src)}
	decoded := ingest.Decoded{Single: true}
	d.add(&decoded, []jsontree.Span{span})
	decoded.WriteKey = d.writeKey(span)
	return decoded
}

// batch reads what stands beside the items. All of it must be JSON, used or
// not.
func (d *decoder) batch(members []jsontree.Member) ingest.Decoded {
	var told ingest.Decoded // the key
	var list jsontree.Span
	historical := false
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
		if err := d.item.Parse(m.Value.Of(d.src), 1); err != nil {
			return ingest.Decoded{Refused: properties.Unreadable(m.Key, err)}
		}
		text, ok := properties.Text(d.item.Root())
		switch {
		case m.Key == "sent_at" && ok:
			if sent, _, ok := properties.ParseTime(text); ok {
				d.envelope.sent = sent
			}
		case m.Key == "historical_migration":
			historical = d.item.Root().True()
		case ingest.IsWriteKey(m.Key) && ok:
			told.TellKey(m.Key, text)
		}
	}
	if historical {
		d.envelope.sent = time.Time{} // a copy of old times, which no clock is to shift
	}
	return d.list(list, told.WriteKey)
}

func (d *decoder) list(list jsontree.Span, key string) ingest.Decoded {
	text := list.Of(d.src)
	if refused := properties.RefuseList("batch", text); refused != nil {
		return ingest.Decoded{WriteKey: key, Refused: refused}
	}
	if text == "null" {
		return ingest.Decoded{WriteKey: key, Refused: ingest.Refuse(ingest.CodeEmptyBatch, "batch", "at least 1 item", "batch is null")}
	}
	items, err := jsontree.CutArray(text, ingest.MaxBatchEvents)
	switch {
	case err != nil:
		return ingest.Decoded{WriteKey: key, Refused: properties.Unreadable("batch", err)}
	case len(items) == 0:
		return ingest.Decoded{WriteKey: key, Refused: ingest.Refuse(ingest.CodeEmptyBatch, "batch", "at least 1 item", "batch has no items")}
	}
	for i := range items {
		items[i] = jsontree.Span{Start: list.Start + items[i].Start, End: list.Start + items[i].End}
	}
	decoded := ingest.Decoded{WriteKey: key}
	if len(items) > ingest.MaxBatchEvents {
		decoded.Refused = tooMany("more than " + strconv.Itoa(ingest.MaxBatchEvents) + " events")
	} else {
		d.add(&decoded, items)
	}
	if key == "" {
		decoded.WriteKey = d.writeKey(items[0])
	}
	return decoded
}

// add makes the drafts of items: one for each, and behind them those that tell
// what some of the events set besides.
func (d *decoder) add(decoded *ingest.Decoded, items []jsontree.Span) {
	drafts := make([]ingest.Draft, len(items), len(items)+1)
	for i, span := range items {
		beside := d.draft(&drafts[i], span)
		if r := drafts[i].Refused; r != nil {
			r.Index = i
		}
		if beside != nil {
			drafts = append(drafts, *beside)
			decoded.Beside = append(decoded.Beside, i)
		}
	}
	if n := len(drafts); n > ingest.MaxBatchEvents {
		decoded.Beside = nil
		decoded.Refused = tooMany(strconv.Itoa(n) + " events, each that sets facts besides counted twice")
		return
	}
	decoded.Drafts = drafts
}

// tooMany refuses a whole call: its sender divides it and sends both halves.
func tooMany(message string) *ingest.Rejection {
	limit := strconv.Itoa(ingest.MaxBatchEvents) + " events"
	return ingest.Refuse(ingest.CodeTooLarge, "batch", limit, "the batch has "+message+", limit "+limit)
}

// draft reads one event, and makes another draft of what it sets besides; nil
// if it sets nothing.
func (d *decoder) draft(to *ingest.Draft, span jsontree.Span) (beside *ingest.Draft) {
	*to = ingest.Draft{Original: d.body[span.Start:span.End:span.End]}
	e, refused := d.event(span)
	if refused != nil {
		refused.MessageID = properties.FindID(span.Of(d.src), func(key string) bool { return key == "uuid" })
		to.Refused = refused
		return nil
	}
	to.Event, to.Sent, to.Age, to.Flags = e.event, e.sent, e.age, e.flags.List()
	facts := e.besides()
	if facts == nil {
		return nil
	}
	return &ingest.Draft{Event: facts, Sent: e.sent, Age: e.age, Flags: to.Flags, Original: to.Original}
}

func (d *decoder) event(span jsontree.Span) (*event, *ingest.Rejection) {
	text := span.Of(d.src)
	if n := len(text); n > ingest.MaxEventBytes {
		limit := strconv.Itoa(ingest.MaxEventBytes) + " bytes"
		return nil, ingest.Refuse(ingest.CodeTooLarge, "", limit, "the event has "+strconv.Itoa(n)+" bytes, limit "+limit)
	}
	if err := d.item.Parse(text, 0); err != nil {
		return nil, properties.Unreadable("", err)
	}
	if kind := d.item.Root().Kind(); kind != jsontree.Object {
		return nil, ingest.Refuse(ingest.CodeNotJSON, "", "a JSON object", "the event is "+kind.String()+", an object wanted")
	}
	e := &event{decoder: d, sent: d.envelope.sent, flags: d.envelope.flags}
	if d.item.DuplicateKey {
		e.flags.Set(flagDuplicateKey)
	}
	if d.item.ControlCharacters {
		e.flags.Set(flagControlCharacters)
	}
	return e, e.decode(d.item.Root())
}

// writeKey finds the key that an event itself carries, also in one that was
// refused.
func (d *decoder) writeKey(span jsontree.Span) string {
	find := func(text string) string {
		return cmp.Or(properties.FindKey(text), properties.FindID(text, func(key string) bool { return key == "$token" }))
	}
	text := span.Of(d.src)
	if key := find(text); key != "" {
		return key
	}
	members, _ := jsontree.CutObject(text)
	for _, m := range members {
		if m.Key == "properties" {
			return find(m.Value.Of(text))
		}
	}
	return ""
}
