package columns_test

import (
	"fmt"
	"testing"

	"github.com/dossier360/dossier/projections/columns"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// TestAllTraits: what is gone through is what is found, by name, up to the
// bound.
func TestAllTraits(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, columns.MaxTraits, columns.MaxTraits + 1} {
		var list []*statev1.TraitFact
		for i := range n {
			list = append(list, trait(fmt.Sprintf("t%02d", i), []string{`"text"`, "7", "-0.5", "true", "null", "{}"}[i%6], 0))
		}
		traits := traitsOf(list...)
		got := 0
		for name, tr := range traits.All() {
			if want := fmt.Sprintf("t%02d", got); name != want || tr != traits.Find(name) || tr.Kind == columns.TraitAbsent {
				t.Errorf("trait %d of %d: got %s %+v, want %s %+v", got, n, name, tr, want, traits.Find(want))
			}
			got++
		}
		if want := min(n, columns.MaxTraits); got != want || traits.More() != (n > columns.MaxTraits) {
			t.Errorf("of %d traits: got %d, others %v", n, got, traits.More())
		}
	}
}
