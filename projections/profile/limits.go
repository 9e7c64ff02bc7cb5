package profile

// The limits of a customer's facts and rows, each with its unit. A store
// writes a customer in one transaction of about 5 MB, so facts and rows have a
// bound in bytes whatever is sent; a customer beyond it would stop his
// partition for ever. What does not fit is left out such that the rest is a
// function of the set of events still, and flagged: approximate, and out of the
// digest. The events themselves stay whole in the log.
const (
	// MaxFactsBytes bounds the facts of one customer, encoded. The worst that
	// ingest lets through comes to, in KiB:
	//
	//	traits       1,141  500 of 2 KiB and a stamp
	//	identifiers    258  128 of each kind, and where they end
	//	engagement     135  256 pages, the last one, 35 days, one chunk
	//	orders         622  256 products, 4,096 sums of days, 32 days of 64 times
	//	cart           209  256 steps
	//	custom         137  256 names
	//	memberships    227  1,024 tellings
	//	acquisition     70  256 campaigns, first and last touch
	//	interactions    45  256 channels
	//	service         69  256 topics, 256 aspects
	//	referrals        3  9 currencies, 8 referrers
	MaxFactsBytes = 3_072 << 10
	// MaxRowBytes bounds an entity row, encoded: the lines and the id of an
	// order come from events of at most 32 KiB, of which a row's form makes
	// three times as much at most, and its refunds have maxRefundBytes.
	MaxRowBytes = 512 << 10
)

const (
	// maxKeyBytes bounds the names and addresses by which a section counts.
	// What is longer is cut there, and counts with what begins the same.
	maxKeyBytes = 512
	// maxURLBytes bounds the address of the last page, which is only shown.
	maxURLBytes = 2_048
	// maxProductNameBytes bounds what a product is called.
	maxProductNameBytes = 128
	// maxCurrencyBytes bounds a code: ingest takes codes that it does not know
	// as they are. ISO 4217 has three letters.
	maxCurrencyBytes = 12
	// maxEventIDBytes bounds the event id of a stamp. Ingest takes 200
	// characters, which is 800 bytes at worst.
	maxEventIDBytes = 200

	// maxTraits bounds the slots kept of one customer, tombstones included: one of
	// a name for imports, one for what was told by hand. The least stay, each
	// exact.
	maxTraits = 500
	// maxTraitBytes bounds name and value of a trait together; of a longer
	// value a text of its beginning is kept.
	maxTraitBytes = 2_048

	// maxIdentifiers and maxIdentifierBytes bound the identifiers of each kind:
	// those that name somebody, and those that name nobody in particular. They
	// are apart, so that no number of browsers hides an email. The least by
	// (type, value) stay.
	maxIdentifiers     = 1_000
	maxIdentifierBytes = 128 << 10
	// identifierOverhead is what an identifier takes beside type and value at
	// most: tags, a time, a source of 40 bytes.
	identifierOverhead = 64

	// maxKeys bounds the distinct keys counted exactly: pages, products, custom
	// names, campaigns, channels of interactions.
	maxKeys = 256
	// maxCartEntries bounds the steps of a cart. The newest stay.
	maxCartEntries = 256

	// maxCurrencies bounds the currencies of a customer's orders, none told as
	// one of them. The least codes stay: the deployment's own has no privilege,
	// else what is in the digest would depend on it.
	maxCurrencies = 9
	// maxDaySums bounds days × currencies: of a customer who pays in one
	// currency, 4,096 days on which he ordered, 11 years without a day's rest.
	// The newest days stay.
	maxDaySums = 4_096
	// maxTimedDays and maxDayTimes bound the times of single orders kept: of the
	// newest days, each while that many order.placed were told of it.
	maxTimedDays = 32
	maxDayTimes  = 64
	// maxRefunds and maxRefundBytes bound the refunds of one order. The
	// earliest stay.
	maxRefunds     = 100
	maxRefundBytes = 256 << 10

	// maxCampaignBytes bounds source, medium and name of a campaign. What is longer
	// is cut where it is shown and counted by name; which touches are distinct is
	// decided by the whole.
	maxCampaignBytes = 256
	// maxLabelBytes bounds what a publisher's own list names: the topic of a
	// ticket, the aspect of a rating, the channel of an interaction. What is
	// longer is cut there, and counts with what begins the same.
	maxLabelBytes = 128
	// maxReplies bounds the replies kept of a ticket. More than one is kept only
	// of those before the ticket was opened, as far as that is known; then the
	// earliest stay.
	maxReplies = 16
	// maxReferrers bounds those kept who referred a customer. The earliest stay.
	maxReferrers = 8

	// maxMembershipTellings bounds what is kept of where a person belongs: of a
	// week and a company one of joining and one of leaving. Who tells his company
	// every week has 19 years of it. The newest stay.
	maxMembershipTellings = 1_024
	// maxMembershipsShown bounds the memberships of a profile. The newest are
	// shown, and the digest holds all.
	maxMembershipsShown = 100

	// maxRowIDBytes bounds the id of a row; longer ids of orders and tickets are
	// rows under their SHA-256.
	maxRowIDBytes = 255
)

// budget is room in a list, taken from its beginning.
type budget struct{ count, bytes int }

// take reports whether one more element fits. Once one did not, none behind it
// does, be it smaller: only so is what fits a function of the set.
func (b *budget) take(bytes int) bool {
	b.count--
	b.bytes -= bytes
	return b.count >= 0 && b.bytes >= 0
}
