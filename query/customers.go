package query

import (
	"context"
	"fmt"
	"slices"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections"
	"github.com/dossier360/dossier/projections/profile"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// Invalid is the refusal of a request that cannot be right at any time.
func Invalid(format string, args ...any) error { return refuse(errInvalid, format, args...) }

// Impossible is the refusal of what cannot be done as things stand.
func Impossible(format string, args ...any) error { return refuse(errPrecondition, format, args...) }

// Busy is the refusal of what others are doing as often as may be.
func Busy(format string, args ...any) error { return refuse(errBusy, format, args...) }

// NotFound is the refusal of a request for what there is not.
func NotFound(format string, args ...any) error {
	return refuse(projections.ErrNotFound, format, args...)
}

// Customers finds and shows customers as the query service does, for other
// services behind the same door. It is safe for concurrent use.
type Customers struct{ s *service }

// NewCustomers takes the options of [New]. Rejected, Log and Genesis are not
// used.
func NewCustomers(o Options) *Customers { return &Customers{newService(o)} }

// Find finds the customer that a reference names: who he is now. That he was
// told of by an id says not that there is one.
func (c *Customers) Find(reference string) (events.CustomerID, error) {
	id, _, err := c.s.resolve(reference)
	return id, err
}

// Identifier reads `<identifier type>:<value>`; field is what it is called in
// the request.
func (c *Customers) Identifier(field, reference string) (typ, value string, err error) {
	ref, err := parseReference(reference)
	if err != nil {
		return "", "", refuse(errInvalid, "%s: %v", field, err)
	}
	if ref.byCustomer {
		return "", "", refuse(errInvalid, "%s: %q is a customer id; <identifier type>:<value> (email:ann@example.com) wanted", field, reference)
	}
	return ref.typ, ref.value, nil
}

// Explain puts the directory's refusal of an identifier in the words of who
// asks.
func (c *Customers) Explain(typ, value string, err error) error {
	return reference{typ: typ, value: value, asWritten: typ + ":" + value}.explain(err)
}

// open opens a view of a customer's partition, unless that is being rebuilt:
// what it knows so far is not an answer.
func (c *Customers) open(id events.CustomerID) (View, error) {
	p := id.Partition(len(c.s.Partitions))
	v := c.s.Partitions[p].View()
	if status, applied := c.s.Partitions[p].Known(), v.Applied(); applied < status.Target {
		v.Close()
		return nil, rebuilding(p, applied, status)
	}
	return v, nil
}

// Outline is the head of a customer without his history, as of the last commit
// of his partition; nil if that holds nothing of him.
func (c *Customers) Outline(id events.CustomerID) (*statev1.Head, error) {
	v, err := c.open(id)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	head, err := v.Outline(id)
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read customer %s: %w", id, err)
	}
	return head, nil
}

// Show shows a customer as GetProfile does. Of one whom his partition does not
// hold there is nothing but the id and the kind.
func (c *Customers) Show(id events.CustomerID, kind logv1.CustomerKind) (*queryv1.Profile, error) {
	v, err := c.open(id)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	head, err := v.Outline(id)
	if isNotFound(err) {
		return &queryv1.Profile{CustomerId: id.String(), Kind: kindName(kind)}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read customer %s: %w", id, err)
	}
	p := render(id, head, v)
	return p, c.s.nameOthers(v, p, id, head, sections(nil).reads())
}

// Sketch shows facts that are no customer's, or not yet: nothing that the
// journal or the directory knows but who the others are that they name. It is
// shown with id, which may be zero.
func (c *Customers) Sketch(id events.CustomerID, kind logv1.CustomerKind, f *statev1.Facts) (*queryv1.Profile, error) {
	v, err := c.open(id)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	p := &queryv1.Profile{Kind: kindName(kind)}
	if !id.IsZero() {
		p.CustomerId = id.String()
	}
	profile.Render(f, v.Settled(), v.Env(), p)
	p.Flags = slices.DeleteFunc(p.Flags, func(f string) bool { return f == flagConflict })
	if err := c.s.nameCompanies(p); err != nil {
		return nil, err
	}
	return p, c.s.nameReferrer(p, id, f)
}

// Env is what the facts of all customers are folded with.
func (c *Customers) Env() (profile.Env, error) {
	v := c.s.Partitions[0].View()
	defer v.Close()
	if v.Env().Zone == nil {
		return profile.Env{}, refuse(projections.ErrCatchingUp, "partition 0 has no store yet; ask again shortly")
	}
	return v.Env(), nil
}

// Members reads the persons of whom a company was told; fn may end it with an
// error. ErrNotFound: the partition holds no such customer.
func (c *Customers) Members(ctx context.Context, company events.CustomerID, fn func(projections.Member) error) error {
	v, err := c.open(company)
	if err != nil {
		return err
	}
	defer v.Close()
	n := 0
	for m, err := range v.Members(company) {
		if err != nil {
			return fmt.Errorf("read the members of company %s: %w", company, err)
		}
		if n++; n%rowsPerLook == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := fn(m); err != nil {
			return err
		}
	}
	return nil
}

// Identifiers are those by which a customer was told of, as of the last commit
// of his partition; none if that holds nothing of him.
func (c *Customers) Identifiers(id events.CustomerID) ([]*statev1.IdentifierFact, error) {
	head, err := c.part(id, identifiersPart)
	return head.GetFacts().GetIdentifiers(), err
}

// Name is what to call a customer, "" if nothing is known.
func (c *Customers) Name(id events.CustomerID) (string, error) {
	head, err := c.part(id, namePart)
	return profile.Name(head.GetFacts()), err
}

var (
	namePart        = projections.PartFor([]string{"name"}, nil)
	identifiersPart = projections.PartFor([]string{"identifiers"}, nil)
)

// part reads part of a customer's head; nil if his partition does not hold him.
func (c *Customers) part(id events.CustomerID, part projections.Part) (*statev1.Head, error) {
	v, err := c.open(id)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	head, err := v.Part(id, part)
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read customer %s: %w", id, err)
	}
	return head, nil
}
