//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"modelops/messages"
)

// bearer sends a key with each call.
type bearer string

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (bearer) RequireTransportSecurity() bool { return false }

func dialModelOps(address string, o ...grpc.DialOption) (*grpc.ClientConn, messages.ModelOpsClient, error) {
	conn, err := grpc.NewClient(address, append(o, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		return nil, nil, err
	}
	return conn, messages.NewModelOpsClient(conn), nil
}

// control is a client of the daemon's gRPC port; it ends with the test.
func (d *daemon) control(t *testing.T) messages.ModelOpsClient {
	t.Helper()
	conn, client, err := dialModelOps(d.at.GRPC, grpc.WithPerRPCCredentials(bearer(d.operatorKey())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return client
}

// calls is a task of many callers that each ask again as soon as they have their answer.
type calls struct {
	Address     string        `json:"address"`
	Model       string        `json:"model"`
	Callers     int           `json:"callers"`
	Connections int           `json:"connections"`
	WarmUp      time.Duration `json:"warm_up"`
	For         time.Duration `json:"for"`
}

// answered is what came of it.
type answered struct {
	Count  int           `json:"count"`
	Errors int           `json:"errors"`
	Error  string        `json:"error"` // one of them
	P50    time.Duration `json:"p50"`
	P95    time.Duration `json:"p95"`
	P99    time.Duration `json:"p99"`
	Rate   float64       `json:"rate"`
}

// grpcRole calls Infer.
func grpcRole(args []string) error {
	task, err := taskOf[calls](args)
	if err != nil {
		return err
	}
	clients := make([]messages.ModelOpsClient, task.Connections)
	for i := range clients {
		conn, client, err := dialModelOps(task.Address)
		if err != nil {
			return err
		}
		defer conn.Close()
		clients[i] = client
	}
	warm := call(clients, task, task.WarmUp)
	if warm.Errors > 0 {
		return fmt.Errorf("%d of %d calls failed while warming up: %s", warm.Errors, warm.Count, warm.Error)
	}
	return report(call(clients, task, task.For))
}

// bridgeRole is the measure of the gRPC door: a bare gRPC server that asks the engine over HTTP and does nothing else.
func bridgeRole(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want the engine's address, got %q", args)
	}
	l, err := listenSaying(0)
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	messages.RegisterModelOpsServer(s, bridge{engine: args[0] + "/v1/chat/completions", places: make(chan struct{}, 64),
		client: &http.Client{Transport: &http.Transport{MaxIdleConns: 1024, MaxIdleConnsPerHost: 1024, DisableCompression: true}}})
	return s.Serve(l)
}

type bridge struct {
	messages.UnimplementedModelOpsServer
	engine string
	places chan struct{}
	client *http.Client
}

func (b bridge) Infer(ctx context.Context, r *messages.InferenceRequest) (*messages.InferenceResponse, error) {
	b.places <- struct{}{}
	defer func() { <-b.places }()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.engine, strings.NewReader(`{"model":"fast","stream":true,"messages":[{"role":"user","content":"`+r.Prompt+`"}]}`))
	if err != nil {
		return nil, err
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return &messages.InferenceResponse{ResponseText: string(text), Status: "success"}, err
}

func call(clients []messages.ModelOpsClient, task calls, within time.Duration) (out answered) {
	var work sync.WaitGroup
	var failed atomic.Pointer[error]
	var errors atomic.Int64
	took := make([][]time.Duration, task.Callers)
	began := time.Now()
	for i := range task.Callers {
		work.Go(func() {
			for time.Since(began) < within {
				start := time.Now()
				_, err := clients[i%len(clients)].Infer(context.Background(), &messages.InferenceRequest{ModelName: task.Model, Prompt: "What is the capital of France?", MaxTokens: 5})
				if err != nil {
					errors.Add(1)
					failed.Store(&err)
					continue
				}
				took[i] = append(took[i], time.Since(start))
			}
		})
	}
	work.Wait()
	var all []time.Duration
	for _, t := range took {
		all = append(all, t...)
	}
	out = answered{Count: len(all) + int(errors.Load()), Errors: int(errors.Load()), Rate: float64(len(all)) / time.Since(began).Seconds(),
		P50: quantile(all, 0.5), P95: quantile(all, 0.95), P99: quantile(all, 0.99)}
	if err := failed.Load(); err != nil {
		out.Error = (*err).Error()
	}
	return out
}
