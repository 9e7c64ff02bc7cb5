package main

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"google.golang.org/protobuf/types/known/timestamppb"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

const (
	langEN = "en"
	langZH = "zh"
)

// languageOf reads the locale of the environment, as the C library does.
func languageOf(getenv func(string) string) string {
	locale := cmp.Or(getenv("LC_ALL"), getenv("LC_MESSAGES"), getenv("LANG"))
	if strings.HasPrefix(strings.ToLower(locale), langZH) {
		return langZH
	}
	return langEN
}

func checkLanguage(lang string) error {
	if lang != langEN && lang != langZH {
		return wrongUsage("--lang %q: zh or en wanted", lang)
	}
	return nil
}

// vocabulary is what tables say in one language. Fields that end in Format
// take the values that the English text shows.
type vocabulary struct {
	stage, because, before, since, seen, orders, revenue, months12, units, median, products, cart,
	engagement, lastPage, identifiers, aliases, traits, custom, flags, freshness string
	person, company, identified, unidentified, manual, unknown string
	cancelledFormat, refundsFormat                             string
	viewsFormat, sessionsFormat, daysFormat, moreFormat        string
	oneDay                                                     string
	itemsFormat, checkout, timesFormat, boughtFormat           string
	currentFormat, behindFormat                                string
	when, typ, source, what, position, noEvents, settledFormat string
	list, colon                                                string // separators
	causes                                                     map[string]string
	stages                                                     map[string]string
	types, fields                                              map[string]string // nil: as they are stored
	beginnings, values, traitMarks                             map[string]string // values by "field=value"

	memberships, members                                      string
	acquisition, firstTouch, lastTouch, channels, campaigns   string
	touchesFormat, adViewsFormat, adClicksFormat              string
	service, firstResponse, resolution, topics                string
	ticketsFormat, openFormat, resolvedFormat, reopenedFormat string
	ratingFormat, minutesFormat, hoursFormat                  string
	referrals, referredRevenue, referredBy                    string
	madeFormat, convertedFormat, sharesFormat                 string
	interactions, inboundFormat, outboundFormat               string
	lastInbound, lastOutbound, last, semicolon                string
	// Words of the service; nil: as they are.
	channelNames, interactionNames, flagNames map[string]string

	// Of the timeline: the part that a customer played, what was taken back.
	role, roleFormat, takenBackFormat string
	roles, takenBack                  map[string]string

	// Of set and unset.
	outranked, releasedNothing, fromFormat, limit       string
	nothingByHandFormat, toldFormat, noIdentifierFormat string
	refusedFormat, writeKeyRemedy, writeKeyRefused      string
	clampedFormat                                       string

	// Of import. verdicts name what became of one row, summaryWords how many.
	verdicts, summaryWords                               map[string]string
	importReadFormat, importRateFormat, importLeftFormat string
	importMoreFormat, importMoreKeptFormat, importDry    string
	importWaiting, importInterrupted                     string

	eventID, noTypeFormat, customTypeFormat, alreadyFormat string
	revision, modified, committed, recordFormat            string
	noServer, notFoundFormat, idNotFoundFormat, notDossier string
	readKeyRemedy, readKeyRefused, addressTaken            string
}

var words = map[string]vocabulary{
	langEN: {
		stage: "Stage", because: "because of", before: "before", since: "since", seen: "Seen",
		orders: "Orders", revenue: "Net revenue", months12: "last 12 months", units: "units", median: "median gap",
		products: "Products", cart: "Open cart", engagement: "Engagement", lastPage: "last page",
		identifiers: "Identifiers", aliases: "Former ids", traits: "Traits", custom: "Custom events", flags: "Flags", freshness: "As of",
		person: "person", company: "company", identified: "identified", unidentified: "not identified",
		manual: "set by hand", unknown: "unknown",
		cancelledFormat: "cancelled: %s", refundsFormat: "refunds: %s",
		viewsFormat: "views: %s (30 days: %s)", sessionsFormat: "sessions: %s", daysFormat: "%s days", oneDay: "1 day",
		moreFormat: "… and %d more (--json shows all)", itemsFormat: "products: %d", checkout: "checkout begun",
		timesFormat: "%s ×, last %s", boughtFormat: "units: %s",
		currentFormat: "%s, all records folded", behindFormat: "%s, records behind: %s",
		when: "WHEN (UTC)", typ: "TYPE", source: "SOURCE", what: "WHAT", position: "POSITION",
		noEvents: "no events in that span", settledFormat: "settled at %s", alreadyFormat: "already at %s; time does not go back to %s",
		eventID: "id", noTypeFormat: "no events of type %s in that span; there are others (leave out --type to see them)",
		customTypeFormat: "%s is no type of Dossier's own, so custom events of exactly that name were looked for",
		revision:         "revision", modified: " and changes not committed", committed: "committed", recordFormat: "record format",
		list: ", ", colon: ": ",
		causes: map[string]string{"event": "event", "time": "time", "rules": "rules", "manual": "hand", "merge": "merge", "split": "split"},

		memberships: "Member of", members: "Members",
		acquisition: "Acquisition", firstTouch: "first touch", lastTouch: "last touch", channels: "channels", campaigns: "campaigns",
		touchesFormat: "touches: %s", adViewsFormat: "ads seen: %s", adClicksFormat: "ads clicked: %s",
		service: "Service", firstResponse: "mean first response", resolution: "mean resolution", topics: "topics",
		ticketsFormat: "tickets: %s", openFormat: "open: %s", resolvedFormat: "resolved: %s", reopenedFormat: "reopened: %s",
		ratingFormat: "rating %s of 100 (ratings: %s, last %s)", minutesFormat: "%s min", hoursFormat: "%s h",
		referrals: "Referrals", referredRevenue: "revenue", referredBy: "referred by",
		madeFormat: "made: %s", convertedFormat: "converted: %s", sharesFormat: "shared content: %s",
		interactions: "Interactions", inboundFormat: "inbound: %s", outboundFormat: "outbound: %s",
		lastInbound: "last inbound", lastOutbound: "last outbound", last: "last",
		semicolon: "; ",
		role:      "role", roleFormat: "[%s] ", takenBackFormat: "(%s) ",

		outranked:           "what was just told does not show; a later telling by hand stands, or the profile holds no more",
		releasedNothing:     "released; nothing else was told of it",
		fromFormat:          " (from %s, %s)",
		limit:               "limit",
		nothingByHandFormat: "nothing was set by hand of: %s",
		clampedFormat:       "--at %s is more than 24 hours ahead of the server's time: it holds from %s on, when the server got it",
		toldFormat:          "told, but not in the profile yet: %w (receipt %s)",
		noIdentifierFormat:  "no identifier leads to customer %s any more, so nothing can be told of him by his id; name him by an identifier (user_id:42)",
		refusedFormat:       "refused: %s (%s)",
		writeKeyRemedy:      "the server at %s wants a write key; give it with --write-key or DOSSIER_WRITE_KEY",
		writeKeyRefused:     "the server at %s does not accept this write key; check --write-key or DOSSIER_WRITE_KEY",

		verdicts: englishVerdicts, summaryWords: englishSummary,
		importReadFormat:     "rows: %s, events: %s (%.1f s, %s rows/s)",
		importRateFormat:     "rows: %s, %s/s",
		importLeftFormat:     "%s left",
		importMoreFormat:     "… %s more; --rejects FILE keeps all",
		importMoreKeptFormat: "… %s more; the file of --rejects has all",
		importDry:            "a dry run: nothing was sent",
		importWaiting:        "waiting for %s (%s): trying again in %s, for %s at most",
		importInterrupted:    "interrupted; what was sent stays. The same command goes on from here: what is known is skipped fast",

		noServer:         "no server answers at %s (%v); start one with `dossier serve`, or name another with --server or DOSSIER_SERVER",
		notFoundFormat:   "no customer %s; nothing accepted so far names this customer: check the spelling and the type (user_id, email, phone, anonymous_id)",
		idNotFoundFormat: "no customer %s; nobody here has this customer id: check that it was copied whole and that --server names the deployment it is from, or ask by an identifier (user_id:42)",
		readKeyRemedy:    "the server at %s wants a read key; give it with --read-key or DOSSIER_READ_KEY",
		readKeyRefused:   "the server at %s does not accept this read key; check --read-key or DOSSIER_READ_KEY",
		addressTaken:     "address %s is taken, perhaps by another Dossier; stop that one or choose another with --http (--http 127.0.0.1:0 takes a free port)",
		notDossier:       "what answers at %s is not a Dossier that has this query (%s); check --server, or update one of the two",
	},
	langZH: {
		stage: "阶段", because: "原因", before: "此前", since: "自", seen: "活动",
		orders: "订单", revenue: "净收入", months12: "近12个月", units: "件数", median: "购买间隔中位数",
		products: "商品", cart: "购物车", engagement: "互动", lastPage: "最近页面",
		identifiers: "标识", aliases: "曾用编号", traits: "属性", custom: "自定义事件", flags: "标记", freshness: "截至",
		person: "个人", company: "公司", identified: "已识别", unidentified: "未识别",
		manual: "人工", unknown: "未知",
		cancelledFormat: "已取消%s", refundsFormat: "退款%s次",
		viewsFormat: "浏览%s次（近30天%s次）", sessionsFormat: "会话%s次", daysFormat: "%s天", oneDay: "1天",
		moreFormat: "……另有%d项（--json 显示全部）", itemsFormat: "%d种商品", checkout: "已进入结算",
		timesFormat: "%s次，最近%s", boughtFormat: "共%s件",
		currentFormat: "%s，已处理全部记录", behindFormat: "%s，落后%s条记录",
		when: "时间（UTC）", typ: "类型", source: "来源", what: "内容", position: "位置",
		noEvents: "该时段没有事件", settledFormat: "已推进至 %s", alreadyFormat: "时间已在 %s，不会退回 %s",
		eventID: "事件编号", noTypeFormat: "该时段没有类型为 %s 的事件，但有其他事件（去掉 --type 即可查看）",
		customTypeFormat: "%s 不是内置类型，因此按同名的自定义事件查找",
		revision:         "修订版本", modified: "（含未提交的改动）", committed: "提交时间", recordFormat: "记录格式",
		types: chineseTypes, fields: chineseFields,
		values: chineseValues, beginnings: chineseBeginnings, traitMarks: chineseTraitMarks,
		list: "，", colon: "：",
		causes:      map[string]string{"event": "事件", "time": "时间", "rules": "规则", "manual": "人工", "merge": "合并", "split": "拆分"},
		memberships: "所属公司", members: "成员",
		acquisition: "获客", firstTouch: "首次触点", lastTouch: "最近触点", channels: "渠道", campaigns: "营销活动",
		touchesFormat: "触点%s个", adViewsFormat: "看广告%s次", adClicksFormat: "点广告%s次",
		service: "服务", firstResponse: "平均首次响应", resolution: "平均解决用时", topics: "主题",
		ticketsFormat: "工单%s个", openFormat: "未结%s", resolvedFormat: "已解决%s", reopenedFormat: "重开%s次",
		ratingFormat: "评分%s（满分100，%s次，最近%s）", minutesFormat: "%s分钟", hoursFormat: "%s小时",
		referrals: "推荐", referredRevenue: "带来收入", referredBy: "推荐人",
		madeFormat: "推荐%s次", convertedFormat: "成交%s次", sharesFormat: "分享内容%s次",
		interactions: "沟通", inboundFormat: "客户发起%s", outboundFormat: "我方发起%s",
		lastInbound: "最近客户发起", lastOutbound: "最近我方发起", last: "最近",
		semicolon: "；",
		role:      "角色", roleFormat: "[%s] ", takenBackFormat: "（%s）",
		roles:               map[string]string{"subject": "本人", "company": "公司", "referrer": "推荐人", "referee": "被推荐人"},
		takenBack:           map[string]string{"voided": "已作废", "corrected": "已更正"},
		outranked:           "刚才的设置没有显示：已有更晚的人工设置，或档案已达上限",
		releasedNothing:     "已撤销；没有其他来源的值",
		fromFormat:          "（来源 %s，%s）",
		limit:               "上限",
		nothingByHandFormat: "没有人工设置过：%s",
		clampedFormat:       "--at %s 比服务器时间晚24小时以上：改为自服务器收到时 %s 起生效",
		toldFormat:          "已提交，但档案尚未更新：%w（回执 %s）",
		noIdentifierFormat:  "已没有标识指向客户 %s，无法按客户编号设置；请改用标识（user_id:42）",
		refusedFormat:       "被拒绝：%s（%s）",
		writeKeyRemedy:      "%s 需要写入密钥；请用 --write-key 或 DOSSIER_WRITE_KEY 提供",
		writeKeyRefused:     "%s 不接受该写入密钥；请检查 --write-key 或 DOSSIER_WRITE_KEY",
		channelNames:        chineseChannels, interactionNames: chineseInteractions, flagNames: chineseFlags,
		stages: map[string]string{
			"lost": "流失客户", "dormant": "沉睡客户", "won_back": "已挽回客户", "repeat": "复购客户", "user": "用户",
			"customer": "订单客户", "opportunity": "销售机会客户", "potential": "潜在客户", "unidentified": "待识别客户",
		},

		verdicts: chineseVerdicts, summaryWords: chineseVerdicts,
		importReadFormat:     "行数：%s，事件：%s（%.1f 秒，每秒%s行）",
		importRateFormat:     "%s行，每秒%s行",
		importLeftFormat:     "剩余 %s",
		importMoreFormat:     "……另有%s行；用 --rejects FILE 可保存全部",
		importMoreKeptFormat: "……另有%s行；全部见 --rejects 文件",
		importDry:            "试运行：没有发送任何内容",
		importWaiting:        "等待 %s（%s）：%s 后重试，最多等待 %s",
		importInterrupted:    "已中断；已发送的内容保留。重复同一命令即可继续：已知的行会很快跳过",

		noServer:         "%s 没有服务响应（%v）；请用 `dossier serve` 启动，或用 --server 或 DOSSIER_SERVER 指定地址",
		notFoundFormat:   "没有客户 %s；已接收的事件都没有提到该客户：请检查拼写和标识类型（user_id、email、phone、anonymous_id）",
		idNotFoundFormat: "没有客户 %s；此处没有该客户编号：请检查编号是否完整、--server 是否指向其所属的部署，或改用标识查询（user_id:42）",
		readKeyRemedy:    "%s 需要读取密钥；请用 --read-key 或 DOSSIER_READ_KEY 提供",
		readKeyRefused:   "%s 不接受该读取密钥；请检查 --read-key 或 DOSSIER_READ_KEY",
		addressTaken:     "地址 %s 已被占用，可能是另一个 Dossier；请停止它，或用 --http 另选地址（--http 127.0.0.1:0 自动选用空闲端口）",
		notDossier:       "%s 上的服务不支持该查询（%s）；请检查 --server 或更新其中一方",
	},
}

// What became of a row of an import.
var (
	englishVerdicts = map[string]string{
		"new": "new", "changed": "changed", "duplicate": "known already", "conflicting": "conflicting",
		"rejected": "rejected", "skipped": "left out by the mapping", "unmatched": "no rule fits",
	}
	englishSummary = map[string]string{
		"new": "new", "changed": "changed", "duplicate": "known already", "conflicting": "conflicting",
		"rejected": "rejected", "skipped": "rows left out by the mapping", "unmatched": "rows that no rule fits",
	}
	chineseVerdicts = map[string]string{
		"new": "新增", "changed": "有变化", "duplicate": "已知", "conflicting": "冲突",
		"rejected": "被拒绝", "skipped": "按映射跳过", "unmatched": "无匹配规则",
	}
)

// stageName is a stage as people call it, beside the word that programs use.
func (v vocabulary) stageName(stage string) string {
	if name := v.stages[stage]; name != "" {
		return name + " (" + stage + ")"
	}
	return stage
}

// printer writes values for people in one language.
type printer struct {
	vocabulary
	lang string
}

func printerFor(lang string) printer { return printer{words[lang], lang} }

const micro = 1_000_000

// number is a count: 12,345, or 1.23万 in Chinese.
func (p printer) number(n int64) string {
	if scaled, ok := p.scaled(n, 1); ok {
		return scaled
	}
	return group(strconv.FormatInt(n, 10))
}

// money is an amount with its currency, two digits after the point unless the
// amount has more.
func (p printer) money(m *queryv1.Money) string {
	if m == nil {
		return p.unknown
	}
	text, ok := p.scaled(m.GetMicros(), micro)
	if !ok {
		text = decimal(m.GetMicros(), 2)
	}
	return text + " " + plain(m.GetCurrencyCode())
}

// amount is a decimal string of the service, such as units.
func (p printer) amount(s string) string {
	if s == "" {
		return "0"
	}
	whole, fraction, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return plain(s)
	}
	if scaled, ok := p.scaled(n, 1); ok {
		return scaled
	}
	if fraction != "" {
		return group(whole) + "." + fraction
	}
	return group(whole)
}

// scaled writes great numbers in Chinese: from 10,000 on in 万, from 10^8 on
// in 亿, rounded to two digits. unit is how much of n is one.
func (p printer) scaled(n, unit int64) (string, bool) {
	const wan, yi = 10_000, 100_000_000
	magnitude := uint64(max(n, -n))
	if n == -n && n != 0 { // the least int64 has no positive twin
		magnitude = 1 << 63
	}
	per, suffix := uint64(wan*unit), "万"
	switch {
	case p.lang != langZH || magnitude < per:
		return "", false
	case magnitude >= uint64(yi*unit):
		per, suffix = uint64(yi*unit), "亿"
	}
	hundredths := (magnitude + per/200) / (per / 100)
	text := group(strconv.FormatUint(hundredths/100, 10)) + fmt.Sprintf(".%02d", hundredths%100) + suffix
	if n < 0 {
		text = "-" + text
	}
	return text, true
}

// decimal writes a fixed-point number with at least `digits` after the point.
func decimal(micros int64, digits int) string {
	sign, magnitude := "", uint64(micros)
	if micros < 0 {
		sign, magnitude = "-", -uint64(micros)
	}
	fraction := fmt.Sprintf("%06d", magnitude%micro)
	for len(fraction) > digits && strings.HasSuffix(fraction, "0") {
		fraction = fraction[:len(fraction)-1]
	}
	return sign + group(strconv.FormatUint(magnitude/micro, 10)) + "." + fraction
}

// group puts a comma after every third digit from the right.
func group(digits string) string {
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// instant is a time to the second, in UTC.
func (p printer) instant(t *timestamppb.Timestamp) string {
	if t == nil {
		return p.unknown
	}
	return t.AsTime().UTC().Format(time.DateTime)
}

// plain drops what a terminal would obey rather than show: names and titles
// are written by whoever sends events.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == unicode.ReplacementChar:
			return -1
		default:
			return r
		}
	}, s)
}
