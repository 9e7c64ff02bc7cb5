package mapping

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/importer/table"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

// Mapper makes events of the rows of one file. It is for one goroutine.
type Mapper struct {
	m       *Mapping
	file    string
	columns *header
	v       *evaluator
	keeps   []*header // of the groups of each rule
	err     error

	groups  []*group // that are not whole yet, by their first row; none of rules with adjacent
	open    []map[string]*group
	closed  []map[[16]byte]int // of rules with adjacent: the line where a group ended
	copies  map[[16]byte]int32 // rows of the same cells so far
	above   []any              // cells of the row before, where mapping.fill wants them
	lost    bool               // that row could not be read
	held    int                // bytes
	limit   int
	heldFor int // groups that hold rows
}

// group are rows that make one event.
type group struct {
	rule    *rule
	key     string
	name    string // of the event
	ordinal int    // of the events of its name and id that one of its rows tells
	rows    []*record
	bytes   int
	bad     *failure // a row that belongs to it cannot be used
}

// Bind makes a mapper for a file of which the columns are known (nil: any, as of
// ndjson without columns) and the lookups loaded. An error about columns that
// the mapping names and the file does not have is of type [Errors].
func (m *Mapping) Bind(file string, columns []string, lookups map[string]*Index) (*Mapper, error) {
	mp := &Mapper{m: m, file: file, limit: MaxHeldBytes, copies: map[[16]byte]int32{}}
	if columns != nil {
		mp.columns = newHeader(columns)
	}
	if err := m.checkColumns(file, mp.columns); err != nil {
		return nil, err
	}
	for _, l := range m.Lookups {
		if lookups[l.Name] == nil {
			return nil, fmt.Errorf("%s:%d: %s: the lookup is not loaded", m.Name, l.path.line, l.path.key)
		}
	}
	mp.v = &evaluator{m: m, file: file, lookups: lookups, plans: map[*expression]cel.Program{}, regexps: map[string]*regexp.Regexp{}}
	for _, e := range m.expressions {
		if err := mp.v.plan(e); err != nil {
			return nil, err
		}
	}
	for _, r := range m.rules {
		mp.keeps = append(mp.keeps, r.keeps.of(mp.columns))
		mp.open = append(mp.open, map[string]*group{})
		mp.closed = append(mp.closed, map[[16]byte]int{})
	}
	return mp, nil
}

// checkColumns finds the columns that the mapping names and the file does not
// have.
func (m *Mapping) checkColumns(file string, columns *header) error {
	var wrong Errors
	for _, u := range m.uses {
		if u.table == "" {
			wrong = m.missing(wrong, u.place, u.column, file, columns)
		}
	}
	named := append(m.id.names(), m.fill...)
	for _, r := range m.rules {
		named = append(append(named, r.group...), r.id.names()...)
	}
	for _, n := range named {
		wrong = m.missing(wrong, n.place, n.text, file, columns)
	}
	return wrong.sorted()
}

func (c *idColumns) names() []name {
	if c == nil {
		return nil
	}
	return c.columns[:len(c.columns):len(c.columns)]
}

// Err says why no more rows are taken: what is held became too much.
func (mp *Mapper) Err() error { return mp.err }

// Add takes a row and gives what it makes at once: events, or why it makes none.
// A row of a group is held, and its event comes from [Mapper.Close], or, of a
// rule with adjacent, when the next group begins.
func (mp *Mapper) Add(row table.Row) (made []Made, rejects []Reject, o Outcome) {
	if mp.err != nil {
		return nil, nil, o
	}
	row, unread := mp.filled(row)
	if unread != nil {
		return nil, append(rejects, mp.reject(unread)), o
	}
	r := mp.m.newRecord(mp.columns, "", row)
	mp.v.begin(r)
	hash := mp.identical(row)
	taken := ordinals{}
	matched := false
	for i, rule := range mp.m.rules {
		holds, wrong := mp.v.holds(rule.when)
		if wrong != nil {
			mp.poison(i, r, wrong)
			return made, append(rejects, mp.reject(wrong)), o
		}
		if !holds {
			continue
		}
		matched = true
		if rule.skip {
			o.Skipped = 1
			break
		}
		var m []Made
		var failed *failure
		if rule.group != nil {
			var f []Reject
			m, f, failed = mp.hold(i, r, taken)
			rejects = append(rejects, f...)
			if failed == nil {
				o.Held++
			}
		} else {
			m, failed = mp.single(rule, r, hash, taken)
		}
		made = append(made, m...)
		if failed != nil {
			rejects = append(rejects, mp.reject(failed))
		}
		if !rule.also {
			break
		}
	}
	if !matched {
		o.Unmatched = 1
	}
	if mp.held > mp.limit {
		mp.overfull(row.Line)
	}
	return made, rejects, o
}

// Lost tells of a row that could not be read: rows that go on with it are lost
// too.
func (mp *Mapper) Lost() { mp.lost = true }

// filled gives a row that goes on with the one above what that one says: reports
// print what is the same once, and merged cells tell in the first. It goes on where
// the first column of fill says nothing, and takes the columns of fill that say
// nothing.
func (mp *Mapper) filled(row table.Row) (table.Row, *failure) {
	fill := mp.m.fill
	if len(fill) == 0 {
		return row, nil
	}
	leads := mp.columns.index[fill[0].text]
	goesOn := mp.m.cell(row.Values[leads]) == nil
	if mp.lost && goesOn {
		return row, &failure{line: row.Line, column: fill[0].text, reason: "says nothing, and the row above, which it goes on with, could not be read"}
	}
	mp.lost = false
	values := slices.Clone(row.Values)
	if goesOn && mp.above != nil {
		for _, c := range fill {
			if i := mp.columns.index[c.text]; mp.m.cell(values[i]) == nil {
				values[i] = mp.above[i]
			}
		}
	}
	mp.above = values
	row.Values = values
	return row, nil
}

// overfull ends the work: what is held became too much.
func (mp *Mapper) overfull(line int) {
	if mp.heldFor == 0 {
		mp.err = fmt.Errorf("%s:%d: telling identical rows apart takes more than %d MiB by now; name the columns that tell rows apart: id: [...]", mp.file, line, mp.limit>>20)
	} else {
		mp.err = fmt.Errorf("%s:%d: %d groups of rows hold more than %d MiB by now; where the rows of a group stand together, write adjacent: true beside group, else split the file", mp.file, line, mp.heldFor, mp.limit>>20)
	}
	mp.groups, mp.open = nil, nil
}

func (mp *Mapper) reject(f *failure) Reject {
	return Reject{File: mp.file, Line: f.line, Column: f.column, Value: f.value, Reason: f.reason}
}

// single makes the event of one row.
func (mp *Mapper) single(r *rule, row *record, hash string, taken ordinals) ([]Made, *failure) {
	name, wrong := mp.v.eventName(r)
	if wrong != nil {
		return nil, wrong
	}
	id := hash
	if columns := r.id; columns != nil || mp.m.id != nil {
		if columns == nil {
			columns = mp.m.id
		}
		if id, wrong = idOf(row, columns.columns); wrong != nil {
			return nil, wrong
		}
	}
	ordinal := taken.next(name, id)
	made, wrong := mp.v.event(r, name, []*record{row})
	if wrong != nil {
		return nil, wrong
	}
	return []Made{finish(made, id, ordinal)}, nil
}

// ordinals count the events of one name and id that rules tell of a row. One that
// is rejected counts: the ids of the others stay when the row is put right.
type ordinals map[[2]string]int

func (o ordinals) next(name, id string) int {
	o[[2]string{name, id}]++
	return o[[2]string{name, id}]
}

// finish gives an event the id of its record. Of several that rules tell of one
// row by one name and id, all but the first have a number.
func finish(made Made, id string, ordinal int) Made {
	if ordinal > 1 {
		id += "/" + strconv.Itoa(ordinal)
	}
	if utf8.RuneCountInString(id) > ingest.MaxIDCharacters {
		sum := sha256.Sum256([]byte(id))
		id = hex.EncodeToString(sum[:])
	}
	made.ID, made.Event.Id = id, id
	return made
}

// idOf are the cells by which a record is named.
func idOf(row *record, columns []name) (string, *failure) {
	values := make([]string, len(columns))
	for i, c := range columns {
		if values[i] = cellText(row.raw(c.text)); values[i] == "" {
			return "", &failure{line: row.line, column: c.text, reason: "says nothing: the id of the record is made of it"}
		}
	}
	return joinID(values), nil
}

// identical is the id of a row by its cells: their hash, and which of the
// identical rows of the file it is.
func (mp *Mapper) identical(row table.Row) string {
	if !mp.m.hashed {
		return ""
	}
	var cells []byte
	for _, v := range row.Values {
		text := strings.TrimSpace(cellText(v))
		cells = binary.AppendUvarint(cells, uint64(len(text)))
		cells = append(cells, text...)
	}
	sum := sha256.Sum256(cells)
	key := [16]byte(sum[:])
	mp.copies[key]++
	n := mp.copies[key]
	id := hex.EncodeToString(key[:])
	if n > 1 {
		return id + "#" + strconv.Itoa(int(n))
	}
	mp.held += hashBytes
	return id
}

// hold puts a row to its group. What it gives are the events of the group that
// the row ended.
func (mp *Mapper) hold(i int, row *record, taken ordinals) (made []Made, rejects []Reject, wrong *failure) {
	r := mp.m.rules[i]
	name, wrong := mp.v.eventName(r)
	key, unkeyed := idOf(row, r.group)
	if unkeyed != nil {
		unkeyed.reason = "says nothing: rows are grouped by it"
		return nil, nil, unkeyed
	}
	g := mp.open[i][key]
	if g == nil {
		if made, rejects, unkeyed = mp.endAdjacent(i, key, row); unkeyed != nil {
			return made, rejects, unkeyed
		}
		g = &group{rule: r, key: key, name: name, bytes: groupBytes + len(key)}
		mp.open[i][key] = g
		if !r.adjacent {
			mp.groups = append(mp.groups, g)
		}
		mp.heldFor++
		mp.held += g.bytes
	}
	if wrong != nil {
		g.bad = wrong
		return made, rejects, nil // told when the group is whole
	}
	id := key
	if r.id != nil {
		id, _ = idOf(row, r.id.columns) // that of the first row counts, and is checked when the group is whole
	}
	g.ordinal = max(g.ordinal, taken.next(name, id))
	kept, bytes := row.keep(mp.keeps[i], r.keeps)
	g.rows = append(g.rows, kept)
	g.bytes += bytes
	mp.held += bytes
	return made, rejects, nil
}

// endAdjacent ends the group before, where the rows of a group stand together. A
// group that begins again is an error: its event was made.
func (mp *Mapper) endAdjacent(i int, key string, row *record) (made []Made, rejects []Reject, wrong *failure) {
	r := mp.m.rules[i]
	if !r.adjacent {
		return nil, nil, nil
	}
	for _, g := range mp.open[i] {
		made, rejects = mp.end(g)
		sum := sha256.Sum256([]byte(g.key))
		mp.closed[i][[16]byte(sum[:])] = row.line
		mp.held += hashBytes
	}
	sum := sha256.Sum256([]byte(key))
	if line, again := mp.closed[i][[16]byte(sum[:])]; again {
		return made, rejects, &failure{line: row.line, column: r.group[0].text, value: cellText(row.raw(r.group[0].text)),
			reason: fmt.Sprintf("the group ended before line %d and begins again; take adjacent: true out of the mapping, or sort the file", line)}
	}
	return made, rejects, nil
}

// end makes the event of a group of a rule with adjacent, and forgets it.
func (mp *Mapper) end(g *group) (made []Made, rejects []Reject) {
	delete(mp.open[g.rule.index], g.key)
	mp.held -= g.bytes
	mp.heldFor--
	return mp.whole(g)
}

// whole makes the event of a group.
func (mp *Mapper) whole(g *group) ([]Made, []Reject) {
	wrong := g.bad
	if wrong == nil && len(g.rows) > 0 {
		mp.v.begin(g.rows[0])
		var made Made
		if made, wrong = mp.v.event(g.rule, g.name, g.rows); wrong == nil {
			id := g.key
			if g.rule.id != nil {
				id, wrong = idOf(g.rows[0], g.rule.id.columns)
			}
			if wrong == nil {
				return []Made{finish(made, id, g.ordinal)}, nil
			}
		}
	}
	if len(g.rows) > 1 || g.bad != nil {
		told := *wrong
		told.reason += fmt.Sprintf(" (so %s makes no event; rows held for it: %d)", strconv.Quote(cut(g.key)), len(g.rows))
		wrong = &told
	}
	return nil, []Reject{mp.reject(wrong)}
}

// poison marks the group that a row would belong to, had its condition not
// failed: without the row the group is not whole.
func (mp *Mapper) poison(i int, row *record, wrong *failure) {
	r := mp.m.rules[i]
	if r.group == nil {
		return
	}
	if key, unkeyed := idOf(row, r.group); unkeyed == nil {
		if g := mp.open[i][key]; g != nil {
			g.bad = wrong
		} else if !r.adjacent {
			g = &group{rule: r, key: key, bytes: groupBytes + len(key), bad: wrong}
			mp.open[i][key] = g
			mp.groups = append(mp.groups, g)
			mp.heldFor++
			mp.held += g.bytes
		}
	}
}

// Groups is how many groups wait for [Mapper.Close].
func (mp *Mapper) Groups() int { return len(mp.groups) }

// Close gives what the groups make, in order of their first rows. It may be
// called once; nothing is added after it.
func (mp *Mapper) Close() iter.Seq2[[]Made, []Reject] {
	groups := mp.groups
	for i, r := range mp.m.rules {
		if r.adjacent && mp.open != nil {
			groups = slices.AppendSeq(groups, maps.Values(mp.open[i])) // one at most
		}
	}
	mp.groups, mp.open = nil, nil
	return func(yield func([]Made, []Reject) bool) {
		for i, g := range groups {
			groups[i] = nil // the memory of one is given back with the next
			if g.bad != nil && len(g.rows) == 0 {
				continue // the row that spoiled it was told
			}
			made, rejects := mp.whole(g)
			if !yield(made, rejects) {
				return
			}
		}
	}
}

// begin turns to a row.
func (v *evaluator) begin(r *record) {
	v.row, v.rows, v.item = r, types.NullValue, types.NullValue
	v.steps, v.misses = 0, v.misses[:0]
}

// holds evaluates a condition; absent and null ones: see [condition].
func (v *evaluator) holds(e *expression) (bool, *failure) {
	if e == nil {
		return true, nil
	}
	if e.constant != "" {
		return e.constant == "true", nil
	}
	value, wrong := v.eval(e)
	if wrong != nil {
		return false, wrong
	}
	answer := condition(value)
	if types.IsError(answer) {
		return false, &failure{line: v.row.line, reason: e.key + ": " + described(value) + " is no condition; compare it with something"}
	}
	return answer == types.True, nil
}

// eventName is the name of the event that a row is.
func (v *evaluator) eventName(r *rule) (string, *failure) {
	if r.event.from == nil {
		return r.event.name, nil
	}
	text, wrong := v.textValue(r.event.from)
	if wrong != nil {
		return "", wrong
	}
	if text == "" {
		return "", &failure{line: v.row.line, column: r.event.from.bare, reason: r.event.from.key + ": there is no name"}
	}
	if utf8.RuneCountInString(text) > ingest.MaxIDCharacters {
		return "", &failure{line: v.row.line, column: r.event.from.bare, value: text,
			reason: fmt.Sprintf("%s has more than %d characters", r.event.from.key, ingest.MaxIDCharacters)}
	}
	if t := events.TypeByName(text); t != eventsv1.Type_TYPE_CUSTOM {
		return events.TypeName(t), nil
	}
	return text, nil
}
