package profile

import (
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// Custom: events of names that are not ours, counted by name as sent. All
// fields are facts. Beyond maxKeys names the least names stay, each with its
// exact count, and the section is approximate.

func foldCustom(f *statev1.Facts, a *application) error {
	if a.Header.GetType() != eventsv1.Type_TYPE_CUSTOM {
		return nil
	}
	if f.Custom == nil {
		f.Custom = &statev1.CustomFacts{}
	}
	c, name, at := f.Custom, cutKey(a.Body.GetType()), a.stamp.OccurredAt
	i, found := find(c.Events, name, (*statev1.CustomFact).GetName)
	if found {
		e := c.Events[i]
		e.Count++
		e.FirstAt, e.LastAt = min(e.FirstAt, at), max(e.LastAt, at)
		return nil
	}
	var dropped bool
	c.Events, dropped = insertLeast(c.Events, i, &statev1.CustomFact{Name: name, Count: 1, FirstAt: at, LastAt: at}, maxKeys)
	c.Approximate = c.Approximate || dropped
	return nil
}

// encodeCustom: approximate; unless so, list of (name, count, first and last
// occurrence).
func encodeCustom(e *encoder, f *statev1.Facts) {
	c := f.Custom
	if c == nil {
		return
	}
	e.bool(c.Approximate)
	if c.Approximate {
		return
	}
	e.length(len(c.Events))
	for _, event := range c.Events {
		e.string(event.Name)
		e.count(event.Count)
		e.int(event.FirstAt)
		e.int(event.LastAt)
	}
}

func renderCustom(f *statev1.Facts, r *rendering) {
	r.into.Custom = nil
	c := f.Custom
	if c == nil {
		return
	}
	r.approximate = r.approximate || c.Approximate
	r.into.Custom = make(map[string]*queryv1.Custom, len(c.Events))
	for _, e := range c.Events {
		r.into.Custom[e.Name] = &queryv1.Custom{Count: e.Count, FirstAt: timestamp(e.FirstAt), LastAt: timestamp(e.LastAt)}
	}
}
