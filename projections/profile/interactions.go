package profile

import (
	"strings"

	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// Interactions: contacts between the customer and the firm, counted by channel
// and direction. All fields are facts.
//
// A channel is a word of the firm's own, without case, width and spaces around
// it. A direction is seen from the firm: inbound is what comes from the
// customer. One that is not told, or in words that could be seen from either
// side (sent, received), counts in the channel and in neither direction. Beyond
// maxKeys channels the least names stay, each exact, totals are of those, and
// the section is approximate.

func foldInteractions(f *statev1.Facts, a *application) error {
	if a.Header.GetType() != eventsv1.Type_TYPE_INTERACTION_LOGGED {
		return nil
	}
	if f.Interactions == nil {
		f.Interactions = &statev1.InteractionsFacts{}
	}
	s, told := f.Interactions, a.Body.GetInteraction()
	channel := interactionChannel(told.GetChannel())
	i, found := find(s.Channels, channel, (*statev1.InteractionFact).GetChannel)
	if !found {
		var dropped bool
		s.Channels, dropped = insertLeast(s.Channels, i, &statev1.InteractionFact{Channel: channel}, maxKeys)
		s.Approximate = s.Approximate || dropped
		if i >= maxKeys {
			return nil
		}
	}
	countInteraction(s.Channels[i], told.GetDirection(), a.stamp.OccurredAt)
	return nil
}

func countInteraction(c *statev1.InteractionFact, direction string, at int64) {
	switch directionOf(direction) {
	case inbound:
		c.Inbound++
		c.LastInboundAt = max(c.LastInboundAt, at)
	case outbound:
		c.Outbound++
		c.LastOutboundAt = max(c.LastOutboundAt, at)
	default:
		c.Other++
	}
	c.LastAt = max(c.LastAt, at)
}

func interactionChannel(told string) string {
	if word := cut(foldText(told), maxLabelBytes); word != "" {
		return word
	}
	return OtherChannel
}

// direction is who turned to whom.
type direction uint8

const (
	untold   direction = iota
	inbound            // the customer to the firm
	outbound           // the firm to the customer
)

func directionOf(told string) direction {
	switch foldText(told) {
	case "inbound", "in", "incoming", "呼入":
		return inbound
	case "outbound", "out", "outgoing", "呼出":
		return outbound
	}
	return untold
}

// foldText is a text in lower case and half width, without spaces around it.
func foldText(s string) string { return strings.TrimSpace(strings.Map(foldRune, s)) }

// encodeInteractions: approximate; unless so, list of (channel, inbound,
// outbound, neither, last inbound, last outbound, last occurrence).
func encodeInteractions(e *encoder, f *statev1.Facts) {
	s := f.Interactions
	if s == nil {
		return
	}
	e.bool(s.Approximate)
	if s.Approximate {
		return
	}
	e.length(len(s.Channels))
	for _, c := range s.Channels {
		e.string(c.Channel)
		e.count(c.Inbound)
		e.count(c.Outbound)
		e.count(c.Other)
		e.int(c.LastInboundAt)
		e.int(c.LastOutboundAt)
		e.int(c.LastAt)
	}
}

func renderInteractions(f *statev1.Facts, r *rendering) {
	r.into.Interactions = nil
	s := f.Interactions
	if s == nil {
		return
	}
	r.approximate = r.approximate || s.Approximate
	shown := &queryv1.Interactions{ByChannel: make(map[string]*queryv1.ChannelInteractions, len(s.Channels))}
	var lastIn, lastOut int64
	for _, c := range s.Channels {
		count := c.Inbound + c.Outbound + c.Other
		shown.Count += count
		shown.Inbound += c.Inbound
		shown.Outbound += c.Outbound
		lastIn, lastOut = max(lastIn, c.LastInboundAt), max(lastOut, c.LastOutboundAt)
		shown.ByChannel[c.Channel] = &queryv1.ChannelInteractions{
			Count: count, Inbound: c.Inbound, Outbound: c.Outbound, LastAt: timestamp(c.LastAt),
		}
	}
	// Every accepted time is after 1970, so 0 means that there was none.
	if lastIn != 0 {
		shown.LastInboundAt = timestamp(lastIn)
	}
	if lastOut != 0 {
		shown.LastOutboundAt = timestamp(lastOut)
	}
	r.into.Interactions = shown
}
