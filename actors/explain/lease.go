package explain

import (
	"fmt"
	"slices"
	"time"

	"modelops/messages"
)

// explainLease says it of memory that a program holds, or that is held without a placement that is known.
func (r *reading) explainLease(p Present) *messages.Explanation {
	l := r.leases
	out := &messages.Explanation{Subject: r.question.Subject, Kind: "lease", Reasons: r.reasons(""), Weighed: choiceOf(r.decision()).weighed()}
	out.Summary = fmt.Sprintf("%s holds %s of %s %s; %s.", l.Holder, mib(l.Holds()), short(l.gpu), since(l.at, p.Now), term(l.TTL))
	if l.TTL > 0 {
		out.WouldChange = append(out.WouldChange, fmt.Sprintf("%d s without a renewal: then it runs out", l.TTL))
	}
	out.WouldChange = append(out.WouldChange, "its holder gives it back")
	if r.ended != nil {
		out.Summary = fmt.Sprintf("%s held %s of %s for %s, until %s: %s.", l.Holder, mib(l.Holds()), short(l.gpu),
			span(r.ended.at.Sub(l.at).Milliseconds()), moment(r.ended.at), gpuText(*r.ended))
		out.WouldChange = nil
		if _, ok := r.ended.event.(*messages.LeaseExpired); ok {
			out.WouldChange = []string{fmt.Sprintf("a renewal within each %d s, or a longer ttl", l.TTL)}
		}
	}
	return out
}

func term(ttl uint32) string {
	if ttl == 0 {
		return "it has no ttl, so it is held until it is given back"
	}
	return fmt.Sprintf("its ttl is %s, renewed by its holder", time.Duration(ttl)*time.Second)
}

func (r *reading) reasons(model string) []*messages.Reason {
	var out []*messages.Reason
	for _, f := range r.window {
		out = append(out, reason(f, model))
	}
	return out
}

// decision finds the fact that made the placement; nil when there is none among what was kept.
func (r *reading) decision() *fact {
	for i := range r.window {
		f := &r.window[i]
		switch f.event.(type) {
		case *messages.PlacementDecided, *messages.PressureRelieved:
			if slices.Contains(idsOf(*f, ""), r.question.ID) {
				return f
			}
		}
	}
	return nil
}

func (r *reading) explainPlacement(made *fact, p Present) *messages.Explanation {
	out := &messages.Explanation{Subject: r.question.Subject, Kind: "placement", Reasons: r.reasons("")}
	switch e := made.event.(type) {
	case *messages.PressureRelieved:
		out.Summary = fmt.Sprintf("Decision %s at %s relieves %s (%s): %s has to leave, and %d of %d left so far.", r.number(made), moment(made.at),
			short(e.Gpu), e.Reason, victims(e.Victims), r.evictions(), len(e.Victims))
		out.WouldChange = []string{"a higher resources.eviction_threshold_pct, or a pin on the models to keep"}
	case *messages.PlacementDecided:
		c := choiceOf(made)
		out.Summary = fmt.Sprintf("Decision %s at %s placed %s on %s by %s; it needs %s. %s", r.number(made), moment(made.at), r.want(e.GetPlacement()), spots(e.GetPlacement()), e.Policy, needed(e.GetPlacement().Bytes(), e.Source.String()), r.outcome())
		out.Weighed = c.weighed()
		for _, x := range c.candidates {
			if n := lacks(x); n > 0 && x.GetNeedBytes() <= x.GetLimitBytes() {
				out.WouldChange = append(out.WouldChange, fmt.Sprintf("%s more free on %s then: %s", mib(n), c.device(x.GetGpu()), without(x)))
			} else if n > 0 {
				out.WouldChange = append(out.WouldChange, r.latest.raise(x.GetGpu(), c.device(x.GetGpu()), x.GetNeedBytes()))
			}
		}
	}
	if r.leases.id != "" && r.ended == nil {
		out.Summary += fmt.Sprintf(" Its lease: %s holds %s %s; %s.", short(r.leases.Holder), mib(r.leases.Holds()), since(r.leases.at, p.Now), term(r.leases.TTL))
	}
	out.WouldChange = clipped(out.WouldChange)
	return out
}

// evictions counts the victims that have left.
func (r *reading) evictions() int {
	n := 0
	for _, f := range r.window {
		if _, ok := f.event.(*messages.VictimPreempted); ok {
			n++
		}
	}
	return n
}

// without says what enough free memory would have spared.
func without(x *messages.Candidate) string {
	if len(x.GetVictims()) > 0 {
		return "no model would have had to leave"
	}
	return "it would have fitted there"
}

// outcome is how far a placement came.
func (r *reading) outcome() string {
	state := "Its victims are on their way out, or its memory is being reserved."
	for _, f := range r.window {
		switch e := f.event.(type) {
		case *messages.PlacementReserved:
			state = "Its memory is reserved."
		case *messages.PlacementRefused:
			state = "The device's owner refused it: " + saidError(e.Error) + "."
		case *messages.PlacementAbandoned:
			state = "It was abandoned: " + e.Reason + "."
		case *messages.JobReserved:
			state = "Its job has it."
		case *messages.JobStarted:
			state = "Its job runs."
		case *messages.JobPreempted, *messages.JobPaused, *messages.JobAttemptFailed, *messages.JobCompleted, *messages.JobFailed, *messages.JobCancelled:
			state = "Its job's attempt is over: " + jobText(f) + "."
		case *messages.ModelLoadStarted:
			state = "It loads."
		case *messages.ModelReady:
			state = fmt.Sprintf("It became ready after %s with %s measured.", span(e.LoadMs), mib(e.MeasuredBytes))
		case *messages.LoadFailed:
			state = "Its load failed: " + saidError(e.Error) + "."
		case *messages.WorkerExited:
			state = "Its worker ended: " + e.Reason + "."
		case *messages.VramReleased:
			state = fmt.Sprintf("It is over: its memory was given back at %s (%s).", moment(f.at), e.Reason)
		}
	}
	return state
}
