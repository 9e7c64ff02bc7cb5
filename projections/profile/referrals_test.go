package profile_test

import (
	"bytes"
	"fmt"
	"math/big"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/dossier360/dossier/projections/profile"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

const (
	made      = eventsv1.Type_TYPE_REFERRAL_MADE
	converted = eventsv1.Type_TYPE_REFERRAL_CONVERTED
)

var (
	ann = &eventsv1.Identifier{Type: "email", Value: "ann@example.com"}
	bob = &eventsv1.Identifier{Type: "email", Value: "bob@example.com"}
)

// referral is a copy of one, as a role with the other party known by a hash.
func referral(i int, kind eventsv1.Type, role logv1.Role, party string, r *eventsv1.Referral) profile.Event {
	ev := at(i, kind, &eventsv1.Event{Payload: &eventsv1.Event_Referral{Referral: r}})
	ev.Header.Role = role
	if party != "" {
		ev.Header.Party = &logv1.HashedIdentifier{Type: "email", Hash: []byte(party)}
	}
	return ev
}

// What the shared law draws of this section.

func drawReferral(t *rapid.T) *eventsv1.Referral {
	r := &eventsv1.Referral{RevenueMicros: maybe(amounts()).Draw(t, "revenue"), Currency: currencies.Draw(t, "currency")}
	if rapid.Bool().Draw(t, "names a referee") {
		r.Referee = bob
	}
	if rapid.Bool().Draw(t, "names a referrer") {
		r.Referrer = ann
	}
	return r
}

func drawParty(t *rapid.T, h *logv1.Header) {
	if n := rapid.IntRange(0, 3).Draw(t, "party"); n > 0 {
		h.Party = &logv1.HashedIdentifier{Type: "email", Hash: bytes.Repeat([]byte{byte(n)}, 16)}
	}
}

// isReferrer: who tells a referral made it, unless he names only who referred
// him; and so of his company.
func isReferrer(ev profile.Event) bool {
	r := ev.Body.GetReferral()
	onlyReferrer := r.GetReferrer() != nil && r.GetReferee() == nil
	switch ev.Header.Role {
	case logv1.Role_ROLE_SUBJECT, logv1.Role_ROLE_COMPANY:
		return !onlyReferrer
	}
	return ev.Header.Role == logv1.Role_ROLE_REFERRER
}

// referrals takes all events, of every role.
func (m *model) referrals(p *queryv1.Profile, all []profile.Event) {
	r := &queryv1.Referrals{}
	sums := map[string]*big.Int{}
	for _, ev := range all {
		counts := ev.Header.Role == logv1.Role_ROLE_SUBJECT || ev.Header.Role == logv1.Role_ROLE_COMPANY
		switch kind := ev.Header.Type; {
		case kind == eventsv1.Type_TYPE_CONTENT_SHARED && counts:
			r.Shares++
		case kind == made && isReferrer(ev):
			r.Made++
		case kind == converted && isReferrer(ev):
			r.Converted++
			told := ev.Body.GetReferral()
			if told.GetRevenueMicros() == 0 && told.RevenueMicros == nil {
				continue
			}
			code := told.Currency
			if code == "" {
				code = m.base
			}
			if sums[code] == nil {
				sums[code] = new(big.Int)
			}
			sums[code].Add(sums[code], big.NewInt(*told.RevenueMicros))
		}
	}
	if r.Made+r.Converted+r.Shares == 0 {
		return
	}
	r.RevenueByCurrency = m.moneys(sums)
	p.Referrals = r
}

// TestReferrersLaw: whoever referred the customer, by his earliest telling,
// whatever the order.
func TestReferrersLaw(t *testing.T) {
	t.Parallel()
	env := newEnv(t)
	rapid.Check(t, func(t *rapid.T) {
		history := histories([]eventsv1.Type{made, converted, eventsv1.Type_TYPE_CONTENT_SHARED}).Draw(t, "history")
		facts, _ := fold(t, env, rapid.Permutation(history).Draw(t, "order"), func(int) bool { return rapid.Bool().Draw(t, "commit") })
		slices.SortFunc(history, func(a, b profile.Event) int { return profile.CompareStamps(profile.StampOf(a), profile.StampOf(b)) })
		var want [][]byte
		for _, ev := range history {
			h := ev.Header
			referred := h.Role == logv1.Role_ROLE_REFEREE || h.Role == logv1.Role_ROLE_SUBJECT && !isReferrer(ev)
			if h.Type == eventsv1.Type_TYPE_CONTENT_SHARED || h.Withdraws || !referred || h.Party == nil {
				continue
			}
			if !slices.ContainsFunc(want, func(known []byte) bool { return bytes.Equal(known, h.Party.Hash) }) {
				want = append(want, h.Party.Hash)
			}
		}
		if diff := gocmp.Diff(want, profile.Referrers(facts)); diff != "" {
			t.Fatalf("referrers (-want +got):\n%s", diff)
		}
	})
}

// TestReferrerLimit: the earliest referrers stay, and who came in late by his
// first telling may be early by another.
func TestReferrerLimit(t *testing.T) {
	t.Parallel()
	var history []profile.Event
	var want [][]byte
	for i := range 2 * profile.MaxReferrers {
		party := fmt.Sprintf("party %d", i)
		history = append(history, referral(10+i, made, logv1.Role_ROLE_REFEREE, party, &eventsv1.Referral{Referee: bob}))
		want = append(want, []byte(party))
	}
	facts, p := inOrders(t, history)
	if diff := gocmp.Diff(want[:profile.MaxReferrers], profile.Referrers(facts)); diff != "" {
		t.Errorf("referrers (-want +got):\n%s", diff)
	}
	if p.Referrals != nil {
		t.Errorf("a customer who was only referred shows %v", p.Referrals)
	}
	last := want[len(want)-1]
	facts, _ = inOrders(t, append(history, referral(0, converted, logv1.Role_ROLE_REFEREE, string(last), &eventsv1.Referral{Referee: bob})))
	if diff := gocmp.Diff(append([][]byte{last}, want[:profile.MaxReferrers-1]...), profile.Referrers(facts)); diff != "" {
		t.Errorf("referrers after an early telling of the last (-want +got):\n%s", diff)
	}
}

// TestReferrerIsNoFactOfTheDigest: who referred a customer is a customer, and
// other engines know him by another hash.
func TestReferrerIsNoFactOfTheDigest(t *testing.T) {
	t.Parallel()
	history := []profile.Event{pageView(0, "https://shop/a")}
	_, without := inOrders(t, history)
	// Told without an identifier of the customer's own, for those are in the digest.
	facts, with := inOrders(t, append(history, referral(1, made, logv1.Role_ROLE_REFEREE, "ann", &eventsv1.Referral{})))
	if len(profile.Referrers(facts)) != 1 {
		t.Errorf("referrers %q, want 1", profile.Referrers(facts))
	}
	if with.Digest != without.Digest {
		t.Errorf("digest %s, without a referrer %s", with.Digest, without.Digest)
	}
}

// TestSelfReferral: the customer has the event twice and made one referral.
func TestSelfReferral(t *testing.T) {
	t.Parallel()
	r := &eventsv1.Referral{Referee: ann, RevenueMicros: proto.Int64(7)}
	_, p := inOrders(t, []profile.Event{
		referral(0, made, logv1.Role_ROLE_SUBJECT, "ann", r), referral(0, made, logv1.Role_ROLE_REFEREE, "ann", r),
		referral(1, converted, logv1.Role_ROLE_SUBJECT, "ann", r), referral(1, converted, logv1.Role_ROLE_REFEREE, "ann", r),
	})
	if g := p.Referrals; g.Made != 1 || g.Converted != 1 || moneyText(g.RevenueByCurrency) != "CNY 7" {
		t.Errorf("%d made, %d converted, revenue %q; want 1, 1 and CNY 7", g.Made, g.Converted, moneyText(g.RevenueByCurrency))
	}
}

// TestReferralCurrencies: the least codes stay with their whole sums; what was
// told in none is one of them, and is shown in the deployment's.
func TestReferralCurrencies(t *testing.T) {
	t.Parallel()
	conversion := func(i int, code string) profile.Event {
		return referral(i, converted, logv1.Role_ROLE_SUBJECT, "", &eventsv1.Referral{Referee: bob, RevenueMicros: proto.Int64(1), Currency: code})
	}
	var history []profile.Event
	want := "B0 2, B1 2, B2 2, B3 2, B4 2, B5 2, B6 2, B7 2, CNY 1"
	for i := range profile.MaxCurrencies - 1 {
		code := fmt.Sprint("B", i)
		history = append(history, conversion(2*i, code), conversion(2*i+1, code))
	}
	history = append(history, conversion(100, ""))
	_, p := inOrders(t, history)
	if got := moneyText(p.Referrals.RevenueByCurrency); got != want || isApproximate(p) {
		t.Errorf("at the bound: %q, want %q; approximate %t", got, want, isApproximate(p))
	}
	_, p = inOrders(t, append(history, conversion(101, "CNY"), conversion(102, "B"+longText(1, 30))))
	want = "B0 2, B000001𠮷 1, B1 2, B2 2, B3 2, B4 2, B5 2, B6 2, CNY 1"
	if got := moneyText(p.Referrals.RevenueByCurrency); got != want || !isApproximate(p) || p.Referrals.Converted != uint32(len(history)+2) {
		t.Errorf("two beyond: %q, want %q; approximate %t, %d converted", got, want, isApproximate(p), p.Referrals.Converted)
	}
}

// worstReferrals fills the section to its bounds. It begins to count its events
// at n.
func worstReferrals(n int) (list []profile.Event) {
	next := func() int { n++; return n }
	for range 2 * profile.MaxReferrers {
		i := next()
		ev := referral(i, made, logv1.Role_ROLE_REFEREE, fmt.Sprintf("%016d", i), &eventsv1.Referral{Referee: bob})
		ev.Header.Party.Type = longText(0, 40)
		list = append(list, ev)
	}
	for i := range profile.MaxCurrencies + 2 {
		list = append(list, referral(next(), converted, logv1.Role_ROLE_SUBJECT, "", &eventsv1.Referral{RevenueMicros: proto.Int64(-1_000_000_000_000_000_000), Currency: longText(i, 30)}))
	}
	return list
}

// payload of stories: referee=email, referrer=email, revenue=, currency=; and
// of their header role=referrer|referee|company, party=text.
func (b *eventBuilder) referral() {
	named := func(name string) *eventsv1.Identifier {
		if b.set[name] == "" {
			return nil
		}
		return &eventsv1.Identifier{Type: "email", Value: b.set[name]}
	}
	b.body.Payload = &eventsv1.Event_Referral{Referral: &eventsv1.Referral{
		Referee: named("referee"), Referrer: named("referrer"), RevenueMicros: b.micros("revenue"), Currency: b.set["currency"], Medium: b.set["medium"],
	}}
}
