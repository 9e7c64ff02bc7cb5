package suspects

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Field is what a value tells of a customer.
type Field uint8

// The fields that are compared.
const (
	noField Field = iota
	Given
	Family
	FullName // taken apart into Given and Family
	Birth
	Gender
	Number // of the house
	Street
	Line2 // of the address: unit, building, estate
	Suburb
	City
	Postcode
	State
	Address // as a whole
	Phone
	Email
	Declared // a number by which somebody else knows the customer: tax id, passport
	Company  // name of a company
	Domain   // of a company

	fields // how many there are
)

var fieldNames = [fields]string{
	Given: "given_name", Family: "family_name", FullName: "name", Birth: "birth_date", Gender: "gender",
	Number: "street_number", Street: "street", Line2: "address_line_2", Suburb: "suburb", City: "city",
	Postcode: "postcode", State: "state", Address: "address", Phone: "phone", Email: "email",
	Declared: "declared", Company: "company_name", Domain: "domain",
}

// String is the field's name in reasons and settings.
func (f Field) String() string { return fieldNames[f] }

// meaning is what a trait's name says: the field, and of a declared number
// which.
type meaning struct {
	field Field
	kind  string // of Declared
}

// declaredPrefix stands in settings before the kind of a declared number.
const declaredPrefix = "declared:"

// maxKind bounds the kind of a declared number, so that there is room for it.
const maxKind = 40

// synonyms says by which names traits tell a field. Case, spaces and
// punctuation do not count; of a trait that is an object, "address.city" is the
// name of an entry, and so is "city".
var synonyms = map[string][]string{
	"given_name":     {"given", "given_name", "first_name", "forename", "vorname", "prenom", "名", "名字"},
	"family_name":    {"family", "family_name", "last_name", "surname", "nachname", "nom", "姓", "姓氏"},
	"name":           {"name", "full_name", "contact_name", "customer_name", "姓名", "客户姓名", "联系人", "客户名称"},
	"birth_date":     {"birth_date", "birthday", "birthdate", "date_of_birth", "dob", "born", "geburtsdatum", "生日", "出生日期", "出生年月日"},
	"gender":         {"gender", "sex", "geschlecht", "性别"},
	"street_number":  {"street_number", "house_number", "house_no", "street_no", "building_number", "hausnummer", "门牌号"},
	"street":         {"street", "street_name", "address_1", "address_line_1", "street_address", "address.street", "strasse", "straße", "街道", "路"},
	"address_line_2": {"address_2", "address_line_2", "unit", "apartment", "apt", "suite", "building", "address.street_2", "单元", "小区", "楼"},
	"suburb":         {"suburb", "district", "neighbourhood", "neighborhood", "locality", "address.suburb", "address.district", "区", "区县"},
	"city":           {"city", "town", "address.city", "ort", "城市", "市"},
	"postcode":       {"postcode", "postal_code", "zip", "zip_code", "address.postal_code", "address.postcode", "address.zip", "plz", "邮编", "邮政编码"},
	"state":          {"state", "province", "region", "county", "address.state", "address.province", "bundesland", "省", "省份"},
	"address":        {"address", "full_address", "postal_address", "home_address", "地址", "通讯地址", "住址", "注册地址"},
	"phone":          {"phone", "phone_number", "mobile", "mobile_phone", "cell", "cell_phone", "telephone", "tel", "telefon", "手机", "手机号", "电话", "联系电话"},
	"email":          {"email", "e_mail", "email_address", "mail", "邮箱", "电子邮箱", "电子邮件"},
	"company_name":   {"company_name", "organisation", "organization", "legal_name", "公司", "公司名称", "企业名称", "单位名称"},
	"domain":         {"domain", "website", "web_site", "homepage", "url", "网站", "网址", "官网"},

	"declared:social_security": {"ssn", "soc_sec_id", "social_security", "social_security_number", "sin", "nino", "社保号", "社会保障号"},
	"declared:national_id":     {"id_card", "id_card_number", "identity_card", "national_id", "personal_id", "dni", "身份证", "身份证号", "身份证号码"},
	"declared:passport":        {"passport", "passport_number", "passport_no", "护照", "护照号", "护照号码"},
	"declared:driver_licence":  {"driver_licence", "driver_license", "driving_licence", "drivers_license", "driver_licence_number", "驾驶证", "驾驶证号"},
	"declared:tax_id":          {"tax_id", "tax_number", "tax_no", "tin", "vat", "vat_id", "vat_number", "abn", "税号", "纳税人识别号"},
	"declared:registration":    {"registration_number", "company_number", "business_licence", "unified_social_credit_code", "duns", "统一社会信用代码", "营业执照号", "注册号"},
	"declared:insurance":       {"insurance_number", "medicare_number", "health_insurance_number", "医保号"},
}

// Names finds the field of a trait by its name. It is immutable.
type Names struct{ by map[string]meaning }

// NewNames returns the built-in names and others beside them: of a field, by
// its name in reasons, or of "declared:<kind>", which may be new. A name given
// here means that field, whatever it means by default; given for "" it means
// none.
func NewNames(more map[string][]string) (*Names, error) {
	n := &Names{by: map[string]meaning{}}
	for _, table := range []map[string][]string{synonyms, more} {
		given := map[string]string{}
		for of, names := range table {
			m, err := parseMeaning(of)
			if err != nil {
				return nil, err
			}
			for _, name := range names {
				key := squeezeName(name)
				if key == "" {
					return nil, fmt.Errorf("name of a trait for %s: %q has no letter", of, name)
				}
				if before, twice := given[key]; twice && before != of {
					return nil, fmt.Errorf("name of a trait: %q is given for %s and for %s", name, min(before, of), max(before, of))
				}
				given[key] = of
				n.by[key] = m
			}
		}
	}
	return n, nil
}

func parseMeaning(of string) (meaning, error) {
	if of == "" {
		return meaning{}, nil
	}
	if kind, declared := strings.CutPrefix(of, declaredPrefix); declared {
		if kind == "" || strings.ContainsFunc(kind, unicode.IsSpace) || len(kind) > maxKind {
			return meaning{}, fmt.Errorf("field %q: a kind of numbers is a word of at most %d bytes", of, maxKind)
		}
		return meaning{Declared, kind}, nil
	}
	for f := Given; f < fields; f++ {
		if f != Declared && fieldNames[f] == of {
			return meaning{field: f}, nil
		}
	}
	known := slices.DeleteFunc(slices.Clone(fieldNames[Given:]), func(s string) bool { return s == fieldNames[Declared] })
	return meaning{}, fmt.Errorf("field %q: unknown; there are %s and %s<kind>", of, strings.Join(known, ", "), declaredPrefix)
}

// find is what a trait's name means; the field is noField if nothing here.
func (n *Names) find(name string) meaning {
	key := squeezeName(name)
	if m, ok := n.by[key]; ok {
		return m
	}
	if at := strings.LastIndexByte(name, '.'); at >= 0 {
		return n.by[squeezeName(name[at+1:])]
	}
	return meaning{}
}

// squeezeName is a name without what people write in different ways.
func squeezeName(name string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}
