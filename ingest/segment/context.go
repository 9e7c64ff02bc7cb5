package segment

import (
	"strings"

	"github.com/dossier360/dossier/events"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"

	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/ingest/jsontree"
	"github.com/dossier360/dossier/ingest/properties"
)

// decodeContext reads the context and gathers everything without a field in
// other_json: what is left of the context, and beside it the members of the
// message around it. Where both have a key, the message's stands under
// "message.<key>".
func (m *message) decodeContext() {
	c := &contextReader{message: m, context: &eventsv1.Context{}}
	own, shared := m.told.context, m.envelope.context.Root()
	if own.Kind() != jsontree.Object {
		m.keep("context", own)
	}
	var keys jsontree.Builder // of the item's own context, only to ask for them
	for key, v := range own.Members() {
		c.member(key, v)
		if shared.Given() {
			keys.Add(key, v)
		}
	}
	for key, v := range shared.Members() {
		if !keys.Has(key) {
			c.member(key, v)
		}
	}
	m.addIntegrations()
	if m.other.Len() > 0 {
		c.addMessage()
	}
	c.context.OtherJson = c.rest.String()
	if c.used || c.context.OtherJson != "" {
		m.event.Context = c.context
	}
	if view := m.event.GetView(); view != nil && view.Url == "" && m.event.Type == "page.viewed" {
		view.Url = c.context.PageUrl
	}
}

// addIntegrations merges those of the batch under those of the item.
func (m *message) addIntegrations() {
	own, shared := m.told.integrations, m.envelope.integrations.Root()
	if own.Kind() != jsontree.Object || shared.Kind() != jsontree.Object {
		if !own.Given() {
			own = shared
		}
		if own.Given() && !own.Empty() {
			m.other.Add("integrations", own)
		}
		return
	}
	var b jsontree.Builder
	for key, v := range own.Members() {
		b.Add(key, v)
	}
	for key, v := range shared.Members() {
		if !b.Has(key) {
			b.Add(key, v)
		}
	}
	if b.Len() > 0 {
		m.other.AddText("integrations", b.Append(nil))
	}
}

// contextReader reads the context of one message.
type contextReader struct {
	*message
	context *eventsv1.Context
	used    bool
	rest    jsontree.Builder
}

func (c *contextReader) member(key string, v jsontree.Value) {
	switch key {
	case "ip":
		c.text(key, &c.context.Ip, v)
	case "userAgent":
		c.text(key, &c.context.UserAgent, v)
	case "locale":
		c.text(key, &c.context.Locale, v)
	case "timezone":
		c.text(key, &c.context.Timezone, v)
	case "page":
		c.object(key, v, func(key string) *string {
			switch key {
			case "url":
				return &c.context.PageUrl
			case "referrer":
				return &c.context.ReferrerUrl
			}
			return nil
		})
	case "campaign":
		c.campaign(key, v)
	case "externalIds":
		c.externalIDs(key, v)
	case "groupId":
		if !c.groupID(v) {
			c.rest.Add(key, v)
		}
	case "traits":
		c.traits(v)
		c.rest.Add(key, v)
	default:
		c.rest.Add(key, v)
	}
}

// groupID makes an identifier of the company for which the user acts. A call
// about a group names one itself, and this may be another.
func (c *contextReader) groupID(v jsontree.Value) bool {
	value, ok := properties.Text(v)
	if !ok || c.event.GetGroup() != nil {
		return false
	}
	if _, err := directory.Normalise(events.CompanyID, value); err != nil {
		return false
	}
	return c.identify(events.CompanyID, value)
}

// traits makes identifiers of those traits of the current user that name him.
// They are known only beside an id of his own: see decodeIDs.
func (c *contextReader) traits(v jsontree.Value) {
	for _, typ := range [...]string{"email", "phone"} {
		value, ok := properties.Text(v.Get(typ))
		if !ok {
			continue
		}
		if _, err := directory.Normalise(typ, value); err == nil {
			c.identify(typ, value)
		}
	}
}

// text fills a field, or leaves over what is no text.
func (c *contextReader) text(key string, to *string, v jsontree.Value) {
	s, ok := properties.Text(v)
	if !ok {
		c.rest.Add(key, v)
		return
	}
	*to, c.used = s, true
}

// object fills fields from the members of an object and leaves over the rest
// of it.
func (c *contextReader) object(key string, v jsontree.Value, field func(key string) *string) {
	if v.Kind() != jsontree.Object {
		c.rest.Add(key, v)
		return
	}
	var rest jsontree.Builder
	for k, v := range v.Members() {
		s, ok := properties.Text(v)
		if to := field(k); ok && to != nil {
			*to, c.used = s, true
		} else {
			rest.Add(k, v)
		}
	}
	if rest.Len() > 0 {
		c.rest.AddText(key, rest.Append(nil))
	}
}

func (c *contextReader) campaign(key string, v jsontree.Value) {
	var campaign eventsv1.Campaign
	c.object(key, v, func(key string) *string {
		switch key {
		case "source":
			return &campaign.Source
		case "medium":
			return &campaign.Medium
		case "name":
			return &campaign.Name
		case "term":
			return &campaign.Term
		case "content":
			return &campaign.Content
		}
		return nil
	})
	if campaign.Source+campaign.Medium+campaign.Name+campaign.Term+campaign.Content != "" {
		c.context.Campaign = &campaign
	}
}

// externalIDs makes identifiers of those that name a person in a way the
// directory knows, and leaves over the others.
func (c *contextReader) externalIDs(key string, v jsontree.Value) {
	if v.Kind() != jsontree.Array {
		c.rest.Add(key, v)
		return
	}
	rest := []byte{'['}
	for item := range v.Items() {
		if c.externalID(item) {
			continue
		}
		if len(rest) > 1 {
			rest = append(rest, ',')
		}
		rest = item.AppendCanonical(rest)
	}
	if len(rest) > 1 {
		c.rest.AddText(key, append(rest, ']'))
	}
}

func (c *contextReader) externalID(v jsontree.Value) bool {
	typ, ok1 := properties.Text(v.Get("type"))
	value, ok2 := properties.Text(v.Get("id"))
	typ = strings.ToLower(typ)
	if !ok1 || !ok2 || !properties.ValidIdentifierType(typ) {
		return false
	}
	for key, v := range v.Members() {
		switch text := v.Text(); {
		case key == "type" || key == "id":
		case key == "collection" && text == "users":
		case key == "encoding" && text == "none":
		default:
			return false // of a company, enciphered, or more than an identifier
		}
	}
	if _, err := directory.Normalise(typ, value); err != nil {
		return false
	}
	return c.identify(typ, value)
}

// addMessage adds the members of the message to what is left of the context.
func (c *contextReader) addMessage() {
	c.rest.Join(&c.message.other, "message.")
}
