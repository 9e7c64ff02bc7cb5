// Package natslog is the log over NATS JetStream, embedded or in a cluster. It
// is the only importer of NATS.
//
// [Serve] runs the embedded server; [Open] opens the log on it, or on a
// cluster by URL. Acknowledged means fsynced: the server syncs every write of
// a stream before it answers, unless Options.SyncInterval relaxes that.
//
// Stop order: everything that appends or reads, then [Log.Close], then
// [Server.Close], which waits until the streams are closed in good order. Only
// then does the next start need no scan of the whole log.
package natslog

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/dossier360/dossier/events"
)

const (
	// DefaultMaxPayload bounds a message: a frame of the greatest size, and a
	// whole ingest call (4 MiB) published over NATS.
	DefaultMaxPayload = 4<<20 + 64<<10

	// maxStoreBytes switches off the server's own disk limit, which it takes
	// from the space that is free at its start. The gateway keeps a reserve.
	maxStoreBytes = 1 << 60

	// innerUser is what this program connects as.
	innerUser = "dossier-internal"
	// anyUser is what a client without a name is, if no users are named.
	anyUser = "anyone"
)

// Options of an embedded server.
type Options struct {
	// Dir holds the streams. One server at a time: a lock file says so.
	Dir string
	// Listen is host:port of the listener; "" or "off" is none, then only
	// this process can connect. Port 0 takes a free one.
	Listen string
	// SyncInterval 0 fsyncs every append before it is acknowledged. Any other
	// value fsyncs that often: power loss takes what was acknowledged since.
	SyncInterval time.Duration
	// MaxPayload bounds a message in bytes; 0 is DefaultMaxPayload.
	MaxPayload int
	// Logger takes what the server says; nil discards it.
	Logger *slog.Logger
	// Users are names and passwords of clients. None: every client that
	// reaches the listener is let in. A client may publish to dossier.intake.*,
	// subscribe to dossier.feed.> and pull from the stream FEED; no more.
	Users map[string]string
}

// Server is an embedded NATS server. Make it with [Serve].
type Server struct {
	options  Options
	lock     *os.File
	dir      string
	password string // of innerUser
	logger   *slog.Logger
	guard    *guard // nil without a listener

	turning sync.Mutex // held by who starts or ends a run
	closed  bool       // guarded by turning
	mu      sync.Mutex
	run     run               // the one at present; guarded by mu
	failed  error             // why the latest restart failed; guarded by mu
	logs    map[*Log]struct{} // open on this server; guarded by mu
}

// Serve starts an embedded server and waits until its streams are recovered.
// After a crash that is a scan of the whole log, which may take long; ctx
// bounds the wait. When ctx ends, the server goes down behind Serve's back.
func Serve(ctx context.Context, o Options) (*Server, error) {
	return serve(ctx, o, rand.Text())
}

// serve is Serve with the password of innerUser.
func serve(ctx context.Context, o Options, password string) (*Server, error) {
	if o.Dir == "" {
		return nil, errors.New("nats server: no directory")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if _, err := serverOptions(o, password); err != nil {
		return nil, fmt.Errorf("nats server: %w", err)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("nats server: %w", err)
	}
	lock, err := lockDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("nats server: %w", err)
	}
	s := &Server{options: o, lock: lock, dir: o.Dir, password: password, logger: o.Logger, logs: map[*Log]struct{}{}}
	fatal, err := s.start()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("nats server: %w", err), lock.Close())
	}
	if err := s.awaitReady(ctx, fatal); err != nil {
		if ctx.Err() != nil {
			go s.Close() // it waits for the end of the scan
		} else {
			s.Close()
		}
		return nil, fmt.Errorf("nats server: %w", err)
	}
	if s.URL() != "" {
		if s.guard, err = newGuard(s); err != nil {
			s.Close()
			return nil, fmt.Errorf("nats server: %w", err)
		}
	}
	return s, nil
}

// Begun reports whether a server has kept its store in a directory. Until then
// it need not be there, and may hold what an empty disk does.
func Begun(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, server.JetStreamStoreDir))
	return !errors.Is(err, fs.ErrNotExist)
}

// run is a server from its start to its shutdown.
type run struct {
	nats    *server.Server
	started chan struct{} // closed when server.Start has returned
}

// end shuts the server down and waits for it.
func (r run) end() {
	<-r.started // shutting down in the middle of a recovery is not defined
	r.nats.Shutdown()
	r.nats.WaitForShutdown()
}

// start begins a run. What would have ended a process of its own comes on the
// channel.
func (s *Server) start() (fatal <-chan error, err error) {
	options, err := serverOptions(s.options, s.password)
	if err != nil {
		return nil, err
	}
	inner, err := server.NewServer(options)
	if err != nil {
		return nil, err
	}
	fatalError := make(chan error, 1)
	inner.SetLoggerV2(&logger{to: s.logger, fatal: fatalError}, false, false, false)
	r := run{nats: inner, started: make(chan struct{})}
	s.mu.Lock()
	s.run = r
	s.mu.Unlock()
	go func() {
		defer close(r.started)
		inner.Start()
	}()
	return fatalError, nil
}

// current is the run at present.
func (s *Server) current() run {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.run
}

// InProcessConn implements [nats.InProcessConnProvider]: a connection to the
// run at present, so that connections come back after a restart.
func (s *Server) InProcessConn() (net.Conn, error) { return s.current().nats.InProcessConn() }

// Broken returns why the server needs a restart: a write to a stream failed, as
// on a full disk, and the stream takes nothing more though there be room again;
// or the latest restart failed. Nil: it needs none.
func (s *Server) Broken() error {
	s.mu.Lock()
	r, failed := s.run, s.failed
	s.mu.Unlock()
	if failed != nil {
		return failed
	}
	select {
	case <-r.started:
	default:
		return nil // it has just begun
	}
	h := r.nats.Healthz(&server.HealthzOptions{Account: logAccount})
	if h.StatusCode != http.StatusOK && h.Error != "" && strings.Contains(h.Error, "write error") {
		return errors.New(h.Error)
	}
	return nil
}

// Restart shuts the server down and starts it again, on the same address: a
// stream that met an error of the disk takes nothing more until then. Logs and
// clients reconnect by themselves. ctx bounds the wait for the recovery of the
// streams; when it ends, the server goes on starting. A restart that failed may
// be tried again.
func (s *Server) Restart(ctx context.Context) error {
	s.turning.Lock()
	defer s.turning.Unlock()
	if s.closed {
		return fmt.Errorf("restart nats server: %w", events.ErrClosed)
	}
	err := s.restart(ctx)
	if err != nil {
		err = fmt.Errorf("restart nats server: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = nil
	if ctx.Err() == nil {
		s.failed = err
	}
	return err
}

// restart is Restart, under turning.
func (s *Server) restart(ctx context.Context) error {
	if addr, ok := s.current().nats.Addr().(*net.TCPAddr); ok {
		s.options.Listen = addr.String() // of port 0, the one that clients know
	}
	s.current().end()
	fatal, err := s.start()
	if err != nil {
		return err
	}
	return s.awaitReady(ctx, fatal)
}

// connectOptions is how this program connects to its own server.
func (s *Server) connectOptions() []nats.Option {
	return []nats.Option{
		nats.InProcessServer(s), nats.UserInfo(innerUser, s.password), nats.CustomInboxPrefix(secretInbox()),
	}
}

// serverOptions translates options.
func serverOptions(o Options, password string) (*server.Options, error) {
	payload := o.MaxPayload
	if payload == 0 {
		payload = DefaultMaxPayload
	}
	if payload < 0 || payload > server.MAX_PAYLOAD_MAX_SIZE {
		return nil, fmt.Errorf("max payload: %d bytes, limit %d", payload, server.MAX_PAYLOAD_MAX_SIZE)
	}
	if o.SyncInterval < 0 {
		return nil, fmt.Errorf("sync interval: %v, 0 or more wanted", o.SyncInterval)
	}
	options := &server.Options{
		ServerName:        "dossier",
		DontListen:        o.Listen == "" || o.Listen == "off",
		JetStream:         true,
		StoreDir:          o.Dir,
		JetStreamMaxStore: maxStoreBytes,
		SyncAlways:        o.SyncInterval == 0,
		SyncInterval:      o.SyncInterval,
		MaxPayload:        int32(payload),
		NoSigs:            true,
	}
	if options.SyncAlways {
		// Also how often what needs no acknowledgement is synced.
		options.SyncInterval = 2 * time.Minute
	}
	if !options.DontListen {
		host, port, err := net.SplitHostPort(o.Listen)
		if err != nil {
			return nil, fmt.Errorf("listen %q: host:port or \"off\" wanted", o.Listen)
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("listen %q: port %q, 0 to 65535 wanted", o.Listen, port)
		}
		options.Host, options.Port = host, int(n)
		if n == 0 {
			options.Port = server.RANDOM_PORT
		}
	}
	inner, clients, err := addAccounts(options)
	if err != nil {
		return nil, err
	}
	options.Users = []*server.User{{Username: innerUser, Password: password, Account: inner}}
	for name, pass := range o.Users {
		if name == "" || name == innerUser || name == anyUser || pass == "" {
			return nil, fmt.Errorf("user %q: a name other than %q and %q, and a password wanted", name, innerUser, anyUser)
		}
		options.Users = append(options.Users, &server.User{Username: name, Password: pass, Account: clients, Permissions: outsider()})
	}
	if len(o.Users) == 0 {
		options.Users = append(options.Users, &server.User{Username: anyUser, Password: rand.Text(), Account: clients, Permissions: outsider()})
		options.NoAuthUser = anyUser
	}
	return options, nil
}

// awaitReady waits until Start has returned, which is when all streams are
// recovered and clients are let in, or when a fatal error stopped it.
func (s *Server) awaitReady(ctx context.Context, fatal <-chan error) error {
	select {
	case <-s.current().started:
	case <-ctx.Done():
		return fmt.Errorf("wait for the recovery of the log: %w", ctx.Err())
	}
	select {
	case err := <-fatal:
		return err
	default:
	}
	if !s.current().nats.JetStreamEnabled() {
		return errors.New("the store did not start; the server's log says why")
	}
	return nil
}

// URL is where clients connect; "" without a listener.
func (s *Server) URL() string {
	if addr, ok := s.current().nats.Addr().(*net.TCPAddr); ok {
		return "nats://" + addr.String()
	}
	return ""
}

// Close closes the logs still open on the server, then the server, and returns
// when every stream is closed in good order.
func (s *Server) Close() {
	s.turning.Lock()
	defer s.turning.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	for _, l := range s.openLogs() {
		l.Close()
	}
	if s.guard != nil {
		s.guard.conn.Close()
	}
	s.current().end()
	if err := s.lock.Close(); err != nil {
		s.logger.Warn("directory lock not released", "dir", s.dir, "error", err)
	}
}

func (s *Server) openLogs() []*Log {
	s.mu.Lock()
	defer s.mu.Unlock()
	var logs []*Log
	for l := range s.logs {
		logs = append(logs, l)
	}
	return logs
}

func (s *Server) add(l *Log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logs[l] = struct{}{}
}

func (s *Server) remove(l *Log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.logs, l)
}

// syncDirs makes the directories above the streams durable. The server fsyncs
// what it writes into a stream, not the way there.
func (s *Server) syncDirs() error {
	for _, dir := range []string{"jetstream/" + logAccount + "/streams", "jetstream/" + logAccount, "jetstream", ""} {
		if err := syncDir(filepath.Join(s.dir, filepath.FromSlash(dir))); err != nil {
			return err
		}
	}
	// The parent may not be ours to open.
	if err := syncDir(filepath.Dir(filepath.Clean(s.dir))); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// logger passes on what the server says.
type logger struct {
	to    *slog.Logger
	fatal chan<- error // bound 1; the first fatal error counts
}

const logMessage = "nats server says"

func (l *logger) Noticef(format string, v ...any) {
	l.to.Debug(logMessage, "text", fmt.Sprintf(format, v...)) // banners and settings
}

func (l *logger) Warnf(format string, v ...any) {
	if strings.HasPrefix(format, "Plaintext passwords detected") {
		return // our own, made at this start and kept in memory
	}
	l.to.Warn(logMessage, "text", fmt.Sprintf(format, v...))
}

func (l *logger) Errorf(format string, v ...any) {
	l.to.Error(logMessage, "text", fmt.Sprintf(format, v...))
}

func (l *logger) Debugf(format string, v ...any) {
	l.to.Debug(logMessage, "text", fmt.Sprintf(format, v...))
}

func (l *logger) Tracef(format string, v ...any) { l.Debugf(format, v...) }

// Fatalf does not end the process, unlike the server's own logger: at start
// the error is Serve's, later the log's calls fail.
func (l *logger) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.to.Error(logMessage, "text", text, "fatal", true)
	select {
	case l.fatal <- errors.New(text):
	default:
	}
}
