package directory

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
	"golang.org/x/text/width"
)

// Normaliser is the version of the rules in this file. Genesis holds the one
// that a deployment was created with: other rules would give other hashes.
const Normaliser = 1

// MaxValueCharacters bounds an identifier, as sent and normalised.
const MaxValueCharacters = 200

// Errors of [Normalise].
var (
	// ErrType: no such identifier type.
	ErrType = errors.New("identifier type unknown")
	// ErrTooLong: more than MaxValueCharacters.
	ErrTooLong = errors.New("identifier too long")
	// ErrNotUTF8: not text.
	ErrNotUTF8 = errors.New("identifier is not UTF-8")
	// ErrBlocked: the value names nobody: a placeholder that some program sent
	// for "no value", or text that cannot be an e-mail address or a phone
	// number. An event is not refused for it if it has another identifier.
	ErrBlocked = errors.New("identifier names nobody")
)

// Bounds of a phone number in digits: shorter ones are service numbers or
// noise, longer ones are none.
const (
	minPhoneDigits = 5
	maxPhoneDigits = 20
)

// Normalise brings an identifier into the form by which it is compared, shown
// and hashed. Normalising twice changes nothing more.
//
//   - email, <x>_email: compatibility forms folded (NFKC), lower case. Needs an
//     '@' inside and no space.
//   - phone, <x>_phone: an optional '+' and digits. Separators, "tel:" and the
//     trunk "(0)" after a country code are dropped; a leading 00 is '+'. A
//     Chinese mobile number is the eleven digits that people write, with or
//     without its country code: +86 138 0013 8000, 0086138…, 86138… and
//     138… are one number. No other country is assumed for a number without
//     one.
//   - company_domain, company_<x>_domain: compatibility forms folded, lower
//     case; of an address (https://www.acme.com/about, info@acme.com) only the
//     host, without port, www. in front and trailing dot. Needs a '.' inside and
//     no space.
//   - user_id, anonymous_id, device_id, guest, every <system>_id, company_id
//     and every other company_*: full and half width folded, case kept: systems
//     tell Ab from ab.
//
// All are trimmed of white space and of invisible characters at their ends.
//
// A deployment's settings may add types and block more values; see [Types].
func Normalise(typ, value string) (string, error) {
	normal, _, err := (*Types)(nil).normalise(typ, value)
	return normal, err
}

// checked normalises a value of a type of this kind and refuses what is none.
func (k kind) checked(typ, value string) (string, error) {
	if !utf8.ValidString(value) {
		return "", fmt.Errorf("%s %q: %w", typ, value, ErrNotUTF8)
	}
	if n := utf8.RuneCountInString(value); n > MaxValueCharacters {
		return "", fmt.Errorf("%s of %d characters, limit %d: %w", typ, n, MaxValueCharacters, ErrTooLong)
	}
	normal := k.normalise(value)
	if n := utf8.RuneCountInString(normal); n > MaxValueCharacters {
		return "", fmt.Errorf("%s of %d characters when normalised, limit %d: %w", typ, n, MaxValueCharacters, ErrTooLong)
	}
	if blocked(normal) || !k.plausible(normal) {
		return "", fmt.Errorf("%s %q: %w", typ, value, ErrBlocked)
	}
	return normal, nil
}

func (k kind) normalise(value string) string {
	switch k.form {
	case formEmail:
		return settle(value, func(s string) string { return trim(norm.NFKC.String(strings.ToLower(norm.NFKC.String(s)))) })
	case formPhone:
		return phone(settle(value, func(s string) string { return trim(norm.NFKC.String(s)) }))
	case formDomain:
		return settle(value, domain)
	default:
		if ascii(value) {
			return trim(value)
		}
		return settle(value, func(s string) string { return trim(width.Fold.String(s)) })
	}
}

// ascii text has nothing to fold; nearly every system's ids are.
func ascii(s string) bool {
	for _, c := range []byte(s) {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func (k kind) plausible(normal string) bool {
	switch k.form {
	case formEmail:
		at := strings.LastIndexByte(normal, '@')
		return at > 0 && at < len(normal)-1 && !strings.ContainsFunc(normal, unicode.IsSpace)
	case formPhone:
		digits := strings.TrimPrefix(normal, "+")
		if len(digits) < minPhoneDigits || len(digits) > maxPhoneDigits {
			return false
		}
		return strings.Trim(digits, "0123456789") == ""
	case formDomain:
		dot := strings.IndexByte(normal, '.')
		return dot > 0 && dot < len(normal)-1 && !strings.ContainsFunc(normal, unicode.IsSpace)
	default:
		return true
	}
}

// settle repeats f until it changes nothing: folding may leave a character
// that folds again, or a space at an end. It settles after two rounds for all
// that is known; the bound is for what is not.
func settle(s string, f func(string) string) string {
	for range 8 {
		next := f(s)
		if next == s {
			break
		}
		s = next
	}
	return s
}

// trim drops white space and the invisible characters that copying from a web
// page brings along.
func trim(s string) string {
	return strings.TrimFunc(s, func(r rune) bool {
		switch r {
		case '\u200b', '\u200c', '\u200d', '\u200e', '\u200f', '\u2060', '\ufeff', 0:
			return true
		}
		return unicode.IsSpace(r)
	})
}

// domain takes the host out of what people paste for a domain.
func domain(s string) string {
	s = trim(norm.NFKC.String(strings.ToLower(norm.NFKC.String(s))))
	if _, rest, ok := strings.Cut(s, "://"); ok {
		s = rest
	}
	s = strings.TrimPrefix(s, "//")
	if i := strings.IndexAny(s, "/?#"); i >= 0 {
		s = s[:i]
	}
	s = s[strings.LastIndexByte(s, '@')+1:]
	s, _, _ = strings.Cut(s, ":")
	s = trim(strings.TrimRight(s, "."))
	for {
		rest, ok := strings.CutPrefix(s, "www.")
		if !ok || !strings.Contains(rest, ".") { // www.com is a domain
			return s
		}
		s = rest
	}
}

var chineseMobile = regexp.MustCompile(`^(?:\+?86)(1[3-9][0-9]{9})$`)

func phone(s string) string {
	if len(s) >= 4 && strings.EqualFold(s[:4], "tel:") {
		s = s[4:]
	}
	abroad := strings.HasPrefix(s, "+") || strings.HasPrefix(s, "00")
	if abroad {
		s = strings.Replace(s, "(0)", "", 1)
	}
	s = strings.Map(func(r rune) rune {
		switch r {
		case '-', '.', '(', ')', '/', '\u2010', '\u2011', '\u2012', '\u2013', '\u2014', '\u2212':
			return -1
		}
		if unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, s)
	if rest, ok := strings.CutPrefix(s, "00"); ok {
		s = "+" + rest
	}
	if m := chineseMobile.FindStringSubmatch(s); m != nil {
		return m[1]
	}
	return s
}

// blockedValues are what programs send where they have no identifier, in lower
// case; gathered from what Segment and PostHog refuse. One customer holding
// any of them would swallow all others.
var blockedValues = map[string]bool{
	"": true, "null": true, "undefined": true, "none": true, "nil": true, "nan": true, "n/a": true,
	"anonymous": true, "guest": true, "unknown": true, "true": true, "false": true, "-1": true,
	"[object object]": true, "{}": true, "[]": true, "id": true, "email": true,
	"distinct_id": true, "distinctid": true, "not_authenticated": true,
}

// blocked reports whether a normalised value names nobody, also in quotes. All
// zeros, dashes between them or not, is the UUID and the advertising id of
// nobody.
func blocked(value string) bool {
	value = strings.ToLower(strings.Trim(value, "\"'` \t"))
	return blockedValues[value] || strings.Trim(value, "0-") == ""
}
