package profile_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/dossier360/dossier/projections/profile"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// visit is a consent given on a visit that a campaign brought: an event of
// which no other section counts anything.
func visit(i int, source, medium, name string) profile.Event {
	c := &eventsv1.Campaign{Source: source, Medium: medium, Name: name}
	return at(i, eventsv1.Type_TYPE_CONSENT_CHANGED, &eventsv1.Event{Context: &eventsv1.Context{Campaign: c}})
}

func clicked(i int, ad *eventsv1.AdTouch) profile.Event {
	return at(i, eventsv1.Type_TYPE_AD_CLICKED, &eventsv1.Event{Payload: &eventsv1.Event_Ad{Ad: ad}})
}

// TestCampaignsAreExact: however many campaigns of a day there are, each counts
// once; only the list of their names has a bound.
func TestCampaignsAreExact(t *testing.T) {
	t.Parallel()
	var history []profile.Event
	tell := func(i int) {
		name := fmt.Sprintf("campaign %d", i)
		for range 2 {
			history = append(history, visit(len(history), "google", "cpc", name))
		}
	}
	for i := range profile.MaxKeys {
		tell(i)
	}
	_, p := inOrders(t, history)
	if got := len(p.Acquisition.Campaigns); got != profile.MaxKeys || isApproximate(p) {
		t.Errorf("at the bound: %d campaigns, want %d; approximate %t", got, profile.MaxKeys, isApproximate(p))
	}
	tell(profile.MaxKeys)
	_, p = inOrders(t, history)
	if got := len(p.Acquisition.Campaigns); got != 0 || !isApproximate(p) {
		t.Errorf("one beyond: %d campaigns, want none; approximate %t", got, isApproximate(p))
	}
	if got, want := p.Acquisition.Touches, uint32(profile.MaxKeys+1); got != want || p.Acquisition.ByChannel["paid_search"] != want {
		t.Errorf("one beyond: %d touches, %v by channel, want %d", got, p.Acquisition.ByChannel, want)
	}
}

// TestCampaignsAreToldApart by each of their texts, and by where one ends.
func TestCampaignsAreToldApart(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 2*profile.MaxCampaignBytes)
	history := []profile.Event{
		visit(0, "a", "bc", ""), visit(1, "ab", "c", ""), visit(2, "", "abc", ""), visit(3, "abc", "", ""), visit(4, "", "", "abc"),
		visit(5, "A", "bc", ""), visit(6, "a", "bc", " "), visit(7, "", "", long+"1"), visit(8, "", "", long+"2"),
		visit(9, "a", "bc", ""), visit(10, "", "", long+"2"),
		visit(11, "a\x00\x00\x00\x00b", "", "c"), visit(12, "a", "b\x00\x00\x00\x00", "c"),
	}
	_, p := inOrders(t, history)
	if got := p.Acquisition.Touches; got != 11 {
		t.Errorf("%d touches, want 11", got)
	}
	want := map[string]uint32{"abc": 1, "c": 2, " ": 1, long[:profile.MaxCampaignBytes]: 2}
	if diff := gocmp.Diff(want, p.Acquisition.Campaigns); diff != "" {
		t.Errorf("campaigns (-want +got):\n%s", diff)
	}
}

// TestLongCampaigns: what is shown is whole at its bound and cut beyond.
func TestLongCampaigns(t *testing.T) {
	t.Parallel()
	bound := longText(0, profile.MaxCampaignBytes)
	for _, more := range []string{"", "x", "𠮷"} {
		for name, ev := range map[string]profile.Event{
			"context":       visit(0, bound+more, bound+more, bound+more),
			"advertisement": clicked(0, &eventsv1.AdTouch{Source: bound + more, Medium: bound + more, Campaign: bound + more}),
		} {
			_, p := inOrders(t, []profile.Event{ev})
			want := &queryv1.Touch{Channel: "other", Source: bound, Medium: bound, Campaign: bound, At: when(ev.Header.OccurredAt)}
			if diff := gocmp.Diff(want, p.Acquisition.FirstTouch, protocmp.Transform()); diff != "" {
				t.Errorf("%s, %d bytes beyond (-want +got):\n%s", name, len(more), diff)
			}
		}
	}
}

// TestCampaignRows: the days of a customer's rows sort by time, also before
// 1970, as a merge that reads them in order relies on.
func TestCampaignRows(t *testing.T) {
	t.Parallel()
	var history []profile.Event
	for i, day := range []int{0, -1, 1, -40_000, 300} {
		ev := visit(i, "google", "cpc", "")
		ev.Header.OccurredAt = int64(day)*daySeconds*1_000_000 + 43_200_000_000
		history = append(history, ev)
	}
	_, rows := fold(t, newEnv(t), history, nil)
	var days [][]byte
	err := rows.Scan(profile.RowCampaign, func(id, value []byte) error {
		if len(id) != 20 || len(value) != 1 {
			t.Errorf("row of %d bytes under an id of %d, want 1 and 20", len(value), len(id))
		}
		days = append(days, bytes.Clone(id[:4]))
		return nil
	})
	want := [][]byte{{0x7f, 0xff, 0x63, 0xc0}, {0x7f, 0xff, 0xff, 0xff}, {0x80, 0, 0, 0}, {0x80, 0, 0, 1}, {0x80, 0, 1, 0x2c}}
	if diff := gocmp.Diff(want, days); err != nil || diff != "" {
		t.Errorf("days (-want +got):\n%s\nerror %v", diff, err)
	}
}

// TestTouchRoles: a company counts what reaches its people, the parties of a
// referral do not.
func TestTouchRoles(t *testing.T) {
	t.Parallel()
	for role, want := range map[logv1.Role]uint32{
		logv1.Role_ROLE_SUBJECT: 3, logv1.Role_ROLE_COMPANY: 3, logv1.Role_ROLE_REFERRER: 0, logv1.Role_ROLE_REFEREE: 0,
	} {
		history := []profile.Event{visit(0, "google", "cpc", ""), clicked(1, nil), clicked(2, &eventsv1.AdTouch{Channel: "social"})}
		for i := range history {
			history[i].Header.Role = role
		}
		if _, p := inOrders(t, history); p.GetAcquisition().GetTouches() != want {
			t.Errorf("%s: %d touches, want %d", role, p.GetAcquisition().GetTouches(), want)
		}
	}
}

// acquired has something of every field of the two sections.
func acquired() []profile.Event {
	return []profile.Event{
		clicked(1, &eventsv1.AdTouch{Source: "google", Medium: "cpc", Campaign: "lamps"}),
		at(2, eventsv1.Type_TYPE_AD_VIEWED, &eventsv1.Event{}),
		visit(3, "facebook", "", "desks"),
		contact(4, "call", "inbound"), contact(5, "call", "outbound"), contact(6, "call", ""),
	}
}

// TestAcquisitionDigest: this digest is for ever, every event and every fact of
// one leaves its mark, and nobody else's digest changes with it.
func TestAcquisitionDigest(t *testing.T) {
	t.Parallel()
	const want = "e8c3e838ded14443d619b2f264982bcb61b004d280ec9fc25b894a66d785aa42"
	if got := digestOf(t, acquired()); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
	seen := map[string]string{want: "all"}
	note := func(name string, history []profile.Event) {
		d := digestOf(t, history)
		if same, known := seen[d]; known {
			t.Errorf("%s: digest as of %s", name, same)
		}
		seen[d] = name
	}
	for i := range acquired() {
		note(fmt.Sprint("without ", i), slices.Delete(acquired(), i, i+1))
	}
	for name, change := range map[string]func(h []profile.Event){
		"source":    func(h []profile.Event) { h[0].Body.GetAd().Source = "Google" },
		"medium":    func(h []profile.Event) { h[0].Body.GetAd().Medium = "sem" },
		"campaign":  func(h []profile.Event) { h[0].Body.GetAd().Campaign = "pens" },
		"channel":   func(h []profile.Event) { h[1].Body.Payload = h[0].Body.Payload },
		"viewed":    func(h []profile.Event) { h[0].Header.Type = eventsv1.Type_TYPE_AD_VIEWED },
		"last":      func(h []profile.Event) { h[2].Header.OccurredAt++ },
		"first":     func(h []profile.Event) { h[0].Header.OccurredAt-- },
		"contact":   func(h []profile.Event) { h[3].Body.GetInteraction().Channel = "email" },
		"direction": func(h []profile.Event) { h[3].Body.GetInteraction().Direction = "" },
		"last in":   func(h []profile.Event) { h[3].Header.OccurredAt++ },
		"last out":  func(h []profile.Event) { h[4].Header.OccurredAt++ },
		"last of":   func(h []profile.Event) { h[5].Header.OccurredAt++ },
	} {
		history := acquired()
		change(history)
		note("other "+name, history)
	}
	for _, same := range [][]profile.Event{
		{visit(0, "", "", "")},
		{at(0, eventsv1.Type_TYPE_CONSENT_CHANGED, &eventsv1.Event{Context: &eventsv1.Context{Campaign: &eventsv1.Campaign{Term: "lamp"}}})},
	} {
		if got, want := digestOf(t, same), digestOf(t, nil); got != want {
			t.Errorf("of an event without a touch: digest %s, want %s", got, want)
		}
	}
}

// TestTouchesOfOneInstant: the id decides which is first and which is last.
func TestTouchesOfOneInstant(t *testing.T) {
	t.Parallel()
	history := []profile.Event{visit(0, "b", "", ""), visit(0, "a", "", ""), visit(0, "c", "", "")}
	for i, id := range []string{"e2", "e1", "e3"} {
		history[i].Header.EventId = id
	}
	_, p := inOrders(t, history)
	if first, last := p.Acquisition.FirstTouch.Source, p.Acquisition.LastTouch.Source; first != "a" || last != "c" {
		t.Errorf("first touch %s, last touch %s, want a and c", first, last)
	}
}

// TestTouchOfOneEvent: an advertisement with a campaign in its context is two
// touches, and the advertisement is shown.
func TestTouchOfOneEvent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ad   *eventsv1.AdTouch
		want *queryv1.Touch
	}{
		"nothing of its own": {nil, &queryv1.Touch{Channel: "paid_search", Source: "google", Campaign: "lamps"}},
		"a source":           {&eventsv1.AdTouch{Source: "weibo"}, &queryv1.Touch{Channel: "paid_social", Source: "weibo", Campaign: "lamps"}},
		"a medium":           {&eventsv1.AdTouch{Medium: "email"}, &queryv1.Touch{Channel: "email", Medium: "email", Campaign: "lamps"}},
		"a campaign":         {&eventsv1.AdTouch{Campaign: "desks"}, &queryv1.Touch{Channel: "paid_search", Source: "google", Campaign: "desks"}},
		"a channel":          {&eventsv1.AdTouch{Channel: "qr"}, &queryv1.Touch{Channel: "qr", Source: "google", Campaign: "lamps"}},
	} {
		ev := clicked(0, c.ad)
		ev.Body.Context = &eventsv1.Context{Campaign: &eventsv1.Campaign{Source: "google", Name: "lamps"}}
		_, p := inOrders(t, []profile.Event{ev})
		c.want.At = when(ev.Header.OccurredAt)
		want := &queryv1.Acquisition{
			Touches: 2, AdClicks: 1, FirstTouch: c.want, LastTouch: proto.CloneOf(c.want),
			ByChannel: map[string]uint32{"organic_search": 1}, Campaigns: map[string]uint32{"lamps": 1},
		}
		want.ByChannel[c.want.Channel]++
		want.Campaigns[c.want.Campaign]++
		if diff := gocmp.Diff(want, p.Acquisition, protocmp.Transform()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func BenchmarkApplyCampaign(b *testing.B) {
	facts, rows, env := seasoned(b)
	b.ReportAllocs()
	n := 0
	for b.Loop() { // a visit of a campaign, each second one new
		if err := profile.Apply(facts, visit(n, "google", "cpc", fmt.Sprint("lamps ", n/2%200)), rows, env); err != nil {
			b.Fatal(err)
		}
		n++
	}
}

// BenchmarkApplyCampaignAgain is the page after page of one visit.
func BenchmarkApplyCampaignAgain(b *testing.B) {
	facts, rows, env := seasoned(b)
	ev := visit(800*3600, "google", "cpc", "lamps")
	b.ReportAllocs()
	for b.Loop() {
		if err := profile.Apply(facts, ev, rows, env); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkChannel(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		profile.ChannelOf("m.facebook.com", "paid_social")
	}
}
