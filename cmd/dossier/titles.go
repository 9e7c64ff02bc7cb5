package main

import (
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

// title is what an entry says, in the printer's language. A title that does
// not begin as the present Describe begins it is shown as it was stored.
func (p printer) title(e *queryv1.Entry) string {
	name := p.types[e.GetType()]
	subject, found := strings.CutPrefix(e.GetTitle(), storedTitle(e.GetType()))
	if name == "" || !found {
		return plain(e.GetTitle())
	}
	if subject, found = strings.CutPrefix(subject, ": "); found {
		return name + p.colon + plain(subject)
	}
	return name + plain(subject)
}

// storedTitle is how the stored title of every event of a type begins.
func storedTitle(typ string) string {
	title, _ := profile.Describe(profile.Event{
		Header: &logv1.Header{Type: events.TypeByCanonicalName(typ)},
		Body:   &eventsv1.Event{},
	})
	return title
}

// field is one of an entry's fields, in the printer's language.
func (p printer) field(typ, name, value string) string {
	if events.TypeByCanonicalName(typ) != eventsv1.Type_TYPE_TRAITS_SET {
		if word := p.values[name+"="+value]; word != "" {
			value = word
		}
		if word := p.fields[name]; word != "" {
			name = word
		}
	}
	return plain(name) + " = " + plain(value)
}

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

var chineseFields = map[string]string{
	"amount":    "金额",
	"aspect":    "评价维度",
	"author":    "发言方",
	"campaign":  "营销活动",
	"channel":   "渠道",
	"comment":   "评语",
	"direction": "方向",
	"granted":   "同意",
	"groupId":   "公司编号",
	"kind":      "种类",
	"lines":     "商品行数",
	"medium":    "推荐方式",
	"name":      "名称",
	"network":   "分享平台",
	"orderId":   "订单编号",
	"price":     "单价",
	"productId": "商品编号",
	"quantity":  "数量",
	"query":     "搜索词",
	"reason":    "原因",
	"referrer":  "来源页面",
	"revenue":   "收入",
	"score":     "分数",
	"source":    "来源",
	"step":      "步骤",
	"ticketId":  "工单编号",
	"topic":     "主题",
	"transport": "运输方式",
	"url":       "网址",
	"value":     "结算金额",
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
