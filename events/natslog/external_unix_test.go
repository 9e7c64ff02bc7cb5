//go:build unix

package natslog_test

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/events/natslog"
)

// pause stops the process where it is, and returns when it stands still: the
// signal alone leaves its threads time for another answer.
func (p *process) pause() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		p.t.Fatal(err)
	}
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			p.t.Fatal(err)
		}
		if !status.Stopped() {
			p.t.Fatalf("server ended with %v, want it stopped", status)
		}
		return
	}
}

// A read ends with its connection, and before a caller who has long gives up:
// nobody waits for an answer that cannot come.
func TestReadIsCutOff(t *testing.T) {
	t.Parallel()
	server := startProcess(t, "max_payload: 2MB")
	l := open(t, natslog.Dial{URL: server.url()})
	if err := l.CreateStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	check := func(how string, err error) {
		t.Helper()
		if err == nil || !natslog.Unavailable(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v; want that the server is away", how, err)
		}
	}
	server.pause() // takes what is sent, answers nothing
	if !testing.Short() {
		_, err := l.Info(ctx, stream.Name)
		check("info from a server that does not answer", err)
	}
	result := make(chan error)
	go func() {
		_, err := l.Get(ctx, stream.Name, 1)
		result <- err
	}()
	server.kill()
	check("get from a server that is killed", <-result)
}

// An append whose answer is lost with the connection says so at once: it does
// not wait for an answer that cannot come.
func TestAppendIsCutOff(t *testing.T) {
	t.Parallel()
	server := startProcess(t, "max_payload: 2MB")
	l := open(t, natslog.Dial{URL: server.url()})
	if err := l.CreateStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	server.pause() // takes what is sent, answers nothing
	result := make(chan error)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	go func() {
		_, err := l.Append(ctx, stream.Name, events.SubjectEvents(0), []byte("x"), events.Expect{})
		result <- err
	}()
	server.kill()
	if err := <-result; !errors.Is(err, events.ErrUnknown) && !errors.Is(err, events.ErrOverload) {
		t.Errorf("append whose server is killed: %v, want ErrUnknown, or ErrOverload where it was not sent", err)
	}
}
