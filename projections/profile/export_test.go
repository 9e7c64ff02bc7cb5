package profile

import (
	"math/big"

	"google.golang.org/protobuf/types/known/structpb"
)

// The limits that tests try at the bound and one beyond.
const (
	MaxKeys        = maxKeys
	MaxTraits      = maxTraits
	MaxCartEntries = maxCartEntries
	MaxKeyBytes    = maxKeyBytes
	MaxRowIDBytes  = maxRowIDBytes
	MaxFieldBytes  = maxFieldBytes
	MaxFields      = maxFields

	MaxURLBytes         = maxURLBytes
	MaxProductNameBytes = maxProductNameBytes
	MaxCurrencyBytes    = maxCurrencyBytes
	MaxEventIDBytes     = maxEventIDBytes
	MaxTraitBytes       = maxTraitBytes
	MaxIdentifiers      = maxIdentifiers
	MaxIdentifierBytes  = maxIdentifierBytes
	IdentifierOverhead  = identifierOverhead
	MaxCurrencies       = maxCurrencies
	MaxDaySums          = maxDaySums
	MaxTimedDays        = maxTimedDays
	MaxDayTimes         = maxDayTimes
	MaxRefunds          = maxRefunds
	MaxRefundBytes      = maxRefundBytes

	MaxMembershipTellings = maxMembershipTellings
	MaxMembershipsShown   = maxMembershipsShown
	MaxCampaignBytes      = maxCampaignBytes
	MaxLabelBytes         = maxLabelBytes

	MaxReplies   = maxReplies
	MaxReferrers = maxReferrers

	ChunkMicros = chunkSlots * slotMicros
)

// MulMicros, Share and Decimal are the arithmetic of wide integers, told as
// big ones.
func MulMicros(a, b int64) *big.Int { return signed(mulMicros(a, b)) }

func Share(amount int64, value *big.Int, total int64) *big.Int {
	return signed(share(amount, fromBig(value), total))
}

func Decimal(n *big.Int) string { return fromBig(n).decimal() }

func Sub(a, b *big.Int) *big.Int { return signed(fromBig(a).sub(fromBig(b))) }

func Compare(a, b *big.Int) int { return fromBig(a).compare(fromBig(b)) }

func Int64(a *big.Int) (int64, bool) { return fromBig(a).int64() }

func CanonicalJSON(v *structpb.Value) string { return canonicalJSON(v) }

func signed(w wide) *big.Int {
	hi, lo := w.magnitude()
	n := wide{int64(hi), lo}.big()
	if w.isNegative() {
		n.Neg(n)
	}
	return n
}

func fromBig(n *big.Int) wide {
	abs := new(big.Int).Abs(n)
	w := wide{
		hi: int64(new(big.Int).Rsh(abs, 64).Uint64()),
		lo: new(big.Int).And(abs, new(big.Int).SetUint64(1<<64-1)).Uint64(),
	}
	if n.Sign() < 0 {
		return w.negate()
	}
	return w
}

// ChannelOf is the channel of a campaign, AdChannelOf of an advertisement.
func ChannelOf(source, medium string) string {
	t := touch{source: source, medium: medium}
	return t.channel()
}

func AdChannelOf(word, source, medium string) string {
	t := touch{source: source, medium: medium, isAd: true, word: word}
	return t.channel()
}
