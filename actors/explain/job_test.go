package explain

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"modelops/messages"
)

const tune = "job/main_pc/tune"

// jobTale is a job that was submitted, on two devices.
func jobTale(events ...proto.Message) *tale {
	return newTale().devices().tell(tune, &messages.JobSubmitted{Spec: &messages.JobSpec{}, By: "alice"}).then(tune, events...)
}

// placedJob has its memory on sim0.
func placedJob(events ...proto.Message) *tale {
	d := decided("x", 1, "sim0", messages.Need_declared, weighed("sim0", 0, 12000, chosen), weighed("sim1", 20000, 12000, refused("full")))
	d.Placement.Holder = tune
	s := jobTale().tell("arbiter", d)
	s.tell(dev("sim0"), &messages.VramReserved{Lease: "p-x-1", Holder: tune, Bytes: 12000 * mb})
	s.tell("arbiter", &messages.PlacementReserved{Id: "p-x-1", Epochs: []uint64{uint64(len(s.records))}})
	s.tell(tune, &messages.JobReserved{Attempt: 1, Placement: d.Placement, Nonce: "n"})
	return s.then(tune, events...)
}

func runningJob(events ...proto.Message) *tale {
	return placedJob(&messages.JobStarted{Attempt: 1, Runner: &messages.Runner{Pid: 7}}, &messages.CheckpointAcknowledged{Attempt: 1, Checkpoint: &messages.Checkpoint{Step: 40}}).then(tune, events...)
}

func TestWhereAJobStands(t *testing.T) {
	no := &messages.ErrorBody{Code: "JOB_FAILED", Message: "no such file"}
	leaves := &messages.JobStopping{Attempt: 1, Cause: messages.StopCause_stop_preempted, Reason: "makes room for model/main_pc/big", PreemptedFor: m("big")}
	left := &messages.JobPreempted{Attempt: 1, Cause: messages.StopCause_stop_preempted, Reason: "makes room for model/main_pc/big"}
	for name, c := range map[string]struct {
		tale    *tale
		subject string
		want    []string
	}{
		"it waits, and nothing is decided": {jobTale(), tune, []string{"tune waits for memory", "nothing is decided yet", "submitted, by alice"}},
		"it was told why":                  {jobTale().tell("arbiter", full(tune)), tune, []string{"all devices are full", "gpu/main_pc/sim0", "memory that others give back"}},
		"it starts":                        {placedJob(), tune, []string{"tune starts on sim0", "Decision 4 chose sim0", "attempt 1 has its memory on sim0"}},
		"it runs":                          {runningJob(), tune, []string{"tune runs on sim0", "in attempt 1", "Its last acknowledged checkpoint is that of step 40", "attempt 1 runs, process 7"}},
		"it leaves":                        {runningJob(leaves), tune, []string{"tune is on its way out of sim0", "makes room for model/main_pc/big", ", for big"}},
		"it left":                          {runningJob(leaves, left), tune, []string{"tune had to leave (makes room for model/main_pc/big) and waits for memory again", "The lease of its former attempt on sim0 stays"}},
		"it left, and was told why it waits": {runningJob(leaves, left, &messages.JobLeaseReturned{Placement: "p-x-1"}).tell("arbiter", full(tune)), tune,
			[]string{"waits for memory again", "all devices are full"}},
		"it failed":           {runningJob(&messages.JobAttemptFailed{Attempt: 1, Error: no, RetryMs: 5000}), tune, []string{"tune failed, 1 times in a row", "waits for its next attempt", "no such file"}},
		"it is paused":        {runningJob(&messages.JobPaused{Reason: "the weekend", By: "bob"}), tune, []string{"tune is paused", "the weekend, by bob", "somebody resumes it"}},
		"it has failed":       {runningJob(&messages.JobFailed{Attempt: 1, Error: no}), tune, []string{"tune has failed", "no such file", "it has ended"}},
		"it is completed":     {runningJob(&messages.JobCompleted{Attempt: 1, Outcome: &messages.JobOutcome{Step: 50}}), tune, []string{"tune is completed", "at step 50"}},
		"it is cancelled":     {runningJob(&messages.JobCancelled{Reason: "not wanted"}), tune, []string{"tune is cancelled", "not wanted"}},
		"by its placement":    {runningJob(left), "p-x-1", []string{"attempt 1 of tune on sim0", "Its job's attempt is over"}},
		"it is of no journal": {jobTale(), "job/main_pc/other", []string{"no job of this name is known"}},
	} {
		q, err := Subject(c.subject, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := plain(why(q, c.tale.records, c.tale.present()))
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: want %q:\n%s", name, want, got)
			}
		}
	}
}

// Every event of a job has words, and every reason to stop.
func TestEveryEventOfAJobIsSaid(t *testing.T) {
	n := 0
	for _, name := range messages.EventNames() {
		if !strings.HasPrefix(name, messages.KindJob+".") {
			continue
		}
		events, err := (&messages.Decision{Events: []*messages.Event{{Type: name, Version: 1}}}).Open()
		if err != nil {
			t.Fatal(err)
		}
		if n++; jobText(fact{event: events[0]}) == "" {
			t.Errorf("%s has no words", name)
		}
	}
	if n < 15 {
		t.Errorf("only %d events of jobs", n)
	}
	said := map[string]bool{}
	for n := range messages.StopCause_name {
		said[stopText(messages.StopCause(n))] = true
	}
	if len(said) != len(messages.StopCause_name) {
		t.Errorf("%d of %d reasons have words of their own: %s", len(said), len(messages.StopCause_name), fmt.Sprint(said))
	}
}
