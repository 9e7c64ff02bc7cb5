package simulator

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const testBatch = 400

func TestShopIsAFunctionOfItsSeed(t *testing.T) {
	t.Parallel()
	shop := Shop{Seed: 7, End: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Customers: 60}
	first, second := shop.Tell(testBatch), shop.Tell(testBatch)
	same := func(a, b Call) bool { return a.Path == b.Path && bytes.Equal(a.Body, b.Body) }
	if !slices.EqualFunc(first.Calls, second.Calls, same) || !slices.Equal(first.Customers, second.Customers) {
		t.Error("the same seed gave other bytes")
	}
	shop.Seed = 8
	if slices.EqualFunc(first.Calls, shop.Tell(testBatch).Calls, same) {
		t.Error("another seed gave the same bytes")
	}
}

// The shop of more customers is the same shop: nobody's own life changes, only
// whom he recommends the shop to.
func TestShopGrows(t *testing.T) {
	t.Parallel()
	shop := Shop{Seed: 7, End: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Customers: 60}
	small := shop.Tell(testBatch)
	shop.Customers = 90
	great := shop.Tell(testBatch)
	if !slices.Equal(small.Customers, great.Customers[:60]) {
		t.Error("the first 60 customers are others in a shop of 90")
	}
	messages := map[string]message{}
	for _, m := range messagesOf(t, great) {
		messages[m.MessageID] = m
	}
	for _, m := range messagesOf(t, small) {
		if diff := cmp.Diff(m, messages[m.MessageID]); diff != "" {
			t.Fatalf("message %s differs in a shop of 90 (-60 +90):\n%s", m.MessageID, diff)
		}
	}
}

// messagesOf are the messages of all batches on the Segment wire.
func messagesOf(t *testing.T, s Tale) []message {
	t.Helper()
	var all []message
	for _, call := range s.Calls {
		if call.Path != "/v1/batch" {
			continue
		}
		var batch struct{ Batch []message }
		if err := json.Unmarshal(call.Body, &batch); err != nil {
			t.Fatal(err)
		}
		if n := len(batch.Batch); n > testBatch || len(call.Body) > 1<<20 {
			t.Errorf("a batch of %d events, %d bytes; limits %d and 1 MiB", n, len(call.Body), testBatch)
		}
		all = append(all, batch.Batch...)
	}
	return all
}

func TestShopIsWhatATrackerMaySend(t *testing.T) {
	t.Parallel()
	end := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s := Shop{Seed: 1, End: end, Customers: 200}.Tell(testBatch)
	var (
		ids         = map[string]bool{}
		events      = map[string]int{}
		corrections int
		last        time.Time
	)
	for _, m := range messagesOf(t, s) {
		if ids[m.MessageID] {
			t.Fatalf("message id %s twice", m.MessageID)
		}
		ids[m.MessageID] = true
		if m.Timestamp.Before(last) || !m.Timestamp.Before(end) || end.Sub(m.Timestamp) > (defaultDays+40)*24*time.Hour {
			t.Fatalf("message %s at %v, after one at %v; end %v", m.MessageID, m.Timestamp, last, end)
		}
		last = m.Timestamp
		if m.UserID == "" && m.AnonymousID == "" {
			t.Fatalf("message %s of nobody", m.MessageID)
		}
		if m.Corrects != "" {
			corrections++
			if !ids[m.Corrects] || m.IssuedAt == nil || !m.IssuedAt.After(m.Timestamp) {
				t.Errorf("message %s corrects %q, issued at %v", m.MessageID, m.Corrects, m.IssuedAt)
			}
		}
		if id, taken := m.Properties["event_id"].(string); taken && !ids[id] {
			t.Errorf("message %s takes back %q, which was not told before", m.MessageID, id)
		}
		events[m.Type+" "+m.Event]++
	}
	facts := 0
	for _, call := range s.Calls {
		if call.Path == "/v1/events" {
			var batch factBatch
			if err := json.Unmarshal(call.Body, &batch); err != nil {
				t.Fatal(err)
			}
			facts += len(batch.Events)
		}
	}
	if facts == 0 || corrections == 0 || len(ids)+facts != s.Events {
		t.Errorf("%d events on the wire, of them %d corrections, and %d by hand; %d announced", len(ids), corrections, facts, s.Events)
	}
	for _, kind := range []string{"identify ", "page ", "track Product Viewed", "track Product Added", "track Checkout Started", "track Order Completed", "track Order Delivered", "track Order Cancelled", "track Order Refunded",
		"track Ad Viewed", "track Ad Clicked", "track Ticket Opened", "track Ticket Replied", "track Ticket Resolved", "track Ticket Reopened", "track Rating Given",
		"track Referral Made", "track Referral Converted", "track Content Shared", "track Interaction Logged", "group ", "track Event Voided"} {
		if events[kind] == 0 {
			t.Errorf("no %q in the play: %v", kind, events)
		}
	}
	for _, h := range habits {
		if len(s.Favourites(h.name)) != 1 {
			t.Errorf("no customer of habit %s among 200", h.name)
		}
	}
}

// What a shop's back end tells names the customer by his number alone, so it
// must not come before he has told it on the web: he would be two.
func TestShopNamesNobodyTooEarly(t *testing.T) {
	t.Parallel()
	s := Shop{Seed: 9, End: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Customers: 500}.Tell(testBatch)
	known := map[string]bool{}
	for _, m := range messagesOf(t, s) {
		if m.Type == "identify" {
			known[m.UserID] = true
		}
		if m.UserID != "" && !known[m.UserID] {
			t.Errorf("message %s names %s before he is known", m.MessageID, m.UserID)
		}
	}
}

// A company that has more is parked where something is taken back.
func TestShopFirmsStayBelowThousandEvents(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("plays 4,000 customers")
	}
	for seed := range uint64(4) {
		s := Shop{Seed: seed, End: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Customers: 1000}.Tell(testBatch)
		employer, events := map[string]string{}, map[string]int{}
		for _, m := range messagesOf(t, s) {
			if m.Type == "group" {
				employer[m.UserID] = m.GroupID
			}
			if firm := employer[m.UserID]; firm != "" {
				events[firm]++
			}
		}
		for firm, n := range events {
			if n > 1000 {
				t.Errorf("seed %d: %s has %d events", seed, firm, n)
			}
		}
		if len(events) < 4*len(employers) {
			t.Errorf("seed %d: %d companies of 1,000 customers", seed, len(events))
		}
	}
}
