package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/natslog"
	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/ingest/front"
	"github.com/dossier360/dossier/ingest/rejected"
	"github.com/dossier360/dossier/ingest/wires"
	"github.com/dossier360/dossier/projections"
	"github.com/dossier360/dossier/projections/playbook"
	"github.com/dossier360/dossier/projections/store"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
	"github.com/dossier360/dossier/query"
	"github.com/dossier360/dossier/query/identity"
	suspected "github.com/dossier360/dossier/query/suspects" // suspects is a command
)

// engine is everything behind the door:
//
//	front  ─► gateway ─► log (natslog) ─► partitions ─► stores
//	intake ─►    │                            ▲            │
//	         directory ◄── IDENTITY ── rules ─┘          query
//
// It is built from the log upward and stopped from the top down: the door, the
// intake, then the gateway (appends under way are acknowledged), then the partitions
// (what is folded is committed, stores closed), then the log's connections,
// then the server.
type engine struct {
	logger     *slog.Logger
	genesis    *logv1.Genesis
	server     *natslog.Server // nil with --nats
	log        *natslog.Log
	measured   events.Log // log, its appends measured
	directory  *directory.Directory
	gateway    *ingest.Gateway
	rejected   *rejected.Ledger
	intake     *natslog.Intake // nil where nobody can publish
	partitions []*projections.Partition
	observed   []*observed // partitions, as last seen
	suspects   *suspected.Service
	metrics    *metrics

	// stopping is closed when the door begins to close; nil: it never does.
	stopping <-chan struct{}

	// Each layer runs under a context of its own, so that they end in order.
	taking, folding layer
}

// layer is goroutines that run until stopped.
type layer struct {
	group *errgroup.Group
	ctx   context.Context
	end   context.CancelFunc
}

func newLayer() layer {
	ctx, end := context.WithCancel(context.Background())
	group, ctx := errgroup.WithContext(ctx)
	return layer{group, ctx, end}
}

// stop ends the layer and waits for it.
func (l layer) stop() error {
	if l.group == nil {
		return nil
	}
	l.end()
	return l.group.Wait()
}

// startEngine builds and starts everything. What it started is stopped if it
// fails.
func startEngine(ctx context.Context, s settings, logger *slog.Logger, m *metrics, progress func(string)) (*engine, error) {
	e := &engine{logger: logger, metrics: m}
	if err := e.start(ctx, s, progress); err != nil {
		e.stop()
		return nil, err
	}
	return e, nil
}

func (e *engine) start(ctx context.Context, s settings, progress func(string)) error {
	open := e.openEmbedded
	if s.external() {
		open = e.openExternal
	}
	key, err := open(ctx, s, progress)
	if err != nil {
		return err
	}
	e.measured = measuredLog{e.log, e.metrics, e.acknowledged}
	progress("reading the log's foundation")
	err = e.patiently(ctx, s, progress, func() (err error) {
		if e.genesis, err = events.Found(ctx, e.measured, foundation(s, key), time.Now, rand.Reader); err != nil {
			return inFlags(err)
		}
		return e.checkStreams(ctx)
	})
	if err != nil {
		return err
	}
	progress("opening the projections")
	if err := e.openPartitions(ctx, s, progress); err != nil {
		return err
	}
	progress("opening the directory")
	if err := e.openGateway(ctx, s, key, progress); err != nil {
		return err
	}
	if err := e.publishTypes(ctx, s, progress); err != nil {
		return err
	}
	return e.patiently(ctx, s, progress, func() error { return e.openIntake(ctx, s) })
}

// openEmbedded opens the log on a server in this process.
func (e *engine) openEmbedded(ctx context.Context, s settings, progress func(string)) (directory.Key, error) {
	progress("opening the identity key")
	if !natslog.Begun(s.logDir()) {
		// Before anything is made, so that a log can be put back.
		if err := refuseNewLog(s, s.logDir()); err != nil {
			return directory.Key{}, err
		}
	}
	key, err := openIdentityKey(s)
	if err != nil {
		return key, err
	}
	progress("recovering the log; after a crash it is read once from end to end")
	if err := e.openLog(ctx, s); err != nil {
		return key, err
	}
	if _, err := events.ReadGenesis(ctx, e.log); errors.Is(err, events.ErrNotFound) {
		return key, refuseNewLog(s, s.logDir())
	}
	return key, nil
}

// refuseNewLog refuses to begin a log beside stores that were folded from one:
// more likely than meant is that this is not where that log is, or that it was
// lost. Stores are opened only once a log stands, so that they are there says
// enough.
func refuseNewLog(s settings, place string) error {
	for _, stores := range []string{"projections/[0-9][0-9]", "directory"} {
		files, err := filepath.Glob(filepath.Join(s.data, stores, "*"))
		if err != nil {
			return fmt.Errorf("--data %s: %w", s.data, err)
		}
		if len(files) > 0 {
			return fmt.Errorf("%s holds no log, but %s is folded from one: restore that log from its backup, or correct --nats or --data; "+
				"to begin a new log all the same, remove %s and %s", place, filepath.Dir(files[0]),
				filepath.Join(s.data, "projections"), filepath.Join(s.data, "directory"))
		}
	}
	return nil
}

// acknowledged tells the partition of a stream that it holds a message.
func (e *engine) acknowledged(s events.Stream, seq uint64) {
	for _, p := range e.partitions {
		p.Acknowledged(s, seq)
	}
}

// openIdentityKey makes a key for a new log only: beside an old one a new key
// would look like the lost one.
func openIdentityKey(s settings) (directory.Key, error) {
	_, err := os.Stat(s.identityKey)
	if natslog.Begun(s.logDir()) && errors.Is(err, os.ErrNotExist) {
		return directory.Key{}, fmt.Errorf("the identity key %s is missing, and the log in %s was made with one: restore it from the backup",
			s.identityKey, s.logDir())
	}
	return directory.LoadOrCreateKey(s.identityKey)
}

func foundation(s settings, key directory.Key) events.Settings {
	f := events.Settings{
		Partitions: s.partitions, Clock: s.clock, Timezone: s.timezone, BaseCurrency: s.baseCurrency,
		Normaliser: directory.Normaliser, Stages: playbook.BuiltinVersion, IdentityKeyCheck: directory.KeyCheck(key),
	}
	if s.clockEnd != "" {
		f.ClockEnd, _ = time.Parse(time.RFC3339, s.clockEnd) // checked with the settings
	}
	return f
}

// inFlags names the flag of a setting that the log refuses.
func inFlags(err error) error {
	var refused *events.SettingError
	if errors.As(err, &refused) {
		text := refused.Error()
		return wrongUsage("--%s%s", strings.ReplaceAll(refused.Setting, " ", "-"), strings.TrimPrefix(text, refused.Setting))
	}
	return err
}

func (e *engine) openLog(ctx context.Context, s settings) (err error) {
	users, err := s.users()
	if err != nil {
		return err
	}
	o := natslog.Options{Dir: s.logDir(), Listen: s.nats, Users: users, Logger: e.logger.With("component", "nats")}
	if s.sync == "interval" {
		o.SyncInterval = time.Second
	}
	if e.server, err = natslog.Serve(ctx, o); err != nil {
		return err
	}
	e.log, err = natslog.Open(ctx, natslog.Dial{Server: e.server, Logger: e.quiet()})
	return err
}

func (e *engine) openPartitions(ctx context.Context, s settings, progress func(string)) error {
	rules := projections.NewRules()
	e.folding = newLayer()
	for id := range int(e.genesis.Partitions) {
		err := e.patiently(ctx, s, progress, func() error {
			p, err := projections.Open(ctx, e.partitionOptions(s, id, rules))
			if err == nil {
				e.partitions, e.observed = append(e.partitions, p), append(e.observed, &observed{})
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	rules.Begin(e.partitions...)
	for _, p := range e.partitions {
		e.folding.group.Go(func() error {
			// A partition that stops says so to whoever asks; the others go on.
			if err := p.Run(e.folding.ctx); err != nil {
				e.logger.Error("partition stopped", "partition", p.ID(), "error", err)
			}
			return nil
		})
	}
	e.folding.group.Go(func() error { return rules.Run(e.folding.ctx, e.measured) })
	return nil
}

func (e *engine) partitionOptions(s settings, id int, rules *projections.Rules) projections.Options {
	dir := filepath.Join(s.data, "projections", fmt.Sprintf("%02d", id))
	return projections.Options{
		Log: e.measured, Genesis: e.genesis, ID: id, Rules: rules, Tick: s.tick, Logger: e.quiet(),
		Applied: func(ctx context.Context, partition int, seq uint64) error {
			return e.partitions[partition].WaitApplied(ctx, seq)
		},
		Evaluate: playbook.BuiltinStages, Room: func() error { return roomToFold(dir) },
		OpenStore: func() (store.Store, error) {
			return store.OpenBadger(dir, store.Options{Sync: s.sync == "always", Logger: e.logger})
		},
		SetAside: func(why error) error {
			aside, err := store.SetAside(dir, time.Now())
			if aside != "" {
				e.logger.Warn("projection set aside; it is folded again from the log", "kept", aside, "why", why)
			}
			return err
		},
	}
}

func (e *engine) openGateway(ctx context.Context, s settings, key directory.Key, progress func(string)) error {
	minter := directory.NewMinter(time.Now, rand.Reader)
	name := minter.Mint()
	err := e.patiently(ctx, s, progress, func() (err error) {
		e.directory, err = directory.Open(ctx, directory.Options{
			Log: e.measured, Key: key, Minter: minter, Gateway: name[:], Logger: e.quiet(),
			OpenStore: directory.InDir(filepath.Join(s.data, "directory"),
				store.Options{Sync: s.sync == "always", Logger: e.logger}, time.Now),
		})
		return err
	})
	if err != nil {
		return err
	}
	reserve := newDiskReserve(e.logger, s.data, s.logDir())
	e.gateway, err = ingest.NewGateway(ingest.Options{
		Log: e.measured, Directory: e.directory, Genesis: e.genesis, Minter: minter, Name: name[:],
		DiskFree: reserve.check, Copies: e.copies, Latest: e.latest, Folded: e.folded, Logger: e.logger,
	})
	if err != nil {
		return err
	}
	e.taking = newLayer()
	e.taking.group.Go(func() error { return e.directory.Run(e.taking.ctx) })
	e.taking.group.Go(func() error { return e.gateway.Run(e.taking.ctx) })
	e.taking.group.Go(func() error { e.watchReady(e.taking.ctx); return nil })
	if e.server != nil {
		e.taking.group.Go(func() error { e.mendLog(e.taking.ctx, reserve); return nil })
	}
	e.rejected = rejected.New(rejected.Options{Log: e.measured, Again: wires.Again, Accept: e.accept, Note: e.gateway.NoteRetry, Logger: e.quiet()})
	e.taking.group.Go(func() error { return e.rejected.Run(e.taking.ctx) })
	e.suspects = suspected.New(suspected.Options{
		Partitions: e.local(), Directory: e.directory, Logger: e.quiet(),
		Find: query.NewCustomers(query.Options{Partitions: e.local(), Directory: e.directory, Logger: e.logger}).Find,
	})
	e.taking.group.Go(func() error { return e.suspects.Run(e.taking.ctx) })
	return nil
}

// local are the partitions as queries ask them.
func (e *engine) local() []query.Partition {
	partitions := make([]query.Partition, len(e.partitions))
	for i, p := range e.partitions {
		partitions[i] = query.Local(p)
	}
	return partitions
}

// copies asks a customer's partition where an event was logged, once that has
// heard who was merged into him.
func (e *engine) copies(ctx context.Context, customer events.CustomerID, source, eventID string, claimed *int64) (ingest.Copies, error) {
	p := e.partitions[customer.Partition(len(e.partitions))]
	ctx, cancel := context.WithTimeout(ctx, maxFoldedWait)
	defer cancel()
	if err := p.WaitRules(ctx, e.directory.Progress().Applied); err != nil {
		return ingest.Copies{}, err
	}
	c, err := p.Copies(ctx, customer, source, eventID, claimed)
	return ingest.Copies(c), err
}

// latest asks a customer's partition what was told last of his records, when all
// that moves to him has come.
func (e *engine) latest(customer events.CustomerID, records []ingest.Record) ([]*ingest.Telling, error) {
	ctx, cancel := context.WithTimeout(context.Background(), maxFoldedWait)
	defer cancel()
	p := e.partitions[customer.Partition(len(e.partitions))]
	if err := p.WaitMoved(ctx, customer); err != nil {
		return nil, err
	}
	asked := make([]projections.Record, len(records))
	for i, r := range records {
		asked[i] = projections.Record(r)
	}
	found, err := p.Latest(customer, asked)
	if err != nil {
		return nil, err
	}
	told := make([]*ingest.Telling, len(found))
	for i, entry := range found {
		if entry != nil {
			told[i] = &ingest.Telling{EventID: entry.EventId, ClaimedAt: entry.ClaimedAt, BodyHash: entry.BodyHash, Corrects: entry.Corrects}
		}
	}
	return told, nil
}

// maxFoldedWait bounds how long a preview waits for the log to be folded.
const maxFoldedWait = 5 * time.Second

// folded waits until all partitions have folded the log, up to a receipt or up
// to its end, and have heard who was merged or split by then.
func (e *engine) folded(ctx context.Context, receipt string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, maxFoldedWait)
	defer cancel()
	seqs, err := e.ends(ctx, receipt)
	if err != nil {
		return "", err
	}
	for p, seq := range seqs {
		if p >= len(e.partitions) {
			return "", fmt.Errorf("%w: partition %d of %d", ingest.ErrBadReceipt, p, len(e.partitions))
		}
		if err := e.await(ctx, p, seq); err != nil {
			return "", fmt.Errorf("%w: %w", ingest.ErrNotReady, err)
		}
	}
	return ingest.FormatReceipt(seqs), nil
}

// await waits for one part of a receipt: that a partition has folded a message,
// or that all have heard the rules up to one.
func (e *engine) await(ctx context.Context, p int, seq uint64) error {
	if p != ingest.ReceiptIdentity {
		return e.partitions[p].WaitApplied(ctx, seq)
	}
	for _, p := range e.partitions {
		if err := p.WaitRules(ctx, seq); err != nil {
			return err
		}
	}
	return nil
}

// What gateways write into a receipt, queries read: the two know it by one key.
var _ = [1]struct{}{}[ingest.ReceiptIdentity-query.ReceiptIdentity]

// ends are the sequences that a receipt covers, or the ends of the partitions and
// of what the directory has read.
func (e *engine) ends(ctx context.Context, receipt string) (map[int]uint64, error) {
	if receipt != "" {
		return ingest.ParseReceipt(receipt)
	}
	seqs := map[int]uint64{ingest.ReceiptIdentity: e.directory.Progress().Applied}
	for _, p := range e.partitions {
		status, err := p.Status(ctx)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ingest.ErrNotReady, err)
		}
		seqs[p.ID()] = status.Last
	}
	return seqs, nil
}

// handler is what stands behind the door.
func (e *engine) handler(s settings) http.Handler {
	asked := query.New(query.Options{
		Partitions: e.local(), Directory: e.directory, Log: e.measured, Genesis: e.genesis, Rejected: e.rejected,
		ParseReceipt: ingest.ParseReceipt, Logger: e.logger, ReadKeys: s.readKeys, CORSOrigins: s.corsOrigins,
		Stopping: e.stopping,
	})
	keys, _ := s.sources() // checked with the settings
	told := front.New(front.Options{
		Accept: e.accept, Preview: e.gateway.Preview, WriteKeys: keys, Ready: e.takes, Logger: e.logger, MemoryBytes: s.ingestMemoryBytes(),
		RetryRejected: e.rejected.Retry, RetryParked: e.retryParked,
	})
	decided := identity.New(identity.Options{
		Partitions: e.partitions, Directory: e.directory, Suspects: e.suspects, FormatReceipt: ingest.FormatReceipt, Logger: e.logger,
		ReadKeys: s.readKeys, WriteKeys: slices.Collect(maps.Keys(keys)), CORSOrigins: s.corsOrigins,
	})
	mux := http.NewServeMux()
	mux.Handle("/", told)
	mux.Handle(identity.Path, decided)
	for _, path := range query.Paths {
		mux.Handle(path, asked)
	}
	mux.HandleFunc("GET /readyz", e.serveReady)
	return mux
}

// quiet is a logger for what tries again and again.
func (e *engine) quiet() *slog.Logger { return slog.New(newQuiet(e.logger.Handler())) }

// natsURL is where the log, or its listener, can be reached; "" if it cannot.
func (e *engine) natsURL() string {
	if e.server != nil {
		return e.server.URL()
	}
	return e.log.Connection().Server
}

// wait waits until the context ends or a layer fails.
func (e *engine) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-e.taking.ctx.Done():
		return e.taking.stop()
	case <-e.folding.ctx.Done():
		return e.folding.stop()
	}
}

// stop stops what runs, from the top down.
func (e *engine) stop() {
	e.stopIntake()
	if err := e.taking.stop(); err != nil {
		e.logger.Warn("intake ended", "error", err)
	}
	if err := e.folding.stop(); err != nil {
		e.logger.Warn("projections ended", "error", err)
	}
	if e.log != nil {
		e.log.Close()
	}
	if e.server != nil {
		e.server.Close()
	}
}
