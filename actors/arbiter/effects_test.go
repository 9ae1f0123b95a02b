package arbiter

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// answering is a door whose every actor gives one answer, and which remembers what was asked.
type answering struct {
	answer proto.Message
	code   messages.Code
	asked  *[]proto.Message
	retry  time.Duration
}

func (answering) Tell(context.Context, messages.ActorID, proto.Message) {}

func (a answering) Ask(_ context.Context, to messages.ActorID, command proto.Message) (messages.Reply, error) {
	*a.asked = append(*a.asked, command)
	if a.code != 0 {
		return messages.Reply{}, messages.NewError(a.code, to.String(), "no").WithRetry(a.retry)
	}
	return messages.Reply{Answer: a.answer}, nil
}

// reports what owed work is reported with: a command's name, nothing, or a failure.
func reports(m proto.Message, err error) string {
	switch {
	case err != nil:
		return "failed"
	case m == nil:
		return "nothing"
	}
	return string(m.ProtoReflect().Descriptor().Name())
}

func TestHoldersAnswersToPreemptionAndGrants(t *testing.T) {
	p := splitPlacement()
	leaving, gone := &messages.PreemptReply{State: messages.PreemptReply_leaving}, &messages.PreemptReply{State: messages.PreemptReply_gone}
	for _, c := range []struct {
		name   string
		effect entity.Effect
		answer proto.Message
		code   messages.Code
		want   string
	}{
		{"a victim leaves", evict{ID: "p", Victim: "model/h/v", For: p.Holder}, leaving, 0, "nothing"},
		{"a victim is gone", evict{ID: "p", Victim: "model/h/v", For: p.Holder}, gone, 0, "ReportPreempted"},
		{"a victim never was", evict{ID: "p", Victim: "model/h/v", For: p.Holder}, nil, messages.ModelNotFound, "ReportPreempted"},
		{"a victim is pinned by now", evict{ID: "p", Victim: "model/h/v", For: p.Holder}, nil, messages.FailedPrecondition, "AbandonPlacement"},
		{"a victim doesn't answer", evict{ID: "p", Victim: "model/h/v", For: p.Holder}, nil, messages.Unavailable, "failed"},
		{"a victim says something else", evict{ID: "p", Victim: "model/h/v", For: p.Holder}, &messages.Done{Note: "gone"}, 0, "nothing"},
		{"the holder takes it", handOn{p}, &messages.Done{}, 0, "ClosePlacement"},
		{"the holder doesn't want it", handOn{p}, nil, messages.FailedPrecondition, "AbandonPlacement"},
		{"the holder is no model", handOn{p}, nil, messages.ModelNotFound, "AbandonPlacement"},
		{"the holder finds it malformed", handOn{p}, nil, messages.InvalidArgument, "AbandonPlacement"},
		{"the holder doesn't answer", handOn{p}, nil, messages.Unavailable, "failed"},
		{"the holder's actor stays down", handOn{p}, nil, messages.Unavailable, "AbandonPlacement"},
		{"a victim's actor stays down", evict{ID: "p", Victim: "model/h/v", For: p.Holder}, nil, messages.Unavailable, "AbandonPlacement"},
		{"the device is full", reserve{p}, nil, messages.GPUUnavailable, "failed"}, // it doesn't report the other shares as released
		{"a relief is given up", release{&messages.Placement{Id: "relief/1"}}, nil, messages.Unavailable, "ClosePlacement"},
	} {
		var asked []proto.Message
		retry := time.Second
		if strings.Contains(c.name, "stays down") {
			retry = 0
		}
		m, err := ports{answering{c.answer, c.code, &asked, retry}}.perform(t.Context(), c.effect)
		if got := reports(m, err); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// A program's time to live and its owner go into its reservations.
func TestAReservationCarriesItsTimeToLiveAndOwner(t *testing.T) {
	var asked []proto.Message
	p := splitPlacement()
	p.Holder, p.TtlSeconds, p.Owner = "client/train", 30, "aaaa"
	m, err := ports{answering{&messages.VramGrant{Epoch: 5}, 0, &asked, 0}}.perform(t.Context(), reserve{p})
	if reports(m, err) != "ReportReserved" || len(asked) != 3 {
		t.Fatal(m, err, asked)
	}
	for _, c := range asked {
		if r := c.(*messages.ReserveVram); r.TtlSeconds != 30 || r.Holder != "client/train" || r.Owner != "aaaa" {
			t.Errorf("reserved %v", r)
		}
	}
}

// A placement that no program takes over, and a plan that doesn't end, are given up by timers.
func TestTimersGiveUp(t *testing.T) {
	for _, c := range []struct {
		effect entity.Effect
		after  time.Duration
		want   string
	}{{unclaimed{"p"}, 15 * time.Second, "AbandonPlacement"}, {giveUp{"plan"}, 10 * time.Minute, "EndDefrag"}} {
		m, err := ports{}.perform(t.Context(), c.effect)
		if after := c.effect.(entity.Delayed).Delay(); after != c.after || reports(m, err) != c.want || !strings.Contains(m.(interface{ GetReason() string }).GetReason(), c.after.String()) {
			t.Errorf("%s after %s: %v, %v", c.effect.Key(), after, m, err)
		}
	}
}
