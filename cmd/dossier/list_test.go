package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

func TestSplitColumns(t *testing.T) {
	t.Parallel()
	for columns, want := range map[string][]string{
		"":                           nil,
		"name":                       {"name"},
		" name , orders.count,":      {"name", "orders.count"},
		`custom["a,b"].count,kind`:   {`custom["a,b"].count`, "kind"},
		`traits['x"y,z'].value,name`: {`traits['x"y,z'].value`, "name"},
	} {
		if diff := cmp.Diff(want, splitColumns(columns)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", columns, diff)
		}
	}
}

func TestFieldAt(t *testing.T) {
	t.Parallel()
	structure, err := structpb.NewValue(map[string]any{"city": "Berlin", "zip": 10115, "tags": []any{"a", 1}})
	if err != nil {
		t.Fatal(err)
	}
	p := &queryv1.Profile{
		Name: new("Ann"), Flags: []string{"conflict", "parked"}, LastSeenAt: &timestamppb.Timestamp{Seconds: 7},
		Traits: map[string]*queryv1.Trait{"address": {Value: structure, Manual: true}, "行业": {Value: structpb.NewStringValue("教育")}},
		Orders: &queryv1.Orders{Count: 2, NetRevenue: &queryv1.Money{CurrencyCode: "CNY", Micros: 1_500_000}},
		Custom: map[string]*queryv1.Custom{"Quiz Done": {Count: 3}}, Acquisition: &queryv1.Acquisition{ByChannel: map[string]uint32{"email": 4}},
		Identifiers: []*queryv1.Identifier{{Type: "email", Value: "a@example.com"}},
	}
	for path, want := range map[string]any{
		"name": "Ann", "flags": "conflict; parked", "orders.count": uint32(2), "identified": false,
		"orders.openCart.checkout": nil, "firstSeenAt": nil, "service.opened": nil, "custom.none.count": nil,
		`custom["Quiz Done"].count`: uint32(3), `traits["行业"].value`: "教育", "traits.address.manual": true,
		"traits.address.value.city": "Berlin", "traits.address.value.zip": "10115", "traits.address.value.none": nil,
		"traits.address.value.tags": `["a",1]`, "acquisition.byChannel.email": uint32(4), "acquisition.byChannel": `{"email":4}`,
		"identifiers": `[{"type":"email","value":"a@example.com"}]`,
	} {
		if diff := cmp.Diff(want, fieldAt(p, path)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
	if got, ok := fieldAt(p, "orders.netRevenue").(*queryv1.Money); !ok || got.GetMicros() != 1_500_000 {
		t.Errorf("orders.netRevenue: %v, want an amount", got)
	}
	if got, ok := fieldAt(p, "lastSeenAt").(*timestamppb.Timestamp); !ok || got.GetSeconds() != 7 {
		t.Errorf("lastSeenAt: %v, want a time", got)
	}
}

// Nothing that others wrote is a formula; numbers stay numbers.
func TestCSVCells(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		value any
		want  string
	}{
		{nil, ""}, {"", ""}, {"Ann", "Ann"}, {"=1+1", "'=1+1"}, {"+8613800138000", "'+8613800138000"}, {"-2+3", "'-2+3"},
		{"@SUM(A1)", "'@SUM(A1)"}, {"\t=1", "'\t=1"}, {"＝1", "'＝1"}, {"-12.5", "-12.5"}, {"12", "12"}, {"-", "'-"},
		{uint32(7), "7"}, {true, "true"}, {&queryv1.Money{Micros: -1_234_500_000, CurrencyCode: "CNY"}, "-1234.50"},
		{&timestamppb.Timestamp{Seconds: 0}, "1970-01-01 00:00:00"},
	} {
		if got := csvCell(tc.value); got != tc.want {
			t.Errorf("%#v: %q, want %q", tc.value, got, tc.want)
		}
	}
}

func TestHeadings(t *testing.T) {
	t.Parallel()
	paths := []string{
		"name", "orders.medianIntervalDays", "engagement.pageViews30d", "traits.jobTitle.value", `traits["会员 level"].value`, "traits.address.value.city",
		"orders.count", "traits.orders.value", "traits.city.occurredAt", "lifecycle.since", "acquisition.firstTouch.at", `custom["Quiz Done"].count`,
	}
	for lang, want := range map[string][]string{
		langEN: {
			"NAME", "ORDERS MEDIAN INTERVAL DAYS", "ENGAGEMENT PAGE VIEWS 30D", "JOB TITLE", "会员 LEVEL", "ADDRESS CITY",
			"ORDERS", "traits.orders.value", "TRAITS CITY OCCURRED AT (UTC)", "STAGE SINCE (UTC)", "ACQUISITION FIRST TOUCH AT (UTC)", "CUSTOM QUIZ DONE COUNT",
		},
		langZH: {
			"名称", "orders.medianIntervalDays", "engagement.pageViews30d", "jobTitle", "会员 level", "地址.city",
			"订单数", "orders", "traits.city.occurredAt (UTC)", "阶段自（UTC）", "acquisition.firstTouch.at (UTC)", "custom.Quiz Done.count",
		},
	} {
		l := &listed{words: listsWords[lang], paths: paths}
		if diff := cmp.Diff(want, l.headings()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", lang, diff)
		}
	}
}

func TestRounded(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{59.78260869565217: "59.78", 612: "612", 0: "0", 0.5: "0.5", 0.33333: "0.33", 0.000126: "0.00013", -0.25: "-0.25", 1.005e9: "1005000000", 0.999: "1"} {
		if got := rounded(v); got != want {
			t.Errorf("%v: %q, want %q", v, got, want)
		}
	}
}

// What cannot be sent is the user's mistake, whatever else is wrong.
func TestTextsAreUTF8(t *testing.T) {
	t.Parallel()
	std := stdio{getenv: func(string) string { return "" }}
	for _, tc := range []struct {
		command func(context.Context, stdio, []string) error
		args    []string
		what    string
	}{
		{listCustomers, []string{"--where", "name == \"\xff\""}, "--where"},
		{listCustomers, []string{"--count", "--where", "\xff"}, "--where"},
		{listCustomers, []string{"--order", "\xff"}, "--order"},
		{listCustomers, []string{"--columns", "name,\xff"}, "--columns"},
		{find, []string{"Ann", "\xff"}, "TEXT"},
	} {
		var wrong usageError
		if err := tc.command(t.Context(), std, tc.args); !errors.As(err, &wrong) || !strings.Contains(err.Error(), tc.what) || !strings.Contains(err.Error(), "not UTF-8") {
			t.Errorf("%q: %v, want a usage error of %s", tc.args, err, tc.what)
		}
	}
}

func TestIsMoney(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]bool{
		"orders.netRevenue": true, "orders.revenue12m": true, "orders.count": false, "orders.netRevenueByCurrency": false,
		"orders": false, "name": false, "traits.x.value": false, "orders.netRevenue.micros": false,
	} {
		if got := isMoney(path); got != want {
			t.Errorf("%s is money: %v, want %v", path, got, want)
		}
	}
}
