package grpcapi

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"modelops/messages"
)

// A connection that never speaks is ended.
func TestHandshakesAreBounded(t *testing.T) {
	s := New(Options{Gateway: &gateway{infer: echo}, Handshake: 50 * time.Millisecond})
	if err := start(s); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Stop(t.Context()) }()
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.ReadAll(c); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
}

// A call with too much metadata is refused.
func TestMetadataIsBounded(t *testing.T) {
	_, conn := open(t, Options{Gateway: &gateway{infer: echo}, MaxHeader: 4096})
	client := messages.NewModelOpsClient(conn)
	ask := &messages.InferenceRequest{ModelName: "tiny", Prompt: "x"}
	if _, err := client.Infer(t.Context(), ask); err != nil {
		t.Error(err)
	}
	_, err := client.Infer(metadata.AppendToOutgoingContext(t.Context(), "x-large", strings.Repeat("a", 8192)), ask)
	if c := status.Code(err); c == codes.OK {
		t.Error("8 KiB of metadata are taken")
	}
}
