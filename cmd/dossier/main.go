// Command dossier keeps a file on every customer: behaviour in, profile and
// lifecycle stage out. See the README for a first run.
//
// Every subcommand is one file of this package. `serve` is the engine; the
// others are clients of a running one. Exit status: 0 done, 1 failed, 2 wrong
// usage, 3 a check found a difference.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit statuses; scripts rely on them.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// stdio is what a process has of the outside world, so that tests can be it.
type stdio struct {
	in     io.Reader
	out    io.Writer
	err    io.Writer
	getenv func(string) string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal stops in order; a second one kills, as ever.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, stdio{in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv}, os.Args[1:]))
}

// run is the whole program; it returns the exit status.
func run(ctx context.Context, std stdio, args []string) int {
	if len(args) == 0 {
		fmt.Fprint(std.err, usage)
		return exitUsage
	}
	name, rest := args[0], args[1:]
	switch name {
	case "serve":
		return serve(ctx, std, rest)
	case "demo":
		return exit(std, name, demo(ctx, std, rest))
	case "import":
		return exit(std, name, importFiles(ctx, std, rest))
	case "get":
		return exit(std, name, get(ctx, std, rest))
	case "timeline":
		return exit(std, name, timeline(ctx, std, rest))
	case "set":
		return exit(std, name, set(ctx, std, rest))
	case "unset":
		return exit(std, name, unset(ctx, std, rest))
	case "list":
		return exit(std, name, listCustomers(ctx, std, rest))
	case "find":
		return exit(std, name, find(ctx, std, rest))
	case "tail":
		return exit(std, name, tail(ctx, std, rest))
	case "link":
		return exit(std, name, link(ctx, std, rest))
	case "merge":
		return exit(std, name, merge(ctx, std, rest))
	case "split":
		return exit(std, name, split(ctx, std, rest))
	case "merges":
		return exit(std, name, merges(ctx, std, rest))
	case "conflicts":
		return exit(std, name, conflicts(ctx, std, rest))
	case "suspects":
		return exit(std, name, suspects(ctx, std, rest))
	case "apart":
		return exit(std, name, apart(ctx, std, rest))
	case "block":
		return exit(std, name, block(ctx, std, rest))
	case "members":
		return exit(std, name, members(ctx, std, rest))
	case "rejected":
		return exit(std, name, rejectedEvents(ctx, std, rest))
	case "parked":
		return exit(std, name, parkedEvents(ctx, std, rest))
	case "simulate":
		return exit(std, name, simulateLife(ctx, std, rest))
	case "bench":
		return exit(std, name, bench(ctx, std, rest))
	case "tick":
		return exit(std, name, tick(ctx, std, rest))
	case "rekey":
		return exit(std, name, rekey(ctx, std, rest))
	case "version", "-version", "--version":
		return exit(std, name, version(std, rest))
	case "help", "-h", "-help", "--help":
		return help(ctx, std, rest)
	default:
		fmt.Fprintf(std.err, "dossier: no command %q; `dossier help` lists them\n", name)
		return exitUsage
	}
}

const usage = `Dossier keeps a file on every customer: behaviour in, profile and stage out.

usage: dossier <command> [flags] [arguments]

  serve          run the engine: ingest, log, projections and query in one process
  demo           serve in a fresh directory with a sample shop loading in

  import FILE… --map MAP.yaml
                 what files tell, as a mapping says; safe to repeat

  get REF        one customer's profile
  find TEXT      customers by name, phone, company or identifier
  list           customers by a condition, in an order: --where, --order, --csv
  timeline REF   one customer's events, newest first
  set REF NAME=VALUE… --reason TEXT
                 facts told by hand, which outrank imports until released
  unset REF NAME… --reason TEXT
                 release facts told by hand

  link ID ID…    identifiers are one customer's
  merge REF REF… customers are one
  split --undo MERGE | REF ID…
                 they are two: take a merge back, or identifiers out
  apart REF REF  they are not the same, and no event joins them
  block ID       an identifier names nobody
  merges [REF]   the history of merges and splits
  conflicts      who was named together and not joined: list, show, approve, dismiss
  suspects       who is probably the same: list, join, dismiss
  members REF    the persons of a company

  tail           events and refused input as they arrive
  rejected       what was refused and waits: list, show, retry, export
  parked         what could not be applied: list, show, retry, export
  simulate       tell a made-up life over HTTP or NATS, or into files
  bench          measure a server: events a second, latency, and the log's ceiling
  tick --to T    move time (deployments on --clock events only)
  rekey          change the identity key of a log that nobody serves
  version        build and format versions

REF is <identifier type>:<value>, as email:ann@example.com or user_id:42, or a
customer id. All that ask a server take --server URL (env DOSSIER_SERVER), and
--read-key KEY (env DOSSIER_READ_KEY) or, to tell it something, --write-key KEY
(env DOSSIER_WRITE_KEY); they and version take --json and --lang zh|en (default
from LANG).
` + "`dossier <command> -h`" + ` tells the flags of one command.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 a check found a difference.
`

// help answers `dossier help [command]` on standard output.
func help(ctx context.Context, std stdio, args []string) int {
	if len(args) == 0 || args[0] == "help" {
		fmt.Fprint(std.out, usage)
		return exitDone
	}
	return run(ctx, std, []string{args[0], "-h"})
}

// usageError says that the command line is wrong.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

func wrongUsage(format string, args ...any) error {
	return usageError{fmt.Sprintf(format, args...)}
}

// exit prints how a command ended and returns the status for it.
func exit(std stdio, command string, err error) int {
	var wrong usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitDone
	case errors.As(err, &wrong):
		fmt.Fprintf(std.err, "dossier %s: %s\n", command, wrong.text)
		return exitUsage
	default:
		fmt.Fprintf(std.err, "dossier %s: %v\n", command, err)
		return exitFailed
	}
}
