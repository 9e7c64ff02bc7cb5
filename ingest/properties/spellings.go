package properties

import (
	"slices"
	"strings"
)

// Spellings are the property names that fill a field of a payload, or of "line",
// folded as they are compared: in lower case, without '_'. The most trusted is
// the first. Nil: none does, or the payload is not filled from properties.
func Spellings(payload, field string) []string {
	var columns []string
	switch payload {
	case "line":
		columns = lineTable.spellings
	case "ad":
		columns = adTable.spellings
	case "view":
		columns = viewTable.spellings
	case "product":
		columns = productTable.spellings
	case "checkout":
		columns = checkoutTable.spellings
	case "order":
		columns = orderTable.spellings
	case "ticket":
		columns = ticketTable.spellings
	case "rating":
		columns = ratingTable.spellings
	case "referral":
		columns = referralTable.spellings
	case "share":
		columns = shareTable.spellings
	case "interaction":
		columns = interactionTable.spellings
	case "group":
		columns = groupTable.spellings
	case "alias":
		columns = aliasTable.spellings
	case "consent":
		columns = consentTable.spellings
	case "void":
		columns = voidTable.spellings
	}
	folded := strings.ReplaceAll(strings.TrimSuffix(field, "_micros"), "_", "")
	for _, column := range columns {
		names := strings.Fields(column)
		if slices.Contains(names, folded) {
			return names
		}
	}
	return nil
}
