package properties_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dossier360/dossier/ingest/properties"
)

func TestSpellings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		payload, field string
		want           []string
	}{
		{"line", "price_micros", []string{"price", "unitprice"}},
		{"view", "referrer_url", []string{"referrer", "referrerurl", "referer"}},
		{"order", "lines", []string{"products", "items", "lines", "lineitems"}},
		{"traits", "set", nil},
		{"order", "nothing", nil},
	} {
		if diff := cmp.Diff(properties.Spellings(c.payload, c.field), c.want); diff != "" {
			t.Errorf("%s.%s (-got +want):\n%s", c.payload, c.field, diff)
		}
	}
}
