package profile_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/dossier360/dossier/projections/profile"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// at makes the i-th event of a history, a second after the one before.
func at(i int, kind eventsv1.Type, body *eventsv1.Event) profile.Event {
	occurred := epoch.UnixMicro() + int64(i)*1_000_000
	return profile.Event{
		Header:     &logv1.Header{Type: kind, EventId: fmt.Sprintf("e%06d", i), Source: "web", OccurredAt: occurred, ClaimedAt: &occurred},
		RecordedAt: occurred,
		Body:       body,
	}
}

func pageView(i int, url string) profile.Event {
	return at(i, eventsv1.Type_TYPE_PAGE_VIEWED, &eventsv1.Event{Payload: &eventsv1.Event_View{View: &eventsv1.View{Url: url}}})
}

func order(i int, kind eventsv1.Type, o *eventsv1.Order) profile.Event {
	return at(i, kind, &eventsv1.Event{Payload: &eventsv1.Event_Order{Order: o}})
}

func added(i int, product string) profile.Event {
	line := &eventsv1.Line{ProductId: product}
	return at(i, eventsv1.Type_TYPE_PRODUCT_ADDED, &eventsv1.Event{Payload: &eventsv1.Event_Product{Product: &eventsv1.Product{Line: line}}})
}

// inOrders folds a history forward, backward and in some random orders, sees
// to it that the facts are the same, and shows them.
func inOrders(t *testing.T, history []profile.Event) (*statev1.Facts, *queryv1.Profile) {
	t.Helper()
	return inSomeOrders(t, history, 4)
}

// inSomeOrders is inOrders with that many others than forward, for histories
// that take long: backward, then random ones.
func inSomeOrders(t *testing.T, history []profile.Event, others int) (*statev1.Facts, *queryv1.Profile) {
	t.Helper()
	env := newEnv(t)
	facts, rows := fold(t, env, history, nil)
	random := rand.New(rand.NewPCG(1, 2))
	backward := slices.Clone(history)
	slices.Reverse(backward)
	for range others {
		other, otherRows := fold(t, env, backward, nil)
		if !proto.Equal(facts, other) {
			t.Fatalf("facts depend on the order:\n%s\n%s", asJSON(facts), asJSON(other))
		}
		if err := sameRows(rows, otherRows); err != nil {
			t.Fatalf("rows depend on the order: %v", err)
		}
		random.Shuffle(len(backward), func(i, j int) { backward[i], backward[j] = backward[j], backward[i] })
	}
	shown := &queryv1.Profile{}
	profile.Render(facts, epoch.UnixMicro(), env, shown)
	return facts, shown
}

func isApproximate(p *queryv1.Profile) bool { return slices.Contains(p.Flags, "approximate") }

// TestLimits tries every bounded list at its bound and one beyond.
func TestLimits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		bound  int
		make   func(i int) profile.Event
		kept   func(p *queryv1.Profile) int
		beyond int // shown when there is one too many
	}{
		{
			"pages", profile.MaxKeys,
			func(i int) profile.Event { return pageView(i, fmt.Sprintf("https://shop/%d", i)) },
			func(p *queryv1.Profile) int { return min(profile.MaxKeys, len(p.Engagement.TopPages)) }, 0,
		},
		{
			"custom names", profile.MaxKeys,
			func(i int) profile.Event {
				return at(i, eventsv1.Type_TYPE_CUSTOM, &eventsv1.Event{Type: fmt.Sprintf("name %d", i)})
			},
			func(p *queryv1.Profile) int { return len(p.Custom) }, profile.MaxKeys,
		},
		{
			"identifiers of somebody", profile.MaxIdentifiers,
			func(i int) profile.Event { return identified(i, "crm_id", fmt.Sprint(i)) },
			func(p *queryv1.Profile) int { return len(p.Identifiers) }, profile.MaxIdentifiers,
		},
		{
			"identifiers of nobody", profile.MaxIdentifiers,
			func(i int) profile.Event { return identified(i, "anonymous_id", fmt.Sprint(i)) },
			func(p *queryv1.Profile) int { return len(p.Identifiers) }, profile.MaxIdentifiers,
		},
		{
			"traits", profile.MaxTraits,
			func(i int) profile.Event {
				set := &structpb.Struct{Fields: map[string]*structpb.Value{fmt.Sprintf("t%d", i): structpb.NewNumberValue(1)}}
				return at(i, eventsv1.Type_TYPE_TRAITS_SET, &eventsv1.Event{Payload: &eventsv1.Event_Traits{Traits: &eventsv1.Traits{Set: set}}})
			},
			func(p *queryv1.Profile) int { return len(p.Traits) }, profile.MaxTraits,
		},
		{
			"products", profile.MaxKeys,
			func(i int) profile.Event {
				line := &eventsv1.Line{ProductId: fmt.Sprintf("p%d", i)}
				return order(i, eventsv1.Type_TYPE_ORDER_PLACED, &eventsv1.Order{OrderId: fmt.Sprint(i / 8), Lines: []*eventsv1.Line{line}})
			},
			func(p *queryv1.Profile) int { return len(p.Orders.TopProducts) }, 0,
		},
		{
			"cart", profile.MaxCartEntries,
			func(i int) profile.Event { return added(i, fmt.Sprintf("p%d", i)) },
			func(p *queryv1.Profile) int { return len(p.Orders.OpenCart.Items) }, profile.MaxCartEntries,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var history []profile.Event
			for i := range c.bound {
				history = append(history, c.make(i))
			}
			_, p := inOrders(t, history)
			top := min(c.bound, 10)
			if got := c.kept(p); got != c.bound && got != top || isApproximate(p) {
				t.Errorf("at the bound of %d: %d shown, approximate %t", c.bound, got, isApproximate(p))
			}
			digest := p.Digest
			_, p = inOrders(t, append(history, c.make(c.bound)))
			if got := c.kept(p); got != c.beyond || !isApproximate(p) {
				t.Errorf("one beyond %d: %d shown, want %d; approximate %t", c.bound, got, c.beyond, isApproximate(p))
			}
			if p.Digest == digest {
				t.Errorf("one beyond %d: the digest is as before", c.bound)
			}
		})
	}
}

// TestApproximateIsNotInDigest: what a section beyond its limit holds does not
// reach the digest, the rest of the profile does.
func TestApproximateIsNotInDigest(t *testing.T) {
	t.Parallel()
	history := func(prefix string) (list []profile.Event) {
		for i := range profile.MaxKeys + 1 {
			list = append(list, at(i, eventsv1.Type_TYPE_CUSTOM, &eventsv1.Event{Type: fmt.Sprint(prefix, i)}))
		}
		return list
	}
	_, a := inOrders(t, history("a"))
	_, b := inOrders(t, history("b"))
	if a.Digest != b.Digest {
		t.Errorf("digests differ by names of an approximate section")
	}
	_, c := inOrders(t, append(history("a"), pageView(1_000, "https://shop")))
	if a.Digest == c.Digest {
		t.Errorf("a page view left no mark on the digest")
	}
}

// TestCartIsExactAgainAfterOrder: an order leaves fewer steps behind it, and
// then nothing of the open cart is missing.
func TestCartIsExactAgainAfterOrder(t *testing.T) {
	t.Parallel()
	placed := func(i int) profile.Event {
		return order(i, eventsv1.Type_TYPE_ORDER_PLACED, &eventsv1.Order{OrderId: "A"})
	}
	for _, c := range []struct {
		order       int // after how many steps
		steps       int
		items       int
		approximate bool
	}{
		{order: 10, steps: 300, items: 256, approximate: true},
		{order: 43, steps: 300, items: 256, approximate: true},
		{order: 44, steps: 300, items: 256, approximate: false},
		{order: 45, steps: 300, items: 255, approximate: false},
	} {
		var history []profile.Event
		for i := range c.steps {
			if i == c.order {
				history = append(history, placed(2*i-1))
			}
			history = append(history, added(2*i, fmt.Sprintf("p%d", i)))
		}
		_, p := inOrders(t, history)
		if got := len(p.Orders.OpenCart.Items); got != c.items || isApproximate(p) != c.approximate {
			t.Errorf("order after %d of %d steps: %d items, approximate %t; want %d, %t", c.order, c.steps, got, isApproximate(p), c.items, c.approximate)
		}
	}
}

// TestLongKeys: keys beyond their bound are cut between characters; order ids
// beyond theirs still tell orders apart.
func TestLongKeys(t *testing.T) {
	t.Parallel()
	atBound := strings.Repeat("x", profile.MaxKeyBytes)
	_, p := inOrders(t, []profile.Event{
		pageView(0, atBound), pageView(1, atBound+"y"), pageView(2, atBound[1:]+"ü"),
	})
	if got := p.Engagement.TopPages; len(got) != 2 || got[0].Url != atBound || got[0].Count != 2 || got[1].Url != atBound[1:] {
		t.Errorf("top pages of long addresses: %v", got)
	}
	var history []profile.Event
	for i, suffix := range []string{"", "1", "2"} {
		id := strings.Repeat("o", profile.MaxRowIDBytes) + suffix
		history = append(history, order(i, eventsv1.Type_TYPE_ORDER_PLACED, &eventsv1.Order{OrderId: id}))
	}
	facts, p := inOrders(t, append(history, order(9, eventsv1.Type_TYPE_ORDER_CANCELLED, history[2].Body.GetOrder())))
	if p.Orders.Count != 2 || p.Orders.Cancelled != 1 {
		t.Errorf("orders of long ids: %d, cancelled %d; want 2 and 1", facts.Orders.Count, p.Orders.Cancelled)
	}
}

// TestOverflow: a sum beyond an int64 is kept exactly and shown cut.
func TestOverflow(t *testing.T) {
	t.Parallel()
	most := int64(1e18)
	var history []profile.Event
	for i := range 10 {
		history = append(history, order(i, eventsv1.Type_TYPE_ORDER_PLACED, &eventsv1.Order{OrderId: fmt.Sprint(i), RevenueMicros: &most}))
	}
	_, p := inOrders(t, history[:9])
	if got := p.Orders.NetRevenue.Micros; got != 9*most || slices.Contains(p.Flags, "overflow") {
		t.Errorf("nine orders: %d, flags %v", got, p.Flags)
	}
	_, p = inOrders(t, history)
	if got := p.Orders.NetRevenue.Micros; got != math.MaxInt64 || !slices.Contains(p.Flags, "overflow") {
		t.Errorf("ten orders: %d, flags %v", got, p.Flags)
	}
	cancel := order(20, eventsv1.Type_TYPE_ORDER_CANCELLED, &eventsv1.Order{OrderId: "3"})
	_, p = inOrders(t, append(history, cancel))
	if got := p.Orders.NetRevenue.Micros; got != 9*most || slices.Contains(p.Flags, "overflow") {
		t.Errorf("ten orders, one cancelled: %d, flags %v", got, p.Flags)
	}
}
