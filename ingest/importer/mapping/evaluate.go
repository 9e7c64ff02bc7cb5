package mapping

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"
)

// evaluator evaluates the expressions of a mapping, for one goroutine. It is the
// [interpreter.Activation] of their variables.
type evaluator struct {
	m       *Mapping
	file    string
	lookups map[string]*Index
	plans   map[*expression]cel.Program
	regexps map[string]*regexp.Regexp

	row  *record
	rows ref.Val // of a group
	item ref.Val

	steps  int
	misses []string // lookups that found nothing, for the message of a reject
}

// ResolveName implements [interpreter.Activation].
func (v *evaluator) ResolveName(name string) (any, bool) {
	switch name {
	case "col":
		return v.row, true
	case "line":
		return types.Int(v.row.line), true
	case "file":
		return types.String(v.file), true
	case "rows":
		return v.rows, true
	case "item":
		return v.item, true
	}
	return nil, false
}

// Parent implements [interpreter.Activation].
func (v *evaluator) Parent() interpreter.Activation { return nil }

// plan makes the program of an expression.
func (v *evaluator) plan(e *expression) error {
	if e == nil || e.checked == nil {
		return nil
	}
	program, err := theLanguage().env.PlanProgram(e.checked, cel.CustomDecoratorV2(v.decorate))
	if err != nil {
		return fmt.Errorf("plan %s: %w", e.key, err)
	}
	v.plans[e] = program
	return nil
}

// failure is why a value could not be made: of a cell, or of none.
type failure struct {
	line          int
	column, value string
	reason        string
}

func (f *failure) Error() string {
	if f.column == "" {
		return f.reason
	}
	return f.column + " is " + strconv.Quote(cut(f.value)) + ": " + f.reason
}

var errSteps = fmt.Errorf("the expressions of one event take more than %d steps", MaxSteps)

// eval evaluates an expression over the current row.
func (v *evaluator) eval(e *expression) (ref.Val, *failure) {
	value, _, err := v.plans[e].Eval(v)
	if err == nil {
		return value, nil
	}
	if f := (*failure)(nil); errors.As(err, &f) {
		if f.column == "" {
			f = &failure{line: v.row.line, reason: e.key + ": " + f.reason}
		}
		return nil, f
	}
	return nil, &failure{line: v.row.line, reason: e.key + ": " + err.Error()}
}

// decorate replaces the calls of an expression by those of this language.
func (v *evaluator) decorate(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	call, ok := i.(interpreter.InterpretableCall)
	if !ok {
		return i, nil
	}
	args := call.Args()
	n := callNode{id: call.ID(), v: v, args: args}
	switch name := call.Function(); name {
	case getCall:
		return &getNode{n}, nil
	case hasCall:
		return &strictNode{callNode: n, fn: has, nulls: true}, nil
	case equalCall:
		return &strictNode{callNode: n, fn: func(a []ref.Val) ref.Val { return equal(a[0], a[1], true) }, nulls: true}, nil
	case unequalCall:
		return &strictNode{callNode: n, fn: func(a []ref.Val) ref.Val { return equal(a[0], a[1], false) }, nulls: true}, nil
	case andCall:
		return &logicNode{n, types.False}, nil
	case orCall:
		return &logicNode{n, types.True}, nil
	case ifCall:
		return &ifNode{n}, nil
	case operators.NotStrictlyFalse:
		return i, nil
	case numCall, "date", "extract":
		return &strictNode{callNode: n, fn: v.functions(name), blames: true}, nil
	case "min", "max", coalesceCall:
		return &strictNode{callNode: n, fn: v.functions(name), nulls: true}, nil
	default:
		fn := v.functions(name)
		if fn == nil {
			fn = func(args []ref.Val) ref.Val { return v.standard(name, args) }
		}
		return &strictNode{callNode: n, fn: fn}, nil
	}
}

func (v *evaluator) standard(name string, args []ref.Val) ref.Val {
	result := theLanguage().call(name, args)
	if e, ok := result.(*types.Err); ok && isMismatch(e) {
		return fail("%s cannot take %s", plainName(name), kindsOf(args))
	}
	return result
}

// isMismatch reports whether an error of a library says nothing but that the values are
// of the wrong types.
func isMismatch(e *types.Err) bool {
	return e.Is(types.NoSuchOverloadErr().(*types.Err)) || strings.HasPrefix(e.String(), "no such overload")
}

func plainName(name string) string {
	if plain, ok := operators.FindReverse(name); ok && plain != "" {
		return plain
	}
	return name
}

func kindsOf(args []ref.Val) string {
	var text strings.Builder
	for i, a := range args {
		if i > 0 {
			text.WriteString(", ")
		}
		text.WriteString(described(a))
	}
	return text.String()
}

// described is a value for a message: what it is, and the value if it is short.
func described(v ref.Val) string {
	switch v := v.(type) {
	case types.String:
		return "the text " + strconv.Quote(cut(string(v)))
	case types.Int, types.Uint, types.Double:
		return "the number " + textOf(v)
	case types.Bool:
		return fmt.Sprint(bool(v))
	case types.Timestamp:
		return "the time " + v.Format(time.RFC3339)
	case types.Duration:
		return "the duration " + v.Duration.String()
	case types.Null:
		return "null"
	case traits.Lister:
		return "a list"
	case traits.Mapper:
		return "a map"
	}
	return v.Type().TypeName()
}

func fail(format string, args ...any) ref.Val {
	return types.WrapErr(&failure{reason: fmt.Sprintf(format, args...)})
}

func isNull(v ref.Val) bool { return v == nil || v.Type() == types.NullType }

// callNode is a call whose arguments are evaluated by the planned program.
type callNode struct {
	id   int64
	v    *evaluator
	args []interpreter.InterpretableV2
}

// ID implements [interpreter.Interpretable].
func (n *callNode) ID() int64 { return n.id }

// step counts the work done, nil as long as it is not too much.
func (n *callNode) step() ref.Val {
	if n.v.steps++; n.v.steps > MaxSteps {
		return types.WrapErr(&failure{reason: errSteps.Error()})
	}
	return nil
}

// getNode is a part of a value: a column, a member, an element.
type getNode struct{ callNode }

// Eval implements [interpreter.Interpretable].
func (n *getNode) Eval(a interpreter.Activation) ref.Val { return evalAsFrame(n, a) }

// Exec implements [interpreter.InterpretableV2].
func (n *getNode) Exec(f *interpreter.ExecutionFrame) ref.Val {
	if wrong := n.step(); wrong != nil {
		return wrong
	}
	of := n.args[0].Exec(f)
	if types.IsUnknownOrError(of) || isNull(of) {
		return of
	}
	key := n.args[1].Exec(f)
	if types.IsUnknownOrError(key) || isNull(key) {
		return key
	}
	return get(of, key)
}

func get(of, key ref.Val) ref.Val {
	switch of := of.(type) {
	case *record:
		if name, ok := key.(types.String); ok {
			return of.value(string(name))
		}
	case traits.Mapper:
		if value, found := of.Find(key); found {
			return value
		}
		return types.NullValue
	case traits.Lister:
		i, ok := wholeNumber(key)
		if !ok {
			break
		}
		if size := int64(of.Size().(types.Int)); i < 0 || i >= size {
			return types.NullValue
		}
		return of.Get(types.Int(i))
	}
	return fail("%s has no part %s", described(of), textOf(key))
}

func wholeNumber(v ref.Val) (int64, bool) {
	switch v := v.(type) {
	case types.Int:
		return int64(v), true
	case types.Double:
		return int64(v), float64(v) == math.Trunc(float64(v))
	}
	return 0, false
}

func has(args []ref.Val) ref.Val {
	if isNull(args[0]) {
		return types.False
	}
	value := get(args[0], args[1])
	if types.IsError(value) {
		return types.False
	}
	return types.Bool(!isNull(value))
}

func equal(a, b ref.Val, want bool) ref.Val {
	if isNull(a) || isNull(b) {
		return types.Bool((isNull(a) && isNull(b)) == want)
	}
	if isNumber(a) && isText(b) {
		a, b = b, a
	}
	if isText(a) && isNumber(b) {
		return fail("%s is compared with %s; write num(…) around the text, or quotes around the number", described(a), described(b))
	}
	return types.Bool((a.Equal(b) == types.True) == want)
}

func isNumber(v ref.Val) bool {
	switch v.(type) {
	case types.Int, types.Uint, types.Double:
		return true
	}
	return false
}

func isText(v ref.Val) bool {
	_, ok := v.(types.String)
	return ok
}

// logicNode is && or ||: it ends at the first side that decides, and an error of
// one side counts only if the other does not decide.
type logicNode struct {
	callNode
	decides types.Bool
}

// Eval implements [interpreter.Interpretable].
func (n *logicNode) Eval(a interpreter.Activation) ref.Val { return evalAsFrame(n, a) }

// Exec implements [interpreter.InterpretableV2].
func (n *logicNode) Exec(f *interpreter.ExecutionFrame) ref.Val {
	if wrong := n.step(); wrong != nil {
		return wrong
	}
	var failed ref.Val
	for _, arg := range n.args {
		value := condition(arg.Exec(f))
		if value == n.decides {
			return n.decides
		}
		if types.IsUnknownOrError(value) && failed == nil {
			failed = value
		}
	}
	if failed != nil {
		return failed
	}
	return !n.decides
}

// condition is a value where true or false is wanted; null does not hold.
func condition(v ref.Val) ref.Val {
	switch v := v.(type) {
	case types.Bool, *types.Err, *types.Unknown:
		return v
	}
	if isNull(v) {
		return types.False
	}
	return fail("%s is no condition; compare it with something", described(v))
}

// ifNode is ? :.
type ifNode struct{ callNode }

// Eval implements [interpreter.Interpretable].
func (n *ifNode) Eval(a interpreter.Activation) ref.Val { return evalAsFrame(n, a) }

// Exec implements [interpreter.InterpretableV2].
func (n *ifNode) Exec(f *interpreter.ExecutionFrame) ref.Val {
	if wrong := n.step(); wrong != nil {
		return wrong
	}
	switch holds := condition(n.args[0].Exec(f)); holds {
	case types.True:
		return n.args[1].Exec(f)
	case types.False:
		return n.args[2].Exec(f)
	default:
		return holds
	}
}

// strictNode is a function: an error of an argument is its error, and a null
// makes null of it unless it looks at nulls.
type strictNode struct {
	callNode
	fn     func([]ref.Val) ref.Val
	nulls  bool
	blames bool // an error is of the column that is its first argument
}

// Eval implements [interpreter.Interpretable].
func (n *strictNode) Eval(a interpreter.Activation) ref.Val { return evalAsFrame(n, a) }

// Exec implements [interpreter.InterpretableV2].
func (n *strictNode) Exec(f *interpreter.ExecutionFrame) ref.Val {
	if wrong := n.step(); wrong != nil {
		return wrong
	}
	args := make([]ref.Val, len(n.args))
	null := false
	for i, arg := range n.args {
		args[i] = arg.Exec(f)
		if types.IsUnknownOrError(args[i]) {
			return args[i]
		}
		null = null || isNull(args[i])
	}
	if null && !n.nulls {
		return types.NullValue
	}
	result := n.fn(args)
	if n.blames && types.IsError(result) {
		n.blame(f, args[0], result)
	}
	return result
}

// blame names the cell of which a function could not make anything.
func (n *strictNode) blame(f *interpreter.ExecutionFrame, value, result ref.Val) {
	cell, ok := n.args[0].(*getNode)
	if !ok {
		return
	}
	of, isRow := cell.args[0].Exec(f).(*record)
	name, isText := cell.args[1].Exec(f).(types.String)
	if why := (*failure)(nil); isRow && isText && of.table == "" && errors.As(result.(*types.Err), &why) && why.column == "" {
		why.line, why.column, why.value = of.line, string(name), textOf(value)
	}
}

// evalAsFrame evaluates a node for a caller that knows nothing of frames; what
// it hands on is one, as programs run in frames.
func evalAsFrame(n interpreter.InterpretableV2, a interpreter.Activation) ref.Val {
	f, ok := a.(*interpreter.ExecutionFrame)
	if !ok {
		panic("not reached: programs run in frames")
	}
	return n.Exec(f)
}

// textOf is the text that a value stands for; of a number the decimal.
func textOf(v ref.Val) string {
	switch v := v.(type) {
	case types.String:
		return string(v)
	case types.Double:
		if text, ok := decimalText(float64(v)); ok {
			return text
		}
	case types.Int:
		return strconv.FormatInt(int64(v), 10)
	case types.Uint:
		return strconv.FormatUint(uint64(v), 10)
	case types.Bool:
		return strconv.FormatBool(bool(v))
	case types.Timestamp:
		return v.UTC().Format(time.RFC3339Nano)
	}
	return fmt.Sprint(v.Value())
}

// functions are those of this language, nil of others.
func (v *evaluator) functions(name string) func([]ref.Val) ref.Val {
	switch name {
	case numCall:
		return func(a []ref.Val) ref.Val { return v.num(a[0]) }
	case "date":
		return v.date
	case "text":
		return func(a []ref.Val) ref.Val {
			switch a[0].(type) {
			case traits.Lister, traits.Mapper:
				return fail("text of %s; a single value is wanted", described(a[0]))
			}
			return types.String(textOf(a[0]))
		}
	case "extract":
		return v.extract
	case lookupCall:
		return func(a []ref.Val) ref.Val { return v.lookup(a, false) }
	case lookupAll:
		return func(a []ref.Val) ref.Val { return v.lookup(a, true) }
	case coalesceCall:
		return func(a []ref.Val) ref.Val {
			if i := slices.IndexFunc(a, func(v ref.Val) bool { return !isNull(v) }); i >= 0 {
				return a[i]
			}
			return types.NullValue
		}
	case "sum":
		return func(a []ref.Val) ref.Val { return sum(a[0]) }
	case "min":
		return func(a []ref.Val) ref.Val { return extreme(a, types.IntNegOne) }
	case "max":
		return func(a []ref.Val) ref.Val { return extreme(a, types.IntOne) }
	case "round":
		return round
	case operators.Add, operators.Subtract, operators.Multiply, operators.Divide, operators.Modulo:
		return func(a []ref.Val) ref.Val { return compute(name, a[0], a[1]) }
	case operators.Negate:
		return negate
	case operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		return func(a []ref.Val) ref.Val { return ordered(name, a[0], a[1]) }
	case operators.In:
		return in
	}
	return nil
}

func (v *evaluator) num(x ref.Val) ref.Val {
	switch x := x.(type) {
	case types.Int, types.Uint, types.Double:
		return x
	case types.String:
		text, ok := v.m.numbers.read(string(x))
		if !ok {
			return fail("%s", v.m.numbers.want(string(x)))
		}
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fail("is beyond what numbers can be")
		}
		return types.Double(n)
	}
	return fail("num cannot take %s; a text is wanted", described(x))
}

func (v *evaluator) date(a []ref.Val) ref.Val {
	if at, ok := a[0].(types.Timestamp); ok {
		return at
	}
	reader := v.m.times
	if len(a) == 2 {
		layout, ok := a[1].(types.String)
		if !ok {
			return fail("date is given %s as a layout; a text is wanted", described(a[1]))
		}
		if wrong := checkLayout(string(layout)); wrong != "" {
			return fail("%s", wrong)
		}
		if at, ok := reader.by(string(layout), strings.TrimSpace(textOf(a[0]))); ok {
			return types.Timestamp{Time: at}
		}
		return fail("does not fit %s", string(layout))
	}
	switch a[0].(type) {
	case types.String, types.Int, types.Double:
	default:
		return fail("date cannot take %s; a text is wanted", described(a[0]))
	}
	at, ok := reader.read(textOf(a[0]))
	if !ok {
		return fail("%s", reader.want())
	}
	return types.Timestamp{Time: at}
}

// extract is the first group of the pattern, or all that it fits; null if it
// fits nowhere.
func (v *evaluator) extract(a []ref.Val) ref.Val {
	pattern, ok := a[1].(types.String)
	if !ok {
		return fail("extract is given %s as a pattern; a text is wanted", described(a[1]))
	}
	re := v.regexps[string(pattern)]
	if re == nil {
		var err error
		if re, err = regexp.Compile(string(pattern)); err != nil {
			return fail("extract: %v", err)
		}
		if len(v.regexps) < maxPatterns {
			v.regexps[string(pattern)] = re
		}
	}
	m := re.FindStringSubmatch(textOf(a[0]))
	if m == nil {
		return types.NullValue
	}
	return types.String(m[min(1, len(m)-1)])
}

func (v *evaluator) lookup(a []ref.Val, all bool) ref.Val {
	name, _ := a[0].(types.String)
	index := v.lookups[string(name)]
	if index == nil {
		return fail("the lookup %s is not loaded", name)
	}
	keys := make([]string, len(a)-1)
	for i := range keys {
		keys[i] = textOf(a[i+1])
	}
	found := index.rows[joinKeys(keys)]
	if all {
		values := make([]ref.Val, len(found))
		for i := range found {
			values[i] = found[i]
		}
		return types.NewRefValList(types.DefaultTypeAdapter, values)
	}
	if len(found) == 0 {
		if len(v.misses) < 4 {
			v.misses = append(v.misses, fmt.Sprintf("lookup %s has no row %q", name, cut(joinID(keys))))
		}
		return types.NullValue
	}
	for _, other := range found[1:] {
		if !found[0].same(other) {
			return fail("lookup %s has several rows %q, on lines %d and %d; a key names one row, lookupAll gives all", name, cut(joinID(keys)), found[0].line, other.line)
		}
	}
	return found[0]
}

func numberOf(v ref.Val) (float64, bool) {
	switch v := v.(type) {
	case types.Int:
		return float64(v), true
	case types.Uint:
		return float64(v), true
	case types.Double:
		return float64(v), true
	}
	return 0, false
}

// sum adds what is not null, without losing digits on the way; null of nulls
// alone.
func sum(list ref.Val) ref.Val {
	l, ok := list.(traits.Lister)
	if !ok {
		return fail("sum cannot take %s; a list is wanted, as sum(rows.map(r, num(r.amount)))", described(list))
	}
	total, rest := 0.0, 0.0
	counted := int64(0)
	size := int64(l.Size().(types.Int))
	for i := range size {
		v := l.Get(types.Int(i))
		if isNull(v) {
			continue
		}
		x, ok := numberOf(v)
		if !ok {
			return fail("sum meets %s; write num(…) around texts", described(v))
		}
		// Neumaier's: what the addition loses is added in the end.
		next := total + x
		if math.Abs(total) >= math.Abs(x) {
			rest += (total - next) + x
		} else {
			rest += (x - next) + total
		}
		total = next
		counted++
	}
	if counted == 0 && size > 0 {
		return types.NullValue
	}
	return types.Double(total + rest)
}

// extreme is the least or greatest of values, or of the one list.
func extreme(a []ref.Val, direction types.Int) ref.Val {
	if l, ok := a[0].(traits.Lister); ok && len(a) == 1 {
		a = nil
		for i := range int64(l.Size().(types.Int)) {
			a = append(a, l.Get(types.Int(i)))
		}
	}
	var best ref.Val = types.NullValue
	for _, v := range a {
		if isNull(v) {
			continue
		}
		if isNull(best) {
			best = v
			continue
		}
		order := compared(v, best)
		if types.IsError(order) {
			return order
		}
		if order == direction {
			best = v
		}
	}
	return best
}

// compared is -1, 0 or 1 of two values of one kind.
func compared(a, b ref.Val) ref.Val {
	if isText(a) != isText(b) || isNumber(a) != isNumber(b) {
		return fail("%s is compared with %s; write num(…) or date(…) around a text that is to be one", described(a), described(b))
	}
	if c, ok := a.(traits.Comparer); ok {
		if order := c.Compare(b); !types.IsError(order) {
			return order
		}
	}
	return fail("%s and %s have no order", described(a), described(b))
}

func ordered(operator string, a, b ref.Val) ref.Val {
	order := compared(a, b)
	if types.IsError(order) {
		return order
	}
	switch operator {
	case operators.Less:
		return types.Bool(order == types.IntNegOne)
	case operators.LessEquals:
		return types.Bool(order != types.IntOne)
	case operators.Greater:
		return types.Bool(order == types.IntOne)
	}
	return types.Bool(order != types.IntNegOne)
}

func in(a []ref.Val) ref.Val {
	switch of := a[1].(type) {
	case *record:
		return of.Contains(a[0])
	case traits.Lister:
		for i := range int64(of.Size().(types.Int)) {
			if is := equal(a[0], of.Get(types.Int(i)), true); is != types.False {
				return is
			}
		}
		return types.False
	case traits.Container:
		return of.Contains(a[0])
	}
	return fail("%s is no list", described(a[1]))
}

func round(a []ref.Val) ref.Val {
	x, ok := numberOf(a[0])
	if !ok {
		return fail("round cannot take %s; a number is wanted, as round(num(col.price), 2)", described(a[0]))
	}
	places := int64(0)
	if len(a) == 2 {
		places, ok = wholeNumber(a[1])
	}
	if !ok || places < 0 || places > 6 {
		return fail("round to %s digits; 0 to 6 are wanted", textOf(a[1]))
	}
	return types.Double(roundTo(x, places))
}

func negate(a []ref.Val) ref.Val {
	if x, ok := numberOf(a[0]); ok {
		return types.Double(0 - x)
	}
	if d, ok := a[0].(types.Duration); ok {
		return d.Negate()
	}
	return fail("minus %s; write num(…) around a text that is to be a number", described(a[0]))
}

// compute is + - * / %. Numbers of all kinds are decimals; texts join texts.
func compute(operator string, a, b ref.Val) ref.Val {
	x, isX := numberOf(a)
	y, isY := numberOf(b)
	if isX && isY {
		return arithmetic(operator, x, y)
	}
	switch adder, canAdd := a.(traits.Adder); {
	case operator == operators.Add && canAdd && !isX && !isY:
		if sa, sb := isText(a), isText(b); sa && sb && utf8.RuneCountInString(string(a.(types.String)))+utf8.RuneCountInString(string(b.(types.String))) > maxText {
			return fail("a text of more than %d characters", maxText)
		}
		if sum := adder.Add(b); !types.IsError(sum) {
			return sum
		}
	case operator == operators.Subtract:
		if s, ok := a.(traits.Subtractor); ok && !isX {
			if difference := s.Subtract(b); !types.IsError(difference) {
				return difference
			}
		}
	}
	hint := ""
	switch {
	case isText(a) && isNumber(b), isNumber(a) && isText(b):
		hint = "; write num(…) around the text to compute, or text(…) around the number to join"
	case isText(a) || isText(b):
		hint = "; write num(…) around a text that is to be a number"
	}
	return fail("%s %s %s cannot be%s", described(a), plainName(operator), described(b), hint)
}

func arithmetic(operator string, x, y float64) ref.Val {
	switch operator {
	case operators.Add:
		return types.Double(x + y)
	case operators.Subtract:
		return types.Double(x - y)
	case operators.Multiply:
		return types.Double(x * y)
	}
	if y == 0 {
		return fail("division by zero")
	}
	if operator == operators.Divide {
		return types.Double(x / y)
	}
	return types.Double(math.Mod(x, y))
}
