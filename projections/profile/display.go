package profile

import (
	"strings"
	"unicode"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

const (
	// maxFieldBytes bounds each text of an entry that people read.
	maxFieldBytes = 120
	// maxFields bounds the fields of an entry.
	maxFields = 6
)

// Describe gives the line that a timeline shows of an event, and its few
// telling fields as name, value, name, value, …
func Describe(ev Event) (title string, fields []string) {
	d := description{}
	kind := ev.Header.GetType()
	d.title = typeTitle(kind, ev.Body)
	describePayload(&d, ev)
	return line(d.title, maxFieldBytes), d.fields
}

type description struct {
	title  string
	fields []string
}

// field adds a field that has a value.
func (d *description) field(name, value string) {
	if value = line(value, maxFieldBytes); value != "" && len(d.fields) < 2*maxFields {
		d.fields = append(d.fields, name, value)
	}
}

// subject puts what an event is about behind its title.
func (d *description) subject(choices ...string) {
	for _, s := range choices {
		if s != "" {
			d.title += ": " + s
			return
		}
	}
}

func (d *description) amount(name string, micros *int64, currency string) {
	if micros != nil {
		d.field(name, money(*micros, currency))
	}
}

// typeTitle is the canonical name in words: "Order placed".
func typeTitle(kind eventsv1.Type, body *eventsv1.Event) string {
	name := events.TypeName(kind)
	if name == "" {
		return body.GetType()
	}
	name = strings.NewReplacer(".", " ", "_", " ").Replace(name)
	return strings.ToUpper(name[:1]) + name[1:]
}

func describePayload(d *description, ev Event) {
	body := ev.Body
	switch p := body.GetPayload().(type) {
	case *eventsv1.Event_Ad:
		d.subject(p.Ad.GetCampaign(), p.Ad.GetChannel())
		d.field("campaign", p.Ad.GetCampaign())
		d.field("channel", p.Ad.GetChannel())
		d.field("source", p.Ad.GetSource())
	case *eventsv1.Event_View:
		url := viewURL(body)
		d.subject(p.View.GetTitle(), p.View.GetName(), url)
		d.field("name", p.View.GetName())
		d.field("url", url)
		d.field("referrer", p.View.GetReferrerUrl())
	case *eventsv1.Event_Product:
		describeProduct(d, p.Product)
	case *eventsv1.Event_Checkout:
		d.subject(p.Checkout.GetStep())
		d.field("step", p.Checkout.GetStep())
		d.field("orderId", p.Checkout.GetOrderId())
		d.amount("value", p.Checkout.ValueMicros, p.Checkout.GetCurrency())
	case *eventsv1.Event_Order:
		describeOrder(d, ev, p.Order)
	case *eventsv1.Event_Ticket:
		d.subject(p.Ticket.GetSubject(), p.Ticket.GetTicketId())
		d.field("ticketId", p.Ticket.GetTicketId())
		d.field("topic", p.Ticket.GetTopic())
		d.field("channel", p.Ticket.GetChannel())
		d.field("author", p.Ticket.GetAuthor())
	case *eventsv1.Event_Rating:
		d.field("aspect", p.Rating.GetAspect())
		d.amount("score", p.Rating.ScoreMicros, "")
		d.field("comment", p.Rating.GetComment())
	case *eventsv1.Event_Referral:
		d.field("medium", p.Referral.GetMedium())
		d.field("orderId", p.Referral.GetOrderId())
		d.amount("revenue", p.Referral.RevenueMicros, p.Referral.GetCurrency())
	case *eventsv1.Event_Share:
		d.subject(p.Share.GetNetwork())
		d.field("network", p.Share.GetNetwork())
		d.field("url", p.Share.GetUrl())
	case *eventsv1.Event_Interaction:
		d.subject(p.Interaction.GetSummary(), p.Interaction.GetChannel())
		d.field("channel", p.Interaction.GetChannel())
		d.field("direction", p.Interaction.GetDirection())
		d.field("kind", p.Interaction.GetKind())
	case *eventsv1.Event_Traits:
		describeTraits(d, p.Traits)
	case *eventsv1.Event_Group:
		d.subject(p.Group.GetGroupId())
		d.field("groupId", p.Group.GetGroupId())
	case *eventsv1.Event_Consent:
		d.subject(p.Consent.GetPurpose())
		granted := "no"
		if p.Consent.GetGranted() {
			granted = "yes"
		}
		d.field("granted", granted)
	case *eventsv1.Event_Void:
		d.subject(p.Void.GetEventId())
		d.field("reason", p.Void.GetReason())
	}
}

func describeProduct(d *description, p *eventsv1.Product) {
	l := p.GetLine()
	d.subject(l.GetName(), productKey(l), p.GetQuery(), p.GetCategory())
	d.field("productId", productKey(l))
	d.field("name", l.GetName())
	if l != nil && l.QuantityMicros != nil {
		d.field("quantity", decimal(*l.QuantityMicros))
	}
	if l != nil {
		d.amount("price", l.PriceMicros, p.GetCurrency())
	}
	d.field("query", p.GetQuery())
}

func describeOrder(d *description, ev Event, o *eventsv1.Order) {
	d.subject(o.GetOrderId())
	d.field("orderId", o.GetOrderId())
	switch ev.Header.GetType() {
	case eventsv1.Type_TYPE_ORDER_REFUNDED:
		d.amount("amount", refundAmount(o), o.GetCurrency())
	default:
		if value, told := orderValue(o); told {
			micros, _ := value.int64()
			d.amount("amount", &micros, o.GetCurrency())
		}
	}
	if n := len(o.GetLines()); n > 0 {
		d.field("lines", decimal(int64(n)*million))
	}
	d.field("transport", o.GetTransport())
	d.field("reason", o.GetReason())
}

func describeTraits(d *description, t *eventsv1.Traits) {
	fields := t.GetSet().GetFields()
	names := sortedKeys(fields)
	d.subject(strings.Join(names, ", "))
	for _, name := range names {
		d.field(line(name, maxFieldBytes), strings.Trim(canonicalJSON(fields[name]), `"`))
	}
	for _, name := range t.GetUnset() {
		d.field(line(name, maxFieldBytes), "(forgotten)")
	}
}

// money writes an amount for people: "12.99 USD".
func money(micros int64, currency string) string {
	return strings.TrimSpace(decimal(micros) + " " + currency)
}

// decimal writes a fixed-point number for people; unlike the contract's
// decimals it shows zero.
func decimal(micros int64) string {
	if micros == 0 {
		return "0"
	}
	return wideOf(micros).decimal()
}

// line makes one line of a text: control characters are spaces, and it is cut
// to n bytes with an ellipsis.
func line(s string, n int) string {
	const ellipsis = "…"
	if len(s) > 4*n {
		s = cut(s, 4*n) // enough to fill the line, whatever is dropped
	}
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }), " ")
	if len(s) > n {
		s = cut(s, n-len(ellipsis)) + ellipsis
	}
	return s
}

// timestamp shows microseconds; 0 is no time.
func timestamp(micros int64) *timestamppb.Timestamp {
	if micros == 0 {
		return nil
	}
	return timestamppb.New(events.FromMicros(micros))
}
