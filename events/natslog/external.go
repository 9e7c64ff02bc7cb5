package natslog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dossier360/dossier/events"
)

// What differs where the server is a process of its own: it may be away, and
// its settings are another's.

const (
	// A network that swallows packets is found out within about
	// (1 + maxPingsOut) × pingInterval; a server that dies, at once.
	pingInterval = 5 * time.Second
	maxPingsOut  = 2
	// minMaxPayload is the least that the server must take as a message: the
	// greatest frame and its headers.
	minMaxPayload = events.MaxUnpackedBytes + 4<<10
	// MaxReplicas is what JetStream allows.
	MaxReplicas = 5
)

// remoteOptions is how this program connects to a server of another process.
func (d Dial) remoteOptions() []nats.Option {
	options := []nats.Option{
		nats.CustomInboxPrefix(secretInbox()),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPingsOut),
		// A password that is changed on the server first must not end the
		// connection for good.
		nats.IgnoreAuthErrorAbort(),
	}
	if d.Credentials != "" {
		options = append(options, nats.UserCredentials(d.Credentials))
	}
	return options
}

// probe asks a server of another process whether it is one for a log.
func (l *Log) probe(ctx context.Context) error {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	if got := l.write.MaxPayload(); got < minMaxPayload {
		return fmt.Errorf("the server's max_payload is %d bytes, at least %d wanted; its configuration sets it", got, minMaxPayload)
	}
	if _, err := l.writeJS.AccountInfo(ctx); err != nil {
		return fmt.Errorf("ask for JetStream: %w", err)
	}
	return nil
}

// Unavailable reports whether an error of this package says that no server
// answered, or none that could, rather than that one refused: trying again
// later may help.
func Unavailable(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.Code >= 500 && api.ErrorCode != codeNoReplicas &&
			!errors.Is(err, jetstream.ErrJetStreamNotEnabled) && !errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount)
	}
	for _, away := range []error{
		nats.ErrNoServers, nats.ErrTimeout, nats.ErrNoResponders, nats.ErrDisconnected, nats.ErrReconnectBufExceeded,
		nats.ErrConnectionClosed, nats.ErrConnectionReconnecting, nats.ErrStaleConnection, nats.ErrNoInfoReceived,
		nats.ErrMaxConnectionsExceeded, nats.ErrMaxAccountConnectionsExceeded,
		jetstream.ErrNoStreamResponse,
		context.DeadlineExceeded, io.EOF, io.ErrUnexpectedEOF,
		events.ErrUnknown, events.ErrOverload,
	} {
		if errors.Is(err, away) {
			return true
		}
	}
	var network *net.OpError
	return errors.As(err, &network) // lookups of names too: the name may come back
}

// Connection is how a log stands with its server.
type Connection struct {
	Connected bool
	Since     time.Time // of the first connection, the last loss or the last return
	Server    string    // URL of the server, without user and password; "" if embedded
	Lost      uint64    // how often the connection was lost
	Err       error     // why, as last heard; nil while connected
}

// Connection tells how the log stands with its server, without asking it.
func (l *Log) Connection() Connection {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.connection
}

// lost notes that the connection for writing is gone.
func (l *Log) lost(err error) {
	l.mu.Lock()
	l.connection = Connection{
		Since: time.Now(), Server: l.connection.Server, Lost: l.connection.Lost + 1, Err: err,
	}
	server, unlink := l.connection.Server, l.unlink
	l.mu.Unlock()
	if unlink != nil { // the connections stood
		unlink()
	}
	l.logger.Warn("lost the NATS server of the log; trying to reach it again until it is back, intake answers 503 meanwhile",
		"server", server, "error", err)
}

// stillAway notes why it is still gone: what ended the connection may not be
// what keeps a new one from being made.
func (l *Log) stillAway(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.connection.Connected && l.connection.Lost > 0 {
		l.connection.Err = err
	}
}

// found notes that it is back.
func (l *Log) found(conn *nats.Conn) {
	server := conn.ConnectedUrlRedacted()
	l.mu.Lock()
	away := time.Since(l.connection.Since)
	l.connection = Connection{Connected: true, Since: time.Now(), Server: Redact(server), Lost: l.connection.Lost}
	l.link, l.unlink = context.WithCancel(context.Background())
	l.mu.Unlock()
	l.logger.Info("reached the NATS server of the log again", "server", Redact(server), "away", away.Round(time.Millisecond))
}

// hidden stands for what may hold a password.
const hidden = "(not shown)"

// bare is a server without anything that could be part of a password.
var bare = regexp.MustCompile(`^[a-z]+://([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?$`)

// Redact takes user and password out of a URL, or out of each of several
// separated by commas. It works on the text, for what is shown is often what
// is no URL; where it cannot tell what is a password it shows nothing.
func Redact(urls string) string {
	list := strings.Split(urls, ",")
	for i, text := range list {
		scheme, rest, found := strings.Cut(strings.TrimSpace(text), "://")
		if !found {
			return hidden // a password may hold a comma
		}
		list[i] = scheme + "://" + rest[strings.LastIndexByte(rest, '@')+1:]
		if !bare.MatchString(list[i]) {
			list[i] = hidden
		}
	}
	return strings.Join(list, ",")
}

// Check looks whether streams that exist are what they must be. A permanent
// one that may lose messages, or has other subjects, is [events.ErrCorrupt];
// what works but was perhaps not meant comes back in words.
func (l *Log) Check(ctx context.Context, streams []events.StreamConfig) (remarks []string, err error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	for _, c := range streams {
		stream, err := l.writeJS.Stream(ctx, string(c.Name))
		if err != nil {
			return nil, fmt.Errorf("check stream %s: %w", c.Name, translateRead(err))
		}
		got := stream.CachedInfo().Config
		if c.Permanent {
			if err := checkDifferences(streamConfig(c), got); err != nil {
				return nil, fmt.Errorf("check stream %s: %w", c.Name, err)
			}
		}
		if got.Replicas != l.replicas {
			remarks = append(remarks, fmt.Sprintf("stream %s has %d replicas, %d wanted; `nats stream edit %s --replicas %d` changes it",
				c.Name, got.Replicas, l.replicas, c.Name, l.replicas))
		}
		if !c.Permanent && got.MaxAge != c.Retention {
			remarks = append(remarks, fmt.Sprintf("stream %s keeps messages for %v, %v wanted", c.Name, got.MaxAge, c.Retention))
		}
	}
	return remarks, nil
}
