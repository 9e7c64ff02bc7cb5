package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect"

	"github.com/dossier360/dossier/events"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

const (
	// consoleSource is who tells by hand, unless the write key names another.
	consoleSource = "console"
	// maxAnswerBytes bounds what is read of an ingest answer to one event.
	maxAnswerBytes = 1 << 20
	// maxClampedLook bounds how far the newest entries are searched for the one
	// just told: only what is ahead of the clock stands before it.
	maxClampedLook = 100
)

const setHelp = `Sets facts about a customer by hand and shows them as they now stand. A fact
set by hand outranks what imports tell, before and after, until it is unset.

VALUE is JSON if it reads as a number, true, false, null, an object, an array or
a quoted text; anything else is a text: level=4, vip=true, city=上海,
zip='"02139"', sizes='["S","M"]'.

The customer must be known; nobody is created. On a deployment with --clock
events give --at, an instant within its time.`

// set tells facts by hand.
func set(ctx context.Context, std stdio, args []string) error {
	h := newHand(std, "set", "set REF NAME=VALUE… --reason TEXT [flags]", setHelp)
	told, err := h.parse(args, "NAME=VALUE…")
	if err != nil {
		return err
	}
	facts, err := parseFacts(told)
	if err != nil {
		return err
	}
	before, err := h.look(ctx)
	if err != nil {
		return err
	}
	names := make([]string, len(facts))
	h.traits.Set = map[string]json.RawMessage{}
	for i, f := range facts {
		names[i] = f.name
		h.traits.Set[f.name] = f.value
	}
	after, err := h.tell(ctx, before)
	if err != nil {
		return err
	}
	if h.json {
		return h.printJSON(after, names)
	}
	p := printerFor(h.lang)
	for _, name := range names {
		if _, err := fmt.Fprintln(std.out, p.setLine(name, h.eventID, before.GetTraits()[name], after.GetTraits()[name])); err != nil {
			return err
		}
	}
	return nil
}

const unsetHelp = `Releases facts that were set by hand: what imports tell shows again, or nothing
if they tell nothing. Says what shows now; ends with status 1 if there was
nothing set by hand of one of the names.

On a deployment with --clock events give --at, an instant within its time.`

// unset releases facts that were told by hand.
func unset(ctx context.Context, std stdio, args []string) error {
	h := newHand(std, "unset", "unset REF NAME… --reason TEXT [flags]", unsetHelp)
	names, err := h.parse(args, "NAME…")
	if err != nil {
		return err
	}
	if err := checkNames(names); err != nil {
		return err
	}
	before, err := h.look(ctx)
	if err != nil {
		return err
	}
	// What shows and was not told by hand has nothing to release. Of what does
	// not show one cannot tell from here: it may have been forgotten by hand.
	var imported []string
	for _, name := range names {
		if t := before.GetTraits()[name]; t != nil && !t.GetManual() {
			imported = append(imported, name)
		} else {
			h.traits.Release = append(h.traits.Release, name)
		}
	}
	after := before
	if len(h.traits.Release) > 0 {
		if after, err = h.tell(ctx, before); err != nil {
			return err
		}
	}
	untouched := imported
	var released []string
	for _, name := range h.traits.Release {
		if before.GetTraits()[name] == nil && after.GetTraits()[name] == nil {
			untouched = append(untouched, name)
		} else {
			released = append(released, name)
		}
	}
	if err := h.printReleased(before, after, names, released); err != nil {
		return err
	}
	if len(untouched) > 0 {
		p := printerFor(h.lang)
		return fmt.Errorf(p.nothingByHandFormat, plain(strings.Join(untouched, p.list)))
	}
	return nil
}

func (h *hand) printReleased(before, after *queryv1.Profile, names, released []string) error {
	if h.json {
		return h.printJSON(after, names)
	}
	p := printerFor(h.lang)
	for _, name := range released {
		if _, err := fmt.Fprintln(h.std.out, p.releasedLine(name, before.GetTraits()[name], after.GetTraits()[name])); err != nil {
			return err
		}
	}
	return nil
}

// hand is a command by which someone tells something by hand: who, and why.
type hand struct {
	*client
	reason, actor, at string
	instant           time.Time // of at

	traits  handTraits
	eventID string
	receipt string
}

// newHand begins a command; synopsis and about are its help text.
func newHand(std stdio, name, synopsis, about string) *hand {
	h := &hand{client: newClient(std, name, synopsis, about)}
	h.flags.StringVar(&h.reason, "reason", "", "why, in a few words; `TEXT` that the timeline shows (required)")
	h.flags.StringVar(&h.actor, "actor", "", "`NAME` of who says so (default $USER)")
	h.writeKeyFlag()
	h.flags.StringVar(&h.at, "at", "", "`instant` from which it holds, as 2024-12-31T23:59:59Z, or a day (default: when the server gets it)")
	return h
}

// parse reads the command line; it returns what follows the reference.
func (h *hand) parse(args []string, rest string) ([]string, error) {
	positional, err := h.client.parse(args, "REF", rest)
	if err != nil {
		return nil, err
	}
	h.customer = positional[0]
	h.actor = cmp.Or(strings.TrimSpace(h.actor), h.std.getenv("USER"))
	h.reason = strings.TrimSpace(h.reason)
	switch {
	case h.reason == "":
		return nil, wrongUsage("--reason missing; what is told by hand wants a reason, as --reason 'told on the phone'")
	case h.actor == "":
		return nil, wrongUsage("--actor missing, and USER is not set; what is told by hand wants a name behind it")
	}
	for _, text := range append(positional, h.reason, h.actor) {
		if !utf8.ValidString(text) {
			return nil, wrongUsage("%q is not UTF-8; a terminal in another encoding would change what is told", text)
		}
	}
	if h.at != "" {
		if h.instant, err = parseInstant("at", h.at); err != nil {
			return nil, err
		}
	}
	return positional[1:], nil
}

// fact is one NAME=VALUE.
type fact struct {
	name  string
	value json.RawMessage
}

func parseFacts(args []string) ([]fact, error) {
	facts := make([]fact, len(args))
	for i, arg := range args {
		name, value, found := strings.Cut(arg, "=")
		if name = strings.TrimSpace(name); !found || name == "" {
			return nil, wrongUsage("%q: NAME=VALUE wanted", arg)
		}
		if slices.ContainsFunc(facts[:i], func(f fact) bool { return f.name == name }) {
			return nil, wrongUsage("%s is given twice", name)
		}
		facts[i] = fact{name, valueJSON(value)}
	}
	return facts, nil
}

// valueJSON is a value as typed: JSON as it stands, so that no digit of a
// number is lost on the way, or else a text.
func valueJSON(s string) json.RawMessage {
	if trimmed := strings.TrimSpace(s); json.Valid([]byte(trimmed)) {
		return json.RawMessage(trimmed)
	}
	text, err := json.Marshal(s)
	if err != nil {
		panic("not reached: any text is JSON: " + err.Error())
	}
	return text
}

func checkNames(names []string) error {
	for i, name := range names {
		switch {
		case strings.TrimSpace(name) == "":
			return wrongUsage("%q: a NAME wanted", name)
		case strings.Contains(name, "="):
			return wrongUsage("%q: only the NAME is wanted, without a value", name)
		case slices.Contains(names[:i], name):
			return wrongUsage("%s is given twice", name)
		}
	}
	return nil
}

// look finds the customer as he stands. An unknown one is an error: a slip of
// the keyboard creates nobody.
func (h *hand) look(ctx context.Context) (*queryv1.Profile, error) {
	resp, err := h.service().GetProfile(ctx, &queryv1.GetProfileRequest{Customer: h.customer, Sections: []string{"identifiers", "traits"}})
	if err != nil {
		return nil, h.explain(err)
	}
	return resp.GetProfile(), nil
}

// handBatch is the body of POST /v1/events, as far as telling by hand needs it.
type handBatch struct {
	Source string      `json:"source"`
	Events []handEvent `json:"events"`
}

type handEvent struct {
	ID          string           `json:"id"`
	Type        string           `json:"type"`
	Time        string           `json:"time,omitempty"`
	Identifiers []handIdentifier `json:"identifiers"`
	Traits      handTraits       `json:"traits"`
}

type handIdentifier struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// handTraits is dossier.events.v1.Traits; values go as they were typed.
type handTraits struct {
	Set     map[string]json.RawMessage `json:"set,omitempty"`
	Release []string                   `json:"release,omitempty"`
	Manual  bool                       `json:"manual"`
	Reason  string                     `json:"reason"`
	Actor   string                     `json:"actor"`
}

// tell posts the event and returns the customer's traits after it.
func (h *hand) tell(ctx context.Context, who *queryv1.Profile) (*queryv1.Profile, error) {
	id, err := h.identifier(ctx, who)
	if err != nil {
		return nil, err
	}
	h.eventID = rand.Text()
	h.traits.Manual, h.traits.Reason, h.traits.Actor = true, h.reason, h.actor
	event := handEvent{
		ID: h.eventID, Type: events.TypeName(eventsv1.Type_TYPE_TRAITS_SET),
		Identifiers: []handIdentifier{id}, Traits: h.traits,
	}
	if h.at != "" {
		event.Time = h.instant.Format(time.RFC3339Nano)
	}
	if h.receipt, err = h.record(ctx, handBatch{Source: consoleSource, Events: []handEvent{event}}); err != nil {
		return nil, err
	}
	resp, err := h.service().GetProfile(ctx, &queryv1.GetProfileRequest{Customer: who.GetCustomerId(), Receipt: h.receipt, Sections: []string{"traits"}})
	if err != nil {
		return nil, fmt.Errorf(words[h.lang].toldFormat, h.explain(err), h.receipt)
	}
	if err := h.noticeClamped(ctx, resp); err != nil {
		return nil, err
	}
	return resp.GetProfile(), nil
}

// noticeClamped says so where the server took what was told for another instant
// than --at, as it does with what is far ahead of its clock.
func (h *hand) noticeClamped(ctx context.Context, resp *queryv1.GetProfileResponse) error {
	if h.at == "" || !h.instant.After(resp.GetFreshness().GetLogTime().AsTime()) {
		return nil
	}
	entries, err := h.entries(ctx, &queryv1.GetTimelineRequest{
		Customer: resp.GetProfile().GetCustomerId(), Types: []string{events.TypeName(eventsv1.Type_TYPE_TRAITS_SET)},
	}, maxClampedLook)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.GetEventId() == h.eventID && events.Micros(e.GetOccurredAt().AsTime()) != events.Micros(h.instant) {
			p := printerFor(h.lang)
			_, err := fmt.Fprintf(h.std.err, p.clampedFormat+"\n", h.at, p.instant(e.GetOccurredAt()))
			return err
		}
	}
	return nil
}

// identifier is one by which ingest finds the customer: the reference itself,
// or of a customer id the surest that still leads to him. A device may be
// somebody else's by now.
func (h *hand) identifier(ctx context.Context, who *queryv1.Profile) (handIdentifier, error) {
	if typ, value, found := strings.Cut(h.customer, ":"); found {
		return handIdentifier{typ, value}, nil
	}
	ids := slices.Clone(who.GetIdentifiers())
	slices.SortStableFunc(ids, func(a, b *queryv1.Identifier) int { return cmp.Compare(surety(b.GetType()), surety(a.GetType())) })
	for _, id := range ids {
		resp, err := h.service().GetProfile(ctx, &queryv1.GetProfileRequest{Customer: id.GetType() + ":" + id.GetValue(), Sections: []string{"traits"}})
		switch {
		case connect.CodeOf(err) == connect.CodeNotFound:
		case err != nil:
			return handIdentifier{}, h.explain(err)
		case resp.GetProfile().GetCustomerId() == who.GetCustomerId():
			return handIdentifier{id.GetType(), id.GetValue()}, nil
		}
	}
	return handIdentifier{}, fmt.Errorf(words[h.lang].noIdentifierFormat, plain(h.customer))
}

// surety orders identifier types as the directory does: the greater names a
// customer more surely.
func surety(typ string) int {
	switch {
	case typ == "user_id" || typ == events.CompanyID:
		return 4
	case typ == "anonymous_id" || typ == "device_id" || typ == "guest":
		return 0
	case strings.HasSuffix(typ, "_id"):
		return 3
	case strings.HasSuffix(typ, "email"):
		return 2
	default:
		return 1
	}
}

// ingestAnswer is what ingest says to a batch.
type ingestAnswer struct {
	Message  string `json:"message"`
	Rejected []struct {
		Code    string `json:"code"`
		Field   string `json:"field"`
		Limit   string `json:"limit"`
		Message string `json:"message"`
	} `json:"rejected"`
	Receipt string `json:"receipt"`
}

// record sends a batch of one event and returns its receipt. A refusal is told
// as ingest tells it.
func (h *hand) record(ctx context.Context, batch handBatch) (string, error) {
	w := words[h.lang]
	var a ingestAnswer
	resp, err := h.post(ctx, "/v1/events", batch, &a, maxAnswerBytes)
	switch {
	case err != nil:
		return "", err
	case len(a.Rejected) > 0:
		r := a.Rejected[0]
		// The message nearly always names field and limit itself.
		text := r.Code
		if !strings.Contains(r.Message, r.Field) {
			text += w.list + r.Field
		}
		if !strings.Contains(r.Message, r.Limit) {
			text += w.list + w.limit + " " + r.Limit
		}
		return "", fmt.Errorf(w.refusedFormat, plain(r.Message), plain(text))
	case resp.StatusCode != http.StatusOK:
		return "", fmt.Errorf("%s: %s", resp.Status, plain(a.Message))
	case a.Receipt == "":
		return "", h.notDossier(resp.Status)
	}
	return a.Receipt, nil
}

// setLine says how a fact stands that was just told: as told, unless something
// outranks it.
func (p printer) setLine(name, eventID string, before, after *queryv1.Trait) string {
	if after == nil {
		return plain(name) + p.colon + p.outranked
	}
	line := p.traitLine(name, after)
	switch {
	case after.GetEventId() != eventID:
		line += p.semicolon + p.outranked
	case before != nil:
		line += p.list + p.before + p.colon + p.traitValue(before)
		if before.GetManual() {
			line += " (" + p.manual + ")"
		}
	}
	return line
}

// releasedLine says what shows of a fact that was just released.
func (p printer) releasedLine(name string, before, after *queryv1.Trait) string {
	switch {
	case after == nil:
		return plain(name) + p.colon + p.releasedNothing
	case after.GetManual():
		return p.traitLine(name, after) + p.semicolon + p.outranked
	}
	line := p.traitLine(name, after) + fmt.Sprintf(p.fromFormat, plain(after.GetSource()), p.instant(after.GetOccurredAt()))
	if before == nil {
		return line
	}
	return line + p.list + p.before + p.colon + p.traitValue(before) + " (" + p.manual + ")"
}

// handAnswer is the JSON of set and unset: the traits as they now show, null
// for what does not.
type handAnswer struct {
	CustomerID string                     `json:"customerId"`
	EventID    string                     `json:"eventId,omitempty"`
	Receipt    string                     `json:"receipt,omitempty"`
	Traits     map[string]json.RawMessage `json:"traits"`
}

func (h *hand) printJSON(after *queryv1.Profile, names []string) error {
	a := handAnswer{CustomerID: after.GetCustomerId(), EventID: h.eventID, Receipt: h.receipt, Traits: map[string]json.RawMessage{}}
	for _, name := range names {
		a.Traits[name] = nil
		if t := after.GetTraits()[name]; t != nil {
			line, err := jsonLine(t)
			if err != nil {
				return err
			}
			a.Traits[name] = line
		}
	}
	e := json.NewEncoder(h.std.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(a)
}
