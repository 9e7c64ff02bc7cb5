package main

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/ingest/importer"
	"github.com/dossier360/dossier/ingest/importer/mapping"
	"github.com/dossier360/dossier/ingest/simulator"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// The exports of a firm, read by mappings alone and in no good order, give every
// company and every contact the file that the firm's own events give.
func TestExportsGiveTheSameProfiles(t *testing.T) {
	t.Parallel()
	customers := 60
	if testing.Short() {
		customers = 15
	}
	firm := simulator.Firm{Seed: 2, End: time.Date(2026, 6, 30, 12, 0, 0, 0, time.UTC), Customers: customers}
	told := startProcess(t, t.TempDir())
	to := sender{client: &http.Client{}, server: told.url}
	for batch := range simulator.Batches("firm", firm.ExportedEvents(), 500) {
		body, err := proto.Marshal(batch)
		if err != nil {
			t.Fatal(err)
		}
		call := simulator.Call{Path: "/v1/events", ContentType: "application/protobuf", Body: body, Events: len(batch.GetEvents())}
		if _, err := to.send(t.Context(), call); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	if err := firm.Export(dir); err != nil {
		t.Fatal(err)
	}
	read := startProcess(t, t.TempDir())
	for _, of := range [][2]string{
		{"ad-clicks.yaml", simulator.AdClicksFile},
		{"tickets.yaml", simulator.TicketsFile},
		{"orders.yaml", simulator.OrdersFile},
		{"contacts.yaml", simulator.ContactsFile},
		{"customers.yaml", simulator.CustomersFile},
	} {
		importFile(t, read.url, dir, of[0], of[1])
	}
	told.awaitFolded()
	read.awaitFolded()
	want := told.digests()
	if len(want) < 2*customers {
		t.Errorf("%d customers, want %d or more", len(want), 2*customers)
	}
	if diff := cmp.Diff(want, read.digests()); diff != "" {
		t.Errorf("(-told natively +imported):\n%s", diff)
	}
	for condition, least := range map[string]uint32{
		`kind == "company" && members > 1`:            3,
		`size(orders.netRevenueByCurrency) > 1`:       1,
		`orders.refunds > 0`:                          1,
		`service.reopened > 0 && has(service.rating)`: 1,
		`size(memberships) > 1`:                       1,
		`traits.province.value == "浙江"`:               1,
	} {
		resp, err := read.query().CountProfiles(t.Context(), &queryv1.CountProfilesRequest{Filter: condition})
		if err != nil {
			t.Fatalf("%s: %v", condition, err)
		}
		if !testing.Short() && resp.GetCount() < least {
			t.Errorf("%s: %d customers, want %d or more", condition, resp.GetCount(), least)
		}
	}
}

// importFile reads a file by a mapping of docs/examples that is put beside it,
// where its lookups are.
func importFile(t *testing.T, server, dir, name, file string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, "docs/examples", name))
	if err != nil {
		t.Fatal(err)
	}
	m, err := mapping.Parse(filepath.Join(dir, name), text)
	if err != nil {
		t.Fatal(err)
	}
	files, err := importer.Open(m, []string{filepath.Join(dir, file)})
	if err != nil {
		t.Fatal(err)
	}
	summary, err := importer.Run(t.Context(), files.Read, importer.Options{
		Server: &importer.Server{URL: server}, Source: m.Source, Started: time.Now(),
	})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if summary.New == 0 || summary.New != summary.Events {
		t.Errorf("%s: %+v", name, summary)
	}
}
