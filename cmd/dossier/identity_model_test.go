package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/profile"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// reference is what a log says, worked out in one shot by the text of the
// design and nothing of the engine but the fold of one event: every event as
// the gateways stamped it is routed by the rules from scratch, the events are
// grouped by where they end, and every group is folded. Moves, jobs, notices
// and the order of partitions are not looked at.
type reference struct {
	genesis *logv1.Genesis
	env     profile.Env
	rules   []refRule // by sequence
	events  []refEvent
}

// refRule is a merge or a split, by its sequence in IDENTITY.
type refRule struct {
	d      uint64
	merged *logv1.Merged // nil: a split
	split  *logv1.Split
}

// refEvent is an event for one customer as a gateway logged it.
type refEvent struct {
	header     *logv1.Header
	body       *eventsv1.Event
	content    []byte
	recordedAt int64
	at         uint64
	trail      []uint64            // what the gateway told it with, and the rules since
	path       []events.CustomerID // whom it was with on its way
}

// readReference reads the whole log.
func readReference(t testing.TB, log events.Log) *reference {
	t.Helper()
	r := &reference{}
	eachMessage(t, log, events.IdentityStream, func(m events.Message) {
		identity := &logv1.Identity{}
		if err := events.Open(m.Data, identity); err != nil {
			t.Fatal(err)
		}
		switch rule := identity.GetRule().GetRule().(type) {
		case *logv1.Rule_Genesis:
			r.genesis = rule.Genesis
		case *logv1.Rule_Merged:
			r.rules = append(r.rules, refRule{d: m.Seq, merged: rule.Merged})
		case *logv1.Rule_Split:
			r.rules = append(r.rules, refRule{d: m.Seq, split: rule.Split})
		}
	})
	zone, err := events.NewZone(r.genesis.Zone)
	if err != nil {
		t.Fatal(err)
	}
	r.env = profile.Env{Zone: zone, BaseCurrency: r.genesis.BaseCurrency}
	for p := range int(r.genesis.Partitions) {
		eachMessage(t, log, events.PartitionStream(p), func(m events.Message) {
			if m.Subject == events.SubjectEvents(p) {
				r.add(t, m.Data)
			}
		})
	}
	return r
}

// eachMessage gives fn every message of a stream.
func eachMessage(t testing.TB, log events.Log, stream events.Stream, fn func(events.Message)) {
	t.Helper()
	info, err := log.Info(context.Background(), stream)
	if err != nil {
		t.Fatal(err)
	}
	for seq := info.First; seq <= info.Last; seq++ {
		m, err := log.Get(context.Background(), stream, seq)
		if err != nil {
			t.Fatal(err)
		}
		fn(m)
	}
}

func (r *reference) add(t testing.TB, data []byte) {
	t.Helper()
	record := &logv1.Record{}
	if err := events.Open(data, record); err != nil {
		t.Fatal(err)
	}
	for _, e := range record.Events {
		ev := refEvent{
			header: e.Header, body: &eventsv1.Event{}, content: refContent(e),
			recordedAt: record.RecordedAt + int64(e.Header.RecordedDelta), at: record.At + e.Header.AtDelta,
		}
		if err := proto.Unmarshal(e.Body, ev.body); err != nil {
			t.Fatal(err)
		}
		r.events = append(r.events, ev)
	}
}

// refContent tells two copies of an event apart, as the log's format says: by
// the body, and by what of the header the facts depend on.
func refContent(e *logv1.LoggedEvent) []byte {
	h := e.Header
	told, err := proto.MarshalOptions{Deterministic: true}.Marshal(&logv1.Header{
		OccurredAt: h.OccurredAt, Corrected: h.Corrected, Clamped: h.Clamped, Assigned: h.Assigned,
		Corrects: h.Corrects, IssuedAt: h.IssuedAt, Withdraws: h.Withdraws, CustomerKind: h.CustomerKind,
		Party: h.Party, PartyCustomer: h.PartyCustomer, Leaves: h.Leaves, Until: h.Until,
		Identifiers: h.Identifiers, Flags: h.Flags, KeyId: h.KeyId,
	})
	if err != nil {
		panic("not reached: a header that was read can be written: " + err.Error())
	}
	sum := sha256.New()
	var n [8]byte
	for i := range n {
		n[7-i] = byte((uint64(len(told)) ^ 1<<63) >> (8 * i))
	}
	sum.Write(n[:])
	sum.Write(told)
	sum.Write(e.Body)
	return sum.Sum(nil)
}

// route finds whose an event is in the end: of the rules about its customer the
// one with the least d beyond where it stands applies first, repeatedly.
func (r *reference) route(e *refEvent) events.CustomerID {
	c, at := events.CustomerID(e.header.Customer), e.at
	for _, rule := range r.rules {
		if rule.d <= at || rule.of() != c {
			continue
		}
		at = rule.d
		if to := rule.to(e); to != c {
			e.path = append(e.path, c)
			c, e.trail = to, append(e.trail, rule.d)
		}
	}
	return c
}

// of is the customer whose events the rule routes.
func (r refRule) of() events.CustomerID {
	if r.merged != nil {
		return events.CustomerID(r.merged.Loser)
	}
	return events.CustomerID(r.split.From)
}

// to is where the rule sends an event of that customer.
func (r refRule) to(e *refEvent) events.CustomerID {
	switch {
	case r.merged != nil:
		return events.CustomerID(r.merged.Winner)
	case r.split.Undoes != 0 && slices.Contains(e.trail, r.split.Undoes), r.takes(e.header):
		return events.CustomerID(r.split.To)
	}
	return events.CustomerID(r.split.From)
}

// takes reports whether an event names identifiers that the split takes out,
// and no other of the customer's.
func (r refRule) takes(h *logv1.Header) bool {
	named := false
	for _, id := range h.Identifiers {
		if id.Other {
			continue
		}
		named = true
		taken := false
		for hashes := r.split.Hashes; len(hashes) >= len(id.Hash); hashes = hashes[len(id.Hash):] {
			taken = taken || bytes.Equal(hashes[:len(id.Hash)], id.Hash)
		}
		if !taken {
			return false
		}
	}
	return named
}

// groups are the events by whose they are in the end, each event once: of
// copies the least (time of recording, content) stands.
//
// A repeat is refused where it meets its like and forgotten, and what meets
// where depends on what comes first. So of an event of which copies met that
// part later, by an undo, say, only the one that was kept goes on: kept says, of
// such an event, whether a customer has it, and when that copy was recorded.
func (r *reference) groups(kept func(c events.CustomerID, key string) (recordedAt int64, ok bool)) map[events.CustomerID][]refEvent {
	groups := map[events.CustomerID]map[string]refEvent{}
	parted := r.parted()
	for _, e := range r.events {
		e.trail, e.path = slices.Clone(e.header.Trail), nil
		c, key := r.route(&e), e.key()
		if parted[key] {
			if at, ok := kept(c, key); !ok || at != e.recordedAt {
				continue
			}
		}
		if groups[c] == nil {
			groups[c] = map[string]refEvent{}
		}
		old, known := groups[c][key]
		if !known || cmp.Or(cmp.Compare(e.recordedAt, old.recordedAt), bytes.Compare(e.content, old.content)) < 0 {
			groups[c][key] = e
		}
	}
	sorted := map[events.CustomerID][]refEvent{}
	for c, byKey := range groups {
		for _, key := range slices.Sorted(maps.Keys(byKey)) {
			sorted[c] = append(sorted[c], byKey[key])
		}
	}
	return sorted
}

// parted are the events of which copies met, at whichever customer, and end at
// more than one.
func (r *reference) parted() map[string]bool {
	copies := map[string][]refEvent{}
	for _, e := range r.events {
		e.trail, e.path = slices.Clone(e.header.Trail), nil
		e.path = append(e.path, r.route(&e))
		copies[e.key()] = append(copies[e.key()], e)
	}
	parted := map[string]bool{}
	for key, list := range copies {
		for i := range list {
			for j := range i {
				met := slices.ContainsFunc(list[i].path, func(c events.CustomerID) bool { return slices.Contains(list[j].path, c) })
				end := func(e refEvent) events.CustomerID { return e.path[len(e.path)-1] }
				if met && end(list[i]) != end(list[j]) {
					parted[key] = true
				}
			}
		}
	}
	return parted
}

// key tells events of one customer apart.
func (e *refEvent) key() string {
	h := e.header
	claimed := "none"
	if h.ClaimedAt != nil {
		claimed = fmt.Sprint(*h.ClaimedAt)
	}
	return fmt.Sprintf("%s|%q|%q|%v|%v", h.Source, h.EventId, claimed, h.Role, h.Type)
}

// facts folds a group: the events that nothing takes back.
func (r *reference) facts(group []refEvent) (*statev1.Facts, error) {
	f, rows := &statev1.Facts{}, refRows{}
	for i := range group {
		e := &group[i]
		if !stands(group, e) {
			continue
		}
		if err := profile.Apply(f, profile.Event{Header: e.header, RecordedAt: e.recordedAt, Body: e.body}, rows, r.env); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// stands reports whether an event of a group counts: it is not voided, nothing
// that counts corrects it, and if it is a correction it is the greatest.
func stands(group []refEvent, e *refEvent) bool {
	if e.voids() != "" {
		return true
	}
	if isVoided(group, e) || bestCorrection(group, e.header.Source, e.header.EventId, e.part()) != nil {
		return false
	}
	if root := e.corrects(); root != "" {
		return bestCorrection(group, e.header.Source, root, e.part()) == e
	}
	return true
}

// voids is the event that a void names, "" if it is none.
func (e *refEvent) voids() string {
	if e.header.Type != eventsv1.Type_TYPE_EVENT_VOIDED {
		return ""
	}
	return e.body.GetVoid().GetEventId()
}

// corrects is the event that a correction is of, "" if it is none.
func (e *refEvent) corrects() string {
	if e.header.Corrects == e.header.EventId {
		return ""
	}
	return e.header.Corrects
}

// part is that of a subject, or of a company, for which a correction stands in
// place of the event.
func (e *refEvent) part() logv1.Role {
	if e.header.Role == logv1.Role_ROLE_COMPANY {
		return logv1.Role_ROLE_SUBJECT
	}
	return e.header.Role
}

func isVoided(group []refEvent, e *refEvent) bool {
	return slices.ContainsFunc(group, func(v refEvent) bool {
		if v.voids() != e.header.EventId || v.header.Source != e.header.Source || v.header.EventId == e.header.EventId {
			return false
		}
		at := v.body.GetVoid().GetTime()
		return at == nil || e.header.ClaimedAt != nil && events.Micros(at.AsTime()) == *e.header.ClaimedAt
	})
}

// bestCorrection is the greatest correction of an event that counts, in a part.
func bestCorrection(group []refEvent, source, of string, part logv1.Role) *refEvent {
	var best *refEvent
	for i := range group {
		c := &group[i]
		if c.corrects() != of || c.voids() != "" || c.header.Source != source || c.part() != part || isVoided(group, c) {
			continue
		}
		if best == nil || compareRank(c, best) > 0 {
			best = c
		}
	}
	return best
}

func compareRank(a, b *refEvent) int {
	stamp := func(e *refEvent) *statev1.Stamp { return profile.StampOf(profile.Event{Header: e.header}) }
	issued := func(e *refEvent) int64 {
		return events.IssuedAt(e.header.IssuedAt, e.header.ClaimedAt, e.header.OccurredAt)
	}
	return cmp.Or(cmp.Compare(issued(a), issued(b)), cmp.Compare(a.header.EventId, b.header.EventId), profile.CompareStamps(stamp(a), stamp(b)))
}

// refRows are entity rows in a map.
type refRows map[string][]byte

func (r refRows) Get(kind profile.RowKind, id []byte) ([]byte, error) {
	return r[string(byte(kind))+string(id)], nil
}

func (r refRows) Put(kind profile.RowKind, id []byte, value []byte) {
	r[string(byte(kind))+string(id)] = value
}

func (r refRows) Scan(kind profile.RowKind, fn func(id, value []byte) error) error {
	for _, key := range slices.Sorted(maps.Keys(r)) {
		if rest, ok := strings.CutPrefix(key, string(byte(kind))); ok && r[key] != nil {
			if err := fn([]byte(rest), r[key]); err != nil {
				return err
			}
		}
	}
	return nil
}

// becomes says who every customer that lost a merge is part of now, by the
// rules alone.
func (r *reference) becomes() map[events.CustomerID]events.CustomerID {
	into := map[events.CustomerID]events.CustomerID{}
	for _, rule := range r.rules {
		switch {
		case rule.merged != nil:
			into[rule.of()] = events.CustomerID(rule.merged.Winner)
		case rule.split.Undoes != 0:
			delete(into, events.CustomerID(rule.split.To))
		}
	}
	return into
}

// root is who a customer is now.
func root(into map[events.CustomerID]events.CustomerID, c events.CustomerID) events.CustomerID {
	for {
		next, ok := into[c]
		if !ok {
			return c
		}
		c = next
	}
}

// refCustomer is what is compared of a customer.
type refCustomer struct {
	Digest string
	Events []string // keys of his history
}

// customers are all who have a history.
func (r *reference) customers(t testing.TB, kept func(c events.CustomerID, key string) (recordedAt int64, ok bool)) map[string]refCustomer {
	t.Helper()
	all := map[string]refCustomer{}
	for c, group := range r.groups(kept) {
		f, err := r.facts(group)
		if err != nil {
			t.Fatal(err)
		}
		told := refCustomer{Digest: digestOf(f)}
		for i := range group {
			told.Events = append(told.Events, group[i].key())
		}
		all[c.String()] = told
	}
	return all
}

func digestOf(f *statev1.Facts) string {
	sum := profile.Digest(f)
	return hex.EncodeToString(sum[:])
}

// entryKey is the key of a refEvent as an entry of a history tells it.
func entryKey(e *statev1.Entry) string {
	return (&refEvent{header: &logv1.Header{Source: e.Source, EventId: e.EventId, ClaimedAt: e.ClaimedAt, Role: e.Role, Type: e.Type}}).key()
}
