package grpcapi

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"modelops/messages"
)

// BenchmarkInfer500 is the budget "500 concurrent Infer, p95 < 50 ms, no errors" against a gateway that answers at once, over TCP on
// four connections, client and server in one process. The bare server beside it tells what gRPC itself costs on this machine now.
func BenchmarkInfer500(b *testing.B) {
	b.Run("ours", func(b *testing.B) {
		s := New(Options{Gateway: &gateway{infer: echo}})
		if err := start(s); err != nil {
			b.Fatal(err)
		}
		measure(b, s.Addr())
		if err := s.Stop(b.Context()); err != nil {
			b.Fatal(err)
		}
	})
	b.Run("bare", func(b *testing.B) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		s := grpc.NewServer()
		messages.RegisterModelOpsServer(s, bare{})
		go s.Serve(l)
		measure(b, l.Addr().String())
		s.Stop()
	})
}

type bare struct {
	messages.UnimplementedModelOpsServer
}

func (bare) Infer(ctx context.Context, r *messages.InferenceRequest) (*messages.InferenceResponse, error) {
	return echo(ctx, r, nil)
}

func measure(b *testing.B, address string) {
	const callers, connections = 500, 4
	var clients []messages.ModelOpsClient
	for range connections {
		conn := dial(b, address)
		defer conn.Close()
		clients = append(clients, messages.NewModelOpsClient(conn))
	}
	took := make([]time.Duration, b.N)
	next := make(chan int, callers)
	var work sync.WaitGroup
	for i := range callers {
		work.Go(func() {
			for n := range next {
				start := time.Now()
				if _, err := clients[i%connections].Infer(context.Background(),
					&messages.InferenceRequest{ModelName: "tiny", Prompt: "hello there, how are you today?"}, grpc.WaitForReady(true)); err != nil {
					b.Error(err)
				}
				took[n] = time.Since(start)
			}
		})
	}
	b.ResetTimer()
	for n := range b.N {
		next <- n
	}
	close(next)
	work.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[b.N/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[b.N*95/100].Microseconds())/1000, "p95-ms")
}
