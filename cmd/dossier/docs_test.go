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
  returned, not what was paid back. In the currency of the order it takes off no more than is left; in another it stands beside the order. Of an order worth
  nothing, or of which nobody told an amount (` + "`" + `no_value` + "`" + `), there is nothing to take off, in any currency.
- **Sessions.** A session is a maximal run of occupied half hours. A half hour is occupied by ` + "`page.viewed`, `screen.viewed`, `product.*`, `cart.*`, `checkout.*`" + `
  and ` + "`ad.clicked`" + `; not by ` + "`ad.viewed`" + `, which happens elsewhere, nor by ` + "`order.*`" + `, which back ends tell at times of their own.
- **Roles.** An event is logged once for each customer it is about, and counts once for each: for its *subject*; for the *company* it rolls up to; for the
  *referrer* or *referee* that a referral names. The counters of a profile take what the customer is the subject or the company of; referrals alone look at
  the other two. Who refers himself has one referral, told in two roles. ` + "`" + `firstSeenAt` + "`" + ` and ` + "`" + `lastSeenAt` + "`" + ` are of the events that count: a customer of whom
  referrals alone tell, as the other party, has neither.
- **Orders.** An order begins with ` + "`" + `order.placed` + "`" + `. What comes before it (` + "`" + `order.updated` + "`" + `, ` + "`" + `order.cancelled` + "`" + `, ` + "`" + `order.delivered` + "`" + `) waits for it, and shows
  nothing until then. ` + "`" + `order.refunded` + "`" + ` is counted in ` + "`" + `refunds` + "`" + ` at once; its amount stands alone until its order is placed.
- **Companies.** An identifier of a type that begins with ` + "`" + `company_` + "`" + ` names a company; ` + "`" + `company_id` + "`" + ` is the firm's own, and ` + "`" + `group_id` + "`" + ` (` + "`" + `groupId` + "`" + `) is another
  spelling of it wherever an identifier is told or asked for. An event that names a person and a company is the person's and rolls up to the company; one
  that names companies only is the company's own. On the Segment wire ` + "`" + `context.groupId` + "`" + ` names the company of any call but ` + "`" + `group` + "`" + `, which names it in
  ` + "`" + `groupId` + "`" + `. An event of a person that names no company rolls up to the one he belonged to when it occurred, as far as that is known when the event arrives;
  it is not re-addressed later.
- **Memberships.** ` + "`" + `group.joined` + "`" + ` makes a person a member of a company from its time on. He belongs to one at a time, so joining another ends the membership
  before; ` + "`" + `group.left` + "`" + ` ends it and begins none. Naming no company he leaves whichever he belongs to; naming another than that, nothing changes, nor if a
  company is named but not by its ` + "`" + `company_id` + "`" + `. What is told late takes its place by its time. The traits of ` + "`" + `group.joined` + "`" + ` are the company's, also where no
  person is named.
- **Taking back.** ` + "`" + `event.voided` + "`" + ` with the ` + "`" + `event_id` + "`" + ` of an event of the same source removes it, as if it had never been told; with ` + "`" + `time` + "`" + `, the one with
  that id which claimed that time. An event with ` + "`" + `corrects` + "`" + ` stands in the place of the event of the same source that it names, and has an id of its own. Both
  name the subject of what they take back, by any of his identifiers. Name the first telling always, never a correction: of several corrections of it the one
  with the greatest (` + "`" + `issued_at` + "`" + `, id) stands, where an absent ` + "`" + `issued_at` + "`" + ` is the time of the event. Voiding a correction lets the next best stand, voiding
  the first telling leaves its corrections. Either may come before what it takes back. A void cannot be voided or corrected: tell the event again under
  another id. On the Segment wire ` + "`" + `corrects` + "`" + ` and ` + "`" + `issuedAt` + "`" + ` stand beside ` + "`" + `messageId` + "`" + `.
- **Limits of taking back.** What took place before is taken back with everyone who has a copy of it. What comes *after* its void or correction is taken back
  with its subject and with every company that he was recorded to belong to, not with a company that only the event names, nor with the other party of a
  referral; within one call it is, whatever the order. Corrections told in another order than they were issued: one that another outranks already counts
  nowhere beside its subject, also if the other is voided later. A void or correction that names only another party than the subject, say his company, takes
  back that party's copy and no other. Voiding a ` + "`" + `group.joined` + "`" + ` ends the membership in the profile; later events roll up as before until the next joining.
  A void for a customer whom nobody knows creates him, empty. Where a customer has more than 1,000 events or 512 KiB to fold again, or an event more than 256
  voids or corrections, the taking back is parked: what it names stands meanwhile, the customer is flagged ` + "`" + `parked` + "`" + `, and ` + "`" + `GetStatus` + "`" + ` counts it in
  ` + "`" + `partitions[].parked` + "`" + `, the metric ` + "`" + `dossier_partition_parked_events` + "`" + ` too. Trying again comes later.
- **By hand.** ` + "`" + `traits.set` + "`" + ` with ` + "`" + `manual` + "`" + ` outranks all that is imported, whatever its time, until ` + "`" + `release` + "`" + ` of the name withdraws it; then what was imported
  meanwhile shows. ` + "`" + `release` + "`" + ` without ` + "`" + `manual` + "`" + ` is refused (` + "`" + `bad_type` + "`" + `). ` + "`" + `unset` + "`" + ` with ` + "`" + `manual` + "`" + ` hides what is imported. Among tellings of one rank the latest
  (` + "`" + `time` + "`" + `, id) stands. ` + "`" + `reason` + "`" + ` and ` + "`" + `actor` + "`" + ` are kept with the event.
- **Referrals.** ` + "`" + `referral.made` + "`" + ` and ` + "`" + `referral.converted` + "`" + ` name the other party: ` + "`" + `referee` + "`" + ` where the subject refers, ` + "`" + `referrer` + "`" + ` where the subject was
  referred; where both are told, the subject is the referrer. On the Segment wire either may be a text, an object of ` + "`" + `type` + "`" + ` and ` + "`" + `value` + "`" + `, or ` + "`" + `referee_email` + "`" + `,
  ` + "`" + `referee_id` + "`" + ` and the like, whose name says the type.
- **Ratings.** ` + "`" + `score` + "`" + ` is on the scale from ` + "`" + `min` + "`" + ` to ` + "`" + `max` + "`" + `, 1 to 5 if not told. On the Segment wire ` + "`" + `scale` + "`" + ` is the greatest score (the least is 1), or both:
  ` + "`" + `"0-10"` + "`" + `, ` + "`" + `"0..10"` + "`" + `, ` + "`" + `{"min":0,"max":10}` + "`" + `. A score above it does not count, one below counts as the least. A profile shows 0 to 100: every score is brought
  there and rounded to six digits after the point, half to even, and a mean is of these.
- **Interactions.** ` + "`" + `interaction.logged` + "`" + ` counts by ` + "`" + `channel` + "`" + `, a word of your own, in lower case, ` + "`" + `other` + "`" + ` if none is told; a channel of more than 128 bytes
  is cut. ` + "`" + `direction` + "`" + ` is seen from the firm: ` + "`" + `inbound` + "`" + `, ` + "`" + `in` + "`" + `, ` + "`" + `incoming` + "`" + `, ` + "`" + `呼入` + "`" + ` is the customer turning to it, ` + "`" + `outbound` + "`" + `, ` + "`" + `out` + "`" + `, ` + "`" + `outgoing` + "`" + `, ` + "`" + `呼出` + "`" + ` the firm
  turning to him. Whatever else is told, such as ` + "`" + `sent` + "`" + `, which either side may mean, counts in the channel and in neither direction.
- **Touches.** ` + "`" + `ad.viewed` + "`" + ` and ` + "`" + `ad.clicked` + "`" + ` are touches, and so is every distinct (day, source, medium, name) of ` + "`" + `context.campaign` + "`" + `, whatever event it comes
  with; an advertisement with a campaign in its context counts both ways, and takes from it what it does not tell itself. Texts are told apart as they were
  sent. A campaign without source, medium and name is none. See [Channels](#channels).
- **RudderStack.** Its clients speak the Segment wire; a gzipped body under the content type of a form is read as the JSON that it is. An explicit
  ` + "`" + `timestamp` + "`" + ` counts, also where ` + "`" + `originalTimestamp` + "`" + `, the time of the call, says otherwise: events of long ago keep their time.
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
	writeChannels(&b)
	b.WriteString("\n## Fields\n")
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
