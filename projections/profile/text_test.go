package profile_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/profile"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// TestText plays the stories in testdata/stories (rapid keeps its failures beside). Two commands:
//
//	fold                  one event a line: time, type, name=value …; answers
//	                      with the timeline's line of each
//	show at=T KEY …       the profile at settled time T, of it only the
//	                      sections named (default: all but the digest)
//
// Values of events: amounts in whole units (revenue, total, tax, shipping,
// value, price), lines=product:quantity@price,…, any identifier as
// id=type:value, and the campaign of the context as utm=source/medium/name.
// Every "show" also folds the events backwards and compares. Times are of New
// York winter days unless they say otherwise; the deployment's zone is New York,
// its currency CNY.
func TestText(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		s := &story{t: t, env: newEnv(t)}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "fold":
				return s.fold(d)
			case "show":
				return s.show(d)
			}
			d.Fatalf(t, "unknown command %q in %s", d.Cmd, filepath.Base(path))
			return ""
		})
	})
}

type story struct {
	t       *testing.T
	env     profile.Env
	history []profile.Event
}

func (s *story) fold(d *datadriven.TestData) string {
	var out strings.Builder
	for text := range strings.SplitSeq(d.Input, "\n") {
		ev := s.parse(d, text)
		s.history = append(s.history, ev)
		title, fields := profile.Describe(ev)
		fmt.Fprintf(&out, "%s", title)
		for i := 0; i < len(fields); i += 2 {
			fmt.Fprintf(&out, " | %s %s", fields[i], fields[i+1])
		}
		out.WriteByte('\n')
	}
	return out.String()
}

func (s *story) show(d *datadriven.TestData) string {
	var at string
	var keys []string
	for _, arg := range d.CmdArgs {
		if arg.Key == "at" {
			at = arg.Vals[0]
			continue
		}
		keys = append(keys, arg.Key)
	}
	settled := s.time(d, at)
	facts, _ := fold(s.t, s.env, s.history, nil)
	backward, _ := fold(s.t, s.env, reversed(s.history), func(int) bool { return true })
	if profile.Digest(facts) != profile.Digest(backward) {
		d.Fatalf(s.t, "the digest of the events backwards is another")
	}
	return s.json(d, facts, settled, keys)
}

func reversed(list []profile.Event) []profile.Event {
	back := make([]profile.Event, 0, len(list))
	for i := range list {
		back = append(back, list[len(list)-1-i])
	}
	return back
}

func (s *story) json(d *datadriven.TestData, facts *statev1.Facts, settled int64, keys []string) string {
	p := &queryv1.Profile{}
	profile.Render(facts, settled, s.env, p)
	p.Digest = "" // pinned elsewhere
	text, err := protojson.Marshal(p)
	if err != nil {
		d.Fatalf(s.t, "profile as JSON: %v", err)
	}
	if len(keys) > 0 {
		var whole map[string]json.RawMessage
		if err := json.Unmarshal(text, &whole); err != nil {
			d.Fatalf(s.t, "profile as JSON: %v", err)
		}
		text = []byte("{")
		for i, key := range keys {
			if i > 0 {
				text = append(text, ',')
			}
			value := whole[key]
			if value == nil {
				value = json.RawMessage(`"(absent)"`)
			}
			text = fmt.Appendf(text, "%q:%s", key, value)
		}
		text = append(text, '}')
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, text, "", "  "); err != nil {
		d.Fatalf(s.t, "profile as JSON: %v", err)
	}
	return indented.String() + "\n"
}

func (s *story) time(d *datadriven.TestData, text string) int64 {
	at, err := time.Parse("2006-01-02T15:04", text)
	if err != nil {
		d.Fatalf(s.t, "time %q: %v", text, err)
	}
	return at.UnixMicro()
}

// parse reads one event: "2026-03-01T09:00 order.placed order=A revenue=100".
// Quoted words may hold spaces.
func (s *story) parse(d *datadriven.TestData, text string) profile.Event {
	words := fields(text)
	at := s.time(d, words[0])
	kind := events.TypeByCanonicalName(words[1])
	b := &eventBuilder{s: s, d: d, body: &eventsv1.Event{Type: words[1]}, set: map[string]string{}}
	h := &logv1.Header{Type: kind, EventId: fmt.Sprintf("e%03d", len(s.history)+1), Source: "web", OccurredAt: at, ClaimedAt: &at}
	for _, w := range words[2:] {
		name, value, _ := strings.Cut(w, "=")
		switch name {
		case "id":
			idType, idValue, _ := strings.Cut(value, ":")
			b.body.Identifiers = append(b.body.Identifiers, &eventsv1.Identifier{Type: idType, Value: idValue})
		case "event":
			h.EventId = value
		case "source":
			h.Source = value
		case "party":
			h.Party = &logv1.HashedIdentifier{Hash: []byte(value)}
		case "corrected":
			h.Corrected = true
		case "utm":
			b.body.Context = &eventsv1.Context{Campaign: campaign(value)}
		default:
			if !copyWord(h, name, value) {
				b.set[name] = value
			}
		}
	}
	b.payload(events.TypeName(kind))
	return profile.Event{Header: h, RecordedAt: at, Body: b.body}
}

// fields splits at spaces outside quotes, and drops the quotes.
func fields(text string) []string {
	quoted := false
	words := strings.FieldsFunc(text, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ' ' && !quoted
	})
	for i := range words {
		words[i] = strings.ReplaceAll(words[i], `"`, "")
	}
	return words
}

type eventBuilder struct {
	s    *story
	d    *datadriven.TestData
	body *eventsv1.Event
	set  map[string]string
}

func (b *eventBuilder) payload(name string) {
	section, _, _ := strings.Cut(name, ".")
	switch section {
	case "ad":
		b.body.Payload = &eventsv1.Event_Ad{Ad: &eventsv1.AdTouch{
			Campaign: b.set["campaign"], Channel: b.set["channel"], Source: b.set["from"], Medium: b.set["medium"],
		}}
	case "interaction":
		b.body.Payload = &eventsv1.Event_Interaction{Interaction: &eventsv1.Interaction{
			Channel: b.set["channel"], Direction: b.set["direction"], Summary: b.set["summary"],
		}}
	case "page", "screen":
		b.body.Payload = &eventsv1.Event_View{View: &eventsv1.View{Url: b.set["url"], Title: b.set["title"]}}
	case "product":
		line := &eventsv1.Line{ProductId: b.set["product"], Name: b.set["name"], PriceMicros: b.micros("price"), QuantityMicros: b.micros("quantity")}
		b.body.Payload = &eventsv1.Event_Product{Product: &eventsv1.Product{Line: line, Currency: b.set["currency"]}}
	case "checkout":
		b.body.Payload = &eventsv1.Event_Checkout{Checkout: &eventsv1.Checkout{Step: b.set["step"]}}
	case "order":
		b.body.Payload = &eventsv1.Event_Order{Order: &eventsv1.Order{
			OrderId: b.set["order"], Currency: b.set["currency"], RevenueMicros: b.micros("revenue"), TotalMicros: b.micros("total"),
			TaxMicros: b.micros("tax"), ShippingMicros: b.micros("shipping"), ValueMicros: b.micros("value"), Lines: b.lines(),
		}}
	case "ticket", "rating":
		b.service(section)
	case "referral":
		b.referral()
	case "traits":
		b.traits()
	case "group":
		b.group()
	case "event":
		b.body.Payload = &eventsv1.Event_Void{Void: &eventsv1.Void{EventId: b.set["target"], Reason: b.set["reason"], Actor: b.set["actor"]}}
	}
}

// campaign reads source/medium/name.
func campaign(told string) *eventsv1.Campaign {
	source, rest, _ := strings.Cut(told, "/")
	medium, name, _ := strings.Cut(rest, "/")
	return &eventsv1.Campaign{Source: source, Medium: medium, Name: name}
}

func (b *eventBuilder) traits() {
	told := &eventsv1.Traits{Set: &structpb.Struct{Fields: map[string]*structpb.Value{}}}
	for name, value := range b.set {
		switch name {
		case "manual":
			told.Manual = true
		case "unset":
			told.Unset = strings.Split(value, ",")
		case "release":
			told.Release = strings.Split(value, ",")
		case "reason":
			told.Reason = value
		case "actor":
			told.Actor = value
		default:
			if first, once := strings.CutPrefix(name, "once."); once {
				if told.SetOnce == nil {
					told.SetOnce = &structpb.Struct{Fields: map[string]*structpb.Value{}}
				}
				told.SetOnce.Fields[first] = valueOf(value)
				continue
			}
			told.Set.Fields[name] = valueOf(value)
		}
	}
	b.body.Payload = &eventsv1.Event_Traits{Traits: told}
}

// group reads group=ID, and every other value as a fact about the company.
func (b *eventBuilder) group() {
	told := &eventsv1.Group{GroupId: b.set["group"], Traits: &structpb.Struct{Fields: map[string]*structpb.Value{}}}
	for name, value := range b.set {
		if name != "group" {
			told.Traits.Fields[name] = valueOf(value)
		}
	}
	b.body.Payload = &eventsv1.Event_Group{Group: told}
}

// valueOf reads JSON, else it is a text.
func valueOf(text string) *structpb.Value {
	v := &structpb.Value{}
	if protojson.Unmarshal([]byte(text), v) != nil {
		return structpb.NewStringValue(text)
	}
	return v
}

// copyWord reads what makes an event a copy for another than its subject, if
// the word is about that: role=company (named: the event named it), role=referee
// or role=referrer; person=NAME, leaves, until=TIME of a membership;
// corrects=EVENT, withdraws of a correction. The word company alone says that
// the subject is one.
func copyWord(h *logv1.Header, name, value string) bool {
	switch name {
	case "role":
		role, known := logv1.Role_value["ROLE_"+strings.ToUpper(value)]
		if !known {
			return false
		}
		if h.Role = logv1.Role(role); h.Role == logv1.Role_ROLE_COMPANY {
			h.CustomerKind = logv1.CustomerKind_CUSTOMER_KIND_COMPANY
		}
	case "company":
		h.CustomerKind = logv1.CustomerKind_CUSTOMER_KIND_COMPANY
	case "named":
		h.Identifiers = []*logv1.HashedIdentifier{{Type: events.CompanyID}}
	case "person":
		h.PartyCustomer = []byte(value)
	case "leaves":
		h.Leaves = true
	case "until":
		at, err := time.Parse("2006-01-02T15:04", value)
		if err != nil {
			return false
		}
		micros := at.UnixMicro()
		h.Until = &micros
	case "corrects":
		h.Corrects = value
	case "withdraws":
		h.Withdraws = true
	default:
		return false
	}
	return true
}

func (b *eventBuilder) micros(name string) *int64 {
	text, told := b.set[name]
	if !told {
		return nil
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		b.d.Fatalf(b.s.t, "%s=%q is not a number", name, text)
	}
	r.Mul(r, big.NewRat(1_000_000, 1))
	if !r.IsInt() {
		b.d.Fatalf(b.s.t, "%s=%q has more than six digits after the point", name, text)
	}
	n := r.Num().Int64()
	return &n
}

// lines reads product:quantity@price, each but the product left out at will.
func (b *eventBuilder) lines() []*eventsv1.Line {
	var lines []*eventsv1.Line
	for text := range strings.SplitSeq(b.set["lines"], ",") {
		if text == "" {
			continue
		}
		text, price, priced := strings.Cut(text, "@")
		product, quantity, counted := strings.Cut(text, ":")
		line := &eventBuilder{s: b.s, d: b.d, set: map[string]string{}}
		if priced {
			line.set["price"] = price
		}
		if counted {
			line.set["quantity"] = quantity
		}
		lines = append(lines, &eventsv1.Line{ProductId: product, PriceMicros: line.micros("price"), QuantityMicros: line.micros("quantity")})
	}
	return lines
}
