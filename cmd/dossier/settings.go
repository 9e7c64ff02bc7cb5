package main

import (
	"errors"
	"flag"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"golang.org/x/text/currency"

	"github.com/dossier360/dossier/events/natslog"
	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/directory"
)

// settings are what `dossier serve` runs with. Each is a flag, an environment
// variable (DOSSIER_ and the flag's name in upper case with _ for -) and a key
// of the --config file; the flag wins over the variable, that over the file.
type settings struct {
	config string
	data   string
	http   string
	nats   string // listener of the embedded server, or "off"
	sync   string

	// Of a NATS server of another process; "": the embedded one.
	natsURL      string
	natsCreds    string
	natsReplicas int

	// Of a new log only; 0 and "": what the log has.
	partitions   int
	clock        string
	clockEnd     string
	timezone     string
	baseCurrency string

	// File of the settings of identifier types, and what stands in it, or in the
	// section of the --config file; nil: what the log has.
	identifiers string
	types       *directory.Types

	tick        time.Duration
	identityKey string
	writeKeys   list // [NAME=]KEY
	readKeys    list
	natsUsers   list // NAME:PASS
	corsOrigins list
	ingestMiB   int
	logLevel    slog.Level
	logFormat   string
}

const serveHelp = `Runs the engine: HTTP ingest and queries, the log (an embedded NATS server with
JetStream, or with --nats a server that runs elsewhere) and the projections, in
this process. --partitions, --clock,
--clock-end, --timezone and --base-currency act when the log is created; a later
different value is refused. --identifiers is written into the log where it says
something new, and holds for all who serve it. Every flag is also an environment variable
(DOSSIER_NATS_LISTEN for --nats-listen; several values separated by commas) and
a key of the --config file; a flag wins over the variable, that over the file.
SIGTERM stops in order.`

func (s *settings) flags(std stdio) *flags {
	fs := newFlags(std, "serve", "serve [flags]", serveHelp)
	fs.StringVar(&s.config, "config", "", "YAML `file` with flag names as keys")
	fs.StringVar(&s.data, "data", "./dossier-data", "`directory` of log, projections and identity key")
	fs.StringVar(&s.http, "http", "127.0.0.1:8360", "`address` of ingest and queries")
	fs.StringVar(&s.nats, "nats-listen", "127.0.0.1:4222", "`address` of the embedded NATS server, or off")
	fs.StringVar(&s.natsURL, "nats", "", "`URL` of a NATS server or cluster (several with commas) that holds the log instead of the embedded one")
	fs.StringVar(&s.natsCreds, "nats-creds", "", "with --nats: `file` with the credentials (JWT and seed) of our user")
	fs.IntVar(&s.natsReplicas, "nats-replicas", 1, "with --nats: `number` of replicas of the streams (at creation), 1 to 5")
	fs.StringVar(&s.sync, "sync", "always", "`always`: acknowledged means fsynced; interval: within a second")
	fs.IntVar(&s.partitions, "partitions", 0, "`number` of partitions, 1 to 99 (at creation; default 4)")
	fs.StringVar(&s.clock, "clock", "", "`wall` or events: where log time comes from (at creation; default wall)")
	fs.StringVar(&s.clockEnd, "clock-end", "", "with --clock events: the latest `time` an event may have (at creation; default the creation)")
	fs.StringVar(&s.timezone, "timezone", "", "IANA `zone` of days (at creation; default UTC)")
	fs.StringVar(&s.baseCurrency, "base-currency", "", "ISO 4217 `code` (at creation; default CNY)")
	fs.DurationVar(&s.tick, "tick", 15*time.Second, "how long a due timer may wait: at least `1ms`")
	fs.StringVar(&s.identityKey, "identity-key", "", "`file` of the identity key (default <data>/identity.key)")
	fs.StringVar(&s.identifiers, "identifiers", "", "YAML `file` with the settings of identifier types (default what the log has)")
	fs.Var(&s.writeKeys, "write-key", "`[NAME=]KEY` that publishers present; NAME is their source (repeatable)")
	fs.Var(&s.readKeys, "read-key", "`KEY` that queries present as Bearer (repeatable)")
	fs.Var(&s.natsUsers, "nats-user", "`NAME:PASS` of a NATS client (repeatable)")
	fs.Var(&s.corsOrigins, "cors-origin", "`origin` that may query from a browser, or * (repeatable)")
	fs.IntVar(&s.ingestMiB, "ingest-memory-mib", 512, "`MiB` that events may take before they are logged; beyond it publishers are told to come again")
	fs.TextVar(&s.logLevel, "log-level", slog.LevelInfo, "debug, info, warn or error: what is logged to standard error")
	fs.StringVar(&s.logFormat, "log-format", "text", "`text` (key=value) or json: how, a line each")
	return fs
}

// parseSettings reads flags, environment and file, and checks the whole.
func parseSettings(std stdio, args []string) (settings, error) {
	var s settings
	fs := s.flags(std)
	if _, err := fs.parse(args); err != nil {
		return s, err
	}
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	// A flag that was given wins; so what comes after may not set it again.
	if err := fromEnvironment(fs, std.getenv, given); err != nil {
		return s, err
	}
	if err := fromFile(fs, &s, given); err != nil {
		return s, err
	}
	if err := s.readTypes(); err != nil {
		return s, err
	}
	if given["partitions"] && s.partitions == 0 {
		return s, wrongUsage("--partitions 0: 1 to 99 wanted")
	}
	if s.natsURL != "" && !given["nats-listen"] {
		s.nats = "off"
	}
	if s.identityKey == "" {
		s.identityKey = filepath.Join(s.data, "identity.key")
	}
	return s, s.check()
}

func fromEnvironment(fs *flags, getenv func(string) string, given map[string]bool) error {
	var errs []error
	fs.VisitAll(func(f *flag.Flag) {
		name := "DOSSIER_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value := getenv(name)
		if value == "" || given[f.Name] {
			return
		}
		given[f.Name] = true
		values := []string{value}
		if _, ok := f.Value.(*list); ok {
			values = strings.Split(value, ",")
		}
		for _, v := range values {
			if err := fs.Set(f.Name, v); err != nil {
				errs = append(errs, wrongUsage("%s=%q: %v", name, v, err))
			}
		}
	})
	return errors.Join(errs...)
}

func fromFile(fs *flags, s *settings, given map[string]bool) error {
	path := s.config
	if path == "" {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return wrongUsage("--config: %v", err)
	}
	var file map[string]yaml.Node
	if err := yaml.Unmarshal(data, &file); err != nil {
		return wrongUsage("--config %s: %v", path, err)
	}
	for _, name := range slices.Sorted(maps.Keys(file)) {
		node := file[name]
		if fs.Lookup(name) == nil || name == "config" {
			return wrongUsage("--config %s, line %d: no setting %q; `dossier serve -h` lists them", path, node.Line, name)
		}
		if given[name] {
			continue
		}
		given[name] = true
		if name == "identifiers" && node.Kind != yaml.ScalarNode {
			if s.types, err = directory.DecodeTypes(&node); err != nil {
				return wrongUsage("--config %s, %v", path, err)
			}
			continue
		}
		var values []string
		switch node.Kind {
		case yaml.ScalarNode:
			values = []string{node.Value}
		case yaml.SequenceNode:
			if err := node.Decode(&values); err != nil {
				return wrongUsage("--config %s, line %d: %s: %v", path, node.Line, name, err)
			}
		default:
			return wrongUsage("--config %s, line %d: %s: a value or a list of values wanted", path, node.Line, name)
		}
		for _, v := range values {
			if err := fs.Set(name, v); err != nil {
				return wrongUsage("--config %s, line %d: %s: %q: %v", path, node.Line, name, v, err)
			}
		}
	}
	return nil
}

// readTypes reads the file of --identifiers.
func (s *settings) readTypes() error {
	if s.identifiers == "" {
		return nil
	}
	text, err := os.ReadFile(s.identifiers)
	if err != nil {
		return wrongUsage("--identifiers: %v", err)
	}
	if s.types, err = directory.ParseTypes(text); err != nil {
		return wrongUsage("--identifiers %s: %v", s.identifiers, err)
	}
	return nil
}

// logDir is where the log stands.
func (s *settings) logDir() string { return filepath.Join(s.data, "log") }

// check refuses what cannot be served.
func (s *settings) check() error {
	switch {
	case s.sync != "always" && s.sync != "interval":
		return wrongUsage("--sync %q: always or interval wanted", s.sync)
	case s.clock != "" && s.clock != "wall" && s.clock != "events":
		return wrongUsage("--clock %q: wall or events wanted", s.clock)
	case s.partitions < 0 || s.partitions > 99:
		return wrongUsage("--partitions %d: 1 to 99 wanted", s.partitions)
	case s.tick < time.Millisecond:
		return wrongUsage("--tick %v: at least 1ms wanted", s.tick)
	case s.ingestMiB < minIngestMiB || s.ingestMiB > maxIngestMiB:
		return wrongUsage("--ingest-memory-mib %d: %d to %d wanted", s.ingestMiB, minIngestMiB, maxIngestMiB)
	case s.logFormat != "text" && s.logFormat != "json":
		return wrongUsage("--log-format %q: text or json wanted", s.logFormat)
	}
	if err := s.checkExternal(); err != nil {
		return err
	}
	if s.timezone != "" {
		if _, err := time.LoadLocation(s.timezone); err != nil || s.timezone == "Local" {
			return wrongUsage("--timezone %q: an IANA name like Asia/Shanghai wanted", s.timezone)
		}
	}
	if s.baseCurrency != "" {
		if unit, err := currency.ParseISO(s.baseCurrency); err != nil || unit.String() != s.baseCurrency {
			return wrongUsage("--base-currency %q: an ISO 4217 code like CNY wanted", s.baseCurrency)
		}
	}
	if s.clockEnd != "" {
		if _, err := time.Parse(time.RFC3339, s.clockEnd); err != nil {
			return wrongUsage("--clock-end %q: a time like 1998-06-30T23:59:59Z wanted", s.clockEnd)
		}
	}
	if _, err := s.sources(); err != nil {
		return err
	}
	if _, err := s.users(); err != nil {
		return err
	}
	return errors.Join(
		guarded("--http", s.http, "--write-key", len(s.writeKeys)),
		guarded("--http", s.http, "--read-key", len(s.readKeys)),
		guarded("--nats-listen", s.nats, "--nats-user", len(s.natsUsers)),
	)
}

// Bounds of --ingest-memory-mib: the greatest call, inflated and decoded, must
// fit.
const (
	minIngestMiB = 128
	maxIngestMiB = 1 << 20
)

// ingestMemoryBytes is what events may take before they are logged.
func (s *settings) ingestMemoryBytes() int64 { return int64(s.ingestMiB) << 20 }

// external reports whether the log is on a NATS server of another process.
func (s *settings) external() bool { return s.natsURL != "" }

// checkExternal refuses settings of the embedded server beside an external
// one, and the other way round.
func (s *settings) checkExternal() error {
	if !s.external() {
		switch {
		case s.natsCreds != "":
			return wrongUsage("--nats-creds %s is for an external server: --nats URL is missing", s.natsCreds)
		case s.natsReplicas != 1:
			return wrongUsage("--nats-replicas %d is for an external server: --nats URL is missing", s.natsReplicas)
		}
		return nil
	}
	shown := natslog.Redact(s.natsURL)
	switch {
	case s.nats != "off":
		return wrongUsage("--nats %s and --nats-listen %s: with an external server there is no embedded one that could listen", shown, s.nats)
	case len(s.natsUsers) > 0:
		return wrongUsage("--nats %s and --nats-user: users of an external server stand in its own configuration", shown)
	case s.natsReplicas < 1 || s.natsReplicas > natslog.MaxReplicas:
		return wrongUsage("--nats-replicas %d: 1 to %d wanted", s.natsReplicas, natslog.MaxReplicas)
	}
	for one := range strings.SplitSeq(s.natsURL, ",") {
		if !isServer(strings.TrimSpace(one)) {
			return wrongUsage("--nats %s: a URL like nats://127.0.0.1:4222 or tls://nats.example:4222 wanted, of several servers each, and in a password %%40 for @, %%2F for / and so on", shown)
		}
	}
	return nil
}

// isServer reports whether a URL names a server and nothing of it: what would
// be its path or query is likely part of a password.
func isServer(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "nats" || u.Scheme == "tls") && u.Host != "" &&
		(u.Path == "" || u.Path == "/") && u.RawQuery == "" && !u.ForceQuery && u.Fragment == ""
}

// guarded refuses a listener that others can reach without the key that guards
// it.
func guarded(flag, address, key string, keys int) error {
	if address == "off" {
		return nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return wrongUsage("%s %q: host:port wanted: %v", flag, address, err)
	}
	if keys > 0 || host == "localhost" {
		return nil
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		return nil
	}
	return wrongUsage("%s %s can be reached from other machines; it needs %s", flag, address, key)
}

// sources maps write keys to the sources they stand for, "" where none is
// named.
func (s *settings) sources() (map[string]string, error) {
	keys := map[string]string{}
	for _, v := range s.writeKeys {
		name, key, named := strings.Cut(v, "=")
		if !named {
			name, key = "", v
		}
		switch {
		case named && !ingest.ValidSource(name):
			return nil, wrongUsage("--write-key: name %q: 1 to 40 of a-z 0-9 _ - wanted", name)
		case key == "":
			return nil, wrongUsage("--write-key: the key of %q is empty", name)
		}
		if other, twice := keys[key]; twice && other != name {
			return nil, wrongUsage("--write-key: one key for both %q and %q", other, name)
		}
		keys[key] = name
	}
	return keys, nil
}

// users maps names of NATS clients to passwords.
func (s *settings) users() (map[string]string, error) {
	users := map[string]string{}
	for _, v := range s.natsUsers {
		name, password, ok := strings.Cut(v, ":")
		if !ok || name == "" || password == "" {
			return nil, wrongUsage("--nats-user: NAME:PASS wanted")
		}
		users[name] = password
	}
	return users, nil
}
