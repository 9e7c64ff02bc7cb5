package profile

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Channels: one table from what a touch tells of itself to one of a closed set
// of words.
//
// A text is read as words: runs of letters and digits, and every Han character
// for itself, in lower case and half width. From left to right the longest run
// of words that the table knows counts, written as one: "Paid-Search", "paid
// search" and "paidsearch" are the same, "m.facebook.com" names facebook, and
// 抖音信息流 is 抖音 and 信息流. Two things are read from them, each from the
// first that tells it: the place (search, social, email, …), and whether it was
// paid for.
//
// Adding a word changes facts that stand already: it wants a new fold version.

// OtherChannel is the channel of what the table has no word for.
const OtherChannel = "other"

// ChannelPlace is a line of the table: a place where customers are reached.
type ChannelPlace struct {
	Channel string // shown for it
	Paid    string // shown for it where it was paid for; empty: the same
	Means   string
	// Words that name it, separated by spaces; "_" joins what may be written
	// apart. A word may end in marks:
	//
	//	+  says that it was paid for
	//	-  says that it was not
	//	?  names the place only where nothing else names one
	//	!  counts only if it is all there is: as a part it would mean too much
	Words string
}

var channelTable = [...]ChannelPlace{
	{
		"organic_search", "paid_search", "search engines",
		"search search_engine search_engines google bing yahoo duckduckgo yandex naver daum ecosia qwant startpage seznam " +
			"baidu sogou haosou so_com so! 360! 360_cn 360_search shenma sm_cn quark " +
			"sem+ ppc_search+ paid_search+ search_ads+ adwords+ google_ads+ bing_ads+ baidu_sem+ seo- organic_search- natural_search- organic?- " +
			"搜索 搜索引擎 搜索广告+ 自然搜索- 竞价+ 百度 搜狗 神马 夸克 谷歌 必应 搜尋",
	},
	{
		"organic_social", "paid_social", "social networks, short video, communities",
		"social social_media social_network sns sm! facebook fb instagram insta ig meta linkedin lnkd lnkd_in twitter x! x_com t_co " +
			"tiktok musically pinterest reddit snapchat snap! quora tumblr vk threads mastodon bluesky bsky xing " +
			"wechat weixin wx moments! weibo douyin kuaishou xiaohongshu xhs rednote bilibili zhihu douban tieba toutiao qq qzone " +
			"paid_social+ social_paid+ social_ads+ facebook_ads+ fb_ads+ organic_social- oceanengine+ qianchuan+ gdt+ " +
			"社交 社交媒体 社媒 社群媒體 微信 微信广告+ 朋友圈 公众号 视频号 小程序 微博 抖音 快手 小红书 哔哩哔哩 b站 知乎 豆瓣 贴吧 头条 今日头条 领英 脸书 臉書 推特 " +
			"巨量引擎+ 巨量千川+ 千川+ 广点通+ 粉丝通+",
	},
	{
		"organic_video", "paid_video", "video sites and streaming",
		"video? videos? youtube yt vimeo dailymotion twitch netflix hulu youku iqiyi v_qq tencent_video mango_tv " +
			"paid_video+ video_ads?+ organic_video- cpv?+ trueview+ pre_roll+ ott+ ctv+ connected_tv+ 视频? 视频广告?+ 贴片+ 优酷 爱奇艺 腾讯视频 芒果tv 油管",
	},
	{
		"organic_shopping", "paid_shopping", "marketplaces and price comparison",
		"shopping pla+ product_listing_ads+ shopping_ads+ paid_shopping+ google_shopping organic_shopping- marketplace amazon ebay etsy walmart shopee lazada " +
			"aliexpress alibaba 1688 rakuten taobao tmall jd! jd_com pinduoduo pdd temu shein meituan eleme dianping " +
			"电商 淘宝 天猫 京东 拼多多 美团 饿了么 大众点评 直通车+ 京准通+ 钻展+",
	},
	{
		"display", "", "banners and in-feed advertisements on other sites and in apps",
		"display banner banners gdn+ dv360+ programmatic+ dsp+ rtb+ native! native_ads+ interstitial expandable rich_media splash! criteo+ taboola+ outbrain+ " +
			"cpm?+ ocpm?+ retargeting?+ remarketing?+ feed?+ in_feed?+ 展示广告+ 横幅 开屏+ 程序化+ 信息流?+",
	},
	{
		"email", "", "mail to an address on the net",
		"email emails mail! mail_google mail_qq gmail outlook hotmail yahoo_mail mailchimp sendgrid klaviyo mailing newsletter newsletters edm e_newsletter " +
			"邮件 电子邮件 邮箱 邮件营销 電郵 電子郵件",
	},
	{"sms", "", "text messages to a telephone", "sms mms rcs text_message text! 短信 彩信 簡訊 短訊"},
	{"push", "", "notifications of an app or a browser", "push push_notification web_push app_push notification notifications jpush getui 推送 消息推送 通知"},
	{
		"messaging", "", "conversations and closed groups in messengers, live chat",
		"messaging messenger facebook_messenger whats_app line! line_me telegram viber zalo kakaotalk discord slack wecom work_weixin " +
			"live_chat chat! chatbot wechat_group 企业微信 企微 微信群 社群 私域 在线客服",
	},
	{
		"affiliate", "", "partners paid by result",
		"affiliate affiliates affiliate_marketing cps+ cpa?+ cpl?+ awin+ shareasale+ impact_radius+ rakuten_advertising+ cj! alimama+ 淘宝客+ 淘客+ 京东联盟+ 阿里妈妈+ 联盟 返利",
	},
	{"influencer", "", "people with a following", "influencer influencers kol koc creator creators blogger bloggers 达人 网红 博主 种草 红人"},
	{"live_stream", "", "sales by live broadcast", "live! live_stream live_streaming live_commerce live_shopping 直播 直播带货 直播间"},
	{"word_of_mouth", "", "recommended by a customer", "word_of_mouth wom refer_a_friend raf referral_program referral_code invite invitation invite_friend member_get_member mgm 转介绍 老带新 裂变 口碑 好友推荐 朋友推荐 推荐有礼 邀请 轉介紹"},
	{"referral", "", "a link on another site", "referral? referer? referrer? link? backlink? guest_post? 外链? 友情链接? 引荐?"},
	{"partner", "", "partners and resellers", "partner partners partnership partnerships co_marketing reseller resellers distributor 合作伙伴 渠道商 代理商 经销商 异业合作"},
	{"app_store", "", "stores of apps", "app_store google_play play_store apple_search_ads+ itunes aso- huawei_appgallery appgallery 应用商店 应用市场 应用宝 苹果商店"},
	{"ai_assistant", "", "answers of an assistant", "chatgpt openai perplexity gemini copilot deepseek doubao kimi yuanbao qwen ai! ai_assistant llm! 豆包 元宝 文心一言 通义 通义千问 智谱"},
	{"press", "", "reports of the press, public relations", "press press_release pr! public_relations media_coverage 新闻稿 公关 媒体报道"},
	{"audio", "", "radio, podcasts, music", "audio radio podcast podcasts spotify ximalaya 音频 播客 电台 广播 喜马拉雅"},
	{"tv", "", "television", "tv! television tv_ad+ tv_ads+ tv_spot+ 电视 电视广告+ 電視"},
	{"print", "", "newspapers, magazines, leaflets", "print! newspaper newspapers magazine magazines flyer flyers leaflet leaflets brochure brochures 报纸 杂志 传单 宣传册 宣传单"},
	{"out_of_home", "", "posters and screens in public", "out_of_home outdoor ooh dooh billboard billboards poster posters transit_ads+ elevator_ads+ 户外 户外广告+ 电梯广告+ 分众 地铁广告+ 公交广告+ 广告牌 海报"},
	{"direct_mail", "", "letters, catalogues and parcels by post", "direct_mail postal postal_mail snail_mail postcard postcards catalog catalogs catalogue catalogues mailer mailers letter letters package_insert 直邮 直邮广告+ 邮寄 信函 明信片"},
	{"qr", "", "a code that was scanned", "qr qr_code qr_codes scan! 扫码 二维码 扫一扫"},
	{"phone", "", "calls", "phone telephone call! calls! phone_call cold_call telemarketing telesales call_center call_centre ivr 电话 电销 电话营销 外呼 呼叫中心 電話"},
	{"expo", "", "trade shows, conferences, seminars", "expo expos trade_show trade_fair fair! exhibition exhibitions conference conferences seminar seminars webinar webinars roadshow event! events! 展会 展览 博览会 会议 峰会 研讨会 沙龙 路演 广交会 進博會 进博会"},
	{"field", "", "visits by sales people, street promotion", "field! field_sales sales_visit visit! visits! door_to_door street_promotion sales_rep 地推 拜访 上门 扫街 扫楼"},
	{"offline", "", "shops, and whatever else is not on the net", "offline? store! in_store store_visit retail! retail_store shop! showroom pos! point_of_sale 线下? 门店 实体店 专柜 柜台 店铺"},
	{"direct", "", "came by himself, told as such", "direct! none?! direct_none typed_in bookmark 直接访问 直接流量"},
	{
		OtherChannel, "paid_other", "none of these; paid_other where a word at least says that it was paid for",
		"cpc+ ppc+ pay_per_click+ cost_per_click+ cpt+ cpd+ ocpc+ cpx+ paid+ paid_ads+ ad+ ads+ advert+ adverts+ advertising+ advertisement+ sponsored+ sponsorship+ " +
			"promoted+ boosted+ pmax+ performance_max+ 广告+ 廣告+ 付费+ 付費+ 投放+ unpaid- free! free_traffic- owned- earned- organic_traffic- 自然流量- 自然- 免费-",
	},
}

// ChannelTable is the table of channels, for documents.
func ChannelTable() []ChannelPlace { return slices.Clone(channelTable[:]) }

// payment is what a word says of the price of a touch.
type payment uint8

const (
	unsaid payment = iota
	unpaid
	paid
)

// channelWord is what the table knows of a word.
type channelWord struct {
	place   int // in channelTable; the last is none
	payment payment
	weak    bool
	whole   bool
}

const noPlace = len(channelTable) - 1

var channelWords = indexChannels()

func indexChannels() map[string]channelWord {
	index := make(map[string]channelWord)
	for place, row := range channelTable {
		for marked := range strings.FieldsSeq(row.Words) {
			word := strings.TrimRight(marked, "+-?!")
			marks := marked[len(word):]
			w := channelWord{place: place, weak: strings.Contains(marks, "?"), whole: strings.Contains(marks, "!")}
			switch {
			case strings.Contains(marks, "+"):
				w.payment = paid
			case strings.Contains(marks, "-"):
				w.payment = unpaid
			}
			key := strings.ReplaceAll(word, "_", "")
			if _, twice := index[key]; twice {
				panic(fmt.Sprintf("table of channels: %q stands twice", word))
			}
			index[key] = w
		}
	}
	return index
}

const (
	// maxChannelText bounds how much of a text is read, in bytes as they are
	// compared, and maxChannelWords in words.
	maxChannelText  = 128
	maxChannelWords = 16
	// maxChannelRun is how many words make one of the table at most:
	// 搜索引擎, out of home.
	maxChannelRun = 4
)

// channelText is what one text says.
type channelText struct {
	place   int // noPlace if it names none
	weak    bool
	payment payment
}

// channel is where a touch was. An advertisement's own word for it comes before
// the medium and the medium before the source; it is taken as paid for unless a
// word says otherwise.
func (t *touch) channel() string {
	var texts [3]channelText
	texts[0] = channelText{place: noPlace}
	if t.isAd {
		texts[0] = readChannel(t.word)
		texts[0].weak = false
	}
	texts[1], texts[2] = readChannel(t.medium), readChannel(t.source)
	chosen := channelText{place: noPlace, weak: true}
	for _, told := range texts {
		if told.place != noPlace && chosen.weak && (chosen.place == noPlace || !told.weak) {
			chosen.place, chosen.weak = told.place, told.weak
		}
		if chosen.payment == unsaid {
			chosen.payment = told.payment
		}
	}
	row := &channelTable[chosen.place]
	known := chosen.place != noPlace
	if row.Paid != "" && (chosen.payment == paid || chosen.payment == unsaid && t.isAd && known) {
		return row.Paid
	}
	return row.Channel
}

// readChannel reads one text, from left to right.
func readChannel(text string) channelText {
	var w channelWordsOf
	w.split(text)
	said := channelText{place: noPlace, weak: true}
	for from := 0; from < w.count; {
		word, run := w.longest(from)
		from += run
		if word.place != noPlace && said.weak && (said.place == noPlace || !word.weak) {
			said.place, said.weak = word.place, word.weak
		}
		if said.payment == unsaid {
			said.payment = word.payment
		}
	}
	return said
}

// channelWordsOf is a text in words, one behind the other without gaps, so that
// a run of them is a piece of it.
type channelWordsOf struct {
	text  [maxChannelText]byte
	ends  [maxChannelWords + 1]uint8 // of word i: text[ends[i]:ends[i+1]]
	count int
}

func (w *channelWordsOf) split(text string) {
	inWord := false // the last word goes on
	n := 0
	for _, r := range text {
		r = foldRune(r)
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			inWord = false
			continue
		}
		han := unicode.Is(unicode.Han, r)
		opens := han || !inWord
		if n+utf8.RuneLen(r) > maxChannelText || opens && w.count == maxChannelWords {
			return // too long to be a word that counts alone
		}
		if opens {
			w.count++
		}
		n += utf8.EncodeRune(w.text[n:], r)
		w.ends[w.count] = uint8(n)
		inWord = !han
	}
}

// longest finds the longest run of words from one on that the table knows; one
// word that says nothing if it knows none.
func (w *channelWordsOf) longest(from int) (channelWord, int) {
	for run := min(maxChannelRun, w.count-from); run > 0; run-- {
		word, known := channelWords[string(w.text[w.ends[from]:w.ends[from+run]])]
		if known && (!word.whole || run == w.count) {
			return word, run
		}
	}
	return channelWord{place: noPlace}, 1
}

// foldRune is a character in lower case and half width.
func foldRune(r rune) rune {
	if r >= '！' && r <= '～' {
		r -= '！' - '!'
	}
	switch {
	case r == '\u3000':
		return ' '
	case r >= 'A' && r <= 'Z':
		return r + 'a' - 'A'
	case r < utf8.RuneSelf:
		return r
	}
	return unicode.ToLower(r)
}
