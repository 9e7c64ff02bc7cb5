package properties

import (
	"regexp"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/jsontree"
)

// The tables of all payloads. Names are folded: without '_', lower case.

var lineColumns = []column[eventsv1.Line]{
	{"productid id itemid", id(func(p *eventsv1.Line) *string { return &p.ProductId })},
	{"sku", text(func(p *eventsv1.Line) *string { return &p.Sku })},
	{"name productname title", text(func(p *eventsv1.Line) *string { return &p.Name })},
	{"brand", text(func(p *eventsv1.Line) *string { return &p.Brand })},
	{"variant", text(func(p *eventsv1.Line) *string { return &p.Variant })},
	{"price unitprice", amount(func(p *eventsv1.Line) **int64 { return &p.PriceMicros })},
	{"quantity qty", amount(func(p *eventsv1.Line) **int64 { return &p.QuantityMicros })},
	{"cost unitcost", amount(func(p *eventsv1.Line) **int64 { return &p.CostMicros })},
	{"coupon", text(func(p *eventsv1.Line) *string { return &p.Coupon })},
}

var lineTable = newTable(append(lineColumns,
	column[eventsv1.Line]{"category", text(func(p *eventsv1.Line) *string { return &p.Category })})...)

var adTable = newTable(
	column[eventsv1.AdTouch]{"campaign campaignname utmcampaign", text(func(p *eventsv1.AdTouch) *string { return &p.Campaign })},
	column[eventsv1.AdTouch]{"channel", text(func(p *eventsv1.AdTouch) *string { return &p.Channel })},
	column[eventsv1.AdTouch]{"source utmsource", text(func(p *eventsv1.AdTouch) *string { return &p.Source })},
	column[eventsv1.AdTouch]{"medium utmmedium", text(func(p *eventsv1.AdTouch) *string { return &p.Medium })},
	column[eventsv1.AdTouch]{"creative adcreative", text(func(p *eventsv1.AdTouch) *string { return &p.Creative })},
	column[eventsv1.AdTouch]{"placement", text(func(p *eventsv1.AdTouch) *string { return &p.Placement })},
	column[eventsv1.AdTouch]{"cost", amount(func(p *eventsv1.AdTouch) **int64 { return &p.CostMicros })},
	column[eventsv1.AdTouch]{"currency", text(func(p *eventsv1.AdTouch) *string { return &p.Currency })},
)

var viewTable = newTable(
	column[eventsv1.View]{"url", text(func(p *eventsv1.View) *string { return &p.Url })},
	column[eventsv1.View]{"title", text(func(p *eventsv1.View) *string { return &p.Title })},
	column[eventsv1.View]{"name", text(func(p *eventsv1.View) *string { return &p.Name })},
	column[eventsv1.View]{"category", text(func(p *eventsv1.View) *string { return &p.Category })},
	column[eventsv1.View]{"path", text(func(p *eventsv1.View) *string { return &p.Path })},
	column[eventsv1.View]{"referrer referrerurl referer", text(func(p *eventsv1.View) *string { return &p.ReferrerUrl })},
	column[eventsv1.View]{"search", text(func(p *eventsv1.View) *string { return &p.Search })},
)

// productTables tell the category of a product from that of a list.
var productTable, productListTable = func() (_, _ *table[eventsv1.Product]) {
	columns := []column[eventsv1.Product]{
		{"cartid", id(func(p *eventsv1.Product) *string { return &p.CartId })},
		{"currency", text(func(p *eventsv1.Product) *string { return &p.Currency })},
		{"query searchterm", text(func(p *eventsv1.Product) *string { return &p.Query })},
		{"listid", id(func(p *eventsv1.Product) *string { return &p.ListId })},
	}
	for _, c := range lineColumns {
		columns = append(columns, column[eventsv1.Product]{c.spellings, onLine(c.set)})
	}
	category := text(func(p *eventsv1.Line) *string { return &p.Category })
	one := column[eventsv1.Product]{"category", onLine(category)}
	list := column[eventsv1.Product]{"category", text(func(p *eventsv1.Product) *string { return &p.Category })}
	return newTable(append(columns, one)...), newTable(append(columns[:len(columns):len(columns)], list)...)
}()

// onLine makes a setter of a line one of the product that holds it. The line
// is made when something is put on it.
func onLine(set setter[eventsv1.Line]) setter[eventsv1.Product] {
	return func(p *eventsv1.Product, at place, v jsontree.Value) outcome {
		line := p.Line
		if line == nil {
			line = &eventsv1.Line{}
		}
		o := set(line, at, v)
		if o.taken {
			p.Line = line
		}
		return o
	}
}

var checkoutTable = newTable(
	column[eventsv1.Checkout]{"checkoutid", id(func(p *eventsv1.Checkout) *string { return &p.CheckoutId })},
	column[eventsv1.Checkout]{"orderid", id(func(p *eventsv1.Checkout) *string { return &p.OrderId })},
	column[eventsv1.Checkout]{"cartid", id(func(p *eventsv1.Checkout) *string { return &p.CartId })},
	column[eventsv1.Checkout]{"step", text(func(p *eventsv1.Checkout) *string { return &p.Step })},
	column[eventsv1.Checkout]{"shippingmethod", text(func(p *eventsv1.Checkout) *string { return &p.ShippingMethod })},
	column[eventsv1.Checkout]{"paymentmethod", text(func(p *eventsv1.Checkout) *string { return &p.PaymentMethod })},
	column[eventsv1.Checkout]{"value revenue total", amount(func(p *eventsv1.Checkout) **int64 { return &p.ValueMicros })},
	column[eventsv1.Checkout]{"currency", text(func(p *eventsv1.Checkout) *string { return &p.Currency })},
	column[eventsv1.Checkout]{lineSpellings, lines(func(p *eventsv1.Checkout) *[]*eventsv1.Line { return &p.Lines })},
)

const lineSpellings = "products items lines lineitems"

var orderTable, refundTable = newOrderTable("total"), newOrderTable("total amount refundamount refund")

func newOrderTable(total string) *table[eventsv1.Order] {
	return newTable(
		column[eventsv1.Order]{"orderid", id(func(p *eventsv1.Order) *string { return &p.OrderId })},
		column[eventsv1.Order]{"checkoutid", id(func(p *eventsv1.Order) *string { return &p.CheckoutId })},
		column[eventsv1.Order]{"affiliation", text(func(p *eventsv1.Order) *string { return &p.Affiliation })},
		column[eventsv1.Order]{"currency", text(func(p *eventsv1.Order) *string { return &p.Currency })},
		column[eventsv1.Order]{"revenue", amount(func(p *eventsv1.Order) **int64 { return &p.RevenueMicros })},
		column[eventsv1.Order]{total, amount(func(p *eventsv1.Order) **int64 { return &p.TotalMicros })},
		column[eventsv1.Order]{"value", amount(func(p *eventsv1.Order) **int64 { return &p.ValueMicros })},
		column[eventsv1.Order]{"subtotal", amount(func(p *eventsv1.Order) **int64 { return &p.SubtotalMicros })},
		column[eventsv1.Order]{"shipping", amount(func(p *eventsv1.Order) **int64 { return &p.ShippingMicros })},
		column[eventsv1.Order]{"tax", amount(func(p *eventsv1.Order) **int64 { return &p.TaxMicros })},
		column[eventsv1.Order]{"discount", amount(func(p *eventsv1.Order) **int64 { return &p.DiscountMicros })},
		column[eventsv1.Order]{"cost", amount(func(p *eventsv1.Order) **int64 { return &p.CostMicros })},
		column[eventsv1.Order]{"coupon", text(func(p *eventsv1.Order) *string { return &p.Coupon })},
		column[eventsv1.Order]{lineSpellings, lines(func(p *eventsv1.Order) *[]*eventsv1.Line { return &p.Lines })},
		column[eventsv1.Order]{"transport carrier", text(func(p *eventsv1.Order) *string { return &p.Transport })},
		column[eventsv1.Order]{"reason", text(func(p *eventsv1.Order) *string { return &p.Reason })},
	)
}

var ticketTable = newTable(
	column[eventsv1.Ticket]{"ticketid id caseid ticketnumber conversationid", id(func(p *eventsv1.Ticket) *string { return &p.TicketId })},
	column[eventsv1.Ticket]{"channel", text(func(p *eventsv1.Ticket) *string { return &p.Channel })},
	column[eventsv1.Ticket]{"topic category", text(func(p *eventsv1.Ticket) *string { return &p.Topic })},
	column[eventsv1.Ticket]{"priority", text(func(p *eventsv1.Ticket) *string { return &p.Priority })},
	column[eventsv1.Ticket]{"agent agentname agentid assignee", text(func(p *eventsv1.Ticket) *string { return &p.Agent })},
	column[eventsv1.Ticket]{"subject title", text(func(p *eventsv1.Ticket) *string { return &p.Subject })},
	column[eventsv1.Ticket]{"text message body", text(func(p *eventsv1.Ticket) *string { return &p.Text })},
	column[eventsv1.Ticket]{"authortype authorrole author", text(func(p *eventsv1.Ticket) *string { return &p.Author })},
)

var ratingTable = newTable(
	column[eventsv1.Rating]{"ticketid", id(func(p *eventsv1.Rating) *string { return &p.TicketId })},
	column[eventsv1.Rating]{"orderid", id(func(p *eventsv1.Rating) *string { return &p.OrderId })},
	column[eventsv1.Rating]{"aspect", text(func(p *eventsv1.Rating) *string { return &p.Aspect })},
	column[eventsv1.Rating]{"score rating", amount(func(p *eventsv1.Rating) **int64 { return &p.ScoreMicros })},
	column[eventsv1.Rating]{"min minscore scalemin", amount(func(p *eventsv1.Rating) **int64 { return &p.MinMicros })},
	column[eventsv1.Rating]{"max maxscore scalemax", amount(func(p *eventsv1.Rating) **int64 { return &p.MaxMicros })},
	column[eventsv1.Rating]{"scale", setScale},
	column[eventsv1.Rating]{"comment text", text(func(p *eventsv1.Rating) *string { return &p.Comment })},
)

// setScale reads the scale of a rating: its greatest score, of which the least
// is 1; or both, as "0-10", "0..10", "0 to 10" or {"min": 0, "max": 10}. Of a
// scale told in two ways the limits of their own stand.
func setScale(p *eventsv1.Rating, at place, v jsontree.Value) outcome {
	if low, high := v.Get("min"), v.Get("max"); v.Kind() == jsontree.Object && low.Given() && high.Given() {
		return setLimits(p, at, low, high, v)
	}
	s, _ := Text(v)
	if low, high, both := cutScale(s); both {
		least, _, err1 := ParseMicros(low)
		most, _, err2 := ParseMicros(high)
		if err1 != nil || err2 != nil || p.MinMicros != nil || p.MaxMicros != nil {
			return outcome{}
		}
		p.MinMicros, p.MaxMicros = &least, &most
		return outcome{taken: true}
	}
	return setAmount(&p.MaxMicros, at, v)
}

// setLimits reads a scale that is an object, which stays if it says more.
func setLimits(p *eventsv1.Rating, at place, low, high, v jsontree.Value) outcome {
	if p.MinMicros != nil || p.MaxMicros != nil {
		return outcome{}
	}
	var least, most *int64
	all := outcome{taken: true}
	for _, limit := range [...]struct {
		to    **int64
		key   string
		value jsontree.Value
	}{{&least, "min", low}, {&most, "max", high}} {
		inside := at
		inside.key += "." + limit.key
		o := setAmount(limit.to, inside, limit.value)
		if !o.taken {
			return o
		}
		if o.rest != nil || members(v) > 2 {
			all.rest = v.AppendCanonical(nil)
		}
	}
	p.MinMicros, p.MaxMicros = least, most
	return all
}

func cutScale(s string) (low, high string, ok bool) {
	for _, between := range [...]string{"..", "–", "—", " to "} {
		if low, high, ok = strings.Cut(s, between); ok {
			return low, high, true
		}
	}
	// A dash after the first character: "-5" is a number, "0-10" a scale.
	if i := strings.LastIndexByte(s, '-'); i > 0 && !strings.ContainsAny(s, "eE") {
		return s[:i], s[i+1:], true
	}
	return "", "", false
}

// Who was referred, and who referred: of names that say of which type the value
// is, the stronger type comes first.
const (
	refereeSpellings = "referee invitee refereeuserid refereeid inviteeuserid inviteeid referreduserid referredid" +
		" refereeemail inviteeemail referredemail refereephone inviteephone referredphone"
	referrerSpellings = "referrer inviter referredby referreruserid referrerid inviteruserid inviterid" +
		" referreremail inviteremail referrerphone inviterphone"
)

var referralTable = newTable(
	column[eventsv1.Referral]{refereeSpellings, setParty(func(p *eventsv1.Referral) **eventsv1.Identifier { return &p.Referee })},
	column[eventsv1.Referral]{referrerSpellings, setParty(func(p *eventsv1.Referral) **eventsv1.Identifier { return &p.Referrer })},
	column[eventsv1.Referral]{"medium channel via", text(func(p *eventsv1.Referral) *string { return &p.Medium })},
	column[eventsv1.Referral]{"orderid", id(func(p *eventsv1.Referral) *string { return &p.OrderId })},
	column[eventsv1.Referral]{"revenue value", amount(func(p *eventsv1.Referral) **int64 { return &p.RevenueMicros })},
	column[eventsv1.Referral]{"currency", text(func(p *eventsv1.Referral) *string { return &p.Currency })},
)

// setParty reads a party of a referral, of the type that the property's name
// says or as [parseParty] tells it.
func setParty(field func(*eventsv1.Referral) **eventsv1.Identifier) setter[eventsv1.Referral] {
	return func(p *eventsv1.Referral, at place, v jsontree.Value) outcome {
		if *field(p) != nil {
			return outcome{}
		}
		var party *eventsv1.Identifier
		o := outcome{taken: true}
		if typ := partyType(at.key); typ == "" {
			party, o.rest = parseParty(v)
		} else if s, ok := Text(v); ok {
			party = &eventsv1.Identifier{Type: typ, Value: s}
		}
		if party == nil {
			return outcome{}
		}
		*field(p) = party
		o.refused = checkID(at, party.Value)
		return o
	}
}

// partyType is the type that the name of a property says, "" if it says none.
func partyType(key string) string {
	switch key = strings.ToLower(key); {
	case strings.HasSuffix(key, "email"):
		return "email"
	case strings.HasSuffix(key, "phone"):
		return "phone"
	case strings.HasSuffix(key, "id"):
		return "user_id"
	}
	return ""
}

// partyMembers are the members of an object by which it names somebody, folded,
// the strongest first.
var partyMembers = [...]struct{ name, typ string }{
	{"userid", "user_id"}, {"id", "user_id"}, {"companyid", "company_id"}, {"groupid", "company_id"}, {"email", "email"}, {"phone", "phone"}, {"anonymousid", "anonymous_id"},
}

// phonePattern is what a text must look like to be a phone number beyond doubt.
var phonePattern = regexp.MustCompile(`^\+[0-9][0-9 ().-]{6,24}$`)

// parseParty reads who is meant as [ParseIdentifier] does, and beside it an
// international phone number and an object that describes a person, {"email": …,
// "name": …}, which then is left over. An address of a page names nobody: it is
// what "referrer" means elsewhere.
func parseParty(v jsontree.Value) (party *eventsv1.Identifier, rest []byte) {
	if v.Kind() == jsontree.Object {
		if party, ok := ParseIdentifier(v); ok {
			return party, nil
		}
		return describedParty(v)
	}
	s, _ := Text(v)
	switch {
	case strings.Contains(s, "://"):
		return nil, nil
	case phonePattern.MatchString(s):
		return &eventsv1.Identifier{Type: "phone", Value: s}, nil
	}
	party, _ = ParseIdentifier(v)
	return party, nil
}

func describedParty(v jsontree.Value) (party *eventsv1.Identifier, rest []byte) {
	best := len(partyMembers)
	for key, m := range v.Members() {
		var buf [16]byte
		folded, _ := fold(buf[:0], key)
		for rank, known := range partyMembers {
			if value, ok := Text(m); ok && rank < best && known.name == string(folded) {
				best, party = rank, &eventsv1.Identifier{Type: known.typ, Value: value}
			}
		}
	}
	if party != nil && members(v) > 1 {
		rest = v.AppendCanonical(nil)
	}
	return party, rest
}

// identifierPattern is what a text must look like to name its own type.
var identifierPattern = regexp.MustCompile(`^(user_id|email|phone|anonymous_id|device_id|guest|[a-z0-9_]{1,37}_id):(.+)$`)

// ParseIdentifier reads who is meant by a property: an object {type, value}, a
// text "<type>:<value>", an e-mail address, or else a user id.
func ParseIdentifier(v jsontree.Value) (*eventsv1.Identifier, bool) {
	if v.Kind() == jsontree.Object {
		typ, ok1 := Text(v.Get("type"))
		value, ok2 := Text(v.Get("value"))
		if !ok1 || !ok2 || !ValidIdentifierType(typ) || members(v) != 2 {
			return nil, false
		}
		return &eventsv1.Identifier{Type: typ, Value: value}, true
	}
	s, ok := Text(v)
	if !ok {
		return nil, false
	}
	if m := identifierPattern.FindStringSubmatch(s); m != nil {
		return &eventsv1.Identifier{Type: m[1], Value: m[2]}, true
	}
	typ := "user_id"
	if strings.Contains(s, "@") {
		typ = "email"
	}
	return &eventsv1.Identifier{Type: typ, Value: s}, true
}

func members(v jsontree.Value) (n int) {
	for range v.Members() {
		n++
	}
	return n
}

// ValidIdentifierType reports whether a type of identifiers is spelled as one:
// [a-z0-9_]{1,40}.
func ValidIdentifierType(typ string) bool {
	for _, c := range []byte(typ) {
		if c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return typ != "" && len(typ) <= 40
}

var shareTable = newTable(
	column[eventsv1.Share]{"network sharevia via method platform", text(func(p *eventsv1.Share) *string { return &p.Network })},
	column[eventsv1.Share]{"url shareurl link", text(func(p *eventsv1.Share) *string { return &p.Url })},
	column[eventsv1.Share]{"message sharemessage", text(func(p *eventsv1.Share) *string { return &p.Message })},
)

var interactionTable = newTable(
	column[eventsv1.Interaction]{"channel", text(func(p *eventsv1.Interaction) *string { return &p.Channel })},
	column[eventsv1.Interaction]{"direction", text(func(p *eventsv1.Interaction) *string { return &p.Direction })},
	column[eventsv1.Interaction]{"kind type", text(func(p *eventsv1.Interaction) *string { return &p.Kind })},
	column[eventsv1.Interaction]{"summary subject title", text(func(p *eventsv1.Interaction) *string { return &p.Summary })},
	column[eventsv1.Interaction]{"participants", setParticipants},
	column[eventsv1.Interaction]{"inreplyto", id(func(p *eventsv1.Interaction) *string { return &p.InReplyTo })},
	column[eventsv1.Interaction]{"duration durationseconds", amount(func(p *eventsv1.Interaction) **int64 { return &p.DurationMicros })},
)

// setParticipants takes an array of texts, or one text.
func setParticipants(p *eventsv1.Interaction, _ place, v jsontree.Value) outcome {
	var list []string
	if s, ok := Text(v); ok {
		list = []string{s}
	}
	for item := range v.Items() {
		s, ok := Text(item)
		if !ok {
			return outcome{}
		}
		list = append(list, s)
	}
	if list == nil || p.Participants != nil {
		return outcome{}
	}
	p.Participants = list
	return outcome{taken: true}
}

var groupTable = newTable(
	column[eventsv1.Group]{"groupid", id(func(p *eventsv1.Group) *string { return &p.GroupId })},
	column[eventsv1.Group]{"traits", func(p *eventsv1.Group, _ place, v jsontree.Value) outcome { return setStruct(&p.Traits, v) }},
)

func setStruct(to **structpb.Struct, v jsontree.Value) outcome {
	if v.Kind() != jsontree.Object || *to != nil {
		return outcome{}
	}
	*to = Struct(v)
	return outcome{taken: true}
}

var aliasTable = newTable(
	column[eventsv1.Alias]{"previous previousid", func(p *eventsv1.Alias, at place, v jsontree.Value) outcome {
		identifier, ok := ParseIdentifier(v)
		if !ok || p.Previous != nil {
			return outcome{}
		}
		p.Previous = identifier
		return outcome{taken: true, refused: checkID(at, identifier.Value)}
	}},
)

var consentTable = newTable(
	column[eventsv1.Consent]{"purpose", text(func(p *eventsv1.Consent) *string { return &p.Purpose })},
	column[eventsv1.Consent]{"granted", flag(func(p *eventsv1.Consent) *bool { return &p.Granted })},
	column[eventsv1.Consent]{"evidence", text(func(p *eventsv1.Consent) *string { return &p.Evidence })},
)

var voidTable = newTable(
	column[eventsv1.Void]{"eventid messageid", id(func(p *eventsv1.Void) *string { return &p.EventId })},
	column[eventsv1.Void]{"time timestamp", func(p *eventsv1.Void, at place, v jsontree.Value) outcome {
		s, ok := Text(v)
		if !ok || p.Time != nil {
			return outcome{}
		}
		t, _, ok := ParseTime(s)
		if !ok {
			return outcome{refused: RefuseTime(at.String(), s)}
		}
		p.Time = timestamppb.New(t)
		return outcome{taken: true}
	}},
	column[eventsv1.Void]{"reason", text(func(p *eventsv1.Void) *string { return &p.Reason })},
	column[eventsv1.Void]{"actor", text(func(p *eventsv1.Void) *string { return &p.Actor })},
)

// refuseMissing says that a field without which the event means nothing is
// not there.
func refuseMissing(field string) *ingest.Rejection {
	return ingest.Refuse(ingest.CodeMissingID, field, "not empty", field+" is missing")
}
