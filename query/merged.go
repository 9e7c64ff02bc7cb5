package query

import (
	"fmt"
	"slices"

	"github.com/dossier360/dossier/events"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// Facts name other customers as they were addressed when something was told.
// Who has become whom since is the directory's to say, when it is read.

const (
	flagMoving   = "moving"
	flagConflict = "conflict"
)

// root is the customer that one has become.
func (s *service) root(c events.CustomerID) (events.CustomerID, error) {
	root, err := s.Directory.Root(c)
	if err != nil {
		return c, fmt.Errorf("look up customer %s: %w", c, err)
	}
	return root, nil
}

// nameIdentity says under which other ids a customer went, how many persons
// belong to him, and whether his identity is in question, as far as that is
// read.
func (s *service) nameIdentity(v View, p *queryv1.Profile, id events.CustomerID, head *statev1.Head, r reads) error {
	if r.has("aliases") {
		if err := s.nameAliases(p, id); err != nil {
			return err
		}
	}
	if r.has("members") && p.GetMembers() > 0 {
		if err := s.countMembers(v, p, id); err != nil {
			return err
		}
	}
	if !r.has("flags") {
		return nil
	}
	if len(head.GetWithheld()) > 0 {
		p.Flags = append(p.Flags, flagMoving)
	}
	conflict, err := s.Directory.InConflict(id)
	if err != nil {
		return fmt.Errorf("look up conflicts of customer %s: %w", id, err)
	}
	// The facts only know that there was one.
	p.Flags = slices.DeleteFunc(p.Flags, func(f string) bool { return f == flagConflict })
	if conflict {
		p.Flags = append(p.Flags, flagConflict)
	}
	slices.Sort(p.Flags)
	return nil
}

func (s *service) nameAliases(p *queryv1.Profile, id events.CustomerID) error {
	aliases, err := s.Directory.Aliases(id)
	if err != nil {
		return fmt.Errorf("look up the aliases of customer %s: %w", id, err)
	}
	for _, alias := range aliases {
		p.Aliases = append(p.Aliases, alias.String())
	}
	return nil
}

// MaxCountedMembers bounds the members of a company of whom it is looked up who
// has become whom, for one profile. A larger company's are counted as its facts
// hold them, each id by itself.
const MaxCountedMembers = 2_000

// countMembers counts every person once, by whichever of his ids he joined.
func (s *service) countMembers(v View, p *queryv1.Profile, company events.CustomerID) error {
	if p.GetMembers() < 2 || p.GetMembers() > MaxCountedMembers {
		return nil
	}
	persons := map[events.CustomerID]bool{}
	read := 0
	for m, err := range v.Members(company) {
		if err != nil {
			return fmt.Errorf("read the members of company %s: %w", company, err)
		}
		// Those who left are rows too.
		if read++; read > 2*MaxCountedMembers {
			return nil
		}
		if !m.Current {
			continue
		}
		root, err := s.root(m.Person)
		if err != nil {
			return err
		}
		persons[root] = true
	}
	p.Members = uint32(len(persons))
	return nil
}
