package cli

import (
	"cmp"
	"context"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/encoding/protojson"

	natsapi "modelops/bridges/nats"
	"modelops/messages"
)

// infer sends a request. With emit the answer is streamed. When ctx ends before the answer, the daemon is told to stop.
func (k *client) infer(ctx context.Context, r *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
	r.RequestId, r.Stream = cmp.Or(r.RequestId, uuid.NewString()), emit != nil
	body, err := protojson.Marshal(r)
	if err != nil {
		return nil, messages.Errorf(messages.InvalidArgument, "prompt", "it can't be sent: %w", err)
	}
	const subject = "infer" // the body names the model
	defer func() {
		if ctx.Err() != nil { // NATS doesn't tell the daemon that the client is gone
			_ = k.nc.PublishMsg(message(context.WithoutCancel(ctx), "cancel."+natsapi.Token(r.RequestId), r.RequestId, nil))
			_ = k.nc.FlushTimeout(grace)
		}
	}()
	if emit == nil {
		m, err := k.askAs(ctx, r.RequestId, subject, body)
		if err != nil {
			return nil, err
		}
		answer := &messages.InferenceResponse{}
		return answer, readReply(m.Data, answer)
	}
	return k.stream(ctx, message(ctx, subject, r.RequestId, body), emit)
}

// stream reads chunks until the last one.
func (k *client) stream(ctx context.Context, m *nats.Msg, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
	m.Reply = k.nc.NewRespInbox()
	sub, err := k.nc.SubscribeSync(m.Reply)
	if err != nil {
		return nil, k.lost(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := k.nc.PublishMsg(m); err != nil {
		return nil, k.lost(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(k.refused, cancel)()
	for index := int32(0); ; index++ {
		in, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, k.lost(err)
		}
		if len(in.Data) == 0 && in.Header.Get("Status") == "503" {
			return nil, k.lost(nats.ErrNoResponders)
		}
		chunk := &messages.InferenceChunk{}
		if err := readReply(in.Data, chunk); err != nil || chunk.RequestId == "" {
			if failed := failureIn(in); failed != nil { // refused before the stream began
				return nil, failed
			}
			return nil, err
		}
		if chunk.Error != nil {
			return nil, chunk.Error.Err()
		}
		if chunk.Index != index {
			return nil, messages.Errorf(messages.Unavailable, k.nc.ConnectedUrlRedacted(), "chunk %d of the answer was lost", index).
				WithHint("the output is read too slowly; --stream=false waits for the whole answer")
		}
		if err := emit(chunk); err != nil {
			return nil, err
		}
		if chunk.Done {
			return chunk.Response, nil
		}
	}
}
