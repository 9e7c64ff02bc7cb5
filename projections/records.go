package projections

import (
	"container/list"
	"context"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// keptRecordBytes bounds the records that a partition keeps decoded, by their
// bytes before decoding: some 16 full ones. What is folded again together was
// mostly told together.
const keptRecordBytes = 4 << 20

// keptRecords are the records read again last. A record never changes, and who
// gets one does not change it. Safe for concurrent use.
type keptRecords struct {
	mu    sync.Mutex
	bytes int
	bySeq map[uint64]*list.Element // of *keptRecord
	order list.List                // the one asked for last in front
}

type keptRecord struct {
	seq    uint64
	bytes  int
	record *logv1.Record
}

func (k *keptRecords) get(seq uint64) (*logv1.Record, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e, ok := k.bySeq[seq]
	if !ok {
		return nil, false
	}
	k.order.MoveToFront(e)
	return e.Value.(*keptRecord).record, true
}

// put keeps a record, and lets go of those not asked for longest.
func (k *keptRecords) put(seq uint64, record *logv1.Record) {
	kept := &keptRecord{seq, proto.Size(record), record}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.bySeq[seq] != nil {
		return // another call was as quick
	}
	if k.bySeq == nil {
		k.bySeq = map[uint64]*list.Element{}
	}
	k.bySeq[seq] = k.order.PushFront(kept)
	k.bytes += kept.bytes
	for k.bytes > keptRecordBytes && k.order.Len() > 1 {
		last := k.order.Remove(k.order.Back()).(*keptRecord)
		delete(k.bySeq, last.seq)
		k.bytes -= last.bytes
	}
}

// forget lets go of all: the log may be another one.
func (k *keptRecords) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.bySeq, k.bytes = nil, 0
	k.order.Init()
}

// read returns a record that is kept, or keeps the one that is read.
func (k *keptRecords) read(ctx context.Context, seq uint64, read func(context.Context, uint64) (*logv1.Record, error)) (*logv1.Record, error) {
	if record, ok := k.get(seq); ok {
		return record, nil
	}
	record, err := read(ctx, seq)
	if err == nil {
		k.put(seq, record)
	}
	return record, err
}

// fetch reads a record of the partition's stream again. It is others' too.
func (p *Partition) fetch(ctx context.Context, seq uint64) (*logv1.Record, error) {
	return p.records.read(ctx, seq, func(ctx context.Context, seq uint64) (*logv1.Record, error) {
		m, err := p.o.Log.Get(ctx, p.stream, seq)
		if err != nil {
			return nil, err
		}
		return RecordIn(m, p.o.ID)
	})
}

// RecordIn is the record in a message of a partition's stream, told by gateways
// or moved by a mover; nil if the message holds none.
func RecordIn(m events.Message, partition int) (*logv1.Record, error) {
	switch m.Subject {
	case events.SubjectEvents(partition):
		record := &logv1.Record{}
		return record, events.Open(m.Data, record)
	case events.SubjectMoves(partition):
		move := &logv1.Move{}
		err := events.Open(m.Data, move)
		return move.Record, err
	}
	return nil, nil
}
