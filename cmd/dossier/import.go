package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/importer"
	"github.com/dossier360/dossier/ingest/importer/mapping"
)

// maxListedOutcomes is how many rejected and conflicting rows are listed.
const maxListedOutcomes = 50

const importHelp = `Imports files as a mapping file says, and says what became of every row: new,
changed, known already, conflicting or rejected. docs/IMPORT.md tells how to
write a mapping; FILE may be packed by gzip or zip.

An import may be repeated, and one that was interrupted is: what is known by
source and record id is not sent again. A record that says something else than
before is sent as a correction of what happened, or as the latest of how things
are. Rows that are rejected end nothing; they are listed, and --rejects keeps
them all with the reason beside the row.`

// importCommand is one `dossier import`.
type importCommand struct {
	*client
	mapFile, source, rejectsFile string
	dry                          bool
	wait                         time.Duration

	mapping *mapping.Mapping
	files   *importer.Files
	begun   time.Time
	display *importDisplay
	rejects *rejectsFile
	// listed are the first rejected and conflicting rows, of more in all.
	listed   []importer.Outcome
	unlisted int64
}

// importFiles sends what files tell to a server.
func importFiles(ctx context.Context, std stdio, args []string) error {
	c := &importCommand{client: &client{std: std, flags: newFlags(std, "import", "import FILE… --map MAP.yaml [flags]", importHelp)}}
	c.flags.StringVar(&c.mapFile, "map", "", "`MAP.yaml`: what the rows are (required)")
	c.flags.StringVar(&c.source, "source", "", "`NAME` of where the files are from, [a-z0-9_-]{1,40}; record ids are told apart by it (default: the mapping's)")
	c.flags.BoolVar(&c.dry, "dry-run", false, "tell what would become of every row, and send nothing")
	c.flags.StringVar(&c.rejectsFile, "rejects", "", "`FILE.csv` for the rejected and conflicting rows, with the reason")
	c.flags.DurationVar(&c.wait, "wait", importer.DefaultWait, "how `long` a server that is busy or away is waited for")
	c.writeKeyFlag()
	c.flags.StringVar(&c.server, "server", cmp.Or(std.getenv("DOSSIER_SERVER"), defaultServer), "`URL` of the server (env DOSSIER_SERVER)")
	c.flags.form(std, &c.lang, &c.json)
	paths, err := c.parse(args, "FILE…")
	if err != nil {
		return err
	}
	if err := c.settle(); err != nil {
		return err
	}
	if err := c.open(paths); err != nil {
		return err
	}
	return c.run(ctx)
}

// settle checks the command's own flags.
func (c *importCommand) settle() error {
	switch {
	case c.mapFile == "":
		return wrongUsage("--map missing; a mapping file says what the rows are: see docs/IMPORT.md")
	case c.source != "" && !ingest.ValidSource(c.source):
		return wrongUsage("--source %q: [a-z0-9_-]{1,40} wanted", c.source)
	case c.wait <= 0:
		return wrongUsage("--wait %s: more than nothing wanted, as 10m", c.wait)
	}
	return nil
}

// open reads the mapping and what it looks up, and finds the files.
func (c *importCommand) open(paths []string) error {
	text, err := readMapping(c.mapFile)
	if err != nil {
		return wrongUsage("--map: %v", err)
	}
	if c.mapping, err = mapping.Parse(c.mapFile, text); err != nil {
		return wrongUsage("%s", wrongMapping(err))
	}
	c.source = cmp.Or(c.source, c.mapping.Source)
	c.files, err = importer.Open(c.mapping, paths)
	if wrong, ok := errors.AsType[*importer.InputError](err); ok {
		return wrongUsage("%v", wrong)
	}
	return err
}

// readMapping reads a mapping file, no more of it than one may have.
func readMapping(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, mapping.MaxBytes+1))
}

// wrongMapping lists the mistakes of a mapping, each on a line of its own.
func wrongMapping(err error) string {
	mistakes, ok := errors.AsType[mapping.Errors](err)
	if !ok || len(mistakes) == 1 {
		return err.Error()
	}
	return fmt.Sprintf("%d mistakes in the mapping:\n%v", len(mistakes), err)
}

// run imports, shows how it goes, and says what it came to.
func (c *importCommand) run(ctx context.Context) (err error) {
	if c.rejectsFile != "" {
		if c.rejects, err = createRejects(c.rejectsFile); err != nil {
			return err
		}
	}
	c.begun = time.Now()
	c.display = newImportDisplay(c)
	server := &importer.Server{URL: c.server, WriteKey: c.writeKey, Transport: c.transport(), Wait: c.wait, Waiting: c.display.waiting}
	summary, err := importer.Run(ctx, c.files.Read, importer.Options{
		Server: server, Source: c.source, DryRun: c.dry, Started: c.begun, Tell: c.tell,
	})
	c.display.stop()
	if err != nil {
		err = c.explainImport(ctx, err)
	}
	if c.rejects != nil {
		err = errors.Join(err, c.rejects.finish(ctx, c.files))
	}
	if err != nil && summary.Rows == 0 && !c.json { // there is nothing to sum up
		return err
	}
	return errors.Join(c.summarise(summary), err)
}

// explainImport says what to do about an error that ended an import.
func (c *importCommand) explainImport(ctx context.Context, err error) error {
	w := words[c.lang]
	unreachable, isUnreachable := errors.AsType[*net.OpError](err)
	wrong, isWrong := errors.AsType[*importer.InputError](err)
	mistakes, isMistaken := errors.AsType[mapping.Errors](err)
	switch {
	case ctx.Err() != nil:
		return errors.New(w.importInterrupted)
	case errors.Is(err, importer.ErrWriteKey):
		return c.wrongWriteKey()
	case errors.Is(err, importer.ErrNotDossier):
		return c.notDossier(plain(err.Error()))
	case isUnreachable:
		return fmt.Errorf(w.noServer, c.shown, unreachable.Err)
	case isWrong:
		return wrongUsage("%v", wrong)
	case isMistaken:
		return wrongUsage("%s", wrongMapping(mistakes))
	}
	return err
}

// tell takes what became of a row.
func (c *importCommand) tell(o importer.Outcome) error {
	wanting := o.Verdict == ingest.VerdictRejected || o.Verdict == ingest.VerdictConflicting
	if wanting && c.rejects != nil {
		if err := c.rejects.take(o); err != nil {
			return err
		}
	}
	switch {
	case c.json:
		if c.dry || wanting || o.Verdict == ingest.VerdictChanged {
			return printLine(c.std.out, outcomeLine(o))
		}
	case c.dry:
		c.display.clear()
		_, err := fmt.Fprintln(c.std.out, printerFor(c.lang).outcome(o))
		return err
	case wanting && len(c.listed) < maxListedOutcomes:
		o.Cells = nil // not to be held
		c.listed = append(c.listed, o)
	case wanting:
		c.unlisted++
	}
	return nil
}

// importLine is what --json says of a row or of its event.
type importLine struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	ID      string `json:"id,omitempty"`
	Event   string `json:"event,omitempty"`
	Verdict string `json:"verdict"`
	Column  string `json:"column,omitempty"`
	Value   string `json:"value,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

func outcomeLine(o importer.Outcome) importLine {
	return importLine{o.File, o.Line, o.ID, o.Event, o.Verdict, o.Column, o.Value, o.Reason}
}

// importSummary is the last line of --json.
type importSummary struct {
	DryRun        bool    `json:"dryRun"`
	Rows          int64   `json:"rows"`
	Events        int64   `json:"events"`
	New           int64   `json:"new"`
	Changed       int64   `json:"changed"`
	Duplicate     int64   `json:"duplicate"`
	Conflicting   int64   `json:"conflicting"`
	Rejected      int64   `json:"rejected"`
	Skipped       int64   `json:"skipped"`
	Unmatched     int64   `json:"unmatched"`
	Seconds       float64 `json:"seconds"`
	RowsPerSecond float64 `json:"rowsPerSecond"`
}

func printLine(w io.Writer, value any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(value)
}

// summarise says what the import came to, also where it was cut short.
func (c *importCommand) summarise(s importer.Summary) error {
	seconds := time.Since(c.begun).Seconds()
	perSecond := float64(s.Rows) / max(seconds, 1e-3)
	if c.json {
		return printLine(c.std.out, importSummary{
			DryRun: c.dry, Rows: s.Rows, Events: s.Events, New: s.New, Changed: s.Changed, Duplicate: s.Duplicate, Conflicting: s.Conflicting,
			Rejected: s.Rejected, Skipped: s.Skipped, Unmatched: s.Unmatched, Seconds: seconds, RowsPerSecond: perSecond,
		})
	}
	p := printerFor(c.lang)
	for _, o := range c.listed {
		if _, err := fmt.Fprintln(c.std.out, p.outcome(o)); err != nil {
			return err
		}
	}
	if c.unlisted > 0 {
		format := p.importMoreFormat
		if c.rejectsFile != "" {
			format = p.importMoreKeptFormat
		}
		if _, err := fmt.Fprintf(c.std.out, format+"\n", p.number(c.unlisted)); err != nil {
			return err
		}
	}
	_, err := fmt.Fprint(c.std.out, p.importSummary(s, c.dry, seconds, perSecond))
	return err
}

// outcome is what became of a row, as a line: where, what, what became of it and
// why.
func (p printer) outcome(o importer.Outcome) string {
	parts := []string{fmt.Sprintf("%s:%d", plain(o.File), o.Line)}
	if o.Event != "" {
		parts = append(parts, plain(o.Event)+" "+plain(o.ID))
	}
	verdict := cmp.Or(p.verdicts[o.Verdict], o.Verdict)
	if reason := p.reason(o); reason != "" {
		verdict += p.colon + reason
	}
	return strings.Join(append(parts, verdict), "  ")
}

// reason is why, and in which cell that lies.
func (p printer) reason(o importer.Outcome) string {
	const shown = 80
	reason := plain(o.Reason)
	switch {
	case o.Column == "":
		return reason
	case o.Value == "":
		return plain(o.Column) + p.colon + reason
	}
	return plain(o.Column) + ` "` + cut(plain(o.Value), shown) + `"` + p.colon + reason
}

func (p printer) importSummary(s importer.Summary, dry bool, seconds, perSecond float64) string {
	var b strings.Builder
	fmt.Fprintf(&b, p.importReadFormat+"\n", p.number(s.Rows), p.number(s.Events), seconds, p.number(int64(perSecond)))
	for _, count := range []struct {
		verdict string
		n       int64
	}{
		{ingest.VerdictNew, s.New}, {ingest.VerdictChanged, s.Changed}, {ingest.VerdictDuplicate, s.Duplicate},
		{ingest.VerdictConflicting, s.Conflicting}, {ingest.VerdictRejected, s.Rejected},
		{importer.VerdictSkipped, s.Skipped}, {importer.VerdictUnmatched, s.Unmatched},
	} {
		if count.n > 0 || count.verdict == ingest.VerdictNew {
			fmt.Fprintf(&b, "  %s%s%s\n", p.summaryWords[count.verdict], p.colon, p.number(count.n))
		}
	}
	if dry {
		b.WriteString(p.importDry + "\n")
	}
	return b.String()
}
