package ingest_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/memlog"
	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/directory"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

// TestIdentifierTypesRefuse: what names nobody by the settings is left out, and
// an event that has nothing else is refused by field, value and limit.
func TestIdentifierTypesRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, found(t, memlog.Options{}, events.Settings{Partitions: 1}), nil)
		defer r.stop()
		types, err := directory.ParseTypes([]byte(`
identifiers:
  email: {blocked: [office@example.com]}
  loyalty: {pattern: "[0-9]{8}"}
`))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.directory.PublishTypes(t.Context(), types, nil); err != nil {
			t.Fatal(err)
		}
		named := func(id string, pairs ...string) *eventsv1.Event {
			e := track("", id)
			e.Identifiers = nil
			for _, p := range pairs {
				typ, value, _ := strings.Cut(p, ":")
				e.Identifiers = append(e.Identifiers, &eventsv1.Identifier{Type: typ, Value: value})
			}
			return e
		}
		result := r.accept(t, batch(
			named("kept", "loyalty:12345678"),
			named("left out", "loyalty:123", "user_id:ann"),
			named("pattern", "loyalty:123"),
			named("blocked", "email:Office@Example.com"),
			named("unknown", "loyalti:12345678"),
		))
		if result.Accepted != 2 {
			t.Errorf("accepted %d, want 2", result.Accepted)
		}
		wants := []struct {
			id                  string
			code                ingest.Code
			field, limit, value string
		}{
			{"pattern", ingest.CodeBlockedID, "loyalty", "a value of the pattern [0-9]{8}", `"123"`},
			{"blocked", ingest.CodeBlockedID, "email", "none of the blocked values", `"office@example.com"`},
			{"unknown", ingest.CodeBadType, "identifiers", "", "loyalty, user_id, email"},
		}
		if len(result.Rejected) != len(wants) {
			t.Fatalf("rejected %v, want %d", result.Rejected, len(wants))
		}
		for i, want := range wants {
			got := result.Rejected[i]
			if got.MessageID != want.id || got.Code != want.code || got.Field != want.field || got.Limit != want.limit || !strings.Contains(got.Message, want.value) {
				t.Errorf("rejected %+v, want %+v", got, want)
			}
		}
		if _, ok, err := r.directory.Lookup("user_id", "ann"); !ok || err != nil {
			t.Errorf("who was named by another identifier: known %v, %v", ok, err)
		}
		if _, ok, err := r.directory.Lookup("loyalty", "123"); ok || err != nil {
			t.Errorf("what names nobody: known %v, %v", ok, err)
		}
	})
}
