package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/projections"
	"github.com/dossier360/dossier/projections/playbook"
	"github.com/dossier360/dossier/projections/profile"
	"github.com/dossier360/dossier/projections/store"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// TestPreviewLaw asks of random batches what would become of them, and then
// tells their events one by one: what was foreseen comes true of every one, and
// asking recorded nothing.
//
//   - new: its subject's history holds one event more.
//   - duplicate: no history of a subject changes, nor his digest, unless what is
//     known is a revision of it.
//   - changed: something of that record stands already.
//   - conflicting: it is taken, and a conflict is in quarantine.
//   - rejected: it is refused, for the same reason.
func TestPreviewLaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { rapid.Check(inBubble{t}, checkPreview) })
}

func checkPreview(t *rapid.T) {
	f := openFolded(t)
	defer f.stop()
	for range rapid.IntRange(1, 3).Draw(t, "batches") {
		list := rapid.SliceOfN(rapid.Custom(drawTold), 1, 8).Draw(t, "batch")
		before := f.recorded(t)
		p := f.preview(t, list...)
		if diff := cmp.Diff(p, f.preview(t, list...)); diff != "" {
			t.Fatalf("asked again (-first +again):\n%s", diff)
		}
		if after := f.recorded(t); after != before {
			t.Fatalf("asking recorded something: %s, want %s", after, before)
		}
		for i, e := range list {
			f.holdTo(t, p[i], e)
		}
	}
}

// holdTo tells an event and compares what became of it with the verdict.
func (f *folded) holdTo(t tb, v ingest.Verdict, e *eventsv1.Event) {
	t.Helper()
	had, quarantined := f.state(t), f.directory.Progress().Quarantined
	result, err := f.Accept(context.Background(), batch(proto.CloneOf(e)))
	if err != nil {
		t.Fatalf("accept: %v", err)
	}
	has := f.state(t)
	added := has.entries - had.entries
	what := fmt.Sprintf("%s of %v", v.Verdict, e)
	switch v.Verdict {
	case ingest.VerdictRejected:
		if len(result.Rejected) != 1 || result.Rejected[0].Code != v.Rejection.Code {
			t.Fatalf("%s: got %+v, want %v", what, result, v.Rejection)
		}
		return
	case ingest.VerdictNew, ingest.VerdictConflicting:
		if added != 1 {
			t.Fatalf("%s: %d entries were added", what, added)
		}
	case ingest.VerdictDuplicate:
		if v.KnownID == e.Id && (added != 0 || has.digests[v.Customer] != had.digests[v.Customer]) {
			t.Fatalf("%s: %d entries were added, digest %s, had %s", what, added, has.digests[v.Customer], had.digests[v.Customer])
		}
	case ingest.VerdictChanged:
		if v.KnownID == "" {
			t.Fatalf("%s: of nothing", what)
		}
	}
	if len(result.Rejected) > 0 {
		t.Fatalf("%s: refused: %+v", what, result.Rejected)
	}
	if more := f.directory.Progress().Quarantined > quarantined; more && v.Reason == "" {
		t.Fatalf("%s: a conflict was not foreseen", what)
	}
}

func drawTold(t *rapid.T) *eventsv1.Event {
	e := &eventsv1.Event{
		Id:          rapid.SampledFrom([]string{"a", "b", events.Revision("a", 1), events.Revision("a", 2), ""}).Draw(t, "id"),
		Type:        rapid.SampledFrom([]string{"page.viewed", "order.placed", "Quiz", "Poll", "group.joined", "referral.made", "event.voided", ""}).Draw(t, "type"),
		Time:        timestamppb.New(received.Add(-time.Duration(rapid.IntRange(1, 2).Draw(t, "hours")) * time.Hour)),
		Identifiers: []*eventsv1.Identifier{{Type: "user_id", Value: fmt.Sprint("u", rapid.IntRange(0, 1).Draw(t, "user"))}},
	}
	if rapid.IntRange(0, 3).Draw(t, "email") == 0 {
		e.Identifiers = append(e.Identifiers, &eventsv1.Identifier{Type: "email", Value: fmt.Sprintf("u%d@x.org", rapid.IntRange(0, 1).Draw(t, "value"))})
	}
	if rapid.IntRange(0, 3).Draw(t, "timeless") == 0 {
		e.Time = nil
	}
	text := rapid.SampledFrom([]string{"x", "y"}).Draw(t, "content")
	switch e.Type {
	case "page.viewed":
		e.Payload = &eventsv1.Event_View{View: &eventsv1.View{Url: "https://" + text}}
	case "order.placed":
		e.Payload = &eventsv1.Event_Order{Order: &eventsv1.Order{OrderId: text}}
	case "group.joined":
		e.Payload = &eventsv1.Event_Group{Group: &eventsv1.Group{GroupId: text}}
	case "referral.made":
		e.Payload = &eventsv1.Event_Referral{Referral: &eventsv1.Referral{Referee: &eventsv1.Identifier{Type: "email", Value: text + "@x.org"}}}
	case "event.voided":
		e.Id, e.Payload = "v", &eventsv1.Event_Void{Void: &eventsv1.Void{EventId: "a"}}
	default:
		e.PropertiesJson = `{"x":"` + text + `"}`
	}
	if _, revision := events.RevisionOf(e.Id); revision && rapid.Bool().Draw(t, "corrects") {
		e.Corrects = "a"
	}
	return e
}

// folded is a gateway whose log is folded, as a server's is.
type folded struct {
	*rig
	partitions []*projections.Partition
	stop       func()
}

func openFolded(t tb) *folded {
	t.Helper()
	return foldedOn(t, found(t, memlog.Options{}, events.Settings{Partitions: 2}))
}

// foldedOn starts a gateway and all partitions of a log.
func foldedOn(t tb, log events.Log) *folded {
	t.Helper()
	f := &folded{}
	genesis, err := events.ReadGenesis(context.Background(), log)
	if err != nil {
		t.Fatalf("%v", err)
	}
	partitions := int(genesis.Partitions)
	ctx, cancel := context.WithCancel(context.Background())
	rules := projections.NewRules()
	ended := make(chan error, partitions+1)
	for id := range partitions {
		p, err := projections.Open(ctx, projections.Options{
			Log: log, Genesis: genesis, ID: id, Rules: rules, Evaluate: playbook.BuiltinStages,
			OpenStore: func() (store.Store, error) { return store.OpenMemory(), nil },
			SetAside:  func(why error) error { return errors.Join(errors.New("set aside"), why) },
			Applied:   func(ctx context.Context, p int, seq uint64) error { return f.partitions[p].WaitApplied(ctx, seq) },
		})
		if err != nil {
			t.Fatalf("open partition %d: %v", id, err)
		}
		f.partitions = append(f.partitions, p)
	}
	rules.Begin(f.partitions...)
	go func() { ended <- rules.Run(ctx, log) }()
	for _, p := range f.partitions {
		go func() { ended <- p.Run(ctx) }()
	}
	f.rig = start(t, log, func(o *ingest.Options) { o.Latest, o.Folded, o.Copies = f.latest, f.settled, f.copies })
	f.stop = func() {
		f.rig.stop()
		cancel()
		for range cap(ended) {
			if err := <-ended; err != nil {
				t.Fatalf("run: %v", err)
			}
		}
	}
	return f
}

func (f *folded) of(c events.CustomerID) *projections.Partition {
	return f.partitions[c.Partition(len(f.partitions))]
}

func (f *folded) copies(ctx context.Context, c events.CustomerID, source, id string, claimed *int64) (ingest.Copies, error) {
	found, err := f.of(c).Copies(ctx, c, source, id, claimed)
	return ingest.Copies(found), err
}

func (f *folded) latest(c events.CustomerID, records []ingest.Record) ([]*ingest.Telling, error) {
	asked := make([]projections.Record, len(records))
	for i, r := range records {
		asked[i] = projections.Record(r)
	}
	entries, err := f.of(c).Latest(c, asked)
	told := make([]*ingest.Telling, len(entries))
	for i, e := range entries {
		if e != nil {
			told[i] = &ingest.Telling{EventID: e.EventId, ClaimedAt: e.ClaimedAt, BodyHash: e.BodyHash, Corrects: e.Corrects}
		}
	}
	return told, err
}

func (f *folded) settled(ctx context.Context, _ string) (string, error) {
	for _, p := range f.partitions {
		info, err := f.log.Info(ctx, events.PartitionStream(p.ID()))
		if err == nil {
			err = p.WaitApplied(ctx, info.Last)
		}
		if err != nil {
			return "", err
		}
	}
	return "", nil
}

// moved waits until nothing is under way: all is folded, everybody has heard all
// rules, and all moves have come.
func (f *folded) moved(t tb) {
	t.Helper()
	for before := ""; ; {
		if _, err := f.settled(context.Background(), ""); err != nil {
			t.Fatalf("settle: %v", err)
		}
		now, open := f.recorded(t), uint64(0)
		for _, p := range f.partitions {
			status := p.Known()
			if status.Err != nil {
				t.Fatalf("partition %d: %v", p.ID(), status.Err)
			}
			open += status.Jobs + status.Unheard
		}
		if open == 0 && now == before {
			return
		}
		before = now
		time.Sleep(time.Millisecond) // in a bubble, or until others have gone on
	}
}

// told are the ids of the events of which a customer is the subject, sorted.
func (f *folded) told(t tb, c events.CustomerID) (ids []string) {
	t.Helper()
	v := f.of(c).View()
	defer v.Close()
	for e, err := range v.Entries(c, nil) {
		if err != nil {
			t.Fatalf("entries of %s: %v", c, err)
		}
		if e.Role == logv1.Role_ROLE_SUBJECT {
			ids = append(ids, e.EventId)
		}
	}
	slices.Sort(ids)
	return ids
}

func (f *folded) preview(t tb, list ...*eventsv1.Event) []ingest.Verdict {
	t.Helper()
	copied := make([]*eventsv1.Event, len(list))
	for i, e := range list {
		copied[i] = proto.CloneOf(e)
	}
	p, err := f.Preview(context.Background(), batch(copied...), "")
	if err != nil {
		t.Fatalf("preview: %v", err)
	}
	return p.Verdicts
}

// recorded is how far every stream of the log goes.
func (f *folded) recorded(t tb) (ends string) {
	t.Helper()
	streams := []events.Stream{events.IdentityStream, events.RejectedStream}
	for _, p := range f.partitions {
		streams = append(streams, events.PartitionStream(p.ID()))
	}
	for _, s := range streams {
		info, err := f.log.Info(context.Background(), s)
		if err != nil {
			t.Fatalf("info: %v", err)
		}
		ends += fmt.Sprint(s, " ", info.Last, "; ")
	}
	return ends
}

// foldedState is what the fold made of the log: of subjects, for an event that is
// told again may complete its copies with others.
type foldedState struct {
	entries int
	digests map[string]string
}

func (f *folded) state(t tb) foldedState {
	t.Helper()
	s := foldedState{digests: map[string]string{}}
	if _, err := f.settled(context.Background(), ""); err != nil {
		t.Fatalf("settle: %v", err)
	}
	for _, p := range f.partitions {
		v := p.View()
		for c, err := range v.Customers() {
			if err != nil {
				t.Fatalf("customers: %v", err)
			}
			head, err := v.Head(c)
			if err != nil {
				t.Fatalf("head: %v", err)
			}
			for e, err := range v.Entries(c, nil) {
				if err != nil {
					t.Fatalf("entries: %v", err)
				}
				if e.Role == logv1.Role_ROLE_SUBJECT {
					s.entries++
				}
			}
			s.digests[c.String()] = fmt.Sprintf("%x", profile.Digest(head.Facts))
		}
		v.Close()
	}
	return s
}

// TestPreviewOfMerges: who would be joined is no conflict, and is said; who would
// not be is one.
func TestPreviewOfMerges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openFolded(t)
		defer f.stop()
		named := func(id string, names ...string) *eventsv1.Event {
			e := track("", id)
			e.Identifiers = nil
			for _, name := range names {
				typ, value, _ := strings.Cut(name, ":")
				e.Identifiers = append(e.Identifiers, &eventsv1.Identifier{Type: typ, Value: value})
			}
			return e
		}
		f.accept(t, batch(named("1", "user_id:ann"), named("2", "email:ann@x.org"), named("3", "user_id:bob", "phone:+8613800138000")))
		// What was told of one who would be joined is known, by whichever event
		// of the batch.
		both := func(id string) *eventsv1.Event { return named(id, "user_id:ann", "email:ann@x.org") }
		for _, batch := range [][]*eventsv1.Event{{both("1"), both("2")}, {both("7"), named("2", "email:ann@x.org"), named("1", "user_id:ann")}} {
			for i, v := range f.preview(t, batch...) {
				known := batch[i].Id != "7"
				if (v.Verdict != ingest.VerdictNew) != known || known && v.KnownID != batch[i].Id {
					t.Errorf("event %s of a batch that joins two: %s of %q", batch[i].Id, v.Verdict, v.KnownID)
				}
			}
		}
		for _, test := range []struct {
			event           *eventsv1.Event
			verdict, reason string
		}{
			{named("4", "user_id:ann", "email:ann@x.org"), ingest.VerdictNew, "its user_id and its email name two customers, who are joined by it (two_known)"},
			{named("5", "user_id:ann", "phone:+8613800138000"), ingest.VerdictConflicting, "its user_id and its phone name two customers, who are not joined (two_exclusive)"},
			{named("6", "user_id:ann"), ingest.VerdictNew, ""},
		} {
			v := f.preview(t, test.event)[0]
			if v.Verdict != test.verdict || v.Reason != test.reason {
				t.Errorf("event %s: %s, %q; want %s, %q", test.event.Id, v.Verdict, v.Reason, test.verdict, test.reason)
			}
			before := f.directory.QuarantinedCount()
			f.accept(t, batch(test.event))
			if conflict := f.directory.QuarantinedCount() > before; conflict != (test.verdict == ingest.VerdictConflicting) {
				t.Errorf("event %s: in conflict: %v, foreseen was %s", test.event.Id, conflict, v.Verdict)
			}
		}
	})
}
