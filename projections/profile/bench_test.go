package profile_test

import (
	"fmt"
	"testing"

	"github.com/dossier360/dossier/projections/profile"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// seasoned is a customer with some history, for the benchmarks.
func seasoned(b *testing.B) (*statev1.Facts, memRows, profile.Env) {
	env := newEnv(b)
	var history []profile.Event
	for i := range 200 {
		history = append(history, pageView(2*i*3600, fmt.Sprintf("https://shop/%d", i%50)))
		if i%10 == 0 {
			history = append(history, benchOrder(i*3600, fmt.Sprint(i)))
		}
	}
	facts, rows := fold(b, env, history, nil)
	return facts, rows, env
}

func benchOrder(i int, id string) profile.Event {
	price := int64(12_990_000)
	lines := []*eventsv1.Line{{ProductId: "lamp", PriceMicros: &price}, {ProductId: "shade", PriceMicros: &price}}
	return order(i, eventsv1.Type_TYPE_ORDER_PLACED, &eventsv1.Order{OrderId: id, Currency: "USD", RevenueMicros: &price, Lines: lines})
}

func BenchmarkApplyPageView(b *testing.B) {
	facts, rows, env := seasoned(b)
	ev := pageView(800*3600, "https://shop/7")
	b.ReportAllocs()
	for b.Loop() {
		if err := profile.Apply(facts, ev, rows, env); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkApplyOrder(b *testing.B) {
	facts, rows, env := seasoned(b)
	b.ReportAllocs()
	n := 0
	for b.Loop() { // one order more of the same day each time
		if err := profile.Apply(facts, benchOrder(900*3600+n%3600, fmt.Sprint("b", n)), rows, env); err != nil {
			b.Fatal(err)
		}
		n++
	}
}

func BenchmarkDigest(b *testing.B) {
	facts, _, _ := seasoned(b)
	b.ReportAllocs()
	for b.Loop() {
		profile.Digest(facts)
	}
}

func BenchmarkDescribe(b *testing.B) {
	ev := benchOrder(1, "A")
	b.ReportAllocs()
	for b.Loop() {
		profile.Describe(ev)
	}
}
