package gpu

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/actors/entity"
	"modelops/messages"
)

// foreignStep is the least change of foreign use that becomes an event, in bytes.
const foreignStep = 256 * messages.MiB

// retryAfter is what callers of the legacy lease contract are told to wait.
const retryAfter = 250 * time.Millisecond

// Decide turns a command into facts.
func Decide(s State, command proto.Message, at entity.Stamp) (entity.Verdict, error) {
	if _, ok := command.(*messages.RegisterDevice); !ok && !s.Registered {
		return entity.Verdict{}, messages.NewError(messages.NotFound, s.ID.String(), "no such device was found on this host").
			WithHint("modelops gpus lists the devices")
	}
	now := timestamppb.New(at.Now)
	switch c := command.(type) {
	case *messages.RegisterDevice:
		return register(s, c, now)
	case *messages.ReserveVram:
		return reserve(s, c, now)
	case *messages.SettleVram:
		return settle(s, c, now)
	case *messages.ReleaseVram:
		return release(s, c, now)
	case *messages.ResizeVram:
		return resize(s, c, now)
	case *messages.RenewLease:
		return renew(s, c, at)
	case *messages.ExpireLease:
		if _, err := s.lease(c); err != nil {
			return entity.Verdict{}, nil // it ended, or another one has its name
		}
		if _, renewed := at.Readings.(*messages.RenewLease); renewed {
			return entity.Verdict{}, nil // while the report of its end was under way
		}
		return entity.Facts(&messages.LeaseExpired{Lease: c.Lease, At: now}), nil
	case *messages.CheckLease:
		return check(s, c)
	case *messages.ReportLeaseDiffers:
		if _, err := s.lease(c); err != nil {
			return entity.Verdict{}, nil
		}
		if _, asked := at.Readings.(*messages.CheckLease); asked {
			return entity.Verdict{}, nil // it took the lease over while the two were compared
		}
		return entity.Facts(&messages.LeaseReclaimed{Lease: c.Lease, Holder: c.Holder, Epoch: c.Epoch, Reason: c.Reason, At: now}), nil
	case *messages.ObserveDevice:
		return observe(s, c, now)
	case *messages.ReportFault:
		return entity.Facts(&messages.DeviceFaulted{Fault: c.Fault.GetFault(), Code: c.Fault.GetCode(), At: now}), nil
	}
	return entity.Verdict{}, entity.Unknown(s.ID, command)
}

func register(s State, c *messages.RegisterDevice, now *timestamppb.Timestamp) (entity.Verdict, error) {
	if c.CapacityBytes == 0 {
		return entity.Verdict{}, messages.NewError(messages.InvalidArgument, s.ID.String(), "a device without memory can't be registered")
	}
	same := s.Registered && s.Kind == c.Kind && s.Name == c.Name && s.UUID == c.Uuid &&
		s.Capacity == c.CapacityBytes && s.Margin == c.MarginBytes && s.SoftLimit == c.SoftLimitBytes
	if same {
		return entity.Verdict{}, nil
	}
	return entity.Facts(&messages.DeviceRegistered{Kind: c.Kind, Name: c.Name, Uuid: c.Uuid, CapacityBytes: c.CapacityBytes,
		MarginBytes: c.MarginBytes, SoftLimitBytes: c.SoftLimitBytes, At: now}), nil
}

// reserve grants memory to a lease once; asking again for the same lease gives the same grant.
func reserve(s State, c *messages.ReserveVram, now *timestamppb.Timestamp) (entity.Verdict, error) {
	if c.Lease == "" || c.Holder == "" {
		return entity.Verdict{}, messages.NewError(messages.InvalidArgument, s.ID.String(), "a reservation needs a lease and a holder")
	}
	if holder, err := messages.ParseActorID(c.Holder); c.TtlSeconds == 0 && (err != nil || !messages.Holds(holder.Kind)) {
		return entity.Verdict{}, messages.Errorf(messages.InvalidArgument, s.ID.String(), "%s is no actor that could be asked whether it still needs its memory", c.Holder).
			WithHint("give ttl_seconds, and renew the lease with RenewLease")
	}
	granted := func(sequence uint64) proto.Message {
		return &messages.VramGrant{Lease: c.Lease, Epoch: sequence, Bytes: c.Bytes}
	}
	if l, ok := s.Leases[c.Lease]; ok {
		if l.Holder != c.Holder || l.Owner != c.Owner {
			return entity.Verdict{}, messages.Errorf(messages.Conflict, s.ID.String(), "lease %s is held by %s", c.Lease, l.Holder)
		}
		return entity.Verdict{Answer: func(uint64) proto.Message {
			return &messages.VramGrant{Lease: c.Lease, Epoch: l.Epoch, Bytes: l.Bytes}
		}}, nil
	}
	if err := messages.Outdated(s.ID, c.Arbiter, c.ArbiterEpoch, s.Obeyed); err != nil {
		return entity.Verdict{}, err
	}
	if s.Lost {
		return entity.Verdict{}, lost(s)
	}
	if c.Bytes > s.Free() {
		return entity.Verdict{}, Shortage(s, c.Bytes)
	}
	v := entity.Facts(&messages.VramReserved{Lease: c.Lease, Holder: c.Holder, Bytes: c.Bytes, TtlSeconds: c.TtlSeconds, Owner: c.Owner,
		Arbiter: c.Arbiter, ArbiterEpoch: c.ArbiterEpoch, At: now})
	v.Answer = granted
	return v, nil
}

// renew gives a lease its time to live again. The journal is told so often that a restart can't lengthen the lease by more than half of it, and
// once without its holder.
func renew(s State, c *messages.RenewLease, at entity.Stamp) (entity.Verdict, error) {
	l, err := s.lease(c)
	if err == nil {
		err = l.refuses(s, c.Lease, c.By)
	}
	if err != nil || l.TTL == 0 || c.Unwatched && l.Unwatched || !c.Unwatched && !l.Unwatched && l.RenewedMS > 0 && at.Now.UnixMilli()-l.RenewedMS < int64(l.TTL)*500 {
		return entity.Verdict{}, err
	}
	return entity.Facts(&messages.LeaseRenewed{Lease: c.Lease, At: timestamppb.New(at.Now), Unwatched: c.Unwatched}), nil
}

// Shortage says in the legacy contract's words, and with the sums, why need doesn't fit.
func Shortage(s State, need uint64) *messages.Error {
	e := messages.Errorf(messages.GPUUnavailable, s.ID.String(), "Insufficient GPU memory: required %dMB, available %dMB", mb(need), s.Free()/messages.MiB).
		WithHint(fmt.Sprintf("limit %s - reserved %s - used by others %s = %s free", messages.FormatBytes(s.Limit()),
			messages.FormatBytes(s.Reserved()), messages.FormatBytes(s.Foreign), messages.FormatBytes(s.Free())))
	if need <= s.Limit() {
		e = e.WithRetry(retryAfter)
	}
	return e
}

func mb(b uint64) uint64 { return (b + messages.MiB - 1) / messages.MiB }

// fenced is a command that only the holder of a lease's present epoch may give.
type fenced interface {
	GetLease() string
	GetHolder() string
	GetEpoch() uint64
}

// lease finds the lease that a command is about. NotFound: there is none. FailedPrecondition: it belongs to another holder or epoch, so that
// the sender, which lost it, changes nothing.
func (s State) lease(c fenced) (Lease, error) {
	l, ok := s.Leases[c.GetLease()]
	switch {
	case !ok:
		return Lease{}, unknownLease(s, c.GetLease())
	case l.Holder != c.GetHolder():
		return Lease{}, messages.Errorf(messages.FailedPrecondition, s.ID.String(), "lease %s is held by %s, not by %q", c.GetLease(), l.Holder, c.GetHolder()).
			WithHint("modelops gpus --leases shows holders and epochs")
	case l.Epoch != c.GetEpoch():
		return Lease{}, messages.Errorf(messages.FailedPrecondition, s.ID.String(), "lease %s has epoch %d, the command is for epoch %d", c.GetLease(), l.Epoch, c.GetEpoch()).
			WithHint("modelops gpus --leases shows holders and epochs")
	}
	return l, nil
}

// refuses keeps a caller at a door from a lease that another one took. by is empty for actors and for the role admin.
func (l Lease) refuses(s State, lease, by string) error {
	if l.Owner == "" || by == "" || by == l.Owner {
		return nil
	}
	return messages.Errorf(messages.PermissionDenied, s.ID.String(), "lease %s of %s was taken with another key", lease, l.Holder).
		WithHint("use the key that took it, or one with the role admin")
}

// check gives the state of a lease. A holder that doesn't know its epoch yet asks with 0 and is told.
func check(s State, c *messages.CheckLease) (entity.Verdict, error) {
	reply := &messages.LeaseReply{State: messages.LeaseReply_gone}
	if l, ok := s.Leases[c.Lease]; ok {
		reply.State = messages.LeaseReply_fenced
		if l.Holder == c.Holder && (c.Epoch == 0 || c.Epoch == l.Epoch) {
			reply = &messages.LeaseReply{State: messages.LeaseReply_valid, Epoch: l.Epoch, Bytes: l.Holds()}
		}
	}
	return entity.Verdict{Answer: func(uint64) proto.Message { return reply }}, nil
}

func settle(s State, c *messages.SettleVram, now *timestamppb.Timestamp) (entity.Verdict, error) {
	l, err := s.lease(c)
	switch {
	case err != nil:
		return entity.Verdict{}, err
	case c.MeasuredBytes == 0 || l.Measured == c.MeasuredBytes:
		return entity.Verdict{}, nil
	}
	return entity.Facts(&messages.VramSettled{Lease: c.Lease, MeasuredBytes: c.MeasuredBytes, At: now}), nil
}

// resize changes what a lease holds. Less is always granted, more while there is room beside what the lease holds already.
func resize(s State, c *messages.ResizeVram, now *timestamppb.Timestamp) (entity.Verdict, error) {
	l, err := s.lease(c)
	switch {
	case err != nil:
		return entity.Verdict{}, err
	case c.Bytes == 0:
		return entity.Verdict{}, messages.Errorf(messages.InvalidArgument, s.ID.String(), "lease %s can't hold nothing", c.Lease).
			WithHint("release it instead")
	case l.Bytes == c.Bytes && l.Measured == 0:
		return entity.Verdict{}, nil
	case c.Bytes <= l.Holds():
	case s.Lost:
		return entity.Verdict{}, lost(s)
	case c.Bytes-l.Holds() > s.Free():
		return entity.Verdict{}, Shortage(s, c.Bytes-l.Holds())
	}
	return entity.Facts(&messages.VramResized{Lease: c.Lease, Bytes: c.Bytes, At: now}), nil
}

func lost(s State) *messages.Error {
	return messages.Errorf(messages.GPUUnavailable, s.ID.String(), "the device is lost: %s", s.LostReason).
		WithHint("look at the driver: nvidia-smi, dmesg | grep Xid")
}

// release takes a lease back. Releasing what isn't there succeeds: the first answer may have been lost.
func release(s State, c *messages.ReleaseVram, now *timestamppb.Timestamp) (entity.Verdict, error) {
	l, err := s.lease(c)
	if err == nil {
		err = l.refuses(s, c.Lease, c.By)
	}
	switch messages.CodeOf(err) {
	case 0:
		return entity.Facts(&messages.VramReleased{Lease: c.Lease, Reason: c.Reason, At: now}), nil
	case messages.NotFound:
		return entity.Verdict{Answer: func(uint64) proto.Message { return &messages.Done{Note: "no such lease: nothing to release"} }}, nil
	}
	return entity.Verdict{}, err
}

func unknownLease(s State, lease string) *messages.Error {
	return messages.Errorf(messages.NotFound, s.ID.String(), "lease %s is unknown: it expired, was released, or never was", lease)
}

// observe journals only what matters for decisions: the device is lost or back, or foreign use changed by a step.
func observe(s State, c *messages.ObserveDevice, now *timestamppb.Timestamp) (entity.Verdict, error) {
	r := c.Reading
	var v entity.Verdict
	switch {
	case r.GetLost() && !s.Lost:
		v.Events = append(v.Events, &messages.DeviceLost{Reason: r.LostReason, At: now})
	case !r.GetLost() && s.Lost:
		v.Events = append(v.Events, &messages.DeviceRecovered{At: now})
	}
	if !r.GetLost() && distance(s.Foreign, c.ForeignBytes) >= foreignStep {
		v.Events = append(v.Events, &messages.ForeignUseChanged{Bytes: c.ForeignBytes, At: now})
	}
	return v, nil
}

func distance(a, b uint64) uint64 { return max(a, b) - min(a, b) }
