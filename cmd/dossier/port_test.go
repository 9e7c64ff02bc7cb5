package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// quietPorts are below what systems give to connections that ask for no port:
// a port of those may be in use for a connection, by anybody, the moment before
// a server comes (back) to it. Other packages' tests have ports of their own.
const (
	firstQuietPort = 20_000
	quietPortCount = 10_000
)

var quietPorts struct {
	mu    sync.Mutex
	given map[int]bool // guarded by mu
}

// quietAddress is an address of this machine that nobody listens on, and that
// no other test of this process is given.
func quietAddress(t interface{ Fatalf(string, ...any) }) string {
	if tb, ok := t.(testing.TB); ok {
		tb.Helper()
	}
	quietPorts.mu.Lock()
	defer quietPorts.mu.Unlock()
	if quietPorts.given == nil {
		quietPorts.given = map[int]bool{}
	}
	for range 100 {
		port := firstQuietPort + rand.IntN(quietPortCount)
		if quietPorts.given[port] {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue // somebody listens
		}
		if err := l.Close(); err != nil {
			t.Fatalf("close a listener: %v", err)
		}
		quietPorts.given[port] = true
		return l.Addr().String()
	}
	t.Fatalf("no port of 100 from %d on is free", firstQuietPort)
	return ""
}
