package suspects

// Symbols of the package that its tests look into.
var (
	CompanyCore = companyCore
	SplitName   = splitName
	SplitStreet = splitStreet
	DateDigits  = dateDigits
	EmailText   = emailText
	PhoneDigits = phoneDigits
	DomainOf    = domainOf
	Sound       = sound
	Within      = within
)

// Alike tells how two values of a field agree.
func Alike(f Field, a, b string) string {
	return [...]string{absent: "absent", differs: "differs", similar: "similar", equal: "equal"}[alike(f, a, b)]
}

// Repacked is a customer's sheet, packed and unpacked and packed again.
func Repacked(f *Facts) (first, again string) {
	packed := record{packed: packSheet(f.fold(nil))}
	var s sheet
	packed.unpack(&s)
	return packed.packed, packSheet(&s)
}

// ScoreOf is the score of reasons that come to a sum, of so many customers.
func ScoreOf(sum float64, customers int) float64 {
	p := population{size: customers}
	return score(sum + p.odds())
}
