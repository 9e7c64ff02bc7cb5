package query_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/projections"
	"github.com/dossier360/dossier/projections/playbook"
	"github.com/dossier360/dossier/projections/store"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/proto/dossier/query/v1/queryv1connect"
	"github.com/dossier360/dossier/query"
)

const townPartitions = 2

// town is a deployment of real partitions over a log in memory, and the service
// on it without a wire.
type town struct {
	t          testing.TB
	log        *memlog.Log
	partitions []*projections.Partition
	service    queryv1connect.QueryServiceHandler
	n          int // events told
}

// newTown founds one; openStore opens the store of a partition.
func newTown(t testing.TB, openStore func(p int) (store.Store, error)) *town {
	t.Helper()
	w := &town{t: t, log: memlog.New(memlog.Options{})}
	genesis, err := events.Found(t.Context(), w.log, events.Settings{
		Partitions: townPartitions, Clock: events.ClockWall, BaseCurrency: "CNY", IdentityKeyCheck: []byte{1},
	}, time.Now, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	options := query.Options{Log: w.log, Genesis: genesis, Logger: quiet, Directory: query.Unmerged{}}
	ctx, end := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for p := range townPartitions {
		partition, err := projections.Open(t.Context(), projections.Options{
			Log: w.log, Genesis: genesis, ID: p, Rules: projections.NewRules(), Evaluate: playbook.BuiltinStages, Logger: quiet,
			OpenStore: func() (store.Store, error) { return openStore(p) },
			SetAside:  func(why error) error { return why },
		})
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			if err := partition.Run(ctx); err != nil {
				t.Errorf("partition %d: %v", p, err)
			}
		})
		w.partitions = append(w.partitions, partition)
		options.Partitions = append(options.Partitions, query.Local(partition))
	}
	t.Cleanup(func() { end(); running.Wait() })
	w.service = query.NewService(options)
	return w
}

// tell makes a stamped event of a customer.
func (w *town) tell(customer int, kind eventsv1.Type, at time.Time, body *eventsv1.Event) *logv1.LoggedEvent {
	data, err := proto.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	w.n++
	id, claimed := townID(customer), events.Micros(at)
	return &logv1.LoggedEvent{
		Header: &logv1.Header{Customer: id[:], Type: kind, Source: "test", EventId: fmt.Sprintf("e-%08d", w.n), ClaimedAt: &claimed, OccurredAt: claimed, RecordedDelta: uint64(claimed)},
		Body:   data,
	}
}

func townID(customer int) (id events.CustomerID) {
	binary.BigEndian.PutUint64(id[8:], uint64(customer))
	id[0] = 1
	return id
}

// append puts events into the streams of their customers, and returns when they
// are folded if wait says so.
func (w *town) append(ctx context.Context, wait bool, told ...*logv1.LoggedEvent) error {
	var records [townPartitions]logv1.Record
	for _, e := range told {
		p := events.CustomerID(e.GetHeader().GetCustomer()).Partition(townPartitions)
		records[p].Events = append(records[p].Events, e)
	}
	for p := range records {
		if len(records[p].GetEvents()) == 0 {
			continue
		}
		data, err := events.Seal(&records[p])
		if err != nil {
			return err
		}
		seq, err := w.log.Append(ctx, events.PartitionStream(p), events.SubjectEvents(p), data, events.Expect{})
		if err != nil {
			return err
		}
		if wait {
			if err := w.partitions[p].WaitApplied(ctx, seq); err != nil {
				return err
			}
		}
	}
	return nil
}

// ready waits until the rows of all partitions were read.
func (w *town) ready() {
	w.t.Helper()
	for _, p := range w.partitions {
		for {
			v := p.View()
			_, err := v.Rows()
			v.Close()
			if err == nil {
				break
			}
			runtime.Gosched()
		}
	}
}

func order(customer, n int, units int64, currency string) *eventsv1.Event {
	micros := units * 1_000_000
	return &eventsv1.Event{
		Identifiers: []*eventsv1.Identifier{{Type: "user_id", Value: fmt.Sprint("u", customer)}},
		Payload:     &eventsv1.Event_Order{Order: &eventsv1.Order{OrderId: fmt.Sprintf("o-%d-%d", customer, n), RevenueMicros: &micros, Currency: currency}},
	}
}

func traits(t testing.TB, set map[string]any) *eventsv1.Event {
	fields, err := structpb.NewStruct(set)
	if err != nil {
		t.Fatal(err)
	}
	return &eventsv1.Event{Payload: &eventsv1.Event_Traits{Traits: &eventsv1.Traits{Set: fields}}}
}

// Pages stay right while others are written: whoever's place does not change is
// on exactly one page, in order, whatever commits fall between and during pages.
func TestPagesUnderWrites(t *testing.T) {
	t.Parallel()
	const steady, moving, pageSize = 60, 200, 7
	w := newTown(t, func(int) (store.Store, error) { return store.OpenMemory(), nil })
	start := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	var first []*logv1.LoggedEvent
	for c := range steady {
		// Ten values, so that many share a place and the id decides.
		first = append(first, w.tell(c, eventsv1.Type_TYPE_ORDER_PLACED, start, order(c, 0, int64(c%10), "CNY")))
	}
	if err := w.append(t.Context(), true, first...); err != nil {
		t.Fatal(err)
	}
	w.ready()

	writing, stop := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	rng := mathrand.New(mathrand.NewPCG(1, 2))
	writer.Go(func() {
		for n := 1; writing.Err() == nil; n++ {
			var told []*logv1.LoggedEvent
			for range 20 {
				c := steady + rng.IntN(moving)
				told = append(told, w.tell(c, eventsv1.Type_TYPE_ORDER_PLACED, start.Add(time.Duration(n)*time.Minute), order(c, w.n, rng.Int64N(5), "CNY")))
			}
			// Every other record is waited for, so that commits fall in between.
			if err := w.append(writing, n%2 == 0, told...); err != nil && writing.Err() == nil {
				t.Error(err)
				return
			}
		}
	})
	for _, by := range []string{"orders.netRevenue", "-orders.netRevenue", "orders.lastAt", "-customerId", ""} {
		req := &queryv1.ListProfilesRequest{OrderBy: by, PageSize: pageSize, Fields: []string{"orders.netRevenue"}}
		var got []string
		for page := 0; ; page++ {
			resp, err := w.service.ListProfiles(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range resp.GetProfiles() {
				if c := townNumber(t, p.GetCustomerId()); c < steady {
					got = append(got, p.GetCustomerId())
				}
			}
			if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
				break
			}
			if page > (steady+moving)/pageSize*20 {
				t.Fatalf("order %q: no end of pages", by)
			}
		}
		if diff := gocmp.Diff(steadyIn(by, steady), got); diff != "" {
			t.Errorf("order %q, the steady ones (-want +got):\n%s", by, diff)
		}
	}
	stop()
	writer.Wait()
}

func townNumber(t testing.TB, id string) int {
	t.Helper()
	parsed, err := events.ParseCustomerID(id)
	if err != nil {
		t.Fatal(err)
	}
	return int(binary.BigEndian.Uint64(parsed[8:]))
}

// steadyIn is the order of the steady customers, by a plain sort.
func steadyIn(by string, n int) []string {
	numbers := make([]int, n)
	for c := range numbers {
		numbers[c] = c
	}
	slices.SortFunc(numbers, func(a, b int) int {
		value := 0
		switch strings.TrimPrefix(by, "-") {
		case "orders.netRevenue":
			value = cmp.Compare(a%10, b%10)
		case "customerId":
			value = cmp.Compare(a, b)
		}
		if strings.HasPrefix(by, "-") {
			value = -value
		}
		return cmp.Or(value, cmp.Compare(a, b))
	})
	var ids []string
	for _, c := range numbers {
		ids = append(ids, townID(c).String())
	}
	return ids
}

// What a row shows is what the profile shows, of customers of whom much was
// told, by commits and by the scan after a restart.
func TestRowsShowWhatProfilesShow(t *testing.T) {
	t.Parallel()
	memories := [townPartitions]*store.Memory{store.OpenMemory(), store.OpenMemory()}
	w := newTown(t, func(p int) (store.Store, error) { return memories[p], nil })
	rng := mathrand.New(mathrand.NewPCG(3, 4))
	w.populate(t, rng, 40)
	w.ready()
	compared := 0
	for _, p := range w.partitions {
		v := p.View()
		defer v.Close()
		table, err := v.Rows()
		if err != nil {
			t.Fatal(err)
		}
		for row := range table.All() {
			head, err := v.Head(row.ID)
			if err != nil {
				t.Fatal(err)
			}
			whole := query.Render(row.ID, head, v)
			for _, path := range query.RowPaths() {
				byRow, byProfile, err := query.Value(path, row, whole)
				if err != nil {
					t.Fatal(err)
				}
				if fmt.Sprint(byRow) != fmt.Sprint(byProfile) {
					t.Errorf("%s of %s: %v by the row, %v by the profile", path, row.ID, byRow, byProfile)
				}
				if byRow != nil {
					compared++
				}
			}
		}
	}
	if want := 40 * 20; compared < want {
		t.Errorf("%d values compared, want %d and more", compared, want)
	}
}

// populate tells a few events of everybody.
func (w *town) populate(t testing.TB, rng *mathrand.Rand, customers int) {
	t.Helper()
	start := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	industries, currencies := []any{"教育", "医疗", "零售"}, []string{"CNY", "CNY", "CNY", "", "USD"}
	var told []*logv1.LoggedEvent
	for c := range customers {
		at := start.Add(time.Duration(rng.IntN(400*24)) * time.Hour)
		if rng.IntN(4) > 0 {
			told = append(told, w.tell(c, eventsv1.Type_TYPE_TRAITS_SET, at, traits(t, map[string]any{
				"name": fmt.Sprintf("客户 %d", c), "industry": industries[rng.IntN(3)], "age": 18 + rng.IntN(60),
			})))
		}
		for n := range rng.IntN(4) {
			told = append(told, w.tell(c, eventsv1.Type_TYPE_ORDER_PLACED, at.AddDate(0, 0, n*20), order(c, n, rng.Int64N(100_000), currencies[rng.IntN(len(currencies))])))
		}
		for n := range 1 + rng.IntN(3) {
			url := fmt.Sprintf("https://shop.example/%d", n)
			told = append(told, w.tell(c, eventsv1.Type_TYPE_PAGE_VIEWED, at.AddDate(0, 0, n), &eventsv1.Event{
				Context: &eventsv1.Context{PageUrl: url},
			}))
		}
		if len(told) > 500 || c == customers-1 {
			if err := w.append(t.Context(), c == customers-1, told...); err != nil {
				t.Fatal(err)
			}
			told = nil
		}
	}
}

const benchCustomers = 100_000

// BenchmarkList measures lists of 100,000 customers in two partitions on disk.
func BenchmarkList(b *testing.B) {
	dir := b.TempDir()
	w := newTown(b, func(p int) (store.Store, error) {
		return store.OpenBadger(filepath.Join(dir, fmt.Sprint(p)), store.Options{})
	})
	w.populate(b, mathrand.New(mathrand.NewPCG(5, 6)), benchCustomers)
	w.ready()
	for _, p := range w.partitions { // nothing is left to fold
		info, err := w.log.Info(b.Context(), events.PartitionStream(p.ID()))
		if err != nil || p.WaitApplied(b.Context(), info.Last) != nil {
			b.Fatal(err)
		}
	}
	for _, bench := range []struct{ name, filter string }{
		{"count/columns", `lifecycle.stage == "lost" && orders.netRevenue > 5万`},
		{"count/columns-text", `name.contains("99") || orders.lastAt < timestamp("2025-06-01")`},
		{"count/split", `orders.netRevenue > 15万 && traits.industry.value == "教育"`},
		{"count/traits", `traits.industry.value == "教育" && traits.age.value > 60`},
		{"count/profiles", `traits.industry.source == "test" && traits.age.value > 60`},
		{"count/pages", `engagement.lastPageUrl.endsWith("/1")`},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				resp, err := w.service.CountProfiles(b.Context(), &queryv1.CountProfilesRequest{Filter: bench.filter})
				if err != nil || resp.GetCount() == 0 || resp.GetCount() >= benchCustomers {
					b.Fatalf("%d counted: %v", resp.GetCount(), err)
				}
			}
		})
	}
	for _, bench := range []struct{ name, filter, order string }{
		{"page/columns", "", "-orders.netRevenue"},
		{"page/filtered", `lifecycle.stage == "lost"`, "-lastSeenAt"},
		{"page/traits", `traits.industry.value == "教育"`, "-orders.netRevenue"},
		{"page/profiles", `engagement.lastPageUrl.endsWith("/1")`, "-orders.netRevenue"},
		{"page/trait-order", "", "traits.age.value"},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				resp, err := w.service.ListProfiles(b.Context(), &queryv1.ListProfilesRequest{Filter: bench.filter, OrderBy: bench.order, PageSize: 50})
				if err != nil || len(resp.GetProfiles()) != 50 {
					b.Fatalf("%d listed: %v", len(resp.GetProfiles()), err)
				}
			}
		})
	}
}
