package grpcapi

import (
	"context"
	"errors"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"modelops/messages"
)

// RetryTrailer tells in milliseconds when trying again makes sense.
const RetryTrailer = "retry-after-ms"

// mostLog bounds the log in a status, in bytes: details travel in trailers, and some clients take no more than 8 KiB of those.
const mostLog = 3 << 10

func size(lines []string) (n int) {
	for _, l := range lines {
		n += len(l)
	}
	return n
}

// statusOf turns a failure into the status of the error table, with the whole ErrorBody as its detail.
func statusOf(e *messages.Error) error {
	body := e.Body()
	st := status.New(codes.Code(e.Code.Wire().GRPC), body.Err().Error())
	for len(body.Log) > 0 && size(body.Log) > mostLog {
		body.Log = body.Log[1:]
	}
	detailed, err := st.WithDetails(body)
	if err != nil {
		// It has no text that can't be marshaled; the code is still worth more than nothing.
		detailed = st
	}
	return caused{e, detailed}
}

// caused is a status together with the error that it was made of, which knows more than goes to the caller.
type caused struct {
	err    *messages.Error
	status *status.Status
}

func (c caused) Error() string              { return c.status.Err().Error() }
func (c caused) GRPCStatus() *status.Status { return c.status }

// asCaused is the error of which a status of this server was made.
func asCaused(err error) *messages.Error {
	var c caused
	if errors.As(err, &c) {
		return c.err
	}
	return FromStatus(err)
}

// failure is err as the caller sees it. When the call's deadline has passed, its work was cancelled because of that, so the
// error is the deadline.
func failure(ctx context.Context, err error) *messages.Error {
	e := messages.AsError(err)
	if e.Code == messages.Cancelled && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return messages.NewError(messages.DeadlineExceeded, e.Subject, "the deadline passed before there was an answer").WithCause(err)
	}
	return e
}

// refuse ends a unary call with err.
func refuse(ctx context.Context, err error) error {
	e := failure(ctx, err)
	if e.Retry > 0 {
		// Fails only outside of a call.
		_ = grpc.SetTrailer(ctx, metadata.Pairs(RetryTrailer, strconv.FormatInt(e.Retry.Milliseconds(), 10)))
	}
	return statusOf(e)
}

// FromStatus brings a status of this server back to the typed error it was made of; for clients in Go. A status without the
// detail, such as one made by the transport, keeps its message and gets the nearest code.
func FromStatus(err error) *messages.Error {
	st, ok := status.FromError(err)
	if !ok || st.Code() == codes.OK {
		return messages.AsError(err)
	}
	for _, d := range st.Details() {
		if body, ok := d.(*messages.ErrorBody); ok {
			return body.Err().WithCause(err)
		}
	}
	return messages.NewError(nearest(st.Code()), "", st.Message()).WithCause(err)
}

func nearest(c codes.Code) messages.Code {
	switch c {
	case codes.Canceled:
		return messages.Cancelled
	case codes.DeadlineExceeded:
		return messages.DeadlineExceeded
	case codes.Unavailable:
		return messages.Unavailable
	case codes.Unimplemented:
		return messages.Unsupported
	case codes.ResourceExhausted:
		// The transport's own RESOURCE_EXHAUSTED is a message over the limit.
		return messages.PayloadTooLarge
	case codes.Unauthenticated:
		return messages.Unauthenticated
	case codes.InvalidArgument, codes.OutOfRange:
		return messages.InvalidArgument
	case codes.NotFound:
		return messages.NotFound
	case codes.PermissionDenied:
		return messages.PermissionDenied
	case codes.FailedPrecondition:
		return messages.FailedPrecondition
	case codes.Aborted, codes.AlreadyExists:
		return messages.Conflict
	}
	return messages.Internal
}
