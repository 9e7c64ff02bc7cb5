package ingest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest/directory"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// Options of [NewGateway].
type Options struct {
	Log events.Log
	// Directory resolves identifiers. The caller runs it too.
	Directory *directory.Directory
	// Genesis of the log.
	Genesis *logv1.Genesis
	// Now is the clock of receipt; nil means time.Now.
	Now func() time.Time
	// Minter makes the ids of events and records; nil makes one of Now and
	// Entropy.
	Minter *directory.Minter
	// Entropy feeds the minter; nil means crypto/rand.
	Entropy io.Reader
	// Name is the ULID of this process, logged with its records; empty means
	// a new one.
	Name []byte
	// Copies finds where an event was logged, by what is folded of its subject:
	// a void or a correction goes there too. The event is named as a void names
	// it; nil claimed: whatever its time. Nil: known is only what was taken in
	// lately, here.
	Copies func(ctx context.Context, customer events.CustomerID, source, eventID string, claimed *int64) (Copies, error)
	// Latest finds what was told last of each record of a customer, as it is
	// folded; nil stands for what is not known. Nil: nothing is.
	Latest func(customer events.CustomerID, records []Record) ([]*Telling, error)
	// Folded waits until the log is folded up to a receipt, or, if that is "", up
	// to its end, and returns the receipt for that. Nil: there is no waiting.
	Folded func(ctx context.Context, receipt string) (string, error)
	// DiskFree is asked before every call; its error is answered as
	// ErrDiskFull. May be nil.
	DiskFree func() error
	// Logger may be nil.
	Logger *slog.Logger
}

// Copies are where an event was logged.
type Copies struct {
	// Found: the subject's history holds the event itself.
	Found bool
	// Cut: the history is longer than what was searched.
	Cut bool
	// Holders are the other customers that hold a copy of it, or of a correction
	// of it.
	Holders []*logv1.Copy
	// BestID and BestIssuedAt, microseconds, are those of the correction that
	// stands; "" if there is none.
	BestID       string
	BestIssuedAt int64
}

// Gateway takes events in. Accept is safe for concurrent use; it works while
// Run runs.
type Gateway struct {
	o        Options
	clock    clock
	batchers []*batcher
	holders  *holders
}

// NewGateway makes a gateway for a founded log.
func NewGateway(o Options) (*Gateway, error) {
	if o.Log == nil || o.Directory == nil || o.Genesis == nil {
		return nil, errors.New("gateway: Log, Directory and Genesis wanted")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Entropy == nil {
		o.Entropy = rand.Reader
	}
	if o.Minter == nil {
		o.Minter = directory.NewMinter(o.Now, o.Entropy)
	}
	if len(o.Name) == 0 {
		name := o.Minter.Mint()
		o.Name = name[:]
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	g := &Gateway{o: o, clock: clock{end: o.Genesis.GetClockEnd()}, holders: newHolders(recentHolders)}
	for p := range int(o.Genesis.GetPartitions()) {
		g.batchers = append(g.batchers, newBatcher(p, o.Log, o.Name, func() [16]byte { return o.Minter.Mint() }))
	}
	return g, nil
}

// Run appends until the context ends. Appends then under way are waited for,
// what waits behind them fails with ErrNotReady: so the intake is to be
// stopped before. It does not run the directory.
func (g *Gateway) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, b := range g.batchers {
		wg.Go(func() { b.run(ctx) })
	}
	wg.Wait()
	return nil
}

// Ready returns nil, or ErrNotReady with the reason.
func (g *Gateway) Ready() error {
	if err := g.o.Directory.Ready(); err != nil {
		return fmt.Errorf("%w: %w", ErrNotReady, err)
	}
	return nil
}

// Accept takes a batch in. It returns nil when every event of the batch is on
// stable storage, in its partition or among the rejects. Errors: ErrOverload,
// ErrNotReady, ErrDiskFull, or that of the context; then the call is sent
// again, whole. The drafts are the gateway's from now on.
func (g *Gateway) Accept(ctx context.Context, b Batch) (Result, error) {
	if err := g.admit(&b); err != nil {
		return Result{}, err
	}
	items := g.check(&b)
	if err := g.address(ctx, items); err != nil {
		return Result{}, err
	}
	var result Result
	seqs := map[int]uint64{}
	fresh, bytes := g.entries(&b, items, &result, seqs)
	c, err := g.submit(fresh, bytes)
	if err != nil {
		return Result{}, err
	}
	rejected, err := g.keep(ctx, &b, items)
	if err != nil {
		return Result{}, err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		return Result{}, fmt.Errorf("%w: %w", ErrNotReady, ctx.Err())
	}
	if c.err != nil {
		return Result{}, c.err
	}
	for p, seq := range c.seqs {
		seqs[p] = max(seqs[p], seq)
	}
	result.Rejected, result.Receipt = rejected, FormatReceipt(seqs)
	return result, nil
}

// admit refuses a call as a whole.
func (g *Gateway) admit(b *Batch) error {
	if !ValidSource(b.Source) {
		return fmt.Errorf("ingest: source %s: [a-z0-9_-]{1,40} wanted", Shown(b.Source))
	}
	if n := len(b.Drafts); n > MaxListedEvents {
		return fmt.Errorf("ingest: batch of %d events, limit %d", n, MaxListedEvents)
	}
	if g.o.DiskFree != nil {
		if err := g.o.DiskFree(); err != nil {
			return fmt.Errorf("%w: %w", ErrDiskFull, err)
		}
	}
	if b.Received.IsZero() {
		b.Received = g.o.Now()
	}
	if b.FirstReceived.IsZero() {
		b.FirstReceived = b.Received
	}
	return g.Ready()
}

// ValidSource reports whether a source is named as one: [a-z0-9_-]{1,40}.
func ValidSource(name string) bool {
	for _, c := range []byte(name) {
		if c != '_' && c != '-' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return name != "" && len(name) <= 40
}

// entries makes the log entries of a batch by partition, without those that
// are known to be repeats; the receipt covers their copy in the log, and what
// was decided about whose they are. An event
// of which every copy is known counts as a duplicate; one of which a part was
// not stored the last time is completed.
func (g *Gateway) entries(b *Batch, items []item, result *Result, seqs map[int]uint64) (map[int][]*entry, map[int]int) {
	fresh, bytes := map[int][]*entry{}, map[int]int{}
	inBatch := make(map[eventKey]bool, len(items))
	recorded := events.Micros(b.Received)
	for i := range items {
		it := &items[i]
		if it.refused != nil {
			continue
		}
		known := true
		for n := range it.parties() {
			to := it.party(n)
			seqs[ReceiptIdentity] = max(seqs[ReceiptIdentity], to.address.At)
			p := to.address.Customer.Partition(len(g.batchers))
			key := keyOf(to.address.Customer, to.role, it.typ, it.source, it.id, it.times.claimed)
			if !it.minted {
				if inBatch[key] {
					continue
				}
				inBatch[key] = true
				if seq, ok := g.batchers[p].durable(key); ok {
					seqs[p] = max(seqs[p], seq)
					continue
				}
			}
			known = false
			e := &entry{event: it.logged(to), key: key, at: to.address.At, recorded: recorded}
			e.bytes = proto.Size(e.event)
			fresh[p] = append(fresh[p], e)
			bytes[p] += e.bytes
		}
		if i >= len(items)-b.Beside {
			continue // its event is counted
		}
		if known {
			result.Duplicates++
		} else {
			result.Accepted++
		}
	}
	return fresh, bytes
}

// submit hands entries to their batchers, all or none.
func (g *Gateway) submit(fresh map[int][]*entry, bytes map[int]int) (*call, error) {
	n := 0
	reserved := make(map[int]int, len(bytes))
	for p, size := range bytes {
		if err := g.batchers[p].reserve(size); err != nil {
			for p, size := range reserved {
				g.batchers[p].release(size)
			}
			return nil, err
		}
		reserved[p] = size
		n += len(fresh[p])
	}
	c := newCall(n)
	for p, entries := range fresh {
		for _, e := range entries {
			e.call = c
		}
		g.batchers[p].add(entries)
	}
	return c, nil
}
