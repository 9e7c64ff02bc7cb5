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
	"group.joined":             "加入群组",
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
	"groupId":   "群组编号",
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
