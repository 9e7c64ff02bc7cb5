package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dossier360/dossier/events"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

const eventsDocumentHead = `# Events

What can be told to Dossier. Generated from ` + "`proto/dossier/events/v1/events.proto`" + ` and the names in package events by
` + "`make generate`" + `; a test fails where it is stale.

An event has an id, a type, a time, identifiers, a context and one payload. Over ` + "`POST /v1/events`" + ` it is the JSON or protobuf of
` + "`dossier.events.v1.EventBatch`" + `; over the Segment wire the same fields come as ` + "`properties`" + ` and ` + "`traits`" + `. What has no field of its own is kept in
` + "`properties_json`" + `, nothing is dropped.

Units: ` + "`*_micros`" + ` is a fixed-point decimal with six digits after the point, for money and quantities alike (12.99 is 12990000); on the Segment
wire the same is a plain decimal number or string. Times are instants in UTC. A currency is an ISO 4217 code.

## Types

A name matches ignoring case, ` + "`_`" + ` and spaces: ` + "`Order Completed`, `order_completed` and `order completed`" + ` are ` + "`order.placed`" + `. The canonical name
matches as it stands. Any other name is a custom event and keeps its name.

`

const eventsDocumentNotes = `
## Notes

- **Source.** The source that a write key names wins over the ` + "`source`" + ` of a batch.
- **Ids.** A repeat is recognised by source and id (` + "`messageId`" + ` on the Segment wire), so an event sent without an id cannot be: the id that the
  gateway makes is new each time. On the Segment wire a ` + "`messageId`" + ` that is a number counts as its text; one that is a boolean, an array or an object
  counts as none, and the value is kept in the event's context.
- **Who.** On the Segment wire ` + "`userId`" + ` or ` + "`anonymousId`" + ` is required, a string or a number. Beside it ` + "`context.traits.email`" + ` and ` + "`context.traits.phone`" + `
  of any call are identifiers too, if they are an address and a number; alone they are not enough.
- **Answers.** A batch that could be read is answered 200 with ` + "`\"success\":true`" + `, even if all its items were refused and ` + "`accepted`" + ` is 0: look at ` + "`rejected`" + `.
- **Amounts.** A number or a numeric string; null and an empty string are no amount, anything else is refused (` + "`bad_number`" + `). An amount without currency is
  in the base currency.
- **Negative orders.** ` + "`order.placed`" + ` and ` + "`order.updated`" + ` are refused (` + "`bad_number`" + `) if revenue, total or value is negative, or the value that counts is:
  revenue, else total − tax − shipping, else value, else the sum of the lines. A single line may be negative.
- **Refunds.** ` + "`order.refunded`" + ` without an amount takes back all that is left of the order, also when it lists products: the lines count what was
  returned, not what was paid back.
- **Sessions.** A session is a maximal run of occupied half hours. A half hour is occupied by ` + "`page.viewed`, `screen.viewed`, `product.*`, `cart.*`, `checkout.*`" + `
  and ` + "`ad.clicked`" + `; not by ` + "`ad.viewed`" + `, which happens elsewhere, nor by ` + "`order.*`" + `, which back ends tell at times of their own.
- **Flags.** What is kept although odd is flagged. ` + "`GetEvent`" + ` shows all flags of an event; the profile shows ` + "`clamped_time`, `corrected_time`,\n  `unknown_currency`, `no_value`, `approximate`, `overflow`, `parked` and `conflict`" + `.
`

// The document of the vocabulary is a function of the vocabulary.
func TestEventsDocument(t *testing.T) {
	t.Parallel()
	proto, err := os.ReadFile(filepath.Join(repository, "proto/dossier/events/v1/events.proto"))
	if err != nil {
		t.Fatal(err)
	}
	messages := parseProto(string(proto))
	if len(messages) < 10 {
		t.Fatalf("read %d messages from events.proto: the parser of this test no longer fits it", len(messages))
	}
	var b strings.Builder
	b.WriteString(eventsDocumentHead)
	writeTypes(&b, messages)
	b.WriteString(eventsDocumentNotes)
	b.WriteString("\n## Fields\n")
	for _, m := range messages {
		writeFields(&b, m)
	}
	golden(t, filepath.Join(repository, "docs/EVENTS.md"), b.String())
}

// writeTypes lists every type with its payload and its names on the wire.
func writeTypes(b *strings.Builder, messages []protoMessage) {
	b.WriteString("| type | payload | also known as |\n|---|---|---|\n")
	var types []eventsv1.Type
	for n := range eventsv1.Type_name {
		if t := eventsv1.Type(n); t != eventsv1.Type_TYPE_CUSTOM {
			types = append(types, t)
		}
	}
	slices.Sort(types)
	for _, typ := range types {
		name := events.TypeName(typ)
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", name, payloadOf(messages, name), strings.Join(events.WireNames(typ), ", "))
	}
}

// payloadOf finds the payload whose comment in message Event names the type:
// "order.placed", or all of "order.*".
func payloadOf(messages []protoMessage, typ string) string {
	family, _, _ := strings.Cut(typ, ".")
	for _, m := range messages {
		if m.name != "Event" {
			continue
		}
		// A payload that names the type wins over one that names its family.
		for _, wanted := range []string{typ, family + ".*"} {
			for _, f := range m.fields {
				if slices.Contains(strings.Split(f.comment, ", "), wanted) {
					return fmt.Sprintf("[`%s`](#%s)", f.name, strings.ToLower(f.typ))
				}
			}
		}
	}
	return ""
}

func writeFields(b *strings.Builder, m protoMessage) {
	fmt.Fprintf(b, "\n### %s\n\n%s\n", m.name, m.comment)
	if len(m.fields) == 0 {
		return
	}
	b.WriteString("\n| field | type | meaning |\n|---|---|---|\n")
	for _, f := range m.fields {
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", f.name, f.typ, strings.ReplaceAll(f.comment, "|", "\\|"))
	}
}

// protoMessage is a message of a .proto file with its comments, which
// descriptors in a program no longer have.
type protoMessage struct {
	name, comment string
	fields        []protoField
}

type protoField struct{ name, typ, comment string }

var (
	protoMessageLine = regexp.MustCompile(`^message (\w+) \{(\})?$`)
	protoFieldLine   = regexp.MustCompile(`^(repeated |optional )?([\w.]+) (\w+) = \d+(?: \[[^\]]*\])?;(?: // (.*))?$`)
)

// parseProto reads messages of one level, as our own file has them.
func parseProto(text string) []protoMessage {
	var (
		messages []protoMessage
		comment  []string
	)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if said, ok := strings.CutPrefix(line, "//"); ok {
			comment = append(comment, strings.TrimSpace(said))
			continue
		}
		if m := protoMessageLine.FindStringSubmatch(line); m != nil {
			messages = append(messages, protoMessage{name: m[1], comment: strings.Join(comment, " ")})
		} else if f := protoFieldLine.FindStringSubmatch(line); f != nil && len(messages) > 0 {
			if f[4] != "" {
				comment = append(comment, f[4])
			}
			last := &messages[len(messages)-1]
			last.fields = append(last.fields, protoField{name: f[3], typ: f[1] + f[2], comment: strings.Join(comment, " ")})
		}
		comment = nil
	}
	return messages
}
