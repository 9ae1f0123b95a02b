package arbiter

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// counter is a door to devices of which some refuse, and which answer nothing after a number of questions.
type counter struct {
	refuses string
	silent  int
	held    []string
}

func (c *counter) Tell(context.Context, messages.ActorID, proto.Message) {}

func (c *counter) Ask(_ context.Context, to messages.ActorID, command proto.Message) (messages.Reply, error) {
	if c.silent--; c.silent == 0 {
		return messages.Reply{}, messages.NewError(messages.Unavailable, to.String(), "no answer")
	}
	switch m := command.(type) {
	case *messages.ReserveVram:
		if to.Name() == c.refuses {
			return messages.Reply{}, messages.NewError(messages.GPUUnavailable, to.String(), "full")
		}
		if !slices.Contains(c.held, m.Lease) {
			c.held = append(c.held, m.Lease)
		}
		return messages.Reply{Answer: &messages.VramGrant{Lease: m.Lease, Epoch: 7}}, nil
	case *messages.CheckLease:
		reply := &messages.LeaseReply{State: messages.LeaseReply_gone}
		if slices.Contains(c.held, m.Lease) {
			reply = &messages.LeaseReply{State: messages.LeaseReply_valid, Epoch: 7}
		}
		return messages.Reply{Answer: reply}, nil
	case *messages.ReleaseVram:
		if m.Holder != "model/h/m" || m.Epoch != 7 {
			return messages.Reply{}, messages.NewError(messages.FailedPrecondition, to.String(), "another holder or epoch")
		}
		c.held = slices.DeleteFunc(c.held, func(l string) bool { return l == m.Lease })
	}
	return messages.Reply{Answer: &messages.Done{}}, nil
}

func splitPlacement() *messages.Placement {
	return &messages.Placement{Id: "p", Holder: "model/h/m", Host: "h", Shares: []*messages.Share{
		{Gpu: "gpu/h/a", Bytes: 1, Lease: "p"}, {Gpu: "gpu/h/b", Bytes: 1, Lease: "p.1"}, {Gpu: "gpu/h/c", Bytes: 1, Lease: "p.2"}}}
}

func TestAReservationIsAllOrNothing(t *testing.T) {
	for _, refuses := range []string{"a", "b", "c", "none"} {
		for silent := range 7 { // 0 = all answer
			c := &counter{refuses: refuses, silent: silent}
			var report proto.Message
			for range 3 { // it stays owed without an answer
				m, err := ports{c}.perform(t.Context(), reserve{splitPlacement()})
				if err == nil {
					report = m
					break
				}
			}
			switch m := report.(type) {
			case *messages.ReportReserved:
				if refuses != "none" || len(c.held) != 3 || !slices.Equal(m.Epochs, []uint64{7, 7, 7}) {
					t.Errorf("refused by %s, silent at %d: reserved with %v", refuses, silent, c.held)
				}
			case *messages.ReportReservationRefused:
				if refuses == "none" || len(c.held) != 0 {
					t.Errorf("refused by %s, silent at %d: refused, and %v are still held", refuses, silent, c.held)
				}
			default:
				t.Errorf("refused by %s, silent at %d: reported %T", refuses, silent, report)
			}
		}
	}
}

func TestAbandonedPlacementsReleaseEveryShare(t *testing.T) {
	c := &counter{held: []string{"p", "p.1", "p.2"}}
	if _, err := (ports{c}).perform(t.Context(), release{splitPlacement()}); err != nil || len(c.held) > 0 {
		t.Errorf("%v are still held (%v)", c.held, err)
	}
}

func TestOnlyTheCheapestDevicesAreDescribed(t *testing.T) {
	world := &messages.SchedulerReadings{}
	for i := range 8 {
		a := settled(fmt.Sprintf("model/h/r%d", i), fmt.Sprintf("gpu/h/g%d", i), 10)
		a.IdleMs = int64(1000 * (i * 5 % 8))
		world.Allocations = append(world.Allocations, a)
		world.Ledgers = append(world.Ledgers, &messages.GpuView{Id: a.Shares[0].Gpu, Host: "h", LimitBytes: 10, ReservedBytes: 10})
	}
	s := New(messages.ArbiterActor())
	q := questionOf(s, request("model/h/m", 8), world, 0)
	cs := s.weigh(policies["cost_aware"], q)
	said := 0
	for i, x := range cs {
		if x.Cost != worth(world.Allocations[i]) || (len(x.Victims) == 1) == (x.Refusal == dearer) {
			t.Errorf("device %d: %v", i, x)
		}
		said += len(x.Victims)
	}
	if chosen := q.choose(cs); said != described || chosen[0].Gpu != "gpu/h/g3" { // r3 has been idle for the longest
		t.Errorf("%d described, chose %v", said, chosen)
	}
}

// refusing is a door to a model that refuses.
type refusing struct{ code messages.Code }

func (refusing) Tell(context.Context, messages.ActorID, proto.Message) {}

func (r refusing) Ask(_ context.Context, to messages.ActorID, command proto.Message) (messages.Reply, error) {
	if e, ok := command.(*messages.Reinstate); !ok || e.Placement != "plan/2" {
		return messages.Reply{}, messages.NewError(messages.Internal, to.String(), "that isn't the question")
	}
	return messages.Reply{}, messages.NewError(r.code, to.String(), "it was unloaded since")
}

// A model that is unloaded by hand in the middle of a plan isn't brought back, and the plan is over; one that doesn't answer is asked again.
func TestAPlanEndsWhenItsModelStaysAway(t *testing.T) {
	for code, ends := range map[messages.Code]bool{messages.FailedPrecondition: true, messages.ModelNotFound: true, messages.Unavailable: false} {
		m, err := ports{refusing{code}}.perform(t.Context(), bringBack{"plan", 2, &messages.Move{Holder: "model/h/a", From: "gpu/h/a", To: "gpu/h/b"}})
		if e, ok := m.(*messages.EndDefrag); ok != ends || (err == nil) != ends || ends && e.Id != "plan" {
			t.Errorf("%v: %v, %v", code, m, err)
		}
	}
}
