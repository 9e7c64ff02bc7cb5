package query

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/projections/columns"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/query/searchtext"
)

// The limits of a search.
const (
	// MaxFindCharacters bounds the text: an identifier is no longer.
	MaxFindCharacters = 200
	// MaxCandidates bounds the candidates of one answer.
	MaxCandidates = 100
	// DefaultCandidates is how many are shown if the caller names no number.
	DefaultCandidates = 20
	// MinPhoneTail is how many last digits of a phone number find it. Fewer
	// would find every tenth or hundredth customer.
	MinPhoneTail = 4

	// minAbroad is how many digits there are at least behind the 00 of a number
	// abroad: fewer are the end of one that has zeros in it.
	minAbroad = 8
)

// FindProfiles implements queryv1connect.QueryServiceHandler. It goes through
// the rows of all customers; no index has to be kept for it.
func (s *service) FindProfiles(ctx context.Context, req *queryv1.FindProfilesRequest) (*queryv1.FindProfilesResponse, error) {
	limit := int(req.GetPageSize())
	switch {
	case limit == 0:
		limit = DefaultCandidates
	case limit > MaxCandidates:
		return nil, refuse(errInvalid, "pageSize: %d, limit %d", req.GetPageSize(), MaxCandidates)
	}
	wanted, err := parseSearch(req.GetText())
	if err != nil {
		return nil, err
	}
	release, err := s.beginScan(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	sn := s.snapshot()
	defer sn.close()
	fresh, err := s.freshness(sn, s.every()...)
	if err != nil {
		return nil, err
	}
	// Companies first: the text may mean those who work there.
	companies := make([]map[string]employer, len(sn.views))
	err = s.scan(ctx, sn, func(ctx context.Context, p int, _ View, table *columns.Table) (err error) {
		companies[p], err = wanted.companies(ctx, table)
		return err
	})
	if err != nil {
		return nil, err
	}
	wanted.employers = bestOf(companies)
	best := make([]candidates, len(sn.views))
	err = s.scan(ctx, sn, func(ctx context.Context, p int, _ View, table *columns.Table) error {
		best[p].limit = limit
		return wanted.through(ctx, table, &best[p])
	})
	if err != nil {
		return nil, err
	}
	all := candidates{limit: limit}
	for _, of := range best {
		all.merge(of)
	}
	resp := &queryv1.FindProfilesResponse{More: all.met > limit, Freshness: fresh}
	for _, c := range all.list {
		resp.Candidates = append(resp.Candidates, c.show())
	}
	return resp, nil
}

// search is the text of a search in the forms that are compared.
type search struct {
	text  []byte // folded
	name  []byte // folded as a name; empty of a text without letters and digits
	tail  string // the digits of a text that has no more than a phone number has
	phone string // the whole number that they are, normalised; "" if none
	// ended says that the last word of the text is whole: punctuation follows it.
	ended bool
	// ordered says that the text may be a name of two words.
	ordered bool
	// employers are the companies that the text means, by company id.
	employers map[string]employer
}

// employer is a company that the text means.
type employer struct {
	rank rank
	name string
}

func parseSearch(text string) (*search, error) {
	if !utf8.ValidString(text) {
		return nil, refuse(errInvalid, "text: not UTF-8")
	}
	if n := utf8.RuneCountInString(text); n > MaxFindCharacters {
		return nil, refuse(errInvalid, "text: %d characters, limit %d", n, MaxFindCharacters)
	}
	w := &search{text: searchtext.Append(nil, text), name: searchtext.AppendName(nil, text)}
	last, size := utf8.DecodeLastRune(w.text)
	w.ended = last != '\'' && last != '`' && len(searchtext.AppendName(nil, string(w.text[len(w.text)-size:]))) == 0
	w.ordered = bytes.ContainsRune(w.name, ' ') || bytes.ContainsFunc(w.name, func(r rune) bool { return unicode.Is(unicode.Han, r) })
	if len(w.text) == 0 {
		return nil, refuse(errInvalid, "text: empty; a name, a company, an identifier or the last %d digits of a phone number wanted", MinPhoneTail)
	}
	if tail := digitsOf(strings.TrimPrefix(string(w.text), "tel:")); len(tail) >= MinPhoneTail {
		w.tail = tail
		if country, abroad := strings.CutPrefix(tail, "00"); abroad && len(country) >= minAbroad {
			w.tail = country
		}
		// What is no whole number is the end of one.
		w.phone, _ = directory.Normalise("phone", text)
	}
	return w, nil
}

// digitsOf are the digits of a text of digits and what stands between those of a
// phone number; "" of any other.
func digitsOf(text string) string {
	other := false
	digits := strings.Map(func(r rune) rune {
		switch {
		case r >= '0' && r <= '9':
			return r
		case !strings.ContainsRune(" +-.()/", r):
			other = true
		}
		return -1
	}, text)
	if other {
		return ""
	}
	return digits
}

// rank says how well a text fits, the best first.
type rank byte

const (
	fitsExactly rank = iota
	fitsBeginning
	fitsWord   // the beginning of a later word
	fitsWithin // a word
	// fitsCompany and beyond: not himself but the company that he belongs to.
	fitsCompany
	fitsNot rank = 255
)

// fit compares the text with a folded name.
func (w *search) fit(folded []byte) rank {
	if len(w.name) == 0 {
		return fitsNot
	}
	best := fitsNot
	for from := 0; ; {
		at := bytes.Index(folded[from:], w.name)
		if at < 0 {
			return best
		}
		at += from
		end := at + len(w.name)
		from = at + 1
		if w.ended && end < len(folded) && folded[end] != ' ' {
			continue
		}
		switch before, _ := utf8.DecodeLastRune(folded[:at]); {
		case at == 0 && end == len(folded):
			return fitsExactly
		case at == 0:
			return fitsBeginning
		case !unicode.IsLetter(before) && !unicode.IsDigit(before):
			return fitsWord
		}
		best = fitsWithin
	}
}

// looker is one goroutine's search through rows. Its buffer holds what was
// folded last.
type looker struct {
	*search
	buffer []byte
}

func (l *looker) fold(s string) []byte {
	l.buffer = searchtext.Append(l.buffer[:0], s)
	return l.buffer
}

func (l *looker) foldName(s string) []byte {
	l.buffer = searchtext.AppendName(l.buffer[:0], s)
	return l.buffer
}

// identifier compares an identifier, of which people remember the whole or the
// beginning, and of a phone number the end.
func (l *looker) identifier(id *columns.Identifier) rank {
	if !id.IsPhone() {
		return l.beginning(id.Value)
	}
	switch {
	case l.tail == "":
		return fitsNot
	case id.Value == l.phone:
		return fitsExactly
	case strings.HasSuffix(id.Value, l.tail):
		return fitsBeginning
	}
	return fitsNot
}

// beginning compares the whole of a value or its beginning.
func (l *looker) beginning(value string) rank {
	// Nearly every value differs in its first byte; then it need not be folded.
	if value == "" || value[0] < utf8.RuneSelf && lower(value[0]) != l.text[0] && value[0] > ' ' {
		return fitsNot
	}
	folded := l.fold(value)
	switch {
	case !bytes.HasPrefix(folded, l.text):
		return fitsNot
	case len(folded) == len(l.text):
		return fitsExactly
	}
	return fitsBeginning
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// himself finds what of a customer himself the text fits best; of what it fits
// alike, the name.
func (l *looker) himself(row *columns.Row) candidate {
	best := candidate{row: row, rank: l.name(row.Name), matched: "name", value: row.Name}
	if best.rank != fitsNot && slices.ContainsFunc(row.Identifiers, func(id columns.Identifier) bool { return id.Value == row.Name }) {
		best.rank = fitsNot // for want of a name he is called by an identifier
	}
	for i := range row.Identifiers {
		id := &row.Identifiers[i]
		if best.rank == fitsExactly {
			break
		}
		if r := l.identifier(id); r < best.rank {
			best.rank, best.matched, best.value = r, id.Type, id.Value
			if id.IsPhone() {
				best.matched = "phone"
			}
		}
	}
	return best
}

// name compares a name, one of two words in both orders: some put the family
// first.
func (l *looker) name(name string) rank {
	r := l.fit(l.foldName(name))
	if r != fitsNot || !l.ordered {
		return r
	}
	first, second, two := twoWords(name)
	if two && l.fit(l.foldName(second+" "+first)) != fitsNot {
		return fitsWord
	}
	return fitsNot
}

// twoWords cuts a name of two words, with white space or a comma between them.
func twoWords(name string) (first, second string, two bool) {
	name = strings.TrimFunc(name, betweenWords)
	at := strings.IndexFunc(name, betweenWords)
	if at < 0 {
		return "", "", false
	}
	first, second = name[:at], strings.TrimLeftFunc(name[at:], betweenWords)
	return first, second, !strings.ContainsFunc(second, betweenWords)
}

func betweenWords(r rune) bool { return unicode.IsSpace(r) || r == ',' || r == '，' || r == '、' }

// company finds how well the text fits the company that a person belongs to.
func (l *looker) company(row *columns.Row) candidate {
	met := candidate{row: row, rank: fitsNot, matched: "company", value: cmp.Or(row.CompanyName, row.CompanyID)}
	if row.CompanyName != "" {
		met.rank = l.fit(l.foldName(row.CompanyName))
	}
	if row.CompanyID != "" {
		met.rank = min(met.rank, l.beginning(row.CompanyID))
		if of, ok := l.employers[row.CompanyID]; ok {
			met.rank, met.value = min(met.rank, of.rank), of.name
		}
	}
	if met.rank != fitsNot {
		met.rank += fitsCompany
	}
	return met
}

// companies finds the company ids of the companies that the text means.
func (w *search) companies(ctx context.Context, table *columns.Table) (map[string]employer, error) {
	l := looker{search: w}
	found := map[string]employer{}
	n := 0
	for row := range table.All() {
		if n++; n%rowsPerLook == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if !row.Company {
			continue
		}
		met := l.himself(row)
		if met.rank == fitsNot {
			continue
		}
		for _, id := range row.Identifiers {
			if id.Type == events.CompanyID {
				found[id.Value] = employer{met.rank, row.Name}
			}
		}
	}
	return found, nil
}

// bestOf joins what partitions found.
func bestOf(found []map[string]employer) map[string]employer {
	all := map[string]employer{}
	for _, of := range found {
		for id, e := range of {
			if had, twice := all[id]; !twice || e.rank < had.rank || e.rank == had.rank && e.name < had.name {
				all[id] = e
			}
		}
	}
	return all
}

// through gathers the best candidates of a table.
func (w *search) through(ctx context.Context, table *columns.Table, into *candidates) error {
	l := looker{search: w}
	n := 0
	for row := range table.All() {
		if n++; n%rowsPerLook == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		met := l.himself(row)
		if met.rank == fitsNot {
			met = l.company(row)
		}
		if met.rank != fitsNot {
			into.add(met)
		}
	}
	return nil
}

// candidate is a customer whom the text may mean, and why.
type candidate struct {
	row            *columns.Row
	rank           rank
	matched, value string
}

// compare orders candidates, the best first.
func (c candidate) compare(d candidate) int {
	if n := cmp.Compare(c.rank, d.rank); n != 0 {
		return n
	}
	if c.row.Identified != d.row.Identified {
		if c.row.Identified {
			return -1
		}
		return 1
	}
	if n := cmp.Compare(d.row.LastSeenAt, c.row.LastSeenAt); n != 0 {
		return n
	}
	return c.row.ID.Compare(d.row.ID)
}

func (c candidate) show() *queryv1.Candidate {
	shown := &queryv1.Candidate{
		CustomerId: c.row.ID.String(),
		Kind:       "person",
		Stage:      c.row.Stage,
		LastSeenAt: instant(c.row.LastSeenAt),
		Matched:    c.matched,
		Value:      c.value,
	}
	if c.row.Company {
		shown.Kind = "company"
	}
	if c.row.Name != "" {
		shown.Name = &c.row.Name
	}
	return shown
}

// candidates are the best of those met, in order.
type candidates struct {
	limit int
	list  []candidate
	met   int
}

func (all *candidates) add(c candidate) {
	all.met++
	full := len(all.list) == all.limit
	if full && c.compare(all.list[all.limit-1]) >= 0 {
		return
	}
	at, _ := slices.BinarySearchFunc(all.list, c, candidate.compare)
	if full {
		all.list = all.list[:all.limit-1]
	}
	all.list = slices.Insert(all.list, at, c)
}

// merge adds those of another partition.
func (all *candidates) merge(of candidates) {
	dropped := of.met - len(of.list)
	for _, c := range of.list {
		all.add(c)
	}
	all.met += dropped
}
