package grpcapi

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"modelops/messages"
)

// BenchmarkInfer500 is the budget "500 concurrent Infer, p95 < 50 ms, no errors" against a gateway that answers at once, over TCP on
// four connections, client and server in one process.
func BenchmarkInfer500(b *testing.B) {
	const callers, connections = 500, 4
	s := New(Options{Gateway: &gateway{infer: echo}})
	if err := s.Start("127.0.0.1", 0); err != nil {
		b.Fatal(err)
	}
	var clients []messages.ModelOpsClient
	for range connections {
		conn := dial(b, s.Addr())
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
	if err := s.Stop(b.Context()); err != nil {
		b.Fatal(err)
	}
}
