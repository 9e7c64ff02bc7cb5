package suspects

import (
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/query/searchtext"
)

// titles stand before or behind names and are no part of them.
var titles = []string{"mr", "mrs", "ms", "miss", "dr", "prof", "herr", "frau", "mme", "jr", "sr"}

// hanTitles stand behind names, folded.
var hanTitles = foldAll("先生", "女士", "小姐", "老师", "经理")

// doubleFamilies are the family names of two characters that are common enough
// to be told from one and a given name, folded.
var doubleFamilies = foldAll("欧阳", "司马", "上官", "诸葛", "东方", "皇甫", "尉迟", "公孙", "慕容", "令狐", "宇文", "长孙", "司徒", "夏侯", "司空", "端木", "南宫", "独孤")

func foldAll(texts ...string) []string {
	for i := range texts {
		texts[i] = string(searchtext.AppendName(nil, texts[i]))
	}
	return texts
}

// nameText folds a part of a name. Words of one letter and titles stay out if
// others are left.
func nameText(text string) string {
	words := nameWords(text)
	return strings.Join(words, " ")
}

func nameWords(text string) []string {
	folded := string(searchtext.AppendName(nil, text))
	for _, title := range hanTitles {
		if rest, ok := strings.CutSuffix(folded, title); ok && rest != "" {
			folded = rest
		}
	}
	words := strings.Fields(folded)
	kept := slices.DeleteFunc(slices.Clone(words), func(w string) bool { return slices.Contains(titles, w) })
	if len(kept) == 0 {
		return words
	}
	return kept
}

// splitName takes a whole name apart: 张伟, Ann Mary Lee, Lee, Ann.
func splitName(text string) (given, family string) {
	if before, after, comma := strings.Cut(strings.ReplaceAll(text, "，", ","), ","); comma && strings.TrimSpace(after) != "" {
		return nameText(after), nameText(before)
	}
	words := nameWords(text)
	switch {
	case len(words) == 0:
		return "", ""
	case len(words) > 1:
		last := len(words) - 1
		return strings.Join(words[:last], " "), words[last]
	case !isHan(words[0]):
		return words[0], ""
	}
	n := 1
	if utf8.RuneCountInString(words[0]) > 2 && slices.ContainsFunc(doubleFamilies, func(f string) bool { return strings.HasPrefix(words[0], f) }) {
		n = 2
	}
	for at := range words[0] {
		if n == 0 {
			return words[0][at:], words[0][:at]
		}
		n--
	}
	return "", words[0]
}

// isHan reports whether a text is written in Chinese characters.
func isHan(text string) bool {
	r, _ := utf8.DecodeRuneInString(text)
	return unicode.Is(unicode.Han, r)
}

// legalForms end the names of companies, folded; the longest come first. Those
// that are letters stand as words of their own.
var legalForms = func() []string {
	forms := foldAll(
		"股份有限公司", "有限责任公司", "集团有限公司", "集团股份有限公司", "有限公司", "集团公司", "公司", "集团", "股份公司", "株式会社", "有限会社",
		"gmbh & co kg", "gmbh", "ag", "kg", "ohg", "ug", "e.V.", "eg", "se", "ltd", "limited", "plc", "llp", "llc", "inc", "incorporated", "corp", "corporation",
		"co", "company", "pty ltd", "pty", "pte ltd", "pte", "s.a.", "sa", "s.a.r.l.", "sarl", "sas", "s.r.l.", "srl", "spa", "s.p.a.", "bv", "b.v.", "nv", "n.v.",
		"ab", "oy", "as", "a/s", "aps", "sp z o o", "s r o", "kft", "zrt", "ooo", "ооо", "holding", "holdings", "group",
	)
	slices.SortFunc(forms, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(forms)
}()

// companyCore is a company's name without legal form: of simplified,
// traditional and full-width forms the same.
func companyCore(text string) string {
	folded := strings.TrimPrefix(string(searchtext.AppendName(nil, text)), "the ")
	for {
		rest := cutLegalForm(folded)
		if rest == "" || rest == folded {
			return folded
		}
		folded = rest
	}
}

func cutLegalForm(name string) string {
	if slices.Contains(legalForms, name) {
		return name // there is nothing else to it
	}
	for _, form := range legalForms {
		rest, ok := strings.CutSuffix(name, form)
		if !ok || !isHan(form) && !strings.HasSuffix(rest, " ") {
			continue
		}
		if rest = strings.TrimRight(rest, " &"); rest != "" {
			return rest
		}
	}
	return name
}

// addressWords are the words of streets that are written short as often as not.
var addressWords = map[string]string{
	"street": "st", "avenue": "ave", "av": "ave", "road": "rd", "drive": "dr", "place": "pl", "court": "ct", "crescent": "cres", "cr": "cres",
	"circuit": "cct", "close": "cl", "lane": "ln", "boulevard": "blvd", "highway": "hwy", "terrace": "tce", "square": "sq", "parade": "pde",
	"apartment": "apt", "unit": "apt", "flat": "apt", "suite": "ste", "north": "n", "south": "s", "east": "e", "west": "w",
	"mount": "mt", "saint": "st", "fort": "ft", "strasse": "str", "straße": "str",
}

// addressText folds a line of an address.
func addressText(text string) string {
	words := strings.Fields(string(searchtext.AppendName(nil, text)))
	for i, w := range words {
		if short, ok := addressWords[w]; ok {
			words[i] = short
		}
	}
	return strings.Join(words, " ")
}

// splitStreet takes the number off a street: "12a Main Street".
func splitStreet(text string) (number, street string) {
	street = addressText(text)
	first, rest, more := strings.Cut(street, " ")
	if more && first[0] >= '0' && first[0] <= '9' {
		return first, rest
	}
	if at := strings.LastIndexByte(street, ' '); at > 0 && street[at+1] >= '0' && street[at+1] <= '9' {
		return street[at+1:], street[:at] // Hauptstr. 12
	}
	return "", street
}

// squeeze keeps the letters and digits of a text, folded.
func squeeze(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return r
	}, searchtext.Fold(text))
}

// dateLayouts are how birth dates are written. Where day and month could be
// each other the day comes first; a pair that has them the other way round is
// still found to be alike.
var dateLayouts = []string{
	"2006-1-2", "2006/1/2", "2006.1.2", "2006年1月2日", "2/1/2006", "2-1-2006", "2.1.2006", "1/2/2006", "1-2-2006",
	"2 January 2006", "2 Jan 2006", "January 2, 2006", "Jan 2, 2006",
}

// dateDigits is a date as YYYYMMDD; "" if it is none. Eight digits stay as they
// are: a typing error may have made an impossible date of them.
func dateDigits(text string) string {
	text = strings.TrimSpace(text)
	if at := strings.IndexByte(text, 'T'); at == len("2006-01-02") {
		text = text[:at]
	}
	if digits := onlyDigits(text); len(digits) == len("20060102") && len(text) == len(digits) {
		return digits
	}
	for _, layout := range dateLayouts {
		if at, err := time.Parse(layout, text); err == nil {
			return at.Format("20060102")
		}
	}
	if at := strings.IndexByte(text, ' '); at == len("2006-01-02") {
		return dateDigits(text[:at])
	}
	return ""
}

func onlyDigits(text string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, text)
}

func genderLetter(text string) string {
	switch squeeze(text) {
	case "m", "male", "man", "男", "男性":
		return "m"
	case "f", "female", "woman", "w", "女", "女性":
		return "f"
	}
	return ""
}

// phoneTail is how many last digits of a number tell it: what stands before is
// the country or trunk prefix, which people leave out.
const phoneTail = 8

// minPhone is how many digits a number has at least.
const minPhone = 6

func phoneDigits(text string) string {
	if normal, err := directory.Normalise("phone", text); err == nil {
		text = normal
	}
	digits := strings.TrimLeft(onlyDigits(text), "0")
	if len(digits) < minPhone {
		return ""
	}
	return digits
}

// mailboxes are domains that say nothing of whose an address is.
var mailboxes = map[string]bool{
	"gmail.com": true, "googlemail.com": true, "outlook.com": true, "hotmail.com": true, "live.com": true, "msn.com": true, "yahoo.com": true,
	"icloud.com": true, "me.com": true, "aol.com": true, "proton.me": true, "protonmail.com": true, "gmx.de": true, "gmx.net": true, "web.de": true,
	"mail.ru": true, "yandex.ru": true, "qq.com": true, "foxmail.com": true, "163.com": true, "126.com": true, "yeah.net": true, "sina.com": true,
	"sina.cn": true, "sohu.com": true, "139.com": true, "189.cn": true, "aliyun.com": true, "example.com": true, "example.org": true, "example.net": true,
}

// emailText is an address as its provider reads it: without what stands behind
// a plus, of Gmail without dots.
func emailText(text string) string {
	local, domain, ok := strings.Cut(strings.TrimSpace(searchtext.Fold(text)), "@")
	if !ok || local == "" || domain == "" {
		return ""
	}
	if plain, _, plus := strings.Cut(local, "+"); plus && plain != "" {
		local = plain
	}
	if domain == "googlemail.com" {
		domain = "gmail.com"
	}
	if domain == "gmail.com" {
		local = strings.ReplaceAll(local, ".", "")
	}
	return local + "@" + domain
}

// domainOf is the domain of a web address or of an e-mail address; "" of those
// that many share.
func domainOf(text string) string {
	text = strings.TrimSpace(searchtext.Fold(text))
	if _, after, ok := strings.Cut(text, "://"); ok {
		text = after
	}
	if _, after, ok := strings.Cut(text, "@"); ok {
		text = after
	}
	if at := strings.IndexAny(text, "/?#:"); at >= 0 {
		text = text[:at]
	}
	text = strings.TrimPrefix(text, "www.")
	if !strings.Contains(text, ".") || mailboxes[text] {
		return ""
	}
	return text
}
