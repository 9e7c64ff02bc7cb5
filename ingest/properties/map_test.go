package properties_test

import (
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/dossier360/dossier/events"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/jsontree"
	"github.com/dossier360/dossier/ingest/properties"
)

// mapped runs the properties of an event through Map and Check.
func mapped(t *testing.T, name, props string) (*eventsv1.Event, []logv1.Flag, *ingest.Rejection) {
	t.Helper()
	var tree jsontree.Tree
	if err := tree.Parse(props, 1); err != nil {
		t.Fatal(err)
	}
	ev, typ := &eventsv1.Event{}, events.TypeByName(name)
	if r := properties.Map(ev, typ, "properties", tree.Root()); r != nil {
		return nil, nil, r
	}
	var flags properties.Flags
	r := properties.Check(ev, typ, properties.PropertyName, &flags)
	return ev, flags.List(), r
}

func TestMap(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what, event, props string
		want               string // an Event in protojson
		flags              []logv1.Flag
	}{
		{"order in full", "Order Completed",
			`{"order_id":"o1","checkout_id":"c1","affiliation":"shop","currency":"usd","revenue":25.00,"total":"30","shipping":3,"tax":2,
			  "subtotal":22.5,"discount":2.5,"coupon":"hasbros","products":[{"product_id":"p1","sku":"s","name":"Monopoly","price":19,"quantity":1,"category":"Games","brand":"b","variant":"v","coupon":"x"},{"product_id":"p2","price":3,"quantity":2}]}`,
			`{"order":{"orderId":"o1","checkoutId":"c1","affiliation":"shop","currency":"USD","revenueMicros":"25000000","totalMicros":"30000000",
			  "shippingMicros":"3000000","taxMicros":"2000000","subtotalMicros":"22500000","discountMicros":"2500000","coupon":"hasbros",
			  "lines":[{"productId":"p1","sku":"s","name":"Monopoly","priceMicros":"19000000","quantityMicros":"1000000","category":"Games","brand":"b","variant":"v","coupon":"x"},
			  {"productId":"p2","priceMicros":"3000000","quantityMicros":"2000000"}]}}`, nil},
		{"spellings of old", "completed order", `{"orderId":"o1","revenue":1,"products":[{"id":"p1"}]}`,
			`{"order":{"orderId":"o1","revenueMicros":"1000000","lines":[{"productId":"p1"}]}}`, nil},
		{"an id as number keeps its digits", "Order Completed", `{"order_id":12345678901234567890,"value":1}`,
			`{"order":{"orderId":"12345678901234567890","valueMicros":"1000000"}}`, nil},
		{"wrong JSON type is kept, null is absent", "Order Completed", `{"order_id":{"a":1},"revenue":null,"currency":["USD"],"products":{"id":1},"value":5}`,
			`{"order":{"valueMicros":"5000000"},"propertiesJson":"{\"currency\":[\"USD\"],\"order_id\":{\"a\":1},\"products\":{\"id\":1},\"revenue\":null}"}`, nil},
		{"the more trusted spelling wins, the other is kept", "Product Added", `{"id":"x","product_id":"p","name":"n","title":"t"}`,
			`{"product":{"line":{"productId":"p","name":"n"}},"propertiesJson":"{\"id\":\"x\",\"title\":\"t\"}"}`, nil},
		{"the other spelling where the trusted one is null", "Product Added", `{"product_id":null,"id":"x"}`,
			`{"product":{"line":{"productId":"x"}},"propertiesJson":"{\"product_id\":null}"}`, nil},
		{"empty texts and unknown names are kept", "Order Completed", `{"coupon":"","revenue":"","value":1,"my thing":{"b":1,"a":[1.0]}}`,
			`{"order":{"valueMicros":"1000000"},"propertiesJson":"{\"coupon\":\"\",\"my thing\":{\"a\":[1.0],\"b\":1},\"revenue\":\"\"}"}`, nil},
		{"digits beyond six are kept", "Order Completed", `{"revenue":0.12345678}`,
			`{"order":{"revenueMicros":"123457"},"propertiesJson":"{\"revenue\":0.12345678}"}`, nil},
		{"what lines leave over stays at its index", "Order Completed", `{"revenue":2,"products":[{"price":2},{"price":0,"url":"u"},7]}`,
			`{"order":{"revenueMicros":"2000000","lines":[{"priceMicros":"2000000"},{"priceMicros":"0"}]},"propertiesJson":"{\"products\":[{},{\"url\":\"u\"},7]}"}`, nil},
		{"no amount", "Order Completed", `{"order_id":"o"}`, `{"order":{"orderId":"o"}}`, []logv1.Flag{logv1.Flag_FLAG_NO_VALUE}},
		{"an amount on the lines is one", "Order Completed", `{"products":[{"price":1}]}`, `{"order":{"lines":[{"priceMicros":"1000000"}]}}`, nil},
		{"zero is an amount", "Order Completed", `{"revenue":0}`, `{"order":{"revenueMicros":"0"}}`, nil},
		{"lines that differ", "Order Completed", `{"total":12,"tax":1,"shipping":1,"products":[{"price":3,"quantity":3}]}`,
			`{"order":{"totalMicros":"12000000","taxMicros":"1000000","shippingMicros":"1000000","lines":[{"priceMicros":"3000000","quantityMicros":"3000000"}]}}`,
			[]logv1.Flag{logv1.Flag_FLAG_LINES_DIFFER}},
		{"lines that sum after the discount", "Order Completed", `{"revenue":8,"discount":1,"products":[{"price":3,"quantity":3}]}`,
			`{"order":{"revenueMicros":"8000000","discountMicros":"1000000","lines":[{"priceMicros":"3000000","quantityMicros":"3000000"}]}}`, nil},
		{"lines beyond every sum", "Order Completed", `{"revenue":8,"products":[{"price":1e12,"quantity":1e12}]}`,
			`{"order":{"revenueMicros":"8000000","lines":[{"priceMicros":"1000000000000000000","quantityMicros":"1000000000000000000"}]}}`,
			[]logv1.Flag{logv1.Flag_FLAG_LINES_DIFFER}},
		{"negative lines are taken", "Order Completed", `{"revenue":2,"products":[{"price":-3,"quantity":1},{"price":5}]}`,
			`{"order":{"revenueMicros":"2000000","lines":[{"priceMicros":"-3000000","quantityMicros":"1000000"},{"priceMicros":"5000000"}]}}`, nil},
		{"a value of nothing after tax and shipping", "Order Completed", `{"total":12,"tax":10,"shipping":2}`,
			`{"order":{"totalMicros":"12000000","taxMicros":"10000000","shippingMicros":"2000000"}}`, nil},
		{"tax does not count beside a revenue", "Order Updated", `{"revenue":1,"total":10,"tax":20}`,
			`{"order":{"revenueMicros":"1000000","totalMicros":"10000000","taxMicros":"20000000"}}`, nil},
		{"lines of nothing in sum", "Order Updated", `{"products":[{"price":5,"quantity":-3},{"price":5,"quantity":3}]}`,
			`{"order":{"lines":[{"priceMicros":"5000000","quantityMicros":"-3000000"},{"priceMicros":"5000000","quantityMicros":"3000000"}]}}`, nil},
		{"negative lines beyond every sum among greater ones", "Order Completed", `{"products":[{"price":-1e12,"quantity":1e12},{"price":1e12,"quantity":1e12},{"price":1}]}`,
			`{"order":{"lines":[{"priceMicros":"-1000000000000000000","quantityMicros":"1000000000000000000"},{"priceMicros":"1000000000000000000","quantityMicros":"1000000000000000000"},{"priceMicros":"1000000"}]}}`, nil},
		{"what was shipped may list what it likes", "Order Shipped", `{"total":10,"tax":20}`, `{"order":{"totalMicros":"10000000","taxMicros":"20000000"}}`, nil},
		{"unknown currency", "Order Completed", `{"revenue":2,"currency":"DOGE"}`, `{"order":{"revenueMicros":"2000000","currency":"DOGE"}}`,
			[]logv1.Flag{logv1.Flag_FLAG_UNKNOWN_CURRENCY}},
		{"three letters that are no currency", "Order Completed", `{"revenue":2,"currency":"QQQ"}`, `{"order":{"revenueMicros":"2000000","currency":"QQQ"}}`,
			[]logv1.Flag{logv1.Flag_FLAG_UNKNOWN_CURRENCY}},
		{"a currency of the past", "Order Completed", `{"revenue":2,"currency":"DEM"}`, `{"order":{"revenueMicros":"2000000","currency":"DEM"}}`, nil},
		{"refund by amount", "Order Refunded", `{"order_id":"o","amount":"3.50"}`, `{"order":{"orderId":"o","totalMicros":"3500000"}}`, nil},
		{"refund by value", "Order Refunded", `{"order_id":"o","value":3}`, `{"order":{"orderId":"o","totalMicros":"3000000","valueMicros":"3000000"}}`, nil},
		{"refund of all", "Order Refunded", `{"order_id":"o"}`, `{"order":{"orderId":"o"}}`, nil},
		{"cancelled", "Order Cancelled", `{"order_id":"o","reason":"late"}`, `{"order":{"orderId":"o","reason":"late"}}`, nil},
		{"shipped", "Order Shipped", `{"order_id":"o","carrier":"rail"}`, `{"order":{"orderId":"o","transport":"rail"}}`, nil},
		{"product viewed", "Viewed Product", `{"id":"p","price":18.99,"category":"Games","currency":"EUR","value":18.99}`,
			`{"product":{"line":{"productId":"p","priceMicros":"18990000","category":"Games"},"currency":"EUR"},"propertiesJson":"{\"value\":18.99}"}`, nil},
		{"product list", "Product List Viewed", `{"list_id":"l","category":"Games","products":[{"product_id":"p"}]}`,
			`{"product":{"listId":"l","category":"Games"},"propertiesJson":"{\"products\":[{\"product_id\":\"p\"}]}"}`, nil},
		{"search", "Products Searched", `{"query":"blue"}`, `{"product":{"query":"blue"}}`, nil},
		{"cart", "Cart Viewed", `{"cart_id":"c","products":[{"product_id":"p"}]}`, `{"checkout":{"cartId":"c","lines":[{"productId":"p"}]}}`, nil},
		{"checkout step", "Checkout Step Completed", `{"checkoutId":"c","step":2,"paymentMethod":"Visa","shipping_method":"Fedex"}`,
			`{"checkout":{"checkoutId":"c","step":"2","paymentMethod":"Visa","shippingMethod":"Fedex"}}`, nil},
		{"ad", "Ad Clicked", `{"campaign":"spring","channel":"search","creative":"c","placement":"top","cost":0.35,"currency":"EUR"}`,
			`{"ad":{"campaign":"spring","channel":"search","creative":"c","placement":"top","costMicros":"350000","currency":"EUR"}}`, nil},
		{"ticket", "Ticket Opened", `{"ticket_id":7,"channel":"email","topic":"billing","priority":"high","agent":"bo"}`,
			`{"ticket":{"ticketId":"7","channel":"email","topic":"billing","priority":"high","agent":"bo"}}`, nil},
		{"rating", "Rating Given", `{"ticket_id":"t","aspect":"speed","score":4,"scale":10}`,
			`{"rating":{"ticketId":"t","aspect":"speed","scoreMicros":"4000000","maxMicros":"10000000"}}`, nil},
		{"rating on a span", "Rating Given", `{"order_id":"o","score":"9","scale":"0-10"}`,
			`{"rating":{"orderId":"o","scoreMicros":"9000000","minMicros":"0","maxMicros":"10000000"}}`, nil},
		{"referral by e-mail", "Referral Made", `{"referee":"bob@example.com","medium":"link"}`,
			`{"referral":{"referee":{"type":"email","value":"bob@example.com"},"medium":"link"}}`, nil},
		{"referral by typed text", "Referral Made", `{"referee":"crm_id:7"}`, `{"referral":{"referee":{"type":"crm_id","value":"7"}}}`, nil},
		{"referral by object", "Referral Converted", `{"referee":{"type":"user_id","value":7},"order_id":"o","revenue":5}`,
			`{"referral":{"referee":{"type":"user_id","value":"7"},"orderId":"o","revenueMicros":"5000000"}}`, nil},
		{"referral by user id", "Referral Made", `{"referee":"auth0:7"}`, `{"referral":{"referee":{"type":"user_id","value":"auth0:7"}}}`, nil},
		{"ticket of another desk", "Ticket Replied", `{"case_id":"c7","category":"billing","assignee":"bo","author_type":"Admin","author":"Bo"}`,
			`{"ticket":{"ticketId":"c7","topic":"billing","agent":"bo","author":"Admin"},"propertiesJson":"{\"author\":\"Bo\"}"}`, nil},
		{"rating on a span with a dash of printers", "Rating Given", `{"score":3,"scale":"1–10"}`,
			`{"rating":{"scoreMicros":"3000000","minMicros":"1000000","maxMicros":"10000000"}}`, nil},
		{"rating on a span with dots", "Rating Given", `{"score":-3,"scale":"-5 .. 5"}`,
			`{"rating":{"scoreMicros":"-3000000","minMicros":"-5000000","maxMicros":"5000000"}}`, nil},
		{"rating on a span in words", "Rating Given", `{"score":3,"scale":"0 to 7"}`,
			`{"rating":{"scoreMicros":"3000000","minMicros":"0","maxMicros":"7000000"}}`, nil},
		{"rating on a span below zero", "Rating Given", `{"score":-3,"scale":"-5--1"}`,
			`{"rating":{"scoreMicros":"-3000000"},"propertiesJson":"{\"scale\":\"-5--1\"}"}`, nil},
		{"rating on a scale as object", "Rating Given", `{"rating":80,"scale":{"min":0,"max":"100"},"aspect":"speed"}`,
			`{"rating":{"scoreMicros":"80000000","minMicros":"0","maxMicros":"100000000","aspect":"speed"}}`, nil},
		{"rating on a scale that says more", "Rating Given", `{"score":80,"scale":{"min":0,"max":100,"name":"percent"}}`,
			`{"rating":{"scoreMicros":"80000000","minMicros":"0","maxMicros":"100000000"},"propertiesJson":"{\"scale\":{\"max\":100,\"min\":0,\"name\":\"percent\"}}"}`, nil},
		{"rating on a scale without an end", "Rating Given", `{"score":4,"scale":{"min":0,"max":""}}`,
			`{"rating":{"scoreMicros":"4000000"},"propertiesJson":"{\"scale\":{\"max\":\"\",\"min\":0}}"}`, nil},
		{"rating on two scales", "Rating Given", `{"score":4,"min":0,"max":10,"scale":"1-5"}`,
			`{"rating":{"scoreMicros":"4000000","minMicros":"0","maxMicros":"10000000"},"propertiesJson":"{\"scale\":\"1-5\"}"}`, nil},
		{"referral by id", "Referral Made", `{"referee_id":7}`, `{"referral":{"referee":{"type":"user_id","value":"7"}}}`, nil},
		{"referral by e-mail of its own name", "Referral Made", `{"refereeEmail":"bob@example.com"}`,
			`{"referral":{"referee":{"type":"email","value":"bob@example.com"}}}`, nil},
		{"referral by phone of its own name", "Referral Made", `{"referee_phone":"138 0013 8000"}`,
			`{"referral":{"referee":{"type":"phone","value":"138 0013 8000"}}}`, nil},
		{"referral by phone", "Referral Made", `{"referee":"+86 138-0013-8000"}`, `{"referral":{"referee":{"type":"phone","value":"+86 138-0013-8000"}}}`, nil},
		{"referral by a number that may be an id", "Referral Made", `{"referee":"13800138000"}`, `{"referral":{"referee":{"type":"user_id","value":"13800138000"}}}`, nil},
		{"an invitation", "Referral Made", `{"invitee_email":"bob@example.com","invitee_first_name":"Bob","invitee_role":"admin"}`,
			`{"referral":{"referee":{"type":"email","value":"bob@example.com"}},"propertiesJson":"{\"invitee_first_name\":\"Bob\",\"invitee_role\":\"admin\"}"}`, nil},
		{"the stronger name of the referee, wherever it stands", "Referral Made", `{"referee_phone":"1","referee_email":"b@x.y","referee_user_id":"7"}`,
			`{"referral":{"referee":{"type":"user_id","value":"7"}},"propertiesJson":"{\"referee_email\":\"b@x.y\",\"referee_phone\":\"1\"}"}`, nil},
		{"the weaker where the stronger is null", "Referral Made", `{"referee_email":"b@x.y","referee_user_id":null}`,
			`{"referral":{"referee":{"type":"email","value":"b@x.y"}},"propertiesJson":"{\"referee_user_id\":null}"}`, nil},
		{"referral of somebody described", "Referral Made", `{"referee":{"name":"Bob","email":"b@x.y","userId":7}}`,
			`{"referral":{"referee":{"type":"user_id","value":"7"}},"propertiesJson":"{\"referee\":{\"email\":\"b@x.y\",\"name\":\"Bob\",\"userId\":7}}"}`, nil},
		{"referral of somebody with an address alone", "Referral Made", `{"referee":{"email":"b@x.y"}}`,
			`{"referral":{"referee":{"type":"email","value":"b@x.y"}}}`, nil},
		{"referral of nobody", "Referral Made", `{"referee":{"name":"Bob"},"channel":"wechat"}`,
			`{"referral":{"medium":"wechat"},"propertiesJson":"{\"referee\":{\"name\":\"Bob\"}}"}`, nil},
		{"a company referred", "Referral Made", `{"referee":{"companyId":"acme"}}`, `{"referral":{"referee":{"type":"company_id","value":"acme"}}}`, nil},
		{"told by the referee", "Referral Converted", `{"referrer":"ann@example.com","revenue":5,"currency":"eur"}`,
			`{"referral":{"referrer":{"type":"email","value":"ann@example.com"},"revenueMicros":"5000000","currency":"EUR"}}`, nil},
		{"told by the referee, by type", "Referral Made", `{"referrer":{"type":"crm_id","value":"7"}}`,
			`{"referral":{"referrer":{"type":"crm_id","value":"7"}}}`, nil},
		{"told by the referee, by name", "Referral Made", `{"referred_by":"7"}`, `{"referral":{"referrer":{"type":"user_id","value":"7"}}}`, nil},
		{"told by the referee, by properties of their own", "Referral Made", `{"referrer_phone":"+49 170 1234567","referrer_email":"a@x.y"}`,
			`{"referral":{"referrer":{"type":"email","value":"a@x.y"}},"propertiesJson":"{\"referrer_phone\":\"+49 170 1234567\"}"}`, nil},
		{"told by the invited", "Referral Made", `{"inviter_id":"7"}`, `{"referral":{"referrer":{"type":"user_id","value":"7"}}}`, nil},
		{"told by a third", "Referral Made", `{"referrer":"a@x.y","referee":"b@x.y"}`,
			`{"referral":{"referrer":{"type":"email","value":"a@x.y"},"referee":{"type":"email","value":"b@x.y"}}}`, nil},
		{"a page is no referrer", "Referral Made", `{"referrer":"https://a@x.y/","referee":"b@x.y"}`,
			`{"referral":{"referee":{"type":"email","value":"b@x.y"}},"propertiesJson":"{\"referrer\":\"https://a@x.y/\"}"}`, nil},
		{"content shared", "Content Shared", `{"network":"wechat","url":"https://shop/a"}`, `{"share":{"network":"wechat","url":"https://shop/a"}}`, nil},
		{"content shared by other names", "Content Shared", `{"method":"wechat","link":"https://shop/a"}`, `{"share":{"network":"wechat","url":"https://shop/a"}}`, nil},
		{"interaction of another system", "Interaction Logged", `{"channel":"email","direction":"Incoming","subject":"offer","type":"question"}`,
			`{"interaction":{"channel":"email","direction":"Incoming","summary":"offer","kind":"question"}}`, nil},
		{"share", "Product Shared", `{"share_via":"email","share_message":"look","recipient":"f@x.y","url":"u"}`,
			`{"share":{"network":"email","message":"look","url":"u"},"propertiesJson":"{\"recipient\":\"f@x.y\"}"}`, nil},
		{"interaction", "Interaction Logged", `{"channel":"call","direction":"inbound","participants":["a","b"],"duration":90.5,"in_reply_to":"e"}`,
			`{"interaction":{"channel":"call","direction":"inbound","participants":["a","b"],"durationMicros":"90500000","inReplyTo":"e"}}`, nil},
		{"consent", "consent.changed", `{"purpose":"marketing","granted":true}`, `{"consent":{"purpose":"marketing","granted":true}}`, nil},
		{"void", "event.voided", `{"event_id":"e","time":"2026-01-02T03:04:05Z","reason":"test"}`,
			`{"void":{"eventId":"e","time":"2026-01-02T03:04:05Z","reason":"test"}}`, nil},
		{"traits", "traits.set", `{"a":1,"big":9007199254740993,"fine":0.1,"long":0.12345678901234567890,"far":1e400,"n":null}`,
			`{"traits":{"set":{"a":1,"big":"9007199254740993","fine":0.1,"long":"0.12345678901234567890","far":"1e400","n":null}}}`, nil},
		{"custom", "Something Else", `{"order_id":"o","revenue":-5}`, `{"propertiesJson":"{\"order_id\":\"o\",\"revenue\":-5}"}`, nil},
		{"custom without properties", "Something Else", `{}`, `{}`, nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			got, flags, refused := mapped(t, c.event, c.props)
			if refused != nil {
				t.Fatalf("refused: %+v", refused)
			}
			want := &eventsv1.Event{}
			if err := protojson.Unmarshal([]byte(c.want), want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, want, protocmp.Transform()); diff != "" {
				t.Errorf("(-got +want):\n%s", diff)
			}
			if diff := cmp.Diff(flags, c.flags); diff != "" {
				t.Errorf("flags (-got +want):\n%s", diff)
			}
			if _, err := proto.Marshal(got); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMapRefuses(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", ingest.MaxIDCharacters+1)
	for _, c := range []struct {
		event, props string
		code         ingest.Code
		field, says  string
	}{
		{"Order Completed", `{"revenue":"abc"}`, ingest.CodeBadNumber, "properties.revenue", `"abc"`},
		{"Order Completed", `{"total":"NaN"}`, ingest.CodeBadNumber, "properties.total", "NaN"},
		{"Order Completed", `{"total":"Infinity"}`, ingest.CodeBadNumber, "properties.total", "Infinity"},
		{"Order Completed", `{"total":1e400}`, ingest.CodeBadNumber, "properties.total", "1e400"},
		{"Order Completed", `{"tax":1000000000001}`, ingest.CodeBadNumber, "properties.tax", "1000000000001"},
		{"Order Completed", `{"products":[{"price":1},{"quantity":"many"}]}`, ingest.CodeBadNumber, "properties.products[1].quantity", "many"},
		{"Order Completed", `{"revenue":-0.01}`, ingest.CodeBadNumber, "properties.revenue", "-0.01: negative order"},
		{"Order Completed", `{"total":-1}`, ingest.CodeBadNumber, "properties.total", "negative order"},
		{"Order Completed", `{"value":-1}`, ingest.CodeBadNumber, "properties.value", "negative order"},
		{"Order Updated", `{"value":-1}`, ingest.CodeBadNumber, "properties.value", "negative order"},
		{"Order Completed", `{"total":10,"tax":20}`, ingest.CodeBadNumber, "properties.total", "less tax and shipping is -10: negative order"},
		{"Order Updated", `{"total":10,"tax":8,"shipping":2.5}`, ingest.CodeBadNumber, "properties.total", "less tax and shipping is -0.5: negative order"},
		{"Order Completed", `{"products":[{"price":5,"quantity":-3}]}`, ingest.CodeBadNumber, "properties.products", "sum of properties.products is -15: negative order"},
		{"Order Updated", `{"products":[{"price":-5},{"price":4},{"name":"a gift"}]}`, ingest.CodeBadNumber, "properties.products", "is -1: negative order"},
		{"Order Completed", `{"products":[{"price":-1e12,"quantity":1e12},{"price":1e12,"quantity":1e11}]}`, ingest.CodeBadNumber, "properties.products", "below -1000000000000: negative order"},
		{"Order Completed", `{"revenue":true}`, ingest.CodeBadNumber, "properties.revenue", "revenue is a boolean"},
		{"Order Completed", `{"tax":{"amount":1},"revenue":1}`, ingest.CodeBadNumber, "properties.tax", "tax is an object"},
		{"Order Completed", `{"products":[{"price":1,"quantity":[1]}]}`, ingest.CodeBadNumber, "properties.products[0].quantity", "quantity is an array"},
		{"Product Added", `{"price":{}}`, ingest.CodeBadNumber, "properties.price", "price is an object"},
		{"Rating Given", `{"score":4,"scale":[1,5]}`, ingest.CodeBadNumber, "properties.scale", "scale is an array"},
		{"Order Refunded", `{"total":-1}`, ingest.CodeBadNumber, "properties.total", "negative refund"},
		{"Order Refunded", `{"amount":-1}`, ingest.CodeBadNumber, "properties.total", "negative refund"},
		{"Order Completed", `{"order_id":"` + long + `"}`, ingest.CodeIDTooLong, "properties.order_id", "201"},
		{"Referral Made", `{"referee":"` + long + `"}`, ingest.CodeIDTooLong, "properties.referee", "201"},
		{"event.voided", `{"reason":"x"}`, ingest.CodeMissingID, "properties.event_id", "missing"},
		{"event.voided", `{"event_id":"x","time":"soon"}`, ingest.CodeBadTime, "properties.time", "soon"},
		{"group.joined", `{}`, ingest.CodeMissingID, "properties.group_id", "missing"},
		{"Ad Viewed", `{"cost":"free"}`, ingest.CodeBadNumber, "properties.cost", "free"},
		{"Rating Given", `{"score":4,"scale":"stars"}`, ingest.CodeBadNumber, "properties.scale", "stars"},
		{"Rating Given", `{"score":4,"scale":{"min":0,"max":"ten"}}`, ingest.CodeBadNumber, "properties.scale.max", "ten"},
		{"Rating Given", `{"score":4,"scale":{"max":5}}`, ingest.CodeBadNumber, "properties.scale", "scale is an object"},
		{"Referral Made", `{"referee":{"email":"` + long + `"}}`, ingest.CodeIDTooLong, "properties.referee", "201"},
		{"Referral Made", `{"referrer_email":"` + long + `"}`, ingest.CodeIDTooLong, "properties.referrer_email", "201"},
		{"Ticket Opened", `{"ticket_id":"` + long + `"}`, ingest.CodeIDTooLong, "properties.ticket_id", "201"},
		{"Rating Given", `{"score":"good"}`, ingest.CodeBadNumber, "properties.score", "good"},
	} {
		_, _, r := mapped(t, c.event, c.props)
		if r == nil {
			t.Errorf("%s %.60s: not refused", c.event, c.props)
			continue
		}
		if r.Code != c.code || r.Field != c.field || !strings.Contains(r.Message, c.says) || r.Limit == "" {
			t.Errorf("%s %.60s: got %+v, want %s of %s saying %q with a limit", c.event, c.props, *r, c.code, c.field, c.says)
		}
	}
}

// An order of nothing but lines is refused where its lines, each rounded half
// to even, sum below nothing, however large they are.
func TestNegativeLinesAreRefused(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const limit = ingest.MaxAmountUnits * 1_000_000
		amounts := rapid.OneOf(rapid.Int64Range(-3, 3), rapid.Int64Range(-2_000_000, 2_000_000), rapid.Int64Range(-limit, limit), rapid.SampledFrom([]int64{-limit, limit}))
		sum, order := new(big.Int), &eventsv1.Order{}
		for range rapid.IntRange(0, 6).Draw(t, "lines") {
			price, quantity := amounts.Draw(t, "price"), amounts.Draw(t, "quantity")
			order.Lines = append(order.Lines, &eventsv1.Line{PriceMicros: &price, QuantityMicros: &quantity})
			sum.Add(sum, halfEven(new(big.Int).Mul(big.NewInt(price), big.NewInt(quantity))))
		}
		ev, flags := &eventsv1.Event{Payload: &eventsv1.Event_Order{Order: order}}, properties.Flags(0)
		refused := properties.Check(ev, eventsv1.Type_TYPE_ORDER_UPDATED, properties.PropertyName, &flags)
		if (refused != nil) != (sum.Sign() < 0) {
			t.Errorf("lines of %v millionths: got %+v", sum, refused)
		}
	})
}

// halfEven divides by a million.
func halfEven(n *big.Int) *big.Int {
	one := big.NewInt(1_000_000)
	q, left := new(big.Int).DivMod(n, one, new(big.Int)) // left is not negative
	switch c := left.Cmp(big.NewInt(500_000)); {
	case c > 0, c == 0 && q.Bit(0) == 1:
		q.Add(q, big.NewInt(1))
	}
	return q
}

func TestEveryTypeHasAPayload(t *testing.T) {
	t.Parallel()
	oneof := (&eventsv1.Event{}).ProtoReflect().Descriptor().Oneofs().ByName("payload")
	used := map[string]bool{}
	for n := range eventsv1.Type_name {
		typ := eventsv1.Type(n)
		name := properties.Payload(typ)
		if (name == "") != (typ == eventsv1.Type_TYPE_CUSTOM) {
			t.Errorf("%v has payload %q", typ, name)
		}
		used[name] = true
		ev, _, refused := mapped(t, events.TypeName(typ), `{"group_id":"g","event_id":"e"}`)
		if refused != nil || (ev.Payload == nil) != (name == "") {
			t.Errorf("%v: got payload %v, %v", typ, ev.GetPayload(), refused)
		}
		if fd := ev.ProtoReflect().WhichOneof(oneof); fd != nil && string(fd.Name()) != name {
			t.Errorf("%v: got payload %s, want %s", typ, fd.Name(), name)
		}
	}
	for i := range oneof.Fields().Len() {
		if name := string(oneof.Fields().Get(i).Name()); !used[name] {
			t.Errorf("payload %s belongs to no type", name)
		}
	}
}

func TestParseTime(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		text string
		want time.Time
		zone bool
	}{
		{"2026-01-02T03:04:05Z", at, true},
		{"2026-01-02T03:04:05.678Z", at.Add(678 * time.Millisecond), true},
		{"2026-01-02T04:04:05+01:00", at, true},
		{"2026-01-02T04:04:05+0100", at, true},
		{"2026-01-02T04:04:05+01", at, true},
		{"2026-01-02t03:04:05z", at, true},
		{"2026-01-02 03:04:05Z", at, true},
		{" 2026-01-02T03:04:05Z ", at, true},
		{"2026-01-02T03:04Z", at.Add(-5 * time.Second), true},
		{"2026-01-02T03:04:05", at, false},
		{"2026-01-02 03:04:05.5", at.Add(500 * time.Millisecond), false},
		{"2026-01-02T03:04", at.Add(-5 * time.Second), false},
		{"2026-01-02", at.Truncate(24 * time.Hour), false},
		{"1767323045", at, true},
		{"1767323045.25", at.Add(250 * time.Millisecond), true},
		{"1767323045000", at, true},
		{"1767323045000000", at, true},
		{"1767323045000000000", at, true},
		{"1971-01-01T00:00:00Z", ingest.EarliestTime, true},
		{"9999-12-31T23:59:59Z", time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), true},
	} {
		got, zone, ok := properties.ParseTime(c.text)
		if !ok || !got.Equal(c.want) || zone != c.zone {
			t.Errorf("%q: got %v, zone %v, %v, want %v, %v", c.text, got, zone, ok, c.want, c.zone)
		}
	}
	for _, text := range []string{"", "soon", "1970-12-31T23:59:59Z", "0", "-1", "2026-13-01", "2026-02-30", "10000-01-01T00:00:00Z",
		"+2026-01-02", "2026-01-02T25:00:00Z", "1e9", "0x10", "99999999999999999999", "2026-01-02T03:04:05X", "02/01/2026", "20260102"} {
		if got, _, ok := properties.ParseTime(text); ok {
			t.Errorf("%q: read as %v", text, got)
		}
	}
}
