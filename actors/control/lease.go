package control

import (
	"context"
	"strings"
	"time"

	"modelops/messages"
)

// The figures of the legacy contract.
const (
	defaultLease  = 30 * time.Second
	leaseRetry    = 250 * time.Millisecond
	noVRAM        = "Insufficient VRAM"
	anonymousName = "unknown"
)

// AcquireLease reserves memory on the first device that grants it. Want of memory is an answer, not an error.
func (c *Control) AcquireLease(ctx context.Context, r *messages.GpuLeaseRequest) (*messages.GpuLeaseReply, error) {
	client := r.Client
	if client == "" {
		client = anonymousName
	}
	ttl := uint32(defaultLease / time.Second)
	if r.TtlSeconds > 0 {
		ttl = uint32(r.TtlSeconds)
	}
	for _, g := range c.o.View.GPUs() {
		gpu, err := messages.ParseActorID(g.Id)
		if err != nil {
			return nil, err
		}
		lease := g.Device + "_" + c.o.NewID()
		_, err = c.o.Door.Ask(ctx, gpu, &messages.ReserveVram{Lease: lease, Holder: "client/" + client,
			Bytes: uint64(max(r.VramEstimateMb, 0)) * messages.MiB, TtlSeconds: ttl})
		switch messages.CodeOf(err) {
		case 0:
			return &messages.GpuLeaseReply{Granted: true, LeaseId: lease, VramReservedMb: max(r.VramEstimateMb, 0)}, nil
		case messages.GPUUnavailable:
		default:
			return nil, err
		}
	}
	return &messages.GpuLeaseReply{Reason: noVRAM, RetryAfterMs: int32(leaseRetry.Milliseconds())}, nil
}

// ReleaseLease gives a lease back. An unknown one is given back already.
func (c *Control) ReleaseLease(ctx context.Context, r *messages.GpuLeaseRelease) (*messages.GpuLeaseReleaseAck, error) {
	device, _, _ := strings.Cut(r.LeaseId, "_")
	for _, g := range c.o.View.GPUs() {
		if g.Device != device {
			continue
		}
		gpu, err := messages.ParseActorID(g.Id)
		if err != nil {
			return nil, err
		}
		if _, err := c.o.Door.Ask(ctx, gpu, &messages.ReleaseVram{Lease: r.LeaseId, Reason: "released by its holder"}); err != nil {
			return nil, err
		}
	}
	return &messages.GpuLeaseReleaseAck{Success: true}, nil
}
