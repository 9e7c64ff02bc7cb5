package main

import (
	"math"
	"strings"
	"testing"
)

func TestNumbers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		micros int64
		en, zh string
	}{
		{0, "0.00 CNY", "0.00 CNY"},
		{12_990_000, "12.99 CNY", "12.99 CNY"},
		{-12_990_000, "-12.99 CNY", "-12.99 CNY"},
		{1_234_567, "1.234567 CNY", "1.234567 CNY"},
		{9_999_990_000, "9,999.99 CNY", "9,999.99 CNY"},
		{10_000_000_000, "10,000.00 CNY", "1.00万 CNY"},
		{12_345_600_000_000, "12,345,600.00 CNY", "1,234.56万 CNY"},
		{99_999_999_000_000, "99,999,999.00 CNY", "10,000.00万 CNY"},
		{100_000_000_000_000, "100,000,000.00 CNY", "1.00亿 CNY"},
		{-123_456_789_000_000, "-123,456,789.00 CNY", "-1.23亿 CNY"},
		{math.MaxInt64, "9,223,372,036,854.775807 CNY", "92,233.72亿 CNY"},
		{math.MinInt64, "-9,223,372,036,854.775808 CNY", "-92,233.72亿 CNY"},
	} {
		if got := printerFor(langEN).money(cny(tc.micros)); got != tc.en {
			t.Errorf("%d micros in English: got %q, want %q", tc.micros, got, tc.en)
		}
		if got := printerFor(langZH).money(cny(tc.micros)); got != tc.zh {
			t.Errorf("%d micros in Chinese: got %q, want %q", tc.micros, got, tc.zh)
		}
	}
	for _, tc := range []struct{ s, en, zh string }{
		{"", "0", "0"}, {"12.5", "12.5", "12.5"}, {"9999", "9,999", "9,999"}, {"20500", "20,500", "2.05万"}, {"-3", "-3", "-3"}, {"odd", "odd", "odd"},
	} {
		if got := printerFor(langEN).amount(tc.s); got != tc.en {
			t.Errorf("amount %q in English: got %q, want %q", tc.s, got, tc.en)
		}
		if got := printerFor(langZH).amount(tc.s); got != tc.zh {
			t.Errorf("amount %q in Chinese: got %q, want %q", tc.s, got, tc.zh)
		}
	}
}

func TestColumns(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		s     string
		n     int
		cut   int
		short string
	}{
		{"abc", 3, 3, "abc"},
		{"abcd", 4, 3, "ab…"},
		{"龙井茶", 6, 6, "龙井茶"},
		{"龙井茶", 6, 5, "龙井…"},
		{"龙井茶", 6, 4, "龙…"},
		{"e\u0301", 1, 1, "e\u0301"},
		{"，", 2, 2, "，"},
		{"ＣＮＹ", 6, 4, "Ｃ…"},
		{"US\u200bD", 3, 3, "US\u200bD"},
	} {
		if got := columns(tc.s); got != tc.n {
			t.Errorf("columns of %q: got %d, want %d", tc.s, got, tc.n)
		}
		if got := cut(tc.s, tc.cut); got != tc.short {
			t.Errorf("%q cut to %d: got %q, want %q", tc.s, tc.cut, got, tc.short)
		}
	}
}

func TestTableAligns(t *testing.T) {
	t.Parallel()
	table := &table{}
	for _, cell := range []string{"", "CNY", "ＣＮＹ", "人民币", "us\u200bd", "e\u0301", "₩", "😀"} {
		table.add(cell, "|")
	}
	var out strings.Builder
	if err := table.write(&out); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		before, _, _ := strings.Cut(line, "|")
		if got, want := columns(before), columns("人民币")+2; got != want {
			t.Errorf("%q: the second cell begins at column %d, want %d", line, got, want)
		}
	}
}

func TestPlainObeysNothing(t *testing.T) {
	t.Parallel()
	if got, want := plain("a\x1b[2Jb\x00c\nd\u202ee\u009b5m"), "a[2Jbc de5m"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
