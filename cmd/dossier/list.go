package main

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
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
	headers              map[string]string // by path
	traits               map[string]string // by name
	// other is the heading of any other field, of the names on its path.
	other func(names []string) string
}

// wordEnd is where a word ends in the name of a field.
var wordEnd = regexp.MustCompile(`([a-z])([A-Z0-9])|_+`)

// inCapitals makes a heading of the names on a path: MEDIAN INTERVAL DAYS.
func inCapitals(names []string) string {
	return strings.ToUpper(wordEnd.ReplaceAllString(strings.Join(names, " "), "$1 $2"))
}

var listsWords = map[string]listWords{
	langEN: {
		none: "no customer fits", currency: "CURRENCY", other: inCapitals, more: "there are more; --limit 0 shows all, --count counts",
		headers: map[string]string{
			"name": "NAME", "kind": "KIND", "customerId": "CUSTOMER", "lifecycle.stage": "STAGE", "lifecycle.since": "STAGE SINCE (UTC)", "orders.netRevenue": "NET REVENUE",
			"orders.count": "ORDERS", "orders.lastAt": "LAST ORDER (UTC)", "orders.firstAt": "FIRST ORDER (UTC)", "lastSeenAt": "LAST SEEN (UTC)",
			"firstSeenAt": "FIRST SEEN (UTC)", "members": "MEMBERS", "interactions.count": "INTERACTIONS",
		},
	},
	langZH: {
		none: "没有符合条件的客户", currency: "币种", more: "还有更多；--limit 0 显示全部，--count 只计数",
		headers: map[string]string{
			"name": "名称", "kind": "类别", "customerId": "客户编号", "lifecycle.stage": "阶段", "lifecycle.since": "阶段自（UTC）", "orders.netRevenue": "净收入",
			"orders.count": "订单数", "orders.lastAt": "最近下单（UTC）", "orders.firstAt": "首次下单（UTC）", "lastSeenAt": "最近活动（UTC）",
			"firstSeenAt": "首次出现（UTC）", "members": "成员数", "identified": "已识别", "lifecycle.previous": "前一阶段", "orders.cancelled": "取消订单数",
			"orders.refunds": "退款次数", "orders.purchaseDays": "购买天数", "engagement.pageViews": "浏览量", "engagement.sessions": "会话数",
			"service.opened": "工单数", "service.open": "未结工单", "interactions.count": "互动次数", "referrals.made": "推荐数", "referrals.converted": "推荐成交数",
			"acquisition.firstTouch.channel": "首次触点渠道", "acquisition.firstTouch.source": "首次触点来源",
		},
		traits: map[string]string{
			"address": "地址", "age": "年龄", "birthday": "生日", "city": "城市", "company": "公司", "country": "国家", "department": "部门", "description": "描述",
			"email": "邮箱", "employees": "员工数", "firstName": "名", "gender": "性别", "industry": "行业", "language": "语言", "lastName": "姓", "level": "等级",
			"name": "名称", "phone": "电话", "plan": "套餐", "province": "省份", "region": "地区", "source": "来源", "title": "职位", "website": "网站",
		},
		other: func(names []string) string { return strings.Join(names, ".") },
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
	if err := checkUTF8(map[string]string{"--where": *where, "--order": *order, "--columns": *chosen}); err != nil {
		return err
	}
	if *count {
		if mixed := c.given("limit", "order", "columns"); mixed != "" {
			return wrongUsage("--count and --%s: one of them; a count is one number, of all whom --where leaves", mixed)
		}
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

// checkUTF8 refuses texts that cannot be sent, by what the user calls them.
func checkUTF8(texts map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		if text := texts[name]; !utf8.ValidString(text) {
			return wrongUsage("%s %.60q: not UTF-8; the terminal or script writes another encoding", name, text)
		}
	}
	return nil
}

// given is the first of the flags that the command line has, "" if none.
func (c *client) given(names ...string) string {
	first := ""
	c.flags.Visit(func(f *flag.Flag) {
		if first == "" && slices.Contains(names, f.Name) {
			first = f.Name
		}
	})
	return first
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

// headings are those of the columns, each of its own: where two would be alike,
// the later one is its path.
func (l *listed) headings() []string {
	var all []string
	for _, path := range l.paths {
		heading := l.words.heading(path)
		if slices.Contains(all, heading) {
			heading = path
		}
		all = append(all, heading)
	}
	return all
}

func (w listWords) heading(path string) string {
	if heading := w.headers[path]; heading != "" {
		return heading
	}
	names := pathNames(path)
	if len(names) > 2 && names[0] == "traits" && names[2] == "value" {
		name := cmp.Or(w.traits[names[1]], names[1])
		return w.other(append([]string{name}, names[3:]...))
	}
	heading := w.other(names)
	if leadsTo(path, (*timestamppb.Timestamp)(nil)) {
		heading += " (UTC)"
	}
	return heading
}

func (l *listed) table(ctx context.Context, req *queryv1.ListProfilesRequest, limit int) error {
	t, p := &table{}, printerFor(l.lang)
	t.add(l.headings()...)
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
	w := csv.NewWriter(l.std.out)
	w.UseCRLF = true
	// Not before the first page: of a list that is refused there is no file.
	begin := sync.OnceValue(func() error {
		_, err := io.WriteString(l.std.out, byteOrderMark)
		return errors.Join(err, w.Write(l.csvHeader()))
	})
	err := l.each(ctx, req, limit, func(p *queryv1.Profile) error {
		if err := begin(); err != nil {
			return err
		}
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
	if err == nil {
		err = begin()
	}
	w.Flush()
	return errors.Join(err, w.Error())
}

func (l *listed) csvHeader() []string {
	var header []string
	for i, heading := range l.headings() {
		header = append(header, heading)
		if isMoney(l.paths[i]) {
			header = append(header, heading+" "+l.words.currency)
		}
	}
	return header
}

// isMoney reports whether a path leads to one amount.
func isMoney(path string) bool { return leadsTo(path, (*queryv1.Money)(nil)) }

// leadsTo reports whether a path leads to one message of a kind.
func leadsTo(path string, kind proto.Message) bool {
	m, names := (*queryv1.Profile)(nil).ProtoReflect().Descriptor(), pathNames(path)
	for len(names) > 0 {
		fd := m.Fields().ByJSONName(names[0])
		names = names[1:]
		if fd == nil || fd.IsList() {
			return false
		}
		if m = fd.Message(); fd.IsMap() && len(names) > 0 {
			m, names = fd.MapValue().Message(), names[1:]
		}
		if m == nil {
			return false
		}
	}
	return m.FullName() == kind.ProtoReflect().Descriptor().FullName()
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
	case float64:
		return rounded(v)
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

// rounded is a mean or median as people read it: two digits after the point, of
// less than one two that count.
func rounded(v float64) string {
	if v > -1 && v < 1 {
		v, _ = strconv.ParseFloat(strconv.FormatFloat(v, 'g', 2, 64), 64)
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return strconv.FormatFloat(math.Round(v*100)/100, 'f', -1, 64)
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
