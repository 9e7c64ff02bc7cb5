package query

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"connectrpc.com/connect"

	"github.com/dossier360/dossier/events"
	"github.com/dossier360/dossier/ingest/directory"
	"github.com/dossier360/dossier/ingest/rejected"
	"github.com/dossier360/dossier/projections"
)

var (
	// errInvalid: the request cannot be right at any time.
	errInvalid = errors.New("query: invalid request")
	// errPrecondition: the deployment does not do that.
	errPrecondition = errors.New("query: not in this deployment")
	// errSealed: the bytes are there and cannot be read here.
	errSealed = errors.New("query: no key for this body")
	// errBusy: as many as may are being served.
	errBusy = errors.New("query: busy")
	// errStopping: the server ends, another may come.
	errStopping = errors.New("query: stopping")
)

// codes is the one place where a Go error becomes a code of the wire. The
// first that matches is used; what matches none is internal.
var codes = []struct {
	is   error
	code connect.Code
}{
	{errInvalid, connect.CodeInvalidArgument},
	{errPrecondition, connect.CodeFailedPrecondition},
	{errSealed, connect.CodeFailedPrecondition},
	{errBusy, connect.CodeResourceExhausted},
	{errStopping, connect.CodeUnavailable},
	{directory.ErrType, connect.CodeInvalidArgument},
	{directory.ErrTooLong, connect.CodeInvalidArgument},
	{directory.ErrNotUTF8, connect.CodeInvalidArgument},
	{directory.ErrBlocked, connect.CodeInvalidArgument},
	{directory.ErrNotReady, connect.CodeUnavailable},
	{directory.ErrOverload, connect.CodeResourceExhausted},
	{directory.ErrUnknownCustomer, connect.CodeNotFound},
	{directory.ErrUnknownMerge, connect.CodeNotFound},
	{directory.ErrUnknownConflict, connect.CodeNotFound},
	{directory.ErrKinds, connect.CodeFailedPrecondition},
	{directory.ErrUndone, connect.CodeFailedPrecondition},
	{directory.ErrOneCustomer, connect.CodeFailedPrecondition},
	{directory.ErrNotHis, connect.CodeFailedPrecondition},
	{directory.ErrNothingLeft, connect.CodeFailedPrecondition},
	{directory.ErrTooMany, connect.CodeFailedPrecondition},
	{directory.ErrBlockedHere, connect.CodeFailedPrecondition},
	{directory.ErrResolved, connect.CodeFailedPrecondition},
	{projections.ErrTooLong, connect.CodeFailedPrecondition},
	{projections.ErrMoving, connect.CodeUnavailable},
	{projections.ErrNotFound, connect.CodeNotFound},
	{projections.ErrCatchingUp, connect.CodeUnavailable},
	{projections.ErrNotParked, connect.CodeNotFound},
	{rejected.ErrID, connect.CodeInvalidArgument},
	{rejected.ErrNotFound, connect.CodeNotFound},
	{rejected.ErrCatchingUp, connect.CodeUnavailable},
	{events.ErrNotFound, connect.CodeNotFound},
	{events.ErrOverload, connect.CodeUnavailable},
	{events.ErrUnknown, connect.CodeUnavailable},
	{events.ErrClosed, connect.CodeUnavailable},
	{events.ErrFull, connect.CodeResourceExhausted},
	{events.ErrCorrupt, connect.CodeDataLoss},
	{context.Canceled, connect.CodeCanceled},
	{context.DeadlineExceeded, connect.CodeDeadlineExceeded},
}

// refusal is an answer for the caller to read: the text stands alone, `is`
// decides the code.
type refusal struct {
	is   error
	text string
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.is }

func refuse(is error, format string, args ...any) error {
	return &refusal{is: is, text: fmt.Sprintf(format, args...)}
}

// codeOf finds the code of an error, and whether the table has one.
func codeOf(err error) (connect.Code, bool) {
	for _, c := range codes {
		if errors.Is(err, c.is) {
			return c.code, true
		}
	}
	return connect.CodeInternal, false
}

// coder turns the service's errors into those of the wire. An error that the
// table does not know is logged here, where it ends, and told without detail.
type coder struct{ logger *slog.Logger }

var _ connect.Interceptor = coder{}

// WrapUnary implements [connect.Interceptor].
func (c coder) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		resp, err := next(ctx, req)
		if err != nil {
			return nil, c.encode(ctx, req.Spec(), err)
		}
		return resp, nil
	}
}

// WrapStreamingHandler implements [connect.Interceptor].
func (c coder) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		if err := next(ctx, conn); err != nil {
			return c.encode(ctx, conn.Spec(), err)
		}
		return nil
	}
}

// WrapStreamingClient implements [connect.Interceptor]: this is no client.
func (c coder) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (c coder) encode(ctx context.Context, spec connect.Spec, err error) error {
	if wire := (*connect.Error)(nil); errors.As(err, &wire) {
		return wire
	}
	code, known := codeOf(err)
	if !known {
		c.logger.ErrorContext(ctx, "query failed", "procedure", spec.Procedure, "error", err)
		return connect.NewError(code, errors.New("internal error; the server's log has the cause"))
	}
	if code == connect.CodeDataLoss {
		c.logger.ErrorContext(ctx, "query met corruption", "procedure", spec.Procedure, "error", err)
	}
	return connect.NewError(code, err)
}
