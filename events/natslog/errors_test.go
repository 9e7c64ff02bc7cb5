package natslog_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/natslog"
)

// What the server answers, and what that says about the message. The answers
// that need a full disk, a cluster or a flood cannot be had in a test.
func TestErrorsAreTranslated(t *testing.T) {
	t.Parallel()
	answer := func(code int, number jetstream.ErrorCode, text string) error {
		return fmt.Errorf("nats: %w", &jetstream.APIError{Code: code, ErrorCode: number, Description: text})
	}
	sentinels := []error{
		events.ErrConflict, events.ErrUnknown, events.ErrOverload, events.ErrFull,
		events.ErrNotFound, events.ErrCorrupt, events.ErrClosed,
	}
	for _, test := range []struct {
		err         error
		write, read error // nil: the error stays as it is
	}{
		{answer(400, 10071, "wrong last sequence: 7"), events.ErrConflict, events.ErrConflict},
		{answer(400, 10164, "wrong last sequence"), events.ErrConflict, events.ErrConflict},
		{answer(404, 10059, "stream not found"), events.ErrNotFound, events.ErrNotFound},
		{answer(404, 10037, "no message found"), events.ErrNotFound, events.ErrNotFound},
		{answer(429, 10167, "too many requests"), events.ErrOverload, events.ErrOverload},
		{answer(503, 10023, "insufficient resources"), events.ErrFull, events.ErrFull},
		{answer(500, 10047, "insufficient storage resources available"), events.ErrFull, events.ErrFull},
		{answer(503, 10077, "write EVENTS_00/1.blk: no space left on device"), events.ErrFull, events.ErrFull},
		{answer(503, 10077, "write EVENTS_00/1.blk: input/output error"), events.ErrUnknown, nil},
		{answer(503, 10008, "JetStream system temporarily unavailable"), events.ErrUnknown, nil},
		{answer(400, 10060, "expected stream does not match"), nil, nil},
		{context.DeadlineExceeded, events.ErrUnknown, nil},
		{context.Canceled, events.ErrUnknown, nil},
		{nats.ErrTimeout, events.ErrUnknown, nil},
		{nats.ErrConnectionClosed, events.ErrUnknown, nil},
		{nats.ErrReconnectBufExceeded, events.ErrOverload, events.ErrOverload},
		{nats.ErrMaxPayload, nil, nil},
		{jetstream.ErrStreamNotFound, events.ErrNotFound, events.ErrNotFound},
		{jetstream.ErrMsgNotFound, events.ErrNotFound, events.ErrNotFound},
		{events.ErrClosed, events.ErrClosed, events.ErrClosed},
	} {
		for _, side := range []struct {
			name      string
			got, want error
		}{{"write", natslog.Translate(test.err), test.write}, {"read", natslog.TranslateRead(test.err), test.read}} {
			if !errors.Is(side.got, test.err) {
				t.Errorf("%s of %q: %v hides the cause", side.name, test.err, side.got)
			}
			for _, sentinel := range sentinels {
				if got, want := errors.Is(side.got, sentinel), sentinel == side.want; got != want {
					t.Errorf("%s of %q: is %q: %v, want %v", side.name, test.err, sentinel, got, want)
				}
			}
		}
	}
}

// Acknowledged means fsynced unless it is asked otherwise.
func TestServerSyncsAlways(t *testing.T) {
	t.Parallel()
	for interval, always := range map[time.Duration]bool{0: true, time.Second: false} {
		o, err := natslog.ServerOptions(natslog.Options{Dir: t.TempDir(), SyncInterval: interval}, "password")
		if err != nil {
			t.Fatal(err)
		}
		if o.SyncAlways != always {
			t.Errorf("interval %v: sync always %v, want %v", interval, o.SyncAlways, always)
		}
		if !always && o.SyncInterval != interval {
			t.Errorf("interval %v: the server's is %v", interval, o.SyncInterval)
		}
		if !o.DontListen || !o.NoSigs || o.MaxPayload != natslog.DefaultMaxPayload {
			t.Errorf("no listener %v, no signals %v, max payload %d", o.DontListen, o.NoSigs, o.MaxPayload)
		}
	}
}
