package directory

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/dossier360/dossier/events"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// MaxMemberships bounds the joinings kept of a person: the newest ones. What
// happened before the oldest kept counts as its company's.
const MaxMemberships = 16

// Joining says that a person belongs to a company from an instant on, or to
// none.
type Joining struct {
	Person events.CustomerID
	Membership
	// By is the identifier that names the company, if it is known: of companies
	// that were merged the person joins the one whose it was, and stays with that
	// one when the merge is undone.
	By Hash
	// Left is the company that the person leaves by it, zero if that was not
	// told. It changes nothing if the person belongs to another one by then:
	// also by a joining that is recorded in the same call.
	Left events.CustomerID
}

// decide says what has to be logged for a joining: nothing if it tells nothing
// new, neither by what the rows say nor by whom the companies have become.
func (j *Joining) decide(g graph) ([]*logv1.Decision, error) {
	now := Joining{Membership: Membership{Since: j.Since}}
	for _, id := range []struct{ is, was *events.CustomerID }{
		{&now.Person, &j.Person}, {&now.Company, &j.Company}, {&now.Left, &j.Left},
	} {
		var err error
		if *id.is, err = rootOf(g, *id.was); err != nil {
			return nil, err
		}
	}
	row, err := now.row(g, j.By)
	if err != nil {
		return nil, err
	}
	told, err := g.memberships(now.Person)
	if err != nil {
		return nil, err
	}
	news, err := told.newsOf(g, &now, row)
	if err != nil {
		return nil, err
	}
	if !news {
		// What another told who became him is news of himself: it is all that he
		// keeps when that merge is undone.
		own, ok, err := ownJoinings(g, now.Person)
		if err != nil || !ok {
			return nil, err
		}
		if news, err = own.newsOf(g, &now, row); err != nil || !news {
			return nil, err
		}
	}
	d := &logv1.Joined{Person: now.Person[:], Since: row.Since}
	if row.Company != (events.CustomerID{}) {
		d.Company = row.Company[:]
	}
	return []*logv1.Decision{{Decision: &logv1.Decision_Joined{Joined: d}}}, nil
}

// row is what is kept of a joining: the company as whose the identifier that
// named it was told first.
func (j *Joining) row(g graph, by Hash) (Membership, error) {
	row := j.Membership
	if row.Company == (events.CustomerID{}) || by == (Hash{}) {
		return row, nil
	}
	company, b, ok, err := named(g, by)
	if ok && company == row.Company {
		row.Company = b.origin
	}
	return row, err
}

// Membership is one entry of a person's history.
type Membership struct {
	Since   int64             // microseconds
	Company events.CustomerID // zero: none
	// Told is the company as it was told, if that became another one since.
	Told events.CustomerID
}

// Memberships are the joinings recorded of a person: by Since, which no two
// share. A person belongs to one company at a time. It is not to be changed.
type Memberships []Membership

// index is where an instant stands: the number of joinings up to and including
// it.
func (m Memberships) index(at int64) int {
	i, found := slices.BinarySearchFunc(m, at, func(e Membership, at int64) int { return cmp.Compare(e.Since, at) })
	if found {
		i++
	}
	return i
}

// At is the membership by which the person belongs to a company at an instant:
// the latest joining up to it, before the first one the first.
func (m Memberships) At(at int64) (Membership, bool) {
	if len(m) == 0 {
		return Membership{}, false
	}
	of := m[max(m.index(at)-1, 0)]
	return of, of.Company != (events.CustomerID{})
}

// Before is the latest joining strictly before an instant. It is not changed by
// recording a joining of that instant: an event that is sent again is told the
// same.
func (m Memberships) Before(at int64) (Membership, bool) {
	i := m.index(at - 1)
	if i == 0 {
		return Membership{}, false
	}
	return m[i-1], true
}

// Until is when the person who joined a company at an instant belonged to
// another one, or to none.
func (m Memberships) Until(at int64, company events.CustomerID) (int64, bool) {
	for _, e := range m[m.index(at-1):] {
		if e.Company != company {
			return e.Since, true
		}
	}
	return 0, false
}

// with is the history with one more entry. The result is a function of the set
// of entries told: of two of one instant the greater company stands, and the
// newest entries stay. So folding an entry again changes nothing.
func (m Memberships) with(told Membership) Memberships {
	i := m.index(told.Since - 1)
	if i < len(m) && m[i].Since == told.Since {
		if m[i].Company.Compare(told.Company) >= 0 {
			return m
		}
		m = slices.Clone(m)
		m[i] = told
		return m
	}
	m = slices.Insert(slices.Clip(m), i, told)
	return m[max(0, len(m)-MaxMemberships):]
}

// changedBy reports whether an entry tells anything new: one that repeats the
// company of the entry before it does not, and would cost a decision each time
// that a tracker tells the company anew.
func (m Memberships) changedBy(told Membership) bool {
	i := m.index(told.Since)
	if i > 0 && m[i-1].Company == told.Company {
		return false
	}
	if i > 0 && m[i-1].Since == told.Since {
		return m[i-1].Company.Compare(told.Company) < 0
	}
	return i > 0 || len(m) < MaxMemberships
}

// news reports whether a joining tells anything new.
func (m Memberships) news(j *Joining) bool {
	if j.Left != (events.CustomerID{}) {
		if before, ok := m.Before(j.Since); ok && before.Company != j.Left {
			return false
		}
	}
	return m.changedBy(j.Membership)
}

// newsOf reports whether a joining tells anything new, by whom the companies
// have become and as its row would say.
func (m Memberships) newsOf(g graph, now *Joining, row Membership) (bool, error) {
	today, err := m.today(g)
	return today.news(now) && m.changedBy(row), err
}

// ownJoinings are those of a customer without those of who was merged into him;
// false if these have none.
func ownJoinings(g graph, c events.CustomerID) (Memberships, bool, error) {
	v, err := g.row(ownGroup, string(c[:]))
	if len(v) == 0 || err != nil {
		return nil, false, err
	}
	m, err := decodeMemberships(v[1:])
	return m, err == nil, err
}

// encodeOwn has a first byte, for a row that is empty is none.
func (m Memberships) encodeOwn() []byte { return append([]byte{1}, m.encode()...) }

// Memberships are the joinings recorded of a person, as far as the directory
// has folded. Where nobody ever joined a company it costs nothing.
func (d *Directory) Memberships(person events.CustomerID) (Memberships, error) {
	if d.joinings.Load() == 0 {
		return nil, nil
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	s := &snapshot{d: d}
	defer s.close()
	root, err := rootOf(s, person)
	if err != nil {
		return nil, err
	}
	m, err := s.memberships(root)
	if err != nil {
		return nil, err
	}
	return m.today(s)
}

// today is the history with every company by whom it has become. The ids that
// were told stay in the rows: a merge of companies may be undone.
func (m Memberships) today(g graph) (Memberships, error) {
	now := m
	for i, told := range m {
		root, err := rootOf(g, told.Company)
		if err != nil {
			return nil, err
		}
		if root == told.Company {
			continue
		}
		if &now[0] == &m[0] {
			now = slices.Clone(m)
		}
		now[i].Company, now[i].Told = root, told.Company
	}
	return now, nil
}

// Company is the company to which a person belongs at an instant, in
// microseconds, by the joinings recorded: see [Memberships.At].
func (d *Directory) Company(person events.CustomerID, at int64) (events.CustomerID, bool, error) {
	m, err := d.Memberships(person)
	if err != nil {
		return events.CustomerID{}, false, err
	}
	of, ok := m.At(at)
	return of.Company, ok, nil
}

// Kind is what a customer is; a customer whom the directory does not know is
// taken for a person.
func (d *Directory) Kind(c events.CustomerID) (logv1.CustomerKind, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	s := &snapshot{d: d}
	defer s.close()
	row, _, err := s.customer(c)
	return row.kind, err
}

// Join records joinings, those of one person in the order of time, whatever
// their order here. One that tells nothing new is not recorded. When it returns
// nil all are durable. The errors are those of [Directory.Resolve].
func (d *Directory) Join(ctx context.Context, joinings []Joining) error {
	joinings = slices.Clone(joinings)
	slices.SortStableFunc(joinings, func(a, b Joining) int { return cmp.Compare(a.Since, b.Since) })
	c := &call{done: make(chan struct{}), left: len(joinings)}
	items := make([]item, len(joinings))
	for i := range joinings {
		items[i] = item{joining: &joinings[i], call: c}
	}
	changed, err := d.changedBy(items)
	if err != nil || !changed {
		return err
	}
	return d.enqueue(ctx, c, items)
}

// changedBy reports whether anything has to be decided.
func (d *Directory) changedBy(items []item) (bool, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if err := d.readyLocked(); err != nil {
		return false, err
	}
	s := &snapshot{d: d}
	defer s.close()
	for _, i := range items {
		// The first that changes anything changes what the others meet.
		step, err := i.next(s, nil)
		if err != nil || len(step.bind) > 0 {
			return true, err
		}
	}
	return false, nil
}

func (s *snapshot) memberships(person events.CustomerID) (Memberships, error) {
	if m, ok := s.d.pending.joinings[person]; ok {
		return m, nil
	}
	if s.d.committing != nil {
		if m, ok := s.d.committing.joinings[person]; ok {
			return m, nil
		}
	}
	if s.d.st == nil {
		return nil, fmt.Errorf("%w: no store", ErrNotReady)
	}
	if m, ok := s.d.companies.get(person); ok {
		return m, nil
	}
	v, err := s.get(joiningsKey(person))
	if err != nil {
		return nil, err
	}
	m, err := decodeMemberships(v)
	if err != nil {
		return nil, err
	}
	s.d.companies.put(person, m)
	return m, nil
}
