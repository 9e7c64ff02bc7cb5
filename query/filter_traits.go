package query

import (
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/dossier360/dossier/projections"
	"github.com/dossier360/dossier/projections/columns"
)

// Rows hold single traits, not the map of them. So where an expression that is
// asked of rows names one trait, a variable takes the place of the whole path:
// its name is one of these and the trait's. No name that anybody can write
// begins like it.
const (
	askValue    = "@value:"    // traits.x.value
	askManual   = "@manual:"   // traits.x.manual
	askThere    = "@there:"    // has(traits.x), and of its manual
	askHasValue = "@hasValue:" // has(traits.x.value)
)

const traitsField = "traits"

// traitNamed is the name in traits.x and traits["x"].
func traitNamed(e ast.Expr, local []string) (name string, ok bool) {
	isTraits := func(e ast.Expr) bool {
		return e.Kind() == ast.IdentKind && e.AsIdent() == traitsField && !slices.Contains(local, traitsField)
	}
	switch e.Kind() {
	case ast.SelectKind:
		sel := e.AsSelect()
		return sel.FieldName(), !sel.IsTestOnly() && isTraits(sel.Operand())
	case ast.CallKind:
		call := e.AsCall()
		if call.FunctionName() != operators.Index || !isTraits(call.Args()[0]) || call.Args()[1].Kind() != ast.LiteralKind {
			return "", false
		}
		text, ok := call.Args()[1].AsLiteral().(types.String)
		return string(text), ok
	}
	return "", false
}

// traitAsked is what an expression asks of one trait that rows can tell; "" if
// that is not what it does.
func traitAsked(e ast.Expr, local []string) (ask, name string) {
	switch e.Kind() {
	case ast.CallKind:
		if call := e.AsCall(); call.FunctionName() == there {
			if name, ok := traitNamed(call.Args()[0], local); ok {
				return askThere, name
			}
		}
	case ast.SelectKind:
		sel := e.AsSelect()
		if sel.IsTestOnly() && sel.Operand().Kind() == ast.IdentKind && sel.Operand().AsIdent() == traitsField && !slices.Contains(local, traitsField) {
			return askThere, sel.FieldName()
		}
		name, ok := traitNamed(sel.Operand(), local)
		switch {
		case !ok:
		case sel.FieldName() == "value" && sel.IsTestOnly():
			return askHasValue, name
		case sel.FieldName() == "value":
			return askValue, name
		case sel.FieldName() == "manual" && sel.IsTestOnly():
			return askThere, name // a no is there
		case sel.FieldName() == "manual":
			return askManual, name
		}
	}
	return "", ""
}

// fromRows puts variables in the place of what an expression asks of single
// traits. It is for rows alone then.
func (c *checkedText) fromRows(root ast.Expr) {
	var visit func(e ast.Expr, local []string)
	visit = func(e ast.Expr, local []string) {
		if ask, name := traitAsked(e, local); ask != "" {
			e.SetKindCase(c.factory.NewIdent(e.ID(), ask+name))
			c.checked.SetReference(e.ID(), ast.NewIdentReference(ask+name, nil))
			return
		}
		for _, child := range children(e) {
			visit(child.expr, append(slices.Clip(local), child.binds...))
		}
	}
	visit(root, nil)
}

// trait is the value of a variable of fromRows. What the row cannot tell is
// absent, and the subject says that he is unsure.
func (s *subject) trait(variable string) (any, bool) {
	row, isRow := s.target.(*columns.Row)
	colon := strings.IndexByte(variable, ':')
	if !isRow || colon < 0 {
		return nil, false
	}
	t := row.Traits.Find(variable[colon+1:])
	ask := variable[:colon+1]
	if t.Kind == columns.TraitUnknown || t.Kind == columns.TraitElsewhere && (ask == askValue || ask == askHasValue) {
		s.unsure = true
		return absent, true
	}
	switch ask {
	case askThere:
		return types.Bool(t.Kind != columns.TraitAbsent), true
	case askManual:
		if t.Kind == columns.TraitAbsent {
			return absent, true
		}
		return types.Bool(t.Manual), true
	case askHasValue:
		return types.Bool(t.Kind == columns.TraitText || t.Kind == columns.TraitNumber || t.Kind == columns.TraitTrue || t.Kind == columns.TraitFalse), true
	}
	switch t.Kind {
	case columns.TraitText:
		return types.String(t.Text), true
	case columns.TraitNumber:
		return types.Double(t.Number), true
	case columns.TraitFalse, columns.TraitTrue:
		return types.Bool(t.Kind == columns.TraitTrue), true
	}
	return absent, true
}

// reads is what of a profile an expression reads.
type reads struct {
	fields []string
	traits []string // by name; none if allTraits
	// allTraits says that it reads the traits as a map.
	allTraits bool
	// companies and referrer say that it reads which customers those are: the
	// directory knows, not the facts.
	companies, referrer bool
}

func (r *reads) trait(name string) {
	r.fields, r.traits = append(r.fields, traitsField), append(r.traits, name)
}

// add takes in what another expression reads.
func (r *reads) add(other reads) {
	r.fields = distinct(append(slices.Clip(r.fields), other.fields...))
	r.traits = distinct(append(slices.Clip(r.traits), other.traits...))
	r.allTraits = r.allTraits || other.allTraits
	r.companies = r.companies || other.companies
	r.referrer = r.referrer || other.referrer
}

func (r *reads) has(field string) bool { return slices.Contains(r.fields, field) }

func distinct(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

// part is as much of a head as is read.
func (r *reads) part() projections.Part {
	if r.allTraits {
		return projections.PartFor(r.fields, nil)
	}
	return projections.PartFor(r.fields, r.traits)
}
