package projections

import (
	"crypto/rand"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// However many rules nobody has heard, few are held; who is behind these hears
// all of them, in order, and not too many at once.
func TestRulesAreBounded(t *testing.T) {
	const many = 3*keptRules + 7
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New(memlog.Options{})
		_, err := events.Found(t.Context(), log, events.Settings{Partitions: 1, IdentityKeyCheck: []byte{1}}, time.Now, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		info, err := log.Info(t.Context(), events.IdentityStream)
		if err != nil {
			t.Fatal(err)
		}
		first, last := info.Last, info.Last
		for n := range many {
			message := &logv1.Identity{Content: &logv1.Identity_Bindings{Bindings: &logv1.Bindings{}}}
			subject := events.SubjectBind
			if n%3 != 1 {
				merged := &logv1.Merged{Loser: make([]byte, 16), Winner: make([]byte, 16)}
				message.Content = &logv1.Identity_Rule{Rule: &logv1.Rule{Rule: &logv1.Rule_Merged{Merged: merged}}}
				subject = events.SubjectRule
			}
			data, err := events.Seal(message)
			if err != nil {
				t.Fatal(err)
			}
			seq, err := log.Append(t.Context(), events.IdentityStream, subject, data, events.Expect{})
			if err != nil {
				t.Fatal(err)
			}
			if subject == events.SubjectRule {
				last = seq
			}
		}
		r := NewRules()
		go r.Run(t.Context(), log)
		synctest.Wait()
		if r.read != first+many || r.last != last || len(r.rules) > keptRules || r.floor == 0 {
			t.Fatalf("read up to %d, the last rule %d, held %d behind %d; want %d, %d and at most %d", r.read, r.last, len(r.rules), r.floor, first+many, last, keptRules)
		}
		heard, rules := first, 0
		for heard < last {
			relays, _, err := r.after(t.Context(), log, heard)
			if err != nil || len(relays) == 0 || len(relays) > maxRelays {
				t.Fatalf("behind %d: %d rules, %v", heard, len(relays), err)
			}
			for _, relay := range relays {
				if relay.Prev != heard || relay.Seq <= heard || relay.Rule.GetMerged() == nil {
					t.Fatalf("rule %d behind %d comes after %d", relay.Seq, relay.Prev, heard)
				}
				heard, rules = relay.Seq, rules+1
			}
		}
		if want := many - many/3; rules != want {
			t.Errorf("heard %d rules, want %d", rules, want)
		}
		if more, _, err := r.after(t.Context(), log, heard); err != nil || len(more) != 0 || r.unheard(heard) != 0 {
			t.Errorf("behind the last: %d rules, %d unheard, %v", len(more), r.unheard(heard), err)
		}
	})
}
