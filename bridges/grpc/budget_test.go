package grpcapi

import (
	"cmp"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/emptypb"

	"modelops/messages"
)

// Requests take their part of the memory for all bodies and give it back; while it is used up no inference begins.
func TestRequestsShareTheBudgetOfBodies(t *testing.T) {
	budget := messages.NewBudget(4 << 10)
	var during int64
	_, conn := open(t, Options{Bodies: budget, Operations: &control{}, Gateway: &gateway{infer: func(ctx context.Context, r *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
		during = budget.Used()
		return echo(ctx, r, emit)
	}}})
	client := messages.NewModelOpsClient(conn)
	ask := func(size int) error {
		_, err := client.Infer(t.Context(), &messages.InferenceRequest{ModelName: "tiny", Prompt: string(make([]byte, size))})
		return err
	}
	if err := ask(1 << 10); err != nil || during < 2<<10 || budget.Used() != 0 {
		t.Errorf("%v, %d while it ran, %d after it", err, during, budget.Used())
	}
	if e := FromStatus(ask(5 << 10)); e.Code != messages.PayloadTooLarge {
		t.Error(e)
	}
	other := budget.Body()
	if err := other.Grow(t.Context(), 4<<10); err != nil {
		t.Fatal(err)
	}
	if e := FromStatus(ask(1)); e.Code != messages.BulkheadRejection || e.Retry <= 0 || e.Hint == "" {
		t.Errorf("%+v", e)
	}
	stream, err := client.InferStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); FromStatus(err).Code != messages.BulkheadRejection {
		t.Error(err)
	}
	if _, err := client.ListModels(t.Context(), &emptypb.Empty{}); err != nil {
		t.Error("an operation needs no room:", err)
	}
	other.Free()
	if err := ask(1); err != nil {
		t.Error(err)
	}
}

// A message takes its part when its length is known, gives it back when it is ended for bringing nothing more, and one that finds no room isn't read.
func TestMessagesAreCountedBeforeTheyCome(t *testing.T) {
	for _, method := range []string{messages.ModelOps_Infer_FullMethodName, messages.ModelOps_InferStream_FullMethodName, messages.ModelOps_LoadModel_FullMethodName} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				budget := messages.NewBudget(2 << 20)
				s := New(Options{Bodies: budget, Operations: &control{}, Gateway: &gateway{infer: echo}})
				l := bufconn.Listen(1 << 20)
				s.serve(l)
				transport := &http.Transport{Protocols: new(http.Protocols), DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.DialContext(ctx) }}
				transport.Protocols.SetUnencryptedHTTP2(true)
				ended := make(chan string, 2)
				begin := func(length uint32) *io.PipeWriter {
					body, w := io.Pipe()
					r, err := http.NewRequestWithContext(t.Context(), "POST", "http://host"+method, body)
					if err != nil {
						t.Fatal(err)
					}
					r.Header.Set("Content-Type", "application/grpc")
					r.Header.Set("TE", "trailers")
					go func() {
						response, err := transport.RoundTrip(r)
						if err != nil {
							ended <- err.Error()
							return
						}
						_, _ = io.Copy(io.Discard, response.Body)
						ended <- cmp.Or(response.Trailer.Get("Grpc-Status"), response.Header.Get("Grpc-Status"))
					}()
					_, _ = w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, length), "some of it"...))
					synctest.Wait()
					return w
				}
				first := begin(700 << 10)
				if got := budget.Used(); got != 1400<<10 {
					t.Errorf("%d bytes are taken when the length of the first message is known", got)
				}
				second := begin(600 << 10)
				if got := <-ended; got != "8" || budget.Used() != 1400<<10 {
					t.Errorf("a message without room ended with %s, %d bytes are taken", got, budget.Used())
				}
				if got := <-ended; got != "4" {
					t.Errorf("a message that brings nothing more ended with %s", got)
				}
				_, _ = first.Close(), second.Close()
				synctest.Wait()
				if got := budget.Used(); got != 0 {
					t.Errorf("%d bytes are taken at the end", got)
				}
				transport.CloseIdleConnections()
				if err := s.Stop(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
