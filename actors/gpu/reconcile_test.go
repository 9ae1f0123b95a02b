package gpu

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"modelops/actors/entity"
	"modelops/messages"
)

// doubter is a door to a holder and the arbiter: each question takes the next answer.
type doubter struct {
	answers []string // yes, no, later: no, by an arbiter that has taken over since, or unavailable; silent: no answer until the question ends
	asked   []string
	told    proto.Message
}

func (*doubter) Tell(context.Context, messages.ActorID, proto.Message) {}

func (d *doubter) Ask(ctx context.Context, to messages.ActorID, command proto.Message) (messages.Reply, error) {
	d.asked, d.told = append(d.asked, to.Kind), command
	answer := d.answers[0]
	d.answers = d.answers[1:]
	switch answer {
	case "silent":
		<-ctx.Done()
		return messages.Reply{}, ctx.Err()
	case "unavailable":
		return messages.Reply{}, messages.NewError(messages.Unavailable, to.String(), "crashed too often")
	case "odd":
		return messages.Reply{Answer: &messages.Done{}}, nil
	}
	reply := &messages.HoldingReply{Holds: answer == "yes", ArbiterEpoch: 5}
	if answer == "later" {
		reply.ArbiterEpoch = 6
	}
	return messages.Reply{Answer: reply}, nil
}

// In a cluster the arbiter that asked for a lease may be dead before its holder hears of it. When another one has taken over, and the holder doesn't know the
// lease, it is given back.
func TestALeaseOfADeadArbiterIsReclaimed(t *testing.T) {
	for name, c := range map[string]struct {
		answers   []string
		reclaimed bool
	}{
		"another arbiter has taken over":       {[]string{"no", "unavailable", "later", "no"}, true},
		"none has taken over":                  {[]string{"no", "unavailable", "no"}, false},
		"nobody has the seat":                  {[]string{"no", "unavailable", "unavailable"}, false},
		"its holder has taken it in between":   {[]string{"no", "unavailable", "later", "yes"}, false},
		"its arbiter lives and has it":         {[]string{"no", "yes"}, false},
		"its arbiter lives and doesn't answer": {[]string{"no", "silent"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &doubter{answers: c.answers}
				e := reconcile{Lease: "l1", Holder: messages.ModelActor("main_pc", "a"), Epoch: 3, Arbiter: "pc2", ArbiterEpoch: 5}
				if report, _ := Kind(d, time.Now).Perform(t.Context(), e); (report != nil) != c.reclaimed || len(d.answers) > 0 {
					t.Errorf("reported %v; %q wasn't asked for", report, d.answers)
				}
			})
		})
	}
}

func TestALeaseIsReclaimedOnlyWhenNobodyKnowsIt(t *testing.T) {
	for name, c := range map[string]struct {
		answers   []string
		takenOver bool
		asked     []string
		reclaimed string // part of the reason; empty = it isn't
		unknown   bool   // it can't be known
	}{
		"its holder has it":                   {[]string{"yes"}, true, []string{"model"}, "", false},
		"it is on its way to its holder":      {[]string{"no", "yes"}, false, []string{"model", "arbiter"}, "", false},
		"it was handed over in between":       {[]string{"no", "no", "yes"}, false, []string{"model", "arbiter", "model"}, "", false},
		"it was not taken over":               {[]string{"no", "no", "no"}, false, []string{"model", "arbiter", "model"}, "it was not taken over", false},
		"its holder lost it":                  {[]string{"no", "no", "no"}, true, []string{"model", "arbiter", "model"}, "its holder had it", false},
		"its holder is down":                  {[]string{"unavailable"}, false, []string{"model"}, "", true},
		"the arbiter is down":                 {[]string{"no", "unavailable"}, false, []string{"model", "arbiter"}, "", true},
		"its holder went down in between":     {[]string{"no", "no", "unavailable"}, false, []string{"model", "arbiter", "model"}, "", true},
		"its holder doesn't answer":           {[]string{"silent"}, false, []string{"model"}, "", true},
		"its holder answers what isn't asked": {[]string{"odd"}, false, []string{"model"}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, began := &doubter{answers: c.answers}, time.Now()
				report, err := Kind(d, time.Now).Perform(t.Context(), reconcile{Lease: "l1", Holder: messages.ModelActor("main_pc", "a"), Epoch: 3, TakenOver: c.takenOver})
				if !slices.Equal(d.asked, c.asked) || (err != nil) != c.unknown {
					t.Errorf("asked %v: %v", d.asked, err)
				}
				if took := time.Since(began); took > askWithin {
					t.Errorf("it took %s", took)
				}
				if q := d.told.(*messages.QueryHolding); q.Lease != "l1" || q.Epoch != 3 {
					t.Errorf("asked for %v", q)
				}
				differs, reported := report.(*messages.ReportLeaseDiffers)
				if reported != (c.reclaimed != "") || reported && !strings.Contains(differs.Reason, c.reclaimed) {
					t.Errorf("reported %v", report)
				}
			})
		})
	}
}

// Leases whose holders are actors are compared after a time in which nearly all are taken over, and then each minute. Those of programs end by
// their time to live only.
func TestWhichLeasesAreCompared(t *testing.T) {
	m := fresh()
	m.Happen(&messages.DeviceRegistered{Kind: "cuda", CapacityBytes: 100})
	m.Happen(&messages.VramReserved{Lease: "l1", Holder: "model/main_pc/a", Bytes: 1})
	m.Happen(&messages.VramReserved{Lease: "l2", Holder: "client/train", Bytes: 1, TtlSeconds: 30})
	m.Happen(&messages.VramReserved{Lease: "l3", Holder: "nobody", Bytes: 1})
	if owed := m.Owed(); !slices.Equal(owed, []string{"reconcile/l1", "expire/l2"}) {
		t.Errorf("owed %v", owed)
	}
	var e entity.Effect = reconcile{}
	first, longest := e.(entity.Paced).Pace()
	if e.(entity.Delayed).Delay() != 30*time.Second || first != time.Minute || longest != time.Minute {
		t.Errorf("after %s, then every %s up to %s", e.(entity.Delayed).Delay(), first, longest)
	}
	if e := (reconcile{Arbiter: "pc2"}); e.Delay() != 2*time.Second {
		t.Errorf("a lease that an arbiter of a cluster asked for is first compared after %s", e.Delay())
	}
	if e := (reconcile{Arbiter: "pc2", TakenOver: true}); e.Delay() != 30*time.Second {
		t.Errorf("one that its holder has, after %s", e.Delay())
	}
}
