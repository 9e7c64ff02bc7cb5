package mapping

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/jsontree"
	"github.com/dossier360/dossier/ingest/properties"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

// event makes the event of rows, all but its id.
func (v *evaluator) event(r *rule, name string, rows []*record) (Made, *failure) {
	list := make([]ref.Val, len(rows))
	lines := make([]int, len(rows))
	for i, row := range rows {
		list[i], lines[i] = row, row.line
	}
	if r.group != nil {
		v.rows = types.NewRefValList(types.DefaultTypeAdapter, list)
	}
	v.row = rows[0]
	ev := &eventsv1.Event{Type: name}
	made := Made{Type: name, Event: ev, Lines: lines, Rule: r.index}
	for _, step := range [...]func(*rule, []*record, *eventsv1.Event) *failure{v.setTime, v.setParties, v.setFields, v.setContext, v.setTraits, v.setCorrects} {
		if wrong := step(r, rows, ev); wrong != nil {
			return Made{}, wrong
		}
		v.row = rows[0]
	}
	return made, nil
}

// setTime is the earliest time of the rows.
func (v *evaluator) setTime(r *rule, rows []*record, ev *eventsv1.Event) *failure {
	if r.at == nil {
		return nil
	}
	var earliest time.Time
	for _, row := range rows {
		v.row = row
		at, wrong := v.timeOf(r.at)
		if wrong != nil {
			return wrong
		}
		if earliest.IsZero() || !at.IsZero() && at.Before(earliest) {
			earliest = at
		}
	}
	if earliest.IsZero() {
		return &failure{line: rows[0].line, column: r.at.bare, reason: r.at.key + " is null: there is no time; leave at out where the time of import will do" + v.missed()}
	}
	ev.Time = timestamppb.New(earliest)
	return nil
}

// timeOf is a time, the zero time of null.
func (v *evaluator) timeOf(e *expression) (time.Time, *failure) {
	value, wrong := v.valueOf(e)
	if wrong != nil {
		return time.Time{}, wrong
	}
	if isNull(value) {
		return time.Time{}, nil
	}
	at := v.date([]ref.Val{value})
	stamp, ok := at.(types.Timestamp)
	if !ok {
		return time.Time{}, v.blamed(e, value, at)
	}
	if stamp.Before(ingest.EarliestTime) || stamp.Year() > 9999 {
		return time.Time{}, v.blamed(e, value, fail("is %s: times from %d to 9999 are taken", stamp.UTC().Format(time.RFC3339), ingest.EarliestTime.Year()))
	}
	return stamp.Time, nil
}

// blamed is a failure of a value, of the column that it came from if it is one's.
func (v *evaluator) blamed(e *expression, value, wrong ref.Val) *failure {
	reason := wrong.(*types.Err).Unwrap()
	text := fmt.Sprint(reason)
	if f, ok := reason.(*failure); ok {
		text = f.reason
	}
	if e.bare != "" {
		return &failure{line: v.row.line, column: e.bare, value: textOf(value), reason: text}
	}
	return &failure{line: v.row.line, reason: e.key + " is " + described(value) + ": " + text}
}

// valueOf is the value of an expression, also of a constant.
func (v *evaluator) valueOf(e *expression) (ref.Val, *failure) {
	switch {
	case e.constant == "true" || e.constant == "false":
		return types.Bool(e.constant == "true"), nil
	case e.constant != "":
		return types.String(e.constant), nil
	case e.bare != "" && !e.number:
		return v.row.value(e.bare), nil
	}
	return v.eval(e)
}

// textValue is a single value as text, "" of null.
func (v *evaluator) textValue(e *expression) (string, *failure) {
	if e == nil {
		return "", nil
	}
	all, wrong := v.textValues(e)
	if wrong != nil || len(all) == 0 {
		return "", wrong
	}
	if len(all) > 1 {
		return "", &failure{line: v.row.line, reason: e.key + " is a list; a single value is wanted"}
	}
	return all[0], nil
}

// textValues are the texts of a value or of a list of values, without what says
// nothing.
func (v *evaluator) textValues(e *expression) ([]string, *failure) {
	value, wrong := v.valueOf(e)
	if wrong != nil {
		return nil, wrong
	}
	values := []ref.Val{value}
	if l, ok := value.(traits.Lister); ok {
		values = nil
		for i := range int64(l.Size().(types.Int)) {
			values = append(values, l.Get(types.Int(i)))
		}
	}
	var all []string
	for _, one := range values {
		switch one.(type) {
		case traits.Mapper, traits.Lister:
			return nil, &failure{line: v.row.line, reason: e.key + " is " + described(one) + "; a single value is wanted"}
		}
		if isNull(one) {
			continue
		}
		text := textOf(one)
		if e.bare != "" && len(values) == 1 && !e.number {
			text = cellText(v.row.raw(e.bare)) // as the file shows it
		}
		if text = strings.TrimSpace(text); text != "" {
			all = append(all, text)
		}
	}
	return all, nil
}

// setParties names whom the event is of. Rows of a group that say something say
// the same.
func (v *evaluator) setParties(r *rule, rows []*record, ev *eventsv1.Event) *failure {
	for _, p := range r.parties {
		var said []string
		saidOn := 0
		for _, row := range rows {
			v.row = row
			ids, wrong := v.textValues(p.value)
			if wrong != nil {
				return wrong
			}
			if len(ids) == 0 {
				continue
			}
			if said != nil && !slices.Equal(said, ids) {
				return &failure{line: row.line, column: p.value.bare, value: strings.Join(ids, ", "),
					reason: fmt.Sprintf("%s is %q on line %d and %q on line %d; the rows of one event have one customer", p.path.key,
						cut(strings.Join(said, ", ")), saidOn, cut(strings.Join(ids, ", ")), row.line)}
			}
			if said == nil {
				said, saidOn = ids, row.line
			}
		}
		for _, id := range said {
			if utf8.RuneCountInString(id) > ingest.MaxIDCharacters {
				return &failure{line: saidOn, column: p.value.bare, value: id, reason: fmt.Sprintf("%s has %d characters, limit %d", p.path.key, utf8.RuneCountInString(id), ingest.MaxIDCharacters)}
			}
			ev.Identifiers = append(ev.Identifiers, &eventsv1.Identifier{Type: p.typ, Value: id})
		}
	}
	if len(ev.Identifiers) == 0 {
		return v.nobody(r, rows[0])
	}
	if len(ev.Identifiers) > ingest.MaxIdentifiers {
		return &failure{line: rows[0].line, reason: fmt.Sprintf("%d identifiers, limit %d", len(ev.Identifiers), ingest.MaxIdentifiers)}
	}
	return nil
}

func (v *evaluator) nobody(r *rule, row *record) *failure {
	var tried []string
	for _, p := range r.parties {
		tried = append(tried, p.path.key)
	}
	f := &failure{line: row.line, reason: "no identifier: null are " + strings.Join(tried, ", ")}
	if len(tried) == 1 {
		f.column = r.parties[0].value.bare
		f.reason = "no identifier: " + tried[0] + " is null"
	}
	f.reason += v.missed()
	return f
}

// missed says which lookups found nothing, for a message about what is null.
func (v *evaluator) missed() string {
	if len(v.misses) == 0 {
		return ""
	}
	return " (" + strings.Join(slices.Compact(v.misses), "; ") + ")"
}

// setFields reads the fields and lines into the payload of the event's type.
func (v *evaluator) setFields(r *rule, rows []*record, ev *eventsv1.Event) *failure {
	text, given, wrong := v.fieldsJSON(r, rows)
	if wrong != nil {
		return wrong
	}
	if !given {
		text = []byte("{}")
	}
	var tree jsontree.Tree
	if err := tree.Parse(string(text), 1); err != nil {
		return &failure{line: rows[0].line, reason: "fields: " + err.Error()}
	}
	if tree.Root().Kind() != jsontree.Object {
		return &failure{line: rows[0].line, reason: r.fields.path.key + " is no map of names to values"}
	}
	t := events.TypeByName(ev.Type)
	if refused := properties.Map(ev, t, "fields", tree.Root()); refused != nil {
		return &failure{line: rows[0].line, reason: refused.Message}
	}
	return nil
}

// fieldsJSON are the fields as JSON, with the lines as products.
func (v *evaluator) fieldsJSON(r *rule, rows []*record) ([]byte, bool, *failure) {
	var fields []byte
	given := false
	if r.fields != nil {
		var wrong *failure
		if fields, given, wrong = v.appendTree(nil, r.fields); wrong != nil {
			return nil, false, wrong
		}
	}
	if r.lines == nil {
		return fields, given, nil
	}
	products, wrong := v.products(r.lines, rows)
	if wrong != nil || products == nil {
		return fields, given, wrong
	}
	switch {
	case !given || string(fields) == "{}":
		fields = []byte("{")
	case fields[len(fields)-1] == '}':
		fields = append(fields[:len(fields)-1], ',')
	default:
		return nil, false, &failure{line: rows[0].line, reason: r.fields.path.key + " is no map of names to values"}
	}
	fields = append(append(fields, `"products":`...), products...)
	return append(fields, '}'), true, nil
}

// products are the lines of an event as a list of JSON, nil if there are none.
func (v *evaluator) products(l *lines, rows []*record) ([]byte, *failure) {
	list := []byte{'['}
	add := func() *failure {
		if holds, wrong := v.holds(l.when); wrong != nil || !holds {
			return wrong
		}
		before := len(list)
		if before > 1 {
			list = append(list, ',')
		}
		next, given, wrong := v.appendTree(list, l.line)
		if list = next; !given {
			list = list[:before]
		}
		return wrong
	}
	if l.each == nil {
		for _, row := range rows {
			v.row = row
			if wrong := add(); wrong != nil {
				return nil, wrong
			}
		}
		v.row = rows[0]
	} else {
		value, wrong := v.valueOf(l.each)
		if wrong != nil {
			return nil, wrong
		}
		elements, isList := value.(traits.Lister)
		if !isList && !isNull(value) {
			return nil, &failure{line: v.row.line, reason: l.each.key + " is " + described(value) + "; a list is wanted"}
		}
		for i := int64(0); isList && i < int64(elements.Size().(types.Int)); i++ {
			v.item = elements.Get(types.Int(i))
			if wrong := add(); wrong != nil {
				return nil, wrong
			}
		}
		v.item = types.NullValue
	}
	if len(list) == 1 {
		return nil, nil
	}
	return append(list, ']'), nil
}

// appendTree writes a value as JSON; given is false, and nothing written, where
// it says nothing.
func (v *evaluator) appendTree(b []byte, t *tree) (out []byte, given bool, wrong *failure) {
	if t.leaf != nil {
		return v.appendLeaf(b, t.leaf)
	}
	start := len(b)
	open, shut := byte('{'), byte('}')
	if t.list {
		open, shut = '[', ']'
	}
	b = append(b, open)
	add := func(name string, value *tree) *failure {
		before := len(b)
		if before > start+1 {
			b = append(b, ',')
		}
		if !t.list {
			b = append(jsontree.AppendString(b, name), ':')
		}
		next, given, wrong := v.appendTree(b, value)
		if b = next; !given {
			b = b[:before]
		}
		return wrong
	}
	for _, m := range t.members {
		if wrong := add(m.name, m.value); wrong != nil {
			return b, false, wrong
		}
	}
	for _, item := range t.items {
		if wrong := add("", item); wrong != nil {
			return b, false, wrong
		}
	}
	if len(b) == start+1 {
		return b[:start], false, nil
	}
	return append(b, shut), true, nil
}

// appendLeaf writes the value of an expression. A cell, and a number read from
// one, keep every digit that the file shows.
func (v *evaluator) appendLeaf(b []byte, e *expression) ([]byte, bool, *failure) {
	if e.constant != "" {
		return append(b, e.constant...), true, nil
	}
	if e.bare != "" {
		cell := v.row.raw(e.bare)
		text, isText := cell.(string)
		number, isNumber := cell.(json.Number)
		switch {
		case cell == nil:
			return b, false, nil
		case isText && e.number:
			plain, ok := v.m.numbers.read(text)
			if !ok {
				return b, false, &failure{line: v.row.line, column: e.bare, value: text, reason: v.m.numbers.want(text)}
			}
			return append(b, plain...), true, nil
		case isText:
			return jsontree.AppendString(b, text), true, nil
		case isNumber:
			return append(b, number...), true, nil
		}
	}
	value, wrong := v.valueOf(e)
	if wrong != nil {
		return b, false, wrong
	}
	b, given, reason := appendValue(b, value, 0)
	if reason != "" {
		return b, false, &failure{line: v.row.line, column: e.bare, reason: e.key + reason}
	}
	return b, given, nil
}

// appendValue writes a value as JSON; reason says why it cannot be.
func appendValue(b []byte, value ref.Val, depth int) (out []byte, given bool, reason string) {
	if isNull(value) {
		return b, false, ""
	}
	if depth > ingest.MaxDepth {
		return b, false, fmt.Sprintf(" is deeper than %d levels", ingest.MaxDepth)
	}
	switch value := value.(type) {
	case types.String:
		return jsontree.AppendString(b, string(value)), true, ""
	case types.Double:
		text, ok := decimalText(float64(value))
		if !ok {
			return b, false, " is no finite number"
		}
		return append(b, text...), true, ""
	case types.Int, types.Uint, types.Bool:
		return append(b, textOf(value)...), true, ""
	case types.Timestamp:
		return jsontree.AppendString(b, textOf(value)), true, ""
	case types.Duration:
		text, _ := decimalText(value.Seconds())
		return append(b, text...), true, ""
	case *record:
		return appendMembers(b, value.names(), func(name string) ref.Val { return value.value(name) }, depth)
	case traits.Mapper:
		var names []string
		for it := value.Iterator(); it.HasNext() == types.True; {
			name, ok := it.Next().(types.String)
			if !ok {
				return b, false, " is a map with a key that is no text"
			}
			names = append(names, string(name))
		}
		slices.Sort(names)
		return appendMembers(b, names, func(name string) ref.Val { return value.Get(types.String(name)) }, depth)
	case traits.Lister:
		start := len(b)
		b = append(b, '[')
		for i := range int64(value.Size().(types.Int)) {
			before := len(b)
			if before > start+1 {
				b = append(b, ',')
			}
			next, given, reason := appendValue(b, value.Get(types.Int(i)), depth+1)
			if b = next; reason != "" {
				return b, false, reason
			}
			if !given {
				b = b[:before]
			}
		}
		return append(b, ']'), true, ""
	}
	return b, false, " is " + described(value) + ", which an event cannot hold"
}

func appendMembers(b []byte, names []string, get func(string) ref.Val, depth int) (out []byte, given bool, reason string) {
	start := len(b)
	b = append(b, '{')
	for _, name := range names {
		before := len(b)
		if before > start+1 {
			b = append(b, ',')
		}
		b = append(jsontree.AppendString(b, name), ':')
		next, given, reason := appendValue(b, get(name), depth+1)
		if b = next; reason != "" {
			return b, false, reason
		}
		if !given {
			b = b[:before]
		}
	}
	return append(b, '}'), true, ""
}

// setContext says where the event happened.
func (v *evaluator) setContext(r *rule, rows []*record, ev *eventsv1.Event) *failure {
	if r.context == nil {
		return nil
	}
	text, given, wrong := v.appendTree(nil, r.context)
	if wrong != nil || !given {
		return wrong
	}
	var tree jsontree.Tree
	if err := tree.Parse(string(text), 1); err != nil {
		return &failure{line: rows[0].line, reason: "context: " + err.Error()}
	}
	ev.Context = &eventsv1.Context{}
	var other jsontree.Builder
	fields := map[string]*string{
		"page_url": &ev.Context.PageUrl, "referrer_url": &ev.Context.ReferrerUrl, "ip": &ev.Context.Ip,
		"user_agent": &ev.Context.UserAgent, "locale": &ev.Context.Locale, "timezone": &ev.Context.Timezone,
	}
	for name, value := range tree.Root().Members() {
		text, isText := properties.Text(value)
		switch field := fields[name]; {
		case field != nil && isText:
			*field = text
		case name == "campaign" && value.Kind() == jsontree.Object:
			ev.Context.Campaign = campaignOf(value)
		default:
			other.Add(name, value)
		}
	}
	ev.Context.OtherJson = other.String()
	return nil
}

func campaignOf(value jsontree.Value) *eventsv1.Campaign {
	c := &eventsv1.Campaign{}
	for name, to := range map[string]*string{"source": &c.Source, "medium": &c.Medium, "name": &c.Name, "term": &c.Term, "content": &c.Content} {
		*to, _ = properties.Text(value.Get(name))
	}
	return c
}

// setTraits adds what only traits.set tells.
func (v *evaluator) setTraits(r *rule, _ []*record, ev *eventsv1.Event) *failure {
	traits := ev.GetTraits()
	if traits == nil {
		return nil
	}
	traits.Manual = r.manual
	var wrong *failure
	if traits.Reason, wrong = v.textValue(r.reason); wrong != nil {
		return wrong
	}
	if traits.Actor, wrong = v.textValue(r.actor); wrong != nil {
		return wrong
	}
	for _, list := range [...]struct {
		e  *expression
		to *[]string
	}{{r.unset, &traits.Unset}, {r.release, &traits.Release}} {
		if list.e == nil {
			continue
		}
		names, wrong := v.textValues(list.e)
		if wrong != nil {
			return wrong
		}
		*list.to = names
	}
	return nil
}

func (v *evaluator) setCorrects(r *rule, _ []*record, ev *eventsv1.Event) *failure {
	var wrong *failure
	ev.Corrects, wrong = v.textValue(r.corrects)
	return wrong
}
