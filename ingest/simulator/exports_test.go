package simulator_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/dossier360/dossier/ingest/importer"
	"github.com/dossier360/dossier/ingest/importer/mapping"
	"github.com/dossier360/dossier/ingest/native"
	"github.com/dossier360/dossier/ingest/simulator"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

// exports are the mappings of docs/examples and the file that each reads.
var exports = map[string]string{
	"customers.yaml": simulator.CustomersFile,
	"contacts.yaml":  simulator.ContactsFile,
	"orders.yaml":    simulator.OrdersFile,
	"tickets.yaml":   simulator.TicketsFile,
	"ad-clicks.yaml": simulator.AdClicksFile,
}

// What the mappings make of a firm's exports is, event by event and to the last
// field, what the firm says that its exports tell.
func TestExportsTellExportedEvents(t *testing.T) {
	t.Parallel()
	customers := 120
	if testing.Short() {
		customers = 30
	}
	firm := simulator.Firm{Seed: 1, End: end, Customers: customers}
	dir := t.TempDir()
	if err := firm.Export(dir); err != nil {
		t.Fatal(err)
	}
	got := map[string]*eventsv1.Event{}
	for name, file := range exports {
		for _, e := range imported(t, dir, name, file) {
			key := e.GetType() + " " + e.GetId()
			if got[key] != nil {
				t.Errorf("%s: %s twice", name, key)
			}
			got[key] = e
		}
	}
	for want := range firm.ExportedEvents() {
		key := want.GetType() + " " + want.GetId()
		if diff := cmp.Diff(typed(t, want), got[key], protocmp.Transform(), protocmp.SortRepeatedFields(want, "identifiers")); diff != "" {
			t.Fatalf("%s (-exported +imported):\n%s", key, diff)
		}
		delete(got, key)
	}
	if len(got) > 0 {
		t.Errorf("%d events are in the files and did not happen", len(got))
	}
}

// imported are the events that a mapping makes of a file.
func imported(t *testing.T, dir, name, file string) (all []*eventsv1.Event) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../docs/examples", name))
	if err != nil {
		t.Fatal(err)
	}
	// Lookups lie beside the mapping.
	m, err := mapping.Parse(filepath.Join(dir, name), text)
	if err != nil {
		t.Fatal(err)
	}
	files, err := importer.Open(m, []string{filepath.Join(dir, file)})
	if err != nil {
		t.Fatal(err)
	}
	err = files.Read(t.Context(), func(i importer.Item) error {
		for _, r := range i.Refused {
			t.Errorf("%s:%d: %s is %q: %s", i.File, r.Line, r.Column, r.Value, r.Reason)
		}
		if i.Unmatched || i.Skipped {
			t.Errorf("%s:%d: unmatched %t, skipped %t", i.File, i.Line, i.Unmatched, i.Skipped)
		}
		for _, r := range i.Records {
			e := proto.CloneOf(r.Event)
			e.Id = r.ID
			all = append(all, typed(t, e))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// typed is an event as the gateway reads it: with its properties in their
// fields.
func typed(t *testing.T, e *eventsv1.Event) *eventsv1.Event {
	t.Helper()
	body, err := proto.Marshal(&eventsv1.EventBatch{Events: []*eventsv1.Event{e}})
	if err != nil {
		t.Fatal(err)
	}
	decoded := native.DecodeProtobuf(body)
	if decoded.Refused != nil || decoded.Drafts[0].Refused != nil || len(decoded.Drafts[0].Flags) > 0 {
		t.Fatalf("%v: %+v %+v", e, decoded.Refused, decoded.Drafts)
	}
	return decoded.Drafts[0].Event
}
