package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dossier360/dossier/ingest/simulator"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

const (
	demoPoll = 100 * time.Millisecond
	// demoBatch keeps a batch far below what one call may bring.
	demoBatch = 400
	// demoYears is how long after its end events may still be told to the shop.
	demoYears = 100
)

// demo serves with a sample shop loading in, and says what to look at.
func demo(ctx context.Context, std stdio, args []string) error {
	fs := newFlags(std, "demo", "demo [flags]",
		"Serves in a fresh directory, posts two years of a small made-up shop to itself,\nsays what to look at, and goes on serving until interrupted. The shop's time goes\nby its events, so that stages changed when they would have; nothing moves it on\nbut what is told later.")
	var (
		shop simulator.Shop
		d    = demoRun{std: std}
		end  string
	)
	fs.StringVar(&d.data, "data", "", "`directory` to keep; default: a temporary one, removed at the end")
	fs.StringVar(&d.address, "http", "127.0.0.1:8360", "`address` to serve on")
	fs.Uint64Var(&shop.Seed, "seed", 1, "`number` that the sample is made from")
	fs.IntVar(&shop.Customers, "customers", 200, "`number` of customers")
	fs.StringVar(&end, "end", "", "`instant` at which the two years end, as 2024-12-31T23:59:59Z, or a day (default now)")
	if _, err := fs.parse(args); err != nil {
		return err
	}
	shop.End = time.Now().UTC().Truncate(time.Minute)
	if end != "" {
		at, err := parseInstant("end", end)
		switch {
		case err != nil:
			return err
		case at.After(shop.End) || at.Year() < 1980:
			return wrongUsage("--end %s: an instant from 1980 to now wanted", end)
		}
		shop.End = at
	}
	if shop.Customers < 1 || shop.Customers > 9999 {
		return wrongUsage("--customers %d: 1 to 9,999 wanted", shop.Customers)
	}
	if err := d.claim(ctx); err != nil {
		return err
	}
	return d.run(ctx, shop)
}

// demoRun is one demonstration: a server, and someone who posts to it.
type demoRun struct {
	std     stdio
	data    string
	address string
}

// claim makes sure that nobody listens on the address, and settles on one if
// the port is 0. Were it left to the server to find it taken, the sample might
// meanwhile be posted to whoever took it.
func (d *demoRun) claim(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", d.address)
	if err != nil {
		return d.explain(fmt.Errorf("--http %s: %w", d.address, err))
	}
	if host, port, _ := net.SplitHostPort(d.address); port == "0" {
		_, port, err = net.SplitHostPort(l.Addr().String())
		d.address = net.JoinHostPort(host, port)
	}
	return errors.Join(err, l.Close())
}

// explain says how to choose another address where this one is taken.
func (d demoRun) explain(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf(words[d.client().lang].addressTaken, d.address)
	}
	return err
}

func (d demoRun) run(ctx context.Context, shop simulator.Shop) (err error) {
	if d.data == "" {
		if d.data, err = os.MkdirTemp("", "dossier-demo-"); err != nil {
			return fmt.Errorf("make a directory for the demo: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(d.data)) }()
	}
	serving, stop := context.WithCancel(ctx)
	defer stop()
	// Only the HTTP side is shown; a NATS listener might meet another's port.
	s, err := parseSettings(d.std, []string{
		"--data", d.data, "--http", d.address, "--nats-listen", "off", "--log-level", "warn",
		"--clock", "events", "--clock-end", shop.End.AddDate(demoYears, 0, 0).Format(time.RFC3339),
	})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		ended <- runServer(serving, s, slog.New(slog.NewTextHandler(d.std.err, &slog.HandlerOptions{Level: s.logLevel})))
		stop()
	}()
	shown := d.show(serving, shop)
	if shown != nil {
		stop()
	}
	served := <-ended
	if shown != nil && !errors.Is(shown, context.Canceled) {
		return shown
	}
	return d.explain(served)
}

// show loads the sample and prints what to look at.
func (d demoRun) show(ctx context.Context, shop simulator.Shop) error {
	s := shop.Tell(demoBatch)
	if err := d.awaitReady(ctx); err != nil {
		return err
	}
	fmt.Fprintf(d.std.out, "loading %d events of %d customers …\n", s.Events, len(s.Customers))
	to := sender{client: http.DefaultClient, server: d.url(""), key: "demo"}
	for i, call := range s.Calls {
		if _, err := to.send(ctx, call); err != nil {
			return fmt.Errorf("call %d of %d: %w", i+1, len(s.Calls), err)
		}
	}
	if err := d.awaitFolded(ctx); err != nil {
		return err
	}
	// Every partition has only heard of its own events; now all know what time it is.
	if _, err := d.client().service().Tick(ctx, &queryv1.TickRequest{To: timestamppb.New(shop.End)}); err != nil {
		return d.client().explain(err)
	}
	return d.tour(ctx, s)
}

func (d demoRun) url(path string) string { return "http://" + d.address + path }

// every calls try now and at intervals until it is done or the context ends.
func every(ctx context.Context, interval time.Duration, try func() (done bool, err error)) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if done, err := try(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// awaitReady asks until the server says that it is ready. A server that ends
// instead ends the context.
func (d demoRun) awaitReady(ctx context.Context) error {
	return every(ctx, demoPoll, func() (bool, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url("/readyz"), nil)
		if err != nil {
			return false, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false, ctx.Err() // not listening yet
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK, nil
	})
}

func (d demoRun) client() *client {
	return &client{std: d.std, server: d.url(""), lang: languageOf(d.std.getenv)}
}

// awaitFolded waits until every partition has folded all that was posted.
func (d demoRun) awaitFolded(ctx context.Context) error {
	service := d.client().service()
	return every(ctx, demoPoll, func() (bool, error) {
		status, err := service.GetStatus(ctx, &queryv1.GetStatusRequest{})
		if err != nil {
			return false, d.client().explain(err)
		}
		var behind int64
		for _, p := range status.GetPartitions() {
			behind += p.GetLagEvents()
		}
		return behind == 0, nil
	})
}

// tour prints commands that work as they stand; what they will say stands beside
// them, asked first.
func (d demoRun) tour(ctx context.Context, s simulator.Tale) error {
	counts, err := d.counts(ctx, `kind == "person"`, `kind == "company"`, demoCondition)
	if err != nil {
		return err
	}
	program, at := programName(), ""
	if d.url("") != defaultServer {
		at = " --server " + d.url("")
	}
	t := &table{}
	add := func(command, comment string) { t.add("  "+program+" "+command+at, "# "+comment) }
	picked := s.Favourites("regular", "won_back", "cart", "lost", "visitor")
	for _, c := range picked {
		stage, err := d.stage(ctx, c.Reference)
		if err != nil {
			return err
		}
		add("get "+c.Reference, stage)
	}
	if len(picked) > 0 {
		add("timeline "+picked[0].Reference+" --type order.placed", "orders alone")
	}
	add("list --where '"+demoCondition+"'", fmt.Sprintf("%d customers", counts[2]))
	add("list --where 'kind == \"company\"'", fmt.Sprintf("%d companies", counts[1]))
	add("find 李", "whose name has it")
	add("tail", "what arrives from now on")
	fmt.Fprintf(d.std.out, "\n%d persons, %d companies. In another terminal:\n\n", counts[0], counts[1])
	if err := t.write(d.std.out); err != nil {
		return err
	}
	if len(picked) > 0 {
		fmt.Fprintf(d.std.out, "  curl -d '{\"customer\":\"%s\"}' -H 'content-type: application/json' %s\n", picked[0].Reference, d.url("/dossier.query.v1.QueryService/GetProfile"))
	}
	fmt.Fprintf(d.std.out, "\nServing on %s until interrupted (Ctrl-C); data in %s\n", d.url(""), d.data)
	return nil
}

// demoCondition is a question that a shop asks.
const demoCondition = `lifecycle.stage == "lost" && orders.netRevenue > 2万`

// counts is how many customers each condition leaves.
func (d demoRun) counts(ctx context.Context, conditions ...string) ([]uint32, error) {
	counts := make([]uint32, len(conditions))
	for i, condition := range conditions {
		resp, err := d.client().service().CountProfiles(ctx, &queryv1.CountProfilesRequest{Filter: condition})
		if err != nil {
			return nil, d.client().explain(err)
		}
		counts[i] = resp.GetCount()
	}
	return counts, nil
}

func (d demoRun) stage(ctx context.Context, reference string) (string, error) {
	resp, err := d.client().service().GetProfile(ctx, &queryv1.GetProfileRequest{Customer: reference, Sections: []string{"lifecycle"}})
	if err != nil {
		return "", d.client().explain(err)
	}
	return printerFor(d.client().lang).stageName(resp.GetProfile().GetLifecycle().GetStage()), nil
}

// programName is how this program was called, as one would call it again.
func programName() string {
	self, err := os.Executable()
	if err != nil || strings.Contains(self, "go-build") {
		return "go run ./cmd/dossier"
	}
	if filepath.Base(os.Args[0]) == os.Args[0] {
		return os.Args[0]
	}
	return self
}
