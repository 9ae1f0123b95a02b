package main

import (
	"fmt"
	"strings"

	"modelops/actors/arbiter"
	"modelops/bridges/config"
	"modelops/messages"
)

// learned are the scheduler's rules for jobs of one configuration.
type learned struct {
	of *config.Config
	is arbiter.Learning
}

// learning are the scheduler's rules for jobs that are in force. They are made once for each configuration: each decision asks for them.
func (d *daemon) learning() arbiter.Learning {
	c := d.config()
	if l := d.learned.Load(); l != nil && l.of == c {
		return l.is
	}
	l := &learned{c, learningOf(c)}
	d.learned.Store(l)
	return l.is
}

// learningOf are the scheduler's rules for jobs, as the configuration has them. Quotas of keys are found by the keys' fingerprints.
func learningOf(c *config.Config) arbiter.Learning {
	l := arbiter.Learning{MaxJobs: uint32(c.Learning.MaxParallelJobs), Goals: map[string]arbiter.Quota{}, Keys: map[string]arbiter.Quota{}, Default: quotaOf(c.Learning.Quotas.Default),
		KeepIdle: !c.Learning.EvictIdleModels, Invert: c.Learning.Inversion == "preempt"}
	for name, q := range c.Learning.Quotas.Goals {
		l.Goals[name] = quotaOf(q)
	}
	for _, key := range c.Keys {
		if q, ok := c.Learning.Quotas.Keys[key.Name]; ok {
			l.Keys[key.Fingerprint()] = quotaOf(q)
		}
	}
	return l
}

func quotaOf(q config.JobQuota) arbiter.Quota {
	return arbiter.Quota{Devices: uint32(q.Devices), Hours: float64(q.GPUHours), Per: q.Period()}
}

// inversionTroubles is what /health says of priority inversions.
func inversionTroubles(inversions []*messages.Inversion) (out []string) {
	for _, i := range inversions {
		taken := i.Remedy
		if !i.Taken {
			taken = "to end it, " + i.Remedy
		}
		out = append(out, fmt.Sprintf("priority inversion: %s, priority %d, waits for %s, priority %d (%s); %s", i.Holder, i.Priority, i.Job, i.JobPriority, strings.Join(i.Chain, " -> "), taken))
	}
	return out
}
