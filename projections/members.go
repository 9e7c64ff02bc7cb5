package projections

import (
	"fmt"
	"iter"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/profile"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// Member is a person of whom a company was told.
type Member struct {
	// Person as he was addressed then: he may have become another customer.
	Person  events.CustomerID
	Current bool
	Since   int64 // of what was told of him last, microseconds
}

// Members yields the persons of whom a company was told, by customer id; of a
// customer whom the partition does not hold ErrNotFound.
func (v *View) Members(company events.CustomerID) iter.Seq2[Member, error] {
	return func(yield func(Member, error) bool) {
		head, err := v.Outline(company)
		if err != nil {
			yield(Member{}, err)
			return
		}
		prefix := append(ownedPrefix(keyRow, company, head.Generation), byte(profile.RowMember))
		scan(v.view, prefix, func(key, value []byte) (Member, error) {
			row := &statev1.MemberRow{}
			if err := proto.Unmarshal(value, row); err != nil {
				return Member{}, fmt.Errorf("member %x of company %s: %w", key[len(prefix):], company, err)
			}
			person, err := events.CustomerIDFromBytes(key[len(prefix):])
			return Member{Person: person, Current: row.Current, Since: row.Stamp.GetOccurredAt()}, err
		}, yield)
	}
}
