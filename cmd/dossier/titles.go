package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/profile"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// Titles and field names come from the service in English, as profile.Describe
// stored them. What of them is vocabulary is translated here; what publishers
// wrote, custom events and traits among it, keeps its words.

// line is an entry's title with its marks: taken back, and where the customer
// was not the one it is about the part that he played; a company's says which of
// its people it was.
func (p printer) line(e *queryv1.Entry) string {
	marks := ""
	if e.GetTakenBack() != "" {
		marks = fmt.Sprintf(p.takenBackFormat, plain(cmp.Or(p.takenBack[e.GetTakenBack()], e.GetTakenBack())))
	}
	if played(e) {
		marks += fmt.Sprintf(p.roleFormat, plain(cmp.Or(e.GetFields()["person"], p.roleName(e.GetRole()))))
	}
	return marks + p.title(e)
}

// played reports whether the customer has a part in an event about another.
func played(e *queryv1.Entry) bool { return e.GetRole() != "" && e.GetRole() != subjectRole }

const subjectRole = "subject"

func (p printer) roleName(role string) string { return plain(cmp.Or(p.roles[role], role)) }

// title is what an entry says, in the printer's language. A title that does
// not begin as the present Describe begins it is shown as it was stored.
func (p printer) title(e *queryv1.Entry) string {
	if p.types[e.GetType()] == "" {
		return plain(e.GetTitle())
	}
	beginning, subject, about := strings.Cut(e.GetTitle(), ": ")
	name := p.beginnings[beginning]
	switch {
	case beginning == typeTitle(e.GetType()):
		name = p.types[e.GetType()]
	case name == "":
		return plain(e.GetTitle())
	}
	if about {
		name += p.colon + plain(subject)
	}
	return name
}

// typeTitle is how the stored title of an event of a type begins, unless the
// customer's part in it gives it another beginning.
func typeTitle(typ string) string {
	title, _ := profile.Describe(profile.Event{
		Header: &logv1.Header{Type: events.TypeByCanonicalName(typ)},
		Body:   &eventsv1.Event{},
	})
	return title
}

// field is one of an entry's fields, in the printer's language. The names and
// values of traits are the publisher's, save what is said of a telling by hand.
func (p printer) field(e *queryv1.Entry, name string) string {
	value := e.GetFields()[name]
	ours := events.TypeByCanonicalName(e.GetType()) != eventsv1.Type_TYPE_TRAITS_SET
	if byHand := e.GetFields()["manual"] == "yes"; !ours && byHand {
		ours = slices.Contains(handFields, name)
	}
	if !ours {
		return plain(name) + " = " + plain(cmp.Or(p.traitMarks[value], value))
	}
	value = cmp.Or(p.values[name+"="+value], value)
	family, _, _ := strings.Cut(e.GetType(), ".")
	return plain(cmp.Or(p.fields[family+"/"+name], p.fields[name], name)) + " = " + plain(value)
}

// handFields are what a traits.set that was told by hand says beside the traits.
var handFields = []string{"manual", "reason", "actor"}

var chineseTypes = map[string]string{
	"ad.viewed":                "浏览广告",
	"ad.clicked":               "点击广告",
	"page.viewed":              "浏览页面",
	"screen.viewed":            "浏览应用界面",
	"product.searched":         "搜索商品",
	"product.listed":           "浏览商品列表",
	"product.clicked":          "点击商品",
	"product.viewed":           "查看商品",
	"product.added":            "加入购物车",
	"product.removed":          "移出购物车",
	"cart.viewed":              "查看购物车",
	"checkout.started":         "开始结算",
	"checkout.step_viewed":     "进入结算步骤",
	"checkout.step_completed":  "完成结算步骤",
	"checkout.payment_entered": "填写支付信息",
	"order.placed":             "下单",
	"order.updated":            "订单变更",
	"order.paid":               "订单付款",
	"order.shipped":            "订单发货",
	"order.delivered":          "订单送达",
	"order.cancelled":          "订单取消",
	"order.refunded":           "订单退款",
	"ticket.opened":            "提交工单",
	"ticket.replied":           "回复工单",
	"ticket.resolved":          "解决工单",
	"ticket.reopened":          "重开工单",
	"ticket.closed":            "关闭工单",
	"rating.given":             "评分",
	"referral.made":            "推荐他人",
	"referral.converted":       "推荐成交",
	"content.shared":           "分享内容",
	"interaction.logged":       "沟通记录",
	"traits.set":               "更新属性",
	"group.joined":             "加入公司",
	"group.left":               "离开公司",
	"identity.aliased":         "关联标识",
	"consent.changed":          "授权变更",
	"event.voided":             "作废事件",
}

// chineseBeginnings are the beginnings of stored titles that are no type's.
var chineseBeginnings = map[string]string{
	"Corrected, counts elsewhere": "已更正，计入别处",
	"Referred by":                 "来自推荐人",
	"Converted, referred by":      "成交，来自推荐人",
	"Left for":                    "转到其他公司",
}

// chineseFields by name, or by the family of types and the name where a name
// means something else there.
var chineseFields = map[string]string{
	"actor":             "经办人",
	"agent":             "客服",
	"amount":            "金额",
	"aspect":            "评价维度",
	"author":            "发言方",
	"campaign":          "营销活动",
	"channel":           "渠道",
	"comment":           "评语",
	"corrects":          "更正的事件",
	"cost":              "费用",
	"creative":          "广告素材",
	"direction":         "方向",
	"duration":          "时长",
	"eventId":           "作废的事件",
	"granted":           "同意",
	"groupId":           "公司编号",
	"inReplyTo":         "答复的事件",
	"kind":              "种类",
	"lines":             "商品行数",
	"manual":            "人工",
	"medium":            "媒介",
	"name":              "名称",
	"network":           "分享平台",
	"orderId":           "订单编号",
	"participants":      "参与人",
	"person":            "人员",
	"placement":         "广告位",
	"previous":          "原标识",
	"price":             "单价",
	"priority":          "优先级",
	"productId":         "商品编号",
	"quantity":          "数量",
	"query":             "搜索词",
	"reason":            "原因",
	"referee":           "被推荐人",
	"referral/medium":   "推荐方式",
	"referral/referrer": "推荐人",
	"referrer":          "来源页面",
	"revenue":           "收入",
	"scale":             "分值范围",
	"score":             "分数",
	"source":            "来源",
	"step":              "步骤",
	"summary":           "摘要",
	"text":              "正文",
	"ticketId":          "工单编号",
	"topic":             "主题",
	"transport":         "运输方式",
	"url":               "网址",
	"value":             "结算金额",
}

// chineseValues are values that the vocabulary names, by "field=value".
var chineseValues = map[string]string{
	"author=agent":       "客服",
	"author=customer":    "客户",
	"channel=call":       "电话",
	"channel=chat":       "在线聊天",
	"channel=email":      "邮件",
	"channel=expo":       "展会",
	"channel=meeting":    "会议",
	"channel=post":       "信函",
	"channel=visit":      "拜访",
	"direction=inbound":  "客户发起",
	"direction=outbound": "我方发起",
	"granted=no":         "否",
	"granted=yes":        "是",
	"manual=yes":         "是",
}

// chineseTraitMarks stand in place of a trait's value.
var chineseTraitMarks = map[string]string{
	"(forgotten)": "（已删除）",
	"(released)":  "（已撤销人工设置）",
}

// chineseFlags are the flags of a profile.
var chineseFlags = map[string]string{
	"approximate":      "部分为近似值",
	"clamped_time":     "超前时间已截断",
	"conflict":         "身份冲突",
	"corrected_time":   "客户端时钟已校正",
	"moving":           "正在迁移",
	"no_value":         "订单无金额",
	"overflow":         "数值超限",
	"parked":           "有事件被搁置",
	"unknown_currency": "币种未知",
}

// chineseInteractions are the channels of interactions that the vocabulary
// names; publishers have others.
var chineseInteractions = map[string]string{
	"call":    "电话",
	"chat":    "在线聊天",
	"email":   "邮件",
	"expo":    "展会",
	"meeting": "会议",
	"other":   "其他",
	"post":    "信函",
	"sms":     "短信",
	"visit":   "拜访",
	"wechat":  "微信",
}

// chineseChannels are the channels of touches.
var chineseChannels = map[string]string{
	"affiliate":        "联盟推广",
	"ai_assistant":     "智能助手",
	"app_store":        "应用商店",
	"audio":            "音频",
	"direct":           "直接访问",
	"direct_mail":      "直邮",
	"display":          "展示广告",
	"email":            "邮件",
	"expo":             "展会",
	"field":            "地推拜访",
	"influencer":       "达人",
	"live_stream":      "直播",
	"messaging":        "即时消息",
	"offline":          "线下门店",
	"organic_search":   "自然搜索",
	"organic_shopping": "电商自然流量",
	"organic_social":   "社交自然流量",
	"organic_video":    "视频自然流量",
	"other":            "其他",
	"out_of_home":      "户外",
	"paid_other":       "其他付费",
	"paid_search":      "付费搜索",
	"paid_shopping":    "电商广告",
	"paid_social":      "社交广告",
	"paid_video":       "视频广告",
	"partner":          "合作伙伴",
	"phone":            "电话",
	"press":            "公关媒体",
	"print":            "平面媒体",
	"push":             "消息推送",
	"qr":               "扫码",
	"referral":         "外部链接",
	"sms":              "短信",
	"tv":               "电视",
	"word_of_mouth":    "口碑推荐",
}
