package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// TestStory plays two years of one person and his company against the real
// binary, and shows after every act what an analyst sees. It is told twice: to
// one partition, and to seven, where most customers are in partitions of their
// own. Both read the same.
//
//	tell [path=/v1/…]    posts every line of the input; the answers' counts
//	                     are the output, and what was refused
//	name NAME=REFERENCE  a customer's id is shown as <NAME> from here on
//	dossier              runs the command lines of the input
func TestStory(t *testing.T) {
	t.Parallel()
	partitions := []string{"1", "7"}
	if rewriting() {
		partitions = partitions[:1]
	}
	for _, n := range partitions {
		t.Run(n, func(t *testing.T) {
			t.Parallel()
			p := startProcess(t, t.TempDir(), "--partitions", n, "--clock", "events", "--clock-end", "2026-12-31T00:00:00Z", "--timezone", "Asia/Shanghai")
			s := &storyTeller{t: t, url: p.url}
			datadriven.RunTest(t, "testdata/story.txt", func(t *testing.T, d *datadriven.TestData) string {
				switch d.Cmd {
				case "tell":
					path := "/v1/events"
					d.MaybeScanArgs(t, "path", &path)
					return s.tell(path, d.Input)
				case "name":
					for _, arg := range d.CmdArgs {
						s.name(arg.Key, arg.Vals[0])
					}
					return ""
				case "dossier":
					return s.run(d.Input)
				}
				d.Fatalf(t, "no command %q", d.Cmd)
				return ""
			})
		})
	}
}

// storyTeller plays one story.
type storyTeller struct {
	t     *testing.T
	url   string
	names []string // id, <name>, id, <name>, …
}

// tell posts each line and waits until what it brought is folded everywhere.
func (s *storyTeller) tell(path, input string) string {
	var out strings.Builder
	accepted := 0
	for line := range strings.Lines(input) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		resp, err := http.Post(s.url+path, "application/json", strings.NewReader(line))
		if err != nil {
			s.t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			s.t.Fatal(err)
		}
		var told struct {
			Accepted, Duplicates int
			Rejected             []struct{ Code, Field, Message string }
		}
		if err := json.Unmarshal(body, &told); err != nil {
			s.t.Fatalf("%s: %v", body, err)
		}
		accepted += told.Accepted
		if told.Duplicates > 0 {
			fmt.Fprintf(&out, "%d told before\n", told.Duplicates)
		}
		for _, r := range told.Rejected {
			fmt.Fprintf(&out, "refused: %s\n", r.Message)
		}
	}
	fmt.Fprintf(&out, "%d taken\n", accepted)
	s.settle()
	return out.String()
}

// settle waits until every partition has folded what the log holds, and brings
// all of them to the latest time of any: on clock events each has only heard of
// its own events.
func (s *storyTeller) settle() {
	engine := &engineProcess{t: s.t, url: s.url}
	var latest time.Time
	for _, p := range engine.awaitFolded().GetPartitions() {
		if at := p.GetLogTime().AsTime(); at.After(latest) {
			latest = at
		}
	}
	engine.tick(latest)
}

func (s *storyTeller) name(name, reference string) {
	var profile struct{ CustomerID string }
	if err := json.Unmarshal([]byte(s.command("get "+reference+" --json")), &struct {
		Profile any `json:"profile"`
	}{&profile}); err != nil || profile.CustomerID == "" {
		s.t.Fatalf("name %s: %v", reference, err)
	}
	s.names = append(s.names, profile.CustomerID, "<"+name+">")
}

// run runs command lines; each is shown before what it prints.
func (s *storyTeller) run(input string) string {
	var out strings.Builder
	for line := range strings.Lines(input) {
		line = strings.TrimSpace(line)
		if strings.Count(input, "\n") > 0 {
			fmt.Fprintf(&out, "$ dossier %s\n", line)
		}
		out.WriteString(s.command(line))
	}
	return strings.NewReplacer(s.names...).Replace(out.String())
}

var storyWords = regexp.MustCompile(`'[^']*'|\S+`)

func (s *storyTeller) command(line string) string {
	var args []string
	for _, word := range storyWords.FindAllString(line, -1) {
		args = append(args, strings.Trim(word, "'"))
	}
	var stdout, stderr bytes.Buffer
	status := run(s.t.Context(), stdio{in: strings.NewReader(""), out: &stdout, err: &stderr, getenv: func(name string) string {
		return map[string]string{"DOSSIER_SERVER": s.url, "LANG": "C"}[name]
	}}, args)
	if status != exitDone {
		return fmt.Sprintf("%s%s(exit %d)\n", stdout.String(), stderr.String(), status)
	}
	return stdout.String() + stderr.String()
}
