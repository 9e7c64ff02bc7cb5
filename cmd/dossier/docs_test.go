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
	"github.com/dossier360/dossier/projections/profile"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

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
	b.WriteString(prose(t, "head"))
	writeTypes(t, &b, messages)
	b.WriteString("\n" + prose(t, "notes"))
	writeKeptAndRefused(t, &b)
	b.WriteString("\n" + prose(t, "wires"))
	writeChannels(&b)
	b.WriteString(strings.ReplaceAll(fieldsHead, "~", "`"))
	for _, m := range messages {
		writeFields(&b, m)
	}
	golden(t, filepath.Join(repository, "docs/EVENTS.md"), b.String())
}

const channelsHead = `
## Channels

Every touch has one channel, by this table. The texts read are, of an advertisement, its ~channel~, then ~medium~, then ~source~; of a campaign,
medium, then source. From the first that says so comes the place, and from the first that says so whether it was paid for. An advertisement is taken
as paid for unless a word says otherwise; a campaign is not unless a word says so.

A text is read as words: runs of letters and digits, and every Han character for itself, without case and in half width. The longest run of up to four
words that the table knows counts: ~Paid-Search~ is ~paid_search~, ~m.facebook.com~ names ~facebook~, ~抖音信息流~ is ~抖音~ and ~信息流~. Of a text 128 bytes
and 16 words are read.

Marks behind a word: ~+~ says that it was paid for, ~-~ that it was not; ~?~ names the place only where no word without that mark does, unless it is
an advertisement's own ~channel~; ~!~ counts only if it is all that is told.

| channel | if paid for | what it is | words |
|---|---|---|---|
`

// writeChannels lists what the words of a campaign or an advertisement mean.
func writeChannels(b *strings.Builder) {
	b.WriteString(strings.ReplaceAll(channelsHead, "~", "`"))
	for _, row := range profile.ChannelTable() {
		paid := row.Paid
		if paid != "" {
			paid = "`" + paid + "`"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", row.Channel, paid, row.Means, "`"+strings.Join(strings.Fields(row.Words), "` `")+"`")
	}
}

// writeTypes lists every type with its payload, its names on the wire and where
// it shows.
func writeTypes(t *testing.T, b *strings.Builder, messages []protoMessage) {
	b.WriteString("| type | payload | also known as | shown in |\n|---|---|---|---|\n")
	var types []eventsv1.Type
	for n := range eventsv1.Type_name {
		if typ := eventsv1.Type(n); typ != eventsv1.Type_TYPE_CUSTOM {
			types = append(types, typ)
		}
	}
	slices.Sort(types)
	for _, typ := range types {
		name := events.TypeName(typ)
		shown := strings.Join(shownIn(t, typ), "`, `")
		switch {
		case shown != "":
			shown = "`" + shown + "`"
		case typ == eventsv1.Type_TYPE_EVENT_VOIDED:
			shown = "where what it takes back was"
		default:
			shown = "the timeline alone"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", name, payloadOf(messages, name), strings.Join(events.WireNames(typ), ", "), shown)
	}
	fmt.Fprintf(b, "| any other name | | | `%s` |\n", strings.Join(shownIn(t, eventsv1.Type_TYPE_CUSTOM), "`, `"))
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

// fieldsHead introduces the fields.
const fieldsHead = `
## Fields

In JSON a field may be spelled either way. As a property (on every other wire) a field goes by its own name, an amount without ~_micros~, or by one of those under
*as a property also*, the first that is there; case and ~_~ do not matter. The properties of a product step are those of its line too.
`

// jsonName is the name of a field in the JSON of protobuf.
func jsonName(field string) string {
	words := strings.Split(field, "_")
	for i, w := range words[1:] {
		words[i+1] = strings.ToUpper(w[:1]) + w[1:]
	}
	return strings.Join(words, "")
}

func writeFields(b *strings.Builder, m protoMessage) {
	fmt.Fprintf(b, "\n### %s\n\n%s\n", m.name, m.comment)
	if len(m.fields) == 0 {
		return
	}
	payload := slices.ContainsFunc(m.fields, func(f protoField) bool { return spellingsOf(m.name, f.name) != "" })
	if payload {
		b.WriteString("\n| field | in JSON | type | as a property also | meaning |\n|---|---|---|---|---|\n")
	} else {
		b.WriteString("\n| field | in JSON | type | meaning |\n|---|---|---|---|\n")
	}
	for _, f := range m.fields {
		typ := f.typ
		if strings.HasSuffix(f.name, "_micros") {
			typ = "int64, millionths"
		}
		fmt.Fprintf(b, "| `%s` | `%s` | %s | ", f.name, jsonName(f.name), typ)
		if payload {
			fmt.Fprintf(b, "%s | ", spellingsOf(m.name, f.name))
		}
		fmt.Fprintf(b, "%s |\n", strings.ReplaceAll(f.comment, "|", "\\|"))
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
