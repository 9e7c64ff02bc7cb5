package simulator_test

import (
	"crypto/sha256"
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/xuri/excelize/v2"
	"golang.org/x/text/encoding/simplifiedchinese"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/dossier360/dossier/ingest/native"
	"github.com/dossier360/dossier/ingest/simulator"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

var end = time.Date(2026, 6, 30, 12, 0, 0, 0, time.UTC)

func hashOf(calls func(func(simulator.Call) bool)) string {
	h := sha256.New()
	for call := range calls {
		fmt.Fprintf(h, "%s %s %d\n%s\n", call.Path, call.ContentType, call.Events, call.Body)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// TestFirmGolden: the same seed gives the same bytes, on the wire and in files.
func TestFirmGolden(t *testing.T) {
	t.Parallel()
	firm := simulator.Firm{Seed: 1, End: end, Customers: 50}
	want := map[string]string{
		"calls":           "693f10b00036aba864bd66a96ff5f05fe9330fa45e644141d43ae0fde6b6e60e",
		"ad_clicks.xlsx":  "fb862e66c63853d516edcdc5ff5c580d80f8eb236e94e54a9782e7919acb5e3a",
		"contacts.csv":    "35c71a2a5f0cabc477fcfa75931d7fefdf98db63912796e067e39c2444a636be",
		"customers.csv":   "7d3d0212972e1be9a4472764e5582c6f589f3264b941a74ce74c875f9add8499",
		"order_lines.csv": "75e3a9957afc4352ad561484e20ac6b767e0128b2525f335e3fdce95be26482b",
		"orders.csv":      "0d69fde85aded2a3a141531a7f1f01702bd5eeef90e1bfe866e2e48c312dd9fa",
		"tickets.csv":     "6d1083f1505ca91b1d9f22f081a73fd2d2e07fc5d2cf0865bfc75d85195d34c4",
	}
	got := map[string]string{"calls": hashOf(firm.Calls(400))}
	dir := t.TempDir()
	if err := firm.Export(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{simulator.CustomersFile, simulator.ContactsFile, simulator.OrdersFile, simulator.OrderLinesFile, simulator.TicketsFile, simulator.AdClicksFile} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		got[name] = fmt.Sprintf("%x", sha256.Sum256(content))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("other bytes (-want +got):\n%s", diff)
	}
	firm.Seed = 2
	if hashOf(firm.Calls(400)) == got["calls"] {
		t.Error("another seed gave the same bytes")
	}
}

// A firm of more companies is the same firm: what was told of the first ones is
// told again.
func TestFirmGrows(t *testing.T) {
	t.Parallel()
	told := map[string]*eventsv1.Event{}
	for e := range (simulator.Firm{Seed: 3, End: end, Customers: 90}).Events() {
		told[e.GetType()+" "+e.GetId()] = e
	}
	for e := range (simulator.Firm{Seed: 3, End: end, Customers: 60}).Events() {
		if proto.Equal(e, told[e.GetType()+" "+e.GetId()]) {
			continue // Diff is slow
		}
		if diff := cmp.Diff(e, told[e.GetType()+" "+e.GetId()], protocmp.Transform()); diff != "" {
			t.Fatalf("event %s %s differs in a firm of 90 (-60 +90):\n%s", e.GetType(), e.GetId(), diff)
		}
	}
}

// Everything that a firm of this kind does happens, and the gateway takes it.
func TestFirmIsWhatAPublisherMaySend(t *testing.T) {
	t.Parallel()
	var (
		firm       = simulator.Firm{Seed: 1, End: end, Customers: 200}
		seen       = map[string]int{}
		ids        = map[string]bool{}
		currencies = map[string]bool{}
		employers  = map[string]int{}
		last       int64
	)
	for call := range firm.Calls(500) {
		decoded := native.DecodeProtobuf(call.Body)
		if decoded.Refused != nil || len(decoded.Drafts) != call.Events || decoded.Source != "firm" {
			t.Fatalf("a call of %d events: %d drafts of %q, %v", call.Events, len(decoded.Drafts), decoded.Source, decoded.Refused)
		}
		for _, d := range decoded.Drafts {
			if d.Refused != nil || len(d.Flags) > 0 {
				t.Fatalf("refused %v, flags %v", d.Refused, d.Flags)
			}
			e := d.Event
			key := e.GetType() + " " + e.GetId()
			if ids[key] {
				t.Errorf("%s twice", key)
			}
			ids[key] = true
			if at := e.GetTime().AsTime(); at.Unix() < last || !at.Before(end) || end.Sub(at) > 740*24*time.Hour {
				t.Errorf("%s at %v, after %v", key, at, time.Unix(last, 0))
			}
			last = e.GetTime().GetSeconds()
			seen[e.GetType()]++
			if o := e.GetOrder(); e.GetType() == "order.placed" {
				currencies[o.GetCurrency()] = true
			}
			if e.GetType() == "group.joined" {
				employers[e.GetIdentifiers()[0].GetValue()]++
			}
		}
	}
	for kind := range strings.FieldsSeq("ad.viewed ad.clicked page.viewed order.placed order.paid order.delivered order.cancelled order.refunded ticket.opened ticket.replied " +
		"ticket.resolved ticket.reopened ticket.closed rating.given referral.made referral.converted interaction.logged traits.set group.joined") {
		if seen[kind] == 0 {
			t.Errorf("no %s among %v", kind, seen)
		}
	}
	if len(currencies) < 3 {
		t.Errorf("currencies %v, want 3", slices.Collect(maps.Keys(currencies)))
	}
	if most := slices.Max(slices.Collect(maps.Values(employers))); most < 2 {
		t.Error("nobody changes his employer")
	}
}

// Nothing else is exported than what happened.
func TestExportedEventsHappened(t *testing.T) {
	t.Parallel()
	firm := simulator.Firm{Seed: 5, End: end, Customers: 40}
	all, exported := map[string]*eventsv1.Event{}, 0
	for e := range firm.Events() {
		all[e.GetType()+" "+e.GetId()] = e
	}
	for e := range firm.ExportedEvents() {
		exported++
		if proto.Equal(all[e.GetType()+" "+e.GetId()], e) {
			continue
		}
		if diff := cmp.Diff(all[e.GetType()+" "+e.GetId()], e, protocmp.Transform()); diff != "" {
			t.Fatalf("(-happened +exported):\n%s", diff)
		}
	}
	if exported == 0 || exported >= len(all) {
		t.Errorf("%d of %d events are exported", exported, len(all))
	}
}

// The exports are in the forms promised, a row for each record.
func TestExportForms(t *testing.T) {
	t.Parallel()
	firm := simulator.Firm{Seed: 1, End: end, Customers: 80}
	dir := t.TempDir()
	if err := firm.Export(dir); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{}
	for e := range firm.ExportedEvents() {
		want[e.GetType()]++
	}
	raw, err := os.ReadFile(filepath.Join(dir, simulator.CustomersFile))
	if err != nil {
		t.Fatal(err)
	}
	text, err := simplifiedchinese.GB18030.NewDecoder().String(string(raw))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(text, "客户编号,客户名称,") || !strings.Contains(text, "䶮") || strings.Count(text, "\r\n") != strings.Count(text, "\n") {
		t.Errorf("customers.csv is not GB18030 with CRLF and a Chinese header:\n%.200s", text)
	}
	if n := strings.Count(text, "\n"); n != 81 {
		t.Errorf("customers.csv has %d lines, want 81", n)
	}
	orders := readCSV(t, dir, simulator.OrdersFile, ';')
	if len(orders) != want["order.placed"]+1 || !strings.Contains(orders[1][5], ",") {
		t.Errorf("orders.csv: %d rows, want %d; %v", len(orders), want["order.placed"]+1, orders[1])
	}
	tickets := readCSV(t, dir, simulator.TicketsFile, ',')
	unknown, rated := 0, 0
	for _, row := range tickets[1:] {
		if _, err := time.Parse("02/01/2006 15:04", row[2]); err != nil {
			t.Error(err)
		}
		if row[8] == "?" {
			unknown++
		}
		if row[3] == "rated" {
			rated++
		}
	}
	if unknown == 0 || rated != want["rating.given"] || tickets[0][0] != "\ufeffentry" {
		t.Errorf("tickets.csv: %d unknown, %d rated, want %d; header %q", unknown, rated, want["rating.given"], tickets[0])
	}
	checkClicks(t, filepath.Join(dir, simulator.AdClicksFile), want["ad.clicked"])
}

func readCSV(t *testing.T, dir, name string, comma rune) [][]string {
	t.Helper()
	file, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r := csv.NewReader(io.Reader(file))
	r.Comma = comma
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// checkClicks reads the workbook as others do.
func checkClicks(t *testing.T, path string, want int) {
	t.Helper()
	book, err := excelize.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	rows, err := book.GetRows("clicks")
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != want+1 || rows[0][1] != "clicked at" {
		t.Fatalf("%d rows, want %d; header %v", len(rows), want+1, rows[0])
	}
	style, err := book.GetCellStyle("clicks", "B2")
	if err != nil {
		t.Fatal(err)
	}
	if style != 1 || !strings.Contains(rows[1][1], ":") {
		t.Errorf("B2 is %q in style %d, want a date", rows[1][1], style)
	}
	if raw, err := book.GetCellValue("clicks", "B2", excelize.Options{RawCellValue: true}); err != nil || !strings.HasPrefix(raw, "4") {
		t.Errorf("B2 is %q, %v; want a serial number", raw, err)
	}
}

// The shop is had as native events: as many, and nothing of them is lost.
func TestShopAsNativeEvents(t *testing.T) {
	t.Parallel()
	shop := simulator.Shop{Seed: 4, End: end, Customers: 30}
	sent, had, sources := 0, 0, map[string]int{}
	for call := range shop.Calls(400) {
		sent += call.Events
	}
	for b := range shop.Batches(400) {
		had += len(b.GetEvents())
		sources[b.GetSource()]++
	}
	if sent == 0 || had != sent || len(sources) != 2 || sources["crm"] == 0 {
		t.Errorf("%d events sent, %d had, sources %v", sent, had, sources)
	}
}

// However many customers, a cohort is what is held: the first call comes before
// the second cohort is played.
func TestStreams(t *testing.T) {
	t.Parallel()
	for call := range (simulator.Shop{Seed: 1, End: end, Customers: 1_000_000, Cohort: 20}).Calls(100) {
		if call.Events != 100 {
			t.Errorf("%d events, want 100", call.Events)
		}
		break
	}
	for call := range (simulator.Firm{Seed: 1, End: end, Customers: 1_000_000, Cohort: 5}).Calls(100) {
		if call.Events != 100 {
			t.Errorf("%d events, want 100", call.Events)
		}
		break
	}
}

func TestParametersAreChecked(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"customers 0: 1 to 10000000 wanted":                         simulator.Shop{End: end}.Check(),
		"days 119: 120 to 7300 wanted":                              simulator.Shop{End: end, Customers: 1, Days: 119}.Check(),
		"cohort -1: 1 or more wanted":                               simulator.Firm{End: end, Customers: 1, Cohort: -1}.Check(),
		"end 0001-01-01T00:00:00Z: a year from 1980 to 9000 wanted": simulator.Shop{Customers: 1}.Check(),
		"end 1999-12-31T00:00:00Z: 2000 or later wanted":            simulator.Firm{End: time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC), Customers: 1}.Check(),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if err := (simulator.Shop{End: end, Customers: 1, Days: 120}).Check(); err != nil {
		t.Error(err)
	}
	// Short lives are played too.
	for range (simulator.Shop{End: end, Customers: 300, Days: 120}).Calls(400) {
	}
	for range (simulator.Firm{End: end, Customers: 300, Days: 120}).Calls(400) {
	}
}
