package natslog

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dossier360/dossier/events"
)

// Two accounts, for permissions alone do not keep clients off the log. Who may
// send any request to JetStream chooses where its answer goes, and nobody
// checks that: an answer, or a message delivered, on dossier.events.00 would be
// appended. Across accounts an answer comes out on the client's side, where no
// stream is.
const (
	logAccount    = "LOG"
	clientAccount = "CLIENTS"
)

// feedSubjects is what a client reads without JetStream.
const feedSubjects = "dossier.feed.>"

// guardPrefix stands before the requests that [guard] looks into.
const guardPrefix = "dossier.guard."

// guardTimeout bounds a guarded request.
const guardTimeout = 5 * time.Second

// service is what a client may publish to.
type service struct {
	subject string
	stream  bool // more than one answer
	guarded bool
}

// services are all of them: intake, and what reading the stream FEED through a
// pull consumer takes. No other stream: they hold personal data in clear.
func services() []service {
	const feed = string(events.FeedStream)
	return []service{
		{subject: "dossier.intake.*"},
		{subject: "$JS.API.INFO"},
		{subject: "$JS.API.STREAM.NAMES"},
		{subject: "$JS.API.STREAM.INFO." + feed},
		{subject: "$JS.API.STREAM.MSG.GET." + feed},
		{subject: "$JS.API.CONSUMER.CREATE." + feed, guarded: true},
		{subject: "$JS.API.CONSUMER.CREATE." + feed + ".>", guarded: true},
		{subject: "$JS.API.CONSUMER.DURABLE.CREATE." + feed + ".*", guarded: true},
		{subject: "$JS.API.CONSUMER.INFO." + feed + ".*"},
		{subject: "$JS.API.CONSUMER.LIST." + feed},
		{subject: "$JS.API.CONSUMER.NAMES." + feed},
		{subject: "$JS.API.CONSUMER.DELETE." + feed + ".*"},
		{subject: "$JS.API.CONSUMER.MSG.NEXT." + feed + ".*", stream: true},
		{subject: "$JS.ACK." + feed + ".>", stream: true},
	}
}

// accountsConfig is the accounts in the server's configuration language, the
// only way to switch on JetStream for one of them before the start.
func accountsConfig() string {
	var exports, imports strings.Builder
	for _, s := range services() {
		target, answers := s.subject, "single"
		if s.guarded {
			target = guardPrefix + s.subject
		}
		if s.stream {
			answers = "stream"
		}
		fmt.Fprintf(&exports, "{service: %q, response_type: %s, accounts: [%s]}\n", target, answers, clientAccount)
		fmt.Fprintf(&imports, "{service: {account: %s, subject: %q}, to: %q}\n", logAccount, target, s.subject)
	}
	fmt.Fprintf(&exports, "{stream: %q, accounts: [%s]}\n", feedSubjects, clientAccount)
	fmt.Fprintf(&imports, "{stream: {account: %s, subject: %q}}\n", logAccount, feedSubjects)
	return fmt.Sprintf("accounts {\n%s {jetstream: enabled, exports: [\n%s]}\n%s {imports: [\n%s]}\n}\n",
		logAccount, &exports, clientAccount, &imports)
}

// addAccounts gives the options both accounts.
func addAccounts(o *server.Options) (inner, clients *server.Account, err error) {
	if err := o.ProcessConfigString(accountsConfig()); err != nil {
		return nil, nil, fmt.Errorf("accounts: %w", err)
	}
	account := func(name string) *server.Account {
		i := slices.IndexFunc(o.Accounts, func(a *server.Account) bool { return a.Name == name })
		return o.Accounts[i]
	}
	return account(logAccount), account(clientAccount), nil
}

// outsider is what a client may do. Its account leads nowhere else; saying so
// here tells it of a refusal, and keeps clients from answering one another.
func outsider() *server.Permissions {
	var publish []string
	for _, s := range services() {
		publish = append(publish, s.subject)
	}
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: publish},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>", feedSubjects}},
	}
}

// guard passes on the requests of clients that make a consumer, unless they
// name a subject to push to: JetStream would push there in the log's account.
type guard struct{ conn *nats.Conn }

// newGuard starts the guard of a server.
func newGuard(s *Server) (*guard, error) {
	conn, err := nats.Connect("", append(s.connectOptions(),
		nats.Name("dossier-guard"), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait))...)
	if err != nil {
		return nil, fmt.Errorf("guard: %w", err)
	}
	g := &guard{conn: conn}
	if _, err := conn.Subscribe(guardPrefix+">", g.pass); err != nil {
		conn.Close()
		return nil, fmt.Errorf("guard: %w", err)
	}
	if err := conn.Flush(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("guard: %w", err)
	}
	return g, nil
}

// pass answers one request. Where it cannot, the client's request times out.
func (g *guard) pass(m *nats.Msg) {
	// Decoded and encoded as the server does it, so that what was looked at
	// is what it gets.
	var request server.CreateConsumerRequest
	if err := json.Unmarshal(m.Data, &request); err != nil {
		g.refuse(m, jetstream.APIError{Code: 400, ErrorCode: codeInvalidJSON, Description: "invalid JSON: " + err.Error()})
		return
	}
	if c := request.Config; c.DeliverSubject != "" || c.Direct || c.Sourcing {
		g.refuse(m, jetstream.APIError{Code: 400, ErrorCode: codePushRefused, Description: "pull consumers only: deliver_subject is refused"})
		return
	}
	data, err := json.Marshal(request)
	if err != nil {
		g.refuse(m, jetstream.APIError{Code: 400, ErrorCode: codeInvalidJSON, Description: err.Error()})
		return
	}
	answer, err := g.conn.Request(strings.TrimPrefix(m.Subject, guardPrefix), data, guardTimeout)
	if err != nil {
		return
	}
	_ = m.Respond(answer.Data)
}

func (g *guard) refuse(m *nats.Msg, e jetstream.APIError) {
	data, err := json.Marshal(struct {
		Type  string             `json:"type"`
		Error jetstream.APIError `json:"error"`
	}{server.JSApiConsumerCreateResponseType, e})
	if err == nil {
		_ = m.Respond(data) // a client that has gone hears nothing
	}
}
