package main

import (
	"context"
	"fmt"

	"github.com/dossier360/dossier/events/natslog"
	"github.com/dossier360/dossier/ingest/intake"
)

// intakeShare is the part of --ingest-memory-mib that messages over NATS take
// before they are decoded; decoded they take several times as much.
const intakeShare = 8

// openIntake begins to take in what is published to dossier.intake.*, where
// anybody can.
func (e *engine) openIntake(ctx context.Context, s settings) error {
	dial := natslog.Dial{Server: e.server, Logger: e.quiet()}
	if s.external() {
		dial = natslog.Dial{URL: s.natsURL, Credentials: s.natsCreds, Logger: e.quiet()}
	} else if e.server.URL() == "" {
		return nil
	}
	told := intake.New(intake.Options{Accept: e.accept, Ready: e.takes, Logger: e.logger})
	respond := func(r intake.Reply) natslog.Response {
		e.metrics.intakeMessages.WithLabelValues(r.Result).Inc()
		return natslog.Response{Header: r.Header, Data: r.Data}
	}
	open, err := natslog.OpenIntake(ctx, dial, natslog.IntakeOptions{
		Handle: func(ctx context.Context, r natslog.Request) natslog.Response {
			return respond(told.Handle(ctx, intake.Message(r)))
		},
		Busy:     func() natslog.Response { return respond(intake.Busy()) },
		MaxBytes: s.ingestMemoryBytes() / intakeShare,
		Logger:   e.quiet(),
	})
	if err != nil {
		return fmt.Errorf("intake over NATS: %w", err)
	}
	e.intake = open
	return nil
}

// stopIntake takes no more messages and answers those that were taken.
func (e *engine) stopIntake() {
	if e.intake == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	e.intake.Stop(ctx)
}
