package profile_test

import (
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/dossier360/dossier/projections/profile"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// TestFactsLaw: facts, rows and digest are a function of the set of events,
// and what is shown of them is what the contract says, worked out from scratch.
func TestFactsLaw(t *testing.T) {
	t.Parallel()
	env := newEnv(t)
	for section, types := range sectionTypes {
		t.Run(section, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) { checkLaw(t, env, histories(types).Draw(t, "history")) })
		})
	}
	t.Run("all", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) { checkLaw(t, env, histories(allTypes()).Draw(t, "history")) })
	})
}

func checkLaw(t *rapid.T, env profile.Env, history []profile.Event) {
	facts, rows := fold(t, env, history, nil)
	digest := profile.Digest(facts)

	shuffled := rapid.Permutation(history).Draw(t, "another order")
	again, rowsAgain := fold(t, env, shuffled, func(int) bool { return rapid.Bool().Draw(t, "commit") })
	if !proto.Equal(facts, again) {
		t.Fatalf("facts depend on the order (-one +other):\n%s", gocmp.Diff(facts, again, protocmp.Transform()))
	}
	if err := sameRows(rows, rowsAgain); err != nil {
		t.Fatalf("rows depend on the order: %v", err)
	}
	if other := profile.Digest(again); digest != other {
		t.Fatalf("digest %x, in another order %x", digest, other)
	}

	at := instants().Draw(t, "settled")
	got := &queryv1.Profile{}
	profile.Render(facts, at, env, got)
	want := expected(history, at, env.BaseCurrency)
	want.Digest = got.Digest
	if diff := gocmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Fatalf("profile (-want +got):\n%s", diff)
	}
	checkOtherBase(t, env, history, at, digest)
	if diff := gocmp.Diff(facts, again, protocmp.Transform()); diff != "" {
		t.Fatalf("showing a profile changed its facts:\n%s", diff)
	}
}

// checkOtherBase: a deployment of another currency shows other sums, and the
// same digest.
func checkOtherBase(t *rapid.T, env profile.Env, history []profile.Event, at int64, digest [32]byte) {
	env.BaseCurrency = "USD"
	facts, _ := fold(t, env, history, nil)
	if other := profile.Digest(facts); digest != other {
		t.Fatalf("digest %x, in a deployment of another currency %x", digest, other)
	}
	got := &queryv1.Profile{}
	profile.Render(facts, at, env, got)
	want := expected(history, at, env.BaseCurrency)
	want.Digest = got.Digest
	if diff := gocmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Fatalf("profile in a deployment of another currency (-want +got):\n%s", diff)
	}
}

// TestRenderAgain: showing a profile twice into one message is showing it once.
func TestRenderAgain(t *testing.T) {
	t.Parallel()
	env := newEnv(t)
	rapid.Check(t, func(t *rapid.T) {
		facts, _ := fold(t, env, histories(allTypes()).Draw(t, "history"), nil)
		once := &queryv1.Profile{}
		profile.Render(facts, epoch.UnixMicro(), env, once)
		twice := proto.CloneOf(once)
		profile.Render(facts, epoch.UnixMicro(), env, twice)
		if diff := gocmp.Diff(once, twice, protocmp.Transform()); diff != "" {
			t.Fatalf("shown twice (-once +twice):\n%s", diff)
		}
	})
}
