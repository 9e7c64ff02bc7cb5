// Command nats publishes events to Dossier over NATS: one JSON event a line on
// standard input, one line of output for each.
//
//	echo '{"id":"e1","type":"order.placed","identifiers":[{"type":"email","value":"ann@example.com"}],"order":{"orderId":"o1","revenueMicros":"99000000","currency":"CNY"}}' |
//	  go run ./docs/examples/nats --server nats://127.0.0.1:4222 --source shop
//
// A JetStream publish of any client works too; a plain request as here shows
// more of the answer. What matters is in publish: an answer 429, 503 or 507 is
// waited out, no answer at all is sent again as well, which is harmless because
// the event has an id, and an answer 400 is final.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// answerTimeout is how long an answer may take: an append whose outcome is
// unknown is repeated for half a minute.
const answerTimeout = 40 * time.Second

// answer is a JetStream acknowledgement and what Dossier says beside it.
type answer struct {
	Error *struct {
		Code        int    `json:"code"`
		Description string `json:"description"`
	} `json:"error"`
	Stream     string `json:"stream"`
	Seq        uint64 `json:"seq"`
	Receipt    string `json:"receipt"`
	Accepted   int    `json:"accepted"`
	Duplicates int    `json:"duplicates"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "nats:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("nats", flag.ContinueOnError)
	server := flags.String("server", nats.DefaultURL, "URL, with user and password if the server wants them")
	source := flags.String("source", "shop", "who publishes: 1 to 40 of a-z 0-9 _ -")
	if err := flags.Parse(args); err != nil {
		return err
	}
	conn, err := nats.Connect(*server, nats.MaxReconnects(-1), nats.Name("events of "+*source))
	if err != nil {
		return err
	}
	defer conn.Close()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		a, err := publish(ctx, conn, "dossier.intake."+*source, lines.Bytes())
		if err != nil {
			return err
		}
		if a.Error != nil {
			fmt.Fprintf(out, "refused: %s\n", a.Error.Description)
			continue
		}
		fmt.Fprintf(out, "stored in %s at %d, accepted %d, known %d, receipt %s\n", a.Stream, a.Seq, a.Accepted, a.Duplicates, a.Receipt)
	}
	return lines.Err()
}

// publish publishes an event until it is durable, or refused for ever.
func publish(ctx context.Context, conn *nats.Conn, subject string, event []byte) (answer, error) {
	m := nats.NewMsg(subject)
	m.Data = event
	m.Header.Set("Content-Type", "application/json")
	for {
		a, wait, err := try(ctx, conn, m)
		if err != nil || wait == 0 {
			return a, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return a, ctx.Err()
		}
	}
}

// try publishes once. wait is after how long to try again; 0: the answer is
// final.
func try(ctx context.Context, conn *nats.Conn, m *nats.Msg) (a answer, wait time.Duration, err error) {
	asked, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	reply, err := conn.RequestMsgWithContext(asked, m)
	switch {
	case ctx.Err() != nil:
		return a, 0, ctx.Err()
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, context.DeadlineExceeded):
		return a, time.Second, nil // nobody is there at the moment, or the answer was lost
	case err != nil:
		return a, 0, err
	}
	if err := json.Unmarshal(reply.Data, &a); err != nil {
		return a, 0, fmt.Errorf("answer %q: %w", reply.Data, err)
	}
	if a.Error == nil || a.Error.Code == 400 {
		return a, 0, nil
	}
	seconds, err := strconv.Atoi(reply.Header.Get("Retry-After"))
	if err != nil {
		seconds = 1
	}
	return a, time.Duration(seconds) * time.Second, nil
}
