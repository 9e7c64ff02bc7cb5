package suspects

import (
	"strings"
	"unicode/utf8"
)

// likeness says how two values of a field agree.
type likeness uint8

const (
	absent  likeness = iota // one of the two has none
	differs                 // both have one
	similar                 // but for a slip
	equal
)

// alike compares two values of a field.
func alike(f Field, a, b string) likeness {
	switch {
	case a == "" || b == "":
		return absent
	case a == b:
		return equal
	}
	ok := false
	switch f {
	case Gender:
	case Birth:
		ok = slippedDate(a, b)
	case Number, Postcode:
		ok = len(a) > 1 && len(b) > 1 && within(a, b, 1)
	case Given, Family:
		if isHan(a) != isHan(b) {
			return absent // written in another script nothing can be said
		}
		ok = slipped(a, b) || partOfName(a, b)
	case Company:
		if isHan(a) != isHan(b) {
			return absent
		}
		ok = slipped(a, b) || partOfCompany(a, b)
	case Phone:
		ok = likePhone(a, b)
	case Email:
		ok = likeEmail(a, b)
	case Declared:
		ok = within(a, b, 1)
	case Domain:
		ok = likeDomain(a, b)
	default:
		ok = slipped(a, b)
	}
	switch {
	case !ok:
		return differs
	case f == Phone && samePhone(a, b):
		return equal
	}
	return similar
}

// slipped reports whether one text is the other but for a few slips of the
// keys; the longer, the more. Spaces do not count. Of Chinese characters one in
// a short text makes another name.
func slipped(a, b string) bool {
	a, b = strings.ReplaceAll(a, " ", ""), strings.ReplaceAll(b, " ", "")
	n := min(len(a), len(b))
	if isHan(a) && isHan(b) {
		return utf8.RuneCountInString(a) >= 4 && within(a, b, 1)
	}
	switch {
	case n < 3:
		return a == b
	case n < 8:
		return within(a, b, 1)
	case n < 14:
		return within(a, b, 2)
	}
	return within(a, b, 3)
}

// partOfName reports whether one is the other shortened: an initial, a first of
// several names, one of a double name.
func partOfName(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if isHan(a) {
		return false
	}
	if len(a) == 1 {
		return a[0] == b[0]
	}
	for word := range strings.FieldsSeq(b) {
		if word == a && len(a) > 2 {
			return true
		}
	}
	return false
}

// partOfCompany reports whether one name is the other with something before or
// behind it: a town, a branch.
func partOfCompany(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if isHan(a) {
		return utf8.RuneCountInString(a) >= 4 && strings.Contains(b, a)
	}
	return len(a) >= 5 && (strings.HasPrefix(b, a+" ") || strings.HasSuffix(b, " "+a))
}

// slippedDate reports whether dates of eight digits are each other but for one
// digit, two digits that changed places, or day and month.
func slippedDate(a, b string) bool {
	if len(a) != 8 || len(b) != 8 {
		return false
	}
	return within(a, b, 1) && len(a) == len(b) || a[:4] == b[:4] && a[4:6] == b[6:] && a[6:] == b[4:6]
}

// samePhone reports whether numbers are equal but for a country or trunk prefix.
func samePhone(a, b string) bool {
	n := min(len(a), len(b))
	return n >= phoneTail && a[len(a)-n:] == b[len(b)-n:]
}

func likePhone(a, b string) bool {
	return samePhone(a, b) || min(len(a), len(b)) >= phoneTail && within(a[max(0, len(a)-11):], b[max(0, len(b)-11):], 1)
}

// likeEmail reports whether addresses are of one local part, or one but for a
// slip.
func likeEmail(a, b string) bool {
	local, _, _ := strings.Cut(a, "@")
	other, _, _ := strings.Cut(b, "@")
	if local == other {
		return len(local) >= 5 && !roles[local]
	}
	return min(len(local), len(other)) >= 5 && within(a, b, 1)
}

// roles are local parts that say what somebody does, not who he is.
var roles = map[string]bool{
	"admin": true, "office": true, "sales": true, "service": true, "support": true, "contact": true, "hello": true, "billing": true, "accounts": true,
	"invoice": true, "invoices": true, "marketing": true, "purchasing": true, "postmaster": true, "webmaster": true, "reception": true, "kontakt": true,
}

func likeDomain(a, b string) bool {
	name, _, _ := strings.Cut(a, ".")
	other, _, _ := strings.Cut(b, ".")
	return name == other && len(name) >= 4
}

// within reports whether a becomes b by at most n insertions, deletions,
// substitutions and exchanges of neighbours.
func within(a, b string, n int) bool {
	for a != "" && b != "" {
		r, size := utf8.DecodeRuneInString(a)
		if q, width := utf8.DecodeRuneInString(b); r != q || size != width {
			break
		}
		a, b = a[size:], b[size:]
	}
	for a != "" && b != "" {
		r, size := utf8.DecodeLastRuneInString(a)
		if q, width := utf8.DecodeLastRuneInString(b); r != q || size != width {
			break
		}
		a, b = a[:len(a)-size], b[:len(b)-size]
	}
	if len(a) == 0 || len(b) == 0 {
		return utf8.RuneCountInString(a)+utf8.RuneCountInString(b) <= n
	}
	// What is left differs at both ends. Most pairs end here.
	if n == 0 || len(a) > MaxText || len(b) > MaxText {
		return false
	}
	var bufferA, bufferB [MaxText]rune
	return distance(runes(bufferA[:0], a), runes(bufferB[:0], b), n) <= n
}

func runes(into []rune, s string) []rune {
	for _, r := range s {
		into = append(into, r)
	}
	return into
}

// distance is the number of steps between a and b, or more than most.
func distance(a, b []rune, most int) int {
	if len(a)-len(b) > most || len(b)-len(a) > most {
		return most + 1
	}
	// Rows of the table of prefixes: this one, the last, the one before.
	var rows [3][MaxText + 1]int
	two, one, now := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		one[j] = j
	}
	for i := 1; i <= len(a); i++ {
		now[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			step := 1
			if a[i-1] == b[j-1] {
				step = 0
			}
			d := min(one[j-1]+step, one[j]+1, now[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, two[j-2]+1)
			}
			now[j] = d
			least = min(least, d)
		}
		if least > most {
			return most + 1
		}
		two, one, now = one, now, two
	}
	return one[len(b)]
}
