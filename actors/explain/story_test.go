//go:build languagepending

package explain

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

var start = time.Date(2026, 5, 4, 10, 0, 0, 0, time.UTC)

// story is a journal in the making: each decision is a second after the one before it, unless the story waits.
type story struct {
	records []messages.Recorded
	now     time.Time
}

func newStory() *story { return &story{now: start} }

func (s *story) wait(d time.Duration) { s.now = s.now.Add(d) }

// tell appends a decision of an actor: model/main_pc/a, gpu/main_pc/sim0 or arbiter.
func (s *story) tell(actor string, events ...proto.Message) *story {
	return s.caused("", actor, events...)
}

func (s *story) caused(by, actor string, events ...proto.Message) *story {
	id, err := messages.ParseActorID(actor)
	if err != nil {
		panic(err)
	}
	s.now = s.now.Add(time.Second)
	n := uint64(len(s.records) + 1)
	s.records = append(s.records, messages.Recorded{Actor: id, Sequence: n, ID: fmt.Sprintf("d%d", n), At: s.now, Events: events, Meta: messages.Meta{Correlation: by}})
	return s
}

func (s *story) present() Present { return Present{Now: s.now.Add(time.Minute), Tries: 3} }

func m(name string) string   { return "model/main_pc/" + name }
func gpu(name string) string { return "gpu/main_pc/" + name }

const mb = messages.MiB

// devices registers two devices of 24000 MiB with a limit of 23488 MiB.
func (s *story) devices() *story {
	for _, d := range []string{"sim0", "sim1"} {
		s.tell(gpu(d), &messages.DeviceRegistered{Kind: "simulated", Name: d, CapacityBytes: 24000 * mb, MarginBytes: 512 * mb})
	}
	return s
}

func (s *story) declare(name string, spec *messages.ModelSpec) *story {
	spec.Name, spec.Runtime, spec.DeclaredBy = name, "embedded", "config"
	return s.tell(m(name), &messages.ModelDeclared{Spec: spec})
}

func weighed(device string, reserved, need uint64, more ...func(*messages.Candidate)) *messages.Candidate {
	c := &messages.Candidate{Gpu: gpu(device), LimitBytes: 23488 * mb, ReservedBytes: reserved * mb, NeedBytes: need * mb}
	for _, f := range more {
		f(c)
	}
	return c
}

func chosen(c *messages.Candidate) { c.Chosen = true }

func refused(why string) func(*messages.Candidate) {
	return func(c *messages.Candidate) { c.Refusal = why }
}

func leaves(cost float64, vs ...*messages.Victim) func(*messages.Candidate) {
	return func(c *messages.Candidate) { c.Victims, c.Cost = vs, cost }
}

func out(name string, mib uint64, idle, load int64) *messages.Victim {
	return &messages.Victim{Model: m(name), Bytes: mib * mb, IdleMs: idle, LoadMs: load, Reason: "first to go by cost_aware"}
}

// decided is a placement's decision; its id and lease are p-NAME-ATTEMPT.
func decided(name string, attempt uint64, device, from string, cs ...*messages.Candidate) *messages.PlacementDecided {
	p := &messages.Placement{Id: fmt.Sprintf("p-%s-%d", name, attempt), Model: m(name), Attempt: attempt, Host: "main_pc", Gpu: gpu(device), Lease: fmt.Sprintf("p-%s-%d", name, attempt)}
	for _, c := range cs {
		if c.Chosen {
			p.Bytes = c.NeedBytes
			for _, v := range c.Victims {
				p.Victims = append(p.Victims, v.Model)
			}
		}
	}
	return &messages.PlacementDecided{Placement: p, Policy: "cost_aware", NeedFrom: from, Candidates: cs}
}

// load is what follows a decision until the model is ready.
func (s *story) load(d *messages.PlacementDecided) *story {
	p := d.Placement
	s.tell("arbiter", d)
	s.tell(p.Gpu, &messages.VramReserved{Lease: p.Lease, Holder: p.Model, Bytes: p.Bytes})
	s.tell("arbiter", &messages.PlacementReserved{Id: p.Id, Epoch: uint64(len(s.records))})
	s.tell(p.Model, &messages.ModelLoadStarted{Attempt: p.Attempt, Placement: p})
	s.tell("arbiter", &messages.PlacementClosed{Id: p.Id, Reason: "handed over"})
	s.tell(p.Model, &messages.WorkerStarted{Attempt: p.Attempt, Worker: &messages.Worker{Pid: 4242, Url: "http://127.0.0.1:5000"}})
	return s.tell(p.Model, &messages.ModelReady{Attempt: p.Attempt, MeasuredBytes: p.Bytes, Slots: 4, LoadMs: 1300})
}

// evict is what a victim goes through.
func (s *story) evict(name, placement, for_, device, lease string) *story {
	s.tell(m(name), &messages.ModelUnwanted{Reason: "makes room for " + for_, Placement: placement, EvictedFor: for_},
		&messages.ModelDraining{Attempt: 1, Reason: "makes room for " + for_})
	s.tell(m(name), &messages.ModelDrained{Attempt: 1})
	s.tell(m(name), &messages.WorkerExited{Attempt: 1, Reason: "stopped"})
	s.tell(gpu(device), &messages.VramReleased{Lease: lease, Reason: "its worker is gone"})
	s.tell(m(name), &messages.LeaseReturned{Attempt: 1})
	return s.tell("arbiter", &messages.VictimPreempted{Id: placement, Model: m(name)})
}

// plain writes an explanation as the golden files hold it.
func plain(e *messages.Explanation, err error) string {
	if err != nil {
		return "refused: " + err.Error() + "\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n%s\n", e.Kind, e.Subject, e.Summary)
	for _, r := range e.Reasons {
		fmt.Fprintf(&b, "  #%d %s %s %s: %s\n", r.Sequence, r.At, r.Actor, r.Event, r.Text)
	}
	for _, w := range e.Weighed {
		fmt.Fprintf(&b, "weighed %s (chosen %t; victims %v): %s\n", w.Gpu, w.Chosen, w.Victims, w.Text)
	}
	for _, c := range e.WouldChange {
		fmt.Fprintf(&b, "to change: %s\n", c)
	}
	return b.String()
}
