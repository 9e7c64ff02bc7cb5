package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dossier360/dossier/ingest/simulator"
	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

const simulatedEnd = "2026-06-30T12:00:00Z"

// digests are those of all customers, by an identifier of each.
func (p *engineProcess) digests() map[string]string {
	p.t.Helper()
	all := map[string]string{}
	for token := ""; ; {
		resp, err := p.query().ListProfiles(p.t.Context(), &queryv1.ListProfilesRequest{
			PageSize: 1000, PageToken: token, Fields: []string{"identifiers", "digest"},
		})
		if err != nil {
			p.t.Fatal(err)
		}
		for _, profile := range resp.GetProfiles() {
			id := profile.GetIdentifiers()[0]
			all[id.GetType()+":"+id.GetValue()] = profile.GetDigest()
		}
		if token = resp.GetNextPageToken(); token == "" {
			return all
		}
	}
}

// postLines posts every line of a file.
func (p *engineProcess) postLines(path, file string) {
	p.t.Helper()
	f, err := os.Open(file)
	if err != nil {
		p.t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		if got := p.post(path, json.RawMessage(lines.Text()), http.StatusOK); len(got.Rejected) > 0 {
			p.t.Fatalf("%s: %v", file, got.Rejected[0])
		}
	}
	if err := lines.Err(); err != nil {
		p.t.Fatal(err)
	}
}

// A shop and a firm give the same customers whether they are told over HTTP or
// from the files that were written, on the wire that trackers speak or natively.
func TestSimulateTellsTheSame(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds; make test runs it")
	}
	t.Parallel()
	for life, paths := range map[string]map[string]string{
		lifeShop: {"/v1/batch": segmentFile, "/v1/events": nativeFile},
		lifeFirm: {"/v1/events": nativeFile},
	} {
		t.Run(life, func(t *testing.T) {
			t.Parallel()
			play := []string{"simulate", "--life", life, "--customers", "25", "--seed", "1", "--end", simulatedEnd}
			told, files, out := startProcess(t, t.TempDir()), startProcess(t, t.TempDir()), filepath.Join(t.TempDir(), "out")
			status, shown, stderr := dossier(t, nil, append(play, "--server", told.url)...)
			if status != exitDone || !strings.Contains(shown, " events told to "+told.url+" in ") {
				t.Fatalf("status %d, %q, %q", status, shown, stderr)
			}
			status, shown, stderr = dossier(t, nil, append(play, "--out", out, "--json")...)
			var said struct{ Events int }
			if err := json.Unmarshal([]byte(shown), &said); err != nil || status != exitDone {
				t.Fatalf("status %d, %q, %q, %v", status, shown, stderr, err)
			}
			for _, path := range []string{"/v1/batch", "/v1/events"} {
				if file := paths[path]; file != "" {
					files.postLines(path, filepath.Join(out, file))
				}
			}
			lines, err := os.ReadFile(filepath.Join(out, eventsFile))
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(lines), "\n"); n != said.Events || n < 500 {
				t.Errorf("%s has %d lines, %d events were told", eventsFile, n, said.Events)
			}
			told.awaitFolded()
			files.awaitFolded()
			want := told.digests()
			if len(want) < 25 {
				t.Errorf("%d customers, want 25 or more", len(want))
			}
			if diff := cmp.Diff(want, files.digests()); diff != "" {
				t.Errorf("(-told over HTTP +posted from files):\n%s", diff)
			}
			// events.ndjson is the same again: natively everybody is as before.
			native := startProcess(t, t.TempDir())
			native.postEvents(strings.Split(strings.TrimSpace(string(lines)), "\n"))
			native.awaitFolded()
			if diff := cmp.Diff(want, native.digests()); diff != "" {
				t.Errorf("(-told over HTTP +native events):\n%s", diff)
			}
			_, err = os.Stat(filepath.Join(out, simulator.AdClicksFile))
			if exported := err == nil; exported != (life == lifeFirm) {
				t.Errorf("%s: exports written %t", life, exported)
			}
		})
	}
}

// postEvents posts native events, some a call.
func (p *engineProcess) postEvents(lines []string) {
	p.t.Helper()
	for from := 0; from < len(lines); from += 500 {
		body := fmt.Sprintf(`{"events":[%s]}`, strings.Join(lines[from:min(from+500, len(lines))], ","))
		if got := p.post("/v1/events", json.RawMessage(body), http.StatusOK); len(got.Rejected) > 0 {
			p.t.Fatalf("native events: %v", got.Rejected[0])
		}
	}
}

func TestSimulateUsage(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"--life circus":                `--life "circus": shop or firm wanted`,
		"--life traffic":               `--life "traffic": shop or firm wanted`,
		"--customers 0":                "--customers 0: 1 to 10000000 wanted",
		"--days 119":                   "--days 119: 120 to 7300 wanted",
		"--life firm --end 1999":       `--end "1999": an instant`,
		"--batch 2501":                 "--batch 2501: 1 to 2500 wanted",
		"--nats nats://x --out y":      "--nats and --out: one of them wanted",
		"--nats-creds f":               "--nats-creds f is for --nats, which is missing",
		"--end 1979-01-01":             "--end 1979-01-01T00:00:00Z: a year from 1980 to 9000 wanted",
		"--life firm --end 1999-01-01": "--end 1999-01-01T00:00:00Z: 2000 or later wanted",
	} {
		status, out, stderr := dossier(t, nil, append([]string{"simulate"}, strings.Fields(args)...)...)
		if status != exitUsage || out != "" || !strings.Contains(stderr, want) {
			t.Errorf("%s: status %d, %q, %q; want %d and %q", args, status, out, stderr, exitUsage, want)
		}
	}
}

// TestSimulatorDocument runs the commands of docs/SIMULATOR.md, in order.
func TestSimulatorDocument(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(repository, "docs/SIMULATOR.md"))
	if err != nil {
		t.Fatal(err)
	}
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p, dir, ran := startProcess(t, t.TempDir()), t.TempDir(), 0
	for i, block := range strings.Split(string(text), "```") {
		if i%2 == 0 {
			continue
		}
		for line := range strings.Lines(strings.TrimSpace(block)) {
			command := strings.NewReplacer("docs/", repository+"/docs/").Replace(strings.TrimSpace(line))
			cmd := exec.CommandContext(t.Context(), "sh", "-c", strings.Replace(command, "dossier ", program+" ", 1))
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "DOSSIER_SERVER="+p.url, "LANG=C", "no_proxy=127.0.0.1")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", line, err, out)
			}
			ran++
		}
	}
	if ran < 7 {
		t.Errorf("%d commands, want 7 or more", ran)
	}
	p.awaitFolded()
	for condition, want := range map[string]uint32{`kind == "company" && identifiers.exists(i, i.value.startsWith("C0"))`: 10, `traits.owner.manual`: 1} {
		resp, err := p.query().CountProfiles(t.Context(), &queryv1.CountProfilesRequest{Filter: condition})
		if err != nil {
			t.Fatal(err)
		}
		if resp.GetCount() < want {
			t.Errorf("%s: %d customers, want %d or more", condition, resp.GetCount(), want)
		}
	}
}

// Over NATS everybody is as over HTTP.
func TestSimulateOverNATS(t *testing.T) {
	t.Parallel()
	over, told := startPublisher(t, t.TempDir()), startProcess(t, t.TempDir())
	for _, life := range []string{lifeShop, lifeFirm} {
		play := []string{"simulate", "--life", life, "--customers", "8", "--seed", "2", "--end", simulatedEnd}
		for _, to := range [][]string{{"--nats", over.url}, {"--server", told.url}} {
			if status, _, stderr := dossier(t, nil, append(play, to...)...); status != exitDone {
				t.Fatalf("%s %v: status %d, %s", life, to, status, stderr)
			}
		}
	}
	over.awaitFolded()
	told.awaitFolded()
	want := told.digests()
	if len(want) < 16 {
		t.Errorf("%d customers, want 16 or more", len(want))
	}
	if diff := cmp.Diff(want, over.digests()); diff != "" {
		t.Errorf("(-over HTTP +over NATS):\n%s", diff)
	}
}
