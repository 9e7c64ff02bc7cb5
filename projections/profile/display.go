package profile

import (
	"slices"
	"strings"
	"unicode"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

const (
	// maxFieldBytes bounds each text of an entry that people read.
	maxFieldBytes = 120
	// maxFields bounds the fields of an entry.
	maxFields = 9
)

// Describe gives the line that a timeline shows of an event, and its few
// telling fields as name, value, name, value, …; no name comes twice. Both are
// written for the customer who holds this copy: of a referral the referee reads
// by whom he was referred.
func Describe(ev Event) (title string, fields []string) {
	d := description{title: titleOf(ev)}
	describeCopy(&d, ev)
	if !ev.Header.GetWithdraws() {
		describePayload(&d, ev)
	}
	return line(d.title, maxFieldBytes), d.fields
}

type description struct {
	title  string
	fields []string
}

// field adds a field that has a value, unless one of that name is there.
func (d *description) field(name, value string) {
	if value = line(value, maxFieldBytes); value == "" || len(d.fields) >= 2*maxFields {
		return
	}
	for i := 0; i < len(d.fields); i += 2 {
		if d.fields[i] == name {
			return
		}
	}
	d.fields = append(d.fields, name, value)
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

// What a title begins with where it is not the name of the type. A client that
// translates stored titles knows them by these beginnings; what follows is ": "
// and what the event is about.
const (
	titleWithdraws   = "Corrected, counts elsewhere" // any type: Header.withdraws
	titleReferredBy  = "Referred by"                 // referral.made, to the referee
	titleConvertedBy = "Converted, referred by"      // referral.converted, to the referee
	titleLeftFor     = "Left for"                    // group.joined, to the company left
)

// Values of fields that are words of ours.
const (
	valueYes       = "yes"
	valueNo        = "no"
	valueForgotten = "(forgotten)"
	valueReleased  = "(released)"
)

// titleOf is how the title begins: with the type, or with what the event is to
// the customer who holds this copy.
func titleOf(ev Event) string {
	h := ev.Header
	switch kind := h.GetType(); {
	case h.GetWithdraws():
		return titleWithdraws
	case kind == eventsv1.Type_TYPE_REFERRAL_MADE && isReferee(ev):
		return titleReferredBy
	case kind == eventsv1.Type_TYPE_REFERRAL_CONVERTED && isReferee(ev):
		return titleConvertedBy
	case kind == eventsv1.Type_TYPE_GROUP_JOINED && h.GetLeaves():
		return titleLeftFor
	default:
		return typeTitle(kind, ev.Body)
	}
}

// isReferee reports whether the customer who holds this copy was referred by
// the other: he is the other party, or the subject where only the referrer is
// named.
func isReferee(ev Event) bool {
	r := ev.Body.GetReferral()
	return ev.Header.GetRole() == logv1.Role_ROLE_REFEREE ||
		ev.Header.GetRole() == logv1.Role_ROLE_SUBJECT && r.GetReferee() == nil && r.GetReferrer() != nil
}

// typeTitle is the canonical name in words, "Order placed", or the name of a
// custom event as it was sent.
func typeTitle(kind eventsv1.Type, body *eventsv1.Event) string {
	name := events.TypeName(kind)
	if name == "" {
		return body.GetType()
	}
	name = strings.NewReplacer(".", " ", "_", " ").Replace(name)
	return strings.ToUpper(name[:1]) + name[1:]
}

// describeCopy says what a copy has beside the event: who did it, to a company,
// and what it corrects.
func describeCopy(d *description, ev Event) {
	h := ev.Header
	if h.GetRole() == logv1.Role_ROLE_COMPANY {
		d.field("person", subjectName(ev.Body))
	}
	d.field("corrects", h.GetCorrects())
	if h.GetWithdraws() {
		d.subject(h.GetCorrects())
	}
}

// subjectName is the strongest identifier by which an event names its subject,
// as type:value: of a person, if it names one.
func subjectName(body *eventsv1.Event) string {
	var strongest *eventsv1.Identifier
	best := -1
	for _, id := range body.GetIdentifiers() {
		s := strength(id.GetType())
		if !events.NamesCompany(id.GetType()) {
			s += companyStrength // a company comes after all persons
		}
		if s > best {
			best, strongest = s, id
		}
	}
	return identifierText(strongest)
}

// companyStrength is more than any strength.
const companyStrength = 16

func identifierText(id *eventsv1.Identifier) string {
	if id == nil {
		return ""
	}
	return id.GetType() + ":" + id.GetValue()
}

func describePayload(d *description, ev Event) {
	body := ev.Body
	switch p := body.GetPayload().(type) {
	case *eventsv1.Event_Ad:
		describeAd(d, p.Ad)
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
		describeTicket(d, p.Ticket)
	case *eventsv1.Event_Rating:
		describeRating(d, p.Rating)
	case *eventsv1.Event_Referral:
		describeReferral(d, ev, p.Referral)
	case *eventsv1.Event_Share:
		d.subject(p.Share.GetNetwork())
		d.field("network", p.Share.GetNetwork())
		d.field("url", p.Share.GetUrl())
	case *eventsv1.Event_Interaction:
		describeInteraction(d, p.Interaction)
	case *eventsv1.Event_Traits:
		describeTraits(d, p.Traits)
	case *eventsv1.Event_Group:
		d.subject(companyOf(body))
		d.field("groupId", companyOf(body))
	case *eventsv1.Event_Alias:
		d.subject(identifierText(p.Alias.GetPrevious()))
		d.field("previous", identifierText(p.Alias.GetPrevious()))
	case *eventsv1.Event_Consent:
		d.subject(p.Consent.GetPurpose())
		granted := valueNo
		if p.Consent.GetGranted() {
			granted = valueYes
		}
		d.field("granted", granted)
	case *eventsv1.Event_Void:
		d.subject(p.Void.GetEventId())
		d.field("eventId", p.Void.GetEventId())
		d.field("reason", p.Void.GetReason())
		d.field("actor", p.Void.GetActor())
	}
}

func describeAd(d *description, ad *eventsv1.AdTouch) {
	d.subject(ad.GetCampaign(), ad.GetChannel())
	d.field("campaign", ad.GetCampaign())
	d.field("channel", ad.GetChannel())
	d.field("source", ad.GetSource())
	d.field("medium", ad.GetMedium())
	d.field("creative", ad.GetCreative())
	d.field("placement", ad.GetPlacement())
	d.amount("cost", ad.CostMicros, ad.GetCurrency())
}

func describeTicket(d *description, t *eventsv1.Ticket) {
	d.subject(t.GetSubject(), t.GetTicketId())
	d.field("ticketId", t.GetTicketId())
	d.field("topic", t.GetTopic())
	d.field("channel", t.GetChannel())
	d.field("priority", t.GetPriority())
	d.field("agent", t.GetAgent())
	d.field("author", t.GetAuthor())
	d.field("text", t.GetText())
}

func describeRating(d *description, r *eventsv1.Rating) {
	d.subject(r.GetAspect())
	d.field("aspect", r.GetAspect())
	d.amount("score", r.ScoreMicros, "")
	if r.MinMicros != nil || r.MaxMicros != nil {
		least, greatest := ratingScale(r)
		d.field("scale", decimal(least)+"–"+decimal(greatest))
	}
	d.field("ticketId", r.GetTicketId())
	d.field("orderId", r.GetOrderId())
	d.field("comment", r.GetComment())
}

// ratingScale is the least and the greatest score.
func ratingScale(r *eventsv1.Rating) (least, greatest int64) {
	least, greatest = defaultLeast, defaultMost
	if r.MinMicros != nil {
		least = *r.MinMicros
	}
	if r.MaxMicros != nil {
		greatest = *r.MaxMicros
	}
	return least, greatest
}

// describeReferral names the other party: to the subject the one in the
// payload, to that one the subject.
func describeReferral(d *description, ev Event, r *eventsv1.Referral) {
	referrer, referee := identifierText(r.GetReferrer()), identifierText(r.GetReferee())
	switch {
	case ev.Header.GetRole() == logv1.Role_ROLE_REFEREE:
		referrer, referee = subjectName(ev.Body), ""
	case ev.Header.GetRole() == logv1.Role_ROLE_REFERRER:
		referrer, referee = "", subjectName(ev.Body)
	case referee != "":
		referrer = "" // the subject is the referrer, whoever is named beside
	}
	d.subject(referee, referrer)
	d.field("referee", referee)
	d.field("referrer", referrer)
	d.field("medium", r.GetMedium())
	d.field("orderId", r.GetOrderId())
	d.amount("revenue", r.RevenueMicros, r.GetCurrency())
}

func describeInteraction(d *description, i *eventsv1.Interaction) {
	d.subject(i.GetSummary(), i.GetChannel())
	d.field("channel", i.GetChannel())
	d.field("direction", i.GetDirection())
	d.field("kind", i.GetKind())
	d.field("summary", i.GetSummary())
	d.field("participants", strings.Join(i.GetParticipants(), ", "))
	d.amount("duration", i.DurationMicros, "s")
	d.field("inReplyTo", i.GetInReplyTo())
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

// describeTraits shows of facts told by hand why and by whom first: the traits
// may fill a line. Of a name told in several ways it shows the one that stands.
func describeTraits(d *description, t *eventsv1.Traits) {
	fields, release := t.GetSet().GetFields(), t.GetRelease()
	if t.GetManual() {
		d.field("manual", valueYes)
		d.field("reason", t.GetReason())
		d.field("actor", t.GetActor())
	} else {
		release = nil
	}
	set := sortedKeys(fields)
	once := t.GetSetOnce().GetFields()
	names := slices.Concat(set, t.GetUnset(), release, sortedKeys(once))
	slices.Sort(names)
	d.subject(strings.Join(slices.Compact(names), ", "))
	for _, name := range release {
		d.field(line(name, maxFieldBytes), valueReleased)
	}
	for _, name := range t.GetUnset() {
		d.field(line(name, maxFieldBytes), valueForgotten)
	}
	for _, name := range set {
		d.field(line(name, maxFieldBytes), valueText(fields[name]))
	}
	for _, name := range sortedKeys(once) {
		if fields[name] == nil {
			d.field(line(name, maxFieldBytes), valueText(once[name]))
		}
	}
}

// valueText writes a trait for people: a text as it is, else JSON.
func valueText(v *structpb.Value) string {
	if s, is := v.GetKind().(*structpb.Value_StringValue); is {
		return s.StringValue
	}
	return strings.Trim(canonicalJSON(v), `"`) // a great integer
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
