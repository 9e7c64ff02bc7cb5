package properties

import (
	"google.golang.org/protobuf/reflect/protoreflect"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"

	"github.com/dossier360/dossier/ingest"
)

// Check holds the payload of an event of type t against the rules that bind
// every wire, writes a known currency as ISO 4217 has it, and raises the flags
// of what is kept although odd.
func Check(ev *eventsv1.Event, t eventsv1.Type, name FieldName, flags *Flags) *ingest.Rejection {
	if order := ev.GetOrder(); order != nil {
		if refused := checkOrder(order, t, name, flags); refused != nil {
			return refused
		}
	}
	switch {
	case t == eventsv1.Type_TYPE_GROUP_JOINED && ev.GetGroup().GetGroupId() == "":
		return refuseMissing(name("group_id"))
	case t == eventsv1.Type_TYPE_EVENT_VOIDED && ev.GetVoid().GetEventId() == "":
		return refuseMissing(name("event_id"))
	case t == eventsv1.Type_TYPE_TRAITS_SET && len(ev.GetTraits().GetRelease()) > 0 && !ev.GetTraits().GetManual():
		field, manual := name("release"), name("manual")
		return ingest.Refuse(ingest.CodeBadType, field, manual, field+" is given without "+manual+": only what is told by hand releases what was told by hand")
	}
	if c := currencyOf(ev); c != nil && *c != "" {
		if code, known := knownCurrency(*c); known {
			*c = code
		} else {
			flags.Set(logv1.Flag_FLAG_UNKNOWN_CURRENCY)
		}
	}
	return nil
}

// FieldName turns the name of a payload field without its unit ("revenue")
// into what the publisher calls it.
type FieldName func(field string) string

// PropertyName is the FieldName of publishers who tell properties.
func PropertyName(field string) string {
	if field == "lines" {
		field = "products" // the name under which nearly all send them
	}
	return "properties." + field
}

// currencyOf is where the payload of an event holds its currency, nil if it
// has none.
func currencyOf(ev *eventsv1.Event) *string {
	switch p := ev.Payload.(type) {
	case *eventsv1.Event_Ad:
		return &p.Ad.Currency
	case *eventsv1.Event_Product:
		return &p.Product.Currency
	case *eventsv1.Event_Checkout:
		return &p.Checkout.Currency
	case *eventsv1.Event_Order:
		return &p.Order.Currency
	case *eventsv1.Event_Referral:
		return &p.Referral.Currency
	}
	return nil
}

func checkOrder(p *eventsv1.Order, t eventsv1.Type, name FieldName, flags *Flags) *ingest.Rejection {
	placed, refund := t == eventsv1.Type_TYPE_ORDER_PLACED, t == eventsv1.Type_TYPE_ORDER_REFUNDED
	valued := placed || t == eventsv1.Type_TYPE_ORDER_UPDATED // whose amounts count as the order's
	if valued || refund {
		for _, a := range [...]struct {
			field  string
			micros *int64
		}{{"revenue", p.RevenueMicros}, {"total", p.TotalMicros}, {"value", p.ValueMicros}} {
			if a.micros != nil && *a.micros < 0 {
				return refuseNegative(name(a.field), formatMicros(*a.micros), refund)
			}
		}
	}
	if refund {
		return nil
	}
	head, told := headValue(p)
	sum := sumLines(p.Lines)
	switch {
	case valued && told && head < 0: // of the three, only total is less than it says
		return refuseDerived(name("total"), name("total")+" less tax and shipping", formatMicros(head))
	case valued && !told && sum.micros.negative():
		return refuseDerived(name("lines"), "the sum of "+name("lines"), sum.micros.text())
	}
	if placed && !told && !sum.priced {
		flags.Set(logv1.Flag_FLAG_NO_VALUE)
	}
	if told && sum.priced && !sum.agrees(head, p.GetDiscountMicros()) {
		flags.Set(logv1.Flag_FLAG_LINES_DIFFER)
	}
	return nil
}

func refuseNegative(field, amount string, refund bool) *ingest.Rejection {
	what := "negative order"
	if refund {
		what = "negative refund: tell what was paid back as a positive amount"
	}
	return ingest.Refuse(ingest.CodeBadNumber, field, "not negative", field+" is "+amount+": "+what)
}

// refuseDerived refuses an order whose value follows from several fields, of
// which none need be negative.
func refuseDerived(field, value, amount string) *ingest.Rejection {
	return ingest.Refuse(ingest.CodeBadNumber, field, "not negative", value+" is "+amount+": negative order")
}

// headValue is the value of an order by its header, as the contract has it:
// revenue, else total - tax - shipping, else value.
func headValue(p *eventsv1.Order) (micros int64, told bool) {
	switch {
	case p.RevenueMicros != nil:
		return *p.RevenueMicros, true
	case p.TotalMicros != nil:
		return *p.TotalMicros - p.GetTaxMicros() - p.GetShippingMicros(), true
	case p.ValueMicros != nil:
		return *p.ValueMicros, true
	}
	return 0, false
}

// lineSum is the sum of price times quantity of an order's lines.
type lineSum struct {
	micros wide
	// priced says that some line has a price; whole that all lines with a
	// quantity other than zero have.
	priced, whole bool
}

func sumLines(lines []*eventsv1.Line) lineSum {
	sum := lineSum{whole: true}
	for _, l := range lines {
		if l.PriceMicros == nil {
			sum.whole = sum.whole && l.QuantityMicros != nil && *l.QuantityMicros == 0
			continue
		}
		sum.priced = true
		quantity := int64(1_000_000)
		if l.QuantityMicros != nil {
			quantity = *l.QuantityMicros
		}
		sum.micros = sum.micros.add(mulMicros(*l.PriceMicros, quantity))
	}
	return sum
}

// agrees reports whether the lines sum to the value of the header, before or
// after the discount.
func (s lineSum) agrees(head, discount int64) bool {
	micros, fits := s.micros.amount()
	return s.whole && fits && (micros == head || micros-discount == head)
}

// CheckAmounts refuses an amount beyond the limit in a payload that came typed
// instead of through [Map], and raises the flag of control characters. It
// visits every field of the message.
func CheckAmounts(path string, m protoreflect.Message, flags *Flags) *ingest.Rejection {
	var refused *ingest.Rejection
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		at := path + fd.JSONName()
		switch {
		case fd.IsList():
			for i := range v.List().Len() {
				refused = checkField(at+index(i), fd, v.List().Get(i), flags)
				if refused != nil {
					return false
				}
			}
		case fd.IsMap():
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				flagControl(k.String(), flags)
				refused = checkField(at, fd.MapValue(), v, flags)
				return refused == nil
			})
		default:
			refused = checkField(at, fd, v, flags)
		}
		return refused == nil
	})
	return refused
}

func checkField(at string, fd protoreflect.FieldDescriptor, v protoreflect.Value, flags *Flags) *ingest.Rejection {
	switch fd.Kind() {
	case protoreflect.MessageKind:
		return CheckAmounts(at+".", v.Message(), flags)
	case protoreflect.StringKind:
		flagControl(v.String(), flags)
	case protoreflect.Int64Kind:
		if isMicros(fd) && magnitude(v.Int()) > maxMicros {
			return refuseAmount(at, formatMicros(v.Int()), ErrRange)
		}
	}
	return nil
}
