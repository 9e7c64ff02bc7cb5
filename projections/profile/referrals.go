package profile

import (
	"bytes"
	"slices"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// Referrals: whom the customer brought, what came of it, and who brought him.
// All fields are facts; who brought him is not in the digest.
//
// An event of two parties is logged once for each, and here it counts once for
// each by its part. So this section takes the roles of referrer and referee
// too, which no other counter does: a customer who refers himself has the event
// twice, as who tells it and as the other party, and made one referral of it.
// A company has what its people do as referrers.
//
// Who referred a customer is kept as the log knows him, by a hash: he may
// become known, or another customer, later. [Referrers] gives the hashes, and
// who reads a profile resolves them. The earliest few stay, which is enough to
// find one that is known and is not the customer himself.

func foldReferrals(f *statev1.Facts, a *application) error {
	switch kind := a.Header.GetType(); kind {
	case eventsv1.Type_TYPE_CONTENT_SHARED:
		if counted(a.Header) {
			referralsOf(f).Shares++
		}
	case eventsv1.Type_TYPE_REFERRAL_MADE, eventsv1.Type_TYPE_REFERRAL_CONVERTED:
		if refers(a.Event) {
			countReferral(referralsOf(f), kind, a.Body.GetReferral())
		} else if party := a.Header.GetParty(); party != nil && a.Header.GetRole() != logv1.Role_ROLE_COMPANY {
			keepReferrer(referralsOf(f), party, a.stamp)
		}
	}
	return nil
}

func referralsOf(f *statev1.Facts) *statev1.ReferralsFacts {
	if f.Referrals == nil {
		f.Referrals = &statev1.ReferralsFacts{}
	}
	return f.Referrals
}

// refers reports whether the customer who holds this copy of a referral is its
// referrer, or the company of the referrer. Who tells a referral refers, unless
// he names nobody but his referrer.
func refers(ev Event) bool {
	switch ev.Header.GetRole() {
	case logv1.Role_ROLE_REFERRER:
		return true
	case logv1.Role_ROLE_REFEREE:
		return false
	}
	r := ev.Body.GetReferral()
	return r.GetReferee() != nil || r.GetReferrer() == nil
}

func countReferral(r *statev1.ReferralsFacts, kind eventsv1.Type, told *eventsv1.Referral) {
	if kind == eventsv1.Type_TYPE_REFERRAL_MADE {
		r.Made++
		return
	}
	r.Converted++
	if told == nil || told.RevenueMicros == nil {
		return
	}
	code, revenue := cut(told.GetCurrency(), maxCurrencyBytes), wideOf(*told.RevenueMicros)
	if _, found := find(r.Revenue, code, (*statev1.CurrencySum).GetCurrency); found || len(r.Revenue) < maxCurrencies {
		r.Revenue = addMoney(r.Revenue, code, revenue, 1)
		return
	}
	// The least codes stay, as of orders. Amounts only ever come, so a sum that
	// stays is whole.
	r.RevenueApproximate = true
	if code < r.Revenue[maxCurrencies-1].Currency {
		r.Revenue = addMoney(r.Revenue[:maxCurrencies-1], code, revenue, 1)
	}
}

// keepReferrer keeps the earliest telling of each referrer, and of referrers
// the earliest few. One that fell out has others before him, whose tellings
// only become earlier: he would fall out again.
func keepReferrer(r *statev1.ReferralsFacts, party *logv1.HashedIdentifier, stamp *statev1.Stamp) {
	same := func(known *statev1.ReferrerFact) bool { return bytes.Equal(known.Party.GetHash(), party.GetHash()) }
	if i := slices.IndexFunc(r.Referrers, same); i >= 0 {
		if CompareStamps(r.Referrers[i].Stamp, stamp) <= 0 {
			return
		}
		r.Referrers = slices.Delete(r.Referrers, i, i+1)
	}
	i, _ := slices.BinarySearchFunc(r.Referrers, stamp, func(known *statev1.ReferrerFact, s *statev1.Stamp) int { return CompareStamps(known.Stamp, s) })
	told := &statev1.ReferrerFact{Party: &logv1.HashedIdentifier{Type: party.GetType(), Hash: bytes.Clone(party.GetHash())}, Stamp: stamp}
	r.Referrers, _ = insertLeast(r.Referrers, i, told, maxReferrers)
}

// Referrers are the hashes of those who referred the customer, the earliest
// telling first. He may be one of them himself.
func Referrers(f *statev1.Facts) [][]byte {
	var hashes [][]byte
	for _, r := range f.GetReferrals().GetReferrers() {
		hashes = append(hashes, r.GetParty().GetHash())
	}
	return hashes
}

// activeReferrals are the referrals of a customer who did something himself;
// one who was only referred shows nothing of his own.
func activeReferrals(f *statev1.Facts) *statev1.ReferralsFacts {
	if r := f.Referrals; r.GetMade() > 0 || r.GetConverted() > 0 || r.GetShares() > 0 {
		return r
	}
	return nil
}

// encodeReferrals: made, converted, shares; approximate revenue; unless so, list
// of (currency, amounts, sum). A currency is as told, "" if none was.
func encodeReferrals(e *encoder, f *statev1.Facts) {
	r := activeReferrals(f)
	if r == nil {
		return
	}
	e.count(r.Made)
	e.count(r.Converted)
	e.count(r.Shares)
	if e.bool(r.RevenueApproximate); !r.RevenueApproximate {
		e.money(r.Revenue)
	}
}

// renderReferrals leaves out who referred the customer: see [Referrers].
func renderReferrals(f *statev1.Facts, r *rendering) {
	r.into.Referrals = nil
	told := activeReferrals(f)
	if told == nil {
		return
	}
	r.approximate = r.approximate || told.RevenueApproximate
	r.into.Referrals = &queryv1.Referrals{
		Made:              told.Made,
		Converted:         told.Converted,
		Shares:            told.Shares,
		RevenueByCurrency: r.moneys(shownMoney(told.Revenue, r.env.BaseCurrency)),
	}
}
