package identity

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest/directory"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	"github.com/dossier360/dossier/query"
)

// Bounds of what people give with an order, in characters.
const (
	MaxReasonCharacters = 1_000
	MaxActorCharacters  = 200
)

// Link implements queryv1connect.IdentityServiceHandler.
func (s *service) Link(ctx context.Context, req *queryv1.LinkRequest) (*queryv1.IdentityAnswer, error) {
	cause, err := causeOf(req)
	if err != nil {
		return nil, err
	}
	ids, err := s.identify("identifiers", req.GetIdentifiers(), 2)
	if err != nil {
		return nil, err
	}
	o := directory.LinkOrder{Identifiers: ids, Cause: cause, DryRun: req.GetDryRun()}
	outcome, err := s.directory.Link(ctx, o)
	if err != nil {
		return nil, err
	}
	named, err := s.named(ids)
	if err != nil {
		return nil, err
	}
	return s.answer(ctx, ordered{outcome, req.GetDryRun(), named, s.clear(ids...)})
}

// Merge implements queryv1connect.IdentityServiceHandler.
func (s *service) Merge(ctx context.Context, req *queryv1.MergeRequest) (*queryv1.IdentityAnswer, error) {
	cause, err := causeOf(req)
	if err != nil {
		return nil, err
	}
	if cause.Rule, err = ruleOf(req.GetRule()); err != nil {
		return nil, err
	}
	customers, err := s.find("customers", req.GetCustomers(), 2, directory.MaxOrder)
	if err != nil {
		return nil, err
	}
	outcome, err := s.directory.Merge(ctx, directory.MergeOrder{Customers: customers, Cause: cause, DryRun: req.GetDryRun()})
	if err != nil {
		return nil, err
	}
	return s.answer(ctx, ordered{outcome, req.GetDryRun(), customers, s.clear()})
}

// Split implements queryv1connect.IdentityServiceHandler.
func (s *service) Split(ctx context.Context, req *queryv1.SplitRequest) (*queryv1.IdentityAnswer, error) {
	cause, err := causeOf(req)
	if err != nil {
		return nil, err
	}
	o := directory.SplitOrder{Undo: req.GetUndo(), Cause: cause, DryRun: req.GetDryRun()}
	var about []events.CustomerID
	switch named := req.GetCustomer() != "" || len(req.GetIdentifiers()) > 0; {
	case o.Undo > 0 && named:
		return nil, query.Invalid("undo: %d beside a customer or identifiers; either the one or the others wanted", o.Undo)
	case o.Undo == 0 && !named:
		return nil, query.Invalid("undo: 0; the id of a merge wanted, or a customer and identifiers of his")
	case named:
		if o.Customer, err = s.customers.Find(req.GetCustomer()); err != nil {
			return nil, err
		}
		if o.Identifiers, err = s.identify("identifiers", req.GetIdentifiers(), 1); err != nil {
			return nil, err
		}
		about = []events.CustomerID{o.Customer}
	}
	outcome, err := s.directory.Split(ctx, o)
	if err != nil {
		return nil, err
	}
	return s.answer(ctx, ordered{outcome, req.GetDryRun(), about, s.clear(o.Identifiers...)})
}

// KeepApart implements queryv1connect.IdentityServiceHandler.
func (s *service) KeepApart(ctx context.Context, req *queryv1.KeepApartRequest) (*queryv1.IdentityAnswer, error) {
	cause, err := causeOf(req)
	if err != nil {
		return nil, err
	}
	two, err := s.find("customers", req.GetCustomers(), 2, 2)
	if err != nil {
		return nil, err
	}
	outcome, err := s.directory.KeepApart(ctx, directory.ApartOrder{A: two[0], B: two[1], Cause: cause, DryRun: req.GetDryRun()})
	if err != nil {
		return nil, err
	}
	return s.answer(ctx, ordered{outcome, req.GetDryRun(), two, s.clear()})
}

// Block implements queryv1connect.IdentityServiceHandler.
func (s *service) Block(ctx context.Context, req *queryv1.BlockRequest) (*queryv1.IdentityAnswer, error) {
	cause, err := causeOf(req)
	if err != nil {
		return nil, err
	}
	ids, err := s.identify("identifier", []string{req.GetIdentifier()}, 1)
	if err != nil {
		return nil, err
	}
	named, err := s.named(ids)
	if err != nil {
		return nil, err
	}
	o := directory.BlockOrder{Identifier: ids[0], Release: req.GetRelease(), Cause: cause, DryRun: req.GetDryRun()}
	outcome, err := s.directory.Block(ctx, o)
	if err != nil {
		return nil, err
	}
	return s.answer(ctx, ordered{outcome, req.GetDryRun(), named, s.clear(ids...)})
}

// ResolveConflict implements queryv1connect.IdentityServiceHandler.
func (s *service) ResolveConflict(ctx context.Context, req *queryv1.ResolveConflictRequest) (*queryv1.IdentityAnswer, error) {
	cause, err := causeOf(req)
	if err != nil {
		return nil, err
	}
	conflict, err := s.directory.Conflict(req.GetId())
	if err != nil {
		return nil, err
	}
	two, err := bothOf(conflict)
	if err != nil {
		return nil, err
	}
	o := directory.ResolveOrder{Conflict: req.GetId(), Approve: req.GetApprove(), Cause: cause, DryRun: req.GetDryRun()}
	outcome, err := s.directory.ResolveConflict(ctx, o)
	if err != nil {
		return nil, err
	}
	return s.answer(ctx, ordered{outcome, req.GetDryRun(), two, s.clear()})
}

// order is what every request for a change has.
type order interface {
	GetReason() string
	GetActor() string
	GetDryRun() bool
}

// causeOf reads who orders something and why. What is only tried out needs no
// reason.
func causeOf(o order) (directory.Cause, error) {
	cause := directory.Cause{Reason: strings.TrimSpace(o.GetReason()), Actor: strings.TrimSpace(o.GetActor())}
	for _, field := range []struct {
		name, text string
		limit      int
	}{{"reason", cause.Reason, MaxReasonCharacters}, {"actor", cause.Actor, MaxActorCharacters}} {
		if field.text == "" && !o.GetDryRun() {
			return cause, query.Invalid("%s: empty; every change wants a reason, and who makes it", field.name)
		}
		if n := utf8.RuneCountInString(field.text); n > field.limit {
			return cause, query.Invalid("%s: %d characters, limit %d", field.name, n, field.limit)
		}
	}
	return cause, nil
}

func ruleOf(rule string) (string, error) {
	if rule != "" && rule != "manual" && rule != "suspect" {
		return "", query.Invalid(`rule: %.60q; "manual" or "suspect" wanted`, rule)
	}
	return rule, nil
}

// find finds the customers of a list of references, from least to most of them.
func (s *service) find(field string, references []string, least, most int) ([]events.CustomerID, error) {
	if n := len(references); n < least || n > most {
		return nil, query.Invalid("%s: %d given, %s wanted", field, n, span(least, most))
	}
	found := make([]events.CustomerID, len(references))
	for i, reference := range references {
		var err error
		if found[i], err = s.customers.Find(reference); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// identify reads a list of identifiers, from least to directory.MaxOrder of them.
func (s *service) identify(field string, references []string, least int) ([]directory.Identifier, error) {
	if n := len(references); n < least || n > directory.MaxOrder {
		return nil, query.Invalid("%s: %d given, %s wanted", field, n, span(least, directory.MaxOrder))
	}
	ids := make([]directory.Identifier, len(references))
	for i, reference := range references {
		typ, value, err := s.customers.Identifier(field, reference)
		if err != nil {
			return nil, err
		}
		if ids[i], err = s.directory.Identify(typ, value); err != nil {
			return nil, fmt.Errorf("%s: %w", field, s.customers.Explain(typ, value, err))
		}
	}
	return ids, nil
}

func span(least, most int) string {
	if least == most {
		return fmt.Sprint(least)
	}
	return fmt.Sprintf("%d to %d", least, most)
}

// named are the customers that identifiers name.
func (s *service) named(ids []directory.Identifier) ([]events.CustomerID, error) {
	var customers []events.CustomerID
	for _, id := range ids {
		c, known, err := s.directory.LookupHash(id.Hash)
		if err != nil {
			return nil, err
		}
		if known && !slices.Contains(customers, c) {
			customers = append(customers, c)
		}
	}
	return customers, nil
}

// ordered is an order and what it came to.
type ordered struct {
	directory.Outcome
	dry   bool
	about []events.CustomerID // whom it named
	clear *clear
}

// answer shows what an order came to, or would.
func (s *service) answer(ctx context.Context, o ordered) (*queryv1.IdentityAnswer, error) {
	answer := &queryv1.IdentityAnswer{DryRun: o.dry}
	if !o.dry && o.At > 0 {
		answer.Receipt = s.formatReceipt(map[int]uint64{query.ReceiptIdentity: o.At})
	}
	for _, d := range o.Decisions {
		if err := o.clear.learn(d.From, d.To); err != nil {
			return nil, s.late(o, err)
		}
		answer.Decisions = append(answer.Decisions, o.show(d))
	}
	var err error
	if o.dry {
		answer.Profiles, err = s.wouldBe(ctx, o)
	} else {
		answer.Profiles, err = s.are(o)
	}
	if err != nil {
		return nil, s.late(o, err)
	}
	return answer, nil
}

// late says of an error that came after a change that the change is made.
func (s *service) late(o ordered, err error) error {
	if o.dry || len(o.Decisions) == 0 {
		return err
	}
	return fmt.Errorf("done, and cannot be shown: %w", err)
}

func (o ordered) show(d directory.Decided) *queryv1.IdentityDecision {
	shown := &queryv1.IdentityDecision{Id: d.Seq, Kind: string(d.Kind), Identifiers: o.clear.show(d.Identifiers)}
	if !d.From.IsZero() {
		shown.From = d.From.String()
	}
	if !d.To.IsZero() {
		shown.To = d.To.String()
	}
	return shown
}

// are shows everybody whom an order is about as he is now.
func (s *service) are(o ordered) ([]*queryv1.Profile, error) {
	involved := slices.Clone(o.about)
	for _, d := range o.Decisions {
		involved = append(involved, d.To, d.From)
	}
	return s.show(involved)
}

// show shows customers as they are now, each once.
func (s *service) show(customers []events.CustomerID) ([]*queryv1.Profile, error) {
	var shown []*queryv1.Profile
	met := map[events.CustomerID]bool{}
	for _, c := range customers {
		if c.IsZero() {
			continue
		}
		root, err := s.directory.Root(c)
		if err != nil {
			return nil, err
		}
		if met[root] {
			continue
		}
		met[root] = true
		kind, err := s.directory.Kind(root)
		if err != nil {
			return nil, err
		}
		p, err := s.customers.Show(root, kind)
		if err != nil {
			return nil, err
		}
		shown = append(shown, p)
	}
	return shown, nil
}

// wouldBe shows everybody whom an order is about as he would be.
func (s *service) wouldBe(ctx context.Context, o ordered) ([]*queryv1.Profile, error) {
	if i := slices.IndexFunc(o.Decisions, func(d directory.Decided) bool { return d.Kind == directory.DecidedSplit }); i >= 0 {
		d := o.Decisions[i]
		return s.sketchApart(ctx, splitOf(d), d.From, d.To)
	}
	groups, single := groupsOf(o)
	var shown []*queryv1.Profile
	for _, winner := range slices.SortedFunc(maps.Keys(groups), events.CustomerID.Compare) {
		p, err := s.sketchTogether(ctx, winner, groups[winner])
		if err != nil {
			return nil, err
		}
		shown = append(shown, p)
	}
	others, err := s.show(single)
	return append(shown, others...), err
}

// splitOf is the rule that a decision would be.
func splitOf(d directory.Decided) *logv1.Split {
	hashes := make([][]byte, len(d.Identifiers))
	for i, id := range d.Identifiers {
		hashes[i] = id.GetHash()
	}
	slices.SortFunc(hashes, bytes.Compare)
	return &logv1.Split{From: d.From[:], To: d.To[:], Hashes: slices.Concat(hashes...), Undoes: d.Undoes}
}

// groupsOf finds who would become one by the merges of an order, by the winner,
// and whom else it is about.
func groupsOf(o ordered) (groups map[events.CustomerID][]events.CustomerID, single []events.CustomerID) {
	became := map[events.CustomerID]events.CustomerID{}
	var involved []events.CustomerID
	for _, d := range o.Decisions {
		if d.Kind == directory.DecidedMerged {
			became[d.From] = d.To
			involved = append(involved, d.From, d.To)
		}
	}
	groups = map[events.CustomerID][]events.CustomerID{}
	for _, c := range involved {
		root := c
		for became[root] != (events.CustomerID{}) {
			root = became[root]
		}
		if !slices.Contains(groups[root], c) {
			groups[root] = append(groups[root], c)
		}
	}
	for _, c := range o.about {
		if !slices.Contains(involved, c) {
			single = append(single, c)
		}
	}
	return groups, single
}
