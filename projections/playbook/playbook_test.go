package playbook_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/playbook"
	"github.com/dossier360/dossier/projections/profile"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

const (
	day  = 24 * 60 * 60 * 1_000_000
	hour = day / 24
)

// start is an instant of an order: noon, so that day arithmetic is easy.
var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC).UnixMicro()

type rows map[string][]byte

func (r rows) Get(kind profile.RowKind, id []byte) ([]byte, error) {
	return r[string(kind)+string(id)], nil
}
func (r rows) Put(kind profile.RowKind, id []byte, value []byte) { r[string(kind)+string(id)] = value }

func (r rows) Scan(kind profile.RowKind, fn func(id, value []byte) error) error {
	for key, value := range r { // only extremes are taken: the order does not matter
		if key[0] == byte(kind) {
			if err := fn([]byte(key[1:]), value); err != nil {
				return err
			}
		}
	}
	return nil
}

// customer folds events for a test.
type customer struct {
	t     interface{ Fatalf(string, ...any) }
	env   profile.Env
	facts *statev1.Facts
	rows  rows
	n     int
}

func newCustomer(t interface{ Fatalf(string, ...any) }, identifier string) *customer {
	spans, err := events.ZoneSpans("UTC")
	if err != nil {
		t.Fatalf("%v", err)
	}
	zone, err := events.NewZone(spans)
	if err != nil {
		t.Fatalf("%v", err)
	}
	c := &customer{t: t, env: profile.Env{Zone: zone, BaseCurrency: "USD"}, facts: &statev1.Facts{}, rows: rows{}}
	if identifier != "" {
		c.tell(start, eventsv1.Type_TYPE_CONSENT_CHANGED, &eventsv1.Event{Identifiers: []*eventsv1.Identifier{{Type: identifier, Value: "1"}}})
	}
	return c
}

func (c *customer) tell(at int64, kind eventsv1.Type, body *eventsv1.Event) {
	c.n++
	ev := profile.Event{Header: &logv1.Header{Type: kind, EventId: fmt.Sprint(c.n), OccurredAt: at}, Body: body}
	if err := profile.Apply(c.facts, ev, c.rows, c.env); err != nil {
		c.t.Fatalf("apply: %v", err)
	}
}

func (c *customer) order(at int64, kind eventsv1.Type, id string) {
	c.tell(at, kind, &eventsv1.Event{Payload: &eventsv1.Event_Order{Order: &eventsv1.Order{OrderId: id}}})
}

// placed places one order at each instant, and names it by the instant.
func (c *customer) placed(ats ...int64) {
	for _, at := range ats {
		c.order(at, eventsv1.Type_TYPE_ORDER_PLACED, fmt.Sprint(at))
	}
}

func (c *customer) cart(at int64, kind eventsv1.Type) {
	c.tell(at, kind, &eventsv1.Event{Payload: &eventsv1.Event_Product{Product: &eventsv1.Product{Line: &eventsv1.Line{ProductId: "lamp"}}}})
}

// TestStageTable walks each customer along time: the stages, and the exact
// instants at which they flip. Every flip is tried a microsecond before, too.
func TestStageTable(t *testing.T) {
	t.Parallel()
	type step struct {
		from  int64 // the verdict holds from here
		stage string
	}
	const (
		placed    = eventsv1.Type_TYPE_ORDER_PLACED
		cancelled = eventsv1.Type_TYPE_ORDER_CANCELLED
		delivered = eventsv1.Type_TYPE_ORDER_DELIVERED
		refunded  = eventsv1.Type_TYPE_ORDER_REFUNDED
		added     = eventsv1.Type_TYPE_PRODUCT_ADDED
		removed   = eventsv1.Type_TYPE_PRODUCT_REMOVED
		checkout  = eventsv1.Type_TYPE_CHECKOUT_STARTED
		payment   = eventsv1.Type_TYPE_CHECKOUT_PAYMENT_ENTERED
	)
	for _, c := range []struct {
		name       string
		identifier string
		tell       func(c *customer)
		from       int64 // where to begin to look
		want       []step
	}{
		{"nobody", "", func(*customer) {}, start, []step{{start, "unidentified"}}},
		{"an anonymous visitor", "anonymous_id", func(*customer) {}, start, []step{{start, "unidentified"}}},
		{"a device", "device_id", func(*customer) {}, start, []step{{start, "unidentified"}}},
		{"a guest", "guest", func(*customer) {}, start, []step{{start, "unidentified"}}},
		{"a known person", "email", func(*customer) {}, start, []step{{start, "potential"}}},
		{"a known person fills a cart", "email", func(c *customer) { c.cart(start, added) }, start,
			[]step{{start, "opportunity"}, {start + 30*day, "potential"}}},
		{"a known person goes to the checkout", "user_id", func(c *customer) { c.cart(start, checkout) }, start,
			[]step{{start, "opportunity"}, {start + 30*day, "potential"}}},
		{"payment told later than the cart", "user_id", func(c *customer) { c.cart(start, added); c.cart(start+day, payment) }, start,
			[]step{{start, "opportunity"}, {start + 31*day, "potential"}}},
		{"removing one of two keeps the opportunity as it was", "email", func(c *customer) {
			c.cart(start, added)
			c.cart(start+1, added)
			c.cart(start+day, removed)
		}, start + day, []step{{start + day, "opportunity"}, {start + 30*day + 1, "potential"}}},
		{"an emptied cart", "email", func(c *customer) { c.cart(start, added); c.cart(start+1, removed) }, start, []step{{start, "potential"}}},
		{"an anonymous cart", "anonymous_id", func(c *customer) { c.cart(start, added) }, start, []step{{start, "unidentified"}}},
		{"a guest orders", "guest", func(c *customer) { c.placed(start) }, start,
			[]step{{start, "customer"}, {start + 90*day, "dormant"}, {start + 180*day, "lost"}}},
		{"a delivered first order", "email", func(c *customer) { c.order(start, placed, "A"); c.order(start+day, delivered, "A") }, start + day,
			[]step{{start + day, "user"}, {start + 90*day, "dormant"}, {start + 180*day, "lost"}}},
		{"two orders on one day, one delivered", "email", func(c *customer) {
			c.order(start, placed, "A")
			c.order(start+hour, placed, "B")
			c.order(start+day, delivered, "A")
		}, start + day, []step{{start + day, "user"}, {start + hour + 90*day, "dormant"}, {start + hour + 180*day, "lost"}}},
		{"the only order refunded", "email", func(c *customer) { c.order(start, placed, "A"); c.order(start+day, refunded, "A") }, start + day,
			[]step{{start + day, "customer"}, {start + 90*day, "dormant"}, {start + 180*day, "lost"}}},
		{"the only order cancelled", "email", func(c *customer) { c.order(start, placed, "A"); c.order(start+day, cancelled, "A") }, start + day,
			[]step{{start + day, "potential"}}},
		{"delivered but never placed", "email", func(c *customer) { c.order(start, delivered, "A") }, start, []step{{start, "potential"}}},
		{"short gaps: the least spans count", "email", func(c *customer) { c.placed(start, start+5*day, start+10*day) }, start + 10*day,
			[]step{{start + 10*day, "repeat"}, {start + 40*day, "dormant"}, {start + 100*day, "lost"}}},
		{"gaps of 10 days: 3 m is the least dormant span", "email", func(c *customer) { c.placed(start, start+10*day) }, start + 10*day,
			[]step{{start + 10*day, "repeat"}, {start + 40*day, "dormant"}, {start + 100*day, "lost"}}},
		{"gaps of 11 days: 3 m is beyond the least", "email", func(c *customer) { c.placed(start, start+11*day) }, start + 11*day,
			[]step{{start + 11*day, "repeat"}, {start + 44*day, "dormant"}, {start + 101*day, "lost"}}},
		{"gaps of 16 days: 6 m is beyond the least", "email", func(c *customer) { c.placed(start, start+16*day) }, start + 16*day,
			[]step{{start + 16*day, "repeat"}, {start + 64*day, "dormant"}, {start + 112*day, "lost"}}},
		{"a median between two gaps: 10 and 25 are 17.5", "email", func(c *customer) { c.placed(start, start+10*day, start+35*day) }, start + 35*day,
			[]step{{start + 35*day, "repeat"}, {start + 35*day + 105*day/2, "dormant"}, {start + 35*day + 105*day, "lost"}}},
		{"back after exactly 180 days of one order", "email", func(c *customer) { c.placed(start, start+180*day) }, start + 180*day,
			[]step{{start + 180*day, "won_back"}, {start + 180*day + 540*day, "dormant"}, {start + 180*day + 1080*day, "lost"}}},
		{"back a microsecond earlier", "email", func(c *customer) { c.placed(start, start+180*day-1) }, start + 180*day,
			[]step{{start + 180*day, "repeat"}, {start + 180*day - 1 + 540*day, "dormant"}, {start + 180*day - 1 + 1080*day, "lost"}}},
		{"back after 90 days where the gaps before were short", "email", func(c *customer) { c.placed(start, start+2*day, start+92*day) }, start + 92*day,
			[]step{{start + 92*day, "won_back"}, {start + 92*day + 138*day, "dormant"}, {start + 92*day + 276*day, "lost"}}},
		{"the first order of the last day counts, the last of the day before", "email", func(c *customer) {
			c.placed(start-hour, start, start+180*day-hour, start+180*day)
		}, start + 180*day, []step{{start + 180*day, "repeat"}, {start + 720*day, "dormant"}, {start + 1260*day, "lost"}}},
		{"won back, then the next purchase day", "email", func(c *customer) { c.placed(start, start+200*day, start+201*day) }, start + 201*day,
			[]step{{start + 201*day, "repeat"}, {start + 201*day + 603*day/2, "dormant"}, {start + 201*day + 603*day, "lost"}}},
		{"won back, then the next order of that day", "email", func(c *customer) { c.placed(start, start+200*day, start+200*day+hour) }, start + 200*day + hour,
			[]step{{start + 200*day + hour, "won_back"}, {start + 800*day + hour, "dormant"}, {start + 1400*day + hour, "lost"}}},
		{"an order ahead of the settled time", "email", func(c *customer) { c.placed(start) }, start - 5*day,
			[]step{{start - 5*day, "customer"}, {start + 90*day, "dormant"}, {start + 180*day, "lost"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			who := newCustomer(t, c.identifier)
			c.tell(who)
			at := c.from
			for i, want := range c.want {
				if want.from != at {
					t.Fatalf("stage %d begins at %v, want %v", i, events.FromMicros(at), events.FromMicros(want.from))
				}
				v, flips := playbook.BuiltinStages(who.facts, at)
				if v.Stage != want.stage || v.Rule != want.stage {
					t.Fatalf("at %v: %+v, want %s", events.FromMicros(at), v, want.stage)
				}
				if flips == 0 {
					if i != len(c.want)-1 {
						t.Fatalf("%s never flips, want %s at %v", v.Stage, c.want[i+1].stage, events.FromMicros(c.want[i+1].from))
					}
					return
				}
				if before, again := playbook.BuiltinStages(who.facts, flips-1); !reflect.DeepEqual(before, v) || again != flips {
					t.Fatalf("a microsecond before the flip: %+v until %d, want %+v until %d", before, again, v, flips)
				}
				at = flips
			}
			t.Fatalf("another flip at %v", events.FromMicros(at))
		})
	}
}

// TestStandingLaw: a verdict is the same at every instant up to its flip, and
// another one at the flip.
func TestStandingLaw(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := newCustomer(t, rapid.SampledFrom([]string{"", "anonymous_id", "email"}).Draw(t, "identifier"))
		for range rapid.IntRange(0, 12).Draw(t, "events") {
			at := start + rapid.Int64Range(0, 800).Draw(t, "half days")*day/2
			kind := rapid.SampledFrom([]eventsv1.Type{
				eventsv1.Type_TYPE_ORDER_PLACED, eventsv1.Type_TYPE_ORDER_PLACED, eventsv1.Type_TYPE_ORDER_CANCELLED, eventsv1.Type_TYPE_ORDER_DELIVERED,
				eventsv1.Type_TYPE_PRODUCT_ADDED, eventsv1.Type_TYPE_PRODUCT_REMOVED, eventsv1.Type_TYPE_CHECKOUT_STARTED,
			}).Draw(t, "type")
			if strings.HasPrefix(kind.String(), "TYPE_ORDER") {
				c.order(at, kind, rapid.SampledFrom([]string{"", "A", "B", "C"}).Draw(t, "order"))
			} else {
				c.cart(at, kind)
			}
		}
		at := start + rapid.Int64Range(-100, 3000).Draw(t, "settled day")*day
		v, flips := playbook.BuiltinStages(c.facts, at)
		end := at + 10_000*day
		if flips != 0 {
			if flips <= at {
				t.Fatalf("at %d flips at %d, which is not after it", at, flips)
			}
			if after, _ := playbook.BuiltinStages(c.facts, flips); after.Stage == v.Stage {
				t.Fatalf("%s does not flip at %d", v.Stage, flips)
			}
			end = flips
		}
		within := rapid.Int64Range(at, end-1).Draw(t, "within")
		same, sameFlips := playbook.BuiltinStages(c.facts, within)
		if diff := gocmp.Diff(v, same); diff != "" || sameFlips != flips {
			t.Fatalf("at %d and at %d, both before the flip at %d and %d:\n%s", at, within, flips, sameFlips, diff)
		}
	})
}

// TestCDNOW judges the customers of a real shop at two instants, against the
// counts that the requirements name.
func TestCDNOW(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "..", "..", "shared", "fixtures", "cdnow_sample", "CDNOW_sample.txt")
	file, err := os.Open(path)
	if os.IsNotExist(err) {
		t.Skipf("no fixture %s", path)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	type purchase struct {
		customer string
		at       time.Time
	}
	var purchases []purchase
	for lines := bufio.NewScanner(file); lines.Scan(); {
		cells := strings.Fields(lines.Text())
		at, err := time.Parse("20060102", cells[2])
		if err != nil {
			t.Fatal(err)
		}
		purchases = append(purchases, purchase{cells[1], at})
	}
	for until, want := range map[string]map[string]int{
		"1997-09-30T23:59:59Z": {"lost": 1643, "repeat": 483, "dormant": 139, "won_back": 92},
		"1998-06-30T23:59:59Z": {"lost": 1578, "repeat": 433, "won_back": 195, "dormant": 151},
	} {
		settled, err := time.Parse(time.RFC3339, until)
		if err != nil {
			t.Fatal(err)
		}
		customers := map[string]*customer{}
		for _, p := range purchases {
			if p.at.After(settled) {
				continue
			}
			if customers[p.customer] == nil {
				customers[p.customer] = newCustomer(t, "")
			}
			customers[p.customer].order(p.at.UnixMicro(), eventsv1.Type_TYPE_ORDER_PLACED, "")
		}
		got := map[string]int{}
		for _, c := range customers {
			v, _ := playbook.BuiltinStages(c.facts, settled.UnixMicro())
			got[v.Stage]++
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("stages at %s (-want +got):\n%s", until, diff)
		}
	}
}

func BenchmarkBuiltinStages(b *testing.B) {
	c := newCustomer(b, "email")
	c.placed(start, start+10*day, start+35*day)
	b.ReportAllocs()
	for b.Loop() {
		playbook.BuiltinStages(c.facts, start+40*day)
	}
}
