package projections

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/projections/profile"
	"github.com/dossier360/dossier/projections/store"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// A customer's history is a sorted list of entries in pieces: the newest at
// most headEntries in his head, older ones in pages. Pages are made of
// headEntries at a time, so history costs one put in 64 events; a late event
// goes into the page that covers it, which is split when it is full.
const (
	headEntries = 64
	pageEntries = 128
)

func stampOf(e *statev1.Entry) *statev1.Stamp {
	return &statev1.Stamp{OccurredAt: e.OccurredAt, EventId: e.EventId, Source: e.Source, Role: e.Role, Type: e.Type, ClaimedAt: e.ClaimedAt}
}

// compareEntry compares an entry's order key with s, without making a stamp.
func compareEntry(e *statev1.Entry, s *statev1.Stamp) int {
	if e.OccurredAt != s.OccurredAt {
		if e.OccurredAt < s.OccurredAt {
			return -1
		}
		return 1
	}
	return profile.CompareStamps(stampOf(e), s)
}

// insert adds an entry to the history.
func (c *customer) insert(e *statev1.Entry) error {
	s := stampOf(e)
	if c.head.Spilled != nil && profile.CompareStamps(s, c.head.Spilled) <= 0 {
		return c.insertInPage(e, s)
	}
	c.head.Entries = insertEntry(c.head.Entries, e, s)
	c.o.grow(proto.Size(e)+4, 0)
	if len(c.head.Entries) > headEntries {
		c.spill()
	}
	return nil
}

func insertEntry(list []*statev1.Entry, e *statev1.Entry, s *statev1.Stamp) []*statev1.Entry {
	i, _ := slices.BinarySearchFunc(list, s, compareEntry)
	return slices.Insert(list, i, e)
}

// spill makes a page of the oldest headEntries entries of the head.
func (c *customer) spill() {
	page := &statev1.Page{Entries: slices.Clone(c.head.Entries[:headEntries])}
	c.head.Entries = slices.Clone(c.head.Entries[headEntries:])
	c.head.Spilled = stampOf(page.Entries[headEntries-1])
	c.putPage("", page)
}

// putPage stores a page under its lead, in place of the one led by old.
func (c *customer) putPage(old string, page *statev1.Page) {
	if c.pages == nil {
		c.pages = map[string]*statev1.Page{}
	}
	if c.dirtyPages == nil {
		c.dirtyPages = map[string]bool{}
		c.o.paged = append(c.o.paged, c)
	}
	lead := ""
	if len(page.Entries) > 0 {
		lead = string(appendOrderKey(nil, stampOf(page.Entries[0])))
	}
	if old != "" && old != lead {
		c.pages[old], c.dirtyPages[old] = nil, true
	}
	c.lead(old, lead)
	if lead == "" {
		return
	}
	if !c.dirtyPages[lead] {
		c.o.grow(proto.Size(page)+128, 1)
	}
	c.pages[lead], c.dirtyPages[lead] = page, true
}

// lead notes that a page led by old, if any, is led by lead now, if by any.
func (c *customer) lead(old, lead string) {
	if !c.leadsRead || old == lead {
		return
	}
	i, ok := slices.BinarySearch(c.leads, old)
	switch {
	case ok && lead == "":
		c.leads = slices.Delete(c.leads, i, i+1)
		return
	case ok: // no other page is between the two
		c.leads[i] = lead
		return
	}
	if i, ok := slices.BinarySearch(c.leads, lead); !ok && lead != "" {
		c.leads = slices.Insert(c.leads, i, lead)
	}
}

func (c *customer) insertInPage(e *statev1.Entry, s *statev1.Stamp) error {
	lead, page, err := c.coveringPage(s)
	if err != nil {
		return err
	}
	if page == nil { // the last entry of the last page was taken back
		page = &statev1.Page{}
	}
	page.Entries = insertEntry(page.Entries, e, s)
	c.o.grow(proto.Size(e)+4, 0)
	if len(page.Entries) < pageEntries {
		c.putPage(lead, page)
		return nil
	}
	half := len(page.Entries) / 2
	c.putPage(lead, &statev1.Page{Entries: slices.Clone(page.Entries[:half])})
	c.putPage("", &statev1.Page{Entries: slices.Clone(page.Entries[half:])})
	return nil
}

// coveringPage returns the page with the greatest lead <= s, else the first
// one, else nil. The page may be changed and put back with putPage.
func (c *customer) coveringPage(s *statev1.Stamp) (lead string, page *statev1.Page, err error) {
	if err := c.readLeads(); err != nil || len(c.leads) == 0 {
		return "", nil, err
	}
	i, exact := slices.BinarySearch(c.leads, string(appendOrderKey(nil, s)))
	if !exact {
		i = max(i-1, 0)
	}
	page, err = c.page(c.leads[i])
	return c.leads[i], page, err
}

// readLeads reads the leads of all pages, once while the customer is cached.
func (c *customer) readLeads() error {
	c.o.paged = append(c.o.paged, c) // for the pages read now to be let go
	if c.leadsRead {
		return nil
	}
	prefix := ownedPrefix(keyPage, c.id, c.head.Generation)
	leads := map[string]bool{}
	err := c.o.view.Scan(prefix, store.PrefixEnd(prefix), false, func(key, _ []byte) bool {
		leads[string(key[len(prefix):])] = true
		return true
	})
	if err != nil {
		return err
	}
	for lead, page := range c.pages {
		if leads[lead] = true; page == nil {
			delete(leads, lead)
		}
	}
	c.leads, c.leadsRead = sortedKeys(leads), true
	return nil
}

// page returns the page with a lead.
func (c *customer) page(lead string) (*statev1.Page, error) {
	if page := c.pages[lead]; page != nil {
		return page, nil
	}
	value, err := c.o.view.Get(append(ownedPrefix(keyPage, c.id, c.head.Generation), lead...))
	if err != nil {
		return nil, err
	}
	if value == nil {
		return nil, fmt.Errorf("customer %s has no page led by %x", c.id, lead)
	}
	page := &statev1.Page{}
	if err := proto.Unmarshal(value, page); err != nil {
		return nil, fmt.Errorf("page of customer %s: %w", c.id, err)
	}
	if c.pages == nil {
		c.pages = map[string]*statev1.Page{}
	}
	c.pages[lead] = page
	return page, nil
}

// found is where an entry stands.
type found struct {
	entry *statev1.Entry
	lead  string // of its page; "" in the head
}

// find returns the entry whose key (role, type, source, event id, claimed
// time) is that of the header, nil if there is none.
//
// Where can it stand? An entry whose time was not the client's has a refusal
// key. Any other stands at occurred_at = claimed_at: in the head, or in the
// page that covers that order key.
func (c *customer) find(h *logv1.Header) (*found, error) {
	if e := findEntry(c.head.Entries, h); e != nil {
		return &found{entry: e}, nil
	}
	if c.head.HasRefusalKeys || timeWasGiven(h) && !c.fresh {
		at, err := c.refusal(refusalHash(h))
		if err != nil {
			return nil, err
		}
		if at != nil {
			s, err := parseOrderKey(at)
			if err != nil {
				return nil, fmt.Errorf("refusal key of customer %s: %w", c.id, err)
			}
			if f, err := c.findInPage(s, h); err != nil || f != nil {
				return f, err
			}
		}
	}
	if c.head.Spilled == nil || h.ClaimedAt == nil {
		return nil, nil
	}
	s := &statev1.Stamp{OccurredAt: *h.ClaimedAt, EventId: h.EventId, Source: h.Source, Role: h.Role, Type: h.Type, ClaimedAt: h.ClaimedAt}
	return c.findInPage(s, h)
}

func (c *customer) findInPage(s *statev1.Stamp, h *logv1.Header) (*found, error) {
	if c.head.Spilled == nil || profile.CompareStamps(s, c.head.Spilled) > 0 {
		return nil, nil // newer than every page, and not in the head
	}
	lead, page, err := c.coveringPage(s)
	if err != nil || page == nil {
		return nil, err
	}
	if e := findEntry(page.Entries, h); e != nil {
		return &found{entry: e, lead: lead}, nil
	}
	return nil, nil
}

func findEntry(list []*statev1.Entry, h *logv1.Header) *statev1.Entry {
	for _, e := range list {
		if e.EventId == h.EventId && e.Source == h.Source && e.Role == h.Role && e.Type == h.Type && sameTime(e.ClaimedAt, h.ClaimedAt) {
			return e
		}
	}
	return nil
}

func sameTime(a, b *int64) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// remove takes a found entry out of the history.
func (c *customer) remove(f *found) {
	drop := func(list []*statev1.Entry) []*statev1.Entry {
		return slices.DeleteFunc(slices.Clone(list), func(e *statev1.Entry) bool { return e == f.entry })
	}
	if f.lead == "" {
		c.head.Entries = drop(c.head.Entries)
		return
	}
	c.putPage(f.lead, &statev1.Page{Entries: drop(c.pages[f.lead].Entries)})
}

// timeWasGiven reports whether occurred_at is not the client's word, so that
// another copy of the event may stand elsewhere.
func timeWasGiven(h *logv1.Header) bool { return h.Corrected || h.Clamped || h.Assigned }

// refusalHash is the event key without the customer: source, event id, role,
// type and claimed time.
func refusalHash(h *logv1.Header) [16]byte {
	b := appendSortedText(nil, h.EventId)
	b = append(appendSortedText(b, h.Source), byte(h.Role))
	b = binary.BigEndian.AppendUint16(b, uint16(h.Type))
	if h.ClaimedAt != nil {
		b = appendSortedInt(b, *h.ClaimedAt)
	}
	sum := sha256.Sum256(b)
	return [16]byte(sum[:16])
}

func (c *customer) refusal(hash [16]byte) ([]byte, error) {
	if at, ok := c.refusals[hash]; ok {
		return at, nil
	}
	return c.o.view.Get(append(ownedPrefix(keyRefusal, c.id, c.head.Generation), hash[:]...))
}

func (c *customer) putRefusal(h *logv1.Header, at *statev1.Stamp) {
	if c.refusals == nil {
		c.refusals = map[[16]byte][]byte{}
	}
	key := appendOrderKey(nil, at)
	c.refusals[refusalHash(h)] = key
	c.head.HasRefusalKeys = true
	c.o.grow(len(key)+64, 1)
}

// everyEntry calls fn for the whole history, oldest first.
func (c *customer) everyEntry(fn func(*statev1.Entry) error) error {
	each := func(list []*statev1.Entry) error {
		for _, e := range list {
			if err := fn(e); err != nil {
				return err
			}
		}
		return nil
	}
	if c.head.Spilled != nil {
		if err := c.readLeads(); err != nil {
			return err
		}
		for _, lead := range c.leads {
			page, err := c.page(lead)
			if err == nil {
				err = each(page.Entries)
			}
			if err != nil {
				return err
			}
		}
	}
	return each(c.head.Entries)
}
