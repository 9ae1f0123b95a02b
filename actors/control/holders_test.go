package control

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// lenders are other hosts that answer about leases, each in its way.
type lenders map[string]func(ctx context.Context, operation string) (proto.Message, error)

func (l lenders) Has(host string) bool     { return l[host] != nil }
func (l lenders) Reached(host string) bool { return l.Has(host) }
func (l lenders) Call(ctx context.Context, host, operation string, _ proto.Message) (proto.Message, error) {
	return l[host](ctx, operation)
}

// members are the hosts as a cluster.
func (l lenders) members() (k known) {
	for host := range l {
		k = append(k, &messages.MemberView{Host: host})
	}
	return k
}

// What hosts answer about a lease.
var (
	hasIt = func(_ context.Context, operation string) (proto.Message, error) {
		if operation == "RenewGpuLease" {
			return &messages.GpuLeaseRenewalAck{Success: true, TtlSeconds: 9}, nil
		}
		return &messages.GpuLeaseReleaseAck{Success: true, Released: true}, nil
	}
	hasItNot = func(_ context.Context, operation string) (proto.Message, error) {
		if operation == "RenewGpuLease" {
			return nil, messages.NewError(messages.NotFound, "l", "the lease is unknown")
		}
		return &messages.GpuLeaseReleaseAck{Success: true}, nil
	}
	isAnothers = func(context.Context, string) (proto.Message, error) {
		return nil, messages.NewError(messages.PermissionDenied, "l", "taken with another key")
	}
	isCutOff = func(context.Context, string) (proto.Message, error) {
		return nil, messages.NewError(messages.Unavailable, "host pc3", "host pc3 can't be reached: it is off").WithRetry(time.Second)
	}
	hangs = func(ctx context.Context, _ string) (proto.Message, error) {
		<-ctx.Done()
		return nil, messages.AsError(context.Cause(ctx))
	}
)

// Models that left for a lease come back also when a host that may hold it, or the one that does, can't be asked; the answer tells which. A lease that is
// refused to its caller brings nothing back.
func TestModelsComeBackThoughAHostCannotBeAsked(t *testing.T) {
	refuses := func(code messages.Code) error { return messages.NewError(code, "gpu/h/gpu0", "not now") }
	for name, c := range map[string]struct {
		hosts lenders
		owner error // of the device here
		lease string
		took  time.Duration
		code  messages.Code
		says  []string
		back  bool
	}{
		"none has it":                         {hosts: lenders{"pc2": hasItNot, "pc3": hasItNot}, lease: "l", back: true},
		"one has it, another is off":          {hosts: lenders{"pc2": hasIt, "pc3": isCutOff}, lease: "l", back: true},
		"one has it, another doesn't answer":  {hosts: lenders{"pc2": hasIt, "pc3": hangs}, lease: "l", back: true},
		"one has it not, another is off":      {hosts: lenders{"pc2": hasItNot, "pc3": isCutOff}, lease: "l", code: messages.Unavailable, says: []string{"pc3 can't be asked (it is off)", "ends by itself"}, back: true},
		"one has it not, another is silent":   {hosts: lenders{"pc2": hasItNot, "pc3": hangs}, lease: "l", took: holdersWithin, code: messages.Unavailable, says: []string{"pc3 can't be asked", "ends by itself"}, back: true},
		"two are off":                         {hosts: lenders{"pc2": hangs, "pc3": isCutOff}, lease: "l", took: holdersWithin, code: messages.Unavailable, says: []string{"pc2 can't be asked", " and pc3 can't be asked"}, back: true},
		"it is another's":                     {hosts: lenders{"pc2": isAnothers, "pc3": isCutOff}, lease: "l", code: messages.PermissionDenied},
		"it is here":                          {hosts: lenders{"pc3": isCutOff}, lease: "l0", back: true},
		"it is here, and its device restarts": {hosts: lenders{"pc3": isCutOff}, owner: refuses(messages.Unavailable), lease: "l0", code: messages.Unavailable, says: []string{"not now", "ends by itself"}, back: true},
		"it is here, and refused":             {hosts: lenders{"pc3": isCutOff}, owner: refuses(messages.PermissionDenied), lease: "l0", code: messages.PermissionDenied},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, back := open(), ""
				h.o.Hosts, h.o.Cluster = c.hosts, c.hosts.members()
				h.device("gpu0", &messages.Reservation{Lease: "l0", Holder: "client/a", Epoch: 4})
				h.obey = func(to messages.ActorID, m proto.Message) (messages.Reply, error) {
					if r, ok := m.(*messages.Reinstate); ok {
						back = to.String() + " for " + r.Placement
						return messages.Reply{}, nil
					}
					return messages.Reply{}, c.owner
				}
				began := time.Now()
				ack, err := h.ReleaseGpuLease(t.Context(), &messages.GpuLeaseRelease{LeaseId: c.lease, Restore: []string{"model/h/m"}, Placement: "p"})
				if took := time.Since(began); took != c.took || messages.CodeOf(err) != c.code || err == nil && !ack.Success {
					t.Errorf("%v, %v after %s", ack, err, took)
				}
				if (back == "model/h/m for p") != c.back {
					t.Errorf("came back: %q", back)
				}
				for _, word := range c.says {
					if e := messages.AsError(err); e == nil || !strings.Contains(e.Message, word) {
						t.Errorf("%v doesn't say %q", err, word)
					}
				}
			})
		})
	}
}

// Hosts are asked about a lease at once, and the first one that has it ends the questions to the others.
func TestHoldersAreAskedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var left []string
		slowly := func(host string, then func(context.Context, string) (proto.Message, error), after time.Duration) func(context.Context, string) (proto.Message, error) {
			return func(ctx context.Context, operation string) (proto.Message, error) {
				select {
				case <-time.After(after):
					return then(ctx, operation)
				case <-ctx.Done():
					mu.Lock()
					defer mu.Unlock()
					left = append(left, host)
					return nil, messages.AsError(context.Cause(ctx))
				}
			}
		}
		hosts := lenders{}
		for host, after := range map[string]time.Duration{"pc2": time.Second, "pc3": 2 * time.Second, "pc4": 3 * time.Second} {
			hosts[host] = slowly(host, hasItNot, after)
		}
		h := open()
		h.o.Hosts, h.o.Cluster = hosts, hosts.members()
		began := time.Now()
		_, err := h.RenewGpuLease(t.Context(), &messages.GpuLeaseRenewal{LeaseId: "l"})
		if took := time.Since(began); messages.CodeOf(err) != messages.NotFound || took != 3*time.Second || len(left) > 0 {
			t.Errorf("none has it: %v after %s, left %q", err, took, left)
		}
		hosts["pc3"] = slowly("pc3", hasIt, 2*time.Second)
		began = time.Now()
		ack, err := h.RenewGpuLease(t.Context(), &messages.GpuLeaseRenewal{LeaseId: "l"})
		if took := time.Since(began); err != nil || ack.TtlSeconds != 9 || took != 2*time.Second || !slices.Equal(left, []string{"pc4"}) {
			t.Errorf("pc3 has it: %v, %v after %s, left %q", ack, err, took, left)
		}
	})
}
