package mapping

import (
	"errors"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/importer/table"
	"github.com/dossier360/dossier/ingest/properties"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

var (
	tableKeys   = []string{"format", "encoding", "delimiter", "header", "columns", "skip", "ignore", "short", "sheet", "inside"}
	mappingKeys = append(slices.Clone(tableKeys), "zone", "dates", "decimal", "null", "source", "id", "fill", "lookups", "rows")
	lookupKeys  = append([]string{"file", "key"}, tableKeys...)
	ruleKeys    = []string{
		"when", "skip", "event", "customer", "company", "custom", "also", "group", "adjacent", "at", "fields", "lines", "context", "id",
		"manual", "reason", "actor", "unset", "release", "corrects",
	}
)

// parser reads a mapping. It goes on after a mistake, to find all.
type parser struct {
	*document
	m *Mapping
	// keeps is where the columns are noted that the event of a rule is made of.
	keeps *columnSet
}

// Parse reads a mapping file. The name is for messages. An error is of type
// [Errors], and tells every mistake that can be found without the files.
func Parse(name string, text []byte) (*Mapping, error) {
	p := &parser{
		document: &document{name: name},
		m:        &Mapping{Name: name, Source: DefaultSource, nulls: []string{""}, numbers: numbers{'.'}, times: times{zone: time.UTC}, needs: map[string]*columnSet{}},
	}
	root := p.open(text)
	if root != nil && p.isMapping(root, mappingKeys...) {
		p.mapping(root)
	}
	if err := p.errs.sorted(); err != nil {
		return nil, err
	}
	return p.m, nil
}

func (p *parser) mapping(root *node) {
	p.m.Table = p.table(root, table.Options{}, root)
	p.values(root)
	p.lookups(root.get("lookups"))
	p.m.id = p.idColumns(root.get("id"))
	p.m.fill = p.list(root.get("fill"), "the name of a column")
	if p.m.fill != nil && p.m.Table.Format == "ndjson" && len(p.m.Table.Columns) == 0 {
		p.fail(root.get("fill").place, "is of rows with columns; in ndjson name them by columns: [...]")
	}
	rows := root.get("rows")
	switch {
	case rows == nil:
		p.fail(place{line: root.line}, "rows is missing; it says what event each row is")
		return
	case rows.kind != kindList || len(rows.items) == 0:
		p.fail(rows.place, "is %s; a list of rules is wanted, each beginning with -", rows.shown())
		return
	}
	for i, item := range rows.items {
		p.m.rules = append(p.m.rules, p.rule(i, item))
	}
}

// table reads the settings of a file; what is not set is as in defaults.
func (p *parser) table(n *node, o table.Options, at *node) table.Options {
	before := len(p.errs)
	set := func(key string, to *string, want string) {
		if v := n.get(key); v != nil {
			*to, _ = p.word(v, want)
		}
	}
	set("format", &o.Format, "csv, tsv, fixed, ndjson or xlsx")
	set("encoding", &o.Encoding, "the name of an encoding")
	set("sheet", &o.Sheet, "the name of a sheet")
	set("inside", &o.Inside, "the name of a file in the archive")
	if v := n.get("delimiter"); v != nil {
		text, ok := p.word(v, "one character")
		if text == `\t` {
			text = "\t"
		}
		if ok && utf8.RuneCountInString(text) != 1 {
			p.fail(v.place, "is %q; one character is wanted", cut(text))
		}
		o.Delimiter, _ = utf8.DecodeRuneInString(text)
	}
	if v := n.get("skip"); v != nil {
		count, err := strconv.Atoi(v.value)
		if v.kind != kindNumber || err != nil {
			p.fail(v.place, "is %s; a number of lines is wanted", v.shown())
		}
		o.Skip = count
	}
	for _, pattern := range p.list(n.get("ignore"), "a regular expression as \"^#\"") {
		o.Ignore = append(o.Ignore, pattern.text)
	}
	if v := n.get("short"); v != nil {
		o.Short = p.yes(v)
	}
	if v := n.get("columns"); v != nil {
		o.Columns, o.Header = p.columns(v), false
	}
	if v := n.get("header"); v != nil {
		o.Header = p.yes(v)
		if o.Header && n.get("columns") == nil {
			o.Columns = nil
		}
	}
	if wrong := (*table.OptionError)(nil); before == len(p.errs) && errors.As(o.Check(), &wrong) {
		where := place{line: at.line, key: joinKey(n.key, wrong.Key)}
		for _, m := range n.members {
			if m.name == wrong.Key || strings.HasPrefix(wrong.Key, m.name+"[") {
				where.line = m.value.line
			}
		}
		p.fail(where, "%s", wrong.Message)
	}
	return o
}

func joinKey(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// columns reads the names of columns, or their names and widths.
func (p *parser) columns(n *node) []table.Column {
	const want = "a list of names is wanted, or of {name: width}"
	if n.kind != kindList {
		p.fail(n.place, "is %s; %s", n.shown(), want)
		return nil
	}
	var all []table.Column
	for _, item := range n.items {
		switch {
		case item.kind == kindMapping && len(item.members) == 1:
			m := item.members[0]
			width, err := strconv.Atoi(m.value.value)
			if m.value.kind != kindNumber || err != nil || width < 1 {
				p.fail(m.value.place, "is %s; a width in characters is wanted", m.value.shown())
			}
			all = append(all, table.Column{Name: m.name, Width: width})
		case item.kind == kindText || item.kind == kindNumber:
			all = append(all, table.Column{Name: item.value})
		default:
			p.fail(item.place, "is %s; %s", item.shown(), want)
		}
	}
	return all
}

// values reads how cells are read, and whose they are.
func (p *parser) values(root *node) {
	if n := root.get("zone"); n != nil {
		if text, ok := p.word(n, "the name of a zone"); ok {
			zone, err := zoneOf(text)
			if err != nil || text == "" || text == "Local" {
				p.fail(n.place, "unknown zone %q%s; zones have names as Europe/London, Asia/Shanghai, UTC", cut(text), nearZone(text))
			} else {
				p.m.times.zone = zone
			}
		}
	}
	for _, layout := range p.list(root.get("dates"), "a layout as \"02/01/2006 15:04\"") {
		if wrong := checkLayout(layout.text); wrong != "" {
			p.fail(layout.place, "%s", wrong)
		}
		p.m.times.layouts = append(p.m.times.layouts, layout.text)
	}
	if n := root.get("decimal"); n != nil {
		if text, ok := p.word(n, `"." or ","`); ok && text != "." && text != "," {
			p.fail(n.place, "is %q; \".\" or \",\" is wanted", cut(text))
		} else if ok {
			p.m.numbers.decimal = text[0]
		}
	}
	if n := root.get("null"); n != nil {
		p.m.nulls = nil
		if n.kind != kindList || len(n.items) > 0 {
			for _, cell := range p.list(n, "the text of a cell that says nothing, in quotes,") {
				p.m.nulls = append(p.m.nulls, strings.TrimSpace(cell.text))
			}
		}
	}
	if n := root.get("source"); n != nil {
		if text, ok := p.word(n, "a name"); ok && !ingest.ValidSource(text) {
			p.fail(n.place, "is %q; [a-z0-9_-]{1,40} is wanted", cut(text))
		} else {
			p.m.Source = text
		}
	}
}

// zones are some that are often written in another way.
var zones = map[string]string{
	"london": "Europe/London", "berlin": "Europe/Berlin", "paris": "Europe/Paris", "shanghai": "Asia/Shanghai", "beijing": "Asia/Shanghai",
	"asiabeijing": "Asia/Shanghai", "china": "Asia/Shanghai", "prc": "Asia/Shanghai", "hongkong": "Asia/Hong_Kong", "tokyo": "Asia/Tokyo", "newyork": "America/New_York",
	"bst": "Europe/London", "cet": "Europe/Berlin", "cest": "Europe/Berlin", "pst": "America/Los_Angeles", "ist": "Asia/Kolkata", "utc": "UTC", "z": "UTC",
	"utc+8": "Asia/Shanghai", "gmt+8": "Asia/Shanghai", "+08:00": "Asia/Shanghai", "europelondon": "Europe/London", "asiashanghai": "Asia/Shanghai",
}

func nearZone(text string) string {
	if zone := zones[strings.NewReplacer("_", "", " ", "", "/", "").Replace(strings.ToLower(text))]; zone != "" {
		return "; " + zone + " is near"
	}
	known := slices.Sorted(maps.Values(zones))
	if best := nearest(text, known, 3); best != "" {
		return "; " + best + " is near"
	}
	return ""
}

var lookupName = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]{0,39}$`)

func (p *parser) lookups(n *node) {
	if n == nil {
		return
	}
	if n.kind != kindMapping {
		p.fail(n.place, "is %s; a mapping of names to files is wanted, as orders: {file: orders.csv, key: order_no}", n.shown())
		return
	}
	// Of the main file's settings those that files of one origin share.
	defaults := table.Options{Format: p.m.Table.Format, Encoding: p.m.Table.Encoding, Header: p.m.Table.Header, Delimiter: p.m.Table.Delimiter}
	for _, m := range n.members {
		if !lookupName.MatchString(m.name) {
			p.fail(m.key, "is no name for a lookup; letters, digits and _ are wanted, 40 at most, a letter first")
		}
		if !p.isMapping(m.value, lookupKeys...) {
			continue
		}
		l := Lookup{Name: m.name, path: m.key}
		own := defaults
		if f := m.value.get("format"); f != nil && f.value != own.Format {
			own = table.Options{Header: own.Header && f.value != "ndjson" && f.value != "fixed"}
		}
		l.Table = p.table(m.value, own, m.value)
		if f := m.value.get("file"); f == nil {
			p.fail(m.key, "file is missing")
		} else {
			l.File, _ = p.word(f, "the name of a file")
		}
		l.key = p.list(m.value.get("key"), "the name of a column")
		if m.value.get("key") == nil {
			p.fail(m.key, "key is missing; it names the column, or the list of columns, by which rows are found")
		}
		for _, k := range l.key {
			l.Key = append(l.Key, k.text)
		}
		p.m.Lookups = append(p.m.Lookups, l)
		p.m.needs[l.Name] = &columnSet{}
	}
}

func (m *Mapping) lookup(name string) *Lookup {
	for i := range m.Lookups {
		if m.Lookups[i].Name == name {
			return &m.Lookups[i]
		}
	}
	return nil
}

func (p *parser) idColumns(n *node) *idColumns {
	if n == nil {
		return nil
	}
	return &idColumns{p.list(n, "the name of a column")}
}

func (p *parser) rule(i int, n *node) *rule {
	r := &rule{path: n.place, index: i, keeps: &columnSet{}}
	if !p.isMapping(n, ruleKeys...) {
		return r
	}
	r.group = p.list(n.get("group"), "the name of a column")
	r.adjacent = p.yes(n.get("adjacent"))
	r.skip, r.also = p.yes(n.get("skip")), p.yes(n.get("also"))
	if w := n.get("when"); w != nil {
		r.when = p.expression(w, scope{})
	}
	if r.adjacent && r.group == nil {
		p.fail(n.get("adjacent").place, "is of a rule with group; this one has none")
	}
	if r.skip {
		p.skips(n)
		return r
	}
	p.keeps = r.keeps
	r.event = p.eventName(n)
	r.id = p.idColumns(n.get("id"))
	p.parts(r, n)
	p.traitOptions(r, n)
	p.keeps = nil
	return r
}

// skips checks a rule that leaves rows out: it makes nothing.
func (p *parser) skips(n *node) {
	for _, m := range n.members {
		if m.name != "when" && m.name != "skip" {
			p.fail(m.key, "stands beside skip: true, which leaves the rows out; only when may")
		}
	}
}

var canonicalNames = func() []string {
	var all []string
	for t := range eventsv1.Type_name {
		if name := events.TypeName(eventsv1.Type(t)); name != "" {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}()

func (p *parser) eventName(n *node) eventName {
	e := n.get("event")
	if e == nil {
		p.fail(n.place, "event is missing; it names the event that such a row is, as order.placed; skip: true leaves rows out")
		return eventName{}
	}
	if e.kind == kindMapping {
		if !p.isMapping(e, "name") {
			return eventName{}
		}
		if e.get("name") == nil {
			p.fail(e.place, "name is missing: the expression that names the event of each row")
			return eventName{}
		}
		return eventName{from: p.expression(e.get("name"), p.scopeOf(n))}
	}
	text, ok := p.word(e, "the name of an event")
	if !ok {
		return eventName{}
	}
	if refused := properties.CheckID("event", text); refused != nil || text == "" {
		p.fail(e.place, "is %q; a name of 1 to 200 characters is wanted", cut(text))
		return eventName{}
	}
	if t := events.TypeByName(text); t != eventsv1.Type_TYPE_CUSTOM {
		return eventName{name: events.TypeName(t)}
	}
	if near := nearest(text, canonicalNames, 2); near != "" && !p.yes(n.get("custom")) {
		p.fail(e.place, "%q is no known event: did you mean %s? If it is an event of your own, write custom: true beside it", text, near)
	}
	return eventName{name: text}
}

// scopeOf says which variables the expressions of a rule have.
func (p *parser) scopeOf(n *node) scope { return scope{rows: n.get("group") != nil} }

// parts reads who, when and what.
func (p *parser) parts(r *rule, n *node) {
	s := p.scopeOf(n)
	if at := n.get("at"); at != nil {
		r.at = p.expression(at, s)
	}
	if c := n.get("corrects"); c != nil {
		r.corrects = p.expression(c, s)
	}
	p.parties(r, n.get("customer"), s, false)
	p.parties(r, n.get("company"), s, true)
	if n.get("customer") == nil && n.get("company") == nil {
		p.fail(n.place, "customer is missing: whom the event is of, as customer: {user_id: col.CustomerID}; or company")
	}
	if f := n.get("fields"); f != nil {
		r.fields = p.tree(f, s)
		if r.fields.list {
			p.fail(f.place, "is a list; a mapping of names to expressions is wanted")
		}
		p.fieldNames(r, n, f, properties.Payload(events.TypeByName(r.event.name)))
	}
	if l := n.get("lines"); l != nil {
		p.lines(r, n, l, s)
	}
	if c := n.get("context"); c != nil {
		p.context(r, c, s)
	}
	for _, g := range r.group {
		r.keeps.add(g.text)
	}
	if r.group != nil {
		id := r.id
		if id == nil {
			id = p.m.id
		}
		if r.id != nil {
			for _, c := range id.columns {
				r.keeps.add(c.text)
			}
		}
	} else if r.id == nil && p.m.id == nil {
		p.m.hashed = true
	}
}

// fieldNames refuses names that look like a field written wrongly: the value would be
// kept as a property of that name, and the order have no total.
func (p *parser) fieldNames(r *rule, rule, n *node, payload string) {
	if events.TypeByName(r.event.name) == eventsv1.Type_TYPE_CUSTOM || p.yes(rule.get("custom")) {
		return
	}
	known := fieldsOf(payload)
	for _, m := range n.members {
		const shortest = 4 // of fewer letters too many are near
		if utf8.RuneCountInString(m.name) < shortest || slices.ContainsFunc(known, func(k string) bool { return foldName(k) == foldName(m.name) }) {
			continue
		}
		if best := nearest(m.name, known, 1); best != "" {
			p.fail(m.key, "is no field of %s; did you mean %s? If the property is called so, write custom: true beside event", r.event.name, best)
		}
	}
}

// fieldsOf are the names of a payload's fields as a mapping writes them; nil where
// any name is one.
func fieldsOf(payload string) []string {
	var message protoreflect.MessageDescriptor
	event := (&eventsv1.Event{}).ProtoReflect().Descriptor()
	switch field := event.Fields().ByName(protoreflect.Name(payload)); {
	case payload == "line":
		message = (&eventsv1.Line{}).ProtoReflect().Descriptor()
	case payload == "traits" || payload == "group" || field == nil:
		return nil
	default:
		message = field.Message()
	}
	var names []string
	for i := range message.Fields().Len() {
		field := string(message.Fields().Get(i).Name())
		names = append(names, strings.TrimSuffix(field, "_micros"))
		names = append(names, properties.Spellings(payload, field)...)
	}
	switch payload {
	case "product":
		names = append(names, fieldsOf("line")...)
	case "line":
		names = append(names, "each", "when")
	}
	return names
}

var customerTypes = []string{"user_id", "email", "phone", "anonymous_id", "device_id", "guest"}

func (p *parser) parties(r *rule, n *node, s scope, company bool) {
	if n == nil {
		return
	}
	if n.kind != kindMapping || len(n.members) == 0 {
		p.fail(n.place, "is %s; a mapping of identifier types to expressions is wanted, as {user_id: col.CustomerID}", n.shown())
		return
	}
	for _, m := range n.members {
		typ := m.name
		if company && typ == "group_id" {
			typ = events.CompanyID
		}
		switch {
		case !properties.ValidIdentifierType(typ):
			p.fail(m.key, "%q is no identifier type; [a-z0-9_]{1,40} is wanted", m.name)
		case company && !events.NamesCompany(typ):
			p.fail(m.key, "%s names no company; company_id does, and every type that begins with company_", typ)
		case !company && (events.NamesCompany(typ) || typ == "group_id"):
			p.fail(m.key, "%s names a company; write it under company", typ)
		case !company && !slices.Contains(customerTypes, typ) && (!strings.HasSuffix(typ, "_id") || nearest(typ, customerTypes, 1) != ""):
			p.fail(m.key, "unknown identifier type%s; or <system>_id, as crm_id", near(typ, customerTypes))
		}
		r.parties = append(r.parties, party{m.key, typ, p.expression(m.value, s)})
	}
}

func (p *parser) tree(n *node, s scope) *tree {
	t := &tree{path: n.place}
	switch n.kind {
	case kindMapping:
		t.members = []member{}
		for _, m := range n.members {
			t.members = append(t.members, member{m.name, p.tree(m.value, s)})
		}
	case kindList:
		t.list = true
		for _, item := range n.items {
			t.items = append(t.items, p.tree(item, s))
		}
	default:
		t.leaf = p.expression(n, s)
	}
	return t
}

func (p *parser) lines(r *rule, rule, n *node, s scope) {
	if n.kind != kindMapping || len(n.members) == 0 {
		p.fail(n.place, "is %s; a mapping of names to expressions is wanted, as {product_id: col.sku, quantity: num(col.qty), price: num(col.price)}", n.shown())
		return
	}
	if t := events.TypeByName(r.event.name); r.event.name != "" && t != eventsv1.Type_TYPE_CUSTOM {
		if payload := properties.Payload(t); payload != "order" && payload != "checkout" {
			p.fail(n.place, "%s has no lines; orders, checkouts and events of your own have", r.event.name)
		}
	}
	if f := r.fields; f != nil {
		for _, m := range f.members {
			if foldName(m.name) == "products" {
				p.fail(n.place, "lines become products, and fields has %s; leave one out", m.name)
			}
		}
	}
	r.lines = &lines{line: &tree{path: n.place, members: []member{}}}
	if e := n.get("each"); e != nil {
		r.lines.each = p.expression(e, s)
		s.item = r.lines.each.result()
		s.hasItem = true
	}
	p.fieldNames(r, rule, n, "line")
	for _, m := range n.members {
		switch m.name {
		case "each":
		case "when":
			r.lines.when = p.expression(m.value, s)
		default:
			r.lines.line.members = append(r.lines.line.members, member{m.name, p.tree(m.value, s)})
		}
	}
}

var (
	contextKeys  = []string{"page_url", "referrer_url", "ip", "user_agent", "locale", "timezone", "campaign"}
	campaignKeys = []string{"source", "medium", "name", "term", "content"}
)

// context reads where the event happened. What it does not know is kept, unless
// it looks like a mistake.
func (p *parser) context(r *rule, n *node, s scope) {
	if n.kind != kindMapping {
		p.fail(n.place, "is %s; a mapping is wanted, with any of %s", n.shown(), strings.Join(contextKeys, ", "))
		return
	}
	for _, m := range n.members {
		if slices.Contains(contextKeys, m.name) {
			continue
		}
		if best := nearest(m.name, contextKeys, 2); best != "" {
			p.fail(m.key, "unknown key; %s is near", best)
		}
	}
	if c := n.get("campaign"); c != nil {
		p.isMapping(c, campaignKeys...)
	}
	r.context = p.tree(n, s)
}

// traitOptions reads what only traits.set has.
func (p *parser) traitOptions(r *rule, n *node) {
	for _, key := range []string{"manual", "reason", "actor", "unset", "release"} {
		v := n.get(key)
		if v == nil {
			continue
		}
		if r.event.name != events.TypeName(eventsv1.Type_TYPE_TRAITS_SET) {
			hint := ""
			if key == "reason" {
				hint = "; the reason of another event stands under fields"
			}
			p.fail(v.place, "is of traits.set only%s", hint)
			continue
		}
		if key == "manual" {
			r.manual = p.yes(v)
			continue
		}
		*map[string]**expression{"reason": &r.reason, "actor": &r.actor, "unset": &r.unset, "release": &r.release}[key] = p.expression(v, p.scopeOf(n))
	}
	if r.release != nil && !r.manual {
		p.fail(n.get("release").place, "wants manual: true beside it: it withdraws facts told by hand")
	}
}
