package arbiter

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"modelops/actors/entity"
	"modelops/messages"
)

// A priority inversion: a holder waits for memory of a job of lower priority for longer than any holder may, because the job is never asked to leave, or
// because it was asked and doesn't leave. It is told once for each such pair, and ends by itself.

// inverted is the inversion in which a claim is that found no place; nil when no job of lower priority is what keeps it from one.
func (r Rules) inverted(s State, q question, candidates []*messages.Candidate) *messages.Inversion {
	if q.waited <= r.maxWait() || q.terms.free {
		return nil
	}
	here := q.byDevice(nil)
	for i, c := range candidates {
		if c.NeedBytes > c.LimitBytes || q.ledgers[i].Lost || q.closed[q.ledgers[i].Host] != "" {
			continue
		}
		room := c.LimitBytes - min(c.ReservedBytes+c.ForeignBytes, c.LimitBytes)
		var blocks []allocated
		for _, a := range here[i] {
			switch {
			case a.Job && a.Priority < q.priority && !q.terms.moves(a.Allocation, a.use):
				blocks = append(blocks, a)
				room += a.bytes
			case q.terms.moves(a.Allocation, a.use):
				room += a.bytes
			}
		}
		if len(blocks) == 0 || room < c.NeedBytes {
			continue
		}
		slices.SortFunc(blocks, func(x, y allocated) int {
			return cmp.Or(cmp.Compare(y.bytes, x.bytes), strings.Compare(x.Holder, y.Holder))
		})
		return r.inversionBy(q, blocks[0].Allocation, c.Gpu, "needs "+messages.FormatBytes(c.NeedBytes)+" of "+c.Gpu)
	}
	return nil
}

// hangs is the inversion of a placement whose victim doesn't leave; nil when all leave in time.
func (r Rules) hangs(q question, o Open) *messages.Inversion {
	if o.Step != Evicting || o.SinceMS == 0 {
		return nil
	}
	for _, v := range o.leaving() {
		for _, a := range q.allocations {
			if a.Holder == v && a.Job && len(a.Shares) > 0 && q.now-o.SinceMS > a.GraceMs+r.maxWait().Milliseconds() {
				i := r.inversionBy(q, a, a.Shares[0].Gpu, fmt.Sprintf("asked for its place %s ago", ms(q.now-o.SinceMS).Round(time.Second)))
				i.Taken, i.Remedy = false, "look why "+v+" doesn't end although it was told to: its grace is over; end its processes"
				return i
			}
		}
	}
	return nil
}

// inversionBy describes that a job holds what a claim waits for.
func (r Rules) inversionBy(q question, job *messages.Allocation, gpu, wants string) *messages.Inversion {
	i := &messages.Inversion{Holder: q.holder, Job: job.Holder, WaitedMs: q.waited.Milliseconds(), Priority: q.priority, JobPriority: job.Priority, Attempt: job.Attempt, SinceMs: q.now}
	queued := uint32(0)
	for _, a := range q.allocations {
		if same(a.Holder, q.holder) && a.State == messages.Allocation_seeking {
			queued += a.Queued
		}
	}
	if queued > 0 {
		i.Chain = append(i.Chain, fmt.Sprintf("%d requests", queued))
	}
	i.Chain = append(i.Chain, fmt.Sprintf("%s %s", q.holder, wants))
	for _, share := range job.Shares {
		if share.Gpu == gpu {
			i.Chain = append(i.Chain, fmt.Sprintf("lease %s of %s", share.Lease, messages.FormatBytes(share.Bytes)))
		}
	}
	why := "is on its way in or out"
	if job.Pinned {
		why = "is never asked to leave"
	}
	i.Chain = append(i.Chain, fmt.Sprintf("%s %s", job.Holder, why))
	i.Remedy = "pause or cancel " + job.Holder + ", or set learning.inversion to preempt"
	if i.Taken = r.Learning.Invert && job.State == messages.Allocation_settled; i.Taken {
		i.Remedy = job.Holder + " is asked for a checkpoint and stopped with its grace; it comes back afterwards"
	}
	return i
}

// turned adds to a decision what changes in the inversion of its claim. found is nil when it is in none now.
func (s State) turned(v entity.Verdict, q question, found *messages.Inversion, reason string) entity.Verdict {
	now := timestamppb.New(time.UnixMilli(q.now))
	known := s.Inversions[q.holder]
	if known != nil && (found == nil || known.Job != found.Job) {
		v.Events = append(v.Events, &messages.InversionEnded{Holder: q.holder, Job: known.Job, Reason: reason, At: now})
	}
	if found != nil && (known == nil || known.Job != found.Job) {
		v.Events = append(v.Events, &messages.InversionFound{Inversion: found, At: now})
	}
	return v
}

// checkInversion ends an inversion whose holder waits no more, or whose job has given the memory back. While both are as they were, the holder asks again, and
// that decides.
func (s State) checkInversion(c *messages.CheckInversion, seen *messages.SchedulerReadings, now *timestamppb.Timestamp) (entity.Verdict, error) {
	i := s.Inversions[c.Holder]
	if i == nil {
		return entity.Verdict{}, nil
	}
	waits, holds := false, false
	for _, a := range seen.Allocations {
		waits = waits || same(a.Holder, i.Holder) && a.State == messages.Allocation_seeking
		holds = holds || a.Holder == i.Job && len(a.Shares) > 0 && a.Attempt == i.Attempt
	}
	for _, l := range seen.Ledgers {
		holds = holds || slices.ContainsFunc(l.Reservations, func(r *messages.Reservation) bool { return r.Holder == i.Job })
	}
	reason := ""
	switch {
	case !holds:
		reason = "the job has given the memory back"
	case !waits:
		reason = "it waits for memory no more"
	default:
		return entity.Verdict{}, nil
	}
	return entity.Facts(&messages.InversionEnded{Holder: i.Holder, Job: i.Job, Reason: reason, At: now}), nil
}

// inversions are those that last, by their holders.
func (s State) inversions() (out []*messages.Inversion) {
	for _, holder := range slices.Sorted(maps.Keys(s.Inversions)) {
		out = append(out, s.Inversions[holder])
	}
	return out
}

func evolveInversion(m map[string]*messages.Inversion, event proto.Message) map[string]*messages.Inversion {
	switch e := event.(type) {
	case *messages.InversionFound:
		return with(m, e.GetInversion().GetHolder(), e.Inversion)
	case *messages.InversionEnded:
		return without(m, e.Holder)
	}
	return m
}
