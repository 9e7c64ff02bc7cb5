package query

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/dossier360/dossier/events"
)

// checkedText is an expression whose names and types are right.
type checkedText struct {
	l       *language
	source  *source
	factory ast.ExprFactory
	checked *ast.AST
	lastID  int64
}

// check parses and checks an expression. Its errors are of type *sourceError.
func (l *language) check(text string, zone *events.Zone) (*checkedText, error) {
	if err := tooLong(text); err != nil {
		return nil, err
	}
	src, err := readSource(text)
	if err != nil {
		return nil, err
	}
	c := &checkedText{l: l, source: src, factory: ast.NewExprFactory()}
	parsed, issues := l.env.Parse(src.text)
	if issues.Err() != nil {
		return nil, c.explain(issues)
	}
	c.checked = parsed.NativeRep()
	c.lastID = ast.MaxID(c.checked)
	names := resolver{c: c}
	names.typeOf(c.checked.Expr(), nil)
	if names.wrong != nil {
		return nil, names.wrong
	}
	if err := c.rewrite(zone); err != nil {
		return nil, err
	}
	checked, issues := l.env.Check(parsed)
	if issues.Err() != nil {
		return nil, c.explain(issues)
	}
	c.checked = checked.NativeRep()
	if err := c.compare(); err != nil {
		return nil, err
	}
	c.replace(zone)
	return c, nil
}

// fail says what is wrong at an expression; at its beginning, if it is a field.
func (c *checkedText) fail(at ast.Expr, format string, args ...any) error {
	for at.Kind() == ast.SelectKind {
		at = at.AsSelect().Operand()
	}
	location := c.checked.SourceInfo().GetStartLocation(at.ID())
	return c.failAt(location.Line(), location.Column()+1, format, args...)
}

func (c *checkedText) failAt(line, column int, format string, args ...any) error {
	line, column = c.source.at(line, max(1, column)) // CEL has no place for the end of nothing
	return &sourceError{line, column, fmt.Sprintf(format, args...)}
}

// newID is the id of a node that was not in the text.
func (c *checkedText) newID(t *types.Type) int64 {
	c.lastID++
	c.checked.SetType(c.lastID, t)
	return c.lastID
}

// guard puts every condition on values into @known(): absent is false there,
// and && || ! ? see nothing but true and false. A yes or no that is compared, or
// stands in a list, is a value, and may be absent.
func (c *checkedText) guard(root ast.Expr) {
	var conditions []ast.Expr
	var visit func(e ast.Expr, isValue bool)
	visit = func(e ast.Expr, isValue bool) {
		combines := e.Kind() == ast.CallKind && slices.Contains(logic, e.AsCall().FunctionName())
		chooses := combines && e.AsCall().FunctionName() == operators.Conditional
		for i, child := range children(e) {
			switch {
			case chooses && i == 0:
				visit(child.expr, false)
				if c.checked.GetType(child.expr.ID()).Kind() != types.BoolKind { // one of any kind
					conditions = append(conditions, child.expr)
				}
			case chooses:
				visit(child.expr, isValue)
			default:
				visit(child.expr, !combines)
			}
		}
		if isValue || combines || e.Kind() == ast.LiteralKind || e.Kind() == ast.IdentKind {
			return
		}
		if c.checked.GetType(e.ID()).Kind() == types.BoolKind {
			conditions = append(conditions, e)
		}
	}
	visit(root, false)
	for _, e := range conditions {
		id := c.newID(types.BoolType)
		if reference := c.checked.ReferenceMap()[e.ID()]; reference != nil {
			c.checked.SetReference(id, reference)
		}
		inner := c.factory.NewUnspecifiedExpr(id)
		inner.SetKindCase(e)
		e.SetKindCase(c.factory.NewCall(e.ID(), guarded, inner))
		c.checked.SetReference(e.ID(), ast.NewFunctionReference(guarded))
	}
}

var logic = []string{
	operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot, operators.Conditional, operators.NotStrictlyFalse, guarded,
}

// reads tells what of the profile an expression reads, and whether rows have
// all of it. Of single traits most have most: then the row itself says so.
func (c *checkedText) reads(e ast.Expr) (all reads, onRows bool) {
	onRows = true
	var visit func(e ast.Expr, local []string)
	visit = func(e ast.Expr, local []string) {
		if ask, name := traitAsked(e, local); ask != "" {
			all.trait(name)
			return
		}
		if name, ok := traitNamed(e, local); ok {
			all.trait(name)
			onRows = false
			return
		}
		switch e.Kind() {
		case ast.IdentKind:
			if f := c.l.root[e.AsIdent()]; f != nil && !slices.Contains(local, e.AsIdent()) {
				all.fields = append(all.fields, e.AsIdent())
				all.allTraits = all.allTraits || e.AsIdent() == traitsField
				onRows = onRows && f.row != nil
			}
		case ast.SelectKind:
			sel := e.AsSelect()
			all.companies = all.companies || sel.FieldName() == "companyId"
			if section := c.section(sel.Operand(), local); section != nil {
				all.fields = append(all.fields, section.descriptor.JSONName())
				all.referrer = all.referrer || sel.FieldName() == "referredBy"
				f := c.l.table[section.descriptor.Message().FullName()][sel.FieldName()]
				onRows = onRows && f.row != nil
				return
			}
			visit(sel.Operand(), local)
		default:
			for _, child := range children(e) {
				visit(child.expr, append(slices.Clip(local), child.binds...))
			}
		}
	}
	visit(e, nil)
	all.fields, all.traits = distinct(all.fields), distinct(all.traits)
	return all, onRows
}

// section is the section that an expression names, nil if it is none.
func (c *checkedText) section(e ast.Expr, local []string) *field {
	if e.Kind() != ast.IdentKind || slices.Contains(local, e.AsIdent()) {
		return nil
	}
	f := c.l.root[e.AsIdent()]
	if f == nil || f.descriptor.IsMap() || f.descriptor.IsList() || !slices.Contains(always, f.descriptor.FullName()) {
		return nil
	}
	return f
}

// child is an expression in another, and the names that it may use there.
type child struct {
	expr  ast.Expr
	binds []string
}

func children(e ast.Expr) []child {
	var all []child
	add := func(e ast.Expr, binds ...string) { all = append(all, child{e, binds}) }
	switch e.Kind() {
	case ast.CallKind:
		if e.AsCall().IsMemberFunction() {
			add(e.AsCall().Target())
		}
		for _, arg := range e.AsCall().Args() {
			add(arg)
		}
	case ast.SelectKind:
		add(e.AsSelect().Operand())
	case ast.ListKind:
		for _, element := range e.AsList().Elements() {
			add(element)
		}
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			add(entry.AsMapEntry().Key())
			add(entry.AsMapEntry().Value())
		}
	case ast.ComprehensionKind:
		loop := e.AsComprehension()
		binds := []string{loop.AccuVar(), loop.IterVar()}
		if loop.HasIterVar2() {
			binds = append(binds, loop.IterVar2())
		}
		add(loop.IterRange())
		add(loop.AccuInit())
		add(loop.LoopCondition(), binds...)
		add(loop.LoopStep(), binds...)
		add(loop.Result(), loop.AccuVar())
	}
	return all
}

// resolver looks for names that there are not, before CEL does: it knows what
// to write instead. Where it cannot tell a type, CEL will.
type resolver struct {
	c     *checkedText
	wrong error // the first by place
	at    [2]int
}

// scope is the types of the names that loops bind.
type scope map[string]*types.Type

// typeOf is the type of an expression, nil if only CEL can tell.
func (r *resolver) typeOf(e ast.Expr, s scope) *types.Type {
	switch e.Kind() {
	case ast.IdentKind:
		return r.ident(e, s)
	case ast.SelectKind:
		return r.selected(e, r.typeOf(e.AsSelect().Operand(), s))
	case ast.ComprehensionKind:
		r.loop(e.AsComprehension(), s)
		return nil
	case ast.CallKind:
		if e.AsCall().FunctionName() == operators.Index {
			of := r.typeOf(e.AsCall().Args()[0], s)
			r.typeOf(e.AsCall().Args()[1], s)
			return elementOf(of)
		}
	case ast.StructKind:
		r.fail(e, 0, "%s{…} makes a message; filters only ask", e.AsStruct().TypeName())
	}
	for _, child := range children(e) {
		r.typeOf(child.expr, s)
	}
	return nil
}

func elementOf(t *types.Type) *types.Type {
	if t == nil || len(t.Parameters()) == 0 {
		return nil
	}
	return t.Parameters()[len(t.Parameters())-1]
}

func (r *resolver) loop(loop ast.ComprehensionExpr, s scope) {
	over := r.typeOf(loop.IterRange(), s)
	r.typeOf(loop.AccuInit(), s)
	inner := scope{}
	maps.Copy(inner, s)
	inner[loop.AccuVar()] = nil
	inner[loop.IterVar()] = nil
	if over != nil && over.Kind() == types.ListKind {
		inner[loop.IterVar()] = elementOf(over)
	}
	if loop.HasIterVar2() {
		inner[loop.IterVar2()] = elementOf(over)
	}
	r.typeOf(loop.LoopCondition(), inner)
	r.typeOf(loop.LoopStep(), inner)
	r.typeOf(loop.Result(), inner)
}

func (r *resolver) ident(e ast.Expr, s scope) *types.Type {
	name := e.AsIdent()
	if t, bound := s[name]; bound {
		return t
	}
	if name == nowName {
		return types.TimestampType
	}
	if f := r.c.l.root[name]; f != nil {
		return f.Type
	}
	if hint := logicWords[strings.ToLower(name)]; hint != "" {
		r.fail(e, 0, "no field %q; %s", name, hint)
		return nil
	}
	r.fail(e, 0, "no field %q%s", name, r.c.l.nearest(name, r.c.l.root, ""))
	return nil
}

// logicWords are what other languages call what CEL writes in signs.
var logicWords = map[string]string{
	"and": "write &&", "or": "write ||", "not": "write !", "null": "write has(…) to ask whether a field is there", "nil": "write has(…) to ask whether a field is there",
	"none": "write has(…) to ask whether a field is there", "like": `write name.contains("…")`, "is": "write ==",
}

// selected is the type of a field of something of type t.
func (r *resolver) selected(e ast.Expr, t *types.Type) *types.Type {
	name := e.AsSelect().FieldName()
	if t == nil {
		return nil
	}
	switch t.Kind() {
	case types.StructKind:
		named := r.c.l.table[protoreflect.FullName(t.TypeName())]
		if f := named[name]; f != nil {
			return f.Type
		}
		of, _ := pathNames(e.AsSelect().Operand())
		owner := strings.Join(of, ".")
		where := ""
		if owner != "" {
			where = " in " + owner
			owner += "."
		}
		r.fail(e, len(name), "no field %q%s%s", name, where, r.c.l.nearest(name, named, owner))
	case types.MapKind:
		return elementOf(t)
	case types.DynKind, types.TypeParamKind, types.AnyKind:
	case types.ListKind:
		r.fail(e, len(name), "a list has no field %q; write .exists(x, x.%s == …)", name, name)
	default:
		r.fail(e, len(name), "%s has no field %q", kindOf(t), name)
	}
	return nil
}

// fail keeps the first error of the text. CEL places a selection at its dot.
func (r *resolver) fail(e ast.Expr, nameLength int, format string, args ...any) {
	location := r.c.checked.SourceInfo().GetStartLocation(e.ID())
	line, column := location.Line(), location.Column()+1
	if nameLength > 0 {
		column++
	}
	if r.wrong != nil && (r.at[0] < line || r.at[0] == line && r.at[1] <= column) {
		return
	}
	r.at, r.wrong = [2]int{line, column}, r.c.failAt(line, column, format, args...)
}

// nearest says which field may have been meant.
func (l *language) nearest(name string, named map[string]*field, owner string) string {
	best, least := "", 0
	consider := func(candidate, shown string) {
		d := distance(strings.ToLower(name), strings.ToLower(candidate))
		if d <= max(1, min(len(name), len(candidate))/3) && (best == "" || d < least) {
			best, least = shown, d
		}
	}
	for _, candidate := range sortedNames(named) {
		consider(candidate, owner+candidate)
	}
	if best == "" || least > 0 {
		for _, section := range sortedNames(l.root) {
			f := l.root[section]
			if f.Type.Kind() != types.StructKind {
				continue
			}
			for _, candidate := range sortedNames(l.table[protoreflect.FullName(f.Type.TypeName())]) {
				if strings.EqualFold(candidate, name) {
					consider(candidate, section+"."+candidate)
				}
			}
		}
	}
	if best == "" {
		if len(named) > 24 {
			return "; docs/QUERY.md lists them"
		}
		return "; there are " + strings.Join(sortedNames(named), ", ")
	}
	return "; did you mean " + best + "?"
}

// distance is how many characters must be inserted, dropped or changed to make
// one name of another.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// rewrite makes every number a double, save where a list is indexed, and reads
// days: timestamp("2025-01-31") is the first instant of that day in the
// deployment's zone, duration("30d") thirty times 24 hours.
func (c *checkedText) rewrite(zone *events.Zone) error {
	var wrong error
	var counting []ast.Expr
	index := map[int64]bool{}
	ast.PreOrderVisit(c.checked.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.CallKind:
			call := e.AsCall()
			switch {
			case call.FunctionName() == operators.Index:
				index[call.Args()[1].ID()] = true
			case slices.Contains(countingFunctions, call.FunctionName()):
				counting = append(counting, e)
			case len(call.Args()) == 1 && !call.IsMemberFunction():
				c.rewriteDays(call.FunctionName(), call.Args()[0], zone)
			}
		case ast.LiteralKind:
			switch n := e.AsLiteral().(type) {
			case types.Int:
				if !index[e.ID()] {
					e.SetKindCase(c.factory.NewLiteral(e.ID(), types.Double(n)))
				}
			case types.Uint:
				e.SetKindCase(c.factory.NewLiteral(e.ID(), types.Double(n)))
			case types.Null:
				if wrong == nil {
					wrong = c.fail(e, "nothing is null here; write has(…) to ask whether a field is there")
				}
			}
		}
	}))
	for _, e := range counting {
		c.lastID++
		inner := c.factory.NewUnspecifiedExpr(c.lastID)
		inner.SetKindCase(e)
		info := c.checked.SourceInfo()
		if place, ok := info.GetOffsetRange(e.ID()); ok {
			info.SetOffsetRange(inner.ID(), place)
		}
		e.SetKindCase(c.factory.NewCall(e.ID(), overloads.TypeConvertDouble, inner))
	}
	return wrong
}

// clockFunctions read a clock or a calendar.
var clockFunctions = []string{
	overloads.TimeGetFullYear, overloads.TimeGetMonth, overloads.TimeGetDayOfYear, overloads.TimeGetDayOfMonth, overloads.TimeGetDate,
	overloads.TimeGetDayOfWeek, overloads.TimeGetHours, overloads.TimeGetMinutes, overloads.TimeGetSeconds, overloads.TimeGetMilliseconds,
}

// countingFunctions are those that make whole numbers.
var countingFunctions = append([]string{overloads.Size, overloads.TypeConvertInt, overloads.TypeConvertUint}, clockFunctions...)

// daysAndMore is a span of time that begins with days.
var daysAndMore = regexp.MustCompile(`^(-?)([0-9]{1,5})d([0-9].*)?$`)

func (c *checkedText) rewriteDays(function string, arg ast.Expr, zone *events.Zone) {
	if arg.Kind() != ast.LiteralKind {
		return
	}
	text, isText := arg.AsLiteral().(types.String)
	if !isText {
		return
	}
	switch function {
	case overloads.TypeConvertTimestamp:
		if day, err := time.Parse(time.DateOnly, string(text)); err == nil {
			start := events.FromMicros(zone.DayStart(int32(day.Unix() / (24 * 60 * 60))))
			arg.SetKindCase(c.factory.NewLiteral(arg.ID(), types.String(start.Format(time.RFC3339Nano))))
		}
	case overloads.TypeConvertDuration:
		if days := daysAndMore.FindStringSubmatch(string(text)); days != nil {
			n, err := strconv.Atoi(days[2])
			if err == nil {
				arg.SetKindCase(c.factory.NewLiteral(arg.ID(), types.String(fmt.Sprintf("%s%dh%s", days[1], 24*n, days[3]))))
			}
		}
	}
}

// replace puts functions of ours in the place of those of CEL that mean another
// thing: see [equality] and [zoned].
func (c *checkedText) replace(zone *events.Zone) {
	ours := map[string]string{operators.Equals: equality, operators.NotEquals: inequality}
	var calls []ast.Expr
	ast.PostOrderVisit(c.checked.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() == ast.CallKind {
			calls = append(calls, e)
		}
	}))
	for _, e := range calls {
		call := e.AsCall()
		switch {
		case ours[call.FunctionName()] != "":
			name := ours[call.FunctionName()]
			e.SetKindCase(c.factory.NewCall(e.ID(), name, call.Args()...))
			c.checked.SetReference(e.ID(), ast.NewFunctionReference(name))
		case call.IsMemberFunction() && len(call.Args()) == 0 && slices.Contains(clockFunctions, call.FunctionName()):
			at := c.newID(c.checked.GetType(call.Target().ID()))
			here := c.factory.NewCall(at, zoned, call.Target(), c.factory.NewLiteral(c.newID(zoneType), zoneValue{zone}))
			c.checked.SetReference(at, ast.NewFunctionReference(zoned))
			e.SetKindCase(c.factory.NewMemberCall(e.ID(), call.FunctionName(), here))
		}
	}
}

// compare refuses comparisons that can never hold: equality takes anything, so
// CEL does not. It refuses values where conditions belong.
func (c *checkedText) compare() error {
	var wrong error
	ast.PostOrderVisit(c.checked.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if wrong != nil || e.Kind() != ast.CallKind {
			return
		}
		call := e.AsCall()
		switch name := call.FunctionName(); name {
		case operators.Equals, operators.NotEquals:
			wrong = c.comparable(e, call.Args()[0], call.Args()[1], c.checked.GetType(call.Args()[1].ID()))
		case operators.In:
			of := c.checked.GetType(call.Args()[1].ID())
			within := elementOf(of)
			if of.Kind() == types.MapKind {
				within = types.StringType
			}
			if within != nil {
				wrong = c.comparable(e, call.Args()[0], call.Args()[1], within)
			}
		case operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot:
			for _, arg := range call.Args() {
				if t := c.checked.GetType(arg.ID()); t.Kind() != types.BoolKind && wrong == nil {
					wrong = c.fail(arg, "%s stands where a condition belongs; compare it with something, as == true", kindOf(t))
				}
			}
		}
	}))
	return wrong
}

func (c *checkedText) comparable(e, left, right ast.Expr, rightType *types.Type) error {
	leftType := c.checked.GetType(left.ID())
	a, b := kindOf(leftType), kindOf(rightType)
	if a == anything || b == anything || a == b && a != aMessage && a != "a map" {
		return nil
	}
	for _, side := range []struct {
		e ast.Expr
		t *types.Type
	}{{left, leftType}, {right, rightType}} {
		if hint := c.valueOf(side.e, side.t); hint != "" {
			return c.fail(e, "%s", hint)
		}
	}
	return c.fail(e, "%s cannot be compared with %s%s", a, b, hintFor(a, b))
}

// valueOf tells whoever wrote traits.x where its value belongs; "" if there is
// no such thing at e, which is of type t.
func (c *checkedText) valueOf(e ast.Expr, t *types.Type) string {
	if t == nil || t.Kind() != types.StructKind || c.l.table[protoreflect.FullName(t.TypeName())]["value"] == nil {
		return ""
	}
	names, isPath := pathNames(e)
	if !isPath {
		return ""
	}
	for i, name := range names[1:] {
		if names[i+1] = "." + name; !plainName.MatchString(name) {
			names[i+1] = fmt.Sprintf("[%q]", name)
		}
	}
	path := strings.Join(names, "")
	return fmt.Sprintf("%s has more to it than its value; write %s.value", path, path)
}

// plainName is what stands after a dot.
var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

const (
	anything = "a value"
	aMessage = "a section"
)

func hintFor(a, b string) string {
	switch {
	case a == "a time" && b == "a text" || a == "a text" && b == "a time":
		return `; write timestamp("2025-01-31")`
	case a == "a span of time" && b == "a text" || a == "a text" && b == "a span of time":
		return `; write duration("30d")`
	case a == "a time" && b == "a number" || a == "a number" && b == "a time":
		return `; a day is timestamp("2025-01-31")`
	case a == "a number" && b == "a text" || a == "a text" && b == "a number":
		return "; numbers stand without quotes, text in quotes"
	case a == "a span of time" && b == "a number" || a == "a number" && b == "a span of time":
		return `; write duration("30d")`
	}
	return ""
}

// kindOf names a type as people call it.
func kindOf(t *types.Type) string {
	switch t.Kind() {
	case types.IntKind, types.UintKind, types.DoubleKind:
		return "a number"
	case types.StringKind:
		return "a text"
	case types.BoolKind:
		return "a yes or no"
	case types.TimestampKind:
		return "a time"
	case types.DurationKind:
		return "a span of time"
	case types.ListKind:
		return "a list"
	case types.MapKind:
		return "a map"
	case types.StructKind:
		return aMessage
	case types.NullTypeKind:
		return "null"
	default:
		return anything
	}
}

// explain puts the first issue that CEL has in words for who wrote the text.
func (c *checkedText) explain(issues *cel.Issues) error {
	all := issues.Errors()
	first := all[0]
	for _, e := range all[1:] {
		if e.Location.Line() < first.Location.Line() || e.Location.Line() == first.Location.Line() && e.Location.Column() < first.Location.Column() {
			first = e
		}
	}
	text := c.plainIssue(first.Message)
	if noOverload.MatchString(first.Message) {
		text = cmp.Or(c.operandIssue(first.ExprID), text)
	}
	return c.failAt(max(1, first.Location.Line()), first.Location.Column()+1, "%s", text)
}

// operandIssue says which operand of a call is no value; "" if none.
func (c *checkedText) operandIssue(id int64) string {
	text := ""
	ast.PostOrderVisit(c.checked.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.ID() != id || text != "" {
			return
		}
		names := resolver{c: c}
		for _, child := range children(e) {
			text = cmp.Or(text, c.valueOf(child.expr, names.typeOf(child.expr, nil)))
		}
	}))
	return text
}

// plainIssues are whole messages of CEL in other words.
var plainIssues = map[string]string{
	"invalid timestamp argument":          `no time; write a day, as "2025-01-31", or an instant, as "2025-01-31T08:00:00Z"`,
	"invalid duration argument":           `no span of time; write days, hours or both, as "30d", "36h" or "1d12h"`,
	"invalid matches argument":            "no regular expression (RE2)",
	"comprehension exceeds nesting limit": fmt.Sprintf("exists, all, map and filter stand in each other at most %d deep", maxFilterLoops),
}

// functions are what may be called.
var functions = []string{
	"all", "contains", "duration", "endsWith", "exists", "exists_one", "filter", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear",
	"getFullYear", "getHours", "getMinutes", "getMonth", "getSeconds", "has", "map", "matches", "size", "startsWith", "timestamp",
}

func nearestFunction(name string) string {
	for _, f := range functions {
		if distance(strings.ToLower(name), strings.ToLower(f)) <= max(1, len(f)/3) {
			return "; did you mean " + f + "?"
		}
	}
	return "; there are " + strings.Join(functions, ", ")
}

var (
	wrongType    = regexp.MustCompile(`^expected type '(.+)' but found '(.+)'$`)
	noOverload   = regexp.MustCompile(`^found no matching overload for '(.+)' applied to '(.*)'$`)
	noReference  = regexp.MustCompile(`^undeclared reference to '([^']+)'`)
	unrecognised = regexp.MustCompile(`^Syntax error: token recognition error at: '(.+)'$`)
	unexpected   = regexp.MustCompile(`^Syntax error: (?:extraneous|mismatched) input '([^']*)'`)
	noViable     = regexp.MustCompile(`^Syntax error: no viable alternative at input '(.*)'$`)
	missing      = regexp.MustCompile(`^Syntax error: missing '([^']*)' at '([^']*)'`)
)

func (c *checkedText) plainIssue(message string) string {
	if plain := plainIssues[message]; plain != "" {
		return plain
	}
	if m := wrongType.FindStringSubmatch(message); m != nil && m[1] == "bool" {
		return fmt.Sprintf("%s stands where a condition belongs; compare it with something", kindOfName(m[2]))
	}
	if m := noOverload.FindStringSubmatch(message); m != nil {
		return overloadIssue(m[1], m[2])
	}
	if m := noReference.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("no function %q%s", m[1], nearestFunction(m[1]))
	}
	if m := unrecognised.FindStringSubmatch(message); m != nil {
		return unexpectedIssue(m[1])
	}
	if m := unexpected.FindStringSubmatch(message); m != nil {
		return unexpectedIssue(m[1])
	}
	if m := noViable.FindStringSubmatch(message); m != nil {
		return unexpectedIssue(m[1])
	}
	if m := missing.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("%s is missing", m[1])
	}
	return strings.ToLower(message[:1]) + message[1:]
}

func unexpectedIssue(what string) string {
	trimmed := strings.TrimSpace(what)
	switch {
	case strings.Contains(what, "<EOF>"):
		return "the expression ends too early"
	case trimmed == "=" || strings.HasPrefix(trimmed, "=") && !strings.HasPrefix(trimmed, "=="):
		return "a single '='; write == to compare"
	case trimmed == "&" || trimmed == "|":
		return fmt.Sprintf("a single %q; write %s%s", trimmed, trimmed, trimmed)
	case strings.HasPrefix(trimmed, `"`) || strings.HasPrefix(trimmed, "'"):
		return "a text without an end; it ends with the quote that it begins with"
	}
	if hint := logicWords[strings.ToLower(trimmed)]; hint != "" {
		return fmt.Sprintf("unexpected %q; %s", trimmed, hint)
	}
	return fmt.Sprintf("unexpected %q", trimmed)
}

// overloadIssue tells of an operator or function between types that it does not
// take, as CEL lists them: "(double, string)" or "string.(double)".
func overloadIssue(function, signature string) string {
	var kinds []string
	for _, t := range splitTypes(signature) {
		kinds = append(kinds, kindOfName(t))
	}
	sign, isOperator := operators.FindReverse(function)
	switch {
	case len(kinds) == 2 && slices.Contains([]string{operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals}, function):
		return fmt.Sprintf("%s cannot be compared with %s%s", kinds[0], kinds[1], hintFor(kinds[0], kinds[1]))
	case function == operators.In:
		return fmt.Sprintf("'in' wants a list or a map on its right, not %s", kinds[len(kinds)-1])
	case function == operators.Conditional && len(kinds) == 3 && kinds[0] != "a yes or no" && kinds[0] != anything:
		return fmt.Sprintf("%s stands where a condition belongs; compare it with something", kinds[0])
	case function == operators.Conditional && len(kinds) == 3:
		return fmt.Sprintf("'? :' chooses between two of one kind, not %s and %s", kinds[1], kinds[2])
	case function == operators.Index:
		return fmt.Sprintf("%s has no element by %s", kinds[0], kinds[len(kinds)-1])
	case isOperator && sign != "":
		return fmt.Sprintf("'%s' does not take %s%s", sign, strings.Join(kinds, " and "), hintFor(kinds[0], kinds[len(kinds)-1]))
	case strings.HasPrefix(function, "_") || strings.HasPrefix(function, "@"):
		return fmt.Sprintf("%s does not go with %s", strings.Trim(function, "_@"), strings.Join(kinds, " and "))
	default:
		return fmt.Sprintf("%s() does not take %s", function, strings.Join(kinds, " and "))
	}
}

// splitTypes cuts a signature at the commas that stand in no other type.
func splitTypes(signature string) []string {
	target, rest, member := strings.Cut(signature, ".(")
	if !member || strings.Contains(target, "(") {
		target, rest, member = "", strings.TrimPrefix(signature, "("), false
	}
	var all []string
	if member {
		all = append(all, target)
	}
	rest = strings.TrimSuffix(rest, ")")
	depth, from := 0, 0
	for i, c := range rest {
		switch c {
		case '(':
			depth++
		case ')':
			depth--
		case ',':
			if depth == 0 {
				all, from = append(all, strings.TrimSpace(rest[from:i])), i+1
			}
		}
	}
	if last := strings.TrimSpace(rest[from:]); last != "" {
		all = append(all, last)
	}
	return all
}

func kindOfName(name string) string {
	switch name {
	case "int", "uint", "double":
		return "a number"
	case "string":
		return "a text"
	case "bool":
		return "a yes or no"
	case "google.protobuf.Timestamp", "timestamp":
		return "a time"
	case "google.protobuf.Duration", "duration":
		return "a span of time"
	case "dyn":
		return anything
	}
	switch {
	case strings.HasPrefix(name, "list("):
		return "a list"
	case strings.HasPrefix(name, "map("):
		return "a map"
	case strings.Contains(name, "."):
		return aMessage
	}
	return name
}
