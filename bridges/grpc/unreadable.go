package grpcapi

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"modelops/messages"
)

// arrival is a message on its way in, and why it can't be read. The library answers INTERNAL as soon as a codec fails, so ours doesn't fail.
type arrival struct {
	into any
	err  error
}

// codec is that of protobuf, which puts an error beside the message.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	a, ok := v.(*arrival)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	a.err = c.CodecV2.Unmarshal(data, a.into)
	return nil
}

// take reads a message. One that can't be read is the caller's fault, and so is what the library says of frames that are wrong: it calls that
// INTERNAL, and may have told the caller so already, but it is no fault of this host.
func take(read func(any) error, into any) error {
	a := arrival{into: into}
	err := read(&a)
	if st, ok := status.FromError(err); err != nil && ok && st.Code() == codes.Internal || errors.Is(err, io.ErrUnexpectedEOF) {
		a.err, err = errors.New(st.Message()), nil
	}
	if err != nil || a.err == nil {
		return err
	}
	return unreadable(a.err)
}

func unreadable(err error) error {
	return statusOf(messages.NewError(messages.InvalidArgument, "message", err.Error()).
		WithHint("send the message that operations.proto has for this method, in its binary form; reflection shows it"))
}

// readable is a service whose calls of one message are read by take. guardStream does it for streams.
func (s *Server) readable(d grpc.ServiceDesc) *grpc.ServiceDesc {
	d.Methods = slices.Clone(d.Methods)
	for i, m := range d.Methods {
		d.Methods[i].Handler = func(srv any, ctx context.Context, read func(any) error, guard grpc.UnaryServerInterceptor) (any, error) {
			start := time.Now()
			return m.Handler(srv, ctx, func(into any) error {
				err := take(read, into)
				if err != nil { // guardUnary never sees this call
					s.tell(ctx, "/"+d.ServiceName+"/"+m.MethodName, err, start)
				}
				return err
			}, guard)
		}
	}
	return &d
}

// reading is a stream whose messages are read by take.
type reading struct{ grpc.ServerStream }

func (r reading) RecvMsg(into any) error { return take(r.ServerStream.RecvMsg, into) }
