package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
	"time"
)

func TestSampleIsAFunctionOfItsSeed(t *testing.T) {
	t.Parallel()
	shop := sampleShop{Seed: 7, End: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Customers: 60}
	first, err := shop.build()
	if err != nil {
		t.Fatal(err)
	}
	second, err := shop.build()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(first.Batches, second.Batches, bytes.Equal) || !slices.Equal(first.Customers, second.Customers) {
		t.Error("the same seed gave other bytes")
	}
	shop.Seed = 8
	third, err := shop.build()
	if err != nil {
		t.Fatal(err)
	}
	if slices.EqualFunc(first.Batches, third.Batches, bytes.Equal) {
		t.Error("another seed gave the same bytes")
	}
}

func TestSampleIsWhatATrackerMaySend(t *testing.T) {
	t.Parallel()
	end := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s, err := sampleShop{Seed: 1, End: end, Customers: 200}.build()
	if err != nil {
		t.Fatal(err)
	}
	var (
		ids    = map[string]bool{}
		events = map[string]int{}
		last   time.Time
	)
	for _, body := range s.Batches {
		var batch struct{ Batch []sampleMessage }
		if err := json.Unmarshal(body, &batch); err != nil {
			t.Fatal(err)
		}
		if n := len(batch.Batch); n > sampleBatchEvents || len(body) > 1<<20 {
			t.Errorf("a batch of %d events, %d bytes; limits %d and 1 MiB", n, len(body), sampleBatchEvents)
		}
		for _, m := range batch.Batch {
			if ids[m.MessageID] {
				t.Fatalf("message id %s twice", m.MessageID)
			}
			ids[m.MessageID] = true
			if m.Timestamp.Before(last) || !m.Timestamp.Before(end) || end.Sub(m.Timestamp) > (sampleDays+40)*24*time.Hour {
				t.Fatalf("message %s at %v, after one at %v; end %v", m.MessageID, m.Timestamp, last, end)
			}
			last = m.Timestamp
			if m.UserID == "" && m.AnonymousID == "" {
				t.Fatalf("message %s of nobody", m.MessageID)
			}
			events[m.Type+" "+m.Event]++
		}
	}
	if len(ids) != s.Events {
		t.Errorf("%d events in the batches, %d announced", len(ids), s.Events)
	}
	for _, kind := range []string{"identify ", "page ", "track Product Viewed", "track Product Added", "track Checkout Started", "track Order Completed", "track Order Delivered", "track Order Cancelled", "track Order Refunded"} {
		if events[kind] == 0 {
			t.Errorf("no %q in the sample: %v", kind, events)
		}
	}
	for _, h := range sampleHabits {
		if len(s.favourites(h.name)) != 1 {
			t.Errorf("no customer of habit %s among 200", h.name)
		}
	}
}
