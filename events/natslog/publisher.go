package natslog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dossier360/dossier/events"
)

// subjectIntake is where publishers send events; the source follows.
const subjectIntake = "dossier.intake."

// answerTimeout is how long an answer may take: an append whose outcome is
// unknown is repeated for half a minute.
const answerTimeout = 40 * time.Second

// Publisher sends events to the intake of a running Dossier, as any program
// with a NATS client may. Make it with [NewPublisher].
type Publisher struct {
	conn    *nats.Conn
	timeout time.Duration // of an answer
}

// NewPublisher connects to the NATS server that a Dossier listens on. The URL
// may hold user and password; credentials is a file, "" for none.
func NewPublisher(ctx context.Context, url, credentials string) (*Publisher, error) {
	options := []nats.Option{nats.Name("dossier-publisher")}
	if credentials != "" {
		options = append(options, nats.UserCredentials(credentials))
	}
	if deadline, ok := ctx.Deadline(); ok {
		options = append(options, nats.Timeout(time.Until(deadline)))
	}
	conn, err := nats.Connect(url, options...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", Redact(url), err)
	}
	return &Publisher{conn, answerTimeout}, nil
}

// Close ends the connection.
func (p *Publisher) Close() { p.conn.Close() }

// Published is what became of a batch.
type Published struct {
	Accepted, Duplicates int
	Rejected             []struct{ Code, Message string }
}

// RefusedError is the intake's answer to a batch of which nothing was taken.
type RefusedError struct {
	Code        int // as of HTTP
	Description string
	RetryAfter  time.Duration // 0: not told
}

// Error implements error.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("refused with %d: %s", e.Code, e.Description)
}

// Unwrap tells what trying again later helps against.
func (e *RefusedError) Unwrap() error {
	if e.Code == 429 || e.Code >= 500 {
		return events.ErrOverload
	}
	return nil
}

// Publish sends a batch and waits until it is durable. Nobody answering, which
// is how a Dossier that starts looks like, is an error that wraps
// [events.ErrOverload], as is a refusal for now. An answer that was lost, or
// takes more than 40 s, is one that wraps [events.ErrUnknown]: to send the batch
// again is right if its events have ids.
func (p *Publisher) Publish(ctx context.Context, source, contentType string, body []byte) (Published, error) {
	m := nats.NewMsg(subjectIntake + source)
	m.Header.Set("Content-Type", contentType)
	m.Data = body
	// The library waits for an answer even where the connection was lost.
	asked, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	reply, err := p.conn.RequestMsgWithContext(asked, m)
	switch {
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return Published{}, fmt.Errorf("publish to %s: no answer within %v: %w", m.Subject, p.timeout, events.ErrUnknown)
	case errors.Is(err, nats.ErrNoResponders):
		return Published{}, &RefusedError{Code: 503, Description: "nobody takes " + m.Subject}
	case err != nil:
		return Published{}, fmt.Errorf("publish to %s: %w", m.Subject, err)
	}
	var answer struct {
		Published
		Error *struct {
			Code        int    `json:"code"`
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return Published{}, fmt.Errorf("read the answer of %s: %w", m.Subject, err)
	}
	if e := answer.Error; e != nil {
		seconds, _ := strconv.Atoi(reply.Header.Get("Retry-After")) // absent: 0
		return answer.Published, &RefusedError{Code: e.Code, Description: e.Description, RetryAfter: time.Duration(seconds) * time.Second}
	}
	return answer.Published, nil
}
