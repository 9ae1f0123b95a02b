package natsapi

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"modelops/messages"
)

// A caller that leaves, by ending its subscription or its connection, ends its request wherever it waits; one that is away for a moment doesn't.
func TestACallerThatLeavesEndsItsRequest(t *testing.T) {
	for name, c := range map[string]struct {
		reads func(look int) bool
		ends  bool
	}{
		"left":            {func(int) bool { return false }, true},
		"reads":           {func(int) bool { return true }, false},
		"away at moments": {func(look int) bool { return look%4 == 0 }, false},
	} {
		entered, left, looked := make(chan string, 1), make(chan error, 1), make(chan int, 1)
		look := 0
		a, nc := open(t, Options{Gateway: &gateway{infer: waits(entered, left)}, Reads: func(messages.Principal, string) bool {
			look++
			select {
			case looked <- look:
			default:
			}
			return c.reads(look)
		}})
		a.look = time.Millisecond
		m := &nats.Msg{Subject: root + ".infer.tiny", Reply: nc.NewRespInbox(), Data: []byte(`{"prompt":"x"}`), Header: nats.Header{RequestIDHeader: {name}}}
		if err := nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
		<-entered
		if c.ends {
			if err := <-left; err != context.Canceled { // hangs when nobody notices
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		for n := 0; n < 40; {
			select {
			case n = <-looked:
			case err := <-left:
				t.Fatalf("%s: it was ended after %d looks: %v", name, n, err)
			}
		}
		if err := nc.Publish(root+".cancel."+Token(name), nil); err != nil {
			t.Fatal(err)
		}
		<-left
	}
}

// A request takes its part of the memory for all bodies and gives it back.
func TestRequestsShareTheBudgetOfBodies(t *testing.T) {
	budget := messages.NewBudget(1 << 10)
	var during atomic.Int64
	_, nc := open(t, Options{Bodies: budget, Gateway: &gateway{infer: func(ctx context.Context, r *messages.InferenceRequest, emit func(*messages.InferenceChunk) error) (*messages.InferenceResponse, error) {
		during.Store(budget.Used())
		return echo(ctx, r, emit)
	}}})
	answer(t, nc, "infer.tiny", `{"prompt":"x"}`, &messages.InferenceResponse{})
	if during.Load() != int64(len(`{"prompt":"x"}`)) {
		t.Errorf("%d while it ran", during.Load())
	}
	if e := failureOf(t, request(t, nc, "infer.tiny", `{"prompt":"`+strings.Repeat("x", 2<<10)+`"}`, nil)); e.Code != messages.PayloadTooLarge {
		t.Error(e)
	}
}

// looksBack answers whether its caller is still there.
type looksBack struct{ messages.Operations }

func (looksBack) ReleaseGpuLease(ctx context.Context, _ *messages.GpuLeaseRelease) (*messages.GpuLeaseReleaseAck, error) {
	return &messages.GpuLeaseReleaseAck{Success: messages.CallerFrom(ctx).IsHere()}, nil
}

// An operation can tell whether its caller still reads.
func TestAnOperationKnowsWhetherItsCallerReads(t *testing.T) {
	for _, reads := range []bool{true, false} {
		_, nc := open(t, Options{Operations: looksBack{}, Reads: func(messages.Principal, string) bool { return reads }})
		ack := &messages.GpuLeaseReleaseAck{}
		answer(t, nc, "leases.release", `{"lease_id":"x"}`, ack)
		if ack.Success != reads {
			t.Errorf("reads: %v, the operation is told %v", reads, ack.Success)
		}
	}
}
