package query

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/decls"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"
	"cel.dev/cel-go/parser"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/columns"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// language is CEL as filters and orders are written in. It is immutable.
//
// It differs from CEL where people who are no programmers would stumble: all
// numbers are one kind, 500万 is a number, and a condition on what is absent is
// false. docs/QUERY.md tells it to them.
type language struct {
	env   *cel.Env
	table fieldTable
	root  map[string]*field // the fields of a profile
}

// theLanguage is a table, made when it is first wanted.
var theLanguage = sync.OnceValue(newLanguage)

// nowName is the variable of settled time.
const nowName = "now"

// guarded is the function around every condition on values: what cannot be told
// is false.
const guarded = "@known"

// there is has() of what is no field of a message.
const there = "@there"

// CEL's own equality takes values of two kinds for different, and plans itself
// past any other; so a checked expression asks these instead.
const (
	equality   = "@equal"
	inequality = "@unequal"
)

// byIndex takes an element of a list; nothing else makes whole numbers.
const byIndex = "index_list_double"

func newLanguage() *language {
	l := &language{table: newFieldTable(profileType)}
	l.root = l.table[profileType.FullName()]
	key, element := cel.TypeParamType("K"), cel.TypeParamType("V")
	options := []cel.EnvOption{
		// Equality is ours: CEL has none between a whole number and another. So is
		// division: CEL divides by zero.
		cel.StdLib(cel.StdLibSubset(env.NewLibrarySubset().AddExcludedFunctions(
			env.NewFunction(operators.Equals), env.NewFunction(operators.NotEquals), env.NewFunction(operators.In), env.NewFunction(operators.Index),
			env.NewFunction(operators.Divide), env.NewFunction(operators.Modulo)).AddExcludedMacros(operators.Has))),
		cel.Macros(cel.GlobalMacro(operators.Has, 1, expandHas)),
		cel.Function(there, decls.DisableTypeGuards(true), cel.Overload(there, []*cel.Type{cel.DynType}, cel.BoolType,
			cel.OverloadIsNonStrict(), cel.UnaryBinding(isThere))),
		cel.Function(operators.Equals, cel.Overload(overloads.Equals, []*cel.Type{cel.DynType, cel.DynType}, cel.BoolType)),
		cel.Function(operators.NotEquals, cel.Overload(overloads.NotEquals, []*cel.Type{cel.DynType, cel.DynType}, cel.BoolType)),
		cel.Function(equality, cel.Overload(equality, []*cel.Type{cel.DynType, cel.DynType}, cel.BoolType, cel.BinaryBinding(equal))),
		cel.Function(inequality, cel.Overload(inequality, []*cel.Type{cel.DynType, cel.DynType}, cel.BoolType, cel.BinaryBinding(unequal))),
		cel.Function(operators.Divide, cel.Overload(overloads.DivideDouble, []*cel.Type{cel.DoubleType, cel.DoubleType}, cel.DoubleType, cel.BinaryBinding(quotient))),
		cel.Function(operators.Modulo, cel.Overload("modulo_double", []*cel.Type{cel.DoubleType, cel.DoubleType}, cel.DoubleType, cel.BinaryBinding(remainder))),
		cel.Function(operators.Index,
			cel.Overload(overloads.IndexList, []*cel.Type{cel.ListType(element), cel.IntType}, element),
			cel.Overload(byIndex, []*cel.Type{cel.ListType(element), cel.DoubleType}, element),
			cel.Overload(overloads.IndexMap, []*cel.Type{cel.MapType(key, element), key}, element)),
		cel.Function(zoned, cel.Overload(zoned, []*cel.Type{cel.DynType, cel.DynType}, cel.DynType, cel.BinaryBinding(localTime))),
		cel.Function(operators.In,
			cel.Overload(overloads.InList, []*cel.Type{cel.DynType, cel.ListType(cel.DynType)}, cel.BoolType, cel.BinaryBinding(contains)),
			cel.Overload(overloads.InMap, []*cel.Type{cel.DynType, cel.MapType(cel.DynType, cel.DynType)}, cel.BoolType, cel.BinaryBinding(contains))),
		cel.Function(guarded, decls.DisableTypeGuards(true), cel.Overload(guarded, []*cel.Type{cel.BoolType}, cel.BoolType,
			cel.OverloadIsNonStrict(), cel.UnaryBinding(isKnownTrue))),
		cel.CustomTypeProvider(l.table),
		cel.CustomTypeAdapter(l.table),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.ParserRecursionLimit(maxFilterDepth),
		cel.ParserExpressionSizeLimit(2 * MaxFilterCharacters),
		cel.ExpressionNodeLimit(maxFilterNodes),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals(),
			cel.ValidateComprehensionNestingLimit(maxFilterLoops)),
		cel.Variable(nowName, cel.TimestampType),
	}
	for _, name := range sortedNames(l.root) {
		options = append(options, cel.Variable(name, l.root[name].Type))
	}
	var err error
	if l.env, err = cel.NewCustomEnv(options...); err != nil {
		panic("not reached: the language is a constant: " + err.Error())
	}
	return l
}

// expandHas lets has() ask for more than CEL's: a field of the profile itself,
// a map's key in brackets.
func expandHas(f cel.MacroExprFactory, target ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
	if args[0].Kind() == ast.SelectKind {
		return parser.MakeHas(f, target, args)
	}
	return f.NewCall(there, args[0]), nil
}

// isThere is what has() says of a value, as [field.isSet] of a field.
func isThere(v ref.Val) ref.Val {
	switch v := v.(type) {
	case *types.Err, *types.Unknown:
		return types.False
	case traits.Lister, traits.Mapper:
		return v.(traits.Sizer).Size().Equal(types.IntZero).(types.Bool).Negate()
	}
	return types.True
}

func isKnownTrue(v ref.Val) ref.Val { return types.Bool(v == types.True) }

// filter is a compiled condition. It is safe for concurrent use.
type filter struct {
	l     *language
	onRow cel.Program // what rows can tell; nil: nothing
	rest  question    // what they cannot
	all   question    // the whole condition, of whom a row cannot tell after all
	loops bool        // one of the programs may take long of one customer
}

// question is what a profile is asked.
type question struct {
	program cel.Program // nil: nothing
	reads   reads
}

// compileFilter reads a condition; an empty one holds of everybody. Days of the
// text are days of the zone.
func compileFilter(text string, zone *events.Zone) (*filter, error) {
	l := theLanguage()
	f := &filter{l: l}
	if strings.TrimSpace(text) == "" {
		return f, nil
	}
	c, err := l.check(text, zone)
	if err != nil {
		return nil, refuse(errInvalid, "filter: %v", err)
	}
	if t := c.checked.GetType(c.checked.Expr().ID()); t.Kind() != types.BoolKind {
		return nil, refuse(errInvalid, "filter: %v", c.fail(c.checked.Expr(), "the filter is %s, not a condition; compare it with something", kindOf(t)))
	}
	f.loops = mayLoop(c.checked.Expr())
	// Of the conditions on rows those on traits come last: they may turn out to
	// be for the profile.
	var rows, traits, whole []ast.Expr
	for _, part := range conjuncts(c.checked.Expr()) {
		switch reads, onRows := c.reads(part); {
		case !onRows:
			whole = append(whole, part)
			f.rest.reads.add(reads)
		case len(reads.traits) > 0:
			traits = append(traits, part)
		default:
			rows = append(rows, part)
		}
	}
	if len(traits) > 0 {
		if f.all, err = l.wholly(text, zone); err != nil {
			return nil, err
		}
	}
	if f.onRow, err = c.planRows(append(rows, traits...)); err != nil {
		return nil, err
	}
	f.rest.program, err = c.plan(whole)
	return f, err
}

// wholly reads a condition that a profile alone is asked.
func (l *language) wholly(text string, zone *events.Zone) (question, error) {
	// Read anew: a plan changes what it is made of.
	c, err := l.check(text, zone)
	if err != nil {
		return question{}, err
	}
	var q question
	q.reads, _ = c.reads(c.checked.Expr())
	q.program, err = c.plan([]ast.Expr{c.checked.Expr()})
	return q, err
}

// conjuncts are the conditions that all must hold.
func conjuncts(e ast.Expr) []ast.Expr {
	if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != operators.LogicalAnd {
		return []ast.Expr{e}
	}
	var all []ast.Expr
	for _, arg := range e.AsCall().Args() {
		all = append(all, conjuncts(arg)...)
	}
	return all
}

// subject is the customer of whom an expression is asked: by his row, or by a
// profile. It implements [interpreter.Activation].
type subject struct {
	l      *language
	now    types.Timestamp
	target any // *columns.Row, or protoreflect.Message of a Profile
	// unsure says that a row was asked what it cannot tell: the profile must be.
	unsure bool
}

func (s *subject) of(r *columns.Row) *subject {
	s.target, s.unsure = r, false
	return s
}

func (s *subject) ofProfile(p *queryv1.Profile) *subject {
	s.target, s.unsure = p.ProtoReflect(), false
	return s
}

// ResolveName implements [interpreter.Activation].
func (s *subject) ResolveName(name string) (any, bool) {
	if name == nowName {
		return s.now, true
	}
	if name[0] == '@' {
		return s.trait(name)
	}
	f := s.l.root[name]
	if f == nil {
		return nil, false
	}
	value, err := f.get(s.target)
	if err != nil {
		return absent, true
	}
	return value, true
}

// Parent implements [interpreter.Activation].
func (s *subject) Parent() interpreter.Activation { return nil }

// holds asks a condition; none holds.
func (s *subject) holds(condition cel.Program) (bool, error) {
	if condition == nil {
		return true, nil
	}
	value, err := s.value(condition)
	return value == types.True, err
}

// value asks for a value, nil if it is absent.
func (s *subject) value(program cel.Program) (ref.Val, error) {
	value, _, err := program.Eval(s)
	if cancelled := (interpreter.EvalCancelledError{}); errors.As(err, &cancelled) {
		return nil, refuse(errInvalid, "filter: it takes more than %d steps of one customer; ask for less at once", MaxFilterSteps)
	}
	if err != nil || types.IsUnknownOrError(value) {
		return nil, nil
	}
	return value, nil
}

// plan makes a program of conditions that all must hold, nil of none.
func (c *checkedText) plan(all []ast.Expr) (cel.Program, error) {
	if len(all) == 0 {
		return nil, nil
	}
	return c.program(c.join(all))
}

// planRows is plan for programs that rows are asked.
func (c *checkedText) planRows(all []ast.Expr) (cel.Program, error) {
	if len(all) == 0 {
		return nil, nil
	}
	root := c.join(all)
	c.fromRows(root)
	return c.program(root)
}

// join is one condition of several that all must hold.
func (c *checkedText) join(all []ast.Expr) ast.Expr {
	root := all[0]
	for _, e := range all[1:] {
		id := c.newID(types.BoolType)
		c.checked.SetReference(id, ast.NewFunctionReference(overloads.LogicalAnd))
		root = c.factory.NewCall(id, operators.LogicalAnd, root, e)
	}
	c.guard(root)
	return root
}

// program plans one expression. What may loop or read long texts is stopped
// when it takes too many steps; all else takes no more than it has nodes.
func (c *checkedText) program(root ast.Expr) (cel.Program, error) {
	part := ast.NewCheckedAST(ast.NewAST(root, c.checked.SourceInfo()), c.checked.TypeMap(), c.checked.ReferenceMap())
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	if mayLoop(root) {
		options = append(options, cel.CostLimit(MaxFilterSteps))
	}
	program, err := c.l.env.PlanProgram(part, options...)
	if err != nil {
		return nil, fmt.Errorf("plan filter: %w", err)
	}
	return program, nil
}

func mayLoop(root ast.Expr) bool {
	loops := false
	ast.PreOrderVisit(root, ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.ComprehensionKind:
			loops = true
		case ast.CallKind:
			loops = loops || slices.Contains([]string{overloads.Contains, overloads.Matches, operators.Add}, e.AsCall().FunctionName())
		}
	}))
	return loops
}

// path is a field of the profile as orderBy and fields name it.
type path struct {
	names   []string // "orders", "netRevenue"
	checked *checkedText
}

// compilePath reads the name of a field.
func compilePath(what, text string, zone *events.Zone) (*path, error) {
	if strings.TrimSpace(text) == "" {
		return nil, refuse(errInvalid, "%s: an empty name; a field of the profile wanted, as orders.count", what)
	}
	c, err := theLanguage().check(text, zone)
	if err != nil {
		return nil, refuse(errInvalid, "%s: %v", what, err)
	}
	names, ok := pathNames(c.checked.Expr())
	if !ok || names[0] == nowName {
		return nil, refuse(errInvalid, "%s: %.60q is no field of the profile; one wanted, as orders.count or traits.industry.value", what, strings.TrimSpace(text))
	}
	return &path{names, c}, nil
}

// pathNames are the names along a field; of a map they are keys.
func pathNames(e ast.Expr) ([]string, bool) {
	switch e.Kind() {
	case ast.IdentKind:
		return []string{e.AsIdent()}, true
	case ast.SelectKind:
		names, ok := pathNames(e.AsSelect().Operand())
		return append(names, e.AsSelect().FieldName()), ok && !e.AsSelect().IsTestOnly()
	case ast.CallKind:
		call := e.AsCall()
		if call.FunctionName() != operators.Index || call.Args()[1].Kind() != ast.LiteralKind {
			return nil, false
		}
		key, isText := call.Args()[1].AsLiteral().(types.String)
		names, ok := pathNames(call.Args()[0])
		return append(names, string(key)), ok && isText
	}
	return nil, false
}

// tooLong refuses a text before anything is made of it.
func tooLong(text string) error {
	if n := utf8.RuneCountInString(text); n > MaxFilterCharacters {
		return &sourceError{1, MaxFilterCharacters + 1, fmt.Sprintf("%d characters, limit %d", n, MaxFilterCharacters)}
	}
	if !utf8.ValidString(text) {
		return &sourceError{1, 1, "not UTF-8"}
	}
	return nil
}
