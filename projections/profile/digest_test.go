package profile_test

import (
	"encoding/hex"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/projections/profile"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// digestHistory has something of every section.
func digestHistory() []profile.Event {
	million := int64(1_000_000)
	line := &eventsv1.Line{ProductId: "lamp", Name: "Lamp", PriceMicros: &million}
	history := []profile.Event{
		pageView(1, "https://shop/a"),
		order(2, eventsv1.Type_TYPE_ORDER_PLACED, &eventsv1.Order{OrderId: "A", Currency: "USD", RevenueMicros: &million, Lines: []*eventsv1.Line{line}}),
		order(3, eventsv1.Type_TYPE_ORDER_REFUNDED, &eventsv1.Order{OrderId: "B", TotalMicros: &million}),
		added(4, "desk"),
		at(5, eventsv1.Type_TYPE_CUSTOM, &eventsv1.Event{Type: "Quiz Done"}),
		at(6, eventsv1.Type_TYPE_TRAITS_SET, &eventsv1.Event{Payload: &eventsv1.Event_Traits{Traits: &eventsv1.Traits{Unset: []string{"city"}}}}),
	}
	history[0].Body.Identifiers = []*eventsv1.Identifier{{Type: "email", Value: "ann@example.com"}}
	return history
}

// toldHistory is the same with a currency for every amount.
func toldHistory() []profile.Event {
	history := digestHistory()
	history[2].Body.GetOrder().Currency = "CNY"
	return history
}

func digestOf(t *testing.T, history []profile.Event) string {
	t.Helper()
	facts, _ := fold(t, newEnv(t), history, nil)
	d := profile.Digest(facts)
	return hex.EncodeToString(d[:])
}

// TestDigestGolden: these digests are for ever. A change of one is a new
// version of the encoding.
func TestDigestGolden(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		history []profile.Event
		want    string
	}{
		{"nothing", nil, "74ddf5f3fcb9ee71190823f4e1eb5d8b90de77465ec0b9818dac88eed72b3658"},
		{"something of every section", digestHistory(), "e23b962276aa1dcb21db8a6e133dd37c15288f1ee3b1204b36e136142432d9ba"},
		{"all currencies told", toldHistory(), "55faa0cc8eaed9cbb4ecdf8764060e49752c97556f1eca49d075c017b9223f41"},
	} {
		if got := digestOf(t, c.history); got != c.want {
			t.Errorf("%s: digest %s, want %s", c.name, got, c.want)
		}
	}
}

// TestDigestLeavesOut: what two engines need not agree on.
func TestDigestLeavesOut(t *testing.T) {
	t.Parallel()
	want := digestOf(t, digestHistory())
	for name, change := range map[string]func(ev *profile.Event){
		"event ids":     func(ev *profile.Event) { ev.Header.EventId = "other " + ev.Header.EventId },
		"sources":       func(ev *profile.Event) { ev.Header.Source = "other" },
		"receive times": func(ev *profile.Event) { ev.RecordedAt++ },
		"flags": func(ev *profile.Event) {
			ev.Header.Corrected, ev.Header.Clamped = true, true
			ev.Header.Flags = []logv1.Flag{logv1.Flag_FLAG_UNKNOWN_CURRENCY}
		},
		"minted ids": func(ev *profile.Event) { ev.Header.MintedId = true },
	} {
		history := digestHistory()
		for i := range history {
			change(&history[i])
		}
		if got := digestOf(t, history); got != want {
			t.Errorf("the digest changes with %s", name)
		}
	}
}

// TestDigestOfAnotherBase: the deployment's currency leaves no mark, not even
// on which of too many currencies are kept.
func TestDigestOfAnotherBase(t *testing.T) {
	t.Parallel()
	few := []profile.Event{
		placed(1, "A", "", 5), placed(2, "B", "USD", 7), refunded(3, "A", 2), refunded(4, "unknown", 1),
		order(5, eventsv1.Type_TYPE_ORDER_REFUNDED, &eventsv1.Order{OrderId: "A", Currency: "USD", TotalMicros: proto.Int64(4)}),
		added(6, "desk"),
	}
	few[5].Body.GetProduct().Line.PriceMicros = proto.Int64(9)
	var most, more []profile.Event
	for i, code := range []string{"", "AAA", "BBB", "CCC", "DDD", "EEE", "FFF", "USD", "ZZZ"} {
		most = append(most, placed(10+i, "M"+code, code, 1))
	}
	more = append(append(more, most...), placed(30, "more", "GGG", 1))
	for name, history := range map[string][]profile.Event{"few": few, "most": most, "more": more} {
		digests := map[[32]byte]bool{}
		for _, base := range []string{"CNY", "USD", "ZZZ", "AAA"} {
			env := newEnv(t)
			env.BaseCurrency = base
			facts, _ := fold(t, env, history, nil)
			digests[profile.Digest(facts)] = true
			p := &queryv1.Profile{}
			profile.Render(facts, epoch.UnixMicro(), env, p)
			if got := isApproximate(p); got != (name == "more") {
				t.Errorf("%s currencies, %s: approximate %t", name, base, got)
			}
		}
		if len(digests) != 1 {
			t.Errorf("%s currencies: %d digests in deployments of four currencies, want 1", name, len(digests))
		}
	}
}

// TestDigestCovers: every event of the history leaves its mark, and so does
// every change of one.
func TestDigestCovers(t *testing.T) {
	t.Parallel()
	seen := map[string]string{digestOf(t, digestHistory()): "all"}
	note := func(name string, history []profile.Event) {
		d := digestOf(t, history)
		if same, known := seen[d]; known {
			t.Errorf("%s: digest as of %s", name, same)
		}
		seen[d] = name
	}
	for i, ev := range digestHistory() {
		history := digestHistory()
		note("without "+ev.Header.EventId, append(history[:i], history[i+1:]...))
		history = digestHistory()
		history[i].Header.OccurredAt += 24 * 3600 * 1_000_000
		note("a day later "+ev.Header.EventId, history)
	}
	for name, change := range map[string]func(h []profile.Event){
		"identifier": func(h []profile.Event) { h[0].Body.Identifiers[0].Value = "bob@example.com" },
		"url":        func(h []profile.Event) { h[0].Body.GetView().Url = "https://shop/b" },
		"currency":   func(h []profile.Event) { h[1].Body.GetOrder().Currency = "EUR" },
		"revenue":    func(h []profile.Event) { h[1].Body.GetOrder().RevenueMicros = proto.Int64(2) },
		"product":    func(h []profile.Event) { h[1].Body.GetOrder().Lines[0].ProductId = "desk" },
		"name":       func(h []profile.Event) { h[1].Body.GetOrder().Lines[0].Name = "Table lamp" },
		"in cart":    func(h []profile.Event) { h[3].Body.GetProduct().Line.QuantityMicros = proto.Int64(2) },
		"custom":     func(h []profile.Event) { h[4].Body.Type = "quiz done" },
		"trait":      func(h []profile.Event) { h[5].Body.GetTraits().Unset[0] = "town" },
		"manual":     func(h []profile.Event) { h[5].Body.GetTraits().Manual = true },
	} {
		history := digestHistory()
		change(history)
		note("other "+name, history)
	}
}
