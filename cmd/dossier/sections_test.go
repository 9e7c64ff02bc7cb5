package main

import (
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// personOfCompanies is a person with something in every section that persons
// have beside orders and visits.
func personOfCompanies() *queryv1.GetProfileResponse {
	p := &queryv1.Profile{
		CustomerId: "01JDA0000000000000000000AA", Kind: "person", Identified: true, Name: new("周敏"),
		FirstSeenAt: at("2024-01-10T02:00:00Z"), LastSeenAt: at("2026-03-01T09:30:00Z"),
		Memberships: []*queryv1.Membership{
			{CompanyId: "01JDB0000000000000000000BB", Company: &queryv1.CompanyRef{Type: "company_id", Value: "acme"}, Since: at("2024-01-10T02:00:00Z"), Until: at("2025-06-01T00:00:00Z")},
			{Company: &queryv1.CompanyRef{Type: "company_id", Value: "globex"}, Since: at("2025-06-01T00:00:00Z")},
		},
		Traits: map[string]*queryv1.Trait{
			"industry": {Value: structpb.NewStringValue("教育 & <培训>")},
			"vip":      {Value: structpb.NewBoolValue(true), Manual: true},
		},
		Acquisition: &queryv1.Acquisition{
			Touches: 12345, AdViews: 12000, AdClicks: 300,
			FirstTouch: &queryv1.Touch{Channel: "paid_search", Source: "baidu", Medium: "cpc", Campaign: "spring\x1b[2J", At: at("2024-01-10T02:00:00Z")},
			LastTouch:  &queryv1.Touch{Channel: "email", Source: "newsletter", At: at("2026-02-20T08:00:00Z")},
			ByChannel:  map[string]uint32{"paid_search": 12000, "email": 300, "organic_social": 40, "qr": 2, "sms": 2, "tv": 1, "zeppelin": 1},
			Campaigns:  map[string]uint32{"spring": 12000, "newsletter": 300},
		},
		Service: &queryv1.Service{
			Opened: 3, Open: 1, Resolved: 2, Reopened: 1, FirstResponseMinutes: new(12.5), ResolutionMinutes: new(4320.0),
			Rating: &queryv1.Rating{Count: 4, Mean: 81.25, Last: 100, ByAspect: map[string]*queryv1.AspectRating{
				"delivery": {Count: 1, Mean: 50}, "product": {Count: 3, Mean: 91.6667},
			}},
			Topics: map[string]uint32{"refund": 2, "delivery": 1},
		},
		Referrals: &queryv1.Referrals{Made: 3, Converted: 1, Shares: 2, ReferredBy: new("01JDC0000000000000000000CC"), RevenueByCurrency: []*queryv1.Money{cny(12_345_600_000_000), {CurrencyCode: "USD", Micros: 12_500_000}}},
		Interactions: &queryv1.Interactions{
			Count: 9, Inbound: 4, Outbound: 4, LastInboundAt: at("2026-02-01T08:00:00Z"), LastOutboundAt: at("2026-02-02T08:00:00Z"),
			ByChannel: map[string]*queryv1.ChannelInteractions{
				"call":  {Count: 6, Inbound: 4, Outbound: 2, LastAt: at("2026-02-02T08:00:00Z")},
				"email": {Count: 2, Outbound: 2, LastAt: at("2026-02-02T07:00:00Z")},
				"fax":   {Count: 1, LastAt: at("2025-12-24T07:00:00Z")},
			},
		},
		Flags: []string{"conflict", "later_flag"},
	}
	return &queryv1.GetProfileResponse{Profile: p, Freshness: &queryv1.Freshness{LogTime: at("2026-03-02T00:00:00Z")}}
}

// company has what only companies have, and the least of what others do.
func company() *queryv1.GetProfileResponse {
	p := &queryv1.Profile{
		CustomerId: "01JDB0000000000000000000BB", Kind: "company", Identified: true, Name: new("Acme 有限公司"),
		FirstSeenAt: at("2024-01-10T02:00:00Z"), LastSeenAt: at("2026-03-01T09:30:00Z"),
		Identifiers: []*queryv1.Identifier{{Type: "company_id", Value: "acme"}},
		Members:     12_000,
		Acquisition: &queryv1.Acquisition{
			Touches:    1,
			FirstTouch: &queryv1.Touch{Channel: "direct", At: at("2024-01-10T02:00:00Z")},
			LastTouch:  &queryv1.Touch{Channel: "direct", At: at("2024-01-10T02:00:00Z")},
			ByChannel:  map[string]uint32{"direct": 1},
		},
		Service:      &queryv1.Service{Rating: &queryv1.Rating{Count: 1, Mean: 75, Last: 75}},
		Referrals:    &queryv1.Referrals{ReferredBy: new("01JDC0000000000000000000CC")},
		Interactions: &queryv1.Interactions{},
	}
	return &queryv1.GetProfileResponse{Profile: p, Freshness: &queryv1.Freshness{LogTime: at("2026-03-02T00:00:00Z")}}
}

func TestTablesOfSections(t *testing.T) {
	t.Parallel()
	for name, profile := range map[string]*queryv1.GetProfileResponse{"get-person": personOfCompanies(), "get-company": company()} {
		env := serveClerk(t, &clerk{profile: profile})
		for _, lang := range []string{langEN, langZH} {
			status, out, stderr := dossier(t, env, "get", "user_id:1", "--lang", lang)
			if status != exitDone || stderr != "" {
				t.Errorf("%s %s: status %d, stderr %q; want 0 and none", name, lang, status, stderr)
			}
			golden(t, filepath.Join("testdata", "golden", name+"."+lang+".txt"), out)
		}
	}
}

// A duration is told in the unit that people would use.
func TestMinutes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		minutes float64
		en, zh  string
	}{
		{0, "0 min", "0分钟"},
		{0.04, "0 min", "0分钟"},
		{12.54, "12.5 min", "12.5分钟"},
		{119.9, "119.9 min", "119.9分钟"},
		{120, "2 h", "2小时"},
		{47.96 * 60, "48 h", "48小时"},
		{2 * 24 * 60, "2 days", "2天"},
		{1e6, "694.4 days", "694.4天"},
	} {
		if got := printerFor(langEN).minutes(tc.minutes); got != tc.en {
			t.Errorf("%v minutes in English: got %q, want %q", tc.minutes, got, tc.en)
		}
		if got := printerFor(langZH).minutes(tc.minutes); got != tc.zh {
			t.Errorf("%v minutes in Chinese: got %q, want %q", tc.minutes, got, tc.zh)
		}
	}
}

// The rhythm of orders is a line of what is known: days, and units if any were
// told.
func TestRhythm(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		days   float64
		units  string
		en, zh string
	}{
		{1, "", "median gap 1 day\n", "购买间隔中位数 1天\n"},
		{1.5, "", "median gap 1.5 days\n", "购买间隔中位数 1.5天\n"},
		{30, "12.5", "median gap 30 days, units 12.5\n", "购买间隔中位数 30天，件数 12.5\n"},
	} {
		for lang, want := range map[string]string{langEN: tc.en, langZH: tc.zh} {
			var out strings.Builder
			s := &sheet{}
			printerFor(lang).orderRows(s, &queryv1.Orders{Count: 2, MedianIntervalDays: &tc.days, Units: tc.units})
			if err := s.write(&out); err != nil || !strings.HasSuffix(out.String(), want) {
				t.Errorf("%s: got %q, %v; want it to end in %q", lang, out.String(), err, want)
			}
		}
	}
}

// entriesOfOthers are entries that the customer has for another's sake, or that
// were taken back, told by hand or corrected.
func entriesOfOthers() []*queryv1.Entry {
	return []*queryv1.Entry{
		{
			EventId: "o-3", Type: "order.placed", OccurredAt: at("2026-03-01T09:30:00Z"), Source: "shop", Role: "company", TakenBack: "voided",
			Title: "Order placed: T-3", Fields: map[string]string{"orderId": "T-3", "person": "email:min@example.com"}, Position: "03-0-118-7",
		},
		{
			EventId: "o-2b", Type: "order.placed", OccurredAt: at("2026-02-28T09:30:00Z"), Source: "shop", Role: "subject",
			Title: "Order placed: T-2", Fields: map[string]string{"orderId": "T-2", "corrects": "o-2"}, Position: "03-0-117-2",
		},
		{
			EventId: "o-2", Type: "order.placed", OccurredAt: at("2026-02-28T09:00:00Z"), Source: "shop", Role: "subject", TakenBack: "corrected",
			Title: "Order placed: T-2", Fields: map[string]string{"orderId": "T-2"}, Position: "03-0-117-1",
		},
		{
			EventId: "s-1", Type: "traits.set", OccurredAt: at("2026-02-27T09:00:00Z"), Source: "console", Role: "subject",
			Title: "Traits set: level, city", Position: "03-0-116-0",
			Fields: map[string]string{"manual": "yes", "reason": "told on the phone", "actor": "wang", "level": "4", "city": "(released)"},
		},
		{
			EventId: "r-1", Type: "referral.made", OccurredAt: at("2026-02-26T09:00:00Z"), Source: "shop", Role: "referee",
			Title: "Referred by: user_id:7", Fields: map[string]string{"referrer": "user_id:7", "medium": "link"}, Position: "03-0-115-0",
		},
		{
			EventId: "g-1", Type: "group.joined", OccurredAt: at("2026-02-25T09:00:00Z"), Source: "crm", Role: "company",
			Title: "Left for: globex", Fields: map[string]string{"groupId": "globex", "person": "user_id:7"}, Position: "03-0-114-0",
		},
		{
			EventId: "o-1b", Type: "order.placed", OccurredAt: at("2026-02-24T09:00:00Z"), Source: "shop", Role: "company",
			Title: "Corrected, counts elsewhere: o-1", Fields: map[string]string{"corrects": "o-1"}, Position: "03-0-113-0",
		},
		{
			EventId: "v-1", Type: "event.voided", OccurredAt: at("2026-02-23T09:00:00Z"), Source: "shop", Role: "subject",
			Title: "Event voided: o-3", Fields: map[string]string{"eventId": "o-3", "reason": "a test order", "actor": "wang"}, Position: "03-0-119-0",
		},
	}
}

func TestTablesOfRoles(t *testing.T) {
	t.Parallel()
	env := serveClerk(t, &clerk{entries: entriesOfOthers()})
	for name, args := range map[string][]string{
		"timeline-roles":      {"timeline", "user_id:1"},
		"timeline-roles-full": {"timeline", "user_id:1", "--full"},
	} {
		for _, lang := range []string{langEN, langZH} {
			status, out, stderr := dossier(t, env, append(args, "--lang", lang)...)
			if status != exitDone || stderr != "" {
				t.Errorf("%s %s: status %d, stderr %q; want 0 and none", name, lang, status, stderr)
			}
			golden(t, filepath.Join("testdata", "golden", name+"."+lang+".txt"), out)
		}
	}
}
