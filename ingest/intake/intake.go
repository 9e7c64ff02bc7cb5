package intake

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dossier360/dossier/ingest"
	"github.com/dossier360/dossier/ingest/properties"
	"github.com/dossier360/dossier/ingest/wires"
)

const (
	// idHeader holds the id of a message that brings one event, by which
	// JetStream tells repeats too.
	idHeader = "Nats-Msg-Id"
	// expectPrefix begins the headers by which JetStream checks a stream before
	// it stores. An event's stream is not its publisher's choice.
	expectPrefix = "Nats-Expected-"
)

// Message is what was published.
type Message struct {
	// Subject is dossier.intake.<source>.
	Subject string
	// Header as sent; NATS does not fold the case of names.
	Header map[string][]string
	// Data is the intake's from now on.
	Data []byte
	// Received is when it came in.
	Received time.Time
}

// Options of [New].
type Options struct {
	// Accept makes the events of a message durable; (*ingest.Gateway).Accept.
	// Required.
	Accept func(context.Context, ingest.Batch) (ingest.Result, error)
	// Ready says why events cannot be taken yet; its text goes to the
	// publisher. Nil: they can.
	Ready func() error
	// Logger takes what is worth an operator's attention. Nil: nobody.
	Logger *slog.Logger
}

// Intake answers messages. Make it with [New]; it is safe for concurrent use.
type Intake struct{ o Options }

// New makes an intake.
func New(o Options) *Intake {
	if o.Accept == nil {
		panic("intake.New: Options.Accept is required")
	}
	if o.Ready == nil {
		o.Ready = func() error { return nil }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Intake{o}
}

// Handle takes in the events of a message and says what to reply. What is
// refused is kept, whether or not somebody waits for the reply.
func (i *Intake) Handle(ctx context.Context, m Message) Reply {
	source, ok := strings.CutPrefix(m.Subject, wires.IntakeSubject)
	if !ok || !ingest.ValidSource(source) {
		return refuse("subject " + ingest.Shown(m.Subject) + ": " + wires.IntakeSubject + "<source> wanted, source [a-z0-9_-]{1,40}")
	}
	if err := i.o.Ready(); err != nil {
		return i.fail(source, ingest.NotReady(err))
	}
	header := canonical(m.Header)
	if name := expectation(header); name != "" {
		return refuse("header " + name + ": which stream an event comes to, and where, is not the publisher's choice")
	}
	batch, decoded := decode(m, source, header)
	result, err := i.o.Accept(ctx, batch)
	if err != nil {
		return i.fail(source, err)
	}
	return accepted(decoded, result)
}

// decode makes the batch of a message.
func decode(m Message, source string, header http.Header) (ingest.Batch, ingest.Decoded) {
	contentType := header.Get("Content-Type")
	media, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	r := wires.Request{Path: m.Subject, MediaType: strings.TrimSpace(media), Header: header, Body: m.Data}
	wire, known := wires.ForMessage(&r)
	if contentType == "" {
		contentType = r.MediaType // what it was taken for, for a retry
	}
	var decoded ingest.Decoded
	switch n := len(m.Data); {
	case n > ingest.MaxBodyBytes:
		limit := strconv.Itoa(ingest.MaxBodyBytes) + " bytes"
		decoded.Refused = ingest.Refuse(ingest.CodeTooLarge, "", limit, "the message has "+strconv.Itoa(n)+" bytes, limit "+limit)
	case !known:
		decoded.Refused = ingest.Refuse(ingest.CodeBadType, "Content-Type", contentTypes,
			"Content-Type is "+ingest.Shown(contentType)+": "+contentTypes+" wanted")
	default:
		decoded = wire.Decode(r)
	}
	identify(&decoded, header.Get(idHeader))
	b := ingest.Batch{
		Source: source, Received: m.Received, Wire: wire.Name, Path: m.Subject, ContentType: contentType, Drafts: decoded.Drafts,
	}
	if decoded.Refused != nil {
		b.RefuseWhole(decoded.Refused, m.Data)
	}
	return b, decoded
}

// contentTypes are those that a message may have.
const contentTypes = "application/json, application/protobuf, application/x-protobuf, application/cloudevents+json or application/cloudevents-batch+json"

// identify gives the one event of a message that has no id of its own that of
// the message.
func identify(decoded *ingest.Decoded, id string) {
	if id == "" || decoded.Refused != nil || len(decoded.Drafts) != 1 {
		return
	}
	d := &decoded.Drafts[0]
	switch {
	case d.Refused != nil:
		if d.Refused.MessageID == "" {
			d.Refused.MessageID = id
		}
	case d.Event.Id == "":
		if d.Refused = properties.CheckID(idHeader, id); d.Refused == nil {
			d.Event.Id = id
		}
	}
}

// canonical are the headers with names in one spelling.
func canonical(sent map[string][]string) http.Header {
	h := make(http.Header, len(sent))
	for name, values := range sent {
		for _, v := range values {
			h.Add(name, v)
		}
	}
	return h
}

// expectation is a header by which the message expects something of a stream;
// "" if there is none.
func expectation(h http.Header) string {
	for name := range h {
		if strings.HasPrefix(name, expectPrefix) {
			return name
		}
	}
	return ""
}

// fail replies to a message of which nothing is known to be durable.
func (i *Intake) fail(source string, err error) Reply {
	for _, f := range failures {
		if errors.Is(err, f.err) {
			return f.reply(err.Error())
		}
	}
	// The text of any other error is for the operator, not for the publisher.
	i.o.Logger.Error("events not accepted", "source", source, "error", err)
	return unavailable.reply("the events could not be stored; send them again")
}

// Busy replies to a message that was not even looked at, because too many wait.
func Busy() Reply { return failures[0].reply(ingest.ErrOverload.Error()) }
