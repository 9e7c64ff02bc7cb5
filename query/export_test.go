package query

import (
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"connectrpc.com/connect"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/projections/columns"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// Unmerged is a directory in which nobody was ever joined, nor in question.
type Unmerged struct{ Directory }

// Root implements [Directory].
func (Unmerged) Root(c events.CustomerID) (events.CustomerID, error) { return c, nil }

// Aliases implements [Directory].
func (Unmerged) Aliases(events.CustomerID) ([]events.CustomerID, error) { return nil, nil }

// InConflict implements [Directory].
func (Unmerged) InConflict(events.CustomerID) (bool, error) { return false, nil }

// Progress implements [Directory].
func (Unmerged) Progress() directory.Progress { return directory.Progress{} }

// Filter is a compiled filter with its ways of deciding open to tests.
type Filter struct {
	filter *filter
	whole  cel.Program // of all its conditions at once
}

// CompileFilter compiles a filter.
func CompileFilter(text string, zone *events.Zone) (*Filter, error) {
	f, err := compileFilter(text, zone)
	if err != nil {
		return nil, err
	}
	c, err := theLanguage().check(text, zone)
	if err != nil {
		return nil, err
	}
	whole, err := c.plan([]ast.Expr{c.checked.Expr()})
	return &Filter{f, whole}, err
}

// OnRows and OnProfiles say which of the two a filter asks.
func (f *Filter) OnRows() bool     { return f.filter.onRow != nil }
func (f *Filter) OnProfiles() bool { return f.filter.rest.program != nil }

// Split decides as lists do: by the row as far as that goes, then by a profile
// of no more than what is left reads.
func (f *Filter) Split(r *columns.Row, v View, now time.Time) (holds, byProfile bool, err error) {
	l := newService(Options{Directory: Unmerged{}}).look(f.filter, nil, v)
	s := &subject{l: f.filter.l, now: types.Timestamp{Time: now}}
	ask, err := l.byRow(s, r)
	if err != nil || ask == nil {
		return l.count == 1, false, err
	}
	head, err := v.Part(r.ID, ask.shown.part)
	if err != nil {
		return false, true, err
	}
	err = l.byProfile(s, r.ID, head, ask)
	return l.count == 1, true, err
}

// Whole decides by a whole profile alone.
func (f *Filter) Whole(p *queryv1.Profile, now time.Time) (bool, error) {
	s := &subject{l: f.filter.l, now: types.Timestamp{Time: now}}
	return s.ofProfile(p).holds(f.whole)
}

// RowPaths are the paths of the fields that rows have.
func RowPaths() []string {
	l := theLanguage()
	var paths []string
	for _, name := range sortedNames(l.root) {
		f := l.root[name]
		if f.row != nil {
			paths = append(paths, name)
		}
		if f.descriptor.Message() == nil || f.descriptor.IsMap() || f.descriptor.IsList() {
			continue
		}
		named := l.table[f.descriptor.Message().FullName()]
		for _, inner := range sortedNames(named) {
			if named[inner].row != nil {
				paths = append(paths, name+"."+inner)
			}
		}
	}
	return paths
}

// Value is the value of a path by a row and by a profile, for comparing.
func Value(path string, r *columns.Row, p *queryv1.Profile) (byRow, byProfile any, err error) {
	c, err := theLanguage().check(path, &events.Zone{})
	if err != nil {
		return nil, nil, err
	}
	program, err := c.program(c.checked.Expr())
	if err != nil {
		return nil, nil, err
	}
	s := &subject{l: theLanguage()}
	if byRow, err = s.of(r).value(program); err != nil {
		return nil, nil, err
	}
	byProfile, err = s.ofProfile(p).value(program)
	return byRow, byProfile, err
}

// Render is a whole profile.
func Render(id events.CustomerID, head *statev1.Head, v View) *queryv1.Profile {
	return render(id, head, v)
}

// TakeScans takes places of those who go through all customers.
func TakeScans(h queryv1connect.QueryServiceHandler, n int) (release func()) {
	scans := h.(*service).scans
	for range n {
		scans <- struct{}{}
	}
	return func() {
		for range n {
			<-scans
		}
	}
}

// CodeOf is the code of the wire for an error of the service.
func CodeOf(err error) connect.Code {
	code, _ := codeOf(err)
	return code
}
