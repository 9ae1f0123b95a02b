package grpcapi

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// window is how much of a message comes before somebody reads it, in bytes: so much a call can hold that isn't counted. It doesn't slow a large
// message, because a reader asks for all of the piece that it waits for.
const window = 64 << 10

// connectionWindow is how much may be under way on one connection, in bytes.
const connectionWindow = 4 << 20

// largestPiece is how much of a message is read at once, in bytes. The time without a byte counts from the last one.
const largestPiece = 1 << 20

// wire is what the library's streams can do beyond their interface. The length of a message stands before it, and the library reads both at once.
// A later release without these methods would leave messages uncounted; TestMessagesAreCountedBeforeTheyCome fails then.
type wire interface {
	ReadMessageHeader(header []byte) error
	Read(n int) (mem.BufferSlice, error)
	WriteStatus(*status.Status) error
}

func wireOf(ctx context.Context) wire {
	w, _ := grpc.ServerTransportStreamFromContext(ctx).(wire)
	return w
}

// receive reads one message, whose bytes are taken from the budget of bodies before they are read. The caller frees room when it doesn't hold the
// message any more. The error is io.EOF at the end of a stream. alone: the message is the only one of its call, and due at once.
func (s *Server) receive(ctx context.Context, w wire, room *messages.Body, m proto.Message, alone bool) error {
	stall := time.AfterFunc(s.BodyStall, func() { _ = w.WriteStatus(s.stalled()) }) // which ends the call, and the read with it
	defer stall.Stop()
	if !alone {
		stall.Stop() // the next message of a stream may come at any time
	}
	var head [5]byte
	if err := w.ReadMessageHeader(head[:]); err != nil {
		return readError(ctx, err, alone)
	}
	length := int(binary.BigEndian.Uint32(head[1:]))
	switch {
	case length > s.MaxMessage:
		return status.Errorf(codes.ResourceExhausted, "grpc: received message larger than max (%d vs. %d)", length, s.MaxMessage)
	case head[0] != 0: // the library refuses calls of other encodings before
		return unreadable(errors.New("it says to be compressed, and the call names no encoding"))
	}
	if err := room.Grow(ctx, s.Bodies.Doubled(int64(length))); err != nil {
		return refuse(ctx, err)
	}
	body, err := s.read(w, length, stall)
	if err == nil && alone {
		if err = w.ReadMessageHeader(head[:]); err == nil {
			return unreadable(errors.New("the call takes one message, and there are more"))
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	if err != nil {
		return readError(ctx, err, true)
	}
	stall.Stop()
	if err := proto.Unmarshal(body, m); err != nil {
		return unreadable(err)
	}
	return nil
}

// read gives the bytes of a message. Each piece lets the sender stall anew.
func (s *Server) read(w wire, length int, stall *time.Timer) ([]byte, error) {
	body := make([]byte, length)
	for at := 0; at < length; {
		stall.Reset(s.BodyStall)
		got, err := w.Read(min(length-at, largestPiece))
		if err != nil {
			return nil, err
		}
		at += got.CopyTo(body[at:])
		got.Free()
	}
	return body, nil
}

func (s *Server) stalled() *status.Status {
	return status.Convert(statusOf(messages.NewError(messages.DeadlineExceeded, "", "the message brought no byte for "+s.BodyStall.String()).
		WithHint("send it whole, or raise server.limits.body_stall")))
}

// readError is why a message can't be read. due: there had to be one.
func readError(ctx context.Context, err error, due bool) error {
	switch {
	case errors.Is(err, io.EOF) && !due:
		return io.EOF
	case ctx.Err() != nil:
		return status.FromContextError(ctx.Err()).Err()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return unreadable(errors.New("the stream ends before the message does"))
	}
	if _, is := status.FromError(err); is {
		return err
	}
	return status.Error(codes.Unavailable, err.Error())
}

// next is the next request of a stream and its room.
func (s *Server) next(stream grpc.BidiStreamingServer[messages.InferenceRequest, messages.InferenceChunk]) (*messages.InferenceRequest, *messages.Body, error) {
	room := s.Bodies.Body()
	w := wireOf(stream.Context())
	if w == nil {
		r, err := stream.Recv()
		if err == nil {
			err = room.Grow(stream.Context(), int64(proto.Size(r)))
		}
		return r, &room, err
	}
	r := &messages.InferenceRequest{}
	if err := s.receive(stream.Context(), w, &room, r, false); err != nil {
		room.Free()
		return nil, nil, err
	}
	return r, &room, nil
}
