package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	queryv1 "github.com/dossier360/dossier/proto/dossier/query/v1"
)

// exampleShows is what an example's customer is to look like at its end.
type exampleShows struct {
	ref, name, email string
	orders           uint32
	revenueMicros    int64
	cart             int // products in the open cart
	custom           int // names of custom events
}

// examples are those of docs/examples that this file runs, by their paths there.
var examples = map[string]exampleShows{
	"curl/native.sh":          {ref: "user_id:ann-1", name: "Ann Native", email: "ann@native.example", orders: 1, revenueMicros: 129_900_000},
	"curl/segment.sh":         {ref: "user_id:ben-1", name: "Ben Segment", email: "ben@segment.example", orders: 1, revenueMicros: 64_950_000, custom: 1},
	"curl/cloudevents.sh":     {ref: "user_id:cleo-1", name: "Cleo Cloud", email: "cleo@cloudevents.example", orders: 2, revenueMicros: 74_950_000, custom: 1},
	"curl/posthog.sh":         {ref: "user_id:dora-1", name: "Dora PostHog", email: "dora@posthog.example", orders: 1, revenueMicros: 64_950_000},
	"js/segment-node.js":      {ref: "user_id:eve-1", name: "Eve Node", email: "eve@segment-node.example", orders: 1, revenueMicros: 64_950_000},
	"js/rudderstack-node.js":  {ref: "user_id:fay-1", name: "Fay Rudder", email: "fay@rudderstack.example", orders: 1, revenueMicros: 64_950_000},
	"js/posthog-node.js":      {ref: "user_id:gus-1", name: "Gus PostHog", email: "gus@posthog-node.example", orders: 1, revenueMicros: 64_950_000},
	"js/segment-browser.html": {ref: "user_id:hal-1", name: "Hal Browser", email: "hal@segment-browser.example", cart: 1},
	"js/posthog-browser.html": {ref: "user_id:ida-1", name: "Ida Browser", email: "ida@posthog-browser.example", cart: 1},
}

func (want exampleShows) check(t *testing.T, got *queryv1.Profile) {
	t.Helper()
	if got.GetName() != want.name {
		t.Errorf("%s: got name %q, want %q", want.ref, got.GetName(), want.name)
	}
	for _, ref := range []string{want.ref, "email:" + want.email} {
		if !slices.ContainsFunc(got.GetIdentifiers(), func(id *queryv1.Identifier) bool { return id.Type+":"+id.Value == ref }) {
			t.Errorf("%s: got identifiers %v, want %s among them", want.ref, got.GetIdentifiers(), ref)
		}
	}
	orders := got.GetOrders()
	if orders.GetCount() != want.orders || orders.GetNetRevenue().GetMicros() != want.revenueMicros || len(orders.GetOpenCart().GetItems()) != want.cart {
		t.Errorf("%s: got orders %v, want %d of %d micros and %d in the cart", want.ref, orders, want.orders, want.revenueMicros, want.cart)
	}
	if len(got.GetCustom()) != want.custom {
		t.Errorf("%s: got custom events %v, want %d names", want.ref, got.GetCustom(), want.custom)
	}
}

// Every file of docs/examples/curl and docs/examples/js is run here, or named as
// one that others use.
func TestExamplesAreAllRun(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"curl", "js"} {
		files, err := os.ReadDir(filepath.Join(repository, "docs/examples", dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			name := dir + "/" + f.Name()
			if _, run := examples[name]; !run && !slices.Contains([]string{"js/package.json", "js/profile.js", "js/node_modules", "js/package-lock.json"}, name) {
				t.Errorf("%s is run by no test", name)
			}
		}
	}
}

func TestExampleScripts(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"sh", "curl", "sed"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the examples want %s: %v", tool, err)
		}
	}
	p := startProcess(t, t.TempDir(), "--write-key", "secret", "--read-key", "reader")
	for name, want := range examples {
		if !strings.HasSuffix(name, ".sh") {
			continue
		}
		first := p.runExample(exec.Command("sh", filepath.Join(repository, "docs/examples", name)))
		want.check(t, first)
		if again := p.runExample(exec.Command("sh", filepath.Join(repository, "docs/examples", name))); again.GetDigest() != first.GetDigest() {
			t.Errorf("%s: run twice it is another customer: digest %s, then %s", name, first.GetDigest(), again.GetDigest())
		}
	}
}

// runExample runs an example against the server; its last line is the answer of
// a query.
func (p *engineProcess) runExample(cmd *exec.Cmd) *queryv1.Profile {
	p.t.Helper()
	cmd.Env = append(os.Environ(), "DOSSIER_SERVER="+p.url, "DOSSIER_WRITE_KEY=secret", "DOSSIER_READ_KEY=reader", "no_proxy=127.0.0.1")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		p.t.Fatalf("%v: %v\n%s%s", cmd.Args, err, out, errs.Bytes())
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	answer := &queryv1.GetProfileResponse{}
	if err := protojson.Unmarshal([]byte(lines[len(lines)-1]), answer); err != nil {
		p.t.Fatalf("%v: its last line is no profile: %v\n%s", cmd.Args, err, out)
	}
	return answer.GetProfile()
}

// The programs are run where their clients are installed (npm install in
// docs/examples/js); what the clients were recorded to send is sent always.
func TestExampleClients(t *testing.T) {
	t.Parallel()
	p := startProcess(t, t.TempDir())
	for name, want := range examples {
		if strings.HasSuffix(name, ".sh") {
			continue
		}
		program, err := os.ReadFile(filepath.Join(repository, "docs/examples", name))
		if err != nil {
			t.Fatal(err)
		}
		base := strings.TrimSuffix(filepath.Base(name), filepath.Ext(name))
		receipt := p.replay(base, string(program), want)
		want.check(t, p.profile(want.ref, receipt))
		if !strings.Contains(string(program), want.ref) && !strings.Contains(string(program), "email:"+want.email) {
			t.Errorf("%s does not ask for its customer", name)
		}
	}
}

// recordedCall is one call that a client made; its body was inflated.
type recordedCall struct {
	Path, ContentType, ContentEncoding, Authorization string
	Gzip                                              bool
	Body                                              json.RawMessage
}

// replay sends what an example was recorded to send.
func (p *engineProcess) replay(name, program string, want exampleShows) (receipt string) {
	p.t.Helper()
	file, err := os.Open(filepath.Join("testdata/examples", name+".ndjson"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		// Else the record is one of another program.
		for _, text := range []string{want.email, strings.TrimPrefix(want.ref, "user_id:")} {
			if !strings.Contains(program, text) {
				p.t.Errorf("%s does not tell %s, which its record does", name, text)
			}
		}
		var call recordedCall
		if err := json.Unmarshal(lines.Bytes(), &call); err != nil {
			p.t.Fatalf("%s: %v", name, err)
		}
		body, header := []byte(call.Body), http.Header{"Content-Type": {call.ContentType}}
		if call.Authorization != "" {
			header.Set("Authorization", call.Authorization)
		}
		if call.ContentEncoding != "" {
			header.Set("Content-Encoding", call.ContentEncoding)
		}
		if call.Gzip || call.ContentEncoding == "gzip" {
			body = gzipped(p.t, body)
		}
		a, status, err := send(p.url+call.Path, header, body)
		if err != nil || status != http.StatusOK || a.Accepted == 0 || len(a.Rejected) > 0 {
			p.t.Fatalf("%s: %s: status %d, %+v, %v", name, call.Path, status, a, err)
		}
		p.profile(want.ref, a.Receipt) // waits: each call may be of another partition
		receipt = a.Receipt
	}
	if lines.Err() != nil || receipt == "" {
		p.t.Fatalf("%s: nothing was recorded, or cannot be read: %v", name, lines.Err())
	}
	return receipt
}

func TestExampleProgramsForNode(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("node"); err != nil {
		t.Skipf("the examples want node: %v", err)
	}
	p := startProcess(t, t.TempDir(), "--write-key", "secret", "--read-key", "reader")
	run := 0
	for name, want := range examples {
		client := map[string]string{
			"js/segment-node.js": "@segment/analytics-node", "js/rudderstack-node.js": "@rudderstack/rudder-sdk-node", "js/posthog-node.js": "posthog-node",
		}[name]
		path := filepath.Join(repository, "docs/examples", name)
		look := exec.Command("node", "-e", "require.resolve('"+client+"')")
		look.Dir = filepath.Dir(path)
		if client == "" || look.Run() != nil {
			continue
		}
		want.check(t, p.runExample(exec.Command("node", path)))
		run++
	}
	if run == 0 {
		t.Skip("no client is installed: npm install in docs/examples/js")
	}
}
