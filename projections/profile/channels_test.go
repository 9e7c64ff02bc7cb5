package profile_test

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"github.com/dossier360/dossier/projections/profile"
)

// TestChannelsOfCampaigns: what a marketing manager would say.
func TestChannelsOfCampaigns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ source, medium, want string }{
		{"google", "cpc", "paid_search"},
		{"google", "organic", "organic_search"},
		{"Google", "", "organic_search"},
		{"google", "display", "display"},
		{"google", "shopping", "organic_shopping"},
		{"google", "email", "email"},
		{"google", "(none)", "organic_search"},
		{"www.google.co.uk", "referral", "organic_search"},
		{"bing", "Paid-Search", "paid_search"},
		{"baidu", "sem", "paid_search"},
		{"百度", "竞价", "paid_search"},
		{"搜索引擎", "", "organic_search"},
		{"so.com", "seo", "organic_search"},
		{"facebook", "cpc", "paid_social"},
		{"facebook", "cpm", "paid_social"},
		{"facebook", "", "organic_social"},
		{"l.facebook.com", "referral", "organic_social"},
		{"fb_ads", "", "paid_social"},
		{"ig", "Story", "organic_social"},
		{"instagram", "link in bio", "organic_social"},
		{"x", "social", "organic_social"},
		{"t.co", "", "organic_social"},
		{"linkedin", "paid_social", "paid_social"},
		{"LinkedIn", "PaidSocial", "paid_social"},
		{"tiktok", "video", "organic_social"},
		{"weixin", "朋友圈广告", "paid_social"},
		{"微信", "公众号", "organic_social"},
		{"抖音信息流", "", "paid_social"},
		{"xiaohongshu", "KOL", "influencer"},
		{"小红书", "种草", "influencer"},
		{"douyin", "直播", "live_stream"},
		{"B站", "", "organic_social"},
		{"acme抖音ads", "", "paid_social"},
		{"企业微信", "社群", "messaging"},
		{"youtube", "", "organic_video"},
		{"youtube", "cpv", "paid_video"},
		{"v.qq.com", "贴片", "paid_video"},
		{"some-site", "video", "organic_video"},
		{"taobao", "直通车", "paid_shopping"},
		{"amazon_ads", "", "paid_shopping"},
		{"criteo", "retargeting", "display"},
		{"news.example", "cpm", "display"},
		{"头条", "信息流", "paid_social"},
		{"newsletter", "", "email"},
		{"july_newsletter_2026", "", "email"},
		{"mail.google.com", "referral", "email"},
		{"crm", "e-mail", "email"},
		{"crm", "ＥＤＭ", "email"},
		{"crm", "短信", "sms"},
		{"crm", "SMS_blast", "sms"},
		{"app", "push notification", "push"},
		{"awin", "affiliate", "affiliate"},
		{"partner-site", "cps", "affiliate"},
		{"github.com", "referral", "referral"},
		{"老带新", "", "word_of_mouth"},
		{"refer-a-friend", "referral", "word_of_mouth"},
		{"catalog", "direct_mail", "direct_mail"},
		{"直邮", "", "direct_mail"},
		{"poster", "qr", "qr"},
		{"packaging", "二维码", "qr"},
		{"canton", "expo", "expo"},
		{"广交会", "线下", "expo"},
		{"线下", "", "offline"},
		{"分众", "电梯广告", "out_of_home"},
		{"chatgpt.com", "", "ai_assistant"},
		{"(direct)", "(none)", "direct"},
		{"unknown", "cpc", "paid_other"},
		{"unknown", "付费", "paid_other"},
		{"acme brand x", "", "other"}, // "x" is a network only where it stands alone
		{"product line", "", "other"},
		{"unknown", "", "other"},
		{"", "", "other"},
		{"?!", "——", "other"},
	} {
		if got := profile.ChannelOf(c.source, c.medium); got != c.want {
			t.Errorf("source %q, medium %q: %s, want %s", c.source, c.medium, got, c.want)
		}
	}
}

// TestChannelsOfAds: an advertisement is paid for unless it says that it is not.
func TestChannelsOfAds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ channel, source, medium, want string }{
		{"search", "", "", "paid_search"},
		{"social", "", "", "paid_social"},
		{"Social", "facebook", "organic", "organic_social"},
		{"email", "", "", "email"},
		{"display", "facebook", "cpc", "display"},
		{"direct_mail", "", "", "direct_mail"},
		{"直邮", "", "", "direct_mail"},
		{"video", "tiktok", "", "paid_video"}, // it says where
		{"offline", "expo", "", "offline"},
		{"", "google", "", "paid_search"},
		{"", "google", "organic", "organic_search"},
		{"", "", "qr", "qr"},
		{"something else", "", "", "other"},
		{"something else", "google", "", "paid_search"},
		{"something else", "", "cpc", "paid_other"},
		{"", "", "", "other"},
	} {
		if got := profile.AdChannelOf(c.channel, c.source, c.medium); got != c.want {
			t.Errorf("channel %q, source %q, medium %q: %s, want %s", c.channel, c.source, c.medium, got, c.want)
		}
	}
}

// TestChannelTable: every word of the table leads where it stands, and every
// channel can stand in a subject.
func TestChannelTable(t *testing.T) {
	t.Parallel()
	valid := regexp.MustCompile(`^[a-z0-9_]{1,40}$`)
	mark := regexp.MustCompile(`^(.*?[^+?!-])(\??!?[+-]?)$`)
	for _, row := range profile.ChannelTable() {
		if !valid.MatchString(row.Channel) || row.Paid != "" && !valid.MatchString(row.Paid) || row.Means == "" {
			t.Errorf("line %+v", row)
		}
		for marked := range strings.FieldsSeq(row.Words) {
			parts := mark.FindStringSubmatch(marked)
			if parts == nil {
				t.Errorf("%s: word %q has marks that are none, or not in the order ?!+", row.Channel, marked)
				continue
			}
			want := row.Channel
			if strings.Contains(parts[2], "+") && row.Paid != "" {
				want = row.Paid
			}
			for _, told := range []string{parts[1], strings.ReplaceAll(parts[1], "_", " "), strings.ReplaceAll(parts[1], "_", "")} {
				if got := profile.ChannelOf(told, ""); got != want {
					t.Errorf("%q: %s, want %s", told, got, want)
				}
			}
		}
	}
}

// TestChannelTableIsOfThisFold: the table is a part of the fold. Who changes it
// changes projections.FoldVersion too, and then this.
func TestChannelTableIsOfThisFold(t *testing.T) {
	t.Parallel()
	const want = "21408e87cc395a9f"
	if got := fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, profile.ChannelTable())))[:16]; got != want {
		t.Errorf("table of channels is %s, want %s: stores that stand hold channels by the former, so it wants a new fold version", got, want)
	}
}

// channelTexts draws texts of words of the table and of others.
func channelTexts() *rapid.Generator[string] {
	var words []string
	for _, row := range profile.ChannelTable() {
		for w := range strings.FieldsSeq(row.Words) {
			words = append(words, strings.TrimRight(w, "?!+-"))
		}
	}
	word := rapid.OneOf(rapid.SampledFrom(words), rapid.SampledFrom([]string{"spring", "2026", "acme", "春", "é", "\xff", "İ"}), rapid.String())
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(word, 0, 8).Draw(t, "words"), rapid.SampledFrom([]string{"", " ", "-", "_", ". "}).Draw(t, "between"))
	})
}

// TestChannelLaw: a channel is one of the closed set, and neither case nor
// width nor what stands between the words changes it.
func TestChannelLaw(t *testing.T) {
	t.Parallel()
	closed := map[string]bool{}
	for _, row := range profile.ChannelTable() {
		closed[row.Channel], closed[row.Paid] = true, row.Paid != "" || closed[row.Paid]
	}
	wide := func(r rune) rune {
		switch {
		case r == ' ':
			return '\u3000'
		case r > ' ' && r <= '~':
			return unicode.ToUpper(r) + '！' - '!'
		}
		return r
	}
	between := strings.NewReplacer(" ", "//", "-", " – ", "_", ".", ".", "_")
	rapid.Check(t, func(t *rapid.T) {
		texts := channelTexts()
		source, medium, word := texts.Draw(t, "source"), texts.Draw(t, "medium"), texts.Draw(t, "channel")
		for _, of := range []func(change func(string) string) string{
			func(change func(string) string) string { return profile.ChannelOf(change(source), change(medium)) },
			func(change func(string) string) string {
				return profile.AdChannelOf(change(word), change(source), change(medium))
			},
		} {
			got := of(func(s string) string { return s })
			if !closed[got] {
				t.Fatalf("channel %q is not of the table", got)
			}
			if other := of(func(s string) string { return strings.Map(wide, s) }); other != got {
				t.Fatalf("%s; in wide capitals %s", got, other)
			}
			if other := of(between.Replace); other != got {
				t.Fatalf("%s; with other signs between the words %s", got, other)
			}
		}
	})
}

// TestChannelTextBound: words behind the bound are not read, so that a text of
// 32 KiB costs no more than one of 128 bytes.
func TestChannelTextBound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		filler string
		fit    int // how often it fits before "google"
	}{
		"bytes": {strings.Repeat("w", 20) + " ", 6}, // 6 × 20 + 6 of 128
		"words": {"w ", 15},                         // 15 + 1 of 16
	} {
		if got := profile.ChannelOf(strings.Repeat(c.filler, c.fit)+"google", ""); got != "organic_search" {
			t.Errorf("%s at the bound: %s", name, got)
		}
		if got := profile.ChannelOf(strings.Repeat(c.filler, c.fit+1)+"google", ""); got != profile.OtherChannel {
			t.Errorf("%s beyond the bound: %s", name, got)
		}
	}
	if got := profile.ChannelOf("x"+strings.Repeat(" w", 20), ""); got != profile.OtherChannel {
		t.Errorf("a word that counts alone, and more than was read: %s", got)
	}
}
