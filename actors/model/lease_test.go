package model

import (
	"context"
	"math"
	"testing"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

// owner is a door to the ledgers of a split placement: each answers as its name says.
type owner struct {
	says map[string]messages.LeaseReply_State
}

func (owner) Tell(context.Context, messages.ActorID, proto.Message) {}

func (o owner) Ask(_ context.Context, to messages.ActorID, command proto.Message) (messages.Reply, error) {
	state, known := o.says[to.Name()]
	check, ok := command.(*messages.CheckLease)
	switch {
	case !ok || check.Holder != "model/main_pc/tiny" || check.Epoch != 7:
		return messages.Reply{}, messages.NewError(messages.Internal, to.String(), "that isn't the question")
	case !known:
		return messages.Reply{}, messages.NewError(messages.Unavailable, to.String(), "no answer")
	}
	return messages.Reply{Answer: &messages.LeaseReply{State: state}}, nil
}

// A worker is stopped when an owner says that its lease is gone or another holder's. Without an answer nothing happens.
func TestLeasesAreVerifiedWithTheirOwners(t *testing.T) {
	const valid, gone, fenced = messages.LeaseReply_valid, messages.LeaseReply_gone, messages.LeaseReply_fenced
	for name, c := range map[string]struct {
		says    map[string]messages.LeaseReply_State
		lost    string // lease
		unknown bool
	}{
		"both hold":                    {map[string]messages.LeaseReply_State{"gpu0": valid, "gpu1": valid}, "", false},
		"the first is gone":            {map[string]messages.LeaseReply_State{"gpu0": gone, "gpu1": valid}, "p1", false},
		"the second is another's":      {map[string]messages.LeaseReply_State{"gpu0": valid, "gpu1": fenced}, "p1.1", false},
		"the second owner is silent":   {map[string]messages.LeaseReply_State{"gpu0": valid}, "", true},
		"the first owner is silent":    {map[string]messages.LeaseReply_State{"gpu1": gone}, "", true},
		"the second answer is unknown": {map[string]messages.LeaseReply_State{"gpu0": valid, "gpu1": messages.LeaseReply_state_unknown}, "", false},
	} {
		p := &messages.Placement{Id: "p1", Holder: "model/main_pc/tiny", Host: "main_pc", Shares: []*messages.Share{
			{Gpu: "gpu/main_pc/gpu0", Lease: "p1", Epoch: 7}, {Gpu: "gpu/main_pc/gpu1", Lease: "p1.1", Epoch: 7}}}
		report, err := Kind(rules, World{Door: owner{c.says}}).Perform(t.Context(), verify{p, 3})
		lost, reported := report.(*messages.ReportLeaseLost)
		if (err != nil) != c.unknown || reported != (c.lost != "") || reported && (lost.Lease != c.lost || lost.Attempt != 3 || lost.Epoch != 7 || lost.Reason == "") {
			t.Errorf("%s: %v, %v", name, report, err)
		}
	}
}

// fencing is a door to ledgers that hold nothing of the model any more.
type fencing struct{ code messages.Code }

func (fencing) Tell(context.Context, messages.ActorID, proto.Message) {}

func (f fencing) Ask(_ context.Context, to messages.ActorID, _ proto.Message) (messages.Reply, error) {
	return messages.Reply{}, messages.NewError(f.code, to.String(), "no")
}

// A lease that its owner doesn't know, or holds for another holder, counts as settled and returned: the work would be owed for ever otherwise.
// Other failures leave the work owed.
func TestALostLeaseHoldsNothingUp(t *testing.T) {
	for code, done := range map[messages.Code]bool{messages.NotFound: true, messages.FailedPrecondition: true, messages.Unavailable: false} {
		kind := Kind(rules, World{Door: fencing{code}})
		p := placement("1")
		for _, e := range []interface{ Key() string }{settle{p, 5, 1}, shrink{p, 5, 1}, giveBack{p}} {
			if report, err := kind.Perform(t.Context(), e); (report != nil) != done || (err == nil) != done {
				t.Errorf("%s, %v: %v, %v", e.Key(), code, report, err)
			}
		}
		report, err := kind.Perform(t.Context(), wake{Placement: p, Bytes: 5, Attempt: 1})
		if failed, ok := report.(*messages.ReportSleepFailed); ok != done || (err == nil) != done || ok && !failed.Waking {
			t.Errorf("wake, %v: %v, %v", code, report, err)
		}
	}
}

// An epoch with which no arbiter can have taken over is refused: the model would refuse every arbiter after it, for good.
func TestAnAbsurdEpochIsRefused(t *testing.T) {
	s := State{Obeyed: 7}
	for _, c := range []struct {
		arbiter string
		epoch   uint64
		want    messages.Code
	}{{"pc2", math.MaxUint64, messages.InvalidArgument}, {"", math.MaxUint64, messages.InvalidArgument}, {"pc2", 1 << 40, messages.InvalidArgument}, {"pc2", 500, 0}, {"", 0, 0}, {"pc2", 6, messages.FailedPrecondition}} {
		if err := messages.Outdated(s.ID, c.arbiter, c.epoch, s.Obeyed); messages.CodeOf(err) != c.want {
			t.Errorf("epoch %d of %s: %v", c.epoch, c.arbiter, err)
		}
	}
}
