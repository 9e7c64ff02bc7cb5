package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

const listHelp = `Lists the customers that a condition leaves, in an order.

  dossier list --where 'lifecycle.stage == "lost" && orders.netRevenue > 5万'
  dossier list --where 'traits.industry.value == "教育"' --order -orders.lastAt
  dossier list --where 'now - lastSeenAt > duration("90d")' --count

Fields are those of a profile as get --json shows them. docs/QUERY.md tells all.`

const (
	defaultListLimit = 50
	listPageSize     = 500
	maxListColumns   = 40 // of one cell; --csv and --json have it whole
)

// defaultColumns are what a sales manager asks first.
const defaultColumns = "name,lifecycle.stage,orders.netRevenue,orders.count,orders.lastAt,lastSeenAt,customerId"

// listWords are what a list says in one language.
type listWords struct {
	none, currency, more string
	headers              map[string]string // by path; others are their own
}

var listsWords = map[string]listWords{
	langEN: {
		none: "no customer fits", currency: "currency", more: "there are more; --limit 0 shows all, --count counts",
		headers: map[string]string{
			"name": "NAME", "kind": "KIND", "customerId": "CUSTOMER", "lifecycle.stage": "STAGE", "lifecycle.since": "STAGE SINCE (UTC)", "orders.netRevenue": "NET REVENUE",
			"orders.count": "ORDERS", "orders.lastAt": "LAST ORDER (UTC)", "orders.firstAt": "FIRST ORDER (UTC)", "lastSeenAt": "LAST SEEN (UTC)",
			"firstSeenAt": "FIRST SEEN (UTC)", "members": "MEMBERS",
		},
	},
	langZH: {
		none: "没有符合条件的客户", currency: "币种", more: "还有更多；--limit 0 显示全部，--count 只计数",
		headers: map[string]string{
			"name": "名称", "kind": "类别", "customerId": "客户编号", "lifecycle.stage": "阶段", "lifecycle.since": "阶段自（UTC）", "orders.netRevenue": "净收入",
			"orders.count": "订单数", "orders.lastAt": "最近下单（UTC）", "orders.firstAt": "首次下单（UTC）", "lastSeenAt": "最近活动（UTC）",
			"firstSeenAt": "首次出现（UTC）", "members": "成员数",
		},
	},
}

// listCustomers prints the customers that a condition leaves.
func listCustomers(ctx context.Context, std stdio, args []string) error {
	c := newClient(std, "list", "list [flags]", listHelp)
	where := c.flags.String("where", "", "only customers of whom this `condition` holds")
	order := c.flags.String("order", "-lastSeenAt", "sort by this `field`, - before it for descending")
	limit := c.flags.Int("limit", defaultListLimit, "at most `N` customers; 0 means all")
	count := c.flags.Bool("count", false, "only count them")
	chosen := c.flags.String("columns", defaultColumns, "show these `fields`, separated by commas")
	asCSV := c.flags.Bool("csv", false, "print CSV for spreadsheets (UTF-8 with a byte order mark)")
	if _, err := c.parse(args); err != nil {
		return err
	}
	switch {
	case *limit < 0:
		return wrongUsage("--limit %d: a number of customers, or 0 for all, wanted", *limit)
	case *asCSV && c.json:
		return wrongUsage("--csv and --json: one of them")
	case *asCSV && *count:
		return wrongUsage("--csv and --count: one of them")
	}
	if *count {
		return c.count(ctx, *where)
	}
	paths := splitColumns(*chosen)
	if len(paths) == 0 {
		return wrongUsage("--columns %q: a field wanted, as name,orders.count", *chosen)
	}
	page := &listed{client: c, words: listsWords[c.lang], paths: paths}
	req := &queryv1.ListProfilesRequest{Filter: *where, OrderBy: *order, Fields: paths}
	switch {
	case c.json:
		return page.each(ctx, req, *limit, func(p *queryv1.Profile) error {
			line, err := jsonLine(p)
			if err == nil {
				_, err = std.out.Write(line)
			}
			return err
		})
	case *asCSV:
		return page.csv(ctx, req, *limit)
	default:
		return page.table(ctx, req, *limit)
	}
}

func (c *client) count(ctx context.Context, where string) error {
	resp, err := c.service().CountProfiles(ctx, &queryv1.CountProfilesRequest{Filter: where})
	switch {
	case err != nil:
		return c.explainAt(err, map[string]string{"filter": where})
	case c.json:
		return printJSON(c.std.out, resp)
	}
	_, err = fmt.Fprintln(c.std.out, resp.GetCount())
	return err
}

// splitColumns cuts at the commas that stand in no quotes.
func splitColumns(s string) []string {
	var columns []string
	quote, from := rune(0), 0
	add := func(column string) {
		if column = strings.TrimSpace(column); column != "" {
			columns = append(columns, column)
		}
	}
	for i, r := range s {
		switch {
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '"' || r == '\'':
			quote = r
		case r == ',':
			add(s[from:i])
			from = i + 1
		}
	}
	add(s[from:])
	return columns
}

// listed is a list being printed.
type listed struct {
	*client
	words listWords
	paths []string
	more  bool // than were asked for
}

// each asks for page after page and hands on up to limit customers; 0 means
// all.
func (l *listed) each(ctx context.Context, req *queryv1.ListProfilesRequest, limit int, do func(*queryv1.Profile) error) error {
	service := l.service()
	for left := limit; ; {
		req.PageSize = listPageSize
		if limit > 0 {
			req.PageSize = uint32(min(left, listPageSize))
		}
		resp, err := service.ListProfiles(ctx, req)
		if err != nil {
			return l.explainAt(err, map[string]string{"filter": req.GetFilter(), "orderBy": req.GetOrderBy()})
		}
		for _, p := range resp.GetProfiles() {
			if err := do(p); err != nil {
				return err
			}
		}
		left -= len(resp.GetProfiles())
		req.PageToken = resp.GetNextPageToken()
		l.more = req.GetPageToken() != ""
		if !l.more || limit > 0 && left <= 0 {
			return nil
		}
	}
}

func (l *listed) header(path string) string {
	if header := l.words.headers[path]; header != "" {
		return header
	}
	return path
}

func (l *listed) table(ctx context.Context, req *queryv1.ListProfilesRequest, limit int) error {
	t, p := &table{}, printerFor(l.lang)
	var header []string
	for _, path := range l.paths {
		header = append(header, l.header(path))
	}
	t.add(header...)
	err := l.each(ctx, req, limit, func(profile *queryv1.Profile) error {
		var row []string
		for _, path := range l.paths {
			row = append(row, cut(p.cell(path, fieldAt(profile, path)), maxListColumns))
		}
		t.add(row...)
		return nil
	})
	switch {
	case err != nil:
		return err
	case len(t.rows) == 1:
		_, err := fmt.Fprintln(l.std.out, l.words.none)
		return err
	}
	if err := t.write(l.std.out); err != nil || !l.more {
		return err
	}
	_, err = fmt.Fprintln(l.std.out, l.words.more)
	return err
}

// byteOrderMark tells spreadsheets that a file is UTF-8.
const byteOrderMark = "\ufeff"

// csv prints RFC 4180. An amount takes two columns, the second its currency.
func (l *listed) csv(ctx context.Context, req *queryv1.ListProfilesRequest, limit int) error {
	if _, err := io.WriteString(l.std.out, byteOrderMark); err != nil {
		return err
	}
	w := csv.NewWriter(l.std.out)
	w.UseCRLF = true
	var header []string
	for _, path := range l.paths {
		header = append(header, l.header(path))
		if isMoney(path) {
			header = append(header, l.header(path)+" "+l.words.currency)
		}
	}
	if err := w.Write(header); err != nil {
		return err
	}
	err := l.each(ctx, req, limit, func(p *queryv1.Profile) error {
		var row []string
		for _, path := range l.paths {
			value := fieldAt(p, path)
			row = append(row, csvCell(value))
			if isMoney(path) {
				m, _ := value.(*queryv1.Money)
				row = append(row, m.GetCurrencyCode())
			}
		}
		return w.Write(row)
	})
	w.Flush()
	return errors.Join(err, w.Error())
}

// isMoney reports whether a path leads to one amount.
func isMoney(path string) bool {
	m, names := (*queryv1.Profile)(nil).ProtoReflect().Descriptor(), pathNames(path)
	for i, name := range names {
		fd := m.Fields().ByJSONName(name)
		if fd == nil || fd.IsMap() || fd.IsList() || fd.Message() == nil {
			return false
		}
		if m = fd.Message(); m.FullName() == (*queryv1.Money)(nil).ProtoReflect().Descriptor().FullName() {
			return i == len(names)-1
		}
	}
	return false
}

// csvCell is a value as a spreadsheet reads it: numbers plain, times without
// zone. A text that a spreadsheet would take for a formula gets a quote before
// it, as whoever sends events writes names.
func csvCell(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case *queryv1.Money:
		return strings.ReplaceAll(decimal(v.GetMicros(), 2), ",", "")
	case *timestamppb.Timestamp:
		return v.AsTime().UTC().Format(time.DateTime)
	case string:
		if v != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", []rune(v)[0]) && !plainNumber.MatchString(v) {
			return "'" + v
		}
		return v
	default:
		return fmt.Sprint(v)
	}
}

// plainNumber is a number that no spreadsheet takes for a formula.
var plainNumber = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)

// cell is a value as people read it.
func (p printer) cell(path string, value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case *queryv1.Money:
		return p.money(v)
	case *timestamppb.Timestamp:
		return p.instant(v)
	case uint32:
		return p.number(int64(v))
	case string:
		switch path {
		case "lifecycle.stage", "lifecycle.previous":
			return p.stageName(v)
		case "kind":
			return p.kind(v)
		}
		return plain(v)
	default:
		return fmt.Sprint(v)
	}
}

// pathPart is a name, after a dot or at the beginning, or a key in brackets.
var pathPart = regexp.MustCompile(`\.?([A-Za-z_][A-Za-z0-9_]*)|\[\s*("(?:[^"\\]|\\.)*"|'[^']*')\s*\]`)

// pathNames are the names along a field, as custom["Quiz Done"].count. The
// server has checked the path.
func pathNames(path string) []string {
	var names []string
	for _, part := range pathPart.FindAllStringSubmatch(path, -1) {
		name := part[1]
		if name == "" {
			var err error
			if name, err = strconv.Unquote(part[2]); err != nil {
				name = strings.Trim(part[2], "'")
			}
		}
		names = append(names, name)
	}
	return names
}

// fieldAt is what stands at a path of a profile, nil if nothing does: a string,
// a number, a bool, a time, an amount, or the JSON of anything else.
func fieldAt(p *queryv1.Profile, path string) any { return valueIn(p.ProtoReflect(), pathNames(path)) }

func valueIn(m protoreflect.Message, names []string) any {
	if v, isJSON := m.Interface().(*structpb.Value); isJSON {
		return jsonAt(v, names)
	}
	if len(names) == 0 {
		return shownMessage(m)
	}
	fd := m.Descriptor().Fields().ByJSONName(names[0])
	if fd == nil || fd.HasPresence() && !m.Has(fd) {
		return nil
	}
	value, rest := m.Get(fd), names[1:]
	switch {
	case fd.IsMap() && len(rest) > 0:
		entry := value.Map().Get(protoreflect.ValueOfString(rest[0]).MapKey())
		switch {
		case !entry.IsValid():
			return nil
		case fd.MapValue().Message() != nil:
			return valueIn(entry.Message(), rest[1:])
		}
		return entry.Interface()
	case fd.IsMap() || fd.IsList():
		return shownMany(m, fd)
	case fd.Message() != nil:
		return valueIn(value.Message(), rest)
	}
	return value.Interface()
}

func shownMessage(m protoreflect.Message) any {
	switch m := m.Interface().(type) {
	case *timestamppb.Timestamp, *queryv1.Money:
		return m
	}
	return jsonText(m)
}

// shownMany is a list of texts in words, any other list or map in JSON.
func shownMany(m protoreflect.Message, fd protoreflect.FieldDescriptor) any {
	if !m.Has(fd) {
		return nil
	}
	if fd.IsMap() || fd.Kind() != protoreflect.StringKind {
		only := m.New()
		only.Set(fd, m.Get(fd))
		text := strings.TrimSuffix(jsonText(only), "}")
		return strings.TrimPrefix(text, `{"`+fd.JSONName()+`":`)
	}
	var texts []string
	for i := range m.Get(fd).List().Len() {
		texts = append(texts, m.Get(fd).List().Get(i).String())
	}
	return strings.Join(texts, "; ")
}

func jsonAt(v *structpb.Value, names []string) any {
	for _, name := range names {
		if v = v.GetStructValue().GetFields()[name]; v == nil {
			return nil
		}
	}
	switch kind := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		return kind.StringValue
	case *structpb.Value_BoolValue:
		return kind.BoolValue
	case *structpb.Value_NumberValue:
		return strconv.FormatFloat(kind.NumberValue, 'f', -1, 64)
	case nil, *structpb.Value_NullValue:
		return nil
	}
	return jsonText(v.ProtoReflect())
}

func jsonText(m protoreflect.Message) string {
	line, err := jsonLine(m.Interface())
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(line))
}

// placed matches an error that names a place in one of the request's texts.
var placed = regexp.MustCompile(`^(filter|orderBy): line (\d+), column (\d+): `)

// explainAt adds to an error the line that it is about, and a caret under the
// column.
func (c *client) explainAt(err error, texts map[string]string) error {
	var refused *connect.Error
	if !errors.As(err, &refused) || refused.Code() != connect.CodeInvalidArgument {
		return c.explain(err)
	}
	at := placed.FindStringSubmatch(refused.Message())
	if at == nil {
		return c.explain(err)
	}
	line, _ := strconv.Atoi(at[2])
	column, _ := strconv.Atoi(at[3])
	lines := strings.Split(texts[at[1]], "\n")
	if line < 1 || line > len(lines) {
		return c.explain(err)
	}
	shown := []rune(plain(lines[line-1]))
	before := columns(string(shown[:max(0, min(column-1, len(shown)))]))
	return usageError{fmt.Sprintf("%s\n  %s\n  %s^", refused.Message(), string(shown), strings.Repeat(" ", before))}
}
