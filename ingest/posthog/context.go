package posthog

import (
	"net/url"
	"strings"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/ingest/properties"
)

// decodeContext reads where and how it happened.
func (e *event) decodeContext() {
	g := &e.given
	c := &eventsv1.Context{
		Campaign: e.campaign(),
		PageUrl:  g.currentURL.text(),
		Ip:       g.ip.text(),
		Locale:   g.language.text(),
		Timezone: g.zone.text(),
	}
	if c.UserAgent = g.rawUserAgent.text(); c.UserAgent == "" {
		c.UserAgent = g.userAgent.text()
	}
	if g.referrer.Text() != "$direct" {
		c.ReferrerUrl = g.referrer.text()
	}
	// A write key in the properties stands there beside the distinct id.
	if key, _ := properties.Text(g.token.Value); strings.HasPrefix(key, "phc_") || g.distinctID.Given() {
		g.token.used = true
	}
	if proto.Size(c) > 0 {
		e.event.Context = c
	}
}

// campaign is the advertising source of the visit at hand. The clients keep
// utm_source and its kin of the last visit that had any, and tell them with
// every event of all later ones: counted then, one click would be a touch on
// every day for ever.
func (e *event) campaign() *eventsv1.Campaign {
	g := &e.given
	address, hasAddress := properties.Text(g.currentURL.Value)
	entered := claims(g.entrySource.Value) || claims(g.entryMedium.Value) || claims(g.entryName.Value)
	switch {
	case !hasAddress || hasCampaign(address):
		return campaignOf(&g.utmSource, &g.utmMedium, &g.utmName, &g.utmTerm, &g.utmAd)
	case entered:
		return campaignOf(&g.entrySource, &g.entryMedium, &g.entryName, &g.entryTerm, &g.entryAd)
	default:
		return nil
	}
}

func hasCampaign(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	for name := range u.Query() {
		if strings.HasPrefix(name, "utm_") {
			return true
		}
	}
	return false
}

func campaignOf(source, medium, name, term, content *property) *eventsv1.Campaign {
	c := &eventsv1.Campaign{Source: source.text(), Medium: medium.text(), Name: name.text(), Term: term.text(), Content: content.text()}
	if proto.Size(c) == 0 {
		return nil
	}
	return c
}
