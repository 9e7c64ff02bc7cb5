package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	readHeaderTimeout = 10 * time.Second
	// readTimeout bounds a whole request: the largest body over a slow line.
	readTimeout = 60 * time.Second
	idleTimeout = 120 * time.Second
	// drainTimeout bounds how long requests under way are waited for.
	drainTimeout = 15 * time.Second
	// retryAfterSeconds is what who comes too early is told.
	retryAfterSeconds = "2"
)

// door is the HTTP listener. It answers from the first instant: before the
// engine is there with 503 and how far the start is.
type door struct {
	listener net.Listener
	server   *http.Server
	logger   *slog.Logger
	metrics  *metrics
	inside   atomic.Pointer[http.Handler]
	closing  sync.Once
	stopping chan struct{} // closed before requests under way are waited for

	mu    sync.Mutex
	stage string // of the start; guarded by mu
}

func openDoor(ctx context.Context, s settings, logger *slog.Logger, m *metrics) (*door, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.http)
	if err != nil {
		return nil, fmt.Errorf("--http %s: %w", s.http, err)
	}
	d := &door{listener: l, logger: logger, metrics: m, stage: "starting", stopping: make(chan struct{})}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true) // gRPC
	d.server = &http.Server{
		Handler:           m.counted(d),
		Protocols:         protocols,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	go func() {
		if err := d.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("http server ended", "error", err)
		}
	}()
	return d, nil
}

func (d *door) address() string { return d.listener.Addr().String() }

// progress says what the start is at.
func (d *door) progress(stage string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stage = stage
	d.logger.Debug("starting", "stage", stage)
}

// enter lets requests in to the engine.
func (d *door) enter(h http.Handler) { d.inside.Store(&h) }

// ServeHTTP implements [http.Handler].
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/livez":
		answerJSON(w, http.StatusOK, map[string]bool{"live": true})
		return
	case "/metrics":
		d.metrics.ServeHTTP(w, r)
		return
	}
	if inside := d.inside.Load(); inside != nil {
		(*inside).ServeHTTP(w, r)
		return
	}
	d.mu.Lock()
	stage := d.stage
	d.mu.Unlock()
	w.Header().Set("Retry-After", retryAfterSeconds)
	w.Header().Set("Access-Control-Allow-Origin", "*")
	answerJSON(w, http.StatusServiceUnavailable, readiness{Reason: stage})
}

// close stops listening and waits for the requests under way. Those that have
// no end of their own are told to end.
func (d *door) close() {
	d.closing.Do(func() {
		close(d.stopping)
		ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		if err := d.server.Shutdown(ctx); err != nil {
			d.logger.Warn("requests cut off", "error", err)
			d.server.Close()
		}
	})
}

func answerJSON(w http.ResponseWriter, status int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(data, '\n'))
}
