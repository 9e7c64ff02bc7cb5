package rejected

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// The outcomes of a retry.
const (
	Accepted  = "accepted"
	Duplicate = "duplicate" // every event of it was in the log already
	Rejected  = "rejected"  // it waits on, with the reason of when it came
	Gone      = "gone"      // it is in the log since another retry, or kept no longer
)

// Outcome is what became of a reject that was tried again. Its JSON is part of
// the answer.
type Outcome struct {
	ID      string `json:"id"`
	Outcome string `json:"outcome"`
	// Rejection is why it is refused now: the first one of a whole call.
	Rejection *ingest.Rejection `json:"rejection,omitempty"`
	// Of a whole call, how many of its events are in the log, and why others
	// are not.
	Events     int                `json:"events,omitempty"`
	Rejections []ingest.Rejection `json:"rejections,omitempty"`

	receipt string
}

// Retry is which rejects are tried again.
type Retry struct {
	// IDs, at most MaxRetried.
	IDs []string
	// Or All that wait, the oldest first, MaxRetried at a time, behind After.
	All   bool
	After uint64
	// Source, if named, is whose rejects are touched: those of others are gone
	// to this retry. Code, if named, is that of All.
	Source, Code string
	// Body takes the place of the bytes that were refused, of one id. Nil: as
	// they are.
	Body []byte
}

// Retried is what became of those tried.
type Retried struct {
	Outcomes []Outcome
	// Receipt covers all that was taken in.
	Receipt string
	// After goes on with Retry.After; 0: there are no more.
	After uint64
}

// ErrRetry says what is wrong with a Retry.
var ErrRetry = errors.New("retry")

// Retry tries rejects again. What is taken in leaves the list; what is refused
// again waits on, and nothing new is kept of it. Trying one again and again, or
// in several places at once, has the effect of trying it once.
//
// An error is ErrRetry, and nothing was tried; or one of
// [ingest.Gateway.Accept], or ErrCatchingUp: then some may have been taken in
// already, and all are tried again without harm.
func (l *Ledger) Retry(ctx context.Context, r Retry) (Retried, error) {
	if err := l.caughtUp(ctx); err != nil {
		return Retried{}, err
	}
	var done Retried
	switch {
	case r.All && len(r.IDs) > 0:
		return done, fmt.Errorf("%w: ids, or all: one of them", ErrRetry)
	case !r.All && len(r.IDs) == 0:
		return done, fmt.Errorf("%w: ids wanted, or all", ErrRetry)
	case r.Body != nil && len(r.IDs) != 1:
		return done, fmt.Errorf("%w: a body goes with one id, not with %d", ErrRetry, len(r.IDs))
	case len(r.IDs) > MaxRetried:
		return done, fmt.Errorf("%w: %d ids, limit %d", ErrRetry, len(r.IDs), MaxRetried)
	case r.All:
		r.IDs, done.After = l.oldest(r)
	}
	seqs := make([]uint64, len(r.IDs))
	for i, id := range r.IDs { // all before the first is tried
		var err error
		if seqs[i], err = parseID(id); err != nil {
			return done, fmt.Errorf("%w: %w", ErrRetry, err)
		}
	}
	done.Outcomes = make([]Outcome, len(r.IDs))
	group, retrying := errgroup.WithContext(ctx)
	group.SetLimit(parallelRetries)
	for i, seq := range seqs {
		group.Go(func() (err error) {
			done.Outcomes[i], err = l.retryOne(retrying, seq, r)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return Retried{}, err
	}
	receipts := make([]string, len(done.Outcomes))
	for i := range done.Outcomes {
		receipts[i] = done.Outcomes[i].receipt
	}
	var err error
	done.Receipt, err = ingest.JoinReceipts(receipts...)
	return done, err
}

// oldest are the ids that a retry of all begins with, and where it goes on.
func (l *Ledger) oldest(r Retry) (ids []string, after uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	start, _ := l.findLocked(r.After + 1)
	for _, e := range l.waiting[start:] {
		if !l.fitsLocked(e, r.Source, r.Code) {
			continue
		}
		if len(ids) == MaxRetried {
			return ids, after
		}
		ids, after = append(ids, formatID(e.seq)), e.seq
	}
	return ids, 0
}

// retryOne tries one reject again. Of two who do that at once the later one
// waits and finds it gone.
func (l *Ledger) retryOne(ctx context.Context, seq uint64, r Retry) (Outcome, error) {
	release, err := l.claim(ctx, seq)
	if err != nil {
		return Outcome{}, err
	}
	defer release()
	reject, err := l.get(ctx, seq)
	switch {
	case errors.Is(err, ErrNotFound), err == nil && r.Source != "" && reject.Source != r.Source:
		return Outcome{ID: formatID(seq), Outcome: Gone}, nil
	case err != nil:
		return Outcome{}, err
	}
	outcome, err := l.again(ctx, seq, reject, r)
	if err != nil || outcome.Outcome == Rejected {
		return outcome, err
	}
	if err := l.o.Note(ctx, reject.Source, seq, l.o.Now()); err != nil {
		return Outcome{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.removeLocked(seq) // the note will say so too
	return outcome, nil
}

// claim waits until nobody else tries a reject.
func (l *Ledger) claim(ctx context.Context, seq uint64) (release func(), err error) {
	for {
		l.mu.Lock()
		other := l.retrying[seq]
		if other == nil {
			mine := make(chan struct{})
			l.retrying[seq] = mine
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				defer l.mu.Unlock()
				delete(l.retrying, seq)
				close(mine)
			}, nil
		}
		l.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// again reads a reject once more, or what was put in its place, and takes in
// what comes of it. Who may touch one source only tells of no other, whatever
// the body names.
func (l *Ledger) again(ctx context.Context, seq uint64, r *logv1.Reject, asked Retry) (Outcome, error) {
	body := asked.Body
	refused := func(why *ingest.Rejection) (Outcome, error) {
		return Outcome{ID: formatID(seq), Outcome: Rejected, Rejection: why}, nil
	}
	switch {
	case body == nil && r.Cut:
		return refused(ingest.Refuse(ingest.CodeTooLarge, "", strconv.Itoa(ingest.MaxRejectBytes), fmt.Sprintf(
			"only %d bytes are kept of what came: it can be tried again with a body in its place alone", len(r.Original))))
	case body == nil:
		body = r.Original
	}
	decoded, known := l.o.Again(r, slices.Clone(body))
	switch {
	case !known:
		return refused(ingest.Refuse(ingest.CodeBadType, "wire", "", fmt.Sprintf(
			"wire %s on %s is not known to this version", ingest.Shown(r.Wire), ingest.Shown(r.Path))))
	case decoded.Refused != nil:
		return refused(decoded.Refused)
	}
	name(decoded.Drafts, seq, r.Whole)
	b := ingest.Batch{
		Source: r.Source, Unnamed: r.Unnamed && asked.Source == "", Received: l.o.Now(), FirstReceived: events.FromMicros(r.ReceivedAt),
		Wire: r.Wire, Path: r.Path, ContentType: r.ContentType, Drafts: decoded.Drafts, Beside: len(decoded.Beside), Retry: true,
	}
	if b.Unnamed && decoded.Source != "" {
		b.Source, b.Unnamed = decoded.Source, false
	}
	result, err := l.o.Accept(ctx, b)
	if err != nil {
		return Outcome{}, fmt.Errorf("retry reject %d: %w", seq, err)
	}
	for i := range result.Rejected {
		result.Rejected[i].Index = decoded.Item(result.Rejected[i].Index)
	}
	return outcomeOf(seq, r.Whole, result), nil
}

// name gives events without an id of their own one that every retry gives them:
// so a retry that was cut off can be made again. Those of a whole call are named
// by what they say, for the body of the next retry may hold only those that this
// one refused.
func name(drafts []ingest.Draft, seq uint64, whole bool) {
	equal := map[uint64]int{}
	for _, d := range drafts {
		if d.Event == nil || d.Event.Id != "" {
			continue
		}
		id := "rejected-" + formatID(seq)
		if whole {
			told, err := proto.MarshalOptions{Deterministic: true}.Marshal(d.Event)
			if err != nil {
				continue // it is no UTF-8, and refused for that
			}
			content := events.BodyHash(told)
			id += fmt.Sprintf("-%016x-%d", content, equal[content])
			equal[content]++
		}
		d.Event.Id = id
	}
}

// outcomeOf is what became of a reject: it waits on as long as a part of it is
// refused.
func outcomeOf(seq uint64, whole bool, result ingest.Result) Outcome {
	o := Outcome{ID: formatID(seq), Outcome: Accepted, receipt: result.Receipt}
	switch {
	case len(result.Rejected) > 0:
		o.Outcome, o.Rejection = Rejected, &result.Rejected[0]
	case result.Accepted == 0:
		o.Outcome = Duplicate
	}
	if whole {
		o.Events, o.Rejections = result.Accepted+result.Duplicates, result.Rejected
	}
	return o
}
