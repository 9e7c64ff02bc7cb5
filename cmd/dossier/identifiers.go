package main

import (
	"context"
	"errors"
	"time"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest/directory"
	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// publishTypes makes the settings of identifier types hold before anything is
// taken in: what comes first would be decided by the former ones.
func (e *engine) publishTypes(ctx context.Context, s settings, progress func(string)) error {
	if s.types == nil {
		return nil
	}
	progress("publishing the settings of identifier types")
	changed, err := e.directory.PublishTypes(ctx, s.types, &logv1.Why{Rule: "settings", At: events.Micros(time.Now())})
	if refused, ok := errors.AsType[*directory.TypesError](err); ok {
		return wrongUsage("--identifiers: %v", refused)
	}
	if err == nil && changed {
		e.logger.Info("identifier types published", "types", len(s.types.Logged()))
	}
	return err
}
