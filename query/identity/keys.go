package identity

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
)

// guard holds calls against keys: everything wants a read key, and a change a
// write key beside it. Write keys stand in the pages of web sites, where anybody
// finds them: alone they join and part nobody. Where there are no keys of a kind
// none is wanted.
type guard struct{ read, write keys }

var _ connect.Interceptor = guard{}

// WrapUnary implements [connect.Interceptor].
func (g guard) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		message, ok := req.Any().(proto.Message)
		if !ok {
			return nil, connect.NewError(connect.CodeInternal, errors.New("a request that is no message"))
		}
		told := presented(req.Header())
		if changes(message) && !g.write.holds(told) {
			return nil, refused("write", len(told) > 0)
		}
		if !g.read.holds(told) {
			return nil, refused("read", len(told) > 0)
		}
		return next(ctx, req)
	}
}

// WrapStreamingHandler implements [connect.Interceptor]: no method streams.
func (g guard) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// WrapStreamingClient implements [connect.Interceptor]: this is no client.
func (g guard) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// changes reports whether a request changes anything: it gives a reason, and is
// not dry.
func changes(message proto.Message) bool {
	m := message.ProtoReflect()
	fields := m.Descriptor().Fields()
	if fields.ByName("reason") == nil {
		return false
	}
	dry := fields.ByName("dry_run")
	return dry == nil || !m.Get(dry).Bool()
}

func refused(kind string, told bool) error {
	text := "a " + kind + " key is needed: Authorization: Bearer <key>"
	if told {
		text = "no " + kind + " key is presented; a valid one is needed, a change wants a write key and a read key, each in an Authorization: Bearer <key> of its own"
	}
	err := connect.NewError(connect.CodeUnauthenticated, errors.New(text))
	err.Meta().Set("WWW-Authenticate", "Bearer")
	return err
}

// presented are the keys that a call presents: of several, as a command that
// holds one of each kind sends, any may fit.
func presented(h http.Header) []string {
	var told []string
	for _, value := range h.Values("Authorization") {
		scheme, key, _ := strings.Cut(value, " ")
		key = strings.TrimSpace(key)
		switch {
		case strings.EqualFold(scheme, "Bearer"):
			told = append(told, key)
		case strings.EqualFold(scheme, "Basic"):
			if pair, err := base64.StdEncoding.DecodeString(key); err == nil {
				user, _, _ := strings.Cut(string(pair), ":")
				told = append(told, user)
			}
		}
	}
	return told
}

// keys are the sums of keys, so that the time of comparing tells nothing of one.
type keys [][sha256.Size]byte

func sumKeys(list []string) keys {
	sums := make(keys, len(list))
	for i, key := range list {
		sums[i] = sha256.Sum256([]byte(key))
	}
	return sums
}

// holds reports whether one of those presented is a key; no keys hold anything.
func (k keys) holds(told []string) bool {
	if len(k) == 0 {
		return true
	}
	match := 0
	for _, key := range told {
		sum := sha256.Sum256([]byte(key))
		for i := range k {
			match |= subtle.ConstantTimeCompare(sum[:], k[i][:])
		}
	}
	return match == 1
}
