package explain

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

var start = time.Date(2026, 5, 4, 10, 0, 0, 0, time.UTC)

// tale is a journal in the making: each decision is a second after the one before it, unless the tale waits.
type tale struct {
	records []messages.Recorded
	now     time.Time
}

func newTale() *tale { return &tale{now: start} }

func (s *tale) wait(d time.Duration) { s.now = s.now.Add(d) }

// tell appends a decision of an actor: model/main_pc/a, gpu/main_pc/sim0 or arbiter.
func (s *tale) tell(actor string, events ...proto.Message) *tale {
	return s.caused("", actor, events...)
}

func (s *tale) caused(by, actor string, events ...proto.Message) *tale {
	id, err := messages.ParseActorID(actor)
	if err != nil {
		panic(err)
	}
	s.now = s.now.Add(time.Second)
	n := uint64(len(s.records) + 1)
	s.records = append(s.records, messages.Recorded{Actor: id, Sequence: n, ID: fmt.Sprintf("d%d", n), At: s.now, Events: events, Meta: messages.Meta{Correlation: by}})
	return s
}

func (s *tale) present() Present {
	return Present{Now: s.now.Add(time.Minute), Tries: 3, LastWords: func(file string) string { return map[string]string{"f.log": "CUDA error: out of memory"}[file] }}
}

func m(name string) string   { return "model/main_pc/" + name }
func dev(name string) string { return "gpu/main_pc/" + name }

const mb = messages.MiB

// devices registers two devices of 24000 MiB with a limit of 23488 MiB.
func (s *tale) devices() *tale {
	for _, d := range []string{"sim0", "sim1"} {
		s.tell(dev(d), &messages.DeviceRegistered{Kind: "simulated", Name: d, CapacityBytes: 24000 * mb, MarginBytes: 512 * mb})
	}
	return s
}

func (s *tale) declare(name string, spec *messages.ModelSpec) *tale {
	spec.Name, spec.Runtime, spec.DeclaredBy = name, "embedded", "config"
	return s.tell(m(name), &messages.ModelDeclared{Spec: spec})
}

func weighed(device string, reserved, need uint64, more ...func(*messages.Candidate)) *messages.Candidate {
	c := &messages.Candidate{Gpu: dev(device), LimitBytes: 23488 * mb, ReservedBytes: reserved * mb, NeedBytes: need * mb}
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
	return &messages.Victim{Holder: m(name), Bytes: mib * mb, IdleMs: idle, LoadMs: load, Reason: "first to go by cost_aware"}
}

// decided is a placement's decision; its id and lease are p-NAME-ATTEMPT.
func decided(name string, attempt uint64, device string, from messages.Need_Source, cs ...*messages.Candidate) *messages.PlacementDecided {
	id := fmt.Sprintf("p-%s-%d", name, attempt)
	share := &messages.Share{Gpu: dev(device), Lease: id}
	p := &messages.Placement{Id: id, Holder: m(name), Claim: fmt.Sprint(attempt), Host: "main_pc", Shares: []*messages.Share{share}}
	for _, c := range cs {
		if c.Chosen {
			share.Bytes = c.NeedBytes
			p.Victims = append(p.Victims, modelsOf(c.Victims)...)
		}
	}
	return &messages.PlacementDecided{Placement: p, Policy: "cost_aware", Source: from, Candidates: cs}
}

// load is what follows a decision until the model is ready.
func (s *tale) load(d *messages.PlacementDecided, attempt uint64) *tale {
	p := d.Placement
	s.tell("arbiter", d)
	s.tell(p.Gpu(), &messages.VramReserved{Lease: p.Shares[0].Lease, Holder: p.Holder, Bytes: p.Bytes()})
	s.tell("arbiter", &messages.PlacementReserved{Id: p.Id, Epochs: []uint64{uint64(len(s.records))}})
	s.tell(p.Holder, &messages.ModelLoadStarted{Attempt: attempt, Placement: p})
	s.tell("arbiter", &messages.PlacementClosed{Id: p.Id, Reason: "handed over"})
	s.tell(p.Holder, &messages.WorkerStarted{Attempt: attempt, Worker: &messages.Worker{Pid: 4242, Url: "http://127.0.0.1:5000"}})
	return s.tell(p.Holder, &messages.ModelReady{Attempt: attempt, MeasuredBytes: p.Bytes(), Slots: 4, LoadMs: 1300})
}

// evict is what a victim goes through.
func (s *tale) evict(name, placement, for_, device, lease string) *tale {
	s.tell(m(name), &messages.ModelUnwanted{Reason: "makes room for " + for_, Placement: placement, EvictedFor: for_},
		&messages.ModelDraining{Attempt: 1, Reason: "makes room for " + for_})
	s.tell(m(name), &messages.ModelDrained{Attempt: 1})
	s.tell(m(name), &messages.WorkerExited{Attempt: 1, Reason: "stopped"})
	s.tell(dev(device), &messages.VramReleased{Lease: lease, Reason: "its worker is gone"})
	s.tell(m(name), &messages.LeaseReturned{Placement: lease})
	return s.tell("arbiter", &messages.VictimPreempted{Id: placement, Holder: m(name)})
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

// library is a journal in memory.
type library []messages.Recorded

func (l library) Sequence() uint64 { return uint64(len(l)) }

func (l library) Replay(ctx context.Context, after, until uint64, fn func(messages.Recorded) error) error {
	for _, r := range l[after:until] {
		if err := cmp.Or(ctx.Err(), fn(r)); err != nil {
			return err
		}
	}
	return nil
}

func (l library) Read(_ context.Context, sequences []uint64, fn func(messages.Recorded) error) error {
	for _, s := range slices.Compact(slices.Sorted(slices.Values(sequences))) {
		if err := fn(l[s-1]); err != nil {
			return err
		}
	}
	return nil
}

// why answers from an index that has just read the records.
func why(q Question, records []messages.Recorded, p Present) (*messages.Explanation, error) {
	return Why(context.Background(), q, p, NewBook("", library(records)))
}

func whyModel(id messages.ActorID, records []messages.Recorded, p Present) (*messages.Explanation, error) {
	return why(Question{Subject: id.Name(), Model: id}, records, p)
}

func whyID(id string, records []messages.Recorded, p Present) (*messages.Explanation, error) {
	return why(Question{Subject: id, ID: id}, records, p)
}
