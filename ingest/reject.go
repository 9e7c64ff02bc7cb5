package ingest

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/dossier360/dossier/events"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// parallelRejects is how many rejects of one call are appended at once: each
// is a message of its own, and they share fsyncs only if they overlap.
const parallelRejects = 16

// maxContentTypeBytes is how much of a Content-Type is kept: every reject of a
// call has its copy, and a header may be as long as many events.
const maxContentTypeBytes = 256

// keep appends what was refused to REJECTED and returns the rejections, by
// index. If one cannot be kept the call fails: nothing is refused in silence.
// Those of one call come to stand there in any order, for in order they would
// cost an fsync each; every one holds its index.
func (g *Gateway) keep(ctx context.Context, b *Batch, items []item) ([]Rejection, error) {
	var rejected []Rejection
	var group errgroup.Group
	group.SetLimit(parallelRejects)
	for i := range items {
		refused := items[i].refused
		if refused == nil {
			continue
		}
		rejected = append(rejected, *refused)
		if b.Retry {
			continue
		}
		group.Go(func() error { return g.keepOne(ctx, b, i, refused) })
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("keep a rejected event: %w", err)
	}
	return rejected, nil
}

func (g *Gateway) keepOne(ctx context.Context, b *Batch, index int, r *Rejection) error {
	source, original := b.source(index), b.Drafts[index].Original
	kept := original[:min(len(original), MaxRejectBytes)]
	frame, err := events.Seal(&logv1.Reject{
		Source: source, ReceivedAt: events.Micros(b.Received),
		Wire: b.Wire, Path: b.Path, ContentType: printable(b.ContentType[:min(len(b.ContentType), maxContentTypeBytes)]), Index: uint32(index),
		MessageId: printable(r.MessageID), Code: string(r.Code), Field: printable(r.Field), Limit: r.Limit, Message: printable(r.Message),
		Original: kept, Cut: len(kept) < len(original), OriginalBytes: uint64(len(original)), Whole: b.Whole, Unnamed: b.Unnamed,
	})
	if err != nil {
		return err
	}
	// The subject is of few names, as the server holds each in memory: not of
	// those that events give themselves, of which there may be any number.
	_, err = appendAgain(ctx, g.o.Log, events.RejectedStream, events.SubjectRejected(b.Source), frame)
	return err
}

// printable makes text of what may be no UTF-8: the bytes themselves are kept
// in the original.
func printable(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
