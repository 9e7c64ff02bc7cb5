package projections

import (
	"fmt"

	"github.com/dossier360/dossier/projections/profile"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// The rules of one evaluation, by their number in a change id.
const (
	ruleStage = 0
	ruleMoved = 1 // who became a customer, or of whom he was a part
)

// The kinds of changes; the rest of the contract's kinds come with the rules
// that make them.
const (
	kindCreated   = "customer.created"
	kindLifecycle = "lifecycle"
	kindMerged    = "customer.merged"
	kindSplit     = "customer.split"
)

// evaluateTimer evaluates a customer at his due instant.
func (f *fold) evaluateTimer(c *customer) {
	f.m.place.Evaluations++
	due := c.head.Timer
	f.evaluate(c, due, cause{Cause: &statev1.Cause{Kind: "time", At: due}})
}

// evaluate makes the verdict on a customer at an instant, arms his timer with
// the instant it flips, and records what changed. It takes one k, whether or
// not anything comes of it. Of who is silent nothing is made.
func (f *fold) evaluate(c *customer, at int64, because cause) {
	if c.silent() {
		return
	}
	f.announceMoves(c, at, because)
	k := f.m.place.K
	f.m.place.K++
	verdict, flips := f.Evaluate(c.head.Facts, at)
	if c.head.Timer != flips {
		c.touch()
		f.arm(c, flips)
	}
	journal := c.head.Journal
	announced := journal.Created
	known := profile.Identified(c.head.Facts)
	if verdict.Stage == journal.Stage && (announced || !known) {
		return
	}
	c.touch()
	change := &statev1.Change{
		Id:          f.changeID(k, ruleStage),
		Kind:        kindLifecycle,
		Customer:    c.id[:],
		From:        journal.Stage,
		To:          verdict.Stage,
		EffectiveAt: at,
		Cause:       because.Cause,
		Rule:        verdict.Rule,
		Values:      verdict.Values,

		PreviousChangeId: journal.ChangeId,
		Backfill:         because.backfill,
	}
	if verdict.Stage != journal.Stage {
		journal.Previous, journal.Stage = journal.Stage, verdict.Stage
		journal.Since, journal.Cause = at, because.Cause
	}
	if !known && !announced {
		return // nobody is told of a visitor without a name
	}
	if !announced {
		change.Kind, change.From = kindCreated, ""
		journal.Created = true
	}
	journal.ChangeId = change.Id
	f.announce(changeKey(f.cp.Epoch, f.m.seq, k, ruleStage), change)
}

// silent reports whether nothing is to be said of a customer: moves to him are
// under way, or he is another one, or nothing is left of him.
func (c *customer) silent() bool { return len(c.head.Withheld) > 0 || !c.counted() }

// changeID is <pp>-<epoch>-<seq>-<k>-<rule>.
func (f *fold) changeID(k uint32, rule uint16) string {
	return fmt.Sprintf("%02d-%d-%d-%d-%d", f.Partition, f.cp.Epoch, f.m.seq, k, rule)
}
