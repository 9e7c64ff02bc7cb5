package mapping

import (
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/decls"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/functions"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"
)

// language is CEL as mappings are written in. It is immutable.
//
// It differs from CEL where people who are no programmers would stumble: what is
// null makes null what is made of it, numbers of all kinds compute together, and
// a text compared with a number is an error that says what to write, not false.
// So operators and selections become calls of functions of ours, which
// [planner] evaluates.
type language struct {
	env *cel.Env
	// bound are the functions of CEL's libraries, by name.
	bound map[string]*functions.Overload
	names []string // of functions, as people write them
}

// Functions that expressions are rewritten to.
const (
	getCall      = "@get"
	hasCall      = "@has"
	equalCall    = "@equal"
	unequalCall  = "@unequal"
	andCall      = "@and"
	orCall       = "@or"
	ifCall       = "@if"
	lookupCall   = "lookup"
	lookupAll    = "lookupAll"
	numCall      = "num"
	coalesceCall = "coalesce"
)

// renamed are the operators that must not be CEL's own.
var renamed = map[string]string{
	operators.Index: getCall, operators.Equals: equalCall, operators.NotEquals: unequalCall,
	operators.LogicalAnd: andCall, operators.LogicalOr: orCall, operators.Conditional: ifCall,
}

// theLanguage is a table, made when it is first wanted.
var theLanguage = sync.OnceValue(newLanguage)

func newLanguage() *language {
	e, err := cel.NewCustomEnv(languageOptions()...)
	if err != nil {
		panic("not reached: the language is a constant: " + err.Error())
	}
	l := &language{env: e, bound: map[string]*functions.Overload{}}
	for name, f := range e.Functions() {
		l.addFunction(name, f)
	}
	for _, m := range e.Macros() {
		l.addName(m.Function())
	}
	slices.Sort(l.names)
	l.names = slices.Compact(l.names)
	return l
}

func (l *language) addFunction(name string, f *decls.FunctionDecl) {
	l.addName(name)
	bindings, err := f.Bindings()
	if err != nil {
		panic("not reached: the language is a constant: " + err.Error())
	}
	for _, b := range bindings {
		if b.Operator == name {
			l.bound[name] = b
		}
	}
}

// addName notes a name that people write.
func (l *language) addName(name string) {
	if isName(name) {
		l.names = append(l.names, name)
	}
}

// languageOptions are CEL's libraries without the operators of ours, then what
// is of ours.
func languageOptions() []cel.EnvOption {
	dyn, text, list := cel.DynType, cel.StringType, cel.ListType(cel.DynType)
	exclude := []string{operators.Add, operators.Subtract, operators.Multiply, operators.Divide, operators.Modulo, operators.Negate,
		operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals, operators.In}
	subset := env.NewLibrarySubset()
	options := []cel.EnvOption{
		ext.Strings(), ext.Math(), ext.Lists(),
		cel.CrossTypeNumericComparisons(true), cel.DefaultUTCTimeZone(true),
		cel.ParserRecursionLimit(maxCELDepth), cel.ParserExpressionSizeLimit(MaxExpression), cel.ExpressionNodeLimit(MaxExpression),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals()),
		function(getCall, []*cel.Type{dyn, dyn}), function(hasCall, []*cel.Type{dyn, text}),
		function(equalCall, []*cel.Type{dyn, dyn}), function(unequalCall, []*cel.Type{dyn, dyn}),
		function(andCall, []*cel.Type{dyn, dyn}), function(orCall, []*cel.Type{dyn, dyn}), function(ifCall, []*cel.Type{dyn, dyn, dyn}),
		function(numCall, []*cel.Type{dyn}), function("date", []*cel.Type{dyn}, []*cel.Type{dyn, text}), function("text", []*cel.Type{dyn}),
		function(lookupCall, upTo(4, []*cel.Type{text}, dyn)...), function(lookupAll, upTo(4, []*cel.Type{text}, dyn)...),
		function(coalesceCall, upTo(8, nil, dyn)...), function("sum", []*cel.Type{list}),
		function("min", append(upTo(8, []*cel.Type{dyn}, dyn), []*cel.Type{dyn})...), function("max", append(upTo(8, []*cel.Type{dyn}, dyn), []*cel.Type{dyn})...),
		function("round", []*cel.Type{dyn}, []*cel.Type{dyn, cel.IntType}), function("extract", []*cel.Type{dyn, text}),
		cel.Variable("col", dyn), cel.Variable("line", cel.IntType), cel.Variable("file", cel.StringType),
		cel.Variable("rows", cel.ListType(dyn)), cel.Variable("item", dyn),
	}
	for _, op := range exclude {
		subset.AddExcludedFunctions(env.NewFunction(op))
		if op == operators.Negate {
			options = append(options, function(op, []*cel.Type{dyn}))
		} else {
			options = append(options, function(op, []*cel.Type{dyn, dyn}))
		}
	}
	return append([]cel.EnvOption{cel.StdLib(cel.StdLibSubset(subset))}, options...)
}

// function declares a function that takes arguments of any of the shapes.
func function(name string, shapes ...[]*cel.Type) cel.EnvOption {
	var overloads []cel.FunctionOpt
	for _, args := range shapes {
		overloads = append(overloads, cel.Overload(name+"_"+strings.Repeat("x", len(args)), args, cel.DynType))
	}
	return cel.Function(name, overloads...)
}

// upTo are the shapes of the first arguments and one to n more.
func upTo(n int, first []*cel.Type, more *cel.Type) [][]*cel.Type {
	var shapes [][]*cel.Type
	for range n {
		first = append(slices.Clip(first), more)
		shapes = append(shapes, first)
	}
	return shapes
}

// isName reports whether people write a function by this name.
func isName(name string) bool { return !strings.ContainsAny(name, "@_!-?") }

// call is a function of CEL's libraries.
func (l *language) call(name string, args []ref.Val) ref.Val {
	f := l.bound[name]
	switch {
	case f == nil:
	case f.OperandTrait != 0 && !args[0].Type().HasTrait(f.OperandTrait):
	case len(args) == 1 && f.Unary != nil:
		return f.Unary(args[0])
	case len(args) == 2 && f.Binary != nil:
		return f.Binary(args[0], args[1])
	case f.Function != nil:
		return f.Function(args...)
	}
	if r, ok := args[0].(traits.Receiver); ok {
		return r.Receive(name, "", args[1:])
	}
	return types.NoSuchOverloadErr()
}
