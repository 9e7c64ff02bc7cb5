package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	modulePath = "github.com/dossier360/dossier"
	// Tests run in their package's directory; the module has one go.mod.
	repoUp = "../.."
)

// repository is the root of the source tree.
var repository = func() string {
	root, err := filepath.Abs(repoUp)
	if err != nil {
		panic(err)
	}
	return root
}()

// topLevel are the names that may stand in the repository's root.
var topLevel = []string{
	"cmd", "docs", "events", "ingest", "projections", "proto", "query",
	"go.mod", "go.sum", "Makefile", "README.md", "LICENSE", "CHANGELOG.md",
	"staticcheck.conf", ".ci", ".git", ".gitignore", "bin", "dossier-data",
}

// arrow says who may import what. `from` and `of` are path prefixes of our
// packages or of others; tests are held to it too, except where said.
type arrow struct {
	of      string   // the import
	only    []string // packages (prefixes) that may
	or      []string // their tests may too
	because string
}

var arrows = []arrow{
	{of: "github.com/dgraph-io/badger", only: []string{"projections/store"}, because: "all keys and transactions go through one package"},
	{of: "github.com/nats-io/", only: []string{"events/natslog", "docs/examples"}, or: []string{"cmd/dossier"}, because: "the log's contract is events.Log"},
	{of: "connectrpc.com/", only: []string{"query", "cmd/dossier", "proto"}, because: "codes and protocols belong to the border"},
	{of: "cel.dev/", only: []string{"query", "ingest/importer"}, because: "filters are one language, mappings another; nothing else is"},
	{of: "github.com/xuri/excelize", only: []string{"ingest/importer"}, or: []string{"ingest/simulator", "cmd/dossier"}, because: "workbooks are read in one place"},
	{of: modulePath + "/events/natslog", only: []string{"events/natslog", "cmd/dossier"}, or: []string{"events", "ingest", "projections", "query"}, because: "only the wiring chooses a log"},
	{of: modulePath + "/events/memlog", only: []string{"events/memlog"}, or: []string{"events", "ingest", "projections", "query", "cmd/dossier"}, because: "the log in memory is for tests"},
}

// layers are our packages from the bottom up. A package imports its own layer's
// subtree and lower layers; the first prefix that fits a package is its layer.
var layers = []struct {
	prefix string
	lower  []string
}{
	{"proto", nil},
	{"events/natslog", []string{"proto", "events"}},
	{"events/memlog", []string{"proto", "events"}},
	{"events/logtest", []string{"proto", "events"}},
	{"events", []string{"proto"}},
	{"projections/store", []string{"proto", "events"}},
	{"projections/profile", []string{"proto", "events"}},
	{"projections/playbook", []string{"proto", "events", "projections/profile"}},
	{"projections/columns", []string{"proto", "events", "projections/profile"}},
	{"projections", []string{"proto", "events"}},
	{"ingest", []string{"proto", "events", "projections/store"}},
	{"query", []string{"proto", "events", "projections", "ingest/directory", "ingest/rejected"}},
	{"cmd", []string{"proto", "events", "projections", "ingest", "query"}},
}

// pure packages decide by what they are given alone: no I/O, no clock, no
// randomness, no goroutine of their own.
var (
	pure          = []string{"projections/profile", "projections/playbook", "projections/columns"}
	impureImports = []string{
		"os", "io", "io/fs", "net", "net/http", "bufio", "log", "log/slog", "context", "sync", "sync/atomic",
		"math/rand", "math/rand/v2", "crypto/rand", "path/filepath", "runtime", "database/sql", "embed",
	}
	// What a pure package may not take from package time.
	clockCalls = []string{"time.Now", "time.Since", "time.Until", "time.Sleep", "time.After", "time.NewTimer", "time.NewTicker", "time.Local", "time.LoadLocation"}
)

// emptyNames say nothing about what a package is for.
var emptyNames = []string{"util", "utils", "common", "helper", "helpers", "base", "types", "models", "misc", "shared", "lib"}

// source is one Go file of ours.
type source struct {
	path    string // slash separated, from the root
	pkg     string // its directory
	name    string // its package clause
	test    bool
	imports []string
	text    string
}

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(repository, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata" || d.Name() == "dossier-data") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ImportsOnly)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(repository, path)
		if err != nil {
			return err
		}
		s := source{path: filepath.ToSlash(relative), name: file.Name.Name, test: strings.HasSuffix(path, "_test.go"), text: string(text)}
		s.pkg = filepath.ToSlash(filepath.Dir(relative))
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			s.imports = append(s.imports, imported)
		}
		all = append(all, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("found %d Go files below %s: this test looks at the wrong place", len(all), repository)
	}
	return all
}

// within reports whether a package is at or below one of the prefixes.
func within(pkg string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return pkg == p || strings.HasPrefix(pkg, p+"/") })
}

// breach says what is wrong with an import, "" if nothing is.
func breach(s source, imported string) string {
	for _, a := range arrows {
		if strings.HasPrefix(imported, a.of) && !within(s.pkg, a.only) && (!s.test || !within(s.pkg, a.or)) {
			return "only " + strings.Join(a.only, ", ") + " may: " + a.because
		}
	}
	if within(s.pkg, pure) && !s.test && slices.Contains(impureImports, imported) {
		return "a pure package"
	}
	ours, isOurs := strings.CutPrefix(imported, modulePath+"/")
	if !isOurs || s.test {
		return "" // tests may reach for fakes and for what stands above
	}
	for _, layer := range layers {
		if within(s.pkg, []string{layer.prefix}) {
			if within(ours, []string{layer.prefix}) || within(ours, layer.lower) {
				return ""
			}
			return "imports of " + layer.prefix + " point down to " + strings.Join(layer.lower, ", ") + " only"
		}
	}
	return "a package that is in no layer"
}

func TestImportsPointDown(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		for _, imported := range s.imports {
			if why := breach(s, imported); why != "" {
				t.Errorf("%s imports %s: %s", s.path, imported, why)
			}
		}
	}
}

// The rules themselves: a table that lets everything pass would be no test.
func TestBreaches(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		pkg, imported string
		test, breach  bool
	}{
		{"projections/store", "github.com/dgraph-io/badger/v4", false, false},
		{"projections", "github.com/dgraph-io/badger/v4", false, true},
		{"ingest/directory", "github.com/dgraph-io/badger/v4", true, true},
		{"events/natslog", "github.com/nats-io/nats.go/jetstream", false, false},
		{"events", "github.com/nats-io/nats.go", false, true},
		{"cmd/dossier", "github.com/nats-io/nats.go", false, true},
		{"cmd/dossier", "github.com/nats-io/nats.go", true, false},
		{"ingest", "connectrpc.com/connect", false, true},
		{"query", "connectrpc.com/connect", false, false},
		{"query", "cel.dev/cel-go/cel", false, false},
		{"projections", "cel.dev/cel-go/cel", false, true},
		{"projections/profile", "os", false, true},
		{"projections/profile", "os", true, false},
		{"projections/playbook", "math/rand/v2", false, true},
		{"projections", modulePath + "/query", false, true},
		{"projections", modulePath + "/projections/profile", false, false},
		{"projections", modulePath + "/ingest", false, true},
		{"ingest", modulePath + "/query", false, true},
		{"query", modulePath + "/ingest", false, true},
		{"query", modulePath + "/ingest/directory", false, false},
		{"events", modulePath + "/projections", false, true},
		{"events", modulePath + "/events/natslog", false, true},
		{"proto/dossier/events/v1", modulePath + "/events", false, true},
		{"elsewhere", modulePath + "/events", false, true},
	} {
		why := breach(source{pkg: tc.pkg, test: tc.test}, tc.imported)
		if got := why != ""; got != tc.breach {
			t.Errorf("%s imports %s (test: %v): breach %v (%s), want %v", tc.pkg, tc.imported, tc.test, got, why, tc.breach)
		}
	}
}

func TestPurePackagesReadNoClock(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if s.test || !within(s.pkg, pure) {
			continue
		}
		for _, call := range clockCalls {
			if strings.Contains(s.text, call) {
				t.Errorf("%s mentions %s: the settled time is an argument", s.path, call)
			}
		}
		for line := range strings.Lines(s.text) {
			if strings.HasPrefix(strings.TrimSpace(line), "go func") {
				t.Errorf("%s starts a goroutine: a pure package has none", s.path)
			}
		}
	}
}

func TestPackageNamesSaySomething(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		for part := range strings.SplitSeq(s.pkg, "/") {
			if slices.Contains(emptyNames, part) {
				t.Errorf("%s lies in a folder called %s", s.path, part)
			}
		}
		if name := strings.TrimSuffix(s.name, "_test"); slices.Contains(emptyNames, name) {
			t.Errorf("%s: a package called %s", s.path, name)
		}
	}
}

// Every package says what it promises, once.
func TestPackagesAreDocumented(t *testing.T) {
	t.Parallel()
	documented := map[string]bool{}
	for _, s := range sources(t) {
		if s.test || strings.HasPrefix(s.pkg, "proto/") {
			continue
		}
		documented[s.pkg] = documented[s.pkg] || strings.Contains(s.text, "\n// Package "+s.name+" ") || strings.HasPrefix(s.text, "// Package "+s.name+" ") ||
			strings.HasPrefix(s.text, "// Command ")
	}
	for _, pkg := range slices.Sorted(maps.Keys(documented)) {
		if !documented[pkg] {
			t.Errorf("package %s has no doc comment", pkg)
		}
	}
}

func TestTopLevel(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(repository)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.Contains(topLevel, e.Name()) {
			t.Errorf("%s stands in the repository's root, where only %s may", e.Name(), strings.Join(topLevel, ", "))
		}
	}
}
