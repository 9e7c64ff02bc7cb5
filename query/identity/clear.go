package identity

import (
	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest/directory"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// MaxShownIdentifiers bounds the identifiers shown of one decision.
const MaxShownIdentifiers = 100

// clear knows identifiers in clear, for one answer: by what the customers were
// told by, and by what the request names.
type clear struct {
	s    *service
	told map[directory.Hash]*queryv1.IdentifierRef
	of   map[events.CustomerID]bool // whose are in told
}

func (s *service) clear(told ...directory.Identifier) *clear {
	c := &clear{s: s, told: map[directory.Hash]*queryv1.IdentifierRef{}, of: map[events.CustomerID]bool{}}
	for _, id := range told {
		c.told[id.Hash] = &queryv1.IdentifierRef{Type: id.Type, Value: id.Value}
	}
	return c
}

// learn takes in what customers were told by, as whoever they are now.
func (c *clear) learn(customers ...events.CustomerID) error {
	for _, id := range customers {
		if id.IsZero() {
			continue
		}
		root, err := c.s.directory.Root(id)
		if err != nil {
			return err
		}
		if c.of[root] {
			continue
		}
		c.of[root] = true
		facts, err := c.s.customers.Identifiers(root)
		if err != nil {
			return err
		}
		for _, fact := range facts {
			id, err := c.s.directory.Identify(fact.Type, fact.Value)
			if err != nil {
				continue // settings of today block it: nobody is named by it any more
			}
			c.told[id.Hash] = &queryv1.IdentifierRef{Type: fact.Type, Value: fact.Value}
		}
	}
	return nil
}

// show shows identifiers, the first of many.
func (c *clear) show(ids []*logv1.HashedIdentifier) []*queryv1.IdentifierRef {
	var shown []*queryv1.IdentifierRef
	for _, id := range ids[:min(len(ids), MaxShownIdentifiers)] {
		ref := &queryv1.IdentifierRef{Type: id.GetType()}
		if len(id.GetHash()) == len(directory.Hash{}) && c.told[directory.Hash(id.GetHash())] != nil {
			ref = c.told[directory.Hash(id.GetHash())]
		}
		if ref.GetType() != "" {
			shown = append(shown, ref)
		}
	}
	return shown
}

// showHashes shows those of some hashes that are known in clear.
func (c *clear) showHashes(hashes []byte) []*queryv1.IdentifierRef {
	var ids []*logv1.HashedIdentifier
	for n := len(directory.Hash{}); len(hashes) >= n && len(ids) < MaxShownIdentifiers; hashes = hashes[n:] {
		if c.told[directory.Hash(hashes[:n])] != nil {
			ids = append(ids, &logv1.HashedIdentifier{Hash: hashes[:n]})
		}
	}
	return c.show(ids)
}
