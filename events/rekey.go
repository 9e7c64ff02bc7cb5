package events

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	logv1 "github.com/dossier360/dossier/proto/dossier/log/v1"
)

// ErrFormerKey tells that the identity key was changed since.
var ErrFormerKey = errors.New("identity key: it was changed by `dossier rekey`, and this is a former one; use the key that was made then")

// CheckIdentityKey reads how the identity key was changed, from a sequence of
// IDENTITY on, and returns nil if the key with this check value was the last.
// Otherwise it returns [ErrFormerKey] or [ErrIdentityKey]. It reads the stream
// to its end, so ask it only where the key is not that of Genesis.
func CheckIdentityKey(ctx context.Context, l Log, check []byte, from uint64) error {
	info, err := l.Info(ctx, IdentityStream)
	if err != nil {
		return fmt.Errorf("info of stream %s: %w", IdentityStream, err)
	}
	verdict := ErrIdentityKey
	err = ReadIdentity(ctx, l, from, info.Last, func(_ Message, id *logv1.Identity) error {
		for _, d := range id.GetBindings().GetDecisions() {
			r := d.GetRekeyed()
			switch {
			case !r.GetDone():
			case bytes.Equal(r.GetKeyCheck(), check):
				verdict = nil
			case verdict == nil:
				verdict = ErrFormerKey
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return verdict
}

// ReadIdentity calls visit with the messages of IDENTITY from one sequence to
// another, in order.
func ReadIdentity(ctx context.Context, l Log, from, to uint64, visit func(Message, *logv1.Identity) error) error {
	if from > to {
		return nil
	}
	r, err := l.Read(ctx, IdentityStream, from)
	if err != nil {
		return fmt.Errorf("read stream %s from %d: %w", IdentityStream, from, err)
	}
	defer r.Close()
	for seq := from; seq <= to; seq++ {
		m, err := r.Next(ctx)
		if err != nil {
			return fmt.Errorf("read stream %s at %d: %w", IdentityStream, seq, err)
		}
		id := &logv1.Identity{}
		if err := Open(m.Data, id); err != nil {
			return fmt.Errorf("stream %s, message %d: %w", IdentityStream, m.Seq, err)
		}
		if err := visit(m, id); err != nil {
			return err
		}
	}
	return nil
}
