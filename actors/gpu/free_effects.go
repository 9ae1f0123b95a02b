package gpu

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"modelops/messages"
)

// A device's driver reports memory as used for some time after its process is gone.
const (
	freePoll   = 50 * time.Millisecond
	freeWithin = 10 * time.Second
	freeSlack  = 256 * messages.MiB
)

// unseen are the placements whose memory can't be seen to be free, each with the reason.
type unseen struct {
	mu  sync.Mutex
	why map[string]string
}

func (u *unseen) set(p *messages.Placement, why string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if why == "" {
		delete(u.why, p.Id)
		return
	}
	if u.why == nil {
		u.why = map[string]string{}
	}
	u.why[p.Id] = p.Holder + " keeps its lease on " + p.Gpu() + " although its worker is gone: " + why
}

func (u *unseen) reasons() (out []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Sorted(maps.Values(u.why))
}

// AwaitFree waits until a GPU's foreign use is what it was before: until then the driver still counts the memory of a worker that is gone as
// foreign. RAM and simulated memory are free with the process.
//
// nil: the memory is free, or the ledger counts it as foreign use. Unavailable: the driver can't be asked, so nothing is known and the lease has
// to stay; it is asked again.
func (s *Sampler) AwaitFree(ctx context.Context, p *messages.Placement) error {
	if !hasDriver(p.DeviceKind) {
		return nil
	}
	why := ""
	err := s.awaitFree(ctx, p, &why)
	s.unseen.set(p, why)
	return err
}

func (s *Sampler) awaitFree(ctx context.Context, p *messages.Placement, why *string) error {
	before := map[string]uint64{}
	for _, g := range s.View.GPUs() {
		before[g.Id] = g.ForeignBytes + clientLeases(g)
	}
	tick := time.NewTicker(freePoll)
	defer tick.Stop()
	for began := time.Now(); ; {
		readings, err := s.read(ctx)
		if err != nil {
			return err
		}
		free, unread := s.allFree(readings, p, before)
		late := time.Since(began) >= freeWithin
		switch {
		case unread != "" && late:
			*why = unread
			return messages.Errorf(messages.Unavailable, p.Holder, "it can't be known whether the memory of its former worker on %s is free: %s", p.Gpu(), unread).
				WithHint("modelops gpus shows what the driver says; the lease goes back when the driver answers").WithRetry(freeWithin)
		case late && unread == "" && !free:
			s.Log.Warn("a worker is gone but its memory isn't seen to be free: it counts as foreign use", "actor", p.Holder, "gpu", p.Gpu(), "waited", freeWithin)
			fallthrough
		case free:
			s.observeOf(ctx, readings, p)
			return nil
		}
		select {
		case <-s.Life.Done():
			return context.Canceled
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// observeOf tells the ledgers of a placement's devices what their driver counts, before the lease goes home: without that somebody could be
// granted the memory in between.
func (s *Sampler) observeOf(ctx context.Context, readings []*messages.DeviceReading, p *messages.Placement) {
	for _, r := range readings {
		if _, on := p.On(s.id(r).String()); on {
			s.Observe(ctx, r)
		}
	}
}

// allFree tells whether the memory of a placement is free on each of its devices. unread is why it can't be told.
func (s *Sampler) allFree(readings []*messages.DeviceReading, p *messages.Placement, before map[string]uint64) (free bool, unread string) {
	free = true
	for _, share := range p.Shares {
		i := slices.IndexFunc(readings, func(r *messages.DeviceReading) bool { return s.id(r).String() == share.Gpu })
		switch {
		case i < 0 && (s.troubled() || !s.View.GPU(gpuID(share.Gpu)).GetLost()): // else its ledger knows that no driver lists it, and grants nothing
			free, unread = false, "no driver shows it"
		case i < 0:
		case readings[i].Lost:
			if why := s.unanswered(readings, readings[i]); why != "" {
				free, unread = false, why
			}
		case foreign(readings[i], s.occupants(s.View.GPU(gpuID(share.Gpu))), 0, s.Mine) > before[share.Gpu]+freeSlack:
			free = false
		}
	}
	return free, unread
}

// unanswered is why the driver of a lost device says nothing of it; "" when the driver works and says that this one device is lost: its memory
// is counted anew before anything is granted there, and its models may go elsewhere.
func (s *Sampler) unanswered(readings []*messages.DeviceReading, r *messages.DeviceReading) string {
	if why := s.silent(r.Device); why != "" {
		return why
	}
	if slices.ContainsFunc(readings, func(o *messages.DeviceReading) bool { return o.Kind == r.Kind && !o.Lost }) {
		return ""
	}
	return r.LostReason
}

func gpuID(gpu string) messages.ActorID {
	id, _ := messages.ParseActorID(gpu)
	return id
}
