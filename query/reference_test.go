package query

import (
	"testing"

	"connectrpc.com/connect"

	"github.com/dossier360/dossier/ingest/directory"
)

// TestUnusableIdentifiers: whoever types an identifier that can name nobody reads
// what it lacks: by its type, or by the settings of that.
func TestUnusableIdentifiers(t *testing.T) {
	t.Parallel()
	settings := &directory.ValueError{Type: "email", Value: "info@example.com", Limit: "none of the blocked values"}
	for _, tc := range []struct {
		typ, value string
		err        error
		want       string
	}{
		{
			"email", "info@example.com", settings,
			`customer "email:info@example.com": email "info@example.com" names nobody by the settings of the type: wanted is none of the blocked values`,
		},
		{"company_domain", "acme", directory.ErrBlocked, `customer "company_domain:acme": the domain has no '.'; a whole one wanted, as company_domain:acme.com`},
		{"company_domain", "n.a.", directory.ErrBlocked, `customer "company_domain:n.a.": a value that programs send for "no value"; it names nobody`},
	} {
		err := reference{typ: tc.typ, value: tc.value, asWritten: tc.typ + ":" + tc.value}.explain(tc.err)
		if got := err.Error(); got != tc.want {
			t.Errorf("%s:%s: got %q, want %q", tc.typ, tc.value, got, tc.want)
		}
		if got, _ := codeOf(err); got != connect.CodeInvalidArgument {
			t.Errorf("%s:%s: got %v, want invalid_argument", tc.typ, tc.value, got)
		}
	}
}
