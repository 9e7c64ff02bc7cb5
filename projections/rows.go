package projections

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/projections/columns"
	"github.com/dossier360/dossier/projections/store"
	statev1 "github.com/dossier360/dossier/proto/dossier/state/v1"
)

// rowsPerLook is how many customers the scan for rows reads before it looks
// whether the store is still wanted by it.
const rowsPerLook = 256

// runRows reads the rows of every store that is opened, until the context ends.
// Meanwhile the partition folds and answers, lists excepted.
func (p *Partition) runRows(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.wantRows:
		}
		if err := p.readRows(ctx); err != nil && ctx.Err() == nil {
			// A store that cannot be read stops the fold too, which opens it anew.
			p.o.Logger.Warn("rows for lists not read", "error", err)
		}
	}
}

// readRows reads the rows of the store that is open now. Commits made
// meanwhile are kept by the writer; they outdo what the scan finds.
func (p *Partition) readRows(ctx context.Context) error {
	p.stateMu.Lock()
	early := p.rows
	p.stateMu.Unlock()
	if early == nil || early.Table() != nil {
		return nil // closed again, or read already
	}
	rows, err := p.scanRows(ctx, early)
	if err != nil || rows == nil {
		return err
	}
	filled := columns.NewWriter(rows)
	p.stateMu.Lock()
	defer p.stateMu.Unlock()
	if p.rows == early {
		filled.Put(early.Early())
		p.rows = filled
	}
	return nil
}

// scanRows makes the row of every customer; nil if the store was closed on the
// way, which waits for this view.
func (p *Partition) scanRows(ctx context.Context, early *columns.Writer) ([]*columns.Row, error) {
	v := p.View()
	defer v.Close()
	p.scanned.Store(0)
	if v.view == nil {
		return nil, nil
	}
	rows := make([]*columns.Row, 0, v.cp.Customers)
	wanted := true
	var bad error
	prefix := []byte{keyHead}
	err := v.view.Scan(prefix, store.PrefixEnd(prefix), false, func(key, value []byte) bool {
		if len(rows)%rowsPerLook == 0 {
			p.scanned.Store(int64(len(rows)))
			p.stateMu.Lock()
			wanted = p.rows == early && ctx.Err() == nil
			p.stateMu.Unlock()
		}
		var id events.CustomerID
		if id, bad = customerFromHeadKey(key); bad != nil || !wanted {
			return false
		}
		var head *statev1.Head
		if head, bad = decodeOutline(id, value); bad != nil {
			return false
		}
		rows = append(rows, columns.Of(id, head, v.env))
		return true
	})
	if err == nil {
		err = bad
	}
	if err != nil || !wanted {
		return nil, err
	}
	return rows, nil
}

// entriesField is the number of the field of a head that holds history entries.
const entriesField = 4

// decodeOutline decodes a head without its history entries. It reads no more
// than the length of each of those.
func decodeOutline(c events.CustomerID, value []byte) (*statev1.Head, error) {
	outline := make([]byte, 0, len(value))
	for rest := value; len(rest) > 0; {
		number, _, n := protowire.ConsumeField(rest)
		if n < 0 {
			return nil, fmt.Errorf("head of customer %s: %w", c, protowire.ParseError(n))
		}
		if number != entriesField {
			outline = append(outline, rest[:n]...)
		}
		rest = rest[n:]
	}
	head := &statev1.Head{}
	if err := proto.Unmarshal(outline, head); err != nil {
		return nil, fmt.Errorf("head of customer %s: %w", c, err)
	}
	return head, nil
}
