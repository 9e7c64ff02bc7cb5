package columns

import (
	"slices"
	"strings"
	"unique"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/profile"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// Row is what lists need most of one customer, about 500 bytes. It is a
// function of his head and immutable. Instants are microseconds, 0 is none. A
// nil section is one of which he has nothing.
type Row struct {
	ID         events.CustomerID
	Gone       bool // he is no customer any more, and nothing else is set
	Company    bool // a company, not a person
	Identified bool
	Name       string // as [profile.Name]
	// Identifiers that name somebody, by (type, value): phones, then others, at
	// most MaxIdentifiers. MoreIdentifiers says that he has others.
	Identifiers     []Identifier
	MoreIdentifiers bool
	CompanyID       string // company_id of the company he belongs to now
	CompanyName     string // trait company, as he or an import told it
	Traits          Traits

	Stage       string
	Previous    string // stage before; "" if there was none
	Since       int64
	FirstSeenAt int64
	LastSeenAt  int64

	PageViews uint32
	Sessions  uint32
	Members   uint32 // of a company

	Orders       *Orders
	Acquisition  *Acquisition
	Service      *Service
	Referrals    *Referrals
	Interactions *Interactions
}

// Identifier is one identifier of a row.
type Identifier struct {
	Type  string
	Value string // normalised
}

// MaxIdentifiers bounds the identifiers of a row.
const MaxIdentifiers = 16

// IsPhone reports whether the identifier is a phone number.
func (id Identifier) IsPhone() bool {
	return id.Type == "phone" || strings.HasSuffix(id.Type, "_phone")
}

// Orders are the columns of the orders section.
type Orders struct {
	Count, Cancelled, Refunds, PurchaseDays uint32
	FirstAt, LastAt                         int64
	Net                                     []Money // by currency, as the profile shows it
}

// Money is an amount in millionths of a unit.
type Money struct {
	Currency string
	Micros   int64
}

// Acquisition are the columns of the acquisition section.
type Acquisition struct {
	Views, Clicks, CampaignDays uint32
	FirstChannel, LastChannel   string // "": no touch
	FirstAt, LastAt             int64
}

// Touches is how often the customer was touched.
func (a *Acquisition) Touches() uint32 { return a.Views + a.Clicks + a.CampaignDays }

// Service are the columns of the service section.
type Service struct {
	Opened, Open, Resolved, Reopened uint32
	Ratings                          uint32
}

// Referrals are the columns of the referrals section.
type Referrals struct{ Made, Converted, Shares uint32 }

// Interactions are the columns of the interactions section.
type Interactions struct{ Count, Inbound, Outbound uint32 }

// Of makes the row of a customer. It keeps nothing of the head but strings.
func Of(id events.CustomerID, head *statev1.Head, env profile.Env) *Row {
	f, j := head.GetFacts(), head.GetJournal()
	r := &Row{
		ID:          id,
		Company:     head.GetKind() == logv1.CustomerKind_CUSTOMER_KIND_COMPANY,
		Identified:  profile.Identified(f),
		Name:        profile.Name(f),
		CompanyID:   currentCompany(f),
		CompanyName: profile.TextTrait(f, "company", "companyName", "company_name"),
		Traits:      traitsOf(f),
		Stage:       intern(j.GetStage()),
		Previous:    intern(j.GetPrevious()),
		Since:       j.GetSince(),
		FirstSeenAt: f.GetFirstSeenAt(),
		LastSeenAt:  f.GetLastSeenAt(),
		PageViews:   f.GetEngagement().GetPageViews(),
		Sessions:    f.GetEngagement().GetSessions(),
		Members:     f.GetMembers(),
	}
	r.keepIdentifiers(f)
	r.Orders = ordersOf(f.GetOrders(), env)
	r.Acquisition = acquisitionOf(f.GetAcquisition())
	if s := f.GetService(); s != nil {
		r.Service = &Service{s.Opened, s.Open, s.Resolved, s.Reopened, s.GetRating().GetCount()}
	}
	if g := f.GetReferrals(); g != nil {
		r.Referrals = &Referrals{g.Made, g.Converted, g.Shares}
	}
	if in := f.GetInteractions(); in != nil {
		r.Interactions = &Interactions{}
		for _, c := range in.Channels {
			r.Interactions.Count += c.Inbound + c.Outbound + c.Other
			r.Interactions.Inbound += c.Inbound
			r.Interactions.Outbound += c.Outbound
		}
	}
	return r
}

// intern gives equal strings one copy in memory.
func intern(s string) string { return unique.Make(s).Value() }

// keepIdentifiers takes phones first: people are looked for by them.
func (r *Row) keepIdentifiers(f *statev1.Facts) {
	strong := 0
	for _, phones := range []bool{true, false} {
		for _, told := range f.GetIdentifiers() {
			id := Identifier{Type: told.Type, Value: told.Value}
			if id.IsPhone() != phones || profile.Strength(told.Type) == 0 {
				continue
			}
			if strong++; strong <= MaxIdentifiers {
				id.Type = intern(id.Type)
				r.Identifiers = append(r.Identifiers, id)
			}
		}
	}
	r.Identifiers = slices.Clip(r.Identifiers)
	r.MoreIdentifiers = strong > MaxIdentifiers || f.GetStrongEnd() != nil
}

func ordersOf(o *statev1.OrdersFacts, env profile.Env) *Orders {
	if o == nil {
		return nil
	}
	to := &Orders{Count: o.Count, Cancelled: o.Cancelled, Refunds: o.Refunds, PurchaseDays: o.PurchaseDays}
	if last, _ := profile.LastPurchaseDays(o); last != nil {
		first := o.Days[slices.IndexFunc(o.Days, func(d *statev1.OrderDay) bool { return d.Orders > 0 })]
		to.FirstAt, to.LastAt = first.FirstAt, last.LastAt
	}
	for _, m := range profile.NetRevenue(o, env) {
		to.Net = append(to.Net, Money{intern(m.GetCurrencyCode()), m.GetMicros()})
	}
	to.Net = slices.Clip(to.Net)
	return to
}

func acquisitionOf(a *statev1.AcquisitionFacts) *Acquisition {
	if a == nil {
		return nil
	}
	return &Acquisition{
		Views: a.Views, Clicks: a.Clicks, CampaignDays: a.CampaignDays,
		FirstChannel: intern(a.GetFirst().GetChannel()), FirstAt: a.GetFirst().GetStamp().GetOccurredAt(),
		LastChannel: intern(a.GetLast().GetChannel()), LastAt: a.GetLast().GetStamp().GetOccurredAt(),
	}
}

// currentCompany is the company_id of the membership that is current, "" if
// there is none. Of a person only.
func currentCompany(f *statev1.Facts) string {
	if len(f.GetMemberships().GetTellings()) == 0 {
		return ""
	}
	shown := &queryv1.Profile{}
	profile.RenderFields(f, f.GetLastSeenAt(), profile.Env{}, []string{"memberships"}, shown)
	for _, m := range slices.Backward(shown.GetMemberships()) {
		if m.GetUntil() == nil {
			return intern(m.GetCompany().GetValue())
		}
	}
	return ""
}
