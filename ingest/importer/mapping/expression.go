package mapping

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// expression is a value that a mapping computes: a constant, the cell of a
// column as it stands, or what CEL makes of them.
type expression struct {
	place
	// constant of a plain number or boolean, as JSON; then nothing else is set.
	constant string
	checked  *ast.AST
	gives    kind
	uses     []use
	// bare is the column that is the whole expression, and number that it is read
	// by num.
	number bool
	bare   string
}

// use is a column that an expression names.
type use struct {
	place
	table  string // of a lookup; "" is the file
	column string
}

// kind is what is known of a value before any row is read.
type kind struct {
	what  int
	table string
}

const (
	anything = iota
	aRow     // of the file, or of the lookup of this name
	someRows
)

// scope says which variables an expression has.
type scope struct {
	rows    bool
	hasItem bool
	item    kind
	locals  map[string]kind
}

func (e *expression) result() kind {
	if e == nil {
		return kind{}
	}
	if e.gives.what == someRows {
		return kind{aRow, e.gives.table}
	}
	return kind{}
}

// everyColumn stands for all that a row has.
const everyColumn = "\x00"

// expression reads a constant, or checks a text as CEL.
func (p *parser) expression(n *node, s scope) *expression {
	e := &expression{place: n.place}
	switch n.kind {
	case kindBool:
		e.constant = strconv.FormatBool(p.yes(n))
		return e
	case kindNumber:
		number, ok := numbers{'.'}.read(n.value)
		if !ok {
			p.fail(n.place, "is %s; a decimal number is wanted, or an expression", n.value)
		}
		e.constant = number
		return e
	case kindNothing:
		p.fail(n.place, "is empty; an expression is wanted, or leave the key out")
		return e
	case kindDate:
		p.fail(n.place, `is a date; a constant one is a text in two kinds of quotes: '"%s"'`, n.value)
		return e
	case kindMapping, kindList:
		p.fail(n.place, "is %s; an expression is wanted", n.kind)
		return e
	}
	c := &checker{p: p, n: n, e: e, l: theLanguage(), factory: ast.NewExprFactory()}
	c.check(s)
	p.note(e)
	return e
}

// note remembers which columns an expression uses.
func (p *parser) note(e *expression) {
	p.m.expressions = append(p.m.expressions, e)
	p.m.uses = append(p.m.uses, e.uses...)
	p.keeps.note(e, "")
	for table, set := range p.m.needs {
		set.note(e, table)
	}
}

// checker checks one expression.
type checker struct {
	p       *parser
	n       *node
	e       *expression
	l       *language
	factory ast.ExprFactory
	ast     *ast.AST
	lastID  int64
	failed  bool
}

func (c *checker) fail(line, column int, format string, args ...any) {
	c.failed = true
	c.p.fail(c.p.at(c.n, line, column), format, args...)
}

// failAt says what is wrong at a part of the expression; at its beginning, if it
// is a selection.
func (c *checker) failAt(e ast.Expr, format string, args ...any) {
	at := c.placeOf(e)
	c.failed = true
	c.p.fail(at, format, args...)
}

func (c *checker) placeOf(e ast.Expr) place {
	for e.Kind() == ast.SelectKind {
		e = e.AsSelect().Operand()
	}
	l := c.ast.SourceInfo().GetStartLocation(e.ID())
	return c.p.at(c.n, max(0, l.Line()-1), max(0, l.Column()))
}

func (c *checker) check(s scope) {
	text := c.n.value
	if utf8.RuneCountInString(text) > MaxExpression {
		c.fail(0, 0, "the expression has %d characters, limit %d", utf8.RuneCountInString(text), MaxExpression)
		return
	}
	if strings.TrimSpace(text) == "" {
		c.fail(0, 0, "the expression is empty; an empty text is written '\"\"'")
		return
	}
	if c.foreign(text); c.failed {
		return
	}
	parsed, issues := c.l.env.Parse(text)
	if issues.Err() != nil {
		c.explain(issues)
		return
	}
	c.ast = parsed.NativeRep()
	c.lastID = ast.MaxID(c.ast)
	c.e.gives = c.walk(c.ast.Expr(), s)
	if c.failed {
		return
	}
	c.e.bare, c.e.number = bareColumn(c.ast.Expr())
	checked, issues := c.l.env.Check(parsed)
	if issues.Err() != nil {
		c.explain(issues)
		return
	}
	c.e.checked = checked.NativeRep()
}

// bareColumn is the column of an expression col.X or num(col.X), after it was
// rewritten.
func bareColumn(e ast.Expr) (column string, number bool) {
	if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == numCall && len(e.AsCall().Args()) == 1 {
		e, number = e.AsCall().Args()[0], true
	}
	if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != getCall {
		return "", false
	}
	of, name := e.AsCall().Args()[0], e.AsCall().Args()[1]
	text, isText := literalText(name)
	if of.Kind() != ast.IdentKind || of.AsIdent() != "col" || !isText {
		return "", false
	}
	return text, number
}

func literalText(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(types.String)
	return string(s), ok
}

// hints are words of other languages, outside of texts.
var hints = map[string]string{
	"and": "write && for and", "or": "write || for or", "not": "write ! for not", "AND": "write && for AND", "OR": "write || for OR", "NOT": "write ! for NOT",
	"null?": "", "None": "write null", "nil": "write null", "NULL": "write null", "True": "write true", "False": "write false", "TRUE": "write true", "FALSE": "write false",
}

// foreign finds what CEL would choke on without saying what to write instead.
func (c *checker) foreign(text string) {
	line, column := 0, 0
	for rest := text; rest != ""; {
		first, size := utf8.DecodeRuneInString(rest)
		switch {
		case first == '"' || first == '\'':
			size = textEnd(rest)
		case strings.HasPrefix(rest, "//"):
			if size = strings.IndexByte(rest, '\n'); size < 0 {
				size = len(rest)
			}
		case first == '_' || unicode.IsLetter(first) && first < utf8.RuneSelf:
			size = len(rest) - len(strings.TrimLeftFunc(rest, func(r rune) bool {
				return r == '_' || r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r))
			}))
			before := strings.TrimRight(text[:len(text)-len(rest)], " ")
			if hint := hints[rest[:size]]; hint != "" && !strings.HasSuffix(before, ".") {
				c.fail(line, column, "unexpected %s; %s", rest[:size], hint)
				return
			}
			next := rest[size:]
			if strings.Trim(rest[:size], "rR") == "" && next != "" && (next[0] == '"' || next[0] == '\'') {
				size += rawEnd(next)
			}
		case first >= '0' && first <= '9':
		case first == '=' && !strings.HasPrefix(rest, "=="):
			c.fail(line, column, "unexpected =; write == to compare")
			return
		case strings.HasPrefix(rest, "<>"):
			c.fail(line, column, "unexpected <>; write != for not equal")
			return
		case strings.HasPrefix(rest, "=="), strings.HasPrefix(rest, "!="), strings.HasPrefix(rest, "<="), strings.HasPrefix(rest, ">="):
			size = 2
		case first >= utf8.RuneSelf:
			c.foreignRune(line, column, rest, text[:len(text)-len(rest)])
			return
		}
		for _, r := range rest[:size] {
			if column++; r == '\n' {
				line, column = line+1, 0
			}
		}
		rest = rest[size:]
	}
}

// textEnd is how long the text is that stands at the beginning.
func textEnd(s string) int {
	quote := s[:1]
	if strings.HasPrefix(s, strings.Repeat(quote, 3)) {
		quote = s[:3]
	}
	end := len(quote)
	for end < len(s) && !strings.HasPrefix(s[end:], quote) {
		if s[end] == '\\' {
			end++
		}
		end++
	}
	return min(end+len(quote), len(s))
}

func rawEnd(s string) int {
	if end := strings.IndexByte(s[1:], s[0]); end >= 0 {
		return end + 2
	}
	return len(s)
}

func (c *checker) foreignRune(line, column int, rest, before string) {
	first, _ := utf8.DecodeRuneInString(rest)
	word := rest[:len(rest)-len(strings.TrimLeftFunc(rest, func(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }))]
	plain := ""
	switch {
	case first >= '！' && first <= '～':
		plain = string(first - '！' + '!')
	case strings.ContainsRune("“”„«»「」", first):
		plain = `"`
	case strings.ContainsRune("‘’‚", first):
		plain = "'"
	case strings.ContainsRune("–—−", first):
		plain = "-"
	}
	switch {
	case plain != "":
		c.fail(line, column, "%q is a typographic or full-width character; write %s", first, plain)
	case word != "" && strings.HasSuffix(before, "."):
		name := before[strings.LastIndexFunc(before[:len(before)-1], func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })+1 : len(before)-1]
		c.fail(line, column, "a column whose name is not of letters a to z and digits stands in brackets: %s[%q]", name, word)
	case word != "":
		c.fail(line, column, "%s is no name here; a column is col[%q], a constant text stands in quotes: \"%s\"", word, word, word)
	default:
		c.fail(line, column, "unexpected character %q", first)
	}
}

var (
	overloadIssue = regexp.MustCompile(`^found no matching overload for '([^']+)' applied to '(.*)'$`)
	syntaxIssue   = regexp.MustCompile(`^Syntax error: (.*)$`)
	dottedName    = regexp.MustCompile(`^[A-Za-z_]\w*$`)
)

// explain passes on what CEL says.
func (c *checker) explain(issues *cel.Issues) {
	if all := issues.Errors(); len(all) > 0 { // what follows the first is confusion
		one := all[0]
		message := one.Message
		if m := overloadIssue.FindStringSubmatch(message); m != nil {
			message = m[1] + " cannot take " + strings.NewReplacer("dyn", "any value", "(", "(", "list(any value)", "a list").Replace(m[2])
			if usage := usages[strings.TrimPrefix(m[1], ".")]; usage != "" {
				message += "; it is " + usage
			}
		} else if m := syntaxIssue.FindStringSubmatch(message); m != nil {
			message = plainSyntax(m[1])
		}
		if message == "invalid matches argument" {
			message = "the pattern is no regular expression"
		}
		line, column := 0, 0
		if one.Location != nil && one.Location != common.NoLocation {
			line, column = max(0, one.Location.Line()-1), max(0, one.Location.Column())
		}
		c.fail(line, column, "%s", message)
	}
}

var (
	unexpected = regexp.MustCompile(`^(?:mismatched|extraneous) input ('.*?'|<EOF>) expecting .*$`)
	noViable   = regexp.MustCompile(`^no viable alternative at input '(.*)'$`)
	missing    = regexp.MustCompile(`^missing '(.*?)' at (.*)$`)
	noToken    = regexp.MustCompile(`^token recognition error at: '(.*)'$`)
)

func plainSyntax(text string) string {
	switch {
	case unexpected.MatchString(text):
		what := unexpected.FindStringSubmatch(text)[1]
		if what == "<EOF>" || what == "'<EOF>'" {
			return "the expression ends too early; a bracket or a value is missing"
		}
		return "unexpected " + strings.Trim(what, "'") + "; an operator such as + or == may be missing before it, or a quote"
	case missing.MatchString(text):
		m := missing.FindStringSubmatch(text)
		if m[2] == "'<EOF>'" {
			return m[1] + " is missing at the end"
		}
		return m[1] + " is missing before " + strings.Trim(m[2], "'")
	case noViable.MatchString(text):
		return "cannot read it from " + cut(noViable.FindStringSubmatch(text)[1])
	case noToken.MatchString(text):
		what := noToken.FindStringSubmatch(text)[1]
		if strings.HasPrefix(what, `"`) || strings.HasPrefix(what, "'") {
			return "the text " + cut(what) + " has no end"
		}
		if strings.HasPrefix(what, "#") {
			return "unexpected #; a comment begins with //"
		}
		return "unexpected " + cut(what)
	}
	return text
}

// usages are how our functions are called.
var usages = map[string]string{
	"num": "num(text)", "date": `date(text) or date(text, "layout")`, "text": "text(value)", "lookup": `lookup("name", key, …)`,
	"lookupAll": `lookupAll("name", key, …)`, "coalesce": "coalesce(value, …), of 8 at most", "sum": "sum(list)", "min": "min(list) or min(value, …)",
	"max": "max(list) or max(value, …)", "round": "round(number, digits)", "extract": `extract(text, "pattern")`,
}

func (c *checker) text(s string) ast.Expr {
	c.lastID++
	return c.factory.NewLiteral(c.lastID, types.String(s))
}

// walk checks the names of an expression, notes the columns it uses, rewrites
// it, and says what it gives.
func (c *checker) walk(e ast.Expr, s scope) kind {
	switch e.Kind() {
	case ast.IdentKind:
		return c.ident(e, s)
	case ast.SelectKind:
		return c.selection(e, s)
	case ast.CallKind:
		return c.callOf(e, s)
	case ast.ListKind:
		for _, element := range e.AsList().Elements() {
			c.whole(c.walk(element, s))
		}
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			c.whole(c.walk(entry.AsMapEntry().Key(), s))
			c.whole(c.walk(entry.AsMapEntry().Value(), s))
		}
	case ast.ComprehensionKind:
		return c.loop(e.AsComprehension(), s)
	case ast.StructKind:
		c.failAt(e, "%s{…} is not of this language; a map is {\"name\": value}", e.AsStruct().TypeName())
	}
	return kind{}
}

// whole notes that a row is used as such, so that all its columns are.
func (c *checker) whole(k kind) {
	if k.what != anything {
		c.e.uses = append(c.e.uses, use{place: c.n.place, table: k.table, column: everyColumn})
	}
}

func (c *checker) ident(e ast.Expr, s scope) kind {
	name := strings.TrimPrefix(e.AsIdent(), ".")
	if k, ok := s.locals[name]; ok {
		return k
	}
	switch name {
	case "col":
		return kind{aRow, ""}
	case "line", "file":
		return kind{}
	case "rows":
		if !s.rows {
			c.failAt(e, "rows are of a rule with group; this one has none")
		}
		return kind{someRows, ""}
	case "item":
		if !s.hasItem {
			c.failAt(e, "item is the element of each, in lines with each")
		}
		return s.item
	}
	if strings.HasPrefix(name, "@") {
		return kind{}
	}
	known := []string{"col", "line", "file"}
	if s.rows {
		known = append(known, "rows")
	}
	for local := range s.locals {
		if !strings.HasPrefix(local, "@") {
			known = append(known, local)
		}
	}
	slices.Sort(known)
	if best := nearest(name, known, 1); best != "" {
		c.failAt(e, "unknown name %s; %s is near", name, best)
	} else if e == c.ast.Expr() {
		c.failAt(e, `unknown name %s; a column is col.%s, a constant text stands in two kinds of quotes: '"%s"'`, name, name, name)
	} else {
		c.failAt(e, `unknown name %s; a column is col.%s, a constant text stands in quotes: "%s"`, name, name, name)
	}
	return kind{}
}

func (c *checker) selection(e ast.Expr, s scope) kind {
	sel := e.AsSelect()
	operand, field, test := sel.Operand(), sel.FieldName(), sel.IsTestOnly()
	at := c.placeOf(e)
	of := c.walk(operand, s)
	function := getCall
	if test {
		function = hasCall
	}
	given := c.pick(at, of, field)
	e.SetKindCase(c.factory.NewCall(e.ID(), function, operand, c.text(field)))
	return given
}

// pick is what a part of a value gives, by its name.
func (c *checker) pick(at place, of kind, field string) kind {
	switch of.what {
	case aRow:
		c.e.uses = append(c.e.uses, use{at, of.table, field})
	case someRows:
		c.failed = true
		c.p.fail(at, "rows are a list, and %q is a column of one; write rows[0].%s, rows.map(r, r.%s) or, of the first row, col.%s", field, field, field, field)
	}
	return kind{}
}

func (c *checker) callOf(e ast.Expr, s scope) kind {
	call := e.AsCall()
	function := call.FunctionName()
	args := call.Args()
	if call.IsMemberFunction() {
		if whole, ok := c.namespaced(call, s); ok {
			function = whole
		} else {
			target := call.Target()
			k := c.walk(target, s)
			c.known(e, function)
			if k.what == aRow || k.what == someRows && function != "size" {
				c.whole(k)
			}
			for _, arg := range args {
				c.whole(c.walk(arg, s))
			}
			return kind{}
		}
	}
	if function == operators.Index {
		return c.index(e, args, s)
	}
	c.known(e, function)
	kinds := make([]kind, len(args))
	for i, arg := range args {
		kinds[i] = c.walk(arg, s)
	}
	if function == "date" && len(args) == 2 {
		if layout, isText := literalText(args[1]); isText {
			if wrong := checkLayout(layout); wrong != "" {
				c.failAt(args[1], "%s", wrong)
			}
		}
	}
	if to := renamed[function]; to != "" {
		e.SetKindCase(c.factory.NewCall(e.ID(), to, args...))
	}
	switch function {
	case operators.Conditional:
		if kinds[1] == kinds[2] {
			return kinds[1]
		}
	case coalesceCall:
		if all := slices.Compact(slices.Clone(kinds)); len(all) == 1 {
			return all[0]
		}
	case operators.Equals, operators.NotEquals, "size":
		return kind{}
	case operators.Add:
		// What a loop gathers: rows stay rows.
		return gathered(args, kinds)
	case lookupCall, lookupAll:
		return c.lookup(e, function, args)
	}
	for _, k := range kinds {
		c.whole(k)
	}
	return kind{}
}

func gathered(args []ast.Expr, kinds []kind) kind {
	if len(args) == 2 && args[1].Kind() == ast.ListKind {
		return kind{}
	}
	if kinds[0] == kinds[1] {
		return kinds[0]
	}
	return kind{}
}

// namespaced is the full name of a function as math.abs.
func (c *checker) namespaced(call ast.CallExpr, s scope) (string, bool) {
	target := call.Target()
	if target.Kind() != ast.IdentKind {
		return "", false
	}
	name := target.AsIdent() + "." + call.FunctionName()
	_, local := s.locals[target.AsIdent()]
	return name, !local && c.l.env.HasFunction(name)
}

// known checks the name of a function.
func (c *checker) known(e ast.Expr, function string) {
	if c.l.env.HasFunction(function) || strings.HasPrefix(function, "@") || !isName(function) && !dottedName.MatchString(function) {
		return
	}
	c.failAt(e, "unknown function %s%s", function, near(function, c.l.names))
}

func (c *checker) index(e ast.Expr, args []ast.Expr, s scope) kind {
	at := c.placeOf(args[0])
	of := c.walk(args[0], s)
	key := args[1]
	given := kind{}
	name, isText := literalText(key)
	switch {
	case of.what == aRow && isText:
		given = c.pick(at, of, name)
	case of.what == aRow:
		c.failAt(key, "a column is named by a constant text, as col[\"Order No\"]")
	case of.what == someRows:
		given = kind{aRow, of.table}
	}
	c.whole(c.walk(key, s))
	e.SetKindCase(c.factory.NewCall(e.ID(), getCall, args...))
	return given
}

// lookup checks the name and the number of keys.
func (c *checker) lookup(e ast.Expr, function string, args []ast.Expr) kind {
	if len(args) == 0 {
		return kind{}
	}
	table, isText := literalText(args[0])
	if !isText {
		c.failAt(args[0], "the name of a lookup is a constant text, as %s(\"orders\", col.order_no)", function)
		return kind{}
	}
	var known []string
	for _, l := range c.p.m.Lookups {
		known = append(known, l.Name)
	}
	l := c.p.m.lookup(table)
	switch {
	case len(known) == 0:
		c.failAt(args[0], "there is no lookup %q; declare it: lookups: {%s: {file: …, key: …}}", cut(table), cut(table))
		return kind{}
	case l == nil:
		c.failAt(args[0], "there is no lookup %q%s", cut(table), near(table, known))
		return kind{}
	case len(l.Key) > 0 && len(args)-1 != len(l.Key):
		c.failAt(e, "%s is given %d, and the key of %s has %d: %s", function, len(args)-1, table, len(l.Key), strings.Join(l.Key, ", "))
	}
	if function == lookupAll {
		return kind{someRows, table}
	}
	return kind{aRow, table}
}

func (c *checker) loop(loop ast.ComprehensionExpr, s scope) kind {
	over := c.walk(loop.IterRange(), s)
	start := c.walk(loop.AccuInit(), s)
	inner := s
	inner.locals = map[string]kind{}
	maps.Copy(inner.locals, s.locals)
	inner.locals[loop.AccuVar()] = start
	element := kind{}
	if over.what == someRows {
		element = kind{aRow, over.table}
	} else if over.what == aRow {
		c.whole(over)
	}
	inner.locals[loop.IterVar()] = element
	if loop.HasIterVar2() {
		inner.locals[loop.IterVar()], inner.locals[loop.IterVar2()] = kind{}, element
	}
	filters := over.what == someRows && keepsElements(loop)
	before := len(c.e.uses)
	c.walk(loop.LoopCondition(), inner)
	c.walk(loop.LoopStep(), inner)
	result := c.walk(loop.Result(), inner)
	if filters {
		// The elements that are kept are still rows: none is used as a whole yet.
		kept := c.e.uses[:before:before]
		for _, u := range c.e.uses[before:] {
			if u.column != everyColumn || u.table != over.table {
				kept = append(kept, u)
			}
		}
		c.e.uses = kept
		return over
	}
	return result
}

// keepsElements reports whether a loop is that of filter: its step adds the
// element itself to the list.
func keepsElements(loop ast.ComprehensionExpr) bool {
	step := loop.LoopStep()
	if step.Kind() != ast.CallKind || step.AsCall().FunctionName() != operators.Conditional {
		return false
	}
	added := step.AsCall().Args()[1]
	if added.Kind() != ast.CallKind || added.AsCall().FunctionName() != operators.Add {
		return false
	}
	last := added.AsCall().Args()[1]
	return last.Kind() == ast.ListKind && len(last.AsList().Elements()) == 1 &&
		last.AsList().Elements()[0].Kind() == ast.IdentKind && last.AsList().Elements()[0].AsIdent() == loop.IterVar()
}

// note adds the columns of a table that an expression uses.
func (c *columnSet) note(e *expression, table string) {
	if c == nil {
		return
	}
	for _, u := range e.uses {
		if u.table != table {
			continue
		}
		if u.column == everyColumn {
			c.all = true
		} else {
			c.add(u.column)
		}
	}
}
