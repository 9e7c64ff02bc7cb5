package importer

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/ingest"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

// Options say how an import runs.
type Options struct {
	Server *Server
	// Source that the events are told by: [a-z0-9_-]{1,40}.
	Source string
	// DryRun only asks what would become of the rows.
	DryRun bool
	// Started is when the run began: what its revisions are told apart by from
	// those of other runs.
	Started time.Time
	// Tell is told what became of every row and event, in the order of the files,
	// by one goroutine. Its error ends the import. May be nil.
	Tell func(Outcome) error

	// batchEvents and seenGeneration are smaller in tests. Zero: the constants.
	batchEvents, seenGeneration int
}

// Run imports what a source reads. The summary counts what is durable, or what
// a dry run was told, also where an error ended the import.
func Run(ctx context.Context, read Source, o Options) (Summary, error) {
	given := ctx
	o.batchEvents = cmp.Or(o.batchEvents, batchEvents)
	g, ctx := errgroup.WithContext(given)
	r := &run{o: o, seen: newSeen(cmp.Or(o.seenGeneration, seenGeneration)), previewing: g, ready: make(chan *batch, inFlight), asked: make(chan struct{})}
	g.Go(func() error {
		defer close(r.ready)
		if err := read(ctx, func(item Item) error { return r.add(ctx, item) }); err != nil {
			return err
		}
		return r.flush(ctx)
	})
	var summary Summary
	g.Go(func() error {
		for b := range r.ready {
			if err := r.finish(ctx, b, &summary); err != nil {
				return err
			}
		}
		return nil
	})
	err := g.Wait()
	if err != nil && given.Err() != nil {
		err = given.Err() // whichever call it was that noticed
	}
	return summary, err
}

// run is one import: a goroutine reads and fills batches, one each asks for a
// preview of them, and one sends them in order.
type run struct {
	o          Options
	previewing *errgroup.Group

	// Owned by the goroutine that reads.
	seen    *seen
	filling *batch

	// ready are the batches in the order of the files; each may still be previewed.
	ready chan *batch
	// asking says that a preview waits for all that was appended, and asked, when
	// it is closed, that it was answered, with receipt.
	asking  atomic.Bool
	asked   chan struct{}
	receipt string
}

// batch is part of what was read, in order.
type batch struct {
	rows     int64
	outcomes []outcome
	asked    []int    // outcomes whose fate the server tells
	encoded  [][]byte // of those, the events
	bytes    int

	// previewed gives nil, or why there is no preview, once verdicts are set.
	previewed chan error
}

// outcome is what becomes of a row or event; verdict is "" until that is known.
type outcome struct {
	Outcome
	event *eventsv1.Event
	// revision is what is sent if the record is known with other content.
	revision []byte
}

// add takes what a row came to.
func (r *run) add(ctx context.Context, item Item) error {
	r.begin()
	if item.Line > 0 {
		r.filling.rows++
	}
	tell := func(o Outcome) {
		o.File, o.Columns, o.Cells = item.File, item.Columns, item.cellsOf(o.Line)
		r.filling.outcomes = append(r.filling.outcomes, outcome{Outcome: o})
	}
	switch {
	case item.Skipped:
		tell(Outcome{Line: item.Line, Verdict: VerdictSkipped})
	case item.Unmatched:
		tell(Outcome{Line: item.Line, Verdict: VerdictUnmatched})
	}
	for _, refused := range item.Refused {
		tell(Outcome{
			Line: refused.Line, Verdict: ingest.VerdictRejected,
			Column: refused.Column, Value: refused.Value, Reason: refused.Reason,
		})
	}
	for i := range item.Records {
		if err := r.addRecord(ctx, &item, &item.Records[i]); err != nil {
			return err
		}
	}
	if len(r.filling.outcomes) >= batchOutcomes {
		return r.flush(ctx)
	}
	return nil
}

// begin makes sure that there is a batch to fill.
func (r *run) begin() {
	if r.filling == nil {
		r.filling = &batch{previewed: make(chan error, 1)}
	}
}

// addRecord takes an event. One that this run told before is not sent again.
func (r *run) addRecord(ctx context.Context, item *Item, record *Record) error {
	r.begin()
	e := record.Event
	e.Id = eventID(e.Type, record.ID)
	if e.Corrects != "" {
		e.Corrects = eventID(e.Type, e.Corrects)
	}
	o := outcome{event: e, Outcome: Outcome{
		File: item.File, Line: record.Lines[0], ID: record.ID, Event: e.Type,
		Columns: item.Columns, Cells: item.cellsOf(record.Lines[0]),
	}}
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(e)
	if err != nil {
		o.Verdict, o.Reason = ingest.VerdictRejected, err.Error()
		r.filling.outcomes = append(r.filling.outcomes, o)
		return nil
	}
	if len(encoded) > batchBytes {
		o.Verdict, o.Reason = ingest.VerdictRejected, fmt.Sprintf("the event has %d bytes, limit %d bytes", len(encoded), ingest.MaxEventBytes)
		r.filling.outcomes = append(r.filling.outcomes, o)
		return nil
	}
	if first, same, found := r.seen.check(e.Id, encoded, item.File, o.Line); found {
		o.Verdict, o.Reason = ingest.VerdictDuplicate, "the same record as "+first.beside(item.File)
		if !same {
			o.Verdict, o.Reason = ingest.VerdictConflicting, "the same record id as "+first.beside(item.File)+", which says otherwise and was taken"
		}
		r.filling.outcomes = append(r.filling.outcomes, o)
		return nil
	}
	if b := r.filling; b.bytes+len(encoded) > batchBytes || len(b.asked) == r.o.batchEvents {
		if err := r.flush(ctx); err != nil {
			return err
		}
		r.begin()
	}
	b := r.filling
	b.asked = append(b.asked, len(b.outcomes))
	b.outcomes = append(b.outcomes, o)
	b.encoded = append(b.encoded, encoded)
	b.bytes += len(encoded)
	return nil
}

// beside is a place as one names it in a file.
func (p place) beside(file string) string {
	if p.file == file {
		return "line " + strconv.Itoa(p.line)
	}
	return p.file + ":" + strconv.Itoa(p.line)
}

// flush hands on the batch that was filled and begins its preview. It waits
// while as many as are allowed are under way.
func (r *run) flush(ctx context.Context) error {
	b := r.filling
	if b == nil {
		return nil
	}
	r.filling = nil
	select {
	case r.ready <- b:
	case <-ctx.Done():
		return ctx.Err()
	}
	r.previewing.Go(func() error {
		b.previewed <- r.preview(ctx, b)
		return nil
	})
	return nil
}

// preview asks what would become of a batch. The first preview waits until the
// server has folded all that was appended before this run; the others know that
// it did. What this run appends meanwhile are other records.
func (r *run) preview(ctx context.Context, b *batch) error {
	if len(b.asked) == 0 {
		return nil
	}
	receipt, first, err := r.since(ctx)
	if err != nil {
		return err
	}
	a, err := r.o.Server.preview(ctx, r.body(b.encoded), len(b.asked), receipt)
	if err != nil {
		return err
	}
	if first {
		r.receipt = a.Receipt
		close(r.asked)
	}
	for n, i := range b.asked {
		if err := r.judge(&b.outcomes[i], &a.Events[n]); err != nil {
			return err
		}
	}
	return nil
}

// judge notes what a preview says of an event.
func (r *run) judge(o *outcome, v *ingest.Verdict) error {
	o.Verdict, o.Reason = v.Verdict, v.Reason
	switch v.Verdict {
	case ingest.VerdictNew, ingest.VerdictDuplicate, ingest.VerdictConflicting:
		return nil
	case ingest.VerdictChanged:
		var err error
		o.revision, err = proto.MarshalOptions{Deterministic: true}.Marshal(revise(o.event, r.o.Started.UnixMicro(), v.KnownID))
		return err
	case ingest.VerdictRejected:
		if v.Rejection != nil {
			o.reject(v.Rejection)
		}
		return nil
	}
	return fmt.Errorf("%w: verdict %s", ErrNotDossier, ingest.Shown(v.Verdict))
}

// reject notes what a server refuses an event for.
func (o *outcome) reject(r *ingest.Rejection) {
	o.Verdict, o.Column, o.Reason = ingest.VerdictRejected, "", r.Message+" ("+string(r.Code)+")"
}

// since is the receipt that a preview gives; "" makes it wait for all that was
// appended. One preview does, the others wait for it.
func (r *run) since(ctx context.Context) (receipt string, first bool, err error) {
	if r.asking.CompareAndSwap(false, true) {
		return "", true, nil
	}
	select {
	case <-r.asked:
		return r.receipt, false, nil
	case <-ctx.Done():
		return "", false, ctx.Err()
	}
}

// body is a batch as it is sent: the message EventBatch of events encoded before.
func (r *run) body(encoded [][]byte) []byte {
	fields := (&eventsv1.EventBatch{}).ProtoReflect().Descriptor().Fields()
	source, list := fields.ByName("source").Number(), fields.ByName("events").Number()
	size := len(r.o.Source) + 16
	for _, e := range encoded {
		size += len(e) + 8
	}
	b := protowire.AppendTag(make([]byte, 0, size), source, protowire.BytesType)
	b = protowire.AppendString(b, r.o.Source)
	for _, e := range encoded {
		b = protowire.AppendTag(b, list, protowire.BytesType)
		b = protowire.AppendBytes(b, e)
	}
	return b
}

// finish sends of a batch what is to be sent, and tells what became of it.
func (r *run) finish(ctx context.Context, b *batch, s *Summary) error {
	select {
	case err := <-b.previewed:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	if !r.o.DryRun {
		if err := r.send(ctx, b); err != nil {
			return err
		}
	}
	s.Rows += b.rows
	for i := range b.outcomes {
		o := &b.outcomes[i]
		s.count(o.Verdict)
		if o.event != nil {
			s.Events++
		}
		if r.o.Tell == nil {
			continue
		}
		if err := r.o.Tell(o.Outcome); err != nil {
			return err
		}
	}
	return nil
}

// send sends what is not known of a batch.
func (r *run) send(ctx context.Context, b *batch) error {
	var encoded [][]byte
	var sent []int
	for n, i := range b.asked {
		switch o := &b.outcomes[i]; o.Verdict {
		case ingest.VerdictNew, ingest.VerdictConflicting:
			encoded, sent = append(encoded, b.encoded[n]), append(sent, i)
		case ingest.VerdictChanged:
			encoded, sent = append(encoded, o.revision), append(sent, i)
		}
	}
	if len(sent) == 0 {
		return nil
	}
	a, err := r.o.Server.send(ctx, r.body(encoded), len(sent))
	if err != nil {
		return err
	}
	for i := range a.Rejected {
		refused := &a.Rejected[i]
		if refused.Index < 0 || refused.Index >= len(sent) {
			return fmt.Errorf("%w: it refuses event %d of %d", ErrNotDossier, refused.Index, len(sent))
		}
		b.outcomes[sent[refused.Index]].reject(refused)
	}
	return nil
}
