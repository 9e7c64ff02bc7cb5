package mapping

import "time"

// SetLimit makes a mapper hold less.
func (mp *Mapper) SetLimit(bytes int) { mp.limit = bytes }

// ReadNumber reads a number with a decimal separator.
func ReadNumber(text string, decimal byte) (string, bool) { return numbers{decimal}.read(text) }

// DecimalText writes a double.
func DecimalText(x float64) string {
	text, ok := decimalText(x)
	if !ok {
		return "none"
	}
	return text
}

// ReadTime reads a time in a zone.
func ReadTime(text, zone string, layouts ...string) (time.Time, bool) {
	z, err := time.LoadLocation(zone)
	if err != nil {
		panic(err)
	}
	return times{z, layouts}.read(text)
}
