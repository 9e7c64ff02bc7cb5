package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/natslog"
	"github.com/dossier360/dossier/ingest/simulator"
	eventsv1 "github.com/dossier360/dossier/proto/dossier/events/v1"
)

// The lives that can be played.
const (
	lifeShop    = "shop"
	lifeFirm    = "firm"
	lifeTraffic = "traffic"
)

// shopSource is the source of a shop's events over NATS, where a subject names
// one always.
const shopSource = "shop"

// The files of --out beside the exports.
const (
	eventsFile  = "events.ndjson"    // a line: a native event
	nativeFile  = "v1-events.ndjson" // a line: a body of POST /v1/events
	segmentFile = "v1-batch.ndjson"  // a line: a body of POST /v1/batch
)

// simulation is the command: which life, and where to.
type simulation struct {
	*client
	life  string
	seed  uint64
	play  play
	end   string
	batch int
	nats  string
	creds string
	out   string
}

// play is a life of either kind.
type play struct {
	customers, days int
	end             time.Time
}

// simulateLife plays a life to a server or into files.
func simulateLife(ctx context.Context, std stdio, args []string) error {
	s := simulation{client: newClient(std, "simulate", "simulate [flags]", simulateHelp)}
	s.flags.StringVar(&s.life, "life", lifeShop, "`shop` or firm: what is played")
	s.flags.Uint64Var(&s.seed, "seed", 1, "`number` that the life is made from")
	s.flags.IntVar(&s.play.customers, "customers", 200, "`number` of customers; of a firm, of companies")
	s.flags.IntVar(&s.play.days, "days", 0, "`number` of days that it lasts, 120 or more (default two years)")
	s.flags.StringVar(&s.end, "end", "", "`instant` at which it ends, as 2024-12-31T23:59:59Z, or a day (default now)")
	s.flags.IntVar(&s.batch, "batch", 400, "`number` of events a call, at most 2,500")
	s.writeKeyFlag()
	s.flags.StringVar(&s.nats, "nats", "", "`URL` of a Dossier's NATS listener: publish there instead")
	s.flags.StringVar(&s.creds, "nats-creds", "", "with --nats: `file` with credentials")
	s.flags.StringVar(&s.out, "out", "", "`directory` to write files to instead")
	if _, err := s.parse(args); err != nil {
		return err
	}
	told, err := s.tell()
	if err != nil {
		return err
	}
	began := time.Now()
	target, err := s.run(ctx, told)
	if err != nil {
		return err
	}
	return s.report(target, told.count, time.Since(began))
}

const simulateHelp = `Plays the made-up life of a shop or of a firm that sells to firms, and tells it to
a server over HTTP (a shop on the Segment wire, a firm as protobuf), over NATS, or
into files: events.ndjson, bodies to post, and of a firm what its systems would
export. The same flags give the same bytes, if --end is among them.
docs/SIMULATOR.md tells what happens in either life.`

// story is a life to be told. Each range plays it anew.
type story struct {
	source  string // of batches that name none
	calls   iter.Seq[simulator.Call]
	batches iter.Seq[*eventsv1.EventBatch]
	export  func(dir string) error // nil: none
	count   *int                   // of events told
}

// tell checks the parameters and sets the play up.
func (s *simulation) tell() (story, error) {
	s.play.end = time.Now().UTC().Truncate(time.Minute)
	if s.end != "" {
		at, err := parseInstant("end", s.end)
		if err != nil {
			return story{}, err
		}
		s.play.end = at
	}
	switch {
	case s.batch < 1 || s.batch > simulator.MaxBatch:
		return story{}, wrongUsage("--batch %d: 1 to %d wanted", s.batch, simulator.MaxBatch)
	case s.nats != "" && s.out != "":
		return story{}, wrongUsage("--nats and --out: one of them wanted")
	case s.creds != "" && s.nats == "":
		return story{}, wrongUsage("--nats-creds %s is for --nats, which is missing", s.creds)
	}
	return storyOf(s.life, s.seed, s.play, s.batch)
}

// storyOf is a life of a name.
func storyOf(life string, seed uint64, p play, batch int) (story, error) {
	t := story{count: new(int)}
	var err error
	switch life {
	case lifeShop:
		shop := simulator.Shop{Seed: seed, End: p.end, Customers: p.customers, Days: p.days}
		err, t.source, t.calls, t.batches = shop.Check(), shopSource, shop.Calls(batch), shop.Batches(batch)
	case lifeFirm:
		firm := simulator.Firm{Seed: seed, End: p.end, Customers: p.customers, Days: p.days}
		err, t.calls, t.batches, t.export = firm.Check(), firm.Calls(batch), firm.Batches(batch), firm.Export
	default:
		return t, wrongUsage("--life %q: shop or firm wanted", life)
	}
	if err != nil {
		return t, wrongUsage("--%v", err)
	}
	return t, nil
}

// run tells the story and returns where to.
func (s *simulation) run(ctx context.Context, t story) (target string, err error) {
	switch {
	case s.out != "":
		return s.out, t.write(s.out)
	case s.nats != "":
		return natslog.Redact(s.nats), t.publish(ctx, s.nats, s.creds)
	}
	to := sender{client: &http.Client{Transport: s.transport()}, server: strings.TrimSuffix(s.server, "/"), key: s.writeKey}
	// One call after the other: that an identifier is told of first is part of
	// the story.
	for call := range t.calls {
		if _, err := to.send(ctx, call); err != nil {
			return "", s.explain(err)
		}
		*t.count += call.Events
	}
	return s.shown, nil
}

// publish tells it over NATS.
func (t story) publish(ctx context.Context, url, credentials string) error {
	p, err := natslog.NewPublisher(ctx, url, credentials)
	if err != nil {
		return err
	}
	defer p.Close()
	for batch := range t.batches {
		body, err := proto.Marshal(batch)
		if err != nil {
			return fmt.Errorf("encode a batch: %w", err)
		}
		if err := publishPatiently(ctx, p, cmp.Or(batch.GetSource(), t.source), body, len(batch.GetEvents())); err != nil {
			return err
		}
		*t.count += len(batch.GetEvents())
	}
	return nil
}

func publishPatiently(ctx context.Context, p *natslog.Publisher, source string, body []byte, count int) error {
	for range senderTries {
		answer, err := p.Publish(ctx, source, "application/protobuf", body)
		var refused *natslog.RefusedError
		switch {
		case err == nil:
			of := taken{Accepted: answer.Accepted, Duplicates: answer.Duplicates}
			for _, r := range answer.Rejected {
				of.Rejected = append(of.Rejected, struct {
					Message string `json:"message"`
				}{r.Message})
			}
			return of.check(count)
		case errors.Is(err, events.ErrUnknown):
			continue // it waited long enough, and events that have ids count once
		case !errors.Is(err, events.ErrOverload) || !errors.As(err, &refused):
			return err
		}
		if err := pause(ctx, max(senderWait, refused.RetryAfter)); err != nil {
			return err
		}
	}
	return fmt.Errorf("publish to source %s: the server was too busy, or did not answer, %d times", source, senderTries)
}

// write tells it into files.
func (t story) write(dir string) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	files := map[string]*bufio.Writer{}
	var closers []func() error
	defer func() {
		for _, c := range closers {
			err = errors.Join(err, c())
		}
	}()
	open := func(name string) (io.Writer, error) {
		if w := files[name]; w != nil {
			return w, nil
		}
		file, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("--out: %w", err)
		}
		files[name] = bufio.NewWriter(file)
		closers = append(closers, files[name].Flush, file.Close)
		return files[name], nil
	}
	if err := t.writeEvents(open); err != nil {
		return err
	}
	if t.export != nil {
		return t.export(dir)
	}
	return t.writeCalls(open)
}

// writeEvents writes every event as a line, and of a life without a wire of its
// own the batches that hold them.
func (t story) writeEvents(open func(string) (io.Writer, error)) error {
	lines, err := open(eventsFile)
	if err != nil {
		return err
	}
	for batch := range t.batches {
		for _, e := range batch.GetEvents() {
			line, err := jsonLine(e)
			if err == nil {
				_, err = lines.Write(line)
			}
			if err != nil {
				return fmt.Errorf("write %s: %w", eventsFile, err)
			}
		}
		*t.count += len(batch.GetEvents())
		if t.export == nil {
			continue
		}
		bodies, err := open(nativeFile)
		if err != nil {
			return err
		}
		body, err := jsonLine(batch)
		if err == nil {
			_, err = bodies.Write(body)
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", nativeFile, err)
		}
	}
	return nil
}

func (t story) writeCalls(open func(string) (io.Writer, error)) error {
	for call := range t.calls {
		name := nativeFile
		if call.Path == "/v1/batch" {
			name = segmentFile
		}
		bodies, err := open(name)
		if err != nil {
			return err
		}
		if _, err := bodies.Write(append(bytes.TrimSpace(call.Body), '\n')); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}

// toldFormat is how a simulation ends: events, target, seconds.
var toldFormat = map[string]string{
	langEN: "%s events told to %s in %.1f s\n",
	langZH: "已向 %[2]s 发送 %[1]s 个事件，用时 %.1[3]f 秒\n",
}

// writtenFormat is the same of one that wrote files.
var writtenFormat = map[string]string{
	langEN: "%s events written to %s in %.1f s\n",
	langZH: "已将 %[1]s 个事件写入 %[2]s，用时 %.1[3]f 秒\n",
}

func (s *simulation) report(target string, count *int, took time.Duration) error {
	if s.json {
		return json.NewEncoder(s.std.out).Encode(map[string]any{
			"life": s.life, "seed": s.seed, "customers": s.play.customers, "end": s.play.end.Format(time.RFC3339), "events": *count,
			"target": target, "seconds": took.Seconds(),
		})
	}
	format := toldFormat
	if s.out != "" {
		format = writtenFormat
	}
	_, err := fmt.Fprintf(s.std.out, format[s.lang], group(fmt.Sprint(*count)), target, took.Seconds())
	return err
}
