package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

const (
	demoPoll = 100 * time.Millisecond
	// A batch that the server is too busy for is tried again this often.
	demoTries = 20
)

// demo serves with a sample shop loading in, and says what to look at.
func demo(ctx context.Context, std stdio, args []string) error {
	fs := newFlags(std, "demo", "demo [flags]",
		"Serves in a fresh directory, posts two years of a small made-up shop to itself,\nsays what to look at, and goes on serving until interrupted.")
	var (
		shop = sampleShop{End: time.Now().UTC().Truncate(time.Minute)}
		d    = demoRun{std: std}
	)
	fs.StringVar(&d.data, "data", "", "`directory` to keep; default: a temporary one, removed at the end")
	fs.StringVar(&d.address, "http", "127.0.0.1:8360", "`address` to serve on")
	fs.Uint64Var(&shop.Seed, "seed", 1, "`number` that the sample is made from")
	fs.IntVar(&shop.Customers, "customers", 200, "`number` of customers")
	if _, err := fs.parse(args); err != nil {
		return err
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

func (d demoRun) run(ctx context.Context, shop sampleShop) (err error) {
	if d.data == "" {
		if d.data, err = os.MkdirTemp("", "dossier-demo-"); err != nil {
			return fmt.Errorf("make a directory for the demo: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(d.data)) }()
	}
	serving, stop := context.WithCancel(ctx)
	defer stop()
	// Only the HTTP side is shown; a NATS listener might meet another's port.
	s, err := parseSettings(d.std, []string{"--data", d.data, "--http", d.address, "--nats-listen", "off", "--log-level", "warn"})
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
func (d demoRun) show(ctx context.Context, shop sampleShop) error {
	s, err := shop.build()
	if err != nil {
		return err
	}
	if err := d.awaitReady(ctx); err != nil {
		return err
	}
	fmt.Fprintf(d.std.out, "loading %d events of %d customers …\n", s.Events, len(s.Customers))
	for i, body := range s.Batches {
		if err := d.post(ctx, body); err != nil {
			return fmt.Errorf("post batch %d of %d: %w", i+1, len(s.Batches), err)
		}
	}
	if err := d.awaitFolded(ctx); err != nil {
		return err
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

// post sends one batch, waiting where the server asks for it.
func (d demoRun) post(ctx context.Context, body []byte) error {
	for range demoTries {
		wait, err := d.tryPost(ctx, body)
		if err != nil || wait == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
	return fmt.Errorf("the server was too busy %d times", demoTries)
}

// tryPost returns how long to wait before the same call again, 0 if it is done.
func (d demoRun) tryPost(ctx context.Context, body []byte) (time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url("/v1/batch"), bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth("demo", "")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return 0, checkAccepted(resp.Body)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After")) // absent: 0
		return max(demoPoll, time.Duration(seconds)*time.Second), nil
	default:
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // what there is of it
		return 0, fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(text))
	}
}

// checkAccepted insists that the sample is good: a demo of rejects is none.
func checkAccepted(body io.Reader) error {
	var answer struct {
		Rejected []struct{ Message string } `json:"rejected"`
	}
	if err := json.NewDecoder(body).Decode(&answer); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if n := len(answer.Rejected); n > 0 {
		return fmt.Errorf("%d events of the sample were rejected, the first: %s", n, answer.Rejected[0].Message)
	}
	return nil
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

// tour prints commands that work as they stand, each checked first.
func (d demoRun) tour(ctx context.Context, s sample) error {
	service := d.client().service()
	count, err := service.CountProfiles(ctx, &queryv1.CountProfilesRequest{})
	if err != nil {
		return d.client().explain(err)
	}
	p := printerFor(d.client().lang)
	program := programName()
	at := ""
	if d.url("") != defaultServer {
		at = " --server " + d.url("")
	}
	t := &table{}
	picked := s.favourites("regular", "won_back", "cart", "lost", "visitor")
	for _, c := range picked {
		resp, err := service.GetProfile(ctx, &queryv1.GetProfileRequest{Customer: c.Reference, Sections: []string{"lifecycle"}})
		if err != nil {
			return d.client().explain(err)
		}
		t.add("  "+program+" get "+c.Reference+at, "# "+p.stageName(resp.GetProfile().GetLifecycle().GetStage()))
	}
	if len(picked) > 0 {
		t.add("  " + program + " timeline " + picked[0].Reference + " --type order.placed" + at)
		t.add("  curl -d '{\"customer\":\"" + picked[0].Reference + "\"}' -H 'content-type: application/json' " + d.url("/dossier.query.v1.QueryService/GetProfile"))
	}
	fmt.Fprintf(d.std.out, "\n%d customers. In another terminal:\n\n", count.GetCount())
	if err := t.write(d.std.out); err != nil {
		return err
	}
	fmt.Fprintf(d.std.out, "\nServing on %s until interrupted (Ctrl-C); data in %s\n", d.url(""), d.data)
	return nil
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
