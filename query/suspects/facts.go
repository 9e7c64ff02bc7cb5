package suspects

import (
	"cmp"
	"slices"
	"strings"

	"github.com/dossier360/dossier/events"
)

// Facts are what is compared of one customer.
type Facts struct {
	ID      events.CustomerID
	Company bool
	Name    string // as it is shown
	Values  []Value
}

// Value is one value, as it was told.
type Value struct {
	Field Field
	Kind  string // of Declared: which number; values of different kinds are not compared
	Text  string
}

// The limits of what is compared of one customer.
const (
	// MaxText bounds the bytes of a folded value; what is longer is compared by
	// its beginning.
	MaxText = 96
	// MaxPhones, MaxEmails and MaxDeclared bound what a customer may have several
	// of. The least are compared.
	MaxPhones, MaxEmails, MaxDeclared = 4, 4, 6
)

// sheet is one customer's values folded for comparing. Of a field that has one
// value only the first told counts.
type sheet struct {
	one      [fields]string
	phones   []string
	emails   []string
	declared []string // kind, a space, number
}

// origin tells a value as it was told, by its folded form.
type origin map[folded]string

type folded struct {
	field Field
	text  string
}

// fold makes the sheet of a customer. With an origin it also notes what each
// folded value was told as.
func (f *Facts) fold(from origin) *sheet {
	s := &sheet{}
	for _, v := range f.Values {
		s.add(f.Company, v, from)
	}
	s.phones = least(s.phones, MaxPhones)
	s.emails = least(s.emails, MaxEmails)
	s.declared = least(s.declared, MaxDeclared)
	if f.Company {
		s.domainOfEmail(from)
		return s
	}
	return s
}

// add folds one value.
func (s *sheet) add(company bool, v Value, from origin) {
	switch v.Field {
	case FullName, Company:
		if company {
			s.set(Company, companyCore(v.Text), v.Text, from)
		} else if v.Field == FullName {
			given, family := splitName(v.Text)
			s.set(Given, given, v.Text, from)
			s.set(Family, family, v.Text, from)
		}
	case Given, Family:
		if !company {
			s.replace(v.Field, nameText(v.Text), v.Text, from)
		}
	case Birth:
		s.set(Birth, dateDigits(v.Text), v.Text, from)
	case Gender:
		s.set(Gender, genderLetter(v.Text), v.Text, from)
	case Street:
		number, street := splitStreet(v.Text)
		s.set(Street, street, v.Text, from)
		s.set(Number, number, v.Text, from)
	case Number:
		s.replace(Number, squeeze(v.Text), v.Text, from)
	case Postcode:
		s.set(Postcode, squeeze(v.Text), v.Text, from)
	case Line2, Suburb, City, State, Address:
		s.set(v.Field, addressText(v.Text), v.Text, from)
	case Domain:
		s.set(Domain, domainOf(v.Text), v.Text, from)
	case Phone:
		s.phones = s.several(s.phones, Phone, phoneDigits(v.Text), v.Text, from)
	case Email:
		s.emails = s.several(s.emails, Email, emailText(v.Text), v.Text, from)
	case Declared:
		if number := squeeze(v.Text); len(number) >= minDeclared {
			s.declared = s.several(s.declared, Declared, v.Kind+" "+number, v.Text, from)
		}
	}
}

// minDeclared is how many characters a declared number has at least: shorter
// ones are placeholders.
const minDeclared = 4

// set notes the first value of a field.
func (s *sheet) set(f Field, text, told string, from origin) {
	if s.one[f] == "" {
		s.replace(f, text, told, from)
	}
}

// replace notes a value that is better than one taken out of another.
func (s *sheet) replace(f Field, text, told string, from origin) {
	if text = cut(text); text == "" {
		return
	}
	s.one[f] = text
	if from != nil {
		from[folded{f, text}] = told
	}
}

func (s *sheet) several(list []string, f Field, text, told string, from origin) []string {
	if text = cut(text); text == "" || slices.Contains(list, text) {
		return list
	}
	if from != nil {
		from[folded{f, text}] = told
	}
	return append(list, text)
}

// domainOfEmail takes the domain of a company from its addresses, unless many
// write from there.
func (s *sheet) domainOfEmail(from origin) {
	for _, address := range s.emails {
		_, domain, _ := strings.Cut(address, "@")
		if !mailboxes[domain] {
			s.set(Domain, domain, from[folded{Email, address}], from)
		}
	}
}

func least(list []string, most int) []string {
	slices.Sort(list)
	if len(list) > most {
		list = list[:most]
	}
	return list
}

// cut bounds a folded text, between characters.
func cut(text string) string {
	if len(text) <= MaxText {
		return text
	}
	return strings.ToValidUTF8(text[:MaxText], "")
}

// record is a customer in memory while all are compared: his sheet packed.
//
//	fields   of each value: field, 1 byte; length, 1 byte; folded text
type record struct {
	id     events.CustomerID
	packed string
}

func packSheet(s *sheet) string {
	var b []byte
	put := func(f Field, text string) {
		b = append(append(b, byte(f), byte(len(text))), text...)
	}
	for f, text := range s.one {
		if text != "" {
			put(Field(f), text)
		}
	}
	for _, text := range s.phones {
		put(Phone, text)
	}
	for _, text := range s.emails {
		put(Email, text)
	}
	for _, text := range s.declared {
		put(Declared, text)
	}
	return string(b)
}

// unpack reads a record into a sheet that may have been used before. Its texts
// are parts of the record.
func (r *record) unpack(s *sheet) {
	s.one = [fields]string{}
	s.phones, s.emails, s.declared = s.phones[:0], s.emails[:0], s.declared[:0]
	for p := r.packed; p != ""; {
		f, end := Field(p[0]), 2+int(p[1])
		text := p[2:end]
		switch f {
		case Phone:
			s.phones = append(s.phones, text)
		case Email:
			s.emails = append(s.emails, text)
		case Declared:
			s.declared = append(s.declared, text)
		default:
			s.one[f] = text
		}
		p = p[end:]
	}
}

func byID(a, b record) int { return a.id.Compare(b.id) }

// order is a text by which records of a crowded block stand beside those that
// are like them.
func (s *sheet) order() string {
	family, given := s.one[Family], s.one[Given]
	if given != "" && (family == "" || given < family) {
		family, given = given, family // some tell them the other way round
	}
	return cmp.Or(s.one[Company], family+" "+given) + " " + s.one[Birth] + " " + s.one[Street] + " " + s.one[Number] + " " + s.one[Postcode]
}

// Add notes what a trait or identifier tells, if its name is one of those that
// tell anything here.
func (f *Facts) Add(names *Names, name, text string) {
	if m := names.find(name); m.field != noField && strings.TrimSpace(text) != "" {
		f.Values = append(f.Values, Value{m.field, m.kind, text})
	}
}
