package grpcapi

import (
	"context"
	"strconv"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"modelops/messages"
)

// Header metadata of an answer to Infer, beside messages.HostHeader: how the request waited, in milliseconds. A stream has one header for all its requests, so
// there the last chunk's response says it.
const (
	QueuePositionHeader = "modelops-queue-position"    // place at arrival, from 1; 0 = it didn't wait
	QueueExpectedHeader = "modelops-queue-expected-ms" // how long the wait was expected to be at arrival; absent when it wasn't known
	QueueWaitHeader     = "modelops-queue-ms"          // how long it was
)

// sent is a call's metadata as a header.
type sent struct{ ctx context.Context }

// Get is the first value of a name, empty when there is none.
func (s sent) Get(name string) string {
	if v := metadata.ValueFromIncomingContext(s.ctx, name); len(v) > 0 {
		return v[0]
	}
	return ""
}

// Values are all values of a name.
func (s sent) Values(name string) []string { return metadata.ValueFromIncomingContext(s.ctx, name) }

// credentialsOf is what a call carries to prove its sender.
func credentialsOf(ctx context.Context) messages.Credentials {
	remote := ""
	if p, ok := peer.FromContext(ctx); ok {
		remote = p.Addr.String()
	}
	c := messages.CredentialsIn(sent{ctx}, remote)
	c.Door = "grpc"
	return c
}

func queueHeader(at messages.QueuePlace, response *messages.InferenceResponse) metadata.MD {
	md := metadata.Pairs(
		QueuePositionHeader, strconv.Itoa(at.Position),
		QueueWaitHeader, strconv.FormatInt(int64(response.GetQueuedMs()), 10))
	if at.Position == 0 || at.Expected > 0 { // it is known
		md.Set(QueueExpectedHeader, strconv.FormatInt(at.Expected.Milliseconds(), 10))
	}
	if response != nil {
		md.Set(messages.HostHeader, response.Host)
	}
	return md
}
