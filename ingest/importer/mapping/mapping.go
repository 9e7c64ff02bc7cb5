package mapping

import (
	"slices"
	"time"

	"github.com/dossier360/dossier/ingest/importer/table"
)

// Mapping is a mapping file that was read. It is immutable, so that several
// files can be bound at once.
type Mapping struct {
	// Name of the mapping file, as given to [Parse].
	Name string
	// Table says how the main files are to be read.
	Table table.Options
	// Source of the events.
	Source string
	// Lookups are the other files that it wants, in the order of the mapping.
	Lookups []Lookup

	nulls       []string
	numbers     numbers
	times       times
	id          *idColumns
	fill        []name // see [Mapper.filled]
	rules       []*rule
	uses        []use // all columns that expressions name
	expressions []*expression
	needs       map[string]*columnSet // of lookups, by name: the columns to keep
	hashed      bool                  // a rule makes ids of whole rows
}

// Lookup is a file of which rows are found by a key.
type Lookup struct {
	Name string
	// File as written: relative to the folder of the mapping file.
	File  string
	Table table.Options
	Key   []string

	key  []name
	path place
}

// DefaultSource is the source of events whose mapping names none.
const DefaultSource = "import"

// rule is one item of rows.
type rule struct {
	path  place
	index int
	when  *expression
	skip  bool
	also  bool

	event    eventName
	group    []name
	adjacent bool
	at       *expression
	parties  []party // customer, then company
	fields   *tree
	lines    *lines
	context  *tree
	id       *idColumns
	manual   bool
	reason   *expression
	actor    *expression
	unset    *expression
	release  *expression
	corrects *expression
	keeps    *columnSet // of a group: the columns that its event is made of
}

// eventName is what kind of event a rule makes: of one name, or named by an
// expression.
type eventName struct {
	name string
	from *expression
}

// party is one identifier of the customer or company.
type party struct {
	path  place
	typ   string
	value *expression
}

// name is the name of a column as the mapping writes it, and where.
type name struct {
	place
	text string
}

// idColumns are the columns of which a record's id is made.
type idColumns struct{ columns []name }

// lines are the products of an event.
type lines struct {
	each *expression // a list whose elements are lines; nil: the rows are
	when *expression
	line *tree
}

// tree is a value of the event: an expression, a mapping or a list.
type tree struct {
	path    place
	leaf    *expression
	members []member
	items   []*tree
	list    bool
}

type member struct {
	name  string
	value *tree
}

// Holds reports whether rows wait for the end of their file, for others of
// their group.
func (m *Mapping) Holds() bool {
	return slices.ContainsFunc(m.rules, func(r *rule) bool { return r.group != nil && !r.adjacent })
}

// columnSet are columns that are used: those named, or all.
type columnSet struct {
	all   bool
	names map[string]bool
}

func (c *columnSet) add(names ...string) {
	for _, n := range names {
		if c.names == nil {
			c.names = map[string]bool{}
		}
		c.names[n] = true
	}
}

func (c *columnSet) has(n string) bool { return c.all || c.names[n] }

// zoneOf finds a zone of the IANA data base.
func zoneOf(name string) (*time.Location, error) {
	return time.LoadLocation(name)
}
