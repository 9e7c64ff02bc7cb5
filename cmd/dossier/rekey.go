package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/natslog"
	"github.com/dossier360/dossier/ingest/directory"
)

const rekeyHelp = `Changes the identity key of a log, for one that leaked. Nobody may serve the log
meanwhile: stop every server of it first. It reads all events, for they hold the
identifiers in clear, and notes in the log under which new hash each is known.
Who is known keeps his hashes: whoever has the former key and the log can still
test guesses about him, but not about anybody who comes later.

The new key is made beside the former one, and takes its place in the end; the
former one is kept for the backups made before. Give the new one to all who serve
the log. If it is interrupted, the former key holds on; run it again.`

// rekeying is the command `dossier rekey`.
type rekeying struct {
	std    stdio
	s      settings
	next   string // file of the new key
	dryRun bool
	json   bool
}

func rekey(ctx context.Context, std stdio, args []string) error {
	r := &rekeying{std: std, s: settings{nats: "off", sync: "always", natsReplicas: 1, logLevel: slog.LevelWarn}}
	if err := r.parse(args); err != nil {
		return err
	}
	e := &engine{logger: newLogger(std, r.s)}
	defer e.stop()
	if err := r.open(ctx, e); err != nil {
		return err
	}
	key, next, err := r.keys()
	if err != nil {
		return err
	}
	minter := directory.NewMinter(time.Now, rand.Reader)
	gateway := minter.Mint()
	done, err := directory.Rekey(ctx, directory.RekeyOptions{
		Log: e.log, Key: key, Next: next, Minter: minter, Gateway: gateway[:], DryRun: r.dryRun, Progress: r.progress,
	})
	if err != nil {
		return err
	}
	if r.dryRun {
		return r.print(done, "")
	}
	former, err := r.swap(key)
	if err != nil {
		return fmt.Errorf("the new key holds, but is not in its place: move %s to %s: %w", r.next, r.s.identityKey, err)
	}
	return r.print(done, former)
}

func (r *rekeying) parse(args []string) error {
	fs := newFlags(r.std, "rekey", "rekey [flags]", rekeyHelp)
	fs.StringVar(&r.s.data, "data", "./dossier-data", "`directory` of log and identity key")
	fs.StringVar(&r.s.natsURL, "nats", "", "`URL` of the NATS server that holds the log, if it is another process")
	fs.StringVar(&r.s.natsCreds, "nats-creds", "", "with --nats: `file` with the credentials of our user")
	fs.StringVar(&r.s.identityKey, "identity-key", "", "`file` of the identity key (default <data>/identity.key)")
	fs.StringVar(&r.next, "next-key", "", "`file` of the new key, made if it is not there (default the identity key's with .next)")
	fs.BoolVar(&r.dryRun, "dry-run", false, "count only, change nothing")
	fs.BoolVar(&r.json, "json", false, "print JSON")
	if _, err := fs.parse(args); err != nil {
		return err
	}
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if err := fromEnvironment(fs, r.std.getenv, given); err != nil {
		return err
	}
	if r.s.identityKey == "" {
		r.s.identityKey = filepath.Join(r.s.data, "identity.key")
	}
	if r.next == "" {
		r.next = r.s.identityKey + ".next"
	}
	return r.s.checkExternal()
}

// open opens the log, which must be there.
func (r *rekeying) open(ctx context.Context, e *engine) (err error) {
	if r.s.external() {
		dial, cancel := context.WithTimeout(ctx, reachTimeout)
		defer cancel()
		e.log, err = natslog.Open(dial, natslog.Dial{
			URL: r.s.natsURL, Credentials: r.s.natsCreds, Replicas: r.s.natsReplicas, Logger: e.quiet(),
		})
		if err != nil {
			return fmt.Errorf("--nats %s: %w", natslog.Redact(r.s.natsURL), err)
		}
		return nil
	}
	if !natslog.Begun(r.s.logDir()) {
		return wrongUsage("--data %s: no log is there", r.s.data)
	}
	return e.openLog(ctx, r.s)
}

// keys reads the former key, which must be there, and makes the next. A dry run
// leaves none behind.
func (r *rekeying) keys() (key, next directory.Key, err error) {
	if _, err := os.Stat(r.s.identityKey); err != nil {
		return key, next, fmt.Errorf("identity key: %w", err)
	}
	if key, err = directory.LoadOrCreateKey(r.s.identityKey); err != nil {
		return key, next, err
	}
	if _, err := os.Stat(r.next); r.dryRun && errors.Is(err, os.ErrNotExist) {
		rand.Read(next[:]) // never fails
		return key, next, nil
	}
	next, err = directory.LoadOrCreateKey(r.next)
	if err == nil && next == key {
		err = fmt.Errorf("%s is the key that holds", r.next)
	}
	return key, next, err
}

// swap puts the new key in its place, and keeps the former one under a name of
// its own, which it returns.
func (r *rekeying) swap(key directory.Key) (string, error) {
	former := r.s.identityKey + ".former-" + hex.EncodeToString(directory.KeyCheck(key)[:4])
	if err := os.Link(r.s.identityKey, former); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	if err := os.Rename(r.next, r.s.identityKey); err != nil {
		return "", err
	}
	dir, err := os.Open(filepath.Dir(r.s.identityKey))
	if err != nil {
		return "", err
	}
	return former, errors.Join(dir.Sync(), dir.Close())
}

// progress tells which stream is read.
func (r *rekeying) progress(stream events.Stream, read, of uint64) {
	if read == 1 && !r.json {
		fmt.Fprintf(r.std.err, "reading %s, %d messages\n", stream, of)
	}
}

func (r *rekeying) print(done directory.Rekeyed, former string) error {
	if r.json {
		encoder := json.NewEncoder(r.std.out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(map[string]any{
			"dryRun": r.dryRun, "already": done.Already, "known": done.Known, "lost": done.Lost,
			"identityKey": r.s.identityKey, "formerKey": former,
		})
	}
	var b strings.Builder
	switch {
	case done.Already:
		b.WriteString("The new key held already; it was only not in its place.\n")
	case r.dryRun:
		fmt.Fprintf(&b, "%d identifiers would be known under a new key.\n", done.Known)
	default:
		fmt.Fprintf(&b, "%d identifiers are known under the new key.\n", done.Known)
	}
	if len(done.Lost) > 0 {
		lost, total := make([]string, 0, len(done.Lost)), 0
		for _, typ := range slices.Sorted(maps.Keys(done.Lost)) {
			lost, total = append(lost, fmt.Sprintf("%s %d", typ, done.Lost[typ])), total+done.Lost[typ]
		}
		fmt.Fprintf(&b, "%d stand in no event (%s): whoever is told by one of them is somebody new.\n", total, strings.Join(lost, ", "))
	}
	if r.dryRun {
		b.WriteString("Nothing was changed.\n")
	} else {
		fmt.Fprintf(&b, "The new key is %s; the former one is %s.\n", r.s.identityKey, former)
	}
	_, err := fmt.Fprint(r.std.out, b.String())
	return err
}
