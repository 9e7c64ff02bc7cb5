package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest/directory"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// address finds every customer to whom the events of a batch go. What has to be
// decided for it is durable when it returns: whose new identifiers are, and who
// belongs to which company from when on. All joinings of the batch are recorded
// before any event of it is asked for its company.
func (g *Gateway) address(ctx context.Context, items []item) error {
	if err := g.resolve(ctx, items); err != nil {
		return notTaken(err)
	}
	if err := g.join(ctx, items); err != nil {
		return notTaken(err)
	}
	for i := range items {
		if it := &items[i]; it.refused == nil {
			if err := g.rollUp(it); err != nil {
				return notTaken(err)
			}
		}
	}
	asked := &askedCopies{ask: g.o.Copies, known: map[eventKey]Copies{}}
	for _, it := range takingBack(items) {
		if err := g.takeBack(ctx, it, asked); err != nil {
			return notTaken(err)
		}
	}
	return nil
}

// takingBack are the items that take something back, in the order in which they
// are addressed: corrections by rank, for a greater one must reach whom a lesser
// one of the same batch went to; and voids last, for what they name may stand in
// the batch too.
func takingBack(items []item) []*item {
	var taking []*item
	for i := range items {
		if it := &items[i]; it.refused == nil && it.takesBack() {
			taking = append(taking, it)
		}
	}
	slices.SortStableFunc(taking, func(a, b *item) int {
		switch {
		case a.voids == nil && b.voids != nil:
			return -1
		case a.voids != nil && b.voids == nil:
			return 1
		}
		return cmp.Or(cmp.Compare(a.issuedAt(), b.issuedAt()), cmp.Compare(a.id, b.id))
	})
	return taking
}

// notTaken makes an error of the directory one of [Gateway.Accept].
func notTaken(err error) error {
	switch {
	case errors.Is(err, directory.ErrOverload), errors.Is(err, events.ErrOverload):
		return fmt.Errorf("%w: %w", ErrOverload, err)
	case errors.Is(err, events.ErrFull):
		return fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	return fmt.Errorf("%w: %w", ErrNotReady, err)
}

// resolve finds the customers that the events name.
func (g *Gateway) resolve(ctx context.Context, items []item) error {
	requests := requestsOf(items)
	if len(requests) == 0 {
		return nil
	}
	merged := g.o.Directory.Merged()
	addresses, err := g.o.Directory.Resolve(ctx, requests)
	if err != nil {
		return err
	}
	for i := range items {
		it := &items[i]
		if it.refused != nil {
			continue
		}
		for n := range it.parties() {
			it.party(n).address, addresses = addresses[0], addresses[1:]
		}
		it.dropBlocked(i)
	}
	if g.o.Directory.Merged() == merged {
		return nil
	}
	return g.follow(items)
}

// follow addresses those who became others meanwhile, by what later events of the
// batch came to, as who they are now, by those merges. An event would get there
// anyway, sent on from where it was addressed; but the call's receipt would not
// know of that.
func (g *Gateway) follow(items []item) error {
	for p := range resolved(items) {
		a := &p.address
		merges, err := g.o.Directory.Trail(a.Customer)
		if err != nil {
			return err
		}
		if len(merges) == 0 {
			continue
		}
		if a.Customer, err = g.o.Directory.Root(a.Customer); err != nil {
			return err
		}
		a.At, p.trail = max(a.At, slices.Max(merges)), merges
	}
	return nil
}

// resolved are the parties of the events that are not refused.
func resolved(items []item) iter.Seq[*party] {
	return func(yield func(*party) bool) {
		for i := range items {
			for n := range items[i].parties() {
				if items[i].refused == nil && !yield(items[i].party(n)) {
					return
				}
			}
		}
	}
}

// dropBlocked leaves out the parties whose names were all blocked by hand, as one
// that names nobody is. The event is refused that has no subject without it, and
// that which joins nobody.
func (it *item) dropBlocked(index int) {
	for n := range it.parties() {
		p := it.party(n)
		joined := p.role == companyRole && it.typ == eventsv1.Type_TYPE_GROUP_JOINED
		if p.address.Blocked && (n == 0 || joined) {
			id := &p.identifiers[0]
			it.refused = Refuse(CodeBlockedID, id.Type, "", id.Type+" "+Shown(id.Value)+" is blocked: it names nobody")
			it.refused.Index = index
			if !it.minted {
				it.refused.MessageID = it.id
			}
			return
		}
	}
	it.others = slices.DeleteFunc(it.others, func(o party) bool { return o.address.Blocked })
}

// requestsOf asks for every party of the events that are not refused, in order.
func requestsOf(items []item) []directory.Request {
	requests := make([]directory.Request, 0, len(items))
	for i := range items {
		it := &items[i]
		if it.refused != nil {
			continue
		}
		for n := range it.parties() {
			ids := it.party(n).identifiers
			requests = append(requests, directory.Request{
				Identifiers: ids, Kind: ids[0].Kind(), Source: it.source, EventID: it.id, Force: it.force && n == 0,
			})
		}
	}
	return requests
}

// join records which company the persons of a batch joined or left.
func (g *Gateway) join(ctx context.Context, items []item) error {
	var joinings []directory.Joining
	for i := range items {
		it := &items[i]
		if it.refused != nil || !it.ofPerson() {
			continue
		}
		told := directory.Joining{Person: it.subject.address.Customer, Membership: directory.Membership{Since: it.times.occurred}}
		switch named := it.company(); {
		case it.typ == eventsv1.Type_TYPE_GROUP_JOINED && named != nil:
			told.Company = named.address.Customer
			if id := named.surest(); id != nil {
				told.By = id.Hash
			}
		case it.typ == eventsv1.Type_TYPE_GROUP_LEFT && named != nil:
			told.Left = named.address.Customer
		case it.typ == eventsv1.Type_TYPE_GROUP_LEFT:
		default:
			continue
		}
		joinings = append(joinings, told)
	}
	if len(joinings) == 0 {
		return nil
	}
	return g.o.Directory.Join(ctx, joinings)
}

// ofPerson reports whether the subject is a person.
func (it *item) ofPerson() bool { return it.subject.address.Kind != company }

// company is the company that the event of a person names; nil if none.
func (it *item) company() *party {
	if len(it.others) > 0 && it.others[0].role == companyRole {
		return &it.others[0]
	}
	return nil
}

// rollUp adds the companies that the event of a person is about without naming
// them, and says of those it names what only the joinings tell.
func (g *Gateway) rollUp(it *item) error {
	if len(it.others) > 0 && !it.minted && !it.takesBack() {
		g.holders.note(it) // the others are found by who the subject is
	}
	if !it.ofPerson() || it.voids != nil {
		return nil // a void goes where what it names went
	}
	m, err := g.o.Directory.Memberships(it.subject.address.Customer)
	if err != nil {
		return err
	}
	occurred, named := it.times.occurred, it.company()
	switch {
	case it.typ == eventsv1.Type_TYPE_GROUP_JOINED && named != nil:
		if until, ok := m.Until(occurred, named.address.Customer); ok {
			named.until = &until
		}
		// As of now: a call before may have merged it.
		joined, err := g.o.Directory.Root(named.address.Customer)
		if err != nil {
			return err
		}
		if left, ok := m.Before(occurred); ok && left.Company != joined {
			return g.addMembership(it, left, party{leaves: true})
		}
	case it.typ == eventsv1.Type_TYPE_GROUP_LEFT && named != nil:
		named.leaves = true
	case it.typ == eventsv1.Type_TYPE_GROUP_LEFT:
		if left, ok := m.Before(occurred); ok {
			return g.addMembership(it, left, party{leaves: true})
		}
	case named == nil:
		if of, ok := m.At(occurred); ok {
			return g.addMembership(it, of, party{})
		}
	}
	return nil
}

func (it *item) takesBack() bool { return it.voids != nil || it.corrects != "" }

// takeBack adds everyone who may hold a copy of what the event takes back: those
// who are known to hold one, and every company of the person, for the event may
// come yet, or was sent again after a membership changed. The latter first: they
// know by which merges a copy came to its company. A void where there is
// nothing to be voided does no harm. A correction counts where it is addressed
// to, and only withdraws elsewhere; one that another outranks already counts
// nowhere, and the others need not have been told of that one.
func (g *Gateway) takeBack(ctx context.Context, it *item, asked *askedCopies) error {
	subject := it.subject.address.Customer
	what := party{withdraws: it.voids == nil}
	found, err := asked.copies(ctx, subject, it)
	if err != nil {
		return err
	}
	if it.voids == nil && it.outranked(found) {
		for i := range it.others {
			it.others[i].withdraws = true
		}
	}
	recent, err := g.recentHolders(subject, it)
	if err != nil {
		return err
	}
	if it.ofPerson() {
		memberships, err := g.o.Directory.Memberships(subject)
		if err != nil {
			return err
		}
		may := what
		may.held = found.Cut // then nobody can tell
		for _, m := range memberships {
			if err := g.addMembership(it, m, may); err != nil {
				return err
			}
		}
	}
	for _, c := range slices.Concat(recent, found.Holders) {
		if err := g.addHolder(it, c, what); err != nil {
			return err
		}
	}
	if len(it.others) > 0 && !it.minted {
		g.holders.note(it) // a void of the correction goes there too
	}
	return nil
}

// target is the id of the event that is taken back.
func (it *item) target() string {
	if it.voids != nil {
		return it.voids.id
	}
	return it.corrects
}

// outranked reports whether another correction stands in place of this one.
func (it *item) outranked(by Copies) bool {
	return by.BestID != "" && cmp.Or(cmp.Compare(by.BestIssuedAt, it.issuedAt()), cmp.Compare(by.BestID, it.id)) > 0
}

// issuedAt is when a correction was issued.
func (it *item) issuedAt() int64 {
	return events.IssuedAt(it.times.issued, it.times.claimed, it.times.occurred)
}

// askedCopies asks for the copies of each event once in a call.
type askedCopies struct {
	ask   func(ctx context.Context, customer events.CustomerID, source, eventID string, claimed *int64) (Copies, error)
	known map[eventKey]Copies
}

func (a *askedCopies) copies(ctx context.Context, subject events.CustomerID, it *item) (Copies, error) {
	if a.ask == nil {
		return Copies{}, nil
	}
	var claimed *int64
	if it.voids != nil {
		claimed = it.voids.claimed
	}
	key := keyOf(subject, subjectRole, eventsv1.Type_TYPE_CUSTOM, it.source, it.target(), claimed)
	if c, ok := a.known[key]; ok {
		return c, nil
	}
	c, err := a.ask(ctx, subject, it.source, it.target(), claimed)
	if err != nil {
		return Copies{}, fmt.Errorf("find the copies of event %q of %q: %w", it.target(), it.source, err)
	}
	a.known[key] = c
	return c, nil
}

// recentHolders are those that were noted under the subject, or under an id that
// he had then.
func (g *Gateway) recentHolders(subject events.CustomerID, it *item) ([]*logv1.Copy, error) {
	copies := g.holders.of(subject, it.source, it.target())
	aliases, err := g.o.Directory.Aliases(subject)
	if err != nil {
		return nil, err
	}
	for _, alias := range aliases {
		copies = slices.Concat(copies, g.holders.of(alias, it.source, it.target()))
	}
	return copies, nil
}

// addHolder adds who holds a copy: whoever has become the customer that was
// given it, for that one's history has moved.
func (g *Gateway) addHolder(it *item, c *logv1.Copy, what party) error {
	if c.GetRole() == subjectRole {
		return nil // the subject itself
	}
	customer, err := events.CustomerIDFromBytes(c.GetCustomer())
	if err != nil {
		return fmt.Errorf("copy in role %v: %w", c.GetRole(), err)
	}
	if what.trail, err = g.o.Directory.Trail(customer); err != nil {
		return err
	}
	if customer, err = g.o.Directory.Root(customer); err != nil {
		return err
	}
	kind, err := g.o.Directory.Kind(customer)
	if err != nil {
		return err
	}
	if o := it.add(customer, kind, c.GetRole(), what); !c.GetWithdraws() {
		o.held = true
	}
	return nil
}

// addMembership adds the company that a person belongs to, in its role; none is
// no party. The copy names it by nothing but the merges by which it became what
// it is: undone, they take it back.
func (g *Gateway) addMembership(it *item, of directory.Membership, as party) (err error) {
	if of.Company == (events.CustomerID{}) {
		return nil
	}
	if of.Told != (events.CustomerID{}) {
		if as.trail, err = g.o.Directory.Trail(of.Told); err != nil {
			return err
		}
	}
	it.add(of.Company, company, companyRole, as)
	return nil
}

// add adds a customer in a role, once, and returns him.
func (it *item) add(customer events.CustomerID, kind logv1.CustomerKind, role logv1.Role, as party) *party {
	for i := range it.others {
		if o := &it.others[i]; o.role == role && o.address.Customer == customer {
			return o
		}
	}
	as.role = role
	as.address = directory.Address{Customer: customer, Kind: kind, At: it.subject.address.At}
	it.others = append(it.others, as)
	return &it.others[len(it.others)-1]
}
