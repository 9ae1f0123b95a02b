package grpcapi

import (
	"context"
	"strconv"

	"google.golang.org/grpc/metadata"

	"modelops/messages"
)

// Header metadata of an answer to Infer: how the request waited, in milliseconds. A stream has one header for all its requests, so
// there the last chunk's response says it.
const (
	QueuePositionHeader = "modelops-queue-position"    // place at arrival, from 1; 0 = it didn't wait
	QueueExpectedHeader = "modelops-queue-expected-ms" // how long the wait was expected to be at arrival
	QueueWaitHeader     = "modelops-queue-ms"          // how long it was
)

// keyOf is the key in a call's metadata, empty when there is none.
func keyOf(ctx context.Context) string {
	first := func(name string) string {
		if v := metadata.ValueFromIncomingContext(ctx, name); len(v) > 0 {
			return v[0]
		}
		return ""
	}
	return messages.KeyIn(first("authorization"), first("x-api-key"))
}

func queueHeader(at messages.QueuePlace, response *messages.InferenceResponse) metadata.MD {
	return metadata.Pairs(
		QueuePositionHeader, strconv.Itoa(at.Position),
		QueueExpectedHeader, strconv.FormatInt(at.Expected.Milliseconds(), 10),
		QueueWaitHeader, strconv.FormatInt(int64(response.GetQueuedMs()), 10))
}
